/* SPDX-License-Identifier: Apache-2.0
 *
 * What the engine could not do for an object, kept beside the table: a plan is compiled without the engine, so each
 * status under construction is told of it again, until the engine reports that it could.
 */
#include <stdlib.h>

#include "check.h"
#include "table.h"

struct fault {
    const char *type; /* of the condition */
    char *reason, *message;
};

const char *resource_report_condition(const struct resource *r)
{
    static const struct {
        const char *group, *kind, *type;
    } types[] = {
        {"messaging.knative.dev", "Channel", "BackingChannelReady"},
        {"messaging.knative.dev", "InMemoryChannel", "DispatcherReady"},
        {"messaging.knative.dev", "KafkaChannel", "TopicReady"},
        {"messaging.knative.dev", "Subscription", "AddedToChannel"},
        {"eventing.knative.dev", "Broker", "TriggerChannelReady"},
        {"eventing.knative.dev", "Broker of Kafka", "TopicReady"},
        {"eventing.knative.dev", "Broker of RabbitMQ", "ExchangeReady"},
        {"eventing.knative.dev", "KafkaSink", "TopicReady"},
        {"sources.knative.dev", "KafkaSource", "ConnectionEstablished"},
        {"sources.knative.dev", "RabbitmqSource", "ExchangeReady"},
        {"sources.knative.dev", "PingSource", "Deployed"},
        {"sources.knative.dev", "ApiServerSource", "SufficientPermissions"},
        {"events.cloud.google.com", "CloudPubSubSource", "PullSubscriptionReady"},
        {"sources.knative.dev", "ContainerSource", "ReceiveAdapterReady"},
        {"feeds.knative.dev", "Feed", "DependenciesSatisfied"},
        {"eventing.knative.dev", "Trigger", "SubscriptionReady"},
        {"flows.knative.dev", "Sequence", "SubscriptionsReady"},
        {"flows.knative.dev", "Parallel", "SubscriptionsReady"},
        {"flows.knative.dev", "Flow", "ChannelReady"},
        {"channels.knative.dev", "Channel", "Provisioned"},
        {"channels.knative.dev", "Subscription", "Dispatching"},
    };
    const char *kind = condition_kind(r);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].kind, kind) == 0 && strcmp(types[i].group, r->kind->group) == 0)
            return types[i].type;
    return NULL;
}

#define REFUSED "BusRefused"

static const struct {
    enum err err;
    const char *reason;
} reasons[] = {
    {ERR_UNAVAILABLE, "BusUnavailable"}, /* it comes right by itself */
    {ERR_TIMEOUT, "BusUnavailable"},     {ERR_DENIED, "NotAuthorized"},
    {ERR_NOTFOUND, "NotFoundOnBus"},     {ERR_FULL, "BusFull"}, /* likewise, or somebody makes room */
};

const char *resource_report_reason(enum err err)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].err == err)
            return reasons[i].reason;
    return REFUSED;
}

static bool is_report_reason(const char *reason)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (strcmp(reasons[i].reason, reason) == 0)
            return true;
    return strcmp(REFUSED, reason) == 0;
}

/* The same for what a key stands for: of a Flow the object, or its feed. */
static const char *condition_for(const struct resource *r, const char *key)
{
    return slice_has_suffix(slice_str(key), SLICE(KEY_OF_FEED)) ? "FeedReady" : resource_report_condition(r);
}

/* Takes "Kind.group/ns/name" off the front of a key; what is left is empty, or "/steps/1". */
static bool object_of(struct slice *key, struct slice *kind, struct slice *group, struct slice *ns, struct slice *name)
{
    struct slice head = slice_split(key, '/');
    *kind = slice_split(&head, '.');
    *group = head.ptr ? head : SLICE("");
    *ns = key->ptr ? slice_split(key, '/') : SLICE("");
    *name = key->ptr ? slice_split(key, '/') : SLICE("");
    return name->len > 0;
}

/* Whether a key is this object's, or that of a part of it. */
static bool key_is_of(struct slice key, const struct resource *r)
{
    struct slice kind, group, ns, name;
    return object_of(&key, &kind, &group, &ns, &name) && slice_eq_str(kind, r->kind->kind) &&
           slice_eq_str(group, r->kind->group) && slice_eq_str(ns, r->namespace_name) && slice_eq_str(name, r->name);
}

