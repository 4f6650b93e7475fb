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
#include "kafka_bus.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define ONE_BY_ONE 64         /* topics that are looked at by a request each; more by one for all that there are */
#define AWAY_MS 2000          /* of waiting for a cluster without a connection to any of its brokers */
#define TRY_MS 1000           /* of waiting for one answer, then it is asked again */
#define SEEN_MS 20            /* between two looks for what was made */
#define SLICE_MS 100          /* of waiting, between two looks whether anybody still waits */
#define BATCH_TOPICS 500      /* of one request; a KRaft controller takes 10,000 records at once: */
#define BATCH_PARTITIONS 4000 /* topics and partitions together */

static void say(struct kafka_answer *a, rd_kafka_resp_err_t err, const char *topic, const char *text)
{
    a->err = kafka_client_err(err);
    if (!a->err)
        a->err = ERR_UNAVAILABLE;
    snprintf(a->text, sizeof a->text, "topic %s: %s", topic, text && *text ? text : rd_kafka_err2str(err));
}

/* One topic of a question, walked over all of them. */
struct each {
    struct kafka_question *q;
    struct kafka_answer *answer;
    size_t index; /* of the channel's topics */
    const char *topic;
};

static bool next(struct kafka_ask *ask, size_t *i, size_t *t, struct each *out)
{
    while (*i < ask->count && *t == ask->questions[*i].channel->topics.count)
        ++*i, *t = 0;
    if (*i == ask->count)
        return false;
    struct kafka_question *q = &ask->questions[*i];
    *out = (struct each){q, &q->answers[*t], *t, q->channel->list[*t].name};
    ++*t;
    return true;
}

#define each_topic(e, ask)                                                                                             \
    for (struct each e, *once_##e = &e; once_##e; once_##e = NULL)                                                     \
        for (size_t i_ = 0, t_ = 0; next((ask), &i_, &t_, &e);)

static struct kafka_answer *find(struct kafka_ask *ask, const char *topic, bool remove)
{
    each_topic(e, ask)
    {
        if (e.q->remove == remove && strcmp(e.topic, topic) == 0)
            return e.answer;
    }
    return NULL;
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

static void say_each(struct each *batch, size_t count, rd_kafka_resp_err_t err, const char *text)
{
    for (size_t i = 0; i < count; i++)
        say(batch[i].answer, err, batch[i].topic, text);
}

/* ---- removing ---- */

static void delete_batch(struct kafka_ask *ask, rd_kafka_t *rk, struct each *batch, size_t count)
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
            struct kafka_answer *a = find(ask, rd_kafka_topic_result_name(results[i]), true);
            if (a && err && err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
                say(a, err, rd_kafka_topic_result_name(results[i]), rd_kafka_topic_result_error_string(results[i]));
        }
    }
    if (e)
        rd_kafka_event_destroy(e);
    rd_kafka_DeleteTopic_destroy_array(topics, count);
    request_end(&r);
}

/* ---- making ---- */

static void create_answered(struct kafka_ask *ask, const rd_kafka_topic_result_t *result)
{
    rd_kafka_resp_err_t err = rd_kafka_topic_result_error(result);
    const char *topic = rd_kafka_topic_result_name(result);
    struct kafka_answer *a = find(ask, topic, false);
    if (!a)
        return;
    if (!err || err == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        a->made = !err;
        a->err = OK;
    } else {
        say(a, err, topic, rd_kafka_topic_result_error_string(result));
    }
}

static rd_kafka_NewTopic_t *topic_wanted(const struct each *e, struct kafka_answer *a)
{
    const struct kafka_channel_settings *s = &e->q->rules->settings;
    char text[200] = "";
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(e->topic, s->partitions, s->replication, text, sizeof text);
    for (size_t i = 0; t && i < s->config_count; i++) {
        rd_kafka_resp_err_t err = rd_kafka_NewTopic_set_config(t, s->configs[i].name, s->configs[i].value);
        if (err)
            say(a, err, e->topic, NULL);
    }
    if (!t)
        say(a, RD_KAFKA_RESP_ERR__INVALID_ARG, e->topic, text);
    return t;
}

