/* SPDX-License-Identifier: Apache-2.0
 *
 * Feeds and Flows of 2018. A Feed names an EventType, which names an EventSource, whose image tells which built-in
 * source is meant; GitHub's are known also where nobody declared them. A Flow is a Channel, a Subscription and a Feed
 * of its own name.
 */
#include "json.h"
#include "plan_2018.h"

/* ---- which source ---- */

struct feed_source {
    const char *type;                    /* of a built-in source: "github"; NULL: none */
    const char *event_type;              /* as the manifest says it */
    const struct resource *event_source; /* NULL: it is not declared */
    struct why why;                      /* when there is none; or a remark */
};

/* What an EventSource is by the names that Knative 0.1 gave its own; NULL: unknown. */
static const char *source_by_word(struct slice word)
{
    static const char *const words[][2] = {{"github", "github"},
                                           {"github.com", "github"},
                                           {"gcppubsub", "pubsub"},
                                           {"pubsub.googleapis.com", "pubsub"},
                                           {"k8sevents", "kubernetes"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_eq_str(word, words[i][0]))
            return words[i][1];
    return NULL;
}

/* ".../sources/github", ".../sources/github/feedlet@sha256:..." */
static const char *source_by_image(const char *image)
{
    struct slice rest = slice_str(image);
    bool after = false;
    while (rest.ptr) {
        struct slice part = slice_split(&rest, '/');
        size_t n = 0;
        while (n < part.len && part.ptr[n] != ':' && part.ptr[n] != '@')
            n++;
        if (after)
            return source_by_word(slice_of(part.ptr, n));
        after = slice_eq_str(part, "sources");
    }
    return NULL;
}

static void by_event_source(struct planner *p, const struct resource *r, struct feed_source *out)
{
    const cJSON *spec = json_object(r->object, "spec");
    const char *image = json_text(spec, "image"), *source = json_text(spec, "source"), *type = NULL;
    out->event_source = r;
    if (annotation(r->object, ANNOTATION_COMMAND)) {
        if (plan_feedlet_command(p, r, &out->why))
            out->type = "feedlet";
        return;
    }
    if (image) {
        type = source_by_image(image);
    } else {
        type = source_by_word(slice_str(r->name));
        if (!type && source)
            type = source_by_word(slice_str(source));
    }
    if (type && source_find(type))
        out->type = type;
    else if (type)
        out->why = why_of(p, "SourceNotBuiltIn",
                          "%s %s: this source is not in this build yet; built in are github, kubernetes and pubsub",
                          r->kind->kind, r->name);
    else
        out->why = why_of(p, "NotSupported",
                          "%s %s runs the program %s, which leat cannot; built in are github, kubernetes and pubsub. A "
                          "command can take its "
                          "place (annotation leat.dev/command), and anything that POSTs CloudEvents to a channel's "
                          "address",
                          r->kind->kind, r->name, image ? image : "(none)");
}

#define PUBSUB_EVENT "google.pubsub.topic.publish"

/* The source of names that need no declaration; NULL: they do. */
static const char *well_known(const char *event_type, const char *source)
{
    if (source)
        return strcmp(source, "github") == 0 || strcmp(source, "github.com") == 0 ? "github"
               : strcmp(source, "pubsub.googleapis.com") == 0                     ? "pubsub"
                                                                                  : NULL;
    if (strcmp(event_type, PUBSUB_EVENT) == 0)
        return "pubsub";
    return strcmp(event_type, "pullrequest") == 0 || strncmp(event_type, "dev.knative.github.", 19) == 0 ? "github"
                                                                                                         : NULL;
}

static void find_source(struct planner *p, const char *ns, const cJSON *trigger, struct feed_source *out)
{
    const char *name = json_text(trigger, "eventType"), *cluster = json_text(trigger, "clusterEventType");
    const char *kind = name ? "EventType" : "ClusterEventType",
               *source_kind = name ? "EventSource" : "ClusterEventSource", *where = name ? ns : "";
    *out = (struct feed_source){.event_type = name ? name : cluster};
    const struct resource *type = plan_get(p, FEEDS, kind, where, out->event_type);
    if (!type && (out->type = well_known(out->event_type, NULL))) {
        out->why = why_of(p, "BuiltInEventType", "%s %s is not declared; leat's own, of %s, is used", kind,
                          out->event_type, out->type);
        return;
    }
    if (!type) {
        out->why = why_of(p, "EventTypeNotFound",
                          "%s %s is not declared; built in are pullrequest, dev.knative.github.* and " PUBSUB_EVENT,
                          kind, out->event_type);
        return;
    }
    if (map_set(&p->used, slice_str(type->uid), p, NULL) != OK)
        p->nomem = true;
    const char *wanted = json_text(json_object(type->object, "spec"), name ? "eventSource" : "clusterEventSource");
    const struct resource *source = plan_get(p, FEEDS, source_kind, where, wanted);
    if (source) {
        by_event_source(p, source, out);
    } else if ((out->type = well_known("", wanted))) {
        out->why = why_of(p, "BuiltInEventSource", "%s %s is not declared; leat's own %s is used", source_kind, wanted,
                          out->type);
    } else {
        out->why = why_of(p, "EventSourceNotFound", "%s %s is not declared", source_kind, wanted);
    }
}

/* ---- parameters ---- */

/* Adds the members of a JSON object to the parameters; they win over what is there. */
static bool merge_json(struct planner *p, cJSON *into, const char *text, const char *what, struct why *why)
{
    struct json_value value;
    const cJSON *each;
    enum err e = json_check(slice_str(text), MANIFEST_DEPTH_MAX, &value, NULL);
    if (e != OK || value.type != JSON_OBJECT) {
        p->nomem = p->nomem || e == ERR_NOMEM;
        *why = why_of(p, "ParametersInvalid",
                      "%s must hold a JSON object such as {\"accessToken\": \"...\", \"secretToken\": \"...\"}", what);
        return false;
    }
    cJSON *object = cJSON_Parse(text);
    p->nomem = p->nomem || !object;
    cJSON_ArrayForEach(each, object) {
        cJSON *copy = cJSON_Duplicate(each, true);
        cJSON_DeleteItemFromObjectCaseSensitive(into, each->string);
        if (!copy || !cJSON_AddItemToObject(into, each->string, copy)) {
            cJSON_Delete(copy);
            p->nomem = true;
        }
    }
    cJSON_Delete(object);
    return true;
}

/* parameters, and over them what parametersFrom names. NULL with *why. */
static cJSON *parameters_of(struct planner *p, const char *ns, const cJSON *trigger, struct why *why)
{
    const cJSON *own = json_object(trigger, "parameters"), *each;
    cJSON *all = own ? cJSON_Duplicate(own, true) : cJSON_CreateObject();
    p->nomem = p->nomem || !all;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(trigger, "parametersFrom")) {
        const cJSON *ref = json_object(each, "secretKeyRef");
        const char *name = json_text(ref, "name"), *key = json_text(ref, "key"), *value;
        value = all ? secret_value(p, ns, name, key, why) : NULL;
        if (!value || !merge_json(p, all, value, plan_text(p, "Secret %s/%s key \"%s\"", ns, name, key), why)) {
            cJSON_Delete(all);
            return NULL;
        }
    }
    return all;
}

