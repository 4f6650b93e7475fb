/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Kafka bus says of itself. Own appends are known at once; how far others have got is asked of the brokers
 * when somebody wants to know, for all channels in one go, and at most once in KAFKA_LOOK_NS: a number is as old as
 * that, and nobody asks while nobody looks.
 *
 * Offsets of a channel: with P partitions (of all its topics together, one topic after the other), the record at offset
 * O of the I-th is O × P + I: with one partition it is Kafka's own.
 */
#include "kafka_channel.h"
#include "../probes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct kafka_ends { /* K asks for all of them */
    struct kafka_job job;
    uint64_t as; /* kafka_bus.recounts then */
    rd_kafka_topic_partition_list_t *ends, *begins;
    struct of {
        struct bus_channel *channel; /* pinned */
        size_t topic;
        int64_t known; /* of its end, before the broker was asked: it cannot be less afterwards */
    } * of;            /* owned; of each element of the lists */
    int count;
};

/* ---- refreshing ---- */

static bool refresh(struct kafka_bus *k);

static void ends_work(struct kafka_job *j)
{
    struct kafka_ends *e = container_of(j, struct kafka_ends, job);
    rd_kafka_t *rk = kafka_producers_hold(j->bus);
    j->err = kafka_topics_offsets_now(rk, e->ends, RD_KAFKA_OFFSET_END);
    if (!j->err)
        j->err = kafka_topics_offsets_now(rk, e->begins, RD_KAFKA_OFFSET_BEGINNING);
}

static void take(const struct of *of, const rd_kafka_topic_partition_t *end, const rd_kafka_topic_partition_t *begin)
{
    struct kafka_parts *parts = atomic_load(&of->channel->list[of->topic].parts);
    if (end->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || end->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
        kafka_channel_suspect(of->channel);
    if (!end->err && end->offset >= 0 && end->offset < of->known)
        kafka_channel_suspect(of->channel);
    if (!end->err && end->offset >= 0)
        kafka_channel_end_raise(of->channel, of->topic, end->partition, end->offset);
    if (!begin->err && begin->offset >= 0 && begin->partition < parts->count) /* it may have had more */
        atomic_store(&parts->at[begin->partition].begin, begin->offset);
}

static void ends_free(struct kafka_ends *e)
{
    rd_kafka_topic_partition_list_destroy(e->ends);
    if (e->begins)
        rd_kafka_topic_partition_list_destroy(e->begins);
    free(e->of);
    free(e);
}

static void ends_done(struct kafka_job *j)
{
    struct kafka_ends *e = container_of(j, struct kafka_ends, job);
    struct kafka_bus *k = j->bus;
    assert(k->refreshing == e);
    k->refreshing = NULL;
    k->refreshed_ns = clock_monotonic_ns(clock_system());
    k->refreshed_as = e->as;
    for (int i = 0; i < e->count; i++) {
        if (!j->err)
            take(&e->of[i], &e->ends->elems[i], &e->begins->elems[i]);
        kafka_channel_unpin(e->of[i].channel);
    }
    ends_free(e);
    if (k->refreshed_as != k->recounts)
        (void)refresh(k);
}

void kafka_refreshing_free(struct kafka_bus *k)
{
    if (k->refreshing)
        ends_free(k->refreshing);
    k->refreshing = NULL;
}

static void add_channel_parts(struct bus_channel *c, struct kafka_ends *e)
{
    if (atomic_load(&c->state) != KAFKA_CHANNEL_READY)
        return;
    for (size_t t = 0; t < c->topics.count; t++) {
        struct kafka_parts *parts = atomic_load(&c->list[t].parts);
        struct of *grown = realloc(e->of, ((size_t)e->count + (size_t)parts->count) * sizeof *grown);
        if (!grown)
            return;
        e->of = grown;
        rd_kafka_topic_partition_list_add_range(e->ends, c->list[t].name, 0, parts->count - 1);
        for (int32_t i = 0; i < parts->count; i++, e->count++) {
            e->of[e->count] = (struct of){c, t, atomic_load(&parts->at[i].end)};
            kafka_channel_pin(c);
        }
    }
}

static void refresh_begin(struct kafka_bus *k)
{
    struct kafka_ends *e = calloc(1, sizeof *e);
    if (!e)
        return;
    e->ends = rd_kafka_topic_partition_list_new(16);
    map_each(entry, tmp, &k->channels)
        add_channel_parts(entry->value, e);
    if (e->count == 0) {
        ends_free(e);
        return;
    }
    e->begins = rd_kafka_topic_partition_list_copy(e->ends);
    e->as = k->recounts;
    e->job.work = ends_work;
    e->job.done = ends_done;
    k->refreshing = e;
    kafka_clerk_ask(k, &e->job);
}

/* Whether what is known is no older than KAFKA_LOOK_NS and the last recount; else it is being asked for, unless there
 * is nothing to ask. */
static bool refresh(struct kafka_bus *k)
{
    uint64_t now = clock_monotonic_ns(clock_system());
    if (!k->refreshing && k->refreshed_ns && k->refreshed_as == k->recounts && now - k->refreshed_ns < KAFKA_LOOK_NS)
        return true;
    if (!k->refreshing && !k->desk.stopping)
        refresh_begin(k);
    return !k->refreshing;
}

bool kafka_channel_refresh_ends(struct bus_channel *c)
{
    return refresh(c->bus);
}

void kafka_recount(struct bus *b)
{
    struct kafka_bus *k = kafka_of(b);
    k->recounts++;
    (void)refresh(k);
}

/* ---- probes ---- */

/* Above the offset, as users see it, of everything that was appended so far. */
static uint64_t channel_end(const struct bus_channel *c)
{
    uint64_t parts = (uint64_t)atomic_load(&c->topics.partitions), end = 0, i = 0;
    for (size_t t = 0; t < c->topics.count; t++) {
        struct kafka_parts *p = atomic_load(&c->list[t].parts);
        for (int32_t at = 0; p && at < p->count; at++, i++) {
            int64_t above = atomic_load(&p->at[at].end);
            uint64_t last = above > 0 ? (uint64_t)(above - 1) * parts + i + 1 : 0;
            end = last > end ? last : end;
        }
    }
    return end;
}

static void add_channel(struct bus_channel *c, struct bus_probe *out)
{
    struct bus_probe of = {.healthy = true};
    uint64_t end = channel_end(c);
    kafka_subscriptions_probe(c, &of);
    bus_probe_add(out, &of);
    out->appended += atomic_load(&c->appended);
    out->end = end > out->end ? end : out->end;
    if (!of.healthy)
        bus_probe_unwell(out, of.err, of.reason);
    if (c->err)
        bus_probe_unwell(out, c->err, c->reason);
}

void kafka_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    struct kafka_bus *k = kafka_of(b);
    char why[256] = "";
    assert(out && (!c || c->bus == k));
    *out = (struct bus_probe){.healthy = true, .counting = !refresh(k)};
    if (!kafka_client_up(k->client, why, sizeof why)) {
        if (k->connected || clock_monotonic_ns(clock_system()) - k->opened_ns > KAFKA_CONNECT_NS)
            bus_probe_unwell(out, ERR_UNAVAILABLE, why);
    } else {
        k->connected = true;
    }
    if (c) {
        add_channel(c, out);
        return;
    }
    struct bus_probe sum = *out;
    map_each(entry, tmp, &k->channels)
        add_channel(entry->value, &sum);
    bus_probe_count(out, &sum);
}
