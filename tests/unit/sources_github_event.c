/* SPDX-License-Identifier: Apache-2.0
 *
 * From a webhook to a CloudEvent: the attributes of each event by a table, what is left out, both forms, and what a
 * spec must have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../sources/github.h"
#include "github_sample.h"

#define WALL_NS 1534842942500000000ll /* 2018-08-21T09:15:42.5Z */
#define REPO "\"repository\":{\"id\":11,\"name\":\"mill\",\"full_name\":\"jo/mill\",\"owner\":{\"login\":\"jo\"}}"
#define SENDER "\"sender\":{\"login\":\"carter\"}"
#define COMMON REPO "," SENDER
#define COMMON_ATTRIBUTES "owner=jo repository=mill sender=carter"

static const struct source_param plain[] = {{"secretToken", "s"}, {"ownerAndRepository", "jo/mill"}};
static const struct source_param old[] = {{"secretToken", "s"}, {"ownerAndRepository", "jo/mill"}, {"form", "2018"}};
static const struct source_param anybody[] = {{"allowUnsigned", "true"}};

#define SPEC(list)                                                                                                     \
    {                                                                                                                  \
        .type = "github", .namespace_name = "default", .name = "t", .params = list,                                    \
        .param_count = sizeof(list) / sizeof(list[0])                                                                  \
    }
static const struct source_spec plain_spec = SPEC(plain), old_spec = SPEC(old), anybody_spec = SPEC(anybody);

static enum err make_err(const struct source_spec *spec, const char *event, const char *delivery, const char *body,
                         size_t bytes_max, const struct ce_event **out)
{
    struct github_options options;
    struct diag d = {0};
    assert_int_equal(github_options_parse(spec, &options, &d), OK);
    struct github_webhook w = {slice_str(event), slice_str(delivery), slice_str(body), {0}};
    if (json_check(w.body, 64, &w.payload, &d) != OK)
        fail_msg("%s: %s", d.text, body);
    return github_event_make(&options, &w, WALL_NS, bytes_max, out, &d);
}

static const struct ce_event *make(const struct source_spec *spec, const char *event, const char *body)
{
    const struct ce_event *e = NULL;
    assert_int_equal(make_err(spec, event, "d-1", body, 1u << 20, &e), OK);
    assert_true(slice_eq_str(ce_event_data(e), body));
    assert_true(slice_eq_str(ce_event_datacontenttype(e), "application/json"));
    assert_true(slice_eq_str(ce_event_id(e), "d-1"));
    return e;
}

static void assert_attribute(const struct ce_event *e, const char *name, const char *expected)
{
    struct ce_attribute a;
    bool there = ce_event_attribute(e, slice_str(name), &a);
    if (!expected && there)
        fail_msg("%s is there: %.*s", name, SLICE_ARG(a.value));
    if (expected && (!there || !slice_eq_str(a.value, expected)))
        fail_msg("%s is '%.*s', not '%s'", name, there ? (int)a.value.len : 4, there ? a.value.ptr : "none", expected);
}

/* Every attribute but the required ones, time and datacontenttype, sorted by nothing: "name=value ..." in the order
 * of the event. */
static void assert_extensions(const struct ce_event *e, const char *event, const char *expected)
{
    char text[4096] = "";
    size_t n = 0;
    static const char *const skipped[] = {"specversion", "id", "source", "type", "time", "datacontenttype", NULL};
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        bool skip = false;
        for (size_t s = 0; skipped[s]; s++)
            skip = skip || slice_eq_str(a.name, skipped[s]);
        if (!skip)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%.*s=%.*s", n ? " " : "", SLICE_ARG(a.name),
                                  SLICE_ARG(a.value));
    }
    if (strcmp(text, expected) != 0)
        fail_msg("%s: got  %s\n%*swant %s", event, text, (int)strlen(event) + 2, "", expected);
}

struct row {
    const char *event, *body, *expected;
};

