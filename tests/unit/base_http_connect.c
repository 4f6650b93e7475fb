/* SPDX-License-Identifier: Apache-2.0
 *
 * What libcurl does for the HTTP client, and the traps in doing so (libcurl 7.88, CURLOPT_CONNECT_ONLY): one test for
 * each. Two of them need a name that is never resolved and time that jumps, so getaddrinfo and clock_gettime are this
 * file's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netdb.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../base/http_pool.h"
#include "../lib/tls_peer.h"

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define MS NS_PER_MS

static struct asker asker;
static struct peer peer;

static void assert_failed(const struct ask *x, enum err err, const char *words)
{
    if (x->err != err || !strstr(x->detail, words))
        print_error("%s: %s\n", err_name(x->err), x->detail);
    assert_int_equal(x->err, err);
    assert_non_null(strstr(x->detail, words));
}

static void assert_answered(struct ask *x)
{
    if (x->err)
        print_error("%s: %s\n", err_name(x->err), x->detail);
    assert_int_equal(x->err, OK);
    assert_int_equal(x->status, 200);
    ask_fini(x);
}

/* ---- time and names ---- */

static atomic_long time_added_s;

int clock_gettime(clockid_t id, struct timespec *out)
{
    int rc = (int)syscall(SYS_clock_gettime, id, out);
    if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_RAW)
        out->tv_sec += atomic_load(&time_added_s);
    return rc;
}

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t names_changed = PTHREAD_COND_INITIALIZER;
static bool names_answer;
static atomic_int names_asked, names_left;

/* silent.example: a name server that never answers. two.example: an address where nobody listens, then one where the
 * peers do. */
int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict out)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    pthread_mutex_lock(&names_lock);
    if (!real)
        *(void **)(void *)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (strcmp(name, "silent.example") == 0) {
        names_asked++;
        while (!names_answer)
            pthread_cond_wait(&names_changed, &names_lock);
        names_left++;
        pthread_cond_signal(&names_changed);
        pthread_mutex_unlock(&names_lock);
        return EAI_FAIL;
    }
    pthread_mutex_unlock(&names_lock);
    if (strcmp(name, "two.example") == 0) {
        struct addrinfo *second;
        int rc = real("127.0.0.2", service, hints, out);
        if (rc == 0 && (rc = real("127.0.0.1", service, hints, &second)) == 0)
            (*out)->ai_next = second;
        return rc;
    }
    return real(name, service, hints, out);
}

/* ---- (a) the handle stays in the multi; (g) receive until nothing is left ---- */

static void tls_answer_all(struct peer *p)
{
    int fd;
    for (SSL *ssl; (ssl = tls_accept(p, &fd)); tls_close(ssl, fd))
        while (tls_read(p, ssl))
            tls.SSL_write(ssl, p->arg, (int)strlen(p->arg));
}

static void tls_set_up(peer_fn *script, const char *arg, struct http_client_options options)
{
    alarm(60);
    peer_start(&peer, script, (void *)(uintptr_t)arg);
    asker_init(&asker, &options);
}

/* The connections first: the peer may be blocked in reading one. */
static void tls_tear_down(struct http_origin *o)
{
    http_origin_unref(o);
    asker_fini(&asker);
    peer_stop(&peer);
}

