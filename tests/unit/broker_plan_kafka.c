/* SPDX-License-Identifier: Apache-2.0
 *
 * Kafka's forms: what KafkaChannels and Brokers of the class Kafka come to in the plan (which cluster, with which
 * credentials, which topics and groups), and their conditions.
 */
#include "../lib/cluster_rig.h"

#define CONFIG(name, data)                                                                                             \
    DOC "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " name ", namespace: knative-eventing}\ndata: {" data "}\n"
#define SECRET(name, data)                                                                                             \
    DOC "apiVersion: v1\nkind: Secret\nmetadata: {name: " name ", namespace: knative-eventing}\nstringData: {" data    \
        "}\n"
#define KAFKA_CHANNEL(name, spec)                                                                                      \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: KafkaChannel\nmetadata: {name: " name "}\nspec: {" spec "}\n"
#define CHANNEL(name, spec)                                                                                            \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: " name "}\nspec: {" spec "}\n"
#define SUBSCRIPTION(name, kind, channel)                                                                              \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: " name "}\nspec: {channel: "       \
        "{apiVersion: messaging.knative.dev/v1, kind: " kind ", name: " channel "}, subscriber: {uri: 'http://h/'}}\n"
#define BROKER(name, annotations, spec)                                                                                \
    DOC "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: " name                                    \
        ", annotations: {eventing.knative.dev/broker.class: Kafka" annotations "}}\nspec: {" spec "}\n"
#define TRIGGER(name, broker)                                                                                          \
    DOC "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: " name "}\nspec: {broker: " broker       \
        ", subscriber: {uri: 'http://h/'}}\n"
#define SERVERS "bootstrap.servers: 'one:9092,two:9092'"

static const struct bus_param own_kafka[] = {{"bootstrap.servers", "own:9092"}};

static struct plan *plan_on_kafka(struct resource_table *t)
{
    return plan_on(t, "kafka", own_kafka, 1);
}

/* ---- KafkaChannel ---- */

#define KC(name) "KafkaChannel.messaging.knative.dev/default/" name
#define DEFAULT_TOPIC "topic.partitions=1 topic.replication=1 topic.retention=PT168H"

