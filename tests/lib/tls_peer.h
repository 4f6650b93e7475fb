/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS for the servers of http_peer.h: a certificate made on the spot, and libssl looked up at run time, since the
 * program itself never serves TLS with it and does not link it.
 */
#ifndef LEAT_TESTS_TLS_PEER_H
#define LEAT_TESTS_TLS_PEER_H

#include <dlfcn.h>
#include <openssl/ssl.h>

#include "http_peer.h"

/* The functions of libssl that are used here. */
#define TLS_FUNCTIONS(X)                                                                                               \
    X(TLS_server_method)                                                                                               \
    X(SSL_CTX_new)                                                                                                     \
    X(SSL_CTX_free)                                                                                                    \
    X(SSL_CTX_use_certificate_file)                                                                                    \
    X(SSL_CTX_use_PrivateKey_file) X(SSL_CTX_set_alpn_select_cb) X(SSL_new) X(SSL_free) X(SSL_set_fd) X(SSL_accept)    \
        X(SSL_read) X(SSL_write) X(SSL_shutdown) X(SSL_get0_alpn_selected)

static struct {
#define X(name) __typeof__(name) *name;
    TLS_FUNCTIONS(X)
#undef X
    SSL_CTX *context;
    char certificate[64], key[64]; /* files */
} tls;

/* Offers h2 first, as many servers do; `arg` is told what the client proposed. */
static inline int tls_select(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                             unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    const unsigned char *last = NULL;
    for (unsigned i = 0; i < in_len; i += in[i] + 1u) {
        if (in[i] == 2 && memcmp(in + i + 1, "h2", 2) == 0) {
            *out = in + i + 1;
            *out_len = 2;
            return SSL_TLSEXT_ERR_OK;
        }
        last = in + i;
    }
    if (!last)
        return SSL_TLSEXT_ERR_NOACK;
    *out = last + 1;
    *out_len = last[0];
    return SSL_TLSEXT_ERR_OK;
}

static inline void tls_init(void)
{
    void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        abort();
#define X(name)                                                                                                        \
    if (!(*(void **)(void *)&tls.name = dlsym(library, #name)))                                                        \
        abort();
    TLS_FUNCTIONS(X)
#undef X
    char command[400];
    snprintf(tls.certificate, sizeof(tls.certificate), "/tmp/leat-test-%d.crt", (int)getpid());
    snprintf(tls.key, sizeof(tls.key), "/tmp/leat-test-%d.key", (int)getpid());
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s -out %s -days 2 -subj "
             "/CN=leat-test "
             "-addext subjectAltName=IP:127.0.0.1 2>/dev/null",
             tls.key, tls.certificate);
    if (system(command) != 0)
        abort();
    tls.context = tls.SSL_CTX_new(tls.TLS_server_method());
    if (!tls.context || tls.SSL_CTX_use_certificate_file(tls.context, tls.certificate, SSL_FILETYPE_PEM) != 1 ||
        tls.SSL_CTX_use_PrivateKey_file(tls.context, tls.key, SSL_FILETYPE_PEM) != 1)
        abort();
    tls.SSL_CTX_set_alpn_select_cb(tls.context, tls_select, NULL);
}

static inline void tls_fini(void)
{
    tls.SSL_CTX_free(tls.context);
    unlink(tls.certificate);
    unlink(tls.key);
}

/* NULL: no connection, or no handshake. Close with tls_close. */
static inline SSL *tls_accept(struct peer *p, int *fd)
{
    *fd = peer_accept(p);
    if (*fd < 0)
        return NULL;
    SSL *ssl = tls.SSL_new(tls.context);
    if (ssl && tls.SSL_set_fd(ssl, *fd) == 1 && tls.SSL_accept(ssl) == 1)
        return ssl;
    tls.SSL_free(ssl);
    close(*fd);
    return NULL;
}

static inline void tls_close(SSL *ssl, int fd)
{
    tls.SSL_shutdown(ssl);
    tls.SSL_free(ssl);
    close(fd);
}

/* One request with its body; false at the end. What does not fit is dropped. */
static inline bool tls_read(struct peer *p, SSL *ssl)
{
    size_t len = 0, got = 0, want = SIZE_MAX;
    while (got < want) {
        char bytes[16384];
        int n = tls.SSL_read(ssl, bytes, sizeof(bytes));
        if (n <= 0)
            return false;
        size_t room = sizeof(p->reading) - 1 - len, keep = (size_t)n < room ? (size_t)n : room;
        memcpy(p->reading + len, bytes, keep);
        len += keep;
        got += (size_t)n;
        p->reading[len] = '\0';
        char *end = strstr(p->reading, "\r\n\r\n");
        if (end && want == SIZE_MAX)
            want = (size_t)(end - p->reading) + 4 + peer_content_length(p->reading);
    }
    memcpy(p->last, p->reading, len + 1);
    atomic_fetch_add(&p->requests, 1);
    return true;
}

#endif
