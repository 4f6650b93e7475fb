/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumers that the node does not answer. A node that has just been started may lose what it asks a quorum queue for
 * while that elects its leader, and then waits for the answer for half a minute and more, with the AMQP channel that
 * asked; on another connection the queue is served at once. So where basic.consume is not answered, and none of the
 * others either (a node that has a thousand to answer takes its time), the link is given up: after 2 seconds, then 4,
 * then 8, and no more until the connection was lost by itself, since a queue that has no leader at all (most of its
 * members are away) must not cost the others their connection for ever.
 *
 * On Q.
 */
#include "rabbitmq_subscription.h"

#define LOOK_NS (500 * NS_PER_MS)
#define PATIENCE_NS (2 * NS_PER_S)
#define RESETS_MAX 3

static struct loop *loop_of(const struct rabbit_consumer *q)
{
    return rabbitmq_link_loop(q->link);
}

static void look(struct loop_timer *t)
{
    struct rabbit_consumer *q = container_of(t, struct rabbit_consumer, patience);
    uint64_t now = rabbit_now(), oldest = now;
    list_each(l, tmp, &q->subscriptions) {
        const struct bus_subscription *s = container_of(l, struct bus_subscription, tend_link);
        if (s->changing && !s->closing && s->changing_ns < oldest)
            oldest = s->changing_ns;
    }
    if (oldest == now || q->resets == RESETS_MAX)
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