static void test_kafka_channel(void **state)
{
    static const char *const conditions[] = {"Ready",      "Addressable",    "ConfigParsed", "ConfigMapUpdated",
                                             "TopicReady", "ProbeSucceeded", "Subscribers",  NULL};
    (void)state;
    struct resource_table *t =
        rig_table(CONFIG("kafka-channel-config", SERVERS) KAFKA_CHANNEL("orders", "")
                      KAFKA_CHANNEL("big", "numPartitions: 12, replicationFactor: 3, retentionDuration: PT1H")
                          SUBSCRIPTION("s", "KafkaChannel", "orders"),
                  clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    const struct plan_channel *c = channel_of(p, KC("orders"));
    assert_non_null(c);
    assert_string_equal(c->path, "/channels/default/orders");
    assert_string_equal(c->hosts[0], "orders-kn-channel.default.svc.cluster.local");
    assert_string_equal(bus_of(p, KC("orders"))->key, "kafka/ConfigMap/knative-eventing/kafka-channel-config");
    assert_string_equal(bus_of(p, KC("orders"))->type, "kafka");
    assert_string_equal(bus_params(p, KC("orders")), "bootstrap.servers=one:9092,two:9092");
    assert_string_equal(channel_params(p, KC("orders")), "topic=knative-messaging-kafka.default.orders " DEFAULT_TOPIC);
    assert_string_equal(channel_params(p, KC("big")), "topic=knative-messaging-kafka.default.big topic.partitions=12 "
                                                      "topic.replication=3 topic.retention=PT1H");
    const struct resource *r = rig_get(t, "kafkachannel", "orders");
    for (size_t i = 0; conditions[i]; i++)
        assert_string_equal(rig_condition(r, conditions[i]), "True");
    assert_string_equal(said(r, "default.topic"), "knative-messaging-kafka.default.orders");

    /* A group of upstream's name, and upstream's order. */
    const struct plan_subscription *s = rig_subscription(p, "s");
    char group[200];
    snprintf(group, sizeof group, "group=kafka.default.orders.%s", s->uid);
    assert_string_equal(subscription_params(p, "s"), group);
    assert_int_equal(s->order, ORDER_KEY);
    assert_string_equal(said(rig_get(t, "subscriptions.messaging.knative.dev", "s"), "group.id"), group + 6);
    done(t, p);
}

/* The cluster of KafkaChannels: the ConfigMap, an older one, the default bus. */
static void test_which_cluster(void **state)
{
    static const struct {
        const char *text, *params;
    } cases[] = {
        {CONFIG("kafka-channel-config", SERVERS) CONFIG("config-kafka", "bootstrap.servers: 'old:9092'"),
         "bootstrap.servers=one:9092,two:9092"},
        {CONFIG("config-kafka", "bootstrap.servers: 'old:9092'"), "bootstrap.servers=old:9092"},
        {"", "bootstrap.servers=own:9092"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[2000];
        snprintf(text, sizeof text, "%s%s", cases[i].text, KAFKA_CHANNEL("a", ""));
        struct resource_table *t = rig_table(text, clock_system());
        struct plan *p = plan_on_kafka(t);
        assert_string_equal(bus_params(p, KC("a")), cases[i].params);
        done(t, p);
    }
    struct resource_table *t = rig_table(KAFKA_CHANNEL("a", ""), clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_null(channel_of(p, KC("a")));
    assert_string_equal(rig_condition(rig_get(t, "kafkachannel", "a"), "Ready"),
                        "False ConfigMapNotFound no cluster is known: declare the ConfigMap kafka-channel-config in "
                        "the namespace knative-eventing with bootstrap.servers, or start leat serve with --bus "
                        "kafka,bootstrap.servers=HOST:PORT");
    done(t, p);
}

#define TEMPLATE(spec) "channelTemplate: {apiVersion: messaging.knative.dev/v1, kind: KafkaChannel, spec: {" spec "}}"

static void test_templates(void **state)
{
    (void)state;
    struct resource_table *t =
        rig_table(CONFIG("kafka-channel-config", SERVERS) CHANNEL("c", TEMPLATE("numPartitions: 3"))
                      SUBSCRIPTION("s", "Channel", "c") DOC
                  "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: q}\nspec: {steps: [{uri: "
                  "'http://a/'}, {uri: 'http://b/'}], " TEMPLATE("numPartitions: 2") "}\n",
                  clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(channel_params(p, "Channel.messaging.knative.dev/default/c"),
                        "topic=knative-messaging-kafka.default.c topic.partitions=3 topic.replication=1 "
                        "topic.retention=PT168H");
    assert_int_equal(rig_subscription(p, "s")->order, ORDER_KEY);
    assert_string_equal(channel_params(p, "Sequence.flows.knative.dev/default/q/steps/1"),
                        "topic=knative-messaging-kafka.default.q-kn-sequence-1 topic.partitions=2 topic.replication=1 "
                        "topic.retention=PT168H");
    const struct plan_subscription *s = rig_subscription(p, "q-kn-sequence-1");
    char group[200];
    snprintf(group, sizeof group, "group=kafka.default.q-kn-sequence-1.%s", s->cursor);
    assert_string_equal(subscription_params(p, "q-kn-sequence-1"), group);
    assert_string_equal(rig_condition(rig_get(t, "sequence", "q"), "Ready"), "True");
    done(t, p);
}

/* `serve --bus kafka,...`: plain Channels and Brokers have the same names, and no order that nobody asked for. */
static void test_kafka_as_the_default_bus(void **state)
{
    (void)state;
    struct resource_table *t =
        rig_table(CHANNEL("c", "") SUBSCRIPTION("s", "Channel", "c") DOC
                  "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n" TRIGGER("t", "b"),
                  clock_system());
    struct plan *p = plan_on_kafka(t);
    assert_string_equal(bus_of(p, "Channel.messaging.knative.dev/default/c")->key, "kafka");
    assert_string_equal(channel_params(p, "Channel.messaging.knative.dev/default/c"),
                        "topic=knative-messaging-kafka.default.c");
    assert_string_equal(channel_params(p, "Broker.eventing.knative.dev/default/b"), "topic=knative-broker-default-b");
    assert_string_equal(subscription_params(p, "t"), "group=knative-trigger-default-t");
    assert_int_equal(rig_subscription(p, "s")->order, ORDER_NONE);
    /* A Broker of the default class has the conditions of that class. */
    assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "IngressReady"), "True");
    done(t, p);
}

/* ---- Broker ---- */

#define B(name) "Broker.eventing.knative.dev/default/" name
#define TOPIC_DATA                                                                                                     \
    SERVERS ", default.topic.partitions: '10', default.topic.replication.factor: '3', "                                \
            "default.topic.config.retention.ms: '3600000'"

static void test_kafka_broker(void **state)
{
    static const char *const conditions[] = {"Ready",      "Addressable",        "ConfigParsed",   "ConfigMapUpdated",
                                             "TopicReady", "DataPlaneAvailable", "ProbeSucceeded", NULL};
    (void)state;
    struct resource_table *t = rig_table(
        CONFIG("kafka-broker-config", TOPIC_DATA) CONFIG("other", "bootstrap.servers: 'three:9092'") BROKER("b", "", "")
            BROKER("o", "", "config: {apiVersion: v1, kind: ConfigMap, name: other, namespace: knative-eventing}")
                BROKER("x", ", kafka.eventing.knative.dev/external.topic: theirs", "") TRIGGER("t", "b") DOC
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: u, annotations: "
        "{kafka.eventing.knative.dev/delivery.order: ordered}}\nspec: {broker: b, subscriber: {uri: 'http://h/'}}\n",
        clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(bus_of(p, B("b"))->key, "kafka/ConfigMap/knative-eventing/kafka-broker-config");
    assert_string_equal(channel_params(p, B("b")), "topic=knative-broker-default-b topic.partitions=10 "
                                                   "topic.replication=3 topic.config.retention.ms=3600000");
    assert_string_equal(bus_params(p, B("o")), "bootstrap.servers=three:9092");
    assert_string_equal(channel_params(p, B("o")), "topic=knative-broker-default-o");
    assert_int_equal(strncmp(channel_params(p, B("x")), "topic=theirs topic.external=true", 32), 0);
    assert_string_equal(subscription_params(p, "t"), "group=knative-trigger-default-t");
    assert_int_equal(rig_subscription(p, "t")->order, ORDER_NONE);
    assert_int_equal(rig_subscription(p, "u")->order, ORDER_KEY);
    const struct resource *r = rig_get(t, "broker", "b");
    for (size_t i = 0; conditions[i]; i++)
        assert_string_equal(rig_condition(r, conditions[i]), "True");
    assert_string_equal(rig_condition(r, "IngressReady"), "(none)");
    assert_string_equal(said(r, "default.topic"), "knative-broker-default-b");
    assert_string_equal(said(rig_get(t, "trigger", "t"), "group.id"), "knative-trigger-default-t");
    /* What the bus could not do is about its topic. */
    assert_int_equal(resource_report(t, B("b"), "BusRefused", "not enough brokers"), OK);
    assert_string_equal(rig_condition(r, "TopicReady"), "False BusRefused not enough brokers");
    assert_string_equal(rig_condition(r, "Ready"), "False BusRefused not enough brokers");
    done(t, p);
}

#define WITH_SECRET SERVERS ", auth.secret.ref.name: keys"

static void test_secrets(void **state)
{
    static const struct {
        const char *secret, *params;
    } cases[] = {
        {"protocol: PLAINTEXT", "security.protocol=PLAINTEXT"},
        {"protocol: SASL_PLAINTEXT, user: u, password: 'hunter2'",
         "security.protocol=SASL_PLAINTEXT sasl.mechanism=PLAIN sasl.username=u sasl.password=hunter2"},
        {"protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-512, user: u, password: hunter2, ca.crt: " CERT "",
         "security.protocol=SASL_SSL sasl.mechanism=SCRAM-SHA-512 sasl.username=u sasl.password=hunter2 "
         "ssl.ca=" CERT_LINE ""},
        {"protocol: SSL, ca.crt: " CERT ", user.crt: " CERT ", user.key: " KEY "",
         "security.protocol=SSL ssl.ca=" CERT_LINE " ssl.certificate=" CERT_LINE " ssl.key=" KEY_LINE ""},
        {"protocol: SSL, ca.crt: " CERT ", user.crt: " CERT ", user.key: " KEY ", user.skip: 'true'",
         "security.protocol=SSL ssl.ca=" CERT_LINE ""},
        {"protocol: SASL_SSL, sasl.mechanism: OAUTHBEARER, token.url: 'https://t/', client.id: me, client.secret: "
         "hunter2, scope: kafka",
         "security.protocol=SASL_SSL sasl.mechanism=OAUTHBEARER sasl.token.url=https://t/ sasl.client.id=me "
         "sasl.client.secret=hunter2 sasl.scope=kafka"},
        /* Those of the older KafkaChannel name no protocol. */
        {"tls.enabled: 'true', saslType: SCRAM-SHA-256, username: u, password: hunter2",
         "security.protocol=SASL_SSL sasl.mechanism=SCRAM-SHA-256 sasl.username=u sasl.password=hunter2"},
        {"username: u, password: hunter2",
         "security.protocol=SASL_PLAINTEXT sasl.mechanism=PLAIN sasl.username=u sasl.password=hunter2"},
        {"ca.crt: " CERT "", "security.protocol=SSL ssl.ca=" CERT_LINE ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[6000], params[2000];
        snprintf(text, sizeof text,
                 "%s" DOC "apiVersion: v1\nkind: Secret\nmetadata: {name: keys, namespace: "
                 "knative-eventing}\nstringData: {%s}\n",
                 CONFIG("kafka-broker-config", WITH_SECRET) BROKER("b", "", ""), cases[i].secret);
        snprintf(params, sizeof params, "bootstrap.servers=one:9092,two:9092 %s", cases[i].params);
        struct resource_table *t = rig_table(text, clock_system());
        struct plan *p = plan_on(t, "memory", NULL, 0);
        assert_string_equal(bus_params(p, B("b")), params);
        assert_string_equal(bus_of(p, B("b"))->key, "kafka/ConfigMap/knative-eventing/kafka-broker-config");
        char *shown = cJSON_Print(rig_status(rig_get(t, "broker", "b")));
        assert_null(strstr(shown, "hunter2"));
        cJSON_free(shown);
        done(t, p);
    }
}

static void test_configurations_that_are_wrong(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "False ConfigMapNotFound ConfigMap knative-eventing/kafka-broker-config is not declared"},
        {CONFIG("kafka-broker-config", "default.topic.partitions: '1'"),
         "False ConfigMapIncomplete ConfigMap knative-eventing/kafka-broker-config has no bootstrap.servers; write the "
         "cluster's addresses there, such as kafka.example:9092"},
        {CONFIG("kafka-broker-config", SERVERS ", default.topic.partitions: many"),
         "False InvalidParameters ConfigMap knative-eventing/kafka-broker-config: default.topic.partitions must be a "
         "whole number from 1 to 1000 (it is \"many\")"},
        {CONFIG("kafka-broker-config", WITH_SECRET),
         "False SecretNotFound Secret knative-eventing/keys is not declared"},
        {CONFIG("kafka-broker-config", WITH_SECRET) SECRET("keys", "protocol: SASL_PLAINTEXT, user: u"),
         "False SecretIncomplete Secret knative-eventing/keys has no password: the SASL password"},
        {CONFIG("kafka-broker-config", WITH_SECRET)
             SECRET("keys", "protocol: SASL_SSL, sasl.mechanism: OAUTHBEARER, tokenProvider: MSKAccessTokenProvider"),
         "False TokenProviderNotBuiltIn Secret knative-eventing/keys: the tokenProvider MSKAccessTokenProvider is not "
         "in this build; put token.url, client.id and client.secret there, or a token"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[2000];
        snprintf(text, sizeof text, "%s%s", cases[i].text, BROKER("b", "", ""));
        struct resource_table *t = rig_table(text, clock_system());
        struct plan *p = plan_on(t, "memory", NULL, 0);
        assert_null(channel_of(p, B("b")));
        const struct resource *r = rig_get(t, "broker", "b");
        assert_string_equal(rig_condition(r, "ConfigParsed"), cases[i].said);
        assert_string_equal(rig_condition(r, "Ready"), cases[i].said);
        assert_string_equal(rig_condition(r, "TopicReady"),
                            "Unknown ConfigNotParsed it is made when its configuration can be read");
        done(t, p);
    }
}

/* A ConfigMap or Secret that is gone takes no topic and no group with it: they stay as they are, and wait. */
static void test_a_mistake_throws_nothing_away(void **state)
{
    static const char whole[] = CONFIG("kafka-broker-config", WITH_SECRET) SECRET("keys", "protocol: PLAINTEXT")
        BROKER("b", "", "") TRIGGER("t", "b"),
                      without[] = CONFIG("kafka-broker-config", WITH_SECRET) BROKER("b", "", "") TRIGGER("t", "b"),
                      none[] = BROKER("b", "", "") TRIGGER("t", "b") BROKER("new", "", "");
    (void)state;
    struct resource_table *t = rig_table(whole, clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_false(bus_of(p, B("b"))->held);
    assert_false(channel_of(p, B("b"))->held);
    assert_false(rig_subscription(p, "t")->paused);
    static const char *const mistakes[] = {without, none};
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        plan_unref(p);
        apply(t, mistakes[i]);
        p = plan_on(t, "memory", NULL, 0);
        assert_true(bus_of(p, B("b"))->held);
        assert_int_equal(bus_of(p, B("b"))->param_count, 0);
        assert_string_equal(bus_of(p, B("b"))->key, "kafka/ConfigMap/knative-eventing/kafka-broker-config");
        assert_true(channel_of(p, B("b"))->held);
        assert_true(rig_subscription(p, "t")->paused);
        assert_string_equal(subscription_params(p, "t"), "group=knative-trigger-default-t");
        assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "TopicReady"),
                            "Unknown ConfigNotParsed it stays as it was until its configuration can be read again");
        assert_null(channel_of(p, B("new")));
    }
    plan_unref(p);
    apply(t, whole);
    p = plan_on(t, "memory", NULL, 0);
    assert_false(channel_of(p, B("b"))->held);
    assert_false(rig_subscription(p, "t")->paused);
    done(t, p);
}

/* ---- 2018 ---- */

#define BUS_2018(name, env)                                                                                            \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Bus\nmetadata: {name: " name                                 \
        "}\nspec: {parameters: {channel: [{name: NumPartitions, default: '1'}], subscription: [{name: "                \
        "initialOffset, default: Newest}]}, dispatcher: {name: d, image: x/buses/kafka/dispatcher, env: [" env "]}}\n"
#define CHANNEL_2018(name, rest)                                                                                       \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Channel\nmetadata: {name: " name "}\nspec: {" rest "}\n"
#define SUBSCRIPTION_2018(name, channel, rest)                                                                         \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Subscription\nmetadata: {name: " name                        \
        "}\nspec: {channel: " channel ", subscriber: svc" rest "}\n"
#define C18(name) "Channel.channels.knative.dev/default/" name

static void test_2018(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(
        BUS_2018("pipe", "{name: KAFKA_BROKERS, value: 'old:9092'}")
            BUS_2018("keyed", "{name: KAFKA_BOOTSTRAP_SERVERS, valueFrom: {secretKeyRef: {name: k, key: servers}}}") DOC
        "apiVersion: v1\nkind: Secret\nmetadata: {name: k}\nstringData: {servers: 'hidden:9092'}\n" CHANNEL_2018(
            "a", "bus: pipe, arguments: [{name: NumPartitions, value: '4'}]") CHANNEL_2018("b", "bus: keyed")
            SUBSCRIPTION_2018("oldest", "a", ", arguments: [{name: initialOffset, value: Oldest}]")
                SUBSCRIPTION_2018("newest", "a", "") CHANNEL_2018("free", "clusterBus: kafka"),
        clock_system());
    struct plan *p = plan_on_kafka(t);
    assert_string_equal(bus_of(p, C18("a"))->key, "Bus/default/pipe");
    assert_string_equal(bus_params(p, C18("a")), "bootstrap.servers=old:9092");
    assert_string_equal(bus_params(p, C18("b")), "bootstrap.servers=hidden:9092");
    assert_string_equal(channel_params(p, C18("a")), "topic=default.a topic.partitions=4");
    assert_string_equal(subscription_params(p, "oldest"), "group=pipe.default.oldest");
    assert_int_equal(rig_subscription(p, "oldest")->start.kind, BUS_START_EARLIEST);
    assert_int_equal(rig_subscription(p, "newest")->start.kind, BUS_START_LATEST);
    /* One that is not declared is the default bus, where that is Kafka. */
    assert_string_equal(bus_of(p, C18("free"))->key, "kafka");
    assert_string_equal(rig_condition(rig_get(t, "channels.channels.knative.dev", "free"), "Provisioned"),
                        "True BuiltInBus ClusterBus kafka is not declared; leat's own, the default bus, is used");
    assert_string_equal(rig_condition(rig_get(t, "bus", "pipe"), "Ready"), "True");
    done(t, p);
}

static void test_2018_that_is_wrong(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {BUS_2018("pipe", "") CHANNEL_2018("a", "bus: pipe"),
         "False ServersMissing Bus pipe: the environment of its dispatcher has no KAFKA_BOOTSTRAP_SERVERS; write the "
         "cluster's addresses there"},
        {BUS_2018("pipe", "{name: KAFKA_BOOTSTRAP_SERVERS, valueFrom: {configMapKeyRef: {name: c, key: k}}}")
             CHANNEL_2018("a", "bus: pipe"),
         "False ConfigMapNotFound Bus pipe: ConfigMap c is not declared"},
        {BUS_2018("pipe", "{name: KAFKA_BROKERS, value: 'o:1'}")
             CHANNEL_2018("a", "bus: pipe, arguments: [{name: NumPartitions, value: none}]"),
         "False ArgumentInvalid NumPartitions must be a whole number from 1 to 1000 (it is \"none\")"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct resource_table *t = rig_table(cases[i].text, clock_system());
        struct plan *p = plan_on(t, "memory", NULL, 0);
        assert_null(channel_of(p, C18("a")));
        assert_string_equal(rig_condition(rig_get(t, "channels.channels.knative.dev", "a"), "Ready"), cases[i].said);
        done(t, p);
    }
}

/* ---- KafkaSink ---- */

#define SINK(name, spec)                                                                                               \
    DOC "apiVersion: eventing.knative.dev/v1alpha1\nkind: KafkaSink\nmetadata: {name: " name "}\nspec: {" spec "}\n"
#define KS(name) "KafkaSink.eventing.knative.dev/default/" name

static void test_kafka_sink(void **state)
{
    static const char *const conditions[] = {"Ready",      "Addressable",        "ConfigParsed",   "ConfigMapUpdated",
                                             "TopicReady", "DataPlaneAvailable", "ProbeSucceeded", NULL};
    (void)state;
    struct resource_table *t = rig_table(
        SINK("theirs", "topic: t, bootstrapServers: ['one:9092', 'two:9092']")
            SINK("ours", "topic: o, numPartitions: 5, replicationFactor: 2, contentMode: structured, bootstrapServers: "
                         "['one:9092', 'two:9092'], auth: {secret: {ref: {name: keys}}}") DOC
        "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {protocol: SASL_PLAINTEXT, user: u, "
        "password: hunter2}\n" CHANNEL("c", "") DOC
        "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s}\nspec: {channel: {apiVersion: "
        "messaging.knative.dev/v1, kind: Channel, name: c}, subscriber: {ref: {apiVersion: "
        "eventing.knative.dev/v1alpha1, kind: KafkaSink, name: theirs}}, reply: {uri: "
        "'http://kafka-sink-ingress.knative-eventing.svc.cluster.local/default/ours'}}\n",
        clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    const struct plan_channel *c = channel_of(p, KS("theirs"));
    assert_string_equal(c->path, "/kafkasinks/default/theirs");
    assert_string_equal(channel_params(p, KS("theirs")), "topic=t topic.external=true record.plain=true mode=binary");
    assert_string_equal(bus_of(p, KS("theirs"))->key, "kafka/one:9092,two:9092");
    assert_string_equal(channel_params(p, KS("ours")),
                        "topic=o record.plain=true mode=structured topic.partitions=5 topic.replication=2");
    assert_string_equal(bus_of(p, KS("ours"))->key, "kafka/one:9092,two:9092/Secret/default/keys");
    assert_string_equal(bus_params(p, KS("ours")),
                        "bootstrap.servers=one:9092,two:9092 security.protocol=SASL_PLAINTEXT sasl.mechanism=PLAIN "
                        "sasl.username=u sasl.password=hunter2");
    const struct resource *r = rig_get(t, "kafkasink", "theirs");
    for (size_t i = 0; conditions[i]; i++)
        assert_string_equal(rig_condition(r, conditions[i]), "True");
    /* Events are sent there as to any other address. */
    const struct plan_subscription *s = rig_subscription(p, "s");
    assert_string_equal(p->channels[s->subscriber.channel].key, KS("theirs"));
    assert_string_equal(p->channels[s->reply.channel].key, KS("ours"));
    done(t, p);
}

/* ---- KafkaSource ---- */

#define SOURCE(name, spec)                                                                                             \
    DOC "apiVersion: sources.knative.dev/v1\nkind: KafkaSource\nmetadata: {name: " name                                \
        "}\nspec: {bootstrapServers: ['one:9092'], topics: [a, b], sink: {uri: 'http://h/'}" spec "}\n"
#define SRC(name) "KafkaSource.sources.knative.dev/default/" name

static void test_kafka_source(void **state)
{
    static const char *const conditions[] = {
        "Ready", "SinkProvided", "Deployed", "KeyTypeCorrect", "ConnectionEstablished", "InitialOffsetsCommitted",
        NULL};
    (void)state;
    struct resource_table *t = rig_table(SOURCE("s", ""), clock_system());
    struct plan *p = plan_on(t, "log", NULL, 0);
    const struct plan_channel *c = channel_of(p, SRC("s"));
    assert_null(c->path); /* nobody can send to it */
    assert_string_equal(c->bus_name, "kafkasources/default/s");
    assert_string_equal(channel_params(p, SRC("s")),
                        "topic=a,b topic.external=true "
                        "record.source=/apis/v1/namespaces/default/kafkasources/s record.key=string");
    assert_string_equal(bus_of(p, SRC("s"))->key, "kafka/one:9092");
    const struct plan_subscription *s = rig_subscription(p, "s");
    assert_string_equal(subscription_params(p, "s"), "group=knative-kafka-source-default.s");
    assert_string_equal(s->subscriber.url, "http://h/");
    assert_int_equal(s->reply.kind, PLAN_TARGET_NONE);
    assert_int_equal(s->order, ORDER_KEY);
    assert_int_equal(s->start.kind, BUS_START_LATEST);
    assert_int_equal(s->delivery->retry, 10);
    assert_string_equal(p->buses[s->parked_bus].key, "log"); /* not somebody's Kafka */
    const struct resource *r = rig_get(t, "kafkasource", "s");
    for (size_t i = 0; conditions[i]; i++)
        assert_string_equal(rig_condition(r, conditions[i]), "True");
    const cJSON *status = rig_status(r), *first = cJSON_GetArrayItem(cJSON_GetObjectItem(status, "ceAttributes"), 0);
    assert_string_equal(rig_text(status, "sinkUri"), "http://h/");
    assert_string_equal(rig_text(first, "type"), "dev.knative.kafka.event");
    assert_string_equal(rig_text(first, "source"), "/apis/v1/namespaces/default/kafkasources/s#a");
    assert_string_equal(said(r, "group.id"), "knative-kafka-source-default.s");
    done(t, p);
}

static void test_what_a_kafka_source_may_say(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(
        SOURCE(
            "s, labels: {kafkasources.sources.knative.dev/key-type: int}, annotations: {leat.dev/max-in-flight: '7'}",
            ", consumerGroup: mine, consumers: 3, initialOffset: earliest, ordering: unordered, ceOverrides: "
            "{extensions: {site: north}}, delivery: {retry: 2, deadLetterSink: {uri: 'http://dead/'}}")
            SOURCE("none", ", consumers: 0")
                SOURCE("key, labels: {kafkasources.sources.knative.dev/key-type: long}", ""),
        clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_non_null(strstr(channel_params(p, SRC("s")), " record.key=int record.override.site=north"));
    const struct plan_subscription *s = rig_subscription(p, "s");
    assert_string_equal(subscription_params(p, "s"), "group=mine");
    assert_int_equal(s->order, ORDER_NONE);
    assert_int_equal(s->start.kind, BUS_START_EARLIEST);
    assert_int_equal(s->delivery->retry, 2);
    assert_int_equal(s->in_flight_max, 7);
    assert_string_equal(s->dead_letter.url, "http://dead/");
    assert_int_equal(strncmp(rig_condition(rig_get(t, "kafkasource", "s"), "Deployed"), "True OneConsumerAProcess", 24),
                     0);
    assert_true(rig_subscription(p, "none")->paused);
    assert_string_equal(rig_condition(rig_get(t, "kafkasource", "none"), "Ready"),
                        "True NoConsumers spec.consumers is 0: deliveries are held back, and Kafka keeps the records");
    assert_int_equal(strncmp(rig_condition(rig_get(t, "kafkasource", "key"), "Ready"), "False KeyTypeUnknown", 20), 0);
    done(t, p);
}

#define REF(field, key) field ": {secretKeyRef: {name: k, key: " key "}}"
#define KEYS(data) DOC "apiVersion: v1\nkind: Secret\nmetadata: {name: k}\nstringData: {" data "}\n"
#define NET                                                                                                            \
    ", net: {tls: {enable: true, " REF("caCert", "ca") "}, sasl: {enable: true, " REF("user", "u") ", " REF(           \
        "password", "p") ", " REF("type", "m") "}}"

static void test_credentials_of_a_source(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(SOURCE("s", NET) SOURCE("off", ", net: {tls: {" REF("caCert", "ca") "}}")
                                             KEYS("ca: " CERT ", u: me, p: hunter2, m: SCRAM-SHA-256"),
                                         clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(bus_of(p, SRC("s"))->key, "kafka/one:9092/default/type=k:m/user=k:u/password=k:p/caCert=k:ca");
    assert_string_equal(bus_params(p, SRC("s")),
                        "bootstrap.servers=one:9092 security.protocol=SASL_SSL sasl.mechanism=SCRAM-SHA-256 "
                        "sasl.username=me sasl.password=hunter2 ssl.ca=" CERT_LINE "");
    assert_string_equal(bus_params(p, SRC("off")), "bootstrap.servers=one:9092");
    /* A key that is lost: what was delivered waits, and the group stays. */
    plan_unref(p);
    apply(t, SOURCE("s", NET) KEYS("ca: " CERT ", u: me, m: SCRAM-SHA-256"));
    p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(rig_condition(rig_get(t, "kafkasource", "s"), "Ready"),
                        "False SecretKeyNotFound spec.net: password: Secret default/k has no key \"p\"");
    assert_true(bus_of(p, SRC("s"))->held);
    assert_string_equal(bus_of(p, SRC("s"))->key, "kafka/one:9092/default/type=k:m/user=k:u/password=k:p/caCert=k:ca");
    assert_true(channel_of(p, SRC("s"))->held);
    assert_true(rig_subscription(p, "s")->paused);
    done(t, p);
}

/* ---- names ---- */

static void test_names_by_annotation(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(
        CONFIG("kafka-channel-config", SERVERS) KAFKA_CHANNEL("a, annotations: {leat.dev/kafka-topic: mine}", "")
            KAFKA_CHANNEL("b, annotations: {leat.dev/kafka-external-topic: theirs}", "") SUBSCRIPTION(
                "s, annotations: {leat.dev/kafka-group: readers, leat.dev/order: none}", "KafkaChannel", "a"),
        clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(channel_params(p, KC("a")), "topic=mine " DEFAULT_TOPIC);
    assert_int_equal(strncmp(channel_params(p, KC("b")), "topic=theirs topic.external=true", 32), 0);
    assert_string_equal(subscription_params(p, "s"), "group=readers");
    assert_int_equal(rig_subscription(p, "s")->order, ORDER_NONE);
    done(t, p);
    static const struct rig_mistake mistakes[] = {
        {KAFKA_CHANNEL("a, annotations: {leat.dev/kafka-topic: 'a/b'}", ""),
         "must be 1 to 249 letters, digits, '.', '_' and '-' (it is \"a/b\")"},
        {KAFKA_CHANNEL("a, annotations: {leat.dev/kafka-group: g}", ""), "means nothing on a KafkaChannel"},
        {KAFKA_CHANNEL("a, annotations: {leat.dev/partitions: '1'}", "numPartitions: 2"),
         "spec.numPartitions: the annotation leat.dev/partitions asks for one partition; leave one out"},
        {SOURCE("s", ", ceOverrides: {extensions: {type: x}}"),
         "spec.ceOverrides.extensions.type: the source sets this attribute itself; only extensions can be given"},
        {SOURCE("s", ", ceOverrides: {extensions: {not-a-name: x}}"), "spec.ceOverrides.extensions.not-a-name: "},
        {SOURCE("s", ", ordering: sorted"), "spec.ordering: must be one of: ordered, unordered"},
        {SINK("s", "topic: 'a b', bootstrapServers: ['o:1']"), "spec.topic: "},
        {SINK("s", "topic: a, bootstrapServers: []"), "spec.bootstrapServers: "},
        {KAFKA_CHANNEL("a", "numPartitions: 0"), "spec.numPartitions: must be at least 1"},
        {KAFKA_CHANNEL("a", "retentionDuration: 7d"), "spec.retentionDuration: \"7d\" is no ISO 8601 duration"},
        {DOC "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: u, annotations: "
             "{kafka.eventing.knative.dev/delivery.order: sorted}}\nspec: {broker: b, subscriber: {uri: "
             "'http://h/'}}\n",
         "must be ordered or unordered (it is \"sorted\")"},
    };
    rig_mistakes(mistakes, COUNT(mistakes));
}

/* What comes out of a cluster has in it what its controllers wrote. */
static void test_exported_objects(void **state)
{
    struct problems problems;
    (void)state;
    struct manifest *m = rig_load(
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel, metadata: {name: k, uid: x, finalizers: "
        "[f]}, "
        "spec: {numPartitions: 1, subscribers: [{uid: y, subscriberUri: 'http://h/'}]}}\n"
        "- {apiVersion: sources.knative.dev/v1beta1, kind: KafkaSource, metadata: {name: s}, spec: {bootstrapServers: "
        "['o:1'], topics: [t], net: {sasl: {enable: true, user: {secretKeyRef: {name: n, key: u}}, password: "
        "{secretKeyRef: {name: n, key: p}}, type: {}, tokenProvider: {}, roleARN: {}}, tls: {caCert: {}}}, sink: {uri: "
        "'http://h/'}}, status: {claims: '', placements: []}}\n"
        "- {apiVersion: v1, kind: Secret, metadata: {name: n}, data: {u: bWU=, p: bWU=}}\n",
        &problems);
    char *text = rig_problems(&problems);
    assert_int_equal(problems.errors, 0);
    assert_non_null(strstr(text, "warning: KafkaChannel default/k: spec.subscribers: is what Knative's controllers "));
    free(text);
    problems_fini(&problems);
    struct resource_table *t = NULL;
    problems_init(&problems);
    assert_int_equal(resource_table_new(clock_system(), &t), OK);
    assert_int_equal(resource_table_sync(t, m, &problems), OK);
    struct plan *p = plan_on_kafka(t);
    assert_string_equal(rig_condition(rig_get(t, "kafkachannel", "k"), "Ready"), "True");
    assert_string_equal(rig_condition(rig_get(t, "kafkasource", "s"), "Ready"), "True");
    problems_fini(&problems);
    manifest_free(m);
    done(t, p);
}

/* Two channels never are one topic that leat makes; of one that is somebody else's any number may be. */
static void test_a_topic_is_one_channels(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(CHANNEL("a", "") KAFKA_CHANNEL("a", ""), clock_system());
    struct plan *p = plan_on_kafka(t);
    assert_non_null(channel_of(p, "Channel.messaging.knative.dev/default/a"));
    assert_null(channel_of(p, KC("a")));
    assert_string_equal(rig_condition(rig_get(t, "kafkachannel", "a"), "TopicReady"),
                        "False TopicTaken the topic knative-messaging-kafka.default.a is that of Channel default/a; "
                        "give one of them another name");
    done(t, p);
    t = rig_table(KAFKA_CHANNEL("a, annotations: {leat.dev/kafka-external-topic: x}", "")
                      KAFKA_CHANNEL("b, annotations: {leat.dev/kafka-external-topic: x}", ""),
                  clock_system());
    p = plan_on_kafka(t);
    assert_int_equal(p->channel_count, 2);
    done(t, p);
}

static void test_immutable(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(KAFKA_CHANNEL("a", "numPartitions: 1"), clock_system());
    struct manifest *m = rig_good(KAFKA_CHANNEL("a", "numPartitions: 2"));
    struct problems problems;
    problems_init(&problems);
    assert_int_equal(resource_table_sync(t, m, &problems), ERR_CONFLICT);
    char *text = rig_problems(&problems);
    assert_non_null(strstr(text, "spec.numPartitions cannot be changed"));
    free(text);
    problems_fini(&problems);
    manifest_free(m);
    resource_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kafka_channel),
        cmocka_unit_test(test_which_cluster),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_kafka_as_the_default_bus),
        cmocka_unit_test(test_kafka_broker),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_configurations_that_are_wrong),
        cmocka_unit_test(test_a_mistake_throws_nothing_away),
        cmocka_unit_test(test_2018),
        cmocka_unit_test(test_2018_that_is_wrong),
        cmocka_unit_test(test_kafka_sink),
        cmocka_unit_test(test_kafka_source),
        cmocka_unit_test(test_what_a_kafka_source_may_say),
        cmocka_unit_test(test_credentials_of_a_source),
        cmocka_unit_test(test_names_by_annotation),
        cmocka_unit_test(test_exported_objects),
        cmocka_unit_test(test_a_topic_is_one_channels),
        cmocka_unit_test(test_immutable),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