static void create_batch(struct kafka_ask *ask, rd_kafka_t *rk, struct each *batch, size_t count)
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
static void in_batches(struct kafka_ask *ask, rd_kafka_t *rk, bool (*wanted)(const struct each *e),
                       void (*run)(struct kafka_ask *ask, rd_kafka_t *rk, struct each *batch, size_t count))
{
    struct each batch[BATCH_TOPICS];
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

static bool to_remove(const struct each *e)
{
    assert(!e->q->remove || !e->q->rules->settings.external);
    return e->q->remove && !e->answer->err;
}

static bool to_make(const struct each *e)
{
    return !e->q->remove && !e->q->rules->settings.external && e->answer->err == ERR_NOTFOUND;
}

static bool is_asked(const struct each *e)
{
    (void)e;
    return true;
}

static bool is_there(const struct each *e)
{
    return !e->q->remove && !e->answer->err && e->answer->partitions > 0;
}

/* ---- looking ---- */

/* Of one topic, or with NULL of all that we may see. NULL: no broker answers, or nobody waits any more; then nothing
 * more is asked of it this time. While there is no connection at all, that is found out sooner. */
static const struct rd_kafka_metadata *metadata(struct kafka_ask *ask, rd_kafka_t *rk, rd_kafka_topic_t *rkt,
                                                rd_kafka_resp_err_t *err)
{
    struct kafka_bus *k = ask->job.bus;
    const struct rd_kafka_metadata *md = NULL;
    *err = RD_KAFKA_RESP_ERR__TIMED_OUT;
    for (int ms = 0; ms < KAFKA_ASK_MS && !ask->away && !atomic_load(&k->clerk.hurry); ms += TRY_MS) {
        *err = rd_kafka_metadata(rk, !rkt, rkt, &md, TRY_MS);
        if (!*err)
            return md;
        if (*err != RD_KAFKA_RESP_ERR__TRANSPORT && *err != RD_KAFKA_RESP_ERR__TIMED_OUT)
            return NULL;
        ask->away = ms + TRY_MS >= AWAY_MS && !kafka_client_up(k->client, NULL, 0);
    }
    ask->away = true;
    *err = RD_KAFKA_RESP_ERR__TIMED_OUT;
    return NULL;
}

static void seen(const struct each *e, const struct rd_kafka_metadata_topic *t)
{
    rd_kafka_resp_err_t err = t ? t->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    e->answer->partitions = err ? 0 : t->partition_cnt;
    e->answer->err = OK;
    if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        say(e->answer, err, e->topic, "there is no such topic");
    else if (err || t->partition_cnt == 0)
        say(e->answer, err ? err : RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, e->topic, NULL);
}

/* The handle, and with it whoever appends, learns of the topic likewise. */
static void look_one(struct kafka_ask *ask, rd_kafka_t *rk, const struct each *e)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__INVALID_ARG;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, e->topic, NULL);
    const struct rd_kafka_metadata *md = rkt ? metadata(ask, rk, rkt, &err) : NULL;
    if (md)
        seen(e, md->topic_cnt == 1 ? md->topics : NULL);
    else
        say(e->answer, err, e->topic, err == RD_KAFKA_RESP_ERR__TIMED_OUT ? "no broker answers" : NULL);
    if (md)
        rd_kafka_metadata_destroy(md);
    if (rkt)
        rd_kafka_topic_destroy(rkt);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rd_kafka_metadata_topic *)a)->topic,
                  ((const struct rd_kafka_metadata_topic *)b)->topic);
}

static void look_all(struct kafka_ask *ask, rd_kafka_t *rk, bool (*wanted)(const struct each *e))
{
    rd_kafka_resp_err_t err;
    const struct rd_kafka_metadata *md = metadata(ask, rk, NULL, &err);
    if (md)
        qsort(md->topics, (size_t)md->topic_cnt, sizeof *md->topics, by_name);
    each_topic(e, ask)
    {
        struct rd_kafka_metadata_topic key = {.topic = (char *)(uintptr_t)e.topic};
        if (!wanted(&e))
            continue;
        if (md)
            seen(&e, bsearch(&key, md->topics, (size_t)md->topic_cnt, sizeof key, by_name));
        else
            say(e.answer, err, e.topic, err == RD_KAFKA_RESP_ERR__TIMED_OUT ? "no broker answers" : NULL);
    }
    if (md)
        rd_kafka_metadata_destroy(md);
}

static void look(struct kafka_ask *ask, rd_kafka_t *rk, bool (*wanted)(const struct each *e))
{
    size_t topics = 0;
    each_topic(one, ask) topics += wanted(&one);
    if (topics > ONE_BY_ONE) {
        look_all(ask, rk, wanted);
        return;
    }
    each_topic(e, ask)
    {
        if (wanted(&e))
            look_one(ask, rk, &e);
    }
}

