/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditions, kind by kind: which there are (as upstream's controllers have them), which of them Ready is made of, and
 * what each owes the reader: observedGeneration, and a time that changes with the value alone.
 */
#include "../lib/resource_rig.h"

#define DOC "---\n"
#define OBJECT(version, kind, name, rest)                                                                              \
    DOC "apiVersion: " version "\nkind: " kind "\nmetadata: {name: " name "}\n" rest "\n"
#define SINK "spec: {sink: {uri: 'http://h/'}"
#define OF_CLASS(name, class)                                                                                          \
    DOC "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: " name                                    \
        ", annotations: {eventing.knative.dev/broker.class: " class "}}\nspec: {config: {apiVersion: v1, kind: "       \
                                                                    "ConfigMap, name: c}}\n"
#define TODAY "messaging.knative.dev/v1"
#define EVENTING "eventing.knative.dev/v1"
#define SOURCES "sources.knative.dev/v1"

static const char all[] = OBJECT(TODAY, "Channel", "x", "") OBJECT(TODAY, "InMemoryChannel", "x", "") OBJECT(
    TODAY, "KafkaChannel", "x", "") OBJECT(TODAY, "Subscription", "x",
                                           "spec: {channel: {apiVersion: " TODAY
                                           ", kind: Channel, name: x}, subscriber: {uri: 'http://h/'}}")
    OBJECT(EVENTING, "Broker", "x", "") OF_CLASS("kafka", "Kafka") OF_CLASS("rabbit", "RabbitMQBroker")
        OBJECT(EVENTING, "Trigger", "x", "spec: {broker: x, subscriber: {uri: 'http://h/'}}") OBJECT(
            "eventing.knative.dev/v1beta3", "EventType", "x",
            "spec: {attributes: [{name: type, value: t, required: true}, {name: source, value: s, "
            "required: true}, {name: specversion, value: '1.0', required: true}, {name: id, required: "
            "true}]}") OBJECT("eventing.knative.dev/v1alpha1", "RequestReply", "x",
                              "spec: {brokerRef: {kind: Broker, apiVersion: " EVENTING ", name: x}}")
            OBJECT("eventing.knative.dev/v1alpha1", "EventTransform", "x", "spec: {jsonata: {expression: a}}") OBJECT(
                "eventing.knative.dev/v1alpha1", "KafkaSink", "x", "spec: {topic: t, bootstrapServers: ['k:9092']}")
                OBJECT("flows.knative.dev/v1", "Sequence", "x", "spec: {steps: [{uri: 'http://h/'}]}") OBJECT(
                    "flows.knative.dev/v1", "Parallel", "x", "spec: {branches: [{subscriber: {uri: 'http://h/'}}]}")
                    OBJECT("sources.knative.dev/v1alpha1", "GitHubSource", "x",
                           SINK
                           ", eventTypes: [push], ownerAndRepository: a/b, accessToken: {secretKeyRef: {name: s, key: "
                           "k}}, secretToken: {secretKeyRef: {name: s, key: k}}}")
                        OBJECT("sources.knative.dev/v1", "KafkaSource", "x",
                               SINK ", topics: [t], bootstrapServers: ['k:9092']}")
                            OBJECT(
                                "sources.knative.dev/v1alpha1", "RabbitmqSource", "x",
                                SINK
                                ", rabbitmqClusterReference: {connectionSecret: {name: s}}, rabbitmqResourcesConfig: "
                                "{queueName: q, predeclared: true}}") OBJECT("events.cloud.google.com/v1",
                                                                             "CloudPubSubSource", "x",
                                                                             SINK ", topic: t}")
                                OBJECT(SOURCES, "ContainerSource", "x",
                                       SINK ", template: {spec: {containers: [{image: i}]}}}")
                                    OBJECT(SOURCES, "SinkBinding", "x",
                                           SINK ", subject: {apiVersion: apps/v1, kind: Deployment, name: d}}")
                                        OBJECT(
                                            SOURCES, "ApiServerSource", "x",
                                            SINK
                                            ", serviceAccountName: default, resources: [{apiVersion: v1, kind: Pod}]}")
                                            OBJECT(SOURCES, "PingSource", "x", SINK ", schedule: '* * * * *'}")
                                                OBJECT("channels.knative.dev/v1alpha1", "Bus", "x",
                                                       "spec: {dispatcher: {name: d, image: x/buses/stub/d}}")
                                                    OBJECT("channels.knative.dev/v1alpha1", "ClusterBus", "x",
                                                           "spec: {dispatcher: {name: d, image: x/buses/stub/d}}")
                                                        OBJECT("channels.knative.dev/v1alpha1", "Channel", "x",
                                                               "spec: {clusterBus: stub}")
                                                            OBJECT("channels.knative.dev/v1alpha1", "Subscription", "x",
                                                                   "spec: {channel: x, subscriber: svc}")
                                                                OBJECT("feeds.knative.dev/v1alpha1", "Feed", "x",
                                                                       "spec: {action: {dnsName: h.example}, trigger: "
                                                                       "{eventType: t, resource: r, "
                                                                       "service: s}}")
                                                                    OBJECT("flows.knative.dev/v1alpha1", "Flow", "x",
                                                                           "spec: {action: {target: {kind: Service, "
                                                                           "apiVersion: v1, name: s}}, trigger: "
                                                                           "{eventType: t, resource: r, service: s}}");

/* What Ready is made of, and (apart) what it is not made of. Names: of the object, where it is another than x. */
static const struct row {
    const char *word, *name, *of_ready, *apart;
} rows[] = {
    {"channels.messaging.knative.dev", "x", "BackingChannelReady Addressable DeadLetterSinkResolved EventPoliciesReady",
     ""},
    {"inmemorychannels", "x",
     "DispatcherReady ServiceReady EndpointsReady ChannelServiceReady Addressable DeadLetterSinkResolved "
     "EventPoliciesReady",
     ""},
    {"kafkachannels", "x",
     "Addressable ConfigParsed ConfigMapUpdated TopicReady ProbeSucceeded Subscribers DeadLetterSinkResolved "
     "EventPoliciesReady",
     ""},
    {"subscriptions.messaging.knative.dev", "x", "ReferencesResolved ChannelReady AddedToChannel OIDCIdentityCreated",
     "DeliveryHealthy"},
    {"brokers", "x",
     "IngressReady TriggerChannelReady FilterReady Addressable DeadLetterSinkResolved EventPoliciesReady", ""},
    {"brokers", "kafka",
     "Addressable ConfigParsed ConfigMapUpdated TopicReady DataPlaneAvailable ProbeSucceeded DeadLetterSinkResolved "
     "EventPoliciesReady",
     ""},
    {"brokers", "rabbit",
     "SecretReady ExchangeReady DLXReady DeadLetterSinkReady IngressReady Addressable DeadLetterSinkResolved "
     "EventPoliciesReady",
     ""},
    {"triggers", "x",
     "BrokerReady SubscriptionReady DependencyReady SubscriberResolved DeadLetterSinkResolved OIDCIdentityCreated",
     "DeliveryHealthy"},
    {"eventtypes.eventing.knative.dev", "x", "ReferenceExists", ""},
    {"requestreplies", "x", "BuiltIn", ""},
    {"eventtransforms", "x", "BuiltIn", ""},
    {"kafkasinks", "x",
     "Addressable ConfigParsed ConfigMapUpdated TopicReady DataPlaneAvailable ProbeSucceeded EventPoliciesReady", ""},
    {"sequences", "x", "ChannelsReady SubscriptionsReady Addressable EventPoliciesReady", ""},
    {"parallels", "x", "ChannelsReady SubscriptionsReady Addressable EventPoliciesReady", ""},
    {"githubsources", "x", "SecretsProvided SinkProvided", "WebhookConfigured DeliveryHealthy"},
    {"kafkasources", "x",
     "SinkProvided Deployed KeyTypeCorrect ConnectionEstablished InitialOffsetsCommitted OIDCIdentityCreated",
     "DeliveryHealthy"},
    {"rabbitmqsources", "x", "SinkProvided Deployed SecretReady ExchangeReady", "DeliveryHealthy"},
    {"cloudpubsubsources", "x", "SinkProvided PullSubscriptionReady", "DeliveryHealthy"},
    {"containersources", "x", "SinkBindingReady ReceiveAdapterReady", "DeliveryHealthy"},
    {"sinkbindings", "x",
     "SinkProvided SinkBindingAvailable OIDCIdentityCreated OIDCTokenSecretCreated TrustBundlePropagated", ""},
    {"apiserversources", "x", "SinkProvided Deployed SufficientPermissions OIDCIdentityCreated", "DeliveryHealthy"},
    {"pingsources", "x", "SinkProvided Deployed OIDCIdentityCreated", "DeliveryHealthy"},
    {"buses", "x", "Provisioning Dispatching Serviceable", ""},
    {"clusterbuses", "x", "Provisioning Dispatching Serviceable", ""},
    {"channels.channels.knative.dev", "x", "Provisioned Routeable Serviceable", ""},
    {"subscriptions.channels.knative.dev", "x", "Dispatching", "DeliveryHealthy"},
    {"feeds", "x", "DependenciesSatisfied", "WebhookConfigured"},
    {"flows", "x", "ActionTargetResolved ChannelReady SubscriptionReady FeedReady", "WebhookConfigured"},
};

static struct clock_fake now;
static struct resource_table *table;
static struct plan *plan;

static int setup(void **state)
{
    (void)state;
    clock_fake_init(&now, 1, 1533038400ll * 1000000000ll); /* 2018-07-31T12:00:00Z */
    table = rig_table(all, &now.base);
    plan = rig_plan(table, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    plan_unref(plan);
    resource_table_free(table);
    return 0;
}

static const struct resource *object_of(const struct row *row)
{
    const struct kind *k = kind_by_word(row->word);
    if (!k)
        fail_msg("there is no kind %s", row->word);
    const struct resource *r = resource_get(table, k, "default", row->name);
    if (!r)
        fail_msg("there is no %s %s", row->word, row->name);
    return r;
}

static const cJSON *conditions(const struct resource *r)
{
    return cJSON_GetObjectItem(rig_status(r), "conditions");
}

static bool has_word(const char *words, const char *word)
{
    struct slice rest = slice_str(words);
    while (rest.len)
        if (slice_eq_str(slice_split(&rest, ' '), word))
            return true;
    return false;
}

static size_t count_words(const char *words)
{
    size_t n = 0;
    for (struct slice rest = slice_str(words); rest.len; n++)
        slice_split(&rest, ' ');
    return n;
}

static void test_each_kind_has_its_own(void **state)
{
    size_t failures = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct resource *r = object_of(&rows[i]);
        const cJSON *each;
        size_t n = 0;
        cJSON_ArrayForEach(each, conditions(r)) {
            const char *type = rig_text(each, "type");
            n++;
            if (strcmp(type, "Ready") != 0 && !has_word(rows[i].of_ready, type) && !has_word(rows[i].apart, type))
                print_error("%s %s: has %s\n", rows[i].word, r->name, type), failures++;
        }
        if (n != 1 + count_words(rows[i].of_ready) + count_words(rows[i].apart))
            print_error("%s %s: %zu conditions\n", rows[i].word, r->name, n), failures++;
    }
    assert_int_equal(failures, 0);
}

static void test_no_kind_is_left_out(void **state)
{
    static const char without[] = "RabbitmqBrokerConfig EventSource EventType ClusterEventSource ClusterEventType";
    const struct kind *k;
    (void)state;
    for (size_t i = 0; (k = kind_at(i)); i++) {
        bool found = !k->has_status || has_word(without, k->kind);
        for (size_t j = 0; j < COUNT(rows) && !found; j++) {
            const struct kind *of = kind_by_word(rows[j].word);
            found = strcmp(of->kind, k->kind) == 0 && strcmp(of->group, k->group) == 0;
        }
        if (!found)
            fail_msg("%s of %s has a status, and no row here", k->kind, k->group);
    }
}

static void set(const struct resource *r, struct slice type, const char *status, const char *reason)
{
    char text[80];
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(type));
    assert_int_equal(resource_set_condition(table, r, text, status, reason, reason ? "why" : NULL), OK);
}

