/* SPDX-License-Identifier: Apache-2.0
 *
 * UUIDs of names. Apart from uuid.c, which the CloudEvents library has without a crypto library.
 */
#include "uuid.h"

#include <openssl/evp.h>

enum err uuid_named(const unsigned char space[16], struct slice name, char out[UUID_TEXT_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) && EVP_DigestUpdate(c, space, 16) &&
                EVP_DigestUpdate(c, name.ptr, name.len) && EVP_DigestFinal_ex(c, digest, NULL);
    EVP_MD_CTX_free(c);
    if (!good)
        return ERR_NOMEM;
    uuid_put(digest, 8, out);
    return OK;
}
