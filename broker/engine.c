/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's life: loops, listeners, buses; and the end of it all. What happens when a plan changes is in
 * engine_apply.c.
 */
#include "engine_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define LOOPS_MAX 256    /* more cores than that are not useful to one event router */
#define BROKEN_MAX 16384 /* of texts about buses that could not be opened */
/* While stopping: how often the backlog of a bus that keeps nothing is looked at. */
#define BACKLOG_POLL_NS (20 * NS_PER_MS)

const struct engine_options *engine_options_of(const struct engine *e)
{
    return &e->options;
}

struct loop *engine_control(const struct engine *e)
{
    return e->control;
}

const struct clock *engine_clock(const struct engine *e)
{
    return loop_clock(e->control);
}

const struct routing *engine_routing(const struct engine *e)
{
    return e->current;
}

size_t engine_shard_count(const struct engine *e)
{
    return e->shard_count;
}

struct shard *engine_shard(const struct engine *e, size_t i)
{
    assert(i < e->shard_count);
    return e->shards[i];
}

void engine_observed(struct engine *e, uint32_t channel, const struct ce_event *event)
{
    const struct routing *r = e->current;
    for (size_t i = 0; r && e->reports.observed && i < r->plan->channel_count; i++)
        if (r->channels[i]->subject == channel)
            e->reports.observed(e->reports.arg, &r->plan->channels[i], event);
}

bool engine_traces(const struct engine *e)
{
    return e->options.trace_bytes > 0;
}

const uint64_t *engine_trace_key(const struct engine *e)
{
    return e->trace_key;
}

struct task_list *engine_tasks(struct engine *e)
{
    return &e->tasks;
}

struct dlq *engine_dlq(struct engine *e)
{
    return &e->dlq;
}

struct bus_probe engine_probe(const struct engine_bus *bus, struct bus_subscription *handle)
{
    struct bus_probe probe = {0};
    if (handle)
        bus->bus->ops->probe_subscription(bus->bus, handle, &probe);
    return probe;
}

void engine_each_subscription(struct engine *e, void (*visit)(void *arg, const struct engine_subscription *s),
                              void *arg)
{
    list_each(l, tmp, &e->subscriptions)
        visit(arg, container_of(l, struct engine_subscription, link));
}

void engine_report_made(struct engine *e, const char *key, enum err err, const char *text)
{
    if (e->reports.made)
        e->reports.made(e->reports.arg, key, err, text);
}

void engine_set_reports(struct engine *e, const struct engine_reports *reports)
{
    e->reports = *reports;
}

const char *engine_ingress(const struct engine *e)
{
    return http_listener_address(e->ingress);
}

const char *engine_hooks(const struct engine *e)
{
    return e->hooks ? http_listener_address(e->hooks) : NULL;
}

unsigned engine_loops(const struct engine *e)
{
    long n = e->options.loops ? (long)e->options.loops : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > LOOPS_MAX ? LOOPS_MAX : (unsigned)n;
}

static enum err make_shards(struct engine *e, struct diag *d)
{
    unsigned n = engine_loops(e);
    e->shards = calloc(n, sizeof(struct shard *));
    e->loops = calloc(n, sizeof(struct loop *));
    if (!e->shards || !e->loops)
        return diag_set(d, ERR_NOMEM, "out of memory");
    while (e->shard_count < n) {
        enum err err = shard_new(e, e->shard_count, &e->shards[e->shard_count], d);
        if (err != OK)
            return err;
        e->shards[e->shard_count]->shard_count = n;
        e->loops[e->shard_count] = e->shards[e->shard_count]->loop;
        e->shard_count++;
    }
    return OK;
}

enum err engine_new(struct loop *control, const struct engine_options *options, struct engine **out, struct diag *d)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return diag_set(d, ERR_NOMEM, "out of memory");
    e->control = control;
    e->options = *options;
    list_init(&e->buses);
    list_init(&e->channels);
    list_init(&e->subscriptions);
    list_init(&e->sources);
    task_list_init(&e->tasks, loop_clock(control));
    buf_init(&e->broken, BROKEN_MAX);
    buf_init(&e->broken_before, BROKEN_MAX);
    engine_faults_init(e);
    dlq_init(&e->dlq, e);
    list_init(&e->replays);
    loop_timer_init(&e->timer, NULL);
    engine_places_init(e);
    engine_health_init(e);
    engine_verify_init(e);
    struct prng random;
    prng_seed_system(&random);
    e->trace_key[0] = prng_next(&random);
    e->trace_key[1] = prng_next(&random);
    enum err err = make_shards(e, d);
    if (err == OK)
        err = http_client_new(control, &options->client, &e->client);
    for (size_t i = 0; i < e->shard_count && err == OK; i++)
        err = shard_start(e->shards[i]);
    if (err != OK) {
        engine_free(e);
        return err;
    }
    *out = e;
    return OK;
}

