/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory bus from inside. docs/internals/channels.md tells the story; these are the nouns.
 *
 *   memory_bus ── memory_loop × n                  what one data loop keeps: spare records, appends under way
 *     └ bus_channel ── memory_part × n             partition p of the channel, owned by loop p
 *         ├ memory_record                          one event, with one entry per subscription that holds it
 *         └ bus_subscription ── memory_slot × n    the subscription's queue in partition p
 *                                 └ bus_stream     where it is attached
 *
 * Threads. Names, references, lists of channels and of subscriptions: control. Parts, slots, records, streams: their
 * loop alone. What both sides see is atomic: byte counts, statistics, `attached`, `joined`, the two nudge flags,
 * `overflow`, `capacity`, `one_part`. A subscription's filters are control's while no round runs, and then the loops'
 * to read.
 *
 * Invariants.
 *
 * I1  A record lives while refs > 0; refs = its entries. Its charge, with that of its entries, is counted once in
 * channel and bus; an entry's share ends with it, up to MEMORY_LAG a part later, the rest with the record.
 *
 * I2  pins = entries of a record that overflow may not take: of a refusing subscription, or not lying in their home
 *     queue. A record with pins == 0 can be dropped whole.
 *
 * I3  A home queue is sorted by record sequence; while lent_to is set, nothing of it is delivered at home.
 *
 * I4  away = entries of a slot that are at another loop or on the way; they come home as letters, ended or not, and
 *     only home touches the record.
 *
 * I5  A stopped loop posts no letters of its own any more.
 *
 * I6  A slot that is lent changes its drainer only when nothing of it is away. So the events of a key are never in the
 *     hands of two streams.
 */
#ifndef LEAT_CHANNELS_MEMORY_H
#define LEAT_CHANNELS_MEMORY_H

#include <stdatomic.h>

#include "bus.h"
#include "flights.h"
#include "map.h"
#include "round.h"

#define MEMORY_CAPACITY (64ull << 20) /* bytes per channel unless `capacity` says otherwise */
#define MEMORY_TOTAL (256ull << 20)   /* bytes in all unless `total` says otherwise */
#define MEMORY_BATCH 256      /* deliveries of a stream in one go, so that other work of the loop gets its turn */
#define MEMORY_LEND_MAX 256   /* entries of a slot at other loops: the rest stays where overflow can reach it */
#define MEMORY_SPARE_MAX 4096 /* spare records per loop, and spare entries: 640 KiB at most of both */
#define MEMORY_LAG 4096       /* bytes that a part may owe to the counters, so that not every entry's end writes them */
#define MEMORY_LOOK_MAX 64    /* queue entries looked at for one that can be dropped */
#define MEMORY_APART 64       /* bytes between what two loops write, so that they share no cache line */
#define MEMORY_RECALL_NS (100 * NS_PER_MS) /* so long a borrower gets nothing more, and may settle what it has */
#define MEMORY_FLIGHTS_MIN 4               /* deliveries a stream has room for from the start; grows with credit */

enum memory_entry_state {
    ENTRY_QUEUED, /* in its home queue */
    ENTRY_FLIGHT, /* delivered by the home stream, unsettled */
    ENTRY_AWAY    /* lent: in a letter, in the borrower's queue, or delivered there */
};

struct memory_entry {
    union {
        struct list link;     /* in a queue */
        struct letter letter; /* between two loops */
    };
    struct list mates; /* in its record's entries, or among the spares */
    struct memory_slot *home;
    struct memory_slot *borrower; /* while away */
    struct memory_record *record;
    unsigned attempt;  /* times delivered */
    bool droppable;    /* its subscription drops its oldest when the channel is full */
    bool acknowledged; /* of an entry on its way home */
    uint8_t state;
};

struct memory_record {
    struct list link; /* in its part, or among the spares */
    struct memory_part *part;
    const struct ce_event *event; /* owned reference */
    uint64_t sequence;            /* in its part */
    uint64_t time_ns;
    size_t charge; /* of what is left of it */
    struct list entries;
    unsigned refs, pins;
};

