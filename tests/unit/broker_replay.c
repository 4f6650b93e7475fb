/* SPDX-License-Identifier: Apache-2.0
 *
 * Replays through a dispatcher's real stream, of a bus that can be browsed: a memory bus with a past made up by the
 * test. Which events come, in which order, at which rate; how it ends; what stays held until then.
 */
#include "../../broker/shard_stream.c" /* for the place where a shard keeps a stream */

#include "../lib/dlq_rig.h"

#include "../../broker/replay_parts.h"

#define PAST_MAX 2000
#define FIRST_OFFSET 100 /* the log had other channels' records before */
#define GAP 3            /* and has them between */
#define WALL(i) (1000000000000000000 + (int64_t)(i) * (int64_t)NS_PER_S)

/* The past of the one channel, and the reading of it. */
static struct {
    const struct ce_event *events[PAST_MAX];
    size_t count, pages, largest;
    struct bus_ops ops;
    const struct bus_ops *memory;
    enum err error;            /* what the next page ends with */
    size_t appended_meanwhile; /* with each page so many more */
} past;

struct reading {
    struct loop_task task;
    struct bus_start from;
    size_t most;
    void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns);
    void *arg;
    struct bus_op *op;
};

static const struct ce_event *make_event(unsigned i)
{
    const struct ce_event *e;
    struct ce_builder b;
    char id[16];
    snprintf(id, sizeof id, "%u", i);
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(id));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, i % 2 ? SLICE("odd") : SLICE("even"));
    if (i % 10 == 9)
        ce_builder_set(&b, SLICE("leatdeliverat"), CE_STRING, SLICE("2101-01-01T00:00:00Z"));
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    return e;
}

static void make_past(size_t count)
{
    while (past.count < count) {
        past.events[past.count] = make_event((unsigned)past.count);
        past.count++;
    }
}

static uint64_t offset_of(size_t i)
{
    return FIRST_OFFSET + i * GAP;
}

static void read_now(struct loop_task *t)
{
    struct reading *r = container_of(t, struct reading, task);
    size_t n = 0;
    for (size_t i = 0; i < past.count && n < r->most && past.error == OK; i++) {
        bool before = r->from.kind == BUS_START_OFFSET ? offset_of(i) < r->from.offset
                      : r->from.kind == BUS_START_TIME ? WALL(i) < r->from.wall_ns
                                                       : false;
        if (!before) {
            n++;
            r->deliver(r->arg, past.events[i], offset_of(i), WALL(i));
        }
    }
    past.pages++;
    if (r->most > past.largest)
        past.largest = r->most;
    make_past(past.count + past.appended_meanwhile);
    r->op->done(r->op, past.error);
    free(r);
}

static enum err read_here(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                          void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                          void *arg, struct bus_op *op_, struct loop *loop)
{
    struct reading *r = calloc(1, sizeof *r);
    (void)b;
    (void)c;
    if (!r)
        return ERR_NOMEM;
    *r = (struct reading){.from = *from, .most = most, .deliver = deliver, .arg = arg, .op = op_};
    loop_task_init(&r->task, read_now);
    loop_defer(loop, &r->task);
    return OK;
}

static void probe_here(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    past.memory->probe(b, c, out);
    out->end = past.count ? offset_of(past.count - 1) + 1 : 0;
}

/* ---- the subscriber ---- */

static struct {
    struct sink base;
    struct list calls;
    unsigned sent[PAST_MAX], order[PAST_MAX], count;
    bool silent; /* answers nothing */
    int status;
} subscriber;

struct call {
    struct list link;
    struct loop_task task;
    struct sink_call *call;
};

static struct shard *home(void)
{
    return &bench->shards[shard_home("uid", LOOPS)];
}

static void answer(struct loop_task *t)
{
    struct call *c = container_of(t, struct call, task);
    struct sink_call *call = c->call;
    const struct sink_answer a = {.status = subscriber.status, .url = "http://there/"};
    list_remove(&c->link);
    free(c);
    call->done(call, &a);
}

static enum err send_here(struct sink *s, struct sink_call *call, const struct sink_request *request)
{
    struct call *c = calloc(1, sizeof *c);
    char text[16];
    (void)s;
    if (!c)
        return ERR_NOMEM;
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(ce_event_id(request->event)));
    unsigned i = (unsigned)atoi(text);
    c->call = call;
    call->state = c;
    subscriber.sent[i]++;
    subscriber.order[subscriber.count++] = i;
    list_push_back(&subscriber.calls, &c->link);
    loop_task_init(&c->task, answer);
    if (!subscriber.silent)
        loop_defer(home()->loop, &c->task);
    return OK;
}

static void cancel_here(struct sink *s, struct sink_call *call)
{
    struct call *c = call->state;
    (void)s;
    loop_task_cancel(&c->task);
    list_remove(&c->link);
    free(c);
}

