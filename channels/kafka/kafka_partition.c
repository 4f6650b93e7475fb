/* SPDX-License-Identifier: Apache-2.0
 *
 * A partition that this process was given: its records on their way to a stream, and what is settled of them.
 *
 *     librdkafka's queue → ahead → (the ledger takes it) → flying → settled, or → back → flying ...
 *
 * Who has it may touch it: a loop while it is away, control while it is home (kafka_member.h).
 */
#include "kafka_member.h"

#include <assert.h>
#include <stdlib.h>

/* ---- entries ---- */

static void entry_free(struct kafka_entry *e)
{
    if (e->message)
        rd_kafka_message_destroy(e->message);
    ce_event_unref(e->event);
    free(e);
}

static void entries_free(struct list *entries)
{
    struct list *l;
    while ((l = list_pop_front(entries)))
        entry_free(container_of(l, struct kafka_entry, link));
}

/* Among those given back, by offset. Whoever gives back many begins with the youngest, so that each finds its place at
 * the front. */
static void put_back(struct kafka_partition *p, struct kafka_entry *e)
{
    struct list *at = &p->back;
    while (at->next != &p->back && container_of(at->next, struct kafka_entry, link)->offset < e->offset)
        at = at->next;
    list_insert_after(at, &e->link);
}

static struct kafka_entry *first(const struct list *entries)
{
    return list_empty(entries) ? NULL : container_of(entries->next, struct kafka_entry, link);
}

static struct kafka_entry *last(const struct list *entries)
{
    return list_empty(entries) ? NULL : container_of(entries->prev, struct kafka_entry, link);
}

/* ---- ledger and cursor ---- */

/* The cursor learns the age of the oldest. */
static void tell_head(struct kafka_partition *p)
{
    const struct kafka_entry *flying = first(&p->flying), *back = first(&p->back), *e = first(&p->ahead);
    if (flying)
        e = flying;
    if (back && (!flying || back->offset < flying->offset))
        e = back;
    atomic_store_explicit(&p->cursor->head_ms, e ? e->time_ms : 0, memory_order_relaxed);
}

static void changed(struct kafka_partition *p)
{
    atomic_store_explicit(&p->cursor->base, p->ledger.base, memory_order_relaxed);
    atomic_store_explicit(&p->cursor->beyond, p->ledger.beyond, memory_order_relaxed);
    p->dirty = true;
    if (p->stream)
        kafka_stream_dirty(p->stream, p);
}

void kafka_partition_shoot(struct kafka_partition *p)
{
    pthread_mutex_lock(&p->lock);
    p->shot = p->ledger;
    p->fresh = true;
    pthread_mutex_unlock(&p->lock);
    p->dirty = false;
}

/* The shot is as good as committed; but one whose commit turns out to have failed is committed again, and must never be
 * of an earlier time (K3). */
void kafka_partition_begun(struct kafka_partition *p)
{
    atomic_store_explicit(&p->cursor->base, p->ledger.base, memory_order_relaxed);
    atomic_store_explicit(&p->cursor->beyond, p->ledger.beyond, memory_order_relaxed);
    kafka_partition_shoot(p);
    p->fresh = false;
}

/* ---- records ---- */

static void unreadable(struct kafka_partition *p, const rd_kafka_message_t *m)
{
    struct bus_channel *c = p->member->subscription->channel;
    struct kafka_bus *k = p->member->subscription->bus;
    if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
        p->lost = true;
    else if (kafka_client_err(m->err) == ERR_NOTFOUND)
        kafka_channel_suspect(c);
    else
        desk_notice(&k->desk, 1, "FetchFailed", "partition %d of %s cannot be read: %s", (int)p->cursor->partition,
                    kafka_cursor_topic(p->member->subscription, p->cursor), rd_kafka_message_errstr(m));
}