static bool is_hidden(const struct each *e)
{
    return !e->q->remove && !e->answer->partitions && (!e->answer->err || e->answer->made);
}

/* What was made is not seen at once by every broker; and a handle that knew a topic before it was deleted believes that
 * there is none, until it sees it. */
static void look_for_made(struct kafka_ask *ask, rd_kafka_t *rk)
{
    bool hidden = true;
    for (int ms = 0; hidden && ms < KAFKA_ASK_MS && !atomic_load(&ask->job.bus->clerk.hurry); ms += SEEN_MS) {
        if (ms)
            poll(NULL, 0, SEEN_MS);
        look(ask, rk, is_hidden);
        hidden = false;
        each_topic(e, ask) hidden |= is_hidden(&e);
    }
}

/* Whether the cluster has somebody for admin requests; the library would wait for it. */
static bool has_controller(struct kafka_ask *ask, rd_kafka_t *rk)
{
    rd_kafka_resp_err_t err;
    int32_t controller = ask->away ? -1 : rd_kafka_controllerid(rk, TRY_MS);
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, ask->questions[0].channel->list[0].name, NULL);
    const struct rd_kafka_metadata *md = rkt ? metadata(ask, rk, rkt, &err) : NULL;
    bool found = false;
    for (int i = 0; md && i < md->broker_cnt; i++)
        found |= md->brokers[i].id == controller;
    if (md)
        rd_kafka_metadata_destroy(md);
    if (rkt)
        rd_kafka_topic_destroy(rkt);
    return found;
}

static void describe_answered(struct kafka_ask *ask, const rd_kafka_ConfigResource_t *resource)
{
    size_t n = 0;
    struct kafka_answer *a = find(ask, rd_kafka_ConfigResource_name(resource), false);
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &n);
    if (!a || rd_kafka_ConfigResource_error(resource))
        return;
    for (size_t i = 0; i < n; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (value && strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") == 0)
            a->record_max = strtoull(value, NULL, 10);
    }
}

static void describe_batch(struct kafka_ask *ask, rd_kafka_t *rk, struct each *batch, size_t count)
{
    rd_kafka_ConfigResource_t *resources[BATCH_TOPICS];
    struct request r;
    size_t n = 0;
    request_begin(&r, ask->job.bus, rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, false);
    for (size_t i = 0; i < count; i++)
        resources[i] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, batch[i].topic);
    rd_kafka_DescribeConfigs(rk, resources, count, r.options, r.queue);
    rd_kafka_event_t *e = request_wait(&r);
    if (e && !rd_kafka_event_error(e)) {
        const rd_kafka_ConfigResource_t **results =
            rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(e), &n);
        for (size_t i = 0; i < n; i++)
            describe_answered(ask, results[i]);
    }
    if (e)
        rd_kafka_event_destroy(e);
    rd_kafka_ConfigResource_destroy_array(resources, count);
    request_end(&r);
}

/* ---- offsets ---- */

/* A moment later it may be otherwise. */
static bool passes(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE: /* of a topic just made, whose partitions have none yet */
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__IN_PROGRESS:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
        return true;
    default:
        return false;
    }
}

/* The handle keeps what it knows of a topic until somebody asks; so whoever has to wait asks. */
static void know_better(rd_kafka_t *rk, const char *topic)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
    if (rkt && !rd_kafka_metadata(rk, 0, rkt, &md, TRY_MS))
        rd_kafka_metadata_destroy(md);
    if (rkt)
        rd_kafka_topic_destroy(rkt);
}

/* Asks once. True: it is to be asked again. */
static bool offsets_ask(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which, rd_kafka_resp_err_t *err)
{
    const char *last = NULL;
    bool again = false, told = true; /* told: each element says what is wrong with it */
    for (int i = 0; i < list->cnt; i++)
        list->elems[i].offset = which;
    *err = rd_kafka_offsets_for_times(rk, list, TRY_MS);
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *p = &list->elems[i];
        told &= p->err != RD_KAFKA_RESP_ERR_NO_ERROR;
        if (!passes(p->err))
            continue;
        again = true;
        if (!last || strcmp(last, p->topic) != 0)
            know_better(rk, p->topic);
        last = p->topic;
    }
    if (*err && told)
        *err = RD_KAFKA_RESP_ERR_NO_ERROR;
    return again || passes(*err);
}

