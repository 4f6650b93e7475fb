/* SPDX-License-Identifier: Apache-2.0
 *
 * Who writes, and what an ordinary write means to the owners of fields (managed.h): the manager is named by the
 * parameter fieldManager, else by what stands before the first slash of the User-Agent.
 *
 * An object of which nobody's fields are known (an older leat wrote it, or somebody took the managers away) stays so
 * until it is applied. Files own their objects whole: nothing is kept of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../resource/check.h"
#include "text.h"
#include "write.h"

/* ---- who ---- */

static bool refuse_manager(struct write *w, const char *why)
{
    const char *method = slice_eq(http_request_method(w->request), SLICE("PATCH"))  ? "PatchOptions"
                         : slice_eq(http_request_method(w->request), SLICE("POST")) ? "CreateOptions"
                                                                                    : "UpdateOptions";
    api_status_options(w->request, 422, "Invalid", method, api_causes("FieldValueInvalid", why, "fieldManager"),
                       "%s.meta.k8s.io \"\" is invalid: fieldManager: %s", method, why);
    return false;
}

static void by_user_agent(struct write *w)
{
    struct slice agent = SLICE("");
    size_t n = 0;
    if (http_request_header(w->request, "user-agent", &agent))
        agent = slice_split(&agent, '/');
    for (size_t i = 0; i < agent.len && n < MANAGER_NAME_MAX; i++)
        if (agent.ptr[i] >= 32 && agent.ptr[i] < 127)
            w->manager[n++] = agent.ptr[i];
    w->manager[n] = 0;
    if (n == 0)
        snprintf(w->manager, sizeof w->manager, "unknown");
}

/* Only an apply can be forced. */
static bool check_force(struct write *w)
{
    struct slice type = SLICE("");
    struct buf text;
    buf_init(&text, 64);
    bool there = api_query(w->request, "force", &text) && text.len;
    buf_fini(&text);
    (void)http_request_header(w->request, "content-type", &type);
    if (!there || !slice_eq(http_request_method(w->request), SLICE("PATCH")) ||
        slice_has_prefix(type, SLICE("application/apply-patch+yaml")))
        return true;
    static const char why[] = "Forbidden: may not be specified for non-apply patch";
    api_status_options(w->request, 422, "Invalid", "PatchOptions", api_causes("FieldValueForbidden", why, "force"),
                       "PatchOptions.meta.k8s.io \"\" is invalid: force: %s", why);
    return false;
}

bool write_read_manager(struct write *w)
{
    struct buf text;
    bool good = true;
    if (!check_force(w))
        return false;
    buf_init(&text, API_QUERY_MAX);
    bool there = api_query(w->request, "fieldManager", &text) && text.len;
    struct slice name = buf_slice(&text);
    w->named = there;
    if (!there) {
        by_user_agent(w);
    } else if (name.len > MANAGER_NAME_MAX) {
        good = refuse_manager(w, "Too long: may not be more than 128 bytes");
    } else {
        for (size_t i = 0; i < name.len && good; i++)
            if ((unsigned char)name.ptr[i] < 32 || name.ptr[i] == 127)
                good = refuse_manager(w, "Invalid value: it has a character that cannot be printed");
        if (good && !utf8_valid(name))
            good = refuse_manager(w, "Invalid value: it is no UTF-8");
        snprintf(w->manager, sizeof w->manager, "%.*s", SLICE_ARG(name));
    }
    buf_fini(&text);
    return good;
}

const char *write_now(const struct write *w, struct fields_work *work)
{
    struct buf b;
    buf_init(&b, 64);
    rfc3339_put(&b, clock_wall_ns(engine_clock(w->api->engine)), 0);
    const char *text = buf_error(&b) == OK ? arena_copy(work->arena, b.ptr, b.len) : NULL;
    buf_fini(&b);
    work->nomem = work->nomem || !text;
    return text ? text : "";
}

struct manager write_manager(const struct write *w, struct fields_work *work, bool apply)
{
    struct buf version;
    buf_init(&version, 2 * API_NAME_MAX);
    api_version_put(apply ? w->target->kind : w->target->kind->stored, &version);
    const char *copy = buf_error(&version) == OK ? arena_copy(work->arena, version.ptr, version.len) : NULL;
    buf_fini(&version);
    work->nomem = work->nomem || !copy;
    return (struct manager){.name = w->manager,
                            .version = copy ? copy : "",
                            .apply = apply,
                            .subresource = w->target->status ? "status" : "",
                            .time = ""};
}

/* ---- an ordinary write ---- */

