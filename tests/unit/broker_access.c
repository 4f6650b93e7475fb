/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may do what: every role, verb, kind and namespace against rules that are written down a second time here; what a
 * path means; that every page of the API is known to the decision; and the lines of a file of tokens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../broker/api/kubernetes.h"
#include "../../broker/api/roles.h"
#include "../lib/fault.h"

static int begin(void **state)
{
    struct diag d = {0};
    (void)state;
    return kinds_load(&d) == OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    kinds_unload();
    return 0;
}

/* ---- the matrix ---- */

static const char *const verbs[] = {
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "escalate"};
enum { READING = 3, WRITING = 8 };

/* What docs/access.md promises, in words that are not the table's. */
static bool promised(enum role role, const char *token_space, size_t verb, const struct kind *k, const char *space)
{
    bool secret = strcmp(k->plural, "secrets") == 0 && !k->group[0];
    if (token_space[0] && strcmp(token_space, space) != 0)
        return false;
    if (role == ROLE_ADMIN)
        return true;
    if (role == ROLE_PUBLISH || verb >= WRITING)
        return false;
    if (verb < READING)
        return !secret || role == ROLE_EDIT;
    return role == ROLE_EDIT && k->namespaced;
}

static void test_every_role_verb_kind_and_namespace(void **state)
{
    static const char *const spaces[] = {"", "mine", "other"};
    size_t asked = 0, allowed = 0;
    (void)state;
    for (int role = 0; role < ROLE_COUNT; role++)
        for (size_t token = 0; token < 2; token++)
            for (size_t v = 0; v < sizeof verbs / sizeof verbs[0]; v++)
                for (size_t i = 0; kind_at(i); i++)
                    for (size_t s = 0; s < (kind_at(i)->namespaced ? 3 : 1); s++) {
                        const struct kind *k = kind_at(i);
                        struct access_request q = {.namespaced = k->namespaced};
                        strcpy(q.verb, verbs[v]);
                        strcpy(q.group, k->group);
                        strcpy(q.resource, k->plural);
                        strcpy(q.namespace_name, spaces[s]);
                        bool is = access_allows((enum role)role, spaces[token], &q),
                             should = promised((enum role)role, spaces[token], v, k, spaces[s]);
                        if (is != should)
                            fail_msg("%s in '%s': %s %s.%s in '%s' is %s", role_name((enum role)role), spaces[token],
                                     verbs[v], k->plural, k->group, spaces[s], is ? "allowed" : "denied");
                        asked++;
                        allowed += is;
                    }
    assert_true(asked > 5000 && allowed > 500 && allowed < asked / 2);
}

static void test_status_is_written_by_administrators_alone(void **state)
{
    struct access_request q = {.namespaced = true, .verb = "patch", .group = "messaging.knative.dev"};
    (void)state;
    strcpy(q.resource, "channels");
    strcpy(q.namespace_name, "default");
    assert_true(access_allows(ROLE_EDIT, "", &q));
    strcpy(q.subresource, "status");
    assert_false(access_allows(ROLE_EDIT, "", &q));
    assert_true(access_allows(ROLE_ADMIN, "", &q));
    strcpy(q.verb, "get");
    assert_true(access_allows(ROLE_VIEW, "", &q));
}

/* ---- paths ---- */

struct path {
    const char *method, *target; /* with its query */
    const char *means;           /* "VERB GROUP/RESOURCE/SUBRESOURCE NAMESPACE NAME", or "VERB PATH" */
    unsigned may;                /* roles, of a token for all namespaces */
};
enum { V = 1 << ROLE_VIEW, P = 1 << ROLE_PUBLISH, O = 1 << ROLE_OPERATE, E = 1 << ROLE_EDIT, A = 1 << ROLE_ADMIN };

