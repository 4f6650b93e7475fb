/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pub/Sub bus: channels are topics, subscriptions are subscriptions. What its files share.
 *
 *     append  ──→ outlet of the channel on that loop ──→ publish, in batches
 *     done    ←── the message ids
 *     deliver ←── lanes of the subscription (../lanes.h) ←── pull, on the subscription's home loop
 *     settle  ──→ settled ──→ home loop ──→ acknowledge; a release long after: modifyAckDeadline 0
 *     topics and subscriptions made, looked at, removed: calls on the control loop
 *
 * The bus has no thread of its own: each data loop has a client (include/pubsub.h), and so has control.
 *
 * Invariants.
 * P1. done(OK) follows the service's message id, and only if no topic or subscription of the channel was seen missing
 *     between the publish and its answer (`epoch`): a topic that was made anew has none of its subscriptions yet.
 * P2. Events of one key that are appended on one loop go out in one batch or in batches one after the other: a key has
 *     one line of its outlet, and a line has one publish under way.
 * P3. Every entry that is not settled has a lease: it is renewed while the entry is there, whoever has it, and when it
 *     ran out by our clock, which began before the service's, the entry is lost: its token is revoked, what waits
 * behind it in its lane goes back, and the service hands all of that out again. P4. A subscription is pulled only while
 * it has a stream with credit (or is counted), and has not more unsettled entries than its streams may have at once.
 * P5. What a subscription holds goes back before it is let go: by unsubscribe, by stop, and when it had no stream for a
 *     while. Only a process that is killed lets the service wait for the ack deadline.
 *
 * Threads: C(ontrol), L (any data loop), H (the home loop of the subscription).
 */
#ifndef LEAT_CHANNELS_PUBSUB_BUS_H
#define LEAT_CHANNELS_PUBSUB_BUS_H

#include <pthread.h>
#include <stdatomic.h>

#include "../abroad.h"
#include "buf.h"
#include "pubsub_settings.h"

#define PUB_LINES 4                     /* of an outlet: publishes under way at a time */
#define PUB_BATCH_MAX 200               /* events of a publish */
#define PUB_AWAY_NS (250 * NS_PER_MS)   /* until a pull that failed is tried again; doubles */
#define PUB_AWAY_NS_MAX (10 * NS_PER_S) /* up to this */
#define PUB_ACK_AGAIN_NS (500 * NS_PER_MS)
#define PUB_LINGER_NS                                                                                                  \
    (3 * NS_PER_S)                  /* streams that come and go, as with each new plan, do not send everything back    \
                                     */
#define PUB_CLOSE_NS (5 * NS_PER_S) /* what is settled has so long to be acknowledged when all ends */
#define PUB_EMPTY_NS (2 * NS_PER_S) /* a pull that waited so long found nothing: so there is nothing */
#define PUB_SHORT_NS                                                                                                   \
    (300 * NS_PER_MS)      /* from one that does not wait and found nothing to the next, which confirms it */
#define PUB_HELD_MIN 10    /* entries that are pulled ahead of a small credit */
#define PUB_HELD_MAX 10000 /* entries of a subscription that are not settled */
#define PUB_HELD_BYTES_MAX (32u << 20) /* and their bytes, beyond which nothing is pulled */
#define PUB_LONG_MAX 64                /* pulls of a loop that wait at the service; each has a connection */
#define PUB_SHORT_MAX 16               /* pulls of a loop that do not, for all other subscriptions in turn */
#define PUB_TURN_NS NS_PER_S           /* from one such pull of a subscription that found nothing to the next */
#define PUB_VERIFY_MAX 8               /* looks at topics under way, so that 10,000 channels leave room for the rest */
#define PUB_NOTICES_A_MINUTE 10

struct pub_bus;

/* ---- what control asks the service (pubsub_job.c) ---- */

struct pub_job;
typedef void pub_job_fn(struct pub_job *j);
struct pub_job { /* lies in the asker's structure until `done` ran */
    struct pub_bus *bus;
    pub_job_fn *done;
    struct loop_task task;
    enum err err;
    bool away;    /* the service was not there: that says nothing of what was asked */
    bool existed; /* it was there before */
    bool ordered; /* the subscription keeps the order of a key */
    bool orphan;  /* a subscription whose topic was deleted: it keeps what it has, and gets nothing any more */
    bool anew;    /* such a one is empty: it may be deleted and made anew */
    struct bus_channel *channel;
    struct bus_subscription *subscription;
    char text[320];
};
void pub_job_topic(struct pub_job *j, struct bus_channel *c, pub_job_fn *done);
void pub_job_topic_remove(struct pub_job *j, struct bus_channel *c, pub_job_fn *done);
/* `anew`: an orphan is deleted first. */
void pub_job_subscription(struct pub_job *j, struct bus_subscription *s, bool anew, pub_job_fn *done);
void pub_job_subscription_remove(struct pub_job *j, struct bus_channel *c, const char *id, pub_job_fn *done);
struct abroad_answer pub_job_answer(const struct pub_job *j); /* in `done` */
bool pub_job_orphaned(struct slice subscription); /* what the service says of one: whether its topic was deleted */

