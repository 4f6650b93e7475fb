/* SPDX-License-Identifier: Apache-2.0
 *
 * Lanes: the events of one subscription that came from a system outside and are not settled yet, and how they are dealt
 * to its streams; with the streams themselves. For a bus whose events arrive in one place (a link, a pull), whichever
 * loop is to deliver them.
 *
 * Invariants.
 * L1. An entry is in exactly one place: waiting in a lane, taken by one stream, or in the list of what is settled. All
 *     three are under the lanes' lock.
 * L2. Events of one key lie in one lane, in the order of their numbers, and a lane has one owner: another stream gets
 * it only when nothing of it is unsettled. So no event of a key overtakes another when streams come and go. L3. No
 * callback of a stream runs for a token after that token was revoked, or its stream detached.
 *
 * Threads: what says so runs on the stream's loop; the rest anywhere, under the lock. The owner (whoever brings events
 * in and takes what is settled away) may be on any one thread.
 */
#ifndef LEAT_CHANNELS_LANES_H
#define LEAT_CHANNELS_LANES_H

#include <pthread.h>
#include <stdatomic.h>

#include "flights.h"
#include "list.h"
#include "post.h"

#define LANES_KEYED 32           /* of a subscription: keys are dealt over them */
#define LANES_COMMON LANES_KEYED /* one more, for events without a key: any stream takes from it */
#define LANES_ALL (LANES_COMMON + 1)

enum lane_place { LANE_WAITS, LANE_TAKEN, LANE_SETTLED };

/* One delivery of the system; the first member of the owner's entry, which is one piece of memory from malloc. */
struct lane_entry {
    struct list link;             /* where it is (L1) */
    const struct ce_event *event; /* owned */
    uint64_t number;              /* rises with the system's order */
    unsigned attempt;
    uint8_t lane;
    /* Under the lock: */
    enum lane_place place;
    struct bus_stream *stream; /* TAKEN: by it */
    bool lost;                 /* TAKEN: the system has it back */
    bool back;                 /* SETTLED: to be handed back, not acknowledged */
};

struct lane {
    struct list entries;      /* waiting, by number */
    struct list ready;        /* in its owner's `ready`, while entries wait */
    struct bus_stream *owner; /* NULL: none; of the common lane always */
    unsigned open;            /* entries that a stream has */
    struct bus_stream *next;  /* who is to own it when open is 0; NULL: the owner stays */
    uint64_t moving_ns;       /* since when */
};

enum lanes_news {
    LANES_SETTLED = 1 << 0, /* something lies in `settled` */
    LANES_WANTED = 1 << 1,  /* there is more credit, or a stream came or went */
};

struct lanes {
    pthread_mutex_t lock;
    const struct clock *clock;
    /* The owner hears of news: any loop, not under the lock. */
    void (*news)(struct lanes *l, unsigned what);
    /* Whether a released entry goes back to the system rather than to its lane: under the lock. NULL: never. */
    bool (*goes_back)(struct lanes *l, const struct lane_entry *e);
    /* Under the lock: */
    struct lane *at;     /* owned, LANES_ALL; NULL before the first stream or event */
    struct list streams; /* by link, in the order of their loops */
    size_t stream_count;
    struct list settled;             /* entries on their way to the owner */
    uint64_t held, held_bytes;       /* entries that are not settled, and their events' bytes */
    _Atomic uint64_t *held_by_all;   /* likewise the bytes, of all lanes that share this; NULL: nobody counts them */
    uint64_t wanted;                 /* what its streams may have at once: the most there ever was */
    uint64_t returned, acknowledged; /* counted, since the beginning: handed back, done with */
};

void lanes_init(struct lanes *l, const struct clock *clock, void (*news)(struct lanes *l, unsigned what));
/* No stream is attached; what lies in it is freed. */
void lanes_fini(struct lanes *l);
/* The room for lanes, before the first put. ERR_NOMEM. */
enum err lanes_room(struct lanes *l) must_check;
/* The lane of an event with this key (empty: none). */
unsigned lanes_of(struct slice key);

/* ---- the owner's: under the lock ---- */

/* A new entry: into its lane, by number; a stream is told. After lanes_room's OK. */
void lanes_put(struct lanes *l, struct lane_entry *e);
/* Everything that waits in one lane (LANES_ALL: in all), appended to `out`; it counts as held still. */
void lanes_drain(struct lanes *l, unsigned lane, struct list *out);
/* It is settled: done with, or (`back`) to be handed back. In no lane any more. */
void lanes_settle(struct lanes *l, struct lane_entry *e, bool back);
/* Everything that waits in one lane (LANES_ALL: in all) is settled, to be handed back. */
void lanes_return(struct lanes *l, unsigned lane);
/* The system has it back. Taken: its stream revokes it and frees it. Waiting: true, and it is the caller's to free. Not
 * for one that is settled. Counted as handed back. */
bool lanes_lose(struct lanes *l, struct lane_entry *e);
void lane_entry_free(struct lane_entry *e);

/* ---- streams: their loop's ---- */

struct bus_stream {
    struct lanes *lanes;
    struct loop *loop;
    size_t index;      /* of the loop */
    void *owner;       /* the backend's: of what lanes */
    struct list link;  /* under the lock: of its lanes */
    struct list ready; /* under the lock: lanes with something for it */
    bool hungry;       /* under the lock: it has credit, and found nothing */
    bool lost;         /* under the lock: some of its entries are */
    uint64_t reach;    /* under the lock: credit and flights, the most there ever were */
    struct bus_stream_callbacks callbacks;
    void *arg;
    uint64_t credit;
    uint32_t open; /* flights */
    struct flights flights;
    struct list taken; /* entries that are not yet delivered */
    struct post *post;
    struct loop_task task, flush;
    struct loop_timer timer;
    uint64_t pumped_ns;
    bool awake, pumped;
    bool *gone;                /* set while callbacks run: whether it was detached meanwhile */
    const atomic_bool *closed; /* of the bus: nothing is delivered any more */
};

enum err stream_attach(struct lanes *l, struct loop *loop, size_t index, const struct bus_stream_callbacks *callbacks,
                       void *arg, const atomic_bool *closed, struct bus_stream **out) must_check;
/* As a bus's operations of these names. */
void stream_detach(struct bus *b, struct bus_stream *st, struct bus_op *op);
void stream_credit(struct bus *b, struct bus_stream *st, unsigned n);
void stream_settle(struct bus *b, struct bus_stream *st, struct bus_token token, enum bus_settle how);
/* The entry of a delivery that is not settled; borrowed. */
struct lane_entry *stream_entry(const struct bus_stream *st, struct bus_token token);
/* Without its loop: the bus is freed. */
void stream_free(struct bus_stream *st);

/* ---- between the two files: under the lock ---- */

/* At most n entries for this stream, appended to `out`; how many. *rest_ns: when to ask again, of lanes that rest. */
unsigned lanes_take(struct bus_stream *st, unsigned n, struct list *out, uint64_t *rest_ns);
/* A stream has one entry less of this lane. */
void lanes_closed(struct lanes *l, unsigned lane);
/* Streams came or went: lanes get their owners. */
void lanes_deal(struct lanes *l);
/* An entry that was held comes back into its lane. */
void lanes_put_back(struct lanes *l, struct lane_entry *e);

#endif
