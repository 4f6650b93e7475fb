/* SPDX-License-Identifier: Apache-2.0
 *
 * The RabbitMQ bus: what it is made of.
 *
 *     bus ── publisher (P) ── appends under way, by their number
 *      ├──── consumers (Q, RABBIT_CONSUMERS of them) ── each with some of the subscriptions
 *      ├──── jobs: what control has asked the first Q to do at the node
 *      └──── channels ── subscriptions ── lanes of events, streams
 *
 * A subscription is control's but for its inner part, which three threads share under its lock: Q puts events in, the
 * streams' loops take them out and hand back what is settled, control counts. `todo` brings Q to it.
 *
 * Locks: subscription.lanes.lock, then consumer.lock or a mailbox's; publisher.lock, loop.lock, jobs_lock and
 * notes.lock are leaves. None is held over a callback.
 */
#ifndef LEAT_CHANNELS_RABBITMQ_BUS_H
#define LEAT_CHANNELS_RABBITMQ_BUS_H

#include <pthread.h>
#include <stdatomic.h>

#include "rabbitmq.h"
#include "rabbitmq_link.h"
#include "rabbitmq_read.h"
#include "../abroad.h"
#include "../homeward.h"

#define RABBIT_CONSUMERS 2               /* links that consume: each decodes on a thread of its own */
#define RABBIT_JOBS_MAX 8                /* at the node at a time: each has an AMQP channel */
#define RABBIT_SEND_NS (10 * NS_PER_S)   /* an append that the node has not confirmed by then has failed: 503 */
#define RABBIT_STOP_NS (2 * NS_PER_S)    /* while it stops: how long nothing may end before its links are given up */
#define RABBIT_AGAIN_NS NS_PER_S         /* until a consumer that ended badly is made again */
#define RABBIT_GROW_NS (200 * NS_PER_MS) /* that a larger prefetch waits for a moment with nothing unsettled */
#define RABBIT_MEET_NS (20 * NS_PER_MS)  /* from a first stream to its consumer: those of other loops come meanwhile */
#define RABBIT_LINGER_NS (3 * NS_PER_S)  /* streams that come and go, as with each new plan, do not end a consumer */
#define RABBIT_CONNECT_NS (2 * NS_PER_S) /* a bus that was opened so lately is well though it has no connection yet */
#define RABBIT_LOOK_NS (100 * NS_PER_MS) /* a queue's length is not asked for more often than that */
#define RABBIT_STREAM_NS (10 * NS_PER_S) /* a stream that is down so long holds its channel up no more */
#define RABBIT_STALE_NS (5 * NS_PER_S)   /* then an answer counts though events came meanwhile */
#define RABBIT_FRESH_NS NS_PER_S         /* and is known as long */
#define RABBIT_MOVED_MAX 8               /* answers that did not count: of a recount the next one does */
#define RABBIT_PREFETCH_MIN 32           /* so that few credits do not make a consumer wait for the node each time */
#define RABBIT_PREFETCH_MAX 32768        /* AMQP has 16 bits for it */
#define RABBIT_HELD_HARD 4               /* times `held`: what a subscription has at most, of what was on its way */
#define RABBIT_HELD_BUS 8                /* times `held`: what all of a bus have */
#define RABBIT_UNSENT_BYTES (4u << 20)   /* that a link holds for a socket that takes nothing */

#define RABBIT_HURRY_TEXT "it does not answer, and leat stops"

struct rabbit_bus;

/* ---- what control asks the node (rabbitmq_job.c; what is asked: rabbitmq_topology.c) ---- */

struct rabbit_job;
typedef void rabbit_job_fn(struct rabbit_job *j);
struct rabbit_job { /* lies in the asker's structure until `done` ran */
    struct list link;
    struct rabbit_bus *bus;
    rabbit_job_fn *work; /* on Q: begins; rabbit_job_end follows, then or later */
    rabbit_job_fn *done; /* on control */
    enum err err;
    unsigned code; /* of AMQP; 0: none */
    char text[320];
    /* Q, while it works. */
    struct rabbitmq_channel *channel; /* of its own; NULL: none at the moment */
    void (*after)(struct rabbit_job *j, const struct rabbitmq_answer *a);
    bool failed, ended;        /* what it asked was refused; it is through: both wait for the channel to be closed */
    struct list *at;           /* where it is in a list of things to do */
    uint64_t messages;         /* of the queue, when it was declared */
    bool differs;              /* the queue is there, and made otherwise than we would */
    bool at_stream, no_stream; /* it is at the channel's stream; that is down, and the channel does without */
};
/* Control. */
void rabbit_job_ask(struct rabbit_bus *k, struct rabbit_job *j, rabbit_job_fn *work, rabbit_job_fn *done);
void rabbit_jobs_finished(struct rabbit_bus *k); /* runs `done` of those that are through */
/* Q: the next thing it asks of the node; `after` gets the answer. False: it could not be asked, and the job has ended.
 */
