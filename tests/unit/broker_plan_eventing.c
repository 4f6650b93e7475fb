/* SPDX-License-Identifier: Apache-2.0
 *
 * Brokers, Triggers and EventTypes: their defaults, what they come to in the plan, and their conditions.
 */
#include <malloc.h>

#include "../../broker/resource/table.h"
#include "../lib/resource_rig.h"

#define DOC "---\n"
#define EVENTING DOC "apiVersion: eventing.knative.dev/v1\n"
#define BROKER(name, rest) EVENTING "kind: Broker\nmetadata: {name: " name "}\n" rest "\n"
#define TRIGGER(name, rest)                                                                                            \
    EVENTING "kind: Trigger\nmetadata: {name: " name "}\nspec:\n  subscriber: {uri: 'http://h:81/p'}\n" rest "\n"
#define OF_B "  broker: b\n"
#define BEGIN(text)                                                                                                    \
    struct resource_table *t = rig_table(text, clock_system());                                                        \
    struct plan *p = rig_plan(t, NULL)

static const cJSON *at(const struct resource *r, const char *a, const char *b)
{
    assert_non_null(r);
    return cJSON_GetObjectItem(strcmp(a, "status") == 0 ? rig_status(r) : cJSON_GetObjectItem(r->object, a), b);
}

static void compile_again(struct resource_table *t, struct plan **p)
{
    plan_unref(*p);
    *p = rig_plan(t, NULL);
}

static void add(struct resource_table *t, const char *text)
{
    struct manifest *m = rig_good(text);
    struct diag d;
    assert_int_equal(
        resource_create(t, "test", manifest_kind(m, 0), cJSON_Duplicate(manifest_object(m, 0), true), NULL, &d), OK);
    manifest_free(m);
}

static void done(struct resource_table *t, struct plan *p)
{
    plan_unref(p);
    resource_table_free(t);
}

static void test_broker(void **state)
{
    (void)state;
    BEGIN(BROKER("b", "") BROKER("k, annotations: {eventing.knative.dev/broker.class: Natss}", "spec: {}")
              BROKER("d", "spec: {delivery: {deadLetterSink: {ref: {kind: Service, name: absent}}}}"));
    assert_int_equal(p->channel_count, 2);
    const struct plan_channel *c = &p->channels[0];
    assert_string_equal(c->key, "Broker.eventing.knative.dev/default/b");
    assert_string_equal(c->path, "/brokers/default/b");
    assert_string_equal(c->alias, "/default/b");
    assert_string_equal(c->url, "http://127.0.0.1:8080/brokers/default/b");
    assert_string_equal(c->bus_name, "brokers/default/b");
    assert_true(c->broker);
    const struct resource *r = rig_get(t, "broker", "b");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(rig_condition(r, "IngressReady"), "True");
    assert_string_equal(rig_condition(r, "TriggerChannelReady"), "True");
    assert_string_equal(rig_condition(r, "FilterReady"), "True");
    assert_string_equal(rig_condition(r, "Addressable"), "True");
    assert_string_equal(rig_condition(r, "DeadLetterSinkResolved"), "True DeadLetterSinkNotConfigured");
    assert_string_equal(rig_condition(r, "EventPoliciesReady"), "True NoEventPolicies");
    assert_string_equal(rig_text(at(r, "status", "address"), "url"), c->url);
    /* The defaults, as a user reads them back. */
    assert_string_equal(rig_text(at(r, "metadata", "annotations"), "eventing.knative.dev/broker.class"),
                        "MTChannelBasedBroker");
    const cJSON *d = at(r, "spec", "delivery");
    assert_int_equal(cJSON_GetObjectItem(d, "retry")->valueint, 10);
    assert_string_equal(rig_text(d, "backoffPolicy"), "exponential");
    assert_string_equal(rig_text(d, "backoffDelay"), "PT0.2S");
    r = rig_get(t, "broker", "k");
    assert_string_equal(rig_condition(r, "Ready"),
                        "False BrokerClassNotBuiltIn Brokers of the class Natss are not in this build; leave the "
                        "annotation eventing.knative.dev/broker.class out for a Broker on the default bus");
    assert_null(at(r, "status", "address"));
    r = rig_get(t, "broker", "d");
    assert_null(cJSON_GetObjectItem(at(r, "spec", "delivery"), "retry"));
    assert_int_equal(strncmp(rig_condition(r, "Ready"), "False NotFound Service default/absent", 37), 0);
    done(t, p);
}