struct memory_loop {
    struct memory_bus *bus;
    struct loop *loop;
    size_t index;
    bool bound;
    bool stopped;
    size_t pending;  /* appends called here whose done has not run */
    bool stop_waits; /* the stop round waits for pending */
    struct list spare_records, spare_entries;
    unsigned spare_record_count, spare_entry_count;
    char apart[MEMORY_APART];
};

struct memory_part {
    struct bus_channel *channel;
    struct memory_loop *at;
    struct list slots; /* of subscriptions that joined */
    unsigned slot_count;
    struct filter_index *index; /* of their filters; owned */
    struct list dropping;       /* slots whose queue holds droppable entries */
    struct list records;
    size_t owed; /* bytes of ended entries that the counters still have */
    uint64_t sequence;
    bool closed;
    bool close_waits;    /* the release round waits for this part */
    size_t pending;      /* appends called here on this channel */
    struct letter yield; /* another part asks this one to drop something */
    atomic_bool yield_posted;
    _Atomic uint64_t events, appended, dropped, unmatched;
    char apart[MEMORY_APART];
};

struct bus_channel {
    struct list link; /* in the bus's leaving */
    struct memory_bus *bus;
    unsigned refs;
    _Atomic uint64_t capacity;
    _Atomic uint64_t bytes;
    atomic_uint droppers; /* subscriptions with overflow=drop-oldest */
    atomic_bool one_part; /* partitions=1: everything is appended to `only` */
    struct memory_part *only;
    struct map subscriptions; /* name → bus_subscription */
    struct list leaving;
    struct bus_op *release_op;
    bool closed; /* no loop touches it any more */
    struct round round;
    struct memory_part *parts; /* owned, one per loop */
    char name[];
};

struct memory_slot {
    struct bus_subscription *subscription;
    struct memory_part *part;
    struct list link;            /* in part->slots */
    struct filter_entry wants;   /* in part->index: what its subscription's filter lets pass */
    struct memory_slot *matched; /* the next one that the event being appended matches */
    struct list queue;           /* undelivered entries at home */
    struct list dropping;        /* in part->dropping */
    size_t droppable;            /* entries of the queue that overflow may take */
    struct list borrowed;        /* undelivered entries of other slots of this subscription */
    struct bus_stream *stream;   /* NULL: not attached here */
    struct memory_slot *lent_to; /* who drains this partition meanwhile */
    bool recalling;              /* the recall letter is under way to lent_to and back */
    bool recalled;               /* it was; I6 */
    bool leaving;
    bool leave_waits;
    size_t away;
    struct letter recall, nudge;
    atomic_bool nudge_posted;
    atomic_bool joined;    /* its loop has linked it */
    atomic_bool attached;  /* stream != NULL, for the other loops */
    _Atomic uint64_t held; /* entries of other slots that its stream has and has not settled, for the other loops */
    _Atomic uint64_t events, bytes, oldest_ns, appended, dropped;
    char apart[MEMORY_APART];
};

struct bus_subscription {
    struct list link; /* in the channel's leaving */
    struct bus_channel *channel;
    unsigned refs;
    atomic_bool drop_oldest;
    struct filter *filter;  /* a reference; as asked for last */
    struct filter *in_use;  /* a reference; what loops have, or take in the round that runs */
    struct bus_op *waiting; /* subscribes that wait for the end of the rounds, chained by owner */
    struct bus_op *leave_op;
    struct round round;        /* every loop joins it, takes another filter, or leaves it */
    struct memory_slot *slots; /* owned, one per loop */
    char name[];
};

struct bus_stream {
    struct memory_slot *slot;
    struct loop *loop;
    struct bus_stream_callbacks callbacks;
    void *arg;
    uint64_t credit;
    struct flights flights; /* of struct memory_entry */
    bool starved;           /* no memory for more flights; the next settle makes room */
    bool borrowed_next;     /* queues take turns */
    bool awake;             /* task queued or timer armed */
    bool pumped;
    uint64_t pumped_ns; /* the turn of the last pump */
    bool *gone;         /* set by detach while the pump is inside a callback */
    bool patient;       /* waits for its slot's borrower to settle what it has; meanwhile nothing is lent */
    struct loop_task task;
    struct loop_timer timer, patience;
};

