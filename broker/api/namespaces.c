/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces that nobody has made. Each namespace that is there for any reason has a room here, sorted by name:
 *
 *     made     a Namespace of the name is in the table: that is what is shown
 *     implied  it is not, but objects lie in it, or it is `default`: what is shown is made here
 *
 * A room that is neither goes. What is shown of an implied one has the version of the change that brought it, and so
 * have its records in the journal, behind that change's own: no version is taken for them, so that the table knows of
 * nothing. A Namespace that comes to an implied one, or leaves one behind, is one change of it.
 */
#include "namespaces.h"

#include <stdio.h>
#include <stdlib.h>

#include "../resource/check.h"
#include "array.h"
#include "buf.h"
#include "text.h"
#include "uuid.h"

#define ALWAYS "default"

struct room {
    char *name;            /* owned */
    size_t objects;        /* that lie in it */
    bool made, implied;    /* never both */
    char since[40];        /* the creationTimestamp of what brought it */
    struct resource shown; /* while it is implied, with what it refers to */
    cJSON *object;         /* owned */
    char uid[UUID_TEXT_BYTES];
};

struct namespaces {
    struct resource_table *table;
    struct journal *journal;
    const struct kind *kind;
    struct room **rooms; /* sorted by name */
    size_t count, cap;
    char began[40]; /* the present time at the beginning */
};

/* ---- rooms ---- */

