/* SPDX-License-Identifier: Apache-2.0
 *
 * Chains of links under a power of two of heads. It doubles when there are more links than heads, and never shrinks:
 * what was in hand once may be again.
 */
#include "buckets.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_FIRST 64

void buckets_init(struct buckets *b)
{
    *b = (struct buckets){.head_count = 1};
    b->heads = &b->one;
}

void buckets_fini(struct buckets *b)
{
    assert(b->count == 0);
    if (b->heads != &b->one)
        free(b->heads);
    buckets_init(b);
}

static struct bucket_link **head_of(const struct buckets *b, uint64_t hash)
{
    assert((b->head_count & (b->head_count - 1)) == 0);
    return &b->heads[hash & (b->head_count - 1)];
}

static void double_heads(struct buckets *b)
{
    struct buckets old = *b;
    size_t n = b->head_count == 1 ? BUCKETS_FIRST : 2 * b->head_count;
    struct bucket_link **heads = calloc(n, sizeof *heads);
    if (!heads)
        return;
    b->heads = heads;
    b->head_count = n;
    struct bucket_link **from = old.heads == &b->one ? &b->one : old.heads;
    for (size_t i = 0; i < old.head_count; i++) {
        for (struct bucket_link *l = from[i], *next; l; l = next) {
            next = l->next;
            struct bucket_link **at = head_of(b, l->hash);
            l->next = *at;
            *at = l;
        }
    }
    if (from != &b->one)
        free(from);
    b->one = NULL;
}

void buckets_add(struct buckets *b, struct bucket_link *l, uint64_t hash)
{
    if (b->count >= b->head_count)
        double_heads(b);
    struct bucket_link **at = head_of(b, hash);
    l->hash = hash;
    l->next = *at;
    *at = l;
    b->count++;
}

void buckets_remove(struct buckets *b, struct bucket_link *l)
{
    struct bucket_link **at = head_of(b, l->hash);
    while (*at != l) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = l->next;
    assert(b->count > 0);
    b->count--;
}

static struct bucket_link *seek(struct bucket_link *l, uint64_t hash)
{
    while (l && l->hash != hash)
        l = l->next;
    return l;
}

struct bucket_link *buckets_first(const struct buckets *b, uint64_t hash)
{
    return seek(*head_of(b, hash), hash);
}

struct bucket_link *buckets_next(const struct bucket_link *l)
{
    return seek(l->next, l->hash);
}
