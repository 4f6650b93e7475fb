/* SPDX-License-Identifier: Apache-2.0
 *
 * The ping source: one event for each time of a schedule. On one loop.
 *
 * The wall clock is looked at when the next time comes, and once a second until then, so that a clock that was set, or
 * a machine that slept, is noticed. Nothing drifts: each wait is counted from the clock anew. A time that comes due is
 *
 *     waiting     in order of their times, WAITING_MAX of them at most; beyond, the oldest is given up (counted)
 *     flying      at the sink, WINDOW of them at most; one only while the sink fails
 *     settled     accepted, or refused for good (counted)
 *
 * and goes back to waiting when its attempt failed. An event is made for an attempt and dropped after it, so what waits
 * takes no memory but its time.
 *
 * Where several times came due between two looks (the process was stopped, the machine slept, the clock was set), the
 * newest is sent and the others are missed: told, counted, never sent in a burst.
 *
 * A part that is opened while the one before it is closing (a new plan for the same source) goes on where that one was:
 * it takes over what waits, and at the end what did not fly home. Invariants: every tick is in one of the two lists; a
 * closing source has no timer but `grace`.
 */
#include "ping.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"
#include "loop.h"

#define LOOK_NS (1 * NS_PER_S) /* how late a clock that was set is noticed */
#define BACK_S_MAX 300         /* a clock set back by less is waited for, as nobody wants a time twice */
#define MISSED_MAX 100000      /* more are not counted: nobody cares, and counting takes time */
#define WAITING_MAX 1024       /* ticks; at one a minute what 17 hours bring */
#define WINDOW 16              /* ticks under way: a slow sink need not be slower than the schedule */
#define BACKOFF_NS (50 * NS_PER_MS)
#define BACKOFF_NS_MAX (30 * NS_PER_S) /* a sink that is back is found within this */
#define RETRY_AFTER_NS_MAX (600 * NS_PER_S)
#define GRACE_NS (5 * NS_PER_S) /* for what is under way at the end; a plan waits as long at most */

