/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions on parked events, on a memory and on a faulty bus over two loops that the test turns: what is looked at is
 * handed back, bounds hold, tasks end whatever the bus takes back, and no allocation that fails loses an event.
 */
#include "../lib/dlq_rig.h"

/* ---- tests ---- */

static void test_looking_takes_nothing(void **state)
{
    (void)state;
    park(300, 10);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(look(), OK);
        assert_int_equal(bench->collection.count, 300);
        assert_false(bench->collection.more);
        for (size_t i = 1; i < 300; i++)
            assert_true(bench->collection.items[i - 1].parked_ns < bench->collection.items[i].parked_ns);
        close_look();
        assert_false(nobody_looks()); /* for a while it is kept for whoever looks next */
        if (again == 0)
            continue;
        until(nobody_looks());
    }
    assert_int_equal(parked(), 300);
    assert_int_equal(look(), OK);
    assert_int_equal(bench->collection.count, 300);
    close_look();
}

static void test_one_who_comes_while_it_is_handed_back(void **state)
{
    (void)state;
    park(20, 10);
    assert_int_equal(look(), OK);
    struct dlq_session *session = bench->collection.sessions[0];
    close_look();
    until(session->resting);
    assert_int_equal(look(), OK); /* attaches once more */
    assert_ptr_equal(bench->collection.sessions[0], session);
    assert_int_equal(bench->collection.count, 20);
    close_look();
    until(nobody_looks());
    assert_int_equal(parked(), 20);
}

static void test_no_more_than_the_bound_is_held(void **state)
{
    (void)state;
    park(DLQ_HELD_MAX + 600, 1);
    assert_int_equal(look(), OK);
    assert_int_equal(bench->collection.count, DLQ_HELD_MAX);
    assert_int_equal(bench->collection.total, DLQ_HELD_MAX + 600);
    assert_true(bench->collection.more);
    close_look();
    struct task *t = discard_all(); /* in rounds */
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_DONE);
    assert_int_equal(t->done, DLQ_HELD_MAX + 600);
    assert_int_equal(parked(), 0);
}

static void test_nor_more_bytes(void **state)
{
    (void)state;
    park(90, MIB);
    assert_int_equal(look(), OK);
    assert_in_range(bench->collection.count, 32, 32 + DLQ_CREDIT + DLQ_CREDIT / 2);
    assert_true(bench->collection.more);
    close_look();
    struct task *t = discard_all();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->done, 90);
    assert_int_equal(parked(), 0);
}

static void test_a_filter_that_matches_nothing_of_what_can_be_seen(void **state)
{
    struct dlq_order order = {0};
    struct task *t;
    (void)state;
    park(DLQ_HELD_MAX + 1, 1);
    assert_int_equal(filter_attribute(FILTER_EXACT, SLICE("type"), SLICE("u"), &order.selection.filter, NULL), OK);
    assert_int_equal(look(), OK);
    assert_int_equal(dlq_job_start(&bench->engine.dlq, "some", &order, &bench->collection, &t), OK);
    close_look();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->done, 0);
    assert_non_null(strstr(t->message, "those beyond were not looked at"));
    assert_int_equal(parked(), DLQ_HELD_MAX + 1);
}

static void test_cancel(void **state)
{
    (void)state;
    park(2000, 10);
    struct task *t = discard_all();
    until(t->done > 0);
    assert_true(task_cancel(t));
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_CANCELED);
    assert_in_range(t->done, 1, 1999);
    assert_int_equal(parked(), 2000 - t->done);
}

static void test_without_a_stream_nothing_is_redriven(void **state)
{
    struct dlq_order order = {.redrive = true, .selection.all = true};
    struct task *t;
    (void)state;
    park(3, 10);
    assert_int_equal(look(), OK);
    assert_int_equal(dlq_job_start(&bench->engine.dlq, "all", &order, &bench->collection, &t), OK);
    close_look();
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_FAILED);
    assert_non_null(strstr(t->message, "paused"));
    assert_int_equal(parked(), 3);
}

