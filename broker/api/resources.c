/* SPDX-License-Identifier: Apache-2.0
 *
 * Resources over HTTP, under Kubernetes' paths (target.c): reading, and the way to what writes (write.c) and removes
 * (remove.c). Errors are Status objects.
 */
#include "../resource/check.h"
#include "kubernetes.h"
#include "namespaces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

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

void api_changed(struct api *a, const struct kind *kind)
{
    if (!kind_is_passing(kind))
        a->changed(a->arg);
}

/* ---- reading ---- */

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
    const struct resource *found = namespaces_get(a->namespaces, a->table, t->kind, t->namespace_name, t->name);
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
    if (api_query_yes(r, "watch") && !t->status && !kind_is_definition(t->kind))
        api_watch(a, r, t, &form);
    else if (t->name[0])
        get_one(a, r, t, &form);
    else
        api_list(a, r, t, &form);
}

void api_resources(struct api *a, struct http_request *r)
{
    struct api_target t;
    if (api_review(a, r))
        return;
    if (!api_target_parse(http_request_path(r), &t)) {
        http_respond_text(r, 404, "404 page not found: no kind of resource lies here");
        return;
    }
    if (!api_watches_begin(a, http_request_loop(r))) {
        api_status(r, 500, "InternalError", "out of memory");
        return;
    }
    if (slice_eq(http_request_method(r), SLICE("GET"))) {
        read(a, r, &t);
        return;
    }
    if (api_read_only(a, r))
        return;
    bool ours = (t.status && !t.kind->has_status) || kind_is_definition(t.kind); /* what the server alone writes */
    if (ours || (!api_write(a, r, &t) && (t.status || !api_remove(a, r, &t))))
        api_status_of(r, 405, "MethodNotAllowed", &t, NULL,
                      "the server does not allow this method on the requested resource");
}
