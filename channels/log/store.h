/* SPDX-License-Identifier: Apache-2.0
 *
 * The store: the sequence of segments in one directory, with the catalogue of channels and cursors, and no thread of
 * its own. What is here knows nothing of loops, streams or credit; log.h puts those on top.
 *
 *     DIR/lock            held while open
 *     DIR/format          "leat log 1\n" and the log's id: what this is, and which
 *     DIR/00000000000000000001.seg ...   records (record.h); each segment begins with a snapshot of the catalogue
 *     DIR/00000000000000000001.idx ...   of a full segment: its index; made again when it is missing or damaged
 *     DIR/NAME.tmp        being made; thrown away at open
 *
 * Threads. Writer (one thread): log_store_append, _commit, _mark. Keeper (one thread): log_store_reclaim, _prepare. Any
 * thread: readers (each used by one at a time), log_store_committed and what else is marked so. open and close: while
 * nobody else uses it.
 *
 * Promises, by number; the body refers to them.
 *
 * S1  What log_store_commit answered OK for is found again after any crash, process or power, unless the disk lost it;
 *     and then the lost range is named.
 * S2  What was never committed may be found or not, but never out of order: no record is found after one that is not,
 *     unless that one was committed (and is a named loss).
 * S3  Readers see committed records only.
 * S4  A cursor in the log names only sequences before its own record: it is never ahead of the data.
 * S5  After a failed sync or write (but for a full disk) nothing is written any more until the store is opened anew.
 * S6  The catalogue of the newest segment's snapshot, with what follows, is the whole catalogue. The segment before the
 *     newest is kept, so that a damaged snapshot can be made good from it.
 * S7  Opening is idempotent: a crash while opening leaves what opening again mends.
 */
#ifndef LEAT_CHANNELS_LOG_STORE_H
#define LEAT_CHANNELS_LOG_STORE_H

#include "clock.h"
#include "disk.h"
#include "event.h"
#include "record.h"
#include "slice.h"

#define LOG_SEGMENT_BYTES (64ull << 20) /* of a file: few enough files, small enough to go soon */
/* Of a log's first one, when others are larger: it is made while somebody waits, without zeros on the disk, so that
 * each sync of new blocks in it costs a change of the file system's own; soon the next one, made ahead, takes over. */
#define LOG_SEGMENT_BYTES_FIRST (1ull << 20)
#define LOG_SEGMENT_BYTES_MIN (64ull << 10) /* for tests and small machines */
#define LOG_BLOCK (64u << 10)               /* what readers read at once, and a segment's index has an entry for */
#define LOG_LOST_KEPT 64                    /* named lost ranges remembered; more are counted */

struct log_store;

struct log_store_options {
    struct disk *disk; /* borrowed, as clock */
    const struct clock *clock;
    const char *dir;        /* copied; made when missing, its parent is not */
    uint64_t segment_bytes; /* 0: LOG_SEGMENT_BYTES; rounded up to 4096. A larger record gets a larger segment */
    bool read_only;         /* for inspection: takes no lock, mends nothing, writes nothing */
    /* Something to say: damage, a cut tail, a full disk. `code` is a stable CamelCase word: LogTailCut, LogLost,
     * LogSegmentBad, LogSyncFailed, LogWriteFailed, LogFull. Any thread that works on the store; may be NULL. */
    void (*notice)(void *arg, int severity, const char *code, const char *text);
    void *arg;
};

/* Opens and recovers; makes an empty log in an empty directory. ERR_CONFLICT: another process has it. ERR_UNSUPPORTED:
 * a later format. ERR_INVALID: the directory holds something else. ERR_IO, ERR_FULL, ERR_DENIED, ERR_NOMEM. *d says
 * what and what to do. */
enum err log_store_open(const struct log_store_options *options, struct log_store **out, struct diag *d) must_check;
/* Leaves a mark, so that the end is certain, and lets go. All readers are gone. NULL is fine. */
void log_store_close(struct log_store *s);

