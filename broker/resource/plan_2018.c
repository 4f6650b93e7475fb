/* SPDX-License-Identifier: Apache-2.0
 *
 * The channels of 2018: Bus, ClusterBus, Channel and Subscription of channels.knative.dev, and the Channel and
 * Subscription that a Flow stands for.
 *
 * The well-known buses are told by the image of their dispatcher, else by name; what a Channel or Subscription may set
 * is what its Bus declares.
 */
#include "plan_2018.h"

#include <stdlib.h>

#define GROUP "channels.knative.dev"

/* ---- buses ---- */

enum bus_sort { BUS_OTHER, BUS_STUB, BUS_LOG, BUS_KAFKA, BUS_PUBSUB, BUS_RABBITMQ };

#define BUILT_IN "built in are stub (in memory), log (on disk), kafka, gcppubsub and rabbitmq"

/* Systems that leat does not bring: their backend, and for people their name and what describes them. */
static const struct {
    const char *type, *name, *variable;
} systems[] = {
    [BUS_KAFKA] = {"kafka", "Kafka", "cluster's addresses in KAFKA_BOOTSTRAP_SERVERS"},
    [BUS_PUBSUB] = {"pubsub", "Google Pub/Sub", "project in GOOGLE_CLOUD_PROJECT"},
    [BUS_RABBITMQ] = {"rabbitmq", "RabbitMQ", "address in RABBITMQ_URL"},
};

static bool outside(enum bus_sort sort)
{
    return sort == BUS_KAFKA || sort == BUS_PUBSUB || sort == BUS_RABBITMQ;
}

static enum bus_sort sort_of_word(const char *word)
{
    static const struct {
        const char *word;
        enum bus_sort sort;
    } words[] = {{"stub", BUS_STUB},   {"memory", BUS_STUB},      {"log", BUS_LOG},
                 {"kafka", BUS_KAFKA}, {"gcppubsub", BUS_PUBSUB}, {"rabbitmq", BUS_RABBITMQ}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i].word, word) == 0)
            return words[i].sort;
    return BUS_OTHER;
}

/* ".../buses/kafka/dispatcher", ".../cmd/stub-bus:v1", with whatever registry before and tag or digest behind. */
static enum bus_sort sort_of_image(const char *image)
{
    static const char *const names[] = {"stub", "log", "kafka", "gcppubsub", "rabbitmq"};
    char piece[100];
    struct slice rest = slice_str(image);
    bool after_buses = false;
    while (rest.ptr) {
        struct slice part = slice_split(&rest, '/');
        if (part.len >= sizeof piece)
            continue;
        memcpy(piece, part.ptr, part.len);
        piece[part.len] = 0;
        if (!rest.ptr)
            piece[strcspn(piece, ":@")] = 0;
        size_t n = strlen(piece);
        if (n > 4 && strcmp(piece + n - 4, "-bus") == 0)
            piece[n - 4] = 0;
        else if (!after_buses) {
            after_buses = strcmp(piece, "buses") == 0;
            continue;
        }
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            if (strcmp(names[i], piece) == 0)
                return sort_of_word(piece);
    }
    return BUS_OTHER;
}

static enum bus_sort sort_of(const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec");
    const char *image = json_text(json_object(spec, "dispatcher"), "image");
    enum bus_sort sort = image ? sort_of_image(image) : BUS_OTHER;
    /* An image that is none of these is another program, whatever the Bus is called. */
    return sort != BUS_OTHER || image ? sort : sort_of_word(r->name);
}

