/* SPDX-License-Identifier: Apache-2.0
 *
 * RabbitMQ's forms: what Brokers of the class RabbitMQBroker, RabbitmqSources and 2018's Bus rabbitmq come to in the
 * plan (where RabbitMQ is, with which credentials, which exchanges and queues), and their conditions.
 */
#include "../lib/cluster_rig.h"

#define SECRET(name, data) DOC "apiVersion: v1\nkind: Secret\nmetadata: {name: " name "}\nstringData: {" data "}\n"
#define CONFIG(name, spec)                                                                                             \
    DOC "apiVersion: eventing.knative.dev/v1alpha1\nkind: RabbitmqBrokerConfig\nmetadata: {name: " name                \
        "}\nspec: {" spec "}\n"
#define BY_SECRET "rabbitmqClusterReference: {connectionSecret: {name: keys}}"
#define BROKER(name, annotations, spec)                                                                                \
    DOC "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: " name                                    \
        ", annotations: {eventing.knative.dev/broker.class: RabbitMQBroker" annotations "}}\nspec: {" spec "}\n"
#define OF(kind, name) "config: {apiVersion: x/v1, kind: " kind ", name: " name "}"
#define TRIGGER(name, broker)                                                                                          \
    DOC "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: " name "}\nspec: {broker: " broker       \
        ", subscriber: {uri: 'http://h/'}}\n"
#define B(name) "Broker.eventing.knative.dev/default/" name
#define KEYS "username: u, password: hunter2, uri: 'rabbit.example:15672'"
#define KEYS_PARAMS "host=rabbit.example username=u password=hunter2"

static const struct bus_param own_rabbitmq[] = {{"url", "amqp://own.example"}};

static struct plan *plan_on_rabbitmq(struct resource_table *t)
{
    return plan_on(t, "rabbitmq", own_rabbitmq, 1);
}

/* "queue=t.default.NAME.CURSOR" of the subscription of this name. */
static const char *queue_of(const struct plan *p, const char *head, const char *name)
{
    static char text[300];
    snprintf(text, sizeof text, "queue=%s.default.%s.%s", head, name, rig_subscription(p, name)->cursor);
    return text;
}

/* ---- Broker ---- */

