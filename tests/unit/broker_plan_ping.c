/* SPDX-License-Identifier: Apache-2.0
 *
 * PingSource: from the manifest to the plan's source, and to its conditions.
 */
#include "../lib/resource_rig.h"

#include "../../broker/resource/table.h"

#define CHANNEL "---\napiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: a}\n"
#define PING(version, spec)                                                                                            \
    "---\napiVersion: sources.knative.dev/" version "\nkind: PingSource\nmetadata: {name: p}\nspec:\n"                 \
    "  sink: {ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: a, namespace: default}}\n" spec "\n"

static const char *param(const struct plan *p, const char *name)
{
    return source_param(&p->sources[0].spec, name, "(none)");
}

static void check_plan(const char *text)
{
    struct resource_table *t = rig_table(text, clock_system());
    struct plan *p = rig_plan(t, NULL);
    assert_int_equal(p->source_count, 1);
    const struct plan_source *s = &p->sources[0];
    assert_string_equal(s->key, "PingSource.sources.knative.dev/default/p");
    assert_null(s->path);
    assert_string_equal(s->spec.type, "ping");
    assert_string_equal(s->spec.namespace_name, "default");
    assert_string_equal(s->spec.name, "p");
    assert_int_equal(s->sink.kind, PLAN_TARGET_CHANNEL);
    assert_string_equal(param(p, "schedule"), "0 9 * * *");
    assert_string_equal(param(p, "timezone"), "Europe/Berlin");
    assert_string_equal(param(p, "data"), "x");
    assert_string_equal(param(p, "contentType"), "text/plain");
    assert_string_equal(param(p, "dataBase64"), "(none)");
    assert_int_equal(s->spec.ce_override_count, 1);
    assert_string_equal(s->spec.ce_overrides[0].name, "team");
    const struct resource *r = rig_get(t, "pingsources", "p");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(rig_condition(r, "Deployed"), "True");
    plan_unref(p);
    resource_table_free(t);
}

static void test_plan(void **state)
{
    (void)state;
#define FULL                                                                                                           \
    "  schedule: 0 9 * * *\n  timezone: Europe/Berlin\n  data: x\n  contentType: text/plain\n"                         \
    "  ceOverrides: {extensions: {team: x}}\n"
    check_plan(CHANNEL PING("v1", FULL));
    check_plan(CHANNEL PING("v1beta2", FULL));
}

static void check_not_run(const char *text, const char *sink, const char *deployed)
{
    struct resource_table *t = rig_table(text, clock_system());
    struct plan *p = rig_plan(t, NULL);
    const struct resource *r = rig_get(t, "pingsources", "p");
    assert_int_equal(p->source_count, 0);
    assert_string_equal(rig_condition(r, "SinkProvided"), sink);
    if (strncmp(rig_condition(r, "Deployed"), deployed, strlen(deployed)) != 0)
        fail_msg("%s", rig_condition(r, "Deployed"));
    assert_int_equal(strncmp(rig_condition(r, "Ready"), "False ", 6), 0);
    plan_unref(p);
    resource_table_free(t);
}

static void test_what_cannot_run(void **state)
{
    (void)state;
    check_not_run(PING("v1", ""), "False NotFound Channel default/a of messaging.knative.dev/v1 is not declared",
                  "False SinkNotResolved it runs when it has a sink");
    check_not_run(CHANNEL PING("v1", "  schedule: 0 9 * * 7\n"), "True",
                  "False InvalidParameters schedule \"0 9 * * 7\", column 9: the day of the week \"7\": ");
    check_not_run(CHANNEL PING("v1", "  timezone: Mars/Base\n"), "True",
                  "False InvalidParameters timezone: this system knows no time zone");
    check_not_run(CHANNEL PING("v1", "  data: '{'\n  contentType: application/json\n"), "True",
                  "False InvalidParameters data is no JSON");
    check_not_run(CHANNEL PING("v1", "  ceOverrides: {extensions: {time: x}}\n"), "True",
                  "False InvalidParameters ceOverrides.extensions.time: ");
}

/* How many errors and warnings there are of a bad schedule, asked for over the API or read from the store. */
static void check_said(bool asked, const char *metadata, size_t errors)
{
    char text[600];
    struct problems p;
    cJSON *object = NULL;
    const struct kind *kind = NULL;
    snprintf(
        text, sizeof text,
        "{\"apiVersion\": \"sources.knative.dev/v1\", \"kind\": \"PingSource\", \"metadata\": {\"name\": \"p\"%s}, "
        "\"spec\": {\"schedule\": \"soon\", \"sink\": {\"uri\": \"http://127.0.0.1:1/\"}}}",
        metadata);
    problems_init(&p);
    enum err e = asked ? object_parse_pruned(slice_str(text), NULL, &object, &kind, &p)
                       : object_parse(slice_str(text), NULL, &object, &kind, &p);
    assert_int_equal(e, errors ? ERR_INVALID : OK);
    assert_int_equal(p.errors, errors);
    assert_int_equal(p.count, 1);
    assert_string_equal(p.list[0].path, "spec.schedule");
    cJSON_Delete(object);
    problems_fini(&p);
}

/* What is stored stays, and what is being deleted can be let go. */
static void test_refused_over_the_api_alone(void **state)
{
    (void)state;
    check_said(true, "", 1);
    check_said(false, "", 0);
    check_said(true, ", \"deletionTimestamp\": \"2026-01-01T00:00:00Z\"", 0);
}

static void test_schedule_is_written_down(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(CHANNEL PING("v1", ""), clock_system());
    const struct resource *r = rig_get(t, "pingsources", "p");
    assert_string_equal(rig_text(cJSON_GetObjectItem(r->object, "spec"), "schedule"), "* * * * *");
    resource_table_free(t);
}

/* It has no webhook, and takes no path from a source of its name that has one. */
static void test_path_is_free(void **state)
{
    (void)state;
    struct resource_table *t = rig_table(
        CHANNEL PING("v1",
                     "") "---\napiVersion: v1\nkind: Secret\nmetadata: {name: gh}\n"
                         "stringData: {s: signed}\n---\napiVersion: sources.knative.dev/v1alpha1\nkind: GitHubSource\n"
                         "metadata: {name: p}\nspec:\n  ownerAndRepository: o/r\n  eventTypes: [push]\n"
                         "  accessToken: {secretKeyRef: {name: gh, key: s}}\n"
                         "  secretToken: {secretKeyRef: {name: gh, key: s}}\n  sink: {uri: http://127.0.0.1:1/}\n",
        clock_system());
    struct plan *p = rig_plan(t, NULL);
    assert_int_equal(p->source_count, 2);
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(p->sources[i].spec.type, "ping") == 0)
            assert_null(p->sources[i].path);
        else
            assert_string_equal(p->sources[i].path, "/hooks/default/p");
    }
    plan_unref(p);
    resource_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plan), cmocka_unit_test(test_what_cannot_run),
                                       cmocka_unit_test(test_refused_over_the_api_alone),
                                       cmocka_unit_test(test_schedule_is_written_down),
                                       cmocka_unit_test(test_path_is_free)};
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