static void test_trigger(void **state)
{
    (void)state;
    BEGIN(BROKER("b", "") EVENTING
          "kind: Trigger\nmetadata: {name: t}\nspec:\n  broker: b\n  subscriber: {ref: {apiVersion: v1, kind: Service, "
          "name: s}, uri: /in}\n" DOC
          "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: ExternalName, externalName: s.example}\n");
    const struct plan_subscription *s = rig_subscription(p, "t");
    assert_non_null(s);
    assert_string_equal(s->key, "Trigger.eventing.knative.dev/default/t");
    assert_string_equal(s->subscriber.url, "http://s.example/in");
    assert_int_equal(s->reply.kind, PLAN_TARGET_CHANNEL);
    assert_int_equal(s->reply.channel, s->channel);
    assert_true(s->reply_must_be_event);
    assert_null(s->filter);
    assert_false(s->one_loop);
    assert_int_equal(s->delivery->retry, 10);
    assert_int_equal(s->delivery->backoff_policy, BACKOFF_EXPONENTIAL);
    assert_int_equal(s->delivery->backoff_delay_ns, 200 * NS_PER_MS);
    const struct resource *r = rig_get(t, "trigger", "t");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(rig_condition(r, "BrokerReady"), "True");
    assert_string_equal(rig_condition(r, "SubscriptionReady"), "True");
    assert_string_equal(rig_condition(r, "DependencyReady"), "True");
    assert_string_equal(rig_condition(r, "SubscriberResolved"), "True");
    assert_string_equal(rig_text(rig_status(r), "subscriberUri"), "http://s.example/in");
    /* The defaults. */
    assert_string_equal(rig_text(at(r, "metadata", "labels"), "eventing.knative.dev/broker"), "b");
    assert_true(cJSON_IsObject(at(r, "spec", "filter")));
    assert_string_equal(rig_text(cJSON_GetObjectItem(at(r, "spec", "subscriber"), "ref"), "namespace"), "default");
    done(t, p);
}

#define DEAD(host) "deadLetterSink: {uri: 'http://" host "/'}"

static void test_delivery_is_merged(void **state)
{
    (void)state;
    BEGIN(BROKER("b", "spec: {delivery: {retry: 3, format: json, " DEAD("broker") "}}")
              BROKER("none", "spec: {delivery: {}}") TRIGGER("inherits", OF_B)
                  TRIGGER("own", OF_B "  delivery: {timeout: PT2S}")
                      TRIGGER("own-dead", OF_B "  delivery: {retry: 1, format: binary, " DEAD("mine") "}")
                          TRIGGER("of-none", "  broker: none"));
    const struct plan_subscription *s = rig_subscription(p, "inherits");
    assert_int_equal(s->delivery->retry, 3);
    assert_int_equal(s->delivery->format, CE_MODE_STRUCTURED);
    assert_string_equal(s->dead_letter.url, "http://broker/");
    /* One of its own counts whole: no retry of the Broker's; but its dead letter sink. */
    s = rig_subscription(p, "own");
    assert_int_equal(s->delivery->retry, 0);
    assert_int_equal(s->delivery->format, -1);
    assert_int_equal(s->delivery->timeout_ns, 2 * NS_PER_S);
    assert_string_equal(s->dead_letter.url, "http://broker/");
    assert_string_equal(rig_text(rig_status(rig_get(t, "trigger", "own")), "deadLetterSinkUri"), "http://broker/");
    s = rig_subscription(p, "own-dead");
    assert_int_equal(s->delivery->retry, 1);
    assert_int_equal(s->delivery->format, CE_MODE_BINARY);
    assert_string_equal(s->dead_letter.url, "http://mine/");
    assert_int_equal(rig_subscription(p, "of-none")->delivery->retry, 0);
    assert_string_equal(rig_condition(rig_get(t, "trigger", "of-none"), "DeadLetterSinkResolved"),
                        "True DeadLetterSinkNotConfigured");
    done(t, p);
}

static const struct ce_event *event_of(const char *type, const char *source)
{
    static struct ce_builder b;
    const struct ce_event *e;
    struct diag d;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, slice_str(source));
    ce_builder_set(&b, SLICE("type"), CE_STRING, slice_str(type));
    assert_int_equal(ce_builder_seal(&b, 10000, &e, &d), OK);
    return e;
}

