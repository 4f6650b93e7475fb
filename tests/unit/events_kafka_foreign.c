/* SPDX-License-Identifier: Apache-2.0
 *
 * Records that are no CloudEvents become dev.knative.kafka.event, attribute by attribute as upstream's KafkaSource
 * makes it (eventing-kafka-broker: InvalidCloudEventInterceptorTest, KeyDeserializerTest), and where upstream's would
 * be no CloudEvent, as events/kafka_wrap.c says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/kafka_record.h"
#include "../lib/upstream_cases.h"
#include "text.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define NO_VALUE ((struct slice){NULL, 0})

static const struct ce_kafka_rules plain = {.event_bytes_max = 1 << 20};
static const struct ce_kafka_rules source = {.event_bytes_max = 1 << 20,
                                             .source = "/apis/v1/namespaces/knative-ns/kafkasources/ks"};

static const struct ce_event *wrapped(const struct ce_kafka_record *r, const struct ce_kafka_rules *rules)
{
    const struct ce_event *e = NULL;
    struct diag d = {0, 0, ""};
    if (ce_kafka_wrap(r, rules, &e, &d))
        fail_msg("%s", d.text);
    return e;
}

static const struct ce_event *wrapped_lines(const char *headers, const struct ce_kafka_rules *rules)
{
    struct record r;
    record_init(&r);
    record_lines(&r, slice_str(headers));
    const struct ce_event *e = wrapped(&r.r, rules);
    record_fini(&r);
    return e;
}

static void attribute_is(const struct ce_event *e, const char *name, enum ce_type type, const char *expected)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a))
        fail_msg("no attribute %s", name);
    if (!slice_eq_str(a.value, expected) || a.type != type)
        fail_msg("%s is \"%.*s\" of type %d", name, SLICE_ARG(a.value), a.type);
}

static void lacks(const struct ce_event *e, const char *name)
{
    if (ce_event_attribute(e, slice_str(name), NULL))
        fail_msg("%s is there", name);
}

static void a_record_becomes_the_event_of_a_kafka_source(void **state)
{
    (void)state;
    struct record r;
    record_init(&r);
    record_lines(&r, SLICE("hello: world\nX-Trace_Id: 7\ncontent-type: Application/JSON; charset=UTF-8\n"));
    r.r.topic = SLICE("My.topic_1-a");
    r.r.key = SLICE("a");
    r.r.value = SLICE("{\"a\":1}");
    const struct ce_event *e = wrapped(&r.r, &source);
    record_fini(&r);
    attribute_is(e, "specversion", CE_STRING, "1.0");
    attribute_is(e, "type", CE_STRING, "dev.knative.kafka.event");
    attribute_is(e, "source", CE_URI_REFERENCE, "/apis/v1/namespaces/knative-ns/kafkasources/ks#My.topic_1-a");
    attribute_is(e, "id", CE_STRING, "partition:2/offset:7");
    attribute_is(e, "subject", CE_STRING, "partition:2#7");
    attribute_is(e, "time", CE_TIMESTAMP, "2018-01-01T00:00:00.123Z");
    attribute_is(e, "datacontenttype", CE_STRING, "application/json; charset=utf-8");
    attribute_is(e, "key", CE_STRING, "a");
    attribute_is(e, "partitionkey", CE_STRING, "a");
    attribute_is(e, "kafkaheaderhello", CE_STRING, "world");
    attribute_is(e, "kafkaheaderxtraceid", CE_STRING, "7");
    attribute_is(e, "knativekafkapartition", CE_INTEGER, "2");
    attribute_is(e, "knativekafkaoffset", CE_INTEGER, "7");
    assert_int_equal(ce_event_attribute_count(e), 13);
    assert_int_equal(ce_event_mode(e), CE_MODE_BINARY);
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    assert_true(slice_eq_str(ce_event_data(e), "{\"a\":1}"));
    ce_event_unref(e);
}

/* A tombstone, a record without anything, the largest numbers. */
static void the_ends_of_what_a_record_can_be(void **state)
{
    (void)state;
    struct ce_kafka_record r = {.topic = SLICE_INIT("t"), .partition = INT32_MAX, .offset = INT64_MAX, .time_ms = -1};
    const struct ce_event *e = wrapped(&r, &plain);
    attribute_is(e, "source", CE_URI_REFERENCE, "/kafka#t");
    attribute_is(e, "id", CE_STRING, "partition:2147483647/offset:9223372036854775807");
    attribute_is(e, "subject", CE_STRING, "partition:2147483647#9223372036854775807");
    assert_int_equal(ce_event_attribute_count(e), 5); /* no time, no key, no positions */
    assert_int_equal(ce_event_data_kind(e), CE_DATA_NONE);
    ce_event_unref(e);
    r.value = SLICE("");
    r.time_ms = INT64_MAX; /* no date that can be written */
    e = wrapped(&r, &plain);
    lacks(e, "time");
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    ce_event_unref(e);
    r.time_ms = 0;
    r.topic = SLICE("a b#%\xc3\xa9"); /* Kafka has no such topics; a record may claim one */
    e = wrapped(&r, &source);
    attribute_is(e, "time", CE_TIMESTAMP, "1970-01-01T00:00:00Z");
    attribute_is(e, "source", CE_URI_REFERENCE, "/apis/v1/namespaces/knative-ns/kafkasources/ks#a%20b%23%25%C3%A9");
    attribute_is(e, "knativekafkaoffset", CE_STRING, "9223372036854775807"); /* beyond an Integer of CloudEvents */
    ce_event_unref(e);
    static char large[5000];
    struct ce_attribute a;
    memset(large, 0xff, sizeof large);
    r.key = r.topic = slice_of(large, sizeof large); /* every byte takes the most room that one can */
    e = wrapped(&r, &source);
    assert_true(ce_event_attribute(e, SLICE("key"), &a) && a.value.len == (sizeof large + 2) / 3 * 4);
    assert_true(ce_event_source(e).len > 3 * sizeof large);
    ce_event_unref(e);
}

