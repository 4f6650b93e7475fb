/* SPDX-License-Identifier: Apache-2.0
 *
 * From API versions and kinds to paths: GET /api/v1 or /apis/GROUP/VERSION lists what the server has there
 * (APIResourceList). One resource after the other; what fails, as a CustomResourceDefinition that is not there yet, is
 * asked for again until it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kubernetes_parts.h"

#define ANSWER_MAX (8u << 20)
#define TIMEOUT_NS (30 * NS_PER_S)
#define RETRY_NS (500 * NS_PER_MS)
#define RETRY_NS_MAX (30 * NS_PER_S)

void kubernetes_put_group(struct buf *b, const char *api_version)
{
    buf_printf(b, "%s/%s", strchr(api_version, '/') ? "/apis" : "/api", api_version);
}

static bool text_is(struct json_value object, const char *name, const char *text)
{
    struct json_value v;
    return json_find(object, (const char *const[]){name, NULL}, &v) && v.type == JSON_STRING &&
           json_string_is(v.raw, slice_str(text));
}

/* A plural is part of paths: lower-case letters, digits and dashes; with a slash it is a part of objects ("pods/log").
 */
static char *plural_of(struct json_value object)
{
    struct json_value v;
    if (!json_find(object, (const char *const[]){"name", NULL}, &v) || v.type != JSON_STRING || v.raw.len < 3 ||
        v.raw.len > 256)
        return NULL;
    for (size_t i = 1; i < v.raw.len - 1; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-.", v.raw.ptr[i]))
            return NULL;
    return strndup(v.raw.ptr + 1, v.raw.len - 2);
}

enum err kubernetes_discovered(struct slice body, const char *kind, char **plural, bool *namespaced, struct diag *d)
{
    struct json_value v, list, is;
    struct json_walk w;
    enum err e = json_check(body, KUBE_DEPTH_MAX, &v, d);
    if (e != OK)
        return e;
    if (v.type != JSON_OBJECT || !json_find(v, (const char *const[]){"resources", NULL}, &list) ||
        list.type != JSON_ARRAY)
        return diag_set(d, ERR_INVALID, "it is no list of resources");
    json_walk_begin(&w, list);
    while (json_walk_next(&w)) {
        char *name = w.value.type == JSON_OBJECT && text_is(w.value, "kind", kind) ? plural_of(w.value) : NULL;
        if (!name)
            continue;
        *plural = name;
        *namespaced = json_find(w.value, (const char *const[]){"namespaced", NULL}, &is) && is.type == JSON_TRUE;
        return OK;
    }
    return ERR_NOTFOUND;
}

static void again(struct kubernetes *k, const char *reason, const char *text)
{
    uint64_t ns = k->discover_failures < 8 ? RETRY_NS << k->discover_failures : RETRY_NS_MAX;
    kubernetes_trouble(k, reason, text);
    k->discover_failures++;
    loop_timer_start(k->loop, &k->discover_timer, ns < RETRY_NS_MAX ? ns : RETRY_NS_MAX);
}

static void found(struct kube_call *c, const struct kube_answer *a)
{
    struct kubernetes *k = container_of(c, struct kubernetes, call);
    const struct kubernetes_resource *r = &k->options.resources[k->discovered];
    const char *server = kube_config_of(k->kube)->server;
    char text[KUBE_TEXT_MAX];
    struct diag d = {0};
    enum err e = a->err;
    if (e == OK)
        e = kubernetes_discovered(a->body, r->kind, &k->plurals[k->discovered], &k->namespaced[k->discovered], &d);
    if (e == OK) {
        k->discovered++;
        k->discover_failures = 0;
        kubernetes_trouble(k, NULL, NULL);
        kubernetes_discover(k);
        return;
    }
    if (a->err != OK && a->err != ERR_NOTFOUND)
        snprintf(text, sizeof text, "%s", a->text);
    else if (e == ERR_NOTFOUND)
        snprintf(text, sizeof text,
                 "%.150s has no %s of %s; is its name right, and its CustomResourceDefinition there?", server, r->kind,
                 r->api_version);
    else
        snprintf(text, sizeof text, "what %.150s says of %s cannot be read: %.200s", server, r->api_version, d.text);
    again(k, a->err != OK ? a->reason : e == ERR_NOTFOUND ? "NotFound" : "Malformed", text);
}

void kubernetes_discover(struct kubernetes *k)
{
    struct buf target;
    struct diag d = {0};
    if (k->discovered == k->options.resource_count) {
        kubernetes_places_start(k);
        return;
    }
    buf_init(&target, 1024);
    kubernetes_put_group(&target, k->options.resources[k->discovered].api_version);
    buf_put(&target, slice_of("", 1));
    enum err e = buf_error(&target);
    if (e == OK)
        e = kube_get(k->kube, &k->call, target.ptr, ANSWER_MAX, TIMEOUT_NS, NULL, found, &d);
    buf_fini(&target);
    if (e != OK)
        again(k, "TokenNotReadable", d.text[0] ? d.text : err_name(e));
}

void kubernetes_discover_stop(struct kubernetes *k)
{
    kube_call_cancel(&k->call);
    loop_timer_stop(k->loop, &k->discover_timer);
}