/* Whether leat has it; false with *why. `r` NULL: it is not declared. */
static bool bus_built_in(struct planner *p, const char *kind, const char *name, enum bus_sort sort,
                         const struct resource *r, struct why *why)
{
    if (sort == BUS_STUB || (sort == BUS_LOG && p->options->data_dir))
        return true;
    if (sort == BUS_KAFKA && r)
        return plan_kafka_2018_servers(p, r, why) != NULL;
    if (sort == BUS_RABBITMQ && r)
        return plan_rabbitmq_2018_reachable(p, r, why);
    if (sort == BUS_PUBSUB && r)
        return plan_pubsub_2018_reachable(p, r, why);
    if (outside(sort))
        *why = why_of(p, "BusNotFound",
                      "%s %s is not declared, and the default bus is not %s: declare it, with the %s of its "
                      "dispatcher's environment",
                      kind, name, systems[sort].name, systems[sort].variable);
    else if (sort == BUS_LOG)
        *why = why_of(p, "NoDataDirectory",
                      "%s %s keeps its events on disk, and leat serve was started with --ephemeral", kind, name);
    else
        *why = why_of(p, "BusNotSupported", "%s %s runs a program that leat does not know; " BUILT_IN, kind, name);
    return false;
}

static void bus_statuses(struct planner *p, const char *kind)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, kind, &cursor));) {
        struct why why = {0};
        cJSON *status = cJSON_CreateObject();
        bool good = bus_built_in(p, kind, r->name, sort_of(r), r, &why);
        put_condition(p, status, "Provisioning", good, good ? NULL : &why);
        put_condition(p, status, "Dispatching", good, good ? NULL : &why);
        put_condition(p, status, "Serviceable", good, good ? NULL : &why);
        put_status(p, r, status);
    }
}

struct chosen_bus {
    size_t index;
    const char *name;
    const struct resource *resource; /* NULL: built in, not declared */
    struct why why;                  /* when it is none; or a remark */
    bool good;
};

/* A log in its own part of the data directory; that of the default bus is "log". */
static size_t log_bus(struct planner *p, const char *key, const char *folder)
{
    const struct plan_options *o = p->options;
    if (strcmp(key, "log") == 0 && o->default_bus && strcmp(o->default_bus, "log") == 0)
        return plan_bus(p, key, "log", o->default_bus_params, o->default_bus_param_count);
    struct bus_param *dir = arena_alloc(p->arena, sizeof *dir);
    if (!dir) {
        p->nomem = true;
        return 0;
    }
    *dir = (struct bus_param){"dir", plan_text(p, "%s/%s", o->data_dir, folder)};
    return plan_bus(p, key, "log", dir, 1);
}

/* Of Kafka, Pub/Sub and RabbitMQ, *good false and *why when it is not known where that is. */
static size_t declared_bus(struct planner *p, const char *kind, const struct resource *r, enum bus_sort sort,
                           bool *good, struct why *why)
{
    size_t bus = 0;
    const char *ns = r->namespace_name, *key = plan_text(p, "%s/%s%s%s", kind, ns, *ns ? "/" : "", r->name);
    if (sort == BUS_KAFKA) {
        *good = plan_kafka_2018_bus(p, key, r, &bus, why);
        return bus;
    }
    if (sort == BUS_RABBITMQ) {
        *good = plan_rabbitmq_2018_bus(p, key, r, &bus, why);
        return bus;
    }
    if (sort == BUS_PUBSUB) {
        *good = plan_pubsub_2018_bus(p, key, r, &bus, why);
        return bus;
    }
    if (sort != BUS_LOG)
        return plan_bus(p, key, "memory", NULL, 0);
    return log_bus(p, key, plan_text(p, "buses/%s%s%s", ns, *ns ? "@" : "", r->name)); /* no name has an '@' in it */
}

