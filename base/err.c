/* SPDX-License-Identifier: Apache-2.0
 *
 * The one table of errors: name, HTTP status, and whether the same request may succeed later. Pure; any thread.
 */
#include "err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_entry {
    const char *name;
    int http_status;
    bool retryable;
};

/* What will pass by itself is 5xx, which senders retry; what only the sender can mend is 4xx, which they do not. */
static const struct err_entry table[ERR_COUNT] = {
    [OK] = {"ok", 200, false},
    [ERR_PENDING] = {"pending", 202, false},
    [ERR_NOMEM] = {"nomem", 503, true},
    [ERR_INVALID] = {"invalid", 400, false},
    [ERR_NOTFOUND] = {"notfound", 404, false},
    [ERR_EXISTS] = {"exists", 409, false},
    [ERR_CONFLICT] = {"conflict", 409, false},
    [ERR_FULL] = {"full", 503, true},
    [ERR_TOO_LARGE] = {"too_large", 413, false},
    [ERR_TIMEOUT] = {"timeout", 504, true},
    [ERR_CLOSED] = {"closed", 503, true},
    [ERR_UNAVAILABLE] = {"unavailable", 503, true},
    [ERR_DENIED] = {"denied", 403, false},
    [ERR_UNSUPPORTED] = {"unsupported", 501, false},
    [ERR_PROTOCOL] = {"protocol", 502, true},
    [ERR_CORRUPT] = {"corrupt", 500, false},
    [ERR_IO] = {"io", 500, true},
    [ERR_CANCELED] = {"canceled", 503, false},
};

static const struct err_entry *entry(enum err e)
{
    assert((unsigned)e < ERR_COUNT);
    return &table[e];
}

const char *err_name(enum err e)
{
    return entry(e)->name;
}

int err_http_status(enum err e)
{
    return entry(e)->http_status;
}

bool err_retryable(enum err e)
{
    return entry(e)->retryable;
}

/* Where a cut in s[0, len) falls inside a UTF-8 sequence, the length without its torn start. */
static size_t whole_characters(const char *s, size_t len)
{
    size_t start = len;
    while (start > 0 && len - start < 3 && ((unsigned char)s[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return len;
    unsigned char lead = (unsigned char)s[start - 1];
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return len - (start - 1) < need ? start - 1 : len;
}

enum err diag_set(struct diag *d, enum err e, const char *format, ...)
{
    if (!d)
        return e;
    /* Composed apart, so that the old text may be an argument of the new. */
    char text[sizeof(d->text)];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= sizeof(text))
        len = whole_characters(text, sizeof(text) - 1);
    memcpy(d->text, text, len);
    d->text[len] = '\0';
    return e;
}