/* Each Trigger, and whether it wants (a, /x), (b, /x), (a, /y). */
static void test_filters(void **state)
{
    static const struct {
        const char *name;
        bool wants[3];
    } rows[] = {
        {"all", {true, true, true}},          {"older", {true, false, true}}, {"newer", {false, true, false}},
        {"newer-wins", {true, false, false}}, {"none", {true, false, true}},  {"cesql", {false, false, true}},
    };
    (void)state;
    BEGIN(BROKER("b", "") TRIGGER("all", OF_B) TRIGGER("older", OF_B "  filter: {attributes: {type: a, source: ''}}")
              TRIGGER("newer", OF_B "  filters: [{not: {exact: {type: a}}}, {prefix: {source: /}}]") TRIGGER(
                  "newer-wins", OF_B "  filter: {attributes: {type: b}}\n  filters: [{exact: {type: a, source: /x}}]")
                  TRIGGER("none", OF_B "  filter: {attributes: {type: a}}\n  filters: []")
                      TRIGGER("cesql", OF_B "  filters: [{cesql: \"type = 'a' AND source LIKE '%y'\"}]"));
    const struct ce_event *events[] = {event_of("a", "/x"), event_of("b", "/x"), event_of("a", "/y")};
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct plan_subscription *s = rig_subscription(p, rows[i].name);
        assert_non_null(s);
        for (size_t k = 0; k < COUNT(events); k++)
            if (filter_match(s->filter, events[k]) != rows[i].wants[k])
                fail_msg("%s and event %zu", rows[i].name, k);
    }
    for (size_t k = 0; k < COUNT(events); k++)
        ce_event_unref(events[k]);
    done(t, p);
}

static void test_trigger_before_broker(void **state)
{
    (void)state;
    BEGIN(TRIGGER("t", OF_B));
    assert_int_equal(p->subscription_count, 0);
    const struct resource *r = rig_get(t, "trigger", "t");
    assert_string_equal(rig_condition(r, "Ready"), "False BrokerDoesNotExist Broker default/b is not declared");
    assert_string_equal(rig_condition(r, "SubscriberResolved"), "True");
    assert_string_equal(rig_condition(r, "SubscriptionReady"),
                        "Unknown NotResolved it joins the Broker when everything it names is there");
    add(t, BROKER("b", ""));
    compile_again(t, &p);
    assert_non_null(rig_subscription(p, "t"));
    assert_string_equal(rig_condition(r, "Ready"), "True");
    /* Compiled again, nothing has changed. */
    uint64_t version = resource_table_version(t);
    compile_again(t, &p);
    assert_int_equal(resource_table_version(t), version);
    done(t, p);
}

static void test_broker_of_another_namespace(void **state)
{
    (void)state;
    BEGIN(BROKER("b, namespace: far", "") TRIGGER(
        "t", "  brokerRef: {kind: Broker, apiVersion: eventing.knative.dev/v1, name: b, namespace: far}"));
    assert_string_equal(p->channels[rig_subscription(p, "t")->channel].key, "Broker.eventing.knative.dev/far/b");
    done(t, p);
}

/* A Broker is an address like any other, however it is named. */
static void test_broker_as_destination(void **state)
{
    static const char *const given[] = {"ref: {kind: Broker, apiVersion: eventing.knative.dev/v1, name: b}",
                                        "ref: {kind: Broker, name: b}",
                                        "uri: 'http://127.0.0.1:8080/brokers/default/b'",
                                        "uri: 'http://127.0.0.1:8080/default/b'",
                                        "uri: 'http://broker-ingress.knative-eventing.svc.cluster.local/default/b'",
                                        "uri: 'http://Broker-Ingress.knative-eventing.svc/default/b'"};
    (void)state;
    for (size_t i = 0; i < COUNT(given); i++) {
        char text[2000];
        snprintf(text, sizeof text,
                 BROKER("b", "") DOC "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\n" DOC
                                     "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s}\n"
                                     "spec: {channel: {kind: Channel, name: c}, subscriber: {%s}, reply: {%s}, "
                                     "delivery: {deadLetterSink: {%s}}}\n",
                 given[i], given[i], given[i]);
        BEGIN(text);
        const struct plan_subscription *s = rig_subscription(p, "s");
        const struct plan_target *to[] = {&s->subscriber, &s->reply, &s->dead_letter};
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(to[k]->kind, PLAN_TARGET_CHANNEL);
            assert_string_equal(p->channels[to[k]->channel].key, "Broker.eventing.knative.dev/default/b");
        }
        done(t, p);
    }
}

