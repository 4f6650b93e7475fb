/* SPDX-License-Identifier: Apache-2.0
 *
 * The filter index against trying every filter: whatever is added and removed, an event finds the same entries, each
 * once; and without memory it finds them all the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/fault.h"
#include "clock.h"
#include "filter.h"
#include "prng.h"

#define ENTRIES 300
#define VALUES 12

static struct filter *attribute(enum filter_test test, const char *name, const char *value)
{
    struct filter *f;
    assert_int_equal(filter_attribute(test, slice_str(name), slice_str(value), &f, NULL), OK);
    return f;
}

/* Takes over the references to the parts. */
static struct filter *join(enum filter_join how, struct filter *a, struct filter *b)
{
    struct filter *parts[2] = {a, b}, *f;
    assert_int_equal(filter_join(how, parts, b ? 2 : 1, &f, NULL), OK);
    filter_unref(a);
    filter_unref(b);
    return f;
}

/* `extension` NULL: the event has none. */
static const struct ce_event *event(const char *type, const char *source, const char *extension)
{
    struct ce_builder b;
    const struct ce_event *e;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, slice_str(type));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, slice_str(source));
    if (extension)
        ce_builder_set(&b, SLICE("region"), CE_STRING, slice_str(extension));
    assert_int_equal(ce_builder_seal(&b, 10000, &e, NULL), OK);
    return e;
}

struct member {
    struct filter_entry entry;
    struct filter *filter; /* a reference of the test's own; NULL: everything */
    bool in;
    unsigned hits;
};

static void hit(void *arg, struct filter_entry *entry)
{
    struct member *m = container_of(entry, struct member, entry);
    m->hits++;
    ++*(unsigned *)arg;
}

static unsigned match(struct filter_index *x, const struct ce_event *e)
{
    unsigned n = 0;
    filter_index_match(x, e, hit, &n);
    return n;
}

static void add(struct filter_index *x, struct member *m, struct filter *f)
{
    m->filter = f;
    m->in = true;
    filter_index_add(x, &m->entry, f);
}

static void take(struct filter_index *x, struct member *m)
{
    filter_index_remove(x, &m->entry);
    m->filter = filter_unref(m->filter);
    m->in = false;
}

/* ---- random filters and events over few values, so that much matches ---- */

static const char *pick(struct prng *p, const char *stem, char *out)
{
    snprintf(out, 16, "%s%u", stem, (unsigned)prng_below(p, VALUES));
    return out;
}

static struct filter *random_clause(struct prng *p)
{
    char value[16];
    switch (prng_below(p, 6)) {
    case 0:
        return attribute(FILTER_EXACT, "source", pick(p, "/s", value));
    case 1:
        return attribute(FILTER_EXACT, "region", pick(p, "r", value));
    case 2:
        return attribute(FILTER_PREFIX, "type", pick(p, "t", value));
    case 3:
        return attribute(FILTER_SUFFIX, "source", pick(p, "", value));
    default:
        return attribute(FILTER_EXACT, "type", pick(p, "t", value));
    }
}

static struct filter *random_filter(struct prng *p)
{
    switch (prng_below(p, 8)) {
    case 0:
        return NULL;
    case 1:
        return join(FILTER_ANY, random_clause(p), random_clause(p));
    case 2:
        return join(FILTER_NOT, random_clause(p), NULL);
    case 3:
    case 4:
        return join(FILTER_ALL, random_clause(p), random_clause(p));
    default:
        return random_clause(p);
    }
}

static const struct ce_event *random_event(struct prng *p)
{
    char type[16], source[16], region[16];
    return event(pick(p, "t", type), pick(p, "/s", source), prng_below(p, 2) ? pick(p, "r", region) : NULL);
}

static void agrees(struct filter_index *x, struct member *members, size_t count, const struct ce_event *e)
{
    unsigned expected = 0;
    for (size_t i = 0; i < count; i++)
        members[i].hits = 0;
    unsigned found = match(x, e);
    for (size_t i = 0; i < count; i++) {
        bool wanted = members[i].in && filter_match(members[i].filter, e);
        expected += wanted;
        assert_int_equal(members[i].hits, wanted);
    }
    assert_int_equal(found, expected);
}

static void same_as_trying_all(void **state)
{
    (void)state;
    static struct member members[ENTRIES];
    struct filter_index *x;
    struct prng p;
    prng_seed(&p, 20);
    assert_int_equal(filter_index_new(&x), OK);
    for (unsigned round = 0; round < 5000; round++) {
        struct member *m = &members[prng_below(&p, ENTRIES)];
        if (m->in)
            take(x, m);
        else
            add(x, m, random_filter(&p));
        const struct ce_event *e = random_event(&p);
        agrees(x, members, ENTRIES, e);
        ce_event_unref(e);
    }
    for (size_t i = 0; i < ENTRIES; i++) {
        if (members[i].in)
            take(x, &members[i]);
    }
    filter_index_free(x);
}

/* ---- single facts ---- */

