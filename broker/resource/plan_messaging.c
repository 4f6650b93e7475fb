/* SPDX-License-Identifier: Apache-2.0
 *
 * Today's kinds: Channel, InMemoryChannel, KafkaChannel and Subscription of messaging.knative.dev.
 */
#include "planner.h"

#define GROUP "messaging.knative.dev"

/* ---- channels ---- */

bool plan_template_bus(struct planner *p, const cJSON *template, size_t *bus, struct why *why)
{
    const char *kind = json_text(template, "kind"),
               *type = p->options->default_bus ? p->options->default_bus : "memory";
    *bus = 0;
    if (kind && strcmp(kind, "InMemoryChannel") == 0)
        return true;
    if (!kind || strcmp(kind, CHANNEL_TEMPLATE_DEFAULT) == 0) {
        *bus = plan_bus(p, type, type, p->options->default_bus_params, p->options->default_bus_param_count);
        return true;
    }
    if (strcmp(kind, "KafkaChannel") == 0)
        return plan_kafka_channel_bus(p, bus, why);
    *why = why_of(
        p, "ChannelKindNotBuiltIn",
        "a %s is not in this build; leave channelTemplate out for the default bus, or ask for an InMemoryChannel",
        kind);
    return false;
}

void plan_template_topic(struct planner *p, struct channel_plan *c, const cJSON *template)
{
    const char *kind = json_text(template, "kind");
    if (c && c->planned && kind && strcmp(kind, "KafkaChannel") == 0)
        plan_kafka_channel_topic(p, c, json_object(template, "spec"));
}

void plan_messaging_channels(struct planner *p)
{
    static const struct channel_form form = {.room = "channels", .hosts = HOSTS_TODAY};
    static const char *const kinds[] = {"Channel", "InMemoryChannel", "KafkaChannel"};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t cursor = 0;
        for (const struct resource *r; (r = plan_next(p, GROUP, kinds[k], &cursor));) {
            struct why why;
            size_t bus = 0;
            const cJSON *spec = json_object(r->object, "spec"),
                        *template = k == 0 ? json_object(spec, "channelTemplate") : r->object;
            bool good = plan_template_bus(p, template, &bus, &why);
            struct channel_plan *c = plan_channel_add(p, r, good ? NULL : &why, bus, &form);
            if (c)
                c->delivery = json_object(spec, "delivery");
            plan_template_topic(p, c, template);
        }
    }
}

static void put_backing(struct planner *p, cJSON *status, const struct resource *r)
{
    const char *kind = json_text(json_object(json_object(r->object, "spec"), "channelTemplate"), "kind");
    if (!kind || strcmp(kind, CHANNEL_TEMPLATE_DEFAULT) == 0)
        return; /* there is no other object behind it */
    cJSON *ref = put_object(p, status, "channel");
    put_text(p, ref, "apiVersion", "messaging.knative.dev/v1");
    put_text(p, ref, "kind", kind);
    put_text(p, ref, "namespace", r->namespace_name);
    put_text(p, ref, "name", r->name);
}

/* What an InMemoryChannel has of Kubernetes Services in a cluster, this process does by itself. */
static void put_services(struct planner *p, cJSON *status)
{
    static const struct why none = {"NoServices", NULL};
    put_condition(p, status, "ServiceReady", true, &none);
    put_condition(p, status, "EndpointsReady", true, &none);
    put_condition(p, status, "ChannelServiceReady", true, &none);
}

static void channel_status(struct planner *p, struct channel_plan *c)
{
    const struct resource *r = c->resource;
    struct plan_target dead;
    struct why why = {NULL, NULL};
    cJSON *status = cJSON_CreateObject();
    bool in_memory = strcmp(r->kind->kind, "InMemoryChannel") == 0;
    put_address(p, status, c);
    put_channel_place(p, status, c);
    if (strcmp(r->kind->kind, "Channel") == 0)
        put_backing(p, status, r);
    if (strcmp(r->kind->kind, "KafkaChannel") == 0) {
        put_kafka_conditions(p, status, c);
        put_condition(p, status, "Subscribers", true, NULL);
    } else {
        put_condition(p, status, in_memory ? "DispatcherReady" : "BackingChannelReady", c->ready, &c->why);
        if (in_memory)
            put_services(p, status);
        put_condition(p, status, "Addressable", c->ready, &c->why);
    }
    const cJSON *sink = json_object(c->delivery, "deadLetterSink");
    bool resolved = resolve_destination(p, r->namespace_name, sink, &dead, &why);
    put_dead_letter(p, status, sink != NULL, resolved, &dead, &why);
    put_policies(p, status);
    if (c->subscribers && status) {
        if (cJSON_AddItemToObject(status, "subscribers", c->subscribers))
            c->subscribers = NULL;
        else
            p->nomem = true;
    }
    put_paused(p, status, r, NULL);
    put_status(p, r, status);
}

void plan_messaging_statuses(struct planner *p)
{
    map_each(e, tmp, &p->channels) {
        struct channel_plan *c = e->value;
        if (strcmp(c->resource->kind->group, GROUP) == 0)
            channel_status(p, c);
    }
}

/* ---- subscriptions ---- */

