/* SPDX-License-Identifier: Apache-2.0
 *
 * The table: versions, generations, owners, conflicts, conditions.
 */
#include "../lib/resource_rig.h"

#define CHANNEL(name, rest)                                                                                            \
    "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: " name "}\n" rest "\n"
#define SUBSCRIPTION(channel)                                                                                          \
    "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s}\n"                                  \
    "spec: {channel: {kind: Channel, name: " channel "}, subscriber: {uri: 'http://x/'}}\n"

static struct clock_fake clock_of_test;

static struct resource_table *table_of(const char *text)
{
    clock_fake_init(&clock_of_test, 1, 1533038400ll * 1000000000ll); /* 2018-07-31T12:00:00Z */
    return rig_table(text, &clock_of_test.base);
}

static enum err sync_text(struct resource_table *t, const char *text, char **said)
{
    struct problems p;
    struct manifest *m = rig_good(text);
    problems_init(&p);
    enum err e = resource_table_sync(t, m, &p);
    *said = rig_problems(&p);
    problems_fini(&p);
    manifest_free(m);
    return e;
}

static void sync_good(struct resource_table *t, const char *text)
{
    char *said;
    assert_int_equal(sync_text(t, text, &said), OK);
    assert_string_equal(said, "");
    free(said);
}

static cJSON *object_of(const char *text)
{
    struct manifest *m = rig_good(text);
    cJSON *copy = cJSON_Duplicate(manifest_object(m, 0), true);
    manifest_free(m);
    return copy;
}

static const char *meta(const struct resource *r, const char *name)
{
    return rig_text(cJSON_GetObjectItem(r->object, "metadata"), name);
}

static int generation(const struct resource *r)
{
    return cJSON_GetObjectItem(cJSON_GetObjectItem(r->object, "metadata"), "generation")->valueint;
}

static void test_sync(void **state)
{
    (void)state;
    struct resource_table *t = table_of(CHANNEL("a", "") "---\n" CHANNEL("b", ""));
    const struct resource *a = rig_get(t, "channel", "a"), *b = rig_get(t, "channel", "b");
    assert_string_equal(meta(a, "creationTimestamp"), "2018-07-31T12:00:00Z");
    assert_int_equal(strlen(a->uid), 36);
    assert_int_equal(a->uid[14], '4');
    assert_string_not_equal(a->uid, b->uid);
    assert_string_equal(a->origin, "m.yaml");
    assert_int_equal(generation(a), 1);
    assert_int_equal(a->version, 1);
    assert_int_equal(b->version, 2);
    assert_int_equal(resource_table_version(t), 2);
    assert_string_equal(meta(b, "resourceVersion"), "2");

    /* Nothing new: nothing happens. */
    sync_good(t, CHANNEL("a", "") "---\n" CHANNEL("b", ""));
    assert_int_equal(resource_table_version(t), 2);

    /* a changes, b goes, c comes. */
    char uid[40];
    strcpy(uid, a->uid);
    sync_good(t, CHANNEL("a", "spec: {delivery: {retry: 1}}") "---\n" CHANNEL("c", ""));
    a = rig_get(t, "channel", "a");
    assert_string_equal(a->uid, uid);
    assert_int_equal(generation(a), 2);
    assert_int_equal(a->version, 3);
    assert_null(rig_get(t, "channel", "b"));
    assert_non_null(rig_get(t, "channel", "c"));

    /* Labels change the version, not the generation. */
    sync_good(t, CHANNEL("a, labels: {x: y}", "spec: {delivery: {retry: 1}}"));
    a = rig_get(t, "channel", "a");
    assert_int_equal(generation(a), 2);
    assert_true(a->version > 3);
    assert_null(rig_get(t, "channel", "c"));
    resource_table_free(t);
}

