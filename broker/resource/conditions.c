/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditions: which ones Ready depends on, by kind, and how they keep the time of their last change. Ready is False
 * when one of them is False, else Unknown when one is Unknown or missing, else True; it takes reason and message of the
 * one that spoils it.
 *
 * Some conditions do not spoil it, but Ready repeats their reason: a webhook that could not be made at the origin,
 * since webhooks that come are taken all the same; deliveries that the user has paused; a beginning that the bus
 * cannot give.
 */
#include <stdio.h>
#include <stdlib.h>

#include "annotations.h"
#include "check.h"
#include "plan.h"
#include "table.h"

static const struct dependents {
    const char *group, *kind, *types[10];
} dependents[] = {
    {"messaging.knative.dev",
     "Channel",
     {"BackingChannelReady", "Addressable", "DeadLetterSinkResolved", "EventPoliciesReady", NULL}},
    {"messaging.knative.dev",
     "InMemoryChannel",
     {"DispatcherReady", "ServiceReady", "EndpointsReady", "ChannelServiceReady", "Addressable",
      "DeadLetterSinkResolved", "EventPoliciesReady", NULL}},
    {"messaging.knative.dev",
     "KafkaChannel",
     {"Addressable", "ConfigParsed", "ConfigMapUpdated", "TopicReady", "ProbeSucceeded", "Subscribers",
      "DeadLetterSinkResolved", "EventPoliciesReady", NULL}},
    {"messaging.knative.dev",
     "Subscription",
     {"ReferencesResolved", "ChannelReady", "AddedToChannel", "OIDCIdentityCreated", NULL}},
    {"eventing.knative.dev",
     "Broker",
     {"IngressReady", "TriggerChannelReady", "FilterReady", "Addressable", "DeadLetterSinkResolved",
      "EventPoliciesReady", NULL}},
    {"eventing.knative.dev",
     "Broker of Kafka",
     {"Addressable", "ConfigParsed", "ConfigMapUpdated", "TopicReady", "DataPlaneAvailable", "ProbeSucceeded",
      "DeadLetterSinkResolved", "EventPoliciesReady", NULL}},
    {"eventing.knative.dev",
     "Broker of RabbitMQ",
     {"SecretReady", "ExchangeReady", "DLXReady", "DeadLetterSinkReady", "IngressReady", "Addressable",
      "DeadLetterSinkResolved", "EventPoliciesReady", NULL}},
    {"eventing.knative.dev",
     "Trigger",
     {"BrokerReady", "SubscriptionReady", "DependencyReady", "SubscriberResolved", "DeadLetterSinkResolved",
      "OIDCIdentityCreated", NULL}},
    {"eventing.knative.dev",
     "KafkaSink",
     {"Addressable", "ConfigParsed", "ConfigMapUpdated", "TopicReady", "DataPlaneAvailable", "ProbeSucceeded",
      "EventPoliciesReady", NULL}},
    {"eventing.knative.dev", "EventType", {"ReferenceExists", NULL}},
    {"eventing.knative.dev", "RequestReply", {CONDITION_BUILT_IN, NULL}},
    {"eventing.knative.dev", "EventTransform", {CONDITION_BUILT_IN, NULL}},
    {"flows.knative.dev",
     "Sequence",
     {"ChannelsReady", "SubscriptionsReady", "Addressable", "EventPoliciesReady", NULL}},
    {"flows.knative.dev",
     "Parallel",
     {"ChannelsReady", "SubscriptionsReady", "Addressable", "EventPoliciesReady", NULL}},
    {"sources.knative.dev", "GitHubSource", {"SecretsProvided", "SinkProvided", NULL}},
    {"sources.knative.dev",
     "KafkaSource",
     {"SinkProvided", "Deployed", "KeyTypeCorrect", "ConnectionEstablished", "InitialOffsetsCommitted",
      "OIDCIdentityCreated", NULL}},
    {"sources.knative.dev", "RabbitmqSource", {"SinkProvided", "Deployed", "SecretReady", "ExchangeReady", NULL}},
    {"events.cloud.google.com", "CloudPubSubSource", {"SinkProvided", "PullSubscriptionReady", NULL}},
    {"sources.knative.dev", "ContainerSource", {"SinkBindingReady", "ReceiveAdapterReady", NULL}},
    {"sources.knative.dev",
     "SinkBinding",
     {"SinkProvided", "SinkBindingAvailable", "OIDCIdentityCreated", "OIDCTokenSecretCreated", "TrustBundlePropagated",
      NULL}},
    {"sources.knative.dev",
     "ApiServerSource",
     {"SinkProvided", "Deployed", "SufficientPermissions", "OIDCIdentityCreated", NULL}},
    {"sources.knative.dev", "PingSource", {"SinkProvided", "Deployed", "OIDCIdentityCreated", NULL}},
    {"channels.knative.dev", "Bus", {"Provisioning", "Dispatching", "Serviceable", NULL}},
    {"channels.knative.dev", "ClusterBus", {"Provisioning", "Dispatching", "Serviceable", NULL}},
    {"channels.knative.dev", "Channel", {"Provisioned", "Routeable", "Serviceable", NULL}},
    {"channels.knative.dev", "Subscription", {"Dispatching", NULL}},
    {"feeds.knative.dev", "Feed", {"DependenciesSatisfied", NULL}},
    {"flows.knative.dev", "Flow", {"ActionTargetResolved", "ChannelReady", "SubscriptionReady", "FeedReady", NULL}},
};

