/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters out of a text: a Trigger's dialects and CESQL, and every mistake with its path and place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../broker/resource/filters.h"
#include "ce_http.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct ce_event *event;

static int make_event(void **state)
{
    static const char text[] =
        "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"com.x\",\"subject\":\"a\"}";
    (void)state;
    return ce_json_decode(slice_str(text), &(struct ce_http_limits){10000, 1}, &event, NULL) == OK ? 0 : -1;
}

static int drop_event(void **state)
{
    (void)state;
    event = ce_event_unref(event);
    return 0;
}

static void test_good(void **state)
{
    static const struct {
        const char *text;
        bool matches;
    } rows[] = {
        {"type = 'com.x'", true},
        {" \n type = 'x'", false},
        {"[]", true},
        {"{\"exact\": {\"type\": \"com.x\"}}", true},
        {"{\"exact\": {\"type\": \"com.x\", \"subject\": \"b\"}}", false},
        {"[{\"exact\": {\"type\": \"com.x\"}}, {\"exact\": {\"subject\": \"a\"}}]", true},
        {"[{\"exact\": {\"type\": \"com.x\"}}, {\"exact\": {\"subject\": \"b\"}}]", false},
        {"{\"prefix\": {\"type\": \"com.\"}}", true},
        {"{\"suffix\": {\"type\": \".x\", \"source\": \"s\"}}", true},
        {"{\"all\": [{\"prefix\": {\"type\": \"com\"}}, {\"suffix\": {\"type\": \"y\"}}]}", false},
        {"{\"any\": [{\"prefix\": {\"type\": \"org\"}}, {\"suffix\": {\"type\": \"x\"}}]}", true},
        {"{\"not\": {\"exact\": {\"type\": \"com.x\"}}}", false},
        {"{\"not\": {\"not\": {\"exact\": {\"type\": \"com.x\"}}}}", true},
        {"{\"cesql\": \"type LIKE 'com.%' AND subject = 'a'\"}", true},
        {"{\"sql\": \"subject = 'b'\"}", false},
        {"[{\"any\": [{\"all\": [{\"exact\": {\"id\": \"2\"}}]}, {\"not\": {\"cesql\": \"missing = 1\"}}]}]", true},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct problems p;
        struct filter *f = NULL;
        problems_init(&p);
        if (filter_parse(slice_str(rows[i].text), &f, &p) != OK || p.count)
            fail_msg("%s: %s", rows[i].text, p.count ? p.list[0].text : "");
        if (filter_match(f, event) != rows[i].matches)
            fail_msg("%s", rows[i].text);
        filter_unref(f);
        problems_fini(&p);
    }
}

static void test_mistakes(void **state)
{
    static const struct {
        const char *text, *path, *words;
        int line, column;
    } rows[] = {
        {"", NULL, "expected an expression", 1, 1},
        {"type = ", NULL, "expected an expression, found the end", 1, 8},
        {"type =\n = 1", NULL, "expected an expression, found \"=\"", 2, 2},
        {"LENGTH(type)", NULL, "a number", 1, 1},
        {"nope(type)", NULL, "no such function", 1, 1},
        {"{}", NULL, "a map with one dialect", 1, 1},
        {"[{}]", "[0]", "a map with one dialect", 1, 2},
        {"[5]", "[0]", "must be a filter", 1, 2},
        {"{\"exact\": {\"type\": \"x\"}, \"prefix\": {\"type\": \"x\"}}", NULL, "more than one dialect", 1, 1},
        {"{\"exakt\": {\"type\": \"x\"}}", "exakt", "is no dialect; did you mean exact", 1, 2},
        {"{\"data\": {\"type\": \"x\"}}", "data", "the dialects are exact", 1, 2},
        {"{\"exact\": {}}", "exact", "a map of one or more attributes", 1, 11},
        {"{\"exact\": \"x\"}", "exact", "a map of one or more attributes", 1, 11},
        {"{\"exact\": {\"type\": \"\"}}", "exact.type", "must not be empty", 1, 20},
        {"{\"prefix\": {\"type\": 5}}", "prefix.type", "must be a string", 1, 21},
        {"{\"suffix\": {\"Type\": \"x\"}}", "suffix.Type", "begins with a letter", 1, 13},
        {"{\"exact\": {\"1st\": \"x\"}}", "exact.1st", "begins with a letter", 1, 12},
        {"{\"exact\": {\"data\": \"x\"}}", "exact.data", "no attribute may be called so", 1, 20},
        {"{\"all\": []}", "all", "a list of one or more filters", 1, 9},
        {"{\"any\": {\"exact\": {\"type\": \"x\"}}}", "any", "a list of one or more filters", 1, 9},
        {"{\"not\": [{\"exact\": {\"type\": \"x\"}}]}", "not", "must be a filter", 1, 9},
        {"{\"cesql\": 5}", "cesql", "must be a string", 1, 11},
        {"[{\"any\": [{\"cesql\": \"type = \"}]}]", "[0].any[0].cesql", "column 8: expected an expression", 1, 21},
        {"[{\"cesql\": \"a =\\n\\n= 1\"}]", "[0].cesql", "line 3, column 1: expected an expression", 1, 12},
        {"{\"exact\": {\"a\": \"x\", \"a\": \"x\"}}", NULL, "is there twice", 1, 22},
        {"[{\"exact\": {\"type\": \"x\"}", NULL, "", 1, 25},
        {"[1] x", NULL, "", 1, 5},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct problems p;
        struct filter *f = NULL;
        problems_init(&p);
        assert_int_equal(filter_parse(slice_str(rows[i].text), &f, &p), ERR_INVALID);
        assert_null(f);
        assert_true(p.errors >= 1);
        const struct problem *q = &p.list[0];
        if (!strstr(q->text, rows[i].words) || strcmp(q->path ? q->path : "", rows[i].path ? rows[i].path : "") != 0 ||
            q->line != rows[i].line || q->column != rows[i].column)
            fail_msg("%s: %d:%d %s: %s", rows[i].text, q->line, q->column, q->path ? q->path : "", q->text);
        problems_fini(&p);
    }
}

