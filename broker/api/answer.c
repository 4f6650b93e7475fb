/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of the Kubernetes API beside objects: Status with details, and documents with an ETag.
 */
#include <stdarg.h>
#include <stdio.h>

#include "kubernetes.h"
#include "siphash.h"

#define STATUS_BYTES_MAX 65536

#define MESSAGE_MAX 8192

static cJSON *status_tree(int code, const char *reason, const char *message)
{
    cJSON *tree = cJSON_CreateObject();
    cJSON_AddStringToObject(tree, "kind", "Status");
    cJSON_AddStringToObject(tree, "apiVersion", "v1");
    cJSON_AddObjectToObject(tree, "metadata");
    cJSON_AddStringToObject(tree, "status", code < 400 ? "Success" : "Failure");
    cJSON_AddStringToObject(tree, "message", message);
    cJSON_AddStringToObject(tree, "reason", reason);
    return tree;
}

/* Takes the tree and the causes, which may be NULL. */
static void answer(struct http_request *r, int code, cJSON *tree, cJSON *details, cJSON *causes)
{
    if (!causes || !cJSON_AddItemToObject(details, "causes", causes))
        cJSON_Delete(causes);
    cJSON_AddNumberToObject(tree, "code", code);
    api_json(r, code, tree);
    cJSON_Delete(tree);
}

void api_status_options(struct http_request *r, int code, const char *reason, const char *options, cJSON *causes,
                        const char *format, ...)
{
    va_list args;
    char message[MESSAGE_MAX];
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    cJSON *tree = status_tree(code, reason, message), *details = cJSON_AddObjectToObject(tree, "details");
    if (options) {
        cJSON_AddStringToObject(details, "group", "meta.k8s.io");
        cJSON_AddStringToObject(details, "kind", options);
    }
    answer(r, code, tree, details, causes);
}

void api_status_of(struct http_request *r, int code, const char *reason, const struct api_target *t, cJSON *causes,
                   const char *format, ...)
{
    va_list args;
    char message[MESSAGE_MAX];
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    cJSON *tree = status_tree(code, reason, message), *details = cJSON_AddObjectToObject(tree, "details");
    if (t->name[0])
        cJSON_AddStringToObject(details, "name", t->name);
    if (t->kind->group[0])
        cJSON_AddStringToObject(details, "group", t->kind->group);
    /* What is wrong with a body is said of its kind, what is wrong with a request of the resource, as in Kubernetes. */
    cJSON_AddStringToObject(details, "kind", code == 422 ? t->kind->kind : t->kind->plural);
    answer(r, code, tree, details, causes);
}

cJSON *api_causes(const char *reason, const char *message, const char *field)
{
    cJSON *list = cJSON_CreateArray(), *cause = cJSON_CreateObject();
    bool good = list && cause && cJSON_AddStringToObject(cause, "reason", reason) &&
                cJSON_AddStringToObject(cause, "message", message) &&
                (!*field || cJSON_AddStringToObject(cause, "field", field)) && cJSON_AddItemToArray(list, cause);
    if (good)
        return list;
    cJSON_Delete(cause);
    cJSON_Delete(list);
    return NULL;
}

void api_not_found(struct http_request *r, const struct api_target *t)
{
    api_status_of(r, 404, "NotFound", t, NULL, "%s%s%s \"%s\" not found", t->kind->plural, t->kind->group[0] ? "." : "",
                  t->kind->group, t->name);
}

void api_etag(struct slice body, char out[API_ETAG_BYTES])
{
    static const uint64_t key[2] = {0x6c656174, 0x65746167}; /* the same after every start: clients keep it */
    snprintf(out, API_ETAG_BYTES, "\"%016llx\"", (unsigned long long)siphash13(key, body));
}

void api_document(struct http_request *r, struct slice type, struct slice body, bool for_ever)
{
    char etag[API_ETAG_BYTES];
    struct slice known;
    api_etag(body, etag);
    const struct http_header headers[] = {
        {SLICE("Content-Type"), type},
        {SLICE("ETag"), slice_str(etag)},
        {SLICE("Vary"), SLICE("Accept")},
        {SLICE("Cache-Control"), for_ever ? SLICE("public, immutable, max-age=31536000") : SLICE("no-cache, private")}};
    bool same = http_request_header(r, "if-none-match", &known) && slice_eq(slice_trim(known), slice_str(etag));
    http_respond(r, same ? 304 : 200, headers, 4, same ? SLICE("") : body);
}
