/* SPDX-License-Identifier: Apache-2.0
 *
 * Sequences and Parallels: the channels and subscriptions that they stand for, and their statuses.
 */
#include "../lib/resource_rig.h"

#define DOC "---\n"
#define FLOW(kind, name, spec)                                                                                         \
    DOC "apiVersion: flows.knative.dev/v1\nkind: " kind "\nmetadata: {name: " name "}\nspec:\n" spec
#define URI(host) "uri: 'http://" host "/'"
#define BEGIN(text)                                                                                                    \
    struct resource_table *t = rig_table(text, clock_system());                                                        \
    struct plan *p = rig_plan(t, NULL)

static const struct plan_subscription *subscription_of(const struct plan *p, const char *key)
{
    for (size_t i = 0; i < p->subscription_count; i++)
        if (strcmp(p->subscriptions[i].key, key) == 0)
            return &p->subscriptions[i];
    fail_msg("no %s", key);
    return NULL;
}

static const struct plan_channel *channel_of(const struct plan *p, const char *key)
{
    for (size_t i = 0; i < p->channel_count; i++)
        if (strcmp(p->channels[i].key, key) == 0)
            return &p->channels[i];
    fail_msg("no %s", key);
    return NULL;
}

/* "FROM → SUBSCRIBER [→ REPLY]": keys of channels, or URLs. */
static void leads(const struct plan *p, const char *key, const char *from, const char *subscriber, const char *reply)
{
    const struct plan_subscription *s = subscription_of(p, key);
    assert_string_equal(p->channels[s->channel].key, from);
    assert_string_equal(s->subscriber.url, subscriber);
    assert_int_equal(s->reply.kind != PLAN_TARGET_NONE, reply != NULL);
    if (s->reply.kind == PLAN_TARGET_CHANNEL)
        assert_string_equal(p->channels[s->reply.channel].key, reply);
    else if (reply)
        assert_string_equal(s->reply.url, reply);
    assert_false(s->reply_must_be_event);
}

static const cJSON *status_of(const struct resource *r, const char *name)
{
    assert_non_null(r);
    return cJSON_GetObjectItem(rig_status(r), name);
}

/* The name and readiness that a status has of what stands for a part. */
static void stands_for(const cJSON *of, const char *field, const char *name, const char *ready)
{
    assert_string_equal(rig_text(cJSON_GetObjectItem(of, field), "name"), name);
    assert_string_equal(rig_text(cJSON_GetObjectItem(of, "ready"), "status"), ready);
}

static void done(struct resource_table *t, struct plan *p)
{
    plan_unref(p);
    resource_table_free(t);
}

#define SEQUENCE "Sequence.flows.knative.dev/default/s"
#define PARALLEL "Parallel.flows.knative.dev/default/p"

static void test_sequence(void **state)
{
    (void)state;
    BEGIN(FLOW("Sequence", "s",
               "  steps:\n  - {" URI("a") "}\n  - {" URI("b") ", delivery: {retry: 2, backoffDelay: PT1S, "
                                                              "deadLetterSink: {" URI("dead") "}}}\n  - {" URI(
                                                                  "c") "}\n"
                                                                       "  reply: {" URI("r") "}\n"));
    assert_int_equal(p->channel_count, 3);
    assert_int_equal(p->subscription_count, 3);
    const struct plan_channel *c = channel_of(p, SEQUENCE);
    assert_string_equal(c->path, "/sequences/default/s");
    assert_string_equal(c->bus_name, "sequences/default/s");
    assert_string_equal(c->name, "s-kn-sequence-0");
    assert_string_equal(c->hosts[0], "s-kn-sequence-0-kn-channel.default.svc.cluster.local");
    assert_false(c->broker);
    const struct plan_channel *second = channel_of(p, SEQUENCE "/steps/1");
    assert_string_equal(second->path, "/sequences/default/s/steps/1");
    assert_string_equal(second->bus_name, "sequences/default/s/steps/1");
    leads(p, SEQUENCE "/steps/0", SEQUENCE, "http://a/", SEQUENCE "/steps/1");
    leads(p, SEQUENCE "/steps/1", SEQUENCE "/steps/1", "http://b/", SEQUENCE "/steps/2");
    leads(p, SEQUENCE "/steps/2", SEQUENCE "/steps/2", "http://c/", "http://r/");
    const struct plan_subscription *s = subscription_of(p, SEQUENCE "/steps/1");
    assert_string_equal(s->name, "s-kn-sequence-1");
    assert_int_equal(s->delivery->retry, 2);
    assert_string_equal(s->dead_letter.url, "http://dead/");
    assert_int_equal(subscription_of(p, SEQUENCE "/steps/2")->delivery->retry, 0);
    const struct resource *r = rig_get(t, "sequence", "s");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(rig_condition(r, "ChannelsReady"), "True");
    assert_string_equal(rig_condition(r, "SubscriptionsReady"), "True");
    assert_string_equal(rig_condition(r, "Addressable"), "True");
    assert_string_equal(rig_text(status_of(r, "address"), "url"), "http://127.0.0.1:8080/sequences/default/s");
    assert_int_equal(cJSON_GetArraySize(status_of(r, "channelStatuses")), 3);
    stands_for(cJSON_GetArrayItem(status_of(r, "channelStatuses"), 2), "channel", "s-kn-sequence-2", "True");
    stands_for(cJSON_GetArrayItem(status_of(r, "subscriptionStatuses"), 1), "subscription", "s-kn-sequence-1", "True");
    done(t, p);
}

