/* SPDX-License-Identifier: Apache-2.0
 *
 * The store. Here: opening and closing it, what it says, what it lost; and how all of it works. The byte layout is
 * record.h's, promises S1 to S7 are store.h's, R1 to R3 of reclaiming too.
 *
 * Writing (store_append.c). Records go behind the last one of the newest segment, many in one write; commit is one
 * fdatasync of that file. `durable` is the highest sequence of which a sync has told that all up to it is on the disk;
 * each record carries it as its `committed`. What a record says was committed was therefore synced before the record
 * was written. A mark is a record that only says so; it is written when the log is idle and at its end.
 *
 * A full segment is synced, then the next is made under another name: preallocated, head, the catalogue as it is now,
 * sync, rename, sync of the directory. Only then does a record go into it. So
 *
 *   C1  all segments but the newest were synced whole: what is missing in them was lost by the disk;
 *   C2  a segment that has its name has its head and its snapshot, synced;
 *   C3  a segment's records end where the next one's first sequence begins, whatever bytes follow there.
 *
 * After a roll the old segment gets its index (store_sidecar.c): so one that has an index had a segment behind it.
 *
 * Nobody truncates or overwrites. A byte of a segment is written once; the two exceptions change no meaning: opening
 * writes the end of the newest segment once more as it reads it, because the sync before may have failed and left the
 * pages in memory looking clean; and a write that met a full disk has its first head wiped. Where anything is wrong in
 * the newest segment, it is left as it is, and the next record begins a new one (C3 makes what lies behind void). So
 * there are no stale records that a later crash could bring to light, and a crash while opening changes nothing (S7).
 *
 * Opening (store_format.c, store_recover.c). Segments of this log are sorted by the first sequence in their heads. Full
 * ones are believed to be as their index says; without one they are read whole. The newest is read whole, twice: first
 * for the highest `committed` in any good record of it, however far behind damage: that much is `certain`. Then
 * from its beginning:
 *
 *   the record fits               it counts
 *   damage, then a good record n  if all before n is certain: a lost range, named, and n counts.
 *                                 else: the log ends here; what of the gap is certain is lost, named; the rest is cut
 *   damage or zeros to the end    the log ends here; likewise
 *
 * What a crash leaves, and what is found then:
 *
 *   between write and sync        any of the sectors: whole records in order up to the first that is torn. They count,
 *                                 though nobody was told so (S2), and are synced before anybody is
 *   after the sync                all of them (S1)
 *   while rolling                 NAME.tmp, thrown away; or the new segment with a snapshot and nothing behind it
 *   while reclaiming              a leftover whose sequences a compacted one covers: removed
 *   while writing an index        half of one: its checksum tells, and it is made again
 *   while opening                 what was there
 *
 * The catalogue (store_catalogue.c) is the newest segment's snapshot with the changes behind it. When the snapshot is
 * damaged, the segment before it is read first (S6). A cursor's record says what was settled of records that came
 * before it, in the same sequence (S4): losing the end of the log loses the cursor's record before what it speaks of.
 *
 * Reading (store_reader.c, store_walk.c). A reader has its own buffer and no more; it enters one segment at a time and
 * reads up to its `visible` byte, which commit moves (S3). Damage is passed over by looking for the next good record,
 * and named. Recovery reads with the same walker.
 *
 * A full disk: making the next segment fails, nothing has changed, and it is tried again with the next append. Blocks
 * were reserved when the segment was made, so that writes inside meet no full disk, except where the file system does
 * not keep that promise; then the segment is given up as described. Any other error of a write or sync ends all writing
 * (S5); reading goes on.
 */
#include "store_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "array.h"

void log_store_say(struct log_store *s, enum store_severity severity, const char *code, const char *format, ...)
{
    assert(code && format);
    if (!s->notice)
        return;
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->notice(s->arg, (int)severity, code, text);
}

enum err log_store_fail(struct log_store *s, const char *code, const struct diag *why)
{
    assert(why && code);
    log_store_lock(s);
    bool first = !atomic_load_explicit(&s->failed, memory_order_relaxed);
    if (first)
        s->why = *why;
    atomic_store_explicit(&s->failed, true, memory_order_release);
    log_store_unlock(s);
    if (first)
        log_store_say(s, STORE_ERROR, code, "%s; nothing more is written until the log is opened again", why->text);
    return ERR_IO;
}

bool log_store_failed(const struct log_store *s, struct diag *why)
{
    bool failed = atomic_load_explicit(&s->failed, memory_order_acquire);
    if (failed && why) {
        struct log_store *locked = (struct log_store *)s;
        log_store_lock(locked);
        *why = s->why;
        log_store_unlock(locked);
    }
    return failed;
}

/* ---- lost ranges ---- */

/* Takes off the range what is known already; the caller's range may be found by several readers, and in other pieces.
 */
