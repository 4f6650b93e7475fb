/* SPDX-License-Identifier: Apache-2.0
 *
 * Who owns which fields: sets of paths, objects through their schemas, merging, and what writes and applies mean.
 */
#include "../lib/resource_rig.h"

#include "../../broker/api/managed.h"

#define KIND "messaging.knative.dev/v1"

static struct fields_work work;

static int setup(void **state)
{
    struct diag d;
    (void)state;
    assert_int_equal(kinds_load(&d), OK);
    work = (struct fields_work){.arena = arena_new()};
    return work.arena ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(work.arena);
    kinds_unload();
    return 0;
}

static cJSON *json(const char *text)
{
    cJSON *tree = cJSON_Parse(text);
    assert_non_null(tree);
    return tree;
}

static const struct fields *set(const char *text)
{
    const struct fields *out = NULL;
    cJSON *tree = json(text);
    assert_int_equal(fields_read(&work, tree, &out), OK);
    cJSON_Delete(tree);
    return out;
}

static void assert_set(const struct fields *s, const char *text)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    fields_put(s, &b);
    buf_put_char(&b, 0);
    assert_int_equal(buf_error(&b), OK);
    assert_string_equal(b.ptr, text);
    buf_fini(&b);
    assert_false(work.nomem);
}

/* ---- sets ---- */

static void test_sets(void **state)
{
    (void)state;
    const struct fields *a = set("{\"f:b\":{\"f:x\":{},\".\":{}},\"f:a\":{}}"),
                        *b = set("{\"f:b\":{\"f:y\":{},\"f:x\":{}}}");
    assert_set(a, "{\"f:a\":{},\"f:b\":{\".\":{},\"f:x\":{}}}");
    assert_set(fields_union(&work, a, b), "{\"f:a\":{},\"f:b\":{\".\":{},\"f:x\":{},\"f:y\":{}}}");
    assert_set(fields_minus(&work, a, b), "{\"f:a\":{},\"f:b\":{}}");
    assert_set(fields_minus(&work, b, a), "{\"f:b\":{\"f:y\":{}}}");
    assert_set(fields_common(&work, a, b), "{\"f:b\":{\"f:x\":{}}}");
    assert_set(fields_with_parents(&work, b), "{\"f:b\":{\".\":{},\"f:x\":{},\"f:y\":{}}}");
    assert_set(fields_minus(&work, a, a), "{}");
    assert_null(fields_minus(&work, a, a));
    assert_true(fields_equal(a, fields_union(&work, a, a)) && !fields_equal(a, b) && fields_equal(NULL, NULL));
    assert_set(set("{\"k:{\\\"b\\\":1, \\\"a\\\":\\\"x\\\"}\":{},\"v: 1.0\":{},\"i:3\":{}}"),
               "{\"i:3\":{},\"k:{\\\"a\\\":\\\"x\\\",\\\"b\\\":1}\":{},\"v:1\":{}}");
}

static void test_what_is_no_set(void **state)
{
    static const char *const bad[] = {"[]",
                                      "{\"a\":{}}",
                                      "{\"f:a\":1}",
                                      "{\"x:a\":{}}",
                                      "{\"k:\":{}}",
                                      "{\"k:[1]\":{}}",
                                      "{\"v:{\\\"a\\\":1}\":{}}",
                                      "{\"k:{}\":{}}",
                                      "{\"\":{}}",
                                      "{\"k:{\\\"a\\\":{}}\":{}}"};
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        const struct fields *out;
        cJSON *tree = json(bad[i]);
        assert_int_equal(fields_read(&work, tree, &out), ERR_INVALID);
        cJSON_Delete(tree);
    }
}

static void test_depth(void **state)
{
    char text[8 * 64] = "";
    const struct fields *out;
    (void)state;
    for (int i = 0; i < 60; i++)
        strcat(text, "{\"f:a\":");
    strcat(text, "{}");
    for (int i = 0; i < 60; i++)
        strcat(text, "}");
    cJSON *tree = json(text);
    assert_int_equal(fields_read(&work, tree, &out), ERR_INVALID);
    cJSON_Delete(tree);
}

static void add_path(void *arg, const char *path)
{
    buf_printf(arg, "%s ", path);
}

static void test_paths(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    fields_each(set("{\"f:m\":{\"f:kubernetes.io/"
                    "x\":{}},\"f:l\":{\"k:{\\\"name\\\":\\\"a\\\",\\\"port\\\":80}\":{\".\":{},\"f:u\":{}},"
                    "\"v:\\\"x\\\"\":{},\"i:2\":{}}}"),
                add_path, &b);
    buf_put_char(&b, 0);
    assert_string_equal(b.ptr, ".l[2] .l[name=\"a\",port=80] .l[name=\"a\",port=80].u .l[=\"x\"] .m.kubernetes.io/x ");
    buf_fini(&b);
}

