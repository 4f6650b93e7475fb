/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of the log bus: what reaches a subscriber on its loop, how much of it, and what comes back. All on the
 * stream's loop, with the subscription's lock where slots are touched, and never over a callback.
 *
 * Deliveries are made by the pump: at the end of a turn, and once a turn, at most LOG_DELIVER_MAX at a time, so that a
 * subscriber that takes and gives back for ever does not hold its loop. It takes a few events under the lock, delivers
 * them without it, and so on.
 */
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

#define TAKE_MAX 32 /* events taken under the lock at once */

struct taken {
    const struct ce_event *event;
    struct bus_token token;
    unsigned attempt;
};

/* ---- flights ---- */

static struct bus_token flight_begin(struct bus_stream *st, struct slot *slot, struct slot_entry *e)
{
    assert(e->state == SLOT_FLIGHT && e->event);
    return flights_begin(&st->flights, e, slot);
}

static struct slot_entry *flight_end(struct bus_stream *st, struct bus_token token, struct slot **slot)
{
    struct flight f = flights_end(&st->flights, token);
    struct slot_entry *e = f.entry;
    *slot = f.of;
    assert(e->state == SLOT_FLIGHT && (*slot)->flight > 0);
    return e;
}

/* ---- the pump ---- */

/* The next event of any slot that this stream drains; slots take turns. */
static struct slot_entry *take_next(struct bus_stream *st, struct slot **from, bool *held)
{
    struct bus_subscription *s = st->subscription;
    for (size_t n = 0; n < s->slot_count; n++) {
        size_t i = (st->next_slot + n) % s->slot_count;
        struct slot *slot = &s->slots[i];
        if (s->shares[i].drainer != st || s->shares[i].leaving || slot->queued == 0)
            continue;
        if (slot->behind && !log_yield_may(st->at, &s->shares[i])) {
            *held = true;
            continue;
        }
        uint64_t before = slot->queued_bytes;
        struct slot_entry *e = slot_take(slot);
        assert(e && e->event);
        if (slot->behind)
            log_yield_took(st->at, &s->shares[i], e->bytes);
        log_slots_queued(s, before, slot->queued_bytes);
        st->next_slot = (i + 1) % s->slot_count;
        *from = slot;
        return e;
    }
    return NULL;
}

static bool has_queued(const struct bus_stream *st)
{
    const struct bus_subscription *s = st->subscription;
    for (size_t i = 0; i < s->slot_count; i++)
        if (s->shares[i].drainer == st && s->slots[i].queued > 0)
            return true;
    return false;
}

