/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing resources (Kubernetes' API conventions, "Verbs on Resources"): POST, PUT, PATCH (merge, JSON, and strategic
 * merge for Kubernetes' own kinds). A patch is applied to the object as it is now, in
 * one go with the write, so it conflicts only with a resourceVersion that it names itself.
 *
 * What comes in is checked by the kind's schema. A field that is not known is left out and told in a Warning header, or
 * refused, as the parameter fieldValidation says.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../happenings.h"
#include "../resource/check.h"
#include "map.h"
#include "namespaces.h"
#include "patch.h"
#include "protobuf.h"
#include "text.h"
#include "write.h"

#define PROBLEMS_SAID_MAX 20 /* in one message; more are of no help */
#define WARNING_MAX 300      /* bytes of one */

/* ---- what is asked for ---- */

bool api_refuse_parameter(struct http_request *r, const char *name, struct slice value)
{
    static const struct {
        const char *method;
        struct kind options;
    } kinds[] = {{"POST", {.group = "meta.k8s.io", .kind = "CreateOptions"}},
                 {"PUT", {.group = "meta.k8s.io", .kind = "UpdateOptions"}},
                 {"PATCH", {.group = "meta.k8s.io", .kind = "PatchOptions"}},
                 {"DELETE", {.group = "meta.k8s.io", .kind = "DeleteOptions"}}};
    size_t i = 0;
    while (i < 3 && !slice_eq(http_request_method(r), slice_str(kinds[i].method)))
        i++;
    const struct api_target options = {.kind = &kinds[i].options};
    api_status_of(r, 422, "Invalid", &options, api_causes("FieldValueNotSupported", "Unsupported value", name),
                  "%s.meta.k8s.io \"\" is invalid: %s: Unsupported value: \"%.*s\"", kinds[i].options.kind, name,
                  value.len > 40 ? 40 : (int)value.len, value.ptr ? value.ptr : "");
    return false;
}

bool api_dry_run(struct http_request *r, bool *dry)
{
    struct buf text;
    buf_init(&text, 64);
    *dry = api_query(r, "dryRun", &text) && text.len;
    bool good =
        !*dry || slice_eq(buf_slice(&text), SLICE("All")) || api_refuse_parameter(r, "dryRun", buf_slice(&text));
    buf_fini(&text);
    return good;
}

static bool read_options(struct write *w)
{
    struct buf text;
    bool good = true;
    if (!api_dry_run(w->request, &w->dry))
        return false;
    buf_init(&text, 64);
    bool there = api_query(w->request, "fieldValidation", &text) && text.len;
    if (slice_eq(buf_slice(&text), SLICE("Strict")))
        w->fields = FIELDS_STRICT;
    else if (slice_eq(buf_slice(&text), SLICE("Ignore")))
        w->fields = FIELDS_IGNORE;
    else if (there && !slice_eq(buf_slice(&text), SLICE("Warn")))
        good = api_refuse_parameter(w->request, "fieldValidation", buf_slice(&text));
    buf_fini(&text);
    return good;
}

/* ---- answers ---- */

/* One Warning header (RFC 7234 section 5.5: 299, a quoted text); what a header may not hold becomes a question mark. */
static void put_warning(const struct problem *p, struct buf *out)
{
    buf_put_str(out, "299 - \"");
    if (!p->unknown && p->path)
        buf_printf(out, "%s: ", p->path);
    for (const char *c = p->text; *c && out->len < WARNING_MAX; c++) {
        if (*c == '"' || *c == '\\')
            buf_put_char(out, '\\');
        buf_put_char(out, *c < 32 || *c > 126 ? '?' : *c);
    }
    buf_put_char(out, '"');
}

void write_answer(struct write *w, int status, const struct resource *found)
{
    struct http_header headers[1 + API_WARNINGS_MAX] = {{SLICE("Content-Type"), SLICE("application/json")}};
    struct buf texts[API_WARNINGS_MAX];
    size_t count = 0;
    const struct api_form whole = {.as = API_AS_IS};
    cJSON *shown = api_shown(found), *tree = shown ? api_render(w->api, w->target->kind, &whole, shown) : NULL;
    char *body = tree ? cJSON_PrintUnformatted(tree) : NULL;
    for (size_t i = 0; i < w->problems.count && count < API_WARNINGS_MAX && w->fields != FIELDS_IGNORE; i++) {
        if (!w->problems.list[i].warning)
            continue;
        buf_init(&texts[count], 2 * WARNING_MAX);
        put_warning(&w->problems.list[i], &texts[count]);
        headers[1 + count] = (struct http_header){SLICE("Warning"), buf_slice(&texts[count])};
        count++;
    }
    if (body)
        http_respond(w->request, status, headers, 1 + count, slice_str(body));
    else
        api_status(w->request, 500, "InternalError", "out of memory");
    for (size_t i = 0; i < count; i++)
        buf_fini(&texts[i]);
    cJSON_free(body);
    cJSON_Delete(tree);
    cJSON_Delete(shown);
}

/* ---- refusals ---- */

static void add_cause(cJSON *causes, const struct problem *p)
{
    cJSON *cause = cJSON_CreateObject();
    bool good = cause && causes &&
                cJSON_AddStringToObject(cause, "reason", p->reason ? p->reason : "FieldValueInvalid") &&
                cJSON_AddStringToObject(cause, "message", p->text) &&
                cJSON_AddStringToObject(cause, "field", p->path ? p->path : "") && cJSON_AddItemToArray(causes, cause);
    if (!good)
        cJSON_Delete(cause);
}

static void problems_text(const struct problems *p, struct buf *out, cJSON *causes)
{
    for (size_t i = 0, said = 0; i < p->count && said < PROBLEMS_SAID_MAX; i++) {
        if (p->list[i].warning)
            continue;
        buf_printf(out, "%s%s%s%s", said++ ? "; " : "", p->list[i].path ? p->list[i].path : "",
                   p->list[i].path ? ": " : "", p->list[i].text);
        add_cause(causes, &p->list[i]);
    }
}

void write_refuse_invalid(struct write *w)
{
    const struct api_target *t = w->target;
    struct buf text;
    cJSON *causes = cJSON_CreateArray();
    buf_init(&text, 16384);
    problems_text(&w->problems, &text, causes);
    api_status_of(w->request, 422, "Invalid", t, causes, "%s%s%s \"%s\" is invalid: %.*s", t->kind->kind,
                  t->kind->group[0] ? "." : "", t->kind->group, t->name, SLICE_ARG(buf_slice(&text)));
    buf_fini(&text);
}

/* What a body says that it is: its name into the target; false when that is no kind. A body that does not say what it
 * is cannot be checked (400); one of a kind that there is can be wrong in itself (422). */
static bool says_its_kind(struct slice body, struct api_target *t)
{
    cJSON *tree = body.len <= MANIFEST_BYTES_MAX ? cJSON_ParseWithLength(body.ptr, body.len) : NULL;
    const char *version = json_text(tree, "apiVersion"), *kind = json_text(tree, "kind"),
               *name = metadata_text(tree, "name");
    bool says = version && kind && kind_find(version, kind);
    if (name && !t->name[0])
        snprintf(t->name, sizeof t->name, "%s", name);
    cJSON_Delete(tree);
    return says;
}

static void refuse_kind(struct write *w, const char *kind, const char *name)
{
    struct kind said = *w->target->kind;
    struct api_target named = {.kind = &said};
    said.kind = kind;
    snprintf(named.name, sizeof named.name, "%s", name ? name : "");
    api_status_of(w->request, 422, "Invalid", &named, api_causes("FieldValueInvalid", "is another kind", "kind"),
                  "kind: Invalid value: \"%.100s\": must be %s", kind, w->target->kind->kind);
}

/* A body of a kind that there is not, in the version of the path; false when it is not that. */
static bool refuse_unknown_kind(struct write *w, struct slice body)
{
    struct buf version;
    cJSON *tree = body.len <= MANIFEST_BYTES_MAX ? cJSON_ParseWithLength(body.ptr, body.len) : NULL;
    const char *said = json_text(tree, "apiVersion"), *kind = json_text(tree, "kind");
    buf_init(&version, 2 * API_NAME_MAX);
    api_version_put(w->target->kind, &version);
    bool unknown = said && kind && !kind_find(said, kind) && slice_eq(buf_slice(&version), slice_str(said));
    if (unknown)
        refuse_kind(w, kind, metadata_text(tree, "name"));
    buf_fini(&version);
    cJSON_Delete(tree);
    return unknown;
}

static void refuse_body(struct write *w, struct slice body)
{
    if (refuse_unknown_kind(w, body))
        return;
    struct api_target named = *w->target;
    struct buf text;
    cJSON *causes = cJSON_CreateArray();
    buf_init(&text, 16384);
    problems_text(&w->problems, &text, causes);
    struct slice why = text.len ? buf_slice(&text) : SLICE("the body is no object");
    if (says_its_kind(body, &named)) {
        api_status_of(w->request, 422, "Invalid", &named, causes, "%s%s%s \"%s\" is invalid: %.*s", named.kind->kind,
                      named.kind->group[0] ? "." : "", named.kind->group, named.name, SLICE_ARG(why));
    } else {
        cJSON_Delete(causes);
        api_status(w->request, 400, "BadRequest", "%.*s", SLICE_ARG(why));
    }
    buf_fini(&text);
}

/* With fieldValidation=Strict; true when the request has been answered. */
bool write_refuse_unknown(struct write *w)
{
    struct buf text;
    size_t said = 0;
    buf_init(&text, 16384);
    for (size_t i = 0; i < w->problems.count && w->fields == FIELDS_STRICT && said < PROBLEMS_SAID_MAX; i++)
        if (w->problems.list[i].unknown)
            buf_printf(&text, "%s%s", said++ ? ", " : "", w->problems.list[i].text);
    const struct kind *k = w->target->kind;
    if (said)
        api_status(w->request, 400, "BadRequest",
                   "%s in version \"%s\" cannot be handled as a %s: strict decoding error: %.*s", k->kind, k->version,
                   k->kind, SLICE_ARG(buf_slice(&text)));
    buf_fini(&text);
    return said > 0;
}

/* "spec.channel: is wrong", or "spec.channel cannot be changed", as a cause: kubectl shows causes, not the message. */
static cJSON *cause_of(const char *text)
{
    char field[200];
    const char *colon = strstr(text, ": ");
    bool named = strncmp(text, "spec.", 5) == 0 || strncmp(text, "metadata.", 9) == 0;
    size_t n = colon ? (size_t)(colon - text) : named ? strcspn(text, " ") : 0;
    if (n == 0 || n >= sizeof field || !text[n])
        return api_causes("FieldValueInvalid", text, "");
    snprintf(field, sizeof field, "%.*s", (int)n, text);
    return api_causes("FieldValueInvalid", text + n + (colon ? 2 : 1), field);
}

void api_refuse_of(struct http_request *r, const struct api_target *t, enum err e, const struct diag *d)
{
    const char *text = d->text[0] ? d->text : err_name(e);
    switch (e) {
    case ERR_EXISTS:
        api_status_of(r, 409, "AlreadyExists", t, NULL, "%s", text);
        break;
    case ERR_CONFLICT:
        api_status_of(r, 409, "Conflict", t, NULL, "%s", text);
        break;
    case ERR_NOTFOUND:
        api_status_of(r, 404, "NotFound", t, NULL, "%s", text);
        break;
    case ERR_INVALID:
        api_status_of(r, 422, "Invalid", t, cause_of(text), "%s%s%s \"%s\" is invalid: %s", t->kind->kind,
                      t->kind->group[0] ? "." : "", t->kind->group, t->name, text);
        break;
    default:
        api_refuse(r, e, d);
    }
}

/* ---- objects ---- */

void write_forget_empty(cJSON *object)
{
    static const char *const parts[] = {"labels", "annotations", "finalizers", "ownerReferences"};
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const cJSON *part = cJSON_GetObjectItemCaseSensitive(metadata, parts[i]);
        if (part && !part->child)
            cJSON_DeleteItemFromObjectCaseSensitive(metadata, parts[i]);
    }
}

