/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents over HTTP: a strict table for binary mode (one row per rule), modes, batches, what is written, and the
 * round trip. Messages are written here as lines "name: value\n".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "ce_http.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define HEADERS_MAX 300
#define FOUR "ce-specversion: 1.0\nce-id: 1\nce-source: /s\nce-type: t\n"
#define STRUCTURED "content-type: application/cloudevents+json\n"
#define BATCH "content-type: application/cloudevents-batch+json\n"

static const struct ce_http_limits limits = {1 << 20, 8};

static size_t lines(struct slice text, struct http_header *out)
{
    size_t n = 0;
    while (text.len) {
        struct slice value = slice_split(&text, '\n'), name = slice_split(&value, ':');
        out[n++] = (struct http_header){name, slice_trim(value)};
    }
    return n;
}

static enum err decode(struct slice text, struct slice body, const struct ce_event **out, size_t *count, struct diag *d)
{
    struct http_header headers[HEADERS_MAX];
    size_t n = lines(text, headers);
    *d = (struct diag){0, 0, ""};
    return ce_http_decode(headers, n, body, &limits, out, limits.batch_max, count, d);
}

static const struct ce_event *decoded(struct slice text, struct slice body)
{
    const struct ce_event *out[8] = {NULL};
    size_t count = 0;
    struct diag d;
    if (decode(text, body, out, &count, &d))
        fail_msg("%.*s: %s", SLICE_ARG(text), d.text);
    assert_int_equal(count, 1);
    return out[0];
}

/* ---- values: header text -> attribute text ---- */

static const struct {
    struct slice header, value;
} values[] = {
    {SLICE_INIT("plain"), SLICE_INIT("plain")},
    {SLICE_INIT(""), SLICE_INIT("")},
    {SLICE_INIT("a b"), SLICE_INIT("a b")},
    {SLICE_INIT("a%20b"), SLICE_INIT("a b")},
    {SLICE_INIT("%41"), SLICE_INIT("A")},
    {SLICE_INIT("caf%C3%A9"), SLICE_INIT("caf\xc3\xa9")},
    {SLICE_INIT("caf%c3%a9"), SLICE_INIT("caf\xc3\xa9")},
    {SLICE_INIT("%F0%9F%98%80"), SLICE_INIT("\xf0\x9f\x98\x80")},
    {SLICE_INIT("caf\xc3\xa9"), SLICE_INIT("caf\xc3\xa9")},
    {SLICE_INIT("caf\xc3%A9"), SLICE_INIT("caf\xc3\xa9")},
    {SLICE_INIT("%2541"), SLICE_INIT("%41")},
    {SLICE_INIT("100%"), SLICE_INIT("100%")},
    {SLICE_INIT("%4"), SLICE_INIT("%4")},
    {SLICE_INIT("%zz"), SLICE_INIT("%zz")},
    {SLICE_INIT("%%41"), SLICE_INIT("%A")},
    {SLICE_INIT("%4%41"), SLICE_INIT("%4A")},
    {SLICE_INIT("\"quoted\""), SLICE_INIT("quoted")},
    {SLICE_INIT("\"\""), SLICE_INIT("")},
    {SLICE_INIT("\"a b\""), SLICE_INIT("a b")},
    {SLICE_INIT("\"a \\\"b\\\" \\\\\""), SLICE_INIT("a \"b\" \\")},
    {SLICE_INIT("\"\\a\""), SLICE_INIT("a")},
    {SLICE_INIT("\"%41%22\""), SLICE_INIT("A\"")},
    {SLICE_INIT("\"\\%41\""), SLICE_INIT("A")},
    {SLICE_INIT("%22a%22"), SLICE_INIT("\"a\"")},
    {SLICE_INIT("\"open"), SLICE_INIT("\"open")},
    {SLICE_INIT("\"open %41"), SLICE_INIT("\"open A")},
    {SLICE_INIT("\"a\" b"), SLICE_INIT("\"a\" b")},
    {SLICE_INIT("\"a\" \"b\""), SLICE_INIT("\"a\" \"b\"")},
    {SLICE_INIT("\"a\\\""), SLICE_INIT("\"a\\\"")},
    {SLICE_INIT("\""), SLICE_INIT("\"")},
    {SLICE_INIT("a\"b\"c"), SLICE_INIT("a\"b\"c")},
    {SLICE_INIT("a\\b"), SLICE_INIT("a\\b")},
    {SLICE_INIT("(comment)"), SLICE_INIT("(comment)")},
    {SLICE_INIT("1.50"), SLICE_INIT("1.50")},
    {SLICE_INIT("007"), SLICE_INIT("007")},
    {SLICE_INIT("true"), SLICE_INIT("true")},
    {SLICE_INIT("a,b;c=d"), SLICE_INIT("a,b;c=d")},
    {SLICE_INIT("a+b"), SLICE_INIT("a+b")},
    {SLICE_INIT("%C2%A0"), SLICE_INIT("\xc2\xa0")},
};

