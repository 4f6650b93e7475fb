/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing: records are encoded one behind the other into one buffer at the place where they will lie, and go to the
 * file in one write; commit is one sync for all of them. A full segment's end is synced before the next one begins.
 *
 * What was encoded counts when its write has succeeded: sequences, catalogue and index follow only then.
 */
#include "store_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "ce_pack.h"

uint64_t log_store_committed(const struct log_store *s)
{
    return atomic_load_explicit(&s->committed, memory_order_acquire);
}

uint64_t log_store_last(const struct log_store *s)
{
    return s->next - 1;
}

static enum err buffer_reserve(struct log_store *s, uint64_t bytes)
{
    assert(s->buffer_used == 0);
    size_t room = bytes > STORE_WRITE_BYTES ? (size_t)bytes : STORE_WRITE_BYTES;
    if (s->buffer_room == room || (s->buffer_room > room && room > STORE_WRITE_BYTES))
        return OK;
    free(s->buffer);
    s->buffer_room = 0;
    s->buffer = malloc(room);
    if (!s->buffer)
        return ERR_NOMEM;
    s->buffer_room = room;
    return OK;
}

/* Begins a new segment that has room for a record of `bytes`. ERR_FULL, else S5. */
static enum err roll(struct log_store *s, uint64_t bytes) must_check;

static uint64_t payload_bytes(const struct log_write *w)
{
    if (w->kind == LOG_EVENT)
        return ce_pack_size(w->event);
    return log_object_size(w->object);
}

/* What must be in memory before the record is written, so that nothing can fail afterwards. */
static enum err reserve_for(struct log_store *s, const struct log_write *w)
{
    if (w->kind == LOG_EVENT) {
        if (log_index_reserved(&s->tail->index, w->channel))
            return OK;
        log_store_lock(s);
        enum err e = log_index_reserve(&s->tail->index, w->channel);
        log_store_unlock(s);
        return e;
    }
    assert(w->kind == LOG_OBJECT || w->kind == LOG_OBJECT_GONE);
    return log_catalogue_note(&s->catalogue, w->object, w->kind == LOG_OBJECT_GONE);
}

static void encode(struct log_store *s, struct log_write *w, uint64_t payload, int64_t wall_ns)
{
    unsigned char *to = s->buffer + s->buffer_used;
    assert(s->buffer_used + log_record_size(payload) <= s->buffer_room && s->next > s->durable);
    struct log_record r = {.sequence = s->next,
                           .committed = s->durable,
                           .wall_ns = wall_ns,
                           .channel = w->kind == LOG_EVENT ? w->channel : 0,
                           .spread = w->kind == LOG_EVENT ? w->spread : 0,
                           .kind = w->kind,
                           .payload_len = (uint32_t)payload};
    if (w->kind == LOG_EVENT)
        ce_pack(w->event, to + LOG_RECORD_HEAD);
    else
        log_object_encode(w->object, to + LOG_RECORD_HEAD);
    log_record_encode(&r, s->id, to);
    w->sequence = s->next++;
    w->wall_ns = wall_ns;
    w->bytes = log_record_size(payload);
    s->buffer_used += (size_t)w->bytes;
}

/* A write that met a full disk may have left any part of it. Its first head is wiped, for certain, so that none of what
 * is refused now is found after a crash; and the segment is given up, so that no other record comes to lie before what
 * else was left. */
static enum err give_up_tail(struct log_store *s, struct diag *why)
{
    static const unsigned char zeros[LOG_RECORD_HEAD];
    struct log_segment *g = s->tail;
    assert(s->tail_file && g->used + LOG_RECORD_HEAD <= g->size);
    enum err e = s->disk->ops->write(s->disk, s->tail_file, zeros, sizeof zeros, g->used, why);
    if (!e)
        e = s->disk->ops->sync(s->disk, s->tail_file, why);
    if (e)
        return log_store_fail(s, "LogWriteFailed", why);
    s->durable = s->next - 1;
    s->unsynced = false;
    s->disk->ops->close(s->disk, s->tail_file);
    s->tail_file = NULL;
    return ERR_FULL;
}

static void account(struct log_store *s, const struct log_write *writes, size_t count)
{
    struct log_segment *g = s->tail;
    log_store_lock(s);
    for (size_t i = 0; i < count; i++) {
        const struct log_write *w = &writes[i];
        struct log_record r = {.sequence = w->sequence,
                               .wall_ns = w->wall_ns,
                               .channel = w->kind == LOG_EVENT ? w->channel : 0,
                               .kind = w->kind,
                               .payload_len = (uint32_t)(w->bytes - LOG_RECORD_HEAD)};
        log_index_add(&g->index, &r, g->used);
        g->used += w->bytes;
    }
    assert(g->used <= g->size);
    log_store_unlock(s);
}

