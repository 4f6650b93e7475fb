/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the log bus: a cursor with a name, and what its filter lets pass. Control makes, changes and removes
 * them. Each change of the index is staged as a barrier under the index's write lock, so that W, and R after it, know
 * from which sequence on it counts (I1); OK comes when W has passed it.
 *
 *   subscribe, new           index, CURSOR staged ─ W: number, record, slots from the barrier or from `start`
 *   subscribe, found at open index, CURSOR staged ─ slots are BEHIND from the ledger; R counts the backlog up to the
 * barrier subscribe, other filter  index changed, an epoch, CURSOR staged ─ events below the barrier: the epoch's
 * filter unsubscribe(remove)      out of the index, CURSOR_GONE staged ─ W: record; freed when nobody pins it
 *
 * Filters are told apart by identity. Of a subscription that is BEHIND, the last LOG_EPOCHS_MAX filters are remembered;
 * before that the oldest that is left decides.
 */
#include "../overflow.h"
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

struct bus_subscription *log_subscription_pin(struct bus_subscription *s)
{
    unsigned before = atomic_fetch_add(&s->pins, 1);
    assert(before > 0);
    return s;
}

static void subscription_free(struct bus_subscription *s)
{
    for (size_t i = 0; s->slots && i < s->slot_count; i++) {
        log_slots_queued(s, s->slots[i].queued_bytes, 0);
        slot_fini(&s->slots[i]);
    }
    for (unsigned i = 0; i < s->epoch_count; i++)
        filter_unref(s->epochs[i].filter);
    filter_unref(s->filter);
    slot_ledger_free(s->before);
    slot_ledger_free(s->census.done);
    log_pending_free(s->farewell);
    pthread_mutex_destroy(&s->lock);
    free(s->slots);
    free(s->epochs);
    free(s);
}

void log_subscription_unpin(struct bus_subscription *s)
{
    unsigned before = atomic_fetch_sub(&s->pins, 1);
    assert(before > 0);
    if (before > 1)
        return;
    assert(!s->indexed && s->streams == 0);
    struct bus_channel *c = s->channel;
    subscription_free(s);
    log_channel_unpin(c);
}

void log_subscription_dirty(struct bus_subscription *s)
{
    struct log_bus *g = s->channel->bus;
    if (atomic_exchange(&s->moved, true))
        return;
    pthread_mutex_lock(&g->dirty_lock);
    if (list_empty(&s->dirty)) {
        log_subscription_pin(s);
        list_push_back(&g->dirty, &s->dirty);
    }
    pthread_mutex_unlock(&g->dirty_lock);
}

/* With what is known of each beside it: many subscriptions rest, and one allocation is less than three. */
static bool slots_new(struct bus_subscription *s, size_t n)
{
    char *at = calloc(n, sizeof *s->slots + sizeof *s->shares + sizeof *s->at);
    if (!at)
        return false;
    s->slots = (struct slot *)(void *)at;
    s->shares = (struct log_share *)(void *)(at + n * sizeof *s->slots);
    s->at = (struct bus_stream **)(void *)(at + n * (sizeof *s->slots + sizeof *s->shares));
    s->slot_count = n;
    for (size_t i = 0; i < n; i++)
        slot_init(&s->slots[i], 1, true);
    return true;
}

enum err log_subscription_new(struct bus_channel *c, struct slice name, struct bus_subscription **out)
{
    size_t n = c->bus->env.loop_count;
    struct bus_subscription *s = calloc(1, sizeof *s + name.len + 1);
    if (!s)
        return ERR_NOMEM;
    memcpy(s->name, name.ptr, name.len);
    s->channel = c;
    s->barrier = UINT64_MAX;
    atomic_init(&s->pins, 1);
    list_init(&s->dirty);
    list_init(&s->want);
    list_init(&s->count);
    pthread_mutex_init(&s->lock, NULL);
    s->farewell = log_pending_new(LOG_PENDING_CURSOR_GONE);
    enum err e = slots_new(s, n) && s->farewell ? OK : ERR_NOMEM;
    if (!e) {
        pthread_rwlock_wrlock(&c->index_lock);
        e = map_add(&c->subscriptions, name, s);
        pthread_rwlock_unlock(&c->index_lock);
    }
    if (e) {
        subscription_free(s);
        return ERR_NOMEM;
    }
    log_channel_pin(c);
    *out = s;
    return OK;
}

/* ---- filters ---- */

struct filter *log_subscription_judge(struct bus_subscription *s, uint64_t sequence)
{
    for (unsigned i = 0; i < s->epoch_count; i++) {
        if (sequence < s->epochs[i].below)
            return s->epochs[i].filter;
    }
    return s->filter;
}

static void epoch_drop_oldest(struct bus_subscription *s)
{
    assert(s->epoch_count > 0);
    filter_unref(s->epochs[0].filter);
    s->epoch_count--;
    memmove(&s->epochs[0], &s->epochs[1], s->epoch_count * sizeof s->epochs[0]);
}

/* What waits in memory may have to be read again, when the slot falls behind or its stream goes: so it counts too, and
 * so does what W has not handed out yet. */
