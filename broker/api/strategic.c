/* SPDX-License-Identifier: Apache-2.0
 *
 * Strategic merge patches, which kubectl sends of Kubernetes' own kinds: a merge patch (patch.c) whose lists may merge
 * too, element by element, and which says in directives what a merge cannot ("Update API Objects in Place Using kubectl
 * patch", "Strategic Merge Patch" of the API machinery's conventions; the finer points are what kube-apiserver 1.36
 * answered):
 *
 *     {"$patch": "replace", ...}              the rest of this mapping instead of what is there
 *     {"$patch": "delete"}                    nothing instead of it; of a list that merges, the element with this key
 *     [{"$patch": "replace"}, ...]            this list instead of what is there
 *     "$deleteFromPrimitiveList/x": [...]     these values out of the list x
 *     "$setElementOrder/x": [...]             the order of the list x, by values or keys
 *     "$retainKeys": [...]                    no other members than these
 *
 * A list that merges keeps its elements in their order; those of the patch stand in the patch's, new ones as early as
 * that allows. Pure; tests/fuzz/fuzz_strategic_patch.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "members.h"
#include "patch.h"

#define DEPTH_MAX 64          /* members deep, as of other patches: what the reader refuses afterwards is not built */
#define STEPS_MAX (16u << 20) /* elements and names compared, on the control loop: two lists of 1,000 are half of it   \
                               */

/* The lists that merge: struct tags `patchStrategy` of k8s.io/api core/v1 and meta/v1, of the kinds that are here.
 * Others are replaced. */
static const struct merging {
    const char *kind; /* NULL: each */
    const char *parent, *name;
    const char *key; /* that tells elements apart; NULL: they are plain values */
} mergings[] = {
    {NULL, "metadata", "finalizers", NULL},        {NULL, "metadata", "ownerReferences", "uid"},
    {"Service", "spec", "ports", "port"},          {"Service", "status", "conditions", "type"},
    {"Namespace", "status", "conditions", "type"},
};

struct strategy {
    const char *kind;
    struct diag *diag;
    size_t steps;
};

static enum err merge(struct strategy *s, cJSON *target, const cJSON *patch, const char *parent, int depth);

/* ---- small things ---- */

static enum err wrong(struct strategy *s, const char *name, const char *what)
{
    return diag_set(s->diag, ERR_INVALID, "the strategic merge patch is wrong at \"%.80s\": %s", name, what);
}

static const struct merging *merging_of(const struct strategy *s, const char *parent, const char *name)
{
    for (size_t i = 0; parent && i < sizeof mergings / sizeof mergings[0]; i++) {
        const struct merging *m = &mergings[i];
        if ((!m->kind || strcmp(m->kind, s->kind) == 0) && strcmp(m->parent, parent) == 0 && strcmp(m->name, name) == 0)
            return m;
    }
    return NULL;
}

/* What follows a prefix; NULL: it does not begin with it. */
static const char *behind(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

static bool is_directive(const char *name)
{
    return strcmp(name, "$patch") == 0 || strcmp(name, "$retainKeys") == 0 || behind(name, "$setElementOrder/") ||
           behind(name, "$deleteFromPrimitiveList/");
}

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* The member of this name; also NULL when too much was compared already, which `bounded` tells. */
static cJSON *seek(struct strategy *s, const cJSON *object, const char *name)
{
    cJSON *each = cJSON_IsObject(object) ? object->child : NULL;
    while (each && ++s->steps <= STEPS_MAX && strcmp(each->string, name) != 0)
        each = each->next;
    return s->steps <= STEPS_MAX ? each : NULL;
}

/* What tells an element apart; NULL: it has nothing of it. */
static const cJSON *identity(struct strategy *s, const cJSON *element, const char *key)
{
    const cJSON *id = key ? seek(s, element, key) : element;
    return cJSON_IsObject(id) || cJSON_IsArray(id) ? NULL : id;
}

/* The place in a list of the element that is this one; -1: there is none, or too much was compared already. */
static int place_in(struct strategy *s, const cJSON *list, const cJSON *id, const char *key, cJSON **out)
{
    int i = 0;
    cJSON *each;
    cJSON_ArrayForEach(each, list) {
        if (++s->steps > STEPS_MAX)
            return -1;
        if (cJSON_Compare(identity(s, each, key), id, true)) {
            if (out)
                *out = each;
            return i;
        }
        i++;
    }
    return -1;
}

static bool has_name(struct strategy *s, const cJSON *names, const char *name)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, names) {
        if (++s->steps > STEPS_MAX)
            return false;
        if (cJSON_IsString(each) && strcmp(each->valuestring, name) == 0)
            return true;
    }
    return false;
}