/* ---- the catalogue ---- */

enum log_object_type { LOG_CHANNEL = 1, LOG_CURSOR = 2 };

/* Payload of LOG_OBJECT: u8 type, u8 0, u16 length of the name, u32 number, u32 channel, u32 0, i64 since, name, value.
 */
struct log_object {
    enum log_object_type type;
    uint32_t number;  /* of its type, never used again in this log */
    uint32_t channel; /* of a cursor: its channel's number */
    int64_t since_ns; /* wall time since which nobody uses it; 0: it is in use */
    struct slice name;
    struct slice value; /* the owner's own; of a cursor: where it stands (slot.h) */
};
#define LOG_OBJECT_HEAD 24
#define LOG_OBJECT_NAME_MAX 1024

/* Objects as they were found at open or are written since. Only between open and the first append, or by the writer.
 * Slices are valid until the next append. */
void log_store_each_object(const struct log_store *s, void (*visit)(void *arg, const struct log_object *o), void *arg);
/* A number that was never used for this type; by the writer or before it starts. */
uint32_t log_store_next_number(struct log_store *s, enum log_object_type type);

/* ---- writing ---- */

struct log_write {
    enum log_kind kind;              /* LOG_EVENT, LOG_OBJECT, LOG_OBJECT_GONE */
    uint32_t channel, spread;        /* LOG_EVENT */
    const struct ce_event *event;    /* LOG_EVENT; borrowed */
    const struct log_object *object; /* the others; borrowed */
    uint64_t sequence;               /* out, as what follows */
    int64_t wall_ns;
    uint64_t bytes; /* what it takes in the log */
};

/* Writes them in order, into the next segment when this one is full; durable only after commit. A segment's end is
 * synced before the next begins. ERR_FULL: the disk is; what was written before it stays and counts (writes with
 * sequence != 0), the rest may be tried again later. ERR_NOMEM: likewise. ERR_TOO_LARGE: the first one without a
 * sequence can never be written. Any other error: S5. */
enum err log_store_append(struct log_store *s, struct log_write *writes, size_t count) must_check;
/* Makes all that was appended durable and visible. ERR_IO: S5; nothing of it is acknowledged. */
enum err log_store_commit(struct log_store *s) must_check;
/* Writes a mark if something was committed since the last one, and commits it: what stands before is certain then, even
 * if the disk damages it. To be called when the log is idle. */
enum err log_store_mark(struct log_store *s) must_check;

/* Any thread: the last sequence that readers see; 0 while empty. */
uint64_t log_store_committed(const struct log_store *s);
/* Writer: the sequence of the last record written, committed or not. */
uint64_t log_store_last(const struct log_store *s);
/* Any thread: S5 has come true; *why may be NULL. */
bool log_store_failed(const struct log_store *s, struct diag *why);

/* ---- reading ---- */

struct log_reader;

struct log_view { /* slices valid until the reader's next call */
    struct log_record record;
    struct slice payload;
    uint64_t segment; /* where it lies: the segment's first sequence, and the offset in its file */
    uint64_t offset;
};

/* Records of this channel (0: all of every kind) from this sequence on. Any thread. ERR_NOMEM. */
enum err log_reader_new(struct log_store *s, uint32_t channel, uint64_t from, struct log_reader **out) must_check;
void log_reader_free(struct log_reader *r); /* NULL is fine */
/* The next one. ERR_PENDING: none so far, and none was up to what log_store_committed said before the call. ERR_IO:
 * cannot be read now. ERR_CLOSED: who writes this log, which is only read here, has given back or rewritten what was
 * there: it is to be opened again. Damage is skipped; a notice was given at open or is given now, and log_store_lost
 * counts it. */
enum err log_reader_next(struct log_reader *r, struct log_view *out) must_check;
/* Moves it; costs as much as a new one without its memory. */
void log_reader_seek(struct log_reader *r, uint64_t from);

