/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents in messages of AMQP 0.9.1, rule by rule: what is written, what is read, what is refused, and what becomes
 * of a message that is no CloudEvent. The binding is eventing-rabbitmq's cloudevents-protocol-spec; what upstream's
 * code does beside it is in its pkg/rabbit/message.go. events_amqp_trips.c has random events and failing allocations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/amqp_message.h"
#include "ce_http.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define FOUR "ce-specversion= 1.0\nce-id= 1\nce-source= /s\nce-type= t\n"
#define BARE "specversion= 1.0\nid= 1\nsource= /s\ntype= t\n"
#define STRUCTURED "application/cloudevents+json"
#define ENVELOPE "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

static const struct ce_amqp_rules plain = {.event_bytes_max = 1 << 20};
static const struct ce_amqp_rules knative = {
    .event_bytes_max = 1 << 20, .knative = true, .source = "/apis/v1/namespaces/ns/rabbitmqsources/rs"};
static const struct ce_http_limits limits = {1 << 20, 8};

static enum err decode(const char *headers, const char *content_type, struct slice body,
                       const struct ce_amqp_rules *rules, const struct ce_event **out, struct diag *d)
{
    struct message m;
    message_init(&m);
    message_lines(&m, slice_str(headers));
    m.m.content_type = slice_str(content_type);
    m.m.body = body;
    *d = (struct diag){0, 0, ""};
    enum err e = ce_amqp_decode(&m.m, rules, out, d);
    message_fini(&m);
    return e;
}

static const struct ce_event *decoded_by(const char *headers, const char *content_type, struct slice body,
                                         const struct ce_amqp_rules *rules)
{
    const struct ce_event *e = NULL;
    struct diag d;
    if (decode(headers, content_type, body, rules, &e, &d))
        fail_msg("%s: %s", headers, d.text);
    return e;
}

static const struct ce_event *decoded(const char *headers, const char *content_type, struct slice body)
{
    return decoded_by(headers, content_type, body, &plain);
}

static void refused_by(const struct ce_amqp_rules *rules, const char *headers, const char *content_type,
                       struct slice body, enum err expected, const char *says)
{
    const struct ce_event *e = NULL;
    struct diag d;
    enum err got = decode(headers, content_type, body, rules, &e, &d);
    if (got != expected || !strstr(d.text, says) || e)
        fail_msg("%s: %s, \"%s\"", headers, err_name(got), d.text);
}

static void refused(const char *headers, const char *says)
{
    refused_by(&plain, headers, "", SLICE("x"), ERR_INVALID, says);
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

static void attribute_is(const struct ce_event *e, const char *name, enum ce_type type, const char *expected)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a))
        fail_msg("no attribute %s", name);
    is_slice(a.value, expected);
    assert_int_equal(a.type, type);
}

static void lacks(const struct ce_event *e, const char *name)
{
    if (ce_event_attribute(e, slice_str(name), NULL))
        fail_msg("%s is there", name);
}

static void writes(struct message *m, const struct ce_event *e, enum ce_mode mode, bool carry)
{
    message_init(m);
    assert_int_equal(message_write(m, e, mode, carry), OK);
}

/* ---- 3: content modes ---- */

static void the_content_type_alone_decides_on_the_mode(void **state)
{
    (void)state;
    static const char *const types[] = {STRUCTURED, STRUCTURED "; charset=UTF-8", "Application/CloudEvents+JSON",
                                        (" " STRUCTURED)};
    for (size_t i = 0; i < COUNT(types); i++) {
        /* Headers beside an envelope are no part of the event: 3.2.3 lets senders repeat attributes there. */
        const struct ce_event *e = decoded("ce-id= other\nce-x= y\n", types[i], SLICE(ENVELOPE ",\"data\":{\"a\":1}}"));
        assert_int_equal(ce_event_mode(e), CE_MODE_STRUCTURED);
        is_slice(ce_event_id(e), "1");
        lacks(e, "x");
        is_slice(ce_event_data(e), "{\"a\":1}");
        assert_int_equal(ce_event_data_kind(e), CE_DATA_JSON);
        ce_event_unref(e);
    }
    const struct ce_event *e = decoded(FOUR, "application/json", SLICE(ENVELOPE "}"));
    assert_int_equal(ce_event_mode(e), CE_MODE_BINARY);
    is_slice(ce_event_data(e), ENVELOPE "}");
    ce_event_unref(e);
    refused_by(&plain, "", "application/json", SLICE(ENVELOPE "}"), ERR_INVALID, "no CloudEvent");
    refused_by(&plain, "content-type= " STRUCTURED "\n", "", SLICE(ENVELOPE "}"), ERR_INVALID, "no CloudEvent");
}

