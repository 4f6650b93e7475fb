/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates and keys that come as PEM text. Pure; any thread.
 */
#include "pem.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

int pem_no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag, (void)arg;
    return -1;
}

/* The first certificate of the text, owned by the caller; *count: how many there are. NULL: none, or one is broken. */
static X509 *certificates(const char *pem, int *count)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *first = NULL, *x;
    *count = 0;
    ERR_clear_error();
    while (bio && *count < PEM_CERTIFICATES_MAX && (x = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL))) {
        if (!first)
            first = x;
        else
            X509_free(x);
        ++*count;
    }
    /* At the end OpenSSL finds no more start line; anything else is a certificate that cannot be read. */
    unsigned long e = ERR_peek_last_error();
    bool whole = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    if (!whole) {
        X509_free(first);
        return NULL;
    }
    return first;
}

int pem_certificates(const char *pem)
{
    int count;
    X509 *x = certificates(pem, &count);
    bool whole = x;
    X509_free(x);
    return whole ? count : 0;
}

static enum err no_certificate(const char *name, struct diag *d)
{
    return diag_set(d, ERR_INVALID, "%s is not a certificate in PEM form (-----BEGIN CERTIFICATE-----)", name);
}

enum err pem_check_certificate(const char *name, const char *pem, struct diag *d)
{
    return pem_certificates(pem) ? OK : no_certificate(name, d);
}

enum err pem_check_pair(const char *certificate_name, const char *certificate, const char *key_name, const char *key,
                        struct diag *d)
{
    int count;
    enum err e = OK;
    X509 *x = certificates(certificate, &count);
    if (!x)
        return no_certificate(certificate_name, d);
    BIO *bio = BIO_new_mem_buf(key, -1);
    EVP_PKEY *read = bio ? PEM_read_bio_PrivateKey(bio, NULL, pem_no_passphrase, NULL) : NULL;
    if (!read)
        e = diag_set(d, ERR_INVALID, "%s is not a private key in PEM form without a passphrase", key_name);
    else if (X509_check_private_key(x, read) != 1)
        e = diag_set(d, ERR_INVALID, "%s does not belong to %s", key_name, certificate_name);
    ERR_clear_error();
    EVP_PKEY_free(read);
    BIO_free(bio);
    X509_free(x);
    return e;
}
