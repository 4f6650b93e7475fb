/* SPDX-License-Identifier: Apache-2.0
 *
 * What others than leat write into an object's status, over its subresource. leat finds out its own conditions anew at
 * each plan; what it does not know of is not its own, and stays:
 *
 *     status = what leat says, and of what others said the members and conditions that leat says nothing of
 *
 * So the two never say the same thing: what leat begins to say is the others' no more. Theirs is kept in the store,
 * since nobody would write it again after a start.
 */
#include <assert.h>
#include <string.h>

#include "check.h"
#include "table.h"

static cJSON *conditions_in(const cJSON *status)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(status, "conditions");
    return cJSON_IsArray(list) ? list : NULL;
}

static bool has_condition(const cJSON *status, const cJSON *condition)
{
    const char *type = json_text(condition, "type");
    return type && condition_find(status, type);
}

static bool is_conditions(const cJSON *member)
{
    return strcmp(member->string, "conditions") == 0 && cJSON_IsArray(member);
}

/* A copy of a list under the name it has; the caller's. */
static bool add_copy(cJSON *to, const cJSON *each)
{
    cJSON *copy = cJSON_Duplicate(each, true);
    bool good =
        copy && (cJSON_IsArray(to) ? cJSON_AddItemToArray(to, copy) : cJSON_AddItemToObject(to, each->string, copy));
    if (!good)
        cJSON_Delete(copy);
    return good;
}

/* The conditions of `from` that `but` has not, appended to those of `to`. false: no memory. */
static bool add_conditions(cJSON *to, const cJSON *from, const cJSON *but)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, conditions_in(from)) {
        if (has_condition(but, each))
            continue;
        cJSON *list = conditions_in(to);
        if (!list)
            list = cJSON_AddArrayToObject(to, "conditions");
        if (!list || !add_copy(list, each))
            return false;
    }
    return true;
}

/* What `from` says and `but` does not, added to `to`. false: no memory. */
static bool add_rest(cJSON *to, const cJSON *from, const cJSON *but)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, from) {
        if (is_conditions(each) || cJSON_GetObjectItemCaseSensitive(but, each->string) ||
            cJSON_GetObjectItemCaseSensitive(to, each->string))
            continue;
        if (!add_copy(to, each))
            return false;
    }
    return add_conditions(to, from, but);
}

/* What `from` says and `but` does not; NULL: no memory. */
static cJSON *rest_of(const cJSON *from, const cJSON *but)
{
    cJSON *rest = cJSON_CreateObject();
    if (rest && add_rest(rest, from, but))
        return rest;
    cJSON_Delete(rest);
    return NULL;
}

static void others_set(struct entry *e, cJSON *others)
{
    cJSON_Delete(e->others);
    e->others = others && others->child ? others : NULL;
    if (!e->others)
        cJSON_Delete(others);
}

bool status_join_others(struct entry *e, cJSON *status)
{
    if (!e->others)
        return true;
    cJSON *left = rest_of(e->others, status);
    if (!left || !add_rest(status, left, NULL)) {
        cJSON_Delete(left);
        return false;
    }
    others_set(e, left);
    return true;
}

void status_claim(struct entry *e, const char *type)
{
    cJSON *theirs = condition_find(e->others, type);
    if (theirs)
        cJSON_Delete(cJSON_DetachItemViaPointer(conditions_in(e->others), theirs));
}

/* The next status: leat's own of the present one, and the rest of what is written. *others is what that rest is. */
static cJSON *next_status(const struct entry *e, const cJSON *written, cJSON **others)
{
    const cJSON *present = json_object(e->public.object, "status");
    cJSON *own = rest_of(present, e->others), *theirs = own ? rest_of(written, own) : NULL;
    if (theirs && add_rest(own, theirs, NULL)) {
        *others = theirs;
        return own;
    }
    cJSON_Delete(own);
    cJSON_Delete(theirs);
    return NULL;
}

static enum err no_memory(struct diag *d)
{
    return diag_set(d, ERR_NOMEM, "no memory");
}

enum err resource_try_status(const struct resource *r, const cJSON *written, cJSON **out, struct diag *d)
{
    struct entry *e = entry_of(r);
    cJSON *others = NULL, *object = cJSON_Duplicate(r->object, true), *next = next_status(e, written, &others);
    cJSON_DeleteItemFromObjectCaseSensitive(object, "status");
    bool good = object && next && cJSON_AddItemToObject(object, "status", next);
    cJSON_Delete(others);
    if (good) {
        *out = object;
        return OK;
    }
    cJSON_Delete(next);
    cJSON_Delete(object);
    return no_memory(d);
}

/* What is to be stored, with the version that the write will have. */
static enum err keep(struct resource_table *t, struct entry *e, cJSON *others, struct diag *d)
{
    uint64_t version = e->public.version;
    if (!object_version_reserve(e->public.object)) /* the same number, with room */
        return no_memory(d);
    object_version_set(e->public.object, t->version + 1);
    cJSON *before = e->others;
    e->others = others;
    enum err err = kept_write(t, NULL, e, e, e->public.object, d);
    e->others = before;
    object_version_set(e->public.object, version);
    return err;
}

enum err resource_write_status(struct resource_table *t, const struct resource *r, const cJSON *written,
                               const char *managed, struct diag *d)
{
    struct entry *e = entry_of(r);
    cJSON *others = NULL, *next;
    if (e->origin)
        return resource_owned(r, d);
    const cJSON *present = json_object(r->object, "status");
    next = next_status(e, written, &others);
    if (!next)
        return no_memory(d);
    bool same = present && json_same(present, next),
         owners = managed && strcmp(managed, e->managed ? e->managed : "") != 0;
    cJSON *raw = owners ? cJSON_CreateRaw(managed) : NULL;
    enum err err = owners && !raw ? no_memory(d) : OK;
    if (raw) {
        e->next_managed = raw->valuestring;
        raw->valuestring = NULL;
        cJSON_Delete(raw);
    }
    if (err == OK && (!same || owners))
        err = keep(t, e, others, d);
    if (err != OK) {
        entry_managed_forget(e);
        cJSON_Delete(others);
        cJSON_Delete(next);
        return err;
    }
    entry_managed_keep(e);
    others_set(e, others);
    if (!same)
        return resource_set_status(t, r, next);
    cJSON_Delete(next);
    if (owners)
        table_version_take(t, e, NULL);
    return OK;
}
