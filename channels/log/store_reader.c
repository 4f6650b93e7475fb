/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers: each walks the segments with its own buffer, beside the writer, and sees what is committed (S3): a segment's
 * `visible` says up to which byte. A reader of one channel skips segments by their usage, and blocks by their filters.
 *
 * At the end of the log, asking again costs two atomic loads.
 */
#include "store_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct log_reader {
    struct log_store *store;
    uint32_t channel;
    int64_t since_ns;            /* only records of this time or later */
    uint64_t next;               /* the lowest sequence that is wanted */
    struct log_segment *segment; /* where it is; entered; NULL: nowhere yet */
    bool damaged;                /* damage lies behind the last good record */
    size_t block;                /* the last one that was found worth reading; SIZE_MAX: none */
    struct log_walk walk;
};

enum err log_reader_new(struct log_store *s, uint32_t channel, uint64_t from, struct log_reader **out)
{
    assert(s && out);
    struct log_reader *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    r->store = s;
    r->channel = channel;
    r->since_ns = INT64_MIN;
    r->next = from ? from : 1;
    log_walk_init(&r->walk, s, LOG_BLOCK);
    *out = r;
    return OK;
}

static void leave(struct log_reader *r)
{
    if (!r->segment)
        return;
    log_store_lock(r->store);
    log_segment_leave(r->store, r->segment);
    log_store_unlock(r->store);
    r->segment = NULL;
}

void log_reader_free(struct log_reader *r)
{
    if (!r)
        return;
    leave(r);
    log_walk_fini(&r->walk);
    free(r);
}

void log_reader_seek(struct log_reader *r, uint64_t from)
{
    assert(r);
    leave(r);
    r->next = from ? from : 1;
}

/* ---- entering a segment ---- */

/* Whether nothing in it can be wanted. */
static bool passes_over(const struct log_reader *r, const struct log_segment *g)
{
    if (r->channel == 0)
        return g->index.wall_max < r->since_ns;
    const struct log_channel_usage *u = log_index_usage(&g->index, r->channel);
    return !u || u->last < r->next || u->last_wall_ns < r->since_ns;
}

/* The blocks of a full segment come from its sidecar, once for all who are inside. */
static enum err bring_blocks(struct log_reader *r)
{
    struct log_segment *g = r->segment;
    assert(g);
    log_store_lock(r->store);
    bool there = g->index.blocks != NULL;
    log_store_unlock(r->store);
    if (there)
        return OK;
    struct log_block *blocks;
    size_t count;
    enum err e = log_sidecar_blocks(r->store, g, &blocks, &count);
    if (e)
        return e == ERR_NOMEM ? e : OK; /* without them everything is read */
    log_store_lock(r->store);
    if (g->index.blocks) {
        free(blocks);
    } else {
        g->index.blocks = blocks;
        g->index.block_count = count;
        g->indexed = true;
    }
    log_store_unlock(r->store);
    return OK;
}

/* The last block that begins at or before the first sequence that is wanted. */
static void begin(struct log_reader *r)
{
    struct log_segment *g = r->segment;
    uint64_t offset = LOG_SEGMENT_HEAD, expect = g->first;
    log_store_lock(r->store);
    uint64_t visible = atomic_load_explicit(&g->visible, memory_order_acquire);
    const struct log_index *x = &g->index;
    size_t low = 0, high = x->block_count;
    while (r->next > g->first && low < high) {
        size_t middle = low + (high - low) / 2, at = middle;
        while (at > low && x->blocks[at].offset == 0)
            at--;
        const struct log_block *b = &x->blocks[at];
        if (b->offset == 0) {
            low = middle + 1;
        } else if (b->first <= r->next && b->offset < visible) {
            offset = b->offset;
            expect = b->first;
            low = middle + 1;
        } else {
            high = at;
        }
    }
    uint64_t most = g->last;
    assert(g->readers > 0 && g->file && expect >= g->first);
    log_store_unlock(r->store);
    log_walk_begin(&r->walk, g->file, offset, visible, expect, most);
    r->block = SIZE_MAX;
    r->damaged = false;
}

static enum err enter(struct log_reader *r)
{
    struct log_store *s = r->store;
    enum err e = OK;
    assert(!r->segment && r->next > 0);
    log_store_lock(s);
    size_t i = log_segments_find(s, r->next);
    while (i < s->segment_count && s->segments[i]->last != UINT64_MAX && passes_over(r, s->segments[i]))
        i++;
    if (i == s->segment_count) {
        e = ERR_PENDING;
        if (i > 0 && r->next <= s->segments[i - 1]->last)
            r->next = s->segments[i - 1]->last + 1;
    } else {
        e = log_segment_enter(s, s->segments[i], NULL);
        if (!e)
            r->segment = s->segments[i];
    }
    log_store_unlock(s);
    if (e)
        return e == ERR_PENDING || e == ERR_NOMEM || e == ERR_CLOSED ? e : ERR_IO;
    if (r->next < r->segment->first)
        r->next = r->segment->first;
    if (r->channel != 0 || r->next > r->segment->first || r->since_ns != INT64_MIN)
        e = bring_blocks(r);
    if (e) {
        leave(r);
        return e;
    }
    begin(r);
    return OK;
}

/* ---- reading in it ---- */

