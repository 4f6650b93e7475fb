/* SPDX-License-Identifier: Apache-2.0
 *
 * The event loop: epoll, a heap of timers, a mailbox, a list of tasks. All but loop_post, loop_post_reserved and
 * loop_stop belongs to the loop's own thread.
 *
 * Invariants:
 *  1. An event taken from epoll runs its watch only if that watch was not removed since: loop_watch_remove blanks the
 *     rest of the batch, so a watch may be freed, and its memory used by a new one, while events for the old one are
 *     still in hand. Of a watch that was changed since, it reports only what the change still asks for.
 *  2. A timer started while timers run waits for the next turn at least, also with a delay of 0: it sorts behind all
 *     that were due.
 *  3. A turn sleeps only when no task is queued, no stop was asked for and no timer is due.
 */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "mailbox.h"
#include "timers.h"

/* Large enough to spread the cost of a system call, small enough that due timers do not wait long behind a batch. */
#define BATCH_MAX 128

struct loop {
    const struct clock *clock; /* borrowed */
    int epoll;
    bool turning; /* guards against a turn within a turn */
    atomic_bool stop;
    bool woken; /* the mailbox's eventfd reported in this turn */
    uint64_t now_ns;
    struct timers timers;
    struct list tasks;
    struct mailbox mailbox;
    struct epoll_event batch[BATCH_MAX];
    int batch_at, batch_len; /* batch[batch_at, batch_len) has not been run yet */
};

/* Adds the mailbox to epoll. Its tag is the loop itself, which is no watch. */
static enum err watch_mailbox(struct loop *l)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = l};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->mailbox.fd, &e) ? ERR_IO : OK;
}

enum err loop_new(const struct clock *clock, unsigned mailbox_limit, struct loop **out)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    enum err e = mailbox_init(&l->mailbox, mailbox_limit);
    if (e) {
        free(l);
        return e;
    }
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0 || watch_mailbox(l)) {
        if (l->epoll >= 0)
            close(l->epoll);
        mailbox_fini(&l->mailbox);
        free(l);
        return ERR_IO;
    }
    l->clock = clock;
    l->now_ns = clock_monotonic_ns(clock);
    list_init(&l->tasks);
    *out = l;
    return OK;
}

/* Runs all letters that are there now; false when there were none. */
static bool run_letters(struct loop *l)
{
    struct letter *m = mailbox_take(&l->mailbox);
    if (!m)
        return false;
    while (m) {
        struct letter *next = m->next; /* m may free itself */
        m->run(m);
        m = next;
    }
    return true;
}

static void run_tasks(struct loop *l)
{
    for (struct list *link; (link = list_pop_front(&l->tasks));) {
        struct loop_task *t = container_of(link, struct loop_task, link);
        t->run(t);
    }
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    assert(!l->turning);
    while (run_letters(l) || !list_empty(&l->tasks))
        run_tasks(l);
    mailbox_fini(&l->mailbox);
    close(l->epoll);
    free(l);
}

/* How long epoll may sleep, in its milliseconds; -1: until something happens. Rounded up, so that no timer is found
 * early. */
