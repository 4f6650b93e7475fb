/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams over lanes: what reaches a subscriber on its loop, how much of it, and what comes back. All on the stream's
 * loop; what it shares with the owner and the other streams lies in the lanes, under the lock.
 *
 * Deliveries are made by the pump: at the end of a turn, and once a turn, at most DELIVER_MAX at a time, so that a
 * subscriber that takes and gives back for ever does not hold its loop.
 */
#include "lanes.h"

#include <assert.h>
#include <stdlib.h>

#include "round.h"

#define DELIVER_MAX 256
#define FLIGHTS_MIN 16

static void wake(struct bus_stream *st);

/* ---- what was lost on the way ---- */

/* One token is revoked. False: the stream is gone. */
static bool revoke(struct bus_stream *st, uint32_t index)
{
    bool gone = false, *outer = st->gone;
    struct bus_token token = flights_token(&st->flights, index);
    struct lane_entry *e = flights_end(&st->flights, token).entry;
    struct lanes *l = st->lanes;
    st->open--;
    pthread_mutex_lock(&l->lock);
    lanes_closed(l, e->lane);
    pthread_mutex_unlock(&l->lock);
    st->gone = &gone;
    st->callbacks.revoked(st->arg, st, token);
    if (!gone)
        st->gone = outer;
    else if (outer)
        *outer = true;
    lane_entry_free(e);
    return !gone;
}

/* Under the lock: entries that it has not delivered yet. */
static void forget_taken(struct bus_stream *st)
{
    list_each(one, tmp, &st->taken) {
        struct lane_entry *e = container_of(one, struct lane_entry, link);
        if (!e->lost)
            continue;
        lanes_closed(st->lanes, e->lane);
        lane_entry_free(e);
    }
}

static bool flight_lost(struct bus_stream *st, uint32_t index)
{
    struct lane_entry *e = st->flights.at[index].entry;
    if (!e)
        return false;
    pthread_mutex_lock(&st->lanes->lock);
    bool lost = e->lost;
    pthread_mutex_unlock(&st->lanes->lock);
    return lost;
}

/* False: the stream is gone. */
static bool revoke_lost(struct bus_stream *st)
{
    pthread_mutex_lock(&st->lanes->lock);
    bool lost = st->lost;
    st->lost = false;
    if (lost)
        forget_taken(st);
    pthread_mutex_unlock(&st->lanes->lock);
    for (uint32_t i = 0; lost && i < st->flights.count; i++) {
        if (flight_lost(st, i) && !revoke(st, i))
            return false;
    }
    return true;
}

/* ---- the pump ---- */

static bool stopped(const struct bus_stream *st)
{
    return atomic_load_explicit(st->closed, memory_order_acquire);
}

/* It delivers at the end of this turn, or, where it did in this one, in the next. */
static void wake(struct bus_stream *st)
{
    if (st->awake || st->gone || st->credit == 0)
        return;
    loop_timer_stop(st->loop, &st->timer);
    st->awake = true;
    if (st->pumped && st->pumped_ns == loop_now_ns(st->loop))
        loop_timer_start(st->loop, &st->timer, 0);
    else
        loop_defer(st->loop, &st->task);
}

/* What was taken is delivered. False: the stream is gone, or its table of flights cannot grow. */
static bool deliver_taken(struct bus_stream *st)
{
    bool gone = false;
    st->gone = &gone;
    while (!list_empty(&st->taken) && !flights_room(&st->flights)) {
        struct lane_entry *e = container_of(list_pop_front(&st->taken), struct lane_entry, link);
        struct bus_token token = flights_begin(&st->flights, e, NULL);
        st->credit--;
        st->open++;
        st->callbacks.deliver(st->arg, st, e->event, token, e->attempt);
        if (gone)
            return false;
    }
    st->gone = NULL;
    return list_empty(&st->taken);
}

