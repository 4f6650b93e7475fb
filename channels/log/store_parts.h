/* SPDX-License-Identifier: Apache-2.0
 *
 * The store's private parts, shared by store*.c and reclaim.c. What the store does and why: the head of store.c.
 *
 * `lock` guards the list of segments, each segment's references, usage and blocks, the lost ranges and the spare. It is
 * held over no I/O but the opening of a segment's file. What the writer alone uses needs no lock; the few numbers that
 * readers look at without it are atomic.
 */
#ifndef LEAT_CHANNELS_LOG_STORE_PARTS_H
#define LEAT_CHANNELS_LOG_STORE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "buf.h"
#include "store.h"

#define STORE_PATH_MAX 4096
#define STORE_SCAN_BYTES (1u << 20)  /* read at once by recovery */
#define STORE_WRITE_BYTES (1u << 20) /* gathered for one write; a larger record gets a larger buffer for itself */
#define STORE_LOST_REMEMBERED 4096   /* ranges remembered so that none is counted twice; LOG_LOST_KEPT are shown */

enum store_severity { STORE_INFO, STORE_WARN, STORE_ERROR };

/* ---- index of one segment (store_index.c, store_sidecar.c) ---- */

/* Of the records that begin in one LOG_BLOCK of the file. */
struct log_block {
    uint64_t offset;   /* of the first of them; 0: there is none */
    uint64_t first;    /* its sequence */
    int64_t wall_max;  /* the latest of their times */
    uint64_t channels; /* a bit for each channel % 64 that has events among them */
};

struct log_index {
    struct log_channel_usage *usage; /* sorted by channel */
    size_t usage_count, usage_room;
    struct log_block *blocks; /* by offset / LOG_BLOCK; NULL: on the disk only */
    size_t block_count;
    int64_t wall_max; /* over all records */
};

void log_index_fini(struct log_index *x);
void log_index_drop_blocks(struct log_index *x);
/* Room for blocks of a file of this size, and, once per channel, for its usage. ERR_NOMEM. */
enum err log_index_reserve_blocks(struct log_index *x, uint64_t size) must_check;
enum err log_index_reserve(struct log_index *x, uint32_t channel) must_check;
bool log_index_reserved(const struct log_index *x, uint32_t channel);
/* A record that begins at `offset`; its channel was reserved. */
void log_index_add(struct log_index *x, const struct log_record *r, uint64_t offset);
/* NULL: no event of it. */
const struct log_channel_usage *log_index_usage(const struct log_index *x, uint32_t channel);
static inline uint64_t log_channel_bit(uint32_t channel)
{
    return 1ull << (channel % 64);
}

/* ---- segments (store_segment.c) ---- */

struct log_segment {
    unsigned refs;            /* under the lock: the list's and one of each who uses it */
    unsigned readers;         /* under the lock: who have `file` open */
    struct disk_file *file;   /* under the lock: for reading; NULL while readers is 0 */
    uint64_t name;            /* what its file is called: its first sequence, unless somebody renamed it */
    uint64_t first;           /* what it covers; */
    uint64_t last;            /* UINT64_MAX while it is the one that is written */
    uint64_t used;            /* bytes up to the end of the last record that counts */
    uint64_t size;            /* of the file */
    _Atomic uint64_t visible; /* bytes that readers may read: up to what is committed */
    _Atomic uint64_t end;     /* used, when no record will follow; else UINT64_MAX */
    int64_t made_wall_ns;
    unsigned char head[LOG_SEGMENT_HEAD]; /* as in the file: what a sidecar must belong to */
    bool compacted;                       /* gaps are expected */
    bool gone;                            /* under the lock: no longer in the list; its file may be another's by now */
    bool indexed;                         /* under the lock: the blocks are in its sidecar, and may go from memory */
    struct log_index index;               /* under the lock, but for the writer's own additions to usage_room */
};

