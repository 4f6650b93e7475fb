/* SPDX-License-Identifier: Apache-2.0
 *
 * Order: by key and strict, through retries, revocations, want of memory (dispatcher_memory.c), updates and stops; and
 * that who waits for a key uses no credit, up to a bound.
 */
#include "../lib/dispatcher_rig.h"

/* Publishes one event for each letter, with it as its partitionkey; '-' has none. */
static struct rig *setup(enum dispatch_order order, const char *keys)
{
    struct rig *r = rig_new(1);
    r->spec.order = order;
    r->one_per_key = order == ORDER_KEY;
    r->one_at_all = order == ORDER_STRICT;
    for (; *keys; keys++) {
        char key[2] = {*keys, '\0'};
        rig_publish_with(r, *keys == '-' ? NULL : "partitionkey", key);
    }
    return r;
}

static void events_of_a_key_go_one_at_a_time_and_others_pass(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aab-a-b");
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 2 3 5");
    assert_int_equal(r->counters.held, 3);
    assert_int_equal(r->counters.in_flight, 7);
    rig_pass(r, 20 * MS, 10 * MS);
    assert_string_equal(rig_ids(r), "0 2 3 5 1 6 4");
    rig_pass(r, 10 * MS, 10 * MS);
    assert_int_equal(r->counters.delivered, 7);
    assert_int_equal(r->counters.held, 0);
    assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT);
    rig_free(r);
}

static void a_retrying_key_holds_up_its_own_alone(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aabbb");
    RIG_SCRIPT(&r->subscriber, {.status = 500}, {.status = 200});
    r->spec.delivery.retry = 1;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 2 3 4");
    rig_pass(r, 200 * MS, 100 * MS);
    assert_string_equal(rig_ids(r), "0 2 3 4 0 1");
    rig_free(r);
}

static void the_next_of_a_key_waits_for_the_dead_letter_of_the_one_before(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aa");
    RIG_SCRIPT(&r->subscriber, {.status = 400}, {.status = 200});
    RIG_SCRIPT(&r->dead_letter, {.status = 200, .delay_ns = 50 * MS});
    r->spec.dead_letter = &r->dead_letter.base;
    rig_start(r);
    rig_pass(r, 40 * MS, 10 * MS);
    assert_string_equal(r->trace, "SD");
    rig_pass(r, 10 * MS, 10 * MS);
    assert_string_equal(r->trace, "SDS");
    rig_free(r);
}

static void who_waits_for_a_key_uses_no_credit(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aaaaaaaaaaaaaaaaaaaabc");
    RIG_SCRIPT(&r->subscriber, {.hang = true});
    r->spec.in_flight_max = 2;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 20"); /* b is not held up; for c there is no place, and so no credit */
    assert_int_equal(r->bus.out, 21);
    assert_int_equal(r->counters.held, 19);
    rig_free(r);
}

static void a_place_is_a_place_when_holds_end(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "abcabcabcabc");
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    r->spec.in_flight_max = 2;
    rig_start(r);
    for (int i = 0; i < 10; i++) {
        rig_pass(r, 10 * MS, 10 * MS);
        unsigned under_way = 0;
        list_each(l, tmp, &r->subscriber.under_way)
            under_way++;
        assert_true(under_way <= 2);
    }
    assert_int_equal(r->counters.delivered, 12);
    assert_int_equal(r->bus.credit, 2);
    rig_free(r);
}

static void strict_is_one_at_a_time_and_a_retry_holds_up_the_rest(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_STRICT, "---");
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS}, {.status = 503}, {.status = 200});
    r->spec.delivery.retry = 1;
    r->spec.in_flight_max = 50;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0");
    assert_int_equal(r->bus.out, 1);
    rig_pass(r, 200 * MS, 10 * MS);
    assert_string_equal(rig_ids(r), "0 1");
    rig_pass(r, 10 * MS, 10 * MS);
    assert_string_equal(rig_ids(r), "0 1 1 2");
    assert_int_equal(r->bus.credit, 1);
    rig_free(r);
}

