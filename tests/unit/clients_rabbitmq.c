/* SPDX-License-Identifier: Apache-2.0
 *
 * The RabbitMQ client: what it takes and refuses, and in which words; AMQP's codes in ours; frames read and written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>

#include "clients/rabbitmq_private.h"
#include "clients/rabbitmq_wire.h"
#include "../lib/fault.h"

#define PARAMS_MAX 12

struct words { /* name, value, ... */
    const char *word[2 * PARAMS_MAX];
};

static size_t params_of(const char *const *words, struct rabbitmq_client_param *out)
{
    size_t n = 0;
    for (; words[2 * n]; n++)
        out[n] = (struct rabbitmq_client_param){words[2 * n], words[2 * n + 1]};
    return n;
}

static enum err settings(const char *const *words, struct rabbitmq_settings *out, struct diag *d)
{
    struct rabbitmq_client_param params[PARAMS_MAX];
    memset(d, 0, sizeof(*d));
    return rabbitmq_settings_read(params, params_of(words, params), out, d);
}

/* ---- a certificate ---- */

static char certificate[4096], key[4096], other_key[4096];

static void pem_of(EVP_PKEY *k, X509 *x, char *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    assert_int_equal(x ? PEM_write_bio_X509(bio, x) : PEM_write_bio_PrivateKey(bio, k, NULL, NULL, 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(bio, &text);
    snprintf(out, size, "%.*s", (int)len, text);
    BIO_free(bio);
}

static int make_certificate(void **state)
{
    (void)state;
    EVP_PKEY *k = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, k);
    assert_true(X509_sign(x, k, EVP_sha256()) > 0);
    pem_of(k, x, certificate, sizeof(certificate));
    pem_of(k, NULL, key, sizeof(key));
    pem_of(other, NULL, other_key, sizeof(other_key));
    X509_free(x);
    EVP_PKEY_free(k);
    EVP_PKEY_free(other);
    return 0;
}

/* ---- settings ---- */

#define URL "url", "amqp://h"
#define TLS "url", "amqps://h"

static void test_what_is_refused_says_what_is_wrong(void **state)
{
    static const struct {
        struct words given;
        const char *text;
    } cases[] = {
        {{{NULL}}, "url is missing"},
        {{{"vhost", "a"}}, "url is missing"},
        {{{"url", "http://h"}}, "does not begin with amqp:// or amqps://"},
        {{{"url", "amqp:h"}}, "does not begin with amqp://"},
        {{{"url", "amqp://"}}, "url: '' is not host"},
        {{{"url", "amqp:///v"}}, "url: '' is not host"},
        {{{"url", "amqp://h:"}}, "port of 'h:' is no number"},
        {{{"url", "amqp://h:0"}}, "port of 'h:0' is no number from 1 to 65535"},
        {{{"url", "amqp://h:65536"}}, "port of 'h:65536'"},
        {{{"url", "amqp://h:5672x"}}, "port of 'h:5672x'"},
        {{{"url", "amqp://h,"}}, "url: '' is not host"},
        {{{"url", "amqp://h g"}}, "'h g' is not host"},
        {{{"url", "amqp://[::1"}}, "is not [IPv6 address]:port"},
        {{{"url", "amqp://[::1]x"}}, "is not [IPv6 address]:port"},
        {{{"url", "amqp://::1"}}, "'::1' is not host"},
        {{{"url", "amqp://h/a/b"}}, "more than one '/'"},
        {{{"url", "amqp://h/a?heartbeat=1"}}, "query"},
        {{{"url", "amqp://u:p#1@h"}}, "%23"},
        {{{"url", "amqp://h/%zz"}}, "the vhost in url has a %"},
        {{{"url", "amqp://u%:p@h"}}, "the user in url has a %"},
        {{{"url", "amqp://u:p%00@h"}}, "the password in url has a %"},
        {{{"url", "amqp://u@h"}}, "no password"},
        {{{"url", "amqp://:p@h"}}, "username is empty"},
        {{{"url", "amqp://u:p%0A@h"}}, "password holds a control character: a newline"},
        {{{URL, "host", "h"}}, "both given"},
        {{{URL, "ssl", "true"}}, "ssl is true, but url begins with amqp:"},
        {{{TLS, "ssl", "false"}}, "ssl is false, but url begins with amqps:"},
        {{{URL, "port", "x"}}, "port is 'x'"},
        {{{"host", "h", "port", "70000"}}, "port is '70000'"},
        {{{"host", "h/v"}}, "'h/v' is not host"},
        {{{"host", "u@h"}}, "'u@h' is not host"},
        {{{"host", "h", "ssl", "yes"}}, "ssl is 'yes'; it is true or false"},
        {{{URL, "password", "p"}}, "password is given, but no username"},
        {{{URL, "username", "u"}}, "username is given, but no password"},
        {{{URL, "username", "u\n", "password", "p"}}, "username holds a control character: a newline"},
        {{{URL, "vhost", ""}}, "vhost is empty"},
        {{{URL, "heartbeat", "3601"}}, "heartbeat is '3601'"},
        {{{URL, "heartbeat", "10s"}}, "heartbeat is '10s'"},
        {{{URL, "ssl.ca", "x"}}, "ssl.ca is given, but not ssl"},
        {{{URL, "ssl.verify", "true"}}, "ssl.verify is given, but not ssl"},
        {{{TLS, "ssl.verify", "no"}}, "ssl.verify is 'no'"},
        {{{TLS, "ssl.ca", "x"}}, "ssl.ca is not a certificate"},
        {{{TLS, "ssl.certificate", certificate}}, "ssl.key is missing"},
        {{{TLS, "ssl.key", key}}, "ssl.certificate is missing"},
        {{{TLS, "ssl.certificate", certificate, "ssl.key", other_key}}, "ssl.key does not belong to ssl.certificate"},
        {{{TLS, "ssl.certificate", certificate, "ssl.key", "x"}}, "ssl.key is not a private key"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rabbitmq_settings s;
        struct diag d;
        if (settings(cases[i].given.word, &s, &d) != ERR_INVALID || !strstr(d.text, cases[i].text))
            fail_msg("case %zu (%s): \"%s\" and not \"%s\"", i, cases[i].given.word[1], d.text, cases[i].text);
    }
}

static void test_no_refusal_quotes_a_password(void **state)
{
    static const char *const urls[] = {"amqp://u:hunter2@h:x", "amqp://u:hunter2@",  "amqp://u:hunter2%@h",
                                       "amqp://u:hunter2?@h",  "http://u:hunter2@h", "amqp://u:hunter2@h/a/b",
                                       "amqp://u:hunter2@h,,"};
    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
        struct rabbitmq_settings s;
        struct diag d;
        assert_int_equal(settings((const char *const[]){"url", urls[i], NULL}, &s, &d), ERR_INVALID);
        if (strstr(d.text, "hunter2"))
            fail_msg("%s", d.text);
    }
}

static void test_what_a_url_says(void **state)
{
    static const struct {
        const char *url, *host, *user, *password, *vhost;
        unsigned port;
        bool tls;
    } cases[] = {
        {"amqp://h", "h", "guest", "guest", "/", 5672, false},
        {"AMQP://h/", "h", "guest", "guest", "/", 5672, false},
        {"amqps://h", "h", "guest", "guest", "/", 5671, true},
        {"amqp://u:p@h:1/v", "h", "u", "p", "v", 1, false},
        {"amqp://u:p@h/%2f", "h", "u", "p", "/", 5672, false},
        {"amqp://u%3a:p%40%2F:@h/a%20b", "h", "u:", "p@/:", "a b", 5672, false},
        {"amqp://u:p@x@h", "h", "u", "p@x", "/", 5672, false},
        {"amqp://u:@h", "h", "u", "", "/", 5672, false},
        {"amqp://[::1]", "::1", "guest", "guest", "/", 5672, false},
        {"amqps://[fe80::1%eth0]:7/x", "fe80::1%eth0", "guest", "guest", "x", 7, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rabbitmq_settings s;
        struct diag d;
        if (settings((const char *const[]){"url", cases[i].url, NULL}, &s, &d) != OK)
            fail_msg("%s: %s", cases[i].url, d.text);
        assert_int_equal(s.host_count, 1);
        assert_string_equal(s.hosts[0].name, cases[i].host);
        assert_int_equal(s.hosts[0].port, cases[i].port);
        assert_string_equal(s.username, cases[i].user);
        assert_string_equal(s.password, cases[i].password);
        assert_string_equal(s.vhost, cases[i].vhost);
        assert_int_equal(s.tls, cases[i].tls);
        assert_true(s.verify && !s.external && s.heartbeat_s == 10);
        rabbitmq_settings_fini(&s);
    }
}

static void test_parameters_win_over_the_url_and_stand_alone(void **state)
{
    struct rabbitmq_settings s;
    struct diag d;
    (void)state;
    assert_int_equal(settings((const char *const[]){"url", "amqp://u:p@a:1,b,[::2]/v", "username", "me", "password",
                                                    "mine", "vhost", "w", "port", "9", "heartbeat", "0", NULL},
                              &s, &d),
                     OK);
    assert_int_equal(s.host_count, 3);
    assert_true(s.hosts[0].port == 1 && s.hosts[1].port == 9 && s.hosts[2].port == 9);
    assert_string_equal(s.hosts[2].name, "::2");
    assert_string_equal(s.username, "me");
    assert_string_equal(s.password, "mine");
    assert_string_equal(s.vhost, "w");
    assert_int_equal(s.heartbeat_s, 0);
    rabbitmq_settings_fini(&s);

    assert_int_equal(settings((const char *const[]){"host", "a , b:3", "ssl", "true", "ssl.verify", "false", "ssl.ca",
                                                    certificate, "ssl.certificate", certificate, "ssl.key", key, NULL},
                              &s, &d),
                     OK);
    assert_true(s.tls && !s.verify && s.external && !s.username);
    assert_true(s.hosts[0].port == 5671 && s.hosts[1].port == 3);
    rabbitmq_settings_fini(&s);
    assert_true(rabbitmq_client_knows("ssl.ca") && !rabbitmq_client_knows("prefix"));
}

static void test_a_client_of_tls_is_made_of_pem_texts(void **state)
{
    static const struct rabbitmq_client_param params[] = {
        {TLS}, {"ssl.ca", certificate}, {"ssl.certificate", certificate}, {"ssl.key", key}};
    struct rabbitmq_client *k = NULL;
    struct diag d = {.text = ""};
    char why[100];
    (void)state;
    assert_int_equal(rabbitmq_client_new(params, 4, NULL, &k, &d), OK);
    assert_false(rabbitmq_client_up(k, why, sizeof(why)));
    assert_string_equal(why, "RabbitMQ at h:5671 has not answered yet");
    assert_false(rabbitmq_client_failed(k));
    assert_null(rabbitmq_client_unref(k));
}

static void test_every_allocation_may_fail(void **state)
{
    static const struct rabbitmq_client_param params[] = {
        {"url", "amqps://u:p@a,b/v"}, {"ssl.ca", certificate}, {"ssl.certificate", certificate}, {"ssl.key", key}};
    (void)state;
    for (unsigned n = 1;; n++) {
        struct rabbitmq_client *k = NULL;
        struct diag d;
        fault_arm(n);
        enum err e = rabbitmq_client_new(params, 4, NULL, &k, &d);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM && !k));
        rabbitmq_client_unref(k);
        if (!fired)
            break;
    }
}

