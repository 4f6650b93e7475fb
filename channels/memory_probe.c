/* SPDX-License-Identifier: Apache-2.0
 *
 * What the memory bus says of itself. Control's thread reads what the loops publish, without stopping them: each number
 * is right, but they are not of one instant.
 */
#include "memory.h"

static void add_age(uint64_t now, const struct memory_slot *s, struct bus_probe *out)
{
    uint64_t time = stat_read(&s->oldest_ns);
    if (time && now > time && now - time > out->oldest_age_ns)
        out->oldest_age_ns = now - time;
}

static void add_channel(struct bus_channel *c, uint64_t now, struct bus_probe *out)
{
    size_t n = c->bus->env.loop_count;
    out->bytes += stat_read(&c->bytes);
    for (size_t i = 0; i < n; i++) {
        out->events += stat_read(&c->parts[i].events);
        out->appended += stat_read(&c->parts[i].appended);
        out->dropped += stat_read(&c->parts[i].dropped);
        out->unmatched += stat_read(&c->parts[i].unmatched);
    }
    map_each(entry, tmp, &c->subscriptions) {
        const struct bus_subscription *s = entry->value;
        for (size_t i = 0; i < n; i++)
            add_age(now, &s->slots[i], out);
    }
}

void memory_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    struct memory_bus *m = memory_of(b);
    uint64_t now = clock_monotonic_ns(loop_clock(m->env.control));
    *out = (struct bus_probe){.healthy = true};
    if (c) {
        add_channel(c, now, out);
        return;
    }
    map_each(entry, tmp, &m->channels)
        add_channel(entry->value, now, out);
}

void memory_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    struct memory_bus *m = memory_of(b);
    uint64_t now = clock_monotonic_ns(loop_clock(m->env.control));
    *out = (struct bus_probe){.healthy = true};
    for (size_t i = 0; i < m->env.loop_count; i++) {
        const struct memory_slot *slot = &s->slots[i];
        out->events += stat_read(&slot->events);
        out->bytes += stat_read(&slot->bytes);
        out->appended += stat_read(&slot->appended);
        out->dropped += stat_read(&slot->dropped);
        add_age(now, slot, out);
    }
}