/* In place of what is there, as the table takes it. */
static enum err put(cJSON *object, const struct managed *m, struct diag *d)
{
    char *text = NULL;
    enum err e = managed_put(m, &text, d);
    if (e != OK)
        return e;
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata"), *node = cJSON_CreateRaw(text ? text : "");
    cJSON_DeleteItemFromObjectCaseSensitive(metadata, "managedFields");
    bool good = text && node && cJSON_AddItemToObject(metadata, "managedFields", node);
    if (!good)
        cJSON_Delete(node);
    free(text);
    return good ? OK : diag_set(d, ERR_NOMEM, "out of memory");
}

/* Who owned what before: as the writer says it, who may change that, else as it is. *untracked: nobody, and it is to
 * stay so. */
static enum err read_before(struct managed *m, const struct resource *live, const cJSON *object, bool *untracked)
{
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(json_object(object, "metadata"), "managedFields");
    enum err e = OK;
    m->count = 0;
    *untracked = false;
    if (managed_is_reset(said)) {
        *untracked = live;
        return OK;
    }
    if (said)
        e = managed_read(m, said);
    if (e != ERR_NOMEM && m->count == 0 && live)
        e = managed_read_text(m, live->managed);
    *untracked = live && m->count == 0;
    return e == ERR_NOMEM ? e : OK;
}

static enum err manage_update(struct write *w, struct fields_work *work, const struct resource *live, cJSON *object,
                              struct diag *d)
{
    struct managed m;
    const struct shape shape = {.kind = w->target->kind->stored};
    bool untracked;
    managed_init(&m, work);
    enum err e = read_before(&m, live, object, &untracked);
    if (e == OK && !untracked) {
        const struct manager who = write_manager(w, work, false);
        e = managed_update(&m, &shape, live ? live->object : NULL, object, &who, write_now(w, work));
    }
    return e == OK ? put(object, &m, d) : diag_set(d, e, "out of memory");
}

/* ---- after an apply ---- */

static bool unchanged(struct write *w, struct fields_work *work, const struct resource *live, const cJSON *object)
{
    const struct shape shape = {.kind = w->target->kind->stored};
    struct diag unsaid;
    char *text = NULL;
    if (!live || managed_put(w->applied, &text, &unsaid) != OK)
        return false;
    bool same = strcmp(text, live->managed ? live->managed : "") == 0;
    free(text);
    struct shape_difference d = {0};
    if (same)
        d = shape_compare(work, &shape, live->object, object);
    return same && !d.added && !d.removed && !d.modified;
}

static enum err manage_applied(struct write *w, const struct resource *live, cJSON *object, struct diag *d)
{
    struct fields_work *work = w->applied->work;
    if (!unchanged(w, work, live, object)) {
        const struct manager who = write_manager(w, work, true);
        managed_touch(w->applied, &who, write_now(w, work));
    }
    return put(object, w->applied, d);
}

enum err write_manage(struct write *w, cJSON *object, struct diag *d)
{
    const char *name = metadata_text(object, "name"), *space = metadata_text(object, "namespace");
    const struct resource *live =
        w->create || !name ? NULL : resource_get(w->api->table, w->target->kind, space ? space : "", name);
    if (!w->create && (!live || live->origin))
        return OK; /* it will be refused */
    if (w->applied)
        return manage_applied(w, live, object, d);
    struct fields_work work = {.arena = arena_new()};
    if (!work.arena)
        return diag_set(d, ERR_NOMEM, "out of memory");
    enum err e = manage_update(w, &work, live, object, d);
    arena_free(work.arena);
    return e;
}

enum err write_manage_status(struct write *w, const struct resource *live, const cJSON *status, char **out,
                             struct diag *d)
{
    struct fields_work work = {.arena = arena_new()};
    const struct shape shape = {.kind = w->target->kind, .status = true};
    struct managed m;
    cJSON *after = cJSON_CreateObject(), *before = resource_whole(live);
    enum err e = work.arena && after && before ? OK : ERR_NOMEM;
    managed_init(&m, &work);
    if (e == OK)
        e = managed_read_text(&m, live->managed);
    if (e == ERR_INVALID)
        e = OK;
    bool good = e == OK && (!status || json_refer(after, status));
    if (good && m.count) {
        const struct manager who = write_manager(w, &work, false);
        e = managed_update(&m, &shape, before, after, &who, write_now(w, &work));
    }
    e = good && e == OK ? managed_put(&m, out, d) : diag_set(d, ERR_NOMEM, "out of memory");
    cJSON_Delete(before);
    cJSON_Delete(after);
    arena_free(work.arena);
    return e;
}

bool write_show_managed(const struct resource *found, cJSON *object)
{
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    cJSON *list = found->managed ? cJSON_Parse(found->managed) : NULL;
    if (!found->managed || (list && cJSON_AddItemToObject(metadata, "managedFields", list)))
        return true;
    cJSON_Delete(list);
    return false;
}
