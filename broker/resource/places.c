/* SPDX-License-Identifier: Apache-2.0
 *
 * The side table of a tree: places by node, and members by (object, key), so that neither positions nor the search for
 * duplicate keys cost more than linear time. Open addressing, at most half full; all is forgotten at once.
 */
#include "tree.h"

#include <stdlib.h>

static size_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdull;
    h ^= h >> 33;
    return (size_t)h;
}

static size_t hash_key(const cJSON *parent, const char *key)
{
    uint64_t h = 0xcbf29ce484222325ull ^ (uint64_t)(uintptr_t)parent;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 0x100000001b3ull;
    return mix(h);
}

void places_init(struct places *p)
{
    memset(p, 0, sizeof *p);
}

void places_fini(struct places *p)
{
    free(p->entries);
    free(p->keys);
    places_init(p);
}

static struct place_entry *entry_slot(struct place_entry *entries, size_t cap, const cJSON *node)
{
    size_t i = mix((uint64_t)(uintptr_t)node) & (cap - 1);
    while (entries[i].node && entries[i].node != node)
        i = (i + 1) & (cap - 1);
    return &entries[i];
}

static bool entries_grow(struct places *p)
{
    size_t cap = p->entry_cap ? p->entry_cap * 2 : 256;
    struct place_entry *entries = calloc(cap, sizeof *entries);
    if (!entries)
        return false;
    for (size_t i = 0; i < p->entry_cap; i++)
        if (p->entries[i].node)
            *entry_slot(entries, cap, p->entries[i].node) = p->entries[i];
    free(p->entries);
    p->entries = entries;
    p->entry_cap = cap;
    return true;
}

bool places_put(struct places *p, const cJSON *node, struct place at, struct place key)
{
    if (p->entry_count * 2 >= p->entry_cap && !entries_grow(p))
        return false;
    struct place_entry *e = entry_slot(p->entries, p->entry_cap, node);
    if (!e->node)
        p->entry_count++;
    *e = (struct place_entry){node, at, key};
    return true;
}

static const struct place_entry *entry_find(const struct places *p, const cJSON *node)
{
    static const struct place_entry none;
    return p && p->entry_cap ? entry_slot(p->entries, p->entry_cap, node) : &none;
}

struct place places_of(const struct places *p, const cJSON *node)
{
    return entry_find(p, node)->at;
}

struct place places_key_of(const struct places *p, const cJSON *node)
{
    const struct place_entry *e = entry_find(p, node);
    return e->key.line ? e->key : e->at;
}

static struct place_key *key_slot(struct place_key *keys, size_t cap, const cJSON *parent, const char *key)
{
    size_t i = hash_key(parent, key) & (cap - 1);
    while (keys[i].parent && !(keys[i].parent == parent && strcmp(keys[i].child->string, key) == 0))
        i = (i + 1) & (cap - 1);
    return &keys[i];
}

const cJSON *places_key_find(const struct places *p, const cJSON *parent, const char *key)
{
    return p->key_cap ? key_slot(p->keys, p->key_cap, parent, key)->child : NULL;
}

static bool keys_grow(struct places *p)
{
    size_t cap = p->key_cap ? p->key_cap * 2 : 256;
    struct place_key *keys = calloc(cap, sizeof *keys);
    if (!keys)
        return false;
    for (size_t i = 0; i < p->key_cap; i++)
        if (p->keys[i].parent)
            *key_slot(keys, cap, p->keys[i].parent, p->keys[i].child->string) = p->keys[i];
    free(p->keys);
    p->keys = keys;
    p->key_cap = cap;
    return true;
}

bool places_key_add(struct places *p, const cJSON *parent, const cJSON *child)
{
    if (p->key_count * 2 >= p->key_cap && !keys_grow(p))
        return false;
    *key_slot(p->keys, p->key_cap, parent, child->string) = (struct place_key){parent, child};
    p->key_count++;
    return true;
}

/* Room for an ordinary document stays: a file may have thousands, and what they use again is in the cache. */
#define CAP_KEPT_MAX 1024

void places_keys_forget(struct places *p)
{
    if (p->key_cap > CAP_KEPT_MAX) {
        free(p->keys);
        p->keys = NULL;
        p->key_cap = 0;
    } else if (p->key_count) {
        memset(p->keys, 0, p->key_cap * sizeof *p->keys);
    }
    p->key_count = 0;
}

void places_forget(struct places *p)
{
    places_keys_forget(p);
    if (p->entry_cap > CAP_KEPT_MAX) {
        free(p->entries);
        p->entries = NULL;
        p->entry_cap = 0;
    } else if (p->entry_count) {
        memset(p->entries, 0, p->entry_cap * sizeof *p->entries);
    }
    p->entry_count = 0;
}
