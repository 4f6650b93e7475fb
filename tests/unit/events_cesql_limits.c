/* SPDX-License-Identifier: Apache-2.0
 *
 * What CESQL refuses: expressions that do not compile, with the place and the words, and every limit from both sides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../events/cesql_private.h"
#include "../lib/fault.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void test_mistakes(void **state)
{
    static const struct {
        const char *expression;
        int line, column;
        const char *words;
    } rows[] = {
        {"", 1, 1, "expected an expression, found the end"},
        {"   ", 1, 4, "expected an expression, found the end"},
        {"type =", 1, 7, "expected an expression, found the end"},
        {"= 5", 1, 1, "expected an expression, found \"=\""},
        {"type = = 5", 1, 8, "expected an expression, found \"=\""},
        {"type == 'x'", 1, 6, "write ="},
        {"a b", 1, 3, "expected an operator or the end, found \"b\""},
        {"'a''b'", 1, 4, "expected an operator or the end"},
        {"(1", 1, 3, "expected an operator or )"},
        {"1)", 1, 2, "expected an operator or the end, found \")\""},
        {"()", 1, 2, "expected an expression, found \")\""},
        {"'abc", 1, 1, "has no end: expected another '"},
        {"\"abc'", 1, 1, "has no end: expected another \""},
        {"'abc\\'", 1, 1, "has no end"},
        {"x LIKE 123", 1, 8, "expected a pattern in quotes, found \"123\""},
        {"x LIKE y", 1, 8, "expected a pattern in quotes"},
        {"x LIKE", 1, 7, "expected a pattern in quotes, found the end"},
        {"x NOT 5", 1, 7, "expected LIKE or IN behind NOT, found \"5\""},
        {"x IN 5", 1, 6, "expected ( and the values, found \"5\""},
        {"x IN ()", 1, 7, "expected an expression, found \")\""},
        {"x IN (1,)", 1, 9, "expected an expression, found \")\""},
        {"x IN (1 2)", 1, 9, "expected a comma or ), found \"2\""},
        {"EXISTS", 1, 7, "expected the name of an attribute, found the end"},
        {"EXISTS 'x'", 1, 8, "expected the name of an attribute"},
        {"EXISTS (x)", 1, 8, "expected the name of an attribute"},
        {"LENGTH('a'", 1, 11, "expected a comma or )"},
        {"LENGTH('a' 'b')", 1, 12, "expected a comma or ), found \"'b'\""},
        {"LENGTH(,)", 1, 8, "expected an expression, found \",\""},
        {"2147483648", 1, 1, "no integer of 32 bits"},
        {"-2147483649", 1, 1, "no integer of 32 bits"},
        {"99999999999999999999999999", 1, 1, "no integer of 32 bits"},
        {"1 + 4294967296", 1, 5, "no integer of 32 bits"},
        {"+ 5", 1, 1, "expected an expression, found \"+\""},
        {"1 +", 1, 4, "expected an expression, found the end"},
        {"a && b", 1, 3, "write AND"},
        {"a || b", 1, 3, "write OR"},
        {"!a", 1, 1, "write NOT"},
        {"a.b = 1", 1, 2, "means nothing here"},
        {"my_ext = 1", 1, 1, "a name consists of a-z and 0-9"},
        {"_x", 1, 1, "a name consists of a-z and 0-9"},
        {"NOT", 1, 4, "expected an expression, found the end"},
        {"AND TRUE", 1, 1, "expected an expression, found \"AND\""},
        {"TRUE AND", 1, 9, "expected an expression, found the end"},
        /* columns count characters, lines are lines */
        {"'\xE2\x82\xAC\xE2\x82\xAC' = = 1", 1, 8, "expected an expression"},
        {"a = 1\n  AND AND", 2, 7, "expected an expression, found \"AND\""},
        {"\xC3\xA9 = 1", 1, 1, "means nothing here"},
        {"x = 'a\xFF'", 1, 7, "no UTF-8"},
        {"x = '\xC3", 1, 6, "no UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cesql *q = NULL;
        struct diag d = {0};
        if (cesql_compile(slice_str(rows[i].expression), &q, &d) != ERR_INVALID || q)
            fail_msg("%s: compiled", rows[i].expression);
        if (d.line != rows[i].line || d.column != rows[i].column || !strstr(d.text, rows[i].words))
            fail_msg("%s: expected %d:%d ... %s, got %d:%d %s", rows[i].expression, rows[i].line, rows[i].column,
                     rows[i].words, d.line, d.column, d.text);
        assert_int_equal(cesql_compile(slice_str(rows[i].expression), &q, NULL), ERR_INVALID);
    }
}

