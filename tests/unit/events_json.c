/* SPDX-License-Identifier: Apache-2.0
 *
 * Event JSON: a strict table (one row per rule), data of every kind both ways, 0.3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "ce_http.h"
#include "text.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define FOUR "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""
#define OLD "\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

static const struct ce_http_limits limits = {1 << 20, 8};

static const struct {
    struct slice text;
    enum err err;
    const char *complaint;
} rows[] = {
    {SLICE_INIT("{" FOUR "}"), OK, ""},
    {SLICE_INIT(" \n{" FOUR " }\t"), OK, ""},
    {SLICE_INIT("{\"\\u0069d\":\"1\",\"specversion\":\"1\\u002e0\",\"source\":\"\\/s\",\"type\":\"t\"}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"x\":5,\"y\":true,\"z\":\"s\",\"n\":-2147483648}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"subject\":null,\"x\":null,\"dataschema\":null,\"data_base64\":null}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"x\":\"\"}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"time\":\"2018-04-05t17:31:00z\"}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"schemaurl\":\"a b\",\"datacontentencoding\":\"gzip\"}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"data\":{\"a\":1,\"a\":2,\"n\":123456789012345678901234567890,\"e\":1e400}}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"data\":null}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"datacontenttype\":\"text/plain\"}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"datacontenttype\":\"text/plain\",\"data\":null}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"data_base64\":\"AA==\",\"datacontenttype\":\"application/json\"}"), OK, ""},
    {SLICE_INIT("{" FOUR ",\"data\":1,\"data_base64\":null}"), OK, ""},
    {SLICE_INIT(""), ERR_INVALID, "empty"},
    {SLICE_INIT("[]"), ERR_INVALID, "an event is a JSON object"},
    {SLICE_INIT("\"x\""), ERR_INVALID, "an event is a JSON object"},
    {SLICE_INIT("{}"), ERR_INVALID, "attribute \"specversion\": is missing"},
    {SLICE_INIT("{" FOUR "}x"), ERR_INVALID, "after the value"},
    {SLICE_INIT("{" FOUR ",}"), ERR_INVALID, "no valid JSON"},
    {SLICE_INIT("{" FOUR ",\"x\":01}"), ERR_INVALID, "leading zero"},
    {SLICE_INIT("{" FOUR ",\"x\":\"\xff\"}"), ERR_INVALID, "invalid UTF-8"},
    {SLICE_INIT("{" FOUR ",\"x\":\"\\ud800\"}"), ERR_INVALID, "unpaired surrogate"},
    {SLICE_INIT("\xef\xbb\xbf{" FOUR "}"), ERR_INVALID, "no valid JSON"},
    {SLICE_INIT("{\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID, "\"specversion\": is missing"},
    {SLICE_INIT("{\"specversion\":\"1.0\",\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID, "\"id\": is missing"},
    {SLICE_INIT("{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"t\"}"), ERR_INVALID, "\"source\": is missing"},
    {SLICE_INIT("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\"}"), ERR_INVALID, "\"type\": is missing"},
    {SLICE_INIT("{\"specversion\":\"1.0\",\"id\":null,\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID,
     "\"id\": is missing"},
    {SLICE_INIT("{\"specversion\":null,\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID,
     "\"specversion\": is missing"},
    {SLICE_INIT("{\"specversion\":1.0,\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID,
     "\"specversion\": must be a JSON string"},
    {SLICE_INIT("{\"specversion\":\"1.1\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID,
     "\"1.1\" is not supported"},
    {SLICE_INIT("{\"specversion\":\"0.2\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID,
     "\"0.2\" is not supported"},
    {SLICE_INIT("{\"specversion\":\"1.0\",\"id\":1,\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID,
     "\"id\": must be a JSON string"},
    {SLICE_INIT("{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID,
     "\"id\": must not be empty"},
    {SLICE_INIT("{\"specversion\":\"1.0\",\"ID\":\"1\",\"source\":\"/s\",\"type\":\"t\"}"), ERR_INVALID,
     "attribute \"ID\""},
    {SLICE_INIT("{" FOUR ",\"id\":\"1\"}"), ERR_INVALID, "\"id\": is given twice"},
    {SLICE_INIT("{" FOUR ",\"i\\u0064\":\"1\"}"), ERR_INVALID, "\"id\": is given twice"},
    {SLICE_INIT("{" FOUR ",\"specversion\":\"1.0\"}"), ERR_INVALID, "\"specversion\": is given twice"},
    {SLICE_INIT("{" FOUR ",\"x\":null,\"x\":\"1\"}"), ERR_INVALID, "\"x\": is given twice"},
    {SLICE_INIT("{" FOUR ",\"x\":\"1\",\"x\":null}"), ERR_INVALID, "\"x\": is given twice"},
    {SLICE_INIT("{" FOUR ",\"x\":null,\"x\":null}"), ERR_INVALID, "\"x\": is given twice"},
    {SLICE_INIT("{" FOUR ",\"data\":1,\"data\":1}"), ERR_INVALID, "\"data\": is given twice"},
    {SLICE_INIT("{" FOUR ",\"data_base64\":\"\",\"data_base64\":\"\"}"), ERR_INVALID,
     "\"data_base64\": is given twice"},
    {SLICE_INIT("{" FOUR ",\"data\":1,\"data_base64\":\"AA==\"}"), ERR_INVALID, "stands beside \"data\""},
    {SLICE_INIT("{" FOUR ",\"data\":null,\"data_base64\":\"AA==\"}"), ERR_INVALID, "stands beside \"data\""},
    {SLICE_INIT("{" FOUR ",\"myExt\":\"1\"}"), ERR_INVALID, "attribute \"myExt\""},
    {SLICE_INIT("{" FOUR ",\"my-ext\":\"1\"}"), ERR_INVALID, "attribute \"my-ext\""},
    {SLICE_INIT("{" FOUR ",\"my_ext\":\"1\"}"), ERR_INVALID, "attribute \"my_ext\""},
    {SLICE_INIT("{" FOUR ",\"my-ext\":null}"), ERR_INVALID, "attribute \"my-ext\""},
    {SLICE_INIT("{" FOUR ",\"\":\"1\"}"), ERR_INVALID, "without a name"},
    {SLICE_INIT("{" FOUR ",\"x\":{}}"), ERR_INVALID, "\"x\": must be a string, a boolean or an integer"},
    {SLICE_INIT("{" FOUR ",\"x\":[]}"), ERR_INVALID, "\"x\": must be a string, a boolean or an integer"},
    {SLICE_INIT("{" FOUR ",\"x\":1.5}"), ERR_INVALID, "\"x\": \"1.5\" is no integer of 32 bits"},
    {SLICE_INIT("{" FOUR ",\"x\":5.0}"), ERR_INVALID, "32 bits"},
    {SLICE_INIT("{" FOUR ",\"x\":1e2}"), ERR_INVALID, "32 bits"},
    {SLICE_INIT("{" FOUR ",\"x\":2147483648}"), ERR_INVALID, "32 bits"},
    {SLICE_INIT("{" FOUR ",\"x\":\"a\\nb\"}"), ERR_INVALID, "control character"},
    {SLICE_INIT("{" FOUR ",\"x\":\"\\u0000\"}"), ERR_INVALID, "control character"},
    {SLICE_INIT("{" FOUR ",\"x\":\"\\u007f\"}"), ERR_INVALID, "control character"},
    {SLICE_INIT("{" FOUR ",\"x\":\"\\u0085\"}"), ERR_INVALID, "control character"},
    {SLICE_INIT("{" FOUR ",\"x\":\"\\ufdd0\"}"), ERR_INVALID, "U+FDD0"},
    {SLICE_INIT("{" FOUR ",\"x\":\"\\ud83f\\udffe\"}"), ERR_INVALID, "U+1FFFE"},
    {SLICE_INIT("{" FOUR ",\"time\":\"yesterday\"}"), ERR_INVALID,
     "attribute \"time\": \"yesterday\" is no RFC 3339 timestamp"},
    {SLICE_INIT("{" FOUR ",\"time\":1}"), ERR_INVALID, "\"time\": must be a JSON string"},
    {SLICE_INIT("{" FOUR ",\"dataschema\":\"/x\"}"), ERR_INVALID, "no absolute URI"},
    {SLICE_INIT("{" FOUR ",\"subject\":\"\"}"), ERR_INVALID, "\"subject\": must not be empty"},
    {SLICE_INIT("{" FOUR ",\"datacontenttype\":\"json\"}"), ERR_INVALID, "no media type"},
    {SLICE_INIT("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"a b\",\"type\":\"t\"}"), ERR_INVALID,
     "no URI reference"},
    {SLICE_INIT("{" FOUR ",\"data_base64\":1}"), ERR_INVALID, "\"data_base64\": base64 stands in a JSON string"},
    {SLICE_INIT("{" FOUR ",\"data_base64\":\"AA\"}"), ERR_INVALID, "\"data_base64\": no base64"},
    {SLICE_INIT("{" FOUR ",\"data_base64\":\"AB==\"}"), ERR_INVALID, "\"data_base64\": no base64"},
    {SLICE_INIT("{" FOUR ",\"datacontenttype\":\"text/plain\",\"data\":{}}"), ERR_INVALID,
     "must be a JSON string under datacontenttype"},
    {SLICE_INIT("{" FOUR ",\"data\":5,\"datacontenttype\":\"text/plain\"}"), ERR_INVALID,
     "must be a JSON string under datacontenttype"},
    {SLICE_INIT("{" OLD ",\"schemaurl\":\"/x#y\"}"), OK, ""},
    {SLICE_INIT("{" OLD ",\"schemaurl\":\"a b\"}"), ERR_INVALID, "\"schemaurl\""},
    {SLICE_INIT("{" OLD ",\"datacontentencoding\":\"base64\",\"data\":\"AA==\"}"), OK, ""},
    {SLICE_INIT("{" OLD ",\"datacontentencoding\":\"Base64\",\"data\":\"AA==\"}"), OK, ""},
    {SLICE_INIT("{" OLD ",\"datacontentencoding\":null,\"data\":\"AA==\"}"), OK, ""},
    {SLICE_INIT("{" OLD ",\"datacontentencoding\":\"base64\",\"data\":\"AA\"}"), ERR_INVALID, "no base64"},
    {SLICE_INIT("{" OLD ",\"datacontentencoding\":\"base64\",\"data\":{}}"), ERR_INVALID, "JSON string"},
    {SLICE_INIT("{" OLD ",\"datacontentencoding\":\"gzip\",\"data\":\"AA==\"}"), ERR_UNSUPPORTED,
     "\"gzip\" is not supported"},
    {SLICE_INIT("{" OLD ",\"data_base64\":\"AA==\"}"), ERR_INVALID, "attribute \"data_base64\""},
};

static void test_envelopes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct ce_event *e = NULL;
        struct diag d = {0, 0, ""};
        enum err err = ce_json_decode(rows[i].text, &limits, &e, &d);
        if (err != rows[i].err || !strstr(d.text, rows[i].complaint))
            fail_msg("row %zu: %s: %s", i, err_name(err), d.text);
        assert_int_equal(e != NULL, err == OK);
        ce_event_unref(e);
    }
}

/* ---- data: what is read, what a binary body holds, what is written again ---- */

