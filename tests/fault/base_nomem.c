/* SPDX-License-Identifier: Apache-2.0
 *
 * Whichever allocation of base/ fails: the error comes back, nothing leaks, and what was there before is still whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/fault.h"
#include "buf.h"
#include "hmac.h"
#include "loop.h"
#include "map.h"

/* Runs body with the first, second ... allocation failing, until one run meets no fault. Returns how many failed. */
static unsigned torture(enum err (*body)(bool *fired))
{
    for (unsigned n = 1;; n++) {
        bool fired = false;
        fault_arm(n);
        enum err e = body(&fired);
        fired = fault_disarm() || fired;
        assert_true(fired ? e == OK || e == ERR_NOMEM : e == OK);
        if (!fired)
            return n - 1;
    }
}

static enum err fill_buf(bool *fired)
{
    struct buf b;
    buf_init(&b, 10000);
    for (int i = 0; i < 300; i++)
        buf_printf(&b, "%03d,", i);
    enum err e = buf_error(&b);
    *fired = fault_disarm();
    assert_int_equal(e, *fired ? ERR_NOMEM : OK);
    assert_true(b.len % 4 == 0); /* pieces are whole */
    for (size_t i = 0; i < b.len / 4; i++)
        assert_int_equal(atoi(b.ptr + 4 * i), (int)i);
    buf_clear(&b);
    buf_put_str(&b, "again");
    assert_int_equal(buf_error(&b), OK);
    assert_true(slice_eq_str(buf_slice(&b), "again"));
    buf_fini(&b);
    return e;
}

static void a_buffer_keeps_what_it_had(void **state)
{
    (void)state;
    assert_true(torture(fill_buf) >= 3);
}

static enum err take(bool *fired)
{
    (void)fired;
    struct buf b;
    buf_init(&b, 100);
    char *s = buf_take_string(&b);
    enum err e = s ? OK : ERR_NOMEM;
    free(s);
    return e;
}

static void taking_a_string_may_fail(void **state)
{
    (void)state;
    assert_int_equal(torture(take), 1);
}

static enum err fill_map(bool *fired)
{
    static int values[200];
    struct map m;
    map_init(&m, 200);
    enum err e = OK;
    int added = 0, refused = 0;
    for (int i = 0; i < 200; i++) {
        char text[20];
        struct slice key = slice_of(text, (size_t)snprintf(text, sizeof(text), "key-%d", i));
        enum err one = i % 2 ? map_add(&m, key, &values[i]) : map_set(&m, key, &values[i], NULL);
        if (one) {
            e = one;
            refused++;
            assert_null(map_get(&m, key));
            assert_int_equal(map_add(&m, key, &values[i]), OK); /* the next try works */
        }
        added++;
        assert_int_equal(m.count, added);
        assert_ptr_equal(map_get(&m, key), &values[i]);
    }
    *fired = fault_disarm();
    assert_true(refused <= 1); /* a table that cannot grow is no failure: only the key itself can be refused */
    int at = 0;
    map_each(x, tmp, &m) assert_ptr_equal(x->value, &values[at++]);
    assert_int_equal(at, 200);
    map_fini(&m);
    return e;
}

static void a_map_stays_whole(void **state)
{
    (void)state;
    assert_true(torture(fill_map) > 200);
}

static enum err make_loop(bool *fired)
{
    (void)fired;
    struct loop *l = NULL;
    enum err e = loop_new(clock_system(), 1, &l);
    assert_true(e ? l == NULL : l != NULL);
    loop_free(l);
    return e;
}

static void a_loop_is_made_or_not(void **state)
{
    (void)state;
    assert_int_equal(torture(make_loop), 1);
}

static enum err make_hmac(bool *fired)
{
    (void)fired;
    struct hmac *h = NULL;
    enum err e = hmac_new(&h);
    assert_true(e ? h == NULL : h != NULL);
    hmac_free(h);
    return e;
}

static void a_code_context_is_made_or_not(void **state)
{
    (void)state;
    assert_int_equal(torture(make_hmac), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_keeps_what_it_had),
        cmocka_unit_test(taking_a_string_may_fail),
        cmocka_unit_test(a_map_stays_whole),
        cmocka_unit_test(a_loop_is_made_or_not),
        cmocka_unit_test(a_code_context_is_made_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
