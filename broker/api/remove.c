/* SPDX-License-Identifier: Apache-2.0
 *
 * Removing resources: one, or all that selectors mean. An object that has finalizers stays, marked with the time of its
 * deletion, until a write has taken the last of them away; propagationPolicy means nothing, since nothing owns anything
 * here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../resource/check.h"
#include "kubernetes.h"
#include "namespaces.h"

/* Whether what depends on the object is to go first or last means nothing, but a word for it must be one of the three
 * that there are; else the request has been answered. */
static bool check_policy(struct http_request *r, const cJSON *options)
{
    struct buf text;
    const char *said = json_text(options, "propagationPolicy");
    buf_init(&text, 64);
    struct slice policy = said                                       ? slice_str(said)
                          : api_query(r, "propagationPolicy", &text) ? buf_slice(&text)
                                                                     : SLICE("");
    bool good = !policy.len || slice_eq(policy, SLICE("Background")) || slice_eq(policy, SLICE("Foreground")) ||
                slice_eq(policy, SLICE("Orphan")) || api_refuse_parameter(r, "propagationPolicy", policy);
    buf_fini(&text);
    return good;
}

/* Whether the body's preconditions hold: else, or when the body is none, the request has been answered. */
static bool check_options(struct http_request *r, const struct api_target *t, const struct resource *found, bool *dry)
{
    struct slice body = http_request_body(r);
    cJSON *options = body.len ? cJSON_ParseWithLength(body.ptr, body.len) : NULL;
    const cJSON *wanted = json_object(options, "preconditions"),
                *run = cJSON_GetObjectItemCaseSensitive(options, "dryRun");
    const char *uid = json_text(wanted, "uid"), *version = json_text(wanted, "resourceVersion");
    bool good = false;
    if (body.len && !cJSON_IsObject(options))
        api_status(r, 400, "BadRequest", "the body is no DeleteOptions in JSON");
    else if (found && uid && strcmp(uid, found->uid) != 0)
        api_status_of(r, 409, "Conflict", t, NULL,
                      "Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, found->uid);
    else if (found && version && strcmp(version, metadata_text(found->object, "resourceVersion")) != 0)
        api_status_of(r, 409, "Conflict", t, NULL, "the resourceVersion in the precondition is not the object's");
    else
        good = api_dry_run(r, dry) && check_policy(r, options);
    *dry = *dry || cJSON_GetArraySize(run) > 0;
    cJSON_Delete(options);
    return good;
}

static cJSON *finalizers(const struct resource *r)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(json_object(r->object, "metadata"), "finalizers");
    return cJSON_GetArraySize(list) > 0 ? list : NULL;
}

bool api_is_finalized(const struct resource *r)
{
    return metadata_text(r->object, "deletionTimestamp") && !finalizers(r);
}

static void answer_gone(struct http_request *r, const struct api_target *t, const char *uid)
{
    struct buf body;
    buf_init(&body, 4096);
    buf_put_str(&body, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Success\",\"details\":{"
                       "\"name\":");
    buf_put_json_string(&body, slice_str(t->name));
    if (t->kind->group[0])
        buf_printf(&body, ",\"group\":\"%s\"", t->kind->group);
    buf_printf(&body, ",\"kind\":\"%s\",\"uid\":\"%s\"}}\n", t->kind->plural, uid);
    api_json_text(r, 200, &body);
}

static void answer_marked(struct api *a, struct http_request *r, const struct api_target *t,
                          const struct resource *found)
{
    const struct api_form whole = {.as = API_AS_IS};
    cJSON *shown = api_shown(found), *tree = shown ? api_render(a, t->kind, &whole, shown) : NULL;
    api_json(r, 200, tree);
    cJSON_Delete(tree);
    cJSON_Delete(shown);
}

/* What nobody has made cannot be taken away: true when the request has been answered. */
static bool refuse_held(struct api *a, struct http_request *r, const struct api_target *t)
{
    switch (namespaces_held(a->namespaces, t->kind, t->name)) {
    case NAMESPACE_ALWAYS:
        api_status_of(r, 403, "Forbidden", t, NULL, "namespaces \"%s\" is forbidden: this namespace may not be deleted",
                      t->name);
        return true;
    case NAMESPACE_HOLDS_OBJECTS:
        api_status_of(r, 409, "Conflict", t, NULL,
                      "namespaces \"%s\" is there because objects lie in it, and goes with the last of them: delete "
                      "those",
                      t->name);
        return true;
    default:
        return false;
    }
}

