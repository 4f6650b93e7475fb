/* SPDX-License-Identifier: Apache-2.0
 *
 * What the annotations leat.dev/... mean for the plan. Their values were checked at admission; one that is not valid
 * all the same (of an object older than the check) counts as absent.
 */
#include <stdlib.h>

#include "planner.h"
#include "text.h"

/* A whole number; 0 when it is not there. */
static unsigned number(const struct resource *r, const char *name)
{
    const char *text = annotation(r->object, name);
    uint64_t value = 0;
    return text && decimal_parse(slice_str(text), UINT32_MAX, &value) == OK ? (unsigned)value : 0;
}

static uint64_t duration(const struct resource *r, const char *name)
{
    const char *text = annotation(r->object, name);
    uint64_t ns = 0;
    return text && iso8601_duration_parse(slice_str(text), &ns, NULL) == OK ? ns : 0;
}

static bool is(const struct resource *r, const char *name, const char *value)
{
    const char *text = annotation(r->object, name);
    return text && strcmp(text, value) == 0;
}

void plan_channel_annotations(struct planner *p, struct channel_plan *c, const struct resource *r)
{
    static const char *const params[] = {ANNOTATION_CAPACITY, ANNOTATION_PARTITIONS, ANNOTATION_RETENTION_AGE,
                                         ANNOTATION_RETENTION_BYTES};
    if (plan_bus_is(p, p->plan->channels[c->index].bus, "kafka")) {
        plan_kafka_annotations(p, c, r);
        return;
    }
    if (plan_bus_is(p, p->plan->channels[c->index].bus, "rabbitmq")) {
        plan_rabbitmq_annotations(p, c, r);
        return;
    }
    if (plan_bus_is(p, p->plan->channels[c->index].bus, "pubsub")) {
        plan_pubsub_annotations(p, c, r);
        return;
    }
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
        const char *value = annotation(r->object, params[i]);
        if (value) /* the bus knows them by the names that users do */
            plan_channel_param(p, c, params[i] + strlen(ANNOTATION_PREFIX), value);
    }
}

bool plan_order_possible(struct planner *p, const struct resource *r, const struct resource *channel, struct why *why)
{
    if (!is(r, ANNOTATION_ORDER, "strict") || is(channel, ANNOTATION_PARTITIONS, "1"))
        return true;
    *why = why_of(p, "OrderNeedsOnePartition",
                  "the order strict needs a channel with one partition: set the annotation " ANNOTATION_PARTITIONS
                  ": \"1\" on %s %s/%s",
                  channel->kind->kind, channel->namespace_name, channel->name);
    return false;
}

/* What bounds all loops together can be kept by one loop only. */
static bool spans_loops(const struct plan_subscription *s)
{
    return s->in_flight_max || s->rate_interval_ns || s->dedup_window_ns || s->batch_max > 1 ||
           s->order == ORDER_STRICT;
}

static void delivery_annotations(struct delivery *d, const struct resource *r)
{
    const char *retry = annotation(r->object, ANNOTATION_RETRY), *jitter = annotation(r->object, ANNOTATION_JITTER),
               *retry_on = annotation(r->object, ANNOTATION_RETRY_ON);
    struct diag ignored;
    if (retry && d->retry == 0)
        d->retry = number(r, ANNOTATION_RETRY);
    if (jitter)
        d->jitter_percent = number(r, ANNOTATION_JITTER);
    if (retry_on && retry_on_parse(retry_on, &d->retry_on, &ignored) != OK)
        d->retry_on = (struct retry_on){0};
    d->deadline_ns = duration(r, ANNOTATION_DEADLINE);
}

/* Where a new one begins. */
static struct bus_start start_of(const struct resource *r)
{
    const char *text = annotation(r->object, ANNOTATION_START_FROM);
    struct bus_start start;
    if (!text || start_parse(text, 0, &start, NULL) != OK)
        start = (struct bus_start){.kind = BUS_START_LATEST};
    return start;
}