/* "pullrequest", "dev.knative.github.pullrequest", "dev.knative.github.push": as GitHub calls the event. */
static const char *github_event(struct planner *p, const char *event_type)
{
    const char *name = strncmp(event_type, "dev.knative.github.", 19) == 0 ? event_type + 19 : event_type;
    return strcmp(name, "pullrequest") == 0 ? "pull_request" : plan_copy(p, name);
}

static void github_params(struct planner *p, struct plan_source *s, const struct resource *r, const cJSON *trigger,
                          const cJSON *all, const char *event_type)
{
    static const char *const taken[] = {"accessToken", "secretToken", "githubAPIURL", "secure", "allowUnsigned"};
    const char *unsigned_ok = annotation(r->object, ANNOTATION_ALLOW_UNSIGNED);
    plan_source_param(p, s, "ownerAndRepository", json_text(trigger, "resource"));
    plan_source_param(p, s, "eventTypes", github_event(p, event_type));
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(all, taken[i]);
        if (cJSON_IsString(value))
            plan_source_param(p, s, taken[i], value->valuestring);
        else if (cJSON_IsBool(value))
            plan_source_param(p, s, taken[i], cJSON_IsTrue(value) ? "true" : "false");
    }
    if (unsigned_ok && !cJSON_GetObjectItemCaseSensitive(all, "allowUnsigned"))
        plan_source_param(p, s, "allowUnsigned", unsigned_ok);
    plan_source_param(p, s, "form", "2018");
}

