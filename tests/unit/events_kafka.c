/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents in Kafka records, rule by rule (Kafka Protocol Binding 1.0.2; each test names its sections): what is
 * written, what is read, what is refused. tests/unit/events_kafka_foreign.c has the records that are no CloudEvents,
 * events_kafka_trips.c random events, hostile records and failing allocations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/kafka_record.h"
#include "ce_http.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define FOUR "ce_specversion: 1.0\nce_id: 1\nce_source: /s\nce_type: t\n"
#define STRUCTURED "content-type: application/cloudevents+json\n"
#define ENVELOPE "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""
#define NO_VALUE ((struct slice){NULL, 0})

static const struct ce_kafka_rules plain = {.event_bytes_max = 1 << 20};
static const struct ce_http_limits limits = {1 << 20, 8};

static enum err decode(const char *headers, struct slice value, const struct ce_kafka_rules *rules,
                       const struct ce_event **out, struct diag *d)
{
    struct record r;
    record_init(&r);
    record_lines(&r, slice_str(headers));
    r.r.value = value;
    *d = (struct diag){0, 0, ""};
    enum err e = ce_kafka_decode(&r.r, rules, out, d);
    record_fini(&r);
    return e;
}

static const struct ce_event *decoded_by(const char *headers, struct slice value, const struct ce_kafka_rules *rules)
{
    const struct ce_event *e = NULL;
    struct diag d;
    if (decode(headers, value, rules, &e, &d))
        fail_msg("%s: %s", headers, d.text);
    return e;
}

static const struct ce_event *decoded(const char *headers, struct slice value)
{
    return decoded_by(headers, value, &plain);
}

static void refused(const char *headers, struct slice value, enum err expected, const char *says)
{
    const struct ce_event *e = NULL;
    struct diag d;
    enum err got = decode(headers, value, &plain, &e, &d);
    if (got != expected || !strstr(d.text, says) || e)
        fail_msg("%s: %s, \"%s\"", headers, err_name(got), d.text);
}

static const struct ce_event *from_json(const char *text)
{
    const struct ce_event *e = NULL;
    struct diag d;
    if (ce_json_decode(slice_str(text), &limits, &e, &d))
        fail_msg("%s: %s", text, d.text);
    return e;
}

static void is_slice(struct slice got, const char *expected)
{
    if (!slice_eq_str(got, expected))
        fail_msg("\"%.*s\" is not \"%s\"", SLICE_ARG(got), expected);
}

static void attribute_is(const struct ce_event *e, const char *name, const char *expected)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a))
        fail_msg("no attribute %s", name);
    is_slice(a.value, expected);
}

static void lacks(const struct ce_event *e, const char *name)
{
    assert_false(ce_event_attribute(e, slice_str(name), NULL));
}

static void writes(struct record *r, const struct ce_event *e, enum ce_mode mode, bool carry)
{
    record_init(r);
    assert_int_equal(record_write(r, e, mode, carry), OK);
}

/* ---- 3: content modes ---- */

/* "If the content-type header is prefixed with application/cloudevents, structured; otherwise binary." */
static void the_content_type_alone_decides_on_the_mode(void **state)
{
    (void)state;
    static const char *const structured[] = {
        "content-type: application/cloudevents+json\n",
        "content-type: application/cloudevents+json; charset=UTF-8\n",
        "Content-Type: Application/CloudEvents+JSON\n",
        /* other ce_ headers are no part of the event then: 3.3.3 lets senders repeat attributes there */
        FOUR "ce_id: other\ncontent-type: application/cloudevents+json\n",
    };
    for (size_t i = 0; i < COUNT(structured); i++) {
        const struct ce_event *e = decoded(structured[i], SLICE(ENVELOPE ",\"data\":{\"a\":1}}"));
        assert_int_equal(ce_event_mode(e), CE_MODE_STRUCTURED);
        is_slice(ce_event_id(e), "1");
        is_slice(ce_event_data(e), "{\"a\":1}");
        assert_int_equal(ce_event_data_kind(e), CE_DATA_JSON);
        ce_event_unref(e);
    }
    static const char *const binary[] = {FOUR, FOUR "content-type: application/json\n", ("content-type: a/b\n" FOUR)};
    for (size_t i = 0; i < COUNT(binary); i++) {
        const struct ce_event *e = decoded(binary[i], SLICE("{}"));
        assert_int_equal(ce_event_mode(e), CE_MODE_BINARY);
        is_slice(ce_event_data(e), "{}");
        ce_event_unref(e);
    }
    /* The mode is decided by the header, not by what the value looks like. */
    refused("x: y\n", SLICE(ENVELOPE "}"), ERR_INVALID, "no CloudEvent");
    refused("", SLICE(ENVELOPE "}"), ERR_INVALID, "no CloudEvent");
}

