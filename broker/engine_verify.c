/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether buses answer for the channels on them: a channel that is Ready stays so while they do.
 *
 *     a plan:   provision ──→ verify ──→ ready                                              (engine_apply.c)
 *     a round:  of each channel that took no event since the last one:  verify ──→ well
 *                                                                          └─────→ fault ──→ again, soon ──→ over
 *
 * A round begins VERIFY_NS after the one before, give or take a quarter, so that several processes do not ask together.
 * An event that was taken is an answer, so channels in use are not asked about. What one process has for itself costs
 * nothing to ask, and is asked about at once; of what is shared VERIFY_LOT channels in VERIFY_LOT_NS, so that 10,000 of
 * them cost as little a second as a few hundred. A bus that is away as a whole is not asked about each of its channels:
 * what it says of itself is told of all of them (engine_faults.c).
 *
 * That no answer came is told when it happens VERIFY_MISSES times in a row; what an answer says is wrong, at once.
 */
#include "engine_parts.h"

#include <assert.h>
#include <stdlib.h>

#define VERIFY_NS (30 * NS_PER_S) /* how late a condition may be where nobody sends */
#define VERIFY_AGAIN 6            /* so many times as often while something is wrong */
#define VERIFY_LOT 64             /* of shared buses: Kafka looks at so many topics one by one, at more in one go */
#define VERIFY_LOT_NS (3 * NS_PER_S)
#define VERIFY_MISSES 2

struct engine_verify {
    struct list link; /* of engine.verify_due */
    struct engine_channel *channel;
    struct bus_op op;
    uint64_t accepted; /* as it was seen last */
    unsigned missed;   /* so many times in a row no answer came */
    bool under_way;
};

static uint64_t interval(const struct engine *e)
{
    return e->options.verify_ns ? e->options.verify_ns : VERIFY_NS;
}

static uint64_t accepted(const struct engine_channel *c)
{
    return atomic_load_explicit(&c->accepted, memory_order_relaxed);
}

static bool is_wrong(const struct engine_channel *c)
{
    return c->fault.asked || c->verify->missed > 0;
}

/* ---- time ---- */

static void arm(struct engine *e)
{
    uint64_t now = loop_now_ns(e->control), wait = e->verify_round_ns > now ? e->verify_round_ns - now : 0;
    if (e->stopped)
        return;
    if (!list_empty(&e->verify_due))
        wait = VERIFY_LOT_NS;
    else if (e->verify_wrong && wait > interval(e) / VERIFY_AGAIN)
        wait = interval(e) / VERIFY_AGAIN;
    loop_timer_start(e->control, &e->verify, wait);
}

/* ---- answers ---- */

static bool is_silence(enum err err)
{
    return err == ERR_UNAVAILABLE || err == ERR_TIMEOUT || err == ERR_NOMEM;
}

static void well(struct engine_channel *c)
{
    c->verify->missed = 0;
    if (!c->fault.asked)
        return;
    c->fault.asked = false;
    if (c->fault.looked) /* the bus had said something else by itself: in its words, if it still does */
        engine_look_soon(c->engine);
    else
        engine_fault_over(c->engine, &c->fault, c->key);
}

static void unwell(struct engine_channel *c, enum err err, const char *why)
{
    struct engine_verify *v = c->verify;
    struct engine *e = c->engine;
    v->accepted = accepted(c); /* what was taken before proves nothing any more */
    v->missed++;
    e->verify_wrong = true;
    arm(e);
    if (is_silence(err) && v->missed < VERIFY_MISSES)
        return;
    const struct engine_failure what = {c->bus->sick ? NULL : "bus.fault", "channel", c->key, err, why, false};
    engine_fault(e, &c->fault, &what);
    c->fault.asked = true;
}

static void answered(struct bus_op *op, enum err err)
{
    struct engine_verify *v = container_of(op, struct engine_verify, op);
    struct engine_channel *c = v->channel;
    struct engine *e = c->engine;
    v->under_way = false;
    c->users--;
    if (!e->stopped && c->wanted && c->ready && err != ERR_CLOSED) {
        if (err == OK)
            well(c);
        else
            unwell(c, err, op->text ? op->text : "");
    }
    engine_channel_unused(e, c);
}

