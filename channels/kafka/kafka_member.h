/* SPDX-License-Identifier: Apache-2.0
 *
 * The consuming side of the Kafka bus: what a subscription, its consumer, the partitions that the consumer was given,
 * and the streams that drain them (kafka_stream.h) share.
 *
 *     subscription (C) ── member: a consumer in the group, while a stream is attached, and KAFKA_LINGER_NS longer (C)
 *          │                 └── partitions, as the group's leader deals them out
 *          ├── cursors: what is settled of each partition, as far as known here (atomics)
 *          └── streams: one a loop ── partitions that it drains (L), dealt out by control: the i-th to stream i mod n
 *
 * A partition is at HOME, with control, or AWAY, with one stream. It goes out by the letter `give` and comes home by
 * the letter `home`; `ask` goes out to have it back and always returns, also when it met nobody. Control touches a
 * partition only when it is home and no ask is out; so neither ledger nor entries need a lock.
 *
 *     HOME ── give ──→ AWAY ── home ──→ HOME       why it comes home:
 *                        ↑                          its stream was detached: at once, what was in hand is given back
 *                       ask ─→ (returns)            ask to move: when nothing of it is in hand
 *                                                   ask to revoke: at once, its tokens are revoked
 *
 * What is settled reaches Kafka in two steps: the stream puts a copy of the ledger beside the partition (`shot`) every
 * KAFKA_COMMIT_MS while something changes; control commits what it finds there, one request at a time.
 *
 * Threads: C(ontrol), L (the stream's loop), T (one of librdkafka's).
 */
#ifndef LEAT_CHANNELS_KAFKA_MEMBER_H
#define LEAT_CHANNELS_KAFKA_MEMBER_H

#include "kafka_stream.h"

#define KAFKA_LINGER_NS (3 * NS_PER_S) /* streams that come and go, as with each new plan, cost no rebalance */
/* Longer than librdkafka's own for a last commit and a farewell. Then the consumer is dropped without: the group finds
 * out by its session. */
#define KAFKA_CLOSE_NS (12 * NS_PER_S)
#define KAFKA_UNSAID_NS (8 * NS_PER_S) /* of that: how long the farewell waits for what is settled to be committed */
#define KAFKA_BEAT_NS (20 * NS_PER_S)  /* a sign of life to librdkafka, whose max.poll.interval.ms is 5 minutes */
#define KAFKA_AGAIN_NS NS_PER_S        /* until what the broker refused, or what found no memory, is tried again */
/* Metadata of a group that could not be deleted: it counts as having no offsets. */
#define KAFKA_REMOVED "leat:removed"

/* How far a subscription is in one partition. C makes it; whoever has the partition writes it; any thread reads. */
struct kafka_cursor {
    size_t topic; /* index in the channel's topics */
    int32_t partition;
    _Atomic int64_t base;       /* -1: not known */
    _Atomic uint32_t beyond;    /* settled offsets above the base */
    _Atomic int64_t head_ms;    /* when the oldest that is not settled was appended; 0: not known */
    struct kafka_partition *at; /* C; NULL: not assigned to this process */
};

struct kafka_cursors { /* of one topic */
    struct kafka_cursor **at;
    int32_t count;
    atomic_bool anew; /* what the group had committed of it is to go; K takes it */
};

enum kafka_subscription_state {
    KAFKA_SUB_WAITING,  /* another one of the same group is still going */
    KAFKA_SUB_STARTING, /* K looks for its offsets */
    KAFKA_SUB_READY,
    KAFKA_SUB_REFUSED, /* K could not; the next subscribe asks again */
    KAFKA_SUB_GOING    /* unsubscribed: its consumer leaves, then perhaps its group goes */
};

