/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server under TLS: handshakes good, slow, cut and hostile; bodies, pipelines, streams and half-closed
 * connections through it; certificates that change.
 */
#include "../lib/http_rig.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

#define POST "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"

static char folder[] = "/tmp/leat-tls-XXXXXX";
static char files[2][2][80]; /* of two pairs: certificate, key */

static int make_files(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(folder))
        return -1;
    for (int i = 0; i < 2; i++) {
        char command[500];
        snprintf(files[i][0], sizeof files[i][0], "%s/%d.crt", folder, i);
        snprintf(files[i][1], sizeof files[i][1], "%s/%d.key", folder, i);
        snprintf(command, sizeof command,
                 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s -out %s -days 2 "
                 "-subj /CN=pair-%d 2>/dev/null",
                 files[i][1], files[i][0], i);
        if (system(command) != 0)
            return -1;
    }
    return 0;
}

static int remove_files(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* ---- a server, and clients on the same thread ---- */

struct reports {
    unsigned applied, refused;
    char why[600];
};

static void report(void *arg, enum err e, const char *why)
{
    struct reports *r = arg;
    if (e == OK)
        r->applied++;
    else
        r->refused++;
    snprintf(r->why, sizeof r->why, "%s", why);
}

static struct reports reports;
static struct http_tls *tls;

static struct rig *open_rig(void)
{
    struct diag d = {0};
    reports = (struct reports){0};
    assert_int_equal(http_tls_new(files[0][0], files[0][1], report, &reports, &tls, &d), OK);
    const struct http_server_options o = {.tls = tls};
    return rig_open(&o);
}

static void free_rig(struct rig *rig)
{
    rig_free(rig);
    http_tls_free(tls);
}

static struct http_server_stats stats_of(struct rig *rig)
{
    struct http_server_stats s = {0};
    http_server_stats(rig->server, &s);
    return s;
}

struct peer {
    struct rig *rig;
    SSL_CTX *context;
    SSL *ssl;
    int fd;
    struct buf got;
};

static void peer_init(struct peer *p, struct rig *rig)
{
    *p = (struct peer){.rig = rig, .context = SSL_CTX_new(TLS_client_method()), .fd = client_open(rig)};
    assert_non_null(p->context);
    SSL_CTX_set_mode(p->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    assert_int_equal(fcntl(p->fd, F_SETFL, O_NONBLOCK), 0);
    buf_init(&p->got, SIZE_MAX);
    p->ssl = SSL_new(p->context);
    SSL_set_fd(p->ssl, p->fd);
    SSL_set_connect_state(p->ssl);
}

/* False: it was refused. */
static bool peer_shake(struct peer *p)
{
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        int n = SSL_do_handshake(p->ssl), why = SSL_get_error(p->ssl, n);
        if (n == 1)
            return true;
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return false;
        rig_turn(p->rig);
    }
    fail_msg("the handshake does not end");
    return false;
}

static void peer_open(struct peer *p, struct rig *rig)
{
    peer_init(p, rig);
    assert_true(peer_shake(p));
}

static void peer_send(struct peer *p, const char *bytes, size_t n)
{
    for (int turns = 0; n && turns < TURNS_MAX; turns++) {
        size_t sent = 0;
        if (SSL_write_ex(p->ssl, bytes, n, &sent) != 1)
            assert_int_equal(SSL_get_error(p->ssl, 0), SSL_ERROR_WANT_WRITE);
        bytes += sent;
        n -= sent;
        rig_turn(p->rig);
    }
    assert_int_equal(n, 0);
}

/* Reads what is there now. 1: the server said that this was all, -1: it did not, and is gone, 0: it goes on. */
static int peer_read(struct peer *p)
{
    for (;;) {
        size_t n;
        char *at = buf_reserve(&p->got, 65536);
        ERR_clear_error();
        if (SSL_read_ex(p->ssl, at, 65535, &n) != 1) {
            int why = SSL_get_error(p->ssl, 0);
            return why == SSL_ERROR_ZERO_RETURN ? 1 : why == SSL_ERROR_WANT_READ ? 0 : -1;
        }
        p->got.len += n;
    }
}

static void peer_expect(struct peer *p, const char *text, size_t times)
{
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        int end = peer_read(p);
        if (count_of(&p->got, text) >= times)
            return;
        if (end)
            break;
        rig_turn(p->rig);
    }
    fail_msg("expected \"%s\" %zu times, got %zu bytes: %.*s", text, times, p->got.len,
             p->got.len > 300 ? 300 : (int)p->got.len, p->got.ptr ? p->got.ptr : "");
}

