/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pub/Sub client's pure parts: settings, a key, answers, and the words of what is refused. Calls are in
 * clients_contract_pubsub.c, tokens in tests/server/test_pubsub_credentials.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "clients/pubsub_private.h"
#include "tests/lib/fault.h"

static int no_environment(void **state)
{
    static const char *const names[] = {"PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT",
                                        "GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    return 0;
}

/* "name=value\n" each; the value may hold more of '='. */
static size_t params_of(char *text, struct pubsub_param *out)
{
    size_t n = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *value = strchr(line, '=');
        *value++ = '\0';
        out[n++] = (struct pubsub_param){line, value};
    }
    return n;
}

static void test_what_is_refused_says_what_is_wrong(void **state)
{
    static const struct {
        const char *params, *says;
    } cases[] = {
        {"x=y", "project is missing"},
        {"project=a b", "project is 'a b'"},
        {"project=projects/p", "a project's id has letters"},
        {"project=p\nemulator=http://h", "HOST:PORT"},
        {"project=p\nemulator=h\nendpoint=https://h", "an emulator takes none"},
        {"project=p\nendpoint=ftp://h", "endpoint is 'ftp://h'"},
        {"project=p\nendpoint=https://h/v1", "no path"},
        {"project=p\ncredentials={}\ncredentials.file=/f", "both given"},
        {"project=p\ncredentials.file=/nowhere", "the file /nowhere: it cannot be read"},
        {"project=p\ncredentials=nonsense", "the key is no JSON"},
        {"project=p\ncredentials=[]", "no JSON object"},
        {"project=p\ncredentials={}", "the key has no type"},
        {"project=p\ncredentials={\"type\":\"authorized_user\"}", "authorized_user"},
        {"project=p\ncredentials={\"type\":\"service_account\"}", "no client_email"},
        {"project=p\ncredentials={\"type\":\"service_account\",\"client_email\":\"e\"}", "no private_key"},
        {"project=p\ncredentials={\"type\":\"service_account\",\"client_email\":\"e\",\"private_key\":\"secret!\"}",
         "no RSA key in PEM"},
        {"project=p\ntoken.url=nowhere", "token.url"},
        {"project=p\nmetadata=http://h", "metadata is"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[400];
        struct pubsub_param params[8];
        struct diag d = {0};
        snprintf(text, sizeof text, "%s", cases[i].params);
        enum err e = pubsub_client_check(params, params_of(text, params), &d);
        if (e != ERR_INVALID || !strstr(d.text, cases[i].says) || strstr(d.text, "secret!"))
            fail_msg("%s: %s \"%s\"", cases[i].params, err_name(e), d.text);
    }
}

static void test_the_environment_counts_where_parameters_say_nothing(void **state)
{
    const struct pubsub_param endpoint = {"endpoint", "https://eu-pubsub.example/"};
    struct pubsub_settings s;
    (void)state;
    setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:8085", 1);
    setenv("GOOGLE_CLOUD_PROJECT", "p-1", 1);
    assert_int_equal(pubsub_settings_read(NULL, 0, &s, NULL), OK);
    assert_string_equal(s.endpoint, "http://127.0.0.1:8085");
    assert_string_equal(s.project, "p-1");
    assert_int_equal(s.identity, PUBSUB_NOBODY);
    pubsub_settings_fini(&s);
    assert_int_equal(pubsub_settings_read(&endpoint, 1, &s, NULL), OK);
    assert_string_equal(s.endpoint, "https://eu-pubsub.example");
    assert_int_equal(s.identity, PUBSUB_METADATA);
    assert_string_equal(s.metadata, "http://metadata.google.internal");
    pubsub_settings_fini(&s);
    no_environment(NULL);
}

/* ---- answers ---- */

static void test_a_pull_is_read(void **state)
{
    static const char json[] = "{\"receivedMessages\":[{\"ackId\":\"a\\u0031\",\"deliveryAttempt\":3,\"message\":{"
                               "\"data\":\"aGk=\",\"attributes\":"
                               "{\"k\":\"v\",\"l\":\"\\u00e4\"},\"messageId\":\"17\",\"publishTime\":\"2026-11-30T03:"
                               "00:00Z\",\"orderingKey\":\"o\","
                               "\"later\":[1]}},{\"ackId\":\"b\",\"message\":{\"messageId\":\"18\"}}],\"more\":{}}";
    struct pubsub_reply r;
    (void)state;
    assert_int_equal(pubsub_reply_pulled(slice_str(json), &r, NULL), OK);
    assert_int_equal(r.received_count, 2);
    const struct pubsub_received *m = r.received;
    assert_true(slice_eq_str(m->ack_id, "a1") && m->delivery_attempt == 3 && slice_eq_str(m->message.data, "hi"));
    assert_true(m->message.attribute_count == 2 && slice_eq_str(m->message.attributes[1].value, "\xc3\xa4"));
    assert_true(slice_eq_str(m->message.message_id, "17") && slice_eq_str(m->message.ordering_key, "o"));
    assert_true(slice_eq_str(m[1].message.message_id, "18") && m[1].message.data.len == 0);
    pubsub_reply_fini(&r);
    assert_int_equal(pubsub_reply_pulled(SLICE("{}"), &r, NULL), OK);
    assert_int_equal(r.received_count, 0);
    pubsub_reply_fini(&r);
}

static void test_answers_that_are_none(void **state)
{
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"", "no JSON"},
        {"[]", "no JSON object"},
        {"{\"receivedMessages\":{}}", "no array"},
        {"{\"receivedMessages\":[1]}", "ackId"},
        {"{\"receivedMessages\":[{\"ackId\":\"a\"}]}", "without its message"},
        {"{\"receivedMessages\":[{\"ackId\":\"a\",\"message\":{}}]}", "messageId"},
        {"{\"receivedMessages\":[{\"ackId\":\"a\",\"message\":{\"messageId\":\"1\",\"data\":\"%\"}}]}", "no base64"},
        {"{\"receivedMessages\":[{\"ackId\":\"a\",\"message\":{\"messageId\":\"1\",\"attributes\":{\"k\":1}}}]}",
         "no string"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pubsub_reply r;
        struct diag d = {0};
        enum err e = pubsub_reply_pulled(slice_str(cases[i].json), &r, &d);
        if (e != ERR_PROTOCOL || !strstr(d.text, cases[i].says))
            fail_msg("%s: %s \"%s\"", cases[i].json, err_name(e), d.text);
    }
    struct pubsub_reply r;
    assert_int_equal(pubsub_reply_published(SLICE("{}"), &r, NULL), ERR_PROTOCOL);
    assert_int_equal(pubsub_reply_published(SLICE("{\"messageIds\":[\"1\",2]}"), &r, NULL), ERR_PROTOCOL);
    assert_int_equal(pubsub_reply_published(SLICE("{\"messageIds\":[\"1\",\"2\"]}"), &r, NULL), OK);
    assert_true(r.id_count == 2 && slice_eq_str(r.ids[1], "2"));
    pubsub_reply_fini(&r);
}

