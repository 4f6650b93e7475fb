/* SPDX-License-Identifier: Apache-2.0
 *
 * The strict JSON scanner: one row per rule of RFC 8259, then walking, unescaping and finding.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "json.h"

static const struct {
    struct slice text;
    enum json_type type;
} accepted[] = {
    {SLICE_INIT("null"), JSON_NULL},
    {SLICE_INIT("true"), JSON_TRUE},
    {SLICE_INIT("false"), JSON_FALSE},
    {SLICE_INIT("0"), JSON_NUMBER},
    {SLICE_INIT("-0"), JSON_NUMBER},
    {SLICE_INIT("-1.5e+10"), JSON_NUMBER},
    {SLICE_INIT("1E400"), JSON_NUMBER},
    {SLICE_INIT("0.1234567890123456789"), JSON_NUMBER},
    {SLICE_INIT("123456789012345678901234567890"), JSON_NUMBER},
    {SLICE_INIT("\"\""), JSON_STRING},
    {SLICE_INIT("\"a \\\" \\\\ \\/ \\b \\f \\n \\r \\t\""), JSON_STRING},
    {SLICE_INIT("\"\\u0000\\u00e9\\u20AC\\ud83d\\uDE00\""), JSON_STRING},
    {SLICE_INIT("\"\x7f\""), JSON_STRING},
    {SLICE_INIT("\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\""), JSON_STRING},
    {SLICE_INIT("\"a long plain string that is read eight bytes at a time\""), JSON_STRING},
    {SLICE_INIT("\"1234567\\\"\""), JSON_STRING},
    {SLICE_INIT(" \t\r\n1 \t\r\n"), JSON_NUMBER},
    {SLICE_INIT("[]"), JSON_ARRAY},
    {SLICE_INIT("[ ]"), JSON_ARRAY},
    {SLICE_INIT("[1,[2,[3]],{}]"), JSON_ARRAY},
    {SLICE_INIT("{}"), JSON_OBJECT},
    {SLICE_INIT("{ }"), JSON_OBJECT},
    {SLICE_INIT("{\"a\":1,\"a\":2}"), JSON_OBJECT},
    {SLICE_INIT("{ \"a\" : [ { \"b\" : null } , true ] , \"\" : \"\" }"), JSON_OBJECT},
};

static const struct {
    struct slice text;
    int column; /* of the complaint */
    const char *reason;
} refused[] = {
    {SLICE_INIT(""), 1, "empty"},
    {SLICE_INIT("  "), 3, "text ends"},
    {SLICE_INIT("nul"), 1, "value is expected"},
    {SLICE_INIT("nulll"), 5, "after the value"},
    {SLICE_INIT("True"), 1, "value is expected"},
    {SLICE_INIT("\xef\xbb\xbf{}"), 1, "value is expected"},
    {SLICE_INIT("01"), 2, "leading zero"},
    {SLICE_INIT("-01"), 3, "leading zero"},
    {SLICE_INIT("-"), 2, "digit"},
    {SLICE_INIT("+1"), 1, "value is expected"},
    {SLICE_INIT(".5"), 1, "value is expected"},
    {SLICE_INIT("1."), 3, "digit"},
    {SLICE_INIT("1e"), 3, "digit"},
    {SLICE_INIT("1e+"), 4, "digit"},
    {SLICE_INIT("0x10"), 2, "after the value"},
    {SLICE_INIT("NaN"), 1, "value is expected"},
    {SLICE_INIT("1 2"), 3, "after the value"},
    {SLICE_INIT("{}x"), 3, "after the value"},
    {SLICE_INIT("1\0"), 2, "after the value"},
    {SLICE_INIT("\v1"), 1, "value is expected"},
    {SLICE_INIT("\""), 2, "closing quote"},
    {SLICE_INIT("\"abc"), 5, "closing quote"},
    {SLICE_INIT("\"abcdefghijk"), 13, "closing quote"},
    {SLICE_INIT("'a'"), 1, "value is expected"},
    {SLICE_INIT("\"a\nb\""), 3, "control character"},
    {SLICE_INIT("\"12345678\tb\""), 10, "control character"},
    {SLICE_INIT("\"\0\""), 2, "control character"},
    {SLICE_INIT("\"\\x41\""), 2, "escape"},
    {SLICE_INIT("\"\\\0\""), 2, "escape"},
    {SLICE_INIT("\"\\"), 2, "escape"},
    {SLICE_INIT("\"\\u12g4\""), 2, "four hexadecimal"},
    {SLICE_INIT("\"\\u12"), 2, "four hexadecimal"},
    {SLICE_INIT("\"\\ud800\""), 2, "unpaired"},
    {SLICE_INIT("\"\\udc00\""), 2, "unpaired"},
    {SLICE_INIT("\"\\ud800\\u0041\""), 2, "unpaired"},
    {SLICE_INIT("\"\\ud800\\ud800\""), 2, "unpaired"},
    {SLICE_INIT("\"\xff\""), 2, "UTF-8"},
    {SLICE_INIT("\"\xc0\xa0\""), 2, "UTF-8"},
    {SLICE_INIT("\"\xe0\x80\x80\""), 2, "UTF-8"},
    {SLICE_INIT("\"\xed\xa0\x80\""), 2, "UTF-8"},
    {SLICE_INIT("\"\xf4\x90\x80\x80\""), 2, "UTF-8"},
    {SLICE_INIT("\"\xe2\x82\""), 2, "UTF-8"},
    {SLICE_INIT("["), 2, "text ends"},
    {SLICE_INIT("[1"), 3, "closing bracket"},
    {SLICE_INIT("[1,]"), 4, "value is expected"},
    {SLICE_INIT("[,1]"), 2, "value is expected"},
    {SLICE_INIT("[1 2]"), 4, "comma"},
    {SLICE_INIT("[1}"), 3, "comma"},
    {SLICE_INIT("]"), 1, "value is expected"},
    {SLICE_INIT("{"), 2, "name"},
    {SLICE_INIT("{\"a\":1"), 7, "closing brace"},
    {SLICE_INIT("{\"a\":1,}"), 8, "name"},
    {SLICE_INIT("{a:1}"), 2, "name"},
    {SLICE_INIT("{1:1}"), 2, "name"},
    {SLICE_INIT("{\"a\"}"), 5, "colon"},
    {SLICE_INIT("{\"a\" 1}"), 6, "colon"},
    {SLICE_INIT("{\"a\":}"), 6, "value is expected"},
    {SLICE_INIT("{\"a\":1]"), 7, "comma"},
    {SLICE_INIT("{\"a\":1 \"b\":2}"), 8, "comma"},
    {SLICE_INIT("[1] // no"), 5, "after the value"},
};