static void set_all(const struct resource *r, const char *types)
{
    struct slice rest = slice_str(types);
    while (rest.len)
        set(r, slice_split(&rest, ' '), "True", NULL);
}

/* Ready is True when all are; one that is False or Unknown makes it so, with its reason. */
static void check_ready(const struct row *row)
{
    const struct resource *r = object_of(row);
    set_all(r, row->of_ready);
    set_all(r, row->apart);
    assert_string_equal(rig_condition(r, "Ready"), "True");
    for (struct slice rest = slice_str(row->of_ready); rest.len;) {
        struct slice type = slice_split(&rest, ' ');
        set(r, type, "False", "Because");
        assert_string_equal(rig_condition(r, "Ready"), "False Because why");
        set(r, type, "Unknown", "Later");
        assert_string_equal(rig_condition(r, "Ready"), "Unknown Later why");
        set(r, type, "True", NULL);
        assert_string_equal(rig_condition(r, "Ready"), "True");
    }
    for (struct slice rest = slice_str(row->apart); rest.len;) {
        struct slice type = slice_split(&rest, ' ');
        set(r, type, "False", "Because");
        assert_int_equal(strncmp(rig_condition(r, "Ready"), "True", 4), 0);
        set(r, type, "True", NULL);
    }
}

static void test_ready_is_made_of_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        check_ready(&rows[i]);
}

