/* SPDX-License-Identifier: Apache-2.0
 *
 * The streams of one loop: a sleeper for each subscription that is drained here, which its first event makes a stream
 * by the routing that is in force then.
 */
#include "shard.h"

#include <assert.h>
#include <stdlib.h>

#include "log.h"
#include "siphash.h"

#define FOREVER_WAIT_NS_MAX (30 * NS_PER_S) /* between attempts that never end: a sink that is back is found soon */

struct shard_stream {
    struct list link;
    struct dispatch_sleeper sleeper;
    struct park park; /* and whose it is */
    uint32_t index;   /* in the plan of the routing in force */
    bool wanted;
    bool failing; /* its stream could not be made, and the log has it */
};

static void trouble(void *arg, const struct dispatch_trouble *latest)
{
    engine_trouble_put(arg, latest);
}

/* What is counted of the subscription on this loop; NULL without memory. */
static struct dispatch_counters *counters_of(struct shard_stream *stream)
{
    struct engine_share *share = &stream->park.subscription->shares[stream->park.shard->index];
    struct engine_counters *c = atomic_load_explicit(&share->counters, memory_order_relaxed);
    if (!c && (c = calloc(1, sizeof *c)))
        atomic_store_explicit(&share->counters, c, memory_order_release);
    return c ? &c->counted : NULL;
}

/* Fills a dispatch_spec whose sinks are new references; release_spec gives them back. */
static enum err make_spec(struct shard_stream *stream, struct routing *r, struct dispatch_spec *spec)
{
    struct shard *s = stream->park.shard;
    struct engine_subscription *subscription = stream->park.subscription;
    const struct plan_subscription *p = &r->plan->subscriptions[stream->index];
    const struct bus *bus = subscription->channel->bus->bus;
    *spec = (struct dispatch_spec){
        .name = p->key,
        .namespace_name = p->namespace_name,
        .delivery = *p->delivery,
        .reply_must_be_event = p->reply_must_be_event,
        .in_flight_max = p->in_flight_max,
        .rate_interval_ns = p->rate_interval_ns,
        .order = p->order,
        .dedup_window_ns = p->dedup_window_ns,
        .batch_max = p->batch_max,
        .batch_wait_ns = p->batch_wait_ns,
        .filter = bus->capabilities & BUS_CAP_FILTER ? NULL : p->filter,
        .trace = s->trace,
        .trace_subject = subscription->subject,
        .park = park_event,
        .park_arg = &stream->park,
        .trouble = trouble,
        .trouble_arg = &subscription->shares[s->index],
        .counters = counters_of(stream),
    };
    if (engine_options_of(s->engine)->forever) {
        spec->delivery.forever = true;
        if (!p->delivery->backoff_max_ns)
            spec->delivery.backoff_max_ns = FOREVER_WAIT_NS_MAX;
    }
    enum err e = spec->counters ? shard_sink(s, r, &p->subscriber, &spec->subscriber) : ERR_NOMEM;
    if (e == OK)
        e = shard_sink(s, r, &p->reply, &spec->reply);
    if (e == OK)
        e = shard_sink(s, r, &p->dead_letter, &spec->dead_letter);
    return e;
}

static void release_spec(struct dispatch_spec *spec)
{
    sink_unref(spec->subscriber);
    sink_unref(spec->reply);
    sink_unref(spec->dead_letter);
}

static enum err wake(struct dispatch_sleeper *sleeper)
{
    struct shard_stream *stream = container_of(sleeper, struct shard_stream, sleeper);
    struct shard *s = stream->park.shard;
    struct dispatch_spec spec;
    assert(s->routing->subscriptions[stream->index] == stream->park.subscription);
    enum err e = make_spec(stream, s->routing, &spec);
    if (e == OK)
        e = dispatch_sleeper_begin(sleeper, &spec);
    release_spec(&spec);
    if (e != OK && !stream->failing) /* it is tried again and again, and said once */
        shard_failed(s, "stream.failed", stream->park.subscription->key, e);
    stream->failing = e != OK;
    return e;
}

