/* SPDX-License-Identifier: Apache-2.0
 *
 * Producers, and D, which serves them. One is enough as long as all topics take records of the usual size. A topic that
 * takes less has a producer of its own kind: the library fills a request up to a size that is the handle's, and a
 * broker refuses a request that is larger than the topic's largest record, with all that is in it.
 *
 * A producer that met a fatal error (the broker has forgotten its sequence, fenced it) takes nothing more: control puts
 * another one in its place, and D frees it when the last report has come.
 *
 *     append ──→ rd_kafka_t ──→ report ──→ kafka_append_reported (D) ──→ one letter for each loop ──→ done
 */
#include "kafka_channel.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define YOUNG_NS NS_PER_S /* a producer that fails at once is not replaced again and again, but by the tick */
#define WAIT_MS 1000      /* D looks at least so often: at retired producers and their last reports */
#define CLASSES_MAX 32

static void producer_free(struct kafka_producer *p)
{
    if (p->queue) {
        rd_kafka_queue_io_event_enable(p->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(p->queue);
    }
    if (p->rk)
        rd_kafka_destroy(p->rk);
    free(p);
}

static enum err producer_new(struct kafka_bus *k, uint64_t batch_bytes, struct kafka_producer **out, struct diag *d)
{
    static const uint64_t one = 1;
    char batch[24], timeout[24];
    snprintf(batch, sizeof batch, "%llu", (unsigned long long)batch_bytes);
    snprintf(timeout, sizeof timeout, "%d", KAFKA_SEND_MS);
    const char *const own[] = {"enable.idempotence", "true", "acks", "all", "partitioner",
                               "murmur2_random", /* where Java's clients put a key */
                               "message.timeout.ms", timeout, "linger.ms",
                               "0.5" /* half the messages a second without, at twice the CPU each */, "batch.size",
                               batch, "allow.auto.create.topics", "false", "message.max.bytes", "1000000000",
                               /* the bound is `buffer`, counted by us */
                               "queue.buffering.max.messages", "10000000", "queue.buffering.max.kbytes", "2147483647",
                               "isolation.level",
                               "read_uncommitted", /* of K's questions how far partitions reach: what is appended may
                                                      lie beyond somebody's open transaction, and is there */
                               NULL};
    struct kafka_producer *p = calloc(1, sizeof *p);
    rd_kafka_conf_t *conf = p ? kafka_client_conf(k->client, own) : NULL;
    if (!conf) {
        free(p);
        return diag_set(d, ERR_NOMEM, "out of memory");
    }
    list_init(&p->link);
    p->batch_bytes = batch_bytes;
    rd_kafka_conf_set_dr_msg_cb(conf, kafka_append_reported);
    enum err e = kafka_client_open(k->client, RD_KAFKA_PRODUCER, conf, &p->rk, d);
    if (e) {
        free(p);
        return e;
    }
    p->queue = rd_kafka_queue_get_main(p->rk);
    rd_kafka_queue_io_event_enable(p->queue, k->producers.fd, &one, sizeof one);
    p->born_ns = clock_monotonic_ns(k->desk.clock);
    *out = p;
    return OK;
}

/* The largest request that a topic takes for sure, by powers of two below the usual, so that few kinds are needed. */
static uint64_t batch_for(uint64_t record_bytes)
{
    uint64_t batch = 1024;
    if (record_bytes == 0 || record_bytes >= KAFKA_RECORD_BYTES)
        return KAFKA_BATCH_BYTES;
    while (batch * 2 <= record_bytes && batch * 2 < KAFKA_BATCH_BYTES)
        batch *= 2;
    return batch;
}

enum err kafka_producer_for(struct kafka_bus *k, uint64_t record_bytes, struct kafka_producer **out)
{
    uint64_t batch = batch_for(record_bytes);
    list_each(l, tmp, &k->producers.list) {
        struct kafka_producer *p = container_of(l, struct kafka_producer, link);
        if (p->batch_bytes == batch && !p->retired) {
            *out = p;
            return OK;
        }
    }
    struct kafka_producer *p = NULL;
    enum err e = producer_new(k, batch, &p, NULL);
    if (e)
        return e;
    list_push_back(&k->producers.list, &p->link);
    *out = p;
    return OK;
}

/* ---- K's handle ---- */

rd_kafka_t *kafka_producers_hold(struct kafka_bus *k)
{
    rd_kafka_t *rk = NULL;
    pthread_rwlock_wrlock(&k->producers.lock);
    list_each(l, tmp, &k->producers.list) {
        struct kafka_producer *p = container_of(l, struct kafka_producer, link);
        if (!rk && (p->held || !p->retired)) { /* the one that it holds, or the first */
            p->held = true;
            rk = p->rk;
        }
    }
    pthread_rwlock_unlock(&k->producers.lock);
    assert(rk);
    return rk;
}

void kafka_producers_let_go(struct kafka_bus *k)
{
    pthread_rwlock_wrlock(&k->producers.lock);
    list_each(l, tmp, &k->producers.list)
        container_of(l, struct kafka_producer, link)->held = false;
    pthread_rwlock_unlock(&k->producers.lock);
}

/* ---- replacing ---- */

static void channel_move(struct bus_channel *c, struct kafka_producer *from, struct kafka_producer *to)
{
    if (c->producer != from)
        return;
    kafka_channel_topics_close(c);
    kafka_channel_topics_open(c, to);
}

static void topics_move(struct kafka_bus *k, struct kafka_producer *from, struct kafka_producer *to)
{
    map_each(entry, tmp, &k->channels)
        channel_move(entry->value, from, to);
    list_each(l, tmp, &k->going)
        channel_move(container_of(l, struct bus_channel, link), from, to);
}

/* Without the right to write any topic at all it is the producer that the broker refuses, not its records. */
static void all_denied(struct kafka_bus *k, const struct kafka_producer *p, rd_kafka_resp_err_t err)
{
    map_each(entry, tmp, &k->channels) {
        struct bus_channel *c = entry->value;
        if (c->producer == p && kafka_client_err(err) == ERR_DENIED)
            kafka_append_denied(c, err);
    }
}

void kafka_producers_replace(struct kafka_bus *k)
{
    struct kafka_producers *ps = &k->producers;
    char why[200] = "";
    if (!atomic_exchange(&ps->failed, false))
        return;
    pthread_rwlock_wrlock(&ps->lock);
    list_each(l, tmp, &ps->list) {
        struct kafka_producer *p = container_of(l, struct kafka_producer, link), *fresh = NULL;
        if (p->retired || !atomic_load(&p->failed))
            continue;
        if (clock_monotonic_ns(k->desk.clock) - p->born_ns < YOUNG_NS) {
            atomic_store(&ps->failed, true);
            continue;
        }
        if (producer_new(k, p->batch_bytes, &fresh, NULL)) {
            atomic_store(&ps->failed, true); /* no memory: the next tick tries again, and until then appends fail */
            continue;
        }
        rd_kafka_resp_err_t err = rd_kafka_fatal_error(p->rk, why, sizeof why);
        p->retired = true;
        list_push_front(&ps->list, &fresh->link);
        topics_move(k, p, fresh);
        all_denied(k, fresh, err);
        desk_notice(&k->desk, 1, "ProducerReplaced",
                    "the producer met an error that ends it, and a new one took its place; what was under way is "
                    "answered with 503: %s",
                    why);
    }
    pthread_rwlock_unlock(&ps->lock);
}

/* ---- D ---- */

/* True: it is to be freed, and stands in the list no more. */
static bool producer_serve(struct kafka_bus *k, struct kafka_producer *p)
{
    rd_kafka_poll(p->rk, 0);
    if (!atomic_load(&p->failed) && rd_kafka_fatal_error(p->rk, NULL, 0)) {
        atomic_store(&p->failed, true);
        atomic_store(&k->producers.failed, true);
        desk_call(&k->desk);
    }
    if (rd_kafka_outq_len(p->rk) > 0)
        return false;
    pthread_rwlock_wrlock(&k->producers.lock);
    /* Once more, under the lock: before it was retired somebody may have appended. */
    bool last = p->retired && !p->held && rd_kafka_outq_len(p->rk) == 0;
    if (last)
        list_remove(&p->link);
    pthread_rwlock_unlock(&k->producers.lock);
    return last;
}

/* Only D takes one out of the list, so what D has found there stays until then. */
static size_t snapshot(struct kafka_producers *ps, struct kafka_producer **out)
{
    size_t n = 0;
    pthread_rwlock_rdlock(&ps->lock);
    list_each(l, tmp, &ps->list) {
        if (n < CLASSES_MAX)
            out[n++] = container_of(l, struct kafka_producer, link);
    }
    pthread_rwlock_unlock(&ps->lock);
    return n;
}

static void *producers_run(void *arg)
{
    struct kafka_bus *k = arg;
    struct kafka_producers *ps = &k->producers;
    struct pollfd fd = {.fd = ps->fd, .events = POLLIN};
    uint64_t drained;
    while (!atomic_load(&ps->quit)) {
        struct kafka_producer *all[CLASSES_MAX];
        if (poll(&fd, 1, WAIT_MS) > 0 && read(ps->fd, &drained, sizeof drained) < 0)
            continue;
        size_t n = snapshot(ps, all);
        for (size_t i = 0; i < n; i++) {
            if (producer_serve(k, all[i]))
                producer_free(all[i]);
        }
        kafka_append_flush(k);
    }
    return NULL;
}

enum err kafka_producers_start(struct kafka_bus *k, struct diag *d)
{
    struct kafka_producers *ps = &k->producers;
    struct kafka_producer *first = NULL;
    ps->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ps->fd < 0)
        return diag_set(d, ERR_IO, "no descriptor is left");
    enum err e = producer_new(k, KAFKA_BATCH_BYTES, &first, d);
    if (e)
        return e;
    list_push_back(&ps->list, &first->link);
    if (pthread_create(&ps->thread, NULL, producers_run, k))
        return diag_set(d, ERR_NOMEM, "no thread is left");
    pthread_setname_np(ps->thread, "kafka-reports");
    ps->started = true;
    return OK;
}

void kafka_producers_wake(struct kafka_bus *k)
{
    uint64_t one = 1;
    if (write(k->producers.fd, &one, sizeof one) < 0)
        return; /* it is full of wake-ups already */
}

/* Reports of what was still under way come while the handles are freed, on this thread; nobody is told. */
void kafka_producers_quit(struct kafka_bus *k)
{
    struct kafka_producers *ps = &k->producers;
    struct list *l;
    if (ps->started) {
        atomic_store(&ps->quit, true);
        kafka_producers_wake(k);
        pthread_join(ps->thread, NULL);
        ps->started = false;
    }
    while ((l = list_pop_front(&ps->list))) {
        struct kafka_producer *p = container_of(l, struct kafka_producer, link);
        rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_flush(p->rk, WAIT_MS);
        producer_free(p);
    }
    if (ps->fd >= 0)
        close(ps->fd);
    ps->fd = -1;
}
