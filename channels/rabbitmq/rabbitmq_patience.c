/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumers that the node does not answer. A node that has just been started may lose what it asks a quorum queue for
 * while that elects its leader, and then waits for the answer for half a minute and more, with the AMQP channel that
 * asked; on another connection the queue is served at once. So where basic.consume is not answered, and none of the
 * others either (a node that has a thousand to answer takes its time), the link is given up: after 2 seconds, then 4,
 * then 8, and no more until the connection was lost by itself, since a queue that has no leader at all (most of its
 * members are away, or its node was killed before it had written down whose log is the queue's) must not cost the
 * others their connection for ever. After another 8 it is said of the queue.
 *
 * On Q.
 */
#include "rabbitmq_subscription.h"

#define LOOK_NS (500 * NS_PER_MS)
#define PATIENCE_NS (2 * NS_PER_S)
#define RESETS_MAX 3
#define SAY_NS (8 * NS_PER_S)

static struct loop *loop_of(const struct rabbit_consumer *q)
{
    return rabbitmq_link_loop(q->link);
}

static bool waits(const struct bus_subscription *s)
{
    return s->changing && !s->closing;
}

/* The link is not given up again: of queues that were not answered in time it is told. Whether others wait still. */
static bool say(struct rabbit_consumer *q, uint64_t now)
{
    bool more = false;
    list_each(l, tmp, &q->subscriptions) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, tend_link);
        if (waits(s) && now - s->changing_ns < SAY_NS)
            more = true;
        else if (waits(s))
            rabbit_consumer_says(s, "RabbitMQ answers nobody who would consume it, as when a quorum queue has no "
                                    "leader: see `rabbitmq-queues quorum_status`");
    }
    return more;
}

static void look(struct loop_timer *t)
{
    struct rabbit_consumer *q = container_of(t, struct rabbit_consumer, patience);
    uint64_t now = rabbit_now(), oldest = now;
    list_each(l, tmp, &q->subscriptions) {
        const struct bus_subscription *s = container_of(l, struct bus_subscription, tend_link);
        if (waits(s) && s->changing_ns < oldest)
            oldest = s->changing_ns;
    }
    if (q->resets == RESETS_MAX) {
        if (say(q, now))
            loop_timer_start(loop_of(q), t, LOOK_NS);
        return;
    }
    if (oldest == now)
        return;
    if (now - oldest < PATIENCE_NS << q->resets || now - q->answered_ns < PATIENCE_NS << q->resets) {
        loop_timer_start(loop_of(q), t, LOOK_NS);
        return;
    }
    q->resets++;
    q->reset = true;
    rabbitmq_link_reset(q->link, ERR_TIMEOUT, "RabbitMQ does not let a queue be consumed");
}

void rabbit_patience_init(struct rabbit_consumer *q)
{
    loop_timer_init(&q->patience, look);
}

void rabbit_patience_begin(struct bus_subscription *s)
{
    struct rabbit_consumer *q = s->consumer;
    s->changing_ns = rabbit_now();
    if (!loop_timer_armed(&q->patience))
        loop_timer_start(loop_of(q), &q->patience, LOOK_NS);
}

void rabbit_patience_down(struct rabbit_consumer *q)
{
    if (!q->reset)
        q->resets = 0;
    q->reset = false;
}
