/* SPDX-License-Identifier: Apache-2.0
 *
 * Replays as the control loop sees them: what they hold, how they end, and what is said of that.
 */
#include "replay.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "replay_parts.h"

#define SHOWN_BYTES_MAX (1u << 20) /* ids and sources may be long */

static bool all_done(const struct replay *r)
{
    return r->last && r->error == OK && r->released == UINT64_MAX;
}

/* Where it would have to go on; false when there is nothing left of it, or it has not begun. */
static bool left(const struct replay *r, uint64_t *offset)
{
    if (r->rewind.handle) /* it has no offsets */
        return false;
    *offset = r->released != UINT64_MAX ? r->released : r->next.offset;
    return !all_done(r) && (r->released != UINT64_MAX || r->next.kind == BUS_START_OFFSET);
}

static void explain(const struct replay *r, bool canceled)
{
    struct task *t = r->task;
    unsigned long long failed = atomic_load(&t->failed);
    uint64_t offset;
    char on[64] = "";
    if (left(r, &offset))
        snprintf(on, sizeof on, "; --from %llu goes on", (unsigned long long)offset);
    if (r->error != OK && r->why[0])
        snprintf(t->message, sizeof t->message, "%.250s", r->why);
    else if (r->error != OK)
        snprintf(t->message, sizeof t->message, "the channel could not be read: %s%s", err_name(r->error), on);
    else if (r->injector.no_stream)
        snprintf(t->message, sizeof t->message,
                 "nothing drains the subscription: it is paused, gone, or could not be started%s", on);
    else if (canceled)
        snprintf(t->message, sizeof t->message, "%s", *on ? on + 2 : "");
    else if (failed)
        snprintf(t->message, sizeof t->message, "%llu failed and are parked", failed);
}

static void replay_free(struct replay *r)
{
    filter_unref(r->own);
    filter_unref(r->order.filter);
    buf_fini(&r->shown);
    free(r->events);
    free(r);
}

/* Not of what only looks. */
static void tell(const struct replay *r, bool bad, const char *reason, const char *message)
{
    if (!r->order.dry_run)
        engine_happened(r->subscription, &(struct happening){.warning = bad, .reason = reason, .message = message});
}

static void tell_end(const struct replay *r, enum task_state state)
{
    const struct task *t = r->task;
    char message[600];
    snprintf(message, sizeof message, "task %llu%s%s %s: %llu delivered%s%s", (unsigned long long)t->id,
             t->by[0] ? " of " : "", t->by, task_state_name(state), (unsigned long long)atomic_load(&t->done),
             t->message[0] ? "; " : "", t->message);
    tell(r, state == TASK_FAILED, state == TASK_FAILED ? "ReplayFailed" : "ReplayEnded", message);
}

void replay_ended(struct letter *m)
{
    struct replay *r = container_of(m, struct replay, letter);
    struct engine *e = r->engine;
    struct task *t = r->task;
    bool canceled = atomic_load(&t->cancel) && !all_done(r);
    enum task_state state = canceled ? TASK_CANCELED : all_done(r) ? TASK_DONE : TASK_FAILED;
    explain(r, canceled);
    atomic_store(&t->total, atomic_load(&t->done) + atomic_load(&t->failed));
    if (buf_error(&r->shown) == OK)
        t->shown = buf_take_string(&r->shown);
    log_line(state == TASK_FAILED ? LOG_WARN : LOG_INFO, "replay.task",
             "id=%llu kind=%s what=%s done=%llu failed=%llu text=%s", (unsigned long long)t->id, t->kind,
             log_value(t->what), (unsigned long long)atomic_load(&t->done), (unsigned long long)atomic_load(&t->failed),
             log_value(t->message));
    tell_end(r, state);
    task_end(&e->tasks, t, state);
    list_remove(&r->link);
    r->subscription->replays--;
    r->channel->users--;
    engine_subscription_unused(e, r->subscription);
    engine_channel_unused(e, r->channel);
    replay_free(r);
    engine_replays_check(e);
}

/* ---- the start ---- */