static const struct path paths[] = {
    {"GET", "/version", "get /version", V | P | O | E | A},
    {"GET", "/api", "get /api", V | P | O | E | A},
    {"GET", "/api/v1", "get /api/v1", V | P | O | E | A},
    {"GET", "/apis/messaging.knative.dev/v1", "get /apis/messaging.knative.dev/v1", V | P | O | E | A},
    {"GET", "/openapi/v3/api/v1?hash=1", "get /openapi/v3/api/v1", V | P | O | E | A},
    {"GET", "/metrics", "get /metrics", V | O | E | A},
    {"GET", "/metricsx", "get /metricsx", A},
    {"POST", "/metrics", "create /metrics", A},
    {"GET", "/debug", "get /debug", A},
    {"GET", "/api/v1/secrets", "list /secrets/ - -", E | A},
    {"GET", "/api/v1/secrets?watch=1", "watch /secrets/ - -", E | A},
    {"GET", "/api/v1/secrets?watch=false", "list /secrets/ - -", E | A},
    {"GET", "/api/v1/namespaces/a/secrets/b", "get /secrets/ a b", E | A},
    {"GET", "/api/v1/namespaces/a/%73ecrets/b", "get /secrets/ a b", E | A},
    {"GET", "/api/v1/namespaces", "list /namespaces/ - -", V | O | E | A},
    {"GET", "/api/v1/namespaces/a", "get /namespaces/ a a", V | O | E | A},
    {"GET", "/api/v1/namespaces/a/status", "get /namespaces/status a a", V | O | E | A},
    {"DELETE", "/api/v1/namespaces/a", "delete /namespaces/ a a", A},
    {"DELETE", "/api/v1/namespaces/a/configmaps", "deletecollection /configmaps/ a -", E | A},
    {"POST", "/apis/messaging.knative.dev/v1/namespaces/a/channels", "create messaging.knative.dev/channels/ a -",
     E | A},
    {"PUT", "/apis/messaging.knative.dev/v1/namespaces/a/channels/b", "update messaging.knative.dev/channels/ a b",
     E | A},
    {"PATCH", "/apis/messaging.knative.dev/v1/namespaces/a/channels/b/status",
     "patch messaging.knative.dev/channels/status a b", A},
    {"TRACE", "/apis/messaging.knative.dev/v1/namespaces/a/channels/b", "none messaging.knative.dev/channels/ a b", A},
    {"GET", "/apis/none.dev/v1/things", "list none.dev/things/ - -", V | O | E | A},
    {"POST", "/apis/none.dev/v1/things", "create none.dev/things/ - -", A},
    {"GET", "/api/v1/namespaces/%zz/secrets", "get /api/v1/namespaces/%zz/secrets", A},
    {"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
     "create authorization.k8s.io/selfsubjectaccessreviews/ - -", V | P | O | E | A},
    {"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
     "create authentication.k8s.io/selfsubjectreviews/ - -", V | P | O | E | A},
    {"GET", "/leat/v1/explain?id=1", "get leat.dev/explain/ - -", V | O | E | A},
    {"GET", "/leat/v1/tail?kind=ch&name=c", "watch leat.dev/tail/ default -", V | O | E | A},
    {"GET", "/leat/v1/tail?kind=ch&namespace=a%2Fb&name=c", "watch leat.dev/tail/ a/b -", V | O | E | A},
    {"GET", "/leat/v1/audit", "list leat.dev/audit/ - -", A},
    {"GET", "/leat/v1/quarantine", "list leat.dev/quarantine/ - -", A},
    {"DELETE", "/leat/v1/quarantine/3", "delete leat.dev/quarantine/ - 3", A},
    {"GET", "/leat/v1/dlq", "list leat.dev/dlq/ - -", V | O | E | A},
    {"GET", "/leat/v1/dlq/a/subscription/b", "get leat.dev/dlq/ a b", V | O | E | A},
    {"POST", "/leat/v1/dlq/a/subscription/b/redrive", "redrive leat.dev/dlq/ a b", O | E | A},
    {"POST", "/leat/v1/dlq/a/subscription/b/discard", "discard leat.dev/dlq/ a b", O | E | A},
    {"POST", "/leat/v1/dlq/a/subscription/b/burn", "create /leat/v1/dlq/a/subscription/b/burn", A},
    {"GET", "/leat/v1/tasks", "list leat.dev/tasks/ - -", V | O | E | A},
    {"GET", "/leat/v1/tasks/1", "get leat.dev/tasks/ - 1", V | O | E | A},
    {"DELETE", "/leat/v1/tasks/1", "delete leat.dev/tasks/ - 1", O | E | A},
    {"GET", "/leat/v1/subscriptions", "list leat.dev/subscriptions/ - -", V | O | E | A},
    {"POST", "/leat/v1/subscriptions/a/sub/b/pause", "pause leat.dev/subscriptions/ a b", O | E | A},
    {"POST", "/leat/v1/subscriptions/a/sub/b/resume", "resume leat.dev/subscriptions/ a b", O | E | A},
    {"POST", "/leat/v1/subscriptions/a/seq/b%2Fsteps%2F0/replay", "replay leat.dev/subscriptions/ a b/steps/0",
     O | E | A},
    {"GET", "/leat/v1/new", "get /leat/v1/new", A},
};

