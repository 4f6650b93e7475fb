/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine: runs a plan. It owns the data loops (shards), the buses, and what the plan's channels, subscriptions and
 * sources are made of on them.
 *
 * Control loop only, but for what a comment names otherwise. A new plan is applied in steps that never stop the
 * traffic:
 *
 *     provision channels → subscribe → hand the new routing to every shard (they start, update and stop their streams)
 * → all have it → unsubscribe and release what the new plan no longer has → free the old routing
 *
 * One plan is applied at a time; a newer one that comes meanwhile waits, and replaces one that waits already.
 */
#ifndef LEAT_BROKER_ENGINE_H
#define LEAT_BROKER_ENGINE_H

#include <stdatomic.h>

#include "happenings.h"
#include "http_client.h"
#include "http_server.h"
#include "map.h"
#include "plan.h"

struct engine;
struct shard;
struct shard_stream;

struct engine_options {
    unsigned loops;         /* data loops; 0: one per core */
    size_t event_bytes_max; /* per event */
    struct http_server_options http;
    struct http_client_options client;
    const char *ingress_address; /* NULL: no listener */
    const char *hooks_address;   /* a listener of their own for webhooks; NULL: on the ingress listener */
    const char *hooks_url;       /* where the world reaches the webhooks; NULL: not known */
    uint64_t drain_ns;           /* how long a stop waits for deliveries under way */
    uint64_t verify_ns;          /* from one question whether a bus answers for a channel to the next; 0: 30 s */
    bool observe;                /* reports.observed is wanted */
    bool shared;           /* the buses are other processes' too: only what can be shared is used, nothing removed */
    bool forever;          /* deliveries are tried again until they are taken: nothing is parked */
    bool register_sources; /* sources' webhooks are registered at their origins; else another process does it */
    const char *feeds;     /* the folder where feedlets keep what they started; NULL: none, or none may run */
    size_t trace_bytes;    /* memory of the traces of all loops together (trace.h); 0: none */
};

/* ---- what a routing points to; made and freed by the engine, read by shards ---- */

struct engine_bus {
    struct list link;
    struct engine *engine;
    char *key;
    struct bus *bus;
    char *params;    /* with which it was opened; owned */
    bool bound;      /* on every loop */
    bool wanted;     /* in the plan being applied */
    bool full;       /* as it was looked at last: it takes no events for now, as its notice told */
    bool sick;       /* as it was looked at last: what is wrong with what lies on it is no news */
    bool away;       /* likewise (engine_verify.c): it is not asked about single channels */
    bool superseded; /* another of its key was opened with newer parameters: what lies on it moves there */
    bool closing;    /* nothing lies on it any more; `stopped`: its stop has ended */
    bool stopped;
    unsigned loose; /* operations on it whose end nobody else waits for */
    struct bus_op op;
};

/* What is wrong with one thing on a bus, as it was told last. */
struct engine_fault {
    uint64_t mark; /* of error and text; 0: nothing is wrong */
    char *why;     /* the text; owned; may be NULL */
    enum err err;  /* as it was told last */
    bool said;     /* the log has it, and is to have its end */
    bool looked;   /* the bus said so by itself, of what was made before */
    bool asked;    /* it said so when it was asked (engine_verify.c) */
};

struct engine_channel {
    struct list link;
    char *key;
    char *label_namespace, *label_name; /* for metrics */
    struct engine_bus *bus;             /* NULL: it could not be opened; the channel is never ready */
    struct bus_channel *handle;         /* written once, before `ready` */
    struct bus_op op;
    struct engine *engine;
    uint32_t subject; /* its number in traces; never used again in this process */
    char *params;     /* as the bus got them last; owned */
    struct engine_fault fault;
    struct engine_verify *verify; /* owned; NULL: not asked about yet, as dead-letter channels never are */
    bool verified;                /* it is to be asked about before it is ready */
    bool provisioned;
    bool mended;        /* by the plan being applied: told when that is in force */
    _Atomic bool ready; /* provisioned, and its subscriptions are there: what it takes, none of them misses, but those
                           that the bus could not make, which are not Ready and begin later; a later plan may find the
                           bus willing while the loops look */
    bool wanted;        /* in the plan being applied */
    bool moved;         /* not wanted, but its key is, on another bus */
    unsigned users;     /* replays that read it, and questions about it: it stays until they have ended */
    struct engine_subscription *parked_of; /* it is this one's dead-letter channel; NULL: it is none */
    _Atomic uint64_t accepted, refused_full;
};

