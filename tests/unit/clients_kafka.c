/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka client: what it refuses and in which words, tokens, and what it tells of a cluster that is not there, goes
 * and comes back (librdkafka's mock cluster, and servers that misbehave). TLS and SASL that work need a real broker:
 * tests/server/test_kafka_security.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "../lib/http_peer.h"
#include "clients/kafka_private.h"
#include <librdkafka/rdkafka_mock.h> /* needs rdkafka.h before it */
#include "text.h"

/* ---- notices, counted by code ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct {
        char code[40], text[700];
        unsigned count;
    } seen[KAFKA_CAUSE_COUNT];
} told = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void notice(void *arg, int severity, const char *code, const char *text)
{
    (void)arg;
    (void)severity;
    pthread_mutex_lock(&told.lock);
    for (size_t i = 0; i < KAFKA_CAUSE_COUNT; i++)
        if (!*told.seen[i].code || strcmp(told.seen[i].code, code) == 0) {
            snprintf(told.seen[i].code, sizeof(told.seen[i].code), "%s", code);
            snprintf(told.seen[i].text, sizeof(told.seen[i].text), "%s", text);
            told.seen[i].count++;
            break;
        }
    pthread_cond_broadcast(&told.more);
    pthread_mutex_unlock(&told.lock);
}

/* How many lines of this code there were; waits until there are `least`. The text of the last one stays until the next.
 */
static unsigned heard(const char *code, unsigned least, const char **text)
{
    pthread_mutex_lock(&told.lock);
    for (;;) {
        unsigned count = 0;
        for (size_t i = 0; i < KAFKA_CAUSE_COUNT; i++)
            if (strcmp(told.seen[i].code, code) == 0) {
                count = told.seen[i].count;
                if (text)
                    *text = told.seen[i].text;
            }
        if (count >= least) {
            pthread_mutex_unlock(&told.lock);
            return count;
        }
        pthread_cond_wait(&told.more, &told.lock);
    }
}

static int set_up(void **state)
{
    (void)state;
    alarm(60);
    memset(told.seen, 0, sizeof(told.seen));
    return 0;
}

/* ---- settings ---- */

#define PARAMS_MAX 12

struct words { /* name, value, ... */
    const char *word[2 * PARAMS_MAX];
};

static size_t params_of(const char *const *words, struct kafka_client_param *out)
{
    size_t n = 0;
    for (; words[2 * n]; n++)
        out[n] = (struct kafka_client_param){words[2 * n], words[2 * n + 1]};
    return n;
}

static enum err check(const char *const *words, struct diag *d)
{
    struct kafka_client_param params[PARAMS_MAX];
    memset(d, 0, sizeof(*d));
    return kafka_client_check(params, params_of(words, params), d);
}

static struct kafka_client *client(const char *const *words)
{
    struct kafka_client_param params[PARAMS_MAX];
    static const struct kafka_client_events events = {notice, NULL};
    struct kafka_client *k = NULL;
    struct diag d;
    assert_int_equal(kafka_client_new(params, params_of(words, params), &events, &k, &d), OK);
    return k;
}

#define B "bootstrap.servers", "kafka.example:9092"
#define SASL B, "security.protocol", "SASL_SSL", "sasl.mechanism"

static void test_what_is_refused_says_what_is_wrong(void **state)
{
    static const struct {
        struct words given;
        const char *text;
    } cases[] = {
        {{{NULL}}, "bootstrap.servers is missing"},
        {{{"bootstrap.servers", ""}}, "bootstrap.servers is missing"},
        {{{"bootstrap.servers", "kafka"}}, "'kafka' is not host:port"},
        {{{"bootstrap.servers", "a:1,b:0"}}, "'b:0' is not host:port"},
        {{{"bootstrap.servers", "a:1,"}}, "'' is not host:port"},
        {{{"bootstrap.servers", "http://a:1"}}, "'http://a:1' is not host:port"},
        {{{"bootstrap.servers", "a:65536"}}, "not host:port"},
        {{{B, "security.protocol", "TLS"}}, "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"},
        {{{B, "sasl.password", "hunter22"}}, "sasl.password is given, but not security.protocol SASL_PLAINTEXT"},
        {{{B, "ssl.ca", "x"}}, "ssl.ca is given, but not security.protocol SSL"},
        {{{B, "security.protocol", "SASL_SSL"}}, "sasl.mechanism is ''; it is one of PLAIN, SCRAM-SHA-256"},
        {{{SASL, "GSSAPI"}}, "sasl.mechanism is 'GSSAPI'"},
        {{{SASL, "PLAIN", "sasl.username", "u"}}, "PLAIN needs sasl.username and sasl.password"},
        {{{SASL, "PLAIN", "sasl.username", "u", "sasl.password", ""}}, "sasl.password is empty"},
        {{{SASL, "PLAIN", "sasl.username", "u", "sasl.password", "hunter22\n"}}, "a newline, perhaps of the command"},
        {{{SASL, "PLAIN", "sasl.username", "u", "sasl.password", "hunter22", "sasl.token", "t"}},
         "sasl.token is given, but not sasl.mechanism OAUTHBEARER"},
        {{{SASL, "OAUTHBEARER"}}, "either sasl.token or sasl.token.url"},
        {{{SASL, "OAUTHBEARER", "sasl.token", "t", "sasl.token.url", "https://i/"}}, "either sasl.token or"},
        {{{SASL, "OAUTHBEARER", "sasl.token", "t", "sasl.scope", "s"}}, "sasl.scope is given, but not sasl.token.url"},
        {{{SASL, "OAUTHBEARER", "sasl.token.url", "ftp://i/"}}, "not an http or https URL"},
        {{{SASL, "OAUTHBEARER", "sasl.token.url", "https://i/", "sasl.client.id", "c"}}, "sasl.client.secret"},
        {{{B, "security.protocol", "SSL", "ssl.verify", "no"}}, "ssl.verify is 'no'; it is one of true, false"},
        {{{B, "security.protocol", "SSL", "ssl.ca", "hunter22"}}, "ssl.ca is not a certificate in PEM form"},
        {{{B, "security.protocol", "SSL", "ssl.key", "hunter22"}}, "ssl.certificate is missing"},
        {{{B, "security.protocol", "SSL", "ssl.certificate", "x", "ssl.key", "hunter22"}},
         "ssl.certificate is not a certificate"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct diag d;
        assert_int_equal(check(cases[i].given.word, &d), ERR_INVALID);
        if (!strstr(d.text, cases[i].text))
            fail_msg("\"%s\" does not say \"%s\"", d.text, cases[i].text);
        assert_null(strstr(d.text, "hunter22"));
    }
}

static void test_what_fits_together_is_taken_and_the_rest_passed_over(void **state)
{
    static const struct words cases[] = {
        {{B}},
        {{"bootstrap.servers", "a:1, b:2,[::1]:9092", "buffer", "whatever"}},
        {{B, "security.protocol", "SSL"}},
        {{SASL, "SCRAM-SHA-512", "sasl.username", "u", "sasl.password", "p", "ssl.verify", "false"}},
        {{SASL, "OAUTHBEARER", "sasl.token", "t"}},
        {{SASL, "OAUTHBEARER", "sasl.token.url", "https://i/", "sasl.client.id", "c", "sasl.client.secret", "s"}},
        {{B, "security.protocol", "TLS", "security.protocol", "SSL"}}, /* the last counts */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct diag d;
        if (check(cases[i].word, &d) != OK)
            fail_msg("case %zu: %s", i, d.text);
        struct kafka_client *k = client(cases[i].word);
        rd_kafka_conf_t *conf = kafka_client_conf(k, NULL);
        assert_non_null(conf);
        rd_kafka_conf_destroy(conf);
        kafka_client_unref(k);
    }
    assert_true(kafka_client_knows("sasl.token.url"));
    assert_false(kafka_client_knows("buffer"));
}

/* A certificate signed by its own key, both as PEM into memory of the caller. */
static void make_pem(char *certificate, char *key, size_t size)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, pair);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"t", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    assert_int_not_equal(X509_sign(x, pair, EVP_sha256()), 0);
    BIO *b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(b, x), 1);
    certificate[BIO_read(b, certificate, (int)size - 1)] = '\0';
    assert_int_equal(PEM_write_bio_PrivateKey(b, pair, NULL, NULL, 0, NULL, NULL), 1);
    key[BIO_read(b, key, (int)size - 1)] = '\0';
    BIO_free(b);
    X509_free(x);
    EVP_PKEY_free(pair);
}