/* The body as a checked object of the path's kind and place; NULL when the request has been answered. */
static cJSON *read_object(struct write *w, struct slice body)
{
    const struct api_target *t = w->target;
    struct http_request *r = w->request;
    cJSON *object = NULL;
    const struct kind *kind = NULL;
    enum err e = object_parse_pruned(body, t->namespace_name, &object, &kind, &w->problems);
    const char *space = metadata_text(object, "namespace"), *name = metadata_text(object, "name");
    bool wrong = true;
    if (e == ERR_NOMEM)
        api_status(r, 500, "InternalError", "out of memory");
    else if (write_refuse_unknown(w))
        wrong = true;
    else if (e != OK || w->problems.errors > 0)
        refuse_body(w, body);
    else if (kind != t->kind && kind->stored == t->kind->stored)
        api_status(r, 400, "BadRequest",
                   "the API version in the data (%s/%s) does not match the expected API version (%s/%s)", kind->group,
                   kind->version, t->kind->group, t->kind->version);
    else if (kind != t->kind)
        refuse_kind(w, kind->kind, name);
    else if (t->namespace_name[0] && space && strcmp(space, t->namespace_name) != 0)
        api_status(r, 400, "BadRequest",
                   "the namespace of the provided object does not match the namespace sent on the request");
    else if (t->name[0] && name && strcmp(name, t->name) != 0)
        api_status(r, 400, "BadRequest", "the name of the object (%s) does not match the name on the URL (%s)", name,
                   t->name);
    else
        wrong = false;
    if (!wrong) {
        write_forget_empty(object);
        return object;
    }
    cJSON_Delete(object);
    return NULL;
}