/* `resource` is the topic's full name; the key, where one is given, stands in a parameter, as GitHub's tokens do. */
static void pubsub_params(struct planner *p, struct plan_source *s, const cJSON *trigger, const cJSON *all)
{
    static const char *const taken[] = {"project", "credentials", "subscription", "endpoint", "ackDeadline"};
    plan_source_param(p, s, "topic", json_text(trigger, "resource"));
    if (json_text(all, "private_key")) { /* parametersFrom names the key itself */
        char *key = cJSON_PrintUnformatted(all);
        p->nomem = p->nomem || !key;
        plan_source_param(p, s, "credentials", key);
        cJSON_free(key);
    }
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(all, taken[i]);
        char *object = cJSON_IsObject(value) ? cJSON_PrintUnformatted(value) : NULL;
        if (cJSON_IsString(value) || object)
            plan_source_param(p, s, taken[i], object ? plan_copy(p, object) : value->valuestring);
        cJSON_free(object);
    }
    plan_source_param(p, s, "form", "2018");
}

/* Puts the source of a Feed or Flow in the plan; false with *why. *why may hold a remark when it is true. */
static bool add_source(struct planner *p, const struct resource *r, const cJSON *trigger, struct plan_target sink,
                       struct why *why)
{
    struct feed_source source;
    find_source(p, r->namespace_name, trigger, &source);
    *why = source.why;
    if (!source.type)
        return false;
    cJSON *all = parameters_of(p, r->namespace_name, trigger, why);
    struct plan_source *s = all ? plan_source_add(p, r, source.type, sink) : NULL;
    /* The own key of a Flow is its channel's. What takes webhooks has a condition of its own. */
    if (s && strcmp(r->kind->kind, "Flow") == 0 && !source_find(source.type)->http_head)
        s->key = plan_text(p, "%s" KEY_OF_FEED, s->key);
    if (s && strcmp(source.type, "feedlet") == 0)
        plan_feedlet_params(p, s, r, source.event_source, trigger, all, source.event_type);
    else if (s && strcmp(source.type, "kubernetes") == 0)
        plan_kubernetes_2018(p, s, r, all);
    else if (s && strcmp(source.type, "pubsub") == 0)
        pubsub_params(p, s, trigger, all);
    else if (s)
        github_params(p, s, r, trigger, all, source.event_type);
    cJSON_Delete(all);
    return s && source_accepts(p, s, why);
}

/* ---- feeds ---- */

static bool feed_target(struct planner *p, const struct resource *r, const cJSON *action, struct plan_target *out,
                        struct why *why)
{
    const char *dns = json_text(action, "dnsName"), *route = json_text(action, "routeName"),
               *channel = json_text(action, "channelName"), *ns = r->namespace_name;
    if (dns)
        return resolve_name(p, ns, dns, out, why);
    if (route)
        return resolve_ref(p, ns, "serving.knative.dev/v1alpha1", "Route", NULL, route, out, why);
    return channel && resolve_ref(p, ns, "channels.knative.dev/v1alpha1", "Channel", NULL, channel, out, why);
}

static void put_webhook(struct planner *p, cJSON *status, bool runs)
{
    const struct plan *plan = p->plan;
    const struct source_ops *ops = runs ? source_find(plan->sources[plan->source_count - 1].spec.type) : NULL;
    if (ops && !ops->http_head) /* it takes none */
        return;
    put_unknown(p, status, CONDITION_WEBHOOK, runs ? "Pending" : "NotRunning",
                runs ? "the webhook has not been looked for yet" : "the source does not run");
}

