/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters: what each dialect matches, what constructors refuse, how joins of joins come out, and what a filter says
 * about itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../events/filter_private.h"
#include "../lib/fault.h"
#include "prng.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct ce_event *event, *bare, *old;

static void begin(struct ce_builder *b, const char *specversion)
{
    ce_builder_init(b);
    ce_builder_set(b, SLICE("specversion"), CE_STRING, slice_str(specversion));
    ce_builder_set(b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(b, SLICE("source"), CE_URI_REFERENCE, SLICE("/orders/eu"));
    ce_builder_set(b, SLICE("type"), CE_STRING, SLICE("com.example.order"));
}

static int make_events(void **state)
{
    struct ce_builder b;
    (void)state;
    begin(&b, "1.0");
    if (ce_builder_seal(&b, 10000, &bare, NULL) != OK)
        return -1;
    begin(&b, "1.0");
    ce_builder_set(&b, SLICE("subject"), CE_STRING, SLICE("17"));
    ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, SLICE("application/json; charset=utf-8"));
    ce_builder_set(&b, SLICE("dataschema"), CE_URI, SLICE("http://schema/1"));
    ce_builder_set(&b, SLICE("time"), CE_TIMESTAMP, SLICE("2018-07-31T12:00:00Z"));
    ce_builder_set(&b, SLICE("hops"), CE_INTEGER, SLICE("-7"));
    ce_builder_set(&b, SLICE("flag"), CE_BOOLEAN, SLICE("true"));
    ce_builder_set(&b, SLICE("empty"), CE_STRING, SLICE(""));
    if (ce_builder_seal(&b, 10000, &event, NULL) != OK)
        return -1;
    begin(&b, "0.3");
    ce_builder_set(&b, SLICE("schemaurl"), CE_URI_REFERENCE, SLICE("http://schema/0"));
    return ce_builder_seal(&b, 10000, &old, NULL) == OK ? 0 : -1;
}

static int drop_events(void **state)
{
    (void)state;
    event = ce_event_unref(event);
    bare = ce_event_unref(bare);
    old = ce_event_unref(old);
    return 0;
}

static struct filter *attribute(enum filter_test test, const char *name, const char *value)
{
    struct filter *f;
    struct diag d;
    if (filter_attribute(test, slice_str(name), slice_str(value), &f, &d) != OK)
        fail_msg("%s: %s", name, d.text);
    return f;
}

static struct filter *cesql(const char *text)
{
    struct filter *f;
    struct diag d;
    if (filter_cesql(slice_str(text), &f, &d) != OK)
        fail_msg("%s: %s", text, d.text);
    return f;
}

/* Takes over the references to the parts. */
static struct filter *join(enum filter_join how, size_t count, struct filter **parts)
{
    struct filter *f;
    struct diag d;
    if (filter_join(how, parts, count, &f, &d) != OK)
        fail_msg("%s", d.text);
    for (size_t i = 0; i < count; i++)
        filter_unref(parts[i]);
    return f;
}

#define ALL(...) JOIN(FILTER_ALL, __VA_ARGS__)
#define ANY(...) JOIN(FILTER_ANY, __VA_ARGS__)
#define NOT(part) JOIN(FILTER_NOT, part)
#define JOIN(how, ...)                                                                                                 \
    join(how, sizeof((struct filter *[]){__VA_ARGS__}) / sizeof(struct filter *), (struct filter *[]){__VA_ARGS__})

/* Takes over the reference. */
static bool matches(struct filter *f, const struct ce_event *e)
{
    fault_arm(1); /* matching must not allocate */
    bool m = filter_match(f, e);
    assert_int_equal(fault_count(), 0);
    fault_disarm();
    filter_unref(f);
    return m;
}

