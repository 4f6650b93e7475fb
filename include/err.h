/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors: one enumeration for the whole program, and `struct diag` for the places where a human wrote the input.
 *
 * A function that can fail returns `enum err` and leaves its outputs untouched unless it returns OK.
 * No errno and no thread-local error crosses a folder.
 */
#ifndef LEAT_ERR_H
#define LEAT_ERR_H

#include <stdbool.h>

enum err {
    OK = 0,
    ERR_PENDING,     /* not an error: the answer comes later, by callback */
    ERR_NOMEM,       /* no memory */
    ERR_INVALID,     /* the caller's input breaks a rule; a diag says which */
    ERR_NOTFOUND,    /* no such thing */
    ERR_EXISTS,      /* there is one already */
    ERR_CONFLICT,    /* changed since it was read, or owned by another */
    ERR_FULL,        /* a bound is reached; later may work */
    ERR_TOO_LARGE,   /* one item exceeds a limit; the same item never works */
    ERR_TIMEOUT,     /* a deadline passed */
    ERR_CLOSED,      /* the other side, or this object, is closing or closed */
    ERR_UNAVAILABLE, /* cannot be reached now; later may work */
    ERR_DENIED,      /* not allowed */
    ERR_UNSUPPORTED, /* well formed, but nothing here implements it */
    ERR_PROTOCOL,    /* a peer broke its protocol */
    ERR_CORRUPT,     /* stored bytes fail their check */
    ERR_IO,          /* the operating system refused: disk, descriptor */
    ERR_CANCELED,    /* the caller withdrew the request */
    ERR_COUNT
};

/* Every function that returns an err is declared with this, so that none is dropped by accident. */
#define must_check __attribute__((warn_unused_result))

/* The name in lower case, for logs and metrics: "full", "too_large" ... Never NULL. */
const char *err_name(enum err e);

/* The HTTP status that answers a request which failed so: 400, 404, 503 ... */
int err_http_status(enum err e);

/* Whether the same request may succeed later without a change. */
bool err_retryable(enum err e);

/* What went wrong in something a human wrote, and where. Plain data; `text` is always terminated. */
struct diag {
    int line;       /* from 1; 0: not known */
    int column;     /* from 1, in bytes; 0: not known */
    char text[600]; /* one sentence without the place, no newline */
};

/* Fills *d (may be NULL) and returns e, so that `return diag_set(d, ERR_INVALID, ...)` reads well. Text too long is
 * cut. */
enum err diag_set(struct diag *d, enum err e, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
