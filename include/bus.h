/* SPDX-License-Identifier: Apache-2.0
 *
 * The bus contract: what every backing system (memory, log, kafka, rabbitmq, pubsub) offers to the core, in one table
 * of operations. tests/bus/contract.c proves each sentence below, once, stamped for every backend.
 *
 * Words. A bus is one live link to a backing system. A channel is a named stream of events on it, in P partitions. A
 * subscription is a durable cursor on a channel. A stream is one subscription on one loop: the part that this loop owns
 * (may be none, may change). A token names one delivery of one event to one stream.
 *
 * Threads. open, provision, release, known, verify, subscribe, unsubscribe, browse, stop, fini, probe: the control
 * loop's thread. bind, unbind, append, attach, detach, credit, settle, read: the loop they name, which is one of the
 * data loops. Callbacks run on the loop that asked, never inside the call that caused them, and always before the call
 * that ends them reports done.
 */
#ifndef LEAT_BUS_H
#define LEAT_BUS_H

#include "err.h"
#include "event.h"
#include "filter.h"
#include "loop.h"
#include "slice.h"

/* What a backend can do. The core reads bits, never names. */
enum bus_capability {
    BUS_CAP_DURABLE = 1u << 0,  /* an acknowledged event survives kill -9 of this process */
    BUS_CAP_SYNCED = 1u << 1,   /* and power loss */
    BUS_CAP_ORDERED = 1u << 2,  /* events of one key are delivered in the order of their appends */
    BUS_CAP_BROWSE = 1u << 3,   /* events of every channel can be read again: read() works; of some: browse() */
    BUS_CAP_ACK_EACH = 1u << 4, /* single events are settled natively */
    BUS_CAP_SHARED = 1u << 5,   /* several processes may drain one subscription */
    BUS_CAP_FILTER =
        1u << 6, /* keeps for a subscription only what its filter lets pass; elsewhere the dispatcher filters */
    BUS_CAP_REWIND = 1u << 7, /* where not BROWSE: a new subscription begins in the past, by time, where its channel
                               * keeps one; reading the past is subscribing by a name that begins with "replay/" */
};

struct bus;
struct bus_channel;      /* one channel as the bus sees it */
struct bus_subscription; /* one subscription as the bus sees it */
struct bus_stream;       /* one subscription on one loop */

/* A parameter of a bus, channel or subscription: name and value as the user wrote them. */
struct bus_param {
    const char *name, *value;
};

/* Everything the bus needs to know of its surroundings; borrowed for the bus's life. */
struct bus_env {
    struct loop *control;
    struct loop *const *loops; /* the data loops; partitions are owned by loop index */
    size_t loop_count;
    /* The bus has something to say (down, torn tail cut ...). `code` is a stable CamelCase word. Control loop only. May
     * be NULL. */
    void (*notice)(void *arg, struct bus *bus, int severity, const char *code, const char *text);
    void *notice_arg;
};

/* Ends an asynchronous operation; lies in the caller's structure until it ran. */
struct bus_op;
typedef void bus_op_fn(struct bus_op *op, enum err err);
struct bus_op {
    bus_op_fn *done;
    struct loop_task task; /* for backends that end at the end of the turn */
    struct letter letter;  /* for backends that end on another thread */
    enum err result;
    const char *text; /* with an error: why, for people; borrowed for `done`; NULL: nothing to add to the error */
    void *owner;      /* the backend's own */
};

/* One append under way; lies in the caller's structure until done ran. */
struct bus_append;
typedef void bus_append_fn(struct bus_append *a, enum err err);
struct bus_append {
    bus_append_fn *done;
    struct loop_task task;
    struct letter letter;
    enum err result;
    struct loop *home; /* the loop that called */
    struct bus_channel *channel;
    const struct ce_event *event; /* the backend's reference while it needs one */
    size_t charge;                /* the backend's own */
    void *owner;                  /* the backend's own */
};

/* Names one delivery until it is settled or revoked. Opaque: backends may put anything in the two words. */
struct bus_token {
    uint64_t a, b;
};

struct bus_stream_callbacks {
    /* An event for this stream. The event is borrowed until its token is settled or revoked (no own reference needed
     * until then). `attempt`: from 1, how often the bus has handed it out; informational. */
    void (*deliver)(void *arg, struct bus_stream *stream, const struct ce_event *event, struct bus_token token,
                    unsigned attempt);
    /* The token was taken back: stop its attempts, never settle it. The event's borrow ends when this returns. */
    void (*revoked)(void *arg, struct bus_stream *stream, struct bus_token token);
};

enum bus_settle {
    BUS_ACK,    /* done with it: never again after a clean stop */
    BUS_RELEASE /* hand it back now: to be delivered again */
};

