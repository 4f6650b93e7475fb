/* SPDX-License-Identifier: Apache-2.0
 *
 * A replay where the bus has no offsets (BUS_CAP_REWIND): a subscription of its own that begins in the past is drained,
 * and removed at the end.
 *
 *     control loop                                     home loop of the subscription that is replayed to
 *     subscribe "replay/CURSOR" from then on ────────→ attach; what is delivered and counts is injected, then
 *     look: is there nothing more? was it canceled?    acknowledged; credit holds it to REPLAY_AHEAD events
 *     it is to end ──────────────────────────────────→ what is under way ends; detach
 *     unsubscribe, remove; the task ended ←──────────
 *
 * When there is nothing more cannot be asked: it is when for a while nothing came that was appended before the replay
 * began. What was appended later is passed over: it goes its usual way. Control alone decides on the end, and tells it
 * once; the home loop says how it stands by atomics.
 *
 * As long as that subscription may be on the bus, who keeps such things knows (engine_reports.replaying): so what a
 * process leaves that is killed goes when the next one begins.
 */
#include "replay_parts.h"

#include <assert.h>
#include <stdio.h>

#include "clock.h"

#define LOOK_NS (100 * NS_PER_MS)
#define QUIET_NS (5 * NS_PER_S)        /* so long nothing of the past came: so there is nothing more */
#define QUIET_FIRST_NS (20 * NS_PER_S) /* before anything came at all: a seek needs its time to take effect */
#define NAME_ROOM 300
#define UNWELL_NS (60 * NS_PER_S) /* the bus is away so long, and the replay is given up */

static struct bus *bus_of(const struct replay *r)
{
    return r->past->bus->bus;
}

static struct loop *home_of(const struct replay *r)
{
    return r->injector.home->loop;
}

static uint64_t now_of(const struct replay *r)
{
    return clock_monotonic_ns(engine_clock(r->engine));
}

/* ---- home: what is delivered ---- */

static void stirs(struct replay *r)
{
    struct rewind *w = &r->rewind;
    atomic_store(&w->in_hand, (unsigned)w->count + r->injector.under_way);
    atomic_store(&w->stirred_ns, now_of(r));
}

static void settle(struct replay *r, struct bus_token token)
{
    struct bus *bus = bus_of(r);
    bus->ops->settle(bus, r->rewind.stream, token, BUS_ACK);
    bus->ops->credit(bus, r->rewind.stream, 1);
}

/* It is of the past, and of what was asked for. */
static bool is_meant(struct replay *r, int64_t wall_ns)
{
    struct rewind *w = &r->rewind;
    atomic_store(&w->came, true);
    if (wall_ns > r->now_ns)
        return false;
    stirs(r);
    return wall_ns <= r->order.to_ns && (r->next.kind != BUS_START_TIME || wall_ns >= r->next.wall_ns);
}

static void deliver(void *arg, struct bus_stream *stream, const struct ce_event *event, struct bus_token token,
                    unsigned attempt)
{
    struct replay *r = arg;
    struct rewind *w = &r->rewind;
    int64_t wall_ns = bus_of(r)->ops->appended_at(bus_of(r), stream, token);
    bool meant = is_meant(r, wall_ns) && replay_counts(r, event);
    (void)attempt;
    if (!meant || r->order.dry_run || w->over) {
        if (meant && !w->over)
            replay_counted(r, event, NULL, wall_ns);
        settle(r, token);
        return;
    }
    assert(w->count < REPLAY_AHEAD);
    w->waiting[(w->first + w->count++) % REPLAY_AHEAD] = (struct rewind_event){ce_event_ref(event), token};
    stirs(r);
    r->injector.advance(&r->injector);
}

static bool same(struct bus_token a, struct bus_token b)
{
    return a.a == b.a && a.b == b.b;
}

/* The bus hands it out once more, and it comes again; what is under way of it ends, and says nothing to the bus. */
static void revoked(void *arg, struct bus_stream *stream, struct bus_token token)
{
    struct replay *r = arg;
    struct rewind *w = &r->rewind;
    size_t kept = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct rewind_event e = w->waiting[(w->first + i) % REPLAY_AHEAD];
        if (same(e.token, token))
            ce_event_unref(e.event);
        else
            w->waiting[(w->first + kept++) % REPLAY_AHEAD] = e;
    }
    w->count = kept;
    for (size_t i = 0; i < INJECTIONS_MAX; i++)
        if (r->slots[i].busy && same(r->slots[i].token, token))
            r->slots[i].revoked = true;
    bus_of(r)->ops->credit(bus_of(r), stream, 1);
    stirs(r);
}

