/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a plan as they come in, and the small hands that every planning file uses.
 */
#include <stdio.h>
#include <stdlib.h>

#include "array.h"
#include "cluster.h"

const char *plan_text(struct planner *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *s = arena_vprintf(p->arena, format, args);
    va_end(args);
    p->nomem = p->nomem || !s;
    return s ? s : "";
}

const char *plan_copy(struct planner *p, const char *s)
{
    char *copy = s ? arena_copy(p->arena, s, strlen(s)) : NULL;
    p->nomem = p->nomem || (s && !copy);
    return copy;
}

struct why why_of(struct planner *p, const char *reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *s = arena_vprintf(p->arena, format, args);
    va_end(args);
    p->nomem = p->nomem || !s;
    return (struct why){reason, s ? s : ""};
}

/* Any version of it: an object is seen through all of them. */
static const struct kind *kind_named(const char *group, const char *kind)
{
    const struct kind *k;
    for (size_t i = 0; (k = kind_at(i)); i++)
        if (strcmp(k->kind, kind) == 0 && strcmp(k->group, group) == 0)
            return k;
    return NULL;
}

const struct resource *plan_next(struct planner *p, const char *group, const char *kind, size_t *cursor)
{
    const struct kind *k = kind_named(group, kind);
    const struct resource *r = k && !p->nomem ? resource_next(p->table, k, NULL, cursor) : NULL;
    while (r && r->quarantined)
        r = resource_next(p->table, k, NULL, cursor);
    return r;
}

const struct resource *plan_get(struct planner *p, const char *group, const char *kind, const char *ns,
                                const char *name)
{
    const struct kind *k = kind_named(group, kind);
    const struct resource *r = k ? resource_get(p->table, k, ns, name) : NULL;
    return r && !r->quarantined ? r : NULL; /* to a plan, what is not valid is not there */
}

const char *plan_key(struct planner *p, const struct resource *r)
{
    return plan_text(p, "%s.%s/%s/%s", r->kind->kind, r->kind->group, r->namespace_name, r->name);
}

/* Room for one more in one of the plan's lists, zeroed; NULL without memory. The lists are the plan's own until it is
 * freed. */
static void *grow(struct planner *p, void *list, size_t count, size_t *cap, size_t size)
{
    if (!array_reserve(list, cap, count + 1, size)) {
        p->nomem = true;
        return NULL;
    }
    void *at = (char *)*(void **)list + count * size;
    memset(at, 0, size);
    return at;
}

static void param_add(struct planner *p, const struct bus_param **params, size_t *count, const char *name,
                      const char *value)
{
    struct bus_param *list = arena_alloc(p->arena, (*count + 1) * sizeof *list);
    if (!list) {
        p->nomem = true;
        return;
    }
    if (*count)
        memcpy(list, *params, *count * sizeof *list);
    list[*count] = (struct bus_param){plan_copy(p, name), plan_copy(p, value)};
    *params = list;
    (*count)++;
}

/* ---- buses and channels ---- */

size_t plan_bus(struct planner *p, const char *key, const char *type, const struct bus_param *params, size_t count)
{
    for (size_t i = 0; i < p->plan->bus_count; i++)
        if (strcmp(p->plan->buses[i].key, key) == 0)
            return i;
    struct plan_bus *b = grow(p, &p->plan->buses, p->plan->bus_count, &p->bus_cap, sizeof *b);
    if (!b)
        return 0;
    b->key = plan_copy(p, key);
    b->type = plan_copy(p, type);
    b->params = params;
    b->param_count = count;
    return p->plan->bus_count++;
}

/* Takes a name in a map; false when somebody has it. */
static bool take(struct planner *p, struct map *m, const char *name, void *value)
{
    enum err e = map_add(m, slice_str(name), value);
    p->nomem = p->nomem || (e != OK && e != ERR_EXISTS);
    return e == OK;
}