static void batches_and_unknown_formats_are_unsupported(void **state)
{
    (void)state;
    const char *batch = "application/cloudevents-batch+json", *avro = "application/cloudevents+avro";
    refused_by(&plain, "", batch, SLICE("[]"), ERR_UNSUPPORTED, "one event");
    refused_by(&plain, FOUR, batch, SLICE("[]"), ERR_UNSUPPORTED, "one event");
    refused_by(&plain, "", avro, SLICE("x"), ERR_UNSUPPORTED, "no format known");
    refused_by(&plain, "ce-id= 1\n", avro, SLICE("x"), ERR_UNSUPPORTED, "no format known");
    refused_by(&plain, BARE, avro, SLICE("x"), ERR_UNSUPPORTED, "no format known");
    const struct ce_event *e = decoded(FOUR, avro, SLICE("x"));
    is_slice(ce_event_datacontenttype(e), avro);
    ce_event_unref(e);
}

static void a_message_says_whether_it_is_an_event(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *content_type;
        bool is, is_to_knative;
    } rows[] = {
        {FOUR, "", true, true},
        {"CE-SpecVersion= 1.0\n", "", true, true},
        {"cloudEvents:specversion= 1.0\n", "", true, true},
        {"cloudEvents_specversion= 1.0\n", "", true, true},
        {"CLOUDEVENTS_specversion= 1.0\n", "", true, true},
        {"", STRUCTURED, true, true},
        {"", "application/cloudevents-batch+json", true, true},
        {BARE, "", false, true},
        {"SpecVersion= 1.0\n", "", false, true},
        {"", "", false, false},
        {"ce-id= 1\nce-source= /s\nce-type= t\n", "text/plain", false, false},
        {"ce-specversion= (void)\n", "", false, false},
        {"ce_specversion= 1.0\n", "", false, false}, /* Kafka's prefix */
        {"ce-= 1.0\nce= 1.0\n= x\n", "", false, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m;
        message_init(&m);
        message_lines(&m, slice_str(rows[i].headers));
        m.m.content_type = slice_str(rows[i].content_type);
        if (ce_amqp_is_event(&m.m, false) != rows[i].is || ce_amqp_is_event(&m.m, true) != rows[i].is_to_knative)
            fail_msg("%s", rows[i].headers);
        message_fini(&m);
    }
}

/* ---- 3.1: binary mode, read ---- */

static void headers_are_attributes(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded(FOUR "CE-Subject= caf\xc3\xa9 \"1%\"\nce-time= 2018-04-05T17:31:00Z\nce-seq= 42\nx-death= gone\nid= 2\n"
                     "routing_key= r\ncloudEvents_other= no\ncc= a\n",
                "text/xml", SLICE("<x/>"));
    attribute_is(e, "specversion", CE_STRING, "1.0");
    attribute_is(e, "id", CE_STRING, "1");
    attribute_is(e, "source", CE_URI_REFERENCE, "/s");
    attribute_is(e, "type", CE_STRING, "t");
    attribute_is(e, "subject", CE_STRING, "caf\xc3\xa9 \"1%\""); /* as it stands */
    attribute_is(e, "time", CE_TIMESTAMP, "2018-04-05T17:31:00Z");
    attribute_is(e, "seq", CE_STRING, "42");
    attribute_is(e, "datacontenttype", CE_STRING, "text/xml");
    assert_int_equal(ce_event_attribute_count(e), 8);
    assert_int_equal(ce_event_header_count(e), 0);
    is_slice(ce_event_data(e), "<x/>");
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    ce_event_unref(e);
}

/* AMQP has no absent body. */
static void an_empty_body_is_no_data(void **state)
{
    (void)state;
    const struct ce_event *e = decoded(FOUR, "text/plain", SLICE(""));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_NONE);
    ce_event_unref(e);
    e = decoded(FOUR "leat_mode= ;data=bytes\n", "text/plain", SLICE(""));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    ce_event_unref(e);
    e = decoded(FOUR "leat_mode= ;data=none\n", "text/plain", SLICE(""));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_NONE);
    ce_event_unref(e);
}

