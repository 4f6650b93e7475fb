/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine and a bus that fails: what it could not do is told with the bus's own words, logged without a flood, tried
 * again until it works; a bus that is opened anew takes everything with it; what is shared is never removed.
 *
 * The bus is the memory bus under another name, which fails as the test says and can be shared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../broker/engine.h"
#include "../../channels/backends.h"
#include "../../channels/round.h"
#include "../lib/fault.h"
#include "log.h"

#define SAID_MAX 4000
#define CHANNELS_MAX 40
#define PATIENCE_NS (60 * NS_PER_S) /* only what fails needs so much */

/* ---- the bus ---- */

static struct {
    struct bus_ops ops;
    unsigned capabilities;
    int opens, open_failures; /* so many more fail with ERR_UNAVAILABLE */
    int provision_failures;   /* so many more operations end with ERR_INVALID; of a sick bus, ERR_UNAVAILABLE */
    int subscribe_failures;   /* likewise, ERR_DENIED */
    bool all_sick;            /* so is the bus */
    const char *sick;         /* what the probe of a channel says; NULL: it is well */
    enum err answer;          /* to questions about channels, */
    const char *answer_text;  /* with these words */
    bool held;                /* questions wait until the stop */
    struct bus_op *questions; /* those, chained by owner */
    int asked;
    int silences; /* so many more questions get no answer */
    int provisions, removals, stops, finis, unbinds;
    struct bus_env env;
    struct bus *newest;
} stub;

const struct bus_ops *bus_find(const char *name)
{
    return strcmp(name, "memory") == 0 ? &bus_memory : strcmp(name, "stub") == 0 ? &stub.ops : NULL;
}

const char *const *bus_names(void)
{
    static const char *const names[] = {"memory", "stub", NULL};
    return names;
}

/* An operation on its way through: the engine's, whose end the stub may turn into a failure. */
struct through {
    struct bus_op op, *outer;
    enum err err;
    const char *text;
};

static void passed(struct bus_op *op, enum err err)
{
    struct through *t = container_of(op, struct through, op);
    struct bus_op *outer = t->outer;
    outer->text = t->text;
    err = t->err != OK ? t->err : err;
    free(t);
    outer->done(outer, err);
}

static struct bus_op *through(struct bus_op *outer, int *failures, enum err err, const char *text)
{
    struct through *t = calloc(1, sizeof *t);
    t = t ? t : calloc(1, sizeof *t); /* what fails once is another's to meet */
    bool fails = *failures > 0;
    *failures -= fails;
    *t = (struct through){{.done = passed}, outer, fails ? err : OK, fails ? text : NULL};
    return &t->op;
}

static enum err stub_open(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                          struct diag *d)
{
    (void)params;
    (void)count;
    if (stub.open_failures > 0) {
        stub.open_failures--;
        return diag_set(d, ERR_UNAVAILABLE, "nobody answers");
    }
    enum err e = bus_memory.open(env, NULL, 0, out, d);
    assert_int_equal(e, OK);
    (*out)->ops = &stub.ops;
    (*out)->capabilities |= stub.capabilities;
    stub.env = *env;
    stub.newest = *out;
    stub.opens++;
    return OK;
}

static enum err stub_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                               struct bus_channel **out, struct bus_op *op, struct diag *d)
{
    stub.provisions++;
    return bus_memory.provision(b, name, params, count, out,
                                through(op, &stub.provision_failures, stub.all_sick ? ERR_UNAVAILABLE : ERR_INVALID,
                                        stub.all_sick ? stub.sick : "replication 3 with 1 broker"),
                                d);
}

static enum err stub_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                               struct filter *filter, const struct bus_param *params, size_t count,
                               struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    return bus_memory.subscribe(b, c, name, start, filter, params, count, out,
                                through(op, &stub.subscribe_failures, ERR_DENIED, "not in the group's list"), d);
}

static void stub_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    stub.removals += remove;
    bus_memory.release(b, c, remove, op);
}

static void stub_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    stub.removals += remove;
    bus_memory.unsubscribe(b, s, remove, op);
}