static int peer_end(struct peer *p)
{
    int end = 0;
    for (int turns = 0; !end && turns < TURNS_MAX; turns++) {
        end = peer_read(p);
        rig_turn(p->rig);
    }
    return end;
}

static void peer_close(struct peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->context);
    close(p->fd);
    buf_fini(&p->got);
}

/* "pair-0": whose certificate it was shown. */
static const char *pair_of(struct peer *p)
{
    static char name[40];
    X509 *x = SSL_get1_peer_certificate(p->ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name);
    X509_free(x);
    return name;
}

/* ---- requests ---- */

static void test_requests(void **state)
{
    static const unsigned char offered[] = "\x02h2\x08http/1.1";
    const unsigned char *chosen;
    unsigned chosen_len;
    struct peer p;
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct rig *rig = open_rig();
        peer_init(&p, rig);
        SSL_set_max_proto_version(p.ssl, version);
        SSL_set_alpn_protos(p.ssl, offered, sizeof offered - 1);
        assert_true(peer_shake(&p));
        assert_int_equal(SSL_version(p.ssl), version);
        SSL_get0_alpn_selected(p.ssl, &chosen, &chosen_len);
        assert_true(slice_eq(slice_of((const char *)chosen, chosen_len), SLICE("http/1.1")));
        for (size_t i = 1; i <= 3; i++) {
            peer_send(&p, POST, strlen(POST));
            peer_expect(&p, "POST /  hello", i);
        }
        peer_send(&p, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 46);
        assert_int_equal(peer_end(&p), 1); /* with its close_notify */
        peer_close(&p);
        assert_int_equal(rig->closes, 4);
        assert_int_equal(stats_of(rig).refused_tls, 0);
        free_rig(rig);
    }
}

/* A megabyte each way, in one piece, in records of each size, and in chunks. */
static void test_large_bodies(void **state)
{
    static const size_t sizes[] = {1 << 20, 16384, 16383, 4096, 1000};
    struct buf body;
    (void)state;
    buf_init(&body, SIZE_MAX);
    for (int i = 0; body.len < 1000000; i++)
        buf_printf(&body, "%d,", i);
    for (size_t s = 0; s < 2 * sizeof sizes / sizeof sizes[0]; s++) {
        const size_t size = sizes[s / 2];
        struct rig *rig = open_rig();
        struct peer p;
        struct buf all;
        peer_open(&p, rig);
        buf_init(&all, SIZE_MAX);
        buf_put_str(&all, "POST / HTTP/1.1\r\nHost: a\r\n");
        if (s % 2)
            buf_printf(&all, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%.*s\r\n0\r\n\r\n", body.len,
                       SLICE_ARG(buf_slice(&body)));
        else
            buf_printf(&all, "Content-Length: %zu\r\n\r\n%.*s", body.len, SLICE_ARG(buf_slice(&body)));
        for (size_t at = 0; at < all.len; at += size)
            peer_send(&p, all.ptr + at, all.len - at < size ? all.len - at : size);
        rig_until(rig, rig->ends == 1);
        while (p.got.len < body.len) {
            assert_int_equal(peer_read(&p), 0);
            rig_turn(rig);
        }
        assert_non_null(memmem(p.got.ptr, p.got.len, body.ptr, body.len));
        assert_true(rig_rests(rig));
        buf_fini(&all);
        peer_close(&p);
        free_rig(rig);
    }
    buf_fini(&body);
}

