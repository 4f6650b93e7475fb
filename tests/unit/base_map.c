/* SPDX-License-Identifier: Apache-2.0
 *
 * The map against a naive model, its walk, its limit, and its hash against the crypto library's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <endian.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "map.h"
#include "prng.h"
#include "siphash.h"

static int values[1000];

static void get_add_set_remove(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, 100);
    assert_null(map_get(&m, SLICE("a")));
    assert_null(map_remove(&m, SLICE("a")));
    assert_int_equal(map_add(&m, SLICE("a"), &values[0]), OK);
    assert_int_equal(map_add(&m, SLICE("a"), &values[1]), ERR_EXISTS);
    assert_ptr_equal(map_get(&m, SLICE("a")), &values[0]);
    void *old = &values[9];
    assert_int_equal(map_set(&m, SLICE("a"), &values[2], &old), OK);
    assert_ptr_equal(old, &values[0]);
    assert_int_equal(map_set(&m, SLICE("b"), &values[3], &old), OK);
    assert_null(old);
    assert_int_equal(map_set(&m, SLICE("b"), &values[4], NULL), OK);
    assert_ptr_equal(map_get(&m, SLICE("b")), &values[4]);
    assert_int_equal(m.count, 2);
    assert_ptr_equal(map_remove(&m, SLICE("a")), &values[2]);
    assert_null(map_get(&m, SLICE("a")));
    assert_int_equal(m.count, 1);
    map_fini(&m);
    assert_int_equal(m.count, 0);
    assert_null(map_get(&m, SLICE("b")));
    assert_int_equal(map_add(&m, SLICE("b"), &values[0]), OK);
    map_fini(&m);
}

static void keys_are_bytes_and_are_copied(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, 100);
    char key[] = "x\0y";
    assert_int_equal(map_add(&m, slice_of(key, 3), &values[0]), OK);
    assert_int_equal(map_add(&m, slice_of(key, 1), &values[1]), OK);
    assert_int_equal(map_add(&m, slice_of(NULL, 0), &values[2]), OK);
    key[0] = 'z';
    assert_ptr_equal(map_get(&m, slice_of("x\0y", 3)), &values[0]);
    assert_ptr_equal(map_get(&m, SLICE("x")), &values[1]);
    assert_ptr_equal(map_get(&m, SLICE("")), &values[2]);
    assert_null(map_get(&m, slice_of(key, 3)));
    map_fini(&m);
}

static void the_limit_refuses_new_keys_only(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, 2);
    assert_int_equal(map_add(&m, SLICE("a"), &values[0]), OK);
    assert_int_equal(map_add(&m, SLICE("b"), &values[0]), OK);
    assert_int_equal(map_add(&m, SLICE("c"), &values[0]), ERR_FULL);
    void *old = &values[5];
    assert_int_equal(map_set(&m, SLICE("c"), &values[0], &old), ERR_FULL);
    assert_ptr_equal(old, &values[5]);
    assert_int_equal(map_set(&m, SLICE("b"), &values[1], NULL), OK);
    assert_ptr_equal(map_remove(&m, SLICE("a")), &values[0]);
    assert_int_equal(map_add(&m, SLICE("c"), &values[0]), OK);
    map_fini(&m);
}

static void it_agrees_with_a_naive_model(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, 1000);
    int *model[1000] = {0};
    size_t count = 0;
    struct prng p;
    prng_seed(&p, 3);
    for (int i = 0; i < 100000; i++) {
        size_t k = prng_below(&p, 1000);
        char text[40];
        struct slice key = slice_of(text, (size_t)snprintf(text, sizeof(text), "default/channel-%zu", k));
        int *value = &values[prng_below(&p, 1000)];
        void *old = NULL;
        switch (prng_below(&p, 4)) {
        case 0:
            assert_int_equal(map_add(&m, key, value), model[k] ? ERR_EXISTS : OK);
            count += !model[k];
            model[k] = model[k] ? model[k] : value;
            break;
        case 1:
            assert_int_equal(map_set(&m, key, value, &old), OK);
            assert_ptr_equal(old, model[k]);
            count += !model[k];
            model[k] = value;
            break;
        case 2:
            assert_ptr_equal(map_remove(&m, key), model[k]);
            count -= model[k] != NULL;
            model[k] = NULL;
            break;
        default:
            assert_ptr_equal(map_get(&m, key), model[k]);
        }
        assert_int_equal(m.count, count);
    }
    size_t walked = 0;
    map_each(e, tmp, &m) walked++;
    assert_int_equal(walked, count);
    map_fini(&m);
}

static void the_walk_is_in_order_and_may_remove(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, 1000);
    map_each(e, tmp, &m) fail_msg("an empty map has no entries");
    char text[20];
    for (int i = 0; i < 1000; i++) {
        struct slice key = slice_of(text, (size_t)snprintf(text, sizeof(text), "%d", i));
        assert_int_equal(map_add(&m, key, &values[i]), OK);
    }
    /* A replaced value keeps its key's place. */
    assert_int_equal(map_set(&m, SLICE("500"), &values[500], NULL), OK);
    int at = 0;
    map_each(e, tmp, &m)
    {
        snprintf(text, sizeof(text), "%d", at);
        assert_string_equal(e->key.ptr, text);
        assert_ptr_equal(e->value, &values[at]);
        if (at % 3)
            assert_ptr_equal(map_remove(&m, e->key), &values[at]);
        at++;
    }
    assert_int_equal(at, 1000);
    assert_int_equal(m.count, 334);
    at = 0;
    map_each(e, tmp, &m)
    {
        assert_ptr_equal(e->value, &values[at]);
        at += 3;
        (void)map_remove(&m, e->key);
    }
    assert_int_equal(m.count, 0);
    map_fini(&m);
}

static void two_maps_hash_differently(void **state)
{
    (void)state;
    struct map a, b;
    map_init(&a, 1);
    map_init(&b, 1);
    assert_memory_not_equal(a.hash_key, b.hash_key, sizeof(a.hash_key));
    map_fini(&a);
    map_fini(&b);
}

static uint64_t openssl_siphash13(const unsigned char key[16], const unsigned char *bytes, size_t len)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
    unsigned compress = 1, finish = 3;
    size_t size = 8, n = 0;
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                                 OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_C_ROUNDS, &compress),
                                 OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_D_ROUNDS, &finish),
                                 OSSL_PARAM_construct_end()};
    uint64_t out = 0;
    assert_true(EVP_MAC_init(context, key, 16, params));
    assert_true(EVP_MAC_update(context, bytes, len));
    assert_true(EVP_MAC_final(context, (unsigned char *)&out, &n, sizeof(out)));
    assert_int_equal(n, 8);
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(mac);
    return le64toh(out);
}

static void siphash_is_siphash(void **state)
{
    (void)state;
    unsigned char key[16], bytes[70];
    for (unsigned i = 0; i < sizeof(key); i++)
        key[i] = (unsigned char)i;
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 37);
    const uint64_t words[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    for (size_t len = 0; len <= 64; len++)
        for (size_t skew = 0; skew < 4; skew++)
            assert_true(siphash13(words, slice_of((char *)bytes + skew, len)) ==
                        openssl_siphash13(key, bytes + skew, len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_add_set_remove),
        cmocka_unit_test(keys_are_bytes_and_are_copied),
        cmocka_unit_test(the_limit_refuses_new_keys_only),
        cmocka_unit_test(it_agrees_with_a_naive_model),
        cmocka_unit_test(the_walk_is_in_order_and_may_remove),
        cmocka_unit_test(two_maps_hash_differently),
        cmocka_unit_test(siphash_is_siphash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
