/* SPDX-License-Identifier: Apache-2.0
 *
 * The growing buffer.
 *
 * Invariants: len <= limit, cap <= limit + 1; where cap > 0, cap > len, so a terminator always fits behind the content;
 * after a failure nothing is written until buf_clear, buf_fini or buf_take_string.
 */
#include "buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_CAP 128

void buf_init(struct buf *b, size_t limit)
{
    /* Half the address space is no limit in practice, and keeps every sum below from wrapping. */
    *b = (struct buf){.limit = limit < SIZE_MAX / 2 ? limit : SIZE_MAX / 2 - 1};
}

void buf_fini(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){.limit = b->limit};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->error = OK;
}

char *buf_reserve(struct buf *b, size_t n)
{
    assert(b->len <= b->limit);
    if (b->error)
        return NULL;
    if (n > b->limit - b->len) {
        b->error = ERR_TOO_LARGE;
        return NULL;
    }
    size_t need = b->len + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap * 2 : FIRST_CAP;
        if (cap > b->limit + 1)
            cap = b->limit + 1;
        if (cap < need)
            cap = need;
        char *ptr = realloc(b->ptr, cap);
        if (!ptr) {
            b->error = ERR_NOMEM;
            return NULL;
        }
        b->ptr = ptr;
        b->cap = cap;
    }
    return b->ptr + b->len;
}

void buf_put(struct buf *b, struct slice bytes)
{
    if (!bytes.len)
        return;
    char *to = buf_reserve(b, bytes.len);
    if (!to)
        return;
    memcpy(to, bytes.ptr, bytes.len);
    b->len += bytes.len;
}

void buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, slice_str(s));
}

void buf_put_char(struct buf *b, char c)
{
    char *to = buf_reserve(b, 1);
    if (!to)
        return;
    *to = c;
    b->len++;
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    buf_put(b, slice_of(digits + at, sizeof(digits) - at));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    if (b->error)
        return;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t room = b->cap - b->len;
    int n = vsnprintf(room ? b->ptr + b->len : NULL, room, format, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n < room) { /* and within the limit, which room does not exceed */
        b->len += (size_t)n;
    } else {
        char *to = buf_reserve(b, (size_t)n);
        if (to) {
            vsnprintf(to, (size_t)n + 1, format, again);
            b->len += (size_t)n;
        }
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (!n)
        return;
    b->len -= n;
    memmove(b->ptr, b->ptr + n, b->len);
}

struct slice buf_slice(const struct buf *b)
{
    return slice_of(b->ptr, b->len);
}

enum err buf_error(const struct buf *b)
{
    return b->error;
}

char *buf_take_string(struct buf *b)
{
    char *s = NULL;
    if (buf_reserve(b, 0)) {
        s = b->ptr;
        s[b->len] = '\0';
        b->ptr = NULL;
    }
    buf_fini(b);
    return s;
}

/* The letter after the backslash of a short escape, 'u' where there is none, 0 where c stands for itself. */
static char escape_letter(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return c < 0x20 ? 'u' : 0;
    }
}

void buf_put_json_string(struct buf *b, struct slice s)
{
    static const char hex[] = "0123456789abcdef";
    buf_put_char(b, '"');
    size_t plain = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        char letter = escape_letter(c);
        if (!letter)
            continue;
        buf_put(b, slice_of(s.ptr + plain, i - plain));
        plain = i + 1;
        char escape[6] = {'\\', letter, '0', '0', hex[c >> 4], hex[c & 15]};
        buf_put(b, slice_of(escape, letter == 'u' ? 6 : 2));
    }
    if (s.len > plain)
        buf_put(b, slice_of(s.ptr + plain, s.len - plain));
    buf_put_char(b, '"');
}
