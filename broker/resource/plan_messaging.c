/* SPDX-License-Identifier: Apache-2.0
 *
 * Today's kinds: Channel, InMemoryChannel and Subscription of messaging.knative.dev.
 */
#include "planner.h"

#define GROUP "messaging.knative.dev"

/* ---- channels ---- */

/* The bus that the template of a Channel asks for; *broken when there is none. */
static size_t template_bus(struct planner *p, const cJSON *template, struct why *why, bool *broken)
{
    const char *kind = json_text(template, "kind");
    *broken = false;
    if (kind && strcmp(kind, "InMemoryChannel") == 0)
        return 0;
    if (kind) {
        *broken = true;
        *why = why_of(
            p, "ChannelKindNotBuiltIn",
            "a %s is not in this build; leave channelTemplate out for the default bus, or ask for an InMemoryChannel",
            kind);
        return 0;
    }
    const char *type = p->options->default_bus ? p->options->default_bus : "memory";
    return plan_bus(p, type, type, NULL, 0);
}

void plan_messaging_channels(struct planner *p)
{
    static const char *const kinds[] = {"Channel", "InMemoryChannel"};
    for (size_t k = 0; k < 2; k++) {
        size_t cursor = 0;
        for (const struct resource *r; (r = plan_next(p, GROUP, kinds[k], &cursor));) {
            struct why why;
            bool broken = false;
            const cJSON *spec = json_object(r->object, "spec");
            size_t bus = k == 0 ? template_bus(p, json_object(spec, "channelTemplate"), &why, &broken) : 0;
            struct channel_plan *c = plan_channel_add(p, r, broken ? &why : NULL, bus, false);
            if (c)
                c->delivery = json_object(spec, "delivery");
        }
    }
}

static void put_address(struct planner *p, cJSON *status, const struct channel_plan *c)
{
    if (c->ready)
        put_text(p, put_object(p, status, "address"), "url", c->url);
}

static void put_backing(struct planner *p, cJSON *status, const struct resource *r)
{
    const char *kind = json_text(json_object(json_object(r->object, "spec"), "channelTemplate"), "kind");
    if (!kind)
        return;
    cJSON *ref = put_object(p, status, "channel");
    put_text(p, ref, "apiVersion", "messaging.knative.dev/v1");
    put_text(p, ref, "kind", kind);
    put_text(p, ref, "namespace", r->namespace_name);
    put_text(p, ref, "name", r->name);
}

static void channel_status(struct planner *p, struct channel_plan *c)
{
    const struct resource *r = c->resource;
    struct plan_target dead;
    struct why why = {NULL, NULL};
    cJSON *status = cJSON_CreateObject();
    bool in_memory = strcmp(r->kind->kind, "InMemoryChannel") == 0;
    put_address(p, status, c);
    if (!in_memory)
        put_backing(p, status, r);
    put_condition(p, status, in_memory ? "DispatcherReady" : "BackingChannelReady", c->ready, &c->why);
    put_condition(p, status, "Addressable", c->ready, &c->why);
    const cJSON *sink = json_object(c->delivery, "deadLetterSink");
    bool resolved = resolve_destination(p, r->namespace_name, sink, &dead, &why);
    if (!sink)
        why = (struct why){"DeadLetterSinkNotConfigured", NULL};
    else if (resolved)
        put_text(p, status, "deadLetterSinkUri", dead.url);
    put_condition(p, status, "DeadLetterSinkResolved", resolved, &why);
    if (c->subscribers && status) {
        if (cJSON_AddItemToObject(status, "subscribers", c->subscribers))
            c->subscribers = NULL;
        else
            p->nomem = true;
    }
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
    struct why channel_why, why;
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

/* Its own delivery counts whole, with the channel's dead letter sink where it has none; without one, the channel's. */
static bool find_dead_letter(struct planner *p, const struct resource *r, const cJSON *own, struct resolved *out)
{
    const cJSON *inherited = out->channel ? out->channel->delivery : NULL;
    out->delivery = own ? own : inherited;
    const cJSON *sink = json_object(out->delivery, "deadLetterSink");
    if (!sink)
        sink = json_object(inherited, "deadLetterSink");
    return resolve_destination(p, r->namespace_name, sink, &out->dead_letter, &out->why);
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
    else if (!find_dead_letter(p, r, json_object(spec, "delivery"), out))
        out->why = prefixed(p, "deadLetterSink", out->why);
    else
        out->references = true;
}

static void subscription_status(struct planner *p, const struct resource *r, const struct resolved *s, bool added)
{
    cJSON *status = cJSON_CreateObject(), *physical = put_object(p, status, "physicalSubscription");
    put_text(p, physical, "subscriberUri", s->subscriber.url);
    put_text(p, physical, "replyUri", s->reply.url);
    put_text(p, physical, "deadLetterSinkUri", s->dead_letter.url);
    put_condition(p, status, "ReferencesResolved", s->references, s->references ? NULL : &s->why);
    put_condition(p, status, "ChannelReady", s->channel && s->channel->ready,
                  s->channel && s->channel->ready ? NULL : &s->channel_why);
    if (added)
        put_condition(p, status, "AddedToChannel", true, NULL);
    else
        put_unknown(p, status, "AddedToChannel", "NotResolved",
                    "it joins the channel when everything it names is there");
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
        bool added = s.references && s.channel && s.channel->ready;
        struct plan_subscription *out = added ? plan_subscription_add(p, r, s.channel) : NULL;
        if (out) {
            out->subscriber = s.subscriber;
            out->reply = s.reply;
            out->dead_letter = s.dead_letter;
            delivery_read(s.delivery, &out->delivery);
            plan_subscription_annotations(p, out, r, s.channel->resource);
            note_subscriber(p, s.channel, r);
        }
        subscription_status(p, r, &s, out != NULL);
    }
}
