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
#include "kubernetes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define PROBLEMS_SAID_MAX 20 /* in one message; more are of no help */

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

/* ---- reading ---- */

static void answer_with(struct http_request *r, int status, const struct resource *found)
{
    cJSON *tree = api_shown(found);
    api_json(r, status, tree);
    cJSON_Delete(tree);
}

/* A definition of a kind by its name; NULL: there is none. */
static const cJSON *definition(const char *name)
{
    const cJSON *d;
    for (size_t i = 0; (d = kind_definition(i)); i++) {
        const char *each = metadata_text(d, "name");
        if (each && strcmp(each, name) == 0)
            return d;
    }
    return NULL;
}

static void get_one(struct api *a, struct http_request *r, const struct api_target *t, const struct api_form *f)
{
    const struct resource *found = resource_get(a->table, t->kind, t->namespace_name, t->name);
    const cJSON *of_kind = kind_is_definition(t->kind) ? definition(t->name) : NULL;
    if (!found && !of_kind) {
        api_not_found(r, t);
        return;
    }
    cJSON *shown = found ? api_shown(found) : NULL, *tree = NULL;
    if (shown || of_kind)
        tree = api_render(a, t->kind, f, shown ? shown : of_kind);
    api_json(r, 200, tree);
    cJSON_Delete(tree);
    cJSON_Delete(shown);
}

static void read(struct api *a, struct http_request *r, const struct api_target *t)
{
    struct api_form form;
    if (!api_form_read(r, &form))
        return;
    if (t->name[0])
        get_one(a, r, t, &form);
    else
        api_list(a, r, t, &form);
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
static cJSON *read_object(struct http_request *r, const struct api_target *t, struct slice body)
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

static void write_object(struct api *a, struct http_request *r, const struct api_target *t, struct slice body,
                         bool create)
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
static void take_object(struct api *a, struct http_request *r, const struct api_target *t, struct slice body,
                        bool create)
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

static void merge(struct api *a, struct http_request *r, const struct api_target *t, struct slice body)
{
    const struct resource *found = resource_get(a->table, t->kind, t->namespace_name, t->name);
    struct slice type;
    if (!found) {
        api_not_found(r, t);
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

static void delete_one(struct api *a, struct http_request *r, const struct api_target *t)
{
    struct diag d = {0};
    char who[API_WHO_MAX];
    http_request_peer(r, who, sizeof who);
    enum err e = resource_delete(a->table, who, t->kind, t->namespace_name, t->name, &d);
    if (e == ERR_NOTFOUND) {
        api_not_found(r, t);
    } else if (e != OK) {
        api_refuse(r, e, &d);
    } else {
        api_status(r, 200, "", "%s \"%s\" deleted", t->kind->plural, t->name);
        a->changed(a->arg);
    }
}

void api_resources(struct api *a, struct http_request *r)
{
    struct api_target t;
    struct slice method = http_request_method(r), body = http_request_body(r);
    if (!api_target_parse(http_request_path(r), &t)) {
        http_respond_text(r, 404, "404 page not found: no kind of resource lies here");
        return;
    }
    bool one = t.name[0] != '\0';
    if (slice_eq(method, SLICE("GET")))
        read(a, r, &t);
    else if (api_read_only(a, r))
        return;
    else if (t.status || kind_is_definition(t.kind))
        api_status_of(r, 405, "MethodNotAllowed", &t, NULL,
                      "the server does not allow this method on the requested "
                      "resource: it is written by the server alone");
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
