/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of flights: a free list through the entries that are not used; it doubles, and never shrinks.
 */
#include "flights.h"

#include <assert.h>
#include <stdlib.h>

#define NO_FLIGHT UINT32_MAX
#define FIRST 4 /* room of one that began empty */

static enum err grow(struct flights *f, uint32_t count)
{
    assert(count > f->count);
    struct flight *at = realloc(f->at, count * sizeof *at);
    if (!at)
        return ERR_NOMEM;
    for (uint32_t i = f->count; i < count; i++)
        at[i] = (struct flight){.next_free = i + 1 < count ? i + 1 : f->first_free};
    f->first_free = f->count;
    f->at = at;
    f->count = count;
    return OK;
}

void flights_init_empty(struct flights *f)
{
    *f = (struct flights){.first_free = NO_FLIGHT};
}

enum err flights_init(struct flights *f, uint32_t count)
{
    flights_init_empty(f);
    return grow(f, count);
}

void flights_fini(struct flights *f)
{
    free(f->at);
}

bool flights_full(const struct flights *f)
{
    return f->first_free == NO_FLIGHT;
}

enum err flights_room(struct flights *f)
{
    return flights_full(f) ? grow(f, f->count ? f->count * 2 : FIRST) : OK;
}

struct bus_token flights_begin(struct flights *f, void *entry, void *of)
{
    uint32_t index = f->first_free;
    struct flight *one = &f->at[index];
    assert(index < f->count && entry && !one->entry);
    f->first_free = one->next_free;
    one->entry = entry;
    one->of = of;
    one->generation++;
    return (struct bus_token){.a = index, .b = one->generation};
}

struct bus_token flights_token(const struct flights *f, uint32_t index)
{
    assert(index < f->count && f->at[index].entry);
    return (struct bus_token){.a = index, .b = f->at[index].generation};
}

struct flight flights_end(struct flights *f, struct bus_token token)
{
    assert(token.a < f->count);
    struct flight *one = &f->at[token.a], was = *one;
    assert(was.entry && was.generation == token.b); /* else: settled before, or never delivered */
    one->entry = NULL;
    one->next_free = f->first_free;
    f->first_free = (uint32_t)token.a;
    return was;
}

void flights_sort(struct flights *f, int (*by)(const void *a, const void *b))
{
    if (f->count)
        qsort(f->at, f->count, sizeof *f->at, by);
}
