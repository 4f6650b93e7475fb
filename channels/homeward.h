/* SPDX-License-Identifier: Apache-2.0
 *
 * Appends on their way home. They end one by one on a thread of the backend's, which hands those of one moment over
 * together; the loop that appended tells of them. One for each loop.
 *
 *     homeward_ended, ... (the backend's thread) ──→ homeward_hand_over ──→ homeward_tell (the loop)
 */
#ifndef LEAT_CHANNELS_HOMEWARD_H
#define LEAT_CHANNELS_HOMEWARD_H

#include <pthread.h>

#include "bus.h"
#include "post.h"

struct homeward {
    pthread_mutex_t lock;
    struct letter *done, **done_end;   /* under it: for the loop to tell */
    struct letter *fresh, **fresh_end; /* the backend's thread alone: those of this moment */
};

void homeward_init(struct homeward *h);
/* When neither runs any more. What is still there is let go; nobody is told. */
void homeward_fini(struct homeward *h);
/* The backend's thread: it ended like this. */
void homeward_ended(struct homeward *h, struct bus_append *a, enum err result);
/* The same thread: what ended since the last call is the loop's; `post` wakes it when there is something. */
void homeward_hand_over(struct homeward *h, struct post *post);
/* The loop: lets each event go, calls each `done`, and then `count_out` with the append's channel and charge: the
 * append itself may be gone by then. */
void homeward_tell(struct homeward *h, void (*count_out)(struct bus_channel *c, uint64_t charge));

#endif
