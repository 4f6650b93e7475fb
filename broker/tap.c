/* SPDX-License-Identifier: Apache-2.0
 *
 * A tap has a part on every shard, which lies in the shard's list and sends what matches to the control loop, a letter
 * each. Letters between two loops keep their order, so when a part's farewell arrives, all it ever sent has arrived:
 *
 *     control   open ──enter──→ shard: in the list ──enter, events──→ control
 *     control   close ─leave──→ shard: out of it ────farewell→ control: the last one frees the tap
 */
#include "tap.h"

#include <assert.h>
#include <stdlib.h>

struct tap_part {
    struct list link; /* in the shard's list */
    struct tap *tap;
    struct shard *shard;
    struct letter enter, leave;
    _Atomic uint64_t waiting, left_out;
};

struct tap {
    struct engine *engine;
    struct tap_options options;
    bool closed;
    size_t entering; /* parts that are not in their shard's list yet */
    size_t there;    /* parts that have not said farewell */
    struct tap_part parts[];
};

struct shown { /* an event on its way */
    struct letter letter;
    struct tap_part *part;
    const struct ce_event *event;
    int64_t wall_ns;
};

/* ---- the shard's loop ---- */

static void entered(struct letter *m) /* the control loop */
{
    struct tap *t = container_of(m, struct tap_part, enter)->tap;
    assert(t->entering > 0);
    if (--t->entering == 0 && !t->closed)
        t->options.opened(t->options.arg);
}

static void enter(struct letter *m)
{
    struct tap_part *p = container_of(m, struct tap_part, enter);
    list_push_back(&p->shard->taps, &p->link);
    m->run = entered;
    loop_post_reserved(engine_control(p->tap->engine), m);
}

static void arrived(struct letter *m) /* the control loop */
{
    struct shown *shown = container_of(m, struct shown, letter);
    struct tap_part *p = shown->part;
    atomic_fetch_sub_explicit(&p->waiting, 1, memory_order_relaxed);
    if (!p->tap->closed)
        p->tap->options.event(p->tap->options.arg, shown->event, shown->wall_ns);
    ce_event_unref(shown->event);
    free(shown);
}

static enum err send(struct tap_part *p, const struct ce_event *e)
{
    if (atomic_load_explicit(&p->waiting, memory_order_relaxed) >= TAP_WAITING_MAX)
        return ERR_FULL;
    struct shown *shown = malloc(sizeof *shown);
    if (!shown)
        return ERR_NOMEM;
    *shown = (struct shown){{.run = arrived}, p, ce_event_ref(e), clock_wall_ns(loop_clock(p->shard->loop))};
    atomic_fetch_add_explicit(&p->waiting, 1, memory_order_relaxed);
    /* Reserved: the bound is our own, and the control loop's other letters keep theirs. */
    loop_post_reserved(engine_control(p->tap->engine), &shown->letter);
    return OK;
}

void tap_show(struct shard *s, uint32_t channel, const struct ce_event *e)
{
    list_each(l, tmp, &s->taps) {
        struct tap_part *p = container_of(l, struct tap_part, link);
        const struct tap_options *o = &p->tap->options;
        if (o->channel != channel || !filter_match(o->filters[0], e) || !filter_match(o->filters[1], e))
            continue;
        if (send(p, e) != OK)
            count(&p->left_out);
    }
}

/* ---- the control loop, but for `left` ---- */

static void tap_free(struct tap *t)
{
    for (int i = 0; i < 2; i++)
        filter_unref(t->options.filters[i]);
    free(t);
}

static void farewell(struct letter *m)
{
    struct tap_part *p = container_of(m, struct tap_part, leave);
    struct tap *t = p->tap;
    assert(t->closed && t->there > 0 && atomic_load(&p->waiting) == 0);
    if (--t->there == 0)
        tap_free(t);
}

static void left(struct letter *m) /* the shard's loop */
{
    struct tap_part *p = container_of(m, struct tap_part, leave);
    list_remove(&p->link);
    p->leave.run = farewell;
    loop_post_reserved(engine_control(p->tap->engine), &p->leave);
}

enum err tap_open(struct engine *e, const struct tap_options *options, struct tap **out)
{
    size_t shards = engine_shard_count(e);
    struct tap *t = calloc(1, sizeof *t + shards * sizeof t->parts[0]);
    if (!t)
        return ERR_NOMEM;
    t->engine = e;
    t->options = *options;
    for (int i = 0; i < 2; i++)
        if (options->filters[i])
            filter_ref(options->filters[i]);
    t->entering = t->there = shards;
    for (size_t i = 0; i < shards; i++) {
        struct tap_part *p = &t->parts[i];
        p->tap = t;
        p->shard = engine_shard(e, i);
        list_init(&p->link);
        p->enter.run = enter;
        p->leave.run = left;
        loop_post_reserved(p->shard->loop, &p->enter);
    }
    *out = t;
    return OK;
}

void tap_close(struct tap *t)
{
    if (!t)
        return;
    assert(!t->closed);
    t->closed = true;
    for (size_t i = 0; i < t->there; i++)
        loop_post_reserved(t->parts[i].shard->loop, &t->parts[i].leave);
}

uint64_t tap_left_out(const struct tap *t)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < t->there; i++)
        sum += atomic_load_explicit(&t->parts[i].left_out, memory_order_relaxed);
    return sum;
}