static void test_attributes(void **state)
{
    static const struct {
        enum filter_test test;
        const char *name, *value;
        bool matches;
    } rows[] = {
        {FILTER_EXACT, "type", "com.example.order", true},
        {FILTER_EXACT, "type", "com.example.Order", false},
        {FILTER_EXACT, "type", "com.example", false},
        {FILTER_EXACT, "specversion", "1.0", true},
        {FILTER_EXACT, "id", "1", true},
        {FILTER_EXACT, "subject", "17", true},
        {FILTER_EXACT, "time", "2018-07-31T12:00:00Z", true},
        {FILTER_EXACT, "time", "2018-07-31T14:00:00+02:00", false}, /* as text, not as a time */
        {FILTER_EXACT, "hops", "-7", true},
        {FILTER_EXACT, "hops", "-07", false},
        {FILTER_EXACT, "flag", "true", true},
        {FILTER_EXACT, "missing", "x", false},
        {FILTER_EXACT, "datacontenttype", "application/json; charset=utf-8", true},
        {FILTER_EXACT, "datacontenttype", "application/json", false},
        {FILTER_EXACT, "datamediatype", "application/json", true},
        {FILTER_EXACT, "dataschema", "http://schema/1", true},
        {FILTER_EXACT, "schemaurl", "http://schema/1", true},
        {FILTER_PREFIX, "type", "com.", true},
        {FILTER_PREFIX, "type", "com.example.order", true},
        {FILTER_PREFIX, "type", "com.example.order.", false},
        {FILTER_PREFIX, "source", "orders", false},
        {FILTER_PREFIX, "missing", "x", false},
        {FILTER_SUFFIX, "source", "/eu", true},
        {FILTER_SUFFIX, "source", "/EU", false},
        {FILTER_SUFFIX, "missing", "x", false},
        {FILTER_PRESENT, "subject", "", true},
        {FILTER_PRESENT, "subject", "ignored", true},
        {FILTER_PRESENT, "empty", "", false},
        {FILTER_PRESENT, "missing", "", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (matches(attribute(rows[i].test, rows[i].name, rows[i].value), event) != rows[i].matches)
            fail_msg("row %zu: %s %s", i, rows[i].name, rows[i].value);
    /* What is not there matches nothing, by whatever name. */
    static const char *const names[] = {"subject",         "time",         "dataschema", "schemaurl",
                                        "datacontenttype", "datamediatype"};
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_false(matches(attribute(FILTER_PREFIX, names[i], "a"), bare));
        assert_false(matches(attribute(FILTER_PRESENT, names[i], ""), bare));
    }
    assert_true(matches(attribute(FILTER_EXACT, "schemaurl", "http://schema/0"), old));
    assert_true(matches(attribute(FILTER_EXACT, "dataschema", "http://schema/0"), old));
    assert_true(matches(attribute(FILTER_EXACT, "specversion", "0.3"), old));
    assert_true(filter_match(NULL, bare));
}

static void test_expressions(void **state)
{
    (void)state;
    assert_true(matches(cesql("type = 'com.example.order' AND hops < 0"), event));
    assert_false(matches(cesql("type = 'com.example.order' AND hops < 0"), bare)); /* an error is no match */
    assert_true(matches(NOT(cesql("hops < 0 AND missing = 1")), event));
    assert_true(matches(cesql("flag"), event));
    assert_false(matches(cesql("hops"), event)); /* a number in the event is neither true nor false */
    assert_false(matches(cesql("1 / 0 = 0"), event));
    assert_true(matches(cesql("UPPER(subject) = '17'"), event));
}

static void test_joins(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 8; bits++) { /* each part yes or no */
        struct filter *p[3];
        bool yes[3];
        for (int i = 0; i < 3; i++) {
            yes[i] = bits >> i & 1;
            p[i] = attribute(FILTER_EXACT, "type", yes[i] ? "com.example.order" : "x");
        }
        assert_int_equal(matches(ALL(filter_ref(p[0]), filter_ref(p[1]), filter_ref(p[2])), event), bits == 7);
        assert_int_equal(matches(ANY(filter_ref(p[0]), filter_ref(p[1]), filter_ref(p[2])), event), bits != 0);
        assert_int_equal(matches(NOT(filter_ref(p[0])), event), !yes[0]);
        assert_int_equal(matches(ALL(filter_ref(p[0])), event), yes[0]);
        assert_int_equal(matches(ANY(filter_ref(p[0])), event), yes[0]);
        assert_int_equal(matches(NOT(NOT(filter_ref(p[0]))), event), yes[0]);
        assert_int_equal(matches(ANY(ALL(filter_ref(p[0]), NOT(filter_ref(p[1]))), NOT(ANY(filter_ref(p[2])))), event),
                         (yes[0] && !yes[1]) || !yes[2]);
        for (int i = 0; i < 3; i++)
            filter_unref(p[i]);
    }
}