static void test_values_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        char text[200];
        snprintf(text, sizeof text, FOUR "ce-x: %.*s\n", SLICE_ARG(values[i].header));
        const struct ce_event *e = decoded(slice_str(text), SLICE(""));
        struct ce_attribute a;
        assert_true(ce_event_attribute(e, SLICE("x"), &a));
        if (!slice_eq(a.value, values[i].value))
            fail_msg("row %zu: %.*s", i, SLICE_ARG(a.value));
        assert_int_equal(a.type, CE_STRING);
        ce_event_unref(e);
    }
}

/* ---- whole messages ---- */

static const struct {
    struct slice headers;
    enum err err;
    const char *text; /* in the complaint */
} rows[] = {
    {SLICE_INIT(FOUR), OK, ""},
    {SLICE_INIT("CE-SPECVERSION: 1.0\nCe-Id: 1\ncE-source: /s\nce-Type: t\n"), OK, ""},
    {SLICE_INIT("ce-specversion: \"1.0\"\nce-id: %31\nce-source: %2Fs\nce-type: \"t\"\n"), OK, ""},
    {SLICE_INIT("ce-specversion: %31.0\nce-id: 1\nce-source: /s\nce-type: t\n"), OK, ""},
    {SLICE_INIT("ce-specversion: 0.3\nce-id: 1\nce-source: /s\nce-type: t\nce-schemaurl: /x\n"), OK, ""},
    {SLICE_INIT(FOUR "ce-time: \"2018-04-05T17:31:00Z\"\n"), OK, ""},
    {SLICE_INIT(FOUR "ce-subject: s\nce-dataschema: http://x/y\nce-1: n\n"), OK, ""},
    {SLICE_INIT(FOUR "ce-averyveryverylongextensionname: x\n"), OK, ""},
    {SLICE_INIT(FOUR "ce-MyExt: x\n"), OK, ""},
    {SLICE_INIT(FOUR "content-type: text/plain; charset=iso-8859-1\n"), OK, ""},
    {SLICE_INIT(FOUR
                "ce-traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\nce-tracestate: a=1,b=2\n"),
     OK, ""},
    {SLICE_INIT(FOUR "traceparent: x\ncookie: a\nauthorization: b\n"), OK, ""},
    {SLICE_INIT(FOUR "cex: not ours\nce: not ours\nxce-a: not ours\n"), OK, ""},
    {SLICE_INIT(FOUR "content-encoding: identity\n"), OK, ""},
    {SLICE_INIT(FOUR "content-type: application/cloudevents+avro\n"), OK, ""},
    {SLICE_INIT(FOUR "ce-cloudeventsversion: 0.1\n"), OK, ""},
    {SLICE_INIT(""), ERR_INVALID, "no CloudEvent"},
    {SLICE_INIT("content-type: application/json\n"), ERR_INVALID, "no CloudEvent"},
    {SLICE_INIT("ce-id: 1\nce-source: /s\nce-type: t\n"), ERR_INVALID, "\"ce-specversion\": is missing"},
    {SLICE_INIT("ce-specversion: 1.0\nce-source: /s\nce-type: t\n"), ERR_INVALID, "\"ce-id\": is missing"},
    {SLICE_INIT("ce-specversion: 1.0\nce-id: 1\nce-type: t\n"), ERR_INVALID, "\"ce-source\": is missing"},
    {SLICE_INIT("ce-specversion: 1.0\nce-id: 1\nce-source: /s\n"), ERR_INVALID, "\"ce-type\": is missing"},
    {SLICE_INIT("ce-specversion: 1.0\nce-id:\nce-source: /s\nce-type: t\n"), ERR_INVALID,
     "\"ce-id\": must not be empty"},
    {SLICE_INIT("ce-specversion: 1.0\nce-id: \"\"\nce-source: /s\nce-type: t\n"), ERR_INVALID,
     "\"ce-id\": must not be empty"},
    {SLICE_INIT("ce-specversion:\nce-id: 1\nce-source: /s\nce-type: t\n"), ERR_INVALID,
     "\"ce-specversion\": must not be empty"},
    {SLICE_INIT("ce-specversion: 1.1\nce-id: 1\nce-source: /s\nce-type: t\n"), ERR_INVALID, "\"1.1\" is not supported"},
    {SLICE_INIT("ce-specversion: 0.2\nce-id: 1\nce-source: /s\nce-type: t\n"), ERR_INVALID, "\"0.2\" is not supported"},
    {SLICE_INIT("ce-specversion: 1.0.2\nce-id: 1\nce-source: /s\nce-type: t\n"), ERR_INVALID,
     "\"1.0.2\" is not supported"},
    {SLICE_INIT(FOUR "ce-id: 1\n"), ERR_INVALID, "\"ce-id\": is given twice"},
    {SLICE_INIT(FOUR "CE-ID: 2\n"), ERR_INVALID, "\"ce-id\": is given twice"},
    {SLICE_INIT(FOUR "ce-specversion: 1.0\n"), ERR_INVALID, "\"ce-specversion\": is given twice"},
    {SLICE_INIT(FOUR "ce-x: 1\nce-x: 1\n"), ERR_INVALID, "\"ce-x\": is given twice"},
    {SLICE_INIT(FOUR "content-type: a/b\ncontent-type: a/b\n"), ERR_INVALID, "\"Content-Type\": is given twice"},
    {SLICE_INIT(FOUR "ce-my-ext: 1\n"), ERR_INVALID, "header \"ce-my-ext\""},
    {SLICE_INIT(FOUR "ce-my_ext: 1\n"), ERR_INVALID, "header \"ce-my_ext\""},
    {SLICE_INIT(FOUR "ce-my.ext: 1\n"), ERR_INVALID, "header \"ce-my.ext\""},
    {SLICE_INIT(FOUR "ce-: 1\n"), ERR_INVALID, "header \"ce-\""},
    {SLICE_INIT(FOUR "ce-caf\xc3\xa9: 1\n"), ERR_INVALID, "letters and digits"},
    {SLICE_INIT(FOUR "ce-data: 1\n"), ERR_INVALID, "header \"ce-data\""},
    {SLICE_INIT(FOUR "ce-datacontenttype: a/b\n"), ERR_INVALID, "header \"ce-datacontenttype\""},
    {SLICE_INIT(FOUR "content-type: json\n"), ERR_INVALID, "header \"Content-Type\": \"json\" is no media type"},
    {SLICE_INIT(FOUR "content-type: application%2Fjson\n"), ERR_INVALID, "is no media type"},
    {SLICE_INIT(FOUR "ce-time: yesterday\n"), ERR_INVALID,
     "attribute \"ce-time\": \"yesterday\" is no RFC 3339 timestamp"},
    {SLICE_INIT(FOUR "ce-time:\n"), ERR_INVALID, "\"ce-time\": must not be empty"},
    {SLICE_INIT(FOUR "ce-subject:\n"), ERR_INVALID, "\"ce-subject\": must not be empty"},
    {SLICE_INIT(FOUR "ce-dataschema: /x\n"), ERR_INVALID, "\"ce-dataschema\": \"/x\" is no absolute URI"},
    {SLICE_INIT(FOUR "ce-dataschema: http://x/#y\n"), ERR_INVALID, "without a fragment"},
    {SLICE_INIT("ce-specversion: 1.0\nce-id: 1\nce-source: a%20b\nce-type: t\n"), ERR_INVALID,
     "\"ce-source\": \"a b\" is no URI reference"},
    {SLICE_INIT(FOUR "ce-x: a%0Ab\n"), ERR_INVALID, "\"ce-x\": \"a\\x0Ab\" contains a control character"},
    {SLICE_INIT(FOUR "ce-x: a%0D%0Aevil:1\n"), ERR_INVALID, "control character"},
    {SLICE_INIT(FOUR "ce-x: %00\n"), ERR_INVALID, "control character"},
    {SLICE_INIT(FOUR "ce-x: %7F\n"), ERR_INVALID, "control character"},
    {SLICE_INIT(FOUR "ce-x: %C2%85\n"), ERR_INVALID, "control character"},
    {SLICE_INIT(FOUR "ce-x: a\x01\n"), ERR_INVALID, "control character"},
    {SLICE_INIT(FOUR "ce-x: a\tb\n"), ERR_INVALID, "control character"},
    {SLICE_INIT(FOUR "ce-x: \"a\\\tb\"\n"), ERR_INVALID, "control character"},
    {SLICE_INIT(FOUR "ce-x: %EF%BF%BE\n"), ERR_INVALID, "U+FFFE"},
    {SLICE_INIT(FOUR "ce-x: %C0%A0\n"), ERR_INVALID, "not valid UTF-8"},
    {SLICE_INIT(FOUR "ce-x: %ED%A0%80\n"), ERR_INVALID, "not valid UTF-8"},
    {SLICE_INIT(FOUR "ce-x: %F4%90%80%80\n"), ERR_INVALID, "not valid UTF-8"},
    {SLICE_INIT(FOUR "ce-x: %E2%82\n"), ERR_INVALID, "not valid UTF-8"},
    {SLICE_INIT(FOUR "ce-x: \xff\n"), ERR_INVALID, "not valid UTF-8"},
    {SLICE_INIT(FOUR "content-encoding: gzip\n"), ERR_UNSUPPORTED, "Content-Encoding"},
    {SLICE_INIT("content-type: application/cloudevents+avro\n"), ERR_UNSUPPORTED, "is no format known here"},
    {SLICE_INIT("content-type: application/cloudevents\n"), ERR_UNSUPPORTED, "is no format known here"},
    {SLICE_INIT("content-type: Application/CloudEvents+XML; a=b\n"), ERR_UNSUPPORTED, "is no format known here"},
    {SLICE_INIT("content-type: application/cloudevents-batch+protobuf\n"), ERR_UNSUPPORTED, "is no format known here"},
    {SLICE_INIT("content-type: application/cloudevents+avro\nce-id: 1\nce-source: /s\nce-type: t\n"), ERR_UNSUPPORTED,
     "format"},
    {SLICE_INIT("ce-specversion: 0.3\nce-id: 1\nce-source: /s\nce-type: t\nce-schemaurl: a b\n"), ERR_INVALID,
     "\"ce-schemaurl\""},
    {SLICE_INIT("ce-specversion: 0.3\nce-id: 1\nce-source: /s\nce-type: t\nce-datacontentencoding: gzip\n"),
     ERR_UNSUPPORTED, "\"ce-datacontentencoding\": \"gzip\" is not supported"},
};

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct ce_event *out[8] = {NULL};
        size_t count = 99;
        struct diag d;
        enum err e = decode(rows[i].headers, SLICE("body"), out, &count, &d);
        if (e != rows[i].err || !strstr(d.text, rows[i].text))
            fail_msg("row %zu: %s: %s", i, err_name(e), d.text);
        assert_int_equal(count, e ? 99 : 1);
        assert_true(e == OK || out[0] == NULL);
        ce_event_unref(out[0]);
    }
}

