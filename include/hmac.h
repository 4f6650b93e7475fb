/* SPDX-License-Identifier: Apache-2.0
 *
 * HMAC-SHA256 (RFC 2104, FIPS 180-4) in pieces, for signed webhooks. The context is kept: a new key costs no allocation
 * of ours. One thread at a time.
 */
#ifndef LEAT_HMAC_H
#define LEAT_HMAC_H

#include "err.h"
#include "slice.h"

#define HMAC_SHA256_BYTES 32

struct hmac;

/* ERR_NOMEM, or ERR_UNSUPPORTED where the crypto library has no HMAC-SHA256. */
enum err hmac_new(struct hmac **out) must_check;
/* NULL is fine. The key is wiped. */
void hmac_free(struct hmac *h);

/* Begins a message under this key (borrowed for the call; may be empty), whatever the context did before. */
enum err hmac_init(struct hmac *h, struct slice key) must_check;
enum err hmac_update(struct hmac *h, struct slice bytes) must_check;
/* The code of everything since hmac_init; then hmac_init must come first again. */
enum err hmac_final(struct hmac *h, unsigned char out[HMAC_SHA256_BYTES]) must_check;

/* Compares two codes in a time that does not tell where they differ. */
bool hmac_equal(const unsigned char a[HMAC_SHA256_BYTES], const unsigned char b[HMAC_SHA256_BYTES]);

#endif
