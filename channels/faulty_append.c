/* SPDX-License-Identifier: Apache-2.0
 *
 * Appends on the faulty bus: some fail, some wait. One that meets neither goes straight to the inner bus, in the
 * caller's own bus_append.
 *
 * Order. Events with a partition key leave in the order in which they came, because none gets an earlier time than the
 * one before it; those without may overtake each other.
 */
#include "faulty.h"

#include <assert.h>
#include <stdlib.h>

#define REORDER_NS (3 * NS_PER_MS) /* how long an event is held back at most so that others pass it */

struct faulty_append {
    struct list link; /* in its loop's appends while it waits for its time */
    struct faulty_loop *at;
    struct bus_append *outer;
    struct bus_append inner;
    struct bus_channel *channel;
    const struct ce_event *event; /* owned reference */
    struct loop_timer timer;
    bool keyed, fails;
};

static void append_free(struct faulty_append *fa)
{
    ce_event_unref(fa->event);
    free(fa);
}

static void tell_outer(struct faulty_append *fa, enum err err)
{
    struct bus_append *outer = fa->outer;
    append_free(fa);
    outer->done(outer, err);
}

static void inner_done(struct bus_append *a, enum err err)
{
    tell_outer(container_of(a, struct faulty_append, inner), err);
}

static void stop_waiting(struct faulty_append *fa)
{
    list_remove(&fa->link);
    loop_timer_stop(fa->at->loop, &fa->timer);
    assert(!fa->keyed || fa->at->keyed > 0);
    fa->at->keyed -= fa->keyed;
}

static void due(struct loop_timer *t)
{
    struct faulty_append *fa = container_of(t, struct faulty_append, timer);
    struct bus *inner = fa->at->bus->inner;
    stop_waiting(fa);
    enum err e = fa->fails ? ERR_UNAVAILABLE : OK;
    if (!e) {
        fa->inner = (struct bus_append){.done = inner_done};
        e = inner->ops->append(inner, fa->channel->inner, fa->event, &fa->inner, fa->at->loop);
    }
    if (e)
        tell_outer(fa, e);
}

static enum err wait_for_time(struct faulty_loop *l, const struct ce_event *event, struct bus_append *a, bool fails,
                              bool keyed, uint64_t delay_ns)
{
    struct faulty_append *fa = calloc(1, sizeof *fa);
    if (!fa)
        return ERR_NOMEM;
    fa->at = l;
    fa->outer = a;
    fa->channel = a->channel;
    fa->event = ce_event_ref(event);
    fa->fails = fails;
    fa->keyed = keyed;
    uint64_t now = loop_now_ns(l->loop), at = now + delay_ns;
    if (keyed) {
        if (at < l->keyed_due_ns)
            at = l->keyed_due_ns;
        l->keyed_due_ns = at;
        l->keyed++;
    }
    list_push_back(&l->appends, &fa->link);
    loop_timer_init(&fa->timer, due);
    loop_timer_start(l->loop, &fa->timer, at - now);
    return OK;
}

enum err faulty_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                       struct loop *loop)
{
    struct faulty_bus *f = faulty_of(b);
    struct faulty_loop *l = faulty_loop_find(f, loop);
    if (l->stopped)
        return ERR_CLOSED;
    bool keyed = ce_event_attribute(event, SLICE("partitionkey"), NULL);
    bool fails = faulty_chance(l, f->append_fail);
    uint64_t delay_ns = f->append_delay_ns ? prng_below(&l->prng, f->append_delay_ns + 1) : 0;
    if (!keyed && faulty_chance(l, f->reorder))
        delay_ns += 1 + prng_below(&l->prng, REORDER_NS);
    if (!fails && !delay_ns && !(keyed && l->keyed))
        return f->inner->ops->append(f->inner, c->inner, event, a, loop);
    a->home = loop;
    a->channel = c;
    return wait_for_time(l, event, a, fails, keyed, delay_ns);
}

void faulty_appends_fail(struct faulty_loop *l, const struct bus_channel *c, bool tell)
{
    struct list failing;
    list_init(&failing);
    list_each(i, tmp, &l->appends) {
        struct faulty_append *fa = container_of(i, struct faulty_append, link);
        if (c && fa->channel != c)
            continue;
        stop_waiting(fa);
        list_push_back(&failing, &fa->link);
    }
    struct list *i;
    while ((i = list_pop_front(&failing))) {
        struct faulty_append *fa = container_of(i, struct faulty_append, link);
        if (tell)
            tell_outer(fa, ERR_CLOSED);
        else
            append_free(fa);
    }
}
