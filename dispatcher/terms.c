/* SPDX-License-Identifier: Apache-2.0
 *
 * The terms of delivery: a stream's specification, copied and counted, so that an update swaps them whole while
 * attempts finish under the old ones.
 *
 * The last reference often goes inside a sink's own callback, and it may hold the last reference to that very sink.
 * So dead terms wait for the end of the turn before their sinks are given back.
 */
#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#include "flight.h"

static void terms_free(struct terms *t)
{
    assert(t->refs == 0);
    sink_unref(t->spec.subscriber);
    sink_unref(t->spec.reply);
    sink_unref(t->spec.dead_letter);
    filter_unref(t->spec.filter);
    free(t->batch);
    free((char *)t->spec.name);
    free((char *)t->spec.namespace_name);
    free(t);
}

/* How many at a time: strictly ordered, one event, or one batch of them; else there is room for the next batch while
 * one is under way. Who may have fewer in hand than a batch holds gets smaller batches, or none would ever be full. */
static void settle_limits(struct dispatch_spec *spec)
{
    if (spec->batch_max == 0 || !spec->subscriber || spec->subscriber->local)
        spec->batch_max = 1;
    unsigned usual = DISPATCH_IN_FLIGHT > 2 * spec->batch_max ? DISPATCH_IN_FLIGHT : 2 * spec->batch_max;
    unsigned most = spec->order == ORDER_STRICT ? spec->batch_max : UINT_MAX;
    if (spec->in_flight_max == 0)
        spec->in_flight_max = usual;
    if (spec->in_flight_max > most)
        spec->in_flight_max = most;
    if (spec->batch_max > spec->in_flight_max)
        spec->batch_max = spec->in_flight_max;
    if (spec->delivery.timeout_ns == 0)
        spec->delivery.timeout_ns = DISPATCH_TIMEOUT_NS;
}

/* Copies what the caller keeps; false without memory. */
static bool copy(struct terms *t, const struct dispatch_spec *spec)
{
    t->spec.name = strdup(spec->name);
    t->spec.namespace_name = strdup(spec->namespace_name ? spec->namespace_name : "");
    if (t->spec.batch_max > 1)
        t->batch = calloc(t->spec.batch_max, sizeof *t->batch);
    return t->spec.name && t->spec.namespace_name && (t->batch || t->spec.batch_max == 1);
}

enum err terms_new(struct dispatcher *d, const struct dispatch_spec *spec, struct terms **out)
{
    assert(spec->name && spec->park && spec->counters);
    if (!spec->subscriber && !spec->reply)
        return ERR_INVALID;
    if (spec->delivery.retry > DISPATCH_RETRY_MAX || spec->batch_max > DISPATCH_BATCH_MAX)
        return ERR_INVALID;
    struct terms *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->spec = *spec;
    settle_limits(&t->spec);
    if (!copy(t, spec)) {
        free(t->batch);
        free((char *)t->spec.name);
        free((char *)t->spec.namespace_name);
        free(t);
        return ERR_NOMEM;
    }
    t->refs = 1;
    t->dispatcher = d;
    list_init(&t->link);
    t->namespace_name = slice_str(t->spec.namespace_name);
    if (t->spec.filter)
        filter_ref(t->spec.filter);
    struct sink *sinks[] = {spec->subscriber, spec->reply, spec->dead_letter};
    for (size_t i = 0; i < sizeof sinks / sizeof *sinks; i++)
        if (sinks[i])
            sink_ref(sinks[i]);
    *out = t;
    return OK;
}

struct terms *terms_ref(struct terms *t)
{
    assert(t->refs > 0);
    t->refs++;
    return t;
}

struct terms *terms_unref(struct terms *t)
{
    if (!t)
        return NULL;
    assert(t->refs > 0);
    if (--t->refs == 0) {
        list_push_back(&t->dispatcher->dead_terms, &t->link);
        loop_defer(t->dispatcher->loop, &t->dispatcher->bury);
    }
    return NULL;
}

void terms_bury(struct dispatcher *d)
{
    struct list *l;
    while ((l = list_pop_front(&d->dead_terms)))
        terms_free(container_of(l, struct terms, link));
}