/* Upstream's KeyDeserializer, and Java's way to write numbers. */
static void keys_are_read_by_the_type_that_the_source_names(void **state)
{
    (void)state;
    static const struct {
        enum ce_kafka_key how;
        struct slice key;
        enum ce_type type;
        const char *text; /* NULL: no attribute */
    } rows[] = {
        {CE_KAFKA_KEY_STRING, SLICE_INIT("caf\xc3\xa9 1"), CE_STRING, "caf\xc3\xa9 1"},
        {CE_KAFKA_KEY_STRING, {NULL, 0}, CE_STRING, NULL},
        {CE_KAFKA_KEY_STRING, SLICE_INIT(""), CE_STRING, NULL}, /* as null, in upstream */
        {CE_KAFKA_KEY_INT, SLICE_INIT(""), CE_STRING, NULL},
        {CE_KAFKA_KEY_BYTE_ARRAY, SLICE_INIT(""), CE_STRING, NULL},
        {CE_KAFKA_KEY_STRING, SLICE_INIT("\x00\x00\x00\x05"), CE_BINARY, "AAAABQ=="}, /* no text */
        {CE_KAFKA_KEY_STRING, SLICE_INIT("\xff"), CE_BINARY, "/w=="},
        {CE_KAFKA_KEY_INT, SLICE_INIT("\x00\x00\x00\x05"), CE_INTEGER, "5"},
        {CE_KAFKA_KEY_INT, SLICE_INIT("\xff\xff\xff\xfe"), CE_INTEGER, "-2"},
        {CE_KAFKA_KEY_INT, SLICE_INIT("\x80\x00\x00\x00"), CE_INTEGER, "-2147483648"},
        {CE_KAFKA_KEY_INT, SLICE_INIT("12345"), CE_STRING, "12345"}, /* not four bytes: text */
        {CE_KAFKA_KEY_INT, SLICE_INIT("\x00\x00\x00\x00\x00\x00\x00\x05"), CE_BINARY, "AAAAAAAAAAU="},
        {CE_KAFKA_KEY_BYTE_ARRAY, SLICE_INIT("\x01\x02\x03\x04"), CE_BINARY, "AQIDBA=="},
        {CE_KAFKA_KEY_BYTE_ARRAY, SLICE_INIT("abc"), CE_BINARY, "YWJj"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("abc"), CE_STRING, "abc"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x3f\xc0\x00\x00"), CE_STRING, "1.5"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x3d\xcc\xcc\xcd"), CE_STRING, "0.1"}, /* a float's shortest, not a double's */
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x7f\x7f\xff\xff"), CE_STRING, "3.4028235E38"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x3f\xf0\x00\x00\x00\x00\x00\x00"), CE_STRING, "1.0"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x80\x00\x00\x00\x00\x00\x00\x00"), CE_STRING, "-0.0"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x00\x00\x00\x00\x00\x00\x00\x00"), CE_STRING, "0.0"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x3f\x50\x62\x4d\xd2\xf1\xa9\xfc"), CE_STRING, "0.001"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x3f\x1a\x36\xe2\xeb\x1c\x43\x2d"), CE_STRING, "1.0E-4"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x41\x63\x12\xd0\x00\x00\x00\x00"), CE_STRING, "1.0E7"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x41\x63\x12\xcf\xf3\x33\x33\x33"), CE_STRING, "9999999.6"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x40\x59\x00\x00\x00\x00\x00\x00"), CE_STRING, "100.0"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\xc0\x5e\xdd\x2f\x1a\x9f\xbe\x77"), CE_STRING, "-123.456"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x7f\xf0\x00\x00\x00\x00\x00\x00"), CE_STRING, "Infinity"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\xff\xf0\x00\x00\x00\x00\x00\x00"), CE_STRING, "-Infinity"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x7f\xf8\x00\x00\x00\x00\x00\x00"), CE_STRING, "NaN"},
        {CE_KAFKA_KEY_FLOAT, SLICE_INIT("\x7f\xef\xff\xff\xff\xff\xff\xff"), CE_STRING, "1.7976931348623157E308"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ce_kafka_record r = {.topic = SLICE_INIT("t"), .key = rows[i].key};
        struct ce_kafka_rules rules = {.event_bytes_max = 1 << 20, .key = rows[i].how};
        const struct ce_event *e = wrapped(&r, &rules);
        for (int k = 0; k < 2; k++) {
            const char *name = k ? "key" : "partitionkey";
            if (rows[i].text)
                attribute_is(e, name, rows[i].type, rows[i].text);
            else
                lacks(e, name);
        }
        ce_event_unref(e);
    }
}