bool rabbit_job_call(struct rabbit_job *j, uint32_t method, const void *decoded,
                     void (*after)(struct rabbit_job *j, const struct rabbitmq_answer *a));
/* Q: closes its channel; control runs `done`. `text` NULL: nothing to add. */
void rabbit_job_end(struct rabbit_job *j, enum err e, unsigned code, const char *text);
/* Q: the link is up or down. */
void rabbit_jobs_init(struct rabbit_bus *k); /* control, before the links */
void rabbit_jobs_up(struct rabbit_bus *k);
void rabbit_jobs_down(struct rabbit_bus *k);
void rabbit_jobs_arrived(void *bus);                                /* Q: bus.jobs_post's */
struct abroad_answer rabbit_job_answer(const struct rabbit_job *j); /* control, in `done` */

/* Work of rabbitmq_topology.c, of the structures that hold the job. */
void rabbit_topology_channel(struct rabbit_job *j);
void rabbit_topology_channel_remove(struct rabbit_job *j);
/* Looks at what it publishes to, and changes nothing; the settings stay until it is done. */
void rabbit_topology_look(struct rabbit_job *j, const struct rabbit_channel_settings *s);
void rabbit_topology_subscription(struct rabbit_job *j);
void rabbit_topology_subscription_remove(struct rabbit_job *j);

/* ---- loops ---- */

struct rabbit_loop {
    struct rabbit_bus *bus;
    struct loop *loop;
    bool bound;
    struct homeward homeward; /* appends that ended on P */
    pthread_mutex_t lock;
    struct list pages; /* under it: parts of reads (rabbitmq_read.c) */
    struct post *post;
};
struct rabbit_loop *rabbit_loop_find(struct rabbit_bus *k, const struct loop *loop);

/* ---- the publisher (rabbitmq_publisher.c) ---- */

struct rabbit_sent {           /* one append that the node has not answered */
    struct bus_append *append; /* NULL: answered, or given up */
    uint64_t since_ns;
    bool returned; /* no queue took it */
};

struct rabbit_publisher {
    struct rabbit_bus *bus;
    struct rabbitmq_link *link;
    struct post *post; /* to P */
    pthread_mutex_t lock;
    struct letter *in, **in_end; /* under it: appends to be sent: their letters */
    struct letter *marks;        /* under it: marks to be sent */
    char blocked[160];           /* under it: why the node takes no messages; empty: it does */
    atomic_bool up;              /* an AMQP channel is there, and the node takes messages */
    atomic_bool connecting;      /* for the first time: what is appended meanwhile waits for the outcome */
    atomic_bool stalled;         /* the last that was heard of an append is that it was not answered in time */
    _Atomic uint64_t connection; /* how many there were before this one, or the next */
    /* P's own. */
    struct rabbitmq_channel *channel;
    struct letter *held, **held_end; /* appends that wait for room in the link */
    struct rabbit_sent *sent;        /* owned: a ring; the number n lies at n & (size - 1) */
    uint64_t base, next;             /* numbers: the oldest that may not be answered, and the next */
    uint64_t hint;                   /* where the last returned message was found */
    size_t size;
    bool confirms;     /* the node confirmed something on this channel */
    uint64_t heard_ns; /* when it did so last */
    unsigned resets;   /* of the link, for want of confirms, since the last one */
    uint32_t frame_max;
    size_t body_bytes_max;               /* what the node was heard to take; 0: it did not say */
    struct amqp_table_entry_t_ *headers; /* owned: of the message that is being written */
    size_t header_count, header_room;
    struct buf scratch;
    struct loop_task flush;
    struct loop_timer late, again;
};
enum err rabbit_publisher_start(struct rabbit_bus *k) must_check;
void rabbit_publisher_quit(struct rabbit_bus *k); /* fini */
/* Any loop: it is sent, and ends by rabbit_append_done. */
void rabbit_publisher_send(struct rabbit_publisher *p, struct bus_append *a);

enum err rabbit_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                       struct loop *loop);
void rabbit_append_done(struct rabbit_loop *l); /* its loop: those that ended */

/* ---- channels (rabbitmq_channel.c): control's but where said ---- */

struct rabbit_rules { /* what a channel's parameters say. Newer ones stand beside it, since links may use it */
    struct rabbit_rules *older;
    struct rabbit_channel_settings settings; /* owned */
    struct ce_amqp_rules ce;
};

struct bus_channel {
    struct abroad_channel abroad;
    struct rabbit_bus *bus;
    struct rabbit_rules *_Atomic rules;
    struct rabbit_verify *verify; /* owned; NULL: nobody asks whether it takes events */
    struct rabbit_job job;
    atomic_bool stalled;           /* the last that was heard of an append is that it was not confirmed in time */
    _Atomic uint64_t barred_ns;    /* until when nothing is published: the node refused it; 0: it may be */
    bool unkept;                   /* its stream is down, and it does without */
    uint64_t down_ns;              /* since when it is down; 0: it is not */
    bool streamed, making_stream;  /* its stream is there; the job makes it so */
    uint64_t making_on;            /* P's connection when the job was asked */
    _Atomic uint64_t made_on;      /* the same, of the last one that found it well */
    atomic_uint reads, ends_asked; /* reads under way; of these, those that ask for its end */
    _Atomic uint64_t end;          /* of its stream, when it was asked for last; UINT64_MAX: not known */
    uint64_t known;                /* Q, the first: its stream is at least so long */
};