static void a_revoked_leader_takes_its_followers_back_with_it(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aaab");
    RIG_SCRIPT(&r->subscriber, {.hang = true}, {.status = 200, .delay_ns = MS});
    rig_start(r);
    rig_turn(r);
    rig_revoke(r, 0);
    assert_int_equal(r->bus.events[1].releases, 1);
    assert_int_equal(r->bus.events[2].releases, 1);
    assert_int_equal(r->bus.events[3].releases, 0);
    rig_pass(r, 10 * MS, MS);
    assert_string_equal(rig_ids(r), "0 3 0 1 2");
    rig_free(r);
}

static void a_revoked_follower_takes_back_those_behind_it(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aaaa");
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 5 * MS});
    rig_start(r);
    rig_turn(r);
    rig_revoke(r, 2);
    assert_int_equal(r->bus.events[1].releases, 0);
    assert_int_equal(r->bus.events[3].releases, 1);
    rig_pass(r, 30 * MS, MS);
    assert_string_equal(rig_ids(r), "0 1 2 3");
    assert_int_equal(r->counters.delivered, 4);
    rig_free(r);
}

static void duplicates_of_a_revoked_leader_go_back_with_it(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "");
    RIG_SCRIPT(&r->subscriber, {.hang = true}, {.status = 200});
    r->spec.dedup_window_ns = NS_PER_S;
    for (const char *id = "aab"; *id; id++)
        rig_publish_event(r, rig_event_with(*id == 'a' ? "a" : "b", "partitionkey", "k"));
    rig_start(r);
    rig_turn(r);
    rig_revoke(r, 0);
    assert_int_equal(r->bus.events[1].releases, 1); /* as an heir it would come behind b */
    assert_int_equal(r->bus.events[2].releases, 1);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "a a b");
    assert_int_equal(r->counters.duplicates, 1);
    rig_free(r);
}

static void a_duplicate_that_is_taken_back_does_not_go_a_second_time_with_its_first(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_NONE, "");
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    r->spec.dedup_window_ns = NS_PER_S;
    rig_start(r);
    r->spec.order = ORDER_STRICT;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    for (const char *id = "xaa"; *id;
         id++) /* on the old credit: a has no place as yet, and its duplicate waits for it */
        rig_publish_event(r, rig_event((char[]){*id, '\0'}));
    rig_turn(r);
    assert_string_equal(rig_ids(r), "x");
    rig_revoke(r, 2);
    assert_int_equal(r->bus.events[1].releases, 0);
    assert_int_equal(r->bus.events[2].releases, 0);
    rig_pass(r, 50 * MS, 10 * MS);
    assert_string_equal(rig_ids(r), "x a");
    assert_int_equal(r->counters.duplicates, 1);
    rig_free(r);
}

static void a_strict_batch_that_loses_one_gives_all_behind_it_back(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_STRICT, "----");
    r->spec.batch_max = 4;
    r->spec.batch_wait_ns = NS_PER_S;
    RIG_SCRIPT(&r->subscriber, {.status = 503}, {.status = 200});
    r->spec.delivery.retry = 1;
    rig_start(r);
    rig_turn(r); /* the batch has failed, all four wait */
    rig_revoke(r, 1);
    assert_int_equal(r->bus.events[0].releases, 0);
    assert_int_equal(r->bus.events[2].releases, 1);
    assert_int_equal(r->bus.events[3].releases, 1);
    rig_pass(r, 3 * NS_PER_S, 100 * MS);
    assert_string_equal(rig_ids(r), "[0 1 2 3] [0 1 2 3]");
    rig_free(r);
}

static void a_stop_hands_back_nothing_of_an_order_before_it_is_over(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aab");
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 50 * MS});
    rig_start(r);
    rig_turn(r);
    rig_stop(r, NS_PER_S);
    assert_int_equal(r->bus.events[1].releases, 0);
    rig_pass(r, 50 * MS, 10 * MS);
    assert_true(r->stopped);
    assert_string_equal(rig_ids(r), "0 2");
    assert_int_equal(r->bus.events[1].state, RIG_READY); /* by the detach */
    r->stopped = false;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 2 1");
    rig_free(r);
}

static void a_retry_of_an_order_is_not_handed_back_before_a_stop_is_over_either(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aab");
    RIG_SCRIPT(&r->subscriber, {.status = 500, .delay_ns = 10 * MS}, {.status = 200, .delay_ns = 50 * MS});
    r->spec.delivery.retry = 5;
    rig_start(r);
    rig_turn(r);
    rig_stop(r, NS_PER_S);
    rig_pass(r, 20 * MS, 10 * MS);
    assert_int_equal(r->bus.events[0].releases, 0);
    assert_false(r->stopped);
    rig_pass(r, 30 * MS, 10 * MS);
    assert_true(r->stopped);
    assert_int_equal(r->bus.events[0].state, RIG_READY);
    rig_free(r);
}

