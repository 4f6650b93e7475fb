/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the RabbitMQ bus: a queue, its consumer at a link, the events that came from it, and the streams
 * that drain them.
 */
#ifndef LEAT_CHANNELS_RABBITMQ_SUBSCRIPTION_H
#define LEAT_CHANNELS_RABBITMQ_SUBSCRIPTION_H

#include "rabbitmq_bus.h"

/* ---- subscriptions ---- */

struct rabbit_entry {        /* one delivery of the node */
    struct lane_entry entry; /* the first: what frees it there frees this. Its number rises with the queue's order */
    struct list out;         /* Q: of its consumer's, in the order of tags */
    uint64_t tag, since_ns;  /* AMQP's; when it came */
    bool settled, returns;   /* Q: to be acknowledged, to be handed back */
};

enum rabbit_todo {
    RABBIT_TEND = 1 << 0,    /* look whether its consumer is as it should be */
    RABBIT_SETTLED = 1 << 1, /* something is to be acknowledged */
    RABBIT_COUNT = 1 << 2,   /* ask how long the queue is */
};

struct bus_subscription {
    struct abroad_subscription abroad; /* its id: settings.queue */
    /* Control's. */
    struct bus_channel *channel;
    struct rabbit_bus *bus;
    struct rabbit_consumer *consumer; /* whose link has it; constant */
    struct rabbit_subscription_settings settings;
    struct rabbit_job job;

    struct lanes lanes;          /* with its lock, under which is all that follows up to Q's own */
    uint64_t numbers;            /* of entries */
    bool made;                   /* its queue is there */
    uint64_t refused, returning; /* messages that can be no event; that go back with their AMQP channel */
    uint64_t counted_ns;         /* when it was asked how long the queue is; 0: never */
    uint64_t counted_as;         /* bus.recounts then */
    bool asked;                  /* it is being asked for */
    bool missing;                /* the queue is not there */

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
    uint64_t first_count, first_appended, first_arrivals, first_asked_ns, first_as;
    bool first_moves;        /* appends were under way when it was asked, or its consumer came or went */
    unsigned moved;          /* answers that did not count, since one did */
    bool growing, gathering; /* it waits for a moment to take a larger prefetch; for the streams of all loops */
    struct loop_timer again, linger;
};

static inline struct bus_subscription *rabbit_subscription_of(const struct abroad_subscription *a)
{
    return container_of(a, struct bus_subscription, abroad);
}

/* Any thread, under the subscription's lock or not. */
void rabbit_consumer_todo(struct bus_subscription *s, unsigned what);
/* Q. */
void rabbit_consumer_says(struct bus_subscription *s, const char *why); /* what is wrong with it; empty: nothing */
/* rabbitmq_patience.c: of a link; the node was asked for a consumer; the link is down. */
void rabbit_patience_init(struct rabbit_consumer *q);
void rabbit_patience_begin(struct bus_subscription *s);
void rabbit_patience_down(struct rabbit_consumer *q);
void rabbit_consumer_count(struct bus_subscription *s);         /* rabbitmq_count.c */
void rabbit_consumer_looking_closed(struct rabbit_consumer *q); /* likewise: the link is gone */
/* rabbitmq_held.c. An event of so many bytes has come; whether it may be held. If not, the subscription is `full`. */
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

#endif
