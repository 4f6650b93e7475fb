/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels on Google Pub/Sub in the plan: the names of topics and subscriptions, today's and those that Knative's Bus
 * gcppubsub of 2018 gave; that bus's project and key; and what is wrong with it.
 */
#include "../lib/cluster_rig.h"

#define CHANNEL(name, annotations)                                                                                     \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: " name ", annotations: {" annotations   \
        "}}\n"
#define SUBSCRIPTION(name, channel)                                                                                    \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: " name "}\nspec: {channel: "       \
        "{apiVersion: messaging.knative.dev/v1, kind: Channel, name: " channel "}, subscriber: {uri: 'http://h/'}}\n"
#define BUS_2018(kind, name, env, more)                                                                                \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: " kind "\nmetadata: {name: " name                            \
        "}\nspec: {dispatcher: {name: d, image: x/buses/gcppubsub/dispatcher, env: [" env "]" more "}\n"
#define MOUNT                                                                                                          \
    ", volumeMounts: [{name: google-cloud-key, mountPath: /var/secrets/google}]}, volumes: [{name: google-cloud-key, " \
    "secret: {secretName: gcppubsub-bus-key}}]"
#define CHANNEL_2018(name, rest)                                                                                       \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Channel\nmetadata: {name: " name "}\nspec: {" rest "}\n"
#define SUBSCRIPTION_2018(name, channel)                                                                               \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Subscription\nmetadata: {name: " name                        \
        "}\nspec: {channel: " channel ", subscriber: svc}\n"
#define C(name) "Channel.messaging.knative.dev/default/" name
#define C18(name) "Channel.channels.knative.dev/default/" name
#define PROJECT "{name: GOOGLE_CLOUD_PROJECT, value: a-project}"
#define EMULATOR "{name: PUBSUB_EMULATOR_HOST, value: 'localhost:8085'}"
#define KEY_FILE "{name: GOOGLE_APPLICATION_CREDENTIALS, value: /var/secrets/google/key.json}"

static const struct bus_param own[] = {{"project", "a-project"}, {"emulator", "localhost:8085"}};

static struct plan *plan_on_pubsub(struct resource_table *t)
{
    return plan_on(t, "pubsub", own, 2);
}

static void test_today(void **state)
{
    (void)state;
    struct resource_table *t =
        rig_table(CHANNEL("c", "leat.dev/partitions: '1', leat.dev/capacity: 1MiB") SUBSCRIPTION("s", "c")
                      CHANNEL("theirs", "leat.dev/pubsub-external-topic: projects/other/topics/orders")
                          CHANNEL("named", "leat.dev/pubsub-topic: orders"),
                  clock_system());
    struct plan *p = plan_on_pubsub(t);
    char text[200];
    assert_string_equal(bus_of(p, C("c"))->type, "pubsub");
    assert_string_equal(channel_params(p, C("c")), "topic=leat.default.c partitions=1");
    assert_string_equal(channel_params(p, C("theirs")), "topic=projects/other/topics/orders topic.external=true");
    assert_string_equal(channel_params(p, C("named")), "topic=orders");
    snprintf(text, sizeof text, "subscription=leat.default.s.%s order=none", rig_subscription(p, "s")->cursor);
    assert_string_equal(subscription_params(p, "s"), text);
    done(t, p);
}

static void test_order(void **state)
{
    static const char *const cases[][2] = {{"none", " order=none"}, {"key", ""}, {"strict", ""}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char manifest[1000], text[200];
        snprintf(manifest, sizeof manifest,
                 CHANNEL("c", "leat.dev/partitions: '1'") DOC
                 "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s, annotations: "
                 "{leat.dev/order: %s}}\nspec: {channel: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: "
                 "c}, subscriber: {uri: 'http://h/'}}\n",
                 cases[i][0]);
        struct resource_table *t = rig_table(manifest, clock_system());
        struct plan *p = plan_on_pubsub(t);
        snprintf(text, sizeof text, "subscription=leat.default.s.%s%s", rig_subscription(p, "s")->cursor, cases[i][1]);
        assert_string_equal(subscription_params(p, "s"), text);
        done(t, p);
    }
}

#define SEQUENCE                                                                                                       \
    DOC "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: q}\nspec: {steps: [{uri: "                 \
        "'http://h/0'}, {uri: 'http://h/1'}]}\n"

/* Each step has a topic of its own. */
static void test_a_sequence(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(SEQUENCE, clock_system());
    struct plan *p = plan_on_pubsub(t);
    assert_int_equal(p->channel_count, 2);
    assert_string_equal(channel_params(p, p->channels[0].key), "topic=leat.default.q-kn-sequence-0");
    assert_string_equal(channel_params(p, p->channels[1].key), "topic=leat.default.q-kn-sequence-1");
    assert_string_equal(rig_condition(rig_get(t, "sequence", "q"), "Ready"), "True");
    done(t, p);
}

/* A step whose topic is somebody else's is nowhere, and the one before it keeps its events. */
static void test_a_sequence_without_one_of_its_topics(void **state)
{
    (void)state;
    struct resource_table *t =
        rig_table(CHANNEL("c", "leat.dev/pubsub-topic: leat.default.q-kn-sequence-1") SEQUENCE, clock_system());
    struct plan *p = plan_on_pubsub(t);
    const char *said = rig_condition(rig_get(t, "sequence", "q"), "SubscriptionsReady");
    if (!strstr(said, "the topic leat.default.q-kn-sequence-1 is that of Channel default/c"))
        fail_msg("%s", said);
    for (size_t i = 0; i < p->subscription_count; i++) {
        assert_true(p->subscriptions[i].paused);
        assert_int_equal(p->subscriptions[i].reply.kind, PLAN_TARGET_NONE);
    }
    done(t, p);
}

