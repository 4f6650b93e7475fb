/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of what upstream's own code made of records and messages (tests/data/kafka, tests/data/rabbitmq): two lines a
 * case, fields between tabs, "x..." bytes in hexadecimal, "-" nothing at all; the second line is the event, attributes
 * by name and its DATA, or "lost". Lines that begin with # are comments. Include after cmocka.h.
 */
#ifndef LEAT_TESTS_UPSTREAM_CASES_H
#define LEAT_TESTS_UPSTREAM_CASES_H

#include <stdio.h>
#include <stdlib.h>

#include "event.h"
#include "text.h"

/* The bytes of a field, to be freed; *out has a NULL pointer for "-". */
static inline char *case_bytes(struct slice text, struct slice *out)
{
    *out = slice_of(NULL, 0);
    if (slice_eq_str(text, "-"))
        return NULL;
    text = slice_from(text, 1);
    char *bytes = malloc(text.len / 2 + 1);
    assert_non_null(bytes);
    assert_int_equal(hex_decode(text, (unsigned char *)bytes, text.len / 2), OK);
    *out = slice_of(bytes, text.len / 2);
    return bytes;
}

/* The next field, a number. */
static inline long long case_number(struct slice *rest)
{
    char text[32];
    struct slice number = slice_split(rest, '\t');
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(number));
    return atoll(text);
}

static inline void case_is(const struct ce_event *e, struct slice expected)
{
    size_t count = 0;
    while (expected.len) {
        struct slice text = slice_split(&expected, ' '), name = slice_split(&text, '='), value;
        struct ce_attribute a;
        char hex[600];
        if (slice_eq_str(name, "DATA")) {
            char *bytes = case_bytes(text, &value);
            assert_int_equal(value.ptr == NULL, ce_event_data_kind(e) == CE_DATA_NONE);
            assert_true(slice_eq(value, ce_event_data(e)));
            free(bytes);
            continue;
        }
        snprintf(hex, sizeof hex, "x%.*s", SLICE_ARG(text));
        char *bytes = case_bytes(slice_str(hex), &value);
        if (!ce_event_attribute(e, name, &a) || !slice_eq(a.value, value))
            fail_msg("%.*s: not \"%.*s\"", SLICE_ARG(name), SLICE_ARG(value));
        free(bytes);
        count++;
    }
    assert_int_equal(count, ce_event_attribute_count(e));
}

/* Reads a file; `event_of` makes the event of a first line. Returns how many cases there were. */
static inline size_t upstream_cases(const char *path, const struct ce_event *(*event_of)(struct slice line))
{
    FILE *f = fopen(path, "r");
    char *line = NULL, *first = NULL;
    size_t size = 0, cases = 0;
    assert_non_null(f); /* tests run in the project's root */
    for (ssize_t n; (n = getline(&line, &size, f)) > 0;) {
        struct slice text = slice_of(line, (size_t)n - 1);
        if (line[0] == '#')
            continue;
        if (!first) {
            first = strndup(text.ptr, text.len);
            assert_non_null(first);
            continue;
        }
        const struct ce_event *e = event_of(slice_str(first));
        assert_non_null(e); /* nothing is lost here */
        if (!slice_eq_str(text, "lost"))
            case_is(e, text);
        ce_event_unref(e);
        free(first);
        first = NULL;
        cases++;
    }
    assert_null(first);
    free(line);
    fclose(f);
    return cases;
}

#endif