static void values_have_types(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum ce_type type;
        const char *text;
    } rows[] = {
        {"(bool)true", CE_BOOLEAN, "true"},
        {"(bool)false", CE_BOOLEAN, "false"},
        {"(int)-2147483648", CE_INTEGER, "-2147483648"},
        {"(int)2147483647", CE_INTEGER, "2147483647"},
        {"(int)2147483648", CE_STRING, "2147483648"},
        {"(int)-9223372036854775808", CE_STRING, "-9223372036854775808"},
        {"(unsigned)2147483647", CE_INTEGER, "2147483647"},
        {"(unsigned)2147483648", CE_STRING, "2147483648"},
        {"(unsigned)18446744073709551615", CE_STRING, "18446744073709551615"},
        {"(double)1.5", CE_STRING, "1.5"},
        {"(double)0.1", CE_STRING, "0.1"},
        {"(double)1e300", CE_STRING, "1e+300"},
        {"(double)nan", CE_STRING, "nan"},
        {"(time)0", CE_TIMESTAMP, "1970-01-01T00:00:00Z"},
        {"(time)1514764800", CE_TIMESTAMP, "2018-01-01T00:00:00Z"},
        {"(bytes)abc", CE_BINARY, "YWJj"},
        {"(bytes)", CE_BINARY, ""},
        {"", CE_STRING, ""},
        {"true", CE_STRING, "true"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char headers[200];
        snprintf(headers, sizeof headers, FOUR "ce-x= %s\n", rows[i].value);
        const struct ce_event *e = decoded(headers, "", SLICE("x"));
        attribute_is(e, "x", rows[i].type, rows[i].text);
        ce_event_unref(e);
    }
    const struct ce_event *e = decoded(FOUR "ce-x= (void)\n", "", SLICE("x"));
    lacks(e, "x");
    ce_event_unref(e);
    /* Of core attributes the type is known. */
    e = decoded("ce-specversion= (bytes)1.0\nce-id= (int)7\nce-source= (bytes)/s\nce-type= (bool)true\nce-time= "
                "(time)1514764800\n",
                "", SLICE("x"));
    attribute_is(e, "id", CE_STRING, "7");
    attribute_is(e, "source", CE_URI_REFERENCE, "/s");
    attribute_is(e, "type", CE_STRING, "true");
    attribute_is(e, "time", CE_TIMESTAMP, "2018-01-01T00:00:00Z");
    ce_event_unref(e);
    refused(FOUR "ce-time= (int)5\n", "\"ce-time\"");
    refused(FOUR "ce-x= (array)\n", "\"ce-x\": an array");
    refused(FOUR "ce-x= (table)\n", "\"ce-x\": a table");
    refused(FOUR "ce-time= (time)1514764800123\n", "\"ce-time\": a timestamp before 1970 or after the year 2262");
}

/* The older separator of AMQP 1.0's binding and the newer; the prefix of a message's specversion is its prefix. */
static void application_properties_of_amqp_1_0_are_attributes(void **state)
{
    (void)state;
    static const char *const both[] = {
        "cloudEvents:specversion= 1.0\ncloudEvents:id= 1\ncloudEvents:source= /s\ncloudEvents:type= t\n"
        "cloudEvents:seq= (int)42\ncloudEvents:bin= (bytes)abc\ncloudEvents_id= 2\ncloudEvents_no= 2\nce-id= 3\n",
        "cloudEvents_specversion= 1.0\ncloudEvents_id= 1\ncloudEvents_source= /s\ncloudEvents_type= t\n"
        "cloudevents_SEQ= (int)42\ncloudEvents_bin= (bytes)abc\ncloudEvents:id= 2\ncloudEvents:no= 2\nce-id= 3\n"
        "cloudEvents:specversion= 0.3\n",
    };
    for (size_t i = 0; i < COUNT(both); i++) {
        const struct ce_event *e = decoded(both[i], "text/plain", SLICE("x"));
        is_slice(ce_event_id(e), "1");
        attribute_is(e, "seq", CE_INTEGER, "42");
        attribute_is(e, "bin", CE_BINARY, "YWJj");
        assert_int_equal(ce_event_attribute_count(e), 7);
        ce_event_unref(e);
    }
    refused("cloudEvents:specversion= 1.0\ncloudEvents:id= \n", "\"cloudEvents:id\"");
}