const char *condition_kind(const struct resource *r)
{
    return broker_of_kafka(r->kind, r->object)      ? "Broker of Kafka"
           : broker_of_rabbitmq(r->kind, r->object) ? "Broker of RabbitMQ"
                                                    : r->kind->kind;
}

static const char *const *dependents_of(const struct resource *r)
{
    const char *kind = condition_kind(r);
    for (size_t i = 0; i < sizeof dependents / sizeof dependents[0]; i++)
        if (strcmp(dependents[i].kind, kind) == 0 && strcmp(dependents[i].group, r->kind->group) == 0)
            return dependents[i].types;
    return NULL;
}

static cJSON *conditions_of(const cJSON *status)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(status, "conditions");
    return cJSON_IsArray(list) ? list : NULL;
}

cJSON *condition_find(const cJSON *status, const char *type)
{
    cJSON *each;
    cJSON_ArrayForEach(each, conditions_of(status)) {
        const char *t = json_text(each, "type");
        if (t && strcmp(t, type) == 0)
            return each;
    }
    return NULL;
}

/* "TooLong to be true" and the like do not happen: types, values and reasons are ours; messages are cut. */
static cJSON *condition_new(const char *type, const char *value, const char *reason, const char *message)
{
    cJSON *c = cJSON_CreateObject();
    bool good = c && cJSON_AddStringToObject(c, "type", type) && cJSON_AddStringToObject(c, "status", value) &&
                (!reason || !*reason || cJSON_AddStringToObject(c, "reason", reason)) &&
                (!message || !*message || cJSON_AddStringToObject(c, "message", message));
    if (good)
        return c;
    cJSON_Delete(c);
    return NULL;
}

/* Appends, or replaces the one of that type where it stands; takes `c` over. */
static bool condition_join(cJSON *status, cJSON *c)
{
    cJSON *list = conditions_of(status), *old = c ? condition_find(status, json_text(c, "type")) : NULL;
    if (!list)
        list = cJSON_AddArrayToObject(status, "conditions");
    if (!c || !list) {
        cJSON_Delete(c);
        return false;
    }
    return old ? cJSON_ReplaceItemViaPointer(list, old, c) : cJSON_AddItemToArray(list, c);
}

bool condition_put(cJSON *status, const char *type, const char *value, const char *reason, const char *message)
{
    return condition_join(status, condition_new(type, value, reason, message));
}

/* What Ready repeats though it is True; NULL when there is nothing. */
static const cJSON *remark_find(const cJSON *status)
{
    static const char *const remarks[] = {CONDITION_WEBHOOK, CONDITION_DELIVERING, CONDITION_START};
    for (size_t i = 0; i < sizeof remarks / sizeof remarks[0]; i++) {
        const cJSON *c = condition_find(status, remarks[i]);
        if (c && strcmp(json_text(c, "status"), "False") == 0)
            return c;
    }
    return NULL;
}

/* The state of what Ready depends on. */
static bool put_ready(cJSON *status, const char *const *types)
{
    const cJSON *spoiler = NULL;
    const char *value = "True";
    bool missing = false;
    for (; *types; types++) {
        const cJSON *c = condition_find(status, *types);
        const char *v = json_text(c, "status");
        if (!v) {
            missing = true;
        } else if (strcmp(v, "False") == 0 && strcmp(value, "False") != 0) {
            spoiler = c;
            value = "False";
        } else if (strcmp(v, "Unknown") == 0 && strcmp(value, "True") == 0) {
            spoiler = c;
            value = "Unknown";
        }
    }
    if (missing && strcmp(value, "True") == 0)
        value = "Unknown";
    if (strcmp(value, "True") == 0)
        spoiler = remark_find(status);
    return condition_put(status, "Ready", value, json_text(spoiler, "reason"), json_text(spoiler, "message"));
}

