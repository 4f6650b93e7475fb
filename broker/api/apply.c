/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging what is applied into what is there, and removing what nobody owns any more. Parts of both sides are matched
 * by the names of their path elements (shape.h), sorted. tests/fuzz/fuzz_apply.c.
 */
#include "apply.h"

#include <string.h>

#include "../resource/check.h"

/* What is at a place of the object. */
struct at {
    struct shape_node node;
    int depth;
};

static struct at at_part(struct at at, const cJSON *value, const struct shape_part *part)
{
    struct shape_node node =
        cJSON_IsArray(value) ? shape_element(at.node) : shape_member(at.node, at.depth == 0, part->name + 2);
    return (struct at){node, at.depth + 1};
}

/* ---- merging ---- */

static enum err merge(struct fields_work *w, const struct shape *s, struct at at, cJSON *target, const cJSON *applied);

/* Whether the values of both sides are merged part by part. */
static bool both_divided(struct fields_work *w, struct at at, const cJSON *target, const cJSON *applied)
{
    if (!shape_divided(at.node, target, at.depth) || !shape_divided(at.node, applied, at.depth) ||
        cJSON_IsArray(target) != cJSON_IsArray(applied))
        return false;
    return !cJSON_IsArray(target) ||
           (shape_parts_of(w, at.node, target).regular && shape_parts_of(w, at.node, applied).regular);
}

/* A member of a mapping; `there` NULL: it is new. */
static enum err merge_member(struct fields_work *w, const struct shape *s, struct at at, cJSON *target, cJSON *there,
                             const cJSON *value)
{
    if (there && both_divided(w, at, there, value))
        return merge(w, s, at, there, value);
    cJSON *copy = cJSON_Duplicate(value, true); /* with its name */
    if (copy &&
        (there ? cJSON_ReplaceItemViaPointer(target, there, copy) : cJSON_AddItemToObject(target, value->string, copy)))
        return OK;
    cJSON_Delete(copy);
    return ERR_NOMEM;
}

static enum err merge_mapping(struct fields_work *w, const struct shape *s, struct at at, cJSON *target,
                              const cJSON *applied)
{
    struct shape_parts have = shape_parts_of(w, at.node, target), want = shape_parts_of(w, at.node, applied);
    size_t i = 0;
    for (size_t j = 0; j < want.count && !w->nomem; j++) {
        const struct shape_part *part = &want.list[j];
        if (!shape_owned(s, at.depth == 0, false, part->name + 2) && strcmp(part->name, "f:status") == 0)
            continue;
        while (i < have.count && strcmp(have.list[i].name, part->name) < 0)
            i++;
        bool there = i < have.count && strcmp(have.list[i].name, part->name) == 0;
        enum err e =
            merge_member(w, s, at_part(at, applied, part), target, there ? have.list[i].value : NULL, part->value);
        if (e != OK)
            return e;
    }
    return w->nomem ? ERR_NOMEM : OK;
}

/* The element of this name; NULL: there is none. */
static struct shape_part *part_find(const struct shape_parts *p, const char *name)
{
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int o = strcmp(p->list[middle].name, name);
        if (o == 0)
            return &p->list[middle];
        if (o < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const char *name_of(const struct shape_parts *p, const cJSON *element)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].value == element)
            return p->list[i].name;
    return "";
}

/* Moves what is applied of one element to the end of the list: its own, or merged into the one that is there. */
static enum err take_element(struct fields_work *w, const struct shape *s, struct at at, cJSON *list,
                             struct shape_part *there, const cJSON *value)
{
    cJSON *taken = there && there->value ? cJSON_DetachItemViaPointer(list, there->value) : NULL;
    if (there)
        there->value = NULL; /* it has its place */
    if (taken && both_divided(w, at, taken, value)) {
        cJSON_AddItemToArray(list, taken);
        return merge(w, s, at, taken, value);
    }
    cJSON_Delete(taken);
    cJSON *copy = cJSON_Duplicate(value, true);
    if (copy && cJSON_AddItemToArray(list, copy))
        return OK;
    cJSON_Delete(copy);
    return ERR_NOMEM;
}

/* The list is turned once: each element goes to its end, those that are applied in their order. Before an element that
 * is applied come all that are applied before it. */
static enum err merge_list(struct fields_work *w, const struct shape *s, struct at at, cJSON *target,
                           const cJSON *applied)
{
    struct shape_parts have = shape_parts_of(w, at.node, target), want = shape_parts_of(w, at.node, applied);
    const cJSON *next = applied->child;
    struct at inner = {shape_element(at.node), at.depth + 1};
    for (size_t left = have.count; left > 0 && !w->nomem;) {
        cJSON *first = target->child;
        const char *name = name_of(&have, first);
        if (!part_find(&want, name)) {
            cJSON_AddItemToArray(target, cJSON_DetachItemViaPointer(target, first));
            left--;
            continue;
        }
        while (next && part_find(&have, name)->value) {
            struct shape_part *there = part_find(&have, name_of(&want, next));
            left -= there && there->value;
            enum err e = take_element(w, s, inner, target, there, next);
            if (e != OK)
                return e;
            next = next->next;
        }
    }
    for (; next && !w->nomem; next = next->next) {
        enum err e = take_element(w, s, inner, target, NULL, next);
        if (e != OK)
            return e;
    }
    return w->nomem ? ERR_NOMEM : OK;
}

static enum err merge(struct fields_work *w, const struct shape *s, struct at at, cJSON *target, const cJSON *applied)
{
    return cJSON_IsArray(target) ? merge_list(w, s, at, target, applied) : merge_mapping(w, s, at, target, applied);
}

enum err apply_merge(struct fields_work *w, const struct shape *s, cJSON *target, const cJSON *applied)
{
    return merge(w, s, (struct at){shape_root(s), 0}, target, applied);
}

/* ---- removing ---- */

/* Whether nothing but the keys of an element of a list is left. */
static bool is_bare(struct shape_node list, const cJSON *element)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, element)
        if (!each->string || !shape_is_key(list, each->string))
            return false;
    return true;
}

/* `list`: what the object is an element of; its keys stay. */
static void take_away(struct fields_work *w, const struct shape *s, struct at at, struct shape_node list, cJSON *target,
                      const struct fields *gone)
{
    struct shape_parts parts = shape_parts_of(w, at.node, target);
    for (size_t i = 0; i < parts.count && gone && !w->nomem; i++) {
        const struct shape_part *part = &parts.list[i];
        while (gone && strcmp(gone->name, part->name) < 0)
            gone = gone->next;
        if (!gone || strcmp(gone->name, part->name) != 0)
            continue;
        if (cJSON_IsObject(target) && shape_is_key(list, part->name + 2))
            continue;
        struct at inner = at_part(at, target, part);
        bool whole = !shape_divided(inner.node, part->value, inner.depth);
        if (!whole)
            take_away(w, s, inner, cJSON_IsArray(target) ? at.node : (struct shape_node){0}, part->value, gone->child);
        bool empty = whole || !part->value->child || (cJSON_IsArray(target) && is_bare(at.node, part->value));
        bool metadata = at.depth == 0 && strcmp(part->name, "f:metadata") == 0;
        if (gone->member && empty && !metadata)
            cJSON_Delete(cJSON_DetachItemViaPointer(target, part->value));
    }
}

enum err apply_remove(struct fields_work *w, const struct shape *s, cJSON *target, const struct fields *gone)
{
    take_away(w, s, (struct at){shape_root(s), 0}, (struct shape_node){0}, target, gone);
    return w->nomem ? ERR_NOMEM : OK;
}
