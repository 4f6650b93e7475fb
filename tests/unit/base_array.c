/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays that grow: what is in them stays, they double, and without memory nothing changes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "array.h"
#include "../lib/fault.h"

static void what_is_in_it_stays(void **state)
{
    (void)state;
    uint32_t *items = NULL;
    size_t room = 0;
    unsigned moves = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        size_t before = room;
        assert_true(array_reserve(&items, &room, i + 1, sizeof *items));
        assert_true(room > i);
        moves += room != before;
        items[i] = i;
    }
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(items[i], i);
    assert_true(moves < 15);
    free(items);
}

static void as_much_as_is_asked_for(void **state)
{
    (void)state;
    char(*items)[100] = NULL;
    size_t room = 0;
    assert_true(array_reserve(&items, &room, 0, sizeof *items));
    assert_null(items);
    assert_true(array_reserve(&items, &room, 1000, sizeof *items));
    assert_true(room >= 1000);
    items[999][99] = 'x';
    free(items);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    char *items = NULL;
    size_t room = 0;
    assert_true(array_reserve(&items, &room, 1, 1));
    items[0] = 'x';
    char *before = items;
    size_t room_before = room;
    fault_arm(1);
    bool grown = array_reserve(&items, &room, room + 1, 1);
    assert_true(fault_disarm());
    assert_false(grown);
    assert_ptr_equal(items, before);
    assert_int_equal(room, room_before);
    assert_int_equal(items[0], 'x');
    free(items);
}

static void what_is_left_over_goes_back(void **state)
{
    (void)state;
    int *items = NULL;
    size_t room = 0;
    array_fit(&items, &room, 0, sizeof *items);
    assert_null(items);
    assert_true(array_reserve(&items, &room, 5, sizeof *items));
    for (int i = 0; i < 5; i++)
        items[i] = i;
    fault_arm(1);
    array_fit(&items, &room, 5, sizeof *items); /* a smaller place is not to be had: it stays */
    assert_true(fault_disarm());
    assert_true(room > 5);
    array_fit(&items, &room, 5, sizeof *items);
    assert_int_equal(room, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(items[i], i);
    assert_true(array_reserve(&items, &room, 6, sizeof *items));
    assert_true(room >= 6);
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_it_stays),
        cmocka_unit_test(as_much_as_is_asked_for),
        cmocka_unit_test(without_memory_nothing_changes),
        cmocka_unit_test(what_is_left_over_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
