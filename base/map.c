/* SPDX-License-Identifier: Apache-2.0
 *
 * Buckets of chained entries; each entry is one allocation with its key behind it, so pointers to entries and keys stay
 * valid while the table grows.
 *
 * Invariants: every entry is in the chain of bucket hash & (bucket_count - 1) and once in `order`; count <=
 * bucket_count where there are buckets. A failed growth is no failure of the map: chains become longer, and the next
 * new key tries again.
 */
#include "map.h"

#include <assert.h>
#include <stdlib.h>

#include "prng.h"
#include "siphash.h"

#define FIRST_BUCKETS 8

void map_init(struct map *m, size_t limit)
{
    *m = (struct map){.limit = limit};
    list_init(&m->order);
    struct prng p;
    prng_seed_system(&p);
    m->hash_key[0] = prng_next(&p);
    m->hash_key[1] = prng_next(&p);
}

void map_fini(struct map *m)
{
    map_each(e, tmp, m) free(e);
    free(m->buckets);
    m->buckets = NULL;
    m->bucket_count = 0;
    m->count = 0;
    list_init(&m->order);
}

static struct map_entry **bucket_of(const struct map *m, uint64_t hash)
{
    assert(m->bucket_count && (m->bucket_count & (m->bucket_count - 1)) == 0);
    return &m->buckets[hash & (m->bucket_count - 1)];
}

/* Where the pointer to the key's entry lies: in the bucket or in the entry before. NULL when there is none. */
static struct map_entry **find(const struct map *m, struct slice key, uint64_t hash)
{
    if (!m->count)
        return NULL;
    for (struct map_entry **at = bucket_of(m, hash); *at; at = &(*at)->next)
        if ((*at)->hash == hash && slice_eq((*at)->key, key))
            return at;
    return NULL;
}

void *map_get(const struct map *m, struct slice key)
{
    struct map_entry **at = m->count ? find(m, key, siphash13(m->hash_key, key)) : NULL;
    return at ? (*at)->value : NULL;
}

/* Doubles the buckets; false when there is no memory. */
static bool grow(struct map *m)
{
    size_t n = m->bucket_count ? m->bucket_count * 2 : FIRST_BUCKETS;
    struct map_entry **buckets = calloc(n, sizeof(struct map_entry *));
    if (!buckets)
        return false;
    free(m->buckets);
    m->buckets = buckets;
    m->bucket_count = n;
    map_each(e, tmp, m)
    {
        struct map_entry **b = bucket_of(m, e->hash);
        e->next = *b;
        *b = e;
    }
    return true;
}

static enum err add(struct map *m, struct slice key, uint64_t hash, void *value)
{
    assert(value);
    if (m->count >= m->limit)
        return ERR_FULL;
    if (m->count >= m->bucket_count && !grow(m) && !m->buckets)
        return ERR_NOMEM;
    struct map_entry *e = malloc(sizeof(*e) + key.len + 1);
    if (!e)
        return ERR_NOMEM;
    char *copy = (char *)(e + 1);
    if (key.len)
        memcpy(copy, key.ptr, key.len);
    copy[key.len] = '\0';
    struct map_entry **b = bucket_of(m, hash);
    *e = (struct map_entry){.key = slice_of(copy, key.len), .value = value, .next = *b, .hash = hash};
    *b = e;
    list_push_back(&m->order, &e->order);
    m->count++;
    return OK;
}

enum err map_add(struct map *m, struct slice key, void *value)
{
    uint64_t hash = siphash13(m->hash_key, key);
    if (find(m, key, hash))
        return ERR_EXISTS;
    return add(m, key, hash, value);
}

enum err map_set(struct map *m, struct slice key, void *value, void **old)
{
    assert(value);
    uint64_t hash = siphash13(m->hash_key, key);
    struct map_entry **at = find(m, key, hash);
    void *before = at ? (*at)->value : NULL;
    if (at) {
        (*at)->value = value;
    } else {
        enum err e = add(m, key, hash, value);
        if (e)
            return e;
    }
    if (old)
        *old = before;
    return OK;
}

void *map_remove(struct map *m, struct slice key)
{
    struct map_entry **at = find(m, key, siphash13(m->hash_key, key));
    if (!at)
        return NULL;
    struct map_entry *e = *at;
    void *value = e->value;
    *at = e->next;
    list_remove(&e->order);
    m->count--;
    free(e);
    return value;
}
