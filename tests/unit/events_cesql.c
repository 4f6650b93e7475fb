/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of CESQL expressions: tables of an expression, its value and the kind of its error. Every row is also tried as
 * a predicate, which must be true exactly when the value is true and no error occurred. What does not compile, and the
 * limits, are in events_cesql_limits.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <wctype.h>

#include "../../events/cesql_private.h"
#include "../lib/fault.h"
#include "prng.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct row {
    const char *expression;
    const char *value; /* true, false, a number, or a text in single quotes */
    const char *error; /* NULL: none */
};

static const struct ce_event *event;

static int make_event(void **state)
{
    struct ce_builder b;
    (void)state;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/orders"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("com.example.order"));
    ce_builder_set(&b, SLICE("time"), CE_TIMESTAMP, SLICE("2018-07-31T12:00:00+02:00"));
    ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, SLICE("application/json"));
    ce_builder_set(&b, SLICE("hops"), CE_INTEGER, SLICE("-7"));
    ce_builder_set(&b, SLICE("digits"), CE_STRING, SLICE("12"));
    ce_builder_set(&b, SLICE("flag"), CE_BOOLEAN, SLICE("true"));
    ce_builder_set(&b, SLICE("off"), CE_BOOLEAN, SLICE("false"));
    ce_builder_set(&b, SLICE("bytes"), CE_BINARY, SLICE("AAE="));
    ce_builder_set(&b, SLICE("1st"), CE_STRING, SLICE("begins with a digit"));
    ce_builder_set(&b, SLICE("empty"), CE_STRING, SLICE(""));
    ce_builder_set(&b, SLICE("word"), CE_STRING,
                   SLICE("Gr\xC3\xBC\xC3\x9F"
                         "e"));
    return ce_builder_seal(&b, 10000, &event, NULL) == OK ? 0 : -1;
}

static int drop_event(void **state)
{
    (void)state;
    event = ce_event_unref(event);
    return 0;
}

static void show(const struct cesql_value *v, char *out, size_t room)
{
    if (v->type == CESQL_BOOLEAN)
        snprintf(out, room, "%s", v->boolean ? "true" : "false");
    else if (v->type == CESQL_INTEGER)
        snprintf(out, room, "%d", v->integer);
    else
        snprintf(out, room, "'%.*s'", SLICE_ARG(v->string));
}

static void check_row(const struct row *r)
{
    struct cesql *q;
    struct cesql_value value;
    struct diag d = {0};
    struct buf memory;
    char got[300];
    if (cesql_compile(slice_str(r->expression), &q, &d) != OK)
        fail_msg("%s: column %d: %s", r->expression, d.column, d.text);
    buf_init(&memory, CESQL_BYTES_MAX);
    enum cesql_error e = cesql_evaluate(q, event, &memory, &value, &d);
    show(&value, got, sizeof got);
    if (strcmp(got, r->value) != 0 || strcmp(cesql_error_name(e), r->error ? r->error : "") != 0)
        fail_msg("%s: expected %s %s, got %s %s (%s)", r->expression, r->value, r->error ? r->error : "", got,
                 cesql_error_name(e), d.text);
    if (e)
        assert_true(d.text[0] && d.line == 1 && d.column >= 1);
    fault_arm(1); /* the predicate must not allocate */
    bool holds = cesql_test(q, event);
    assert_int_equal(fault_count(), 0);
    fault_disarm();
    assert_int_equal(holds, !e && strcmp(got, "true") == 0);
    buf_fini(&memory);
    cesql_free(q);
}

#define CHECK_ROWS(rows)                                                                                               \
    for (size_t row = 0; row < COUNT(rows); row++)                                                                     \
    check_row(&(rows)[row])

