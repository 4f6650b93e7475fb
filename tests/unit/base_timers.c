/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers: when they run, in which order, and that both stay right while callbacks start, stop and free them.
 */
#include <stdlib.h>

#include "../lib/loop_rig.h"
#include "prng.h"

static void pass(uint64_t ns)
{
    clock_fake_advance(&now, ns);
    turn();
}

#define TIMERS 4000

struct probe {
    struct loop_timer timer;
    int id;
    bool model_armed;
    uint64_t model_due;
    uint64_t model_order;
};

static struct probe probes[TIMERS];
static int ran[TIMERS * 4], ran_count;

static void note(struct loop_timer *t)
{
    ran[ran_count++] = container_of(t, struct probe, timer)->id;
}

static void init_probes(int n)
{
    ran_count = 0;
    for (int i = 0; i < n; i++) {
        probes[i] = (struct probe){.id = i};
        loop_timer_init(&probes[i].timer, note);
    }
}

static void assert_ran(const int *ids, int n)
{
    assert_int_equal(ran_count, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(ran[i], ids[i]);
}

static void timers_run_when_due_and_once(void **state)
{
    (void)state;
    init_probes(3);
    loop_timer_start(loop, &probes[0].timer, 300);
    loop_timer_start(loop, &probes[1].timer, 100);
    loop_timer_start(loop, &probes[2].timer, 200);
    assert_true(loop_timer_armed(&probes[0].timer));
    turn();
    assert_int_equal(ran_count, 0);
    pass(99);
    assert_int_equal(ran_count, 0);
    pass(1);
    assert_ran((int[]){1}, 1);
    assert_false(loop_timer_armed(&probes[1].timer));
    pass(1000);
    assert_ran((int[]){1, 2, 0}, 3);
    pass(1000);
    assert_int_equal(ran_count, 3);
}

static void equal_times_run_in_the_order_of_starting(void **state)
{
    (void)state;
    init_probes(100);
    int expected[100];
    for (int i = 0; i < 100; i++) {
        expected[i] = i * 37 % 100;
        loop_timer_start(loop, &probes[expected[i]].timer, 50);
    }
    pass(50);
    assert_ran(expected, 100);
}

static void a_timer_that_is_armed_is_moved(void **state)
{
    (void)state;
    init_probes(2);
    loop_timer_start(loop, &probes[0].timer, 10);
    loop_timer_start(loop, &probes[1].timer, 10);
    loop_timer_start(loop, &probes[0].timer, 10); /* goes behind the other */
    pass(10);
    assert_ran((int[]){1, 0}, 2);
    loop_timer_start(loop, &probes[0].timer, 10);
    loop_timer_start(loop, &probes[0].timer, 1000);
    pass(999);
    assert_int_equal(ran_count, 2);
    pass(1);
    assert_int_equal(ran_count, 3);
}

static void stopping_what_is_not_armed_is_harmless(void **state)
{
    (void)state;
    init_probes(1);
    loop_timer_stop(loop, &probes[0].timer);
    loop_timer_start(loop, &probes[0].timer, 0);
    loop_timer_stop(loop, &probes[0].timer);
    loop_timer_stop(loop, &probes[0].timer);
    pass(1000);
    assert_int_equal(ran_count, 0);
}

static void endless_delays_never_come(void **state)
{
    (void)state;
    init_probes(1);
    loop_timer_start(loop, &probes[0].timer, UINT64_MAX);
    pass(1ull << 62);
    assert_int_equal(ran_count, 0);
    loop_timer_stop(loop, &probes[0].timer);
}

static void run_again_at_once(struct loop_timer *t)
{
    note(t);
    loop_timer_start(loop, t, 0);
}

static void a_timer_restarted_at_once_waits_for_the_next_turn(void **state)
{
    (void)state;
    init_probes(2);
    loop_timer_init(&probes[0].timer, run_again_at_once);
    loop_timer_start(loop, &probes[0].timer, 0);
    loop_timer_start(loop, &probes[1].timer, 0);
    turn();
    assert_ran((int[]){0, 1}, 2);
    turn();
    assert_ran((int[]){0, 1, 0}, 3);
    loop_timer_stop(loop, &probes[0].timer);
}

static void stop_the_others(struct loop_timer *t)
{
    note(t);
    for (int i = 0; i < 50; i++)
        loop_timer_stop(loop, &probes[i].timer);
}

static void a_timer_stopped_in_the_same_turn_does_not_run(void **state)
{
    (void)state;
    init_probes(50);
    loop_timer_init(&probes[7].timer, stop_the_others);
    for (int i = 0; i < 50; i++)
        loop_timer_start(loop, &probes[i].timer, (uint64_t)(i < 7 ? 20 : 10 + i / 10));
    pass(100);
    assert_ran((int[]){7}, 1);
}

static void free_the_timer(struct loop_timer *t)
{
    ran_count++;
    free(t);
}

static void a_timer_may_free_itself(void **state)
{
    (void)state;
    ran_count = 0;
    for (int i = 0; i < 10; i++) {
        struct loop_timer *t = malloc(sizeof(*t));
        loop_timer_init(t, free_the_timer);
        loop_timer_start(loop, t, (uint64_t)i);
    }
    pass(100);
    assert_int_equal(ran_count, 10);
}

/* The due timers of the model, in order: a plain search for the least. */
static struct probe *model_next(uint64_t at)
{
    struct probe *best = NULL;
    for (int i = 0; i < TIMERS; i++) {
        struct probe *p = &probes[i];
        if (!p->model_armed || p->model_due > at)
            continue;
        if (!best || p->model_due < best->model_due ||
            (p->model_due == best->model_due && p->model_order < best->model_order))
            best = p;
    }
    return best;
}

static void thousands_of_timers_agree_with_a_naive_model(void **state)
{
    (void)state;
    init_probes(TIMERS);
    struct prng r;
    prng_seed(&r, 11);
    uint64_t order = 0;
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 400; i++) {
            struct probe *p = &probes[prng_below(&r, TIMERS)];
            p->model_armed = prng_below(&r, 4) != 0;
            if (p->model_armed) {
                uint64_t delay = prng_below(&r, 3) ? prng_below(&r, 50) : prng_below(&r, 5000);
                loop_timer_start(loop, &p->timer, delay);
                p->model_due = loop_now_ns(loop) + delay;
                p->model_order = order++;
            } else {
                loop_timer_stop(loop, &p->timer);
            }
        }
        ran_count = 0;
        pass(prng_below(&r, 120));
        int at = 0;
        for (struct probe *p; (p = model_next(loop_now_ns(loop))); at++) {
            assert_true(at < ran_count);
            assert_int_equal(ran[at], p->id);
            p->model_armed = false;
        }
        assert_int_equal(at, ran_count);
        for (int i = 0; i < TIMERS; i++)
            assert_int_equal(loop_timer_armed(&probes[i].timer), probes[i].model_armed);
    }
    for (int i = 0; i < TIMERS; i++)
        loop_timer_stop(loop, &probes[i].timer);
}