static void test_nul_is_no_end(void **state)
{
    struct cesql *q;
    struct diag d;
    (void)state;
    assert_int_equal(cesql_compile(slice_of("1\0 + 1", 6), &q, &d), ERR_INVALID);
    assert_int_equal(d.column, 2);
}

/* ---- limits ---- */

static const struct ce_event *event_with(struct slice subject)
{
    struct ce_builder b;
    const struct ce_event *e;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_set(&b, SLICE("n"), CE_INTEGER, SLICE("1"));
    ce_builder_set(&b, SLICE("subject"), CE_STRING, subject);
    assert_int_equal(ce_builder_seal(&b, 8u << 20, &e, NULL), OK);
    return e;
}

/* before, `each` so many times, after. */
static struct buf text_of(const char *before, const char *each, size_t times, const char *after)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, before);
    for (size_t i = 0; i < times; i++)
        buf_put_str(&b, each);
    buf_put_str(&b, after);
    assert_int_equal(buf_error(&b), OK);
    return b;
}

/* Compiles, evaluates on the event: the error's name, or "refused: " and what the compiler said. */
static const char *outcome(struct buf text, const struct ce_event *e)
{
    static char said[sizeof((struct diag *)0)->text + 100];
    struct cesql *q;
    struct cesql_value value;
    struct diag d = {0};
    struct buf memory;
    enum err err = cesql_compile(buf_slice(&text), &q, &d);
    buf_fini(&text);
    if (err) {
        snprintf(said, sizeof said, "refused: %s", d.text);
        return said;
    }
    buf_init(&memory, CESQL_BYTES_MAX);
    enum cesql_error error = cesql_evaluate(q, e, &memory, &value, &d);
    assert_int_equal(cesql_test(q, e), error == CESQL_OK && value.type == CESQL_BOOLEAN && value.boolean);
    snprintf(said, sizeof said, "%s%s%s", cesql_error_name(error), error ? ": " : "", error ? d.text : "");
    buf_fini(&memory);
    cesql_free(q);
    return said;
}

static void test_length(void **state)
{
    const struct ce_event *e = event_with(SLICE("s"));
    (void)state;
    assert_string_equal(outcome(text_of("'", "x", CESQL_TEXT_MAX - 2, "'"), e), "");
    assert_non_null(
        strstr(outcome(text_of("'", "x", CESQL_TEXT_MAX - 1, "'"), e), "refused: an expression has at most"));
    ce_event_unref(e);
}

static void test_depth(void **state)
{
    static const char *const nests[][3] = {
        {"(", "1", ")"}, {"NOT ", "TRUE", ""}, {"- ", "n", ""}, {"INT(", "n", ")"}, {"1 IN (", "n", ")"},
    };
    const struct ce_event *e = event_with(SLICE("s"));
    (void)state;
    for (size_t i = 0; i < COUNT(nests); i++)
        for (size_t depth = CESQL_DEPTH_MAX; depth <= CESQL_DEPTH_MAX + 1; depth++) {
            struct buf inner = text_of("", nests[i][0], depth, nests[i][1]), text;
            buf_init(&text, 1 << 20);
            buf_put(&text, buf_slice(&inner));
            buf_fini(&inner);
            for (size_t k = 0; k < depth; k++)
                buf_put_str(&text, nests[i][2]);
            const char *said = outcome(text, e);
            if (depth == CESQL_DEPTH_MAX)
                assert_string_equal(said, "");
            else
                assert_non_null(strstr(said, "refused: nested more than"));
        }
    /* Length alone is no depth. */
    assert_string_equal(outcome(text_of("n = 5", " OR n = 1", 1500, ""), e), "");
    assert_string_equal(outcome(text_of("n", " + 1", 2000, ""), e), "");
    ce_event_unref(e);
}

