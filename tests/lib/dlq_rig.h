/* SPDX-License-Identifier: Apache-2.0
 *
 * A bench for sessions on parked events: an engine of two loops that the test turns, a bus, one subscription with its
 * dead-letter channel.
 */
#ifndef LEAT_DLQ_RIG_H
#define LEAT_DLQ_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../broker/dlq_parts.h"
#include "fault.h"

#define LOOPS 2
#define TURNS_MAX 30000 /* a fact that is not there by then never comes */
#define MIB (1u << 20)

struct bench {
    struct clock_fake clock;
    struct engine engine;
    struct shard shards[LOOPS], *shard_list[LOOPS];
    struct loop *loops[LOOPS];
    struct bus_env env;
    struct engine_bus bus;
    struct engine_channel parked; /* as the engine sees it */
    struct bus_channel *channel;
    struct engine_subscription *subscription;
    unsigned ops; /* operations under way */
    bool stopped;
    /* The last collection. */
    struct dlq_collection collection;
    enum err error;
    bool collected;
};

static struct bench *bench; /* of the test under way */

static inline void turn(void)
{
    clock_fake_advance(&bench->clock, NS_PER_MS);
    for (size_t i = 0; i < LOOPS; i++)
        assert_int_equal(loop_turn(bench->loops[i], 0), OK);
    assert_int_equal(loop_turn(bench->engine.control, 0), OK);
}

#define until(fact)                                                                                                    \
    do {                                                                                                               \
        for (int turns_ = 0; !(fact); turns_++) {                                                                      \
            if (turns_ == TURNS_MAX)                                                                                   \
                fail_msg("never came: %s", #fact);                                                                     \
            turn();                                                                                                    \
        }                                                                                                              \
    } while (0)

static inline void op_done(struct bus_op *op, enum err e)
{
    assert_int_equal(e, OK);
    bench->ops--;
    free(op);
}

static inline struct bus_op *op(void)
{
    struct bus_op *o = calloc(1, sizeof *o);
    o->done = op_done;
    bench->ops++;
    return o;
}

/* ---- the bench ---- */

static inline void open_bus(const char *type, const struct bus_param *params, size_t count)
{
    struct diag d = {0};
    bench->env = (struct bus_env){.control = bench->engine.control, .loops = bench->loops, .loop_count = LOOPS};
    assert_int_equal(bus_find(type)->open(&bench->env, params, count, &bench->bus.bus, &d), OK);
    for (size_t i = 0; i < LOOPS; i++)
        assert_int_equal(bench->bus.bus->ops->bind(bench->bus.bus, bench->loops[i]), OK);
}

static inline void make_subscription(void)
{
    static const struct bus_param capacity[] = {{"capacity", "128MiB"}};
    struct engine_subscription *s = calloc(1, sizeof *s + LOOPS * sizeof(void *));
    struct bus *bus = bench->bus.bus;
    struct diag d = {0};
    assert_int_equal(bus->ops->provision(bus, SLICE("parked"), capacity, 1, &bench->channel, op(), &d), OK);
    until(bench->ops == 0);
    assert_int_equal(
        bus->ops->subscribe(bus, bench->channel, SLICE("p"), NULL, NULL, NULL, 0, &s->parked_handle, op(), &d), OK);
    until(bench->ops == 0);
    s->key = strdup("Subscription.messaging.knative.dev/default/s");
    s->cursor = "uid";
    s->bus = s->parked_bus = bench->parked.bus = &bench->bus;
    s->parked = &bench->parked;
    s->engine = &bench->engine;
    s->wanted = true;
    s->parked_ready = true;
    list_push_back(&bench->engine.subscriptions, &s->link);
    bench->subscription = s;
}

static inline void begin_on(const char *type, const struct bus_param *params, size_t count)
{
    bench = calloc(1, sizeof *bench);
    clock_fake_init(&bench->clock, NS_PER_S, 1000000000000000000);
    assert_int_equal(loop_new(&bench->clock.base, 4096, &bench->engine.control), OK);
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(loop_new(&bench->clock.base, 65536, &bench->loops[i]), OK);
        bench->shards[i] = (struct shard){.engine = &bench->engine, .index = i, .loop = bench->loops[i]};
        bench->shard_list[i] = &bench->shards[i];
    }
    bench->engine.shards = bench->shard_list;
    bench->engine.shard_count = LOOPS;
    list_init(&bench->engine.subscriptions);
    task_list_init(&bench->engine.tasks, &bench->clock.base);
    dlq_init(&bench->engine.dlq, &bench->engine);
    open_bus(type, params, count);
    make_subscription();
}