/* Batched mode is not defined for Kafka; a format nobody here knows can only pass as the data of a binary event. */
static void batches_and_unknown_formats_are_unsupported(void **state)
{
    (void)state;
    refused("content-type: application/cloudevents-batch+json\n", SLICE("[]"), ERR_UNSUPPORTED, "one event");
    refused(FOUR "content-type: application/cloudevents-batch+json\n", SLICE("[]"), ERR_UNSUPPORTED, "one event");
    refused("content-type: application/cloudevents+avro\n", SLICE("x"), ERR_UNSUPPORTED, "no format known");
    refused("ce_id: 1\ncontent-type: application/cloudevents+avro\n", SLICE("x"), ERR_UNSUPPORTED, "no format known");
    const struct ce_event *e = decoded(FOUR "content-type: application/cloudevents+avro\n", SLICE("x"));
    is_slice(ce_event_datacontenttype(e), "application/cloudevents+avro");
    ce_event_unref(e);
}

static void a_record_says_whether_it_is_an_event(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        bool is;
    } rows[] = {
        {FOUR, true},
        {"ce_specversion: 1.0\n", true},
        {"CE_SpecVersion: 1.0\n", true},
        {STRUCTURED, true},
        {"content-type: application/cloudevents-batch+json\n", true},
        {"", false},
        {"ce_id: 1\nce_source: /s\nce_type: t\n", false},
        {"ce-specversion: 1.0\n", false}, /* HTTP's prefix */
        {"ce_specversion\n", false},      /* null */
        {"content-type: application/json\n", false},
        {"content-type: application/cloudevents+json\ncontent-type: text/plain\n", false}, /* the last counts */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct record r;
        record_init(&r);
        record_lines(&r, slice_str(rows[i].headers));
        if (ce_kafka_is_event(&r.r) != rows[i].is)
            fail_msg("%s", rows[i].headers);
        record_fini(&r);
    }
}

/* ---- 3.2: binary mode, read ---- */

/* 3.2.1, 3.2.3.1: ce_ and the name; content-type is the datacontenttype. */
static void headers_are_attributes(void **state)
{
    (void)state;
    const struct ce_event *e = decoded(FOUR "content-type: text/plain; charset=utf-8\nce_subject: a b\n"
                                            "ce_time: 2018-04-05T17:31:00Z\nce_dataschema: http://x/y\n"
                                            "ce_myext: v\nce_empty: \nother: no\nce-foreign: no\n",
                                       SLICE("hello"));
    is_slice(ce_event_specversion(e), "1.0");
    is_slice(ce_event_id(e), "1");
    is_slice(ce_event_source(e), "/s");
    is_slice(ce_event_type(e), "t");
    is_slice(ce_event_datacontenttype(e), "text/plain; charset=utf-8");
    attribute_is(e, "subject", "a b");
    attribute_is(e, "time", "2018-04-05T17:31:00Z");
    attribute_is(e, "dataschema", "http://x/y");
    attribute_is(e, "myext", "v");
    attribute_is(e, "empty", "");
    assert_int_equal(ce_event_attribute_count(e), 10);
    is_slice(ce_event_data(e), "hello");
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    ce_event_unref(e);
}

