/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/* What Kafka and librdkafka do on this machine without leat: one idempotent producer (acks=all) and one consumer, in
 * one process, on a topic of its own; values of 1 KiB with the seven headers of a CloudEvent. Appends wait for their
 * acknowledgement in a window: 0 is as many as librdkafka queues, 256 is what 256 connections have under way that each
 * wait for their answer.
 *
 *     bench_kafka BOOTSTRAP-SERVERS [seconds=4] [window=0] [partitions=1] [linger=MS] [size=1024]
 *
 * Prints one line of JSON: produced, acknowledged, consumed, seconds, rate (consumed in a second), cpu_us for each. */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

struct bench {
    const char *servers, *linger;
    char topic[64];
    double seconds;
    long window;
    int partitions;
    size_t size;
    atomic_long acknowledged, failed, consumed;
    atomic_bool over;  /* the consumer may end */
    atomic_bool ready; /* the consumer has its partitions */
};

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[200];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
}

static rd_kafka_conf_t *conf_of(const struct bench *b)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", b->servers);
    rd_kafka_conf_set_opaque(conf, (void *)(uintptr_t)b);
    return conf;
}

static rd_kafka_t *handle(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char why[200];
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
    must(rk, why);
    return rk;
}

static void topic_make(rd_kafka_t *rk, struct bench *b)
{
    char why[200];
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(b->topic, b->partitions, -1, why, sizeof why);
    must(t, why);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &t, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, 10000);
    must(e && !rd_kafka_event_error(e), "making the topic");
    rd_kafka_event_destroy(e);
    rd_kafka_queue_destroy(q);
    rd_kafka_NewTopic_destroy(t);
}

static void rebalanced(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list, void *arg)
{
    struct bench *b = arg;
    rd_kafka_assign(rk, err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? list : NULL);
    atomic_store(&b->ready, err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
}

static void *consume(void *arg)
{
    struct bench *b = arg;
    rd_kafka_conf_t *conf = conf_of(b);
    set(conf, "group.id", b->topic);
    set(conf, "auto.offset.reset", "earliest");
    rd_kafka_conf_set_rebalance_cb(conf, rebalanced);
    rd_kafka_t *rk = handle(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, b->topic, RD_KAFKA_PARTITION_UA);
    must(!rd_kafka_subscribe(rk, list), "subscribing");
    rd_kafka_topic_partition_list_destroy(list);
    while (!atomic_load(&b->over)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
        if (!m)
            continue;
        if (!m->err)
            atomic_fetch_add_explicit(&b->consumed, 1, memory_order_relaxed);
        rd_kafka_message_destroy(m);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return NULL;
}

static void reported(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg)
{
    struct bench *b = arg;
    (void)rk;
    atomic_fetch_add_explicit(m->err ? &b->failed : &b->acknowledged, 1, memory_order_relaxed);
}

static rd_kafka_headers_t *headers(long n)
{
    char id[40];
    snprintf(id, sizeof id, "bench-%012ld", n);
    const char *const all[][2] = {{"ce_specversion", "1.0"},
                                  {"ce_id", id},
                                  {"ce_source", "https://github.com/example/repository"},
                                  {"ce_type", "dev.knative.source.github.push"},
                                  {"ce_time", "2026-01-01T00:00:00Z"},
                                  {"ce_subject", "refs/heads/main"},
                                  {"content-type", "application/json"}};
    rd_kafka_headers_t *h = rd_kafka_headers_new(7);
    for (size_t i = 0; i < 7; i++)
        rd_kafka_header_add(h, all[i][0], -1, all[i][1], -1);
    return h;
}

/* Produces for so long; how many. */
static long produce(struct bench *b, rd_kafka_t *rk, double seconds)
{
    char *value = malloc(b->size);
    must(value, "memory");
    memset(value, 'x', b->size);
    long before = atomic_load(&b->acknowledged) + atomic_load(&b->failed), n = 0;
    for (double end = now() + seconds; n % 64 || now() < end;) {
        rd_kafka_poll(rk, 0);
        if (b->window && n - (atomic_load(&b->acknowledged) + atomic_load(&b->failed) - before) >= b->window) {
            rd_kafka_poll(rk, 1);
            continue;
        }
        rd_kafka_headers_t *h = headers(n);
        rd_kafka_resp_err_t e = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(b->topic), RD_KAFKA_V_VALUE(value, b->size),
                                                  RD_KAFKA_V_HEADERS(h), RD_KAFKA_V_END);
        n += !e;
        if (e) {
            rd_kafka_headers_destroy(h);
            must(e == RD_KAFKA_RESP_ERR__QUEUE_FULL, "producing");
            rd_kafka_poll(rk, 1); /* the value is not copied, so it must stay: it does, until the flush below */
        }
    }
    must(!rd_kafka_flush(rk, 60000), "flushing");
    free(value);
    return n;
}

static void wait_for(const atomic_long *count, long n)
{
    for (double end = now() + 60; atomic_load(count) < n;) {
        must(now() < end, "consuming all within 60 s");
        usleep(200);
    }
}

static void argument(struct bench *b, const char *word)
{
    const char *value;
    if ((value = value_of(word, "seconds")))
        b->seconds = atof(value);
    else if ((value = value_of(word, "window")))
        b->window = atol(value);
    else if ((value = value_of(word, "partitions")))
        b->partitions = atoi(value);
    else if ((value = value_of(word, "linger")))
        b->linger = value;
    else if ((value = value_of(word, "size")))
        b->size = (size_t)atol(value);
    else
        must(false, word);
}

int main(int argc, char **argv)
{
    static struct bench b = {.seconds = 4, .partitions = 1, .size = 1024, .linger = "5"};
    must(argc > 1,
         "usage: bench_kafka BOOTSTRAP-SERVERS [seconds=4] [window=0] [partitions=1] [linger=MS] [size=1024]:");
    b.servers = argv[1];
    for (int i = 2; i < argc; i++)
        argument(&b, argv[i]);
    snprintf(b.topic, sizeof b.topic, "bench-%ld-%ld", (long)getpid(), (long)time(NULL));
    rd_kafka_conf_t *conf = conf_of(&b);
    set(conf, "enable.idempotence", "true");
    set(conf, "acks", "all");
    set(conf, "linger.ms", b.linger);
    rd_kafka_conf_set_dr_msg_cb(conf, reported);
    rd_kafka_t *rk = handle(RD_KAFKA_PRODUCER, conf);
    topic_make(rk, &b);
    pthread_t consumer;
    must(pthread_create(&consumer, NULL, consume, &b) == 0, "a thread");
    for (double end = now() + 30; !atomic_load(&b.ready); usleep(1000))
        must(now() < end, "joining the group");
    long warm = produce(&b, rk, b.seconds / 4); /* connections, metadata, the broker's compiler */
    wait_for(&b.consumed, warm);
    double began = now(), cpu_began = cpu();
    long n = produce(&b, rk, b.seconds);
    wait_for(&b.consumed, warm + n);
    double took = now() - began, used = cpu() - cpu_began;
    printf("{\"produced\": %ld, \"acknowledged\": %ld, \"failed\": %ld, \"consumed\": %ld, \"seconds\": %.3f, "
           "\"rate\": %.0f, \"cpu_us\": %.2f}\n",
           n, atomic_load(&b.acknowledged) - warm, atomic_load(&b.failed), atomic_load(&b.consumed) - warm, took,
           (double)n / took, 1e6 * used / (double)n);
    atomic_store(&b.over, true);
    pthread_join(consumer, NULL);
    rd_kafka_destroy(rk);
    return 0;
}
