/* SPDX-License-Identifier: Apache-2.0
 *
 * The desk of a bus at control: see desk.h.
 */
#include "desk.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#define TICK_NS NS_PER_S

/* ---- stop ---- */

struct desk_stop { /* its letters may outlive the bus */
    struct round round;
    struct desk *desk;
};

static void stopped(struct round *r)
{
    struct desk *desk = container_of(r, struct desk_stop, round)->desk;
    desk->stopped = true;
    loop_timer_stop(desk->env.control, &desk->tick);
    bus_ops_end(&desk->stop_ops, OK, NULL);
}

static void stop_bury(struct round *r)
{
    struct desk_stop *s = container_of(r, struct desk_stop, round);
    round_fini(r);
    free(s);
}

static enum err stop_new(struct desk *desk)
{
    struct desk_stop *s = calloc(1, sizeof *s);
    if (!s || round_init(&s->round, &desk->env)) {
        free(s);
        return ERR_NOMEM;
    }
    s->desk = desk;
    desk->stop = s;
    return OK;
}

static void seen(struct round *r);

static void stop_go_on(struct desk *desk)
{
    if (!desk->stopping || desk->stopped || round_running(&desk->stop->round))
        return;
    if (!desk->seen)
        round_start(&desk->stop->round, NULL, seen);
    else if (atomic_load(&desk->pending) == 0 && desk->how->left(desk) == 0)
        round_start(&desk->stop->round, NULL, stopped);
}

static void seen(struct round *r)
{
    struct desk *desk = container_of(r, struct desk_stop, round)->desk;
    desk->seen = true;
    stop_go_on(desk);
}

bool desk_stop(struct desk *desk, struct bus_op *op)
{
    if (desk->stopped) {
        op->text = NULL;
        bus_op_end(desk->env.control, op, OK);
        return false;
    }
    op->owner = desk->stop_ops;
    desk->stop_ops = op;
    if (desk->stopping)
        return false;
    desk->stopping = true;
    atomic_store(&desk->closed, true);
    desk_call(desk);
    return true;
}

/* ---- what comes to control ---- */

static void look(void *owner)
{
    struct desk *desk = owner;
    desk->how->look(desk);
    notes_tell(&desk->notes, &desk->env, &desk->base);
    stop_go_on(desk);
}

static void tick(struct loop_timer *t)
{
    struct desk *desk = container_of(t, struct desk, tick);
    desk->how->tick(desk);
    look(desk);
    loop_timer_start(desk->env.control, t, TICK_NS);
}

bool desk_notice(struct desk *desk, int severity, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool kept = notes_add(&desk->notes, severity, code, format, args);
    va_end(args);
    if (kept)
        desk_call(desk);
    return kept;
}

/* ---- counting ---- */

void desk_hold(struct desk *desk, _Atomic uint64_t *of_channel)
{
    atomic_fetch_add(&desk->pending, 1);
    atomic_fetch_add(of_channel, 1);
}

enum err desk_count_in(struct desk *desk, _Atomic uint64_t *of_channel, uint64_t charge)
{
    uint64_t before = atomic_fetch_add(&desk->pending_bytes, charge);
    if (before && before + charge > desk->buffer) {
        atomic_fetch_sub(&desk->pending_bytes, charge);
        return ERR_FULL;
    }
    desk_hold(desk, of_channel);
    return OK;
}

void desk_count_out(struct desk *desk, _Atomic uint64_t *of_channel, uint64_t charge, uint64_t n)
{
    atomic_fetch_sub(&desk->pending_bytes, charge);
    uint64_t before = atomic_fetch_sub(of_channel, n);
    assert(before >= n);
    if (before == n && atomic_load(&desk->going_count))
        desk_call(desk);
    if (atomic_fetch_sub(&desk->pending, n) == n && desk_closed(desk))
        desk_call(desk);
}

/* ---- beginning and end ---- */

void desk_init(struct desk *desk, const struct bus_ops *ops, const struct bus_env *env, const struct desk_ops *how,
               unsigned notices_a_minute)
{
    *desk = (struct desk){
        .base = {.ops = ops, .capabilities = ops->capabilities, .hold_ms_max = ops->hold_ms_max},
        .env = *env,
        .clock = loop_clock(env->control),
        .how = how,
    };
    notes_init(&desk->notes, notices_a_minute);
    loop_timer_init(&desk->tick, tick);
}

enum err desk_open(struct desk *desk)
{
    enum err e = post_new(desk->env.control, look, desk, &desk->post);
    return e ? e : stop_new(desk);
}

void desk_start(struct desk *desk)
{
    loop_timer_start(desk->env.control, &desk->tick, TICK_NS);
}

void desk_quit(struct desk *desk)
{
    loop_timer_stop(desk->env.control, &desk->tick);
    atomic_store(&desk->closed, true);
}

void desk_fini(struct desk *desk)
{
    if (desk->stop)
        round_abandon(&desk->stop->round, stop_bury);
    post_free(desk->post);
    notes_fini(&desk->notes);
}
