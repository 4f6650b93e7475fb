/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a channel takes events now: the service is asked for its topic and for one of its subscriptions, which
 * changes nothing. A topic that was deleted and made again by somebody has lost all of them at once, and nothing else
 * says so. What is missing makes the channel suspect, and what suspects lead to (../abroad.c) makes it again.
 * PUB_VERIFY_MAX channels are asked about at a time, the others stand in line. Control's.
 */
#include <assert.h>
#include <stdio.h>

#include "pubsub_subscription.h"

static void line_up(struct bus_channel *c)
{
    if (!c->verifying && list_empty(&c->verify_link))
        list_push_back(&c->bus->to_verify, &c->verify_link);
}

static void go_on(struct pub_bus *k);

/* What the bus knew already stands: a topic that is there may still refuse what is published. */
static void ended(struct bus_channel *c, enum err e, const char *text)
{
    struct pub_bus *k = c->bus;
    struct bus_op *ops = c->verifying;
    char why[sizeof c->abroad.reason];
    assert(ops && k->verifying > 0 && k->abroad.jobs_open > 0);
    snprintf(why, sizeof why, "%s", !e ? c->abroad.reason : text ? text : err_name(e));
    c->verifying = NULL;
    k->verifying--;
    k->abroad.jobs_open--;
    if (c->verify_ops)
        line_up(c);
    bus_ops_end(&ops, e ? e : c->abroad.err, why);
    abroad_channel_unpin(&c->abroad); /* may free it */
    go_on(k);
    desk_call(&k->desk); /* a stop may wait for it */
}

/* Whatever it says: the topic is there. */
static void subscription_answered(void *arg, const struct pubsub_answer *a)
{
    struct bus_channel *c = arg;
    pub_heard(c->bus, a);
    if (a->err == ERR_NOTFOUND || (!a->err && pub_job_orphaned(a->body)))
        pub_channel_suspect(c);
    ended(c, OK, NULL);
}

/* One that gets the channel's events, as far as is known; NULL: there is none. */
static const struct bus_subscription *any_of(const struct bus_channel *c)
{
    list_each(l, tmp, &c->abroad.subscriptions) {
        struct abroad_subscription *s = container_of(l, struct abroad_subscription, link);
        if (s->state == ABROAD_READY && !s->passing)
            return pub_subscription_of(s);
    }
    return NULL;
}

static void answered(void *arg, const struct pubsub_answer *a)
{
    struct bus_channel *c = arg;
    pub_heard(c->bus, a);
    if (a->err == ERR_NOTFOUND)
        pub_channel_suspect(c);
    const struct bus_subscription *s = a->err ? NULL : any_of(c);
    if (!s || pubsub_subscription_get(c->bus->client, s->id, subscription_answered, c, NULL))
        ended(c, a->err, a->text);
}

static void cannot_ask(struct pub_bus *k, struct bus_op *ops, enum err e)
{
    while (ops) {
        struct bus_op *next = ops->owner;
        ops->text = e == ERR_NOMEM ? "out of memory" : "Pub/Sub cannot take this name";
        bus_op_end(k->desk.env.control, ops, e);
        ops = next;
    }
}

static void go_on(struct pub_bus *k)
{
    while (k->verifying < PUB_VERIFY_MAX && !list_empty(&k->to_verify)) {
        struct bus_channel *c = container_of(list_pop_front(&k->to_verify), struct bus_channel, verify_link);
        struct bus_op *ops = c->verify_ops;
        c->verify_ops = NULL;
        enum err e = pubsub_topic_get(k->client, c->settings.topic, answered, c, NULL);
        if (e) {
            cannot_ask(k, ops, e);
            continue;
        }
        c->verifying = ops;
        k->verifying++;
        k->abroad.jobs_open++;
        abroad_channel_pin(&c->abroad);
    }
}

void pub_verify(struct bus *b, struct bus_channel *c, struct bus_op *op)
{
    struct pub_bus *k = pub_of(b);
    assert(c->bus == k && c->abroad.refs > 0);
    op->text = NULL;
    if (k->desk.stopping) {
        bus_op_end(k->desk.env.control, op, ERR_CLOSED);
        return;
    }
    op->owner = c->verify_ops;
    c->verify_ops = op;
    line_up(c);
    go_on(k);
}
