/* SPDX-License-Identifier: Apache-2.0
 *
 * eventing.knative.dev: a Broker is a channel, a Trigger a subscription to it with a filter, whose reply goes back to
 * the Broker. EventTypes describe; RequestReply and EventTransform are kept and not run.
 */
#include "filters.h"
#include "planner.h"

#define GROUP "eventing.knative.dev"

/* ---- brokers ---- */

static bool broker_bus(struct planner *p, const struct resource *r, size_t *bus, struct why *why)
{
    const char *class = annotation(r->object, ANNOTATION_BROKER_CLASS);
    if (broker_of_kafka(r->kind, r->object))
        return plan_kafka_broker_bus(p, r, bus, why);
    if (broker_of_rabbitmq(r->kind, r->object))
        return plan_rabbitmq_broker_bus(p, r, bus, why);
    if (!class || strcmp(class, BROKER_CLASS_DEFAULT) == 0)
        return plan_template_bus(p, NULL, bus, why);
    *why = why_of(p, "BrokerClassNotBuiltIn",
                  "Brokers of the class %s are not in this build; leave the annotation " ANNOTATION_BROKER_CLASS
                  " out for a Broker on the default bus",
                  class);
    return false;
}

void plan_brokers(struct planner *p)
{
    static const struct channel_form plain = {.room = "brokers", .broker = true},
                                     rabbitmq = {.room = "brokers", .hosts = HOSTS_RABBITMQ, .broker = true};
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Broker", &cursor));) {
        struct why why;
        size_t bus = 0;
        bool good = broker_bus(p, r, &bus, &why);
        bool of_rabbitmq = broker_of_rabbitmq(r->kind, r->object);
        struct channel_plan *c = plan_channel_add(p, r, good ? NULL : &why, bus, of_rabbitmq ? &rabbitmq : &plain);
        if (c)
            c->delivery = json_object(json_object(r->object, "spec"), "delivery");
        if (c && c->planned && broker_of_kafka(r->kind, r->object))
            plan_kafka_broker_topic(p, c);
        if (c && c->planned && of_rabbitmq)
            plan_rabbitmq_broker_exchange(p, c);
    }
}

static void broker_status(struct planner *p, const struct channel_plan *c)
{
    static const char *const parts[] = {"IngressReady", "TriggerChannelReady", "FilterReady", "Addressable"};
    struct plan_target dead;
    struct why why = {NULL, NULL};
    bool of_rabbitmq = broker_of_rabbitmq(c->resource->kind, c->resource->object);
    cJSON *status = cJSON_CreateObject();
    put_address(p, status, c);
    put_channel_place(p, status, c);
    if (broker_of_kafka(c->resource->kind, c->resource->object)) {
        put_kafka_conditions(p, status, c);
        put_condition(p, status, "DataPlaneAvailable", true, NULL);
    } else if (of_rabbitmq)
        put_rabbitmq_conditions(p, status, c);
    else
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
            put_condition(p, status, parts[i], c->ready, c->ready ? NULL : &c->why);
    const cJSON *sink = json_object(c->delivery, "deadLetterSink");
    bool resolved = resolve_destination(p, c->resource->namespace_name, sink, &dead, &why);
    put_dead_letter(p, status, sink != NULL, resolved, &dead, &why);
    if (of_rabbitmq)
        put_condition(p, status, "DeadLetterSinkReady", resolved, resolved ? NULL : &why);
    put_policies(p, status);
    put_paused(p, status, c->resource, NULL);
    put_status(p, c->resource, status);
}

void plan_broker_statuses(struct planner *p)
{
    map_each(e, tmp, &p->channels) {
        const struct channel_plan *c = e->value;
        if (strcmp(c->resource->kind->kind, "Broker") == 0)
            broker_status(p, c);
    }
}

/* ---- triggers ---- */

/* What came of each thing that a Trigger names. */
struct trigger {
    const struct channel_plan *broker;
    struct plan_target subscriber, dead_letter;
    const cJSON *delivery;
    bool dead_letter_given, subscriber_good, dead_letter_good, possible;
    bool added, kept; /* it runs; it does not, but did, and its events wait */
    const struct plan_subscription *made;
    struct why broker_why, subscriber_why, dead_letter_why, subscription_why;
};

