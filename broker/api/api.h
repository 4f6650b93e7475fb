/* SPDX-License-Identifier: Apache-2.0
 *
 * The API listener: resources under Kubernetes' paths, health, metrics, version. On the control loop.
 */
#ifndef LEAT_BROKER_API_H
#define LEAT_BROKER_API_H

#include "../engine.h"
#include "access.h"
#include "http_server.h"
#include "resource.h"

#define API_WHO_MAX ACCESS_WHO_MAX

struct store;
struct happenings;
struct api { /* the argument of api_handler; outlives the server */
    struct resource_table *table;
    struct store *store; /* the table's */
    struct engine *engine;
    struct happenings *happenings;
    bool health_only;           /* no resources, and nothing under /leat */
    bool read_only;             /* resources come from files alone: several processes share them */
    struct access access;       /* who may do what; not asked with health_only */
    void (*changed)(void *arg); /* the table was written to */
    void *arg;
    struct list tails; /* open ones; tail_count of them */
    size_t tail_count;
    struct api_watches *watches;     /* NULL until the first request for resources */
    struct namespaces *namespaces;   /* likewise */
    struct api_documents *documents; /* NULL until the first request for OpenAPI v2 */
};

extern const struct http_handler api_handler;

/* What listens for it (front.c). */
struct serve_options;
struct api_front {
    struct http_server *server;
    struct http_listener *listener;
    struct http_tls *tls; /* NULL: plain HTTP */
};
/* Opens what `o` names, and settles who may use it; errors say what to do. What was opened is closed below, also after
 * a failure. */
enum err api_listen(struct api *a, struct loop *loop, const struct serve_options *o, struct api_front *out,
                    struct diag *d) must_check;
/* Closes it, and frees what its requests needed. */
void api_front_close(struct api *a, struct api_front *f);

/* The state of a request that is answered later, as a member of the caller's structure: told when the request is
 * closed, be it before its answer. */
struct api_later {
    void (*closed)(struct api_later *later);
};

/* A parameter of the query, percent-decoded, into `out`; false when it is not there. A bad escape, or more than the
 * buffer's limit, is an error of `out`. */
bool api_query(const struct http_request *r, const char *name, struct buf *out);
/* Answers with JSON as text (buf_fini is done here), or with a tree (borrowed; NULL: without memory). */
void api_json_text(struct http_request *r, int status, struct buf *body);
void api_json(struct http_request *r, int status, const cJSON *tree);

/* GET /leat/v1/explain (explain.c) and /leat/v1/tail (tail.c). */
void api_explain(struct api *a, struct http_request *r);
void api_tail(struct api *a, struct http_request *r);
/* Everything under /leat/v1/dlq (dlq.c), /leat/v1/tasks (tasks.c) and /leat/v1/subscriptions (subscriptions.c). */
void api_dlq(struct api *a, struct http_request *r);
void api_tasks(struct api *a, struct http_request *r);
void api_subscriptions(struct api *a, struct http_request *r);
/* GET /leat/v1/audit, and everything under /leat/v1/quarantine (kept.c). */
void api_audit(struct api *a, struct http_request *r);
void api_quarantine(struct api *a, struct http_request *r);
/* A plan is in force: tails of channels that are gone end. */
void api_tail_applied(struct api *a);
/* The server stops: every tail says so and ends. */
void api_tail_stop(struct api *a);

/* The server stops: every watch ends. Then, when no request is left: what they read goes (watch.c). */
void api_watches_stop(struct api *a);
void api_watches_free(struct api *a);
/* What was made to answer /openapi/v2 goes (openapi_v2.c). */
void api_openapi_free(struct api *a);

/* The i-th of leat's own pages, and its method (NULL: it looks by itself); NULL after the last. For tests: each of them
 * must be known to the decision who may (routes.c). */
const char *api_page_at(size_t i, const char **method);

/* Answers a request under /api or /apis whose body, if any, is whole (resources.c). */
void api_resources(struct api *a, struct http_request *r);
/* Whether resources may not be written here: then the request has been answered, with what to do instead. */
bool api_read_only(struct api *a, struct http_request *r);
/* The error of a write as Kubernetes says it. */
void api_refuse(struct http_request *r, enum err e, const struct diag *d);
/* A Kubernetes Status object as the answer; reason as in its API ("NotFound"). */
void api_status(struct http_request *r, int code, const char *reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
