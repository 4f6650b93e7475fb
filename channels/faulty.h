/* SPDX-License-Identifier: Apache-2.0
 *
 * The faulty bus from inside: a bus around a bus, which does within the contract what a bad day does to a real one.
 * Subscriptions are the inner bus's own; channels, appends and streams have a shell here. Everything of a faulty_loop
 * is its loop's alone.
 */
#ifndef LEAT_CHANNELS_FAULTY_H
#define LEAT_CHANNELS_FAULTY_H

#include "bus.h"
#include "prng.h"
#include "round.h"

struct faulty_loop {
    struct faulty_bus *bus;
    struct loop *loop;
    struct prng prng;
    bool stopped;
    struct list appends;   /* faulty_append that wait for their time */
    size_t keyed;          /* of them, those with a partition key */
    uint64_t keyed_due_ns; /* no keyed append that comes later may go earlier */
    struct list streams;
};

struct bus_channel {
    struct list link;
    struct faulty_bus *bus;
    struct bus_channel *inner;
    unsigned refs;
    struct bus_op *release_op;
    struct round round;
};

struct faulty_bus {
    struct bus base;
    struct bus_env env;       /* as given */
    struct bus_env inner_env; /* notices go through us */
    struct bus *inner;
    double append_fail, duplicate, reorder, revoke, verify_fail; /* chances, 0 to 1 */
    struct prng prng;                                            /* control's */
    uint64_t append_delay_ns;                                    /* at most */
    struct faulty_loop *loops;                                   /* owned, one per loop */
    struct list channels;
    struct round round;
    bool stopping, stopped;
    struct bus_op inner_stop;
    struct bus_op *stop_ops; /* chained by owner */
};

static inline struct faulty_bus *faulty_of(struct bus *b)
{
    return (struct faulty_bus *)b;
}

struct faulty_loop *faulty_loop_find(struct faulty_bus *f, const struct loop *loop);
bool faulty_chance(struct faulty_loop *l, double chance);

/* faulty_append.c */
enum err faulty_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                       struct loop *loop);
/* Fails what waits for its time, on one channel or (NULL) on all: with done on the loop, or without when no loop runs.
 */
void faulty_appends_fail(struct faulty_loop *l, const struct bus_channel *c, bool tell);

/* faulty_channel.c */
enum err faulty_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                          struct bus_channel **out, struct bus_op *op, struct diag *d);
void faulty_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op);
void faulty_channels_free(struct faulty_bus *f); /* no loop runs */

/* faulty_stream.c */
enum err faulty_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                       const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out);
void faulty_detach(struct bus *b, struct bus_stream *stream, struct bus_op *op);
void faulty_credit(struct bus *b, struct bus_stream *stream, unsigned n);
void faulty_settle(struct bus *b, struct bus_stream *stream, struct bus_token token, enum bus_settle how);
void faulty_streams_free(struct faulty_loop *l); /* no loop runs */

#endif
