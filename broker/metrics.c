/* SPDX-License-Identifier: Apache-2.0
 *
 * /metrics: the engine's counters in Prometheus' text exposition format 0.0.4. Names and labels are an interface:
 * tests/server/test_metrics.py holds them fast.
 */
#include "engine_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static uint64_t get(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* ---- rows: the things that a family has one series for each of ---- */

/* A series must not come twice, but a name can: of a subscription that was deleted and made anew while the first one's
 * parked events are still there, and of resources of different kinds. So rows are sorted by their labels, and
 * neighbours with the same labels are summed. */
struct row {
    const char *namespace_name, *name;
    const void *thing;
};
struct rows {
    const char *kind; /* "channel": the label of the name */
    struct row *list;
    size_t count;
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int by_namespace = strcmp(x->namespace_name, y->namespace_name);
    return by_namespace ? by_namespace : strcmp(x->name, y->name);
}

/* Without memory `out` fails and there are no rows. */
static struct rows make_rows(const char *kind, struct list *things, struct row (*row)(struct list *l), struct buf *out)
{
    struct rows r = {.kind = kind};
    size_t n = 0;
    list_each(l, tmp, things)
        n++;
    r.list = malloc((n + 1) * sizeof *r.list);
    if (!r.list) {
        out->error = ERR_NOMEM;
        return r;
    }
    list_each(k, next, things)
        r.list[r.count++] = row(k);
    qsort(r.list, r.count, sizeof *r.list, compare_rows);
    return r;
}

/* One series for each row; `extra` are further labels with a comma before them; `offset` is for `read` alone. */
static void series(struct buf *out, const struct rows *r, const char *metric, const char *extra,
                   uint64_t (*read)(const void *thing, size_t offset), size_t offset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct row *row = &r->list[i];
        sum += read(row->thing, offset);
        if (i + 1 < r->count && compare_rows(row, row + 1) == 0)
            continue;
        buf_printf(out, "%s{namespace=", metric);
        label(out, row->namespace_name);
        buf_printf(out, ",%s=", r->kind);
        label(out, row->name);
        buf_printf(out, "%s} ", extra);
        buf_put_u64(out, sum);
        buf_put_char(out, '\n');
        sum = 0;
    }
}

/* ---- families ---- */