static const struct {
    const char *members; /* after the required four */
    enum ce_data_kind kind;
    struct slice data;
    const char *written; /* NULL: as it was read */
} datas[] = {
    {"", CE_DATA_NONE, SLICE_INIT(""), NULL},
    {",\"data\":null", CE_DATA_JSON, SLICE_INIT("null"), NULL},
    {",\"data\":\"\"", CE_DATA_JSON, SLICE_INIT("\"\""), NULL},
    {",\"data\":\"{}\"", CE_DATA_JSON, SLICE_INIT("\"{}\""), NULL},
    {",\"data\":{ \"a\" : [1.50 , 1e400],\n\"a\":9007199254740993 }", CE_DATA_JSON,
     SLICE_INIT("{ \"a\" : [1.50 , 1e400],\n\"a\":9007199254740993 }"), NULL},
    {",\"data\": 5 ", CE_DATA_JSON, SLICE_INIT("5"), ",\"data\":5"},
    {",\"datacontenttype\":\"application/json; a=b\",\"data\":[\"\\u00e9\"]", CE_DATA_JSON, SLICE_INIT("[\"\\u00e9\"]"),
     NULL},
    {",\"datacontenttype\":\"A/B+JSON\",\"data\":true", CE_DATA_JSON, SLICE_INIT("true"), NULL},
    {",\"datacontenttype\":\"text/plain\",\"data\":\"a\\n\\u0000\\\"\\\\\"", CE_DATA_TEXT, SLICE_INIT("a\n\0\"\\"),
     NULL},
    {",\"datacontenttype\":\"text/plain\",\"data\":\"\"", CE_DATA_TEXT, SLICE_INIT(""), NULL},
    {",\"data\":\"\\ud83d\\ude00\",\"datacontenttype\":\"a/b\"", CE_DATA_TEXT, SLICE_INIT("\xf0\x9f\x98\x80"),
     ",\"datacontenttype\":\"a/b\",\"data\":\"\xf0\x9f\x98\x80\""},
    {",\"datacontenttype\":\"text/plain\",\"data\":null", CE_DATA_NONE, SLICE_INIT(""),
     ",\"datacontenttype\":\"text/plain\""},
    {",\"data_base64\":\"AP8=\"", CE_DATA_BYTES, SLICE_INIT("\0\xff"), NULL},
    {",\"data_base64\":\"\"", CE_DATA_BYTES, SLICE_INIT(""), NULL},
    {",\"data_base64\":\"\\/\\/8=\"", CE_DATA_BYTES, SLICE_INIT("\xff\xff"), ",\"data_base64\":\"//8=\""},
    {",\"datacontenttype\":\"application/json\",\"data_base64\":\"eyA=\"", CE_DATA_BYTES, SLICE_INIT("{ "), NULL},
    {",\"datacontenttype\":\"application/json\",\"data_base64\":\"e30=\"", CE_DATA_BYTES, SLICE_INIT("{}"),
     ",\"datacontenttype\":\"application/json\",\"data\":{}"},
    {",\"datacontenttype\":\"text/plain\",\"data_base64\":\"YQ==\"", CE_DATA_BYTES, SLICE_INIT("a"),
     ",\"datacontenttype\":\"text/plain\",\"data\":\"a\""},
    {",\"datacontenttype\":\"text/plain\",\"data_base64\":\"/w==\"", CE_DATA_BYTES, SLICE_INIT("\xff"), NULL},
    {",\"datacontenttype\":\"text/plain; charset=latin1\",\"data_base64\":\"YQ==\"", CE_DATA_BYTES, SLICE_INIT("a"),
     NULL},
    {",\"datacontenttype\":\"text/plain; Charset=UTF-8\",\"data_base64\":\"YQ==\"", CE_DATA_BYTES, SLICE_INIT("a"),
     ",\"datacontenttype\":\"text/plain; Charset=UTF-8\",\"data\":\"a\""},
    {",\"datacontenttype\":\"image/svg+xml\",\"data_base64\":\"YQ==\"", CE_DATA_BYTES, SLICE_INIT("a"),
     ",\"datacontenttype\":\"image/svg+xml\",\"data\":\"a\""},
    {",\"datacontenttype\":\"application/octet-stream\",\"data_base64\":\"YQ==\"", CE_DATA_BYTES, SLICE_INIT("a"),
     NULL},
};

