/* SPDX-License-Identifier: Apache-2.0
 *
 * Randomness from a seed: xoshiro256** (Blackman and Vigna, 2018), for jitter and ids, never for secrets. One thread at
 * a time; each loop has its own. The simulator seeds them; `leat serve` seeds from getrandom(2).
 */
#ifndef LEAT_PRNG_H
#define LEAT_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_seed(struct prng *p, uint64_t seed);
/* Seeds from the operating system. */
void prng_seed_system(struct prng *p);
uint64_t prng_next(struct prng *p);
/* Uniform in [0, bound); bound > 0. */
uint64_t prng_below(struct prng *p, uint64_t bound);
/* A random UUID, version 4 (RFC 9562 section 5.4), 36 characters and the terminator. */
void prng_uuid(struct prng *p, char out[37]);

#endif
