/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan under construction: what the files plan*.c and resolve.c share. Control loop only; everything handed out lives
 * in the plan's arena.
 *
 * Order of the work, since each step needs those before: channels (with their buses), subscriptions, sources, then the
 * statuses that count what refers to them. Without memory everything goes on harmlessly with `nomem` set, and the plan
 * is thrown away at the end.
 */
#ifndef LEAT_BROKER_RESOURCE_PLANNER_H
#define LEAT_BROKER_RESOURCE_PLANNER_H

#include "annotations.h"
#include "arena.h"
#include "check.h"
#include "map.h"
#include "plan.h"
#include "table.h"

#define FLOWS "flows.knative.dev" /* of 2018 and of today */

/* Why something is not as it should be: for a condition. In the arena, or static. */
struct why {
    const char *reason, *message;
};

/* What one object stands for may be several channels and subscriptions: `word` and `index` tell them apart in keys,
 * uids and paths ("steps", 1), and `name` is what Knative calls the object that it would make. All zero: the object
 * itself.
 */
struct plan_part {
    const char *word;
    unsigned index;
    const char *name;
};

/* What distinguishes the kinds that are channels. */
struct channel_form {
    const char *room; /* of the path: "channels" */
    enum { HOSTS_NONE, HOSTS_TODAY, HOSTS_2018, HOSTS_RABBITMQ } hosts;
    bool broker;
    struct plan_part part;
    bool takes_nothing;  /* from outside: it has no path */
    const char *topic;   /* on Kafka: its topics' names, comma separated; NULL: by rule or annotation */
    bool topic_external; /* they are somebody else's */
};

#define PLAN_TERMS 8 /* so many of the last terms of delivery are compared with new ones: as a rule one in a Broker */

/* A channel of whatever kind, ready or not. */
struct channel_plan {
    const struct resource *resource;
    struct channel_form form;
    bool ready;
    bool planned;                /* it is in the plan: ready, or held as it was */
    bool is_queue;               /* of RabbitMQ: its subscriptions share one queue, which is there without them */
    struct why why;              /* when it is not ready; or a remark when it is */
    size_t index;                /* in plan->channels, when it is planned */
    const char *url;             /* its address */
    const char *internal;        /* the host name that it had in 2018's status.domainInternal; NULL for today's kinds */
    const cJSON *delivery;       /* today's kinds: what its subscriptions inherit; may be NULL */
    const char *bus_of_2018;     /* the name of its Bus or ClusterBus; NULL for today's kinds */
    const cJSON *bus_parameters; /* 2018: what a Subscription may set; may be NULL */
    cJSON *subscribers;          /* for its status; owned by the planner */
};

struct planner {
    struct resource_table *table;
    const struct plan_options *options;
    struct arena *arena;
    struct plan *plan;
    size_t bus_cap, channel_cap, subscription_cap, source_cap, unready_cap;
    struct map channels; /* "Kind.group/ns/name" → struct channel_plan */
    struct map paths;    /* taken → struct channel_plan, or the planner for a source */
    struct map hosts;    /* host name → struct channel_plan */
    struct map topics;   /* "CLUSTER topic" → struct channel_plan: whose topic or exchange it is */
    struct map used;     /* uids of EventTypes that a Feed uses */
    const struct delivery *terms[PLAN_TERMS]; /* that subscriptions got last, in turn */
    unsigned terms_next;
    const char *namespace_name; /* that a subscription got last */
    bool nomem;
};

