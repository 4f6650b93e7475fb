/* SPDX-License-Identifier: Apache-2.0
 *
 * Who drains a slot. Where the subscription is attached on the slot's own loop, its stream does. Else the slot lends
 * its entries, at most MEMORY_LEND_MAX at a time, to a loop where the subscription is attached; where it is attached
 * nowhere they wait.
 *
 *   unattached here, attached at B    lend: each entry is a letter to B, which delivers it as its own
 *   settled or released at B          the entry is a letter home, which ends it or queues it again
 *   attached here, or B is gone       recall: one letter to B, which sends home what it has not delivered, then this
 *                                     letter itself; when all is home the slot is delivered elsewhere. What B has in
 *                                     hand and does not settle soon must not hold up the rest: B gets more then, until
 *                                     nothing happens to be there (I6)
 *
 * Mailboxes keep order, so a partition's events are delivered in the order of their appends whoever drains it: that is
 * where ORDERED comes from while streams come and go. A stopped loop takes letters and sends none (I5): what lies at
 * the wrong place then stays there until fini.
 */
#include "memory.h"

#include <assert.h>

static void entry_came_home(struct letter *m)
{
    struct memory_entry *e = container_of(m, struct memory_entry, letter);
    struct memory_slot *s = e->home;
    assert(e->state == ENTRY_AWAY && s->away > 0);
    s->away--;
    e->borrower = NULL;
    if (e->acknowledged) {
        memory_entry_end(e);
    } else {
        memory_entry_put_back(e);
        if (s->leaving)
            memory_slot_clear(s);
    }
    memory_slot_route(s);
}

void memory_entry_go_home(struct memory_entry *e, bool acknowledged)
{
    assert(e->state == ENTRY_AWAY);
    if (e->borrower->part->at->stopped)
        return;
    e->acknowledged = acknowledged;
    e->letter.run = entry_came_home;
    loop_post_reserved(e->home->part->at->loop, &e->letter);
}

static void entry_came_to_borrower(struct letter *m)
{
    struct memory_entry *e = container_of(m, struct memory_entry, letter);
    struct memory_slot *s = e->borrower;
    if (!s->stream) {
        memory_entry_go_home(e, false);
        return;
    }
    list_push_back(&s->borrowed, &e->link);
    memory_stream_wake(s->stream);
}

/* At most MEMORY_LEND_MAX that wait there; what the borrower has in hand does not count, else a stream whose credit is
 * larger than the bound, and which settles late, would never see the rest. */
static void lend(struct memory_slot *s)
{
    while (s->away < MEMORY_LEND_MAX + stat_read(&s->lent_to->held) && !list_empty(&s->queue)) {
        struct memory_entry *e = container_of(s->queue.next, struct memory_entry, link);
        memory_entry_take(e, ENTRY_AWAY);
        s->away++;
        e->borrower = s->lent_to;
        e->letter.run = entry_came_to_borrower;
        loop_post_reserved(s->lent_to->part->at->loop, &e->letter);
    }
}

static void recall_answered(struct letter *m)
{
    struct memory_slot *s = container_of(m, struct memory_slot, recall);
    s->recalling = false;
    s->recalled = true;
    memory_slot_route(s);
}

/* At the borrower. */
static void recall_arrived(struct letter *m)
{
    struct memory_slot *s = container_of(m, struct memory_slot, recall);
    struct memory_slot *borrower = s->lent_to;
    if (borrower->part->at->stopped)
        return;
    list_each(l, tmp, &borrower->borrowed) {
        struct memory_entry *e = container_of(l, struct memory_entry, link);
        if (e->home != s)
            continue;
        list_remove(l);
        memory_entry_go_home(e, false);
    }
    s->recall.run = recall_answered;
    loop_post_reserved(s->part->at->loop, &s->recall);
}

static void recall(struct memory_slot *s)
{
    assert(!s->recalled);
    s->recalling = true;
    s->recall.run = recall_arrived;
    loop_post_reserved(s->lent_to->part->at->loop, &s->recall);
}

static bool attached(const struct memory_slot *s)
{
    return s && atomic_load(&s->attached);
}

/* Itself when attached here; else the borrower as long as it is attached; else any that is; else NULL. */
static struct memory_slot *slot_drain(struct memory_slot *s)
{
    if (s->stream)
        return s;
    if (attached(s->lent_to))
        return s->lent_to;
    struct bus_subscription *subscription = s->subscription;
    for (size_t i = 0; i < subscription->channel->bus->env.loop_count; i++) {
        if (attached(&subscription->slots[i]))
            return &subscription->slots[i];
    }
    return NULL;
}

/* Another one than the borrower is to drain it. False: not yet. */
static bool hand_over(struct memory_slot *s)
{
    if (!s->recalled) {
        recall(s);
        return false;
    }
    if (s->away > 0) {
        if (attached(s->lent_to) && s->stream && !s->stream->patient)
            lend(s);
        return false;
    }
    s->lent_to = NULL;
    return true;
}

/* Answers a round that waits for everything to be home. */
static void settle_down(struct memory_slot *s)
{
    if (s->leave_waits && !s->away && !s->recalling) {
        s->leave_waits = false;
        round_answer(&s->subscription->round, s->part->at->index);
    }
    memory_part_settle_down(s->part);
}

void memory_slot_route(struct memory_slot *s)
{
    if (s->part->at->stopped)
        return;
    if (s->leaving || s->part->closed) {
        settle_down(s);
        return;
    }
    if (s->recalling)
        return;
    struct memory_slot *to = slot_drain(s);
    if (s->lent_to && s->lent_to != to && !hand_over(s))
        return;
    s->recalled = false;
    if (to == s) {
        memory_stream_wake(s->stream);
    } else if (to) {
        s->lent_to = to;
        lend(s);
    }
}

static void nudged(struct letter *m)
{
    struct memory_slot *s = container_of(m, struct memory_slot, nudge);
    atomic_store(&s->nudge_posted, false); /* before looking: a change after the look posts again */
    memory_slot_route(s);
}

void memory_slot_nudge_others(struct memory_slot *s)
{
    struct bus_subscription *subscription = s->subscription;
    if (s->part->at->stopped)
        return;
    for (size_t i = 0; i < subscription->channel->bus->env.loop_count; i++) {
        struct memory_slot *other = &subscription->slots[i];
        if (other != s && !atomic_exchange(&other->nudge_posted, true))
            loop_post_reserved(other->part->at->loop, &other->nudge);
    }
}

void memory_slot_init(struct memory_slot *s, struct bus_subscription *subscription, struct memory_part *p)
{
    s->subscription = subscription;
    s->part = p;
    list_init(&s->link);
    list_init(&s->queue);
    list_init(&s->dropping);
    list_init(&s->borrowed);
    s->nudge.run = nudged;
}
