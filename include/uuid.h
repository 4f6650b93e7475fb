/* SPDX-License-Identifier: Apache-2.0
 *
 * UUIDs (RFC 9562) as text: 36 characters and the terminator. Pure functions; any thread. Random ones: prng.h.
 */
#ifndef LEAT_UUID_H
#define LEAT_UUID_H

#include "err.h"
#include "slice.h"

#define UUID_TEXT_BYTES 37

/* Writes these 16 bytes with the version and the variant of RFC 9562 set over them (sections 4.1 and 4.2). */
void uuid_put(const unsigned char bytes[16], unsigned version, char out[UUID_TEXT_BYTES]);

/* The UUID of a name within a namespace, which is itself 16 bytes: version 8, by SHA-256 (section 5.8, appendix B.2).
 * The same for the same name, everywhere and for ever. ERR_NOMEM. */
enum err uuid_named(const unsigned char space[16], struct slice name, char out[UUID_TEXT_BYTES]) must_check;

#endif
