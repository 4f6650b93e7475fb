/* SPDX-License-Identifier: Apache-2.0
 *
 * The data directory. Nothing in it is touched before its format is known to be ours and the lock is held; what says
 * the format is the first file that is whole in it, so a directory without one is new or not ours.
 *
 * The lock is one of the open file (F_OFD_SETLK): it ends with the process however that ends, is seen by who only
 * looks without being taken, and no other part of the program can lose it by closing a file.
 */
#include "data_dir.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

#define FORMAT_WORDS "leat data "

struct data_dir {
    char *path;
    int lock;
};

/* ---- where it is ---- */

static enum err joined(char **out, const char *a, const char *b, struct diag *d)
{
    char *path;
    if (asprintf(&path, "%s%s", a, b) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    *out = path;
    return OK;
}

static const char *environment(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

enum err data_dir_choose(const char *given, char **out, struct diag *d)
{
    const char *state = environment("STATE_DIRECTORY"), *xdg = environment("XDG_STATE_HOME"),
               *home = environment("HOME");
    char first[4096];
    if (given && *given == '/')
        return joined(out, given, "", d);
    if (given && *given) {
        char *here = getcwd(first, sizeof first - 1);
        return here ? joined(out, strcat(first, "/"), given, d)
                    : diag_set(d, ERR_INVALID, "the present directory is not known: give --data-dir with a whole path");
    }
    if (given)
        return diag_set(d, ERR_INVALID, "--data-dir is empty: name a directory");
    if (state) { /* systemd: one or several, in the order of the unit's StateDirectory= */
        if (*state != '/')
            return diag_set(d, ERR_INVALID, "STATE_DIRECTORY is '%.200s': it must be a whole path, from / on", state);
        snprintf(first, sizeof first, "%.*s", (int)strcspn(state, ":"), state);
        return joined(out, first, "", d);
    }
    if (xdg && *xdg == '/') /* the specification: one that is not absolute is to be ignored */
        return joined(out, xdg, "/leat", d);
    if (home && *home == '/')
        return joined(out, home, "/.local/state/leat", d);
    return diag_set(d, ERR_INVALID,
                    "there is no place for the data: none of STATE_DIRECTORY, XDG_STATE_HOME and HOME is set. Name a "
                    "directory with --data-dir, or keep everything in memory with --ephemeral");
}

/* ---- errors ---- */

/* What errno says, with what to do. */
static enum err refused(struct diag *d, int error, const char *path, const char *what)
{
    char why[100];
    const char *reason = strerror_r(error, why, sizeof why);
    switch (error) {
    case EACCES:
    case EPERM:
        return diag_set(d, ERR_DENIED,
                        "%.200s %s: %s. Let user %u write there, name another directory with --data-dir, or keep "
                        "everything in memory with --ephemeral",
                        path, what, reason, (unsigned)geteuid());
    case EROFS:
        return diag_set(d, ERR_DENIED,
                        "%.200s %s: %s. Name a directory on a writable one with --data-dir, or keep everything in "
                        "memory with --ephemeral",
                        path, what, reason);
    case ENOSPC:
    case EDQUOT:
        return diag_set(d, ERR_FULL, "%.200s %s: %s. Free some space, or name another directory with --data-dir", path,
                        what, reason);
    case ENOTDIR:
    case EEXIST:
        return diag_set(d, ERR_INVALID, "%.200s %s: something on its way is no directory. Name another with --data-dir",
                        path, what);
    default:
        return diag_set(d, ERR_IO, "%.200s %s: %s", path, what, reason);
    }
}

static enum err sync_directory(const char *path, struct diag *d)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error ? refused(d, error, path, "cannot be written to disk") : OK;
}

/* ---- making it ---- */

/* With its parents; each is on disk, with its name, when the next is made. */
static enum err make_directories(const char *path, struct diag *d)
{
    char part[4096];
    struct stat st;
    size_t n = strlen(path);
    if (n >= sizeof part)
        return diag_set(d, ERR_INVALID, "the path of the data directory is longer than %zu bytes", sizeof part - 1);
    assert(*path == '/');
    for (size_t i = 1; i <= n; i++) {
        if (path[i] && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (stat(part, &st) == 0 && S_ISDIR(st.st_mode))
            continue;
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return refused(d, errno, path, "cannot be made");
        if (stat(part, &st) != 0 || !S_ISDIR(st.st_mode))
            return refused(d, ENOTDIR, path, "cannot be made");
        char *slash = strrchr(part, '/');
        *slash = '\0';
        enum err e = sync_directory(slash == part ? "/" : part, d);
        if (e != OK)
            return e;
    }
    return OK;
}

static bool is_harmless(const char *name)
{
    static const char *const names[] = {"lock", "tokens", "lost+found"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return *name == '.';
}

/* A directory that has something else in it, and no format, is somebody else's. */
static enum err check_empty(const char *path, struct diag *d)
{
    DIR *dir = opendir(path);
    enum err e = OK;
    if (!dir)
        return refused(d, errno, path, "cannot be read");
    for (const struct dirent *each; e == OK && (each = readdir(dir));)
        if (!is_harmless(each->d_name))
            e = diag_set(d, ERR_CORRUPT,
                         "%.200s is no data directory of leat: it has no file 'format', but holds '%.60s'. Name a new "
                         "or empty directory with --data-dir",
                         path, each->d_name);
    closedir(dir);
    return e;
}

static enum err write_format(int dir, const char *path, struct diag *d)
{
    char text[40];
    int n = snprintf(text, sizeof text, FORMAT_WORDS "%d\n", DATA_DIR_FORMAT), error = 0;
    int fd = openat(dir, ".format", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return refused(d, errno, path, "cannot be written to");
    ssize_t written = write(fd, text, (size_t)n);
    if (written != n)
        error = written < 0 ? errno : ENOSPC;
    else if (fsync(fd) != 0)
        error = errno;
    close(fd);
    if (error == 0 && renameat(dir, ".format", dir, "format") != 0)
        error = errno;
    return error ? refused(d, error, path, "cannot be written to") : sync_directory(path, d);
}

/* ---- its format ---- */

enum err data_dir_format(const char *path, unsigned *format, struct diag *d)
{
    char text[64];
    uint64_t number;
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 && errno == ENOENT)
        return diag_set(d, ERR_NOTFOUND, "%.200s is not there", path);
    if (dir < 0)
        return refused(d, errno, path, "cannot be opened");
    int fd = openat(dir, "format", O_RDONLY | O_CLOEXEC), error = errno;
    close(dir);
    if (fd < 0 && error == ENOENT)
        return diag_set(d, ERR_NOTFOUND, "%.200s is no data directory of leat: it has no file 'format'", path);
    if (fd < 0)
        return refused(d, error, path, "cannot be read");
    ssize_t n = read(fd, text, sizeof text - 1);
    error = errno;
    close(fd);
    if (n < 0)
        return refused(d, error, path, "cannot be read");
    struct slice line = slice_of(text, (size_t)n);
    if (!slice_has_prefix(line, SLICE(FORMAT_WORDS)) || !slice_has_suffix(line, SLICE("\n")) ||
        decimal_parse(slice_of(text + sizeof FORMAT_WORDS - 1, line.len - sizeof FORMAT_WORDS), UINT32_MAX, &number) !=
            OK ||
        number == 0)
        return diag_set(d, ERR_CORRUPT,
                        "%.200s/format does not say which format the data have; it should be a line like 'leat data "
                        "%d'. Restore it from a backup",
                        path, DATA_DIR_FORMAT);
    *format = (unsigned)number;
    return OK;
}

static enum err check_format(const char *path, struct diag *d)
{
    unsigned format;
    enum err e = data_dir_format(path, &format, d);
    if (e == OK && format > DATA_DIR_FORMAT)
        return diag_set(d, ERR_UNSUPPORTED,
                        "%.200s was written by a newer leat (format %u; this one knows up to %d). Run that version, or "
                        "name another directory with --data-dir. Nothing was touched",
                        path, format, DATA_DIR_FORMAT);
    return e;
}

/* ---- the lock ---- */

static int pid_in(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    int pid = atoi(text);
    return pid > 0 ? pid : -1;
}

int data_dir_user(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir < 0 ? -1 : openat(dir, "lock", O_RDONLY | O_CLOEXEC), pid = 0;
    if (dir >= 0)
        close(dir);
    if (fd < 0)
        return 0;
    if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
        pid = pid_in(fd);
    close(fd);
    return pid;
}

static enum err take_lock(int dir, const char *path, int *out, struct diag *d)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char who[40] = "";
    int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return refused(d, errno, path, "cannot be written to");
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
        *out = fd;
        return OK;
    }
    int error = errno, pid = pid_in(fd);
    close(fd);
    if (error != EAGAIN && error != EACCES)
        return refused(d, error, path, "cannot be locked");
    if (pid > 0)
        snprintf(who, sizeof who, " (pid %d)", pid);
    return diag_set(d, ERR_EXISTS, "another leat%s uses %.200s: stop it, or give this one another --data-dir", who,
                    path);
}

/* Says who holds it; only for people, so what fails is not looked at twice. */
static enum err sign_lock(int fd, const char *path, struct diag *d)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return refused(d, errno, path, "cannot be written to");
    return OK;
}

