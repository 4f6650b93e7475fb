/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking for notes and watching channels, on a real engine, with each allocation of the control loop failing in turn:
 * the error comes back, or what is missing is said; nothing leaks, and the engine stops as ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#include "../../broker/lookup.h"
#include "../../broker/tap.h"
#include "../lib/fault.h"
#include "loop.h"

#define ALARM_S 60

static struct loop *control;
static struct engine *engine;

static int set_up(void **state)
{
    (void)state;
    const struct engine_options options = {.loops = 2, .event_bytes_max = 1 << 20, .trace_bytes = TRACE_BYTES_MIN};
    struct diag d = {0};
    alarm(ALARM_S);
    if (loop_new(clock_system(), 64, &control) != OK)
        return -1;
    return engine_new(control, &options, &engine, &d) == OK ? 0 : -1;
}

static void turn_until(const bool *fact)
{
    while (!*fact)
        assert_int_equal(loop_turn(control, UINT64_MAX), OK);
}

static void stopped(void *arg, const struct engine_rest *rest)
{
    *(bool *)arg = true;
    assert_int_equal(rest->lost + rest->kept, 0);
}

static int tear_down(void **state)
{
    bool done = false;
    (void)state;
    engine_stop(engine, stopped, &done);
    turn_until(&done);
    engine_free(engine);
    loop_free(control);
    return 0;
}

/* ---- lookups ---- */

struct answer {
    bool done, cut;
};

static void found(void *arg, struct lookup *l)
{
    struct answer *a = arg;
    a->done = true;
    a->cut = l->cut;
    assert_int_equal(l->count, 0);
    lookup_free(l);
}

static void a_lookup_without_memory(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct answer a = {0};
        fault_arm(n);
        enum err e = lookup_start(engine, SLICE("an id"), SLICE("/source"), found, &a);
        if (e == OK)
            turn_until(&a.done);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        assert_int_equal(a.cut, fired && e == OK); /* what could not be gathered is said to be missing */
        if (!fired) {
            assert_true(n > 2);
            return;
        }
    }
}

/* ---- taps ---- */

static void opened(void *arg)
{
    *(bool *)arg = true;
}

static void event(void *arg, const struct ce_event *e, int64_t wall_ns)
{
    (void)arg, (void)e, (void)wall_ns;
    fail_msg("nothing enters");
}

static void a_tap_without_memory(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        bool there = false;
        struct tap *t = NULL;
        const struct tap_options options = {.channel = 1, .opened = opened, .event = event, .arg = &there};
        fault_arm(n);
        enum err e = tap_open(engine, &options, &t);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        if (fired)
            continue;
        turn_until(&there);
        assert_int_equal(tap_left_out(t), 0);
        tap_close(t);
        assert_int_equal(n, 2);
        return;
    }
}

/* Also before all shards have it. */
static void a_tap_may_close_at_any_time(void **state)
{
    (void)state;
    bool there = false;
    struct tap *early, *late;
    const struct tap_options options = {.channel = 1, .opened = opened, .event = event, .arg = &there};
    assert_int_equal(tap_open(engine, &options, &early), OK);
    tap_close(early);
    assert_int_equal(tap_open(engine, &options, &late), OK);
    turn_until(&there);
    tap_close(late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lookup_without_memory),
        cmocka_unit_test(a_tap_without_memory),
        cmocka_unit_test(a_tap_may_close_at_any_time),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
