/* SPDX-License-Identifier: Apache-2.0
 *
 * The condition DeliveryHealthy: what Ready does not tell. It belongs to what runs the plan, as reports of sources do,
 * and survives a new plan; by its severity (knative/specs, "Conditions") it is for people, and not for Ready.
 */
#include "check.h"
#include "table.h"

static bool delivers(const struct resource *r)
{
    static const char *const kinds[][2] = {
        {"messaging.knative.dev", "Subscription"},        {"eventing.knative.dev", "Trigger"},
        {"channels.knative.dev", "Subscription"},         {"sources.knative.dev", "KafkaSource"},
        {"sources.knative.dev", "RabbitmqSource"},        {"sources.knative.dev", "PingSource"},
        {"sources.knative.dev", "GitHubSource"},          {"sources.knative.dev", "ApiServerSource"},
        {"events.cloud.google.com", "CloudPubSubSource"}, {"sources.knative.dev", "ContainerSource"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i][1], r->kind->kind) == 0 && strcmp(kinds[i][0], r->kind->group) == 0)
            return true;
    return false;
}

static bool put(cJSON *status, const char *value, const char *reason, const char *message)
{
    if (!condition_put(status, CONDITION_HEALTHY, value, reason, message))
        return false;
    cJSON *c = condition_find(status, CONDITION_HEALTHY);
    return cJSON_AddStringToObject(c, "severity", "Info") != NULL;
}

bool health_put(const struct resource *r, cJSON *status, const cJSON *old)
{
    const cJSON *was = condition_find(old, CONDITION_HEALTHY);
    const char *value = json_text(was, "status");
    if (!delivers(r))
        return true;
    if (value && !r->quarantined)
        return put(status, value, json_text(was, "reason"), json_text(was, "message"));
    if (strcmp(r->kind->kind, "ContainerSource") == 0)
        return put(status, "Unknown", "SentByCommand",
                   "its command sends by itself, and what became of that it alone knows");
    return put(status, "Unknown", "NothingDelivered", "no delivery has been tried yet");
}

enum err resource_report_health(struct resource_table *t, const char *key, bool good, const char *reason,
                                const char *message)
{
    const struct resource *r = resource_by_key(t, key);
    size_t slashes = 0;
    for (const char *c = key; *c; c++)
        slashes += *c == '/';
    if (!r || slashes != 2 || !delivers(r))
        return OK;
    cJSON *old = NULL, *next = NULL;
    enum err err = ERR_NOMEM;
    if (resource_status(r, &old))
        next = old ? cJSON_Duplicate(old, true) : cJSON_CreateObject();
    if (next && put(next, good ? "True" : "False", reason, message) && condition_times_put(t, next, old))
        err = status_replace(t, entry_of(r), next, old);
    else
        cJSON_Delete(next);
    cJSON_Delete(old);
    return err;
}
