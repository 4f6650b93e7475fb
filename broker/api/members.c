/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of an object by name. Few changes are looked up by walking, as ever.
 */
#include "members.h"

#define WALKED_MAX 16          /* changes; more are worth a map */
#define MEMBERS_MAX (1u << 20) /* of an object: one may have 1 MiB */

enum err members_open(struct members *m, cJSON *object, const cJSON *patch)
{
    const cJSON *each = patch->child;
    int changes = 0;
    enum err e = OK;
    for (; each && changes <= WALKED_MAX; each = each->next)
        changes++;
    m->object = object;
    m->mapped = changes > WALKED_MAX;
    map_init(&m->map, MEMBERS_MAX);
    for (cJSON *there = object->child; m->mapped && there && e == OK; there = there->next) {
        e = map_add(&m->map, slice_str(there->string), there);
        e = e == ERR_EXISTS ? OK : e; /* the first counts, as ever */
    }
    if (e != OK)
        map_fini(&m->map);
    return e;
}

void members_close(struct members *m)
{
    map_fini(&m->map);
}

cJSON *members_get(const struct members *m, const char *name)
{
    return m->mapped ? map_get(&m->map, slice_str(name)) : cJSON_GetObjectItemCaseSensitive(m->object, name);
}

/* With the name of the one whose place it takes: cJSON's own replacing loses it when memory runs out. */
static void take_place(cJSON *object, cJSON *there, cJSON *value)
{
    if (value->string && !(value->type & cJSON_StringIsConst))
        cJSON_free(value->string); /* a copy of a member has its name already */
    value->type &= ~cJSON_StringIsConst;
    value->string = there->string;
    value->type |= there->type & cJSON_StringIsConst;
    there->string = NULL;
    there->type &= ~cJSON_StringIsConst;
    cJSON_ReplaceItemViaPointer(object, there, value);
}

enum err members_put(struct members *m, const char *name, cJSON *value)
{
    cJSON *there = members_get(m, name);
    if (!value)
        return ERR_NOMEM;
    enum err e = m->mapped ? map_set(&m->map, slice_str(name), value, NULL) : OK;
    if (e == OK && there)
        take_place(m->object, there, value);
    else if (e == OK && !cJSON_AddItemToObject(m->object, name, value))
        e = ERR_NOMEM;
    if (e != OK)
        cJSON_Delete(value);
    return e;
}

void members_remove(struct members *m, const char *name)
{
    cJSON *there = members_get(m, name);
    if (!there)
        return;
    if (m->mapped)
        map_remove(&m->map, slice_str(name));
    cJSON_Delete(cJSON_DetachItemViaPointer(m->object, there));
}
