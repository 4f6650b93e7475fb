/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of resources: entries sorted by kind, namespace and name, each allocated by itself so that pointers to it
 * stay good until it goes. One counter of versions for all: every write takes the next number, a write that changes
 * nothing takes none.
 *
 * An entry belongs to a file (origin) or to the API. A file's objects change only by resource_table_sync, which
 * prepares everything that could fail before it changes the first entry.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "check.h"
#include "manifest.h"
#include "prng.h"
#include "table.h"
#include "text.h"

#define META_KEPT_COUNT 3
static const char *const meta_kept[META_KEPT_COUNT] = {"uid", "creationTimestamp", "generation"};

enum err resource_table_new(const struct clock *clock, struct resource_table **out)
{
    struct resource_table *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->clock = clock;
    prng_seed_system(&t->prng);
    map_init(&t->faults, FAULTS_MAX);
    *out = t;
    return OK;
}

static void entry_free(struct entry *e)
{
    if (!e)
        return;
    cJSON_Delete(e->public.object);
    cJSON_Delete(e->next_status);
    free(e->origin);
    free(e);
}

void resource_table_free(struct resource_table *t)
{
    for (size_t i = 0; t && i < t->count; i++)
        entry_free(t->entries[i]);
    if (t) {
        faults_fini(t);
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

static struct entry *find(const struct resource_table *t, const struct kind *kind, const char *ns, const char *name)
{
    size_t i = lower(t, kind, ns, name);
    return i < t->count && compare(kind, ns, name, &t->entries[i]->public) == 0 ? t->entries[i] : NULL;
}

const struct resource *resource_get(const struct resource_table *t, const struct kind *kind, const char *namespace_name,
                                    const char *name)
{
    const struct entry *e = find(t, kind, kind->namespaced && namespace_name ? namespace_name : "", name);
    return e ? &e->public : NULL;
}

const struct resource *resource_next(const struct resource_table *t, const struct kind *kind,
                                     const char *namespace_name, size_t *cursor)
{
    if (kind && *cursor == 0)
        *cursor = lower(t, kind, "", "");
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

/* ---- metadata ---- */

static bool text_set(cJSON *object, const char *name, const char *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    return cJSON_AddStringToObject(object, name, value) != NULL;
}

static bool number_set(cJSON *object, const char *name, double value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    return cJSON_AddNumberToObject(object, name, value) != NULL;
}

bool table_now(const struct resource_table *t, char *out, size_t size)
{
    struct buf b;
    buf_init(&b, size - 1);
    rfc3339_put(&b, clock_wall_ns(t->clock), 0);
    bool good = buf_error(&b) == OK;
    if (good) {
        memcpy(out, b.ptr, b.len);
        out[b.len] = 0;
    }
    buf_fini(&b);
    return good;
}

/* Points the public view into the object. */
static void view(struct entry *e)
{
    struct resource *r = &e->public;
    const char *ns = metadata_text(r->object, "namespace");
    r->namespace_name = r->kind->namespaced && ns ? ns : "";
    r->name = metadata_text(r->object, "name");
    r->uid = metadata_text(r->object, "uid");
    r->origin = e->origin;
    assert(r->name && r->uid);
}

/* Room for the longest number, so that putting a version in force cannot fail. */
static bool version_reserve(cJSON *object)
{
    return text_set(cJSON_GetObjectItemCaseSensitive(object, "metadata"), "resourceVersion", "18446744073709551615");
}

static void version_take(struct resource_table *t, struct entry *e)
{
    cJSON *v = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(e->public.object, "metadata"),
                                                "resourceVersion");
    assert(v);
    e->public.version = ++t->version;
    snprintf(v->valuestring, strlen("18446744073709551615") + 1, "%llu", (unsigned long long)e->public.version);
}

/* Gives a new object what the server gives: uid, time, generation 1, a room for its version, the namespace's phase. */
static bool object_begin(struct resource_table *t, const struct kind *kind, cJSON *object)
{
    char uid[37], now[40];
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    prng_uuid(&t->prng, uid);
    bool good = table_now(t, now, sizeof now) && text_set(metadata, "uid", uid) &&
                text_set(metadata, "creationTimestamp", now) && number_set(metadata, "generation", 1) &&
                version_reserve(object);
    if (good && kind->group[0] == 0 && strcmp(kind->kind, "Namespace") == 0) {
        cJSON_DeleteItemFromObjectCaseSensitive(object, "status");
        good = cJSON_AddStringToObject(cJSON_AddObjectToObject(object, "status"), "phase", "Active") != NULL;
    }
    return good;
}

static bool head_only(const char *name)
{
    return strcmp(name, "metadata") == 0 || strcmp(name, "status") == 0;
}

/* Whether the objects differ outside of metadata and status (or the status of kinds whose status users write). */
static bool spec_differs(const struct kind *kind, const cJSON *a, const cJSON *b)
{
    const cJSON *each;
    for (int turn = 0; turn < 2; turn++, each = NULL) {
        const cJSON *x = turn ? b : a, *y = turn ? a : b;
        cJSON_ArrayForEach(each, x) {
            if (head_only(each->string) &&
                !(kind_status_kept(kind) && strcmp(each->string, "status") == 0 && kind->group[0]))
                continue;
            const cJSON *other = cJSON_GetObjectItemCaseSensitive(y, each->string);
            if (!other || !cJSON_Compare(each, other, true))
                return true;
        }
    }
    return false;
}

static bool is_served(const char *name)
{
    static const char *const served[] = {"uid",           "creationTimestamp", "generation", "resourceVersion",
                                         "managedFields", "selfLink"};
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++)
        if (strcmp(name, served[i]) == 0)
            return true;
    return false;
}

/* Whether what users write of metadata differs: labels, annotations ... */
static bool metadata_differs(const cJSON *a, const cJSON *b)
{
    const cJSON *am = json_object(a, "metadata"), *bm = json_object(b, "metadata"), *each;
    for (int turn = 0; turn < 2; turn++) {
        const cJSON *side = turn ? bm : am;
        cJSON_ArrayForEach(each, side) {
            const cJSON *other = cJSON_GetObjectItemCaseSensitive(turn ? am : bm, each->string);
            if (!is_served(each->string) && (!other || !cJSON_Compare(each, other, true)))
                return true;
        }
    }
    return false;
}

/* A copy of `value` under this name, in place of what is there. */
static bool copy_set(cJSON *object, const char *name, const cJSON *value)
{
    cJSON *copy = cJSON_Duplicate(value, true);
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    if (copy && cJSON_AddItemToObject(object, name, copy))
        return true;
    cJSON_Delete(copy);
    return false;
}

/* Makes `object` the next state of `old`: what the server keeps is carried over. *changed false: there is nothing to
 * do. */
static bool object_continue(const struct entry *old, cJSON *object, bool *changed)
{
    const struct kind *kind = old->public.kind;
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    const cJSON *before = json_object(old->public.object, "metadata"),
                *status = cJSON_GetObjectItemCaseSensitive(old->public.object, "status");
    bool spec = spec_differs(kind, old->public.object, object), good = true;
    *changed = spec || metadata_differs(old->public.object, object);
    for (size_t i = 0; i < META_KEPT_COUNT && good; i++)
        good = copy_set(metadata, meta_kept[i], cJSON_GetObjectItemCaseSensitive(before, meta_kept[i]));
    if (good && spec) {
        cJSON *generation = cJSON_GetObjectItemCaseSensitive(metadata, "generation");
        cJSON_SetNumberValue(generation, generation->valuedouble + 1);
    }
    if (good && status && (kind->has_status || !cJSON_GetObjectItemCaseSensitive(object, "status")))
        good = copy_set(object, "status", status);
    return good && version_reserve(object);
}

/* ---- putting entries in ---- */

static bool reserve(struct resource_table *t, size_t more)
{
    if (t->count + more <= t->cap)
        return true;
    size_t cap = (t->count + more) * 2;
    struct entry **grown = realloc(t->entries, cap * sizeof *grown);
    if (!grown)
        return false;
    t->entries = grown;
    t->cap = cap;
    return true;
}

/* There is room. */
static void insert(struct resource_table *t, struct entry *e)
{
    size_t i = lower(t, e->public.kind, e->public.namespace_name, e->public.name);
    assert(t->count < t->cap);
    memmove(&t->entries[i + 1], &t->entries[i], (t->count - i) * sizeof *t->entries);
    t->entries[i] = e;
    t->count++;
}

static void take_out(struct resource_table *t, size_t i)
{
    struct entry *e = t->entries[i];
    memmove(&t->entries[i], &t->entries[i + 1], (t->count - i - 1) * sizeof *t->entries);
    t->count--;
    t->version++;
    entry_free(e);
}

/* Takes `object` over on success only. */
static struct entry *entry_new(struct resource_table *t, const struct kind *kind, cJSON *object, const char *origin)
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
    view(e);
    return e;
}

