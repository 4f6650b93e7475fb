/* SPDX-License-Identifier: Apache-2.0
 *
 * The catalogue: channels and cursors as the log's records say they are. It lives in memory whole; on the disk it is a
 * snapshot at the beginning of each segment and the changes behind it (S6). The writer's alone.
 */
#include "store_parts.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#include "array.h"

void log_catalogue_init(struct log_catalogue *c)
{
    *c = (struct log_catalogue){.next_number = {1, 1}};
    c->last = &c->first;
}

void log_catalogue_fini(struct log_catalogue *c)
{
    log_catalogue_drop(c);
    for (size_t i = 0; i < c->count; i++)
        free(c->entries[i]);
    free(c->entries);
    *c = (struct log_catalogue){0};
}

/* ---- bytes ---- */

size_t log_object_size(const struct log_object *o)
{
    assert(o->name.len <= LOG_OBJECT_NAME_MAX);
    return LOG_OBJECT_HEAD + o->name.len + o->value.len;
}

void log_object_encode(const struct log_object *o, unsigned char *to)
{
    assert(o->type == LOG_CHANNEL || o->type == LOG_CURSOR);
    assert(o->number > 0);
    uint16_t name_len = htole16((uint16_t)o->name.len);
    uint32_t numbers[3] = {htole32(o->number), htole32(o->channel), 0};
    uint64_t since = htole64((uint64_t)o->since_ns);
    to[0] = (unsigned char)o->type;
    to[1] = 0;
    memcpy(to + 2, &name_len, 2);
    memcpy(to + 4, numbers, 12);
    memcpy(to + 16, &since, 8);
    if (o->name.len)
        memcpy(to + LOG_OBJECT_HEAD, o->name.ptr, o->name.len);
    if (o->value.len)
        memcpy(to + LOG_OBJECT_HEAD + o->name.len, o->value.ptr, o->value.len);
}

enum err log_object_decode(struct slice payload, struct log_object *out)
{
    if (payload.len < LOG_OBJECT_HEAD)
        return ERR_CORRUPT;
    const char *p = payload.ptr;
    uint16_t name_len;
    uint32_t number, channel;
    uint64_t since;
    memcpy(&name_len, p + 2, 2);
    memcpy(&number, p + 4, 4);
    memcpy(&channel, p + 8, 4);
    memcpy(&since, p + 16, 8);
    size_t name = le16toh(name_len);
    struct log_object o = {.type = (enum log_object_type)(unsigned char)p[0],
                           .number = le32toh(number),
                           .channel = le32toh(channel),
                           .since_ns = (int64_t)le64toh(since)};
    if ((o.type != LOG_CHANNEL && o.type != LOG_CURSOR) || o.number == 0 || name > LOG_OBJECT_NAME_MAX ||
        name > payload.len - LOG_OBJECT_HEAD)
        return ERR_CORRUPT;
    o.name = slice_of(p + LOG_OBJECT_HEAD, name);
    o.value = slice_from(payload, LOG_OBJECT_HEAD + name);
    *out = o;
    return OK;
}

void log_snapshot_encode(const struct log_catalogue *c, unsigned char to[LOG_SNAPSHOT_BYTES])
{
    uint64_t count = htole64(c->count);
    uint32_t next[2] = {htole32(c->next_number[0]), htole32(c->next_number[1])};
    memcpy(to, &count, 8);
    memcpy(to + 8, next, 8);
}

static enum err snapshot_decode(struct slice payload, uint64_t *count, uint32_t next[2])
{
    if (payload.len != LOG_SNAPSHOT_BYTES)
        return ERR_CORRUPT;
    memcpy(count, payload.ptr, 8);
    memcpy(next, payload.ptr + 8, 8);
    *count = le64toh(*count);
    next[0] = le32toh(next[0]);
    next[1] = le32toh(next[1]);
    return OK;
}

uint64_t log_snapshot_count(struct slice payload)
{
    uint64_t count;
    uint32_t next[2];
    return snapshot_decode(payload, &count, next) == OK ? count : 0;
}

/* ---- changes ---- */

/* Where it is, or belongs. */
static size_t place(const struct log_catalogue *c, const struct log_object *o, bool *there)
{
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct log_object *m = &c->entries[middle]->object;
        if (m->type < o->type || (m->type == o->type && m->number < o->number))
            low = middle + 1;
        else
            high = middle;
    }
    *there = low < c->count && c->entries[low]->object.type == o->type && c->entries[low]->object.number == o->number;
    return low;
}

static enum err reserve(struct log_catalogue *c, size_t more)
{
    return array_reserve(&c->entries, &c->room, c->count + more, sizeof(struct log_entry *)) ? OK : ERR_NOMEM;
}

enum err log_catalogue_note(struct log_catalogue *c, const struct log_object *o, bool gone)
{
    assert(c->last && *c->last == NULL);
    enum err e = reserve(c, c->pending + 1);
    struct log_entry *n = e ? NULL : malloc(sizeof *n + o->name.len + o->value.len);
    if (!n)
        return ERR_NOMEM;
    char *bytes = (char *)(n + 1);
    *n = (struct log_entry){.object = *o, .gone = gone};
    if (o->name.len)
        memcpy(bytes, o->name.ptr, o->name.len);
    if (o->value.len)
        memcpy(bytes + o->name.len, o->value.ptr, o->value.len);
    n->object.name.ptr = bytes;
    n->object.value.ptr = bytes + o->name.len;
    *c->last = n;
    c->last = &n->next;
    c->pending++;
    return OK;
}

