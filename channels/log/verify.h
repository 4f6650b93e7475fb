/* SPDX-License-Identifier: Apache-2.0
 *
 * What the verifier's two files share: the walk over a log's files (verify.c), and one segment read from its first byte
 * to its last (verify_segment.c). It shares the byte layout and the walk over a file's bytes with the store's
 * recovery, and none of its judgement of what is lost, so that it is a second opinion. One thread.
 */
#ifndef LEAT_CHANNELS_LOG_VERIFY_H
#define LEAT_CHANNELS_LOG_VERIFY_H

#include "disk.h"
#include "log_inspect.h"
#include "record.h"

/* Bytes that are no record, of which it is not known yet whether they were one that somebody was told to be safe: a
 * later record's `committed` says so. */
struct verify_doubt {
    uint64_t first, last;
    char place[96], text[160];
};

struct verify {
    struct disk *disk;
    const char *dir;
    unsigned char id[LOG_ID_BYTES];
    void (*found)(void *arg, const struct log_finding *f);
    log_progress_fn *progress;
    void *arg;
    struct log_verified sums;
    uint64_t next;    /* the sequence that follows; 0: none was read yet, so any may */
    uint64_t covered; /* by the last segment, when it was a compacted one */
    uint64_t done, total;
    struct verify_doubt *doubts; /* owned */
    size_t doubt_count, doubt_cap;
};

/* Says and counts it. `offset`: where in the file; 0: all of it. `first` 0: no sequences. */
void verify_say(struct verify *v, enum log_verdict verdict, uint64_t first, uint64_t last, const char *file,
                uint64_t offset, const char *format, ...) __attribute__((format(printf, 7, 8)));
/* Remembers what may turn out to be damage. */
enum err verify_doubt(struct verify *v, uint64_t first, uint64_t last, const char *file, uint64_t offset,
                      const char *text) must_check;
/* All up to here was on disk: doubts about it are damage. */
void verify_committed(struct verify *v, uint64_t committed);
/* ERR_CANCELED when nobody wants to go on. */
enum err verify_step(struct verify *v, uint64_t bytes) must_check;

/* Opens a file of the log. ERR_NOTFOUND: it is gone by now. */
enum err verify_open(const struct verify *v, const char *name, struct disk_file **out, struct diag *d) must_check;
/* Reads one segment; only its head when `head_only`. A file that is gone by now is none. `until`: the first sequence of
 * the file behind it, 0: it is the newest. */
enum err verify_segment(struct verify *v, const char *file, uint64_t until, bool head_only, struct diag *d) must_check;

#endif
