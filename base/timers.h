/* SPDX-License-Identifier: Apache-2.0
 *
 * The armed timers of one loop, earliest first; equal times in the order of insertion. An intrusive pairing heap:
 * insert O(1), first O(1), remove O(log n) amortised; nothing is allocated. The loop's thread only.
 */
#ifndef LEAT_BASE_TIMERS_H
#define LEAT_BASE_TIMERS_H

#include "loop.h"

struct timers {
    struct loop_timer *root; /* NULL: none armed */
    uint64_t sequence;       /* of the next insertion */
};

/* `t` must not be armed; it is afterwards. */
void timers_insert(struct timers *h, struct loop_timer *t, uint64_t due_ns);
/* `t` must be armed in this heap; it is not afterwards. */
void timers_remove(struct timers *h, struct loop_timer *t);

#endif
