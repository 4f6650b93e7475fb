/* SPDX-License-Identifier: Apache-2.0
 *
 * Parking: an event that nobody took is appended to its subscription's dead-letter channel on the same bus, with what
 * happened as extensions, so that it is never lost silently.
 */
#include "shard.h"

#include <stdio.h>
#include <stdlib.h>

#include "text.h"

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

/* The original with knativeerrordest, knativeerrorcode, knativeerrordata (as dead letters carry them) and leatattempts.
 */
static enum err describe(const struct dispatch_failure *f, const struct ce_event **out)
{
    char code[12], attempts[12];
    struct buf data;
    struct ce_builder b;
    buf_init(&data, 2048);
    struct slice head = {f->data.ptr, f->data.len < DISPATCH_ERROR_DATA_MAX ? f->data.len : DISPATCH_ERROR_DATA_MAX};
    base64_put(&data, head);
    ce_builder_from(&b, f->event);
    ce_builder_replace(&b, SLICE("knativeerrordest"), CE_STRING, slice_str(f->destination));
    snprintf(code, sizeof code, "%d", f->status);
    if (f->status)
        ce_builder_replace(&b, SLICE("knativeerrorcode"), CE_STRING, slice_str(code));
    ce_builder_replace(&b, SLICE("knativeerrordata"), CE_STRING, buf_slice(&data));
    snprintf(attempts, sizeof attempts, "%u", f->attempts);
    ce_builder_replace(&b, SLICE("leatattempts"), CE_STRING, slice_str(attempts));
    enum err e = buf_error(&data);
    if (e == OK)
        e = ce_builder_seal(&b, CE_EVENT_BYTES_MAX, out, NULL);
    buf_fini(&data);
    return e;
}

static enum err park(struct park *place, const struct dispatch_failure *failure, struct parking *p)
{
    struct engine_channel *channel = place->subscription->parked;
    const struct ce_event *event;
    if (!place->subscription->parked_ready)
        return ERR_UNAVAILABLE;
    enum err e = describe(failure, &event);
    if (e != OK)
        return e;
    e = channel->bus->bus->ops->append(channel->bus->bus, channel->handle, event, &p->append, place->shard->loop);
    ce_event_unref(event);
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