static void what_breaks_a_rule_is_refused_by_name(void **state)
{
    (void)state;
    refused("ce-specversion= 1.0\nce-source= /s\nce-type= t\n", "\"ce-id\": is missing");
    refused("ce-specversion= 2.0\nce-id= 1\nce-source= /s\nce-type= t\n", "\"ce-specversion\": \"2.0\"");
    refused(FOUR "ce-id= 2\n", "\"ce-id\": is given twice");
    refused(FOUR "CE-ID= 2\n", "\"ce-id\": is given twice");
    refused(FOUR "ce-my_ext= 2\n", "\"ce-my_ext\": the name");
    refused(FOUR "ce-= 2\n", "\"ce-\": the name");
    refused(FOUR "ce-data= 2\n", "\"ce-data\"");
    refused(FOUR "ce-time= yesterday\n", "\"ce-time\"");
    refused(FOUR "ce-subject= a\x01\n", "\"ce-subject\"");
    refused(FOUR "ce-subject= \xff\n", "\"ce-subject\"");
    refused(FOUR "ce-x= (bytes)a\nce-x= (bytes)b\n", "\"ce-x\": is given twice");
    refused_by(&plain, FOUR, "json", SLICE("{}"), ERR_INVALID, "no media type");
    refused_by(&plain, "", STRUCTURED, SLICE("{"), ERR_INVALID, "");
    refused_by(&plain, "", STRUCTURED, SLICE("[]"), ERR_INVALID, "JSON object");
    refused_by(&plain, "", STRUCTURED, SLICE(""), ERR_INVALID, "empty body");
    refused_by(&plain, "", STRUCTURED, SLICE("{}"), ERR_INVALID, "missing");
    static char large[2 << 20];
    refused_by(&plain, FOUR, "", slice_of(large, sizeof large), ERR_TOO_LARGE, "");
}

/* The property counts; the binding's own example has ce-datacontenttype beside it. */
static void a_header_datacontenttype_counts_where_the_property_is_not_set(void **state)
{
    (void)state;
    const struct ce_event *e = decoded(FOUR "ce-datacontenttype= application/avro\n", "a/b", SLICE("x"));
    attribute_is(e, "datacontenttype", CE_STRING, "a/b");
    ce_event_unref(e);
    e = decoded("cloudEvents:datacontenttype= a/b\ncloudEvents:specversion= 1.0\ncloudEvents:id= 1\n"
                "cloudEvents:source= /s\ncloudEvents:type= t\n",
                "", SLICE("x"));
    attribute_is(e, "datacontenttype", CE_STRING, "a/b");
    ce_event_unref(e);
    e = decoded(FOUR "content-type= a/b\n", "", SLICE("x")); /* a header like any other */
    lacks(e, "datacontenttype");
    ce_event_unref(e);
}

/* ---- the form of Knative's Rabbit parts ---- */

/* What CloudEventToRabbitMQMessage makes of an event, with what RabbitMQ adds to a message that was dead-lettered. */
static void bare_headers_of_upstream_are_read(void **state)
{
    (void)state;
    static const char message[] =
        "content-type= application/json\nspecversion= 1.0\ntime= 2018-04-05T17:31:00Z\nid= 1234\ntype= t\n"
        "source= /apis/v1/x\nsubject= sub\ndataschema= urn:x\ntraceparent= 00-4bf92f3577b34da6a3ce929d0e0e4736-"
        "00f067aa0ba902b7-01\ntracestate= \nknativeerrordest= http://sink\nknativeerrorcode= (int)500\n"
        "last= (bool)true\nx-death= (array)\nx-first-death-queue= q\nCC= (array)\nmy-own_header= v\n";
    const struct ce_event *e = decoded_by(message, "application/json", SLICE("{\"a\":1}"), &knative);
    attribute_is(e, "specversion", CE_STRING, "1.0");
    attribute_is(e, "id", CE_STRING, "1234");
    attribute_is(e, "type", CE_STRING, "t");
    attribute_is(e, "source", CE_URI_REFERENCE, "/apis/v1/x");
    attribute_is(e, "subject", CE_STRING, "sub");
    attribute_is(e, "dataschema", CE_URI, "urn:x");
    attribute_is(e, "time", CE_TIMESTAMP, "2018-04-05T17:31:00Z");
    attribute_is(e, "datacontenttype", CE_STRING, "application/json");
    attribute_is(e, "knativeerrordest", CE_STRING, "http://sink");
    attribute_is(e, "knativeerrorcode", CE_INTEGER, "500");
    attribute_is(e, "last", CE_BOOLEAN, "true");
    assert_int_equal(ce_event_attribute_count(e), 11);
    assert_int_equal(ce_event_header_count(e), 1); /* traceparent; an empty tracestate is none */
    ce_event_unref(e);
    refused_by(&plain, message, "application/json", SLICE("{}"), ERR_INVALID, "no CloudEvent");
}