static void test_codes_of_amqp_in_our_words(void **state)
{
    static const struct {
        unsigned theirs;
        enum err ours;
    } cases[] = {{200, OK},
                 {311, ERR_TOO_LARGE},
                 {312, ERR_UNAVAILABLE},
                 {320, ERR_UNAVAILABLE},
                 {403, ERR_DENIED},
                 {404, ERR_NOTFOUND},
                 {405, ERR_CONFLICT},
                 {406, ERR_CONFLICT},
                 {501, ERR_PROTOCOL},
                 {505, ERR_PROTOCOL},
                 {506, ERR_UNAVAILABLE},
                 {530, ERR_DENIED},
                 {540, ERR_UNSUPPORTED},
                 {541, ERR_UNAVAILABLE},
                 {9999, ERR_UNAVAILABLE}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(rabbitmq_reply_err(cases[i].theirs), cases[i].ours);
}

/* ---- frames ---- */

#define MAX 4096u

static void test_frames_written_are_frames_read(void **state)
{
    char name[256];
    memset(name, 'n', sizeof(name));
    amqp_basic_publish_t m = {.exchange = {255, name}, .routing_key = amqp_cstring_bytes("k"), .mandatory = 1};
    amqp_table_entry_t entries[] = {{amqp_cstring_bytes("a"), {.kind = 'S', .value.bytes = amqp_cstring_bytes("b")}}};
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = {1, entries}};
    char body[MAX + 100];
    struct rabbitmq_frame f;
    const char *why = NULL;
    struct buf b;
    size_t used = 0, at = 0;
    (void)state;
    memset(body, 'x', sizeof(body));
    buf_init(&b, 1 << 20);
    assert_int_equal(rabbitmq_put_method(&b, 7, AMQP_BASIC_PUBLISH_METHOD, &m, MAX), OK);
    assert_int_equal(rabbitmq_put_header(&b, 7, sizeof(body), &p, MAX), OK);
    assert_int_equal(rabbitmq_put_body(&b, 7, slice_of(body, sizeof(body)), MAX), OK);
    assert_int_equal(rabbitmq_put_heartbeat(&b), OK);
    static const struct {
        enum rabbitmq_frame_type type;
        size_t payload; /* 0: not said here */
    } frames[] = {{RABBITMQ_METHOD, 2 + 256 + 2 + 1},
                  {RABBITMQ_HEADER, 0},
                  {RABBITMQ_BODY, MAX - 8},
                  {RABBITMQ_BODY, 108},
                  {RABBITMQ_HEARTBEAT, 0}};
    for (size_t i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
        struct slice rest = slice_of(b.ptr + at, b.len - at);
        assert_int_equal(rabbitmq_frame_read(rest, MAX, &f, &used, &why), OK);
        assert_int_equal(f.type, frames[i].type);
        assert_int_equal(f.channel, f.type == RABBITMQ_HEARTBEAT ? 0 : 7);
        if (frames[i].payload)
            assert_int_equal(f.payload.len, frames[i].payload);
        if (f.type == RABBITMQ_HEADER)
            assert_true(f.body_bytes == sizeof(body) && rabbitmq_properties_good(f.payload));
        for (size_t cut = 0; cut < used; cut++) /* every prefix is not whole yet, and nothing worse */
            assert_int_equal(rabbitmq_frame_read(slice_of(rest.ptr, cut), MAX, &f, &used, &why), ERR_PENDING);
        assert_int_equal(rabbitmq_frame_read(rest, MAX, &f, &used, &why), OK);
        at += used;
    }
    assert_int_equal(at, b.len);
    buf_fini(&b);
}

