/* SPDX-License-Identifier: Apache-2.0
 *
 * The dispatcher and its streams: credit, updates, the way out. What happens to one event is in flight.c. On the
 * dispatcher's loop.
 *
 * Credit. The bus may have in_flight_max events with us, and one more for each that is held, up to DISPATCH_HELD_MAX.
 * Whenever something changes the bus gets what is missing, so that afterwards
 *     credit with the bus + events in hand + starved >= in_flight_max + held
 * starved being what was held back because there was no memory for a flight. It is more when an update has lowered the
 * limit or a hold has ended while the bus had the credit already, which cannot be taken back: then nothing is given
 * until it is used up, and events that come meanwhile wait for a place (order.c).
 *
 * No memory in an ordered stream. An event that must be refused goes back to the bus, and so do all that come after it,
 * until the bus gets credit again and delivers them in its order.
 *
 * A stream's life
 *     running --stop--> stopping --no event in hand, or the deadline--> detaching --detach's done--> gone
 * While stopping, attempts run on, into reply, dead letter and parking too, so that what was accepted is not sent
 * again; but nothing waits: what would is given up (flight_abandon). What the bus still delivers on old credit is left
 * alone: its tokens are void with the detach.
 */
#include <assert.h>
#include <stdlib.h>

#include "gates.h"

/* This loop alone writes it: no need for an atomic addition, which costs as much as a miss of the cache. */
void count_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

void count_sub(uint64_t *counter, uint64_t n)
{
    count_add(counter, -n);
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
    struct prng random;
    prng_seed_system(&random);
    d->hash_key[0] = prng_next(&random);
    d->hash_key[1] = prng_next(&random);
    list_init(&d->streams);
    list_init(&d->flights);
    list_init(&d->dead_terms);
    list_init(&d->sleepers);
    loop_task_init(&d->bury, on_bury);
    loop_timer_init(&d->sleepers_timer, sleepers_due);
    *out = d;
    return OK;
}

void dispatcher_free(struct dispatcher *d)
{
    if (!d)
        return;
    assert(list_empty(&d->streams) && list_empty(&d->sleepers));
    loop_timer_stop(d->loop, &d->sleepers_timer);
    loop_task_cancel(&d->bury);
    terms_bury(d);
    flight_free_all(d);
    assert(d->flights_kept == 0);
    d->closing = true;
    if (d->orphans == 0)
        free(d);
}

/* ---- credit ---- */

void stream_balance(struct dispatch_stream *s)
{
    if (s->stopping)
        return;
    unsigned held = s->held < DISPATCH_HELD_MAX ? s->held : DISPATCH_HELD_MAX;
    unsigned wanted = s->terms->spec.in_flight_max + held;
    unsigned have = s->outstanding + s->in_hand + s->starved;
    if (wanted <= have)
        return;
    s->outstanding += wanted - have;
    s->bus->ops->credit(s->bus, s->source, wanted - have);
}

static void on_starved(struct loop_timer *t)
{
    struct dispatch_stream *s = container_of(t, struct dispatch_stream, starved_timer);
    assert(s->starved > 0 && !s->stopping);
    s->starved = 0;
    stream_balance(s);
}

void stream_flight_ended(struct dispatch_stream *s)
{
    if (!s->stopping)
        stream_balance(s);
    else if (s->in_hand + s->injected == 0)
        loop_defer(s->dispatcher->loop, &s->leave);
}

/* ---- what the bus calls ---- */

/* Back to the bus. Its credit stays here for a while, or the bus would hand it out again at once. */
static void refuse_delivery(struct dispatch_stream *s, struct bus_token token)
{
    s->bus->ops->settle(s->bus, s->source, token, BUS_RELEASE);
    s->starved++;
    if (!loop_timer_armed(&s->starved_timer))
        loop_timer_start(s->dispatcher->loop, &s->starved_timer, STARVED_WAIT_NS);
}

void stream_deliver(struct dispatch_stream *s, struct bus_stream *source, const struct ce_event *event,
                    struct bus_token token, unsigned attempt)
{
    const struct dispatch_spec *spec = &s->terms->spec;
    (void)attempt;
    assert(source == s->source);
    if (s->stopping)
        return;
    assert(s->outstanding > 0);
    s->outstanding--;
    if (!filter_match(spec->filter, event)) {
        count_add(&spec->counters->filtered, 1);
        note_filtered(s, event);
        s->bus->ops->settle(s->bus, source, token, BUS_ACK);
        stream_balance(s);
        return;
    }
    bool must_wait = s->starved && spec->order != ORDER_NONE;
    struct flight *f = must_wait ? NULL : flight_new(s, event, token, NULL);
    if (!f) {
        refuse_delivery(s, token);
        return;
    }
    flight_admit(f);
    stream_balance(s); /* it may be held */
}

void stream_revoked(struct dispatch_stream *s, const struct bus_stream *source, struct bus_token token)
{
    assert(source == s->source);
    struct flight *f = flight_find(s, token);
    if (f) {
        order_revoked(f);
        flight_drop(f);
    }
    /* Not in hand: settled while this was under way on a bus with threads of its own, or never begun since we are
     * stopping. */
}

static void on_deliver(void *arg, struct bus_stream *source, const struct ce_event *event, struct bus_token token,
                       unsigned attempt)
{
    stream_deliver(arg, source, event, token, attempt);
}

static void on_revoked(void *arg, struct bus_stream *source, struct bus_token token)
{
    stream_revoked(arg, source, token);
}

static void on_injection_ended(struct loop_task *t)
{
    struct dispatch_injection *i = container_of(t, struct dispatch_injection, task);
    i->done(i, i->how);
}