static void test_broker(void **state)
{
    static const char *const conditions[] = {
        "Ready",        "SecretReady", "ExchangeReady",          "DeadLetterSinkReady",
        "IngressReady", "Addressable", "DeadLetterSinkResolved", NULL};
    (void)state;
    struct resource_table *t =
        rig_table(SECRET("keys", KEYS) CONFIG("rabbit", BY_SECRET ", queueType: classic, vhost: orders")
                      BROKER("b", "", OF("RabbitmqBrokerConfig", "rabbit")) TRIGGER("t", "b") DOC
                  "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: u, annotations: "
                  "{rabbitmq.eventing.knative.dev/parallelism: '7'}}\nspec: {broker: b, subscriber: {uri: "
                  "'http://b-broker-ingress.default.svc.cluster.local/'}}\n",
                  clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(bus_of(p, B("b"))->key, "rabbitmq/RabbitmqBrokerConfig/default/rabbit");
    assert_string_equal(bus_of(p, B("b"))->type, "rabbitmq");
    assert_string_equal(bus_params(p, B("b")), KEYS_PARAMS " vhost=orders");
    assert_string_equal(channel_params(p, B("b")), "exchange=b.default.b queue.type=classic");
    assert_string_equal(channel_of(p, B("b"))->path, "/brokers/default/b");
    assert_string_equal(subscription_params(p, "t"), queue_of(p, "t", "t"));
    assert_int_equal(rig_subscription(p, "t")->in_flight_max, 0);
    assert_int_equal(rig_subscription(p, "u")->in_flight_max, 7);
    assert_true(rig_subscription(p, "u")->one_loop);
    /* Its address in a cluster leads to it. */
    assert_int_equal(rig_subscription(p, "u")->subscriber.kind, PLAN_TARGET_CHANNEL);
    const struct resource *r = rig_get(t, "broker", "b");
    for (size_t i = 0; conditions[i]; i++)
        assert_int_equal(strncmp(rig_condition(r, conditions[i]), "True", 4), 0);
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(rig_condition(r, "TriggerChannelReady"), "(none)");
    assert_string_equal(said(r, "exchange"), "b.default.b");
    assert_string_equal(said(rig_get(t, "trigger", "t"), "queue"), queue_of(p, "t", "t") + 6);
    /* What the bus could not do is about its exchange. */
    assert_int_equal(resource_report(t, B("b"), "BusRefused", "not allowed"), OK);
    assert_string_equal(rig_condition(r, "ExchangeReady"), "False BusRefused not allowed");
    assert_string_equal(rig_condition(r, "Ready"), "False BusRefused not allowed");
    done(t, p);
}

static void test_secrets(void **state)
{
    static const struct {
        const char *secret, *params;
    } cases[] = {
        {"username: u, password: hunter2, uri: rabbit.example, port: '5673'",
         "host=rabbit.example port=5673 username=u password=hunter2"},
        {"username: u, password: hunter2, uri: 'http://rabbit.example:15672/api'", KEYS_PARAMS},
        {"username: u, password: hunter2, uri: 'https://rabbit.example:15671'",
         "ssl=true host=rabbit.example username=u password=hunter2"},
        {"username: u, password: hunter2, uri: 'http://me:hunter2@rabbit.example:15672'", KEYS_PARAMS},
        {"username: u, password: hunter2, uri: 'http://[::1]:15672'", "host=[::1] username=u password=hunter2"},
        {"username: u, password: hunter2, uri: 'amqps://rabbit.example/v', ca.crt: " CERT,
         "url=amqps://rabbit.example/v username=u password=hunter2 ssl.ca=" CERT_LINE},
        {"uri: 'amqp://u:hunter2@rabbit.example'", "url=amqp://u:hunter2@rabbit.example"},
        {"uri: 'https://rabbit.example', caSecretName: ca, tls.crt: " CERT ", tls.key: " KEY,
         "ssl=true host=rabbit.example ssl.ca=" CERT_LINE " ssl.certificate=" CERT_LINE " ssl.key=" KEY_LINE},
        {"username: u, password: hunter2, uri: rabbit.example, vhost: v", KEYS_PARAMS " vhost=v"},
        /* As the cluster operator writes them. */
        {"username: u, password: hunter2, host: rabbit.default.svc, port: '5672', provider: rabbitmq, type: rabbitmq",
         "host=rabbit.default.svc port=5672 username=u password=hunter2"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[8000];
        snprintf(text, sizeof text, "%s" DOC "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {%s}\n",
                 CONFIG("c", BY_SECRET) SECRET("ca", "ca.crt: " CERT) BROKER("b", "", OF("RabbitmqBrokerConfig", "c")),
                 cases[i].secret);
        struct resource_table *t = rig_table(text, clock_system());
        struct plan *p = plan_on(t, "memory", NULL, 0);
        assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "Ready"), "True");
        assert_string_equal(bus_params(p, B("b")), cases[i].params);
        char *shown = cJSON_Print(rig_status(rig_get(t, "broker", "b")));
        assert_null(strstr(shown, "hunter2"));
        cJSON_free(shown);
        assert_null(strstr(bus_of(p, B("b"))->key, "hunter2"));
        done(t, p);
    }
}

