/* SPDX-License-Identifier: Apache-2.0
 *
 * The rate: attempts at the subscriber to the nanosecond, its burst, its queue.
 */
#include "../lib/dispatcher_rig.h"

static struct rig *setup(uint64_t interval_ns, int events)
{
    struct rig *r = rig_new(1);
    r->spec.rate_interval_ns = interval_ns;
    for (int i = 0; i < events; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    return r;
}

static void attempts_are_one_interval_apart(void **state)
{
    (void)state;
    struct rig *r = setup(300000007, 4);
    for (size_t n = 1; n < 4; n++) {
        assert_int_equal(r->seen_count, n);
        clock_fake_advance(&r->clock, 300000006);
        rig_turn(r);
        assert_int_equal(r->seen_count, n);
        clock_fake_advance(&r->clock, 1);
        rig_turn(r);
        assert_int_equal(r->seen_count, n + 1);
    }
    assert_string_equal(rig_ids(r), "0 1 2 3");
    rig_free(r);
}

static void a_fast_rate_makes_up_for_a_late_timer_within_its_burst(void **state)
{
    (void)state;
    struct rig *r = setup(MS, 400);      /* 1000 a second: a burst of 100 */
    assert_int_equal(r->seen_count, 100);
    rig_turn(r);
    assert_int_equal(r->seen_count, 100);
    clock_fake_advance(&r->clock, MS);
    rig_turn(r);
    assert_int_equal(r->seen_count, 101);
    clock_fake_advance(&r->clock, 30 * MS); /* as on a busy loop */
    rig_turn(r);
    assert_int_equal(r->seen_count, 131);
    rig_pass(r, NS_PER_S, 10 * MS);
    assert_int_equal(r->counters.delivered, 400);
    rig_free(r);
}

/* In any window of t there are at most t / interval + burst attempts. */
static void no_window_has_more_than_the_rate_and_one_burst(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct rig *r = rig_new(seed);
        struct prng random;
        prng_seed(&random, seed);
        uint64_t interval = (1 + prng_below(&random, 60)) * MS, burst = 100 * MS / interval;
        r->spec.rate_interval_ns = interval;
        r->spec.delivery.retry = 3;
        r->subscriber.random = &random;
        r->spec.delivery.timeout_ns = 50 * MS;
        rig_start(r);
        for (int i = 0; i < 200; i++) {
            rig_publish(r);
            rig_pass(r, prng_below(&random, 40) * 10 * MS, 10 * MS);
        }
        rig_pass(r, 60 * NS_PER_S, 10 * MS);
        assert_int_equal(r->counters.delivered + r->counters.parked, 200);
        for (size_t i = 0; i < r->seen_count; i++)
            for (size_t k = i + 1; k < r->seen_count; k++)
                assert_true(k - i <= (r->seen[k].at_ns - r->seen[i].at_ns) / interval + (burst > 1 ? burst : 1));
        rig_free(r);
    }
}

static void a_retry_takes_a_token_too_and_waits_its_turn(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 500}, {.status = 200});
    r->spec.rate_interval_ns = NS_PER_S;
    r->spec.delivery.retry = 1;
    for (int i = 0; i < 3; i++)
        rig_publish(r);
    rig_start(r);
    rig_pass(r, 5 * NS_PER_S, 100 * MS);
    assert_string_equal(rig_ids(r), "0 1 2 0"); /* its wait is over before 2 goes, but 2 was there first */
    assert_int_equal(rig_after(r, 3), 3 * NS_PER_S);
    rig_free(r);
}

static void replies_and_dead_letters_take_none(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 400});
    r->spec.dead_letter = &r->dead_letter.base;
    r->spec.rate_interval_ns = NS_PER_S;
    rig_publish(r);
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 900 * MS, 100 * MS);
    assert_string_equal(r->trace, "SD");
    rig_pass(r, 100 * MS, 100 * MS);
    assert_string_equal(r->trace, "SDSD");
    rig_free(r);
}

static void an_update_frees_who_waits_for_a_slower_rate(void **state)
{
    (void)state;
    struct rig *r = setup(3600 * NS_PER_S, 3);
    assert_int_equal(r->seen_count, 1);
    r->spec.rate_interval_ns = NS_PER_S;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_int_equal(r->seen_count, 2);
    r->spec.rate_interval_ns = 0;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_turn(r);
    assert_int_equal(r->seen_count, 3);
    rig_free(r);
}

static void who_waits_for_a_token_is_released_at_a_stop(void **state)
{
    (void)state;
    struct rig *r = setup(NS_PER_S, 3);
    rig_stop(r, NS_PER_S);
    assert_int_equal(r->bus.events[1].releases, 1);
    assert_int_equal(r->bus.events[2].releases, 1);
    rig_turn(r);
    assert_true(r->stopped);
    rig_free(r);
}

static void who_is_revoked_leaves_the_queue(void **state)
{
    (void)state;
    struct rig *r = setup(NS_PER_S, 3);
    rig_revoke(r, 1);
    rig_turn(r); /* it comes again, behind 2 */
    rig_pass(r, 3 * NS_PER_S, 100 * MS);
    assert_string_equal(rig_ids(r), "0 2 1");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_are_one_interval_apart),
        cmocka_unit_test(a_fast_rate_makes_up_for_a_late_timer_within_its_burst),
        cmocka_unit_test(no_window_has_more_than_the_rate_and_one_burst),
        cmocka_unit_test(a_retry_takes_a_token_too_and_waits_its_turn),
        cmocka_unit_test(replies_and_dead_letters_take_none),
        cmocka_unit_test(an_update_frees_who_waits_for_a_slower_rate),
        cmocka_unit_test(who_waits_for_a_token_is_released_at_a_stop),
        cmocka_unit_test(who_is_revoked_leaves_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