/* Many in one record: what was unwrapped and not read shows at no socket. */
static void test_a_pipeline(void **state)
{
    struct rig *rig = open_rig();
    struct peer p;
    struct buf many;
    (void)state;
    peer_open(&p, rig);
    buf_init(&many, SIZE_MAX);
    for (int i = 0; i < 600; i++)
        buf_put_str(&many, POST);
    peer_send(&p, many.ptr, many.len);
    peer_expect(&p, "POST /  hello", 600);
    rig->mode = RIG_HOLD; /* and while one is held, a block is read ahead and no more */
    peer_send(&p, many.ptr, many.len);
    rig_until(rig, rig->held_count == 1);
    assert_true(rig_rests(rig));
    rig->mode = RIG_ECHO;
    http_respond_text(rig->held[0], 200, "held");
    peer_expect(&p, "POST /  hello", 1199);
    buf_fini(&many);
    peer_close(&p);
    free_rig(rig);
}

static void test_a_client_that_does_not_read(void **state)
{
    struct rig *rig = open_rig();
    struct peer p;
    struct buf text;
    (void)state;
    rig->mode = RIG_HOLD;
    peer_open(&p, rig);
    peer_send(&p, POST, strlen(POST));
    rig_until(rig, rig->held_count == 1);
    buf_init(&text, SIZE_MAX);
    for (int i = 0; text.len < 20u << 20; i++)
        buf_printf(&text, "%d,", i);
    buf_put_str(&text, "the end");
    http_respond(rig->held[0], 200, NULL, 0, buf_slice(&text));
    for (int i = 0; i < 50; i++)
        rig_turn(rig);
    assert_true(rig_rests(rig)); /* the socket is full, and nobody turns in vain */
    peer_expect(&p, "the end", 1);
    assert_non_null(memmem(p.got.ptr, p.got.len, text.ptr, text.len));
    rig_until(rig, rig->closes == 1);
    buf_fini(&text);
    peer_close(&p);
    free_rig(rig);
}

static void test_a_stream_and_its_end(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        struct rig *rig = open_rig();
        struct peer p;
        rig->mode = RIG_STREAM;
        peer_open(&p, rig);
        peer_send(&p, POST, strlen(POST));
        rig_until(rig, rig->held_count == 1);
        for (size_t i = 1; i <= 3; i++) {
            assert_int_equal(http_stream_write(rig->held[0], SLICE("piece\n")), OK);
            peer_expect(&p, "piece", i);
        }
        if (cut)
            shutdown(p.fd, SHUT_RDWR);
        else
            SSL_shutdown(p.ssl);
        rig_until(rig, rig->closes == 1); /* it is noticed at once */
        peer_close(&p);
        free_rig(rig);
    }
}

/* close_notify behind the request: the answer still comes. */
static void test_half_closed(void **state)
{
    struct rig *rig = open_rig();
    struct peer p;
    (void)state;
    rig->mode = RIG_HOLD;
    peer_open(&p, rig);
    peer_send(&p, POST, strlen(POST));
    assert_true(SSL_shutdown(p.ssl) >= 0);
    rig_until(rig, rig->held_count == 1);
    for (int i = 0; i < 10; i++)
        rig_turn(rig);
    assert_true(rig_rests(rig)); /* its end was read, and is not read again */
    http_respond_text(rig->held[0], 200, "late");
    peer_expect(&p, "late", 1);
    assert_int_equal(peer_end(&p), 1);
    peer_close(&p);
    free_rig(rig);
}

/* A body that its client did not end is nobody's body. */
static void test_cut_in_a_body(void **state)
{
    struct rig *rig = open_rig();
    struct peer p;
    (void)state;
    peer_open(&p, rig);
    peer_send(&p, POST, strlen(POST) - 2);
    rig_until(rig, rig->heads == 1);
    shutdown(p.fd, SHUT_WR);
    rig_until(rig, rig->closes == 1);
    assert_int_equal(rig->ends, 0);
    peer_close(&p);
    free_rig(rig);
}

static void test_a_refusal_is_read(void **state)
{
    struct rig *rig = open_rig();
    struct peer p;
    char *large = malloc(2 << 20);
    (void)state;
    memset(large, 'x', 2 << 20);
    peer_open(&p, rig);
    peer_send(&p, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2097152\r\n\r\n", 53);
    size_t n;
    for (int i = 0; i < 100 && SSL_write_ex(p.ssl, large, 2 << 20, &n) == 1; i++)
        rig_turn(rig);
    peer_expect(&p, "413 Content Too Large", 1);
    assert_int_equal(peer_end(&p), 1);
    peer_close(&p);
    free(large);
    free_rig(rig);
}

/* ---- handshakes ---- */

/* The first bytes of a client: a ClientHello. */
static size_t hello(char *out, size_t size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *to = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, to);
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    int n = BIO_read(to, out, (int)size);
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
    assert_true(n > 100);
    return (size_t)n;
}

