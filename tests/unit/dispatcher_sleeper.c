/* SPDX-License-Identifier: Apache-2.0
 *
 * Sleepers: the first event makes the stream, no credit is lost or given twice on the way, and what cannot be made now
 * is made later.
 */
#include "../lib/dispatcher_rig.h"

struct sleeping {
    struct dispatch_sleeper sleeper;
    struct rig *rig;
    unsigned wakes, refused; /* refused: so many of the first do not succeed */
    unsigned stops;
};

static enum err wake(struct dispatch_sleeper *s)
{
    struct sleeping *x = container_of(s, struct sleeping, sleeper);
    if (x->wakes++ < x->refused)
        return ERR_UNAVAILABLE;
    return dispatch_sleeper_begin(s, &x->rig->spec);
}

static void stopped(struct dispatch_sleeper *s)
{
    struct sleeping *x = container_of(s, struct sleeping, sleeper);
    x->stops++;
    rig_stopped(x->rig);
}

static const struct dispatch_sleeper_ops ops = {wake, stopped};

static struct rig *start_with(struct sleeping *x, unsigned credit)
{
    *x = (struct sleeping){.rig = rig_new(1)};
    assert_int_equal(dispatch_sleeper_start(&x->sleeper, x->rig->dispatcher, &x->rig->bus.base, NULL, &ops, credit),
                     OK);
    rig_turn(x->rig);
    assert_int_equal(x->rig->bus.credit, credit);
    assert_int_equal(x->rig->subscriber.base.refs, 1); /* it has no sink */
    return x->rig;
}

static struct rig *start(struct sleeping *x)
{
    return start_with(x, 1);
}

static void stop(struct sleeping *x)
{
    dispatch_sleeper_stop(&x->sleeper, 0);
    assert_int_equal(x->stops, 0);
    rig_turn(x->rig);
    assert_int_equal(x->stops, 1);
    rig_free(x->rig);
}

static void the_first_event_makes_the_stream(void **state)
{
    (void)state;
    struct sleeping x;
    struct rig *r = start(&x);
    for (int i = 0; i < 100; i++)
        rig_publish(r);
    rig_pass(r, 10 * MS, MS);
    assert_int_equal(x.wakes, 1);
    assert_int_equal(r->counters.delivered, 100);
    assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT);
    assert_in_range(r->bus.unsettled_max, 1, DISPATCH_IN_FLIGHT);
    stop(&x);
}

/* Of a queue that others share: what it has in hand is never more than its stream may have. */
static void its_credit_is_the_stream_s(void **state)
{
    (void)state;
    struct sleeping x;
    struct rig *r = start_with(&x, 7);
    r->spec.in_flight_max = 7;
    x.refused = 3; /* with all that come behind them, until the credit comes again */
    for (int i = 0; i < 100; i++)
        rig_publish(r);
    rig_pass(r, NS_PER_S, 10 * MS);
    assert_int_equal(x.wakes, 4);
    assert_int_equal(r->counters.delivered, 100);
    assert_int_equal(r->bus.credit, 7);
    assert_in_range(r->bus.unsettled_max, 1, 7);
    stop(&x);
}

static void one_that_had_no_event_stops(void **state)
{
    (void)state;
    struct sleeping x;
    start(&x);
    stop(&x);
    assert_int_equal(x.wakes, 0);
}

static void what_it_cannot_begin_comes_again(void **state)
{
    (void)state;
    struct sleeping x;
    struct rig *r = start(&x);
    x.refused = 2;
    rig_publish(r);
    rig_pass(r, 10 * MS, MS);
    assert_int_equal(x.wakes, 1);
    assert_int_equal(r->bus.credit, 0);
    assert_int_equal(r->bus.events[0].releases, 1);
    rig_pass(r, 250 * MS, 10 * MS);
    assert_int_equal(x.wakes, 3);
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->bus.events[0].deliveries, 3);
    assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT);
    stop(&x);
}

static void one_that_waits_to_begin_is_woken_or_stops(void **state)
{
    (void)state;
    for (int woken = 0; woken < 2; woken++) {
        struct sleeping x;
        struct rig *r = start(&x);
        x.refused = 1;
        rig_publish(r);
        rig_pass(r, 10 * MS, MS);
        if (woken)
            assert_int_equal(dispatch_sleeper_begin(&x.sleeper, &r->spec), OK);
        rig_pass(r, woken ? 10 * MS : 0, MS);
        assert_int_equal(r->counters.delivered, woken);
        assert_int_equal(r->bus.credit, woken ? DISPATCH_IN_FLIGHT : 0);
        dispatch_sleeper_stop(&x.sleeper, 0);
        rig_pass(r, NS_PER_S, 50 * MS); /* also beyond the time to try again */
        assert_int_equal(x.stops, 1);
        rig_free(r);
    }
}

static void one_is_woken_without_an_event(void **state)
{
    (void)state;
    struct sleeping x;
    struct rig *r = start(&x);
    assert_int_equal(dispatch_sleeper_begin(&x.sleeper, &r->spec), OK);
    rig_turn(r);
    assert_int_equal(r->bus.credit, DISPATCH_IN_FLIGHT);
    rig_publish(r);
    rig_pass(r, 10 * MS, MS);
    assert_int_equal(x.wakes, 0);
    assert_int_equal(r->counters.delivered, 1);
    stop(&x);
}

static void one_without_terms_stays_asleep(void **state)
{
    (void)state;
    struct sleeping x;
    struct rig *r = start(&x);
    struct dispatch_spec bad = r->spec;
    bad.subscriber = NULL;
    assert_int_equal(dispatch_sleeper_begin(&x.sleeper, &bad), ERR_INVALID);
    assert_null(x.sleeper.stream);
    assert_int_equal(r->bus.credit, 1);
    stop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_credit_is_the_stream_s),
        cmocka_unit_test(the_first_event_makes_the_stream),
        cmocka_unit_test(one_that_had_no_event_stops),
        cmocka_unit_test(what_it_cannot_begin_comes_again),
        cmocka_unit_test(one_that_waits_to_begin_is_woken_or_stops),
        cmocka_unit_test(one_is_woken_without_an_event),
        cmocka_unit_test(one_without_terms_stays_asleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
