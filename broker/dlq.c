/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions as the control loop sees them: who uses them, when they rest, when they end.
 */
#include "dlq_parts.h"

#include <assert.h>
#include <stdlib.h>

void dlq_init(struct dlq *d, struct engine *e)
{
    d->engine = e;
    list_init(&d->sessions);
}

void dlq_fini(struct dlq *d)
{
    assert(list_empty(&d->sessions));
}

const struct engine_subscription *dlq_session_subscription(const struct dlq_session *s)
{
    return s->subscription;
}

/* ---- the end ---- */

static void say_stopped(struct dlq *d)
{
    void (*stopped)(struct engine *) = d->stopped;
    if (!stopped || !list_empty(&d->sessions))
        return;
    d->stopped = NULL;
    stopped(d->engine);
}

static void session_free(struct dlq_session *s)
{
    struct dlq *d = s->dlq;
    struct engine_subscription *subscription = s->subscription;
    loop_timer_stop(engine_control(d->engine), &s->idle);
    list_remove(&s->link);
    map_fini(&s->entries);
    free(s);
    subscription->dlq = NULL;
    engine_subscription_unused(d->engine, subscription);
    say_stopped(d);
}

/* Tells the home loop to hand everything back; one at a time. */
static void rest(struct dlq_session *s)
{
    assert(!s->resting);
    s->resting = true;
    s->used = false;
    s->rest.run = dlq_rest_arrived;
    loop_post_reserved(s->home->loop, &s->rest);
}

void dlq_rested(struct letter *m)
{
    struct dlq_session *s = container_of(m, struct dlq_session, rest);
    s->resting = false;
    if (s->users > 0)
        return;
    if (s->used) /* it has attached again meanwhile */
        rest(s);
    else
        session_free(s);
}

static void idle(struct loop_timer *t)
{
    struct dlq_session *s = container_of(t, struct dlq_session, idle);
    if (s->users == 0 && !s->resting)
        rest(s);
}

void dlq_stop_begin(struct dlq *d)
{
    d->stopping = true;
}

void dlq_stop(struct dlq *d, void (*stopped)(struct engine *e))
{
    assert(d->stopping && !d->stopped);
    d->stopped = stopped;
    list_each(l, tmp, &d->sessions)
        idle(&container_of(l, struct dlq_session, link)->idle);
    say_stopped(d);
}

/* ---- use ---- */

static struct dlq_session *session_new(struct dlq *d, struct engine_subscription *subscription)
{
    struct dlq_session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->dlq = d;
    s->subscription = subscription;
    s->home = d->engine->shards[shard_home(subscription->cursor, d->engine->shard_count)];
    s->bus = subscription->parked_bus->bus;
    loop_timer_init(&s->idle, idle);
    dlq_table_init(s);
    list_push_back(&d->sessions, &s->link);
    subscription->dlq = s;
    return s;
}

enum err dlq_session_open(struct dlq *d, struct engine_subscription *subscription, struct dlq_session **out)
{
    if (d->stopping)
        return ERR_CLOSED;
    if (!subscription->parked_ready && !subscription->parked_late)
        return ERR_UNAVAILABLE;
    struct dlq_session *s = subscription->dlq ? subscription->dlq : session_new(d, subscription);
    if (!s)
        return ERR_NOMEM;
    loop_timer_stop(engine_control(d->engine), &s->idle);
    s->users++;
    *out = s;
    return OK;
}

void dlq_session_close(struct dlq_session *s)
{
    if (!s)
        return;
    assert(s->users > 0);
    if (--s->users > 0 || s->resting)
        return;
    /* What is parked for a subscription that is gone is not looked at for long, and the rest of it may go with it. */
    if (s->dlq->stopping || !s->subscription->wanted)
        rest(s);
    else
        loop_timer_start(engine_control(s->dlq->engine), &s->idle, DLQ_IDLE_NS);
}

/* ---- errands ---- */

static void send(struct dlq_session *s, struct dlq_errand *e, void (*run)(struct dlq_errand *),
                 void (*done)(struct dlq_errand *))
{
    assert(s->users > 0);
    s->used = true;
    e->session = s;
    e->run = run;
    e->done = done;
    list_init(&e->link);
    e->letter.run = dlq_errand_arrived;
    loop_post_reserved(s->home->loop, &e->letter);
}

static void snapshot_done(struct dlq_errand *e)
{
    struct dlq_snapshot *s = container_of(e, struct dlq_snapshot, errand);
    s->done(s);
}

static void counted(struct engine_fresh *f, const struct bus_probe *probe)
{
    struct dlq_snapshot *s = container_of(f, struct dlq_snapshot, fresh);
    s->expected = probe->events;
    s->counting = probe->counting;
    send(s->errand.session, &s->errand, dlq_snapshot_arrived, snapshot_done);
}

void dlq_snapshot_take(struct dlq_session *session, struct dlq_snapshot *s)
{
    const struct engine_subscription *subscription = session->subscription;
    s->errand.session = session;
    s->from = subscription->parked_handle;
    if (!s->from) {
        static const struct bus_probe nothing;
        counted(&s->fresh, &nothing);
        return;
    }
    s->fresh = (struct engine_fresh){.engine = session->dlq->engine,
                                     .bus = subscription->parked_bus,
                                     .channel = subscription->parked->handle,
                                     .handle = subscription->parked_handle,
                                     .done = counted};
    engine_fresh_start(&s->fresh);
}

static void batch_done(struct dlq_errand *e)
{
    struct dlq_batch *b = container_of(e, struct dlq_batch, errand);
    b->done(b);
}

void dlq_batch_run(struct dlq_session *session, struct dlq_batch *b)
{
    send(session, &b->errand, dlq_batch_arrived, batch_done);
}