static void test_names_are_lower_cased_and_data_is_kept(void **state)
{
    (void)state;
    const struct ce_event *e = decoded(SLICE(FOUR "CE-MyExt: v\n"), SLICE("\0\xff{"));
    struct ce_attribute a;
    assert_true(ce_event_attribute(e, SLICE("myext"), &a) && slice_eq_str(a.value, "v"));
    assert_true(slice_eq(ce_event_data(e), SLICE("\0\xff{")));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    assert_int_equal(ce_event_mode(e), CE_MODE_BINARY);
    ce_event_unref(e);
    e = decoded(SLICE(FOUR), SLICE(""));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_NONE);
    ce_event_unref(e);
}

/* Values beyond the scratch memory in place: 40 kB of headers is an event below 64 KiB. */
static void test_large_headers(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_put_str(&text, FOUR);
    for (int i = 0; i < 200; i++) {
        buf_printf(&text, "CE-X%d: ", i);
        for (int k = 0; k < 66; k++)
            buf_put_str(&text, "%41");
        buf_put_str(&text, "\n");
    }
    const struct ce_event *e = decoded(buf_slice(&text), SLICE(""));
    assert_int_equal(ce_event_attribute_count(e), 204);
    struct ce_attribute a;
    assert_true(ce_event_attribute(e, SLICE("x199"), &a) && a.value.len == 66 && a.value.ptr[65] == 'A');
    ce_event_unref(e);
    buf_clear(&text);
    buf_put_str(&text, FOUR);
    for (int i = 0; i < CE_ATTRIBUTES_MAX - 3; i++)
        buf_printf(&text, "ce-x%d: 1\n", i);
    const struct ce_event *out[8];
    size_t count;
    struct diag d;
    assert_int_equal(decode(buf_slice(&text), SLICE(""), out, &count, &d), ERR_TOO_LARGE);
    buf_fini(&text);
}