enum err kafka_topics_offsets_now(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt)
        (void)offsets_ask(rk, list, which, &err);
    return err ? kafka_client_err(err) : OK;
}

enum err kafka_topics_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which)
{
    const uint64_t end_ns = clock_monotonic_ns(clock_system()) + KAFKA_ASK_MS * NS_PER_MS;
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt == 0)
        return OK;
    while (offsets_ask(rk, list, which, &err) && clock_monotonic_ns(clock_system()) < end_ns)
        poll(NULL, 0, SEEN_MS);
    return err ? kafka_client_err(err) : OK;
}

static bool older(const struct each *e)
{
    return is_there(e) && !e->answer->made;
}

/* `begins` holds meanwhile what was known of the ends before the broker is asked: it cannot be less afterwards. */
static enum err offsets_room(const struct each *e)
{
    struct kafka_answer *a = e->answer;
    a->begins = calloc((size_t)a->partitions, sizeof *a->begins);
    a->ends = calloc((size_t)a->partitions, sizeof *a->ends);
    if (!a->begins || !a->ends)
        return ERR_NOMEM;
    for (int32_t i = 0; i < a->partitions; i++)
        a->begins[i] = kafka_channel_end(e->q->channel, e->index, i);
    return OK;
}

static void offsets_take(struct kafka_ask *ask, const rd_kafka_topic_partition_list_t *list, bool ends)
{
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *p = &list->elems[i];
        struct kafka_answer *a = find(ask, p->topic, false);
        if (!a || !a->ends || p->partition >= a->partitions)
            continue;
        if (p->err && !a->err)
            say(a, p->err, p->topic, NULL);
        int64_t offset = p->offset > 0 ? p->offset : 0;
        if (ends)
            a->shrunk |= !p->err && offset < a->begins[p->partition];
        (ends ? a->ends : a->begins)[p->partition] = offset;
    }
}

static void offsets(struct kafka_ask *ask, rd_kafka_t *rk)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(64);
    each_topic(old, ask)
    {
        if (!older(&old))
            continue;
        if (offsets_room(&old))
            old.answer->err = ERR_NOMEM;
        else
            rd_kafka_topic_partition_list_add_range(list, old.topic, 0, old.answer->partitions - 1);
    }
    enum err e = kafka_topics_offsets(rk, list, RD_KAFKA_OFFSET_END);
    if (!e) {
        offsets_take(ask, list, true);
        e = kafka_topics_offsets(rk, list, RD_KAFKA_OFFSET_BEGINNING);
    }
    if (!e)
        offsets_take(ask, list, false);
    each_topic(failed, ask)
    {
        if (e && older(&failed)) {
            failed.answer->err = e;
            snprintf(failed.answer->text, sizeof failed.answer->text,
                     "topic %s: the offsets of its partitions were not to be had in time", failed.topic);
        }
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* Until it is seen to be gone: who makes it anew would believe that it is there. */
static void removed(struct kafka_ask *ask, rd_kafka_t *rk, const struct each *e, bool admin)
{
    if (!e->answer->err && !admin)
        say(e->answer, RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, e->topic, "the cluster names no controller");
    for (int ms = 0; !e->answer->err && ms < KAFKA_ASK_MS && !atomic_load(&ask->job.bus->clerk.hurry); ms += SLICE_MS) {
        look_one(ask, rk, e);
        if (!e->answer->err)
            poll(NULL, 0, SLICE_MS / 4);
    }
    if (e->answer->err == ERR_NOTFOUND)
        e->answer->err = OK;
}

void kafka_topics_work(struct kafka_job *j)
{
    struct kafka_ask *ask = container_of(j, struct kafka_ask, job);
    rd_kafka_t *rk = kafka_clerk_handle(j->bus);
    assert(ask->count > 0);
    look(ask, rk, is_asked);
    bool admin = has_controller(ask, rk);
    if (admin) {
        in_batches(ask, rk, to_remove, delete_batch);
        in_batches(ask, rk, to_make, create_batch);
        look_for_made(ask, rk);
    }
    each_topic(e, ask)
    {
        if (e.q->remove)
            removed(ask, rk, &e, admin);
    }
    offsets(ask, rk);
    if (admin)
        in_batches(ask, rk, is_there, describe_batch);
}
