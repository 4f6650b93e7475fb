/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules that schemas cannot say. One function per kind, in the table at the end; what many kinds share (names,
 * destinations, delivery) stands first.
 */
#include "rules.h"

#include <stdio.h>
#include <stdlib.h>

#include "annotations.h"
#include "buf.h"
#include "clock.h"
#include "dispatcher.h"
#include "http_client.h"
#include "text.h"

cJSON *rule_member(cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

cJSON *rule_enter(struct check *c, cJSON *object, const char *name, size_t *before)
{
    cJSON *m = rule_member(object, name);
    *before = path_down(c, name);
    return m;
}

cJSON *rule_object(struct check *c, cJSON *object, const char *name)
{
    cJSON *m = rule_member(object, name);
    if (!m && cJSON_IsObject(object)) {
        m = cJSON_AddObjectToObject(object, name);
        c->nomem = c->nomem || !m;
    }
    return cJSON_IsObject(m) ? m : NULL;
}

void rule_default(struct check *c, cJSON *object, const char *name, const char *value)
{
    if (cJSON_IsObject(object) && !rule_member(object, name) && !cJSON_AddStringToObject(object, name, value))
        c->nomem = true;
}

/* ---- names ---- */

static bool is_name_char(char ch, bool dots)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || (dots && ch == '.');
}

/* DNS-1123: a subdomain (`dots`) or a label. NULL when it is one, else what is wrong. */
static const char *name_wrong(const char *name, bool dots)
{
    size_t n = strlen(name);
    if (n == 0)
        return "must not be empty";
    if (n > (dots ? 253u : 63u))
        return dots ? "must have at most 253 characters" : "must have at most 63 characters";
    for (size_t i = 0; i < n; i++) {
        bool edge = i == 0 || i + 1 == n || name[i - 1] == '.' || name[i + 1] == '.';
        if (!is_name_char(name[i], dots) || (edge && name[i] == '-') ||
            ((i == 0 || i + 1 == n || name[i - 1] == '.') && name[i] == '.'))
            return dots
                       ? "must consist of lower-case letters, digits, '-' and '.', and begin and end with a letter or "
                         "digit"
                       : "must consist of lower-case letters, digits and '-', and begin and end with a letter or digit";
    }
    return NULL;
}

static void check_name(struct check *c, const cJSON *node, bool dots)
{
    const char *why = cJSON_IsString(node) ? name_wrong(node->valuestring, dots) : NULL;
    if (why)
        check_error(c, node, "%s (it is \"%.80s\")", why, node->valuestring);
}

static void check_metadata(struct check *c, const struct kind *kind, cJSON *object)
{
    size_t before, inner;
    cJSON *metadata = rule_enter(c, object, "metadata", &before);
    if (cJSON_IsObject(metadata)) {
        const cJSON *name = rule_enter(c, metadata, "name", &inner);
        bool label =
            kind->group[0] == 0 && (strcmp(kind->kind, "Namespace") == 0 || strcmp(kind->kind, "Service") == 0);
        if (!name && !rule_member(metadata, "generateName")) {
            check_error_key(c, metadata, "is missing: an object needs a name");
            check_reason(c, "FieldValueRequired");
        }
        check_name(c, name, !label);
        path_up(c, inner);
        cJSON *ns = rule_enter(c, metadata, "namespace", &inner);
        if (ns && !kind->namespaced) {
            check_warn(c, ns, "a %s belongs to no namespace; ignored", kind->kind);
            cJSON_Delete(cJSON_DetachItemViaPointer(metadata, ns));
        } else if (kind->namespaced && (!ns || (cJSON_IsString(ns) && !ns->valuestring[0]))) {
            cJSON_DeleteItemFromObjectCaseSensitive(metadata, "namespace");
            if (!cJSON_AddStringToObject(metadata, "namespace", c->namespace_name))
                c->nomem = true;
        } else {
            check_name(c, ns, false);
        }
        path_up(c, inner);
        rule_labels(c, metadata);
    }
    path_up(c, before);
}

