/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/*
 * A subscriber's answer of any bytes, read as the reply it may be: the response parser, then what decides whether it is
 * an event, then the decoder. Properties: no bad access, no leak (the sanitizers'); one event or a reason; and what was
 * decoded goes out in binary mode and comes back the same.
 */
#include <stdlib.h>

#include "../../base/http_parse.h"
#include "ce_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ce_http_limits limits = {1 << 20, 1};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void through_binary(const struct ce_event *e)
{
    struct http_header headers[CE_ATTRIBUTES_MAX + 20];
    const struct ce_event *back = NULL;
    struct buf b;
    struct diag d;
    size_t n = 0, count;
    buf_init(&b, 4 << 20);
    ce_http_encode_binary(e, &b);
    for (struct slice rest = buf_slice(&b); rest.len; n++) {
        struct slice value = slice_split(&rest, '\n'), name = slice_split(&value, ':');
        headers[n] = (struct http_header){name, slice_trim(slice_of(value.ptr, value.len - 1))};
    }
    must(ce_http_decode(headers, n, ce_event_data(e), &limits, &back, 1, &count, &d) == OK && count == 1);
    must(slice_eq(ce_event_data(e), ce_event_data(back)));
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) { /* JSON without a datacontenttype gains one */
        struct ce_attribute mine = ce_event_attribute_at(e, i), theirs;
        must(ce_event_attribute(back, mine.name, &theirs) && slice_eq(mine.value, theirs.value));
    }
    ce_event_unref(back);
    buf_fini(&b);
}

static void read_reply(const struct http_response *r)
{
    const struct ce_event *e = NULL;
    enum ce_mode mode;
    size_t count = 0;
    struct diag d = {0};
    if (!ce_http_is_event(r->headers, r->header_count))
        return;
    if (ce_http_mode(r->headers, r->header_count, &mode, &d) != OK) {
        must(d.text[0]);
        return;
    }
    enum err err = ce_http_decode(r->headers, r->header_count, r->body, &limits, &e, 1, &count, &d);
    if (err != OK) {
        must(d.text[0] && !e);
        return;
    }
    must(count == 1 || mode == CE_MODE_BATCH);
    if (count == 1)
        through_binary(e);
    ce_event_unref(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_parse p;
    size_t len = size;
    char *bytes = malloc(size ? size : 1);
    if (!bytes)
        abort();
    memcpy(bytes, data, size);
    http_parse_init(&p, false, 1 << 20);
    enum err e = http_parse_run(&p, bytes, &len);
    if (e == ERR_PENDING)
        e = http_parse_end(&p);
    if (e == OK) {
        struct http_header headers[HTTP_RESPONSE_HEADERS_MAX];
        struct http_response response;
        http_parse_response(&p, bytes, headers, &response);
        read_reply(&response);
    }
    free(bytes);
    return 0;
}