static void entry_replace(struct resource_table *t, struct entry *e, const struct kind *kind, cJSON *object)
{
    cJSON_Delete(e->public.object);
    e->public.object = object;
    e->public.kind = kind;
    view(e);
    version_take(t, e);
}

/* ---- files ---- */

struct change {
    struct entry *old;       /* NULL: a new one */
    struct entry *fresh;     /* the new one */
    cJSON *object;           /* the next state of `old`; NULL: unchanged */
    const struct kind *kind; /* of the next state: another version of the old one's, perhaps */
    char *origin;            /* likewise */
};

static bool sync_problem(struct problems *p, const struct manifest_item *m, const char *text)
{
    char label[400];
    const char *ns = metadata_text(m->object, "namespace"), *name = metadata_text(m->object, "name");
    snprintf(label, sizeof label, "%s %s%s%s", m->kind->kind, ns ? ns : "", ns ? "/" : "", name ? name : "");
    return problem_add(p, false, m->file, m->at, label, NULL, text) == OK;
}

/* One object of the manifest against the table. */
static enum err prepare(struct resource_table *t, const struct manifest_item *m, struct change *c, struct problems *p)
{
    const char *name = metadata_text(m->object, "name"), *ns = metadata_text(m->object, "namespace");
    struct diag d = {0};
    if (!name) /* generateName means nothing in a file: each load would make another object */
        return sync_problem(p, m, "an object in a file needs metadata.name") ? ERR_CONFLICT : ERR_NOMEM;
    struct entry *old = find(t, m->kind, m->kind->namespaced && ns ? ns : "", name);
    if (old && !old->origin)
        return sync_problem(p, m, "was made over the API already; delete it there, or take it out of the file")
                   ? ERR_CONFLICT
                   : ERR_NOMEM;
    if (old && rules_immutable(m->kind, old->public.object, m->object, &d) != OK)
        return sync_problem(p, m, d.text) ? ERR_CONFLICT : ERR_NOMEM;
    cJSON *object = cJSON_Duplicate(m->object, true);
    bool changed = true;
    if (!object)
        return ERR_NOMEM;
    c->old = old;
    c->kind = m->kind;
    if (!old) {
        c->fresh = entry_new(t, m->kind, object, m->file ? m->file : "-");
    } else if (object_continue(old, object, &changed)) {
        c->object = object;
        c->origin = strdup(m->file ? m->file : "-");
    }
    if (!c->fresh && (!c->object || !c->origin)) {
        if (!c->object)
            cJSON_Delete(object);
        return ERR_NOMEM;
    }
    if (!changed && old->public.kind == m->kind) {
        cJSON_Delete(c->object);
        c->object = NULL;
    }
    return OK;
}

