/* SPDX-License-Identifier: Apache-2.0
 *
 * A shard: one data loop with everything that is private to it: server, client, dispatcher, streams, sources. Shards
 * share nothing but immutable routings and counters.
 */
#ifndef LEAT_BROKER_SHARD_H
#define LEAT_BROKER_SHARD_H

#include <pthread.h>

#include "engine.h"
#include "prng.h"

/* Why an event or request was refused at ingress; the `reason` label of leat_events_refused_total. */
enum refusal {
    REFUSED_NOT_FOUND,
    REFUSED_METHOD,
    REFUSED_INVALID,
    REFUSED_UNSUPPORTED,
    REFUSED_TOO_LARGE,
    REFUSED_FULL,
    REFUSED_UNAVAILABLE,
    REFUSED_LOOP,
    REFUSED_COUNT
};
extern const char *const refusal_names[REFUSED_COUNT];

/* What the control loop may tell a shard to do. */
enum shard_order {
    SHARD_BIND,   /* make a bus's private state for this loop */
    SHARD_UNBIND, /* free it */
    SHARD_ROUTE,  /* put a routing in force: streams and sources are started, updated and stopped as it says */
    SHARD_QUIET,  /* close the sources that post their events (source_ops.posts) */
    SHARD_DRAIN,  /* take no further requests */
    SHARD_STOP    /* stop all streams and sources */
};

struct shard_counters {        /* relaxed atomics */
    _Atomic uint64_t requests; /* that brought events; each has its number */
    _Atomic uint64_t refused[REFUSED_COUNT];
};

struct shard {
    struct engine *engine;
    unsigned index, shard_count;
    struct loop *loop;
    pthread_t thread;
    bool running;
    struct prng prng;
    struct http_server *ingress, *hooks; /* hooks: NULL unless they have a listener of their own */
    struct http_client *client;
    struct dispatcher *dispatcher;
    struct trace *trace;       /* of what happens on this loop; NULL: none is kept */
    struct routing *routing;   /* in force on this loop; NULL before the first */
    struct list streams;       /* struct shard_stream */
    struct list sources;       /* struct shard_source */
    struct list common;        /* what sources of this loop share */
    struct observed *observed; /* NULL: nobody wants to know (observe.h) */
    struct list taps;          /* who watches what enters channels (tap.h) */
    struct shard_counters counters;

    /* One order at a time; the engine waits for `ordered` before the next. */
    struct letter letter, answer;
    enum shard_order order;
    void (*ordered)(struct shard *s); /* on the control loop */
    enum err order_error;
    struct bus *order_bus;         /* SHARD_BIND, SHARD_UNBIND */
    struct routing *order_routing; /* SHARD_ROUTE: the reference is taken over */
    uint64_t order_deadline_ns;    /* SHARD_STOP: how long attempts under way may take */
    unsigned unfinished;           /* streams and sources that are still stopping, and one for the order itself */
};

enum err shard_new(struct engine *e, unsigned index, struct shard **out, struct diag *d) must_check;
enum err shard_start(struct shard *s) must_check;
/* Stops the loop and joins the thread. */
void shard_join(struct shard *s);
void shard_free(struct shard *s);

/* Control loop: gives the order; its arguments were set before. `ordered` runs on the control loop when it is carried
 * out. */
void shard_order(struct shard *s, enum shard_order order, void (*ordered)(struct shard *s));
/* On the shard's loop: the order is carried out. */
void shard_answer(struct shard *s);
/* The one loop of what must not be spread: streams whose limits span loops, sessions on parked events. Always the same
 * for a cursor. */
unsigned shard_home(const char *cursor, unsigned shard_count);
/* The stream that drains the subscription here, made if it was asleep (shard_stream.c). ERR_CLOSED: there is none, or
 * it stops; else it cannot be made now. */
enum err shard_stream_awake(const struct shard *s, const struct engine_subscription *subscription,
                            struct dispatch_stream **out) must_check;
/* SHARD_ROUTE and SHARD_STOP; SHARD_QUIET (shard_route.c). */
void shard_apply(struct shard *s);
void shard_finished_one(struct shard *s); /* of `unfinished` */
/* The first failure is told to the engine, and the log has all of them. */
void shard_failed(struct shard *s, const char *what, const char *key, enum err e);
/* The streams of this routing, and none where it is NULL (shard_stream.c). */
void shard_streams_route(struct shard *s, struct routing *r);
void shard_quiet(struct shard *s);

/* A source's part on this loop. It outlives its place in the routing until the last of its requests is closed. */
struct shard_source {
    struct list link;
    struct shard *shard;
    struct engine_source *source;
    struct source *instance; /* NULL once closed */
    struct plan *plan;       /* holds the spec */
    const struct plan_source *spec;
    unsigned requests; /* open HTTP requests that were routed here */
    bool closed;
};
/* The source of a route in force here; NULL when it is not running. */
struct shard_source *shard_source_find(struct shard *s, const struct engine_source *source);
/* One request less; frees a closed source with its last. */
void shard_source_release(struct shard_source *source);

/* The handler of the ingress and hooks listeners (ingress.c). */
extern const struct http_handler ingress_handler, hooks_handler;

/* The sink for a target of the routing's plan, on this shard (targets.c); *out is NULL for PLAN_TARGET_NONE. */
enum err shard_sink(struct shard *s, struct routing *r, const struct plan_target *target, struct sink **out) must_check;
/* A sink of that loop that sends to `inner` (a reference is taken) and counts what comes of it (heard_sink.c). `heard`
 * outlives it. */
enum err heard_sink_new(struct sink *inner, struct engine_heard *heard, struct loop *loop,
                        struct sink **out) must_check;

/* Waits for the dead-letter channel of a subscription that is parked_late (engine_parked.c). Lies in the caller's
 * structure until `left` ran; the subscription stays until then. */
struct engine_park_wait {
    struct engine_subscription *subscription;
    struct loop *home;                        /* the data loop that waits */
    void (*made)(struct engine_park_wait *w); /* there: the channel is ready, or `error` says why not */
    void (*left)(struct engine_park_wait *w); /* on the control loop */
    enum err error;
    struct letter letter; /* private, as what follows */
    struct list link;
};
/* On the home loop: `made` follows, never inside the call; and after it the caller leaves, once. */
void engine_parked_await(struct engine_park_wait *w);
void engine_parked_leave(struct engine_park_wait *w);

/* Parks a failed event in the subscription's dead-letter channel (park.c); `park_arg` is a struct park, which lives as
 * long as the stream. */
struct park {
    struct shard *shard;
    struct engine_subscription *subscription;
};
void park_event(void *park_arg, const struct dispatch_failure *failure, void (*parked)(void *arg, enum err err),
                void *arg);

static inline void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Counts one more and gives its number, from 1. */
static inline uint64_t count_next(_Atomic uint64_t *counter)
{
    return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) + 1;
}

#endif