static void test_certificates_and_keys_are_read_before_anything_connects(void **state)
{
    char certificate[2][2000], key[2][2000], bundle[4100];
    struct diag d;
    (void)state;
    make_pem(certificate[0], key[0], 2000);
    make_pem(certificate[1], key[1], 2000);
    snprintf(bundle, sizeof(bundle), "# two of them\n%s%s", certificate[0], certificate[1]);
    const char *good[] = {
        B, "security.protocol", "SSL", "ssl.ca", bundle, "ssl.certificate", certificate[0], "ssl.key", key[0], NULL};
    assert_int_equal(check(good, &d), OK);
    struct kafka_client *k = client(good);
    rd_kafka_t *handle = NULL;
    assert_int_equal(kafka_client_open(k, RD_KAFKA_PRODUCER, kafka_client_conf(k, NULL), &handle, &d), OK);
    rd_kafka_destroy(handle);
    kafka_client_unref(k);

    good[7] = bundle; /* a chain: every handle reads it from a file, whole */
    k = client(good);
    rd_kafka_conf_t *conf = kafka_client_conf(k, NULL);
    char path[64], chain[sizeof(bundle)];
    size_t size = sizeof(path);
    assert_int_equal(rd_kafka_conf_get(conf, "ssl.certificate.location", path, &size), RD_KAFKA_CONF_OK);
    rd_kafka_conf_destroy(conf);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(kafka_client_open(k, RD_KAFKA_PRODUCER, kafka_client_conf(k, NULL), &handle, &d), OK);
        rd_kafka_destroy(handle);
    }
    FILE *file = fopen(path, "r");
    chain[fread(chain, 1, sizeof(chain) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(chain, bundle);
    kafka_client_unref(k);
    assert_int_not_equal(access(path, F_OK), 0);
    good[7] = certificate[0];

    good[9] = key[1];
    assert_int_equal(check(good, &d), ERR_INVALID);
    assert_string_equal(d.text, "ssl.key does not belong to ssl.certificate");
    good[9] = certificate[0];
    assert_int_equal(check(good, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "ssl.key is not a private key in PEM form"));
    good[9] = key[0];
    bundle[strlen(bundle) - 60] = '!'; /* the second is broken */
    assert_int_equal(check(good, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "ssl.ca is not a certificate"));
}

static void test_every_setting_reaches_the_library(void **state)
{
    static const char *const given[] = {SASL, "SCRAM-SHA-256", "sasl.username", "u", "sasl.password",
                                        "p",  "ssl.verify",    "false",         NULL};
    static const char *const wanted[] = {"bootstrap.servers",
                                         "kafka.example:9092",
                                         "security.protocol",
                                         "sasl_ssl",
                                         "sasl.mechanisms",
                                         "SCRAM-SHA-256",
                                         "sasl.username",
                                         "u",
                                         "sasl.password",
                                         "p",
                                         "ssl.endpoint.identification.algorithm",
                                         "none",
                                         "client.id",
                                         "leat",
                                         "linger.ms",
                                         "7",
                                         NULL};
    static const char *const own[] = {"linger.ms", "7", NULL};
    (void)state;
    struct kafka_client *k = client(given);
    rd_kafka_conf_t *conf = kafka_client_conf(k, own);
    for (const char *const *w = wanted; *w; w += 2) {
        char value[100];
        size_t size = sizeof(value);
        assert_int_equal(rd_kafka_conf_get(conf, w[0], value, &size), RD_KAFKA_CONF_OK);
        assert_string_equal(value, w[1]);
    }
    rd_kafka_conf_destroy(conf);
    kafka_client_unref(k);
}

static void test_errors_in_our_words(void **state)
{
    static const struct {
        int theirs;
        enum err ours;
    } cases[] = {
        {RD_KAFKA_RESP_ERR_NO_ERROR, OK},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERR_TOO_LARGE},
        {RD_KAFKA_RESP_ERR__QUEUE_FULL, ERR_FULL},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERR_DENIED},
        {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, ERR_NOTFOUND},
        {RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, ERR_INVALID},
        {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, ERR_UNAVAILABLE},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, ERR_UNAVAILABLE},
        {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, ERR_UNAVAILABLE},
        {RD_KAFKA_RESP_ERR__PURGE_QUEUE, ERR_CLOSED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(kafka_client_err(cases[i].theirs), cases[i].ours);
}