/* Takes more from librdkafka, without waiting. Entries are made before, so that no record is without one. */
static void read_more(struct kafka_partition *p)
{
    struct kafka_entry *entries[KAFKA_READ_MAX];
    rd_kafka_message_t *messages[KAFKA_READ_MAX];
    size_t room = 0;
    ssize_t n = 0;
    while (room < KAFKA_READ_MAX && (entries[room] = kafka_stream_spare(p->stream)))
        room++;
    if (room > 0)
        n = rd_kafka_consume_batch_queue(p->queue, 0, messages, room);
    n = n < 0 ? 0 : n;
    p->readable = room == 0 || (size_t)n == room;
    for (size_t i = 0; i < room; i++) {
        struct kafka_entry *e = entries[i];
        if (i < (size_t)n && messages[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            *e = (struct kafka_entry){.at = p, .offset = messages[i]->offset, .mark = true};
            list_push_back(&p->ahead, &e->link);
            rd_kafka_message_destroy(messages[i]);
            continue;
        }
        if (i >= (size_t)n || messages[i]->err) {
            if (i < (size_t)n) {
                unreadable(p, messages[i]);
                rd_kafka_message_destroy(messages[i]);
            }
            kafka_stream_spared(p->stream, e);
            continue;
        }
        *e = (struct kafka_entry){.at = p, .message = messages[i], .offset = messages[i]->offset};
        e->time_ms = rd_kafka_message_timestamp(messages[i], NULL);
        p->read_bytes += messages[i]->len + messages[i]->key_len;
        list_push_back(&p->ahead, &e->link);
    }
    if (p->read_bytes >= p->member->ahead_bytes / 2) { /* its queue may have been full, and has room now */
        p->read_bytes = 0;
        kafka_client_wake(p->member->subscription->bus->client, p->member->rk);
    }
    const struct kafka_entry *newest = last(&p->ahead);
    if (newest)
        kafka_channel_end_raise(p->member->subscription->channel, p->cursor->topic, p->cursor->partition,
                                newest->offset + !newest->mark);
}

/* Retention was faster. */
static void expired(struct kafka_partition *p, int64_t offset)
{
    struct bus_subscription *s = p->member->subscription;
    uint32_t settled = p->ledger.beyond;
    kafka_ledger_skip(&p->ledger, offset);
    settled -= p->ledger.beyond + (uint32_t)(p->ledger.base - offset);
    uint64_t lost = (uint64_t)(offset - p->before) - settled;
    atomic_fetch_add(&s->expired, lost);
    desk_notice(
        &s->bus->desk, 2, "EventsExpired",
        "partition %d of %s begins at %lld, and subscription %s had come to %lld only: %llu events were removed "
        "by the topic's retention before they were delivered",
        (int)p->cursor->partition, kafka_cursor_topic(s, p->cursor), (long long)offset, s->name, (long long)p->before,
        (unsigned long long)lost);
}

/* What the first record shows of an offset that was gone. */
static void tell_gap(struct kafka_partition *p, int64_t offset)
{
    struct bus_subscription *s = p->member->subscription;
    if (offset > p->before)
        expired(p, offset);
    else if (offset < p->before) {
        kafka_ledger_init(&p->ledger, offset);
        desk_notice(&s->bus->desk, 2, "OffsetGone",
                    "partition %d of %s no longer has offset %lld, to which subscription %s had come: the topic was "
                    "made anew or cut; it begins again at %lld",
                    (int)p->cursor->partition, kafka_cursor_topic(s, p->cursor), (long long)p->before, s->name,
                    (long long)offset);
    }
    p->before = -1;
    changed(p);
}

/* The next record that is to be delivered, taken into the ledger. */
static struct kafka_entry *take(struct kafka_partition *p)
{
    for (;;) {
        if (list_empty(&p->ahead) && p->readable)
            read_more(p);
        struct kafka_entry *e = first(&p->ahead);
        if (!e)
            return NULL;
        if (e->offset >= p->ledger.top && !kafka_ledger_fits(&p->ledger, e->offset)) /* K4 */
            return NULL;
        if (p->before >= 0)
            tell_gap(p, e->offset);
        list_remove(&e->link);
        if (e->mark && e->offset > p->ledger.top) {
            kafka_ledger_skip(&p->ledger, e->offset);
            changed(p);
        }
        /* Below top: read twice, since librdkafka had been paused by a rebalance meanwhile. */
        if (!e->mark && e->offset >= p->ledger.top) {
            if (kafka_ledger_take(&p->ledger, e->offset))
                return e;
            changed(p);
        }
        kafka_stream_spared(p->stream, e);
    }
}

/* Makes the event. False: there is none; what is no event ever is settled, what found no memory waits. */
static bool decode(struct kafka_partition *p, struct kafka_entry *e)
{
    struct bus_subscription *s = p->member->subscription;
    if (e->event)
        return true;
    enum err err = kafka_channel_event(s->channel, e->message, &e->event);
    if (err == ERR_NOMEM) {
        list_push_front(&p->back, &e->link);
        p->starved = true;
        return false;
    }
    rd_kafka_message_destroy(e->message);
    e->message = NULL;
    if (!err)
        return true;
    desk_notice(&s->bus->desk, 2, "RecordSkipped", "the record at offset %lld of partition %d of %s is no event: %s",
                (long long)e->offset, (int)p->cursor->partition, kafka_cursor_topic(s, p->cursor), err_name(err));
    kafka_ledger_settle(&p->ledger, e->offset);
    changed(p);
    kafka_stream_spared(p->stream, e);
    return false;
}

struct kafka_entry *kafka_partition_next(struct kafka_partition *p)
{
    p->starved = false;
    while (!p->resting && !p->starved && !p->lost) {
        struct list *l = list_pop_front(&p->back);
        struct kafka_entry *e = l ? container_of(l, struct kafka_entry, link) : take(p);
        if (!e)
            break;
        if (!decode(p, e))
            continue;
        bool oldest = list_empty(&p->flying);
        list_push_back(&p->flying, &e->link);
        e->attempt++;
        if (oldest)
            tell_head(p);
        return e;
    }
    return NULL;
}

void kafka_partition_settled(struct kafka_partition *p, struct kafka_entry *e, enum bus_settle how)
{
    assert(e->at == p && e->event && p->stream);
    list_remove(&e->link);
    if (how == BUS_ACK) {
        kafka_ledger_settle(&p->ledger, e->offset);
        changed(p);
        kafka_stream_spared(p->stream, e);
    } else
        put_back(p, e);
    tell_head(p);
    if (p->moving && list_empty(&p->flying))
        kafka_partition_let_go(p);
    else if (!p->resting)
        kafka_stream_ready(p->stream, p);
}

/* ---- from control to a stream and back ---- */

static void came_home(struct letter *m)
{
    struct kafka_partition *p = container_of(m, struct kafka_partition, home);
    struct bus_stream *st = p->owner;
    assert(p->away && !p->stream);
    p->away = false;
    p->owner = NULL;
    kafka_stream_returned(st);
    if (!p->asked)
        kafka_member_home(p->member, p);
}

void kafka_partition_let_go(struct kafka_partition *p)
{
    struct bus_stream *st = p->stream;
    assert(st && list_empty(&p->flying));
    rd_kafka_queue_cb_event_enable(p->queue, NULL, NULL);
    list_remove(&p->stream_link);
    list_remove(&p->ready_link);
    list_remove(&p->dirty_link);
    p->moving = p->resting = false;
    p->stream = NULL;
    p->home.run = came_home;
    loop_post_reserved(p->member->subscription->bus->desk.env.control, &p->home);
}

void kafka_partition_give_back(struct kafka_partition *p)
{
    while (!list_empty(&p->flying)) {
        struct list *youngest = p->flying.prev;
        list_remove(youngest);
        put_back(p, container_of(youngest, struct kafka_entry, link));
    }
}

void kafka_partition_revoke(struct kafka_partition *p)
{
    struct bus_stream *st = p->stream;
    struct kafka_entry *e;
    bool here = true;
    p->moving = false; /* else whoever settles the last one within a callback would let it go, too */
    while (here && (e = first(&p->flying))) {
        list_remove(&e->link);
        here = kafka_stream_revoke(st, e); /* else detached within: the partition has gone, and perhaps is no more */
        entry_free(e);
    }
    if (here)
        kafka_partition_let_go(p);
}

/* librdkafka's thread, under the queue's lock: it has records, and had none. */
static void on_records(rd_kafka_t *rk, void *opaque)
{
    struct kafka_partition *p = opaque;
    (void)rk;
    atomic_store(&p->signalled, true);
    post_send(p->stream->post);
}

static void given(struct letter *m)
{
    struct kafka_partition *p = container_of(m, struct kafka_partition, give);
    struct bus_stream *st = p->stream;
    list_push_back(&st->partitions, &p->stream_link);
    if (st->detached) { /* it went while this was on its way */
        kafka_partition_let_go(p);
        return;
    }
    p->readable = true; /* librdkafka tells of what comes from now on */
    rd_kafka_queue_cb_event_enable(p->queue, on_records, p);
    if (p->dirty)
        kafka_stream_dirty(st, p);
    kafka_stream_ready(st, p);
}

void kafka_partition_give(struct kafka_partition *p, struct bus_stream *st)
{
    assert(!p->away && !p->asked && !p->stream && !p->revoked);
    p->away = true;
    p->owner = p->stream = st;
    st->given++;
    p->give.run = given;
    loop_post_reserved(st->loop, &p->give);
}

static void ask_returned(struct letter *m)
{
    struct kafka_partition *p = container_of(m, struct kafka_partition, ask);
    assert(p->asked);
    p->asked = false;
    if (!p->away)
        kafka_member_home(p->member, p);
    else if (p->revoked && p->asking == KAFKA_RECALL_MOVE)
        kafka_partition_ask(p, KAFKA_RECALL_REVOKE);
}

static void asked(struct letter *m)
{
    struct kafka_partition *p = container_of(m, struct kafka_partition, ask);
    struct loop *control = p->member->subscription->bus->desk.env.control;
    struct bus_stream *st = p->stream; /* NULL: it is on its way home */
    if (st && p->asking == KAFKA_RECALL_REVOKE)
        kafka_partition_revoke(p);
    else if (st && list_empty(&p->flying))
        kafka_partition_let_go(p);
    else if (st) {
        p->moving = p->resting = true;
        p->rest_ns = loop_now_ns(st->loop) + KAFKA_REST_NS;
        kafka_stream_moving(st);
    }
    m->run = ask_returned;
    loop_post_reserved(control, m);
}

void kafka_partition_ask(struct kafka_partition *p, enum kafka_recall ask)
{
    assert(p->away && !p->asked && p->owner);
    p->asked = true;
    p->asking = ask;
    p->ask.run = asked;
    loop_post_reserved(p->owner->loop, &p->ask);
}

/* ---- made and freed ---- */

struct kafka_partition *kafka_partition_new(struct kafka_member *m, struct kafka_cursor *cursor)
{
    const char *topic = kafka_cursor_topic(m->subscription, cursor);
    struct kafka_partition *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    kafka_partitions_free(m, cursor); /* given up before: librdkafka is through with it */
    p->queue = rd_kafka_queue_get_partition(m->rk, topic, cursor->partition);
    if (!p->queue) {
        free(p);
        return NULL;
    }
    rd_kafka_queue_forward(p->queue, NULL);
    p->member = m;
    p->cursor = cursor;
    p->before = -1;
    list_init(&p->stream_link);
    list_init(&p->ready_link);
    list_init(&p->dirty_link);
    list_init(&p->ahead);
    list_init(&p->back);
    list_init(&p->flying);
    pthread_mutex_init(&p->lock, NULL);
    cursor->at = p;
    list_push_back(&m->partitions, &p->link);
    return p;
}

void kafka_partition_forget(struct kafka_partition *p)
{
    entries_free(&p->ahead);
    entries_free(&p->back);
    entries_free(&p->flying);
    p->lost = p->starved = false;
}

/* What is in the queue, or still comes, goes where it is thrown away, until librdkafka stops the partition some moments
 * later and undoes that. */
void kafka_partition_retire(struct kafka_partition *p)
{
    assert(p->cursor->at == p);
    rd_kafka_queue_cb_event_enable(p->queue, NULL, NULL);
    rd_kafka_queue_forward(p->queue, p->member->queue);
    kafka_partition_forget(p);
    pthread_mutex_destroy(&p->lock);
    p->cursor->at = NULL;
    list_remove(&p->link);
    list_push_back(&p->member->retired, &p->link);
}

/* What came between the two, a record or that the topic is gone, refers to the partition, and the partition to it: of a
 * topic that was deleted nobody but us would ever take that apart, and rd_kafka_destroy would wait for it for ever. */
static void partition_free(struct kafka_partition *p)
{
    rd_kafka_queue_forward(p->queue, NULL);
    kafka_queue_empty(p->queue);
    rd_kafka_queue_destroy(p->queue);
    list_remove(&p->link);
    free(p);
}

void kafka_partitions_free(struct kafka_member *m, const struct kafka_cursor *of)
{
    list_each(l, tmp, &m->retired) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, link);
        if (!of || p->cursor == of)
            partition_free(p);
    }
}

void kafka_queue_empty(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(queue, 0)))
        rd_kafka_event_destroy(event);
}
