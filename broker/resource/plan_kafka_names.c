/* SPDX-License-Identifier: Apache-2.0
 *
 * What topics and consumer groups are called on Kafka: as Knative's Kafka components call them, so that an installation
 * of theirs can be taken over, and what they have accepted and not delivered is delivered here.
 *
 *     Broker, Trigger         knative-broker-NS-NAME, knative-trigger-NS-NAME
 *     Channels of today       knative-messaging-kafka.NS.NAME, kafka.NS.CHANNEL.UID
 *     2018                    NS.NAME, BUS.NS.SUBSCRIPTION
 *
 * Annotations name others (leat.dev/kafka-topic, -external-topic, -group).
 */
#include "planner.h"

static bool is_kind(const struct resource *r, const char *group, const char *kind)
{
    return strcmp(r->kind->kind, kind) == 0 && strcmp(r->kind->group, group) == 0;
}

/* Of the form of 2018: Channels, and Flows, which share a group with today's Sequences. */
static bool of_2018(const struct resource *r)
{
    return strcmp(r->kind->group, "channels.knative.dev") == 0 || is_kind(r, FLOWS, "Flow");
}

const char *plan_kafka_topic_name(struct planner *p, const struct resource *r, const struct channel_form *form,
                                  bool *external)
{
    const char *theirs = annotation(r->object, ANNOTATION_KAFKA_EXTERNAL_TOPIC),
               *ours = annotation(r->object, ANNOTATION_KAFKA_TOPIC), *ns = r->namespace_name;
    if (!theirs && form->broker)
        theirs = annotation(r->object, ANNOTATION_EXTERNAL_TOPIC);
    *external = form->topic_external || theirs;
    if (form->topic)
        return form->topic;
    if (theirs || ours)
        return plan_copy(p, theirs ? theirs : ours);
    if (form->broker)
        return plan_text(p, "knative-broker-%s-%s", ns, r->name);
    if (of_2018(r))
        return plan_text(p, "%s.%s", ns, r->name);
    return plan_text(p, "knative-messaging-kafka.%s.%s", ns, form->part.name ? form->part.name : r->name);
}

/* Admission writes it down, but for an object that had no name yet. */
static const char *source_group(struct planner *p, const struct resource *r)
{
    const char *group = json_text(json_object(r->object, "spec"), "consumerGroup");
    return group && *group ? group : plan_text(p, KAFKA_SOURCE_GROUP, r->namespace_name, r->name);
}

const char *plan_kafka_group_name(struct planner *p, const struct resource *r, const struct channel_plan *channel,
                                  const struct plan_subscription *s)
{
    const char *given = annotation(r->object, ANNOTATION_KAFKA_GROUP), *ns = r->namespace_name;
    if (given)
        return given;
    if (is_kind(r, "eventing.knative.dev", "Trigger"))
        return plan_text(p, "knative-trigger-%s-%s", ns, r->name);
    if (is_kind(r, "sources.knative.dev", "KafkaSource"))
        return source_group(p, r);
    if (of_2018(r) && channel->bus_of_2018)
        return plan_text(p, "%s.%s.%s", channel->bus_of_2018, ns, r->name);
    return plan_text(p, "kafka.%s.%s.%s", p->plan->channels[s->channel].namespace_name,
                     p->plan->channels[s->channel].name, s->cursor);
}

/* ---- order ---- */

static bool backed_by_kafka_channel(const struct resource *channel)
{
    const char *kind = json_text(json_object(json_object(channel->object, "spec"), "channelTemplate"), "kind");
    return is_kind(channel, "messaging.knative.dev", "KafkaChannel") || (kind && strcmp(kind, "KafkaChannel") == 0);
}

static bool order_is(const struct resource *source, const char *word)
{
    const char *ordering = json_text(json_object(source->object, "spec"), "ordering");
    return ordering && strcmp(ordering, word) == 0;
}

bool plan_kafka_ordered(const struct resource *r, const struct resource *channel)
{
    const char *order = annotation(r->object, ANNOTATION_DELIVERY_ORDER);
    if (is_kind(r, "eventing.knative.dev", "Trigger"))
        return order && strcmp(order, "ordered") == 0;
    if (is_kind(r, "sources.knative.dev", "KafkaSource"))
        return !order_is(r, "unordered");
    return backed_by_kafka_channel(channel);
}

/* ---- what statuses say ---- */

void put_kafka_conditions(struct planner *p, cJSON *status, const struct channel_plan *c)
{
    static const char *const parts[] = {"Addressable", "ConfigMapUpdated", "ProbeSucceeded"};
    bool taken = !c->ready && strcmp(c->why.reason, REASON_TOPIC_TAKEN) == 0;
    put_condition(p, status, "ConfigParsed", c->ready || taken, c->ready || taken ? NULL : &c->why);
    if (c->ready || taken)
        put_condition(p, status, "TopicReady", c->ready, c->ready ? NULL : &c->why);
    else
        put_unknown(p, status, "TopicReady", "ConfigNotParsed",
                    c->planned ? "it stays as it was until its configuration can be read again"
                               : "it is made when its configuration can be read");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        put_condition(p, status, parts[i], c->ready, c->ready ? NULL : &c->why);
}
