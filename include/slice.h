/* SPDX-License-Identifier: Apache-2.0
 *
 * A slice is a borrowed run of bytes. It owns nothing: the field or function that hands one out says who does.
 * It is not terminated. An empty slice may have a NULL pointer.
 */
#ifndef LEAT_SLICE_H
#define LEAT_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct slice {
    const char *ptr;
    size_t len;
};

/* A string literal as a slice, also in static initialisers with SLICE_INIT. */
#define SLICE_INIT(literal)                                                                                            \
    {                                                                                                                  \
        "" literal, sizeof(literal) - 1                                                                                \
    }
#define SLICE(literal) ((struct slice)SLICE_INIT(literal))
/* For printf: printf("%.*s", SLICE_ARG(s)). */
#define SLICE_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

static inline struct slice slice_of(const char *ptr, size_t len)
{
    return (struct slice){ptr, len};
}

/* NULL becomes the empty slice. */
static inline struct slice slice_str(const char *s)
{
    return (struct slice){s, s ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Equal but for ASCII case. */
static inline bool slice_eq_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

static inline bool slice_has_prefix(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool slice_has_prefix_nocase(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || strncasecmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool slice_has_suffix(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

/* s without its first n bytes; n must not exceed its length. */
static inline struct slice slice_from(struct slice s, size_t n)
{
    return (struct slice){s.ptr ? s.ptr + n : NULL, s.len - n};
}

/* Takes what stands before the first `c` off *rest, and the `c` itself. Without one, takes all and leaves *rest empty
 * with a NULL pointer; with one, *rest keeps a non-NULL pointer even when nothing follows, so a trailing `c` can be
 * told. */
static inline struct slice slice_split(struct slice *rest, char c)
{
    struct slice whole = *rest;
    const char *at = whole.len ? memchr(whole.ptr, c, whole.len) : NULL;
    if (!at) {
        *rest = (struct slice){NULL, 0};
        return whole;
    }
    size_t n = (size_t)(at - whole.ptr);
    *rest = (struct slice){at + 1, whole.len - n - 1};
    return (struct slice){whole.ptr, n};
}

/* Without spaces and tabs at both ends (HTTP's OWS, RFC 9110 section 5.6.3). */
static inline struct slice slice_trim(struct slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s.ptr++, s.len--;
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

#endif
