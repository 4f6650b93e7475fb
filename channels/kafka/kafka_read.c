/* SPDX-License-Identifier: Apache-2.0
 *
 * read: events of a channel by offset or time, beside live traffic and without any group. R, a thread that is there
 * only while somebody reads, has a consumer of its own; it takes one page after the other, and hands each to its loop
 * in parts, so that a large page holds little memory.
 *
 * Partitions are merged by the channel's offset: with P partitions the record at Kafka's offset O of the I-th has O × P
 * + I (kafka_probe.c). So the head of each partition must be there before the lowest is known; one that is at its end,
 * as it was when the read began, is out.
 *
 * A kafka_read is at one place at a time: in the list, with R, or with its loop, for which R waits.
 */
#include "kafka_channel.h"

#include <assert.h>
#include <stdlib.h>

#define PART_EVENTS 64
#define PART_BYTES (1u << 20)
#define LINGER_NS (3 * NS_PER_S) /* R stays so long for the next page */
#define WAIT_MS 100

struct read_event {
    const struct ce_event *event; /* a reference */
    uint64_t offset;
    int64_t wall_ns;
};

struct kafka_read {
    struct list link;
    struct bus_channel *channel; /* held */
    struct kafka_loop *at;
    struct bus_start from;
    size_t left;
    void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns);
    void *arg;
    struct bus_op *op;
    enum err err;
    bool ended;
    bool taken; /* under reads.lock: its loop is through with the part */
    size_t count, bytes;
    struct read_event events[PART_EVENTS];
};

struct head {              /* of one partition */
    rd_kafka_topic_t *rkt; /* borrowed */
    int32_t partition;
    rd_kafka_queue_t *queue; /* NULL: not started, or at its end */
    rd_kafka_message_t *message;
    int64_t begin, until;
};

struct page { /* R's own: one read */
    struct kafka_bus *bus;
    rd_kafka_t *rk;
    rd_kafka_topic_t **topics; /* owned, one for each of the channel's */
    size_t topic_count;
    struct head *heads; /* owned, one for each partition of all of them */
    size_t count;
    uint64_t deadline_ns; /* of the next record */
};

static struct kafka_read *of(struct list *link)
{
    return container_of(link, struct kafka_read, link);
}

static bool given_up(struct kafka_bus *k)
{
    return atomic_load(&k->reads.closed);
}

/* ---- to the loop, and waiting for it ---- */

static void to_loop(struct kafka_read *r)
{
    struct kafka_loop *l = r->at;
    struct post *post = l->post;
    pthread_mutex_lock(&l->lock);
    list_push_back(&l->pages, &r->link);
    pthread_mutex_unlock(&l->lock);
    post_send(post);
}

/* Hands over what is there; r is not R's any more when it has ended. ERR_CLOSED: the bus ends without its loop. */
static enum err hand_over(struct kafka_bus *k, struct kafka_read *r)
{
    struct kafka_reads *rs = &k->reads;
    if (r->ended) {
        to_loop(r);
        return OK;
    }
    r->taken = false;
    to_loop(r);
    pthread_mutex_lock(&rs->lock);
    while (!r->taken && !rs->quit)
        pthread_cond_wait(&rs->work, &rs->lock);
    bool taken = r->taken;
    pthread_mutex_unlock(&rs->lock);
    return taken ? OK : ERR_CLOSED;
}

/* ---- one page: R ---- */

static enum err room(struct page *p, struct kafka_read *r)
{
    struct bus_channel *c = r->channel;
    struct kafka_parts *parts[KAFKA_TOPICS_MAX];
    for (size_t t = 0; t < c->topics.count; t++) {
        parts[t] = atomic_load(&c->list[t].parts);
        p->count += (size_t)parts[t]->count;
    }
    p->topics = calloc(c->topics.count, sizeof(rd_kafka_topic_t *));
    p->heads = calloc(p->count, sizeof *p->heads);
    if (!p->topics || !p->heads)
        return ERR_NOMEM;
    for (size_t t = 0, i = 0; t < c->topics.count; t++) {
        p->topics[t] = rd_kafka_topic_new(p->rk, c->list[t].name, NULL);
        if (!p->topics[t])
            return ERR_NOMEM;
        p->topic_count++;
        for (int32_t at = 0; at < parts[t]->count; at++, i++)
            p->heads[i] = (struct head){.rkt = p->topics[t], .partition = at};
    }
    return OK;
}

static rd_kafka_topic_partition_list_t *list_of(const struct page *p)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)p->count);
    for (size_t i = 0; i < p->count; i++)
        rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(p->heads[i].rkt), p->heads[i].partition);
    return list;
}