/* Up to where there is something to read, and the sequence that would come there. */
static uint64_t end_of(const struct log_reader *r, uint64_t *next)
{
    const struct log_segment *g = r->segment;
    uint64_t committed = log_store_committed(r->store);
    *next = (g->last < committed ? g->last : committed) + 1;
    return atomic_load_explicit(&g->visible, memory_order_acquire);
}

/* Moves on over blocks that cannot hold what is wanted. */
static void skip_blocks(struct log_reader *r)
{
    struct log_walk *w = &r->walk;
    size_t block = (size_t)(w->offset / LOG_BLOCK);
    assert(r->segment && w->file == r->segment->file);
    if (block == r->block || (r->channel == 0 && r->since_ns == INT64_MIN))
        return;
    log_store_lock(r->store);
    const struct log_index *x = &r->segment->index;
    uint64_t bit = log_channel_bit(r->channel), next, end = end_of(r, &next);
    for (; block < x->block_count; block++) {
        const struct log_block *b = &x->blocks[block];
        if (b->offset && b->wall_max >= r->since_ns && (r->channel == 0 || b->channels & bit))
            break;
    }
    const struct log_block *b = block < x->block_count ? &x->blocks[block] : NULL;
    w->end = end;
    if (b && b->offset < end) {
        r->block = block;
        if (b->offset > w->offset) {
            w->offset = b->offset;
            w->expect = b->first;
        }
    } else if (x->block_count) {
        w->offset = end;
        w->expect = next;
    }
    log_store_unlock(r->store);
}

static bool wanted(const struct log_reader *r, const struct log_record *record)
{
    return record->sequence >= r->next && record->wall_ns >= r->since_ns &&
           (r->channel == 0 || (record->kind == LOG_EVENT && record->channel == r->channel));
}

/* Damage lay before `sequence`. What nobody knew so far the next opening is to find itself, so the index that says that
 * there is none goes. */
static void name_gap(struct log_reader *r, uint64_t expected, uint64_t sequence)
{
    char why[120];
    snprintf(why, sizeof why, "damaged in %020" PRIu64 ".seg", r->segment->name);
    if (sequence <= expected || !log_store_lose(r->store, expected, sequence - 1, why) || r->store->read_only)
        return;
    char path[STORE_PATH_MAX];
    log_store_path(r->store, r->segment->name, ".idx", path);
    (void)!r->store->disk->ops->unlink(r->store->disk, path, NULL);
}

/* Nothing good lies between here and what was visible: if more is visible by now, the search goes on there. */
static void pass_damage(struct log_reader *r)
{
    struct log_walk *w = &r->walk;
    assert(w->offset < w->end);
    log_store_lock(r->store);
    uint64_t next, end = end_of(r, &next), expected = w->expect;
    bool all = end == w->end;
    if (all) {
        w->offset = end;
        w->expect = next;
    }
    w->end = end;
    log_store_unlock(r->store);
    if (all)
        name_gap(r, expected, next);
    r->damaged = !all;
}

/* The next one that is wanted in this segment. ERR_NOTFOUND: none up to what is visible. */
static enum err next_inside(struct log_reader *r, uint64_t visible, struct log_view *out)
{
    struct log_walk *w = &r->walk;
    w->end = visible;
    while (w->offset < w->end) {
        skip_blocks(r);
        uint64_t expected = w->expect;
        enum err e = w->offset < w->end ? log_walk_next(w, out) : ERR_NOTFOUND;
        if (e == ERR_NOTFOUND && w->offset < w->end)
            pass_damage(r);
        if (e == ERR_NOTFOUND)
            continue;
        if (e)
            return e;
        assert(w->offset <= w->end && out->record.sequence >= expected);
        if (w->damaged || r->damaged)
            name_gap(r, expected, out->record.sequence);
        r->damaged = false;
        if (wanted(r, &out->record)) {
            out->segment = r->segment->first;
            r->next = out->record.sequence + 1;
            return OK;
        }
    }
    return ERR_NOTFOUND;
}

enum err log_reader_next(struct log_reader *r, struct log_view *out)
{
    assert(r && out);
    for (;;) {
        if (log_store_committed(r->store) < r->next)
            return ERR_PENDING;
        enum err e = r->segment ? OK : enter(r);
        if (e)
            return e;
        struct log_segment *g = r->segment;
        e = next_inside(r, atomic_load_explicit(&g->visible, memory_order_acquire), out);
        if (e != ERR_NOTFOUND)
            return e;
        if (r->walk.end < atomic_load_explicit(&g->visible, memory_order_acquire))
            continue;
        if (r->walk.end < atomic_load_explicit(&g->end, memory_order_acquire))
            return ERR_PENDING;
        log_store_lock(r->store);
        uint64_t last = g->last;
        log_store_unlock(r->store);
        leave(r);
        if (r->next <= last)
            r->next = last + 1;
    }
}

uint64_t log_store_seek_time(struct log_store *s, uint32_t channel, int64_t wall_ns)
{
    uint64_t found = log_store_committed(s) + 1;
    struct log_reader *r;
    struct log_view v;
    if (log_reader_new(s, channel, 1, &r) != OK)
        return 1; /* too early is safe */
    r->since_ns = wall_ns;
    enum err e = log_reader_next(r, &v);
    if (e == OK)
        found = v.record.sequence;
    else if (e != ERR_PENDING)
        found = r->next;
    log_reader_free(r);
    return found;
}