/* ---- the stream's life ---- */

static void on_detached(struct bus_op *op, enum err err)
{
    struct dispatch_stream *s = container_of(op, struct dispatch_stream, detach);
    struct dispatcher *d = s->dispatcher;
    (void)err; /* the stream is gone either way, and there is nobody who could do better */
    assert(s->stopping && list_empty(&s->flights));
    list_remove(&s->link);
    order_stop(s);
    buckets_fini(&s->tokens);
    dedup_free(s->dedup);
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
    rate_stop(s);
    batch_stop(s);
    report_stop(s);
    s->detach = (struct bus_op){.done = on_detached};
    s->bus->ops->detach(s->bus, s->source, &s->detach);
}

static void on_deadline(struct loop_timer *t)
{
    struct dispatch_stream *s = container_of(t, struct dispatch_stream, deadline);
    assert(s->stopping);
    while (!list_empty(&s->flights))
        flight_drop(container_of(s->flights.next, struct flight, link));
}

static void stream_init(struct dispatch_stream *s)
{
    list_init(&s->flights);
    buckets_init(&s->tokens);
    order_start(s);
    rate_start(s);
    batch_start(s);
    loop_timer_init(&s->starved_timer, on_starved);
    loop_timer_init(&s->deadline, on_deadline);
    loop_task_init(&s->leave, on_leave);
    report_start(s);
}

static void stream_free(struct dispatch_stream *s)
{
    dedup_free(s->dedup);
    terms_unref(s->terms);
    free(s);
}

/* There is a table exactly while there is a window. */
static enum err dedup_prepare(struct dispatch_stream *s, const struct dispatch_spec *spec)
{
    if (spec->dedup_window_ns == 0) {
        s->dedup = dedup_free(s->dedup);
        return OK;
    }
    if (!s->dedup)
        s->dedup = dedup_new(s->dispatcher->hash_key);
    return s->dedup ? OK : ERR_NOMEM;
}

static enum err stream_new(struct dispatcher *d, struct bus *bus, const struct dispatch_spec *spec,
                           struct dispatch_stream **out)
{
    struct dispatch_stream *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->dispatcher = d;
    s->bus = bus;
    stream_init(s);
    enum err e = terms_new(d, spec, &s->terms);
    if (e == OK)
        e = dedup_prepare(s, spec);
    if (e != OK) {
        stream_free(s);
        return e;
    }
    *out = s;
    return OK;
}

enum err dispatch_stream_start(struct dispatcher *d, struct bus *bus, struct bus_subscription *subscription,
                               const struct dispatch_spec *spec, struct dispatch_stream **out)
{
    static const struct bus_stream_callbacks callbacks = {.deliver = on_deliver, .revoked = on_revoked};
    struct dispatch_stream *s;
    enum err e = stream_new(d, bus, spec, &s);
    if (e != OK)
        return e;
    e = bus->ops->attach(bus, subscription, d->loop, &callbacks, s, &s->source);
    if (e != OK) {
        stream_free(s);
        return e;
    }
    list_push_back(&d->streams, &s->link);
    stream_balance(s);
    *out = s;
    return OK;
}

enum err stream_take_over(struct dispatcher *d, struct bus *bus, struct bus_stream *source, unsigned credit,
                          const struct dispatch_spec *spec, struct dispatch_stream **out)
{
    struct dispatch_stream *s;
    enum err e = stream_new(d, bus, spec, &s);
    if (e != OK)
        return e;
    s->source = source;
    s->outstanding = credit;
    list_push_back(&d->streams, &s->link);
    stream_balance(s);
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
    e = dedup_prepare(s, spec);
    if (e != OK) {
        terms_unref(terms);
        return e;
    }
    bool other_order = terms->spec.order != s->terms->spec.order;
    terms_unref(s->terms);
    s->terms = terms;
    if (other_order)
        order_dissolve(s);
    rate_update(s);
    batch_dissolve(s);
    order_advance(s);
    stream_balance(s);
    return OK;
}

enum err dispatch_stream_inject(struct dispatch_stream *s, const struct ce_event *event, struct dispatch_injection *i)
{
    assert(i->done);
    if (s->stopping)
        return ERR_CLOSED;
    if (s->injected >= s->terms->spec.in_flight_max)
        return ERR_FULL;
    struct flight *f = flight_new(s, event, (struct bus_token){0, 0}, i);
    if (!f)
        return ERR_NOMEM;
    loop_task_init(&i->task, on_injection_ended);
    flight_admit(f);
    return OK;
}

/* Youngest first: each finds its place at the front of the bus's queue, however many they are. Giving one up may let go
 * of its twins and followers, wherever they are. */
static void abandon_all(struct dispatch_stream *s)
{
    struct list all;
    list_init(&all);
    list_splice_back(&all, &s->flights);
    while (!list_empty(&all)) {
        struct flight *f = container_of(all.prev, struct flight, link);
        list_remove(&f->link);
        list_push_front(&s->flights, &f->link);
        if (flight_waits(f))
            flight_abandon(f);
    }
}

void dispatch_stream_stop(struct dispatch_stream *s, uint64_t deadline_ns, void (*stopped)(void *arg), void *arg)
{
    assert(!s->stopping);
    struct loop *loop = s->dispatcher->loop;
    s->stopping = true;
    s->stopped = stopped;
    s->stopped_arg = arg;
    loop_timer_stop(loop, &s->starved_timer);
    abandon_all(s);
    if (list_empty(&s->flights))
        loop_defer(loop, &s->leave);
    else if (deadline_ns > 0)
        loop_timer_start(loop, &s->deadline, deadline_ns);
    else
        on_deadline(&s->deadline);
}
