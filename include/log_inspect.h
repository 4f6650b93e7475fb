/* SPDX-License-Identifier: Apache-2.0
 *
 * A log on disk as people look at it, beside the server that writes it or without one: nothing is written, nothing is
 * mended, no lock is taken. What a number means is in docs/durability.md. One thread; each call blocks.
 *
 * `dir` is a data directory, or the folder of a log itself. Errors, with *d: ERR_NOTFOUND: there is no log;
 * ERR_UNSUPPORTED: of a later format; ERR_INVALID: the folder holds something else; ERR_DENIED, ERR_IO, ERR_NOMEM;
 * ERR_CANCELED: `progress` said so.
 */
#ifndef LEAT_LOG_INSPECT_H
#define LEAT_LOG_INSPECT_H

#include <stddef.h>
#include <stdint.h>

#include "event.h"

/* Called now and then; false: give up. `done` and `total` are bytes. May be NULL. */
typedef bool log_progress_fn(void *arg, uint64_t done, uint64_t total);

/* ---- what there is ---- */

struct log_inspect_segment {
    uint64_t first, last; /* sequences */
    uint64_t bytes, size; /* used, of the file */
    uint64_t events;
    int64_t made_wall_ns;
    bool newest, compacted;
};
struct log_inspect_channel {
    const char *name;
    uint32_t number;
    uint64_t events, bytes;
    uint64_t first, last; /* sequences; 0 when there are no events, as what follows */
    int64_t first_wall_ns, last_wall_ns;
};
struct log_inspect_cursor {
    const char *name, *channel;   /* channel: "" when the catalogue no longer has it */
    int64_t unused_since_wall_ns; /* since when no subscription uses it; 0: one did when the log was written last */
    uint64_t from;                /* everything before it is settled */
    uint64_t events, bytes;       /* of its channel from there on that it has not settled; its filter may want fewer */
    int64_t oldest_wall_ns;       /* of the first of them; 0: none */
    bool readable;                /* false: where it stands cannot be read, and `from`, `events`, `bytes` are 0 */
};
struct log_inspect_loss {
    uint64_t first, last; /* sequences, both included */
    const char *why;
};

struct log_inspect {
    const char *dir; /* of the log itself */
    char id[33];     /* hexadecimal; empty: damaged */
    unsigned format;
    uint64_t first, committed; /* sequences; 0 when empty */
    uint64_t events, bytes, size;
    int64_t last_wall_ns; /* of the newest event; 0 when there is none */
    struct log_inspect_segment *segments;
    struct log_inspect_channel *channels; /* by name */
    struct log_inspect_cursor *cursors;   /* by channel, then name */
    struct log_inspect_loss *losses;
    size_t segment_count, channel_count, cursor_count, loss_count;
    uint64_t lost; /* sequences in all, also beyond `losses` */
};

/* `backlogs`: whether to count what each cursor is behind, which reads the log from the first of them on. */
enum err log_inspect(const char *dir, bool backlogs, log_progress_fn *progress, void *arg, struct log_inspect **out,
                     struct diag *d) must_check;
void log_inspect_free(struct log_inspect *i); /* NULL is fine */

/* ---- whether it is whole ---- */

enum log_verdict {
    LOG_VERDICT_NOTE,  /* nothing is wrong: the unfinished end of a write that nobody was told to be safe */
    LOG_VERDICT_DAMAGE /* something is not as it was written */
};
struct log_finding {
    enum log_verdict verdict;
    uint64_t first, last; /* the sequences that are gone or in doubt; 0: none */
    const char *place;    /* "00000000000000000001.seg, byte 4096" */
    const char *text;     /* what is wrong, a sentence without its end */
};
struct log_verified {
    uint64_t segments, records, events, bytes, notes, damages;
};

/* Reads every record: heads, checksums, the order of sequences over all segments, events, the catalogue, indexes, that
 * no cursor is ahead of its own record. `newest_only`: the heads of all segments, and the records of the newest. OK
 * also when there is damage: `found` was called for it, and it is counted. Beside a running server segments may come
 * and go meanwhile, which is no damage. */
enum err log_verify(const char *dir, bool newest_only, void (*found)(void *arg, const struct log_finding *f),
                    log_progress_fn *progress, void *arg, struct log_verified *out, struct diag *d) must_check;

/* ---- what is in it ---- */

struct log_dump_query {
    const char *channel;              /* its name; NULL: all */
    uint64_t from, to;                /* sequences, both included; to 0: to the end */
    int64_t from_wall_ns, to_wall_ns; /* from the first event written at or after; before; INT64_MIN, MAX: no bound */
};
struct log_dump_event {
    uint64_t sequence;
    int64_t wall_ns;
    const char *channel;          /* "" when the catalogue no longer has it */
    const struct ce_event *event; /* borrowed */
};

/* Calls `event` for each, oldest first, until it returns false. ERR_NOTFOUND too when there is no such channel; *lost
 * counts the sequences that could not be read. */
enum err log_dump(const char *dir, const struct log_dump_query *q,
                  bool (*event)(void *arg, const struct log_dump_event *e), void *arg, uint64_t *lost,
                  struct diag *d) must_check;

#endif
