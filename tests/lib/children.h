/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs cmocka tests each in a process of its own, many at a time: for tests that mostly wait (a consumer group takes
 * seconds to form), and for what must not outlive a test. A test that hangs or dies is a failed one.
 */
#ifndef LEAT_TESTS_CHILDREN_H
#define LEAT_TESTS_CHILDREN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define CHILDREN_SECONDS_MAX 120 /* of one test */

struct children {
    struct CMUnitTest *tests;
    size_t count;
    unsigned most; /* at a time */
    /* In the child, before the test's setup and after its teardown. May be NULL. */
    void (*before)(const struct CMUnitTest *test);
    void (*after)(const struct CMUnitTest *test);
};

/* Adds a group's tests. */
void children_add(struct children *c, const struct CMUnitTest *tests, size_t count);
/* Runs those whose name holds `word` (NULL: all), the last first, since what takes longest mostly stands at the end.
 * Prints what failed, and a summary as cmocka does; with a word everything. How many failed. No thread may run. */
int children_run(struct children *c, const char *name, const char *word);

#endif
