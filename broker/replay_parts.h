/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to replay*.c: a replay with its two sides.
 */
#ifndef LEAT_BROKER_REPLAY_PARTS_H
#define LEAT_BROKER_REPLAY_PARTS_H

#include "engine_parts.h"
#include "filter.h"
#include "injector.h"
#include "replay.h"

#define REPLAY_PAGE_MAX 256          /* events read at once */
#define REPLAY_PAGE_BYTES (4u << 20) /* and about how many bytes: the next page is as long as the last one's say */
#define REPLAY_PAGE_FIRST 16         /* when nothing is known of their size yet */
#define REPLAY_AHEAD 32              /* events that a rewound subscription has in hand: twice what is under way */

struct replay_event {
    const struct ce_event *event; /* a reference */
    uint64_t offset;
};

/* One injection under way. */
struct replay_slot {
    struct dispatch_injection injection;
    struct replay *replay;
    uint64_t offset;        /* of a page's */
    struct bus_token token; /* of a delivery, which is settled when it ends, unless it was revoked */
    bool busy, revoked;
};

struct rewind_event {
    const struct ce_event *event; /* a reference */
    struct bus_token token;
};

/* A replay by a subscription of its own (replay_rewind.c). */
struct rewind {
    /* Control loop's. */
    struct bus_subscription *handle;
    struct loop_timer look;
    uint64_t well_ns; /* when the bus was there last */
    /* The home loop's. */
    struct bus_stream *stream;
    struct rewind_event waiting[REPLAY_AHEAD]; /* a ring */
    size_t first, count;
    bool over, leaving;
    /* The home loop says, control looks. */
    _Atomic uint64_t stirred_ns;    /* when something of the past came or ended last */
    atomic_uint in_hand;            /* waiting or under way */
    atomic_bool begun, came, stuck; /* came: anything at all; stuck: nothing drains the subscription */
};

struct replay {
    struct engine_fresh fresh; /* where its end is */
    /* Control loop's side. */
    struct list link; /* of the engine's */
    struct engine *engine;
    struct task *task;
    struct engine_subscription *subscription; /* held, as is the channel */
    struct engine_channel *channel, *past;    /* past: what is read, the channel or the subscription's dead letters */
    struct letter letter;                     /* there and back */

    /* Set before the home loop sees it. */
    struct replay_order order;
    struct filter *own; /* the subscription's when it began; a reference, NULL: everything */
    uint64_t end;       /* above the last offset that counts */
    int64_t now_ns;     /* wall time of the start */

    /* The home loop's side. */
    struct injector injector;
    struct bus_op op;
    bool reading, last; /* a page is being read; there is none after it */
    enum err error;
    char why[320];            /* more of an error, for people; empty: nothing */
    size_t most, seen, bytes; /* of the page */
    struct bus_start next;    /* where the next page begins */
    struct replay_event *events;
    size_t count, at; /* of the page, those that count and are not under way yet */
    struct replay_slot slots[INJECTIONS_MAX];
    uint64_t released; /* the lowest offset that was begun in vain; UINT64_MAX: none */
    struct buf shown;  /* of a dry run: its first events as JSON */
    struct rewind rewind;
};

/* Home loop, both ways alike (replay_read.c). */
/* Whether the event goes to the subscription. */
bool replay_counts(const struct replay *r, const struct ce_event *event);
/* One more of a dry run; `offset` NULL: it has none. */
void replay_counted(struct replay *r, const struct ce_event *event, const uint64_t *offset, int64_t wall_ns);
struct replay_slot *replay_free_slot(struct replay *r); /* NULL: all are busy */
/* Its injection ended so: counted, and no more under way. */
void replay_slot_ended(struct replay_slot *slot, enum dispatch_end how);

/* Control loop: begins one without offsets. An error: nothing is left behind. */
enum err replay_rewind(struct replay *r) must_check;

/* Home loop: the letter has arrived (replay_read.c). */
void replay_arrived(struct letter *m);
/* Control loop: it has ended there (replay.c). */
void replay_ended(struct letter *m);

#endif
