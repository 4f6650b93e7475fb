/* SPDX-License-Identifier: Apache-2.0
 *
 * W, the writer: the one thread that writes the log. It takes whatever is staged when it is free, so a single client
 * waits for one commit and many share one, without any timer:
 *
 *   take ─ append to the store, in order ─ cursors that are due ─ commit ─ route, in order ─ tell loops and control
 *
 * Batches are bounded (LOG_BATCH_RECORDS, LOG_BATCH_BYTES); what is more goes with the next. A barrier (log_barrier.c)
 * splits a batch, since it needs to know which sequences come before it.
 *
 * Cursors go along with events: at most LOG_SETTLED_MAX settlements or a tick late, all of them at a stop, and once
 * for every segment's worth of records, so that after a crash little is read again. They say where slots stood when the
 * last batch was routed (g->routed), which is before their own record.
 *
 * Everything here is W's own but what the lock guards. A full disk fails what did not fit (ERR_FULL) and is tried
 * again; after any other error the store takes nothing more (store.h, S5), and all of the batch fails.
 */
#include "log_bus.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

/* ---- what is staged ---- */

void log_writer_signal(struct log_writer *w)
{
    if (!w->waits)
        return;
    w->waits = false;
    pthread_cond_signal(&w->work);
}

void log_writer_wake(struct log_bus *g, bool cursors, bool mark)
{
    struct log_writer *w = &g->writer;
    pthread_mutex_lock(&w->lock);
    w->cursors_due |= cursors;
    w->mark_due |= mark;
    log_writer_signal(w);
    pthread_mutex_unlock(&w->lock);
}

/* At most one batch off the front of what was taken; its bytes. */
static uint64_t cut(struct log_writer *w, struct list *out)
{
    uint64_t bytes = 0;
    unsigned n = 0;
    while (!list_empty(&w->batch) && n++ < LOG_BATCH_RECORDS && bytes < LOG_BATCH_BYTES) {
        struct log_pending *p = container_of(list_pop_front(&w->batch), struct log_pending, link);
        bytes += p->bytes;
        list_push_back(out, &p->link);
    }
    return bytes;
}

/* ---- writes ---- */

static struct log_bus *bus_of(struct log_writer *w)
{
    return container_of(w, struct log_bus, writer);
}

/* A write found its place, or failed. */
static void written(struct log_writer *w, const struct log_write *write, const struct log_owner *o, enum err e)
{
    if (o->cursor) {
        if (e)
            log_subscription_dirty(o->cursor);
        log_subscription_unpin(o->cursor);
        return;
    }
    struct log_pending *p = o->pending;
    assert((write->sequence != 0) == (e == OK));
    p->result = e;
    p->sequence = write->sequence;
    if (e && p->kind == LOG_PENDING_CHANNEL && p->channel->written)
        p->result = OK; /* it is there: whether it is used is all that could not be said */
    if (e)
        return;
    w->wrote = true;
    if (p->kind == LOG_PENDING_CHANNEL) {
        p->channel->written = true;
        p->channel->unused = o->object.since_ns != 0;
    }
    if (p->kind == LOG_PENDING_CURSOR)
        p->subscription->written = true;
}

static void values_place(struct log_writer *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct log_owner *o = &w->owners[i];
        assert(o->value_at + o->value_len <= w->values.len);
        if (o->value_len)
            o->object.value = slice_of(w->values.ptr + o->value_at, o->value_len);
    }
}

void log_writer_flush(struct log_writer *w)
{
    struct log_bus *g = bus_of(w);
    size_t at = 0;
    assert(w->count <= LOG_BATCH_RECORDS);
    values_place(w);
    while (at < w->count) {
        enum err e = log_store_append(g->store, w->writes + at, w->count - at);
        for (; at < w->count && w->writes[at].sequence; at++) {
            w->since_sweep += w->writes[at].bytes;
            w->wrote = true;
            written(w, &w->writes[at], &w->owners[at], OK);
        }
        if (!e)
            assert(at == w->count);
        if (e == ERR_FULL) {
            atomic_store(&g->full, true);
            if (!atomic_exchange(&g->low, true))
                log_notice(g, 2, "LogDiskLow",
                           "the disk of %s is full: new events are refused until there is room again", g->dir);
            log_keeper_wake(g, true);
        }
        if (e == ERR_TOO_LARGE && at < w->count) {
            written(w, &w->writes[at], &w->owners[at], e);
            at++;
            continue;
        }
        for (; at < w->count; at++)
            written(w, &w->writes[at], &w->owners[at], e);
    }
    w->count = 0;
    buf_clear(&w->values);
}

