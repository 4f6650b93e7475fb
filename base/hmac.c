/* SPDX-License-Identifier: Apache-2.0
 *
 * HMAC-SHA256 over OpenSSL's EVP_MAC. The digest is bound to the context once; a new key only re-initialises it, since
 * looking algorithms up by name costs more than the code of a small body.
 */
#include "hmac.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

struct hmac {
    EVP_MAC_CTX *context; /* owned */
    bool begun;           /* hmac_init succeeded and hmac_final has not come yet */
};

enum err hmac_new(struct hmac **out)
{
    struct hmac *h = calloc(1, sizeof(*h));
    if (!h)
        return ERR_NOMEM;
    EVP_MAC *mac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL);
    if (!mac) {
        free(h);
        return ERR_UNSUPPORTED;
    }
    h->context = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac); /* the context holds its own reference */
    if (!h->context) {
        free(h);
        return ERR_NOMEM;
    }
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    if (!EVP_MAC_CTX_set_params(h->context, params)) {
        hmac_free(h);
        return ERR_UNSUPPORTED;
    }
    *out = h;
    return OK;
}

void hmac_free(struct hmac *h)
{
    if (!h)
        return;
    EVP_MAC_CTX_free(h->context);
    free(h);
}

/* A stranger's body cannot make these calls fail; what is left is memory. */
static enum err result(int ok)
{
    return ok ? OK : ERR_NOMEM;
}

enum err hmac_init(struct hmac *h, struct slice key)
{
    /* A NULL key would mean "the key of before", so an empty one needs an address. */
    const char *bytes = key.len ? key.ptr : "";
    enum err e = result(EVP_MAC_init(h->context, (const unsigned char *)bytes, key.len, NULL));
    h->begun = e == OK;
    return e;
}

enum err hmac_update(struct hmac *h, struct slice bytes)
{
    assert(h->begun);
    if (!bytes.len)
        return OK;
    return result(EVP_MAC_update(h->context, (const unsigned char *)bytes.ptr, bytes.len));
}

enum err hmac_final(struct hmac *h, unsigned char out[HMAC_SHA256_BYTES])
{
    assert(h->begun);
    size_t n = 0;
    h->begun = false;
    enum err e = result(EVP_MAC_final(h->context, out, &n, HMAC_SHA256_BYTES));
    assert(e != OK || n == HMAC_SHA256_BYTES);
    return e;
}

bool hmac_equal(const unsigned char a[HMAC_SHA256_BYTES], const unsigned char b[HMAC_SHA256_BYTES])
{
    return CRYPTO_memcmp(a, b, HMAC_SHA256_BYTES) == 0;
}