static enum err open_listener(struct engine *e, const char *address, bool hooks, struct http_listener **out,
                              struct diag *d)
{
    struct http_server *servers[LOOPS_MAX];
    for (size_t i = 0; i < e->shard_count; i++)
        servers[i] = hooks ? e->shards[i]->hooks : e->shards[i]->ingress;
    return http_listener_open(e->control, address, servers, e->shard_count, out, d);
}

enum err engine_listen(struct engine *e, struct diag *d)
{
    enum err err =
        e->options.ingress_address ? open_listener(e, e->options.ingress_address, false, &e->ingress, d) : OK;
    if (err == OK && e->options.hooks_address)
        err = open_listener(e, e->options.hooks_address, true, &e->hooks, d);
    return err;
}

bool engine_ready(struct engine *e, struct buf *why)
{
    bool ready = !e->stopped; /* it takes no more events, and hands over what it has: others should be asked */
    if (e->stopped && why)
        buf_put_str(why, "[-] stopping\n");
    if (!e->applied) {
        ready = false;
        if (why)
            buf_put_str(why, "[-] plan: not in force yet\n");
    } else if (why) {
        buf_put_str(why, "[+] plan: in force\n");
    }
    if (e->options.forever) /* there is one thing to do, and nobody reads its conditions */
        ready = engine_faultless(e, why) && ready;
    return engine_buses_ready(e, why) && ready;
}

/* ---- stopping: listeners → drain servers → backlog → streams → replays → sessions on parked events → registrations →
 * buses → threads ---- */

static void free_parts(struct engine *e)
{
    list_each(l, tmp, &e->sources)
        engine_source_free(container_of(l, struct engine_source, link));
    list_each(k, next, &e->subscriptions)
        engine_subscription_free(container_of(k, struct engine_subscription, link));
    list_each(m, after, &e->channels)
        engine_channel_free(container_of(m, struct engine_channel, link));
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    http_listener_close(e->ingress);
    http_listener_close(e->hooks);
    for (size_t i = 0; i < e->shard_count; i++)
        shard_join(e->shards[i]);
    list_each(l, tmp, &e->buses) {
        struct engine_bus *b = container_of(l, struct engine_bus, link);
        for (size_t i = 0; i < e->shard_count; i++)
            b->bus->ops->unbind(b->bus, e->shards[i]->loop);
    }
    free_parts(e);
    list_each(m, next, &e->buses)
        engine_bus_free(container_of(m, struct engine_bus, link));
    for (size_t i = 0; i < e->shard_count; i++)
        shard_free(e->shards[i]); /* after the buses: their letters and tasks may still be with the loops */
    http_client_free(e->client);
    dlq_fini(&e->dlq);
    task_list_fini(&e->tasks);
    buf_fini(&e->broken);
    buf_fini(&e->broken_before);
    plan_unref(e->waiting);
    routing_unref(e->current);
    free(e->shards);
    free(e->loops);
    free(e);
}

static bool is_durable(const struct engine_bus *b)
{
    return b && b->bus->capabilities & BUS_CAP_DURABLE;
}

/* Events that wait on buses that are durable, or on those that are not, which only this process has. `all`: also what
 * nobody drains, of paused ones and parked. */
static uint64_t backlog(struct engine *e, bool durable, bool all)
{
    uint64_t left = 0;
    list_each(l, tmp, &e->subscriptions) {
        const struct engine_subscription *s = container_of(l, struct engine_subscription, link);
        if (is_durable(s->bus) == durable && (all || !s->paused))
            left += engine_probe(s->bus, s->handle).events;
        if (is_durable(s->parked_bus) == durable && all)
            left += engine_probe(s->parked_bus, s->parked_handle).events;
    }
    return left;
}

static void stop_next_bus(struct engine *e);

