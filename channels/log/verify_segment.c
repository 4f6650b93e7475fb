/* SPDX-License-Identifier: Apache-2.0
 *
 * One segment, from its first byte to its last. The file may be written while it is read: a record that does not hold
 * is read again from the disk before anything is said about it.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ce_pack.h"
#include "slot.h"
#include "store_parts.h"
#include "verify.h"

struct segment { /* that is read */
    struct verify *v;
    const char *file; /* its name */
    uint64_t until;   /* the first sequence of the next file; 0: the newest */
    uint64_t size;
    struct log_head head;
    struct log_walk walk;
    struct log_index index; /* as it is found to be */
    uint64_t used;          /* up to the end of the last record */
    bool hurt;              /* something in it is wrong, or in doubt */
    uint64_t snapshot_left; /* objects that the snapshot at its beginning still speaks of */
    bool begun;             /* a record was there */
    uint64_t told;          /* bytes of it that progress knows of */
};

/* ---- what is in a record ---- */

static void wrong(struct segment *w, const struct log_view *view, const char *text)
{
    verify_say(w->v, LOG_VERDICT_DAMAGE, view->record.sequence, view->record.sequence, w->file, view->offset, "%s",
               text);
}

/* A channel or cursor. A cursor names only what was before its own record (S4). */
static enum err check_object(struct segment *w, const struct log_view *view)
{
    struct log_object o;
    struct slot_ledger *l = NULL;
    if (log_object_decode(view->payload, &o) != OK) {
        wrong(w, view, "a record of the catalogue makes no sense");
        return OK;
    }
    if (o.type != LOG_CURSOR || view->record.kind != LOG_OBJECT)
        return OK;
    enum err e = slot_ledger_read(o.value, &l);
    if (e == ERR_CORRUPT) {
        wrong(w, view, "where a cursor stands cannot be read");
        return OK;
    }
    if (e == OK && slot_ledger_clamp(l, view->record.sequence))
        wrong(w, view, "a cursor is ahead of the data: it names sequences above its own record");
    slot_ledger_free(l);
    return e;
}

static enum err check_event(struct segment *w, const struct log_view *view)
{
    const struct ce_event *event = NULL;
    enum err e = ce_unpack(view->payload, &event, NULL);
    ce_event_unref(event);
    w->v->sums.events++;
    if (e == ERR_NOMEM)
        return e;
    if (e != OK || view->record.channel == 0)
        wrong(w, view, e == OK ? "an event of no channel" : "its checksum holds, and it is no event");
    return OK;
}

/* A segment begins with a snapshot of the catalogue: how many objects there are, and then so many. */
static void check_snapshot(struct segment *w, const struct log_view *view)
{
    const struct log_record *r = &view->record;
    assert(view->offset >= LOG_SEGMENT_HEAD && view->offset < w->size);
    const bool first = !w->begun, snapshot = r->kind == LOG_SNAPSHOT;
    w->begun = true;
    if (w->snapshot_left && r->kind != LOG_OBJECT) {
        wrong(w, view, "the snapshot of the catalogue before it is not whole");
        w->snapshot_left = 0;
    } else if (w->snapshot_left) {
        w->snapshot_left--;
    }
    if (first && !snapshot && !w->head.last && r->sequence == w->head.first)
        wrong(w, view, "the segment does not begin with a snapshot of the catalogue");
    if (snapshot && view->payload.len != LOG_SNAPSHOT_BYTES)
        wrong(w, view, "a snapshot of the catalogue that does not say of how many");
    else if (snapshot)
        w->snapshot_left = log_snapshot_count(view->payload);
}

/* Between the payload and the next record lie zeros, which no checksum covers: turned, they cost nothing, but tell of
 * the disk. */