static void test_size_limit(void **state)
{
    (void)state;
    struct http_header headers[8];
    size_t n = lines(SLICE(FOUR), headers), count;
    const struct ce_event *e = NULL;
    struct diag d;
    const struct ce_http_limits small = {400, 1};
    static const char body[400];
    assert_int_equal(ce_http_decode(headers, n, slice_of(body, 100), &small, &e, 1, &count, &d), OK);
    e = ce_event_unref(e);
    assert_int_equal(ce_http_decode(headers, n, slice_of(body, 400), &small, &e, 1, &count, &d), ERR_TOO_LARGE);
    assert_null(e);
}

/* ---- modes ---- */

static void test_modes(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum ce_mode mode;
    } types[] = {
        {"application/json", CE_MODE_BINARY},
        {"application/cloudevent+json", CE_MODE_BINARY},
        {"text/plain; a=application/cloudevents+json", CE_MODE_BINARY},
        {"application/cloudevents+json", CE_MODE_STRUCTURED},
        {"APPLICATION/CloudEvents+JSON", CE_MODE_STRUCTURED},
        {"application/cloudevents+json; charset=UTF-8", CE_MODE_STRUCTURED},
        {"application/cloudevents+json;charset=UTF-8", CE_MODE_STRUCTURED},
        {"application/cloudevents+json ; x=y", CE_MODE_STRUCTURED},
        {"application/cloudevents-batch+json", CE_MODE_BATCH},
        {"Application/CloudEvents-Batch+Json; charset=utf-8", CE_MODE_BATCH},
    };
    struct diag d;
    for (size_t i = 0; i < COUNT(types); i++) {
        struct http_header h = {SLICE("Content-Type"), slice_str(types[i].type)};
        enum ce_mode mode;
        assert_int_equal(ce_http_mode(&h, 1, &mode, &d), OK);
        assert_int_equal(mode, types[i].mode);
        assert_int_equal(ce_http_is_event(&h, 1), mode != CE_MODE_BINARY);
    }
    enum ce_mode mode;
    assert_int_equal(ce_http_mode(NULL, 0, &mode, &d), OK);
    assert_int_equal(mode, CE_MODE_BINARY);
    static const struct http_header new = {SLICE_INIT("Ce-SpecVersion"), SLICE_INIT("1.0")};
    static const struct http_header old = {SLICE_INIT("CE-CloudEventsVersion"), SLICE_INIT("0.1")};
    static const struct http_header none = {SLICE_INIT("ce-id"), SLICE_INIT("1")};
    assert_true(ce_http_is_event(&new, 1));
    assert_true(ce_http_is_event(&old, 1));
    assert_false(ce_http_is_event(&none, 1));
}

