/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of eventing.knative.dev and flows.knative.dev that schemas cannot say, and the defaults that Knative's own
 * admission fills in, so that what a user reads back is what counts.
 */
#include "annotations.h"
#include "filters.h"
#include "rules.h"

#define LABEL_BROKER "eventing.knative.dev/broker"

/* ---- Broker ---- */

/* Only a Broker that says nothing of delivery gets this: what a user writes counts whole. */
static void default_delivery(struct check *c, cJSON *spec)
{
    if (!spec || rule_member(spec, "delivery"))
        return;
    cJSON *d = rule_object(c, spec, "delivery");
    if (d && !cJSON_AddNumberToObject(d, "retry", 10))
        c->nomem = true;
    rule_default(c, d, "backoffPolicy", "exponential");
    rule_default(c, d, "backoffDelay", "PT0.2S");
}

void rule_broker(struct check *c, cJSON *object)
{
    size_t before;
    cJSON *annotations = rule_object(c, rule_member(object, "metadata"), "annotations");
    rule_default(c, annotations, ANNOTATION_BROKER_CLASS, BROKER_CLASS_DEFAULT);
    default_delivery(c, rule_object(c, object, "spec"));
    cJSON *spec = rule_enter(c, object, "spec", &before);
    rule_default(c, rule_member(spec, "config"), "namespace", c->own_namespace);
    check_delivery(c, spec);
    path_up(c, before);
}

/* ---- Trigger ---- */

static void check_broker_of(struct check *c, cJSON *spec)
{
    size_t before, inner;
    cJSON *ref = rule_member(spec, "brokerRef"), *broker = rule_member(spec, "broker");
    if (spec && !ref && !broker)
        check_error_key(c, spec, "needs broker: the name of a Broker in the same namespace");
    else if (ref && broker)
        check_error_key(c, ref, "broker and brokerRef exclude each other; leave one out");
    rule_enter(c, spec, "brokerRef", &before);
    const char *kind = json_text(ref, "kind");
    rule_enter(c, ref, "kind", &inner);
    if (kind && strcmp(kind, "Broker") != 0)
        check_error(c, rule_member(ref, "kind"), "must be Broker (it is \"%.60s\")", kind);
    path_up(c, inner);
    rule_default(c, ref, "namespace", c->own_namespace);
    path_up(c, before);
}

/* Whether the schema found nothing wrong with it. */
static bool all_text(const cJSON *map)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, map)
        if (!cJSON_IsString(each))
            return false;
    return cJSON_IsObject(map);
}

/* Both forms are checked, also where one of them does not count. */
static void check_filters(struct check *c, cJSON *spec)
{
    size_t before, inner;
    struct filter *f = NULL;
    cJSON *filter = rule_enter(c, spec, "filter", &before), *attributes = rule_enter(c, filter, "attributes", &inner);
    if (all_text(attributes) && filter_read_attributes(c, attributes, &f) == ERR_NOMEM)
        c->nomem = true;
    f = filter_unref(f);
    path_up(c, inner);
    path_up(c, before);
    cJSON *filters = rule_enter(c, spec, "filters", &before);
    if (cJSON_IsArray(filters) && filter_read(c, filters, &f) == ERR_NOMEM)
        c->nomem = true;
    filter_unref(f);
    path_up(c, before);
}

static void check_dependency(struct check *c, cJSON *object)
{
    size_t before, inner, deepest;
    cJSON *annotations = rule_member(rule_enter(c, object, "metadata", &before), "annotations");
    inner = path_down(c, "annotations");
    cJSON *node = rule_enter(c, annotations, ANNOTATION_DEPENDENCY, &deepest);
    cJSON *ref = NULL;
    struct diag why = {0};
    enum err e = cJSON_IsString(node) ? dependency_parse(node->valuestring, &ref, &why) : OK;
    c->nomem = c->nomem || e == ERR_NOMEM;
    if (e == ERR_INVALID)
        check_error(c, node, "%s", why.text);
    cJSON_Delete(ref);
    path_up(c, deepest);
    path_up(c, inner);
    path_up(c, before);
}

static void check_delivery_order(struct check *c, cJSON *object)
{
    size_t before, inner, deepest;
    cJSON *annotations = rule_member(rule_enter(c, object, "metadata", &before), "annotations");
    inner = path_down(c, "annotations");
    const cJSON *order = rule_enter(c, annotations, ANNOTATION_DELIVERY_ORDER, &deepest);
    if (cJSON_IsString(order) && strcmp(order->valuestring, "ordered") != 0 &&
        strcmp(order->valuestring, "unordered") != 0)
        check_error(c, order, "must be ordered or unordered (it is \"%.60s\")", order->valuestring);
    path_up(c, deepest);
    path_up(c, inner);
    path_up(c, before);
}

