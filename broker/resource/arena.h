/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that is freed all at once: what a plan consists of.
 */
#ifndef LEAT_BROKER_RESOURCE_ARENA_H
#define LEAT_BROKER_RESOURCE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena;
/* NULL: no memory. */
struct arena *arena_new(void);
/* Secrets may have lain in it: it is overwritten before it is freed. NULL is fine. */
void arena_free(struct arena *a);
/* Zeroed and aligned for anything; NULL: no memory. */
void *arena_alloc(struct arena *a, size_t size);
/* Texts: NUL-terminated, at any address. NULL: no memory. */
char *arena_copy(struct arena *a, const char *s, size_t len);
char *arena_vprintf(struct arena *a, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

#endif
