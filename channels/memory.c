/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory bus: channels that live as long as the process. Opening, channels, stopping and freeing; memory.h names
 * the parts, docs/internals/channels.md tells how they work together.
 *
 * Bounds. An event is charged once to its channel and once to the bus, with its record, however many subscriptions hold
 * it; the charge ends with its last holder. A channel at `capacity` (or the bus at `total`) refuses: ERR_FULL. So the
 * subscription with the longest backlog decides, and one that keeps up costs nothing. Before refusing, the oldest
 * events that only overflow=drop-oldest subscriptions hold are dropped.
 */
#include "backends.h"
#include "memory.h"
#include "params.h"

#include <assert.h>
#include <stdlib.h>

struct memory_loop *memory_loop_find(struct memory_bus *m, const struct loop *loop)
{
    return &m->loops[bus_env_index(&m->env, loop)];
}

static enum err params_read(struct memory_bus *m, const struct bus_param *params, size_t count, struct diag *d)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t *where = strcmp(params[i].name, "capacity") == 0 ? &m->capacity
                          : strcmp(params[i].name, "total") == 0  ? &m->total
                                                                  : NULL;
        if (!where)
            return diag_set(d, ERR_INVALID, "unknown parameter \"%s\" of a memory bus; it knows capacity and total",
                            params[i].name);
        enum err e = param_bytes(&params[i], 1, UINT64_MAX, where, d);
        if (e)
            return e;
    }
    return OK;
}

static enum err memory_open(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                            struct diag *d)
{
    assert(env->loop_count > 0);
    struct memory_bus settings = {.capacity = MEMORY_CAPACITY, .total = MEMORY_TOTAL};
    enum err e = params_read(&settings, params, count, d);
    if (e)
        return e;
    struct memory_bus *m = calloc(1, sizeof *m);
    if (!m)
        return diag_set(d, ERR_NOMEM, "out of memory");
    m->loops = calloc(env->loop_count, sizeof *m->loops);
    m->env = *env;
    if (!m->loops || round_init(&m->round, &m->env)) {
        free(m->loops);
        free(m);
        return diag_set(d, ERR_NOMEM, "out of memory");
    }
    m->base = (struct bus){
        .ops = &bus_memory, .capabilities = bus_memory.capabilities, .hold_ms_max = bus_memory.hold_ms_max};
    m->capacity = settings.capacity;
    m->total = settings.total;
    map_init(&m->channels, SIZE_MAX);
    list_init(&m->leaving);
    for (size_t i = 0; i < env->loop_count; i++) {
        m->loops[i] = (struct memory_loop){.bus = m, .loop = env->loops[i], .index = i};
        memory_spares_init(&m->loops[i]);
    }
    *out = &m->base;
    return OK;
}

static enum err memory_bind(struct bus *b, struct loop *loop)
{
    struct memory_loop *l = memory_loop_find(memory_of(b), loop);
    assert(!l->bound);
    l->bound = true;
    return OK;
}

static void memory_unbind(struct bus *b, struct loop *loop)
{
    struct memory_loop *l = memory_loop_find(memory_of(b), loop);
    assert(l->bound);
    l->bound = false;
    memory_spares_free(l);
}

/* ---- channels ---- */

static struct bus_channel *of_round(struct round *r)
{
    return container_of(r, struct bus_channel, round);
}

static void channel_free(struct bus_channel *c)
{
    map_fini(&c->subscriptions);
    round_fini(&c->round);
    free(c->parts);
    free(c);
}

static void channel_bury(struct round *r)
{
    channel_free(of_round(r));
}

static void parts_fini(struct bus_channel *c)
{
    for (size_t i = 0; c->parts && i < c->bus->env.loop_count; i++)
        memory_part_fini(&c->parts[i]);
}

/* No loop touches it any more, or none runs. */
static void channel_destroy(struct bus_channel *c)
{
    for (size_t i = 0; i < c->bus->env.loop_count; i++) {
        list_each(l, tmp, &c->parts[i].records) {
            memory_record_discard(container_of(l, struct memory_record, link));
        }
    }
    map_each(entry, next, &c->subscriptions)
        memory_subscription_destroy(entry->value);
    list_each(l, tmp, &c->leaving) {
        memory_subscription_destroy(container_of(l, struct bus_subscription, link));
    }
    parts_fini(c);
    list_remove(&c->link);
    round_abandon(&c->round, channel_bury);
}