static void test_a_bus_that_takes_back(void **state)
{
    (void)state;
    park(500, 10);
    assert_int_equal(look(), OK);
    close_look();
    struct task *t = discard_all();
    until(t->state != TASK_RUNNING);
    until(parked() == 500 - t->done);
    for (int rounds = 0; parked() > 0; rounds++) { /* it may have given up, and says so */
        assert_true(rounds < 100);
        t = discard_all();
        until(t->state != TASK_RUNNING);
    }
}

static void test_two_at_once(void **state)
{
    (void)state;
    park(1500, 10);
    struct task *a = discard_all(), *b = discard_all();
    until(a->state != TASK_RUNNING && b->state != TASK_RUNNING);
    assert_int_equal(a->done + b->done, 1500);
    assert_int_equal(a->failed + b->failed, 0);
    assert_int_equal(parked(), 0);
}

static void test_a_stop_in_the_middle(void **state)
{
    (void)state;
    park(3000, 10);
    struct task *t = discard_all();
    until(t->done > 0);
    task_cancel_all(&bench->engine.tasks);
    dlq_stop_begin(&bench->engine.dlq);
    assert_int_equal(look(), ERR_CLOSED);
    assert_int_equal(t->state, TASK_RUNNING);
    until(t->state != TASK_RUNNING);
    assert_int_equal(t->state, TASK_CANCELED);
    assert_int_equal(parked(), 3000 - t->done);
}

static void test_not_ready(void **state)
{
    (void)state;
    bench->subscription->parked_ready = false;
    assert_int_equal(look(), ERR_UNAVAILABLE);
    assert_true(nobody_looks());
}

/* One try with the n-th allocation failing: a look, and a discard of everything. */
static enum err try_all(unsigned n, bool *fired, uint64_t *done)
{
    struct dlq_order order = {.selection.all = true};
    struct task *t = NULL;
    fault_arm(n);
    enum err e = look();
    if (e == OK)
        e = dlq_job_start(&bench->engine.dlq, "all", &order, &bench->collection, &t);
    close_look();
    if (t)
        until(t->state != TASK_RUNNING);
    *fired = fault_disarm();
    *done = t ? t->done : 0;
    return t && t->state == TASK_FAILED ? ERR_NOMEM : e;
}

static void test_without_memory(void **state)
{
    uint64_t left = 0;
    (void)state;
    for (unsigned n = 1;; n++) {
        bool fired;
        uint64_t done;
        park((unsigned)(40 - left), 10);
        enum err e = try_all(n, &fired, &done);
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        until(nobody_looks());
        left = parked();
        assert_int_equal(left, 40 - done);
        if (!fired)
            break;
    }
    assert_int_equal(left, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_looking_takes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_one_who_comes_while_it_is_handed_back, begin, end),
        cmocka_unit_test_setup_teardown(test_no_more_than_the_bound_is_held, begin, end),
        cmocka_unit_test_setup_teardown(test_nor_more_bytes, begin, end),
        cmocka_unit_test_setup_teardown(test_a_filter_that_matches_nothing_of_what_can_be_seen, begin, end),
        cmocka_unit_test_setup_teardown(test_cancel, begin, end),
        cmocka_unit_test_setup_teardown(test_without_a_stream_nothing_is_redriven, begin, end),
        cmocka_unit_test_setup_teardown(test_a_bus_that_takes_back, begin_faulty, end),
        cmocka_unit_test_setup_teardown(test_two_at_once, begin, end),
        cmocka_unit_test_setup_teardown(test_a_stop_in_the_middle, begin, end),
        cmocka_unit_test_setup_teardown(test_not_ready, begin, end),
        cmocka_unit_test_setup_teardown(test_without_memory, begin, end),
    };
    return cmocka_run_group_tests_name("broker_dlq", tests, NULL, NULL);
}