struct engine_counters {
    struct dispatch_counters counted;
    char apart[64]; /* from the next shard's: no cache line is written by two */
};

/* A subscription's share on one shard, written by that shard alone, and rarely. */
struct engine_share {
    struct shard_stream *stream;                /* NULL: none there */
    _Atomic(struct engine_counters *) counters; /* owned; NULL: nothing has been counted yet */
    _Atomic(struct engine_trouble *) trouble;   /* owned: the latest, until the look takes it (engine_health.c) */
};

/* How its deliveries go, as it was looked at last (engine_health.c). */
struct engine_health {
    enum { ENGINE_HEALTH_UNKNOWN, ENGINE_HEALTH_GOOD, ENGINE_HEALTH_BAD } state;
    const char *reason;                                         /* of what is bad; a literal */
    char *told;                                                 /* owned: the words that were told last */
    uint64_t told_ns;                                           /* monotonic */
    struct engine_trouble *trouble;                             /* owned: the latest */
    uint64_t delivered, failed, dead_lettered, parked, expired; /* counted so far */
    uint64_t dropped, parked_dropped;                           /* likewise, by the bus */
    bool waited;                                                /* once for what was said of the first failure */
};

struct engine_subscription {
    struct list link;
    char *key; /* owned, with the texts that follow */
    const char *cursor, *label_namespace, *label_name;
    bool keep_cursor; /* as the last plan that has it says */
    struct engine_bus *bus;
    struct engine_channel *channel; /* NULL: it is gone, and lives on for its parked events */
    struct engine_bus *parked_bus;  /* of its dead-letter channel */
    struct engine_channel *parked;  /* that; NULL: nothing has been parked yet (parked_late) */
    struct bus_subscription *handle, *parked_handle;
    struct bus_op op;
    struct engine_parking *parking; /* it is being made (engine_parked.c); NULL: it is not */
    unsigned parkers;               /* who waits for it, or appends to it since: the subscription stays meanwhile */
    struct engine *engine;
    uint32_t subject; /* its number in traces; never used again in this process */
    int64_t since_ns; /* wall time: made then in this process */
    char *params;     /* as the bus got them last; owned */
    struct engine_fault fault;
    struct engine_health *health; /* owned; NULL: nothing has been counted, delivered or dropped, yet */
    struct filter *filter;        /* likewise; a reference, NULL: everything */
    struct dlq_session *dlq;      /* somebody looks at its parked events; NULL: nobody */
    bool ready, wanted;
    bool drops_known;         /* the bus has been asked for what it dropped before */
    bool parked_late;         /* its dead-letter channel is made for the first event; fixed */
    atomic_bool parked_ready; /* set after parked and parked_handle, which the loops read then */
    bool moved;               /* not wanted, but its key and cursor are, on another bus */
    bool mended;              /* by the plan being applied: told when that is in force */
    bool failed;              /* something of it, as the plan was applied last; under_way: its operations there */
    unsigned under_way;
    struct bus_subscription *leftover; /* replay/CURSOR of a process that was killed, on its way out; NULL: none */
    void (*swept)(struct engine_subscription *s); /* then */
    bool paused;                                  /* nobody drains it */
    bool ordered;                                 /* it asks for an order */
    unsigned replays;                             /* into it: it stays until they have ended */
    struct engine_share shares[];                 /* by shard */
};

