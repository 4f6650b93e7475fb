/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of a Kafka bus and of its channels: what they mean, and that a bad one is named together with what it may
 * be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "channels/kafka/kafka_bus.h"

static void bus_refuses(const char *name, const char *value, const char *says)
{
    struct bus_param p = {name, value};
    struct kafka_settings s;
    struct diag d = {0};
    assert_int_equal(kafka_settings_read(&p, 1, &s, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, name));
    if (!strstr(d.text, says))
        fail_msg("%s=%s: \"%s\" does not say \"%s\"", name, value, d.text, says);
}

static void bus_defaults(void **state)
{
    (void)state;
    struct bus_param p = {"bootstrap.servers", "a:1,b:2"};
    struct kafka_settings s;
    assert_int_equal(kafka_settings_read(&p, 1, &s, NULL), OK);
    assert_string_equal(s.prefix, "");
    assert_int_equal(s.partitions, 1);
    assert_int_equal(s.replication, -1);
    assert_int_equal(s.mode, CE_MODE_BINARY);
    assert_int_equal(s.buffer, 32 << 20);
    assert_int_equal(s.fetch, 4 << 20);
    assert_int_equal(s.session_ms, 10000);
    assert_int_equal(s.keep_ns, 24 * 3600 * NS_PER_S);
    kafka_settings_fini(&s);
}

static void bus_parameters_are_read(void **state)
{
    (void)state;
    const struct bus_param p[] = {{"prefix", "test-"},    {"topic.partitions", "12"}, {"topic.replication", "3"},
                                  {"mode", "structured"}, {"buffer", "64MiB"},        {"fetch", "1MiB"},
                                  {"session", "45s"},     {"prefix", "other-"},       {"keep", "2h"}};
    struct kafka_settings s;
    assert_int_equal(kafka_settings_read(p, sizeof p / sizeof *p, &s, NULL), OK);
    assert_string_equal(s.prefix, "other-");
    assert_int_equal(s.partitions, 12);
    assert_int_equal(s.replication, 3);
    assert_int_equal(s.mode, CE_MODE_STRUCTURED);
    assert_int_equal(s.buffer, 64 << 20);
    assert_int_equal(s.fetch, 1 << 20);
    assert_int_equal(s.session_ms, 45000);
    assert_int_equal(s.keep_ns, 2 * 3600 * NS_PER_S);
    kafka_settings_fini(&s);
}

static void bus_names_the_bad_parameter(void **state)
{
    (void)state;
    bus_refuses("nonsense", "1", "bootstrap.servers");
    bus_refuses("prefix", "a/b", "a-z");
    bus_refuses("topic.partitions", "0", "from 1 to 1000");
    bus_refuses("topic.partitions", "many", "from 1 to 1000");
    bus_refuses("topic.replication", "0", "from 1 to 100");
    bus_refuses("mode", "batched", "binary or structured");
    bus_refuses("buffer", "12", "from 1024 bytes");
    bus_refuses("buffer", "a lot", "buffer");
    bus_refuses("fetch", "3GiB", "to 2147483647");
    bus_refuses("session", "10ms", "from 1s to 30m");
    bus_refuses("session", "soon", "session");
    bus_refuses("keep", "0s", "from 1s to 168h");
}

/* ---- channels ---- */

static const struct kafka_settings plain = {.prefix = "", .partitions = 4, .replication = 2},
                                   prefixed = {.prefix = "p-", .partitions = 1, .replication = -1};

static void channel_refuses(const char *name, const char *value, const char *says)
{
    struct bus_param p = {name, value};
    struct kafka_channel_settings s;
    struct diag d = {0};
    assert_int_equal(kafka_channel_settings_read(&plain, SLICE("ns/c"), &p, 1, &s, &d), ERR_INVALID);
    if (!strstr(d.text, says))
        fail_msg("%s=%s: \"%s\" does not say \"%s\"", name, value, d.text, says);
}

static struct kafka_channel_settings channel_of(const struct kafka_settings *bus, const char *name,
                                                const struct bus_param *p, size_t count)
{
    struct kafka_channel_settings s;
    struct diag d = {0};
    if (kafka_channel_settings_read(bus, slice_str(name), p, count, &s, &d))
        fail_msg("%s: %s", name, d.text);
    return s;
}

static const char *config_of(const struct kafka_channel_settings *s, const char *name)
{
    const char *value = NULL; /* the last one counts, as for the broker */
    for (size_t i = 0; i < s->config_count; i++)
        value = strcmp(s->configs[i].name, name) == 0 ? s->configs[i].value : value;
    return value;
}

