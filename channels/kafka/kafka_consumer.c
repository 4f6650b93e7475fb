/* SPDX-License-Identifier: Apache-2.0
 *
 * How a subscription's consumer is made: its settings, and what is listened to of it. What becomes of it is told in
 * kafka_member.c.
 */
#include "kafka_member.h"

#include <assert.h>
#include <stdlib.h>

/* Of the protocol's requests. */
#define API_JOIN_GROUP 11
#define API_SYNC_GROUP 14

#define AHEAD_KIB_MIN 64  /* of a partition: with more than 64 partitions a consumer holds more than `fetch` */
#define ONCE_KIB_MAX 1024 /* of a partition in one answer; a larger record comes alone */

static struct rd_kafka_conf_s *configure(struct bus_subscription *s, uint64_t *ahead_bytes)
{
    const struct kafka_settings *set = &s->bus->settings;
    int32_t partitions = atomic_load(&s->channel->topics.partitions);
    uint64_t share = set->fetch / 1024 / (uint64_t)(partitions > 0 ? partitions : 1); /* KiB of each partition */
    char session[16], beat[16], ahead[24], once[24];
    share = share < AHEAD_KIB_MIN ? AHEAD_KIB_MIN : share;
    snprintf(session, sizeof session, "%d", set->session_ms);
    snprintf(beat, sizeof beat, "%d", set->session_ms / 3 < 3000 ? set->session_ms / 3 : 3000);
    *ahead_bytes = share * 1024;
    snprintf(ahead, sizeof ahead, "%llu", (unsigned long long)share);
    snprintf(once, sizeof once, "%llu", (unsigned long long)(share < ONCE_KIB_MAX ? share : ONCE_KIB_MAX) * 1024);
    const char *const own[] = {"group.id",
                               s->group,
                               "partition.assignment.strategy",
                               "cooperative-sticky",
                               "enable.auto.commit",
                               "false",
                               "enable.auto.offset.store",
                               "false",
                               "auto.offset.reset",
                               "error", /* kafka_member_home looks after it, and tells */
                               "enable.partition.eof",
                               "true", /* so that offsets without a record at the end are seen to be none */
                               "allow.auto.create.topics",
                               "false",
                               "session.timeout.ms",
                               session,
                               "heartbeat.interval.ms",
                               beat,
                               "queued.max.messages.kbytes",
                               ahead,
                               "fetch.message.max.bytes", /* else one that was not full holds 1 MiB more */
                               once,
                               NULL};
    return kafka_client_conf(s->bus->client, own);
}

/* Whether it is between asking to join and being told what it got, seen in the protocol's requests, since librdkafka
 * does not tell: a commit sent meanwhile is worked off after the join, names the generation before it, is refused, and
 * makes librdkafka (2.0.2) give all partitions up as lost. On librdkafka's threads. */
static rd_kafka_resp_err_t on_sent(rd_kafka_t *rk, int fd, const char *broker, int32_t id, int16_t key, int16_t version,
                                   int32_t correlation, size_t size, void *opaque)
{
    struct kafka_member *m = opaque;
    (void)rk, (void)fd, (void)broker, (void)id, (void)version, (void)correlation, (void)size;
    if (key == API_JOIN_GROUP) {
        atomic_store(&m->joining, true);
        atomic_store(&m->rejoins, false); /* behind it: never is neither set meanwhile */
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_answered(rd_kafka_t *rk, int fd, const char *broker, int32_t id, int16_t key,
                                       int16_t version, int32_t correlation, size_t size, int64_t rtt,
                                       rd_kafka_resp_err_t err, void *opaque)
{
    struct kafka_member *m = opaque;
    (void)rk, (void)fd, (void)broker, (void)id, (void)version, (void)correlation, (void)size, (void)rtt;
    if (key == API_JOIN_GROUP && !err)
        atomic_store(&m->answered, true);
    if (key == API_SYNC_GROUP || (key == API_JOIN_GROUP && err)) {
        atomic_store(&m->joining, false);
        post_send(m->post); /* what was held back */
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *text, size_t size)
{
    (void)conf, (void)text, (void)size;
    rd_kafka_resp_err_t err = rd_kafka_interceptor_add_on_request_sent(rk, "member", on_sent, opaque);
    return err ? err : rd_kafka_interceptor_add_on_response_received(rk, "member", on_answered, opaque);
}

static rd_kafka_topic_partition_list_t *topics_of(const struct bus_channel *c)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)c->topics.count);
    for (size_t t = 0; t < c->topics.count; t++)
        rd_kafka_topic_partition_list_add(list, c->list[t].name, RD_KAFKA_PARTITION_UA);
    return list;
}

/* librdkafka's threads. */
static void on_events(rd_kafka_t *rk, void *opaque)
{
    (void)rk;
    post_send(opaque);
}

enum err kafka_member_new(struct bus_subscription *s, struct diag *d)
{
    assert(!s->member);
    struct kafka_member *m = calloc(1, sizeof *m);
    struct rd_kafka_conf_s *conf = m ? configure(s, &m->ahead_bytes) : NULL;
    enum err e = conf && !post_new(s->bus->desk.env.control, kafka_member_serve, m, &m->post) ? OK : ERR_NOMEM;
    if (!e && rd_kafka_conf_interceptor_add_on_new(conf, "member", on_new, m))
        e = ERR_NOMEM;
    if (!e) {
        rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT);
        e = kafka_client_open(s->bus->client, RD_KAFKA_CONSUMER, conf, &m->rk, d);
        conf = NULL;
    }
    if (e) {
        if (conf)
            rd_kafka_conf_destroy(conf);
        if (m)
            post_free(m->post);
        free(m);
        return e;
    }
    kafka_subscriptions_busy(s->bus);
    m->subscription = s;
    s->member = m;
    list_init(&m->partitions);
    list_init(&m->retired);
    kafka_member_timers_init(m);
    rd_kafka_poll_set_consumer(m->rk);
    m->queue = rd_kafka_queue_get_consumer(m->rk);
    rd_kafka_queue_cb_event_enable(m->queue, on_events, m->post);
    rd_kafka_topic_partition_list_t *topics = topics_of(s->channel);
    rd_kafka_resp_err_t err = rd_kafka_subscribe(m->rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    loop_timer_start(s->bus->desk.env.control, &m->beat, KAFKA_BEAT_NS);
    if (err) {
        kafka_subscription_says(s, kafka_client_err(err), "group %s: %s", s->group, rd_kafka_err2str(err));
        kafka_member_close(m);
    }
    return OK;
}