/* It writes a time for every event, and a content type. */
static void what_upstream_writes_for_nothing_is_nothing(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded_by(BARE "content-type= \ntime= 0001-01-01T00:00:00Z\nsubject= \nempty= \n", "", SLICE(""), &knative);
    lacks(e, "time");
    lacks(e, "subject");
    lacks(e, "datacontenttype");
    attribute_is(e, "empty", CE_STRING, "");
    assert_int_equal(ce_event_data_kind(e), CE_DATA_NONE);
    ce_event_unref(e);
    e = decoded(FOUR "ce-time= 0001-01-01T00:00:00Z\n", "", SLICE("")); /* elsewhere it is a time */
    attribute_is(e, "time", CE_TIMESTAMP, "0001-01-01T00:00:00Z");
    ce_event_unref(e);
}

static void names_and_sources_are_read_as_upstream_does(void **state)
{
    (void)state;
    const struct ce_event *e = decoded_by("SpecVersion= 1.0\nID= 1\nType= t\nContent-Type= a/b\nMyExt= v\nmyext= w\n",
                                          "", SLICE("x"), &knative);
    attribute_is(e, "source", CE_URI_REFERENCE, "/apis/v1/namespaces/ns/rabbitmqsources/rs#orders");
    attribute_is(e, "datacontenttype", CE_STRING, "a/b");
    attribute_is(e, "myext", CE_STRING, "w"); /* the last one */
    assert_int_equal(ce_event_attribute_count(e), 6);
    ce_event_unref(e);
    e = decoded_by("ce-specversion= 1.0\nce-id= 1\nce-type= t\nid= 2\n", "", SLICE("x"), &knative);
    attribute_is(e, "source", CE_URI_REFERENCE, "/apis/v1/namespaces/ns/rabbitmqsources/rs#orders");
    is_slice(ce_event_id(e), "1");
    ce_event_unref(e);
    refused("ce-specversion= 1.0\nce-id= 1\nce-type= t\n", "\"ce-source\": is missing");
    refused_by(&knative, BARE "time= yesterday\n", "", SLICE("x"), ERR_INVALID, "\"time\"");
    refused_by(&knative, BARE "Id= 2\n", "", SLICE("x"), ERR_INVALID, "\"id\": is given twice");
}

/* What cannot be an attribute is somebody's header and nothing else. */
static void bare_headers_that_are_no_attributes_are_passed_over(void **state)
{
    (void)state;
    static char long_name[CE_NAME_LEN_MAX + 20] = "n";
    memset(long_name, 'n', CE_NAME_LEN_MAX + 1);
    memcpy(long_name + CE_NAME_LEN_MAX + 1, "= v\n", 5);
    char headers[1000];
    snprintf(headers, sizeof headers, "%s" BARE "data= x\nDATA= x\n= x\nbad= \xff\ncontrol= \x02\nbig= (table)\n%s",
             long_name, "late= (time)1514764800123\nspace d= v\ndatacontenttype= a/b\n");
    const struct ce_event *e = decoded_by(headers, "", SLICE("x"), &knative);
    attribute_is(e, "datacontenttype", CE_STRING, "a/b");
    assert_int_equal(ce_event_attribute_count(e), 5);
    ce_event_unref(e);
}

/* ---- what is written ---- */

