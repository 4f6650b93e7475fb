/* SPDX-License-Identifier: Apache-2.0
 *
 * Statuses under construction: the small hands of every planning file. What lacks memory is thrown away at the end.
 */
#include "planner.h"

void put_condition(struct planner *p, cJSON *status, const char *type, bool good, const struct why *why)
{
    if (!status ||
        !condition_put(status, type, good ? "True" : "False", why ? why->reason : NULL, why ? why->message : NULL))
        p->nomem = true;
}

void put_unknown(struct planner *p, cJSON *status, const char *type, const char *reason, const char *message)
{
    if (!status || !condition_put(status, type, "Unknown", reason, message))
        p->nomem = true;
}

void put_text(struct planner *p, cJSON *object, const char *name, const char *value)
{
    if (value && (!object || !cJSON_AddStringToObject(object, name, value)))
        p->nomem = true;
}

cJSON *put_object(struct planner *p, cJSON *object, const char *name)
{
    cJSON *o = object ? cJSON_AddObjectToObject(object, name) : NULL;
    p->nomem = p->nomem || !o;
    return o;
}

cJSON *put_array(struct planner *p, cJSON *object, const char *name)
{
    cJSON *a = object ? cJSON_AddArrayToObject(object, name) : NULL;
    p->nomem = p->nomem || !a;
    return a;
}

cJSON *put_element(struct planner *p, cJSON *list)
{
    cJSON *o = list ? cJSON_CreateObject() : NULL;
    if (!o || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        p->nomem = true;
        return NULL;
    }
    return o;
}

void put_address(struct planner *p, cJSON *status, const struct channel_plan *c)
{
    if (c->ready)
        put_text(p, put_object(p, status, "address"), "url", c->url);
}

void put_dead_letter(struct planner *p, cJSON *status, bool sink, bool resolved, const struct plan_target *to,
                     const struct why *why)
{
    static const struct why none = {"DeadLetterSinkNotConfigured", NULL};
    if (sink && resolved)
        put_text(p, status, "deadLetterSinkUri", to->url);
    put_condition(p, status, "DeadLetterSinkResolved", !sink || resolved, !sink ? &none : resolved ? NULL : why);
}

void put_policies(struct planner *p, cJSON *status)
{
    static const struct why none = {"NoEventPolicies", NULL};
    put_condition(p, status, "EventPoliciesReady", true, &none);
}

void put_identity(struct planner *p, cJSON *status)
{
    static const struct why none = {"OIDCDisabled", NULL};
    put_condition(p, status, "OIDCIdentityCreated", true, &none);
}

void put_status(struct planner *p, const struct resource *r, cJSON *status)
{
    if (!status || p->nomem) {
        cJSON_Delete(status);
        p->nomem = true;
        return;
    }
    if (!status_keep(r, p->plan->number, status))
        p->nomem = true;
}