static void read_target(const char *method, const char *target, struct access_request *q)
{
    struct slice query = slice_str(target), path = slice_split(&query, '?');
    access_request_read(slice_str(method), path, query, q);
}

static void test_what_paths_mean_and_who_may(void **state)
{
    char text[2000];
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct access_request q;
        unsigned may = 0;
        read_target(paths[i].method, paths[i].target, &q);
        if (q.path.ptr)
            snprintf(text, sizeof text, "%s %.*s", q.verb, SLICE_ARG(q.path));
        else
            snprintf(text, sizeof text, "%s %s/%s/%s %s %s", q.verb, q.group, q.resource, q.subresource,
                     q.namespace_name[0] ? q.namespace_name : "-", q.name[0] ? q.name : "-");
        assert_string_equal(text, paths[i].means);
        for (int role = 0; role < ROLE_COUNT; role++)
            may |= access_allows((enum role)role, "", &q) ? 1u << role : 0;
        if (may != paths[i].may)
            fail_msg("%s %s: %x may, expected %x", paths[i].method, paths[i].target, may, paths[i].may);
    }
}

/* The decision sees the same kind, namespace and name that the handler sees. */
static void test_the_decision_reads_paths_as_handlers_do(void **state)
{
    static const struct {
        const char *scope, *behind; /* of the plural */
    } forms[] = {
        {"", ""},
        {"", "/x"},
        {"namespaces/a/", ""},
        {"namespaces/a/", "/x"},
        {"namespaces/a/", "/x/status"},
        {"namespaces/%61/", "/%78"},
        {"namespaces/a/", "/namespaces"},
    };
    size_t both = 0;
    (void)state;
    for (size_t i = 0; kind_at(i); i++)
        for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
            const struct kind *k = kind_at(i);
            char version[300], path[900];
            struct api_target t;
            struct access_request q;
            snprintf(version, sizeof version, "%s%s%s%s", k->group[0] ? "apis/" : "api/", k->group,
                     k->group[0] ? "/" : "", k->version);
            snprintf(path, sizeof path, "/%s/%s%s%s", version, forms[f].scope, k->plural, forms[f].behind);
            if (!api_target_parse(slice_str(path), &t))
                continue;
            both++;
            read_target("GET", path, &q);
            assert_string_equal(q.group, t.kind->group);
            assert_string_equal(q.resource, t.kind->plural);
            assert_string_equal(q.name, t.name);
            assert_int_equal(q.namespaced, t.kind->namespaced);
            assert_string_equal(q.subresource, t.status ? "status" : "");
            if (t.kind->namespaced)
                assert_string_equal(q.namespace_name, t.namespace_name);
        }
    assert_true(both > 100);
}

/* A page of leat's own that the table of routes forgot would be for administrators alone: none may be. */
static void test_every_own_page_is_known(void **state)
{
    const char *method, *path;
    size_t i = 0;
    (void)state;
    for (; (path = api_page_at(i, &method)); i++) {
        struct access_request q;
        read_target(method ? method : "GET", path, &q);
        if (q.path.ptr)
            fail_msg("broker/api/routes.c does not know %s", path);
    }
    assert_true(i >= 7);
}

