/* SPDX-License-Identifier: Apache-2.0
 *
 * UUIDs of names are those of RFC 9562's example, and the same for the same name alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "uuid.h"

/* RFC 9562 appendix B.2: SHA-256 over the DNS namespace and "www.example.com". */
static void the_example_of_the_rfc(void **state)
{
    static const unsigned char dns[16] = {0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1,
                                          0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
    char text[UUID_TEXT_BYTES];
    (void)state;
    assert_int_equal(uuid_named(dns, SLICE("www.example.com"), text), OK);
    assert_string_equal(text, "5c146b14-3c52-8afd-938a-375d0df1fbf6");
}

static void names_and_namespaces_tell_apart(void **state)
{
    unsigned char space[16] = {0};
    char a[UUID_TEXT_BYTES], b[UUID_TEXT_BYTES];
    (void)state;
    assert_int_equal(uuid_named(space, SLICE("a"), a), OK);
    assert_int_equal(uuid_named(space, SLICE("b"), b), OK);
    assert_string_not_equal(a, b);
    space[15] = 1;
    assert_int_equal(uuid_named(space, SLICE("a"), b), OK);
    assert_string_not_equal(a, b);
}

static void version_and_variant_stand_over_the_bytes(void **state)
{
    unsigned char bytes[16];
    char text[UUID_TEXT_BYTES];
    (void)state;
    memset(bytes, 0xff, sizeof bytes);
    uuid_put(bytes, 4, text);
    assert_string_equal(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    memset(bytes, 0, sizeof bytes);
    uuid_put(bytes, 8, text);
    assert_string_equal(text, "00000000-0000-8000-8000-000000000000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_rfc),
        cmocka_unit_test(names_and_namespaces_tell_apart),
        cmocka_unit_test(version_and_variant_stand_over_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