static void test_2018(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(
        BUS_2018("Bus", "pipe", PROJECT ", " EMULATOR, "}") CHANNEL_2018("a", "bus: pipe") SUBSCRIPTION_2018("s", "a")
            CHANNEL_2018("free", "clusterBus: gcppubsub") SUBSCRIPTION_2018("t", "free"),
        clock_system());
    struct plan *p = plan_on_pubsub(t);
    assert_string_equal(bus_of(p, C18("a"))->key, "Bus/default/pipe");
    assert_string_equal(bus_of(p, C18("a"))->type, "pubsub");
    assert_string_equal(bus_params(p, C18("a")), "emulator=localhost:8085 project=a-project");
    assert_string_equal(channel_params(p, C18("a")), "topic=channel-pipe-default-a");
    assert_string_equal(subscription_params(p, "s"), "subscription=subscription-pipe-default-s order=none");
    assert_string_equal(rig_condition(rig_get(t, "bus", "pipe"), "Ready"), "True");
    /* One that is not declared is the default bus, where that is Pub/Sub. */
    assert_string_equal(bus_of(p, C18("free"))->key, "pubsub");
    assert_string_equal(channel_params(p, C18("free")), "topic=channel-gcppubsub-default-free");
    assert_string_equal(subscription_params(p, "t"), "subscription=subscription-gcppubsub-default-t order=none");
    done(t, p);
}

/* What its feed reports is in FeedReady; its own key is its channel's. */
static void test_the_feed_of_a_flow(void **state)
{
    (void)state;
    struct resource_table *t =
        rig_table(DOC "apiVersion: flows.knative.dev/v1alpha1\nkind: Flow\nmetadata: {name: f}\nspec:\n"
                      "  action: {targetURI: 'http://h/'}\n  trigger: {eventType: google.pubsub.topic.publish, "
                      "resource: projects/p/topics/orders}\n" DOC
                      "apiVersion: channels.knative.dev/v1alpha1\nkind: ClusterBus\nmetadata: {name: stub}\nspec: "
                      "{dispatcher: {name: d, image: x/buses/stub/dispatcher}}\n",
                  clock_system());
    struct plan *p = plan_on(t, "memory", NULL, 0);
    assert_int_equal(p->source_count, 1);
    assert_string_equal(p->sources[0].key, "Flow.flows.knative.dev/default/f/#feed");
    assert_int_equal(resource_report(t, p->sources[0].key, "PermissionDenied", "the topic is not ours"), OK);
    const struct resource *r = rig_get(t, "flow", "f");
    assert_string_equal(rig_condition(r, "FeedReady"), "False PermissionDenied the topic is not ours");
    assert_string_equal(rig_condition(r, "ChannelReady"), "True");
    done(t, p);
}

static void test_2018_that_is_wrong(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {BUS_2018("Bus", "pipe", "", "}") CHANNEL_2018("a", "bus: pipe"),
         "False ProjectMissing Bus pipe: the environment of its dispatcher has no GOOGLE_CLOUD_PROJECT; write the "
         "project's id there"},
        {BUS_2018("Bus", "pipe", PROJECT ", " KEY_FILE, MOUNT) CHANNEL_2018("a", "bus: pipe"),
         "False SecretNotFound Bus pipe: Secret gcppubsub-bus-key is not declared"},
        {BUS_2018("Bus", "pipe", PROJECT ", " KEY_FILE, MOUNT) DOC
         "apiVersion: v1\nkind: Secret\nmetadata: {name: gcppubsub-bus-key}\nstringData: {other: x}\n" CHANNEL_2018(
             "a", "bus: pipe"),
         "False SecretKeyNotFound Secret default/gcppubsub-bus-key has no key \"key.json\""},
        {BUS_2018("Bus", "pipe", PROJECT ", " KEY_FILE, MOUNT) DOC
         "apiVersion: v1\nkind: Secret\nmetadata: {name: gcppubsub-bus-key}\nstringData: {key.json: "
         "hunter2}\n" CHANNEL_2018("a", "bus: pipe"),
         "False InvalidParameters the key is no JSON"},
        {CHANNEL_2018("a", "clusterBus: gcppubsub"),
         "False BusNotFound ClusterBus gcppubsub is not declared, and the default bus is not Google Pub/Sub: declare "
         "it, with the project in GOOGLE_CLOUD_PROJECT of its dispatcher's environment"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct resource_table *t = rig_table(cases[i].text, clock_system());
        struct plan *p = plan_on(t, "memory", NULL, 0);
        const char *said = rig_condition(rig_get(t, "channels.channels.knative.dev", "a"), "Provisioned");
        if (strncmp(said, cases[i].said, strlen(cases[i].said)) != 0)
            fail_msg("%s", said);
        assert_null(strstr(said, "hunter2"));
        done(t, p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_today),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_a_sequence),
        cmocka_unit_test(test_a_sequence_without_one_of_its_topics),
        cmocka_unit_test(test_2018),
        cmocka_unit_test(test_the_feed_of_a_flow),
        cmocka_unit_test(test_2018_that_is_wrong),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
