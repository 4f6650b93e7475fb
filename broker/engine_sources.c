/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's sources: which of them a plan keeps, and their registration at the origin. What takes webhooks and sends
 * events is on the shards (shard_route.c).
 */
#include "engine_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

void engine_source_free(struct engine_source *s)
{
    list_remove(&s->link);
    plan_unref(s->plan);
    engine_health_source_fini(s);
    free(s->key);
    free(s->label_namespace);
    free(s->label_name);
    free(s);
}

static bool make_source(struct engine *e, size_t i)
{
    struct plan *plan = e->next->plan;
    const struct plan_source *p = &plan->sources[i];
    struct engine_source *s = calloc(1, sizeof *s);
    if (!s)
        return false;
    list_push_back(&e->sources, &s->link);
    s->engine = e;
    s->wanted = true;
    s->ops = source_find(p->spec.type);
    s->key = strdup(p->key);
    s->label_namespace = strdup(p->spec.namespace_name);
    s->label_name = strdup(p->label ? p->label : p->spec.name);
    s->plan = plan_ref(plan);
    s->spec = p;
    if (s->key && s->ops && s->ops->one_loop && e->reports.place)
        s->counters.place = s->place_told = e->reports.place(e->reports.arg, s->key);
    if (!s->ops || !s->key || !s->label_namespace || !s->label_name) {
        engine_source_free(s);
        return false;
    }
    e->next->sources[i] = s;
    return true;
}

static bool same_params(const struct source_param *a, size_t n, const struct source_param *b, size_t m)
{
    if (n != m)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(a[i].name, b[i].name) != 0 || strcmp(a[i].value, b[i].value) != 0)
            return false;
    return true;
}

static bool same_source(const struct plan_source *a, const struct plan_source *b)
{
    return strcmp(a->uid, b->uid) == 0 && strcmp(a->spec.type, b->spec.type) == 0 &&
           same_params(a->spec.params, a->spec.param_count, b->spec.params, b->spec.param_count);
}

void engine_sources_choose(struct engine *e)
{
    const struct plan *p = e->next->plan;
    list_each(l, tmp, &e->sources) {
        struct engine_source *s = container_of(l, struct engine_source, link);
        bool kept = false;
        for (size_t i = 0; i < p->source_count && s->wanted && !kept; i++) {
            kept = strcmp(s->key, p->sources[i].key) == 0 && same_source(s->spec, &p->sources[i]);
            if (kept)
                e->next->sources[i] = s;
        }
        s->wanted = kept;
    }
    for (size_t i = 0; i < p->source_count && !e->out_of_memory; i++)
        if (!e->next->sources[i])
            e->out_of_memory = !make_source(e, i);
}

static void reported(void *arg, bool ready, const char *reason, const char *message, const char *webhook_id)
{
    struct engine_source *s = arg;
    struct engine *e = s->engine;
    if (!s->ops->http_head) { /* there is no webhook: it is the source itself that stands so */
        log_line(ready ? LOG_INFO : LOG_WARN, "source.state", "source=%s ready=%s reason=%s text=%s", log_value(s->key),
                 ready ? "true" : "false", reason ? reason : "", log_value(message ? message : ""));
        engine_source_state(e, s->key, ready ? NULL : reason, message);
    } else if (e->reports.source)
        e->reports.source(e->reports.arg, s->key, ready, reason, message, webhook_id);
}

void engine_source_state(struct engine *e, const char *key, const char *reason, const char *message)
{
    if (e->reports.source_state)
        e->reports.source_state(e->reports.arg, key, reason, message);
}

static void register_source(struct engine_source *s)
{
    struct engine *e = s->engine;
    char url[1024];
    const char *where = NULL;
    if (!s->ops->register_start || s->registration || s->leaving)
        return;
    if (e->options.hooks_url &&
        snprintf(url, sizeof url, "%s%s", e->options.hooks_url, s->spec->path) < (int)sizeof url)
        where = url;
    enum err err =
        s->ops->register_start(&s->spec->spec, e->control, e->client, where, NULL, reported, s, &s->registration);
    if (err != OK)
        log_line(LOG_ERROR, "source.failed", "source=%s error=%s", log_value(s->key), err_name(err));
}

static void unregistered(void *arg)
{
    struct engine_source *s = arg;
    struct engine *e = s->engine;
    engine_source_free(s);
    e->unregistering--;
    engine_stop_check(e);
}

void engine_source_unregister(struct engine_source *s, bool remove)
{
    if (s->leaving)
        return;
    s->leaving = true;
    s->wanted = false;
    s->engine->unregistering++;
    if (!s->registration) {
        unregistered(s);
        return;
    }
    struct source_registration *r = s->registration;
    s->registration = NULL;
    s->ops->register_stop(r, remove, unregistered, s);
}

void engine_sources_register(struct engine *e)
{
    if (!e->options.register_sources)
        return;
    engine_places_watch(e);
    engine_feeds_left(e);
    list_each(l, tmp, &e->sources)
        register_source(container_of(l, struct engine_source, link));
}