static void clear(cJSON *container)
{
    while (container->child)
        cJSON_Delete(cJSON_DetachItemViaPointer(container, container->child));
}

static enum err bounded(struct strategy *s, const char *name)
{
    return s->steps <= STEPS_MAX ? OK : wrong(s, name, "its lists are too long to be merged");
}

/* ---- the order of a list ---- */

struct entry {
    cJSON *element;
    int was;    /* its place before the merge; -1: it is new */
    int wanted; /* its place in the order; -1: that does not name it */
};

static int by_wanted(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->wanted != y->wanted ? (x->wanted > y->wanted) - (x->wanted < y->wanted)
                                  : (x->was > y->was) - (x->was < y->was);
}

/* Puts the elements back: those that the order names in it, each other before what it stood before. `entries` has the
 * others first. */
static void put_back(cJSON *list, const struct entry *entries, size_t others, size_t count)
{
    size_t left = 0, right = others;
    while (left < others || right < count) {
        bool first =
            right == count || (left < others && entries[right].was >= 0 && entries[left].was < entries[right].was);
        cJSON_AddItemToArray(list, entries[first ? left++ : right++].element);
    }
}

/* `before`: how many of its elements were there before the merge: the first ones. */
static enum err set_order(struct strategy *s, cJSON *list, int before, const cJSON *order, const char *key)
{
    size_t count = (size_t)cJSON_GetArraySize(list), others = 0, named = count;
    struct entry *entries = count ? calloc(count, sizeof *entries) : NULL;
    if (!entries)
        return count ? ERR_NOMEM : OK;
    for (int i = 0; list->child; i++) {
        struct entry e = {cJSON_DetachItemViaPointer(list, list->child), i < before ? i : -1, -1};
        e.wanted = place_in(s, order, identity(s, e.element, key), key, NULL);
        entries[e.wanted < 0 ? others++ : --named] = e;
    }
    qsort(entries + others, count - others, sizeof *entries, by_wanted);
    put_back(list, entries, others, count);
    free(entries);
    return OK;
}

/* Whether the order names each element of the patch's list that is to be there, and none before its forerunner. */
static bool in_order(struct strategy *s, const cJSON *list, const cJSON *order, const char *key)
{
    int last = -1;
    const cJSON *each;
    cJSON_ArrayForEach(each, list) {
        if (key && member(each, "$patch"))
            continue;
        int place = place_in(s, order, identity(s, each, key), key, NULL);
        if (place < last || place < 0)
            return false;
        last = place;
    }
    return true;
}

/* ---- lists ---- */

static enum err add_copy(struct strategy *s, cJSON *list, const cJSON *element, int depth)
{
    bool mapping = cJSON_IsObject(element);
    cJSON *copy = mapping ? cJSON_CreateObject() : cJSON_Duplicate(element, true);
    if (!copy || !cJSON_AddItemToArray(list, copy)) {
        cJSON_Delete(copy);
        return ERR_NOMEM;
    }
    return mapping ? merge(s, copy, element, NULL, depth + 1) : OK;
}