static void test_dependency(void **state)
{
#define DEPENDS(kind, name)                                                                                            \
    "annotations: {knative.dev/dependency: '{\"kind\":\"" kind "\",\"name\":\"" name                                   \
    "\",\"apiVersion\":\"messaging.knative.dev/v1\"}'}"
    (void)state;
    BEGIN(BROKER("b", "") TRIGGER("good, " DEPENDS("Channel", "c"), OF_B) TRIGGER("bad, " DEPENDS("Channel", "k"), OF_B)
              TRIGGER("absent, " DEPENDS("Channel", "x"), OF_B) TRIGGER("unknown, " DEPENDS("Thing", "x"), OF_B) DOC
          "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\n" DOC
          "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: k}\nspec: {channelTemplate: "
          "{apiVersion: x/v1, kind: NatssChannel}}\n");
    assert_string_equal(rig_condition(rig_get(t, "trigger", "good"), "Ready"), "True");
    const char *said = rig_condition(rig_get(t, "trigger", "bad"), "DependencyReady");
    assert_non_null(strstr(said, "False DependencyNotReady Channel k: a NatssChannel is not in this build"));
    assert_string_equal(rig_condition(rig_get(t, "trigger", "absent"), "Ready"),
                        "Unknown DependencyDoesNotExist Channel x: is not declared");
    assert_string_equal(rig_condition(rig_get(t, "trigger", "unknown"), "DependencyReady"),
                        "Unknown DependencyDoesNotExist Thing x: is not declared");
    /* Only readiness waits; events are delivered. */
    assert_int_equal(p->subscription_count, 4);
    done(t, p);
}

static void test_limits(void **state)
{
    (void)state;
    BEGIN(BROKER("b, annotations: {leat.dev/partitions: '1', leat.dev/overflow: drop-oldest}", "") BROKER("many", "")
              TRIGGER("t, annotations: {leat.dev/max-in-flight: '7', leat.dev/rate-per-second: '0.5', leat.dev/order: "
                      "strict, leat.dev/dedup-window: PT1M, leat.dev/jitter: '0', leat.dev/retry-on: "
                      "'no-answer, 418, 5xx', leat.dev/deadline: PT1H, leat.dev/batch-max-events: '10', "
                      "leat.dev/batch-max-wait: PT0.1S, leat.dev/start-from: earliest}",
                      OF_B) TRIGGER("keyed, annotations: {leat.dev/order: key}", OF_B)
                  TRIGGER("paused, annotations: {leat.dev/paused: 'true'}", OF_B)
                      TRIGGER("strict, annotations: {leat.dev/order: strict}", "  broker: many"));
    const struct plan_subscription *s = rig_subscription(p, "t");
    assert_string_equal(p->channels[s->channel].params[0].name, "partitions");
    assert_string_equal(p->channels[s->channel].params[0].value, "1");
    assert_int_equal(s->in_flight_max, 7);
    assert_int_equal(s->rate_interval_ns, 2 * NS_PER_S);
    assert_int_equal(s->order, ORDER_STRICT);
    assert_int_equal(s->dedup_window_ns, 60 * NS_PER_S);
    assert_int_equal(s->batch_max, 10);
    assert_int_equal(s->batch_wait_ns, 100 * NS_PER_MS);
    assert_int_equal(s->start.kind, BUS_START_EARLIEST);
    assert_true(s->one_loop);
    assert_int_equal(s->delivery->jitter_percent, 0);
    assert_int_equal(s->delivery->deadline_ns, 3600 * NS_PER_S);
    const struct retry_on *on = &s->delivery->retry_on;
    assert_true(on->given && on->no_answer);
    assert_int_equal(on->codes[418 / 64], 1ull << (418 % 64));
    for (unsigned code = 100; code < 600; code++)
        assert_int_equal(on->codes[code / 64] >> (code % 64) & 1, code == 418 || code >= 500);
    assert_string_equal(s->params[0].name, "overflow");
    assert_string_equal(s->params[0].value, "drop-oldest");
    s = rig_subscription(p, "keyed");
    assert_int_equal(s->order, ORDER_KEY);
    assert_false(s->one_loop || s->paused || s->delivery->retry_on.given);
    assert_int_equal(s->delivery->jitter_percent, 10);
    assert_true(rig_subscription(p, "paused")->paused);
    assert_string_equal(rig_condition(rig_get(t, "trigger", "paused"), "Ready"),
                        "True Paused the annotation leat.dev/paused holds deliveries back; the events are kept "
                        "meanwhile");
    assert_null(rig_subscription(p, "strict"));
    assert_string_equal(rig_condition(rig_get(t, "trigger", "strict"), "Ready"),
                        "False OrderNeedsOnePartition the order strict needs a channel with one partition: set the "
                        "annotation leat.dev/partitions: \"1\" on Broker default/many");
    done(t, p);
}