static void stub_verify(struct bus *b, struct bus_channel *c, struct bus_op *op)
{
    (void)b;
    (void)c;
    stub.asked++;
    bool silent = stub.silences > 0;
    stub.silences -= silent;
    op->text = silent ? "no broker answered" : stub.answer_text;
    op->owner = stub.questions;
    if (stub.held)
        stub.questions = op;
    else
        bus_op_end(stub.env.control, op, silent ? ERR_UNAVAILABLE : stub.answer);
}

static void stub_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    bus_memory.probe(b, c, out);
    if (!stub.sick || (!c && !stub.all_sick))
        return;
    out->healthy = false;
    snprintf(out->reason, sizeof out->reason, "%s", stub.sick);
}

static void stub_stop(struct bus *b, struct bus_op *op)
{
    stub.stops++;
    bus_ops_end(&stub.questions, ERR_CLOSED, NULL);
    bus_memory.stop(b, op);
}

static void stub_unbind(struct bus *b, struct loop *loop)
{
    __atomic_fetch_add(&stub.unbinds, 1, __ATOMIC_RELAXED);
    bus_memory.unbind(b, loop);
}

static void stub_fini(struct bus *b)
{
    stub.finis++;
    bus_memory.fini(b);
}

/* ---- plans ---- */

static char names[CHANNELS_MAX][40];
static const struct bus_param rotated[] = {{"password", "new"}};

/* One bus beside memory, so many channels on it ("c0" ...), and a paused subscription of the first. */
static struct plan *make_plan(const char *type, size_t channels, bool subscribed, size_t params)
{
    struct plan *p = calloc(1, sizeof *p);
    p->refs = 1;
    p->bus_count = 2;
    p->buses = calloc(2, sizeof *p->buses);
    p->buses[0] = (struct plan_bus){.key = "memory", .type = "memory"};
    p->buses[1] = (struct plan_bus){.key = "B/b", .type = type, .params = rotated, .param_count = params};
    p->channel_count = channels;
    p->channels = calloc(channels + 1, sizeof *p->channels);
    for (size_t i = 0; i < channels; i++) {
        snprintf(names[i], sizeof names[i], "ns/c%zu", i);
        p->channels[i] = (struct plan_channel){.uid = names[i],
                                               .namespace_name = "ns",
                                               .name = names[i] + 3,
                                               .key = names[i],
                                               .bus_name = names[i],
                                               .path = names[i],
                                               .url = "http://x/",
                                               .hosts = (const char *const[]){NULL},
                                               .bus = 1};
        static const char *const none[] = {NULL};
        p->channels[i].hosts = none;
    }
    p->subscriptions = calloc(1, sizeof *p->subscriptions);
    p->subscription_count = subscribed;
    p->subscriptions[0] = (struct plan_subscription){.uid = "u",
                                                     .namespace_name = "ns",
                                                     .name = "s",
                                                     .key = "S/ns/s",
                                                     .cursor = "u",
                                                     .parked_bus = 1,
                                                     .paused = true};
    p->sources = calloc(1, sizeof *p->sources);
    return p;
}

/* ---- the engine ---- */

static struct {
    struct loop *loop;
    struct engine *engine;
    char said[SAID_MAX]; /* "key err text\n" of each report */
    unsigned applied;
    int log;
    bool stopped;
} rig;

static void made(void *arg, const char *key, enum err err, const char *text)
{
    size_t n = strlen(rig.said);
    (void)arg;
    if (n < SAID_MAX - 200)
        snprintf(rig.said + n, SAID_MAX - n, "%s %s %s\n", key, err_name(err), text);
}

static void applied(void *arg, const struct plan *plan)
{
    (void)arg;
    (void)plan;
    rig.applied++;
}

static void bus_failed(void *arg, const char *key, enum err err, const char *text, bool again)
{
    (void)arg;
    (void)text;
    made(NULL, key, err, again ? "again" : "for good");
}

static bool said(const char *words)
{
    return strstr(rig.said, words) != NULL;
}