static void pump(struct bus_stream *st)
{
    struct lanes *l = st->lanes;
    uint64_t rest_ns = UINT64_MAX;
    assert(!st->gone);
    st->awake = false;
    if (stopped(st) || !revoke_lost(st) || st->credit == 0)
        return;
    st->pumped = true;
    st->pumped_ns = loop_now_ns(st->loop);
    unsigned n = st->credit < DELIVER_MAX ? (unsigned)st->credit : DELIVER_MAX;
    if (list_empty(&st->taken)) {
        pthread_mutex_lock(&l->lock);
        n -= lanes_take(st, n, &st->taken, &rest_ns);
        pthread_mutex_unlock(&l->lock);
    }
    if (!deliver_taken(st))
        return;
    if (n == 0)
        wake(st); /* there may be more */
    else if (rest_ns != UINT64_MAX && !st->awake)
        loop_timer_start(st->loop, &st->timer, rest_ns);
}

static void pump_task(struct loop_task *t)
{
    pump(container_of(t, struct bus_stream, task));
}

static void pump_timer(struct loop_timer *t)
{
    pump(container_of(t, struct bus_stream, timer));
}

/* Something has come, or was lost. */
static void told(void *owner)
{
    struct bus_stream *st = owner;
    if (stopped(st) || !revoke_lost(st))
        return;
    wake(st);
}

/* ---- what was settled goes to the owner ---- */

static void flush(struct loop_task *t)
{
    struct lanes *l = container_of(t, struct bus_stream, flush)->lanes;
    l->news(l, LANES_SETTLED);
}

/* Under the lock: it goes back to the system, with all that waits behind it in its lane, so that it is not overtaken.
 */
static void hand_back(struct lanes *l, struct lane_entry *e)
{
    lanes_settle(l, e, true);
    lanes_return(l, e->lane);
}

/* Under the lock. Whether the owner has to do something. */
static bool settled(struct bus_stream *st, struct lane_entry *e, enum bus_settle how)
{
    struct lanes *l = st->lanes;
    bool lost = e->lost, back = !lost && how == BUS_RELEASE && l->goes_back && l->goes_back(l, e);
    unsigned lane = e->lane;
    if (lost) {
        lane_entry_free(e);
    } else if (how == BUS_ACK) {
        lanes_settle(l, e, false);
    } else if (back) {
        hand_back(l, e);
    } else {
        e->attempt++;
        lanes_put_back(l, e);
    }
    lanes_closed(l, lane);
    return !lost && (how == BUS_ACK || back);
}

void stream_settle(struct bus *b, struct bus_stream *st, struct bus_token token, enum bus_settle how)
{
    (void)b;
    struct lanes *l = st->lanes;
    struct lane_entry *e = flights_end(&st->flights, token).entry;
    st->open--;
    pthread_mutex_lock(&l->lock);
    bool todo = settled(st, e, how);
    pthread_mutex_unlock(&l->lock);
    if (todo)
        loop_defer(st->loop, &st->flush);
    if (how == BUS_RELEASE)
        wake(st);
}

struct lane_entry *stream_entry(const struct bus_stream *st, struct bus_token token)
{
    assert(token.a < st->flights.count && st->flights.at[token.a].generation == token.b);
    return st->flights.at[token.a].entry;
}

/* ---- credit ---- */

/* What all of the streams may have at once, and the owner asks the system for. */
static void reach(struct bus_stream *st)
{
    struct lanes *l = st->lanes;
    uint64_t now = st->credit + st->open, sum = 0;
    if (now <= st->reach)
        return;
    pthread_mutex_lock(&l->lock);
    st->reach = now;
    list_each(one, tmp, &l->streams)
        sum += container_of(one, struct bus_stream, link)->reach;
    bool more = sum > l->wanted;
    if (more)
        l->wanted = sum;
    pthread_mutex_unlock(&l->lock);
    if (more)
        l->news(l, LANES_WANTED);
}

void stream_credit(struct bus *b, struct bus_stream *st, unsigned n)
{
    (void)b;
    st->credit += n;
    reach(st);
    wake(st);
}

/* ---- coming and going ---- */