/* ---- values of many kinds ---- */

static void check_url(struct check *c, const cJSON *node)
{
    struct http_url url;
    struct diag why = {0};
    if (!cJSON_IsString(node))
        return;
    enum err e = http_url_parse(slice_str(node->valuestring), &url, &why);
    if (e == OK)
        http_url_fini(&url);
    else if (e == ERR_NOMEM)
        c->nomem = true;
    else
        check_error(c, node, "%.200s; write one such as http://host:8080/path", why.text);
}

static bool has_scheme(const char *s)
{
    return strstr(s, "://") != NULL;
}

/* A destination of 2018: a DNS name, or a URL. */
static void check_dns_or_url(struct check *c, const cJSON *node)
{
    if (!cJSON_IsString(node))
        return;
    if (has_scheme(node->valuestring)) {
        check_url(c, node);
        return;
    }
    char url[400];
    if (snprintf(url, sizeof url, "http://%s/", node->valuestring) >= (int)sizeof url ||
        strpbrk(node->valuestring, "/ ?#@")) {
        check_error(c, node,
                    "must be a DNS name, such as service or service.namespace, or a URL that begins with http://");
        return;
    }
    struct http_url parsed;
    struct diag why = {0};
    enum err e = http_url_parse(slice_str(url), &parsed, &why);
    if (e == OK)
        http_url_fini(&parsed);
    else if (e == ERR_NOMEM)
        c->nomem = true;
    else
        check_error(c, node, "%.200s; write a DNS name such as service.namespace, or a URL", why.text);
}

void check_destination(struct check *c, cJSON *d)
{
    if (!cJSON_IsObject(d))
        return;
    cJSON *ref = rule_member(d, "ref"), *uri = rule_member(d, "uri");
    rule_default(c, ref, "namespace", c->own_namespace);
    if (!ref && !uri) {
        check_error_key(c, d, "needs ref (an object with an address) or uri (a URL)");
        return;
    }
    size_t before;
    rule_enter(c, d, "uri", &before);
    if (cJSON_IsString(uri) && !ref && !has_scheme(uri->valuestring))
        check_error(c, uri,
                    "must be a whole URL such as http://host:8080/path; one without a host needs a ref beside it");
    else if (cJSON_IsString(uri) && ref && has_scheme(uri->valuestring))
        check_error(
            c, uri,
            "beside ref, only a reference without scheme and host may stand here, such as /path; else leave ref out");
    else if (cJSON_IsString(uri) && !ref)
        check_url(c, uri);
    path_up(c, before);
}

void check_destination_at(struct check *c, cJSON *object, const char *name)
{
    size_t before;
    check_destination(c, rule_enter(c, object, name, &before));
    path_up(c, before);
}

void check_duration(struct check *c, cJSON *object, const char *name, bool zero_allowed)
{
    size_t before;
    const cJSON *node = rule_enter(c, object, name, &before);
    struct diag why = {0};
    uint64_t ns;
    if (cJSON_IsString(node)) {
        if (iso8601_duration_parse(slice_str(node->valuestring), &ns, &why) != OK)
            check_error(c, node, "%s", why.text);
        else if (ns == 0 && !zero_allowed)
            check_error(c, node, "must be longer than zero");
    }
    path_up(c, before);
}

void check_delivery(struct check *c, cJSON *spec)
{
    size_t before;
    cJSON *d = rule_enter(c, spec, "delivery", &before);
    if (cJSON_IsObject(d)) {
        check_destination_at(c, d, "deadLetterSink");
        check_duration(c, d, "timeout", false);
        check_duration(c, d, "backoffDelay", true);
        check_duration(c, d, "backoffMax", false);
        check_duration(c, d, "retryAfterMax", true);
    }
    path_up(c, before);
}

/* ---- annotations of ours ---- */

