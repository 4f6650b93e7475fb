/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays that grow (array.h).
 */
#include "array.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 4

bool array_reserve(void *items, size_t *room, size_t need, size_t size)
{
    assert(size > 0 && need < SIZE_MAX / 4 / size);
    if (need <= *room)
        return true;
    size_t more = *room ? *room * 2 : ROOM_FIRST;
    while (more < need)
        more *= 2;
    void *at; /* the owner's pointer, of whatever type */
    memcpy(&at, items, sizeof at);
    at = realloc(at, more * size);
    if (!at)
        return false;
    memcpy(items, &at, sizeof at);
    *room = more;
    return true;
}

void array_fit(void *items, size_t *room, size_t count, size_t size)
{
    void *at;
    if (count == *room || count == 0)
        return;
    memcpy(&at, items, sizeof at);
    at = realloc(at, count * size);
    if (!at)
        return;
    memcpy(items, &at, sizeof at);
    *room = count;
}
