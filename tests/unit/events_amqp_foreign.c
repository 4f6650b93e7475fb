/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of AMQP as events of Knative's RabbitmqSource: those that are no CloudEvents, what its owner adds to all
 * events (spec.ceOverrides), and what upstream's own code makes of messages of every kind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/amqp_message.h"
#include "../lib/event_rules.h"
#include "../lib/upstream_cases.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct ce_amqp_rules plain = {.event_bytes_max = 4 << 20};
static const struct ce_attribute overrides[] = {
    {SLICE_INIT("team"), SLICE_INIT("a"), CE_STRING},     {SLICE_INIT("priority"), SLICE_INIT("7"), CE_INTEGER},
    {SLICE_INIT("id"), SLICE_INIT("other"), CE_STRING}, /* these are passed over */
    {SLICE_INIT("Bad-Name"), SLICE_INIT("v"), CE_STRING}, {SLICE_INIT("number"), SLICE_INIT("many"), CE_INTEGER},
};
static const struct ce_amqp_rules source = {.event_bytes_max = 4 << 20,
                                            .knative = true,
                                            .source = "/apis/v1/namespaces/ns/rabbitmqsources/rs",
                                            .overrides = overrides,
                                            .override_count = COUNT(overrides)};

static void attribute_is(const struct ce_event *e, const char *name, enum ce_type type, const char *expected)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a))
        fail_msg("no attribute %s", name);
    if (!slice_eq_str(a.value, expected))
        fail_msg("%s: \"%.*s\" is not \"%s\"", name, SLICE_ARG(a.value), expected);
    assert_int_equal(a.type, type);
}

static const struct ce_event *wrapped(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules)
{
    const struct ce_event *e = NULL;
    struct diag d;
    if (ce_amqp_wrap(m, rules, &e, &d))
        fail_msg("%s", d.text);
    return e;
}

static void a_message_becomes_the_event_of_a_rabbitmq_source(void **state)
{
    (void)state;
    struct message m;
    message_init(&m);
    message_lines(&m, SLICE("priority= (int)3\nx-death= (array)\ntraceparent= 00-1\n"));
    m.m.content_type = SLICE(" text/plain; charset=UTF-8");
    m.m.message_id = SLICE("m-1");
    m.m.has_time = true;
    m.m.time_s = 1514764800;
    m.m.body = SLICE("hello");
    const struct ce_event *e = wrapped(&m.m, &source);
    attribute_is(e, "specversion", CE_STRING, "1.0");
    attribute_is(e, "type", CE_STRING, "dev.knative.rabbitmq.event");
    attribute_is(e, "source", CE_URI_REFERENCE, "/apis/v1/namespaces/ns/rabbitmqsources/rs#orders");
    attribute_is(e, "id", CE_STRING, "m-1");
    attribute_is(e, "subject", CE_STRING, "m-1");
    attribute_is(e, "time", CE_TIMESTAMP, "2018-01-01T00:00:00Z");
    attribute_is(e, "datacontenttype", CE_STRING, "text/plain; charset=UTF-8");
    attribute_is(e, "team", CE_STRING, "a");
    attribute_is(e, "priority", CE_INTEGER, "7");
    assert_int_equal(ce_event_attribute_count(e), 9); /* headers become none */
    assert_int_equal(ce_event_header_count(e), 1);
    assert_true(slice_eq_str(ce_event_data(e), "hello"));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    ce_event_unref(e);
    message_fini(&m);
}

static void what_cannot_be_an_attribute_is_left_out(void **state)
{
    (void)state;
    static const char *const types[] = {"json", "", "application/cloudevents+json", "a/b\n", "text/plain; x"};
    struct ce_amqp_message m = {.queue = SLICE_INIT("q"), .fallback_id = SLICE_INIT("uuid")};
    const struct ce_event *e = wrapped(&m, &plain);
    attribute_is(e, "source", CE_URI_REFERENCE, "/rabbitmq#q");
    attribute_is(e, "id", CE_STRING, "uuid");
    attribute_is(e, "subject", CE_STRING, "uuid");
    assert_int_equal(ce_event_attribute_count(e), 5);
    assert_int_equal(ce_event_data_kind(e), CE_DATA_NONE);
    ce_event_unref(e);
    m.message_id = SLICE("not\xfftext");
    m.has_time = true;
    m.time_s = UINT64_MAX;
    for (size_t i = 0; i < COUNT(types); i++) {
        m.content_type = slice_str(types[i]);
        e = wrapped(&m, &plain);
        attribute_is(e, "id", CE_STRING, "uuid");
        assert_int_equal(ce_event_attribute_count(e), 5);
        ce_event_unref(e);
    }
    m.time_s = INT64_MAX / 1000000000; /* the last second that counts */
    e = wrapped(&m, &plain);
    attribute_is(e, "time", CE_TIMESTAMP, "2262-04-11T23:47:16Z");
    ce_event_unref(e);
    m.time_s++;
    e = wrapped(&m, &plain);
    assert_int_equal(ce_event_attribute_count(e), 5);
    ce_event_unref(e);
}