static const char *since(const struct resource *r, const char *type)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, conditions(r))
        if (strcmp(rig_text(each, "type"), type) == 0)
            return rig_text(each, "lastTransitionTime");
    return "";
}

static void test_the_time_changes_with_the_value(void **state)
{
    static const char begin[] = "2018-07-31T12:00:00Z", later[] = "2018-07-31T12:01:00Z";
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct resource *r = object_of(&rows[i]);
        struct slice rest = slice_str(rows[i].of_ready), first = slice_split(&rest, ' ');
        char type[80];
        snprintf(type, sizeof type, "%.*s", SLICE_ARG(first));
        now.wall = 1533038400ll * 1000000000ll;
        set(r, first, "Unknown", "Once");
        set(r, first, "False", "Once");
        assert_string_equal(since(r, type), begin);
        clock_fake_advance(&now, 60 * NS_PER_S);
        set(r, first, "False", "Twice");
        assert_string_equal(since(r, type), begin);
        set(r, first, "True", NULL);
        assert_string_equal(since(r, type), later);
    }
}

static void test_the_generation_that_they_are_of(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct resource *r = object_of(&rows[i]);
        const cJSON *seen = cJSON_GetObjectItem(rig_status(r), "observedGeneration");
        assert_true(cJSON_IsNumber(seen));
        assert_int_equal(seen->valueint,
                         cJSON_GetObjectItem(cJSON_GetObjectItem(r->object, "metadata"), "generation")->valueint);
    }
}