static void check_annotations(struct check *c, const struct kind *kind, cJSON *object)
{
    size_t before, inner, deepest;
    cJSON *list = rule_member(rule_enter(c, object, "metadata", &before), "annotations");
    inner = path_down(c, "annotations");
    for (const cJSON *a = cJSON_IsObject(list) ? list->child : NULL; a; a = a->next) {
        struct diag why = {0};
        if (!cJSON_IsString(a))
            continue;
        deepest = path_down(c, a->string);
        if (annotation_check(a->string, a->valuestring, &why) != OK)
            check_error(c, a, "%s", why.text);
        else if (annotation_check_kind(a->string, kind, &why) != OK)
            (kind->has_status ? check_error : check_warn)(c, a, "%s", why.text);
        path_up(c, deepest);
    }
    path_up(c, inner);
    path_up(c, before);
}

/* ---- kinds ---- */

static void channel_2018(struct check *c, cJSON *object)
{
    size_t before;
    cJSON *spec = rule_enter(c, object, "spec", &before), *bus = rule_member(spec, "bus"),
          *cluster = rule_member(spec, "clusterBus");
    if (bus && cluster)
        check_error_key(c, cluster, "bus and clusterBus exclude each other; leave one out");
    else if (spec && !bus && !cluster)
        check_error_key(
            c, spec, "needs bus (a Bus in the same namespace) or clusterBus (a ClusterBus), such as clusterBus: stub");
    path_up(c, before);
}

static void subscription_2018(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    check_dns_or_url(c, rule_enter(c, spec, "subscriber", &inner));
    path_up(c, inner);
    check_dns_or_url(c, rule_enter(c, spec, "replyTo", &inner));
    path_up(c, inner);
    path_up(c, before);
}

void check_template(struct check *c, cJSON *spec)
{
    size_t before;
    cJSON *template = rule_enter(c, spec, "channelTemplate", &before);
    const char *kind = json_text(template, "kind"), *version = json_text(template, "apiVersion");
    if (template && (!kind || !version))
        check_error_key(c, template, "needs apiVersion and kind, such as messaging.knative.dev/v1 and InMemoryChannel");
    path_up(c, before);
}

void rule_channel_today(struct check *c, cJSON *object)
{
    size_t before;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    check_template(c, spec);
    if (rule_member(spec, "subscribers"))
        check_error_key(c, rule_member(spec, "subscribers"),
                        "subscribers is written by leat; make a Subscription for each subscriber");
    check_delivery(c, spec);
    path_up(c, before);
}

/* One that says nothing of its bus says so, as Knative's admission has it: `kn channel describe` fails without. */
static void channel_today(struct check *c, cJSON *object)
{
    cJSON *spec = rule_object(c, object, "spec");
    if (spec && !rule_member(spec, "channelTemplate")) {
        cJSON *template = rule_object(c, spec, "channelTemplate");
        rule_default(c, template, "apiVersion", "messaging.knative.dev/v1");
        rule_default(c, template, "kind", CHANNEL_TEMPLATE_DEFAULT);
    }
    rule_channel_today(c, object);
}

static void subscription_today(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    cJSON *channel = rule_enter(c, spec, "channel", &inner);
    const char *kind = json_text(channel, "kind"), *ns = json_text(channel, "namespace"),
               *own = metadata_text(object, "namespace");
    size_t deepest = path_down(c, "kind");
    if (kind && strcmp(kind, "Channel") != 0 && strcmp(kind, "InMemoryChannel") != 0 &&
        strcmp(kind, "KafkaChannel") != 0)
        check_error(c, rule_member(channel, "kind"),
                    "must be Channel, InMemoryChannel or KafkaChannel (it is \"%.60s\")", kind);
    path_up(c, deepest);
    deepest = path_down(c, "namespace");
    if (ns && own && strcmp(ns, own) != 0)
        check_error(c, rule_member(channel, "namespace"),
                    "a Subscription and its channel must be in the same namespace (here \"%s\")", own);
    path_up(c, deepest);
    path_up(c, inner);
    if (spec && !rule_member(spec, "subscriber") && !rule_member(spec, "reply"))
        check_error_key(c, spec, "needs subscriber (or reply, to send the events themselves there)");
    check_destination_at(c, spec, "subscriber");
    check_destination_at(c, spec, "reply");
    check_delivery(c, spec);
    path_up(c, before);
}

