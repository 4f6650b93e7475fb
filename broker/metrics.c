/* SPDX-License-Identifier: Apache-2.0
 *
 * /metrics: the engine's counters in Prometheus' text exposition format 0.0.4. Names and labels are an interface:
 * tests/server/test_metrics.py holds them fast.
 */
#include "engine_parts.h"

#include <stdio.h>
#include <unistd.h>

static void family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: names of resources are DNS names, but the form escapes what could break it all the same. */
static void label(struct buf *out, const char *value)
{
    buf_put_char(out, '"');
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            buf_put_char(out, '\\');
        buf_put_char(out, *value == '\n' ? ' ' : *value);
    }
    buf_put_char(out, '"');
}

static void named(struct buf *out, const char *metric, const char *kind, const char *namespace_name, const char *name,
                  const char *extra, uint64_t value)
{
    buf_printf(out, "%s{namespace=", metric);
    label(out, namespace_name);
    buf_printf(out, ",%s=", kind);
    label(out, name);
    buf_printf(out, "%s} ", extra);
    buf_put_u64(out, value);
    buf_put_char(out, '\n');
}

static uint64_t get(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void ingress(struct engine *e, struct buf *out)
{
    uint64_t refused[REFUSED_COUNT] = {0}, guard = 0, timeout = 0, head = 0, large = 0, open = 0;
    for (size_t i = 0; i < e->shard_count; i++) {
        struct shard *s = e->shards[i];
        struct http_server_stats stats = {0};
        http_server_stats(s->ingress, &stats);
        guard += stats.refused_guard, timeout += stats.refused_timeout, head += stats.refused_head,
            large += stats.refused_too_large;
        open += stats.connections_open;
        for (int k = 0; k < REFUSED_COUNT; k++)
            refused[k] += atomic_load_explicit(&s->counters.refused[k], memory_order_relaxed);
    }
    refused[REFUSED_TOO_LARGE] += large;
    family(out, "leat_events_refused_total", "counter", "Requests that did not become events, by reason.");
    for (int k = 0; k < REFUSED_COUNT; k++)
        buf_printf(out, "leat_events_refused_total{reason=\"%s\"} %llu\n", refusal_names[k],
                   (unsigned long long)refused[k]);
    buf_printf(out, "leat_events_refused_total{reason=\"malformed_http\"} %llu\n", (unsigned long long)guard);
    buf_printf(out, "leat_events_refused_total{reason=\"timeout\"} %llu\n", (unsigned long long)timeout);
    buf_printf(out, "leat_events_refused_total{reason=\"headers_too_large\"} %llu\n", (unsigned long long)head);
    family(out, "leat_ingress_connections", "gauge", "Open connections of the ingress listener.");
    buf_printf(out, "leat_ingress_connections %llu\n", (unsigned long long)open);
}

static void channels(struct engine *e, struct buf *out)
{
    family(out, "leat_events_accepted_total", "counter", "Events that a channel took.");
    list_each(l, tmp, &e->channels) {
        struct engine_channel *c = container_of(l, struct engine_channel, link);
        named(out, "leat_events_accepted_total", "channel", c->label_namespace, c->label_name, "",
              atomic_load_explicit(&c->accepted, memory_order_relaxed));
    }
    family(out, "leat_channel_bytes", "gauge", "Bytes that a channel keeps for its subscriptions.");
    list_each(k, next, &e->channels) {
        struct engine_channel *c = container_of(k, struct engine_channel, link);
        struct bus_probe probe = {0};
        if (c->ready)
            c->bus->bus->ops->probe(c->bus->bus, c->handle, &probe);
        named(out, "leat_channel_bytes", "channel", c->label_namespace, c->label_name, "", probe.bytes);
    }
}

struct counter { /* one family over all subscriptions */
    const char *name, *type, *help, *extra;
    size_t offset; /* in struct dispatch_counters */
};

static const struct counter counters[] = {
    {"leat_deliveries_total", "counter", "Events whose delivery ended, by how.", ",end=\"delivered\"",
     offsetof(struct dispatch_counters, delivered)},
    {"leat_deliveries_total", NULL, NULL, ",end=\"dead_lettered\"", offsetof(struct dispatch_counters, dead_lettered)},
    {"leat_deliveries_total", NULL, NULL, ",end=\"parked\"", offsetof(struct dispatch_counters, parked)},
    {"leat_delivery_attempts_total", "counter", "Requests to subscribers, reply and dead letter sinks.", "",
     offsetof(struct dispatch_counters, attempts)},
    {"leat_delivery_retries_total", "counter", "Attempts after the first.", "",
     offsetof(struct dispatch_counters, retries)},
    {"leat_delivery_failures_total", "counter", "Attempts that failed.", "",
     offsetof(struct dispatch_counters, failed_attempts)},
    {"leat_replies_total", "counter", "Replies sent on.", "", offsetof(struct dispatch_counters, replies)},
    {"leat_replies_ignored_total", "counter", "Replies without a place to go, or no CloudEvents.", "",
     offsetof(struct dispatch_counters, replies_ignored)},
    {"leat_deliveries_in_flight", "gauge", "Events taken from the bus and not yet ended.", "",
     offsetof(struct dispatch_counters, in_flight)},
};

static void subscriptions(struct engine *e, struct buf *out)
{
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        const struct counter *c = &counters[i];
        if (c->help)
            family(out, c->name, c->type, c->help);
        list_each(l, tmp, &e->subscriptions) {
            struct engine_subscription *s = container_of(l, struct engine_subscription, link);
            named(out, c->name, "subscription", s->label_namespace, s->label_name, c->extra,
                  get((const uint64_t *)(const void *)((const char *)&s->counters + c->offset)));
        }
    }
    family(out, "leat_backlog_events", "gauge", "Events that wait for a subscription or are under way.");
    list_each(k, next, &e->subscriptions) {
        struct engine_subscription *s = container_of(k, struct engine_subscription, link);
        struct bus_probe probe = {0};
        if (s->handle)
            s->bus->bus->ops->probe_subscription(s->bus->bus, s->handle, &probe);
        named(out, "leat_backlog_events", "subscription", s->label_namespace, s->label_name, "", probe.events);
    }
    family(out, "leat_parked_events", "gauge",
           "Events that neither subscriber nor dead letter sink took, kept in the dead-letter channel.");
    list_each(m, after, &e->subscriptions) {
        struct engine_subscription *s = container_of(m, struct engine_subscription, link);
        struct bus_probe probe = {0};
        if (s->parked_handle)
            s->bus->bus->ops->probe_subscription(s->bus->bus, s->parked_handle, &probe);
        named(out, "leat_parked_events", "subscription", s->label_namespace, s->label_name, "", probe.events);
    }
}