/* A RabbitmqCluster is known by what its operator has left: here there is none to ask. */
static void test_clusters_of_an_operator(void **state)
{
    static const char needed[] =
        "RabbitmqCluster default/rc is the cluster operator's, which does not run here: name a Secret with username, "
        "password and uri as rabbitmqClusterReference.connectionSecret, or declare the operator's own, "
        "rc-default-user";
    char want[400];
    (void)state;
    struct resource_table *t =
        rig_table(CONFIG("c", "rabbitmqClusterReference: {name: rc}") BROKER("b", "", OF("RabbitmqBrokerConfig", "c"))
                      BROKER("d", "", OF("RabbitmqCluster", "rc")),
                  clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    snprintf(want, sizeof want, "False ConnectionSecretNeeded RabbitmqBrokerConfig default/c: %s", needed);
    assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "SecretReady"), want);
    snprintf(want, sizeof want, "False ConnectionSecretNeeded %s", needed);
    assert_string_equal(rig_condition(rig_get(t, "broker", "d"), "Ready"), want);
    assert_int_equal(p->channel_count, 0);
    plan_unref(p);
    apply(t, CONFIG("c", "rabbitmqClusterReference: {name: rc}") BROKER("b", "", OF("RabbitmqBrokerConfig", "c"))
                 BROKER("d", "", OF("RabbitmqCluster", "rc"))
                     SECRET("rc-default-user", "username: u, password: p, host: rc.default.svc, port: '5672'"));
    p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(bus_params(p, B("b")), "host=rc.default.svc port=5672 username=u password=p");
    assert_string_equal(bus_params(p, B("d")), "host=rc.default.svc port=5672 username=u password=p");
    assert_string_equal(bus_of(p, B("d"))->key, "rabbitmq/RabbitmqCluster/default/rc");
    done(t, p);
}

#define WITH(data) CONFIG("c", BY_SECRET) SECRET("keys", data)

static void test_configurations_that_are_wrong(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "False ConfigNotFound RabbitmqBrokerConfig default/c is not declared"},
        {CONFIG("c", BY_SECRET),
         "False SecretNotFound RabbitmqBrokerConfig default/c: Secret default/keys is not declared"},
        {WITH("username: u, password: p"), "False SecretIncomplete RabbitmqBrokerConfig default/c: Secret default/keys "
                                           "has no uri: RabbitMQ's address, such as rabbit.example or "
                                           "amqps://rabbit.example"},
        {WITH("username: u, uri: h"),
         "False SecretIncomplete RabbitmqBrokerConfig default/c: Secret default/keys has no password: the user's "
         "password"},
        {WITH("password: p, uri: h"),
         "False SecretIncomplete RabbitmqBrokerConfig default/c: Secret default/keys has no username: RabbitMQ's user"},
        {WITH(KEYS ", caSecretName: ca"),
         "False SecretNotFound RabbitmqBrokerConfig default/c: Secret default/ca is not declared"},
        {WITH(KEYS ", caSecretName: ca") SECRET("ca", "tls.crt: x"),
         "False SecretIncomplete RabbitmqBrokerConfig default/c: Secret default/ca has no ca.crt: the certificates "
         "that "
         "RabbitMQ is trusted by"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[3000];
        snprintf(text, sizeof text, "%s%s", cases[i].text, BROKER("b", "", OF("RabbitmqBrokerConfig", "c")));
        struct resource_table *t = rig_table(text, clock_system());
        struct plan *p = plan_on(t, "memory", NULL, 0);
        const struct resource *r = rig_get(t, "broker", "b");
        assert_null(channel_of(p, B("b")));
        assert_string_equal(rig_condition(r, "SecretReady"), cases[i].said);
        assert_string_equal(rig_condition(r, "Ready"), cases[i].said);
        assert_string_equal(rig_condition(r, "ExchangeReady"),
                            "Unknown NotReachable it is made when its configuration can be read");
        done(t, p);
    }
    struct resource_table *t = rig_table(BROKER("b", "", OF("ConfigMap", "c")) BROKER("none", "", ""), clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "Ready"),
                        "False ConfigKindNotSupported spec.config names a ConfigMap; a Broker of the class "
                        "RabbitMQBroker is described by a RabbitmqBrokerConfig of eventing.knative.dev/v1alpha1");
    assert_string_equal(rig_condition(rig_get(t, "broker", "none"), "Ready"),
                        "False ConfigMissing spec.config names nothing that says where RabbitMQ is: name a "
                        "RabbitmqBrokerConfig, or start leat serve with --bus rabbitmq,url=amqp://HOST");
    done(t, p);
}