static void check_trigger(struct check *c, cJSON *spec)
{
    size_t before;
    cJSON *trigger = rule_enter(c, spec, "trigger", &before), *type = rule_member(trigger, "eventType"),
          *cluster = rule_member(trigger, "clusterEventType");
    if (type && cluster)
        check_error_key(c, cluster, "eventType and clusterEventType exclude each other; leave one out");
    else if (trigger && !type && !cluster)
        check_error_key(c, trigger, "needs eventType, such as pullrequest");
    path_up(c, before);
}

static void feed(struct check *c, cJSON *object)
{
    static const char *const ways[] = {"dnsName", "routeName", "channelName"};
    size_t before, inner, deepest, given = 0;
    cJSON *spec = rule_enter(c, object, "spec", &before), *action = rule_enter(c, spec, "action", &inner);
    for (size_t i = 0; i < 3; i++)
        given += rule_member(action, ways[i]) != NULL;
    if (action && given != 1)
        check_error_key(c, action, "needs exactly one of dnsName, routeName and channelName");
    check_dns_or_url(c, rule_enter(c, action, "dnsName", &deepest));
    path_up(c, deepest);
    path_up(c, inner);
    check_trigger(c, spec);
    path_up(c, before);
}

static void flow(struct check *c, cJSON *object)
{
    size_t before, inner, deepest;
    cJSON *spec = rule_enter(c, object, "spec", &before), *action = rule_enter(c, spec, "action", &inner);
    cJSON *target = rule_member(action, "target"), *uri = rule_enter(c, action, "targetURI", &deepest);
    if (target && uri)
        check_error_key(c, uri, "target and targetURI exclude each other; leave one out");
    else
        check_dns_or_url(c, uri);
    path_up(c, deepest);
    if (action && !target && !uri)
        check_error_key(c, action, "needs target (an object with an address) or targetURI (a URL)");
    path_up(c, inner);
    check_trigger(c, spec);
    path_up(c, before);
}

void check_overrides(struct check *c, cJSON *spec)
{
    size_t before;
    cJSON *extensions = rule_member(rule_enter(c, spec, "ceOverrides", &before), "extensions");
    size_t inner = path_down(c, "extensions");
    for (const cJSON *e = cJSON_IsObject(extensions) ? extensions->child : NULL; e; e = e->next) {
        size_t name = path_down(c, e->string);
        struct diag why = {0};
        if (ce_name_check(slice_str(e->string), &why) != OK)
            check_error_key(c, e, "%s", why.text);
        path_up(c, name);
    }
    path_up(c, inner);
    path_up(c, before);
}

static void github_source(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    check_destination_at(c, spec, "sink");
    check_url(c, rule_enter(c, spec, "githubAPIURL", &inner));
    path_up(c, inner);
    check_overrides(c, spec);
    path_up(c, before);
}

/* As an API server keeps it: what stringData says is under data, in base64, so that nothing shows a secret as it is. */
bool secret_plain_move(cJSON *object)
{
    bool good = true;
    cJSON *plain = cJSON_DetachItemFromObjectCaseSensitive(object, "stringData"), *data = rule_member(object, "data");
    if (cJSON_IsObject(plain) && !data)
        data = cJSON_AddObjectToObject(object, "data");
    for (const cJSON *value = cJSON_IsObject(plain) ? plain->child : NULL; value; value = value->next) {
        struct buf b;
        if (!cJSON_IsString(value) || !cJSON_IsObject(data))
            continue; /* said already */
        buf_init(&b, MANIFEST_BYTES_MAX * 2);
        base64_put(&b, slice_str(value->valuestring));
        char *text = buf_take_string(&b);
        cJSON_DeleteItemFromObjectCaseSensitive(data, value->string);
        good = good && text && cJSON_AddStringToObject(data, value->string, text);
        free(text);
    }
    good = good && (data || !cJSON_IsObject(plain));
    cJSON_Delete(plain);
    return good;
}