/* Names are lower-case in the binding; SDKs lower them on read. */
static void names_are_read_without_case(void **state)
{
    (void)state;
    const struct ce_event *e = decoded("CE_SPECVERSION: 1.0\nCe_Id: 1\nce_Source: /s\ncE_typE: t\nce_MyExt: V\n"
                                       "CONTENT-TYPE: a/b\n",
                                       NO_VALUE);
    attribute_is(e, "myext", "V");
    is_slice(ce_event_datacontenttype(e), "a/b");
    ce_event_unref(e);
}

/* 3.2.3.2: values are UTF-8 as they stand: neither percent-coding nor quotes mean anything. */
static void values_are_taken_as_they_stand(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded(FOUR "ce_subject: caf\xc3\xa9 100%25 \xf0\x9f\x98\x80\nce_q: \"quoted\"\n", NO_VALUE);
    attribute_is(e, "subject", "caf\xc3\xa9 100%25 \xf0\x9f\x98\x80");
    attribute_is(e, "q", "\"quoted\"");
    ce_event_unref(e);
}

/* Kafka's headers are a list in which a name may stand twice; the last one counts (Headers.lastHeader). */
static void the_last_of_two_headers_counts(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded("content-type: text/plain\nce_x: first\n" FOUR "content-type: a/b\nce_X: last\nce_id: 2\n", NO_VALUE);
    is_slice(ce_event_id(e), "2");
    attribute_is(e, "x", "last");
    is_slice(ce_event_datacontenttype(e), "a/b");
    assert_int_equal(ce_event_attribute_count(e), 6);
    ce_event_unref(e);
}

/* A null header value is no value: the attribute is absent, as null in JSON. */
static void null_headers_are_absent(void **state)
{
    (void)state;
    const struct ce_event *e = decoded(FOUR "ce_x\ncontent-type\n", NO_VALUE);
    lacks(e, "x");
    assert_int_equal(ce_event_datacontenttype(e).len, 0);
    ce_event_unref(e);
    refused("ce_specversion: 1.0\nce_id\nce_source: /s\nce_type: t\n", NO_VALUE, ERR_INVALID, "id");
}

