/* SPDX-License-Identifier: Apache-2.0
 *
 * Events to HTTP messages. Binary mode is one copy of the event's lines (event_private.h) unless a value needs
 * percent-coding (HTTP Protocol Binding 1.0.2 section 3.1.3.2). Pure functions, any thread.
 */
#include "event_private.h"

/* A value with everything outside U+0021 to U+007E, the double quote and the percent sign coded. */
static void put_coded(struct buf *b, struct slice value)
{
    size_t done = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (!(ce_byte_class[c] & BYTE_CODED))
            continue;
        buf_put(b, slice_of(value.ptr + done, i - done));
        char coded[3] = {'%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15]};
        buf_put(b, slice_of(coded, sizeof coded));
        done = i + 1;
    }
    buf_put(b, slice_from(value, done));
}

static void put_lines(const struct ce_event *e, struct buf *headers)
{
    uint32_t from = e->lines_at;
    if (!e->coded) {
        buf_put(headers, slice_of(event_at(e, from), e->headers_line_at - from));
        return;
    }
    for (size_t i = 0; i < e->count; i++) {
        const struct event_attribute *a = &e->attributes[i];
        uint32_t end = a->value_at + a->value_len;
        if ((a->classes & BYTE_CODED) && (int)i != e->content_type) {
            buf_put(headers, slice_of(event_at(e, from), a->value_at - from));
            put_coded(headers, slice_of(event_at(e, a->value_at), a->value_len));
            from = end;
        }
    }
    buf_put(headers, slice_of(event_at(e, from), e->headers_line_at - from));
}

static void put_forwarded(const struct ce_event *e, struct buf *headers)
{
    if (e->header_count)
        buf_put(headers, slice_of(event_at(e, e->headers_line_at), e->data_at - e->headers_line_at));
}

void ce_http_encode_binary(const struct ce_event *e, struct buf *headers)
{
    put_lines(e, headers);
    /* A JSON value without a datacontenttype is application/json; outside an envelope that must be said. */
    if (e->content_type < 0 && e->data_kind == CE_DATA_JSON)
        buf_put(headers, SLICE("Content-Type: application/json\r\n"));
    put_forwarded(e, headers);
}

void ce_http_encode_structured(const struct ce_event *e, struct buf *headers, struct buf *body)
{
    buf_put(headers, SLICE("Content-Type: application/cloudevents+json; charset=UTF-8\r\n"));
    put_forwarded(e, headers);
    ce_json_encode(e, body);
}