struct bus_probe {
    bool healthy;
    uint64_t events;        /* kept for at least one subscription */
    bool counting;          /* there may be more: what was kept before the start, or what others did (BUS_CAP_SHARED),
                             * is still being counted; ask again until it is not */
    uint64_t bytes;         /* what they take, as bounds count; where BUS_CAP_SHARED a guess */
    uint64_t oldest_age_ns; /* of the oldest undelivered; 0 when none, or not known */
    uint64_t appended, dropped;
    uint64_t unmatched; /* of those appended: no subscription's filter wanted them (BUS_CAP_FILTER) */
    uint64_t end;       /* of a bus or channel, where BROWSE: above the offset of everything appended so far; else 0 */
    /* Of the whole bus, where SYNCED; else 0. */
    uint64_t commits, committed; /* syncs that made something durable, and the records in them */
    uint64_t lost;               /* records that the disk damaged and that were skipped */
    char reason[320];            /* why not healthy, and what to do; empty else */
    enum err err;                /* the same, as an operation would end; OK: ERR_UNAVAILABLE. ERR_FULL with a reason:
                                  * the bus as a whole has no room and refuses events for now, while it delivers. Then
                                  * the bus is healthy, its channels are not, and a notice comes with each change. */
};

struct bus_start { /* where a new subscription begins */
    enum { BUS_START_LATEST, BUS_START_EARLIEST, BUS_START_TIME, BUS_START_OFFSET } kind;
    int64_t wall_ns;
    uint64_t offset;
};

struct bus_ops {
    const char *name;      /* "memory" */
    unsigned capabilities; /* enum bus_capability; of a decorator: see bus.capabilities */
    uint64_t hold_ms_max;  /* how long a delivery may stay unsettled; UINT64_MAX: for ever */

    /* Before loops run; may block, with a deadline. Unknown or bad parameter: ERR_INVALID, *d names it. On failure *out
     * is untouched and nothing is left behind. */
    enum err (*open)(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                     struct diag *d);

    /* What open would say of the parameters alone: reads no file, makes nothing. NULL: opening costs nothing, so ask
     * it. */
    enum err (*check)(const struct bus_param *params, size_t count, struct diag *d);

    /* Makes this loop's private state: once per loop, before any other call on that loop. */
    enum err (*bind)(struct bus *b, struct loop *loop);
    /* Frees it. No stream may be attached there. */
    void (*unbind)(struct bus *b, struct loop *loop);

    /* Makes the channel ready to take events: topic, exchange, queue. Idempotent by name: the same name gives the same
     * bus_channel, once more referenced, and the parameters given last count. ERR_INVALID with *d on a bad parameter,
     * at once. OK: *out can be appended to when `op` has ended with OK. `name` is "NS/NAME". `partitions`=1, where the
     * bus knows it: all events are delivered in the order of their appends, those on different loops when one had ended
     * before the other began. */
    enum err (*provision)(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                          struct bus_channel **out, struct bus_op *op, struct diag *d);
    /* Gives one reference back; with the last, and `remove`, everything the channel holds goes, and cursors that
     * unsubscribe left. Its subscriptions have been unsubscribed. Appends under way end first. */
    void (*release)(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op);

    /* Asks what lies behind the bus whether it would take an event of this very channel now, after provision's OK. No
     * event is appended, and nothing of it reaches a subscriber; it changes nothing, but a bus that hears that the
     * channel is gone may set about making it again. OK: it answered, and is well. ERR_UNAVAILABLE, ERR_TIMEOUT: no
     * answer, in a time that the bus bounds. Any other error with `text`: what is wrong. A channel that is full is
     * well, and so is one whose bus has no room: that probe tells. Any number may be under way: the bus puts them
     * together, or in line. The channel is not released before its op has ended; ERR_CLOSED after stop. */
    void (*verify)(struct bus *b, struct bus_channel *c, struct bus_op *op);

    /* Whether it has a channel of this name, of before or from an earlier process: one that has none needs not be made
     * before there is something to keep. NULL where that is not known at once. */
    bool (*known)(struct bus *b, struct slice name);

    /* Makes the durable cursor, before and independent of attach: from op's OK on, an unattached subscription misses
     * nothing. Idempotent by name within its channel: the same name gives the same subscription, once more referenced,
     * and the parameters given last count. `start` NULL: latest. Where nothing is kept before a subscription (neither
     * BROWSE nor REWIND, or its channel keeps no past), earliest is latest. ERR_INVALID with *d on a bad parameter.
     * `name` is "NS/NAME" or a UID: whatever is stable.
     * `filter` (NULL: everything; the bus takes a reference): where BUS_CAP_FILTER, events that are appended after op's
     * OK are kept for this subscription only if they match; subscribing again with another filter changes it from then
     * on, and what was kept already stays. Elsewhere it is ignored.
     * Where REWIND, one called "replay/NAME" is made to be drained and removed: it begins at `start` (a time,
     * earliest), also where one of that name was left by a process that was killed; the channel does not depend on it,
     * and no probe of the channel counts it. ERR_UNSUPPORTED by op: the channel keeps no past. Left behind, it goes by
     * itself. */
    enum err (*subscribe)(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                          struct filter *filter, const struct bus_param *params, size_t count,
                          struct bus_subscription **out, struct bus_op *op, struct diag *d);
    /* Gives one reference back; with the last no stream may be attached. With the last and `remove` the cursor and its
     * backlog go; else they stay for the next subscribe by that name. */
    void (*unsubscribe)(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op);