static struct log_entry *pending_pop(struct log_catalogue *c)
{
    struct log_entry *n = c->first;
    if (!n)
        return NULL;
    c->first = n->next;
    c->pending--;
    if (!c->first)
        c->last = &c->first;
    return n;
}

static void put(struct log_catalogue *c, struct log_entry *n)
{
    uint32_t *next = &c->next_number[n->object.type - 1];
    if (n->object.number >= *next)
        *next = n->object.number + 1;
    bool there;
    size_t at = place(c, &n->object, &there);
    if (there)
        free(c->entries[at]);
    if (n->gone) {
        free(n);
        if (there)
            memmove(c->entries + at, c->entries + at + 1, (--c->count - at) * sizeof *c->entries);
        return;
    }
    if (!there) {
        assert(c->count < c->room);
        memmove(c->entries + at + 1, c->entries + at, (c->count++ - at) * sizeof *c->entries);
    }
    c->entries[at] = n;
}

void log_catalogue_apply(struct log_catalogue *c)
{
    for (struct log_entry *n; (n = pending_pop(c)) != NULL;)
        put(c, n);
    assert(c->pending == 0);
}

void log_catalogue_drop(struct log_catalogue *c)
{
    for (struct log_entry *n; (n = pending_pop(c)) != NULL;)
        free(n);
    assert(c->pending == 0);
}

void log_store_each_object(const struct log_store *s, void (*visit)(void *arg, const struct log_object *o), void *arg)
{
    assert(visit);
    for (size_t i = 0; i < s->catalogue.count; i++)
        visit(arg, &s->catalogue.entries[i]->object);
}

uint32_t log_store_next_number(struct log_store *s, enum log_object_type type)
{
    assert(type == LOG_CHANNEL || type == LOG_CURSOR);
    return s->catalogue.next_number[type - 1]++;
}

/* ---- recovery ---- */

static enum err apply_record(struct log_catalogue *c, const struct log_view *v)
{
    struct log_object o;
    uint64_t count;
    uint32_t next[2];
    switch (v->record.kind) {
    case LOG_OBJECT:
    case LOG_OBJECT_GONE:
        if (log_object_decode(v->payload, &o))
            return OK; /* written by a program with a defect: nothing that stopping here would make better */
        enum err e = log_catalogue_note(c, &o, v->record.kind == LOG_OBJECT_GONE);
        if (!e)
            log_catalogue_apply(c);
        return e;
    case LOG_SNAPSHOT:
        if (snapshot_decode(v->payload, &count, next) == OK)
            for (int i = 0; i < 2; i++)
                if (next[i] > c->next_number[i])
                    c->next_number[i] = next[i];
        return OK;
    case LOG_EVENT:
    case LOG_MARK:
        return OK;
    }
    return OK;
}

static enum err walk_into(struct log_store *s, struct log_walk *w, struct log_segment *g, struct disk_file **file,
                          struct diag *d)
{
    char path[STORE_PATH_MAX];
    enum err e = s->disk->ops->open(s->disk, log_store_path(s, g->name, ".seg", path), DISK_READ, file, d);
    if (!e)
        log_walk_begin(w, *file, LOG_SEGMENT_HEAD, g->used, g->first, g->last);
    return e;
}

/* Whether the segment begins with a snapshot and all the objects it speaks of. */
static enum err begins_whole(struct log_store *s, struct log_walk *w, struct log_segment *g, bool *whole,
                             struct diag *d)
{
    struct disk_file *file;
    struct log_view v;
    uint64_t missing = 0, sequence = g->first;
    uint32_t next[2];
    *whole = false;
    enum err e = walk_into(s, w, g, &file, d);
    if (e)
        return e;
    e = log_walk_next(w, &v);
    if (!e && v.record.kind == LOG_SNAPSHOT && v.record.sequence == sequence &&
        snapshot_decode(v.payload, &missing, next) == OK) {
        while (missing && (e = log_walk_next(w, &v)) == OK && v.record.sequence == ++sequence &&
               v.record.kind == LOG_OBJECT)
            missing--;
        *whole = missing == 0;
    }
    s->disk->ops->close(s->disk, file);
    return e == ERR_NOTFOUND ? OK : e;
}

static enum err apply_segment(struct log_store *s, struct log_walk *w, struct log_segment *g, struct diag *d)
{
    struct disk_file *file;
    struct log_view v;
    enum err e = walk_into(s, w, g, &file, d);
    if (e)
        return e;
    while ((e = log_walk_next(w, &v)) == OK && (e = apply_record(&s->catalogue, &v)) == OK)
        continue;
    s->disk->ops->close(s->disk, file);
    return e == ERR_NOTFOUND ? OK : e;
}

enum err log_catalogue_recover(struct log_store *s, struct diag *d)
{
    struct log_walk w;
    log_walk_init(&w, s, STORE_SCAN_BYTES);
    enum err e = OK;
    bool whole = false;
    size_t from = s->segment_count;
    while (from > 0 && !whole && !e && s->segment_count - from < 2)
        e = begins_whole(s, &w, s->segments[--from], &whole, d);
    if (!e && !whole && s->segment_count > 0)
        log_store_say(s, STORE_ERROR, "LogSegmentBad",
                      "no whole list of channels and cursors is left; those whose records are damaged begin anew");
    for (size_t i = from; i < s->segment_count && !e; i++)
        e = apply_segment(s, &w, s->segments[i], d);
    log_walk_fini(&w);
    if (e)
        return diag_set(d, e, "cannot read the list of channels and cursors in %s: %s", s->dir, err_name(e));
    return OK;
}