/* ---- home: injecting ---- */

static void injected(struct dispatch_injection *i, enum dispatch_end how)
{
    struct replay_slot *slot = i->owner;
    struct replay *r = slot->replay;
    replay_slot_ended(slot, how);
    if (!slot->revoked && how != DISPATCH_RELEASED) /* else it is given back by the end */
        settle(r, slot->token);
    stirs(r);
    r->injector.advance(&r->injector);
}

/* False: not now; the end of one under way, or the injector, goes on. */
static bool begin_one(struct replay *r)
{
    struct rewind *w = &r->rewind;
    struct replay_slot *slot = replay_free_slot(r);
    struct rewind_event *event = &w->waiting[w->first];
    if (!slot || !injector_due(&r->injector))
        return false;
    *slot = (struct replay_slot){.injection = {.done = injected, .owner = slot}, .replay = r, .token = event->token};
    enum err e = injector_begin(&r->injector, event->event, &slot->injection);
    if (e == ERR_NOMEM)
        injector_later(&r->injector, INJECT_FULL_WAIT_NS);
    if (e != OK)
        return false;
    slot->busy = true;
    ce_event_unref(event->event);
    w->first = (w->first + 1) % REPLAY_AHEAD;
    w->count--;
    return true;
}

static void forget(struct replay *r)
{
    struct rewind *w = &r->rewind;
    r->released = w->count > 0 ? 0 : r->released;
    for (; w->count > 0; w->count--, w->first = (w->first + 1) % REPLAY_AHEAD)
        ce_event_unref(w->waiting[w->first].event);
}

static void detached(struct bus_op *op, enum err err);

static void advance(struct injector *i)
{
    struct replay *r = container_of(i, struct replay, injector);
    struct rewind *w = &r->rewind;
    while (w->count > 0 && !w->over && !injector_over(i))
        if (!begin_one(r))
            break;
    atomic_store(&w->stuck, i->no_stream);
    if (!w->over || i->under_way > 0 || w->leaving)
        return;
    w->leaving = true;
    forget(r);
    injector_fini(i);
    r->op = (struct bus_op){.done = detached};
    bus_of(r)->ops->detach(bus_of(r), w->stream, &r->op);
}

static void removed(struct letter *m);

static void detached(struct bus_op *op, enum err err)
{
    struct replay *r = container_of(op, struct replay, op);
    (void)err;
    r->letter.run = removed;
    loop_post_reserved(engine_control(r->engine), &r->letter);
}

static void begin(struct letter *m)
{
    static const struct bus_stream_callbacks callbacks = {deliver, revoked};
    struct replay *r = container_of(m, struct replay, letter);
    struct rewind *w = &r->rewind;
    r->injector.advance = advance;
    injector_init(&r->injector);
    r->error = bus_of(r)->ops->attach(bus_of(r), w->handle, home_of(r), &callbacks, r, &w->stream);
    if (r->error) {
        injector_fini(&r->injector);
        r->letter.run = removed;
        loop_post_reserved(engine_control(r->engine), &r->letter);
        return;
    }
    stirs(r);
    atomic_store(&w->begun, true);
    bus_of(r)->ops->credit(bus_of(r), w->stream, REPLAY_AHEAD);
}

/* Control wants its end. */
static void is_over(struct letter *m)
{
    struct replay *r = container_of(m, struct replay, letter);
    r->rewind.over = true;
    advance(&r->injector);
}

/* ---- control ---- */

static void name_of(const struct engine_subscription *s, char out[NAME_ROOM])
{
    snprintf(out, NAME_ROOM, "replay/%s", s->cursor);
}

static void is_there(const struct engine_subscription *s, bool there)
{
    const struct engine_reports *reports = &s->engine->reports;
    if (reports->replaying)
        reports->replaying(reports->arg, s->cursor, there);
}

static void unsubscribed(struct bus_op *op, enum err err)
{
    struct replay *r = container_of(op, struct replay, op);
    (void)err; /* the bus has said what it could not remove, and it goes by itself */
    is_there(r->subscription, false);
    replay_ended(&r->letter);
}