static void test_event_types(void **state)
{
    (void)state;
#define TYPE(version, name, spec)                                                                                      \
    DOC "apiVersion: eventing.knative.dev/" version "\nkind: EventType\nmetadata: {name: " name "}\nspec: {" spec "}"  \
        "\n"
#define ALL "attributes: [{name: type, value: a}, {name: source}, {name: specversion}, {name: id}]"
    BEGIN(BROKER("b", "") TYPE("v1beta3", "good",
                               "reference: {kind: Broker, apiVersion: eventing.knative.dev/v1, name: b}, " ALL)
              TYPE("v1beta3", "bad", "reference: {kind: Broker, apiVersion: eventing.knative.dev/v1, name: x}, " ALL)
                  TYPE("v1beta3", "none", ALL) TYPE("v1beta2", "older", "type: a, broker: b"));
    assert_string_equal(rig_condition(rig_get(t, "eventtype", "good"), "Ready"), "True");
    assert_string_equal(rig_condition(rig_get(t, "eventtype", "bad"), "Ready"),
                        "False ReferenceDoesNotExist Broker default/x is not declared");
    assert_string_equal(rig_condition(rig_get(t, "eventtype", "none"), "ReferenceExists"), "True ReferenceNotSet");
    assert_string_equal(rig_condition(rig_get(t, "eventtype", "older"), "Ready"), "True");
    done(t, p);
}

static void test_event_types_make_themselves(void **state)
{
    (void)state;
    BEGIN(BROKER("b", ""));
    const struct kind *k = kind_find("eventing.knative.dev/v1beta3", "EventType");
    bool made = false;
    size_t cursor = 0;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            eventtype_ensure(t, &p->channels[0], SLICE("com.x"), SLICE("/s"), SLICE("http://schema/"), &made), OK);
        assert_int_equal(made, i == 0);
    }
    const struct resource *r = resource_next(t, k, NULL, &cursor);
    assert_non_null(r);
    assert_int_equal(strncmp(r->name, "et-b-", 5), 0);
    assert_string_equal(rig_text(at(r, "spec", "reference"), "kind"), "Broker");
    assert_string_equal(rig_text(at(r, "spec", "reference"), "name"), "b");
    const cJSON *list = at(r, "spec", "attributes");
    assert_int_equal(cJSON_GetArraySize(list), 5);
    assert_string_equal(rig_text(list->child, "value"), "com.x");
    assert_string_equal(rig_text(list->child->next, "value"), "/s");
    assert_null(resource_next(t, k, NULL, &cursor));
    /* What made itself passes admission. */
    char *text = cJSON_PrintUnformatted(r->object);
    const struct kind *found;
    cJSON *parsed;
    struct problems problems;
    problems_init(&problems);
    assert_int_equal(object_parse(slice_str(text), NULL, &parsed, &found, &problems), OK);
    cJSON_Delete(parsed);
    problems_fini(&problems);
    free(text);
    compile_again(t, &p);
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_int_equal(eventtype_ensure(t, &p->channels[0], SLICE("com.y"), SLICE("/s"), (struct slice){0}, &made), OK);
    assert_true(made);
    done(t, p);
}

static void test_event_types_are_bounded(void **state)
{
    (void)state;
    BEGIN(BROKER("b", ""));
    enum err e = OK;
    unsigned i = 0;
    for (; e == OK && i <= EVENT_TYPES_AUTO_MAX; i++) {
        char type[20];
        snprintf(type, sizeof type, "t%u", i);
        e = eventtype_ensure(t, &p->channels[0], slice_str(type), SLICE("/s"), (struct slice){0}, NULL);
    }
    assert_int_equal(e, ERR_FULL);
    assert_int_equal(i, EVENT_TYPES_AUTO_MAX + 1);
    done(t, p);
}

static void test_kept_and_not_run(void **state)
{
    (void)state;
    BEGIN(DOC "apiVersion: eventing.knative.dev/v1alpha1\nkind: RequestReply\nmetadata: {name: r}\nspec: {brokerRef: "
              "{kind: Broker, name: b}}\n" DOC
              "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventTransform\nmetadata: {name: e}\nspec: {jsonata: "
              "{expression: '$'}}\n");
    assert_int_equal(strncmp(rig_condition(rig_get(t, "requestreply", "r"), "Ready"),
                             "False NotInThisBuild this build does not", 40),
                     0);
    assert_int_equal(strncmp(rig_condition(rig_get(t, "eventtransform", "e"), "Ready"),
                             "False NotInThisBuild this build does not", 40),
                     0);
    done(t, p);
}

