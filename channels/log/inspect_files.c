/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a log lies and which files it is made of, for who only looks.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "inspect.h"
#include "store_parts.h"

enum err inspect_path(char out[INSPECT_PATH_MAX], const char *dir, const char *name, struct diag *d)
{
    const int n = snprintf(out, INSPECT_PATH_MAX, "%s/%s", dir, name);
    assert(n > 0);
    return n < INSPECT_PATH_MAX ? OK : diag_set(d, ERR_INVALID, "the path is too long: %.200s", dir);
}

char *inspect_text(struct slice name)
{
    char *text = malloc(name.len + 1);
    if (!text)
        return NULL;
    if (name.len)
        memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return text;
}

/* ---- where ---- */

#define OPEN_TRIES 3

static void count_segment(void *arg, const char *name)
{
    *(size_t *)arg += log_file_number(name, ".seg") != 0;
}

/* OK: there is a log, damaged as it may be. ERR_NOTFOUND; ERR_INVALID: it is there and no log. */
static enum err is_log(struct disk *disk, const char *dir, struct diag *d)
{
    char text[LOG_FORMAT_BYTES];
    size_t len, segments = 0;
    enum err e = log_format_read(disk, dir, text, &len, d);
    if (e == OK && slice_has_prefix(slice_of(text, len), SLICE(LOG_FORMAT_MAGIC)))
        return OK;
    if (e != OK && e != ERR_NOTFOUND)
        return e;
    e = disk->ops->list(disk, dir, count_segment, &segments, d);
    return e != OK ? e : segments ? OK : ERR_INVALID;
}

enum err inspect_find(struct disk *disk, const char *dir, char out[INSPECT_PATH_MAX], struct diag *d)
{
    enum err e = is_log(disk, dir, d);
    if (e == OK) {
        const int n = snprintf(out, INSPECT_PATH_MAX, "%s", dir);
        return n < INSPECT_PATH_MAX ? OK : diag_set(d, ERR_INVALID, "the path is too long: %.200s", dir);
    }
    if (e == ERR_NOTFOUND)
        return diag_set(d, e, "there is no directory %s", dir);
    if (e != ERR_INVALID)
        return e;
    e = inspect_path(out, dir, "log", d);
    if (e == OK)
        e = is_log(disk, out, d);
    if (e == ERR_NOTFOUND || e == ERR_INVALID)
        return diag_set(d, ERR_NOTFOUND, "there is no log in %s, nor in a folder log below it", dir);
    return e;
}

enum err inspect_open(const char *dir, char path[INSPECT_PATH_MAX], struct log_store **out, struct diag *d)
{
    const struct log_store_options options = {
        .disk = disk_system(), .clock = clock_system(), .dir = path, .read_only = true};
    struct log_store *s = NULL;
    assert(dir && path && out);
    enum err e = inspect_find(options.disk, dir, path, d);
    for (int tries = 0; e == OK && tries < OPEN_TRIES; tries++) {
        log_store_close(s); /* one that misses something perhaps looked while a segment began or went */
        s = NULL;
        e = log_store_open(&options, &s, d);
        if (e == ERR_NOTFOUND && tries + 1 < OPEN_TRIES)
            e = OK;
        else if (e != OK || log_store_lost(s) == 0)
            break;
    }
    if (e == OK)
        *out = s;
    return e;
}

/* ---- which files ---- */

static void visit(void *arg, const char *name)
{
    struct inspect_files *files = arg;
    const size_t len = strlen(name);
    const uint64_t first = log_file_number(name, ".seg");
    if (first) {
        if (!array_reserve(&files->segments, &files->cap, files->count + 1, sizeof *files->segments)) {
            files->no_memory = true;
            return;
        }
        struct inspect_file *f = &files->segments[files->count++];
        snprintf(f->name, sizeof f->name, "%s", name);
        f->first = first;
        return;
    }
    if (log_file_number(name, ".idx") || strcmp(name, "lock") == 0 || strcmp(name, "format") == 0 ||
        strcmp(name, "lost+found") == 0 || (len > 4 && strcmp(name + len - 4, ".tmp") == 0) ||
        files->strange_count == INSPECT_STRANGE_MAX)
        return;
    snprintf(files->strange[files->strange_count++], sizeof files->strange[0], "%s", name);
}

static int by_first(const void *a, const void *b)
{
    const struct inspect_file *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

enum err inspect_list(struct disk *disk, const char *dir, struct inspect_files *out, struct diag *d)
{
    struct inspect_files files = {0};
    assert(dir && out);
    enum err e = disk->ops->list(disk, dir, visit, &files, d);
    if (e == OK && files.no_memory)
        e = diag_set(d, ERR_NOMEM, "out of memory");
    if (e != OK) {
        inspect_files_fini(&files);
        return e;
    }
    if (files.count)
        qsort(files.segments, files.count, sizeof *files.segments, by_first);
    *out = files;
    return OK;
}

void inspect_files_fini(struct inspect_files *f)
{
    free(f->segments);
    *f = (struct inspect_files){0};
}
