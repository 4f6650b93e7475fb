/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions on parked events, on a memory and on a faulty bus over two loops that the test turns: what is looked at is
 * handed back, bounds hold, tasks end whatever the bus takes back, and no allocation that fails loses an event.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../broker/dlq_parts.h"
#include "../lib/fault.h"

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

static void turn(void)
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

static void op_done(struct bus_op *op, enum err e)
{
    assert_int_equal(e, OK);
    bench->ops--;
    free(op);
}

static struct bus_op *op(void)
{
    struct bus_op *o = calloc(1, sizeof *o);
    o->done = op_done;
    bench->ops++;
    return o;
}

/* ---- the bench ---- */

static void open_bus(const char *type, const struct bus_param *params, size_t count)
{
    struct diag d = {0};
    bench->env = (struct bus_env){.control = bench->engine.control, .loops = bench->loops, .loop_count = LOOPS};
    assert_int_equal(bus_find(type)->open(&bench->env, params, count, &bench->bus.bus, &d), OK);
    for (size_t i = 0; i < LOOPS; i++)
        assert_int_equal(bench->bus.bus->ops->bind(bench->bus.bus, bench->loops[i]), OK);
}

static void make_subscription(void)
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
    s->uid = strdup("uid");
    s->bus = &bench->bus;
    s->engine = &bench->engine;
    s->wanted = s->parked_ready = true;
    list_push_back(&bench->engine.subscriptions, &s->link);
    bench->subscription = s;
}

static void begin_on(const char *type, const struct bus_param *params, size_t count)
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
    dlq_init(&bench->engine.dlq, &bench->engine);
    open_bus(type, params, count);
    make_subscription();
}

static int begin(void **state)
{
    static const struct bus_param total = {"total", "1GiB"};
    (void)state;
    begin_on("memory", &total, 1);
    return 0;
}

static int begin_faulty(void **state)
{
    static const struct bus_param params[] = {{"seed", "5"}, {"revoke", "0.4"}};
    (void)state;
    begin_on("faulty", params, 2);
    return 0;
}

static void engine_stopped(struct engine *e)
{
    (void)e;
    bench->stopped = true;
}

/* Whatever the test left, the stop ends it. */
static int end(void **state)
{
    struct bus *bus = bench->bus.bus;
    (void)state;
    dlq_stop_begin(&bench->engine.dlq);
    dlq_stop(&bench->engine.dlq, engine_stopped);
    until(bench->stopped);
    dlq_fini(&bench->engine.dlq);
    bus->ops->stop(bus, op());
    until(bench->ops == 0);
    for (size_t i = 0; i < LOOPS; i++)
        bus->ops->unbind(bus, bench->loops[i]);
    bus->ops->fini(bus);
    for (size_t i = 0; i < LOOPS; i++)
        loop_free(bench->loops[i]);
    loop_free(bench->engine.control);
    free(bench->subscription->key);
    free(bench->subscription->uid);
    free(bench->subscription);
    free(bench);
    return 0;
}

/* ---- what tests do ---- */

static uint64_t parked(void)
{
    struct bus_probe probe = {0};
    struct bus *bus = bench->bus.bus;
    bus->ops->probe_subscription(bus, bench->subscription->parked_handle, &probe);
    return probe.events;
}

static void appended(struct bus_append *a, enum err e)
{
    assert_int_equal(e, OK);
    bench->ops--;
    free(a);
}

/* `count` events of so many bytes, dealt over the loops; each a millisecond younger than the one before. */
static void park(unsigned count, size_t bytes)
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

static bool any(void *arg, const struct engine_subscription *s)
{
    (void)arg;
    (void)s;
    return true;
}

static void on_collected(struct dlq_collection *c, enum err e)
{
    (void)c;
    bench->error = e;
    bench->collected = true;
}

/* Looks; the collection stays open. */
static enum err look(void)
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

static void close_look(void)
{
    dlq_collection_close(&bench->collection);
}