static void test_a_handshake_has_its_time(void **state)
{
    char bytes[4096];
    size_t n = hello(bytes, sizeof bytes);
    struct buf got;
    (void)state;
    const size_t sent[] = {0, 1, 50, n - 1, n};
    buf_init(&got, SIZE_MAX);
    for (size_t i = 0; i < sizeof sent / sizeof sent[0]; i++) {
        struct rig *rig = open_rig();
        int fd = client_open(rig);
        client_send(rig, fd, bytes, sent[i]);
        rig_until(rig, stats_of(rig).connections_open == 1);
        for (int s = 0; s < 9; s++)
            rig_advance(rig, NS_PER_S); /* a byte now and then buys no time */
        assert_int_equal(stats_of(rig).connections_open, 1);
        rig_advance(rig, NS_PER_S);
        rig_until(rig, stats_of(rig).connections_open == 0);
        client_expect_end(rig, fd, &got);
        close(fd);
        free_rig(rig);
    }
    buf_fini(&got);
}

static void test_leaves_at_every_byte_of_a_handshake(void **state)
{
    char bytes[4096];
    size_t n = hello(bytes, sizeof bytes);
    struct rig *rig = open_rig();
    (void)state;
    for (size_t i = 0; i <= n; i++) {
        int fd = client_open(rig);
        client_send(rig, fd, bytes, i);
        close(fd);
        rig_turn(rig);
    }
    rig_until(rig, stats_of(rig).connections_open == 0);
    assert_int_equal(rig->heads, 0);
    free_rig(rig);
}

static void test_hostile_bytes(void **state)
{
    char bytes[4096];
    size_t n = hello(bytes, sizeof bytes);
    struct rig *rig = open_rig();
    struct buf got;
    unsigned seed = 7;
    (void)state;
    for (int i = 0; i < 400; i++) {
        char broken[4096];
        int fd = client_open(rig);
        memcpy(broken, bytes, n);
        for (int k = 0; k < 1 + i % 5; k++) {
            seed = seed * 1103515245u + 12345u;
            broken[i % 2 ? (seed >> 8) % n : (seed >> 8) % 12] = (char)(seed >> 16);
        }
        client_send(rig, fd, broken, n);
        shutdown(fd, SHUT_WR);
        buf_init(&got, SIZE_MAX);
        client_expect_end(rig, fd, &got);
        buf_fini(&got);
        close(fd);
    }
    rig_until(rig, stats_of(rig).connections_open == 0);
    assert_true(stats_of(rig).refused_tls > 100);
    assert_int_equal(rig->heads, 0);
    free_rig(rig);
}

static void test_plain_http_is_told_so(void **state)
{
    struct rig *rig = open_rig();
    struct buf got;
    int fd = client_open(rig);
    (void)state;
    buf_init(&got, SIZE_MAX);
    client_send_str(rig, fd, POST);
    client_expect(rig, fd, &got, "this address speaks https only", 1);
    assert_true(starts_with(&got, "HTTP/1.1 400 "));
    client_expect_end(rig, fd, &got);
    assert_int_equal(rig->heads, 0);
    buf_fini(&got);
    close(fd);
    free_rig(rig);
}

static void test_what_is_not_spoken(void **state)
{
    static const unsigned char h2[] = "\x02h2";
    struct rig *rig = open_rig();
    struct peer p;
    (void)state;
    peer_init(&p, rig);
    SSL_set_security_level(p.ssl, 0);
    SSL_set_min_proto_version(p.ssl, TLS1_VERSION);
    SSL_set_max_proto_version(p.ssl, TLS1_1_VERSION);
    assert_false(peer_shake(&p));
    peer_close(&p);
    peer_init(&p, rig);
    SSL_set_alpn_protos(p.ssl, h2, sizeof h2 - 1);
    assert_false(peer_shake(&p));
    peer_close(&p);
    rig_until(rig, stats_of(rig).refused_tls == 2);
    free_rig(rig);
}

