/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/*
 * The response parser on any bytes. The first byte of the input says how: bit 0 the connection ends behind the bytes,
 * bit 1 a HEAD, the rest how much of a body is kept. Properties: no bad access (the sanitizers'), and the same result
 * whole, byte by byte, and split in two at every position.
 */
#include <stdint.h>
#include <stdlib.h>

#include "../../base/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    enum err err;
    struct http_parse p;
    size_t consumed;
    uint64_t sum; /* of headers and body */
};

static uint64_t add(uint64_t sum, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        sum = (sum ^ (unsigned char)s.ptr[i]) * 0x100000001b3u;
    return (sum ^ s.len) * 0x100000001b3u;
}

static struct result feed(const uint8_t *data, size_t size, uint8_t how, size_t first, size_t step)
{
    struct result r = {.err = ERR_PENDING};
    char *bytes = malloc(size ? size : 1);
    size_t len = 0, fed = 0;
    if (!bytes)
        abort();
    http_parse_init(&r.p, how & 2, (size_t)(how >> 2) * 8);
    for (size_t end = first; r.err == ERR_PENDING && fed < size; end += step) {
        end = end < size ? end : size;
        if (end > fed)
            memcpy(bytes + len, data + fed, end - fed);
        len += end - fed;
        fed = end;
        r.err = http_parse_run(&r.p, bytes, &len);
    }
    if (r.err == ERR_PENDING && how & 1)
        r.err = http_parse_end(&r.p);
    if (r.err == OK) {
        struct http_header headers[HTTP_RESPONSE_HEADERS_MAX];
        struct http_response response;
        http_parse_response(&r.p, bytes, headers, &response);
        r.consumed = fed - (len - r.p.at);
        for (size_t i = 0; i < response.header_count; i++)
            r.sum = add(add(r.sum, headers[i].name), headers[i].value);
        r.sum = add(r.sum, response.body);
    }
    free(bytes);
    return r;
}

static void compare(const struct result *a, const struct result *b)
{
    if (a->err != b->err || a->p.why != b->p.why || a->consumed != b->consumed || a->sum != b->sum)
        abort();
    if (a->err == OK &&
        (a->p.status != b->p.status || a->p.persistent != b->p.persistent || a->p.body_cut != b->p.body_cut))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t how = data[0];
    data++, size--;
    struct result whole = feed(data, size, how, size, 1), bytewise = feed(data, size, how, 1, 1);
    compare(&whole, &bytewise);
    for (size_t at = 0; at < size && size < 1000; at++) {
        struct result two = feed(data, size, how, at, size);
        compare(&whole, &two);
    }
    return 0;
}
