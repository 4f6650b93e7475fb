/* SPDX-License-Identifier: Apache-2.0
 *
 * Parking: an event that nobody took is appended to its subscription's dead-letter channel on the same bus, with what
 * happened as extensions, so that it is never lost silently.
 */
#include "shard.h"

#include <stdlib.h>

#include "parked.h"

struct parking {
    struct bus_append append;
    void (*parked)(void *arg, enum err err);
    void *arg;
    struct loop_task task; /* for a failure at once, which may not be told inside the call */
    enum err error;
};

static void end(struct parking *p, enum err e)
{
    void (*parked)(void *, enum err) = p->parked;
    void *arg = p->arg;
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

static enum err append(struct park *place, const struct ce_event *event, struct parking *p)
{
    struct engine_channel *channel = place->subscription->parked;
    struct bus *bus = channel->bus->bus;
    return bus->ops->append(bus, channel->handle, event, &p->append, place->shard->loop);
}

static enum err park(struct park *place, const struct dispatch_failure *failure, struct parking *p)
{
    const struct ce_event *event;
    if (!place->subscription->parked_ready)
        return ERR_UNAVAILABLE;
    enum err e = parked_make(failure, clock_wall_ns(loop_clock(place->shard->loop)), &event);
    if (e != OK)
        return e;
    e = append(place, event, p);
    ce_event_unref(event);
    if (e == ERR_TOO_LARGE) /* what happened to it made it too large for the bus that held it before */
        e = append(place, failure->event, p);
    return e;
}

void park_event(void *park_arg, const struct dispatch_failure *failure, void (*parked)(void *arg, enum err err),
                void *arg)
{
    struct park *place = park_arg;
    struct parking *p = calloc(1, sizeof *p);
    if (!p) {
        parked(arg, ERR_NOMEM);
        return;
    }
    p->append.done = appended;
    p->parked = parked;
    p->arg = arg;
    p->error = park(place, failure, p);
    if (p->error == OK)
        return;
    loop_task_init(&p->task, failed_at_once);
    loop_defer(place->shard->loop, &p->task);
}
