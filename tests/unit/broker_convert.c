/* SPDX-License-Identifier: Apache-2.0
 *
 * Versions of one kind: an object is the same one through each of them, and nothing of it is lost on the way.
 */
#include "../lib/resource_rig.h"

#define EVENT_TYPE(version)                                                                                            \
    "apiVersion: eventing.knative.dev/" version "\nkind: EventType\nmetadata: {name: e, namespace: default}\nspec:\n"

static const struct kind *version_of(const char *version)
{
    char text[80];
    snprintf(text, sizeof text, "eventing.knative.dev/%s", version);
    return kind_find(text, "EventType");
}

static char *spec_of(const cJSON *object)
{
    return cJSON_PrintUnformatted(cJSON_GetObjectItem(object, "spec"));
}

static void expect_spec(const cJSON *object, const char *spec)
{
    char *text = spec_of(object);
    assert_string_equal(text, spec);
    cJSON_free(text);
}

static void test_up(void **state)
{
    static const struct {
        const char *written, *kept;
    } cases[] = {
        {"  type: a\n", "{\"attributes\":[{\"name\":\"type\",\"required\":true,\"value\":\"a\"},{\"name\":\"source\","
                        "\"required\":true},{\"name\":\"specversion\",\"required\":true},{\"name\":\"id\",\"required\":"
                        "true}]}"},
        {"  type: a\n  source: /s\n  schema: http://x\n  schemaData: '{}'\n  description: d\n",
         "{\"description\":\"d\",\"attributes\":[{\"name\":\"type\",\"required\":true,\"value\":\"a\"},{\"name\":"
         "\"source\",\"required\":true,\"value\":\"/s\"},{\"name\":\"specversion\",\"required\":true},{\"name\":\"id\","
         "\"required\":true},{\"name\":\"dataschema\",\"required\":false,\"value\":\"http://x\"},{\"name\":"
         "\"schemadata\",\"required\":false,\"value\":\"{}\"}]}"},
        {"  type: a\n  broker: b\n",
         "{\"reference\":{\"apiVersion\":\"eventing.knative.dev/v1\",\"kind\":\"Broker\",\"name\":\"b\",\"namespace\":"
         "\"default\"},\"attributes\":[{\"name\":\"type\",\"required\":true,\"value\":\"a\"},{\"name\":\"source\","
         "\"required\":true},{\"name\":\"specversion\",\"required\":true},{\"name\":\"id\",\"required\":true}]}"},
    };
    static const char *const heads[] = {EVENT_TYPE("v1beta1"), EVENT_TYPE("v1beta2")};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t k = 0; k < COUNT(heads); k++) {
            char text[1000];
            snprintf(text, sizeof text, "%s%s", heads[k], cases[i].written);
            struct manifest *m = rig_good(text);
            assert_ptr_equal(manifest_kind(m, 0), version_of("v1beta3"));
            assert_string_equal(rig_text(manifest_object(m, 0), "apiVersion"), "eventing.knative.dev/v1beta3");
            expect_spec(manifest_object(m, 0), cases[i].kept);
            manifest_free(m);
        }
}

/* Down and up again, whatever it says. */
static void test_there_and_back(void **state)
{
    static const char *const attributes[] = {
        "{name: type, required: true, value: a}, {name: source, required: true}, {name: specversion, required: true}, "
        "{name: id, required: true}",
        "{name: type, value: a}, {name: source, required: true, value: /s}, {name: specversion, value: '1.0'}, {name: "
        "id, required: true}, {name: subject, required: true, value: 'x/{y}'}, {name: dataschema, value: http://x}",
        "{name: subject}, {name: id}, {name: specversion}, {name: source}, {name: type}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(attributes); i++) {
        char text[1000];
        snprintf(text, sizeof text, EVENT_TYPE("v1beta3") "  attributes: [%s]\n", attributes[i]);
        struct manifest *m = rig_good(text);
        cJSON *o = cJSON_Duplicate(manifest_object(m, 0), true);
        assert_true(object_convert(o, version_of("v1beta3"), version_of("v1beta2")));
        assert_string_equal(rig_text(o, "apiVersion"), "eventing.knative.dev/v1beta2");
        assert_null(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "spec"), "attributes"));
        assert_true(object_convert(o, version_of("v1beta2"), version_of("v1beta3")));
        assert_true(cJSON_Compare(o, manifest_object(m, 0), true));
        cJSON_Delete(o);
        manifest_free(m);
    }
}