static void test_stack(void **state)
{
    const struct ce_event *e = event_with(SLICE("s"));
    (void)state;
    assert_string_equal(outcome(text_of("CONCAT(n", ",n", CESQL_STACK_MAX - 1, ")"), e), "");
    assert_non_null(
        strstr(outcome(text_of("CONCAT(n", ",n", CESQL_STACK_MAX, ")"), e), "refused: more than 256 values"));
    assert_string_equal(outcome(text_of("n IN (5", ",6", 3000, ")"), e), ""); /* a set is not a list of arguments */
    ce_event_unref(e);
}

static void test_steps(void **state)
{
    const struct ce_event *e = event_with(SLICE("s"));
    (void)state;
    /* Each term is two steps: the constant and the sum. */
    assert_string_equal(outcome(text_of("n", "+1", CESQL_STEPS_MAX / 2 - 1, ""), e), "");
    assert_non_null(
        strstr(outcome(text_of("n", "+1", CESQL_STEPS_MAX / 2 + 1, ""), e), "generic: an evaluation may take"));
    ce_event_unref(e);
}

/* Walking long texts counts, or a short expression could cost seconds. */
static void test_work(void **state)
{
    struct buf subject = text_of("", "a", 1 << 20, "");
    const struct ce_event *e = event_with(buf_slice(&subject));
    (void)state;
    assert_string_equal(outcome(text_of("LENGTH(subject) = 1048576", "", 0, ""), e), "");
    assert_string_equal(outcome(text_of("subject LIKE '%a'", "", 0, ""), e), "");
    assert_non_null(strstr(outcome(text_of("LENGTH(subject) = 0", " OR LENGTH(subject) = 0", 20, ""), e), "generic"));
    /* The worst pattern there is: looked for at each place, found at none. */
    assert_non_null(strstr(outcome(text_of("subject LIKE '%", "a_", 3000, "b%'"), e), "generic"));
    ce_event_unref(e);
    buf_fini(&subject);
}

static void test_memory(void **state)
{
    struct buf subject = text_of("", "a", CESQL_BYTES_MAX, "");
    const struct ce_event *e = event_with(buf_slice(&subject)), *longer;
    (void)state;
    assert_string_equal(outcome(text_of("LENGTH(UPPER(subject)) = 65536", "", 0, ""), e), "");
    assert_string_equal(outcome(text_of("LENGTH(CONCAT(subject)) = 65536", "", 0, ""), e), "");
    assert_non_null(
        strstr(outcome(text_of("CONCAT(subject, 'b')", "", 0, ""), e), "generic: an evaluation may make texts"));
    assert_non_null(strstr(outcome(text_of("CONCAT_WS('b', '', subject)", "", 0, ""), e), "generic"));
    assert_non_null(strstr(outcome(text_of("UPPER(subject) = LOWER(subject)", "", 0, ""), e), "generic"));
    buf_put_char(&subject, 'a');
    longer = event_with(buf_slice(&subject));
    assert_non_null(strstr(outcome(text_of("LOWER(subject) = ''", "", 0, ""), longer), "generic"));
    /* A slice takes no memory. */
    assert_string_equal(outcome(text_of("LENGTH(LEFT(subject, 65537)) = 65537", "", 0, ""), longer), "");
    ce_event_unref(e);
    ce_event_unref(longer);
    buf_fini(&subject);
}

/* Texts that are made while compiling have a bound of their own; beyond it they are made when it is evaluated. */
static void test_folded_texts(void **state)
{
    const struct ce_event *e = event_with(SLICE("s"));
    struct buf text = text_of("LENGTH(", "CONCAT(", 50, "'");
    (void)state;
    for (int i = 0; i < 4000; i++)
        buf_put_char(&text, 'x');
    buf_put_char(&text, '\'');
    for (int i = 0; i < 50; i++)
        buf_put_str(&text, ", 'y')");
    buf_put_str(&text, ") = 4050 OR type = 'y'");
    assert_non_null(strstr(outcome(text, e), "generic: an evaluation may make texts"));
    text = text_of("LENGTH(CONCAT(", "'xxxxxxxxxxxxxxxx',", 200, "'')) = 3200");
    assert_string_equal(outcome(text, e), "");
    ce_event_unref(e);
}

/* ---- predicates, compiling ---- */

