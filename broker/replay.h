/* SPDX-License-Identifier: Apache-2.0
 *
 * Replay: events that a channel still keeps are delivered again, to one subscription only, as a task. They are read by
 * bus->read (BUS_CAP_BROWSE), and those that the subscription's own filter and the order's let pass go into its running
 * stream (injector.h). Its cursor is not touched, and what arrives meanwhile goes its usual way beside. With `parked`
 * it is the subscription's dead-letter channel that is read: what was redriven or discarded is there, too.
 *
 *     control loop                        home loop of the subscription
 *     replay_start ─────────────────────→ a page is read, its events are injected, the next page ...
 *     task ended   ←───────────────────── the end was met, or it was canceled, or nothing drains the subscription
 *
 * A replay lives in memory: a crash ends it, and nothing is lost by that, since what it read stays where it is.
 *
 * All functions here: control loop.
 */
#ifndef LEAT_BROKER_REPLAY_H
#define LEAT_BROKER_REPLAY_H

#include "engine.h"
#include "task.h"

#define REPLAY_SHOWN_MAX 10 /* events that a dry run shows: enough to see whether they are those that were meant */

struct replay_order {
    struct bus_start from;
    uint64_t to_offset;    /* the last that counts */
    int64_t to_ns;         /* the first event that was appended later ends it */
    struct filter *filter; /* taken over; NULL: everything */
    uint64_t interval_ns;  /* between the beginnings of two deliveries; 0: none */
    bool dry_run;          /* counts, shows the first ones, and delivers nothing */
    char by[TASK_BY_MAX];  /* who asks for it (struct task) */
    bool parked;           /* of what was ever parked for it, whatever became of that; as it was before it was parked */
};

/* Starts the task; `order`'s filter is taken over on OK. Only what the channel has now is replayed. The subscription
 * and its channel stay until the task has ended. ERR_UNSUPPORTED: its bus cannot be browsed; ERR_UNAVAILABLE: it is not
 * ready; ERR_INVALID: by offset, which its bus does not have (BUS_CAP_REWIND); ERR_EXISTS: there, one at a time;
 * ERR_CLOSED: stopping; ERR_FULL: too many tasks; ERR_NOMEM. */
enum err replay_start(struct engine *e, struct engine_subscription *s, const char *what, struct replay_order *order,
                      struct task **out) must_check;

/* When a subscription is there for the first time, and nobody can have it replayed yet: what a process that was killed
 * left of a replay into it on its bus goes. False: there is nothing; else `swept` runs when it is over, whatever came
 * of it. It has the subscription's `op` until then. */
bool replay_sweep(struct engine_subscription *s, void (*swept)(struct engine_subscription *s)) must_check;

#endif
