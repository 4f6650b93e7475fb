/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS between a socket and its connection. The connection reads and writes here instead of at its socket, and nothing
 * else of the server knows. What is particular:
 *
 *  - A handshake is under way until it is whole: http_tls_ready holds the socket's events back. Its deadline is that of
 *    the first head, which runs from the connection's opening.
 *  - Bytes that were unwrapped and not yet taken show at no socket: http_tls_pending says so, and the server reads
 * again in its next turn.
 *  - A client's close_notify is the end of what it sends; a socket that ends without one is a broken connection, since
 *    somebody may have cut the message short.
 *  - Nothing is negotiated anew, and a read that would have to write first (a client that asks for new keys and does
 *    not read) breaks the connection: it would keep the loop busy.
 *
 * Certificates are looked at with each new connection, and read when their files have changed.
 */
#include "http_connection.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct http_tls {
    char *certificate_file, *key_file; /* owned */
    http_tls_report_fn *report;
    void *arg;
    pthread_mutex_t lock; /* of what follows: connections come on every loop */
    SSL_CTX *context;
    struct stat seen[2]; /* of the files, when they were read last */
};

/* ---- certificates ---- */

/* The first reason of the crypto library, in its words or the system's. */
static const char *reason(char out[100])
{
    unsigned long code = ERR_peek_error();
    const char *text = code && !ERR_SYSTEM_ERROR(code) ? ERR_reason_error_string(code) : NULL;
    if (code && ERR_SYSTEM_ERROR(code))
        return strerror_r(ERR_GET_REASON(code), out, 100);
    return text ? text : "unknown reason";
}

/* A key with a password cannot be read: nobody is asked at a terminal. */
static int no_password(char *out, int size, int writing, void *arg)
{
    (void)out, (void)size, (void)writing, (void)arg;
    return 0;
}