static void free_here(struct sink *s)
{
    (void)s;
}

static void answer_all(void)
{
    subscriber.silent = false;
    list_each(l, tmp, &subscriber.calls)
        loop_defer(home()->loop, &container_of(l, struct call, link)->task);
}

/* ---- the bench ---- */

static struct {
    struct dispatcher *dispatcher;
    struct prng prng;
    struct dispatch_counters counters;
    struct shard_stream place;
    struct engine_channel channel;
    unsigned parked;
    bool stopped;
} stream;

struct parking {
    struct loop_task task;
    void (*parked)(void *arg, enum err err);
    void *arg;
};

static void parked_now(struct loop_task *t)
{
    struct parking *p = container_of(t, struct parking, task);
    stream.parked++;
    p->parked(p->arg, OK);
    free(p);
}

static void park_here(void *park_arg, const struct dispatch_failure *f, void (*parked_fn)(void *arg, enum err err),
                      void *arg)
{
    struct parking *p = malloc(sizeof *p);
    (void)park_arg;
    (void)f;
    if (!p) {
        parked_fn(arg, ERR_NOMEM);
        return;
    }
    p->parked = parked_fn;
    p->arg = arg;
    loop_task_init(&p->task, parked_now);
    loop_defer(home()->loop, &p->task);
}

static void start_stream_here(void)
{
    static const struct sink_ops ops = {send_here, cancel_here, free_here};
    struct bus *bus = bench->bus.bus;
    struct diag d = {0};
    memset(&subscriber, 0, sizeof subscriber);
    memset(&stream, 0, sizeof stream);
    memset(&past, 0, sizeof past);
    list_init(&subscriber.calls);
    list_init(&bench->engine.replays);
    list_init(&bench->engine.channels);
    subscriber.base = (struct sink){.ops = &ops, .refs = 1, .url = "http://there/"};
    subscriber.status = 202;
    prng_seed(&stream.prng, 1);
    past.memory = bus->ops;
    past.ops = *bus->ops;
    past.ops.read = read_here;
    past.ops.probe = probe_here;
    bus->ops = &past.ops;
    bus->capabilities |= BUS_CAP_BROWSE;
    assert_int_equal(dispatcher_new(home()->loop, &stream.prng, &stream.dispatcher), OK);
    stream.channel =
        (struct engine_channel){.bus = &bench->bus, .engine = &bench->engine, .ready = true, .wanted = true};
    assert_int_equal(bus->ops->provision(bus, SLICE("main"), NULL, 0, &stream.channel.handle, op(), &d), OK);
    until(bench->ops == 0);
    assert_int_equal(bus->ops->subscribe(bus, stream.channel.handle, SLICE("m"), NULL, NULL, NULL, 0,
                                         &bench->subscription->handle, op(), &d),
                     OK);
    until(bench->ops == 0);
    const struct dispatch_spec spec = {
        .name = "default/s", .subscriber = &subscriber.base, .park = park_here, .counters = &stream.counters};
    assert_int_equal(
        dispatch_stream_start(stream.dispatcher, bus, bench->subscription->handle, &spec, &stream.place.sleeper.stream),
        OK);
    bench->subscription->channel = &stream.channel;
    bench->subscription->ready = true;
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
}

static int begin_replay(void **state)
{
    begin(state);
    start_stream_here();
    return 0;
}

static int end_replay(void **state)
{
    task_cancel_all(&bench->engine.tasks);
    if (!stream.stopped)
        stop_stream_here();
    until(list_empty(&bench->engine.replays));
    dispatcher_free(stream.dispatcher);
    for (size_t i = 0; i < past.count; i++)
        ce_event_unref(past.events[i]);
    return end(state);
}

/* ---- what tests do ---- */

static struct replay_order whole(void)
{
    return (struct replay_order){.from = {.kind = BUS_START_EARLIEST}, .to_offset = UINT64_MAX, .to_ns = INT64_MAX};
}

static struct task *start_it(struct replay_order order)
{
    struct task *t;
    assert_int_equal(replay_start(&bench->engine, bench->subscription, "s", &order, &t), OK);
    return t;
}

static struct task *run_it(struct replay_order order)
{
    struct task *t = start_it(order);
    until(t->state != TASK_RUNNING);
    assert_int_equal(bench->subscription->replays, 0);
    assert_int_equal(stream.channel.users, 0);
    return t;
}

static struct filter *filter_of(const char *text)
{
    struct filter *f = NULL;
    struct diag d = {0};
    assert_int_equal(filter_attribute(FILTER_EXACT, SLICE("type"), slice_str(text), &f, &d), OK);
    return f;
}

/* Those with a time to come do not count. */
static bool due(size_t i)
{
    return i % 10 != 9;
}

