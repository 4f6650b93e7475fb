/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks of its own rights: `kubectl auth can-i`, `auth can-i --list` and `auth whoami`. Answered by the
 * decision that requests themselves meet (roles.c). With resources that come from files alone (--shared) nobody may
 * write them.
 */
#include "../resource/check.h"
#include "kubernetes.h"
#include "protobuf.h"

#include <stdio.h>

static bool reads(const char *verb)
{
    return strcmp(verb, "get") == 0 || strcmp(verb, "list") == 0 || strcmp(verb, "watch") == 0;
}

/* The body as a tree, be it JSON or protobuf; NULL: it is neither. */
static cJSON *read_body(struct http_request *r)
{
    struct slice body = http_request_body(r);
    struct diag d = {0};
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    if (slice_has_prefix(body, slice_of("k8s\0", 4)) && kubernetes_protobuf_read(body, &text, &d) == OK)
        body = buf_slice(&text);
    cJSON *tree = body.len ? cJSON_ParseWithLength(body.ptr, body.len) : NULL;
    buf_fini(&text);
    return tree;
}

static void set(char out[ACCESS_WORD_MAX + 1], const cJSON *attributes, const char *name)
{
    const char *text = json_text(attributes, name);
    snprintf(out, ACCESS_WORD_MAX + 1, "%s", text ? text : "");
}

/* What is asked about; its path is borrowed of the tree. */
static void read_question(const cJSON *spec, struct access_request *q)
{
    const cJSON *about = json_object(spec, "resourceAttributes"), *page = json_object(spec, "nonResourceAttributes");
    *q = (struct access_request){0};
    set(q->verb, about ? about : page, "verb");
    if (!about) {
        const char *path = json_text(page, "path");
        q->path = slice_str(path ? path : "/");
        return;
    }
    set(q->group, about, "group");
    set(q->resource, about, "resource");
    set(q->subresource, about, "subresource");
    set(q->namespace_name, about, "namespace");
    set(q->name, about, "name");
    q->namespaced = access_kind_is_namespaced(q->group, q->resource, true);
    if (!q->namespaced)
        snprintf(q->namespace_name, sizeof q->namespace_name, "%s",
                 !q->group[0] && strcmp(q->resource, "namespaces") == 0 ? q->name : "");
}

static void answer(struct http_request *r, cJSON *tree, const char *kind, struct buf *status)
{
    char *spec = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(tree, "spec"));
    struct buf body;
    buf_init(&body, 2 * MANIFEST_BYTES_MAX);
    buf_printf(&body, "{\"kind\":\"%s\",\"apiVersion\":\"authorization.k8s.io/v1\",\"metadata\":{},\"spec\":", kind);
    buf_put_str(&body, spec ? spec : "{}");
    buf_put_str(&body, ",\"status\":{");
    buf_put(&body, buf_slice(status));
    buf_put_str(&body, "}}\n");
    api_json_text(r, 201, &body);
    buf_fini(status);
    cJSON_free(spec);
}

static void access_review(struct api *a, struct http_request *r)
{
    const struct access_caller who = access_caller_of(&a->access, r);
    cJSON *tree = read_body(r);
    struct access_request q;
    struct buf status;
    read_question(json_object(tree, "spec"), &q);
    bool allowed = access_allows(who.role, who.namespace_name, &q),
         files_alone = a->read_only && !q.path.ptr && !reads(q.verb) && strcmp(q.group, ACCESS_LEAT_GROUP) != 0;
    buf_init(&status, 1024);
    buf_printf(&status, "\"allowed\":%s", allowed && !files_alone ? "true" : "false");
    if (files_alone)
        buf_put_str(&status, ",\"reason\":\"resources come from files alone (--shared)\"");
    else if (!allowed)
        buf_printf(&status, ",\"reason\":\"its role is %s%s%s\"", role_name(who.role),
                   who.namespace_name[0] ? " in the namespace " : "", who.namespace_name);
    answer(r, tree, "SelfSubjectAccessReview", &status);
    cJSON_Delete(tree);
}

/* The rules hold in the token's namespace; elsewhere only what everybody may. */
static void rules_review(struct api *a, struct http_request *r)
{
    const struct access_caller who = access_caller_of(&a->access, r);
    cJSON *tree = read_body(r);
    const char *space = json_text(json_object(tree, "spec"), "namespace");
    bool here = !who.namespace_name[0] || strcmp(who.namespace_name, space ? space : "default") == 0;
    struct buf status;
    buf_init(&status, 64u << 10);
    access_rules_put(here ? who.role : ROLE_PUBLISH, who.namespace_name, &status);
    buf_put_str(&status, ",\"incomplete\":false");
    answer(r, tree, "SelfSubjectRulesReview", &status);
    cJSON_Delete(tree);
}

static void who_am_i(struct api *a, struct http_request *r)
{
    const struct access_caller who = access_caller_of(&a->access, r);
    struct buf body;
    buf_init(&body, 4096);
    buf_printf(&body,
               "{\"kind\":\"SelfSubjectReview\",\"apiVersion\":\"authentication.k8s.io/v1\",\"metadata\":{},"
               "\"status\":{\"userInfo\":{\"username\":\"%s\",\"groups\":[\"system:%s\"",
               who.name ? who.name : "system:anonymous", who.name ? "authenticated" : "unauthenticated");
    if (who.name)
        buf_printf(&body, ",\"leat:role:%s\"", role_name(who.role));
    if (who.namespace_name[0])
        buf_printf(&body, ",\"leat:namespace:%s\"", who.namespace_name);
    buf_put_str(&body, "]}}}\n");
    api_json_text(r, 201, &body);
}

bool api_review(struct api *a, struct http_request *r)
{
    static const struct {
        const char *path;
        void (*run)(struct api *a, struct http_request *r);
    } reviews[] = {
        {"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", access_review},
        {"/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", rules_review},
        {"/apis/authentication.k8s.io/v1/selfsubjectreviews", who_am_i},
    };
    if (!slice_eq(http_request_method(r), SLICE("POST")))
        return false;
    for (size_t i = 0; i < sizeof reviews / sizeof reviews[0]; i++)
        if (slice_eq_str(http_request_path(r), reviews[i].path)) {
            reviews[i].run(a, r);
            return true;
        }
    return false;
}
