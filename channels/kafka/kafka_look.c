/* SPDX-License-Identifier: Apache-2.0
 *
 * What K sees of a cluster without changing anything: which topics are there and how many partitions they have, whether
 * there is a controller, and how far partitions reach. A handle of librdkafka keeps what it once saw until it is asked
 * again, and takes a partition without a leader for one that has none for good; so whoever waits for a topic asks.
 */
#include "kafka_topics.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define ONE_BY_ONE 64 /* topics that are looked at by a request each; more by one for all that there are */
#define AWAY_MS 2000  /* of waiting for a cluster to none of whose brokers a connection can be made */
#define TRY_MS 1000   /* of waiting for one answer, then it is asked again */
#define SEEN_MS 20    /* between two looks for what was made */
#define SLICE_MS 100  /* of waiting, between two looks whether anybody still waits */

bool kafka_topic_is_there(const struct kafka_each *e)
{
    return !e->q->remove && !e->answer->err && e->answer->partitions > 0;
}

/* ---- topics ---- */

/* Of one topic, or with NULL of all that we may see. NULL: no broker answers, or nobody waits any more; then nothing
 * more is asked of it this time. Where no connection can be made, that is found out sooner. */
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
        ask->away = ms + TRY_MS >= AWAY_MS && kafka_client_failed(k->client);
    }
    ask->away = true;
    *err = RD_KAFKA_RESP_ERR__TIMED_OUT;
    return NULL;
}

static void say_away(struct kafka_ask *ask, const struct kafka_each *e, rd_kafka_resp_err_t err)
{
    char why[256] = "";
    if (err == RD_KAFKA_RESP_ERR__TIMED_OUT && kafka_client_up(ask->job.bus->client, why, sizeof why))
        snprintf(why, sizeof why, "no broker answered in time");
    kafka_topic_say(e->answer, err, e->topic, why);
}

static void seen(const struct kafka_each *e, const struct rd_kafka_metadata_topic *t)
{
    rd_kafka_resp_err_t err = t ? t->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    e->answer->partitions = err ? 0 : t->partition_cnt;
    e->answer->err = OK;
    e->answer->leaderless = -1;
    for (int32_t i = e->answer->partitions; i-- > 0;)
        if (t->partitions[i].leader < 0)
            e->answer->leaderless = t->partitions[i].id;
    if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        kafka_topic_say(e->answer, err, e->topic, "there is no such topic");
    else if (err || t->partition_cnt == 0)
        kafka_topic_say(e->answer, err ? err : RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, e->topic, NULL);
}

/* The handle, and with it whoever appends, learns of the topic likewise. */
void kafka_look_one(struct kafka_ask *ask, rd_kafka_t *rk, const struct kafka_each *e)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__INVALID_ARG;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, e->topic, NULL);
    const struct rd_kafka_metadata *md = rkt ? metadata(ask, rk, rkt, &err) : NULL;
    if (md)
        seen(e, md->topic_cnt == 1 ? md->topics : NULL);
    else
        say_away(ask, e, err);
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

static void look_all(struct kafka_ask *ask, rd_kafka_t *rk, bool (*wanted)(const struct kafka_each *e))
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
            say_away(ask, &e, err);
    }
    if (md)
        rd_kafka_metadata_destroy(md);
}

void kafka_look(struct kafka_ask *ask, rd_kafka_t *rk, bool (*wanted)(const struct kafka_each *e))
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
            kafka_look_one(ask, rk, &e);
    }
}

static bool is_hidden(const struct kafka_each *e)
{
    return !e->q->remove && !e->answer->partitions && (!e->answer->err || e->answer->there);
}

/* What was made is not seen at once by every broker; and a handle that knew a topic before it was deleted believes that
 * there is none, until it sees it. */
void kafka_look_for_made(struct kafka_ask *ask, rd_kafka_t *rk)
{
    bool hidden = true;
    for (int ms = 0; hidden && ms < KAFKA_ASK_MS && !atomic_load(&ask->job.bus->clerk.hurry); ms += SEEN_MS) {
        if (ms)
            poll(NULL, 0, SEEN_MS);
        kafka_look(ask, rk, is_hidden);
        hidden = false;
        each_topic(e, ask) hidden |= is_hidden(&e);
    }
}

/* Brokers of a cluster that begins come one after the other. */
static void brokers_seen(struct kafka_ask *ask, int count)
{
    struct kafka_bus *k = ask->job.bus;
    uint64_t now = clock_monotonic_ns(clock_system());
    if (k->brokers != count) {
        k->brokers = count;
        k->brokers_ns = now;
    }
    ask->brokers = count;
    ask->settled = now - k->brokers_ns >= KAFKA_SETTLED_NS;
}

/* Whether the cluster has somebody for admin requests; the library would wait for one. A cluster that names no broker
 * at all is about to begin. */