static const struct row table[] = {
    {"check_run", "{\"action\":\"created\",\"check_run\":{\"id\":128620228}," COMMON "}",
     "subject=128620228 " COMMON_ATTRIBUTES " action=created"},
    {"check_suite", "{\"action\":\"completed\",\"check_suite\":{\"id\":118578147}," COMMON "}",
     "subject=118578147 " COMMON_ATTRIBUTES " action=completed"},
    {"commit_comment",
     "{\"action\":\"created\",\"comment\":{\"html_url\":\"https://github.com/jo/mill/commit/"
     "a1#commitcomment-2\"}," COMMON "}",
     "subject=a1#commitcomment-2 " COMMON_ATTRIBUTES " action=created"},
    {"create", "{\"ref\":\"v1\",\"ref_type\":\"tag\"," COMMON "}", "subject=tag " COMMON_ATTRIBUTES " ref=v1"},
    {"delete", "{\"ref\":\"v1\",\"ref_type\":\"branch\"," COMMON "}", "subject=branch " COMMON_ATTRIBUTES " ref=v1"},
    {"deployment", "{\"deployment\":{\"id\":5}," COMMON "}", "subject=5 " COMMON_ATTRIBUTES},
    {"deployment_status", "{\"deployment_status\":{\"id\":6},\"deployment\":{\"id\":5}," COMMON "}",
     "subject=5 " COMMON_ATTRIBUTES},
    {"fork", "{\"forkee\":{\"id\":7}," COMMON "}", "subject=7 " COMMON_ATTRIBUTES},
    {"gollum", "{\"pages\":[{\"page_name\":\"Home\"},{\"page_name\":\"Main\"}]," COMMON "}",
     "subject=Home,Main " COMMON_ATTRIBUTES},
    {"installation", "{\"action\":\"deleted\",\"installation\":{\"id\":2}," SENDER "}",
     "subject=2 sender=carter action=deleted installation=2"},
    {"issue_comment",
     "{\"action\":\"edited\",\"comment\":{\"html_url\":\"https://github.com/jo/mill/issues/2#issuecomment-3\"}," COMMON
     "}",
     "subject=2#issuecomment-3 " COMMON_ATTRIBUTES " action=edited"},
    {"issues",
     "{\"action\":\"labeled\",\"issue\":{\"number\":9},\"label\":{\"name\":\"bug\"},\"assignee\":{\"login\":\"lee\"}"
     "," COMMON "}",
     "subject=9 " COMMON_ATTRIBUTES " action=labeled label=bug assignee=lee"},
    {"issues", "{\"action\":\"opened\",\"issue\":{\"number\":9},\"assignee\":null," COMMON "}",
     "subject=9 " COMMON_ATTRIBUTES " action=opened"},
    {"label", "{\"action\":\"created\",\"label\":{\"name\":\":bug: Bugfix\"}," COMMON "}",
     "subject=:bug: Bugfix " COMMON_ATTRIBUTES " action=created label=:bug: Bugfix"},
    {"member", "{\"action\":\"added\",\"member\":{\"id\":4}," COMMON "}",
     "subject=4 " COMMON_ATTRIBUTES " action=added"},
    {"membership",
     "{\"action\":\"removed\",\"scope\":\"team\",\"member\":{\"id\":4},\"organization\":{\"login\":\"guild\"}," SENDER
     "}",
     "subject=4 owner=guild sender=carter action=removed scope=team"},
    {"milestone", "{\"action\":\"closed\",\"milestone\":{\"number\":1}," COMMON "}",
     "subject=1 " COMMON_ATTRIBUTES " action=closed"},
    {"organization", "{\"action\":\"member_added\",\"organization\":{\"login\":\"guild\"}," SENDER "}",
     "subject=member_added owner=guild sender=carter action=member_added"},
    {"org_block", "{\"action\":\"blocked\",\"organization\":{\"login\":\"guild\"}," SENDER "}",
     "subject=blocked owner=guild sender=carter action=blocked"},
    {"page_build", "{\"id\":130514899," COMMON "}", "subject=130514899 " COMMON_ATTRIBUTES},
    {"ping", "{\"hook_id\":30," COMMON "}", "subject=30 " COMMON_ATTRIBUTES},
    {"project", "{\"action\":\"reopened\"," COMMON "}", "subject=reopened " COMMON_ATTRIBUTES " action=reopened"},
    {"public", "{" COMMON "}", "subject=11 " COMMON_ATTRIBUTES},
    {"pull_request",
     "{\"action\":\"labeled\",\"number\":7,\"pull_request\":{\"number\":7},\"label\":{\"name\":\"big\"},\"assignee\":{"
     "\"login\":\"lee\"},\"installation\":{\"id\":5000000000}," COMMON "}",
     "subject=7 " COMMON_ATTRIBUTES " action=labeled installation=5000000000 number=7 label=big assignee=lee"},
    {"pull_request_review", "{\"action\":\"submitted\",\"review\":{\"id\":8,\"state\":\"approved\"}," COMMON "}",
     "subject=8 " COMMON_ATTRIBUTES " action=submitted review=approved"},
    {"pull_request_review_comment",
     "{\"action\":\"created\",\"comment\":{\"id\":12},\"installation\":{\"id\":3}," COMMON "}",
     "subject=12 " COMMON_ATTRIBUTES " action=created installation=3"},
    {"push",
     "{\"ref\":\"refs/heads/main\",\"created\":false,\"deleted\":false,\"forced\":true,\"compare\":\"https://"
     "github.com/jo/mill/compare/a...b\",\"pusher\":{\"name\":\"jo\"}," COMMON "}",
     "subject=a...b " COMMON_ATTRIBUTES " pusher=jo ref=refs/heads/main created=false deleted=false forced=true"},
    {"release", "{\"action\":\"published\",\"release\":{\"tag_name\":\"v1\",\"name\":\"First water\"}," COMMON "}",
     "subject=v1 " COMMON_ATTRIBUTES " action=published release=First water"},
    {"release", "{\"action\":\"published\",\"release\":{\"tag_name\":\"v1\",\"name\":null}," COMMON "}",
     "subject=v1 " COMMON_ATTRIBUTES " action=published"},
    {"repository", "{\"action\":\"archived\"," COMMON "}", "subject=11 " COMMON_ATTRIBUTES " action=archived"},
    {"repository_vulnerability_alert", "{\"action\":\"create\",\"alert\":{\"id\":77}}", "subject=77 action=create"},
    {"security_advisory", "{\"action\":\"published\",\"security_advisory\":{\"ghsa_id\":\"GHSA-rf4j\"}}",
     "subject=GHSA-rf4j action=published"},
    {"status", "{\"sha\":\"6dcb\",\"state\":\"success\",\"name\":\"jo/mill\",\"context\":\"ci/build\"," COMMON "}",
     "subject=6dcb " COMMON_ATTRIBUTES " state=success name=jo/mill context=ci/build"},
    {"team", "{\"action\":\"created\",\"team\":{\"id\":6},\"organization\":{\"login\":\"guild\"}," SENDER "}",
     "subject=6 owner=guild sender=carter action=created"},
    {"team_add", "{\"team\":{\"id\":6}," COMMON "}", "subject=11 " COMMON_ATTRIBUTES},
    {"watch", "{\"action\":\"started\"," COMMON "}", "subject=11 " COMMON_ATTRIBUTES " action=started"},
    {"workflow_run", "{\"action\":\"completed\",\"workflow_run\":{\"id\":99}," COMMON "}",
     "subject=99 " COMMON_ATTRIBUTES " action=completed"},
    {"made_up_tomorrow", "{\"action\":\"done\"," COMMON "}", COMMON_ATTRIBUTES " action=done"},
};

