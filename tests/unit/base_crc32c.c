/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC32C gives the published numbers, and the same ones by instruction, by tables and bit by bit, wherever the bytes
 * lie and however they are cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c_paths.h"
#include "crc32c.h"
#include "prng.h"

/* The definition. */
static uint32_t bit_by_bit(uint32_t crc, const unsigned char *p, size_t len)
{
    uint32_t c = ~crc;
    for (size_t i = 0; i < len; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
    }
    return ~c;
}

static void check_all(uint32_t crc, const void *bytes, size_t len, uint32_t expected)
{
    assert_int_equal(crc32c(crc, bytes, len), expected);
    assert_int_equal(crc32c_by_tables(crc, bytes, len), expected);
    if (crc32c_instruction_there())
        assert_int_equal(crc32c_by_instruction(crc, bytes, len), expected);
}

/* RFC 3720, appendix B.4, and the check value of the catalogues. */
static void published_numbers(void **state)
{
    (void)state;
    unsigned char b[48];
    memset(b, 0, 32);
    check_all(0, b, 32, 0x8A9136AAu);
    memset(b, 0xFF, 32);
    check_all(0, b, 32, 0x62A8AB43u);
    for (unsigned i = 0; i < 32; i++)
        b[i] = (unsigned char)i;
    check_all(0, b, 32, 0x46DD794Eu);
    for (unsigned i = 0; i < 32; i++)
        b[i] = (unsigned char)(31 - i);
    check_all(0, b, 32, 0x113FDB5Cu);
    static const unsigned char read_command[48] = {0x01, 0xC0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
                                                   0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                                   0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    check_all(0, read_command, 48, 0xD9963A56u);
    check_all(0, "123456789", 9, 0xE3069283u);
    check_all(0, "", 0, 0);
    check_all(0x12345678u, "", 0, 0x12345678u);
}

static void every_alignment_and_short_length(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 11);
    static unsigned char b[300];
    for (size_t i = 0; i < sizeof b; i++)
        b[i] = (unsigned char)prng_next(&p);
    for (size_t at = 0; at < 16; at++)
        for (size_t len = 0; len + at <= 280; len++) {
            uint32_t begun = (uint32_t)prng_next(&p);
            check_all(begun, b + at, len, bit_by_bit(begun, b + at, len));
        }
}

static void joined_pieces_are_the_whole(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 12);
    size_t len = 100003;
    unsigned char *b = malloc(len);
    assert_non_null(b);
    for (size_t i = 0; i < len; i++)
        b[i] = (unsigned char)prng_next(&p);
    uint32_t whole = bit_by_bit(0, b, len);
    check_all(0, b, len, whole);
    for (int round = 0; round < 200; round++) {
        uint32_t a = 0, t = 0;
        for (size_t at = 0; at < len;) {
            size_t n = (size_t)prng_below(&p, 5000);
            if (n > len - at)
                n = len - at;
            a = crc32c(a, b + at, n);
            t = crc32c_by_tables(t, b + at, n);
            at += n;
        }
        assert_int_equal(a, whole);
        assert_int_equal(t, whole);
    }
    free(b);
}

/* What it is there for: any one bit, and any burst of up to 32, is seen. */
static void flips_are_seen(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 13);
    unsigned char b[512];
    for (size_t i = 0; i < sizeof b; i++)
        b[i] = (unsigned char)prng_next(&p);
    uint32_t whole = crc32c(0, b, sizeof b);
    for (size_t bit = 0; bit < sizeof b * 8; bit++) {
        b[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_int_not_equal(crc32c(0, b, sizeof b), whole);
        b[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    for (size_t at = 0; at + 4 <= sizeof b; at++) {
        uint32_t burst = (uint32_t)prng_next(&p) | 1;
        for (unsigned k = 0; k < 4; k++)
            b[at + k] ^= (unsigned char)(burst >> 8 * k);
        assert_int_not_equal(crc32c(0, b, sizeof b), whole);
        for (unsigned k = 0; k < 4; k++)
            b[at + k] ^= (unsigned char)(burst >> 8 * k);
    }
    assert_int_equal(crc32c(0, b, sizeof b), whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_numbers),
        cmocka_unit_test(every_alignment_and_short_length),
        cmocka_unit_test(joined_pieces_are_the_whole),
        cmocka_unit_test(flips_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
