/* SPDX-License-Identifier: Apache-2.0
 *
 * The log bus: channels and cursors on the store (store.h), with threads, loops and streams on top. An append is
 * answered when its event is on the disk.
 *
 *     data loops (n)                    W, the writer                     R, the reader            K, the keeper
 *   ─────────────────────          ────────────────────────          ─────────────────────     ───────────────────
 *    append: match, stage ───────→ staged, in the log's order
 *                                   pack, check, write (store)
 *                                   commit: one sync for all
 *                                   route: LIVE slots get the event
 *    done, deliver ←─────letter──── tell each loop once                                          the disk's reserve
 *                                   a slot is full: BEHIND ──────────→ read, filter, push        the next segment
 *    deliver ←───────────────────────────────────────────letter─────── at the end: LIVE          what nobody needs
 *    settle: the slot's window ───→ cursors, with the next batch
 *
 * Order. The sequence of the log is the order in which appends were staged: one mutex, taken inside the channel's index
 * lock. So the events of one loop keep their order, and a subscription has a place in the sequence from which on it
 * counts.
 *
 * Who holds events. Those of LIVE slots lie in memory once, however many slots refer to them, as they came in; a
 * subscription that falls behind, is paused, or that nobody has attached, holds nothing and is read for when its turn
 * comes. So a backlog costs disk, and memory only for what is on its way.
 *
 * Which loop delivers. An event's spread (the hash of its key, else the loop that it came in on) names its slot, and
 * the slot's own loop has it where the subscription has a stream there, else another one (log_slots.c).
 *
 * What a crash leaves. The log up to the last commit, and of what was under way any part (store.h, S1, S2). Cursors lie
 * in the log like events and so are never ahead of them; they are at most a second or LOG_SETTLED_MAX settlements old:
 * so much is delivered again. After a stop that ended, nothing is.
 *
 * When the disk fails (S5), whoever waits is told, new appends are refused, and what was committed goes on being
 * delivered. When it is full, or nearly (log_keeper.c), new appends are refused until there is space.
 *
 * This file: opening, time, notices, stopping and freeing. The nouns, locks and invariants: log.h.
 */
#include "../backends.h"
#include "log_bus.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define KEEP_TICKS 5        /* between two looks of K when nothing happens */
#define TELL_UNUSED_TICK 60 /* after open: whoever is to come has come */
#define FORGET_TICKS 60

/* ---- notices ---- */

void log_notice(struct log_bus *g, int severity, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool kept = notes_add(&g->notes, severity, code, format, args);
    va_end(args);
    if (kept)
        post_send(g->post);
}

static void store_notice(void *arg, int severity, const char *code, const char *text)
{
    log_notice(arg, severity, code, "%s", text);
}

static void tell(void *owner)
{
    struct log_bus *g = owner;
    notes_tell(&g->notes, &g->env, &g->base);
    log_verified(g);
}

/* ---- time ---- */

static void tick(struct loop_timer *t)
{
    struct log_bus *g = container_of(t, struct log_bus, tick);
    g->ticks++;
    pthread_mutex_lock(&g->dirty_lock);
    bool dirty = !list_empty(&g->dirty);
    pthread_mutex_unlock(&g->dirty_lock);
    if (dirty || atomic_load(&g->unmarked))
        log_writer_wake(g, dirty, true);
    log_refill_tick(g);
    if (g->ticks % KEEP_TICKS == 0 || atomic_load(&g->low))
        log_keeper_wake(g, true);
    if (g->ticks == TELL_UNUSED_TICK)
        log_tell_unused(g);
    if (g->ticks % FORGET_TICKS == 0)
        log_forget_unused(g);
    loop_timer_start(g->env.control, t, LOG_TICK_NS);
}

