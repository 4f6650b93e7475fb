/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of rules share: going down into an object with the path kept, and what many kinds have in common.
 */
#ifndef LEAT_BROKER_RESOURCE_RULES_H
#define LEAT_BROKER_RESOURCE_RULES_H

#include "check.h"

/* A member that will be written to; NULL when it is not there. */
cJSON *rule_member(cJSON *object, const char *name);
/* Goes into a member, there or not; path_up(c, *before) comes back. */
cJSON *rule_enter(struct check *c, cJSON *object, const char *name, size_t *before);
/* The object of this name, made when it is not there; NULL when it is something else, or without memory. */
cJSON *rule_object(struct check *c, cJSON *object, const char *name);
/* Adds the text where the name has no value yet. */
void rule_default(struct check *c, cJSON *object, const char *name, const char *value);

/* A duration of ISO 8601 under this name, when it is there. */
void check_duration(struct check *c, cJSON *object, const char *name, bool zero_allowed);
/* A Destination: its ref gets the namespace of the object that it stands in. */
void check_destination(struct check *c, cJSON *destination);
void check_destination_at(struct check *c, cJSON *object, const char *name);
/* The member delivery of a spec, step or branch. */
void check_delivery(struct check *c, cJSON *spec);
void check_template(struct check *c, cJSON *spec);
/* The names under spec.ceOverrides.extensions. */
void check_overrides(struct check *c, cJSON *spec);
/* Channel, InMemoryChannel; and what a KafkaChannel has of them. */
void rule_channel_today(struct check *c, cJSON *object);

/* ---- rules_eventing.c: today's kinds beyond channels ---- */

void rule_broker(struct check *c, cJSON *object);
void rule_trigger(struct check *c, cJSON *object);
void rule_event_type(struct check *c, cJSON *object);
void rule_request_reply(struct check *c, cJSON *object);
void rule_event_transform(struct check *c, cJSON *object);
void rule_sequence(struct check *c, cJSON *object);
void rule_parallel(struct check *c, cJSON *object);

/* ---- rules.c ---- */

/* What a Secret's stringData says comes under data, in base64. false: no memory. */
bool secret_plain_move(cJSON *object);

/* ---- rules_kafka.c ---- */

void rule_kafka_channel(struct check *c, cJSON *object);
void rule_kafka_source(struct check *c, cJSON *object);
/* The names and values under spec.ceOverrides.extensions of a source whose events may bring them themselves. */
void check_extensions(struct check *c, cJSON *spec);

/* ---- rules_rabbitmq.c ---- */

void rule_rabbitmq_broker_config(struct check *c, cJSON *object);
void rule_rabbitmq_source(struct check *c, cJSON *object);
/* Knative's annotation of a Trigger. */
void check_parallelism(struct check *c, cJSON *object);

/* ---- rules_sources.c ---- */

/* What every source has: sink and ceOverrides. */
void rule_sink_source(struct check *c, cJSON *object);
void rule_ping_source(struct check *c, cJSON *object);
void rule_api_server_source(struct check *c, cJSON *object);

/* The labels in metadata (labels.c). */
void rule_labels(struct check *c, cJSON *metadata);

#endif
