/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of the Kafka bus: what is known of their topics, what subscriptions, appends and reads need of them, and
 * what K is asked about them. Control's, but where said.
 */
#ifndef LEAT_CHANNELS_KAFKA_CHANNEL_H
#define LEAT_CHANNELS_KAFKA_CHANNEL_H

#include "kafka_bus.h"

/* Immutable from provision's OK on but where said; topics of one channel share a group (KafkaSource: several). */
struct kafka_topics {
    size_t count;
    _Atomic int32_t partitions; /* of all together, as last seen */
};

struct kafka_parts {           /* of one topic */
    struct kafka_parts *older; /* the topic had another number: who looked at it then may still */
    int32_t count;
    struct kafka_part {
        _Atomic int64_t begin, end; /* offsets: of the oldest that is there; above the newest that is known to be */
    } at[];
};

struct kafka_topic {
    char *name;                        /* owned: as the cluster knows it */
    struct kafka_parts *_Atomic parts; /* owned; NULL until the broker has answered */
    rd_kafka_topic_t *rkt;             /* under producers.lock; owned; NULL likewise */
    bool anew;                         /* control: it is another one than it was, and its groups do not know yet */
};

/* What a channel's parameters say. Whoever has one may keep it as long as the channel: newer ones stand beside it. */
struct kafka_rules {
    struct kafka_rules *older;
    struct kafka_channel_settings settings; /* owned */
    struct ce_kafka_header *overrides;      /* owned: ce.overrides */
    struct ce_kafka_rules ce;
};

enum kafka_channel_state {
    KAFKA_CHANNEL_NEW, /* its topic is being made or looked at */
    KAFKA_CHANNEL_READY,
    KAFKA_CHANNEL_REFUSED, /* the broker said no, or did not answer: asked again after KAFKA_RETRY_NS */
    KAFKA_CHANNEL_GOING    /* released: waits for appends under way, then perhaps for its topic to go */
};

struct bus_channel {
    struct kafka_bus *bus;
    unsigned refs, pins; /* control's; pins: jobs that name it */
    _Atomic int state;
    struct kafka_rules *_Atomic rules; /* the newest */
    struct kafka_topics topics;
    struct kafka_topic *list;        /* owned: topics.count of them */
    struct kafka_producer *producer; /* under producers.lock; NULL: none yet */
    _Atomic uint64_t record_max;     /* bytes that its topic takes in a record; 0: not known */
    struct list subscriptions;       /* control; of kafka_subscription.c */

    /* Control's. */
    struct list link;          /* GOING: in bus.going */
    struct list ask_link;      /* in bus.to_ask */
    bool asked;                /* in that list, or with K */
    bool was_ready, told;      /* told: that its topic differs from what it says */
    struct bus_op *ops;        /* they wait for the topic, chained by owner */
    struct bus_op *going;      /* release's */
    struct list verify_link;   /* in bus.to_verify */
    struct bus_op *verify_ops; /* they wait for K to look, chained by owner */
    bool remove, deleting;     /* release's; and K is to do it */
    uint64_t ask_ns;           /* REFUSED: when it is asked again */
    enum err err;
    char reason[320]; /* why it is not ready, or READY and may not be written */

    atomic_bool suspect; /* a topic seems to have changed or gone, or `denied` has: to be looked at */
    _Atomic int denied;  /* why the broker lets us write nothing, as the last report has it: librdkafka's; 0: it does */
    _Atomic uint64_t pending; /* appends under way */
    atomic_bool stalled;      /* the last report said that the broker did not answer in time */
    _Atomic uint64_t appended, foreign;
    char name[];
};

