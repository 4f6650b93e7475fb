/* SPDX-License-Identifier: Apache-2.0
 *
 * How far a subscription is: its cursors, one for each partition, and the backlog that they leave. Partitions that this
 * process has are known to the offset; of others it is known what the group had committed when K looked last, which it
 * does at most once in KAFKA_LOOK_NS, while somebody wants to know. All on control.
 */
#include "kafka_member.h"
#include "../probes.h"

#include <stdlib.h>

/* ---- cursors ---- */

static struct kafka_cursor *cursor_at(struct bus_subscription *s, size_t topic, int32_t partition)
{
    struct kafka_cursors *of = &s->cursors[topic];
    if (partition < of->count)
        return of->at[partition];
    struct kafka_cursor **at = realloc(of->at, ((size_t)partition + 1) * sizeof(struct kafka_cursor *));
    if (!at)
        return NULL;
    of->at = at;
    for (int32_t i = of->count; i <= partition; i++) {
        if (!(at[i] = calloc(1, sizeof **at)))
            return NULL;
        at[i]->topic = topic;
        at[i]->partition = i;
        atomic_init(&at[i]->base, -1);
        of->count = i + 1;
    }
    return at[partition];
}

struct kafka_cursor *kafka_cursor_of(struct bus_subscription *s, const char *topic, int32_t partition)
{
    const struct bus_channel *c = s->channel;
    for (size_t t = 0; t < c->topics.count && partition >= 0 && partition < 1 << 20; t++)
        if (strcmp(c->list[t].name, topic) == 0)
            return cursor_at(s, t, partition);
    return NULL;
}

const char *kafka_cursor_topic(const struct bus_subscription *s, const struct kafka_cursor *cursor)
{
    return s->channel->list[cursor->topic].name;
}

void kafka_cursors_take(struct bus_subscription *s, const rd_kafka_topic_partition_list_t *found)
{
    struct kafka_ledger l;
    for (int i = 0; i < found->cnt; i++) {
        const rd_kafka_topic_partition_t *at = &found->elems[i];
        struct kafka_cursor *c = kafka_cursor_of(s, at->topic, at->partition);
        if (!c || c->at || !kafka_offsets_count(at))
            continue;
        (void)kafka_ledger_decode(&l, at->offset, slice_of(at->metadata, at->metadata_size));
        atomic_store(&c->base, l.base);
        atomic_store(&c->beyond, l.beyond);
        atomic_store(&c->head_ms, 0);
    }
}

void kafka_cursors_free(struct bus_subscription *s)
{
    for (size_t t = 0; s->cursors && t < s->channel->topics.count; t++) {
        for (int32_t i = 0; i < s->cursors[t].count; i++)
            free(s->cursors[t].at[i]);
        free(s->cursors[t].at);
    }
    free(s->cursors);
    s->cursors = NULL;
}

/* ---- what it says of itself ---- */

/* Whether there are partitions that others may have, and what is known of them is old: then K looks. */
static bool look(struct bus_subscription *s)
{
    bool others = false;
    for (size_t t = 0; t < s->channel->topics.count && !others; t++) {
        const struct kafka_parts *parts = atomic_load(&s->channel->list[t].parts);
        for (int32_t i = 0; i < s->cursors[t].count && parts && i < parts->count && !others; i++)
            others = !s->cursors[t].at[i]->at;
    }
    if (!others || s->state != KAFKA_SUB_READY || desk_closed(&s->bus->desk) ||
        (s->looked_as == s->bus->recounts && clock_monotonic_ns(s->bus->desk.clock) - s->looked_ns < KAFKA_LOOK_NS))
        return false;
    if (list_empty(&s->look_link) && !s->looking)
        list_push_back(&s->bus->to_look, &s->look_link);
    kafka_subscriptions_look(s->bus);
    return true;
}

/* Undelivered and unsettled, as far as ends and commits are known here; *head: when its oldest was appended, or 0. */
static uint64_t backlog(const struct bus_subscription *s, int64_t *head)
{
    uint64_t sum = 0;
    *head = 0;
    for (size_t t = 0; t < s->channel->topics.count; t++) {
        const struct kafka_parts *parts = atomic_load(&s->channel->list[t].parts);
        for (int32_t i = 0; parts && i < parts->count; i++) {
            const struct kafka_cursor *c = i < s->cursors[t].count ? s->cursors[t].at[i] : NULL;
            int64_t base = c ? atomic_load(&c->base) : -1, end = atomic_load(&parts->at[i].end);
            int64_t begin = atomic_load(&parts->at[i].begin), from = base > begin ? base : begin;
            int64_t open = end - (from > 0 ? from : 0) - (c ? (int64_t)atomic_load(&c->beyond) : 0);
            int64_t oldest = c ? atomic_load(&c->head_ms) : 0;
            sum += open > 0 ? (uint64_t)open : 0;
            *head = open > 0 && oldest > 0 && (!*head || oldest < *head) ? oldest : *head;
        }
    }
    return sum;
}

static void probe(struct bus_subscription *s, struct bus_probe *out)
{
    const struct clock *clock = s->bus->desk.clock;
    int64_t head = 0, wall = clock_wall_ns(clock);
    *out = (struct bus_probe){.healthy = !s->reason[0], .dropped = atomic_load(&s->expired)};
    out->err = s->err;
    memcpy(out->reason, s->reason, sizeof out->reason);
    if (s->state == KAFKA_SUB_READY || s->state == KAFKA_SUB_GOING)
        out->events = backlog(s, &head);
    out->counting = look(s);
    if (out->events == 0) {
        s->behind_ns = 0;
        return;
    }
    if (!s->behind_ns)
        s->behind_ns = clock_monotonic_ns(clock);
    out->oldest_age_ns = clock_monotonic_ns(clock) - s->behind_ns + 1;
    if (head > 0 && wall > head * (int64_t)NS_PER_MS)
        out->oldest_age_ns = (uint64_t)(wall - head * (int64_t)NS_PER_MS);
}

void kafka_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    (void)b;
    kafka_channel_refresh_ends(s->channel);
    probe(s, out);
}

void kafka_subscriptions_probe(struct bus_channel *c, struct bus_probe *out)
{
    struct bus_probe one;
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, link);
        if (s->state == KAFKA_SUB_GOING)
            continue;
        probe(s, &one);
        bus_probe_join(out, &one);
    }
}