/* ---- all of it ---- */

/* With the lock held nobody else makes it. */
static enum err begin(int dir, const char *path, int lock, struct diag *d)
{
    enum err e = check_format(path, d);
    if (e == ERR_NOTFOUND) {
        e = check_empty(path, d);
        if (e == OK)
            e = write_format(dir, path, d);
    }
    if (e == OK && mkdirat(dir, "buses", 0700) != 0 && errno != EEXIST)
        e = refused(d, errno, path, "cannot be written to");
    return e == OK ? sign_lock(lock, path, d) : e;
}

enum err data_dir_make(const char *path, struct diag *d)
{
    enum err e = check_format(path, d);
    if (e != OK && e != ERR_NOTFOUND)
        return e;
    bool fresh = e == ERR_NOTFOUND;
    e = make_directories(path, d);
    return e == OK && fresh ? check_empty(path, d) : e; /* before the first byte: it may be somebody's home */
}

static enum err open_there(const char *path, int *lock, struct diag *d)
{
    enum err e = data_dir_make(path, d);
    if (e != OK)
        return e;
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return refused(d, errno, path, "cannot be opened");
    e = take_lock(dir, path, lock, d);
    if (e == OK) {
        e = begin(dir, path, *lock, d);
        if (e != OK)
            close(*lock);
    }
    close(dir);
    return e;
}

enum err data_dir_open(const char *path, struct data_dir **out, struct diag *d)
{
    struct data_dir *data = calloc(1, sizeof *data);
    char *copy = strdup(path);
    enum err e = data && copy ? open_there(path, &data->lock, d) : diag_set(d, ERR_NOMEM, "out of memory");
    if (e != OK) {
        free(copy);
        free(data);
        return e;
    }
    data->path = copy;
    *out = data;
    return OK;
}

const char *data_dir_path(const struct data_dir *d)
{
    return d->path;
}

void data_dir_close(struct data_dir *d)
{
    if (!d)
        return;
    int emptied = ftruncate(d->lock, 0); /* for people; if it stays, a lock that is free says that nobody is there */
    (void)emptied;
    close(d->lock);
    free(d->path);
    free(d);
}
