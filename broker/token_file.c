/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of tokens: who may write it, how it is replaced, and how a server sees that it was. Each request looks at
 * the file's times and place (stat), so what was revoked is refused from the next request on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "tokens.h"

#define SETTLED_S 2 /* a file's times are coarse: what changed a moment ago may change again without their telling */

static enum err refuse(struct diag *d, const char *path, const char *what, int error)
{
    char why[100];
    return diag_set(d, error == EACCES || error == EPERM ? ERR_DENIED : ERR_IO, "%.300s %s: %s", path, what,
                    strerror_r(error, why, sizeof why));
}

/* ---- reading ---- */

static enum err check_owner(const char *path, const struct stat *s, struct diag *d)
{
    if (!S_ISREG(s->st_mode))
        return diag_set(d, ERR_INVALID, "%.300s is no file", path);
    if (s->st_mode & (S_IWGRP | S_IWOTH))
        return diag_set(d, ERR_DENIED,
                        "%.300s can be written by others than its owner (mode %03o), who could give themselves any "
                        "role: `chmod 600 %.200s`",
                        path, (unsigned)(s->st_mode & 0777), path);
    if (s->st_uid != 0 && s->st_uid != geteuid())
        return diag_set(d, ERR_DENIED, "%.300s belongs to user %u: let it belong to user %u, or to root", path,
                        (unsigned)s->st_uid, (unsigned)geteuid());
    return OK;
}

static enum err read_all(int fd, const char *path, struct buf *out, struct diag *d)
{
    for (;;) {
        char *room = buf_reserve(out, 4096);
        if (!room)
            return buf_error(out) == ERR_TOO_LARGE
                       ? diag_set(d, ERR_TOO_LARGE, "%.300s is larger than %u bytes", path, TOKENS_BYTES_MAX)
                       : diag_set(d, ERR_NOMEM, "out of memory");
        ssize_t n = read(fd, room, 4096);
        if (n == 0)
            return OK;
        if (n < 0 && errno != EINTR)
            return refuse(d, path, "cannot be read", errno);
        out->len += n > 0 ? (size_t)n : 0;
    }
}

enum err tokens_read(const char *path, struct buf *out, struct diag *d)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is told from a file, and not waited for */
    if (fd < 0 && errno == ENOENT)
        return diag_set(d, ERR_NOTFOUND, "%.300s is not there", path);
    if (fd < 0)
        return refuse(d, path, "cannot be opened", errno);
    enum err e = fstat(fd, &s) == 0 ? check_owner(path, &s, d) : refuse(d, path, "cannot be looked at", errno);
    buf_init(out, TOKENS_BYTES_MAX + 4096);
    if (e == OK)
        e = read_all(fd, path, out, d);
    close(fd);
    if (e != OK)
        buf_fini(out);
    return e;
}

/* ---- writing ---- */

static enum err write_all(int fd, struct slice text)
{
    while (text.len) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno != EINTR)
            return ERR_IO;
        text = slice_from(text, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) == 0 ? OK : ERR_IO;
}

enum err tokens_write(const char *path, struct slice text, struct diag *d)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *temporary;
    if (asprintf(&temporary, "%.*s.%s.XXXXXX", (int)(name - path), path, name) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    enum err e = OK;
    int fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
    if (fd < 0)
        e = refuse(d, temporary, "cannot be made", errno);
    else if (write_all(fd, text) != OK)
        e = refuse(d, temporary, "cannot be written", errno);
    if (fd >= 0)
        close(fd);
    if (e == OK && rename(temporary, path) != 0)
        e = refuse(d, path, "cannot be replaced", errno);
    if (e != OK && fd >= 0)
        unlink(temporary);
    free(temporary);
    return e;
}

int tokens_lock(const char *path, struct diag *d)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (!dir)
        (void)!diag_set(d, ERR_NOMEM, "out of memory");
    else if (fd < 0 || flock(fd, LOCK_EX) != 0)
        (void)!refuse(d, dir, "cannot be used", errno);
    free(dir);
    return fd;
}

/* ---- a file that changes ---- */

struct token_file {
    char *path;
    struct tokens tokens;
    struct stat seen; /* of what was read last; all zero: it was not there */
    bool looked, settled;
    uint64_t version;
};

enum err token_file_new(const char *path, struct token_file **out)
{
    struct token_file *f = calloc(1, sizeof *f);
    if (f && !(f->path = strdup(path))) {
        free(f);
        f = NULL;
    }
    if (!f)
        return ERR_NOMEM;
    *out = f;
    return OK;
}

void token_file_free(struct token_file *f)
{
    if (!f)
        return;
    tokens_fini(&f->tokens);
    free(f->path);
    free(f);
}

const char *token_file_path(const struct token_file *f)
{
    return f->path;
}

uint64_t token_file_version(const struct token_file *f)
{
    return f->version;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mode == b->st_mode &&
           a->st_uid == b->st_uid && same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

static bool hold_the_same(const struct tokens *a, const struct tokens *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) {
        const struct token *x = &a->list[i], *y = &b->list[i];
        same = strcmp(x->name, y->name) == 0 && memcmp(x->hash, y->hash, sizeof x->hash) == 0 && x->role == y->role &&
               strcmp(x->namespace_name, y->namespace_name) == 0 && x->expires_ns == y->expires_ns;
    }
    return same;
}

static enum err read_again(struct token_file *f, struct diag *d)
{
    struct buf text;
    struct tokens fresh = {0};
    enum err e = tokens_read(f->path, &text, d);
    if (e == OK) {
        e = tokens_parse(buf_slice(&text), &fresh, d);
        buf_fini(&text);
    }
    if (e != OK && e != ERR_NOTFOUND)
        return e;
    f->version += !hold_the_same(&f->tokens, &fresh);
    tokens_fini(&f->tokens);
    f->tokens = fresh;
    return OK;
}

enum err token_file_fresh(struct token_file *f, const struct tokens **out, bool *changed, struct diag *d)
{
    struct stat now = {0};
    const int64_t wall_s = clock_wall_ns(clock_system()) / (int64_t)NS_PER_S;
    if (stat(f->path, &now) != 0)
        now = (struct stat){0};
    bool moved = !f->looked || !same(&now, &f->seen);
    *changed = false;
    *out = &f->tokens;
    if (!moved && f->settled)
        return OK;
    enum err e = read_again(f, d);
    f->seen = now;
    f->looked = true;
    f->settled = wall_s > now.st_ctim.tv_sec + SETTLED_S || now.st_ctim.tv_sec > wall_s + SETTLED_S;
    *changed = moved && e == OK;
    return moved ? e : OK; /* not the same failure twice */
}