static inline struct bus_channel *rabbit_channel_of(const struct abroad_channel *a)
{
    return container_of(a, struct bus_channel, abroad);
}

/* Of abroad_ops. */
void rabbit_channel_make(struct abroad_channel *a);
void rabbit_channel_remove(struct abroad_channel *a);
void rabbit_channel_free(struct abroad_channel *a);
bool rabbit_channel_same(const struct abroad_channel *a, const struct abroad_channel *b);
bool rabbit_channel_used(const struct abroad_channel *a);
bool rabbit_channel_due(const struct abroad_channel *a, uint64_t now_ns);
void rabbit_subscription_make(struct abroad_subscription *a);
void rabbit_subscription_remove(struct abroad_subscription *a);
void rabbit_subscription_free(struct abroad_subscription *a);
void rabbit_subscription_todo(struct abroad_subscription *a);
void rabbit_subscription_probe(struct abroad_subscription *a, uint64_t now_ns, struct bus_probe *out);
void rabbit_channel_probe(const struct abroad_channel *a, struct bus_probe *out);

enum err rabbit_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                          struct bus_channel **out, struct bus_op *op, struct diag *d);
void rabbit_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op);
/* Any thread. */
bool rabbit_channel_barred(const struct bus_channel *c);
/* Any thread: it has a stream, which was not looked for since P's connection is there. Until then nothing is published:
 * a node that has just been started confirms what its queues have, before it has found its streams. */
bool rabbit_channel_unseen(const struct bus_channel *c);

/* ---- whether a channel takes events (rabbitmq_verify.c) ---- */
void rabbit_verify(struct bus *b, struct bus_channel *c, struct bus_op *op);

/* ---- links that consume (rabbitmq_consumer.c) ---- */

struct rabbit_consumer {
    struct rabbit_bus *bus;
    struct rabbitmq_link *link;
    struct post *post; /* to Q */
    pthread_mutex_t lock;
    struct list todo; /* under it: subscriptions, by todo_link */
    atomic_bool up;
    bool failed;             /* Q: it is down, and was not only not up yet */
    unsigned open, open_max; /* Q: AMQP channels that consume, and how many may */
    struct list subscriptions;
    struct rabbitmq_channel *looking; /* Q: for queues that nobody consumes */
    struct loop_timer sweep, patience;
    unsigned resets;                /* Q: of the link, for want of answers, since it was lost by itself */
    uint64_t answered_ns;           /* Q: when a consumer was made or ended, last */
    bool reset;                     /* Q: the loss that comes is one of these */
    struct ce_amqp_header *headers; /* Q, owned: of the message that is being read */
    size_t header_room;
};
void rabbit_consumer_timers_init(struct bus_subscription *s); /* control */
enum err rabbit_consumer_start(struct rabbit_bus *k, unsigned index) must_check;

/* ---- probes (rabbitmq_probe.c) ---- */
void rabbit_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out);
void rabbit_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out);
void rabbit_recount(struct bus *b);

/* ---- the bus ---- */

struct rabbit_bus {
    struct desk desk;
    struct abroad abroad;
    struct rabbit_settings settings;
    struct rabbitmq_client *client;
    struct rabbit_loop *loops; /* owned, one per loop */
    struct rabbit_publisher publisher;
    struct rabbit_consumer consumers[RABBIT_CONSUMERS];
    unsigned dealt[2]; /* subscriptions, to consumers: those of dead letters apart, which seldom have a stream */

    pthread_mutex_t jobs_lock;
    struct list jobs_in, jobs_done;  /* under it, as the next */
    struct list jobs_waiting;        /* Q's */
    unsigned jobs_working;           /* Q's */
    bool jobs_running;               /* Q's */
    struct post *jobs_post;          /* to the first Q */
    struct loop_timer jobs_patience; /* Q's */

    struct rabbit_reads reads;
    struct loop_timer patience; /* while it stops */
    uint64_t left;              /* things that stop waited for, when it looked last */
    atomic_bool hurry;          /* stop waits no more: links are given up, and nothing is asked of the node */
    uint64_t opened_ns;
    uint64_t wait_ns, hold_ns, sweep_ns; /* rabbitmq_consumer.c, sweep */
    bool connected;                      /* control: the node has been there */
    atomic_bool back;                    /* it has come, or come back */
    _Atomic uint64_t held_bytes;         /* of deliveries, of all subscriptions */
    _Atomic uint64_t recounts;           /* how often what is known was to be no older than that moment */
};

static inline struct rabbit_bus *rabbit_of(struct bus *b)
{
    return (struct rabbit_bus *)b;
}

static inline uint64_t rabbit_now(void)
{
    return clock_monotonic_ns(clock_system());
}

#endif
