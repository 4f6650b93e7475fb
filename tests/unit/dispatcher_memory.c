/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory: a delivery that succeeds allocates nothing, and whichever allocation fails, every event still ends exactly
 * once. The room's files are compiled in here with an allocator that counts and can be told to fail.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"

static unsigned long allocations, fail_at, fail_until;

static bool refused(void)
{
    allocations++;
    return allocations >= fail_at && allocations < fail_until;
}

static void *test_malloc(size_t n)
{
    return refused() ? NULL : malloc(n);
}

static void *test_calloc(size_t n, size_t size)
{
    return refused() ? NULL : calloc(n, size);
}

static char *test_strdup(const char *s)
{
    return refused() ? NULL : strdup(s);
}

static enum err must_check test_seal(struct ce_builder *b, size_t bytes_max, const struct ce_event **out,
                                     struct diag *d)
{
    return refused() ? ERR_NOMEM : ce_builder_seal(b, bytes_max, out, d);
}

#define malloc test_malloc
#define calloc test_calloc
#undef strdup
#define strdup test_strdup
#define ce_builder_seal test_seal
#include "../../dispatcher/attempt.c"
#include "../../dispatcher/backoff.c"
#include "../../dispatcher/batch.c"
#include "../../dispatcher/buckets.c"
#include "../../dispatcher/deadletter.c"
#include "../../dispatcher/dedup.c"
#include "../../dispatcher/dispatch.c"
#include "../../dispatcher/flight.c"
#include "../../dispatcher/held.c"
#include "../../dispatcher/hops.c"
#include "../../dispatcher/note.c"
#include "../../dispatcher/order.c"
#include "../../dispatcher/park.c"
#include "../../dispatcher/rate.c"
#include "../../dispatcher/reply.c"
#include "../../dispatcher/report.c"
#include "../../dispatcher/sleeper.c"
#include "../../dispatcher/terms.c"
#undef malloc
#undef calloc
#undef strdup
#undef ce_builder_seal

#include "../lib/dispatcher_rig.h"

static const struct ce_event *reply_event;

static void arm(unsigned long at, unsigned long times)
{
    allocations = 0;
    fail_at = at;
    fail_until = at + times;
}

static void a_good_delivery_allocates_nothing_in_the_long_run(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    static struct rig_step step;
    step = (struct rig_step){.status = 200, .reply = reply_event, .delay_ns = MS};
    rig_script(&r->subscriber, &step, 1);
    r->spec.reply = &r->reply.base;
    r->spec.in_flight_max = 16;
    for (int i = 0; i < 16; i++)
        rig_publish(r);
    rig_start(r);
    rig_pass(r, 10 * MS, MS);
    assert_int_equal(r->counters.delivered, 16);
    arm(0, 0);
    for (int i = 0; i < 400; i++)
        rig_publish(r);
    rig_pass(r, 100 * MS, MS);
    assert_int_equal(r->counters.delivered, 416);
    assert_int_equal(r->counters.replies, 416);
    assert_int_equal(allocations, 0);
    rig_free(r);
}

/* Six events: delivered, with reply, dead-lettered, reply failing, parked after the dead letter sink, parked. True
 * once no allocation failed any more. */
static bool run_with_failures(unsigned long at, unsigned long times)
{
    struct rig *r = rig_new(at);
    static struct rig_step steps[] = {{.status = 200}, {.status = 500},
                                      {.status = 422}, {.status = 422, .body = SLICE_INIT("x")},
                                      {.status = 200}, {.status = 200}};
    steps[4].reply = reply_event;
    rig_script(&r->subscriber, steps, 6);
    RIG_SCRIPT(&r->reply, {.status = 410}, {.status = 200});
    RIG_SCRIPT(&r->dead_letter, {.status = 200}, {.status = 400}, {.status = 200});
    r->spec.reply = &r->reply.base;
    r->spec.dead_letter = &r->dead_letter.base;
    r->spec.delivery.retry = 1;
    r->spec.in_flight_max = 3;
    for (int i = 0; i < 6; i++)
        rig_publish(r);
    arm(at, times);
    enum err e = ERR_NOMEM;
    for (int i = 0; i < 10 && e != OK; i++) {
        e = dispatch_stream_start(r->dispatcher, &r->bus.base, NULL, &r->spec, &r->stream);
        assert_true(e == OK || e == ERR_NOMEM);
    }
    assert_int_equal(e, OK);
    rig_pass(r, 20 * NS_PER_S, 50 * MS);
    bool met = allocations >= at;
    arm(0, 0);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(r->bus.events[i].state, RIG_ACKED);
    assert_int_equal(r->counters.delivered + r->counters.dead_lettered + r->counters.parked, 6);
    assert_int_equal(r->bus.credit, 3); /* none was lost on the way */
    rig_free(r);
    return met;
}

