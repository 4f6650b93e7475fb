/* SPDX-License-Identifier: Apache-2.0
 *
 * GitHubSource of sources.knative.dev: secrets, sink and event types become the parameters of a source of the type
 * "github".
 */
#include "planner.h"

#define GROUP "sources.knative.dev"

/* "push,pull_request" */
static const char *event_list(struct planner *p, const cJSON *types)
{
    const char *list = "";
    const cJSON *each;
    cJSON_ArrayForEach(each, types)
        list = plan_text(p, "%s%s%s", list, *list ? "," : "", each->valuestring);
    return list;
}

static const char *secret_of(struct planner *p, const struct resource *r, const cJSON *spec, const char *field,
                             struct why *why)
{
    const cJSON *ref = json_object(json_object(spec, field), "secretKeyRef");
    const char *name = json_text(ref, "name"), *key = json_text(ref, "key"), *value = NULL;
    if (!name || !key) {
        *why = why_of(p, "SecretMissing", "%s names no Secret", field);
        return NULL;
    }
    value = secret_value(p, r->namespace_name, name, key, why);
    if (!value)
        *why = why_of(p, why->reason, "%s: %s", field, why->message);
    return value;
}

void plan_source_overrides(struct planner *p, struct plan_source *s, const cJSON *spec)
{
    const cJSON *extensions = json_object(json_object(spec, "ceOverrides"), "extensions"), *each;
    size_t count = (size_t)cJSON_GetArraySize(extensions);
    struct source_param *list = count ? arena_alloc(p->arena, count * sizeof *list) : NULL;
    p->nomem = p->nomem || (count && !list);
    if (!list)
        return;
    cJSON_ArrayForEach(each, extensions)
        list[s->spec.ce_override_count++] =
            (struct source_param){plan_copy(p, each->string), plan_copy(p, each->valuestring)};
    s->spec.ce_overrides = list;
}

/* What the source itself says of its parameters; false with *why. */
bool source_accepts(struct planner *p, struct plan_source *s, struct why *why)
{
    const struct source_ops *ops = source_find(s->spec.type);
    struct diag d = {0};
    enum err e = ops ? ops->check(&s->spec, &d) : OK;
    p->nomem = p->nomem || e == ERR_NOMEM;
    if (e == OK)
        return true;
    *why = why_of(p, "InvalidParameters", "%s", d.text);
    p->plan->source_count--; /* the last one */
    return false;
}

static void ce_attributes(struct planner *p, cJSON *status, const cJSON *spec)
{
    const cJSON *each;
    const char *repository = json_text(spec, "ownerAndRepository");
    cJSON *list = status ? cJSON_AddArrayToObject(status, "ceAttributes") : NULL;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(spec, "eventTypes")) {
        cJSON *entry = cJSON_CreateObject();
        put_text(p, entry, "type", plan_text(p, "dev.knative.source.github.%s", each->valuestring));
        put_text(p, entry, "source", plan_text(p, "https://github.com/%s", repository));
        if (!list || !cJSON_AddItemToArray(list, entry)) {
            cJSON_Delete(entry);
            p->nomem = true;
        }
    }
}

static void one(struct planner *p, const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec"), *secure = cJSON_GetObjectItemCaseSensitive(spec, "secure");
    const char *api = json_text(spec, "githubAPIURL"), *unsigned_ok = annotation(r->object, ANNOTATION_ALLOW_UNSIGNED);
    struct plan_target sink;
    struct why sink_why = {0}, secret_why = {0};
    cJSON *status = cJSON_CreateObject();
    bool sink_ok = resolve_destination(p, r->namespace_name, json_object(spec, "sink"), &sink, &sink_why);
    const char *access = secret_of(p, r, spec, "accessToken", &secret_why);
    const char *token = access ? secret_of(p, r, spec, "secretToken", &secret_why) : NULL;
    bool secrets_ok = token != NULL, accepted = false;
    struct plan_source *s = sink_ok && secrets_ok ? plan_source_add(p, r, "github", sink) : NULL;
    if (s) {
        plan_source_param(p, s, "ownerAndRepository", json_text(spec, "ownerAndRepository"));
        plan_source_param(p, s, "eventTypes", event_list(p, cJSON_GetObjectItemCaseSensitive(spec, "eventTypes")));
        plan_source_param(p, s, "accessToken", access);
        plan_source_param(p, s, "secretToken", token);
        if (api)
            plan_source_param(p, s, "githubAPIURL", api);
        if (cJSON_IsBool(secure))
            plan_source_param(p, s, "secure", cJSON_IsTrue(secure) ? "true" : "false");
        if (unsigned_ok)
            plan_source_param(p, s, "allowUnsigned", unsigned_ok);
        plan_source_param(p, s, "form", "today");
        plan_source_overrides(p, s, spec);
        accepted = source_accepts(p, s, &secret_why);
        secrets_ok = accepted;
    }
    if (!accepted)
        plan_source_unready(p, r, sink_ok ? &secret_why : &sink_why);
    put_condition(p, status, "SecretsProvided", secrets_ok, secrets_ok ? NULL : &secret_why);
    put_condition(p, status, "SinkProvided", sink_ok, sink_ok ? NULL : &sink_why);
    put_unknown(p, status, CONDITION_WEBHOOK, accepted ? "Pending" : "NotRunning",
                accepted ? "the webhook has not been looked for yet" : "the source does not run");
    if (sink_ok)
        put_text(p, status, "sinkUri", sink.url);
    ce_attributes(p, status, spec);
    put_status(p, r, status);
}

void plan_github_sources(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "GitHubSource", &cursor));)
        one(p, r);
}
