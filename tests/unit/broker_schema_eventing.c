/* SPDX-License-Identifier: Apache-2.0
 *
 * What is wrong with a Broker, Trigger, EventType, Sequence or Parallel, or with an annotation of a delivery: said with
 * its place and its path.
 */
#include "../lib/resource_rig.h"

#include "filter.h"

#define MSG "apiVersion: messaging.knative.dev/v1\n"
#define EVENTING "apiVersion: eventing.knative.dev/v1\n"
#define EVENTING_ALPHA "apiVersion: eventing.knative.dev/v1alpha1\n"
#define TYPES "apiVersion: eventing.knative.dev/v1beta3\n"
#define FLOWS "apiVersion: flows.knative.dev/v1\n"
#define TRIGGER EVENTING "kind: Trigger\nmetadata: {name: t}\nspec:\n"
#define TO_BROKER "  broker: b\n  subscriber: {uri: 'http://h/'}\n"
#define ANNOTATED(annotation)                                                                                          \
    EVENTING "kind: Trigger\nmetadata: {name: t, annotations: {" annotation "}}\nspec:\n" TO_BROKER

static const struct rig_mistake mistakes[] = {
    /* Brokers, Triggers and flows */
    {EVENTING "kind: Broker\nmetadata: {name: b}\nspec:\n  delivery: {timeout: PT0S}\n",
     "m.yaml:5:23: error: Broker default/b: spec.delivery.timeout: must be longer than zero"},
    {TRIGGER "  subscriber: {uri: 'http://h/'}\n",
     "m.yaml:4:1: error: Trigger default/t: spec: needs broker: the name of a Broker in the same namespace"},
    {TRIGGER "  broker: b\n", "m.yaml:4:1: error: Trigger default/t: spec.subscriber: is missing"},
    {TRIGGER "  broker: b\n  subscriber: {}\n",
     "m.yaml:6:3: error: Trigger default/t: spec.subscriber: needs ref (an object with an address) or uri (a URL)"},
    {TRIGGER TO_BROKER "  brokerRef: {kind: Broker, name: b}\n",
     "m.yaml:7:3: error: Trigger default/t: spec: broker and brokerRef exclude each other; leave one out"},
    {TRIGGER "  subscriber: {uri: 'http://h/'}\n  brokerRef: {kind: Channel, name: b}\n",
     "m.yaml:6:21: error: Trigger default/t: spec.brokerRef.kind: must be Broker (it is \"Channel\")"},
    {TRIGGER TO_BROKER "  filter: {type: a}\n",
     "m.yaml:7:12: error: Trigger default/t: spec.filter.type: unknown field; known here: attributes"},
    {TRIGGER TO_BROKER "  filter:\n    attributes: {type: 1}\n",
     "m.yaml:8:24: error: Trigger default/t: spec.filter.attributes.type: must be text, not a number (it is 1); put it "
     "in quotes"},
    {TRIGGER TO_BROKER "  filter:\n    attributes: {Type: a}\n",
     "m.yaml:8:18: error: Trigger default/t: spec.filter.attributes.Type: is no name of an attribute"},
    {TRIGGER TO_BROKER "  filters: {exact: {type: a}}\n",
     "m.yaml:7:12: error: Trigger default/t: spec.filters: must be a list, not a mapping"},
    {TRIGGER TO_BROKER "  filters:\n  - any:\n    - not: {exact: {Type: a}}\n",
     "m.yaml:9:21: error: Trigger default/t: spec.filters[0].any[0].not.exact.Type: is no name of an attribute"},
    {TRIGGER TO_BROKER "  filters:\n  - prefx: {type: a}\n", "m.yaml:8:5: error: Trigger default/t: spec.filters[0]"},
    {TRIGGER TO_BROKER "  filters:\n  - cesql: \"type = \"\n",
     "m.yaml:8:12: error: Trigger default/t: spec.filters[0].cesql: column "},
    {TRIGGER TO_BROKER "  filters:\n  - any:\n    - exact: {type: ''}\n",
     "m.yaml:9:21: error: Trigger default/t: spec.filters[0].any[0].exact.type: "},
    {TRIGGER TO_BROKER "  delivery: {backoffMax: PT0S}\n",
     "m.yaml:7:26: error: Trigger default/t: spec.delivery.backoffMax: must be longer than zero"},
    {EVENTING "kind: Trigger\nmetadata: {name: t, annotations: {knative.dev/dependency: x}}\nspec:\n" TO_BROKER,
     "m.yaml:3:59: error: Trigger default/t: metadata.annotations[\"knative.dev/dependency\"]: must be a JSON object "
     "with kind, name and apiVersion"},
    {EVENTING "kind: Trigger\nmetadata: {name: t, annotations: {leat.dev/capacity: 1MiB}}\nspec:\n" TO_BROKER,
     "metadata.annotations[\"leat.dev/capacity\"]: means nothing on a Trigger; it is for: Channel, InMemoryChannel, "
     "KafkaChannel, "
     "Broker, Sequence, Parallel, Flow"},
    {FLOWS "kind: Sequence\nmetadata: {name: s, annotations: {leat.dev/keep-cursor: 'true'}}\nspec:\n  steps: [{uri: "
           "'http://x/'}]\n",
     "metadata.annotations[\"leat.dev/keep-cursor\"]: means nothing on a Sequence; it is for: Subscription, Trigger, "
     "Flow"},
    {TYPES "kind: EventType\nmetadata: {name: t}\nspec:\n  attributes: [{name: type}, {name: source}, {name: id}]\n",
     "m.yaml:5:3: error: EventType default/t: spec.attributes: specversion is missing"},
    {TYPES "kind: EventType\nmetadata: {name: t}\nspec:\n  attributes: [{name: Type}]\n",
     "m.yaml:5:23: error: EventType default/t: spec.attributes[0].name: "},
    {FLOWS "kind: Sequence\nmetadata: {name: s}\nspec:\n  steps: []\n",
     "m.yaml:5:10: error: Sequence default/s: spec.steps: must have at least 1 element"},
    {FLOWS "kind: Sequence\nmetadata: {name: s}\nspec:\n  steps: [{uri: 'http://h/'}, {uri: /x}]\n",
     "m.yaml:5:37: error: Sequence default/s: spec.steps[1].uri: must be a whole URL"},
    {FLOWS "kind: Sequence\nmetadata: {name: s}\nspec:\n  steps: [{uri: 'http://h/', delivery: {timeout: 1s}}]\n",
     "m.yaml:5:50: error: Sequence default/s: spec.steps[0].delivery.timeout: \"1s\" is no ISO 8601 duration"},
    {FLOWS "kind: Sequence\nmetadata: {name: s}\nspec:\n  steps: [{uri: 'http://h/'}]\n  channelTemplate: {kind: "
           "InMemoryChannel}\n",
     "m.yaml:6:3: error: Sequence default/s: spec.channelTemplate: needs apiVersion and kind"},
    {FLOWS "kind: Parallel\nmetadata: {name: p}\nspec:\n  branches: []\n",
     "m.yaml:5:13: error: Parallel default/p: spec.branches: must have at least 1 element"},
    {FLOWS "kind: Parallel\nmetadata: {name: p}\nspec:\n  branches: [{filter: {uri: 'http://f/'}}]\n",
     "m.yaml:5:14: error: Parallel default/p: spec.branches[0].subscriber: is missing"},
    {FLOWS "kind: Parallel\nmetadata: {name: p}\nspec:\n  branches: [{subscriber: {uri: 'http://f/'}, reply: {}}]\n",
     "error: Parallel default/p: spec.branches[0].reply: needs ref"},
    {EVENTING_ALPHA "kind: RequestReply\nmetadata: {name: r}\nspec: {brokerRef: {kind: Broker, name: b}, timeout: 3}\n",
     "m.yaml:4:53: error: RequestReply default/r: spec.timeout: must be text, not a number"},
    {EVENTING_ALPHA "kind: EventTransform\nmetadata: {name: r}\nspec: {reply: {discard: true}}\n",
     "m.yaml:4:8: error: EventTransform default/r: spec.reply: counts beside sink only"},
    /* annotations of deliveries */
    {ANNOTATED("leat.dev/rate-per-second: '0'"), "must be a number of events from 0.001 to 1000000"},
    {ANNOTATED("leat.dev/rate-per-second: '1e3'"), "must be a number of events from 0.001 to 1000000"},
    {ANNOTATED("leat.dev/rate-per-second: '1.'"), "must be a number of events from 0.001 to 1000000"},
    {ANNOTATED("leat.dev/order: keyed"), "must be none, key or strict (it is \"keyed\")"},
    {ANNOTATED("leat.dev/paused: 'yes'"), "must be true or false (it is \"yes\")"},
    {ANNOTATED("leat.dev/paused: true"), "must be text, not true or false"},
    {ANNOTATED("leat.dev/dedup-window: 5m"), "\"5m\" is no ISO 8601 duration"},
    {ANNOTATED("leat.dev/deadline: PT0S"), "must be longer than zero"},
    {ANNOTATED("leat.dev/jitter: '101'"), "must be a whole number from 0 to 100 (it is \"101\")"},
    {ANNOTATED("leat.dev/retry-on: '429,6xx'"), "such as no-answer,429,5xx (\"6xx\" is none of them)"},
    {ANNOTATED("leat.dev/retry-on: ''"), "such as no-answer,429,5xx (\"\" is none of them)"},
    {ANNOTATED("leat.dev/batch-max-events: '1001'"), "must be a whole number from 1 to 1000 (it is \"1001\")"},
    {ANNOTATED("leat.dev/batch-max-wait: ''"), "ISO 8601 duration"},
    {ANNOTATED("leat.dev/retry: '1'"), "is for the kinds of 2018; write spec.delivery.retry here"},
    {ANNOTATED("leat.dev/max-inflight: '1'"), "did you mean leat.dev/max-in-flight?"},
    {MSG "kind: Channel\nmetadata: {name: c, annotations: {leat.dev/partitions: '2'}}\n",
     "must be 1; without it leat chooses the number (it is \"2\")"},
};

