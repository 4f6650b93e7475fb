/* SPDX-License-Identifier: Apache-2.0
 *
 * Where other threads leave letters for a loop: a queue with a bound, and an eventfd to wake the loop.
 * mailbox_post and mailbox_wake: any thread. mailbox_take: the loop's thread. init and fini: while nobody else knows
 * the mailbox.
 */
#ifndef LEAT_BASE_MAILBOX_H
#define LEAT_BASE_MAILBOX_H

#include <pthread.h>

#include "err.h"
#include "loop.h"

struct mailbox {
    pthread_mutex_t lock;
    struct letter *first, **end; /* under the lock; end: where the next letter's address goes */
    unsigned bounded;            /* under the lock: letters in the list that count towards the limit */
    unsigned limit;
    int fd; /* an eventfd that is written and never read: watch it edge-triggered */
};

enum err mailbox_init(struct mailbox *m, unsigned limit) must_check;
/* The mailbox must be empty. */
void mailbox_fini(struct mailbox *m);
/* Queues a letter, in order. A reserved one is never refused and takes nobody's place; else ERR_FULL at the limit. */
enum err mailbox_post(struct mailbox *m, struct letter *l, bool reserved) must_check;
/* Takes all letters at once: the first, NULL when there is none; the last one's next is NULL. */
struct letter *mailbox_take(struct mailbox *m);
/* Makes the eventfd report, without a letter. */
void mailbox_wake(struct mailbox *m);

#endif
