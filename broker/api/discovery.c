/* SPDX-License-Identifier: Apache-2.0
 *
 * Discovery: which groups, versions and resources there are, made of the kinds.
 *
 *     GET /api, /apis                       all of them in one document (aggregated discovery), or a list of groups
 *     GET /api/v1, /apis/GROUP/VERSION      the resources of one version
 *     GET /apis/GROUP                       the versions of one group
 *
 * The first version of a group is the preferred one; groups come in the order of the kinds (crds_embedded.c), which is
 * that of preference when several kinds answer to one word.
 */
#include <stdio.h>
#include <string.h>

#include "kubernetes.h"

#define DOCUMENT_MAX (1u << 20)

struct writer {
    const struct api *api;
    struct buf *out;
};

static void put_names(struct buf *out, const char *member, const char *const *names)
{
    if (!names || !*names)
        return;
    buf_printf(out, ",\"%s\":[", member);
    for (const char *const *n = names; *n; n++)
        buf_printf(out, "%s\"%s\"", n == names ? "" : ",", *n);
    buf_put_char(out, ']');
}

static const char *verbs(const struct writer *w, const struct kind *k)
{
    if (w->api->read_only || kind_is_definition(k))
        return "[\"get\",\"list\",\"watch\"]";
    return "[\"create\",\"delete\",\"deletecollection\",\"get\",\"list\",\"patch\",\"update\",\"watch\"]";
}

static const char *status_verbs(const struct writer *w)
{
    return w->api->read_only ? "[\"get\"]" : "[\"get\",\"patch\",\"update\"]";
}

/* The kinds, and behind them that of their definitions; NULL after the last. */
static const struct kind *served_at(size_t i)
{
    const struct kind *k = kind_at(i);
    return k || (i > 0 && !kind_at(i - 1)) ? k : kind_of_definitions();
}

/* ---- walking the kinds: groups, and the versions of a group, each once ---- */

static bool core(const struct kind *k)
{
    return k->group[0] == 0;
}

/* Whether no kind before the i-th has its group (and version). */
static bool is_first(size_t i, bool of_version)
{
    const struct kind *k = served_at(i), *other;
    for (size_t j = 0; j < i; j++) {
        other = served_at(j);
        if (strcmp(k->group, other->group) == 0 && (!of_version || strcmp(k->version, other->version) == 0))
            return false;
    }
    return true;
}

static bool same_version(const struct kind *a, const struct kind *b)
{
    return strcmp(a->group, b->group) == 0 && strcmp(a->version, b->version) == 0;
}

/* ---- aggregated ---- */

static void put_response_kind(struct buf *out, const struct kind *k)
{
    buf_printf(out, "\"responseKind\":{\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"}", k->group, k->version,
               k->kind);
}

static void put_resource(const struct writer *w, const struct kind *k)
{
    buf_printf(w->out, "{\"resource\":\"%s\",", k->plural);
    put_response_kind(w->out, k);
    buf_printf(w->out, ",\"scope\":\"%s\",\"singularResource\":\"%s\",\"verbs\":%s",
               k->namespaced ? "Namespaced" : "Cluster", k->singular, verbs(w, k));
    put_names(w->out, "shortNames", k->short_names);
    put_names(w->out, "categories", k->categories);
    if (k->has_status) {
        buf_put_str(w->out, ",\"subresources\":[{\"subresource\":\"status\",");
        put_response_kind(w->out, k);
        buf_printf(w->out, ",\"verbs\":%s}]", status_verbs(w));
    }
    buf_put_char(w->out, '}');
}

static void put_version(const struct writer *w, const struct kind *of)
{
    const char *before = "";
    const struct kind *k;
    buf_printf(w->out, "{\"version\":\"%s\",\"freshness\":\"Current\",\"resources\":[", of->version);
    for (size_t i = 0; (k = served_at(i)); i++) {
        if (!same_version(k, of))
            continue;
        buf_put_str(w->out, before);
        put_resource(w, k);
        before = ",";
    }
    buf_put_str(w->out, "]}");
}