static void check_data(const char *four, size_t i)
{
    struct buf in, out;
    buf_init(&in, 4096);
    buf_init(&out, 4096);
    buf_printf(&in, "{%s%s}", four, datas[i].members);
    const struct ce_event *e = NULL;
    struct diag d;
    if (ce_json_decode(buf_slice(&in), &limits, &e, &d))
        fail_msg("row %zu: %s", i, d.text);
    assert_int_equal(ce_event_data_kind(e), datas[i].kind);
    assert_true(slice_eq(ce_event_data(e), datas[i].data));
    ce_json_encode(e, &out);
    buf_clear(&in);
    buf_printf(&in, "{%s%s}", four, datas[i].written ? datas[i].written : datas[i].members);
    if (!slice_eq(buf_slice(&in), buf_slice(&out)))
        fail_msg("row %zu: %.*s", i, SLICE_ARG(buf_slice(&out)));
    ce_event_unref(e);
    buf_fini(&in);
    buf_fini(&out);
}

static void test_data(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(datas); i++)
        check_data(FOUR, i);
}

static const struct ce_event *decoded(struct slice text)
{
    const struct ce_event *e = NULL;
    struct diag d;
    if (ce_json_decode(text, &limits, &e, &d))
        fail_msg("%s", d.text);
    return e;
}