static void whichever_allocation_fails_every_event_ends_once(void **state)
{
    (void)state;
    for (unsigned long times = 1; times <= 4; times++) {
        unsigned long at = 1;
        while (run_with_failures(at, times))
            at++;
        assert_true(at > 8); /* the scenario does allocate */
    }
}

static void every_gate_of_a_good_delivery_allocates_nothing_in_the_long_run(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = MS});
    r->spec.order = ORDER_KEY;
    r->spec.rate_interval_ns = 1000;
    r->spec.dedup_window_ns = 20 * MS;
    r->spec.delivery.deadline_ns = NS_PER_S;
    r->spec.in_flight_max = 16;
    rig_start(r);
    for (int i = 0; i < 500; i++) {
        if (i == 100)
            arm(0, 0);
        char key[2] = {(char)('a' + i % 10), '\0'};
        rig_publish_with(r, "partitionkey", key);
        rig_pass(r, MS, MS);
    }
    rig_pass(r, 10 * MS, MS);
    assert_int_equal(r->counters.delivered, 500);
    assert_int_equal(allocations, 0);
    rig_free(r);
}

/* Keys with failures and duplicates, at a rate, past a channel's loop guard; `batch`: in batches instead of by key. */
static bool run_gates_with_failures(unsigned long at, unsigned long times, bool batch)
{
    struct rig *r = rig_new(at);
    RIG_SCRIPT(&r->subscriber, {.status = 200}, {.status = 503}, {.status = 422}, {.status = 200});
    r->spec.dead_letter = &r->dead_letter.base;
    r->dead_letter.base.local = true;
    r->spec.delivery.retry = 1;
    r->spec.dedup_window_ns = 3600 * NS_PER_S;
    r->spec.rate_interval_ns = 100 * MS;
    r->spec.order = batch ? ORDER_STRICT : ORDER_KEY;
    r->spec.batch_max = batch ? 3 : 0;
    r->one_per_key = !batch;
    r->one_at_all = batch;
    for (int i = 0; i < 6; i++)
        rig_publish_with(r, i % 3 ? "partitionkey" : "knativebrokerttl", i % 3 ? "k" : "5");
    rig_publish_event(r, ce_event_ref(r->bus.events[0].event));
    arm(at, times);
    enum err e = ERR_NOMEM;
    for (int i = 0; i < 20 && e != OK; i++) {
        e = dispatch_stream_start(r->dispatcher, &r->bus.base, NULL, &r->spec, &r->stream);
        assert_true(e == OK || e == ERR_NOMEM);
    }
    assert_int_equal(e, OK);
    rig_pass(r, 30 * NS_PER_S, 50 * MS);
    bool met = allocations >= at;
    arm(0, 0);
    const struct dispatch_counters *c = &r->counters;
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(r->bus.events[i].state, RIG_ACKED);
    assert_int_equal(c->delivered + c->dead_lettered + c->parked, 6);
    assert_int_equal(c->duplicates, 1);
    int last = -1;
    for (size_t i = 0; i < r->seen_count; i++) {
        if (r->seen[i].who != 'S' || strcmp(rig_attribute(r->seen[i].event, "partitionkey"), "k") != 0)
            continue;
        int n = atoi(rig_attribute(r->seen[i].event, "id"));
        assert_true(batch || n >= last);
        last = n;
    }
    assert_int_equal(r->bus.credit, r->stream->terms->spec.in_flight_max);
    rig_free(r);
    return met;
}

