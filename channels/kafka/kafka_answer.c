/* SPDX-License-Identifier: Apache-2.0
 *
 * What control asks K about channels, and what it makes of the answers. All channels that wait are asked about at once;
 * those that come while K is at it are the next question.
 */
#include "kafka_channel.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- asking ---- */

static bool comes_after(const struct kafka_bus *k, const struct bus_channel *c)
{
    if (c->deleting)
        return false;
    list_each(l, tmp, &k->going) {
        const struct bus_channel *other = container_of(l, struct bus_channel, link);
        if (other != c && strcmp(other->name, c->name) == 0)
            return true;
    }
    return false;
}

void kafka_answers_free(struct kafka_answer *answers, size_t count)
{
    for (size_t t = 0; t < count; t++) {
        free(answers[t].begins);
        free(answers[t].ends);
    }
    free(answers);
}

void kafka_asking_free(struct kafka_bus *k)
{
    for (size_t i = 0; k->asking && i < k->asking->count; i++)
        kafka_answers_free(k->asking->questions[i].answers, k->asking->questions[i].channel->topics.count);
    free(k->asking);
    k->asking = NULL;
}

static void answered(struct kafka_job *j);

void kafka_channels_ask(struct loop_task *t)
{
    struct kafka_bus *k = container_of(t, struct kafka_bus, asker);
    size_t most = 0;
    if (k->asking)
        return;
    list_each(l, tmp, &k->to_ask)
        most++;
    struct kafka_ask *ask = most ? calloc(1, sizeof *ask + most * sizeof *ask->questions) : NULL;
    if (!ask)
        return; /* nothing to ask; or no memory, and the tick comes by again */
    list_each(l, tmp, &k->to_ask) {
        struct bus_channel *c = container_of(l, struct bus_channel, ask_link);
        struct kafka_question *q = &ask->questions[ask->count];
        struct kafka_answer *answers = comes_after(k, c) ? NULL : calloc(c->topics.count, sizeof *answers);
        if (!answers)
            continue;
        list_remove(&c->ask_link);
        *q = (struct kafka_question){c, atomic_load(&c->rules), c->deleting, answers, NULL};
        kafka_channel_pin(c);
        ask->count++;
    }
    if (!ask->count) {
        free(ask);
        return;
    }
    k->asking = ask;
    ask->job.work = kafka_topics_work;
    ask->job.done = answered;
    kafka_clerk_ask(k, &ask->job);
}

void kafka_channel_ask(struct bus_channel *c)
{
    if (c->asked)
        return;
    c->asked = true;
    atomic_store(&c->suspect, false);
    list_push_back(&c->bus->to_ask, &c->ask_link);
    loop_defer(c->bus->desk.env.control, &c->bus->asker);
}

/* ---- answers ---- */

/* So many partitions: those that are known keep what is known of them. Fewer than there were, of a topic that was made
 * anew, are all that there are: nobody would have an answer of the others. */
static enum err parts_resize(struct kafka_topic *t, int32_t count)
{
    struct kafka_parts *old = atomic_load(&t->parts);
    if (old && old->count == count)
        return OK;
    struct kafka_parts *p = calloc(1, sizeof *p + (size_t)count * sizeof *p->at);
    if (!p)
        return ERR_NOMEM;
    p->count = count;
    p->older = old;
    for (int32_t i = 0; old && i < old->count && i < count; i++) {
        atomic_store(&p->at[i].begin, atomic_load(&old->at[i].begin));
        atomic_store(&p->at[i].end, atomic_load(&old->at[i].end));
    }
    atomic_store_explicit(&t->parts, p, memory_order_release);
    return OK;
}

/* What the topic's partitions hold. Less than they did: it is another topic by the same name. */
static enum err parts_set(struct kafka_topic *t, const struct kafka_answer *a)
{
    struct kafka_parts *before = atomic_load(&t->parts);
    int32_t known = before ? before->count : 0;
    enum err e = parts_resize(t, a->partitions);
    if (e)
        return e;
    struct kafka_parts *p = atomic_load(&t->parts);
    bool anew = known && (a->made || a->shrunk);
    t->anew |= anew;
    for (int32_t i = 0; i < a->partitions; i++) {
        int64_t end = a->ends ? a->ends[i] : 0, now = atomic_load(&p->at[i].end);
        atomic_store(&p->at[i].begin, a->begins ? a->begins[i] : 0);
        if (anew)
            atomic_store(&p->at[i].end, end);
        else
            while (now < end && !atomic_compare_exchange_weak(&p->at[i].end, &now, end))
                continue;
    }
    return OK;
}

static void refuse(struct bus_channel *c, enum err err, const char *text)
{
    struct kafka_bus *k = c->bus;
    char why[320];
    bool away =
        err == ERR_UNAVAILABLE && !kafka_client_up(k->client, why, sizeof why); /* said once, for all channels */
    /* Whoever waits is told by its operation. */
    bool news = !away && !c->ops && (c->err != err || strcmp(c->reason, text) != 0);
    atomic_store(&c->state, KAFKA_CHANNEL_REFUSED);
    c->err = err;
    snprintf(c->reason, sizeof c->reason, "%s", text);
    c->ask_ns = clock_monotonic_ns(k->desk.clock) + KAFKA_RETRY_NS;
    if (news)
        desk_notice(&k->desk, 2, "TopicFailed", "channel %s takes no events: %s", c->name, c->reason);
    kafka_channel_ops_end(c, err);
}

