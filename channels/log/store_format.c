/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory: what lies in it, and which log it is. DIR/format is three lines:
 *
 *     leat log 1                          and the version of the format
 *     0123456789abcdef0123456789abcdef    the log's id
 *     1a2b3c4d                            CRC32C of the two lines above, in hexadecimal
 *
 * Later formats keep these three lines, so that an older program can tell that it is too old. The id is also in each
 * segment's head, from where a damaged file is made good.
 */
#include "store_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "array.h"
#include "crc32c.h"
#include "prng.h"
#include "text.h"

/* ---- what lies there ---- */

struct listing {
    struct log_store *s;
    uint64_t *names;
    size_t count, room;
    bool others; /* something that is none of ours */
    bool format;
    enum err error;
};

static bool has_suffix(const char *name, const char *suffix)
{
    return slice_has_suffix(slice_str(name), slice_str(suffix));
}

uint64_t log_file_number(const char *name, const char *suffix)
{
    assert(name && suffix && *suffix == '.');
    if (strlen(name) != 20 + strlen(suffix) || !has_suffix(name, suffix) || strspn(name, "0123456789") != 20)
        return 0;
    unsigned long long number = strtoull(name, NULL, 10);
    return number > LOG_SEQUENCE_MAX ? 0 : number;
}

static void remember(struct listing *l, uint64_t name)
{
    assert(name > 0 && l->count <= l->room);
    if (!array_reserve(&l->names, &l->room, l->count + 1, sizeof *l->names)) {
        l->error = ERR_NOMEM;
        return;
    }
    l->names[l->count++] = name;
}

static void look(void *arg, const char *name)
{
    struct listing *l = arg;
    uint64_t segment = log_file_number(name, ".seg");
    if (segment)
        remember(l, segment);
    else if (!strcmp(name, "format"))
        l->format = true;
    else if (strcmp(name, "lock") && strcmp(name, "lost+found") && !has_suffix(name, ".tmp") &&
             !log_file_number(name, ".idx"))
        l->others = true;
}

