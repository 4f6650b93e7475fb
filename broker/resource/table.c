/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of resources: entries sorted by kind, namespace and name, each allocated by itself so that pointers to it
 * stay good until it goes. One counter of versions for all: every write takes the next number, a write that changes
 * nothing takes none.
 *
 * An entry belongs to a file (origin) or to the API. A file's objects change only by resource_table_sync
 * (table_sync.c). Every write prepares what could fail, writes it to the store (table_kept.c), and only then changes
 * the first entry, which cannot fail.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "array.h"
#include "buf.h"
#include "check.h"
#include "manifest.h"
#include "prng.h"
#include "table.h"

enum err resource_table_new(const struct clock *clock, struct resource_table **out)
{
    struct resource_table *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->clock = clock;
    prng_seed_system(&t->prng);
    map_init(&t->faults, FAULTS_MAX);
    map_init(&t->absent, SIZE_MAX);
    *out = t;
    return OK;
}

void resource_table_name_uids(struct resource_table *t)
{
    assert(t->count == 0);
    t->named_uids = true;
}

void entry_free(struct entry *e)
{
    if (!e)
        return;
    free(e->object);
    free(e->status);
    free(e->next_status);
    cJSON_Delete(e->others);
    cJSON_free(e->managed);
    cJSON_free(e->next_managed);
    free(e->origin);
    free(e->cursor);
    free(e);
}

void resource_table_free(struct resource_table *t)
{
    for (size_t i = 0; t && i < t->count; i++)
        entry_free(t->entries[i]);
    if (t) {
        faults_fini(t);
        kept_fini(t);
        free(t->entries);
    }
    free(t);
}

uint64_t resource_table_version(const struct resource_table *t)
{
    return t->version;
}

/* ---- order and search ---- */

/* Kinds that are versions of one sort as one: by what the first of them is. */
static int compare_kinds(const struct kind *a, const struct kind *b)
{
    int order = strcmp(a->group, b->group);
    return order ? order : strcmp(a->kind, b->kind);
}

static int compare(const struct kind *kind, const char *ns, const char *name, const struct resource *r)
{
    int order = compare_kinds(kind, r->kind);
    order = order ? order : strcmp(ns, r->namespace_name);
    return order ? order : strcmp(name, r->name);
}

/* Index of the first entry that does not sort before. */
static size_t lower(const struct resource_table *t, const struct kind *kind, const char *ns, const char *name)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(kind, ns, name, &t->entries[middle]->public) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct entry *table_find(const struct resource_table *t, const struct kind *kind, const char *ns, const char *name)
{
    size_t i = lower(t, kind, ns, name);
    return i < t->count && compare(kind, ns, name, &t->entries[i]->public) == 0 ? t->entries[i] : NULL;
}

const struct resource *resource_get(const struct resource_table *t, const struct kind *kind, const char *namespace_name,
                                    const char *name)
{
    const struct entry *e = table_find(t, kind, kind->namespaced && namespace_name ? namespace_name : "", name);
    return e ? &e->public : NULL;
}

const struct resource *resource_next(const struct resource_table *t, const struct kind *kind,
                                     const char *namespace_name, size_t *cursor)
{
    /* Where the cursor stands among its kind already, nothing is looked for. */
    if (kind && *cursor < t->count && !kind_same(kind, t->entries[*cursor]->public.kind)) {
        size_t first = lower(t, kind, "", "");
        if (*cursor < first)
            *cursor = first;
    }
    for (; *cursor < t->count; (*cursor)++) {
        const struct resource *r = &t->entries[*cursor]->public;
        if (kind && !kind_same(kind, r->kind))
            return NULL;
        if (namespace_name && strcmp(r->namespace_name, namespace_name) != 0)
            continue;
        (*cursor)++;
        return r;
    }
    return NULL;
}

bool resource_uid_is_there(const struct resource_table *t, const char *uid)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->entries[i]->public.uid, uid) == 0)
            return true;
    }
    return false;
}

size_t resource_behind(const struct resource_table *t, const struct kind *kind, const char *namespace_name,
                       const char *name)
{
    size_t i = lower(t, kind, namespace_name, name);
    return i < t->count && compare(kind, namespace_name, name, &t->entries[i]->public) == 0 ? i + 1 : i;
}

/* ---- putting entries in ---- */

void resource_table_listen(struct resource_table *t, resource_told_fn *told, void *arg)
{
    t->told = told;
    t->told_arg = arg;
}

void resource_table_listen_status(struct resource_table *t, resource_status_fn *told, void *arg)
{
    t->status_told = told;
    t->status_arg = arg;
}

static void version_take(struct resource_table *t, struct entry *e, enum resource_change change, const cJSON *before)
{
    e->public.version = ++t->version;
    object_version_set(e->object, e->public.version);
    if (t->told)
        t->told(t->told_arg, &e->public, change, before);
}

void table_version_take(struct resource_table *t, struct entry *e, const cJSON *before)
{
    version_take(t, e, e->told ? RESOURCE_MODIFIED : RESOURCE_ADDED, before);
    e->told = true;
}

