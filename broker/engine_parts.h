/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to engine*.c: the engine itself, and the steps its files share.
 */
#ifndef LEAT_BROKER_ENGINE_PARTS_H
#define LEAT_BROKER_ENGINE_PARTS_H

#include "dlq.h"
#include "engine.h"
#include "prng.h"
#include "shard.h"

struct engine {
    struct loop *control;
    struct engine_options options;
    struct shard **shards;
    struct loop **loops; /* of the shards: what buses see */
    unsigned shard_count;
    struct http_listener *ingress, *hooks;
    struct http_client *client; /* the control loop's own: webhook registration */
    struct list buses, channels, subscriptions, sources;
    struct engine_reports reports;
    struct task_list tasks;
    struct dlq dlq;
    struct list replays;                       /* struct replay */
    void (*replays_stopped)(struct engine *e); /* who waits for the end of them all; NULL: nobody */
    uint32_t subjects;                         /* numbers given to channels and subscriptions, from 1 */
    unsigned parkers;                          /* engine_parked.c: of all subscriptions */
    struct loop_timer places;                  /* engine_places.c */
    /* engine_faults.c */
    struct loop_timer again, look;
    struct loop_timer health; /* engine_health.c */
    unsigned health_looks;
    /* engine_verify.c */
    struct loop_timer verify;
    struct list verify_due;   /* struct engine_verify: to be asked about in this round */
    uint64_t verify_round_ns; /* monotonic: when the next round begins */
    bool verify_wrong;        /* something was wrong: it is asked about again before */
    struct prng verify_jitter;
    bool again_wanted; /* something of the plan being applied failed that may come right by itself */
    unsigned agains;   /* how often it was applied again without all coming right */
    unsigned fault_lines, fault_lines_held;
    uint64_t fault_lines_since_ns;

    bool applied;                     /* a plan is in force */
    struct routing *current;          /* that plan's; NULL before the first */
    struct buf broken, broken_before; /* buses of the newest plan that could not be opened, a line each for people */
    uint64_t trace_key[2];

    /* The plan being applied, and one that waits. */
    bool applying;
    struct plan *waiting;
    struct routing *next;
    bool out_of_memory;
    unsigned pending; /* operations of the present step that have not ended, and one while they are being started */
    void (*step)(struct engine *e); /* what follows when pending is 0 */
    void (*buses_open)(struct engine *e);
    struct engine_bus *unbinding; /* in turn with plans: `applying` meanwhile */
    unsigned closing;             /* buses whose stop is under way while the engine goes on */

    /* An order that every shard carries out. */
    unsigned ordered;
    void (*all_done)(struct engine *e);

    /* Stopping. */
    bool stop_wanted;
    void (*stopped)(void *arg, const struct engine_rest *rest);
    void *stopped_arg;
    uint64_t stop_deadline_ns;
    struct engine_rest rest;
    unsigned unregistering; /* registrations that are ending */
    bool feeds_looked;      /* engine_feeds.c: once is enough */
    bool buses_stopped;
    struct loop_timer timer;
    struct list *stopping_bus;
    struct bus_op stop_op;
};

/* One operation less; the last one starts what follows. */
void engine_step_ended(struct engine *e);
/* Puts the plan in force; none is being applied (engine_apply.c). */
void engine_begin(struct engine *e, struct plan *plan);
/* The plan being applied is in force, or given up: on to the next one, or to the stop. */
void engine_plan_done(struct engine *e);
/* Gives the order to every shard; `done` when all have carried it out. */
void engine_order_all(struct engine *e, enum shard_order order, void (*done)(struct engine *e));
void engine_stop_begin(struct engine *e);
/* Tells whoever waits for the stop when nothing is left to end. */
void engine_stop_check(struct engine *e);

/* ---- engine_buses.c ---- */

/* The open bus of this key; NULL: there is none. */
struct engine_bus *engine_bus_find(const struct engine *e, const char *key);
/* Opens what the plan being applied has and is not open yet, or otherwise; then `then`. */
void engine_buses_open(struct engine *e, void (*then)(struct engine *e));
/* Whether all of them answer; else *why (may be NULL) gets lines. */
bool engine_buses_ready(struct engine *e, struct buf *why);
/* Stops and frees those that nothing lies on and no plan wants. */
void engine_buses_close(struct engine *e);
/* It is stopped and unbound, or the loops have ended. */
void engine_bus_free(struct engine_bus *b);

/* ---- engine_faults.c ---- */

