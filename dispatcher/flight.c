/* SPDX-License-Identifier: Apache-2.0
 *
 * One event in flight, from the bus's deliver to its settle: its memory, its waits, and the ways out. On the
 * dispatcher's loop.
 *
 *     deliver -> filter -> expirytime -> source and id -> leatdeliverat -> key ----> place
 *                  |           |           |        |           |           |          |  `- none free: READY
 *               filtered    expired   duplicate    TWIN        HELD     FOLLOWING      |
 *        .-----------------------------------------------------------------------------'
 *        v                    (no subscriber: the event itself is what REPLY sends)
 *    SUBSCRIBER ------------- 2xx, a reply to pass on ----> REPLY ----- 2xx ----> delivered
 *        |  \                                                 |
 *        |   `-- 2xx, none --> delivered                      |
 *        | failed                                      failed |
 *        +-----------------------+----------------------------+
 *                                v             2xx
 *                           DEAD LETTER -------------> dead-lettered
 *                                | failed, or there is no such sink
 *                                v        parked
 *                              PARK -----------------> parked
 *
 *     within a phase:        sending --to be tried again, tries <= retry--> WAITING --timer--> sending
 *                            parking --failed, however often--------------> WAITING --timer--> parking
 *     before each sending of the event itself:
 *                            expirytime, deadline, then with batches GATHERING, else without a token RATED
 *
 * Invariants.
 * 1. A flight is in its stream's list exactly while its token is unsettled and not revoked, and it leaves by one of:
 *    flight_end (ACK), flight_release (RELEASE), flight_drop (no word: the token is the bus's again, or void).
 * 2. From its first step behind the gates to its end it has a place, waiting for a retry included; of an ordered
 *    stream that is what makes the others wait.
 * 3. Each phase counts its tries afresh: at most retry + 1 at each destination. Only want of memory repeats an
 *    attempt uncounted.
 * 4. An attempt runs under the terms it started with; whatever comes after it (wait, next try, next phase) goes by
 *    the stream's newest.
 * 5. The success path allocates nothing: the flight comes from the dispatcher's list of unused ones.
 * 6. Parking cannot be withdrawn: a flight dropped meanwhile becomes an orphan, which holds nothing and only waits
 *    for that answer.
 * 7. Nothing here calls flight_attempt of another flight: who becomes free to go goes at the end of the turn
 *    (order_advance), so that no chain of events makes a chain of calls.
 */
#include <assert.h>
#include <stdlib.h>

#include "gates.h"

static struct dispatch_counters *counters_of(const struct flight *f)
{
    assert(f->stream);
    return f->stream->terms->spec.counters;
}

/* ---- memory ---- */

/* Gives back what it holds of others. */
static void strip(struct flight *f)
{
    f->terms = terms_unref(f->terms);
    f->outgoing = ce_event_unref(f->outgoing);
    f->copy = ce_event_unref(f->copy);
    f->failure = failure_free(f->failure);
    if (f->injection)
        ce_event_unref(f->event);
    f->injection = NULL;
    f->event = NULL;
}

static void recycle(struct flight *f)
{
    struct dispatcher *d = f->dispatcher;
    assert(!f->stream && f->activity == ACTIVITY_NONE && !loop_timer_armed(&f->timer));
    assert(list_empty(&f->queue) && list_empty(&f->followers) && list_empty(&f->twins));
    strip(f);
    if (d->flights_kept >= FLIGHTS_KEPT_MAX) {
        free(f);
        return;
    }
    d->flights_kept++;
    list_push_front(&d->flights, &f->link);
}

void flight_free_all(struct dispatcher *d)
{
    struct list *l;
    while ((l = list_pop_front(&d->flights))) {
        assert(d->flights_kept > 0);
        d->flights_kept--;
        free(container_of(l, struct flight, link));
    }
}

