/* SPDX-License-Identifier: Apache-2.0
 *
 * Topics, on K: looked at, removed and made for all channels that wait, each kind in as few requests as the broker
 * takes. A topic that is there already is fine, whatever it looks like: what it is like is answered.
 *
 *   metadata ── which are there, how many partitions ── delete ── create what is missing ── offsets of the old ones
 *            ── describe: the largest record
 *
 * What may be missing is permission: who may not describe a topic's settings does not know the largest record, and
 * finds out by the broker's refusals. A cluster that names no controller takes no such requests, and is not asked.
 */
#include "kafka_topics.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define SLICE_MS 100          /* of waiting, between two looks whether anybody still waits */
#define BATCH_TOPICS 500      /* of one request; a KRaft controller takes 10,000 records at once: */
#define BATCH_PARTITIONS 4000 /* topics and partitions together */
#define SEEN_MS 20            /* between two looks for what was made */

void kafka_topic_say(struct kafka_answer *a, rd_kafka_resp_err_t err, const char *topic, const char *text)
{
    a->err = kafka_client_err(err);
    if (!a->err)
        a->err = ERR_UNAVAILABLE;
    snprintf(a->text, sizeof a->text, "topic %s: %s", topic, text && *text ? text : rd_kafka_err2str(err));
}

bool kafka_topic_next(struct kafka_ask *ask, size_t *i, size_t *t, struct kafka_each *out)
{
    while (*i < ask->count && *t == ask->questions[*i].channel->topics.count)
        ++*i, *t = 0;
    if (*i == ask->count)
        return false;
    struct kafka_question *q = &ask->questions[*i];
    *out = (struct kafka_each){q, &q->answers[*t], *t, q->channel->list[*t].name};
    ++*t;
    return true;
}

static bool find(struct kafka_ask *ask, const char *topic, bool remove, struct kafka_each *out)
{
    each_topic(e, ask)
    {
        *out = e;
        if (e.q->remove == remove && strcmp(e.topic, topic) == 0)
            return true;
    }
    return false;
}

/* ---- one admin request ---- */

struct request {
    struct kafka_bus *bus;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
};

static void request_begin(struct request *r, struct kafka_bus *k, rd_kafka_t *rk, rd_kafka_admin_op_t kind, bool waits)
{
    char unused[80];
    *r = (struct request){k, rk, rd_kafka_queue_new(rk), rd_kafka_AdminOptions_new(rk, kind)};
    rd_kafka_AdminOptions_set_request_timeout(r->options, KAFKA_ASK_MS, unused, sizeof unused);
    if (waits) /* until the brokers know it */
        rd_kafka_AdminOptions_set_operation_timeout(r->options, KAFKA_ASK_MS / 2, unused, sizeof unused);
}

/* NULL: nobody waits for the answer any more. */
static rd_kafka_event_t *request_wait(struct request *r)
{
    rd_kafka_event_t *e = NULL;
    for (int ms = 0; !e && ms < 2 * KAFKA_ASK_MS && !atomic_load(&r->bus->clerk.hurry); ms += SLICE_MS)
        e = rd_kafka_queue_poll(r->queue, SLICE_MS);
    return e;
}

static void request_end(struct request *r)
{
    rd_kafka_AdminOptions_destroy(r->options);
    rd_kafka_queue_destroy(r->queue);
}

/* What the request as a whole has met; OK: each topic has its own answer. */
static rd_kafka_resp_err_t whole(rd_kafka_event_t *e, const char **text)
{
    *text = e ? rd_kafka_event_error_string(e) : "the broker did not answer in time";
    return e ? rd_kafka_event_error(e) : RD_KAFKA_RESP_ERR__TIMED_OUT;
}

static void say_each(struct kafka_each *batch, size_t count, rd_kafka_resp_err_t err, const char *text)
{
    for (size_t i = 0; i < count; i++)
        kafka_topic_say(batch[i].answer, err, batch[i].topic, text);
}

/* ---- removing ---- */