static inline int begin(void **state)
{
    static const struct bus_param total = {"total", "1GiB"};
    (void)state;
    begin_on("memory", &total, 1);
    return 0;
}

static inline int begin_faulty(void **state)
{
    static const struct bus_param params[] = {{"seed", "5"}, {"revoke", "0.4"}};
    (void)state;
    begin_on("faulty", params, 2);
    return 0;
}

static inline void engine_stopped(struct engine *e)
{
    (void)e;
    bench->stopped = true;
}

/* Whatever the test left, the stop ends it. */
static inline int end(void **state)
{
    struct bus *bus = bench->bus.bus;
    (void)state;
    task_cancel_all(&bench->engine.tasks);
    dlq_stop_begin(&bench->engine.dlq);
    dlq_stop(&bench->engine.dlq, engine_stopped);
    until(bench->stopped);
    dlq_fini(&bench->engine.dlq);
    task_list_fini(&bench->engine.tasks);
    bus->ops->stop(bus, op());
    until(bench->ops == 0);
    for (size_t i = 0; i < LOOPS; i++)
        bus->ops->unbind(bus, bench->loops[i]);
    bus->ops->fini(bus);
    for (size_t i = 0; i < LOOPS; i++)
        loop_free(bench->loops[i]);
    loop_free(bench->engine.control);
    free(bench->subscription->key);
    free(bench->subscription);
    free(bench);
    return 0;
}

/* ---- what tests do ---- */

static inline uint64_t parked(void)
{
    struct bus_probe probe = {0};
    struct bus *bus = bench->bus.bus;
    bus->ops->probe_subscription(bus, bench->subscription->parked_handle, &probe);
    return probe.events;
}

static inline void appended(struct bus_append *a, enum err e)
{
    assert_int_equal(e, OK);
    bench->ops--;
    free(a);
}

/* `count` events of so many bytes, dealt over the loops; each a millisecond younger than the one before. */
static inline void park(unsigned count, size_t bytes)
{
    char *data = calloc(1, bytes + 1);
    uint64_t before = parked();
    for (unsigned i = 0; i < count; i++) {
        struct bus_append *a = calloc(1, sizeof *a);
        const struct ce_event *e;
        struct ce_builder b;
        char id[16], at[64];
        snprintf(id, sizeof id, "%u", i);
        snprintf(at, sizeof at, "2001-09-09T01:%02u:%02u.%03uZ", i / 60000, i / 1000 % 60, i % 1000);
        ce_builder_init(&b);
        ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(id));
        ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("/s"));
        ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
        ce_builder_set(&b, SLICE("leatparkedat"), CE_STRING, slice_str(at));
        ce_builder_data(&b, CE_DATA_BYTES, slice_of(data, bytes));
        assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
        a->done = appended;
        bench->ops++;
        struct bus *bus = bench->bus.bus;
        assert_int_equal(bus->ops->append(bus, bench->channel, e, a, bench->loops[i % LOOPS]), OK);
        ce_event_unref(e);
    }
    free(data);
    until(bench->ops == 0);
    until(parked() == before + count);
}

static inline bool any(void *arg, const struct engine_subscription *s)
{
    (void)arg;
    (void)s;
    return true;
}

static inline void on_collected(struct dlq_collection *c, enum err e)
{
    (void)c;
    bench->error = e;
    bench->collected = true;
}

/* Looks; the collection stays open. */
static inline enum err look(void)
{
    bench->collection = (struct dlq_collection){.done = on_collected};
    bench->collected = false;
    enum err e = dlq_collection_open(&bench->engine.dlq, any, NULL, &bench->collection);
    if (e != OK)
        return e;
    dlq_collection_fill(&bench->collection);
    until(bench->collected);
    return bench->error;
}

static inline void close_look(void)
{
    dlq_collection_close(&bench->collection);
}

static inline bool nobody_looks(void)
{
    return list_empty(&bench->engine.dlq.sessions);
}

/* Starts a discard of everything. */
static inline struct task *discard_all(void)
{
    struct dlq_order order = {.selection.all = true};
    struct task *t;
    assert_int_equal(look(), OK);
    assert_int_equal(dlq_job_start(&bench->engine.dlq, "all", &order, &bench->collection, &t), OK);
    close_look();
    return t;
}

#endif