static void test_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        struct json_value v;
        struct diag d = {0, 0, ""};
        if (json_check(accepted[i].text, 16, &v, &d))
            fail_msg("%.*s: %s", SLICE_ARG(accepted[i].text), d.text);
        assert_int_equal(v.type, accepted[i].type);
        assert_ptr_not_equal(v.raw.ptr, NULL);
        assert_false(v.raw.ptr[0] == ' ' || v.raw.ptr[v.raw.len - 1] == '\n');
    }
}

static void test_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct json_value v = {JSON_NULL, {NULL, 7}};
        struct diag d = {0, 0, ""};
        if (json_check(refused[i].text, 16, &v, &d) != ERR_INVALID)
            fail_msg("row %zu, %.*s: accepted", i, SLICE_ARG(refused[i].text));
        if (!strstr(d.text, refused[i].reason) || d.column != refused[i].column)
            fail_msg("row %zu, %.*s: column %d: %s", i, SLICE_ARG(refused[i].text), d.column, d.text);
        assert_int_equal(v.raw.len, 7); /* outputs untouched */
    }
}

static void test_says_the_line(void **state)
{
    (void)state;
    struct json_value v;
    struct diag d;
    assert_int_equal(json_check(SLICE("{\n  \"a\": 1,\n  \"b\": 01\n}"), 4, &v, &d), ERR_INVALID);
    assert_int_equal(d.line, 3);
    assert_int_equal(d.column, 9);
    assert_non_null(strstr(d.text, "byte 20"));
}

static void test_depth(void **state)
{
    (void)state;
    struct json_value v;
    struct diag d;
    assert_int_equal(json_check(SLICE("1"), 0, &v, &d), OK);
    assert_int_equal(json_check(slice_of(NULL, 0), 0, &v, &d), ERR_INVALID);
    assert_int_equal(json_check(SLICE("[]"), 0, &v, &d), ERR_INVALID);
    assert_int_equal(json_check(SLICE("[{\"a\":[]}]"), 3, &v, &d), OK);
    assert_int_equal(json_check(SLICE("[{\"a\":[]}]"), 2, &v, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "too deep"));

    size_t n = JSON_DEPTH_MAX + 1;
    char *deep = malloc(2 * n);
    assert_non_null(deep);
    memset(deep, '[', n);
    memset(deep + n, ']', n);
    assert_int_equal(json_check(slice_of(deep + 1, 2 * n - 2), JSON_DEPTH_MAX, &v, &d), OK);
    assert_int_equal(json_check(slice_of(deep, 2 * n), JSON_DEPTH_MAX, &v, &d), ERR_INVALID);
    free(deep);
}