/* ---- asking ---- */

static bool may_ask(const struct engine_channel *c)
{
    return c->wanted && c->ready && c->bus && !c->bus->closing && !c->verify->under_way;
}

static void ask(struct engine_channel *c)
{
    struct engine_verify *v = c->verify;
    assert(c->handle && !v->under_way);
    v->under_way = true;
    v->op = (struct bus_op){.done = answered};
    c->users++;
    c->bus->bus->ops->verify(c->bus->bus, c->handle, &v->op);
}

static void look_at_buses(struct engine *e)
{
    list_each(l, tmp, &e->buses) {
        struct engine_bus *b = container_of(l, struct engine_bus, link);
        struct bus_probe probe = {0};
        b->bus->ops->probe(b->bus, NULL, &probe);
        b->away = !probe.healthy;
        if (b->away != b->sick || engine_bus_full(&probe) != b->full) /* its notice was not seen, or not told */
            engine_look_soon(e);
    }
}

/* What of all channels is to be asked about; those that a bus answers for nothing, now. */
static void collect(struct engine *e, bool round)
{
    look_at_buses(e);
    list_each(l, tmp, &e->channels) {
        struct engine_channel *c = container_of(l, struct engine_channel, link);
        if (!c->verify && (c->verify = calloc(1, sizeof *c->verify))) {
            c->verify->channel = c;
            list_init(&c->verify->link);
        }
        struct engine_verify *v = c->verify;
        if (!v || !may_ask(c) || !list_empty(&v->link) || (!round && !is_wrong(c)))
            continue;
        uint64_t now = accepted(c), before = v->accepted;
        v->accepted = now;
        e->verify_wrong = e->verify_wrong || is_wrong(c);
        if (now != before)
            well(c);
        else if (!c->bus->away && c->bus->bus->capabilities & BUS_CAP_SHARED)
            list_push_back(&e->verify_due, &v->link);
        else if (!c->bus->away)
            ask(c);
    }
}

static void ask_a_lot(struct engine *e)
{
    for (unsigned n = 0; n < VERIFY_LOT && !list_empty(&e->verify_due);) {
        struct engine_verify *v = container_of(list_pop_front(&e->verify_due), struct engine_verify, link);
        if (!may_ask(v->channel))
            continue;
        ask(v->channel);
        n++;
    }
}

static void tick(struct loop_timer *t)
{
    struct engine *e = container_of(t, struct engine, verify);
    bool round = loop_now_ns(e->control) >= e->verify_round_ns && list_empty(&e->verify_due), wrong = e->verify_wrong;
    e->verify_wrong = false;
    if (round)
        e->verify_round_ns =
            loop_now_ns(e->control) + interval(e) * 3 / 4 + prng_below(&e->verify_jitter, interval(e) / 2 + 1);
    if (round || wrong)
        collect(e, round);
    ask_a_lot(e);
    if (!list_empty(&e->channels)) /* else with the next plan */
        arm(e);
}

/* ---- life ---- */

void engine_verify_init(struct engine *e)
{
    loop_timer_init(&e->verify, tick);
    list_init(&e->verify_due);
    prng_seed_system(&e->verify_jitter);
}

void engine_verify_watch(struct engine *e)
{
    if (e->stopped || loop_timer_armed(&e->verify) || list_empty(&e->channels))
        return;
    e->verify_round_ns = loop_now_ns(e->control) + interval(e);
    arm(e);
}

void engine_verify_stop(struct engine *e)
{
    loop_timer_stop(e->control, &e->verify);
}

void engine_verify_fini(struct engine_channel *c)
{
    if (!c->verify)
        return;
    assert(!c->verify->under_way || c->engine->buses_stopped || c->engine->stopped);
    list_remove(&c->verify->link);
    free(c->verify);
}
