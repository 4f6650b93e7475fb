/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the Pub/Sub bus: as control knows them, what lies in their lanes, and what their home loop does for
 * them.
 */
#ifndef LEAT_CHANNELS_PUBSUB_SUBSCRIPTION_H
#define LEAT_CHANNELS_PUBSUB_SUBSCRIPTION_H

#include "pubsub_bus.h"

struct pub_entry { /* one delivery of the service */
    struct lane_entry entry;
    struct list out;      /* H: of its subscription's, while the service waits for us */
    int64_t published_ns; /* wall clock, the service's */
    uint64_t deadline_ns; /* H: when the lease runs out, at the earliest */
    uint64_t renewal;     /* H: the renewal that is under way for it; 0: none */
    bool settled;         /* H: it is in acks or acking */
    char ack_id[];
};

struct bus_subscription {
    struct abroad_subscription abroad;
    /* Control's. */
    struct bus_channel *channel;
    struct pub_bus *bus;
    struct pub_loop *home; /* constant */
    char *id;              /* owned; the service's: constant */
    bool ordered;          /* wanted so */
    bool sought;           /* it begins where it is to begin */
    bool ours;             /* it was made here, and is to begin elsewhere */
    struct bus_start from; /* where that is */
    struct pub_job job;

    struct lanes lanes;  /* with its lock, under which are: */
    bool made;           /* it is there */
    bool keeps_order;    /* and hands out the events of a key one after the other */
    bool known;          /* how many wait there was known once (abroad_count_is) */
    bool count;          /* control wants it known */
    uint64_t existed_ns; /* it was there before, when it was looked at first; 0: it was not */
    uint64_t count_ns;   /* when this was wanted last; 0: never */
    bool orphan, bare;   /* its topic was deleted; and nothing is left in it */
    uint64_t lease_s;    /* what the service says its ack deadline is */

    struct post *post; /* under the lock: to H, which frees it when it has let go; NULL then */

    /* H's own. */
    struct list turn;   /* of loop.waiting */
    struct list out;    /* entries for which the service waits, by arrival */
    struct list acks;   /* of these, what is to be acknowledged, by entry.link */
    struct list acking; /* and what the call under way acknowledges */
    struct list calls;  /* renewals and hand-backs under way */
    struct pubsub_call *pull, *ack;
    bool pulling, long_pull, acking_now, closing;
    bool rested;              /* nobody drained it since the last pull: it is pulled before those that take turns */
    unsigned asked, pull_max; /* messages of the pull under way; and at most, as answers may be only so large */
    unsigned empties;         /* short pulls in a row that found nothing */
    uint64_t numbers, again_ns, ack_again_ns;
    uint64_t empty_appended; /* what the channel had appended when a pull began to find nothing */
    bool empty_pending;      /* and whether more was under way */
    uint64_t wait_ns;        /* until a pull that failed is tried again */
    struct loop_timer tick, again, ack_again, linger, empty;
};

enum err pub_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                       struct filter *filter, const struct bus_param *params, size_t count,
                       struct bus_subscription **out, struct bus_op *op, struct diag *d);
void pub_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op);

static inline struct bus_subscription *pub_subscription_of(const struct abroad_subscription *a)
{
    return container_of(a, struct bus_subscription, abroad);
}

void pub_pull_init(struct bus_subscription *s); /* control, before H knows it */
void pub_pull_arrived(void *subscription);      /* H: the post's */
void pub_turn(struct loop_task *t);             /* L: who waits for a pull */
void pub_tend(struct bus_subscription *s);      /* H: looks whether all is as it should be */
/* Under the lock: so many are in the service and not here. */
void pub_count_is(struct bus_subscription *s, uint64_t events);

/* pubsub_lease.c: H's. */
void pub_lease_init(struct bus_subscription *s); /* control */
/* An entry has come: its lease begins. */
void pub_lease_begin(struct bus_subscription *s, struct pub_entry *e);
/* What streams settled is acknowledged or handed back. */
void pub_settled(struct bus_subscription *s);
/* All that it has, whoever has it, goes back; for its end. */
void pub_lease_return(struct bus_subscription *s);
/* Whether a call for something settled is under way or to be made. */
bool pub_lease_busy(const struct bus_subscription *s);
/* No call is answered any more, no timer runs. */
void pub_lease_end(struct bus_subscription *s);
void pub_lease_quit(struct bus_subscription *s); /* fini: what lies in it is freed */

#endif