void log_idle(struct bus *b)
{
    struct log_bus *g = log_of(b);
    pthread_mutex_lock(&g->writer.lock);
    while (!g->writer.waits)
        pthread_cond_wait(&g->writer.idle, &g->writer.lock);
    pthread_mutex_unlock(&g->writer.lock);
    pthread_mutex_lock(&g->refill.lock);
    while (!g->refill.waits)
        pthread_cond_wait(&g->refill.idle, &g->refill.lock);
    pthread_mutex_unlock(&g->refill.lock);
    pthread_mutex_lock(&g->keeper.lock);
    while (!g->keeper.waits)
        pthread_cond_wait(&g->keeper.idle, &g->keeper.lock);
    pthread_mutex_unlock(&g->keeper.lock);
}

/* ---- opening ---- */

static void locks_init(struct log_bus *g)
{
    pthread_mutex_init(&g->catalogue, NULL);
    pthread_mutex_init(&g->dirty_lock, NULL);
    pthread_mutex_init(&g->times_lock, NULL);
    pthread_mutex_init(&g->writer.lock, NULL);
    pthread_mutex_init(&g->refill.lock, NULL);
    pthread_mutex_init(&g->keeper.lock, NULL);
    pthread_cond_init(&g->writer.work, NULL);
    pthread_cond_init(&g->writer.idle, NULL);
    pthread_cond_init(&g->refill.work, NULL);
    pthread_cond_init(&g->refill.idle, NULL);
    pthread_cond_init(&g->keeper.work, NULL);
    pthread_cond_init(&g->keeper.idle, NULL);
    list_init(&g->ops);
    list_init(&g->dirty);
    notes_init(&g->notes, 0);
    list_init(&g->writer.staged);
    list_init(&g->writer.batch);
    list_init(&g->refill.want);
    list_init(&g->refill.stalled);
    list_init(&g->refill.census);
    list_init(&g->refill.stuck);
    list_init(&g->refill.reads);
    map_init(&g->channels, SIZE_MAX);
}

static struct log_bus *bus_new(const struct bus_env *env, struct disk *disk, const struct log_settings *s)
{
    struct log_bus *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->base = (struct bus){.ops = &bus_log, .capabilities = bus_log.capabilities, .hold_ms_max = bus_log.hold_ms_max};
    g->env = *env;
    g->clock = loop_clock(env->control);
    g->worked_ns = log_yield_worked;
    g->disk = disk;
    g->capacity = s->capacity;
    g->retention_bytes = s->retention_bytes;
    g->retention_ns = s->retention_ns;
    g->reserve = s->reserve;
    g->segment = s->segment ? s->segment : LOG_SEGMENT_BYTES;
    g->opened_wall_ns = clock_wall_ns(g->clock);
    g->opened_ns = clock_monotonic_ns(g->clock);
    locks_init(g);
    loop_timer_init(&g->tick, tick);
    return g;
}

/* A twentieth of a small disk. */
static void reserve_fit(struct log_bus *g, const struct log_settings *s)
{
    uint64_t available, total;
    if (s->reserve_given || g->disk->ops->space(g->disk, g->dir, &available, &total, NULL))
        return;
    if (total / 20 < g->reserve)
        g->reserve = total / 20;
}

static void add_segment(void *arg, const struct log_segment_info *i, const struct log_channel_usage *usage,
                        size_t count)
{
    struct log_channel_usage *sum = arg;
    for (size_t k = 0; k < count; k++)
        sum->events += usage[k].events;
    sum->bytes += i->bytes;
}

/* Who restarts a server after a crash sees that its log is there. */
static void tell_opened(struct log_bus *g)
{
    struct log_channel_usage sum = {0};
    uint64_t took_ns = clock_monotonic_ns(g->clock) - g->opened_ns;
    log_store_each_segment(g->store, add_segment, &sum);
    log_notice(g, 0, "LogOpened",
               "%s: %" PRIu64 " events, %" PRIu64 " MiB, up to offset %" PRIu64 ", opened in %" PRIu64 " ms", g->dir,
               sum.events, sum.bytes >> 20, log_store_last(g->store), (uint64_t)(took_ns / NS_PER_MS));
}