static void sources(struct engine *e, struct buf *out)
{
    static const struct {
        const char *extra;
        size_t offset;
    } results[] = {
        {",result=\"emitted\"", offsetof(struct source_counters, emitted)},
        {",result=\"ignored\"", offsetof(struct source_counters, ignored)},
        {",result=\"refused_signature\"", offsetof(struct source_counters, refused_signature)},
        {",result=\"refused_invalid\"", offsetof(struct source_counters, refused_invalid)},
        {",result=\"failed\"", offsetof(struct source_counters, failed)},
    };
    family(out, "leat_source_events_total", "counter", "What a source received, by what became of it.");
    list_each(l, tmp, &e->sources) {
        struct engine_source *s = container_of(l, struct engine_source, link);
        for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
            named(out, "leat_source_events_total", "source", s->label_namespace, s->label_name, results[i].extra,
                  get((const uint64_t *)(const void *)((const char *)&s->counters + results[i].offset)));
    }
}

static void process(struct buf *out)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%*u %lu", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    family(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
    buf_printf(out, "process_resident_memory_bytes %llu\n",
               (unsigned long long)pages * (unsigned long long)sysconf(_SC_PAGESIZE));
    family(out, "leat_build_info", "gauge", "The version, as a label.");
    buf_printf(out, "leat_build_info{version=\"%s\"} 1\n", LEAT_VERSION);
}

void engine_metrics(struct engine *e, struct buf *out)
{
    ingress(e, out);
    channels(e, out);
    subscriptions(e, out);
    sources(e, out);
    process(out);
}