static void attributes_by_event(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct ce_event *e = make(&plain_spec, table[i].event, table[i].body);
        char type[128];
        snprintf(type, sizeof(type), "dev.knative.source.github.%s", table[i].event);
        assert_attribute(e, "type", type);
        assert_attribute(e, "source", "https://github.com/jo/mill");
        assert_attribute(e, "specversion", "1.0");
        assert_attribute(e, "time", "2018-08-21T09:15:42.500Z");
        assert_extensions(e, table[i].event, table[i].expected);
        ce_event_unref(e);
    }
}

static void types_of_extensions(void **state)
{
    (void)state;
    const struct ce_event *e =
        make(&plain_spec, "pull_request",
             "{\"number\":7,\"pull_request\":{\"number\":7},\"installation\":{\"id\":5000000000}}");
    struct ce_attribute a;
    assert_true(ce_event_attribute(e, SLICE("number"), &a));
    assert_int_equal(a.type, CE_INTEGER);
    assert_true(ce_event_attribute(e, SLICE("installation"), &a));
    assert_int_equal(a.type, CE_STRING); /* beyond 32 bits: no CloudEvents Integer */
    ce_event_unref(e);
    e = make(&plain_spec, "push", "{\"created\":true}");
    assert_true(ce_event_attribute(e, SLICE("created"), &a));
    assert_int_equal(a.type, CE_BOOLEAN);
    ce_event_unref(e);
}