static enum err channel_new(struct memory_bus *m, struct slice name, struct bus_channel **out)
{
    size_t n = m->env.loop_count;
    struct bus_channel *c = calloc(1, sizeof *c + name.len + 1);
    if (!c)
        return ERR_NOMEM;
    c->bus = m;
    memcpy(c->name, name.ptr, name.len);
    list_init(&c->link);
    map_init(&c->subscriptions, SIZE_MAX);
    list_init(&c->leaving);
    c->parts = calloc(n, sizeof *c->parts);
    enum err e = c->parts ? round_init(&c->round, &m->env) : ERR_NOMEM;
    for (size_t i = 0; i < n && !e; i++)
        e = memory_part_init(&c->parts[i], c, &m->loops[i]);
    if (!e)
        e = map_add(&m->channels, name, c);
    if (e) {
        parts_fini(c);
        channel_free(c);
        return e;
    }
    c->only = &c->parts[memory_key_part(name, n)];
    *out = c;
    return OK;
}

struct channel_params {
    uint64_t capacity;
    bool one_part;
};

static enum err channel_params_read(const struct bus_param *params, size_t count, struct channel_params *out,
                                    struct diag *d)
{
    for (size_t i = 0; i < count; i++) {
        const struct bus_param *p = &params[i];
        enum err e = OK;
        if (strcmp(p->name, "retention-age") == 0 || strcmp(p->name, "retention-bytes") == 0)
            continue; /* nothing is kept for longer than somebody needs it */
        else if (strcmp(p->name, "capacity") == 0)
            e = param_bytes(p, 1, UINT64_MAX, &out->capacity, d);
        else if (strcmp(p->name, "partitions") != 0)
            e = diag_set(d, ERR_INVALID,
                         "unknown parameter \"%s\" of a channel on a memory bus; it knows capacity and partitions",
                         p->name);
        else if (strcmp(p->value, "1") != 0)
            e = diag_set(
                d, ERR_INVALID,
                "partitions is \"%s\"; a channel on a memory bus has 1, or, when nothing is said, one per loop",
                p->value);
        else
            out->one_part = true;
        if (e)
            return e;
    }
    return OK;
}

static bool memory_known(struct bus *b, struct slice name)
{
    return map_get(&memory_of(b)->channels, name) != NULL;
}

static enum err memory_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                                 struct bus_channel **out, struct bus_op *op, struct diag *d)
{
    struct memory_bus *m = memory_of(b);
    struct channel_params settings = {.capacity = m->capacity};
    if (m->stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = channel_params_read(params, count, &settings, d);
    if (e)
        return e;
    struct bus_channel *c = map_get(&m->channels, name);
    if (!c) {
        e = channel_new(m, name, &c);
        if (e)
            return diag_set(d, e, "out of memory");
    }
    atomic_store_explicit(&c->capacity, settings.capacity, memory_order_relaxed);
    atomic_store_explicit(&c->one_part, settings.one_part, memory_order_relaxed);
    c->refs++;
    *out = c;
    bus_op_end(m->env.control, op, OK);
    return OK;
}

static bool channel_close(struct round *r, size_t index)
{
    struct memory_part *p = &of_round(r)->parts[index];
    p->closed = true;
    if (p->at->stopped ? p->pending == 0 : memory_part_quiet(p))
        return true;
    p->close_waits = true;
    return false;
}

void memory_channel_end(struct bus_channel *c)
{
    if (!c->closed || !list_empty(&c->leaving))
        return;
    struct loop *control = c->bus->env.control;
    struct bus_op *op = c->release_op;
    channel_destroy(c);
    bus_op_end(control, op, OK);
}

static void channel_closed(struct round *r)
{
    struct bus_channel *c = of_round(r);
    c->closed = true;
    memory_channel_end(c);
}

static void channel_flush(struct round *r)
{
    round_start(r, NULL, channel_closed);
}

static void memory_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    struct memory_bus *m = memory_of(b);
    assert(c->refs > 0);
    c->refs--;
    if (c->refs || !remove) {
        bus_op_end(m->env.control, op, OK);
        return;
    }
    map_each(entry, tmp, &c->subscriptions)
        assert(((struct bus_subscription *)entry->value)->refs == 0);
    map_remove(&m->channels, slice_str(c->name));
    list_push_back(&m->leaving, &c->link);
    c->release_op = op;
    round_start(&c->round, channel_close, channel_flush);
}