static void an_update_frees_who_waits_for_a_key(void **state)
{
    (void)state;
    struct rig *r = setup(ORDER_KEY, "aaa");
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    r->one_per_key = false;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0");
    r->spec.order = ORDER_NONE;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 1 2");
    r->spec.order = ORDER_STRICT;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_pass(r, 10 * MS, 10 * MS);
    r->one_at_all = true;
    for (int i = 0; i < 70; i++) /* the bus has the old credit as yet: what comes on it waits here */
        rig_publish(r);
    rig_pass(r, 700 * MS, 10 * MS);
    assert_int_equal(r->counters.delivered, 73);
    assert_int_equal(r->bus.credit, 1);
    rig_free(r);
}

/* Keys, revocations, updates and failures at random: one at a time of each key, each first try in order, all end. */
static void at_random_the_order_of_each_key_holds(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct rig *r = rig_new(seed);
        struct prng random;
        prng_seed(&random, seed);
        r->subscriber.random = r->dead_letter.random = &random;
        r->spec.dead_letter = &r->dead_letter.base;
        r->spec.delivery.retry = 2;
        r->spec.delivery.timeout_ns = 50 * MS;
        r->spec.order = ORDER_KEY;
        r->spec.in_flight_max = 1 + (unsigned)prng_below(&random, 6);
        r->one_per_key = true;
        rig_start(r);
        for (int i = 0; i < 100; i++) {
            char key[2] = {(char)('a' + prng_below(&random, 5)), '\0'};
            rig_publish_with(r, "partitionkey", key);
            rig_pass(r, prng_below(&random, 3) * 10 * MS, 10 * MS);
            size_t victim = prng_below(&random, r->bus.count);
            if (prng_below(&random, 5) == 0 && r->bus.events[victim].state == RIG_OUT)
                rig_revoke(r, victim);
        }
        for (int i = 0; i < 3000 && r->counters.in_flight + r->bus.out > 0; i++)
            rig_pass(r, 50 * MS, 50 * MS);
        int last[5] = {-1, -1, -1, -1, -1};
        for (size_t i = 0; i < r->seen_count; i++) {
            if (r->seen[i].who != 'S')
                continue;
            int n = atoi(rig_attribute(r->seen[i].event, "id"));
            int *before = &last[rig_attribute(r->seen[i].event, "partitionkey")[0] - 'a'];
            assert_true(n >= *before);
            *before = n;
        }
        for (size_t i = 0; i < r->bus.count; i++)
            assert_int_equal(r->bus.events[i].state, RIG_ACKED);
        assert_int_equal(r->bus.credit, r->spec.in_flight_max);
        rig_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_a_key_go_one_at_a_time_and_others_pass),
        cmocka_unit_test(a_retrying_key_holds_up_its_own_alone),
        cmocka_unit_test(the_next_of_a_key_waits_for_the_dead_letter_of_the_one_before),
        cmocka_unit_test(who_waits_for_a_key_uses_no_credit),
        cmocka_unit_test(a_place_is_a_place_when_holds_end),
        cmocka_unit_test(strict_is_one_at_a_time_and_a_retry_holds_up_the_rest),
        cmocka_unit_test(a_revoked_leader_takes_its_followers_back_with_it),
        cmocka_unit_test(a_revoked_follower_takes_back_those_behind_it),
        cmocka_unit_test(duplicates_of_a_revoked_leader_go_back_with_it),
        cmocka_unit_test(a_duplicate_that_is_taken_back_does_not_go_a_second_time_with_its_first),
        cmocka_unit_test(a_strict_batch_that_loses_one_gives_all_behind_it_back),
        cmocka_unit_test(a_stop_hands_back_nothing_of_an_order_before_it_is_over),
        cmocka_unit_test(a_retry_of_an_order_is_not_handed_back_before_a_stop_is_over_either),
        cmocka_unit_test(an_update_frees_who_waits_for_a_key),
        cmocka_unit_test(at_random_the_order_of_each_key_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
