/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams: what drains the slots of a subscription on one loop, as far as credit goes. All on the stream's loop.
 *
 * Deliveries are made by the pump: at the end of the turn in which there first was both credit and an event, and once a
 * turn from then on, so that a subscriber that takes and gives back for ever does not hold the loop.
 */
#include "memory.h"

#include <assert.h>
#include <stdlib.h>

static struct list *next_queue(struct bus_stream *st)
{
    struct memory_slot *s = st->slot;
    struct list *own = s->lent_to || list_empty(&s->queue) ? NULL : &s->queue; /* I3 */
    struct list *borrowed = list_empty(&s->borrowed) ? NULL : &s->borrowed;
    if (own && borrowed)
        return st->borrowed_next ? borrowed : own;
    return own ? own : borrowed;
}

/* The next entry, off its queue; NULL when there is none. Own and borrowed entries take turns. */
static struct memory_entry *next_entry(struct bus_stream *st)
{
    struct list *queue = next_queue(st);
    if (!queue)
        return NULL;
    struct memory_entry *e = container_of(queue->next, struct memory_entry, link);
    st->borrowed_next = queue == &st->slot->queue;
    if (e->home == st->slot)
        memory_entry_take(e, ENTRY_FLIGHT);
    else
        list_remove(&e->link);
    if (e->home != st->slot)
        stat_add(&st->slot->held, 1);
    return e;
}

static bool deliverable(struct bus_stream *st)
{
    return st->credit > 0 && !st->starved && !st->slot->part->at->stopped && next_queue(st);
}

static void deliver(struct bus_stream *st)
{
    struct memory_entry *e = next_entry(st);
    struct bus_token token = flights_begin(&st->flights, e, NULL);
    st->credit--;
    e->attempt++;
    st->callbacks.deliver(st->arg, st, e->record->event, token, e->attempt);
}

static void pump(struct bus_stream *st)
{
    bool gone = false;
    st->awake = false;
    st->gone = &gone;
    st->pumped = true;
    st->pumped_ns = loop_now_ns(st->loop);
    for (unsigned n = 0; n < MEMORY_BATCH && deliverable(st); n++) {
        if (flights_room(&st->flights)) {
            st->starved = true;
            break;
        }
        deliver(st);
        if (gone)
            return;
    }
    st->gone = NULL;
    /* So much is in hand here that those who lend may have stopped at their bound; also without credit, which may come
     * before anything is settled. */
    if (list_empty(&st->slot->borrowed) && stat_read(&st->slot->held) >= MEMORY_LEND_MAX / 2)
        memory_slot_nudge_others(st->slot);
    memory_stream_wake(st);
}

static void pump_task(struct loop_task *t)
{
    pump(container_of(t, struct bus_stream, task));
}

static void pump_timer(struct loop_timer *t)
{
    pump(container_of(t, struct bus_stream, timer));
}

/* Whoever borrowed this slot has had its time. */
static void patience_ends(struct loop_timer *t)
{
    struct bus_stream *st = container_of(t, struct bus_stream, patience);
    assert(st->patient && st->slot->stream == st);
    st->patient = false;
    memory_slot_route(st->slot);
}

void memory_stream_wake(struct bus_stream *st)
{
    if (st->awake || st->gone || !deliverable(st))
        return;
    st->awake = true;
    if (st->pumped && st->pumped_ns == loop_now_ns(st->loop))
        loop_timer_start(st->loop, &st->timer, 0);
    else
        loop_defer(st->loop, &st->task);
}

enum err memory_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                       const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    struct memory_loop *l = memory_loop_find(memory_of(b), loop);
    struct memory_slot *slot = &s->slots[l->index];
    assert(l->bound && !slot->stream && atomic_load(&slot->joined));
    if (l->stopped)
        return ERR_CLOSED;
    struct bus_stream *st = calloc(1, sizeof *st);
    if (!st)
        return ERR_NOMEM;
    if (flights_init(&st->flights, MEMORY_FLIGHTS_MIN)) {
        free(st);
        return ERR_NOMEM;
    }
    st->slot = slot;
    st->loop = loop;
    st->callbacks = *callbacks;
    st->arg = arg;
    loop_task_init(&st->task, pump_task);
    loop_timer_init(&st->timer, pump_timer);
    loop_timer_init(&st->patience, patience_ends);
    st->patient = slot->lent_to != NULL;
    if (st->patient)
        loop_timer_start(loop, &st->patience, MEMORY_RECALL_NS);
    slot->stream = st;
    atomic_store(&slot->attached, true);
    memory_slot_route(slot);
    memory_slot_nudge_others(slot);
    *out = st;
    return OK;
}

void memory_stream_free(struct bus_stream *st)
{
    loop_task_cancel(&st->task);
    loop_timer_stop(st->loop, &st->timer);
    loop_timer_stop(st->loop, &st->patience);
    flights_fini(&st->flights);
    free(st);
}

static int by_sequence(const void *a, const void *b)
{
    const struct memory_entry *x = ((const struct flight *)a)->entry, *y = ((const struct flight *)b)->entry;
    uint64_t p = x ? x->record->sequence : 0, q = y ? y->record->sequence : 0;
    return p < q ? -1 : p > q;
}

/* Youngest first, so that each finds its place at the front of the queue: a subscription that orders or delays its
 * events may have tens of thousands in hand. */
static void give_back_flights(struct bus_stream *st)
{
    flights_sort(&st->flights, by_sequence);
    for (uint32_t i = st->flights.count; i-- > 0;) {
        struct memory_entry *e = st->flights.at[i].entry;
        if (!e)
            continue;
        if (e->home == st->slot)
            memory_entry_put_back(e);
        else
            memory_entry_go_home(e, false);
    }
}

void memory_detach(struct bus *b, struct bus_stream *st, struct bus_op *op)
{
    (void)b;
    struct memory_slot *s = st->slot;
    assert(s->stream == st);
    if (st->gone)
        *st->gone = true;
    s->stream = NULL;
    atomic_store(&s->attached, false);
    atomic_store(&s->held, 0);
    give_back_flights(st);
    struct list *l;
    while ((l = list_pop_front(&s->borrowed)))
        memory_entry_go_home(container_of(l, struct memory_entry, link), false);

    /* Who lends to us learns of it by what comes home: a slot that has more to lend has all that it may lend here. */
    memory_slot_route(s);
    bus_op_end(st->loop, op, OK);
    memory_stream_free(st);
}

void memory_credit(struct bus *b, struct bus_stream *st, unsigned n)
{
    (void)b;
    st->credit += n;
    memory_stream_wake(st);
}

void memory_settle(struct bus *b, struct bus_stream *st, struct bus_token token, enum bus_settle how)
{
    (void)b;
    struct memory_entry *e = flights_end(&st->flights, token).entry;
    st->starved = false;

    if (e->home != st->slot) {
        stat_add(&st->slot->held, -1ull);
        memory_entry_go_home(e, how == BUS_ACK);
    } else if (how == BUS_ACK)
        memory_entry_end(e);
    else
        memory_entry_put_back(e);
    memory_stream_wake(st);
}