static void form_of_2018(void **state)
{
    (void)state;
    const struct ce_event *e =
        make(&old_spec, "pull_request",
             "{\"pull_request\":{\"number\":7,\"html_url\":\"https://github.com/jo/mill/pull/7\"}," COMMON "}");
    assert_attribute(e, "type", "dev.knative.github.pullrequest");
    assert_attribute(e, "source", "https://github.com/jo/mill/pull/7");
    assert_attribute(e, "specversion", "1.0");
    ce_event_unref(e);
    e = make(&old_spec, "push", "{" COMMON "}");
    assert_attribute(e, "type", "dev.knative.github.push");
    assert_attribute(e, "source", "https://github.com/jo/mill");
    ce_event_unref(e);
    /* A page that is no URI must not cost the event. */
    e = make(&old_spec, "pull_request", "{\"pull_request\":{\"number\":7,\"html_url\":\"http://a b/\"}}");
    assert_attribute(e, "source", "https://github.com/jo/mill");
    assert_attribute(e, "subject", "7");
    ce_event_unref(e);
}

static void source_without_a_name(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"push", "{" COMMON "}", "https://github.com/jo/mill"},
        {"organization", "{\"organization\":{\"login\":\"guild\"}}", "https://github.com/guild"},
        {"security_advisory", "{}", "https://github.com"},
        {"push", "{\"repository\":{\"full_name\":\"a b\\u0000\"}}", "https://github.com"},
        {"push", "{\"repository\":{\"full_name\":[]}}", "https://github.com"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct ce_event *e = make(&anybody_spec, rows[i].event, rows[i].body);
        assert_attribute(e, "source", rows[i].expected);
        ce_event_unref(e);
    }
}

