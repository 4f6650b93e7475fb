/* SPDX-License-Identifier: Apache-2.0
 *
 * Rate and flow of what is delivered once more.
 */
#include "injector.h"

#include <assert.h>

static void on_timer(struct loop_timer *t)
{
    struct injector *i = container_of(t, struct injector, timer);
    i->advance(i);
}

void injector_init(struct injector *i)
{
    assert(i->home && i->subscription && i->task && i->advance);
    i->under_way = 0;
    i->no_stream = false;
    loop_timer_init(&i->timer, on_timer);
}

void injector_later(struct injector *i, uint64_t wait_ns)
{
    loop_timer_start(i->home->loop, &i->timer, wait_ns);
}

bool injector_due(struct injector *i)
{
    uint64_t now = loop_now_ns(i->home->loop);
    if (i->due_ns <= now)
        return true;
    uint64_t wait = i->due_ns - now;
    injector_later(i, wait < INJECT_CANCEL_POLL_NS ? wait : INJECT_CANCEL_POLL_NS);
    return false;
}

enum err injector_begin(struct injector *i, const struct ce_event *event, struct dispatch_injection *injection)
{
    struct dispatch_stream *stream;
    enum err e = shard_stream_awake(i->home, i->subscription, &stream);
    if (e == OK)
        e = dispatch_stream_inject(stream, event, injection);
    else if (e != ERR_CLOSED)
        e = ERR_FULL; /* later there is one */
    uint64_t now = loop_now_ns(i->home->loop);
    if (e == OK) {
        i->under_way++;
        /* What was late by less than an interval is made up for, so that the rate is kept on the average. */
        i->due_ns = (i->due_ns + i->interval_ns > now ? i->due_ns : now) + i->interval_ns;
    } else if (e == ERR_FULL) {
        injector_later(i, INJECT_FULL_WAIT_NS);
    } else if (e == ERR_CLOSED) {
        i->no_stream = true;
    }
    return e;
}

void injector_fini(struct injector *i)
{
    assert(i->under_way == 0);
    loop_timer_stop(i->home->loop, &i->timer);
}