/* All that a write would do but the write. */
static enum err try(struct write *w, cJSON *object, struct diag *d)
{
    struct resource_table *t = w->api->table;
    enum err e = w->create ? resource_try_create(t, w->target->kind, object, d)
                           : resource_try_replace(t, w->target->kind, object, d);
    const struct resource shown = {.kind = w->target->kind, .object = object};
    if (e == OK && w->create) /* what is not stored has no version */
        cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "metadata"),
                                                "resourceVersion");
    if (e == OK)
        write_answer(w, w->create ? 201 : 200, &shown);
    if (e == OK)
        cJSON_Delete(object);
    return e;
}

static enum err store(struct write *w, cJSON *object, struct diag *d)
{
    struct resource_table *t = w->api->table;
    const struct resource *stored = NULL;
    char who[API_WHO_MAX];
    access_who(&w->api->access, w->request, who);
    if (w->create && kind_is_passing(w->target->kind))
        happenings_make_room(w->api->happenings);
    enum err e = w->create ? resource_create(t, who, w->target->kind, object, &stored, d)
                           : resource_replace(t, who, w->target->kind, object, &stored, d);
    if (e != OK)
        return e;
    write_answer(w, w->create ? 201 : 200, stored);
    if (api_is_finalized(stored))
        e = resource_delete(t, who, stored->kind, stored->namespace_name, stored->name, d);
    api_changed(w->api, w->target->kind);
    return OK; /* it has been answered: should the removal fail, the next write of it tries again */
}

