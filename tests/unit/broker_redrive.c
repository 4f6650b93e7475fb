/* SPDX-License-Identifier: Apache-2.0
 *
 * Redriving through a dispatcher's real stream, on a memory bus and on one that takes back what is under way: nothing
 * is lost, what fails again is parked again, and on a bus that keeps its deliveries nothing comes twice.
 */
#include "../../broker/shard_stream.c" /* for the place where a shard keeps a stream */

#include "../lib/dlq_rig.h"

#include "../../broker/parked.h"

#define EVENTS 300
#define FAILS(id) ((id) % 7 == 0) /* the subscriber refuses these */

/* A subscriber that answers after a few milliseconds. */
struct answer {
    struct list link;
    struct loop_timer timer;
    struct sink_call *call;
    unsigned id;
};
static struct {
    struct sink base;
    struct list answers;
    unsigned sent[EVENTS];
} subscriber;

static struct bench_stream {
    struct dispatcher *dispatcher;
    struct prng prng;
    struct dispatch_counters counters;
    struct shard_stream place;
    struct bus_channel *channel;
    struct bus_subscription *subscription;
    bool stopped;
} stream;

static struct shard *home(void)
{
    return &bench->shards[shard_home("uid", LOOPS)];
}

static unsigned number_of(const struct ce_event *e)
{
    char text[16];
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(ce_event_id(e)));
    return (unsigned)atoi(text);
}

static void on_timer(struct loop_timer *t)
{
    struct answer *a = container_of(t, struct answer, timer);
    struct sink_call *call = a->call;
    const struct sink_answer answer = {.status = FAILS(a->id) ? 400 : 202, .url = "http://there/"};
    list_remove(&a->link);
    free(a);
    call->done(call, &answer);
}

static enum err sink_send_here(struct sink *s, struct sink_call *call, const struct sink_request *request)
{
    struct answer *a = calloc(1, sizeof *a);
    (void)s;
    a->call = call;
    a->id = number_of(request->event);
    call->state = a;
    assert_false(ce_event_attribute(request->event, SLICE("leatreason"), NULL));
    subscriber.sent[a->id]++;
    loop_timer_init(&a->timer, on_timer);
    loop_timer_start(home()->loop, &a->timer, (1 + a->id % 5) * NS_PER_MS);
    list_push_back(&subscriber.answers, &a->link);
    return OK;
}

static void sink_cancel_here(struct sink *s, struct sink_call *call)
{
    struct answer *a = call->state;
    (void)s;
    loop_timer_stop(home()->loop, &a->timer);
    list_remove(&a->link);
    free(a);
}

static void sink_free_here(struct sink *s)
{
    (void)s;
}

struct parking {
    struct bus_append append;
    void (*parked)(void *arg, enum err err);
    void *arg;
};

static void park_appended(struct bus_append *a, enum err e)
{
    struct parking *p = container_of(a, struct parking, append);
    p->parked(p->arg, e);
    free(p);
}

static void park_here(void *park_arg, const struct dispatch_failure *f, void (*parked_fn)(void *arg, enum err err),
                      void *arg)
{
    struct parking *p = calloc(1, sizeof *p);
    struct bus *bus = bench->bus.bus;
    const struct ce_event *e;
    (void)park_arg;
    *p = (struct parking){.append.done = park_appended, .parked = parked_fn, .arg = arg};
    assert_int_equal(parked_make(f, clock_wall_ns(&bench->clock.base), &e), OK);
    assert_int_equal(bus->ops->append(bus, bench->channel, e, &p->append, home()->loop), OK);
    ce_event_unref(e);
}