static void broken_events_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *says;
    } rows[] = {
        {"ce_id: 1\nce_source: /s\nce_type: t\n", "no CloudEvent"},
        {"ce_specversion: 1.0\nce_source: /s\nce_type: t\n", "\"ce_id\": is missing"},
        {"ce_specversion: 1.0\nce_id: 1\nce_type: t\n", "\"ce_source\": is missing"},
        {"ce_specversion: 1.0\nce_id: 1\nce_source: /s\n", "\"ce_type\": is missing"},
        {FOUR "ce_specversion: 2.0\n", "not supported"},
        {FOUR "ce_id:\n", "must not be empty"},
        {FOUR "ce_source: a b\n", "URI reference"},
        {FOUR "ce_time: yesterday\n", "RFC 3339"},
        {FOUR "ce_dataschema: relative\n", "absolute URI"},
        {FOUR "ce_my-ext: 1\n", "letters and digits"},
        {FOUR "ce_\xc3\xa9: 1\n", "letters and digits"},
        {FOUR "ce_: 1\n", "1 to 256"},
        {FOUR "ce_data: 1\n", "ce_data"},
        {FOUR "ce_datacontenttype: a/b\n", "Content-Type"},
        {FOUR "content-type: nonsense\n", "media type"},
        {FOUR "ce_x: \xff\n", "UTF-8"},
        {FOUR "ce_x: a\x01z\n", "control character"},
        {STRUCTURED, "JSON"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        refused(rows[i].headers, SLICE("x"), ERR_INVALID, rows[i].says);
}

static void the_limit_of_an_event_holds(void **state)
{
    (void)state;
    static char large[5000];
    struct ce_kafka_rules small = {.event_bytes_max = 4000};
    const struct ce_event *e = NULL;
    struct diag d;
    assert_int_equal(decode(FOUR, slice_of(large, sizeof large), &small, &e, &d), ERR_TOO_LARGE);
    assert_true(!e && d.text[0]);
    memset(large, '1', sizeof large);
    assert_int_equal(decode(FOUR, slice_of(large, 3000), &small, &e, &d), OK);
    ce_event_unref(e);
}

/* ---- 3.2.2, 3.3.2: null, empty and tombstones ---- */

static void no_value_and_an_empty_value_differ_on_reading(void **state)
{
    (void)state;
    const struct ce_event *none = decoded(FOUR, NO_VALUE), *empty = decoded(FOUR, SLICE(""));
    assert_int_equal(ce_event_data_kind(none), CE_DATA_NONE);
    assert_int_equal(ce_event_data_kind(empty), CE_DATA_BYTES);
    assert_int_equal(ce_event_data(empty).len, 0);
    ce_event_unref(none);
    ce_event_unref(empty);
}

/* 3.2.2: an event without data is a null value, a tombstone in a compacted topic; empty data is an empty value. */
static void no_data_is_a_null_value_and_empty_data_an_empty_one(void **state)
{
    (void)state;
    const struct ce_event *none = decoded(FOUR, NO_VALUE), *empty = decoded(FOUR, SLICE(""));
    const struct ce_event *text = from_json(ENVELOPE ",\"datacontenttype\":\"text/plain\",\"data\":\"\"}");
    struct record r;
    writes(&r, none, CE_MODE_BINARY, false);
    assert_null(r.r.value.ptr);
    record_fini(&r);
    const struct ce_event *empties[] = {empty, text};
    for (size_t i = 0; i < 2; i++) {
        writes(&r, empties[i], CE_MODE_BINARY, false);
        assert_non_null(r.r.value.ptr);
        assert_int_equal(r.r.value.len, 0);
        record_fini(&r);
    }
    /* 3.3.2: in structured mode the value is the envelope, so an event without data deletes nothing. */
    writes(&r, none, CE_MODE_STRUCTURED, false);
    is_slice(r.r.value, ENVELOPE "}");
    record_fini(&r);
    refused(STRUCTURED, NO_VALUE, ERR_INVALID, "tombstone");
    ce_event_unref(none);
    ce_event_unref(empty);
    ce_event_unref(text);
}

/* ---- 3.1: keys ---- */

/* The key is the extension partitionkey, as it is, and the event keeps it. */
static void the_key_is_the_partitionkey(void **state)
{
    (void)state;
    const struct ce_event *keyed = decoded(FOUR "ce_partitionkey: caf\xc3\xa9 %41\n", NO_VALUE);
    const struct ce_event *empty = decoded(FOUR "ce_partitionkey:\n", NO_VALUE), *none = decoded(FOUR, NO_VALUE);
    is_slice(ce_kafka_key(keyed), "caf\xc3\xa9 %41");
    assert_true(ce_kafka_key(empty).ptr && ce_kafka_key(empty).len == 0);
    assert_null(ce_kafka_key(none).ptr);
    struct record r;
    writes(&r, keyed, CE_MODE_BINARY, false);
    is_slice(record_value(&r, "ce_partitionkey"), "caf\xc3\xa9 %41");
    record_fini(&r);
    ce_event_unref(keyed);
    ce_event_unref(empty);
    ce_event_unref(none);
}

/* "A key that comes from elsewhere must not become an attribute." */
static void a_records_key_is_no_attribute(void **state)
{
    (void)state;
    struct record r;
    for (int structured = 0; structured < 2; structured++) {
        const struct ce_event *e = NULL;
        record_init(&r);
        record_lines(&r, structured ? SLICE(STRUCTURED) : SLICE(FOUR));
        r.r.key = SLICE("somebody's");
        r.r.value = SLICE(ENVELOPE "}");
        assert_int_equal(ce_kafka_decode(&r.r, &plain, &e, NULL), OK);
        lacks(e, "partitionkey");
        lacks(e, "key");
        assert_int_equal(ce_event_attribute_count(e), 4);
        ce_event_unref(e);
        record_fini(&r);
    }
}

/* ---- 3.2.3, 3.3: what is written ---- */

static void binary_mode_is_written_as_the_binding_says(void **state)
{
    (void)state;
    const struct ce_event *e =
        from_json(ENVELOPE ",\"subject\":\"caf\xc3\xa9 \\\"1%\\\"\",\"seq\":42,\"last\":true,"
                           "\"datacontenttype\":\"text/xml\",\"data\":\"<much wow=\\\"xml\\\"/>\"}");
    struct record r;
    writes(&r, e, CE_MODE_BINARY, false);
    is_slice(r.r.value, "<much wow=\"xml\"/>");
    is_slice(record_value(&r, "ce_specversion"), "1.0");
    is_slice(record_value(&r, "ce_id"), "1");
    is_slice(record_value(&r, "ce_source"), "/s");
    is_slice(record_value(&r, "ce_type"), "t");
    is_slice(record_value(&r, "ce_subject"), "caf\xc3\xa9 \"1%\""); /* no percent-coding: 3.2.3.2 */
    is_slice(record_value(&r, "ce_seq"), "42");
    is_slice(record_value(&r, "ce_last"), "true");
    is_slice(record_value(&r, "content-type"), "text/xml");
    assert_int_equal(r.r.header_count, 8); /* and nothing else: neither ce_datacontenttype nor leat_mode */
    record_fini(&r);
    ce_event_unref(e);
}

/* JSON data without a datacontenttype is JSON in an envelope only; a record must say it. */
static void json_without_a_type_is_said_to_be_json(void **state)
{
    (void)state;
    const struct ce_event *json = from_json(ENVELOPE ",\"data\":[1, 2]}"), *bytes = decoded(FOUR, SLICE("[1]"));
    struct record r;
    writes(&r, json, CE_MODE_BINARY, false);
    is_slice(record_value(&r, "content-type"), "application/json");
    is_slice(r.r.value, "[1, 2]");
    record_fini(&r);
    writes(&r, bytes, CE_MODE_BINARY, false);
    assert_null(record_value(&r, "content-type").ptr);
    record_fini(&r);
    ce_event_unref(json);
    ce_event_unref(bytes);
}

static void structured_mode_is_written_as_the_binding_says(void **state)
{
    (void)state;
    static const char text[] =
        ENVELOPE ",\"seq\":42,\"datacontenttype\":\"application/json\",\"data\":{\"a\":[1e400]}}";
    const struct ce_event *e = from_json(text);
    struct record r;
    writes(&r, e, CE_MODE_STRUCTURED, false);
    is_slice(r.r.value, text);
    is_slice(record_value(&r, "content-type"), "application/cloudevents+json; charset=UTF-8");
    assert_int_equal(r.r.header_count, 1);
    record_fini(&r);
    ce_event_unref(e);
}

/* An event whose data is itself in a CloudEvents format would, in binary mode, be read as its data. */
static void data_that_is_an_envelope_goes_in_an_envelope(void **state)
{
    (void)state;
    const struct ce_event *e =
        from_json(ENVELOPE ",\"datacontenttype\":\"application/cloudevents+json\",\"data\":{\"id\":\"inner\"}}");
    const struct ce_event *back = NULL;
    struct record r;
    writes(&r, e, CE_MODE_BINARY, false);
    is_slice(record_value(&r, "content-type"), "application/cloudevents+json; charset=UTF-8");
    assert_int_equal(ce_kafka_decode(&r.r, &plain, &back, NULL), OK);
    assert_true(ce_event_equal(e, back));
    ce_event_unref(back);
    record_fini(&r);
    ce_event_unref(e);
}

/* ---- what is carried for a reader of ours ---- */

static const struct ce_event *carried(const struct ce_event *e, enum ce_mode wire, const char *hint)
{
    struct record r;
    const struct ce_event *back = NULL;
    struct diag d;
    writes(&r, e, wire, true);
    is_slice(record_value(&r, "leat_mode"), hint);
    if (ce_kafka_decode(&r.r, &plain, &back, &d))
        fail_msg("%s", d.text);
    record_fini(&r);
    return back;
}

static void an_event_that_came_structured_is_told_to_have(void **state)
{
    (void)state;
    static const struct {
        const char *json, *hint;
    } rows[] = {
        {ENVELOPE "}", "structured"},
        {ENVELOPE ",\"data\":{\"a\":1}}", "structured;data=json;type=none"},
        {ENVELOPE ",\"datacontenttype\":\"application/json\",\"data\":null}", "structured;data=json"},
        {ENVELOPE ",\"seq\":42,\"x\":\"1\",\"last\":true,\"datacontenttype\":\"text/plain\",\"data\":\"\"}",
         "structured;data=text;types=seq:integer,last:boolean"},
        {ENVELOPE ",\"data_base64\":\"AAEC\"}", "structured"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct ce_event *e = from_json(rows[i].json), *back = carried(e, CE_MODE_BINARY, rows[i].hint);
        assert_true(ce_event_equal(e, back));
        assert_int_equal(ce_event_mode(back), CE_MODE_STRUCTURED);
        ce_event_unref(back);
        ce_event_unref(e);
    }
    /* and the other way round, where the bus writes envelopes */
    const struct ce_event *e = decoded(FOUR "content-type: application/json\n", SLICE("{}"));
    const struct ce_event *back = carried(e, CE_MODE_STRUCTURED, "binary;data=bytes");
    assert_true(ce_event_equal(e, back));
    assert_int_equal(ce_event_mode(back), CE_MODE_BINARY);
    ce_event_unref(back);
    back = carried(e, CE_MODE_BINARY, ""); /* nothing to tell */
    assert_true(ce_event_equal(e, back));
    ce_event_unref(back);
    ce_event_unref(e);
}

/* Anybody may write the header, or copy it onto a record of his own: what does not fit is passed over. */
static void a_hint_that_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    static const char *const hints[] = {
        "",
        ";",
        "=;:,",
        "nonsense",
        ";data=json",
        ";data=text",
        ";data=none",
        ";data=",
        ";types=x:integer",
        ";types=id:integer,source:boolean",
        ";types=missing:integer",
        ";types=x",
        ";types=,,:,x:,:integer",
        ";types=x:nothing",
        ";type=none",
        ";data=json;type=none;types=x:timestamp,x:uri",
        ";unknown=1;;;",
    };
    const struct ce_event *without = decoded(FOUR "ce_x: a b\ncontent-type: image/png\n", SLICE("\xff{"));
    for (size_t i = 0; i < COUNT(hints); i++) {
        char headers[300];
        snprintf(headers, sizeof headers, FOUR "ce_x: a b\ncontent-type: image/png\nleat_mode: %s\n", hints[i]);
        const struct ce_event *e = decoded(headers, SLICE("\xff{"));
        if (!ce_event_equal(e, without) || ce_event_mode(e) != CE_MODE_BINARY)
            fail_msg("%s", hints[i]);
        ce_event_unref(e);
    }
    ce_event_unref(without);
    /* A JSON value is its text alone: bytes around it make it bytes. */
    const struct ce_event *e = decoded(FOUR "content-type: application/json\nleat_mode: ;data=json\n", SLICE(" {}\n"));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    is_slice(ce_event_data(e), " {}\n");
    ce_event_unref(e);
}

static void transport_headers_are_carried_under_their_names(void **state)
{
    (void)state;
    static const char *const modes[] = {FOUR, STRUCTURED};
    for (int structured = 0; structured < 2; structured++) {
        char headers[400];
        snprintf(headers, sizeof headers,
                 "%straceparent: 00-1-2-01\nTraceState: a=b\nKnative-X: y\nother: no\nx-request-id\n",
                 modes[structured]);
        const struct ce_event *e = decoded(headers, SLICE(ENVELOPE "}"));
        struct slice name, value;
        assert_int_equal(ce_event_header_count(e), 3);
        ce_event_header_at(e, 0, &name, &value);
        is_slice(name, "traceparent");
        is_slice(value, "00-1-2-01");
        struct record r;
        writes(&r, e, CE_MODE_BINARY, true);
        is_slice(record_value(&r, "traceparent"), "00-1-2-01");
        is_slice(record_value(&r, "TraceState"), "a=b");
        is_slice(record_value(&r, "Knative-X"), "y");
        record_fini(&r);
        writes(&r, e, CE_MODE_BINARY, false);
        is_slice(record_value(&r, "traceparent"), "00-1-2-01"); /* strangers trace, too */
        is_slice(record_value(&r, "TraceState"), "a=b");
        assert_null(record_value(&r, "Knative-X").ptr);
        record_fini(&r);
        ce_event_unref(e);
    }
}

/* Whatever else an event has beside it, a reader would take for something else. */
static void only_transport_headers_are_carried(void **state)
{
    (void)state;
    const struct ce_event *plain_event = decoded(FOUR, NO_VALUE), *e = NULL;
    struct ce_builder b;
    struct record r;
    ce_builder_from(&b, plain_event);
    ce_builder_header(&b, SLICE("ce_id"), SLICE("other"));
    ce_builder_header(&b, SLICE("leat_mode"), SLICE("structured"));
    ce_builder_header(&b, SLICE("x-request-id"), SLICE("7"));
    assert_int_equal(ce_builder_seal(&b, 1 << 20, &e, NULL), OK);
    record_init(&r);
    buf_put_str(&r.scratch, "left from before");
    assert_int_equal(record_write(&r, e, CE_MODE_BINARY, true), OK);
    assert_int_equal(r.r.header_count, 5);
    is_slice(record_value(&r, "ce_id"), "1");
    is_slice(record_value(&r, "x-request-id"), "7");
    record_fini(&r);
    ce_event_unref(e);
    ce_event_unref(plain_event);
}

/* ---- rules of a channel ---- */

static void overrides_stand_over_what_an_event_brings(void **state)
{
    (void)state;
    const struct ce_kafka_header overrides[] = {{SLICE("x"), SLICE("ours")},
                                                {SLICE("team"), SLICE("caf\xc3\xa9")},
                                                {SLICE("id"), SLICE("no core attribute")},
                                                {SLICE("No-Name"), SLICE("v")},
                                                {SLICE("control"), SLICE("\x01")}};
    struct ce_kafka_rules rules = {.event_bytes_max = 1 << 20, .overrides = overrides, .override_count = 5};
    const struct ce_event *events[] = {
        decoded_by(FOUR "ce_x: theirs\n", NO_VALUE, &rules),
        decoded_by(STRUCTURED, SLICE(ENVELOPE ",\"x\":1}"), &rules),
    };
    for (size_t i = 0; i < COUNT(events); i++) {
        attribute_is(events[i], "x", "ours");
        attribute_is(events[i], "team", "caf\xc3\xa9");
        is_slice(ce_event_id(events[i]), "1");
        assert_int_equal(ce_event_attribute_count(events[i]), 6);
        assert_int_equal(ce_event_mode(events[i]), i ? CE_MODE_STRUCTURED : CE_MODE_BINARY);
        ce_event_unref(events[i]);
    }
}

/* Upstream's CloudEventOverridesMutator; a channel's events stay as they are. */
static void a_kafka_source_says_where_an_event_stood(void **state)
{
    (void)state;
    struct ce_kafka_rules rules = {.event_bytes_max = 1 << 20, .source = "/apis/v1/namespaces/ns/kafkasources/ks"};
    static const char *const modes[] = {FOUR "ce_knativekafkaoffset: 9\n", STRUCTURED};
    for (int i = 0; i < 2; i++) {
        const struct ce_event *e = decoded_by(modes[i], SLICE(ENVELOPE "}"), &rules);
        struct ce_attribute a;
        attribute_is(e, "knativekafkapartition", "2");
        attribute_is(e, "knativekafkaoffset", "7");
        is_slice(ce_event_source(e), "/s");
        assert_true(ce_event_attribute(e, SLICE("knativekafkaoffset"), &a) && a.type == CE_INTEGER);
        ce_event_unref(e);
    }
    struct record r; /* an offset beyond an Integer of CloudEvents is a String */
    const struct ce_event *e = NULL;
    struct ce_attribute a;
    record_init(&r);
    record_lines(&r, SLICE(FOUR));
    r.r.offset = 3000000000;
    assert_int_equal(ce_kafka_decode(&r.r, &rules, &e, NULL), OK);
    assert_true(ce_event_attribute(e, SLICE("knativekafkaoffset"), &a) && a.type == CE_STRING);
    is_slice(a.value, "3000000000");
    ce_event_unref(e);
    record_fini(&r);
}

/* ---- what the header function returns ---- */

static void the_first_failure_of_the_header_function_ends_it(void **state)
{
    (void)state;
    const struct ce_event *e = from_json(ENVELOPE ",\"data\":1}");
    for (int mode = CE_MODE_BINARY; mode <= CE_MODE_STRUCTURED; mode++)
        for (size_t n = 0;; n++) {
            struct record r;
            record_init(&r);
            r.fails = ERR_FULL;
            r.calls = n;
            r.r.value = SLICE("untouched");
            enum err got = record_write(&r, e, (enum ce_mode)mode, true);
            size_t count = r.r.header_count;
            if (got)
                is_slice(r.r.value, "untouched");
            record_fini(&r);
            assert_true(got == OK || got == ERR_FULL);
            if (!got) {
                assert_int_equal(count, mode == CE_MODE_BINARY ? 6 : 2); /* leat_mode among them */
                break;
            }
        }
    ce_event_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_content_type_alone_decides_on_the_mode),
        cmocka_unit_test(batches_and_unknown_formats_are_unsupported),
        cmocka_unit_test(a_record_says_whether_it_is_an_event),
        cmocka_unit_test(headers_are_attributes),
        cmocka_unit_test(names_are_read_without_case),
        cmocka_unit_test(values_are_taken_as_they_stand),
        cmocka_unit_test(the_last_of_two_headers_counts),
        cmocka_unit_test(null_headers_are_absent),
        cmocka_unit_test(broken_events_are_refused_with_the_reason),
        cmocka_unit_test(the_limit_of_an_event_holds),
        cmocka_unit_test(no_value_and_an_empty_value_differ_on_reading),
        cmocka_unit_test(no_data_is_a_null_value_and_empty_data_an_empty_one),
        cmocka_unit_test(the_key_is_the_partitionkey),
        cmocka_unit_test(a_records_key_is_no_attribute),
        cmocka_unit_test(binary_mode_is_written_as_the_binding_says),
        cmocka_unit_test(json_without_a_type_is_said_to_be_json),
        cmocka_unit_test(structured_mode_is_written_as_the_binding_says),
        cmocka_unit_test(data_that_is_an_envelope_goes_in_an_envelope),
        cmocka_unit_test(an_event_that_came_structured_is_told_to_have),
        cmocka_unit_test(a_hint_that_does_not_fit_changes_nothing),
        cmocka_unit_test(transport_headers_are_carried_under_their_names),
        cmocka_unit_test(only_transport_headers_are_carried),
        cmocka_unit_test(overrides_stand_over_what_an_event_brings),
        cmocka_unit_test(a_kafka_source_says_where_an_event_stood),
        cmocka_unit_test(the_first_failure_of_the_header_function_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
