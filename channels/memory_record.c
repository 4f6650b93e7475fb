/* SPDX-License-Identifier: Apache-2.0
 *
 * Records and their entries: what a part keeps of an event, once, and what each subscription's queue holds of it. All
 * on the part's loop; the numbers I1 ... refer to memory.h.
 */
#include "memory.h"

#include <assert.h>
#include <stdlib.h>

size_t memory_charge(const struct ce_event *event, unsigned entries)
{
    return ce_event_size(event) + sizeof(struct memory_record) + entries * sizeof(struct memory_entry);
}

/* ---- spares ---- */

void memory_spares_init(struct memory_loop *l)
{
    list_init(&l->spare_records);
    list_init(&l->spare_entries);
}

void memory_spares_free(struct memory_loop *l)
{
    struct list *i;
    while ((i = list_pop_front(&l->spare_records)))
        free(container_of(i, struct memory_record, link));
    while ((i = list_pop_front(&l->spare_entries)))
        free(container_of(i, struct memory_entry, mates));
    l->spare_record_count = l->spare_entry_count = 0;
}

static struct memory_record *record_take(struct memory_loop *l)
{
    struct list *i = list_pop_front(&l->spare_records);
    if (!i)
        return malloc(sizeof(struct memory_record));
    l->spare_record_count--;
    return container_of(i, struct memory_record, link);
}

static void record_give(struct memory_loop *l, struct memory_record *r)
{
    if (l->spare_record_count >= MEMORY_SPARE_MAX || !l->bound) {
        free(r);
        return;
    }
    list_push_front(&l->spare_records, &r->link);
    l->spare_record_count++;
}

static void entry_give(struct memory_loop *l, struct memory_entry *e)
{
    if (l->spare_entry_count >= MEMORY_SPARE_MAX || !l->bound) {
        free(e);
        return;
    }
    list_push_front(&l->spare_entries, &e->mates);
    l->spare_entry_count++;
}

/* Sees to it that so many entries can be taken without fail. */
static enum err entries_reserve(struct memory_loop *l, unsigned count)
{
    while (l->spare_entry_count < count) {
        struct memory_entry *e = malloc(sizeof *e);
        if (!e)
            return ERR_NOMEM;
        list_push_front(&l->spare_entries, &e->mates);
        l->spare_entry_count++;
    }
    return OK;
}

static struct memory_entry *entry_take(struct memory_loop *l)
{
    struct list *i = list_pop_front(&l->spare_entries);
    assert(i); /* reserved with the record */
    l->spare_entry_count--;
    return container_of(i, struct memory_entry, mates);
}

/* ---- records ---- */

bool memory_part_pay(struct memory_part *p)
{
    size_t owed = p->owed;
    p->owed = 0;
    if (owed)
        memory_uncharge(p->channel, owed);
    return owed > 0;
}

struct memory_record *memory_record_new(struct memory_part *p, const struct ce_event *event, unsigned entries,
                                        size_t charge)
{
    assert(entries > 0);
    if (entries_reserve(p->at, entries))
        return NULL;
    struct memory_record *r = record_take(p->at);
    if (!r)
        return NULL;
    r->part = p;
    r->event = ce_event_ref(event);
    r->sequence = ++p->sequence;
    r->time_ns = loop_now_ns(p->at->loop);
    r->charge = charge;
    r->refs = r->pins = 0;
    list_init(&r->entries);
    list_push_back(&p->records, &r->link);
    stat_add(&p->events, 1);
    return r;
}

static void record_clear(struct memory_record *r)
{
    list_remove(&r->link);
    r->part->owed += r->charge;
    memory_part_pay(r->part);
    stat_add(&r->part->events, (uint64_t)-1);
    r->event = ce_event_unref(r->event);
}

void memory_record_discard(struct memory_record *r)
{
    struct list *i;
    record_clear(r);
    while ((i = list_pop_front(&r->entries)))
        free(container_of(i, struct memory_entry, mates));
    free(r);
}

/* One entry less of the record, and the record with its last. */
static void record_drop_entry(struct memory_record *r, struct memory_entry *e)
{
    struct memory_part *p = r->part;
    assert(r->refs > 0 && r->charge > sizeof *e);
    list_remove(&e->mates);
    entry_give(p->at, e);
    if (--r->refs == 0) {
        record_clear(r);
        record_give(p->at, r);
        return;
    }
    r->charge -= sizeof *e;
    p->owed += sizeof *e;
    if (p->owed >= MEMORY_LAG)
        memory_part_pay(p);
}

/* ---- entries ---- */

/* What a slot's statistics count for an event: as if it were the only one. */
static size_t weight(const struct memory_record *r)
{
    return memory_charge(r->event, 1);
}