/* BASE, which lies in the arena, or of a part "BASE/steps/1" with that separator. */
static const char *part_text(struct planner *p, const char *base, const struct plan_part *part, char separator)
{
    if (!part || !part->word)
        return base;
    return plan_text(p, "%s%c%s%c%u", base, separator, part->word, separator, part->index);
}

static const char *path_text(struct planner *p, const struct resource *r, const char *room,
                             const struct plan_part *part)
{
    return part_text(p, plan_text(p, "/%s/%s/%s", room, r->namespace_name, r->name), part, '/');
}

/* The path that others know, or, where another kind's object of the same name has it, one with the kind in it. */
static const char *path_take(struct planner *p, const struct resource *r, const char *room,
                             const struct plan_part *part, void *value)
{
    const char *path = path_text(p, r, room, part);
    if (take(p, &p->paths, path, value))
        return path;
    path = plan_text(p, "/%s/%s.%s/%s/%s", room, r->kind->plural, r->kind->group, r->namespace_name, r->name);
    path = part_text(p, path, part, '/');
    take(p, &p->paths, path, value);
    return path;
}

#define HOSTS_MAX 5 /* and NULL */

/* The host names that mean it: NULL-terminated, in the arena; NULL without memory. */
static const char **host_names(struct planner *p, const struct channel_plan *c)
{
    const char **names = arena_alloc(p->arena, HOSTS_MAX * sizeof *names),
               *domain = p->options->cluster_domain ? p->options->cluster_domain : "cluster.local";
    const char *name = c->form.part.name ? c->form.part.name : c->resource->name, *ns = c->resource->namespace_name;
    p->nomem = p->nomem || !names;
    if (names && c->form.hosts == HOSTS_2018) {
        names[0] = plan_text(p, "%s-channel.%s.svc.%s", name, ns, domain);
        names[1] = plan_text(p, "%s-channel.%s.svc", name, ns);
        names[2] = plan_text(p, "%s-channel.%s", name, ns);
        names[3] = plan_text(p, "%s.%s.channels.%s", name, ns, domain);
    } else if (names && c->form.hosts == HOSTS_TODAY) {
        names[0] = plan_text(p, "%s-kn-channel.%s.svc.%s", name, ns, domain);
        names[1] = plan_text(p, "%s-kn-channel.%s.svc", name, ns);
        names[2] = plan_text(p, "%s-kn-channel.%s", name, ns);
    } else if (names && c->form.hosts == HOSTS_RABBITMQ) {
        names[0] = plan_text(p, "%s-broker-ingress.%s.svc.%s", name, ns, domain);
        names[1] = plan_text(p, "%s-broker-ingress.%s.svc", name, ns);
        names[2] = plan_text(p, "%s-broker-ingress.%s", name, ns);
    }
    return names;
}

static void hosts_take(struct planner *p, struct channel_plan *c, struct plan_channel *channel)
{
    const char **hosts = host_names(p, c);
    size_t count = 0;
    if (hosts && c->form.hosts == HOSTS_2018)
        c->internal = hosts[0];
    for (size_t i = 0; hosts && hosts[i]; i++)
        if (take(p, &p->hosts, hosts[i], c))
            hosts[count++] = hosts[i];
    if (hosts)
        hosts[count] = NULL;
    channel->hosts = hosts;
}

/* Channels proper are "ns/name" on their bus, as ever; others have their room before it. As unique as the path. */
static const char *bus_name(const char *path)
{
    static const char channels[] = "/channels/";
    size_t n = sizeof channels - 1;
    return strncmp(path, channels, n) == 0 ? path + n : path + 1;
}

