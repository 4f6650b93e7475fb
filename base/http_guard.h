/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard: what a request's head must be before a handler sees it. A pure function over the parsed head, so that it
 * can be fuzzed.
 *
 * libmicrohttpd 0.9.75 parses a head in place and leniently. It turns each line's end into NULs and leaves the lines
 * where they were received, so a line that did not end in exactly CR LF, a NUL inside a value and a folded line all
 * show as a distance between two pointers other than the one expected. That is checked here too:
 *
 *     POST SP /path SP HTTP/1.1 CR LF Name : OWS value CR LF Name : OWS value CR LF CR LF
 *     ^method ^target  ^version       ^name      ^value                                  ^end
 *
 * One thing cannot be told apart so: NULs beside a bare LF that make up for its missing CR.
 */
#ifndef LEAT_HTTP_GUARD_H
#define LEAT_HTTP_GUARD_H

#include "http_header.h"

/* All slices but the target point into the one block of memory that was received, and a NUL follows each. */
struct http_head {
    struct slice method, target, version;
    const char *target_at;     /* where the target was received; its text may be a copy */
    struct http_header *lines; /* values not yet trimmed at their end */
    size_t line_count;
    const char *end; /* the byte after the empty line */
};

/* What a clean head says about the request; slices as above. */
struct http_plan {
    struct slice path, query, host; /* of an absolute-form target: its own host, which goes before the Host line */
    bool chunked;
    uint64_t content_length; /* 0 when chunked or when there is no body */
    bool minor_0;            /* HTTP/1.0 */
};

/* NULL when clean: *plan is filled and the values of the lines are trimmed. Else what is wrong, in words for the
 * client; *plan is then undefined. */
const char *http_guard(struct http_head *head, struct http_plan *plan);

#endif
