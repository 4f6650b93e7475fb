/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the subresource status (Kubernetes' API conventions, "Spec and Status"): PUT, the patches, and server-side
 * apply. Nothing but the status comes out of what is written, and of metadata resourceVersion as a condition. What leat
 * says itself of an object stays as leat says it; the rest is whose writes it (resource/table_status.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../resource/check.h"
#include "write.h"

/* ---- what is written ---- */

/* Whether it is of the object that the path names, and of its present state; else the request has been answered. */
static bool check_head(struct write *w, const struct resource *live, const cJSON *object)
{
    const struct api_target *t = w->target;
    const char *api_version = json_text(object, "apiVersion"), *kind = json_text(object, "kind"),
               *name = metadata_text(object, "name"), *version = metadata_text(object, "resourceVersion");
    if (!api_version || !kind || kind_find(api_version, kind) != t->kind)
        api_status(w->request, 400, "BadRequest", "invalid object type: %s, Kind=%s", api_version ? api_version : "",
                   kind ? kind : "");
    else if (name && strcmp(name, t->name) != 0)
        api_status(w->request, 400, "BadRequest", "the name of the object (%s) does not match the name on the URL (%s)",
                   name, t->name);
    else if (version && *version && strcmp(version, metadata_text(live->object, "resourceVersion")) != 0)
        api_status_of(w->request, 409, "Conflict", t, NULL,
                      "Operation cannot be fulfilled on %s%s%s \"%s\": the object has been modified; please apply your "
                      "changes to the latest version and try again",
                      t->kind->plural, t->kind->group[0] ? "." : "", t->kind->group, t->name);
    else
        return true;
    return false;
}

/* The status by its schema; false: the request has been answered. */
static bool check_status(struct write *w, cJSON *object)
{
    char label[400];
    const struct kind *k = w->target->kind;
    snprintf(label, sizeof label, "%.80s %.253s", k->kind, w->target->name);
    struct check c = {.problems = &w->problems, .object = label, .prune = true};
    schema_apply_status(&c, k, object);
    if (c.nomem)
        api_status(w->request, 500, "InternalError", "out of memory");
    else if (w->problems.errors)
        write_refuse_invalid(w);
    return !c.nomem && !w->problems.errors && !write_refuse_unknown(w);
}

/* ---- writing ---- */

/* All of the write but the write. */
static enum err try(struct write *w, const struct resource *live, const cJSON *status, const char *managed,
                    struct diag *d)
{
    struct resource shown = *live;
    cJSON *object = NULL;
    enum err e = live->origin ? resource_write_status(w->api->table, live, status, managed, d)
                              : resource_try_status(live, status, &object, d);
    shown.object = object;
    shown.status = NULL; /* it is in there */
    shown.managed = *managed ? managed : NULL;
    if (e == OK)
        write_answer(w, 200, &shown);
    cJSON_Delete(object);
    return e;
}

/* After an apply: the applier's time changes when anything does. */
static enum err managers_applied(struct write *w, const struct resource *live, const cJSON *object, char **out,
                                 struct diag *d)
{
    struct fields_work *work = w->applied->work;
    const struct shape shape = {.kind = w->target->kind, .status = true};
    cJSON *before = resource_whole(live);
    if (!before)
        return diag_set(d, ERR_NOMEM, "out of memory");
    const struct shape_difference diff = shape_compare(work, &shape, before, object);
    enum err e = managed_put(w->applied, out, d);
    cJSON_Delete(before); /* paths lie in the arena */
    if (e != OK ||
        (!diff.added && !diff.removed && !diff.modified && strcmp(*out, live->managed ? live->managed : "") == 0))
        return e;
    const struct manager who = write_manager(w, work, true);
    free(*out);
    *out = NULL;
    managed_touch(w->applied, &who, write_now(w, work));
    return managed_put(w->applied, out, d);
}

/* Writes the status of `object`; the request is answered. */
static void put_status(struct write *w, const struct resource *live, cJSON *object)
{
    struct diag d = {0};
    char *managed = NULL;
    problems_init(&w->problems);
    if (check_head(w, live, object) && check_status(w, object)) {
        const cJSON *status = json_object(object, "status");
        enum err e = w->applied ? managers_applied(w, live, object, &managed, &d)
                                : write_manage_status(w, live, status, &managed, &d);
        if (e == OK && w->dry)
            e = try(w, live, status, managed, &d);
        else if (e == OK && (e = resource_write_status(w->api->table, live, status, managed, &d)) == OK)
            write_answer(w, 200, live);
        if (e != OK)
            api_refuse_of(w->request, w->target, e, &d);
    }
    free(managed);
    problems_fini(&w->problems);
}

/* What is applied of a status, and what it is applied to. */
static void apply_status(struct write *w, const struct resource *live, struct slice body)
{
    const struct api_target *t = w->target;
    struct fields_work work = {.arena = arena_new()};
    struct managed m;
    cJSON *applied = write_read_applied(w, body), *object = resource_whole(live);
    managed_init(&m, &work);
    w->applied = &m;
    bool good = work.arena && object && object_convert(object, t->kind->stored, t->kind);
    if (applied && !good)
        api_status(w->request, 500, "InternalError", "out of memory");
    else if (applied && check_head(w, live, applied) && write_apply_to(w, &m, live, object, applied)) {
        cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "metadata"),
                                                "resourceVersion");
        put_status(w, live, object);
    }
    cJSON_Delete(object);
    cJSON_Delete(applied);
    arena_free(work.arena);
}

/* What a patch makes of the object, read anew by the bounds of every body; NULL when the request has been answered. */
static cJSON *patched(struct write *w, const struct resource *live, struct slice body)
{
    cJSON *object = write_patched(w, live, body), *again = NULL;
    char *text = object ? cJSON_PrintUnformatted(object) : NULL;
    if (text)
        again = write_read_tree(w, slice_str(text));
    else if (object)
        api_status(w->request, 500, "InternalError", "out of memory");
    cJSON_free(text);
    cJSON_Delete(object);
    return again;
}

void write_status(struct write *w, struct slice body)
{
    const struct api_target *t = w->target;
    const struct resource *live = resource_get(w->api->table, t->kind, t->namespace_name, t->name);
    struct slice type = write_media_type(w->request, SLICE("application/json"));
    bool put = slice_eq(http_request_method(w->request), SLICE("PUT"));
    if (!live) {
        api_not_found(w->request, t);
        return;
    }
    if (!put && slice_eq_nocase(type, SLICE("application/apply-patch+yaml"))) {
        apply_status(w, live, body);
        return;
    }
    if (put && !slice_eq_nocase(type, SLICE("application/json"))) {
        write_unknown_format(w, "application/json");
        return;
    }
    cJSON *object = put ? write_read_tree(w, body) : patched(w, live, body);
    if (object)
        put_status(w, live, object);
    cJSON_Delete(object);
}
