/* SPDX-License-Identifier: Apache-2.0
 *
 * The window of a slot (slot.h). Invariants, beside those at its fields:
 *
 *     W1  Entries stand in order of their sequences and do not overlap.
 *     W2  Before `fresh` entries are in flight, given back, or done; from it on queued, or done when a ledger said so.
 *         `next` is the first of those given back, or `fresh` when there is none; neither is ever a DONE entry.
 *     W3  A LIVE slot's window holds all that is not done; of a BEHIND one all below its position.
 *
 * So everything is done in constant time but two: slot_take looks for the next one that was given back while there are
 * such, and slot_needs walks.
 */
#include "slot.h"

#include <assert.h>
#include <stdlib.h>

static struct slot_entry *entry_of(struct list *l)
{
    return container_of(l, struct slot_entry, link);
}

static bool is_done(const struct slot *s, struct list *l)
{
    return l != &s->window && entry_of(l)->state == SLOT_DONE;
}

void slot_init(struct slot *s, uint64_t position, bool behind)
{
    assert(!behind || position > 0);
    list_init(&s->window);
    s->next = s->fresh = &s->window;
    s->position = position;
    s->queued = s->flight = s->given_back = s->ranges = 0;
    s->queued_bytes = 0;
    s->behind = behind;
}

static void drop(struct slot_entry *e)
{
    list_remove(&e->link);
    ce_event_unref(e->event);
    free(e);
}

void slot_fini(struct slot *s)
{
    list_each(l, tmp, &s->window)
        drop(entry_of(l));
    slot_init(s, s->position, s->behind);
}

static struct slot_entry *append(struct slot *s, uint64_t sequence, enum slot_state state)
{
    assert(list_empty(&s->window) || entry_of(s->window.prev)->last < sequence);
    struct slot_entry *e = malloc(sizeof *e);
    if (!e)
        return NULL;
    *e = (struct slot_entry){.sequence = sequence, .last = sequence, .state = state};
    list_push_back(&s->window, &e->link);
    return e;
}

enum err slot_push(struct slot *s, uint64_t sequence, const struct ce_event *event, uint32_t bytes)
{
    assert(sequence > 0 && event);
    assert(!s->behind || sequence >= s->position);
    if (s->queued >= SLOT_QUEUE_MAX)
        return ERR_FULL;
    struct slot_entry *e = append(s, sequence, SLOT_QUEUED);
    if (!e)
        return ERR_NOMEM;
    e->event = ce_event_ref(event);
    e->bytes = bytes;
    s->queued++;
    s->queued_bytes += bytes;
    if (s->fresh == &s->window)
        s->fresh = &e->link;
    if (!s->given_back)
        s->next = s->fresh;
    if (s->behind)
        s->position = sequence + 1;
    return OK;
}

enum err slot_push_done(struct slot *s, uint64_t sequence)
{
    assert(s->behind && sequence >= s->position);
    if (is_done(s, s->window.prev)) {
        entry_of(s->window.prev)->last = sequence;
    } else if (!list_empty(&s->window)) { /* in an empty one the position tells it */
        if (!append(s, sequence, SLOT_DONE))
            return ERR_NOMEM;
        s->ranges++;
    }
    s->position = sequence + 1;
    return OK;
}

void slot_looked(struct slot *s, uint64_t position)
{
    assert(s->behind);
    if (position > s->position)
        s->position = position;
}

void slot_catch_up(struct slot *s)
{
    assert(s->behind);
    s->behind = false;
}

void slot_fall_behind(struct slot *s, uint64_t position)
{
    assert(!s->behind);
    assert(list_empty(&s->window) || entry_of(s->window.prev)->last < position);
    s->behind = true;
    s->position = position;
}

/* The queued entry at `next` is so no longer. */
static void leave_queue(struct slot *s, struct slot_entry *e)
{
    assert(s->next == &e->link && e->state == SLOT_QUEUED && s->queued > 0 && s->queued_bytes >= e->bytes);
    s->queued--;
    s->queued_bytes -= e->bytes;
    if (s->next == s->fresh) {
        assert(s->given_back == 0);
        s->fresh = e->link.next;
        if (is_done(s, s->fresh)) /* it has no neighbour of its kind */
            s->fresh = s->fresh->next;
        s->next = s->fresh;
        return;
    }
    assert(s->given_back > 0);
    s->next = s->fresh;
    if (--s->given_back) {
        struct list *l = e->link.next;
        while (entry_of(l)->state != SLOT_QUEUED)
            l = l->next;
        s->next = l;
    }
}

/* Joins it with neighbours that are done; what stands at the front goes. */
static void become_done(struct slot *s, struct slot_entry *e)
{
    ce_event_unref(e->event);
    e->event = NULL;
    e->state = SLOT_DONE;
    s->ranges++;
    struct list *before = e->link.prev, *after = e->link.next;
    if (is_done(s, before)) {
        e->sequence = entry_of(before)->sequence;
        drop(entry_of(before));
        s->ranges--;
    }
    if (is_done(s, after)) {
        e->last = entry_of(after)->last;
        drop(entry_of(after));
        s->ranges--;
    }
    if (s->window.next == &e->link) {
        drop(e);
        s->ranges--;
    }
}

struct slot_entry *slot_take(struct slot *s)
{
    if (s->next == &s->window)
        return NULL;
    struct slot_entry *e = entry_of(s->next);
    leave_queue(s, e);
    e->state = SLOT_FLIGHT;
    e->attempt++;
    s->flight++;
    return e;
}

void slot_acknowledge(struct slot *s, struct slot_entry *e)
{
    assert(e->state == SLOT_FLIGHT && s->flight > 0);
    s->flight--;
    become_done(s, e);
}

void slot_give_back(struct slot *s, struct slot_entry *e)
{
    assert(e->state == SLOT_FLIGHT && s->flight > 0);
    e->state = SLOT_QUEUED;
    s->flight--;
    s->queued++;
    s->queued_bytes += e->bytes;
    s->given_back++;
    if (s->next == &s->window || e->sequence < entry_of(s->next)->sequence)
        s->next = &e->link;
}

bool slot_drop_oldest(struct slot *s, uint32_t *bytes)
{
    if (s->next == &s->window)
        return false;
    struct slot_entry *e = entry_of(s->next);
    *bytes = e->bytes;
    leave_queue(s, e);
    become_done(s, e);
    return true;
}

uint64_t slot_needs_from(const struct slot *s, uint64_t end)
{
    if (!list_empty(&s->window))
        return entry_of(s->window.next)->sequence;
    return s->behind ? s->position : end;
}

bool slot_needs(const struct slot *s, uint64_t first, uint64_t last)
{
    if (s->behind && last >= s->position)
        return true;
    for (struct list *l = s->window.next; l != &s->window; l = l->next) {
        const struct slot_entry *e = entry_of(l);
        if (e->sequence > last)
            return false;
        if (e->state != SLOT_DONE && e->sequence >= first)
            return true;
    }
    return false;
}