static void test_order(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    size_t cursor = 0, count = 0;
    (void)state;
    struct resource_table *t = table_of(CHANNEL("c", "") "---\n" CHANNEL("a", "") "---\n" CHANNEL(
        "b, namespace: z", "") "---\n" CHANNEL("b", "") "---\n" SUBSCRIPTION("a"));
    const struct kind *k = kind_by_word("channel");
    for (const struct resource *r; (r = resource_next(t, k, "default", &cursor)); count++)
        assert_string_equal(r->name, names[count]);
    assert_int_equal(count, 3);
    for (count = 0, cursor = 0; resource_next(t, k, NULL, &cursor);)
        count++;
    assert_int_equal(count, 4);
    for (count = 0, cursor = 0; resource_next(t, NULL, "z", &cursor);)
        count++;
    assert_int_equal(count, 1);
    for (count = 0, cursor = 0; resource_next(t, NULL, NULL, &cursor);)
        count++;
    assert_int_equal(count, 5);
    cursor = 0;
    assert_null(resource_next(t, kind_by_word("feed"), NULL, &cursor));
    resource_table_free(t);
}

static void test_files_win_nothing_by_force(void **state)
{
    struct diag d;
    const struct resource *r;
    char *said;
    (void)state;
    struct resource_table *t = table_of(CHANNEL("a", "") "---\n" SUBSCRIPTION("a"));
    const struct kind *k = kind_by_word("channel");
    assert_int_equal(resource_create(t, "test", k, object_of(CHANNEL("api", "")), &r, &d), OK);
    uint64_t version = resource_table_version(t);

    /* The object of the API stays, whatever the files do; a file cannot take it. */
    assert_int_equal(sync_text(t, CHANNEL("new", "") "---\n" CHANNEL("api", ""), &said), ERR_CONFLICT);
    assert_string_equal(said, "m.yaml:6:1: error: Channel default/api: was made over the API already; delete it there, "
                              "or take it out of the file\n");
    free(said);
    assert_null(rig_get(t, "channel", "new"));
    assert_non_null(rig_get(t, "channel", "a"));
    assert_int_equal(resource_table_version(t), version);

    /* What may not change may not change by a file either. */
    assert_int_equal(sync_text(t, CHANNEL("a", "") "---\n" SUBSCRIPTION("b"), &said), ERR_CONFLICT);
    assert_non_null(strstr(said, "Subscription default/s: spec.channel cannot be changed; delete the Subscription and "
                                 "make it anew, or give it another name"));
    free(said);
    assert_int_equal(sync_text(t, "apiVersion: v1\nkind: Secret\nmetadata: {generateName: s}\n", &said), ERR_CONFLICT);
    assert_non_null(strstr(said, "an object in a file needs metadata.name"));
    free(said);

    sync_good(t, CHANNEL("b", ""));
    assert_non_null(rig_get(t, "channel", "api"));
    assert_null(rig_get(t, "channel", "a"));
    resource_table_free(t);
}

