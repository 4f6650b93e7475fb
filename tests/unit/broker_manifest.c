/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and folders of manifests, what in them is somebody else's, and objects over the API.
 */
#include <sys/stat.h>

#include "../lib/resource_rig.h"

#define CHANNEL(name) "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: " name "}\n"

static char *load(const char *const *paths, size_t count, struct manifest **m, size_t *errors)
{
    struct problems p;
    problems_init(&p);
    assert_int_equal(manifest_load(paths, count, NULL, m, &p), OK);
    char *said = rig_problems(&p);
    *errors = p.errors;
    problems_fini(&p);
    return said;
}

static void test_folders(void **state)
{
    const char *const paths[] = {"d", "one.yaml"};
    struct manifest *m;
    size_t errors;
    (void)state;
    assert_int_equal(mkdir("d", 0700), 0);
    rig_write("d/b.yml", CHANNEL("b"));
    rig_write("d/a.yaml", CHANNEL("a"));
    rig_write("d/c.json",
              "{\"apiVersion\":\"messaging.knative.dev/v1\",\"kind\":\"Channel\",\"metadata\":{\"name\":\"c\"}}");
    rig_write("d/.hidden.yaml", "nonsense");
    rig_write("d/notes.txt", "nonsense");
    rig_write("one.yaml", CHANNEL("one"));
    char *said = load(paths, 2, &m, &errors);
    assert_string_equal(said, "");
    static const char *const names[] = {"a", "b", "c", "one"};
    assert_int_equal(manifest_count(m), COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(rig_text(cJSON_GetObjectItem(manifest_object(m, i), "metadata"), "name"), names[i]);
    assert_null(manifest_object(m, 4));
    assert_null(manifest_kind(m, 4));
    free(said);
    manifest_free(m);

    /* One object in two files: the later one is told where the other is. */
    rig_write("d/z.yaml", "# first line\n" CHANNEL("a"));
    said = load(paths, 1, &m, &errors);
    assert_string_equal(said,
                        "d/z.yaml:2:1: error: Channel default/a: is declared twice; the other one is at d/a.yaml:1\n");
    free(said);
    manifest_free(m);
    unlink("d/a.yaml"), unlink("d/b.yml"), unlink("d/c.json"), unlink("d/.hidden.yaml"), unlink("d/z.yaml"),
        unlink("one.yaml");

    said = load(paths, 1, &m, &errors);
    assert_string_equal(said, "d: warning: there is no file *.yaml, *.yml or *.json in this directory\n");
    assert_int_equal(errors, 0);
    free(said);
    manifest_free(m);
    unlink("d/notes.txt"), rmdir("d");
}

static void test_files_that_cannot_be_read(void **state)
{
    const char *const paths[] = {"absent.yaml", "good.yaml"};
    struct manifest *m;
    size_t errors;
    (void)state;
    rig_write("good.yaml", CHANNEL("a"));
    char *said = load(paths, 2, &m, &errors);
    assert_string_equal(said, "absent.yaml: error: cannot be opened: No such file or directory\n");
    assert_int_equal(errors, 1);
    assert_int_equal(manifest_count(m), 1);
    free(said);
    manifest_free(m);
    unlink("good.yaml");
}

static void test_lists(void **state)
{
    (void)state;
    struct manifest *m = rig_good("apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n"
                                  "- {apiVersion: messaging.knative.dev/v1, kind: Channel, metadata: {name: a}}\n"
                                  "- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n");
    assert_int_equal(manifest_count(m), 2);
    manifest_free(m);
    m = rig_good("apiVersion: v1\nkind: List\nitems: []\n");
    assert_int_equal(manifest_count(m), 0);
    manifest_free(m);
}

static void test_what_is_left_alone(void **state)
{
    static const char *const texts[][2] = {
        {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: n}\nspec: {anything: [1]}\n",
         "m.yaml:2:7: warning: Deployment n/d: leat has no use for it; ignored\n"},
        {"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\n",
         "m.yaml:2:7: warning: ClusterRole r: leat has no use for it; ignored\n"},
        {"apiVersion: eventing.knative.dev/v1\nkind: EventPolicy\nmetadata: {name: b}\n",
         "m.yaml:2:7: warning: EventPolicy b: this kind is not in this build yet; ignored\n"},
        {"apiVersion: feeds.knative.dev/v1alpha1\nkind: Bind\nmetadata: {name: b}\n",
         "m.yaml:2:7: warning: Bind b: a Bind became a Feed in July 2018: write kind: Feed; ignored\n"},
        {"apiVersion: v1\nkind: Secrets\nmetadata: {name: b}\n",
         "m.yaml:2:7: warning: Secrets b: kind: there is no kind Secrets in v1; did you mean Secret? It is ignored\n"},
        {"apiVersion: channels.knative.dev/v1alpha1\nkind: ClusterBus\nmetadata: {name: b, namespace: n}\nspec: "
         "{dispatcher: {}}\n",
         "m.yaml:3:32: warning: ClusterBus b: metadata.namespace: a ClusterBus belongs to no namespace; ignored\n"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct problems p;
        struct manifest *m = rig_load(texts[i][0], &p);
        char *said = rig_problems(&p);
        assert_int_equal(p.errors, 0);
        assert_string_equal(said, texts[i][1]);
        free(said);
        problems_fini(&p);
        manifest_free(m);
    }
}

/* The manifests of Knative 0.1, in shape: they load as they are. */
static void test_2018(void **state)
{
    char path[500];
    const char *paths[] = {path};
    struct manifest *m;
    size_t errors;
    (void)state;
    snprintf(path, sizeof path, "%s/tests/data/2018", rig_root);
    char *said = load(paths, 1, &m, &errors);
    assert_int_equal(errors, 0);
    if (errors)
        fail_msg("%s", said);
    assert_int_equal(manifest_count(m), 39);
    /* The anchor's copy is there. */
    for (size_t i = 0; i < manifest_count(m); i++) {
        const cJSON *spec = cJSON_GetObjectItem(manifest_object(m, i), "spec"),
                    *dispatcher = cJSON_GetObjectItem(spec, "dispatcher");
        const char *name = rig_text(cJSON_GetObjectItem(manifest_object(m, i), "metadata"), "name");
        if (strcmp(manifest_kind(m, i)->kind, "Bus") == 0 && strcmp(name, "kafka") == 0)
            assert_string_equal(rig_text(cJSON_GetArrayItem(cJSON_GetObjectItem(dispatcher, "env"), 0), "name"),
                                "KAFKA_BOOTSTRAP_SERVERS");
        if (strcmp(manifest_kind(m, i)->kind, "ClusterBus") == 0 && strcmp(name, "gcppubsub") == 0)
            assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(dispatcher, "volumeMounts")), 1);
    }
    free(said);
    manifest_free(m);
}