bool table_reserve(struct resource_table *t, size_t more)
{
    return array_reserve(&t->entries, &t->cap, t->count + more, sizeof(struct entry *));
}

void table_insert(struct resource_table *t, struct entry *e)
{
    size_t i = lower(t, e->public.kind, e->public.namespace_name, e->public.name);
    assert(t->count < t->cap);
    memmove(&t->entries[i + 1], &t->entries[i], (t->count - i) * sizeof *t->entries);
    t->entries[i] = e;
    t->count++;
}

void table_take_out(struct resource_table *t, size_t i, bool for_good)
{
    struct entry *e = t->entries[i];
    memmove(&t->entries[i], &t->entries[i + 1], (t->count - i - 1) * sizeof *t->entries);
    t->count--;
    version_take(t, e, RESOURCE_DELETED, NULL);
    e->told = false; /* of one that comes back the listener is told that it comes */
    if (!for_good)
        return;
    entry_cursor_leave(t, e);
    entry_free(e);
}

struct entry *entry_new(struct resource_table *t, const struct kind *kind, cJSON *object, const char *origin)
{
    struct entry *e = calloc(1, sizeof *e);
    char *copy = origin ? strdup(origin) : NULL;
    if (!e || (origin && !copy) || !object_begin(t, kind, object)) {
        free(copy);
        free(e);
        return NULL;
    }
    e->origin = copy;
    e->public.kind = kind;
    e->public.object = object;
    entry_view(e);
    return e;
}

bool entry_flatten(struct entry *e)
{
    cJSON *flat = flat_new(e->public.object);
    if (!flat)
        return false;
    e->public.object = e->object = flat;
    entry_view(e);
    return true;
}

void entry_replace(struct resource_table *t, struct entry *e, const struct kind *kind, cJSON *object)
{
    cJSON *before = e->object;
    e->public.object = e->object = object;
    e->public.kind = kind;
    e->public.quarantined = false;
    entry_managed_keep(e);
    entry_view(e);
    table_version_take(t, e, before);
    free(before);
}

/* ---- the API ---- */

enum err resource_owned(const struct resource *r, struct diag *d)
{
    return diag_set(d, ERR_CONFLICT, "%s.%s \"%s\" belongs to the file %s; change it there", r->kind->plural,
                    r->kind->group, r->name, r->origin);
}

/* "channels.messaging.knative.dev", "secrets" */
static void resource_words(const struct kind *kind, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", kind->plural, *kind->group ? "." : "", kind->group);
}

static bool name_generate(struct resource_table *t, cJSON *object)
{
    static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    const char *prefix = json_text(metadata, "generateName");
    char name[260];
    if (json_text(metadata, "name") || !prefix)
        return true;
    int n = snprintf(name, sizeof name - 6, "%s", prefix);
    size_t at = n < (int)sizeof name - 6 ? (size_t)n : sizeof name - 7;
    for (size_t i = 0; i < 5; i++)
        name[at++] = letters[prng_below(&t->prng, sizeof letters - 1)];
    name[at] = 0;
    return object_text_set(metadata, "name", name);
}

/* All of a creation but the store. */
static enum err create_begin(struct resource_table *t, const struct kind *kind, cJSON *object, struct entry **out,
                             struct diag *d)
{
    char words[200];
    kind = kind->stored;
    resource_words(kind, words, sizeof words);
    if (!name_generate(t, object))
        return diag_set(d, ERR_NOMEM, "no memory");
    const char *name = metadata_text(object, "name"), *ns = metadata_text(object, "namespace");
    if (!name || !*name)
        return diag_set(d, ERR_INVALID, "metadata.name: an object needs a name");
    const struct entry *there = table_find(t, kind, kind->namespaced && ns ? ns : "", name);
    if (there)
        return diag_set(d, ERR_EXISTS, "%s \"%s\" already exists%s%s", words, name,
                        there->origin ? "; it belongs to the file " : "", there->origin ? there->origin : "");
    *out = table_reserve(t, 1) ? entry_new(t, kind, object, NULL) : NULL;
    if (!*out)
        return diag_set(d, ERR_NOMEM, "no memory");
    object_version_set(object, t->version + 1);
    return OK;
}

enum err resource_try_create(struct resource_table *t, const struct kind *kind, cJSON *object, struct diag *d)
{
    struct entry *e = NULL;
    enum err err = create_begin(t, kind, object, &e, d);
    if (err == OK)
        entry_free(e);
    return err;
}

enum err resource_create(struct resource_table *t, const char *who, const struct kind *kind, cJSON *object,
                         const struct resource **out, struct diag *d)
{
    struct entry *e = NULL;
    enum err err = create_begin(t, kind, object, &e, d);
    if (err != OK)
        return err;
    object_managed_take(e, object);
    err = entry_flatten(e) ? kept_write(t, who, NULL, e, e->object, d) : diag_set(d, ERR_NOMEM, "no memory");
    if (err != OK) {
        entry_free(e);
        return err;
    }
    cJSON_Delete(object);
    entry_managed_keep(e);
    table_version_take(t, e, NULL);
    table_insert(t, e);
    kept_absent_forget(t, e);
    if (out)
        *out = &e->public;
    return OK;
}

