/* SPDX-License-Identifier: Apache-2.0
 *
 * SinkBinding of sources.knative.dev: kept, its sink resolved, and not in force. It acts on workloads, which are a
 * cluster's; a condition says what does the same for a command.
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

static void binding(struct planner *p, const struct resource *r)
{
    static const struct why no_tokens = {"OIDCDisabled", NULL}, no_bundles = {"NoTrustBundles", NULL};
    struct plan_target sink = {.kind = PLAN_TARGET_NONE};
    struct why sink_why = {0};
    cJSON *status = cJSON_CreateObject();
    bool good = resolve_destination(p, r->namespace_name, json_object(json_object(r->object, "spec"), "sink"), &sink,
                                    &sink_why);
    put_condition(p, status, "SinkProvided", good, good ? NULL : &sink_why);
    if (good)
        put_text(p, status, "sinkUri", sink.url);
    const struct why why =
        why_of(p, "NoWorkloads",
               "leat changes no workload; start the subject by `leat run --sink %s -- COMMAND`, which sets K_SINK",
               good ? sink_words(p, r, &sink) : "URL");
    put_condition(p, status, "SinkBindingAvailable", false, &why);
    put_identity(p, status);
    put_condition(p, status, "OIDCTokenSecretCreated", true, &no_tokens);
    put_condition(p, status, "TrustBundlePropagated", true, &no_bundles);
    put_status(p, r, status);
}

void plan_sink_bindings(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "SinkBinding", &cursor));)
        binding(p, r);
}