/* Index of the first that does not sort before the name. */
static size_t lower(const struct namespaces *n, const char *name)
{
    size_t low = 0, high = n->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(n->rooms[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct room *find(const struct namespaces *n, const char *name)
{
    size_t i = lower(n, name);
    return i < n->count && strcmp(n->rooms[i]->name, name) == 0 ? n->rooms[i] : NULL;
}

static void room_free(struct room *r)
{
    cJSON_Delete(r->object);
    free(r->name);
    free(r);
}

/* The room of this name, made where there is none; NULL: no memory. */
static struct room *room_of(struct namespaces *n, const char *name)
{
    struct room *r = find(n, name);
    if (r)
        return r;
    if (!array_reserve(&n->rooms, &n->cap, n->count + 1, sizeof(struct room *)) || !(r = calloc(1, sizeof *r)))
        return NULL;
    if (!(r->name = strdup(name))) {
        free(r);
        return NULL;
    }
    size_t i = lower(n, name);
    memmove(&n->rooms[i + 1], &n->rooms[i], (n->count - i) * sizeof(struct room *));
    n->rooms[i] = r;
    n->count++;
    return r;
}

static void room_remove(struct namespaces *n, struct room *r)
{
    size_t i = lower(n, r->name);
    n->count--;
    memmove(&n->rooms[i], &n->rooms[i + 1], (n->count - i) * sizeof(struct room *));
    room_free(r);
}

static bool is_always(const char *name)
{
    return strcmp(name, ALWAYS) == 0;
}

/* Since when it is there: as the oldest of what has been seen in it; times of one form sort as text. */
static void note_since(struct room *r, const struct resource *of)
{
    const char *created = of ? metadata_text(of->object, "creationTimestamp") : NULL;
    if (created && (!r->since[0] || strcmp(created, r->since) < 0))
        snprintf(r->since, sizeof r->since, "%s", created);
}

/* ---- what is shown ---- */

static bool put_status(const struct room *r, const char *since, cJSON *object)
{
    cJSON *status = cJSON_AddObjectToObject(object, "status"),
          *conditions = status ? cJSON_AddArrayToObject(status, "conditions") : NULL, *c = cJSON_CreateObject();
    bool always = is_always(r->name);
    if (!conditions || !c || !cJSON_AddItemToArray(conditions, c)) {
        cJSON_Delete(c);
        return false;
    }
    return cJSON_AddStringToObject(status, "phase", "Active") && cJSON_AddStringToObject(c, "type", "Declared") &&
           cJSON_AddStringToObject(c, "status", "False") && cJSON_AddStringToObject(c, "lastTransitionTime", since) &&
           cJSON_AddStringToObject(c, "reason", always ? "AlwaysThere" : "HoldsObjects") &&
           cJSON_AddStringToObject(c, "message",
                                   always ? "nobody has made it: it is always there"
                                          : "nobody has made it: it is there while objects lie in it");
}

/* Drawn once: a namespace is the same one after each start. */
static bool uid_make(struct room *r)
{
    static const unsigned char space[16] = {0x2e, 0x90, 0x47, 0xc1, 0x5b, 0xd8, 0x41, 0x33,
                                            0x9f, 0x06, 0x7a, 0xe4, 0x1c, 0xb5, 0x88, 0x6d};
    return r->uid[0] || uuid_named(space, slice_str(r->name), r->uid) == OK;
}

/* What is shown of it from this version on. false: no memory. */
static bool show(struct namespaces *n, struct room *r, uint64_t version)
{
    char number[24];
    const char *since = r->since[0] ? r->since : n->began;
    snprintf(number, sizeof number, "%llu", (unsigned long long)version);
    cJSON *object = cJSON_CreateObject(), *metadata = object ? cJSON_AddObjectToObject(object, "metadata") : NULL;
    if (!metadata || !uid_make(r) || !cJSON_AddStringToObject(object, "apiVersion", "v1") ||
        !cJSON_AddStringToObject(object, "kind", "Namespace") || !cJSON_AddStringToObject(metadata, "name", r->name) ||
        !cJSON_AddStringToObject(metadata, "uid", r->uid) ||
        !cJSON_AddStringToObject(metadata, "creationTimestamp", since) ||
        !cJSON_AddStringToObject(metadata, "resourceVersion", number) || !put_status(r, since, object)) {
        cJSON_Delete(object);
        return false;
    }
    cJSON_Delete(r->object);
    r->object = object;
    r->shown = (struct resource){
        .kind = n->kind, .namespace_name = "", .name = r->name, .uid = r->uid, .version = version, .object = object};
    return true;
}

/* Into the journal; `before` NULL: the whole of it comes or goes. Without memory it is not shown, and who watches is
 * told that something is missing. */
static void tell(struct namespaces *n, struct room *r, uint64_t version, enum resource_change change,
                 const cJSON *before)
{
    r->implied = show(n, r, version);
    if (r->implied)
        journal_append(n->journal, &r->shown, change, before);
    else
        journal_lose(n->journal, version);
}

/* ---- what happens in the table ---- */

static void made(struct namespaces *n, const struct resource *of)
{
    struct room *r = room_of(n, of->name);
    bool was = r && r->implied;
    journal_append(n->journal, of, was ? RESOURCE_MODIFIED : RESOURCE_ADDED, was ? r->object : NULL);
    if (!r)
        return;
    r->made = true;
    r->implied = false;
}

static void unmade(struct namespaces *n, const struct resource *of)
{
    struct room *r = find(n, of->name);
    if (!r || (r->objects == 0 && !is_always(of->name))) {
        journal_append(n->journal, of, RESOURCE_DELETED, NULL);
        if (r)
            room_remove(n, r);
        return;
    }
    r->made = false;
    note_since(r, of);
    tell(n, r, of->version, RESOURCE_MODIFIED, of->object);
}

static void entered(struct namespaces *n, const struct resource *of)
{
    struct room *r = room_of(n, of->namespace_name);
    if (!r) {
        journal_lose(n->journal, of->version);
        return;
    }
    r->objects++;
    note_since(r, of);
    r->made = r->made || resource_get(n->table, n->kind, "", of->namespace_name); /* there was no memory for it then */
    if (r->made || r->implied)
        return;
    tell(n, r, of->version, RESOURCE_ADDED, NULL);
}

static void left(struct namespaces *n, const struct resource *of)
{
    struct room *r = find(n, of->namespace_name);
    if (!r || r->objects == 0 || --r->objects > 0 || !r->implied || is_always(r->name))
        return;
    tell(n, r, of->version, RESOURCE_DELETED, NULL);
    room_remove(n, r);
}

static bool lies_in_one(const struct resource *r)
{
    return r->kind->namespaced && r->namespace_name[0] && !kind_is_passing(r->kind);
}

static void told(void *arg, const struct resource *r, enum resource_change change, const cJSON *before)
{
    struct namespaces *n = arg;
    bool namespaces = kind_same(r->kind, n->kind);
    if (namespaces && change == RESOURCE_ADDED)
        made(n, r);
    else if (namespaces && change == RESOURCE_DELETED)
        unmade(n, r);
    else
        journal_append(n->journal, r, change, before);
    if (change == RESOURCE_ADDED && lies_in_one(r))
        entered(n, r);
    else if (change == RESOURCE_DELETED && lies_in_one(r))
        left(n, r);
}

/* ---- reading: the table's are found by the low half of a cursor, the rooms by the high one ---- */

static bool is_kind(const struct namespaces *n, const struct kind *kind)
{
    return n && kind_same(kind, n->kind);
}

const struct resource *namespaces_get(const struct namespaces *n, const struct resource_table *t,
                                      const struct kind *kind, const char *namespace_name, const char *name)
{
    const struct resource *found = resource_get(t, kind, namespace_name, name);
    const struct room *r = !found && is_kind(n, kind) ? find(n, name) : NULL;
    return r && r->implied ? &r->shown : found;
}

const struct resource *namespaces_next(const struct namespaces *n, const struct resource_table *t,
                                       const struct kind *kind, const char *namespace_name, uint64_t *cursor)
{
    size_t low = (uint32_t)*cursor, after = low, high = *cursor >> 32;
    const struct resource *of_table = resource_next(t, kind, namespace_name, &after);
    while (is_kind(n, kind) && high < n->count && !n->rooms[high]->implied)
        high++;
    const struct room *r = is_kind(n, kind) && high < n->count ? n->rooms[high] : NULL;
    bool implied = r && (!of_table || strcmp(r->name, of_table->name) < 0);
    *cursor = (uint64_t)(high + implied) << 32 | (implied ? low : after);
    return implied ? &r->shown : of_table;
}

uint64_t namespaces_behind(const struct namespaces *n, const struct resource_table *t, const struct kind *kind,
                           const char *namespace_name, const char *name)
{
    size_t low = resource_behind(t, kind, namespace_name, name), high = 0;
    if (is_kind(n, kind)) {
        high = lower(n, name);
        high += high < n->count && strcmp(n->rooms[high]->name, name) == 0;
    }
    return (uint64_t)high << 32 | low;
}

enum namespace_held namespaces_held(const struct namespaces *n, const struct kind *kind, const char *name)
{
    const struct room *r = is_kind(n, kind) ? find(n, name) : NULL;
    return !r || !r->implied ? NAMESPACE_MADE : is_always(name) ? NAMESPACE_ALWAYS : NAMESPACE_HOLDS_OBJECTS;
}

/* ---- life ---- */

/* All that is in the table. false: no memory. */
static bool look(struct namespaces *n)
{
    size_t cursor = 0;
    struct room *r = room_of(n, ALWAYS);
    for (const struct resource *of; r && (of = resource_next(n->table, NULL, NULL, &cursor));) {
        if (kind_same(of->kind, n->kind)) {
            r = room_of(n, of->name);
            if (r)
                r->made = true;
        } else if (lies_in_one(of) && (r = room_of(n, of->namespace_name))) {
            r->objects++;
            note_since(r, of);
        }
    }
    return r != NULL;
}

/* Those of them that nobody has made are shown. false: no memory. */
static bool show_all(struct namespaces *n)
{
    bool good = true;
    for (size_t i = 0; good && i < n->count; i++) {
        struct room *r = n->rooms[i];
        r->implied = !r->made;
        good = r->made || show(n, r, resource_table_version(n->table));
    }
    return good;
}

/* false: no memory. */
static bool begin(struct namespaces *n, int64_t wall_ns)
{
    struct buf b;
    buf_init(&b, sizeof n->began - 1);
    rfc3339_put(&b, wall_ns, 0);
    bool good = buf_error(&b) == OK;
    snprintf(n->began, sizeof n->began, "%.*s", SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
    return good;
}

struct namespaces *namespaces_new(struct resource_table *table, struct journal *journal, int64_t wall_ns)
{
    struct namespaces *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->table = table;
    n->journal = journal;
    n->kind = kind_find("v1", "Namespace");
    if (!begin(n, wall_ns) || !look(n) || !show_all(n)) {
        namespaces_free(n);
        return NULL;
    }
    resource_table_listen(table, told, n);
    return n;
}

void namespaces_free(struct namespaces *n)
{
    if (!n)
        return;
    resource_table_listen(n->table, NULL, NULL);
    for (size_t i = 0; i < n->count; i++)
        room_free(n->rooms[i]);
    free(n->rooms);
    free(n);
}
