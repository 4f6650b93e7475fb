/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens to resources, as core/v1 Events in the table, where `kubectl describe` and `kubectl get events` find
 * them. As in Kubernetes the same thing happening again is the same Event, with a count and the time of the last; they
 * go an hour after that. Here they are in memory only: a restart begins without any.
 *
 *     note ──→ record (object, reason, class) ──→ at most once a second each, HAPPENINGS_WRITTEN_MAX at a time ──→
 * table
 *
 * Notes may come at any rate: they are added up in the record. Control loop.
 */
#ifndef LEAT_BROKER_HAPPENINGS_H
#define LEAT_BROKER_HAPPENINGS_H

#include "loop.h"
#include "resource.h"

#define HAPPENINGS_MAX 2000 /* Events of ours: some 3 KiB each; then the oldest goes for a new one */
#define HAPPENINGS_STAY_NS                                                                                             \
    (60 * NS_PER_S) /* since its last time one goes for another: with more objects in trouble than there is room for,  \
                     * the Events of the first stay whole, where all would push each other out unseen */
#define HAPPENINGS_OTHERS_MAX 500            /* Events that clients have made, likewise */
#define HAPPENINGS_LIFE_NS (3600 * NS_PER_S) /* as in Kubernetes (--event-ttl) */
#define HAPPENINGS_WRITE_NS (1 * NS_PER_S)   /* between two writes of one Event, and between two lots of writes */
#define HAPPENINGS_WRITTEN_MAX                                                                                         \
    100                                     /* in one lot: some 5 ms of the control loop, and 100 records of the       \
                                             * journal, which is to last for a while */
#define HAPPENINGS_SWEEP_NS (60 * NS_PER_S) /* how late what is too old may go */
#define HAPPENINGS_MESSAGE_MAX 1024         /* bytes, as in Kubernetes */

struct happening {
    bool warning;        /* else Normal */
    const char *reason;  /* one word: "DeliveryFailed" */
    const char *kind;    /* what is told apart beside it: a sink's URL, a type of condition; NULL: nothing is */
    const char *message; /* for people; of several that are one Event, the last one is shown */
    uint64_t count;      /* how often it happened since the last note; 0 counts as 1 */
};

struct happenings;
/* Loop and table outlive it. From now on each condition of an object that turns False is noted, and its end. */
enum err happenings_new(struct loop *loop, struct resource_table *table, struct happenings **out) must_check;
/* NULL is fine. The Events stay in the table. */
void happenings_free(struct happenings *h);
/* It happened to this object. All is copied; the table is not changed inside the call, but soon after. Without memory
 * it is forgotten: the log tells of the same. */
void happenings_note(struct happenings *h, const struct resource *about, const struct happening *what);
/* The same, to the object of a key of the plan, or to a part of it, which the message then names; nothing where there
 * is no such object. */
void happenings_note_key(struct happenings *h, const char *key, const struct happening *what);
/* Objects in quarantine are noted: once, when all is loaded. */
void happenings_note_quarantine(struct happenings *h);
/* Before a client makes an Event: where there are HAPPENINGS_OTHERS_MAX, the oldest goes. */
void happenings_make_room(struct happenings *h);

#endif