/* ---- DeliveryHealthy ---- */

#define HEALTH(name) rig_condition(rig_get(table, name, "x"), "DeliveryHealthy")

static void test_health(void **state)
{
    static const char key[] = "Trigger.eventing.knative.dev/default/x", unknown[] = "Unknown NothingDelivered no "
                                                                                    "delivery has been tried yet";
    (void)state;
    assert_string_equal(HEALTH("trigger"), unknown);
    assert_int_equal(resource_report_health(table, key, false, "DeliveryFailing", "it answered 503"), OK);
    assert_string_equal(HEALTH("trigger"), "False DeliveryFailing it answered 503");
    assert_string_equal(rig_condition(rig_get(table, "trigger", "x"), "Ready"), "True");
    uint64_t version = rig_get(table, "trigger", "x")->version;
    assert_int_equal(resource_report_health(table, key, false, "DeliveryFailing", "it answered 503"), OK);
    assert_int_equal(rig_get(table, "trigger", "x")->version, version); /* nothing new, nothing written */
    /* It is not the plan's, and outlives one. */
    plan_unref(plan);
    plan = rig_plan(table, NULL);
    assert_string_equal(HEALTH("trigger"), "False DeliveryFailing it answered 503");
    assert_int_equal(rig_get(table, "trigger", "x")->version, version);
    assert_int_equal(resource_report_health(table, key, true, NULL, NULL), OK);
    assert_string_equal(HEALTH("trigger"), "True");
}

static void test_health_of_what_has_none(void **state)
{
    static const char *const keys[] = {"Channel.messaging.knative.dev/default/x",
                                       "Trigger.eventing.knative.dev/default/none",
                                       "Sequence.flows.knative.dev/default/x/steps/0", "nonsense"};
    uint64_t version = resource_table_version(table);
    (void)state;
    for (size_t i = 0; i < COUNT(keys); i++)
        assert_int_equal(resource_report_health(table, keys[i], false, "R", "m"), OK);
    assert_int_equal(resource_table_version(table), version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_kind_has_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_kind_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ready_is_made_of_them, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_time_changes_with_the_value, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_generation_that_they_are_of, setup, teardown),
        cmocka_unit_test_setup_teardown(test_health, setup, teardown),
        cmocka_unit_test_setup_teardown(test_health_of_what_has_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