enum err kafka_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                         struct bus_channel **out, struct bus_op *op, struct diag *d);
void kafka_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op);
void kafka_channel_pin(struct bus_channel *c); /* control, as all of these */
void kafka_channel_unpin(struct bus_channel *c);
void kafka_channel_ask(struct bus_channel *c);                   /* K is to look at its topics */
void kafka_channel_ops_end(struct bus_channel *c, enum err err); /* who waits for its topic is told */
void kafka_channel_go_on(struct bus_channel *c);                 /* GOING: the next step that can be made */
void kafka_channel_gone(struct bus_channel *c, enum err err, const char *text); /* and it is freed */
void kafka_channels_look(struct kafka_bus *k);  /* suspects, and those to be asked again */
void kafka_channels_go_on(struct kafka_bus *k); /* those that go and whose last append has ended */
void kafka_channels_ask(struct loop_task *t);   /* bus.asker */
void kafka_asking_free(struct kafka_bus *k);    /* fini, before channels */
void kafka_channel_free(struct bus_channel *c); /* fini; its subscriptions are gone */
/* Control, under producers.lock: its topics on that producer. */
void kafka_channel_topics_open(struct bus_channel *c, struct kafka_producer *p);
void kafka_channel_topics_close(struct bus_channel *c);

/* ---- what a subscription needs of its channel ---- */

/* Control: the channels of a bus, one after the other; `c` NULL: the first. NULL: no more. */
struct bus_channel *kafka_bus_channel_next(struct kafka_bus *k, struct bus_channel *c);

/* Above the newest offset that is known to be in a partition: own appends at once, others' as last asked; -1: not
 * known. Any thread. `topic`: index in its list. */
int64_t kafka_channel_end(const struct bus_channel *c, size_t topic, int32_t partition);
/* Any thread: somebody saw that it reaches so far. Of a partition that is not known nothing happens. */
void kafka_channel_end_raise(struct bus_channel *c, size_t topic, int32_t partition, int64_t end);
/* Control: whether the ends of all channels' partitions are known as of KAFKA_LOOK_NS ago at most; else K is asked. */
bool kafka_channel_refresh_ends(struct bus_channel *c);
/* Any thread: a topic of it seems to be gone or to have changed: K looks, and what is gone is made again. */
void kafka_channel_suspect(struct bus_channel *c);
/* The event of a record, by the channel's rules: a record that cannot be one (too large, out of memory) gives an error;
 * one that claims to be a CloudEvent and is none is wrapped and counted. Any thread. */
enum err kafka_channel_event(struct bus_channel *c, const rd_kafka_message_t *m, const struct ce_event **out);

/* ---- topics (kafka_topics.c): what K is asked about channels, all that wait in one go ---- */

struct kafka_answer { /* about one topic */
    enum err err;
    char text[320];
    bool made;   /* it was not there before */
    bool there;  /* the controller says that it is there, whatever a broker shows as yet */
    bool shrunk; /* a partition reaches less far than was known */
    int32_t partitions;
    int32_t leaderless;     /* the first partition that has no leader; -1: all have one */
    uint64_t record_max;    /* 0: not known */
    int64_t *begins, *ends; /* owned, for each partition; NULL: all 0 */
};
struct kafka_question {
    struct bus_channel *channel; /* pinned */
    const struct kafka_rules *rules;
    bool remove;
    struct kafka_answer *answers; /* owned, one for each topic */
    struct bus_op *ops;           /* of a question whether they take events: who waits for the answer */
};
struct kafka_ask {
    struct kafka_job job;
    bool away;    /* K: no broker answers */
    int brokers;  /* K: that the cluster has now; 0: not known */
    bool settled; /* K: it has had so many for KAFKA_SETTLED_NS */
    size_t count;
    struct kafka_question questions[];
};
void kafka_topics_work(struct kafka_job *j); /* K */
void kafka_answers_free(struct kafka_answer *answers, size_t count);

/* ---- whether topics take events (kafka_verify.c) ---- */

void kafka_verify(struct bus *b, struct bus_channel *c, struct bus_op *op);
void kafka_verify_soon(struct loop_task *t);    /* bus.verifier */
void kafka_verifying_free(struct kafka_bus *k); /* fini, before channels */
/* Fills in the offsets of so many partitions by one request to each leader: `which` is RD_KAFKA_OFFSET_END,
 * RD_KAFKA_OFFSET_BEGINNING or a time in ms. Blocks for KAFKA_ASK_MS at most, for leaders that are not there yet, and
 * not when the clerk is to hurry. OK:
 * each element has an offset or an err of its own. Any thread with a handle of its own. */
enum err kafka_topics_offsets(struct kafka_bus *k, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list,
                              int64_t which) must_check;
/* The same without waiting for leaders. */
enum err kafka_topics_offsets_now(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which) must_check;

#endif
