/* SPDX-License-Identifier: Apache-2.0
 *
 * How many bytes of deliveries are held. AMQP bounds what a consumer is sent by a count of messages, and RabbitMQ knows
 * no bound in bytes; with messages of a megabyte a prefetch of thousands would be gigabytes. So there are two bounds:
 *
 *     held                                 a subscription that holds more is `slow`: its consumer is ended, what was on
 *                                          its way is taken, and when half is free another one consumes with a prefetch
 *                                          that suits the size of what came. It grows again when messages are smaller
 *     RABBIT_HELD_HARD times that, or      it is `full`: what comes is forgotten and stays unsettled at the node. When
 *     RABBIT_HELD_BUS times of the bus     all that is held is settled, its AMQP channel is closed, so that the node
 *                                          puts the rest back, and another one is opened
 *
 * The second is the last resort: a quorum queue (3.10) puts what comes back behind what came back before, so that order
 * may be lost. Who holds nothing takes one message whatever its size, so that everything is delivered.
 *
 * On Q.
 */
#include "rabbitmq_subscription.h"

/* So many of this size fill half of the bound; where others hold too much, one. */
static void learn(struct bus_subscription *s, uint64_t count, uint64_t bytes)
{
    uint64_t bound = s->bus->settings.held, most = bound / 2 / (bytes / count + 1);
    s->most = bytes > bound && most > 1 ? (uint32_t)most : 1;
    desk_notice(&s->bus->desk, 0, "DeliveriesBounded",
                "subscription %s: %llu events of queue %s are %llu bytes, and what is held at a time is bounded "
                "(held); %u are taken at once from now on",
                s->abroad.name, (unsigned long long)count, s->settings.queue, (unsigned long long)bytes, s->most);
}

bool rabbit_held_room(struct bus_subscription *s, uint64_t bytes)
{
    uint64_t bound = s->bus->settings.held, of_bus = atomic_load(&s->bus->held_bytes) + bytes;
    pthread_mutex_lock(&s->lanes.lock);
    uint64_t count = s->lanes.held, held = s->lanes.held_bytes + bytes;
    bool room = !s->full && (count == 0 || (held <= RABBIT_HELD_HARD * bound && of_bus <= RABBIT_HELD_BUS * bound));
    s->abroad.arrivals += !room;
    s->returning += !room;
    pthread_mutex_unlock(&s->lanes.lock);
    bool too_much = !room || held > bound;
    if (too_much && !s->slow)
        learn(s, count + 1, held);
    s->full = !room;
    s->slow |= too_much;
    if (!too_much && s->most && count + 1 >= s->prefetch && held < bound / 8)
        s->most = s->most < RABBIT_PREFETCH_MAX ? 4 * s->most : 0;
    return room;
}

bool rabbit_held_waits(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    bool waits = s->slow && s->lanes.held > 0 && s->lanes.held_bytes > s->bus->settings.held / 2;
    pthread_mutex_unlock(&s->lanes.lock);
    return waits;
}

uint32_t rabbit_held_allows(const struct bus_subscription *s, uint32_t wanted)
{
    return s->most && s->most < wanted ? s->most : wanted;
}

/* Where we are alone, a little more: with few credits it is not waited for the node each time, and growing credit makes
 * few consumers. Where others share the queue, what is prefetched is theirs no more. */
uint32_t rabbit_held_prefetch(const struct bus_subscription *s, uint32_t wanted)
{
    uint32_t most = RABBIT_PREFETCH_MIN;
    if (s->settings.work || atomic_load(&s->channel->rules)->settings.queue)
        return rabbit_held_allows(s, wanted);
    while (most < wanted)
        most *= 4;
    return rabbit_held_allows(s, most);
}