static void whichever_allocation_fails_the_gates_lose_nothing_and_keep_the_order(void **state)
{
    (void)state;
    for (unsigned long times = 1; times <= 4; times++) {
        for (int batch = 0; batch < 2; batch++) {
            unsigned long at = 1;
            while (run_gates_with_failures(at, times, batch))
                at++;
            assert_true(at > 15);
        }
    }
}

struct sleeping {
    struct dispatch_sleeper sleeper;
    struct rig *rig;
};

static enum err wake(struct dispatch_sleeper *s)
{
    return dispatch_sleeper_begin(s, &container_of(s, struct sleeping, sleeper)->rig->spec);
}

static void slept(struct dispatch_sleeper *s)
{
    rig_stopped(container_of(s, struct sleeping, sleeper)->rig);
}

/* Woken without memory, or stopped asleep without memory. */
static bool sleep_with_failures(unsigned long at, bool woken)
{
    static const struct dispatch_sleeper_ops ops = {wake, slept};
    struct sleeping x = {.rig = rig_new(at)};
    struct rig *r = x.rig;
    r->spec.dedup_window_ns = 3600 * NS_PER_S;
    assert_int_equal(dispatch_sleeper_start(&x.sleeper, r->dispatcher, &r->bus.base, NULL, &ops, 1), OK);
    for (int i = 0; woken && i < 3; i++)
        rig_publish(r);
    arm(at, 2);
    if (!woken)
        dispatch_sleeper_stop(&x.sleeper, 0);
    rig_pass(r, NS_PER_S, 50 * MS);
    bool met = allocations >= at;
    arm(0, 0);
    assert_int_equal(r->counters.delivered, woken ? 3 : 0);
    if (woken) {
        assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT);
        dispatch_sleeper_stop(&x.sleeper, 0);
        rig_turn(r);
    }
    assert_true(r->stopped);
    rig_free(r);
    return met;
}

static void whichever_allocation_fails_a_sleeper_loses_nothing_and_stops(void **state)
{
    (void)state;
    for (int woken = 0; woken < 2; woken++) {
        unsigned long at = 1;
        while (sleep_with_failures(at, woken))
            at++;
        assert_true(at > (woken ? 5 : 1));
    }
}

static void an_injection_without_memory_is_refused(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct dispatch_injection injection = {.done = NULL};
    rig_start(r);
    injection.done = (dispatch_injected_fn *)(uintptr_t)1; /* never to be called */
    arm(1, 1);
    assert_int_equal(dispatch_stream_inject(r->stream, reply_event, &injection), ERR_NOMEM);
    arm(0, 0);
    rig_free(r);
}

static void an_update_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    rig_start(r);
    struct dispatch_spec next = r->spec;
    next.in_flight_max = 3;
    next.batch_max = 2;
    next.dedup_window_ns = NS_PER_S;
    for (unsigned long at = 1; at <= 7; at++) { /* terms, two names, room for a batch; the table and its two parts */
        arm(at, 1);
        assert_int_equal(dispatch_stream_update(r->stream, &next), ERR_NOMEM);
    }
    arm(0, 0);
    assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT);
    rig_publish(r);
    rig_turn(r);
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);
}

static int group_setup(void **state)
{
    (void)state;
    reply_event = rig_event("reply");
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    reply_event = ce_event_unref(reply_event);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_delivery_allocates_nothing_in_the_long_run),
        cmocka_unit_test(whichever_allocation_fails_every_event_ends_once),
        cmocka_unit_test(every_gate_of_a_good_delivery_allocates_nothing_in_the_long_run),
        cmocka_unit_test(whichever_allocation_fails_the_gates_lose_nothing_and_keep_the_order),
        cmocka_unit_test(whichever_allocation_fails_a_sleeper_loses_nothing_and_stops),
        cmocka_unit_test(an_injection_without_memory_is_refused),
        cmocka_unit_test(an_update_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
