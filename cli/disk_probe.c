/* SPDX-License-Identifier: Apache-2.0
 *
 * Bare writes and fdatasyncs, timed. The file keeps its name while it is measured, since some file systems sync nothing
 * of a file that has none, and it is made anew when it is full: blocks that were written once are cheaper the second
 * time, and the log never writes one twice. One thread.
 */
#include "disk_probe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "array.h"
#include "clock.h"
#include "prng.h"

#define SAMPLES_MAX (1u << 20) /* syncs of one result of which the time is kept; a run ends there */

struct disk_probe {
    char *path; /* owned */
    int fd;     /* -1: no file */
    uint64_t file_bytes, offset;
    sigset_t before; /* the signals that were blocked already */
};

static enum err system_error(const struct disk_probe *p, const char *what, struct diag *d)
{
    const int n = errno;
    const enum err e = n == ENOSPC || n == EDQUOT  ? ERR_FULL
                       : n == ENOENT               ? ERR_NOTFOUND
                       : n == EACCES || n == EROFS ? ERR_DENIED
                                                   : ERR_IO;
    errno = n;
    return diag_set(d, e, "%s: %s: %m", p->path, what);
}

static void remove_file(struct disk_probe *p)
{
    if (p->fd < 0)
        return;
    close(p->fd);
    unlink(p->path);
    p->fd = -1;
}

/* Real zeros, as the log's next segment is made of: a sync within them has no blocks to change. */
static enum err fill(struct disk_probe *p, struct diag *d)
{
    static char zeros[64u << 10]; /* never written: not const, so that they take no room in the program */
    for (uint64_t at = 0; at < p->file_bytes;) {
        const uint64_t left = p->file_bytes - at;
        const ssize_t n = pwrite(p->fd, zeros, left < sizeof zeros ? (size_t)left : sizeof zeros, (off_t)at);
        if (n < 0 && errno != EINTR)
            return system_error(p, "no room can be reserved", d);
        at += n > 0 ? (uint64_t)n : 0;
    }
    return fsync(p->fd) == 0 ? OK : system_error(p, "fsync", d);
}

static enum err make_file(struct disk_probe *p, struct diag *d)
{
    remove_file(p);
    p->offset = 0;
    p->fd = open(p->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (p->fd < 0)
        return system_error(p, "cannot be made", d);
    enum err e = fill(p, d);
    if (e != OK)
        remove_file(p);
    return e;
}

static void block_signals(sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

enum err disk_probe_new(const char *dir, uint64_t file_bytes, struct disk_probe **out, struct diag *d)
{
    assert(file_bytes > 0);
    struct disk_probe *p = calloc(1, sizeof *p);
    if (!p)
        return diag_set(d, ERR_NOMEM, "out of memory");
    p->fd = -1;
    block_signals(&p->before);
    p->file_bytes = file_bytes;
    if (asprintf(&p->path, "%s/disk-probe-%d.tmp", dir, (int)getpid()) < 0) {
        p->path = NULL;
        disk_probe_free(p);
        return diag_set(d, ERR_NOMEM, "out of memory");
    }
    enum err e = make_file(p, d);
    if (e != OK) {
        disk_probe_free(p);
        return e;
    }
    *out = p;
    return OK;
}

void disk_probe_free(struct disk_probe *p)
{
    if (!p)
        return;
    remove_file(p);
    pthread_sigmask(SIG_SETMASK, &p->before, NULL);
    free(p->path);
    free(p);
}

static bool canceled(void)
{
    sigset_t waiting;
    sigpending(&waiting);
    return sigismember(&waiting, SIGINT) || sigismember(&waiting, SIGTERM);
}

static enum err write_all(struct disk_probe *p, const char *bytes, size_t len, struct diag *d)
{
    while (len) {
        ssize_t n = pwrite(p->fd, bytes, len, (off_t)p->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return system_error(p, "write", d);
        bytes += n;
        len -= (size_t)n;
        p->offset += (uint64_t)n;
    }
    return OK;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t disk_probe_quantile(struct disk_probe_result *r, double p)
{
    assert(r->syncs > 0 && p > 0 && p <= 1);
    qsort(r->samples, r->syncs, sizeof *r->samples, by_size);
    return r->samples[(size_t)((double)(r->syncs - 1) * p)];
}

void disk_probe_result_fini(struct disk_probe_result *r)
{
    free(r->samples);
    *r = (struct disk_probe_result){0};
}

static enum err reserve_sample(struct disk_probe_result *r, struct diag *d)
{
    bool there = array_reserve(&r->samples, &r->room, r->syncs + 1, sizeof *r->samples);
    return there ? OK : diag_set(d, ERR_NOMEM, "out of memory");
}

/* One batch, written and synced. */
static enum err one_batch(struct disk_probe *p, const char *bytes, size_t len, struct disk_probe_result *r,
                          struct diag *d)
{
    const struct clock *clock = clock_system();
    enum err e = reserve_sample(r, d);
    const uint64_t begun = clock_monotonic_ns(clock);
    if (e == OK)
        e = write_all(p, bytes, len, d);
    if (e != OK)
        return e;
    const uint64_t written = clock_monotonic_ns(clock);
    if (fdatasync(p->fd) != 0)
        return system_error(p, "fdatasync", d);
    const uint64_t synced = clock_monotonic_ns(clock);
    r->samples[r->syncs++] = synced - written;
    r->elapsed_ns += synced - begun;
    return OK;
}

enum err disk_probe_run(struct disk_probe *p, uint64_t batch, uint64_t size, uint64_t ns, struct disk_probe_result *r,
                        struct diag *d)
{
    const uint64_t len = batch * size, until_ns = r->elapsed_ns + ns;
    struct prng prng;
    enum err e = OK;
    assert(len > 0 && len <= p->file_bytes);
    char *bytes = malloc(len + sizeof(uint64_t));
    if (!bytes)
        return diag_set(d, ERR_NOMEM, "out of memory");
    prng_seed(&prng, size); /* a disk may squeeze zeros */
    for (uint64_t i = 0, word; i < len; i += sizeof word)
        word = prng_next(&prng), memcpy(bytes + i, &word, sizeof word);
    do {
        if (p->offset + len > p->file_bytes)
            e = make_file(p, d);
        if (e == OK)
            e = one_batch(p, bytes, len, r, d);
        if (e == OK)
            r->records += batch;
    } while (e == OK && !canceled() && r->elapsed_ns < until_ns && r->syncs < SAMPLES_MAX);
    free(bytes);
    return e == OK && canceled() ? diag_set(d, ERR_CANCELED, "canceled") : e;
}