enum err shard_stream_awake(const struct shard *s, const struct engine_subscription *subscription,
                            struct dispatch_stream **out)
{
    struct shard_stream *found = subscription->shares[s->index].stream;
    if (!found)
        return ERR_CLOSED;
    enum err e = found->sleeper.stream ? OK : wake(&found->sleeper);
    if (e == OK)
        *out = found->sleeper.stream;
    return e;
}

unsigned shard_home(const char *cursor, unsigned shard_count)
{
    static const uint64_t key[2] = {0, 0};
    return (unsigned)(siphash13(key, slice_str(cursor)) % shard_count);
}

/* Whether this loop drains it; elsewhere the bus hands the events of this loop over, or keeps them while it is paused.
 */
static bool drains(const struct shard *s, const struct plan_subscription *p)
{
    return !p->paused && (!p->one_loop || shard_home(p->cursor, s->shard_count) == s->index);
}

static void stream_stopped(struct dispatch_sleeper *sleeper)
{
    struct shard_stream *stream = container_of(sleeper, struct shard_stream, sleeper);
    struct shard *s = stream->park.shard;
    free(stream);
    shard_finished_one(s);
}

/* What its stream on this loop takes at least, whatever its batches are. */
static unsigned credit_of(const struct plan_subscription *p)
{
    return p->order == ORDER_STRICT ? 1 : p->in_flight_max ? p->in_flight_max : DISPATCH_IN_FLIGHT;
}

static enum err start_stream(struct shard *s, struct routing *r, size_t i)
{
    static const struct dispatch_sleeper_ops ops = {wake, stream_stopped};
    struct engine_subscription *subscription = r->subscriptions[i];
    struct shard_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return ERR_NOMEM;
    stream->park = (struct park){s, subscription};
    stream->index = (uint32_t)i;
    stream->wanted = true;
    enum err e = dispatch_sleeper_start(&stream->sleeper, s->dispatcher, subscription->channel->bus->bus,
                                        subscription->handle, &ops, credit_of(&r->plan->subscriptions[i]));
    if (e != OK) {
        free(stream);
        return e;
    }
    list_push_back(&s->streams, &stream->link);
    subscription->shares[s->index].stream = stream;
    return OK;
}

static enum err update_stream(struct routing *r, size_t i, struct shard_stream *stream)
{
    struct dispatch_spec spec;
    stream->wanted = true;
    stream->index = (uint32_t)i;
    if (!stream->sleeper.stream)
        return OK;
    enum err e = make_spec(stream, r, &spec);
    if (e == OK)
        e = dispatch_stream_update(stream->sleeper.stream, &spec);
    release_spec(&spec);
    return e;
}

static void stop_stream(struct shard *s, struct shard_stream *stream, uint64_t deadline_ns)
{
    list_remove(&stream->link);
    stream->park.subscription->shares[s->index].stream = NULL;
    s->unfinished++;
    dispatch_sleeper_stop(&stream->sleeper, deadline_ns);
}

void shard_streams_route(struct shard *s, struct routing *r)
{
    list_each(l, tmp, &s->streams)
        container_of(l, struct shard_stream, link)->wanted = false;
    for (size_t i = 0; r && i < r->plan->subscription_count; i++) {
        if (!r->subscriptions[i]->ready || !drains(s, &r->plan->subscriptions[i]))
            continue;
        struct shard_stream *stream = r->subscriptions[i]->shares[s->index].stream;
        enum err e = stream ? update_stream(r, i, stream) : start_stream(s, r, i);
        if (e != OK)
            shard_failed(s, "stream.failed", r->subscriptions[i]->key, e);
    }
    list_each(k, next, &s->streams) {
        struct shard_stream *stream = container_of(k, struct shard_stream, link);
        if (!stream->wanted)
            stop_stream(s, stream, s->order_deadline_ns);
    }
}