static void test_structured_body_counts(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded(SLICE(STRUCTURED "ce-id: other\nce-bad-name: \xff\nX-Request-Id: r\n"),
                SLICE("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}"));
    assert_true(slice_eq_str(ce_event_id(e), "1"));
    assert_int_equal(ce_event_mode(e), CE_MODE_STRUCTURED);
    assert_int_equal(ce_event_header_count(e), 1);
    ce_event_unref(e);
}

#define EVENT(id) "{\"specversion\":\"1.0\",\"id\":\"" id "\",\"source\":\"/s\",\"type\":\"t\"}"

static void test_batches(void **state)
{
    (void)state;
    static const struct {
        struct slice body;
        enum err err;
        size_t count;
        const char *text;
    } batches[] = {
        {SLICE_INIT("[]"), OK, 0, ""},
        {SLICE_INIT(" [ " EVENT("1") " , " EVENT("2") " ] "), OK, 2, ""},
        {SLICE_INIT("[" EVENT("1") "," EVENT("1") "," EVENT("1") "," EVENT("1") "," EVENT("1") "," EVENT("1") "," EVENT(
             "1") "," EVENT("1") "]"),
         OK, 8, ""},
        {SLICE_INIT("[" EVENT("1") "," EVENT("1") "," EVENT("1") "," EVENT("1") "," EVENT("1") "," EVENT("1") "," EVENT(
             "1") "," EVENT("1") "," EVENT("9") "]"),
         ERR_TOO_LARGE, 0, "more than 8 events"},
        {SLICE_INIT(EVENT("1")), ERR_INVALID, 0, "JSON array"},
        {SLICE_INIT("[" EVENT("1") ",1]"), ERR_INVALID, 0, "event 2 of the batch: a JSON object"},
        {SLICE_INIT("[" EVENT("1") "," EVENT("") "]"), ERR_INVALID, 0,
         "event 2 of the batch: attribute \"id\": must not be empty"},
        {SLICE_INIT("[" EVENT("1") ",]"), ERR_INVALID, 0, "no valid JSON"},
        {SLICE_INIT("[" EVENT("1") "]]"), ERR_INVALID, 0, "after the value"},
        {SLICE_INIT(""), ERR_INVALID, 0, "empty"},
        {SLICE_INIT("[" EVENT("1") ",{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}]"),
         ERR_INVALID, 0, "event 2 of the batch: its specversion"},
    };
    for (size_t i = 0; i < COUNT(batches); i++) {
        const struct ce_event *out[8] = {NULL};
        size_t count = 99;
        struct diag d;
        enum err e = decode(SLICE(BATCH), batches[i].body, out, &count, &d);
        if (e != batches[i].err || !strstr(d.text, batches[i].text))
            fail_msg("row %zu: %s: %s", i, err_name(e), d.text);
        assert_int_equal(count, e ? 99 : batches[i].count);
        for (size_t k = 0; k < 8; k++) {
            assert_int_equal(out[k] != NULL, e == OK && k < count); /* all or none */
            assert_true(!out[k] || ce_event_mode(out[k]) == CE_MODE_BATCH);
            ce_event_unref(out[k]);
        }
    }
}

