/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters: which events a subscription wants. The dialects of the CloudEvents Subscriptions API (subscriptions/spec.md
 * section 3.2.4: exact, prefix, suffix, all, any, not, sql) as Knative's Trigger spells them, and CESQL (cesql.h).
 *
 * A filter is compiled once and then immutable and reference counted with atomics: any thread may match with it. It
 * fails closed: what cannot be decided does not match. It does no I/O, takes no lock and allocates nothing.
 */
#ifndef LEAT_FILTER_H
#define LEAT_FILTER_H

#include "err.h"
#include "event.h"
#include "list.h"
#include "slice.h"

#define FILTER_DEPTH_MAX 32   /* nested all, any and not: deeper is a mistake or an attack */
#define FILTER_NODES_MAX 1000 /* clauses of one filter, those of its parts counted: what one event may cost */

struct filter;

enum filter_test {
    FILTER_EXACT,  /* the attribute's canonical string is the value */
    FILTER_PREFIX, /* begins with it */
    FILTER_SUFFIX, /* ends with it */
    FILTER_PRESENT /* the attribute is there and not empty; `value` is ignored (Knative's legacy filter: "") */
};
enum filter_join {
    FILTER_ALL, /* of one or more */
    FILTER_ANY, /* of one or more */
    FILTER_NOT  /* of exactly one */
};

/* One attribute against one value; an absent attribute never matches. "schemaurl" and "datamediatype" are Knative's
 * other names of the dataschema and of the datacontenttype without parameters. `name` must be [a-z0-9]+; the value of
 * exact, prefix and suffix must not be empty. Both are copied. ERR_INVALID with *d, ERR_NOMEM. */
enum err filter_attribute(enum filter_test test, struct slice name, struct slice value, struct filter **out,
                          struct diag *d) must_check;
/* Takes new references to the parts. ERR_INVALID with *d: none, more than one for NOT, or a limit above. */
enum err filter_join(enum filter_join how, struct filter *const *parts, size_t count, struct filter **out,
                     struct diag *d) must_check;
/* A CESQL expression; matches when it evaluates to true without any error. What can never be true is refused too: a
 * number, a text, unknown functions. ERR_INVALID with *d, which has line and column (in characters, from 1). */
enum err filter_cesql(struct slice text, struct filter **out, struct diag *d) must_check;

struct filter *filter_ref(struct filter *f);
/* NULL is fine; NULL back. */
struct filter *filter_unref(struct filter *f);

/* NULL matches everything. */
bool filter_match(const struct filter *f, const struct ce_event *e);
/* One line that says why the event does not match: the first clause that decided, what it wanted and what the event
 * has. Nothing when it matches. */
void filter_reason(const struct filter *f, const struct ce_event *e, struct buf *out);
/* The whole filter as an indented tree, each clause with yes, no or - (not needed), its value in the event, and the
 * errors of CESQL. */
void filter_explain(const struct filter *f, const struct ce_event *e, struct buf *out);

/* ---- many filters at once ---- */

/* An index over filters: an event costs what it matches, not how many filters there are. A filter that demands exact
 * values (alone, or as a part of every way to match it) is found by one of them; the others are tried one by one. One
 * thread at a time. */
struct filter_index;

/* Lies in the owner's structure while it is in an index; all private but `filter`. */
struct filter_entry {
    struct list link;
    struct filter *filter; /* a reference of the index; NULL: everything matches */
    void *place;
};

enum err filter_index_new(struct filter_index **out) must_check;
/* Entries must have been removed. NULL is fine. */
void filter_index_free(struct filter_index *x);
/* Cannot fail: without memory the entry is tried for every event, which is slower and as right. */
void filter_index_add(struct filter_index *x, struct filter_entry *entry, struct filter *f);
void filter_index_remove(struct filter_index *x, struct filter_entry *entry);
/* Calls hit for each entry that matches, in no particular order. hit must not change the index. */
void filter_index_match(const struct filter_index *x, const struct ce_event *e,
                        void (*hit)(void *arg, struct filter_entry *entry), void *arg);

#endif
