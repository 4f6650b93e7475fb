/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash table of links that lie in the elements, so that adding one allocates nothing and cannot fail. It grows with
 * what is in it; without memory for that its chains become longer, which is slower and as right. One thread at a time.
 */
#ifndef LEAT_DISPATCHER_BUCKETS_H
#define LEAT_DISPATCHER_BUCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bucket_link {
    struct bucket_link *next;
    uint64_t hash;
};

struct buckets {
    struct bucket_link **heads; /* owned; &one without memory */
    size_t head_count;          /* a power of two */
    size_t count;               /* links in it */
    struct bucket_link *one;
};

/* Empty; nothing is allocated. Must not be moved in memory. */
void buckets_init(struct buckets *b);
/* Must be empty. */
void buckets_fini(struct buckets *b);
void buckets_add(struct buckets *b, struct bucket_link *l, uint64_t hash);
/* It is in there. */
void buckets_remove(struct buckets *b, struct bucket_link *l);
/* Those of one hash, in no particular order; NULL ends. */
struct bucket_link *buckets_first(const struct buckets *b, uint64_t hash);
struct bucket_link *buckets_next(const struct bucket_link *l);

#endif
