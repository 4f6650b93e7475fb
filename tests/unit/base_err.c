/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of errors has no gap, and a diag always holds one terminated sentence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "err.h"

static void every_error_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = 0; a < ERR_COUNT; a++) {
        assert_non_null(err_name((enum err)a));
        assert_true(strlen(err_name((enum err)a)) > 0);
        assert_int_equal(strspn(err_name((enum err)a), "abcdefghijklmnopqrstuvwxyz_"), strlen(err_name((enum err)a)));
        for (int b = 0; b < a; b++)
            assert_string_not_equal(err_name((enum err)a), err_name((enum err)b));
    }
    assert_string_equal(err_name(ERR_FULL), "full");
    assert_string_equal(err_name(ERR_TOO_LARGE), "too_large");
}

static void every_error_has_a_status(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) {
        int status = err_http_status((enum err)e);
        if (e == OK || e == ERR_PENDING)
            assert_in_range(status, 200, 299);
        else
            assert_in_range(status, 400, 599);
    }
    assert_int_equal(err_http_status(OK), 200);
    assert_int_equal(err_http_status(ERR_PENDING), 202);
    assert_int_equal(err_http_status(ERR_INVALID), 400);
    assert_int_equal(err_http_status(ERR_DENIED), 403);
    assert_int_equal(err_http_status(ERR_NOTFOUND), 404);
    assert_int_equal(err_http_status(ERR_CONFLICT), 409);
    assert_int_equal(err_http_status(ERR_TOO_LARGE), 413);
    assert_int_equal(err_http_status(ERR_FULL), 503);
    assert_int_equal(err_http_status(ERR_TIMEOUT), 504);
}

/* A sender that follows the status must not repeat what can never work, nor give up what can. */
static void status_and_retryable_agree(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++)
        if (err_retryable((enum err)e))
            assert_true(err_http_status((enum err)e) >= 500);
    assert_true(err_retryable(ERR_FULL));
    assert_true(err_retryable(ERR_UNAVAILABLE));
    assert_true(err_retryable(ERR_TIMEOUT));
    assert_true(err_retryable(ERR_NOMEM));
    assert_false(err_retryable(OK));
    assert_false(err_retryable(ERR_PENDING));
    assert_false(err_retryable(ERR_INVALID));
    assert_false(err_retryable(ERR_TOO_LARGE));
    assert_false(err_retryable(ERR_CORRUPT));
}

static void diag_set_fills_the_text_and_returns_the_error(void **state)
{
    (void)state;
    struct diag d = {.line = 3, .column = 7};
    assert_int_equal(diag_set(&d, ERR_INVALID, "'%s' is no %s", "x", "number"), ERR_INVALID);
    assert_string_equal(d.text, "'x' is no number");
    assert_int_equal(d.line, 3);
    assert_int_equal(d.column, 7);
    assert_int_equal(diag_set(NULL, ERR_FULL, "%d", 1), ERR_FULL);
}

static void diag_set_may_wrap_its_own_text(void **state)
{
    (void)state;
    struct diag d = {0};
    assert_int_equal(diag_set(&d, ERR_INVALID, "it is empty"), ERR_INVALID);
    assert_int_equal(diag_set(&d, ERR_INVALID, "spec.filter: %s", d.text), ERR_INVALID);
    assert_string_equal(d.text, "spec.filter: it is empty");
}

static void long_text_is_cut_between_characters(void **state)
{
    (void)state;
    char text[1000];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', shift);
        for (size_t i = shift; i + 4 < sizeof(text); i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 5);
        struct diag d = {0};
        assert_int_equal(diag_set(&d, ERR_INVALID, "%s", text), ERR_INVALID);
        size_t len = strlen(d.text);
        assert_in_range(len, sizeof(d.text) - 4, sizeof(d.text) - 1);
        assert_int_equal((len - shift) % 4, 0);
        assert_memory_equal(d.text, text, len);
    }
    struct diag d = {0};
    memset(text, 'b', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(diag_set(&d, ERR_INVALID, "%s", text), ERR_INVALID);
    assert_int_equal(strlen(d.text), sizeof(d.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_name_of_its_own),
        cmocka_unit_test(every_error_has_a_status),
        cmocka_unit_test(status_and_retryable_agree),
        cmocka_unit_test(diag_set_fills_the_text_and_returns_the_error),
        cmocka_unit_test(diag_set_may_wrap_its_own_text),
        cmocka_unit_test(long_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
