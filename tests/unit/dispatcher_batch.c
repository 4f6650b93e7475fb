/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: when they go, what is in them, what an answer does to each of their events, and how they stand with rate,
 * order, deadlines, revocation and stops.
 */
#include "../lib/dispatcher_rig.h"

#include "dispatcher/gates.h"

static struct rig *setup(unsigned most, uint64_t wait_ns, int events)
{
    struct rig *r = rig_new(1);
    r->spec.batch_max = most;
    r->spec.batch_wait_ns = wait_ns;
    for (int i = 0; i < events; i++)
        rig_publish(r);
    return r;
}

static void a_full_batch_goes_at_once_and_the_rest_after_its_wait(void **state)
{
    (void)state;
    struct rig *r = setup(3, 500 * MS, 5);
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "[0 1 2]");
    clock_fake_advance(&r->clock, 500 * MS - 1);
    rig_turn(r);
    assert_int_equal(r->seen_count, 1);
    clock_fake_advance(&r->clock, 1);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "[0 1 2] [3 4]");
    assert_int_equal(r->counters.delivered, 5);
    assert_int_equal(r->counters.attempts, 5);
    assert_int_equal(r->counters.batches, 2);
    assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT);
    rig_free(r);
}

static void without_a_wait_what_came_in_one_turn_goes_together(void **state)
{
    (void)state;
    struct rig *r = setup(10, 0, 3);
    rig_start(r);
    rig_turn(r);
    rig_publish(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "[0 1 2] [3]"); /* one alone is a batch as well */
    rig_free(r);
}

static void a_batch_asks_for_no_reply_and_keeps_the_terms(void **state)
{
    (void)state;
    struct rig *r = setup(2, 0, 2);
    r->spec.delivery.timeout_ns = 7 * NS_PER_S;
    r->spec.delivery.format = CE_MODE_BINARY;
    rig_start(r);
    rig_turn(r);
    assert_false(r->seen[0].want_reply);
    assert_int_equal(r->seen[0].timeout_ns, 7 * NS_PER_S);
    assert_string_equal(r->seen[0].namespace_name, "ns");
    rig_free(r);
}

static void a_failed_batch_fails_each_event_for_itself_and_gathers_again(void **state)
{
    (void)state;
    struct rig *r = setup(3, 100 * MS, 2);
    RIG_SCRIPT(&r->subscriber, {.status = 500}, {.status = 200});
    r->spec.delivery.retry = 1;
    rig_start(r);
    rig_pass(r, 200 * MS, 50 * MS); /* it went at 100 ms, and is due again at 300 */
    rig_publish(r);
    rig_pass(r, 100 * MS, 50 * MS);
    assert_string_equal(rig_ids(r), "[0 1] [2 0 1]"); /* with one that had waited less, and so is full */
    assert_int_equal(r->counters.retries, 2);
    assert_int_equal(r->counters.delivered, 3);
    rig_free(r);
}

static void each_event_of_a_refused_batch_has_its_own_dead_letter(void **state)
{
    (void)state;
    struct rig *r = setup(3, 0, 3);
    RIG_SCRIPT(&r->subscriber, {.status = 422, .body = SLICE_INIT("no")});
    r->spec.dead_letter = &r->dead_letter.base;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "[0 1 2] 0 1 2");
    assert_string_equal(rig_attribute(r->seen[2].event, "knativeerrorcode"), "422");
    assert_string_equal(rig_attribute(r->seen[2].event, "knativeerrordest"), "http://subscriber.example/");
    assert_int_equal(r->counters.dead_lettered, 3);
    rig_free(r);
}

static void a_sink_that_refuses_at_once_fails_them_too(void **state)
{
    (void)state;
    struct rig *r = setup(3, 0, 3);
    RIG_SCRIPT(&r->subscriber, {.at_once = ERR_CLOSED}, {.status = 200});
    r->spec.delivery.retry = 1;
    rig_start(r);
    rig_pass(r, 200 * MS, 100 * MS);
    assert_string_equal(rig_ids(r), "[0 1 2] [0 1 2]");
    assert_int_equal(r->counters.delivered, 3);
    rig_free(r);
}