static void a_queue_of_any_name_makes_a_source(void **state)
{
    (void)state;
    static char all[256];
    struct ce_amqp_message m = {.queue = SLICE_INIT("amq.gen-a b/c:d%#\xc3\xa9"), .fallback_id = SLICE_INIT("1")};
    const struct ce_event *e = wrapped(&m, &source);
    attribute_is(e, "source", CE_URI_REFERENCE,
                 "/apis/v1/namespaces/ns/rabbitmqsources/rs#amq.gen-a%20b/c:d%25%23%C3%A9");
    ce_event_unref(e);
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    m.queue = slice_of(all, sizeof all);
    ce_event_unref(wrapped(&m, &plain));
    m.queue = SLICE("");
    e = wrapped(&m, &plain);
    attribute_is(e, "source", CE_URI_REFERENCE, "/rabbitmq#");
    ce_event_unref(e);
}

static void a_message_without_any_id_is_refused(void **state)
{
    (void)state;
    struct ce_amqp_message m = {.queue = SLICE_INIT("q")};
    const struct ce_event *e = NULL;
    struct diag d = {0, 0, ""};
    assert_int_equal(ce_amqp_wrap(&m, &plain, &e, &d), ERR_INVALID);
    assert_true(!e && strstr(d.text, "\"id\""));
    static char large[4 << 20];
    m.fallback_id = SLICE("1");
    m.body = slice_of(large, sizeof large);
    assert_int_equal(ce_amqp_wrap(&m, &plain, &e, &d), ERR_TOO_LARGE);
}

/* Over what an event brings, in every mode; not over its core attributes. */
static void overrides_are_set_on_every_event(void **state)
{
    (void)state;
    static const char *const types[] = {"text/plain", "application/cloudevents+json"};
    for (size_t i = 0; i < COUNT(types); i++) {
        struct message m;
        const struct ce_event *e = NULL;
        message_init(&m);
        message_lines(&m, SLICE("ce-specversion= 1.0\nce-id= 1\nce-source= /s\nce-type= t\nce-team= b\n"));
        m.m.content_type = slice_str(types[i]);
        m.m.body = SLICE("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"team\":\"b\"}");
        assert_int_equal(ce_amqp_decode(&m.m, &source, &e, NULL), OK);
        attribute_is(e, "id", CE_STRING, "1");
        attribute_is(e, "team", CE_STRING, "a");
        attribute_is(e, "priority", CE_INTEGER, "7");
        assert_int_equal(ce_event_attribute_count(e), i ? 6 : 7);
        ce_event_unref(e);
        message_fini(&m);
    }
}

/* ---- what upstream's own code made: tests/data/rabbitmq/rabbitmqsource.txt, which says how to read it ---- */

/* The event of a message as the source makes it. */
static const struct ce_event *event_of(struct slice line)
{
    static const struct ce_amqp_rules rules = {
        .event_bytes_max = 1 << 20, .knative = true, .source = "/apis/v1/namespaces/ns/rabbitmqsources/rs"};
    struct message m;
    const struct ce_event *e = NULL;
    struct diag d;
    message_init(&m);
    m.m.queue = SLICE("my-queue");
    char *type = case_bytes(slice_split(&line, '\t'), &m.m.content_type);
    char *id = case_bytes(slice_split(&line, '\t'), &m.m.message_id);
    m.m.time_s = (uint64_t)case_number(&line);
    m.m.has_time = m.m.time_s != 0;
    char *body = case_bytes(slice_split(&line, '\t'), &m.m.body);
    while (line.ptr) {
        struct slice name, value;
        char *n = case_bytes(slice_split(&line, '\t'), &name), *v = case_bytes(slice_split(&line, '\t'), &value);
        message_add(&m, name, message_value(value));
        free(n);
        free(v);
    }
    if (ce_amqp_decode(&m.m, &rules, &e, &d) && ce_amqp_wrap(&m.m, &rules, &e, &d))
        fail_msg("%s", d.text);
    assert_true(obeys_the_rules(e));
    free(type);
    free(id);
    free(body);
    message_fini(&m);
    return e;
}

static void messages_become_what_upstreams_code_makes_of_them(void **state)
{
    (void)state;
    assert_true(upstream_cases("tests/data/rabbitmq/rabbitmqsource.txt", event_of) > 140);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_becomes_the_event_of_a_rabbitmq_source),
        cmocka_unit_test(what_cannot_be_an_attribute_is_left_out),
        cmocka_unit_test(a_queue_of_any_name_makes_a_source),
        cmocka_unit_test(a_message_without_any_id_is_refused),
        cmocka_unit_test(overrides_are_set_on_every_event),
        cmocka_unit_test(messages_become_what_upstreams_code_makes_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
