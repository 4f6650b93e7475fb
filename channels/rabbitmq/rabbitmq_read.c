/* SPDX-License-Identifier: Apache-2.0
 *
 * read: events of a channel's stream by offset or time. Q has a consumer for each, on an AMQP channel of its own, and
 * hands the loop what has come, a part at a time; it acknowledges when it hands over, so that the node sends ahead no
 * more than a part.
 *
 *     read ──→ in ──→ waiting ──→ open: consume, deliver ... ──→ a part ──→ the loop ──→ in ──→ the next part ...
 *                                     └─→ its mark, or `most`, or an error: the AMQP channel closes ──→ the last part
 *
 * A read that nobody's loop waits for asks for the end alone (rabbit_browse).
 *
 * Where it is: Q's lists and parts are Q's, `part` is its loop's while `away`. The mark is sent when consume was
 * answered, unless the stream is known to be longer than where the read is; so a page in the middle needs none.
 */
#include "rabbitmq_subscription.h"
#include "uuid.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct read_event {
    struct list link;
    const struct ce_event *event; /* a reference */
    uint64_t offset;
    int64_t wall_ns;
};

struct rabbit_read {
    struct list link; /* in `in`, `waiting`, or its loop's pages */
    struct list open; /* Q: of those at the node */
    struct rabbit_bus *bus;
    struct bus_channel *channel; /* held */
    struct rabbit_loop *at;      /* NULL: asks for the end */
    struct bus_start from;
    size_t left;
    void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns);
    void *arg;
    struct bus_op *op;
    struct list part; /* the loop's while `away`; of the last one, `last` */
    bool last;
    enum err err;
    /* Q's. */
    bool away, ended;
    struct rabbitmq_channel *amqp;
    struct list fresh;
    uint64_t tag; /* the last that came; 0: all is acknowledged */
    int64_t wall_ns;
    uint64_t heard_ns;
    bool consuming;
    char mark[RABBIT_MARK_MAX]; /* empty: none was sent */
    struct loop_task task;
    struct loop_timer timer;
};

static struct rabbit_read *of(struct list *l)
{
    return container_of(l, struct rabbit_read, link);
}

static struct loop *loop_of(const struct rabbit_bus *k)
{
    return rabbitmq_link_loop(k->consumers[0].link);
}

static const struct rabbit_channel_settings *settings_of(const struct rabbit_read *r)
{
    return &atomic_load(&r->channel->rules)->settings;
}

static void events_free(struct list *events)
{
    struct list *l;
    while ((l = list_pop_front(events))) {
        struct read_event *e = container_of(l, struct read_event, link);
        ce_event_unref(e->event);
        free(e);
    }
}

static void read_free(struct rabbit_read *r)
{
    events_free(&r->part);
    events_free(&r->fresh);
    free(r);
}

/* It has ended, and nobody uses its channel any more. */
static void through(struct rabbit_read *r)
{
    struct rabbit_bus *k = r->bus;
    struct bus_channel *c = r->channel;
    read_free(r);
    atomic_fetch_sub(&c->reads, 1); /* it may be freed by now */
    if (atomic_fetch_sub(&k->reads.count, 1) == 1 || atomic_load(&k->desk.going_count))
        desk_call(&k->desk);
}

/* ---- Q: to the loop ---- */

static void to_loop(struct rabbit_read *r)
{
    struct rabbit_loop *l = r->at;
    pthread_mutex_lock(&l->lock);
    list_push_back(&l->pages, &r->link);
    pthread_mutex_unlock(&l->lock);
    post_send(l->post);
}

static void begin_next(struct rabbit_bus *k);

/* What there is to hand over, if its loop has nothing; the last part when the AMQP channel is gone. */
static void hand_over(struct loop_task *t)
{
    struct rabbit_read *r = container_of(t, struct rabbit_read, task);
    struct rabbit_bus *k = r->bus;
    bool last = r->ended && !r->amqp;
    if (r->away)
        return;
    if (r->tag && r->amqp && !r->ended)
        rabbitmq_ack(r->amqp, r->tag, true);
    r->tag = 0;
    if (!last && list_empty(&r->fresh))
        return;
    if (last) {
        list_remove(&r->open);
        k->reads.open_count--;
        begin_next(k);
    }
    if (!r->at) {
        assert(last && list_empty(&r->fresh));
        through(r);
        return;
    }
    list_splice_back(&r->part, &r->fresh);
    r->away = true;
    r->last = last;
    to_loop(r);
}

static void go_on(struct rabbit_read *r)
{
    loop_defer(loop_of(r->bus), &r->task);
}

/* ---- Q: its end ---- */

