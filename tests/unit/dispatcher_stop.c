/* SPDX-License-Identifier: Apache-2.0
 *
 * The way out: what is under way may finish until the deadline, what waits is released, nothing is lost, sent or
 * freed twice.
 */
#include "../lib/dispatcher_rig.h"

static const struct ce_event *reply_event;

static void an_idle_stream_stops_within_a_turn_but_not_within_the_call(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_stop(r, 30 * NS_PER_S);
    rig_turn(r);
    assert_true(r->stopped);
    assert_false(r->bus.attached);
    rig_free(r);
}

static void attempts_under_way_finish_and_nothing_new_begins(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 100 * MS});
    r->spec.in_flight_max = 2;
    for (int i = 0; i < 5; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_stop(r, NS_PER_S);
    rig_pass(r, 90 * MS, 10 * MS);
    assert_false(r->stopped);
    rig_pass(r, 10 * MS, 10 * MS);
    assert_true(r->stopped);
    assert_string_equal(r->trace, "SS");
    assert_int_equal(r->counters.delivered, 2);
    assert_int_equal(r->bus.events[2].state, RIG_READY);
    rig_free(r);
}

static void what_the_bus_delivers_on_old_credit_is_left_alone(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 100 * MS});
    r->spec.in_flight_max = 4;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_stop(r, NS_PER_S);
    rig_publish(r); /* there are three units of credit left */
    rig_turn(r);
    assert_int_equal(r->bus.events[1].deliveries, 1);
    assert_int_equal(r->bus.events[1].state, RIG_OUT);
    rig_revoke(r, 1); /* and taking it back is no matter */
    rig_pass(r, 100 * MS, 10 * MS);
    assert_true(r->stopped);
    assert_string_equal(r->trace, "S");
    assert_int_equal(r->bus.events[0].state, RIG_ACKED);
    assert_int_equal(r->bus.events[1].state, RIG_READY);
    rig_free(r);
}

static void a_waiting_retry_is_released_at_once(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 500});
    r->spec.delivery.retry = 10;
    r->spec.delivery.backoff_delay_ns = 60 * NS_PER_S;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->bus.events[0].state, RIG_OUT);
    rig_stop(r, 30 * NS_PER_S);
    assert_int_equal(r->bus.events[0].releases, 1);
    rig_turn(r);
    assert_true(r->stopped);
    assert_string_equal(r->trace, "S");
    assert_int_equal(r->bus.events[0].state, RIG_READY);
    rig_free(r);
}

static void an_attempt_that_fails_while_stopping_is_not_retried_but_released(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 500, .delay_ns = 50 * MS});
    r->spec.delivery.retry = 10;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_stop(r, 30 * NS_PER_S);
    rig_pass(r, 50 * MS, 10 * MS);
    assert_true(r->stopped);
    assert_string_equal(r->trace, "S");
    assert_int_equal(r->bus.events[0].releases, 1);
    assert_int_equal(r->counters.parked, 0);
    rig_free(r);
}

static void replies_dead_letters_and_parking_still_run_while_stopping(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    static struct rig_step steps[2];
    steps[0] = (struct rig_step){.status = 200, .reply = reply_event, .delay_ns = 20 * MS};
    steps[1] = (struct rig_step){.status = 422, .delay_ns = 20 * MS};
    rig_script(&r->subscriber, steps, 2);
    RIG_SCRIPT(&r->reply, {.status = 202, .delay_ns = 20 * MS});
    RIG_SCRIPT(&r->dead_letter, {.status = 400, .delay_ns = 20 * MS});
    r->spec.reply = &r->reply.base;
    r->spec.dead_letter = &r->dead_letter.base;
    r->spec.delivery.retry = 3;
    rig_publish(r);
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_stop(r, NS_PER_S);
    rig_pass(r, 40 * MS, 10 * MS);
    assert_true(r->stopped);
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->counters.parked, 1);
    rig_free(r);
}

