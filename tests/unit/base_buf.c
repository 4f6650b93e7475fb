/* SPDX-License-Identifier: Apache-2.0
 *
 * A buffer holds what was put in, never more than its limit, and remembers its first failure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "json.h"
#include "prng.h"

#define assert_content(b, expected)                                                                                    \
    do {                                                                                                               \
        assert_int_equal(buf_error(b), OK);                                                                            \
        assert_true(slice_eq_str(buf_slice(b), expected));                                                             \
    } while (0)

static void pieces_follow_each_other(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_content(&b, "");
    buf_put(&b, SLICE("a"));
    buf_put(&b, slice_of(NULL, 0));
    buf_put_str(&b, "bc");
    buf_put_str(&b, NULL);
    buf_put_char(&b, '-');
    buf_put_u64(&b, 0);
    buf_put_char(&b, ' ');
    buf_put_u64(&b, UINT64_MAX);
    buf_printf(&b, "/%d/%s", -5, "x");
    assert_content(&b, "abc-0 18446744073709551615/-5/x");
    buf_consume(&b, 4);
    assert_content(&b, "0 18446744073709551615/-5/x");
    buf_consume(&b, b.len);
    buf_consume(&b, 0);
    assert_content(&b, "");
    buf_fini(&b);
}

static void growth_keeps_every_byte(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    struct prng p;
    prng_seed(&p, 1);
    unsigned char *model = malloc(1 << 20);
    size_t len = 0;
    for (int i = 0; i < 3000; i++) {
        char piece[300];
        size_t n = prng_below(&p, sizeof(piece));
        for (size_t k = 0; k < n; k++)
            piece[k] = (char)prng_next(&p);
        buf_put(&b, slice_of(piece, n));
        memcpy(model + len, piece, n);
        len += n;
        if (i % 7 == 0) {
            size_t drop = prng_below(&p, len + 1);
            buf_consume(&b, drop);
            memmove(model, model + drop, len - drop);
            len -= drop;
        }
        assert_int_equal(b.len, len);
        assert_true(len == 0 || memcmp(b.ptr, model, len) == 0);
    }
    assert_int_equal(buf_error(&b), OK);
    free(model);
    buf_fini(&b);
}

static void the_limit_is_exact(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 300; limit++) {
        struct buf b;
        buf_init(&b, limit);
        for (size_t i = 0; i < limit; i++)
            buf_put_char(&b, 'x');
        assert_int_equal(buf_error(&b), OK);
        buf_put_char(&b, 'y');
        assert_int_equal(buf_error(&b), ERR_TOO_LARGE);
        assert_int_equal(b.len, limit);
        buf_fini(&b);
        assert_int_equal(buf_error(&b), OK);
        buf_printf(&b, "%*s", (int)limit, "");
        assert_int_equal(buf_error(&b), OK);
        buf_printf(&b, "%s", "z");
        assert_int_equal(buf_error(&b), ERR_TOO_LARGE);
        buf_fini(&b);
    }
}

static void printf_obeys_the_limit_where_memory_would_do(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_put_str(&b, "12345678");
    buf_printf(&b, "%s", "abc");
    assert_int_equal(buf_error(&b), ERR_TOO_LARGE);
    assert_int_equal(b.len, 8);
    buf_fini(&b);
}

static void after_a_failure_nothing_is_written(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    buf_put_str(&b, "ab");
    buf_put_str(&b, "cde"); /* whole or not at all */
    buf_put_char(&b, 'f');
    buf_put_u64(&b, 1);
    buf_printf(&b, "g");
    buf_put_json_string(&b, SLICE("h"));
    assert_null(buf_reserve(&b, 0));
    assert_int_equal(buf_error(&b), ERR_TOO_LARGE);
    assert_true(slice_eq_str(buf_slice(&b), "ab"));
    buf_clear(&b);
    buf_put_str(&b, "wxyz");
    assert_content(&b, "wxyz");
    buf_fini(&b);
}

static void no_limit_and_absurd_sizes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_put_str(&b, "abc");
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_int_equal(buf_error(&b), ERR_TOO_LARGE);
    assert_int_equal(b.len, 3);
    buf_fini(&b);
}

static void reserve_gives_room_to_write(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5000);
    for (size_t n = 0; n <= 90; n++) {
        char *to = buf_reserve(&b, n);
        assert_non_null(to);
        memset(to, 'a' + (int)(n % 26), n);
        b.len += n;
    }
    assert_int_equal(b.len, 90 * 91 / 2);
    assert_int_equal(b.ptr[b.len - 1], 'a' + 90 % 26);
    buf_fini(&b);
}

static void take_string_terminates_and_empties(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    char *s = buf_take_string(&b);
    assert_string_equal(s, "");
    free(s);
    buf_put_str(&b, "abcd"); /* as full as it gets: the terminator does not count */
    s = buf_take_string(&b);
    assert_string_equal(s, "abcd");
    free(s);
    assert_content(&b, "");
    buf_put_str(&b, "abcde");
    assert_null(buf_take_string(&b));
    buf_put_str(&b, "ok");
    assert_content(&b, "ok");
    buf_fini(&b);
}

static void json_strings_escape_what_must_be_and_nothing_else(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    buf_put_json_string(&b, SLICE(""));
    assert_content(&b, "\"\"");
    buf_clear(&b);
    buf_put_json_string(&b, SLICE("a\"b\\c/d\b\f\n\r\t\x01\x1f\x7f é😀"));
    assert_content(&b, "\"a\\\"b\\\\c/d\\b\\f\\n\\r\\t\\u0001\\u001f\x7f é😀\"");
    buf_clear(&b);
    buf_put_json_string(&b, slice_of("\0\0", 2));
    assert_content(&b, "\"\\u0000\\u0000\"");
    buf_fini(&b);
}

static void json_strings_read_back_as_they_were(void **state)
{
    (void)state;
    for (int c = 0; c < 128; c++) {
        char text[] = {'x', (char)c, 'y'};
        struct buf b, back;
        buf_init(&b, 100);
        buf_init(&back, 100);
        buf_put_json_string(&b, slice_of(text, 3));
        struct json_value v;
        assert_int_equal(json_check(buf_slice(&b), 0, &v, NULL), OK);
        json_unescape(v.raw, &back);
        assert_true(slice_eq(buf_slice(&back), slice_of(text, 3)));
        buf_fini(&b);
        buf_fini(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_follow_each_other),
        cmocka_unit_test(growth_keeps_every_byte),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(printf_obeys_the_limit_where_memory_would_do),
        cmocka_unit_test(after_a_failure_nothing_is_written),
        cmocka_unit_test(no_limit_and_absurd_sizes),
        cmocka_unit_test(reserve_gives_room_to_write),
        cmocka_unit_test(take_string_terminates_and_empties),
        cmocka_unit_test(json_strings_escape_what_must_be_and_nothing_else),
        cmocka_unit_test(json_strings_read_back_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
