/* SPDX-License-Identifier: Apache-2.0
 *
 * Records and their entries: what a part keeps of an event, once, and what each subscription's queue holds of it. All
 * on the part's loop; the numbers I1 ... refer to memory.h.
 */
#include "memory.h"

#include <assert.h>
#include <stdlib.h>

/* The class of spares that has room for so many entries; MEMORY_SPARE_CLASSES: none. */
static unsigned spare_class(unsigned entries)
{
    unsigned class = 0;
    while (class < MEMORY_SPARE_CLASSES && 1u << class < entries)
        class ++;
    return class;
}

static unsigned room_for(unsigned entries)
{
    unsigned class = spare_class(entries);
    return class < MEMORY_SPARE_CLASSES ? 1u << class : entries;
}

static size_t record_bytes(unsigned capacity)
{
    return sizeof(struct memory_record) + capacity * sizeof(struct memory_entry);
}

size_t memory_charge(const struct ce_event *event, unsigned entries)
{
    return ce_event_size(event) + record_bytes(room_for(entries));
}

static struct memory_record *record_alloc(struct memory_loop *l, unsigned entries)
{
    unsigned class = spare_class(entries);
    if (class < MEMORY_SPARE_CLASSES && l->spare[class]) {
        struct memory_record *r = l->spare[class];
        l->spare[class] = (struct memory_record *)(void *)r->link.next;
        l->spare_count[class]--;
        return r;
    }
    unsigned capacity = room_for(entries);
    struct memory_record *r = malloc(record_bytes(capacity));
    if (r)
        r->capacity = capacity;
    return r;
}

struct memory_record *memory_record_new(struct memory_part *p, const struct ce_event *event, unsigned entries,
                                        size_t charge)
{
    assert(entries > 0);
    struct memory_record *r = record_alloc(p->at, entries);
    if (!r)
        return NULL;
    assert(r->capacity >= entries);
    r->part = p;
    r->event = ce_event_ref(event);
    r->sequence = ++p->sequence;
    r->time_ns = loop_now_ns(p->at->loop);
    r->charge = charge;
    r->refs = r->pins = r->count = 0;
    list_push_back(&p->records, &r->link);
    stat_add(&p->events, 1);
    return r;
}

static void record_clear(struct memory_record *r)
{
    list_remove(&r->link);
    memory_uncharge(r->part->channel, r->charge);
    stat_add(&r->part->events, (uint64_t)-1);
    r->event = ce_event_unref(r->event);
}

void memory_record_discard(struct memory_record *r)
{
    record_clear(r);
    free(r);
}

static void record_free(struct memory_record *r)
{
    struct memory_loop *l = r->part->at;
    record_clear(r);
    unsigned class = spare_class(r->capacity);
    if (class >= MEMORY_SPARE_CLASSES || l->spare_count[class] >= MEMORY_SPARE_MAX || !l->bound) {
        free(r);
        return;
    }
    r->link.next = l->spare[class] ? &l->spare[class]->link : NULL;
    l->spare[class] = r;
    l->spare_count[class]++;
}

void memory_spares_free(struct memory_loop *l)
{
    for (unsigned class = 0; class < MEMORY_SPARE_CLASSES; class ++) {
        while (l->spare[class]) {
            struct memory_record *r = l->spare[class];
            l->spare[class] = (struct memory_record *)(void *)r->link.next;
            free(r);
        }
        l->spare_count[class] = 0;
    }
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
    assert(r->count < r->capacity);
    struct memory_entry *e = &r->entries[r->count++];
    *e = (struct memory_entry){.home = s, .record = r, .state = ENTRY_QUEUED};
    e->droppable = atomic_load_explicit(&s->subscription->drop_oldest, memory_order_relaxed);
    r->refs++;
    r->pins += !e->droppable;
    if (e->droppable)
        count_droppable(s, 1);
    bool first = list_empty(&s->queue);
    list_push_back(&s->queue, &e->link);
    if (first)
        publish_oldest(s);
    stat_add(&s->events, 1);
    stat_add(&s->bytes, r->charge);
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
    e->state = ENTRY_ENDED;
    stat_add(&e->home->events, (uint64_t)-1);
    stat_add(&e->home->bytes, (uint64_t) - (int64_t)r->charge);
    r->pins--;
    if (--r->refs == 0)
        record_free(r);
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
    /* The last drop frees the record, so its numbers are read first. */
    unsigned left = oldest->refs;
    for (unsigned i = 0; left > 0; i++) {
        assert(i < oldest->count);
        if (oldest->entries[i].state != ENTRY_QUEUED)
            continue;
        left--;
        entry_drop(&oldest->entries[i]);
    }
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