static bool nobody_looks(void)
{
    return list_empty(&bench->engine.dlq.sessions);
}

/* Starts a discard of everything. */
static struct task *discard_all(void)
{
    struct dlq_order order = {.selection.all = true};
    struct task *t;
    assert_int_equal(look(), OK);
    assert_int_equal(dlq_job_start(&bench->engine.dlq, "all", &order, &bench->collection, &t), OK);
    close_look();
    return t;
}

/* ---- tests ---- */

static void test_looking_takes_nothing(void **state)
{
    (void)state;
    park(300, 10);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(look(), OK);
        assert_int_equal(bench->collection.count, 300);
        assert_false(bench->collection.more);
        for (size_t i = 1; i < 300; i++)
            assert_true(bench->collection.items[i - 1].parked_ns < bench->collection.items[i].parked_ns);
        close_look();
        assert_false(nobody_looks()); /* for a while it is kept for whoever looks next */
        if (again == 0)
            continue;
        until(nobody_looks());
    }
    assert_int_equal(parked(), 300);
    assert_int_equal(look(), OK);
    assert_int_equal(bench->collection.count, 300);
    close_look();
}

static void test_one_who_comes_while_it_is_handed_back(void **state)
{
    (void)state;
    park(20, 10);
    assert_int_equal(look(), OK);
    struct dlq_session *session = bench->collection.sessions[0];
    close_look();
    until(session->resting);
    assert_int_equal(look(), OK); /* attaches once more */
    assert_ptr_equal(bench->collection.sessions[0], session);
    assert_int_equal(bench->collection.count, 20);
    close_look();
    until(nobody_looks());
    assert_int_equal(parked(), 20);
}

static void test_no_more_than_the_bound_is_held(void **state)
{
    (void)state;
    park(DLQ_HELD_MAX + 600, 1);
    assert_int_equal(look(), OK);
    assert_int_equal(bench->collection.count, DLQ_HELD_MAX);
    assert_int_equal(bench->collection.total, DLQ_HELD_MAX + 600);
    assert_true(bench->collection.more);
    close_look();
    struct task *t = discard_all(); /* in rounds */
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_DONE);
    assert_int_equal(t->done, DLQ_HELD_MAX + 600);
    assert_int_equal(parked(), 0);
}

static void test_nor_more_bytes(void **state)
{
    (void)state;
    park(90, MIB);
    assert_int_equal(look(), OK);
    assert_in_range(bench->collection.count, 32, 32 + DLQ_CREDIT + DLQ_CREDIT / 2);
    assert_true(bench->collection.more);
    close_look();
    struct task *t = discard_all();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->done, 90);
    assert_int_equal(parked(), 0);
}

static void test_a_filter_that_matches_nothing_of_what_can_be_seen(void **state)
{
    struct dlq_order order = {0};
    struct task *t;
    (void)state;
    park(DLQ_HELD_MAX + 1, 1);
    assert_int_equal(filter_attribute(FILTER_EXACT, SLICE("type"), SLICE("u"), &order.selection.filter, NULL), OK);
    assert_int_equal(look(), OK);
    assert_int_equal(dlq_job_start(&bench->engine.dlq, "some", &order, &bench->collection, &t), OK);
    close_look();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->done, 0);
    assert_non_null(strstr(t->message, "those beyond were not looked at"));
    assert_int_equal(parked(), DLQ_HELD_MAX + 1);
}

static void test_cancel(void **state)
{
    (void)state;
    park(2000, 10);
    struct task *t = discard_all();
    until(t->done > 0);
    assert_true(task_cancel(t));
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_CANCELED);
    assert_in_range(t->done, 1, 1999);
    assert_int_equal(parked(), 2000 - t->done);
}

