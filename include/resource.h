/* SPDX-License-Identifier: Apache-2.0
 *
 * Resources: what users declare, in YAML or JSON, from files or over the API. Kinds come from deploy/crds/ (embedded);
 * the table holds the objects; the plan (plan.h) is compiled from the table. All of it lives on the control loop's
 * thread (or in a command's only thread).
 */
#ifndef LEAT_RESOURCE_H
#define LEAT_RESOURCE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>

#include "clock.h"
#include "err.h"
#include "slice.h"

/* Limits of one text: a file, standard input, an API body. */
#define MANIFEST_BYTES_MAX (1u << 20) /* as Kubernetes' own store has it for an object */
#define MANIFEST_DEPTH_MAX 64         /* schemas nest some ten levels; recursion over a tree is bounded by it */
#define MANIFEST_NODES_MAX                                                                                             \
    100000 /* copies made for aliases count, so that a few hundred bytes cannot take gigabytes                         \
            */

/* ---- problems: everything that is wrong, not just the first ---- */
struct problem {
    bool warning;       /* else an error */
    bool unknown;       /* a field that no schema knows was left out (object_parse_pruned) */
    const char *reason; /* Kubernetes' word for what is wrong with the field; static; NULL: FieldValueInvalid */
    char *file;         /* NULL: not from a file */
    int line, column;   /* 0: not known */
    char *object;       /* "Channel default/orders" or NULL */
    char *path;         /* "spec.delivery.retry" or NULL */
    char *text;         /* what is wrong, what was expected, what to do */
};
struct problems {
    struct problem *list;
    size_t count, errors;
};
void problems_init(struct problems *p);
void problems_fini(struct problems *p);
/* "FILE:LINE:COL: error: Channel default/orders: spec.delivery.retry: text" without colours; appended lines. */
struct buf;
void problem_print(const struct problem *p, struct buf *out);
/* All of them, a line each. */
void problems_print(const struct problems *p, FILE *to);

/* ---- kinds ---- */
struct kind_column {
    const char *name, *type, *json_path;
    int priority;
};
struct kind {
    const char *group; /* "" for core */
    const char *version, *kind, *plural, *singular;
    const char *const *short_names; /* NULL-terminated */
    const char *const *categories;  /* NULL-terminated: "all", "knative" ... */
    const cJSON *labels;            /* of its definition, such as duck.knative.dev/source; may be NULL */
    bool namespaced;
    bool has_status;           /* has the subresource status, which only leat writes */
    const struct kind *stored; /* of several versions the one that objects are kept in; itself when it is that one */
    const cJSON *schema;       /* openAPIV3Schema */
    const struct kind_column *columns;
    size_t column_count;
};
/* Reads the embedded schemas once; false (with a diag) only when the program itself is broken. */
enum err kinds_load(struct diag *d) must_check;
void kinds_unload(void);
/* By apiVersion ("messaging.knative.dev/v1") and kind; NULL when unknown. */
const struct kind *kind_find(const char *api_version, const char *kind);
const struct kind *kind_by_plural(const char *group, const char *version, const char *plural);
/* By what a user types: plural, singular, short name, kind, "plural.group", any case; the preferred one if several
 * share it. */
const struct kind *kind_by_word(const char *word);
const struct kind *kind_at(size_t i); /* NULL after the last */
/* The definitions themselves, which can be read as Kubernetes has them: the i-th one (NULL after the last), and the
 * kind that they are of, which is none of the others. */
const cJSON *kind_definition(size_t i);
const struct kind *kind_of_definitions(void);
bool kind_is_definition(const struct kind *k);
/* core/v1 Event: kept in memory only, never in the store, of no use in a file, and nothing that a plan is made of. */
bool kind_is_passing(const struct kind *k);
/* The schema of metadata, the same for all kinds. */
const cJSON *kind_metadata_schema(void);
/* Makes an object of one version of a kind one of another of its versions (broker/resource/convert.c). What the other
 * version has no field for goes along in an annotation, and comes back from there. false: no memory; the object is then
 * of no use. */
