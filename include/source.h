/* SPDX-License-Identifier: Apache-2.0
 *
 * A source: turns what happens elsewhere into CloudEvents and sends them to one sink. The same code runs inside `serve`
 * and alone (`leat source NAME`, a pod). A source cannot see a bus; it sees a `struct sink`.
 *
 * It has up to two parts: one instance per data loop, which takes webhooks and sends events; and one registration on
 * the control loop, which talks to the origin's API (makes and removes the webhook there).
 */
#ifndef LEAT_SOURCE_H
#define LEAT_SOURCE_H

#include "http_client.h"
#include "http_server.h"
#include "sink.h"

struct filter;
struct source_param {
    const char *name,
        *value; /* names as the resource's spec has them: "ownerAndRepository", "secretToken" (the secret's value) */
};

/* What a source is made from: plain data, owned by the maker, outlives what is made of it. */
struct source_spec {
    const char *type;           /* "github" */
    const char *namespace_name; /* of the resource */
    const char *name;
    const struct source_param *params;
    size_t param_count;
    const struct source_param
        *ce_overrides; /* extensions that every event gets (spec.ceOverrides.extensions, K_CE_OVERRIDES) */
    size_t ce_override_count;
    struct filter *filter; /* of kubernetes: what it does not match is not sent; NULL: everything is */
};
/* Value of a parameter, or `fallback`. */
const char *source_param(const struct source_spec *spec, const char *name, const char *fallback);

/* Whether the extensions that every event gets are some: ERR_INVALID with *d naming the one that is not. */
enum err source_overrides_check(const struct source_spec *spec, struct diag *d) must_check;
/* The parameter sinkTimeoutSeconds; 0: there is none. ERR_INVALID with *d. */
enum err source_sink_timeout(const struct source_spec *spec, uint64_t *ns, struct diag *d) must_check;

struct source_counters { /* relaxed atomics */
    uint64_t received, emitted, refused_signature, refused_invalid, ignored, failed;
    uint64_t missed;   /* times of a schedule that passed while nothing could be sent, and that are not made up for */
    uint64_t restarts; /* of the command that the source runs */
    uint64_t place;    /* for ops->one_loop: up to where the source has done its work, in its own terms; 0: not known.
                        * Whoever runs it may keep it, and put it back at the next start. A clock: seconds since 1970 */
};

struct source;
struct source_ops;

/* What the part on a data loop gets of whoever runs it. Read in `open`; what it points to lives until `closed` ran. */
struct source_host {
    struct loop *loop;
    struct sink *sink; /* of that loop; to be referenced while needed */
    size_t event_bytes_max;
    struct source_counters *counters; /* shared by the loops */
    /* For ops->one_loop: the part that was opened last for this very source, on the same loop, and is closing still;
     * NULL: there is none. The source sets and clears it, and hands over what the old part had not finished. */
    struct source **last;
    /* Something that people should know, for the log: "ping.missed". Never once an event. */
    void (*notice)(void *arg, bool trouble, const char *what, const char *text);
    /* How the source stands, for its resource's condition, whenever that changes: `reason` NULL, all is well (again);
     * else one word of the program's own text ("CommandEnded"), and a message: what is wrong, and what to do. On the
     * source's loop. It is in no log: that is what `notice` is for. NULL: nobody asks. */
    void (*report)(void *arg, const char *reason, const char *message);
    void *arg;
    /* What the sources of this loop share, of whatever kind (struct source_common); it outlives them. */
    struct list *common;
};

/* The head of what several sources of one loop share. Who puts it there takes it out again. */
struct source_common {
    struct list link;
    const struct source_ops *owner;
};

/* The common head of the part on a data loop, and of the part on the control loop. */
struct source {
    const struct source_ops *ops;
};
struct source_registration {
    const struct source_ops *ops;
};

/* From http_head on, the request's state (http_request_set_state) is the source's; what it sets there begins with this,
 * so that whoever routes requests finds the way back in data, end and close: `struct source_request *q =
 * http_request_state(r)`. Still NULL after http_head: the source is through with the request, and must not be called
 * for it again. */
struct source_request {
    struct source *source;
};

/* How the registration stands, for the resource's condition; called whenever it changes, on the control loop. `ready`
 * false: what is missing, and what to do. */
typedef void source_report_fn(void *arg, bool ready, const char *reason, const char *message, const char *webhook_id);

struct source_ops {
    const char *name; /* "github" */

    /* Whether a spec is right, before anything is made: ERR_INVALID with *d naming the parameter. */
    enum err (*check)(const struct source_spec *spec, struct diag *d);
    /* It has one part, on one loop, in one process: it makes events by itself, and each of them once. */
    bool one_loop;
    bool together; /* with one_loop: all of this kind are on the same loop, since they share what they watch */
    /* Its events come by way of the network (a command posts them), perhaps to this very process: it is closed while
     * the listeners are still open. */
    bool posts;
    /* Makes the part for one loop. */
    enum err (*open)(const struct source_spec *spec, const struct source_host *host, struct source **out,
                     struct diag *d);
    /* Ends it; requests under way are answered 503 or finished, in any case none is left when `closed` runs. */
    void (*close)(struct source *s, void (*closed)(void *arg), void *arg);

    /* Webhook requests for this source, as in struct http_handler; NULL for a source that has none. The server's
     * handler routes here, and back by struct source_request. Until `closed` ran, requests may still come: they are
     * answered 503. */
    void (*http_head)(struct source *s, struct http_request *r);
    void (*http_data)(struct source *s, struct http_request *r, struct slice piece);
    void (*http_end)(struct source *s, struct http_request *r);
    void (*http_close)(struct source *s, struct http_request *r);

    /* Why an event last failed to reach the sink, for people; empty: never yet. NULL op: it does not say. */
    const char *(*last_failure)(const struct source *s);

    /* The part at the origin: registers the webhook (`webhook_url` is where the world reaches it; NULL: not known, say
     * so in a report), keeps trying with backoff. `known_id`: a webhook registered before, or NULL. NULL op: nothing to
     * register. */
    enum err (*register_start)(const struct source_spec *spec, struct loop *control, struct http_client *client,
                               const char *webhook_url, const char *known_id, source_report_fn *report, void *arg,
                               struct source_registration **out);
    /* Ends it; with `remove` the webhook is deleted at the origin first (one try, 10 s at most). */
    void (*register_stop)(struct source_registration *r, bool remove, void (*stopped)(void *arg), void *arg);

    /* Ends what was registered for an object that has gone while no process ran, of which nothing is left but what this
     * source kept in the file `uid` of `folder`. OK: `report` is called with what goes wrong, `stopped` when it is
     * over, both on `control`. Else *d says why not, and the file stays. NULL op: it keeps nothing. */
    enum err (*stop_left)(const char *folder, const char *uid, struct loop *control, source_report_fn *report,
                          void (*stopped)(void *arg), void *arg, struct diag *d);

    /* Runs it alone: the rest of `leat source NAME ...`. Environment K_SINK, K_CE_OVERRIDES ... Returns the exit code.
     */
    int (*main)(int argc, char **argv);
};

/* The source of this name, or NULL; names for messages, NULL-terminated. Only sources/registry.c knows them all. */
const struct source_ops *source_find(const char *name);
const char *const *source_names(void);

#endif