static void test_api(void **state)
{
    struct diag d;
    const struct resource *r, *again;
    (void)state;
    struct resource_table *t = table_of(CHANNEL("file", ""));
    const struct kind *k = kind_by_word("channel");
    cJSON *o = object_of(CHANNEL("a", ""));
    assert_int_equal(resource_create(t, "test", k, o, &r, &d), OK);
    assert_null(r->origin);
    assert_int_equal(generation(r), 1);

    o = object_of(CHANNEL("a", ""));
    assert_int_equal(resource_create(t, "test", k, o, &again, &d), ERR_EXISTS);
    assert_string_equal(d.text, "channels.messaging.knative.dev \"a\" already exists");

    /* A version that is no longer the present one. */
    cJSON_AddStringToObject(cJSON_GetObjectItem(o, "metadata"), "resourceVersion", "1");
    assert_int_equal(resource_replace(t, "test", k, o, &again, &d), ERR_CONFLICT);
    assert_string_equal(d.text, "Operation cannot be fulfilled on channels.messaging.knative.dev \"a\": the object has "
                                "been modified; please apply your changes to the latest version and try again");
    cJSON_Delete(o);

    /* The same again takes no version; a change takes one and a generation, and keeps uid, time and status. */
    uint64_t version = resource_table_version(t);
    char uid[40];
    strcpy(uid, r->uid);
    assert_int_equal(resource_set_condition(t, r, "Addressable", "True", NULL, NULL), OK);
    version = resource_table_version(t);
    assert_int_equal(resource_replace(t, "test", k, object_of(CHANNEL("a", "")), &again, &d), OK);
    assert_int_equal(resource_table_version(t), version);
    clock_fake_advance(&clock_of_test, NS_PER_S);
    assert_int_equal(
        resource_replace(t, "test", k, object_of(CHANNEL("a", "spec: {delivery: {retry: 2}}")), &again, &d), OK);
    assert_int_equal(resource_table_version(t), version + 1);
    assert_int_equal(generation(again), 2);
    assert_string_equal(again->uid, uid);
    assert_string_equal(meta(again, "creationTimestamp"), "2018-07-31T12:00:00Z");
    assert_string_equal(rig_condition(again, "Addressable"), "True");

    /* What is not there, what belongs to a file, what may not change. */
    o = object_of(CHANNEL("x", ""));
    assert_int_equal(resource_replace(t, "test", k, o, &again, &d), ERR_NOTFOUND);
    assert_string_equal(d.text, "channels.messaging.knative.dev \"x\" not found");
    cJSON_Delete(o);
    o = object_of(CHANNEL("file", "spec: {delivery: {retry: 2}}"));
    assert_int_equal(resource_replace(t, "test", k, o, &again, &d), ERR_CONFLICT);
    assert_string_equal(d.text, "channels.messaging.knative.dev \"file\" belongs to the file m.yaml; change it there");
    cJSON_Delete(o);
    assert_int_equal(resource_delete(t, "test", k, "default", "file", &d), ERR_CONFLICT);
    o = object_of(
        CHANNEL("a", "spec: {channelTemplate: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel}}"));
    assert_int_equal(resource_replace(t, "test", k, o, &again, &d), ERR_INVALID);
    assert_string_equal(
        d.text, "spec.channelTemplate cannot be changed; delete the Channel and make it anew, or give it another name");
    cJSON_Delete(o);

    assert_int_equal(resource_delete(t, "test", k, "default", "a", &d), OK);
    assert_int_equal(resource_table_version(t), version + 2);
    assert_int_equal(resource_delete(t, "test", k, "default", "a", &d), ERR_NOTFOUND);
    resource_table_free(t);
}

static void test_generate_name(void **state)
{
    struct diag d;
    const struct resource *a, *b;
    (void)state;
    struct resource_table *t = table_of("");
    const struct kind *k = kind_by_word("channel");
    const char *text = "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {generateName: orders-}\n";
    assert_int_equal(resource_create(t, "test", k, object_of(text), &a, &d), OK);
    assert_int_equal(resource_create(t, "test", k, object_of(text), &b, &d), OK);
    assert_int_equal(strlen(a->name), strlen("orders-") + 5);
    assert_int_equal(strncmp(a->name, "orders-", 7), 0);
    assert_string_not_equal(a->name, b->name);
    resource_table_free(t);
}