static void turn(void)
{
    assert_int_equal(loop_turn(rig.loop, 10 * NS_PER_MS), OK);
}

#define until(fact)                                                                                                    \
    do {                                                                                                               \
        const uint64_t end_ns_ = clock_monotonic_ns(clock_system()) + PATIENCE_NS;                                     \
        while (!(fact)) {                                                                                              \
            if (clock_monotonic_ns(clock_system()) > end_ns_)                                                          \
                fail_msg("never came: %s; said:\n%s", #fact, rig.said);                                                \
            turn();                                                                                                    \
        }                                                                                                              \
    } while (0)

static void begin(unsigned capabilities, bool shared)
{
    const struct engine_options o = {.loops = 2,
                                     .event_bytes_max = 1000,
                                     .ingress_address = "127.0.0.1:0",
                                     .drain_ns = NS_PER_S,
                                     .verify_ns = 50 * NS_PER_MS,
                                     .shared = shared,
                                     .http = {.head_bytes_max = 32768}};
    const struct engine_reports r = {.applied = applied, .made = made, .bus_failed = bus_failed};
    struct diag d = {0};
    memset(&stub, 0, sizeof stub);
    memset(&rig, 0, sizeof rig);
    stub.ops = bus_memory;
    stub.ops.known = NULL; /* it cannot say: dead-letter channels come with their subscriptions */
    stub.ops.name = "stub";
    stub.ops.capabilities |= capabilities;
    stub.capabilities = capabilities;
    stub.ops.open = stub_open;
    stub.ops.provision = stub_provision;
    stub.ops.subscribe = stub_subscribe;
    stub.ops.release = stub_release;
    stub.ops.verify = stub_verify;
    stub.ops.unsubscribe = stub_unsubscribe;
    stub.ops.probe = stub_probe;
    stub.ops.stop = stub_stop;
    stub.ops.unbind = stub_unbind;
    stub.ops.fini = stub_fini;
    rig.log = memfd_create("log", MFD_CLOEXEC);
    log_setup(clock_system(), LOG_INFO, false, false);
    log_set_fd(rig.log);
    assert_int_equal(loop_new(clock_system(), 1000, &rig.loop), OK);
    assert_int_equal(engine_new(rig.loop, &o, &rig.engine, &d), OK);
    engine_set_reports(rig.engine, &r);
    assert_int_equal(engine_listen(rig.engine, &d), OK);
}

static void apply(struct plan *p)
{
    unsigned before = rig.applied;
    engine_apply(rig.engine, p);
    plan_unref(p);
    until(rig.applied > before);
}

static void stopped(void *arg, const struct engine_rest *rest)
{
    (void)arg;
    (void)rest;
    rig.stopped = true;
}

static void end(void)
{
    engine_stop(rig.engine, stopped, NULL);
    until(rig.stopped);
    engine_free(rig.engine);
    loop_free(rig.loop);
    log_set_fd(2);
    close(rig.log);
    assert_int_equal(stub.finis, stub.opens);
}

/* How many lines of the log hold these words. */
static unsigned lines(const char *words)
{
    static char text[1 << 16];
    unsigned count = 0;
    ssize_t n = pread(rig.log, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    for (const char *at = text; (at = strstr(at, words)); at += strlen(words))
        count++;
    return count;
}

static bool ready(void)
{
    return engine_ready(rig.engine, NULL);
}

/* ---- tests ---- */

static void test_a_channel_comes_right_by_itself(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    stub.provision_failures = 2;
    apply(make_plan("stub", 1, false, 0));
    assert_true(said("ns/c0 invalid replication 3 with 1 broker\n"));
    assert_false(said("ns/c0 ok"));
    until(said("ns/c0 ok"));
    assert_int_equal(stub.provisions, 3);
    assert_int_equal(lines("channel.failed"), 1); /* the same failure, once */
    assert_int_equal(lines("plan.mended"), 1);
    unsigned before = rig.applied;
    apply(make_plan("stub", 1, false, 0));
    assert_int_equal(rig.applied, before + 1);
    assert_int_equal(stub.provisions, 3); /* what is right stays as it is */
    end();
}

static void test_a_subscription_comes_right_by_itself(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    stub.subscribe_failures = 3; /* its own and the dead letters', and one of them once more */
    apply(make_plan("stub", 1, true, 0));
    assert_true(said("S/ns/s denied not in the group's list\n"));
    assert_true(said("S/ns/s denied what nobody takes of it cannot be parked: not in the group's list\n"));
    assert_false(said("S/ns/s ok"));
    until(said("S/ns/s ok"));
    end();
}

static void test_of_a_channel_that_is_not_ready_no_subscription_is(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    stub.provision_failures = 1;
    apply(make_plan("stub", 1, true, 0));
    assert_true(said("S/ns/s unavailable its channel is not ready\n"));
    assert_int_equal(lines("subscription.failed"), 0); /* the channel's line is enough */
    until(said("S/ns/s ok") && said("ns/c0 ok"));
    end();
}

static void test_many_failures_are_few_lines(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    stub.provision_failures = CHANNELS_MAX;
    apply(make_plan("stub", CHANNELS_MAX, false, 0));
    assert_int_equal(lines("channel.failed"), 10);
    assert_int_equal(lines("plan.faults more=30"), 1);
    until(said("ns/c39 ok"));
    end();
}

static void test_a_bus_that_is_not_there_yet(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    stub.open_failures = 2;
    apply(make_plan("stub", 1, false, 0));
    assert_true(said("B/b unavailable again\n") && said("ns/c0 unavailable its bus could not be opened\n"));
    assert_false(ready());
    until(said("ns/c0 ok"));
    assert_true(ready());
    assert_int_equal(lines("bus.failed"), 1);
    end();
}

static void test_a_bus_of_ours_alone_waits_for_the_next_plan(void **state)
{
    (void)state;
    begin(0, false);
    stub.open_failures = 1;
    apply(make_plan("stub", 1, false, 0));
    assert_true(said("B/b unavailable for good\n"));
    apply(make_plan("stub", 1, false, 0));
    assert_true(said("ns/c0 ok") && ready());
    end();
}

static void test_what_the_bus_says_later(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 1, false, 0));
    stub.sick = "the topic is gone";
    stub.env.notice(stub.env.notice_arg, stub.newest, 2, "TopicDeleted", "the topic is gone");
    until(said("ns/c0 unavailable the topic is gone\n"));
    assert_int_equal(lines("bus.notice bus=B/b code=TopicDeleted"), 1);
    rig.said[0] = '\0';
    stub.sick = NULL;
    stub.env.notice(stub.env.notice_arg, stub.newest, 0, "TopicThere", "the topic is there");
    until(said("ns/c0 ok"));
    end();
}