    /* Appends one event (borrowed; the bus refs what it keeps) on the calling loop. OK: done(err) follows exactly once,
     * on this loop, after append returned; OK there means what the capabilities say. ERR_FULL, ERR_TOO_LARGE,
     * ERR_CLOSED, ERR_NOMEM, ERR_UNAVAILABLE (nobody to take it) at once, and then no done. ERR_UNAVAILABLE by done is
     * doubt: a BUS_CAP_SHARED bus was not answered in time, and may have the event all the same; appended again it may
     * come twice. Events of one key (extension partitionkey), appended on one loop, keep their order. A channel without
     * subscriptions accepts: the event is kept where BROWSE, else it is a counted drop. */
    enum err (*append)(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                       struct loop *loop);

    /* Opens the stream of this subscription on this loop, resuming the cursor. Nothing is delivered before credit. One
     * stream per subscription and loop; wherever one is attached, all of the backlog is delivered, also that of loops
     * without a stream: handing it over is the bus's business. After subscribe's OK. ERR_NOMEM; ERR_CLOSED after stop.
     */
    enum err (*attach)(struct bus *b, struct bus_subscription *s, struct loop *loop,
                       const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out);
    /* Ends it: nothing is delivered nor revoked after op's done; unsettled tokens are void from the call on (not to be
     * settled) and their events come back at the next attach, on whatever loop. */
    void (*detach)(struct bus *b, struct bus_stream *stream, struct bus_op *op);
    /* Allows n more deliveries; each delivery uses up one, a repeated one too. Deliveries not yet settled never exceed
     * the credit given: this is the whole back-pressure. */
    void (*credit)(struct bus *b, struct bus_stream *stream, unsigned n);
    /* Each token once, any order, on the stream's loop. */
    void (*settle)(struct bus *b, struct bus_stream *stream, struct bus_token token, enum bus_settle how);

    /* Where BROWSE (NULL elsewhere): events of the channel by offset or time, oldest first, without any cursor and
     * beside live traffic. Gives at most `most`, of what was appended (done with OK) before the call, and perhaps of
     * what is appended meanwhile; fewer only when there are no more, so a page that is not full is the last. Offsets
     * grow from event to event, with gaps; the next page begins at the last offset plus one. `wall_ns`: when it was
     * appended. The event is borrowed for the callback. op ends after the last of them, on `loop`; ERR_IO, ERR_NOMEM,
     * ERR_CLOSED: what was delivered counts. Refused at once (ERR_NOMEM, ERR_CLOSED), op does not end. */
    enum err (*read)(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                     void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                     void *arg, struct bus_op *op, struct loop *loop);

    /* Where REWIND (NULL elsewhere): when the event of this delivery was appended, as the system behind the bus knows
     * it: wall clock. On the stream's loop, before the token is settled. */
    int64_t (*appended_at)(struct bus *b, struct bus_stream *stream, struct bus_token token);

    /* NULL where BUS_CAP_BROWSE speaks for all channels. Somebody is going to read this one: ERR_UNSUPPORTED where its
     * events cannot be read again. OK: its probe is `counting` until its `end` is one of now; where that cannot be
     * found out it is UINT64_MAX. ERR_NOMEM, ERR_CLOSED. */
    enum err (*browse)(struct bus *b, struct bus_channel *c);

    /* NULL where nobody else works on what is behind the bus, or what they did cannot be counted anew at once (Pub/Sub:
     * it may be a second old). Somebody needs to know what others did until now: probes of all channels and
     * subscriptions are `counting` until they know at least that. Control. */
    void (*recount)(struct bus *b);

    /* Refuses new work (append: ERR_CLOSED), finishes or fails what is pending; after done no callback runs. Streams
     * may still be detached afterwards. */
    void (*stop)(struct bus *b, struct bus_op *op);
    /* Frees everything. Legal on whatever open made, after stop or before any loop ran; before the loops are freed. */
    void (*fini)(struct bus *b);

    void (*probe)(struct bus *b, struct bus_channel *c, struct bus_probe *out); /* c NULL: the whole bus */
    void (*probe_subscription)(struct bus *b, struct bus_subscription *s,
                               struct bus_probe *out); /* its backlog, undelivered and unsettled */
};

/* The common head of every bus. */
struct bus {
    const struct bus_ops *ops;
    unsigned capabilities;
    uint64_t hold_ms_max;
};

/* The backend of this name ("log", "memory", "kafka", "faulty"; "stub" is memory's name of 2018), or NULL. The registry
 * is the only place that knows them all. */
const struct bus_ops *bus_find(const char *name);
/* Names for error messages and help, NULL-terminated. */
const char *const *bus_names(void);

#endif