/* What ran and cannot any longer stays in the plan, paused: its events wait for the mistake to be mended. */
static void test_a_backlog_outlives_a_mistake(void **state)
{
#define NEEDS(name) "  subscriber: {ref: {kind: Service, name: " name "}}\n  broker: b\n"
#define WAITING EVENTING "kind: Trigger\nmetadata: {name: t}\nspec:\n" NEEDS("s")
#define ORDERED                                                                                                        \
    TRIGGER("o, annotations: {leat.dev/order: strict}", OF_B)                                                          \
    DOC "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: q, annotations: {leat.dev/order: "         \
        "strict}}\n"                                                                                                   \
        "spec: {steps: [{uri: 'http://h/'}]}\n"
#define GOOD                                                                                                           \
    TRIGGER("o", OF_B)                                                                                                 \
    DOC "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: q}\n"                                      \
        "spec: {steps: [{uri: 'http://h/'}]}\n"
#define SERVICE_S                                                                                                      \
    DOC "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: ExternalName, externalName: h}\n"
    static const struct {
        const char *text;
        bool there, runs;
    } steps[] = {{BROKER("b", "") WAITING ORDERED, false, false},
                 {BROKER("b", "") WAITING SERVICE_S GOOD, true, true},
                 {BROKER("b", "") WAITING ORDERED, true, false},
                 {BROKER("b", "") WAITING ORDERED, true, false},
                 {BROKER("b", "") WAITING SERVICE_S GOOD, true, true}};
    struct resource_table *t = NULL;
    (void)state;
    assert_int_equal(resource_table_new(clock_system(), &t), OK);
    for (size_t i = 0; i < COUNT(steps); i++) {
        struct problems problems;
        struct manifest *m = rig_good(steps[i].text);
        problems_init(&problems);
        assert_int_equal(resource_table_sync(t, m, &problems), OK);
        manifest_free(m);
        struct plan *p = rig_plan(t, NULL);
        static const char *const names[] = {"t", "o", "q-kn-sequence-0"};
        for (size_t k = 0; k < COUNT(names); k++) {
            const struct plan_subscription *s = rig_subscription(p, names[k]);
            assert_int_equal(s != NULL, steps[i].there);
            assert_true(!s || s->paused == !steps[i].runs);
        }
        const char *ready = rig_condition(rig_get(t, "trigger", "t"), "Ready"),
                   *ordered = rig_condition(rig_get(t, "trigger", "o"), "Ready");
        assert_int_equal(strcmp(ready, "True") == 0, steps[i].runs);
        assert_int_equal(strcmp(ordered, "True") == 0, steps[i].runs);
        if (i == 2)
            assert_string_equal(rig_condition(rig_get(t, "trigger", "t"), "SubscriptionReady"),
                                "Unknown NotResolved its events are kept until everything it names is there again");
        plan_unref(p);
    }
    resource_table_free(t);
}

/* What the engine could not do stays in the conditions through later plans, until it could. */
static void test_faults(void **state)
{
    (void)state;
    BEGIN(BROKER("b", "") TRIGGER("t", OF_B) DOC
          "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: s}\nspec: {steps: [{uri: 'http://h/'}, "
          "{uri: 'http://h/'}]}\n");
    const struct resource *b = rig_get(t, "broker", "b"), *s = rig_get(t, "sequence", "s");
    const char *first = "Sequence.flows.knative.dev/default/s/steps/0",
               *second = "Sequence.flows.knative.dev/default/s";
    assert_int_equal(resource_report(t, "Broker.eventing.knative.dev/default/b", "BusRefused", "no room"), OK);
    assert_int_equal(resource_report(t, first, "BusRefused", "first"), OK);
    assert_int_equal(resource_report(t, second, "BusRefused", "second"), OK);
    assert_int_equal(resource_report(t, "Broker.eventing.knative.dev/default/absent", "BusRefused", "x"), OK);
    for (int i = 0; i < 2; i++, compile_again(t, &p)) {
        assert_string_equal(rig_condition(b, "TriggerChannelReady"), "False BusRefused no room");
        assert_string_equal(rig_condition(b, "Ready"), "False BusRefused no room");
        assert_string_equal(rig_condition(b, "IngressReady"), "True");
        assert_int_equal(strncmp(rig_condition(s, "Ready"), "False BusRefused", 16), 0);
    }
    assert_int_equal(resource_report(t, "Broker.eventing.knative.dev/default/b", NULL, NULL), OK);
    assert_string_equal(rig_condition(b, "Ready"), "True");
    /* Each part of a flow by itself. */
    assert_int_equal(resource_report(t, first, NULL, NULL), OK);
    assert_string_equal(rig_condition(s, "SubscriptionsReady"), "False BusRefused second");
    assert_int_equal(resource_report(t, second, NULL, NULL), OK);
    assert_string_equal(rig_condition(s, "Ready"), "True");
    done(t, p);
}