/* ---- writing ---- */

static void assert_binary(const struct ce_event *e, const char *expected)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    ce_http_encode_binary(e, &b);
    assert_int_equal(buf_error(&b), OK);
    if (!slice_eq_str(buf_slice(&b), expected))
        fail_msg("%.*s", SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
}

static void test_binary_is_written(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded(SLICE("X-B3-TraceId: abc\nContent-Type: text/plain; a=\"b c\"\nKnative-X: a b\n" FOUR "ce-MyExt: v\n"),
                SLICE("x"));
    assert_binary(e, "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\nContent-Type: text/plain; "
                     "a=\"b c\"\r\nce-myext: v\r\n"
                     "X-B3-TraceId: abc\r\nKnative-X: a b\r\n");
    ce_event_unref(e);
    e = decoded(SLICE(FOUR "ce-a: \"a \\\"b\\\" 100%\"\nce-b: plain!~\nce-c: caf\xc3\xa9 %F0%9F%98%80\n"), SLICE(""));
    assert_binary(e, "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\nce-a: "
                     "a%20%22b%22%20100%25\r\nce-b: plain!~\r\n"
                     "ce-c: caf%C3%A9%20%F0%9F%98%80\r\n");
    ce_event_unref(e);
    /* JSON without a datacontenttype is application/json outside its envelope. */
    e = decoded(SLICE(STRUCTURED),
                SLICE("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"data\":null}"));
    assert_binary(
        e, "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\nContent-Type: application/json\r\n");
    assert_true(slice_eq_str(ce_event_data(e), "null"));
    ce_event_unref(e);
    /* Bytes without one stay without one. */
    e = decoded(
        SLICE(STRUCTURED),
        SLICE("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"data_base64\":\"AA==\"}"));
    assert_binary(e, "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n");
    ce_event_unref(e);
}

