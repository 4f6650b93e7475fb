/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays that grow by doubling. The owner keeps pointer, count and room, and frees the pointer. Pure.
 */
#ifndef LEAT_ARRAY_H
#define LEAT_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

/* Makes room for `need` items of `size` bytes. `items` is the address of the owner's pointer, which moves; what is in
 * the array stays. False: no memory, and nothing has changed. */
bool array_reserve(void *items, size_t *room, size_t need, size_t size) __attribute__((warn_unused_result));

/* Gives back the room beyond `count`, of an array that grows no more: it moves. Without memory to do that it stays. */
void array_fit(void *items, size_t *room, size_t count, size_t size);

#endif
