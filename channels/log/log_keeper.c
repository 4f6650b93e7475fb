/* SPDX-License-Identifier: Apache-2.0
 *
 * K, the keeper: the disk's space. It watches how much is left, has the next segment made before W needs it, and gives
 * back what no cursor needs and no retention keeps.
 *
 * The reserve. Below it appends are refused (ERR_FULL), before the disk itself refuses: deliveries and cursors go on,
 * and space comes back as events are settled. It ends by itself when there is a quarter more than the reserve again.
 * Where the disk itself has refused W (a quota, no room for a whole segment), its numbers prove nothing: then it ends
 * when there is a next segment. Before anybody is refused, from that quarter down, what is only kept for replay goes,
 * oldest first, as far as needed.
 *
 * It looks at the space when W has written a good part of a segment, and reclaims when that was a whole one, and every
 * few ticks.
 */
#include "ce_pack.h"
#include "log_bus.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

void log_keeper_wake(struct log_bus *g, bool all)
{
    struct log_keeper *k = &g->keeper;
    pthread_mutex_lock(&k->lock);
    if (!k->due)
        pthread_cond_signal(&k->work);
    k->due = true;
    k->all |= all;
    k->waits = false;
    pthread_mutex_unlock(&k->lock);
}

/* ---- space ---- */

static uint64_t enough(const struct log_bus *g)
{
    return g->reserve + g->reserve / 4;
}

/* What cannot be asked is not short. */
static uint64_t left(const struct log_bus *g)
{
    uint64_t available, total;
    return g->disk->ops->space(g->disk, g->dir, &available, &total, NULL) ? UINT64_MAX : available;
}

void log_keeper_space(struct log_bus *g)
{
    uint64_t available = left(g);
    if (available < g->reserve && !atomic_exchange(&g->low, true)) {
        log_notice(g, 2, "LogDiskLow",
                   "the disk of %s has %" PRIu64 " MiB left, less than the reserve of %" PRIu64
                   " MiB: new events are refused until there is more; make room, or give the bus a smaller reserve",
                   g->dir, available >> 20, g->reserve >> 20);
    } else if (available >= enough(g) && !atomic_load(&g->full) && atomic_exchange(&g->low, false)) {
        log_notice(g, 0, "LogDiskEnough", "the disk of %s has %" PRIu64 " MiB left: events are taken again", g->dir,
                   available >> 20);
    }
}

/* ---- what is needed ---- */

static int by_number(const void *a, const void *b)
{
    uint32_t m = ((const struct log_kept *)a)->number, n = ((const struct log_kept *)b)->number;
    return m < n ? -1 : m > n;
}

static void channels_let_go(struct log_keeper *k)
{
    while (k->count)
        log_channel_unpin(k->channels[--k->count].channel);
}

static enum err channels_take(struct log_bus *g)
{
    struct log_keeper *k = &g->keeper;
    enum err e = OK;
    pthread_mutex_lock(&g->catalogue);
    if (k->room < g->channels.count) {
        struct log_kept *grown = realloc(k->channels, g->channels.count * sizeof *grown);
        e = grown ? OK : ERR_NOMEM;
        if (grown) {
            k->channels = grown;
            k->room = g->channels.count;
        }
    }
    if (!e) {
        map_each(entry, tmp, &g->channels) {
            struct bus_channel *c = log_channel_pin(entry->value);
            k->channels[k->count++] = (struct log_kept){atomic_load(&c->number), c};
        }
    }
    pthread_mutex_unlock(&g->catalogue);
    if (k->count)
        qsort(k->channels, k->count, sizeof *k->channels, by_number);
    return e;
}

