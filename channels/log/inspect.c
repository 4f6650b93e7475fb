/* SPDX-License-Identifier: Apache-2.0
 *
 * `log_inspect`: what there is in a log, through a store that is opened for reading only.
 *
 * How far a cursor is behind: the events of its channel from its `from` on, less those that its ledger says are done.
 * From the ledger's end on nothing is done, so there the segments' own counts suffice; what lies before it is read.
 */
#include "inspect.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log_inspect.h"
#include "slot.h"
#include "store_parts.h"

#define LOOKS_MAX 5 /* while a server gives back or rewrites what is read */

struct usage { /* of one channel in one segment */
    uint32_t channel;
    size_t segment; /* its index */
    uint64_t events, bytes;
    int64_t first_wall_ns;
};

struct cursor {
    struct log_inspect_cursor seen;
    uint32_t channel;           /* its number */
    struct slot_ledger *ledger; /* owned; NULL: unreadable */
    uint64_t end;               /* nothing at or above it is done */
};

struct look { /* while it is made */
    struct log_store *store;
    struct log_inspect *out;
    struct usage *usages; /* owned */
    size_t usage_count;
    struct cursor *cursors; /* owned; by channel from the time that they are all there */
    size_t cursor_count;
    bool no_memory;
    log_progress_fn *progress;
    void *arg;
    uint64_t done, total; /* bytes to be read for the backlogs */
};

/* One more element, zeroed, of a list that doubles at each power of two; NULL (remembered) without memory. */
static void *grow(struct look *k, void *list, size_t *count, size_t size)
{
    void **at = list;
    assert(k && size > 0);
    if ((*count & (*count - 1)) == 0) {
        void *grown = realloc(*at, (*count ? *count * 2 : 1) * size);
        k->no_memory = k->no_memory || !grown;
        if (!grown)
            return NULL;
        *at = grown;
    }
    return memset((char *)*at + (*count)++ * size, 0, size);
}

/* ---- the catalogue and the segments ---- */

static void visit_object(void *arg, const struct log_object *o)
{
    struct look *k = arg;
    assert(o->type == LOG_CHANNEL || o->type == LOG_CURSOR);
    assert(o->number > 0);
    char *name = inspect_text(o->name);
    k->no_memory = k->no_memory || !name;
    if (o->type == LOG_CHANNEL) {
        struct log_inspect_channel *c = grow(k, &k->out->channels, &k->out->channel_count, sizeof *c);
        if (c)
            *c = (struct log_inspect_channel){.name = name, .number = o->number};
        else
            free(name);
        return;
    }
    struct cursor *c = grow(k, &k->cursors, &k->cursor_count, sizeof *c);
    if (!c) {
        free(name);
        return;
    }
    c->seen = (struct log_inspect_cursor){.name = name, .unused_since_wall_ns = o->since_ns};
    c->channel = o->channel;
    enum err e = slot_ledger_read(o->value, &c->ledger);
    k->no_memory = k->no_memory || e == ERR_NOMEM;
    c->seen.readable = e == OK;
}

static void visit_segment(void *arg, const struct log_segment_info *info, const struct log_channel_usage *usage,
                          size_t count)
{
    struct look *k = arg;
    struct log_inspect *i = k->out;
    assert(info->first > 0);
    struct log_inspect_segment *s = grow(k, &i->segments, &i->segment_count, sizeof *s);
    if (!s)
        return;
    *s = (struct log_inspect_segment){.first = info->first,
                                      .last = info->last,
                                      .bytes = info->bytes,
                                      .size = info->size,
                                      .made_wall_ns = info->made_wall_ns,
                                      .newest = info->newest,
                                      .compacted = info->compacted};
    for (size_t n = 0; n < count; n++) {
        struct usage *u = grow(k, &k->usages, &k->usage_count, sizeof *u);
        if (!u)
            return;
        *u = (struct usage){usage[n].channel, i->segment_count - 1, usage[n].events, usage[n].bytes,
                            usage[n].first_wall_ns};
        s->events += u->events;
        if (usage[n].last_wall_ns > i->last_wall_ns)
            i->last_wall_ns = usage[n].last_wall_ns;
    }
    i->events += s->events;
    i->bytes += s->bytes;
    i->size += s->size;
}

static void measure_channels(struct look *k)
{
    for (size_t n = 0; n < k->out->channel_count; n++) {
        struct log_inspect_channel *c = &k->out->channels[n];
        struct log_channel_usage u = {0};
        log_store_usage(k->store, c->number, &u);
        c->events = u.events;
        c->bytes = u.bytes;
        c->first = u.first;
        c->last = u.last;
        c->first_wall_ns = u.first_wall_ns;
        c->last_wall_ns = u.last_wall_ns;
    }
}