static void test_what_does_not_fit_leaves_nothing_behind(void **state)
{
    char text[MAX];
    struct buf b;
    (void)state;
    memset(text, 'x', sizeof(text));
    amqp_table_entry_t entries[] = {{amqp_cstring_bytes("a"), {.kind = 'S', .value.bytes = {MAX - 50, text}}}};
    amqp_basic_properties_t large = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = {1, entries}};
    amqp_basic_properties_t named = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG, .message_id = {256, text}};
    amqp_queue_declare_t queue = {.queue = {256, text}};
    buf_init(&b, 3 * MAX);
    assert_int_equal(rabbitmq_put_header(&b, 1, 0, &large, MAX), OK);
    entries[0].value.value.bytes.len = MAX;
    size_t before = b.len;
    assert_int_equal(rabbitmq_put_header(&b, 1, 0, &large, MAX), ERR_TOO_LARGE);
    assert_int_equal(rabbitmq_put_header(&b, 1, 0, &named, MAX), ERR_INVALID);
    assert_int_equal(rabbitmq_put_method(&b, 1, AMQP_QUEUE_DECLARE_METHOD, &queue, MAX), ERR_INVALID);
    entries[0] = (amqp_table_entry_t){{256, text}, {.kind = 'V'}};
    assert_int_equal(rabbitmq_put_header(&b, 1, 0, &large, MAX), ERR_INVALID);
    queue = (amqp_queue_declare_t){.arguments = {1, entries}};
    entries[0] = (amqp_table_entry_t){{1, text}, {.kind = 'S', .value.bytes = {MAX, text}}};
    assert_int_equal(rabbitmq_put_method(&b, 1, AMQP_QUEUE_DECLARE_METHOD, &queue, MAX), ERR_TOO_LARGE);
    assert_int_equal(rabbitmq_put_body(&b, 1, slice_of(text, sizeof(text)), 9), ERR_FULL); /* 4096 frames */
    assert_int_equal(b.len, before);
    buf_fini(&b);
}