static void test_refusals_in_words(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum err err;
        bool retryable;
        const char *code, *says;
    } cases[] = {
        {401, "{}", ERR_DENIED, false, "WrongCredentials", "make a new key"},
        {403, "", ERR_DENIED, false, "PermissionDenied", "the service account e@x"},
        {403, "{\"error\":{\"details\":[{\"reason\":\"SERVICE_DISABLED\"}]}}", ERR_DENIED, false, "ApiDisabled",
         "gcloud"},
        {404, "<html>", ERR_PROTOCOL, true, "NotPubSub", "check endpoint"},
        {404, "{\"error\":{\"message\":\"Resource not found\"}}", ERR_NOTFOUND, false, "NotFound", "no such topic"},
        {409, "{\"error\":{\"status\":\"ALREADY_EXISTS\"}}", ERR_EXISTS, false, "AlreadyExists", "one already"},
        {409, "{\"error\":{\"status\":\"ABORTED\"}}", ERR_CONFLICT, true, "Conflict", "busy"},
        {400, "{\"error\":{\"status\":\"FAILED_PRECONDITION\"}}", ERR_CONFLICT, false, "Conflict", "as things stand"},
        {413, "", ERR_TOO_LARGE, false, "Refused", "too large"},
        {429, "{\"error\":{\"message\":\"q\"}}", ERR_FULL, true, "QuotaExceeded", "quota"},
        {501, "", ERR_UNSUPPORTED, false, "Refused", "cannot"},
        {504, "", ERR_TIMEOUT, true, "TimedOut", "too long"},
        {500, "", ERR_UNAVAILABLE, true, "Unavailable", "500"},
        {302, "", ERR_PROTOCOL, true, "NotPubSub", "302"},
    };
    const struct pubsub_about about = {"https://h", "p", (char *)(uintptr_t) "pulling from s", "roles/r", "e@x"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct http_header h = {SLICE("Retry-After"), SLICE("7")};
        const struct http_response r = {cases[i].status, &h, 1, slice_str(cases[i].body), false};
        struct pubsub_failure f;
        pubsub_failure_read(&f, &about, &r);
        if (f.err != cases[i].err || f.retryable != cases[i].retryable || strcmp(f.code, cases[i].code) != 0 ||
            !strstr(f.text, cases[i].says) || f.retry_after_ns != 7 * NS_PER_S)
            fail_msg("case %zu: %s %s \"%s\"", i, err_name(f.err), f.code, f.text);
    }
}