/* Memory answers at once. */
static void memory_verify(struct bus *b, struct bus_channel *c, struct bus_op *op)
{
    struct memory_bus *m = memory_of(b);
    assert(c->bus == m && c->refs > 0);
    op->text = NULL;
    bus_op_end(m->env.control, op, m->stopping ? ERR_CLOSED : OK);
}

/* ---- stop and fini ---- */

static bool stop_loop(struct round *r, size_t index)
{
    struct memory_loop *l = &container_of(r, struct memory_bus, round)->loops[index];
    l->stopped = true;
    l->stop_waits = l->pending > 0;
    return !l->stop_waits;
}

/* Entries at other loops do not come home any more: whoever waited for them waits no longer. All loops are still for
 * this bus, so control may look at their parts. */
static void end_waits(struct bus_channel *c)
{
    for (size_t i = 0; i < c->bus->env.loop_count; i++) {
        if (c->parts[i].close_waits) {
            c->parts[i].close_waits = false;
            round_answer(&c->round, i);
        }
    }
    list_each(l, tmp, &c->leaving) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, link);
        for (size_t i = 0; i < c->bus->env.loop_count; i++) {
            if (s->slots[i].leave_waits) {
                s->slots[i].leave_waits = false;
                round_answer(&s->round, i);
            }
        }
    }
}

/* Whether an operation on the channel is under way; ends what it waits for. */
static bool channel_busy(struct bus_channel *c)
{
    end_waits(c);
    if (round_running(&c->round) || !list_empty(&c->leaving))
        return true;
    map_each(entry, tmp, &c->subscriptions) {
        if (round_running(&((struct bus_subscription *)entry->value)->round))
            return true;
    }
    return false;
}

/* After a flush. Operations that control was asked for end before stop does: each further flush carries them one step
 * on. */
static void stop_finished(struct round *r)
{
    struct memory_bus *m = container_of(r, struct memory_bus, round);
    bool busy = !list_empty(&m->leaving);
    list_each(l, tmp, &m->leaving) {
        busy |= channel_busy(container_of(l, struct bus_channel, link));
    }
    map_each(entry, next, &m->channels)
        busy |= channel_busy(entry->value);
    if (busy) {
        round_start(r, NULL, stop_finished);
        return;
    }
    m->stopped = true;
    while (m->stop_ops) {
        struct bus_op *op = m->stop_ops;
        m->stop_ops = op->owner;
        bus_op_end(m->env.control, op, OK);
    }
}

static void stop_flush(struct round *r)
{
    round_start(r, NULL, stop_finished);
}

static void memory_stop(struct bus *b, struct bus_op *op)
{
    struct memory_bus *m = memory_of(b);
    if (m->stopped) {
        bus_op_end(m->env.control, op, OK);
        return;
    }
    op->owner = m->stop_ops;
    m->stop_ops = op;
    if (m->stopping)
        return;
    m->stopping = true;
    round_start(&m->round, stop_loop, stop_flush);
}

static void bus_bury(struct round *r)
{
    struct memory_bus *m = container_of(r, struct memory_bus, round);
    round_fini(r);
    free(m->loops);
    free(m);
}

static void memory_fini(struct bus *b)
{
    struct memory_bus *m = memory_of(b);
    map_each(entry, next, &m->channels)
        channel_destroy(entry->value);
    map_fini(&m->channels);
    list_each(l, tmp, &m->leaving) {
        channel_destroy(container_of(l, struct bus_channel, link));
    }
    for (size_t i = 0; i < m->env.loop_count; i++)
        memory_spares_free(&m->loops[i]);
    round_abandon(&m->round, bus_bury);
}

const struct bus_ops bus_memory = {
    .name = "memory",
    .capabilities = BUS_CAP_ORDERED | BUS_CAP_ACK_EACH | BUS_CAP_FILTER,
    .hold_ms_max = UINT64_MAX,
    .open = memory_open,
    .bind = memory_bind,
    .unbind = memory_unbind,
    .provision = memory_provision,
    .known = memory_known,
    .release = memory_release,
    .verify = memory_verify,
    .subscribe = memory_subscribe,
    .unsubscribe = memory_unsubscribe,
    .append = memory_append,
    .attach = memory_attach,
    .detach = memory_detach,
    .credit = memory_credit,
    .settle = memory_settle,
    .stop = memory_stop,
    .fini = memory_fini,
    .probe = memory_probe,
    .probe_subscription = memory_probe_subscription,
};
