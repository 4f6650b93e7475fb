/* SPDX-License-Identifier: Apache-2.0
 *
 * The log bus from inside: the nouns, and who may touch what. log.c tells the story.
 *
 *   log_bus ── log_loop × n          what one data loop keeps: spares, and what other threads left for it
 *     ├ bus_channel                  a name, a number in the log, an index of filters
 *     │   └ bus_subscription         a cursor: its slots under one lock
 *     │        ├ slot × n            a window over the log (slot.h); log_share: who drains it
 *     │        └ bus_stream          the subscription on one loop
 *     ├ log_pending                  an event or an operation on its way through the writer
 *     ├ log_writer  (thread W)       everything that is written
 *     ├ log_refill  (thread R)       everything that is read
 *     └ log_keeper  (thread K)       space
 *
 * Locks, in the order in which one thread may take them: catalogue → channel.index → subscription.lock → one of
 * {writer.lock, refill.lock, loop.lock, dirty_lock, notes.lock}, which are leaves. No lock is held over a callback or
 * over the store's writing.
 *
 * Invariants.
 *
 * I1  What is staged after the index was changed was matched with the changed index: appends match and stage under the
 *     index's read lock, changes are staged under its write lock. So a change has a place in the sequence, its barrier:
 *     events below it were matched before, events from it on after.
 *
 * I2  A LIVE slot holds everything that matched, from its window's first event up to what W has routed. W pushes to
 *     LIVE slots only, R to BEHIND ones only; each pushes nothing below what the other has looked at.
 *
 * I3  A BEHIND slot becomes LIVE (R, under the lock) when R has read all there was, and that is above `passed`, the
 *     last event that W did not push to it, and not below the subscription's barrier.
 *
 * I4  W sets a barrier before it commits: R cannot read beyond a barrier that is not known.
 *
 * I5  Nothing names a subscription or channel after W has passed its CURSOR_GONE or CHANNEL_GONE, but who pinned it.
 *
 * I6  A slot changes its drainer only when nothing of it is in flight. So the events of a key are never in the hands of
 *     two streams.
 *
 * I7  The events and bytes of a subscription count from the append's staging until acknowledged, dropped or failed.
 *
 * I8  Of a LIVE slot nothing is unread. So what R could not deliver, because it was damaged or a younger filter judged
 *     it, ends to count when the slot has come to the end of the log.
 */
#ifndef LEAT_CHANNELS_LOG_LOG_H
#define LEAT_CHANNELS_LOG_LOG_H

#include <pthread.h>
#include <stdatomic.h>

#include "bus.h"
#include "map.h"
#include "../flights.h"
#include "../post.h"
#include "../round.h"
#include "slot.h"
#include "store.h"

#define LOG_CAPACITY (16ull << 30)       /* backlog of a subscription unless `capacity` says otherwise */
#define LOG_RETENTION_BYTES (1ull << 30) /* of a channel, kept for replay beyond need */
#define LOG_RETENTION_NS (24 * 3600 * NS_PER_S)
#define LOG_RESERVE (256ull << 20)   /* of the disk, left free; a twentieth of a small disk */
#define LOG_STAGED_MAX (32ull << 20) /* bytes of events that wait for W: what one second of a slow disk may take */
#define LOG_BATCH_RECORDS 1024       /* of one commit, */
#define LOG_BATCH_BYTES (8ull << 20) /* and its bytes: a larger one gains nothing and holds memory */
#define LOG_QUEUED_MAX (6ull << 20)  /* bytes of events that wait in all slots together; above, slots read again */
#define LOG_SPARE_MAX 1024           /* spare log_pending of a loop */
#define LOG_MATCH_INLINE 6           /* subscriptions that one event matches without further memory */
#define LOG_DELIVER_MAX 256          /* deliveries of a stream in one go, so that other work gets its turn */
#define LOG_FOREIGN_NS                                                                                                 \
    (100 * NS_PER_MS) /* attach on all loops takes a moment: until then each slot waits for its own */