bool object_convert(cJSON *object, const struct kind *from, const struct kind *to) must_check;
/* What a column's path leads to (broker/resource/json_path.c); NULL: nothing. */
const cJSON *json_path(const cJSON *at, const char *path);
/* A cell as text: "" when there is nothing; elements of a list with commas between; what refers to an object as
 * "kind/name", in small letters. */
struct buf;
void kind_column_put(const struct kind_column *column, const cJSON *object, struct buf *out);

/* ---- manifests ---- */
struct manifest;
/* Loads files and directories (*.yaml, *.yml, *.json, in name order, not hidden), "-" for standard input; parses,
 * defaults, validates each object and all of them together (references are not errors). Every problem is appended. OK
 * also when there are errors in `p`; only NOMEM fails. `namespace_name`: of objects that name none; NULL or "":
 * default. */
enum err manifest_load(const char *const *paths, size_t count, const char *namespace_name, struct manifest **out,
                       struct problems *p) must_check;
void manifest_free(struct manifest *m);
size_t manifest_count(const struct manifest *m);
const cJSON *manifest_object(const struct manifest *m, size_t i);
const struct kind *manifest_kind(const struct manifest *m, size_t i);
/* One JSON text (an API body, at most MANIFEST_BYTES_MAX): parsed, kind looked up, defaulted, validated. `unknown`
 * fields are errors. *out is the caller's (cJSON_Delete), in the version that is kept, *kind the one that it was
 * written in. `namespace_name` as above. */
enum err object_parse(struct slice json, const char *namespace_name, cJSON **out, const struct kind **kind,
                      struct problems *p) must_check;
/* The same, but a field that is not known is left out, with a warning that has its `unknown` set. */
enum err object_parse_pruned(struct slice json, const char *namespace_name, cJSON **out, const struct kind **kind,
                             struct problems *p) must_check;
/* A filter as a person types it: a CESQL expression, or, when it begins with { or [, one filter of a Trigger's dialects
 * or a list of them, in JSON. *out NULL: everything matches. ERR_INVALID with problems; that of an expression has its
 * line and column, in characters from 1. */
struct filter;
enum err filter_parse(struct slice text, struct filter **out, struct problems *p) must_check;
/* A cJSON tree as YAML, for `-o yaml`. */
void yaml_put(const cJSON *tree, struct buf *out);

/* ---- the table ---- */
struct resource_table;
struct resource {
    const struct kind *kind;
    const char *namespace_name; /* "" when cluster scoped */
    const char *name;
    const char *uid;
    const char *origin;  /* the file that owns it; NULL: made over the API */
    uint64_t version;    /* metadata.resourceVersion */
    bool quarantined;    /* what was stored of it is not valid: it is shown, with a condition, and takes no part */
    int64_t paused_ns;   /* wall time: since when an operator has paused its deliveries; 0: nobody has */
    const char *managed; /* metadata.managedFields as JSON, which is not in the object; NULL: nobody's */
    const cJSON *object; /* the whole of it, but for its status where only leat writes that: kind->has_status; change
                          * only through the table */
    const struct packed *status; /* that status (broker/resource/packed.h); NULL: nothing has been said */
};
/* The status, whichever place it has; *out is the caller's, NULL where there is none. false: no memory. */
bool resource_status(const struct resource *r, cJSON **out) must_check;
/* Adds the status to a copy of the object, which has it already where it is not kept apart. false: no memory. */
bool resource_status_add(const struct resource *r, cJSON *copy) must_check;
/* The object with its status; the caller's. NULL: no memory. */
cJSON *resource_whole(const struct resource *r);
enum err resource_table_new(const struct clock *clock, struct resource_table **out) must_check;
void resource_table_free(struct resource_table *t);
/* New objects get uids that are made of their kind, namespace and name (uuid.h), the same in every process and after
 * every start, where they are random else: for processes that share a bus, on which cursors are named by uid. Before
 * the first object. */
