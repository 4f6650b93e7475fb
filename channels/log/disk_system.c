/* SPDX-License-Identifier: Apache-2.0
 *
 * The disk of the operating system: each operation is its system call, with EINTR repeated and short transfers
 * continued. A file remembers the path that it was opened with, for messages only: one that was renamed since is asked
 * for. It holds no state that two threads could meet in.
 */
#include "disk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct disk_file {
    int fd;
    char path[]; /* for messages */
};

static enum err err_of(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOTFOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENOMEM:
    case EMFILE: /* nothing is wrong with the disk, and it may be tried again */
    case ENFILE:
        return ERR_NOMEM;
    default:
        return ERR_IO;
    }
}

static enum err failed(struct diag *d, const char *operation, const char *path)
{
    int number = errno;
    char words[128];
    return diag_set(d, err_of(number), "cannot %s %s: %s", operation, path, strerror_r(number, words, sizeof words));
}

/* Of an open file: by the name that it has now, which is what a person finds there. */
static enum err file_failed(struct diag *d, const char *operation, const struct disk_file *f)
{
    int number = errno;
    char link[40], now[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", f->fd);
    ssize_t n = readlink(link, now, sizeof now - 1);
    now[n > 0 ? n : 0] = '\0';
    errno = number;
    return failed(d, operation, now[0] == '/' ? now : f->path);
}

static struct disk_file *file_new(const char *path)
{
    size_t len = strlen(path) + 1;
    struct disk_file *f = malloc(sizeof *f + len);
    if (f)
        memcpy(f->path, path, len);
    return f;
}

static enum err open_flags(const char *path, int flags, struct disk_file **out, struct diag *d)
{
    struct disk_file *f = file_new(path);
    if (!f)
        return diag_set(d, ERR_NOMEM, "no memory to open %s", path);
    do
        f->fd = open(path, flags | O_CLOEXEC, 0600);
    while (f->fd < 0 && errno == EINTR);
    if (f->fd < 0) {
        enum err e = failed(d, flags & O_CREAT ? "make" : "open", path);
        free(f);
        return e;
    }
    *out = f;
    return OK;
}

static enum err system_open(struct disk *k, const char *path, enum disk_open how, struct disk_file **out,
                            struct diag *d)
{
    (void)k;
    assert(path && *path && out);
    static const int flags[] = {
        [DISK_READ] = O_RDONLY, [DISK_WRITE] = O_RDWR, [DISK_CREATE] = O_RDWR | O_CREAT | O_EXCL};
    return open_flags(path, flags[how], out, d);
}

static void system_close(struct disk *k, struct disk_file *f)
{
    (void)k;
    assert(f && f->fd >= 0);
    close(f->fd);
    free(f);
}

static enum err system_read(struct disk *k, struct disk_file *f, void *to, size_t len, uint64_t offset, size_t *got,
                            struct diag *d)
{
    (void)k;
    assert(f && (to || !len) && got);
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(f->fd, (char *)to + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_failed(d, "read", f);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return OK;
}

static enum err system_write(struct disk *k, struct disk_file *f, const void *from, size_t len, uint64_t offset,
                             struct diag *d)
{
    (void)k;
    assert(f && (from || !len));
    while (len > 0) {
        ssize_t n = pwrite(f->fd, from, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return file_failed(d, "write", f);
        }
        from = (const char *)from + n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return OK;
}

/* Not repeated, not even after EINTR: what an interrupted sync has lost, nobody knows. */
static enum err system_sync(struct disk *k, struct disk_file *f, struct diag *d)
{
    (void)k;
    assert(f && f->fd >= 0);
    return fdatasync(f->fd) ? file_failed(d, "sync", f) : OK;
}

/* File systems without fallocate get zeros written: blocks are what counts. */
static enum err write_zeros(struct disk *k, struct disk_file *f, uint64_t from, uint64_t to, struct diag *d)
{
    static char zeros[64 << 10]; /* never written: not const, so that they take no room in the program */
    while (from < to) {
        size_t n = to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros;
        enum err e = system_write(k, f, zeros, n, from, d);
        if (e)
            return e;
        from += n;
    }
    return OK;
}

static enum err system_size(struct disk *k, struct disk_file *f, uint64_t *out, struct diag *d)
{
    (void)k;
    assert(f && out);
    struct stat st;
    if (fstat(f->fd, &st))
        return file_failed(d, "look at", f);
    *out = (uint64_t)st.st_size;
    return OK;
}

static enum err system_allocate(struct disk *k, struct disk_file *f, uint64_t bytes, struct diag *d)
{
    assert(f && bytes > 0);
    int failure;
    do
        failure = fallocate(f->fd, 0, 0, (off_t)bytes);
    while (failure && errno == EINTR);
    if (!failure)
        return OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return file_failed(d, "reserve room for", f);
    uint64_t size;
    enum err e = system_size(k, f, &size, d);
    return e ? e : write_zeros(k, f, size, bytes, d);
}

static enum err system_truncate(struct disk *k, struct disk_file *f, uint64_t bytes, struct diag *d)
{
    (void)k;
    assert(f && f->fd >= 0);
    int failure;
    do
        failure = ftruncate(f->fd, (off_t)bytes);
    while (failure && errno == EINTR);
    return failure ? file_failed(d, "cut", f) : OK;
}

static enum err system_rename(struct disk *k, const char *from, const char *to, struct diag *d)
{
    (void)k;
    assert(from && to);
    return rename(from, to) ? failed(d, "rename", from) : OK;
}

static enum err system_unlink(struct disk *k, const char *path, struct diag *d)
{
    (void)k;
    assert(path);
    return unlink(path) ? failed(d, "remove", path) : OK;
}

static enum err system_make_dir(struct disk *k, const char *path, struct diag *d)
{
    (void)k;
    assert(path);
    return mkdir(path, 0700) && errno != EEXIST ? failed(d, "make the directory", path) : OK;
}

static enum err system_sync_dir(struct disk *k, const char *path, struct diag *d)
{
    (void)k;
    assert(path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(d, "open the directory", path);
    enum err e = fsync(fd) ? failed(d, "sync the directory", path) : OK;
    close(fd);
    return e;
}

static enum err system_list(struct disk *k, const char *path, void (*visit)(void *arg, const char *name), void *arg,
                            struct diag *d)
{
    (void)k;
    assert(path && visit);
    DIR *dir = opendir(path);
    if (!dir)
        return failed(d, "read the directory", path);
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            visit(arg, entry->d_name);
    }
    enum err e = errno ? failed(d, "read the directory", path) : OK;
    closedir(dir);
    return e;
}

static enum err system_space(struct disk *k, const char *path, uint64_t *available, uint64_t *total, struct diag *d)
{
    (void)k;
    assert(path && available && total);
    struct statvfs st;
    if (statvfs(path, &st))
        return failed(d, "look at the file system of", path);
    *available = (uint64_t)st.f_bavail * st.f_frsize;
    *total = (uint64_t)st.f_blocks * st.f_frsize;
    return OK;
}

static enum err system_writable(struct disk *k, const char *path, struct diag *d)
{
    (void)k;
    assert(path);
    if (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS))
        return failed(d, "write in", path);
    return OK;
}

/* The holder writes its process id into the file, for the one who finds it locked. */
static enum err locked_by(struct disk_file *f, struct diag *d)
{
    char text[24];
    ssize_t n = pread(f->fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    long pid = strtol(text, NULL, 10);
    if (pid > 0)
        return diag_set(d, ERR_CONFLICT, "%s is locked by process %ld", f->path, pid);
    return diag_set(d, ERR_CONFLICT, "%s is locked by another process", f->path);
}

static enum err system_lock(struct disk *k, const char *path, struct disk_file **out, struct diag *d)
{
    assert(path && out);
    struct disk_file *f;
    enum err e = open_flags(path, O_RDWR | O_CREAT, &f, d);
    if (e)
        return e;
    int failure;
    do
        failure = flock(f->fd, LOCK_EX | LOCK_NB);
    while (failure && errno == EINTR);
    if (failure) {
        e = errno == EWOULDBLOCK ? locked_by(f, d) : failed(d, "lock", path);
        system_close(k, f);
        return e;
    }
    /* The id is a courtesy to the next one: a full disk must not keep the log from being opened. */
    char text[24];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(f->fd, 0) || pwrite(f->fd, text, (size_t)n, 0) != n)
        (void)!ftruncate(f->fd, 0);
    *out = f;
    return OK;
}

struct disk *disk_system(void)
{
    static const struct disk_ops ops = {
        .open = system_open,
        .close = system_close,
        .read = system_read,
        .write = system_write,
        .sync = system_sync,
        .allocate = system_allocate,
        .truncate = system_truncate,
        .size = system_size,
        .rename = system_rename,
        .unlink = system_unlink,
        .make_dir = system_make_dir,
        .sync_dir = system_sync_dir,
        .list = system_list,
        .space = system_space,
        .writable = system_writable,
        .lock = system_lock,
    };
    static struct disk system = {&ops};
    return &system;
}