static void test_mistakes(void **state)
{
    (void)state;
    rig_mistakes(mistakes, COUNT(mistakes));
}

/* Names that Knative refuses in a filter, the older form and the newer: each alone is a mistake. */
static void test_names_of_attributes(void **state)
{
    static const char *const bad[] = {"SOURCE",
                                      "Source",
                                      "souRce",
                                      "s pace s",
                                      "s_pace_s",
                                      "s-pace-s",
                                      "123",
                                      "\xf0\x9f\x91\x8d",
                                      "!@#$%^&*()-_=_`~+\\\\",
                                      "{}[];':\\\"<>,./?"};
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        for (size_t f = 0; f < 2; f++) {
            char text[600], form[200];
            struct problems p;
            snprintf(form, sizeof form, f ? "filters: [{exact: {\"%s\": v}}]" : "filter: {attributes: {\"%s\": v}}",
                     bad[i]);
            snprintf(text, sizeof text, TRIGGER TO_BROKER "  %s\n", form);
            manifest_free(rig_load(text, &p));
            char *said = rig_problems(&p);
            if (p.errors != 1 || !strstr(said, "is no name of an attribute"))
                fail_msg("%s%s", text, said);
            free(said);
            problems_fini(&p);
        }
    }
}

/* A text that repeats `part` so often says this of itself. */
static void check_repeated(const char *before, const char *part, size_t times, const char *after, const char *wanted)
{
    struct buf b;
    struct problems p;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, TRIGGER TO_BROKER);
    buf_put_str(&b, before);
    for (size_t i = 0; i < times; i++)
        buf_put_str(&b, part);
    buf_put_str(&b, after);
    buf_put_char(&b, 0);
    assert_int_equal(buf_error(&b), OK);
    manifest_free(rig_load(b.ptr, &p));
    char *said = rig_problems(&p);
    if (p.errors != 1 || !strstr(said, wanted))
        fail_msg("%s", said);
    free(said);
    problems_fini(&p);
    buf_fini(&b);
}