/* What the client would refuse is said before anything is made. */
static void test_parameters_that_the_bus_refuses(void **state)
{
    (void)state;
    struct resource_table *t =
        rig_table(WITH(KEYS ", port: many") BROKER("b", "", OF("RabbitmqBrokerConfig", "c")), clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    const char *text = rig_condition(rig_get(t, "broker", "b"), "SecretReady");
    assert_int_equal(strncmp(text, "False InvalidParameters ", 24), 0);
    assert_non_null(strstr(text, "port"));
    assert_null(strstr(text, "hunter2"));
    done(t, p);
}

/* A config or Secret that is gone takes no exchange and no queue with it: they stay as they are, and wait. */
static void test_a_mistake_throws_nothing_away(void **state)
{
    static const char whole[] = WITH(KEYS) BROKER("b", "", OF("RabbitmqBrokerConfig", "c")) TRIGGER("t", "b"),
                      without[] =
                          CONFIG("c", BY_SECRET) BROKER("b", "", OF("RabbitmqBrokerConfig", "c")) TRIGGER("t", "b"),
                      none[] = BROKER("b", "", OF("RabbitmqBrokerConfig", "c")) TRIGGER("t", "b")
                          BROKER("new", "", OF("RabbitmqBrokerConfig", "c"));
    static const char *const mistakes[] = {without, none};
    char queue[300];
    (void)state;
    struct resource_table *t = rig_table(whole, clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_false(channel_of(p, B("b"))->held);
    snprintf(queue, sizeof queue, "%s", queue_of(p, "t", "t"));
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        plan_unref(p);
        apply(t, mistakes[i]);
        p = plan_on(t, "memory", NULL, 0);
        assert_true(bus_of(p, B("b"))->held);
        assert_string_equal(bus_of(p, B("b"))->key, "rabbitmq/RabbitmqBrokerConfig/default/c");
        assert_true(channel_of(p, B("b"))->held);
        assert_true(rig_subscription(p, "t")->paused);
        assert_string_equal(subscription_params(p, "t"), queue);
        assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "ExchangeReady"),
                            "Unknown NotReachable it stays as it was until its configuration can be read again");
        assert_null(channel_of(p, B("new")));
    }
    plan_unref(p);
    apply(t, whole);
    p = plan_on(t, "memory", NULL, 0);
    assert_false(channel_of(p, B("b"))->held);
    assert_false(rig_subscription(p, "t")->paused);
    done(t, p);
}

/* ---- the default bus ---- */

#define CHANNEL(name, spec)                                                                                            \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: " name "}\nspec: {" spec "}\n"
#define SUBSCRIPTION(name, channel)                                                                                    \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: " name "}\nspec: {channel: "       \
        "{apiVersion: messaging.knative.dev/v1, kind: Channel, name: " channel "}, subscriber: {uri: 'http://h/'}}\n"
#define C(name) "Channel.messaging.knative.dev/default/" name

static void test_rabbitmq_as_the_default_bus(void **state)
{
    (void)state;
    struct resource_table *t =
        rig_table(CHANNEL("c", "") SUBSCRIPTION("s", "c") BROKER("b", "", "") TRIGGER("t", "b") DOC
                  "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: plain}\n" DOC
                  "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: q}\nspec: {steps: [{uri: "
                  "'http://a/'}, {uri: 'http://b/'}]}\n",
                  clock_system());
    struct plan *p = plan_on_rabbitmq(t);
    assert_string_equal(bus_of(p, C("c"))->key, "rabbitmq");
    assert_string_equal(channel_params(p, C("c")), "exchange=c.default.c");
    assert_string_equal(subscription_params(p, "s"), queue_of(p, "s", "s"));
    assert_string_equal(bus_of(p, B("b"))->key, "rabbitmq");
    assert_string_equal(channel_params(p, B("b")), "exchange=b.default.b");
    assert_string_equal(subscription_params(p, "t"), queue_of(p, "t", "t"));
    assert_string_equal(channel_params(p, "Sequence.flows.knative.dev/default/q/steps/1"),
                        "exchange=c.default.q-kn-sequence-1");
    assert_string_equal(subscription_params(p, "q-kn-sequence-1"), queue_of(p, "s", "q-kn-sequence-1"));
    /* A Broker of the default class has the conditions of that class. */
    assert_string_equal(rig_condition(rig_get(t, "broker", "plain"), "IngressReady"), "True");
    assert_string_equal(rig_condition(rig_get(t, "broker", "plain"), "SecretReady"), "(none)");
    assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "SecretReady"), "True");
    assert_string_equal(said(rig_get(t, "channels.messaging.knative.dev", "c"), "exchange"), "c.default.c");
    done(t, p);
}