static void test_everything_once_in_order(void **state)
{
    (void)state;
    make_past(1500);
    struct task *t = run_it(whole());
    assert_int_equal(t->state, TASK_DONE);
    assert_int_equal(t->done, 1350);
    assert_int_equal(t->total, 1350);
    assert_int_equal(t->failed, 0);
    assert_string_equal(t->message, "");
    for (size_t i = 0; i < 1500; i++)
        assert_int_equal(subscriber.sent[i], due(i));
    for (size_t i = 1; i < subscriber.count; i++)
        assert_true(subscriber.order[i - 1] < subscriber.order[i]);
    assert_true(past.largest == REPLAY_PAGE_MAX && past.pages < 30);
}

static void test_from_and_to(void **state)
{
    const struct {
        struct replay_order order;
        size_t first, last;
    } cases[] = {
        {{.from = {.kind = BUS_START_OFFSET, .offset = offset_of(20)}, .to_offset = offset_of(28), .to_ns = INT64_MAX},
         20,
         28},
        {{.from = {.kind = BUS_START_OFFSET, .offset = offset_of(20) - 1},
          .to_offset = offset_of(28) + 1,
          .to_ns = INT64_MAX},
         20,
         28},
        {{.from = {.kind = BUS_START_OFFSET, .offset = offset_of(20)}, .to_offset = offset_of(20), .to_ns = INT64_MAX},
         20,
         20},
        {{.from = {.kind = BUS_START_TIME, .wall_ns = WALL(30)}, .to_offset = UINT64_MAX, .to_ns = WALL(38)}, 30, 38},
        {{.from = {.kind = BUS_START_TIME, .wall_ns = WALL(30) - 1}, .to_offset = UINT64_MAX, .to_ns = WALL(39) - 1},
         30,
         38},
    };
    (void)state;
    make_past(500);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(subscriber.sent, 0, sizeof subscriber.sent);
        subscriber.count = 0;
        run_it(cases[i].order);
        for (size_t k = 0; k < 500; k++)
            assert_int_equal(subscriber.sent[k], due(k) && k >= cases[i].first && k <= cases[i].last);
    }
}

static void test_nothing_there(void **state)
{
    (void)state;
    struct task *t = run_it(whole());
    assert_int_equal(t->state, TASK_DONE);
    assert_int_equal(t->done, 0);
    make_past(10);
    struct replay_order late = whole();
    late.from = (struct bus_start){.kind = BUS_START_OFFSET, .offset = 100000};
    assert_int_equal(run_it(late)->done, 0);
}

static void test_both_filters_count(void **state)
{
    struct replay_order order = whole();
    (void)state;
    make_past(100);
    order.filter = filter_of("odd");
    struct task *t = run_it(order);
    assert_int_equal(t->done, 40); /* fifty, less those to come */
    bench->subscription->filter = filter_of("even");
    assert_int_equal(run_it(whole())->done, 50);
    order.filter = filter_of("odd");
    assert_int_equal(run_it(order)->done, 0);
    filter_unref(bench->subscription->filter);
    bench->subscription->filter = NULL;
}

static void test_what_arrives_meanwhile_is_not_replayed(void **state)
{
    (void)state;
    make_past(300);
    past.appended_meanwhile = 300;
    struct task *t = run_it(whole());
    assert_int_equal(t->done, 270);
    for (size_t i = 300; i < past.count; i++)
        assert_int_equal(subscriber.sent[i], 0);
}

static void test_dry_run(void **state)
{
    struct replay_order order = whole();
    struct buf json;
    (void)state;
    make_past(700);
    order.dry_run = true;
    struct task *t = run_it(order);
    assert_string_equal(t->kind, "dry-run");
    assert_int_equal(t->done, 630);
    assert_int_equal(subscriber.count, 0);
    buf_init(&json, 1u << 20);
    task_put_json(t, &json);
    buf_put_char(&json, 0);
    assert_true(strstr(json.ptr, "\"events\":[{\"offset\":100,\"appendedAt\":\"2001-09-09T01:46:40.000Z\",\"type\":"
                                 "\"even\",\"source\":\"/s\",\"id\":\"0\"},"));
    assert_true(strstr(json.ptr, "\"id\":\"10\"") && !strstr(json.ptr, "\"id\":\"11\""));
    buf_fini(&json);
}

static void test_what_fails_is_parked_and_counted(void **state)
{
    (void)state;
    make_past(30);
    subscriber.status = 400;
    struct task *t = run_it(whole());
    assert_int_equal(t->state, TASK_DONE);
    assert_int_equal(t->done, 0);
    assert_int_equal(t->failed, 27);
    assert_int_equal(stream.parked, 27);
    assert_string_equal(t->message, "27 failed and are parked");
}

