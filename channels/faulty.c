/* SPDX-License-Identifier: Apache-2.0
 *
 * The faulty bus: a decorator around any other, for tests and for users who want to see how their services bear a bad
 * day. What it does is drawn from `seed`, one generator a loop, and stays within the contract: the suite in
 * tests/bus/contract.c holds for it as for any bus.
 *
 *   inner=memory         the bus around which it is put; parameters that are not ours are handed to it
 *   seed=1
 *   append_fail=0.1      chance that an append ends with ERR_UNAVAILABLE, and the event is not kept
 *   append_delay_ms=5    an append waits up to so long
 *   reorder=0.1          chance that an event without partition key is held back a little, so that others pass it
 *   duplicate=0.1        chance that an event is delivered twice at a time
 *   revoke=0.1           chance that a delivery is taken back shortly after, and made again
 *   verify_fail=0.1      chance that a channel that is asked about does not answer
 *   hold-ms-max=60000    says of itself that a delivery may stay unsettled so long, as buses with leases do
 */
#include "backends.h"
#include "faulty.h"
#include "params.h"

#include <assert.h>
#include <stdlib.h>

#define DELAY_MS_MAX 60000

struct faulty_loop *faulty_loop_find(struct faulty_bus *f, const struct loop *loop)
{
    return &f->loops[bus_env_index(&f->env, loop)];
}

static bool draw(struct prng *prng, double chance)
{
    if (chance <= 0)
        return false;
    return (double)(prng_next(prng) >> 11) * 0x1p-53 < chance;
}

bool faulty_chance(struct faulty_loop *l, double chance)
{
    return draw(&l->prng, chance);
}

/* ---- parameters ---- */

struct faulty_settings {
    const char *inner;
    uint64_t seed, append_delay_ms, hold_ms_max;
    double append_fail, duplicate, reorder, revoke, verify_fail;
};

static enum err chance_read(const struct bus_param *p, double *out, struct diag *d)
{
    char *end;
    double v = strtod(p->value, &end);
    if (end == p->value || *end || !(v >= 0 && v <= 1))
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it must be a number from 0 to 1", p->name, p->value);
    *out = v;
    return OK;
}

/* Reads one parameter; *ours tells whether it was one of ours. */
static enum err param_read(struct faulty_settings *s, const struct bus_param *p, bool *ours, struct diag *d)
{
    const struct {
        const char *name;
        double *chance;
    } chances[] = {{"append_fail", &s->append_fail},
                   {"duplicate", &s->duplicate},
                   {"reorder", &s->reorder},
                   {"revoke", &s->revoke},
                   {"verify_fail", &s->verify_fail}};
    *ours = true;
    for (size_t i = 0; i < sizeof chances / sizeof *chances; i++) {
        if (strcmp(p->name, chances[i].name) == 0)
            return chance_read(p, chances[i].chance, d);
    }
    if (strcmp(p->name, "seed") == 0)
        return param_number(p, 0, UINT64_MAX, &s->seed, d);
    if (strcmp(p->name, "append_delay_ms") == 0)
        return param_number(p, 0, DELAY_MS_MAX, &s->append_delay_ms, d);
    if (strcmp(p->name, "hold-ms-max") == 0)
        return param_number(p, 0, UINT64_MAX, &s->hold_ms_max, d);
    if (strcmp(p->name, "inner") == 0)
        s->inner = p->value;
    else
        *ours = false;
    return OK;
}

/* ---- the bus ---- */

static void forward_notice(void *arg, struct bus *inner, int severity, const char *code, const char *text)
{
    (void)inner;
    struct faulty_bus *f = arg;
    f->env.notice(f->env.notice_arg, &f->base, severity, code, text);
}