static void test_annotations(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(
        CHANNEL("own, annotations: {leat.dev/rabbitmq-exchange: mine, leat.dev/rabbitmq-queue-type: classic, "
                "leat.dev/rabbitmq-mode: structured, leat.dev/capacity: 1MiB, leat.dev/overflow: drop-oldest, "
                "leat.dev/partitions: '1'}",
                "") CHANNEL("theirs, annotations: {leat.dev/rabbitmq-external-exchange: amq.fanout, "
                            "leat.dev/rabbitmq-bare-headers: 'true', leat.dev/rabbitmq-stream: 'true', "
                            "leat.dev/retention-age: P7D, leat.dev/retention-bytes: 2GiB}",
                            "")
            SUBSCRIPTION("s, annotations: {leat.dev/rabbitmq-shared: work, leat.dev/max-in-flight: '3', "
                         "rabbitmq.eventing.knative.dev/parallelism: '9'}",
                         "own") SUBSCRIPTION("o", "own") CHANNEL("z, annotations: "
                                                                 "{leat.dev/rabbitmq-exchange: mine}",
                                                                 ""),
        clock_system());
    struct plan *p = plan_on_rabbitmq(t);
    assert_string_equal(channel_params(p, C("own")), "exchange=mine partitions=1 queue.type=classic mode=structured");
    assert_string_equal(channel_params(p, C("theirs")),
                        "exchange=amq.fanout exchange.external=true bare=true stream=true retention-age=P7D "
                        "retention-bytes=2GiB");
    assert_int_equal(channel_of(p, C("theirs"))->parked_param_count, 3);
    assert_int_equal(channel_of(p, C("own"))->parked_param_count, 0);
    assert_string_equal(subscription_params(p, "o"), queue_of(p, "s", "o"));
    assert_non_null(strstr(subscription_params(p, "s"), " shared=work"));
    assert_int_equal(rig_subscription(p, "s")->in_flight_max, 3);
    /* An exchange that leat makes is one channel's. */
    assert_string_equal(rig_condition(rig_get(t, "channels.messaging.knative.dev", "z"), "Ready"),
                        "False ExchangeTaken the exchange mine is that of Channel default/own; give one of them "
                        "another name");
    done(t, p);
}

/* ---- 2018 ---- */

#define BUS_2018(name, env)                                                                                            \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Bus\nmetadata: {name: " name                                 \
        "}\nspec: {parameters: {channel: [{name: QueueType, default: quorum}], subscription: [{name: Parallelism, "    \
        "default: '1'}]}, dispatcher: {name: d, image: x/buses/rabbitmq/dispatcher, env: [" env "]}}\n"
#define CHANNEL_2018(name, rest)                                                                                       \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Channel\nmetadata: {name: " name "}\nspec: {" rest "}\n"
#define SUBSCRIPTION_2018(name, channel, rest)                                                                         \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Subscription\nmetadata: {name: " name                        \
        "}\nspec: {channel: " channel ", subscriber: svc" rest "}\n"
#define C18(name) "Channel.channels.knative.dev/default/" name
#define FROM_SECRET(variable, key)                                                                                     \
    "{name: " variable ", valueFrom: {secretKeyRef: {name: rabbitmq-bus-key, key: " key "}}}"

