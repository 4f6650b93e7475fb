/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server keeps in an object: uid, times, generation, version; and how an object becomes the next state of
 * another. Everything that allocates comes before a write, so that putting a state in force cannot fail.
 */
#include <assert.h>
#include <stdio.h>

#include "buf.h"
#include "check.h"
#include "table.h"
#include "text.h"
#include "uuid.h"

#define META_KEPT_COUNT 5
static const char *const meta_kept[META_KEPT_COUNT] = {"uid", "creationTimestamp", "generation", "deletionTimestamp",
                                                       "deletionGracePeriodSeconds"};

bool object_text_set(cJSON *object, const char *name, const char *value)
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

void entry_view(struct entry *e)
{
    struct resource *r = &e->public;
    const char *ns = metadata_text(r->object, "namespace");
    r->namespace_name = r->kind->namespaced && ns ? ns : "";
    r->name = metadata_text(r->object, "name");
    r->uid = metadata_text(r->object, "uid");
    r->origin = e->origin;
    r->status = e->status;
    assert(r->name && r->uid);
}

/* ---- managers ---- */

static cJSON *managed_of(const cJSON *object)
{
    cJSON *node = cJSON_GetObjectItemCaseSensitive(json_object(object, "metadata"), "managedFields");
    return cJSON_IsRaw(node) ? node : NULL;
}

bool object_managed_differs(const struct entry *e, const cJSON *object)
{
    const cJSON *node = managed_of(object);
    return node && strcmp(node->valuestring, e->managed ? e->managed : "") != 0;
}

void object_managed_take(struct entry *e, cJSON *object)
{
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata"), *node = managed_of(object);
    if (!node)
        return;
    assert(!e->next_managed);
    e->next_managed = node->valuestring;
    node->valuestring = NULL;
    cJSON_Delete(cJSON_DetachItemViaPointer(metadata, node));
}

void entry_managed_keep(struct entry *e)
{
    if (!e->next_managed)
        return;
    cJSON_free(e->managed);
    e->managed = e->next_managed;
    e->next_managed = NULL;
    if (!*e->managed) {
        cJSON_free(e->managed);
        e->managed = NULL;
    }
    e->public.managed = e->managed;
}

void entry_managed_forget(struct entry *e)
{
    cJSON_free(e->next_managed);
    e->next_managed = NULL;
}

/* ---- versions ---- */

/* Room for the longest number, so that putting a version in force cannot fail. */
bool object_version_reserve(cJSON *object)
{
    return object_text_set(cJSON_GetObjectItemCaseSensitive(object, "metadata"), "resourceVersion",
                           "18446744073709551615");
}

void object_version_set(cJSON *object, uint64_t version)
{
    cJSON *v =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "metadata"), "resourceVersion");
    assert(v);
    snprintf(v->valuestring, strlen("18446744073709551615") + 1, "%llu", (unsigned long long)version);
}

/* What only answers show is not the object's. */
static void shown_forget(cJSON *metadata)
{
    if (!cJSON_IsRaw(cJSON_GetObjectItemCaseSensitive(metadata, "managedFields")))
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "managedFields");
    cJSON_DeleteItemFromObjectCaseSensitive(metadata, "selfLink");
}

/* Of the name by which a plan knows the object: versions of one kind are one object. */
static bool uid_make(struct resource_table *t, const struct kind *kind, const cJSON *metadata,
                     char uid[UUID_TEXT_BYTES])
{
    /* Drawn once, and never to change: groups on shared buses are named by what comes of it. */
    static const unsigned char space[16] = {0x6b, 0x1d, 0x5a, 0x0e, 0x3c, 0x47, 0x4f, 0x92,
                                            0xa8, 0x63, 0xd2, 0x9b, 0x71, 0xe4, 0x0c, 0x58};
    const char *ns = json_text(metadata, "namespace"), *name = json_text(metadata, "name");
    struct buf key;
    if (!t->named_uids) {
        prng_uuid(&t->prng, uid);
        return true;
    }
    buf_init(&key, SIZE_MAX);
    buf_printf(&key, "%s.%s/%s/%s", kind->kind, kind->group, kind->namespaced && ns ? ns : "", name ? name : "");
    bool good = buf_error(&key) == OK && uuid_named(space, buf_slice(&key), uid) == OK;
    buf_fini(&key);
    return good;
}