static struct log_owner *write_add(struct log_writer *w, struct log_write write, struct log_owner owner)
{
    if (w->count == LOG_BATCH_RECORDS)
        log_writer_flush(w);
    struct log_owner *o = &w->owners[w->count];
    assert(!owner.pending != !owner.cursor); /* one of them */
    *o = owner;
    if (write.kind != LOG_EVENT)
        write.object = &o->object;
    w->writes[w->count++] = write;
    return o;
}

static void event_write(struct log_writer *w, struct log_pending *p)
{
    struct log_write write = {.kind = LOG_EVENT,
                              .channel = atomic_load_explicit(&p->channel->number, memory_order_relaxed),
                              .spread = p->spread,
                              .event = p->event};
    assert(write.channel > 0 && p->event && p->sequence == 0);
    write_add(w, write, (struct log_owner){.pending = p});
}

static void channel_write(struct log_writer *w, struct log_pending *p, enum log_kind kind)
{
    struct bus_channel *c = p->channel;
    if (kind == LOG_OBJECT && atomic_load(&c->number) == 0)
        atomic_store(&c->number, log_store_next_number(bus_of(w)->store, LOG_CHANNEL));
    struct log_object object = {.type = LOG_CHANNEL,
                                .number = atomic_load(&c->number),
                                .since_ns = log_unused_written(c->bus, atomic_load(&c->unused_since)),
                                .name = slice_str(c->name)};
    assert(object.number > 0);
    write_add(w, (struct log_write){.kind = kind}, (struct log_owner){.pending = p, .object = object});
}

void log_writer_object(struct log_writer *w, struct log_pending *p, struct bus_subscription *cursor, enum log_kind kind,
                       size_t value_at)
{
    struct log_object object = {.type = LOG_CURSOR,
                                .number = cursor->number,
                                .channel = atomic_load(&cursor->channel->number),
                                .since_ns = log_unused_written(bus_of(w), atomic_load(&cursor->unused_since)),
                                .name = slice_str(cursor->name)};
    assert(object.number > 0 && object.channel > 0);
    struct log_owner o = {.pending = p,
                          .cursor = p ? NULL : cursor,
                          .object = object,
                          .value_at = value_at,
                          .value_len = w->values.len - value_at};
    write_add(w, (struct log_write){.kind = kind}, o);
}

static void prepare(struct log_writer *w, struct log_pending *p)
{
    switch (p->kind) {
    case LOG_PENDING_EVENT:
        event_write(w, p);
        break;
    case LOG_PENDING_CHANNEL:
        if (!p->channel->written || p->channel->unused || !p->op)
            channel_write(w, p, LOG_OBJECT);
        break;
    case LOG_PENDING_CHANNEL_GONE:
        if (p->channel->written)
            channel_write(w, p, LOG_OBJECT_GONE);
        break;
    case LOG_PENDING_CURSOR:
        log_barrier_pass(w, p);
        break;
    case LOG_PENDING_CURSOR_GONE:
        if (p->subscription->written)
            log_writer_object(w, p, p->subscription, LOG_OBJECT_GONE, w->values.len);
        break;
    case LOG_PENDING_STOP:
        w->sweep = true;
        break;
    }
}

/* ---- cursors ---- */

/* Marks every cursor, so that it is written. */
static void sweep(struct log_bus *g)
{
    pthread_mutex_lock(&g->catalogue);
    map_each(entry, tmp, &g->channels) {
        struct bus_channel *c = entry->value;
        pthread_rwlock_rdlock(&c->index_lock);
        map_each(inner, next, &c->subscriptions)
            log_subscription_dirty(inner->value);
        pthread_rwlock_unlock(&c->index_lock);
    }
    pthread_mutex_unlock(&g->catalogue);
}

static bool ledger_needed(const struct bus_subscription *s)
{
    uint64_t end = s->before ? slot_ledger_end(s->before) : 0;
    for (size_t i = 0; i < s->slot_count; i++) {
        if (s->slots[i].behind && s->slots[i].position < end)
            return true;
    }
    return false;
}

