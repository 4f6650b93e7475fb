/* SPDX-License-Identifier: Apache-2.0
 *
 * Giving disk back: what is decided, and the removal of whole segments; rewriting is in reclaim_rewrite.c. And the next
 * segment's file, made ahead. One thread, the keeper; the writer and readers work on beside it.
 *
 * A round looks at every segment but the newest two and asks how much of it is kept, cheapest question first: by the
 * usage of each channel, and where that says much, block by block with the ranges of sequences there, until a quarter
 * is reached. Then
 *
 *     from the oldest on, what keeps nothing is removed (R1);
 *     runs of neighbours that keep less than a quarter are rewritten as one;
 *     and once JOIN_MIN small compacted neighbours have come together, so are they: rewriting them each time one is
 * added would cost the square.
 *
 * Needs only shrink while this goes on, but for new cursors on what is kept for replay; so an estimate stays an upper
 * bound, and what is written is decided event by event.
 */
#include "reclaim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "array.h"

#define JOIN_MIN 4
#define SPARSE 4 /* a segment of which less than one part in so many is kept is rewritten */

struct channel { /* of the policy, and what was seen of it in newer segments */
    uint32_t number;
    int64_t age_ns;
    uint64_t bytes, newer;
};

struct round {
    struct log_store *s;
    const struct log_policy *policy;
    struct log_reclaimed *out;
    int64_t now_wall_ns;
    struct channel *channels; /* sorted */
    size_t channel_count, channel_room;
    struct reclaim_item *items; /* oldest first */
    size_t count;
};

static bool stopped(const struct round *r)
{
    return r->policy->stop && r->policy->stop(r->policy->arg);
}

/* ---- how much is kept ---- */