/* What was changed while it was in the older version counts; what that one cannot say stays. */
static void test_changes_through_an_older_version(void **state)
{
    (void)state;
    struct manifest *m =
        rig_good(EVENT_TYPE("v1beta3") "  attributes: [{name: type, value: a}, {name: source, required: true, value: "
                                       "/s}, {name: specversion}, {name: id}, {name: subject, value: x}, {name: "
                                       "dataschema, value: http://x}]\n");
    cJSON *o = cJSON_Duplicate(manifest_object(m, 0), true), *spec = cJSON_GetObjectItem(o, "spec");
    assert_true(object_convert(o, version_of("v1beta3"), version_of("v1beta2")));
    cJSON_ReplaceItemInObject(spec, "type", cJSON_CreateString("b"));
    cJSON_DeleteItemFromObject(spec, "schema");
    cJSON_AddStringToObject(spec, "schemaData", "{}");
    assert_true(object_convert(o, version_of("v1beta2"), version_of("v1beta3")));
    expect_spec(o, "{\"attributes\":[{\"name\":\"type\",\"value\":\"b\"},{\"name\":\"source\",\"required\":true,"
                   "\"value\":\"/s\"},{\"name\":\"specversion\"},{\"name\":\"id\"},{\"name\":\"subject\",\"value\":"
                   "\"x\"},{\"name\":\"schemadata\",\"required\":false,\"value\":\"{}\"}]}");
    assert_null(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "metadata"), "annotations"));
    cJSON_Delete(o);
    manifest_free(m);
}

/* An annotation that somebody else wrote does no harm. */
static void test_a_broken_annotation(void **state)
{
    static const char *const texts[] = {"", "x", "{}", "[1]", "[{}]", "[{\"name\":1}]"};
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct manifest *m = rig_good(EVENT_TYPE("v1beta3") "  attributes: [{name: type, required: true, value: a}, "
                                                            "{name: source, required: true}, {name: specversion, "
                                                            "required: true}, {name: id, required: true}]\n");
        cJSON *o = cJSON_Duplicate(manifest_object(m, 0), true),
              *annotations = cJSON_AddObjectToObject(cJSON_GetObjectItem(o, "metadata"), "annotations");
        assert_true(object_convert(o, version_of("v1beta3"), version_of("v1beta2")));
        cJSON_AddStringToObject(annotations, "leat.dev/attributes", texts[i]);
        assert_true(object_convert(o, version_of("v1beta2"), version_of("v1beta3")));
        assert_true(cJSON_Compare(o, manifest_object(m, 0), true));
        cJSON_Delete(o);
        manifest_free(m);
    }
}

/* Where only the version differs. */
static void test_versions_of_the_same_fields(void **state)
{
    (void)state;
    struct manifest *m =
        rig_good("apiVersion: sources.knative.dev/v1beta2\nkind: PingSource\nmetadata: {name: p}\nspec: {schedule: '* "
                 "* * * *', sink: {uri: 'http://x/'}}\n");
    assert_string_equal(rig_text(manifest_object(m, 0), "apiVersion"), "sources.knative.dev/v1");
    assert_ptr_equal(manifest_kind(m, 0), kind_find("sources.knative.dev/v1", "PingSource"));
    manifest_free(m);
    for (size_t i = 0; kind_at(i); i++) {
        assert_non_null(kind_at(i)->stored);
        assert_string_equal(kind_at(i)->stored->kind, kind_at(i)->kind);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_up),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_changes_through_an_older_version),
        cmocka_unit_test(test_a_broken_annotation),
        cmocka_unit_test(test_versions_of_the_same_fields),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
