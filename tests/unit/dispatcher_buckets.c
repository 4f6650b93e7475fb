/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of links: what is in it is found, whatever the hashes, and also without memory to grow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static bool refuse;

static void *refusing_calloc(size_t n, size_t size)
{
    return refuse ? NULL : calloc(n, size);
}

#define calloc refusing_calloc
#include "../../dispatcher/buckets.c"
#undef calloc

#define LINKS 5000

static bool is_in(const struct buckets *b, const struct bucket_link *l, uint64_t hash)
{
    for (struct bucket_link *at = buckets_first(b, hash); at; at = buckets_next(at)) {
        assert_int_equal(at->hash, hash);
        if (at == l)
            return true;
    }
    return false;
}

static void fill_and_empty(uint64_t spread)
{
    static struct bucket_link links[LINKS];
    struct buckets b;
    buckets_init(&b);
    for (uint64_t i = 0; i < LINKS; i++)
        buckets_add(&b, &links[i], i * spread);
    assert_int_equal(b.count, LINKS);
    assert_null(buckets_first(&b, LINKS * spread + 1));
    for (uint64_t i = 0; i < LINKS; i += 2)
        buckets_remove(&b, &links[i]);
    for (uint64_t i = 0; i < LINKS; i += 97)
        assert_int_equal(is_in(&b, &links[i], i * spread), i % 2 == 1);
    for (uint64_t i = 1; i < LINKS; i += 2)
        buckets_remove(&b, &links[i]);
    buckets_fini(&b);
}

static void what_is_in_is_found(void **state)
{
    (void)state;
    fill_and_empty(0); /* all of one hash */
    fill_and_empty(1);
    fill_and_empty(1ull << 32); /* equal where the table looks */
    fill_and_empty(0x9e3779b97f4a7c15u);
}

static void without_memory_it_is_slower_and_as_right(void **state)
{
    (void)state;
    refuse = true;
    fill_and_empty(1);
    refuse = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_is_found),
        cmocka_unit_test(without_memory_it_is_slower_and_as_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
