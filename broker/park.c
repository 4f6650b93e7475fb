/* SPDX-License-Identifier: Apache-2.0
 *
 * Parking: an event that nobody took is appended to its subscription's dead-letter channel on the same bus, with what
 * happened as extensions, so that it is never lost silently. The first one may have to wait until there is that channel
 * (engine_parked.c).
 */
#include "shard.h"

#include <stdlib.h>

#include "parked.h"

struct parking {
    struct bus_append append;
    struct park place;                       /* its stream's own may be gone meanwhile */
    struct engine_park_wait wait;            /* for the channel: */
    const struct ce_event *event, *original; /* references, while it waits */
    bool waits;                              /* it came to that */
    void (*parked)(void *arg, enum err err);
    void *arg;
    struct loop_task task; /* for a failure at once, which may not be told inside the call */
    enum err error;
};

static void left(struct engine_park_wait *w)
{
    free(container_of(w, struct parking, wait));
}

static void end(struct parking *p, enum err e)
{
    void (*parked)(void *, enum err) = p->parked;
    void *arg = p->arg;
    p->event = ce_event_unref(p->event);
    p->original = ce_event_unref(p->original);
    if (p->waits)
        engine_parked_leave(&p->wait);
    else
        free(p);
    parked(arg, e);
}

static void appended(struct bus_append *a, enum err e)
{
    end(container_of(a, struct parking, append), e);
}

static void failed_at_once(struct loop_task *t)
{
    struct parking *p = container_of(t, struct parking, task);
    end(p, p->error);
}

static enum err append(struct parking *p, const struct ce_event *event)
{
    const struct engine_subscription *s = p->place.subscription;
    struct bus *bus = s->parked->bus->bus;
    return bus->ops->append(bus, s->parked->handle, event, &p->append, p->place.shard->loop);
}

static enum err append_either(struct parking *p, const struct ce_event *event, const struct ce_event *original)
{
    enum err e = append(p, event);
    if (e == ERR_TOO_LARGE) /* what happened to it made it too large for the bus that held it before */
        e = append(p, original);
    return e;
}

/* Not inside the call that asked for it. */
static void end_soon(struct parking *p, enum err e)
{
    p->error = e;
    loop_task_init(&p->task, failed_at_once);
    loop_defer(p->place.shard->loop, &p->task);
}

static void made(struct engine_park_wait *w)
{
    struct parking *p = container_of(w, struct parking, wait);
    enum err e = w->error;
    if (e == OK)
        e = append_either(p, p->event, p->original);
    if (e != OK)
        end(p, e);
}

static bool is_ready(const struct engine_subscription *s)
{
    return atomic_load_explicit(&s->parked_ready, memory_order_acquire);
}

/* The event and its original wait here for the channel. */
static enum err await_channel(struct parking *p, const struct ce_event *event, const struct ce_event *original)
{
    if (!p->place.subscription->parked_late)
        return ERR_UNAVAILABLE;
    p->event = ce_event_ref(event);
    p->original = ce_event_ref(original);
    p->waits = true;
    p->wait = (struct engine_park_wait){
        .subscription = p->place.subscription, .home = p->place.shard->loop, .made = made, .left = left};
    engine_parked_await(&p->wait);
    return OK;
}

static enum err park(struct parking *p, const struct dispatch_failure *failure)
{
    const struct ce_event *event;
    enum err e = parked_make(failure, clock_wall_ns(loop_clock(p->place.shard->loop)), &event);
    if (e != OK)
        return e;
    if (is_ready(p->place.subscription))
        e = append_either(p, event, failure->event);
    else
        e = await_channel(p, event, failure->event);
    ce_event_unref(event);
    return e;
}

void park_event(void *park_arg, const struct dispatch_failure *failure, void (*parked)(void *arg, enum err err),
                void *arg)
{
    struct parking *p = calloc(1, sizeof *p);
    if (!p) {
        parked(arg, ERR_NOMEM);
        return;
    }
    p->append.done = appended;
    p->place = *(const struct park *)park_arg;
    p->parked = parked;
    p->arg = arg;
    enum err e = park(p, failure);
    if (e != OK)
        end_soon(p, e);
}