static void headers_become_extensions_where_they_can(void **state)
{
    (void)state;
    const struct ce_event *e = wrapped_lines("ce_id: 1\nA-b.C: 1\na_BC: last\n-: bare\nempty:\nnull\nbad: \xff\n"
                                             "control: a\x01z\ncaf\xc3\xa9: 5\ntraceparent: 00-1-2-01\n",
                                             &plain);
    attribute_is(e, "kafkaheaderceid", CE_STRING, "1");
    attribute_is(e, "kafkaheaderabc", CE_STRING, "last"); /* two that become one: the last */
    attribute_is(e, "kafkaheader", CE_STRING, "bare");
    attribute_is(e, "kafkaheaderempty", CE_STRING, "");
    attribute_is(e, "kafkaheadercaf", CE_STRING, "5");
    attribute_is(e, "kafkaheadertraceparent", CE_STRING, "00-1-2-01");
    lacks(e, "kafkaheadernull");
    lacks(e, "kafkaheaderbad");
    lacks(e, "kafkaheadercontrol");
    assert_int_equal(ce_event_header_count(e), 1); /* the trace goes on beside the event too */
    ce_event_unref(e);
}

static void a_content_type_that_can_be_none_is_left_out(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *type;
    } rows[] = {
        {"content-type: text/plain\n", "text/plain"},
        {"Content-Type: Text/Plain\n", "text/plain"},
        {"content-type: a/b\ncontent-type: c/d\n", "c/d"},
        {"content-type: json\n", ""},
        {"content-type:\n", ""},
        {"content-type\n", ""},
        {"content-type: \xff\n", ""},
        {"content-type: application/cloudevents+json\n", ""}, /* its value is no envelope, or it were no such record */
        {"content-type: application/cloudevents+avro\n", ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct ce_event *e = wrapped_lines(rows[i].headers, &plain);
        if (!slice_eq_str(ce_event_datacontenttype(e), rows[i].type))
            fail_msg("%s", rows[i].headers);
        lacks(e, "kafkaheadercontenttype");
        ce_event_unref(e);
    }
}

static void overrides_hold_for_these_events_too(void **state)
{
    (void)state;
    const struct ce_kafka_header overrides[] = {{SLICE("team"), SLICE("a")},
                                                {SLICE("kafkaheaderhello"), SLICE("ours")},
                                                {SLICE("knativekafkaoffset"), SLICE("o")}};
    struct ce_kafka_rules rules = source;
    rules.overrides = overrides;
    rules.override_count = COUNT(overrides);
    const struct ce_event *e = wrapped_lines("hello: world\n", &rules);
    attribute_is(e, "team", CE_STRING, "a");
    attribute_is(e, "kafkaheaderhello", CE_STRING, "ours");
    attribute_is(e, "knativekafkaoffset", CE_STRING, "o");
    ce_event_unref(e);
}