static void everything_matches_without_a_filter(void **state)
{
    (void)state;
    struct filter_index *x;
    struct member m = {.hits = 0};
    const struct ce_event *e = event("t", "/s", NULL);
    assert_int_equal(filter_index_new(&x), OK);
    assert_int_equal(match(x, e), 0);
    add(x, &m, NULL);
    assert_int_equal(match(x, e), 1);
    take(x, &m);
    assert_int_equal(match(x, e), 0);
    filter_index_free(x);
    ce_event_unref(e);
}

/* The index holds a reference of its own, and gives it back. */
static void the_filter_lives_in_the_index(void **state)
{
    (void)state;
    struct filter_index *x;
    struct member m = {.hits = 0};
    const struct ce_event *e = event("t", "/s", NULL);
    assert_int_equal(filter_index_new(&x), OK);
    struct filter *f = attribute(FILTER_EXACT, "type", "t");
    filter_index_add(x, &m.entry, f);
    filter_unref(f);
    assert_int_equal(match(x, e), 1);
    filter_index_remove(x, &m.entry);
    assert_null(m.entry.filter);
    filter_index_free(x);
    filter_index_free(NULL);
    ce_event_unref(e);
}

/* More names demanded than an event has attributes: then the event's are walked. */
static void many_names(void **state)
{
    (void)state;
    enum { NAMES = 200 };
    static struct member members[NAMES + 1];
    struct filter_index *x;
    assert_int_equal(filter_index_new(&x), OK);
    for (unsigned i = 0; i < NAMES; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%u", i);
        add(x, &members[i], attribute(FILTER_EXACT, name, "1"));
    }
    add(x, &members[NAMES], attribute(FILTER_EXACT, "region", "r1"));
    const struct ce_event *without = event("t", "/s", NULL), *with = event("t", "/s", "r1");
    agrees(x, members, NAMES + 1, without);
    agrees(x, members, NAMES + 1, with);
    assert_int_equal(members[NAMES].hits, 1);
    for (unsigned i = 0; i <= NAMES; i++)
        take(x, &members[i]);
    filter_index_free(x);
    ce_event_unref(without);
    ce_event_unref(with);
}

/* The promise behind it all: 10,000 filters on a type cost an event little more than 10 do. Of 2,000 events each way,
 * the fastest batch counts; with every filter tried, the ratio would be near 1,000. */
static uint64_t fastest_ns(struct filter_index *x, const struct ce_event *e)
{
    uint64_t best = UINT64_MAX;
    for (unsigned batch = 0; batch < 20; batch++) {
        uint64_t began = clock_monotonic_ns(clock_system());
        for (unsigned i = 0; i < 100; i++)
            assert_int_equal(match(x, e), 1);
        uint64_t took = clock_monotonic_ns(clock_system()) - began;
        best = took < best ? took : best;
    }
    return best;
}

static void ten_thousand_cost_little_more_than_ten(void **state)
{
    (void)state;
    enum { MANY = 10000, FEW = 10 };
    struct member *members = calloc(MANY, sizeof *members);
    struct filter_index *x;
    const struct ce_event *e = event("t3", "/s", NULL);
    uint64_t few_ns = 0;
    assert_non_null(members);
    assert_int_equal(filter_index_new(&x), OK);
    for (unsigned i = 0; i < MANY; i++) {
        char value[16];
        snprintf(value, sizeof value, "t%u", i);
        if (i == FEW)
            few_ns = fastest_ns(x, e);
        add(x, &members[i], attribute(FILTER_EXACT, "type", value));
    }
    assert_in_range(fastest_ns(x, e), 0, few_ns * 20);
    for (unsigned i = 0; i < MANY; i++)
        take(x, &members[i]);
    filter_index_free(x);
    free(members);
    ce_event_unref(e);
}

/* Whatever allocation fails, the entry is found: by its value, or among those that are tried one by one. */
static void without_memory_it_is_tried_for_every_event(void **state)
{
    (void)state;
    const struct ce_event *yes = event("t1", "/s", NULL), *no = event("t2", "/s", NULL);
    struct filter *f = attribute(FILTER_EXACT, "type", "t1"), *other = attribute(FILTER_EXACT, "type", "t2");
    for (unsigned n = 1;; n++) {
        struct filter_index *x = NULL;
        struct member first = {.hits = 0}, second = {.hits = 0};
        fault_arm(n);
        enum err e = filter_index_new(&x);
        if (e == OK) {
            filter_index_add(x, &first.entry, f);
            filter_index_add(x, &second.entry, other);
        }
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM && !x));
        if (e == OK) {
            assert_int_equal(match(x, yes), 1);
            assert_int_equal(match(x, no), 1);
            assert_int_equal(first.hits, 1);
            assert_int_equal(second.hits, 1);
            filter_index_remove(x, &first.entry);
            assert_int_equal(match(x, yes), 0);
            filter_index_remove(x, &second.entry);
            filter_index_free(x);
        }
        if (!fired)
            break;
    }
    filter_unref(f);
    filter_unref(other);
    ce_event_unref(yes);
    ce_event_unref(no);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_trying_all),
        cmocka_unit_test(everything_matches_without_a_filter),
        cmocka_unit_test(the_filter_lives_in_the_index),
        cmocka_unit_test(many_names),
        cmocka_unit_test(ten_thousand_cost_little_more_than_ten),
        cmocka_unit_test(without_memory_it_is_tried_for_every_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