/* Whatever stands in the payload, the event goes out. */
static void what_no_attribute_can_take_is_left_out(void **state)
{
    (void)state;
    const struct ce_event *e =
        make(&plain_spec, "label", "{\"action\":\"\",\"label\":{\"name\":\"tab\\there\"}," COMMON "}");
    assert_extensions(e, "control character and empty string", COMMON_ATTRIBUTES);
    ce_event_unref(e);
    e = make(&plain_spec, "label",
             "{\"label\":{\"name\":\"\\u0000\"},\"sender\":{\"login\":\"\\ud83d\\ude80 \\u00fc \\\"q\\\" \\\\\"}}");
    assert_extensions(e, "emoji", "sender=🚀 ü \"q\" \\");
    ce_event_unref(e);
    e = make(&plain_spec, "push",
             "{\"created\":\"maybe\",\"forced\":[],\"ref\":{},\"pusher\":5,\"compare\":\"no "
             "slash\",\"repository\":null,\"sender\":\"jo\"}");
    assert_extensions(e, "wrong shapes", "subject=no slash created=maybe");
    ce_event_unref(e);
    e = make(&plain_spec, "gollum", "{\"pages\":[5,{},{\"page_name\":7},{\"page_name\":\"A\"}]}");
    assert_extensions(e, "pages", "subject=A");
    ce_event_unref(e);
    e = make(&plain_spec, "push", "{\"compare\":\"https://github.com/jo/mill/\"}");
    assert_extensions(e, "nothing after the slash", "");
    ce_event_unref(e);

    char body[4096];
    int n = snprintf(body, sizeof(body), "{\"action\":\"%0*d\",\"sender\":{\"login\":\"%0*d\"}}", 1024, 0, 1025, 0);
    assert_true(n > 0 && n < (int)sizeof(body));
    e = make(&plain_spec, "watch", body);
    struct ce_attribute a;
    assert_true(ce_event_attribute(e, SLICE("action"), &a));
    assert_int_equal(a.value.len, 1024);
    assert_attribute(e, "sender", NULL);
    ce_event_unref(e);
}

static void overrides(void **state)
{
    (void)state;
    static const struct source_param given[] = {{"team", "water"}, {"action", "overridden"}};
    struct source_spec spec = plain_spec;
    spec.ce_overrides = given;
    spec.ce_override_count = 2;
    const struct ce_event *e = make(&spec, "watch", "{\"action\":\"started\"}");
    assert_attribute(e, "team", "water");
    assert_attribute(e, "action", "overridden");
    ce_event_unref(e);
}

static void refusals(void **state)
{
    (void)state;
    const struct ce_event *e = NULL;
    assert_int_equal(make_err(&plain_spec, "push", "", "{}", 1u << 20, &e), ERR_INVALID);
    assert_int_equal(make_err(&plain_spec, "push", "d", "{\"a\":\"0123456789\"}", 16, &e), ERR_TOO_LARGE);
    assert_null(e);
}

static void samples(void **state)
{
    (void)state;
    size_t count = 0;
    for (const char *const *name = github_sample_names(); *name; name++, count++) {
        const struct ce_event *e = make(&anybody_spec, *name, github_sample(*name));
        assert_attribute(e, "source", "https://github.com/miller-jo/watermill");
        assert_true(ce_event_attribute(e, SLICE("subject"), NULL));
        assert_true(ce_event_attribute(e, SLICE("sender"), NULL));
        ce_event_unref(e);
    }
    assert_int_equal(count, 4);
    assert_null(github_sample("fork"));
}

struct spec_row {
    const struct source_param params[4];
    size_t count;
    const char *says; /* part of the message; NULL: the spec is right */
};