static void test_2018(void **state)
{
    (void)state;
    struct resource_table *t =
        rig_table(BUS_2018("pipe", "{name: RABBITMQ_URL, value: 'amqp://old.example/v'}, " FROM_SECRET(
                                       "RABBITMQ_USERNAME", "user") ", " FROM_SECRET("RABBITMQ_PASSWORD", "password"))
                      SECRET("rabbitmq-bus-key", "user: u, password: hunter2")
                          CHANNEL_2018("a", "bus: pipe, arguments: [{name: QueueType, value: classic}]")
                              SUBSCRIPTION_2018("many", "a", ", arguments: [{name: Parallelism, value: '8'}]")
                                  SUBSCRIPTION_2018("one", "a", "") CHANNEL_2018("free", "clusterBus: rabbitmq"),
                  clock_system());
    struct plan *p = plan_on_rabbitmq(t);
    assert_string_equal(bus_of(p, C18("a"))->key, "Bus/default/pipe");
    assert_string_equal(bus_params(p, C18("a")), "url=amqp://old.example/v username=u password=hunter2");
    assert_string_equal(channel_params(p, C18("a")), "exchange=default.a queue.type=classic");
    assert_string_equal(subscription_params(p, "many"), queue_of(p, "pipe", "many"));
    assert_int_equal(rig_subscription(p, "many")->in_flight_max, 8);
    assert_int_equal(rig_subscription(p, "one")->in_flight_max, 1);
    /* One that is not declared is the default bus, where that is RabbitMQ. */
    assert_string_equal(bus_of(p, C18("free"))->key, "rabbitmq");
    assert_string_equal(rig_condition(rig_get(t, "channels.channels.knative.dev", "free"), "Provisioned"),
                        "True BuiltInBus ClusterBus rabbitmq is not declared; leat's own, the default bus, is used");
    assert_string_equal(rig_condition(rig_get(t, "bus", "pipe"), "Ready"), "True");
    done(t, p);
}

