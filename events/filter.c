/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters: how they are made, and matching. What they say about themselves is in filter_explain.c.
 *
 * A filter of any depth is one flat row of tests, each with two ways out: where to go when it holds and when it does
 * not. ALL, ANY and NOT exist only in these ways, so matching is a walk forward without recursion:
 *
 *     all: [exact type "x", not: prefix subject "a"]      0: exact type "x"       holds: 1      else: no
 *                                                         1: prefix subject "a"   holds: no     else: yes
 *
 * A joined filter copies the tests of its parts and keeps references to them, since the texts are theirs.
 */
#include "filter_private.h"

#include <assert.h>
#include <stdlib.h>

/* ---- making ---- */

struct filter *filter_ref(struct filter *f)
{
    unsigned before = __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
    assert(before > 0 && before < UINT32_MAX);
    return f;
}

struct filter *filter_unref(struct filter *f)
{
    if (!f || __atomic_fetch_sub(&f->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return NULL;
    for (size_t i = 0; i < f->part_count; i++) /* as deep as filters nest */
        filter_unref(f->parts[i]);
    cesql_free(f->cesql);
    free(f->parts);
    free(f);
    return NULL;
}

/* A filter with room for `tests` and for `bytes` of text behind them. */
static struct filter *make(size_t tests, size_t bytes, char **text)
{
    struct filter *f = calloc(1, sizeof *f + tests * sizeof f->tests[0] + bytes);
    if (!f)
        return NULL;
    f->refs = 1;
    f->nodes = 1;
    f->depth = 1;
    f->test_count = (uint32_t)tests;
    if (text)
        *text = (char *)(f->tests + tests);
    return f;
}

static enum filter_kind kind_of(enum filter_test test)
{
    static const enum filter_kind kinds[] = {
        [FILTER_EXACT] = FILTER_KIND_EXACT,
        [FILTER_PREFIX] = FILTER_KIND_PREFIX,
        [FILTER_SUFFIX] = FILTER_KIND_SUFFIX,
        [FILTER_PRESENT] = FILTER_KIND_PRESENT,
    };
    assert((unsigned)test <= FILTER_PRESENT);
    return kinds[test];
}

/* Knative looks into the event by these names too. An extension of the event that bears the name goes first. */
static enum filter_alias alias_of(struct slice name)
{
    return slice_eq_str(name, "schemaurl")       ? FILTER_ALIAS_SCHEMA
           : slice_eq_str(name, "dataschema")    ? FILTER_ALIAS_SCHEMA_0_3
           : slice_eq_str(name, "datamediatype") ? FILTER_ALIAS_MEDIA_TYPE
                                                 : FILTER_ALIAS_NONE;
}

static int rank_of(unsigned core)
{
    return core == CORE_TYPE ? 4 : core == CORE_SOURCE ? 3 : core == CORE_SUBJECT ? 2 : 1;
}

enum err filter_attribute(enum filter_test test, struct slice name, struct slice value, struct filter **out,
                          struct diag *d)
{
    char *text;
    enum err e = ce_name_check(name, d);
    if (e)
        return e;
    if (test == FILTER_PRESENT)
        value.len = 0;
    else if (!value.len)
        return diag_set(d, ERR_INVALID, "the value of attribute %s must not be empty", ce_quote(name).text);
    if (value.len > FILTER_VALUE_MAX)
        return diag_set(d, ERR_INVALID, "the value of attribute %s is longer than %d bytes", ce_quote(name).text,
                        FILTER_VALUE_MAX);
    struct filter *f = make(1, name.len + value.len, &text);
    if (!f)
        return ERR_NOMEM;
    memcpy(text, name.ptr, name.len);
    if (value.len)
        memcpy(text + name.len, value.ptr, value.len);
    f->kind = kind_of(test);
    f->tests[0] = (struct filter_clause){.kind = (uint8_t)f->kind,
                                         .core = (uint8_t)ce_core_of(name),
                                         .alias = (uint8_t)alias_of(name),
                                         .holds = FILTER_YES,
                                         .fails = FILTER_NO,
                                         .name = slice_of(text, name.len),
                                         .value = slice_of(text + name.len, value.len)};
    if (test == FILTER_EXACT && f->tests[0].alias == FILTER_ALIAS_NONE) {
        f->required_rank = rank_of(f->tests[0].core);
        f->required_name = f->tests[0].name;
        f->required_value = f->tests[0].value;
    }
    *out = f;
    return OK;
}

enum err filter_cesql(struct slice text, struct filter **out, struct diag *d)
{
    struct cesql *q;
    enum err e = cesql_compile_predicate(text, &q, d);
    if (e)
        return e;
    struct filter *f = make(1, 0, NULL);
    if (!f) {
        cesql_free(q);
        return ERR_NOMEM;
    }
    f->kind = FILTER_KIND_CESQL;
    f->cesql = q;
    f->tests[0] =
        (struct filter_clause){.kind = FILTER_KIND_CESQL, .holds = FILTER_YES, .fails = FILTER_NO, .cesql = q};
    if (!cesql_required_exact(q, &f->required_rank, &f->required_name, &f->required_value))
        f->required_rank = 0;
    *out = f;
    return OK;
}

static enum err measure(enum filter_join how, struct filter *const *parts, size_t count, struct filter *sum,
                        struct diag *d)
{
    size_t nodes = 1, tests = 0;
    if (!count)
        return diag_set(d, ERR_INVALID, "there must be one filter or more to join");
    if (how == FILTER_NOT && count > 1)
        return diag_set(d, ERR_INVALID, "not takes exactly one filter, here are %zu", count);
    for (size_t i = 0; i < count; i++) {
        nodes += parts[i]->nodes;
        tests += parts[i]->test_count;
        sum->depth = parts[i]->depth >= sum->depth ? parts[i]->depth + 1 : sum->depth;
    }
    if (nodes > FILTER_NODES_MAX)
        return diag_set(d, ERR_INVALID, "a filter has at most %d clauses, with those inside it this one has %zu",
                        FILTER_NODES_MAX, nodes);
    if (sum->depth > FILTER_DEPTH_MAX)
        return diag_set(d, ERR_INVALID, "filters are nested more than %d deep", FILTER_DEPTH_MAX);
    sum->nodes = (uint32_t)nodes;
    sum->test_count = (uint32_t)tests;
    return OK;
}

/* A way out of a part, as a way of the whole: `yes` and `no` are where the part's own ends lead. */
static uint16_t lead(uint16_t way, size_t base, uint16_t yes, uint16_t no)
{
    return way == FILTER_YES ? yes : way == FILTER_NO ? no : (uint16_t)(base + way);
}

static void copy_tests(struct filter *f, enum filter_join how, struct filter *const *parts, size_t count)
{
    size_t base = 0;
    for (size_t i = 0; i < count; i++) {
        const struct filter *p = parts[i];
        uint16_t next = (uint16_t)(base + p->test_count), yes = FILTER_YES, no = FILTER_NO;
        if (how == FILTER_NOT)
            yes = FILTER_NO, no = FILTER_YES;
        else if (how == FILTER_ALL && i + 1 < count)
            yes = next;
        else if (how == FILTER_ANY && i + 1 < count)
            no = next;
        for (size_t k = 0; k < p->test_count; k++) {
            struct filter_clause *t = &f->tests[base + k];
            *t = p->tests[k];
            t->holds = lead(t->holds, base, yes, no);
            t->fails = lead(t->fails, base, yes, no);
        }
        base = next;
    }
}

enum err filter_join(enum filter_join how, struct filter *const *parts, size_t count, struct filter **out,
                     struct diag *d)
{
    struct filter sum = {.depth = 1};
    enum err e = measure(how, parts, count, &sum, d);
    if (e)
        return e;
    struct filter *f = make(sum.test_count, 0, NULL);
    struct filter **kept = f ? calloc(count, sizeof(struct filter *)) : NULL;
    if (!kept) {
        free(f);
        return ERR_NOMEM;
    }
    f->kind = how == FILTER_ALL ? FILTER_KIND_ALL : how == FILTER_ANY ? FILTER_KIND_ANY : FILTER_KIND_NOT;
    f->nodes = sum.nodes;
    f->depth = sum.depth;
    f->parts = kept;
    f->part_count = (uint32_t)count;
    copy_tests(f, how, parts, count);
    for (size_t i = 0; i < count; i++) {
        const struct filter *p = kept[i] = filter_ref(parts[i]);
        if ((how == FILTER_ALL || (how == FILTER_ANY && count == 1)) && p->required_rank > f->required_rank) {
            f->required_rank = p->required_rank;
            f->required_name = p->required_name;
            f->required_value = p->required_value;
        }
    }
    *out = f;
    return OK;
}

bool filter_required_exact(const struct filter *f, struct slice *name, struct slice *value)
{
    if (!f || !f->required_rank)
        return false;
    *name = f->required_name;
    *value = f->required_value;
    return true;
}

/* ---- matching ---- */

static const struct event_attribute *by_alias(const struct filter_clause *t, const struct ce_event *e)
{
    switch ((enum filter_alias)t->alias) {
    case FILTER_ALIAS_SCHEMA:
        return event_find(e, CORE_DATASCHEMA, SLICE("dataschema"));
    case FILTER_ALIAS_SCHEMA_0_3:
        return event_find(e, CORE_NONE, SLICE("schemaurl"));
    case FILTER_ALIAS_MEDIA_TYPE:
        return event_find(e, CORE_DATACONTENTTYPE, SLICE("datacontenttype"));
    case FILTER_ALIAS_NONE:
        break;
    }
    return NULL;
}

bool filter_clause_value(const struct filter_clause *t, const struct ce_event *e, struct slice *out)
{
    const struct event_attribute *a = event_find(e, t->core, t->name);
    const bool other = !a && t->alias;
    if (other)
        a = by_alias(t, e);
    if (!a)
        return false;
    *out = slice_of(event_at(e, a->value_at), a->value_len);
    if (other && t->alias == FILTER_ALIAS_MEDIA_TYPE)
        *out = ce_media_type_essence(*out);
    return true;
}

bool filter_clause_holds(const struct filter_clause *t, const struct ce_event *e)
{
    struct slice value;
    if (t->kind == FILTER_KIND_CESQL)
        return cesql_test(t->cesql, e);
    if (!filter_clause_value(t, e, &value))
        return false;
    switch ((enum filter_kind)t->kind) {
    case FILTER_KIND_EXACT:
        return slice_eq(value, t->value);
    case FILTER_KIND_PREFIX:
        return slice_has_prefix(value, t->value);
    case FILTER_KIND_SUFFIX:
        return slice_has_suffix(value, t->value);
    case FILTER_KIND_PRESENT:
        return value.len > 0;
    default:
        return false;
    }
}

bool filter_match(const struct filter *f, const struct ce_event *e)
{
    if (!f)
        return true;
    uint16_t at = 0;
    while (at < FILTER_NO) {
        const struct filter_clause *t = &f->tests[at];
        uint16_t next = filter_clause_holds(t, e) ? t->holds : t->fails;
        assert(next > at); /* only forward, so it ends */
        at = next;
    }
    return at == FILTER_YES;
}
