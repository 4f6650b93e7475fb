/* SPDX-License-Identifier: Apache-2.0
 *
 * The desk of a bus: what its stop waits for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "channels/desk.h"

struct rig {
    struct clock_fake fake;
    struct loop *control, *data;
    struct desk desk;
    _Atomic uint64_t of_channel;
    struct bus_op op;
    int ended;
};

static void nothing(struct desk *desk)
{
    (void)desk;
}

static uint64_t nobody(const struct desk *desk)
{
    (void)desk;
    return 0;
}

static void ended(struct bus_op *op, enum err err)
{
    assert_int_equal(err, OK);
    container_of(op, struct rig, op)->ended++;
}

static void setup(struct rig *r)
{
    static const struct bus_ops ops = {.name = "desk"};
    static const struct desk_ops how = {nothing, nothing, nobody};
    *r = (struct rig){.op.done = ended};
    clock_fake_init(&r->fake, NS_PER_S, 0);
    assert_int_equal(loop_new(&r->fake.base, 64, &r->control), OK);
    assert_int_equal(loop_new(&r->fake.base, 64, &r->data), OK);
    const struct bus_env env = {.control = r->control, .loops = &r->data, .loop_count = 1};
    desk_init(&r->desk, &ops, &env, &how, 10);
    r->desk.buffer = 1000;
    assert_int_equal(desk_open(&r->desk), OK);
    desk_start(&r->desk);
}

static void turns(struct rig *r)
{
    for (int i = 0; i < 5; i++) {
        assert_int_equal(loop_turn(r->control, 0), OK);
        assert_int_equal(loop_turn(r->data, 0), OK);
    }
}

static void teardown(struct rig *r)
{
    desk_quit(&r->desk);
    desk_fini(&r->desk);
    loop_free(r->data);
    loop_free(r->control);
}

static void ends_with_its_append(struct rig *r)
{
    turns(r);
    assert_int_equal(r->ended, 0);
    desk_count_out(&r->desk, &r->of_channel, 10, 1);
    turns(r);
    assert_int_equal(r->ended, 1);
}

static void a_stop_waits_for_appends(void **state)
{
    struct rig r;
    (void)state;
    setup(&r);
    assert_int_equal(desk_count_in(&r.desk, &r.of_channel, 10), OK);
    assert_true(desk_stop(&r.desk, &r.op));
    ends_with_its_append(&r);
    teardown(&r);
}

/* Its loop had found the bus open, and was no further when the stop began. */
static void a_stop_waits_for_an_append_that_began_before_it(void **state)
{
    struct rig r;
    (void)state;
    setup(&r);
    assert_false(desk_closed(&r.desk));
    assert_true(desk_stop(&r.desk, &r.op));
    assert_int_equal(loop_turn(r.control, 0), OK); /* nothing is under way */
    assert_int_equal(desk_count_in(&r.desk, &r.of_channel, 10), OK);
    ends_with_its_append(&r);
    teardown(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_waits_for_appends),
        cmocka_unit_test(a_stop_waits_for_an_append_that_began_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