static void test_2018_that_is_wrong(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {BUS_2018("pipe", "") CHANNEL_2018("a", "bus: pipe"),
         "False AddressMissing Bus pipe: the environment of its dispatcher has no RABBITMQ_URL; write RabbitMQ's "
         "address there, such as amqp://rabbit.example"},
        {BUS_2018("pipe", "{name: RABBITMQ_URL, value: 'amqp://h'}, " FROM_SECRET("RABBITMQ_PASSWORD", "password"))
             CHANNEL_2018("a", "bus: pipe"),
         "False SecretNotFound Bus pipe: Secret rabbitmq-bus-key is not declared"},
        {BUS_2018("pipe", "{name: RABBITMQ_URL, value: 'amqp://h'}")
             CHANNEL_2018("a", "bus: pipe, arguments: [{name: QueueType, value: lazy}]"),
         "False ArgumentInvalid QueueType must be quorum or classic (it is \"lazy\")"},
        {CHANNEL_2018("a", "clusterBus: rabbitmq"),
         "False BusNotFound ClusterBus rabbitmq is not declared, and the default bus is not RabbitMQ: declare it, with "
         "the address in RABBITMQ_URL of its dispatcher's environment"},
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

/* ---- RabbitmqSource ---- */

#define SOURCE(name, resources, spec)                                                                                  \
    DOC "apiVersion: sources.knative.dev/v1alpha1\nkind: RabbitmqSource\nmetadata: {name: " name                       \
        "}\nspec: {" BY_SECRET ", rabbitmqResourcesConfig: {queueName: q, " resources                                  \
        "}, sink: {uri: 'http://h/'}" spec "}\n"
#define SRC(name) "RabbitmqSource.sources.knative.dev/default/" name

static void test_source(void **state)
{
    static const char *const conditions[] = {"Ready", "SinkProvided", "Deployed", "SecretReady", "ExchangeReady", NULL};
    (void)state;
    struct resource_table *t =
        rig_table(SECRET("keys", KEYS) SOURCE("s", "exchangeName: x", "")
                      SOURCE("there", "predeclared: true, exchangeName: x, vhost: v, parallelism: 20",
                             ", ceOverrides: {extensions: {site: north}}, delivery: {retry: 2, backoffPolicy: linear, "
                             "deadLetterSink: {uri: 'http://dead/'}}, serviceAccountName: a, adapterContainerName: b")
                          SOURCE("past, annotations: {leat.dev/start-from: '4711'}", "exchangeName: x", ""),
                  clock_system());
    struct plan *p = plan_on(t, "log", NULL, 0);
    const struct plan_channel *c = channel_of(p, SRC("s"));
    assert_null(c->path); /* nobody can send to it */
    assert_string_equal(c->bus_name, "rabbitmqsources/default/s");
    assert_string_equal(channel_params(p, SRC("s")),
                        "queue=q exchange=x record.source=/apis/v1/namespaces/default/rabbitmqsources/s");
    assert_string_equal(channel_params(p, SRC("there")),
                        "queue=q queue.external=true record.source=/apis/v1/namespaces/default/rabbitmqsources/there "
                        "record.override.site=north");
    assert_string_equal(bus_of(p, SRC("s"))->key, "rabbitmq/Secret/default/keys");
    assert_string_equal(bus_params(p, SRC("s")), KEYS_PARAMS);
    assert_string_equal(bus_of(p, SRC("there"))->key, "rabbitmq/Secret/default/keys?vhost=v");
    assert_string_equal(bus_params(p, SRC("there")), KEYS_PARAMS " vhost=v");
    const struct plan_subscription *s = rig_subscription(p, "s");
    assert_string_equal(subscription_params(p, "s"), "");
    assert_string_equal(s->subscriber.url, "http://h/");
    assert_int_equal(s->in_flight_max, 1);
    assert_true(s->one_loop);
    assert_int_equal(s->delivery->retry, 10);
    assert_string_equal(p->buses[s->parked_bus].key, "log"); /* not somebody's RabbitMQ */
    s = rig_subscription(p, "there");
    assert_int_equal(s->in_flight_max, 20);
    assert_int_equal(s->delivery->retry, 2);
    assert_string_equal(s->dead_letter.url, "http://dead/");
    const struct resource *r = rig_get(t, "rabbitmqsource", "s");
    for (size_t i = 0; conditions[i]; i++)
        assert_string_equal(rig_condition(r, conditions[i]), "True");
    const cJSON *status = rig_status(r), *first = cJSON_GetArrayItem(cJSON_GetObjectItem(status, "ceAttributes"), 0);
    assert_string_equal(rig_text(status, "sinkUri"), "http://h/");
    assert_string_equal(rig_text(first, "type"), "dev.knative.rabbitmq.event");
    assert_string_equal(rig_text(first, "source"), "/apis/v1/namespaces/default/rabbitmqsources/s#q");
    assert_string_equal(rig_condition(rig_get(t, "rabbitmqsource", "past"), "Ready"),
                        "True QueueKeepsNoPast the annotation leat.dev/start-from means nothing here: it begins with "
                        "what is in the queue");
    assert_int_equal(resource_report(t, SRC("s"), "BusRefused", "there is no queue q"), OK);
    assert_string_equal(rig_condition(r, "Ready"), "False BusRefused there is no queue q");
    done(t, p);
}

static void test_a_source_without_its_secret_or_sink(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(
        SECRET("keys", KEYS) SOURCE("s", "exchangeName: x", "") DOC
        "apiVersion: sources.knative.dev/v1alpha1\nkind: RabbitmqSource\nmetadata: {name: lost}\nspec: {" BY_SECRET
        ", rabbitmqResourcesConfig: {queueName: q, predeclared: true}, sink: {ref: {apiVersion: "
        "eventing.knative.dev/v1, kind: Broker, name: none}}}\n",
        clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_int_equal(strncmp(rig_condition(rig_get(t, "rabbitmqsource", "lost"), "SinkProvided"), "False ", 6), 0);
    assert_true(rig_subscription(p, "lost")->paused);
    plan_unref(p);
    apply(t, SOURCE("s", "exchangeName: x", ""));
    p = plan_on(t, "memory", NULL, 0);
    assert_string_equal(rig_condition(rig_get(t, "rabbitmqsource", "s"), "Ready"),
                        "False SecretNotFound Secret default/keys is not declared");
    assert_string_equal(bus_of(p, SRC("s"))->key, "rabbitmq/Secret/default/keys");
    assert_true(channel_of(p, SRC("s"))->held);
    assert_true(rig_subscription(p, "s")->paused);
    done(t, p);
}

static void test_rules(void **state)
{
    static const struct rig_mistake mistakes[] = {
        {SOURCE("s", "parallelism: 1", ""),
         "spec.rabbitmqResourcesConfig.exchangeName: is missing: the exchange that the queue is bound to"},
        {SOURCE("s", "predeclared: true, parallelism: 0", ""),
         "spec.rabbitmqResourcesConfig.parallelism: must be at least 1"},
        {SOURCE("s", "predeclared: true, parallelism: 1001", ""),
         "spec.rabbitmqResourcesConfig.parallelism: must be at most 1000"},
        {SOURCE("s", "predeclared: true", ", ceOverrides: {extensions: {type: x}}"),
         "spec.ceOverrides.extensions.type: the source sets this attribute itself"},
        {SOURCE("s", "predeclared: true, queuName: q", ""), "did you mean \"queueName\""},
        {CONFIG("c", "rabbitmqClusterReference: {}"),
         "spec.rabbitmqClusterReference: needs connectionSecret, a Secret with username, password and uri"},
        {CONFIG("c", "rabbitmqClusterReference: {name: rc, connectionSecret: {name: s}}"),
         "spec.rabbitmqClusterReference.connectionSecret: name and connectionSecret exclude each other"},
        {CONFIG("c", "queueType: quorum"), "spec.rabbitmqClusterReference: is missing"},
        {CONFIG("c", BY_SECRET ", queueType: stream"), "spec.queueType: must be one of: quorum, classic"},
        {CHANNEL("c, annotations: {leat.dev/rabbitmq-exchange: amq.topic}", ""),
         "must not begin with amq., which is RabbitMQ's own (it is \"amq.topic\")"},
        {CHANNEL("c, annotations: {leat.dev/rabbitmq-queue-type: lazy}", ""), "must be quorum or classic"},
        {CHANNEL("c, annotations: {leat.dev/rabbitmq-stream: 'yes'}", ""), "must be true or false"},
        {CHANNEL("c, annotations: {leat.dev/rabbitmq-mode: text}", ""), "must be binary or structured"},
        {SUBSCRIPTION("s, annotations: {leat.dev/rabbitmq-shared: 'true'}", "c"), "must be order or work"},
        {SUBSCRIPTION("s, annotations: {leat.dev/rabbitmq-queue-type: classic}", "c"),
         "means nothing on a Subscription"},
        {DOC "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: u, annotations: "
             "{rabbitmq.eventing.knative.dev/parallelism: '0'}}\nspec: {broker: b, subscriber: {uri: 'http://h/'}}\n",
         "metadata.annotations[\"rabbitmq.eventing.knative.dev/parallelism\"]: must be a whole number from 1 to 1000 "
         "(it is \"0\")"},
    };
    (void)state;
    rig_mistakes(mistakes, COUNT(mistakes));
}

static void test_immutable(void **state)
{
    static const char *const changed[][2] = {
        {SOURCE("s", "exchangeName: other", ""), "spec.rabbitmqResourcesConfig cannot be changed"},
        {CONFIG("c", BY_SECRET ", queueType: classic"), "spec.queueType cannot be changed"}};
    (void)state;
    for (size_t i = 0; i < COUNT(changed); i++) {
        struct resource_table *t = rig_table(SOURCE("s", "exchangeName: x", "") CONFIG("c", BY_SECRET), clock_system());
        struct manifest *m = rig_good(changed[i][0]);
        struct problems problems;
        problems_init(&problems);
        assert_int_equal(resource_table_sync(t, m, &problems), ERR_CONFLICT);
        char *text = rig_problems(&problems);
        if (!strstr(text, changed[i][1]))
            fail_msg("%s", text);
        free(text);
        problems_fini(&problems);
        manifest_free(m);
        resource_table_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broker),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_clusters_of_an_operator),
        cmocka_unit_test(test_configurations_that_are_wrong),
        cmocka_unit_test(test_parameters_that_the_bus_refuses),
        cmocka_unit_test(test_a_mistake_throws_nothing_away),
        cmocka_unit_test(test_rabbitmq_as_the_default_bus),
        cmocka_unit_test(test_annotations),
        cmocka_unit_test(test_2018),
        cmocka_unit_test(test_2018_that_is_wrong),
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_a_source_without_its_secret_or_sink),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_immutable),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
