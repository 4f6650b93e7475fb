/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka bus as a whole: what kafka.c, the producers, the clerk, appends, reads and probes share. Channels:
 * kafka_channel.h; subscriptions: kafka_member.h.
 *
 * Locks are leaves, and none is held over a callback: producers.lock, clerk.lock, notes.lock, reads.lock,
 * kafka_loop.lock. The map of channels is control's alone.
 */
#ifndef LEAT_CHANNELS_KAFKA_BUS_H
#define LEAT_CHANNELS_KAFKA_BUS_H

#include "ce_kafka.h"
#include "kafka.h"
#include "../desk.h"
#include "../homeward.h"

#define KAFKA_BUFFER (32ull << 20)              /* bytes of events that wait for the broker, of all channels */
#define KAFKA_FETCH (4ull << 20)                /* bytes that a consumer holds ahead */
#define KAFKA_RETRY_NS (5 * NS_PER_S)           /* until what the broker refused is asked again */
#define KAFKA_LOOK_NS NS_PER_S                  /* ends of partitions are not asked for more often than that */
#define KAFKA_KEEP_NS (24ull * 3600 * NS_PER_S) /* a broker keeps offsets of groups without members for 7 days */
#define KAFKA_CONNECT_NS (2 * NS_PER_S)  /* a bus that was opened so lately is well though it has no connection yet */
#define KAFKA_SETTLED_NS (60 * NS_PER_S) /* a cluster that has had so many brokers for so long is to have no more */
#define KAFKA_BATCH_BYTES 1000000        /* of one request, below the 1,048,588 that a topic takes by default */
#define KAFKA_RECORD_BYTES 1048588       /* what a topic takes unless it says otherwise (max.message.bytes) */
#define KAFKA_TOPICS_MAX 64              /* of one channel */

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
/* Whether they say the same, or name the same topics at least. */
bool kafka_channel_settings_same(const struct kafka_channel_settings *a, const struct kafka_channel_settings *b);
bool kafka_channel_settings_same_topics(const struct kafka_channel_settings *a, const struct kafka_channel_settings *b);

/* ---- loops ---- */

struct kafka_loop {
    struct kafka_bus *bus;
    struct loop *loop;
    bool bound;
    struct homeward homeward; /* appends whose reports came to D */
    pthread_mutex_t lock;
    struct list pages; /* under it: kafka_read with something to deliver */
    struct post *post;
    struct buf scratch; /* the loop's own: an event as JSON */
};
struct kafka_loop *kafka_loop_find(struct kafka_bus *k, const struct loop *loop);

/* ---- producers (kafka_producer.c) ---- */

struct kafka_producer {
    struct list link; /* of producers.list */
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    uint64_t batch_bytes, born_ns;
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

/* ---- appends, reads, probes ---- */
enum err kafka_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                      struct loop *loop);
void kafka_append_reported(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque); /* D */
/* D of each report, control of a producer's end: `err` is librdkafka's. */
void kafka_append_denied(struct bus_channel *c, int err);
void kafka_append_flush(struct kafka_bus *k); /* D: tells the loops */
void kafka_append_done(struct kafka_loop *l); /* its loop */
enum err kafka_read(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                    void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                    void *arg, struct bus_op *op, struct loop *loop);
void kafka_reads_init(struct kafka_bus *k);
void kafka_reads_close(struct kafka_bus *k); /* stop: what is under way ends with ERR_CLOSED */
bool kafka_reads_ended(struct kafka_bus *k);
void kafka_reads_quit(struct kafka_bus *k);     /* fini: joins R */
void kafka_reads_arrived(struct kafka_loop *l); /* its loop */
void kafka_reads_forget(struct kafka_loop *l);  /* fini */
void kafka_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out);
void kafka_recount(struct bus *b);
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
    struct desk desk;
    struct kafka_settings settings;
    struct kafka_client *client;
    struct kafka_loop *loops; /* owned, one per loop */

    struct map channels;  /* name → bus_channel */
    atomic_bool suspects; /* some channel is one */
    struct list going;    /* control: channels that were released, by link; no more in the map */

    struct kafka_producers producers;
    struct kafka_clerk clerk;
    struct kafka_reads reads;
    struct list to_ask;          /* control: channels, by ask_link */
    struct loop_task asker;      /* control: asks for those */
    struct kafka_ask *asking;    /* control: what K has in hand; owned; NULL: nothing */
    struct list to_verify;       /* control: channels, by verify_link */
    struct loop_task verifier;   /* control: asks whether those take events */
    struct kafka_ask *verifying; /* control: likewise */

    struct kafka_ends *refreshing; /* control: likewise, the ends of partitions */
    uint64_t refreshed_ns;         /* control: when that was last answered, by the system's clock; 0: never */
    uint64_t recounts;             /* control: how often what is known was to be no older than that moment */
    uint64_t refreshed_as;         /* control: how often until the ends that are known were asked for */
    uint64_t opened_ns;            /* likewise */
    bool connected;                /* control: a broker has been there */

    rd_kafka_t *groups;        /* K's, kafka_offsets.c; owned; NULL: none yet */
    bool groups_stuck;         /* K's: a request of it was given up */
    int brokers;               /* K's: as last seen; 0: never */
    uint64_t brokers_ns;       /* K's: since when it sees so many, by the system's clock */
    struct list to_look;       /* subscriptions of which others may have settled something, by look_link */
    bool looking;              /* K looks after one of them */
    bool keeping;              /* one of them shows its sign of life */
    size_t subscriptions_busy; /* control; of kafka_subscription.c, as the next: what stop waits for */
    void (*subscriptions_gone)(struct kafka_bus *k);
    enum { KAFKA_STREAMS_THERE, KAFKA_STREAMS_GOING, KAFKA_STREAMS_GONE } streams; /* control; stop's */
};

static inline struct kafka_bus *kafka_of(struct bus *b)
{
    return (struct kafka_bus *)b;
}

#endif
