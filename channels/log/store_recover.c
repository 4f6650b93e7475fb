/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening what is there: which segments belong to this log, what each covers, and where the log ends. Nothing in a
 * segment's file is changed, so a crash here leaves what was there before (S7); the few bytes that may never have
 * reached the disk are written once more as they are.
 */
#include "store_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the files ---- */

struct found { /* one file */
    struct log_segment *segment;
    bool bad_head, cut;
};

static enum err read_head(struct log_store *s, uint64_t name, struct log_head *head, uint64_t *size, bool *bad,
                          struct diag *d)
{
    char path[STORE_PATH_MAX];
    struct disk_file *f;
    unsigned char bytes[LOG_SEGMENT_HEAD] = {0};
    size_t got = 0;
    const struct disk_ops *ops = s->disk->ops;
    assert(name > 0 && head && size && bad);
    enum err e = ops->open(s->disk, log_store_path(s, name, ".seg", path), DISK_READ, &f, d);
    if (e)
        return e;
    e = ops->size(s->disk, f, size, d);
    if (!e)
        e = ops->read(s->disk, f, bytes, sizeof bytes, 0, &got, d);
    ops->close(s->disk, f);
    if (e)
        return e;
    struct diag why;
    e = log_head_decode(bytes, head, &why);
    if (e == ERR_UNSUPPORTED)
        return diag_set(d, e, "%s: %s; use a newer one", path, why.text);
    *bad = e != OK;
    if (*bad) {
        log_store_say(s, STORE_ERROR, "LogSegmentBad", "%s: %s; its records are read by its name", path, why.text);
        *head = (struct log_head){.first = name, .size = (*size + 4095) & ~(uint64_t)4095};
        memcpy(head->id, s->id, LOG_ID_BYTES);
    }
    return OK;
}

/* found->segment stays NULL for a file that is none of this log. */
static enum err take_file(struct log_store *s, uint64_t name, struct found *found, struct diag *d)
{
    struct log_head head;
    uint64_t size;
    assert(!found->segment);
    enum err e = read_head(s, name, &head, &size, &found->bad_head, d);
    if (e == ERR_NOTFOUND && s->read_only)
        return OK; /* the log is in use, and has just let go of it */
    if (e)
        return e;
    if (memcmp(head.id, s->id, LOG_ID_BYTES)) {
        log_store_say(s, STORE_ERROR, "LogSegmentBad", "%s/%020" PRIu64 ".seg is of another log; it is left alone",
                      s->dir, name);
        return OK;
    }
    if (head.first != name)
        log_store_say(s, STORE_WARN, "LogSegmentBad",
                      "%s/%020" PRIu64 ".seg holds the records from %" PRIu64 " on; it is read as what it is", s->dir,
                      name, head.first);
    found->segment = log_segment_new(&head, name);
    if (!found->segment)
        return diag_set(d, ERR_NOMEM, "no memory to open %s", s->dir);
    found->cut = size < head.size;
    if (found->cut) {
        log_store_say(s, STORE_ERROR, "LogSegmentBad",
                      "%s/%020" PRIu64 ".seg has %" PRIu64 " bytes of %" PRIu64 ": somebody cut it", s->dir, name, size,
                      head.size);
        found->segment->size = size;
    }
    return OK;
}

static int by_first(const void *a, const void *b)
{
    const struct log_segment *x = ((const struct found *)a)->segment, *y = ((const struct found *)b)->segment;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    /* Of two files with the same records the one with the right name comes first. */
    return (x->name != x->first) - (y->name != y->first);
}

static void discard(struct log_store *s, struct found *f, bool remove)
{
    char path[STORE_PATH_MAX];
    assert(f->segment && f->segment->refs == 1);
    if (remove && !s->read_only) {
        (void)!s->disk->ops->unlink(s->disk, log_store_path(s, f->segment->name, ".seg", path), NULL);
        (void)!s->disk->ops->unlink(s->disk, log_store_path(s, f->segment->name, ".idx", path), NULL);
    }
    log_segment_unref(s, f->segment);
    f->segment = NULL;
}