void plan_subscription_annotations(struct planner *p, struct plan_subscription *s, const struct resource *r,
                                   const struct resource *channel)
{
    const char *overflow = annotation(r->object, ANNOTATION_OVERFLOW), *rate = annotation(r->object, ANNOTATION_RATE);
    struct diag ignored;
    if (!overflow)
        overflow = annotation(channel->object, ANNOTATION_OVERFLOW);
    size_t bus = p->plan->channels[s->channel].bus;
    bool rabbitmq = plan_bus_is(p, bus, "rabbitmq");
    if (overflow && !rabbitmq && !plan_bus_is(p, bus, "kafka") && !plan_bus_is(p, bus, "pubsub"))
        plan_subscription_param(p, s, "overflow", overflow);
    if (annotation(r->object, ANNOTATION_START_FROM))
        s->start = start_of(r);
    s->keep_cursor = is(r, ANNOTATION_KEEP_CURSOR, "true");
    if (rate && rate_parse(rate, &s->rate_interval_ns, &ignored) != OK)
        s->rate_interval_ns = 0;
    if (number(r, ANNOTATION_IN_FLIGHT))
        s->in_flight_max = number(r, ANNOTATION_IN_FLIGHT);
    else if (rabbitmq && plan_rabbitmq_parallelism(r))
        s->in_flight_max = plan_rabbitmq_parallelism(r);
    if (rabbitmq && annotation(r->object, ANNOTATION_RABBITMQ_SHARED))
        plan_subscription_param(p, s, "shared", annotation(r->object, ANNOTATION_RABBITMQ_SHARED));
    s->order = is(r, ANNOTATION_ORDER, "strict") ? ORDER_STRICT
               : is(r, ANNOTATION_ORDER, "key")  ? ORDER_KEY
               : is(r, ANNOTATION_ORDER, "none") ? ORDER_NONE
               : plan_kafka_ordered(r, channel)  ? ORDER_KEY
                                                 : ORDER_NONE;
    if (s->order == ORDER_NONE && plan_bus_is(p, bus, "pubsub"))
        plan_subscription_param(p, s, "order", "none");
    s->dedup_window_ns = duration(r, ANNOTATION_DEDUP);
    s->batch_max = number(r, ANNOTATION_BATCH_EVENTS);
    s->batch_wait_ns = duration(r, ANNOTATION_BATCH_WAIT);
    s->paused = s->paused || is(r, ANNOTATION_PAUSED, "true") || r->paused_ns || channel->paused_ns;
    s->one_loop = spans_loops(s);
    struct delivery terms = *s->delivery;
    delivery_annotations(&terms, r);
    plan_delivery(p, s, &terms);
}

/* ---- what statuses say of it ---- */

/* "paused by API at TIME" of this object. */
static const char *paused_text(struct planner *p, const struct resource *r)
{
    struct buf text;
    buf_init(&text, 64);
    rfc3339_put(&text, r->paused_ns, 0);
    const char *at = plan_text(p, "%.*s", SLICE_ARG(buf_slice(&text)));
    buf_fini(&text);
    return plan_text(p, "paused by API at %s; `leat resume %s/%s` lets it go on, and the events are kept meanwhile", at,
                     r->kind->singular, r->name);
}

void put_paused(struct planner *p, cJSON *status, const struct resource *r, const struct resource *channel)
{
    static const char annotated[] =
        "the annotation " ANNOTATION_PAUSED " holds deliveries back; the events are kept meanwhile";
    struct why why = {"Paused", NULL};
    if (r->paused_ns)
        why.message = paused_text(p, r);
    else if (is(r, ANNOTATION_PAUSED, "true"))
        why.message = annotated;
    else if (channel && channel->paused_ns)
        why.message = plan_text(p, "%s %s: %s", channel->kind->kind, channel->name, paused_text(p, channel));
    if (why.message)
        put_condition(p, status, CONDITION_DELIVERING, false, &why);
}

/* Whether what has passed can be read again on this bus; a decorator can what the bus in it can. */
static bool browses(const struct plan_bus *b)
{
    const struct bus_ops *ops = bus_find(b->type);
    for (size_t i = 0; i < b->param_count; i++)
        if (strcmp(b->params[i].name, "inner") == 0)
            ops = bus_find(b->params[i].value);
    return ops && ops->capabilities & (BUS_CAP_BROWSE | BUS_CAP_REWIND);
}

static void put_start(struct planner *p, cJSON *status, const struct resource *r, const struct channel_plan *channel)
{
    static const struct why queue = {"QueueKeepsNoPast", "the annotation " ANNOTATION_START_FROM
                                                         " means nothing here: it begins with what is in the queue"};
    struct bus_start start = start_of(r);
    if (!channel || !channel->ready || start.kind == BUS_START_LATEST || start.kind == BUS_START_EARLIEST)
        return;
    const struct plan_bus *bus = &p->plan->buses[p->plan->channels[channel->index].bus];
    const struct why why =
        channel->is_queue
            ? queue
            : why_of(p, "BusKeepsNoPast",
                     "the annotation " ANNOTATION_START_FROM
                     " asks for a time or an offset, but the bus %s keeps no events that were delivered: a "
                     "new one begins with the events from now on",
                     bus->key);
    if (!browses(bus))
        put_condition(p, status, CONDITION_START, false, &why);
}

void put_remarks(struct planner *p, cJSON *status, const struct resource *r, const struct channel_plan *channel)
{
    put_paused(p, status, r, channel ? channel->resource : NULL);
    put_start(p, status, r, channel);
}