/* What probes call the age of the oldest: the front of the queue. */
static void publish_oldest(struct memory_slot *s)
{
    uint64_t time = 0;
    if (!list_empty(&s->queue))
        time = container_of(s->queue.next, struct memory_entry, link)->record->time_ns;
    atomic_store_explicit(&s->oldest_ns, time, memory_order_relaxed);
}

/* An entry that overflow may take came to its home queue (+1) or left it (-1). */
static void count_droppable(struct memory_slot *s, int change)
{
    assert(change > 0 || s->droppable > 0);
    s->droppable += (size_t)change;
    if (change > 0 && s->droppable == 1)
        list_push_back(&s->part->dropping, &s->dropping);
    else if (s->droppable == 0)
        list_remove(&s->dropping);
}

void memory_entry_push(struct memory_slot *s, struct memory_record *r)
{
    struct memory_entry *e = entry_take(r->part->at);
    *e = (struct memory_entry){.home = s, .record = r, .state = ENTRY_QUEUED};
    e->droppable = atomic_load_explicit(&s->subscription->drop_oldest, memory_order_relaxed);
    list_push_back(&r->entries, &e->mates);
    r->refs++;
    r->pins += !e->droppable;
    if (e->droppable)
        count_droppable(s, 1);
    bool first = list_empty(&s->queue);
    list_push_back(&s->queue, &e->link);
    if (first)
        publish_oldest(s);
    stat_add(&s->events, 1);
    stat_add(&s->bytes, weight(r));
    stat_add(&s->appended, 1);
}

void memory_entry_take(struct memory_entry *e, enum memory_entry_state state)
{
    assert(e->state == ENTRY_QUEUED && state != ENTRY_QUEUED);
    list_remove(&e->link);
    e->record->pins += e->droppable;
    if (e->droppable)
        count_droppable(e->home, -1);
    e->state = (uint8_t)state;
    publish_oldest(e->home);
}

/* To its place by sequence (I3). Only entries that came back too stand before it, so the walk is short. */
void memory_entry_put_back(struct memory_entry *e)
{
    assert(e->state == ENTRY_FLIGHT || e->state == ENTRY_AWAY);
    struct memory_slot *s = e->home;
    struct list *at = &s->queue;
    while (at->next != &s->queue &&
           container_of(at->next, struct memory_entry, link)->record->sequence < e->record->sequence)
        at = at->next;
    list_insert_after(at, &e->link);
    e->record->pins -= e->droppable;
    if (e->droppable)
        count_droppable(s, 1);
    e->state = ENTRY_QUEUED;
    publish_oldest(s);
}

void memory_entry_end(struct memory_entry *e)
{
    assert(e->state == ENTRY_FLIGHT || e->state == ENTRY_AWAY);
    struct memory_record *r = e->record;
    assert(r->refs > 0 && r->pins > 0);
    stat_add(&e->home->events, (uint64_t)-1);
    stat_add(&e->home->bytes, (uint64_t) - (int64_t)weight(r));
    r->pins--;
    record_drop_entry(r, e);
}

/* Ends an entry that nobody has seen. */
static void entry_drop(struct memory_entry *e)
{
    struct memory_slot *s = e->home;
    memory_entry_take(e, ENTRY_FLIGHT);
    stat_add(&s->dropped, 1);
    memory_entry_end(e);
}

/* The first record in the queue that only dropping subscriptions hold (I2). Others in front of it are skipped, since
 * dropping them frees nothing. */
static struct memory_record *slot_droppable(const struct memory_slot *s)
{
    unsigned looked = 0;
    for (struct list *l = s->queue.next; l != &s->queue && looked < MEMORY_LOOK_MAX; l = l->next, looked++) {
        struct memory_record *r = container_of(l, struct memory_entry, link)->record;
        if (r->pins == 0)
            return r;
    }
    return NULL;
}

bool memory_part_drop_oldest(struct memory_part *p)
{
    struct memory_record *oldest = NULL;
    list_each(l, tmp, &p->dropping) {
        struct memory_record *r = slot_droppable(container_of(l, struct memory_slot, dropping));
        if (r && (!oldest || r->sequence < oldest->sequence))
            oldest = r;
    }
    if (!oldest)
        return false;
    /* All its entries lie in their home queues; the last drop frees the record, so its number is read first. */
    for (unsigned left = oldest->refs; left > 0; left--)
        entry_drop(container_of(oldest->entries.next, struct memory_entry, mates));
    stat_add(&p->dropped, 1);
    return true;
}

void memory_slot_clear(struct memory_slot *s)
{
    while (!list_empty(&s->queue)) {
        struct memory_entry *e = container_of(s->queue.next, struct memory_entry, link);
        memory_entry_take(e, ENTRY_FLIGHT);
        memory_entry_end(e);
    }
}
