/* SPDX-License-Identifier: Apache-2.0
 *
 * A letter that outlives its owner: other threads send it to tell a loop that there is something to do, as often as
 * they like; it lies in the mailbox at most once. An owner may go while it lies there, since the post is memory of its
 * own.
 */
#ifndef LEAT_CHANNELS_POST_H
#define LEAT_CHANNELS_POST_H

#include <stdatomic.h>

#include "loop.h"

struct post {
    struct letter letter;
    void (*run)(void *owner); /* on the loop */
    void *owner;              /* NULL: gone */
    struct loop *loop;        /* borrowed */
    atomic_bool posted;
};

/* ERR_NOMEM leaves nothing behind. */
enum err post_new(struct loop *loop, void (*run)(void *owner), void *owner, struct post **out) must_check;
/* Any thread. What the sender wrote before is seen by `run`, which runs once or more often after it. */
void post_send(struct post *p);
/* While its loop does not run, or on it, and nobody sends; NULL is fine. */
void post_free(struct post *p);

#endif