/* Where it stands, at the end of w->values; false: nothing is to be written. */
static bool cursor_put(struct log_writer *w, struct bus_subscription *s)
{
    struct log_bus *g = bus_of(w);
    size_t before = w->values.len;
    atomic_store(&s->moved, false);
    pthread_mutex_lock(&s->lock);
    if (!ledger_needed(s)) {
        slot_ledger_free(s->before);
        s->before = NULL;
    }
    if (!s->gone && s->written)
        slot_ledger_put(s->slots, s->slot_count, stat_read(&g->routed) + 1, s->before, &w->values);
    pthread_mutex_unlock(&s->lock);
    if (buf_error(&w->values)) { /* it stays where the log has it */
        w->values.error = OK;
        w->values.len = before;
    }
    return w->values.len > before;
}

static void cursors_write(struct log_writer *w)
{
    struct log_bus *g = bus_of(w);
    struct list dirty, *l;
    list_init(&dirty);
    atomic_store(&g->settled, 0);
    pthread_mutex_lock(&g->dirty_lock);
    list_splice_back(&dirty, &g->dirty);
    while ((l = list_pop_front(&dirty))) {
        pthread_mutex_unlock(&g->dirty_lock);
        struct bus_subscription *s = container_of(l, struct bus_subscription, dirty);
        if (w->count == LOG_BATCH_RECORDS)
            log_writer_flush(w);
        size_t at = w->values.len;
        if (cursor_put(w, s))
            log_writer_object(w, NULL, s, LOG_OBJECT, at);
        else
            log_subscription_unpin(s);
        pthread_mutex_lock(&g->dirty_lock);
    }
    pthread_mutex_unlock(&g->dirty_lock);
    log_writer_flush(w);
}

/* ---- after the commit ---- */

static void route(struct log_bus *g, struct list *batch)
{
    uint64_t before = stat_read(&g->routed);
    struct bus_subscription *held = NULL; /* of its lock: neighbours often go to the same */
    for (struct list *l = batch->next; l != batch; l = l->next) {
        struct log_pending *p = container_of(l, struct log_pending, link);
        if (p->kind != LOG_PENDING_EVENT || p->result)
            continue;
        assert(p->sequence > before && p->sequence <= log_store_committed(g->store));
        for (unsigned i = 0; i < p->match_count; i++) {
            struct bus_subscription *s = p->matches[i];
            if (s != held && held)
                pthread_mutex_unlock(&held->lock);
            if (s != held)
                pthread_mutex_lock(&s->lock);
            held = s;
            log_slots_push(s, p);
        }
    }
    if (held)
        pthread_mutex_unlock(&held->lock);
    atomic_store(&g->routed, log_store_last(g->store));
}

/* R may have come to the barrier before it was committed, and given up. */
static void barrier_committed(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->census.wanted)
        log_refill_count(s);
    log_slots_want(s);
    pthread_mutex_unlock(&s->lock);
}

/* Operations end after the loops have their letters: who flushes finds them there. */
static void complete(struct log_bus *g, struct list *batch)
{
    struct list ops, *l;
    list_init(&ops);
    while ((l = list_pop_front(batch))) {
        struct log_pending *p = container_of(l, struct log_pending, link);
        if (p->kind == LOG_PENDING_EVENT && p->result)
            log_append_uncount(p);
        list_push_back(p->kind == LOG_PENDING_EVENT ? &p->home->outgoing : &ops, l);
    }
    for (size_t i = 0; i < g->env.loop_count; i++) {
        struct log_loop *to = &g->loops[i];
        pthread_mutex_lock(&to->lock);
        list_splice_back(&to->completed, &to->outgoing);
        pthread_mutex_unlock(&to->lock);
        log_loop_post(to);
    }
    while ((l = list_pop_front(&ops))) {
        struct log_pending *p = container_of(l, struct log_pending, link);
        if (p->kind == LOG_PENDING_STOP)
            log_refill_close(g);
        if (p->kind == LOG_PENDING_CHANNEL_GONE)
            log_channel_unpin(p->channel);
        if (p->kind == LOG_PENDING_CURSOR_GONE)
            log_subscription_unpin(p->subscription);
        if (p->kind == LOG_PENDING_CURSOR)
            barrier_committed(p->subscription);
        log_op_end(p);
    }
}