static void start_stream_here(void)
{
    static const struct sink_ops ops = {sink_send_here, sink_cancel_here, sink_free_here};
    struct bus *bus = bench->bus.bus;
    struct diag d = {0};
    memset(&subscriber, 0, sizeof subscriber);
    memset(&stream, 0, sizeof stream);
    list_init(&subscriber.answers);
    subscriber.base = (struct sink){.ops = &ops, .refs = 1, .url = "http://there/"};
    prng_seed(&stream.prng, 1);
    assert_int_equal(dispatcher_new(home()->loop, &stream.prng, &stream.dispatcher), OK);
    assert_int_equal(bus->ops->provision(bus, SLICE("main"), NULL, 0, &stream.channel, op(), &d), OK);
    until(bench->ops == 0);
    assert_int_equal(
        bus->ops->subscribe(bus, stream.channel, SLICE("m"), NULL, NULL, NULL, 0, &stream.subscription, op(), &d), OK);
    until(bench->ops == 0);
    const struct dispatch_spec spec = {
        .name = "default/s", .subscriber = &subscriber.base, .park = park_here, .counters = &stream.counters};
    assert_int_equal(
        dispatch_stream_start(stream.dispatcher, bus, stream.subscription, &spec, &stream.place.sleeper.stream), OK);
    bench->subscription->shares[home()->index].stream = &stream.place;
}

static void stopped(void *arg)
{
    (void)arg;
    stream.stopped = true;
}

static void stop_stream_here(void)
{
    bench->subscription->shares[home()->index].stream = NULL;
    dispatch_stream_stop(stream.place.sleeper.stream, 0, stopped, NULL);
    until(stream.stopped);
    turn();
    dispatcher_free(stream.dispatcher);
}

static int begin_stream(void **state)
{
    begin(state);
    start_stream_here();
    return 0;
}

static int begin_stream_faulty(void **state)
{
    begin_faulty(state);
    start_stream_here();
    return 0;
}

static int end_stream(void **state)
{
    if (!stream.stopped)
        stop_stream_here();
    return end(state);
}

static struct task *redrive_all(void)
{
    struct dlq_order order = {.redrive = true, .selection.all = true};
    struct task *t;
    assert_int_equal(look(), OK);
    assert_int_equal(dlq_job_start(&bench->engine.dlq, "all", &order, &bench->collection, &t), OK);
    close_look();
    return t;
}

static void test_each_is_delivered_once(void **state)
{
    unsigned refused = 0;
    (void)state;
    park(EVENTS, 10);
    struct task *t = redrive_all();
    until(t->state != TASK_RUNNING);
    for (unsigned i = 0; i < EVENTS; i++) {
        assert_int_equal(subscriber.sent[i], 1);
        refused += FAILS(i);
    }
    assert_int_equal(t->done, EVENTS - refused);
    assert_int_equal(t->failed, refused);
    until(parked() == refused);
    assert_int_equal(look(), OK);
    assert_int_equal(bench->collection.count, refused);
    for (size_t i = 0; i < refused; i++)
        assert_true(FAILS(number_of(bench->collection.items[i].event)));
    close_look();
}

static void test_a_bus_that_takes_back_what_is_under_way(void **state)
{
    bool there[EVENTS] = {false};
    (void)state;
    park(EVENTS, 10);
    for (int rounds = 0; rounds < 20; rounds++) {
        struct task *t = redrive_all();
        until(t->state != TASK_RUNNING);
    }
    assert_int_equal(look(), OK);
    for (size_t i = 0; i < bench->collection.count; i++)
        there[number_of(bench->collection.items[i].event)] = true;
    for (unsigned i = 0; i < EVENTS; i++)
        assert_true(FAILS(i) ? there[i] : subscriber.sent[i] > 0 || there[i]);
    close_look();
}

static void test_a_stream_that_stops_keeps_what_it_had(void **state)
{
    uint64_t done;
    (void)state;
    park(EVENTS, 10);
    struct task *t = redrive_all();
    until(t->done > 20);
    stop_stream_here();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_FAILED);
    assert_true(strstr(t->message, "stay parked") != NULL);
    done = t->done;
    until(nobody_looks());
    assert_int_equal(parked(), EVENTS - done); /* those that failed again are there anew */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_is_delivered_once, begin_stream, end_stream),
        cmocka_unit_test_setup_teardown(test_a_bus_that_takes_back_what_is_under_way, begin_stream_faulty, end_stream),
        cmocka_unit_test_setup_teardown(test_a_stream_that_stops_keeps_what_it_had, begin_stream, end_stream),
    };
    return cmocka_run_group_tests_name("broker_redrive", tests, NULL, NULL);
}