/* Writes out what was encoded for these. */
static enum err flush(struct log_store *s, struct log_write *writes, size_t count)
{
    if (s->buffer_used == 0)
        return OK;
    struct diag why = {0};
    size_t bytes = s->buffer_used;
    assert(s->tail_file && s->tail->last == UINT64_MAX && s->tail->used + bytes <= s->tail->size);
    s->buffer_used = 0;
    enum err e = s->disk->ops->write(s->disk, s->tail_file, s->buffer, bytes, s->tail->used, &why);
    if (e == OK) {
        log_catalogue_apply(&s->catalogue);
        account(s, writes, count);
        s->unsynced = true;
        s->marked = false;
        return OK;
    }
    log_catalogue_drop(&s->catalogue);
    for (size_t i = 0; i < count; i++)
        writes[i].sequence = 0;
    s->next -= count;
    if (e != ERR_FULL)
        return log_store_fail(s, "LogWriteFailed", &why);
    if (!s->full)
        log_store_say(s, STORE_ERROR, "LogFull", "%s", why.text);
    s->full = true;
    return give_up_tail(s, &why);
}

/* Encodes as many as fit into the buffer and the segment, and writes them; *done is moved on by those. */
static enum err append_some(struct log_store *s, struct log_write *writes, size_t count, size_t *done, int64_t wall_ns)
{
    size_t i = *done;
    enum err e = OK;
    for (; i < count && !e; i++) {
        struct log_write *w = &writes[i];
        uint64_t payload = payload_bytes(w);
        uint64_t bytes = log_record_size(payload);
        if (payload > LOG_PAYLOAD_MAX) {
            e = ERR_TOO_LARGE;
            break;
        }
        if (i == *done) {
            if (!s->tail_file || s->tail->used + bytes > s->tail->size)
                e = roll(s, bytes);
            if (!e)
                e = buffer_reserve(s, bytes);
        } else if (s->tail->used + s->buffer_used + bytes > s->tail->size || s->buffer_used + bytes > s->buffer_room) {
            break;
        }
        if (!e)
            e = reserve_for(s, w);
        if (e)
            break;
        encode(s, w, payload, wall_ns);
    }
    enum err written = flush(s, writes + *done, i - *done);
    if (!written)
        *done = i;
    return written ? written : e;
}

enum err log_store_append(struct log_store *s, struct log_write *writes, size_t count)
{
    assert(!s->read_only && (writes || !count));
    if (log_store_failed(s, NULL))
        return ERR_IO;
    for (size_t i = 0; i < count; i++)
        writes[i].sequence = 0;
    int64_t wall_ns = clock_wall_ns(s->clock);
    enum err e = OK;
    for (size_t done = 0; done < count && !e;)
        e = append_some(s, writes, count, &done, wall_ns);
    if (!e)
        s->full = false;
    return e;
}

/* Readers may see up to here. Segments that were rolled since the last time come first. */
static void publish(struct log_store *s)
{
    assert(s->durable == s->next - 1 && !s->unsynced);
    log_store_lock(s);
    for (size_t i = s->segment_count; i > 0; i--) {
        struct log_segment *g = s->segments[i - 1];
        if (atomic_load_explicit(&g->visible, memory_order_relaxed) == g->used && i < s->segment_count)
            break;
        atomic_store_explicit(&g->visible, g->used, memory_order_release);
    }
    atomic_store_explicit(&s->committed, s->next - 1, memory_order_release);
    log_store_unlock(s);
}

/* Makes what was written to the tail durable. */
static enum err sync_tail(struct log_store *s)
{
    struct diag why = {0};
    assert(!s->unsynced || s->tail_file);
    if (s->unsynced && s->disk->ops->sync(s->disk, s->tail_file, &why))
        return log_store_fail(s, "LogSyncFailed", &why);
    s->unsynced = false;
    s->durable = s->next - 1;
    return OK;
}

enum err log_store_commit(struct log_store *s)
{
    assert(!s->read_only && s->buffer_used == 0);
    if (log_store_failed(s, NULL))
        return ERR_IO;
    if (s->next - 1 == log_store_committed(s))
        return OK;
    enum err e = sync_tail(s);
    if (!e)
        publish(s);
    return e;
}