/* ---- any filter against its meaning ---- */

static bool means(const struct filter *f, const struct ce_event *e)
{
    if (f->kind < FILTER_KIND_ALL)
        return filter_clause_holds(&f->tests[0], e);
    bool all = true, any = false;
    for (size_t i = 0; i < f->part_count; i++) {
        bool m = means(f->parts[i], e);
        all = all && m;
        any = any || m;
    }
    return f->kind == FILTER_KIND_ALL ? all : f->kind == FILTER_KIND_ANY ? any : !all;
}

static struct filter *random_filter(struct prng *r, int depth)
{
    if (depth == 0 || prng_below(r, 4) == 0)
        return attribute(FILTER_EXACT, "subject", prng_below(r, 2) ? "17" : "18");
    enum filter_join how = (enum filter_join)prng_below(r, 3);
    struct filter *parts[4];
    size_t count = how == FILTER_NOT ? 1 : 1 + prng_below(r, 4);
    for (size_t i = 0; i < count; i++)
        parts[i] = random_filter(r, depth - 1);
    return join(how, count, parts);
}

static void test_flat_is_the_same_as_nested(void **state)
{
    struct prng r;
    unsigned matched = 0;
    (void)state;
    prng_seed(&r, 7);
    for (int i = 0; i < 5000; i++) {
        struct filter *f = random_filter(&r, 5);
        struct buf tree, reason;
        assert_int_equal(filter_match(f, event), means(f, event));
        assert_int_equal(filter_match(f, bare), means(f, bare));
        matched += filter_match(f, event);
        /* What it says agrees with what it does. */
        buf_init(&tree, 1 << 20);
        buf_init(&reason, 1 << 20);
        filter_explain(f, event, &tree);
        filter_reason(f, event, &reason);
        assert_true(slice_has_prefix(buf_slice(&tree), filter_match(f, event) ? SLICE("yes ") : SLICE("no ")));
        assert_int_equal(reason.len == 0, filter_match(f, event));
        assert_null(reason.len ? memchr(reason.ptr, '\n', reason.len) : NULL);
        buf_fini(&tree);
        buf_fini(&reason);
        filter_unref(f);
    }
    assert_true(matched > 500 && matched < 4500);
}

/* ---- refusals ---- */

static void test_names_and_values(void **state)
{
    static const struct {
        struct slice name, value;
        const char *words;
    } rows[] = {
        {SLICE_INIT(""), SLICE_INIT("x"), "without a name"},
        {SLICE_INIT("Type"), SLICE_INIT("x"), "\"Type\": a name consists of a-z and 0-9"},
        {SLICE_INIT("s_pace"), SLICE_INIT("x"), "a name consists of a-z and 0-9"},
        {SLICE_INIT("data"), SLICE_INIT("x"), "no attribute may be called so"},
        {SLICE_INIT("type"), SLICE_INIT(""), "\"type\" must not be empty"},
    };
    struct diag d;
    struct filter *f = NULL;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(filter_attribute(FILTER_EXACT, rows[i].name, rows[i].value, &f, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, rows[i].words));
    }
    char *large = malloc(FILTER_VALUE_MAX + 1);
    memset(large, 'x', FILTER_VALUE_MAX + 1);
    assert_int_equal(filter_attribute(FILTER_PREFIX, SLICE("type"), slice_of(large, FILTER_VALUE_MAX + 1), &f, &d),
                     ERR_INVALID);
    assert_non_null(strstr(d.text, "longer than"));
    assert_null(f);
    assert_int_equal(filter_attribute(FILTER_PREFIX, SLICE("type"), slice_of(large, FILTER_VALUE_MAX), &f, &d), OK);
    filter_unref(f);
    free(large);
}