/* What was counted on one shard; of zeros before its first event there. Any thread. */
static inline const struct dispatch_counters *engine_counted(const struct engine_subscription *s, size_t shard)
{
    static const struct dispatch_counters none;
    const struct engine_counters *c = atomic_load_explicit(&s->shares[shard].counters, memory_order_acquire);
    return c ? &c->counted : &none;
}

/* What a source's requests came to; written by the loops that it is on. */
struct engine_heard {
    uint64_t delivered, failed;               /* relaxed atomics */
    _Atomic(struct engine_trouble *) trouble; /* owned: the latest, until the look takes it (engine_health.c) */
};

struct engine_source {
    struct list link;
    char *key;
    char *label_namespace, *label_name;
    struct engine *engine;
    const struct source_ops *ops;
    struct source_counters counters;
    struct engine_heard heard;
    struct engine_health health;
    uint64_t place_told; /* of counters.place */
    struct source *last; /* of the one loop that it runs on, if it is such a source; see struct source_host */
    struct source_registration *registration;
    struct plan *plan; /* holds the spec that the registration runs on */
    const struct plan_source *spec;
    bool wanted;
    bool leaving; /* its registration is ending */
};

/* Immutable once handed to the shards; freed when the last of them has passed it. */
struct routing {
    atomic_uint refs;
    struct plan *plan;
    struct engine_channel **channels;           /* by index in the plan; never NULL */
    struct engine_subscription **subscriptions; /* likewise */
    struct engine_source **sources;
    struct map paths; /* path → struct route */
    struct map hosts; /* lower-case host name → struct route */
    struct route *routes;
    char *ingress_url;
};
struct route {
    enum { ROUTE_CHANNEL, ROUTE_SOURCE, ROUTE_UNREADY } kind;
    size_t index;
};
void routing_unref(struct routing *r);
/* Where a request goes; NULL when nowhere. `host` with or without port, any case. Any thread. */
const struct route *routing_find(const struct routing *r, struct slice path, struct slice host);

enum err engine_new(struct loop *control, const struct engine_options *options, struct engine **out,
                    struct diag *d) must_check;
/* After engine_stop's done; NULL is fine. */
void engine_free(struct engine *e);
/* Opens the listeners; until then nothing is accepted. Addresses by engine_ingress and engine_hooks. */
enum err engine_listen(struct engine *e, struct diag *d) must_check;
const char *engine_ingress(const struct engine *e);
const char *engine_hooks(const struct engine *e); /* NULL when they are on the ingress listener */

/* Takes a reference. `report` is called (control loop) with each source's registration state. Errors of the parts
 * become log lines, reports and engine_ready's reasons. */
void engine_apply(struct engine *e, struct plan *plan);
struct engine_place {
    const char *key;
    uint64_t place;
};
struct engine_reports {
    void (*source)(void *arg, const char *key, bool ready, const char *reason, const char *message,
                   const char *webhook_id);
    void (*applied)(void *arg, const struct plan *plan); /* it is in force */
    /* What came of a channel or subscription on its bus, by its key; `text` says why not, and may be empty. */
    void (*made)(void *arg, const char *key, enum err err, const char *text);
    /* The bus of this key could not be opened; it is tried again with the next plan, and before (`again`) where it may
     * come right by itself. */
    void (*bus_failed)(void *arg, const char *key, enum err err, const char *text, bool again);
    /* An event of a type and source that were new to the channel passed it; may come more than once. */
    void (*observed)(void *arg, const struct plan_channel *channel, const struct ce_event *e);
    /* Sources that have gone on in their work (source_counters.place); not more than once a second. NULL: nobody asks.
     */
    void (*places)(void *arg, const struct engine_place *places, size_t count);
    /* Up to where the source of this key had done its work when it was last told; 0: not known. NULL likewise. */
    uint64_t (*place)(void *arg, const char *key);
    /* The bus has a subscription of its own for a replay into the one of this cursor, or has it no more; and whether it
     * had one when it was last told. NULL: nobody keeps it. */
    void (*replaying)(void *arg, const char *cursor, bool there);
    bool (*was_replaying)(void *arg, const char *cursor);
    /* Whether an object has this uid. NULL: nobody knows. */
    bool (*is_there)(void *arg, const char *uid);
    /* How the source of this key stands: reason NULL, all is well; else what its condition is to say. */
    void (*source_state)(void *arg, const char *key, const char *reason, const char *message);
    /* To what a key stands for, at most once a second of each reason. NULL: nobody asks; likewise the next. */
    void (*happened)(void *arg, const char *key, const struct happening *what);
    /* Whether the subscriber of this subscription takes what it gets; `message` (borrowed) may be NULL where it does.
     * At most once a second each. */
    void (*healthy)(void *arg, const char *key, bool good, const char *reason, const char *message);
    void *arg;
};
void engine_set_reports(struct engine *e, const struct engine_reports *reports);