static void channel_is_a_topic_by_upstreams_name(void **state)
{
    (void)state;
    struct kafka_channel_settings s = channel_of(&plain, "ns/c", NULL, 0);
    assert_int_equal(s.topic_count, 1);
    assert_string_equal(s.topics[0], "knative-messaging-kafka.ns.c");
    assert_null(s.topics[1]);
    assert_int_equal(s.partitions, 4);
    assert_int_equal(s.replication, 2);
    assert_int_equal(s.config_count, 0);
    kafka_channel_settings_fini(&s);
    s = channel_of(&prefixed, "ns/c", NULL, 0);
    assert_string_equal(s.topics[0], "p-knative-messaging-kafka.ns.c");
    kafka_channel_settings_fini(&s);
}

static void parked_events_have_a_topic_of_one_partition_for_ever(void **state)
{
    (void)state;
    struct kafka_channel_settings s = channel_of(&plain, "dead-letter/0a1b-2c", NULL, 0);
    assert_string_equal(s.topics[0], "leat-dead-letter.0a1b-2c");
    assert_int_equal(s.partitions, 1);
    assert_string_equal(config_of(&s, "retention.ms"), "-1");
    kafka_channel_settings_fini(&s);
}

static void topics_of_others_have_no_prefix_and_may_be_several(void **state)
{
    (void)state;
    const struct bus_param p[] = {{"topic", "a, b,c"},
                                  {"topic.external", "true"},
                                  {"record.key", "int"},
                                  {"record.source", "/here"},
                                  {"record.override.team", "x"}};
    struct kafka_channel_settings s = channel_of(&prefixed, "ns/c", p, sizeof p / sizeof *p);
    assert_int_equal(s.topic_count, 3);
    assert_string_equal(s.topics[0], "a");
    assert_string_equal(s.topics[1], "b");
    assert_string_equal(s.topics[2], "c");
    assert_true(s.external);
    assert_int_equal(s.key, CE_KAFKA_KEY_INT);
    assert_string_equal(s.source, "/here");
    assert_string_equal(s.overrides[0].name, "team");
    kafka_channel_settings_fini(&s);
}

static void channel_parameters_are_read(void **state)
{
    (void)state;
    const struct bus_param p[] = {{"topic", "mine"},
                                  {"topic.partitions", "7"},
                                  {"topic.replication", "-1"},
                                  {"topic.retention", "PT1H"},
                                  {"topic.config.cleanup.policy", "compact"},
                                  {"mode", "structured"},
                                  {"record.plain", "true"}};
    struct kafka_channel_settings s = channel_of(&prefixed, "ns/c", p, sizeof p / sizeof *p);
    assert_string_equal(s.topics[0], "p-mine");
    assert_int_equal(s.partitions, 7);
    assert_int_equal(s.replication, -1);
    assert_string_equal(config_of(&s, "retention.ms"), "3600000");
    assert_string_equal(config_of(&s, "cleanup.policy"), "compact");
    assert_int_equal(s.mode, CE_MODE_STRUCTURED);
    assert_true(s.plain);
    kafka_channel_settings_fini(&s);
    const struct bus_param one[] = {{"partitions", "1"}, {"topic.retention", "forever"}};
    s = channel_of(&plain, "ns/c", one, 2);
    assert_int_equal(s.partitions, 1); /* whatever the bus says */
    assert_string_equal(config_of(&s, "retention.ms"), "-1");
    kafka_channel_settings_fini(&s);
}

static void channel_names_the_bad_parameter(void **state)
{
    (void)state;
    channel_refuses("nonsense", "1", "topic.retention");
    channel_refuses("topic", "with space", "a-z");
    channel_refuses("topic", "", "a-z");
    channel_refuses("topic", "..", "a-z");
    channel_refuses("topic", "a,b", "topic.external=true");
    channel_refuses("topic.external", "yes", "true or false");
    channel_refuses("topic.external", "true", "topic must say which");
    channel_refuses("topic.partitions", "1001", "from 1 to 1000");
    channel_refuses("topic.retention", "never", "forever");
    channel_refuses("partitions", "4", "topic.partitions");
    channel_refuses("mode", "", "binary or structured");
    channel_refuses("record.key", "double", "byte-array");
    channel_refuses("record.override.Not-A-Name", "x", "Not-A-Name");
}

static void a_name_too_long_for_a_topic_is_said(void **state)
{
    (void)state;
    char name[400] = "ns/";
    struct kafka_channel_settings s;
    struct diag d = {0};
    memset(name + 3, 'x', 300);
    assert_int_equal(kafka_channel_settings_read(&plain, slice_str(name), NULL, 0, &s, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bus_defaults),
        cmocka_unit_test(bus_parameters_are_read),
        cmocka_unit_test(bus_names_the_bad_parameter),
        cmocka_unit_test(channel_is_a_topic_by_upstreams_name),
        cmocka_unit_test(parked_events_have_a_topic_of_one_partition_for_ever),
        cmocka_unit_test(topics_of_others_have_no_prefix_and_may_be_several),
        cmocka_unit_test(channel_parameters_are_read),
        cmocka_unit_test(channel_names_the_bad_parameter),
        cmocka_unit_test(a_name_too_long_for_a_topic_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
