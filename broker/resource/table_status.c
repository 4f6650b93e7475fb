/* SPDX-License-Identifier: Apache-2.0
 *
 * What others than leat write into an object's status, over its subresource. leat finds out its own conditions anew at
 * each plan; what it does not know of is not its own, and stays:
 *
 *     status = what leat says, and of what others said the members and conditions that leat says nothing of
 *
 * So the two never say the same thing: what leat begins to say is the others' no more. Theirs is kept in the store,
 * since nobody would write it again after a start.
 *
 * A status stands beside its object, packed, where only leat writes it (kind->has_status), and is a tree while somebody
 * looks at it. What users declare with a status (a Service of Knative Serving) has it in the object.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "table.h"

/* ---- its place ---- */

bool resource_status(const struct resource *r, cJSON **out)
{
    const cJSON *in = cJSON_GetObjectItemCaseSensitive(r->object, "status");
    *out = r->status ? packed_tree(r->status) : in ? cJSON_Duplicate(in, true) : NULL;
    return *out || (!r->status && !in);
}

bool resource_status_add(const struct resource *r, cJSON *object)
{
    cJSON *status = r->status ? packed_tree(r->status) : NULL;
    if (!r->status || (status && cJSON_AddItemToObject(object, "status", status)))
        return true;
    cJSON_Delete(status);
    return false;
}

cJSON *resource_whole(const struct resource *r)
{
    cJSON *object = cJSON_Duplicate(r->object, true);
    if (object && resource_status_add(r, object))
        return object;
    cJSON_Delete(object);
    return NULL;
}

bool status_take(const struct kind *kind, cJSON *object, struct packed **out)
{
    cJSON *status = cJSON_GetObjectItemCaseSensitive(object, "status");
    bool beside = status && !kind_status_kept(kind);
    *out = beside ? packed_new(status) : NULL;
    if (*out)
        cJSON_Delete(cJSON_DetachItemViaPointer(object, status));
    return *out || !beside;
}

void entry_status_set(struct entry *e, struct packed *status)
{
    free(e->status);
    e->public.status = e->status = status;
}

/* The next state of an object that has its status itself, flat. NULL: no memory. */
static cJSON *with_status(const cJSON *object, const cJSON *status)
{
    cJSON *copy = cJSON_Duplicate(object, true), *flat = NULL;
    cJSON_DeleteItemFromObjectCaseSensitive(copy, "status");
    cJSON *member = copy ? cJSON_Duplicate(status, true) : NULL;
    if (member && cJSON_AddItemToObject(copy, "status", member))
        flat = flat_new(copy);
    else
        cJSON_Delete(member);
    cJSON_Delete(copy);
    return flat;
}

enum err status_replace(struct resource_table *t, struct entry *e, cJSON *status, const cJSON *old)
{
    struct diag unsaid;
    bool inside = kind_status_kept(e->public.kind);
    struct packed *next = status && !inside ? packed_new(status) : NULL;
    cJSON *object = status && inside ? with_status(e->object, status) : NULL;
    enum err err = next || object ? OK : ERR_NOMEM;
    bool same = err == OK && ((next && packed_same(e->status, next)) || (old && json_same(old, status)));
    if (err == OK && !same)
        err = kept_version_reserve(t, &unsaid);
    if (err == OK && !same) {
        if (t->status_told)
            t->status_told(t->status_arg, &e->public, old, status);
        if (inside) {
            free(e->object);
            e->public.object = e->object = object;
            entry_view(e);
        } else {
            entry_status_set(e, next);
        }
        table_version_take(t, e, NULL);
    } else {
        free(next);
        free(object);
    }
    cJSON_Delete(status);
    return err;
}

enum err resource_set_status(struct resource_table *t, const struct resource *r, cJSON *status)
{
    cJSON *old;
    assert(table_find(t, r->kind, r->namespace_name, r->name) == entry_of(r));
    if (!resource_status(r, &old)) {
        cJSON_Delete(status);
        return ERR_NOMEM;
    }
    enum err err = status_replace(t, entry_of(r), status, old);
    cJSON_Delete(old);
    return err;
}

/* ---- what others write ---- */

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
static cJSON *next_status(const struct entry *e, const cJSON *present, const cJSON *written, cJSON **others)
{
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
    cJSON *others = NULL, *present = NULL, *object = cJSON_Duplicate(r->object, true), *next = NULL;
    if (object && resource_status(r, &present))
        next = next_status(e, present, written, &others);
    cJSON_Delete(present);
    cJSON_DeleteItemFromObjectCaseSensitive(object, "status");
    bool good = next && cJSON_AddItemToObject(object, "status", next);
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
    object_version_set(e->object, t->version + 1);
    cJSON *before = e->others;
    e->others = others;
    enum err err = kept_write(t, NULL, e, e, e->public.object, d);
    e->others = before;
    object_version_set(e->object, version);
    return err;
}

enum err resource_write_status(struct resource_table *t, const struct resource *r, const cJSON *written,
                               const char *managed, struct diag *d)
{
    struct entry *e = entry_of(r);
    cJSON *others = NULL, *present;
    if (e->origin)
        return resource_owned(r, d);
    if (!resource_status(r, &present))
        return no_memory(d);
    cJSON *next = next_status(e, present, written, &others);
    if (!next) {
        cJSON_Delete(present);
        return no_memory(d);
    }
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
        cJSON_Delete(present);
        return err;
    }
    entry_managed_keep(e);
    others_set(e, others);
    if (!same)
        err = status_replace(t, e, next, present);
    else
        cJSON_Delete(next);
    if (same && owners)
        table_version_take(t, e, NULL);
    cJSON_Delete(present);
    return err;
}