struct bus_subscription {        /* C, but for the cursors */
    struct list link;            /* of its channel */
    struct bus_channel *channel; /* pinned */
    struct kafka_bus *bus;
    char *name, *group; /* owned */
    unsigned refs;
    enum kafka_subscription_state state;
    struct bus_start start;
    bool latest, remove; /* where a partition without an offset begins; remove its group in the end */
    struct bus_op *ops;  /* they wait for STARTING, chained by owner */
    struct bus_op *going;
    struct kafka_job job;
    bool busy;                              /* the job is with K, or `quietly` under way */
    bool anew;                              /* a topic was made anew: its offsets are to begin again */
    struct loop_task quietly;               /* the end, without K */
    struct list look_link;                  /* of the bus: its group is to be looked at */
    bool looking;                           /* the job is that */
    uint64_t looked_ns;                     /* when it was, last; 0: never */
    uint64_t asked_as, looked_as;           /* kafka_bus.recounts when the job was asked; and the one that told last */
    rd_kafka_topic_partition_list_t *found; /* of the job: offsets and metadata */
    struct kafka_cursors *cursors;          /* owned, one for each topic */
    struct kafka_member *member;            /* owned; NULL: none */
    struct list streams;                    /* by bus_stream.link, in the order of their loops */
    size_t stream_count;
    struct loop_timer again;  /* a consumer could not be made */
    char reason[320];         /* what is wrong with its group; empty: nothing */
    enum err err;             /* the same */
    struct loop_timer keep;   /* nobody drains it: its group is to show a sign of life */
    bool keeping;             /* its consumer is there for that alone */
    _Atomic uint64_t expired; /* events that retention removed before they were delivered */
    uint64_t behind_ns;       /* since when there is a backlog, as seen by probes; 0: there is none */
};

enum kafka_member_state {
    KAFKA_MEMBER_IN,      /* in the group, or on its way into it */
    KAFKA_MEMBER_CLOSING, /* gives up its partitions and leaves */
    KAFKA_MEMBER_GONE     /* K destroys the consumer */
};

struct kafka_member { /* C */
    struct bus_subscription *subscription;
    enum kafka_member_state state;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue; /* its own events */
    struct post *post;       /* T and L → C */
    atomic_bool rejoins;     /* C and T: it will join as soon as it has given up what it was asked for: commits wait */
    atomic_bool joining;     /* T: commits and leaving wait */
    atomic_bool answered;    /* T: a JoinGroup of it ever was */
    bool told;               /* something came of it */
    struct list partitions, retired;
    uint64_t ahead_bytes; /* what librdkafka holds ahead of a partition, roughly; constant */
    /* What librdkafka asks of us; one at a time. */
    rd_kafka_topic_partition_list_t *rebalance; /* owned; NULL: nothing */
    bool assign;                                /* else revoke */
    bool asking;                                /* for the committed offsets of what is assigned */
    uint64_t asked_ns;                          /* since when */
    unsigned committing;                        /* commits under way */
    bool vain;                                  /* the last commit failed: again with the next beat of `again` */
    bool hard;                                  /* destroyed without a farewell */
    bool farewell;                              /* librdkafka has been told to leave */
    bool parted;                                /* since then it was answered: that gave up all there was */
    uint64_t closing_ns;                        /* since when it is to leave */
    bool stale;                                 /* its topics were made anew: what it has settled is of the old ones */
    struct loop_timer beat, again, linger, deadline;
    struct kafka_client *client; /* of one that is left as it is: a reference */
    struct kafka_member *left;   /* another one that was left as it was */
    struct kafka_job job;
};

/* ---- kafka_backlog.c: C ---- */
/* The cursor of a partition, made if need be; NULL: no memory, or no topic of this channel. */
struct kafka_cursor *kafka_cursor_of(struct bus_subscription *s, const char *topic, int32_t partition);
const char *kafka_cursor_topic(const struct bus_subscription *s, const struct kafka_cursor *cursor);
/* What K found goes into the cursors of partitions that this process has not. */
void kafka_cursors_take(struct bus_subscription *s, const rd_kafka_topic_partition_list_t *found);
void kafka_cursors_free(struct bus_subscription *s);