struct engine_failure {
    const char *line;       /* "channel.failed"; NULL: another line tells of the cause */
    const char *noun, *key; /* "channel", key of the plan */
    enum err err;
    const char *why; /* "" when nothing is to be added */
    bool again;      /* it may come right by itself */
};
void engine_faults_init(struct engine *e);
void engine_faults_stop(struct engine *e);
void engine_fault_fini(struct engine_fault *f);
/* Whether nothing is wrong with any channel or subscription; else *why (may be NULL) gets lines. */
bool engine_faultless(struct engine *e, struct buf *why);
void engine_fault(struct engine *e, struct engine_fault *f, const struct engine_failure *what);
/* It is well again, which is told. */
void engine_fault_over(struct engine *e, struct engine_fault *f, const char *key);
/* A plan is in force: what works again is told; where something failed it is applied again after a while. */
void engine_faults_plan_done(struct engine *e);
/* Whether what a whole bus says of itself (bus.h) is that it has no room for events now. */
static inline bool engine_bus_full(const struct bus_probe *of_bus)
{
    return of_bus->healthy && of_bus->err == ERR_FULL;
}
/* A bus said something: what lies on the buses is looked at. */
void engine_look_soon(struct engine *e);
/* A bus said something good: what failed is tried again now, not when its wait is over. */
void engine_again_soon(struct engine *e);

/* ---- engine_health.c: whether subscribers, and sinks of sources, take what they get ---- */

void engine_health_init(struct engine *e);
/* Looks once a second from now on, as long as there is a subscription, or a source. */
void engine_health_watch(struct engine *e);
void engine_health_stop(struct engine *e);
void engine_health_fini(struct engine_subscription *s);
void engine_health_source_fini(struct engine_source *s);
/* Tells what happened to a subscription. */
void engine_happened(struct engine_subscription *s, const struct happening *what);

/* ---- engine_verify.c: whether buses answer for channels ---- */

void engine_verify_init(struct engine *e);
/* Asks from now on, now and then, as long as there is a channel. */
void engine_verify_watch(struct engine *e);
void engine_verify_stop(struct engine *e);
void engine_verify_fini(struct engine_channel *c);

/* ---- channels and subscriptions ---- */

/* NULL without memory. */
struct engine_channel *engine_channel_new(struct engine *e, const char *key, const char *namespace_name,
                                          const char *name, struct engine_bus *bus);
/* Provisions it on its bus, as an operation of the present step. */
void engine_channel_provision(struct engine_channel *c, const char *bus_name, const struct bus_param *params,
                              size_t count);
/* The parameters as one text, to see whether they changed; NULL without memory. */
char *engine_params_text(const struct bus_param *params, size_t count);
/* Fills the plan's subscriptions in the routing being applied, from those there are and new ones, whose dead-letter
 * channels are provisioned; false without memory (engine_subscriptions.c). */
bool engine_subscriptions_choose(struct engine *e);
/* Subscribes those that are new or have changed, as operations of the present step. */
void engine_subscribe_all(struct engine *e);

/* The dead-letter channel of a subscription, not yet on its bus; NULL without memory. */
struct engine_channel *engine_parked_new(struct engine_subscription *s);
/* Subscribes what keeps its events, as bus_ops.subscribe does. */
enum err engine_subscribe_parked(struct engine_channel *parked, struct bus_subscription **out, struct bus_op *op,
                                 struct diag *d) must_check;

void engine_channel_free(struct engine_channel *c);
void engine_subscription_free(struct engine_subscription *s);
void engine_source_free(struct engine_source *s);
/* Ends the registration at the origin; with `remove` the webhook is deleted there. */
void engine_source_unregister(struct engine_source *s, bool remove);

/* Fills the plan's sources in the routing being applied, from those there are and new ones; sets out_of_memory
 * (engine_sources.c). */
void engine_sources_choose(struct engine *e);
void engine_sources_register(struct engine *e);
void engine_feeds_left(struct engine *e); /* engine_feeds.c */

/* ---- engine_places.c: up to where sources have done their work ---- */

void engine_places_init(struct engine *e);
/* Looks once a second from now on, as long as there is a source of that kind. */
void engine_places_watch(struct engine *e);
/* Tells what has changed, for the last time. */
void engine_places_stop(struct engine *e);
/* Everything that is not `wanted` goes (engine_leftovers.c). */
void engine_drop_leftovers(struct engine *e);

/* Nobody looks at its parked events or replays into it any more: one that the plan has no more goes. */
void engine_subscription_unused(struct engine *e, struct engine_subscription *s);
void engine_channel_unused(struct engine *e, struct engine_channel *c);
/* A replay has ended. */
void engine_replays_check(struct engine *e);

/* Fills the maps of a routing whose plan is set (routing.c). */
enum err routing_index(struct routing *r) must_check;

/* Reports what came of a channel or subscription. */
void engine_report_made(struct engine *e, const char *key, enum err err, const char *text);

#endif
