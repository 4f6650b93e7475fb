/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects through their schemas. Both sides of a comparison are sorted first, so that it is one walk; values that are
 * owned as a whole are compared as a whole.
 */
#include "shape.h"

#include <stdlib.h>
#include <string.h>

#include "../resource/check.h"

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static bool says(const cJSON *schema, const char *name, const char *value)
{
    const char *text = json_text(schema, name);
    return text && strcmp(text, value) == 0;
}

/* ---- schemas ---- */

struct shape_node shape_root(const struct shape *s)
{
    return (struct shape_node){s->kind->schema, true, true};
}

struct shape_node shape_member(struct shape_node at, bool top, const char *name)
{
    const cJSON *properties = member(at.schema, "properties"), *others = member(at.schema, "additionalProperties"),
                *one = member(properties, name);
    if (top && strcmp(name, "metadata") == 0)
        return (struct shape_node){kind_metadata_schema(), true, true};
    if (one)
        return (struct shape_node){one, true, true};
    bool open = !at.schema || cJSON_IsTrue(member(at.schema, "x-kubernetes-preserve-unknown-fields")) ||
                cJSON_IsTrue(others) || (!properties && !others);
    return (struct shape_node){cJSON_IsObject(others) ? others : NULL, open || cJSON_IsObject(others), false};
}

struct shape_node shape_element(struct shape_node at)
{
    return (struct shape_node){member(at.schema, "items"), true, false};
}

bool shape_owned(const struct shape *s, bool top, bool metadata, const char *name)
{
    static const char *const given[] = {"name",
                                        "namespace",
                                        "uid",
                                        "creationTimestamp",
                                        "generation",
                                        "resourceVersion",
                                        "managedFields",
                                        "selfLink",
                                        "generateName",
                                        "deletionTimestamp",
                                        "deletionGracePeriodSeconds"};
    if (top) {
        bool status = strcmp(name, "status") == 0;
        return s->status ? status
                         : strcmp(name, "apiVersion") != 0 && strcmp(name, "kind") != 0 &&
                               (!status || kind_status_kept(s->kind));
    }
    for (size_t i = 0; metadata && i < sizeof given / sizeof given[0]; i++)
        if (strcmp(name, given[i]) == 0)
            return false;
    return true;
}

bool shape_divided(struct shape_node at, const cJSON *value, int depth)
{
    if (depth >= FIELDS_DEPTH_MAX)
        return false;
    if (cJSON_IsObject(value))
        return !says(at.schema, "x-kubernetes-map-type", "atomic");
    return cJSON_IsArray(value) && cJSON_GetArraySize(value) <= SHAPE_ELEMENTS_MAX &&
           (says(at.schema, "x-kubernetes-list-type", "set") || says(at.schema, "x-kubernetes-list-type", "map"));
}

bool shape_is_key(struct shape_node list, const char *name)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, member(list.schema, "x-kubernetes-list-map-keys"))
        if (cJSON_IsString(each) && strcmp(each->valuestring, name) == 0)
            return true;
    return false;
}

/* ---- parts ---- */

static char *joined(struct fields_work *w, const char *prefix, const char *text)
{
    size_t n = strlen(prefix), m = strlen(text);
    char *out = arena_alloc(w->arena, n + m + 1);
    if (!out) {
        w->nomem = true;
        return NULL;
    }
    memcpy(out, prefix, n);
    memcpy(out + n, text, m + 1);
    return out;
}

static char *printed(struct fields_work *w, const char *prefix, const cJSON *value)
{
    char *text = cJSON_PrintUnformatted(value), *out = text ? joined(w, prefix, text) : NULL;
    w->nomem = w->nomem || !text;
    cJSON_free(text);
    return out;
}