/* Whether the object is the one that the writer has seen. */
static bool is_stale(const struct entry *e, const cJSON *object)
{
    const char *version = metadata_text(object, "resourceVersion"), *uid = metadata_text(object, "uid");
    return (version && *version && strcmp(version, metadata_text(e->public.object, "resourceVersion")) != 0) ||
           (uid && *uid && strcmp(uid, e->public.uid) != 0);
}

/* All of a replacement but the store; *changed false: there is nothing to do. */
static enum err replace_begin(struct resource_table *t, const struct kind *kind, cJSON *object, struct entry **out,
                              bool *changed, struct diag *d)
{
    char words[200];
    const char *name = metadata_text(object, "name"), *ns = metadata_text(object, "namespace");
    resource_words(kind, words, sizeof words);
    struct entry *e = name ? table_find(t, kind, kind->namespaced && ns ? ns : "", name) : NULL;
    if (!e)
        return diag_set(d, ERR_NOTFOUND, "%s \"%s\" not found", words, name ? name : "");
    if (e->origin)
        return resource_owned(&e->public, d);
    if (is_stale(e, object))
        return diag_set(d, ERR_CONFLICT,
                        "Operation cannot be fulfilled on %s \"%s\": the object has been modified; please apply your "
                        "changes to the latest version and try again",
                        words, name);
    enum err err = e->public.quarantined ? OK : rules_immutable(kind, e->public.object, object, d);
    if (err != OK)
        return err;
    *changed = true;
    if (!object_continue(e, object, changed))
        return diag_set(d, ERR_NOMEM, "no memory");
    *changed = *changed || object_managed_differs(e, object);
    object_version_set(object, *changed ? t->version + 1 : e->public.version);
    *out = e;
    return OK;
}

enum err resource_try_replace(struct resource_table *t, const struct kind *kind, cJSON *object, struct diag *d)
{
    struct entry *e = NULL;
    bool changed;
    enum err err = replace_begin(t, kind, object, &e, &changed, d);
    if (err == OK && ((e->status && !e->public.quarantined && !resource_status_add(&e->public, object)) ||
                      !object_text_set(cJSON_GetObjectItemCaseSensitive(object, "metadata"), "resourceVersion",
                                       metadata_text(e->public.object, "resourceVersion"))))
        err = diag_set(d, ERR_NOMEM, "no memory");
    return err;
}

enum err resource_replace(struct resource_table *t, const char *who, const struct kind *kind, cJSON *object,
                          const struct resource **out, struct diag *d)
{
    struct entry *e = NULL;
    bool changed = true;
    enum err err = replace_begin(t, kind, object, &e, &changed, d);
    if (err != OK)
        return err;
    if (changed) {
        object_managed_take(e, object);
        cJSON *flat = flat_new(object);
        err = flat ? kept_write(t, who, e, e, flat, d) : diag_set(d, ERR_NOMEM, "no memory");
        if (err != OK) {
            free(flat);
            entry_managed_forget(e);
            return err;
        }
        if (e->public.quarantined)
            entry_status_set(e, NULL);
        entry_replace(t, e, kind->stored, flat);
    }
    cJSON_Delete(object);
    if (out)
        *out = &e->public;
    return OK;
}

enum err resource_delete(struct resource_table *t, const char *who, const struct kind *kind, const char *namespace_name,
                         const char *name, struct diag *d)
{
    char words[200];
    const char *ns = kind->namespaced && namespace_name ? namespace_name : "";
    resource_words(kind, words, sizeof words);
    struct entry *e = table_find(t, kind, ns, name);
    if (!e)
        return diag_set(d, ERR_NOTFOUND, "%s \"%s\" not found", words, name);
    if (e->origin)
        return resource_owned(&e->public, d);
    enum err err = kept_write(t, who, e, e, NULL, d);
    if (err == OK)
        table_take_out(t, lower(t, kind, ns, name), true);
    return err;
}

enum err resource_mark_deleted(struct resource_table *t, const char *who, const struct resource *r, struct diag *d)
{
    struct entry *e = entry_of(r);
    if (e->origin)
        return resource_owned(&e->public, d);
    if (metadata_text(r->object, "deletionTimestamp"))
        return OK;
    cJSON *object = cJSON_Duplicate(r->object, true),
          *flat = object && object_mark_deleted(t, object) ? flat_new(object) : NULL;
    enum err err = flat ? OK : diag_set(d, ERR_NOMEM, "no memory");
    cJSON_Delete(object);
    if (err == OK) {
        object_version_set(flat, t->version + 1);
        err = kept_write(t, who, e, e, flat, d);
    }
    if (err == OK)
        entry_replace(t, e, r->kind, flat);
    else
        free(flat);
    return err;
}