enum err log_store_mark(struct log_store *s)
{
    assert(!s->read_only);
    if (log_store_failed(s, NULL))
        return ERR_IO;
    enum err e = log_store_commit(s);
    if (e || s->marked)
        return e;
    if (!s->tail_file || s->tail->used + LOG_RECORD_HEAD > s->tail->size) {
        e = roll(s, LOG_RECORD_HEAD); /* a snapshot says what a mark says */
    } else {
        e = buffer_reserve(s, LOG_RECORD_HEAD);
        if (e)
            return e;
        struct log_record r = {
            .sequence = s->next, .committed = s->durable, .wall_ns = clock_wall_ns(s->clock), .kind = LOG_MARK};
        log_record_encode(&r, s->id, s->buffer);
        struct log_write w = {.kind = LOG_MARK, .sequence = s->next++, .wall_ns = r.wall_ns, .bytes = LOG_RECORD_HEAD};
        s->buffer_used = LOG_RECORD_HEAD;
        e = flush(s, &w, 1);
    }
    if (!e)
        e = log_store_commit(s);
    if (!e)
        s->marked = true;
    return e;
}

/* ---- the next segment ---- */

struct making { /* a segment that is being written under another name */
    struct disk_file *file;
    char path[STORE_PATH_MAX];
    uint64_t size, used;
};

static enum err making_open(struct log_store *s, struct making *m, struct diag *d)
{
    log_store_lock(s);
    struct disk_file *spare = s->spare_size == m->size ? s->spare : NULL;
    if (spare)
        s->spare = NULL;
    log_store_unlock(s);
    if (spare) {
        m->file = spare;
        int n = snprintf(m->path, sizeof m->path, "%s/%s", s->dir, STORE_SPARE_NAME);
        assert(n > 0 && n < (int)sizeof m->path);
        return OK;
    }
    log_store_path(s, s->next, ".seg.tmp", m->path);
    enum err e = s->disk->ops->open(s->disk, m->path, DISK_CREATE, &m->file, d);
    if (e == ERR_EXISTS) { /* left by a try that failed */
        e = s->disk->ops->unlink(s->disk, m->path, d);
        if (!e)
            e = s->disk->ops->open(s->disk, m->path, DISK_CREATE, &m->file, d);
    }
    if (e)
        return e;
    return s->disk->ops->allocate(s->disk, m->file, m->size, d);
}

static enum err making_flush(struct log_store *s, struct making *m, struct diag *d)
{
    size_t bytes = s->buffer_used;
    assert(m->file && m->used + bytes <= m->size);
    s->buffer_used = 0;
    enum err e = s->disk->ops->write(s->disk, m->file, s->buffer, bytes, m->used, d);
    m->used += bytes;
    return e;
}

/* One record of the snapshot, which is number `i` of it. */
static enum err making_add(struct log_store *s, struct making *m, struct log_segment *g, uint64_t i, struct diag *d)
{
    const struct log_object *o = i ? &s->catalogue.entries[i - 1]->object : NULL;
    uint64_t payload = o ? log_object_size(o) : LOG_SNAPSHOT_BYTES, bytes = log_record_size(payload);
    enum err e = OK;
    if (s->buffer_used + bytes > s->buffer_room)
        e = making_flush(s, m, d);
    if (!e && s->buffer_used == 0)
        e = buffer_reserve(s, bytes);
    if (e)
        return e;
    unsigned char *to = s->buffer + s->buffer_used;
    struct log_record r = {.sequence = g->first + i,
                           .committed = s->durable,
                           .wall_ns = g->made_wall_ns,
                           .kind = o ? LOG_OBJECT : LOG_SNAPSHOT,
                           .payload_len = (uint32_t)payload};
    if (o)
        log_object_encode(o, to + LOG_RECORD_HEAD);
    else
        log_snapshot_encode(&s->catalogue, to + LOG_RECORD_HEAD);
    log_record_encode(&r, s->id, to);
    log_index_add(&g->index, &r, m->used + s->buffer_used);
    s->buffer_used += (size_t)bytes;
    return OK;
}

static enum err making_fill(struct log_store *s, struct making *m, struct log_segment *g, struct diag *d)
{
    enum err e = buffer_reserve(s, LOG_SEGMENT_HEAD);
    if (e)
        return e;
    memcpy(s->buffer, g->head, LOG_SEGMENT_HEAD);
    s->buffer_used = LOG_SEGMENT_HEAD;
    for (uint64_t i = 0; i <= s->catalogue.count && !e; i++)
        e = making_add(s, m, g, i, d);
    if (!e)
        e = making_flush(s, m, d);
    s->buffer_used = 0;
    return e;
}

