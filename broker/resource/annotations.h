/* SPDX-License-Identifier: Apache-2.0
 *
 * The annotations leat.dev/...: what Knative's schemas have no field for. The table in annotations.c has them all; for
 * users it stands in docs/resources.md.
 */
#ifndef LEAT_BROKER_RESOURCE_ANNOTATIONS_H
#define LEAT_BROKER_RESOURCE_ANNOTATIONS_H

#include "bus.h"
#include "dispatcher.h"
#include "err.h"
#include "resource.h"

#define ANNOTATION_PREFIX "leat.dev/"
#define ANNOTATION_CAPACITY "leat.dev/capacity"
#define ANNOTATION_RETENTION_AGE "leat.dev/retention-age"
#define ANNOTATION_RETENTION_BYTES "leat.dev/retention-bytes"
#define ANNOTATION_PARTITIONS "leat.dev/partitions"
#define ANNOTATION_OVERFLOW "leat.dev/overflow"
#define ANNOTATION_IN_FLIGHT "leat.dev/max-in-flight"
#define ANNOTATION_RATE "leat.dev/rate-per-second"
#define ANNOTATION_ORDER "leat.dev/order"
#define ANNOTATION_PAUSED "leat.dev/paused"
#define ANNOTATION_START_FROM "leat.dev/start-from"
#define ANNOTATION_KEEP_CURSOR "leat.dev/keep-cursor"
#define ANNOTATION_DEDUP "leat.dev/dedup-window"
#define ANNOTATION_JITTER "leat.dev/jitter"
#define ANNOTATION_RETRY_ON "leat.dev/retry-on"
#define ANNOTATION_DEADLINE "leat.dev/deadline"
#define ANNOTATION_BATCH_EVENTS "leat.dev/batch-max-events"
#define ANNOTATION_BATCH_WAIT "leat.dev/batch-max-wait"
#define ANNOTATION_RETRY "leat.dev/retry"
#define ANNOTATION_ALLOW_UNSIGNED "leat.dev/allow-unsigned"
#define ANNOTATION_COMMAND "leat.dev/command"
#define ANNOTATION_KAFKA_TOPIC "leat.dev/kafka-topic"
#define ANNOTATION_KAFKA_EXTERNAL_TOPIC "leat.dev/kafka-external-topic"
#define ANNOTATION_KAFKA_GROUP "leat.dev/kafka-group"
#define ANNOTATION_RABBITMQ_EXCHANGE "leat.dev/rabbitmq-exchange"
#define ANNOTATION_RABBITMQ_EXTERNAL_EXCHANGE "leat.dev/rabbitmq-external-exchange"
#define ANNOTATION_RABBITMQ_QUEUE_TYPE "leat.dev/rabbitmq-queue-type"
#define ANNOTATION_RABBITMQ_MODE "leat.dev/rabbitmq-mode"
#define ANNOTATION_RABBITMQ_BARE_HEADERS "leat.dev/rabbitmq-bare-headers"
#define ANNOTATION_PUBSUB_SUBSCRIPTION "leat.dev/pubsub-subscription" /* of a source: one that is there already */
#define ANNOTATION_PUBSUB_ENDPOINT "leat.dev/pubsub-endpoint"         /* a URL instead of Google's own */
#define ANNOTATION_RABBITMQ_SHARED "leat.dev/rabbitmq-shared"
#define ANNOTATION_RABBITMQ_STREAM "leat.dev/rabbitmq-stream"
#define ANNOTATION_PUBSUB_TOPIC "leat.dev/pubsub-topic"
#define ANNOTATION_PUBSUB_EXTERNAL_TOPIC "leat.dev/pubsub-external-topic"

/* Knative's own. */
#define ANNOTATION_BROKER_CLASS "eventing.knative.dev/broker.class"
#define ANNOTATION_DEPENDENCY "knative.dev/dependency"
#define ANNOTATION_EXTERNAL_TOPIC "kafka.eventing.knative.dev/external.topic"
#define ANNOTATION_DELIVERY_ORDER "kafka.eventing.knative.dev/delivery.order" /* of a Trigger: ordered, unordered */
#define ANNOTATION_PARALLELISM "rabbitmq.eventing.knative.dev/parallelism"    /* of a Trigger: how many are under way */
#define BROKER_CLASS_DEFAULT "MTChannelBasedBroker"
#define CHANNEL_TEMPLATE_DEFAULT "Channel" /* the kind of channelTemplate that stands for the default bus */
#define BROKER_CLASS_KAFKA "Kafka"
#define BROKER_CLASS_KAFKA_NAMESPACED "KafkaNamespaced" /* the same here: there are no pods to put into a namespace */
#define BROKER_CLASS_RABBITMQ "RabbitMQBroker"

#define ANNOTATION_IN_FLIGHT_MAX 10000
#define KAFKA_NAME_MAX 249 /* of a topic, as Kafka has it (org.apache.kafka.common.internals.Topic) */
#define KAFKA_NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#define KAFKA_SOURCE_GROUP "knative-kafka-source-%s.%s" /* of a KafkaSource that names none: namespace, name */
#define RABBITMQ_NAME_MAX 255                           /* bytes of an exchange's or queue's name, as AMQP has it */
#define RABBITMQ_PARALLELISM_MAX 1000                   /* as Knative's RabbitMQ components have it */
#define ANNOTATION_RATE_MAX 1000000u                    /* a second: a limit above what a loop can send is none */

/* Whether this annotation may have this value; names that are not ours always may. ERR_INVALID with *d, also for a name
 * of ours that there is not. */
enum err annotation_check(const char *name, const char *value, struct diag *d) must_check;
/* Whether it means anything on this kind; ERR_INVALID with *d, which says where it does. The name is ours. */
enum err annotation_check_kind(const char *name, const struct kind *kind, struct diag *d) must_check;

/* Whether this object is a Broker of one of Kafka's classes. */
bool broker_of_kafka(const struct kind *kind, const cJSON *object);
/* ... of RabbitMQ's class. */
bool broker_of_rabbitmq(const struct kind *kind, const cJSON *object);

/* Knative's annotation for what a Trigger waits for: a JSON object with kind, name and apiVersion, the caller's
 * (cJSON_Delete). ERR_INVALID with *d, ERR_NOMEM. */
enum err dependency_parse(const char *value, cJSON **out, struct diag *d) must_check;

/* Where in a log something begins: "latest", "earliest", an offset, or a time of RFC 3339; where `now_wall_ns` is not 0
 * also a duration ("2h", "PT2H"), which is so long ago. */
enum err start_parse(const char *value, int64_t now_wall_ns, struct bus_start *out, struct diag *d) must_check;
/* "10", "0.5": events a second; the time between two of them. */
enum err rate_parse(const char *value, uint64_t *interval_ns, struct diag *d) must_check;
/* "no-answer, 429, 5xx" */
enum err retry_on_parse(const char *value, struct retry_on *out, struct diag *d) must_check;

#endif