static void put_group(const struct writer *w, const struct kind *of)
{
    const char *before = "";
    const struct kind *k;
    buf_printf(w->out, "{\"metadata\":{\"name\":\"%s\",\"creationTimestamp\":null},\"versions\":[", of->group);
    for (size_t i = 0; (k = served_at(i)); i++) {
        if (strcmp(k->group, of->group) != 0 || !is_first(i, true))
            continue;
        buf_put_str(w->out, before);
        put_version(w, k);
        before = ",";
    }
    buf_put_str(w->out, "]}");
}

static void put_aggregated(const struct writer *w, bool of_core, const char *version)
{
    const char *before = "";
    const struct kind *k;
    buf_printf(w->out,
               "{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/%s\",\"metadata\":{},"
               "\"items\":[",
               version);
    for (size_t i = 0; (k = served_at(i)); i++) {
        if (core(k) != of_core || !is_first(i, false))
            continue;
        buf_put_str(w->out, before);
        put_group(w, k);
        before = ",";
    }
    buf_put_str(w->out, "]}\n");
}

/* ---- one by one ---- */

static void put_api_group(const struct writer *w, const struct kind *of, bool alone)
{
    const char *before = "";
    const struct kind *k;
    buf_printf(w->out, "{%s\"name\":\"%s\",\"versions\":[", alone ? "\"kind\":\"APIGroup\",\"apiVersion\":\"v1\"," : "",
               of->group);
    for (size_t i = 0; (k = served_at(i)); i++) {
        if (strcmp(k->group, of->group) != 0 || !is_first(i, true))
            continue;
        buf_printf(w->out, "%s{\"groupVersion\":\"%s/%s\",\"version\":\"%s\"}", before, k->group, k->version,
                   k->version);
        before = ",";
    }
    buf_printf(w->out, "],\"preferredVersion\":{\"groupVersion\":\"%s/%s\",\"version\":\"%s\"}}", of->group,
               of->version, of->version);
}