/* A log that is still empty must be able to begin: a server on a disk without room for one segment would be ready and
 * take nothing. One that holds something opens on any disk, since what it holds is to be delivered. */
static enum err room_to_begin(struct log_bus *g, struct diag *d)
{
    uint64_t available, total, wanted = g->segment + g->reserve;
    if (log_store_last(g->store) > 0 || g->disk->ops->space(g->disk, g->dir, &available, &total, NULL) ||
        available >= wanted)
        return OK;
    return diag_set(d, ERR_FULL,
                    "the disk of %s has %" PRIu64 " MiB left, and a log begins with a segment of %" PRIu64
                    " MiB and a reserve of %" PRIu64
                    " MiB: make room, or give the bus smaller ones (--bus log,segment=4MiB,reserve=4MiB)",
                    g->dir, available >> 20, g->segment >> 20, g->reserve >> 20);
}

static enum err bus_start(struct log_bus *g, const struct log_settings *s, struct diag *d)
{
    const struct log_store_options options = {.disk = g->disk,
                                              .clock = g->clock,
                                              .dir = s->dir,
                                              .segment_bytes = s->segment,
                                              .notice = store_notice,
                                              .arg = g};
    g->dir = strdup(s->dir);
    g->stop = log_pending_new(LOG_PENDING_STOP);
    g->loops = calloc(g->env.loop_count, sizeof *g->loops);
    enum err e = g->dir && g->stop && g->loops ? post_new(g->env.control, tell, g, &g->post) : ERR_NOMEM;
    for (size_t i = 0; i < g->env.loop_count && !e; i++)
        e = log_loop_init(&g->loops[i], g, i);
    if (!e) {
        e = log_store_open(&options, &g->store, d);
        if (e)
            return e;
    }
    if (!e) {
        reserve_fit(g, s);
        e = room_to_begin(g, d);
        if (e)
            return e;
        tell_opened(g);
        log_keeper_space(g);
        atomic_store(&g->routed, log_store_committed(g->store));
        e = log_catalogue_load(g);
    }
    if (!e)
        e = log_writer_start(g);
    if (!e)
        e = log_refill_start(g);
    if (!e)
        e = log_keeper_start(g);
    return e ? diag_set(d, e, "out of memory") : OK;
}

static void log_fini(struct bus *b);

enum err log_open_on(const struct bus_env *env, struct disk *disk, const struct bus_param *params, size_t count,
                     struct bus **out, struct diag *d)
{
    struct log_settings s;
    assert(env->loop_count > 0);
    enum err e = log_settings_read(params, count, &s, d);
    if (e)
        return e;
    struct log_bus *g = bus_new(env, disk, &s);
    if (!g)
        return diag_set(d, ERR_NOMEM, "out of memory");
    e = bus_start(g, &s, d);
    if (e) {
        log_fini(&g->base);
        return e;
    }
    loop_timer_start(env->control, &g->tick, LOG_TICK_NS);
    *out = &g->base;
    return OK;
}

static enum err log_open(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                         struct diag *d)
{
    return log_open_on(env, disk_system(), params, count, out, d);
}

static enum err log_bind(struct bus *b, struct loop *loop)
{
    struct log_loop *l = log_loop_find(log_of(b), loop);
    assert(!l->bound);
    l->bound = true;
    return OK;
}

static void log_unbind(struct bus *b, struct loop *loop)
{
    struct log_loop *l = log_loop_find(log_of(b), loop);
    assert(l->bound);
    l->bound = false;
    log_loop_spares_free(l);
}

/* ---- stop and fini ---- */

void log_stopped(struct log_bus *g)
{
    assert(g->stopping && !g->stopped);
    g->stopped = true;
    g->stop = NULL;
    log_verify_stopped(g);
    while (g->stop_ops) {
        struct bus_op *op = g->stop_ops;
        g->stop_ops = op->owner;
        bus_op_end(g->env.control, op, OK);
    }
}