static uint64_t token_hash(struct bus_token token)
{
    uint64_t h = (token.a ^ token.b * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    return h ^ h >> 32;
}

struct flight *flight_find(struct dispatch_stream *s, struct bus_token token)
{
    for (struct bucket_link *l = buckets_first(&s->tokens, token_hash(token)); l; l = buckets_next(l)) {
        struct flight *f = container_of(l, struct flight, by_token);
        if (f->token.a == token.a && f->token.b == token.b)
            return f;
    }
    return NULL;
}

static void on_timer(struct loop_timer *t)
{
    struct flight *f = container_of(t, struct flight, timer);
    assert(f->activity == ACTIVITY_HELD || f->activity == ACTIVITY_WAITING || f->activity == ACTIVITY_RATED);
    bool held = f->activity == ACTIVITY_HELD;
    flight_unqueue(f);
    if (held)
        flight_readmit(f);
    else
        flight_attempt(f);
}

struct flight *flight_new(struct dispatch_stream *s, const struct ce_event *event, struct bus_token token,
                          struct dispatch_injection *injection)
{
    struct dispatcher *d = s->dispatcher;
    struct list *unused = list_pop_front(&d->flights);
    struct flight *f = unused ? container_of(unused, struct flight, link) : malloc(sizeof *f);
    if (!f)
        return NULL;
    if (unused)
        d->flights_kept--;
    *f = (struct flight){.dispatcher = d, .stream = s, .event = event, .token = token, .injection = injection};
    loop_timer_init(&f->timer, on_timer);
    list_init(&f->queue);
    list_init(&f->followers);
    list_init(&f->twins);
    list_push_back(&s->flights, &f->link);
    if (injection) {
        ce_event_ref(event);
        s->injected++;
    } else {
        buckets_add(&s->tokens, &f->by_token, token_hash(token));
        s->in_hand++;
    }
    count_add(&counters_of(f)->in_flight, 1);
    return f;
}

/* Takes the flight out of its stream, whose place it leaves. */
static void leave(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    assert(s && f->activity == ACTIVITY_NONE);
    count_sub(&counters_of(f)->in_flight, 1);
    list_remove(&f->link);
    if (f->injection) {
        assert(s->injected > 0);
        s->injected--;
    } else {
        assert(s->in_hand > 0);
        buckets_remove(&s->tokens, &f->by_token);
        s->in_hand--;
    }
    order_leave(f);
    f->stream = NULL;
    stream_flight_ended(s);
}

/* ---- the ways out ---- */

static void settle(struct flight *f, enum bus_settle how, enum dispatch_end end)
{
    struct dispatch_stream *s = f->stream;
    if (f->injection) {
        f->injection->how = end;
        loop_defer(f->dispatcher->loop, &f->injection->task);
    } else {
        s->bus->ops->settle(s->bus, s->source, f->token, how);
    }
}

static void count_end(struct flight *f, enum dispatch_end how)
{
    struct dispatch_counters *c = counters_of(f);
    uint64_t *const ends[] = {[DISPATCH_DELIVERED] = &c->delivered,
                              [DISPATCH_DEAD_LETTERED] = &c->dead_lettered,
                              [DISPATCH_PARKED] = &c->parked,
                              [DISPATCH_EXPIRED] = &c->expired,
                              [DISPATCH_DUPLICATE] = &c->duplicates};
    count_add(ends[how], 1);
    struct report *r = &f->stream->report;
    if (how != DISPATCH_DEAD_LETTERED && how != DISPATCH_PARKED)
        return;
    r->dead_lettered += how == DISPATCH_DEAD_LETTERED;
    r->parked += how == DISPATCH_PARKED;
    report_soon(f->stream);
}

void flight_end(struct flight *f, enum dispatch_end how)
{
    static const enum trace_end notes[] = {TRACE_DELIVERED, TRACE_DEAD_LETTERED, TRACE_PARKED, TRACE_EXPIRED,
                                           TRACE_DUPLICATE};
    struct dispatch_stream *s = f->stream;
    assert(s && f->activity == ACTIVITY_NONE);
    assert(how < DISPATCH_RELEASED);
    count_end(f, how);
    note_ended(f, notes[how]);
    settle(f, BUS_ACK, how);
    if (f->dedup)
        dedup_ended(s->dedup, f);
    struct list twins;
    list_init(&twins);
    list_splice_back(&twins, &f->twins);
    leave(f);
    recycle(f);
    while (!list_empty(&twins)) {
        struct flight *twin = container_of(twins.next, struct flight, queue);
        flight_unqueue(twin);
        flight_end(twin, DISPATCH_DUPLICATE);
    }
}

/* It leaves without an end: a twin that waited for its end takes its place. In an ordered stream the twins go back with
 * it, for the heir would come behind what has been delivered since. */
static void bequeath(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    bool ordered = s->terms->spec.order != ORDER_NONE && !s->stopping;
    struct flight *heir = ordered || list_empty(&f->twins) ? NULL : container_of(f->twins.next, struct flight, queue);
    if (f->dedup)
        dedup_forget(s->dedup, f, heir);
    while (ordered && !list_empty(&f->twins))
        flight_release(container_of(f->twins.next, struct flight, queue));
    if (!heir)
        return;
    list_remove(&heir->queue);
    list_splice_back(&heir->twins, &f->twins);
    list_push_back(&s->heirs, &heir->queue);
    order_advance(s);
}

void flight_release(struct flight *f)
{
    assert(f->stream && (f->activity == ACTIVITY_NONE || flight_waits(f)));
    flight_unqueue(f);
    note_ended(f, TRACE_RELEASED);
    settle(f, BUS_RELEASE, DISPATCH_RELEASED);
    bequeath(f);
    leave(f);
    recycle(f);
}

void flight_drop(struct flight *f)
{
    struct dispatcher *d = f->dispatcher;
    if (!f->stream) { /* the orphan's parking has ended */
        assert(f->activity == ACTIVITY_NONE && d->orphans > 0);
        recycle(f);
        if (--d->orphans == 0 && d->closing)
            dispatcher_free(d);
        return;
    }
    bool parking = f->activity == ACTIVITY_PARKING;
    if (f->activity == ACTIVITY_SENDING && f->batch)
        batch_cancel(f);
    else if (f->activity == ACTIVITY_SENDING)
        sink_cancel(&f->call);
    flight_unqueue(f);
    note_ended(f, TRACE_RELEASED);
    if (f->injection)
        settle(f, BUS_RELEASE, DISPATCH_RELEASED);
    bequeath(f);
    leave(f);
    if (parking) {
        f->activity = ACTIVITY_PARKING;
        strip(f);
        d->orphans++;
        return;
    }
    recycle(f);
}

bool flight_waits(const struct flight *f)
{
    return f->activity != ACTIVITY_NONE && f->activity != ACTIVITY_SENDING && f->activity != ACTIVITY_PARKING;
}

void flight_abandon(struct flight *f)
{
    assert(f->stream->stopping);
    if (f->stream->terms->spec.order == ORDER_NONE || f->injection)
        flight_release(f);
    else
        flight_drop(f);
}

/* ---- waiting ---- */

static bool holds_no_place(enum activity activity)
{
    return activity == ACTIVITY_HELD || activity == ACTIVITY_TWIN || activity == ACTIVITY_FOLLOWING;
}

void flight_unqueue(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    if (holds_no_place(f->activity)) {
        assert(s->held > 0);
        s->held--;
        count_sub(&counters_of(f)->held, 1);
    } else if (f->activity == ACTIVITY_GATHERING) {
        assert(s->gathered > 0);
        s->gathered--;
    }
    loop_timer_stop(f->dispatcher->loop, &f->timer);
    list_remove(&f->queue);
    f->activity = ACTIVITY_NONE;
}

void flight_hold(struct flight *f, enum activity activity)
{
    assert(f->activity == ACTIVITY_NONE && !f->placed);
    assert(holds_no_place(activity));
    f->activity = activity;
    f->stream->held++;
    count_add(&counters_of(f)->held, 1);
}

void flight_wait(struct flight *f, uint64_t wait_ns)
{
    assert(f->stream && f->activity == ACTIVITY_NONE);
    f->activity = ACTIVITY_WAITING;
    if (f->stream->stopping)
        flight_abandon(f);
    else
        loop_timer_start(f->dispatcher->loop, &f->timer, wait_ns);
}

void flight_wait_for_memory(struct flight *f)
{
    flight_wait(f, backoff_wait_ns(&f->stream->terms->spec.delivery, f->tries ? f->tries : 1, f->dispatcher->prng));
}
