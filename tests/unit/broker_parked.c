/* SPDX-License-Identifier: Apache-2.0
 *
 * Parked events: what is written into one, that it comes out again as it was, and that want of room or memory never
 * loses it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../broker/parked.h"
#include "../lib/fault.h"

#define NOW 1000000000123456789

/* An event with `extras` extensions of its own. */
static const struct ce_event *make(unsigned extras)
{
    static char names[CE_ATTRIBUTES_MAX][8];
    struct ce_builder b;
    const struct ce_event *e = NULL;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    for (unsigned i = 0; i < extras; i++) {
        snprintf(names[i], sizeof names[i], "x%u", i);
        ce_builder_set(&b, slice_str(names[i]), CE_STRING, SLICE("v"));
    }
    ce_builder_data(&b, CE_DATA_BYTES, SLICE("data"));
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    return e;
}

static struct dispatch_failure failure(const struct ce_event *e)
{
    return (struct dispatch_failure){.event = e,
                                     .destination = "http://there/",
                                     .status = 500,
                                     .data = SLICE("no"),
                                     .attempts = 3,
                                     .first_wall_ns = NOW - 1000000000,
                                     .reason = "retries-exhausted"};
}

static const struct ce_event *park(const struct dispatch_failure *f)
{
    const struct ce_event *parked = NULL;
    assert_int_equal(parked_make(f, NOW, &parked), OK);
    return parked;
}

static void assert_attribute(const struct ce_event *e, const char *name, const char *value)
{
    struct ce_attribute a;
    assert_int_equal(ce_event_attribute(e, slice_str(name), &a), value != NULL);
    if (value) {
        char text[256];
        snprintf(text, sizeof text, "%.*s", SLICE_ARG(a.value));
        assert_string_equal(text, value);
    }
}

static void assert_json(const struct ce_event *parked, const char *expected)
{
    struct buf out;
    buf_init(&out, 65536);
    parked_put_json(parked, &out);
    buf_put_char(&out, '\0');
    assert_string_equal(out.ptr, expected);
    buf_fini(&out);
}

static void assert_comes_back(const struct ce_event *parked, const struct ce_event *e)
{
    const struct ce_event *original = NULL;
    assert_int_equal(parked_original(parked, &original), OK);
    assert_true(ce_event_equal(original, e));
    ce_event_unref(original);
}

static void test_what_happened(void **state)
{
    (void)state;
    const struct ce_event *e = make(2);
    struct dispatch_failure f = failure(e);
    const struct ce_event *parked = park(&f);
    assert_attribute(parked, "leatparkedat", "2001-09-09T01:46:40.123456Z");
    assert_attribute(parked, "leatfirstat", "2001-09-09T01:46:39.123456Z");
    assert_attribute(parked, "leatreason", "retries-exhausted");
    assert_attribute(parked, "leatattempts", "3");
    assert_attribute(parked, "knativeerrordest", "http://there/");
    assert_attribute(parked, "knativeerrorcode", "500");
    assert_attribute(parked, "knativeerrordata", "bm8=");
    assert_attribute(parked, "leatdeadletterdest", NULL);
    assert_true(parked_at_ns(parked) == NOW / 1000 * 1000);
    assert_json(parked, "{\"at\":\"2001-09-09T01:46:40.123456Z\",\"reason\":\"retries-exhausted\",\"attempts\":3,"
                        "\"firstAt\":\"2001-09-09T01:46:39.123456Z\",\"destination\":\"http://there/\",\"code\":500,"
                        "\"error\":\"no\"}");
    assert_comes_back(parked, e);
    ce_event_unref(parked);
    ce_event_unref(e);
}

static void test_both_failures(void **state)
{
    (void)state;
    const struct ce_event *e = make(0);
    struct dispatch_failure cause = failure(e), f = failure(e);
    f.cause = &cause;
    f.destination = "http://letters/";
    f.status = 0;
    f.data = SLICE("\xff");
    const struct ce_event *parked = park(&f);
    assert_attribute(parked, "leatreason", "dead-letter-failed");
    assert_attribute(parked, "knativeerrordest", "http://there/");
    assert_attribute(parked, "leatdeadletterdest", "http://letters/");
    assert_attribute(parked, "leatdeadlettercode", NULL);
    assert_json(parked,
                "{\"at\":\"2001-09-09T01:46:40.123456Z\",\"reason\":\"dead-letter-failed\",\"attempts\":3,"
                "\"firstAt\":\"2001-09-09T01:46:39.123456Z\",\"destination\":\"http://there/\",\"code\":500,"
                "\"error\":\"no\",\"deadLetter\":{\"destination\":\"http://letters/\",\"errorBase64\":\"/w==\"}}");
    assert_comes_back(parked, e);
    ce_event_unref(parked);
    ce_event_unref(e);
}