struct resolved {
    struct channel_plan *channel;
    struct plan_target subscriber, reply, dead_letter;
    const cJSON *delivery;
    struct why channel_why, why, order_why;
    bool references;
};

static void find_channel(struct planner *p, const struct resource *r, const cJSON *spec, struct resolved *out)
{
    const cJSON *ref = json_object(spec, "channel");
    const char *version = json_text(ref, "apiVersion"), *kind = json_text(ref, "kind"), *name = json_text(ref, "name");
    bool of_2018 = version && strncmp(version, "channels.knative.dev/", 21) == 0;
    out->channel =
        map_get(&p->channels, slice_str(plan_text(p, "%s.%s/%s/%s", kind, of_2018 ? "channels.knative.dev" : GROUP,
                                                  r->namespace_name, name)));
    if (!out->channel)
        out->channel_why = why_of(p, "ChannelNotFound", "%s %s/%s is not declared", kind, r->namespace_name, name);
    else if (!out->channel->ready)
        out->channel_why = out->channel->why;
}

bool plan_delivery_merge(struct planner *p, const char *ns, const cJSON *own, const cJSON *inherited,
                         const cJSON **effective, struct plan_target *dead_letter, struct why *why)
{
    *effective = own ? own : inherited;
    const cJSON *sink = json_object(*effective, "deadLetterSink");
    if (!sink)
        sink = json_object(inherited, "deadLetterSink");
    return resolve_destination(p, ns, sink, dead_letter, why);
}

static struct why prefixed(struct planner *p, const char *what, struct why why)
{
    return why_of(p, why.reason, "%s: %s", what, why.message);
}

static void resolve_all(struct planner *p, const struct resource *r, struct resolved *out)
{
    const cJSON *spec = json_object(r->object, "spec");
    memset(out, 0, sizeof *out);
    find_channel(p, r, spec, out);
    out->references = false;
    if (!resolve_destination(p, r->namespace_name, json_object(spec, "subscriber"), &out->subscriber, &out->why))
        out->why = prefixed(p, "subscriber", out->why);
    else if (!resolve_destination(p, r->namespace_name, json_object(spec, "reply"), &out->reply, &out->why))
        out->why = prefixed(p, "reply", out->why);
    else if (!plan_delivery_merge(p, r->namespace_name, json_object(spec, "delivery"),
                                  out->channel ? out->channel->delivery : NULL, &out->delivery, &out->dead_letter,
                                  &out->why))
        out->why = prefixed(p, "deadLetterSink", out->why);
    else
        out->references = true;
}

/* `good`: it runs. Else `made`, when there is one: it does not, but did, and its events wait. */
static void subscription_status(struct planner *p, const struct resource *r, const struct resolved *s, bool good,
                                const struct plan_subscription *made)
{
    cJSON *status = cJSON_CreateObject(), *physical = put_object(p, status, "physicalSubscription");
    put_text(p, physical, "subscriberUri", s->subscriber.url);
    put_text(p, physical, "replyUri", s->reply.url);
    put_text(p, physical, "deadLetterSinkUri", s->dead_letter.url);
    put_condition(p, status, "ReferencesResolved", s->references, s->references ? NULL : &s->why);
    put_condition(p, status, "ChannelReady", s->channel && s->channel->ready,
                  s->channel && s->channel->ready ? NULL : &s->channel_why);
    if (good || s->order_why.reason)
        put_condition(p, status, "AddedToChannel", good, good ? NULL : &s->order_why);
    else
        put_unknown(p, status, "AddedToChannel", "NotResolved",
                    made ? "its events are kept until everything it names is there again"
                         : "it joins the channel when everything it names is there");
    put_identity(p, status);
    put_subscription_place(p, status, made);
    put_remarks(p, status, r, s->channel);
    put_status(p, r, status);
}

/* What status.subscribers of the channel says of it. */
static void note_subscriber(struct planner *p, struct channel_plan *c, const struct resource *r)
{
    const cJSON *generation = cJSON_GetObjectItemCaseSensitive(json_object(r->object, "metadata"), "generation");
    cJSON *entry = cJSON_CreateObject();
    if (!c->subscribers)
        c->subscribers = cJSON_CreateArray();
    put_text(p, entry, "uid", r->uid);
    if (!entry || !cJSON_AddNumberToObject(entry, "observedGeneration", generation ? generation->valuedouble : 1))
        p->nomem = true;
    put_text(p, entry, "ready", "True");
    if (!cJSON_AddItemToArray(c->subscribers, entry)) {
        cJSON_Delete(entry);
        p->nomem = true;
    }
}

void plan_messaging_subscriptions(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Subscription", &cursor));) {
        struct resolved s;
        resolve_all(p, r, &s);
        bool good = s.references && s.channel && s.channel->ready &&
                    plan_order_possible(p, r, s.channel->resource, &s.order_why);
        struct plan_subscription *out = plan_subscription_keep(p, r, s.channel, good);
        if (out) {
            out->subscriber = s.subscriber;
            out->reply = s.reply;
            out->dead_letter = s.dead_letter;
            plan_delivery_read(p, out, s.delivery);
            plan_subscription_annotations(p, out, r, s.channel->resource);
        }
        if (out && good)
            note_subscriber(p, s.channel, r);
        subscription_status(p, r, &s, out && good, out);
    }
}
