/* SPDX-License-Identifier: Apache-2.0
 *
 * The waits before retries and the choice of what is retried: pure functions, so tables and bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dispatcher.h"

#define MS NS_PER_MS

static void exponential_doubles_from_the_delay_itself(void **state)
{
    (void)state;
    struct delivery d = {.backoff_policy = BACKOFF_EXPONENTIAL, .backoff_delay_ns = 1000 * MS};
    static const uint64_t seconds[] = {1, 2, 4, 8, 16};
    for (unsigned n = 1; n <= 5; n++)
        assert_int_equal(backoff_wait_ns(&d, n, NULL), seconds[n - 1] * NS_PER_S);
    d.backoff_delay_ns = 200 * MS;
    uint64_t sum = 0;
    for (unsigned n = 1; n <= 10; n++)
        sum += backoff_wait_ns(&d, n, NULL);
    assert_int_equal(sum, 204600 * MS); /* a Broker's default delivery: 10 retries from PT0.2S */
}

static void linear_waits_longer_by_one_delay_each_time(void **state)
{
    (void)state;
    struct delivery d = {.backoff_policy = BACKOFF_LINEAR, .backoff_delay_ns = 1000 * MS};
    for (unsigned n = 1; n <= 5; n++)
        assert_int_equal(backoff_wait_ns(&d, n, NULL), n * NS_PER_S);
}

static void a_policy_without_a_delay_gets_a_small_one(void **state)
{
    (void)state;
    struct delivery d = {.backoff_policy = BACKOFF_LINEAR};
    assert_int_equal(backoff_wait_ns(&d, 1, NULL), 50 * MS);
    assert_int_equal(backoff_wait_ns(&d, 3, NULL), 150 * MS);
    d.backoff_policy = BACKOFF_EXPONENTIAL;
    assert_int_equal(backoff_wait_ns(&d, 3, NULL), 200 * MS);
}

static void no_wait_is_above_the_cap(void **state)
{
    (void)state;
    struct delivery d = {.backoff_delay_ns = 1000 * MS, .backoff_max_ns = 5000 * MS};
    assert_int_equal(backoff_wait_ns(&d, 3, NULL), 4000 * MS);
    assert_int_equal(backoff_wait_ns(&d, 4, NULL), 5000 * MS);
    d.backoff_delay_ns = 9000 * MS;
    assert_int_equal(backoff_wait_ns(&d, 1, NULL), 5000 * MS);
    d.backoff_max_ns = 0; /* an hour when nothing is said */
    assert_int_equal(backoff_wait_ns(&d, 20, NULL), 3600 * NS_PER_S);
}

static void nothing_overflows(void **state)
{
    (void)state;
    static const uint64_t delays[] = {1, 3, NS_PER_S, 1ull << 62, UINT64_MAX};
    static const uint64_t caps[] = {1, 7, 3600 * NS_PER_S, UINT64_MAX - 1, UINT64_MAX};
    struct prng prng;
    prng_seed(&prng, 1);
    for (int policy = BACKOFF_EXPONENTIAL; policy <= BACKOFF_LINEAR; policy++)
        for (size_t i = 0; i < 5; i++)
            for (size_t j = 0; j < 5; j++) {
                struct delivery d = {.backoff_policy = (enum backoff_policy)policy,
                                     .backoff_delay_ns = delays[i],
                                     .backoff_max_ns = caps[j]};
                uint64_t before = 0;
                for (unsigned n = 1; n <= DISPATCH_RETRY_MAX; n++) {
                    d.jitter_percent = 0;
                    uint64_t wait = backoff_wait_ns(&d, n, &prng);
                    assert_true(wait >= before && wait <= caps[j] && wait > 0);
                    before = wait;
                    d.jitter_percent = 1000; /* nonsense is taken as 100 */
                    assert_true(backoff_wait_ns(&d, n, &prng) <= caps[j]);
                }
            }
}

static void jitter_spreads_to_both_sides_and_no_further(void **state)
{
    (void)state;
    struct delivery d = {.backoff_delay_ns = 1000 * MS, .jitter_percent = 10};
    struct prng prng, same;
    prng_seed(&prng, 42);
    prng_seed(&same, 42);
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t wait = backoff_wait_ns(&d, 1, &prng);
        assert_int_equal(wait, backoff_wait_ns(&d, 1, &same));
        least = wait < least ? wait : least;
        most = wait > most ? wait : most;
    }
    assert_in_range(least, 900 * MS, 901 * MS);
    assert_in_range(most, 1099 * MS, 1100 * MS);
    d.backoff_max_ns = 1000 * MS;
    for (int i = 0; i < 1000; i++)
        assert_in_range(backoff_wait_ns(&d, 1, &prng), 900 * MS, 1000 * MS);
}

static void what_is_retried_by_status(void **state)
{
    (void)state;
    for (int status = 100; status < 600; status++) {
        bool expected = status == 404 || status == 408 || status == 409 || status == 429 || status >= 500;
        if (sink_retryable(OK, status) != expected)
            fail_msg("status %d", status);
    }
}

static void what_is_retried_by_error(void **state)
{
    (void)state;
    static const enum err again[] = {ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_PROTOCOL, ERR_FULL,    ERR_NOMEM,
                                     ERR_CLOSED,      ERR_IO,      ERR_NOTFOUND, ERR_CANCELED};
    static const enum err never[] = {ERR_TOO_LARGE, ERR_INVALID, ERR_DENIED, ERR_UNSUPPORTED};
    for (size_t i = 0; i < sizeof again / sizeof *again; i++)
        assert_true(sink_retryable(again[i], 0));
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        assert_false(sink_retryable(never[i], 0));
    assert_true(sink_retryable(ERR_PROTOCOL, 200)); /* a 200 whose body broke off */
    assert_false(sink_retryable(ERR_PROTOCOL, 422));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponential_doubles_from_the_delay_itself),
        cmocka_unit_test(linear_waits_longer_by_one_delay_each_time),
        cmocka_unit_test(a_policy_without_a_delay_gets_a_small_one),
        cmocka_unit_test(no_wait_is_above_the_cap),
        cmocka_unit_test(nothing_overflows),
        cmocka_unit_test(jitter_spreads_to_both_sides_and_no_further),
        cmocka_unit_test(what_is_retried_by_status),
        cmocka_unit_test(what_is_retried_by_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
