/* SPDX-License-Identifier: Apache-2.0
 *
 * xoshiro256** (Blackman and Vigna, 2018), its state filled from one seed by splitmix64. One thread at a time.
 *
 * Invariant: the state is never all zero, for which the generator would stand still.
 */
#include "prng.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "uuid.h"

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void prng_seed(struct prng *p, uint64_t seed)
{
    /* splitmix64 gives each value once in its period, so four in a row are never all zero. */
    for (int i = 0; i < 4; i++)
        p->state[i] = splitmix64(&seed);
}

void prng_seed_system(struct prng *p)
{
    ssize_t n;
    do
        n = getrandom(p->state, sizeof(p->state), 0);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof(p->state) && (p->state[0] | p->state[1] | p->state[2] | p->state[3]))
        return;
    /* A kernel or a sandbox without getrandom: the time and the place are enough to keep two processes' ids apart. */
    struct timespec t = {0};
    clock_gettime(CLOCK_REALTIME, &t);
    prng_seed(p, ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) ^ (uint64_t)(uintptr_t)p);
}

uint64_t prng_next(struct prng *p)
{
    uint64_t *s = p->state;
    assert(s[0] | s[1] | s[2] | s[3]);
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *p, uint64_t bound)
{
    assert(bound > 0);
    /* 2^64 mod bound: values below it would make the small remainders likelier, so they are drawn again. */
    uint64_t biased = -bound % bound;
    uint64_t x;
    do
        x = prng_next(p);
    while (x < biased);
    return x % bound;
}

void prng_uuid(struct prng *p, char out[37])
{
    unsigned char byte[16];
    for (int half = 0; half < 2; half++) {
        uint64_t x = prng_next(p);
        for (int i = 0; i < 8; i++, x >>= 8)
            byte[half * 8 + i] = (unsigned char)x;
    }
    uuid_put(byte, 4, out);
}
