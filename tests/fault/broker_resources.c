/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation from manifest to plan fails once, cJSON's too: the answer is ERR_NOMEM, what was there before is
 * whole, nothing leaks.
 */
#include "../lib/resource_rig.h"

#include "../lib/fault.h"

#define STEP_MAX 20000 /* a run has some thousands of allocations; more is a loop that does not end */

static const char text[] =
    "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: a}\nspec: {delivery: {retry: 2, "
    "deadLetterSink: {uri: 'http://d/'}}}\n"
    "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s, annotations: "
    "{leat.dev/overflow: refuse}}\n"
    "spec: {channel: {kind: Channel, name: a}, subscriber: &there {ref: {kind: Service, apiVersion: v1, name: x}, uri: "
    "/y}, reply: *there}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {type: ExternalName, externalName: h, ports: "
    "[{port: 81}]}\n"
    "---\napiVersion: v1\nkind: Secret\nmetadata: {name: k}\nstringData: {j: '{\"accessToken\": \"a\", "
    "\"secretToken\": \"b\"}'}\n"
    "---\napiVersion: channels.knative.dev/v1alpha1\nkind: ClusterBus\nmetadata: {name: stub}\n"
    "spec: {dispatcher: {image: x/buses/stub/d}, parameters: {channel: [{name: capacity, default: 1MiB}, {name: z, "
    "default: y}]}}\n"
    "---\napiVersion: channels.knative.dev/v1alpha1\nkind: Channel\nmetadata: {name: o}\nspec: {clusterBus: stub}\n"
    "---\napiVersion: channels.knative.dev/v1alpha1\nkind: Subscription\nmetadata: {name: t}\nspec: {channel: o, "
    "subscriber: x, replyTo: o}\n"
    "---\napiVersion: flows.knative.dev/v1alpha1\nkind: Flow\nmetadata: {name: f}\n"
    "spec: {action: {targetURI: 'http://h/'}, trigger: {eventType: pullrequest, resource: o/r, parametersFrom: "
    "[{secretKeyRef: {name: k, key: j}}]}}\n"
    "---\napiVersion: sources.knative.dev/v1alpha1\nkind: GitHubSource\nmetadata: {name: g}\n"
    "spec: {ownerAndRepository: o/r, eventTypes: [push], accessToken: {secretKeyRef: {name: k, key: j}}, secretToken: "
    "{secretKeyRef: {name: k, key: j}},\n"
    "       sink: {ref: {kind: Channel, name: a}}, ceOverrides: {extensions: {e: v}}}\n"
    "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n"
    "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: e, annotations: {leat.dev/retry-on: "
    "'5xx', knative.dev/dependency: "
    "'{\"kind\":\"Broker\",\"name\":\"b\",\"apiVersion\":\"eventing.knative.dev/v1\"}'}}\n"
    "spec: {broker: b, subscriber: {uri: 'http://h/'}, filters: [{any: [{exact: {type: a}}, {prefix: {source: "
    "/b}}]}]}\n"
    "---\napiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: q}\n"
    "spec: {steps: [{uri: 'http://h/'}, {ref: {kind: Service, name: absent}}], reply: {ref: {kind: Broker, name: b}}}\n"
    "---\napiVersion: flows.knative.dev/v1\nkind: Parallel\nmetadata: {name: p}\n"
    "spec: {branches: [{filter: {uri: 'http://f/'}, subscriber: {uri: 'http://h/'}}]}\n"
    "---\napiVersion: eventing.knative.dev/v1beta2\nkind: EventType\nmetadata: {name: y}\nspec: {type: a, broker: b}\n"
    "---\napiVersion: v1\nkind: Secret\nmetadata: {name: r}\nstringData: {username: u, password: p, uri: "
    "'https://rabbit:15671', port: '5671'}\n"
    "---\napiVersion: eventing.knative.dev/v1alpha1\nkind: RabbitmqBrokerConfig\nmetadata: {name: c}\n"
    "spec: {rabbitmqClusterReference: {connectionSecret: {name: r}}, vhost: v}\n"
    "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: r, annotations: "
    "{eventing.knative.dev/broker.class: RabbitMQBroker, leat.dev/rabbitmq-mode: structured}}\n"
    "spec: {config: {apiVersion: eventing.knative.dev/v1alpha1, kind: RabbitmqBrokerConfig, name: c}}\n"
    "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: r, annotations: "
    "{rabbitmq.eventing.knative.dev/parallelism: '7'}}\nspec: {broker: r, subscriber: {uri: 'http://h/'}}\n"
    "---\napiVersion: sources.knative.dev/v1alpha1\nkind: RabbitmqSource\nmetadata: {name: r}\n"
    "spec: {rabbitmqClusterReference: {name: absent}, rabbitmqResourcesConfig: {queueName: q, exchangeName: x}, sink: "
    "{uri: 'http://h/'}, ceOverrides: {extensions: {e: v}}}\n"
    "---\napiVersion: sources.knative.dev/v1alpha1\nkind: RabbitmqSource\nmetadata: {name: s}\n"
    "spec: {rabbitmqClusterReference: {connectionSecret: {name: r}}, rabbitmqResourcesConfig: {queueName: q, "
    "predeclared: true}, sink: {uri: 'http://h/'}, ceOverrides: {extensions: {e: v}}}\n"
    "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: foreign}\n";

