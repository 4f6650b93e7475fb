/* SPDX-License-Identifier: Apache-2.0
 *
 * The slots of one subscription: what W pushes, what R is asked for, who drains which, what is dropped. Everything here
 * is under the subscription's lock.
 *
 *            push fails: queue full, no stream, no room in memory
 *      LIVE ────────────────────────────────────────────────────────→ BEHIND
 *       ↑          R has read all there was (I3)                         │ R pushes what it reads, as the queue empties
 *       └────────────────────────────────────────────────────────────────┘
 *
 * Memory. All queues together hold LOG_QUEUED_MAX bytes of events, and a slot's never more than is still free, so that
 * n slots of subscribers who stand still leave one part of n + 1 to those who go on. A slot that has no room gets
 * another event only when it has none and its stream could deliver it at once: so every stream goes on.
 */
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

#define QUEUE_LOW (SLOT_QUEUE_MAX / 4) /* so few queued events make R read on */

void log_slots_queued(struct bus_subscription *s, uint64_t before, uint64_t after)
{
    assert(after >= before || stat_read(&s->channel->bus->queued) >= before - after);
    if (before != after)
        atomic_fetch_add_explicit(&s->channel->bus->queued, after - before, memory_order_relaxed);
}

static uint64_t credit_of(const struct bus_stream *st)
{
    return st ? stat_read(&st->credit) : 0;
}

/* Whether one more event may wait in this slot. */
bool log_slots_room(const struct bus_subscription *s, size_t i)
{
    uint64_t queued = stat_read(&s->channel->bus->queued);
    if (queued < LOG_QUEUED_MAX && s->slots[i].queued_bytes < LOG_QUEUED_MAX - queued)
        return true;
    return s->slots[i].queued == 0 && credit_of(s->shares[i].drainer) > 0;
}

bool log_slots_wants(const struct bus_subscription *s, size_t i)
{
    const struct slot *slot = &s->slots[i];
    assert(i < s->slot_count);
    return !s->gone && slot->behind && s->shares[i].drainer && slot->queued <= QUEUE_LOW && log_slots_room(s, i);
}

void log_slots_want(struct bus_subscription *s)
{
    bool wanted = s->trim;
    for (size_t i = 0; i < s->slot_count && !wanted; i++)
        wanted = log_slots_wants(s, i);
    if (wanted)
        log_refill_want(s);
}

static void unread_add(struct log_share *share, int64_t events, int64_t bytes)
{
    share->unread += events;
    share->unread_bytes += bytes;
}

void log_slots_counted(struct bus_subscription *s, size_t i, uint64_t bytes)
{
    assert(i < s->slot_count && s->census.wanted);
    atomic_fetch_add_explicit(&s->events, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->bytes, (int64_t)bytes, memory_order_relaxed);
    unread_add(&s->shares[i], 1, (int64_t)bytes);
}

/* What R reads before W has passed it was never unread, and W leaves it so. */
void log_slots_read(struct bus_subscription *s, size_t i, uint64_t sequence, uint64_t bytes)
{
    struct log_share *share = &s->shares[i];
    assert(i < s->slot_count && bytes > 0);
    if (sequence < s->barrier || sequence <= share->passed)
        unread_add(share, -1, -(int64_t)bytes);
}

/* A census that still runs may count what was read long ago. */
void log_slots_reconcile(struct bus_subscription *s, size_t i)
{
    struct log_share *share = &s->shares[i];
    assert(i < s->slot_count);
    if (s->slots[i].behind || s->census.wanted)
        return;
    atomic_fetch_sub_explicit(&s->events, share->unread, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->bytes, share->unread_bytes, memory_order_relaxed);
    share->unread = share->unread_bytes = 0;
}

void log_slots_settled(struct bus_subscription *s, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&s->events, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->bytes, (int64_t)bytes, memory_order_relaxed);
}

/* ---- who drains ---- */

static struct bus_stream *drainer_for(const struct bus_subscription *s, size_t i)
{
    struct bus_stream *st = s->at[i];
    for (size_t k = 0; k < s->slot_count && !st; k++)
        st = s->at[k] && s->at[k]->foreign ? s->at[k] : NULL;
    assert(!st || s->streams > 0);
    return st;
}

/* A drainer that is to hand over takes nothing more for a moment, so that what it has is settled; what is held longer
 * (a retry, an event for tomorrow) must not hold up the slot, so it goes on then until nothing happens to be in flight.
 */
void log_slots_route(struct bus_subscription *s)
{
    for (size_t i = 0; i < s->slot_count; i++) {
        struct log_share *share = &s->shares[i];
        struct bus_stream *to = drainer_for(s, i);
        bool rested = share->leaving;
        assert(!to || to->subscription == s);
        share->owed = share->drainer && share->drainer != to && s->slots[i].flight > 0;
        share->leaving = share->owed && to && !to->foreign;
        bool anew = !share->owed && share->drainer != to;
        if (anew)
            share->drainer = to;
        if (!share->drainer || s->slots[i].queued == 0 || !(anew || (rested && !share->leaving)))
            continue;
        log_loop_ready(share->drainer);
        log_loop_post(share->drainer->at);
    }
    log_slots_want(s);
}