/* The segment with one reference, not in the list. NULL: no memory. */
struct log_segment *log_segment_new(const struct log_head *head, uint64_t name);
/* Under the lock. */
void log_segment_unref(struct log_store *s, struct log_segment *g);
/* Opens its file for one more reader, and takes a reference; under the lock. ERR_NOTFOUND: it is gone. */
enum err log_segment_enter(struct log_store *s, struct log_segment *g, struct diag *d) must_check;
void log_segment_leave(struct log_store *s, struct log_segment *g);
/* DIR/NAME.seg and the like; `suffix` begins with its dot. */
const char *log_store_path(const struct log_store *s, uint64_t name, const char *suffix, char out[STORE_PATH_MAX]);
/* Room for one more in the list, so that log_segments_push cannot fail. Writer. ERR_NOMEM. */
enum err log_segments_reserve(struct log_store *s) must_check;
void log_segments_push(struct log_store *s, struct log_segment *g);
/* Puts `by` (a reference given; NULL: nothing) in the place of `count` neighbours from index `at`. Under the lock; the
 * files are the caller's to replace or remove first. Readers inside the old ones go on reading what they have open. */
void log_segments_replace(struct log_store *s, size_t at, size_t count, struct log_segment *by);
/* The index in the list of the first that covers `sequence` or begins above it; the count when there is none. */
size_t log_segments_find(const struct log_store *s, uint64_t sequence);

/* NAME.idx. Written without sync: whether one is whole and belongs to its segment, its checksum and the segment's head
 * in it tell. */
enum err log_sidecar_write(struct log_store *s, const struct log_segment *g) must_check;
/* Fills g's usage, used and last, and names the lost ranges. ERR_NOTFOUND, ERR_CORRUPT, ERR_NOMEM, ERR_IO. */
enum err log_sidecar_read(struct log_store *s, struct log_segment *g) must_check;
/* Only the blocks, for the caller to free. */
enum err log_sidecar_blocks(struct log_store *s, const struct log_segment *g, struct log_block **out,
                            size_t *count) must_check;

/* ---- walking over records (store_walk.c) ---- */

/* Reads the good records of one file in order and finds the next good one behind damage. */
struct log_walk {
    struct disk *disk;
    const unsigned char *id;
    struct disk_file *file;
    uint64_t offset;    /* where the next record begins */
    uint64_t end;       /* no byte from here on is looked at */
    uint64_t expect;    /* the lowest sequence that may come; lower ones are none of ours */
    uint64_t most;      /* the highest that may come */
    bool damaged;       /* out: something that is no record lay before the last result */
    size_t chunk;       /* bytes read at once */
    unsigned char *buf; /* bytes of the file from `at` on */
    size_t room, len;
    uint64_t at;
};

void log_walk_init(struct log_walk *w, struct log_store *s, size_t chunk);
void log_walk_fini(struct log_walk *w);
/* From here on in this file; forgets what was read of another. */
void log_walk_begin(struct log_walk *w, struct disk_file *file, uint64_t offset, uint64_t end, uint64_t expect,
                    uint64_t most);
/* ERR_NOTFOUND: no more (damaged: but something that is no record). ERR_NOMEM, ERR_IO. `segment` in *out is 0. */
enum err log_walk_next(struct log_walk *w, struct log_view *out) must_check;

/* ---- catalogue (store_catalogue.c) ---- */

struct log_entry { /* owns one object; its name and value lie behind it */
    struct log_object object;
    struct log_entry *next; /* of those that are being written */
    bool gone;
};

struct log_catalogue {
    struct log_entry **entries; /* sorted by type, then number */
    size_t count, room;
    uint32_t next_number[2]; /* of channels, of cursors */
    struct log_entry *first; /* encoded, not yet known to be written; in order */
    struct log_entry **last;
    size_t pending;
};

