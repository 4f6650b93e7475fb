/* SPDX-License-Identifier: Apache-2.0
 *
 * An arena: a chain of blocks, handed out from the newest: what has members from its front, texts, which need no
 * alignment, from its end.
 */
#include "arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE 8192u /* a small plan fits one; a plan of a thousand subscriptions takes some tens */

struct block {
    struct block *next;
    size_t used, end, size; /* free is what lies between used and end */
    alignas(max_align_t) char bytes[];
};

struct arena {
    struct block *blocks;
};

struct arena *arena_new(void)
{
    return calloc(1, sizeof(struct arena));
}

void arena_free(struct arena *a)
{
    for (struct block *b = a ? a->blocks : NULL, *next; b; b = next) {
        next = b->next;
        explicit_bzero(b->bytes, b->size);
        free(b);
    }
    free(a);
}

/* A block with so much free. */
static struct block *room(struct arena *a, size_t size)
{
    struct block *b = a->blocks;
    if (b && b->end - b->used >= size)
        return b;
    size_t wanted = size > BLOCK_SIZE ? size : BLOCK_SIZE;
    b = calloc(1, sizeof *b + wanted);
    if (!b)
        return NULL;
    b->size = b->end = wanted;
    b->next = a->blocks;
    a->blocks = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t rounded = (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    struct block *b = room(a, rounded);
    if (!b)
        return NULL;
    void *p = b->bytes + b->used;
    b->used += rounded;
    return p;
}

static char *text_alloc(struct arena *a, size_t size)
{
    struct block *b = room(a, size);
    if (!b)
        return NULL;
    b->end -= size;
    return b->bytes + b->end;
}

char *arena_copy(struct arena *a, const char *s, size_t len)
{
    char *p = text_alloc(a, len + 1);
    if (p && len)
        memcpy(p, s, len);
    return p;
}

char *arena_vprintf(struct arena *a, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *p = n < 0 ? NULL : text_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, format, args);
    return p;
}