static void test_conditions(void **state)
{
    (void)state;
    struct resource_table *t = table_of(CHANNEL("a", ""));
    const struct resource *r = rig_get(t, "channel", "a");
    assert_int_equal(resource_set_condition(t, r, "BackingChannelReady", "True", NULL, NULL), OK);
    assert_string_equal(rig_condition(r, "Ready"), "Unknown"); /* others are missing */
    assert_int_equal(resource_set_condition(t, r, "EventPoliciesReady", "True", NULL, NULL), OK);
    assert_int_equal(resource_set_condition(t, r, "Addressable", "True", NULL, NULL), OK);
    assert_int_equal(resource_set_condition(t, r, "DeadLetterSinkResolved", "Unknown", "Wait", "a moment"), OK);
    assert_string_equal(rig_condition(r, "Ready"), "Unknown Wait a moment");
    clock_fake_advance(&clock_of_test, 5 * NS_PER_S);
    assert_int_equal(resource_set_condition(t, r, "DeadLetterSinkResolved", "True", NULL, NULL), OK);
    assert_string_equal(rig_condition(r, "Ready"), "True");

    /* The time is that of the last change of value, not of the last writing; what changes nothing takes no version. */
    uint64_t version = r->version;
    clock_fake_advance(&clock_of_test, 5 * NS_PER_S);
    assert_int_equal(resource_set_condition(t, r, "DeadLetterSinkResolved", "True", NULL, NULL), OK);
    assert_int_equal(r->version, version);
    assert_int_equal(resource_set_condition(t, r, "Addressable", "False", "Gone", "it went"), OK);
    assert_string_equal(rig_condition(r, "Ready"), "False Gone it went");
    const cJSON *each;
    cJSON_ArrayForEach(each, cJSON_GetObjectItem(rig_status(r), "conditions")) {
        const char *type = rig_text(each, "type"), *time = rig_text(each, "lastTransitionTime");
        bool first = strcmp(type, "BackingChannelReady") == 0 || strcmp(type, "EventPoliciesReady") == 0,
             second = strcmp(type, "DeadLetterSinkResolved") == 0;
        assert_string_equal(time, first    ? "2018-07-31T12:00:00Z"
                                  : second ? "2018-07-31T12:00:05Z"
                                           : "2018-07-31T12:00:10Z");
    }
    assert_int_equal(generation(r), 1);

    /* A status that is the same takes no version. */
    version = r->version;
    cJSON *same = cJSON_Duplicate(rig_status(r), true);
    assert_int_equal(resource_set_status(t, r, same), OK);
    assert_int_equal(r->version, version);
    resource_table_free(t);
}

/* One object seen through two versions of its API. */
static void test_versions_of_a_kind(void **state)
{
    (void)state;
    struct resource_table *t = table_of("apiVersion: serving.knative.dev/v1alpha1\nkind: Route\nmetadata: {name: r}\n");
    const struct resource *r = resource_get(t, kind_find("serving.knative.dev/v1", "Route"), "default", "r");
    assert_non_null(r);
    char uid[40];
    strcpy(uid, r->uid);
    sync_good(t, "apiVersion: serving.knative.dev/v1\nkind: Route\nmetadata: {name: r}\n");
    r = resource_get(t, kind_find("serving.knative.dev/v1alpha1", "Route"), "default", "r");
    assert_string_equal(r->uid, uid);
    assert_string_equal(r->kind->version, "v1");
    resource_table_free(t);
}

static void test_namespaces(void **state)
{
    (void)state;
    struct resource_table *t = table_of("apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n");
    const struct resource *r = rig_get(t, "ns", "n");
    assert_string_equal(r->namespace_name, "");
    assert_string_equal(rig_text(rig_status(r), "phase"), "Active");
    uint64_t version = r->version;
    sync_good(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n");
    assert_int_equal(rig_get(t, "ns", "n")->version, version);
    resource_table_free(t);
}

/* For processes that share a bus: what is named by uid is named alike in all of them. */
static void test_named_uids(void **state)
{
    char uids[2][2][40];
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct resource_table *t;
        assert_int_equal(resource_table_new(clock_system(), &t), OK);
        resource_table_name_uids(t);
        sync_good(t, i ? "---\n" CHANNEL("b", "") "---\n" CHANNEL("a", "")
                       : CHANNEL("a", "spec: {}") "---\n" CHANNEL("b", ""));
        for (int k = 0; k < 2; k++) {
            const struct resource *r =
                resource_get(t, kind_find("messaging.knative.dev/v1", "Channel"), "default", k ? "b" : "a");
            snprintf(uids[i][k], sizeof uids[i][k], "%s", r->uid);
            assert_int_equal(r->uid[14], '8'); /* its version */
        }
        resource_table_free(t);
    }
    assert_string_equal(uids[0][0], uids[1][0]);
    assert_string_equal(uids[0][1], uids[1][1]);
    assert_string_not_equal(uids[0][0], uids[0][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_files_win_nothing_by_force),
        cmocka_unit_test(test_api),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_generate_name),
        cmocka_unit_test(test_versions_of_a_kind),
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_named_uids),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
