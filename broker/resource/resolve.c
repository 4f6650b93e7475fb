/* SPDX-License-Identifier: Apache-2.0
 *
 * From references, names and URLs to where events go. A channel of this program becomes PLAN_TARGET_CHANNEL however it
 * is named: by reference, by URL, or by one of its host names.
 *
 * A name (NAME in NS) is looked up in this order: --resolve NAME.NS=URL; a core Service of type ExternalName; a Service
 * or Route of Knative Serving whose status has an address. Only names of 2018 are believed to be in DNS when nothing
 * else knows them: that is what they were.
 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "http_client.h"
#include "planner.h"

/* Where a --resolve argument's URL begins, when it is one for this name. */
static const char *resolve_match(const char *argument, const char *name, const char *ns)
{
    size_t n = strlen(name), m = strlen(ns);
    if (strncmp(argument, name, n) != 0 || argument[n] != '.' || strncmp(argument + n + 1, ns, m) != 0 ||
        argument[n + 1 + m] != '=')
        return NULL;
    return argument + n + m + 2;
}

enum err plan_resolve_check(const char *argument, struct diag *d)
{
    struct http_url url;
    struct diag why = {0};
    const char *equals = strchr(argument, '=');
    if (!equals)
        return diag_set(d, ERR_INVALID,
                        "\"%.100s\" has no '='; write NAME.NAMESPACE=URL, such as hello.default=http://127.0.0.1:9000",
                        argument);
    const char *dot = memchr(argument, '.', (size_t)(equals - argument));
    if (!dot || dot == argument || dot + 1 == equals)
        return diag_set(d, ERR_INVALID, "\"%.*s\" is not NAME.NAMESPACE, such as hello.default",
                        (int)(equals - argument < 100 ? equals - argument : 100), argument);
    enum err e = http_url_parse(slice_str(equals + 1), &url, &why);
    if (e == OK)
        http_url_fini(&url);
    else if (e != ERR_NOMEM)
        e = diag_set(d, ERR_INVALID, "\"%.100s\" is not a URL: %.200s", equals + 1, why.text);
    return e;
}

struct plan_target target_channel(const struct channel_plan *c)
{
    return (struct plan_target){PLAN_TARGET_CHANNEL, c->url, c->index};
}

static const struct channel_plan *channel_at_path(struct planner *p, struct slice path)
{
    void *there = map_get(&p->paths, path);
    return there == p ? NULL : there; /* the planner stands for a source's webhook */
}

/* Takes ".svc.DOMAIN" or ".svc" off a host, so that NAME.NS remains. */
static struct slice name_strip(const struct planner *p, struct slice host)
{
    char end[300];
    const char *domain = p->options->cluster_domain ? p->options->cluster_domain : "cluster.local";
    int n = snprintf(end, sizeof end, ".svc.%s", domain);
    if (n > 0 && slice_has_suffix(host, slice_of(end, (size_t)n)))
        host.len -= (size_t)n;
    else if (slice_has_suffix(host, SLICE(".svc")))
        host.len -= 4;
    return host;
}

/* The hosts that Brokers and KafkaSinks of a cluster have by default: paths are /NAMESPACE/NAME there. The room of the
 * ingress that stands for it; NULL: it is none of these. */
static const char *room_of_ingress(const struct planner *p, struct slice host)
{
    static const char *const names[][2] = {
        {"broker-ingress", "/brokers"}, {"kafka-broker-ingress", "/brokers"}, {"kafka-sink-ingress", "/kafkasinks"}};
    struct slice rest = name_strip(p, host), first = slice_split(&rest, '.');
    if (!slice_eq_str(rest, "knative-eventing") || first.len + rest.len + 1 == host.len)
        return NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (slice_eq_str(first, names[i][0]))
            return names[i][1];
    return NULL;
}

/* The channel that this path of the ingress means, or this host name. */
static const struct channel_plan *channel_by_url(struct planner *p, const struct http_url *url)
{
    char host[300];
    const char *base = p->options->ingress_url;
    size_t n = strlen(base);
    if (strncmp(url->text, base, n) == 0 && url->text[n] == '/') {
        const struct channel_plan *c = channel_at_path(p, slice_str(url->text + n));
        if (c)
            return c;
    }
    if (url->host.len >= sizeof host || url->tls || url->port != 80)
        return NULL;
    for (size_t i = 0; i < url->host.len; i++)
        host[i] = (char)tolower((unsigned char)url->host.ptr[i]);
    struct slice name = slice_of(host, url->host.len);
    const char *room = room_of_ingress(p, name);
    if (room)
        return channel_at_path(p, slice_str(plan_text(p, "%s%.*s", room, SLICE_ARG(url->target))));
    return slice_eq_str(url->target, "/") ? map_get(&p->hosts, name) : NULL;
}

