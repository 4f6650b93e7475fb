/* SPDX-License-Identifier: Apache-2.0
 *
 * What a bus says of itself as it is now. Where other processes work on the same bus, what this one knows may be a
 * while old: it is told to recount, says so (bus_probe.counting), and asks the system behind it; so the probe is
 * repeated until it is fresh.
 */
#include "engine_parts.h"

#define POLL_NS (20 * NS_PER_MS)
#define FRESH_NS_MAX (3 * NS_PER_S) /* then what is known must do */

static void look(struct loop_timer *t)
{
    struct engine_fresh *f = container_of(t, struct engine_fresh, timer);
    const struct engine *e = f->engine;
    struct bus *bus = f->bus->bus;
    struct bus_probe probe = {0};
    bus->ops->probe(bus, f->channel, &probe);
    bool counting = probe.counting; /* what others appended, too */
    if (f->handle)
        bus->ops->probe_subscription(bus, f->handle, &probe);
    probe.counting |= counting;
    if (probe.counting && bus->capabilities & BUS_CAP_SHARED && loop_now_ns(e->control) < f->deadline_ns)
        loop_timer_start(e->control, t, POLL_NS);
    else
        f->done(f, &probe);
}

void engine_fresh_start(struct engine_fresh *f)
{
    loop_timer_init(&f->timer, look);
    if (f->bus->bus->ops->recount)
        f->bus->bus->ops->recount(f->bus->bus);
    f->deadline_ns = loop_now_ns(f->engine->control) + FRESH_NS_MAX;
    look(&f->timer);
}
