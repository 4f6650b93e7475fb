/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of the RabbitMQ bus: what reaches a subscriber on its loop, how much of it, and what comes back. All on the
 * stream's loop; what it shares with Q and the other streams lies in its subscription, under the lock.
 *
 * Deliveries are made by the pump: at the end of a turn, and once a turn, at most RABBIT_DELIVER_MAX at a time, so that
 * a subscriber that takes and gives back for ever does not hold its loop.
 */
#include "rabbitmq_subscription.h"

#include <assert.h>
#include <stdlib.h>

#define FLIGHTS_MIN 16

static void wake(struct bus_stream *st);

/* ---- what was lost on the way ---- */

/* One token is revoked. False: the stream is gone. */
static bool revoke(struct bus_stream *st, uint32_t index)
{
    bool gone = false, *outer = st->gone;
    struct bus_token token = flights_token(&st->flights, index);
    struct rabbit_entry *e = flights_end(&st->flights, token).entry;
    struct bus_subscription *s = st->subscription;
    st->open--;
    pthread_mutex_lock(&s->lock);
    rabbit_deal_closed(s, e->lane);
    pthread_mutex_unlock(&s->lock);
    st->gone = &gone;
    st->callbacks.revoked(st->arg, st, token);
    if (!gone)
        st->gone = outer;
    else if (outer)
        *outer = true;
    rabbit_entry_free(e);
    return !gone;
}

/* Under the lock: entries that it has not delivered yet. */
static void forget_taken(struct bus_stream *st)
{
    list_each(l, tmp, &st->taken) {
        struct rabbit_entry *e = container_of(l, struct rabbit_entry, link);
        if (!e->lost)
            continue;
        rabbit_deal_closed(st->subscription, e->lane);
        rabbit_entry_free(e);
    }
}

static bool flight_lost(struct bus_stream *st, uint32_t index)
{
    struct rabbit_entry *e = st->flights.at[index].entry;
    if (!e)
        return false;
    pthread_mutex_lock(&st->subscription->lock);
    bool lost = e->lost;
    pthread_mutex_unlock(&st->subscription->lock);
    return lost;
}

/* False: the stream is gone. */
static bool revoke_lost(struct bus_stream *st)
{
    pthread_mutex_lock(&st->subscription->lock);
    bool lost = st->lost;
    st->lost = false;
    if (lost)
        forget_taken(st);
    pthread_mutex_unlock(&st->subscription->lock);
    for (uint32_t i = 0; lost && i < st->flights.count; i++) {
        if (flight_lost(st, i) && !revoke(st, i))
            return false;
    }
    return true;
}

/* ---- the pump ---- */

