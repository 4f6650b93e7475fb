/* SPDX-License-Identifier: Apache-2.0
 *
 * `log_verify`: walks over the files of a log, oldest first. From the first segment on every sequence is covered by one
 * (R1): a gap between two files is a loss, and a file whose sequences an earlier, compacted one has is a leftover (R2).
 */
#include "verify.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "inspect.h"
#include "store_parts.h"

/* ---- findings ---- */

static void tell(struct verify *v, enum log_verdict verdict, uint64_t first, uint64_t last, const char *place,
                 const char *text)
{
    const struct log_finding f = {.verdict = verdict, .first = first, .last = last, .place = place, .text = text};
    assert(last >= first);
    if (verdict == LOG_VERDICT_DAMAGE)
        v->sums.damages++;
    else
        v->sums.notes++;
    v->found(v->arg, &f);
}

static void put_place(char *out, size_t size, const char *file, uint64_t offset)
{
    if (offset)
        snprintf(out, size, "%s, byte %llu", file, (unsigned long long)offset);
    else
        snprintf(out, size, "%s", file);
}

void verify_say(struct verify *v, enum log_verdict verdict, uint64_t first, uint64_t last, const char *file,
                uint64_t offset, const char *format, ...)
{
    char place[96], text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_place(place, sizeof place, file, offset);
    tell(v, verdict, first, last, place, text);
}

enum err verify_doubt(struct verify *v, uint64_t first, uint64_t last, const char *file, uint64_t offset,
                      const char *text)
{
    assert(first > 0 && last >= first);
    if (!array_reserve(&v->doubts, &v->doubt_cap, v->doubt_count + 1, sizeof *v->doubts))
        return ERR_NOMEM;
    struct verify_doubt *q = &v->doubts[v->doubt_count++];
    q->first = first;
    q->last = last;
    put_place(q->place, sizeof q->place, file, offset);
    snprintf(q->text, sizeof q->text, "%s", text);
    return OK;
}

void verify_committed(struct verify *v, uint64_t committed)
{
    size_t kept = 0;
    for (size_t i = 0; i < v->doubt_count; i++) {
        const struct verify_doubt *q = &v->doubts[i];
        if (q->first <= committed)
            tell(v, LOG_VERDICT_DAMAGE, q->first, q->last, q->place, q->text);
        else
            v->doubts[kept++] = *q;
    }
    v->doubt_count = kept;
}

enum err verify_step(struct verify *v, uint64_t bytes)
{
    v->done += bytes;
    if (v->done > v->total)
        v->total = v->done; /* a segment that has come meanwhile */
    return v->progress && !v->progress(v->arg, v->done, v->total) ? ERR_CANCELED : OK;
}

/* ---- files ---- */

enum err verify_open(const struct verify *v, const char *name, struct disk_file **out, struct diag *d)
{
    char path[INSPECT_PATH_MAX];
    enum err e = inspect_path(path, v->dir, name, d);
    return e == OK ? v->disk->ops->open(v->disk, path, DISK_READ, out, d) : e;
}

static enum err measure(struct verify *v, const struct inspect_files *files, bool newest_only, struct diag *d)
{
    struct disk_file *f;
    uint64_t size;
    for (size_t i = newest_only && files->count ? files->count - 1 : 0; i < files->count; i++) {
        enum err e = verify_open(v, files->segments[i].name, &f, d);
        if (e == ERR_NOTFOUND)
            continue;
        if (e != OK)
            return e;
        e = v->disk->ops->size(v->disk, f, &size, d);
        v->disk->ops->close(v->disk, f);
        if (e != OK)
            return e;
        v->total += size;
    }
    return OK;
}

/* The id that the newest whole head has. */
static enum err id_of_heads(struct verify *v, const struct inspect_files *files, struct diag *d)
{
    for (size_t i = files->count; i-- > 0;) {
        unsigned char bytes[LOG_SEGMENT_HEAD];
        struct log_head head;
        struct disk_file *f;
        size_t got;
        enum err e = verify_open(v, files->segments[i].name, &f, d);
        if (e == ERR_NOTFOUND)
            continue;
        if (e != OK)
            return e;
        e = v->disk->ops->read(v->disk, f, bytes, sizeof bytes, 0, &got, d);
        v->disk->ops->close(v->disk, f);
        if (e != OK)
            return e;
        if (got == sizeof bytes && log_head_decode(bytes, &head, NULL) == OK) {
            memcpy(v->id, head.id, LOG_ID_BYTES);
            return OK;
        }
    }
    return diag_set(d, ERR_CORRUPT, "%s: no segment has a whole head, so nothing in it can be read", v->dir);
}

static enum err identify(struct verify *v, const struct inspect_files *files, struct diag *d)
{
    struct diag why = {0};
    enum err e = log_format_id(v->disk, v->dir, v->id, &why);
    if (e == ERR_UNSUPPORTED && d)
        *d = why;
    if (e != ERR_CORRUPT && e != ERR_NOTFOUND)
        return e;
    verify_say(v, LOG_VERDICT_DAMAGE, 0, 0, "format", 0, "%s", e == ERR_NOTFOUND ? "the file is missing" : why.text);
    return id_of_heads(v, files, d);
}

static enum err walk(struct verify *v, bool newest_only, struct diag *d)
{
    struct inspect_files files;
    enum err e = inspect_list(v->disk, v->dir, &files, d);
    if (e != OK)
        return e;
    for (size_t i = 0; i < files.strange_count; i++)
        verify_say(v, LOG_VERDICT_NOTE, 0, 0, files.strange[i], 0, "it is none of the log's files");
    e = identify(v, &files, d);
    if (e == OK)
        e = measure(v, &files, newest_only, d);
    for (size_t i = 0; e == OK && i < files.count; i++) {
        const bool newest = i + 1 == files.count;
        e = verify_segment(v, files.segments[i].name, newest ? 0 : files.segments[i + 1].first, newest_only && !newest,
                           d);
    }
    for (size_t i = 0; e == OK && i < v->doubt_count; i++) {
        const struct verify_doubt *q = &v->doubts[i];
        char text[300];
        snprintf(text, sizeof text, "%s; nobody was told that it is safe, and the server cuts it off at its next start",
                 q->text);
        tell(v, LOG_VERDICT_NOTE, q->first, q->last, q->place, text);
    }
    inspect_files_fini(&files);
    return e;
}

enum err log_verify(const char *dir, bool newest_only, void (*found)(void *arg, const struct log_finding *f),
                    log_progress_fn *progress, void *arg, struct log_verified *out, struct diag *d)
{
    assert(dir && found && out);
    struct verify v = {.disk = disk_system(), .found = found, .progress = progress, .arg = arg};
    char path[INSPECT_PATH_MAX];
    enum err e = inspect_find(v.disk, dir, path, d);
    if (e != OK)
        return e;
    v.dir = path;
    e = walk(&v, newest_only, d);
    free(v.doubts);
    if (e == ERR_NOMEM)
        return diag_set(d, e, "out of memory");
    if (e == OK)
        *out = v.sums;
    return e;
}
