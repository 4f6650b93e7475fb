/* SPDX-License-Identifier: Apache-2.0
 *
 * A growing byte buffer with a limit. It remembers its first failure: after ERR_NOMEM or ERR_TOO_LARGE every later
 * write is ignored, so a writer may append many pieces and look at `buf_error` once, at the end. One thread at a time.
 */
#ifndef LEAT_BUF_H
#define LEAT_BUF_H

#include "err.h"
#include "slice.h"

struct buf {
    char *ptr;      /* owned; NULL until something was written */
    size_t len;     /* bytes written */
    size_t cap;     /* bytes allocated */
    size_t limit;   /* len never exceeds it */
    enum err error; /* the first failure, or OK */
};

/* An empty buffer; nothing is allocated. `limit` in bytes. */
void buf_init(struct buf *b, size_t limit);
/* Frees the bytes; the buffer is empty again and can be used on. */
void buf_fini(struct buf *b);
/* Forgets content and failure, keeps the memory. */
void buf_clear(struct buf *b);

void buf_put(struct buf *b, struct slice bytes);
void buf_put_str(struct buf *b, const char *s);
void buf_put_char(struct buf *b, char c);
void buf_put_u64(struct buf *b, uint64_t v); /* decimal */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for n more bytes, to be written by the caller who then adds to len; NULL on failure. */
char *buf_reserve(struct buf *b, size_t n);
/* Drops the first n bytes (n <= len), moving the rest down. */
void buf_consume(struct buf *b, size_t n);

/* What was written; valid until the next write. */
struct slice buf_slice(const struct buf *b);
/* OK, ERR_NOMEM or ERR_TOO_LARGE. */
enum err buf_error(const struct buf *b) must_check;
/* A terminated string owned by the caller (free()), and the buffer is empty again; NULL when it had failed. */
char *buf_take_string(struct buf *b);

/* JSON string with quotes; escapes only what RFC 8259 section 7 demands. Bytes must be UTF-8. */
void buf_put_json_string(struct buf *b, struct slice s);

#endif
