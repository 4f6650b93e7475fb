/* SPDX-License-Identifier: Apache-2.0
 *
 * A loop on a clock that the test moves, made anew for each test.
 */
#ifndef LEAT_TESTS_LOOP_RIG_H
#define LEAT_TESTS_LOOP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loop.h"

#define MAILBOX_LIMIT 8

static struct clock_fake now;
static struct loop *loop;

static inline int setup(void **state)
{
    (void)state;
    clock_fake_init(&now, 1000, 0);
    return loop_new(&now.base, MAILBOX_LIMIT, &loop) != OK;
}

static inline int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static inline void turn(void)
{
    assert_int_equal(loop_turn(loop, 0), OK);
}

#endif
