/* SPDX-License-Identifier: Apache-2.0
 *
 * ApiServerSource of sources.knative.dev, and what k8sevents was in 2018: sources of the type "kubernetes". How the
 * cluster is reached is the process's own affair ($KUBECONFIG, or its pod's service account): spec.serviceAccountName
 * is kept and means nothing here.
 */
#include "data_dir.h"
#include "filters.h"
#include "planner.h"

#define GROUP "sources.knative.dev"

/* ---- label selectors, as a query has them ---- */

/* "a in (x,y)" and its kin; NULL with *why. */
static const char *expression(struct planner *p, const cJSON *e, struct why *why)
{
    const char *key = json_text(e, "key"), *operator= json_text(e, "operator"), *values = "";
    const cJSON *each;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(e, "values"))
        values = plan_text(p, "%s%s%s", values, *values ? "," : "", cJSON_IsString(each) ? each->valuestring : "");
    if (key && operator&& strcmp(operator, "In") == 0 && *values)
        return plan_text(p, "%s in (%s)", key, values);
    if (key && operator&& strcmp(operator, "NotIn") == 0 && *values)
        return plan_text(p, "%s notin (%s)", key, values);
    if (key && operator&& strcmp(operator, "Exists") == 0)
        return key;
    if (key && operator&& strcmp(operator, "DoesNotExist") == 0)
        return plan_text(p, "!%s", key);
    *why =
        why_of(p, "InvalidSelector",
               "a matchExpression needs a key, an operator (In, NotIn, Exists, DoesNotExist) and, for the first two, "
               "values");
    return NULL;
}

/* {matchLabels, matchExpressions}; "" for none. NULL with *why. */
static const char *selector_text(struct planner *p, const cJSON *selector, struct why *why)
{
    const char *text = "";
    const cJSON *each;
    cJSON_ArrayForEach(each, json_object(selector, "matchLabels"))
        text = plan_text(p, "%s%s%s=%s", text, *text ? "," : "", each->string,
                         cJSON_IsString(each) ? each->valuestring : "");
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(selector, "matchExpressions")) {
        const char *one = expression(p, each, why);
        if (!one)
            return NULL;
        text = plan_text(p, "%s%s%s", text, *text ? "," : "", one);
    }
    if (strpbrk(text, ";")) {
        *why = why_of(p, "InvalidSelector", "a label holds a semicolon, which no label may");
        return NULL;
    }
    return text;
}

/* ---- the source ---- */

static const char *resource_list(struct planner *p, const cJSON *spec, struct why *why)
{
    const char *list = "";
    const cJSON *each;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(spec, "resources")) {
        const char *selector = selector_text(p, json_object(each, "selector"), why);
        if (!selector)
            return NULL;
        list = plan_text(p, "%s%s%s/%s%s%s", list, *list ? ";" : "", json_text(each, "apiVersion"),
                         json_text(each, "kind"), *selector ? ":" : "", selector);
    }
    return list;
}

/* Over a restart the source goes on where it was; without a data directory, from what is there then. */
static void put_state(struct planner *p, struct plan_source *s, const struct resource *r)
{
    if (p->options->data_dir)
        plan_source_param(p, s, "state", plan_text(p, "%s/" DATA_DIR_KUBERNETES "/%s", p->options->data_dir, r->uid));
}

static bool put_filter(struct planner *p, struct plan_source *s, const cJSON *spec, struct why *why)
{
    struct problems problems;
    struct check c = {.problems = &problems};
    const cJSON *filters = cJSON_GetObjectItemCaseSensitive(spec, "filters");
    problems_init(&problems);
    enum err e = cJSON_GetArraySize(filters) > 0 ? filter_read(&c, filters, &s->spec.filter) : OK;
    bool good = e == OK && problems.errors == 0 && !c.nomem;
    p->nomem = p->nomem || e == ERR_NOMEM || c.nomem;
    problems_fini(&problems);
    if (!good)
        *why = why_of(p, "FilterInvalid", "a filter does not compile; leat validate says where");
    return good;
}

static bool put_params(struct planner *p, struct plan_source *s, const struct resource *r, const cJSON *spec,
                       struct why *why)
{
    const cJSON *spaces = json_object(spec, "namespaceSelector"), *owner = json_object(spec, "owner");
    const char *resources = resource_list(p, spec, why), *selector = "", *mode = json_text(spec, "mode");
    if (spaces)
        selector = selector_text(p, spaces, why);
    if (!resources || !selector)
        return false;
    plan_source_param(p, s, "resources", resources);
    plan_source_param(p, s, "mode", mode ? mode : "Reference");
    if (spaces && !*selector)
        plan_source_param(p, s, "namespaces", "*"); /* an empty selector finds all */
    else if (spaces)
        plan_source_param(p, s, "namespaceSelector", selector);
    if (owner)
        plan_source_param(p, s, "owner",
                          plan_text(p, "%s/%s", json_text(owner, "apiVersion"), json_text(owner, "kind")));
    put_state(p, s, r);
    plan_source_overrides(p, s, spec);
    return put_filter(p, s, spec, why);
}

/* It is not in the plan after all. */
static void take_out(struct planner *p, struct plan_source *s)
{
    s->spec.filter = filter_unref(s->spec.filter);
    p->plan->source_count--; /* the last one */
}

static void put_attributes(struct planner *p, cJSON *status, const cJSON *spec)
{
    static const char *const verbs[] = {"add", "update", "delete"};
    const char *mode = json_text(spec, "mode");
    cJSON *list = put_array(p, status, "ceAttributes");
    for (size_t i = 0; i < 3; i++)
        put_text(p, put_element(p, list), "type",
                 plan_text(p, "dev.knative.apiserver.%s.%s", mode && strcmp(mode, "Resource") == 0 ? "resource" : "ref",
                           verbs[i]));
}

static void one(struct planner *p, const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec");
    struct plan_target sink;
    struct why sink_why = {0}, why = {"SinkNotResolved", "it runs when it has a sink"};
    cJSON *status = cJSON_CreateObject();
    bool sink_ok = resolve_destination(p, r->namespace_name, json_object(spec, "sink"), &sink, &sink_why),
         accepted = false;
    size_t before = p->plan->source_count;
    struct plan_source *s = sink_ok ? plan_source_add(p, r, "kubernetes", sink) : NULL;
    if (s) {
        accepted = put_params(p, s, r, spec, &why) && source_accepts(p, s, &why);
        if (!accepted && p->plan->source_count > before)
            take_out(p, s);
        else if (!accepted)
            s->spec.filter = filter_unref(s->spec.filter);
    }
    put_condition(p, status, "SinkProvided", sink_ok, sink_ok ? NULL : &sink_why);
    put_condition(p, status, "Deployed", accepted, accepted ? NULL : &why);
    put_condition(p, status, "SufficientPermissions", accepted, accepted ? NULL : &why);
    put_identity(p, status);
    if (sink_ok)
        put_text(p, status, "sinkUri", sink.url);
    put_attributes(p, status, spec);
    put_status(p, r, status);
}

void plan_api_server_sources(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "ApiServerSource", &cursor));)
        one(p, r);
}

/* k8sevents: core/v1 Events of the namespace that the parameters name; any resource was taken, and none meant anything.
 */
void plan_kubernetes_2018(struct planner *p, struct plan_source *s, const struct resource *r, const cJSON *parameters)
{
    const char *space = json_text(parameters, "namespace");
    plan_source_param(p, s, "resources", "v1/Event");
    plan_source_param(p, s, "namespaces", space && *space ? space : r->namespace_name);
    plan_source_param(p, s, "mode", "2018");
    put_state(p, s, r);
}
