/* SPDX-License-Identifier: Apache-2.0
 *
 * What leads where, read out of objects: one walk for each form that a kind's spec has. What is referred to and not
 * there gets a node of its own, which says so.
 */
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"

#define MESSAGING "messaging.knative.dev"
#define OF_2018 "channels.knative.dev"

struct reader {
    struct graph *graph;
    const struct kind *kind;
    const cJSON *spec;
    const char *space;
    size_t self;
};

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const char *text_of(const cJSON *o, const char *name)
{
    return cJSON_GetStringValue(member(o, name));
}

/* ---- nodes and edges ---- */

size_t graph_node(struct graph *g, const char *group, const char *kind, const char *space, const char *name)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const struct graph_node *n = &g->nodes[i];
        if (strcmp(n->kind, kind) == 0 && strcmp(n->name, name) == 0 && strcmp(n->space, space) == 0 &&
            strcmp(n->group, group) == 0)
            return i;
    }
    if (!array_reserve(&g->nodes, &g->node_cap, g->node_count + 1, sizeof *g->nodes)) {
        g->nomem = true;
        return GRAPH_NONE;
    }
    struct graph_node *n = &g->nodes[g->node_count];
    *n =
        (struct graph_node){.group = strdup(group), .kind = strdup(kind), .space = strdup(space), .name = strdup(name)};
    g->nomem = g->nomem || !n->group || !n->kind || !n->space || !n->name;
    return g->nomem ? (free(n->group), free(n->kind), free(n->space), free(n->name), GRAPH_NONE) : g->node_count++;
}

static void edge(struct graph *g, size_t from, size_t to, enum graph_edge_type type, const char *label)
{
    if (from == GRAPH_NONE || to == GRAPH_NONE)
        return;
    char *copy = label && *label ? strdup(label) : NULL;
    if ((label && *label && !copy) || !array_reserve(&g->edges, &g->edge_cap, g->edge_count + 1, sizeof *g->edges)) {
        free(copy);
        g->nomem = true;
        return;
    }
    g->edges[g->edge_count++] = (struct graph_edge){from, to, type, copy};
}

void graph_fini(struct graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        free(g->nodes[i].group);
        free(g->nodes[i].kind);
        free(g->nodes[i].space);
        free(g->nodes[i].name);
    }
    for (size_t i = 0; i < g->edge_count; i++)
        free(g->edges[i].label);
    free(g->nodes);
    free(g->edges);
    *g = (struct graph){0};
}

/* ---- references ---- */

static void group_of(const char *api_version, char *out, size_t size)
{
    const char *slash = strchr(api_version, '/');
    snprintf(out, size, "%.*s", slash ? (int)(slash - api_version) : 0, api_version);
}

static size_t referred(struct reader *r, const cJSON *ref)
{
    char group[256];
    const char *kind = text_of(ref, "kind"), *name = text_of(ref, "name"), *version = text_of(ref, "apiVersion"),
               *space = text_of(ref, "namespace");
    if (!kind || !name)
        return GRAPH_NONE;
    group_of(version ? version : "", group, sizeof group);
    return graph_node(r->graph, group, kind, space ? space : r->space, name);
}

/* Where a Destination leads; GRAPH_NONE: nowhere. */
static size_t destination(struct reader *r, const cJSON *d)
{
    const cJSON *ref = member(d, "ref");
    const char *uri = text_of(d, "uri");
    if (ref)
        return referred(r, ref);
    return uri ? graph_node(r->graph, "", GRAPH_URL, "", uri) : GRAPH_NONE;
}

static void leads(struct reader *r, size_t from, const cJSON *d, enum graph_edge_type type, const char *label)
{
    edge(r->graph, from, destination(r, d), type, label);
}

static void dead_letters(struct reader *r, size_t from, const cJSON *of)
{
    leads(r, from, member(member(of, "delivery"), "deadLetterSink"), GRAPH_DEAD_LETTERS, NULL);
}

/* ---- filters ---- */

/* "type=a.b, source=/x" of attributes, the dialects' own JSON of filters. NULL: all pass, or no memory. */
static char *filter_text(const cJSON *spec)
{
    const cJSON *each, *attributes = member(member(spec, "filter"), "attributes"), *filters = member(spec, "filters");
    struct buf out;
    if (cJSON_IsArray(filters) && filters->child)
        return cJSON_PrintUnformatted(cJSON_GetArraySize(filters) == 1 ? filters->child : filters);
    if (!cJSON_IsObject(attributes) || !attributes->child)
        return NULL;
    buf_init(&out, 1u << 20);
    cJSON_ArrayForEach(each, attributes)
        buf_printf(&out, "%s%s=%s", out.len ? ", " : "", each->string, cJSON_GetStringValue(each));
    char *text = buf_take_string(&out);
    buf_fini(&out);
    return text;
}

/* ---- the forms of specs ---- */

static void read_subscription(struct reader *r)
{
    edge(r->graph, referred(r, member(r->spec, "channel")), r->self, GRAPH_EVENTS, NULL);
    leads(r, r->self, member(r->spec, "subscriber"), GRAPH_EVENTS, NULL);
    leads(r, r->self, member(r->spec, "reply"), GRAPH_REPLIES, NULL);
    dead_letters(r, r->self, r->spec);
}

static void read_trigger(struct reader *r)
{
    const char *name = text_of(r->spec, "broker");
    size_t broker = name ? graph_node(r->graph, "eventing.knative.dev", "Broker", r->space, name)
                         : referred(r, member(r->spec, "brokerRef"));
    char *filter = filter_text(r->spec);
    edge(r->graph, broker, r->self, GRAPH_EVENTS, filter);
    free(filter);
    leads(r, r->self, member(r->spec, "subscriber"), GRAPH_EVENTS, NULL);
    edge(r->graph, r->self, broker, GRAPH_REPLIES, NULL);
    dead_letters(r, r->self, r->spec);
}