static void find_broker(struct planner *p, const struct resource *r, const cJSON *spec, struct trigger *t)
{
    const cJSON *ref = json_object(spec, "brokerRef");
    const char *name = json_text(ref ? ref : spec, ref ? "name" : "broker"), *ns = json_text(ref, "namespace");
    if (!ns)
        ns = r->namespace_name;
    t->broker = map_get(&p->channels, slice_str(plan_text(p, "Broker." GROUP "/%s/%s", ns, name ? name : "")));
    if (!t->broker)
        t->broker_why = why_of(p, "BrokerDoesNotExist", "Broker %s/%s is not declared", ns, name ? name : "");
    else if (!t->broker->ready)
        t->broker_why = t->broker->why;
}

static void trigger_resolve(struct planner *p, const struct resource *r, struct trigger *t)
{
    const cJSON *spec = json_object(r->object, "spec");
    memset(t, 0, sizeof *t);
    find_broker(p, r, spec, t);
    t->subscriber_good =
        resolve_destination(p, r->namespace_name, json_object(spec, "subscriber"), &t->subscriber, &t->subscriber_why);
    const cJSON *inherited = t->broker ? t->broker->delivery : NULL, *own = json_object(spec, "delivery");
    t->dead_letter_good =
        plan_delivery_merge(p, r->namespace_name, own, inherited, &t->delivery, &t->dead_letter, &t->dead_letter_why);
    t->dead_letter_given = json_object(own, "deadLetterSink") || json_object(inherited, "deadLetterSink");
    t->possible = t->broker && t->broker->ready && t->subscriber_good && t->dead_letter_good &&
                  plan_order_possible(p, r, t->broker->resource, &t->subscription_why);
}

/* What admission let pass compiles; an object that never passed it fails closed: *good false, and it is left out. */
static struct filter *trigger_filter(struct planner *p, const cJSON *spec, bool *good)
{
    struct problems problems;
    struct check c = {.problems = &problems};
    struct filter *f = NULL;
    const cJSON *filters = cJSON_GetObjectItemCaseSensitive(spec, "filters"),
                *attributes = json_object(json_object(spec, "filter"), "attributes");
    enum err e = OK;
    problems_init(&problems);
    if (cJSON_GetArraySize(filters) > 0)
        e = filter_read(&c, filters, &f);
    else if (cJSON_GetArraySize(attributes) > 0)
        e = filter_read_attributes(&c, attributes, &f);
    p->nomem = p->nomem || e == ERR_NOMEM || c.nomem;
    *good = e == OK && problems.errors == 0 && !c.nomem;
    problems_fini(&problems);
    return *good ? f : filter_unref(f);
}

/* Puts it in the plan; in *t what came of it. */
static void trigger_add(struct planner *p, const struct resource *r, struct trigger *t)
{
    static const struct why invalid = {"FilterInvalid", "the filter does not compile; leat validate says where"};
    bool compiles;
    struct filter *f = trigger_filter(p, json_object(r->object, "spec"), &compiles);
    struct plan_subscription *s = compiles ? plan_subscription_keep(p, r, t->broker, t->possible) : NULL;
    if (!compiles) /* no event may pass that nobody asked for */
        t->subscription_why = invalid;
    if (!s) {
        filter_unref(f);
        return;
    }
    t->added = t->possible;
    t->kept = !t->possible;
    t->made = s;
    s->filter = f;
    s->subscriber = t->subscriber;
    s->reply = target_channel(t->broker);
    s->reply_must_be_event = true;
    s->dead_letter = t->dead_letter;
    plan_delivery_read(p, s, t->delivery);
    plan_subscription_annotations(p, s, r, t->broker->resource);
}

