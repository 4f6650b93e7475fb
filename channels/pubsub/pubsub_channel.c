/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of the Pub/Sub bus: a name and its topic. Control's.
 *
 *   provision ─→ WAITING (for one of the same name that goes) ─→ MAKING (a job) ─→ READY ── the ops that wait end
 *                                                                  ↑      └─→ REFUSED ── they end with the error, and
 *                                                                  └───────────── after a while it is asked again
 *   release, the last ─→ GOING ── appends under way end ── (remove: left subscriptions and the topic go) ── freed
 *
 * A READY channel that is suspect (its topic or a subscription is missing) is made again where it stands. Meanwhile
 * nothing is published to it: a topic that is new has none of the subscriptions yet, and what came there would be lost
 * for them. It is well again when all of them have been made, too.
 */
#include "pubsub_subscription.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same_topic(const struct bus_channel *a, const struct bus_channel *b)
{
    return strcmp(a->settings.topic, b->settings.topic) == 0;
}

/* ---- life ---- */

void pub_channel_free(struct bus_channel *c)
{
    struct list *l;
    pub_subscriptions_free(c);
    while ((l = list_pop_front(&c->left)))
        free(container_of(l, struct pub_left, link));
    pub_outlets_fini(c);
    pub_channel_settings_fini(&c->settings);
    free(c->outlets);
    free(c);
}

/* Takes the settings in any case. */
static enum err channel_new(struct pub_bus *k, struct slice name, struct pub_channel_settings *s,
                            struct bus_channel **out)
{
    struct bus_channel *c = calloc(1, sizeof *c + name.len + 1);
    struct pub_outlet *outlets = calloc(k->env.loop_count, sizeof *outlets);
    if (!c || !outlets) {
        pub_channel_settings_fini(s);
        free(outlets);
        free(c);
        return ERR_NOMEM;
    }
    c->bus = k;
    c->settings = *s;
    c->outlets = outlets;
    memcpy(c->name, name.ptr, name.len);
    atomic_init(&c->state, PUB_WAITING);
    atomic_init(&c->structured, s->mode == CE_MODE_STRUCTURED);
    list_init(&c->link);
    list_init(&c->verify_link);
    list_init(&c->subscriptions);
    list_init(&c->left);
    pub_outlets_init(c);
    enum err e = map_add(&k->channels, name, c);
    if (e)
        pub_channel_free(c);
    else
        *out = c;
    return e;
}

void pub_channel_pin(struct bus_channel *c)
{
    c->pins++;
}

static void go_on(struct bus_channel *c);

void pub_channel_unpin(struct bus_channel *c)
{
    assert(c->pins > 0);
    if (--c->pins == 0 && atomic_load(&c->state) == PUB_GOING)
        go_on(c);
}

void pub_channel_suspect(struct bus_channel *c)
{
    if (atomic_exchange(&c->suspect, true))
        return;
    atomic_fetch_add(&c->epoch, 1);
    atomic_store(&c->bus->suspects, true);
    post_send(c->bus->post);
}

/* ---- making ---- */

static void make(struct bus_channel *c);

static void refused(struct bus_channel *c, const struct pub_job *j)
{
    bool same = c->err == j->err && strcmp(c->reason, j->text) == 0;
    c->err = j->err;
    snprintf(c->reason, sizeof c->reason, "%s", j->text[0] ? j->text : err_name(j->err));
    c->ask_ns = clock_monotonic_ns(c->bus->clock) + PUB_RETRY_NS;
    if (!same && !j->away && !c->ops) /* else who waits for it tells */
        pub_notice(c->bus, 1, "ChannelFailed", "channel %s: %s", c->name, c->reason);
}

/* Whoever shows what was wrong looks again when something is told. */
static void well(struct bus_channel *c)
{
    if (c->err && !c->ops && !pub_notice(c->bus, 0, "ChannelWell", "channel %s is well again", c->name))
        c->bus->untold = true;
    c->err = OK;
    c->reason[0] = '\0';
}

static void made(struct pub_job *j)
{
    struct bus_channel *c = container_of(j, struct bus_channel, job);
    c->busy = false;
    if (atomic_load(&c->state) == PUB_GOING) {
        c->err = ERR_CANCELED;
        bus_ops_end(&c->ops, ERR_CANCELED, c->reason);
        go_on(c);
        return;
    }
    bool was_ready = atomic_load(&c->state) == PUB_READY;
    if (j->err)
        refused(c, j);
    else
        well(c);
    if (!(was_ready && j->err && j->away)) /* which says nothing about the topic */
        atomic_store(&c->state, j->err ? PUB_REFUSED : PUB_READY);
    pub_subscriptions_start(c);
    pub_channel_checked(c);
    bus_ops_end(&c->ops, j->err, c->reason);
}

static void make(struct bus_channel *c)
{
    if (c->busy)
        return;
    if (atomic_load(&c->state) != PUB_READY)
        atomic_store(&c->state, PUB_MAKING);
    c->busy = true;
    pub_job_topic(&c->job, c, made);
}

/* Whether one that goes has its topic. */
static bool name_taken(const struct bus_channel *c)
{
    list_each(l, tmp, &c->bus->going) {
        if (same_topic(container_of(l, struct bus_channel, link), c))
            return true;
    }
    return false;
}

