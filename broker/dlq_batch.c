/* SPDX-License-Identifier: Apache-2.0
 *
 * Redriving and discarding on the home loop: a batch of parked events, a few under way at a time.
 *
 * A redriven event is acknowledged after its end, never before: a crash between brings it back, so it may be delivered
 * twice and is never lost. One that is parked again has by then a new parked event of its own.
 */
#include "dlq_parts.h"

#include <assert.h>

#include "parked.h"

#define DISCARDS_A_TURN 256 /* so that the loop's traffic goes on beside */

static void advance(struct dlq_batch *b);

static void advance_later(struct dlq_batch *b, uint64_t wait_ns)
{
    loop_timer_start(b->errand.session->home->loop, &b->timer, wait_ns);
}

static void on_timer(struct loop_timer *t)
{
    advance(container_of(t, struct dlq_batch, timer));
}

/* Could not be redriven: it stays, and this task does not try it again. */
static void keep(struct dlq_batch *b, struct dlq_entry *e)
{
    e->tried_by = b->task->id;
    b->kept++;
    count(&b->task->failed);
}

static void injected(struct dispatch_injection *i, enum dispatch_end how)
{
    struct dlq_entry *e = i->owner;
    struct dlq_batch *b = e->batch;
    e->batch = NULL;
    b->under_way--;
    if (how == DISPATCH_PARKED) {
        b->parked_again++;
        count(&b->task->failed);
    } else if (how != DISPATCH_RELEASED) {
        count(&b->task->done);
    }
    if (how == DISPATCH_RELEASED && !e->revoked)
        keep(b, e);
    else
        dlq_entry_acknowledge(e);
    advance(b);
}

/* OK: under way. */
static enum err inject(struct dlq_entry *e)
{
    const struct dlq_session *s = e->session;
    struct dispatch_stream *stream = shard_stream_running(s->home, s->subscription);
    const struct ce_event *original;
    if (!stream)
        return ERR_CLOSED;
    enum err err = parked_original(e->event, &original);
    if (err != OK)
        return err;
    e->injection = (struct dispatch_injection){.done = injected, .owner = e};
    err = dispatch_stream_inject(stream, original, &e->injection);
    ce_event_unref(original);
    return err;
}

/* False: not now, the timer goes on. */
static bool redrive(struct dlq_batch *b, struct dlq_entry *e)
{
    uint64_t now = loop_now_ns(e->session->home->loop);
    if (b->due_ns > now) {
        uint64_t wait = b->due_ns - now;
        advance_later(b, wait < DLQ_CANCEL_POLL_NS ? wait : DLQ_CANCEL_POLL_NS);
        return false;
    }
    enum err err = inject(e);
    if (err == ERR_FULL) {
        advance_later(b, DLQ_FULL_WAIT_NS);
        return false;
    }
    if (err == OK) {
        e->batch = b;
        b->under_way++;
        /* What was late by less than an interval is made up for, so that the rate is kept on the average. */
        b->due_ns = (b->due_ns + b->interval_ns > now ? b->due_ns : now) + b->interval_ns;
    } else if (err == ERR_CLOSED) {
        b->no_stream = true;
        return true;
    } else {
        keep(b, e);
    }
    b->next++;
    return true;
}

/* False: the timer goes on. */
static bool discard(struct dlq_batch *b, struct dlq_entry *e)
{
    dlq_entry_acknowledge(e);
    count(&b->task->done);
    b->next++;
    if (b->next % DISCARDS_A_TURN != 0)
        return true;
    advance_later(b, 0);
    return false;
}

static bool ended(const struct dlq_batch *b)
{
    return b->next == b->count || b->no_stream || atomic_load_explicit(&b->task->cancel, memory_order_relaxed);
}

static void advance(struct dlq_batch *b)
{
    struct dlq_session *s = b->errand.session;
    while (!ended(b) && b->under_way < DLQ_REDRIVES_MAX) {
        struct dlq_entry *e = dlq_entry_find(s, b->numbers[b->next]);
        if (!e || e->batch) {
            if (e)
                e->tried_by = b->task->id;
            b->missing++;
            b->next++;
            continue;
        }
        if (!(b->redrive ? redrive(b, e) : discard(b, e)))
            return;
    }
    if (!ended(b) || b->under_way > 0)
        return;
    loop_timer_stop(s->home->loop, &b->timer);
    dlq_errand_answer(&b->errand);
}

void dlq_batch_arrived(struct dlq_errand *e)
{
    struct dlq_batch *b = container_of(e, struct dlq_batch, errand);
    assert(b->task && b->next == 0 && b->under_way == 0);
    loop_timer_init(&b->timer, on_timer);
    advance(b);
}