/* ---- a file ---- */

#define HASH "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HASH_2 "sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_a_file_of_tokens(void **state)
{
    struct tokens t;
    struct diag d = {0};
    struct buf again;
    (void)state;
    assert_int_equal(tokens_parse(SLICE("# a remark\r\n\n ci  " HASH "\tedit shop 2027-01-31T12:00:00Z\r\n"
                                        "root " HASH_2 " admin * -"),
                                  &t, &d),
                     OK);
    assert_int_equal(t.count, 2);
    assert_string_equal(t.list[0].name, "ci");
    assert_int_equal(t.list[0].role, ROLE_EDIT);
    assert_string_equal(t.list[0].namespace_name, "shop");
    assert_true(t.list[0].expires_ns == 1801396800000000000);
    assert_string_equal(t.list[1].namespace_name, "");
    assert_true(t.list[1].expires_ns == TOKEN_FOREVER);
    buf_init(&again, 1000);
    token_line_put(&t.list[0], &again);
    token_line_put(&t.list[1], &again);
    assert_true(slice_eq(buf_slice(&again), SLICE("ci " HASH " edit shop 2027-01-31T12:00:00Z\n"
                                                  "root " HASH_2 " admin * -\n")));
    buf_fini(&again);
    tokens_fini(&t);
}

static void test_lines_that_are_wrong(void **state)
{
    static const struct {
        const char *line, *says;
    } wrong[] = {
        {"ci " HASH " edit shop", "five words"},
        {"ci " HASH " edit shop - more", "five words"},
        {"Ci " HASH " edit shop -", "name"},
        {"-ci " HASH " edit shop -", "name"},
        {"ci sha256:01 edit shop -", "second word"},
        {"ci md5:01 edit shop -", "second word"},
        {"ci " HASH " owner shop -", "role"},
        {"ci " HASH " edit Shop -", "fourth word"},
        {"ci " HASH " edit shop tomorrow", "fifth word"},
        {"root " HASH_2 " edit shop -", "already"},
        {"ci " HASH_2 "0 edit shop -", "second word"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[400];
        struct tokens t = {0};
        struct diag d = {0};
        snprintf(text, sizeof text, "root " HASH_2 " admin * -\n%s\n", wrong[i].line);
        assert_int_equal(tokens_parse(slice_str(text), &t, &d), ERR_INVALID);
        assert_int_equal(d.line, 2);
        assert_non_null(strstr(d.text, wrong[i].says));
        assert_null(strstr(d.text, "0123456789"));
        assert_null(t.list);
    }
}

static void test_a_token_is_found_by_its_text_alone(void **state)
{
    char text[TOKEN_TEXT_BYTES], other[TOKEN_TEXT_BYTES];
    struct token one = {.name = "a"};
    const struct tokens t = {&one, 1};
    (void)state;
    assert_int_equal(token_generate(text, one.hash), OK);
    assert_int_equal(strlen(text), TOKEN_TEXT_BYTES - 1);
    assert_ptr_equal(tokens_find(&t, slice_str(text)), &one);
    assert_null(tokens_find(&t, slice_of(text, TOKEN_TEXT_BYTES - 2)));
    assert_null(tokens_find(&t, SLICE("")));
    unsigned char hash[TOKEN_HASH_BYTES];
    assert_int_equal(token_generate(other, hash), OK);
    assert_string_not_equal(text, other);
    assert_null(tokens_find(&t, slice_str(other)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_role_verb_kind_and_namespace),
        cmocka_unit_test(test_status_is_written_by_administrators_alone),
        cmocka_unit_test(test_what_paths_mean_and_who_may),
        cmocka_unit_test(test_the_decision_reads_paths_as_handlers_do),
        cmocka_unit_test(test_every_own_page_is_known),
        cmocka_unit_test(test_a_file_of_tokens),
        cmocka_unit_test(test_lines_that_are_wrong),
        cmocka_unit_test(test_a_token_is_found_by_its_text_alone),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
