/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8, base64, hexadecimal, percent-coding, times, durations and sizes: one row per rule.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "text.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        bool valid;
    } rows[] = {
        {SLICE_INIT(""), true},
        {SLICE_INIT("plain ASCII, longer than a word"), true},
        {SLICE_INIT("\0"), true},
        {SLICE_INIT("\xc2\x80"), true},
        {SLICE_INIT("\xdf\xbf"), true},
        {SLICE_INIT("\xe0\xa0\x80"), true},
        {SLICE_INIT("\xed\x9f\xbf"), true},
        {SLICE_INIT("\xee\x80\x80"), true},
        {SLICE_INIT("\xef\xbf\xbf"), true},
        {SLICE_INIT("\xf0\x90\x80\x80"), true},
        {SLICE_INIT("\xf4\x8f\xbf\xbf"), true},
        {SLICE_INIT("12345678\xc3\xa9"), true},
        {SLICE_INIT("\x80"), false},
        {SLICE_INIT("\xc0\x80"), false},
        {SLICE_INIT("\xc1\xbf"), false},
        {SLICE_INIT("\xc3"), false},
        {SLICE_INIT("\xc3("), false},
        {SLICE_INIT("\xe0\x9f\xbf"), false},
        {SLICE_INIT("\xed\xa0\x80"), false},
        {SLICE_INIT("\xed\xbf\xbf"), false},
        {SLICE_INIT("\xf0\x8f\xbf\xbf"), false},
        {SLICE_INIT("\xf4\x90\x80\x80"), false},
        {SLICE_INIT("\xf5\x80\x80\x80"), false},
        {SLICE_INIT("\xff"), false},
        {SLICE_INIT("12345678\xe2\x82"), false},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        if (utf8_valid(rows[i].text) != rows[i].valid)
            fail_msg("row %zu", i);
}

static void test_utf8_round_trip(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 251) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        char bytes[4];
        size_t len = utf8_encode(c, bytes);
        uint32_t back;
        assert_int_equal(utf8_decode(slice_of(bytes, len), &back), len);
        assert_int_equal(back, c);
    }
}

static void test_base64(void **state)
{
    (void)state;
    static const struct {
        struct slice bytes, text;
    } rows[] = {
        {SLICE_INIT(""), SLICE_INIT("")},
        {SLICE_INIT("f"), SLICE_INIT("Zg==")},
        {SLICE_INIT("fo"), SLICE_INIT("Zm8=")},
        {SLICE_INIT("foo"), SLICE_INIT("Zm9v")},
        {SLICE_INIT("foob"), SLICE_INIT("Zm9vYg==")},
        {SLICE_INIT("\0\xff\xfe"), SLICE_INIT("AP/+")},
    };
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg===", "Z===", "====", "Zh==", "Zm9=", "Zm9v\n", "Zm 9v", "Zm-_", "Zg==Zg==", "=Zg="};
    struct buf b;
    buf_init(&b, 100);
    for (size_t i = 0; i < COUNT(rows); i++) {
        buf_clear(&b);
        base64_put(&b, rows[i].bytes);
        assert_true(slice_eq(buf_slice(&b), rows[i].text));
        buf_clear(&b);
        assert_int_equal(base64_decode(rows[i].text, &b), OK);
        assert_true(slice_eq(buf_slice(&b), rows[i].bytes));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        buf_clear(&b);
        if (base64_decode(slice_str(bad[i]), &b) != ERR_INVALID || b.len)
            fail_msg("%s", bad[i]);
    }
    buf_fini(&b);
    buf_init(&b, 2);
    assert_int_equal(base64_decode(SLICE("Zm9v"), &b), ERR_TOO_LARGE);
    buf_fini(&b);
}