static void end(struct rabbit_read *r, enum err e)
{
    if (r->ended)
        return;
    r->ended = true;
    r->err = e;
    loop_timer_stop(loop_of(r->bus), &r->timer);
    if (e)
        r->channel->known = 0; /* the stream may have been made anew */
    if (!r->at)
        atomic_fetch_sub(&r->channel->ends_asked, 1);
    if (r->amqp)
        rabbitmq_channel_close(r->amqp);
    go_on(r);
}

static void closed(void *arg, enum err e, unsigned code, const char *text)
{
    struct rabbit_read *r = arg;
    (void)e, (void)text;
    r->amqp = NULL;
    if (code == AMQP_NOT_FOUND)
        abroad_suspect(&r->channel->abroad); /* somebody has deleted the stream */
    end(r, desk_closed(&r->bus->desk) ? ERR_CLOSED : ERR_UNAVAILABLE);
    go_on(r);
}

static void canceled(void *arg, struct slice consumer)
{
    struct rabbit_read *r = arg;
    (void)consumer;
    abroad_suspect(&r->channel->abroad);
    end(r, ERR_UNAVAILABLE);
}

/* ---- Q: marks ---- */

static void mark(struct rabbit_read *r)
{
    struct rabbit_reads *rs = &r->bus->reads;
    if (!r->mark[0])
        snprintf(r->mark, sizeof r->mark, "%s-%llu", rs->name, (unsigned long long)++rs->marks);
    rabbit_publisher_mark(&r->bus->publisher, settings_of(r)->stream, r->mark);
}

/* Where the read is it may have come to the end: nothing is known beyond. */
static bool is_near_end(const struct rabbit_read *r, uint64_t at)
{
    return !r->mark[0] && r->consuming && at >= r->channel->known;
}

/* Where it begins is at or below the end for sure: RabbitMQ would pass over a mark below what was asked for. */
static uint64_t first_offset(const struct rabbit_read *r)
{
    uint64_t at = r->from.offset < r->channel->known ? r->from.offset : r->channel->known;
    return at < INT64_MAX ? at : INT64_MAX;
}

static void consumed(void *arg, const struct rabbitmq_answer *a)
{
    struct rabbit_read *r = arg;
    if (a->e || r->ended)
        return;
    r->consuming = true;
    r->heard_ns = rabbit_now();
    bool inside = r->from.kind == BUS_START_OFFSET || r->from.kind == BUS_START_EARLIEST;
    if (is_near_end(r, inside ? first_offset(r) : UINT64_MAX))
        mark(r);
}

/* Nothing came for a while: the stream ends where the read is, or its mark was lost. */
static void due(struct loop_timer *t)
{
    struct rabbit_read *r = container_of(t, struct rabbit_read, timer);
    uint64_t silent = rabbit_now() - r->heard_ns;
    if (r->away)
        r->heard_ns = rabbit_now(); /* it waits for its loop, not for the node */
    else if (silent > RABBIT_READ_NS)
        end(r, ERR_UNAVAILABLE);
    else if (r->consuming && silent >= RABBIT_MARK_NS) {
        if (r->mark[0])
            abroad_suspect(&r->channel->abroad); /* the exchange of marks may be gone */
        mark(r);
    }
    if (!r->ended)
        loop_timer_start(loop_of(r->bus), t, RABBIT_MARK_NS);
}

/* ---- Q: what the stream holds ---- */

static void keep(struct rabbit_read *r, const struct rabbitmq_message *m, const struct rabbit_place_in_stream *place)
{
    struct read_event *kept = calloc(1, sizeof *kept);
    const struct ce_event *event = NULL;
    enum err e =
        kept ? rabbit_message_read(&r->bus->consumers[0], r->channel, settings_of(r)->stream, m, &event) : ERR_NOMEM;
    if (e == ERR_NOMEM)
        end(r, e);
    if (e) {
        free(kept); /* what can be no event is passed over, as on the way to a subscription */
        return;
    }
    *kept = (struct read_event){.event = event, .offset = place->offset, .wall_ns = r->wall_ns};
    list_push_back(&r->fresh, &kept->link);
    if (--r->left == 0)
        end(r, OK);
}

static bool wanted(const struct rabbit_read *r, const struct rabbit_place_in_stream *place)
{
    if (place->mark.len || r->from.kind == BUS_START_LATEST)
        return false;
    if (r->from.kind == BUS_START_OFFSET)
        return place->offset >= r->from.offset;
    int64_t least = r->from.wall_ns - r->from.wall_ns % (int64_t)NS_PER_MS; /* theirs are whole milliseconds */
    return r->from.kind != BUS_START_TIME || !place->wall_ns || place->wall_ns >= least;
}

