/* SPDX-License-Identifier: Apache-2.0
 *
 * A lookup: what all shards' traces know of an event, gathered on the control loop. Each shard is asked by a letter and
 * copies its notes; what it costs, it costs the one who asks.
 */
#ifndef LEAT_BROKER_LOOKUP_H
#define LEAT_BROKER_LOOKUP_H

#include "engine.h"
#include "trace.h"

#define LOOKUP_NOTES_MAX 2000 /* of one shard, the newest: an event with more was sent in a circle, or asked to be */

struct lookup_note {
    struct trace_note note; /* with memory of its own */
    unsigned loop;          /* of the shard that knew it */
    size_t rank;            /* in the order of its shard */
    uint64_t memory[];      /* private: the event, the texts */
};

struct lookup {
    const struct lookup_note **notes; /* by time; of the same time, by loop and in the order of happening */
    size_t count;
    bool cut;         /* some shard knew more than LOOKUP_NOTES_MAX */
    int64_t since_ns; /* from then on every shard knows everything */
};

/* Control loop. done runs once there, never inside the call, and then the caller frees the lookup. */
typedef void lookup_done_fn(void *arg, struct lookup *l);
enum err lookup_start(struct engine *e, struct slice id, struct slice source, lookup_done_fn *done,
                      void *arg) must_check;
/* NULL is fine. */
void lookup_free(struct lookup *l);

#endif