/* Parked again after a redrive, or after a redrive that never was: nothing of the first time is left. */
static void test_parked_twice(void **state)
{
    (void)state;
    const struct ce_event *e = make(0);
    struct dispatch_failure cause = failure(e), first = failure(e);
    first.cause = &cause;
    const struct ce_event *once = park(&first);
    struct dispatch_failure again = failure(once);
    again.reason = "deadline";
    const struct ce_event *twice = park(&again);
    assert_attribute(twice, "leatreason", "deadline");
    assert_attribute(twice, "leatdeadletterdest", NULL);
    assert_comes_back(twice, e);
    ce_event_unref(twice);
    ce_event_unref(once);
    ce_event_unref(e);
}

/* Of an event with so many attributes of its own, what is known of its parking gives way, the least useful first. */
static void test_without_room(void **state)
{
    (void)state;
    for (unsigned room = 0; room <= 8; room++) {
        const struct ce_event *e = make(CE_ATTRIBUTES_MAX - 4 - room);
        struct dispatch_failure f = failure(e);
        const struct ce_event *parked = park(&f);
        assert_attribute(parked, "leatparkedat", room >= 1 ? "2001-09-09T01:46:40.123456Z" : NULL);
        assert_attribute(parked, "leatreason", room >= 2 ? "retries-exhausted" : NULL);
        assert_attribute(parked, "leatattempts", room >= 3 ? "3" : NULL);
        assert_attribute(parked, "knativeerrordata", room >= 7 ? "bm8=" : NULL);
        assert_true(parked_at_ns(parked) == (room ? NOW / 1000 * 1000 : 0));
        assert_comes_back(parked, e);
        ce_event_unref(parked);
        ce_event_unref(e);
    }
}

static void test_values_that_no_attribute_may_have(void **state)
{
    (void)state;
    const struct ce_event *e = make(0);
    struct dispatch_failure f = failure(e);
    f.destination = "http://there/\x01\xff";
    f.reason = NULL;
    f.first_wall_ns = 0;
    f.data = (struct slice){0};
    const struct ce_event *parked = park(&f);
    assert_attribute(parked, "knativeerrordest", NULL);
    assert_attribute(parked, "knativeerrordata", NULL);
    assert_attribute(parked, "leatfirstat", NULL);
    assert_attribute(parked, "knativeerrorcode", "500");
    assert_comes_back(parked, e);
    ce_event_unref(parked);
    ce_event_unref(e);
}

static void test_a_long_answer_is_cut(void **state)
{
    (void)state;
    static char body[DISPATCH_ERROR_DATA_MAX + 1];
    struct ce_attribute a;
    const struct ce_event *e = make(0);
    struct dispatch_failure f = failure(e);
    memset(body, 'x', sizeof body);
    f.data = slice_of(body, sizeof body);
    const struct ce_event *parked = park(&f);
    assert_true(ce_event_attribute(parked, SLICE("knativeerrordata"), &a));
    assert_int_equal(a.value.len, DISPATCH_ERROR_DATA_MAX / 3 * 4);
    ce_event_unref(parked);
    ce_event_unref(e);
}

static void test_an_event_that_was_never_parked(void **state)
{
    (void)state;
    const struct ce_event *e = make(1);
    assert_true(parked_at_ns(e) == 0);
    assert_json(e, "{}");
    assert_comes_back(e, e);
    ce_event_unref(e);
}

static void test_without_memory(void **state)
{
    (void)state;
    const struct ce_event *e = make(1);
    struct dispatch_failure f = failure(e);
    for (unsigned n = 1;; n++) {
        const struct ce_event *parked = NULL, *original = NULL;
        fault_arm(n);
        enum err err = parked_make(&f, NOW, &parked);
        if (err == OK)
            err = parked_original(parked, &original);
        bool fired = fault_disarm();
        assert_int_equal(err, fired ? ERR_NOMEM : OK);
        assert_true(!original || ce_event_equal(original, e));
        ce_event_unref(parked);
        ce_event_unref(original);
        if (!fired)
            break;
    }
    ce_event_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_happened),
        cmocka_unit_test(test_both_failures),
        cmocka_unit_test(test_parked_twice),
        cmocka_unit_test(test_without_room),
        cmocka_unit_test(test_values_that_no_attribute_may_have),
        cmocka_unit_test(test_a_long_answer_is_cut),
        cmocka_unit_test(test_an_event_that_was_never_parked),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests_name("broker_parked", tests, NULL, NULL);
}
