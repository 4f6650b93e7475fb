/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash with one round a word and three to finish. Words are little-endian, as the paper has them, on every machine.
 */
#include "siphash.h"

#include <endian.h>

struct state {
    uint64_t a, b, c, d;
};

static inline uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* By value, so that the state stays in registers: every event is hashed some times. */
static inline __attribute__((always_inline)) struct state mix(struct state s)
{
    s.a += s.b;
    s.c += s.d;
    s.b = rotl(s.b, 13) ^ s.a;
    s.d = rotl(s.d, 16) ^ s.c;
    s.a = rotl(s.a, 32);
    s.c += s.b;
    s.a += s.d;
    s.b = rotl(s.b, 17) ^ s.c;
    s.d = rotl(s.d, 21) ^ s.a;
    s.c = rotl(s.c, 32);
    return s;
}

static inline __attribute__((always_inline)) struct state absorb(struct state s, uint64_t word)
{
    s.d ^= word;
    s = mix(s);
    s.a ^= word;
    return s;
}

static uint64_t load(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

/* What is left behind the whole words: out of the last eight bytes where there are as many. */
static uint64_t rest(struct slice in, size_t whole)
{
    size_t left = in.len - whole;
    if (left == 0)
        return 0;
    if (in.len >= 8)
        return load(in.ptr + in.len - 8) >> (8 * (8 - left));
    uint64_t last = 0;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)(unsigned char)in.ptr[i] << (8 * i);
    return last;
}

uint64_t siphash13(const uint64_t key[2], struct slice in)
{
    /* The constants spell "somepseudorandomlygeneratedbytes". */
    struct state s = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                      key[1] ^ 0x7465646279746573u};
    size_t whole = in.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8)
        s = absorb(s, load(in.ptr + i));
    /* The last word has the length's low byte on top. */
    s = absorb(s, (uint64_t)in.len << 56 | rest(in, whole));
    s.c ^= 0xff;
    s = mix(mix(mix(s)));
    return s.a ^ s.b ^ s.c ^ s.d;
}
