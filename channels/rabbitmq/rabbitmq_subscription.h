/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the RabbitMQ bus: a queue, its consumer at a link, the events that came from it, and the streams
 * that drain them.
 */
#ifndef LEAT_CHANNELS_RABBITMQ_SUBSCRIPTION_H
#define LEAT_CHANNELS_RABBITMQ_SUBSCRIPTION_H

#include "rabbitmq_bus.h"

/* ---- subscriptions ---- */

enum rabbit_place { RABBIT_LANE, RABBIT_TAKEN, RABBIT_SETTLED_LIST };

struct rabbit_entry {             /* one delivery of the node */
    struct list link;             /* in a lane, taken, or settled (R2) */
    struct list out;              /* Q: of its consumer's, in the order of tags */
    const struct ce_event *event; /* owned */
    uint64_t tag, number;         /* AMQP's; ours, which rises with the queue's order */
    uint64_t since_ns;
    unsigned attempt;
    uint8_t lane;
    enum rabbit_place place;   /* under the lock, as what follows */
    struct bus_stream *stream; /* TAKEN: by it */
    bool lost;                 /* TAKEN: its AMQP channel is gone, or it was handed back */
    bool back;                 /* SETTLED: to be handed back */
    bool settled, returns;     /* Q: to be acknowledged, to be handed back */
};

struct rabbit_lane {
    struct list entries;      /* waiting, by number */
    struct list ready;        /* in its owner's `ready`, while entries wait */
    struct bus_stream *owner; /* NULL: none; of the common lane always */
    unsigned open;            /* entries that a stream has */
    struct bus_stream *next;  /* who is to own it when open is 0; NULL: the owner stays */
    uint64_t moving_ns;       /* since when */
};

enum rabbit_todo {
    RABBIT_TEND = 1 << 0,    /* look whether its consumer is as it should be */
    RABBIT_SETTLED = 1 << 1, /* something is to be acknowledged */
    RABBIT_COUNT = 1 << 2,   /* ask how long the queue is */
};

struct bus_subscription {
    /* Control's. */
    struct list link; /* of its channel */
    struct bus_channel *channel;
    struct rabbit_bus *bus;
    struct rabbit_consumer *consumer; /* whose link has it; constant */
    char *name;                       /* owned */
    struct rabbit_subscription_settings settings;
    unsigned refs;
    enum rabbit_state state;
    bool remove, busy; /* busy: the job is under way */
    bool counted_in;   /* in its channel's subscription_count */
    struct loop_task begin;
    struct list closing_link; /* of bus.closing */
    struct bus_op *ops, *going;
    struct rabbit_job job;
    uint64_t ask_ns;
    char reason[320];
    uint64_t behind_ns; /* since when there is a backlog, as seen by probes; 0: there is none */

    pthread_mutex_t lock;      /* of all that follows up to Q's own */
    struct rabbit_lane *lanes; /* owned, RABBIT_LANES + 1; NULL before the first stream */
    struct list streams;       /* by link, in the order of their loops */
    size_t stream_count;
    struct list settled;               /* entries on their way to Q */
    uint64_t numbers;                  /* of entries */
    uint32_t wanted;                   /* prefetch: what its streams may have at once */
    bool made;                         /* its queue is there */
    bool close, closed;                /* control wants it let go; Q has */
    uint64_t held, held_bytes;         /* entries that are not settled (rabbitmq_held.c) */
    uint64_t refused, returning;       /* messages that can be no event; that go back with their AMQP channel */
    uint64_t ready, appended, arrived; /* in the queue, of the channel, from the queue: when it was asked */
    uint64_t arrivals;                 /* from the queue until now */
    uint64_t counted_ns;               /* when; 0: never */
    bool asked;                        /* it is being asked for */
    bool missing;                      /* the queue is not there */
    char why[200];                     /* what its consumer met; empty: nothing */

    unsigned todo;         /* under consumer.lock */
    struct list todo_link; /* likewise */

    /* Q's own. */
    struct list tend_link; /* of consumer.subscriptions */
    bool known;            /* it is in that list */
    struct rabbitmq_channel *amqp;
    struct list out; /* entries that were not acknowledged, by tag */
    uint32_t prefetch;
    uint32_t most;      /* that it may be, for the size of what comes; 0: anything (rabbitmq_held.c) */
    bool slow, full;    /* it holds too much; far too much: until there is another consumer, AMQP channel */
    unsigned consumers; /* that it made: part of the tag */
    bool consuming, counting, closing;
    bool
        changing; /* a cancel or a consume is not answered: their answers may come behind those of what is asked next */
    uint64_t changing_ns;               /* since when */
    struct rabbitmq_channel *counts_on; /* where the queue's length is asked for */
    uint64_t first_count, first_appended, first_arrivals, first_asked_ns;
    bool first_pending;      /* appends were under way when it was asked */
    bool growing, gathering; /* it waits for a moment to take a larger prefetch; for the streams of all loops */
    struct loop_timer again, linger;
};

