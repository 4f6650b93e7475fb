/* SPDX-License-Identifier: Apache-2.0
 *
 * Compaction: neighbours become one segment with what is kept of them.
 *
 *     1  The records go to NAME.seg.tmp as they are, byte by byte; then the head; sync.
 *     2  Rename to NAME.seg, the name of the first; sync of the directory.
 *     3  In the list the new one takes the place of all; the files of the others are removed.
 *
 * A crash before 2 leaves the old ones and a file that opening throws away. One within 2: old or new. One after it: the
 * new one, and maybe others that it covers, which opening removes (R2). Until 2 has happened the old files are
 * untouched, so any failure is undone by removing the new one.
 *
 * Readers. This thread stands in the old segments until 3 is done, so that their files stay open: whoever enters one
 * after the rename reads the old file with the old index, not the new file of that name.
 */
#include "reclaim.h"

#include <assert.h>
#include <stdlib.h>

#define BUFFER_BYTES (1u << 20)

struct rewrite {
    struct log_store *s;
    const struct log_policy *policy;
    struct reclaim_item *items; /* what becomes one */
    size_t count;
    struct log_segment *made;
    struct disk_file *file;
    char path[STORE_PATH_MAX];
    unsigned char *buffer;
    size_t used;
    uint64_t offset;   /* in the file, of the buffer's first byte */
    uint64_t sequence; /* of the last record put */
    bool given_up;     /* stopped, or damage */
};

/* ---- the new file ---- */

static enum err flush(struct rewrite *w)
{
    if (!w->used)
        return OK;
    enum err e = w->s->disk->ops->write(w->s->disk, w->file, w->buffer, w->used, w->offset, NULL);
    w->offset += w->used;
    w->used = 0;
    return e;
}

static enum err put(struct rewrite *w, const void *from, size_t bytes)
{
    const unsigned char *p = from;
    enum err e = OK;
    while (bytes && !e) {
        size_t n = bytes < BUFFER_BYTES - w->used ? bytes : BUFFER_BYTES - w->used;
        memcpy(w->buffer + w->used, p, n);
        w->used += n;
        p += n;
        bytes -= n;
        if (w->used == BUFFER_BYTES)
            e = flush(w);
    }
    return e;
}

static enum err put_record(struct rewrite *w, const struct log_record *r, const unsigned char *bytes)
{
    uint64_t at = w->offset + w->used;
    if (r->kind == LOG_EVENT) {
        enum err e = log_index_reserve(&w->made->index, r->channel);
        if (e)
            return e;
    }
    log_index_add(&w->made->index, r, at);
    w->sequence = r->sequence;
    return put(w, bytes, (size_t)log_record_size(r->payload_len));
}

/* The last record has the last sequence. */
static enum err put_end(struct rewrite *w)
{
    uint64_t last = w->items[w->count - 1].segment->last;
    if (w->sequence == last)
        return OK;
    int64_t wall_ns = INT64_MIN;
    for (size_t i = 0; i < w->count; i++)
        if (w->items[i].segment->index.wall_max > wall_ns)
            wall_ns = w->items[i].segment->index.wall_max;
    struct log_record mark = {.sequence = last, .committed = last - 1, .wall_ns = wall_ns, .kind = LOG_MARK};
    unsigned char bytes[LOG_RECORD_HEAD];
    log_record_encode(&mark, w->s->id, bytes);
    return put_record(w, &mark, bytes);
}

/* ---- what is kept ---- */