void rule_trigger(struct check *c, cJSON *object)
{
    size_t before;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    const char *broker = json_text(spec, "broker");
    if (!broker)
        broker = json_text(rule_member(spec, "brokerRef"), "name");
    if (broker)
        rule_default(c, rule_object(c, rule_member(object, "metadata"), "labels"), LABEL_BROKER, broker);
    rule_object(c, spec, "filter");
    check_broker_of(c, spec);
    check_filters(c, spec);
    check_destination_at(c, spec, "subscriber");
    check_delivery(c, spec);
    path_up(c, before);
    check_dependency(c, object);
    check_delivery_order(c, object);
    check_parallelism(c, object);
}

/* ---- EventType and what this build does not run ---- */

static bool has_attribute(const cJSON *list, const char *name)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, list) {
        const char *n = json_text(each, "name");
        if (n && strcmp(n, name) == 0)
            return true;
    }
    return false;
}

static void check_type_attributes(struct check *c, cJSON *list)
{
    static const char *const needed[] = {"type", "source", "specversion", "id"};
    const cJSON *each;
    size_t i = 0;
    cJSON_ArrayForEach(each, list) {
        size_t before = path_down_index(c, i++), inner = path_down(c, "name");
        const char *name = json_text(each, "name");
        struct diag why = {0};
        if (name && ce_name_check(slice_str(name), &why) != OK)
            check_error(c, cJSON_GetObjectItemCaseSensitive(each, "name"), "%s", why.text);
        path_up(c, inner);
        path_up(c, before);
    }
    for (i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!has_attribute(list, needed[i]))
            check_error_key(c, list, "%s is missing: every event has type, source, specversion and id", needed[i]);
}

void rule_event_type(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *spec = rule_enter(c, object, "spec", &before), *attributes = rule_enter(c, spec, "attributes", &inner);
    if (cJSON_IsArray(attributes))
        check_type_attributes(c, attributes);
    path_up(c, inner);
    rule_default(c, rule_member(spec, "reference"), "namespace", c->own_namespace);
    path_up(c, before);
}

void rule_request_reply(struct check *c, cJSON *object)
{
    size_t before;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    check_duration(c, spec, "timeout", false);
    check_delivery(c, spec);
    path_up(c, before);
}

void rule_event_transform(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    check_destination_at(c, spec, "sink");
    cJSON *reply = rule_enter(c, spec, "reply", &inner);
    if (reply && !rule_member(spec, "sink"))
        check_error_key(c, reply, "counts beside sink only: without sink there is no answer to transform");
    else if (rule_member(reply, "jsonata") && cJSON_IsTrue(rule_member(reply, "discard")))
        check_error_key(c, reply, "jsonata and discard exclude each other; leave one out");
    path_up(c, inner);
    path_up(c, before);
}

/* ---- Sequence and Parallel ---- */

void rule_sequence(struct check *c, cJSON *object)
{
    size_t before, inner, i = 0;
    cJSON *spec = rule_enter(c, object, "spec", &before), *steps = rule_enter(c, spec, "steps", &inner), *step;
    cJSON_ArrayForEach(step, steps) {
        size_t at = path_down_index(c, i++);
        check_destination(c, step);
        if (cJSON_IsObject(step))
            check_delivery(c, step);
        path_up(c, at);
    }
    path_up(c, inner);
    check_template(c, spec);
    check_destination_at(c, spec, "reply");
    path_up(c, before);
}

void rule_parallel(struct check *c, cJSON *object)
{
    size_t before, inner, i = 0;
    cJSON *spec = rule_enter(c, object, "spec", &before), *branches = rule_enter(c, spec, "branches", &inner), *branch;
    cJSON_ArrayForEach(branch, branches) {
        size_t at = path_down_index(c, i++);
        check_destination_at(c, branch, "filter");
        check_destination_at(c, branch, "subscriber");
        check_destination_at(c, branch, "reply");
        check_delivery(c, branch);
        path_up(c, at);
    }
    path_up(c, inner);
    check_template(c, spec);
    check_destination_at(c, spec, "reply");
    path_up(c, before);
}