#define LOG_STARVED_NS (100 * NS_PER_MS) /* until a stream without memory for its first delivery tries again */
#define LOG_EPOCHS_MAX 4                 /* filters of the past that a BEHIND subscription remembers */
#define LOG_SETTLED_MAX 1000             /* settlements, or LOG_TICK_NS, until cursors are written */
#define LOG_TICK_NS NS_PER_S
#define LOG_FORGET_NS (7 * 24 * 3600 * NS_PER_S) /* how long a cursor that nobody uses keeps what it needs */

struct log_bus;
struct log_pending;

struct log_yield {     /* the loop's own: log_yield.c */
    uint64_t since_ns; /* of this window, */
    unsigned appends;  /* and how many it has seen */
    uint64_t until_ns; /* catching up yields to producers until then */
    int file;          /* what the kernel says of this thread; -1: not open */
    uint64_t worked_ns;
    int64_t room;     /* old events beyond what slots have earned, as log_yield_cost counts them */
    int64_t given;    /* of that: what the last window gave for idle time */
    struct list held; /* streams that wait for their share, in turn */
    struct loop_timer held_end;
};

struct log_loop {
    struct log_bus *bus;
    struct loop *loop;
    size_t index;
    bool bound;
    struct list spare; /* the loop's own */
    unsigned spare_count;
    pthread_mutex_t lock;
    struct list completed; /* under it: log_pending that W is done with */
    struct list ready;     /* under it: streams that may have something to deliver */
    struct list pages;     /* under it: log_read with a page read */
    struct post *post;
    struct list outgoing; /* W's own: of the batch that it completes */
    struct log_yield yield;
};

struct bus_channel {
    struct log_bus *bus;
    _Atomic uint32_t number; /* 0 until W has given it; then fixed */
    bool written, unused;    /* W's: it is in the log; as one that nobody uses */
    unsigned refs;           /* control's */
    atomic_uint pins;
    _Atomic uint64_t capacity, retention_bytes, retention_ns;
    atomic_bool one_part, closed;
    _Atomic int64_t unused_since; /* log_unused_now; 0: used */
    uint32_t spread;              /* of all events, with one part: hash of the name */
    pthread_rwlock_t index_lock;
    struct filter_index *index;   /* under it, as the next two */
    struct map subscriptions;     /* name → bus_subscription */
    unsigned indexed;             /* subscriptions in the index */
    struct log_pending *farewell; /* so that removing cannot fail */
    _Atomic uint64_t appended, dropped, unmatched;
    char name[];
};

struct log_share {              /* what the bus knows of a slot beyond its window */
    struct bus_stream *drainer; /* who takes from it; NULL: nobody */
    bool owed;                  /* another one is to drain it once nothing of it is in flight: I6 */
    bool leaving;               /* and meanwhile nothing more is taken; else the drainer goes on */
    uint64_t seen;              /* LIVE: nothing below is pushed any more (I2) */
    uint64_t passed;            /* I3 */
    int64_t earned;             /* old events that it may have while catching up yields: log_yield.c */
    bool moving;                /* R's: takes part in the turn */
    int64_t unread;             /* events that are counted (I7) and to be read from the log, and their bytes; what */
    int64_t unread_bytes;       /* is still counted so when all has been read never comes: I8 */
};

struct log_epoch { /* events below `below` are judged by this filter */
    struct filter *filter;
    uint64_t below; /* UINT64_MAX until W has passed the barrier */
    uint64_t id;    /* from 1 */
};

struct log_census { /* what is in the log for a subscription whose backlog nobody has counted */
    bool wanted;
    uint64_t next, until;     /* sequences; until: its barrier */
    struct slot_ledger *done; /* as found at open; NULL: nothing is */
};

struct bus_subscription {
    struct bus_channel *channel;
    uint32_t number; /* W's */
    bool written;    /* W's: its cursor is in the log */
    unsigned refs;   /* control's */
    atomic_uint pins;
    atomic_bool drop_oldest, moved; /* moved: its cursor is to be written */
    bool indexed;                   /* under the index's lock, as `wants` */
    _Atomic int64_t unused_since;   /* log_unused_now; 0: used */
    struct filter_entry wants;
    struct log_pending *farewell;
    struct list dirty; /* under dirty_lock */
    struct list want;  /* under refill.lock: R is to look at it */
    struct list count; /* likewise: R is to count its backlog */

