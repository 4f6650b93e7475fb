/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a disk makes records durable: bare writes and fdatasyncs into a file laid out as the log's segments are,
 * with nothing of the log in the way. For `leat bench disk` and `leat doctor`.
 */
#ifndef LEAT_CLI_DISK_PROBE_H
#define LEAT_CLI_DISK_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* A file of its own in one directory; it goes with the probe. While there is one, SIGINT and SIGTERM wait: a run ends
 * when one comes, and it takes effect when the probe is freed. */
struct disk_probe;

/* Begins zeroed; several runs add to one. */
struct disk_probe_result {
    uint64_t records, elapsed_ns; /* elapsed: writes and syncs, without what the probe does between */
    uint64_t *samples;            /* owned: of each fdatasync its ns */
    size_t syncs, room;
};
/* How long the p-th part of all fdatasyncs took at most: 0.5, 0.99, 1. There is one at least. Sorts the samples. */
uint64_t disk_probe_quantile(struct disk_probe_result *r, double p);
void disk_probe_result_fini(struct disk_probe_result *r);

/* `file_bytes`: what is preallocated; when it is written full, a new one follows. ERR_NOTFOUND, ERR_DENIED, ERR_FULL,
 * ERR_IO, ERR_NOMEM with *d. */
enum err disk_probe_new(const char *dir, uint64_t file_bytes, struct disk_probe **out, struct diag *d) must_check;
/* Removes the file. NULL is fine. */
void disk_probe_free(struct disk_probe *p);
/* Writes batches of `batch` records of `size` bytes, each followed by an fdatasync, for `ns`; one at least. Fits:
 * batch * size is at most the file's bytes. ERR_CANCELED: a signal waits. */
enum err disk_probe_run(struct disk_probe *p, uint64_t batch, uint64_t size, uint64_t ns, struct disk_probe_result *r,
                        struct diag *d) must_check;

#endif
