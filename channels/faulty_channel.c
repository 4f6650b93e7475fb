/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of the faulty bus: a shell around the inner bus's, there because appends that wait for their time have to
 * end before the channel may go. Control's thread.
 */
#include "faulty.h"

#include <assert.h>
#include <stdlib.h>

static struct bus_channel *of_round(struct round *r)
{
    return container_of(r, struct bus_channel, round);
}

static void channel_free(struct bus_channel *c)
{
    round_fini(&c->round);
    free(c);
}

static struct bus_channel *channel_find(struct faulty_bus *f, const struct bus_channel *inner)
{
    list_each(l, tmp, &f->channels) {
        struct bus_channel *c = container_of(l, struct bus_channel, link);
        if (c->inner == inner)
            return c;
    }
    return NULL;
}

enum err faulty_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                          struct bus_channel **out, struct bus_op *op, struct diag *d)
{
    struct faulty_bus *f = faulty_of(b);
    struct bus_channel *c = calloc(1, sizeof *c);
    if (!c || round_init(&c->round, &f->env)) {
        free(c);
        return diag_set(d, ERR_NOMEM, "out of memory");
    }
    enum err e = f->inner->ops->provision(f->inner, name, params, count, &c->inner, op, d);
    if (e) {
        channel_free(c);
        return e;
    }
    struct bus_channel *known = channel_find(f, c->inner);
    if (known) {
        channel_free(c);
        c = known;
    } else {
        c->bus = f;
        list_push_back(&f->channels, &c->link);
    }
    c->refs++;
    *out = c;
    return OK;
}

static bool fail_waiting(struct round *r, size_t index)
{
    struct bus_channel *c = of_round(r);
    faulty_appends_fail(&c->bus->loops[index], c, true);
    return true;
}

static void release_inner(struct round *r)
{
    struct bus_channel *c = of_round(r);
    struct bus *inner = c->bus->inner;
    inner->ops->release(inner, c->inner, true, c->release_op);
    list_remove(&c->link);
    channel_free(c);
}

void faulty_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    struct faulty_bus *f = faulty_of(b);
    assert(c->refs > 0);
    c->refs--;
    if (c->refs || !remove) {
        f->inner->ops->release(f->inner, c->inner, remove, op);
        return;
    }
    c->release_op = op;
    round_start(&c->round, fail_waiting, release_inner);
}

static void bury(struct round *r)
{
    channel_free(of_round(r));
}

void faulty_channels_free(struct faulty_bus *f)
{
    list_each(l, tmp, &f->channels) {
        list_remove(l);
        round_abandon(&container_of(l, struct bus_channel, link)->round, bury);
    }
}