/* The object that the annotation names, and its own Ready. */
static void put_dependency(struct planner *p, cJSON *status, const struct resource *r)
{
    const char *text = annotation(r->object, ANNOTATION_DEPENDENCY);
    cJSON *ref = NULL, *newest = NULL;
    struct diag ignored;
    if (text && dependency_parse(text, &ref, &ignored) == ERR_NOMEM)
        p->nomem = true;
    const char *kind = json_text(ref, "kind"), *version = json_text(ref, "apiVersion"), *name = json_text(ref, "name"),
               *ns = json_text(ref, "namespace");
    const struct kind *k = kind && version ? kind_find(version, kind) : NULL;
    const struct resource *there = k && name ? resource_get(p->table, k, ns ? ns : r->namespace_name, name) : NULL;
    if (there && !status_newest(there, &newest))
        p->nomem = true;
    const cJSON *ready = condition_find(newest, "Ready");
    const char *value = json_text(ready, "status");
    struct why why = {"DependencyNotReady", NULL};
    if (text)
        why.message = plan_text(p, "%s %s: %s", kind ? kind : "", name ? name : "",
                                !there                        ? "is not declared"
                                : !value                      ? "has no condition Ready"
                                : json_text(ready, "message") ? json_text(ready, "message")
                                                              : "is not ready");
    if (!text || (value && strcmp(value, "True") == 0))
        put_condition(p, status, "DependencyReady", true, NULL);
    else if (value && strcmp(value, "False") == 0)
        put_condition(p, status, "DependencyReady", false, &why);
    else
        put_unknown(p, status, "DependencyReady", there ? why.reason : "DependencyDoesNotExist", why.message);
    cJSON_Delete(newest);
    cJSON_Delete(ref);
}

static void trigger_status(struct planner *p, const struct resource *r, const struct trigger *t)
{
    bool broker = t->broker && t->broker->ready;
    cJSON *status = cJSON_CreateObject();
    put_text(p, status, "subscriberUri", t->subscriber.url);
    put_condition(p, status, "BrokerReady", broker, broker ? NULL : &t->broker_why);
    if (t->added || t->subscription_why.reason)
        put_condition(p, status, "SubscriptionReady", t->added, t->added ? NULL : &t->subscription_why);
    else
        put_unknown(p, status, "SubscriptionReady", "NotResolved",
                    t->kept ? "its events are kept until everything it names is there again"
                            : "it joins the Broker when everything it names is there");
    put_dependency(p, status, r);
    put_condition(p, status, "SubscriberResolved", t->subscriber_good, t->subscriber_good ? NULL : &t->subscriber_why);
    put_dead_letter(p, status, t->dead_letter_given, t->dead_letter_good, &t->dead_letter, &t->dead_letter_why);
    put_identity(p, status);
    put_subscription_place(p, status, t->made);
    put_remarks(p, status, r, t->broker);
    put_status(p, r, status);
}

void plan_triggers(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Trigger", &cursor));) {
        struct trigger t;
        trigger_resolve(p, r, &t);
        trigger_add(p, r, &t);
        trigger_status(p, r, &t);
    }
}

/* ---- what is only kept ---- */

/* What an EventType refers to; `broker` is the older form. */
static void put_reference(struct planner *p, cJSON *status, const struct resource *r)
{
    static const struct why not_set = {"ReferenceNotSet", NULL};
    const cJSON *spec = json_object(r->object, "spec"), *ref = json_object(spec, "reference");
    const char *broker = json_text(spec, "broker"), *kind = ref ? json_text(ref, "kind") : "Broker",
               *version = ref ? json_text(ref, "apiVersion") : GROUP "/v1",
               *name = ref ? json_text(ref, "name") : broker, *ns = json_text(ref, "namespace");
    const struct kind *k = kind && version ? kind_find(version, kind) : NULL;
    struct why why = {0};
    if (!name) {
        put_condition(p, status, "ReferenceExists", true, &not_set);
        return;
    }
    bool there = k && resource_get(p->table, k, ns ? ns : r->namespace_name, name);
    if (!there)
        why = why_of(p, "ReferenceDoesNotExist", "%s %s/%s is not declared", kind ? kind : "",
                     ns ? ns : r->namespace_name, name);
    put_condition(p, status, "ReferenceExists", there, there ? NULL : &why);
}

void plan_event_types(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "EventType", &cursor));) {
        cJSON *status = cJSON_CreateObject();
        put_reference(p, status, r);
        put_status(p, r, status);
    }
}

void plan_not_run(struct planner *p)
{
    static const char *const kinds[][2] = {
        {"RequestReply",
         "this build does not run a RequestReply; let the sender take the reply by a Trigger of its own"},
        {"EventTransform",
         "this build does not run an EventTransform; let a service transform events, as a step of a Sequence"}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t cursor = 0;
        for (const struct resource *r; (r = plan_next(p, GROUP, kinds[k][0], &cursor));) {
            const struct why why = {"NotInThisBuild", kinds[k][1]};
            cJSON *status = cJSON_CreateObject();
            put_condition(p, status, CONDITION_BUILT_IN, false, &why);
            put_status(p, r, status);
        }
    }
}