static bool resolve_url(struct planner *p, const char *text, struct plan_target *out, struct why *why)
{
    struct http_url url;
    struct diag d = {0};
    enum err e = http_url_parse(slice_str(text), &url, &d);
    if (e != OK) {
        p->nomem = p->nomem || e == ERR_NOMEM;
        *why = why_of(p, "InvalidURL", "%s is not a URL: %s", text, d.text);
        return false;
    }
    const struct channel_plan *c = channel_by_url(p, &url);
    if (c)
        *out = target_channel(c);
    else
        *out = (struct plan_target){.kind = PLAN_TARGET_URL, .url = plan_copy(p, url.text)};
    http_url_fini(&url);
    return true;
}

/* ---- names ---- */

static const char *option_url(const struct planner *p, const char *name, const char *ns)
{
    for (const char *const *r = p->options->resolve; r && *r; r++) {
        const char *url = resolve_match(*r, name, ns);
        if (url)
            return url;
    }
    return NULL;
}

/* What a core Service stands for; NULL when there is none, or when it has a meaning inside a cluster only. */
static const char *service_url(struct planner *p, const struct resource *r)
{
    const cJSON *spec = r ? json_object(r->object, "spec") : NULL;
    const char *type = json_text(spec, "type"), *host = json_text(spec, "externalName");
    if (!type || strcmp(type, "ExternalName") != 0 || !host)
        return NULL;
    const cJSON *port = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(spec, "ports"), 0),
                *number = cJSON_GetObjectItemCaseSensitive(port, "port");
    const char *name = json_text(port, "name"), *protocol = json_text(port, "appProtocol");
    int n = cJSON_IsNumber(number) ? number->valueint : 80;
    bool tls = n == 443 || (name && strcmp(name, "https") == 0) || (protocol && strcmp(protocol, "https") == 0);
    if (n == (tls ? 443 : 80))
        return plan_text(p, "http%s://%s/", tls ? "s" : "", host);
    return plan_text(p, "http%s://%s:%d/", tls ? "s" : "", host, n);
}

/* The address that a Service or Route of Knative Serving has in its status. */
static const char *serving_url(struct planner *p, const struct resource *r)
{
    const cJSON *status = r ? json_object(r->object, "status") : NULL;
    const cJSON *address = json_object(status, "address");
    const char *url = json_text(address, "url"), *host = json_text(address, "hostname");
    if (!url)
        url = json_text(status, "url");
    if (!host)
        host = json_text(status, "domainInternal");
    if (!host)
        host = json_text(status, "domain");
    return url ? url : host ? plan_text(p, "http://%s/", host) : NULL;
}

/* Everything that a name may be; NULL when nothing knows it. */
static const char *name_url(struct planner *p, const char *ns, const char *name)
{
    const char *url = option_url(p, name, ns);
    if (!url)
        url = service_url(p, plan_get(p, "", "Service", ns, name));
    if (!url)
        url = serving_url(p, plan_get(p, "serving.knative.dev", "Service", ns, name));
    if (!url)
        url = serving_url(p, plan_get(p, "serving.knative.dev", "Route", ns, name));
    return url;
}

bool resolve_name(struct planner *p, const char *ns, const char *name, struct plan_target *out, struct why *why)
{
    if (strstr(name, "://"))
        return resolve_url(p, name, out, why);
    const struct channel_plan *c = map_get(&p->hosts, slice_str(name));
    if (c) {
        *out = target_channel(c);
        return true;
    }
    struct slice rest = name_strip(p, slice_str(name)), first = slice_split(&rest, '.');
    bool short_name = !rest.ptr, two = rest.ptr && !memchr(rest.ptr, '.', rest.len);
    if (short_name || two) {
        const char *own = plan_text(p, "%.*s", SLICE_ARG(first)),
                   *where = two ? plan_text(p, "%.*s", SLICE_ARG(rest)) : ns;
        const char *url = name_url(p, where, own);
        if (url)
            return resolve_url(p, url, out, why);
    }
    if (short_name && !strchr(name, ':'))
        return resolve_url(p,
                           plan_text(p, "http://%s.%s.svc.%s/", name, ns,
                                     p->options->cluster_domain ? p->options->cluster_domain : "cluster.local"),
                           out, why);
    return resolve_url(p, plan_text(p, "http://%s/", name), out, why);
}

/* ---- references ---- */

/* Kinds that are channels here, whatever they are called. */
static const char *const channel_kinds[][2] = {
    {"messaging.knative.dev", "Channel"},      {"messaging.knative.dev", "InMemoryChannel"},
    {"messaging.knative.dev", "KafkaChannel"}, {"eventing.knative.dev", "KafkaSink"},
    {"channels.knative.dev", "Channel"},       {"eventing.knative.dev", "Broker"},
    {"flows.knative.dev", "Sequence"},         {"flows.knative.dev", "Parallel"},
};
#define CHANNEL_KIND_COUNT (sizeof channel_kinds / sizeof channel_kinds[0])

