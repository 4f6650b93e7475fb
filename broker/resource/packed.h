/* SPDX-License-Identifier: Apache-2.0
 *
 * A tree in few bytes. A node of cJSON takes 64 bytes and up to three allocations, so that a status of seven lines of
 * text has 5 KiB; there are as many of them as objects, and each is looked at once in a while.
 */
#ifndef LEAT_BROKER_RESOURCE_PACKED_H
#define LEAT_BROKER_RESOURCE_PACKED_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

struct packed; /* one allocation, immutable; free() */

/* A copy of a tree; its own name is not part of it. NULL: no memory. */
struct packed *packed_new(const cJSON *tree);
/* The tree, which is the caller's. NULL: no memory. */
cJSON *packed_tree(const struct packed *p);
/* Whether both are of the same tree, member for member in the same order; NULL is none. */
bool packed_same(const struct packed *a, const struct packed *b);
/* Bytes that it takes. */
size_t packed_size(const struct packed *p);

/* A copy of a tree to be read as it is, in one allocation: 64 bytes a node and its texts, those of the list in packed.c
 * without. free(); cJSON_Delete must not see it, and a copy of it is an ordinary tree. Nothing may be changed in it but
 * the value of a member "resourceVersion", which has room for FLAT_VERSION_BYTES. NULL: no memory. */
#define FLAT_VERSION_BYTES sizeof "18446744073709551615"
cJSON *flat_new(const cJSON *tree);

#endif