/* Whether a list of texts has one that the other has not. ERR_NOMEM. */
static enum err more_than(const cJSON *wanted, const cJSON *held, bool *more)
{
    struct map there;
    const cJSON *each;
    enum err e = OK;
    map_init(&there, MANIFEST_NODES_MAX);
    cJSON_ArrayForEach(each, held)
        if (e == OK)
            e = map_set(&there, slice_str(cJSON_GetStringValue(each)), &there, NULL);
    *more = false;
    cJSON_ArrayForEach(each, wanted)
        *more = *more || !map_get(&there, slice_str(cJSON_GetStringValue(each)));
    map_fini(&there);
    return e;
}

/* What is being deleted can be let go, not be held by more; true when the request has been answered. */
static bool refuse_holding(struct write *w, const cJSON *object)
{
    const struct api_target *t = w->target;
    const struct resource *found = w->create ? NULL : resource_get(w->api->table, t->kind, t->namespace_name, t->name);
    bool more = false;
    if (!found || !metadata_text(found->object, "deletionTimestamp"))
        return false;
    enum err e =
        more_than(cJSON_GetObjectItemCaseSensitive(json_object(object, "metadata"), "finalizers"),
                  cJSON_GetObjectItemCaseSensitive(json_object(found->object, "metadata"), "finalizers"), &more);
    if (e != OK)
        api_status(w->request, 500, "InternalError", "out of memory");
    else if (more)
        api_status_of(w->request, 422, "Invalid", t,
                      api_causes("FieldValueForbidden", "Forbidden", "metadata.finalizers"),
                      "%s%s%s \"%s\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the "
                      "object is being deleted",
                      t->kind->kind, t->kind->group[0] ? "." : "", t->kind->group, t->name);
    return e != OK || more;
}