static void secret(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *data = rule_enter(c, object, "data", &before);
    for (const cJSON *value = cJSON_IsObject(data) ? data->child : NULL; value; value = value->next) {
        size_t length;
        inner = path_down(c, value->string);
        if (cJSON_IsString(value) && base64_decode_into(slice_str(value->valuestring), NULL, &length) != OK)
            check_error(c, value, "is not base64; put plain text under stringData instead");
        path_up(c, inner);
    }
    path_up(c, before);
    c->nomem = !secret_plain_move(object) || c->nomem;
}

static void service(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    const char *type = json_text(spec, "type");
    cJSON *name = rule_enter(c, spec, "externalName", &inner);
    if (type && strcmp(type, "ExternalName") == 0) {
        if (!name)
            check_error_key(c, spec, "is missing: a Service of type ExternalName needs the host that it stands for");
        else if (cJSON_IsString(name) && (name->valuestring[0] == 0 || strpbrk(name->valuestring, "/: ")))
            check_error(c, name, "must be a host name alone; the port goes under ports (it is \"%.80s\")",
                        name->valuestring);
    }
    path_up(c, inner);
    path_up(c, before);
}

static void check_params(struct check *c, cJSON *parameters, const char *name)
{
    size_t before;
    cJSON *list = rule_enter(c, parameters, name, &before);
    size_t i = 0;
    for (const cJSON *a = cJSON_IsArray(list) ? list->child : NULL; a; a = a->next, i++) {
        const char *an = json_text(a, "name");
        for (const cJSON *b = list->child; b != a && an; b = b->next) {
            const char *bn = json_text(b, "name");
            if (!bn || strcmp(an, bn) != 0)
                continue;
            size_t inner = path_down_index(c, i);
            check_error(c, a, "the name \"%.100s\" is there twice", an);
            path_up(c, inner);
            break;
        }
        if (i > 1000)
            break;
    }
    path_up(c, before);
}

static void bus(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *parameters = rule_enter(c, rule_enter(c, object, "spec", &before), "parameters", &inner);
    check_params(c, parameters, "channel");
    check_params(c, parameters, "subscription");
    path_up(c, inner);
    path_up(c, before);
}

/* As Kubernetes has it: an Event lies where its object lies; those of objects without a namespace in "default". */
static void event(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *about = rule_enter(c, object, "involvedObject", &before);
    const char *of = json_text(about, "namespace");
    cJSON *there = rule_enter(c, about, "namespace", &inner);
    const char *wanted = of && *of ? of : "default";
    if (c->own_namespace && *c->own_namespace && strcmp(c->own_namespace, wanted) != 0)
        check_error(c, there ? there : about, "is not the namespace of the Event, %.100s", c->own_namespace);
    path_up(c, inner);
    path_up(c, before);
}

/* ---- the table ---- */