static void test_structured_is_written(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded(SLICE(FOUR "content-type: application/json\nknative-x: y\n"), SLICE("{\"a\": 1.0}"));
    struct buf headers, body;
    buf_init(&headers, 1000);
    buf_init(&body, 1000);
    ce_http_encode_structured(e, &headers, &body);
    assert_true(slice_eq_str(buf_slice(&headers),
                             "Content-Type: application/cloudevents+json; charset=UTF-8\r\nknative-x: y\r\n"));
    assert_true(slice_eq_str(buf_slice(&body), "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\","
                                               "\"datacontenttype\":\"application/json\",\"data\":{\"a\": 1.0}}"));
    buf_fini(&headers);
    buf_fini(&body);
    ce_event_unref(e);
}

/* Outside an envelope its Content-Type would claim that the data is the event. */
static void test_an_envelope_as_data_goes_in_an_envelope(void **state)
{
    (void)state;
    static const char ours[] = "CE-CloudEventsVersion: 0.1\nCE-EventID: 1\nCE-EventType: t\nCE-Source: /s\n"
                               "CE-ContentType: application/cloudevents+json\n";
    const struct ce_event *e = decoded(slice_str(ours), SLICE("{\"id\":1}"));
    assert_int_equal(ce_event_mode_for(e, CE_MODE_BINARY), CE_MODE_STRUCTURED);
    struct buf headers, body;
    buf_init(&headers, 1 << 16);
    buf_init(&body, 1 << 16);
    ce_http_encode_structured(e, &headers, &body);
    const struct ce_event *back = decoded(SLICE(STRUCTURED), buf_slice(&body));
    assert_true(slice_eq_str(ce_event_datacontenttype(back), "application/cloudevents+json"));
    assert_true(slice_eq_str(ce_event_id(back), "1") && slice_eq(ce_event_data(back), ce_event_data(e)));
    ce_event_unref(back);
    ce_event_unref(e);
    e = decoded(SLICE(FOUR), SLICE("x"));
    assert_int_equal(ce_event_mode_for(e, CE_MODE_BINARY), CE_MODE_BINARY);
    assert_int_equal(ce_event_mode_for(e, CE_MODE_BATCH), CE_MODE_STRUCTURED);
    ce_event_unref(e);
    buf_fini(&headers);
    buf_fini(&body);
}

static void test_encoding_meets_the_buffers_limit(void **state)
{
    (void)state;
    const struct ce_event *e = decoded(SLICE(FOUR "ce-a: a%20b\n"), SLICE("x"));
    for (size_t limit = 0; limit < 60; limit++) {
        struct buf b;
        buf_init(&b, limit);
        ce_http_encode_binary(e, &b);
        assert_int_equal(buf_error(&b), ERR_TOO_LARGE);
        buf_fini(&b);
        buf_init(&b, limit);
        ce_json_encode(e, &b);
        assert_int_equal(buf_error(&b), ERR_TOO_LARGE);
        buf_fini(&b);
    }
    ce_event_unref(e);
}

/* ---- the round trip, for random events ---- */

static uint64_t seed;

static unsigned roll(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % n;
}

