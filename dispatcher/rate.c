/* SPDX-License-Identifier: Apache-2.0
 *
 * The rate of a stream: a token for each attempt at the subscriber, one for a whole batch. On the dispatcher's loop.
 *
 * The bucket is one number: rate_due_ns, when a subscriber that kept exactly to its rate would be due for the next
 * attempt. An attempt may begin up to `slack` before it, and moves it one interval on. So in any time t there are at
 * most t / interval + burst attempts, burst being what 100 ms of the rate come to, at least one: enough to make up for
 * a timer that is late, too little to be felt as a burst.
 */
#include <assert.h>

#include "gates.h"

static uint64_t slack(uint64_t interval)
{
    uint64_t burst = RATE_BURST_NS / interval;
    return burst > 1 ? (burst - 1) * interval : 0;
}

/* How long until there is a token. */
static uint64_t token_wait(const struct dispatch_stream *s)
{
    uint64_t interval = s->terms->spec.rate_interval_ns;
    if (interval == 0)
        return 0;
    uint64_t at = loop_now_ns(s->dispatcher->loop) + slack(interval);
    return s->rate_due_ns > at ? s->rate_due_ns - at : 0;
}

bool rate_ready(const struct dispatch_stream *s)
{
    return token_wait(s) == 0;
}

bool rate_take(struct dispatch_stream *s)
{
    uint64_t interval = s->terms->spec.rate_interval_ns, now = loop_now_ns(s->dispatcher->loop);
    if (interval == 0)
        return true;
    if (!rate_ready(s))
        return false;
    s->rate_due_ns = (s->rate_due_ns > now ? s->rate_due_ns : now) + interval;
    return true;
}

void rate_arm(struct dispatch_stream *s)
{
    loop_timer_start(s->dispatcher->loop, &s->rate_timer, token_wait(s));
}

/* The queue may be longer than an event has time: it does not wait beyond its deadline to learn that. */
static void watch_deadline(struct flight *f)
{
    struct loop *loop = f->dispatcher->loop;
    uint64_t deadline = f->stream->terms->spec.delivery.deadline_ns, age = loop_now_ns(loop) - f->begun_ns;
    if (deadline == 0)
        return;
    assert(age <= deadline); /* or it would not have come so far */
    loop_timer_start(loop, &f->timer, deadline - age + 1);
}

void rate_wait(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    assert(f->activity == ACTIVITY_NONE);
    f->activity = ACTIVITY_RATED;
    list_push_back(&s->rated, &f->queue);
    if (s->stopping) {
        flight_abandon(f);
        return;
    }
    watch_deadline(f);
    if (!loop_timer_armed(&s->rate_timer))
        rate_arm(s);
}

static void rate_run(struct dispatch_stream *s)
{
    while (!list_empty(&s->rated) && rate_ready(s)) {
        struct flight *f = container_of(s->rated.next, struct flight, queue);
        flight_unqueue(f);
        flight_attempt_rated(f);
    }
    if (!list_empty(&s->rated))
        rate_arm(s);
    batch_run(s);
}

static void on_token(struct loop_timer *t)
{
    rate_run(container_of(t, struct dispatch_stream, rate_timer));
}

void rate_start(struct dispatch_stream *s)
{
    list_init(&s->rated);
    loop_timer_init(&s->rate_timer, on_token);
}

void rate_stop(struct dispatch_stream *s)
{
    loop_timer_stop(s->dispatcher->loop, &s->rate_timer);
}

void rate_update(struct dispatch_stream *s)
{
    uint64_t at = loop_now_ns(s->dispatcher->loop) + s->terms->spec.rate_interval_ns;
    if (s->rate_due_ns > at) /* the next token of a slower rate may be hours away */
        s->rate_due_ns = at;
    if (!list_empty(&s->rated))
        rate_arm(s);
}
