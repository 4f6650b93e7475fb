/* SPDX-License-Identifier: Apache-2.0
 *
 * Tasks: work that somebody asked for and that takes its time, with its progress, until well after its end. Control
 * loop; but the counts of a running task may be written by one other thread.
 */
#ifndef LEAT_BROKER_TASK_H
#define LEAT_BROKER_TASK_H

#include <stdatomic.h>

#include "buf.h"
#include "clock.h"
#include "err.h"
#include "list.h"

#define TASKS_KEPT_MAX 100   /* that have ended: enough to look back on a day's work */
#define TASK_BY_MAX 128      /* a token's name, and an address as text */
#define TASKS_RUNNING_MAX 64 /* each holds memory, and more at once only hinder each other */

enum task_state { TASK_RUNNING, TASK_DONE, TASK_CANCELED, TASK_FAILED };

struct task {
    struct list link;
    uint64_t id;      /* from 1, never used again in the life of the process */
    const char *kind; /* "redrive": a literal */
    char *what;       /* "subscription/orders in default" */
    enum task_state state;
    atomic_bool cancel; /* wanted: the one who works looks at it */
    /* total: how many there are to do, as far as is known; done: ended well; failed: did not. */
    _Atomic uint64_t total, done, failed;
    _Atomic uint64_t at, until; /* of what goes through a log: the offset it is at, and the end; until 0: it does not */
    int64_t started_wall_ns, ended_wall_ns;
    char by[TASK_BY_MAX]; /* who asked for it: a token's name and an address; empty: nobody said */
    char message[256];    /* for people: why it failed, or what is left; empty: nothing to say */
    char *shown;          /* owned: JSON objects with commas between them, of events it tells of; NULL: none */
};

struct task_list {
    const struct clock *clock;
    struct list running, ended; /* oldest first */
    size_t running_count, ended_count;
    uint64_t last_id;
};

void task_list_init(struct task_list *l, const struct clock *clock);
/* Nothing may be running. */
void task_list_fini(struct task_list *l);

/* `what` is copied. ERR_FULL: TASKS_RUNNING_MAX are running; ERR_NOMEM. */
enum err task_start(struct task_list *l, const char *kind, const char *what, struct task **out) must_check;
/* The last word of its owner, who must not touch it afterwards. With `state` TASK_DONE a task that was to be canceled
 * and has not done all counts as canceled. */
void task_end(struct task_list *l, struct task *t, enum task_state state);
/* Running or ended; NULL when there is none, or not any more. */
struct task *task_find(struct task_list *l, uint64_t id);
/* Asks for its end; false when it has ended already. */
bool task_cancel(struct task *t);
void task_cancel_all(struct task_list *l);

const char *task_state_name(enum task_state s);
/* As a JSON object. */
void task_put_json(const struct task *t, struct buf *out);

#endif
