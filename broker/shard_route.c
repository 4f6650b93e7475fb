/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts a routing in force on one loop: sources, and streams (shard_stream.c), that are new are started, those that stay
 * are updated in place, those that are gone are stopped. The order is answered when the last one has stopped; until
 * then nothing of the old plan may be freed.
 */
#include "shard.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define SOURCE_MESSAGE_MAX 400 /* of a condition: a reason and what to do */

void shard_finished_one(struct shard *s)
{
    assert(s->unfinished > 0);
    if (--s->unfinished == 0)
        shard_answer(s);
}

void shard_failed(struct shard *s, const char *what, const char *key, enum err e)
{
    log_line(LOG_ERROR, what, "key=%s loop=%u error=%s", log_value(key), s->index, err_name(e));
    if (s->order_error == OK)
        s->order_error = e;
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
    shard_finished_one(s);
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
    struct sink *sink = NULL, *inner = NULL;
    struct diag d = {0};
    enum err e = shard_sink(s, r, &spec->sink, &inner);
    if (e == OK)
        e = inner ? heard_sink_new(inner, &source->source->heard, s->loop, &sink) : ERR_INVALID;
    sink_unref(inner);
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
            shard_failed(s, "source.failed", r->sources[i]->key, e);
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
    shard_finished_one(s);
}

void shard_apply(struct shard *s)
{
    struct routing *r = s->order == SHARD_ROUTE ? s->order_routing : NULL;
    s->order_routing = NULL;
    s->unfinished = 1;
    route_sources(s, r);
    shard_streams_route(s, r);
    struct routing *old = s->routing;
    s->routing = r;
    routing_unref(old);
    shard_finished_one(s);
}
