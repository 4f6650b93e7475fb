/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of paths in an object, as metadata.managedFields has them (meta.k8s.io/v1, FieldsV1): a tree of path elements,
 * each of which may be a member itself. Sets are values: once made they never change and may share parts; all of one
 * piece of work lie in its arena and end with it. NULL is the empty set. Pure, no thread.
 *
 *     f:NAME  a member of a mapping      k:{"name":"a"}  an element of a list by its keys
 *     v:VALUE an element of a list that is a set         i:N an element by its place
 */
#ifndef LEAT_BROKER_API_FIELDS_H
#define LEAT_BROKER_API_FIELDS_H

#include <cjson/cJSON.h>

#include "../resource/arena.h"
#include "buf.h"
#include "err.h"

#define FIELDS_DEPTH_MAX                                                                                               \
    40 /* what lies deeper is owned as a whole; schemas nest some ten levels, readers refuse 64                        \
        */

struct fields {
    const char *name; /* the path element as written */
    bool member;
    const struct fields *next, *child; /* both sorted by name, each name once */
};

struct fields_work {
    struct arena *arena;
    bool nomem; /* sticky: then sets made since are of no use */
};

/* A list under construction: nodes are appended in order of names. */
struct fields_list {
    const struct fields *first;
    struct fields *last;
};
/* Appends a node, unless it would say nothing (no member, no child). */
void fields_append(struct fields_work *w, struct fields_list *l, const char *name, bool member,
                   const struct fields *child);

const struct fields *fields_union(struct fields_work *w, const struct fields *a, const struct fields *b);
/* The members of `a` that are not members of `b`; and those that are. */
const struct fields *fields_minus(struct fields_work *w, const struct fields *a, const struct fields *b);
const struct fields *fields_common(struct fields_work *w, const struct fields *a, const struct fields *b);
/* With every node that has children as a member too. */
const struct fields *fields_with_parents(struct fields_work *w, const struct fields *a);
bool fields_equal(const struct fields *a, const struct fields *b);

/* FieldsV1 to a set. ERR_INVALID: it is none. ERR_NOMEM. */
enum err fields_read(struct fields_work *w, const cJSON *tree, const struct fields **out) must_check;
void fields_put(const struct fields *set, struct buf *out);
/* Tells of each member, in order, with its path as people read it: ".spec.steps[name=\"a\"].uri". */
typedef void fields_told_fn(void *arg, const char *path);
void fields_each(const struct fields *set, fields_told_fn *told, void *arg);

#endif
