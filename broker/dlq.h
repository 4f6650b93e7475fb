/* SPDX-License-Identifier: Apache-2.0
 *
 * Access to parked events, on every bus: also on one that cannot browse.
 *
 * A session drains a subscription's dead-letter channel through an ordinary stream, on the subscription's home loop: it
 * holds what it is given, unsettled, as far as a bound; acknowledges what was redriven or discarded; and hands the rest
 * back by detaching, soon after nobody uses it any more. So looking changes nothing, and a crash at any time brings all
 * of it back. There is one session per subscription, shared by all who look.
 *
 *     control loop                                home loop of the subscription
 *     dlq_snapshot ────────────────────────────→ attach, credit, wait until all is here
 *              done ←─────────────────────────── numbers and references of the events
 *     dlq_batch (numbers) ─────────────────────→ acknowledge, or inject into the running stream and acknowledge
 *              done ←─────────────────────────── how many, what went wrong
 *
 * All functions here: control loop.
 */
#ifndef LEAT_BROKER_DLQ_H
#define LEAT_BROKER_DLQ_H

#include "engine.h"
#include "filter.h"
#include "injector.h"
#include "task.h"

#define DLQ_HELD_MAX 10000             /* events that a session holds at once: what somebody can look through */
#define DLQ_HELD_BYTES_MAX (32u << 20) /* and their bytes; as JSON they still fit into one answer of 64 MiB */
#define DLQ_IDLE_NS (2 * NS_PER_S)     /* unused for so long, a session hands everything back */
#define DLQ_QUIET_NS (500 * NS_PER_MS) /* a bus that brings nothing for so long has no more to bring */
#define DLQ_FIRST_NS (5 * NS_PER_S)    /* a bus that is shared brings the first only when others have let go of it */
#define DLQ_ELSEWHERE                                                                                                  \
    "another leat on the same bus has events in hand that are parked here: it lists, redrives or discards them. Try "  \
    "again when it is done, or there"
#define DLQ_IDS_MAX 1000 /* in one selection; more are better named by a filter */

struct dlq { /* part of the engine */
    struct engine *engine;
    struct list sessions;
    bool stopping;
    void (*stopped)(struct engine *e);
};
void dlq_init(struct dlq *d, struct engine *e);
void dlq_fini(struct dlq *d);
/* Nothing new is begun; the tasks are canceled already. */
void dlq_stop_begin(struct dlq *d);
/* After the streams have stopped, so that every redrive has ended: `stopped` when all sessions have ended. */
void dlq_stop(struct dlq *d, void (*stopped)(struct engine *e));

/* ---- sessions ---- */

struct dlq_session;
/* Keeps the subscription, also one that the plan has no more, until closed. ERR_UNAVAILABLE: it has no dead-letter
 * channel (yet); ERR_CLOSED: stopping; ERR_NOMEM. */
enum err dlq_session_open(struct dlq *d, struct engine_subscription *s, struct dlq_session **out) must_check;
/* What it was asked has been answered. NULL is fine. */
void dlq_session_close(struct dlq_session *s);
const struct engine_subscription *dlq_session_subscription(const struct dlq_session *s);

/* An order to the home loop; private to dlq*.c. */
struct dlq_errand {
    struct letter letter;
    struct list link;
    struct dlq_session *session;
    void (*run)(struct dlq_errand *e);  /* there */
    void (*done)(struct dlq_errand *e); /* back here */
};

struct dlq_item {
    uint64_t number;              /* in its session */
    uint64_t tried_by;            /* the task that could not do it; 0: none */
    const struct ce_event *event; /* a reference */
    int64_t parked_ns;            /* 0: not known */
    struct dlq_session *session;
};

/* What is parked now. Lies in the caller's structure until done ran. */
struct dlq_snapshot {
    void (*done)(struct dlq_snapshot *s);
    void *owner;
    enum err error;
    struct dlq_item *items; /* free() */
    size_t count;
    uint64_t expected;     /* as the bus counts */
    bool counting;         /* which goes on: there may be more */
    uint64_t acknowledged; /* by the session before; private */
    bool more;             /* than are here: the bound was met, or the bus did not bring all in time */
    bool full;             /* the bound was met */
    bool elsewhere;        /* the bus is shared, and did not bring all: another process has them in hand */
    struct dlq_errand errand;
    struct engine_fresh fresh;     /* private */
    struct bus_subscription *from; /* likewise; NULL: nothing has ever been parked */
};
void dlq_snapshot_take(struct dlq_session *session, struct dlq_snapshot *s);

/* Events to be redriven or discarded. Lies in the caller's structure until done ran. */
struct dlq_batch {
    void (*done)(struct dlq_batch *b);
    void *owner;
    bool redrive;             /* else discard */
    struct injector injector; /* its task, whose done and failed are counted, and its rate are set */
    const uint64_t *numbers;
    size_t count;
    /* Results beside the task's counts: */
    size_t missing;      /* not there any more: taken back by the bus, or another task's */
    size_t parked_again; /* redriven in vain: there is a new parked event; counted as failed */
    size_t kept;         /* could not be redriven, still parked; counted as failed */
    struct dlq_errand errand;
    size_t next; /* private, of the home loop */
};
void dlq_batch_run(struct dlq_session *session, struct dlq_batch *b);

/* ---- several subscriptions ---- */

/* Everything that is parked for the subscriptions chosen, oldest first. */
struct dlq_collection {
    void (*done)(struct dlq_collection *c, enum err e);
    void *owner;
    struct dlq_session **sessions;
    size_t session_count;
    struct dlq_item *items;
    size_t count;
    uint64_t total;               /* as the buses count; more than count when a bound was met */
    bool more, elsewhere;         /* as dlq_snapshot's */
    struct dlq_snapshot snapshot; /* private, as what follows */
    size_t at;
};
/* Opens a session for each subscription that `choose` picks. ERR_NOTFOUND: it picked none. */
enum err dlq_collection_open(struct dlq *d, bool (*choose)(void *arg, const struct engine_subscription *s), void *arg,
                             struct dlq_collection *c) must_check;
/* done follows, never inside the call. */
void dlq_collection_fill(struct dlq_collection *c);
void dlq_collection_close(struct dlq_collection *c);

/* Which events are meant. */
struct dlq_selection {
    char **ids; /* owned, as what follows */
    size_t id_count;
    char *source;          /* with ids: only of this source; NULL: any */
    struct filter *filter; /* NULL: everything */
    bool all;
};
void dlq_selection_fini(struct dlq_selection *s);
/* Of the original event: what parking added does not count, but can be asked for. */
bool dlq_selects(const struct dlq_selection *s, const struct ce_event *event);

struct dlq_order {
    bool redrive; /* else discard */
    uint64_t interval_ns;
    struct dlq_selection selection; /* taken over */
    char by[TASK_BY_MAX];           /* who asks for it (struct task) */
};
/* Starts the task; the collection's sessions and the selection are taken over on OK. ERR_FULL, ERR_NOMEM. What is
 * parked from now on is not touched. */
enum err dlq_job_start(struct dlq *d, const char *what, struct dlq_order *order, struct dlq_collection *c,
                       struct task **out) must_check;

#endif
