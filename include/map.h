/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash map from keys of bytes to pointers: resource tables, routers. Keys are copied; values are the caller's (never
 * NULL). Hashed with SipHash-1-3 under a random key of each map, so strangers who choose keys cannot make them collide.
 * Walked in the order in which keys came in, whatever the hashes: the same input gives the same walk in every process.
 *
 * One thread at a time; but while nobody writes, any number may map_get and walk. A map must not be moved in memory.
 */
#ifndef LEAT_MAP_H
#define LEAT_MAP_H

#include "err.h"
#include "list.h"
#include "slice.h"

struct map_entry {
    struct slice key;       /* owned by the map, terminated for convenience; valid until the entry is removed */
    void *value;            /* may be replaced by the caller, not with NULL */
    struct list order;      /* private */
    struct map_entry *next; /* private */
    uint64_t hash;          /* private */
};

struct map {
    size_t count;               /* entries */
    size_t limit;               /* count never exceeds it */
    struct list order;          /* private */
    struct map_entry **buckets; /* private; NULL while empty */
    size_t bucket_count;        /* private; a power of two */
    uint64_t hash_key[2];       /* private */
};

/* An empty map; nothing is allocated. `limit`: entries. */
void map_init(struct map *m, size_t limit);
/* Frees the entries, not their values; the map is empty again and can be used on. */
void map_fini(struct map *m);

/* The value, or NULL. */
void *map_get(const struct map *m, struct slice key);
/* Adds a new key. ERR_EXISTS when it is there, ERR_FULL at the limit, ERR_NOMEM. */
enum err map_add(struct map *m, struct slice key, void *value) must_check;
/* Adds a key or replaces its value; *old (may be NULL) gets the value that was there, NULL for a new key. ERR_FULL,
 * ERR_NOMEM. */
enum err map_set(struct map *m, struct slice key, void *value, void **old) must_check;
/* Takes the key out and returns its value, or NULL when it was not there. `key` may be the entry's own. */
void *map_remove(struct map *m, struct slice key);

/* Private to map_each. */
static inline struct map_entry *map_entry_at(const struct map *m, struct list *l)
{
    return l == &m->order ? NULL : container_of(l, struct map_entry, order);
}

/* Walks the entries, oldest key first; the body may remove the entry in hand, no other, and must not add. */
#define map_each(e, tmp, m)                                                                                            \
    for (struct map_entry *e = map_entry_at((m), (m)->order.next), *tmp = e ? map_entry_at((m), e->order.next) : NULL; \
         e; e = tmp, tmp = e ? map_entry_at((m), e->order.next) : NULL)

#endif
