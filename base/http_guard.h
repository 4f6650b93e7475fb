/* SPDX-License-Identifier: Apache-2.0
 *
 * A request's head, read strictly (RFC 9110 and RFC 9112), because what two parsers read differently is how requests
 * are smuggled. Pure and incremental: it allocates nothing, changes no byte, and the same bytes give the same result
 * however they were split.
 *
 *     CRLF* POST SP /path SP HTTP/1.1 CRLF ( Name : OWS value OWS CRLF )* CRLF
 *
 * Refused, although some servers read it: bare LF, folded lines, white space before a colon, control characters, more
 * than one space in the request line, two Content-Length or Transfer-Encoding or Host headers even where they agree,
 * both of the first two, any transfer coding but `chunked`.
 */
#ifndef LEAT_HTTP_GUARD_H
#define LEAT_HTTP_GUARD_H

#include "err.h"
#include "http_header.h"

/* What a clean head says about the request. Slices point into the bytes that were read. */
struct http_plan {
    struct slice method, target;
    struct slice path, query, host; /* of an absolute-form target: its own host, which goes before the Host line */
    bool chunked;
    uint64_t content_length; /* 0 when chunked or when there is no body */
    bool minor_0;            /* HTTP/1.0 */
    bool close, keep_alive;  /* what Connection asks for */
    bool expects_continue;   /* Expect: 100-continue */
};

struct http_guard {
    struct http_header *lines; /* the caller's, room for line_cap; values are trimmed */
    size_t line_count, line_cap;
    size_t at;      /* read up to here: the beginning of a line */
    size_t scanned; /* no line feed between `at` and here */
    bool started;   /* the request line was read */
    unsigned hosts, lengths, codings;
    struct http_plan plan;
    int status;        /* what to refuse it with */
    const char *wrong; /* the rule that was broken, in words for the client */
};

void http_guard_init(struct http_guard *g, struct http_header *lines, size_t line_cap);
/* Reads on in `bytes`, which hold all that came since init, at the same place. OK: the head is whole and clean, and
 * ends before bytes[g->at]. ERR_PENDING: more is needed. ERR_FULL: no room for another line; it may be called again
 * with more. ERR_PROTOCOL: g->wrong and g->status. Not to be called after OK or ERR_PROTOCOL. */
enum err http_guard_run(struct http_guard *g, const char *bytes, size_t len) must_check;

#endif