static void feed(struct planner *p, const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec");
    struct plan_target sink = {.kind = PLAN_TARGET_NONE};
    struct why why = {0};
    cJSON *status = cJSON_CreateObject();
    bool good = feed_target(p, r, json_object(spec, "action"), &sink, &why);
    if (good)
        good = add_source(p, r, json_object(spec, "trigger"), sink, &why);
    if (!good)
        plan_source_unready(p, r, &why);
    put_text(p, status, "sinkUri", sink.url);
    put_condition(p, status, "DependenciesSatisfied", good, why.reason ? &why : NULL);
    put_webhook(p, status, good);
    put_status(p, r, status);
}

/* ---- flows ---- */

static bool flow_target(struct planner *p, const struct resource *r, const cJSON *action, struct plan_target *out,
                        struct why *why)
{
    const cJSON *target = json_object(action, "target");
    const char *uri = json_text(action, "targetURI");
    if (uri)
        return resolve_name(p, r->namespace_name, uri, out, why);
    return resolve_ref(p, r->namespace_name, json_text(target, "apiVersion"), json_text(target, "kind"),
                       json_text(target, "namespace"), json_text(target, "name"), out, why);
}

static void flow(struct planner *p, const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec");
    struct channel_plan *c = map_get(&p->channels, slice_str(plan_key(p, r)));
    struct plan_target target = {.kind = PLAN_TARGET_NONE};
    struct why target_why = {0}, feed_why = {0}, waits = {"NotReady", "it waits for the channel and the target"};
    cJSON *status = cJSON_CreateObject();
    if (!c) {
        cJSON_Delete(status);
        return; /* no memory; already said */
    }
    bool resolved = flow_target(p, r, json_object(spec, "action"), &target, &target_why), fed = false;
    resolved = resolved && plan_order_possible(p, r, r, &target_why);
    struct plan_subscription *s = plan_subscription_keep(p, r, c, resolved);
    if (s) {
        s->subscriber = target;
        plan_subscription_annotations(p, s, r, r);
    }
    feed_why = waits;
    if (s) /* without a subscription, what comes in would only be dropped */
        fed = add_source(p, r, json_object(spec, "trigger"), target_channel(c), &feed_why);
    if (!fed)
        plan_source_unready(p, r, resolved ? &feed_why : &target_why);
    put_text(p, status, "channelTarget", c->ready ? c->internal : NULL);
    put_text(p, status, "targetUri", target.url);
    put_condition(p, status, "ActionTargetResolved", resolved, target_why.reason ? &target_why : NULL);
    put_condition(p, status, "ChannelReady", c->ready, c->why.reason ? &c->why : NULL);
    put_condition(p, status, "SubscriptionReady", s && resolved, s && resolved ? NULL : &waits);
    put_condition(p, status, "FeedReady", fed, feed_why.reason ? &feed_why : NULL);
    put_remarks(p, status, r, c);
    put_webhook(p, status, fed);
    put_status(p, r, status);
}

void plan_feeds(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, FEEDS, "Feed", &cursor));)
        feed(p, r);
    cursor = 0;
    for (const struct resource *r; (r = plan_next(p, FLOWS, "Flow", &cursor));)
        flow(p, r);
}

/* ---- event sources and types ---- */

void plan_feed_statuses(struct planner *p)
{
    static const char *const kinds[] = {"EventSource", "ClusterEventSource", "EventType", "ClusterEventType"};
    for (size_t k = 0; k < 4; k++) {
        size_t cursor = 0;
        for (const struct resource *r; (r = plan_next(p, FEEDS, kinds[k], &cursor));) {
            struct feed_source source = {0};
            cJSON *status = cJSON_CreateObject();
            if (k < 2) {
                by_event_source(p, r, &source);
                put_condition(p, status, "Complete", source.type != NULL, source.type ? NULL : &source.why);
            } else {
                put_condition(p, status, "Complete", true, NULL);
                put_condition(p, status, "InUse", map_get(&p->used, slice_str(r->uid)) != NULL, NULL);
            }
            put_status(p, r, status);
        }
    }
}
