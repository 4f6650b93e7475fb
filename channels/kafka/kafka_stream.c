/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of the Kafka bus: what reaches a subscriber on its loop, how much of it, and what comes back. All on the
 * stream's loop but for the two letters by which it enters and leaves its subscription.
 *
 * Deliveries are made by the pump: at the end of a turn, and once a turn, at most KAFKA_DELIVER_MAX at a time, so that
 * a subscriber that takes and gives back for ever does not hold its loop. Its partitions take turns.
 */
#include "../round.h"
#include "kafka_member.h"

#include <assert.h>
#include <stdlib.h>

#define SPARES_MAX 256
#define STARVED_NS (100 * NS_PER_MS)

/* ---- entries that are not used at the moment ---- */

struct kafka_entry *kafka_stream_spare(struct bus_stream *st)
{
    struct list *l = list_pop_front(&st->spares);
    if (!l)
        return calloc(1, sizeof(struct kafka_entry));
    st->spare_count--;
    return container_of(l, struct kafka_entry, link);
}

void kafka_stream_spared(struct bus_stream *st, struct kafka_entry *e)
{
    if (e->message)
        rd_kafka_message_destroy(e->message);
    ce_event_unref(e->event);
    if (st->spare_count == SPARES_MAX) {
        free(e);
        return;
    }
    *e = (struct kafka_entry){0};
    list_push_front(&st->spares, &e->link);
    st->spare_count++;
}

/* ---- flights: what tokens name ---- */

static struct bus_token flight_begin(struct bus_stream *st, struct kafka_entry *e)
{
    struct bus_token token = flights_begin(&st->flights, e, NULL);
    e->flight = (uint32_t)token.a;
    return token;
}

static struct kafka_entry *flight_end(struct bus_stream *st, struct bus_token token)
{
    struct kafka_entry *e = flights_end(&st->flights, token).entry;
    assert(e->flight == token.a);
    return e;
}

static void wake(struct bus_stream *st);

bool kafka_stream_revoke(struct bus_stream *st, struct kafka_entry *e)
{
    bool gone = false, *outer = st->gone;
    struct bus_token token = flights_token(&st->flights, e->flight);
    flight_end(st, token);
    st->gone = &gone;
    st->callbacks.revoked(st->arg, st, token);
    if (gone) {
        if (outer)
            *outer = true;
        return false;
    }
    st->gone = outer;
    wake(st); /* credit that was given meanwhile */
    return true;
}

/* ---- the pump ---- */

/* It delivers at the end of this turn, or, where it did in this one, in the next. */
static void wake(struct bus_stream *st)
{
    if (st->awake || st->gone || st->detached || st->credit == 0 || list_empty(&st->ready))
        return;
    st->awake = true;
    if (st->pumped && st->pumped_ns == loop_now_ns(st->loop))
        loop_timer_start(st->loop, &st->timer, 0);
    else
        loop_defer(st->loop, &st->task);
}

/* One event of the partition whose turn it is. False: it has none at the moment. */
static bool deliver(struct bus_stream *st, struct kafka_partition *p)
{
    struct kafka_entry *e = kafka_partition_next(p);
    list_remove(&p->ready_link);
    if (!e) {
        if (p->lost)
            kafka_partition_revoke(p);
        else if (p->starved) {
            list_push_back(&st->ready, &p->ready_link);
            loop_timer_start(st->loop, &st->timer, STARVED_NS);
            st->awake = true;
        }
        return false;
    }
    list_push_back(&st->ready, &p->ready_link);
    st->credit--;
    struct bus_token token = flight_begin(st, e);
    st->callbacks.deliver(st->arg, st, e->event, token, e->attempt); /* from here on the partition may be gone */
    return true;
}

static void pump(struct bus_stream *st)
{
    bool gone = false, full = false;
    assert(st->awake && !st->gone && !st->detached);
    st->awake = false;
    st->gone = &gone;
    st->pumped = true;
    st->pumped_ns = loop_now_ns(st->loop);
    for (unsigned n = 0; n < KAFKA_DELIVER_MAX && st->credit > 0 && !list_empty(&st->ready) && !st->awake;) {
        full = flights_room(&st->flights) != OK;
        if (full)
            break; /* the next settle makes room */
        n += deliver(st, container_of(st->ready.next, struct kafka_partition, ready_link));
        if (gone)
            return;
    }
    st->gone = NULL;
    if (!full)
        wake(st);
}

static void pump_task(struct loop_task *t)
{
    pump(container_of(t, struct bus_stream, task));
}

static void pump_timer(struct loop_timer *t)
{
    pump(container_of(t, struct bus_stream, timer));
}

void kafka_stream_ready(struct bus_stream *st, struct kafka_partition *p)
{
    assert(p->stream == st);
    if (list_empty(&p->ready_link))
        list_push_back(&st->ready, &p->ready_link);
    wake(st);
}

/* librdkafka has records of some of its partitions. */
static void records(void *owner)
{
    struct bus_stream *st = owner;
    list_each(l, tmp, &st->partitions) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, stream_link);
        if (!atomic_exchange(&p->signalled, false))
            continue;
        p->readable = true;
        kafka_stream_ready(st, p);
    }
}

/* ---- what is settled goes to be committed ---- */

