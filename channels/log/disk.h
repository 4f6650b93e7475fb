/* SPDX-License-Identifier: Apache-2.0
 *
 * The disk as the log sees it: every file operation of channels/log/ goes through this table, so that tests can put a
 * disk there that fails, fills up, or forgets at a crash what was not synced (the idea of SQLite's VFS).
 *
 * Calls block and may come from any thread; one file is written by one thread at a time, and read by any. Errors:
 * ERR_FULL (ENOSPC, EDQUOT), ERR_NOTFOUND, ERR_EXISTS, ERR_DENIED, ERR_NOMEM (also without descriptors), else ERR_IO;
 * *d (may be NULL) gets the operation, the path and the system's words. EINTR is repeated inside; a short write is
 * continued inside.
 */
#ifndef LEAT_CHANNELS_LOG_DISK_H
#define LEAT_CHANNELS_LOG_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct disk;
struct disk_file;

enum disk_open {
    DISK_READ,  /* there must be one; for reading */
    DISK_WRITE, /* there must be one; for reading and writing */
    DISK_CREATE /* there must be none: ERR_EXISTS; for reading and writing */
};

struct disk_ops {
    enum err (*open)(struct disk *k, const char *path, enum disk_open how, struct disk_file **out, struct diag *d);
    void (*close)(struct disk *k, struct disk_file *f);
    /* At most len bytes; *got is less only at the end of the file. */
    enum err (*read)(struct disk *k, struct disk_file *f, void *to, size_t len, uint64_t offset, size_t *got,
                     struct diag *d);
    /* All or an error; after an error any part may have been written. Durable only after sync. */
    enum err (*write)(struct disk *k, struct disk_file *f, const void *from, size_t len, uint64_t offset,
                      struct diag *d);
    /* fdatasync. After an error what was written since the last success may be lost, and asking again proves nothing:
     * never called again for that file. */
    enum err (*sync)(struct disk *k, struct disk_file *f, struct diag *d);
    /* Makes the file at least `bytes` long with blocks reserved, so that writes inside meet no full disk; the new part
     * reads as zeros. */
    enum err (*allocate)(struct disk *k, struct disk_file *f, uint64_t bytes, struct diag *d);
    enum err (*truncate)(struct disk *k, struct disk_file *f, uint64_t bytes, struct diag *d);
    enum err (*size)(struct disk *k, struct disk_file *f, uint64_t *out, struct diag *d);
    /* Replaces `to`. Durable only after sync_dir. */
    enum err (*rename)(struct disk *k, const char *from, const char *to, struct diag *d);
    enum err (*unlink)(struct disk *k, const char *path, struct diag *d);
    enum err (*make_dir)(struct disk *k, const char *path, struct diag *d); /* one that is there is fine; 0700 */
    enum err (*sync_dir)(struct disk *k, const char *path, struct diag *d);
    /* Calls visit with each name, in any order, without "." and "..". */
    enum err (*list)(struct disk *k, const char *path, void (*visit)(void *arg, const char *name), void *arg,
                     struct diag *d);
    /* Bytes that an ordinary user could still write there. */
    enum err (*space)(struct disk *k, const char *path, uint64_t *available, uint64_t *total, struct diag *d);
    /* Whether files could be made and written in this directory: no file system that has become read-only, no folder
     * that is gone. Changes nothing. */
    enum err (*writable)(struct disk *k, const char *path, struct diag *d);
    /* Makes the file if there is none and takes an exclusive lock on it until it is closed or the process ends.
     * ERR_CONFLICT: another has it; *d then names its process when that is known. */
    enum err (*lock)(struct disk *k, const char *path, struct disk_file **out, struct diag *d);
};

struct disk {
    const struct disk_ops *ops;
};

/* The operating system's. Never freed. */
struct disk *disk_system(void);

#endif