static void check_padding(struct segment *w, const struct log_view *view)
{
    const size_t len = view->payload.len, end = (size_t)log_record_size((uint32_t)len) - LOG_RECORD_HEAD;
    assert(end >= len && end - len < LOG_ALIGN);
    for (size_t i = len; i < end; i++)
        if (view->payload.ptr[i]) {
            verify_say(w->v, LOG_VERDICT_DAMAGE, 0, 0, w->file, view->offset + LOG_RECORD_HEAD + i,
                       "a byte between two records is not zero; nothing is lost");
            return;
        }
}

static enum err check_record(struct segment *w, const struct log_view *view)
{
    struct verify *v = w->v;
    if (view->record.kind == LOG_EVENT && log_index_reserve(&w->index, view->record.channel) != OK)
        return ERR_NOMEM;
    log_index_add(&w->index, &view->record, view->offset);
    w->used = w->walk.offset;
    v->sums.records++;
    v->sums.bytes += log_record_size(view->record.payload_len);
    verify_committed(v, view->record.committed);
    check_snapshot(w, view);
    check_padding(w, view);
    switch (view->record.kind) {
    case LOG_EVENT:
        return check_event(w, view);
    case LOG_OBJECT:
    case LOG_OBJECT_GONE:
        return check_object(w, view);
    case LOG_SNAPSHOT:
    case LOG_MARK:
        break;
    }
    return OK;
}

/* ---- the order of records ---- */

/* Sequences that are not there. In a segment that has one behind it all were on disk before that one began; in the
 * newest, later records tell. */
static enum err missing(struct segment *w, uint64_t first, uint64_t last, uint64_t offset, const char *text)
{
    assert(first > 0 && first <= last);
    w->hurt = true;
    if (!w->until)
        return verify_doubt(w->v, first, last, w->file, offset, text);
    verify_say(w->v, LOG_VERDICT_DAMAGE, first, last, w->file, offset, "%s", text);
    return OK;
}

/* What lies between the last record and this one. In a compacted segment sequences jump; bytes never lie between. */
static enum err follow(struct segment *w, const struct log_view *view, uint64_t expected_at)
{
    struct verify *v = w->v;
    const uint64_t sequence = view->record.sequence, first = v->next;
    char text[160];
    assert(sequence >= first);
    v->next = sequence + 1;
    if (view->offset == expected_at && (sequence == first || w->head.last))
        return OK;
    if (view->offset == expected_at)
        snprintf(text, sizeof text, "records are missing before this one");
    else
        snprintf(text, sizeof text, "%" PRIu64 " bytes are no record", view->offset - expected_at);
    if (sequence > first)
        return missing(w, first, sequence - 1, expected_at, text);
    w->hurt = true;
    verify_say(v, LOG_VERDICT_DAMAGE, 0, 0, w->file, expected_at, "%s, and no sequence is missing", text);
    return OK;
}

/* Behind the last record: zeros, or what is left of lost records; in the newest perhaps of a write that nobody was told
 * to be safe. What lies behind the last sequence of another is not looked at: it was given up when that one began. */
static enum err end(struct segment *w, uint64_t offset)
{
    struct verify *v = w->v;
    const uint64_t first = v->next, last = w->head.last ? w->head.last : w->until ? w->until - 1 : 0;
    if (last >= first) {
        v->next = last + 1;
        return missing(w, first, last, offset,
                       w->walk.damaged ? "what follows is no record"
                                       : "nothing follows: the segment behind it is missing");
    }
    return w->walk.damaged ? missing(w, first, first, offset, "what follows is no record") : OK;
}

/* The next record. What did not hold is read again, for it may have been written at this moment. */
static enum err next_record(struct segment *w, struct log_view *view)
{
    struct log_walk *k = &w->walk;
    const uint64_t at = k->offset;
    enum err e = log_walk_next(k, view);
    if ((e == OK && view->offset == at) || (e == ERR_NOTFOUND && !k->damaged) || (e != OK && e != ERR_NOTFOUND))
        return e;
    log_walk_begin(k, k->file, at, k->end, w->v->next, k->most);
    return log_walk_next(k, view);
}