/* True when a plan is in force and every bus answers. Else *why (may be NULL) gets lines for people. */
bool engine_ready(struct engine *e, struct buf *why);

/* Stops accepting, lets deliveries finish up to drain_ns, ends the shards. */
struct engine_rest {
    uint64_t lost; /* events that a bus which is not durable still held */
    uint64_t kept; /* those that wait on the durable ones, for the next start */
};
void engine_stop(struct engine *e, void (*done)(void *arg, const struct engine_rest *rest), void *arg);

/* What runs on somebody's order (task.h), and the access to parked events (dlq.h). */
struct task_list;
struct task_list *engine_tasks(struct engine *e);
struct dlq;
struct dlq *engine_dlq(struct engine *e);
/* What the bus says of a subscription on it; all zero where the handle is NULL. */
struct bus_probe engine_probe(const struct engine_bus *bus, struct bus_subscription *handle);
/* All subscriptions, also those of which only parked events are left. */
void engine_each_subscription(struct engine *e, void (*visit)(void *arg, const struct engine_subscription *s),
                              void *arg);

/* Metrics in Prometheus text form. */
void engine_metrics(struct engine *e, struct buf *out);

/* A probe of a channel, or of a subscription where `handle` is not NULL, that is not old: on a bus that is shared it
 * may take a while (engine_fresh.c). Lies in the caller's structure until done ran, which may be inside the call.
 * Control loop; what is probed stays until then. */
struct engine_fresh {
    struct engine *engine;
    const struct engine_bus *bus;
    struct bus_channel *channel;
    struct bus_subscription *handle;
    void (*done)(struct engine_fresh *f, const struct bus_probe *probe);
    struct loop_timer timer; /* private */
    uint64_t deadline_ns;    /* private */
};
void engine_fresh_start(struct engine_fresh *f);

/* ---- for the API, on the control loop ---- */
/* What is in force on every shard; NULL before the first plan. Valid until the next turn. */
const struct routing *engine_routing(const struct engine *e);
bool engine_traces(const struct engine *e); /* whether anything is remembered */
size_t engine_shard_count(const struct engine *e);
struct shard *engine_shard(const struct engine *e, size_t i);

/* ---- for shards ---- */
/* The shard's own loop: what a stream's sink said last, of its own share. */
void engine_trouble_put(struct engine_share *share, const struct dispatch_trouble *what);
/* Likewise of a source, by any loop that it is on. */
void engine_trouble_leave(_Atomic(struct engine_trouble *) *place, const struct dispatch_trouble *what);
/* Control loop: a source told how it stands (struct source_host). */
void engine_source_state(struct engine *e, const char *key, const char *reason, const char *message);
/* Control loop: an observation of a channel, by its number. */
void engine_observed(struct engine *e, uint32_t channel, const struct ce_event *event);
unsigned engine_loops(const struct engine *e);            /* how many shards there will be */
const uint64_t *engine_trace_key(const struct engine *e); /* of all traces */
const struct engine_options *engine_options_of(const struct engine *e);
struct loop *engine_control(const struct engine *e);
const struct clock *engine_clock(const struct engine *e);

#endif