bool kafka_look_for_controller(struct kafka_ask *ask, rd_kafka_t *rk)
{
    rd_kafka_resp_err_t err;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, ask->questions[0].channel->list[0].name, NULL);
    bool found = false, empty = rkt != NULL;
    for (int ms = 0; empty && ms < KAFKA_ASK_MS && !atomic_load(&ask->job.bus->clerk.hurry); ms += SLICE_MS) {
        const struct rd_kafka_metadata *md = metadata(ask, rk, rkt, &err);
        int32_t controller = md ? rd_kafka_controllerid(rk, TRY_MS) : -1;
        empty = md && md->broker_cnt == 0;
        for (int i = 0; md && i < md->broker_cnt; i++)
            found |= md->brokers[i].id == controller;
        if (md) {
            brokers_seen(ask, md->broker_cnt);
            rd_kafka_metadata_destroy(md);
        }
        if (empty)
            poll(NULL, 0, SLICE_MS);
    }
    if (rkt)
        rd_kafka_topic_destroy(rkt);
    return found;
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

/* The handle keeps what it knows of a topic until somebody asks; so whoever has to wait asks. False: no answer. */
static bool know_better(rd_kafka_t *rk, const char *topic)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
    bool answered = rkt && !rd_kafka_metadata(rk, 0, rkt, &md, TRY_MS);
    if (answered)
        rd_kafka_metadata_destroy(md);
    if (rkt)
        rd_kafka_topic_destroy(rkt);
    return answered;
}

/* Asks once. True: it is to be asked again. A request to a leader that is gone is not answered, and then nothing stands
 * in its elements: that there is another leader only fresh metadata tell. */
static bool offsets_ask(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which, rd_kafka_resp_err_t *err)
{
    const char *last = NULL;
    bool again = false, told = true; /* told: each element says what is wrong with it */
    bool answers = true;
    for (int i = 0; i < list->cnt; i++) {
        list->elems[i].offset = which;
        list->elems[i].err = RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    *err = rd_kafka_offsets_for_times(rk, list, TRY_MS);
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *p = &list->elems[i];
        told &= p->err != RD_KAFKA_RESP_ERR_NO_ERROR;
        if (!passes(p->err ? p->err : *err))
            continue;
        again = true;
        if (answers && (!last || strcmp(last, p->topic) != 0))
            answers = know_better(rk, p->topic);
        last = p->topic;
    }
    if (*err && told)
        *err = RD_KAFKA_RESP_ERR_NO_ERROR;
    return again;
}

enum err kafka_topics_offsets_now(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt)
        (void)offsets_ask(rk, list, which, &err);
    return err ? kafka_client_err(err) : OK;
}

enum err kafka_topics_offsets(struct kafka_bus *k, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which)
{
    const uint64_t end_ns = clock_monotonic_ns(clock_system()) + KAFKA_ASK_MS * NS_PER_MS;
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt == 0)
        return OK;
    while (offsets_ask(rk, list, which, &err) && clock_monotonic_ns(clock_system()) < end_ns &&
           !atomic_load(&k->clerk.hurry))
        poll(NULL, 0, SEEN_MS);
    return err ? kafka_client_err(err) : OK;
}

static bool older(const struct kafka_each *e)
{
    return kafka_topic_is_there(e) && !e->answer->made;
}

/* `begins` holds meanwhile what was known of the ends before the broker is asked: it cannot be less afterwards. */
static enum err offsets_room(const struct kafka_each *e)
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

static void offset_take(struct kafka_answer *a, const rd_kafka_topic_partition_t *p, bool ends)
{
    if (!a->ends || p->partition >= a->partitions)
        return;
    if (p->err && !a->err)
        kafka_topic_say(a, p->err, p->topic, NULL);
    int64_t offset = p->offset > 0 ? p->offset : 0;
    if (ends)
        a->shrunk |= !p->err && offset < a->begins[p->partition];
    (ends ? a->ends : a->begins)[p->partition] = offset;
}

/* Several channels may be of one topic. */
static void offsets_take(struct kafka_ask *ask, const rd_kafka_topic_partition_list_t *list, bool ends)
{
    for (int i = 0; i < list->cnt; i++) {
        each_topic(e, ask)
        {
            if (!e.q->remove && strcmp(e.topic, list->elems[i].topic) == 0)
                offset_take(e.answer, &list->elems[i], ends);
        }
    }
}

void kafka_look_at_offsets(struct kafka_ask *ask, rd_kafka_t *rk)
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
    enum err e = kafka_topics_offsets(ask->job.bus, rk, list, RD_KAFKA_OFFSET_END);
    if (!e) {
        offsets_take(ask, list, true);
        e = kafka_topics_offsets(ask->job.bus, rk, list, RD_KAFKA_OFFSET_BEGINNING);
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