/* ---- objects ---- */

static struct shape channel(void)
{
    struct shape s = {.kind = kind_find(KIND, "Channel")};
    assert_non_null(s.kind);
    return s;
}

#define NAMED(metadata, rest)                                                                                          \
    "{\"apiVersion\":\"" KIND "\",\"kind\":\"Channel\",\"metadata\":{\"name\":\"a\"" metadata "}" rest "}"

static void test_what_is_applied(void **state)
{
    const struct shape s = channel();
    cJSON *o = json(NAMED(",\"uid\":\"u\",\"labels\":{\"x\":\"y\"},\"finalizers\":[\"f/g\"],\"annotations\":{}",
                          ",\"spec\":{\"delivery\":{\"retry\":1},\"bogus\":1},\"status\":{\"x\":1}"));
    (void)state;
    assert_set(
        shape_applied(&work, &s, o),
        "{\"f:metadata\":{\"f:annotations\":{},\"f:finalizers\":{\"v:\\\"f/g\\\"\":{}},\"f:labels\":{\"f:x\":{}}},"
        "\"f:spec\":{\"f:delivery\":{\"f:retry\":{}}}}");
    cJSON_Delete(o);
}

static void test_differences(void **state)
{
    const struct shape s = channel();
    cJSON *a = json(NAMED(",\"labels\":{\"x\":\"1\",\"y\":\"1\"}", ",\"spec\":{\"delivery\":{\"retry\":1}}")),
          *b = json(NAMED(",\"labels\":{\"x\":\"2\",\"z\":\"1\"}",
                          ",\"spec\":{\"delivery\":{\"retry\":1,\"backoffPolicy\":\"linear\"}}"));
    (void)state;
    struct shape_difference d = shape_compare(&work, &s, a, b);
    assert_set(d.added,
               "{\"f:metadata\":{\"f:labels\":{\"f:z\":{}}},\"f:spec\":{\"f:delivery\":{\"f:backoffPolicy\":{}}}}");
    assert_set(d.removed, "{\"f:metadata\":{\"f:labels\":{\"f:y\":{}}}}");
    assert_set(d.modified, "{\"f:metadata\":{\"f:labels\":{\"f:x\":{}}}}");
    d = shape_compare(&work, &s, NULL, a);
    assert_set(d.added, "{\"f:metadata\":{\"f:labels\":{\".\":{},\"f:x\":{},\"f:y\":{}}},"
                        "\"f:spec\":{\".\":{},\"f:delivery\":{\".\":{},\"f:retry\":{}}}}");
    d = shape_compare(&work, &s, a, a);
    assert_true(!d.added && !d.removed && !d.modified);
    cJSON_Delete(a);
    cJSON_Delete(b);
}

