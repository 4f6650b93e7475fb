/* SPDX-License-Identifier: Apache-2.0
 *
 * Server-side apply over HTTP: PATCH with application/apply-patch+yaml. The body (JSON or YAML) is what the applier
 * wants to be so and no more; what comes of it and the present object (managed.h) is printed and read like a body, so
 * that the checks are those of every write.
 *
 * For kubectl, as in Kubernetes: what its annotation last-applied-configuration says was applied by itself, so it
 * conflicts with nobody; and where the annotation is there it is kept up, so that one may go back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../resource/check.h"
#include "../resource/rules.h"
#include "write.h"

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define BEFORE "before-first-apply" /* who owned what is there when it is applied for the first time */
#define CAUSES_MAX 100              /* of an answer; its message tells how many there are */

/* ---- the body ---- */

struct reader {
    cJSON *tree;
    size_t documents;
    char mistake[200];
};

static void on_document(void *arg, cJSON *root)
{
    struct reader *r = arg;
    if (r->documents++ == 0)
        r->tree = root;
    else
        cJSON_Delete(root);
}

static void on_mistake(void *arg, struct place at, const char *text)
{
    struct reader *r = arg;
    if (!r->mistake[0])
        snprintf(r->mistake, sizeof r->mistake, "line %d, column %d: %.150s", at.line, at.column, text);
}

cJSON *write_read_tree(struct write *w, struct slice body)
{
    struct reader r = {0};
    struct places places;
    struct slice text = slice_trim(body);
    if (body.len > MANIFEST_BYTES_MAX) {
        api_status(w->request, 413, "RequestEntityTooLarge", "the object is larger than 1 MiB");
        return NULL;
    }
    places_init(&places);
    struct reading reading = {
        .places = &places, .nodes_left = MANIFEST_NODES_MAX, .document = on_document, .mistake = on_mistake, .arg = &r};
    enum err e = text.len && *text.ptr == '{' ? json_read(body, &reading) : yaml_read(body, &reading);
    places_fini(&places);
    if (e == OK && !r.mistake[0] && r.documents == 1 && cJSON_IsObject(r.tree))
        return r.tree;
    if (e != OK)
        api_status(w->request, 500, "InternalError", "out of memory");
    else
        api_status(w->request, 400, "BadRequest", "error decoding YAML: %s",
                   r.mistake[0] ? r.mistake : "the body must be one object");
    cJSON_Delete(r.tree);
    return NULL;
}

static bool says_another(const char *said, const char *wanted)
{
    return said && *said && strcmp(said, wanted) != 0;
}

/* Whether it may be applied here; else the request has been answered. */
static bool check_body(struct write *w, const cJSON *applied)
{
    const struct api_target *t = w->target;
    const char *version = json_text(applied, "apiVersion"), *kind = json_text(applied, "kind"),
               *name = metadata_text(applied, "name"), *space = metadata_text(applied, "namespace");
    if (!version || !kind || kind_find(version, kind) != t->kind)
        api_status(w->request, 400, "BadRequest", "invalid object type: %s, Kind=%s", version ? version : "",
                   kind ? kind : "");
    else if (says_another(name, t->name))
        api_status(w->request, 400, "BadRequest", "the name of the object (%s) does not match the name on the URL (%s)",
                   name, t->name);
    else if (t->kind->namespaced && says_another(space, t->namespace_name))
        api_status(w->request, 400, "BadRequest",
                   "the namespace of the provided object does not match the namespace sent on the request");
    else if (cJSON_GetObjectItemCaseSensitive(json_object(applied, "metadata"), "managedFields"))
        api_status(w->request, 400, "BadRequest", "metadata.managedFields must be nil");
    else
        return true;
    return false;
}

/* The place that the path names, and a Secret's values where they are kept. false: no memory. */
static bool complete(const struct write *w, cJSON *applied)
{
    const struct api_target *t = w->target;
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(applied, "metadata");
    if (!cJSON_IsObject(metadata)) {
        cJSON_DeleteItemFromObjectCaseSensitive(applied, "metadata");
        metadata = cJSON_AddObjectToObject(applied, "metadata");
    }
    bool good = metadata != NULL;
    if (good && !json_text(metadata, "name"))
        good = cJSON_AddStringToObject(metadata, "name", t->name);
    if (good && t->kind->namespaced && !json_text(metadata, "namespace"))
        good = cJSON_AddStringToObject(metadata, "namespace", t->namespace_name);
    if (good && t->kind->group[0] == 0 && strcmp(t->kind->kind, "Secret") == 0)
        good = secret_plain_move(applied);
    return good;
}

/* ---- conflicts ---- */

static bool put_cause(cJSON *causes, const char *message, const char *field)
{
    cJSON *cause = cJSON_CreateObject();
    if (causes && cause && cJSON_AddStringToObject(cause, "reason", "FieldManagerConflict") &&
        cJSON_AddStringToObject(cause, "message", message) && cJSON_AddStringToObject(cause, "field", field) &&
        cJSON_AddItemToArray(causes, cause))
        return true;
    cJSON_Delete(cause);
    return false;
}

