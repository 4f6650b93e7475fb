/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects between versions, and the documents about all kinds, with each allocation failing in turn: the failure comes
 * back, nothing leaks, what is left can be tried again, and with enough memory the result is what it always is.
 */
#include <string.h>

#include "../../broker/api/openapi.h"
#include "../../broker/resource/check.h"
#include "../lib/fault.h"
#include "../lib/resource_rig.h"

#define STEPS_MAX 2000 /* of one object; a loop that never ends would be one that always fails */

static void *from_cjson(size_t size)
{
    return malloc(size); /* the wrapped one, since this is our object */
}

static int begin(void **state)
{
    cJSON_Hooks hooks = {from_cjson, free};
    struct diag d;
    (void)state;
    cJSON_InitHooks(&hooks);
    return kinds_load(&d) == OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    kinds_unload();
    return 0;
}

/* ---- versions ---- */

#define HEAD                                                                                                           \
    "{\"apiVersion\":\"eventing.knative.dev/%s\",\"kind\":\"EventType\",\"metadata\":{\"name\":\"e\"%s},\"spec\":%s}"
#define KEPT                                                                                                           \
    ",\"annotations\":{\"leat.dev/attributes\":\"[{\\\"name\\\":\\\"type\\\",\\\"required\\\":true,\\\"value\\\":"     \
    "\\\"a\\\"},{\\\"name\\\":\\\"more\\\",\\\"required\\\":false},{\\\"name\\\":\\\"dataschema\\\"}]\"}"

static const struct {
    const char *from, *to, *metadata, *spec;
} objects[] = {
    {"v1beta1", "v1beta3", "", "{\"type\":\"a\",\"source\":\"/s\",\"schema\":\"http://x\",\"broker\":\"b\"}"},
    {"v1beta2", "v1beta3", KEPT, "{\"type\":\"b\",\"source\":\"/s\",\"schemaData\":\"{}\",\"description\":\"d\"}"},
    {"v1beta2", "v1beta1", "", "{\"type\":\"a\",\"reference\":{\"name\":\"r\"}}"},
    {"v1beta3", "v1beta2", "",
     "{\"attributes\":[{\"name\":\"type\",\"required\":true,\"value\":\"a\"},{\"name\":\"more\",\"value\":\"x\"}]}"},
    {"v1beta3", "v1beta1", ",\"annotations\":{\"a\":\"b\"}",
     "{\"attributes\":[{\"name\":\"dataschema\",\"required\":false,\"value\":\"http://x\"}],\"description\":\"d\"}"},
    {"v1beta3", "v1beta2", "", "{}"},
};

static const struct kind *version_of(const char *version)
{
    char text[80];
    snprintf(text, sizeof text, "eventing.knative.dev/%s", version);
    return kind_find(text, "EventType");
}

static char *text_of(cJSON *object)
{
    char *text = cJSON_PrintUnformatted(object);
    assert_non_null(text);
    return text;
}

/* Its text as it comes out of a conversion that had memory. */
static char *converted(const char *from, const char *to, const char *text)
{
    cJSON *object = cJSON_Parse(text);
    assert_non_null(object);
    assert_true(object_convert(object, version_of(from), version_of(to)));
    char *out = text_of(object);
    cJSON_Delete(object);
    return out;
}

static void test_versions(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(objects); i++) {
        char text[1000];
        snprintf(text, sizeof text, HEAD, objects[i].from, objects[i].metadata, objects[i].spec);
        char *expected = converted(objects[i].from, objects[i].to, text);
        bool fired = true;
        for (unsigned n = 1; fired; n++) {
            cJSON *object = cJSON_Parse(text);
            assert_true(object && n < STEPS_MAX);
            fault_arm(n);
            bool good = object_convert(object, version_of(objects[i].from), version_of(objects[i].to));
            fired = fault_disarm();
            assert_int_equal(good, !fired);
            if (good) {
                char *out = text_of(object);
                assert_string_equal(out, expected);
                cJSON_free(out);
            }
            cJSON_Delete(object);
        }
        cJSON_free(expected);
    }
}

/* ---- OpenAPI ---- */

static void test_documents(void **state)
{
    struct buf json, protobuf, whole_json, whole_protobuf;
    bool fired = true;
    (void)state;
    buf_init(&whole_json, OPENAPI_BYTES_MAX);
    buf_init(&whole_protobuf, OPENAPI_BYTES_MAX);
    assert_true(openapi_v2_make(&whole_json, &whole_protobuf));
    /* It takes tens of thousands of allocations: each of the first ones, then ever fewer. */
    unsigned n = 1, last = 0;
    for (; fired; last = n, n += n < 60 ? 1 : n / 6) {
        buf_init(&json, OPENAPI_BYTES_MAX);
        buf_init(&protobuf, OPENAPI_BYTES_MAX);
        fault_arm(n);
        bool good = openapi_v2_make(&json, &protobuf);
        fired = fault_disarm();
        assert_int_equal(good, !fired);
        assert_true(good || (json.len == 0 && protobuf.len == 0));
        if (good) {
            assert_true(slice_eq(buf_slice(&json), buf_slice(&whole_json)));
            assert_true(slice_eq(buf_slice(&protobuf), buf_slice(&whole_protobuf)));
        }
        buf_fini(&json);
        buf_fini(&protobuf);
    }
    assert_true(last > 10000);
    buf_fini(&whole_json);
    buf_fini(&whole_protobuf);
}

/* Buffers that failed once can be used once more. */
static void test_again_after_a_failure(void **state)
{
    struct buf json, protobuf;
    (void)state;
    buf_init(&json, OPENAPI_BYTES_MAX);
    buf_init(&protobuf, OPENAPI_BYTES_MAX);
    fault_arm(40);
    assert_false(openapi_v2_make(&json, &protobuf));
    assert_true(fault_disarm());
    assert_true(openapi_v2_make(&json, &protobuf));
    assert_true(json.len > 100000 && protobuf.len > 100000);
    buf_fini(&json);
    buf_fini(&protobuf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_again_after_a_failure),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