void write_object(struct write *w, struct slice body)
{
    struct diag d = {0};
    if (body.len > MANIFEST_BYTES_MAX) { /* a patch made it so */
        api_status(w->request, 413, "RequestEntityTooLarge", "the object would have %zu bytes, and may have 1 MiB",
                   body.len);
        return;
    }
    problems_init(&w->problems);
    cJSON *object = read_object(w, body);
    if (object && refuse_holding(w, object)) {
        cJSON_Delete(object);
        object = NULL;
    }
    enum err e = object ? write_manage(w, object, &d) : OK;
    e = !object || e != OK ? e : w->dry ? try(w, object, &d) : store(w, object, &d);
    if (e != OK) {
        struct api_target named = *w->target;
        const char *name = metadata_text(object, "name");
        snprintf(named.name, sizeof named.name, "%s", name ? name : "");
        api_refuse_of(w->request, &named, e, &d);
        cJSON_Delete(object);
    }
    problems_fini(&w->problems);
}

/* ---- POST, PUT ---- */

struct slice write_media_type(const struct http_request *r, struct slice fallback)
{
    struct slice type;
    return http_request_header(r, "content-type", &type) ? slice_trim(slice_split(&type, ';')) : fallback;
}

void write_unknown_format(struct write *w, const char *accepted)
{
    api_status(w->request, 415, "UnsupportedMediaType",
               "the body of the request was in an unknown format - accepted media types include: %s", accepted);
}

static void take_protobuf(struct write *w, struct slice body)
{
    struct diag d = {0};
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    enum err e = kubernetes_protobuf_read(body, &text, &d);
    if (e == OK && buf_error(&text) == OK)
        write_object(w, buf_slice(&text));
    else if (e == OK)
        api_status(w->request, 413, "RequestEntityTooLarge", "the object is larger than 1 MiB");
    else if (e == ERR_UNSUPPORTED)
        write_unknown_format(w, "application/json");
    else
        api_status(w->request, 400, "BadRequest", "%s", d.text);
    buf_fini(&text);
}

/* What POST and PUT bring is JSON, also when it does not say so. */
static void take_object(struct write *w, struct slice body)
{
    struct slice type = write_media_type(w->request, SLICE("application/json"));
    if (slice_eq_nocase(type, SLICE("application/json")))
        write_object(w, body);
    else if (slice_eq_nocase(type, SLICE("application/vnd.kubernetes.protobuf")))
        take_protobuf(w, body);
    else
        write_unknown_format(w, "application/json");
}

/* ---- PATCH ---- */

static enum err by_merge(cJSON **target, const cJSON *patch, const struct kind *k, struct diag *d)
{
    (void)k;
    return cJSON_IsObject(patch) ? merge_patch(*target, patch)
                                 : diag_set(d, ERR_INVALID, "the patch is no JSON object");
}

