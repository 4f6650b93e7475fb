/* SPDX-License-Identifier: Apache-2.0
 *
 * What a Bus or ClusterBus of 2018 is told: the environment of its containers, each variable a value, or a key of a
 * ConfigMap or Secret (as those of a ContainerSource are, too).
 */
#include "plan_2018.h"

/* ClusterBuses lie in no namespace: what they name lies in Knative's own, else in the first that has it. */
static const struct resource *find(struct planner *p, const char *kind, const char *ns, const char *name)
{
    size_t cursor = 0;
    const struct resource *r = plan_get(p, "", kind, *ns ? ns : "knative-eventing", name);
    if (r || *ns)
        return r;
    while ((r = plan_next(p, "", kind, &cursor)))
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

const char *plan_value_from(struct planner *p, const char *ns, const cJSON *from, struct why *why)
{
    const cJSON *config = json_object(from, "configMapKeyRef"), *secret = json_object(from, "secretKeyRef");
    const char *kind = config ? "ConfigMap" : "Secret", *name = json_text(config ? config : secret, "name"),
               *key = json_text(config ? config : secret, "key");
    const struct resource *r = name && key ? find(p, kind, ns, name) : NULL;
    if (r && secret)
        return secret_value(p, r->namespace_name, name, key, why);
    const char *text = r ? json_text(json_object(r->object, "data"), key) : NULL;
    if (!name || !key)
        *why = why_of(p, "VariableNotFound", "valueFrom names no key of a ConfigMap or Secret");
    else if (!r)
        *why = why_of(p, kind[0] == 'C' ? "ConfigMapNotFound" : "SecretNotFound", "%s %s is not declared", kind, name);
    else if (!text)
        *why = why_of(p, "VariableNotFound", "%s %s has no key %s", kind, name, key);
    return text;
}

const char *bus_2018_secret(struct planner *p, const struct resource *r, const char *name, const char *key,
                            struct why *why)
{
    const struct resource *secret = find(p, "Secret", r->namespace_name, name);
    if (secret)
        return secret_value(p, secret->namespace_name, name, key, why);
    *why = why_of(p, "SecretNotFound", "%s %s: Secret %s is not declared", r->kind->kind, r->name, name);
    return NULL;
}

/* The variable's value in this container's environment; NULL with *why when it is there and cannot be read. */
static const char *variable(struct planner *p, const struct resource *r, const char *container, const char *name,
                            struct why *why)
{
    const cJSON *each,
        *env = cJSON_GetObjectItemCaseSensitive(json_object(json_object(r->object, "spec"), container), "env");
    cJSON_ArrayForEach(each, env) {
        const char *n = json_text(each, "name"), *value = json_text(each, "value");
        if (n && strcmp(n, name) == 0)
            return value ? value : plan_value_from(p, r->namespace_name, json_object(each, "valueFrom"), why);
    }
    return NULL;
}

const char *bus_2018_variable(struct planner *p, const struct resource *r, const char *const *names, struct why *why)
{
    static const char *const containers[] = {"dispatcher", "provisioner"};
    *why = (struct why){0};
    for (size_t i = 0; i < 2; i++)
        for (const char *const *name = names; *name && !why->reason; name++) {
            const char *value = variable(p, r, containers[i], *name, why);
            if (value && *value)
                return value;
        }
    if (why->reason)
        *why = why_of(p, why->reason, "%s %s: %s", r->kind->kind, r->name, why->message);
    return NULL;
}
