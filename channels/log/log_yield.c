/* SPDX-License-Identifier: Apache-2.0
 *
 * Catching up yields to producers. Deliveries of old events cost the processors as much as new events do, and would
 * take all there is; who sends new ones would wait. So where a loop sees many appends (LOG_MANY in LOG_WINDOW_NS), its
 * BEHIND slots get no more than
 *
 *   - old events for the new ones that are theirs, one for one where they are of one size: what they still have to do
 *     does not grow for this (log_share.earned);
 *   - and all slots of the loop together one more for each LOG_YIELD_PART appends: so it shrinks, also that of a slot
 *     whose channel gets nothing new (log_yield.room);
 *   - and more while there is time for both: as long as the loop's thread spends less than half of its time running, or
 *     waiting for a processor, twice as much with each window (log_yield.given).
 *
 * With fewer appends they take everything. LIVE slots never wait. Streams that have to stand in a row.
 *
 * How much the thread works is the kernel's to say, since a processor that others take is not to be seen from inside:
 * /proc/thread-self/schedstat, "nanoseconds running, nanoseconds waiting to run, ...". Where it does not, there is no
 * third share.
 */
#include "log_bus.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* ---- how busy the loop is ---- */

uint64_t log_yield_worked(struct log_loop *l)
{
    struct log_yield *y = &l->yield;
    char text[96];
    uint64_t ran, waited;
    if (y->file < 0)
        y->file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    ssize_t n = y->file < 0 ? -1 : pread(y->file, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited) == 2 ? ran + waited : UINT64_MAX;
}

/* Whether there was time left in the window that ends. */
static bool idle(struct log_loop *l, uint64_t window_ns)
{
    struct log_yield *y = &l->yield;
    uint64_t before = y->worked_ns;
    y->worked_ns = l->bus->worked_ns(l);
    return y->worked_ns != UINT64_MAX && y->worked_ns - before < window_ns / 2;
}

static int64_t more(int64_t given)
{
    return given == 0 ? LOG_YIELD_MIN : given < LOG_YIELD_MAX ? 2 * given : given;
}

static void window_end(struct log_loop *l, uint64_t now)
{
    struct log_yield *y = &l->yield;
    uint64_t took = now - y->since_ns;
    bool many = y->appends >= LOG_MANY * (took / LOG_WINDOW_NS);
    y->given = idle(l, took) && many ? more(y->given) : 0;
    if (many)
        y->until_ns = now + 2 * LOG_WINDOW_NS;
    if (y->given && y->room < y->given)
        y->room = y->given;
    y->since_ns = now;
    y->appends = 0;
}

static int64_t cost(uint64_t bytes)
{
    return (int64_t)bytes + LOG_EVENT_COST;
}

void log_yield_appended(struct log_loop *l, uint64_t bytes)
{
    struct log_yield *y = &l->yield;
    uint64_t now = loop_now_ns(l->loop);
    if (now - y->since_ns >= LOG_WINDOW_NS)
        window_end(l, now);
    y->appends++;
    if (y->room < LOG_YIELD_SAVED)
        y->room += cost(bytes) / LOG_YIELD_PART;
}

/* ---- what may be delivered ---- */

void log_yield_earn(struct log_share *share, uint64_t bytes)
{
    if (share->earned < LOG_YIELD_SAVED)
        share->earned += cost(bytes);
}

static bool yields(const struct log_loop *l)
{
    return loop_now_ns(l->loop) < l->yield.until_ns;
}

bool log_yield_may(const struct log_loop *l, const struct log_share *share)
{
    return !yields(l) || share->earned > 0 || l->yield.room > 0;
}

void log_yield_took(struct log_loop *l, struct log_share *share, uint64_t bytes)
{
    if (yields(l))
        *(share->earned > 0 ? &share->earned : &l->yield.room) -= cost(bytes);
}

/* ---- who waits ---- */

void log_yield_arrived(struct log_loop *l)
{
    struct list *i;
    while ((i = list_pop_front(&l->yield.held)))
        log_stream_wake(container_of(i, struct bus_stream, held_link));
    loop_timer_stop(l->loop, &l->yield.held_end);
}

static void held_end(struct loop_timer *t)
{
    log_yield_arrived(container_of(t, struct log_loop, yield.held_end));
}

void log_yield_hold(struct bus_stream *st)
{
    struct log_yield *y = &st->at->yield;
    uint64_t now = loop_now_ns(st->at->loop);
    if (list_empty(&st->held_link))
        list_push_back(&y->held, &st->held_link);
    if (!loop_timer_armed(&y->held_end))
        loop_timer_start(st->at->loop, &y->held_end, y->until_ns > now ? y->until_ns - now : 0);
}

void log_yield_leave(struct bus_stream *st)
{
    struct log_yield *y = &st->at->yield;
    list_remove(&st->held_link);
    if (list_empty(&y->held))
        loop_timer_stop(st->at->loop, &y->held_end);
}

/* ---- beginning and end ---- */

void log_yield_init(struct log_loop *l)
{
    list_init(&l->yield.held);
    loop_timer_init(&l->yield.held_end, held_end);
    l->yield.file = -1;
}

void log_yield_fini(struct log_loop *l)
{
    if (l->yield.file >= 0)
        close(l->yield.file);
}