/* Those of objects that are gone make room for others. */
static void test_faults_are_bounded(void **state)
{
    (void)state;
    BEGIN(BROKER("b", ""));
    struct diag d;
    const struct kind *k = kind_find("eventing.knative.dev/v1", "Broker");
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 500; i++) {
            char name[20], key[80];
            snprintf(name, sizeof name, "n%d", i);
            cJSON *o = cJSON_Duplicate(rig_get(t, "broker", "b")->object, true);
            cJSON_ReplaceItemInObject(cJSON_GetObjectItem(o, "metadata"), "name", cJSON_CreateString(name));
            snprintf(key, sizeof key, "Broker.eventing.knative.dev/default/%s/part/%d", name, round);
            assert_int_equal(resource_create(t, "test", k, o, NULL, &d), OK);
            assert_int_equal(resource_report(t, key, "BusRefused", "x"), OK);
        }
        for (int i = 0; i < 500; i++) {
            char name[20];
            snprintf(name, sizeof name, "n%d", i);
            assert_int_equal(resource_delete(t, "test", k, "default", name, &d), OK);
        }
    }
    assert_int_equal(resource_report(t, "Broker.eventing.knative.dev/default/b", "BusRefused", "kept"), OK);
    compile_again(t, &p);
    assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "Ready"), "False BusRefused kept");
    done(t, p);
}

/* Beyond the limit a condition is not remembered, but comes right again all the same; what others say stays. */
static void test_faults_beyond_the_limit(void **state)
{
    enum { COUNT = 1050 };
    (void)state;
    BEGIN(BROKER("b", ""));
    struct diag d;
    const struct kind *k = kind_find("eventing.knative.dev/v1", "Broker");
    char name[20], key[80];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf(name, sizeof name, "n%d", i);
            snprintf(key, sizeof key, "Broker.eventing.knative.dev/default/%s", name);
            cJSON *o = round ? NULL : cJSON_Duplicate(rig_get(t, "broker", "b")->object, true);
            if (o) {
                cJSON_ReplaceItemInObject(cJSON_GetObjectItem(o, "metadata"), "name", cJSON_CreateString(name));
                assert_int_equal(resource_create(t, "test", k, o, NULL, &d), OK);
            } else {
                assert_int_equal(resource_report(t, key, round == 1 ? "BusFull" : NULL, round == 1 ? "x" : NULL), OK);
                assert_string_equal(rig_condition(rig_get(t, "broker", name), "TriggerChannelReady"),
                                    round == 1 ? "False BusFull x" : "True");
            }
        }
        if (!round)
            compile_again(t, &p);
    }
    assert_int_equal(resource_set_condition(t, rig_get(t, "broker", "b"), "TriggerChannelReady", "False", "Ours", "x"),
                     OK);
    assert_int_equal(resource_report(t, "Broker.eventing.knative.dev/default/b", NULL, NULL), OK);
    assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "TriggerChannelReady"), "False Ours x");
    done(t, p);
}

/* What may not change: the second text over the first, and what it says. */
static void test_immutable(void **state)
{
    static const char *const changes[][3] = {
        {BROKER("b", ""), BROKER("b, annotations: {eventing.knative.dev/broker.class: Kafka}", ""),
         "metadata.annotations[\"eventing.knative.dev/broker.class\"] cannot be changed from MTChannelBasedBroker"},
        {BROKER("b", ""), BROKER("b", "spec: {config: {kind: ConfigMap, name: c}}"), "spec.config cannot be changed"},
        {TRIGGER("t", OF_B), TRIGGER("t", "  broker: c"), "spec.broker cannot be changed"},
        {DOC
         "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: s}\nspec: {steps: [{uri: 'http://h/'}]}\n",
         DOC
         "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: s}\nspec: {steps: [{uri: 'http://h/'}], "
         "channelTemplate: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel}}\n",
         "spec.channelTemplate cannot be changed"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(changes); i++) {
        struct resource_table *t = rig_table(changes[i][0], clock_system());
        struct manifest *m = rig_good(changes[i][1]);
        struct problems p;
        problems_init(&p);
        assert_int_equal(resource_table_sync(t, m, &p), ERR_CONFLICT);
        char *said = rig_problems(&p);
        if (!strstr(said, changes[i][2]))
            fail_msg("%s", said);
        free(said);
        problems_fini(&p);
        manifest_free(m);
        resource_table_free(t);
    }
}

/* A status shows what is in force, not what was compiled: who reads Ready and sends an event may count on it. */
static void test_statuses_wait_for_their_plan(void **state)
{
    const struct plan_options o = {.ingress_url = "http://127.0.0.1:8080", .cluster_domain = "cluster.local"};
    (void)state;
    struct resource_table *t = rig_table(BROKER("b", ""), clock_system());
    struct plan *first, *second;
    assert_int_equal(plan_compile(t, &o, &first), OK);
    assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "Ready"), "(none)");
    struct manifest *m = rig_good(BROKER("b", "") TRIGGER("t", OF_B));
    struct problems problems;
    problems_init(&problems);
    assert_int_equal(resource_table_sync(t, m, &problems), OK);
    assert_int_equal(plan_compile(t, &o, &second), OK);
    assert_int_equal(plan_publish(t, first), OK); /* the second has made both anew: they wait for it */
    assert_string_equal(rig_condition(rig_get(t, "trigger", "t"), "Ready"), "(none)");
    assert_int_equal(plan_publish(t, second), OK);
    assert_string_equal(rig_condition(rig_get(t, "broker", "b"), "Ready"), "True");
    assert_string_equal(rig_condition(rig_get(t, "trigger", "t"), "Ready"), "True");
    plan_unref(first);
    plan_unref(second);
    manifest_free(m);
    problems_fini(&problems);
    resource_table_free(t);
}

