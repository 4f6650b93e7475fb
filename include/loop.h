/* SPDX-License-Identifier: Apache-2.0
 *
 * One epoll loop on one thread: descriptors, timers, deferred work, and a mailbox for the other threads.
 *
 * All functions but loop_post, loop_post_reserved and loop_stop are for the loop's own thread (before loop_run: the
 * thread that made it).
 * A turn: wait for descriptors or the next timer; run what is ready; run due timers; run letters from the mailbox; run
 * deferred work until none is left. Callbacks may add and remove any watch, timer or task, also those of the same turn.
 * Watches, timers, tasks and letters lie in the caller's structures: adding one never allocates, so timers and tasks
 * cannot fail.
 */
#ifndef LEAT_LOOP_H
#define LEAT_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include "clock.h"
#include "err.h"
#include "list.h"

struct loop;

/* A loop on this clock (borrowed, outlives it). `mailbox_limit`: letters that loop_post accepts before ERR_FULL; those
 * of loop_post_reserved do not count. ERR_NOMEM, or ERR_IO when the system has no descriptor left. */
enum err loop_new(const struct clock *clock, unsigned mailbox_limit, struct loop **out) must_check;
/* Frees it; NULL is fine. Letters still in the mailbox are run first, and work that is still deferred, so that what
 * they own is not leaked. Nobody else may know the loop any more. */
void loop_free(struct loop *l);

/* Runs turns until loop_stop. Returns OK, or ERR_IO when epoll itself fails. */
enum err loop_run(struct loop *l) must_check;
/* One turn that waits at most wait_ns for something to happen (0: not at all; UINT64_MAX: until something does); sleep
 * is counted in milliseconds, rounded up. For tests and drains. */
enum err loop_turn(struct loop *l, uint64_t wait_ns) must_check;
/* Ends loop_run after the current turn. Any thread. */
void loop_stop(struct loop *l);

const struct clock *loop_clock(const struct loop *l);
/* Monotonic time, read once a turn: what timers go by. */
uint64_t loop_now_ns(const struct loop *l);

/* ---- descriptors ---- */
struct loop_watch;
typedef void loop_watch_fn(struct loop_watch *w, uint32_t events);
struct loop_watch {
    loop_watch_fn *run; /* events: EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP */
    int fd;             /* -1: not watched */
    uint32_t events;
};
/* Level-triggered unless `events` holds EPOLLET. The descriptor stays the caller's. ERR_IO when epoll refuses; w->fd is
 * -1 then. */
enum err loop_watch_add(struct loop *l, struct loop_watch *w, int fd, uint32_t events, loop_watch_fn *run) must_check;
enum err loop_watch_change(struct loop *l, struct loop_watch *w, uint32_t events) must_check;
/* Before the descriptor is closed. A watch with fd -1 is left alone. */
void loop_watch_remove(struct loop *l, struct loop_watch *w);

/* ---- timers ---- */
struct loop_timer;
typedef void loop_timer_fn(struct loop_timer *t);
struct loop_timer { /* a node of a pairing heap; all private but run */
    loop_timer_fn *run;
    uint64_t due_ns;
    struct loop_timer *child, *next, *prev;
    uint64_t sequence; /* equal times run in the order in which they were started */
    bool armed;
};
/* Must be called once before the first use. */
void loop_timer_init(struct loop_timer *t, loop_timer_fn *run);
/* Runs once, delay_ns after loop_now_ns; an armed timer is moved. */
void loop_timer_start(struct loop *l, struct loop_timer *t, uint64_t delay_ns);
void loop_timer_stop(struct loop *l, struct loop_timer *t);
static inline bool loop_timer_armed(const struct loop_timer *t)
{
    return t->armed;
}

/* ---- deferred work: runs at the end of the turn, in order ---- */
struct loop_task;
typedef void loop_task_fn(struct loop_task *t);
struct loop_task {
    struct list link;
    loop_task_fn *run;
};
void loop_task_init(struct loop_task *t, loop_task_fn *run);
/* Queues it; one that is queued already stays where it is. */
void loop_defer(struct loop *l, struct loop_task *t);
void loop_task_cancel(struct loop_task *t);

/* ---- letters from other threads ---- */
struct letter;
typedef void letter_fn(struct letter *m);
struct letter { /* lies in the sender's structure; untouched by the sender from posting until run */
    struct letter *next;
    letter_fn *run; /* on the loop's thread */
};
/* Any thread. ERR_FULL beyond the mailbox's limit; the letter is then the caller's again. The loop is woken once per
 * burst. */
enum err loop_post(struct loop *l, struct letter *m) must_check;
/* As loop_post, but never refused: for completions, whose letters were allocated with the request. */
void loop_post_reserved(struct loop *l, struct letter *m);

#endif
