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
    if (rabbit_bus_closed(k))
        return ERR_CLOSED;
    if (atomic_load_explicit(&c->state, memory_order_acquire) != RABBIT_READY)
        return ERR_UNAVAILABLE;
    if (atomic_load(&c->rules)->settings.queue)
        return ERR_UNSUPPORTED; /* it is somebody's queue */
    if (atomic_load_explicit(&c->stalled, memory_order_relaxed) && atomic_load(&c->pending) > 0)
        return ERR_UNAVAILABLE;
    if (rabbit_channel_barred(c))
        return ERR_UNAVAILABLE;
    if (!atomic_load_explicit(&p->up, memory_order_relaxed) && !atomic_load(&p->connecting))
        return ERR_UNAVAILABLE;
    if (atomic_load_explicit(&p->stalled, memory_order_relaxed) && atomic_load(&k->pending) > 0)
        return ERR_UNAVAILABLE;
    return OK;
}

/* Counts it in, or refuses: one event goes always, so that one larger than the bound is taken alone. */
static enum err count_in(struct rabbit_bus *k, struct bus_channel *c, uint64_t charge)
{
    uint64_t before = atomic_fetch_add(&k->pending_bytes, charge);
    if (before && before + charge > k->settings.buffer) {
        atomic_fetch_sub(&k->pending_bytes, charge);
        return ERR_FULL;
    }
    atomic_fetch_add(&k->pending, 1);
    atomic_fetch_add(&c->pending, 1);
    return OK;
}

void rabbit_channel_let_go(struct bus_channel *c)
{
    struct rabbit_bus *k = c->bus;
    unsigned before = atomic_fetch_sub(&c->pending, 1);
    assert(before > 0);
    if (before == 1 && atomic_load(&k->going_count))
        post_send(k->post);
}

static void count_out(struct bus_channel *c, uint64_t charge)
{
    struct rabbit_bus *k = c->bus;
    atomic_fetch_sub(&k->pending_bytes, charge);
    rabbit_channel_let_go(c);
    if (atomic_fetch_sub(&k->pending, 1) == 1 && rabbit_bus_closed(k))
        post_send(k->post);
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
    e = count_in(k, c, a->charge);
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