static void a_local_sink_and_reply_only_get_their_events_singly(void **state)
{
    (void)state;
    struct rig *r = setup(3, NS_PER_S, 3);
    r->subscriber.base.local = true;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 1 2");
    rig_free(r);
    r = setup(3, NS_PER_S, 3);
    r->spec.subscriber = NULL;
    r->spec.reply = &r->reply.base;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(r->trace, "RRR");
    rig_free(r);
}

static void a_batch_takes_one_token_of_the_rate(void **state)
{
    (void)state;
    struct rig *r = setup(2, 0, 6);
    r->spec.rate_interval_ns = NS_PER_S;
    rig_start(r);
    rig_pass(r, 2 * NS_PER_S, 100 * MS);
    assert_string_equal(rig_ids(r), "[0 1] [2 3] [4 5]");
    assert_int_equal(rig_after(r, 1), NS_PER_S);
    assert_int_equal(rig_after(r, 2), 2 * NS_PER_S);
    rig_free(r);
}

static void a_batch_has_one_event_of_a_key_at_most(void **state)
{
    (void)state;
    struct rig *r = setup(4, 0, 0);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = MS});
    r->spec.order = ORDER_KEY;
    r->one_per_key = true;
    for (const char *k = "aabb"; *k; k++)
        rig_publish_with(r, "partitionkey", *k == 'a' ? "a" : "b");
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 2 * MS, MS);
    assert_string_equal(rig_ids(r), "[0 2 4] [1 3]");
    rig_free(r);
}

static void strict_batches_follow_each_other_in_order(void **state)
{
    (void)state;
    struct rig *r = setup(3, 10 * MS, 7);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 50 * MS}, {.status = 503}, {.status = 200});
    r->spec.order = ORDER_STRICT;
    r->spec.delivery.retry = 2;
    r->spec.delivery.jitter_percent = 50; /* each comes back at its own time */
    r->one_at_all = true;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "[0 1 2]");
    assert_int_equal(r->bus.out, 3);
    rig_pass(r, NS_PER_S, MS);
    assert_string_equal(rig_ids(r), "[0 1 2] [3 4 5] [3 4 5] [6]");
    assert_int_equal(r->counters.delivered, 7);
    rig_free(r);
}

static void fewer_in_hand_make_smaller_batches_and_none_waits_for_ever(void **state)
{
    (void)state;
    struct rig *r = setup(10, 3600 * NS_PER_S, 8);
    r->spec.in_flight_max = 4;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "[0 1 2 3] [4 5 6 7]");
    assert_int_equal(r->bus.unsettled_max, 4);
    rig_free(r);
}

static void a_batch_is_bounded_in_bytes(void **state)
{
    (void)state;
    struct rig *r = setup(4, 0, 0);
    size_t size = BATCH_BYTES_MAX / 2;
    char *bytes = malloc(size);
    assert_non_null(bytes);
    memset(bytes, 'x', size);
    for (int i = 0; i < 3; i++) {
        struct ce_builder b;
        const struct ce_event *e, *base = rig_event(i == 0 ? "a" : i == 1 ? "b" : "c");
        ce_builder_from(&b, base);
        ce_builder_data(&b, CE_DATA_BYTES, slice_of(bytes, i == 1 ? 10 : size));
        assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
        ce_event_unref(base);
        rig_publish_event(r, e);
    }
    free(bytes);
    rig_start(r);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "[a b] [c]");
    rig_free(r);
}

static void who_expires_or_is_too_late_while_it_gathers_is_left_out(void **state)
{
    (void)state;
    struct rig *r = setup(5, 2 * NS_PER_S, 0);
    r->spec.delivery.deadline_ns = 10 * NS_PER_S;
    rig_publish_with(r, "expirytime", "2017-07-14T02:40:01Z");
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 2 * NS_PER_S, 500 * MS);
    assert_string_equal(rig_ids(r), "[1]");
    assert_int_equal(r->counters.expired, 1);
    r->spec.delivery.deadline_ns = NS_PER_S;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_publish(r);
    rig_pass(r, 3 * NS_PER_S, 500 * MS);
    assert_string_equal(rig_ids(r), "[1]");
    assert_string_equal(r->park.reason, "deadline");
    rig_free(r);
}

