/* SPDX-License-Identifier: Apache-2.0
 *
 * The dedup window: duplicates by source and id are counted drops; one whose first is still in hand waits for its end
 * and takes its place when there is none. And the table behind it: ages, bounds, gaps.
 */
#include "../lib/dispatcher_rig.h"

#include "dispatcher/gates.h"

static void publish(struct rig *r, const char *id)
{
    rig_publish_event(r, rig_event(id));
}

static struct rig *setup(uint64_t window_ns)
{
    struct rig *r = rig_new(1);
    r->spec.dedup_window_ns = window_ns;
    return r;
}

static void a_second_event_of_the_same_source_and_id_is_a_counted_drop(void **state)
{
    (void)state;
    struct rig *r = setup(60 * NS_PER_S);
    publish(r, "a");
    publish(r, "b");
    rig_start(r);
    rig_turn(r);
    publish(r, "a");
    publish(r, "c");
    rig_turn(r);
    assert_string_equal(rig_ids(r), "a b c");
    assert_int_equal(r->counters.duplicates, 1);
    assert_int_equal(r->counters.delivered, 3);
    assert_int_equal(r->bus.events[2].state, RIG_ACKED);
    rig_free(r);
}

static void another_source_is_another_event(void **state)
{
    (void)state;
    struct rig *r = setup(60 * NS_PER_S);
    for (int i = 0; i < 2; i++) {
        struct ce_builder b;
        const struct ce_event *e, *base = rig_event("a");
        ce_builder_from(&b, base);
        ce_builder_replace(&b, SLICE("source"), CE_URI_REFERENCE, i ? SLICE("t") : SLICE("u"));
        assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
        ce_event_unref(base);
        rig_publish_event(r, e);
    }
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->counters.delivered, 2);
    rig_free(r);
}

static void after_the_window_it_is_a_new_event(void **state)
{
    (void)state;
    struct rig *r = setup(10 * NS_PER_S);
    publish(r, "a");
    rig_start(r);
    rig_turn(r);
    clock_fake_advance(&r->clock, 10 * NS_PER_S - 1);
    publish(r, "a");
    rig_turn(r);
    assert_int_equal(r->counters.duplicates, 1);
    clock_fake_advance(&r->clock, 1);
    publish(r, "a");
    rig_turn(r);
    assert_string_equal(rig_ids(r), "a a");
    rig_free(r);
}

static void a_duplicate_waits_for_the_end_of_the_first(void **state)
{
    (void)state;
    struct rig *r = setup(60 * NS_PER_S);
    RIG_SCRIPT(&r->subscriber, {.status = 500}, {.status = 200});
    r->spec.delivery.retry = 1;
    for (int i = 0; i < 3; i++)
        publish(r, "a");
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->counters.held, 2);
    assert_int_equal(r->bus.events[1].state, RIG_OUT); /* acked now it might be lost with the first */
    rig_pass(r, 200 * MS, 100 * MS);
    assert_string_equal(rig_ids(r), "a a");
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->counters.duplicates, 2);
    assert_int_equal(r->counters.held, 0);
    rig_free(r);
}

static void a_duplicate_takes_the_place_of_a_first_that_is_taken_back(void **state)
{
    (void)state;
    struct rig *r = setup(60 * NS_PER_S);
    RIG_SCRIPT(&r->subscriber, {.hang = true}, {.status = 200, .delay_ns = MS});
    for (int i = 0; i < 3; i++)
        publish(r, "a");
    rig_start(r);
    rig_turn(r);
    rig_revoke(r, 0);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "a a");
    assert_int_equal(r->counters.held, 2); /* the third, and the first which has come again */
    rig_pass(r, 2 * MS, MS);
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->counters.duplicates, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r->bus.events[i].state, RIG_ACKED);
    rig_free(r);
}

static void an_event_taken_back_is_no_duplicate_of_itself(void **state)
{
    (void)state;
    struct rig *r = setup(60 * NS_PER_S);
    RIG_SCRIPT(&r->subscriber, {.hang = true}, {.status = 200});
    publish(r, "a");
    rig_start(r);
    rig_turn(r);
    rig_revoke(r, 0);
    rig_turn(r);
    assert_string_equal(rig_ids(r), "a a");
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->counters.duplicates, 0);
    rig_free(r);
}

static void parked_and_dead_lettered_events_have_duplicates_too(void **state)
{
    (void)state;
    struct rig *r = setup(60 * NS_PER_S);
    RIG_SCRIPT(&r->subscriber, {.status = 400});
    publish(r, "a");
    publish(r, "a");
    rig_start(r);
    rig_turn(r);
    publish(r, "a");
    rig_turn(r);
    assert_int_equal(r->counters.parked, 1);
    assert_int_equal(r->counters.duplicates, 2);
    rig_free(r);
}

static void a_stop_with_duplicates_waiting_loses_none(void **state)
{
    (void)state;
    for (unsigned deadline = 0; deadline < 2; deadline++) {
        struct rig *r = setup(60 * NS_PER_S);
        RIG_SCRIPT(&r->subscriber, {.hang = true}, {.status = 200});
        for (int i = 0; i < 3; i++)
            publish(r, "a");
        rig_start(r);
        rig_turn(r);
        rig_stop(r, deadline * 100 * MS);
        rig_pass(r, 100 * MS, 50 * MS);
        assert_true(r->stopped);
        r->stopped = false;
        for (int i = 0; i < 3; i++)
            assert_int_equal(r->bus.events[i].state, RIG_READY);
        rig_start(r);
        rig_turn(r);
        assert_int_equal(r->counters.delivered, 1);
        assert_int_equal(r->counters.duplicates, 2);
        rig_free(r);
    }
}