static void test_joins_refused(void **state)
{
    struct filter *a = attribute(FILTER_EXACT, "type", "x"), *two[2] = {a, a}, *f = NULL;
    struct diag d;
    (void)state;
    assert_int_equal(filter_join(FILTER_ALL, two, 0, &f, &d), ERR_INVALID);
    assert_int_equal(filter_join(FILTER_NOT, two, 2, &f, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "exactly one"));
    assert_int_equal(filter_cesql(SLICE("type = "), &f, &d), ERR_INVALID);
    assert_int_equal(d.column, 8);
    assert_int_equal(filter_cesql(SLICE("LENGTH(type)"), &f, &d), ERR_INVALID);
    assert_null(f);
    filter_unref(a);
}

static void test_depth_and_size(void **state)
{
    struct filter *f = attribute(FILTER_EXACT, "type", "com.example.order"), *many[FILTER_NODES_MAX], *g = NULL;
    struct diag d;
    (void)state;
    for (int depth = 2; depth <= FILTER_DEPTH_MAX; depth++)
        f = NOT(f);
    assert_false(filter_match(f, event)); /* NOT an odd number of times */
    assert_int_equal(filter_join(FILTER_NOT, &f, 1, &g, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "nested more than 32"));
    filter_unref(f);
    f = attribute(FILTER_EXACT, "type", "x");
    for (size_t i = 0; i < FILTER_NODES_MAX; i++)
        many[i] = f;
    assert_int_equal(filter_join(FILTER_ANY, many, FILTER_NODES_MAX, &g, &d), ERR_INVALID); /* the join counts too */
    assert_non_null(strstr(d.text, "at most 1000 clauses"));
    assert_null(g);
    assert_int_equal(filter_join(FILTER_ANY, many, FILTER_NODES_MAX - 1, &g, &d), OK);
    assert_false(filter_match(g, event));
    assert_int_equal(filter_join(FILTER_ALL, (struct filter *[]){g, f}, 2, &f, &d), ERR_INVALID);
    filter_unref(g);
    filter_unref(f);
}

static void test_without_memory(void **state)
{
    struct filter *a = attribute(FILTER_EXACT, "type", "x"), *parts[2] = {a, a};
    (void)state;
    for (int what = 0; what < 3; what++)
        for (unsigned n = 1;; n++) {
            struct filter *f = NULL;
            fault_arm(n);
            enum err e = what == 0   ? filter_attribute(FILTER_PREFIX, SLICE("id"), SLICE("1"), &f, NULL)
                         : what == 1 ? filter_join(FILTER_ANY, parts, 2, &f, NULL)
                                     : filter_cesql(SLICE("type = 'x' OR id = '1'"), &f, NULL);
            bool fired = fault_disarm();
            assert_int_equal(e, fired ? ERR_NOMEM : OK);
            assert_int_equal(f == NULL, fired);
            filter_unref(f);
            if (!fired)
                break;
        }
    filter_unref(a); /* joins that failed have left its references as they were */
}

/* ---- what must be exact ---- */

static void check_required(struct filter *f, const char *name, const char *value)
{
    struct slice n, v;
    bool demands = filter_required_exact(f, &n, &v);
    assert_int_equal(demands, name != NULL);
    if (demands && (!slice_eq_str(n, name) || !slice_eq_str(v, value)))
        fail_msg("%.*s %.*s", SLICE_ARG(n), SLICE_ARG(v));
    filter_unref(f);
}