static void test_hex_and_percent(void **state)
{
    (void)state;
    struct buf b;
    unsigned char bytes[2] = {7, 7};
    buf_init(&b, 100);
    hex_put(&b, SLICE("\0\xab\xff"));
    assert_true(slice_eq_str(buf_slice(&b), "00abff"));
    assert_int_equal(hex_decode(SLICE("aBc"), bytes, 2), ERR_INVALID);
    assert_int_equal(hex_decode(SLICE("aBcg"), bytes, 2), ERR_INVALID);
    assert_int_equal(bytes[0], 7);
    assert_int_equal(hex_decode(SLICE("aBc0"), bytes, 2), OK);
    assert_int_equal(bytes[0], 0xAB);
    assert_int_equal(bytes[1], 0xC0);

    static const char *const bad[] = {"%", "%4", "a%", "%zz", "%4g", "%00", "a%00b"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        buf_clear(&b);
        assert_int_equal(percent_decode(slice_str(bad[i]), &b), ERR_INVALID);
        assert_int_equal(b.len, 0);
    }
    assert_int_equal(percent_decode(SLICE("a%2Fb%c3%A9+"), &b), OK);
    assert_true(slice_eq_str(buf_slice(&b), "a/b\xc3\xa9+"));
    buf_fini(&b);
}

#define S 1000000000ll

static void test_rfc3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01T00:00:00-00:00", 0},
        {"1969-12-31T23:59:59Z", -S},
        {"2018-07-31T12:00:00.5+02:00", 1533031200 * S + S / 2},
        {"2000-02-29T00:00:00Z", 951782400 * S},
        {"2016-12-31T23:59:60Z", 1483228800 * S},
        {"1970-01-01T00:00:00.1234567899Z", 123456789},
        {"1970-01-01T00:00:00.000000000000000000000001Z", 0},
        {"1970-01-01T23:59:00+23:59", 0},
        {"0000-01-01T00:00:00Z", INT64_MIN},
        {"9999-12-31T23:59:59Z", INT64_MAX},
    };
    static const char *const bad[] = {
        "",
        "yesterday",
        "2018-07-31",
        "2018-07-31 12:00:00Z",
        "2018-07-31T12:00:00",
        "2018-07-31T12:00Z",
        "2018-13-01T00:00:00Z",
        "2018-00-01T00:00:00Z",
        "2018-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2018-04-31T00:00:00Z",
        "2018-01-00T00:00:00Z",
        "2018-07-31T24:00:00Z",
        "2018-07-31T12:60:00Z",
        "2018-07-31T12:00:61Z",
        "2018-07-31T12:00:00.Z",
        "2018-07-31T12:00:00+0200",
        "2018-07-31T12:00:00+02",
        "2018-07-31T12:00:00+24:00",
        "2018-07-31T12:00:00+02:60",
        "2018-07-31T12:00:00ZZ",
        "2018-7-31T12:00:00Z",
        "2018-07-31T12:00:00,5Z",
        "+018-07-31T12:00:00Z",
        "12018-07-31T12:00:00Z",
    };
    int64_t ns = 1;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (rfc3339_parse(slice_str(rows[i].text), &ns) || ns != rows[i].ns)
            fail_msg("%s: %lld", rows[i].text, (long long)ns);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (rfc3339_parse(slice_str(bad[i]), &ns) != ERR_INVALID)
            fail_msg("%s", bad[i]);
}