/* All that is wrong, not just the first. */
static void test_many_mistakes(void **state)
{
    struct problems p;
    struct filter *f = NULL;
    (void)state;
    problems_init(&p);
    assert_int_equal(
        filter_parse(SLICE("[{\"exact\": {\"A\": \"x\", \"b\": \"\"}}, {\"cesql\": \"=\"}, {\"nope\": 1}]"), &f, &p),
        ERR_INVALID);
    assert_int_equal(p.errors, 4);
    problems_fini(&p);
}

static void test_depth(void **state)
{
    (void)state;
    for (size_t depth = FILTER_DEPTH_MAX - 1; depth <= FILTER_DEPTH_MAX; depth++) { /* and one for the innermost */
        struct problems p;
        struct filter *f = NULL;
        struct buf b;
        buf_init(&b, 10000);
        for (size_t i = 0; i < depth; i++)
            buf_put_str(&b, "{\"not\":");
        buf_put_str(&b, "{\"exact\":{\"type\":\"com.x\"}}");
        for (size_t i = 0; i < depth; i++)
            buf_put_char(&b, '}');
        problems_init(&p);
        enum err e = filter_parse(buf_slice(&b), &f, &p);
        assert_int_equal(e, depth < FILTER_DEPTH_MAX ? OK : ERR_INVALID);
        if (e)
            assert_non_null(strstr(p.list[0].text, "nested"));
        filter_unref(f);
        problems_fini(&p);
        buf_fini(&b);
    }
}

static void test_attributes(void **state)
{
    struct problems p;
    struct check c = {.problems = &p};
    struct filter *f = NULL;
    cJSON *map = cJSON_Parse("{\"type\": \"com.x\", \"subject\": \"\"}");
    (void)state;
    problems_init(&p);
    assert_int_equal(filter_read_attributes(&c, map, &f), OK);
    assert_true(filter_match(f, event)); /* "" is any value */
    f = filter_unref(f);
    cJSON_AddStringToObject(map, "region", "");
    assert_int_equal(filter_read_attributes(&c, map, &f), OK);
    assert_false(filter_match(f, event)); /* but not none */
    filter_unref(f);
    f = (struct filter *)&p;
    cJSON *empty = cJSON_CreateObject();
    assert_int_equal(filter_read_attributes(&c, empty, &f), OK);
    assert_null(f);
    assert_int_equal(filter_read_attributes(&c, NULL, &f), OK);
    assert_int_equal(filter_read(&c, NULL, &f), OK);
    assert_null(f);
    assert_int_equal(p.count, 0);
    cJSON_AddNumberToObject(empty, "UPPER", 5);
    assert_int_equal(filter_read_attributes(&c, empty, &f), ERR_INVALID);
    assert_int_equal(p.errors, 1);
    assert_string_equal(p.list[0].path, "UPPER");
    cJSON_Delete(map);
    cJSON_Delete(empty);
    problems_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_mistakes),   cmocka_unit_test(test_many_mistakes),
        cmocka_unit_test(test_depth), cmocka_unit_test(test_attributes),
    };
    return cmocka_run_group_tests(tests, make_event, drop_event);
}