static bool is_channel_kind(const char *kind)
{
    for (size_t i = 0; i < CHANNEL_KIND_COUNT; i++)
        if (strcmp(channel_kinds[i][1], kind) == 0)
            return true;
    return false;
}

static bool resolve_channel(struct planner *p, const char *api_version, const char *kind, const char *ns,
                            const char *name, struct plan_target *out, struct why *why)
{
    const struct channel_plan *c = NULL;
    for (size_t i = 0; i < CHANNEL_KIND_COUNT && !c; i++) {
        const char *group = channel_kinds[i][0];
        size_t n = strlen(group);
        if (strcmp(channel_kinds[i][1], kind) == 0 &&
            (!api_version || (strncmp(api_version, group, n) == 0 && api_version[n] == '/')))
            c = map_get(&p->channels, slice_str(plan_text(p, "%s.%s/%s/%s", kind, group, ns, name)));
    }
    if (!c) {
        *why = why_of(p, "NotFound", "%s %s/%s%s%s is not declared", kind, ns, name, api_version ? " of " : "",
                      api_version ? api_version : "");
        return false;
    }
    if (!c->ready) {
        *why = why_of(p, "ChannelNotReady", "%s %s/%s is not ready: %s", kind, ns, name, c->why.message);
        return false;
    }
    *out = target_channel(c);
    return true;
}

bool resolve_ref(struct planner *p, const char *ns, const char *api_version, const char *kind, const char *ref_ns,
                 const char *name, struct plan_target *out, struct why *why)
{
    const char *where = ref_ns && *ref_ns ? ref_ns : ns, *url;
    if (is_channel_kind(kind))
        return resolve_channel(p, api_version, kind, where, name, out, why);
    bool service = strcmp(kind, "Service") == 0, route = strcmp(kind, "Route") == 0;
    bool serving = route || (service && api_version && strncmp(api_version, "serving.knative.dev/", 20) == 0);
    url = option_url(p, name, where);
    const struct resource *there = serving   ? plan_get(p, "serving.knative.dev", kind, where, name)
                                   : service ? plan_get(p, "", "Service", where, name)
                                             : NULL;
    if (!url && serving)
        url = serving_url(p, there);
    else if (!url && service)
        url = service_url(p, there);
    if (url)
        return resolve_url(p, url, out, why);
    if (!service && !route)
        *why = why_of(
            p, "KindNotAddressable",
            "a %s has no address that leat could know; use a Service, a Channel or a URL, or give --resolve %s.%s=URL",
            kind, name, where);
    else if (serving)
        *why = why_of(p, "NotResolved", "%s %s/%s has no address here; give --resolve %s.%s=URL%s", kind, where, name,
                      name, where, there ? ", or set its status.address.url" : "");
    else if (there)
        *why = why_of(p, "NotResolved",
                      "Service %s/%s has no address outside Kubernetes: make it of type ExternalName, or give "
                      "--resolve %s.%s=URL",
                      where, name, name, where);
    else
        *why = why_of(p, "NotFound",
                      "Service %s/%s is not declared: declare it with type ExternalName, or give --resolve %s.%s=URL",
                      where, name, name, where);
    return false;
}

/* A relative reference against a base (RFC 3986 section 5.2, for what may stand in a manifest: an absolute path, a
 * relative path, a query). */
static const char *url_join(struct planner *p, const char *base, const char *uri)
{
    const char *authority = strstr(base, "://");
    assert(authority);
    const char *path = authority + 3 + strcspn(authority + 3, "/?#");
    size_t whole = (size_t)(path - base), last = strcspn(path, "?#");
    if (*uri == '/')
        return plan_text(p, "%.*s%s", (int)whole, base, uri);
    if (*uri == '?' || *uri == 0)
        return plan_text(p, "%.*s%s%s", (int)(whole + last), base, last ? "" : "/", uri);
    while (last > 0 && path[last - 1] != '/')
        last--;
    return plan_text(p, "%.*s%s%s", (int)(whole + last), base, last ? "" : "/", uri);
}

bool resolve_destination(struct planner *p, const char *ns, const cJSON *destination, struct plan_target *out,
                         struct why *why)
{
    const cJSON *ref = json_object(destination, "ref");
    const char *uri = json_text(destination, "uri"), *kind = json_text(ref, "kind"), *name = json_text(ref, "name");
    *out = (struct plan_target){.kind = PLAN_TARGET_NONE};
    if (!destination)
        return true;
    if (!ref)
        return resolve_url(p, uri ? uri : "", out, why);
    if (!kind || !name ||
        !resolve_ref(p, ns, json_text(ref, "apiVersion"), kind, json_text(ref, "namespace"), name, out, why))
        return false;
    return !uri || resolve_url(p, url_join(p, out->url, uri), out, why);
}