static void binary_mode_is_written_as_the_binding_says(void **state)
{
    (void)state;
    const struct ce_event *e =
        from_json(ENVELOPE ",\"subject\":\"caf\xc3\xa9 \\\"1%\\\"\",\"seq\":42,\"last\":true,"
                           "\"datacontenttype\":\"text/xml\",\"data\":\"<much wow=\\\"xml\\\"/>\"}");
    struct message m;
    writes(&m, e, CE_MODE_BINARY, false);
    is_slice(m.m.body, "<much wow=\"xml\"/>");
    is_slice(m.m.content_type, "text/xml");
    is_slice(m.m.message_id, "1");
    is_slice(message_text(&m, "ce-specversion"), "1.0");
    is_slice(message_text(&m, "ce-id"), "1");
    is_slice(message_text(&m, "ce-source"), "/s");
    is_slice(message_text(&m, "ce-type"), "t");
    is_slice(message_text(&m, "ce-subject"), "caf\xc3\xa9 \"1%\"");
    is_slice(message_text(&m, "ce-seq"), "42");
    is_slice(message_text(&m, "ce-last"), "true");
    assert_int_equal(m.m.header_count, 7); /* and nothing else: neither ce-datacontenttype nor leat_mode */
    assert_int_equal(m.written.mode, CE_MODE_BINARY);
    message_fini(&m);
    ce_event_unref(e);
}

static void structured_mode_is_written_as_the_binding_says(void **state)
{
    (void)state;
    const struct ce_event *e = decoded(FOUR "ce-x= y\n", "application/json", SLICE("{\"a\": 1}"));
    struct message m;
    writes(&m, e, CE_MODE_STRUCTURED, false);
    is_slice(m.m.content_type, STRUCTURED "; charset=UTF-8");
    is_slice(m.m.message_id, "1");
    assert_int_equal(m.m.header_count, 0);
    assert_int_equal(m.written.mode, CE_MODE_STRUCTURED);
    is_slice(m.m.body, ENVELOPE ",\"datacontenttype\":\"application/json\",\"x\":\"y\",\"data\":{\"a\": 1}}");
    message_fini(&m);
    ce_event_unref(e);
}

static void json_without_a_type_is_said_to_be_json(void **state)
{
    (void)state;
    const struct ce_event *json = from_json(ENVELOPE ",\"data\":[1, 2]}"), *bytes = decoded(FOUR, "", SLICE("[1]"));
    struct message m;
    writes(&m, json, CE_MODE_BINARY, false);
    is_slice(m.m.content_type, "application/json");
    is_slice(m.m.body, "[1, 2]");
    message_fini(&m);
    writes(&m, bytes, CE_MODE_BINARY, false);
    is_slice(m.m.content_type, "");
    message_fini(&m);
    ce_event_unref(json);
    ce_event_unref(bytes);
}

/* In binary mode its content_type would claim that the data is the event. */
static void an_event_about_cloudevents_goes_in_an_envelope(void **state)
{
    (void)state;
    const struct ce_event *e = from_json(ENVELOPE ",\"datacontenttype\":\"application/cloudevents+json\",\"data\":{}}");
    struct message m;
    writes(&m, e, CE_MODE_BINARY, true);
    assert_int_equal(m.written.mode, CE_MODE_STRUCTURED);
    const struct ce_event *back = NULL;
    assert_int_equal(ce_amqp_decode(&m.m, &plain, &back, NULL), OK);
    assert_true(ce_event_equal(e, back));
    message_fini(&m);
    ce_event_unref(back);
    ce_event_unref(e);
}

