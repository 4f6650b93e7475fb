/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of segments and what keeps one alive: the list itself and each reader inside hold a reference. A segment
 * that reclaiming takes out of the list is marked as gone: who is inside reads on from the file that it has open,
 * nobody enters any more. All of it under the store's lock.
 */
#include "store_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "array.h"

struct log_segment *log_segment_new(const struct log_head *head, uint64_t name)
{
    struct log_segment *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->refs = 1;
    g->name = name;
    g->first = head->first;
    g->last = head->last ? head->last : UINT64_MAX;
    g->compacted = head->last != 0;
    g->size = head->size;
    g->used = LOG_SEGMENT_HEAD;
    g->made_wall_ns = head->made_wall_ns;
    g->index.wall_max = INT64_MIN;
    atomic_init(&g->visible, LOG_SEGMENT_HEAD);
    atomic_init(&g->end, UINT64_MAX);
    log_head_encode(head, g->head);
    return g;
}

void log_segment_unref(struct log_store *s, struct log_segment *g)
{
    assert(g->refs > 0);
    if (--g->refs)
        return;
    assert(g->readers == 0);
    if (g->file)
        s->disk->ops->close(s->disk, g->file);
    log_index_fini(&g->index);
    free(g);
}

/* Of a log that is in use, and is only looked at: another has taken its place since. */
static bool is_replaced(struct log_store *s, const struct log_segment *g)
{
    unsigned char bytes[LOG_SEGMENT_HEAD];
    struct log_head head;
    size_t got = 0;
    return s->read_only && s->disk->ops->read(s->disk, g->file, bytes, sizeof bytes, 0, &got, NULL) == OK &&
           got == sizeof bytes && log_head_decode(bytes, &head, NULL) == OK && memcmp(bytes, g->head, sizeof bytes);
}

enum err log_segment_enter(struct log_store *s, struct log_segment *g, struct diag *d)
{
    assert(g->refs > 0);
    if (g->gone)
        return diag_set(d, ERR_NOTFOUND, "the segment is gone");
    if (!g->file) {
        char path[STORE_PATH_MAX];
        enum err e = s->disk->ops->open(s->disk, log_store_path(s, g->name, ".seg", path), DISK_READ, &g->file, d);
        if (e)
            return e == ERR_NOTFOUND && s->read_only ? ERR_CLOSED : e;
        if (is_replaced(s, g)) {
            s->disk->ops->close(s->disk, g->file);
            g->file = NULL;
            return ERR_CLOSED;
        }
    }
    g->readers++;
    g->refs++;
    return OK;
}

/* The last one out closes the file; and lets go of the blocks that the sidecar has. */
void log_segment_leave(struct log_store *s, struct log_segment *g)
{
    assert(g->readers > 0 && g->file);
    if (--g->readers == 0) {
        s->disk->ops->close(s->disk, g->file);
        g->file = NULL;
        if (g->indexed)
            log_index_drop_blocks(&g->index);
    }
    log_segment_unref(s, g);
}

const char *log_store_path(const struct log_store *s, uint64_t name, const char *suffix, char out[STORE_PATH_MAX])
{
    int n = snprintf(out, STORE_PATH_MAX, "%s/%020" PRIu64 "%s", s->dir, name, suffix);
    assert(n > 0 && n < STORE_PATH_MAX);
    return out;
}

enum err log_segments_reserve(struct log_store *s)
{
    log_store_lock(s);
    bool there = array_reserve(&s->segments, &s->segment_room, s->segment_count + 1, sizeof(struct log_segment *));
    log_store_unlock(s);
    return there ? OK : ERR_NOMEM;
}

void log_segments_push(struct log_store *s, struct log_segment *g)
{
    assert(s->segment_count < s->segment_room);
    assert(s->segment_count == 0 || s->segments[s->segment_count - 1]->last < g->first);
    s->segments[s->segment_count++] = g;
}

void log_segments_replace(struct log_store *s, size_t at, size_t count, struct log_segment *by)
{
    assert(count > 0 && at + count <= s->segment_count);
    for (size_t i = at; i < at + count; i++) {
        s->segments[i]->gone = true;
        log_segment_unref(s, s->segments[i]);
    }
    size_t put = by ? 1 : 0;
    if (by)
        s->segments[at] = by;
    memmove(s->segments + at + put, s->segments + at + count, (s->segment_count - at - count) * sizeof *s->segments);
    s->segment_count -= count - put;
}

size_t log_segments_find(const struct log_store *s, uint64_t sequence)
{
    size_t low = 0, high = s->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->segments[middle]->last < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void log_store_each_segment(struct log_store *s,
                            void (*visit)(void *arg, const struct log_segment_info *i,
                                          const struct log_channel_usage *usage, size_t count),
                            void *arg)
{
    assert(visit);
    log_store_lock(s);
    uint64_t committed = log_store_committed(s);
    for (size_t i = 0; i < s->segment_count; i++) {
        const struct log_segment *g = s->segments[i];
        struct log_segment_info info = {.first = g->first,
                                        .last = g->last < committed ? g->last : committed,
                                        .bytes = atomic_load_explicit(&g->visible, memory_order_relaxed),
                                        .size = g->size,
                                        .made_wall_ns = g->made_wall_ns,
                                        .newest = i + 1 == s->segment_count,
                                        .compacted = g->compacted};
        visit(arg, &info, g->index.usage, g->index.usage_count);
    }
    log_store_unlock(s);
}

void log_store_usage(struct log_store *s, uint32_t channel, struct log_channel_usage *out)
{
    assert(out && channel != 0);
    struct log_channel_usage sum = {.channel = channel};
    log_store_lock(s);
    for (size_t i = 0; i < s->segment_count; i++) {
        const struct log_channel_usage *u = log_index_usage(&s->segments[i]->index, channel);
        if (!u)
            continue;
        if (sum.events == 0) {
            sum.first = u->first;
            sum.first_wall_ns = u->first_wall_ns;
            sum.last_wall_ns = u->last_wall_ns;
        }
        sum.events += u->events;
        sum.bytes += u->bytes;
        sum.last = u->last;
        if (u->first_wall_ns < sum.first_wall_ns)
            sum.first_wall_ns = u->first_wall_ns;
        if (u->last_wall_ns > sum.last_wall_ns)
            sum.last_wall_ns = u->last_wall_ns;
    }
    log_store_unlock(s);
    *out = sum;
}
