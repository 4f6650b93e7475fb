/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading what has passed. A channel may keep it (`stream`): beside the queues of its subscriptions a stream queue is
 * bound to its exchange, which RabbitMQ reads by offset or time, as often as one likes, and which settles nothing.
 *
 * AMQP tells nobody where a stream ends. So a mark is sent into it, a message of ours without an event: it lies behind
 * all that was confirmed before, and who reads up to it has read that. It goes by an exchange of its own, which has the
 * stream's name and nothing else bound to it, and is published by P: who publishes may be made to wait (a memory
 * alarm), and Q must not.
 */
#ifndef LEAT_CHANNELS_RABBITMQ_READ_H
#define LEAT_CHANNELS_RABBITMQ_READ_H

#include <pthread.h>
#include <stdatomic.h>

#include "bus.h"
#include "list.h"

#define RABBIT_READS_MAX 4      /* at the node at a time, each on an AMQP channel of the first consumers' link */
#define RABBIT_READ_PREFETCH 16 /* events that a read has from the node ahead; its loop has as many more at most */
#define RABBIT_READ_NS (10 * NS_PER_S)   /* without anything from the node a read has failed */
#define RABBIT_MARK_NS (500 * NS_PER_MS) /* until a mark that did not come is sent again */
#define RABBIT_CLOCKS_NS                                                                                               \
    (60 * (int64_t)NS_PER_S) /* by how much the node's clock and ours may differ: times are ours                       \
                              */
#define RABBIT_MARK_HEADER "leat_mark"
#define RABBIT_TIME_HEADER "timestamp_in_ms" /* as RabbitMQ's own interceptor calls it */
#define RABBIT_MARK_MAX 64

struct rabbit_bus;
struct rabbit_loop;
struct rabbit_publisher;
struct rabbitmq_message;

struct rabbit_reads {
    struct post *post; /* to Q */
    pthread_mutex_t lock;
    struct list in;            /* under it: reads on their way to Q */
    atomic_uint count;         /* that have not ended */
    struct list waiting, open; /* Q's */
    unsigned open_count;       /* Q's */
    uint64_t marks;            /* Q's: sent */
    char name[40];             /* before the number of a mark: another process's is not ours */
};

void rabbit_reads_init(struct rabbit_bus *k);
enum err rabbit_reads_start(struct rabbit_bus *k) must_check; /* behind the links */
void rabbit_reads_stop(struct rabbit_bus *k);                 /* control: all end with ERR_CLOSED */
void rabbit_reads_quit(struct rabbit_bus *k);                 /* fini */
void rabbit_reads_arrived(struct rabbit_loop *l);             /* its loop: what Q has for it */
void rabbit_reads_forget(struct rabbit_loop *l);              /* fini */

enum err rabbit_read(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                     void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                     void *arg, struct bus_op *op, struct loop *loop);
/* Control: bus.h. */
enum err rabbit_browse(struct bus *b, struct bus_channel *c);

/* What a message of a stream is beside an event (rabbitmq_message.c). */
struct rabbit_place_in_stream {
    bool has_offset;
    uint64_t offset;
    int64_t wall_ns;   /* 0: its writer does not say */
    struct slice mark; /* empty: it is none; as long as the message */
};
void rabbit_message_place(const struct rabbitmq_message *m, struct rabbit_place_in_stream *out);

/* Any thread: P sends a mark, if it can; one that does not come is to be asked for again. */
void rabbit_publisher_mark(struct rabbit_publisher *p, const char *exchange, const char *mark);

#endif