void log_catalogue_init(struct log_catalogue *c);
void log_catalogue_fini(struct log_catalogue *c);
size_t log_object_size(const struct log_object *o);
void log_object_encode(const struct log_object *o, unsigned char *to);
enum err log_object_decode(struct slice payload, struct log_object *out) must_check;
/* Remembers what a record that is being written says; settled by apply or drop, which cannot fail. ERR_NOMEM. */
enum err log_catalogue_note(struct log_catalogue *c, const struct log_object *o, bool gone) must_check;
void log_catalogue_apply(struct log_catalogue *c);
void log_catalogue_drop(struct log_catalogue *c);
/* Of the LOG_SNAPSHOT record. */
#define LOG_SNAPSHOT_BYTES 16
void log_snapshot_encode(const struct log_catalogue *c, unsigned char to[LOG_SNAPSHOT_BYTES]);
uint64_t log_snapshot_count(struct slice payload); /* 0 when it is none */
/* Builds the catalogue from the newest segments (S6). ERR_NOMEM, ERR_IO. */
enum err log_catalogue_recover(struct log_store *s, struct diag *d) must_check;

/* ---- the store ---- */

struct log_store {
    struct disk *disk;
    const struct clock *clock;
    char *dir;
    uint64_t segment_bytes;
    bool read_only;
    void (*notice)(void *arg, int severity, const char *code, const char *text);
    void *arg;
    unsigned char id[LOG_ID_BYTES];
    struct disk_file *lock_file;

    pthread_mutex_t lock;
    struct log_segment **segments; /* oldest first */
    size_t segment_count, segment_room;
    struct log_lost *lost;
    size_t lost_count, lost_room;
    uint64_t lost_total;
    struct disk_file *spare; /* STORE_SPARE_NAME, made ahead of need; NULL: none */
    uint64_t spare_size;

    _Atomic uint64_t committed;
    _Atomic bool failed;
    struct diag why; /* under the lock */

    /* The writer's. */
    struct log_catalogue catalogue;
    struct log_segment *tail;    /* the newest; NULL: a new one is begun before anything is written */
    struct disk_file *tail_file; /* for writing */
    uint64_t next;               /* sequence of the next record */
    uint64_t durable;            /* all up to this one is on the disk */
    unsigned char *buffer;
    size_t buffer_room, buffer_used;
    bool unsynced; /* something was written to tail_file since its last sync */
    bool marked;   /* a mark would say nothing new */
    bool full;     /* the disk was at the last try: said once */
};

#define STORE_SPARE_NAME "spare.seg.tmp"

static inline void log_store_lock(struct log_store *s)
{
    pthread_mutex_lock(&s->lock);
}

static inline void log_store_unlock(struct log_store *s)
{
    pthread_mutex_unlock(&s->lock);
}

/* Not under the lock. */
void log_store_say(struct log_store *s, enum store_severity severity, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* S5 comes true; returns ERR_IO. Not under the lock. */
enum err log_store_fail(struct log_store *s, const char *code, const struct diag *why);
/* Names a lost range, unless it is known: then false. Not under the lock. */
bool log_store_lose(struct log_store *s, uint64_t first, uint64_t last, const char *why);

#define LOG_FORMAT_MAGIC "leat log "
#define LOG_FORMAT_BYTES 256

/* What DIR/format holds, terminated. ERR_NOTFOUND: it is not there. */
enum err log_format_read(struct disk *disk, const char *dir, char text[LOG_FORMAT_BYTES], size_t *len,
                         struct diag *d) must_check;
/* The log's id, as that says. ERR_NOTFOUND; ERR_CORRUPT: it is damaged; ERR_UNSUPPORTED: of a later format. */
enum err log_format_id(struct disk *disk, const char *dir, unsigned char id[LOG_ID_BYTES], struct diag *d) must_check;
/* The number in a name of 20 digits and the suffix; 0: no such name. */
uint64_t log_file_number(const char *name, const char *suffix);
/* Lists the directory, finds or makes the log's id, removes what was being made (store_format.c). *names gets the names
 * of segments, ascending; the caller frees it. */
enum err log_format_open(struct log_store *s, uint64_t **names, size_t *count, struct diag *d) must_check;
/* Takes the segments in and finds where the log ends (store_recover.c). */
enum err log_recover(struct log_store *s, const uint64_t *names, size_t count, struct diag *d) must_check;

#endif
