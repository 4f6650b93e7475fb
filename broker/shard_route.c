/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts a routing in force on one loop: streams and sources that are new are started, those that stay are updated in
 * place, those that are gone are stopped. The order is answered when the last one has stopped; until then nothing of
 * the old plan may be freed.
 */
#include "shard.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "siphash.h"

#define FOREVER_WAIT_NS_MAX (30 * NS_PER_S) /* between attempts that never end: a sink that is back is found soon */

#define SOURCE_MESSAGE_MAX 400 /* of a condition: a reason and what to do */

struct shard_stream {
    struct list link;
    struct shard *shard;
    struct engine_subscription *subscription;
    struct dispatch_stream *stream;
    struct park park;
    bool wanted;
};

static void finished_one(struct shard *s)
{
    assert(s->unfinished > 0);
    if (--s->unfinished == 0)
        shard_answer(s);
}

/* The first failure is told to the engine, and the log has all of them. */
static void failed(struct shard *s, const char *what, const char *key, enum err e)
{
    log_line(LOG_ERROR, what, "key=%s loop=%u error=%s", log_value(key), s->index, err_name(e));
    if (s->order_error == OK)
        s->order_error = e;
}

/* ---- streams ---- */

static void trouble(void *arg, const struct dispatch_trouble *latest)
{
    engine_trouble_put(arg, latest);
}