/* The directives among the elements: *replaces when the patch's list stands instead of the other. */
static enum err heed(struct strategy *s, cJSON *target, const cJSON *patch, const struct merging *m, bool *replaces)
{
    const cJSON *each;
    *replaces = false;
    cJSON_ArrayForEach(each, patch) {
        const cJSON *says = m->key ? member(each, "$patch") : NULL, *id = identity(s, each, m->key);
        const char *what = cJSON_GetStringValue(says);
        cJSON *gone = NULL;
        if (!says && !id)
            return wrong(s, m->name,
                         m->key ? "each element must have its merge key (ports: port)"
                                : "it is a list of plain values");
        if (!says)
            continue;
        if (what && strcmp(what, "replace") == 0)
            *replaces = true;
        else if (!what || strcmp(what, "delete") != 0)
            return wrong(s, m->name, "$patch of an element must be \"delete\" or \"replace\"");
        else if (!id)
            return wrong(s, m->name, "an element to be deleted must have its merge key (ports: port)");
        else
            while (place_in(s, target, id, m->key, &gone) >= 0)
                cJSON_Delete(cJSON_DetachItemViaPointer(target, gone));
    }
    if (*replaces)
        clear(target);
    return OK;
}

static enum err merge_elements(struct strategy *s, cJSON *target, const cJSON *patch, const struct merging *m,
                               bool replaces, int depth)
{
    const cJSON *each;
    enum err e = OK;
    cJSON_ArrayForEach(each, patch) {
        cJSON *there = NULL;
        if (m->key && member(each, "$patch"))
            continue;
        if (!replaces)
            place_in(s, target, identity(s, each, m->key), m->key, &there);
        if (there && m->key)
            e = merge(s, there, each, NULL, depth + 1);
        else if (!there)
            e = add_copy(s, target, each, depth);
        if (e == OK)
            e = bounded(s, m->name);
        if (e != OK)
            return e;
    }
    return OK;
}

/* `order`: what $setElementOrder says; NULL: nothing, the patch's own counts. */
static enum err merge_list(struct strategy *s, cJSON *target, const cJSON *patch, const cJSON *order,
                           const struct merging *m, int depth)
{
    bool replaces = false;
    if (order && patch && !in_order(s, patch, order, m->key))
        return wrong(s, m->name, "$setElementOrder must name each element of the list, in its order");
    enum err e = patch ? heed(s, target, patch, m, &replaces) : OK;
    int before = cJSON_GetArraySize(target);
    if (e == OK && patch)
        e = merge_elements(s, target, patch, m, replaces, depth);
    if (e == OK && (order || !replaces))
        e = set_order(s, target, before, order ? order : patch, m->key);
    return e == OK ? bounded(s, m->name) : e;
}

/* ---- mappings ---- */

static enum err merge_member(struct strategy *s, struct members *target, const cJSON *patch, const cJSON *value,
                             const char *parent, int depth)
{
    const struct merging *m = cJSON_IsArray(value) ? merging_of(s, parent, value->string) : NULL;
    const char *says = cJSON_GetStringValue(member(value, "$patch"));
    cJSON *there = members_get(target, value->string);
    if (cJSON_IsNull(value) || (says && strcmp(says, "delete") == 0)) {
        members_remove(target, value->string);
        return OK;
    }
    if (!cJSON_IsObject(value) && !m)
        return members_put(target, value->string, cJSON_Duplicate(value, true));
    if (!there || (m ? !cJSON_IsArray(there) : !cJSON_IsObject(there))) {
        there = m ? cJSON_CreateArray() : cJSON_CreateObject();
        enum err e = members_put(target, value->string, there);
        if (e != OK)
            return e;
    }
    if (!m)
        return merge(s, there, value, depth == 0 ? value->string : NULL, depth + 1);
    char name[200];
    snprintf(name, sizeof name, "$setElementOrder/%s", m->name);
    enum err e = merge_list(s, there, value, seek(s, patch, name), m, depth);
    if (e == OK && !there->child)
        members_remove(target, value->string);
    return e;
}

