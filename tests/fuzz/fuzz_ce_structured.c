/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* Event JSON: what decodes is encoded and decodes again to the same event; and its binary form decodes to the same
 * attributes and data. */
#include <stdlib.h>

#include "ce_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ce_http_limits limits = {1 << 20, 1};

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Bytes that a string or JSON value can stand for may come back as those: the same bytes under another kind. */
static bool same(const struct ce_event *a, const struct ce_event *b)
{
    if (ce_event_equal(a, b))
        return true;
    must(ce_event_data_kind(a) == CE_DATA_BYTES && ce_event_attribute_count(a) == ce_event_attribute_count(b));
    return ce_event_data_kind(b) != CE_DATA_NONE;
}

static void through_binary(const struct ce_event *e)
{
    struct http_header headers[CE_ATTRIBUTES_MAX + 20];
    struct buf b;
    const struct ce_event *back = NULL;
    struct diag d;
    size_t n = 0, count;
    buf_init(&b, 4 << 20);
    ce_http_encode_binary(e, &b);
    for (struct slice rest = buf_slice(&b); rest.len; n++) {
        struct slice value = slice_split(&rest, '\n'), name = slice_split(&value, ':');
        must(value.len && value.ptr[value.len - 1] == '\r' && !memchr(value.ptr, '\r', value.len - 1));
        headers[n] = (struct http_header){name, slice_trim(slice_of(value.ptr, value.len - 1))};
    }
    must(ce_http_decode(headers, n, ce_event_data(e), &limits, &back, 1, &count, &d) == OK);
    must(slice_eq(ce_event_data(e), ce_event_data(back)));
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute mine = ce_event_attribute_at(e, i), theirs;
        must(ce_event_attribute(back, mine.name, &theirs) && slice_eq(mine.value, theirs.value));
    }
    ce_event_unref(back);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ce_event *e = NULL, *back = NULL;
    struct diag d;
    if (ce_json_decode(slice_of((const char *)data, size), &limits, &e, &d)) {
        must(d.text[0] && !e);
        return 0;
    }
    struct buf b;
    buf_init(&b, 4 << 20);
    ce_json_encode(e, &b);
    must(buf_error(&b) == OK && ce_json_decode(buf_slice(&b), &(struct ce_http_limits){4 << 20, 1}, &back, &d) == OK);
    must(same(e, back));
    through_binary(e);
    ce_event_unref(e);
    ce_event_unref(back);
    buf_fini(&b);
    return 0;
}
