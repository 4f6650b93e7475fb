/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of the RabbitMQ bus: a name and its exchange, perhaps a stream beside it, or somebody's queue. How they come
 * and go: ../abroad.h. Control's but where said.
 *
 * A READY channel is made again when its exchange or a queue seems to be gone, when the node was away, and now and then
 * while its stream is down.
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

void rabbit_channel_free(struct abroad_channel *a)
{
    struct bus_channel *c = rabbit_channel_of(a);
    rules_free(atomic_load(&c->rules));
    free(c->verify);
    free(c);
}

/* With the rules, which are the channel's in any case. */
static enum err channel_new(struct rabbit_bus *k, struct slice name, struct rabbit_rules *rules,
                            struct bus_channel **out)
{
    struct bus_channel *c = calloc(1, sizeof *c);
    enum err e = c ? abroad_channel_init(&c->abroad, &k->abroad, name) : ERR_NOMEM;
    if (e) {
        rules_free(rules);
        free(c);
        return e;
    }
    c->bus = k;
    c->abroad.external = rules->settings.queue != NULL;
    atomic_init(&c->rules, rules);
    *out = c;
    return OK;
}

bool rabbit_channel_barred(const struct bus_channel *c)
{
    uint64_t until = atomic_load_explicit(&c->barred_ns, memory_order_relaxed);
    return until && rabbit_now() < until;
}

bool rabbit_channel_unseen(const struct bus_channel *c)
{
    return settings_of(c)->is_stream && atomic_load(&c->made_on) != atomic_load(&c->bus->publisher.connection);
}

/* ---- making ---- */

/* Its stream counts as a subscription does: an event that no queue takes means that its binding is gone. */
static void is_streamed(struct bus_channel *c, bool streamed)
{
    if (streamed && !c->streamed)
        atomic_fetch_add(&c->abroad.subscription_count, 1);
    else if (!streamed && c->streamed)
        atomic_fetch_sub(&c->abroad.subscription_count, 1);
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
        desk_notice(&c->bus->desk, 0, "StreamWell", "channel %s: the stream %s is back, and keeps its events again",
                    c->abroad.name, stream);
    else if (!kept && !c->unkept)
        desk_notice(
            &c->bus->desk, 1, "StreamDown",
            "channel %s: the stream %s is down. The channel goes on without: what comes meanwhile is delivered, "
            "and cannot be replayed",
            c->abroad.name, stream);
    c->unkept = !kept;
    c->down_ns = kept ? 0 : c->down_ns;
    c->abroad.ask_ns = clock_monotonic_ns(c->bus->desk.clock) + ABROAD_RETRY_NS;
}

static void made(struct rabbit_job *j)
{
    struct bus_channel *c = container_of(j, struct bus_channel, job);
    struct abroad_answer answer = rabbit_job_answer(j);
    bool no_leader = j->err && j->at_stream && j->code == 404; /* a stream of a node that has just been started */
    if (no_leader && !c->down_ns)
        c->down_ns = rabbit_now();
    answer.retry_ns = no_leader ? RABBIT_AGAIN_NS : 0;
    if (!j->err && atomic_load(&c->abroad.state) != ABROAD_GOING) {
        is_streamed(c, c->making_stream && !j->no_stream);
        is_kept(c, !j->no_stream);
        atomic_store(&c->made_on, c->making_on);
        answer.changed = is_changed(c) || rabbit_channel_unseen(c);
    }
    abroad_channel_made(&c->abroad, answer);
}

void rabbit_channel_make(struct abroad_channel *a)
{
    struct bus_channel *c = rabbit_channel_of(a);
    c->making_stream = settings_of(c)->is_stream;
    c->making_on = atomic_load(&c->bus->publisher.connection);
    rabbit_job_ask(c->bus, &c->job, rabbit_topology_channel, made);
}

/* A stream that is down is asked for now and then, and each with a new connection of the publisher. */
bool rabbit_channel_due(const struct abroad_channel *a, uint64_t now_ns)
{
    const struct bus_channel *c = rabbit_channel_of(a);
    if (rabbit_channel_unseen(c))
        return atomic_load(&c->bus->consumers[0].up); /* else it is asked for when that comes back */
    return c->unkept && now_ns >= a->ask_ns;
}

bool rabbit_channel_same(const struct abroad_channel *a, const struct abroad_channel *b)
{
    return same_names(settings_of(rabbit_channel_of(a)), settings_of(rabbit_channel_of(b)));
}

/* ---- removing ---- */

bool rabbit_channel_used(const struct abroad_channel *a)
{
    return atomic_load(&rabbit_channel_of(a)->reads) > 0;
}

static void removed(struct rabbit_job *j)
{
    abroad_channel_removed(&container_of(j, struct bus_channel, job)->abroad, j->err, j->text);
}

void rabbit_channel_remove(struct abroad_channel *a)
{
    struct bus_channel *c = rabbit_channel_of(a);
    rabbit_job_ask(c->bus, &c->job, rabbit_topology_channel_remove, removed);
}

/* ---- the operations ---- */

static enum err provision(struct rabbit_bus *k, struct slice name, struct rabbit_channel_settings *s,
                          struct bus_channel **out, struct diag *d)
{
    struct abroad_channel *found = abroad_channel_find(&k->abroad, name);
    struct bus_channel *c = found ? rabbit_channel_of(found) : NULL;
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
    if (k->desk.stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = rabbit_channel_settings_read(&k->settings, name, params, count, &s, d);
    if (!e)
        e = provision(k, name, &s, &c, d);
    if (e)
        return e;
    *out = c;
    abroad_provision(&c->abroad, is_changed(c), op);
    return OK;
}

void rabbit_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    assert(c->bus == rabbit_of(b));
    abroad_release(&c->abroad, remove, op);
}