/* Sorts out what lies in another's place: files that a compacted segment has taken the place of, and copies. Returns
 * how many stay. */
static size_t order(struct log_store *s, struct found *found, size_t count)
{
    size_t kept = 0;
    qsort(found, count, sizeof *found, by_first);
    for (size_t i = 0; i < count; i++) {
        struct log_segment *g = found[i].segment, *before = kept ? found[kept - 1].segment : NULL;
        if (before && before->first == g->first) {
            log_store_say(s, STORE_WARN, "LogSegmentBad",
                          "%s/%020" PRIu64 ".seg is a copy of another; it is left alone", s->dir, g->name);
            discard(s, &found[i], false);
        } else if (before && before->compacted && g->first <= before->last) {
            discard(s, &found[i], true);
        } else {
            found[kept++] = found[i];
        }
    }
    for (size_t i = 0; i + 1 < kept; i++)
        if (!found[i].segment->compacted)
            found[i].segment->last = found[i + 1].segment->first - 1;
    for (size_t i = 0; i + 1 < kept; i++)
        assert(found[i].segment->first <= found[i].segment->last &&
               found[i].segment->last < found[i + 1].segment->first);
    return kept;
}

/* ---- the records ---- */

struct scan {
    uint64_t certain;   /* in: all up to this sequence was on the disk once: what is missing of it is lost */
    uint64_t next;      /* out: one more than the last sequence that counts, lost ones included */
    uint64_t uncertain; /* out: where in the file what is not certain begins */
    bool dirty;         /* out: something is wrong: nothing more may be written there */
    bool torn;          /* out: what lies behind the last record is no record that counts */
    enum log_kind kind; /* out: of the last record */
};

/* What the good records of the newest segment say was committed. A segment gets its name when its snapshot is synced:
 * its first record is certain, so that whatever follows gets another name. */
static enum err find_certain(struct log_walk *w, struct disk_file *f, struct log_segment *g, uint64_t *certain)
{
    struct log_view v;
    *certain = g->first;
    log_walk_begin(w, f, LOG_SEGMENT_HEAD, g->size, g->first, g->first + g->size / LOG_RECORD_HEAD);
    enum err e;
    while ((e = log_walk_next(w, &v)) == OK) {
        if (v.record.committed > *certain)
            *certain = v.record.committed;
    }
    assert(*certain >= g->first);
    return e == ERR_NOTFOUND ? OK : e;
}

/* Names what is missing between `next` and `sequence`. */
static void gap(struct log_store *s, const struct log_segment *g, uint64_t next, uint64_t sequence)
{
    char why[120];
    assert(next >= g->first);
    snprintf(why, sizeof why, "damaged in %020" PRIu64 ".seg", g->name);
    if (sequence > next)
        log_store_lose(s, next, sequence - 1, why);
}

static enum err scan_segment(struct log_store *s, struct log_walk *w, struct disk_file *f, struct log_segment *g,
                             struct scan *scan)
{
    struct log_view v;
    uint64_t most = g->last == UINT64_MAX ? g->first + g->size / LOG_RECORD_HEAD : g->last;
    log_index_fini(&g->index);
    g->index.wall_max = INT64_MIN;
    enum err e = log_index_reserve_blocks(&g->index, g->size < LOG_SEGMENT_HEAD ? LOG_SEGMENT_HEAD : g->size);
    if (e)
        return e;
    scan->next = g->first;
    g->used = LOG_SEGMENT_HEAD;
    log_walk_begin(w, f, LOG_SEGMENT_HEAD, g->size, g->first, most);
    while ((e = log_walk_next(w, &v)) == OK) {
        if (w->damaged || (!g->compacted && v.record.sequence != scan->next)) {
            scan->dirty = true;
            scan->torn = v.record.sequence - 1 > scan->certain;
            if (scan->torn)
                break;
            gap(s, g, scan->next, v.record.sequence);
        }
        if (v.record.kind == LOG_EVENT && (e = log_index_reserve(&g->index, v.record.channel)) != OK)
            return e;
        log_index_add(&g->index, &v.record, v.offset);
        if (v.record.sequence <= scan->certain)
            scan->uncertain = w->offset;
        scan->next = v.record.sequence + 1;
        scan->kind = v.record.kind;
        g->used = w->offset;
    }
    if (e && e != ERR_NOTFOUND)
        return e;
    scan->torn |= w->damaged && e == ERR_NOTFOUND;
    scan->dirty |= scan->torn;
    if (scan->next <= scan->certain) {
        gap(s, g, scan->next, scan->certain + 1);
        scan->next = scan->certain + 1;
    }
    assert(scan->uncertain <= g->used && scan->next > scan->certain);
    return OK;
}