/* ---- whether the bus answers for a channel ---- */

static void test_a_channel_is_ready_when_its_bus_answers_for_it(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    stub.answer = ERR_NOTFOUND;
    stub.answer_text = "there is no such topic";
    apply(make_plan("stub", 1, true, 0));
    assert_true(said("ns/c0 notfound there is no such topic\n") && !said("ns/c0 ok"));
    assert_true(said("S/ns/s unavailable its channel is not ready\n"));
    stub.answer = OK;
    until(said("ns/c0 ok") && said("S/ns/s ok"));
    assert_int_equal(lines("channel.failed"), 1);
    end();
}

static void test_a_bus_that_answers_no_more_is_told(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 2, false, 0));
    assert_true(said("ns/c0 ok") && said("ns/c1 ok"));
    int asked = stub.asked;
    until(stub.asked > asked + 8); /* and all is well: nothing is said */
    rig.said[0] = '\0';
    stub.answer = ERR_NOTFOUND;
    stub.answer_text = "there is no such topic";
    until(said("ns/c0 notfound there is no such topic\n") && said("ns/c1 notfound"));
    asked = stub.asked;
    until(stub.asked > asked + 8);
    assert_int_equal(lines("bus.fault"), 2); /* one of each, however often it is asked about */
    rig.said[0] = '\0';
    stub.answer = OK;
    until(said("ns/c0 ok") && said("ns/c1 ok"));
    assert_int_equal(lines("plan.mended"), 2);
    end();
}