static void put_groups(const struct writer *w)
{
    const char *before = "";
    const struct kind *k;
    buf_put_str(w->out, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[");
    for (size_t i = 0; (k = served_at(i)); i++) {
        if (core(k) || !is_first(i, false))
            continue;
        buf_put_str(w->out, before);
        put_api_group(w, k, false);
        before = ",";
    }
    buf_put_str(w->out, "]}\n");
}

static void put_resource_list(const struct writer *w, const struct kind *of)
{
    const char *before = "";
    const struct kind *k;
    buf_put_str(w->out, "{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":\"");
    api_version_put(of, w->out);
    buf_put_str(w->out, "\",\"resources\":[");
    for (size_t i = 0; (k = served_at(i)); i++) {
        if (!same_version(k, of))
            continue;
        buf_printf(w->out, "%s{\"name\":\"%s\",\"singularName\":\"%s\",\"namespaced\":%s,\"kind\":\"%s\",\"verbs\":%s",
                   before, k->plural, k->singular, k->namespaced ? "true" : "false", k->kind, verbs(w, k));
        put_names(w->out, "shortNames", k->short_names);
        put_names(w->out, "categories", k->categories);
        buf_put_char(w->out, '}');
        if (k->has_status)
            buf_printf(w->out,
                       ",{\"name\":\"%s/status\",\"singularName\":\"\",\"namespaced\":%s,\"kind\":\"%s\",\"verbs\":%s}",
                       k->plural, k->namespaced ? "true" : "false", k->kind, status_verbs(w));
        before = ",";
    }
    buf_put_str(w->out, "]}\n");
}

/* ---- requests ---- */

/* The version of apidiscovery.k8s.io that is wanted; NULL: the plain lists. */
static const char *aggregated(const struct http_request *r)
{
    struct slice rest;
    struct api_accept a;
    if (!http_request_header(r, "accept", &rest))
        return NULL;
    while (api_accept_next(&rest, &a)) {
        if (!slice_eq_nocase(a.type, SLICE("application/json")))
            continue;
        if (!a.as.len)
            return NULL;
        if (slice_eq(a.as, SLICE("APIGroupDiscoveryList")) && slice_eq(a.group, SLICE("apidiscovery.k8s.io")))
            return slice_eq(a.version, SLICE("v2")) ? "v2" : slice_eq(a.version, SLICE("v2beta1")) ? "v2beta1" : NULL;
    }
    return NULL;
}

static void put_top(const struct writer *w, bool of_core, const char *version)
{
    if (version)
        put_aggregated(w, of_core, version);
    else if (of_core)
        buf_put_str(w->out, "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":[]}\n");
    else
        put_groups(w);
}

/* The first kind of this group, and of this version unless it is empty; NULL: there is none. */
static const struct kind *find(struct slice group, struct slice version)
{
    const struct kind *k;
    for (size_t i = 0; (k = served_at(i)); i++)
        if (slice_eq_str(group, k->group) && (!version.len || slice_eq_str(version, k->version)))
            return k;
    return NULL;
}

static bool put_below(const struct writer *w, struct slice path)
{
    struct slice rest = slice_from(path, 1), group = {NULL, 0};
    bool of_core = slice_eq(slice_split(&rest, '/'), SLICE("api"));
    if (!of_core)
        group = slice_split(&rest, '/');
    if (memchr(rest.ptr ? rest.ptr : "", '/', rest.len))
        return false;
    const struct kind *of = find(group, rest);
    if (!of || core(of) != of_core || (of_core && !rest.len))
        return false;
    if (rest.len)
        put_resource_list(w, of);
    else
        put_api_group(w, of, true);
    return true;
}

/* GET /: what paths there are, as a kube-apiserver tells. */
static void put_paths(struct buf *out)
{
    const struct kind *k;
    buf_put_str(out, "{\"paths\":[\"/api\",\"/api/v1\",\"/apis\"");
    for (size_t i = 0; (k = served_at(i)); i++) {
        if (!core(k) && is_first(i, false))
            buf_printf(out, ",\"/apis/%s\"", k->group);
        if (!core(k) && is_first(i, true))
            buf_printf(out, ",\"/apis/%s/%s\"", k->group, k->version);
    }
    buf_put_str(out, ",\"/healthz\",\"/leat/v1\",\"/livez\",\"/metrics\",\"/openapi/v2\",\"/openapi/v3\","
                     "\"/readyz\",\"/version\"]}\n");
}

static void paths(struct http_request *r)
{
    struct buf body;
    buf_init(&body, DOCUMENT_MAX);
    put_paths(&body);
    api_json_text(r, 200, &body);
}

bool api_discovery(struct api *a, struct http_request *r, struct slice path)
{
    if (slice_eq(path, SLICE("/"))) {
        paths(r);
        return true;
    }
    bool of_core = slice_eq(path, SLICE("/api")) || slice_eq(path, SLICE("/api/")),
         top = of_core || slice_eq(path, SLICE("/apis")) || slice_eq(path, SLICE("/apis/"));
    if (!top && !slice_has_prefix(path, SLICE("/api/")) && !slice_has_prefix(path, SLICE("/apis/")))
        return false;
    struct buf body;
    buf_init(&body, DOCUMENT_MAX);
    const struct writer w = {a, &body};
    const char *version = top ? aggregated(r) : NULL;
    char type[100];
    bool mine = true;
    snprintf(type, sizeof type, "application/json%s%s%s", version ? ";g=apidiscovery.k8s.io;v=" : "",
             version ? version : "", version ? ";as=APIGroupDiscoveryList" : "");
    if (top)
        put_top(&w, of_core, version);
    else
        mine = put_below(&w, path);
    if (mine && buf_error(&body) != OK)
        api_status(r, 500, "InternalError", "out of memory");
    else if (mine)
        api_document(r, slice_str(type), buf_slice(&body), false);
    buf_fini(&body);
    return mine;
}
