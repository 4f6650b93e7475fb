/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash with one round a word and three to finish. Words are little-endian, as the paper has them, on every machine.
 */
#include "siphash.h"

#include <endian.h>

struct state {
    uint64_t a, b, c, d;
};

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static void mix(struct state *s)
{
    s->a += s->b;
    s->c += s->d;
    s->b = rotl(s->b, 13) ^ s->a;
    s->d = rotl(s->d, 16) ^ s->c;
    s->a = rotl(s->a, 32);
    s->c += s->b;
    s->a += s->d;
    s->b = rotl(s->b, 17) ^ s->c;
    s->d = rotl(s->d, 21) ^ s->a;
    s->c = rotl(s->c, 32);
}

static void absorb(struct state *s, uint64_t word)
{
    s->d ^= word;
    mix(s);
    s->a ^= word;
}

uint64_t siphash13(const uint64_t key[2], struct slice in)
{
    /* The constants spell "somepseudorandomlygeneratedbytes". */
    struct state s = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                      key[1] ^ 0x7465646279746573u};
    size_t whole = in.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, in.ptr + i, 8);
        absorb(&s, le64toh(word));
    }
    /* The last word: what is left, and the length's low byte on top. */
    uint64_t last = (uint64_t)in.len << 56;
    for (size_t i = whole; i < in.len; i++)
        last |= (uint64_t)(unsigned char)in.ptr[i] << (8 * (i - whole));
    absorb(&s, last);
    s.c ^= 0xff;
    mix(&s);
    mix(&s);
    mix(&s);
    return s.a ^ s.b ^ s.c ^ s.d;
}