/* Lists of every kind, which our kinds do not have: one made for it. */
static const struct kind *listed(void)
{
    static struct kind k = {.group = "g", .version = "v1", .kind = "K"};
    k.schema = json(
        "{\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":{"
        "\"whole\":{\"type\":\"array\"},\"set\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\"},"
        "\"map\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[\"n\",\"p\"],"
        "\"items\":{\"type\":\"object\",\"properties\":{\"n\":{},\"p\":{\"default\":80},\"v\":{},\"w\":{}}}}}}}}");
    return &k;
}

static void merged(const char *there, const char *applied, const char *gone, const char *wanted)
{
    const struct shape s = {.kind = listed()};
    cJSON *a = json(there), *b = json(applied), *c = json(wanted);
    assert_int_equal(apply_merge(&work, &s, a, b), OK);
    assert_int_equal(apply_remove(&work, &s, a, gone ? set(gone) : NULL), OK);
    char *text = cJSON_PrintUnformatted(a), *want = cJSON_PrintUnformatted(c);
    assert_string_equal(text, want);
    cJSON_free(text);
    cJSON_free(want);
    cJSON_Delete(a);
    cJSON_Delete(b);
    cJSON_Delete(c);
    cJSON_Delete((cJSON *)(uintptr_t)s.kind->schema);
}

static void test_merging_lists(void **state)
{
    (void)state;
    merged("{\"spec\":{\"whole\":[1,2]}}", "{\"spec\":{\"whole\":[3]}}", NULL, "{\"spec\":{\"whole\":[3]}}");
    merged("{\"spec\":{\"set\":[\"a\",\"b\",\"c\"]}}", "{\"spec\":{\"set\":[\"d\",\"b\"]}}", NULL,
           "{\"spec\":{\"set\":[\"a\",\"d\",\"b\",\"c\"]}}");
    merged("{\"spec\":{\"map\":[{\"n\":\"a\",\"v\":1},{\"n\":\"b\",\"p\":80,\"w\":2}]}}",
           "{\"spec\":{\"map\":[{\"n\":\"b\",\"v\":3},{\"n\":\"c\"}]}}", NULL,
           "{\"spec\":{\"map\":[{\"n\":\"a\",\"v\":1},{\"n\":\"b\",\"p\":80,\"w\":2,\"v\":3},{\"n\":\"c\"}]}}");
    /* elements without keys, or twice: the list is one value */
    merged("{\"spec\":{\"set\":[\"a\"]}}", "{\"spec\":{\"set\":[\"b\",\"b\"]}}", NULL,
           "{\"spec\":{\"set\":[\"b\",\"b\"]}}");
    merged("{\"spec\":{\"map\":[{\"n\":\"a\"}]}}", "{\"spec\":{\"map\":[7]}}", NULL, "{\"spec\":{\"map\":[7]}}");
}

static void test_removing(void **state)
{
    (void)state;
    merged("{\"spec\":{\"set\":[\"a\",\"b\"]}}", "{}",
           "{\"f:spec\":{\".\":{},\"f:set\":{\".\":{},\"v:\\\"a\\\"\":{}}}}", "{\"spec\":{\"set\":[\"b\"]}}");
    merged("{\"spec\":{\"set\":[\"a\"]}}", "{}", "{\"f:spec\":{\".\":{},\"f:set\":{\".\":{},\"v:\\\"a\\\"\":{}}}}",
           "{}");
    merged("{\"spec\":{\"map\":[{\"n\":\"a\",\"p\":80,\"v\":1},{\"n\":\"b\",\"p\":80,\"v\":1}]}}", "{}",
           "{\"f:spec\":{\"f:map\":{\"k:{\\\"n\\\":\\\"a\\\",\\\"p\\\":80}\":{\".\":{},\"f:n\":{},\"f:p\":{},\"f:v\":{}"
           "}}}}",
           "{\"spec\":{\"map\":[{\"n\":\"b\",\"p\":80,\"v\":1}]}}");
    /* what somebody else has of an element keeps it, with its keys */
    merged("{\"spec\":{\"map\":[{\"n\":\"a\",\"p\":80,\"v\":1,\"w\":2}]}}", "{}",
           "{\"f:spec\":{\"f:map\":{\"k:{\\\"n\\\":\\\"a\\\",\\\"p\\\":80}\":{\".\":{},\"f:n\":{},\"f:v\":{}}}}}",
           "{\"spec\":{\"map\":[{\"n\":\"a\",\"p\":80,\"w\":2}]}}");
    /* nobody's neighbours stay */
    merged("{\"spec\":{\"whole\":[1],\"set\":[\"a\"]}}", "{}", "{\"f:spec\":{\".\":{},\"f:whole\":{}}}",
           "{\"spec\":{\"set\":[\"a\"]}}");
}

/* ---- managers ---- */

static struct manager who(const char *name, bool apply)
{
    return (struct manager){.name = name, .version = KIND, .apply = apply, .subresource = "", .time = ""};
}

static void assert_text(const struct managed *m, const char *wanted)
{
    char *text = NULL;
    struct diag d;
    assert_int_equal(managed_put(m, &text, &d), OK);
    assert_string_equal(text, wanted);
    free(text);
}

static void test_in_and_out(void **state)
{
    struct managed m;
    static const char text[] = "[{\"manager\":\"b\",\"operation\":\"Apply\",\"apiVersion\":\"" KIND
                               "\",\"time\":\"2018-07-31T12:00:00Z\",\"fieldsType\":\"FieldsV1\",\"subresource\":"
                               "\"status\",\"fieldsV1\":{\"f:status\":{}}},"
                               "{\"manager\":\"a \\\"b\\\"\",\"operation\":\"Update\",\"apiVersion\":\"" KIND
                               "\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"f:spec\":{\".\":{},\"f:x\":{}}}}]";
    (void)state;
    managed_init(&m, &work);
    assert_int_equal(managed_read_text(&m, text), OK);
    assert_int_equal(m.count, 2);
    assert_text(&m, text);
    assert_int_equal(managed_read_text(&m, ""), OK);
    assert_text(&m, "");
    static const char *const bad[] = {"{}",
                                      "[1]",
                                      "[{}]",
                                      "[{\"operation\":\"Apply\"}]",
                                      "[{\"operation\":\"Apply\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"x\":{}}}]",
                                      "["};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(managed_read_text(&m, bad[i]), ERR_INVALID);
        assert_int_equal(m.count, 0);
    }
    cJSON *reset = json("[{}]"), *none = json("[]");
    assert_true(managed_is_reset(reset) && !managed_is_reset(none) && !managed_is_reset(NULL));
    cJSON_Delete(reset);
    cJSON_Delete(none);
}

