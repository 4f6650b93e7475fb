/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of the Kafka bus: a name, its topics, and what is known of them. Control makes and frees them; K is asked
 * about topics, for all channels that wait at once, since a broker takes as long for a thousand topics as for one.
 *
 *   provision ── NEW ── asked ──→ K: create, look ──→ READY ── the ops that wait end
 *                         ↑                    └────→ REFUSED ── they end with the error, and after a while it is asked
 *                         └── suspect: a topic seems to have changed or gone, while READY
 *   release, the last ── GOING ── appends under way end ── (remove: K deletes the topics) ── freed
 *
 * A channel that goes is out of the map at once; one that comes by its name meanwhile waits until it is gone, so that K
 * does not delete what it has just made.
 */
#include "../round.h"
#include "kafka_channel.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what parameters say ---- */

static void rules_free(struct kafka_rules *r)
{
    while (r) {
        struct kafka_rules *older = r->older;
        kafka_channel_settings_fini(&r->settings);
        free(r->overrides);
        free(r);
        r = older;
    }
}

/* Takes the settings in any case. */
static enum err rules_new(struct kafka_channel_settings *s, struct kafka_rules **out)
{
    struct kafka_rules *r = calloc(1, sizeof *r);
    if (!r) {
        kafka_channel_settings_fini(s);
        return ERR_NOMEM;
    }
    r->settings = *s;
    r->overrides = calloc(s->override_count + 1, sizeof *r->overrides);
    if (!r->overrides) {
        rules_free(r);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < s->override_count; i++)
        r->overrides[i] = (struct ce_kafka_header){slice_str(s->overrides[i].name), slice_str(s->overrides[i].value)};
    r->ce = (struct ce_kafka_rules){.event_bytes_max = CE_EVENT_BYTES_MAX,
                                    .source = s->source,
                                    .key = s->key,
                                    .overrides = r->overrides,
                                    .override_count = s->override_count};
    *out = r;
    return OK;
}

/* ---- topics ---- */

void kafka_channel_topics_open(struct bus_channel *c, struct kafka_producer *p)
{
    c->producer = p;
    for (size_t i = 0; i < c->topics.count; i++) {
        assert(!c->list[i].rkt);
        c->list[i].rkt = rd_kafka_topic_new(p->rk, c->list[i].name, NULL);
        assert(c->list[i].rkt); /* kafka_settings.c has looked at its name */
    }
}

void kafka_channel_topics_close(struct bus_channel *c)
{
    c->producer = NULL;
    for (size_t i = 0; i < c->topics.count; i++) {
        if (c->list[i].rkt)
            rd_kafka_topic_destroy(c->list[i].rkt);
        c->list[i].rkt = NULL;
    }
}

static void parts_free(struct kafka_parts *p)
{
    while (p) {
        struct kafka_parts *older = p->older;
        free(p);
        p = older;
    }
}

static struct kafka_part *part_of(const struct bus_channel *c, size_t topic, int32_t partition)
{
    assert(topic < c->topics.count);
    struct kafka_parts *p = atomic_load_explicit(&c->list[topic].parts, memory_order_acquire);
    return p && partition >= 0 && partition < p->count ? &p->at[partition] : NULL;
}

int64_t kafka_channel_end(const struct bus_channel *c, size_t topic, int32_t partition)
{
    struct kafka_part *p = part_of(c, topic, partition);
    return p ? atomic_load(&p->end) : -1;
}

void kafka_channel_end_raise(struct bus_channel *c, size_t topic, int32_t partition, int64_t end)
{
    struct kafka_part *p = part_of(c, topic, partition);
    if (!p) {
        kafka_channel_suspect(c); /* the topic has more partitions than it had */
        return;
    }
    int64_t known = atomic_load(&p->end);
    while (known < end && !atomic_compare_exchange_weak(&p->end, &known, end))
        continue;
}

void kafka_channel_suspect(struct bus_channel *c)
{
    if (atomic_exchange(&c->suspect, true))
        return;
    atomic_store(&c->bus->suspects, true);
    desk_call(&c->bus->desk);
}

/* Those in the map, then those that go. */
struct bus_channel *kafka_bus_channel_next(struct kafka_bus *k, struct bus_channel *c)
{
    struct list *l = &k->going;
    bool found = !c;
    map_each(entry, tmp, &k->channels) {
        if (found)
            return entry->value;
        found = entry->value == c;
    }
    if (c && atomic_load(&c->state) == KAFKA_CHANNEL_GOING)
        l = &c->link;
    return l->next == &k->going ? NULL : container_of(l->next, struct bus_channel, link);
}

/* ---- life ---- */

void kafka_channel_free(struct bus_channel *c)
{
    assert(atomic_load(&c->pending) == 0 || !c->bus->producers.started);
    kafka_channel_topics_close(c);
    for (size_t i = 0; i < c->topics.count; i++) {
        parts_free(atomic_load(&c->list[i].parts));
        free(c->list[i].name);
    }
    free(c->list);
    rules_free(atomic_load(&c->rules));
    free(c);
}

static enum err names_copy(struct bus_channel *c, const struct kafka_channel_settings *s)
{
    c->list = calloc(s->topic_count, sizeof *c->list);
    if (!c->list)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->topic_count; i++) {
        c->list[i].name = strdup(s->topics[i]);
        if (!c->list[i].name)
            return ERR_NOMEM;
        c->topics.count++;
    }
    return OK;
}