static enum err faulty_new(const struct bus_env *env, const struct faulty_settings *s, struct faulty_bus **out)
{
    struct faulty_bus *f = calloc(1, sizeof *f);
    if (!f)
        return ERR_NOMEM;
    f->env = f->inner_env = *env;
    if (env->notice) {
        f->inner_env.notice = forward_notice;
        f->inner_env.notice_arg = f;
    }
    f->append_fail = s->append_fail;
    f->duplicate = s->duplicate;
    f->reorder = s->reorder;
    f->revoke = s->revoke;
    f->verify_fail = s->verify_fail;
    prng_seed(&f->prng, s->seed + env->loop_count);
    f->append_delay_ns = s->append_delay_ms * NS_PER_MS;
    f->loops = calloc(env->loop_count, sizeof *f->loops);
    if (!f->loops || round_init(&f->round, &f->env)) {
        free(f->loops);
        free(f);
        return ERR_NOMEM;
    }
    list_init(&f->channels);
    for (size_t i = 0; i < env->loop_count; i++) {
        struct faulty_loop *l = &f->loops[i];
        l->bus = f;
        l->loop = env->loops[i];
        prng_seed(&l->prng, s->seed + i);
        list_init(&l->appends);
        list_init(&l->streams);
    }
    *out = f;
    return OK;
}

static void faulty_free(struct faulty_bus *f)
{
    round_fini(&f->round);
    free(f->loops);
    free(f);
}

static enum err open_inner(const struct bus_ops *ops, const struct bus_env *env, const struct faulty_settings *s,
                           const struct bus_param *params, size_t count, struct bus **out, struct diag *d)
{
    struct faulty_bus *f;
    enum err e = faulty_new(env, s, &f);
    if (e)
        return diag_set(d, e, "out of memory");
    e = ops->open(&f->inner_env, params, count, &f->inner, d);
    if (e) {
        faulty_free(f);
        return e;
    }
    uint64_t hold_ms_max = f->inner->hold_ms_max;
    if (s->hold_ms_max < hold_ms_max)
        hold_ms_max = s->hold_ms_max;
    f->base = (struct bus){.ops = &bus_faulty,
                           .capabilities = f->inner->capabilities & ~(unsigned)BUS_CAP_REWIND,
                           .hold_ms_max = hold_ms_max};
    *out = &f->base;
    return OK;
}

static enum err faulty_open(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                            struct diag *d)
{
    struct faulty_settings settings = {.inner = "memory", .seed = 1, .hold_ms_max = UINT64_MAX};
    struct bus_param *rest = calloc(count ? count : 1, sizeof *rest);
    if (!rest)
        return diag_set(d, ERR_NOMEM, "out of memory");
    size_t rest_count = 0;
    enum err e = OK;
    for (size_t i = 0; i < count && !e; i++) {
        bool ours;
        e = param_read(&settings, &params[i], &ours, d);
        if (!ours)
            rest[rest_count++] = params[i];
    }
    if (!e) {
        const struct bus_ops *ops = bus_find(settings.inner);
        if (!ops || ops == &bus_faulty)
            e = diag_set(d, ERR_INVALID, "inner is \"%s\"; it must be another bus than faulty, such as memory",
                         settings.inner);
        else
            e = open_inner(ops, env, &settings, rest, rest_count, out, d);
    }
    free(rest);
    return e;
}

static enum err faulty_bind(struct bus *b, struct loop *loop)
{
    struct bus *inner = faulty_of(b)->inner;
    return inner->ops->bind(inner, loop);
}

static void faulty_unbind(struct bus *b, struct loop *loop)
{
    struct bus *inner = faulty_of(b)->inner;
    inner->ops->unbind(inner, loop);
}

static enum err faulty_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                                 struct filter *filter, const struct bus_param *params, size_t count,
                                 struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    struct bus *inner = faulty_of(b)->inner;
    return inner->ops->subscribe(inner, c->inner, name, start, filter, params, count, out, op, d);
}

static void faulty_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    struct bus *inner = faulty_of(b)->inner;
    inner->ops->unsubscribe(inner, s, remove, op);
}

