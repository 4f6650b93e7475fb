/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka bus as a whole: what kafka.c, the clerk, channels, appends, reads and probes share. What subscriptions need
 * is in kafka.h.
 *
 * Locks are leaves, and none is held over a callback: producers.lock, clerk.lock, notes.lock, reads.lock,
 * kafka_loop.lock. The map of channels is control's alone.
 */
#ifndef LEAT_CHANNELS_KAFKA_BUS_H
#define LEAT_CHANNELS_KAFKA_BUS_H

#include "ce_kafka.h"
#include "kafka.h"
#include "../notes.h"
#include "../post.h"

#define KAFKA_BUFFER (32ull << 20)      /* bytes of events that wait for the broker, of all channels */
#define KAFKA_FETCH (4ull << 20)        /* bytes that a consumer holds ahead */
#define KAFKA_RETRY_NS (5 * NS_PER_S)   /* until what the broker refused is asked again */
#define KAFKA_LOOK_NS NS_PER_S          /* ends of partitions are not asked for more often than that */
#define KAFKA_CONNECT_NS (5 * NS_PER_S) /* a bus that was opened so lately is well though it has no connection yet */
#define KAFKA_BATCH_BYTES 1000000       /* of one request, below the 1,048,588 that a topic takes by default */
#define KAFKA_RECORD_BYTES 1048588      /* what a topic takes unless it says otherwise (max.message.bytes) */
#define KAFKA_TOPICS_MAX 64             /* of one channel */

/* ---- settings ---- */

struct kafka_param { /* name and value, owned */
    char *name, *value;
};

struct kafka_channel_settings {
    char **topics; /* owned, NULL-terminated; with the bus's prefix unless external */
    size_t topic_count;
    bool external, one_part;
    int32_t partitions;
    int16_t replication;
    struct kafka_param *configs; /* owned: of the topic, when it is made; retention.ms among them */
    size_t config_count;
    enum ce_mode mode;
    bool plain;   /* written for strangers: nothing beside what the binding says */
    char *source; /* owned, as what follows; NULL: none */
    enum ce_kafka_key key;
    struct kafka_param *overrides;
    size_t override_count;
};

enum err kafka_settings_read(const struct bus_param *params, size_t count, struct kafka_settings *out,
                             struct diag *d) must_check;
void kafka_settings_fini(struct kafka_settings *s);
enum err kafka_channel_settings_read(const struct kafka_settings *bus, struct slice name,
                                     const struct bus_param *params, size_t count, struct kafka_channel_settings *out,
                                     struct diag *d) must_check;
void kafka_channel_settings_fini(struct kafka_channel_settings *s);

/* ---- loops ---- */

struct kafka_loop {
    struct kafka_bus *bus;
    struct loop *loop;
    bool bound;
    pthread_mutex_t lock;
    struct letter *done, **done_end;   /* under it: appends whose reports came: their letters */
    struct letter *fresh, **fresh_end; /* D's own: those of this round */
    struct list pages;                 /* under it: kafka_read with something to deliver */
    struct post *post;
    struct buf scratch; /* the loop's own: an event as JSON */
};
struct kafka_loop *kafka_loop_find(struct kafka_bus *k, const struct loop *loop);

/* ---- producers (kafka_producer.c) ---- */

struct kafka_producer {
    struct list link; /* of producers.list */
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    uint64_t batch_bytes;
    atomic_bool failed; /* a fatal error: another takes its place */
    bool retired;       /* under the lock: nothing is appended to it any more; freed when its last report has come */
    bool held;          /* under the lock: K uses it */
};