/* More headers than an event has room for, names longer than any may be: the event is made all the same. */
static void no_number_of_headers_is_too_many(void **state)
{
    (void)state;
    static char name[300];
    struct record r;
    record_init(&r);
    memset(name, 'n', sizeof name);
    for (size_t i = 0; i < RECORD_HEADERS_MAX; i++) {
        char number[16];
        snprintf(number, sizeof number, "h%zu", i);
        assert_int_equal(record_header(&r, i ? slice_str(number) : slice_of(name, sizeof name), SLICE("v")), OK);
    }
    r.r.key = SLICE("k");
    const struct ce_event *e = wrapped(&r.r, &source);
    assert_int_equal(ce_event_attribute_count(e), CE_ATTRIBUTES_MAX);
    attribute_is(e, "kafkaheaderh1", CE_STRING, "v");
    attribute_is(e, "key", CE_STRING, "k");
    ce_event_unref(e);
    record_fini(&r);
}

static void the_limit_of_an_event_holds(void **state)
{
    (void)state;
    static char large[5000];
    struct ce_kafka_record r = {.topic = SLICE_INIT("t"), .value = {large, sizeof large}};
    struct ce_kafka_rules small = {.event_bytes_max = 4000};
    const struct ce_event *e = NULL;
    struct diag d = {0, 0, ""};
    assert_int_equal(ce_kafka_wrap(&r, &small, &e, &d), ERR_TOO_LARGE);
    assert_true(!e && d.text[0]);
}

/* ---- what upstream's own classes made: tests/data/kafka/kafkasource.txt, which says how to read it ---- */

static enum ce_kafka_key key_of(struct slice type)
{
    return slice_eq_str(type, "Integer")     ? CE_KAFKA_KEY_INT
           : slice_eq_str(type, "Double")    ? CE_KAFKA_KEY_FLOAT
           : slice_eq_str(type, "ByteArray") ? CE_KAFKA_KEY_BYTE_ARRAY
                                             : CE_KAFKA_KEY_STRING;
}

/* The event of a record as a bus makes it. */
static const struct ce_event *event_of(struct slice line)
{
    struct record r;
    struct ce_kafka_rules rules = {.event_bytes_max = 1 << 20, .source = "/apis/v1/namespaces/ns/kafkasources/ks"};
    const struct ce_event *e = NULL;
    struct diag d;
    record_init(&r);
    r.r.topic = slice_split(&line, '\t');
    r.r.partition = (int32_t)case_number(&line);
    r.r.offset = case_number(&line);
    r.r.time_ms = case_number(&line);
    rules.key = key_of(slice_split(&line, '\t'));
    char *key = case_bytes(slice_split(&line, '\t'), &r.r.key),
         *value = case_bytes(slice_split(&line, '\t'), &r.r.value);
    while (line.ptr) {
        struct slice n, v;
        char *name = case_bytes(slice_split(&line, '\t'), &n), *text = case_bytes(slice_split(&line, '\t'), &v);
        assert_int_equal(record_header(&r, n, v), OK);
        free(name);
        free(text);
    }
    if (ce_kafka_decode(&r.r, &rules, &e, &d) && ce_kafka_wrap(&r.r, &rules, &e, &d))
        fail_msg("%s", d.text);
    free(key);
    free(value);
    record_fini(&r);
    return e;
}

static void records_become_what_upstreams_classes_make_of_them(void **state)
{
    (void)state;
    assert_true(upstream_cases("tests/data/kafka/kafkasource.txt", event_of) > 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_becomes_the_event_of_a_kafka_source),
        cmocka_unit_test(the_ends_of_what_a_record_can_be),
        cmocka_unit_test(keys_are_read_by_the_type_that_the_source_names),
        cmocka_unit_test(headers_become_extensions_where_they_can),
        cmocka_unit_test(a_content_type_that_can_be_none_is_left_out),
        cmocka_unit_test(overrides_hold_for_these_events_too),
        cmocka_unit_test(no_number_of_headers_is_too_many),
        cmocka_unit_test(the_limit_of_an_event_holds),
        cmocka_unit_test(records_become_what_upstreams_classes_make_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
