/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents in messages of Google Pub/Sub: what is written, what is read, what is refused, what becomes of a message
 * that is no CloudEvent; random events there and back, and what lies at the limits of a message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/event_rules.h"
#include "../lib/random_event.h"
#include "ce_http.h"
#include "ce_pubsub.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define ENVELOPE "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}"

static const struct ce_pubsub_rules plain = {.event_bytes_max = 4 << 20};

/* "name=value\n" each. */
static size_t lines(const char *text, struct ce_pubsub_attribute *out, size_t max)
{
    struct slice rest = slice_str(text);
    size_t n = 0;
    while (rest.len && n < max) {
        struct slice value = slice_split(&rest, '\n'), name = slice_split(&value, '=');
        out[n++] = (struct ce_pubsub_attribute){name, value};
    }
    return n;
}

static enum err decode(const char *attributes, const char *data, const struct ce_event **out, struct diag *d)
{
    struct ce_pubsub_attribute a[40];
    const struct ce_pubsub_message m = {
        .attributes = a, .attribute_count = lines(attributes, a, 40), .data = slice_str(data)};
    return ce_pubsub_decode(&m, &plain, out, d);
}

static void is(const struct ce_event *e, const char *name, const char *value)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a) || !slice_eq_str(a.value, value))
        fail_msg("%s is not %s", name, value);
}

#define FOUR "ce-specversion=1.0\nce-id=1\nce-source=/s\nce-type=t\n"

static void three_spellings_of_the_content_type_are_read(void **state)
{
    static const char *const spellings[] = {FOUR "content-type=a/b", FOUR "Content-Type=a/b",
                                            FOUR "ce-datacontenttype=a/b",
                                            FOUR "content-type=a/b\nce-datacontenttype=c/d"};
    (void)state;
    for (size_t i = 0; i < COUNT(spellings); i++) {
        const struct ce_event *e = NULL;
        assert_int_equal(decode(spellings[i], "x", &e, NULL), OK);
        is(e, "datacontenttype", "a/b");
        assert_true(slice_eq_str(ce_event_data(e), "x"));
        assert_int_equal(ce_event_mode(e), CE_MODE_BINARY);
        ce_event_unref(e);
    }
}

static void an_envelope_is_read_by_its_content_type(void **state)
{
    const struct ce_event *e = NULL;
    (void)state;
    assert_int_equal(decode("content-type=application/cloudevents+json; charset=UTF-8", ENVELOPE, &e, NULL), OK);
    assert_int_equal(ce_event_mode(e), CE_MODE_STRUCTURED);
    is(e, "type", "t");
    ce_event_unref(e);
}