static void list_losses(struct look *k)
{
    struct log_inspect *i = k->out;
    struct log_lost lost;
    i->lost = log_store_lost(k->store);
    while (!k->no_memory && log_store_lost_at(k->store, i->loss_count, &lost)) {
        struct log_inspect_loss *l = grow(k, &i->losses, &i->loss_count, sizeof *l);
        if (!l)
            return;
        *l = (struct log_inspect_loss){lost.first, lost.last, strdup(lost.why)};
        k->no_memory = !l->why;
    }
}

/* ---- backlogs ---- */

static void place_cursor(struct look *k, struct cursor *c)
{
    const struct log_inspect *i = k->out;
    c->seen.channel = "";
    for (size_t n = 0; n < i->channel_count; n++)
        if (i->channels[n].number == c->channel)
            c->seen.channel = i->channels[n].name;
    if (!c->ledger)
        return;
    const size_t slots = slot_ledger_slots(c->ledger);
    assert(slots > 0);
    c->end = slot_ledger_end(c->ledger);
    c->seen.from = c->end;
    for (size_t n = 0; n < slots; n++) {
        const uint64_t from = slot_ledger_from(c->ledger, n, slots);
        if (from < c->seen.from)
            c->seen.from = from;
    }
}

static void add(struct cursor *c, uint64_t events, uint64_t bytes, int64_t first_wall_ns)
{
    assert(c->ledger && c->seen.readable);
    if (!events)
        return;
    assert(bytes >= events * LOG_RECORD_HEAD);
    if (!c->seen.events)
        c->seen.oldest_wall_ns = first_wall_ns;
    c->seen.events += events;
    c->seen.bytes += bytes;
}

/* Whether the segment's records must be looked at to know what of it the cursor has settled. */
static bool mixed(const struct cursor *c, const struct log_inspect_segment *s)
{
    const uint64_t bound = c->end > c->seen.from ? c->end : c->seen.from;
    return c->ledger && c->seen.from <= s->last && bound > s->first;
}

/* The cursors of a channel, which lie side by side. */
static size_t cursors_of(const struct look *k, uint32_t channel, struct cursor **out)
{
    size_t low = 0, high = k->cursor_count, n = 0;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (k->cursors[middle].channel < channel)
            low = middle + 1;
        else
            high = middle;
    }
    *out = &k->cursors[low];
    while (low + n < k->cursor_count && k->cursors[low + n].channel == channel)
        n++;
    return n;
}

static void count_event(struct look *k, const struct log_inspect_segment *s, const struct log_view *view)
{
    struct cursor *c;
    const struct log_record *r = &view->record;
    assert(r->kind == LOG_EVENT && r->sequence >= s->first && r->sequence <= s->last);
    for (size_t n = cursors_of(k, r->channel, &c); n-- > 0; c++)
        if (mixed(c, s) && r->sequence >= c->seen.from && !slot_ledger_done(c->ledger, r->sequence, r->spread))
            add(c, 1, log_record_size(r->payload_len), r->wall_ns);
}

static enum err read_segment(struct look *k, const struct log_inspect_segment *s)
{
    struct log_reader *reader;
    struct log_view view;
    uint64_t seen = 0;
    enum err e = log_reader_new(k->store, 0, s->first, &reader);
    if (e != OK)
        return e;
    while ((e = log_reader_next(reader, &view)) == OK && view.record.sequence <= s->last) {
        if (view.record.kind == LOG_EVENT)
            count_event(k, s, &view);
        if ((++seen & 4095) == 0 && k->progress && !k->progress(k->arg, k->done + view.offset, k->total)) {
            e = ERR_CANCELED;
            break;
        }
    }
    log_reader_free(reader);
    k->done += s->bytes;
    return e == ERR_PENDING ? OK : e;
}

static bool any_mixed(const struct look *k, const struct log_inspect_segment *s)
{
    for (size_t n = 0; n < k->cursor_count; n++)
        if (mixed(&k->cursors[n], s))
            return true;
    return false;
}

static enum err count_backlogs(struct look *k)
{
    const struct log_inspect *i = k->out;
    enum err e = OK;
    for (size_t n = 0; n < i->segment_count; n++)
        if (any_mixed(k, &i->segments[n]))
            k->total += i->segments[n].bytes;
    for (size_t n = 0, u = 0; e == OK && n < i->segment_count; n++) {
        const struct log_inspect_segment *s = &i->segments[n];
        if (any_mixed(k, s))
            e = read_segment(k, s);
        for (; u < k->usage_count && k->usages[u].segment == n; u++) {
            struct cursor *c;
            for (size_t left = cursors_of(k, k->usages[u].channel, &c); left-- > 0; c++)
                if (c->ledger && c->seen.from <= s->first && !mixed(c, s))
                    add(c, k->usages[u].events, k->usages[u].bytes, k->usages[u].first_wall_ns);
        }
    }
    return e;
}

/* ---- all of it ---- */