void log_subscription_epochs_prune(struct bus_subscription *s)
{
    uint64_t unread = UINT64_MAX, routed = stat_read(&s->channel->bus->routed);
    if (!s->epoch_count)
        return;
    for (size_t i = 0; i < s->slot_count; i++) {
        uint64_t from = slot_needs_from(&s->slots[i], routed + 1);
        unread = from < unread ? from : unread;
    }
    if (s->census.wanted && s->census.next < unread)
        unread = s->census.next;
    while (s->epoch_count && s->epochs[0].below <= unread && s->epochs[0].below != UINT64_MAX)
        epoch_drop_oldest(s);
}

/* Room for the filter that this one takes the place of, before anything is changed. */
static bool epochs_ready(struct bus_subscription *s, const struct filter *f)
{
    if (s->epochs || !s->indexed || s->filter == f)
        return true;
    struct log_epoch *epochs = calloc(LOG_EPOCHS_MAX, sizeof *epochs);
    pthread_mutex_lock(&s->lock);
    s->epochs = epochs;
    pthread_mutex_unlock(&s->lock);
    return epochs;
}

/* Under the index's write lock. Returns the epoch that the barrier to come closes; 0: none. */
static uint64_t set_filter(struct bus_subscription *s, struct filter *f)
{
    struct bus_channel *c = s->channel;
    if (s->indexed && s->filter == f)
        return 0;
    bool known = s->indexed;
    if (known)
        filter_index_remove(c->index, &s->wants);
    else
        c->indexed++;
    filter_index_add(c->index, &s->wants, f);
    s->indexed = true;

    uint64_t id = 0;
    pthread_mutex_lock(&s->lock);
    if (known) {
        if (s->epoch_count == LOG_EPOCHS_MAX)
            epoch_drop_oldest(s);
        id = ++s->epoch_id;
        s->epochs[s->epoch_count++] = (struct log_epoch){s->filter, UINT64_MAX, id};
    } else {
        filter_unref(s->filter);
    }
    s->filter = f ? filter_ref(f) : NULL;
    pthread_mutex_unlock(&s->lock);
    return id;
}

/* ---- operations ---- */

enum err log_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                       struct filter *filter, const struct bus_param *params, size_t count,
                       struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    struct log_bus *g = log_of(b);
    bool drop_oldest = false;
    if (g->stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = overflow_read("log", params, count, &drop_oldest, d);
    if (e)
        return e;
    if (name.len > LOG_OBJECT_NAME_MAX)
        return diag_set(d, ERR_INVALID, "a subscription's name has at most %d bytes", LOG_OBJECT_NAME_MAX);
    struct log_pending *p = log_pending_new(LOG_PENDING_CURSOR);
    struct bus_subscription *s = map_get(&c->subscriptions, name);
    if (!p || (s ? !epochs_ready(s, filter) : log_subscription_new(c, name, &s) != OK)) {
        log_pending_free(p);
        return diag_set(d, ERR_NOMEM, "out of memory");
    }
    s->refs++;
    atomic_store(&s->drop_oldest, drop_oldest);
    if (atomic_exchange(&s->unused_since, 0))
        log_subscription_dirty(s);
    *out = s;
    p->subscription = s;
    p->channel = c;
    p->start = start ? *start : (struct bus_start){.kind = BUS_START_LATEST};
    pthread_rwlock_wrlock(&c->index_lock);
    p->epoch_mark = set_filter(s, filter);
    log_op_start(g, p, op);
    pthread_rwlock_unlock(&c->index_lock);
    return OK;
}

/* Out of the index; under its write lock. */
static void unindex(struct bus_subscription *s)
{
    struct bus_channel *c = s->channel;
    if (!s->indexed)
        return;
    assert(c->indexed > 0);
    filter_index_remove(c->index, &s->wants);
    s->indexed = false;
    c->indexed--;
}

void log_subscription_remove(struct bus_subscription *s, struct bus_op *op)
{
    struct bus_channel *c = s->channel;
    struct log_pending *p = s->farewell;
    assert(s->refs == 0 && p);
    s->farewell = NULL;
    p->subscription = s;
    p->channel = c;
    pthread_rwlock_wrlock(&c->index_lock);
    unindex(s);
    map_remove(&c->subscriptions, slice_str(s->name));
    pthread_mutex_lock(&s->lock);
    assert(s->streams == 0);
    s->gone = true;
    pthread_mutex_unlock(&s->lock);
    log_op_start(c->bus, p, op);
    pthread_rwlock_unlock(&c->index_lock);
}

void log_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    struct log_bus *g = log_of(b);
    assert(s->refs > 0);
    s->refs--;
    if (!s->refs && remove) {
        log_subscription_remove(s, op);
        return;
    }
    if (!s->refs) {
        atomic_store(&s->unused_since, log_unused_now(g));
        log_subscription_dirty(s);
    }
    bus_op_end(g->env.control, op, OK);
}

void log_subscription_abandon(struct bus_subscription *s)
{
    unindex(s);
    for (size_t i = 0; i < s->slot_count; i++) {
        if (s->at[i])
            log_stream_free(s->at[i]);
        s->at[i] = NULL;
    }
    s->streams = 0;
}