void resource_table_name_uids(struct resource_table *t);
/* Everything that is written is kept in `store` (broker/resource/store.h; outlives the table) from now on, and what is
 * there comes into the table, which is new. An object that is not valid is quarantined, and told to `said` (may be
 * NULL). ERR_NOMEM, ERR_CORRUPT, ERR_IO: the table is of no use. */
struct store;
enum err resource_table_keep(struct resource_table *t, struct store *store,
                             void (*said)(void *arg, const char *object, const char *why), void *arg,
                             struct diag *d) must_check;
/* Makes the files' objects what `m` holds, all at once: new ones appear, changed ones get a new generation, vanished
 * ones go; objects of the API stay. Before the first plan a vanished one may come back as itself for a week. `m` keeps
 * its objects (they are copied). On conflict with an object of the API: ERR_CONFLICT with a problem, nothing changed;
 * nor when the store refuses (store.h). */
enum err resource_table_sync(struct resource_table *t, const struct manifest *m, struct problems *p) must_check;
/* Over the API: `object` is taken over on OK. Its metadata.managedFields, when that is one node of raw text
 * (cJSON_CreateRaw), is taken out and stands beside it; without it they stay as they are. `who` asks for it, for the
 * trail of changes. ERR_EXISTS, ERR_NOTFOUND, ERR_CONFLICT (owned by a file, or metadata.resourceVersion stale),
 * ERR_INVALID (immutable field), or what the store says, with *d; then nothing has changed. */
enum err resource_create(struct resource_table *t, const char *who, const struct kind *kind, cJSON *object,
                         const struct resource **out, struct diag *d) must_check;
enum err resource_replace(struct resource_table *t, const char *who, const struct kind *kind, cJSON *object,
                          const struct resource **out, struct diag *d) must_check;
enum err resource_delete(struct resource_table *t, const char *who, const struct kind *kind, const char *namespace_name,
                         const char *name, struct diag *d) must_check;
/* Marks an object that has finalizers as deleted: it stays until it has none. OK also when it is so already. Errors as
 * of resource_delete. */
enum err resource_mark_deleted(struct resource_table *t, const char *who, const struct resource *r,
                               struct diag *d) must_check;
/* What these two would do, without doing it: `object` becomes what would be stored, and stays the caller's. What would
 * replace another has the version of that. */
enum err resource_try_create(struct resource_table *t, const struct kind *kind, cJSON *object,
                             struct diag *d) must_check;
enum err resource_try_replace(struct resource_table *t, const struct kind *kind, cJSON *object,
                              struct diag *d) must_check;
/* Stored objects that fit nowhere, since this program has no such kind or their name is none: told, and kept as they
 * are. */
struct stranger {
    int64_t id; /* its number in the store */
    char *group, *kind, *namespace_name, *name, *why;
};
const struct stranger *resource_strangers(const struct resource_table *t, size_t *count);
/* Deletes one. ERR_NOTFOUND, or what the store says. */
enum err resource_stranger_delete(struct resource_table *t, const char *who, int64_t id, struct diag *d) must_check;
/* An operator pauses what it delivers, or what is delivered from it, or lets that go on; files' objects too. It stays
 * so until that is taken back or the object goes. OK also when it is so already. ERR_INVALID: it delivers nothing;
 * ERR_CONFLICT: to go on, its annotation would have to change; or what the store says, with *d. */
enum err resource_pause(struct resource_table *t, const char *who, const struct resource *r, bool pause,
                        struct diag *d) must_check;
/* NULL: there is none. Quarantined ones are found by both. */
const struct resource *resource_get(const struct resource_table *t, const struct kind *kind, const char *namespace_name,
                                    const char *name);