/* Kafka's offset of head i at which a page from this offset of the channel begins. */
static int64_t from_offset(const struct page *p, size_t i, uint64_t offset)
{
    uint64_t n = p->count;
    if (offset <= i)
        return 0;
    uint64_t first = (offset - i + n - 1) / n;
    return first > INT64_MAX ? INT64_MAX : (int64_t)first;
}

/* Of each partition. One of which they cannot be learned is not passed over as if it held nothing; that of a topic that
 * is no more has none. */
static enum err offsets(struct page *p, rd_kafka_topic_partition_list_t *list, int64_t which)
{
    enum err e = kafka_topics_offsets(p->bus, p->rk, list, which);
    for (int i = 0; i < list->cnt && !e; i++) {
        enum err of = list->elems[i].err ? kafka_client_err(list->elems[i].err) : OK;
        e = of == ERR_NOTFOUND ? OK : of;
    }
    return e;
}

/* The first record of each partition that is not older; a broker says END where there is none. */
static enum err from_time(struct page *p, int64_t wall_ns)
{
    int64_t ms = wall_ns / (int64_t)NS_PER_MS + (wall_ns % (int64_t)NS_PER_MS > 0);
    rd_kafka_topic_partition_list_t *list = list_of(p);
    enum err e = offsets(p, list, ms > 0 ? ms : 0);
    for (size_t i = 0; i < p->count && !e; i++)
        p->heads[i].begin = list->elems[i].offset >= 0 && !list->elems[i].err ? list->elems[i].offset : INT64_MAX;
    rd_kafka_topic_partition_list_destroy(list);
    return e;
}

static enum err range(struct page *p, struct kafka_read *r)
{
    rd_kafka_topic_partition_list_t *list = list_of(p);
    enum err e = offsets(p, list, RD_KAFKA_OFFSET_END);
    for (size_t i = 0; i < p->count && !e; i++) {
        p->heads[i].until = list->elems[i].err ? 0 : list->elems[i].offset;
        p->heads[i].begin = r->from.kind == BUS_START_LATEST   ? INT64_MAX
                            : r->from.kind == BUS_START_OFFSET ? from_offset(p, i, r->from.offset)
                                                               : 0;
    }
    if (!e && r->from.kind == BUS_START_TIME)
        e = from_time(p, r->from.wall_ns);
    if (!e)
        e = offsets(p, list, RD_KAFKA_OFFSET_BEGINNING);
    for (size_t i = 0; i < p->count && !e; i++) { /* what retention took is passed over */
        int64_t oldest = list->elems[i].err ? 0 : list->elems[i].offset;
        p->heads[i].begin = p->heads[i].begin < oldest ? oldest : p->heads[i].begin;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return e;
}

static enum err heads_start(struct page *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct head *h = &p->heads[i];
        if (h->begin >= h->until)
            continue;
        h->queue = rd_kafka_queue_new(p->rk);
        if (rd_kafka_consume_start_queue(h->rkt, h->partition, h->begin, h->queue)) {
            rd_kafka_queue_destroy(h->queue);
            h->queue = NULL;
            return ERR_UNAVAILABLE;
        }
    }
    return OK;
}

static void head_stop(struct head *h)
{
    if (h->message)
        rd_kafka_message_destroy(h->message);
    h->message = NULL;
    if (!h->queue)
        return;
    rd_kafka_consume_stop(h->rkt, h->partition);
    rd_kafka_queue_destroy(h->queue);
    h->queue = NULL;
}

/* Its next record, or its end. */
static enum err head_fill(struct page *p, struct head *h)
{
    while (h->queue && !h->message) {
        rd_kafka_message_t *m = rd_kafka_consume_queue(h->queue, WAIT_MS);
        if (!m && given_up(p->bus))
            return ERR_CLOSED;
        if (!m && clock_monotonic_ns(clock_system()) > p->deadline_ns)
            return ERR_UNAVAILABLE;
        if (!m)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF || (!m->err && m->offset >= h->until)) {
            rd_kafka_message_destroy(m);
            head_stop(h);
        } else if (m->err) { /* the library tries again by itself, until the deadline */
            rd_kafka_message_destroy(m);
        } else {
            h->message = m;
        }
        if (given_up(p->bus))
            return ERR_CLOSED;
    }
    return OK;
}

/* The head with the lowest offset of the channel; NULL: all are at their end. */
static enum err lowest(struct page *p, size_t *out)
{
    size_t best = SIZE_MAX;
    p->deadline_ns = clock_monotonic_ns(clock_system()) + KAFKA_ASK_MS * NS_PER_MS;
    for (size_t i = 0; i < p->count; i++) {
        enum err e = head_fill(p, &p->heads[i]);
        if (e)
            return e;
        if (p->heads[i].message && (best == SIZE_MAX || p->heads[i].message->offset < p->heads[best].message->offset))
            best = i;
    }
    *out = best;
    return OK;
}