static void specs(void **state)
{
    (void)state;
    static const struct spec_row rows[] = {
        {{{"secretToken", "s"}}, 1, NULL},
        {{{"secretToken", "s"}, {"ownerAndRepository", "octo-org"}}, 2, NULL},
        {{{"secretToken", "s"},
          {"ownerAndRepository", "a/b.c_d-e"},
          {"eventTypes", " push , pull_request"},
          {"secure", "true"}},
         4,
         NULL},
        {{{"secretToken", "s"}, {"eventTypes", "*"}}, 2, NULL},
        {{{"secretToken", "s"}, {"eventTypes", "dev.knative.github.pullrequest,dev.knative.source.github.push"}},
         2,
         NULL},
        {{{"allowUnsigned", "true"}}, 1, NULL},
        {{{"ownerAndRepository", "a/b"}}, 1, "secretToken is missing"},
        {{{"secretToken", ""}, {"allowUnsigned", "false"}}, 2, "secretToken is missing"},
        {{{"allowUnsigned", "yes"}}, 1, "allowUnsigned"},
        {{{"secretToken", "s\n"}}, 1, "line break"},
        {{{"secretToken", "s"}, {"ownerAndRepository", "a/b"}, {"accessToken", "t\r\nX: y"}}, 3, "accessToken"},
        {{{"secretToken", "s"}, {"accessToken", "t"}}, 2, "ownerAndRepository is missing"},
        {{{"secretToken", "s"}, {"ownerAndRepository", "a/b/c"}}, 2, "OWNER/REPOSITORY"},
        {{{"secretToken", "s"}, {"ownerAndRepository", "a/"}}, 2, "OWNER/REPOSITORY"},
        {{{"secretToken", "s"}, {"ownerAndRepository", "/b"}}, 2, "OWNER/REPOSITORY"},
        {{{"secretToken", "s"}, {"ownerAndRepository", "a/.."}}, 2, "OWNER/REPOSITORY"},
        {{{"secretToken", "s"}, {"ownerAndRepository", "a b/c"}}, 2, "OWNER/REPOSITORY"},
        {{{"secretToken", "s"}, {"eventTypes", "push,,issues"}}, 2, "empty name"},
        {{{"secretToken", "s"}, {"eventTypes", "push,"}}, 2, "empty name"},
        {{{"secretToken", "s"}, {"eventTypes", "Push"}}, 2, "'Push'"},
        {{{"secretToken", "s"}, {"form", "2019"}}, 2, "form"},
        {{{"secretToken", "s"}, {"githubAPIURL", "ftp://x"}}, 2, "githubAPIURL"},
        {{{"secretToken", "s"}, {"secure", "1"}}, 2, "secure"},
        {{{"secretToken", "s"}, {"sinkTimeoutSeconds", "3601"}}, 2, "sinkTimeoutSeconds"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct source_spec spec = {.type = "github",
                                   .namespace_name = "n",
                                   .name = "t",
                                   .params = rows[i].params,
                                   .param_count = rows[i].count};
        struct github_options options;
        struct diag d = {0};
        enum err e = github_options_parse(&spec, &options, &d);
        if (e != (rows[i].says ? ERR_INVALID : OK) || (rows[i].says && !strstr(d.text, rows[i].says)))
            fail_msg("spec %zu: %s '%s'", i, err_name(e), d.text);
    }
}

static void overrides_are_checked(void **state)
{
    (void)state;
    static const struct source_param bad[] = {{"Team", "x"}, {"type", "x"}, {"data", "x"}, {"team", "a\nb"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct source_spec spec = plain_spec;
        spec.ce_overrides = &bad[i];
        spec.ce_override_count = 1;
        struct github_options options;
        struct diag d = {0};
        assert_int_equal(github_options_parse(&spec, &options, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, bad[i].name));
    }
}

static void event_lists(void **state)
{
    (void)state;
    assert_true(github_events_has(SLICE(""), SLICE("push")));
    assert_false(github_events_has(SLICE(""), SLICE("ping")));
    assert_true(github_events_has(SLICE("ping"), SLICE("ping")));
    assert_true(github_events_has(SLICE("push, pull_request"), SLICE("pull_request")));
    assert_true(github_events_has(SLICE("dev.knative.github.pullrequest"), SLICE("pull_request")));
    assert_false(github_events_has(SLICE("push,pull_request"), SLICE("pull")));
    assert_false(github_events_has(SLICE("push"), SLICE("pus")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_by_event),
        cmocka_unit_test(types_of_extensions),
        cmocka_unit_test(form_of_2018),
        cmocka_unit_test(source_without_a_name),
        cmocka_unit_test(what_no_attribute_can_take_is_left_out),
        cmocka_unit_test(overrides),
        cmocka_unit_test(refusals),
        cmocka_unit_test(samples),
        cmocka_unit_test(specs),
        cmocka_unit_test(overrides_are_checked),
        cmocka_unit_test(event_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
