/* SPDX-License-Identifier: Apache-2.0
 *
 * Append, on its loop: counted in, handed to the publisher's link, and ended here when that has heard of it.
 *
 * Bounds: bytes of events under way, of the whole bus (`buffer`). A node that does not answer is not queued for:
 * without a connection, and while the node takes no messages (its memory or disk alarm), appends are refused at once;
 * and when one was not confirmed in time, one at a time goes out until one is: of its channel, or of all when the node
 * confirmed nothing else either.
 */
#include "rabbitmq_bus.h"

#include <assert.h>

#define EVENT_OVERHEAD 256 /* what is held of an append beside its event, roughly: counted in `buffer` */

static enum err refused(struct rabbit_bus *k, const struct bus_channel *c)
{
    const struct rabbit_publisher *p = &k->publisher;
    if (desk_closed(&k->desk))
        return ERR_CLOSED;
    if (atomic_load_explicit(&c->abroad.state, memory_order_acquire) != ABROAD_READY)
        return ERR_UNAVAILABLE;
    if (atomic_load(&c->rules)->settings.queue)
        return ERR_UNSUPPORTED; /* it is somebody's queue */
    if (atomic_load_explicit(&c->stalled, memory_order_relaxed) && atomic_load(&c->abroad.pending) > 0)
        return ERR_UNAVAILABLE;
    if (rabbit_channel_barred(c) || rabbit_channel_unseen(c))
        return ERR_UNAVAILABLE;
    if (!atomic_load_explicit(&p->up, memory_order_relaxed) && !atomic_load(&p->connecting))
        return ERR_UNAVAILABLE;
    if (atomic_load_explicit(&p->stalled, memory_order_relaxed) && atomic_load(&k->desk.pending) > 0)
        return ERR_UNAVAILABLE;
    return OK;
}

static void count_out(struct bus_channel *c, uint64_t charge)
{
    desk_count_out(&c->bus->desk, &c->abroad.pending, charge, 1);
}

enum err rabbit_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                       struct loop *loop)
{
    struct rabbit_bus *k = rabbit_of(b);
    struct rabbit_loop *l = rabbit_loop_find(k, loop);
    assert(l->bound && c->bus == k);
    enum err e = refused(k, c);
    if (e)
        return e;
    a->charge = ce_event_size(event) + EVENT_OVERHEAD;
    e = desk_count_in(&k->desk, &c->abroad.pending, a->charge);
    if (e)
        return e;
    a->home = l->loop;
    a->channel = c;
    a->owner = l;
    a->event = ce_event_ref(event);
    rabbit_publisher_send(&k->publisher, a);
    return OK;
}

void rabbit_append_done(struct rabbit_loop *l)
{
    homeward_tell(&l->homeward, count_out);
}
