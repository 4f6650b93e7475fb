/* SPDX-License-Identifier: Apache-2.0
 *
 * The test cases of RFC 4231, whole and in pieces, on one context.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "hmac.h"
#include "text.h"

#define TWENTY(b) b b b b b b b b b b b b b b b b b b b b
#define FIFTY(b) TWENTY(b) TWENTY(b) b b b b b b b b b b
#define LONG_KEY FIFTY("\xaa") FIFTY("\xaa") TWENTY("\xaa") ELEVEN("\xaa")
#define ELEVEN(b) b b b b b b b b b b b

static const struct {
    struct slice key, data;
    const char *code;
} cases[] = {
    {SLICE_INIT(TWENTY("\x0b")), SLICE_INIT("Hi There"),
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {SLICE_INIT("Jefe"), SLICE_INIT("what do ya want for nothing?"),
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {SLICE_INIT(TWENTY("\xaa")), SLICE_INIT(FIFTY("\xdd")),
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {SLICE_INIT("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19"),
     SLICE_INIT(FIFTY("\xcd")), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    {SLICE_INIT(LONG_KEY), SLICE_INIT("Test Using Larger Than Block-Size Key - Hash Key First"),
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    {SLICE_INIT(LONG_KEY),
     SLICE_INIT(
         "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
         "hashed before being used by the HMAC algorithm."),
     "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static void check(const unsigned char code[HMAC_SHA256_BYTES], const char *expected)
{
    unsigned char bytes[HMAC_SHA256_BYTES];
    assert_int_equal(hex_decode(slice_str(expected), bytes, sizeof(bytes)), OK);
    assert_memory_equal(code, bytes, sizeof(bytes));
    assert_true(hmac_equal(code, bytes));
}

static int setup(void **state)
{
    struct hmac *h = NULL;
    int failed = hmac_new(&h) != OK;
    *state = h;
    return failed;
}

static int teardown(void **state)
{
    hmac_free(*state);
    return 0;
}

static void the_published_codes(void **state)
{
    struct hmac *h = *state;
    unsigned char code[HMAC_SHA256_BYTES];
    for (size_t i = 0; i < CASES; i++) {
        assert_int_equal(hmac_init(h, cases[i].key), OK);
        assert_int_equal(hmac_update(h, cases[i].data), OK);
        assert_int_equal(hmac_final(h, code), OK);
        check(code, cases[i].code);
    }
}

static void pieces_of_any_size_make_the_same_code(void **state)
{
    struct hmac *h = *state;
    unsigned char code[HMAC_SHA256_BYTES];
    for (size_t i = 0; i < CASES; i++)
        for (size_t piece = 1; piece < 70; piece += 3) {
            assert_int_equal(hmac_init(h, cases[i].key), OK);
            for (struct slice rest = cases[i].data; rest.len;) {
                size_t n = rest.len < piece ? rest.len : piece;
                assert_int_equal(hmac_update(h, slice_of(rest.ptr, n)), OK);
                assert_int_equal(hmac_update(h, slice_of(NULL, 0)), OK);
                rest = slice_from(rest, n);
            }
            assert_int_equal(hmac_final(h, code), OK);
            check(code, cases[i].code);
        }
}

static void a_message_that_was_given_up_leaves_no_trace(void **state)
{
    struct hmac *h = *state;
    unsigned char code[HMAC_SHA256_BYTES];
    assert_int_equal(hmac_init(h, SLICE("other")), OK);
    assert_int_equal(hmac_update(h, SLICE("half a body")), OK);
    assert_int_equal(hmac_init(h, cases[1].key), OK);
    assert_int_equal(hmac_update(h, cases[1].data), OK);
    assert_int_equal(hmac_final(h, code), OK);
    check(code, cases[1].code);
}

/* An empty key must not mean the key of the message before. */
static void an_empty_key_is_a_key(void **state)
{
    struct hmac *h = *state;
    unsigned char code[HMAC_SHA256_BYTES];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hmac_init(h, SLICE("secret")), OK);
        assert_int_equal(hmac_update(h, SLICE("x")), OK);
        assert_int_equal(hmac_final(h, code), OK);
        assert_int_equal(hmac_init(h, i ? SLICE("") : slice_of(NULL, 0)), OK);
        assert_int_equal(hmac_final(h, code), OK);
        check(code, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    }
}

static void equal_sees_every_bit(void **state)
{
    (void)state;
    unsigned char a[HMAC_SHA256_BYTES], b[HMAC_SHA256_BYTES];
    memset(a, 0x5a, sizeof(a));
    memcpy(b, a, sizeof(b));
    assert_true(hmac_equal(a, b));
    for (unsigned bit = 0; bit < sizeof(a) * 8; bit++) {
        b[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_false(hmac_equal(a, b));
        b[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_published_codes, setup, teardown),
        cmocka_unit_test_setup_teardown(pieces_of_any_size_make_the_same_code, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_that_was_given_up_leaves_no_trace, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_key_is_a_key, setup, teardown),
        cmocka_unit_test(equal_sees_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