static struct bus_channel *find(const struct log_keeper *k, uint32_t number)
{
    size_t low = 0, high = k->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (k->channels[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < k->count && k->channels[low].number == number ? k->channels[low].channel : NULL;
}

static bool slots_need(struct bus_subscription *s, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < s->slot_count; i++) {
        if (slot_needs(&s->slots[i], first, last))
            return true;
    }
    return false;
}

static bool needed(void *arg, uint32_t channel, uint64_t first, uint64_t last)
{
    struct bus_channel *c = find(arg, channel);
    bool yes = false;
    assert(first <= last);
    if (!c)
        return false;
    pthread_rwlock_rdlock(&c->index_lock);
    map_each(entry, tmp, &c->subscriptions) {
        struct bus_subscription *s = entry->value;
        pthread_mutex_lock(&s->lock);
        yes = !s->gone && slots_need(s, first, last);
        pthread_mutex_unlock(&s->lock);
        if (yes)
            break;
    }
    pthread_rwlock_unlock(&c->index_lock);
    return yes;
}

/* Under the lock: whether this slot needs it and its filter lets it pass. A cursor that nobody has subscribed to yet
 * has no filter that is known. */
static bool wants(struct bus_subscription *s, const struct log_view *v, const struct ce_event **event)
{
    uint64_t sequence = v->record.sequence;
    const struct slot *slot = &s->slots[v->record.spread % s->slot_count];
    if (s->gone || !slot_needs(slot, sequence, sequence))
        return false;
    if (slot->behind && sequence >= slot->position && s->before &&
        slot_ledger_done(s->before, sequence, v->record.spread))
        return false;
    const struct filter *f = s->indexed ? log_subscription_judge(s, sequence) : NULL;
    if (!f)
        return true;
    if (!*event && ce_unpack(v->payload, event, NULL))
        return true;
    return filter_match(f, *event);
}

static bool wanted(void *arg, const struct log_view *v)
{
    struct bus_channel *c = find(arg, v->record.channel);
    const struct ce_event *event = NULL;
    bool yes = false;
    if (!c)
        return false;
    pthread_rwlock_rdlock(&c->index_lock);
    map_each(entry, tmp, &c->subscriptions) {
        struct bus_subscription *s = entry->value;
        pthread_mutex_lock(&s->lock);
        yes = wants(s, v, &event);
        pthread_mutex_unlock(&s->lock);
        if (yes)
            break;
    }
    pthread_rwlock_unlock(&c->index_lock);
    ce_event_unref(event);
    return yes;
}

static void retention(void *arg, uint32_t channel, int64_t *age_ns, uint64_t *bytes)
{
    const struct log_keeper *k = arg;
    const struct bus_channel *c = k->scarce ? NULL : find(k, channel);
    uint64_t ns = c ? stat_read(&c->retention_ns) : 0;
    *age_ns = ns < INT64_MAX ? (int64_t)ns : INT64_MAX;
    *bytes = c ? stat_read(&c->retention_bytes) : 0;
}

static bool stop(void *arg)
{
    struct log_keeper *k = arg;
    pthread_mutex_lock(&k->lock);
    bool quit = k->quit;
    pthread_mutex_unlock(&k->lock);
    if (quit || !k->scarce)
        return quit;
    struct log_bus *g = container_of(k, struct log_bus, keeper);
    log_keeper_space(g);
    return left(g) >= enough(g);
}

static void reclaim(struct log_bus *g)
{
    struct log_keeper *k = &g->keeper;
    struct log_reclaimed done = {0};
    const struct log_policy policy = {.needed = needed,
                                      .wanted = wanted,
                                      .retention = retention,
                                      .stop = stop,
                                      .arg = k,
                                      .below = atomic_load(&g->routed) + 1};
    bool failed = channels_take(g) == OK && log_store_reclaim(g->store, &policy, &done);
    channels_let_go(k);
    if (failed && !k->told && !log_store_failed(g->store, NULL))
        log_notice(g, 1, "LogReclaimFailed", "old segments could not be given back to the disk; it is tried again");
    k->told = failed;
}

/* ---- the thread ---- */

static void work(struct log_bus *g, bool all)
{
    struct log_keeper *k = &g->keeper;
    k->written += atomic_exchange(&g->unswept, 0);
    if (log_store_failed(g->store, NULL))
        return; /* until it is opened anew, nothing changes there */
    k->scarce = left(g) < enough(g);
    if (all || k->written >= g->segment || k->scarce) {
        k->written = 0;
        reclaim(g);
    }
    k->scarce = false;
    log_keeper_space(g);
    if (atomic_load(&g->low) && !atomic_load(&g->full))
        return;
    if (log_store_prepare(g->store, g->reserve))
        return; /* W makes it itself then, or finds the disk full */
    atomic_store(&g->full, false);
    log_keeper_space(g);
}

static void *run(void *arg)
{
    struct log_keeper *k = arg;
    struct log_bus *g = container_of(k, struct log_bus, keeper);
    pthread_mutex_lock(&k->lock);
    while (!k->quit) {
        if (k->ask) { /* meanwhile anything may have been asked, also to quit */
            k->ask = k->waits = false;
            pthread_mutex_unlock(&k->lock);
            log_verify_look(g);
            pthread_mutex_lock(&k->lock);
        } else if (k->due) {
            bool all = k->all;
            k->due = k->all = k->waits = false;
            pthread_mutex_unlock(&k->lock);
            work(g, all);
            pthread_mutex_lock(&k->lock);
        } else {
            k->waits = true;
            pthread_cond_broadcast(&k->idle);
            pthread_cond_wait(&k->work, &k->lock);
        }
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

enum err log_keeper_start(struct log_bus *g)
{
    enum err e = log_thread_start(&g->keeper.thread, "log-keeper", run, &g->keeper);
    g->keeper.started = !e;
    return e;
}

void log_keeper_quit(struct log_bus *g)
{
    struct log_keeper *k = &g->keeper;
    if (k->started) {
        pthread_mutex_lock(&k->lock);
        k->quit = true;
        pthread_cond_signal(&k->work);
        pthread_mutex_unlock(&k->lock);
        pthread_join(k->thread, NULL);
        k->started = false;
    }
    assert(k->count == 0);
    free(k->channels);
    k->channels = NULL;
}
