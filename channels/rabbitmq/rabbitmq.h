/* SPDX-License-Identifier: Apache-2.0
 *
 * The RabbitMQ bus: channels are exchanges, subscriptions are queues. What its files share.
 *
 *     append  ──→ P, the publisher's link ──→ exchange (fanout, durable) ──→ a queue for each subscription
 *     done    ←── letter ←── P ←── confirm                                                │
 *     deliver ←── lanes of the subscription ←── Q, a consumers' link ←── basic.deliver ←──┘
 *     settle  ──→ list of the subscription ──→ Q ──→ basic.ack
 *     exchanges, queues and bindings made, looked at, removed: jobs of control, done on the first Q
 *
 * Invariants.
 * R1. done(OK) follows the node's confirm, and no basic.return before it while the channel has a subscription.
 * R2. An event of a subscription is in exactly one place: in a lane, taken by one stream, or in the list of what is
 *     settled. All three are under the subscription's lock.
 * R3. Events of one key lie in one lane, in the order of the queue, and a lane has one owner: another stream gets it
 *     only when nothing of it is unsettled. So no event of a key overtakes another when streams come and go.
 * R4. A delivery is acknowledged on the AMQP channel that brought it, or not at all: with a channel all that it brought
 *     is lost (`lost`), its tokens are revoked, and the node hands it out again.
 * R5. No callback of a stream runs for a token after that token was revoked, or its stream detached.
 * R6. A queue is consumed only while its subscription has a stream with credit, and a little longer; what the node
 *     sends ahead is bounded by the largest credit that its streams ever had at once.
 *
 * Threads: C(ontrol), L (a data loop), P and Q (links: include/rabbitmq_link.h).
 */
#ifndef LEAT_CHANNELS_RABBITMQ_H
#define LEAT_CHANNELS_RABBITMQ_H

#include "bus.h"
#include "ce_amqp.h"
#include "rabbitmq_client.h"

/* clang-format off */
/* Of the bus; those of rabbitmq_client_knows go there. All but url or host may be left out:
 *     prefix                  before every exchange and queue (shared nodes, tests); default none
 *     queue.type              quorum (default), classic: of the queues that it makes
 *     shared                  order (default): of several processes one consumes a queue, and the next takes over when
 *                             it goes, so that order is kept; work: all of them share the work, in no order
 *     mode                    binary, structured: how events are written
 *     bare                    true: reads also what Knative's Rabbit parts write, attributes without ce- before them
 *     buffer                  bytes that wait for the node's confirm at most: 32 MiB
 *     stream                  false (default); dead-letters, true: what is parked, or every channel, is kept in a
 *                             stream, too, so that it can be read again
 *     retention-age, retention-bytes    how much of it a stream keeps, whichever is met first: 24h, 1GiB
 *     held                    bytes of deliveries beyond which a subscription asks for less: 32 MiB. It never holds
 *                             more than four times that, nor the bus more than eight times, or one event
 *     consumer.timeout        the node's consumer_timeout, after which it ends a consumer that has not settled a
 *                             message: 30m, which is the node's default
 * Of a channel:
 *     exchange                its name; default leat.NS.NAME, dead letters leat-dead-letter.CURSOR
 *     exchange.external       true: it is somebody else's: it must be there, is never made or removed
 *     queue                   the channel is this queue (RabbitmqSource): nothing is appended, subscriptions consume it
 *     queue.external          true: it must be there. Else it is made, with `exchange` (of type headers) and a binding
 *     queue.type, mode, bare, retention-age, retention-bytes   as above
 *     stream                  true, false: as above
 *     partitions=1            as bus.h says
 *     record.source, record.override.NAME    how messages are read that are no CloudEvents (ce_amqp.h)
 * Of a subscription:
 *     queue                   its queue; default leat.NS.CHANNEL.CURSOR
 *     queue.type, shared      as above */
/* clang-format on */

struct rabbit_retention {
    uint64_t age_ns, bytes;
};

enum rabbit_streams { RABBIT_STREAMS_NONE, RABBIT_STREAMS_PARKED, RABBIT_STREAMS_ALL };

struct rabbit_settings {
    char *prefix; /* owned, "" when none */
    enum rabbit_streams streams;
    struct rabbit_retention retention;
    bool classic, work, bare;
    enum ce_mode mode;
    uint64_t buffer, held; /* bytes */
    uint64_t timeout_ns;
};

struct rabbit_channel_settings {
    char *exchange; /* owned, with the bus's prefix unless external; NULL: a queue without one */
    char *queue;    /* owned; NULL: the usual channel */
    char *stream; /* owned: what its stream is called, if it has one, and the exchange of its marks; NULL of a queue */
    bool is_stream;
    struct rabbit_retention retention;
    bool exchange_external, queue_external, classic, bare, one_part;
    enum ce_mode mode;
    char *source;                   /* owned, as what follows; NULL: none */
    struct ce_attribute *overrides; /* names and values owned */
    size_t override_count;
};

struct rabbit_subscription_settings {
    char *queue; /* owned */
    bool classic, work;
};

enum err rabbit_settings_read(const struct bus_param *params, size_t count, struct rabbit_settings *out,
                              struct diag *d) must_check;
void rabbit_settings_fini(struct rabbit_settings *s);
enum err rabbit_channel_settings_read(const struct rabbit_settings *bus, struct slice name,
                                      const struct bus_param *params, size_t count, struct rabbit_channel_settings *out,
                                      struct diag *d) must_check;
void rabbit_channel_settings_fini(struct rabbit_channel_settings *s);
/* `channel` is its name, of_it what it says. */
enum err rabbit_subscription_settings_read(const struct rabbit_settings *bus, const char *channel,
                                           const struct rabbit_channel_settings *of_it, struct slice name,
                                           const struct bus_param *params, size_t count,
                                           struct rabbit_subscription_settings *out, struct diag *d) must_check;
void rabbit_subscription_settings_fini(struct rabbit_subscription_settings *s);

#endif
