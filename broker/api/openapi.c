/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenAPI as kubectl reads it, made of the kinds' schemas:
 *
 *     GET /openapi/v3                           where the document of each version is, under the hash of its content
 *     GET /openapi/v3/apis/GROUP/VERSION        operations with their parameters, and schemas: validation, explain
 *     GET /openapi/v3/api/v1
 *     GET /openapi/v2                           all of it in one (openapi_v2.c)
 */
#include <stdio.h>
#include <stdlib.h>

#include "../resource/check.h"
#include "openapi.h"

#define PATH_MAX_BYTES 600

/* ---- schemas ---- */

void openapi_name_put(const struct kind *k, struct buf *out)
{
    const char *end = k->group + strlen(k->group);
    while (end > k->group) {
        const char *begin = end;
        while (begin > k->group && begin[-1] != '.')
            begin--;
        buf_printf(out, "%.*s.", (int)(end - begin), begin);
        end = begin > k->group ? begin - 1 : k->group;
    }
    buf_printf(out, "%s%s.%s", k->group[0] ? "" : "io.k8s.api.core.", k->version, k->kind);
}

static void put_tree(const cJSON *tree, struct buf *out)
{
    char *text = cJSON_PrintUnformatted(tree);
    if (text)
        buf_put_str(out, text);
    else
        out->error = ERR_NOMEM;
    cJSON_free(text);
}

static void put_gvk(const struct kind *k, struct buf *out)
{
    buf_printf(out, "{\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"}", k->group, k->version, k->kind);
}

void openapi_schema_put(const struct kind *k, struct buf *out)
{
    const cJSON *each, *properties = cJSON_GetObjectItemCaseSensitive(k->schema, "properties");
    buf_put_str(out, "{\"x-kubernetes-group-version-kind\":[");
    put_gvk(k, out);
    buf_put_str(out, "],\"properties\":{\"apiVersion\":{\"description\":\"GROUP/VERSION of the schema in which "
                     "the object is written.\",\"type\":\"string\"},\"kind\":{\"description\":\"What the object is; "
                     "together with apiVersion it names the schema.\",\"type\":\"string\"},\"metadata\":");
    put_tree(kind_metadata_schema(), out);
    cJSON_ArrayForEach(each, properties) {
        if (strcmp(each->string, "metadata") == 0 || strcmp(each->string, "apiVersion") == 0 ||
            strcmp(each->string, "kind") == 0)
            continue;
        buf_printf(out, ",\"%s\":", each->string);
        put_tree(each, out);
    }
    buf_put_char(out, '}');
    cJSON_ArrayForEach(each, k->schema) {
        if (each == properties)
            continue;
        buf_printf(out, ",\"%s\":", each->string);
        put_tree(each, out);
    }
    buf_put_char(out, '}');
}

/* ---- operations ---- */

static void put_path(const struct kind *k, struct buf *out)
{
    buf_put_str(out, k->group[0] ? "/apis/" : "/api/");
    api_version_put(k, out);
    buf_printf(out, "%s/%s/{name}", k->namespaced ? "/namespaces/{namespace}" : "", k->plural);
}

static void put_operation(const struct kind *k, const char *method, bool version_2, struct buf *out)
{
    static const char *const parameters[] = {"dryRun", "fieldManager", "fieldValidation", "force"};
    buf_printf(out, "\"%s\":{\"x-kubernetes-action\":\"%s\",\"x-kubernetes-group-version-kind\":", method, method);
    put_gvk(k, out);
    buf_put_str(out, ",\"parameters\":[");
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
        const char *type = i == 3 ? "boolean" : "string";
        buf_printf(out, "%s{\"name\":\"%s\",\"in\":\"query\",", i ? "," : "", parameters[i]);
        buf_printf(out, version_2 ? "\"type\":\"%s\"}" : "\"schema\":{\"type\":\"%s\"}}", type);
    }
    buf_put_str(out, "],\"responses\":{\"200\":{\"description\":\"OK\"}}}");
}

