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
    const char *capacity = annotation(r->object, ANNOTATION_CAPACITY),
               *partitions = annotation(r->object, ANNOTATION_PARTITIONS);
    if (capacity)
        plan_channel_param(p, c, "capacity", capacity);
    if (partitions)
        plan_channel_param(p, c, "partitions", partitions);
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

void plan_subscription_annotations(struct planner *p, struct plan_subscription *s, const struct resource *r,
                                   const struct resource *channel)
{
    const char *overflow = annotation(r->object, ANNOTATION_OVERFLOW), *rate = annotation(r->object, ANNOTATION_RATE);
    struct diag ignored;
    if (!overflow)
        overflow = annotation(channel->object, ANNOTATION_OVERFLOW);
    if (overflow)
        plan_subscription_param(p, s, "overflow", overflow);
    if (is(r, ANNOTATION_START_FROM, "earliest"))
        s->start.kind = BUS_START_EARLIEST;
    if (rate && rate_parse(rate, &s->rate_interval_ns, &ignored) != OK)
        s->rate_interval_ns = 0;
    s->in_flight_max = number(r, ANNOTATION_IN_FLIGHT);
    s->order = is(r, ANNOTATION_ORDER, "strict") ? ORDER_STRICT
               : is(r, ANNOTATION_ORDER, "key")  ? ORDER_KEY
                                                 : ORDER_NONE;
    s->dedup_window_ns = duration(r, ANNOTATION_DEDUP);
    s->batch_max = number(r, ANNOTATION_BATCH_EVENTS);
    s->batch_wait_ns = duration(r, ANNOTATION_BATCH_WAIT);
    s->paused = s->paused || plan_paused(r);
    s->one_loop = spans_loops(s);
    delivery_annotations(&s->delivery, r);
}

bool plan_paused(const struct resource *r)
{
    return is(r, ANNOTATION_PAUSED, "true");
}

void put_paused(struct planner *p, cJSON *status, const struct resource *r)
{
    static const struct why paused = {"Paused", "the annotation " ANNOTATION_PAUSED
                                                " holds deliveries back; the events are kept meanwhile"};
    if (plan_paused(r))
        put_condition(p, status, CONDITION_DELIVERING, false, &paused);
}