static void test_rfc3339_put(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        int digits;
        const char *text;
    } rows[] = {
        {0, 0, "1970-01-01T00:00:00Z"},
        {-1, 9, "1969-12-31T23:59:59.999999999Z"},
        {1533031200 * S + 123456789, 3, "2018-07-31T10:00:00.123Z"},
        {1533031200 * S + 123456789, 6, "2018-07-31T10:00:00.123456Z"},
        {951782400 * S, 0, "2000-02-29T00:00:00Z"},
    };
    struct buf b;
    buf_init(&b, 100);
    for (size_t i = 0; i < COUNT(rows); i++) {
        buf_clear(&b);
        rfc3339_put(&b, rows[i].ns, rows[i].digits);
        assert_true(slice_eq_str(buf_slice(&b), rows[i].text));
    }
    for (int64_t ns = -4000000000 * S; ns < 4000000000 * S; ns += 86399 * S * 37) { /* every written time reads back */
        int64_t back;
        buf_clear(&b);
        rfc3339_put(&b, ns, 9);
        assert_int_equal(rfc3339_parse(buf_slice(&b), &back), OK);
        assert_true(back == ns);
    }
    buf_fini(&b);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } rows[] = {
        {"PT0.2S", 200000000},
        {"PT1S", S},
        {"PT0S", 0},
        {"P1DT2H3M4S", 93784ull * S},
        {"P2W", 14ull * 86400 * S},
        {"PT1M", 60 * S},
        {"P1D", 86400ull * S},
        {"PT0,5S", S / 2},
        {"PT0.0000000019S", 1},
        {"PT36H", 129600ull * S},
    };
    static const char *const bad[] = {"",
                                      "P",
                                      "PT",
                                      "1S",
                                      "PT1",
                                      "P1S",
                                      "PT1D",
                                      "P1Y",
                                      "P1M",
                                      "PT1S1M",
                                      "PT1S1S",
                                      "PTT1S",
                                      "P1DT",
                                      "-PT1S",
                                      "PT-1S",
                                      "PT.5S",
                                      "PT1.S",
                                      "PT1.5H",
                                      "P1W1D",
                                      "P1D1W",
                                      "PT1.5M1S",
                                      "pt1s",
                                      "PT1S ",
                                      "PT99999999999999999999S",
                                      "PT20000000000S",
                                      "P1WT1S"};
    static const struct {
        const char *text;
        uint64_t ns;
    } flags[] = {{"500ms", 500000000},  {"30s", 30 * S}, {"5m", 300 * S}, {"1h", 3600ull * S}, {"1.5s", 1500000000},
                 {"2d", 172800ull * S}, {"10us", 10000}, {"7ns", 7},      {"PT1S", S},         {"0s", 0}};
    static const char *const bad_flags[] = {"", "5", "s", "5x", "-5s", "5 s", "1h30m", "5ss", "P1Y"};
    uint64_t ns = 0;
    struct diag d;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (iso8601_duration_parse(slice_str(rows[i].text), &ns, &d) || ns != rows[i].ns)
            fail_msg("%s: %llu", rows[i].text, (unsigned long long)ns);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (iso8601_duration_parse(slice_str(bad[i]), &ns, &d) != ERR_INVALID || !strstr(d.text, "PT5M"))
            fail_msg("%s", bad[i]);
    for (size_t i = 0; i < COUNT(flags); i++)
        if (duration_parse(slice_str(flags[i].text), &ns, &d) || ns != flags[i].ns)
            fail_msg("%s: %llu", flags[i].text, (unsigned long long)ns);
    for (size_t i = 0; i < COUNT(bad_flags); i++)
        if (duration_parse(slice_str(bad_flags[i]), &ns, &d) != ERR_INVALID)
            fail_msg("%s", bad_flags[i]);
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t v = 5;
    struct diag d;
    assert_true(decimal_parse(SLICE("0"), 10, &v) == OK && v == 0);
    assert_true(decimal_parse(SLICE("0010"), 10, &v) == OK && v == 10);
    assert_true(decimal_parse(SLICE("18446744073709551615"), UINT64_MAX, &v) == OK && v == UINT64_MAX);
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1.0", "0x1", "11", "18446744073709551616"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(decimal_parse(slice_str(bad[i]), 10, &v), ERR_INVALID);
    assert_true(bytes_parse(SLICE("1000"), &v, &d) == OK && v == 1000);
    assert_true(bytes_parse(SLICE("64KiB"), &v, &d) == OK && v == 65536);
    assert_true(bytes_parse(SLICE("10GiB"), &v, &d) == OK && v == 10ull << 30);
    static const char *const bad_bytes[] = {"", "KiB", "1KB", "1 KiB", "-1", "1.5MiB", "99999999999999999TiB"};
    for (size_t i = 0; i < COUNT(bad_bytes); i++)
        assert_int_equal(bytes_parse(slice_str(bad_bytes[i]), &v, &d), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),      cmocka_unit_test(test_utf8_round_trip),
        cmocka_unit_test(test_base64),    cmocka_unit_test(test_hex_and_percent),
        cmocka_unit_test(test_rfc3339),   cmocka_unit_test(test_rfc3339_put),
        cmocka_unit_test(test_durations), cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