/* Deep or huge: refused, with the limit. */
static void test_limits(void **state)
{
    (void)state;
    check_repeated("  filters: [", "{exact: {type: a}}, ", FILTER_NODES_MAX + 1, "]\n", "at most 1000 clauses");
    check_repeated("  filters: [", "{not: ", FILTER_DEPTH_MAX + 1,
                   "{exact: {type: a}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}]\n", "is nested more than 32 deep");
}

/* What tools put on every object of theirs does not stop a Secret. */
static void test_annotations_of_other_kinds(void **state)
{
    struct problems p;
    (void)state;
    manifest_free(
        rig_load("apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {leat.dev/paused: 'true'}}\n", &p));
    char *said = rig_problems(&p);
    assert_int_equal(p.errors, 0);
    assert_non_null(strstr(said,
                           "warning: Secret default/s: metadata.annotations[\"leat.dev/paused\"]: means nothing on "
                           "a Secret; it is for: Subscription, Trigger, Sequence, Parallel, Flow"));
    free(said);
    problems_fini(&p);
}

/* Manifests as a cluster has them: loaded without a word, and the same again after a way through JSON. */
static void test_manifests_of_a_cluster(void **state)
{
    char path[500];
    const char *paths[] = {path};
    struct manifest *m;
    struct problems p;
    (void)state;
    problems_init(&p);
    snprintf(path, sizeof path, "%s/tests/data/today", rig_root);
    assert_int_equal(manifest_load(paths, 1, NULL, &m, &p), OK);
    char *said = rig_problems(&p);
    assert_string_equal(said, "");
    assert_int_equal(manifest_count(m), 27);
    for (size_t i = 0; i < manifest_count(m); i++) {
        char *text = cJSON_PrintUnformatted(manifest_object(m, i));
        const struct kind *kind;
        cJSON *again;
        assert_int_equal(object_parse(slice_str(text), NULL, &again, &kind, &p), OK);
        assert_ptr_equal(kind, manifest_kind(m, i));
        assert_true(cJSON_Compare(again, manifest_object(m, i), true));
        cJSON_Delete(again);
        free(text);
    }
    free(said);
    problems_fini(&p);
    manifest_free(m);
}

/* Every annotation that there is stands in the table for users. */
static void test_annotations_are_documented(void **state)
{
    char path[500], page[20000], *said, *list;
    struct problems p;
    (void)state;
    snprintf(path, sizeof path, "%s/docs/resources.md", rig_root);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    page[fread(page, 1, sizeof page - 1, f)] = 0;
    fclose(f);
    manifest_free(rig_load(ANNOTATED("leat.dev/unheard-of-thing: x"), &p));
    said = rig_problems(&p);
    list = strstr(said, "leat has: ");
    assert_non_null(list);
    list[strcspn(list, "\n")] = 0;
    unsigned count = 0;
    for (char *word = strtok(list + strlen("leat has: "), ", "); word; word = strtok(NULL, ", "), count++) {
        char row[100];
        snprintf(row, sizeof row, "| `leat.dev/%s` |", word);
        if (!strstr(page, row))
            fail_msg("docs/resources.md lacks %s", row);
    }
    assert_int_equal(count, 34);
    free(said);
    problems_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_names_of_attributes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_annotations_of_other_kinds),
        cmocka_unit_test(test_manifests_of_a_cluster),
        cmocka_unit_test(test_annotations_are_documented),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
