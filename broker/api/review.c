/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks of its own rights: `kubectl auth can-i` and `auth whoami`. There are no accounts, so everybody may
 * do what the server does at all; with resources that come from files alone (--shared) that is to read.
 */
#include "../resource/check.h"
#include "kubernetes.h"

static bool reads(const char *verb)
{
    return verb && (strcmp(verb, "get") == 0 || strcmp(verb, "list") == 0 || strcmp(verb, "watch") == 0);
}

/* Bodies may be protobuf, which is not read: then what holds for writes is said. */
static void access_review(struct api *a, struct http_request *r)
{
    struct slice body = http_request_body(r);
    cJSON *tree = body.len ? cJSON_ParseWithLength(body.ptr, body.len) : NULL;
    const char *verb = json_text(json_object(json_object(tree, "spec"), "resourceAttributes"), "verb");
    struct buf answer;
    buf_init(&answer, 4096);
    buf_printf(&answer,
               "{\"kind\":\"SelfSubjectAccessReview\",\"apiVersion\":\"authorization.k8s.io/v1\",\"metadata\":{},"
               "\"spec\":{},\"status\":{\"allowed\":%s%s}}\n",
               !a->read_only || reads(verb) ? "true" : "false",
               a->read_only ? ",\"reason\":\"resources come from files alone (--shared)\"" : "");
    api_json_text(r, 201, &answer);
    cJSON_Delete(tree);
}

bool api_review(struct api *a, struct http_request *r)
{
    struct slice path = http_request_path(r);
    if (!slice_eq(http_request_method(r), SLICE("POST")))
        return false;
    if (slice_eq(path, SLICE("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"))) {
        access_review(a, r);
        return true;
    }
    if (!slice_eq(path, SLICE("/apis/authentication.k8s.io/v1/selfsubjectreviews")))
        return false;
    struct buf answer;
    buf_init(&answer, 4096);
    buf_put_str(
        &answer,
        "{\"kind\":\"SelfSubjectReview\",\"apiVersion\":\"authentication.k8s.io/v1\",\"metadata\":{},"
        "\"status\":{\"userInfo\":{\"username\":\"system:anonymous\",\"groups\":[\"system:unauthenticated\"]}}}\n");
    api_json_text(r, 201, &answer);
    return true;
}
