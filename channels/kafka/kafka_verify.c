/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a channel takes events now: its topics are there, and each of their partitions has a leader. K looks for all
 * channels that were asked about at once, with one request where they are many; nothing is written, made or kept. A
 * topic that is missing is suspect, and what suspects lead to (kafka_channel.c) makes it again.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../round.h"
#include "kafka_topics.h"

static bool is_asked(const struct kafka_each *e)
{
    (void)e;
    return true;
}

static void work(struct kafka_job *j)
{
    kafka_look(container_of(j, struct kafka_ask, job), kafka_producers_hold(j->bus), is_asked);
}

/* What is wrong with the channel, as the answers have it. */
static enum err judge(const struct kafka_question *q, char *text, size_t size)
{
    for (size_t t = 0; t < q->channel->topics.count; t++) {
        const struct kafka_answer *a = &q->answers[t];
        enum err e = a->err ? a->err : a->leaderless >= 0 ? ERR_UNAVAILABLE : OK;
        if (a->err)
            snprintf(text, size, "%s", a->text);
        else if (e)
            snprintf(text, size, "topic %s: partition %" PRId32 " has no leader", q->channel->list[t].name,
                     a->leaderless);
        if (e)
            return e;
    }
    return OK;
}

/* What the bus knew already stands: topics that are there may still refuse what is written. */
static void told(struct bus_channel *c, struct bus_op **ops)
{
    char text[sizeof c->reason];
    memcpy(text, c->reason, sizeof text);
    bus_ops_end(ops, c->err, text);
}

static void answer(const struct kafka_ask *ask, struct kafka_question *q)
{
    struct bus_channel *c = q->channel;
    char text[320] = "";
    enum err e = ask->job.err ? ask->job.err : judge(q, text, sizeof text);
    if (e == ERR_NOTFOUND)
        kafka_channel_suspect(c);
    if (e)
        bus_ops_end(&q->ops, e, text);
    else
        told(c, &q->ops);
    kafka_channel_unpin(c); /* may free it */
}

static void answered(struct kafka_job *j)
{
    struct kafka_ask *ask = container_of(j, struct kafka_ask, job);
    struct kafka_bus *k = j->bus;
    assert(k->verifying == ask);
    for (size_t i = 0; i < ask->count; i++) {
        struct kafka_question *q = &ask->questions[i];
        size_t topics = q->channel->topics.count;
        answer(ask, q);
        kafka_answers_free(q->answers, topics);
    }
    free(ask);
    k->verifying = NULL;
    if (!list_empty(&k->to_verify))
        loop_defer(k->desk.env.control, &k->verifier);
}

void kafka_verifying_free(struct kafka_bus *k)
{
    for (size_t i = 0; k->verifying && i < k->verifying->count; i++)
        kafka_answers_free(k->verifying->questions[i].answers, k->verifying->questions[i].channel->topics.count);
    free(k->verifying);
    k->verifying = NULL;
}

/* Those that come while K looks are the next question. */
void kafka_verify_soon(struct loop_task *t)
{
    struct kafka_bus *k = container_of(t, struct kafka_bus, verifier);
    size_t most = 0;
    if (k->verifying)
        return;
    list_each(l, tmp, &k->to_verify)
        most++;
    struct kafka_ask *ask = most ? calloc(1, sizeof *ask + most * sizeof *ask->questions) : NULL;
    if (!ask)
        return; /* nothing to ask; or no memory, and the tick comes by again */
    list_each(l, next, &k->to_verify) {
        struct bus_channel *c = container_of(l, struct bus_channel, verify_link);
        struct kafka_answer *answers = calloc(c->topics.count, sizeof *answers);
        if (!answers)
            continue;
        list_remove(&c->verify_link);
        ask->questions[ask->count++] =
            (struct kafka_question){c, atomic_load(&c->rules), false, answers, c->verify_ops};
        c->verify_ops = NULL;
        kafka_channel_pin(c);
    }
    if (!ask->count) {
        free(ask);
        return;
    }
    k->verifying = ask;
    ask->job.work = work;
    ask->job.done = answered;
    kafka_clerk_ask(k, &ask->job);
}

void kafka_verify(struct bus *b, struct bus_channel *c, struct bus_op *op)
{
    struct kafka_bus *k = kafka_of(b);
    assert(c->bus == k && c->refs > 0);
    op->text = NULL;
    if (k->desk.stopping) {
        bus_op_end(k->desk.env.control, op, ERR_CLOSED);
        return;
    }
    op->owner = c->verify_ops;
    c->verify_ops = op;
    if (list_empty(&c->verify_link))
        list_push_back(&k->to_verify, &c->verify_link);
    loop_defer(k->desk.env.control, &k->verifier);
}