static void test_literals(void **state)
{
    static const struct row rows[] = {
        {"1", "1", NULL},
        {"+1", "1", NULL},
        {"-1", "-1", NULL},
        {"007", "7", NULL},
        {"2147483647", "2147483647", NULL},
        {"-2147483648", "-2147483648", NULL},
        {"TRUE", "true", NULL},
        {"fAlSe", "false", NULL},
        {"''", "''", NULL},
        {"'a b'", "'a b'", NULL},
        {"\"it's\"", "'it's'", NULL},
        {"'it\\'s'", "'it's'", NULL},
        {"\"say \\\"no\\\"\"", "'say \"no\"'", NULL},
        {"'a\\\"b'", "'a\\\"b'", NULL}, /* the other quote needs no backslash: it stays */
        {"'a\\\\'", "'a\\\\'", NULL},   /* two backslashes stay two, and hide no quote */
        {"'a\\nb'", "'a\\nb'", NULL},   /* no other escapes */
        {"  \t\r\n 5 \n", "5", NULL},
        {"'\xE2\x82\xAC'", "'\xE2\x82\xAC'", NULL},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void test_attributes(void **state)
{
    static const struct row rows[] = {
        {"type", "'com.example.order'", NULL},
        {"TYPE", "'com.example.order'", NULL},
        {"id", "'1'", NULL},
        {"specversion", "'1.0'", NULL},
        {"source", "'/orders'", NULL},
        {"time", "'2018-07-31T12:00:00+02:00'", NULL},
        {"datacontenttype", "'application/json'", NULL},
        {"hops", "-7", NULL},
        {"digits", "'12'", NULL},
        {"flag", "true", NULL},
        {"off", "false", NULL},
        {"bytes", "'AAE='", NULL},
        {"1st", "'begins with a digit'", NULL},
        {"empty", "''", NULL},
        {"subject", "false", "missingAttribute"},
        {"dataschema", "false", "missingAttribute"},
        {"data", "false", "missingAttribute"},
        {"EXISTS id", "true", NULL},
        {"exists TYPE", "true", NULL},
        {"EXISTS empty", "true", NULL},
        {"EXISTS datacontenttype", "true", NULL},
        {"EXISTS subject", "false", NULL},
        {"EXISTS data", "false", NULL},
        {"NOT EXISTS subject", "true", NULL},
        {"EXISTS 1st AND EXISTS hops", "true", NULL},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void test_logic(void **state)
{
    static const struct row rows[] = {
        {"TRUE AND FALSE", "false", NULL},
        {"TRUE OR FALSE", "true", NULL},
        {"TRUE XOR TRUE", "false", NULL},
        {"FALSE XOR TRUE", "true", NULL},
        {"flag and not off", "true", NULL},
        /* one level, from the left */
        {"TRUE OR FALSE AND FALSE", "false", NULL},
        {"TRUE OR (FALSE AND FALSE)", "true", NULL},
        {"TRUE OR TRUE XOR TRUE", "false", NULL},
        {"flag OR off AND off", "false", NULL},
        {"off AND flag OR flag", "true", NULL},
        /* short circuits */
        {"FALSE AND 1 / 0 = 1", "false", NULL},
        {"TRUE OR 1 / 0 = 1", "true", NULL},
        {"off AND subject = 'x'", "false", NULL},
        {"flag OR missing", "true", NULL},
        {"off AND missing OR flag", "true", NULL},
        {"flag AND missing", "false", "missingAttribute"},
        {"off OR missing", "false", "missingAttribute"},
        {"missing OR flag", "false", "missingAttribute"},
        {"flag XOR missing", "false", "missingAttribute"},
        /* operands are cast */
        {"'TRUE' AND 'true'", "true", NULL},
        {"1 AND -3", "true", NULL},
        {"hops OR FALSE", "true", NULL},
        {"NOT 10", "false", NULL},
        {"NOT 'FALSE'", "true", NULL},
        {"NOT 0", "true", NULL},
        {"NOT NOT flag", "true", NULL},
        {"NOT 'x'", "false", "cast"},
        {"TRUE AND 'x'", "false", "cast"},
        {"type XOR TRUE", "false", "cast"},
        {"NOT missing", "false", "missingAttribute"},
        /* NOT binds closer than any operator behind */
        {"NOT flag = FALSE", "true", NULL},
        {"NOT off LIKE 'true'", "true", NULL},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void test_comparisons(void **state)
{
    static const struct row rows[] = {
        {"type = 'com.example.order'", "true", NULL},
        {"'com.example.order' = type", "true", NULL},
        {"type = 'com.example.Order'", "false", NULL},
        {"type != 'x'", "true", NULL},
        {"'x' <> type", "true", NULL},
        {"type <> 'com.example.order'", "false", NULL},
        {"subject = 'x'", "false", "missingAttribute"},
        {"subject != 'x'", "false", "missingAttribute"},
        {"'x' != subject", "false", "missingAttribute"},
        {"missing = missing", "false", "missingAttribute"},
        /* the right side's type decides */
        {"true = 'TRUE'", "false", NULL},
        {"'TRUE' = true", "true", NULL},
        {"TRUE = 'true'", "true", NULL},
        {"hops = '-7'", "true", NULL},
        {"'-07' = hops", "true", NULL},
        {"hops = '-07'", "false", NULL},
        {"digits = 12", "true", NULL},
        {"12 = digits", "true", NULL},
        {"012 = digits", "true", NULL},
        {"'012' = digits", "false", NULL},
        {"flag = 'true'", "true", NULL},
        {"flag = 1", "true", NULL},
        {"2 = flag", "true", NULL},
        {"'abc' = 5", "false", "cast"},
        {"'abc' != 5", "false", "cast"},
        {"'abc' = 0", "false", "cast"},
        {"type = flag", "false", "cast"},
        {"type = type", "true", NULL},
        {"1 = 1 = TRUE", "true", NULL},
        {"1 < 2 = TRUE", "true", NULL},
        {"hops < 0", "true", NULL},
        {"hops >= -7", "true", NULL},
        {"hops > '-8'", "true", NULL},
        {"digits <= 11", "false", NULL},
        {"TRUE > FALSE", "true", NULL},
        {"2 <= 2", "true", NULL},
        {"-2147483648 < 2147483647", "true", NULL},
        {"type < 5", "false", "cast"},
        {"missing < 5", "false", "missingAttribute"},
        {"5 >= missing", "false", "missingAttribute"},
        {"'2147483648' = 0", "false", "cast"},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void test_arithmetic(void **state)
{
    static const struct row rows[] = {
        {"4-1", "3", NULL},
        {"4 -1", "3", NULL},
        {"4 - -1", "5", NULL},
        {"4+1", "5", NULL},
        {"1 + 2 * 3", "7", NULL},
        {"(1 + 2) * 3", "9", NULL},
        {"10 - 3 - 2", "5", NULL},
        {"100 / 10 / 5", "2", NULL},
        {"7 / 2", "3", NULL},
        {"-7 / 2", "-3", NULL},
        {"7 / -2", "-3", NULL},
        {"7 % 3", "1", NULL},
        {"-7 % 3", "-1", NULL},
        {"7 % -3", "1", NULL},
        {"5 / 0", "0", "math"},
        {"5 % 0", "0", "math"},
        {"hops / off", "0", "math"},
        {"2147483647 + 1", "0", "math"},
        {"-2147483648 - 1", "0", "math"},
        {"65536 * 65536", "0", "math"},
        {"-2147483648 / -1", "0", "math"},
        {"-2147483648 % -1", "0", NULL},
        {"-(-2147483648)", "0", "math"},
        {"--5", "5", NULL},
        {"- 5", "-5", NULL},
        {"-hops", "7", NULL},
        {"-digits", "-12", NULL},
        {"hops + digits", "5", NULL},
        {"TRUE + TRUE", "2", NULL},
        {"'2' * '+3'", "6", NULL},
        {"5 + 'x'", "0", "cast"},
        {"5 + ''", "0", "cast"},
        {"5 + ' 1'", "0", "cast"},
        {"missing * 5", "0", "missingAttribute"},
        {"1 / missing", "0", "missingAttribute"},
        {"-missing", "0", "missingAttribute"},
        {"missing * 5 + 3", "0", "missingAttribute"},
        /* an operand that came with an error makes the zero of the whole */
        {"1 != 1 / 0", "false", "math"},
        {"STRING(1 / 0)", "''", "math"},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void test_like(void **state)
{
    static const struct row rows[] = {
        {"'abc' LIKE 'abc'", "true", NULL},
        {"'abc' LIKE 'ab'", "false", NULL},
        {"'abc' LIKE 'bc'", "false", NULL},
        {"'abc' LIKE '%'", "true", NULL},
        {"'' LIKE '%'", "true", NULL},
        {"'' LIKE ''", "true", NULL},
        {"'' LIKE '_'", "false", NULL},
        {"'a' LIKE '%%%'", "true", NULL},
        {"'abc' LIKE '%b%'", "true", NULL},
        {"'abc' LIKE 'a%c'", "true", NULL},
        {"'ac' LIKE 'a%c'", "true", NULL},
        {"'a' LIKE 'a%a'", "false", NULL}, /* beginning and end do not overlap */
        {"'aXbXc' LIKE 'a%b%c'", "true", NULL},
        {"'abcabd' LIKE '%ab_'", "true", NULL},
        {"'xaybzc' LIKE '%a_b_c'", "true", NULL},
        {"'aaab' LIKE '%a_b%'", "true", NULL},
        {"'abc' LIKE '__'", "false", NULL},
        {"'abc' LIKE '___'", "true", NULL},
        {"'abc' LIKE '%__%_'", "true", NULL},
        {"'ABC' LIKE 'abc'", "false", NULL},
        {"'a.c' LIKE 'a.c'", "true", NULL},
        {"'abc' LIKE 'a.c'", "false", NULL},
        {"'ab' LIKE '_b*'", "false", NULL},
        {"'ab*' LIKE '_b*'", "true", NULL},
        {"'50%' LIKE '50\\%'", "true", NULL},
        {"'505' LIKE '50\\%'", "false", NULL},
        {"'a_b' LIKE 'a\\_b'", "true", NULL},
        {"'axb' LIKE 'a\\_b'", "false", NULL},
        {"'a\\b' LIKE 'a\\b'", "true", NULL},
        {"'it\\'s' LIKE 'it\\'_'", "true", NULL},
        /* characters, not bytes */
        {"'\xC3\xA9' LIKE '_'", "true", NULL},
        {"'\xF0\x9F\x90\xA2!' LIKE '_!'", "true", NULL},
        {"'a\xE2\x82\xAC"
         "b' LIKE 'a__'",
         "true", NULL},
        {"'a\xE2\x82\xAC' LIKE 'a__'", "false", NULL},
        {"'\xE2\x82\xAC\xE2\x82\xAC' LIKE '%\xE2\x82\xAC'", "true", NULL},
        /* the left side is cast */
        {"hops LIKE '-_'", "true", NULL},
        {"flag LIKE 't%'", "true", NULL},
        {"type LIKE 'com.%.order'", "true", NULL},
        {"type NOT LIKE 'com.%'", "false", NULL},
        {"type not like 'org.%'", "true", NULL},
        {"subject LIKE '%'", "false", "missingAttribute"},
        {"subject NOT LIKE '%'", "false", "missingAttribute"},
        {"'t' LIKE 't' LIKE 'true'", "true", NULL},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void test_in(void **state)
{
    static const struct row rows[] = {
        {"1 IN (1)", "true", NULL},
        {"4 IN (1, 2, 3)", "false", NULL},
        {"3 in (1, 2, 3)", "true", NULL},
        {"2 NOT IN (1, 2)", "false", NULL},
        {"4 NOT IN (1, 2)", "true", NULL},
        {"type IN ('x', 'com.example.order')", "true", NULL},
        {"hops IN ('-7')", "true", NULL},
        {"digits IN (11, 12)", "true", NULL},
        {"'012' IN (12)", "false", NULL}, /* the left side's type decides */
        {"12 IN ('012')", "true", NULL},
        {"flag IN ('x', TRUE)", "false", "cast"},
        {"1 IN (1, 'x')", "true", NULL},
        {"1 IN ('x', 1)", "false", "cast"},
        {"1 NOT IN ('x', 1)", "false", "cast"},
        {"missing IN (1)", "false", "missingAttribute"},
        {"missing NOT IN (1)", "false", "missingAttribute"},
        {"1 IN (missing)", "false", "missingAttribute"},
        {"1 IN (1, missing)", "true", NULL},
        {"1 IN (2 - 1, 5 / 0)", "true", NULL},
        {"TRUE IN (1 IN (1), FALSE)", "true", NULL},
        {"1 + 1 IN (2)", "1", NULL}, /* IN binds closer: 1 + (1 IN (2)) is 1 + 0 */
        {"(1 + 1) IN (2)", "true", NULL},
        {"1 IN (1) IN (TRUE)", "true", NULL},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void test_casts(void **state)
{
    static const struct row rows[] = {
        {"INT('15')", "15", NULL},
        {"INT('+15')", "15", NULL},
        {"INT('-2147483648')", "-2147483648", NULL},
        {"INT('2147483647')", "2147483647", NULL},
        {"INT('2147483648')", "0", "cast"},
        {"INT('99999999999999999999')", "0", "cast"},
        {"INT('')", "0", "cast"},
        {"INT('-')", "0", "cast"},
        {"INT('1 ')", "0", "cast"},
        {"INT('0x1')", "0", "cast"},
        {"INT(TRUE)", "1", NULL},
        {"INT(off)", "0", NULL},
        {"int(hops)", "-7", NULL},
        {"INT(missing)", "0", "missingAttribute"},
        {"BOOL('tRuE')", "true", NULL},
        {"BOOL('false')", "false", NULL},
        {"BOOL('')", "false", "cast"},
        {"BOOL('yes')", "false", "cast"},
        {"BOOL('1')", "false", "cast"},
        {"BOOL(0)", "false", NULL},
        {"BOOL(-1)", "true", NULL},
        {"BOOL(missing)", "false", "missingAttribute"},
        {"STRING(-2147483648)", "'-2147483648'", NULL},
        {"STRING(hops)", "'-7'", NULL},
        {"STRING(007)", "'7'", NULL},
        {"STRING(flag)", "'true'", NULL},
        {"STRING(type)", "'com.example.order'", NULL},
        {"STRING(missing)", "''", "missingAttribute"},
        {"INT(STRING(INT('5')))", "5", NULL},
        {"INT (5)", "5", NULL},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void test_functions(void **state)
{
    static const struct row rows[] = {
        {"LENGTH('abc')", "3", NULL},
        {"LENGTH('')", "0", NULL},
        {"LENGTH('\xE2\x82\xAC\xF0\x9F\x90\xA2')", "2", NULL},
        {"LENGTH(word)", "5", NULL},
        {"LENGTH(hops)", "2", NULL},
        {"LENGTH(missing)", "0", "missingAttribute"},
        {"length('a')", "1", NULL},
        {"CONCAT()", "''", NULL},
        {"CONCAT('a')", "'a'", NULL},
        {"CONCAT('a', 1, TRUE, hops, type)", "'a1true-7com.example.order'", NULL},
        {"CONCAT('', '')", "''", NULL},
        {"CONCAT(type, missing)", "''", "missingAttribute"},
        {"CONCAT_WS('-')", "''", NULL},
        {"CONCAT_WS('-', 'a')", "'a'", NULL},
        {"CONCAT_WS('-', 'a', '', 'b')", "'a--b'", NULL},
        {"CONCAT_WS('', 'a', 'b')", "'ab'", NULL},
        {"CONCAT_WS(1, 2, 3)", "'213'", NULL},
        {"CONCAT_WS()", "false", "missingFunction"},
        {"concat_ws(', ', source, id)", "'/orders, 1'", NULL},
        {"LOWER('ABC')", "'abc'", NULL},
        {"UPPER('a1b')", "'A1B'", NULL},
        {"UPPER(word)",
         "'GR\xC3\x9C\xC3\x9F"
         "E'",
         NULL},
        {"LOWER('\xC3\x84\xD0\x96\xCE\xA3')", "'\xC3\xA4\xD0\xB6\xCF\x83'", NULL},
        {"LOWER('\xC8\xBA')", "'\xE2\xB1\xA5'", NULL}, /* two bytes become three */
        {"UPPER('')", "''", NULL},
        {"UPPER(missing)", "''", "missingAttribute"},
        {"TRIM('  a b\t\r\n')", "'a b'", NULL},
        {"TRIM('')", "''", NULL},
        {"TRIM('   ')", "''", NULL},
        {"TRIM('\xC2\xA0\xE3\x80\x80x\xE2\x80\xA9\xC2\x85')", "'x'", NULL},
        {"TRIM('\xE2\x80\x8Bx')", "'\xE2\x80\x8Bx'", NULL}, /* zero width space is none of Unicode's */
        {"TRIM('\x01x\x1F')", "'\x01x\x1F'", NULL},
        {"LEFT('abc', 2)", "'ab'", NULL},
        {"LEFT('abc', 0)", "''", NULL},
        {"LEFT('abc', 9)", "'abc'", NULL},
        {"LEFT('\xE2\x82\xAC"
         "bc', 1)",
         "'\xE2\x82\xAC'", NULL},
        {"LEFT('abc', -1)", "'abc'", "functionEvaluation"},
        {"LEFT(1234, '2')", "'12'", NULL},
        {"LEFT(missing, 1)", "''", "missingAttribute"},
        {"LEFT('abc', 'x')", "''", "cast"},
        {"LENGTH(LEFT('abc', -1))", "0", "functionEvaluation"},
        {"RIGHT('abc', 2)", "'bc'", NULL},
        {"RIGHT('abc', 0)", "''", NULL},
        {"RIGHT('abc', 9)", "'abc'", NULL},
        {"RIGHT('ab\xE2\x82\xAC', 1)", "'\xE2\x82\xAC'", NULL},
        {"RIGHT('abc', -1)", "'abc'", "functionEvaluation"},
        {"SUBSTRING('abcdef', 2)", "'bcdef'", NULL},
        {"SUBSTRING('abcdef', 6)", "'f'", NULL},
        {"SUBSTRING('abcdef', -6)", "'abcdef'", NULL},
        {"SUBSTRING('abcdef', -2, 1)", "'e'", NULL},
        {"SUBSTRING('abcdef', 2, 0)", "''", NULL},
        {"SUBSTRING('abcdef', 2, 99)", "'bcdef'", NULL},
        {"SUBSTRING('abcdef', 0)", "''", NULL},
        {"SUBSTRING('abcdef', 0, 3)", "''", NULL},
        {"SUBSTRING('abcdef', 7)", "''", "functionEvaluation"},
        {"SUBSTRING('abcdef', -7)", "''", "functionEvaluation"},
        {"SUBSTRING('abcdef', 1, -1)", "''", "functionEvaluation"},
        {"SUBSTRING('abcdef', -2147483648)", "''", "functionEvaluation"},
        {"SUBSTRING('', 0)", "''", NULL},
        {"SUBSTRING('', 1)", "''", "functionEvaluation"},
        {"SUBSTRING('a\xC3\xA9\xE2\xB1\xA5', 2, 1)", "'\xC3\xA9'", NULL},
        {"SUBSTRING('a')", "false", "missingFunction"},
        {"ABS(-5)", "5", NULL},
        {"ABS('5')", "5", NULL},
        {"ABS(hops)", "7", NULL},
        {"ABS(-2147483648)", "2147483647", "math"},
        {"ABS(-2147483648) + 1", "0", "math"},
        {"ABS()", "false", "missingFunction"},
        {"ABS(1, 2)", "false", "missingFunction"},
        {"NOPE()", "false", "missingFunction"},
        {"NOPE(type, 1 / 0, NOPE())", "false", "missingFunction"},
        {"flag OR NOPE()", "true", NULL},
        {"flag AND NOPE()", "false", "missingFunction"},
    };
    (void)state;
    CHECK_ROWS(rows);
}

/* ---- properties ---- */

/* All ways, the slow way: what LIKE means. */
static bool like_slowly(const unsigned char *p, size_t pn, const unsigned char *s, size_t sn)
{
    if (pn == 0)
        return sn == 0;
    if (p[0] == '%')
        return like_slowly(p + 1, pn - 1, s, sn) || (sn > 0 && like_slowly(p, pn, s + 1, sn - 1));
    return sn > 0 && (p[0] == '_' || p[0] == s[0]) && like_slowly(p + 1, pn - 1, s + 1, sn - 1);
}

static void test_like_agrees_with_its_meaning(void **state)
{
    struct prng r;
    unsigned matched = 0;
    (void)state;
    prng_seed(&r, 1);
    for (int round = 0; round < 200000; round++) {
        char pattern[8], text[10], compiled[8];
        size_t pn = prng_below(&r, sizeof pattern + 1), sn = prng_below(&r, sizeof text + 1), work = 0;
        for (size_t i = 0; i < pn; i++)
            pattern[i] = "ab%_"[prng_below(&r, 4)];
        for (size_t i = 0; i < sn; i++)
            text[i] = "ab"[prng_below(&r, 2)];
        size_t n = cesql_pattern_compile(slice_of(pattern, pn), compiled);
        bool got = cesql_pattern_match(slice_of(compiled, n), slice_of(text, sn), &work, SIZE_MAX / 2);
        if (got != like_slowly((unsigned char *)pattern, pn, (unsigned char *)text, sn))
            fail_msg("'%.*s' LIKE '%.*s' is not %d", (int)sn, text, (int)pn, pattern, got);
        matched += got;
    }
    assert_true(matched > 20000 && matched < 180000);
}

static void test_case_mapping_is_the_c_librarys(void **state)
{
    locale_t l = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
    unsigned lower = 0, upper = 0;
    (void)state;
    if (!l)
        skip(); /* this system has no such locale */
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        lower += cesql_lower(c) != towlower_l(c, l);
        upper += cesql_upper(c) != towupper_l(c, l);
        /* A difference is a character that one of the two does not know yet, never another answer. */
        assert_true(cesql_lower(c) == towlower_l(c, l) || cesql_lower(c) == c || towlower_l(c, l) == c);
        assert_true(cesql_upper(c) == towupper_l(c, l) || cesql_upper(c) == c || towupper_l(c, l) == c);
    }
    freelocale(l);
    assert_true(lower < 200 && upper < 200);
    assert_int_equal(cesql_lower(0x1E9E), 0xDF);
    assert_int_equal(cesql_upper(0xFF), 0x178);
    assert_int_equal(cesql_upper('1'), '1');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_logic),
        cmocka_unit_test(test_comparisons),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_like),
        cmocka_unit_test(test_in),
        cmocka_unit_test(test_casts),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_like_agrees_with_its_meaning),
        cmocka_unit_test(test_case_mapping_is_the_c_librarys),
    };
    return cmocka_run_group_tests(tests, make_event, drop_event);
}
