/* SPDX-License-Identifier: Apache-2.0
 *
 * Times that an event carries: leatdeliverat holds it without credit, expirytime drops it, malformed ones say nothing.
 * The bench's wall clock starts at 2017-07-14T02:40:00Z.
 */
#include "../lib/dispatcher_rig.h"

static void an_event_is_held_until_its_time_to_the_nanosecond(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    rig_publish_with(r, "leatdeliverat", "2017-07-14T04:40:10.000000007+02:00");
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "1");
    assert_int_equal(r->counters.held, 1);
    clock_fake_advance(&r->clock, 10 * NS_PER_S + 6);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "1");
    clock_fake_advance(&r->clock, 1);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "1 0");
    assert_int_equal(r->counters.held, 0);
    assert_int_equal(r->counters.delivered, 2);
    assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT);
    rig_free(r);
}

static void a_held_event_uses_no_credit(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    r->spec.in_flight_max = 2;
    for (int i = 0; i < 50; i++)
        rig_publish_with(r, "leatdeliverat", "2017-07-14T02:41:40Z");
    for (int i = 0; i < 5; i++)
        rig_publish(r);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    rig_start(r);
    rig_pass(r, 30 * MS, 10 * MS);
    assert_int_equal(r->counters.delivered, 5);
    assert_int_equal(r->counters.held, 50);
    /* When their time has come they go as there are places, in the order in which they came. */
    clock_fake_advance(&r->clock, 100 * NS_PER_S);
    rig_turn(r);
    assert_int_equal(r->seen_count, 7);
    rig_pass(r, NS_PER_S, 10 * MS);
    assert_int_equal(r->counters.delivered, 55);
    for (int i = 0; i < 50; i++)
        assert_int_equal(atoi(rig_attribute(r->seen[5 + i].event, "id")), i);
    assert_int_equal(r->bus.credit, 2);
    rig_free(r);
}

static void a_wall_clock_that_jumps_is_noticed_within_a_minute(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    rig_publish_with(r, "leatdeliverat", "2017-07-14T03:40:00Z");
    rig_publish_with(r, "leatdeliverat", "2017-07-14T02:40:30Z");
    rig_start(r);
    rig_turn(r);
    r->clock.wall += 3600 * (int64_t)NS_PER_S; /* forth */
    rig_pass(r, 60 * NS_PER_S, NS_PER_S);
    assert_string_equal(rig_ids(r), "1 0");
    rig_publish_with(r, "leatdeliverat", "2017-07-14T03:41:30Z");
    rig_turn(r);
    r->clock.wall -= 600 * (int64_t)NS_PER_S; /* and back */
    rig_pass(r, 599 * NS_PER_S, NS_PER_S);
    assert_int_equal(r->seen_count, 2);
    rig_pass(r, 60 * NS_PER_S, NS_PER_S);
    assert_int_equal(r->seen_count, 3);
    rig_free(r);
}

static void malformed_times_say_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"soon", "", "2017-07-14", "1500000000", "2017-07-14T02:40:00"};
    struct rig *r = rig_new(1);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        rig_publish_with(r, "leatdeliverat", texts[i]);
        rig_publish_with(r, "expirytime", texts[i]);
    }
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->counters.delivered, 10);
    rig_free(r);
}

static void an_expired_event_is_a_counted_drop(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    rig_publish_with(r, "expirytime", "2017-07-14T02:40:00Z"); /* now is too late */
    rig_publish_with(r, "expirytime", "2017-07-14T02:40:00.000000001Z");
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "1");
    assert_int_equal(r->counters.expired, 1);
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->bus.events[0].state, RIG_ACKED);
    assert_int_equal(r->park.tries, 0);
    rig_free(r);
}

static void it_expires_between_attempts_too(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 500});
    r->spec.delivery.retry = 10;
    r->spec.dead_letter = &r->dead_letter.base;
    rig_publish_with(r, "expirytime", "2017-07-14T02:40:01Z");
    rig_start(r);
    rig_pass(r, 10 * NS_PER_S, 100 * MS); /* attempts at 0, 200, 600, then 1400 ms */
    assert_string_equal(r->trace, "SSS");
    assert_int_equal(r->counters.expired, 1);
    rig_free(r);
}

