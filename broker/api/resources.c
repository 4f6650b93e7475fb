/* SPDX-License-Identifier: Apache-2.0
 *
 * Resources over HTTP, under Kubernetes' paths (API conventions, "Resources" and "Verbs on Resources"):
 *
 *     /api/v1/namespaces/NS/PLURAL[/NAME]             core
 *     /apis/GROUP/VERSION/namespaces/NS/PLURAL[/NAME] the others; without namespaces/NS: cluster scoped, or a list over
 * all namespaces
 *
 * GET (one or a list), POST, PUT, PATCH (JSON merge patch, RFC 7396), DELETE. Errors are Status objects.
 */
#include "../resource/check.h"
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define NAME_MAX_LEN 253     /* DNS-1123 subdomain */
#define PROBLEMS_SAID_MAX 20 /* in one message; more are of no help */

struct target { /* what a path means */
    const struct kind *kind;
    char namespace_name[NAME_MAX_LEN + 1]; /* "" when none was in the path */
    char name[NAME_MAX_LEN + 1];           /* "" for the collection */
};

static bool copy(struct slice from, char *to)
{
    struct buf decoded;
    buf_init(&decoded, NAME_MAX_LEN);
    bool good = percent_decode(from, &decoded) == OK && buf_error(&decoded) == OK && decoded.len > 0;
    if (good) {
        memcpy(to, decoded.ptr, decoded.len);
        to[decoded.len] = '\0';
    }
    buf_fini(&decoded);
    return good;
}

/* False when the path means nothing here. */
static bool parse_path(struct slice path, struct target *t)
{
    char group[NAME_MAX_LEN + 1] = "", version[NAME_MAX_LEN + 1], plural[NAME_MAX_LEN + 1];
    struct slice rest = slice_from(path, 1);
    bool core = slice_eq(slice_split(&rest, '/'), SLICE("api"));
    *t = (struct target){0};
    if (!core && !copy(slice_split(&rest, '/'), group))
        return false;
    if (!copy(slice_split(&rest, '/'), version))
        return false;
    struct slice step = slice_split(&rest, '/');
    /* /api/v1/namespaces/NS is the namespace itself; with something behind it, it is a scope */
    struct slice beyond = rest;
    struct slice scope = slice_split(&beyond, '/');
    if (slice_eq(step, SLICE("namespaces")) && beyond.len > 0) {
        if (!copy(scope, t->namespace_name))
            return false;
        rest = beyond;
        step = slice_split(&rest, '/');
    }
    if (!copy(step, plural))
        return false;
    if (rest.len > 0 && (!copy(slice_split(&rest, '/'), t->name) || rest.len > 0))
        return false;
    t->kind = kind_by_plural(group, version, plural);
    return t->kind && (t->kind->namespaced || t->namespace_name[0] == '\0');
}

static void not_found(struct http_request *r, const struct target *t)
{
    api_status(r, 404, "NotFound", "%s%s%s \"%s\" not found", t->kind->plural, t->kind->group[0] ? "." : "",
               t->kind->group, t->name);
}

void api_refuse(struct http_request *r, enum err e, const struct diag *d)
{
    const char *text = d->text[0] ? d->text : err_name(e);
    switch (e) {
    case ERR_EXISTS:
        api_status(r, 409, "AlreadyExists", "%s", text);
        break;
    case ERR_CONFLICT:
        api_status(r, 409, "Conflict", "%s", text);
        break;
    case ERR_NOTFOUND:
        api_status(r, 404, "NotFound", "%s", text);
        break;
    case ERR_INVALID:
        api_status(r, 422, "Invalid", "%s", text);
        break;
    case ERR_TOO_LARGE:
        api_status(r, 413, "RequestEntityTooLarge", "%s", text);
        break;
    case ERR_FULL:
    case ERR_UNAVAILABLE:
        api_status(r, 503, "ServiceUnavailable", "%s", text);
        break;
    default:
        api_status(r, 500, "InternalError", "%s", text);
    }
}

/* ---- owners ---- */

/* Who owns an object is told where Kubernetes has it: as the manager of its fields. It is in answers only: what comes
 * back with an object is forgotten (table_object.c). */
static cJSON *managed_fields(const struct resource *found)
{
    cJSON *list = cJSON_CreateArray(), *entry = cJSON_CreateObject();
    if (!list || !entry || !cJSON_AddItemToArray(list, entry)) {
        cJSON_Delete(entry);
        cJSON_Delete(list);
        return NULL;
    }
    cJSON_AddStringToObject(entry, "manager", found->origin ? found->origin : "api");
    cJSON_AddStringToObject(entry, "operation", found->origin ? "Apply" : "Update");
    return list;
}

