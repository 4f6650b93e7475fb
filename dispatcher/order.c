/* SPDX-License-Identifier: Apache-2.0
 *
 * Places and keys: which flights may run beside each other. On the dispatcher's loop.
 *
 * Places. A flight runs in one of in_flight_max places and keeps it to its end. The bus may have more events with us,
 * since those that are held do not count; when their hold ends while all places are taken, they are READY and wait in
 * order. With ORDER_STRICT there is one place.
 *
 * Keys (ORDER_KEY). Of the events of one partitionkey the first leads: it alone wants a place. The others are in its
 * list of followers, in the order in which the bus delivered them. When it leaves, the first of them leads.
 *
 *     keys --> leader (running, or READY) --followers--> held, held, held
 *
 * Order and what goes back. When an event is taken back by the bus, it will come again, so whatever stands behind it
 * here is released, and the bus delivers all of them again in its order.
 */
#include <assert.h>

#include "gates.h"
#include "siphash.h"

static bool key_of(const struct flight *f, struct slice *key)
{
    struct ce_attribute a;
    if (f->stream->terms->spec.order != ORDER_KEY || !ce_event_attribute(f->event, SLICE("partitionkey"), &a))
        return false;
    *key = a.value;
    return true;
}

static struct flight *leader_of(const struct dispatch_stream *s, struct slice key, uint64_t hash)
{
    for (struct bucket_link *l = buckets_first(&s->keys, hash); l; l = buckets_next(l)) {
        struct flight *f = container_of(l, struct flight, by_key);
        struct ce_attribute a;
        if (ce_event_attribute(f->event, SLICE("partitionkey"), &a) && slice_eq(a.value, key))
            return f;
    }
    return NULL;
}

/* ---- places ---- */

static void take_place(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    assert(!f->placed && f->activity == ACTIVITY_NONE);
    f->placed = true;
    f->sequence = ++s->sequence;
    s->placed++;
    flight_attempt(f);
}

static bool place_free(const struct dispatch_stream *s)
{
    return s->placed < s->terms->spec.in_flight_max;
}

static void get_ready(struct flight *f)
{
    f->activity = ACTIVITY_READY;
    list_push_back(&f->stream->ready, &f->queue);
}

static void on_advance(struct loop_task *t)
{
    struct dispatch_stream *s = container_of(t, struct dispatch_stream, advance);
    while (!s->stopping && !list_empty(&s->heirs)) {
        struct flight *f = container_of(s->heirs.next, struct flight, queue);
        flight_unqueue(f);
        flight_readmit(f);
    }
    while (!s->stopping && place_free(s) && !list_empty(&s->ready)) {
        struct flight *f = container_of(s->ready.next, struct flight, queue);
        flight_unqueue(f);
        take_place(f);
    }
    batch_run(s);
}

void order_advance(struct dispatch_stream *s)
{
    loop_defer(s->dispatcher->loop, &s->advance);
}

/* ---- coming and going ---- */

void order_enter(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    assert(f->activity == ACTIVITY_NONE && !f->placed);
    f->begun_ns = f->first_ns = loop_now_ns(s->dispatcher->loop);
    struct slice key;
    if (key_of(f, &key)) {
        uint64_t hash = siphash13(s->dispatcher->hash_key, key);
        struct flight *leader = leader_of(s, key, hash);
        if (leader) {
            flight_hold(f, ACTIVITY_FOLLOWING);
            list_push_back(&leader->followers, &f->queue);
            return;
        }
        f->leads = true;
        buckets_add(&s->keys, &f->by_key, hash);
    }
    if (place_free(s) && list_empty(&s->ready))
        take_place(f);
    else
        get_ready(f);
}

/* The next of its key leads. */
static void hand_on(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    f->leads = false;
    buckets_remove(&s->keys, &f->by_key);
    if (list_empty(&f->followers))
        return;
    struct flight *next = container_of(f->followers.next, struct flight, queue);
    flight_unqueue(next);
    list_splice_back(&next->followers, &f->followers);
    next->leads = true;
    buckets_add(&s->keys, &next->by_key, f->by_key.hash);
    get_ready(next);
}

void order_leave(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    if (f->leads)
        hand_on(f);
    if (f->placed) {
        assert(s->placed > 0);
        s->placed--;
        f->placed = false;
    }
    if (!list_empty(&s->ready) || s->gathered)
        order_advance(s);
}

/* What is released goes youngest first: each finds its place at the front of the bus's queue, however many they are. */

/* Those in the list from its end back to `first`, without it; injected ones stay. */
static void release_behind(const struct list *first, struct list *head)
{
    for (struct list *l = head->prev, *before; l != first; l = before) {
        before = l->prev;
        struct flight *f = container_of(l, struct flight, queue);
        if (!f->injection)
            flight_release(f);
    }
}

/* What waits for its time or its twin has come to no order as yet. */
static bool in_order(const struct flight *f)
{
    return f->activity != ACTIVITY_HELD && f->activity != ACTIVITY_TWIN;
}

static void release_younger(struct dispatch_stream *s, const struct flight *than)
{
    struct list rest, *l;
    list_init(&rest);
    list_splice_back(&rest, &s->flights);
    while (!list_empty(&rest)) {
        l = rest.prev;
        list_remove(l);
        list_push_front(&s->flights, l);
        struct flight *f = container_of(l, struct flight, link);
        bool older = f->placed && (!than->placed || f->sequence <= than->sequence);
        if (!older && in_order(f) && flight_waits(f) && f != than && !f->injection)
            flight_release(f);
    }
}

void order_revoked(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    struct slice key;
    if (!in_order(f))
        return; /* nothing stands behind it; and the first that it waits for would take it along, a second time */
    if (s->terms->spec.order == ORDER_STRICT) {
        release_younger(s, f);
    } else if (f->leads) {
        release_behind(&f->followers, &f->followers);
    } else if (f->activity == ACTIVITY_FOLLOWING && key_of(f, &key)) {
        struct flight *leader = leader_of(s, key, siphash13(s->dispatcher->hash_key, key));
        assert(leader);
        release_behind(&f->queue, &leader->followers);
    }
}

void order_dissolve(struct dispatch_stream *s)
{
    list_each(l, tmp, &s->flights) {
        struct flight *f = container_of(l, struct flight, link);
        if (!f->leads)
            continue;
        f->leads = false;
        buckets_remove(&s->keys, &f->by_key);
        while (!list_empty(&f->followers)) {
            struct flight *next = container_of(f->followers.next, struct flight, queue);
            flight_unqueue(next);
            get_ready(next);
        }
    }
    order_advance(s);
}

void order_start(struct dispatch_stream *s)
{
    list_init(&s->ready);
    list_init(&s->heirs);
    buckets_init(&s->keys);
    loop_task_init(&s->advance, on_advance);
}

void order_stop(struct dispatch_stream *s)
{
    assert(s->placed == 0 && list_empty(&s->ready) && list_empty(&s->heirs));
    loop_task_cancel(&s->advance);
    buckets_fini(&s->keys);
}