static void now_stands_still_within_a_turn(void **state)
{
    (void)state;
    uint64_t before = loop_now_ns(loop);
    clock_fake_advance(&now, 500);
    assert_true(loop_now_ns(loop) == before);
    turn();
    assert_true(loop_now_ns(loop) == before + 500);
    assert_ptr_equal(loop_clock(loop), &now.base);
}

static void a_sleeping_loop_wakes_for_its_timer(void **state)
{
    (void)state;
    struct loop *real;
    assert_int_equal(loop_new(clock_system(), 1, &real), OK);
    init_probes(1);
    loop_timer_start(real, &probes[0].timer, 3 * NS_PER_MS);
    uint64_t due = loop_now_ns(real) + 3 * NS_PER_MS;
    int turns = 0;
    for (; !ran_count; turns++)
        assert_int_equal(loop_turn(real, UINT64_MAX), OK);
    assert_true(loop_now_ns(real) >= due);
    assert_int_equal(turns, 1); /* it slept, and was not early */
    loop_free(real);
}

/* How long to sleep goes by the clock, not by the time of the turn before. */
static void a_slow_turn_does_not_delay_what_became_due(void **state)
{
    (void)state;
    init_probes(1);
    loop_timer_start(loop, &probes[0].timer, 20 * NS_PER_S);
    clock_fake_advance(&now, 20 * NS_PER_S);
    uint64_t before = clock_monotonic_ns(clock_system());
    assert_int_equal(loop_turn(loop, UINT64_MAX), OK);
    assert_int_equal(ran_count, 1);
    assert_true(clock_monotonic_ns(clock_system()) - before < 15 * NS_PER_S); /* it did not sleep 20 s */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(timers_run_when_due_and_once),
        TEST(equal_times_run_in_the_order_of_starting),
        TEST(a_timer_that_is_armed_is_moved),
        TEST(stopping_what_is_not_armed_is_harmless),
        TEST(endless_delays_never_come),
        TEST(a_timer_restarted_at_once_waits_for_the_next_turn),
        TEST(a_timer_stopped_in_the_same_turn_does_not_run),
        TEST(a_timer_may_free_itself),
        TEST(thousands_of_timers_agree_with_a_naive_model),
        TEST(now_stands_still_within_a_turn),
        TEST(a_sleeping_loop_wakes_for_its_timer),
        TEST(a_slow_turn_does_not_delay_what_became_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
