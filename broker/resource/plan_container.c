/* SPDX-License-Identifier: Apache-2.0
 *
 * ContainerSource of sources.knative.dev where there are no containers: each one of its template that names a command
 * is a source of the type "process", with the variables and the folder that it names. Its image is not looked at.
 *
 * Who may write a manifest could run any program then, so it has to be allowed (plan_may_run).
 */
#include "planner.h"

#define GROUP "sources.knative.dev"
#define CONTAINERS_MAX 16 /* of one template; a Pod has a few */

bool plan_may_run(struct planner *p, const struct resource *r, struct why *why)
{
    enum plan_commands allowed = p->options->commands;
    if (allowed == PLAN_COMMANDS_ALL || (allowed == PLAN_COMMANDS_FILES && r->origin))
        return true;
    if (allowed == PLAN_COMMANDS_FILES)
        *why = why_of(p, "CommandsNotAllowed",
                      "it was made over the API, and `leat serve --allow-commands files` runs the commands of its own "
                      "manifests alone; put it into one of those (-f)");
    else
        *why = why_of(p, "CommandsNotAllowed",
                      "`leat serve` runs no commands of manifests unless it is started with --allow-commands files "
                      "(those of its own, -f) or --allow-commands all");
    return false;
}

/* A list of texts, or nothing at all. */
static bool is_list(const cJSON *list)
{
    const cJSON *each;
    if (list && !cJSON_IsArray(list))
        return false;
    cJSON_ArrayForEach(each, list) {
        if (!cJSON_IsString(each))
            return false;
    }
    return true;
}

static const char *field_of(const struct resource *r, const cJSON *from)
{
    const char *path = json_text(json_object(from, "fieldRef"), "fieldPath");
    if (!path)
        return NULL;
    return strcmp(path, "metadata.name") == 0        ? r->name
           : strcmp(path, "metadata.namespace") == 0 ? r->namespace_name
                                                     : NULL;
}

static bool is_optional(const cJSON *from)
{
    const cJSON *ref = json_object(from, "secretKeyRef");
    ref = ref ? ref : json_object(from, "configMapKeyRef");
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(ref, "optional"));
}

static bool put_variables(struct planner *p, struct plan_source *s, const struct resource *r, const cJSON *container,
                          struct why *why)
{
    const cJSON *each, *env = cJSON_GetObjectItemCaseSensitive(container, "env");
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(container, "envFrom")) > 0) {
        *why = why_of(p, "InvalidParameters", "envFrom is not read; name each variable under env");
        return false;
    }
    cJSON_ArrayForEach(each, env) {
        const cJSON *from = json_object(each, "valueFrom");
        const char *name = json_text(each, "name"), *value = json_text(each, "value");
        if (!name || !*name || strchr(name, '=')) {
            *why = why_of(p, "InvalidParameters", "a variable under env has no name, or one with = in it");
            return false;
        }
        if (!value && from)
            value = field_of(r, from);
        struct why missing = {0};
        if (!value && from)
            value = plan_value_from(p, r->namespace_name, from, &missing);
        if (!value && from && is_optional(from))
            continue;
        if (!value && from) {
            *why = why_of(p, missing.reason, "variable %s: %s", name, missing.message);
            return false;
        }
        plan_source_param(p, s, "env", plan_text(p, "%s=%s", name, value ? value : ""));
    }
    return true;
}

static void put_words(struct planner *p, struct plan_source *s, const cJSON *list)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, list)
        plan_source_param(p, s, "command", each->valuestring);
}