struct kafka_producers {
    pthread_t thread;
    bool started;
    atomic_bool quit;
    atomic_bool failed;    /* one of them has */
    int fd;                /* the reports' eventfd; D waits on it */
    pthread_rwlock_t lock; /* read: appends, for their producer and topic; write: control, when these change */
    struct list list;      /* under it: the current ones and the retired */
};
enum err kafka_producers_start(struct kafka_bus *k, struct diag *d) must_check;
void kafka_producers_quit(struct kafka_bus *k); /* joins D; what is pending is purged */
void kafka_producers_wake(struct kafka_bus *k);
/* Control, under the write lock: the one whose requests fit a topic that takes so many bytes. */
enum err kafka_producer_for(struct kafka_bus *k, uint64_t record_bytes, struct kafka_producer **out) must_check;
void kafka_producers_replace(struct kafka_bus *k); /* control: those that failed */
/* K: the handle for requests; it stays until kafka_producers_let_go. */
rd_kafka_t *kafka_producers_hold(struct kafka_bus *k);
void kafka_producers_let_go(struct kafka_bus *k);

/* ---- the clerk ---- */

struct kafka_clerk {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list asked, done; /* under the lock, as what follows */
    bool busy, quit;
    atomic_bool hurry; /* nobody waits any more */
};
enum err kafka_clerk_start(struct kafka_bus *k) must_check;
void kafka_clerk_quit(struct kafka_bus *k);     /* joins K; jobs that are left are forgotten */
void kafka_clerk_cancel(struct kafka_bus *k);   /* control: jobs that K has not begun end with ERR_CLOSED */
void kafka_clerk_finished(struct kafka_bus *k); /* control: runs `done` of those that are through */
bool kafka_clerk_idle(struct kafka_bus *k);
void kafka_groups_quit(struct kafka_bus *k); /* fini: K has ended */

/* ---- channels ---- */

struct kafka_parts {           /* of one topic */
    struct kafka_parts *older; /* the topic had less: who looked at it then may still */
    int32_t count;
    struct kafka_part {
        _Atomic int64_t begin, end; /* offsets: of the oldest that is there; above the newest that is known to be */
    } at[];
};

struct kafka_topic {
    char *name;                        /* owned: as the cluster knows it */
    struct kafka_parts *_Atomic parts; /* owned; NULL until the broker has answered */
    rd_kafka_topic_t *rkt;             /* under producers.lock; owned; NULL likewise */
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
    struct list link;      /* GOING: in bus.going */
    struct list ask_link;  /* in bus.to_ask */
    bool asked;            /* in that list, or with K */
    bool was_ready, told;  /* told: that its topic differs from what it says */
    struct bus_op *ops;    /* they wait for the topic, chained by owner */
    struct bus_op *going;  /* release's */
    bool remove, deleting; /* release's; and K is to do it */
    uint64_t ask_ns;       /* REFUSED: when it is asked again */
    enum err err;
    char reason[320]; /* why it is not ready */

    atomic_bool suspect; /* a topic seems to have changed or gone: to be looked at */
    atomic_uint pending; /* appends under way */
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

/* ---- topics (kafka_topics.c): what K is asked about channels, all that wait in one go ---- */

struct kafka_answer { /* about one topic */
    enum err err;
    char text[320];
    bool made;
    bool shrunk; /* a partition reaches less far than was known */
    int32_t partitions;
    uint64_t record_max;    /* 0: not known */
    int64_t *begins, *ends; /* owned, for each partition; NULL: all 0 */
};
struct kafka_question {
    struct bus_channel *channel; /* pinned */
    const struct kafka_rules *rules;
    bool remove;
    struct kafka_answer *answers; /* owned, one for each topic */
};
struct kafka_ask {
    struct kafka_job job;
    bool away; /* K: no broker answers */
    size_t count;
    struct kafka_question questions[];
};
void kafka_topics_work(struct kafka_job *j); /* K */
/* Fills in the offsets of so many partitions by one request to each leader: `which` is RD_KAFKA_OFFSET_END,
 * RD_KAFKA_OFFSET_BEGINNING or a time in ms. Blocks for KAFKA_ASK_MS at most, for leaders that are not there yet. OK:
 * each element has an offset or an err of its own. Any thread with a handle of its own. */
enum err kafka_topics_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which) must_check;
/* The same without waiting for leaders. */
enum err kafka_topics_offsets_now(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which) must_check;