static void channel_fill(struct planner *p, struct channel_plan *c, struct plan_channel *channel,
                         const struct channel_form *form)
{
    const struct resource *r = c->resource;
    channel->uid = part_text(p, r->uid, &form->part, '-');
    channel->namespace_name = plan_copy(p, r->namespace_name);
    channel->name = plan_copy(p, form->part.name ? form->part.name : r->name);
    channel->key = part_text(p, plan_key(p, r), &form->part, '/');
    const char *path =
        form->takes_nothing ? path_text(p, r, form->room, &form->part) : path_take(p, r, form->room, &form->part, c);
    channel->path = form->takes_nothing ? NULL : path;
    channel->bus_name = bus_name(path);
    channel->url = plan_text(p, "%s%s", p->options->ingress_url, path);
    channel->broker = form->broker;
    if (form->broker) { /* Knative's own address of a Broker has this path */
        const char *alias = plan_text(p, "/%s/%s", r->namespace_name, r->name);
        channel->alias = take(p, &p->paths, alias, c) ? alias : NULL;
    }
    hosts_take(p, c, channel);
}

/* What a channel is called where others see it, too. */
struct siting {
    const char *word; /* "topic", "exchange"; NULL: its bus is leat's own */
    const char *name; /* NULL: it has none of its own */
    bool external;    /* it is somebody else's */
};

static struct siting siting_of(struct planner *p, const struct resource *r, const struct channel_form *form, size_t bus)
{
    struct siting at = {0};
    if (plan_bus_is(p, bus, "kafka")) {
        at.word = "topic";
        at.name = plan_kafka_topic_name(p, r, form, &at.external);
    } else if (plan_bus_is(p, bus, "rabbitmq")) {
        at.word = "exchange";
        at.name = plan_rabbitmq_exchange_name(p, r, form, &at.external);
    } else if (plan_bus_is(p, bus, "pubsub") && !form->takes_nothing) {
        at.word = "topic";
        at.name = plan_pubsub_topic_name(p, r, form, &at.external);
    }
    return at;
}

/* A topic or exchange that leat makes is one channel's alone: it goes with it. Clusters are told apart by where they
 * are. */
static bool siting_take(struct planner *p, struct channel_plan *c, size_t bus, const struct siting *at, struct why *why)
{
    static const char *const where[] = {"bootstrap.servers", "url",      "host",    "port", "vhost",
                                        "project",           "endpoint", "emulator"};
    const struct plan_bus *b = &p->plan->buses[bus];
    const char *key = b->key, *given = "";
    for (size_t i = 0; i < sizeof where / sizeof where[0]; i++) {
        const char *value = cluster_param_value(b->params, b->param_count, where[i]);
        if (value)
            key = given = plan_text(p, "%s %s", given, value);
    }
    key = plan_text(p, "%s %s", key, at->name);
    if (take(p, &p->topics, key, c))
        return true;
    const struct channel_plan *other = map_get(&p->topics, slice_str(key));
    *why = why_of(p, strcmp(at->word, "topic") == 0 ? REASON_TOPIC_TAKEN : REASON_EXCHANGE_TAKEN,
                  "the %s %s is that of %s %s/%s; give one of them another name", at->word, at->name,
                  other ? other->resource->kind->kind : "", other ? other->resource->namespace_name : "",
                  other ? other->resource->name : "");
    return false;
}

/* For whoever sends to it. */
static const char *not_ready(struct planner *p, const struct resource *r, const struct why *why)
{
    return plan_text(p, "%s %s/%s is not ready: %s\n", r->kind->kind, r->namespace_name, r->name,
                     why->message ? why->message : "see its conditions");
}

struct channel_plan *plan_channel_add(struct planner *p, const struct resource *r, const struct why *broken, size_t bus,
                                      const struct channel_form *form)
{
    struct channel_plan *c = arena_alloc(p->arena, sizeof *c);
    if (!c || map_add(&p->channels, slice_str(part_text(p, plan_key(p, r), &form->part, '/')), c) != OK) {
        p->nomem = true;
        return NULL;
    }
    c->resource = r;
    c->form = *form;
    struct why taken;
    const struct siting at = siting_of(p, r, form, bus);
    bool own = at.name && !at.external && (!broken || entry_planned(r));
    if (own && !siting_take(p, c, bus, &at, &taken) && !broken)
        broken = &taken;
    c->ready = !broken;
    c->planned = c->ready || (at.word && entry_planned(r));
    if (broken)
        c->why = *broken;
    if (at.word && strcmp(r->kind->group, FLOWS) != 0) /* those know by themselves */
        entry_set_planned(r, c->planned);
    if (!c->planned)
        return c;
    struct plan_channel *channel =
        grow(p, &p->plan->channels, p->plan->channel_count, &p->channel_cap, sizeof *channel);
    if (!channel)
        return NULL;
    c->index = p->plan->channel_count++;
    channel->bus = bus;
    channel->held = !c->ready;
    channel->why = c->ready ? NULL : not_ready(p, r, &c->why);
    channel_fill(p, c, channel, form);
    c->url = channel->url;
    if (at.name)
        plan_channel_param(p, c, at.word, at.name);
    if (at.name && at.external)
        plan_channel_param(p, c, plan_text(p, "%s.external", at.word), "true");
    plan_channel_annotations(p, c, r);
    return c;
}