/* Fills a dispatch_spec whose sinks are new references; release_spec gives them back. */
static enum err make_spec(struct shard *s, struct routing *r, const struct plan_subscription *p,
                          struct shard_stream *stream, struct dispatch_spec *spec)
{
    const struct bus *bus = stream->subscription->channel->bus->bus;
    *spec = (struct dispatch_spec){
        .name = p->key,
        .namespace_name = p->namespace_name,
        .delivery = p->delivery,
        .reply_must_be_event = p->reply_must_be_event,
        .in_flight_max = p->in_flight_max,
        .rate_interval_ns = p->rate_interval_ns,
        .order = p->order,
        .dedup_window_ns = p->dedup_window_ns,
        .batch_max = p->batch_max,
        .batch_wait_ns = p->batch_wait_ns,
        .filter = bus->capabilities & BUS_CAP_FILTER ? NULL : p->filter,
        .trace = s->trace,
        .trace_subject = stream->subscription->subject,
        .park = park_event,
        .park_arg = &stream->park,
        .trouble = trouble,
        .trouble_arg = &stream->subscription->shares[s->index],
        .counters = &stream->subscription->shares[s->index].counters,
    };
    if (engine_options_of(s->engine)->forever) {
        spec->delivery.forever = true;
        if (!p->delivery.backoff_max_ns)
            spec->delivery.backoff_max_ns = FOREVER_WAIT_NS_MAX;
    }
    enum err e = shard_sink(s, r, &p->subscriber, &spec->subscriber);
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

unsigned shard_home(const char *cursor, unsigned shard_count)
{
    static const uint64_t key[2] = {0, 0};
    return (unsigned)(siphash13(key, slice_str(cursor)) % shard_count);
}

struct dispatch_stream *shard_stream_running(const struct shard *s, const struct engine_subscription *subscription)
{
    const struct shard_stream *found = subscription->shares[s->index].stream;
    return found ? found->stream : NULL;
}

/* Whether this loop drains it; elsewhere the bus hands the events of this loop over, or keeps them while it is paused.
 */
static bool drains(const struct shard *s, const struct plan_subscription *p)
{
    return !p->paused && (!p->one_loop || shard_home(p->cursor, s->shard_count) == s->index);
}

static enum err start_stream(struct shard *s, struct routing *r, size_t i)
{
    struct shard_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return ERR_NOMEM;
    stream->shard = s;
    stream->subscription = r->subscriptions[i];
    stream->park = (struct park){s, stream->subscription};
    stream->wanted = true;
    struct dispatch_spec spec;
    enum err e = make_spec(s, r, &r->plan->subscriptions[i], stream, &spec);
    if (e == OK)
        e = dispatch_stream_start(s->dispatcher, stream->subscription->channel->bus->bus, stream->subscription->handle,
                                  &spec, &stream->stream);
    release_spec(&spec);
    if (e != OK) {
        free(stream);
        return e;
    }
    list_push_back(&s->streams, &stream->link);
    stream->subscription->shares[s->index].stream = stream;
    return OK;
}

static enum err update_stream(struct shard *s, struct routing *r, size_t i, struct shard_stream *stream)
{
    struct dispatch_spec spec;
    stream->wanted = true;
    enum err e = make_spec(s, r, &r->plan->subscriptions[i], stream, &spec);
    if (e == OK)
        e = dispatch_stream_update(stream->stream, &spec);
    release_spec(&spec);
    return e;
}

static void stream_stopped(void *arg)
{
    struct shard_stream *stream = arg;
    struct shard *s = stream->shard;
    free(stream);
    finished_one(s);
}

static void stop_stream(struct shard *s, struct shard_stream *stream, uint64_t deadline_ns)
{
    list_remove(&stream->link);
    stream->subscription->shares[s->index].stream = NULL;
    s->unfinished++;
    dispatch_stream_stop(stream->stream, deadline_ns, stream_stopped, stream);
}

static void route_streams(struct shard *s, struct routing *r)
{
    list_each(l, tmp, &s->streams)
        container_of(l, struct shard_stream, link)->wanted = false;
    for (size_t i = 0; r && i < r->plan->subscription_count; i++) {
        if (!r->subscriptions[i]->ready || !drains(s, &r->plan->subscriptions[i]))
            continue;
        struct shard_stream *stream = r->subscriptions[i]->shares[s->index].stream;
        enum err e = stream ? update_stream(s, r, i, stream) : start_stream(s, r, i);
        if (e != OK)
            failed(s, "stream.failed", r->subscriptions[i]->key, e);
    }
    list_each(k, next, &s->streams) {
        struct shard_stream *stream = container_of(k, struct shard_stream, link);
        if (!stream->wanted)
            stop_stream(s, stream, s->order_deadline_ns);
    }
}

/* ---- sources ---- */

struct shard_source *shard_source_find(struct shard *s, const struct engine_source *source)
{
    list_each(l, tmp, &s->sources) {
        struct shard_source *found = container_of(l, struct shard_source, link);
        if (found->source == source)
            return found;
    }
    return NULL;
}

void shard_source_release(struct shard_source *source)
{
    assert(source->requests > 0);
    source->requests--;
    if (source->closed && source->requests == 0) {
        plan_unref(source->plan);
        free(source);
    }
}

static void source_closed(void *arg)
{
    struct shard_source *source = arg;
    struct shard *s = source->shard;
    source->closed = true;
    source->instance = NULL;
    source->requests++;
    shard_source_release(source);
    finished_one(s);
}

/* Every plan makes the instances anew: a webhook under way ends on the old one. */
static void close_source(struct shard *s, struct shard_source *source)
{
    list_remove(&source->link);
    s->unfinished++;
    source->source->ops->close(source->instance, source_closed, source);
}

static void notice(void *arg, bool trouble, const char *what, const char *text)
{
    const struct engine_source *source = arg;
    log_line(trouble ? LOG_WARN : LOG_INFO, what, "source=%s text=%s", log_value(source->key), log_value(text));
}

struct source_state { /* on its way to the control loop */
    struct letter letter;
    struct engine *engine;
    char *key;
    const char *reason;
    char message[SOURCE_MESSAGE_MAX];
};

static void state_arrived(struct letter *l)
{
    struct source_state *t = container_of(l, struct source_state, letter);
    engine_source_state(t->engine, t->key, t->reason, t->message);
    free(t->key);
    free(t);
}

/* Without memory the condition stays as it was; the log has had the same. */
static void report(void *arg, const char *reason, const char *message)
{
    const struct engine_source *source = arg;
    struct source_state *t = calloc(1, sizeof *t);
    char *key = t ? strdup(source->key) : NULL;
    if (!key) {
        free(t);
        return;
    }
    t->letter.run = state_arrived;
    t->engine = source->engine;
    t->key = key;
    t->reason = reason;
    snprintf(t->message, sizeof t->message, "%s", message ? message : "");
    loop_post_reserved(engine_control(source->engine), &t->letter);
}

/* A source with webhooks takes them on every loop; one that makes events by itself is on one, of one process. */
static bool runs_here(const struct shard *s, const struct engine_source *source)
{
    const char *who = source->ops->together ? source->ops->name : source->key;
    if (!source->ops->one_loop)
        return true;
    return engine_options_of(s->engine)->register_sources && shard_home(who, s->shard_count) == s->index;
}

static enum err open_source(struct shard *s, struct routing *r, size_t i)
{
    const struct plan_source *spec = &r->plan->sources[i];
    struct shard_source *source = calloc(1, sizeof *source);
    if (!source)
        return ERR_NOMEM;
    source->shard = s;
    source->source = r->sources[i];
    source->spec = spec;
    struct sink *sink = NULL;
    struct diag d = {0};
    enum err e = shard_sink(s, r, &spec->sink, &sink);
    if (e == OK && !sink)
        e = ERR_INVALID;
    const struct source_host host = {.loop = s->loop,
                                     .sink = sink,
                                     .event_bytes_max = engine_options_of(s->engine)->event_bytes_max,
                                     .counters = &source->source->counters,
                                     .last = &source->source->last,
                                     .notice = notice,
                                     .report = report,
                                     .arg = source->source,
                                     .common = &s->common};
    if (e == OK)
        e = source->source->ops->open(&spec->spec, &host, &source->instance, &d);
    sink_unref(sink);
    if (e != OK) {
        free(source);
        return e;
    }
    source->plan = plan_ref(r->plan);
    list_push_back(&s->sources, &source->link);
    return OK;
}

static void route_sources(struct shard *s, struct routing *r)
{
    list_each(l, tmp, &s->sources)
        close_source(s, container_of(l, struct shard_source, link));
    for (size_t i = 0; r && i < r->plan->source_count; i++) {
        enum err e = runs_here(s, r->sources[i]) ? open_source(s, r, i) : OK;
        if (e != OK)
            failed(s, "source.failed", r->sources[i]->key, e);
    }
}

void shard_quiet(struct shard *s)
{
    s->unfinished = 1;
    list_each(l, tmp, &s->sources) {
        struct shard_source *source = container_of(l, struct shard_source, link);
        if (source->source->ops->posts)
            close_source(s, source);
    }
    finished_one(s);
}

void shard_apply(struct shard *s)
{
    struct routing *r = s->order == SHARD_ROUTE ? s->order_routing : NULL;
    s->order_routing = NULL;
    s->unfinished = 1;
    route_sources(s, r);
    route_streams(s, r);
    struct routing *old = s->routing;
    s->routing = r;
    routing_unref(old);
    finished_one(s);
}