static void assert_written(const struct ce_event *e, const char *expected)
{
    struct buf b;
    buf_init(&b, 4096);
    ce_json_encode(e, &b);
    if (!slice_eq_str(buf_slice(&b), expected))
        fail_msg("%.*s", SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
}

static void test_0_3_is_kept(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded(SLICE("{" OLD ",\"schemaurl\":\"/x\",\"datacontentencoding\":\"base64\",\"data\":\"AP8=\"}"));
    assert_true(slice_eq_str(ce_event_specversion(e), "0.3"));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    assert_true(slice_eq(ce_event_data(e), SLICE("\0\xff")));
    assert_false(ce_event_attribute(e, SLICE("datacontentencoding"), NULL)); /* told by the kind of data */
    assert_written(e, "{" OLD ",\"schemaurl\":\"/x\",\"datacontentencoding\":\"base64\",\"data\":\"AP8=\"}");
    ce_event_unref(e);
    e = decoded(SLICE("{" OLD ",\"data\":{\"a\":1}}"));
    assert_written(e, "{" OLD ",\"data\":{\"a\":1}}");
    ce_event_unref(e);
}

/* In headers the attribute stands as it came, and so does the body, which it says is base64 already. */
static void test_0_3_encoding_in_headers(void **state)
{
    (void)state;
    static const struct http_header headers[] = {
        {SLICE_INIT("ce-specversion"), SLICE_INIT("0.3")},
        {SLICE_INIT("ce-id"), SLICE_INIT("1")},
        {SLICE_INIT("ce-source"), SLICE_INIT("/s")},
        {SLICE_INIT("ce-type"), SLICE_INIT("t")},
        {SLICE_INIT("ce-datacontentencoding"), SLICE_INIT("base64")},
    };
    const struct ce_event *e = NULL;
    size_t count;
    struct diag d;
    assert_int_equal(ce_http_decode(headers, 5, SLICE("AP8="), &limits, &e, 1, &count, &d), OK);
    assert_true(slice_eq_str(ce_event_data(e), "AP8="));
    assert_written(e, "{" OLD ",\"datacontentencoding\":\"base64\",\"data\":\"AP8=\"}");
    e = ce_event_unref(e);
    assert_int_equal(ce_http_decode(headers, 5, SLICE("\xff"), &limits, &e, 1, &count, &d), OK);
    assert_written(e, "{" OLD ",\"datacontentencoding\":\"base64\",\"data\":\"/w==\"}");
    ce_event_unref(e);
}

static void test_types_and_escapes(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded(SLICE("{" FOUR ",\"i\":-5,\"z\":0,\"b\":false,\"s\":\"5\",\"q\":\"\\\"\\\\\\/\\u00e9\"}"));
    struct ce_attribute a;
    assert_true(ce_event_attribute(e, SLICE("i"), &a) && a.type == CE_INTEGER && slice_eq_str(a.value, "-5"));
    assert_true(ce_event_attribute(e, SLICE("b"), &a) && a.type == CE_BOOLEAN && slice_eq_str(a.value, "false"));
    assert_true(ce_event_attribute(e, SLICE("s"), &a) && a.type == CE_STRING);
    assert_written(e, "{" FOUR ",\"i\":-5,\"z\":0,\"b\":false,\"s\":\"5\",\"q\":\"\\\"\\\\/\xc3\xa9\"}");
    ce_event_unref(e);
}

static void test_says_where_json_breaks(void **state)
{
    (void)state;
    const struct ce_event *e = NULL;
    struct diag d;
    assert_int_equal(ce_json_decode(SLICE("{\n  \"id\": 'x'\n}"), &limits, &e, &d), ERR_INVALID);
    assert_int_equal(d.line, 2);
    assert_int_equal(d.column, 9);
}

static void test_many_members(void **state)
{
    (void)state;
    struct buf b;
    const struct ce_event *e = NULL;
    struct diag d;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, "{" FOUR);
    for (int i = 0; i < CE_ATTRIBUTES_MAX - 4; i++)
        buf_printf(&b, ",\"x%d\":\"\\u0041%s\"", i, "a text that is long enough to leave the memory in place");
    size_t full = b.len;
    buf_put_str(&b, "}");
    assert_int_equal(ce_json_decode(buf_slice(&b), &limits, &e, &d), OK);
    assert_int_equal(ce_event_attribute_count(e), CE_ATTRIBUTES_MAX);
    e = ce_event_unref(e);
    b.len = full;
    buf_put_str(&b, ",\"y\":\"\"}");
    assert_int_equal(ce_json_decode(buf_slice(&b), &limits, &e, &d), ERR_TOO_LARGE);
    b.len = full;
    for (int i = 0; i < 20; i++)
        buf_printf(&b, ",\"y%d\":null", i);
    buf_put_str(&b, "}");
    assert_int_equal(ce_json_decode(buf_slice(&b), &limits, &e, &d), ERR_TOO_LARGE);
    buf_fini(&b);
}

static void test_large_text_and_base64(void **state)
{
    (void)state;
    static char bytes[100000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, "{" FOUR ",\"data_base64\":\"");
    base64_put(&b, slice_of(bytes, sizeof bytes));
    buf_put_str(&b, "\"}");
    const struct ce_event *e = decoded(buf_slice(&b));
    assert_true(slice_eq(ce_event_data(e), slice_of(bytes, sizeof bytes)));
    ce_event_unref(e);
    buf_clear(&b);
    buf_put_str(&b, "{" FOUR ",\"datacontenttype\":\"text/plain\",\"data\":\"");
    for (int i = 0; i < 5000; i++)
        buf_put_str(&b, "\\u00e9");
    buf_put_str(&b, "\"}");
    e = decoded(buf_slice(&b));
    assert_int_equal(ce_event_data(e).len, 10000);
    ce_event_unref(e);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_envelopes),         cmocka_unit_test(test_data),
        cmocka_unit_test(test_0_3_is_kept),       cmocka_unit_test(test_0_3_encoding_in_headers),
        cmocka_unit_test(test_types_and_escapes), cmocka_unit_test(test_says_where_json_breaks),
        cmocka_unit_test(test_many_members),      cmocka_unit_test(test_large_text_and_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