static void test_freed_in_the_middle(void **state)
{
    struct rig *rig = open_rig();
    struct peer half, whole;
    (void)state;
    rig->mode = RIG_HOLD;
    peer_init(&half, rig);
    (void)SSL_do_handshake(half.ssl);
    rig_turn(rig);
    peer_open(&whole, rig);
    peer_send(&whole, POST, strlen(POST));
    rig_until(rig, rig->held_count == 1);
    free_rig(rig);
    peer_close(&half);
    peer_close(&whole);
}

/* ---- certificates ---- */

static void copy_file(const char *from, const char *to)
{
    char command[500];
    snprintf(command, sizeof command, "cp %s %s.new && mv %s.new %s", from, to, to, to);
    assert_int_equal(system(command), 0);
}

static void test_certificates_change(void **state)
{
    char cert[100], key[100];
    struct diag d = {0};
    struct peer old, p;
    (void)state;
    snprintf(cert, sizeof cert, "%s/now.crt", folder);
    snprintf(key, sizeof key, "%s/now.key", folder);
    copy_file(files[0][0], cert);
    copy_file(files[0][1], key);
    reports = (struct reports){0};
    assert_int_equal(http_tls_new(cert, key, report, &reports, &tls, &d), OK);
    const struct http_server_options o = {.tls = tls};
    struct rig *rig = rig_open(&o);
    peer_open(&old, rig);
    assert_string_equal(pair_of(&old), "pair-0");
    copy_file(files[1][0], cert); /* half of a pair: the old one stays */
    for (int i = 0; i < 3; i++) {
        peer_open(&p, rig);
        assert_string_equal(pair_of(&p), "pair-0");
        peer_close(&p);
    }
    assert_int_equal(reports.refused, 1); /* told once */
    assert_non_null(strstr(reports.why, key));
    copy_file(files[1][1], key);
    peer_open(&p, rig);
    assert_string_equal(pair_of(&p), "pair-1");
    assert_int_equal(reports.applied, 1);
    assert_int_equal(unlink(key), 0);
    http_tls_reload(tls);
    assert_int_equal(reports.refused, 2);
    peer_send(&p, POST, strlen(POST));
    peer_expect(&p, "hello", 1);
    peer_send(&old, POST, strlen(POST)); /* connections stay what they were */
    peer_expect(&old, "hello", 1);
    peer_close(&p);
    peer_open(&p, rig);
    assert_string_equal(pair_of(&p), "pair-1");
    peer_close(&p);
    peer_close(&old);
    free_rig(rig);
}

static void test_pairs_that_are_none(void **state)
{
    char locked[100], command[300];
    const struct {
        const char *certificate, *key, *says;
    } wrong[] = {
        {"/none.crt", files[0][1], "/none.crt holds no certificate"},
        {files[0][0], "/none.key", "/none.key holds no private key"},
        {files[0][0], files[1][1], files[1][1]},
        {files[0][1], files[0][1], "holds no certificate"},
        {files[0][0], locked, "without a password"},
    };
    (void)state;
    snprintf(locked, sizeof locked, "%s/locked.key", folder);
    snprintf(command, sizeof command, "openssl ec -aes128 -passout pass:x -in %s -out %s 2>/dev/null", files[0][1],
             locked);
    assert_int_equal(system(command), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct http_tls *none = NULL;
        struct diag d = {0};
        assert_int_equal(http_tls_new(wrong[i].certificate, wrong[i].key, NULL, NULL, &none, &d), ERR_INVALID);
        assert_null(none);
        assert_non_null(strstr(d.text, wrong[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_large_bodies),
        cmocka_unit_test(test_a_pipeline),
        cmocka_unit_test(test_a_client_that_does_not_read),
        cmocka_unit_test(test_a_stream_and_its_end),
        cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_cut_in_a_body),
        cmocka_unit_test(test_a_refusal_is_read),
        cmocka_unit_test(test_a_handshake_has_its_time),
        cmocka_unit_test(test_leaves_at_every_byte_of_a_handshake),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_plain_http_is_told_so),
        cmocka_unit_test(test_what_is_not_spoken),
        cmocka_unit_test(test_freed_in_the_middle),
        cmocka_unit_test(test_certificates_change),
        cmocka_unit_test(test_pairs_that_are_none),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