static struct chosen_bus choose_bus(struct planner *p, const char *kind, const char *ns, const char *name)
{
    struct chosen_bus b = {.name = name, .resource = plan_get(p, GROUP, kind, ns, name)};
    enum bus_sort sort = b.resource ? sort_of(b.resource) : sort_of_word(name);
    if (!b.resource && sort == BUS_OTHER) {
        b.why = why_of(p, "BusNotFound", "%s %s is not declared; " BUILT_IN, kind, name);
        return b;
    }
    bool others = outside(sort);
    b.good = (others && (b.resource || plan_default_bus(p, systems[sort].type, &b.index))) ||
             bus_built_in(p, kind, name, sort, b.resource, &b.why);
    if (!b.good)
        return b;
    if (b.resource)
        b.index = declared_bus(p, kind, b.resource, sort, &b.good, &b.why);
    else if (sort == BUS_LOG)
        b.index = log_bus(p, "log", "log");
    if (!b.resource)
        b.why = why_of(p, "BuiltInBus", "%s %s is not declared; leat's own, %s, is used", kind, name,
                       others            ? "the default bus"
                       : sort == BUS_LOG ? "on disk"
                                         : "in memory");
    return b;
}

/* ---- parameters ---- */

/* What a Channel or Subscription on the bus may set: its parameters mean something by where it lies. */
static enum bus_sort sort_of_index(const struct planner *p, size_t bus)
{
    for (enum bus_sort sort = BUS_KAFKA; sort <= BUS_RABBITMQ; sort++)
        if (plan_bus_is(p, bus, systems[sort].type))
            return sort;
    return BUS_OTHER;
}

static bool means(const char *name, bool of_channel, enum bus_sort sort)
{
    static const char *const names[][2] = {[BUS_OTHER] = {"overflow", "capacity"},
                                           [BUS_KAFKA] = {"initialOffset", "NumPartitions"},
                                           [BUS_PUBSUB] = {"", ""}, /* it had none */
                                           [BUS_RABBITMQ] = {"Parallelism", "QueueType"}};
    return strcmp(name, names[sort][of_channel]) == 0;
}

/* Whether it may have this value; false with *why. */
static bool argument_good(struct planner *p, enum bus_sort sort, const char *name, const char *value, struct why *why)
{
    if (sort == BUS_KAFKA)
        return plan_kafka_2018_argument(p, name, value, why);
    return sort != BUS_RABBITMQ || plan_rabbitmq_2018_argument(p, name, value, why);
}

static const char *argument(const cJSON *arguments, const char *name)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, arguments)
        if (strcmp(json_text(each, "name"), name) == 0)
            return json_text(each, "value");
    return NULL;
}

static bool declared(const cJSON *parameters, const char *name)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, parameters)
        if (strcmp(json_text(each, "name"), name) == 0)
            return true;
    return false;
}

/* The arguments against what the bus declares: an argument, else the default, else *why and false. What means nothing
 * here is left out, and *why remarks it. */
static bool parameters_resolve(struct planner *p, const cJSON *parameters, const cJSON *arguments, bool of_channel,
                               enum bus_sort sort, void (*put)(void *arg, const char *name, const char *value),
                               void *arg, struct why *why)
{
    const cJSON *each;
    const char *ignored = "";
    cJSON_ArrayForEach(each, parameters) {
        const char *name = json_text(each, "name"), *value = argument(arguments, name);
        if (!value)
            value = json_text(each, "default");
        if (!value) {
            *why =
                why_of(p, "ArgumentMissing", "the bus demands the argument \"%s\"; add it under spec.arguments", name);
            return false;
        }
        bool known = means(name, of_channel, sort);
        if (known && !argument_good(p, sort, name, value, why))
            return false;
        if (known)
            put(arg, name, value);
        else
            ignored = plan_text(p, "%s%s%s", ignored, *ignored ? ", " : "", name);
    }
    cJSON_ArrayForEach(each, arguments)
        if (!declared(parameters, json_text(each, "name")))
            ignored = plan_text(p, "%s%s%s", ignored, *ignored ? ", " : "", json_text(each, "name"));
    if (*ignored)
        *why = why_of(p, "ArgumentsIgnored", "these mean nothing to this bus and are ignored: %s", ignored);
    return true;
}

/* ---- channels ---- */

struct put_arg {
    struct planner *planner;
    struct channel_plan *channel;
    struct plan_subscription *subscription;
};

