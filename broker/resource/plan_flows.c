/* SPDX-License-Identifier: Apache-2.0
 *
 * flows.knative.dev/v1: what a Sequence and a Parallel stand for.
 *
 *     Sequence   channel 0 → step 0 → channel 1 → step 1 → ... → reply      (its address is channel 0's)
 *     Parallel   ingress → subscriber of branch i → reply                   (a branch without a filter)
 *                ingress → filter of branch i → channel i → subscriber → reply
 *
 * Each part has a key and a uid of its own that depend on its place alone, so that a changed object keeps its streams.
 * A part whose destination does not resolve is in the plan all the same, paused: what its channel is given is kept
 * until the destination is there, since the senders were told that it was accepted.
 */
#include "planner.h"

#define GROUP "flows.knative.dev"
#define MESSAGING "messaging.knative.dev/v1"

static const cJSON *list_of(const struct resource *r, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(json_object(r->object, "spec"), name);
}

/* ---- channels ---- */

static struct plan_part step_part(struct planner *p, const struct resource *r, unsigned i)
{
    return (struct plan_part){i ? "steps" : NULL, i, plan_text(p, "%s-kn-sequence-%u", r->name, i)};
}

static struct plan_part branch_part(struct planner *p, const struct resource *r, unsigned i)
{
    return (struct plan_part){"branches", i, plan_text(p, "%s-kn-parallel-%u", r->name, i)};
}

static struct plan_part filter_part(struct planner *p, const struct resource *r, unsigned i)
{
    return (struct plan_part){"filters", i, plan_text(p, "%s-kn-parallel-filter-%u", r->name, i)};
}

static void add_channel(struct planner *p, const struct resource *r, const char *room, struct plan_part part)
{
    const struct channel_form form = {.room = room, .hosts = HOSTS_TODAY, .part = part};
    const cJSON *template = json_object(json_object(r->object, "spec"), "channelTemplate");
    struct why why;
    size_t bus = 0;
    bool good = plan_template_bus(p, template, &bus, &why);
    plan_template_topic(p, plan_channel_add(p, r, good ? NULL : &why, bus, &form), template);
}

void plan_flow_channels(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Sequence", &cursor));)
        for (int i = 0; i < cJSON_GetArraySize(list_of(r, "steps")); i++)
            add_channel(p, r, "sequences", step_part(p, r, (unsigned)i));
    cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Parallel", &cursor));) {
        unsigned i = 0;
        const cJSON *branch;
        add_channel(p, r, "parallels", (struct plan_part){.name = plan_text(p, "%s-kn-parallel", r->name)});
        cJSON_ArrayForEach(branch, list_of(r, "branches")) {
            if (json_object(branch, "filter"))
                add_channel(p, r, "parallels", branch_part(p, r, i));
            i++;
        }
    }
}

/* The channel of a part; NULL without memory only. */
static const struct channel_plan *channel_of(struct planner *p, const struct resource *r, const struct plan_part *part)
{
    const char *key = plan_key(p, r);
    if (part && part->word)
        key = plan_text(p, "%s/%s/%u", key, part->word, part->index);
    return map_get(&p->channels, slice_str(key));
}

/* ---- subscriptions ---- */

/* A Sequence or Parallel under way. */
struct flow {
    struct planner *planner;
    const struct resource *resource;
    const struct channel_plan *address; /* the channel that it is reached by */
    cJSON *status;
    bool possible; /* its channels can give what its annotations ask for; else *why */
    bool good;     /* every part so far; else *why */
    struct why why;
};

/* One subscription of it. */
struct link {
    struct plan_part part;
    const struct channel_plan *from;
    const char *at; /* where it stands, for people: "steps[1]" */
    const cJSON *subscriber, *delivery;
    const cJSON *reply;            /* a destination; NULL: none */
    const struct channel_plan *to; /* instead: a channel of the flow itself */
};

static void put_ready(struct planner *p, cJSON *of, const struct why *why)
{
    cJSON *ready = put_object(p, of, "ready");
    put_text(p, ready, "type", "Ready");
    put_text(p, ready, "status", why ? "False" : "True");
    put_text(p, ready, "reason", why ? why->reason : NULL);
    put_text(p, ready, "message", why ? why->message : NULL);
}

static void put_made(struct planner *p, cJSON *of, const struct resource *r, const char *field, const char *kind,
                     const char *name)
{
    cJSON *ref = put_object(p, of, field);
    put_text(p, ref, "apiVersion", MESSAGING);
    put_text(p, ref, "kind", kind);
    put_text(p, ref, "namespace", r->namespace_name);
    put_text(p, ref, "name", name);
}

static void put_channel(struct planner *p, cJSON *of, const struct resource *r, const struct channel_plan *c,
                        const char *name)
{
    const char *kind = json_text(json_object(json_object(r->object, "spec"), "channelTemplate"), "kind");
    put_made(p, of, r, "channel", kind ? kind : "Channel", name);
    put_ready(p, of, c->ready ? NULL : &c->why);
}

static bool link_resolve(struct planner *p, const struct resource *r, const struct link *l,
                         struct plan_subscription *out, struct why *why)
{
    const cJSON *delivery;
    const char *ns = r->namespace_name, *what = "";
    bool good = resolve_destination(p, ns, l->subscriber, &out->subscriber, why);
    if (good && l->to && !l->to->planned) {
        *why = l->to->why;
        return false;
    }
    if (good && l->to) {
        out->reply = target_channel(l->to);
    } else if (good) {
        what = " reply";
        good = resolve_destination(p, ns, l->reply, &out->reply, why);
    }
    if (good) {
        what = " deadLetterSink";
        good = plan_delivery_merge(p, ns, l->delivery, NULL, &delivery, &out->dead_letter, why);
    }
    if (!good)
        *why = why_of(p, why->reason, "%s%s: %s; the events are kept until it is there", l->at, what, why->message);
    return good;
}