static void leave(struct replay *r)
{
    struct bus *bus = bus_of(r);
    loop_timer_stop(r->engine->control, &r->rewind.look);
    r->op = (struct bus_op){.done = unsubscribed};
    bus->ops->unsubscribe(bus, r->rewind.handle, true, &r->op);
}

static void removed(struct letter *m)
{
    leave(container_of(m, struct replay, letter));
}

/* Whether the bus is away for too long; *well: it is there now. */
static bool given_up(struct replay *r, bool *well)
{
    struct rewind *w = &r->rewind;
    struct bus_probe probe = {0};
    uint64_t now = now_of(r);
    bus_of(r)->ops->probe_subscription(bus_of(r), w->handle, &probe);
    *well = probe.healthy;
    if (*well)
        w->well_ns = now;
    if (now - w->well_ns < UNWELL_NS)
        return false;
    r->error = ERR_UNAVAILABLE;
    snprintf(r->why, sizeof r->why, "%s", probe.reason);
    return true;
}

static bool is_through(const struct replay *r)
{
    const struct rewind *w = &r->rewind;
    uint64_t quiet_ns = atomic_load(&w->came) ? QUIET_NS : QUIET_FIRST_NS;
    return atomic_load(&w->in_hand) == 0 && now_of(r) - atomic_load(&w->stirred_ns) > quiet_ns;
}

static void look(struct loop_timer *t)
{
    struct replay *r = container_of(t, struct replay, rewind.look);
    bool well = false, ends = false;
    if (atomic_load(&r->rewind.begun)) {
        ends = given_up(r, &well) || atomic_load(&r->rewind.stuck) || atomic_load(&r->task->cancel);
        r->last = !ends && well && is_through(r);
    }
    if (!ends && !r->last) {
        loop_timer_start(r->engine->control, t, LOOK_NS);
        return;
    }
    r->letter.run = is_over;
    loop_post_reserved(home_of(r), &r->letter);
}

static void subscribed(struct bus_op *op, enum err err)
{
    struct replay *r = container_of(op, struct replay, op);
    struct rewind *w = &r->rewind;
    if (err) {
        r->error = err;
        snprintf(r->why, sizeof r->why, "%s", op->text ? op->text : "");
        leave(r);
        return;
    }
    w->well_ns = now_of(r);
    loop_timer_init(&w->look, look);
    loop_timer_start(r->engine->control, &w->look, LOOK_NS);
    r->letter.run = begin;
    loop_post_reserved(home_of(r), &r->letter);
}

enum err replay_rewind(struct replay *r)
{
    static const struct bus_param none = {"order", "none"};
    struct bus *bus = bus_of(r);
    char name[NAME_ROOM];
    name_of(r->subscription, name);
    loop_timer_init(&r->rewind.look, look);
    r->op = (struct bus_op){.done = subscribed};
    is_there(r->subscription, true);
    enum err e = bus->ops->subscribe(bus, r->past->handle, slice_str(name), &r->order.from, r->own, &none,
                                     r->subscription->ordered ? 0 : 1, &r->rewind.handle, &r->op, NULL);
    if (e)
        is_there(r->subscription, false);
    return e;
}

/* ---- what a killed process left ---- */

static void sweep_ended(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, op);
    (void)err; /* likewise */
    s->leftover = NULL;
    is_there(s, false);
    s->swept(s);
}

static void sweep_found(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, op);
    (void)err;
    *op = (struct bus_op){.done = sweep_ended};
    s->bus->bus->ops->unsubscribe(s->bus->bus, s->leftover, true, op);
}

bool replay_sweep(struct engine_subscription *s, void (*swept)(struct engine_subscription *s))
{
    const struct engine_reports *reports = &s->engine->reports;
    struct bus *bus = s->bus->bus;
    char name[NAME_ROOM];
    if (!(bus->capabilities & BUS_CAP_REWIND) || !reports->was_replaying ||
        !reports->was_replaying(reports->arg, s->cursor))
        return false;
    name_of(s, name);
    s->swept = swept;
    s->op = (struct bus_op){.done = sweep_found};
    return bus->ops->subscribe(bus, s->channel->handle, slice_str(name), NULL, NULL, NULL, 0, &s->leftover, &s->op,
                               NULL) == OK;
}