static enum err records(struct segment *w)
{
    struct verify *v = w->v;
    for (;;) {
        struct log_view view;
        const uint64_t at = w->walk.offset;
        enum err e = next_record(w, &view);
        if (e == ERR_NOTFOUND)
            break;
        if (e == OK)
            e = follow(w, &view, at);
        if (e == OK)
            e = check_record(w, &view);
        if (e == OK && view.offset - w->told >= STORE_SCAN_BYTES) {
            e = verify_step(v, view.offset - w->told);
            w->told = view.offset;
        }
        if (e != OK)
            return e;
    }
    enum err e = end(w, w->used);
    return e == OK ? verify_step(v, w->size - w->told) : e;
}

/* ---- the index beside it ---- */

static bool same_usage(const struct log_index *a, const struct log_index *b)
{
    if (a->usage_count != b->usage_count || a->wall_max != b->wall_max)
        return false;
    for (size_t i = 0; i < a->usage_count; i++) {
        const struct log_channel_usage *x = &a->usage[i], *y = &b->usage[i];
        if (x->channel != y->channel || x->events != y->events || x->bytes != y->bytes || x->first != y->first ||
            x->last != y->last || x->first_wall_ns != y->first_wall_ns || x->last_wall_ns != y->last_wall_ns)
            return false;
    }
    return true;
}

static bool same_blocks(const struct log_index *a, const struct log_block *blocks, size_t count)
{
    if (a->block_count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct log_block *x = &a->blocks[i], *y = &blocks[i];
        if (x->offset != y->offset || x->first != y->first || x->wall_max != y->wall_max || x->channels != y->channels)
            return false;
    }
    return true;
}

/* An index that is missing or damaged is made anew by the next start; one that is whole and wrong hides events. */
static enum err check_index(struct segment *w, uint64_t last)
{
    struct verify *v = w->v;
    struct log_store store = {.disk = v->disk, .dir = (char *)v->dir};
    struct log_segment *g = log_segment_new(&w->head, strtoull(w->file, NULL, 10));
    struct log_block *blocks = NULL;
    assert(!w->hurt && last >= w->head.first);
    size_t count = 0;
    if (!g)
        return ERR_NOMEM;
    pthread_mutex_init(&store.lock, NULL);
    enum err e = log_sidecar_read(&store, g);
    if (e == OK)
        e = log_sidecar_blocks(&store, g, &blocks, &count);
    if (e == ERR_CORRUPT || e == ERR_NOTFOUND)
        verify_say(v, LOG_VERDICT_NOTE, 0, 0, w->file, 0, "its index is %s; the server makes it at its next start",
                   e == ERR_CORRUPT ? "damaged" : "missing");
    else if (e == OK && (g->last != last || g->used != w->used || !same_usage(&g->index, &w->index) ||
                         !same_blocks(&w->index, blocks, count)))
        verify_say(v, LOG_VERDICT_DAMAGE, 0, 0, w->file, 0,
                   "its index is whole and does not fit what is in it; remove the file .idx while no server runs");
    free(blocks);
    free(store.lost);
    log_segment_unref(&store, g);
    pthread_mutex_destroy(&store.lock);
    return e == ERR_CORRUPT || e == ERR_NOTFOUND ? OK : e;
}

/* ---- the file ---- */