static struct plan_unready *unready_add(struct planner *p, const struct resource *r, const char *path,
                                        const struct why *why)
{
    struct plan_unready *u =
        grow(p, &p->plan->unready, p->plan->unready_count, &p->unready_cap, sizeof *p->plan->unready);
    if (!u)
        return NULL;
    p->plan->unready_count++;
    u->path = path;
    u->why = not_ready(p, r, why);
    return u;
}

void plan_unready(struct planner *p)
{
    map_each(e, tmp, &p->channels) {
        const struct channel_plan *c = e->value;
        const struct channel_form *form = &c->form;
        const struct resource *r = c->resource;
        struct plan_unready *u = c->planned || form->takes_nothing
                                     ? NULL
                                     : unready_add(p, r, path_text(p, r, form->room, &form->part), &c->why);
        if (!u)
            continue;
        u->alias = form->broker ? plan_text(p, "/%s/%s", r->namespace_name, r->name) : NULL;
        u->hosts = host_names(p, c);
    }
}

void plan_source_unready(struct planner *p, const struct resource *r, const struct why *why)
{
    struct plan_unready *u = unready_add(p, r, path_text(p, r, "hooks", NULL), why);
    if (u)
        u->source = true;
}

void plan_channel_param(struct planner *p, struct channel_plan *c, const char *name, const char *value)
{
    struct plan_channel *channel = &p->plan->channels[c->index];
    param_add(p, &channel->params, &channel->param_count, name, value);
}

void plan_parked_param(struct planner *p, struct channel_plan *c, const char *name, const char *value)
{
    struct plan_channel *channel = &p->plan->channels[c->index];
    param_add(p, &channel->parked_params, &channel->parked_param_count, name, value);
}

void plan_channel_param_default(struct planner *p, struct channel_plan *c, const char *name, const char *value)
{
    const struct plan_channel *channel = &p->plan->channels[c->index];
    if (!cluster_param_value(channel->params, channel->param_count, name))
        plan_channel_param(p, c, name, value);
}

/* ---- subscriptions and sources ---- */

static const char *cursor_base(struct planner *p, const struct resource *r)
{
    const char *name = entry_cursor(p->table, r);
    p->nomem = p->nomem || !name;
    return name ? name : "";
}

/* The one before is as a rule of the same. */
static const char *namespace_copy(struct planner *p, const char *name)
{
    if (!p->namespace_name || strcmp(p->namespace_name, name) != 0)
        p->namespace_name = plan_copy(p, name);
    return p->namespace_name;
}

void plan_delivery(struct planner *p, struct plan_subscription *s, const struct delivery *d)
{
    static const struct delivery none;        /* without memory, until the planner gives up */
    for (size_t i = 0; i < PLAN_TERMS; i++) { /* what compares unequal by its padding alone costs its own place */
        if (p->terms[i] && memcmp(p->terms[i], d, sizeof *d) == 0) {
            s->delivery = p->terms[i];
            return;
        }
    }
    struct delivery *own = arena_alloc(p->arena, sizeof *own);
    s->delivery = own ? own : &none;
    p->nomem = p->nomem || !own;
    if (!own)
        return;
    memcpy(own, d, sizeof *own);
    p->terms[p->terms_next++ % PLAN_TERMS] = own;
}