static size_t channel_place(const struct round *r, uint32_t number)
{
    size_t low = 0, high = r->channel_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->channels[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* NULL: no memory. Valid until the next call. */
static struct channel *channel_of(struct round *r, uint32_t number)
{
    size_t at = channel_place(r, number);
    if (at < r->channel_count && r->channels[at].number == number)
        return &r->channels[at];
    if (!array_reserve(&r->channels, &r->channel_room, r->channel_count + 1, sizeof *r->channels))
        return NULL;
    memmove(r->channels + at + 1, r->channels + at, (r->channel_count++ - at) * sizeof *r->channels);
    struct channel c = {.number = number};
    if (r->policy->retention)
        r->policy->retention(r->policy->arg, number, &c.age_ns, &c.bytes);
    r->channels[at] = c;
    return &r->channels[at];
}

static bool blocks_keep(const struct round *r, const struct reclaim_item *item, const struct log_block *b,
                        uint64_t last)
{
    for (size_t i = 0; i < item->keep_count; i++) {
        const struct reclaim_keep *k = &item->keeps[i];
        if (!(b->channels & log_channel_bit(k->usage.channel)))
            continue;
        if (b->wall_max >= k->younger_wall_ns)
            return true;
        if (k->needed && r->policy->needed(r->policy->arg, k->usage.channel, b->first, last))
            return true;
    }
    return false;
}

/* Looks closer, block by block, until it is certain that much is kept. */
static enum err refine(struct round *r, struct reclaim_item *item)
{
    struct log_block *blocks;
    size_t count;
    const struct log_segment *g = item->segment;
    enum err e = log_sidecar_blocks(r->s, g, &blocks, &count);
    if (e)
        return e == ERR_NOMEM ? e : OK;                                        /* no index: the first estimate stays */
    if (count * LOG_BLOCK < g->used || blocks[0].offset != LOG_SEGMENT_HEAD) { /* it does not tell of all */
        free(blocks);
        return OK;
    }
    uint64_t kept = 0;
    for (size_t i = 0, next; i < count && kept * SPARSE < g->used; i = next) {
        for (next = i + 1; next < count && blocks[next].offset == 0;)
            next++;
        if (blocks[i].offset == 0)
            continue;
        bool end = next == count;
        if (blocks_keep(r, item, &blocks[i], end ? g->last : blocks[next].first - 1))
            kept += (end ? g->used : blocks[next].offset) - blocks[i].offset;
    }
    free(blocks);
    if (kept * SPARSE < g->used)
        item->kept = kept;
    return OK;
}

static enum err judge(struct round *r, struct reclaim_item *item)
{
    item->kept = 0;
    for (size_t i = 0; i < item->keep_count; i++) {
        struct reclaim_keep *k = &item->keeps[i];
        struct channel *c = channel_of(r, k->usage.channel);
        if (!c)
            return ERR_NOMEM;
        k->younger_wall_ns = INT64_MAX;
        if (c->age_ns > 0 && c->newer < c->bytes && k->usage.last_wall_ns > r->now_wall_ns - c->age_ns)
            k->younger_wall_ns = r->now_wall_ns - c->age_ns;
        c->newer += k->usage.bytes;
        k->needed =
            k->usage.events && r->policy->needed(r->policy->arg, k->usage.channel, k->usage.first, k->usage.last);
        if (k->needed || k->younger_wall_ns < INT64_MAX)
            item->kept += k->usage.bytes;
    }
    return item->kept * SPARSE < item->segment->used ? OK : refine(r, item);
}

/* ---- which segments ---- */

/* R3; under the lock. */
static bool is_hurt(const struct log_store *s, const struct log_segment *g)
{
    for (size_t i = 0; i < s->lost_count; i++)
        if (s->lost[i].first <= g->last && s->lost[i].last >= g->first)
            return true;
    return false;
}

static enum err take_in(struct log_store *s, struct log_segment *g, struct reclaim_item *item)
{
    size_t n = g->index.usage_count;
    *item = (struct reclaim_item){.keeps = calloc(n ? n : 1, sizeof *item->keeps), .keep_count = n};
    item->kept = UINT64_MAX; /* until it is judged */
    if (!item->keeps)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        item->keeps[i].usage = g->index.usage[i];
    item->segment = g;
    item->fixed = is_hurt(s, g);
    g->refs++;
    return OK;
}

static void let_go(struct log_store *s, struct reclaim_item *items, size_t count)
{
    log_store_lock(s);
    for (size_t i = 0; i < count; i++) {
        free(items[i].keeps);
        if (items[i].segment)
            log_segment_unref(s, items[i].segment);
    }
    log_store_unlock(s);
    free(items);
}

/* Takes in every segment: those beyond r->count are not to be touched, but count as newer bytes. Under the lock. */
static enum err survey_locked(struct round *r, size_t *all)
{
    struct log_store *s = r->s;
    uint64_t committed = log_store_committed(s);
    r->items = calloc(s->segment_count ? s->segment_count : 1, sizeof *r->items);
    if (!r->items)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->segment_count; i++) {
        struct log_segment *g = s->segments[i];
        enum err e = take_in(s, g, &r->items[i]);
        *all = i + 1;
        if (e)
            return e;
        if (r->count == i && i + 2 < s->segment_count && g->last <= committed && g->last < r->policy->below)
            r->count++;
    }
    return OK;
}

static enum err count_newer(struct round *r, const struct reclaim_item *item)
{
    for (size_t i = 0; i < item->keep_count; i++) {
        struct channel *c = channel_of(r, item->keeps[i].usage.channel);
        if (!c)
            return ERR_NOMEM;
        c->newer += item->keeps[i].usage.bytes;
    }
    return OK;
}

static enum err survey(struct round *r, size_t *all)
{
    log_store_lock(r->s);
    enum err e = survey_locked(r, all);
    log_store_unlock(r->s);
    for (size_t i = *all; i > r->count && !e; i--)
        e = count_newer(r, &r->items[i - 1]);
    for (size_t i = r->count; i > 0 && !e && !stopped(r); i--)
        e = judge(r, &r->items[i - 1]);
    return e;
}

/* ---- removal ---- */

enum err reclaim_unlink(struct log_store *s, uint64_t name)
{
    char path[STORE_PATH_MAX];
    (void)!s->disk->ops->unlink(s->disk, log_store_path(s, name, ".idx", path), NULL);
    enum err e = s->disk->ops->unlink(s->disk, log_store_path(s, name, ".seg", path), NULL);
    return e == OK || e == ERR_NOTFOUND ? OK : ERR_IO;
}

/* The oldest could not be removed after all. The caller holds a reference. */
static void put_back(struct log_store *s, struct log_segment *g)
{
    if (log_segments_reserve(s))
        return; /* it is on the disk, and back with the next opening */
    log_store_lock(s);
    if (s->segment_count < s->segment_room) {
        memmove(s->segments + 1, s->segments, s->segment_count++ * sizeof *s->segments);
        s->segments[0] = g;
        g->gone = false;
        g->refs++;
    }
    log_store_unlock(s);
}

/* The oldest goes: out of the list, so that no reader enters, then off the disk, for good. */
static enum err remove_oldest(struct round *r, struct log_segment *g)
{
    struct log_store *s = r->s;
    log_store_lock(s);
    assert(s->segment_count > 2 && s->segments[0] == g);
    log_segments_replace(s, 0, 1, NULL);
    log_store_unlock(s);
    if (reclaim_unlink(s, g->name)) {
        put_back(s, g); /* what follows it must not go before it */
        return ERR_IO;
    }
    r->out->segments_removed++;
    r->out->bytes += g->size;
    return s->disk->ops->sync_dir(s->disk, s->dir, NULL) ? ERR_IO : OK;
}

/* ---- a round ---- */

static bool is_sparse(const struct reclaim_item *i)
{
    return !i->fixed && i->kept * SPARSE < i->segment->used && reclaim_file_size(i->kept) * 2 <= i->segment->size;
}

static bool is_small(const struct reclaim_item *i, uint64_t segment_bytes)
{
    return !i->fixed && i->segment->compacted && i->segment->size * SPARSE <= segment_bytes;
}

/* How many neighbours from `at` on are to be rewritten as one; 0: none. */
static size_t run_at(const struct round *r, size_t at)
{
    size_t sparse = 0, small = 0;
    uint64_t kept = 0, most = r->s->segment_bytes / SPARSE;
    while (at + sparse < r->count && is_sparse(&r->items[at + sparse]) &&
           (sparse == 0 || kept + r->items[at + sparse].kept <= most))
        kept += r->items[at + sparse++].kept;
    if (sparse)
        return sparse;
    most = r->s->segment_bytes;
    kept = 0;
    while (at + small < r->count && is_small(&r->items[at + small], r->s->segment_bytes) &&
           !is_sparse(&r->items[at + small]) && kept + r->items[at + small].kept <= most)
        kept += r->items[at + small++].kept;
    return small >= JOIN_MIN ? small : 0;
}

static enum err rewrite(struct round *r, size_t at, size_t count)
{
    uint64_t gained = 0;
    enum err e = reclaim_rewrite(r->s, r->policy, &r->items[at], count, &gained);
    if (gained) {
        r->out->segments_compacted += count;
        r->out->bytes += gained;
    }
    return e;
}

enum err log_store_reclaim(struct log_store *s, const struct log_policy *policy, struct log_reclaimed *out)
{
    assert(!s->read_only && policy->needed && policy->wanted && policy->below > 0);
    *out = (struct log_reclaimed){0};
    if (log_store_failed(s, NULL))
        return ERR_IO;
    struct round r = {.s = s, .policy = policy, .out = out, .now_wall_ns = clock_wall_ns(s->clock)};
    size_t all = 0, at = 0;
    enum err e = survey(&r, &all);
    /* What a join left may still come back, with gaps: gone for good before that which covers it (R2). */
    if (!e && r.count && r.items[0].kept == 0 && s->disk->ops->sync_dir(s->disk, s->dir, NULL))
        e = ERR_IO;
    while (!e && !stopped(&r) && at < r.count && r.items[at].kept == 0) {
        e = remove_oldest(&r, r.items[at].segment);
        at++;
    }
    bool full = false;
    while (!e && !stopped(&r) && at < r.count) {
        size_t run = run_at(&r, at);
        if (run)
            e = rewrite(&r, at, run);
        if (e == ERR_FULL) { /* another run may need less, and make room for this one */
            full = true;
            e = OK;
        }
        at += run ? run : 1;
    }
    let_go(s, r.items, all);
    free(r.channels);
    return !e && full ? ERR_FULL : e;
}

/* ---- the next segment ---- */

/* Zeros that are on the disk, not promised ones: a sync of what is written over them has no changes of the file's
 * blocks to write down, which is what most of a small sync's time goes into. In pieces, each synced, so that the
 * writer's own syncs wait for no more than one. */
static enum err write_zeros(struct log_store *s, struct disk_file *f)
{
    const size_t piece = 1u << 20;
    unsigned char *zeros = calloc(1, piece);
    enum err e = zeros ? OK : ERR_NOMEM;
    for (uint64_t at = 0; at < s->segment_bytes && !e; at += piece) {
        size_t n = s->segment_bytes - at < piece ? (size_t)(s->segment_bytes - at) : piece;
        e = s->disk->ops->write(s->disk, f, zeros, n, at, NULL);
        if (!e)
            e = s->disk->ops->sync(s->disk, f, NULL);
    }
    free(zeros);
    return e;
}

static enum err make_spare(struct log_store *s, const char *path, struct disk_file **out)
{
    const struct disk_ops *ops = s->disk->ops;
    enum err e = ops->open(s->disk, path, DISK_CREATE, out, NULL);
    if (e)
        return e;
    e = ops->allocate(s->disk, *out, s->segment_bytes, NULL);
    if (!e)
        e = write_zeros(s, *out);
    if (e) {
        ops->close(s->disk, *out);
        (void)!ops->unlink(s->disk, path, NULL);
    }
    return e;
}

enum err log_store_prepare(struct log_store *s, uint64_t reserve)
{
    assert(!s->read_only);
    if (log_store_failed(s, NULL))
        return ERR_IO;
    log_store_lock(s);
    bool there = s->spare != NULL;
    log_store_unlock(s);
    if (there)
        return OK;
    uint64_t available, total;
    enum err e = s->disk->ops->space(s->disk, s->dir, &available, &total, NULL);
    if (e)
        return e == ERR_NOMEM ? e : ERR_IO;
    if (available < s->segment_bytes || available - s->segment_bytes < reserve)
        return ERR_FULL;
    char path[STORE_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", s->dir, STORE_SPARE_NAME);
    assert(n > 0 && n < (int)sizeof path);
    struct disk_file *file;
    e = make_spare(s, path, &file);
    if (e == ERR_EXISTS) /* the writer is about to give the last one its name */
        return OK;
    if (e)
        return e == ERR_NOMEM || e == ERR_FULL ? e : ERR_IO;
    log_store_lock(s);
    s->spare = file;
    s->spare_size = s->segment_bytes;
    log_store_unlock(s);
    return OK;
}
