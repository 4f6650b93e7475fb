/* SPDX-License-Identifier: Apache-2.0
 *
 * The generator gives the published numbers, stays in bounds, and its identifiers have the form of RFC 9562. And the
 * clocks, which the simulator owns together with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "prng.h"

static void xoshiro_from_a_known_state(void **state)
{
    (void)state;
    /* What the authors' reference program gives from this state; the first is rotl(2 * 5, 7) * 9. */
    struct prng p = {{1, 2, 3, 4}};
    assert_true(prng_next(&p) == 11520);
    assert_true(prng_next(&p) == 0);
    assert_true(prng_next(&p) == 1509978240);
    assert_true(prng_next(&p) == 1215971899390074240u);
}

static void the_same_seed_gives_the_same_numbers(void **state)
{
    (void)state;
    struct prng a, b, c;
    prng_seed(&a, 42);
    prng_seed(&b, 42);
    prng_seed(&c, 43);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t x = prng_next(&a);
        assert_true(x == prng_next(&b));
        same += x == prng_next(&c);
    }
    assert_int_equal(same, 0);
}

static void the_first_state_word_is_splitmix64(void **state)
{
    (void)state;
    /* The published first outputs of splitmix64 for the seed 0. */
    struct prng p;
    prng_seed(&p, 0);
    assert_true(p.state[0] == 0xe220a8397b1dcdafu);
    assert_true(p.state[1] == 0x6e789e6aa1b965f4u);
}

static void below_stays_below_and_reaches_everything(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 7);
    for (uint64_t bound = 1; bound < 20; bound++) {
        unsigned seen[20] = {0};
        for (int i = 0; i < 4000; i++) {
            uint64_t x = prng_below(&p, bound);
            assert_true(x < bound);
            seen[x]++;
        }
        for (uint64_t x = 0; x < bound; x++)
            assert_in_range(seen[x], 4000 / bound / 2, 4000 / bound * 3 / 2 + 1);
    }
    for (int i = 0; i < 1000; i++) {
        assert_true(prng_below(&p, (1ull << 63) + 1) <= 1ull << 63);
        assert_true(prng_below(&p, UINT64_MAX) < UINT64_MAX);
    }
    /* A third of the numbers below 3 * 2^62 are below 2^62; a plain remainder would put half of them there. */
    unsigned low = 0;
    for (int i = 0; i < 3000; i++)
        low += prng_below(&p, 3ull << 62) < 1ull << 62;
    assert_in_range(low, 850, 1150);
}

static void uuids_have_their_form_and_differ(void **state)
{
    (void)state;
    struct prng p;
    prng_seed_system(&p);
    char before[37] = "";
    for (int i = 0; i < 1000; i++) {
        char id[37];
        memset(id, 'x', sizeof(id));
        prng_uuid(&p, id);
        assert_int_equal(strlen(id), 36);
        for (int k = 0; k < 36; k++) {
            if (k == 8 || k == 13 || k == 18 || k == 23)
                assert_int_equal(id[k], '-');
            else
                assert_non_null(strchr("0123456789abcdef", id[k]));
        }
        assert_int_equal(id[14], '4');
        assert_non_null(strchr("89ab", id[19]));
        assert_string_not_equal(id, before);
        memcpy(before, id, sizeof(id));
    }
}

static void two_system_seeds_differ(void **state)
{
    (void)state;
    struct prng a, b;
    prng_seed_system(&a);
    prng_seed_system(&b);
    assert_memory_not_equal(&a, &b, sizeof(a));
}

static void the_fake_clock_moves_by_hand_only(void **state)
{
    (void)state;
    struct clock_fake f;
    clock_fake_init(&f, 100, -50);
    assert_true(clock_monotonic_ns(&f.base) == 100);
    assert_true(clock_wall_ns(&f.base) == -50);
    clock_fake_advance(&f, 3 * NS_PER_S);
    assert_true(clock_monotonic_ns(&f.base) == 100 + 3 * NS_PER_S);
    assert_true(clock_wall_ns(&f.base) == (int64_t)(3 * NS_PER_S) - 50);
}

static void the_system_clock_is_the_systems(void **state)
{
    (void)state;
    const struct clock *c = clock_system();
    uint64_t a = clock_monotonic_ns(c);
    assert_true(clock_monotonic_ns(c) >= a);
    int64_t apart = clock_wall_ns(c) / (int64_t)NS_PER_S - (int64_t)time(NULL);
    assert_true(apart >= -2 && apart <= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xoshiro_from_a_known_state),
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(the_first_state_word_is_splitmix64),
        cmocka_unit_test(below_stays_below_and_reaches_everything),
        cmocka_unit_test(uuids_have_their_form_and_differ),
        cmocka_unit_test(two_system_seeds_differ),
        cmocka_unit_test(the_fake_clock_moves_by_hand_only),
        cmocka_unit_test(the_system_clock_is_the_systems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