/* ---- full segments ---- */

static enum err read_sealed(struct log_store *s, struct log_walk *w, struct found *found, uint64_t last, struct diag *d)
{
    struct log_segment *g = found->segment;
    assert(last != UINT64_MAX);
    enum err e = found->cut ? ERR_NOTFOUND : log_sidecar_read(s, g);
    if (e == ERR_NOMEM)
        return diag_set(d, e, "no memory to open %s", s->dir);
    if (!e && g->last == last)
        return OK;
    g->last = last;
    char path[STORE_PATH_MAX];
    struct disk_file *f;
    e = s->disk->ops->open(s->disk, log_store_path(s, g->name, ".seg", path), DISK_READ, &f, d);
    if (e)
        return e;
    struct scan scan = {.certain = g->last, .dirty = found->cut, .uncertain = LOG_SEGMENT_HEAD};
    e = scan_segment(s, w, f, g, &scan);
    s->disk->ops->close(s->disk, f);
    if (e)
        return diag_set(d, e, "cannot read %s: %s", path, err_name(e));
    if (!s->read_only)
        (void)!log_sidecar_write(s, g); /* else it is scanned again the next time */
    return OK;
}

/* ---- the newest ---- */

/* What is not certain to be on the disk is made so: written again, since a failed sync may have left it in memory only
 * and marked as done. */
static enum err settle(struct log_store *s, struct disk_file *f, const struct log_segment *g, uint64_t from,
                       struct diag *d)
{
    const struct disk_ops *ops = s->disk->ops;
    assert(!s->read_only && from >= LOG_SEGMENT_HEAD && from <= g->used);
    unsigned char *piece = from < g->used ? malloc(STORE_SCAN_BYTES) : NULL;
    if (from < g->used && !piece)
        return diag_set(d, ERR_NOMEM, "no memory to open %s", s->dir);
    enum err e = OK;
    while (from < g->used && !e) {
        size_t n = g->used - from < STORE_SCAN_BYTES ? (size_t)(g->used - from) : STORE_SCAN_BYTES;
        size_t got = 0;
        e = ops->read(s->disk, f, piece, n, from, &got, d);
        if (!e && got < n)
            e = diag_set(d, ERR_IO, "the end of the newest segment in %s cannot be read twice", s->dir);
        if (!e)
            e = ops->write(s->disk, f, piece, n, from, d);
        from += n;
    }
    free(piece);
    /* Where even writing over takes room, a full disk does not keep the log from being opened: what is waiting in it
     * has to go out for the disk to become less full. */
    return e && e != ERR_FULL ? e : ops->sync(s->disk, f, d);
}

/* How many records went with what is gone behind the last one, nobody knows: one is named. */
static void lose_rest(struct log_store *s, struct scan *scan, const char *format, uint64_t name)
{
    char why[120];
    assert(scan->next > 0);
    snprintf(why, sizeof why, "%s %020" PRIu64 ".seg: this one, and how many more is not known", format, name);
    log_store_lose(s, scan->next, scan->next, why);
    scan->next++;
    scan->dirty = true;
}

