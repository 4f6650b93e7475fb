/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of Kafka for tests: written here as lines "name: value\n", collected from ce_kafka_encode, and compared.
 * Every collected header is copied into a block of its own size, so that a read beyond one is seen.
 */
#ifndef LEAT_TESTS_KAFKA_RECORD_H
#define LEAT_TESTS_KAFKA_RECORD_H

#include <stdlib.h>

#include "ce_kafka.h"

#define RECORD_HEADERS_MAX 400

struct record {
    struct ce_kafka_record r;
    struct ce_kafka_header headers[RECORD_HEADERS_MAX];
    struct buf scratch;
    size_t calls; /* of the header function: how many were let through before `fails` */
    enum err fails;
};

static inline struct slice record_copy(struct slice s)
{
    char *copy = s.ptr ? malloc(s.len ? s.len : 1) : NULL;
    if (copy && s.len)
        memcpy(copy, s.ptr, s.len);
    return slice_of(copy, s.len);
}

static inline enum err record_header(void *arg, struct slice name, struct slice value)
{
    struct record *to = arg;
    if (to->fails && to->r.header_count == to->calls)
        return to->fails;
    if (to->r.header_count == RECORD_HEADERS_MAX)
        return ERR_FULL;
    to->headers[to->r.header_count++] = (struct ce_kafka_header){record_copy(name), record_copy(value)};
    return OK;
}

static inline void record_init(struct record *to)
{
    to->r = (struct ce_kafka_record){
        .headers = to->headers, .topic = SLICE_INIT("topic"), .partition = 2, .offset = 7, .time_ms = 1514764800123};
    to->fails = OK;
    to->calls = 0;
    buf_init(&to->scratch, 4 << 20);
}

static inline void record_fini(struct record *to)
{
    for (size_t i = 0; i < to->r.header_count; i++) {
        free((char *)to->headers[i].name.ptr);
        free((char *)to->headers[i].value.ptr);
    }
    to->r.header_count = 0;
    buf_fini(&to->scratch);
}

/* "name: value\n" each; "name\n" alone has a null value. */
static inline void record_lines(struct record *to, struct slice text)
{
    while (text.len) {
        struct slice value = slice_split(&text, '\n'), name = slice_split(&value, ':');
        (void)!record_header(to, name, value.ptr ? slice_trim(value) : value);
    }
}

static inline enum err record_write(struct record *to, const struct ce_event *e, enum ce_mode mode, bool carry)
{
    to->r.key = ce_kafka_key(e);
    return ce_kafka_encode(e, mode, carry, &to->scratch, record_header, to, &to->r.value);
}

/* The value of the only header of this name, case and all; ptr NULL: there is none, or more than one. */
static inline struct slice record_value(const struct record *r, const char *name)
{
    struct slice found = {NULL, 0};
    for (size_t i = 0; i < r->r.header_count; i++)
        if (slice_eq_str(r->headers[i].name, name)) {
            if (found.ptr)
                return slice_of(NULL, 0);
            found = r->headers[i].value;
        }
    return found;
}

#endif