static void bus_stopped(struct bus_op *op, enum err err)
{
    struct engine *e = container_of(op, struct engine, stop_op);
    (void)err;
    stop_next_bus(e);
}

void engine_stop_check(struct engine *e)
{
    if (e->buses_stopped && e->unregistering == 0 && e->closing == 0 && e->parkers == 0)
        e->stopped(e->stopped_arg, &e->rest);
}

/* Buses stop one after the other; then all is done. */
static void stop_next_bus(struct engine *e)
{
    if (e->stopping_bus == &e->buses) {
        e->buses_stopped = true;
        engine_stop_check(e);
        return;
    }
    struct engine_bus *b = container_of(e->stopping_bus, struct engine_bus, link);
    e->stopping_bus = b->link.next;
    if (b->closing) { /* it is stopping, or has stopped */
        stop_next_bus(e);
        return;
    }
    e->stop_op = (struct bus_op){.done = bus_stopped};
    b->bus->ops->stop(b->bus, &e->stop_op);
}

static void sessions_ended(struct engine *e)
{
    e->rest = (struct engine_rest){.lost = backlog(e, false, true), .kept = backlog(e, true, true)};
    engine_places_stop(e);
    list_each(l, tmp, &e->sources) /* not before: until now the shards ran them */
        engine_source_unregister(container_of(l, struct engine_source, link), false);
    e->stopping_bus = e->buses.next;
    stop_next_bus(e);
}

static void replays_stopped(struct engine *e)
{
    dlq_stop(&e->dlq, sessions_ended);
}

void engine_replays_check(struct engine *e)
{
    void (*stopped)(struct engine *) = e->replays_stopped;
    if (!stopped || !list_empty(&e->replays))
        return;
    e->replays_stopped = NULL;
    stopped(e);
}

static void streams_stopped(struct engine *e)
{
    e->replays_stopped = replays_stopped; /* they are canceled, and nothing takes their events any more */
    engine_replays_check(e);
}

static void stop_streams(struct engine *e)
{
    uint64_t now = loop_now_ns(e->control);
    uint64_t left = now < e->stop_deadline_ns ? e->stop_deadline_ns - now : 0;
    for (size_t i = 0; i < e->shard_count; i++)
        e->shards[i]->order_deadline_ns = left;
    engine_order_all(e, SHARD_STOP, streams_stopped);
}

static void look_at_backlog(struct loop_timer *t)
{
    struct engine *e = container_of(t, struct engine, timer);
    if (backlog(e, false, false) == 0 || loop_now_ns(e->control) >= e->stop_deadline_ns)
        stop_streams(e);
    else
        loop_timer_start(e->control, t, BACKLOG_POLL_NS);
}

static void drained(struct engine *e)
{
    e->timer.run = look_at_backlog;
    look_at_backlog(&e->timer);
}

static void close_listeners(struct engine *e)
{
    http_listener_close(e->ingress);
    http_listener_close(e->hooks);
    e->ingress = e->hooks = NULL;
}

/* Whether commands run that post their events, perhaps here: what they send last is still taken. */
static bool posts(const struct engine *e)
{
    list_each(l, tmp, &e->sources) {
        const struct source_ops *ops = container_of(l, struct engine_source, link)->ops;
        if (ops && ops->posts)
            return true;
    }
    return false;
}

/* Nothing else runs on the shards now: a plan that was being applied is in force or given up. */
static void quiet(struct engine *e)
{
    close_listeners(e);
    engine_order_all(e, SHARD_DRAIN, drained);
}

void engine_stop_begin(struct engine *e)
{
    e->stop_wanted = false;
    if (posts(e))
        engine_order_all(e, SHARD_QUIET, quiet);
    else
        quiet(e);
}

void engine_stop(struct engine *e, void (*done)(void *arg, const struct engine_rest *rest), void *arg)
{
    assert(!e->stopped);
    e->stopped = done;
    e->stopped_arg = arg;
    e->stop_deadline_ns = loop_now_ns(e->control) + e->options.drain_ns;
    engine_faults_stop(e);
    engine_health_stop(e);
    engine_verify_stop(e);
    if (!posts(e))
        close_listeners(e);
    task_cancel_all(&e->tasks);
    dlq_stop_begin(&e->dlq);
    e->stop_wanted = true;
    if (!e->applying)
        engine_stop_begin(e);
}