static void the_hint_stands_where_the_message_says_too_little(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum ce_mode wire;
        const char *hint; /* "": none */
    } rows[] = {
        {ENVELOPE ",\"data\":{},\"datacontenttype\":\"application/json\"}", CE_MODE_BINARY, "structured;data=json"},
        {ENVELOPE ",\"data\":{}}", CE_MODE_BINARY, "structured;data=json;type=none"},
        {ENVELOPE ",\"data_base64\":\"\"}", CE_MODE_BINARY, "structured;data=bytes"}, /* empty, not none */
        {ENVELOPE ",\"data_base64\":\"AA==\"}", CE_MODE_BINARY, "structured"},
        {ENVELOPE "}", CE_MODE_BINARY, "structured"},
        {ENVELOPE "}", CE_MODE_STRUCTURED, ""},
        {ENVELOPE ",\"seq\":42,\"last\":true}", CE_MODE_BINARY, "structured;types=seq:integer,last:boolean"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct ce_event *e = from_json(rows[i].json), *back = NULL;
        struct message m;
        writes(&m, e, rows[i].wire, true);
        struct slice hint = message_text(&m, "leat_mode");
        is_slice(hint, rows[i].hint);
        assert_int_equal(hint.ptr != NULL, rows[i].hint[0] != '\0');
        assert_int_equal(ce_amqp_decode(&m.m, &plain, &back, NULL), OK);
        assert_true(ce_event_equal(e, back));
        assert_int_equal(ce_event_mode(back), ce_event_mode(e));
        message_fini(&m);
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

/* Whoever traces reads these; the others are for a reader of ours. */
static void a_stranger_gets_the_headers_of_the_trace(void **state)
{
    (void)state;
    const struct ce_event *e =
        decoded(FOUR "traceparent= 00-1\nTraceState= a\nx-request-id= 7\nknative-x= y\nother= z\n", "", SLICE(""));
    struct message m;
    assert_int_equal(ce_event_header_count(e), 4);
    for (int mode = CE_MODE_BINARY; mode <= CE_MODE_STRUCTURED; mode++)
        for (int carry = 0; carry <= 1; carry++) {
            writes(&m, e, (enum ce_mode)mode, carry);
            is_slice(message_text(&m, "traceparent"), "00-1");
            is_slice(message_text(&m, "TraceState"), "a");
            assert_int_equal(message_text(&m, "x-request-id").ptr != NULL, carry);
            assert_int_equal(message_text(&m, "knative-x").ptr != NULL, carry);
            message_fini(&m);
        }
    ce_event_unref(e);
}

static void a_refusal_of_the_caller_ends_the_writing(void **state)
{
    (void)state;
    const struct ce_event *e = decoded(FOUR "traceparent= 00-1\n", "a/b", SLICE("x"));
    for (int mode = CE_MODE_BINARY; mode <= CE_MODE_STRUCTURED; mode++)
        for (size_t n = 0;; n++) {
            struct message m;
            message_init(&m);
            m.fails = ERR_FULL;
            m.calls = n;
            enum err got = message_write(&m, e, (enum ce_mode)mode, true);
            size_t count = m.m.header_count;
            assert_true(got == OK || m.m.content_type.len == 0); /* nothing was given out */
            message_fini(&m);
            if (got == OK) {
                assert_int_equal(count,
                                 mode == CE_MODE_BINARY ? 5 : 2); /* traceparent, and beside an envelope the hint */
                break;
            }
            assert_int_equal(got, ERR_FULL);
            assert_int_equal(count, n);
        }
    ce_event_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_content_type_alone_decides_on_the_mode),
        cmocka_unit_test(batches_and_unknown_formats_are_unsupported),
        cmocka_unit_test(a_message_says_whether_it_is_an_event),
        cmocka_unit_test(headers_are_attributes),
        cmocka_unit_test(an_empty_body_is_no_data),
        cmocka_unit_test(values_have_types),
        cmocka_unit_test(application_properties_of_amqp_1_0_are_attributes),
        cmocka_unit_test(what_breaks_a_rule_is_refused_by_name),
        cmocka_unit_test(a_header_datacontenttype_counts_where_the_property_is_not_set),
        cmocka_unit_test(bare_headers_of_upstream_are_read),
        cmocka_unit_test(what_upstream_writes_for_nothing_is_nothing),
        cmocka_unit_test(names_and_sources_are_read_as_upstream_does),
        cmocka_unit_test(bare_headers_that_are_no_attributes_are_passed_over),
        cmocka_unit_test(binary_mode_is_written_as_the_binding_says),
        cmocka_unit_test(structured_mode_is_written_as_the_binding_says),
        cmocka_unit_test(json_without_a_type_is_said_to_be_json),
        cmocka_unit_test(an_event_about_cloudevents_goes_in_an_envelope),
        cmocka_unit_test(the_hint_stands_where_the_message_says_too_little),
        cmocka_unit_test(a_stranger_gets_the_headers_of_the_trace),
        cmocka_unit_test(a_refusal_of_the_caller_ends_the_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
