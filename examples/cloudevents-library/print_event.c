/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads one HTTP message from standard input (header lines, an empty line, the body), prints the CloudEvents in it, and
 * each of them again in the other mode. It uses build/libcloudevents.a and nothing else of leat.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ce_http.h"

#define HEADERS_MAX 100
#define BATCH_MAX 10

static size_t read_headers(struct slice *message, struct http_header *headers)
{
    size_t n = 0;
    while (message->len && n < HEADERS_MAX) {
        struct slice value = slice_split(message, '\n');
        if (value.len && value.ptr[value.len - 1] == '\r')
            value.len--;
        if (!value.len)
            break; /* the body follows */
        struct slice name = slice_split(&value, ':');
        headers[n++] = (struct http_header){name, slice_trim(value)};
    }
    return n;
}

static void print_attributes(const struct ce_event *e)
{
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        printf("  %-16.*s %.*s\n", SLICE_ARG(a.name), SLICE_ARG(a.value));
    }
    printf("  data             %zu bytes\n", ce_event_data(e).len);
}

static void print_other_mode(const struct ce_event *e)
{
    struct buf headers, body;
    buf_init(&headers, 1 << 20);
    buf_init(&body, 8 << 20);
    if (ce_event_mode(e) == CE_MODE_BINARY) {
        ce_http_encode_structured(e, &headers, &body);
    } else {
        ce_http_encode_binary(e, &headers);
        buf_put(&body, ce_event_data(e));
    }
    if (buf_error(&headers) || buf_error(&body)) {
        fprintf(stderr, "print_event: no memory\n");
        exit(1);
    }
    printf("as %s:\n%.*s\n%.*s\n", ce_event_mode(e) == CE_MODE_BINARY ? "structured" : "binary",
           SLICE_ARG(buf_slice(&headers)), SLICE_ARG(buf_slice(&body)));
    buf_fini(&headers);
    buf_fini(&body);
}

int main(void)
{
    static char input[1 << 20];
    struct slice message = slice_of(input, fread(input, 1, sizeof input, stdin));
    struct http_header headers[HEADERS_MAX];
    size_t header_count = read_headers(&message, headers);

    const struct ce_http_limits limits = {.event_bytes_max = 1 << 20, .batch_max = BATCH_MAX};
    const struct ce_event *events[BATCH_MAX];
    size_t count;
    struct diag why;
    enum err e = ce_http_decode(headers, header_count, message, &limits, events, BATCH_MAX, &count, &why);
    if (e) {
        fprintf(stderr, "print_event: %s (HTTP would answer %d)\n", why.text, err_http_status(e));
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        printf("event %zu of %zu:\n", i + 1, count);
        print_attributes(events[i]);
        print_other_mode(events[i]);
        ce_event_unref(events[i]);
    }
    return 0;
}
