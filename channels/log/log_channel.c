/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of the log bus: a name, a number in the log, and the index of what its subscriptions want. Control makes and
 * removes them; the record that says so goes through W like an event, so that it lies at its place in the sequence.
 *
 *   provision ─ CHANNEL staged ─ W: number, record, commit ─ OK
 *   release(remove), the last ─ closed, its cursors' and its own GONE staged ─ W: records, commit ─ by all loops ─ OK
 *
 * A channel lives as long as somebody has pinned it; control's pin goes with CHANNEL_GONE to W.
 */
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

/* FNV-1a, then a finaliser so that few loops still spread well. What is in the log depends on it: never to change. */
uint32_t log_hash(struct slice s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    return (uint32_t)h;
}

struct bus_channel *log_channel_pin(struct bus_channel *c)
{
    unsigned before = atomic_fetch_add(&c->pins, 1);
    assert(before > 0);
    return c;
}

void log_channel_unpin(struct bus_channel *c)
{
    unsigned before = atomic_fetch_sub(&c->pins, 1);
    assert(before > 0);
    if (before > 1)
        return;
    assert(c->subscriptions.count == 0 && c->indexed == 0);
    map_fini(&c->subscriptions);
    filter_index_free(c->index);
    pthread_rwlock_destroy(&c->index_lock);
    log_pending_free(c->farewell);
    free(c);
}

/* A subscription must not wait for ever because appends come without end. */
static void index_lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

enum err log_channel_new(struct log_bus *g, struct slice name, struct bus_channel **out)
{
    struct bus_channel *c = calloc(1, sizeof *c + name.len + 1);
    if (!c)
        return ERR_NOMEM;
    c->bus = g;
    memcpy(c->name, name.ptr, name.len);
    c->spread = log_hash(name);
    atomic_init(&c->pins, 1);
    atomic_init(&c->capacity, g->capacity);
    atomic_init(&c->retention_bytes, g->retention_bytes);
    atomic_init(&c->retention_ns, g->retention_ns);
    map_init(&c->subscriptions, SIZE_MAX);
    c->farewell = log_pending_new(LOG_PENDING_CHANNEL_GONE);
    index_lock_init(&c->index_lock);
    enum err e = c->farewell ? filter_index_new(&c->index) : ERR_NOMEM;
    if (!e) { /* from here on W and K walk over it */
        pthread_mutex_lock(&g->catalogue);
        e = map_add(&g->channels, slice_str(c->name), c);
        pthread_mutex_unlock(&g->catalogue);
    }
    if (e) {
        filter_index_free(c->index);
        log_pending_free(c->farewell);
        pthread_rwlock_destroy(&c->index_lock);
        free(c);
        return ERR_NOMEM;
    }
    *out = c;
    return OK;
}

bool log_known(struct bus *b, struct slice name)
{
    return map_get(&log_of(b)->channels, name) != NULL;
}

enum err log_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                       struct bus_channel **out, struct bus_op *op, struct diag *d)
{
    struct log_bus *g = log_of(b);
    struct log_channel_settings settings = {g->capacity, g->retention_bytes, g->retention_ns, false};
    if (g->stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = log_channel_settings_read(params, count, &settings, d);
    if (e)
        return e;
    if (name.len > LOG_OBJECT_NAME_MAX)
        return diag_set(d, ERR_INVALID, "a channel's name has at most %d bytes", LOG_OBJECT_NAME_MAX);
    struct log_pending *p = log_pending_new(LOG_PENDING_CHANNEL);
    struct bus_channel *c = map_get(&g->channels, name);
    if (!p || (!c && log_channel_new(g, name, &c))) {
        log_pending_free(p);
        return diag_set(d, ERR_NOMEM, "out of memory");
    }
    atomic_store_explicit(&c->capacity, settings.capacity, memory_order_relaxed);
    atomic_store_explicit(&c->retention_bytes, settings.retention_bytes, memory_order_relaxed);
    atomic_store_explicit(&c->retention_ns, settings.retention_ns, memory_order_relaxed);
    atomic_store_explicit(&c->one_part, settings.one_part, memory_order_relaxed);
    atomic_store(&c->unused_since, 0);
    c->refs++;
    *out = c;
    p->channel = c;
    log_op_start(g, p, op);
    return OK;
}

/* Cursors that unsubscribe left go with their channel. */
void log_channel_remove(struct bus_channel *c, struct bus_op *op)
{
    struct log_bus *g = c->bus;
    assert(c->refs == 0);
    atomic_store(&c->closed, true);
    map_each(entry, tmp, &c->subscriptions) {
        assert(((struct bus_subscription *)entry->value)->refs == 0);
        log_subscription_remove(entry->value, NULL);
    }
    pthread_mutex_lock(&g->catalogue);
    map_remove(&g->channels, slice_str(c->name));
    pthread_mutex_unlock(&g->catalogue);
    struct log_pending *p = c->farewell;
    c->farewell = NULL;
    p->channel = c;
    p->rounds = 1;
    pthread_rwlock_wrlock(&c->index_lock); /* appends that saw it open are staged now */
    pthread_rwlock_unlock(&c->index_lock);
    log_op_start(g, p, op); /* and W may free it at once */
}

void log_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    struct log_bus *g = log_of(b);
    assert(c->refs > 0);
    c->refs--;
    if (!c->refs && remove) {
        log_channel_remove(c, op);
        return;
    }
    if (!c->refs)
        atomic_store(&c->unused_since, log_unused_now(g));
    bus_op_end(g->env.control, op, OK);
}