static struct replay *replay_new(struct engine *e, struct engine_subscription *s, const struct replay_order *order)
{
    struct replay *r = calloc(1, sizeof *r);
    struct replay_event *events = calloc(REPLAY_PAGE_MAX, sizeof *events);
    if (!r || !events) {
        free(r);
        free(events);
        return NULL;
    }
    r->events = events;
    r->engine = e;
    r->subscription = s;
    r->channel = s->channel;
    r->past = order->parked && s->parked ? s->parked : s->channel;
    r->order = *order;
    r->own = s->filter && !order->parked ? filter_ref(s->filter) : NULL;
    r->next = order->from;
    r->now_ns = clock_wall_ns(engine_clock(e));
    r->released = UINT64_MAX;
    buf_init(&r->shown, SHOWN_BYTES_MAX);
    return r;
}

/* The end is above the last offset that counts: what is appended from now on does not. */
static void begin(struct engine_fresh *f, const struct bus_probe *probe)
{
    struct replay *r = container_of(f, struct replay, fresh);
    r->end = r->order.to_offset < probe->end ? r->order.to_offset + 1 : probe->end;
    r->last = r->end == 0;
    atomic_store(&r->task->until, r->end);
    r->letter.run = replay_arrived;
    loop_post_reserved(r->injector.home->loop, &r->letter);
}

/* Not by pages of offsets, but by a subscription of its own. */
static bool rewinds(const struct engine_channel *c, const struct replay_order *order)
{
    return !order->parked && c->bus->bus->capabilities & BUS_CAP_REWIND;
}

/* Both would have the subscription replay/CURSOR. */
static bool is_replayed(const struct engine *e, const struct engine_subscription *s)
{
    list_each(l, tmp, &e->replays)
        if (container_of(l, struct replay, link)->subscription == s)
            return true;
    return false;
}

static enum err can_rewind(const struct engine *e, const struct engine_subscription *s,
                           const struct replay_order *order)
{
    if (order->from.kind == BUS_START_OFFSET || order->to_offset != UINT64_MAX)
        return ERR_INVALID;
    return is_replayed(e, s) ? ERR_EXISTS : OK;
}

static enum err can_be_read(const struct engine_channel *c)
{
    struct bus *bus = c->bus->bus;
    if (bus->ops->browse)
        return bus->ops->browse(bus, c->handle);
    return bus->capabilities & BUS_CAP_BROWSE ? OK : ERR_UNSUPPORTED;
}

enum err replay_start(struct engine *e, struct engine_subscription *s, const char *what, struct replay_order *order,
                      struct task **out)
{
    assert(order->from.kind != BUS_START_LATEST);
    if (e->stopped)
        return ERR_CLOSED;
    if (!s->ready || !s->channel->ready)
        return ERR_UNAVAILABLE;
    if (order->parked && !s->parked_handle && !s->parked_late)
        return ERR_UNAVAILABLE;
    bool rewound = rewinds(s->channel, order);
    enum err err = rewound ? can_rewind(e, s, order) : can_be_read(order->parked && s->parked ? s->parked : s->channel);
    if (err)
        return err;
    struct replay *r = replay_new(e, s, order);
    if (!r)
        return ERR_NOMEM;
    err = task_start(&e->tasks, order->dry_run ? "dry-run" : "replay", what, &r->task);
    if (err != OK) {
        r->order.filter = NULL; /* the caller's still */
        replay_free(r);
        return err;
    }
    memcpy(r->task->by, order->by, sizeof r->task->by);
    order->filter = NULL;
    r->injector = (struct injector){.home = e->shards[shard_home(s->cursor, e->shard_count)],
                                    .subscription = s,
                                    .task = r->task,
                                    .interval_ns = r->order.interval_ns};
    if (rewound) {
        err = replay_rewind(r);
        if (err) {
            task_end(&e->tasks, r->task, TASK_FAILED);
            r->order.filter = NULL;
            replay_free(r);
            return err;
        }
    }
    char message[80 + TASK_BY_MAX];
    snprintf(message, sizeof message, "events are delivered again, as task %llu%s%s", (unsigned long long)r->task->id,
             order->by[0] ? " of " : "", order->by);
    tell(r, false, "ReplayBegun", message);
    s->replays++;
    r->channel->users++;
    list_push_back(&e->replays, &r->link);
    *out = r->task;
    if (rewound)
        return OK;
    if (order->parked && !s->parked) {
        static const struct bus_probe nothing;
        begin(&r->fresh, &nothing);
        return OK;
    }
    r->fresh = (struct engine_fresh){.engine = e, .bus = r->past->bus, .channel = r->past->handle, .done = begin};
    engine_fresh_start(&r->fresh);
    return OK;
}