/* What is unlike the parameters: told once, since it is somebody's decision and may stay. */
static bool fits(struct bus_channel *c, const struct kafka_rules *rules, const struct kafka_answer *a, size_t topic)
{
    const struct kafka_channel_settings *s = &rules->settings;
    char text[320];
    if (s->one_part && a->partitions > 1) {
        snprintf(text, sizeof text,
                 "topic %s has %" PRId32 " partitions, and this channel is to keep the order of all its events, which "
                 "needs a topic with one",
                 c->list[topic].name, a->partitions);
        refuse(c, ERR_CONFLICT, text);
        return false;
    }
    if (a->partitions != s->partitions && !s->external && !c->told) {
        c->told = true;
        desk_notice(&c->bus->desk, 1, "TopicDiffers",
                    "topic %s has %" PRId32 " partitions, not %" PRId32 " as channel %s says; it is used as it is",
                    c->list[topic].name, a->partitions, s->partitions, c->name);
    }
    return true;
}

/* Its topic is there, and appends go on to it: whether they may is known by their reports alone. */
static void may_write(struct bus_channel *c)
{
    int denied = atomic_load(&c->denied);
    char text[sizeof c->reason] = "";
    if (denied)
        snprintf(text, sizeof text, "topic %s cannot be written: %s", c->list[0].name, rd_kafka_err2str(denied));
    if (denied && strcmp(text, c->reason) != 0)
        desk_notice(&c->bus->desk, 2, "TopicFailed", "channel %s takes no events: %s", c->name, text);
    else if (!denied && c->err)
        desk_notice(&c->bus->desk, 0, "TopicReady", "channel %s takes events again", c->name);
    c->err = denied ? ERR_DENIED : OK;
    memcpy(c->reason, text, sizeof text);
}

static void ready(struct bus_channel *c, uint64_t record_max, bool anew)
{
    struct kafka_bus *k = c->bus;
    struct kafka_producer *p = NULL;
    pthread_rwlock_wrlock(&k->producers.lock);
    enum err e = kafka_producer_for(k, record_max, &p);
    if (!e && c->producer != p) {
        kafka_channel_topics_close(c);
        kafka_channel_topics_open(c, p);
    }
    pthread_rwlock_unlock(&k->producers.lock);
    if (e) {
        refuse(c, e, "out of memory");
        return;
    }
    may_write(c);
    c->was_ready = true;
    k->connected = true;
    atomic_store(&c->record_max, record_max);
    atomic_store_explicit(&c->state, KAFKA_CHANNEL_READY, memory_order_release);
    if (anew) {
        desk_notice(&k->desk, 2, "TopicDeleted",
                    "a topic of channel %s had been deleted and is there anew; events that it held and nobody had "
                    "taken are lost",
                    c->name);
        kafka_subscriptions_restart(c);
        kafka_recount((struct bus *)k); /* of what was appended meanwhile */
    }
    kafka_channel_ops_end(c, OK);
}

static void learn(struct bus_channel *c, const struct kafka_question *q)
{
    uint64_t record_max = UINT64_MAX;
    int32_t partitions = 0;
    bool anew = false;
    for (size_t t = 0; t < c->topics.count; t++) {
        const struct kafka_answer *a = &q->answers[t];
        enum err e = a->err ? a->err : parts_set(&c->list[t], a);
        if (e) {
            refuse(c, e, a->err ? a->text : "out of memory");
            return;
        }
        if (!fits(c, q->rules, a, t))
            return;
        anew |= c->list[t].anew;
        partitions += a->partitions;
        record_max = a->record_max < record_max ? a->record_max : record_max;
    }
    atomic_store(&c->topics.partitions, partitions);
    ready(c, record_max, anew);
}

static void answer(const struct kafka_ask *ask, const struct kafka_question *q)
{
    struct bus_channel *c = q->channel;
    enum err e = ask->job.err;
    c->asked = false;
    c->pins--;
    if (atomic_load(&c->state) == KAFKA_CHANNEL_GOING) {
        if (q->remove)
            kafka_channel_gone(c, q->answers[0].err, q->answers[0].text);
        else
            kafka_channel_go_on(c);
    } else if (e) {
        refuse(c, e, "the bus is stopping");
    } else {
        learn(c, q);
    }
}

static void answered(struct kafka_job *j)
{
    struct kafka_ask *ask = container_of(j, struct kafka_ask, job);
    struct kafka_bus *k = j->bus;
    assert(k->asking == ask);
    for (size_t i = 0; i < ask->count; i++) {
        struct kafka_question *q = &ask->questions[i];
        size_t topics = q->channel->topics.count;
        answer(ask, q); /* may free the channel */
        kafka_answers_free(q->answers, topics);
    }
    free(ask);
    k->asking = NULL;
    if (!list_empty(&k->to_ask))
        loop_defer(k->desk.env.control, &k->asker);
}