static const struct rule {
    const char *group, *kind;
    void (*check)(struct check *c, cJSON *object);
    const char *immutable[4]; /* below spec */
} rules[] = {
    {"channels.knative.dev", "Bus", bus, {NULL}},
    {"channels.knative.dev", "ClusterBus", bus, {NULL}},
    {"channels.knative.dev", "Channel", channel_2018, {"bus", "clusterBus", NULL}},
    {"channels.knative.dev", "Subscription", subscription_2018, {"channel", NULL}},
    {"feeds.knative.dev", "EventType", NULL, {"eventSource", NULL}},
    {"feeds.knative.dev", "ClusterEventType", NULL, {"clusterEventSource", NULL}},
    {"feeds.knative.dev", "Feed", feed, {NULL}},
    {"flows.knative.dev", "Flow", flow, {NULL}},
    {"eventing.knative.dev", "Broker", rule_broker, {"config", NULL}},
    {"eventing.knative.dev", "Trigger", rule_trigger, {"broker", "brokerRef", NULL}},
    {"eventing.knative.dev", "EventType", rule_event_type, {NULL}},
    {"eventing.knative.dev", "RequestReply", rule_request_reply, {NULL}},
    {"eventing.knative.dev", "EventTransform", rule_event_transform, {NULL}},
    {"flows.knative.dev", "Sequence", rule_sequence, {"channelTemplate", NULL}},
    {"flows.knative.dev", "Parallel", rule_parallel, {"channelTemplate", NULL}},
    {"messaging.knative.dev", "Channel", channel_today, {"channelTemplate", NULL}},
    {"messaging.knative.dev", "InMemoryChannel", rule_channel_today, {NULL}},
    {"messaging.knative.dev",
     "KafkaChannel",
     rule_kafka_channel,
     {"numPartitions", "replicationFactor", "retentionDuration", NULL}},
    {"messaging.knative.dev", "Subscription", subscription_today, {"channel", NULL}},
    {"sources.knative.dev", "GitHubSource", github_source, {NULL}},
    {"sources.knative.dev", "KafkaSource", rule_kafka_source, {"consumerGroup", NULL}},
    {"sources.knative.dev", "ApiServerSource", rule_api_server_source, {NULL}},
    {"sources.knative.dev", "PingSource", rule_ping_source, {NULL}},
    {"sources.knative.dev", "ContainerSource", rule_sink_source, {NULL}},
    {"events.cloud.google.com", "CloudPubSubSource", rule_sink_source, {NULL}},
    {"sources.knative.dev", "SinkBinding", rule_sink_source, {NULL}},
    {"eventing.knative.dev",
     "RabbitmqBrokerConfig",
     rule_rabbitmq_broker_config,
     {"rabbitmqClusterReference", "queueType", "vhost", NULL}},
    {"sources.knative.dev",
     "RabbitmqSource",
     rule_rabbitmq_source,
     {"rabbitmqClusterReference", "rabbitmqResourcesConfig", NULL}},
    {"eventing.knative.dev", "KafkaSink", NULL, {"topic", "numPartitions", "replicationFactor", NULL}},
    {"", "Secret", secret, {NULL}},
    {"", "Service", service, {NULL}},
    {"", "Event", event, {NULL}},
};

static const struct rule *rule_of(const struct kind *kind)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(rules[i].kind, kind->kind) == 0 && strcmp(rules[i].group, kind->group) == 0)
            return &rules[i];
    return NULL;
}

void rules_apply(struct check *c, const struct kind *kind, cJSON *object)
{
    const struct rule *r = rule_of(kind);
    check_metadata(c, kind, object);
    c->own_namespace = metadata_text(object, "namespace");
    if (!c->own_namespace)
        c->own_namespace = c->namespace_name;
    check_annotations(c, kind, object);
    if (r && r->check)
        r->check(c, object);
}

enum err rules_immutable(const struct kind *kind, const cJSON *before, const cJSON *after, struct diag *d)
{
    const struct rule *r = rule_of(kind);
    const cJSON *old = json_object(before, "spec"), *new = json_object(after, "spec");
    const char *class = annotation(before, ANNOTATION_BROKER_CLASS), *now = annotation(after, ANNOTATION_BROKER_CLASS);
    if (class && now && strcmp(class, now) != 0)
        return diag_set(d, ERR_INVALID,
                        "metadata.annotations[\"" ANNOTATION_BROKER_CLASS
                        "\"] cannot be changed from %.60s; delete the "
                        "Broker and make it anew, or give it another name",
                        class);
    for (size_t i = 0; r && r->immutable[i]; i++) {
        const cJSON *a = cJSON_GetObjectItemCaseSensitive(old, r->immutable[i]),
                    *b = cJSON_GetObjectItemCaseSensitive(new, r->immutable[i]);
        if ((!a && !b) || (a && b && json_same(a, b)))
            continue;
        return diag_set(d, ERR_INVALID,
                        "spec.%s cannot be changed; delete the %s and make it anew, or give it another name",
                        r->immutable[i], kind->kind);
    }
    return OK;
}
