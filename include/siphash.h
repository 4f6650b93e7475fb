/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash-1-3 (Aumasson and Bernstein, 2012; fewer rounds): a hash of 64 bits under a key of 128. Who does not know the
 * key cannot choose inputs that collide. With a fixed key it is a stable hash, the same in every process and on every
 * machine. Pure; any thread.
 */
#ifndef LEAT_SIPHASH_H
#define LEAT_SIPHASH_H

#include <stdint.h>

#include "slice.h"

uint64_t siphash13(const uint64_t key[2], struct slice s);

#endif
