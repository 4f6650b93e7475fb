/* SPDX-License-Identifier: Apache-2.0
 *
 * PingSource of sources.knative.dev: a source of the type "ping".
 */
#include "planner.h"

#define GROUP "sources.knative.dev"

static void put_attributes(struct planner *p, cJSON *status, const struct resource *r)
{
    cJSON *entry = put_element(p, put_array(p, status, "ceAttributes"));
    put_text(p, entry, "type", "dev.knative.sources.ping");
    put_text(p, entry, "source", plan_text(p, "/apis/v1/namespaces/%s/pingsources/%s", r->namespace_name, r->name));
}

static void one(struct planner *p, const struct resource *r)
{
    static const char *const params[] = {"schedule", "timezone", "contentType", "data", "dataBase64"};
    const cJSON *spec = json_object(r->object, "spec");
    struct plan_target sink;
    struct why sink_why = {0}, why = {"SinkNotResolved", "it runs when it has a sink"};
    cJSON *status = cJSON_CreateObject();
    bool sink_ok = resolve_destination(p, r->namespace_name, json_object(spec, "sink"), &sink, &sink_why);
    struct plan_source *s = sink_ok ? plan_source_add(p, r, "ping", sink) : NULL;
    bool accepted = false;
    for (size_t i = 0; s && i < sizeof params / sizeof params[0]; i++)
        if (json_text(spec, params[i]))
            plan_source_param(p, s, params[i], json_text(spec, params[i]));
    if (s) {
        plan_source_overrides(p, s, spec);
        accepted = source_accepts(p, s, &why);
    }
    put_condition(p, status, "SinkProvided", sink_ok, sink_ok ? NULL : &sink_why);
    put_condition(p, status, "Deployed", accepted, accepted ? NULL : &why);
    put_identity(p, status);
    if (sink_ok)
        put_text(p, status, "sinkUri", sink.url);
    put_attributes(p, status, r);
    put_status(p, r, status);
}

void plan_ping_sources(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "PingSource", &cursor));)
        one(p, r);
}
