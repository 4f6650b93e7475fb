/* SPDX-License-Identifier: Apache-2.0
 *
 * SinkBinding and ContainerSource of sources.knative.dev: kept, their sink resolved, and not run. They act on
 * workloads, which are a cluster's; a condition says what does the same for a command.
 */
#include "planner.h"

#define GROUP "sources.knative.dev"

/* The sink as `leat run --sink` takes it: "Channel/beats -n shop", or a URL. */
static const char *sink_words(struct planner *p, const struct resource *r, const struct plan_target *sink)
{
    const cJSON *destination = json_object(json_object(r->object, "spec"), "sink"),
                *ref = json_object(destination, "ref");
    const char *kind = json_text(ref, "kind"), *name = json_text(ref, "name"), *ns = json_text(ref, "namespace");
    if (kind && name && !json_text(destination, "uri"))
        return plan_text(p, "%s/%s -n %s", kind, name, ns ? ns : r->namespace_name);
    return sink->url;
}

static void put_sink(struct planner *p, cJSON *status, const struct resource *r, const char *condition,
                     struct plan_target *sink, bool *good)
{
    struct why why = {0};
    *sink = (struct plan_target){.kind = PLAN_TARGET_NONE};
    *good = resolve_destination(p, r->namespace_name, json_object(json_object(r->object, "spec"), "sink"), sink, &why);
    put_condition(p, status, condition, *good, *good ? NULL : &why);
    if (*good)
        put_text(p, status, "sinkUri", sink->url);
}

static void binding(struct planner *p, const struct resource *r)
{
    static const struct why no_identity = {"OIDCDisabled", NULL};
    struct plan_target sink;
    bool good;
    cJSON *status = cJSON_CreateObject();
    put_sink(p, status, r, "SinkProvided", &sink, &good);
    const struct why why =
        why_of(p, "NoWorkloads",
               "leat changes no workload; start the subject by `leat run --sink %s -- COMMAND`, which sets K_SINK",
               good ? sink_words(p, r, &sink) : "URL");
    put_condition(p, status, "SinkBindingAvailable", false, &why);
    put_condition(p, status, "OIDCIdentityCreated", true, &no_identity);
    put_status(p, r, status);
}

static void container(struct planner *p, const struct resource *r)
{
    struct plan_target sink;
    bool good;
    cJSON *status = cJSON_CreateObject();
    put_sink(p, status, r, "SinkBindingReady", &sink, &good);
    const struct why why = why_of(p, "NoContainers",
                                  "leat runs no container; keep its command running by `leat source process --sink %s "
                                  "--namespace %s --name %s -- COMMAND`",
                                  good ? sink.url : "URL", r->namespace_name, r->name);
    put_condition(p, status, "ReceiveAdapterReady", false, &why);
    put_status(p, r, status);
}

void plan_sink_bindings(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "SinkBinding", &cursor));)
        binding(p, r);
    cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "ContainerSource", &cursor));)
        container(p, r);
}