static void test_frames_that_are_none(void **state)
{
    static const struct {
        struct slice bytes;
        const char *why;
    } cases[] = {
        {SLICE_INIT("\x01\x00\x00\x00\x00\x0f\xf9"), "larger than agreed"}, /* 4089 = MAX - 7 */
        {SLICE_INIT("\x01\x00\x00\xff\xff\xff\xff"), "larger than agreed"},
        {SLICE_INIT("\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xcd"), "without its end"},
        {SLICE_INIT("\x01\x00\x00\x00\x00\x00\x03\x00\x0a\x00\xce"), "without a method"},
        {SLICE_INIT("\x01\x00\x00\x00\x00\x00\x00\xce"), "without a method"},
        {SLICE_INIT("\x02\x00\x01\x00\x00\x00\x02\x00\x3c\xce"), "content header that is cut off"},
        {SLICE_INIT("\x02\x00\x01\x00\x00\x00\x0e\x00\x0a\0\0\0\0\0\0\0\0\0\0\0\0\xce"), "of an unknown class"},
        {SLICE_INIT("\x04\x00\x00\x00\x00\x00\x00\xce"), "of an unknown type"},
        {SLICE_INIT("\x00\x00\x00\x00\x00\x00\x00\xce"), "of an unknown type"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rabbitmq_frame f;
        const char *why = "";
        size_t used;
        assert_int_equal(rabbitmq_frame_read(cases[i].bytes, MAX, &f, &used, &why), ERR_PROTOCOL);
        if (!strstr(why, cases[i].why))
            fail_msg("case %zu: %s", i, why);
    }
}

static void test_tables_as_deep_as_they_may_be(void **state)
{
    (void)state;
    for (int depth = RABBITMQ_TABLE_DEPTH_MAX - 1; depth <= RABBITMQ_TABLE_DEPTH_MAX + 1; depth++) {
        char bytes[1000];
        size_t len = 0;
        for (int i = depth - 1; i >= 0; i--) { /* each holds the next: a name of 0 bytes, 'F' */
            size_t inside = 6 * (size_t)i;
            memcpy(bytes + len, (const char[]){0, 0, (char)(inside >> 8), (char)inside, 0, 'F'}, 6);
            len += i ? 6 : 4;
        }
        assert_int_equal(rabbitmq_table_good(slice_of(bytes, len)), depth <= RABBITMQ_TABLE_DEPTH_MAX);
        for (size_t cut = 0; cut < len; cut++)
            assert_false(rabbitmq_table_good(slice_of(bytes, cut)));
    }
    assert_false(rabbitmq_table_good(SLICE("\0\0\0\x05\x01"
                                           "aI\0\0"))); /* a value longer than its table */
    assert_false(rabbitmq_table_good(SLICE("\0\0\0\x03\x01"
                                           "a?")));
    assert_true(rabbitmq_table_good(SLICE("\0\0\0\x0b\x01"
                                          "aA\0\0\0\x04tVVV")));       /* an array of a boolean and two of nothing */
    assert_false(rabbitmq_properties_good(SLICE("\x00\x01\x00\x00"))); /* flags that go on */
    assert_false(rabbitmq_properties_good(SLICE("\x80")));
    assert_false(rabbitmq_properties_good(SLICE("\x80\x00\x05"
                                                "abc")));
    assert_true(rabbitmq_properties_good(SLICE("\x80\x00\x03"
                                               "abc")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_refused_says_what_is_wrong),
        cmocka_unit_test(test_no_refusal_quotes_a_password),
        cmocka_unit_test(test_what_a_url_says),
        cmocka_unit_test(test_parameters_win_over_the_url_and_stand_alone),
        cmocka_unit_test(test_a_client_of_tls_is_made_of_pem_texts),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_codes_of_amqp_in_our_words),
        cmocka_unit_test(test_frames_written_are_frames_read),
        cmocka_unit_test(test_what_does_not_fit_leaves_nothing_behind),
        cmocka_unit_test(test_frames_that_are_none),
        cmocka_unit_test(test_tables_as_deep_as_they_may_be),
    };
    return cmocka_run_group_tests_name("clients_rabbitmq", tests, make_certificate, NULL);
}