static void ingress(struct engine *e, struct buf *out)
{
    uint64_t refused[REFUSED_COUNT] = {0}, requests = 0, guard = 0, timeout = 0, head = 0, large = 0, open = 0;
    for (size_t i = 0; i < e->shard_count; i++) {
        struct shard *s = e->shards[i];
        struct http_server_stats stats = {0};
        http_server_stats(s->ingress, &stats);
        guard += stats.refused_guard, timeout += stats.refused_timeout, head += stats.refused_head,
            large += stats.refused_too_large;
        open += stats.connections_open;
        requests += atomic_load_explicit(&s->counters.requests, memory_order_relaxed);
        for (int k = 0; k < REFUSED_COUNT; k++)
            refused[k] += atomic_load_explicit(&s->counters.refused[k], memory_order_relaxed);
    }
    refused[REFUSED_TOO_LARGE] += large;
    family(out, "leat_requests_total", "counter", "Requests whose events were handed to a channel.");
    buf_printf(out, "leat_requests_total %llu\n", (unsigned long long)requests);
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

static struct row channel_row(struct list *l)
{
    const struct engine_channel *c = container_of(l, struct engine_channel, link);
    return (struct row){c->label_namespace, c->label_name, c};
}

static uint64_t channel_accepted(const void *thing, size_t offset)
{
    (void)offset;
    return atomic_load_explicit(&((const struct engine_channel *)thing)->accepted, memory_order_relaxed);
}

static uint64_t channel_probe(const void *thing, size_t offset)
{
    const struct engine_channel *c = thing;
    struct bus_probe probe = {0};
    if (c->ready)
        c->bus->bus->ops->probe(c->bus->bus, c->handle, &probe);
    return *(const uint64_t *)(const void *)((const char *)&probe + offset);
}

static void channels(struct engine *e, struct buf *out)
{
    struct rows r = make_rows("channel", &e->channels, channel_row, out);
    family(out, "leat_events_accepted_total", "counter", "Events that a channel took.");
    series(out, &r, "leat_events_accepted_total", "", channel_accepted, 0);
    family(out, "leat_events_dropped_total", "counter",
           "Accepted events that no subscription holds any more: there was none, or overflow is drop-oldest.");
    series(out, &r, "leat_events_dropped_total", "", channel_probe, offsetof(struct bus_probe, dropped));
    family(out, "leat_events_unmatched_total", "counter", "Accepted events that no subscription's filter wanted.");
    series(out, &r, "leat_events_unmatched_total", "", channel_probe, offsetof(struct bus_probe, unmatched));
    family(out, "leat_channel_bytes", "gauge", "Bytes that a channel keeps for its subscriptions.");
    series(out, &r, "leat_channel_bytes", "", channel_probe, offsetof(struct bus_probe, bytes));
    free(r.list);
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
    {"leat_deliveries_total", NULL, NULL, ",end=\"filtered\"", offsetof(struct dispatch_counters, filtered)},
    {"leat_deliveries_total", NULL, NULL, ",end=\"expired\"", offsetof(struct dispatch_counters, expired)},
    {"leat_deliveries_total", NULL, NULL, ",end=\"duplicate\"", offsetof(struct dispatch_counters, duplicates)},
    {"leat_delivery_attempts_total", "counter", "Requests to subscribers, reply and dead letter sinks.", "",
     offsetof(struct dispatch_counters, attempts)},
    {"leat_delivery_retries_total", "counter", "Attempts after the first.", "",
     offsetof(struct dispatch_counters, retries)},
    {"leat_delivery_failures_total", "counter", "Attempts that failed.", "",
     offsetof(struct dispatch_counters, failed_attempts)},
    {"leat_replies_total", "counter", "Replies sent on.", "", offsetof(struct dispatch_counters, replies)},
    {"leat_replies_ignored_total", "counter", "Replies without a place to go, or no CloudEvents.", "",
     offsetof(struct dispatch_counters, replies_ignored)},
    {"leat_delivery_batches_total", "counter", "Requests that carried a batch of events.", "",
     offsetof(struct dispatch_counters, batches)},
    {"leat_delivery_loops_total", "counter", "Deliveries given up because the event had spent its last hop.", "",
     offsetof(struct dispatch_counters, loops)},
    {"leat_deliveries_held", "gauge", "Events in flight that wait for their time, their key or their twin.", "",
     offsetof(struct dispatch_counters, held)},
    {"leat_deliveries_in_flight", "gauge", "Events taken from the bus and not yet ended.", "",
     offsetof(struct dispatch_counters, in_flight)},
};

static struct row subscription_row(struct list *l)
{
    const struct engine_subscription *s = container_of(l, struct engine_subscription, link);
    return (struct row){s->label_namespace, s->label_name, s};
}

static uint64_t subscription_counter(const void *thing, size_t offset)
{
    const struct engine_subscription *s = thing;
    uint64_t sum = 0; /* of a gauge too: what one shard took in hand it also counts down */
    for (size_t i = 0; i < s->engine->shard_count; i++)
        sum += get((const uint64_t *)(const void *)((const char *)engine_counted(s, i) + offset));
    return sum;
}

static uint64_t probe_handle(const struct engine_bus *bus, struct bus_subscription *handle, size_t offset)
{
    const struct bus_probe probe = engine_probe(bus, handle);
    return *(const uint64_t *)(const void *)((const char *)&probe + offset);
}

static uint64_t backlog_probe(const void *thing, size_t offset)
{
    const struct engine_subscription *s = thing;
    return probe_handle(s->bus, s->handle, offset);
}

static uint64_t backlog_counting(const void *thing, size_t offset)
{
    const struct engine_subscription *s = thing;
    (void)offset;
    return engine_probe(s->bus, s->handle).counting;
}

static uint64_t parked_probe(const void *thing, size_t offset)
{
    const struct engine_subscription *s = thing;
    return probe_handle(s->parked_bus, s->parked_handle, offset);
}

static uint64_t subscription_paused(const void *thing, size_t offset)
{
    const struct engine_subscription *s = thing;
    (void)offset;
    return s->wanted && s->paused;
}

static void subscriptions(struct engine *e, struct buf *out)
{
    struct rows r = make_rows("subscription", &e->subscriptions, subscription_row, out);
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        const struct counter *c = &counters[i];
        if (c->help)
            family(out, c->name, c->type, c->help);
        series(out, &r, c->name, c->extra, subscription_counter, c->offset);
    }
    family(out, "leat_deliveries_dropped_total", "counter",
           "Events dropped from a subscription's backlog (overflow: drop-oldest, retention; messages too large for an "
           "event), or from its full dead-letter channel.");
    series(out, &r, "leat_deliveries_dropped_total", ",from=\"backlog\"", backlog_probe,
           offsetof(struct bus_probe, dropped));
    series(out, &r, "leat_deliveries_dropped_total", ",from=\"parked\"", parked_probe,
           offsetof(struct bus_probe, dropped));
    family(out, "leat_backlog_events", "gauge", "Events that wait for a subscription or are under way.");
    series(out, &r, "leat_backlog_events", "", backlog_probe, offsetof(struct bus_probe, events));
    family(out, "leat_backlog_counting", "gauge",
           "1 while what the log kept from before the start is still being counted: the backlog is larger than said.");
    series(out, &r, "leat_backlog_counting", "", backlog_counting, 0);
    family(out, "leat_subscription_paused", "gauge",
           "1 while nothing is delivered: paused, or what it names is not there.");
    series(out, &r, "leat_subscription_paused", "", subscription_paused, 0);
    family(out, "leat_parked_events", "gauge",
           "Events that neither subscriber nor dead letter sink took, kept in the dead-letter channel.");
    series(out, &r, "leat_parked_events", "", parked_probe, offsetof(struct bus_probe, events));
    free(r.list);
}