static void a_failure_is_dead_lettered_though_it_has_expired_meanwhile(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 400, .delay_ns = 2 * NS_PER_S});
    r->spec.dead_letter = &r->dead_letter.base;
    rig_publish_with(r, "expirytime", "2017-07-14T02:40:01Z");
    rig_start(r);
    rig_pass(r, 3 * NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SD");
    assert_int_equal(r->counters.dead_lettered, 1);
    rig_free(r);
}

static void it_expires_while_it_is_held(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct ce_builder b;
    const struct ce_event *e;
    const struct ce_event *base = rig_event_with("x", "expirytime", "2017-07-14T02:40:05Z");
    ce_builder_from(&b, base);
    ce_builder_set(&b, SLICE("leatdeliverat"), CE_STRING, SLICE("2017-07-14T02:40:06Z"));
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    ce_event_unref(base);
    rig_publish_event(r, e);
    rig_start(r);
    rig_pass(r, 10 * NS_PER_S, NS_PER_S);
    assert_int_equal(r->seen_count, 0);
    assert_int_equal(r->counters.expired, 1);
    rig_free(r);
}

static void the_deadline_counts_from_its_time(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 503}, {.status = 200});
    r->spec.delivery.retry = 3;
    r->spec.delivery.deadline_ns = NS_PER_S;
    rig_publish_with(r, "leatdeliverat", "2017-07-14T02:41:00Z");
    rig_start(r);
    rig_pass(r, 61 * NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SS");
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);
}

static void held_events_are_released_at_a_stop_and_let_go_when_revoked(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    for (int i = 0; i < 3; i++)
        rig_publish_with(r, "leatdeliverat", "2017-07-14T02:41:00Z");
    rig_start(r);
    rig_turn(r);
    rig_revoke(r, 1);
    assert_int_equal(r->counters.held, 2);
    rig_turn(r);
    assert_int_equal(r->counters.held, 3); /* it has come again */
    rig_stop(r, NS_PER_S);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r->bus.events[i].releases, 1);
    rig_turn(r);
    assert_true(r->stopped);
    assert_int_equal(r->counters.held, 0);
    rig_free(r);
}

/* Beyond the bound the bus gets no more credit: back-pressure, not memory without end. */
static void there_is_a_bound_to_what_is_held(void **state)
{
    (void)state;
    static struct rig_bus endless;
    struct rig *r = rig_new(1);
    rig_bus_init(&endless, r);
    r->spec.in_flight_max = 10;
    const struct ce_event *e = rig_event_with("x", "leatdeliverat", "2017-07-14T02:41:00Z");
    struct dispatch_stream *stream;
    assert_int_equal(dispatch_stream_start(r->dispatcher, &endless.base, NULL, &r->spec, &stream), OK);
    unsigned delivered = 0;
    while (endless.credit > 0) {
        endless.credit--;
        endless.callbacks->deliver(endless.arg, (struct bus_stream *)&endless, e, (struct bus_token){1, ++delivered},
                                   1);
        assert_true(delivered <= DISPATCH_HELD_MAX + 10);
    }
    assert_int_equal(delivered, DISPATCH_HELD_MAX + 10);
    assert_int_equal(r->counters.held, DISPATCH_HELD_MAX + 10);
    for (unsigned i = delivered; i > 0; i--) /* and taking them back one by one is no matter */
        endless.callbacks->revoked(endless.arg, (struct bus_stream *)&endless, (struct bus_token){1, i});
    assert_int_equal(r->counters.held, 0);
    assert_int_equal(endless.credit, 10);
    dispatch_stream_stop(stream, 0, rig_stopped, r);
    rig_turn(r);
    assert_true(r->stopped);
    ce_event_unref(e);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_held_until_its_time_to_the_nanosecond),
        cmocka_unit_test(a_held_event_uses_no_credit),
        cmocka_unit_test(a_wall_clock_that_jumps_is_noticed_within_a_minute),
        cmocka_unit_test(malformed_times_say_nothing),
        cmocka_unit_test(an_expired_event_is_a_counted_drop),
        cmocka_unit_test(it_expires_between_attempts_too),
        cmocka_unit_test(a_failure_is_dead_lettered_though_it_has_expired_meanwhile),
        cmocka_unit_test(it_expires_while_it_is_held),
        cmocka_unit_test(the_deadline_counts_from_its_time),
        cmocka_unit_test(held_events_are_released_at_a_stop_and_let_go_when_revoked),
        cmocka_unit_test(there_is_a_bound_to_what_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