/* The value of a key of an element, or what the schema says where it is missing. */
static const cJSON *key_value(struct shape_node list, const cJSON *element, const char *key)
{
    const cJSON *there = member(element, key),
                *schema = member(member(member(list.schema, "items"), "properties"), key);
    there = there ? there : member(schema, "default");
    return cJSON_IsObject(there) || cJSON_IsArray(there) ? NULL : there;
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

#define KEYS_MAX 16

/* "k:{"name":"a"}" with the keys in order; NULL: it has none of them. */
static char *keyed(struct fields_work *w, struct shape_node list, const cJSON *element)
{
    const char *keys[KEYS_MAX];
    size_t count = 0;
    const cJSON *each, *all = member(list.schema, "x-kubernetes-list-map-keys");
    cJSON *name = cJSON_CreateObject();
    cJSON_ArrayForEach(each, all)
        if (cJSON_IsString(each) && count < KEYS_MAX)
            keys[count++] = each->valuestring;
    qsort(keys, count, sizeof *keys, by_text);
    bool good = name != NULL;
    for (size_t i = 0; i < count && good; i++) {
        const cJSON *value = key_value(list, element, keys[i]);
        cJSON *copy = value ? cJSON_Duplicate(value, false) : NULL;
        good = !value || (copy && cJSON_AddItemToObject(name, keys[i], copy));
        if (!good)
            cJSON_Delete(copy);
    }
    w->nomem = w->nomem || !good;
    char *out = good && name->child ? printed(w, "k:", name) : NULL;
    cJSON_Delete(name);
    return out;
}

static char *element_name(struct fields_work *w, struct shape_node list, const cJSON *element)
{
    if (says(list.schema, "x-kubernetes-list-type", "map"))
        return cJSON_IsObject(element) ? keyed(w, list, element) : NULL;
    return cJSON_IsObject(element) || cJSON_IsArray(element) ? NULL : printed(w, "v:", element);
}

static int by_part(const void *x, const void *y)
{
    const struct shape_part *a = x, *b = y;
    return strcmp(a->name, b->name);
}

struct shape_parts shape_parts_of(struct fields_work *w, struct shape_node at, const cJSON *value)
{
    struct shape_parts p = {.regular = true};
    size_t most = value ? (size_t)cJSON_GetArraySize(value) : 0;
    p.list = most ? arena_alloc(w->arena, most * sizeof *p.list) : NULL;
    w->nomem = w->nomem || (most && !p.list);
    for (cJSON *each = p.list ? value->child : NULL; each; each = each->next) {
        const char *name = cJSON_IsObject(value) ? joined(w, "f:", each->string) : element_name(w, at, each);
        if (!name) {
            p.regular = false;
            break;
        }
        p.list[p.count++] = (struct shape_part){name, each};
    }
    if (p.count)
        qsort(p.list, p.count, sizeof *p.list, by_part);
    for (size_t i = 1; i < p.count; i++)
        p.regular = p.regular && strcmp(p.list[i].name, p.list[i - 1].name) != 0;
    if (!p.regular)
        p.count = 0;
    return p;
}

/* The place of a part of what is at `at`. */
static struct shape_node under(struct shape_node at, const cJSON *value, int depth, const struct shape_part *part)
{
    if (cJSON_IsArray(value))
        return shape_element(at);
    return shape_member(at, depth == 0, part->name + 2);
}

/* Whether a part counts. `metadata`: it is one of metadata's. */
static bool counts(const struct shape *s, struct shape_node of_part, const cJSON *value, int depth, bool metadata,
                   const struct shape_part *part)
{
    return of_part.known &&
           (cJSON_IsArray(value) || shape_owned(s, depth == 0, depth == 1 && metadata, part->name + 2));
}

static bool is_metadata(int depth, const struct shape_part *part)
{
    return depth == 0 && strcmp(part->name, "f:metadata") == 0;
}

/* ---- what is applied ---- */

static const struct fields *applied(struct fields_work *w, const struct shape *s, struct shape_node at,
                                    const cJSON *value, int depth, bool metadata, bool *whole)
{
    struct fields_list l = {0};
    *whole = !shape_divided(at, value, depth);
    if (*whole)
        return NULL;
    struct shape_parts p = shape_parts_of(w, at, value);
    *whole = !p.regular;
    for (size_t i = 0; i < p.count; i++) {
        const struct shape_part *part = &p.list[i];
        struct shape_node node = under(at, value, depth, part);
        if (!counts(s, node, value, depth, metadata, part))
            continue;
        bool leaf, empty = cJSON_IsObject(part->value) && !part->value->child;
        const struct fields *child = applied(w, s, node, part->value, depth + 1, is_metadata(depth, part), &leaf);
        bool itself = leaf || empty || cJSON_IsArray(value) || !node.named;
        fields_append(w, &l, part->name, itself && !is_metadata(depth, part), child);
    }
    return l.first;
}

const struct fields *shape_applied(struct fields_work *w, const struct shape *s, const cJSON *object)
{
    bool whole;
    return applied(w, s, shape_root(s), object, 0, false, &whole);
}

/* ---- comparison ---- */

struct difference_lists {
    struct fields_list added, removed, modified;
};

static struct shape_difference compare(struct fields_work *w, const struct shape *s, struct shape_node at,
                                       const cJSON *before, const cJSON *after, int depth, bool metadata);

static bool regular(struct fields_work *w, struct shape_node at, const cJSON *value)
{
    return !cJSON_IsArray(value) || shape_parts_of(w, at, value).regular;
}

/* One part that either side may lack. */
static void compare_part(struct fields_work *w, const struct shape *s, struct shape_node node, int depth, bool metadata,
                         const char *name, const cJSON *before, const cJSON *after, struct difference_lists *l)
{
    bool divided = (!before || shape_divided(node, before, depth)) && (!after || shape_divided(node, after, depth)) &&
                   (!before || !after || cJSON_IsArray(before) == cJSON_IsArray(after));
    divided = divided && regular(w, node, before) && regular(w, node, after);
    bool differs = !divided && before && after && !json_same(before, after);
    struct shape_difference d = {0};
    if (divided)
        d = compare(w, s, node, before, after, depth, metadata);
    fields_append(w, &l->added, name, !before && !metadata, d.added);
    fields_append(w, &l->removed, name, !after && !metadata, d.removed);
    fields_append(w, &l->modified, name, differs, d.modified);
}

/* Two values that are divided, or one. */
static struct shape_difference compare(struct fields_work *w, const struct shape *s, struct shape_node at,
                                       const cJSON *before, const cJSON *after, int depth, bool metadata)
{
    struct difference_lists l = {0};
    struct shape_parts a = shape_parts_of(w, at, before), b = shape_parts_of(w, at, after);
    const cJSON *value = after ? after : before;
    size_t i = 0, j = 0;
    while ((i < a.count || j < b.count) && !w->nomem) {
        int o = i == a.count ? 1 : j == b.count ? -1 : strcmp(a.list[i].name, b.list[j].name);
        const struct shape_part *x = o <= 0 ? &a.list[i++] : NULL, *y = o >= 0 ? &b.list[j++] : NULL, *part = x ? x : y;
        struct shape_node node = under(at, value, depth, part);
        if (counts(s, node, value, depth, metadata, part))
            compare_part(w, s, node, depth + 1, is_metadata(depth, part), part->name, x ? x->value : NULL,
                         y ? y->value : NULL, &l);
    }
    return (struct shape_difference){l.added.first, l.removed.first, l.modified.first};
}

struct shape_difference shape_compare(struct fields_work *w, const struct shape *s, const cJSON *before,
                                      const cJSON *after)
{
    return compare(w, s, shape_root(s), before, after, 0, false);
}