/* Keys and uids depend on the place alone, so that streams outlive a change; two parts never share one. */
static void test_identities(void **state)
{
    (void)state;
    BEGIN(FLOW("Sequence", "s", "  steps: [{" URI("a") "}, {" URI("b") "}]\n")
              FLOW("Parallel", "p", "  branches: [{filter: {" URI("f") "}, subscriber: {" URI("a") "}}]\n"));
    const char *uid = rig_get(t, "sequence", "s")->uid;
    char wanted[60];
    snprintf(wanted, sizeof wanted, "%s-steps-1", uid);
    assert_string_equal(subscription_of(p, SEQUENCE "/steps/1")->uid, wanted);
    assert_string_equal(channel_of(p, SEQUENCE)->uid, uid);
    for (size_t i = 0; i < p->subscription_count; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(p->subscriptions[i].uid, p->subscriptions[k].uid);
    for (size_t i = 0; i < p->channel_count; i++)
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(p->channels[i].uid, p->channels[k].uid);
            assert_string_not_equal(p->channels[i].path, p->channels[k].path);
        }
    done(t, p);
}

static void test_parallel(void **state)
{
    (void)state;
    BEGIN(FLOW(
        "Parallel", "p",
        "  branches:\n"
        "  - {subscriber: {" URI(
            "a") "}}\n"
                 "  - {filter: {" URI("f") "}, subscriber: {" URI("b") "}, reply: {" URI(
                     "own") "}, delivery: {retry: 4}}\n"
                            "  - {filter: {" URI(
                                "g") "}, subscriber: {ref: {kind: Sequence, apiVersion: flows.knative.dev/v1, name: "
                                     "s}}}\n"
                                     "  reply: {ref: {kind: Broker, apiVersion: eventing.knative.dev/v1, name: b}}\n")
              FLOW("Sequence", "s", "  steps: [{" URI("x") "}]\n") DOC
          "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n");
    assert_string_equal(channel_of(p, PARALLEL)->path, "/parallels/default/p");
    assert_string_equal(channel_of(p, PARALLEL)->name, "p-kn-parallel");
    leads(p, PARALLEL "/branches/0", PARALLEL, "http://a/", "Broker.eventing.knative.dev/default/b");
    leads(p, PARALLEL "/filters/1", PARALLEL, "http://f/", PARALLEL "/branches/1");
    leads(p, PARALLEL "/branches/1", PARALLEL "/branches/1", "http://b/", "http://own/");
    leads(p, PARALLEL "/branches/2", PARALLEL "/branches/2", "http://127.0.0.1:8080/sequences/default/s",
          "Broker.eventing.knative.dev/default/b");
    /* Delivery is the subscriber's, not the filter's. */
    assert_int_equal(subscription_of(p, PARALLEL "/branches/1")->delivery->retry, 4);
    assert_int_equal(subscription_of(p, PARALLEL "/filters/1")->delivery->retry, 0);
    const struct resource *r = rig_get(t, "parallel", "p");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    stands_for(status_of(r, "ingressChannelStatus"), "channel", "p-kn-parallel", "True");
    const cJSON *branches = status_of(r, "branchStatuses"), *one = cJSON_GetArrayItem(branches, 1);
    assert_int_equal(cJSON_GetArraySize(branches), 3);
    stands_for(cJSON_GetObjectItem(one, "filterSubscriptionStatus"), "subscription", "p-kn-parallel-filter-1", "True");
    stands_for(cJSON_GetObjectItem(one, "filterChannelStatus"), "channel", "p-kn-parallel-1", "True");
    stands_for(cJSON_GetObjectItem(one, "subscriberSubscriptionStatus"), "subscription", "p-kn-parallel-1", "True");
    assert_null(cJSON_GetObjectItem(cJSON_GetArrayItem(branches, 0), "filterChannelStatus"));
    done(t, p);
}