static struct json_value checked(const char *text)
{
    struct json_value v;
    struct diag d;
    assert_int_equal(json_check(slice_str(text), 16, &v, &d), OK);
    return v;
}

static void test_walks_objects(void **state)
{
    (void)state;
    struct json_walk w;
    json_walk_begin(&w, checked(" { \"a\" : 1 , \"b\\\"]\" : [ 1 , \"]\" , {} ] , \"c\":{\"d\":\"}\"},\"a\":true } "));
    static const char *const expected[][2] = {
        {"\"a\"", "1"}, {"\"b\\\"]\"", "[ 1 , \"]\" , {} ]"}, {"\"c\"", "{\"d\":\"}\"}"}, {"\"a\"", "true"}};
    for (size_t i = 0; i < 4; i++) {
        assert_true(json_walk_next(&w));
        assert_true(slice_eq_str(w.name, expected[i][0]));
        assert_true(slice_eq_str(w.value.raw, expected[i][1]));
    }
    assert_false(json_walk_next(&w));
    assert_false(json_walk_next(&w));
}

static void test_walks_arrays(void **state)
{
    (void)state;
    struct json_walk w;
    json_walk_begin(&w, checked("[-1.5e3,\"a\",null , [[]],{\"x\":0}]"));
    static const enum json_type types[] = {JSON_NUMBER, JSON_STRING, JSON_NULL, JSON_ARRAY, JSON_OBJECT};
    for (size_t i = 0; i < 5; i++) {
        assert_true(json_walk_next(&w));
        assert_int_equal(w.value.type, types[i]);
        assert_int_equal(w.name.len, 0);
    }
    assert_false(json_walk_next(&w));
    json_walk_begin(&w, checked("[ ]"));
    assert_false(json_walk_next(&w));
}

static void test_unescapes(void **state)
{
    (void)state;
    static const struct {
        struct slice text, plain;
    } rows[] = {
        {SLICE_INIT("\"\""), SLICE_INIT("")},
        {SLICE_INIT("\"abc\""), SLICE_INIT("abc")},
        {SLICE_INIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), SLICE_INIT("\"\\/\b\f\n\r\t")},
        {SLICE_INIT("\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\""), SLICE_INIT("A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")},
        {SLICE_INIT("\"a\\u0000b\""), SLICE_INIT("a\0b")},
        {SLICE_INIT("\"\xc3\xa9\\n\xe2\x82\xac\""), SLICE_INIT("\xc3\xa9\n\xe2\x82\xac")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b;
        buf_init(&b, 100);
        json_unescape(rows[i].text, &b);
        assert_int_equal(buf_error(&b), OK);
        assert_true(slice_eq(buf_slice(&b), rows[i].plain));
        assert_true(json_string_is(rows[i].text, rows[i].plain));
        assert_false(json_string_is(rows[i].text, SLICE("something else")));
        buf_fini(&b);
    }
    assert_false(json_string_is(SLICE("\"\\u0041b\""), SLICE("A")));
    assert_false(json_string_is(SLICE("\"\\u0041\""), SLICE("Ab")));
}

static void test_int32(void **state)
{
    (void)state;
    int32_t v = 42;
    assert_true(json_int32(SLICE("0"), &v) && v == 0);
    assert_true(json_int32(SLICE("-0"), &v) && v == 0);
    assert_true(json_int32(SLICE("2147483647"), &v) && v == INT32_MAX);
    assert_true(json_int32(SLICE("-2147483648"), &v) && v == INT32_MIN);
    static const char *const none[] = {"2147483648", "-2147483649", "1.0", "1e2", "99999999999", "", "-",
                                       "00",         "+1",          "1 ",  "a"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_false(json_int32(slice_str(none[i]), &v));
}

static void test_finds(void **state)
{
    (void)state;
    struct json_value v = checked("{\"repository\":{\"full\\u005fname\":\"o/r\",\"full_name\":\"second\"},\"n\":1}"),
                      out;
    const char *const full[] = {"repository", "full_name", NULL}, *const missing[] = {"repository", "x", NULL};
    const char *const through[] = {"n", "x", NULL}, *const none[] = {NULL};
    assert_true(json_find(v, full, &out));
    assert_true(slice_eq_str(out.raw, "\"o/r\""));
    assert_false(json_find(v, missing, &out));
    assert_false(json_find(v, through, &out));
    assert_true(json_find(v, none, &out) && out.type == JSON_OBJECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),   cmocka_unit_test(test_refuses),       cmocka_unit_test(test_says_the_line),
        cmocka_unit_test(test_depth),     cmocka_unit_test(test_walks_objects), cmocka_unit_test(test_walks_arrays),
        cmocka_unit_test(test_unescapes), cmocka_unit_test(test_int32),         cmocka_unit_test(test_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
