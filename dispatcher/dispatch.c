/* SPDX-License-Identifier: Apache-2.0
 *
 * The dispatcher and its streams: credit, updates, the way out. What happens to one event is in flight.c. On the
 * dispatcher's loop.
 *
 * Credit. The bus may have in_flight_max events with us. It is given once at the start, and one more whenever an
 * event has left us, so that at every moment
 *     credit with the bus + events in hand + starved = in_flight_max + debt
 * where debt is what an update took away while the bus had it already, and starved what was held back because there
 * was no memory for a flight.
 *
 * A stream's life
 *     running --stop--> stopping --no event in hand, or the deadline--> detaching --detach's done--> gone
 * While stopping, attempts run on, into reply, dead letter and parking too, so that what was accepted is not sent
 * again; but nothing waits: what would is released. What the bus still delivers on old credit is left alone: its
 * tokens are void with the detach.
 */
#include <assert.h>
#include <stdlib.h>

#include "flight.h"

void count_add(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void count_sub(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_sub(counter, n, __ATOMIC_RELAXED);
}

/* ---- the dispatcher ---- */

static void on_bury(struct loop_task *t)
{
    terms_bury(container_of(t, struct dispatcher, bury));
}

enum err dispatcher_new(struct loop *loop, struct prng *prng, struct dispatcher **out)
{
    assert(loop && prng);
    struct dispatcher *d = calloc(1, sizeof *d);
    if (!d)
        return ERR_NOMEM;
    d->loop = loop;
    d->prng = prng;
    list_init(&d->streams);
    list_init(&d->flights);
    list_init(&d->dead_terms);
    loop_task_init(&d->bury, on_bury);
    *out = d;
    return OK;
}

void dispatcher_free(struct dispatcher *d)
{
    if (!d)
        return;
    assert(list_empty(&d->streams));
    loop_task_cancel(&d->bury);
    terms_bury(d);
    flight_free_all(d);
    assert(d->flights_kept == 0);
    d->closing = true;
    if (d->orphans == 0)
        free(d);
}

/* ---- credit ---- */

static void give_credit(struct dispatch_stream *s, unsigned n)
{
    unsigned owed = n < s->debt ? n : s->debt;
    s->debt -= owed;
    if (n > owed)
        s->bus->ops->credit(s->bus, s->source, n - owed);
}

static void on_starved(struct loop_timer *t)
{
    struct dispatch_stream *s = container_of(t, struct dispatch_stream, starved_timer);
    unsigned n = s->starved;
    assert(n > 0 && !s->stopping);
    s->starved = 0;
    give_credit(s, n);
}

void stream_flight_ended(struct dispatch_stream *s, bool credit)
{
    if (!s->stopping && credit)
        give_credit(s, 1);
    else if (s->stopping && list_empty(&s->flights))
        loop_defer(s->dispatcher->loop, &s->leave);
}

/* ---- what the bus calls ---- */

static void on_deliver(void *arg, struct bus_stream *source, const struct ce_event *event, struct bus_token token,
                       unsigned attempt)
{
    struct dispatch_stream *s = arg;
    const struct dispatch_spec *spec = &s->terms->spec;
    (void)attempt;
    assert(source == s->source);
    if (s->stopping)
        return;
    if (!filter_match(spec->filter, event)) {
        count_add(&spec->counters->filtered, 1);
        s->bus->ops->settle(s->bus, source, token, BUS_ACK);
        give_credit(s, 1);
        return;
    }
    if (flight_begin(s, event, token) == OK)
        return;
    /* No memory. Its credit stays here for a while, or the bus would hand it out again at once. */
    s->bus->ops->settle(s->bus, source, token, BUS_RELEASE);
    s->starved++;
    if (!loop_timer_armed(&s->starved_timer))
        loop_timer_start(s->dispatcher->loop, &s->starved_timer, STARVED_WAIT_NS);
}

static void on_revoked(void *arg, struct bus_stream *source, struct bus_token token)
{
    struct dispatch_stream *s = arg;
    assert(source == s->source);
    list_each(l, tmp, &s->flights) {
        struct flight *f = container_of(l, struct flight, link);
        if (f->token.a == token.a && f->token.b == token.b) {
            flight_drop(f);
            return;
        }
    }
    /* Not in hand: settled while this was under way on a bus with threads of its own, or never begun since we are
     * stopping. */
}

/* ---- the stream's life ---- */

static void on_detached(struct bus_op *op, enum err err)
{
    struct dispatch_stream *s = container_of(op, struct dispatch_stream, detach);
    struct dispatcher *d = s->dispatcher;
    (void)err; /* the stream is gone either way, and there is nobody who could do better */
    assert(s->stopping && list_empty(&s->flights));
    list_remove(&s->link);
    terms_unref(s->terms);
    terms_bury(d);
    void (*stopped)(void *) = s->stopped;
    void *arg = s->stopped_arg;
    free(s);
    if (stopped)
        stopped(arg);
}

static void on_leave(struct loop_task *t)
{
    struct dispatch_stream *s = container_of(t, struct dispatch_stream, leave);
    assert(s->stopping && list_empty(&s->flights));
    loop_timer_stop(s->dispatcher->loop, &s->deadline);
    report_stop(s);
    s->detach = (struct bus_op){.done = on_detached};
    s->bus->ops->detach(s->bus, s->source, &s->detach);
}

static void on_deadline(struct loop_timer *t)
{
    struct dispatch_stream *s = container_of(t, struct dispatch_stream, deadline);
    assert(s->stopping);
    list_each(l, tmp, &s->flights)
        flight_drop(container_of(l, struct flight, link));
    assert(list_empty(&s->flights));
}

enum err dispatch_stream_start(struct dispatcher *d, struct bus *bus, struct bus_subscription *subscription,
                               const struct dispatch_spec *spec, struct dispatch_stream **out)
{
    static const struct bus_stream_callbacks callbacks = {.deliver = on_deliver, .revoked = on_revoked};
    struct dispatch_stream *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    enum err e = terms_new(d, spec, &s->terms);
    if (e != OK) {
        free(s);
        return e;
    }
    s->dispatcher = d;
    s->bus = bus;
    list_init(&s->flights);
    loop_timer_init(&s->starved_timer, on_starved);
    loop_timer_init(&s->deadline, on_deadline);
    loop_task_init(&s->leave, on_leave);
    report_start(s);
    e = bus->ops->attach(bus, subscription, d->loop, &callbacks, s, &s->source);
    if (e != OK) {
        terms_unref(s->terms);
        free(s);
        return e;
    }
    list_push_back(&d->streams, &s->link);
    give_credit(s, s->terms->spec.in_flight_max);
    *out = s;
    return OK;
}

enum err dispatch_stream_update(struct dispatch_stream *s, const struct dispatch_spec *spec)
{
    assert(!s->stopping);
    struct terms *terms;
    enum err e = terms_new(s->dispatcher, spec, &terms);
    if (e != OK)
        return e;
    assert(terms->spec.counters ==
           s->terms->spec.counters); /* or in_flight would count down where it never counted up */
    unsigned before = s->terms->spec.in_flight_max, now = terms->spec.in_flight_max;
    terms_unref(s->terms);
    s->terms = terms;
    if (now > before)
        give_credit(s, now - before);
    else
        s->debt += before - now;
    return OK;
}

void dispatch_stream_stop(struct dispatch_stream *s, uint64_t deadline_ns, void (*stopped)(void *arg), void *arg)
{
    assert(!s->stopping);
    struct loop *loop = s->dispatcher->loop;
    s->stopping = true;
    s->stopped = stopped;
    s->stopped_arg = arg;
    loop_timer_stop(loop, &s->starved_timer);
    list_each(l, tmp, &s->flights) {
        struct flight *f = container_of(l, struct flight, link);
        if (f->activity == ACTIVITY_WAITING)
            flight_release(f);
    }
    if (list_empty(&s->flights))
        loop_defer(loop, &s->leave);
    else if (deadline_ns > 0)
        loop_timer_start(loop, &s->deadline, deadline_ns);
    else
        on_deadline(&s->deadline);
}
