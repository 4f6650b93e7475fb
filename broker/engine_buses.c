/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's buses: the first step of applying a plan, what they say of themselves, and their end while the engine
 * goes on.
 *
 * A bus whose parameters changed (a credential was renewed) is opened once more beside the one there is, where it can
 * be shared; its channels and subscriptions move as the plan is applied, since they are those of another bus now, and
 * the old one, which nothing lies on any more, is stopped, unbound and freed. Nothing is removed from the backing
 * system. A bus that one process must have for itself keeps its parameters until the next start, and says so.
 */
#include "engine_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

struct engine_bus *engine_bus_find(const struct engine *e, const char *key)
{
    list_each(l, tmp, &e->buses) {
        struct engine_bus *b = container_of(l, struct engine_bus, link);
        if (!b->superseded && !b->closing && strcmp(b->key, key) == 0)
            return b;
    }
    return NULL;
}

/* ---- what a bus says ---- */

static void bus_notice(void *arg, struct bus *bus, int severity, const char *code, const char *text)
{
    struct engine *e = arg;
    const char *key = bus->ops->name;
    list_each(l, tmp, &e->buses) {
        const struct engine_bus *b = container_of(l, struct engine_bus, link);
        key = b->bus == bus ? b->key : key;
    }
    log_line(severity > 1 ? LOG_ERROR
             : severity   ? LOG_WARN
                          : LOG_INFO,
             "bus.notice", "bus=%s code=%s text=%s", log_value(key), code, log_value(text));
    engine_look_soon(e);
    if (severity == 0)
        engine_again_soon(e);
}

bool engine_buses_ready(struct engine *e, struct buf *why)
{
    bool ready = true;
    list_each(l, tmp, &e->buses) {
        struct engine_bus *b = container_of(l, struct engine_bus, link);
        struct bus_probe probe = {0};
        if (b->superseded || b->closing)
            continue;
        b->bus->ops->probe(b->bus, NULL, &probe);
        ready = ready && probe.healthy;
        if (why)
            buf_printf(why, "[%c] bus %s: %s\n", probe.healthy ? '+' : '-', b->key,
                       probe.reason[0] ? probe.reason : "answers");
    }
    if (why)
        buf_put(why, buf_slice(&e->broken));
    return ready && e->broken.len == 0;
}

/* ---- opening ---- */

void engine_bus_free(struct engine_bus *b)
{
    list_remove(&b->link);
    b->bus->ops->fini(b->bus);
    free(b->params);
    free(b->key);
    free(b);
}

/* `params` is taken over. */
static enum err open_bus(struct engine *e, const struct plan_bus *p, char *params, struct diag *d)
{
    const struct bus_env env = {e->control, e->loops, e->shard_count, bus_notice, e};
    const struct bus_ops *ops = bus_find(p->type);
    struct engine_bus *b = calloc(1, sizeof *b);
    char *key = strdup(p->key);
    enum err err = !ops                    ? diag_set(d, ERR_UNSUPPORTED, "there is no bus of the type '%s'", p->type)
                   : !b || !key || !params ? ERR_NOMEM
                                           : OK;
    if (err == OK)
        err = ops->open(&env, p->params, p->param_count, &b->bus, d);
    if (err != OK) {
        free(params);
        free(key);
        free(b);
        return err;
    }
    b->engine = e;
    b->key = key;
    b->params = params;
    b->wanted = true;
    list_push_back(&e->buses, &b->link);
    return OK;
}

static void bus_failed(struct engine *e, const struct plan_bus *p, enum err err, const struct diag *d)
{
    const struct bus_ops *ops = bus_find(p->type);
    const char *text = d->text[0] ? d->text : err_name(err);
    size_t from = e->broken.len;
    buf_printf(&e->broken, "[-] bus %s: %s\n", p->key, text);
    const struct slice line = slice_from(buf_slice(&e->broken), from), before = buf_slice(&e->broken_before);
    if (!before.len || !memmem(before.ptr, before.len, line.ptr, line.len)) /* each failure once */
        log_line(LOG_ERROR, "bus.failed", "bus=%s error=%s reason=%s", log_value(p->key), err_name(err),
                 log_value(text));
    bool again = err_retryable(err) && ops && ops->capabilities & BUS_CAP_SHARED;
    e->again_wanted = e->again_wanted || again;
    if (e->reports.bus_failed)
        e->reports.bus_failed(e->reports.arg, p->key, err, text, again);
}