static bool stopped(const struct bus_stream *st)
{
    return rabbit_bus_closed(st->subscription->bus);
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
    struct list *l;
    st->gone = &gone;
    while (!list_empty(&st->taken) && !flights_room(&st->flights)) {
        l = list_pop_front(&st->taken);
        struct rabbit_entry *e = container_of(l, struct rabbit_entry, link);
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
    struct bus_subscription *s = st->subscription;
    uint64_t rest_ns = UINT64_MAX;
    assert(!st->gone);
    st->awake = false;
    if (!revoke_lost(st) || stopped(st) || st->credit == 0)
        return;
    st->pumped = true;
    st->pumped_ns = loop_now_ns(st->loop);
    unsigned n = st->credit < RABBIT_DELIVER_MAX ? (unsigned)st->credit : RABBIT_DELIVER_MAX;
    if (list_empty(&st->taken)) {
        pthread_mutex_lock(&s->lock);
        n -= rabbit_deal_take(st, n, &st->taken, &rest_ns);
        pthread_mutex_unlock(&s->lock);
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
    if (!revoke_lost(st))
        return;
    wake(st);
}

/* ---- what was settled goes to Q ---- */

static void flush(struct loop_task *t)
{
    rabbit_consumer_todo(container_of(t, struct bus_stream, flush)->subscription, RABBIT_SETTLED);
}

/* Under the lock: it goes back to the node, with all that waits behind it in its lane, so that it is not overtaken. */
static void hand_back(struct bus_subscription *s, struct rabbit_entry *e)
{
    struct list behind;
    list_init(&behind);
    list_push_back(&behind, &e->link);
    rabbit_deal_drain(s, e->lane, &behind);
    list_each(l, tmp, &behind) {
        struct rabbit_entry *b = container_of(l, struct rabbit_entry, link);
        b->back = true;
        b->place = RABBIT_SETTLED_LIST;
        rabbit_held_take(s, b->event);
        s->ready++;
    }
    list_splice_back(&s->settled, &behind);
}

/* Under the lock. Whether Q has to do something. */
static bool settled(struct bus_stream *st, struct rabbit_entry *e, enum bus_settle how)
{
    struct bus_subscription *s = st->subscription;
    bool lost = e->lost, old = rabbit_now() - e->since_ns > s->bus->wait_ns;
    unsigned lane = e->lane;
    if (lost)
        rabbit_entry_free(e);
    else if (how == BUS_ACK) {
        e->place = RABBIT_SETTLED_LIST;
        list_push_back(&s->settled, &e->link);
        rabbit_held_take(s, e->event);
    } else if (old) {
        hand_back(s, e);
    } else {
        e->attempt++;
        rabbit_deal_put(s, e);
    }
    rabbit_deal_closed(s, lane);
    return !lost && (how == BUS_ACK || old);
}

void rabbit_settle(struct bus *b, struct bus_stream *st, struct bus_token token, enum bus_settle how)
{
    struct bus_subscription *s = st->subscription;
    struct rabbit_entry *e = flights_end(&st->flights, token).entry;
    (void)b;
    st->open--;
    pthread_mutex_lock(&s->lock);
    bool todo = settled(st, e, how);
    pthread_mutex_unlock(&s->lock);
    if (todo)
        loop_defer(st->loop, &st->flush);
    if (how == BUS_RELEASE)
        wake(st);
}

/* ---- credit ---- */

/* What all of a subscription's streams may have at once, and Q asks the node for. */
static void reach(struct bus_stream *st)
{
    struct bus_subscription *s = st->subscription;
    uint64_t now = st->credit + st->open, sum = 0;
    if (now <= st->reach)
        return;
    pthread_mutex_lock(&s->lock);
    st->reach = now < RABBIT_PREFETCH_MAX ? (uint32_t)now : RABBIT_PREFETCH_MAX;
    list_each(l, tmp, &s->streams)
        sum += container_of(l, struct bus_stream, link)->reach;
    bool more = sum > s->wanted;
    if (more)
        s->wanted = sum < RABBIT_PREFETCH_MAX ? (uint32_t)sum : RABBIT_PREFETCH_MAX;
    pthread_mutex_unlock(&s->lock);
    if (more)
        rabbit_consumer_todo(s, RABBIT_TEND);
}

void rabbit_credit(struct bus *b, struct bus_stream *st, unsigned n)
{
    (void)b;
    st->credit += n;
    reach(st);
    wake(st);
}

/* ---- coming and going ---- */

void rabbit_stream_free(struct bus_stream *st)
{
    struct list *l;
    for (uint32_t i = 0; i < st->flights.count; i++) {
        if (st->flights.at[i].entry)
            rabbit_entry_free(st->flights.at[i].entry);
    }
    while ((l = list_pop_front(&st->taken)))
        rabbit_entry_free(container_of(l, struct rabbit_entry, link));
    flights_fini(&st->flights);
    post_free(st->post);
    free(st);
}

static struct bus_stream *stream_new(struct bus_subscription *s, const struct rabbit_loop *l)
{
    struct bus_stream *st = calloc(1, sizeof *st);
    if (!st)
        return NULL;
    list_init(&st->link);
    list_init(&st->ready);
    list_init(&st->taken);
    if (flights_init(&st->flights, FLIGHTS_MIN) || post_new(l->loop, told, st, &st->post)) {
        rabbit_stream_free(st);
        return NULL;
    }
    st->subscription = s;
    st->loop = l->loop;
    st->index = (size_t)(l - s->bus->loops);
    loop_task_init(&st->task, pump_task);
    loop_task_init(&st->flush, flush);
    loop_timer_init(&st->timer, pump_timer);
    return st;
}

/* Under the lock: among the others, in the order of loops. */
static void enter(struct bus_subscription *s, struct bus_stream *st)
{
    struct list *at = s->streams.prev;
    while (at != &s->streams && container_of(at, struct bus_stream, link)->index > st->index)
        at = at->prev;
    list_insert_after(at, &st->link);
    s->stream_count++;
    rabbit_deal_streams(s);
}

enum err rabbit_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                       const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    struct rabbit_bus *k = rabbit_of(b);
    if (rabbit_bus_closed(k))
        return ERR_CLOSED;
    struct bus_stream *st = stream_new(s, rabbit_loop_find(k, loop));
    if (!st)
        return ERR_NOMEM;
    st->callbacks = *callbacks;
    st->arg = arg;
    pthread_mutex_lock(&s->lock);
    enum err e = rabbit_deal_init(s);
    if (!e)
        enter(s, st);
    pthread_mutex_unlock(&s->lock);
    if (e) {
        rabbit_stream_free(st);
        return e;
    }
    rabbit_consumer_todo(s, RABBIT_TEND);
    *out = st;
    return OK;
}

/* Under the lock: what it had comes back into its lane. */
static void give_up(struct bus_stream *st, struct rabbit_entry *e, bool delivered)
{
    unsigned lane = e->lane;
    list_remove(&e->link);
    if (e->lost)
        rabbit_entry_free(e);
    else {
        e->attempt += delivered;
        rabbit_deal_put(st->subscription, e);
    }
    rabbit_deal_closed(st->subscription, lane);
}

static int by_number(const void *a, const void *b)
{
    const struct rabbit_entry *x = ((const struct flight *)a)->entry, *y = ((const struct flight *)b)->entry;
    if (!x || !y)
        return (x ? 0 : 1) - (y ? 0 : 1);
    return x->number < y->number ? 1 : -1; /* the newest first: each goes before the others */
}

static void leave(struct bus_stream *st)
{
    struct bus_subscription *s = st->subscription;
    flights_sort(&st->flights, by_number);
    pthread_mutex_lock(&s->lock);
    while (!list_empty(&st->taken))
        give_up(st, container_of(st->taken.prev, struct rabbit_entry, link), false);
    for (uint32_t i = 0; i < st->flights.count && st->flights.at[i].entry; i++)
        give_up(st, st->flights.at[i].entry, true);
    list_remove(&st->link);
    s->stream_count--;
    if (s->stream_count == 0)
        s->wanted = 0;
    rabbit_deal_streams(s);
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < st->flights.count; i++)
        st->flights.at[i].entry = NULL;
}

void rabbit_detach(struct bus *b, struct bus_stream *st, struct bus_op *op)
{
    struct bus_subscription *s = st->subscription;
    (void)b;
    if (st->gone)
        *st->gone = true;
    loop_task_cancel(&st->task);
    loop_timer_stop(st->loop, &st->timer);
    loop_task_cancel(&st->flush);
    leave(st);
    rabbit_consumer_todo(s, RABBIT_TEND | RABBIT_SETTLED);
    op->text = NULL;
    bus_op_end(st->loop, op, OK);
    rabbit_stream_free(st);
}