/* With the rules, which are the channel's in any case. */
static enum err channel_new(struct kafka_bus *k, struct slice name, struct kafka_rules *rules, struct bus_channel **out)
{
    struct bus_channel *c = calloc(1, sizeof *c + name.len + 1);
    if (!c) {
        rules_free(rules);
        return ERR_NOMEM;
    }
    c->bus = k;
    memcpy(c->name, name.ptr, name.len);
    atomic_init(&c->rules, rules);
    atomic_init(&c->state, KAFKA_CHANNEL_NEW);
    list_init(&c->link);
    list_init(&c->ask_link);
    list_init(&c->verify_link);
    list_init(&c->subscriptions);
    enum err e = names_copy(c, &rules->settings);
    if (!e)
        e = map_add(&k->channels, name, c);
    if (e)
        kafka_channel_free(c);
    else
        *out = c;
    return e;
}

void kafka_channel_pin(struct bus_channel *c)
{
    c->pins++;
}

static void ops_add(struct bus_channel *c, struct bus_op *op)
{
    op->owner = c->ops;
    c->ops = op;
}

void kafka_channel_ops_end(struct bus_channel *c, enum err err)
{
    bus_ops_end(&c->ops, err, c->reason);
}

static enum err provision(struct kafka_bus *k, struct slice name, struct kafka_channel_settings *s,
                          struct bus_channel **out, struct diag *d)
{
    struct bus_channel *c = map_get(&k->channels, name);
    const struct kafka_channel_settings *before = c ? &atomic_load(&c->rules)->settings : NULL;
    struct kafka_rules *rules = NULL;
    if (c && !kafka_channel_settings_same_topics(before, s)) {
        kafka_channel_settings_fini(s);
        return diag_set(d, ERR_INVALID, "topic: the channel has another one, and cannot change it while it is there");
    }
    if (c && kafka_channel_settings_same(before, s)) { /* or what is tried again would pile up */
        kafka_channel_settings_fini(s);
        *out = c;
        return OK;
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

enum err kafka_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                         struct bus_channel **out, struct bus_op *op, struct diag *d)
{
    struct kafka_bus *k = kafka_of(b);
    struct kafka_channel_settings s;
    struct bus_channel *c = NULL;
    if (k->desk.stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = kafka_channel_settings_read(&k->settings, name, params, count, &s, d);
    if (!e)
        e = provision(k, name, &s, &c, d);
    if (e)
        return e;
    c->refs++;
    op->text = NULL;
    if (atomic_load(&c->state) == KAFKA_CHANNEL_READY) {
        bus_op_end(k->desk.env.control, op, OK); /* topics are changed by nobody but who owns them */
    } else {
        ops_add(c, op);
        kafka_channel_ask(c);
    }
    *out = c;
    return OK;
}

/* ---- release ---- */

void kafka_channel_gone(struct bus_channel *c, enum err err, const char *text)
{
    struct kafka_bus *k = c->bus;
    struct bus_op *op = c->going;
    if (err)
        desk_notice(&k->desk, 1, "TopicStays", "channel %s is gone, and its topic could not be deleted: %s", c->name,
                    text);
    list_remove(&c->link);
    atomic_fetch_sub(&k->desk.going_count, 1);
    if (!list_empty(&k->to_ask)) /* perhaps for its name */
        loop_defer(k->desk.env.control, &k->asker);
    kafka_channel_free(c);
    op->text = NULL;
    op->done(op, OK);
}

void kafka_channel_go_on(struct bus_channel *c)
{
    if (atomic_load(&c->pending) > 0 || c->asked || c->pins)
        return;
    c->deleting = c->remove && !atomic_load(&c->rules)->settings.external && !atomic_load(&c->bus->clerk.hurry);
    if (c->deleting)
        kafka_channel_ask(c);
    else
        kafka_channel_gone(c, OK, NULL);
}

void kafka_channel_unpin(struct bus_channel *c)
{
    assert(c->pins > 0);
    if (--c->pins == 0 && atomic_load(&c->state) == KAFKA_CHANNEL_GOING)
        kafka_channel_go_on(c);
}

void kafka_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    struct kafka_bus *k = kafka_of(b);
    assert(c->bus == k && c->refs > 0);
    op->text = NULL;
    if (--c->refs) {
        bus_op_end(k->desk.env.control, op, OK);
        return;
    }
    map_remove(&k->channels, slice_str(c->name));
    atomic_store(&c->state, KAFKA_CHANNEL_GOING);
    if (!list_empty(&c->ask_link)) { /* K has not heard of it */
        list_remove(&c->ask_link);
        c->asked = false;
    }
    c->going = op;
    c->remove = remove;
    list_push_back(&k->going, &c->link);
    atomic_fetch_add(&k->desk.going_count, 1);
    desk_call(&k->desk); /* kafka_channels_look, after this call */
}

/* ---- what time and events bring ---- */

void kafka_channels_go_on(struct kafka_bus *k)
{
    list_each(l, tmp, &k->going)
        kafka_channel_go_on(container_of(l, struct bus_channel, link));
}

void kafka_channels_look(struct kafka_bus *k)
{
    uint64_t now = clock_monotonic_ns(k->desk.clock);
    atomic_store(&k->suspects, false);
    map_each(entry, next, &k->channels) {
        struct bus_channel *c = entry->value;
        int state = atomic_load(&c->state);
        if ((state == KAFKA_CHANNEL_REFUSED && now >= c->ask_ns) ||
            (state == KAFKA_CHANNEL_READY && atomic_load(&c->suspect)))
            kafka_channel_ask(c);
    }
}