static void test_silence_counts_the_second_time(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 1, false, 0));
    rig.said[0] = '\0';
    int asked = stub.asked;
    stub.silences = 1;
    until(stub.asked > asked + 4);
    assert_false(said("no broker answered"));
    stub.silences = 2;
    until(said("ns/c0 unavailable no broker answered\n"));
    until(said("ns/c0 ok"));
    end();
}

static void test_what_is_asked_and_what_is_looked_at(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 1, false, 0));
    stub.answer = ERR_NOTFOUND;
    stub.answer_text = "gone";
    until(said("ns/c0 notfound gone\n"));
    stub.sick = "the group is ill";
    stub.env.notice(stub.env.notice_arg, stub.newest, 2, "GroupIll", "ill");
    until(said("ns/c0 unavailable the group is ill\n"));
    rig.said[0] = '\0';
    stub.sick = NULL;
    int asked = stub.asked;
    stub.env.notice(stub.env.notice_arg, stub.newest, 1, "GroupWell", "well");
    until(stub.asked > asked + 8);
    assert_false(said("ns/c0 ok")); /* the one is over, and the other is not */
    stub.answer = OK;
    until(said("ns/c0 ok"));
    end();
}

static void test_of_a_bus_that_is_away_nothing_is_asked(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", CHANNELS_MAX, false, 0));
    stub.sick = "nobody answers";
    stub.all_sick = true; /* and no notice says so: it is seen all the same */
    until(said("ns/c39 unavailable nobody answers\n"));
    int asked = stub.asked;
    uint64_t end_ns = loop_now_ns(rig.loop) + 300 * NS_PER_MS;
    until(loop_now_ns(rig.loop) > end_ns);
    assert_int_equal(stub.asked, asked);
    stub.all_sick = false;
    stub.sick = NULL;
    until(said("ns/c39 ok") && stub.asked > asked);
    end();
}

static void test_a_channel_that_is_asked_about_stays_until_the_answer(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 2, false, 0));
    stub.held = true;
    stub.answer = ERR_NOTFOUND;
    until(stub.questions && stub.questions->owner);
    apply(make_plan("stub", 0, false, 0)); /* both go */
    assert_int_equal(stub.removals, 0);
    stub.held = false;
    bus_ops_end(&stub.questions, ERR_NOTFOUND, "gone");
    until(stub.removals == 2);
    assert_false(said("gone")); /* nobody wants to know any more */
    end();
}

static void test_a_stop_ends_what_is_asked(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 3, false, 0));
    stub.held = true;
    until(stub.questions);
    end();
}

static void test_a_bus_that_is_away_is_one_line(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", CHANNELS_MAX, true, 0));
    stub.sick = "nobody answers";
    stub.all_sick = true;
    stub.env.notice(stub.env.notice_arg, stub.newest, 1, "BrokersDown", "nobody answers");
    until(said("ns/c39 unavailable nobody answers\n"));
    assert_false(ready());
    assert_int_equal(lines("nobody answers"), 1);
    rig.said[0] = '\0';
    stub.sick = NULL;
    stub.env.notice(stub.env.notice_arg, stub.newest, 0, "BrokerUp", "one answers");
    until(said("ns/c39 ok"));
    assert_int_equal(lines("plan.mended"), 0);
    assert_true(ready());
    end();
}

static void test_good_news_cut_the_wait_short(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    stub.provision_failures = 3;
    apply(make_plan("stub", 1, false, 0));
    until(stub.provisions == 3); /* the next one would be two seconds later */
    uint64_t since = loop_now_ns(rig.loop);
    stub.env.notice(stub.env.notice_arg, stub.newest, 0, "BrokerUp", "one answers");
    until(said("ns/c0 ok"));
    assert_true(loop_now_ns(rig.loop) - since < 3 * NS_PER_S / 2);
    end();
}

