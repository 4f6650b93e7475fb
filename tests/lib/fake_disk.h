/* SPDX-License-Identifier: Apache-2.0
 *
 * A disk in memory (channels/log/disk.h) that keeps what was synced and what was only written apart, fails when it is
 * told to, and shows what a power loss may leave. Everything random comes from seeds.
 *
 * What it permits itself, as POSIX and the field's file systems do:
 *   - A sector (512 bytes) that was written since its file's last sync holds any of its versions since then, whatever
 *     its neighbours hold; or is torn: part of one version, part of the next, or garbage. Bytes that a write did not
 *     change stay (as SQLite assumes of those that it did not cover: "powersafe overwrite").
 *   - A length that changed since the last sync is any of the lengths since then; what was never written is zeros.
 *   - Creates, renames and unlinks since the last sync_dir of their directory happened or not, in any subset that can
 *     be carried out in order; a rename is atomic. What lies in a directory that did not survive is gone.
 *   - After a failed sync any part of what it was to write is on the disk, reads go on to show all of it, and a later
 *     sync does not write it: the pages count as clean, as on Linux.
 *   - Of a failed write any part may be there.
 *
 * Any thread. Its own memory never fails (it asks by another way than the calls that fault.h makes fail).
 */
#ifndef LEAT_TESTS_FAKE_DISK_H
#define LEAT_TESTS_FAKE_DISK_H

#include "../../channels/log/disk.h"

#define FAKE_SECTOR 512u

enum fake_op {
    FAKE_WRITE,
    FAKE_SYNC,
    FAKE_ALLOCATE,
    FAKE_TRUNCATE,
    FAKE_CREATE, /* an open that makes the file, and a lock that does */
    FAKE_RENAME,
    FAKE_UNLINK,
    FAKE_MAKE_DIR,
    FAKE_SYNC_DIR, /* the last one that changes something */
    FAKE_OPEN,
    FAKE_READ,
    FAKE_SIZE,
    FAKE_LIST,
    FAKE_SPACE,
    FAKE_WRITABLE,
    FAKE_LOCK,
    FAKE_OPS
};
#define FAKE_BIT(op) (1u << (op))
#define FAKE_CHANGES (FAKE_BIT(FAKE_SYNC_DIR + 1) - 1)
#define FAKE_ALL (FAKE_BIT(FAKE_OPS) - 1)

struct fake_disk;

/* An empty disk with one directory, "/data". */
struct fake_disk *fake_disk_new(uint64_t seed);
void fake_disk_free(struct fake_disk *d); /* NULL is fine; handles that are open go with it */
struct disk *fake_disk_base(struct fake_disk *d);

/* ---- ends of the world; the disk itself is not changed, the new one is the caller's ---- */

/* After the power failed: nothing is open. */
struct fake_disk *fake_disk_power_loss(struct fake_disk *d, uint64_t seed);
/* After the process was killed: nothing is open, everything written is still to be read, and still not synced. */
struct fake_disk *fake_disk_kill(struct fake_disk *d, uint64_t seed);

/* ---- faults ---- */

struct fake_fault {
    unsigned ops;  /* FAKE_BIT of the operations that are counted */
    uint64_t nth;  /* this one fails; from 1 */
    bool for_ever; /* and all of `ops` after it */
    enum err err;
};
/* Counting begins now; one fault at a time. NULL: none. */
void fake_disk_fault(struct fake_disk *d, const struct fake_fault *f);
/* In between, nothing fails and nothing is counted. */
void fake_disk_hold_faults(struct fake_disk *d, bool hold);
/* How often it has failed. */
uint64_t fake_disk_faults(const struct fake_disk *d);
/* The power fails in the n-th change from now: it is carried out as far as a crash lets it, and from then on every call
 * fails with ERR_IO. 0: no longer. */
void fake_disk_stop_after(struct fake_disk *d, uint64_t n);
bool fake_disk_stopped(const struct fake_disk *d);
/* Bytes that all files together may take; UINT64_MAX at first. */
void fake_disk_capacity(struct fake_disk *d, uint64_t bytes);
uint64_t fake_disk_used(const struct fake_disk *d);

/* ---- looking on ---- */

/* Called in each change: after it can be read, but before it is durable (before a sync does anything): where a power
 * loss would find it half done. The callback may use the disk's functions above, not those of struct disk. */
void fake_disk_watch(struct fake_disk *d, void (*changing)(void *arg, enum fake_op op), void *arg);
/* Operations of the kinds in `ops` so far, failed ones included. */
uint64_t fake_disk_count(const struct fake_disk *d, unsigned ops);
/* How often a rule of disk.h was broken: a file is synced again after that failed, by the same process. */
unsigned fake_disk_breaches(const struct fake_disk *d);
/* Another process begins, with what is in memory and on the disk as it is. */
void fake_disk_restart(struct fake_disk *d);
size_t fake_disk_open_files(const struct fake_disk *d);
/* Prints every operation to stderr. */
void fake_disk_trace(struct fake_disk *d, bool on);
bool fake_disk_traced(const struct fake_disk *d);

/* ---- files as a whole, synced, without faults or counting ---- */

/* Calls visit with each path, oldest entry first; directories end in '/'. */
void fake_disk_each(struct fake_disk *d, void (*visit)(void *arg, const char *path), void *arg);
bool fake_disk_exists(struct fake_disk *d, const char *path);
uint64_t fake_disk_size(struct fake_disk *d, const char *path);
/* *bytes is the caller's to free; false: no such file. */
bool fake_disk_get(struct fake_disk *d, const char *path, unsigned char **bytes, size_t *len);
/* Makes or replaces it. */
void fake_disk_put(struct fake_disk *d, const char *path, const void *bytes, size_t len);
void fake_disk_remove(struct fake_disk *d, const char *path);
/* Turns bits of one byte over. */
void fake_disk_flip(struct fake_disk *d, const char *path, uint64_t offset, unsigned char bits);

#endif