static void delete_batch(struct kafka_ask *ask, rd_kafka_t *rk, struct kafka_each *batch, size_t count)
{
    rd_kafka_DeleteTopic_t *topics[BATCH_TOPICS];
    struct request r;
    const char *text;
    size_t n = 0;
    request_begin(&r, ask->job.bus, rk, RD_KAFKA_ADMIN_OP_DELETETOPICS, true);
    for (size_t i = 0; i < count; i++)
        topics[i] = rd_kafka_DeleteTopic_new(batch[i].topic);
    rd_kafka_DeleteTopics(rk, topics, count, r.options, r.queue);
    rd_kafka_event_t *e = request_wait(&r);
    rd_kafka_resp_err_t err = whole(e, &text);
    if (err)
        say_each(batch, count, err, text);
    else {
        const rd_kafka_topic_result_t **results =
            rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(e), &n);
        for (size_t i = 0; i < n; i++) {
            err = rd_kafka_topic_result_error(results[i]);
            struct kafka_each of;
            if (find(ask, rd_kafka_topic_result_name(results[i]), true, &of) && err &&
                err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
                kafka_topic_say(of.answer, err, of.topic, rd_kafka_topic_result_error_string(results[i]));
        }
    }
    if (e)
        rd_kafka_event_destroy(e);
    rd_kafka_DeleteTopic_destroy_array(topics, count);
    request_end(&r);
}

/* ---- making ---- */

/* A cluster that begins has fewer brokers than it is going to have, and refuses what will be right in a moment. */
static void too_few(const struct kafka_ask *ask, const struct kafka_each *e, const char *theirs)
{
    struct kafka_answer *a = e->answer;
    int wanted = e->q->rules->settings.replication;
    bool more = wanted < 0 || wanted > ask->brokers;
    char factor[40] = "the cluster's replication factor";
    if (wanted > 0)
        snprintf(factor, sizeof factor, "a replication factor of %d", wanted);
    a->err = ask->settled && more ? ERR_INVALID : ERR_UNAVAILABLE;
    if (a->err == ERR_INVALID)
        snprintf(a->text, sizeof a->text, "topic %s: %s needs as many brokers, and the cluster has %d: %s", e->topic,
                 factor, ask->brokers, theirs ? theirs : "");
    else
        snprintf(a->text, sizeof a->text,
                 "topic %s: %s needs as many brokers, and the cluster has %d now; it is asked again, as brokers come",
                 e->topic, factor, ask->brokers);
}

static void create_answered(struct kafka_ask *ask, const rd_kafka_topic_result_t *result)
{
    rd_kafka_resp_err_t err = rd_kafka_topic_result_error(result);
    const char *topic = rd_kafka_topic_result_name(result);
    struct kafka_each of;
    if (!find(ask, topic, false, &of))
        return;
    struct kafka_answer *a = of.answer;
    if (!err || err == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        a->made = !err;
        a->there = true;
        a->err = OK;
    } else if (err == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR) {
        too_few(ask, &of, rd_kafka_topic_result_error_string(result));
    } else {
        kafka_topic_say(a, err, topic, rd_kafka_topic_result_error_string(result));
    }
}

static rd_kafka_NewTopic_t *topic_wanted(const struct kafka_each *e, struct kafka_answer *a)
{
    const struct kafka_channel_settings *s = &e->q->rules->settings;
    char text[200] = "";
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(e->topic, s->partitions, s->replication, text, sizeof text);
    for (size_t i = 0; t && i < s->config_count; i++) {
        rd_kafka_resp_err_t err = rd_kafka_NewTopic_set_config(t, s->configs[i].name, s->configs[i].value);
        if (err)
            kafka_topic_say(a, err, e->topic, NULL);
    }
    if (!t)
        kafka_topic_say(a, RD_KAFKA_RESP_ERR__INVALID_ARG, e->topic, text);
    return t;
}

static void create_batch(struct kafka_ask *ask, rd_kafka_t *rk, struct kafka_each *batch, size_t count)
{
    rd_kafka_NewTopic_t *topics[BATCH_TOPICS];
    struct request r;
    const char *text;
    size_t n = 0, asked = 0;
    request_begin(&r, ask->job.bus, rk, RD_KAFKA_ADMIN_OP_CREATETOPICS, true);
    for (size_t i = 0; i < count; i++) {
        if ((topics[asked] = topic_wanted(&batch[i], batch[i].answer)))
            asked++;
    }
    rd_kafka_event_t *e = NULL;
    if (asked) {
        rd_kafka_CreateTopics(rk, topics, asked, r.options, r.queue);
        e = request_wait(&r);
        rd_kafka_resp_err_t err = whole(e, &text);
        if (err)
            say_each(batch, count, err, text);
    }
    if (e && !rd_kafka_event_error(e)) {
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(e), &n);
        for (size_t i = 0; i < n; i++)
            create_answered(ask, results[i]);
    }
    if (e)
        rd_kafka_event_destroy(e);
    rd_kafka_NewTopic_destroy_array(topics, asked);
    request_end(&r);
}