/* ---- loops ---- */

struct pub_loop {
    struct pub_bus *bus;
    struct loop *loop;
    struct pubsub_client *client; /* NULL: not bound */
    /* Turns: L's. */
    unsigned longs, shorts; /* pulls under way */
    struct list waiting;    /* subscriptions that wait for a pull, by turn */
    struct loop_task turn;
    /* For a batch that is being written: L's. */
    struct ce_pubsub_message *messages;     /* owned, PUB_BATCH_MAX */
    struct buf *scratch;                    /* owned, as many */
    struct ce_pubsub_attribute *attributes; /* owned */
    size_t attribute_room;
};
struct pub_loop *pub_loop_find(struct pub_bus *k, const struct loop *loop);

/* ---- appends (pubsub_append.c): their loop's ---- */

struct pub_line { /* one publish at a time (P2) */
    struct pub_outlet *outlet;
    struct letter *waiting, **waiting_end; /* appends, by their letters */
    struct letter *sent, **sent_end;       /* of the publish under way */
    size_t waiting_count, sent_count;
    size_t alone;   /* so many of the next go one by one: the service refused them together */
    unsigned epoch; /* the channel's, when it was sent */
};

struct pub_outlet { /* of a channel on a loop */
    struct bus_channel *channel;
    struct pub_loop *loop;
    struct pub_line lines[PUB_LINES];
    struct loop_task flush;
    uint64_t wait_until_ns; /* the service asked to be left alone; 0: it did not */
    bool stalled;           /* the last publish failed: one at a time until one does not */
    unsigned under_way;     /* appends */
};

enum err pub_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                    struct loop *loop);
void pub_outlets_init(struct bus_channel *c);
void pub_outlets_fini(struct bus_channel *c); /* what waits is forgotten */

/* ---- channels (pubsub_channel.c): control's but where said ---- */

struct bus_channel {
    struct abroad_channel abroad;
    struct pub_bus *bus;
    struct pub_channel_settings settings; /* but for `mode`, which is in `structured` too */
    atomic_bool structured;
    struct pub_job job;
    struct bus_op *verify_ops, *verifying; /* chained by owner: they wait for a look at the topic; for its answer */
    struct list verify_link;               /* in bus.to_verify */
    atomic_uint epoch;                     /* counts the times that something of it seemed to be missing (P1) */
    struct pub_outlet *outlets;            /* owned, one per loop */
};

static inline struct bus_channel *pub_channel_of(const struct abroad_channel *a)
{
    return container_of(a, struct bus_channel, abroad);
}

/* Of abroad_ops. */
void pub_channel_make(struct abroad_channel *a);
void pub_channel_remove(struct abroad_channel *a);
void pub_channel_free(struct abroad_channel *a);
bool pub_channel_same(const struct abroad_channel *a, const struct abroad_channel *b);
void pub_subscription_make(struct abroad_subscription *a);
void pub_subscription_remove(struct abroad_subscription *a);
void pub_subscription_free(struct abroad_subscription *a);
void pub_subscription_probe(struct abroad_subscription *a, uint64_t now_ns, struct bus_probe *out);
void pub_subscription_todo(struct abroad_subscription *a); /* any thread, not under the lock: H looks at it */

enum err pub_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                       struct bus_channel **out, struct bus_op *op, struct diag *d);
void pub_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op);
void pub_channel_suspect(struct bus_channel *c); /* any thread */

/* ---- whether a channel takes events (pubsub_verify.c) ---- */
void pub_verify(struct bus *b, struct bus_channel *c, struct bus_op *op);

/* ---- probes (pubsub_probe.c) ---- */
void pub_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out);
void pub_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out);

/* ---- the bus ---- */

struct pub_bus {
    struct desk desk;
    struct abroad abroad;
    struct pub_settings settings;
    struct pubsub_param *params; /* owned with their texts: of the clients */
    size_t param_count;
    struct pubsub_client *client; /* control's */
    struct pub_loop *loops;       /* owned, one per loop */

    struct list to_verify; /* channels, by verify_link */
    unsigned verifying;    /* of those, how many the service was asked about */

    pthread_mutex_t away_lock;
    char away[320]; /* under it: why the service is not there; empty: it is */
    atomic_bool is_away;
};

static inline struct pub_bus *pub_of(struct bus *b)
{
    return (struct pub_bus *)b;
}

/* Any thread: what a call says of the service itself; whether it was not there. */
bool pub_heard(struct pub_bus *k, const struct pubsub_answer *a);

static inline uint64_t pub_now(void)
{
    return clock_monotonic_ns(clock_system());
}

#endif