/* It is there, with other parameters; false: it is to be opened beside. */
static bool keeps(const struct engine_bus *b, const char *params)
{
    if (!params || strcmp(params, b->params) == 0)
        return true;
    if (b->bus->capabilities & BUS_CAP_SHARED)
        return false;
    log_line(LOG_WARN, "bus.changed", "bus=%s text=%s", log_value(b->key),
             log_value("its parameters changed; one process has it for itself, so they count from the next start on"));
    return true;
}

static void choose_bus(struct engine *e, const struct plan_bus *p)
{
    struct diag d = {0};
    struct engine_bus *old = engine_bus_find(e, p->key);
    if (old)
        old->wanted = true;
    if (p->held)
        return;
    char *params = engine_params_text(p->params, p->param_count);
    if (old && keeps(old, params)) {
        free(params);
        return;
    }
    enum err err = open_bus(e, p, params, &d);
    if (err != OK) {
        bus_failed(e, p, err, &d); /* an old one goes on as it is */
    } else if (old) {
        old->superseded = true;
        log_line(LOG_INFO, "bus.reopened", "bus=%s", log_value(p->key));
    }
}

/* Binds the buses that no loop has yet, one bus at a time; then on to the channels. */
static void bind_next(struct engine *e)
{
    list_each(l, tmp, &e->buses) {
        struct engine_bus *b = container_of(l, struct engine_bus, link);
        if (b->bound)
            continue;
        b->bound = true;
        for (size_t i = 0; i < e->shard_count; i++)
            e->shards[i]->order_bus = b->bus;
        engine_order_all(e, SHARD_BIND, bind_next);
        return;
    }
    e->buses_open(e);
}

void engine_buses_open(struct engine *e, void (*then)(struct engine *e))
{
    const struct plan *p = e->next->plan;
    const struct buf before = e->broken_before;
    e->broken_before = e->broken;
    e->broken = before;
    buf_clear(&e->broken);
    list_each(l, tmp, &e->buses)
        container_of(l, struct engine_bus, link)->wanted = false;
    for (size_t i = 0; i < p->bus_count; i++)
        choose_bus(e, &p->buses[i]);
    e->buses_open = then;
    bind_next(e);
}

/* ---- closing ---- */

static bool in_use(const struct engine *e, const struct engine_bus *b)
{
    if (b->loose > 0)
        return true;
    list_each(l, tmp, &e->channels)
        if (container_of(l, struct engine_channel, link)->bus == b)
            return true;
    list_each(m, next, &e->subscriptions) {
        const struct engine_subscription *s = container_of(m, struct engine_subscription, link);
        if (s->bus == b || s->parked_bus == b)
            return true;
    }
    return false;
}

static void unbound(struct engine *e)
{
    struct engine_bus *b = e->unbinding;
    e->unbinding = NULL;
    engine_bus_free(b);
    engine_plan_done(e);
}

/* Takes the loops' parts of a stopped bus away: an order to the shards, so in turn with plans. */
static bool unbind(struct engine *e, struct engine_bus *b)
{
    if (e->applying || e->stopped)
        return false; /* after the plan; or with the engine */
    e->applying = true;
    e->unbinding = b;
    for (size_t i = 0; i < e->shard_count; i++)
        e->shards[i]->order_bus = b->bus;
    engine_order_all(e, SHARD_UNBIND, unbound);
    return true;
}

static void bus_closed(struct bus_op *op, enum err err)
{
    struct engine_bus *b = container_of(op, struct engine_bus, op);
    struct engine *e = b->engine;
    (void)err;
    b->stopped = true;
    e->closing--;
    if (e->stopped)
        engine_stop_check(e);
    else
        unbind(e, b);
}

void engine_buses_close(struct engine *e)
{
    if (e->stopped)
        return;
    list_each(l, tmp, &e->buses) {
        struct engine_bus *b = container_of(l, struct engine_bus, link);
        if (b->stopped) {
            if (unbind(e, b))
                return; /* the others after it */
            continue;
        }
        bool spare = b->superseded || (!b->wanted && b->bus->capabilities & BUS_CAP_SHARED);
        if (!spare || b->closing || !b->bound || in_use(e, b))
            continue;
        b->closing = true;
        e->closing++;
        b->op = (struct bus_op){.done = bus_closed};
        b->bus->ops->stop(b->bus, &b->op);
    }
}
