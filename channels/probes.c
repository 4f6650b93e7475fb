/* SPDX-License-Identifier: Apache-2.0
 *
 * Adding up probes: see probes.h.
 */
#include "probes.h"

#include <stdio.h>
#include <string.h>

void bus_probe_unwell(struct bus_probe *p, enum err err, const char *why)
{
    if (!p->healthy)
        return;
    p->healthy = false;
    p->err = err;
    snprintf(p->reason, sizeof p->reason, "%s", why);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void bus_probe_join(struct bus_probe *channel, const struct bus_probe *subscription)
{
    channel->events = larger(channel->events, subscription->events);
    channel->bytes = larger(channel->bytes, subscription->bytes);
    channel->oldest_age_ns = larger(channel->oldest_age_ns, subscription->oldest_age_ns);
    channel->counting |= subscription->counting;
    if (!subscription->healthy)
        bus_probe_unwell(channel, subscription->err, subscription->reason);
}

void bus_probe_add(struct bus_probe *bus, const struct bus_probe *channel)
{
    bus->events += channel->events;
    bus->bytes += channel->bytes;
    bus->counting |= channel->counting;
    bus->oldest_age_ns = larger(bus->oldest_age_ns, channel->oldest_age_ns);
}

void bus_probe_count(struct bus_probe *bus, const struct bus_probe *sum)
{
    struct bus_probe numbers = *sum;
    numbers.healthy = bus->healthy;
    numbers.err = bus->err;
    memcpy(numbers.reason, bus->reason, sizeof numbers.reason);
    *bus = numbers;
}
