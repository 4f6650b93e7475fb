/* SPDX-License-Identifier: Apache-2.0
 *
 * Append, on its loop: find the subscriptions that want the event and stage it for W, both under the channel's index
 * lock, so that it lies on the right side of every change of the index (I1). What it costs a loop: the match, a lock,
 * and a wake-up of W when that sleeps. Packing, checking and writing are W's.
 *
 * Bounds: events that wait for W (LOG_STAGED_MAX), the backlog of each subscription that matches (the channel's
 * `capacity`; one that drops its oldest refuses nothing), and the disk's reserve.
 */
#include "ce_pack.h"
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

static bool matches_grow(struct log_pending *p)
{
    unsigned room = p->match_room * 2;
    bool owned = p->matches != p->inline_matches;
    assert(p->match_count == p->match_room);
    struct bus_subscription **m = realloc(owned ? p->matches : NULL, room * sizeof(struct bus_subscription *));
    if (!m)
        return false;
    if (!owned)
        memcpy(m, p->inline_matches, sizeof p->inline_matches);
    p->matches = m;
    p->match_room = room;
    return true;
}

static void match(void *arg, struct filter_entry *entry)
{
    struct log_pending *p = arg;
    struct bus_subscription *s = container_of(entry, struct bus_subscription, wants);
    assert(s->indexed && s->channel == p->channel);
    if (p->match_count == p->match_room && !matches_grow(p))
        p->result = ERR_NOMEM;
    else
        p->matches[p->match_count++] = s;
}

static uint32_t spread_of(struct bus_channel *c, const struct log_loop *l, const struct ce_event *event)
{
    struct ce_attribute key;
    if (atomic_load_explicit(&c->one_part, memory_order_relaxed))
        return c->spread;
    return ce_event_attribute(event, SLICE("partitionkey"), &key) ? log_hash(key.value) : (uint32_t)l->index;
}

/* ---- I7 ---- */

static void count(struct bus_subscription *s, int64_t events, int64_t bytes)
{
    atomic_fetch_add_explicit(&s->events, events, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->bytes, bytes, memory_order_relaxed);
}

static void append_count(struct log_pending *p)
{
    assert(p->kind == LOG_PENDING_EVENT && p->bytes > 0);
    p->unmatched = p->match_count == 0 && p->channel->indexed;
    stat_add(&p->channel->appended, 1);
    stat_add(&p->channel->unmatched, p->unmatched);
    for (unsigned i = 0; i < p->match_count; i++) {
        count(p->matches[i], 1, (int64_t)p->bytes);
        stat_add(&p->matches[i]->appended, 1);
    }
}

void log_append_uncount(struct log_pending *p)
{
    stat_add(&p->channel->appended, -1ull);
    stat_add(&p->channel->unmatched, -(uint64_t)p->unmatched);
    for (unsigned i = 0; i < p->match_count; i++) {
        count(p->matches[i], -1, -(int64_t)p->bytes);
        stat_add(&p->matches[i]->appended, -1ull);
    }
}

static bool full(const struct log_pending *p)
{
    uint64_t capacity = stat_read(&p->channel->capacity);
    for (unsigned i = 0; i < p->match_count; i++) {
        struct bus_subscription *s = p->matches[i];
        int64_t bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);
        if (!atomic_load_explicit(&s->drop_oldest, memory_order_relaxed) && bytes > 0 &&
            (uint64_t)bytes + p->bytes > capacity)
            return true;
    }
    return false;
}

/* ---- staging ---- */

static enum err stage(struct log_bus *g, struct log_pending *p)
{
    struct log_writer *w = &g->writer;
    enum err e = OK;
    append_count(p);
    pthread_mutex_lock(&w->lock);
    if (w->closed)
        e = ERR_CLOSED;
    else if (w->staged_bytes && w->staged_bytes + p->bytes > LOG_STAGED_MAX)
        e = ERR_FULL;
    if (!e) {
        w->staged_bytes += p->bytes;
        list_push_back(&w->staged, &p->link);
        log_writer_signal(w);
    }
    pthread_mutex_unlock(&w->lock);
    if (e)
        log_append_uncount(p);
    return e;
}

static enum err match_and_stage(struct log_bus *g, struct bus_channel *c, struct log_pending *p)
{
    pthread_rwlock_rdlock(&c->index_lock);
    enum err e = atomic_load(&c->closed) ? ERR_CLOSED : OK;
    if (!e) {
        filter_index_match(c->index, p->event, match, p);
        e = p->result ? p->result : full(p) ? ERR_FULL : stage(g, p);
    }
    pthread_rwlock_unlock(&c->index_lock);
    return e;
}

/* What can be said without looking at the subscriptions. */
static enum err refused(struct log_bus *g, struct bus_channel *c, uint64_t bytes)
{
    if (atomic_load(&g->closed))
        return ERR_CLOSED;
    if (log_store_failed(g->store, NULL))
        return ERR_UNAVAILABLE;
    if (bytes > stat_read(&c->capacity) || bytes > UINT32_MAX)
        return ERR_TOO_LARGE;
    return atomic_load_explicit(&g->low, memory_order_relaxed) ? ERR_FULL : OK;
}

enum err log_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                    struct loop *loop)
{
    struct log_bus *g = log_of(b);
    struct log_loop *l = log_loop_find(g, loop);
    uint64_t bytes = log_record_size(ce_pack_size(event));
    assert(l->bound && c->bus == g);
    enum err e = refused(g, c, bytes);
    if (e)
        return e;
    struct log_pending *p = log_pending_take(l);
    if (!p)
        return ERR_NOMEM;
    assert(p->kind == LOG_PENDING_EVENT && p->match_count == 0);
    p->result = OK;
    p->channel = c;
    p->append = a;
    p->home = l;
    p->event = ce_event_ref(event);
    p->spread = spread_of(c, l, event);
    p->bytes = bytes;
    p->sequence = 0;
    a->home = loop;
    log_yield_appended(l, bytes);
    a->channel = c;
    e = match_and_stage(g, c, p);
    if (e)
        log_pending_give(l, p);
    return e;
}