static unsigned take(struct bus_stream *st, struct taken *out, unsigned most, bool *held, bool *starved)
{
    struct bus_subscription *s = st->subscription;
    struct slot *slot = NULL;
    unsigned n = 0;
    pthread_mutex_lock(&s->lock);
    assert(s->at[st->at->index] == st && most > 0);
    while (n < most && stat_read(&st->credit) > 0 &&
           !atomic_load_explicit(&s->channel->bus->closed, memory_order_relaxed)) {
        if (flights_full(&st->flights) && !has_queued(st))
            break; /* most streams never have anything, and no room for it */
        if (flights_room(&st->flights)) {
            *starved = st->flights.count == 0; /* else the next settle makes room */
            break;
        }
        struct slot_entry *e = take_next(st, &slot, held);
        if (!e)
            break;
        stat_add(&st->credit, -1ull);
        out[n++] = (struct taken){e->event, flight_begin(st, slot, e), e->attempt};
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* Its queues may be low now: R reads on. */
static void rest(struct bus_stream *st)
{
    struct bus_subscription *s = st->subscription;
    pthread_mutex_lock(&s->lock);
    log_slots_want(s);
    pthread_mutex_unlock(&s->lock);
}

static void pump(struct bus_stream *st)
{
    struct taken taken[TAKE_MAX];
    bool gone = false, held = false, starved = false;
    unsigned n = 0, k;
    assert(st->awake && !st->gone);
    st->awake = false;
    st->gone = &gone;
    st->pumped = true;
    st->pumped_ns = loop_now_ns(st->at->loop);
    st->dry = false;
    do {
        k = take(st, taken, LOG_DELIVER_MAX - n < TAKE_MAX ? LOG_DELIVER_MAX - n : TAKE_MAX, &held, &starved);
        for (unsigned i = 0; i < k; i++) {
            st->callbacks.deliver(st->arg, st, taken[i].event, taken[i].token, taken[i].attempt);
            if (gone)
                return;
        }
        n += k;
    } while (k > 0 && n < LOG_DELIVER_MAX);
    st->gone = NULL;
    st->dry = k == 0;
    if (held)
        log_yield_hold(st);
    rest(st);
    if (starved) {
        st->awake = true;
        loop_timer_start(st->at->loop, &st->timer, LOG_STARVED_NS);
    } else if (!st->dry) {
        log_stream_wake(st);
    }
}

static void pump_task(struct loop_task *t)
{
    pump(container_of(t, struct bus_stream, task));
}

static void pump_timer(struct loop_timer *t)
{
    pump(container_of(t, struct bus_stream, timer));
}

/* Whoever was to come has come: slots of loops without a stream are drained here, or by another one; and whoever has
 * not let go of this loop's slot by now goes on with it meanwhile. */
static void take_foreign(struct loop_timer *t)
{
    struct bus_stream *st = container_of(t, struct bus_stream, foreign_timer);
    struct bus_subscription *s = st->subscription;
    pthread_mutex_lock(&s->lock);
    assert(!st->foreign);
    st->foreign = true;
    log_slots_route(s);
    pthread_mutex_unlock(&s->lock);
}

void log_stream_wake(struct bus_stream *st)
{
    st->dry = false;
    if (st->awake || st->gone)
        return;
    st->awake = true;
    if (st->pumped && st->pumped_ns == loop_now_ns(st->at->loop))
        loop_timer_start(st->at->loop, &st->timer, 0);
    else
        loop_defer(st->at->loop, &st->task);
}

/* ---- the operations ---- */

void log_stream_free(struct bus_stream *st)
{
    assert(!st->gone || *st->gone);
    loop_task_cancel(&st->task);
    loop_timer_stop(st->at->loop, &st->timer);
    loop_timer_stop(st->at->loop, &st->foreign_timer);
    log_yield_leave(st);
    flights_fini(&st->flights);
    free(st);
}

enum err log_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                    const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    struct log_bus *g = log_of(b);
    struct log_loop *l = log_loop_find(g, loop);
    assert(l->bound);
    if (atomic_load(&g->closed))
        return ERR_CLOSED;
    struct bus_stream *st = calloc(1, sizeof *st);
    if (!st)
        return ERR_NOMEM;
    flights_init_empty(&st->flights);
    st->subscription = s;
    st->at = l;
    st->callbacks = *callbacks;
    st->arg = arg;
    list_init(&st->ready_link);
    list_init(&st->held_link);
    loop_task_init(&st->task, pump_task);
    loop_timer_init(&st->timer, pump_timer);
    loop_timer_init(&st->foreign_timer, take_foreign);
    if (s->slot_count > 1)
        loop_timer_start(loop, &st->foreign_timer, LOG_FOREIGN_NS);
    pthread_mutex_lock(&s->lock);
    assert(!s->at[l->index] && s->barrier != UINT64_MAX);
    s->at[l->index] = st;
    s->streams++;
    log_slots_route(s);
    pthread_mutex_unlock(&s->lock);
    *out = st;
    return OK;
}

static int by_sequence(const void *a, const void *b)
{
    const struct slot_entry *x = ((const struct flight *)a)->entry, *y = ((const struct flight *)b)->entry;
    uint64_t p = x ? x->sequence : 0, q = y ? y->sequence : 0;
    return p < q ? -1 : p > q;
}

/* Youngest first, so that each finds its place at the front. */
static void give_back_flights(struct bus_stream *st)
{
    flights_sort(&st->flights, by_sequence);
    for (uint32_t i = st->flights.count; i-- > 0;) {
        const struct flight *f = &st->flights.at[i];
        struct slot *slot = f->of;
        if (!f->entry)
            continue;
        uint64_t before = slot->queued_bytes;
        assert(st->subscription->shares[slot - st->subscription->slots].drainer == st); /* I6 */
        slot_give_back(slot, f->entry);
        log_slots_queued(st->subscription, before, slot->queued_bytes);
    }
}

void log_detach(struct bus *b, struct bus_stream *st, struct bus_op *op)
{
    struct bus_subscription *s = st->subscription;
    struct log_loop *l = st->at;
    (void)b;
    if (st->gone)
        *st->gone = true;
    pthread_mutex_lock(&s->lock);
    assert(s->at[l->index] == st && s->streams > 0);
    give_back_flights(st);
    s->at[l->index] = NULL;
    s->streams--;
    for (size_t i = 0; i < s->slot_count; i++) {
        if (s->shares[i].drainer != st)
            continue;
        assert(s->slots[i].flight == 0);
        s->shares[i].drainer = NULL;
    }
    if (s->streams == 0)
        log_slots_forget(s);
    log_slots_route(s);
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_lock(&l->lock); /* nobody finds it any more to put it there */
    list_remove(&st->ready_link);
    pthread_mutex_unlock(&l->lock);
    bus_op_end(l->loop, op, OK);
    log_stream_free(st);
}

void log_credit(struct bus *b, struct bus_stream *st, unsigned n)
{
    (void)b;
    uint64_t before = atomic_fetch_add_explicit(&st->credit, n, memory_order_relaxed);
    if (before == 0 || !st->dry) /* R may have waited for it */
        log_stream_wake(st);
}

static void settled(struct bus_subscription *s)
{
    struct log_bus *g = s->channel->bus;
    log_subscription_dirty(s);
    if (atomic_fetch_add_explicit(&g->settled, 1, memory_order_relaxed) + 1 == LOG_SETTLED_MAX)
        log_writer_wake(g, true, false);
}

void log_settle(struct bus *b, struct bus_stream *st, struct bus_token token, enum bus_settle how)
{
    struct bus_subscription *s = st->subscription;
    (void)b;
    pthread_mutex_lock(&s->lock);
    bool starved = flights_full(&st->flights);
    struct slot *slot;
    struct slot_entry *e = flight_end(st, token, &slot);
    struct log_share *share = &s->shares[slot - s->slots];
    assert(s->at[st->at->index] == st && share->drainer == st); /* I6 */
    uint64_t before = slot->queued_bytes, bytes = e->bytes;
    if (how == BUS_ACK)
        slot_acknowledge(slot, e);
    else
        slot_give_back(slot, e);
    log_slots_queued(s, before, slot->queued_bytes);
    if (slot->flight == 0 && share->owed)
        log_slots_route(s);
    pthread_mutex_unlock(&s->lock);
    if (how == BUS_ACK) {
        log_slots_settled(s, bytes);
        settled(s);
    }
    if (starved || how == BUS_RELEASE)
        log_stream_wake(st);
}