/* Deals all topics that `wanted` picks into batches. */
static void in_batches(struct kafka_ask *ask, rd_kafka_t *rk, bool (*wanted)(const struct kafka_each *e),
                       void (*run)(struct kafka_ask *ask, rd_kafka_t *rk, struct kafka_each *batch, size_t count))
{
    struct kafka_each batch[BATCH_TOPICS];
    size_t count = 0, partitions = 0;
    each_topic(e, ask)
    {
        if (!wanted(&e))
            continue;
        size_t more = (size_t)e.q->rules->settings.partitions;
        if (count == BATCH_TOPICS || (count && partitions + more > BATCH_PARTITIONS)) {
            run(ask, rk, batch, count);
            count = partitions = 0;
        }
        batch[count++] = e;
        partitions += more;
    }
    if (count)
        run(ask, rk, batch, count);
}

static bool to_remove(const struct kafka_each *e)
{
    assert(!e->q->remove || !e->q->rules->settings.external);
    return e->q->remove && !e->answer->err;
}

static bool to_make(const struct kafka_each *e)
{
    return !e->q->remove && !e->q->rules->settings.external && e->answer->err == ERR_NOTFOUND;
}

static bool is_asked(const struct kafka_each *e)
{
    (void)e;
    return true;
}

static void describe_answered(struct kafka_ask *ask, const rd_kafka_ConfigResource_t *resource)
{
    size_t n = 0;
    const char *value = NULL, *topic = rd_kafka_ConfigResource_name(resource);
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &n);
    if (rd_kafka_ConfigResource_error(resource))
        return;
    for (size_t i = 0; i < n; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") == 0)
            value = rd_kafka_ConfigEntry_value(entries[i]);
    each_topic(e, ask)
    {
        if (value && !e.q->remove && strcmp(e.topic, topic) == 0)
            e.answer->record_max = strtoull(value, NULL, 10);
    }
}

/* The library fails where a resource is named twice: a KafkaSink and a KafkaSource of one topic, say. */
static bool named_before(const struct kafka_each *batch, size_t i)
{
    for (size_t before = 0; before < i; before++)
        if (strcmp(batch[before].topic, batch[i].topic) == 0)
            return true;
    return false;
}

static void describe_batch(struct kafka_ask *ask, rd_kafka_t *rk, struct kafka_each *batch, size_t count)
{
    rd_kafka_ConfigResource_t *resources[BATCH_TOPICS];
    struct request r;
    size_t n = 0, asked = 0;
    request_begin(&r, ask->job.bus, rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, false);
    for (size_t i = 0; i < count; i++)
        if (!named_before(batch, i))
            resources[asked++] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, batch[i].topic);
    rd_kafka_DescribeConfigs(rk, resources, asked, r.options, r.queue);
    rd_kafka_event_t *e = request_wait(&r);
    if (e && !rd_kafka_event_error(e)) {
        const rd_kafka_ConfigResource_t **results =
            rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(e), &n);
        for (size_t i = 0; i < n; i++)
            describe_answered(ask, results[i]);
    }
    if (e)
        rd_kafka_event_destroy(e);
    rd_kafka_ConfigResource_destroy_array(resources, asked);
    request_end(&r);
}

/* Until it is seen to be gone: who makes it anew would believe that it is there. */
static void removed(struct kafka_ask *ask, rd_kafka_t *rk, const struct kafka_each *e, bool admin)
{
    if (!e->answer->err && !admin)
        kafka_topic_say(e->answer, RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, e->topic, "the cluster names no controller");
    for (int ms = 0; !e->answer->err && ms < KAFKA_ASK_MS && !atomic_load(&ask->job.bus->clerk.hurry); ms += SLICE_MS) {
        kafka_look_one(ask, rk, e);
        if (!e->answer->err)
            poll(NULL, 0, SLICE_MS / 4);
    }
    if (e->answer->err == ERR_NOTFOUND)
        e->answer->err = OK;
}

void kafka_topics_work(struct kafka_job *j)
{
    struct kafka_ask *ask = container_of(j, struct kafka_ask, job);
    rd_kafka_t *rk = kafka_producers_hold(j->bus);
    assert(ask->count > 0);
    kafka_look(ask, rk, is_asked);
    bool admin = kafka_look_for_controller(ask, rk);
    if (admin) {
        in_batches(ask, rk, to_remove, delete_batch);
        in_batches(ask, rk, to_make, create_batch);
        kafka_look_for_made(ask, rk);
    }
    each_topic(e, ask)
    {
        if (e.q->remove)
            removed(ask, rk, &e, admin);
        else if (to_make(&e) && !admin)
            kafka_topic_say(e.answer, RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, e.topic,
                            "there is none, and the cluster names no controller that would make it");
    }
    kafka_look_at_offsets(ask, rk);
    if (admin)
        in_batches(ask, rk, kafka_topic_is_there, describe_batch);
}