static enum err take(struct page *p, struct kafka_read *r, size_t i)
{
    struct head *h = &p->heads[i];
    struct read_event *out = &r->events[r->count];
    rd_kafka_timestamp_type_t kind;
    enum err e = kafka_channel_event(r->channel, h->message, &out->event);
    if (!e) {
        out->offset = (uint64_t)h->message->offset * p->count + i;
        out->wall_ns = rd_kafka_message_timestamp(h->message, &kind) * (int64_t)NS_PER_MS;
        r->bytes += h->message->len;
        r->count++;
        r->left--;
    }
    bool last = h->message->offset + 1 >= h->until;
    rd_kafka_message_destroy(h->message);
    h->message = NULL;
    if (last)
        head_stop(h);
    return e == ERR_NOMEM ? e : OK; /* one that cannot be an event is passed over */
}

/* Fills one part. */
static enum err part(struct page *p, struct kafka_read *r)
{
    size_t i = 0;
    while (r->left && r->count < PART_EVENTS && r->bytes < PART_BYTES) {
        enum err e = lowest(p, &i);
        if (!e && i == SIZE_MAX) {
            r->ended = true;
            return OK;
        }
        if (!e)
            e = take(p, r, i);
        if (e)
            return e;
    }
    r->ended = r->left == 0;
    return OK;
}

static enum err begin(struct page *p, struct kafka_read *r)
{
    if (atomic_load(&r->channel->state) != KAFKA_CHANNEL_READY)
        return ERR_UNAVAILABLE;
    if (!p->rk)
        return ERR_NOMEM;
    enum err e = room(p, r);
    if (!e)
        e = range(p, r);
    if (!e)
        e = heads_start(p);
    return e;
}

/* Until the read has gone to its loop for good. */
static void page_run(struct kafka_bus *k, rd_kafka_t *rk, struct kafka_read *r)
{
    struct page p = {.bus = k, .rk = rk};
    enum err e = given_up(k) ? ERR_CLOSED : begin(&p, r), left = OK;
    bool ended = false;
    while (!ended && !left) {
        if (!e)
            e = part(&p, r);
        r->err = e;
        r->ended |= e != OK;
        ended = r->ended;
        left = hand_over(k, r);
    }
    for (size_t i = 0; p.heads && i < p.count; i++)
        head_stop(&p.heads[i]);
    for (size_t t = 0; p.topics && t < p.topic_count; t++)
        rd_kafka_topic_destroy(p.topics[t]);
    free(p.topics);
    free(p.heads);
}

/* ---- R ---- */

static rd_kafka_t *consumer_new(struct kafka_bus *k)
{
    static const char *const own[] = {"enable.partition.eof",
                                      "true",
                                      "auto.offset.reset",
                                      "earliest",
                                      "fetch.wait.max.ms",
                                      "20",
                                      "queued.min.messages",
                                      "64",
                                      "queued.max.messages.kbytes",
                                      "2048",
                                      "enable.auto.commit",
                                      "false",
                                      "allow.auto.create.topics",
                                      "false",
                                      NULL};
    rd_kafka_conf_t *conf = kafka_client_conf(k->client, own);
    rd_kafka_t *rk = NULL;
    return conf && !kafka_client_open(k->client, RD_KAFKA_CONSUMER, conf, &rk, NULL) ? rk : NULL;
}

static struct kafka_read *next_read(struct kafka_reads *rs)
{
    struct timespec until;
    struct list *l = NULL;
    uint64_t end_ns = clock_monotonic_ns(clock_system()) + LINGER_NS;
    until = (struct timespec){.tv_sec = (time_t)(end_ns / NS_PER_S), .tv_nsec = (long)(end_ns % NS_PER_S)};
    pthread_mutex_lock(&rs->lock);
    while (!rs->quit && !(l = list_pop_front(&rs->list))) {
        if (atomic_load(&rs->closed) || pthread_cond_timedwait(&rs->work, &rs->lock, &until))
            break;
    }
    if (!l && !rs->quit)
        l = list_pop_front(&rs->list);
    if (!l)
        rs->there = false;
    pthread_mutex_unlock(&rs->lock);
    return l ? of(l) : NULL;
}

static void *reads_run(void *arg)
{
    struct kafka_bus *k = arg;
    rd_kafka_t *rk = consumer_new(k);
    struct kafka_read *r;
    while ((r = next_read(&k->reads)))
        page_run(k, rk, r);
    if (rk)
        rd_kafka_destroy(rk);
    return NULL;
}

