/* SPDX-License-Identifier: Apache-2.0
 *
 * Checking one object: where the check stands (path, place), and what it finds. Used by the schemas (schema.c) and the
 * rules beyond them (rules.c).
 */
#ifndef LEAT_BROKER_RESOURCE_CHECK_H
#define LEAT_BROKER_RESOURCE_CHECK_H

#include "resource.h"
#include "tree.h"

#define PROBLEMS_MAX 200 /* more does not help anybody; a hostile text could make a hundred thousand */

/* Appends a problem; `file`, `object` and `path` may be NULL. Beyond PROBLEMS_MAX only the count of errors grows.
 * ERR_NOMEM alone fails. */
enum err problem_add(struct problems *p, bool warning, const char *file, struct place at, const char *object,
                     const char *path, const char *text) must_check;

struct check {
    struct problems *problems;
    const char *file;            /* NULL: not from a file */
    const struct places *places; /* NULL: not known */
    const char *object;          /* "Channel default/orders" */
    const char *namespace_name;  /* of objects that name none */
    const char *own_namespace;   /* of the object, once its metadata have been checked */
    bool prune;                  /* fields that are not known are left out, with a warning */
    bool asked;                  /* somebody writes it over the API and can mend it: what cannot run is refused */
    bool secret;                 /* values must not be repeated in problems */
    bool nomem;
    size_t path_len;
    char path[600]; /* "spec.delivery.retry"; cut when longer */
};

/* Goes down into a member or an element; returns what path_up takes to come back. */
size_t path_down(struct check *c, const char *name);
size_t path_down_index(struct check *c, size_t index);
void path_up(struct check *c, size_t before);

/* What is wrong with this node (at its own place, or at its key's), at the present path. */
void check_error(struct check *c, const cJSON *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
void check_error_key(struct check *c, const cJSON *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
void check_warn(struct check *c, const cJSON *node, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Gives the error that was found last its reason (struct problem; static). */
void check_reason(struct check *c, const char *reason);

/* A field that is left out, at the present path. */
void check_unknown(struct check *c, const cJSON *node);

/* The whole object: apiVersion, kind and metadata apart, the kind's schema for the rest. */
void schema_apply_object(struct check *c, const struct kind *kind, cJSON *object);

/* Its status alone. */
void schema_apply_status(struct check *c, const struct kind *kind, cJSON *object);

/* What schemas cannot say: names, durations, URLs, either-or. */
void rules_apply(struct check *c, const struct kind *kind, cJSON *object);
/* What may not change between two versions of an object; the diag names the field. */
enum err rules_immutable(const struct kind *kind, const cJSON *before, const cJSON *after, struct diag *d) must_check;

/* The closest of several words, when it is close enough to be meant; else NULL. */
const char *word_near(const char *word, const char *const *words, size_t count);

/* A member as the reader wants it; NULL when it is missing or of another type. */
const char *json_text(const cJSON *object, const char *name);
const cJSON *json_object(const cJSON *object, const char *name);
const char *metadata_text(const cJSON *object, const char *name);
const char *annotation(const cJSON *object, const char *name);

/* Whether two values are the same, whatever the order of members; in about linear time, unlike cJSON_Compare (same.c).
 * Without memory members that stand in another order count as others. NULL is no value. */
bool json_same(const cJSON *a, const cJSON *b);

/* Adds a node to `object` that refers to another object's member, under its name, both of which must outlive it.
 * (cJSON's own function leaks where memory ends.) false: no memory. */
bool json_refer(cJSON *object, const cJSON *member);

/* Whether an unknown kind is somebody else's, to be left alone (*why says so), rather than a slip in one of ours. */
bool kind_foreign(const char *api_version, const char *kind, const char **why);
/* Whether two kinds are versions of one: the same object is seen through both. */
static inline bool kind_same(const struct kind *a, const struct kind *b)
{
    return a == b || (strcmp(a->kind, b->kind) == 0 && strcmp(a->group, b->group) == 0);
}
/* Whether users may write its status: kinds that others fill elsewhere. */
bool kind_status_kept(const struct kind *kind);

#endif