static int select_http_1(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                         unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl, (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static enum err fill(const struct http_tls *t, SSL_CTX *c, struct diag *d)
{
    char why[100];
    if (SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1)
        return diag_set(d, ERR_UNSUPPORTED, "the crypto library has no TLS 1.2");
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF); /* sessions are in tickets: clients keep them */
    SSL_CTX_set_alpn_select_cb(c, select_http_1, NULL);
    SSL_CTX_set_default_passwd_cb(c, no_password);
    if (SSL_CTX_use_certificate_chain_file(c, t->certificate_file) != 1)
        return diag_set(d, ERR_INVALID, "%.250s holds no certificate (PEM) that can be read: %.200s",
                        t->certificate_file, reason(why));
    if (SSL_CTX_use_PrivateKey_file(c, t->key_file, SSL_FILETYPE_PEM) != 1)
        return diag_set(d, ERR_INVALID,
                        "%.250s holds no private key (PEM, without a password) of that certificate: %.200s",
                        t->key_file, reason(why));
    if (SSL_CTX_check_private_key(c) != 1)
        return diag_set(d, ERR_INVALID, "the key in %.250s is not that of the certificate in %.250s", t->key_file,
                        t->certificate_file);
    return OK;
}

static enum err make_context(const struct http_tls *t, SSL_CTX **out, struct diag *d)
{
    ERR_clear_error();
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    enum err e = c ? fill(t, c, d) : diag_set(d, ERR_NOMEM, "out of memory");
    ERR_clear_error();
    if (e == OK)
        *out = c;
    else
        SSL_CTX_free(c);
    return e;
}

static void look(const struct http_tls *t, struct stat now[2])
{
    memset(now, 0, 2 * sizeof *now);
    if (stat(t->certificate_file, &now[0]) != 0)
        now[0].st_ino = 0;
    if (stat(t->key_file, &now[1]) != 0)
        now[1].st_ino = 0;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* With the lock. */
static void reload(struct http_tls *t, bool anyway)
{
    struct stat now[2];
    SSL_CTX *fresh = NULL;
    struct diag d = {0};
    look(t, now);
    if (!anyway && same(&now[0], &t->seen[0]) && same(&now[1], &t->seen[1]))
        return;
    enum err e = make_context(t, &fresh, &d);
    memcpy(t->seen, now, sizeof now);
    if (e == OK) {
        SSL_CTX_free(t->context); /* connections hold it as long as they need it */
        t->context = fresh;
    }
    if (t->report)
        t->report(t->arg, e, d.text);
}

enum err http_tls_new(const char *certificate_file, const char *key_file, http_tls_report_fn *report, void *arg,
                      struct http_tls **out, struct diag *d)
{
    struct http_tls *t = calloc(1, sizeof *t);
    if (!t)
        return diag_set(d, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&t->lock, NULL);
    t->report = report;
    t->arg = arg;
    t->certificate_file = strdup(certificate_file);
    t->key_file = strdup(key_file);
    enum err e = ERR_NOMEM;
    if (t->certificate_file && t->key_file) {
        look(t, t->seen);
        e = make_context(t, &t->context, d);
    }
    if (e == OK)
        *out = t;
    else
        http_tls_free(t);
    return e;
}

void http_tls_reload(struct http_tls *t)
{
    pthread_mutex_lock(&t->lock);
    reload(t, true);
    pthread_mutex_unlock(&t->lock);
}

void http_tls_free(struct http_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->context);
    pthread_mutex_destroy(&t->lock);
    free(t->certificate_file);
    free(t->key_file);
    free(t);
}

/* ---- a connection ---- */

bool http_tls_start(struct http_request *r)
{
    struct http_tls *t = r->server->options.tls;
    pthread_mutex_lock(&t->lock);
    reload(t, false);
    ERR_clear_error();
    r->tls = SSL_new(t->context);
    pthread_mutex_unlock(&t->lock);
    if (!r->tls || SSL_set_fd(r->tls, r->fd) != 1)
        return false;
    SSL_set_accept_state(r->tls);
    return true;
}

/* Who speaks HTTP here is told so, as far as that goes; it is nobody's answer, so it is written as it is. */
static void tell_plain(struct http_request *r)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
                               "Connection: close\r\nContent-Length: 30\r\n\r\nthis address speaks https only";
    if (ERR_GET_REASON(ERR_peek_error()) != SSL_R_HTTP_REQUEST)
        return;
    if (send(r->fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        r->linger = true;
}

bool http_tls_ready(struct http_request *r)
{
    if (r->tls_open || r->broken)
        return true;
    ERR_clear_error();
    int n = SSL_do_handshake(r->tls), why = n == 1 ? SSL_ERROR_NONE : SSL_get_error(r->tls, n);
    uint32_t events = why == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN;
    bool goes_on = why == SSL_ERROR_NONE || why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
    r->tls_open = why == SSL_ERROR_NONE;
    if (goes_on && loop_watch_change(r->server->loop, &r->watch, events) == OK)
        return false;
    http_count(r->server->stats.refused_tls, 1);
    tell_plain(r);
    http_request_drop(r);
    return false;
}

ssize_t http_tls_recv(struct http_request *r, char *at, size_t room)
{
    size_t n;
    ERR_clear_error();
    if (SSL_read_ex(r->tls, at, room, &n) == 1)
        return (ssize_t)n;
    int why = SSL_get_error(r->tls, 0);
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    r->tls_open = why == SSL_ERROR_WANT_READ; /* after an error nothing may be written, not even the end */
    errno = r->tls_open ? EAGAIN : EPROTO;
    return -1;
}

size_t http_tls_send(struct http_request *r, const char *bytes, size_t len)
{
    size_t n;
    ERR_clear_error();
    if (SSL_write_ex(r->tls, bytes, len, &n) == 1)
        return n;
    if (SSL_get_error(r->tls, 0) != SSL_ERROR_WANT_WRITE) {
        r->tls_open = false;
        http_answer_break(r);
    }
    return 0;
}

bool http_tls_pending(const struct http_request *r)
{
    return r->tls_open && SSL_pending(r->tls) > 0;
}

void http_tls_end(struct http_request *r)
{
    ERR_clear_error();
    if (r->tls_open)
        (void)SSL_shutdown(r->tls); /* close_notify; nobody waits for the client's */
    SSL_free(r->tls);
    r->tls = NULL;
    ERR_clear_error();
}
