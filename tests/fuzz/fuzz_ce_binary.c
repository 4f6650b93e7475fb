/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* HTTP messages: lines "name: value", an empty line, the body. What decodes is encoded and decodes again to the same
 * event, and its envelope decodes to the same data. */
#include <stdlib.h>

#include "ce_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ce_http_limits limits = {1 << 20, 4}, wide = {8 << 20, 4};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static size_t lines(struct slice *text, struct http_header *headers, size_t max)
{
    size_t n = 0;
    while (text->len && n < max) {
        struct slice value = slice_split(text, '\n');
        if (!value.len)
            break;
        struct slice name = slice_split(&value, ':');
        headers[n++] = (struct http_header){name, slice_trim(value)};
    }
    return n;
}

static void there_and_back(const struct ce_event *e, struct buf *b)
{
    struct http_header headers[CE_ATTRIBUTES_MAX + 20];
    const struct ce_event *back = NULL;
    struct diag d;
    size_t count;
    ce_http_encode_binary(e, b);
    must(buf_error(b) == OK);
    struct slice text = buf_slice(b);
    size_t n = lines(&text, headers, CE_ATTRIBUTES_MAX + 20);
    must(text.len == 0);
    for (size_t i = 0; i < n; i++) {
        struct slice v = headers[i].value;
        must(v.len && v.ptr[v.len - 1] == '\r');
        headers[i].value = slice_trim(slice_of(v.ptr, v.len - 1));
    }
    must(ce_http_decode(headers, n, ce_event_data(e), &wide, &back, 1, &count, &d) == OK);
    if (ce_event_mode(e) == CE_MODE_BINARY)
        must(ce_event_equal(e, back));
    ce_event_unref(back);
    buf_clear(b);
}

static void back_and_forth(const struct ce_event *e)
{
    struct buf b;
    const struct ce_event *back = NULL;
    struct diag d;
    buf_init(&b, 8 << 20);
    if (ce_event_mode_for(e, CE_MODE_BINARY) == CE_MODE_BINARY)
        there_and_back(e, &b);
    ce_json_encode(e, &b);
    must(buf_error(&b) == OK && ce_json_decode(buf_slice(&b), &wide, &back, &d) == OK);
    must(ce_event_data_kind(back) != CE_DATA_BYTES || ce_event_attribute(e, SLICE("datacontentencoding"), NULL) ||
         slice_eq(ce_event_data(e), ce_event_data(back)));
    ce_event_unref(back);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_header headers[CE_ATTRIBUTES_MAX + 20];
    struct slice body = slice_of((const char *)data, size);
    const struct ce_event *out[4] = {NULL};
    struct diag d;
    size_t n = lines(&body, headers, CE_ATTRIBUTES_MAX + 20), count = 0;
    if (ce_http_decode(headers, n, body, &limits, out, 4, &count, &d))
        must(d.text[0] && !out[0]);
    for (size_t i = 0; i < count; i++) {
        back_and_forth(out[i]);
        ce_event_unref(out[i]);
    }
    return 0;
}