static void the_deadline_cuts_what_hangs(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.hang = true});
    for (int i = 0; i < 3; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    uint64_t start = r->clock.monotonic;
    rig_stop(r, 500 * MS);
    rig_pass(r, NS_PER_S, 10 * MS);
    assert_true(r->stopped);
    assert_int_equal(r->stopped_at_ns - start, 500 * MS);
    assert_int_equal(r->subscriber.canceled, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r->bus.events[i].state, RIG_READY);
    rig_free(r);
}

static void a_deadline_of_nothing_cuts_at_once(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.hang = true});
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_stop(r, 0);
    assert_int_equal(r->subscriber.canceled, 1);
    rig_turn(r);
    assert_true(r->stopped);
    rig_free(r);
}

static void a_parking_that_outlives_stream_and_dispatcher_harms_nobody(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 400});
    r->park.hold = true;
    rig_publish(r);
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->park.tries, 2);
    rig_stop(r, 100 * MS);
    rig_pass(r, 100 * MS, 10 * MS);
    assert_true(r->stopped);
    assert_int_equal(r->subscriber.base.refs, 1);
    assert_int_equal(r->bus.events[0].state, RIG_READY);
    rig_free(r); /* frees the dispatcher, then lets the parkings end */
}

static void a_parking_that_fails_while_stopping_releases(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 400});
    r->park.hold = true;
    r->park.failures_first = 1;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_stop(r, NS_PER_S);
    rig_park_answer(r);
    rig_turn(r);
    assert_true(r->stopped);
    assert_int_equal(r->bus.events[0].releases, 1);
    rig_free(r);
}

static void what_was_not_finished_comes_back_to_the_next_stream(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 500}, {.hang = true}, {.status = 200});
    r->spec.delivery.retry = 5;
    rig_publish(r);
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_stop(r, 10 * MS);
    rig_pass(r, 10 * MS, 10 * MS);
    assert_true(r->stopped);
    r->stopped = false;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(r->trace, "SSSS");
    assert_int_equal(r->counters.delivered, 2);
    rig_free(r);
}

static void stopping_at_any_moment_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rig *r = rig_new(seed);
        struct prng random;
        prng_seed(&random, seed);
        r->subscriber.random = r->dead_letter.random = &random;
        r->spec.dead_letter = &r->dead_letter.base;
        r->spec.delivery.retry = 2;
        r->spec.delivery.timeout_ns = 100 * MS;
        r->spec.in_flight_max = 4;
        r->park.failures_first = 2;
        for (int i = 0; i < 30; i++)
            rig_publish(r);
        unsigned rounds = 0;
        for (bool left = true; left; rounds++) {
            assert_true(rounds < 1000);
            r->stopped = false;
            rig_start(r);
            rig_pass(r, (1 + prng_below(&random, 100)) * 10 * MS, 10 * MS);
            rig_stop(r, prng_below(&random, 2) * 200 * MS);
            rig_pass(r, 200 * MS, 10 * MS);
            assert_true(r->stopped);
            assert_int_equal(r->counters.in_flight, 0);
            left = false;
            for (int i = 0; i < 30; i++)
                left |= r->bus.events[i].state != RIG_ACKED;
        }
        assert_int_equal(r->counters.delivered + r->counters.dead_lettered + r->counters.parked, 30);
        rig_free(r);
    }
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
        cmocka_unit_test(an_idle_stream_stops_within_a_turn_but_not_within_the_call),
        cmocka_unit_test(attempts_under_way_finish_and_nothing_new_begins),
        cmocka_unit_test(what_the_bus_delivers_on_old_credit_is_left_alone),
        cmocka_unit_test(a_waiting_retry_is_released_at_once),
        cmocka_unit_test(an_attempt_that_fails_while_stopping_is_not_retried_but_released),
        cmocka_unit_test(replies_dead_letters_and_parking_still_run_while_stopping),
        cmocka_unit_test(the_deadline_cuts_what_hangs),
        cmocka_unit_test(a_deadline_of_nothing_cuts_at_once),
        cmocka_unit_test(a_parking_that_outlives_stream_and_dispatcher_harms_nobody),
        cmocka_unit_test(a_parking_that_fails_while_stopping_releases),
        cmocka_unit_test(what_was_not_finished_comes_back_to_the_next_stream),
        cmocka_unit_test(stopping_at_any_moment_loses_nothing),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