/* ---- no memory ---- */

static enum err settings_once(void)
{
    const struct pubsub_param params[] = {
        {"project", "p-1"}, {"endpoint", "https://h"}, {"metadata", "m:80"}, {"tls.ca", "/ca"}};
    struct pubsub_settings s;
    enum err e = pubsub_settings_read(params, sizeof params / sizeof params[0], &s, NULL);
    if (!e)
        pubsub_settings_fini(&s);
    return e;
}

static enum err client_once(void)
{
    const struct pubsub_param params[] = {{"project", "p-1"}, {"emulator", "h:1"}};
    struct pubsub_client *c;
    struct loop *loop;
    enum err e = loop_new(clock_system(), 8, &loop);
    if (e)
        return e;
    e = pubsub_client_new(loop, params, 2, &c, NULL);
    if (!e)
        pubsub_client_free(c);
    loop_free(loop);
    return e;
}

static enum err pulled_once(void)
{
    struct pubsub_reply r;
    enum err e = pubsub_reply_pulled(
        SLICE("{\"receivedMessages\":[{\"ackId\":\"a\",\"message\":{\"data\":\"aGk=\",\"attributes\":{\"k\":\"v\"},"
              "\"messageId\":\"1\",\"publishTime\":\"2026-11-30T03:00:00Z\"}}]}"),
        &r, NULL);
    if (!e)
        pubsub_reply_fini(&r);
    return e;
}

static enum err published_once(void)
{
    struct pubsub_reply r;
    enum err e = pubsub_reply_published(SLICE("{\"messageIds\":[\"1\",\"2\"]}"), &r, NULL);
    if (!e)
        pubsub_reply_fini(&r);
    return e;
}

static void test_each_allocation_may_fail(void **state)
{
    static enum err (*const once[])(void) = {settings_once, client_once, pulled_once, published_once};
    (void)state;
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++) {
        bool fired = true;
        unsigned n = 0;
        while (fired) {
            fault_arm(++n);
            enum err e = once[i]();
            fired = fault_disarm();
            assert_int_equal(e, fired ? ERR_NOMEM : OK);
        }
        assert_true(n > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_refused_says_what_is_wrong),
        cmocka_unit_test(test_the_environment_counts_where_parameters_say_nothing),
        cmocka_unit_test(test_a_pull_is_read),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_refusals_in_words),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("clients_pubsub", tests, no_environment, NULL);
}