struct ping {
    struct source head;
    struct ping_options options;
    struct loop *loop;
    struct sink *sink;
    struct source_host host;
    int64_t next_s, seen_s; /* the next time; when the clock was looked at last */
    int64_t done_s;         /* up to here every time came due, or was told as missed */
    struct list waiting, flying;
    size_t waiting_count, flying_count;
    unsigned failures; /* in a row; 0: the sink takes events */
    struct loop_timer look, backoff, grace;
    char last_failure[200];
    bool closing;
    struct ping *successor; /* gets what is left at the end */
    struct loop_task closed_task;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct tick {
    struct list link;
    struct ping *ping;
    int64_t due_s;
    struct sink_call call;
};

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static struct ping *ping_of(struct source *s)
{
    return container_of(s, struct ping, head);
}

__attribute__((format(printf, 4, 5))) static void notice(const struct ping *p, bool trouble, const char *what,
                                                         const char *format, ...)
{
    char text[400];
    va_list args;
    if (!p->host.notice)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->host.notice(p->host.arg, trouble, what, text);
}

/* "2026-11-30T09:00:00Z" */
struct when {
    char text[40];
};
static struct when when(int64_t seconds)
{
    struct when w = {""};
    struct zone_date d = zone_date_of(seconds / 86400);
    int64_t s = seconds % 86400;
    snprintf(w.text, sizeof w.text, "%04d-%02u-%02uT%02d:%02d:%02dZ", (int)d.year, d.month, d.day, (int)(s / 3600),
             (int)(s / 60 % 60), (int)(s % 60));
    return w;
}

/* ---- sending ---- */

static void pump(struct ping *p);
static void ended(struct ping *p);

/* Up to the oldest event that is not settled, else as far as times came due. */
static void tell_place(struct ping *p)
{
    int64_t place = p->done_s;
    if (!list_empty(&p->waiting))
        place = container_of(p->waiting.next, struct tick, link)->due_s - 1;
    list_each(l, tmp, &p->flying) {
        int64_t before = container_of(l, struct tick, link)->due_s - 1;
        place = before < place ? before : place;
    }
    __atomic_store_n(&p->host.counters->place, (uint64_t)place, __ATOMIC_RELAXED);
}

static void drop(struct ping *p, struct tick *t)
{
    count(&p->host.counters->failed, 1);
    free(t);
}

/* Takes it among those that wait, in order of their times. */
static void put_waiting(struct ping *p, struct tick *t)
{
    struct list *after = p->waiting.prev;
    while (after != &p->waiting && container_of(after, struct tick, link)->due_s > t->due_s)
        after = after->prev;
    list_insert_after(after, &t->link);
    t->ping = p;
    if (++p->waiting_count <= WAITING_MAX)
        return;
    struct tick *oldest = container_of(list_pop_front(&p->waiting), struct tick, link);
    p->waiting_count--;
    notice(p, true, "ping.lost", "%d events wait for the sink; the one of %s is given up", WAITING_MAX,
           when(oldest->due_s).text);
    drop(p, oldest);
}

static void remember_failure(struct ping *p, const struct sink_answer *a)
{
    if (a->err == OK)
        snprintf(p->last_failure, sizeof p->last_failure, "the sink answered %d", a->status);
    else
        snprintf(p->last_failure, sizeof p->last_failure, "%s%s%.*s", err_name(a->err), a->detail.len ? ": " : "",
                 SLICE_ARG(a->detail));
}

/* It waits again; the others with it, for a while that grows. */
static void try_again(struct ping *p, struct tick *t, uint64_t retry_after_ns)
{
    if (p->failures == 0)
        notice(p, true, "ping.retry",
               "%s: %s; the event of %s, and those that follow, are tried again until it takes them", p->sink->url,
               p->last_failure, when(t->due_s).text);
    uint64_t wait = p->failures < 16 ? BACKOFF_NS << p->failures : BACKOFF_NS_MAX;
    wait = wait < BACKOFF_NS_MAX ? wait : BACKOFF_NS_MAX;
    retry_after_ns = retry_after_ns < RETRY_AFTER_NS_MAX ? retry_after_ns : RETRY_AFTER_NS_MAX;
    put_waiting(p, t);
    if (p->closing || loop_timer_armed(&p->backoff)) /* one of several that flew together has told already */
        return;
    p->failures++;
    loop_timer_start(p->loop, &p->backoff, wait > retry_after_ns ? wait : retry_after_ns);
}

static void failed(struct ping *p, struct tick *t, const struct sink_answer *a)
{
    remember_failure(p, a);
    if (sink_retryable(a->err, a->status) || a->err == ERR_FULL || a->err == ERR_NOMEM || a->err == ERR_CLOSED) {
        try_again(p, t, a->retry_after_ns);
        return;
    }
    notice(p, true, "ping.refused", "%s: %s; the event of %s is not sent again", p->sink->url, p->last_failure,
           when(t->due_s).text);
    drop(p, t);
}

static void sent(struct sink_call *call, const struct sink_answer *a)
{
    struct tick *t = container_of(call, struct tick, call);
    struct ping *p = t->ping;
    list_remove(&t->link);
    p->flying_count--;
    if (a->err == OK && a->status >= 200 && a->status < 300) {
        count(&p->host.counters->emitted, 1);
        if (p->failures > 0)
            notice(p, false, "ping.recovered", "%s takes events again; %zu wait", p->sink->url, p->waiting_count);
        p->failures = 0;
        loop_timer_stop(p->loop, &p->backoff);
        free(t);
    } else {
        failed(p, t, a);
    }
    if (p->closing) {
        ended(p);
    } else {
        tell_place(p);
        pump(p);
    }
}

static void send_one(struct ping *p, struct tick *t)
{
    const struct ce_event *event = NULL;
    struct diag d = {0};
    enum err e = ping_event_make(&p->options, t->due_s, p->host.event_bytes_max, &event, &d);
    struct sink_request request = {.event = event,
                                   .format = CE_MODE_BINARY,
                                   .timeout_ns = p->options.sink_timeout_ns,
                                   .namespace_name = slice_str(p->options.spec->namespace_name)};
    t->call.done = sent;
    if (e == OK)
        e = sink_send(p->sink, &t->call, &request);
    ce_event_unref(event);
    if (e == OK) {
        list_push_back(&p->flying, &t->link);
        p->flying_count++;
    } else {
        failed(p, t, &(struct sink_answer){.err = e, .detail = slice_str(d.text)});
    }
}

static void pump(struct ping *p)
{
    while (!loop_timer_armed(&p->backoff) && !list_empty(&p->waiting) &&
           p->flying_count < (p->failures > 0 ? 1 : WINDOW)) {
        struct tick *t = container_of(list_pop_front(&p->waiting), struct tick, link);
        p->waiting_count--;
        send_one(p, t);
    }
}

static void backoff(struct loop_timer *t)
{
    pump(container_of(t, struct ping, backoff));
}

/* ---- the schedule ---- */

static void come_due(struct ping *p, int64_t due_s)
{
    struct tick *t = calloc(1, sizeof *t);
    count(&p->host.counters->received, 1);
    if (!t) {
        count(&p->host.counters->failed, 1);
        notice(p, true, "ping.lost", "no memory for the event of %s", when(due_s).text);
        return;
    }
    t->due_s = due_s;
    put_waiting(p, t);
    pump(p);
}

static void tell_missed(struct ping *p, uint64_t n, int64_t first, int64_t last, const char *why)
{
    count(&p->host.counters->missed, n);
    notice(p, true, "ping.missed", "%s%llu %s of the schedule passed, from %s to %s, %s; no event is sent for %s",
           n == MISSED_MAX ? "at least " : "", (unsigned long long)n, n == 1 ? "time" : "times", when(first).text,
           when(last).text, why, n == 1 ? "it" : "them");
}

/* What came due while nothing ran. */
static void tell_down(struct ping *p, int64_t place, int64_t now_s)
{
    uint64_t n = cron_count(&p->options.cron, place, now_s, MISSED_MAX);
    if (n > 0)
        tell_missed(p, n, cron_next(&p->options.cron, place), now_s, "while the source did not run");
}

/* From next_s to now. The newest counts; too many to count are as good as none. */
static void catch_up(struct ping *p, int64_t now_s)
{
    static const char why[] = "while the process or the machine stood still, or because its clock was set";
    int64_t first = p->next_s, newest = p->next_s, before = newest, next = cron_next(&p->options.cron, newest);
    uint64_t missed = 0;
    for (; next <= now_s && missed < MISSED_MAX; missed++) {
        before = newest;
        newest = next;
        next = cron_next(&p->options.cron, newest);
    }
    if (next <= now_s) {
        p->next_s = cron_next(&p->options.cron, now_s);
        tell_missed(p, MISSED_MAX, first, now_s, why);
        p->done_s = now_s;
        return;
    }
    p->next_s = next;
    if (missed > 0)
        tell_missed(p, missed, first, before, why);
    p->done_s = newest;
    come_due(p, newest);
}

static void look(struct loop_timer *t)
{
    struct ping *p = container_of(t, struct ping, look);
    int64_t now_ns = clock_wall_ns(loop_clock(p->loop)), now_s = now_ns / (int64_t)NS_PER_S;
    if (now_s < p->seen_s - BACK_S_MAX) {
        notice(p, true, "ping.clock", "the clock went back from %s to %s; the schedule goes on from there",
               when(p->seen_s).text, when(now_s).text);
        p->next_s = cron_next(&p->options.cron, now_s);
        p->seen_s = p->done_s = now_s;
    } else if (now_s > p->seen_s) {
        p->seen_s = now_s;
    }
    if (p->next_s <= now_s) {
        catch_up(p, now_s);
        tell_place(p);
    }
    pump(p); /* what the part before handed over */
    uint64_t wait = LOOK_NS;
    if (p->next_s <= now_s + 1)
        wait = (uint64_t)(p->next_s * (int64_t)NS_PER_S - now_ns);
    loop_timer_start(p->loop, &p->look, wait < LOOK_NS ? wait : LOOK_NS);
}

/* ---- life ---- */

static enum err check(const struct source_spec *spec, struct diag *d)
{
    struct ping_options options;
    enum err e = ping_options_parse(spec, &options, d);
    if (e == OK)
        ping_options_fini(&options);
    return e;
}

static void hand_over(struct ping *from, struct ping *to)
{
    for (struct list *l; (l = list_pop_front(&from->waiting));) {
        from->waiting_count--;
        put_waiting(to, container_of(l, struct tick, link));
    }
}

static void finish_close(struct loop_task *task)
{
    struct ping *p = container_of(task, struct ping, closed_task);
    assert(list_empty(&p->flying));
    if (p->successor) {
        hand_over(p, p->successor);
        pump(p->successor);
    } else if (!list_empty(&p->waiting)) {
        notice(p, true, "ping.lost", "%zu %s not been accepted by %s when the source ended (%s)", p->waiting_count,
               p->waiting_count == 1 ? "event had" : "events had", p->sink->url,
               p->last_failure[0] ? p->last_failure : "no answer yet");
    }
    for (struct list *l; (l = list_pop_front(&p->waiting));)
        drop(p, container_of(l, struct tick, link));
    if (p->successor)
        tell_place(p->successor);
    else /* what was lost has been told */
        tell_place(p);
    if (*p->host.last == &p->head)
        *p->host.last = NULL;
    loop_timer_stop(p->loop, &p->grace);
    void (*closed)(void *arg) = p->closed;
    void *arg = p->closed_arg;
    sink_unref(p->sink);
    ping_options_fini(&p->options);
    free(p);
    closed(arg);
}

static void ended(struct ping *p)
{
    if (list_empty(&p->flying))
        loop_defer(p->loop, &p->closed_task);
}

/* What is still at the sink is taken back; whether it came there is not known. */
static void grace(struct loop_timer *t)
{
    struct ping *p = container_of(t, struct ping, grace);
    for (struct list *l; (l = list_pop_front(&p->flying));) {
        struct tick *tick = container_of(l, struct tick, link);
        sink_cancel(&tick->call);
        p->flying_count--;
        put_waiting(p, tick);
    }
    ended(p);
}

static void close_source(struct source *s, void (*closed)(void *arg), void *arg)
{
    struct ping *p = ping_of(s);
    assert(!p->closing);
    p->closing = true;
    p->closed = closed;
    p->closed_arg = arg;
    loop_timer_stop(p->loop, &p->look);
    loop_timer_stop(p->loop, &p->backoff);
    loop_timer_start(p->loop, &p->grace, GRACE_NS);
    ended(p);
}

/* "2026-11-30T09:00:00+01:00": what the clocks of the schedule's zone show then. */
static struct when when_there(const struct ping *p, int64_t seconds)
{
    int32_t offset = zone_at(p->options.cron.zone, seconds).offset, minutes = abs(offset) / 60;
    struct when w = when(seconds + offset);
    size_t n = strlen(w.text);
    if (offset != 0 && n > 0 && w.text[n - 1] == 'Z')
        snprintf(w.text + n - 1, sizeof w.text - n + 1, "%c%02d:%02d", offset < 0 ? '-' : '+', minutes / 60,
                 minutes % 60);
    return w;
}

static void tell_begin(const struct ping *p)
{
    const struct source_spec *spec = p->options.spec;
    const char *schedule = source_param(spec, "schedule", ""), *zone = source_param(spec, "timezone", "");
    notice(p, false, "ping.started", "schedule \"%.150s\"%s%.60s: the next time is %s",
           *schedule ? schedule : PING_SCHEDULE_DEFAULT, *zone ? " in " : "", zone, when_there(p, p->next_s).text);
}

/* Goes on where the part before is, or begins with the first time that is yet to come. */
static void begin(struct ping *p)
{
    int64_t now_s = clock_wall_ns(loop_clock(p->loop)) / (int64_t)NS_PER_S;
    struct source *last = *p->host.last;
    int64_t place = (int64_t)__atomic_load_n(&p->host.counters->place, __ATOMIC_RELAXED);
    p->seen_s = p->done_s = now_s;
    p->next_s = cron_next(&p->options.cron, now_s);
    if (last && ping_of(last)->closing) {
        struct ping *before = ping_of(last);
        p->seen_s = before->seen_s;
        p->next_s = before->next_s;
        p->done_s = before->done_s;
        p->failures = before->failures;
        before->successor = p;
        hand_over(before, p);
    } else {
        tell_begin(p);
        if (place > 0 && place < now_s)
            tell_down(p, place, now_s);
        tell_place(p);
    }
    *p->host.last = &p->head;
    loop_timer_start(p->loop, &p->look, 0);
    if (p->failures > 0)
        loop_timer_start(p->loop, &p->backoff, BACKOFF_NS);
}

static enum err open_source(const struct source_spec *spec, const struct source_host *host, struct source **out,
                            struct diag *d)
{
    struct ping_options options;
    const struct ce_event *event = NULL;
    enum err e = ping_options_parse(spec, &options, d);
    if (e != OK)
        return e;
    struct ping *p = calloc(1, sizeof *p);
    e = p ? ping_event_make(&options, 0, host->event_bytes_max, &event, d) : ERR_NOMEM;
    ce_event_unref(event);
    if (e != OK) {
        ping_options_fini(&options);
        free(p);
        return e;
    }
    p->head.ops = &ping_source;
    p->options = options;
    p->loop = host->loop;
    p->sink = sink_ref(host->sink);
    p->host = *host;
    list_init(&p->waiting);
    list_init(&p->flying);
    loop_timer_init(&p->look, look);
    loop_timer_init(&p->backoff, backoff);
    loop_timer_init(&p->grace, grace);
    loop_task_init(&p->closed_task, finish_close);
    begin(p);
    *out = &p->head;
    return OK;
}

static const char *last_failure(const struct source *s)
{
    return container_of(s, const struct ping, head)->last_failure;
}

const struct source_ops ping_source = {
    .name = "ping",
    .one_loop = true,
    .check = check,
    .open = open_source,
    .close = close_source,
    .last_failure = last_failure,
    .main = ping_main,
};