static void test_required(void **state)
{
    struct slice n, v;
    (void)state;
    check_required(attribute(FILTER_EXACT, "type", "x"), "type", "x");
    check_required(attribute(FILTER_PREFIX, "type", "x"), NULL, NULL);
    check_required(attribute(FILTER_EXACT, "schemaurl", "x"), NULL, NULL);
    check_required(attribute(FILTER_EXACT, "dataschema", "x"), NULL, NULL);
    check_required(ALL(attribute(FILTER_EXACT, "subject", "s"), attribute(FILTER_EXACT, "source", "/s"),
                       attribute(FILTER_EXACT, "region", "eu")),
                   "source", "/s");
    check_required(ALL(attribute(FILTER_PREFIX, "id", "s"), ALL(cesql("hops < 1 AND type = 'x'"))), "type", "x");
    check_required(ANY(attribute(FILTER_EXACT, "type", "x"), attribute(FILTER_EXACT, "type", "y")), NULL, NULL);
    check_required(ANY(attribute(FILTER_EXACT, "type", "x")), "type", "x");
    check_required(NOT(attribute(FILTER_EXACT, "type", "x")), NULL, NULL);
    check_required(cesql("type = 'x' OR source = 'y'"), NULL, NULL);
    assert_false(filter_required_exact(NULL, &n, &v));
}

/* ---- words ---- */

static void check_words(struct filter *f, const struct ce_event *e, const char *reason, const char *tree)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    filter_reason(f, e, &b);
    if (!slice_eq_str(buf_slice(&b), reason))
        fail_msg("expected reason: %s\ngot: %.*s", reason, SLICE_ARG(buf_slice(&b)));
    buf_clear(&b);
    filter_explain(f, e, &b);
    if (!slice_eq_str(buf_slice(&b), tree))
        fail_msg("expected:\n%s\ngot:\n%.*s", tree, SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
    filter_unref(f);
}

static void test_words(void **state)
{
    (void)state;
    check_words(NULL, event, "", "yes  everything matches\n");
    check_words(attribute(FILTER_EXACT, "type", "x"), event, "exact type \"x\": the event has \"com.example.order\"",
                "no   exact type \"x\": the event has \"com.example.order\"\n");
    check_words(attribute(FILTER_PRESENT, "region", ""), event, "present region: the event has none",
                "no   present region: the event has none\n");
    check_words(ALL(attribute(FILTER_PREFIX, "type", "com."), cesql("hops > 0"), attribute(FILTER_SUFFIX, "id", "9")),
                event, "cesql hops > 0: it is false",
                "no   all\n"
                "yes    prefix type \"com.\": the event has \"com.example.order\"\n"
                "no     cesql hops > 0: it is false\n"
                "-      suffix id \"9\"\n");
    check_words(ANY(attribute(FILTER_EXACT, "id", "2"), attribute(FILTER_EXACT, "id", "1"), cesql("flag")), event, "",
                "yes  any\n"
                "no     exact id \"2\": the event has \"1\"\n"
                "yes    exact id \"1\": the event has \"1\"\n"
                "-      cesql flag\n");
    check_words(ANY(attribute(FILTER_EXACT, "id", "2"), attribute(FILTER_EXACT, "id", "3")), event,
                "none of 2 matches, the first: exact id \"2\": the event has \"1\"",
                "no   any\n"
                "no     exact id \"2\": the event has \"1\"\n"
                "no     exact id \"3\": the event has \"1\"\n");
    check_words(NOT(attribute(FILTER_EXACT, "id", "1")), event, "not exact id \"1\": the event has \"1\"",
                "no   not\n"
                "yes    exact id \"1\": the event has \"1\"\n");
    check_words(NOT(ALL(attribute(FILTER_EXACT, "id", "1"), cesql("flag"))), event, "not all: that matches",
                "no   not\n"
                "yes    all\n"
                "yes      exact id \"1\": the event has \"1\"\n"
                "yes      cesql flag: it is true\n");
    check_words(cesql("hops < 0 AND\n  missing = 1"), event,
                "cesql hops < 0 AND missing = 1: missingAttribute, line 2, column 3: the event has no attribute "
                "\"missing\"",
                "no   cesql hops < 0 AND missing = 1: missingAttribute, line 2, column 3: the event has no attribute "
                "\"missing\"\n");
    check_words(cesql("hops"), event, "cesql hops: it is -7, neither true nor false",
                "no   cesql hops: it is -7, neither true nor false\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_joins),
        cmocka_unit_test(test_flat_is_the_same_as_nested),
        cmocka_unit_test(test_names_and_values),
        cmocka_unit_test(test_joins_refused),
        cmocka_unit_test(test_depth_and_size),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, make_events, drop_events);
}