struct memory_bus {
    struct bus base;
    struct bus_env env;
    uint64_t capacity, total;
    _Atomic uint64_t bytes;
    struct map channels; /* name → bus_channel */
    struct list leaving;
    bool stopping, stopped;
    struct bus_op *stop_ops; /* chained by owner */
    struct round round;
    struct memory_loop *loops; /* owned, one per loop */
};

static inline struct memory_bus *memory_of(struct bus *b)
{
    return (struct memory_bus *)b;
}

/* A statistic that one thread writes and others read. */
static inline void stat_add(_Atomic uint64_t *stat, uint64_t n)
{
    atomic_store_explicit(stat, atomic_load_explicit(stat, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t stat_read(const _Atomic uint64_t *stat)
{
    return atomic_load_explicit(stat, memory_order_relaxed);
}

/* memory.c */
struct memory_loop *memory_loop_find(struct memory_bus *m, const struct loop *loop);
void memory_channel_end(struct bus_channel *c); /* frees a closed channel once its last subscription has left */

/* memory_record.c: on the part's loop */
size_t memory_charge(const struct ce_event *event, unsigned entries);
bool memory_part_pay(struct memory_part *p); /* gives back what the part owes; false: nothing */
struct memory_record *memory_record_new(struct memory_part *p, const struct ce_event *event, unsigned entries,
                                        size_t charge);
void memory_record_discard(
    struct memory_record *r); /* whatever its refs; from control, when the part is nobody's any more */
void memory_entry_push(struct memory_slot *s, struct memory_record *r);
void memory_entry_take(struct memory_entry *e, enum memory_entry_state state); /* from its home queue */
void memory_entry_put_back(struct memory_entry *e);                            /* to its home queue */
void memory_entry_end(struct memory_entry *e); /* not in the queue; may free the record */
bool memory_part_drop_oldest(struct memory_part *p);
void memory_slot_clear(struct memory_slot *s);
void memory_spares_init(struct memory_loop *l);
void memory_spares_free(struct memory_loop *l);

/* memory_append.c */
enum err memory_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                       struct loop *loop);
void memory_uncharge(struct bus_channel *c, size_t charge);
enum err memory_part_init(struct memory_part *p, struct bus_channel *c, struct memory_loop *at) must_check;
void memory_part_fini(struct memory_part *p);
size_t memory_key_part(struct slice key, size_t parts); /* the partition of a key */
bool memory_part_quiet(const struct memory_part *p);
void memory_part_settle_down(
    struct memory_part *p); /* answers the release round when it waited for this part to be quiet */

/* memory_route.c: who drains a slot */
void memory_slot_init(struct memory_slot *s, struct bus_subscription *subscription, struct memory_part *p);
void memory_slot_route(struct memory_slot *s);
void memory_slot_nudge_others(struct memory_slot *s);
void memory_entry_go_home(struct memory_entry *e, bool acknowledged);

/* memory_stream.c */
enum err memory_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                       const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out);
void memory_detach(struct bus *b, struct bus_stream *stream, struct bus_op *op);
void memory_credit(struct bus *b, struct bus_stream *stream, unsigned n);
void memory_settle(struct bus *b, struct bus_stream *stream, struct bus_token token, enum bus_settle how);
void memory_stream_wake(struct bus_stream *stream);
void memory_stream_free(struct bus_stream *stream);

/* memory_subscription.c */
enum err memory_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                          struct filter *filter, const struct bus_param *params, size_t count,
                          struct bus_subscription **out, struct bus_op *op, struct diag *d);
void memory_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op);
void memory_subscription_destroy(struct bus_subscription *s); /* no loop touches it any more, or no loop runs */

/* memory_probe.c */
void memory_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out);
void memory_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out);

#endif