/* ---- kafka_subscription.c: C ---- */
/* K looks at the group of the next one in bus.to_look, unless it is at it. */
void kafka_subscriptions_look(struct kafka_bus *k);
/* Letters of a stream: attached, and detached. */
void kafka_subscription_hello(struct letter *m);
void kafka_subscription_bye(struct letter *m);
/* The member has gone; was_in: it had been in the group. */
void kafka_subscription_memberless(struct bus_subscription *s, bool was_in);
/* Counts what stop waits for: a member, a job, an unsubscription under way. */
void kafka_subscriptions_busy(struct kafka_bus *k);
void kafka_subscriptions_idle(struct kafka_bus *k);
/* NULL: all is well again. */
void kafka_subscription_says(struct bus_subscription *s, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- kafka_keep.c: C ---- */
void kafka_keep_due(struct loop_timer *t);                     /* bus_subscription.keep */
void kafka_keep_begin(struct bus_subscription *s);             /* perhaps nobody drains it */
void kafka_keep_end(struct bus_subscription *s);               /* its consumer is wanted for more, or has gone */
void kafka_keep_left(struct bus_subscription *s, bool was_in); /* its consumer has gone, and none follows */

/* ---- kafka_offsets.c: work on K ---- */
void kafka_offsets_start(struct kafka_job *j);  /* of bus_subscription.job: finds or makes the group's offsets */
void kafka_offsets_remove(struct kafka_job *j); /* of bus_subscription.job: the group goes */
void kafka_offsets_look(struct kafka_job *j);   /* of bus_subscription.job: where the group stands */
void kafka_offsets_anew(struct kafka_job *j);   /* of bus_subscription.job: the group begins at the oldest there is */
/* Any thread: asks for the committed offsets of a group, with metadata; the answer comes to the queue. */
void kafka_offsets_ask(rd_kafka_t *rk, const char *group, const rd_kafka_topic_partition_list_t *list,
                       rd_kafka_queue_t *queue);
/* Of that event; borrowed. NULL: *err says why. */
const rd_kafka_topic_partition_list_t *kafka_offsets_answer(rd_kafka_event_t *event, rd_kafka_resp_err_t *err);
/* Whether a commit with this metadata counts. */
bool kafka_offsets_count(const rd_kafka_topic_partition_t *p);

/* ---- kafka_consumer.c: C ---- */
/* Makes a consumer that joins the group. ERR_NOMEM; with *d ERR_INVALID. */
enum err kafka_member_new(struct bus_subscription *s, struct diag *d) must_check;

/* ---- kafka_member.c: C ---- */
void kafka_member_timers_init(struct kafka_member *m);
void kafka_member_serve(void *owner); /* its post's: librdkafka has events, or something is to be committed */
void kafka_member_close(struct kafka_member *m);
/* fini: no loop runs. */
void kafka_member_free(struct kafka_member *m);
/* Without a stream it stays for KAFKA_LINGER_NS. */
void kafka_member_linger(struct kafka_member *m, bool on);
/* Streams came or went: partitions are dealt out anew. */
void kafka_member_deal(struct kafka_member *m);
/* A partition is home. */
void kafka_member_home(struct kafka_member *m, struct kafka_partition *p);
struct kafka_partition *kafka_member_find(struct kafka_member *m, const char *topic, int32_t partition);

/* ---- kafka_commit.c: C ---- */
/* Commits what is there to be committed, unless a commit is under way already. */
void kafka_commit(struct kafka_member *m);
/* Whether something settled of partitions at home is not committed yet. */
bool kafka_commit_open(struct kafka_member *m);
/* The same for partitions that are given up, at home: their ledgers as they are. */
void kafka_commit_last(struct kafka_member *m, const rd_kafka_topic_partition_list_t *list);
void kafka_commit_result(struct kafka_member *m, rd_kafka_event_t *event);

#endif