static bool known(const struct log_store *s, uint64_t *first, uint64_t *last)
{
    for (size_t i = 0; i < s->lost_count; i++) {
        const struct log_lost *l = &s->lost[i];
        if (l->first <= *first && l->last >= *first)
            *first = l->last + 1;
        if (l->first <= *last && l->last >= *last)
            *last = l->first - 1;
        if (*first > *last)
            return true;
    }
    return false;
}

/* Without memory it is counted but not remembered. */
static void remember(struct log_store *s, const struct log_lost *lost)
{
    assert(lost->first <= lost->last);
    if (s->lost_count < STORE_LOST_REMEMBERED &&
        array_reserve(&s->lost, &s->lost_room, s->lost_count + 1, sizeof *s->lost))
        s->lost[s->lost_count++] = *lost;
}

bool log_store_lose(struct log_store *s, uint64_t first, uint64_t last, const char *why)
{
    assert(first > 0 && first <= last);
    log_store_lock(s);
    bool said = known(s, &first, &last);
    if (!said) {
        struct log_lost lost = {.first = first, .last = last};
        snprintf(lost.why, sizeof lost.why, "%s", why);
        s->lost_total += last - first + 1;
        remember(s, &lost);
    }
    log_store_unlock(s);
    if (!said)
        log_store_say(s, STORE_ERROR, "LogLost", "records %" PRIu64 " to %" PRIu64 " are lost: %s", first, last, why);
    return !said;
}

uint64_t log_store_lost(const struct log_store *s)
{
    struct log_store *locked = (struct log_store *)s;
    log_store_lock(locked);
    uint64_t total = s->lost_total;
    log_store_unlock(locked);
    return total;
}

bool log_store_lost_at(const struct log_store *s, size_t i, struct log_lost *out)
{
    struct log_store *locked = (struct log_store *)s;
    log_store_lock(locked);
    bool there = i < s->lost_count && i < LOG_LOST_KEPT;
    if (there)
        *out = s->lost[i];
    log_store_unlock(locked);
    return there;
}

/* ---- opening and closing ---- */

static struct log_store *store_new(const struct log_store_options *o)
{
    struct log_store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->dir = strdup(o->dir);
    if (!s->dir) {
        free(s);
        return NULL;
    }
    for (size_t len = strlen(s->dir); len > 1 && s->dir[len - 1] == '/'; len--)
        s->dir[len - 1] = 0; /* its parent is found by the last slash */
    uint64_t bytes = o->segment_bytes ? o->segment_bytes : LOG_SEGMENT_BYTES;
    if (bytes < LOG_SEGMENT_BYTES_MIN)
        bytes = LOG_SEGMENT_BYTES_MIN;
    s->segment_bytes = (bytes + 4095) & ~(uint64_t)4095;
    s->disk = o->disk;
    s->clock = o->clock;
    s->read_only = o->read_only;
    s->notice = o->notice;
    s->arg = o->arg;
    pthread_mutex_init(&s->lock, NULL);
    log_catalogue_init(&s->catalogue);
    return s;
}

static void store_free(struct log_store *s)
{
    const struct disk_ops *ops = s->disk->ops;
    if (s->tail_file)
        ops->close(s->disk, s->tail_file);
    if (s->spare)
        ops->close(s->disk, s->spare);
    for (size_t i = 0; i < s->segment_count; i++) {
        assert(s->segments[i]->readers == 0);
        log_segment_unref(s, s->segments[i]);
    }
    if (s->lock_file)
        ops->close(s->disk, s->lock_file);
    log_catalogue_fini(&s->catalogue);
    pthread_mutex_destroy(&s->lock);
    free(s->segments);
    free(s->lost);
    free(s->buffer);
    free(s->dir);
    free(s);
}

static enum err open_dir(struct log_store *s, struct diag *d)
{
    char path[STORE_PATH_MAX];
    if (s->read_only)
        return OK;
    enum err e = s->disk->ops->make_dir(s->disk, s->dir, d);
    if (e)
        return e;
    snprintf(path, sizeof path, "%s/lock", s->dir);
    return s->disk->ops->lock(s->disk, path, &s->lock_file, d);
}

enum err log_store_open(const struct log_store_options *options, struct log_store **out, struct diag *d)
{
    assert(options->disk && options->clock && options->dir && *options->dir && out);
    /* Room for every name that is made in it. */
    if (strlen(options->dir) > STORE_PATH_MAX - 64)
        return diag_set(d, ERR_INVALID, "the path of the log's directory is too long");
    struct log_store *s = store_new(options);
    if (!s)
        return diag_set(d, ERR_NOMEM, "no memory to open %s", options->dir);
    uint64_t *names = NULL;
    size_t count = 0;
    enum err e = open_dir(s, d);
    if (!e)
        e = log_format_open(s, &names, &count, d);
    if (!e)
        e = log_recover(s, names, count, d);
    free(names);
    if (e) {
        store_free(s);
        return e;
    }
    *out = s;
    return OK;
}

void log_store_close(struct log_store *s)
{
    if (!s)
        return;
    if (!s->read_only)
        (void)!log_store_mark(s); /* without it the end is less certain, not less there */
    store_free(s);
}