static uint64_t snapshot_bytes(const struct log_store *s)
{
    uint64_t sum = log_record_size(LOG_SNAPSHOT_BYTES);
    for (size_t i = 0; i < s->catalogue.count; i++)
        sum += log_record_size(log_object_size(&s->catalogue.entries[i]->object));
    return sum;
}

/* What follows a roll that has happened: the old segment is whole, and gets its sidecar. */
static void switch_to(struct log_store *s, struct log_segment *g, struct making *m)
{
    assert(g->first == s->next && m->file && m->used <= m->size);
    log_store_lock(s);
    struct log_segment *old = s->segment_count ? s->segments[s->segment_count - 1] : NULL;
    bool seal = old && old->last == UINT64_MAX;
    if (seal) {
        old->last = g->first - 1;
        atomic_store_explicit(&old->end, old->used, memory_order_release);
    }
    log_segments_push(s, g);
    log_store_unlock(s);
    s->tail = g;
    s->next = g->first + s->catalogue.count + 1;
    s->durable = s->next - 1;
    if (s->tail_file)
        s->disk->ops->close(s->disk, s->tail_file);
    s->tail_file = m->file;
    s->unsynced = false;
    s->marked = true;
    if (!seal)
        return;
    bool indexed = log_sidecar_write(s, old) == OK; /* made again when it is missing */
    log_store_lock(s);
    old->indexed = indexed;
    if (old->readers == 0 && indexed)
        log_index_drop_blocks(&old->index);
    log_store_unlock(s);
}

static enum err make_segment(struct log_store *s, uint64_t bytes, struct making *m, struct log_segment **out,
                             struct diag *d)
{
    assert(bytes > 0 && s->durable == s->next - 1);
    /* The catalogue takes at most half of it, so that rolling does not become all the work there is. */
    uint64_t least = LOG_SEGMENT_HEAD + 2 * snapshot_bytes(s) + bytes;
    uint64_t usual = s->segment_bytes;
    log_store_lock(s); /* the keeper takes segments away meanwhile */
    bool first = s->segment_count == 0;
    log_store_unlock(s);
    if (first && usual > LOG_SEGMENT_BYTES_FIRST)
        usual = LOG_SEGMENT_BYTES_FIRST;
    m->size = least > usual ? (least + 4095) & ~(uint64_t)4095 : usual;
    struct log_head head = {.first = s->next, .made_wall_ns = clock_wall_ns(s->clock), .size = m->size};
    memcpy(head.id, s->id, LOG_ID_BYTES);
    struct log_segment *g = log_segment_new(&head, head.first);
    enum err e = g ? log_segments_reserve(s) : ERR_NOMEM;
    if (!e)
        e = log_index_reserve_blocks(&g->index, m->size);
    if (!e)
        e = making_open(s, m, d);
    if (!e)
        e = making_fill(s, m, g, d);
    if (!e)
        e = s->disk->ops->sync(s->disk, m->file, d) ? ERR_IO : OK;
    char path[STORE_PATH_MAX];
    if (!e)
        e = s->disk->ops->rename(s->disk, m->path, log_store_path(s, head.first, ".seg", path), d) ? ERR_IO : OK;
    if (!e)
        e = s->disk->ops->sync_dir(s->disk, s->dir, d) ? ERR_IO : OK;
    if (e) {
        log_store_lock(s);
        if (g)
            log_segment_unref(s, g);
        log_store_unlock(s);
        return e;
    }
    g->used = m->used;
    *out = g;
    return OK;
}

static enum err roll(struct log_store *s, uint64_t bytes)
{
    assert(s->buffer_used == 0 && s->catalogue.pending == 0);
    enum err e = s->tail_file ? sync_tail(s) : OK;
    if (e)
        return e;
    struct diag why = {0};
    struct making m = {0};
    struct log_segment *g;
    e = make_segment(s, bytes, &m, &g, &why);
    if (!e) {
        switch_to(s, g, &m);
        return OK;
    }
    if (m.file)
        s->disk->ops->close(s->disk, m.file);
    if (e != ERR_FULL && e != ERR_NOMEM)
        return log_store_fail(s, "LogWriteFailed", &why);
    if (m.file)
        (void)!s->disk->ops->unlink(s->disk, m.path, NULL);
    if (!s->full && e == ERR_FULL)
        log_store_say(s, STORE_ERROR, "LogFull", "%s", why.text);
    s->full = e == ERR_FULL;
    return e;
}
