/* SPDX-License-Identifier: Apache-2.0
 *
 * The wrapped allocator: counts, and fails one call. Its state is per thread, so that other threads of a test run
 * undisturbed.
 */
#include "fault.h"

#include <stddef.h>
#include <string.h>

/* The linker gives these their meaning (see the flags in fault.h). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

static __thread unsigned fail_at, count; /* fail_at 0: not armed */

void fault_arm(unsigned n)
{
    fail_at = n;
    count = 0;
}

bool fault_disarm(void)
{
    bool fired = fail_at && count >= fail_at;
    fail_at = 0;
    return fired;
}

unsigned fault_count(void)
{
    return count;
}

static bool fails(void)
{
    return fail_at && ++count == fail_at;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *copy = __wrap_malloc(len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *__wrap_strdup(const char *s)
{
    return __wrap_strndup(s, strlen(s));
}