/* The object with its owner, of references to its own parts; NULL: no memory. */
static cJSON *shown(const struct resource *found)
{
    cJSON *object = cJSON_CreateObject(), *metadata = cJSON_CreateObject(), *fields = managed_fields(found), *each;
    bool good = object && metadata && fields;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(found->object, "metadata"))
        good = good && json_refer(metadata, each);
    if (good && cJSON_AddItemToObject(metadata, "managedFields", fields))
        fields = NULL;
    cJSON_ArrayForEach(each, found->object) {
        if (strcmp(each->string, "metadata") != 0)
            good = good && json_refer(object, each);
        else if (good && cJSON_AddItemToObject(object, "metadata", metadata))
            metadata = NULL;
    }
    if (good && !fields && !metadata)
        return object;
    cJSON_Delete(fields);
    cJSON_Delete(metadata);
    cJSON_Delete(object);
    return NULL;
}

static void answer_with(struct http_request *r, int status, const struct resource *found)
{
    cJSON *tree = shown(found);
    api_json(r, status, tree);
    cJSON_Delete(tree);
}

/* ---- reading ---- */

static void get_one(struct api *a, struct http_request *r, const struct target *t)
{
    const struct resource *found = resource_get(a->table, t->kind, t->namespace_name, t->name);
    if (found)
        answer_with(r, 200, found);
    else
        not_found(r, t);
}

static void api_version(const struct kind *k, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", k->group, k->group[0] ? "/" : "", k->version);
}

static void list(struct api *a, struct http_request *r, const struct target *t)
{
    char text[300];
    cJSON *tree = cJSON_CreateObject(), *items = cJSON_CreateArray();
    size_t cursor = 0;
    api_version(t->kind, text, sizeof text);
    cJSON_AddStringToObject(tree, "apiVersion", text);
    snprintf(text, sizeof text, "%sList", t->kind->kind);
    cJSON_AddStringToObject(tree, "kind", text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)resource_table_version(a->table));
    cJSON_AddStringToObject(cJSON_AddObjectToObject(tree, "metadata"), "resourceVersion", text);
    const char *scope = t->namespace_name[0] ? t->namespace_name : NULL;
    for (const struct resource *found; (found = resource_next(a->table, t->kind, scope, &cursor));)
        cJSON_AddItemToArray(items, shown(found));
    cJSON_AddItemToObject(tree, "items", items);
    api_json(r, 200, tree);
    cJSON_Delete(tree);
}

/* ---- writing ---- */

static void problems_text(const struct problems *p, struct buf *out)
{
    for (size_t i = 0, said = 0; i < p->count && said < PROBLEMS_SAID_MAX; i++) {
        if (p->list[i].warning)
            continue;
        buf_printf(out, "%s%s%s%s", said++ ? "; " : "", p->list[i].path ? p->list[i].path : "",
                   p->list[i].path ? ": " : "", p->list[i].text);
    }
}

/* A body that does not say what it is cannot be checked (400); one of a kind that there is can be wrong in itself
 * (422). */
static bool says_its_kind(struct slice body)
{
    cJSON *tree = body.len <= MANIFEST_BYTES_MAX ? cJSON_ParseWithLength(body.ptr, body.len) : NULL;
    const char *version = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, "apiVersion"));
    const char *kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, "kind"));
    bool says = version && kind && kind_find(version, kind);
    cJSON_Delete(tree);
    return says;
}

static void refuse_body(struct http_request *r, struct slice body, const struct problems *problems)
{
    struct buf text;
    buf_init(&text, 16384);
    problems_text(problems, &text);
    struct slice why = text.len ? buf_slice(&text) : SLICE("the body is no object");
    if (says_its_kind(body))
        api_status(r, 422, "Invalid", "%.*s", SLICE_ARG(why));
    else
        api_status(r, 400, "BadRequest", "%.*s", SLICE_ARG(why));
    buf_fini(&text);
}

/* The body as a checked object of the path's kind and place; NULL when the request has been answered. */
static cJSON *read_object(struct http_request *r, const struct target *t, struct slice body)
{
    struct problems problems;
    cJSON *object = NULL;
    const struct kind *kind = NULL;
    problems_init(&problems);
    enum err e = object_parse(body, t->namespace_name, &object, &kind, &problems);
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    const char *space = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, "namespace"));
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, "name"));
    bool wrong = true;
    if (e == ERR_NOMEM)
        api_status(r, 500, "InternalError", "out of memory");
    else if (e != OK || problems.errors > 0)
        refuse_body(r, body, &problems);
    else if (kind != t->kind)
        api_status(r, 422, "Invalid", "kind: Invalid value: \"%s\": must be %s", kind->kind, t->kind->kind);
    else if (t->namespace_name[0] && space && strcmp(space, t->namespace_name) != 0)
        api_status(r, 400, "BadRequest",
                   "the namespace of the provided object does not match the namespace sent on the request");
    else if (t->name[0] && name && strcmp(name, t->name) != 0)
        api_status(r, 400, "BadRequest", "the name of the object (%s) does not match the name on the URL (%s)", name,
                   t->name);
    else
        wrong = false;
    problems_fini(&problems);
    if (!wrong)
        return object;
    cJSON_Delete(object);
    return NULL;
}