/* `serve --bus`: Channels and Brokers that name no bus are on it, with its parameters; an InMemoryChannel never is. */
static void test_default_bus(void **state)
{
    static const struct bus_param params[] = {{"inner", "memory"}, {"seed", "7"}}, total[] = {{"total", "1MiB"}};
    static const char text[] =
        BROKER("b", "") DOC "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: m}\n";
    struct plan_options o = {.ingress_url = "http://127.0.0.1:8080",
                             .default_bus = "faulty",
                             .default_bus_params = params,
                             .default_bus_param_count = 2};
    struct plan *plan;
    (void)state;
    struct resource_table *t = rig_table(text, clock_system());
    assert_int_equal(plan_compile(t, &o, &plan), OK);
    assert_int_equal(plan->bus_count, 2);
    assert_string_equal(plan->buses[0].type, "memory");
    assert_int_equal(plan->buses[0].param_count, 0);
    assert_string_equal(plan->buses[1].type, "faulty");
    assert_string_equal(plan->buses[1].params[1].value, "7");
    for (size_t i = 0; i < plan->channel_count; i++)
        assert_int_equal(plan->channels[i].bus, strcmp(plan->channels[i].name, "b") == 0 ? 1 : 0);
    plan_unref(plan);
    o.default_bus = "memory";
    o.default_bus_params = total;
    o.default_bus_param_count = 1;
    assert_int_equal(plan_compile(t, &o, &plan), OK);
    assert_int_equal(plan->bus_count, 1);
    assert_string_equal(plan->buses[0].params[0].value, "1MiB");
    plan_unref(plan);
    resource_table_free(t);
}

/* What the table has of a Trigger whose JSON has 1.4 KiB, its status included: 1.7 KiB, and room for a field more. Of
 * ten thousand each 100 bytes are a megabyte, so that what makes this grow should be worth it. */
#define TRIGGER_BYTES_MAX 2200

static void test_what_a_trigger_takes(void **state)
{
    (void)state;
    BEGIN(BROKER("b", "") "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\nspec:\n"
                          "  broker: b\n  filter: {attributes: {type: other.77}}\n"
                          "  subscriber: {uri: 'http://127.0.0.1:16/s77'}\n");
    const struct resource *r = rig_get(t, "trigger", "t");
    const struct entry *e = entry_of(r);
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_ptr_equal(e->object, r->object);
    assert_non_null(e->status);
    assert_null(e->next_status);
    size_t bytes =
        malloc_usable_size((void *)(uintptr_t)e) + malloc_usable_size(e->object) + malloc_usable_size(e->status);
    if (bytes > TRIGGER_BYTES_MAX)
        fail_msg("a Trigger takes %zu bytes", bytes);
    done(t, p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broker),
        cmocka_unit_test(test_trigger),
        cmocka_unit_test(test_delivery_is_merged),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_trigger_before_broker),
        cmocka_unit_test(test_broker_of_another_namespace),
        cmocka_unit_test(test_broker_as_destination),
        cmocka_unit_test(test_dependency),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_event_types),
        cmocka_unit_test(test_event_types_make_themselves),
        cmocka_unit_test(test_event_types_are_bounded),
        cmocka_unit_test(test_kept_and_not_run),
        cmocka_unit_test(test_a_backlog_outlives_a_mistake),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_faults_are_bounded),
        cmocka_unit_test(test_faults_beyond_the_limit),
        cmocka_unit_test(test_immutable),
        cmocka_unit_test(test_statuses_wait_for_their_plan),
        cmocka_unit_test(test_default_bus),
        cmocka_unit_test(test_what_a_trigger_takes),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