/* Text in the arena; "" without memory, with `nomem` set. */
const char *plan_text(struct planner *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *plan_copy(struct planner *p, const char *s);
struct why why_of(struct planner *p, const char *reason, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The next kind's objects: `for (cursor = 0; (r = plan_next(p, group, kind, &cursor)); )`. */
const struct resource *plan_next(struct planner *p, const char *group, const char *kind, size_t *cursor);
const struct resource *plan_get(struct planner *p, const char *group, const char *kind, const char *ns,
                                const char *name);
/* "Kind.group/ns/name" */
const char *plan_key(struct planner *p, const struct resource *r);

/* The bus of this key; made when it is not there. Its index. */
size_t plan_bus(struct planner *p, const char *key, const char *type, const struct bus_param *params, size_t count);
/* Remembers a channel, and puts it in the plan on this bus when it is ready: with its paths and host names, and what
 * its annotations say. One that is not (`broken`) is left out, and what it keeps goes with it; but on Kafka and
 * RabbitMQ it is in the plan as `held` where it was in the one before: no topic or exchange goes for a mistake in a
 * manifest. NULL: no memory. */
struct channel_plan *plan_channel_add(struct planner *p, const struct resource *r, const struct why *broken, size_t bus,
                                      const struct channel_form *form);
void plan_channel_param(struct planner *p, struct channel_plan *c, const char *name, const char *value);
/* Of the dead-letter channels of its subscriptions, where they are on its bus. */
void plan_parked_param(struct planner *p, struct channel_plan *c, const char *name, const char *value);
/* Unless it has one of this name: what was said first counts, an annotation is nearer than a default. */
void plan_channel_param_default(struct planner *p, struct channel_plan *c, const char *name, const char *value);
/* `part` may be NULL: the object itself. */
struct plan_subscription *plan_subscription_add(struct planner *p, const struct resource *r,
                                                const struct plan_part *part, const struct channel_plan *channel);
/* The same for what may not be able to run as it is (`good` false): then it is in the plan only if it was in the one
 * before, and paused, so that the events that wait for it are not thrown away for a mistake. NULL: it is not in the
 * plan. */
struct plan_subscription *plan_subscription_keep(struct planner *p, const struct resource *r,
                                                 const struct channel_plan *channel, bool good);
void plan_subscription_param(struct planner *p, struct plan_subscription *s, const char *name, const char *value);
struct plan_source *plan_source_add(struct planner *p, const struct resource *r, const char *type,
                                    struct plan_target sink);
void plan_source_param(struct planner *p, struct plan_source *s, const char *name, const char *value);

/* The address of a source that is not in the plan: who sends to it is told why. */
void plan_source_unready(struct planner *p, const struct resource *r, const struct why *why);
/* Those of all channels that are declared and did not come into the plan, when all that did are there. */
void plan_unready(struct planner *p);

/* ---- plan_annotations.c ---- */

/* Whether the channel can give the order that the subscription asks for; false with *why. */
bool plan_order_possible(struct planner *p, const struct resource *r, const struct resource *channel, struct why *why);
/* What the annotations of a channel's resource say of the channel. */
void plan_channel_annotations(struct planner *p, struct channel_plan *c, const struct resource *r);
/* The annotations that a subscription heeds, its own first, then its channel's. After its delivery was read. */
void plan_subscription_annotations(struct planner *p, struct plan_subscription *s, const struct resource *r,
                                   const struct resource *channel);
/* Says in a status that its deliveries are paused, or those of its channel (may be NULL), where they are. */
void put_paused(struct planner *p, cJSON *status, const struct resource *r, const struct resource *channel);
/* What a status says of the annotations that a delivery heeds: that it is paused; that its bus cannot begin where it
 * was to. `channel` may be NULL. */
void put_remarks(struct planner *p, cJSON *status, const struct resource *r, const struct channel_plan *channel);

/* ---- resolve.c ---- */

struct plan_target target_channel(const struct channel_plan *c);
/* A reference of any age; `api_version` and `ref_ns` may be NULL. false with *why. */
bool resolve_ref(struct planner *p, const char *ns, const char *api_version, const char *kind, const char *ref_ns,
                 const char *name, struct plan_target *out, struct why *why);
/* A Destination: ref, uri, or both. NULL: PLAN_TARGET_NONE. */
bool resolve_destination(struct planner *p, const char *ns, const cJSON *destination, struct plan_target *out,
                         struct why *why);
/* What 2018 calls a DNS name: "name", "name.ns", a host, or a URL. */
bool resolve_name(struct planner *p, const char *ns, const char *name, struct plan_target *out, struct why *why);

/* ---- delivery.c ---- */

/* `d` may be NULL. The dead letter sink is resolved by itself. */
void delivery_read(const cJSON *d, struct delivery *out);
/* Gives the subscription these terms, of which equal ones lie in the plan once. */
void plan_delivery(struct planner *p, struct plan_subscription *s, const struct delivery *d);
void plan_delivery_read(struct planner *p, struct plan_subscription *s, const cJSON *delivery);

/* The value of a Secret's key in the arena; NULL with *why, which never shows a value. */
const char *secret_value(struct planner *p, const char *ns, const char *name, const char *key, struct why *why);

/* ---- cluster.c: buses on systems of others ---- */

/* Whether the bus is of this type ("kafka"); a decorator is what the bus in it is. */
bool plan_bus_is(const struct planner *p, size_t bus, const char *type);
/* The default bus, where it is of this type. */
bool plan_default_bus(struct planner *p, const char *type, size_t *bus);
/* status.annotations: what the channel and the subscription are called there, the topic (as Knative has it) and the
 * consumer group, or the exchange and the queue. Nothing when the bus is leat's own. */
void put_channel_place(struct planner *p, cJSON *status, const struct channel_plan *c);
void put_subscription_place(struct planner *p, cJSON *status, const struct plan_subscription *s);

/* ---- plan_kafka.c: clusters, and topics on them ---- */

/* The cluster of KafkaChannels. */
bool plan_kafka_channel_bus(struct planner *p, size_t *bus, struct why *why);
/* What the spec of a KafkaChannel (may be NULL) says of its topic. */
void plan_kafka_channel_topic(struct planner *p, struct channel_plan *c, const cJSON *spec);
/* The annotations of a channel on Kafka: a topic keeps events by age and bytes, whoever needs them, and a capacity or
 * what to do beyond it means nothing there. */
void plan_kafka_annotations(struct planner *p, struct channel_plan *c, const struct resource *r);
/* Of a Broker of the class Kafka. */
bool plan_kafka_broker_bus(struct planner *p, const struct resource *r, size_t *bus, struct why *why);
void plan_kafka_broker_topic(struct planner *p, struct channel_plan *c);

void plan_kafka_sinks(struct planner *p);
void plan_kafka_source_channels(struct planner *p);
void plan_kafka_sources(struct planner *p);

/* ---- plan_kafka_names.c: what topics and consumer groups are called ---- */

#define KAFKA_PARTITIONS_TOP 1000 /* of a topic, as a KafkaChannel's schema has it: more is a mistake */
#define REASON_TOPIC_TAKEN "TopicTaken"
/* The names of the topics that the object's channel is, comma separated. */
const char *plan_kafka_topic_name(struct planner *p, const struct resource *r, const struct channel_form *form,
                                  bool *external);
const char *plan_kafka_group_name(struct planner *p, const struct resource *r, const struct channel_plan *channel,
                                  const struct plan_subscription *s);
/* Whether its deliveries keep an order, where no annotation of ours says which. */
bool plan_kafka_ordered(const struct resource *r, const struct resource *channel);
/* Addressable, ConfigParsed, ConfigMapUpdated, TopicReady, ProbeSucceeded of a KafkaChannel, Broker or KafkaSink. */
void put_kafka_conditions(struct planner *p, cJSON *status, const struct channel_plan *c);

/* ---- plan_rabbitmq.c: exchanges and queues ---- */

#define REASON_EXCHANGE_TAKEN "ExchangeTaken"
/* Of a Broker of the class RabbitMQBroker. */
bool plan_rabbitmq_broker_bus(struct planner *p, const struct resource *r, size_t *bus, struct why *why);
/* What its RabbitmqBrokerConfig says of its queues. */
void plan_rabbitmq_broker_exchange(struct planner *p, struct channel_plan *c);
/* The exchange that the object's channel is; NULL: none of its own. */
const char *plan_rabbitmq_exchange_name(struct planner *p, const struct resource *r, const struct channel_form *form,
                                        bool *external);
const char *plan_rabbitmq_queue_name(struct planner *p, const struct resource *r, const struct channel_plan *channel,
                                     const struct plan_subscription *s);
/* The annotations of a channel on RabbitMQ: a capacity or a retention means nothing there. */
void plan_rabbitmq_annotations(struct planner *p, struct channel_plan *c, const struct resource *r);
/* How many events of a Trigger are under way at once, by Knative's annotation; 0: it has none. */
unsigned plan_rabbitmq_parallelism(const struct resource *r);
/* SecretReady, ExchangeReady, DLXReady, IngressReady, Addressable of a Broker. */
void put_rabbitmq_conditions(struct planner *p, cJSON *status, const struct channel_plan *c);

void plan_rabbitmq_source_channels(struct planner *p);
void plan_rabbitmq_sources(struct planner *p);

/* ---- plan_pubsub.c: topics and subscriptions of Google Pub/Sub ---- */

const char *plan_pubsub_topic_name(struct planner *p, const struct resource *r, const struct channel_form *form,
                                   bool *external);
const char *plan_pubsub_subscription_name(struct planner *p, const struct resource *r,
                                          const struct channel_plan *channel, const struct plan_subscription *s);
void plan_pubsub_annotations(struct planner *p, struct channel_plan *c, const struct resource *r);

/* ---- one file for each generation ---- */

/* The bus that a channelTemplate asks for (NULL: the default one, which always is one); false with *why when this build
 * has none such. */
bool plan_template_bus(struct planner *p, const cJSON *template, size_t *bus, struct why *why);
/* What it says of the channel's topic, where it asks for a KafkaChannel. `c` may be NULL. */
void plan_template_topic(struct planner *p, struct channel_plan *c, const cJSON *template);
/* Its own delivery counts whole, with its channel's dead letter sink where it has none; without one, the channel's.
 * *effective is what counts; false with *why when the dead letter sink does not resolve. */
bool plan_delivery_merge(struct planner *p, const char *ns, const cJSON *own, const cJSON *inherited,
                         const cJSON **effective, struct plan_target *dead_letter, struct why *why);

void plan_messaging_channels(struct planner *p);
void plan_messaging_subscriptions(struct planner *p);
void plan_messaging_statuses(struct planner *p);
void plan_brokers(struct planner *p);
void plan_triggers(struct planner *p);
void plan_broker_statuses(struct planner *p);
void plan_event_types(struct planner *p);
void plan_not_run(struct planner *p);
void plan_flow_channels(struct planner *p);
void plan_flow_subscriptions(struct planner *p);
void plan_2018_channels(struct planner *p);
void plan_2018_subscriptions(struct planner *p);
void plan_2018_statuses(struct planner *p);
void plan_feeds(struct planner *p);
void plan_feed_statuses(struct planner *p);
void plan_github_sources(struct planner *p);
void plan_ping_sources(struct planner *p);
void plan_api_server_sources(struct planner *p);
/* What a Feed or Flow of k8sevents asks for. */
void plan_kubernetes_2018(struct planner *p, struct plan_source *s, const struct resource *r, const cJSON *parameters);
void plan_pubsub_sources(struct planner *p);
void plan_sink_bindings(struct planner *p);
void plan_container_sources(struct planner *p);
/* Whether a command that the object names may be run here; false with *why. */
bool plan_may_run(struct planner *p, const struct resource *r, struct why *why);
/* What a variable's valueFrom names, a key of a ConfigMap or Secret of the namespace; NULL with *why. */
const char *plan_value_from(struct planner *p, const char *ns, const cJSON *from, struct why *why);
/* spec.ceOverrides.extensions. */
void plan_source_overrides(struct planner *p, struct plan_source *s, const cJSON *spec);
/* What the source itself says of its parameters, which must be the plan's last; false with *why, and it is taken out
 * again. */
bool source_accepts(struct planner *p, struct plan_source *s, struct why *why);

/* A condition that is True, or False with a reason. */
void put_condition(struct planner *p, cJSON *status, const char *type, bool good, const struct why *why);
/* Unknown: not decided yet. */
void put_unknown(struct planner *p, cJSON *status, const char *type, const char *reason, const char *message);
/* DeadLetterSinkResolved, and deadLetterSinkUri: `sink` may be NULL, then there is none. */
void put_dead_letter(struct planner *p, cJSON *status, bool sink, bool resolved, const struct plan_target *to,
                     const struct why *why);
void put_address(struct planner *p, cJSON *status, const struct channel_plan *c);
/* EventPoliciesReady: leat has none as yet. */
void put_policies(struct planner *p, cJSON *status);
/* OIDCIdentityCreated, likewise: nobody is asked who he is by such a token. */
void put_identity(struct planner *p, cJSON *status);
void put_text(struct planner *p, cJSON *object, const char *name, const char *value);
cJSON *put_object(struct planner *p, cJSON *object, const char *name);
cJSON *put_array(struct planner *p, cJSON *object, const char *name);
/* A new object at the list's end. */
cJSON *put_element(struct planner *p, cJSON *list);
void put_status(struct planner *p, const struct resource *r, cJSON *status);

#endif