void plan_delivery_read(struct planner *p, struct plan_subscription *s, const cJSON *delivery)
{
    struct delivery terms;
    delivery_read(delivery, &terms);
    plan_delivery(p, s, &terms);
}

struct plan_subscription *plan_subscription_add(struct planner *p, const struct resource *r,
                                                const struct plan_part *part, const struct channel_plan *channel)
{
    struct plan_subscription *s =
        grow(p, &p->plan->subscriptions, p->plan->subscription_count, &p->subscription_cap, sizeof *s);
    if (!s)
        return NULL;
    p->plan->subscription_count++;
    const char *cursor = cursor_base(p, r);
    s->uid = part_text(p, plan_text(p, "%s", r->uid), part, '-');
    s->cursor = strcmp(cursor, r->uid) == 0 ? s->uid : part_text(p, plan_text(p, "%s", cursor), part, '-');
    s->namespace_name = namespace_copy(p, r->namespace_name);
    s->name = plan_copy(p, part && part->name ? part->name : r->name);
    s->key = part_text(p, plan_key(p, r), part, '/');
    s->channel = channel->index;
    s->parked_bus = p->plan->channels[channel->index].bus;
    plan_delivery_read(p, s, NULL);
    if (plan_bus_is(p, p->plan->channels[channel->index].bus, "kafka"))
        plan_subscription_param(p, s, "group", plan_kafka_group_name(p, r, channel, s));
    if (plan_bus_is(p, p->plan->channels[channel->index].bus, "rabbitmq") && !channel->is_queue)
        plan_subscription_param(p, s, "queue", plan_rabbitmq_queue_name(p, r, channel, s));
    if (plan_bus_is(p, p->plan->channels[channel->index].bus, "pubsub"))
        plan_subscription_param(p, s, "subscription", plan_pubsub_subscription_name(p, r, channel, s));
    return s;
}

struct plan_subscription *plan_subscription_keep(struct planner *p, const struct resource *r,
                                                 const struct channel_plan *channel, bool good)
{
    bool there = channel && channel->planned && (good || entry_planned(r));
    struct plan_subscription *s = there ? plan_subscription_add(p, r, NULL, channel) : NULL;
    if (s)
        s->paused = !good;
    entry_set_planned(r, s != NULL);
    return s;
}

void plan_subscription_param(struct planner *p, struct plan_subscription *s, const char *name, const char *value)
{
    for (size_t i = 0; i < s->param_count; i++)
        if (strcmp(s->params[i].name, name) == 0)
            return;
    param_add(p, &s->params, &s->param_count, name, value);
}

struct plan_source *plan_source_add(struct planner *p, const struct resource *r, const char *type,
                                    struct plan_target sink)
{
    struct plan_source *s = grow(p, &p->plan->sources, p->plan->source_count, &p->source_cap, sizeof *s);
    if (!s)
        return NULL;
    p->plan->source_count++;
    s->uid = plan_copy(p, r->uid);
    s->key = plan_key(p, r);
    s->spec.type = type;
    s->spec.namespace_name = plan_copy(p, r->namespace_name);
    s->spec.name = plan_copy(p, r->name);
    s->sink = sink;
    s->kind = r->kind;
    const struct source_ops *ops = source_find(type);
    s->path = ops && !ops->http_head ? NULL : path_take(p, r, "hooks", NULL, p);
    return s;
}

void plan_source_param(struct planner *p, struct plan_source *s, const char *name, const char *value)
{
    struct source_param *list = arena_alloc(p->arena, (s->spec.param_count + 1) * sizeof *list);
    if (!list) {
        p->nomem = true;
        return;
    }
    if (s->spec.param_count)
        memcpy(list, s->spec.params, s->spec.param_count * sizeof *list);
    list[s->spec.param_count++] = (struct source_param){plan_copy(p, name), plan_copy(p, value)};
    s->spec.params = list;
}