    pthread_mutex_t lock;
    struct filter *filter;      /* under it, as what follows; as given last */
    struct log_epoch *epochs;   /* owned; room for LOG_EPOCHS_MAX; NULL: it never had another filter */
    unsigned epoch_count, turn; /* turn: changes whenever positions are set anew */
    uint64_t epoch_id;          /* of the last one */
    uint64_t barrier;           /* UINT64_MAX until W has passed its cursor */
    bool gone, trim;            /* trim: over capacity, and the oldest is not in memory */
    unsigned streams;
    struct bus_stream **at;     /* by loop; NULL: none; one allocation with slots and shares */
    struct slot_ledger *before; /* what was done when the cursor was read; NULL: nothing beyond the slots */
    struct log_census census;
    size_t slot_count;  /* one per loop */
    struct slot *slots; /* owned */
    struct log_share *shares;

    _Atomic int64_t events, bytes;
    _Atomic uint64_t appended, dropped;
    char name[];
};

struct bus_stream {
    struct bus_subscription *subscription;
    struct log_loop *at;
    struct bus_stream_callbacks callbacks;
    void *arg;
    _Atomic uint64_t credit; /* the loop writes */
    struct flights flights;  /* of struct slot_entry, of struct slot; under the subscription's lock */
    size_t next_slot;        /* slots take turns */
    struct list ready_link;  /* under loop.lock */
    struct list held_link;   /* the loop's: log_yield.c */
    bool foreign;            /* it has been there for LOG_FOREIGN_NS: drains slots of loops without a stream too */
    bool awake, dry, pumped; /* the loop's: pump is queued; the last one found nothing; there was one, then: */
    uint64_t pumped_ns;
    bool *gone; /* set by detach while the pump is inside a callback */
    struct loop_task task;
    struct loop_timer timer, foreign_timer;
};

enum log_pending_kind {
    LOG_PENDING_EVENT,
    LOG_PENDING_CHANNEL, /* a channel that is new, or whose record is to be written anew */
    LOG_PENDING_CHANNEL_GONE,
    LOG_PENDING_CURSOR, /* subscribe: a new cursor, or a barrier */
    LOG_PENDING_CURSOR_GONE,
    LOG_PENDING_STOP
};

struct log_pending {
    struct list link;    /* staged, in a batch, completed, or spare */
    struct list op_link; /* of operations, in bus.ops: control's */
    enum log_pending_kind kind;
    enum err result;
    struct log_bus *bus; /* NULL: gone */
    struct bus_channel *channel;
    struct bus_subscription *subscription;
    uint64_t bytes, sequence;

    struct letter letter; /* operations */
    struct bus_op *op;    /* NULL: nobody waits */
    struct bus_start start;
    uint64_t epoch_mark; /* the filter's epoch that this barrier closes; 0: none */
    unsigned rounds;     /* goes by all loops so often first: what W left for them is then done */
    size_t hop;
    bool posted;

    struct bus_append *append; /* LOG_PENDING_EVENT, as what follows: the others are allocated without it, since each
                                * channel and subscription keeps one for its end */
    struct log_loop *home;
    const struct ce_event *event; /* a reference */
    uint32_t spread;
    bool unmatched; /* no subscription's filter wanted it, and there are some */
    unsigned match_count, match_room;
    struct bus_subscription **matches; /* inline or owned */
    struct bus_subscription *inline_matches[LOG_MATCH_INLINE];
};

static inline void stat_add(_Atomic uint64_t *stat, uint64_t n)
{
    atomic_fetch_add_explicit(stat, n, memory_order_relaxed);
}

static inline uint64_t stat_read(const _Atomic uint64_t *stat)
{
    return atomic_load_explicit(stat, memory_order_relaxed);
}

#endif