static enum err parse(const char *json, cJSON **object, char **said)
{
    const struct kind *kind = NULL;
    struct problems p;
    problems_init(&p);
    *object = NULL;
    enum err e = object_parse(slice_str(json), "there", object, &kind, &p);
    *said = rig_problems(&p);
    assert_int_equal(e == OK, *object != NULL);
    assert_int_equal(e == OK, kind != NULL);
    problems_fini(&p);
    return e;
}

static void test_objects(void **state)
{
    static const char *const bad[][2] = {
        {"", "error: "},
        {"nonsense", "error: no valid JSON"},
        {"[]", "error: a resource must be a mapping"},
        {"{}", "error: apiVersion: is missing"},
        {"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"x\"}}",
         "error: Deployment x: kind: there is no API apps/v1"},
        {"{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[]}", "error: List: kind: there is no kind List in v1"},
        {"{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{}}", "error: Secret: metadata.name: is missing"},
        {"{\"apiVersion\":\"messaging.knative.dev/"
         "v1\",\"kind\":\"Channel\",\"metadata\":{\"name\":\"c\"},\"spec\":{\"bogus\":1}}",
         "error: Channel there/c: spec.bogus: unknown field"},
    };
    cJSON *object;
    char *said;
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(parse(bad[i][0], &object, &said), ERR_INVALID);
        if (strncmp(said, bad[i][1], strlen(bad[i][1])) != 0)
            fail_msg("for %s it said %s", bad[i][0], said);
        free(said);
    }
    assert_int_equal(
        parse(
            "{\"apiVersion\":\"messaging.knative.dev/v1\",\"kind\":\"InMemoryChannel\",\"metadata\":{\"generateName\":"
            "\"c-\"},\"spec\":null,\"status\":{\"namespaces\":null}}",
            &object, &said),
        OK);
    assert_string_equal(said, "");
    assert_null(cJSON_GetObjectItem(object, "status"));
    assert_null(cJSON_GetObjectItem(object, "spec"));
    free(said);
    cJSON_Delete(object);
    /* Numbers that a double cannot hold. */
    assert_int_equal(parse("{\"apiVersion\":\"serving.knative.dev/"
                           "v1\",\"kind\":\"Route\",\"metadata\":{\"name\":\"r\"},\"spec\":{\"n\":9007199254740993,"
                           "\"s\":\"\\ud83c\\udf0a\\/\"}}",
                           &object, &said),
                     OK);
    char *text = cJSON_PrintUnformatted(cJSON_GetObjectItem(object, "spec"));
    assert_string_equal(text, "{\"n\":9007199254740993,\"s\":\"\xf0\x9f\x8c\x8a/\"}");
    cJSON_free(text);
    free(said);
    cJSON_Delete(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders), cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_lists),   cmocka_unit_test(test_what_is_left_alone),
        cmocka_unit_test(test_2018),    cmocka_unit_test(test_objects),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