static int sleep_ms(struct loop *l, uint64_t wait_ns)
{
    if (wait_ns == 0 || !list_empty(&l->tasks) || atomic_load(&l->stop))
        return 0;
    if (l->timers.root) {
        /* Not now_ns: the turn before may have taken long. */
        uint64_t now = clock_monotonic_ns(l->clock), due = l->timers.root->due_ns;
        uint64_t left = due > now ? due - now : 0;
        if (left < wait_ns)
            wait_ns = left;
    }
    if (wait_ns == UINT64_MAX)
        return -1;
    uint64_t ms = wait_ns / NS_PER_MS + (wait_ns % NS_PER_MS != 0);
    return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

static void run_batch(struct loop *l)
{
    while (l->batch_at < l->batch_len) {
        struct epoll_event e = l->batch[l->batch_at++];
        if (e.data.ptr == l) {
            l->woken = true;
        } else if (e.data.ptr) {
            struct loop_watch *w = e.data.ptr;
            uint32_t events = e.events & (w->events | EPOLLERR | EPOLLHUP);
            if (events)
                w->run(w, events);
        }
    }
}

static void run_timers(struct loop *l)
{
    uint64_t newer = l->timers.sequence;
    for (struct loop_timer *t; (t = l->timers.root) && t->due_ns <= l->now_ns && t->sequence < newer;) {
        timers_remove(&l->timers, t);
        t->run(t);
    }
}

enum err loop_turn(struct loop *l, uint64_t wait_ns)
{
    assert(!l->turning);
    int n = epoll_wait(l->epoll, l->batch, BATCH_MAX, sleep_ms(l, wait_ns));
    if (n < 0 && errno != EINTR)
        return ERR_IO;
    l->turning = true;
    l->now_ns = clock_monotonic_ns(l->clock);
    l->batch_at = 0;
    l->batch_len = n < 0 ? 0 : n;
    run_batch(l);
    run_timers(l);
    if (l->woken) {
        l->woken = false;
        run_letters(l);
    }
    run_tasks(l);
    l->turning = false;
    return OK;
}

enum err loop_run(struct loop *l)
{
    do {
        enum err e = loop_turn(l, UINT64_MAX);
        if (e)
            return e;
    } while (!atomic_exchange(&l->stop, false));
    return OK;
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stop, true);
    mailbox_wake(&l->mailbox);
}

const struct clock *loop_clock(const struct loop *l)
{
    return l->clock;
}

uint64_t loop_now_ns(const struct loop *l)
{
    return l->now_ns;
}

enum err loop_watch_add(struct loop *l, struct loop_watch *w, int fd, uint32_t events, loop_watch_fn *run)
{
    assert(fd >= 0 && run);
    struct epoll_event e = {.events = events, .data.ptr = w};
    *w = (struct loop_watch){.run = run, .fd = -1, .events = events};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e))
        return ERR_IO;
    w->fd = fd;
    return OK;
}

enum err loop_watch_change(struct loop *l, struct loop_watch *w, uint32_t events)
{
    assert(w->fd >= 0);
    if (events == w->events && !(events & EPOLLET)) /* edge-triggered: changing re-arms */
        return OK;
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, w->fd, &e))
        return ERR_IO;
    w->events = events;
    return OK;
}

void loop_watch_remove(struct loop *l, struct loop_watch *w)
{
    if (w->fd < 0)
        return;
    int rc = epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    assert(rc == 0); /* fails only where the descriptor was closed too early, which would leave w with the kernel */
    w->fd = -1;
    for (int i = l->batch_at; i < l->batch_len; i++)
        if (l->batch[i].data.ptr == w)
            l->batch[i].data.ptr = NULL;
}

void loop_timer_init(struct loop_timer *t, loop_timer_fn *run)
{
    *t = (struct loop_timer){.run = run};
}

void loop_timer_start(struct loop *l, struct loop_timer *t, uint64_t delay_ns)
{
    assert(t->run);
    if (t->armed)
        timers_remove(&l->timers, t);
    timers_insert(&l->timers, t, delay_ns < UINT64_MAX - l->now_ns ? l->now_ns + delay_ns : UINT64_MAX);
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
    if (t->armed)
        timers_remove(&l->timers, t);
}

void loop_task_init(struct loop_task *t, loop_task_fn *run)
{
    list_init(&t->link);
    t->run = run;
}

void loop_defer(struct loop *l, struct loop_task *t)
{
    assert(t->run);
    if (list_empty(&t->link))
        list_push_back(&l->tasks, &t->link);
}

void loop_task_cancel(struct loop_task *t)
{
    list_remove(&t->link);
}

enum err loop_post(struct loop *l, struct letter *m)
{
    return mailbox_post(&l->mailbox, m, false);
}

void loop_post_reserved(struct loop *l, struct letter *m)
{
    enum err e = mailbox_post(&l->mailbox, m, true);
    assert(e == OK);
}