/* ---- in ---- */

/* It is in the log only; unless R has looked at it before W came by. */
static void pass(struct bus_subscription *s, size_t i, const struct log_pending *p)
{
    struct log_share *share = &s->shares[i];
    assert(s->slots[i].behind);
    if (p->sequence <= share->passed)
        return;
    if (p->sequence >= s->slots[i].position)
        unread_add(share, 1, (int64_t)p->bytes);
    share->passed = p->sequence;
}

static bool push(struct bus_subscription *s, size_t i, struct log_pending *p)
{
    struct slot *slot = &s->slots[i];
    if (!s->streams || !log_slots_room(s, i))
        return false;
    uint64_t before = slot->queued_bytes;
    assert(!slot->behind && p->result == OK); /* I2 */
    if (slot_push(slot, p->sequence, p->event, (uint32_t)p->bytes))
        return false;
    log_slots_queued(s, before, slot->queued_bytes);
    return true;
}

void log_slots_push(struct bus_subscription *s, struct log_pending *p)
{
    size_t i = p->spread % s->slot_count;
    struct slot *slot = &s->slots[i];
    struct log_share *share = &s->shares[i];
    if (s->gone)
        return;
    assert(s->barrier <= p->sequence);
    if (slot->behind) {
        pass(s, i, p);
        log_yield_earn(share, p->bytes);
    } else if (p->sequence >= share->seen) {
        share->seen = p->sequence + 1;
        if (push(s, i, p)) {
            if (share->drainer)
                log_loop_ready(share->drainer);
        } else {
            slot_fall_behind(slot, p->sequence);
            pass(s, i, p);
            log_slots_want(s);
        }
    }
    if (atomic_load_explicit(&s->drop_oldest, memory_order_relaxed))
        log_slots_trim(s);
}

/* ---- out without delivery ---- */

/* The slot with the oldest queued event; the count when none has one. */
static size_t oldest_queued(const struct bus_subscription *s)
{
    size_t found = s->slot_count;
    uint64_t sequence = UINT64_MAX;
    for (size_t i = 0; i < s->slot_count; i++) {
        const struct slot *slot = &s->slots[i];
        if (slot->next == &slot->window)
            continue;
        uint64_t first = container_of(slot->next, struct slot_entry, link)->sequence;
        if (first < sequence) {
            sequence = first;
            found = i;
        }
    }
    return found;
}

static bool over(const struct bus_subscription *s)
{
    int64_t bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);
    return bytes > 0 && (uint64_t)bytes > stat_read(&s->channel->capacity);
}

void log_slots_dropped(struct bus_subscription *s, uint64_t bytes)
{
    stat_add(&s->dropped, 1);
    stat_add(&s->channel->dropped, 1);
    log_slots_settled(s, bytes);
    log_subscription_dirty(s);
}

/* What waits in memory is older than what is still to be read; that is for R then, who calls here first too, since some
 * may have been given back meanwhile. */
void log_slots_trim(struct bus_subscription *s)
{
    while (over(s)) {
        size_t i = oldest_queued(s);
        uint32_t bytes;
        if (i == s->slot_count)
            break;
        uint64_t before = s->slots[i].queued_bytes;
        bool dropped = slot_drop_oldest(&s->slots[i], &bytes);
        assert(dropped);
        log_slots_queued(s, before, s->slots[i].queued_bytes);
        log_slots_dropped(s, bytes);
    }
    if (!over(s) || s->trim)
        return;
    for (size_t i = 0; i < s->slot_count; i++)
        s->trim |= s->slots[i].behind;
    if (s->trim)
        log_refill_want(s);
}

/* Nobody drains it any more and nothing is in flight: what was settled is kept as a ledger, all else is read again when
 * somebody comes. Without memory for the ledger the entries stay. */
void log_slots_forget(struct bus_subscription *s)
{
    struct log_bus *g = s->channel->bus;
    struct slot_ledger *ledger = NULL;
    struct buf value;
    assert(s->streams == 0);
    for (size_t i = 0; i < s->slot_count; i++) {
        struct slot *slot = &s->slots[i];
        uint64_t routed = stat_read(&g->routed) + 1;
        assert(slot->flight == 0);
        if (!slot->behind)
            slot_fall_behind(slot, s->shares[i].seen > routed ? s->shares[i].seen : routed);
    }
    buf_init(&value, SIZE_MAX);
    slot_ledger_put(s->slots, s->slot_count, 1, s->before, &value);
    if (!buf_error(&value) && slot_ledger_read(buf_slice(&value), &ledger) == OK) {
        for (size_t i = 0; i < s->slot_count; i++) {
            struct slot *slot = &s->slots[i];
            if (slot->position > s->shares[i].passed + 1)
                s->shares[i].passed = slot->position - 1;
            log_slots_queued(s, slot->queued_bytes, 0);
            unread_add(&s->shares[i], slot->queued, (int64_t)slot->queued_bytes);
            slot_fini(slot);
            slot_init(slot, slot_ledger_from(ledger, i, s->slot_count), true);
        }
        slot_ledger_free(s->before);
        s->before = ledger;
        s->turn++;
    }
    buf_fini(&value);
}