void stream_free(struct bus_stream *st)
{
    struct list *one;
    loop_task_cancel(&st->task);
    loop_task_cancel(&st->flush);
    loop_timer_stop(st->loop, &st->timer);
    for (uint32_t i = 0; i < st->flights.count; i++) {
        if (st->flights.at[i].entry)
            lane_entry_free(st->flights.at[i].entry);
    }
    while ((one = list_pop_front(&st->taken)))
        lane_entry_free(container_of(one, struct lane_entry, link));
    flights_fini(&st->flights);
    post_free(st->post);
    free(st);
}

static struct bus_stream *stream_new(struct lanes *l, struct loop *loop)
{
    struct bus_stream *st = calloc(1, sizeof *st);
    if (!st)
        return NULL;
    list_init(&st->link);
    list_init(&st->ready);
    list_init(&st->taken);
    loop_task_init(&st->task, pump_task);
    loop_task_init(&st->flush, flush);
    if (flights_init(&st->flights, FLIGHTS_MIN) || post_new(loop, told, st, &st->post)) {
        stream_free(st);
        return NULL;
    }
    st->lanes = l;
    st->loop = loop;
    loop_timer_init(&st->timer, pump_timer);
    return st;
}

/* Under the lock: among the others, in the order of loops. */
static void enter(struct lanes *l, struct bus_stream *st)
{
    struct list *at = l->streams.prev;
    while (at != &l->streams && container_of(at, struct bus_stream, link)->index > st->index)
        at = at->prev;
    list_insert_after(at, &st->link);
    l->stream_count++;
    lanes_deal(l);
}

enum err stream_attach(struct lanes *l, struct loop *loop, size_t index, const struct bus_stream_callbacks *callbacks,
                       void *arg, const atomic_bool *closed, struct bus_stream **out)
{
    struct bus_stream *st = stream_new(l, loop);
    if (!st)
        return ERR_NOMEM;
    st->index = index;
    st->callbacks = *callbacks;
    st->arg = arg;
    st->closed = closed;
    pthread_mutex_lock(&l->lock);
    enum err e = lanes_room(l);
    if (!e)
        enter(l, st);
    pthread_mutex_unlock(&l->lock);
    if (e) {
        stream_free(st);
        return e;
    }
    l->news(l, LANES_WANTED);
    *out = st;
    return OK;
}

/* Under the lock: what it had comes back into its lane. */
static void give_up(struct bus_stream *st, struct lane_entry *e, bool delivered)
{
    unsigned lane = e->lane;
    list_remove(&e->link);
    if (e->lost)
        lane_entry_free(e);
    else {
        e->attempt += delivered;
        lanes_put_back(st->lanes, e);
    }
    lanes_closed(st->lanes, lane);
}

static int by_number(const void *a, const void *b)
{
    const struct lane_entry *x = ((const struct flight *)a)->entry, *y = ((const struct flight *)b)->entry;
    if (!x || !y)
        return (x ? 0 : 1) - (y ? 0 : 1);
    return x->number < y->number ? 1 : -1; /* the newest first: each goes before the others */
}

static void leave(struct bus_stream *st)
{
    struct lanes *l = st->lanes;
    flights_sort(&st->flights, by_number);
    pthread_mutex_lock(&l->lock);
    while (!list_empty(&st->taken))
        give_up(st, container_of(st->taken.prev, struct lane_entry, link), false);
    for (uint32_t i = 0; i < st->flights.count && st->flights.at[i].entry; i++)
        give_up(st, st->flights.at[i].entry, true);
    list_remove(&st->link);
    l->stream_count--;
    if (l->stream_count == 0)
        l->wanted = 0;
    lanes_deal(l);
    pthread_mutex_unlock(&l->lock);
    for (uint32_t i = 0; i < st->flights.count; i++)
        st->flights.at[i].entry = NULL;
}

void stream_detach(struct bus *b, struct bus_stream *st, struct bus_op *op)
{
    (void)b;
    struct lanes *l = st->lanes;
    if (st->gone)
        *st->gone = true;
    leave(st);
    l->news(l, LANES_WANTED | LANES_SETTLED);
    op->text = NULL;
    bus_op_end(st->loop, op, OK);
    stream_free(st);
}
