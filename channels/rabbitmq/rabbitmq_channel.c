/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of the RabbitMQ bus: a name and its exchange. Control's.
 *
 *   provision ─→ WAITING (for one of the same name that goes) ─→ MAKING (a job) ─→ READY ── the ops that wait end
 *                                                                  ↑      └─→ REFUSED ── they end with the error, and
 *                                                                  └───────────── after a while it is asked again
 *   release, the last ─→ GOING ── appends under way end ── (remove: a job deletes left queues and exchange) ── freed
 *
 * A READY channel that is suspect (its exchange or a queue seems to be gone, the node was away) is made again where it
 * stands, and stays READY meanwhile: making is idempotent.
 */
#include "rabbitmq_subscription.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what parameters say ---- */

static void rules_free(struct rabbit_rules *r)
{
    while (r) {
        struct rabbit_rules *older = r->older;
        rabbit_channel_settings_fini(&r->settings);
        free(r);
        r = older;
    }
}

/* Takes the settings in any case. */
static enum err rules_new(struct rabbit_channel_settings *s, struct rabbit_rules **out)
{
    struct rabbit_rules *r = calloc(1, sizeof *r);
    if (!r) {
        rabbit_channel_settings_fini(s);
        return ERR_NOMEM;
    }
    r->settings = *s;
    r->ce = (struct ce_amqp_rules){.event_bytes_max = CE_EVENT_BYTES_MAX,
                                   .knative = s->bare,
                                   .source = s->source,
                                   .overrides = s->overrides,
                                   .override_count = s->override_count};
    *out = r;
    return OK;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static const struct rabbit_channel_settings *settings_of(const struct bus_channel *c)
{
    return &atomic_load(&c->rules)->settings;
}

static bool same_names(const struct rabbit_channel_settings *a, const struct rabbit_channel_settings *b)
{
    return same_text(a->exchange, b->exchange) && same_text(a->queue, b->queue);
}

/* ---- life ---- */

void rabbit_channel_free(struct bus_channel *c)
{
    struct list *l;
    rabbit_subscriptions_free(c);
    while ((l = list_pop_front(&c->left)))
        free(container_of(l, struct rabbit_left, link));
    rules_free(atomic_load(&c->rules));
    free(c->verify);
    free(c);
}

/* With the rules, which are the channel's in any case. */
static enum err channel_new(struct rabbit_bus *k, struct slice name, struct rabbit_rules *rules,
                            struct bus_channel **out)
{
    struct bus_channel *c = calloc(1, sizeof *c + name.len + 1);
    if (!c) {
        rules_free(rules);
        return ERR_NOMEM;
    }
    c->bus = k;
    memcpy(c->name, name.ptr, name.len);
    atomic_init(&c->rules, rules);
    atomic_init(&c->state, RABBIT_WAITING);
    list_init(&c->link);
    list_init(&c->subscriptions);
    list_init(&c->left);
    enum err e = map_add(&k->channels, name, c);
    if (e)
        rabbit_channel_free(c);
    else
        *out = c;
    return e;
}

void rabbit_channel_pin(struct bus_channel *c)
{
    c->pins++;
}

static void go_on(struct bus_channel *c);

void rabbit_channel_unpin(struct bus_channel *c)
{
    assert(c->pins > 0);
    if (--c->pins == 0 && atomic_load(&c->state) == RABBIT_GOING)
        go_on(c);
}

void rabbit_channel_suspect(struct bus_channel *c)
{
    if (atomic_exchange(&c->suspect, true))
        return;
    atomic_store(&c->bus->suspects, true);
    post_send(c->bus->post);
}

bool rabbit_channel_barred(const struct bus_channel *c)
{
    uint64_t until = atomic_load_explicit(&c->barred_ns, memory_order_relaxed);
    return until && rabbit_now() < until;
}

/* ---- making ---- */

static void make(struct bus_channel *c);

/* The node is away: that is told of the whole bus. */
static bool is_away(const struct rabbit_job *j)
{
    return j->err == ERR_UNAVAILABLE && !j->code;
}

static void refused(struct bus_channel *c, const struct rabbit_job *j)
{
    bool same = c->err == j->err && strcmp(c->reason, j->text) == 0;
    c->err = j->err;
    snprintf(c->reason, sizeof c->reason, "%s", j->text[0] ? j->text : err_name(j->err));
    bool no_leader = j->at_stream && j->code == 404; /* a stream of a node that has just been started */
    c->ask_ns = clock_monotonic_ns(c->bus->clock) + (no_leader ? RABBIT_AGAIN_NS : RABBIT_RETRY_NS);
    if (no_leader && !c->down_ns)
        c->down_ns = rabbit_now();
    if (!same && !is_away(j) && !c->ops) /* else who waits for it tells */
        rabbit_notice(c->bus, 1, "ChannelFailed", "channel %s: %s", c->name, c->reason);
}

/* Whoever shows what was wrong looks again when something is told. */
static void well(struct bus_channel *c)
{
    if (c->err && !c->ops && !rabbit_notice(c->bus, 0, "ChannelWell", "channel %s is well again", c->name))
        c->bus->untold = true;
    c->err = OK;
    c->reason[0] = '\0';
}

/* Its stream counts as a subscription does: an event that no queue takes means that its binding is gone. */
static void is_streamed(struct bus_channel *c, bool streamed)
{
    if (streamed && !c->streamed)
        atomic_fetch_add(&c->subscription_count, 1);
    else if (!streamed && c->streamed)
        atomic_fetch_sub(&c->subscription_count, 1);
    c->streamed = streamed;
}

static bool is_changed(const struct bus_channel *c)
{
    return c->streamed != settings_of(c)->is_stream && !c->unkept;
}

static void is_kept(struct bus_channel *c, bool kept)
{
    const char *stream = settings_of(c)->stream;
    if (kept && c->unkept)
        rabbit_notice(c->bus, 0, "StreamWell", "channel %s: the stream %s is back, and keeps its events again", c->name,
                      stream);
    else if (!kept && !c->unkept)
        rabbit_notice(
            c->bus, 1, "StreamDown",
            "channel %s: the stream %s is down. The channel goes on without: what comes meanwhile is delivered, "
            "and cannot be replayed",
            c->name, stream);
    c->unkept = !kept;
    c->down_ns = kept ? 0 : c->down_ns;
    c->ask_ns = clock_monotonic_ns(c->bus->clock) + RABBIT_RETRY_NS;
}

static void made(struct rabbit_job *j)
{
    struct bus_channel *c = container_of(j, struct bus_channel, job);
    c->busy = false;
    if (atomic_load(&c->state) == RABBIT_GOING) {
        c->err = ERR_CANCELED;
        bus_ops_end(&c->ops, ERR_CANCELED, c->reason);
        go_on(c);
        return;
    }
    if (!j->err)
        is_streamed(c, c->making_stream && !j->no_stream);
    if (!j->err)
        is_kept(c, !j->no_stream);
    bool was_ready = atomic_load(&c->state) == RABBIT_READY;
    if (j->err)
        refused(c, j);
    else
        well(c);
    if (!j->err && is_changed(c)) { /* while it was made: who waits gets what was asked for last */
        make(c);
        return;
    }
    if (!(was_ready && j->err && is_away(j))) /* which says nothing about the exchange */
        atomic_store(&c->state, j->err ? RABBIT_REFUSED : RABBIT_READY);
    rabbit_subscriptions_start(c);
    bus_ops_end(&c->ops, j->err, c->reason);
}

static void make(struct bus_channel *c)
{
    if (c->busy)
        return;
    if (atomic_load(&c->state) != RABBIT_READY)
        atomic_store(&c->state, RABBIT_MAKING);
    c->busy = true;
    c->making_stream = settings_of(c)->is_stream;
    atomic_store(&c->suspect, false);
    rabbit_job_ask(c->bus, &c->job, rabbit_topology_channel, made);
}

/* Whether one that goes has its exchange or queue. */
static bool name_taken(const struct bus_channel *c)
{
    list_each(l, tmp, &c->bus->going) {
        struct bus_channel *other = container_of(l, struct bus_channel, link);
        if (same_names(settings_of(other), settings_of(c)))
            return true;
    }
    return false;
}

static enum err provision(struct rabbit_bus *k, struct slice name, struct rabbit_channel_settings *s,
                          struct bus_channel **out, struct diag *d)
{
    struct bus_channel *c = map_get(&k->channels, name);
    struct rabbit_rules *rules = NULL;
    if (c && !same_names(settings_of(c), s)) {
        rabbit_channel_settings_fini(s);
        return diag_set(d, ERR_INVALID,
                        "exchange or queue: the channel has another one, and cannot change it while it is there");
    }
    enum err e = rules_new(s, &rules);
    if (!e && !c) {
        e = channel_new(k, name, rules, &c);
    } else if (!e) {
        rules->older = atomic_load(&c->rules);
        atomic_store(&c->rules, rules);
    }
    if (e)
        return diag_set(d, e, "out of memory");
    *out = c;
    return OK;
}

enum err rabbit_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                          struct bus_channel **out, struct bus_op *op, struct diag *d)
{
    struct rabbit_bus *k = rabbit_of(b);
    struct rabbit_channel_settings s;
    struct bus_channel *c = NULL;
    if (k->stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = rabbit_channel_settings_read(&k->settings, name, params, count, &s, d);
    if (!e)
        e = provision(k, name, &s, &c, d);
    if (e)
        return e;
    c->refs++;
    op->text = NULL;
    *out = c;
    if (atomic_load(&c->state) == RABBIT_READY && !is_changed(c)) {
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
    struct rabbit_bus *k = c->bus;
    struct bus_op *op = c->going;
    list_remove(&c->link);
    atomic_fetch_sub(&k->going_count, 1);
    map_each(entry, tmp, &k->channels) {
        struct bus_channel *other = entry->value;
        if (atomic_load(&other->state) == RABBIT_WAITING && !name_taken(other))
            make(other);
    }
    rabbit_channel_free(c);
    op->text = NULL;
    op->done(op, OK);
}

static void removed(struct rabbit_job *j)
{
    struct bus_channel *c = container_of(j, struct bus_channel, job);
    c->busy = false;
    if (j->err)
        rabbit_notice(c->bus, 1, "ExchangeStays", "channel %s is gone, and its exchange could not be deleted: %s",
                      c->name, j->text[0] ? j->text : err_name(j->err));
    gone(c);
}

static void go_on(struct bus_channel *c)
{
    if (atomic_load(&c->pending) > 0 || atomic_load(&c->reads) > 0 || c->busy || c->pins)
        return;
    if (!c->remove || settings_of(c)->queue) {
        gone(c);
        return;
    }
    c->busy = true;
    rabbit_job_ask(c->bus, &c->job, rabbit_topology_channel_remove, removed);
}

void rabbit_channels_go_on(struct rabbit_bus *k)
{
    list_each(l, tmp, &k->going)
        go_on(container_of(l, struct bus_channel, link));
}

void rabbit_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    struct rabbit_bus *k = rabbit_of(b);
    assert(c->bus == k && c->refs > 0);
    op->text = NULL;
    if (--c->refs) {
        bus_op_end(k->env.control, op, OK);
        return;
    }
    map_remove(&k->channels, slice_str(c->name));
    c->remove = remove && atomic_load(&c->state) != RABBIT_WAITING; /* else it is another's that goes */
    atomic_store(&c->state, RABBIT_GOING);
    c->going = op;
    while (!c->busy && c->ops) { /* it had not begun */
        struct bus_op *waiting = c->ops;
        c->ops = waiting->owner;
        waiting->text = NULL;
        bus_op_end(k->env.control, waiting, ERR_CANCELED);
    }
    list_push_back(&k->going, &c->link);
    atomic_fetch_add(&k->going_count, 1);
    post_send(k->post); /* rabbit_channels_go_on, after this call */
}

/* ---- what time and events bring ---- */

void rabbit_channels_look(struct rabbit_bus *k)
{
    uint64_t now = clock_monotonic_ns(k->clock);
    atomic_store(&k->suspects, false);
    map_each(entry, tmp, &k->channels) {
        struct bus_channel *c = entry->value;
        int state = atomic_load(&c->state);
        if ((state == RABBIT_REFUSED && now >= c->ask_ns) || (state == RABBIT_READY && atomic_load(&c->suspect)))
            make(c); /* its subscriptions are looked at when it is through */
        else if (state == RABBIT_READY && c->unkept && now >= c->ask_ns)
            make(c);
        else if (state == RABBIT_READY && !c->busy)
            rabbit_subscriptions_look(c);
    }
}

void rabbit_channels_doubt(struct rabbit_bus *k)
{
    map_each(entry, tmp, &k->channels) {
        struct bus_channel *c = entry->value;
        int state = atomic_load(&c->state);
        if (state == RABBIT_READY || state == RABBIT_REFUSED)
            make(c);
    }
}