const struct resource *resource_by_key(const struct resource_table *t, const char *key)
{
    struct slice rest = slice_str(key), kind, group, ns, name;
    const struct kind *k;
    char texts[2][256];
    if (!object_of(&rest, &kind, &group, &ns, &name) || ns.len >= sizeof texts[0] || name.len >= sizeof texts[1])
        return NULL;
    memcpy(texts[0], ns.ptr, ns.len);
    memcpy(texts[1], name.ptr, name.len);
    texts[0][ns.len] = texts[1][name.len] = 0;
    for (size_t i = 0; (k = kind_at(i)); i++)
        if (slice_eq_str(kind, k->kind) && slice_eq_str(group, k->group))
            return resource_get(t, k, texts[0], texts[1]);
    return NULL;
}

static void fault_free(struct fault *f)
{
    if (!f)
        return;
    free(f->reason);
    free(f->message);
    free(f);
}

void faults_fini(struct resource_table *t)
{
    map_each(e, tmp, &t->faults)
        fault_free(e->value);
    map_fini(&t->faults);
}

static const struct fault *fault_of(const struct resource_table *t, const struct resource *r)
{
    map_each(e, tmp, &t->faults) {
        if (key_is_of(e->key, r))
            return e->value;
    }
    return NULL;
}

bool faults_put(const struct resource_table *t, const struct resource *r, cJSON *status)
{
    const struct fault *f = t->faults.count ? fault_of(t, r) : NULL;
    const char *type = f ? f->type : NULL, *now = type ? json_text(condition_find(status, type), "status") : NULL;
    if (!now || strcmp(now, "True") != 0) /* what the plan has to say is nearer to what a user can mend */
        return true;
    return condition_put(status, type, "False", f->reason, f->message);
}

/* Faults of objects that are gone make room; looked for once in FAULTS_MAX that find none. */
static void sweep(struct resource_table *t)
{
    map_each(e, tmp, &t->faults) {
        struct fault *f = e->value;
        if (resource_by_key(t, e->key.ptr))
            continue;
        map_remove(&t->faults, e->key);
        fault_free(f);
    }
}

/* Beyond the limit the condition is set this once and not remembered. */
static enum err remember(struct resource_table *t, const char *key, const char *type, const char *reason,
                         const char *message)
{
    struct fault *f = calloc(1, sizeof *f);
    void *old = NULL;
    if (t->faults.count >= FAULTS_MAX && t->faults_beyond++ % FAULTS_MAX == 0)
        sweep(t);
    if (f) {
        f->type = type;
        f->reason = strdup(reason);
        f->message = strdup(message);
    }
    enum err e = f && f->reason && f->message ? map_set(&t->faults, slice_str(key), f, &old) : ERR_NOMEM;
    if (e != OK)
        fault_free(f);
    fault_free(old);
    return e == ERR_FULL ? OK : e;
}

/* Whether its condition is as some report left it: only one that was beyond the limit is not remembered. */
static bool was_reported(const struct resource *r, const char *type)
{
    cJSON *status = NULL;
    const cJSON *condition = resource_status(r, &status) ? condition_find(status, type) : NULL;
    const char *value = json_text(condition, "status"), *reason = json_text(condition, "reason");
    bool reported = value && reason && strcmp(value, "False") == 0 && is_report_reason(reason);
    cJSON_Delete(status);
    return reported;
}

enum err resource_report(struct resource_table *t, const char *key, const char *reason, const char *message)
{
    struct fault *old = reason ? NULL : map_remove(&t->faults, slice_str(key));
    bool was = old != NULL;
    fault_free(old);
    if (!reason && !was && !t->faults_beyond)
        return OK;
    const struct resource *r = resource_by_key(t, key);
    const char *type = r ? condition_for(r, key) : NULL;
    enum err e = reason && type ? remember(t, key, type, reason, message ? message : "") : OK;
    if (e != OK || !type || (!reason && !was && !was_reported(r, type)))
        return e;
    const struct fault *other = reason ? NULL : fault_of(t, r); /* of another part of it */
    if (other && strcmp(other->type, type) == 0)
        return resource_set_condition(t, r, type, "False", other->reason, other->message);
    return resource_set_condition(t, r, type, reason ? "False" : "True", reason, message);
}