static void *from_cjson(size_t size)
{
    return malloc(size); /* the wrapped one, since this is our object */
}

static int begin(void **state)
{
    cJSON_Hooks hooks = {from_cjson, free};
    struct diag d;
    cJSON_InitHooks(&hooks);
    if (rig_folder(state) != 0 || kinds_load(&d) != OK)
        return -1;
    rig_write("m.yaml", text);
    return 0;
}

static void test_kinds(void **state)
{
    (void)state;
    unsigned n = 1;
    kinds_unload();
    /* The schemas take thousands of allocations: each of the first ones, then every so many. */
    for (;; n += n < 200 ? 1 : 37) {
        struct diag d;
        fault_arm(n);
        enum err e = kinds_load(&d);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        if (!fired)
            break;
        assert_null(kind_at(0));
    }
    assert_true(n > 200);
}

static void test_load(void **state)
{
    const char *path = "m.yaml";
    (void)state;
    for (unsigned n = 1;; n++) {
        struct manifest *m = NULL;
        struct problems p;
        problems_init(&p);
        fault_arm(n);
        enum err e = manifest_load(&path, 1, NULL, &m, &p);
        bool fired = fault_disarm();
        assert_true(n < STEP_MAX);
        if (e == OK)
            assert_int_equal(p.errors, 0);
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        assert_int_equal(m != NULL, e == OK);
        manifest_free(m);
        problems_fini(&p);
        if (!fired)
            break;
    }
}

static void test_mistakes(void **state)
{
    static const char bad[] =
        "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: A, a: 1}\nspec: {delivery: {retry: x}}\n"
        "---\nkind: Chanel\napiVersion: messaging.knative.dev/v1\n---\na: &x [1]\nb: *y\n";
    const char *path = "m.yaml";
    (void)state;
    rig_write(path, bad);
    for (unsigned n = 1;; n++) {
        struct manifest *m = NULL;
        struct problems p;
        problems_init(&p);
        fault_arm(n);
        enum err e = manifest_load(&path, 1, NULL, &m, &p);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        if (e == OK)
            assert_int_equal(p.errors, 5);
        manifest_free(m);
        problems_fini(&p);
        if (!fired)
            break;
    }
    rig_write(path, text);
}