static void services_see_no_hops_in_a_batch(void **state)
{
    (void)state;
    struct rig *r = setup(2, 0, 1);
    RIG_SCRIPT(&r->subscriber, {.hang = true});
    rig_publish_with(r, "knativebrokerttl", "9");
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->seen[0].batch_count, 2);
    assert_ptr_equal(r->seen[0].batch[0], r->bus.events[0].event);
    assert_string_equal(rig_attribute(r->seen[0].batch[1], "knativebrokerttl"), "(none)");
    rig_free(r);
}

static void a_revoked_event_leaves_its_batch_and_the_last_takes_it_along(void **state)
{
    (void)state;
    struct rig *r = setup(2, 0, 2);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS}, {.hang = true}, {.status = 200});
    rig_start(r);
    rig_turn(r);
    rig_revoke(r, 0);
    assert_int_equal(r->subscriber.canceled, 0);
    rig_pass(r, 10 * MS, 10 * MS);
    assert_int_equal(r->counters.delivered, 1); /* the other; the first goes again and hangs */
    assert_string_equal(rig_ids(r), "[0 1] [0]");
    rig_revoke(r, 0);
    assert_int_equal(r->subscriber.canceled, 1);
    rig_turn(r);
    assert_int_equal(r->counters.delivered, 2);
    rig_free(r);
}

static void a_stop_releases_those_that_gather_and_lets_a_batch_finish(void **state)
{
    (void)state;
    struct rig *r = setup(2, NS_PER_S, 3);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    rig_start(r);
    rig_turn(r);
    rig_stop(r, NS_PER_S);
    assert_int_equal(r->bus.events[2].releases, 1);
    rig_pass(r, 10 * MS, 10 * MS);
    assert_true(r->stopped);
    assert_int_equal(r->counters.delivered, 2);
    rig_free(r);
}

static void a_deadline_of_the_stop_cuts_a_batch(void **state)
{
    (void)state;
    struct rig *r = setup(2, NS_PER_S, 2);
    RIG_SCRIPT(&r->subscriber, {.hang = true});
    rig_start(r);
    rig_turn(r);
    rig_stop(r, 0);
    assert_int_equal(r->subscriber.canceled, 1);
    rig_turn(r);
    assert_true(r->stopped);
    rig_free(r);
}

static void an_update_without_batches_sends_those_that_gather(void **state)
{
    (void)state;
    struct rig *r = setup(5, 3600 * NS_PER_S, 3);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->seen_count, 0);
    r->spec.batch_max = 0;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 1 2");
    rig_free(r);
}

static void more_than_ingress_takes_is_refused(void **state)
{
    (void)state;
    struct rig *r = setup(DISPATCH_BATCH_MAX + 1, 0, 0);
    assert_int_equal(dispatch_stream_start(r->dispatcher, &r->bus.base, NULL, &r->spec, &r->stream), ERR_INVALID);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_batch_goes_at_once_and_the_rest_after_its_wait),
        cmocka_unit_test(without_a_wait_what_came_in_one_turn_goes_together),
        cmocka_unit_test(a_batch_asks_for_no_reply_and_keeps_the_terms),
        cmocka_unit_test(a_failed_batch_fails_each_event_for_itself_and_gathers_again),
        cmocka_unit_test(each_event_of_a_refused_batch_has_its_own_dead_letter),
        cmocka_unit_test(a_sink_that_refuses_at_once_fails_them_too),
        cmocka_unit_test(a_local_sink_and_reply_only_get_their_events_singly),
        cmocka_unit_test(a_batch_takes_one_token_of_the_rate),
        cmocka_unit_test(a_batch_has_one_event_of_a_key_at_most),
        cmocka_unit_test(strict_batches_follow_each_other_in_order),
        cmocka_unit_test(fewer_in_hand_make_smaller_batches_and_none_waits_for_ever),
        cmocka_unit_test(a_batch_is_bounded_in_bytes),
        cmocka_unit_test(who_expires_or_is_too_late_while_it_gathers_is_left_out),
        cmocka_unit_test(services_see_no_hops_in_a_batch),
        cmocka_unit_test(a_revoked_event_leaves_its_batch_and_the_last_takes_it_along),
        cmocka_unit_test(a_stop_releases_those_that_gather_and_lets_a_batch_finish),
        cmocka_unit_test(a_deadline_of_the_stop_cuts_a_batch),
        cmocka_unit_test(an_update_without_batches_sends_those_that_gather),
        cmocka_unit_test(more_than_ingress_takes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