/* Puts the subscription in the plan, and what came of it under `status`. */
static void link_add(struct flow *f, const struct link *l, cJSON *status)
{
    struct planner *p = f->planner;
    struct why why = f->why;
    bool there = l->from->planned && (f->possible || entry_planned(f->resource)), good = false;
    struct plan_subscription *s = there ? plan_subscription_add(p, f->resource, &l->part, l->from) : NULL;
    if (s) {
        good = link_resolve(p, f->resource, l, s, &why) && f->possible && l->from->ready;
        s->paused = !good;
        plan_delivery_read(p, s, l->delivery);
        plan_subscription_annotations(p, s, f->resource, f->resource);
    } else if (f->possible) {
        why = l->from->why;
    }
    if (s && !l->from->ready)
        why = l->from->why;
    put_made(p, status, f->resource, "subscription", "Subscription", l->part.name);
    put_ready(p, status, good ? NULL : &why);
    if (!good && f->good)
        f->why = why;
    f->good = f->good && good;
}

static bool flow_begin(struct planner *p, const struct resource *r, struct flow *f)
{
    *f = (struct flow){.planner = p, .resource = r, .address = channel_of(p, r, NULL), .good = true};
    if (!f->address) {
        p->nomem = true;
        return false;
    }
    f->status = cJSON_CreateObject();
    f->possible = plan_order_possible(p, r, r, &f->why);
    put_address(p, f->status, f->address);
    return true;
}

static void flow_end(struct flow *f)
{
    struct planner *p = f->planner;
    const struct channel_plan *c = f->address;
    entry_set_planned(f->resource, c->planned && (f->possible || entry_planned(f->resource)));
    put_condition(p, f->status, "ChannelsReady", c->ready, c->ready ? NULL : &c->why);
    put_condition(p, f->status, "SubscriptionsReady", f->good, f->good ? NULL : &f->why);
    put_condition(p, f->status, "Addressable", c->ready, c->ready ? NULL : &c->why);
    put_policies(p, f->status);
    put_remarks(p, f->status, f->resource, c);
    put_status(p, f->resource, f->status);
}

static void sequence(struct planner *p, const struct resource *r)
{
    struct flow f;
    unsigned i = 0;
    const cJSON *step, *reply = json_object(json_object(r->object, "spec"), "reply");
    if (!flow_begin(p, r, &f))
        return;
    cJSON *channels = put_array(p, f.status, "channelStatuses"),
          *subscriptions = put_array(p, f.status, "subscriptionStatuses");
    cJSON_ArrayForEach(step, list_of(r, "steps")) {
        struct plan_part own = step_part(p, r, i), next = step_part(p, r, i + 1);
        const struct link l = {.part = {"steps", i, own.name},
                               .from = channel_of(p, r, &own),
                               .at = plan_text(p, "steps[%u]", i),
                               .subscriber = step,
                               .delivery = json_object(step, "delivery"),
                               .reply = step->next ? NULL : reply,
                               .to = step->next ? channel_of(p, r, &next) : NULL};
        i++;
        if (!l.from || (step->next && !l.to)) {
            p->nomem = true;
            break;
        }
        put_channel(p, put_element(p, channels), r, l.from, own.name);
        link_add(&f, &l, put_element(p, subscriptions));
    }
    flow_end(&f);
}

/* The two subscriptions of a branch with a filter, or the one of a branch without. */
static void branch_add(struct flow *f, const cJSON *branch, unsigned i, const cJSON *common_reply, cJSON *status)
{
    struct planner *p = f->planner;
    const struct resource *r = f->resource;
    const cJSON *filter = json_object(branch, "filter"), *reply = json_object(branch, "reply");
    struct plan_part part = branch_part(p, r, i);
    const struct channel_plan *own = filter ? channel_of(p, r, &part) : f->address;
    if (!own) {
        p->nomem = true;
        return;
    }
    if (filter) {
        const struct link l = {.part = filter_part(p, r, i),
                               .from = f->address,
                               .at = plan_text(p, "branches[%u].filter", i),
                               .subscriber = filter,
                               .to = own};
        link_add(f, &l, put_object(p, status, "filterSubscriptionStatus"));
        put_channel(p, put_object(p, status, "filterChannelStatus"), r, own, part.name);
    }
    const struct link l = {.part = part,
                           .from = own,
                           .at = plan_text(p, "branches[%u].subscriber", i),
                           .subscriber = json_object(branch, "subscriber"),
                           .delivery = json_object(branch, "delivery"),
                           .reply = reply ? reply : common_reply};
    link_add(f, &l, put_object(p, status, "subscriberSubscriptionStatus"));
}

static void parallel(struct planner *p, const struct resource *r)
{
    struct flow f;
    unsigned i = 0;
    const cJSON *branch, *reply = json_object(json_object(r->object, "spec"), "reply");
    if (!flow_begin(p, r, &f))
        return;
    put_channel(p, put_object(p, f.status, "ingressChannelStatus"), r, f.address,
                plan_text(p, "%s-kn-parallel", r->name));
    cJSON *branches = put_array(p, f.status, "branchStatuses");
    cJSON_ArrayForEach(branch, list_of(r, "branches"))
        branch_add(&f, branch, i++, reply, put_element(p, branches));
    flow_end(&f);
}

void plan_flow_subscriptions(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Sequence", &cursor));)
        sequence(p, r);
    cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Parallel", &cursor));)
        parallel(p, r);
}