/* A list of which nothing but its order is said. */
static enum err order_alone(struct strategy *s, cJSON *target, const cJSON *patch, const cJSON *order, const char *name,
                            const char *parent, int depth)
{
    const struct merging *m = merging_of(s, parent, name);
    cJSON *list = m ? seek(s, target, name) : NULL;
    const cJSON *each;
    if (!cJSON_IsArray(order))
        return wrong(s, order->string, "a list is wanted");
    cJSON_ArrayForEach(each, order) {
        if (m && !identity(s, each, m->key))
            return wrong(s, order->string,
                         m->key ? "each element must have its merge key (ports: port)"
                                : "it is a list of plain values");
    }
    if (!m || !cJSON_IsArray(list) || seek(s, patch, name))
        return bounded(s, name); /* replaced as a whole, not there, or done with its elements */
    return merge_list(s, list, NULL, order, m, depth);
}

static enum err delete_values(struct strategy *s, cJSON *target, const cJSON *values, const char *name)
{
    cJSON *list = seek(s, target, name), *next = NULL;
    if (!cJSON_IsArray(list) || !cJSON_IsArray(values))
        return bounded(s, name);
    for (cJSON *each = list->child; each; each = next) {
        next = each->next;
        const cJSON *id = identity(s, each, NULL);
        if (id && place_in(s, values, id, NULL, NULL) >= 0)
            cJSON_Delete(cJSON_DetachItemViaPointer(list, each));
    }
    return bounded(s, name);
}

static enum err retain(struct strategy *s, cJSON *target, const cJSON *patch, const cJSON *names)
{
    const cJSON *value;
    cJSON *next = NULL;
    if (!cJSON_IsArray(names))
        return wrong(s, "$retainKeys", "a list of names is wanted");
    cJSON_ArrayForEach(value, patch) {
        if (!cJSON_IsNull(value) && !is_directive(value->string) && !has_name(s, names, value->string))
            return wrong(s, "$retainKeys", "it must name every member that the patch has");
    }
    for (cJSON *each = target->child; each; each = next) {
        next = each->next;
        if (!has_name(s, names, each->string))
            cJSON_Delete(cJSON_DetachItemViaPointer(target, each));
    }
    return bounded(s, "$retainKeys");
}

/* The directives that are about the mapping itself, before its members; *done when there is nothing left to do. */
static enum err prepare(struct strategy *s, cJSON *target, const cJSON *patch, bool *done)
{
    const cJSON *says = member(patch, "$patch"), *names = member(patch, "$retainKeys");
    const char *what = cJSON_GetStringValue(says);
    if (!says)
        return names ? retain(s, target, patch, names) : OK;
    *done = what && strcmp(what, "delete") == 0;
    if (!*done && (!what || strcmp(what, "replace") != 0))
        return wrong(s, "$patch", "of a mapping it must be \"delete\" or \"replace\"");
    clear(target);
    return OK;
}

static enum err merge_members(struct strategy *s, cJSON *target, const cJSON *patch, const char *parent, int depth)
{
    struct members members;
    const cJSON *value;
    enum err e = members_open(&members, target, patch);
    if (e != OK)
        return e;
    cJSON_ArrayForEach(value, patch) {
        if (e == OK && !is_directive(value->string))
            e = merge_member(s, &members, patch, value, parent, depth);
    }
    members_close(&members);
    return e;
}

/* `parent`: the name of the mapping, where it lies in the object itself; else NULL. */
static enum err merge(struct strategy *s, cJSON *target, const cJSON *patch, const char *parent, int depth)
{
    const cJSON *value;
    bool done = false;
    if (depth > DEPTH_MAX)
        return wrong(s, "", "it is too deep");
    enum err e = prepare(s, target, patch, &done);
    if (e == OK && !done)
        e = merge_members(s, target, patch, parent, depth);
    cJSON_ArrayForEach(value, patch) {
        const char *order = behind(value->string, "$setElementOrder/"),
                   *values = behind(value->string, "$deleteFromPrimitiveList/");
        if (e == OK && !done && order)
            e = order_alone(s, target, patch, value, order, parent, depth);
        else if (e == OK && !done && values)
            e = delete_values(s, target, value, values);
    }
    return e;
}

enum err strategic_patch(cJSON *target, const cJSON *patch, const char *kind, struct diag *d)
{
    struct strategy s = {.kind = kind, .diag = d};
    return merge(&s, target, patch, NULL, 0);
}