static void fail_all(struct list *batch, enum err e)
{
    for (struct list *l = batch->next; l != batch; l = l->next) {
        struct log_pending *p = container_of(l, struct log_pending, link);
        if (p->sequence && !p->result)
            p->result = e;
    }
}

static void times(struct log_bus *g, const struct list *batch)
{
    const struct log_pending *p = container_of(batch->next, struct log_pending, link);
    if (batch->next != batch && p->sequence && !p->result)
        log_times_add(g, p->sequence, clock_wall_ns(g->clock));
}

/* ---- one batch ---- */

/* No more than certainty: a failure is the store's to tell. */
static void mark_write(struct log_bus *g)
{
    atomic_store(&g->unmarked, false);
    if (log_store_mark(g->store))
        log_keeper_wake(g, false);
}

static void work(struct log_writer *w, bool cursors, bool mark)
{
    struct log_bus *g = bus_of(w);
    struct list now;
    list_init(&now);
    uint64_t bytes = cut(w, &now), before = log_store_last(g->store);
    w->wrote = w->sweep = false;
    for (struct list *l = now.next; l != &now; l = l->next)
        prepare(w, container_of(l, struct log_pending, link));
    log_writer_flush(w);
    if (w->sweep || w->since_sweep >= g->segment) {
        w->since_sweep = 0;
        sweep(g);
        cursors = true;
    }
    if (cursors)
        cursors_write(w);
    enum err e = w->wrote ? log_store_commit(g->store) : OK;
    if (e) {
        fail_all(&now, e);
    } else {
        times(g, &now);
        stat_add(&g->commits, w->wrote);
        stat_add(&g->committed, log_store_last(g->store) - before);
    }
    if (w->wrote)
        atomic_store(&g->unmarked, true);
    if ((mark || w->sweep) && !e)
        mark_write(g);
    route(g, &now);
    complete(g, &now);
    atomic_fetch_add_explicit(&g->unswept, bytes, memory_order_relaxed);
    if (stat_read(&g->unswept) > g->segment / 4) {
        log_keeper_space(g); /* K may be at work for long */
        log_keeper_wake(g, false);
    }
    pthread_mutex_lock(&w->lock);
    assert(w->staged_bytes >= bytes);
    w->staged_bytes -= bytes;
    pthread_mutex_unlock(&w->lock);
}

static bool idle(const struct log_writer *w)
{
    return !w->quit && !w->cursors_due && !w->mark_due && list_empty(&w->staged) && list_empty(&w->batch);
}

static void *run(void *arg)
{
    struct log_writer *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (idle(w)) {
            w->waits = true;
            pthread_cond_broadcast(&w->idle);
            pthread_cond_wait(&w->work, &w->lock);
        }
        w->waits = false;
        if (w->quit)
            break;
        list_splice_back(&w->batch, &w->staged);
        bool cursors = w->cursors_due, mark = w->mark_due && list_empty(&w->batch);
        w->cursors_due = w->mark_due = false;
        pthread_mutex_unlock(&w->lock);
        work(w, cursors, mark);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- start and end ---- */

enum err log_thread_start(pthread_t *thread, const char *name, void *(*body)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the control loop's */
    int failed = pthread_create(thread, NULL, body, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return ERR_NOMEM;
    pthread_setname_np(*thread, name);
    return OK;
}

enum err log_writer_start(struct log_bus *g)
{
    struct log_writer *w = &g->writer;
    buf_init(&w->values, SIZE_MAX);
    w->writes = calloc(LOG_BATCH_RECORDS, sizeof *w->writes);
    w->owners = calloc(LOG_BATCH_RECORDS, sizeof *w->owners);
    if (!w->writes || !w->owners)
        return ERR_NOMEM;
    enum err e = log_thread_start(&w->thread, "log-writer", run, w);
    w->started = !e;
    return e;
}

void log_writer_quit(struct log_bus *g)
{
    struct log_writer *w = &g->writer;
    if (w->started) {
        pthread_mutex_lock(&w->lock);
        w->quit = true;
        pthread_cond_signal(&w->work);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    list_splice_back(&w->batch, &w->staged);
    list_each(l, tmp, &w->batch) {
        struct log_pending *p = container_of(l, struct log_pending, link);
        if (p->kind != LOG_PENDING_EVENT) /* log_ops_abandon knows it */
            continue;
        list_remove(l);
        log_pending_free(p);
    }
    buf_fini(&w->values);
    free(w->writes);
    free(w->owners);
}