static void commit(struct resource_table *t, struct change *c)
{
    struct entry *e = c->old ? c->old : c->fresh;
    e->seen = true;
    if (c->old) {
        free(e->origin);
        e->origin = c->origin;
        e->public.origin = e->origin;
        if (c->object)
            entry_replace(t, e, c->kind, c->object);
    } else {
        version_take(t, e);
        insert(t, e);
    }
}

enum err resource_table_sync(struct resource_table *t, const struct manifest *m, struct problems *p)
{
    struct change *changes = calloc(m->count + 1, sizeof *changes);
    enum err result = changes && reserve(t, m->count) ? OK : ERR_NOMEM;
    for (size_t i = 0; i < m->count && result != ERR_NOMEM; i++) {
        enum err e = prepare(t, &m->items[i], &changes[i], p);
        result = e == OK ? result : e;
    }
    for (size_t i = 0; changes && i < m->count; i++) {
        if (result == OK) {
            commit(t, &changes[i]);
        } else {
            entry_free(changes[i].fresh);
            cJSON_Delete(changes[i].object);
            free(changes[i].origin);
        }
    }
    free(changes);
    for (size_t i = t->count; result == OK && i > 0; i--) {
        struct entry *e = t->entries[i - 1];
        if (e->origin && !e->seen)
            take_out(t, i - 1);
        else
            e->seen = false;
    }
    return result;
}