/* ---- appends, reads, probes ---- */
enum err kafka_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                      struct loop *loop);
void kafka_append_reported(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque); /* D */
void kafka_append_flush(struct kafka_bus *k);                                          /* D: tells the loops */
void kafka_append_done(struct kafka_loop *l);                                          /* its loop */
enum err kafka_read(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                    void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                    void *arg, struct bus_op *op, struct loop *loop);
void kafka_reads_init(struct kafka_bus *k);
void kafka_reads_close(struct kafka_bus *k); /* stop: what is under way ends with ERR_CLOSED */
bool kafka_reads_ended(struct kafka_bus *k);
void kafka_reads_quit(struct kafka_bus *k);     /* fini: joins R */
void kafka_reads_arrived(struct kafka_loop *l); /* its loop */
void kafka_reads_forget(struct kafka_loop *l);  /* fini */
void kafka_append_forget(struct kafka_loop *l); /* fini */
/* Any thread: as long as it is held, a channel that was released is not freed. */
void kafka_channel_hold(struct bus_channel *c);
void kafka_channel_let_go(struct bus_channel *c);
void kafka_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out);
void kafka_ends_forget(struct kafka_bus *k);     /* control: they are to be asked for again */
void kafka_refreshing_free(struct kafka_bus *k); /* fini */

struct kafka_reads {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list list; /* under the lock, as what follows: kafka_read */
    bool there, quit; /* there: R looks at the list */
    atomic_bool closed;
    atomic_uint count; /* reads that have not ended */
};

/* ---- the bus ---- */

struct kafka_bus {
    struct bus base;
    struct bus_env env;
    const struct clock *clock;
    struct kafka_settings settings;
    struct kafka_client *client;
    struct kafka_loop *loops; /* owned, one per loop */

    struct map channels; /* name → bus_channel */
    atomic_uint going_count;
    atomic_bool suspects; /* some channel is one */
    struct list going;    /* control: channels that were released, by link; no more in the map */

    struct kafka_producers producers;
    struct kafka_clerk clerk;
    struct notes notes;
    struct kafka_reads reads;
    struct kafka_stop *stop; /* owned */
    struct post *post;       /* to control: notes, jobs, fatal errors, the last append */
    struct loop_timer tick;
    struct list to_ask;       /* control: channels, by ask_link */
    struct loop_task asker;   /* control: asks for those */
    struct kafka_ask *asking; /* control: what K has in hand; owned; NULL: nothing */

    struct kafka_ends *refreshing; /* control: likewise, the ends of partitions */
    uint64_t refreshed_ns;         /* control: when that was last answered, by the system's clock; 0: never */
    uint64_t opened_ns;            /* likewise */
    bool connected;                /* control: a broker has been there */

    _Atomic uint64_t pending, pending_bytes; /* appends under way */
    atomic_bool stalled;                     /* the last report said that the broker did not answer in time */
    atomic_bool closed;                      /* stop has begun */
    rd_kafka_t *groups;                      /* K's, kafka_offsets.c; owned; NULL: none yet */
    struct list to_look;       /* subscriptions of which others may have settled something, by look_link */
    bool looking;              /* K looks after one of them */
    size_t subscriptions_busy; /* control; of kafka_subscription.c, as the next: what stop waits for */
    void (*subscriptions_gone)(struct kafka_bus *k);
    bool stopping, stopped;
    enum { KAFKA_STREAMS_THERE, KAFKA_STREAMS_GOING, KAFKA_STREAMS_GONE } streams; /* control; stop's */
    struct bus_op *stop_ops;                                                       /* control's; chained by owner */
};

static inline struct kafka_bus *kafka_of(struct bus *b)
{
    return (struct kafka_bus *)b;
}

#endif