static void read_sequence(struct reader *r)
{
    const cJSON *step;
    char label[32];
    size_t i = 0;
    cJSON_ArrayForEach(step, member(r->spec, "steps")) {
        snprintf(label, sizeof label, "step %zu", ++i);
        leads(r, r->self, step, GRAPH_EVENTS, label);
        dead_letters(r, r->self, step);
    }
    leads(r, r->self, member(r->spec, "reply"), GRAPH_REPLIES, NULL);
}

static void read_parallel(struct reader *r)
{
    const cJSON *branch;
    char label[32];
    size_t i = 0;
    cJSON_ArrayForEach(branch, member(r->spec, "branches")) {
        snprintf(label, sizeof label, "filter %zu", ++i);
        leads(r, r->self, member(branch, "filter"), GRAPH_EVENTS, label);
        snprintf(label, sizeof label, "branch %zu", i);
        leads(r, r->self, member(branch, "subscriber"), GRAPH_EVENTS, label);
        leads(r, r->self, member(branch, "reply"), GRAPH_REPLIES, label);
        dead_letters(r, r->self, branch);
    }
    leads(r, r->self, member(r->spec, "reply"), GRAPH_REPLIES, NULL);
}

/* ---- 2018 ---- */

static bool is_url(const char *text)
{
    return strchr(text, '.') || strchr(text, ':') || strchr(text, '/');
}

/* A DNS name or URL, or the name of a Channel. */
static void leads_2018(struct reader *r, const char *where, enum graph_edge_type type)
{
    if (where)
        edge(r->graph, r->self,
             is_url(where) ? graph_node(r->graph, "", GRAPH_URL, "", where)
                           : graph_node(r->graph, OF_2018, "Channel", r->space, where),
             type, NULL);
}

static void read_subscription_2018(struct reader *r)
{
    const char *channel = text_of(r->spec, "channel"), *subscriber = text_of(r->spec, "subscriber");
    if (channel)
        edge(r->graph, graph_node(r->graph, OF_2018, "Channel", r->space, channel), r->self, GRAPH_EVENTS, NULL);
    if (subscriber) /* a DNS name may be one word */
        edge(r->graph, r->self, graph_node(r->graph, "", GRAPH_URL, "", subscriber), GRAPH_EVENTS, NULL);
    leads_2018(r, text_of(r->spec, "replyTo"), GRAPH_REPLIES);
}

static void read_feed_or_flow(struct reader *r)
{
    const cJSON *action = member(r->spec, "action"), *trigger = member(r->spec, "trigger");
    const char *dns = text_of(action, "dnsName"), *uri = text_of(action, "targetURI"),
               *channel = text_of(action, "channelName"), *route = text_of(action, "routeName");
    const char *type =
        text_of(trigger, "eventType") ? text_of(trigger, "eventType") : text_of(trigger, "clusterEventType");
    size_t to = referred(r, member(action, "target"));
    if (channel)
        to = graph_node(r->graph, OF_2018, "Channel", r->space, channel);
    else if (route)
        to = graph_node(r->graph, "serving.knative.dev", "Route", r->space, route);
    else if (dns || uri)
        to = graph_node(r->graph, "", GRAPH_URL, "", uri ? uri : dns);
    edge(r->graph, r->self, to, GRAPH_EVENTS, type);
}

/* ---- all of them ---- */

static void read_others(struct reader *r)
{
    leads(r, r->self, member(r->spec, "sink"), GRAPH_EVENTS, NULL);
    dead_letters(r, r->self, r->spec);
}

static const struct {
    const char *group, *kind;
    void (*read)(struct reader *r);
} forms[] = {
    {MESSAGING, "Subscription", read_subscription},    {"eventing.knative.dev", "Trigger", read_trigger},
    {"flows.knative.dev", "Sequence", read_sequence},  {"flows.knative.dev", "Parallel", read_parallel},
    {OF_2018, "Subscription", read_subscription_2018}, {"feeds.knative.dev", "Feed", read_feed_or_flow},
    {"flows.knative.dev", "Flow", read_feed_or_flow},
};

/* What describes buses and types is no part of the way of an event. */
bool graph_kind(const struct kind *k)
{
    static const char *const others[] = {
        "EventType",       "Bus", "ClusterBus", "RabbitmqBrokerConfig", "EventSource", "ClusterEventSource",
        "ClusterEventType"};
    if (k->group[0] == '\0' || k->stored != k || strcmp(k->group, "serving.knative.dev") == 0)
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(k->kind, others[i]) == 0)
            return false;
    return true;
}

static const char *ready_of(const cJSON *object)
{
    const char *status = condition_of(object, "Ready");
    return !status ? NULL : strcmp(status, "True") == 0 ? "True" : strcmp(status, "False") == 0 ? "False" : "Unknown";
}

bool graph_read(struct graph *g, const struct kind *k, const cJSON *object)
{
    const cJSON *metadata = member(object, "metadata");
    const char *name = text_of(metadata, "name"), *space = text_of(metadata, "namespace");
    struct reader r = {.graph = g, .kind = k, .spec = member(object, "spec"), .space = space ? space : ""};
    r.self = name ? graph_node(g, k->group, k->kind, r.space, name) : GRAPH_NONE;
    if (r.self == GRAPH_NONE)
        return !g->nomem;
    g->nodes[r.self].there = true;
    g->nodes[r.self].ready = ready_of(object);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(forms[i].kind, k->kind) == 0 && strcmp(forms[i].group, k->group) == 0) {
            forms[i].read(&r);
            return !g->nomem;
        }
    read_others(&r);
    return !g->nomem;
}
