/* SPDX-License-Identifier: Apache-2.0
 *
 * Access to the API: who asks (by a token, or by being on this machine), whether he may (roles.h), and what he is told
 * when not. docs/access.md is the user's page. On the control loop.
 */
#ifndef LEAT_BROKER_API_ACCESS_H
#define LEAT_BROKER_API_ACCESS_H

#include "../task.h"
#include "err.h"
#include "http_server.h"
#include "list.h"
#include "roles.h"

#define ACCESS_WHO_MAX TASK_BY_MAX /* what access_who puts */

struct access {                /* of a server; zeroed: everybody may do everything */
    struct token_file *tokens; /* owned; NULL: there are none */
    bool required;             /* who has no token is refused */
    bool open_metrics;         /* but not of /metrics */
    uint64_t unauthenticated, forbidden;
    uint64_t log_next_ns, unsaid; /* of refusals: a line a second */
    struct list streams;          /* answers that go on, of who has a token; zeroed before the first */
    uint64_t looked_version;      /* of the tokens, when they were looked at last */
    int64_t looked_until_ns;      /* wall time at which the first token of theirs expires */
    struct loop_timer look;       /* runs while there are any */
};

/* The tokens are in `file`, else (NULL) in the file "tokens" of `data_dir` (may be NULL), if it is there. Who names a
 * file means it: then a token is required. ERR_INVALID with *d: something is wrong with it; ERR_NOMEM. */
enum err access_open(struct access *a, const char *file, const char *data_dir, struct diag *d) must_check;
/* The listener is there: unless it is `local`, tokens are required. ERR_INVALID when they are, and there are none: *d
 * says what to do. `address` is what the user wrote. */
enum err access_require(struct access *a, bool local, const char *address, struct diag *d) must_check;
void access_close(struct access *a);

/* An answer that goes on (a watch, a tail), as a member of the caller's structure. */
struct access_stream {
    struct list link;
    struct access *access; /* NULL: not looked after */
    struct http_request *request;
    /* It may go on no longer; told once. `code` and `status` (a Status as JSON, without a line feed) are what the same
     * request would be answered now: 401, 403; `why` in a few words. May end the stream, not free it. */
    void (*lost)(struct access_stream *s, int code, const char *why, struct slice status);
};
/* From now on it is looked after: at once when the tokens changed and something asks, a second later at most. */
void access_hold(struct access *a, struct access_stream *s, struct http_request *r);
/* Its request is closed. Fine when it was never held. */
void access_release(struct access_stream *s);
/* Looks whether each stream may go on: before something is told on one of them. Costs a stat of the file as a rule. */
void access_look(struct access *a);

struct access_caller {
    const char *name; /* of the token; NULL: nobody, who may do everything where no token is required */
    enum role role;
    const char *namespace_name; /* "": all */
};
/* Whether the request may go on; false: it has been answered (401, 403). */
bool access_admit(struct access *a, struct http_request *r);
/* Who sent it; of a request that was admitted. What it borrows holds until the next request is looked at. */
struct access_caller access_caller_of(struct access *a, const struct http_request *r);
/* Whether he sees what is of this namespace, on a page that shows several. */
bool access_sees(const struct access_caller *who, struct slice namespace_name);
/* Who sent it, for the log of changes: "ci 10.0.0.7", or the address alone. */
void access_who(struct access *a, const struct http_request *r, char out[ACCESS_WHO_MAX]);
/* Whether a page for everybody may go into details: /readyz of a server that asks for tokens may not. */
bool access_knows(struct access *a, const struct http_request *r);
/* Series of counters, for /metrics. */
void access_metrics(const struct access *a, struct buf *out);

#endif
