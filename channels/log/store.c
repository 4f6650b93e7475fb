/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing the store, what it says, and what it lost.
 */
#include "store_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
    if (s->lost_count == s->lost_room && s->lost_room < STORE_LOST_REMEMBERED) {
        size_t room = s->lost_room ? s->lost_room * 2 : 8;
        struct log_lost *more = realloc(s->lost, room * sizeof *more);
        if (!more)
            return;
        s->lost = more;
        s->lost_room = room;
    }
    if (s->lost_count < s->lost_room)
        s->lost[s->lost_count++] = *lost;
}

void log_store_lose(struct log_store *s, uint64_t first, uint64_t last, const char *why)
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