/* One container as a source, the plan's last; false with *why. */
static bool add_container(struct planner *p, const struct resource *r, const cJSON *container, unsigned index,
                          struct plan_target sink, struct why *why)
{
    const cJSON *command = cJSON_GetObjectItemCaseSensitive(container, "command"),
                *args = cJSON_GetObjectItemCaseSensitive(container, "args");
    const char *name = json_text(container, "name"), *folder = json_text(container, "workingDir");
    name = name ? name : plan_text(p, "%s-%u", r->name, index);
    if (!is_list(command) || !is_list(args)) {
        *why = why_of(p, "InvalidParameters", "container %s: command and args must be lists of texts", name);
        return false;
    }
    struct plan_source *s = plan_source_add(p, r, "process", sink);
    if (!s)
        return false; /* no memory */
    if (index > 0) {
        s->key = plan_text(p, "%s/containers/%u", s->key, index);
        s->label = plan_text(p, "%s/%s", r->name, name);
    }
    plan_source_param(p, s, "container", name);
    put_words(p, s, command);
    put_words(p, s, args);
    if (folder)
        plan_source_param(p, s, "workingDir", folder);
    if (p->options->ca_certs)
        plan_source_param(p, s, "caCerts", p->options->ca_certs);
    plan_source_overrides(p, s, json_object(r->object, "spec"));
    if (put_variables(p, s, r, container, why))
        return source_accepts(p, s, why);
    p->plan->source_count--;
    return false;
}

/* All containers, or none: a Pod is not started in part. */
static bool add_containers(struct planner *p, const struct resource *r, struct plan_target sink, struct why *why)
{
    const cJSON *pod = json_object(json_object(json_object(r->object, "spec"), "template"), "spec"), *each,
                *list = cJSON_GetObjectItemCaseSensitive(pod, "containers");
    size_t before = p->plan->source_count;
    unsigned index = 0;
    bool good = true;
    if (cJSON_GetArraySize(list) > CONTAINERS_MAX) {
        *why = why_of(p, "InvalidParameters", "it has more than %d containers", CONTAINERS_MAX);
        return false;
    }
    cJSON_ArrayForEach(each, list) {
        good = good && add_container(p, r, each, index, sink, why);
        index++;
    }
    if (!good)
        p->plan->source_count = before;
    return good;
}

/* Whether every container says what to run; an image alone does not. */
static bool has_commands(const struct resource *r)
{
    const cJSON *pod = json_object(json_object(json_object(r->object, "spec"), "template"), "spec"), *each,
                *list = cJSON_GetObjectItemCaseSensitive(pod, "containers");
    bool good = cJSON_GetArraySize(list) > 0 &&
                cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(pod, "initContainers")) == 0;
    cJSON_ArrayForEach(each, list)
        good = good && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(each, "command")) > 0;
    return good;
}

static bool run(struct planner *p, const struct resource *r, bool sink_ok, struct plan_target sink, struct why *why)
{
    if (!has_commands(r)) {
        *why = why_of(p, "NoContainers",
                      "leat runs no images, only commands of this machine: name one in each container (command), "
                      "without initContainers; or keep it running by `leat source process --sink %s --namespace %s "
                      "--name %s -- COMMAND`",
                      sink_ok ? sink.url : "URL", r->namespace_name, r->name);
        return false;
    }
    if (!plan_may_run(p, r, why))
        return false;
    *why = (struct why){"SinkNotResolved", "it runs when it has a sink"};
    return sink_ok && add_containers(p, r, sink, why);
}

static void one(struct planner *p, const struct resource *r)
{
    struct plan_target sink = {.kind = PLAN_TARGET_NONE};
    struct why sink_why = {0}, why = {0};
    cJSON *status = cJSON_CreateObject();
    bool sink_ok = resolve_destination(p, r->namespace_name, json_object(json_object(r->object, "spec"), "sink"), &sink,
                                       &sink_why);
    bool runs = run(p, r, sink_ok, sink, &why);
    put_condition(p, status, "SinkBindingReady", sink_ok, sink_ok ? NULL : &sink_why);
    put_condition(p, status, "ReceiveAdapterReady", runs, runs ? NULL : &why);
    if (sink_ok)
        put_text(p, status, "sinkUri", sink.url);
    put_status(p, r, status);
}

void plan_container_sources(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "ContainerSource", &cursor));)
        one(p, r);
}
