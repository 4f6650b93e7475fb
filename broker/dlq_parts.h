/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to dlq*.c: a session with its two sides.
 */
#ifndef LEAT_BROKER_DLQ_PARTS_H
#define LEAT_BROKER_DLQ_PARTS_H

#include "dlq.h"
#include "engine_parts.h"

#define DLQ_CREDIT                                                                                                     \
    32 /* given at once: the most, and half of it more, by which the bound of bytes can be overrun, in events */

/* One parked event in hand. */
struct dlq_entry {
    uint64_t number, tried_by;
    struct bus_token token;
    const struct ce_event *event; /* the bus's, until settled or revoked */
    int64_t parked_ns;
    size_t bytes;
    bool revoked; /* while it was under way: nothing is left to settle */
    struct dlq_session *session;
    struct dlq_batch *batch; /* NULL: nobody is at it */
    struct dispatch_injection injection;
};

struct dlq_session {
    /* Control loop's side. */
    struct list link;
    struct dlq *dlq;
    struct engine_subscription *subscription;
    unsigned users;
    bool resting; /* the home loop has been told to hand everything back */
    bool used;    /* it was given an errand since */
    struct loop_timer idle;
    struct letter rest; /* there and back */

    /* The home loop's side. */
    struct shard *home;
    struct bus *bus;
    struct bus_stream *stream; /* NULL: not attached */
    bool detaching;
    bool starved;       /* no memory for an entry; until the next snapshot */
    struct map entries; /* number → struct dlq_entry, in the order of their coming */
    uint64_t last_number;
    size_t bytes;
    uint64_t acknowledged; /* so far */
    unsigned credit;       /* given and not yet used */
    struct list waiting;   /* snapshots that wait for events */
    struct list deferred;  /* errands that wait for the end of a detach */
    struct loop_timer quiet;
    struct bus_op detach;
};

/* On the home loop (dlq_table.c). */
void dlq_table_init(struct dlq_session *s);
void dlq_errand_arrived(struct letter *m);
void dlq_rest_arrived(struct letter *m);
void dlq_errand_answer(struct dlq_errand *e); /* posts it back to the control loop */
void dlq_snapshot_arrived(struct dlq_errand *e);
struct dlq_entry *dlq_entry_find(struct dlq_session *s, uint64_t number);
void dlq_entry_acknowledge(struct dlq_entry *e); /* and frees it */
/* dlq_batch.c */
void dlq_batch_arrived(struct dlq_errand *e);

/* Oldest parked first (dlq_collect.c). */
void dlq_items_sort(struct dlq_item *items, size_t count);

/* Control loop (dlq.c). */
void dlq_rested(struct letter *m);

#endif