static void put_channel_param(void *arg, const char *name, const char *value)
{
    struct put_arg *a = arg;
    const char *ours = strcmp(name, "NumPartitions") == 0 ? "topic.partitions"
                       : strcmp(name, "QueueType") == 0   ? "queue.type"
                                                          : name;
    if (a->channel && a->channel->planned)
        plan_channel_param_default(a->planner, a->channel, ours, value);
}

static void put_subscription_param(void *arg, const char *name, const char *value)
{
    struct put_arg *a = arg;
    if (a->subscription && strcmp(name, "initialOffset") == 0)
        a->subscription->start.kind = strcmp(value, "Oldest") == 0 ? BUS_START_EARLIEST : BUS_START_LATEST;
    else if (a->subscription && strcmp(name, "Parallelism") == 0)
        a->subscription->in_flight_max = (unsigned)atoi(value);
    else if (a->subscription)
        plan_subscription_param(a->planner, a->subscription, name, value);
}

static struct channel_plan *add_channel(struct planner *p, const struct resource *r, const struct chosen_bus *bus,
                                        const cJSON *arguments)
{
    const cJSON *parameters =
                    bus->resource ? json_object(json_object(bus->resource->object, "spec"), "parameters") : NULL,
                *own = cJSON_GetObjectItemCaseSensitive(parameters, "channel");
    static const struct channel_form form = {.room = "channels", .hosts = HOSTS_2018};
    struct put_arg dry = {.planner = p};
    struct why why = bus->why;
    enum bus_sort sort = sort_of_index(p, bus->index);
    bool good = bus->good && parameters_resolve(p, own, arguments, true, sort, put_channel_param, &dry, &why);
    struct channel_plan *c = plan_channel_add(p, r, good ? NULL : &why, bus->index, &form);
    if (!c)
        return NULL;
    if (c->ready || !good) /* else its topic is another's */
        c->why = why;
    c->bus_of_2018 = bus->name;
    c->bus_parameters = cJSON_GetObjectItemCaseSensitive(parameters, "subscription");
    struct put_arg real = {.planner = p, .channel = c};
    if (good && c->ready && !parameters_resolve(p, own, arguments, true, sort, put_channel_param, &real, &why))
        p->nomem = true;
    return c;
}

/* The ConfigMap of Knative 0.1 that says which ClusterBus Flows use. */
static const char *default_cluster_bus(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, "", "ConfigMap", &cursor));) {
        const char *name = strcmp(r->name, "flow-controller-config") == 0
                               ? json_text(json_object(r->object, "data"), "default-cluster-bus")
                               : NULL;
        if (name && *name)
            return name;
    }
    return "stub";
}

const char *plan_2018_bus_name(struct planner *p, const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec");
    const char *bus = json_text(spec, "bus"), *cluster = json_text(spec, "clusterBus");
    if (strcmp(r->kind->group, FLOWS) == 0)
        return default_cluster_bus(p);
    return bus ? bus : cluster ? cluster : "";
}

void plan_2018_channels(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Channel", &cursor));) {
        const cJSON *spec = json_object(r->object, "spec");
        const char *bus = json_text(spec, "bus"), *cluster = json_text(spec, "clusterBus");
        struct chosen_bus chosen = bus ? choose_bus(p, "Bus", r->namespace_name, bus)
                                       : choose_bus(p, "ClusterBus", "", cluster ? cluster : "");
        add_channel(p, r, &chosen, cJSON_GetObjectItemCaseSensitive(spec, "arguments"));
    }
    const char *name = default_cluster_bus(p);
    cursor = 0;
    for (const struct resource *r; (r = plan_next(p, FLOWS, "Flow", &cursor));) {
        struct chosen_bus chosen = choose_bus(p, "ClusterBus", "", name);
        add_channel(p, r, &chosen, NULL);
    }
}