static void deliver(void *arg, const struct rabbitmq_message *m)
{
    struct rabbit_read *r = arg;
    struct bus_channel *c = r->channel;
    struct rabbit_place_in_stream place;
    if (r->ended)
        return;
    rabbit_message_place(m, &place);
    r->tag = m->tag;
    r->heard_ns = rabbit_now();
    go_on(r);
    if (!place.has_offset) {
        end(r, ERR_IO); /* it is a queue of another kind */
        return;
    }
    if (place.wall_ns)
        r->wall_ns = place.wall_ns;
    uint64_t behind = place.offset + (place.mark.len ? 0 : 1);
    c->known = behind > c->known ? behind : c->known;
    if (r->mark[0] && slice_eq_str(place.mark, r->mark)) {
        if (!r->at)
            atomic_store(&c->end, place.offset);
        end(r, OK);
        return;
    }
    if (!m->too_large && wanted(r, &place))
        keep(r, m, &place);
    if (!r->ended && is_near_end(r, place.offset + 1))
        mark(r);
}

/* ---- Q: its beginning ---- */

static void where(const struct rabbit_read *r, amqp_table_entry_t *out)
{
    int64_t s = (r->from.wall_ns - RABBIT_CLOCKS_NS) / (int64_t)NS_PER_S;
    *out = (amqp_table_entry_t){.key = amqp_cstring_bytes("x-stream-offset"), .value = {.kind = AMQP_FIELD_KIND_UTF8}};
    if (r->from.kind == BUS_START_OFFSET) {
        out->value.kind = AMQP_FIELD_KIND_I64;
        out->value.value.i64 = (int64_t)first_offset(r);
    } else if (r->from.kind == BUS_START_TIME && s > 0) {
        out->value.kind = AMQP_FIELD_KIND_TIMESTAMP;
        out->value.value.u64 = (uint64_t)s;
    } else {
        out->value.value.bytes = amqp_cstring_bytes(r->from.kind == BUS_START_LATEST ? "next" : "first");
    }
}

static enum err consume(struct rabbit_read *r)
{
    static const struct rabbitmq_channel_events events = {.deliver = deliver, .canceled = canceled, .closed = closed};
    const amqp_basic_qos_t qos = {.prefetch_count = RABBIT_READ_PREFETCH};
    amqp_table_entry_t offset;
    where(r, &offset);
    const amqp_basic_consume_t m = {.queue = amqp_cstring_bytes(settings_of(r)->stream),
                                    .consumer_tag = amqp_cstring_bytes("leat-read"),
                                    .arguments = {1, &offset}};
    enum err e = rabbitmq_channel_open(r->bus->consumers[0].link, &events, r, &r->amqp);
    if (e)
        r->amqp = NULL;
    if (!e)
        e = rabbitmq_call(r->amqp, AMQP_BASIC_QOS_METHOD, &qos, NULL, NULL);
    return e ? e : rabbitmq_call(r->amqp, AMQP_BASIC_CONSUME_METHOD, &m, consumed, r);
}

static void begin(struct rabbit_bus *k, struct rabbit_read *r)
{
    enum err e = desk_closed(&k->desk) ? ERR_CLOSED : OK;
    list_push_back(&k->reads.open, &r->open);
    k->reads.open_count++;
    r->heard_ns = rabbit_now();
    if (!e && settings_of(r)->is_stream)
        e = consume(r);
    else if (!e)
        e = ERR_UNSUPPORTED; /* it was one when the read was asked for */
    if (e)
        end(r, e == ERR_NOMEM || e == ERR_CLOSED || e == ERR_UNSUPPORTED ? e : ERR_UNAVAILABLE);
    else
        loop_timer_start(loop_of(k), &r->timer, RABBIT_MARK_NS);
}

static void begin_next(struct rabbit_bus *k)
{
    while (k->reads.open_count < RABBIT_READS_MAX && !list_empty(&k->reads.waiting))
        begin(k, of(list_pop_front(&k->reads.waiting)));
}

/* ---- Q: what comes to it ---- */

static void arrived(void *bus)
{
    struct rabbit_bus *k = bus;
    struct rabbit_reads *rs = &k->reads;
    struct list in, *l;
    list_init(&in);
    pthread_mutex_lock(&rs->lock);
    list_splice_back(&in, &rs->in);
    pthread_mutex_unlock(&rs->lock);
    while ((l = list_pop_front(&in))) {
        struct rabbit_read *r = of(l);
        if (r->away) {
            r->away = false;
            go_on(r);
        } else {
            list_push_back(&rs->waiting, l);
        }
    }
    begin_next(k);
    if (!desk_closed(&k->desk))
        return;
    list_each(at, tmp, &rs->open)
        end(container_of(at, struct rabbit_read, open), ERR_CLOSED);
}