static enum err by_strategy(cJSON **target, const cJSON *patch, const struct kind *k, struct diag *d)
{
    return cJSON_IsObject(patch) ? strategic_patch(*target, patch, k->kind, d)
                                 : diag_set(d, ERR_INVALID, "the patch is no JSON object");
}

static enum err by_operations(cJSON **target, const cJSON *patch, const struct kind *k, struct diag *d)
{
    (void)k;
    return json_patch(target, patch, d);
}

typedef enum err patch_fn(cJSON **target, const cJSON *patch, const struct kind *k, struct diag *d);

/* NULL when there is no such patch for this kind. */
static patch_fn *patch_of(const struct kind *k, struct slice type)
{
    if (slice_eq_nocase(type, SLICE("application/merge-patch+json")))
        return by_merge;
    if (slice_eq_nocase(type, SLICE("application/json-patch+json")))
        return by_operations;
    return k->group[0] == 0 && slice_eq_nocase(type, SLICE("application/strategic-merge-patch+json")) ? by_strategy
                                                                                                      : NULL;
}

cJSON *write_patched(struct write *w, const struct resource *found, struct slice body)
{
    const struct api_target *t = w->target;
    patch_fn *apply = patch_of(t->kind, write_media_type(w->request, SLICE("")));
    struct diag d = {0};
    if (!apply) {
        write_unknown_format(w, "application/json-patch+json, application/merge-patch+json");
        return NULL;
    }
    cJSON *tree = cJSON_ParseWithLength(body.ptr, body.len), *object = resource_whole(found);
    bool whole = object && object_convert(object, t->kind->stored, t->kind) &&
                 (apply != by_operations || write_show_managed(found, object));
    enum err e = !whole  ? ERR_NOMEM
                 : !tree ? diag_set(&d, ERR_INVALID, "the patch is no JSON")
                         : apply(&object, tree, t->kind, &d);
    cJSON_Delete(tree);
    if (e == OK)
        return object;
    if (e == ERR_CONFLICT)
        /* without details: with them kubectl would name the object, and leave out why */
        api_status(w->request, 422, "Invalid", "the server rejected our request due to an error in our request: %s",
                   d.text);
    else if (e == ERR_INVALID)
        api_status(w->request, 400, "BadRequest", "%s", d.text[0] ? d.text : "the patch is too deep");
    else
        api_status(w->request, 500, "InternalError", "out of memory");
    cJSON_Delete(object);
    return NULL;
}

static void patch(struct write *w, struct slice body)
{
    const struct api_target *t = w->target;
    const struct resource *found =
        namespaces_get(w->api->namespaces, w->api->table, t->kind, t->namespace_name, t->name);
    if (!found) {
        api_not_found(w->request, t);
        return;
    }
    cJSON *object = write_patched(w, found, body);
    char *text = object ? cJSON_PrintUnformatted(object) : NULL;
    if (text)
        write_object(w, slice_str(text));
    else if (object)
        api_status(w->request, 500, "InternalError", "out of memory");
    cJSON_free(text);
    cJSON_Delete(object);
}

bool api_write(struct api *a, struct http_request *r, const struct api_target *t)
{
    struct write w = {.api = a, .request = r, .target = t};
    struct slice method = http_request_method(r), body = http_request_body(r);
    bool one = t->name[0], post = !one && slice_eq(method, SLICE("POST")), put = one && slice_eq(method, SLICE("PUT")),
         change = one && slice_eq(method, SLICE("PATCH"));
    if (!post && !put && !change)
        return false;
    w.create = post || namespaces_held(a->namespaces, t->kind, t->name) != NAMESPACE_MADE;
    if (!read_options(&w) || !write_read_manager(&w))
        return true;
    if (t->status)
        write_status(&w, body);
    else if (change && slice_eq_nocase(write_media_type(r, SLICE("")), SLICE("application/apply-patch+yaml")))
        write_apply(&w, body);
    else if (change)
        patch(&w, body);
    else
        take_object(&w, body);
    return true;
}