void kafka_stream_dirty(struct bus_stream *st, struct kafka_partition *p)
{
    if (!list_empty(&p->dirty_link))
        return;
    list_push_back(&st->dirty, &p->dirty_link);
    if (!loop_timer_armed(&st->shots))
        loop_timer_start(st->loop, &st->shots, KAFKA_COMMIT_MS * NS_PER_MS);
}

static void shots_due(struct loop_timer *t)
{
    struct bus_stream *st = container_of(t, struct bus_stream, shots);
    struct post *member = NULL;
    struct list *l;
    while ((l = list_pop_front(&st->dirty))) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, dirty_link);
        kafka_partition_shoot(p);
        member = p->member->post; /* a stream's partitions are all of one */
    }
    if (member)
        post_send(member);
}

/* ---- partitions that are to move ---- */

void kafka_stream_moving(struct bus_stream *st)
{
    uint64_t now = loop_now_ns(st->loop), next = UINT64_MAX;
    list_each(l, tmp, &st->partitions) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, stream_link);
        if (!p->moving)
            continue;
        if (p->rest_ns <= now) {
            p->resting = !p->resting;
            p->rest_ns = now + (p->resting ? KAFKA_REST_NS : KAFKA_UNREST_NS);
            if (!p->resting)
                kafka_stream_ready(st, p);
        }
        next = p->rest_ns < next ? p->rest_ns : next;
    }
    if (next != UINT64_MAX)
        loop_timer_start(st->loop, &st->rest, next - now);
}

static void rest_over(struct loop_timer *t)
{
    kafka_stream_moving(container_of(t, struct bus_stream, rest));
}

/* ---- the operations ---- */

static void timers_stop(struct bus_stream *st)
{
    loop_timer_stop(st->loop, &st->timer);
    loop_timer_stop(st->loop, &st->shots);
    loop_timer_stop(st->loop, &st->rest);
}

void kafka_stream_free(struct bus_stream *st)
{
    struct list *l;
    loop_task_cancel(&st->task);
    timers_stop(st);
    while ((l = list_pop_front(&st->spares)))
        free(container_of(l, struct kafka_entry, link));
    post_free(st->post);
    flights_fini(&st->flights);
    free(st);
}

static struct bus_stream *stream_new(struct bus_subscription *s, const struct kafka_loop *l)
{
    struct bus_stream *st = calloc(1, sizeof *st);
    if (!st)
        return NULL;
    list_init(&st->spares);
    loop_task_init(&st->task, pump_task);
    if (flights_init(&st->flights, KAFKA_FLIGHTS_MIN) || post_new(l->loop, records, st, &st->post)) {
        kafka_stream_free(st);
        return NULL;
    }
    st->subscription = s;
    st->loop = l->loop;
    st->index = (size_t)(l - s->bus->loops);
    list_init(&st->link);
    list_init(&st->partitions);
    list_init(&st->ready);
    list_init(&st->dirty);
    loop_timer_init(&st->timer, pump_timer);
    loop_timer_init(&st->shots, shots_due);
    loop_timer_init(&st->rest, rest_over);
    return st;
}

enum err kafka_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                      const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    struct kafka_bus *k = kafka_of(b);
    if (desk_closed(&k->desk))
        return ERR_CLOSED;
    struct bus_stream *st = stream_new(s, kafka_loop_find(k, loop));
    if (!st)
        return ERR_NOMEM;
    st->callbacks = *callbacks;
    st->arg = arg;
    st->hello.run = kafka_subscription_hello;
    loop_post_reserved(k->desk.env.control, &st->hello);
    *out = st;
    return OK;
}

static void ended(struct letter *m)
{
    struct bus_stream *st = container_of(m, struct bus_stream, bye);
    assert(list_empty(&st->partitions));
    bus_op_end(st->loop, st->detach_op, OK);
    kafka_stream_free(st);
}

/* Control knows nothing of it any more, and whatever control had sent here has arrived. */
static void end(struct bus_stream *st)
{
    st->bye.run = ended;
    loop_post_reserved(st->loop, &st->bye);
}

void kafka_stream_leave(struct bus_stream *st)
{
    st->parting = true;
    if (st->given == 0)
        end(st);
}

void kafka_stream_returned(struct bus_stream *st)
{
    assert(st->given > 0);
    if (--st->given == 0 && st->parting)
        end(st);
}

void kafka_detach(struct bus *b, struct bus_stream *st, struct bus_op *op)
{
    assert(!st->detached);
    if (st->gone)
        *st->gone = true;
    st->detached = true;
    st->detach_op = op;
    atomic_store(&st->leaving, true);
    loop_task_cancel(&st->task);
    timers_stop(st);
    while (!list_empty(&st->partitions)) {
        struct kafka_partition *p = container_of(st->partitions.next, struct kafka_partition, stream_link);
        kafka_partition_give_back(p);
        kafka_partition_let_go(p);
    }
    st->bye.run = kafka_subscription_bye;
    loop_post_reserved(kafka_of(b)->desk.env.control, &st->bye);
}

void kafka_credit(struct bus *b, struct bus_stream *st, unsigned n)
{
    (void)b;
    st->credit += n;
    wake(st);
}

void kafka_settle(struct bus *b, struct bus_stream *st, struct bus_token token, enum bus_settle how)
{
    (void)b;
    assert(!st->detached);
    struct kafka_entry *e = flight_end(st, token);
    kafka_partition_settled(e->at, e, how);
    wake(st);
}