static void test_sync(void **state)
{
    (void)state;
    struct manifest *m = rig_good(text),
                    *before = rig_good("apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: a}\n---\n"
                                       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n");
    for (unsigned n = 1;; n++) {
        struct resource_table *t;
        struct problems p;
        problems_init(&p);
        assert_int_equal(resource_table_new(clock_system(), &t), OK);
        assert_int_equal(resource_table_sync(t, before, &p), OK);
        uint64_t version = resource_table_version(t);
        fault_arm(n);
        enum err e = resource_table_sync(t, m, &p);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        /* All of it, or nothing. */
        assert_int_equal(rig_get(t, "cm", "gone") != NULL, fired);
        assert_int_equal(rig_get(t, "flow", "f") != NULL, !fired);
        if (fired)
            assert_int_equal(resource_table_version(t), version);
        resource_table_free(t);
        problems_fini(&p);
        if (!fired)
            break;
    }
    manifest_free(m);
    manifest_free(before);
    rig_write("m.yaml", text);
}

static void test_compile(void **state)
{
    const struct plan_options o = {.ingress_url = "http://127.0.0.1:8080", .cluster_domain = "cluster.local"};
    (void)state;
    struct resource_table *t = rig_table(text, clock_system());
    for (unsigned n = 1;; n++) {
        struct plan *plan = NULL;
        fault_arm(n);
        enum err e = plan_compile(t, &o, &plan);
        bool fired = fault_disarm();
        assert_true(n < STEP_MAX);
        /* A map that cannot grow goes on with longer chains: that failure costs time, not the plan. */
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        assert_int_equal(plan != NULL, e == OK);
        if (plan) {
            assert_int_equal(plan->channel_count, 10);
            assert_int_equal(plan->subscription_count, 10);
            assert_int_equal(plan->source_count, 2);
        }
        plan_unref(plan);
        if (!fired)
            break;
    }
    for (unsigned n = 1;; n++) {
        struct plan *plan = NULL;
        assert_int_equal(plan_compile(t, &o, &plan), OK);
        fault_arm(n);
        enum err e = plan_publish(t, plan);
        bool fired = fault_disarm();
        plan_unref(plan);
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        if (!fired)
            break;
    }
    assert_string_equal(rig_condition(rig_get(t, "flow", "f"), "Ready"), "True");
    resource_table_free(t);
}

static void test_event_types(void **state)
{
    const struct plan_channel c = {
        .key = "Broker.eventing.knative.dev/default/b", .namespace_name = "default", .name = "b"};
    const struct kind *k = kind_find("eventing.knative.dev/v1beta3", "EventType");
    (void)state;
    for (unsigned n = 1;; n++) {
        struct resource_table *t;
        size_t cursor = 0;
        bool made = false;
        assert_int_equal(resource_table_new(clock_system(), &t), OK);
        fault_arm(n);
        enum err e = eventtype_ensure(t, &c, SLICE("a"), SLICE("/b"), SLICE("http://c/"), &made);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        assert_int_equal(made, e == OK);
        assert_int_equal(resource_next(t, k, NULL, &cursor) != NULL, made);
        resource_table_free(t);
        if (!fired)
            break;
    }
}

static void test_writes(void **state)
{
    static const char one[] = "{\"apiVersion\":\"messaging.knative.dev/"
                              "v1\",\"kind\":\"Channel\",\"metadata\":{\"generateName\":\"n-\"},\"spec\":{}}";
    (void)state;
    struct resource_table *t = rig_table(text, clock_system());
    for (unsigned n = 1;; n++) {
        const struct resource *r = NULL;
        const struct kind *k = NULL;
        struct problems p;
        struct diag d;
        cJSON *object = NULL;
        problems_init(&p);
        uint64_t version = resource_table_version(t);
        fault_arm(n);
        enum err e = object_parse(slice_str(one), NULL, &object, &k, &p);
        assert_int_equal(e == OK, object != NULL);
        if (e == OK) {
            e = resource_create(t, "test", k, object, &r, &d);
            if (e != OK)
                cJSON_Delete(object);
        }
        if (e == OK)
            e = resource_set_condition(t, r, "Addressable", "False", "A", "b");
        if (e == OK)
            e = resource_report(t, "Channel.messaging.knative.dev/default/a", "A", "b");
        if (e == OK)
            e = resource_report(t, "Channel.messaging.knative.dev/default/a", NULL, NULL);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        if (!r)
            assert_int_equal(resource_table_version(t), version);
        problems_fini(&p);
        if (!fired)
            break;
    }
    resource_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),       cmocka_unit_test(test_load),    cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_sync),        cmocka_unit_test(test_compile), cmocka_unit_test(test_writes),
        cmocka_unit_test(test_event_types),
    };
    return cmocka_run_group_tests(tests, begin, rig_folder_gone);
}
