/* SPDX-License-Identifier: Apache-2.0
 *
 * The trace: what happened to the latest events on one loop, in memory of a fixed size: "where did my event go?". Three
 * nouns: a request brought events; an event was taken by a channel; an attempt sent it somewhere for a subscription.
 *
 * Written on the loop for every event and attempt: a note is one copy into a ring, which overwrites its oldest notes.
 * Nothing is allocated, nothing can fail, nobody waits. Read on the same loop (others ask it by letter).
 */
#ifndef LEAT_TRACE_H
#define LEAT_TRACE_H

#include "event.h"
#include "loop.h"
#include "slice.h"

#define TRACE_BYTES_DEFAULT (4u << 20) /* of all loops together: some 7,500 events with one delivery each */
#define TRACE_BYTES_MIN (64u << 10)     /* of one loop: less holds no burst */
#define TRACE_BYTES_MAX (1ull << 30)    /* of all loops together: explain walks it */
#define TRACE_BODY_MAX 128              /* bytes of an answer that a note keeps */
#define TRACE_ID_MAX 128                /* bytes of the id of a cause, or of what was made */
#define TRACE_ATTRIBUTES_MAX 2048       /* bytes of an event's attributes that a note keeps */

struct trace;

enum trace_phase { TRACE_SUBSCRIBER, TRACE_REPLY, TRACE_DEAD_LETTER, TRACE_PARK };

/* How an event ended for a subscription. */
enum trace_end {
    TRACE_DELIVERED,
    TRACE_DEAD_LETTERED,
    TRACE_PARKED,
    TRACE_FILTERED,
    TRACE_EXPIRED,
    TRACE_DUPLICATE,
    TRACE_RELEASED, /* handed back to the bus: it comes again */
    TRACE_END_COUNT
};
/* "delivered", "dead-lettered", "parked" ... */
const char *trace_end_name(enum trace_end how);

struct trace_attempt {
    enum trace_phase phase;
    unsigned number;       /* from 1, within the phase; 0: it failed there unsent, as `text` says */
    int status;            /* 0: no answer */
    enum err err;          /* as in struct sink_answer */
    uint64_t duration_ns;  /* from sending to the end of the answer */
    uint64_t next_wait_ns; /* until the next attempt; 0: none follows */
    struct slice text;     /* first bytes of the answer, or the detail */
};

/* `bytes` for this loop (at least TRACE_BYTES_MIN), index and notes together; the memory is taken from the system as it
 * is used. Loops with the same `key` give the same event the same mark. ERR_NOMEM. */
enum err trace_new(struct loop *loop, size_t bytes, const uint64_t key[2], struct trace **out) must_check;
/* NULL is fine. */
void trace_free(struct trace *t);

/* ---- writing; `t` NULL: nothing happens. Subjects are numbers that the engine gives to channels and
 * subscriptions ---- */

/* A channel took the event. `request`: the number of the request that brought it, 0 when none did (a reply, a source);
 * `cause`: the event whose delivery made it (a reply's original), or NULL. */
void trace_event(struct trace *t, const struct ce_event *e, uint32_t channel, uint64_t request,
                 const struct ce_event *cause);
void trace_attempt(struct trace *t, const struct ce_event *e, uint32_t subscription, const struct trace_attempt *a);
void trace_ended(struct trace *t, const struct ce_event *e, uint32_t subscription, enum trace_end how);

/* ---- reading ---- */

enum trace_kind {
    TRACE_NOTE_EVENT, /* a channel took it */
    TRACE_NOTE_MADE,  /* its delivery made another event, which a channel took */
    TRACE_NOTE_ATTEMPT,
    TRACE_NOTE_END
};
struct trace_note {
    enum trace_kind kind;
    uint64_t mark; /* the same for all notes about one event: of one id and source */
    int64_t wall_ns;
    uint32_t subject; /* of EVENT and MADE: the channel that took it; else the subscription */
    uint64_t request;
    struct slice other;           /* EVENT: the id of its cause, or empty; MADE: the id of what was made */
    const struct ce_event *event; /* EVENT: the attributes, without data; NULL when they were too long */
    struct trace_attempt attempt;
    enum trace_end end;
};
/* A note, borrowed for the call; false: no more of them. */
typedef bool trace_note_fn(void *arg, const struct trace_note *n);
/* The notes about events with this id (and source, unless it is empty), newest first. */
void trace_find(const struct trace *t, struct slice id, struct slice source, trace_note_fn *note, void *arg);
/* What happened since then is all there. */
int64_t trace_since(const struct trace *t);

#endif