static enum err faulty_read(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                            void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                            void *arg, struct bus_op *op, struct loop *loop)
{
    struct bus *inner = faulty_of(b)->inner;
    if (!inner->ops->read)
        return ERR_UNSUPPORTED;
    return inner->ops->read(inner, c->inner, from, most, deliver, arg, op, loop);
}

static enum err faulty_browse(struct bus *b, struct bus_channel *c)
{
    struct bus *inner = faulty_of(b)->inner;
    if (inner->ops->browse)
        return inner->ops->browse(inner, c->inner);
    return inner->capabilities & BUS_CAP_BROWSE ? OK : ERR_UNSUPPORTED;
}

static void faulty_verify(struct bus *b, struct bus_channel *c, struct bus_op *op)
{
    struct faulty_bus *f = faulty_of(b);
    if (draw(&f->prng, f->verify_fail)) {
        op->text = "the faulty bus was told not to answer";
        bus_op_end(f->env.control, op, ERR_UNAVAILABLE);
        return;
    }
    f->inner->ops->verify(f->inner, c->inner, op);
}

static void faulty_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    struct bus *inner = faulty_of(b)->inner;
    inner->ops->probe(inner, c ? c->inner : NULL, out);
}

static void faulty_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    struct bus *inner = faulty_of(b)->inner;
    inner->ops->probe_subscription(inner, s, out);
}

/* ---- stop and fini ---- */

static bool stop_loop(struct round *r, size_t index)
{
    struct faulty_loop *l = &container_of(r, struct faulty_bus, round)->loops[index];
    l->stopped = true;
    faulty_appends_fail(l, NULL, true);
    return true;
}

static void inner_stopped(struct bus_op *op, enum err err)
{
    struct faulty_bus *f = container_of(op, struct faulty_bus, inner_stop);
    f->stopped = true;
    while (f->stop_ops) {
        struct bus_op *outer = f->stop_ops;
        f->stop_ops = outer->owner;
        bus_op_end(f->env.control, outer, err);
    }
}

static void stop_inner(struct round *r)
{
    struct faulty_bus *f = container_of(r, struct faulty_bus, round);
    f->inner_stop.done = inner_stopped;
    f->inner->ops->stop(f->inner, &f->inner_stop);
}

static void faulty_stop(struct bus *b, struct bus_op *op)
{
    struct faulty_bus *f = faulty_of(b);
    if (f->stopped) {
        bus_op_end(f->env.control, op, OK);
        return;
    }
    op->owner = f->stop_ops;
    f->stop_ops = op;
    if (f->stopping)
        return;
    f->stopping = true;
    round_start(&f->round, stop_loop, stop_inner);
}

static void bury(struct round *r)
{
    faulty_free(container_of(r, struct faulty_bus, round));
}

static void faulty_fini(struct bus *b)
{
    struct faulty_bus *f = faulty_of(b);
    for (size_t i = 0; i < f->env.loop_count; i++) {
        faulty_appends_fail(&f->loops[i], NULL, false);
        faulty_streams_free(&f->loops[i]);
    }
    f->inner->ops->fini(f->inner);
    faulty_channels_free(f);
    round_abandon(&f->round, bury);
}

const struct bus_ops bus_faulty = {
    .name = "faulty",
    .capabilities = 0,
    .hold_ms_max = UINT64_MAX,
    .open = faulty_open,
    .bind = faulty_bind,
    .unbind = faulty_unbind,
    .provision = faulty_provision,
    .release = faulty_release,
    .verify = faulty_verify,
    .subscribe = faulty_subscribe,
    .unsubscribe = faulty_unsubscribe,
    .append = faulty_append,
    .attach = faulty_attach,
    .detach = faulty_detach,
    .credit = faulty_credit,
    .settle = faulty_settle,
    .read = faulty_read,
    .browse = faulty_browse,
    .stop = faulty_stop,
    .fini = faulty_fini,
    .probe = faulty_probe,
    .probe_subscription = faulty_probe_subscription,
};