static struct row source_row(struct list *l)
{
    const struct engine_source *s = container_of(l, struct engine_source, link);
    return (struct row){s->label_namespace, s->label_name, s};
}

static uint64_t source_counter(const void *thing, size_t offset)
{
    return get(
        (const uint64_t *)(const void *)((const char *)&((const struct engine_source *)thing)->counters + offset));
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
        {",result=\"missed\"", offsetof(struct source_counters, missed)},
    };
    struct rows r = make_rows("source", &e->sources, source_row, out);
    family(out, "leat_source_events_total", "counter", "What a source received, by what became of it.");
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        series(out, &r, "leat_source_events_total", results[i].extra, source_counter, results[i].offset);
    family(out, "leat_source_restarts_total", "counter", "How often the command of a source was started again.");
    series(out, &r, "leat_source_restarts_total", "", source_counter, offsetof(struct source_counters, restarts));
    free(r.list);
}

static uint64_t bus_probe(const struct engine_bus *b, size_t offset)
{
    struct bus_probe p = {0};
    b->bus->ops->probe(b->bus, NULL, &p);
    return *(const uint64_t *)(const void *)((const char *)&p + offset);
}

static void buses(struct engine *e, struct buf *out)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } families[] = {
        {"leat_bus_commits_total", "Times that a bus waited for its disk to keep what was appended.",
         offsetof(struct bus_probe, commits)},
        {"leat_bus_committed_records_total", "Records that those made durable: events, and where subscriptions stand.",
         offsetof(struct bus_probe, committed)},
        {"leat_bus_lost_records_total", "Records that the disk has damaged; they were skipped.",
         offsetof(struct bus_probe, lost)},
    };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        family(out, families[i].name, "counter", families[i].help);
        list_each(l, tmp, &e->buses) {
            const struct engine_bus *b = container_of(l, struct engine_bus, link);
            buf_printf(out, "%s{bus=", families[i].name);
            label(out, b->key);
            buf_printf(out, "} %llu\n", (unsigned long long)bus_probe(b, families[i].offset));
        }
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
    buses(e, out);
    process(out);
}