static void test_of_a_bus_that_was_never_there_no_channel_has_a_line(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    stub.sick = "nobody answers";
    stub.all_sick = true;
    stub.provision_failures = 2;
    apply(make_plan("stub", 2, true, 0));
    assert_true(said("ns/c1 unavailable nobody answers\n"));
    assert_int_equal(lines("channel.failed"), 0);
    stub.all_sick = false;
    stub.sick = NULL;
    until(said("ns/c1 ok"));
    assert_int_equal(lines("plan.mended"), 0);
    end();
}

static void test_new_parameters_move_everything(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 2, true, 0));
    assert_int_equal(stub.opens, 1);
    apply(make_plan("stub", 2, true, 1));
    assert_int_equal(stub.opens, 2);
    until(stub.finis == 1);
    assert_int_equal(stub.stops, 1);
    assert_int_equal(stub.unbinds, 2);
    assert_int_equal(stub.removals, 0);
    assert_int_equal(lines("bus.reopened bus=B/b"), 1);
    assert_true(ready());
    apply(make_plan("stub", 2, true, 1)); /* nothing has changed */
    assert_int_equal(stub.opens, 2);
    end();
    assert_int_equal(stub.removals, 0);
}

static void test_new_parameters_that_do_not_work(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 1, false, 0));
    stub.open_failures = 1;
    apply(make_plan("stub", 1, false, 1));
    assert_false(ready()); /* and the old one goes on */
    assert_int_equal(stub.stops, 0);
    until(stub.finis == 1); /* tried again, it works */
    assert_true(ready());
    end();
}

static void test_new_parameters_of_a_bus_of_ours_alone(void **state)
{
    (void)state;
    begin(0, false);
    apply(make_plan("stub", 1, false, 0));
    apply(make_plan("stub", 1, false, 1));
    assert_int_equal(stub.opens, 1);
    assert_int_equal(lines("bus.changed bus=B/b"), 1);
    end();
}

/* What describes a bus or a channel cannot be read: what runs goes on, what does not is not begun. */
static void test_what_is_held(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    struct plan *p = make_plan("stub", 1, true, 0);
    p->buses[1].held = true;
    apply(p);
    assert_int_equal(stub.opens, 0);
    assert_false(said("ns/c0")); /* the status says it already */
    assert_true(ready());
    apply(make_plan("stub", 1, true, 0));
    assert_true(said("ns/c0 ok"));
    int provisions = stub.provisions;
    p = make_plan("stub", 2, true, 1);
    p->buses[1].held = p->channels[1].held = true;
    apply(p);
    p = make_plan("stub", 2, true, 0);
    p->channels[0].held = p->channels[1].held = true;
    apply(p);
    assert_int_equal(stub.opens, 1);
    assert_int_equal(stub.provisions, provisions);
    assert_int_equal(stub.removals, 0);
    end();
}

static void test_a_bus_that_no_plan_has_is_closed(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 1, true, 0));
    struct plan *p = make_plan("stub", 0, false, 0);
    p->bus_count = 1;
    apply(p);
    until(stub.finis == 1);
    assert_true(stub.removals >= 3); /* channel, cursor, dead letters */
    end();
}

/* The same objects by another way, which may lead to the same system. */
static void test_another_bus_for_the_same_objects(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 1, true, 0));
    struct plan *p = make_plan("stub", 1, true, 0);
    p->buses[1].key = "B/other";
    apply(p);
    until(stub.finis == 1);
    assert_int_equal(stub.opens, 2);
    assert_int_equal(stub.removals, 0);
    end();
    begin(0, false);
    apply(make_plan("stub", 1, true, 0));
    p = make_plan("stub", 1, true, 0);
    p->buses[1].key = "B/other";
    apply(p);
    until(stub.removals >= 3); /* nobody else has what lies on the old one */
    end();
}

static void test_shared_with_others(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, true);
    apply(make_plan("stub", 1, true, 0));
    assert_true(said("ns/c0 ok") && said("S/ns/s ok"));
    struct plan *p = make_plan("stub", 0, false, 0);
    p->bus_count = 1;
    apply(p);
    until(stub.finis == 1);
    assert_int_equal(stub.removals, 0); /* another process may have them still */
    end();
}