static bool is_kept(const struct rewrite *w, const struct reclaim_item *item, const struct log_view *v)
{
    if (v->record.kind != LOG_EVENT)
        return false;
    for (size_t low = 0, high = item->keep_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        const struct reclaim_keep *k = &item->keeps[middle];
        if (k->usage.channel == v->record.channel)
            return v->record.wall_ns >= k->younger_wall_ns || (k->needed && w->policy->wanted(w->policy->arg, v));
        if (k->usage.channel < v->record.channel)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* Damage was found where there was none at open: it is named, and the next opening will look for itself. */
static void hurt(struct rewrite *w, const struct log_segment *g, uint64_t first, uint64_t last)
{
    char path[STORE_PATH_MAX];
    w->given_up = true;
    (void)!w->s->disk->ops->unlink(w->s->disk, log_store_path(w->s, g->name, ".idx", path), NULL);
    log_store_lose(w->s, first, last, "damaged on the disk");
}

static enum err copy_records(struct rewrite *w, const struct reclaim_item *item, struct log_walk *walk)
{
    const struct log_segment *g = item->segment;
    uint64_t before = g->first - 1, end = LOG_SEGMENT_HEAD;
    log_walk_begin(walk, g->file, LOG_SEGMENT_HEAD, g->used, g->first, g->last);
    for (;;) {
        struct log_view v;
        enum err e = log_walk_next(walk, &v);
        bool over = e == ERR_NOTFOUND;
        if (e && !over)
            return e;
        if (w->policy->stop && w->policy->stop(w->policy->arg)) {
            w->given_up = true;
            return OK;
        }
        /* Between two records lie no bytes, and in what was not compacted no sequences are missing. */
        if (over ? before != g->last : v.offset != end || (!g->compacted && v.record.sequence != before + 1))
            hurt(w, g, before + 1, over ? g->last : v.record.sequence - 1);
        if (over || w->given_up)
            return OK;
        if (is_kept(w, item, &v)) /* all of the record is in the walk's memory, the head before the payload */
            e = put_record(w, &v.record, (const unsigned char *)v.payload.ptr - LOG_RECORD_HEAD);
        if (e)
            return e;
        before = v.record.sequence;
        end = v.offset + log_record_size(v.record.payload_len);
    }
}

static bool keeps_any(const struct reclaim_item *item)
{
    for (size_t i = 0; i < item->keep_count; i++)
        if (item->keeps[i].needed || item->keeps[i].younger_wall_ns < INT64_MAX)
            return true;
    return false;
}

/* ---- one after the other ---- */

static uint64_t files_size(const struct rewrite *w)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < w->count; i++)
        sum += w->items[i].segment->size;
    return sum;
}

/* Room on the disk for what may be kept, twice, so that compaction is not what fills it. */
static enum err look_for_room(const struct rewrite *w)
{
    uint64_t available, total, kept = 0;
    for (size_t i = 0; i < w->count; i++)
        kept += w->items[i].kept;
    enum err e = w->s->disk->ops->space(w->s->disk, w->s->dir, &available, &total, NULL);
    return !e && available / 2 < reclaim_file_size(kept) ? ERR_FULL : e;
}

static enum err begin(struct rewrite *w)
{
    const struct log_segment *first = w->items[0].segment;
    int64_t now = clock_wall_ns(w->s->clock);
    struct log_head head = {.first = first->first, .last = w->items[w->count - 1].segment->last, .size = 4096};
    memcpy(head.id, w->s->id, LOG_ID_BYTES);
    /* Later than before, whatever the clock says: so an index of the file before is none of this one. */
    head.made_wall_ns = now > first->made_wall_ns ? now : first->made_wall_ns + 1;
    w->made = log_segment_new(&head, first->name);
    w->buffer = malloc(BUFFER_BYTES);
    if (!w->made || !w->buffer || log_index_reserve_blocks(&w->made->index, files_size(w)))
        return ERR_NOMEM;
    w->offset = LOG_SEGMENT_HEAD;
    log_store_path(w->s, first->name, ".seg.tmp", w->path);
    (void)!w->s->disk->ops->unlink(w->s->disk, w->path, NULL);
    return w->s->disk->ops->open(w->s->disk, w->path, DISK_CREATE, &w->file, NULL);
}

static enum err copy(struct rewrite *w)
{
    struct log_walk walk;
    log_walk_init(&walk, w->s, STORE_SCAN_BYTES);
    enum err e = OK;
    for (size_t i = 0; i < w->count && !e && !w->given_up; i++)
        if (keeps_any(&w->items[i]))
            e = copy_records(w, &w->items[i], &walk);
    log_walk_fini(&walk);
    if (!e && !w->given_up)
        e = put_end(w);
    return e;
}