static void write_object(struct api *a, struct http_request *r, const struct target *t, struct slice body, bool create)
{
    struct diag d = {0};
    const struct resource *stored = NULL;
    char who[API_WHO_MAX];
    cJSON *object = read_object(r, t, body);
    if (!object)
        return;
    http_request_peer(r, who, sizeof who);
    enum err e = create ? resource_create(a->table, who, t->kind, object, &stored, &d)
                        : resource_replace(a->table, who, t->kind, object, &stored, &d);
    if (e != OK) {
        cJSON_Delete(object);
        api_refuse(r, e, &d);
        return;
    }
    answer_with(r, create ? 201 : 200, stored);
    a->changed(a->arg);
}

/* What POST and PUT bring is JSON, also when it does not say so. */
static void take_object(struct api *a, struct http_request *r, const struct target *t, struct slice body, bool create)
{
    struct slice type;
    if (http_request_header(r, "content-type", &type) &&
        !slice_eq_nocase(slice_trim(slice_split(&type, ';')), SLICE("application/json")))
        api_status(r, 415, "UnsupportedMediaType",
                   "the body of the request was in an unknown format - accepted media types include: application/json");
    else
        write_object(a, r, t, body, create);
}

/* RFC 7396 section 2: null takes a member away, objects merge, everything else replaces. False without memory. */
static bool merge_patch(cJSON *target, const cJSON *patch)
{
    const cJSON *member;
    cJSON_ArrayForEach(member, patch) {
        cJSON *there = cJSON_GetObjectItemCaseSensitive(target, member->string);
        if (cJSON_IsObject(member) && cJSON_IsObject(there)) {
            if (!merge_patch(there, member))
                return false;
            continue;
        }
        cJSON_DeleteItemFromObjectCaseSensitive(target, member->string);
        if (cJSON_IsNull(member))
            continue;
        cJSON *added = cJSON_IsObject(member) ? cJSON_CreateObject() : cJSON_Duplicate(member, true);
        if (!added || !cJSON_AddItemToObject(target, member->string, added) ||
            (cJSON_IsObject(member) && !merge_patch(added, member)))
            return false;
    }
    return true;
}

static void merge(struct api *a, struct http_request *r, const struct target *t, struct slice body)
{
    const struct resource *found = resource_get(a->table, t->kind, t->namespace_name, t->name);
    struct slice type;
    if (!found) {
        not_found(r, t);
        return;
    }
    if (!http_request_header(r, "content-type", &type) ||
        !slice_has_prefix_nocase(type, SLICE("application/merge-patch+json"))) {
        api_status(r, 415, "UnsupportedMediaType",
                   "the body of the request was in an unknown format - accepted media types include: "
                   "application/merge-patch+json");
        return;
    }
    cJSON *patch = cJSON_ParseWithLength(body.ptr, body.len);
    if (!cJSON_IsObject(patch)) {
        cJSON_Delete(patch);
        api_status(r, 400, "BadRequest", "the patch is no JSON object");
        return;
    }
    cJSON *merged = cJSON_Duplicate(found->object, true);
    char *text = merged && merge_patch(merged, patch) ? cJSON_PrintUnformatted(merged) : NULL;
    if (text)
        write_object(a, r, t, slice_str(text), false);
    else
        api_status(r, 500, "InternalError", "out of memory");
    cJSON_free(text);
    cJSON_Delete(merged);
    cJSON_Delete(patch);
}

static void delete_one(struct api *a, struct http_request *r, const struct target *t)
{
    struct diag d = {0};
    char who[API_WHO_MAX];
    http_request_peer(r, who, sizeof who);
    enum err e = resource_delete(a->table, who, t->kind, t->namespace_name, t->name, &d);
    if (e == ERR_NOTFOUND) {
        not_found(r, t);
    } else if (e != OK) {
        api_refuse(r, e, &d);
    } else {
        api_status(r, 200, "", "%s \"%s\" deleted", t->kind->plural, t->name);
        a->changed(a->arg);
    }
}

void api_resources(struct api *a, struct http_request *r)
{
    struct target t;
    struct slice method = http_request_method(r), body = http_request_body(r);
    if (!parse_path(http_request_path(r), &t)) {
        http_respond_text(r, 404, "404 page not found: no kind of resource lies here");
        return;
    }
    bool one = t.name[0] != '\0';
    if (slice_eq(method, SLICE("GET")))
        (one ? get_one : list)(a, r, &t);
    else if (api_read_only(a, r))
        return;
    else if (slice_eq(method, SLICE("POST")) && !one)
        take_object(a, r, &t, body, true);
    else if (slice_eq(method, SLICE("PUT")) && one)
        take_object(a, r, &t, body, false);
    else if (slice_eq(method, SLICE("PATCH")) && one)
        merge(a, r, &t, body);
    else if (slice_eq(method, SLICE("DELETE")) && one)
        delete_one(a, r, &t);
    else
        api_status(r, 405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}