bool condition_times_put(const struct resource_table *t, cJSON *status, const cJSON *old)
{
    char now[40];
    cJSON *each;
    if (!table_now(t, now, sizeof now))
        return false;
    cJSON_ArrayForEach(each, conditions_of(status)) {
        const cJSON *before = condition_find(old, json_text(each, "type"));
        const char *was = json_text(before, "status"), *since = json_text(before, "lastTransitionTime");
        bool same = was && since && strcmp(was, json_text(each, "status")) == 0;
        cJSON_DeleteItemFromObjectCaseSensitive(each, "lastTransitionTime");
        if (!cJSON_AddStringToObject(each, "lastTransitionTime", same ? since : now))
            return false;
    }
    return true;
}

/* What a running source reports belongs to it, not to the plan: condition and the webhook's number survive. */
static bool keep_running(cJSON *status, const cJSON *old)
{
    const cJSON *webhook = condition_find(old, CONDITION_WEBHOOK);
    const char *id = json_text(old, "webhookIDKey"),
               *now = json_text(condition_find(status, CONDITION_WEBHOOK), "reason"),
               *was = json_text(webhook, "status");
    if (!now || strcmp(now, "Pending") != 0)
        return true;
    if (was && strcmp(was, "Unknown") != 0 && !condition_join(status, cJSON_Duplicate(webhook, true)))
        return false;
    return !id || cJSON_GetObjectItemCaseSensitive(status, "webhookIDKey") ||
           cJSON_AddStringToObject(status, "webhookIDKey", id);
}

bool status_keep(const struct resource *r, uint64_t plan, cJSON *status)
{
    struct entry *e = entry_of(r);
    const cJSON *generation = cJSON_GetObjectItemCaseSensitive(json_object(r->object, "metadata"), "generation");
    const char *const *types = dependents_of(r);
    if ((types && !put_ready(status, types)) ||
        (generation && !cJSON_AddNumberToObject(status, "observedGeneration", generation->valuedouble))) {
        cJSON_Delete(status);
        return false;
    }
    struct packed *next = packed_new(status);
    cJSON_Delete(status);
    if (!next)
        return false;
    free(e->next_status);
    e->next_status = next;
    e->next_status_plan = plan;
    return true;
}

bool status_newest(const struct resource *r, cJSON **out)
{
    const struct packed *next = entry_of(r)->next_status;
    if (!next)
        return resource_status(r, out);
    *out = packed_tree(next);
    return *out;
}

/* What happened since the plan was compiled is in it as well: sources that report, what the bus refused. */
static enum err publish(struct resource_table *t, struct entry *e)
{
    const struct resource *r = &e->public;
    const char *const *types = dependents_of(r);
    cJSON *status = packed_tree(e->next_status), *old = NULL;
    enum err err = ERR_NOMEM;
    free(e->next_status);
    e->next_status = NULL;
    if (status && resource_status(r, &old) && keep_running(status, old) && health_put(r, status, old) &&
        faults_put(t, r, status) && (!types || put_ready(status, types)) && condition_times_put(t, status, old) &&
        status_join_others(e, status))
        err = status_replace(t, e, status, old);
    else
        cJSON_Delete(status);
    cJSON_Delete(old);
    return err;
}

enum err plan_publish(struct resource_table *t, const struct plan *plan)
{
    enum err e = OK;
    for (size_t i = 0; i < t->count; i++) {
        struct entry *entry = t->entries[i];
        if (entry->next_status && entry->next_status_plan <= plan->number && publish(t, entry) != OK)
            e = ERR_NOMEM;
    }
    return e;
}

enum err resource_set_condition(struct resource_table *t, const struct resource *r, const char *type,
                                const char *status, const char *reason, const char *message)
{
    const char *const *types = dependents_of(r);
    cJSON *old = NULL, *next = NULL;
    enum err err = ERR_NOMEM;
    if (resource_status(r, &old))
        next = old ? cJSON_Duplicate(old, true) : cJSON_CreateObject();
    status_claim(entry_of(r), type);
    if (next && condition_put(next, type, status, reason, message) && (!types || put_ready(next, types)) &&
        condition_times_put(t, next, old))
        err = status_replace(t, entry_of(r), next, old);
    else
        cJSON_Delete(next);
    cJSON_Delete(old);
    return err;
}
