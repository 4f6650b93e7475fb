/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes under a link: TCP, and TLS over it.
 */
#include "rabbitmq_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum err rabbitmq_why_set(struct rabbitmq_why *why, enum err e, enum rabbitmq_cause cause, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof(why->text), format, args);
    va_end(args);
    for (char *c = why->text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) /* what a server said is one line here */
            *c = ' ';
    why->e = e;
    why->cause = cause;
    return e;
}

/* "Connection refused" in any locale. */
static enum err failed(struct rabbitmq_why *why, int error)
{
    const char *advice = error == ECONNREFUSED ? ": nothing listens there; check host and port" : "";
    return rabbitmq_why_set(why, ERR_UNAVAILABLE, RABBITMQ_DOWN, "does not answer: %s%s", strerrordesc_np(error),
                            advice);
}

/* Of a connection that was there. Who closes one with something unread in it resets it. */
static enum err gone(struct rabbitmq_why *why, int error)
{
    if (error == 0 || error == ECONNRESET || error == EPIPE)
        return rabbitmq_why_set(why, ERR_CLOSED, RABBITMQ_DOWN, "closed the connection");
    return rabbitmq_why_set(why, ERR_UNAVAILABLE, RABBITMQ_DOWN, "is gone: %s", strerrordesc_np(error));
}

/* ---- TCP ---- */

enum err rabbitmq_socket_connect(struct rabbitmq_socket *s, const struct addrinfo *a, struct rabbitmq_why *why)
{
    int one = 1, fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return failed(why, errno);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
        enum err e = failed(why, errno);
        close(fd);
        return e;
    }
    *s = (struct rabbitmq_socket){.fd = fd};
    return OK;
}

enum err rabbitmq_socket_connected(struct rabbitmq_socket *s, struct rabbitmq_why *why)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    return error ? failed(why, error) : OK;
}

void rabbitmq_socket_close(struct rabbitmq_socket *s)
{
    if (s->ssl) {
        SSL_shutdown(s->ssl); /* says good-bye if there is room, and waits for nothing */
        ERR_clear_error();
        SSL_free(s->ssl);
    }
    if (s->fd >= 0)
        close(s->fd);
    *s = (struct rabbitmq_socket){.fd = -1};
}

/* ---- TLS ---- */

static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

enum err rabbitmq_socket_secure(struct rabbitmq_socket *s, SSL_CTX *tls, const char *host, bool verify,
                                struct rabbitmq_why *why)
{
    ERR_clear_error();
    s->ssl = SSL_new(tls);
    bool good = s->ssl && SSL_set_fd(s->ssl, s->fd) == 1, address = is_address(host);
    if (good && !address)
        good = SSL_set_tlsext_host_name(s->ssl, host) == 1;
    if (good && verify)
        good = address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), host) == 1
                       : SSL_set1_host(s->ssl, host) == 1;
    ERR_clear_error();
    if (!good)
        return rabbitmq_why_set(why, ERR_NOMEM, RABBITMQ_DOWN, "is not reached: no memory for TLS");
    SSL_set_connect_state(s->ssl);
    return OK;
}

static enum err not_trusted(struct rabbitmq_why *why, long verdict)
{
    const char *said = X509_verify_cert_error_string(verdict);
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
        return rabbitmq_why_set(why, ERR_UNAVAILABLE, RABBITMQ_TLS,
                                "has a certificate for another name (%s); check the host, or set ssl.verify to false",
                                said);
    return rabbitmq_why_set(why, ERR_UNAVAILABLE, RABBITMQ_TLS,
                            "has a certificate that is not trusted: %s; check ssl.ca", said);
}

static const char *tls_advice(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return "; check the port, and whether it speaks TLS";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return "; it may ask for ssl.certificate and ssl.key";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return "; it does not take ssl.certificate";
    default:
        return "";
    }
}

/* Of a call of SSL_* that returned r <= 0. */
static enum err tls_err(struct rabbitmq_socket *s, int r, struct rabbitmq_why *why)
{
    int error = errno, kind = SSL_get_error(s->ssl, r);
    unsigned long e = ERR_peek_error();
    long verdict = SSL_get_verify_result(s->ssl);
    ERR_clear_error();
    s->wants_write = kind == SSL_ERROR_WANT_WRITE;
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        return ERR_PENDING;
    if (kind == SSL_ERROR_ZERO_RETURN || ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return gone(why, 0);
    if (kind == SSL_ERROR_SYSCALL)
        return gone(why, error);
    if (verdict != X509_V_OK)
        return not_trusted(why, verdict);
    const char *reason = ERR_reason_error_string(e);
    return rabbitmq_why_set(why, ERR_UNAVAILABLE, RABBITMQ_TLS, "and we do not agree on TLS: %s%s",
                            reason ? reason : "unknown error", tls_advice(ERR_GET_REASON(e)));
}

enum err rabbitmq_socket_handshake(struct rabbitmq_socket *s, struct rabbitmq_why *why)
{
    errno = 0;
    ERR_clear_error();
    int r = SSL_do_handshake(s->ssl);
    enum err e = r == 1 ? OK : tls_err(s, r, why);
    if (e == ERR_CLOSED)
        return rabbitmq_why_set(why, ERR_UNAVAILABLE, RABBITMQ_TLS,
                                "closed the connection during the TLS handshake; check the port, and whether it speaks "
                                "TLS");
    return e;
}

/* ---- bytes ---- */

enum err rabbitmq_socket_read(struct rabbitmq_socket *s, char *to, size_t size, size_t *n, struct rabbitmq_why *why)
{
    s->wants_write = false;
    if (s->ssl) {
        errno = 0;
        ERR_clear_error();
        int r = SSL_read(s->ssl, to, size > INT_MAX ? INT_MAX : (int)size);
        if (r <= 0)
            return tls_err(s, r, why);
        *n = (size_t)r;
        return OK;
    }
    ssize_t r;
    do
        r = recv(s->fd, to, size, 0);
    while (r < 0 && errno == EINTR);
    if (r > 0) {
        *n = (size_t)r;
        return OK;
    }
    if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return ERR_PENDING;
    return gone(why, r == 0 ? 0 : errno);
}

enum err rabbitmq_socket_write(struct rabbitmq_socket *s, const char *from, size_t size, size_t *n,
                               struct rabbitmq_why *why)
{
    s->wants_write = false;
    if (s->ssl) {
        errno = 0;
        ERR_clear_error();
        int r = SSL_write(s->ssl, from, size > INT_MAX ? INT_MAX : (int)size);
        if (r <= 0)
            return tls_err(s, r, why);
        *n = (size_t)r;
        return OK;
    }
    ssize_t r;
    do
        r = send(s->fd, from, size, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r >= 0) {
        *n = (size_t)r;
        return OK;
    }
    s->wants_write = errno == EAGAIN || errno == EWOULDBLOCK;
    return s->wants_write ? ERR_PENDING : gone(why, errno);
}
