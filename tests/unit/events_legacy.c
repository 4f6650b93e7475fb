/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents 0.1, as Knative's sources of 2018 sent it: headers and JSON, converted to 1.0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "ce_http.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
static const struct ce_http_limits limits = {1 << 20, 8};

/* Messages are lines "name: value\n", as in events_http.c. */
static enum err decode(struct slice text, struct slice body, const struct ce_event **out, struct diag *d)
{
    struct http_header headers[40];
    size_t n = 0, count;
    while (text.len) {
        struct slice value = slice_split(&text, '\n'), name = slice_split(&value, ':');
        headers[n++] = (struct http_header){name, slice_trim(value)};
    }
    return ce_http_decode(headers, n, body, &limits, out, 1, &count, d);
}

#define FOUR "CE-CloudEventsVersion: \"0.1\"\nCE-EventID: \"1\"\nCE-EventType: \"t\"\nCE-Source: \"/s\"\n"

static const struct {
    const char *headers;
    enum err err;
    const char *result; /* "name=value " of each attribute, or a part of the complaint */
} rows[] = {
    {FOUR, OK, "specversion=1.0 id=1 source=/s type=t "},
    {"CE-CloudEventsVersion: 0.1\nCE-EventID: 1\nCE-EventType: t\nCE-Source: /s\n", OK,
     "specversion=1.0 id=1 source=/s type=t "},
    {"ce-cloudeventsversion: 0.1\nce-eventid: 1\nce-eventtype: t\nce-source: /s\n", OK,
     "specversion=1.0 id=1 source=/s type=t "},
    {FOUR "CE-EventTime: \"2018-08-09T12:00:00Z\"\n", OK,
     "specversion=1.0 id=1 source=/s type=t time=2018-08-09T12:00:00Z "},
    {FOUR "CE-EventTypeVersion: \"v1\"\n", OK, "specversion=1.0 id=1 source=/s type=t eventtypeversion=v1 "},
    {FOUR "CE-SchemaURL: \"http://x/y\"\n", OK, "specversion=1.0 id=1 source=/s type=t dataschema=http://x/y "},
    {FOUR "CE-SchemaURL: \"/y\"\n", OK, "specversion=1.0 id=1 source=/s type=t schemaurl=/y "},
    {FOUR "Content-Type: application/json\n", OK,
     "specversion=1.0 id=1 source=/s type=t datacontenttype=application/json "},
    {FOUR "CE-X-MyExt: \"v\"\nCE-X-My-Other_ext: w\n", OK,
     "specversion=1.0 id=1 source=/s type=t myext=v myotherext=w "},
    {FOUR "CE-X-Quote: \"a \\\"b\\\" \\u00e9%41\"\n", OK,
     "specversion=1.0 id=1 source=/s type=t quote=a \"b\" \xc3\xa9"
     "A "},
    {FOUR "CE-X-Open: \"a\n", OK, "specversion=1.0 id=1 source=/s type=t open=\"a "},
    {FOUR "CE-X-Number: 5\n", OK, "specversion=1.0 id=1 source=/s type=t number=5 "},
    {"CE-CloudEventsVersion: 0.2\nCE-EventID: 1\nCE-EventType: t\nCE-Source: /s\n", ERR_INVALID,
     "\"0.2\" is not supported"},
    {"CE-CloudEventsVersion: 0.1\nCE-EventType: t\nCE-Source: /s\n", ERR_INVALID, "\"ce-id\": is missing"},
    {"CE-CloudEventsVersion: 0.1\nCE-EventID: 1\nCE-Source: /s\n", ERR_INVALID, "\"ce-type\": is missing"},
    {"CE-CloudEventsVersion: 0.1\nCE-EventID: 1\nCE-EventType: t\n", ERR_INVALID, "\"ce-source\": is missing"},
    {FOUR "CE-EventTime: soon\n", ERR_INVALID, "\"ce-time\": \"soon\" is no RFC 3339 timestamp"},
    {FOUR "CE-EventID: 2\n", ERR_INVALID, "\"ce-id\": is given twice"},
    {FOUR "CE-X-A: 1\nCE-X-a: 1\n", ERR_INVALID, "\"ce-a\": is given twice"},
    {FOUR "CE-X-: 1\n", ERR_INVALID, "without a name"},
    {FOUR "CE-X-A: \"\\n\"\n", ERR_INVALID, "control character"},
    {FOUR "CE-X-A: %FF\n", ERR_INVALID, "not valid UTF-8"},
    {"CE-EventID: 1\nCE-EventType: t\nCE-Source: /s\n", ERR_INVALID, "\"ce-specversion\": is missing"},
};

static void attributes(const struct ce_event *e, struct buf *out)
{
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        buf_printf(out, "%.*s=%.*s ", SLICE_ARG(a.name), SLICE_ARG(a.value));
    }
}