/* Any thread, under the subscription's lock or not. */
void rabbit_consumer_todo(struct bus_subscription *s, unsigned what);
/* Q. */
/* rabbitmq_patience.c: of a link; the node was asked for a consumer; the link is down. */
void rabbit_patience_init(struct rabbit_consumer *q);
void rabbit_patience_begin(struct bus_subscription *s);
void rabbit_patience_down(struct rabbit_consumer *q);
void rabbit_consumer_count(struct bus_subscription *s);         /* rabbitmq_count.c */
void rabbit_consumer_looking_closed(struct rabbit_consumer *q); /* likewise: the link is gone */
/* rabbitmq_held.c. Under the lock: one more is held, one less. */
void rabbit_held_add(struct bus_subscription *s, const struct ce_event *e);
void rabbit_held_take(struct bus_subscription *s, const struct ce_event *e);
/* An event of so many bytes has come; whether it may be held. If not, the subscription is `full`. */
bool rabbit_held_room(struct bus_subscription *s, uint64_t bytes);
bool rabbit_held_waits(struct bus_subscription *s); /* until less is held it is not to have another consumer */
uint32_t rabbit_held_allows(const struct bus_subscription *s, uint32_t wanted);   /* of that prefetch, by bytes */
uint32_t rabbit_held_prefetch(const struct bus_subscription *s, uint32_t wanted); /* what consume is asked with */
/* rabbitmq_message.c; on q's thread. */
enum err rabbit_message_read(struct rabbit_consumer *q, const struct bus_channel *c, const char *queue,
                             const struct rabbitmq_message *m, const struct ce_event **out) must_check;
enum err rabbit_message_event(struct bus_subscription *s, const struct rabbitmq_message *m,
                              const struct ce_event **out) must_check;
unsigned rabbit_message_attempt(const struct rabbitmq_message *m);

enum err rabbit_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                          struct filter *filter, const struct bus_param *params, size_t count,
                          struct bus_subscription **out, struct bus_op *op, struct diag *d);
void rabbit_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op);
void rabbit_subscriptions_look(struct bus_channel *c);  /* control: those that were refused */
void rabbit_subscriptions_start(struct bus_channel *c); /* control: the channel is ready: those that wait */
void rabbit_subscriptions_free(struct bus_channel *c);

/* ---- dealing (rabbitmq_deal.c): under the subscription's lock ---- */

enum err rabbit_deal_init(struct bus_subscription *s) must_check; /* its lanes */
/* A new entry, or one that came back: into its lane, by number; a stream is told. */
void rabbit_deal_put(struct bus_subscription *s, struct rabbit_entry *e);
/* At most n entries for this stream, appended to `out`; how many. *rest_ns: when to ask again, of lanes that rest. */
unsigned rabbit_deal_take(struct bus_stream *st, unsigned n, struct list *out, uint64_t *rest_ns);
/* A stream has one entry less of this lane. */
void rabbit_deal_closed(struct bus_subscription *s, unsigned lane);
/* Streams came or went: lanes get their owners. */
void rabbit_deal_streams(struct bus_subscription *s);
/* All that waits, appended to `out`. `lane` RABBIT_COMMON + 1: of all lanes. */
void rabbit_deal_drain(struct bus_subscription *s, unsigned lane, struct list *out);
void rabbit_entry_free(struct rabbit_entry *e);

/* ---- streams (rabbitmq_stream.c): their loop's but where said ---- */

struct bus_stream {
    struct bus_subscription *subscription;
    struct loop *loop;
    size_t index;      /* of the loop */
    struct list link;  /* under the lock: of its subscription */
    struct list ready; /* under the lock: lanes with something for it */
    bool hungry;       /* under the lock: it has credit, and found nothing */
    bool lost;         /* under the lock: some of its entries are */
    uint32_t reach;    /* under the lock: credit and flights, the most there ever were */
    struct bus_stream_callbacks callbacks;
    void *arg;
    uint64_t credit;
    uint32_t open; /* flights */
    struct flights flights;
    struct list taken; /* entries that are not yet delivered */
    struct post *post;
    struct loop_task task, flush;
    struct loop_timer timer;
    uint64_t pumped_ns;
    bool awake, pumped;
    bool *gone; /* set while callbacks run: whether it was detached meanwhile */
};
enum err rabbit_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                       const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out);
void rabbit_detach(struct bus *b, struct bus_stream *stream, struct bus_op *op);
void rabbit_credit(struct bus *b, struct bus_stream *stream, unsigned n);
void rabbit_settle(struct bus *b, struct bus_stream *stream, struct bus_token token, enum bus_settle how);
void rabbit_stream_free(struct bus_stream *st); /* fini */

#endif