static void refuse_conflicts(struct write *w, const struct conflicts *c)
{
    struct buf message, with;
    const struct manager *last = NULL;
    cJSON *causes = cJSON_CreateArray();
    buf_init(&message, 1 << 20);
    buf_printf(&message, "Apply failed with %zu conflict%s: ", c->count, c->count == 1 ? "" : "s");
    for (size_t i = 0; i < c->count && i < CAUSES_MAX; i++) {
        const struct conflict *each = &c->list[i];
        buf_init(&with, 8192);
        manager_put(each->with, &with);
        if (c->count == 1)
            buf_printf(&message, "conflict with %.*s: %s", SLICE_ARG(buf_slice(&with)), each->path);
        else if (each->with != last)
            buf_printf(&message, "%sconflicts with %.*s:\n- %s", last ? "\n" : "", SLICE_ARG(buf_slice(&with)),
                       each->path);
        else
            buf_printf(&message, "\n- %s", each->path);
        last = each->with;
        char said[512];
        snprintf(said, sizeof said, "conflict with %.*s", SLICE_ARG(buf_slice(&with)));
        (void)put_cause(causes, said, each->path); /* without memory there is less detail */
        buf_fini(&with);
    }
    api_status_options(w->request, 409, "Conflict", NULL, causes, "%.*s", SLICE_ARG(buf_slice(&message)));
    buf_fini(&message);
}

/* ---- kubectl ---- */

/* What kubectl applied by itself, according to its annotation: no conflict of its own. */
static const struct fields *own_already(const struct write *w, struct fields_work *work, const struct shape *s,
                                        const struct resource *live)
{
    const char *text = live && strcmp(w->manager, "kubectl") == 0 ? annotation(live->object, LAST_APPLIED) : NULL;
    cJSON *tree = text ? cJSON_Parse(text) : NULL;
    const struct fields *own = cJSON_IsObject(tree) ? shape_applied(work, s, tree) : NULL;
    cJSON_Delete(tree);
    return own;
}

/* The annotation tells what is applied now. false: no memory. */
static bool keep_last_applied(const struct write *w, const struct resource *live, cJSON *object, const cJSON *applied)
{
    if (!live || strcmp(w->manager, "kubectl") != 0 || !annotation(live->object, LAST_APPLIED))
        return true;
    cJSON *notes =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "metadata"), "annotations");
    char *text = cJSON_IsObject(notes) ? cJSON_PrintUnformatted(applied) : NULL;
    bool good = !cJSON_IsObject(notes) || text;
    if (text) {
        struct buf
            line; /* with the line feed that kubectl and kube-apiserver write: else each would change the other's */
        buf_init(&line, SIZE_MAX);
        buf_printf(&line, "%s\n", text);
        buf_put_char(&line, '\0');
        cJSON_DeleteItemFromObjectCaseSensitive(notes, LAST_APPLIED);
        good = buf_error(&line) == OK && cJSON_AddStringToObject(notes, LAST_APPLIED, line.ptr);
        buf_fini(&line);
    }
    cJSON_free(text);
    return good;
}

/* ---- applying ---- */

/* Who owns what now; where that is not known, somebody does who is no more. */
static enum err managers_of(struct write *w, struct managed *m, const struct resource *live)
{
    const struct shape shape = {.kind = w->target->kind->stored};
    if (!live)
        return OK;
    enum err e = managed_read_text(m, live->managed);
    if (e == ERR_NOMEM || m->count)
        return e;
    struct manager before = write_manager(w, m->work, false);
    before.name = BEFORE;
    before.subresource = "";
    return managed_update(m, &shape, NULL, live->object, &before, write_now(w, m->work));
}

bool write_apply_to(struct write *w, struct managed *m, const struct resource *live, cJSON *object,
                    const cJSON *applied)
{
    struct fields_work *work = m->work;
    const struct shape shape = {.kind = w->target->kind, .status = w->target->status};
    const struct manager who = write_manager(w, work, true);
    struct conflicts conflicts = {0};
    enum err e = managers_of(w, m, live);
    if (e == OK)
        e = managed_apply(m, &shape, object, applied, &who, api_query_yes(w->request, "force"),
                          own_already(w, work, &shape, live), &conflicts);
    if (e == ERR_CONFLICT)
        refuse_conflicts(w, &conflicts);
    else if (e != OK)
        api_status(w->request, 500, "InternalError", "out of memory");
    return e == OK;
}

static void apply(struct write *w, struct fields_work *work, const cJSON *applied)
{
    const struct api_target *t = w->target;
    const struct resource *live = resource_get(w->api->table, t->kind, t->namespace_name, t->name);
    struct managed m;
    cJSON *object = live ? resource_whole(live) : cJSON_CreateObject();
    bool good = object && (!live || object_convert(object, t->kind->stored, t->kind));
    char *text = NULL;
    managed_init(&m, work);
    w->create = !live;
    w->applied = &m;
    if (good && (!live || !live->origin) && !write_apply_to(w, &m, live, object, applied)) {
        cJSON_Delete(object);
        return; /* a file's object is refused with what is to be written */
    }
    if (good && keep_last_applied(w, live, object, applied))
        text = cJSON_PrintUnformatted(object);
    if (text)
        write_object(w, slice_str(text));
    else
        api_status(w->request, 500, "InternalError", "out of memory");
    cJSON_free(text);
    cJSON_Delete(object);
}

cJSON *write_read_applied(struct write *w, struct slice body)
{
    if (!w->named) {
        api_status_options(
            w->request, 422, "Invalid", "PatchOptions",
            api_causes("FieldValueRequired", "Required value: is required for apply patch", "fieldManager"),
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch");
        return NULL;
    }
    cJSON *applied = write_read_tree(w, body);
    if (!applied)
        return NULL;
    bool good = check_body(w, applied);
    write_forget_empty(applied);
    if (good && complete(w, applied))
        return applied;
    if (good)
        api_status(w->request, 500, "InternalError", "out of memory");
    cJSON_Delete(applied);
    return NULL;
}

void write_apply(struct write *w, struct slice body)
{
    cJSON *applied = write_read_applied(w, body);
    if (!applied)
        return;
    struct fields_work work = {.arena = arena_new()};
    if (work.arena)
        apply(w, &work, applied);
    else
        api_status(w->request, 500, "InternalError", "out of memory");
    arena_free(work.arena);
    cJSON_Delete(applied);
}