static void channel_status(struct planner *p, const struct channel_plan *c)
{
    const struct resource *r = c->resource;
    const struct why *why = c->why.reason ? &c->why : NULL;
    cJSON *status = cJSON_CreateObject();
    if (c->ready) {
        put_text(p, put_object(p, status, "address"), "url", c->url);
        put_text(p, status, "domainInternal", c->internal);
        put_text(p, put_object(p, status, "service"), "name", plan_text(p, "%s-channel", r->name));
    }
    put_condition(p, status, "Provisioned", c->ready, why);
    put_condition(p, status, "Routeable", c->ready, c->ready ? NULL : why);
    put_condition(p, status, "Serviceable", c->ready, c->ready ? NULL : why);
    put_paused(p, status, r, NULL);
    put_status(p, r, status);
}

void plan_2018_statuses(struct planner *p)
{
    bus_statuses(p, "Bus");
    bus_statuses(p, "ClusterBus");
    map_each(e, tmp, &p->channels) {
        const struct channel_plan *c = e->value;
        if (strcmp(c->resource->kind->group, GROUP) == 0)
            channel_status(p, c);
    }
}

/* ---- subscriptions ---- */

/* A reply goes to a Channel of this name in the namespace, else wherever the name leads. */
static bool resolve_reply(struct planner *p, const char *ns, const char *name, struct plan_target *out, struct why *why)
{
    const struct channel_plan *c =
        name ? map_get(&p->channels, slice_str(plan_text(p, "Channel." GROUP "/%s/%s", ns, name))) : NULL;
    *out = (struct plan_target){.kind = PLAN_TARGET_NONE};
    if (!name)
        return true;
    if (c && c->ready) {
        *out = target_channel(c);
        return true;
    }
    return resolve_name(p, ns, name, out, why);
}

static void subscription(struct planner *p, const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec"),
                *arguments = cJSON_GetObjectItemCaseSensitive(spec, "arguments");
    const char *ns = r->namespace_name, *name = json_text(spec, "channel");
    struct channel_plan *c = map_get(&p->channels, slice_str(plan_text(p, "Channel." GROUP "/%s/%s", ns, name)));
    struct plan_target subscriber = {.kind = PLAN_TARGET_NONE}, reply = {.kind = PLAN_TARGET_NONE};
    struct why why = {0};
    struct put_arg arg = {.planner = p};
    enum bus_sort sort = c && c->planned ? sort_of_index(p, p->plan->channels[c->index].bus) : BUS_OTHER;
    bool good = true;
    if (!c)
        why = why_of(p, "ChannelNotFound", "Channel %s/%s is not declared", ns, name);
    else if (!c->ready)
        why = why_of(p, "ChannelNotReady", "Channel %s/%s is not ready: %s", ns, name, c->why.message);
    good = c && c->ready && resolve_name(p, ns, json_text(spec, "subscriber"), &subscriber, &why) &&
           resolve_reply(p, ns, json_text(spec, "replyTo"), &reply, &why) &&
           parameters_resolve(p, c->bus_parameters, arguments, false, sort, put_subscription_param, &arg, &why) &&
           plan_order_possible(p, r, c->resource, &why);
    struct plan_subscription *s = plan_subscription_keep(p, r, c, good);
    if (s) {
        s->subscriber = subscriber;
        s->reply = reply;
        arg.subscription = s;
        if (good &&
            !parameters_resolve(p, c->bus_parameters, arguments, false, sort, put_subscription_param, &arg, &why))
            p->nomem = true;
        plan_subscription_annotations(p, s, r, c->resource);
    }
    cJSON *status = cJSON_CreateObject();
    put_text(p, status, "subscriberUri", subscriber.url);
    put_text(p, status, "replyUri", reply.url);
    put_condition(p, status, "Dispatching", good, why.reason ? &why : NULL);
    put_remarks(p, status, r, c);
    put_status(p, r, status);
}

void plan_2018_subscriptions(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "Subscription", &cursor));)
        subscription(p, r);
}