static struct slice random_string(char *room, size_t max, bool data)
{
    static const char *const pieces[] = {"a",  "Z",   "0",       " ",        "\"",           "%",
                                         "\\", "%41", "/",       "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                         "~",  ",",   "\xc2\xa0"};
    size_t n = 0, count = roll(20);
    for (size_t i = 0; i < count && n + 4 < max; i++) {
        const char *piece = data && roll(4) == 0 ? "\n" : pieces[roll(COUNT(pieces))];
        memcpy(room + n, piece, strlen(piece));
        n += strlen(piece);
    }
    if (!n && !data)
        room[n++] = 'x';
    return slice_of(room, n);
}

static const struct ce_event *random_event(bool binary)
{
    static char room[40][100], names[40][8];
    static const char *const types[] = {"application/json", "text/plain", "application/octet-stream", "image/svg+xml",
                                        "a/b+JSON; c=d"};
    static const char *const json[] = {
        "{}", "[1,2.50,1e400]", "null", "\"text\"", "123456789012345678901234567890", "{\"a\":{\"a\":1,\"a\":2}}"};
    struct ce_builder b;
    struct diag d;
    const struct ce_event *e = NULL;
    ce_builder_init(&b);
    if (roll(4) == 0)
        ce_builder_set(&b, SLICE("specversion"), CE_STRING, SLICE("0.3"));
    ce_builder_set(&b, SLICE("id"), CE_STRING, random_string(room[0], 100, false));
    ce_builder_set(&b, SLICE("type"), CE_STRING, random_string(room[1], 100, false));
    ce_builder_set(&b, SLICE("source"), CE_STRING, roll(2) ? SLICE("https://h/p%20q?x") : SLICE("/s"));
    if (roll(2))
        ce_builder_set(&b, SLICE("subject"), CE_STRING, random_string(room[2], 100, false));
    if (roll(2))
        ce_builder_set(&b, SLICE("time"), CE_STRING, SLICE("2018-04-05T17:31:00.123+02:00"));
    for (unsigned i = 3, n = roll(30); i < n; i++) {
        snprintf(names[i], sizeof names[i], "x%u", i);
        if (!binary && roll(3) == 0)
            ce_builder_set(&b, slice_str(names[i]), roll(2) ? CE_INTEGER : CE_BOOLEAN, SLICE("0"));
        else
            ce_builder_set(&b, slice_str(names[i]), CE_STRING, random_string(room[i], 60, false));
        if (b.error) { /* 0 is no Boolean */
            assert_int_equal(b.error, ERR_INVALID);
            b.error = OK;
        }
    }
    unsigned type = roll(COUNT(types) + 1);
    if (type < COUNT(types))
        ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, slice_str(types[type]));
    bool is_json = ce_media_type_is_json(type < COUNT(types) ? slice_str(types[type]) : SLICE(""));
    struct slice data = is_json ? slice_str(json[roll(COUNT(json))]) : random_string(room[38], 60, true);
    if (binary && data.len && roll(4))
        ce_builder_data(&b, CE_DATA_BYTES, data);
    else if (!binary && roll(4))
        ce_builder_data(&b, is_json ? CE_DATA_JSON : CE_DATA_TEXT, data);
    if (ce_builder_seal(&b, 1 << 20, &e, &d))
        fail_msg("%s", d.text);
    return e;
}

static const struct ce_event *through_binary(const struct ce_event *e)
{
    struct buf b;
    struct http_header headers[HEADERS_MAX];
    const struct ce_event *back = NULL;
    struct diag d;
    size_t count;
    buf_init(&b, 1 << 20);
    ce_http_encode_binary(e, &b);
    size_t n = 0;
    for (struct slice rest = buf_slice(&b); rest.len;) {
        struct slice value = slice_split(&rest, '\n'), name = slice_split(&value, ':');
        assert_true(value.len && value.ptr[value.len - 1] == '\r');
        headers[n++] = (struct http_header){name, slice_trim(slice_of(value.ptr, value.len - 1))};
    }
    if (ce_http_decode(headers, n, ce_event_data(e), &limits, &back, 1, &count, &d))
        fail_msg("%s\n%.*s", d.text, SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
    return back;
}

static const struct ce_event *through_json(const struct ce_event *e)
{
    struct buf b;
    const struct ce_event *back = NULL;
    struct diag d;
    buf_init(&b, 1 << 20);
    ce_json_encode(e, &b);
    if (ce_json_decode(buf_slice(&b), &limits, &back, &d))
        fail_msg("%s\n%.*s", d.text, SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
    return back;
}

static void test_random_round_trips(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    for (int i = 0; i < 3000; i++) {
        const struct ce_event *e = random_event(true), *back = through_binary(e);
        assert_true(ce_event_equal(e, back));
        ce_event_unref(back);
        /* Binary to structured and back: the same attributes and, byte for byte, the same data. */
        back = through_json(e);
        const struct ce_event *again = through_binary(back);
        assert_true(slice_eq(ce_event_data(e), ce_event_data(again)));
        assert_true(ce_event_attribute_count(again) >= ce_event_attribute_count(e));
        ce_event_unref(again);
        ce_event_unref(back);
        ce_event_unref(e);

        e = random_event(false);
        back = through_json(e);
        assert_true(ce_event_equal(e, back));
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_read),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_names_are_lower_cased_and_data_is_kept),
        cmocka_unit_test(test_large_headers),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_structured_body_counts),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_binary_is_written),
        cmocka_unit_test(test_structured_is_written),
        cmocka_unit_test(test_an_envelope_as_data_goes_in_an_envelope),
        cmocka_unit_test(test_encoding_meets_the_buffers_limit),
        cmocka_unit_test(test_random_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