void openapi_path_put(const struct kind *k, bool version_2, struct buf *out)
{
    static const char *const methods[] = {"get", "put", "patch"};
    buf_put_char(out, '"');
    put_path(k, out);
    buf_put_str(out, "\":{");
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        buf_put_str(out, i ? "," : "");
        put_operation(k, methods[i], version_2, out);
    }
    buf_put_char(out, '}');
}

/* The document of the version that `of` is of. */
static void put_document(const struct kind *of, struct buf *out)
{
    const struct kind *k;
    const char *before = "";
    buf_printf(out, "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"leat\",\"version\":\"%s\"},\"paths\":{",
               LEAT_VERSION);
    for (size_t i = 0; (k = kind_at(i)); i++) {
        if (strcmp(k->group, of->group) != 0 || strcmp(k->version, of->version) != 0)
            continue;
        buf_put_str(out, before);
        openapi_path_put(k, false, out);
        before = ",";
    }
    buf_put_str(out, "},\"components\":{\"schemas\":{");
    before = "";
    for (size_t i = 0; (k = kind_at(i)); i++) {
        if (strcmp(k->group, of->group) != 0 || strcmp(k->version, of->version) != 0)
            continue;
        buf_printf(out, "%s\"", before);
        openapi_name_put(k, out);
        buf_put_str(out, "\":");
        openapi_schema_put(k, out);
        before = ",";
    }
    buf_put_str(out, "}}}\n");
}

/* ---- pages ---- */

/* "api/v1", "apis/messaging.knative.dev/v1" */
static void version_path(const struct kind *k, char out[PATH_MAX_BYTES])
{
    snprintf(out, PATH_MAX_BYTES, "%s%s%s%s", k->group[0] ? "apis/" : "api/", k->group, k->group[0] ? "/" : "",
             k->version);
}

/* The hash of a version's document; false: no memory. They are made once: kinds do not change. */
static bool hash_of(const struct kind *k, char etag[API_ETAG_BYTES])
{
    struct buf document;
    buf_init(&document, OPENAPI_BYTES_MAX);
    put_document(k, &document);
    bool good = buf_error(&document) == OK;
    if (good)
        api_etag(buf_slice(&document), etag);
    buf_fini(&document);
    return good;
}

static bool is_first(size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(kind_at(i)->group, kind_at(j)->group) == 0 && strcmp(kind_at(i)->version, kind_at(j)->version) == 0)
            return false;
    return true;
}

static void put_root(struct buf *out)
{
    const char *before = "";
    char path[PATH_MAX_BYTES], etag[API_ETAG_BYTES];
    buf_put_str(out, "{\"paths\":{");
    for (size_t i = 0; kind_at(i); i++) {
        if (!is_first(i))
            continue;
        if (!hash_of(kind_at(i), etag))
            out->error = ERR_NOMEM;
        version_path(kind_at(i), path);
        buf_printf(out, "%s\"%s\":{\"serverRelativeURL\":\"/openapi/v3/%s?hash=%.16s\"}", before, path, path, etag + 1);
        before = ",";
    }
    buf_put_str(out, "}}\n");
}

/* The first kind of the version that a path below /openapi/v3/ names; NULL: none. */
static const struct kind *find(struct slice path)
{
    char each[PATH_MAX_BYTES];
    for (size_t i = 0; kind_at(i); i++) {
        version_path(kind_at(i), each);
        if (slice_eq_str(path, each))
            return kind_at(i);
    }
    return NULL;
}

bool api_openapi(struct api *a, struct http_request *r, struct slice path)
{
    struct slice root = SLICE("/openapi/v3");
    if (slice_eq(path, SLICE("/openapi/v2"))) {
        openapi_v2(a, r);
        return true;
    }
    if (!slice_has_prefix(path, root))
        return false;
    struct slice below = slice_from(path, root.len);
    const struct kind *of = below.len ? find(slice_from(below, 1)) : NULL;
    if (below.len && !of)
        return false;
    struct buf body;
    buf_init(&body, OPENAPI_BYTES_MAX);
    if (of)
        put_document(of, &body);
    else
        put_root(&body);
    if (buf_error(&body) != OK)
        api_status(r, 500, "InternalError", "out of memory");
    else
        api_document(r, SLICE("application/json"), buf_slice(&body), of && http_request_query(r).len > 0);
    buf_fini(&body);
    return true;
}
