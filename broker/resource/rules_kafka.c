/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of Kafka's kinds that schemas cannot say.
 */
#include <stdio.h>

#include "annotations.h"
#include "event.h"
#include "rules.h"

void rule_kafka_channel(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *spec = rule_enter(c, object, "spec", &before), *partitions = rule_enter(c, spec, "numPartitions", &inner);
    if (cJSON_IsNumber(partitions) && partitions->valueint > 1 && annotation(object, ANNOTATION_PARTITIONS))
        check_error(c, partitions, "the annotation " ANNOTATION_PARTITIONS " asks for one partition; leave one out");
    path_up(c, inner);
    check_duration(c, spec, "retentionDuration", false);
    cJSON *subscribers = rule_enter(c, spec, "subscribers", &inner);
    if (subscribers) { /* as it comes out of a cluster */
        check_warn(c, subscribers, "is what Knative's controllers wrote; ignored, the Subscriptions count");
        cJSON_Delete(cJSON_DetachItemViaPointer(spec, subscribers));
    }
    path_up(c, inner);
    path_up(c, before);
    rule_channel_today(c, object);
}

/* What a record brings may be replaced; what makes it an event may not. */
void check_extensions(struct check *c, cJSON *spec)
{
    static const char *const core[] = {"specversion",     "id",         "source", "type", "subject", "time",
                                       "datacontenttype", "dataschema", NULL};
    size_t before, name;
    cJSON *list = rule_member(rule_enter(c, spec, "ceOverrides", &before), "extensions");
    size_t inner = path_down(c, "extensions");
    for (const cJSON *e = cJSON_IsObject(list) ? list->child : NULL; e; e = e->next) {
        struct diag why = {0};
        name = path_down(c, e->string);
        for (const char *const *n = core; *n; n++)
            if (strcmp(*n, e->string) == 0)
                check_error_key(c, e, "the source sets this attribute itself; only extensions can be given");
        if (cJSON_IsString(e) && ce_value_check(CE_STRING, slice_str(e->valuestring), &why) != OK)
            check_error(c, e, "%s", why.text);
        path_up(c, name);
    }
    path_up(c, inner);
    path_up(c, before);
}

/* The group is written down, so that what is read back is what counts; of the object's name alone, so that every
 * process and every installation of the same manifest has the same. */
void rule_kafka_source(struct check *c, cJSON *object)
{
    size_t before;
    const char *name = metadata_text(object, "name");
    cJSON *spec = rule_enter(c, object, "spec", &before);
    char group[400];
    int n = name ? snprintf(group, sizeof group, KAFKA_SOURCE_GROUP, c->own_namespace, name) : 0;
    if (n > 0 && n < (int)sizeof group)
        rule_default(c, spec, "consumerGroup", group);
    check_destination_at(c, spec, "sink");
    check_delivery(c, spec);
    check_overrides(c, spec);
    check_extensions(c, spec);
    path_up(c, before);
}