static void a_https_connection_is_kept_and_used_again(void **state)
{
    (void)state;
    struct ask x;
    tls_set_up(tls_answer_all, ANSWER, (struct http_client_options){.ca_file = tls.certificate});
    struct http_origin *o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    for (int i = 0; i < 20; i++) {
        ask_post(&asker, &x, i, SLICE("secret"));
        ask_run(o, &x);
        assert_answered(&x);
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    assert_int_equal(asker_open(&asker), 1);
    tls_tear_down(o);
    assert_string_equal(peer.last, "POST /19 HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nsecret");
}

/* The head and the pieces of a body in records of their own, at once: epoll speaks up for the first only. */
static void tls_answer_in_records(struct peer *p)
{
    static char body[700000];
    int fd;
    SSL *ssl = tls_accept(p, &fd);
    while (ssl && tls_read(p, ssl)) {
        tls.SSL_write(ssl, "HTTP/1.1 200 OK\r\n", 17);
        tls.SSL_write(ssl, "Content-Length: 700000\r\n\r\n", 26);
        for (size_t at = 0; at < sizeof(body); at += 100000)
            tls.SSL_write(ssl, body + at, 100000);
    }
    if (ssl)
        tls_close(ssl, fd);
}

static void what_tls_holds_is_received(void **state)
{
    (void)state;
    struct ask x;
    tls_set_up(tls_answer_in_records, NULL, (struct http_client_options){.ca_file = tls.certificate});
    struct http_origin *o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    for (int i = 0; i < 5; i++) {
        ask_prepare(&asker, &x);
        ask_run(o, &x);
        assert_int_equal(x.body_len, 700000);
        assert_answered(&x);
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    tls_tear_down(o);
}

static void a_large_request_goes_out_whole_over_tls(void **state)
{
    (void)state;
    size_t size = 8 << 20;
    char *body = malloc(size);
    assert_non_null(body);
    memset(body, 'b', size);
    struct ask x;
    tls_set_up(tls_answer_all, ANSWER, (struct http_client_options){.ca_file = tls.certificate});
    struct http_origin *o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    for (int i = 0; i < 2; i++) {
        ask_post(&asker, &x, i, slice_of(body, size));
        ask_run(o, &x);
        assert_answered(&x);
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    tls_tear_down(o);
    free(body);
}

/* ---- (b) HTTP/1.1, whatever the server would like ---- */

static void tls_note_protocol(struct peer *p)
{
    int fd;
    for (SSL *ssl; (ssl = tls_accept(p, &fd)); tls_close(ssl, fd)) {
        const unsigned char *name;
        unsigned len;
        tls.SSL_get0_alpn_selected(ssl, &name, &len);
        snprintf(p->arg, 20, "%.*s", (int)len, len ? (const char *)name : "");
        if (tls_read(p, ssl))
            tls.SSL_write(ssl, ANSWER, (int)strlen(ANSWER));
    }
}

static void h2_is_not_negotiated(void **state)
{
    (void)state;
    char protocol[20] = "";
    struct ask x;
    tls_set_up(tls_note_protocol, protocol, (struct http_client_options){.ca_file = tls.certificate});
    struct http_origin *o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_answered(&x);
    tls_tear_down(o);
    assert_string_equal(protocol, "http/1.1");
}

static void a_certificate_nobody_vouches_for_is_refused(void **state)
{
    (void)state;
    struct ask x;
    tls_set_up(tls_answer_all, ANSWER, (struct http_client_options){0});
    struct http_origin *o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_failed(&x, ERR_UNAVAILABLE, "is not trusted");
    http_origin_unref(o);
    asker_fini(&asker);
    /* With `insecure` it is taken. */
    asker_init(&asker, &(struct http_client_options){.insecure = true});
    peer_stop(&peer);
    peer_start(&peer, tls_answer_all, (void *)(uintptr_t)ANSWER);
    o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_answered(&x);
    tls_tear_down(o);
}

/* ---- (c) a silent name server blocks nothing ---- */

static void a_silent_name_server_blocks_nothing(void **state)
{
    (void)state;
    struct ask silent, x;
    tls_set_up(peer_answer_all, ANSWER, (struct http_client_options){.connect_timeout_ns = 900 * MS});
    struct http_origin *nowhere = asker_origin(&asker, "http", "silent.example", 80);
    struct http_origin *o = asker_origin(&asker, "http", "127.0.0.1", peer.port);
    ask_prepare(&asker, &silent);
    ask_prepare(&asker, &x);
    assert_int_equal(http_exchange_start(nowhere, &silent.exchange), OK);
    ask_run(o, &x);
    assert_answered(&x);
    assert_false(silent.done);
    ask_wait(&silent); /* the resolver's thread still hangs: waiting for it would end in the alarm */
    assert_failed(&silent, ERR_UNAVAILABLE, "no connection to silent.example:80 within 900 ms");
    ask_prepare(&asker, &silent);
    assert_int_equal(http_exchange_start(nowhere, &silent.exchange), OK);
    while (names_asked < 2)
        assert_int_equal(loop_turn(asker.loop, MS), OK);
    http_exchange_cancel(&silent.exchange);
    http_origin_unref(nowhere);
    http_origin_unref(o);
    asker_fini(&asker);
    peer_stop(&peer);
    pthread_mutex_lock(&names_lock);
    names_answer = true;
    pthread_cond_broadcast(&names_changed);
    while (names_left < names_asked)
        pthread_cond_wait(&names_changed, &names_lock);
    pthread_mutex_unlock(&names_lock);
}

/* ---- connecting takes for ever ---- */

/* A listener whose queue is full, so that the kernel leaves whoever connects waiting. */
struct deaf {
    int listener, filling[8];
    uint16_t port;
};

static void deaf_init(struct deaf *d)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    d->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(d->listener, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(d->listener, 0), 0);
    assert_int_equal(getsockname(d->listener, (struct sockaddr *)&a, &len), 0);
    d->port = ntohs(a.sin_port);
    for (size_t i = 0; i < sizeof(d->filling) / sizeof(d->filling[0]); i++) {
        d->filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(d->filling[i], (struct sockaddr *)&a, len);
    }
}

static void deaf_fini(struct deaf *d)
{
    for (size_t i = 0; i < sizeof(d->filling) / sizeof(d->filling[0]); i++)
        close(d->filling[i]);
    close(d->listener);
}

static void connecting_has_a_deadline_of_its_own(void **state)
{
    (void)state;
    struct deaf d;
    struct ask x;
    alarm(60);
    deaf_init(&d);
    asker_init(&asker, &(struct http_client_options){.connect_timeout_ns = 50 * MS});
    struct http_origin *o = asker_origin(&asker, "http", "127.0.0.1", d.port);
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_failed(&x, ERR_UNAVAILABLE, "within 50 ms");
    http_origin_unref(o);
    asker_fini(&asker);
    deaf_fini(&d);
}

/* The second socket has the first one's number. */
static void a_second_address_is_tried(void **state)
{
    (void)state;
    struct ask x;
    tls_set_up(peer_answer_all, ANSWER, (struct http_client_options){0});
    struct http_origin *o = asker_origin(&asker, "http", "two.example", peer.port);
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_answered(&x);
    tls_tear_down(o);
}

/* libcurl closes the socket first, and says only then that it is to be watched no more. */
static void connecting_may_be_given_up(void **state)
{
    (void)state;
    struct deaf d;
    struct ask x;
    alarm(60);
    deaf_init(&d);
    asker_init(&asker, NULL);
    struct http_origin *o = asker_origin(&asker, "http", "127.0.0.1", d.port);
    ask_prepare(&asker, &x);
    assert_int_equal(http_exchange_start(o, &x.exchange), OK);
    const struct http_connection *k = container_of(o->connecting.next, struct http_connection, link);
    while (k->curl_watches[0].fd < 0)
        asker_turn(&asker);
    http_exchange_cancel(&x.exchange);
    http_origin_unref(o);
    assert_int_equal(asker_open(&asker), 0);
    asker_fini(&asker);
    deaf_fini(&d);
}

/* ---- (d) proxies ---- */

/* Takes CONNECT and carries bytes between the two until either ends; the CONNECT line goes to p->arg. */
static void tunnel(struct peer *p)
{
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd)) {
        if (!peer_read(p, fd))
            continue;
        snprintf(p->arg, 100, "%.*s", (int)strcspn(p->last, "\r"), p->last);
        unsigned port = 0;
        if (sscanf(p->last, "CONNECT 127.0.0.1:%u HTTP/1.1\r\n", &port) != 1) {
            peer_write(p, fd, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
            continue;
        }
        struct sockaddr_in a = {
            .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(other, (struct sockaddr *)&a, sizeof(a)) == 0 && peer_write(p, fd, "HTTP/1.1 200 Go\r\n\r\n")) {
            struct pollfd f[3] = {
                {.fd = fd, .events = POLLIN}, {.fd = other, .events = POLLIN}, {.fd = p->stop, .events = POLLIN}};
            char bytes[4096];
            ssize_t n = 1;
            while (n > 0 && poll(f, 3, -1) > 0 && !f[2].revents) {
                int from = f[0].revents ? fd : other;
                n = recv(from, bytes, sizeof(bytes), 0);
                if (n > 0)
                    n = send(from == fd ? other : fd, bytes, (size_t)n, MSG_NOSIGNAL);
            }
        }
        close(other);
    }
}

static void a_proxy_tunnels_http_too(void **state)
{
    (void)state;
    struct ask x;
    struct peer proxy;
    char url[60], line[100] = "", want[100];
    alarm(60);
    peer_start(&peer, peer_answer_all, (void *)(uintptr_t)ANSWER);
    peer_start(&proxy, tunnel, line);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", proxy.port);
    snprintf(want, sizeof(want), "CONNECT 127.0.0.1:%u HTTP/1.1", peer.port);
    setenv("no_proxy", "*", 1); /* what was configured wins */
    asker_init(&asker, &(struct http_client_options){.proxy = url});
    struct http_origin *o = asker_origin(&asker, "http", "127.0.0.1", peer.port);
    for (int i = 0; i < 3; i++) {
        ask_post(&asker, &x, i, SLICE("b"));
        ask_run(o, &x);
        assert_answered(&x);
    }
    http_origin_unref(o);
    asker_fini(&asker);
    unsetenv("no_proxy");
    peer_stop(&proxy);
    peer_stop(&peer);
    assert_string_equal(line, want);
    assert_int_equal(proxy.accepted, 1);
    assert_string_equal(peer.last, "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb");
}

static void a_proxy_that_refuses_is_told_of(void **state)
{
    (void)state;
    struct ask x;
    char url[60], line[100];
    alarm(60);
    peer_start(&peer, tunnel, line);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", peer.port);
    asker_init(&asker, &(struct http_client_options){.proxy = url});
    struct http_origin *o = asker_origin(&asker, "http", "example.com", 80);
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_failed(&x, ERR_UNAVAILABLE, "403");
    http_origin_unref(o);
    asker_fini(&asker);
    peer_stop(&peer);
    asker_init(&asker, &(struct http_client_options){.proxy = "http://127.0.0.1:9"});
    o = asker_origin(&asker, "http", "example.com", 80);
    ask_run(o, (ask_prepare(&asker, &x), &x));
    assert_failed(&x, ERR_UNAVAILABLE, "connection refused by the proxy");
    http_origin_unref(o);
    asker_fini(&asker);
}

static void the_environments_proxy_is_not_used(void **state)
{
    (void)state;
    struct ask x;
    tls_set_up(peer_answer_all, ANSWER, (struct http_client_options){0});
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:9", 1);
    struct http_origin *o = asker_origin(&asker, "http", "127.0.0.1", peer.port);
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_answered(&x);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    tls_tear_down(o);
}

/* ---- (e) libcurl's own opinion of old connections ---- */

struct two {
    struct peer other;
    struct http_origin *first, *second;
};

static void two_set_up(struct two *t, peer_fn *first)
{
    tls_set_up(first, ANSWER, (struct http_client_options){.idle_timeout_ns = 86400 * NS_PER_S});
    peer_start(&t->other, peer_answer_all, (void *)(uintptr_t)ANSWER);
    t->first = asker_origin(&asker, "http", "127.0.0.1", peer.port);
    t->second = asker_origin(&asker, "http", "127.0.0.1", t->other.port);
}

static void two_tear_down(struct two *t)
{
    http_origin_unref(t->second);
    tls_tear_down(t->first);
    peer_stop(&t->other);
}

static void ten_minutes_pass(void)
{
    atomic_fetch_add(&time_added_s, 600);
    assert_int_equal(loop_turn(asker.loop, 0), OK); /* which reads the clock */
}

static void ask_for_ok(struct http_origin *o)
{
    struct ask x;
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_answered(&x);
}

static void an_old_connection_survives_the_opening_of_another(void **state)
{
    (void)state;
    struct two t;
    two_set_up(&t, peer_answer_all);
    ask_for_ok(t.first);
    ten_minutes_pass(); /* in which libcurl has seen no byte on it */
    ask_for_ok(t.second);
    ask_for_ok(t.first);
    assert_int_equal(atomic_load(&peer.accepted), 1);
    two_tear_down(&t);
}

/* Makes libcurl close, at the next opening, all connections older than a second, and opens one. */
static void let_libcurl_close_others(struct two *t, struct ask *x)
{
    ten_minutes_pass();
    ask_prepare(&asker, x);
    assert_int_equal(http_exchange_start(t->second, &x->exchange), OK);
    struct http_connection *k = container_of(t->second->connecting.next, struct http_connection, link);
    assert_int_equal(curl_easy_setopt(k->easy, CURLOPT_MAXAGE_CONN, 1L), CURLE_OK);
}

static void an_idle_connection_that_libcurl_closes_is_noticed(void **state)
{
    (void)state;
    struct two t;
    struct ask x;
    two_set_up(&t, peer_answer_all);
    ask_for_ok(t.first);
    let_libcurl_close_others(&t, &x);
    ask_wait(&x);
    assert_answered(&x);
    assert_int_equal(asker_open(&asker), 1);
    ask_for_ok(t.first);
    assert_int_equal(atomic_load(&peer.accepted), 2);
    two_tear_down(&t);
}

/* The first connection: one answer, then silence. The second answers all. */
static void answer_once_then_all(struct peer *p)
{
    int fd = peer_accept(p);
    if (fd < 0)
        return;
    if (peer_read(p, fd) && peer_write(p, fd, p->arg) && peer_read(p, fd))
        peer_read_end(p, fd);
    close(fd);
    peer_answer_all(p);
}

static void a_busy_connection_that_libcurl_closes_is_noticed(void **state)
{
    (void)state;
    struct two t;
    struct ask x, busy;
    two_set_up(&t, answer_once_then_all);
    ask_for_ok(t.first);
    ask_prepare(&asker, &busy);
    busy.exchange.timeout_ns = 86400 * NS_PER_S;
    assert_int_equal(http_exchange_start(t.first, &busy.exchange), OK);
    let_libcurl_close_others(&t, &x);
    ask_wait(&x);
    assert_answered(&x);
    ask_wait(&busy); /* unanswered on a reused connection: sent again */
    assert_answered(&busy);
    assert_true(busy.exchange.retried);
    assert_int_equal(atomic_load(&peer.accepted), 2);
    two_tear_down(&t);
}

/* ---- (f) the peer closes ---- */

static void tls_answer_and_close(struct peer *p)
{
    int fd;
    for (SSL *ssl; (ssl = tls_accept(p, &fd)); tls_close(ssl, fd))
        if (tls_read(p, ssl))
            tls.SSL_write(ssl, p->arg, (int)strlen(p->arg));
}

static void a_closed_https_connection_is_noticed(void **state)
{
    (void)state;
    tls_set_up(tls_answer_and_close, ANSWER, (struct http_client_options){.ca_file = tls.certificate});
    struct http_origin *o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    for (int i = 0; i < 3; i++) {
        ask_for_ok(o);
        while (asker_open(&asker))
            asker_turn(&asker);
    }
    assert_int_equal(atomic_load(&peer.accepted), 3);
    tls_tear_down(o);
}

/* The first connection: one answer, one request, the end. The second: answers. */
static void tls_leave_one_unanswered(struct peer *p)
{
    int fd;
    SSL *ssl = tls_accept(p, &fd);
    if (!ssl)
        return;
    if (tls_read(p, ssl)) {
        tls.SSL_write(ssl, p->arg, (int)strlen(p->arg));
        tls_read(p, ssl);
    }
    tls_close(ssl, fd);
    tls_answer_all(p);
}

static void an_unanswered_request_is_sent_once_more_over_tls(void **state)
{
    (void)state;
    tls_set_up(tls_leave_one_unanswered, ANSWER, (struct http_client_options){.ca_file = tls.certificate});
    struct http_origin *o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    for (int i = 0; i < 3; i++)
        ask_for_ok(o);
    assert_int_equal(atomic_load(&peer.accepted), 2);
    assert_int_equal(atomic_load(&peer.requests), 4);
    tls_tear_down(o);
}

/* Closes with a reset in the middle of a large request: writing to it must end the exchange, not the process. */
static void tls_reset(struct peer *p)
{
    int fd;
    for (SSL *ssl; (ssl = tls_accept(p, &fd));) {
        char some[100];
        tls.SSL_read(ssl, some, sizeof(some));
        tls.SSL_free(ssl);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
        close(fd);
    }
}

static void a_reset_while_sending_ends_the_exchange(void **state)
{
    (void)state;
    size_t size = 16 << 20;
    char *body = calloc(1, size);
    struct ask x;
    assert_non_null(body);
    tls_set_up(tls_reset, NULL, (struct http_client_options){.ca_file = tls.certificate});
    struct http_origin *o = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    for (int i = 0; i < 5; i++) {
        ask_post(&asker, &x, i, slice_of(body, size));
        ask_run(o, &x);
        assert_failed(&x, ERR_UNAVAILABLE, "closed the connection without an answer");
    }
    tls_tear_down(o);
    free(body);
}

static int group_set_up(void **state)
{
    (void)state;
    tls_init();
    return 0;
}

static int group_tear_down(void **state)
{
    (void)state;
    tls_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_https_connection_is_kept_and_used_again),
        cmocka_unit_test(what_tls_holds_is_received),
        cmocka_unit_test(a_large_request_goes_out_whole_over_tls),
        cmocka_unit_test(h2_is_not_negotiated),
        cmocka_unit_test(a_certificate_nobody_vouches_for_is_refused),
        cmocka_unit_test(a_silent_name_server_blocks_nothing),
        cmocka_unit_test(connecting_has_a_deadline_of_its_own),
        cmocka_unit_test(connecting_may_be_given_up),
        cmocka_unit_test(a_second_address_is_tried),
        cmocka_unit_test(a_proxy_tunnels_http_too),
        cmocka_unit_test(a_proxy_that_refuses_is_told_of),
        cmocka_unit_test(the_environments_proxy_is_not_used),
        cmocka_unit_test(an_old_connection_survives_the_opening_of_another),
        cmocka_unit_test(an_idle_connection_that_libcurl_closes_is_noticed),
        cmocka_unit_test(a_busy_connection_that_libcurl_closes_is_noticed),
        cmocka_unit_test(a_closed_https_connection_is_noticed),
        cmocka_unit_test(an_unanswered_request_is_sent_once_more_over_tls),
        cmocka_unit_test(a_reset_while_sending_ends_the_exchange),
    };
    return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
