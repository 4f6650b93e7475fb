/* SPDX-License-Identifier: Apache-2.0
 *
 * The laboratory of the durable log: a store on a fake disk beside a model of what must be in it. Whoever drives it
 * takes random steps; after a crash, `lab_verify` reads everything back and compares:
 *
 *   - all that was committed is there, equal to the byte and in order (S1 of store.h), and named as lost is nothing;
 *   - what was never committed is there or not, but nothing behind a hole (S2), and nothing that was never appended;
 *   - readers see committed records only (S3); those of one channel see exactly that channel's;
 *   - a cursor is never ahead of the data (S4); the catalogue is that of the last record found (S6);
 *   - numbers of objects are not given twice; usage and times agree with what is read.
 *
 * A check that does not hold prints what the lab was made from, and fails the cmocka test. One thread.
 */
#ifndef LEAT_TESTS_LOG_LAB_H
#define LEAT_TESTS_LOG_LAB_H

#include "../../channels/log/store.h"
#include "clock.h"
#include "fake_disk.h"
#include "prng.h"

#define LAB_DIR "/data/log"
#define LAB_CHANNELS_MAX 6
#define LAB_BATCH_MAX 12
#define LAB_CLASSES                                                                                                    \
    6 /* of event sizes: tiny, all of one size, one KiB, several sectors, pages, more than a segment                   \
       */

/* What is written, in which mix. */
struct lab_profile {
    const char *name;
    unsigned sizes_from, sizes_to;                                                  /* of events, as classes */
    unsigned append, commit, object, mark, reopen, read, advance, reclaim, prepare; /* weights of the steps */
    unsigned batch_max;
    unsigned steps;    /* of one session: from open to close or crash */
    uint64_t capacity; /* of the disk; 0: endless. Then steps may give ERR_FULL */
    bool kills;        /* sessions also end by a killed process */
    unsigned share;    /* of crash points, in percent: the cheap ones get more */
};

#define LAB_PROFILES 8
extern const struct lab_profile lab_profiles[LAB_PROFILES];

struct lab_record {
    uint64_t sequence, bytes;
    int64_t wall_ns;
    enum log_kind kind;
    uint32_t channel, spread;
    uint32_t event;  /* index of the pool */
    uint32_t object; /* of objects: the number; then their type, version and position */
    uint64_t version, position;
    enum log_object_type type;
    bool dispensable; /* nobody needed it at a reclaim: there or not */
    bool present;     /* found when last looked */
};

struct lab_model {
    struct lab_record *records; /* by sequence */
    size_t count, cap;
    struct lab_record tentative[LAB_BATCH_MAX]; /* handed to an append that has not told what became of them */
    size_t tentatives;
    uint64_t acknowledged; /* all up to here must be there */
    uint64_t versions;
    uint32_t numbers[3]; /* highest number given, by type */
    bool reclaimed;      /* sequences have gaps */
};

struct lab {
    uint64_t seed;
    const char *story; /* what a failure prints in front */
    uint64_t point;
    struct prng random;
    struct fake_disk *disk;
    struct log_store *store;
    struct clock_fake clock;
    struct lab_model model;
    const struct lab_profile *profile;
    uint64_t segment_bytes;
    unsigned notices; /* LAB_SAID_ bits since open */
    bool damaged;     /* by the test: losses may be named */
    bool headless;    /* by the test: the oldest segment is gone, as after a reclaim */
    struct diag diag; /* of the last open */
};
#define LAB_SAID_LOST 1u
#define LAB_SAID_SEGMENT_BAD 2u
#define LAB_SAID_TAIL_CUT 4u
#define LAB_SAID_OTHER 8u

#define lab_check(l, holds, ...)                                                                                       \
    do {                                                                                                               \
        if (!(holds))                                                                                                  \
            lab_fail(l, __FILE__, __LINE__, #holds, " " __VA_ARGS__);                                                  \
    } while (0)
void lab_fail(const struct lab *l, const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 5, 6), noreturn));

/* An empty disk, no store yet. */
void lab_init(struct lab *l, uint64_t seed, const struct lab_profile *p);
/* Lets go of store and disk. */
void lab_fini(struct lab *l);
/* The same model on another disk, which it takes over; no store. */
void lab_fork(const struct lab *from, struct fake_disk *disk, uint64_t seed, struct lab *to);

enum err lab_open(struct lab *l, bool read_only) must_check;
void lab_close(struct lab *l);
/* One random step; whatever error the store gives comes back, and the model knows what it means. */
enum err lab_step(struct lab *l) must_check;
enum err lab_append(struct lab *l, size_t count) must_check;
enum err lab_put_object(struct lab *l) must_check;
/* Makes or moves a cursor; `number` 0: a new one. */
enum err lab_put_cursor(struct lab *l, uint32_t number, uint32_t channel, uint64_t position) must_check;
enum err lab_commit(struct lab *l) must_check;
/* What cursors need is kept, of the rest what the store likes. */
enum err lab_reclaim(struct lab *l) must_check;

/* After an open: reads and compares everything; what was found and not acknowledged so far is so from now on. */
void lab_verify(struct lab *l);
/* After damage: everything found is right, and what was acknowledged and is not found lies in a range that is named as
 * lost, in which nothing is found; `unnamed`: it is enough that something was said (the end of the file is gone, and
 * with it who knew). Returns how many acknowledged records are gone. */
size_t lab_verify_damaged(struct lab *l, bool unnamed);
/* In between: readers see what was committed and nothing else. */
void lab_look(struct lab *l);
/* The pool of events is made; before allocations are made to fail. */
void lab_warm_up(void);
void lab_cool_down(void);
/* Packed bytes of a record's event. */
struct slice lab_event_bytes(const struct lab_record *r);

#endif