/* All of it is there: events may come again. */
void pub_channel_checked(struct bus_channel *c)
{
    if (atomic_load(&c->state) != PUB_READY || !atomic_load(&c->suspect) || c->busy)
        return;
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, link);
        if (s->state != PUB_GOING && !s->passing && (s->state != PUB_READY || s->busy))
            return;
    }
    atomic_store(&c->suspect, false);
}

static enum err provision(struct pub_bus *k, struct slice name, struct pub_channel_settings *s,
                          struct bus_channel **out, struct diag *d)
{
    struct bus_channel *c = map_get(&k->channels, name);
    if (c && (strcmp(c->settings.topic, s->topic) != 0 || c->settings.external != s->external)) {
        pub_channel_settings_fini(s);
        return diag_set(d, ERR_INVALID, "topic: the channel has another one, and cannot change it while it is there");
    }
    if (!c) {
        enum err e = channel_new(k, name, s, out);
        return e ? diag_set(d, e, "out of memory") : OK;
    }
    atomic_store(&c->structured, s->mode == CE_MODE_STRUCTURED);
    pub_channel_settings_fini(s);
    *out = c;
    return OK;
}

enum err pub_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                       struct bus_channel **out, struct bus_op *op, struct diag *d)
{
    struct pub_bus *k = pub_of(b);
    struct pub_channel_settings s;
    struct bus_channel *c = NULL;
    if (k->stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = pub_channel_settings_read(&k->settings, name, params, count, &s, d);
    if (!e)
        e = provision(k, name, &s, &c, d);
    if (e)
        return e;
    c->refs++;
    op->text = NULL;
    *out = c;
    if (atomic_load(&c->state) == PUB_READY) {
        bus_op_end(k->env.control, op, OK);
        return OK;
    }
    op->owner = c->ops;
    c->ops = op;
    if (!name_taken(c))
        make(c);
    return OK;
}

/* ---- release ---- */

static void gone(struct bus_channel *c)
{
    struct pub_bus *k = c->bus;
    struct bus_op *op = c->going;
    list_remove(&c->link);
    atomic_fetch_sub(&k->going_count, 1);
    map_each(entry, tmp, &k->channels) {
        struct bus_channel *other = entry->value;
        if (atomic_load(&other->state) == PUB_WAITING && !name_taken(other))
            make(other);
    }
    pub_channel_free(c);
    op->text = NULL;
    op->done(op, OK);
}

static void removed(struct pub_job *j)
{
    struct bus_channel *c = container_of(j, struct bus_channel, job);
    c->busy = false;
    if (j->err)
        pub_notice(c->bus, 1, "TopicStays", "channel %s is gone, and its topic could not be deleted: %s", c->name,
                   j->text[0] ? j->text : err_name(j->err));
    gone(c);
}

static void remove_next(struct bus_channel *c);

/* One that was left is gone, or could not be deleted. */
static void left_removed(struct pub_job *j)
{
    struct bus_channel *c = container_of(j, struct bus_channel, job);
    struct pub_left *left = container_of(list_pop_front(&c->left), struct pub_left, link);
    if (j->err)
        pub_notice(c->bus, 1, "SubscriptionStays", "channel %s is gone, and %s could not be deleted: %s", c->name,
                   left->id, j->text[0] ? j->text : err_name(j->err));
    free(left);
    remove_next(c);
}

static void remove_next(struct bus_channel *c)
{
    if (list_empty(&c->left))
        pub_job_topic_remove(&c->job, c, removed);
    else
        pub_job_subscription_remove(&c->job, c, container_of(c->left.next, struct pub_left, link)->id, left_removed);
}

static void go_on(struct bus_channel *c)
{
    if (atomic_load(&c->pending) > 0 || c->busy || c->pins)
        return;
    if (!c->remove || c->settings.external) {
        gone(c);
        return;
    }
    c->busy = true;
    remove_next(c);
}

void pub_channels_go_on(struct pub_bus *k)
{
    list_each(l, tmp, &k->going)
        go_on(container_of(l, struct bus_channel, link));
}

void pub_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    struct pub_bus *k = pub_of(b);
    assert(c->bus == k && c->refs > 0);
    op->text = NULL;
    if (--c->refs) {
        bus_op_end(k->env.control, op, OK);
        return;
    }
    map_remove(&k->channels, slice_str(c->name));
    c->remove = remove && atomic_load(&c->state) != PUB_WAITING; /* else it is another's that goes */
    atomic_store(&c->state, PUB_GOING);
    c->going = op;
    while (!c->busy && c->ops) { /* it had not begun */
        struct bus_op *waiting = c->ops;
        c->ops = waiting->owner;
        waiting->text = NULL;
        bus_op_end(k->env.control, waiting, ERR_CANCELED);
    }
    list_push_back(&k->going, &c->link);
    atomic_fetch_add(&k->going_count, 1);
    post_send(k->post); /* pub_channels_go_on, after this call */
}

/* ---- what time and events bring ---- */

void pub_channels_look(struct pub_bus *k)
{
    uint64_t now = clock_monotonic_ns(k->clock);
    atomic_store(&k->suspects, false);
    map_each(entry, tmp, &k->channels) {
        struct bus_channel *c = entry->value;
        int state = atomic_load(&c->state);
        if ((state == PUB_REFUSED && now >= c->ask_ns) || (state == PUB_READY && atomic_load(&c->suspect)))
            make(c); /* its subscriptions are looked at when it is through */
        else if (state == PUB_READY && !c->busy)
            pub_subscriptions_look(c);
    }
}
