/* SPDX-License-Identifier: Apache-2.0
 *
 * Delivering events once more: into the running stream of one subscription, so that they go to it only and its rate,
 * order, retries and dead letter sink count; a few under way at a time, at a rate of one's own. Where the events come
 * from is the owner's business: parked ones (dlq_batch.c), or the channel's past (replay_read.c).
 *
 * All of it on the subscription's home loop.
 */
#ifndef LEAT_BROKER_INJECTOR_H
#define LEAT_BROKER_INJECTOR_H

#include "shard.h"
#include "task.h"

#define INJECTIONS_MAX 16                       /* under way at once: a service that was ill is not stormed */
#define INJECT_FULL_WAIT_NS (20 * NS_PER_MS)    /* until a stream that is full is asked again */
#define INJECT_CANCEL_POLL_NS (100 * NS_PER_MS) /* how soon one that waits for its rate sees that it is canceled */

struct injector {
    struct shard *home;
    const struct engine_subscription *subscription;
    struct task *task;                   /* its cancel is looked at */
    uint64_t interval_ns;                /* between the beginnings of two; 0: none */
    uint64_t due_ns;                     /* when the next may begin; may be carried over from one to the next */
    void (*advance)(struct injector *i); /* the owner goes on: begins more, or ends */
    unsigned under_way;                  /* the owner takes one off when an injection is done */
    bool no_stream;                      /* nothing drains the subscription: given up */
    struct loop_timer timer;             /* private */
};

/* The fields down to `advance` have been set. */
void injector_init(struct injector *i);
/* Whether the next may begin now; else `advance` is called when it may. */
bool injector_due(struct injector *i);
/* OK: under way, `injection`.done follows. ERR_FULL: not now, `advance` is called again. ERR_CLOSED: no_stream is set.
 * ERR_NOMEM. */
enum err injector_begin(struct injector *i, const struct ce_event *event,
                        struct dispatch_injection *injection) must_check;
/* Calls `advance` after a while, from the loop. */
void injector_later(struct injector *i, uint64_t wait_ns);
/* Before the end; nothing is under way. */
void injector_fini(struct injector *i);

/* Nothing further is to be begun. */
static inline bool injector_over(const struct injector *i)
{
    return i->no_stream || atomic_load_explicit(&i->task->cancel, memory_order_relaxed);
}

#endif
