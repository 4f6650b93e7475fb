/* SPDX-License-Identifier: Apache-2.0
 *
 * The event and its builder: names, values by type, what the seal demands, order, references, equality.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "event.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define BYTES_MAX (1u << 20)

static void required(struct ce_builder *b)
{
    ce_builder_init(b);
    ce_builder_set(b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(b, SLICE("source"), CE_STRING, SLICE("/s"));
    ce_builder_set(b, SLICE("type"), CE_STRING, SLICE("t"));
}

static const struct ce_event *sealed(struct ce_builder *b)
{
    const struct ce_event *e = NULL;
    struct diag d;
    if (ce_builder_seal(b, BYTES_MAX, &e, &d))
        fail_msg("%s", d.text);
    return e;
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool valid;
    } rows[] = {
        {"a", true},
        {"0", true},
        {"1st", true},
        {"abcdefghijklmnopqrstuvwxyz0123456789", true},
        {"", false},
        {"data", false},
        {"A", false},
        {"myExt", false},
        {"a-b", false},
        {"a_b", false},
        {"a.b", false},
        {"a b", false},
        {"data_base64", false},
        {"\xc3\xa9", false},
        {"a\n", false},
        {"databases", true},
    };
    struct diag d;
    for (size_t i = 0; i < COUNT(rows); i++)
        if ((ce_name_check(slice_str(rows[i].name), &d) == OK) != rows[i].valid)
            fail_msg("%s", rows[i].name);
    char name[CE_NAME_LEN_MAX + 1];
    memset(name, 'a', sizeof name);
    assert_int_equal(ce_name_check(slice_of(name, CE_NAME_LEN_MAX), &d), OK);
    assert_int_equal(ce_name_check(slice_of(name, CE_NAME_LEN_MAX + 1), &d), ERR_INVALID);
}

static const struct {
    enum ce_type type;
    struct slice value;
    const char *reason; /* NULL: valid */
} values[] = {
    {CE_STRING, SLICE_INIT(""), NULL},
    {CE_STRING, SLICE_INIT("any text: \"quoted\" 100% \\"), NULL},
    {CE_STRING, SLICE_INIT("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), NULL},
    {CE_STRING, SLICE_INIT("\xc2\xa0"), NULL},
    {CE_STRING, SLICE_INIT("a\nb"), "control"},
    {CE_STRING, SLICE_INIT("\0"), "control"},
    {CE_STRING, SLICE_INIT("a\tb"), "control"},
    {CE_STRING, SLICE_INIT("\x1f"), "control"},
    {CE_STRING, SLICE_INIT("\x7f"), "control"},
    {CE_STRING, SLICE_INIT("\xc2\x80"), "control"},
    {CE_STRING, SLICE_INIT("\xc2\x85"), "control"},
    {CE_STRING, SLICE_INIT("\xc2\x9f"), "control"},
    {CE_STRING, SLICE_INIT("\xef\xbf\xbe"), "U+FFFE"},
    {CE_STRING, SLICE_INIT("\xef\xbf\xbf"), "U+FFFF"},
    {CE_STRING, SLICE_INIT("\xef\xb7\x90"), "U+FDD0"},
    {CE_STRING, SLICE_INIT("\xef\xb7\xaf"), "U+FDEF"},
    {CE_STRING, SLICE_INIT("\xef\xb7\xb0"), NULL},
    {CE_STRING, SLICE_INIT("\xf0\x9f\xbf\xbe"), "U+1FFFE"},
    {CE_STRING, SLICE_INIT("\xf4\x8f\xbf\xbf"), "U+10FFFF"},
    {CE_STRING, SLICE_INIT("\xc0\xa0"), "UTF-8"},
    {CE_STRING, SLICE_INIT("\xed\xa0\x80"), "UTF-8"},
    {CE_STRING, SLICE_INIT("\xe2\x82"), "UTF-8"},
    {CE_BOOLEAN, SLICE_INIT("true"), NULL},
    {CE_BOOLEAN, SLICE_INIT("false"), NULL},
    {CE_BOOLEAN, SLICE_INIT("True"), "neither"},
    {CE_BOOLEAN, SLICE_INIT("1"), "neither"},
    {CE_BOOLEAN, SLICE_INIT(""), "neither"},
    {CE_INTEGER, SLICE_INIT("0"), NULL},
    {CE_INTEGER, SLICE_INIT("-2147483648"), NULL},
    {CE_INTEGER, SLICE_INIT("2147483647"), NULL},
    {CE_INTEGER, SLICE_INIT("2147483648"), "32 bits"},
    {CE_INTEGER, SLICE_INIT("-2147483649"), "32 bits"},
    {CE_INTEGER, SLICE_INIT("+1"), "32 bits"},
    {CE_INTEGER, SLICE_INIT("007"), "32 bits"},
    {CE_INTEGER, SLICE_INIT("1.0"), "32 bits"},
    {CE_INTEGER, SLICE_INIT("1e2"), "32 bits"},
    {CE_INTEGER, SLICE_INIT(""), "32 bits"},
    {CE_BINARY, SLICE_INIT(""), NULL},
    {CE_BINARY, SLICE_INIT("Zm9v"), NULL},
    {CE_BINARY, SLICE_INIT("Zg=="), NULL},
    {CE_BINARY, SLICE_INIT("Zg"), "base64"},
    {CE_BINARY, SLICE_INIT("Zm-_"), "base64"},
    {CE_URI, SLICE_INIT("http://example.com/schema.json?x=1"), NULL},
    {CE_URI, SLICE_INIT("urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"), NULL},
    {CE_URI, SLICE_INIT("mailto:a@b"), NULL},
    {CE_URI, SLICE_INIT("a:"), NULL},
    {CE_URI, SLICE_INIT("http://[::1]:80/"), NULL},
    {CE_URI, SLICE_INIT("http://example.com/#part"), "absolute URI"},
    {CE_URI, SLICE_INIT("/relative"), "absolute URI"},
    {CE_URI, SLICE_INIT("1a:b"), "absolute URI"},
    {CE_URI, SLICE_INIT(""), "absolute URI"},
    {CE_URI_REFERENCE, SLICE_INIT(""), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("/a/b"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("a/b:c"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("//pubsub.googleapis.com/projects/p/topics/t"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("https://github.com/o/r#frag?x/y"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("#f"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("?q"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("http://u:p@h.example:8080/;x=1,2!$&'()*+@"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("http://h:/"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("http://[v1.a:b]/"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("a%20b"), NULL},
    {CE_URI_REFERENCE, SLICE_INIT("a b"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("a%zz"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("a%2"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("a#b#c"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("a<b>"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("a\\b"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("a[b]"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("caf\xc3\xa9"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT(":a"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("a_b:c"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("http://[::g]/"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("http://[::1/"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("http://[::1]x/"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("http://h:8a/"), "URI reference"},
    {CE_URI_REFERENCE, SLICE_INIT("http://a@b@c/"), "URI reference"},
    {CE_TIMESTAMP, SLICE_INIT("2018-04-05T17:31:00Z"), NULL},
    {CE_TIMESTAMP, SLICE_INIT("2018-04-05t17:31:60.123456789012-00:00"), NULL},
    {CE_TIMESTAMP, SLICE_INIT("2018-04-05 17:31:00Z"), "RFC 3339"},
    {CE_TIMESTAMP, SLICE_INIT("2018-02-30T17:31:00Z"), "RFC 3339"},
    {CE_TIMESTAMP, SLICE_INIT(""), "RFC 3339"},
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        struct diag d = {0, 0, ""};
        enum err e = ce_value_check(values[i].type, values[i].value, &d);
        if ((e == OK) != !values[i].reason || (e && !strstr(d.text, values[i].reason)))
            fail_msg("row %zu, %.*s: %s", i, SLICE_ARG(values[i].value), d.text);
    }
}

static void test_core_attributes_keep_their_rules(void **state)
{
    (void)state;
    static const struct {
        struct slice name, value;
        const char *text; /* NULL: valid */
    } rows[] = {
        {SLICE_INIT("id"), SLICE_INIT(""), "attribute \"id\": must not be empty"},
        {SLICE_INIT("source"), SLICE_INIT(""), "attribute \"source\": must not be empty"},
        {SLICE_INIT("type"), SLICE_INIT(""), "attribute \"type\": must not be empty"},
        {SLICE_INIT("subject"), SLICE_INIT(""), "attribute \"subject\": must not be empty"},
        {SLICE_INIT("dataschema"), SLICE_INIT(""), "attribute \"dataschema\": must not be empty"},
        {SLICE_INIT("time"), SLICE_INIT(""), "attribute \"time\": must not be empty"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT(""), "attribute \"datacontenttype\": must not be empty"},
        {SLICE_INIT("time"), SLICE_INIT("yesterday"), "attribute \"time\": \"yesterday\" is no RFC 3339 timestamp"},
        {SLICE_INIT("source"), SLICE_INIT("a b"),
         "attribute \"source\": \"a b\" is no URI reference (RFC 3986 section 4.1)"},
        {SLICE_INIT("specversion"), SLICE_INIT("1.1"), "attribute \"specversion\": \"1.1\" is not supported"},
        {SLICE_INIT("specversion"), SLICE_INIT("0.2"), "\"0.2\" is not supported"},
        {SLICE_INIT("specversion"), SLICE_INIT("1.0.2"), "\"1.0.2\" is not supported"},
        {SLICE_INIT("specversion"), SLICE_INIT("1"), "\"1\" is not supported"},
        {SLICE_INIT("dataschema"), SLICE_INIT("x"), "absolute URI"},
        {SLICE_INIT("ext"), SLICE_INIT("a\x01"), "attribute \"ext\": \"a\\x01\" contains a control character"},
        {SLICE_INIT("data"), SLICE_INIT("x"), "attribute \"data\""},
        {SLICE_INIT("a-b"), SLICE_INIT("x"), "attribute \"a-b\""},
        {SLICE_INIT("ext"), SLICE_INIT(""), NULL},
        {SLICE_INIT("schemaurl"), SLICE_INIT("not a uri"), NULL},
        {SLICE_INIT("specversion"), SLICE_INIT("0.3"), NULL},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("application/json"), NULL},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("TEXT/x.y+z; charset=\"u\\\"8\" ;a=b;"), NULL},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("json"), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("text/"), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("/x"), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("a/b c"), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("a/b; "), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT(" a/b"), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("a/b; c"), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("a/b; c="), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("a/b; c=\"d"), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("a/b; c=\xc3\xa9"), "is no media type"},
        {SLICE_INIT("datacontenttype"), SLICE_INIT("a/b, c/d"), "is no media type"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ce_builder b;
        ce_builder_init(&b);
        ce_builder_set(&b, rows[i].name, CE_STRING, rows[i].value);
        if ((b.error == OK) != !rows[i].text || (rows[i].text && !strstr(b.diag.text, rows[i].text)))
            fail_msg("row %zu: %s", i, b.diag.text);
    }
}

static void test_seal_demands_the_required(void **state)
{
    (void)state;
    static const struct slice names[] = {SLICE_INIT("id"), SLICE_INIT("source"), SLICE_INIT("type")};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct ce_builder b;
        required(&b);
        ce_builder_remove(&b, names[i]);
        const struct ce_event *e = NULL;
        struct diag d;
        assert_int_equal(ce_builder_seal(&b, BYTES_MAX, &e, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, "is missing"));
        assert_non_null(strstr(d.text, names[i].ptr));
        assert_null(e);
    }
}

static void test_order_and_defaults(void **state)
{
    (void)state;
    struct ce_builder b;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("zeta"), CE_STRING, SLICE("z"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_set(&b, SLICE("alpha"), CE_INTEGER, SLICE("7"));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("/s"));
    ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, SLICE("text/plain"));
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_data(&b, CE_DATA_BYTES, SLICE("a\0b"));
    const struct ce_event *e = sealed(&b);
    static const char *const order[] = {"specversion", "id", "source", "type", "zeta", "alpha", "datacontenttype"};
    assert_int_equal(ce_event_attribute_count(e), COUNT(order));
    for (size_t i = 0; i < COUNT(order); i++)
        assert_true(slice_eq_str(ce_event_attribute_at(e, i).name, order[i]));
    assert_true(slice_eq_str(ce_event_specversion(e), "1.0"));
    assert_true(slice_eq_str(ce_event_id(e), "1"));
    assert_true(slice_eq_str(ce_event_source(e), "/s"));
    assert_true(slice_eq_str(ce_event_type(e), "t"));
    assert_true(slice_eq_str(ce_event_datacontenttype(e), "text/plain"));
    assert_int_equal(ce_event_attribute_at(e, 2).type, CE_URI_REFERENCE);
    assert_int_equal(ce_event_attribute_at(e, 5).type, CE_INTEGER);
    assert_true(slice_eq(ce_event_data(e), SLICE("a\0b")));
    assert_int_equal(ce_event_data_kind(e), CE_DATA_BYTES);
    struct ce_attribute a;
    assert_true(ce_event_attribute(e, SLICE("alpha"), &a) && slice_eq_str(a.value, "7"));
    assert_true(ce_event_attribute(e, SLICE("datacontenttype"), NULL));
    assert_false(ce_event_attribute(e, SLICE("alph"), &a));
    assert_false(ce_event_attribute(e, SLICE(""), &a));
    ce_event_unref(e);
}

static void test_replace_and_remove(void **state)
{
    (void)state;
    struct ce_builder b;
    required(&b);
    ce_builder_set(&b, SLICE("x"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("y"), CE_STRING, SLICE("2"));
    ce_builder_replace(&b, SLICE("x"), CE_INTEGER, SLICE("3"));
    ce_builder_replace(&b, SLICE("z"), CE_STRING, SLICE("4"));
    ce_builder_remove(&b, SLICE("y"));
    ce_builder_remove(&b, SLICE("absent"));
    ce_builder_set(&b, SLICE("y"), CE_STRING, SLICE("5"));
    const struct ce_event *e = sealed(&b);
    static const char *const expected[][2] = {{"x", "3"}, {"z", "4"}, {"y", "5"}};
    for (size_t i = 0; i < 3; i++) {
        struct ce_attribute a = ce_event_attribute_at(e, 4 + i);
        assert_true(slice_eq_str(a.name, expected[i][0]) && slice_eq_str(a.value, expected[i][1]));
    }
    struct ce_builder changed;
    ce_builder_from(&changed, e);
    ce_builder_replace(&changed, SLICE("id"), CE_STRING, SLICE("2"));
    const struct ce_event *second = sealed(&changed);
    assert_false(ce_event_equal(e, second));
    ce_builder_from(&changed, second);
    ce_builder_replace(&changed, SLICE("id"), CE_STRING, SLICE("1"));
    const struct ce_event *third = sealed(&changed);
    assert_true(ce_event_equal(e, third));
    ce_event_unref(e);
    ce_event_unref(second);
    ce_event_unref(third);
}

static void test_duplicates_and_first_error(void **state)
{
    (void)state;
    struct ce_builder b;
    required(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    assert_int_equal(b.error, ERR_INVALID);
    assert_string_equal(b.diag.text, "attribute \"id\": is given twice");
    ce_builder_set(&b, SLICE("BAD"), CE_STRING, SLICE("1"));
    assert_string_equal(b.diag.text, "attribute \"id\": is given twice");
    const struct ce_event *e = NULL;
    assert_int_equal(ce_builder_seal(&b, BYTES_MAX, &e, NULL), ERR_INVALID);
}

/* Every event can be opened by another builder, so the attributes that the seal adds count too. */
static void test_limits(void **state)
{
    (void)state;
    static char names[CE_ATTRIBUTES_MAX][8];
    struct ce_builder b, copy;
    struct diag d;
    const struct ce_event *e = NULL;
    required(&b);
    for (size_t i = 3; i < CE_ATTRIBUTES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "x%zu", i);
        ce_builder_set(&b, slice_str(names[i]), CE_STRING, SLICE("v"));
    }
    assert_int_equal(b.error, OK);
    assert_int_equal(ce_builder_seal(&b, BYTES_MAX, &e, &d), ERR_TOO_LARGE); /* the default specversion is one more */
    required(&b);
    for (size_t i = 4; i < CE_ATTRIBUTES_MAX; i++)
        ce_builder_set(&b, slice_str(names[i]), CE_STRING, SLICE("v"));
    e = sealed(&b);
    assert_int_equal(ce_event_attribute_count(e), CE_ATTRIBUTES_MAX);
    ce_builder_from(&copy, e);
    assert_int_equal(copy.count, CE_ATTRIBUTES_MAX);
    ce_builder_set(&copy, SLICE("more"), CE_STRING, SLICE("v"));
    assert_int_equal(copy.error, ERR_TOO_LARGE);
    size_t size = ce_event_size(e);
    ce_event_unref(e);
    e = NULL;
    assert_int_equal(ce_builder_seal(&b, size - 1, &e, &d), ERR_TOO_LARGE);
    assert_null(e);
    assert_int_equal(ce_builder_seal(&b, size, &e, &d), OK);
    ce_event_unref(e);
}

static void test_0_3_knows_schemaurl(void **state)
{
    (void)state;
    struct ce_builder b;
    struct diag d;
    const struct ce_event *e = NULL;
    required(&b);
    ce_builder_set(&b, SLICE("schemaurl"), CE_STRING, SLICE("a b"));
    ce_builder_set(&b, SLICE("specversion"), CE_STRING, SLICE("0.3"));
    assert_int_equal(ce_builder_seal(&b, BYTES_MAX, &e, &d), ERR_INVALID);
    required(&b);
    ce_builder_set(&b, SLICE("schemaurl"), CE_STRING, SLICE("/a#b"));
    ce_builder_set(&b, SLICE("specversion"), CE_STRING, SLICE("0.3"));
    e = sealed(&b);
    struct ce_attribute a;
    assert_true(ce_event_attribute(e, SLICE("schemaurl"), &a) && a.type == CE_URI_REFERENCE);
    assert_true(slice_eq_str(ce_event_specversion(e), "0.3"));
    ce_event_unref(e);
}

static void test_data_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *type; /* NULL: absent */
        enum ce_data_kind kind;
        struct slice data;
        enum err err;
        enum ce_data_kind result;
    } rows[] = {
        {NULL, CE_DATA_NONE, SLICE_INIT(""), OK, CE_DATA_NONE},
        {NULL, CE_DATA_BYTES, SLICE_INIT(""), OK, CE_DATA_BYTES},
        {NULL, CE_DATA_JSON, SLICE_INIT("{}"), OK, CE_DATA_JSON},
        {"application/json", CE_DATA_JSON, SLICE_INIT("01"), ERR_INVALID, CE_DATA_NONE},
        {"application/vnd.x+JSON; a=b", CE_DATA_JSON, SLICE_INIT("1"), OK, CE_DATA_JSON},
        {"text/plain", CE_DATA_JSON, SLICE_INIT("1"), OK, CE_DATA_BYTES},
        {"text/plain", CE_DATA_TEXT, SLICE_INIT("a"), OK, CE_DATA_TEXT},
        {"text/plain", CE_DATA_TEXT, SLICE_INIT("\xff"), ERR_INVALID, CE_DATA_NONE},
        {"application/json", CE_DATA_TEXT, SLICE_INIT("a"), OK, CE_DATA_BYTES},
        {NULL, CE_DATA_TEXT, SLICE_INIT("a"), OK, CE_DATA_BYTES},
        {"application/json", CE_DATA_BYTES, SLICE_INIT("not json"), OK, CE_DATA_BYTES},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ce_builder b;
        struct diag d;
        const struct ce_event *e = NULL;
        required(&b);
        if (rows[i].type)
            ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, slice_str(rows[i].type));
        ce_builder_data(&b, rows[i].kind, rows[i].data);
        assert_int_equal(ce_builder_seal(&b, BYTES_MAX, &e, &d), rows[i].err);
        if (e) {
            assert_int_equal(ce_event_data_kind(e), rows[i].result);
            assert_true(slice_eq(ce_event_data(e), rows[i].data));
        }
        ce_event_unref(e);
    }
}

static void test_media_types_of_json(void **state)
{
    (void)state;
    static const char *const json[] = {"",
                                       "application/json",
                                       "text/json",
                                       "APPLICATION/JSON",
                                       "application/json; charset=utf-8",
                                       "application/cloudevents+json",
                                       "image/svg+JSON ;a=b",
                                       "a/+json"};
    static const char *const other[] = {"text/plain", "application/jsonx",    "application/xml;a=json",
                                        "json",       "application/json-seq", "+json"};
    for (size_t i = 0; i < COUNT(json); i++)
        assert_true(ce_media_type_is_json(slice_str(json[i])));
    for (size_t i = 0; i < COUNT(other); i++)
        assert_false(ce_media_type_is_json(slice_str(other[i])));
}

static void test_headers_cannot_break_lines(void **state)
{
    (void)state;
    struct ce_builder b;
    required(&b);
    ce_builder_header(&b, SLICE("x-request-id"), SLICE("r 1"));
    ce_builder_header(&b, SLICE("x-b3-a"), SLICE("a\r\nevil: 1"));
    ce_builder_header(&b, SLICE("x-b3 b"), SLICE("1"));
    ce_builder_header(&b, SLICE("x:b"), SLICE("1"));
    ce_builder_header(&b, SLICE(""), SLICE("1"));
    for (int i = 0; i < 20; i++)
        ce_builder_header(&b, SLICE("knative-x"), SLICE(""));
    const struct ce_event *e = sealed(&b);
    assert_int_equal(ce_event_header_count(e), 16);
    struct slice name, value;
    ce_event_header_at(e, 0, &name, &value);
    assert_true(slice_eq_str(name, "x-request-id") && slice_eq_str(value, "r 1"));
    ce_event_header_at(e, 1, &name, &value);
    assert_true(slice_eq_str(name, "knative-x") && value.len == 0);
    ce_event_unref(e);
}

static void test_references(void **state)
{
    (void)state;
    struct ce_builder b;
    required(&b);
    const struct ce_event *e = sealed(&b);
    assert_ptr_equal(ce_event_ref(e), e);
    assert_null(ce_event_unref(e));
    assert_true(slice_eq_str(ce_event_id(e), "1"));
    assert_null(ce_event_unref(e));
    assert_null(ce_event_unref(NULL));
}

static void test_equality(void **state)
{
    (void)state;
    struct ce_builder b;
    required(&b);
    ce_builder_set(&b, SLICE("x"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("y"), CE_STRING, SLICE("2"));
    const struct ce_event *one = sealed(&b);
    ce_builder_remove(&b, SLICE("x"));
    ce_builder_set(&b, SLICE("x"), CE_STRING, SLICE("1"));
    ce_builder_mode(&b, CE_MODE_BATCH);
    ce_builder_header(&b, SLICE("x-request-id"), SLICE("1"));
    const struct ce_event *reordered = sealed(&b);
    assert_true(ce_event_equal(one, reordered));
    assert_int_equal(ce_event_mode(reordered), CE_MODE_BATCH);
    ce_builder_replace(&b, SLICE("x"), CE_INTEGER, SLICE("1"));
    const struct ce_event *typed = sealed(&b);
    assert_false(ce_event_equal(one, typed));
    ce_builder_replace(&b, SLICE("x"), CE_STRING, SLICE("1"));
    ce_builder_data(&b, CE_DATA_BYTES, SLICE(""));
    const struct ce_event *empty_data = sealed(&b);
    assert_false(ce_event_equal(one, empty_data));
    ce_event_unref(one);
    ce_event_unref(reordered);
    ce_event_unref(typed);
    ce_event_unref(empty_data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_core_attributes_keep_their_rules),
        cmocka_unit_test(test_seal_demands_the_required),
        cmocka_unit_test(test_order_and_defaults),
        cmocka_unit_test(test_replace_and_remove),
        cmocka_unit_test(test_duplicates_and_first_error),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_0_3_knows_schemaurl),
        cmocka_unit_test(test_data_kinds),
        cmocka_unit_test(test_media_types_of_json),
        cmocka_unit_test(test_headers_cannot_break_lines),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_equality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