/* Pads to whole pages, then the head, which needs the size. */
static enum err finish(struct rewrite *w)
{
    static const unsigned char zeros[4096];
    struct log_segment *g = w->made;
    g->used = w->offset + w->used;
    enum err e = put(w, zeros, (4096 - g->used % 4096) % 4096);
    if (!e)
        e = flush(w);
    if (e)
        return e;
    struct log_head head;
    e = log_head_decode(g->head, &head, NULL);
    assert(!e && w->offset % 4096 == 0);
    head.size = g->size = w->offset;
    log_head_encode(&head, g->head);
    g->index.block_count = (size_t)((g->size + LOG_BLOCK - 1) / LOG_BLOCK);
    atomic_store(&g->visible, g->used);
    atomic_store(&g->end, g->used);
    e = w->s->disk->ops->write(w->s->disk, w->file, g->head, LOG_SEGMENT_HEAD, 0, NULL);
    return e ? e : w->s->disk->ops->sync(w->s->disk, w->file, NULL);
}

/* Into the place of the old ones; cannot be undone any more. */
static enum err take_place(struct rewrite *w)
{
    struct log_store *s = w->s;
    char path[STORE_PATH_MAX];
    enum err e = s->disk->ops->rename(s->disk, w->path, log_store_path(s, w->made->name, ".seg", path), NULL);
    if (e)
        return e;
    struct log_segment *g = w->made;
    enum err synced = s->disk->ops->sync_dir(s->disk, s->dir, NULL);
    bool indexed = log_sidecar_write(s, g) == OK;
    w->made = NULL;
    log_store_lock(s);
    size_t at = log_segments_find(s, g->first);
    assert(s->segments[at] == w->items[0].segment);
    log_segments_replace(s, at, w->count, g);
    g->indexed = indexed;
    if (indexed) /* who reads in it loads them from there */
        log_index_drop_blocks(&g->index);
    log_store_unlock(s);
    /* While it is not certain that the new one is there, the others are what a crash leaves. */
    for (size_t i = 1; i < w->count && !synced; i++)
        e = reclaim_unlink(s, w->items[i].segment->name) ? ERR_IO : e;
    return synced ? synced : e;
}

static enum err enter_all(struct rewrite *w, size_t *entered)
{
    enum err e = OK;
    log_store_lock(w->s);
    for (size_t i = 0; i < w->count && !e; i++) {
        e = log_segment_enter(w->s, w->items[i].segment, NULL);
        *entered += e == OK;
    }
    log_store_unlock(w->s);
    return e;
}

static void leave_all(struct rewrite *w, size_t entered)
{
    log_store_lock(w->s);
    for (size_t i = 0; i < entered; i++)
        log_segment_leave(w->s, w->items[i].segment);
    if (w->made)
        log_segment_unref(w->s, w->made);
    log_store_unlock(w->s);
}

enum err reclaim_rewrite(struct log_store *s, const struct log_policy *policy, struct reclaim_item *items, size_t count,
                         uint64_t *gained)
{
    assert(count > 0);
    struct rewrite w = {.s = s, .policy = policy, .items = items, .count = count};
    size_t entered = 0;
    uint64_t size = 0;
    enum err e = look_for_room(&w);
    if (!e)
        e = enter_all(&w, &entered);
    if (!e)
        e = begin(&w);
    if (!e)
        e = copy(&w);
    if (!e && !w.given_up)
        e = finish(&w);
    bool made = !e && !w.given_up;
    if (made) {
        size = w.made->size;
        e = take_place(&w);
    }
    if (w.file)
        s->disk->ops->close(s->disk, w.file);
    if (w.made && w.file) /* it did not take its place */
        (void)!s->disk->ops->unlink(s->disk, w.path, NULL);
    else if (made)
        *gained = files_size(&w) > size ? files_size(&w) - size : 1;
    leave_all(&w, entered);
    free(w.buffer);
    return e == OK || e == ERR_NOMEM || e == ERR_FULL ? e : ERR_IO;
}