static void check(size_t row, enum err err, const struct ce_event *e, const struct diag *d, enum err expected,
                  const char *result)
{
    struct buf text;
    buf_init(&text, 4096);
    if (e)
        attributes(e, &text);
    if (err != expected || (e ? !slice_eq_str(buf_slice(&text), result) : !strstr(d->text, result)))
        fail_msg("row %zu: %s: %s: %.*s", row, err_name(err), d->text, SLICE_ARG(buf_slice(&text)));
    buf_fini(&text);
    ce_event_unref(e);
}

static void test_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct ce_event *e = NULL;
        struct diag d = {0, 0, ""};
        enum err err = decode(slice_str(rows[i].headers), SLICE("{}"), &e, &d);
        assert_true(!e || slice_eq_str(ce_event_data(e), "{}"));
        check(i, err, e, &d, rows[i].err, rows[i].result);
    }
}

#define JSON "\"cloudEventsVersion\":\"0.1\",\"eventID\":\"1\",\"eventType\":\"t\",\"source\":\"/s\""

static const struct {
    const char *text;
    enum err err;
    const char *result;
} envelopes[] = {
    {"{" JSON "}", OK, "specversion=1.0 id=1 source=/s type=t "},
    {"{" JSON ",\"eventTime\":\"2018-08-09T12:00:00Z\",\"eventTypeVersion\":\"v1\",\"schemaURL\":\"http://x/\"}", OK,
     "specversion=1.0 id=1 source=/s type=t time=2018-08-09T12:00:00Z eventtypeversion=v1 dataschema=http://x/ "},
    {"{" JSON ",\"schemaURL\":\"x\",\"contentType\":\"text/plain\",\"data\":\"d\"}", OK,
     "specversion=1.0 id=1 source=/s type=t schemaurl=x datacontenttype=text/plain "},
    {"{" JSON ",\"extensions\":{\"myExt\":\"v\",\"a_b\":5,\"c\":true,\"d\":null},\"data\":{}}", OK,
     "specversion=1.0 id=1 source=/s type=t myext=v ab=5 c=true "},
    {"{" JSON ",\"extensions\":null,\"eventTime\":null}", OK, "specversion=1.0 id=1 source=/s type=t "},
    {"{" JSON ",\"extensions\":{}}", OK, "specversion=1.0 id=1 source=/s type=t "},
    {"{\"cloudEventsVersion\":\"0.2\",\"eventID\":\"1\",\"eventType\":\"t\",\"source\":\"/s\"}", ERR_INVALID,
     "\"0.2\" is not supported"},
    {"{\"cloudEventsVersion\":0.1,\"eventID\":\"1\",\"eventType\":\"t\",\"source\":\"/s\"}", OK,
     "specversion=1.0 id=1 source=/s type=t "},
    {"{" JSON ",\"eventID\":\"2\"}", ERR_INVALID, "\"eventID\": is given twice"},
    {"{" JSON ",\"extensions\":[]}", ERR_INVALID, "\"extensions\": must be a JSON object"},
    {"{" JSON ",\"extensions\":{\"a\":{}}}", ERR_INVALID, "\"a\": must be a string"},
    {"{" JSON ",\"extensions\":{\"a\":\"1\",\"A\":\"2\"}}", ERR_INVALID, "\"a\": is given twice"},
    {"{" JSON ",\"extensions\":{\"id\":\"1\"}}", ERR_INVALID, "\"id\": is given twice"},
    {"{\"cloudEventsVersion\":\"0.1\",\"eventType\":\"t\",\"source\":\"/s\"}", ERR_INVALID, "\"id\": is missing"},
    {"{" JSON ",\"contentType\":\"text/plain\",\"data\":{}}", ERR_INVALID, "must be a JSON string"},
};

static void test_envelopes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(envelopes); i++) {
        const struct ce_event *e = NULL;
        struct diag d = {0, 0, ""};
        enum err err = ce_json_decode(slice_str(envelopes[i].text), &limits, &e, &d);
        check(i, err, e, &d, envelopes[i].err, envelopes[i].result);
    }
}

static void test_forwarded_headers_and_data(void **state)
{
    (void)state;
    const struct ce_event *e = NULL;
    struct diag d;
    assert_int_equal(
        decode(SLICE("X-Request-Id: r\n" FOUR "Content-Type: application/json\n"), SLICE("{\"a\": 1}"), &e, &d), OK);
    assert_int_equal(ce_event_header_count(e), 1);
    struct buf b;
    buf_init(&b, 4096);
    ce_json_encode(e, &b);
    assert_true(slice_eq_str(buf_slice(&b), "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\","
                                            "\"datacontenttype\":\"application/json\",\"data\":{\"a\": 1}}"));
    buf_fini(&b);
    ce_event_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_envelopes),
        cmocka_unit_test(test_forwarded_headers_and_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
