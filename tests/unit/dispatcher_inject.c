/* SPDX-License-Identifier: Apache-2.0
 *
 * Injected events: they go the way of the stream's own, and whoever injected one learns of its end, once.
 */
#include "../lib/dispatcher_rig.h"

struct injected {
    struct dispatch_injection injection;
    unsigned calls;
    enum dispatch_end how;
};

static bool in_call;

static void on_done(struct dispatch_injection *i, enum dispatch_end how)
{
    struct injected *x = container_of(i, struct injected, injection);
    assert_false(in_call);
    x->calls++;
    x->how = how;
}

static enum err inject(struct rig *r, struct injected *x, const char *id, const char *name, const char *value)
{
    const struct ce_event *e = rig_event_with(id, name, value);
    *x = (struct injected){.injection.done = on_done};
    in_call = true;
    enum err err = dispatch_stream_inject(r->stream, e, &x->injection);
    in_call = false;
    ce_event_unref(e); /* the stream has its own reference */
    return err;
}

static void it_is_delivered_and_told(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct injected x;
    rig_start(r);
    rig_turn(r);
    assert_int_equal(inject(r, &x, "redriven", NULL, NULL), OK);
    assert_int_equal(x.calls, 0);
    rig_turn(r);
    assert_int_equal(x.calls, 1);
    assert_int_equal(x.how, DISPATCH_DELIVERED);
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT); /* the bus has nothing to do with it */
    rig_free(r);
}

static void it_is_retried_dead_lettered_and_parked_like_others(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct injected x[2];
    RIG_SCRIPT(&r->subscriber, {.status = 503});
    RIG_SCRIPT(&r->dead_letter, {.status = 200}, {.status = 400});
    r->spec.dead_letter = &r->dead_letter.base;
    r->spec.delivery.retry = 1;
    rig_start(r);
    assert_int_equal(inject(r, &x[0], "a", NULL, NULL), OK);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_int_equal(inject(r, &x[1], "b", NULL, NULL), OK);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SSDSSD");
    assert_int_equal(x[0].how, DISPATCH_DEAD_LETTERED);
    assert_int_equal(x[1].how, DISPATCH_PARKED);
    assert_int_equal(x[0].calls + x[1].calls, 2);
    rig_free(r);
}

static void it_keeps_the_order_of_its_key_and_the_rate(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct injected x;
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    r->spec.order = ORDER_KEY;
    r->spec.rate_interval_ns = NS_PER_S;
    r->one_per_key = true;
    rig_publish_with(r, "partitionkey", "k");
    rig_start(r);
    rig_turn(r);
    assert_int_equal(inject(r, &x, "i", "partitionkey", "k"), OK);
    rig_pass(r, 900 * MS, 10 * MS);
    assert_string_equal(rig_ids(r), "0");
    rig_pass(r, 200 * MS, 10 * MS);
    assert_string_equal(rig_ids(r), "0 i");
    assert_int_equal(x.calls, 1);
    rig_free(r);
}

static void it_passes_filter_dedup_and_times(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct injected x[3];
    struct filter *filter;
    assert_int_equal(filter_attribute(FILTER_EXACT, SLICE("id"), SLICE("nobody"), &filter, NULL), OK);
    r->spec.filter = filter;
    r->spec.dedup_window_ns = 60 * NS_PER_S;
    rig_start(r);
    filter_unref(filter);
    assert_int_equal(inject(r, &x[0], "a", NULL, NULL), OK);
    assert_int_equal(inject(r, &x[1], "a", "expirytime", "2001-01-01T00:00:00Z"), OK);
    rig_turn(r);
    assert_int_equal(x[0].how + x[1].how, 2 * DISPATCH_DELIVERED);
    assert_int_equal(x[0].calls + x[1].calls, 2);
    rig_free(r);
}

static void there_are_as_many_in_hand_as_there_are_places(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct injected x[3];
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    r->spec.in_flight_max = 2;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(inject(r, &x[0], "a", NULL, NULL), OK);
    assert_int_equal(inject(r, &x[1], "b", NULL, NULL), OK);
    assert_int_equal(inject(r, &x[2], "c", NULL, NULL), ERR_FULL);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 a");
    rig_pass(r, 30 * MS, 10 * MS);
    assert_string_equal(rig_ids(r), "0 a b");
    assert_int_equal(inject(r, &x[2], "c", NULL, NULL), OK);
    rig_pass(r, 10 * MS, 10 * MS);
    assert_int_equal(x[2].calls, 1);
    rig_free(r);
}

static void a_stop_hands_it_back(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct injected x[3];
    RIG_SCRIPT(&r->subscriber, {.status = 503}, {.hang = true});
    r->spec.delivery.retry = 5;
    r->spec.order = ORDER_KEY; /* which lets the bus's own wait for the detach */
    rig_start(r);
    assert_int_equal(inject(r, &x[0], "a", NULL, NULL), OK);
    rig_turn(r);
    assert_int_equal(inject(r, &x[1], "b", NULL, NULL), OK);
    rig_turn(r);
    rig_stop(r, 50 * MS);
    assert_int_equal(inject(r, &x[2], "c", NULL, NULL), ERR_CLOSED);
    rig_turn(r);
    assert_int_equal(x[0].calls, 1);
    assert_int_equal(x[0].how, DISPATCH_RELEASED);
    assert_int_equal(x[1].calls, 0);
    rig_pass(r, 50 * MS, 10 * MS);
    assert_int_equal(x[1].how, DISPATCH_RELEASED);
    assert_int_equal(x[1].calls, 1);
    assert_true(r->stopped);
    rig_free(r);
}

static void one_cut_while_it_is_parked_is_told_once(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct injected x;
    RIG_SCRIPT(&r->subscriber, {.status = 400});
    r->park.hold = true;
    rig_start(r);
    assert_int_equal(inject(r, &x, "a", NULL, NULL), OK);
    rig_turn(r);
    assert_int_equal(r->park.tries, 1);
    rig_stop(r, 0);
    rig_turn(r);
    assert_int_equal(x.calls, 1);
    assert_int_equal(x.how, DISPATCH_RELEASED);
    rig_park_answer(r);
    rig_turn(r);
    assert_int_equal(x.calls, 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_delivered_and_told),
        cmocka_unit_test(it_is_retried_dead_lettered_and_parked_like_others),
        cmocka_unit_test(it_keeps_the_order_of_its_key_and_the_rate),
        cmocka_unit_test(it_passes_filter_dedup_and_times),
        cmocka_unit_test(there_are_as_many_in_hand_as_there_are_places),
        cmocka_unit_test(a_stop_hands_it_back),
        cmocka_unit_test(one_cut_while_it_is_parked_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