/* STOP is staged behind everything, and nothing behind STOP. W writes all cursors, R ends, and when the loops have been
 * gone by, twice since a page of read() may have been on its way to one, no callback is left. */
static void log_stop(struct bus *b, struct bus_op *op)
{
    struct log_bus *g = log_of(b);
    if (g->stopped) {
        bus_op_end(g->env.control, op, OK);
        return;
    }
    op->owner = g->stop_ops;
    g->stop_ops = op;
    if (g->stopping)
        return;
    g->stopping = true;
    loop_timer_stop(g->env.control, &g->tick);
    atomic_store(&g->closed, true);
    g->stop->rounds = 2;
    log_op_start(g, g->stop, NULL);
}

static void dirty_let_go(struct log_bus *g)
{
    struct list *l;
    while ((l = list_pop_front(&g->dirty)))
        log_subscription_unpin(container_of(l, struct bus_subscription, dirty));
}

static void channel_abandon(struct bus_channel *c)
{
    map_each(entry, tmp, &c->subscriptions) {
        struct bus_subscription *s = entry->value;
        log_subscription_abandon(s);
        map_remove(&c->subscriptions, entry->key);
        log_subscription_unpin(s);
    }
    log_channel_unpin(c);
}

static void locks_fini(struct log_bus *g)
{
    pthread_mutex_destroy(&g->catalogue);
    pthread_mutex_destroy(&g->dirty_lock);
    pthread_mutex_destroy(&g->times_lock);
    pthread_mutex_destroy(&g->writer.lock);
    pthread_mutex_destroy(&g->refill.lock);
    pthread_mutex_destroy(&g->keeper.lock);
    pthread_cond_destroy(&g->writer.work);
    pthread_cond_destroy(&g->writer.idle);
    pthread_cond_destroy(&g->refill.work);
    pthread_cond_destroy(&g->refill.idle);
    pthread_cond_destroy(&g->keeper.work);
    pthread_cond_destroy(&g->keeper.idle);
}

static void log_fini(struct bus *b)
{
    struct log_bus *g = log_of(b);
    loop_timer_stop(g->env.control, &g->tick);
    log_keeper_quit(g);
    log_writer_quit(g);
    log_refill_close(g);
    log_ops_abandon(g);
    if (g->stop && !g->stopping) /* else it was one of the operations */
        log_pending_free(g->stop);
    dirty_let_go(g);
    for (size_t i = 0; g->loops && i < g->env.loop_count; i++)
        log_loop_fini(&g->loops[i]);
    map_each(entry, tmp, &g->channels)
        channel_abandon(entry->value);
    map_fini(&g->channels);
    log_store_close(g->store);
    notes_fini(&g->notes);
    post_free(g->post);
    locks_fini(g);
    free(g->loops);
    free(g->dir);
    free(g);
}

static enum err log_check(const struct bus_param *params, size_t count, struct diag *d)
{
    struct log_settings unused;
    return log_settings_read(params, count, &unused, d);
}

const struct bus_ops bus_log = {
    .name = "log",
    .capabilities =
        BUS_CAP_DURABLE | BUS_CAP_SYNCED | BUS_CAP_ORDERED | BUS_CAP_BROWSE | BUS_CAP_ACK_EACH | BUS_CAP_FILTER,
    .hold_ms_max = UINT64_MAX,
    .open = log_open,
    .check = log_check,
    .bind = log_bind,
    .unbind = log_unbind,
    .provision = log_provision,
    .known = log_known,
    .release = log_release,
    .verify = log_bus_verify,
    .subscribe = log_subscribe,
    .unsubscribe = log_unsubscribe,
    .append = log_append,
    .attach = log_attach,
    .detach = log_detach,
    .credit = log_credit,
    .settle = log_settle,
    .read = log_read_begin,
    .stop = log_stop,
    .fini = log_fini,
    .probe = log_probe,
    .probe_subscription = log_probe_subscription,
};
