/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes the n-th allocation fail, then the next n, until a run meets no fault: so every path after a failed allocation
 * is walked, not a lucky one.
 *
 *     for (unsigned n = 1;; n++) {
 *         fault_arm(n);
 *         enum err e = body();
 *         bool fired = fault_disarm();
 *         assert_true(e == OK || (fired && e == ERR_NOMEM));
 *         ... state is whole, what body made is freed ...
 *         if (!fired)
 *             break;
 *     }
 *
 * Leaks are the address sanitizer's to find. The test program links tests/lib/fault.c and passes the linker
 *     -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup
 * which turns the calls in our objects, and in no shared library, into those of fault.c. Without the flags the program
 * does not link. Counted are only allocations of the thread that armed. Assertions of cmocka allocate in their own
 * library and are not counted.
 */
#ifndef LEAT_TESTS_FAULT_H
#define LEAT_TESTS_FAULT_H

#include <stdbool.h>

/* The n-th allocation from now on (1: the next) fails, once. */
void fault_arm(unsigned n);
/* Ends it; whether the failure happened. */
bool fault_disarm(void);
/* Allocations counted since fault_arm, the failed one included. */
unsigned fault_count(void);

#endif
