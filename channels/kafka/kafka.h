/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka bus: channels are topics, subscriptions are consumer groups. What its files share.
 *
 *     append  ──→ producer (one, idempotent, acks=all) ──→ broker          data loops; librdkafka's threads
 *     done    ←── letter ←── D, which waits for delivery reports            a thread of ours
 *     deliver ←── queue of a partition, which sends a post ←── consumer    data loops read; one consumer a subscription
 *     settle  ──→ ledger of the partition ──→ commit                        data loop; control commits
 *     everything that blocks (topics, start offsets, lags, closing) ──→ C   the clerk, a thread of ours
 *     read    ──→ R, with a consumer of its own without a group             a thread of ours, only while somebody reads
 *
 * Invariants.
 * K1. done(OK) follows the broker's acknowledgement by all in-sync replicas, never earlier.
 * K2. A partition of a subscription belongs to at most one stream, and only that stream's loop touches its window,
 *     ledger and entries. Control moves it with letters; it is moved only when its loop has let go of it.
 * K3. What is committed never covers an event that is not settled: the committed offset is that of the oldest unsettled
 *     event, and the metadata of the commit names what is settled beyond it (kafka_ledger.h).
 * K4. At most KAFKA_WINDOW offsets lie between the oldest unsettled event of a partition and the newest taken from it:
 *     what is settled beyond fits into one commit. A partition whose window is full waits; the others go on.
 * K5. No callback of a stream runs for a token after that token was revoked, or its stream detached.
 * K6. A consumer exists only while its subscription has a stream, and a little longer: what nobody drains costs no
 *     thread.
 *
 * Threads: C(ontrol), L (a data loop), D, K (the clerk), R; the letter behind a member says who may touch it.
 */
#ifndef LEAT_CHANNELS_KAFKA_H
#define LEAT_CHANNELS_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bus.h"
#include "kafka_client.h"
#include "kafka_ledger.h"
#include "list.h"
#include "map.h"

#define KAFKA_PARTITIONS_MAX 1000 /* of a topic: more is a mistake in a manifest */
#define KAFKA_COMMIT_MS 200       /* how long a settle waits for its commit at most: what a kill -9 may repeat */
#define KAFKA_ASK_MS 10000        /* one request of the clerk: topic, offsets; then it is an error and told */
#define KAFKA_SEND_MS 10000       /* an append that the broker has not acknowledged by then has failed: 503 */

struct kafka_bus;

/* ---- settings (kafka_settings.c) ---- */

/* clang-format off */
/* Of the bus; those of kafka_client_knows go there. All but bootstrap.servers may be left out:
 *     prefix                  before every topic and group (shared clusters, tests); default none
 *     topic.partitions        of topics that it makes: 1
 *     topic.replication       -1: the cluster's default
 *     mode                    binary, structured: how events are written
 *     buffer                  bytes that wait for the broker at most: 32 MiB
 *     fetch                   bytes that a subscription's consumer holds ahead at most: 4 MiB
 *     session                 after how long without a sign of life a member's partitions go to others: 10s
 *     keep                    how often the group of a subscription that nobody drains shows a sign of life, lest the
 *                             broker forget its offsets (offsets.retention.minutes, 7 days by default): 24h
 * Of a channel:
 *     topic                   its name; default knative-messaging-kafka.NS.NAME, dead letters leat-dead-letter.CURSOR
 *     topic.external          true: it is somebody else's: it must be there, is never made, changed or removed
 *     topic.partitions, topic.replication, topic.retention (a duration; "forever"), topic.config.NAME
 *     partitions=1            as bus.h says: refused where the topic has more
 *     mode                    as above
 *     record.plain            true: strangers read what it writes, so nothing of ours stands in it (KafkaSink)
 *     record.source, record.key, record.override.NAME    how records are read that are no CloudEvents (ce_kafka.h)
 * Of a subscription:
 *     group                   the consumer group; default leat.NS.CHANNEL.CURSOR
 *     group.start             where a partition begins that has no committed offset: earliest (default: subscribe
 *                             commits the group's start offsets, so only partitions that come later have none) */
/* clang-format on */

struct kafka_settings {
    char *prefix; /* owned, "" when none */
    int32_t partitions;
    int16_t replication;
    enum ce_mode mode;
    uint64_t buffer, fetch; /* bytes */
    int session_ms;
    uint64_t keep_ns;
};

/* ---- kafka_clerk.c: K, for what blocks ---- */

struct kafka_job;
typedef void kafka_job_fn(struct kafka_job *j);
struct kafka_job { /* lies in the asker's structure until `done` ran */
    struct list link;
    kafka_job_fn *work; /* on K; may block for KAFKA_ASK_MS */
    kafka_job_fn *done; /* on control, after work; or work never ran and `err` is ERR_CLOSED (stop) */
    struct kafka_bus *bus;
    enum err err;   /* set by work */
    char text[320]; /* set by work: why, for people */
};
/* From control. Jobs run in order, one at a time. */
void kafka_clerk_ask(struct kafka_bus *k, struct kafka_job *j);

/* ---- ops of kafka_subscription.c and kafka_stream.c, as in bus.h ---- */
enum err kafka_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                         struct filter *filter, const struct bus_param *params, size_t count,
                         struct bus_subscription **out, struct bus_op *op, struct diag *d);
void kafka_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op);
enum err kafka_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                      const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out);
void kafka_detach(struct bus *b, struct bus_stream *stream, struct bus_op *op);
void kafka_credit(struct bus *b, struct bus_stream *stream, unsigned n);
void kafka_settle(struct bus *b, struct bus_stream *stream, struct bus_token token, enum bus_settle how);
void kafka_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out);
/* For stop: every consumer commits and leaves its group; `done` on control when the last is gone. */
void kafka_subscriptions_stop(struct kafka_bus *k, void (*done)(struct kafka_bus *k));
/* fini, no loop runs: frees what is left, streams too. */
void kafka_subscriptions_free(struct bus_channel *c);
/* Adds to a channel's probe: events, bytes, oldest_age_ns, counting; healthy and reason where one has something to say.
 */
void kafka_subscriptions_probe(struct bus_channel *c, struct bus_probe *out);
/* A topic of the channel was made anew: what its groups committed means nothing any more; they begin at 0. */
void kafka_subscriptions_restart(struct bus_channel *c);

#endif