static void test_a_rate(void **state)
{
    struct replay_order order = whole();
    (void)state;
    make_past(50);
    order.interval_ns = 100 * NS_PER_MS;
    uint64_t began = clock_monotonic_ns(&bench->clock.base);
    struct task *t = run_it(order);
    uint64_t took = clock_monotonic_ns(&bench->clock.base) - began;
    assert_int_equal(t->done, 45);
    assert_in_range(took, 4400 * NS_PER_MS, 4700 * NS_PER_MS);
}

static void test_canceled_it_says_where_to_go_on(void **state)
{
    struct replay_order order = whole();
    char on[64];
    (void)state;
    make_past(1000);
    order.interval_ns = 10 * NS_PER_MS;
    struct task *t = start_it(order);
    until(t->done == 100);
    assert_true(task_cancel(t));
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_CANCELED);
    size_t next = 1 + subscriber.order[subscriber.count - 1];
    snprintf(on, sizeof on, "--from %llu goes on", (unsigned long long)offset_of(next));
    assert_string_equal(t->message, on);
    order = whole();
    order.from = (struct bus_start){.kind = BUS_START_OFFSET, .offset = offset_of(next)};
    run_it(order);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(subscriber.sent[i], due(i));
}

static void test_a_few_under_way_at_a_time(void **state)
{
    (void)state;
    make_past(200);
    subscriber.silent = true;
    struct task *t = start_it(whole());
    until(subscriber.count > 0);
    for (int i = 0; i < 300; i++)
        turn();
    assert_int_equal(subscriber.count, INJECTIONS_MAX);
    answer_all();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->done, 180);
}

static void test_a_stream_that_stops_ends_it(void **state)
{
    (void)state;
    make_past(200);
    subscriber.silent = true;
    struct task *t = start_it(whole());
    until(subscriber.count > 0);
    stop_stream_here();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_FAILED);
    assert_true(strstr(t->message, "nothing drains the subscription") && strstr(t->message, "--from 100 goes on"));
    t = run_it(whole());
    assert_int_equal(t->state, TASK_FAILED);
    assert_int_equal(t->done, 0);
}

static void test_a_channel_that_cannot_be_read(void **state)
{
    (void)state;
    make_past(20);
    past.error = ERR_IO;
    struct task *t = run_it(whole());
    assert_int_equal(t->state, TASK_FAILED);
    assert_string_equal(t->message, "the channel could not be read: io");
}

static void test_what_is_refused(void **state)
{
    struct replay_order order = whole();
    struct task *t;
    (void)state;
    bench->bus.bus->capabilities &= ~(unsigned)BUS_CAP_BROWSE;
    assert_int_equal(replay_start(&bench->engine, bench->subscription, "s", &order, &t), ERR_UNSUPPORTED);
    bench->bus.bus->capabilities |= BUS_CAP_BROWSE;
    bench->subscription->ready = false;
    assert_int_equal(replay_start(&bench->engine, bench->subscription, "s", &order, &t), ERR_UNAVAILABLE);
}

static void test_without_memory_nothing_is_lost_and_nothing_leaks(void **state)
{
    (void)state;
    make_past(40);
    for (unsigned n = 1;; n++) {
        struct replay_order order = whole();
        struct task *t = NULL;
        memset(subscriber.sent, 0, sizeof subscriber.sent);
        subscriber.count = 0;
        order.filter = filter_of("even");
        fault_arm(n);
        enum err e = replay_start(&bench->engine, bench->subscription, "s", &order, &t);
        while (e == OK && t->state == TASK_RUNNING)
            turn();
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        if (e != OK)
            filter_unref(order.filter);
        else if (t->state == TASK_DONE) /* one that the sink had no memory for is parked */
            assert_int_equal(t->done + t->failed, 20);
        for (size_t i = 0; e == OK && t->state == TASK_DONE && t->failed == 0 && i < 40; i++)
            assert_int_equal(subscriber.sent[i], i % 2 == 0);
        if (!fired)
            return;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_replay, end_replay)
    const struct CMUnitTest tests[] = {
        TEST(test_everything_once_in_order),
        TEST(test_from_and_to),
        TEST(test_nothing_there),
        TEST(test_both_filters_count),
        TEST(test_what_arrives_meanwhile_is_not_replayed),
        TEST(test_dry_run),
        TEST(test_what_fails_is_parked_and_counted),
        TEST(test_a_rate),
        TEST(test_canceled_it_says_where_to_go_on),
        TEST(test_a_few_under_way_at_a_time),
        TEST(test_a_stream_that_stops_ends_it),
        TEST(test_a_channel_that_cannot_be_read),
        TEST(test_what_is_refused),
        TEST(test_without_memory_nothing_is_lost_and_nothing_leaks),
    };
    return cmocka_run_group_tests_name("broker_replay", tests, NULL, NULL);
}