/* What was accepted for a step that is not there yet waits for it. */
static void test_a_step_that_does_not_resolve(void **state)
{
    (void)state;
    BEGIN(FLOW("Sequence", "s", "  steps: [{" URI("a") "}, {ref: {kind: Service, name: x}}, {" URI("c") "}]\n"));
    assert_false(subscription_of(p, SEQUENCE "/steps/0")->paused);
    assert_true(subscription_of(p, SEQUENCE "/steps/1")->paused);
    assert_false(subscription_of(p, SEQUENCE "/steps/2")->paused);
    const struct resource *r = rig_get(t, "sequence", "s");
    const char *said = rig_condition(r, "Ready");
    assert_int_equal(strncmp(said, "False NotFound steps[1]: Service default/x is not declared", 58), 0);
    assert_non_null(strstr(said, "; the events are kept until it is there"));
    assert_string_equal(rig_condition(r, "Addressable"), "True");
    stands_for(cJSON_GetArrayItem(status_of(r, "subscriptionStatuses"), 1), "subscription", "s-kn-sequence-1", "False");
    done(t, p);
}

static void test_annotations_count_for_all_parts(void **state)
{
    (void)state;
    BEGIN(FLOW("Sequence",
               "s, annotations: {leat.dev/order: strict, leat.dev/partitions: '1', leat.dev/capacity: 1MiB, "
               "leat.dev/max-in-flight: '3'}",
               "  steps: [{" URI("a") "}, {" URI("b") "}]\n")
              FLOW("Sequence", "many, annotations: {leat.dev/order: strict}", "  steps: [{" URI("a") "}]\n")
                  FLOW("Parallel", "p, annotations: {leat.dev/paused: 'true'}",
                       "  branches: [{filter: {" URI("f") "}, subscriber: {" URI("a") "}}]\n"));
    for (unsigned i = 0; i < 2; i++) {
        const struct plan_subscription *s = subscription_of(p, i ? SEQUENCE "/steps/1" : SEQUENCE "/steps/0");
        assert_int_equal(s->order, ORDER_STRICT);
        assert_int_equal(s->in_flight_max, 3);
        assert_true(s->one_loop);
        assert_int_equal(p->channels[s->channel].param_count, 2);
    }
    assert_true(subscription_of(p, PARALLEL "/filters/0")->paused);
    assert_true(subscription_of(p, PARALLEL "/branches/0")->paused);
    assert_int_equal(strncmp(rig_condition(rig_get(t, "parallel", "p"), "Ready"), "True Paused", 11), 0);
    assert_int_equal(
        strncmp(rig_condition(rig_get(t, "sequence", "many"), "Ready"), "False OrderNeedsOnePartition", 28), 0);
    assert_int_equal(p->subscription_count, 4);
    done(t, p);
}

static void test_a_template_that_is_not_built_in(void **state)
{
    (void)state;
    BEGIN(
        FLOW("Sequence", "s", "  steps: [{" URI("a") "}]\n  channelTemplate: {apiVersion: x/v1, kind: NatssChannel}\n")
            FLOW("Parallel", "p",
                 "  branches: [{subscriber: {" URI("a") "}}]\n  channelTemplate: {apiVersion: "
                                                        "messaging.knative.dev/v1, kind: InMemoryChannel}\n"));
    const struct resource *r = rig_get(t, "sequence", "s");
    assert_int_equal(strncmp(rig_condition(r, "Ready"), "False ChannelKindNotBuiltIn", 27), 0);
    assert_null(status_of(r, "address"));
    assert_string_equal(rig_condition(rig_get(t, "parallel", "p"), "Ready"), "True");
    assert_int_equal(p->subscription_count, 1);
    done(t, p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence),
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_a_step_that_does_not_resolve),
        cmocka_unit_test(test_annotations_count_for_all_parts),
        cmocka_unit_test(test_a_template_that_is_not_built_in),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
