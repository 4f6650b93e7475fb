/* SPDX-License-Identifier: Apache-2.0
 *
 * What TLS needs, once for all links of a client: authorities, the client's certificate with its chain, its key.
 *
 * The context is made here rather than by the library, which reads certificates and keys from files only.
 */
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "pem.h"
#include "rabbitmq_private.h"

static BIO *reader(const char *pem)
{
    return BIO_new_mem_buf(pem, -1);
}

static bool authorities(SSL_CTX *tls, const char *pem)
{
    BIO *bio = reader(pem);
    X509_STORE *store = SSL_CTX_get_cert_store(tls);
    X509 *x;
    int count = 0;
    while (bio && count < PEM_CERTIFICATES_MAX && (x = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL))) {
        count += X509_STORE_add_cert(store, x) == 1;
        X509_free(x);
    }
    BIO_free(bio);
    return count > 0;
}

static bool certificate(SSL_CTX *tls, const char *pem)
{
    BIO *bio = reader(pem);
    X509 *x = bio ? PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL) : NULL;
    bool good = x && SSL_CTX_use_certificate(tls, x) == 1;
    X509_free(x);
    while (good && (x = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL)))
        if (SSL_CTX_add0_chain_cert(tls, x) != 1) {
            X509_free(x);
            good = false;
        }
    BIO_free(bio);
    return good;
}

static bool private_key(SSL_CTX *tls, const char *pem)
{
    BIO *bio = reader(pem);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, pem_no_passphrase, NULL) : NULL;
    bool good = key && SSL_CTX_use_PrivateKey(tls, key) == 1;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return good;
}

static bool fill(SSL_CTX *tls, const struct rabbitmq_settings *s)
{
    return SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 &&
           (s->ca ? authorities(tls, s->ca) : SSL_CTX_set_default_verify_paths(tls) == 1) &&
           (!s->certificate || certificate(tls, s->certificate)) && (!s->key || private_key(tls, s->key));
}

enum err rabbitmq_tls_new(const struct rabbitmq_settings *s, SSL_CTX **out, struct diag *d)
{
    ERR_clear_error();
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls)
        return ERR_NOMEM;
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    /* What is written lies in a buffer that moves; part of it may go out. */
    SSL_CTX_set_mode(tls,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    if (!fill(tls, s)) {
        char text[200];
        ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
        ERR_clear_error();
        SSL_CTX_free(tls);
        return diag_set(d, ERR_INVALID, "TLS takes not what ssl.ca, ssl.certificate or ssl.key hold: %s", text);
    }
    ERR_clear_error();
    *out = tls;
    return OK;
}

void rabbitmq_tls_free(SSL_CTX *tls)
{
    SSL_CTX_free(tls);
}