static void what_is_refused_says_why(void **state)
{
    static const struct {
        const char *attributes, *data;
        enum err err;
        const char *says;
    } cases[] = {
        {"a=b", "x", ERR_INVALID, "ce-specversion"},
        {"ce-specversion=1.0\nce-id=1\nce-source=/s", "x", ERR_INVALID, "type"},
        {FOUR "ce-time=soon", "x", ERR_INVALID, "time"},
        {FOUR "ce-UP_per=1", "x", ERR_INVALID, "UP_per"},
        {"content-type=application/cloudevents+json", "", ERR_INVALID, "without data"},
        {"content-type=application/cloudevents+json", "{", ERR_INVALID, ""},
        {"content-type=application/cloudevents-batch+json", "[]", ERR_UNSUPPORTED, "one event"},
        {"content-type=application/cloudevents+avro", "x", ERR_UNSUPPORTED, "avro"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct ce_event *e = NULL;
        struct diag d = {0};
        enum err got = decode(cases[i].attributes, cases[i].data, &e, &d);
        if (got != cases[i].err || !strstr(d.text, cases[i].says) || e)
            fail_msg("case %zu: %s \"%s\"", i, err_name(got), d.text);
    }
}

/* ---- there and back ---- */

static const struct ce_event *through(const struct ce_event *e, enum ce_mode wire, bool carry, enum ce_mode *written)
{
    struct ce_pubsub_attribute room[CE_PUBSUB_ATTRIBUTES_MAX];
    struct ce_pubsub_written w;
    const struct ce_event *back = NULL;
    struct diag d = {0};
    struct buf scratch;
    buf_init(&scratch, 8 << 20);
    assert_int_equal(ce_pubsub_encode(e, wire, carry, &scratch, room, &w), OK);
    assert_true(w.message.attributes == room && w.message.attribute_count <= CE_PUBSUB_ATTRIBUTES_MAX);
    for (size_t i = 0; i < w.message.attribute_count; i++) {
        assert_true(room[i].name.len <= CE_PUBSUB_NAME_MAX && room[i].value.len <= CE_PUBSUB_VALUE_MAX);
        for (size_t k = 0; k < i; k++)
            assert_false(slice_eq(room[i].name, room[k].name));
    }
    assert_true(ce_pubsub_is_event(&w.message));
    if (ce_pubsub_decode(&w.message, &plain, &back, &d))
        fail_msg("%s", d.text);
    if (written)
        *written = w.mode;
    buf_fini(&scratch);
    return back;
}

/* Whether the hint has room for the types of its extensions; those that it has none for come back as strings. */
static bool types_fit(const struct ce_event *e)
{
    size_t len = 0;
    for (size_t i = 0; i < ce_event_attribute_count(e); i++)
        len += ce_event_attribute_at(e, i).name.len + 14;
    return len < CE_PUBSUB_VALUE_MAX - 40;
}

static void every_event_comes_back(void **state)
{
    struct prng p;
    (void)state;
    prng_seed(&p, 51);
    for (int i = 0; i < 4000; i++) {
        const struct ce_event *e = random_event(&p), *back = through(e, (enum ce_mode)(i & 1), true, NULL);
        assert_true(ce_event_equal(e, back) || !types_fit(e));
        assert_int_equal(ce_event_attribute_count(e), ce_event_attribute_count(back));
        assert_int_equal(ce_event_mode(e), ce_event_mode(back));
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

static const struct ce_event *event_with(size_t extensions, size_t value_len, const char *key)
{
    static char value[5000], names[200][24];
    const struct ce_event *e = NULL;
    struct ce_builder b;
    memset(value, 'v', sizeof value);
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    for (size_t i = 0; i < extensions; i++) {
        snprintf(names[i], sizeof names[i], "x%zu", i);
        ce_builder_set(&b, slice_str(names[i]), CE_STRING, slice_of(value, value_len));
    }
    if (key)
        ce_builder_set(&b, SLICE("partitionkey"), CE_STRING, slice_str(key));
    ce_builder_data(&b, CE_DATA_BYTES, SLICE("data"));
    assert_int_equal(ce_builder_seal(&b, 4 << 20, &e, NULL), OK);
    return e;
}

static void what_goes_beyond_a_limit_goes_in_an_envelope(void **state)
{
    static const struct {
        size_t extensions, value_len;
        enum ce_mode mode;
    } rows[] = {
        {1, 1024, CE_MODE_BINARY},
        {1, 1025, CE_MODE_STRUCTURED},
        {96, 1, CE_MODE_BINARY},
        {97, 1, CE_MODE_STRUCTURED},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        enum ce_mode mode;
        const struct ce_event *e = event_with(rows[i].extensions, rows[i].value_len, NULL);
        const struct ce_event *back = through(e, CE_MODE_BINARY, false, &mode);
        assert_int_equal(mode, rows[i].mode);
        assert_true(ce_event_attribute_count(back) == ce_event_attribute_count(e));
        ce_event_unref(back);
        back = through(e, CE_MODE_BINARY, true, NULL);
        assert_true(ce_event_equal(e, back));
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

static void an_ordering_key_is_the_partitionkey(void **state)
{
    static char key[1100];
    (void)state;
    const struct ce_event *e = event_with(0, 0, "customer 7"), *none = event_with(0, 0, NULL);
    assert_true(slice_eq_str(ce_pubsub_ordering_key(e), "customer 7"));
    assert_int_equal(ce_pubsub_ordering_key(none).len, 0);
    ce_event_unref(e);
    ce_event_unref(none);
    memset(key, 'k', sizeof key - 1);
    memcpy(key + 1023, "\xc3\xa4", 2); /* across the end */
    e = event_with(0, 0, key);
    assert_int_equal(ce_pubsub_ordering_key(e).len, 1023);
    ce_event_unref(e);
}

/* ---- plain messages ---- */

static const struct ce_event *wrapped(enum ce_pubsub_form form)
{
    static const struct ce_attribute team = {SLICE_INIT("team"), SLICE_INIT("a"), CE_STRING};
    static const struct ce_pubsub_attribute a = {SLICE_INIT("col\"or"), SLICE_INIT("blue")};
    const struct ce_pubsub_rules rules = {.event_bytes_max = 1 << 20,
                                          .topic = SLICE("projects/p/topics/t"),
                                          .subscription = SLICE("projects/p/subscriptions/s"),
                                          .form = form,
                                          .overrides = &team,
                                          .override_count = 1};
    const struct ce_pubsub_message m = {&a, 1, SLICE("hi"), SLICE("k"), SLICE("17"), SLICE("2026-11-30T03:00:00.5Z")};
    const struct ce_event *e = NULL;
    assert_int_equal(ce_pubsub_wrap(&m, &rules, &e, NULL), OK);
    assert_true(obeys_the_rules(e));
    is(e, "id", "17");
    is(e, "source", "//pubsub.googleapis.com/projects/p/topics/t");
    is(e, "time", "2026-11-30T03:00:00.5Z");
    is(e, "team", "a");
    is(e, "datacontenttype", "application/json");
    return e;
}

static void a_plain_message_becomes_an_event_of_either_form(void **state)
{
    (void)state;
    const struct ce_event *e = wrapped(CE_PUBSUB_TODAY);
    is(e, "type", "google.cloud.pubsub.topic.v1.messagePublished");
    assert_true(slice_eq_str(
        ce_event_data(e), "{\"subscription\":\"projects/p/subscriptions/s\",\"message\":{\"messageId\":\"17\",\"data\":"
                          "\"aGk=\",\"attributes\":{\"col\\\"or\":\"blue\"},\"publishTime\":\"2026-11-30T03:00:00.5Z\","
                          "\"orderingKey\":\"k\"}}"));
    ce_event_unref(e);
    e = wrapped(CE_PUBSUB_2018);
    is(e, "type", "google.pubsub.topic.publish");
    assert_true(slice_eq_str(ce_event_data(e),
                             "{\"ID\":\"17\",\"Data\":\"aGk=\",\"Attributes\":{\"col\\\"or\":\"blue\"},"
                             "\"PublishTime\":\"2026-11-30T03:00:00.5Z\"}"));
    ce_event_unref(e);
}

static void a_message_that_cannot_be_wrapped(void **state)
{
    const struct ce_pubsub_rules small = {.event_bytes_max = 64, .topic = SLICE("projects/p/topics/t")};
    const struct ce_pubsub_message none = {.data = SLICE("x")},
                                   large = {.data = SLICE("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
                                            .message_id = SLICE("1")};
    const struct ce_event *e = NULL;
    struct diag d = {0};
    (void)state;
    assert_int_equal(ce_pubsub_wrap(&none, &plain, &e, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "messageId"));
    assert_int_equal(ce_pubsub_wrap(&large, &small, &e, &d), ERR_TOO_LARGE);
    assert_non_null(strstr(d.text, "64 bytes"));
    assert_null(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_spellings_of_the_content_type_are_read),
        cmocka_unit_test(an_envelope_is_read_by_its_content_type),
        cmocka_unit_test(what_is_refused_says_why),
        cmocka_unit_test(every_event_comes_back),
        cmocka_unit_test(what_goes_beyond_a_limit_goes_in_an_envelope),
        cmocka_unit_test(an_ordering_key_is_the_partitionkey),
        cmocka_unit_test(a_plain_message_becomes_an_event_of_either_form),
        cmocka_unit_test(a_message_that_cannot_be_wrapped),
    };
    return cmocka_run_group_tests_name("events_pubsub", tests, NULL, NULL);
}