static void test_what_is_no_predicate(void **state)
{
    static const struct {
        const char *expression, *words;
        int column;
    } rows[] = {
        {"5", "a number", 1},
        {"1 + hops", "a number", 1},
        {"type", "a text", 1},
        {"UPPER(subject)", "a text", 1},
        {"type = 'x' AND nope(1)", "no such function with so many arguments; the functions are ABS, BOOL, CONCAT", 16},
        {"LEFT(type) = 'x'", "no such function with so many arguments", 1},
    };
    struct cesql *q;
    struct diag d;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(cesql_compile_predicate(slice_str(rows[i].expression), &q, &d), ERR_INVALID);
        assert_int_equal(d.column, rows[i].column);
        assert_non_null(strstr(d.text, rows[i].words));
    }
    assert_int_equal(cesql_compile_predicate(SLICE("flag"), &q, &d), OK); /* an extension may be a Boolean */
    cesql_free(q);
}

static void test_what_must_be_exact(void **state)
{
    static const struct {
        const char *expression, *name, *value;
    } rows[] = {
        {"type = 'x'", "type", "x"},
        {"'x' = type", "type", "x"},
        {"region = 'eu'", "region", "eu"},
        {"(type = 'x')", "type", "x"},
        {"region = 'eu' AND source = '/s' AND type = 'x'", "type", "x"},
        {"hops < 5 AND (subject = 'a' AND region = 'eu')", "subject", "a"},
        {"(type = 'x' OR type = 'y') AND source = '/s'", "source", "/s"},
        {"type = 'x' OR hops = 1 AND subject = 'a'", "subject", "a"}, /* from the left */
        {"type = CONCAT('x', 'y')", "type", "xy"},
        {"'eu' = region", NULL, NULL}, /* the extension may be a number, and then 05 is 5 */
        {"type = 'x' AND hops = 1 OR subject = 'a'", NULL, NULL},
        {"type != 'x'", NULL, NULL},
        {"NOT type = 'x'", NULL, NULL},
        {"NOT (type = 'x')", NULL, NULL},
        {"(type = 'x') = FALSE", NULL, NULL},
        {"type = 'x' XOR hops = 1", NULL, NULL},
        {"type LIKE 'x'", NULL, NULL},
        {"type IN ('x')", NULL, NULL},
        {"region = 5", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cesql *q;
        struct slice name, value;
        int rank;
        assert_int_equal(cesql_compile(slice_str(rows[i].expression), &q, NULL), OK);
        bool demands = cesql_required_exact(q, &rank, &name, &value);
        if (demands != (rows[i].name != NULL))
            fail_msg("%s: demands %d", rows[i].expression, demands);
        if (demands)
            assert_true(slice_eq_str(name, rows[i].name) && slice_eq_str(value, rows[i].value));
        cesql_free(q);
    }
}

static void test_without_memory(void **state)
{
    static const char text[] = "type = 'x' AND CONCAT(subject, UPPER('abc'), hops + 5, 1 IN (1, 2, 3)) LIKE 'a%b_c' OR "
                               "LENGTH(TRIM(subject)) > 4 AND region IN ('a', 'b', 'c')";
    (void)state;
    for (unsigned n = 1;; n++) {
        struct cesql *q = NULL;
        struct diag d;
        fault_arm(n);
        enum err e = cesql_compile(slice_str(text), &q, &d);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        assert_int_equal(q == NULL, fired);
        cesql_free(q);
        if (!fired) {
            assert_true(n > 3);
            break;
        }
    }
}

/* An evaluation that gets no memory for its texts has an error, and a predicate needs none. */
static void test_evaluation_without_memory(void **state)
{
    const struct ce_event *e = event_with(SLICE("s"));
    struct cesql *q;
    struct cesql_value value;
    struct buf memory;
    struct diag d;
    (void)state;
    assert_int_equal(cesql_compile(SLICE("UPPER(subject) = 'S'"), &q, NULL), OK);
    buf_init(&memory, CESQL_BYTES_MAX);
    fault_arm(1);
    assert_int_equal(cesql_evaluate(q, e, &memory, &value, &d), CESQL_GENERIC);
    assert_true(fault_disarm());
    assert_true(value.type == CESQL_BOOLEAN && !value.boolean);
    assert_non_null(strstr(d.text, "out of memory"));
    fault_arm(1);
    assert_true(cesql_test(q, e));
    assert_false(fault_disarm());
    buf_fini(&memory);
    cesql_free(q);
    ce_event_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_nul_is_no_end),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_stack),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_folded_texts),
        cmocka_unit_test(test_what_is_no_predicate),
        cmocka_unit_test(test_what_must_be_exact),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_evaluation_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
