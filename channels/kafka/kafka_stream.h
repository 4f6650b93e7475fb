/* SPDX-License-Identifier: Apache-2.0
 *
 * Partitions with their records on their way to a stream, and streams on their loops: what kafka_partition.c and
 * kafka_stream.c have between them. kafka_member.h says how a partition goes out and comes home.
 */
#ifndef LEAT_CHANNELS_KAFKA_STREAM_H
#define LEAT_CHANNELS_KAFKA_STREAM_H

#include "../flights.h"
#include "kafka_channel.h"

#define KAFKA_REST_NS (100 * NS_PER_MS) /* a partition that is to move delivers nothing new for so long ... */
#define KAFKA_UNREST_NS NS_PER_S        /* ... and if something is still in hand then, goes on for so long */
#define KAFKA_DELIVER_MAX 256           /* events in a turn of one stream */
#define KAFKA_READ_MAX 32               /* records taken from librdkafka at once */
#define KAFKA_FLIGHTS_MIN 16

struct kafka_member;
struct kafka_cursor;

/* A record that was taken from librdkafka. */
struct kafka_entry {
    struct list link; /* in its partition: ahead, back or flying */
    struct kafka_partition *at;
    rd_kafka_message_t *message;  /* owned, until the event is made of it */
    const struct ce_event *event; /* a reference; NULL while there is the message */
    int64_t offset, time_ms;
    unsigned attempt; /* times handed out */
    bool mark;        /* no record: everything below the offset has been read */
    uint32_t flight;  /* while flying: index in its stream's table */
};

enum kafka_recall { KAFKA_RECALL_MOVE, KAFKA_RECALL_REVOKE };

struct kafka_partition {
    struct list link; /* C: of its member */
    struct kafka_member *member;
    struct kafka_cursor *cursor;
    rd_kafka_queue_t *queue; /* owned; records */

    /* C. */
    struct bus_stream *owner; /* where it is; NULL: home */
    bool away, asked;         /* with a stream, or on its way; an ask is out */
    bool assigned;            /* librdkafka knows that it is ours */
    bool leaves;              /* asked to move */
    bool revoked;             /* it is to be given up */
    enum kafka_recall asking; /* of the ask that is out */
    struct letter give, ask, home;

    /* Who has it: L while away, else C. */
    struct bus_stream *stream;
    struct list stream_link, ready_link, dirty_link; /* of the stream */
    struct kafka_ledger ledger;
    struct list ahead;   /* taken from librdkafka, not yet from the ledger */
    struct list back;    /* given back, by offset */
    struct list flying;  /* delivered */
    int64_t before;      /* what was committed before the offset was found gone; -1: it was not */
    bool readable;       /* there may be more with librdkafka */
    bool dirty;          /* the ledger has changed since the last shot */
    bool moving;         /* an ask to move waits until nothing is flying */
    bool resting;        /* moving, and delivers nothing new */
    bool lost;           /* librdkafka told that its offset is gone */
    bool starved;        /* there was no memory for an event */
    uint64_t read_bytes; /* taken from librdkafka since it was woken last */
    uint64_t rest_ns;    /* moving: when it rests, or goes on */

    atomic_bool signalled; /* T → L: librdkafka has records */

    pthread_mutex_t lock;
    struct kafka_ledger shot; /* under it, as what follows: what is to be committed */
    bool fresh;               /* and is not yet */
};

struct bus_stream {
    struct bus_subscription *subscription;
    struct loop *loop;
    size_t index; /* of the loop */
    /* C. */
    struct list link;
    size_t held;  /* partitions, while they are dealt out */
    size_t given; /* partitions that it owns */
    bool parting; /* it has been detached, and goes when it owns none */
    /* L. */
    struct bus_stream_callbacks callbacks;
    void *arg;
    uint64_t credit;
    struct list partitions, ready, dirty; /* by stream_link, ready_link, dirty_link */
    struct list spares;                   /* entries */
    size_t spare_count;
    struct flights flights; /* of struct kafka_entry */
    bool awake, pumped, detached;
    bool *gone; /* set while callbacks run: detached meanwhile */
    uint64_t pumped_ns;
    struct loop_task task;
    struct loop_timer timer, shots, rest; /* pump; ledgers to be copied; moving partitions */
    struct post *post;                    /* T → L */
    struct bus_op *detach_op;
    struct letter hello, bye; /* L → C, L → C → L */
    atomic_bool leaving;      /* C gives it nothing more */
};

/* ---- kafka_partition.c ---- */
struct kafka_partition *kafka_partition_new(struct kafka_member *m, struct kafka_cursor *cursor); /* C; NULL */
/* C, home: given up. It stays with its member (`retired`) until the same one is given again or the member ends, since
 * what librdkafka puts into its queue afterwards has to be thrown away. */
void kafka_partition_retire(struct kafka_partition *p);
void kafka_partitions_free(struct kafka_member *m, const struct kafka_cursor *of); /* C: those retired; NULL: all */
void kafka_queue_empty(rd_kafka_queue_t *queue);                                   /* throws away what is in it */
void kafka_partition_forget(struct kafka_partition *p); /* C, home: what was read of it is not to be delivered */
void kafka_partition_give(struct kafka_partition *p, struct bus_stream *st); /* C */
void kafka_partition_ask(struct kafka_partition *p, enum kafka_recall ask);  /* C */
/* L: the next entry to deliver, flying now, with its event; NULL: none at the moment. */
struct kafka_entry *kafka_partition_next(struct kafka_partition *p);
void kafka_partition_settled(struct kafka_partition *p, struct kafka_entry *e, enum bus_settle how); /* L */
/* L: goes home; nothing is flying. */
void kafka_partition_let_go(struct kafka_partition *p);
void kafka_partition_give_back(struct kafka_partition *p); /* L: all that is flying */
/* L: revokes what is flying, and goes home. The stream may be detached within: it has gone home by that then. */
void kafka_partition_revoke(struct kafka_partition *p);
void kafka_partition_begun(struct kafka_partition *p); /* C, home: the ledger is one to begin with */
void kafka_partition_shoot(struct kafka_partition *p); /* who has it: the ledger is to be committed as it is */

/* ---- kafka_stream.c: L ---- */
void kafka_stream_ready(struct bus_stream *st, struct kafka_partition *p); /* it may have something to deliver */
void kafka_stream_dirty(struct bus_stream *st, struct kafka_partition *p);
void kafka_stream_moving(struct bus_stream *st);                        /* a partition of it is to move */
struct kafka_entry *kafka_stream_spare(struct bus_stream *st);          /* an entry to fill; NULL: no memory */
void kafka_stream_spared(struct bus_stream *st, struct kafka_entry *e); /* with its message and its reference */
/* Ends the flight of an entry and tells by `revoked`. False: the stream was detached meanwhile. */
bool kafka_stream_revoke(struct bus_stream *st, struct kafka_entry *e);
/* C: it is detached, and gets nothing more. What is on its way to it comes home first (kafka_partition.owner). */
void kafka_stream_leave(struct bus_stream *st);
void kafka_stream_returned(struct bus_stream *st); /* C: a partition that it owned is home */
void kafka_stream_free(struct bus_stream *st);     /* detached, or fini */

#endif