/* ---- the API ---- */

static enum err owned(const struct entry *e, struct diag *d)
{
    const struct resource *r = &e->public;
    return diag_set(d, ERR_CONFLICT, "%s.%s \"%s\" belongs to the file %s; change it there", r->kind->plural,
                    r->kind->group, r->name, e->origin);
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
    return text_set(metadata, "name", name);
}

enum err resource_create(struct resource_table *t, const struct kind *kind, cJSON *object, const struct resource **out,
                         struct diag *d)
{
    char words[200];
    resource_words(kind, words, sizeof words);
    if (!name_generate(t, object))
        return ERR_NOMEM;
    const char *name = metadata_text(object, "name"), *ns = metadata_text(object, "namespace");
    if (!name || !*name)
        return diag_set(d, ERR_INVALID, "metadata.name: an object needs a name");
    if (find(t, kind, kind->namespaced && ns ? ns : "", name))
        return diag_set(d, ERR_EXISTS, "%s \"%s\" already exists", words, name);
    struct entry *e = reserve(t, 1) ? entry_new(t, kind, object, NULL) : NULL;
    if (!e)
        return diag_set(d, ERR_NOMEM, "no memory");
    version_take(t, e);
    insert(t, e);
    if (out)
        *out = &e->public;
    return OK;
}

enum err resource_replace(struct resource_table *t, const struct kind *kind, cJSON *object, const struct resource **out,
                          struct diag *d)
{
    char words[200];
    const char *name = metadata_text(object, "name"), *ns = metadata_text(object, "namespace"),
               *version = metadata_text(object, "resourceVersion"), *uid = metadata_text(object, "uid");
    resource_words(kind, words, sizeof words);
    struct entry *e = name ? find(t, kind, kind->namespaced && ns ? ns : "", name) : NULL;
    if (!e)
        return diag_set(d, ERR_NOTFOUND, "%s \"%s\" not found", words, name ? name : "");
    if (e->origin)
        return owned(e, d);
    if ((version && strcmp(version, metadata_text(e->public.object, "resourceVersion")) != 0) ||
        (uid && strcmp(uid, e->public.uid) != 0))
        return diag_set(d, ERR_CONFLICT,
                        "Operation cannot be fulfilled on %s \"%s\": the object has been modified; please apply your "
                        "changes to the latest version and try again",
                        words, name);
    enum err err = rules_immutable(kind, e->public.object, object, d);
    if (err != OK)
        return err;
    bool changed = true;
    if (!object_continue(e, object, &changed))
        return diag_set(d, ERR_NOMEM, "no memory");
    if (changed || e->public.kind != kind)
        entry_replace(t, e, kind, object);
    else
        cJSON_Delete(object);
    if (out)
        *out = &e->public;
    return OK;
}

enum err resource_delete(struct resource_table *t, const struct kind *kind, const char *namespace_name,
                         const char *name, struct diag *d)
{
    char words[200];
    const char *ns = kind->namespaced && namespace_name ? namespace_name : "";
    resource_words(kind, words, sizeof words);
    struct entry *e = find(t, kind, ns, name);
    if (!e)
        return diag_set(d, ERR_NOTFOUND, "%s \"%s\" not found", words, name);
    if (e->origin)
        return owned(e, d);
    take_out(t, lower(t, kind, ns, name));
    return OK;
}

/* ---- status ---- */

enum err resource_set_status(struct resource_table *t, const struct resource *r, cJSON *status)
{
    struct entry *e = find(t, r->kind, r->namespace_name, r->name);
    assert(e && &e->public == r);
    const cJSON *old = cJSON_GetObjectItemCaseSensitive(e->public.object, "status");
    if (old && status && cJSON_Compare(old, status, true)) {
        cJSON_Delete(status);
        return OK;
    }
    if (!status || !version_reserve(e->public.object) || !cJSON_AddItemToObject(e->public.object, "status", status)) {
        cJSON_Delete(status);
        return ERR_NOMEM;
    }
    /* The new one is the last; the old one, which was found first till now, goes. */
    if (old)
        cJSON_Delete(cJSON_DetachItemViaPointer(e->public.object, (cJSON *)(uintptr_t)old));
    version_take(t, e);
    return OK;
}