static void test_shared_with_others_a_bus_that_is_not(void **state)
{
    (void)state;
    begin(BUS_CAP_SHARED, true);
    apply(make_plan("memory", 1, true, 0));
    assert_true(said("ns/c0 unsupported its bus keeps events for one process alone"));
    assert_true(said("S/ns/s unavailable its channel is not ready\n"));
    end();
}

/* Each allocation of applying a plan fails in turn, while its channel is being asked about. */
static void test_a_plan_without_memory_changes_nothing(void **state)
{
    (void)state;
    unsigned n = 1;
    begin(BUS_CAP_SHARED, false);
    apply(make_plan("stub", 1, true, 0));
    for (bool fired = true; fired; n++) {
        stub.held = true;
        until(stub.questions);
        stub.held = false; /* the one that waits is all */
        struct plan *p = make_plan("stub", 2, true, 0);
        static char keys[200][16];
        assert_true(n < 200);
        snprintf(keys[n], sizeof keys[n], "P/ns/p%u", n);
        p->source_count = 1;
        p->sources[0] = (struct plan_source){
            .uid = keys[n], .key = keys[n], .spec = {.type = "ping", .namespace_name = "ns", .name = "p"}};
        unsigned before = rig.applied, failed = lines("plan.failed");
        fault_arm(n);
        engine_apply(rig.engine, p);
        fired = fault_disarm();
        plan_unref(p);
        until(rig.applied > before || lines("plan.failed") > failed);
        bus_ops_end(&stub.questions, OK, NULL);
        turn();
        struct buf metrics;
        buf_init(&metrics, SIZE_MAX);
        engine_metrics(rig.engine, &metrics);
        assert_int_equal(buf_error(&metrics), OK);
        buf_fini(&metrics);
        assert_int_equal(stub.removals, 0);
    }
    assert_true(n > 10);
    assert_true(said("ns/c1 ok") && ready());
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plan_without_memory_changes_nothing),
        cmocka_unit_test(test_a_channel_comes_right_by_itself),
        cmocka_unit_test(test_a_subscription_comes_right_by_itself),
        cmocka_unit_test(test_of_a_channel_that_is_not_ready_no_subscription_is),
        cmocka_unit_test(test_many_failures_are_few_lines),
        cmocka_unit_test(test_a_bus_that_is_not_there_yet),
        cmocka_unit_test(test_a_bus_of_ours_alone_waits_for_the_next_plan),
        cmocka_unit_test(test_what_the_bus_says_later),
        cmocka_unit_test(test_a_channel_is_ready_when_its_bus_answers_for_it),
        cmocka_unit_test(test_a_bus_that_answers_no_more_is_told),
        cmocka_unit_test(test_silence_counts_the_second_time),
        cmocka_unit_test(test_what_is_asked_and_what_is_looked_at),
        cmocka_unit_test(test_of_a_bus_that_is_away_nothing_is_asked),
        cmocka_unit_test(test_a_channel_that_is_asked_about_stays_until_the_answer),
        cmocka_unit_test(test_a_stop_ends_what_is_asked),
        cmocka_unit_test(test_a_bus_that_is_away_is_one_line),
        cmocka_unit_test(test_good_news_cut_the_wait_short),
        cmocka_unit_test(test_of_a_bus_that_was_never_there_no_channel_has_a_line),
        cmocka_unit_test(test_new_parameters_move_everything),
        cmocka_unit_test(test_new_parameters_that_do_not_work),
        cmocka_unit_test(test_new_parameters_of_a_bus_of_ours_alone),
        cmocka_unit_test(test_what_is_held),
        cmocka_unit_test(test_a_bus_that_no_plan_has_is_closed),
        cmocka_unit_test(test_another_bus_for_the_same_objects),
        cmocka_unit_test(test_shared_with_others),
        cmocka_unit_test(test_shared_with_others_a_bus_that_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