static enum err scan_newest(struct log_store *s, struct log_walk *w, struct found *found, struct disk_file *f,
                            struct scan *scan, struct diag *d)
{
    struct log_segment *g = found->segment;
    assert(!g->compacted && g->last == UINT64_MAX);
    if (!found->cut && log_sidecar_read(s, g) == OK) { /* which was written when there was one behind it */
        *scan = (struct scan){.next = g->last + 1, .uncertain = g->used};
        lose_rest(s, scan, "a segment is gone that came behind", g->name);
        return OK;
    }
    *scan = (struct scan){.dirty = found->bad_head, .uncertain = LOG_SEGMENT_HEAD};
    enum err e = find_certain(w, f, g, &scan->certain);
    if (!e)
        e = scan_segment(s, w, f, g, scan);
    if (e)
        return diag_set(d, e, "cannot read %s/%020" PRIu64 ".seg: %s", s->dir, g->name, err_name(e));
    if (scan->torn)
        log_store_say(s, STORE_WARN, "LogTailCut",
                      "%s/%020" PRIu64 ".seg: what lies behind byte %" PRIu64
                      " was being written when the log ended; it is cut",
                      s->dir, g->name, g->used);
    if (found->cut)
        lose_rest(s, scan, "somebody cut", g->name);
    return OK;
}

static enum err read_newest(struct log_store *s, struct log_walk *w, struct found *found, struct diag *d)
{
    struct log_segment *g = found->segment;
    char path[STORE_PATH_MAX];
    struct disk_file *f;
    struct scan scan;
    const struct disk_ops *ops = s->disk->ops;
    enum disk_open how = s->read_only ? DISK_READ : DISK_WRITE;
    enum err e = ops->open(s->disk, log_store_path(s, g->name, ".seg", path), how, &f, d);
    if (e)
        return e;
    e = scan_newest(s, w, found, f, &scan, d);
    if (!e && !s->read_only)
        e = settle(s, f, g, scan.uncertain, d);
    if (e || scan.dirty || s->read_only) {
        ops->close(s->disk, f);
        f = NULL;
    }
    if (e)
        return e;
    assert(scan.next > g->first);
    s->next = scan.next;
    s->marked = scan.kind == LOG_MARK;
    s->tail_file = f;
    atomic_store(&g->visible, g->used);
    if (f) {
        s->tail = g;
    } else {
        g->last = scan.next - 1;
        atomic_store(&g->end, g->used);
        log_index_drop_blocks(&g->index);
    }
    return OK;
}

/* Takes the next one in, of which `before` is the one before. */
static enum err read_one(struct log_store *s, struct log_walk *w, struct found *found, bool newest, struct diag *d)
{
    struct log_segment *g = found->segment;
    const struct log_segment *before = s->segment_count ? s->segments[s->segment_count - 1] : NULL;
    if (before && before->last + 1 < g->first)
        log_store_lose(s, before->last + 1, g->first - 1, "a segment is missing");
    enum err e = log_segments_reserve(s);
    if (e)
        return diag_set(d, e, "no memory to open %s", s->dir);
    log_segments_push(s, g);
    if (newest && !g->compacted)
        return read_newest(s, w, found, d);
    e = read_sealed(s, w, found, g->last, d);
    if (e)
        return e;
    atomic_store(&g->visible, g->used);
    atomic_store(&g->end, g->used);
    log_index_drop_blocks(&g->index);
    s->next = g->last + 1;
    return OK;
}

enum err log_recover(struct log_store *s, const uint64_t *names, size_t count, struct diag *d)
{
    assert(s->segment_count == 0 && !s->tail_file);
    struct found *found = calloc(count ? count : 1, sizeof *found);
    if (!found)
        return diag_set(d, ERR_NOMEM, "no memory to open %s", s->dir);
    size_t taken = 0;
    enum err e = OK;
    for (size_t i = 0; i < count && !e; i++) {
        e = take_file(s, names[i], &found[taken], d);
        taken += found[taken].segment != NULL;
    }
    size_t kept = order(s, found, taken), done = 0;
    struct log_walk w;
    log_walk_init(&w, s, STORE_SCAN_BYTES);
    s->next = 1;
    s->marked = true;
    while (done < kept && !e) {
        e = read_one(s, &w, &found[done], done + 1 == kept, d);
        done += s->segment_count > done;
    }
    for (size_t i = done; i < kept; i++)
        log_segment_unref(s, found[i].segment);
    log_walk_fini(&w);
    free(found);
    s->durable = s->next - 1;
    atomic_store(&s->committed, s->next - 1);
    return e ? e : log_catalogue_recover(s, d);
}