/* *fine: its records can be read. */
static enum err head_of(struct segment *w, struct disk_file *f, bool *fine, struct diag *d)
{
    struct verify *v = w->v;
    unsigned char bytes[LOG_SEGMENT_HEAD];
    struct diag why = {0};
    const uint64_t named = strtoull(w->file, NULL, 10);
    size_t got = 0;
    enum err e = v->disk->ops->read(v->disk, f, bytes, sizeof bytes, 0, &got, d);
    if (e != OK)
        return e;
    e = got < sizeof bytes ? diag_set(&why, ERR_CORRUPT, "it is shorter than the head of a segment")
                           : log_head_decode(bytes, &w->head, &why);
    *fine = e == OK || (e == ERR_CORRUPT && got == sizeof bytes);
    w->hurt = e != OK || w->head.first != named || w->size < w->head.size;
    if (e != OK) {
        verify_say(v, LOG_VERDICT_DAMAGE, 0, 0, w->file, 0, "%s", why.text);
        w->head = (struct log_head){.first = named};
    } else if (memcmp(w->head.id, v->id, LOG_ID_BYTES) != 0) {
        verify_say(v, LOG_VERDICT_DAMAGE, 0, 0, w->file, 16, "it is a segment of another log");
        *fine = false;
    } else if (w->head.first != named) {
        verify_say(v, LOG_VERDICT_DAMAGE, 0, 0, w->file, 32, "its head says that it begins with sequence %" PRIu64,
                   w->head.first);
    }
    if (w->size < w->head.size)
        verify_say(v, LOG_VERDICT_DAMAGE, 0, 0, w->file, w->size,
                   "the file was made with %" PRIu64 " bytes and has %" PRIu64, w->head.size, w->size);
    return OK;
}

/* Whether its records are to be read: they come behind those of the segment before. */
static bool in_order(struct segment *w)
{
    struct verify *v = w->v;
    const uint64_t first = w->head.first;
    if (v->next && first < v->next) {
        if (first <= v->covered)
            verify_say(v, LOG_VERDICT_NOTE, 0, 0, w->file, 0,
                       "an earlier, compacted segment has what is in it; the server removes it at its next start");
        else
            verify_say(v, LOG_VERDICT_DAMAGE, first, v->next - 1, w->file, 0,
                       "the segment before it has these sequences too");
        return false;
    }
    if (v->next && first > v->next)
        verify_say(v, LOG_VERDICT_DAMAGE, v->next, first - 1, w->file, 0, "the segment before this one is missing");
    return true;
}

static enum err read_records(struct segment *w, struct disk_file *f)
{
    struct verify *v = w->v;
    assert(w->head.first > 0 && w->head.first >= v->next);
    v->next = w->head.first;
    w->used = LOG_SEGMENT_HEAD;
    w->index.wall_max = INT64_MIN;
    const uint64_t most = w->head.last ? w->head.last
                          : w->until   ? w->until - 1
                                       : w->head.first + w->size / LOG_RECORD_HEAD;
    enum err e = log_index_reserve_blocks(&w->index, w->head.size > w->size ? w->head.size : w->size);
    if (e != OK)
        return e;
    w->walk = (struct log_walk){.disk = v->disk, .id = v->id, .chunk = STORE_SCAN_BYTES};
    log_walk_begin(&w->walk, f, LOG_SEGMENT_HEAD, w->size, v->next, most);
    e = records(w);
    log_walk_fini(&w->walk);
    v->covered = w->head.last;
    if (e == OK && !w->hurt && (w->until || w->head.last))
        e = check_index(w, v->next - 1);
    return e;
}

static enum err read_file(struct segment *w, struct disk_file *f, bool head_only, struct diag *d)
{
    struct verify *v = w->v;
    bool fine = false;
    enum err e = v->disk->ops->size(v->disk, f, &w->size, d);
    if (e == OK)
        e = head_of(w, f, &fine, d);
    if (e != OK || !fine)
        return e;
    v->sums.segments++;
    if (head_only || !in_order(w))
        return OK;
    e = read_records(w, f);
    log_index_fini(&w->index);
    return e == ERR_IO ? diag_set(d, e, "%s/%s cannot be read", v->dir, w->file) : e;
}

enum err verify_segment(struct verify *v, const char *file, uint64_t until, bool head_only, struct diag *d)
{
    struct segment w = {.v = v, .file = file, .until = until};
    struct disk_file *f;
    enum err e = verify_open(v, file, &f, d);
    if (e == ERR_NOTFOUND) { /* reclaimed meanwhile, as all before it by now */
        v->next = 0;
        return OK;
    }
    if (e != OK)
        return e;
    e = read_file(&w, f, head_only, d);
    v->disk->ops->close(v->disk, f);
    return e;
}