/* What was being made when the last one ended. */
static void sweep(void *arg, const char *name)
{
    struct log_store *s = arg;
    char path[STORE_PATH_MAX];
    if (has_suffix(name, ".tmp") && snprintf(path, sizeof path, "%s/%s", s->dir, name) < (int)sizeof path)
        (void)!s->disk->ops->unlink(s->disk, path, NULL);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* ---- which log it is ---- */

static size_t format_text(const struct log_store *s, char out[LOG_FORMAT_BYTES])
{
    char hex[2 * LOG_ID_BYTES + 1];
    for (size_t i = 0; i < LOG_ID_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", s->id[i]);
    int n = snprintf(out, LOG_FORMAT_BYTES, LOG_FORMAT_MAGIC "%d\n%s\n", LOG_FORMAT, hex);
    n += snprintf(out + n, LOG_FORMAT_BYTES - (size_t)n, "%08x\n", crc32c(0, out, (size_t)n));
    assert(n < LOG_FORMAT_BYTES);
    return (size_t)n;
}

/* Written beside and renamed, so that there is a whole one or none. */
static enum err format_write(struct log_store *s, struct diag *d)
{
    char text[LOG_FORMAT_BYTES], made[STORE_PATH_MAX], path[STORE_PATH_MAX];
    size_t len = format_text(s, text);
    assert(!s->read_only);
    if (snprintf(made, sizeof made, "%s/format.tmp", s->dir) >= (int)sizeof made)
        return diag_set(d, ERR_INVALID, "the path is too long");
    snprintf(path, sizeof path, "%s/format", s->dir);
    const struct disk_ops *ops = s->disk->ops;
    struct disk_file *f;
    enum err e = ops->open(s->disk, made, DISK_CREATE, &f, d);
    if (e)
        return e;
    e = ops->write(s->disk, f, text, len, 0, d);
    if (!e)
        e = ops->sync(s->disk, f, d);
    ops->close(s->disk, f);
    if (!e)
        e = ops->rename(s->disk, made, path, d);
    return e ? e : ops->sync_dir(s->disk, s->dir, d);
}

enum err log_format_read(struct disk *disk, const char *dir, char text[LOG_FORMAT_BYTES], size_t *len, struct diag *d)
{
    char path[STORE_PATH_MAX];
    struct disk_file *f;
    if (snprintf(path, sizeof path, "%s/format", dir) >= (int)sizeof path)
        return diag_set(d, ERR_INVALID, "the path is too long");
    enum err e = disk->ops->open(disk, path, DISK_READ, &f, d);
    if (e)
        return e;
    *len = 0;
    e = disk->ops->read(disk, f, text, LOG_FORMAT_BYTES - 1, 0, len, d);
    disk->ops->close(disk, f);
    text[*len] = 0;
    return e;
}

static enum err format_parse(const char *text, size_t len, const char *dir, unsigned char id[LOG_ID_BYTES],
                             struct diag *d)
{
    struct slice rest = slice_of(text, len);
    struct slice first = slice_split(&rest, '\n'), hex = slice_split(&rest, '\n'), crc = slice_split(&rest, '\n');
    char wanted[9];
    size_t checked = first.len + hex.len + 2;
    if (checked > len || hex.len != 2 * LOG_ID_BYTES)
        return diag_set(d, ERR_CORRUPT, "it is cut");
    snprintf(wanted, sizeof wanted, "%08x", crc32c(0, text, checked));
    if (!slice_eq_str(crc, wanted) || !slice_has_prefix(first, SLICE(LOG_FORMAT_MAGIC)))
        return diag_set(d, ERR_CORRUPT, "its checksum does not hold");
    unsigned long format = strtoul(first.ptr + strlen(LOG_FORMAT_MAGIC), NULL, 10);
    if (format > LOG_FORMAT)
        return diag_set(d, ERR_UNSUPPORTED,
                        "%s is a log of format %lu, and this program knows up to %d; use a newer one", dir, format,
                        LOG_FORMAT);
    return hex_decode(hex, id, LOG_ID_BYTES) == OK ? OK : diag_set(d, ERR_CORRUPT, "it does not say which log this is");
}

enum err log_format_id(struct disk *disk, const char *dir, unsigned char id[LOG_ID_BYTES], struct diag *d)
{
    char text[LOG_FORMAT_BYTES];
    size_t len;
    assert(disk && dir && id);
    enum err e = log_format_read(disk, dir, text, &len, d);
    return e ? e : format_parse(text, len, dir, id, d);
}

/* The id in the newest head that is whole. */
static enum err id_from_segments(struct log_store *s, const struct listing *l, struct diag *d)
{
    for (size_t i = l->count; i > 0; i--) {
        char path[STORE_PATH_MAX];
        struct disk_file *f;
        unsigned char bytes[LOG_SEGMENT_HEAD];
        struct log_head head;
        size_t got = 0;
        enum err e = s->disk->ops->open(s->disk, log_store_path(s, l->names[i - 1], ".seg", path), DISK_READ, &f, d);
        if (e)
            return e;
        e = s->disk->ops->read(s->disk, f, bytes, sizeof bytes, 0, &got, d);
        s->disk->ops->close(s->disk, f);
        if (e)
            return e;
        if (got == sizeof bytes && log_head_decode(bytes, &head, NULL) == OK) {
            memcpy(s->id, head.id, LOG_ID_BYTES);
            return OK;
        }
    }
    return ERR_NOTFOUND;
}

static enum err make_id(struct log_store *s, struct diag *d)
{
    struct prng prng;
    prng_seed_system(&prng);
    for (size_t i = 0; i < LOG_ID_BYTES; i += 8) {
        uint64_t word = prng_next(&prng);
        memcpy(s->id + i, &word, 8);
    }
    /* The directory itself may be new: its name must survive too. */
    char parent[STORE_PATH_MAX];
    snprintf(parent, sizeof parent, "%s", s->dir);
    char *slash = strrchr(parent, '/');
    if (!slash)
        strcpy(parent, ".");
    else
        slash[slash == parent] = 0;
    enum err e = s->disk->ops->sync_dir(s->disk, parent, d);
    return e ? e : format_write(s, d);
}

static enum err identify(struct log_store *s, const struct listing *l, struct diag *d)
{
    struct diag why = {0};
    enum err e = l->format ? log_format_id(s->disk, s->dir, s->id, &why) : ERR_NOTFOUND;
    if (e == ERR_UNSUPPORTED || (e && e != ERR_NOTFOUND && e != ERR_CORRUPT)) {
        if (d)
            *d = why;
        return e;
    }
    if (e == OK)
        return OK;
    if (!l->format && l->count == 0) {
        if (l->others)
            return diag_set(d, ERR_INVALID, "%s is not empty and holds no log; name an empty directory", s->dir);
        if (s->read_only)
            return diag_set(d, ERR_NOTFOUND, "%s holds no log", s->dir);
        return make_id(s, d);
    }
    e = id_from_segments(s, l, d);
    if (e == ERR_NOTFOUND)
        return diag_set(d, ERR_INVALID,
                        "%s holds no log that can be read: its file \"format\" is %s and no segment is whole", s->dir,
                        l->format ? "damaged" : "missing");
    if (e)
        return e;
    log_store_say(s, STORE_WARN, "LogSegmentBad", "%s/format is %s; it is made again from the segments", s->dir,
                  l->format ? "damaged" : "missing");
    return s->read_only ? OK : format_write(s, d);
}

enum err log_format_open(struct log_store *s, uint64_t **names, size_t *count, struct diag *d)
{
    assert(names && count);
    struct listing l = {.s = s};
    enum err e = s->disk->ops->list(s->disk, s->dir, look, &l, d);
    if (!e && l.error)
        e = diag_set(d, l.error, "no memory to list %s", s->dir);
    if (!e && l.count)
        qsort(l.names, l.count, sizeof *l.names, ascending);
    if (!e && !s->read_only) {
        e = s->disk->ops->list(s->disk, s->dir, sweep, s, d);
        /* A segment whose name the last process had not synced yet may be here: it must not go any more. */
        if (!e)
            e = s->disk->ops->sync_dir(s->disk, s->dir, d);
    }
    if (!e)
        e = identify(s, &l, d);
    if (e) {
        free(l.names);
        return e;
    }
    *names = l.names;
    *count = l.count;
    return OK;
}