static void to_q(struct rabbit_bus *k, struct rabbit_read *r)
{
    pthread_mutex_lock(&k->reads.lock);
    list_push_back(&k->reads.in, &r->link);
    pthread_mutex_unlock(&k->reads.lock);
    post_send(k->reads.post);
}

/* ---- who asks ---- */

static struct rabbit_read *read_new(struct rabbit_bus *k, struct bus_channel *c, const struct bus_start *from)
{
    struct rabbit_read *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->bus = k;
    r->channel = c;
    r->from = *from;
    list_init(&r->link);
    list_init(&r->open);
    list_init(&r->part);
    list_init(&r->fresh);
    loop_task_init(&r->task, hand_over);
    loop_timer_init(&r->timer, due);
    atomic_fetch_add(&c->reads, 1);
    atomic_fetch_add(&k->reads.count, 1);
    return r;
}

enum err rabbit_read(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                     void (*deliver_to)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                     void *arg, struct bus_op *op, struct loop *loop)
{
    struct rabbit_bus *k = rabbit_of(b);
    assert(c->bus == k && most > 0);
    if (desk_closed(&k->desk))
        return ERR_CLOSED;
    if (!atomic_load(&c->rules)->settings.is_stream)
        return ERR_UNSUPPORTED;
    struct rabbit_read *r = read_new(k, c, from);
    if (!r)
        return ERR_NOMEM;
    r->at = rabbit_loop_find(k, loop);
    r->left = most;
    r->deliver = deliver_to;
    r->arg = arg;
    r->op = op;
    to_q(k, r);
    return OK;
}

enum err rabbit_browse(struct bus *b, struct bus_channel *c)
{
    static const struct bus_start latest = {.kind = BUS_START_LATEST};
    struct rabbit_bus *k = rabbit_of(b);
    assert(c->bus == k);
    if (!atomic_load(&c->rules)->settings.is_stream)
        return ERR_UNSUPPORTED;
    if (desk_closed(&k->desk))
        return ERR_CLOSED;
    struct rabbit_read *r = read_new(k, c, &latest);
    if (!r)
        return ERR_NOMEM;
    atomic_store(&c->end, UINT64_MAX); /* until it is known, nothing lies beyond it */
    atomic_fetch_add(&c->ends_asked, 1);
    to_q(k, r);
    return OK;
}

/* ---- its loop ---- */

static void part_arrived(struct rabbit_read *r)
{
    struct list *l;
    while ((l = list_pop_front(&r->part))) {
        struct read_event *e = container_of(l, struct read_event, link);
        r->deliver(r->arg, e->event, e->offset, e->wall_ns);
        ce_event_unref(e->event);
        free(e);
    }
    if (!r->last) {
        to_q(r->bus, r);
        return;
    }
    struct bus_op *op = r->op;
    op->text = NULL;
    op->done(op, r->err);
    through(r);
}

void rabbit_reads_arrived(struct rabbit_loop *l)
{
    struct list pages, *i;
    list_init(&pages);
    pthread_mutex_lock(&l->lock);
    list_splice_back(&pages, &l->pages);
    pthread_mutex_unlock(&l->lock);
    while ((i = list_pop_front(&pages)))
        part_arrived(of(i));
}

/* ---- life ---- */

void rabbit_reads_init(struct rabbit_bus *k)
{
    pthread_mutex_init(&k->reads.lock, NULL);
    list_init(&k->reads.in);
    list_init(&k->reads.waiting);
    list_init(&k->reads.open);
}

enum err rabbit_reads_start(struct rabbit_bus *k)
{
    unsigned char random[16];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return ERR_IO;
    uuid_put(random, 4, k->reads.name);
    return post_new(loop_of(k), arrived, k, &k->reads.post);
}

void rabbit_reads_stop(struct rabbit_bus *k)
{
    post_send(k->reads.post);
}

static void list_free(struct list *reads)
{
    struct list *l;
    while ((l = list_pop_front(reads)))
        read_free(of(l));
}

void rabbit_reads_forget(struct rabbit_loop *l)
{
    list_free(&l->pages);
}

/* Those that were open have been given to their loops when the link ended, or ended with it. */
void rabbit_reads_quit(struct rabbit_bus *k)
{
    struct list *l;
    while ((l = list_pop_front(&k->reads.open))) {
        struct rabbit_read *r = container_of(l, struct rabbit_read, open);
        if (!r->away)
            read_free(r);
    }
    post_free(k->reads.post);
    list_free(&k->reads.in);
    list_free(&k->reads.waiting);
    pthread_mutex_destroy(&k->reads.lock);
}
