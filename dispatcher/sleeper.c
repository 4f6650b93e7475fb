/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams that are made by their first event. A sleeper is attached with the stream's credit, and has nothing else;
 * the event makes the stream, which takes over what is attached, the credit and the event.
 *
 *     asleep ──event, or somebody injects──→ awake: all is the stream's ──stop──→ gone with the stream
 *        │ ↑
 *        │ └─ STARVED_WAIT_NS later: its credit again
 *        ├──event, but no stream could be made──→ refused: the event is back with the bus
 *        └──stop──→ detaching ──→ gone
 *
 * A detach needs memory that a sleeper does without; where there is none it is tried again like what was refused.
 */
#include <assert.h>
#include <stdlib.h>

#include "flight.h"

struct leaving {
    struct bus_op op;
    struct dispatch_sleeper *sleeper;
};

static void sleeper_detached(struct bus_op *op, enum err err)
{
    struct leaving *l = container_of(op, struct leaving, op);
    struct dispatch_sleeper *s = l->sleeper;
    (void)err; /* it is gone either way */
    free(l);
    s->ops->stopped(s);
}

static void sleeper_waits(struct dispatch_sleeper *s)
{
    struct dispatcher *d = s->dispatcher;
    if (list_empty(&s->link))
        list_push_back(&d->sleepers, &s->link);
    if (!loop_timer_armed(&d->sleepers_timer))
        loop_timer_start(d->loop, &d->sleepers_timer, STARVED_WAIT_NS);
}

static void sleeper_go(struct dispatch_sleeper *s)
{
    struct leaving *l = malloc(sizeof *l);
    list_remove(&s->link);
    if (!l) {
        sleeper_waits(s);
        return;
    }
    *l = (struct leaving){{.done = sleeper_detached}, s};
    s->bus->ops->detach(s->bus, s->source, &l->op);
}

static void give_again(struct dispatch_sleeper *s)
{
    unsigned n = s->refused;
    s->credit += n;
    s->refused = 0;
    s->bus->ops->credit(s->bus, s->source, n);
}

void sleepers_due(struct loop_timer *t)
{
    struct dispatcher *d = container_of(t, struct dispatcher, sleepers_timer);
    struct list all, *l;
    list_init(&all);
    list_splice_back(&all, &d->sleepers);
    while ((l = list_pop_front(&all))) {
        struct dispatch_sleeper *s = container_of(l, struct dispatch_sleeper, link);
        if (s->stopping)
            sleeper_go(s);
        else if (!s->stream)
            give_again(s);
    }
}

/* ---- what the bus calls ---- */

static void sleeper_deliver(void *arg, struct bus_stream *source, const struct ce_event *event, struct bus_token token,
                            unsigned attempt)
{
    struct dispatch_sleeper *s = arg;
    assert(source == s->source);
    if (s->stopping && !s->stream)
        return; /* void with the detach */
    /* After one that was refused the next ones are, too: they may be of its order. */
    if (!s->stream && (s->refused || s->ops->wake(s) != OK)) {
        assert(!s->stream);
        s->bus->ops->settle(s->bus, source, token, BUS_RELEASE);
        s->credit--;
        s->refused++;
        sleeper_waits(s);
        return;
    }
    stream_deliver(s->stream, source, event, token, attempt);
}

static void sleeper_revoked(void *arg, struct bus_stream *source, struct bus_token token)
{
    struct dispatch_sleeper *s = arg;
    if (s->stream)
        stream_revoked(s->stream, source, token);
}

/* ---- its life ---- */

enum err dispatch_sleeper_start(struct dispatch_sleeper *s, struct dispatcher *d, struct bus *bus,
                                struct bus_subscription *subscription, const struct dispatch_sleeper_ops *ops,
                                unsigned credit)
{
    static const struct bus_stream_callbacks callbacks = {.deliver = sleeper_deliver, .revoked = sleeper_revoked};
    *s = (struct dispatch_sleeper){.dispatcher = d, .bus = bus, .ops = ops, .credit = credit};
    list_init(&s->link);
    enum err e = bus->ops->attach(bus, subscription, d->loop, &callbacks, s, &s->source);
    if (e == OK)
        bus->ops->credit(bus, s->source, credit);
    return e;
}

enum err dispatch_sleeper_begin(struct dispatch_sleeper *s, const struct dispatch_spec *spec)
{
    assert(!s->stream && !s->stopping);
    enum err e = stream_take_over(s->dispatcher, s->bus, s->source, s->credit, spec, &s->stream);
    if (e == OK)
        list_remove(&s->link);
    return e;
}

static void sleeper_stopped(void *arg)
{
    struct dispatch_sleeper *s = arg;
    s->ops->stopped(s);
}

void dispatch_sleeper_stop(struct dispatch_sleeper *s, uint64_t deadline_ns)
{
    assert(!s->stopping);
    s->stopping = true;
    if (s->stream)
        dispatch_stream_stop(s->stream, deadline_ns, sleeper_stopped, s);
    else
        sleeper_go(s);
}