bool object_mark_deleted(struct resource_table *t, cJSON *object)
{
    char now[40];
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata"),
          *generation = cJSON_GetObjectItemCaseSensitive(metadata, "generation");
    cJSON_SetNumberValue(generation, generation->valuedouble + 1);
    return table_now(t, now, sizeof now) && object_text_set(metadata, "deletionTimestamp", now) &&
           number_set(metadata, "deletionGracePeriodSeconds", 0) && object_version_reserve(object);
}

bool object_begin(struct resource_table *t, const struct kind *kind, cJSON *object)
{
    char uid[UUID_TEXT_BYTES], now[40];
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    shown_forget(metadata);
    cJSON_DeleteItemFromObjectCaseSensitive(metadata, "deletionTimestamp");
    cJSON_DeleteItemFromObjectCaseSensitive(metadata, "deletionGracePeriodSeconds");
    bool good = uid_make(t, kind, metadata, uid) && table_now(t, now, sizeof now) &&
                object_text_set(metadata, "uid", uid) && object_text_set(metadata, "creationTimestamp", now) &&
                number_set(metadata, "generation", 1) && object_version_reserve(object);
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
            if (!other || !json_same(each, other))
                return true;
        }
    }
    return false;
}

static bool is_served(const char *name)
{
    static const char *const served[] = {
        "uid",           "creationTimestamp", "generation",        "resourceVersion",
        "managedFields", "selfLink",          "deletionTimestamp", "deletionGracePeriodSeconds"};
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
            if (!is_served(each->string) && (!other || !json_same(each, other)))
                return true;
        }
    }
    return false;
}

/* A copy of `value` under this name, in place of what is there; NULL: nothing. */
static bool copy_set(cJSON *object, const char *name, const cJSON *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    if (!value)
        return true;
    cJSON *copy = cJSON_Duplicate(value, true);
    if (copy && cJSON_AddItemToObject(object, name, copy))
        return true;
    cJSON_Delete(copy);
    return false;
}

bool object_is_as_before(const struct entry *old, const cJSON *object)
{
    return !old->public.quarantined && !spec_differs(old->public.kind, old->public.object, object) &&
           !metadata_differs(old->public.object, object);
}

bool object_continue(const struct entry *old, cJSON *object, bool *changed)
{
    const struct kind *kind = old->public.kind;
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    const cJSON *before = json_object(old->public.object, "metadata"),
                *status = cJSON_GetObjectItemCaseSensitive(old->public.object, "status");
    bool spec = old->public.quarantined || spec_differs(kind, old->public.object, object), good = true;
    shown_forget(metadata);
    *changed = spec || metadata_differs(old->public.object, object);
    for (size_t i = 0; i < META_KEPT_COUNT && good; i++)
        good = copy_set(metadata, meta_kept[i], cJSON_GetObjectItemCaseSensitive(before, meta_kept[i]));
    if (good && spec) {
        cJSON *generation = cJSON_GetObjectItemCaseSensitive(metadata, "generation");
        cJSON_SetNumberValue(generation, generation->valuedouble + 1);
    }
    if (kind->has_status) /* it stands beside the object, and stays */
        cJSON_DeleteItemFromObjectCaseSensitive(object, "status");
    else if (good && status && !old->public.quarantined && !cJSON_GetObjectItemCaseSensitive(object, "status"))
        good = copy_set(object, "status", status);
    return good && object_version_reserve(object);
}