static void test_without_a_stream_nothing_is_redriven(void **state)
{
    struct dlq_order order = {.redrive = true, .selection.all = true};
    struct task *t;
    (void)state;
    park(3, 10);
    assert_int_equal(look(), OK);
    assert_int_equal(dlq_job_start(&bench->engine.dlq, "all", &order, &bench->collection, &t), OK);
    close_look();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_FAILED);
    assert_non_null(strstr(t->message, "paused"));
    assert_int_equal(parked(), 3);
}

static void test_a_bus_that_takes_back(void **state)
{
    (void)state;
    park(500, 10);
    assert_int_equal(look(), OK);
    close_look();
    struct task *t = discard_all();
    until(t->state != TASK_RUNNING);
    until(parked() == 500 - t->done);
    for (int rounds = 0; parked() > 0; rounds++) { /* it may have given up, and says so */
        assert_true(rounds < 100);
        t = discard_all();
        until(t->state != TASK_RUNNING);
    }
}

static void test_two_at_once(void **state)
{
    (void)state;
    park(1500, 10);
    struct task *a = discard_all(), *b = discard_all();
    until(a->state != TASK_RUNNING && b->state != TASK_RUNNING);
    assert_int_equal(a->done + b->done, 1500);
    assert_int_equal(a->failed + b->failed, 0);
    assert_int_equal(parked(), 0);
}

static void test_a_stop_in_the_middle(void **state)
{
    (void)state;
    park(3000, 10);
    struct task *t = discard_all();
    until(t->done > 0);
    dlq_stop_begin(&bench->engine.dlq);
    assert_int_equal(look(), ERR_CLOSED);
    assert_int_equal(t->state, TASK_RUNNING);
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_CANCELED);
    assert_int_equal(parked(), 3000 - t->done);
}

static void test_not_ready(void **state)
{
    (void)state;
    bench->subscription->parked_ready = false;
    assert_int_equal(look(), ERR_UNAVAILABLE);
    assert_true(nobody_looks());
}

/* One try with the n-th allocation failing: a look, and a discard of everything. */
static enum err try_all(unsigned n, bool *fired, uint64_t *done)
{
    struct dlq_order order = {.selection.all = true};
    struct task *t = NULL;
    fault_arm(n);
    enum err e = look();
    if (e == OK)
        e = dlq_job_start(&bench->engine.dlq, "all", &order, &bench->collection, &t);
    close_look();
    if (t)
        until(t->state != TASK_RUNNING);
    *fired = fault_disarm();
    *done = t ? t->done : 0;
    return t && t->state == TASK_FAILED ? ERR_NOMEM : e;
}

static void test_without_memory(void **state)
{
    uint64_t left = 0;
    (void)state;
    for (unsigned n = 1;; n++) {
        bool fired;
        uint64_t done;
        park((unsigned)(40 - left), 10);
        enum err e = try_all(n, &fired, &done);
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        until(nobody_looks());
        left = parked();
        assert_int_equal(left, 40 - done);
        if (!fired)
            break;
    }
    assert_int_equal(left, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_looking_takes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_one_who_comes_while_it_is_handed_back, begin, end),
        cmocka_unit_test_setup_teardown(test_no_more_than_the_bound_is_held, begin, end),
        cmocka_unit_test_setup_teardown(test_nor_more_bytes, begin, end),
        cmocka_unit_test_setup_teardown(test_a_filter_that_matches_nothing_of_what_can_be_seen, begin, end),
        cmocka_unit_test_setup_teardown(test_cancel, begin, end),
        cmocka_unit_test_setup_teardown(test_without_a_stream_nothing_is_redriven, begin, end),
        cmocka_unit_test_setup_teardown(test_a_bus_that_takes_back, begin_faulty, end),
        cmocka_unit_test_setup_teardown(test_two_at_once, begin, end),
        cmocka_unit_test_setup_teardown(test_a_stop_in_the_middle, begin, end),
        cmocka_unit_test_setup_teardown(test_not_ready, begin, end),
        cmocka_unit_test_setup_teardown(test_without_memory, begin, end),
    };
    return cmocka_run_group_tests_name("broker_dlq", tests, NULL, NULL);
}