/* Under the lock. */
static enum err reads_wake(struct kafka_bus *k)
{
    struct kafka_reads *rs = &k->reads;
    if (rs->there) {
        pthread_cond_broadcast(&rs->work);
        return OK;
    }
    if (rs->started)
        pthread_join(rs->thread, NULL); /* it has no more to do */
    rs->started = pthread_create(&rs->thread, NULL, reads_run, k) == 0;
    if (!rs->started)
        return ERR_NOMEM;
    pthread_setname_np(rs->thread, "kafka-reads");
    rs->there = true;
    return OK;
}

void kafka_reads_init(struct kafka_bus *k)
{
    struct kafka_reads *rs = &k->reads;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&rs->lock, NULL);
    pthread_cond_init(&rs->work, &attributes);
    pthread_condattr_destroy(&attributes);
    list_init(&rs->list);
}

static void read_free(struct kafka_read *r)
{
    for (size_t i = 0; i < r->count; i++)
        ce_event_unref(r->events[i].event);
    free(r);
}

void kafka_reads_close(struct kafka_bus *k)
{
    pthread_mutex_lock(&k->reads.lock);
    atomic_store(&k->reads.closed, true);
    pthread_cond_broadcast(&k->reads.work);
    pthread_mutex_unlock(&k->reads.lock);
}

bool kafka_reads_ended(struct kafka_bus *k)
{
    return atomic_load(&k->reads.count) == 0;
}

void kafka_reads_quit(struct kafka_bus *k)
{
    struct kafka_reads *rs = &k->reads;
    struct list *l;
    pthread_mutex_lock(&rs->lock);
    rs->quit = true;
    atomic_store(&rs->closed, true);
    pthread_cond_broadcast(&rs->work);
    pthread_mutex_unlock(&rs->lock);
    if (rs->started)
        pthread_join(rs->thread, NULL);
    while ((l = list_pop_front(&rs->list)))
        read_free(of(l));
    pthread_mutex_destroy(&rs->lock);
    pthread_cond_destroy(&rs->work);
}

/* ---- its loop ---- */

enum err kafka_read(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                    void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                    void *arg, struct bus_op *op, struct loop *loop)
{
    struct kafka_bus *k = kafka_of(b);
    struct kafka_reads *rs = &k->reads;
    struct kafka_read *r = calloc(1, sizeof *r);
    enum err e = r ? OK : ERR_NOMEM;
    if (e)
        return e;
    *r = (struct kafka_read){.channel = c,
                             .at = kafka_loop_find(k, loop),
                             .from = *from,
                             .left = most,
                             .deliver = deliver,
                             .arg = arg,
                             .op = op};
    pthread_mutex_lock(&rs->lock);
    e = atomic_load(&rs->closed) ? ERR_CLOSED : reads_wake(k);
    if (!e) {
        list_push_back(&rs->list, &r->link);
        atomic_fetch_add(&rs->count, 1);
        desk_hold(&c->bus->desk, &c->pending);
    }
    pthread_mutex_unlock(&rs->lock);
    if (e)
        free(r);
    return e;
}

static void arrived(struct kafka_bus *k, struct kafka_read *r)
{
    struct kafka_reads *rs = &k->reads;
    for (size_t i = 0; i < r->count; i++) {
        const struct read_event *e = &r->events[i];
        r->deliver(r->arg, e->event, e->offset, e->wall_ns);
        ce_event_unref(e->event);
    }
    r->count = r->bytes = 0;
    if (!r->ended) {
        pthread_mutex_lock(&rs->lock);
        r->taken = true;
        pthread_cond_broadcast(&rs->work);
        pthread_mutex_unlock(&rs->lock);
        return;
    }
    struct bus_channel *c = r->channel;
    struct bus_op *op = r->op;
    enum err e = r->err;
    free(r);
    op->text = NULL;
    op->done(op, e);
    desk_count_out(&c->bus->desk, &c->pending, 0, 1);
    if (atomic_fetch_sub(&rs->count, 1) == 1 && atomic_load(&rs->closed))
        desk_call(&k->desk);
}

void kafka_reads_arrived(struct kafka_loop *l)
{
    struct list pages, *i;
    list_init(&pages);
    pthread_mutex_lock(&l->lock);
    list_splice_back(&pages, &l->pages);
    pthread_mutex_unlock(&l->lock);
    while ((i = list_pop_front(&pages)))
        arrived(l->bus, of(i));
}

void kafka_reads_forget(struct kafka_loop *l)
{
    struct list *i;
    while ((i = list_pop_front(&l->pages)))
        read_free(of(i));
}