/* Any thread: the sequence of the channel's first record written at or after this time; one more than committed when
 * there is none. */
uint64_t log_store_seek_time(struct log_store *s, uint32_t channel, int64_t wall_ns);

/* ---- what there is: any thread ---- */

struct log_channel_usage { /* of the events of one channel, in one segment or in all; sequences 0 when there are none */
    uint32_t channel;
    uint64_t events, bytes, first, last;
    int64_t first_wall_ns, last_wall_ns;
};
struct log_segment_info {
    uint64_t first, last; /* sequences; of the newest: as far as committed */
    uint64_t bytes, size; /* used, of the file */
    int64_t made_wall_ns;
    bool newest, compacted;
};
/* Oldest first; usage of each channel in it, in no order. Holds a lock while it calls: visit must not call the store.
 */
void log_store_each_segment(struct log_store *s,
                            void (*visit)(void *arg, const struct log_segment_info *i,
                                          const struct log_channel_usage *usage, size_t count),
                            void *arg);
void log_store_usage(struct log_store *s, uint32_t channel, struct log_channel_usage *out);

struct log_lost {
    uint64_t first, last; /* sequences that are gone, both included; of unknown channels */
    char why[120];
};
/* How many sequences in all; the ranges by index, 0 to LOG_LOST_KEPT - 1: false when there is none. */
uint64_t log_store_lost(const struct log_store *s);
bool log_store_lost_at(const struct log_store *s, size_t i, struct log_lost *out);

/* ---- housekeeping: the keeper (reclaim.c) ----
 *
 * R1  From the first segment on every sequence is covered by one: only the oldest are removed, each for good before the
 *     next. Where nothing is kept further on, a compacted segment without events stays, until it is the oldest or is
 *     joined with a neighbour. So a gap between segments is a loss.
 * R2  Joined segments take the name of the first; the others go when it is in its place for good. So a segment whose
 *     sequences an earlier, compacted one covers is a leftover: opening removes it.
 * R3  Where something is damaged or lost, a segment is not compacted, so that opening finds and names the loss again.
 */

struct log_policy {
    /* Whether a cursor may still need something of this channel between these sequences; a cautious yes is fine. */
    bool (*needed)(void *arg, uint32_t channel, uint64_t first, uint64_t last);
    /* Whether it needs this very event. */
    bool (*wanted)(void *arg, const struct log_view *event);
    /* Beyond need an event is kept for replay while it is younger than this and among the newest bytes of its channel;
     * 0 of either: nothing is. NULL: of no channel. */
    void (*retention)(void *arg, uint32_t channel, int64_t *age_ns, uint64_t *bytes);
    bool (*stop)(void *arg); /* asked between records: give up, there is no time; NULL: never */
    void *arg;
    /* Only segments are looked at whose records all lie below this sequence: of what is committed and not handed to the
     * cursors yet they do not know that they need it. UINT64_MAX: cursors know of all that is committed. */
    uint64_t below;
};
struct log_reclaimed {
    uint64_t segments_removed, segments_compacted, bytes; /* given back to the disk */
};
/* Removes what nobody needs and nothing keeps; rewrites segments of which less than a quarter is kept, and joins small
 * ones, so that a reader that is behind does not pin the disk. Events keep their sequences. Not the newest two segments
 * (S6). *out tells what was done, also of a failure, which leaves all else as it was: ERR_IO, ERR_FULL, ERR_NOMEM. The
 * policy is asked without any lock. */
enum err log_store_reclaim(struct log_store *s, const struct log_policy *policy, struct log_reclaimed *out) must_check;
/* Makes the file of the next segment ahead of need, unless that would leave less than `reserve` bytes: then ERR_FULL.
 */
enum err log_store_prepare(struct log_store *s, uint64_t reserve) must_check;

#endif