static void test_the_oldest_become_one(void **state)
{
    struct managed m;
    const struct shape s = channel();
    char label[200], time[40], name[10];
    cJSON *before = json(NAMED("", ""));
    (void)state;
    managed_init(&m, &work);
    for (int i = 0; i < 14; i++) {
        snprintf(label, sizeof label, NAMED(",\"labels\":{\"l%d\":\"x\"}", ""), i);
        snprintf(time, sizeof time, "2018-07-31T12:00:%02dZ", i);
        snprintf(name, sizeof name, "u%d", i);
        cJSON *after = json(label);
        struct manager u = who(arena_copy(work.arena, name, strlen(name)), false);
        assert_int_equal(managed_update(&m, &s, before, after, &u, arena_copy(work.arena, time, strlen(time))), OK);
        cJSON_Delete(after);
    }
    assert_int_equal(m.count, MANAGERS_UPDATE_MAX);
    assert_string_equal(m.list[0].name, "ancient-changes");
    assert_string_equal(m.list[0].time, "2018-07-31T12:00:04Z");
    cJSON_Delete(before);
}

static void test_too_many_managers(void **state)
{
    struct managed m;
    const struct shape s = channel();
    struct conflicts c;
    struct diag d;
    char name[10], *text = NULL;
    cJSON *o = json(NAMED("", "")), *applied = json(NAMED("", ",\"spec\":{\"delivery\":{\"retry\":1}}"));
    (void)state;
    managed_init(&m, &work);
    for (int i = 0; i <= MANAGERS_MAX; i++) {
        snprintf(name, sizeof name, "m%d", i);
        struct manager one = who(arena_copy(work.arena, name, strlen(name)), true);
        assert_int_equal(managed_apply(&m, &s, o, applied, &one, false, NULL, &c), OK);
    }
    assert_int_equal(managed_put(&m, &text, &d), ERR_TOO_LARGE);
    assert_non_null(strstr(d.text, "more than 1000 managers"));
    cJSON_Delete(o);
    cJSON_Delete(applied);
}

static void test_conflicts(void **state)
{
    struct managed m;
    const struct shape s = channel();
    const struct manager one = who("one", true), two = who("two", true);
    struct conflicts c;
    cJSON *o = json("{}"), *first = json(NAMED("", ",\"spec\":{\"delivery\":{\"retry\":1}}")),
          *other = json(NAMED("", ",\"spec\":{\"delivery\":{\"retry\":2}}"));
    (void)state;
    managed_init(&m, &work);
    assert_int_equal(managed_apply(&m, &s, o, first, &one, false, NULL, &c), OK);
    assert_int_equal(managed_apply(&m, &s, o, first, &two, false, NULL, &c), OK);
    cJSON *copy = cJSON_Duplicate(o, true);
    assert_int_equal(managed_apply(&m, &s, copy, other, &two, false, NULL, &c), ERR_CONFLICT);
    assert_int_equal(c.count, 1);
    assert_string_equal(c.list[0].path, ".spec.delivery.retry");
    assert_string_equal(c.list[0].with->name, "one");
    cJSON_Delete(copy);
    /* what may be taken is no conflict */
    managed_init(&m, &work);
    assert_int_equal(managed_apply(&m, &s, o, first, &one, false, NULL, &c), OK);
    assert_int_equal(
        managed_apply(&m, &s, o, other, &two, false, set("{\"f:spec\":{\"f:delivery\":{\"f:retry\":{}}}}"), &c), OK);
    assert_null(managed_find(&m, &one));
    assert_set(managed_find(&m, &two)->fields, "{\"f:spec\":{\"f:delivery\":{\"f:retry\":{}}}}");
    cJSON_Delete(o);
    cJSON_Delete(first);
    cJSON_Delete(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_what_is_no_set),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_what_is_applied),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_merging_lists),
        cmocka_unit_test(test_removing),
        cmocka_unit_test(test_in_and_out),
        cmocka_unit_test(test_the_oldest_become_one),
        cmocka_unit_test(test_too_many_managers),
        cmocka_unit_test(test_conflicts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