static void an_update_opens_and_closes_the_window(void **state)
{
    (void)state;
    struct rig *r = setup(0);
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    publish(r, "a");
    rig_start(r);
    rig_turn(r);
    r->spec.dedup_window_ns = NS_PER_S;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    publish(r, "a"); /* the first was before the window */
    publish(r, "a");
    rig_turn(r);
    assert_string_equal(rig_ids(r), "a a");
    r->spec.dedup_window_ns = 0;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_pass(r, 10 * MS, 10 * MS);
    assert_int_equal(r->counters.duplicates, 1); /* which was waiting already */
    publish(r, "a");
    rig_pass(r, 10 * MS, 10 * MS);
    assert_int_equal(r->counters.delivered, 3);
    rig_free(r);
}

/* ---- the table ---- */

static const uint64_t key[2] = {1, 2};

static enum dedup_known enter(struct dedup *d, unsigned n, uint64_t now_ns, uint64_t window_ns, bool end)
{
    char id[24];
    snprintf(id, sizeof id, "%u", n);
    const struct ce_event *e = rig_event(id);
    struct flight f = {.event = e}, *twin;
    enum dedup_known known = dedup_enter(d, &f, now_ns, window_ns, &twin);
    if (known == DEDUP_NEW && end)
        dedup_ended(d, &f);
    else if (known == DEDUP_NEW)
        dedup_forget(d, &f, NULL);
    assert_int_equal(f.dedup, 0);
    ce_event_unref(e);
    return known;
}

static void the_table_grows_and_forgets_by_age(void **state)
{
    (void)state;
    struct dedup *d = dedup_new(key);
    for (unsigned n = 0; n < 10000; n++)
        assert_int_equal(enter(d, n, n, 10000, true), DEDUP_NEW);
    for (unsigned n = 0; n < 10000; n++)
        assert_int_equal(enter(d, n, 9999, 10000, true), DEDUP_ENDED);
    for (unsigned n = 0; n < 100; n++) /* at time 10099 those up to 99 are too old */
        assert_int_equal(enter(d, n, 10099, 10000, true), DEDUP_NEW);
    assert_int_equal(enter(d, 100, 10099, 10000, true), DEDUP_ENDED);
    dedup_free(d);
}

static void what_was_forgotten_leaves_only_a_gap(void **state)
{
    (void)state;
    struct dedup *d = dedup_new(key);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned n = 0; n < 3000; n++)
            assert_int_equal(enter(d, n, round, 100, n % 2), round && n % 2 ? DEDUP_ENDED : DEDUP_NEW);
    dedup_free(d);
}

static void a_full_table_forgets_the_oldest_and_whoever_is_in_hand_is_told(void **state)
{
    (void)state;
    struct dedup *d = dedup_new(key);
    const struct ce_event *e = rig_event("first");
    struct flight first = {.event = e}, second = {.event = e}, *twin;
    assert_int_equal(dedup_enter(d, &first, 0, UINT64_MAX, &twin), DEDUP_NEW);
    assert_int_equal(dedup_enter(d, &second, 0, UINT64_MAX, &twin), DEDUP_IN_HAND);
    assert_ptr_equal(twin, &first);
    const struct ce_event *other = rig_event("other");
    for (unsigned n = 0; n < DISPATCH_DEDUP_MAX; n++) { /* gaps take room as well, until they are the oldest */
        struct flight f = {.event = other};
        assert_int_equal(dedup_enter(d, &f, 1, UINT64_MAX, &twin), DEDUP_NEW);
        assert_int_equal(first.dedup != 0, n < DISPATCH_DEDUP_MAX - 1);
        dedup_forget(d, &f, NULL);
    }
    assert_int_equal(dedup_enter(d, &second, 1, UINT64_MAX, &twin), DEDUP_NEW);
    dedup_ended(d, &second);
    ce_event_unref(other);
    ce_event_unref(e);
    dedup_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_event_of_the_same_source_and_id_is_a_counted_drop),
        cmocka_unit_test(another_source_is_another_event),
        cmocka_unit_test(after_the_window_it_is_a_new_event),
        cmocka_unit_test(a_duplicate_waits_for_the_end_of_the_first),
        cmocka_unit_test(a_duplicate_takes_the_place_of_a_first_that_is_taken_back),
        cmocka_unit_test(an_event_taken_back_is_no_duplicate_of_itself),
        cmocka_unit_test(parked_and_dead_lettered_events_have_duplicates_too),
        cmocka_unit_test(a_stop_with_duplicates_waiting_loses_none),
        cmocka_unit_test(an_update_opens_and_closes_the_window),
        cmocka_unit_test(the_table_grows_and_forgets_by_age),
        cmocka_unit_test(what_was_forgotten_leaves_only_a_gap),
        cmocka_unit_test(a_full_table_forgets_the_oldest_and_whoever_is_in_hand_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