/* ---- brokers that are there and are not ---- */

static rd_kafka_t *handle_of(struct kafka_client *k)
{
    rd_kafka_t *handle = NULL;
    struct diag d;
    rd_kafka_conf_t *conf = kafka_client_conf(k, NULL);
    assert_non_null(conf);
    if (kafka_client_open(k, RD_KAFKA_PRODUCER, conf, &handle, &d) != OK)
        fail_msg("%s", d.text);
    return handle;
}

static void wait_until_up(struct kafka_client *k, rd_kafka_t *handle)
{
    const struct rd_kafka_metadata *m;
    while (!kafka_client_up(k, NULL, 0))
        if (rd_kafka_metadata(handle, 0, NULL, &m, 1000) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_metadata_destroy(m);
}

static void test_a_cluster_goes_and_comes_back_and_each_is_said_once(void **state)
{
    char text[300], why[400];
    const char *said;
    (void)state;
    rd_kafka_t *own = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof(text));
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(own, 1);
    struct kafka_client *k =
        client((const char *[]){"bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster), NULL});
    assert_false(kafka_client_up(k, why, sizeof(why)));
    assert_string_equal(why, "no broker has answered yet");
    rd_kafka_t *a = handle_of(k), *b = handle_of(k);
    wait_until_up(k, a);
    wait_until_up(k, b);
    assert_int_equal(heard("BrokersDown", 0, NULL), 0);

    rd_kafka_mock_broker_set_down(cluster, 1);
    assert_int_equal(heard("BrokersDown", 1, &said), 1);
    assert_non_null(strstr(said, rd_kafka_mock_cluster_bootstraps(cluster)));
    assert_false(kafka_client_up(k, why, sizeof(why)));
    assert_non_null(strstr(why, "no broker answers since "));
    if (!strstr(why, "Disconnected") && !strstr(why, "refused"))
        fail_msg("%s", why);
    const char *since = strstr(why, "since ") + 6; /* a time, which stays the same */
    int64_t wall_ns;
    assert_int_equal(rfc3339_parse(slice_of(since, strcspn(since, "Z") + 1), &wall_ns), OK);

    rd_kafka_mock_broker_set_up(cluster, 1);
    wait_until_up(k, a);
    assert_int_equal(heard("BrokerUp", 1, &said), 1);
    assert_non_null(strstr(said, "answers again"));
    assert_true(kafka_client_up(k, why, sizeof(why)));
    assert_int_equal(heard("BrokersDown", 0, NULL), 1);
    rd_kafka_destroy(a);
    rd_kafka_destroy(b);
    assert_int_equal(k->watch.count, 0); /* no broker of a handle is remembered beyond it */
    assert_int_equal(heard("BrokersDown", 0, NULL), 1);
    kafka_client_unref(k);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(own);
}

/* As if its connections had lasted for a while. */
static void age(struct kafka_client *k)
{
    pthread_mutex_lock(&k->watch.lock);
    for (size_t i = 0; i < k->watch.count; i++)
        k->watch.brokers[i].up_ns -= 3 * NS_PER_S;
    pthread_mutex_unlock(&k->watch.lock);
}

/* Of a connection that is closed within two seconds the library says that the listener might want SASL. */
static void test_a_listener_that_worked_is_not_said_to_want_something_else(void **state)
{
    char text[300], why[400];
    (void)state;
    rd_kafka_t *own = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof(text));
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(own, 1);
    struct kafka_client *k =
        client((const char *[]){"bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster), NULL});
    rd_kafka_t *handle = handle_of(k);
    wait_until_up(k, handle);
    age(k);
    for (int i = 0; i < 3; i++) {
        rd_kafka_mock_broker_set_down(cluster, 1);
        while (kafka_client_up(k, why, sizeof(why)))
            rd_kafka_poll(handle, 10);
        assert_null(strstr(why, "SASL"));
        rd_kafka_mock_broker_set_up(cluster, 1);
        wait_until_up(k, handle);
    }
    assert_int_equal(heard("ProtocolMismatch", 0, NULL), 0);
    assert_int_equal(heard("AuthenticationFailed", 0, NULL), 0);
    rd_kafka_destroy(handle);
    kafka_client_unref(k);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(own);
}

static void test_one_broker_of_three_that_goes_is_no_outage(void **state)
{
    char text[300];
    const char *said;
    const struct rd_kafka_metadata *m;
    (void)state;
    rd_kafka_t *own = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof(text));
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(own, 3);
    struct kafka_client *k =
        client((const char *[]){"bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster), NULL});
    rd_kafka_conf_t *conf = kafka_client_conf(k, (const char *[]){"enable.sparse.connections", "false", NULL});
    rd_kafka_t *handle = NULL;
    struct diag d;
    assert_int_equal(kafka_client_open(k, RD_KAFKA_PRODUCER, conf, &handle, &d), OK);
    for (bool all = false; !all;) { /* connected to all three */
        if (rd_kafka_metadata(handle, 0, NULL, &m, 1000) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_metadata_destroy(m);
        pthread_mutex_lock(&k->watch.lock);
        size_t up = 0;
        for (size_t i = 0; i < k->watch.count; i++)
            up += k->watch.brokers[i].state == KAFKA_UP;
        all = up >= 3;
        pthread_mutex_unlock(&k->watch.lock);
    }
    rd_kafka_mock_broker_set_down(cluster, 2);
    heard("BrokerUnreachable", 1, &said);
    assert_non_null(strstr(said, "a broker does not answer: "));
    assert_true(kafka_client_up(k, NULL, 0));
    assert_int_equal(heard("BrokersDown", 0, NULL), 0);
    rd_kafka_destroy(handle);
    kafka_client_unref(k);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(own);
}

/* Something happened that `until` may be waiting for. */
static void woken(void)
{
    pthread_mutex_lock(&told.lock);
    pthread_cond_broadcast(&told.more);
    pthread_mutex_unlock(&told.lock);
}

static void until(const atomic_int *count, int least)
{
    pthread_mutex_lock(&told.lock);
    while (atomic_load(count) < least)
        pthread_cond_wait(&told.more, &told.lock);
    pthread_mutex_unlock(&told.lock);
}

/* Answers what Kafka's client sends with bytes that are none of Kafka's, until told to stop. */
static void nonsense(struct peer *p)
{
    int fd;
    while ((fd = peer_accept(p)) >= 0) {
        char some[64];
        if (peer_wait(p, fd, POLLIN) && read(fd, some, sizeof(some)) > 0)
            (void)!write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
        close(fd);
        woken();
    }
}

#define HANDLES (2 * KAFKA_NOTICES_A_MINUTE)

static void test_a_port_without_tls_is_named_and_many_handles_do_not_flood(void **state)
{
    char server[60];
    const char *said;
    rd_kafka_t *handles[HANDLES];
    struct peer peer;
    (void)state;
    peer_start(&peer, nonsense, NULL);
    snprintf(server, sizeof(server), "127.0.0.1:%u", peer.port);
    struct kafka_client *k = client((const char *[]){"bootstrap.servers", server, "security.protocol", "SSL", NULL});
    for (size_t i = 0; i < HANDLES; i++)
        handles[i] = handle_of(k);
    heard("TlsFailed", 1, &said);
    assert_non_null(strstr(said, "that the port speaks TLS"));
    heard("BrokersDown", 1, NULL);
    until(&peer.accepted, atomic_load(&peer.accepted) + HANDLES); /* every one has tried once more or so */
    for (size_t i = 0; i < HANDLES; i++)
        rd_kafka_destroy(handles[i]);
    assert_true(heard("TlsFailed", 1, NULL) <= KAFKA_NOTICES_A_MINUTE);
    assert_int_equal(heard("BrokersDown", 1, NULL), 1);
    kafka_client_unref(k);
    peer_stop(&peer);
}

static void test_at_most_ten_lines_a_minute_of_one_cause_and_no_secret_in_them(void **state)
{
    const char *said;
    (void)state;
    struct kafka_client *k =
        client((const char *[]){SASL, "PLAIN", "sasl.username", "u", "sasl.password", "hunter22", NULL});
    for (int i = 0; i < 1000; i++)
        kafka_client_say(k, KAFKA_AUTHENTICATION, "attempt %d with hunter22", i);
    assert_int_equal(heard("AuthenticationFailed", 1, &said), KAFKA_NOTICES_A_MINUTE);
    assert_string_equal(said, "attempt 9 with ********");
    for (int i = 0; i < 3; i++)
        kafka_client_say(k, KAFKA_TLS, "the same"); /* of another cause: said, but once */
    assert_int_equal(heard("TlsFailed", 1, NULL), 1);
    k->watch.told[KAFKA_AUTHENTICATION].minute_ns -= 61 * NS_PER_S;
    kafka_client_say(k, KAFKA_AUTHENTICATION, "a minute later");
    heard("AuthenticationFailed", 11, &said);
    assert_string_equal(said, "a minute later (990 more like it since the last line)");
    kafka_client_unref(k);
}

/* ---- tokens ---- */

#define NOW_MS 1700000000000ll

/* {"alg":"none"}.{"sub":"leat-user","exp":1700000600.5}. */
#define JWT "eyJhbGciOiJub25lIn0.eyJzdWIiOiJsZWF0LXVzZXIiLCJleHAiOjE3MDAwMDA2MDAuNX0."

static void test_what_a_token_says_of_itself(void **state)
{
    static const struct {
        const char *text, *principal;
        int64_t until_ms;
    } cases[] = {
        {JWT, "leat-user", 1700000600000},
        {"opaque", "leat", INT64_MAX},
        {"a.b.c", "leat", INT64_MAX},
        {"a..c", "leat", INT64_MAX},
        {"eyJhbGciOiJub25lIn0.WzFd.", "leat", INT64_MAX}, /* [1] */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct kafka_token t;
        assert_int_equal(kafka_token_read(slice_str(cases[i].text), &t), OK);
        assert_string_equal(t.value, cases[i].text);
        assert_string_equal(t.principal, cases[i].principal);
        assert_true(t.until_ms == cases[i].until_ms);
        kafka_token_fini(&t);
    }
}

static void test_what_a_token_endpoint_answers(void **state)
{
    struct kafka_token t;
    struct diag d;
    (void)state;
    assert_int_equal(kafka_token_answer(SLICE("{\"access_token\":\"t\",\"expires_in\":300}"), NOW_MS, &t, &d), OK);
    assert_string_equal(t.value, "t");
    assert_true(t.until_ms == NOW_MS + 300000);
    kafka_token_fini(&t);
    assert_int_equal(kafka_token_answer(SLICE("{\"access_token\":\"" JWT "\"}"), NOW_MS, &t, &d), OK);
    assert_true(t.until_ms == 1700000600000);
    kafka_token_fini(&t);
    static const char *const bad[] = {
        "", "t", "{}", "{\"access_token\":1}", "[\"access_token\"]", "{\"access_token\":\"t\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(kafka_token_answer(slice_str(bad[i]), NOW_MS, &t, &d), ERR_PROTOCOL);
        assert_non_null(strstr(d.text, "holds no access_token"));
    }
}

static void endpoint(struct peer *p)
{
    int fd;
    while ((fd = peer_accept(p)) >= 0) {
        if (peer_read(p, fd))
            peer_write(p, fd, p->arg);
        close(fd);
        woken();
    }
}

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"access_token\":\"a1b2\",\"expires_in\":300}"
#define SHORT "HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n{\"access_token\":\"a1b2\",\"expires_in\":2}"
#define REFUSAL                                                                                                        \
    "HTTP/1.1 401 No\r\nContent-Length: 52\r\n\r\n{\"error\":\"invalid_client\",\"hint\":\"s3cret was wrong\"}"

static struct kafka_client *token_client(struct peer *peer, const char *answer)
{
    char url[80];
    peer_start(peer, endpoint, (void *)(uintptr_t)answer);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/token", peer->port);
    return client((const char *[]){"bootstrap.servers", "127.0.0.1:1", "security.protocol", "SASL_PLAINTEXT",
                                   "sasl.mechanism", "OAUTHBEARER", "sasl.token.url", url, "sasl.client.id", "me",
                                   "sasl.client.secret", "s3cret", "sasl.scope", "a b", NULL});
}

static void test_a_token_is_fetched_once_for_all_handles_before_any_connects(void **state)
{
    struct peer peer;
    (void)state;
    struct kafka_client *k = token_client(&peer, ANSWER);
    rd_kafka_t *a = handle_of(k), *b = handle_of(k);
    heard("BrokersDown", 1, NULL); /* with the token it tries to connect, to where nobody is */
    assert_int_equal(heard("TokenFailed", 0, NULL), 0);
    rd_kafka_destroy(a);
    rd_kafka_destroy(b);
    peer_stop(&peer);
    assert_string_equal(k->tokens.value, "a1b2");
    assert_int_equal(atomic_load(&peer.requests), 1);
    assert_non_null(strstr(peer.last, "POST /token HTTP/1.1\r\n"));
    assert_non_null(strstr(peer.last, "Authorization: Basic bWU6czNjcmV0\r\n"));
    assert_non_null(strstr(peer.last, "\r\n\r\ngrant_type=client_credentials&scope=a%20b"));
    kafka_client_unref(k);
}

static void test_a_token_is_fetched_anew_before_its_life_is_over(void **state)
{
    struct peer peer;
    (void)state;
    struct kafka_client *k = token_client(&peer, SHORT);
    rd_kafka_t *handle = handle_of(k);
    until(&peer.requests, 2);
    int64_t now_ms = clock_wall_ns(clock_system()) / (int64_t)NS_PER_MS;
    rd_kafka_destroy(handle);
    peer_stop(&peer);
    assert_true(now_ms < k->tokens.until_ms);
    kafka_client_unref(k);
}

static void test_an_endpoint_that_refuses_is_named_without_the_secret(void **state)
{
    struct peer peer;
    const char *said;
    char why[400];
    (void)state;
    struct kafka_client *k = token_client(&peer, REFUSAL);
    rd_kafka_t *handle = handle_of(k);
    heard("TokenFailed", 1, &said);
    assert_non_null(strstr(said, "the token endpoint answered 401: invalid_client"));
    assert_null(strstr(said, "s3cret"));
    assert_false(kafka_client_up(k, why, sizeof(why)));
    assert_non_null(strstr(why, "no broker has answered yet: "));
    assert_non_null(strstr(why, "invalid_client"));
    rd_kafka_destroy(handle);
    kafka_client_unref(k);
    peer_stop(&peer);
}

static void test_a_given_token_that_has_expired_is_said(void **state)
{
    const char *said;
    (void)state;
    struct kafka_client *k =
        client((const char *[]){"bootstrap.servers", "127.0.0.1:1", "security.protocol", "SASL_PLAINTEXT",
                                "sasl.mechanism", "OAUTHBEARER", "sasl.token", JWT, NULL});
    rd_kafka_t *handle = handle_of(k);
    heard("TokenFailed", 1, &said);
    assert_non_null(strstr(said, "sasl.token has expired, "));
    rd_kafka_destroy(handle);
    kafka_client_unref(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_is_refused_says_what_is_wrong, set_up),
        cmocka_unit_test_setup(test_what_fits_together_is_taken_and_the_rest_passed_over, set_up),
        cmocka_unit_test_setup(test_certificates_and_keys_are_read_before_anything_connects, set_up),
        cmocka_unit_test_setup(test_every_setting_reaches_the_library, set_up),
        cmocka_unit_test_setup(test_errors_in_our_words, set_up),
        cmocka_unit_test_setup(test_a_cluster_goes_and_comes_back_and_each_is_said_once, set_up),
        cmocka_unit_test_setup(test_a_listener_that_worked_is_not_said_to_want_something_else, set_up),
        cmocka_unit_test_setup(test_one_broker_of_three_that_goes_is_no_outage, set_up),
        cmocka_unit_test_setup(test_a_port_without_tls_is_named_and_many_handles_do_not_flood, set_up),
        cmocka_unit_test_setup(test_at_most_ten_lines_a_minute_of_one_cause_and_no_secret_in_them, set_up),
        cmocka_unit_test_setup(test_what_a_token_says_of_itself, set_up),
        cmocka_unit_test_setup(test_what_a_token_endpoint_answers, set_up),
        cmocka_unit_test_setup(test_a_token_is_fetched_once_for_all_handles_before_any_connects, set_up),
        cmocka_unit_test_setup(test_a_token_is_fetched_anew_before_its_life_is_over, set_up),
        cmocka_unit_test_setup(test_an_endpoint_that_refuses_is_named_without_the_secret, set_up),
        cmocka_unit_test_setup(test_a_given_token_that_has_expired_is_said, set_up),
    };
    return cmocka_run_group_tests_name("clients_kafka", tests, NULL, NULL);
}