static int by_channel_number(const void *a, const void *b)
{
    const struct cursor *x = a, *y = b;
    return (x->channel > y->channel) - (x->channel < y->channel);
}

static int channels_by_name(const void *a, const void *b)
{
    return strcmp(((const struct log_inspect_channel *)a)->name, ((const struct log_inspect_channel *)b)->name);
}

static int cursors_by_name(const void *a, const void *b)
{
    const struct log_inspect_cursor *x = a, *y = b;
    const int n = strcmp(x->channel, y->channel);
    return n ? n : strcmp(x->name, y->name);
}

static enum err fill(struct look *k, bool backlogs)
{
    struct log_inspect *i = k->out;
    enum err e = OK;
    log_store_each_object(k->store, visit_object, k);
    log_store_each_segment(k->store, visit_segment, k);
    if (k->no_memory)
        return ERR_NOMEM;
    measure_channels(k);
    if (k->cursor_count)
        qsort(k->cursors, k->cursor_count, sizeof *k->cursors, by_channel_number);
    if (i->channel_count)
        qsort(i->channels, i->channel_count, sizeof *i->channels, channels_by_name);
    for (size_t n = 0; n < k->cursor_count; n++)
        place_cursor(k, &k->cursors[n]);
    if (backlogs)
        e = count_backlogs(k);
    list_losses(k); /* also what was found while reading */
    i->committed = log_store_committed(k->store);
    i->first = i->segment_count ? i->segments[0].first : 0;
    return k->no_memory ? ERR_NOMEM : e;
}

/* The cursors' public part goes over to `out`, with what it owns. */
static enum err give_cursors(struct look *k)
{
    struct log_inspect *i = k->out;
    assert(!i->cursors && i->cursor_count == 0);
    i->cursors = k->cursor_count ? calloc(k->cursor_count, sizeof *i->cursors) : NULL;
    if (k->cursor_count && !i->cursors)
        return ERR_NOMEM;
    for (; i->cursor_count < k->cursor_count; i->cursor_count++) {
        i->cursors[i->cursor_count] = k->cursors[i->cursor_count].seen;
        k->cursors[i->cursor_count].seen.name = NULL;
    }
    if (i->cursor_count)
        qsort(i->cursors, i->cursor_count, sizeof *i->cursors, cursors_by_name);
    return OK;
}

static enum err look_once(const char *dir, bool backlogs, log_progress_fn *progress, void *arg,
                          struct log_inspect **out, struct diag *d)
{
    char path[INSPECT_PATH_MAX];
    unsigned char id[LOG_ID_BYTES] = {0};
    struct look k = {.progress = progress, .arg = arg};
    assert(dir && out);
    enum err e = inspect_open(dir, path, &k.store, d);
    if (e != OK)
        return e;
    k.out = calloc(1, sizeof *k.out);
    e = k.out ? fill(&k, backlogs) : ERR_NOMEM;
    if (e == OK)
        e = give_cursors(&k);
    if (e == OK) {
        const bool known = log_format_id(disk_system(), path, id, NULL) == OK;
        for (size_t n = 0; known && n < LOG_ID_BYTES; n++)
            snprintf(k.out->id + 2 * n, 3, "%02x", id[n]);
        k.out->format = LOG_FORMAT;
        k.out->dir = strdup(path);
        e = k.out->dir ? OK : ERR_NOMEM;
    }
    for (size_t n = 0; n < k.cursor_count; n++) {
        free((char *)k.cursors[n].seen.name);
        slot_ledger_free(k.cursors[n].ledger);
    }
    free(k.cursors);
    free(k.usages);
    log_store_close(k.store);
    if (e == OK)
        *out = k.out;
    else
        log_inspect_free(k.out);
    return e == ERR_NOMEM    ? diag_set(d, e, "out of memory")
           : e == ERR_IO     ? diag_set(d, e, "%s cannot be read", path)
           : e == ERR_CLOSED ? diag_set(d, e, "segments of %s went while they were read; try again", path)
                             : e;
}

enum err log_inspect(const char *dir, bool backlogs, log_progress_fn *progress, void *arg, struct log_inspect **out,
                     struct diag *d)
{
    enum err e = ERR_CLOSED;
    for (int looks = 0; e == ERR_CLOSED && looks < LOOKS_MAX; looks++)
        e = look_once(dir, backlogs, progress, arg, out, d);
    return e;
}

void log_inspect_free(struct log_inspect *i)
{
    if (!i)
        return;
    for (size_t n = 0; n < i->channel_count; n++)
        free((char *)i->channels[n].name);
    for (size_t n = 0; n < i->cursor_count; n++)
        free((char *)i->cursors[n].name);
    for (size_t n = 0; n < i->loss_count; n++)
        free((char *)i->losses[n].why);
    free(i->segments);
    free(i->channels);
    free(i->cursors);
    free(i->losses);
    free((char *)i->dir);
    free(i);
}
