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

static void an_update_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    rig_start(r);
    struct dispatch_spec next = r->spec;
    next.in_flight_max = 3;
    for (unsigned long at = 1; at <= 3; at++) {
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
        cmocka_unit_test(an_update_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