/* In order of (namespace, name); kind NULL: all kinds; namespace_name NULL: all. `cursor` starts at 0; NULL at the end.
 */
const struct resource *resource_next(const struct resource_table *t, const struct kind *kind,
                                     const char *namespace_name, size_t *cursor);
bool resource_uid_is_there(const struct resource_table *t, const char *uid); /* it looks at all of them */
/* The cursor of resource_next behind the object of this kind, namespace and name, be it there or not. */
size_t resource_behind(const struct resource_table *t, const struct kind *kind, const char *namespace_name,
                       const char *name);
uint64_t resource_table_version(const struct resource_table *t);
/* What changes is told as it happens, to one listener: the object after the change (before its end: as it was last,
 * with the version of its deletion), and for a change of more than its status what it was before, else NULL. Neither
 * the table nor the object may be changed from there. `told` NULL: nobody listens any more. */
enum resource_change { RESOURCE_ADDED, RESOURCE_MODIFIED, RESOURCE_DELETED };
typedef void resource_told_fn(void *arg, const struct resource *r, enum resource_change change, const cJSON *before);
void resource_table_listen(struct resource_table *t, resource_told_fn *told, void *arg);
/* The status of an object is about to be another, be it of a plan, a report or the user's own: told to one listener,
 * who must not change the table from there. `before` may be NULL. `told` NULL: nobody listens any more. */
typedef void resource_status_fn(void *arg, const struct resource *r, const cJSON *before, const cJSON *after);
void resource_table_listen_status(struct resource_table *t, resource_status_fn *told, void *arg);
/* Replaces status (taken over); no new generation; a no-op takes no new version. */
enum err resource_set_status(struct resource_table *t, const struct resource *r, cJSON *status) must_check;
/* Writes what others than leat say of an object in its status: what leat says itself stays as it is, the rest becomes
 * `written` (NULL: nothing), and is kept. `managed`: metadata.managedFields as JSON, "": nobody; NULL: as it was. A
 * no-op takes no new version. ERR_CONFLICT (owned by a file), or what the store says, with *d; then nothing has
 * changed.
 */
enum err resource_write_status(struct resource_table *t, const struct resource *r, const cJSON *written,
                               const char *managed, struct diag *d) must_check;
/* The object as it would be then, without doing it; the caller's. ERR_NOMEM. */
enum err resource_try_status(const struct resource *r, const cJSON *written, cJSON **out, struct diag *d) must_check;
/* Sets one condition of status.conditions with its transition time, and Ready from the kind's dependents.
 * `reason`/`message` may be NULL. */
enum err resource_set_condition(struct resource_table *t, const struct resource *r, const char *type,
                                const char *status, const char *reason, const char *message) must_check;
/* The object that a key of the plan ("Kind.group/ns/name", or a part of it) is of; NULL: it is gone. */
const struct resource *resource_by_key(const struct resource_table *t, const char *key);
/* What runs the plan reports: what this key of the plan ("Kind.group/ns/name", or a part of it) stands for could not be
 * made; its object's condition becomes False and stays so through later plans. `reason` NULL: it could after all. A key
 * without an object is ignored. ERR_NOMEM. */
enum err resource_report(struct resource_table *t, const char *key, const char *reason, const char *message) must_check;
/* A reason for it by the error of a bus, for whoever asks by machine. */
const char *resource_report_reason(enum err err);
/* Likewise whether the subscriber behind this key takes what it gets: the condition DeliveryHealthy of a Subscription,
 * a Trigger or a source, which Ready does not depend on. Until the first report it is Unknown.
 * A part of an object, or a kind that has no such condition, is ignored. ERR_NOMEM. */
enum err resource_report_health(struct resource_table *t, const char *key, bool good, const char *reason,
                                const char *message) must_check;
/* Which of its conditions that is, by its kind; NULL: it has none such. */
const char *resource_report_condition(const struct resource *r);

#endif
