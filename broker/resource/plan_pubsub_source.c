/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudPubSubSource of events.cloud.google.com (knative-gcp): a source of the type "pubsub".
 */
#include <stdlib.h>

#include "planner.h"

#define GROUP "events.cloud.google.com"

/* The key of the Secret, where the spec names one; NULL with *why set when it is missing. */
static const char *key_of(struct planner *p, const struct resource *r, const cJSON *spec, struct why *why)
{
    const cJSON *secret = json_object(spec, "secret");
    const char *name = json_text(secret, "name"), *key = json_text(secret, "key");
    if (!name || !key)
        return NULL;
    const char *value = secret_value(p, r->namespace_name, name, key, why);
    if (!value)
        *why = why_of(p, why->reason, "secret: %s", why->message);
    return value;
}

/* "projects/P/topics/T" as far as the spec says it. */
static const char *full_topic(struct planner *p, const cJSON *spec)
{
    const char *topic = json_text(spec, "topic"), *project = json_text(spec, "project");
    if (!project)
        project = getenv("GOOGLE_CLOUD_PROJECT");
    return strchr(topic, '/') || !project ? topic : plan_text(p, "projects/%s/topics/%s", project, topic);
}

static void put_attributes(struct planner *p, cJSON *status, const cJSON *spec)
{
    cJSON *entry = put_element(p, put_array(p, status, "ceAttributes"));
    put_text(p, entry, "type", "google.cloud.pubsub.topic.v1.messagePublished");
    put_text(p, entry, "source", plan_text(p, "//pubsub.googleapis.com/%s", full_topic(p, spec)));
}

static void add_params(struct planner *p, struct plan_source *s, const struct resource *r, const cJSON *spec,
                       const char *key)
{
    static const char *const params[] = {"topic", "project", "ackDeadline", "retentionDuration"};
    const char *subscription = annotation(r->object, ANNOTATION_PUBSUB_SUBSCRIPTION),
               *endpoint = annotation(r->object, ANNOTATION_PUBSUB_ENDPOINT);
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++)
        if (json_text(spec, params[i]))
            plan_source_param(p, s, params[i], json_text(spec, params[i]));
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(spec, "retainAckedMessages")))
        plan_source_param(p, s, "retainAckedMessages", "true");
    if (key)
        plan_source_param(p, s, "credentials", key);
    if (subscription)
        plan_source_param(p, s, "subscription", subscription);
    if (endpoint)
        plan_source_param(p, s, "endpoint", endpoint);
    plan_source_overrides(p, s, spec);
}

static void one(struct planner *p, const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec");
    struct plan_target sink;
    struct why sink_why = {0}, why = {"SinkNotResolved", "it runs when it has a sink"}, key_why = {0};
    cJSON *status = cJSON_CreateObject();
    const char *key = key_of(p, r, spec, &key_why);
    bool sink_ok = resolve_destination(p, r->namespace_name, json_object(spec, "sink"), &sink, &sink_why);
    if (sink_ok && key_why.reason)
        why = key_why;
    struct plan_source *s = sink_ok && !key_why.reason ? plan_source_add(p, r, "pubsub", sink) : NULL;
    bool accepted = false;
    if (s) {
        add_params(p, s, r, spec, key);
        accepted = source_accepts(p, s, &why);
    }
    put_condition(p, status, "SinkProvided", sink_ok, sink_ok ? NULL : &sink_why);
    put_condition(p, status, "PullSubscriptionReady", accepted, accepted ? NULL : &why);
    if (sink_ok)
        put_text(p, status, "sinkUri", sink.url);
    put_attributes(p, status, spec);
    put_status(p, r, status);
}

void plan_pubsub_sources(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "CloudPubSubSource", &cursor));)
        one(p, r);
}
