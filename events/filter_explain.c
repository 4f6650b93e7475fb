/* SPDX-License-Identifier: Apache-2.0
 *
 * What a filter says about itself and an event: why it does not match, in a line, and the whole of it as a tree.
 */
#include "filter_private.h"

#define EXPRESSION_SHOWN 300 /* bytes of an expression in a line */

/* On one line: white space between words is one space. */
static void put_expression(struct slice source, struct buf *out)
{
    bool space = false;
    size_t n = source.len < EXPRESSION_SHOWN ? source.len : EXPRESSION_SHOWN;
    while (n < source.len && n > 0 && ((unsigned char)source.ptr[n] & 0xC0) == 0x80)
        n--; /* not within a character */
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)source.ptr[i];
        if (c > ' ' && c != 0x7F)
            buf_put_char(out, source.ptr[i]);
        else if (!space)
            buf_put_char(out, ' ');
        space = c <= ' ' || c == 0x7F;
    }
    if (n < source.len)
        buf_put_str(out, " ...");
}

static void put_clause(const struct filter *f, struct buf *out)
{
    static const char *const words[] = {
        [FILTER_KIND_EXACT] = "exact",     [FILTER_KIND_PREFIX] = "prefix", [FILTER_KIND_SUFFIX] = "suffix",
        [FILTER_KIND_PRESENT] = "present", [FILTER_KIND_CESQL] = "cesql",   [FILTER_KIND_ALL] = "all",
        [FILTER_KIND_ANY] = "any",         [FILTER_KIND_NOT] = "not",
    };
    const struct filter_clause *t = &f->tests[0];
    buf_put_str(out, words[f->kind]);
    if (f->kind == FILTER_KIND_CESQL) {
        buf_put_char(out, ' ');
        put_expression(f->cesql->source, out);
    } else if (f->kind <= FILTER_KIND_PRESENT) {
        buf_printf(out, " %.*s", SLICE_ARG(t->name));
        if (f->kind != FILTER_KIND_PRESENT)
            buf_printf(out, " %s", ce_quote(t->value).text);
    }
}

/* What an expression came to: its value, or the error. */
static void put_outcome(const struct cesql *q, const struct ce_event *e, struct buf *out)
{
    struct cesql_value value;
    struct diag d = {0};
    struct buf memory;
    buf_init(&memory, CESQL_BYTES_MAX);
    enum cesql_error error = cesql_evaluate(q, e, &memory, &value, &d);
    if (error) {
        buf_printf(out, "%s, ", cesql_error_name(error));
        if (d.line > 1)
            buf_printf(out, "line %d, ", d.line);
        if (d.column)
            buf_printf(out, "column %d: ", d.column);
        buf_put_str(out, d.text);
    } else if (value.type == CESQL_BOOLEAN) {
        buf_put_str(out, value.boolean ? "it is true" : "it is false");
    } else if (value.type == CESQL_INTEGER) {
        buf_printf(out, "it is %d, neither true nor false", value.integer);
    } else {
        buf_printf(out, "it is %s, neither true nor false", ce_quote(value.string).text);
    }
    buf_fini(&memory);
}

/* What the event has to show for a clause that joins nothing. */
static void put_fact(const struct filter *f, const struct ce_event *e, struct buf *out)
{
    struct slice value;
    if (f->kind == FILTER_KIND_CESQL)
        put_outcome(f->cesql, e, out);
    else if (filter_clause_value(&f->tests[0], e, &value))
        buf_printf(out, "the event has %s", ce_quote(value).text);
    else
        buf_put_str(out, "the event has none");
}

static bool joins(const struct filter *f)
{
    return f->kind >= FILTER_KIND_ALL;
}

void filter_reason(const struct filter *f, const struct ce_event *e, struct buf *out)
{
    if (filter_match(f, e))
        return;
    while (f->kind == FILTER_KIND_ALL || f->kind == FILTER_KIND_ANY) {
        const struct filter *first = f->parts[0];
        if (f->kind == FILTER_KIND_ANY && f->part_count > 1)
            buf_printf(out, "none of %u matches, the first: ", f->part_count);
        for (size_t i = 0; f->kind == FILTER_KIND_ALL && i < f->part_count; i++) {
            first = f->parts[i];
            if (!filter_match(first, e))
                break;
        }
        f = first;
    }
    if (f->kind != FILTER_KIND_NOT) {
        put_clause(f, out);
        buf_put_str(out, ": ");
        put_fact(f, e, out);
        return;
    }
    buf_put_str(out, "not ");
    put_clause(f->parts[0], out);
    buf_put_str(out, ": ");
    if (joins(f->parts[0]))
        buf_put_str(out, "that matches");
    else
        put_fact(f->parts[0], e, out);
}

static void explain(const struct filter *f, const struct ce_event *e, bool needed, int depth, struct buf *out)
{
    const bool matches = needed && filter_match(f, e);
    buf_printf(out, "%-5s%*s", !needed ? "-" : matches ? "yes" : "no", 2 * depth, "");
    put_clause(f, out);
    if (!joins(f) && needed) {
        buf_put_str(out, ": ");
        put_fact(f, e, out);
    }
    buf_put_char(out, '\n');
    for (size_t i = 0; i < f->part_count; i++) {
        explain(f->parts[i], e, needed, depth + 1, out);
        /* The first part that decides is the last one that counts. */
        if (needed && f->kind != FILTER_KIND_NOT && filter_match(f->parts[i], e) == (f->kind == FILTER_KIND_ANY))
            needed = false;
    }
}

void filter_explain(const struct filter *f, const struct ce_event *e, struct buf *out)
{
    if (f)
        explain(f, e, true, 0, out);
    else
        buf_put_str(out, "yes  everything matches\n");
}