static void remove_one(struct api *a, struct http_request *r, const struct api_target *t)
{
    const struct resource *found = resource_get(a->table, t->kind, t->namespace_name, t->name);
    struct diag d = {0};
    char who[API_WHO_MAX], uid[API_NAME_MAX];
    bool dry = false;
    if (!found) {
        if (!refuse_held(a, r, t))
            api_not_found(r, t);
        return;
    }
    if (!check_options(r, t, found, &dry))
        return;
    access_who(&a->access, r, who);
    snprintf(uid, sizeof uid, "%s", found->uid);
    bool marks = finalizers(found) && !found->origin;
    enum err e = dry     ? OK
                 : marks ? resource_mark_deleted(a->table, who, found, &d)
                         : resource_delete(a->table, who, t->kind, t->namespace_name, t->name, &d);
    if (e != OK) {
        api_refuse_of(r, t, e, &d);
        return;
    }
    if (marks)
        answer_marked(a, r, t, found);
    else
        answer_gone(r, t, uid);
    if (!dry)
        api_changed(a, t->kind);
}

/* ---- collections ---- */

struct removal {
    struct api *api;
    struct http_request *request;
    const struct api_target *target;
    struct api_selection selection;
    bool dry;
};

static const struct resource *next(const struct removal *m, size_t *cursor)
{
    const char *scope = m->target->namespace_name[0] ? m->target->namespace_name : NULL;
    const struct resource *r;
    while ((r = resource_next(m->api->table, m->target->kind, scope, cursor)) &&
           !api_selection_matches(&m->selection, r->object))
        ;
    return r;
}

/* What is there before it goes, as a list in JSON: the answer. */
static void put_list(const struct removal *m, struct buf *out)
{
    const struct api_form whole = {.as = API_AS_IS};
    struct api_listing l = {0};
    cJSON *all = cJSON_CreateArray(); /* what the listing refers to */
    size_t cursor = 0;
    const struct resource *r;
    bool good = all && api_listing_begin(&l, m->api, m->target->kind, &whole);
    while (good && (r = next(m, &cursor))) {
        cJSON *shown = api_shown(r);
        good = shown && cJSON_AddItemToArray(all, shown) && api_listing_add(&l, shown);
    }
    good = good && api_listing_end(&l, resource_table_version(m->api->table), NULL, 0);
    char *text = good ? cJSON_PrintUnformatted(l.tree) : NULL;
    if (text)
        buf_put_str(out, text);
    cJSON_free(text);
    api_listing_fini(&l);
    cJSON_Delete(all);
}

/* Nothing is removed where one of them is a file's; that one, or NULL. */
static const struct resource *find_owned(const struct removal *m)
{
    size_t cursor = 0;
    const struct resource *r;
    while ((r = next(m, &cursor)) && !r->origin)
        ;
    return r;
}

/* Goes over what is there, which becomes less: where one went, the next has its place. */
static enum err remove_each(const struct removal *m, struct diag *d)
{
    size_t cursor = 0;
    const struct resource *r;
    char who[API_WHO_MAX];
    enum err e = OK;
    access_who(&m->api->access, m->request, who);
    while (e == OK && !m->dry && (r = next(m, &cursor))) {
        if (finalizers(r)) {
            e = resource_mark_deleted(m->api->table, who, r, d);
            continue;
        }
        e = resource_delete(m->api->table, who, r->kind, r->namespace_name, r->name, d);
        cursor--;
    }
    return e;
}

/* A namespace is named: over all of them is no request that Kubernetes has. */
static void remove_all(struct api *a, struct http_request *r, const struct api_target *t)
{
    struct removal m = {.api = a, .request = r, .target = t};
    struct diag d = {0};
    if (!check_options(r, t, NULL, &m.dry) || !api_selection_read(r, t->kind, &m.selection))
        return;
    const struct resource *owned = find_owned(&m);
    struct buf list;
    buf_init(&list, SIZE_MAX);
    if (!owned)
        put_list(&m, &list);
    enum err e = !owned && !list.len ? ERR_NOMEM
                 : owned ? diag_set(&d, ERR_CONFLICT, "%s \"%s\" belongs to the file %s; nothing was deleted",
                                    t->kind->plural, owned->name, owned->origin)
                         : remove_each(&m, &d);
    if (e != OK)
        api_refuse_of(r, t, e, &d);
    else
        api_json_text(r, 200, &list);
    if (e != OK)
        buf_fini(&list);
    if (!owned && !m.dry)
        api_changed(a, t->kind);
    api_selection_fini(&m.selection);
}

bool api_remove(struct api *a, struct http_request *r, const struct api_target *t)
{
    if (!slice_eq(http_request_method(r), SLICE("DELETE")) ||
        (!t->name[0] && t->kind->namespaced && !t->namespace_name[0]))
        return false;
    (t->name[0] ? remove_one : remove_all)(a, r, t);
    return true;
}
