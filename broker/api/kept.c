/* SPDX-License-Identifier: Apache-2.0
 *
 * What is kept beside the resources themselves:
 *
 *     GET    /leat/v1/audit?group=&kind=&namespace=&name=&limit=   who changed what, the newest first
 *     GET    /leat/v1/quarantine                                   stored objects that are not valid
 *     DELETE /leat/v1/quarantine/ID                                one that no path of a kind leads to
 */
#include <stdio.h>

#include "../resource/store.h"
#include "api.h"
#include "text.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000
#define WORD_MAX 300

/* A parameter of the query as text; NULL when it is not there, *good false when it is none. */
static const char *word(const struct http_request *r, const char *name, char out[WORD_MAX], bool *good)
{
    struct buf b;
    buf_init(&b, WORD_MAX - 1);
    bool there = api_query(r, name, &b);
    *good = *good && buf_error(&b) == OK;
    snprintf(out, WORD_MAX, "%.*s", (int)b.len, b.ptr ? b.ptr : "");
    buf_fini(&b);
    return there ? out : NULL;
}

static void answer_list(struct http_request *r, cJSON *items)
{
    cJSON *tree = items ? cJSON_CreateObject() : NULL;
    if (tree && !cJSON_AddItemToObject(tree, "items", items)) {
        cJSON_Delete(tree);
        tree = NULL;
    }
    if (!tree)
        cJSON_Delete(items);
    api_json(r, 200, tree);
    cJSON_Delete(tree);
}

void api_audit(struct api *a, struct http_request *r)
{
    char texts[5][WORD_MAX];
    struct diag d = {0};
    uint64_t limit = LIMIT_DEFAULT;
    bool good = true;
    struct store_audit_query q = {.group = word(r, "group", texts[0], &good),
                                  .kind = word(r, "kind", texts[1], &good),
                                  .namespace_name = word(r, "namespace", texts[2], &good),
                                  .name = word(r, "name", texts[3], &good)};
    const char *most = word(r, "limit", texts[4], &good);
    if (!good || (most && (decimal_parse(slice_str(most), LIMIT_MAX, &limit) != OK || limit == 0))) {
        api_status(r, 400, "BadRequest", "group, kind, namespace and name are texts, and limit is 1 to %d", LIMIT_MAX);
        return;
    }
    cJSON *items = NULL;
    q.limit = (size_t)limit;
    enum err e = store_audit(a->store, &q, &items, &d);
    if (e == OK)
        answer_list(r, items);
    else
        api_refuse(r, e, &d);
}

static bool add(cJSON *items, int64_t id, const char *group, const char *kind, const char *ns, const char *name,
                const char *why)
{
    cJSON *o = cJSON_CreateObject();
    if (!o || !cJSON_AddItemToArray(items, o)) {
        cJSON_Delete(o);
        return false;
    }
    return (!id || cJSON_AddNumberToObject(o, "id", (double)id)) && cJSON_AddStringToObject(o, "apiGroup", group) &&
           cJSON_AddStringToObject(o, "kind", kind) && cJSON_AddStringToObject(o, "namespace", ns) &&
           cJSON_AddStringToObject(o, "name", name) && cJSON_AddStringToObject(o, "reason", why);
}

/* The message of the one condition that a quarantined object has. */
static const char *why_of(const cJSON *status)
{
    const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(status, "conditions"), 0);
    const char *message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(first, "message"));
    return message ? message : "";
}

static void list(struct api *a, struct http_request *r)
{
    cJSON *items = cJSON_CreateArray();
    size_t cursor = 0, count;
    bool good = items != NULL;
    const struct stranger *s = resource_strangers(a->table, &count);
    for (const struct resource *each; good && (each = resource_next(a->table, NULL, NULL, &cursor));) {
        cJSON *status = NULL;
        if (each->quarantined)
            good = resource_status(each, &status) &&
                   add(items, 0, each->kind->group, each->kind->kind, each->namespace_name, each->name, why_of(status));
        cJSON_Delete(status);
    }
    for (size_t i = 0; i < count && good; i++)
        good = add(items, s[i].id, s[i].group, s[i].kind, s[i].namespace_name, s[i].name, s[i].why);
    if (!good) {
        cJSON_Delete(items);
        items = NULL;
    }
    answer_list(r, items);
}

static void delete_one(struct api *a, struct http_request *r, struct slice id)
{
    struct diag d = {0};
    char who[API_WHO_MAX];
    uint64_t number;
    access_who(&a->access, r, who);
    enum err e = decimal_parse(id, INT64_MAX, &number) == OK
                     ? resource_stranger_delete(a->table, who, (int64_t)number, &d)
                     : diag_set(&d, ERR_NOTFOUND, "the last part of the path is no number of an object in quarantine");
    if (e == OK)
        api_status(r, 200, "", "deleted");
    else
        api_refuse(r, e, &d);
}

void api_quarantine(struct api *a, struct http_request *r)
{
    static const char page[] = "/leat/v1/quarantine/";
    struct slice path = http_request_path(r), method = http_request_method(r);
    bool one = path.len >= sizeof page - 1;
    if (!one && slice_eq(method, SLICE("GET")))
        list(a, r);
    else if (one && slice_eq(method, SLICE("DELETE")))
        delete_one(a, r, slice_from(path, sizeof page - 1));
    else
        api_status(r, 405, "MethodNotAllowed", "this page has no such method");
}
