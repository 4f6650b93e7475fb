/* SPDX-License-Identifier: Apache-2.0
 *
 * What a bus has at a system outside: the bus, and its channels. See abroad.h.
 */
#include "abroad.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct abroad_channel *channel_at(struct list *l)
{
    return container_of(l, struct abroad_channel, link);
}

/* ---- life ---- */

static void channel_free(struct abroad_channel *c)
{
    struct list *l;
    abroad_subscriptions_free(c);
    while ((l = list_pop_front(&c->left)))
        free(container_of(l, struct abroad_left, link));
    list_remove(&c->link);
    free(c->name);
    c->abroad->how->channel_free(c);
}

struct abroad_channel *abroad_channel_find(struct abroad *a, struct slice name)
{
    return map_get(&a->channels, name);
}

enum err abroad_channel_init(struct abroad_channel *c, struct abroad *a, struct slice name)
{
    c->name = strndup(name.ptr ? name.ptr : "", name.len);
    enum err e = c->name ? map_add(&a->channels, name, c) : ERR_NOMEM;
    if (e) {
        free(c->name);
        return e;
    }
    c->abroad = a;
    atomic_init(&c->state, ABROAD_WAITING);
    list_init(&c->link);
    list_init(&c->subscriptions);
    list_init(&c->left);
    return OK;
}

void abroad_suspect(struct abroad_channel *c)
{
    if (atomic_exchange(&c->suspect, true))
        return;
    atomic_store(&c->abroad->suspects, true);
    desk_call(c->abroad->desk);
}

/* ---- making ---- */

static void make(struct abroad_channel *c)
{
    if (c->busy)
        return;
    if (atomic_load(&c->state) != ABROAD_READY)
        atomic_store(&c->state, ABROAD_MAKING);
    if (!c->abroad->how->suspect_until_whole)
        atomic_store(&c->suspect, false);
    c->busy = true;
    c->abroad->how->channel_make(c);
}

static void refused(struct abroad_channel *c, const struct abroad_answer *a)
{
    struct desk *desk = c->abroad->desk;
    bool same = c->err == a->err && strcmp(c->reason, a->text) == 0;
    c->err = a->err;
    snprintf(c->reason, sizeof c->reason, "%s", a->text[0] ? a->text : err_name(a->err));
    c->ask_ns = clock_monotonic_ns(desk->clock) + (a->retry_ns ? a->retry_ns : ABROAD_RETRY_NS);
    if (!same && !a->away && !c->ops) /* else who waits for it tells; and of a system that is away the bus does */
        desk_notice(desk, 1, "ChannelFailed", "channel %s: %s", c->name, c->reason);
}

/* Whoever shows what was wrong looks again when something is told. */
static void well(struct abroad_channel *c)
{
    if (c->err && !c->ops && !desk_notice(c->abroad->desk, 0, "ChannelWell", "channel %s is well again", c->name))
        c->abroad->untold = true;
    c->err = OK;
    c->reason[0] = '\0';
}

static void go_on(struct abroad_channel *c);

void abroad_channel_made(struct abroad_channel *c, struct abroad_answer a)
{
    int state = atomic_load(&c->state);
    c->busy = false;
    if (state == ABROAD_GOING) {
        bus_ops_end(&c->ops, ERR_CANCELED, NULL);
        go_on(c);
        return;
    }
    if (a.err)
        refused(c, &a);
    else
        well(c);
    if (!a.err && a.changed) { /* who waits gets what was asked for last */
        make(c);
        return;
    }
    if (!(state == ABROAD_READY && a.err && a.away))
        atomic_store(&c->state, a.err ? ABROAD_REFUSED : ABROAD_READY);
    abroad_subscriptions_start(c);
    abroad_channel_whole(c);
    bus_ops_end(&c->ops, a.err, c->reason);
}

void abroad_channel_whole(struct abroad_channel *c)
{
    if (atomic_load(&c->state) != ABROAD_READY || !atomic_load(&c->suspect) || c->busy ||
        !c->abroad->how->suspect_until_whole)
        return;
    list_each(l, tmp, &c->subscriptions) {
        struct abroad_subscription *s = container_of(l, struct abroad_subscription, link);
        if (s->state != ABROAD_GOING && !s->passing && (s->state != ABROAD_READY || s->busy))
            return;
    }
    atomic_store(&c->suspect, false);
}

/* Whether one that goes has the same there. */
static bool taken(const struct abroad_channel *c)
{
    list_each(l, tmp, &c->abroad->going) {
        if (c->abroad->how->channel_same(channel_at(l), c))
            return true;
    }
    return false;
}

void abroad_provision(struct abroad_channel *c, bool changed, struct bus_op *op)
{
    c->refs++;
    op->text = NULL;
    if (atomic_load(&c->state) == ABROAD_READY && !changed) {
        bus_op_end(c->abroad->desk->env.control, op, OK);
        return;
    }
    op->owner = c->ops;
    c->ops = op;
    if (!taken(c))
        make(c);
}

/* ---- going ---- */

void abroad_ops_cancel(struct abroad *a, struct bus_op **ops)
{
    while (*ops) {
        struct bus_op *waiting = *ops;
        *ops = waiting->owner;
        waiting->text = NULL;
        bus_op_end(a->desk->env.control, waiting, ERR_CANCELED);
    }
}

static void gone(struct abroad_channel *c)
{
    struct abroad *a = c->abroad;
    struct bus_op *op = c->going;
    list_remove(&c->link);
    atomic_fetch_sub(&a->desk->going_count, 1);
    map_each(entry, tmp, &a->channels) {
        struct abroad_channel *other = entry->value;
        if (atomic_load(&other->state) == ABROAD_WAITING && !taken(other))
            make(other);
    }
    channel_free(c);
    op->text = NULL;
    op->done(op, OK);
}

/* One step nearer to its end, if nothing uses it. */
static void go_on(struct abroad_channel *c)
{
    const struct abroad_ops *how = c->abroad->how;
    if (atomic_load(&c->pending) > 0 || c->busy || c->pins || (how->channel_used && how->channel_used(c)))
        return;
    if (!c->remove || c->external) {
        gone(c);
        return;
    }
    c->busy = true;
    how->channel_remove(c);
}

void abroad_channel_removed(struct abroad_channel *c, enum err err, const char *text)
{
    const struct abroad_ops *how = c->abroad->how;
    c->busy = false;
    if (err)
        desk_notice(c->abroad->desk, 1, how->channel_stays, "channel %s is gone, and its %s could not be deleted: %s",
                    c->name, how->channel_word, text[0] ? text : err_name(err));
    gone(c);
}

void abroad_channel_pin(struct abroad_channel *c)
{
    c->pins++;
}

void abroad_channel_unpin(struct abroad_channel *c)
{
    assert(c->pins > 0);
    if (--c->pins == 0 && atomic_load(&c->state) == ABROAD_GOING)
        go_on(c);
}

void abroad_release(struct abroad_channel *c, bool remove, struct bus_op *op)
{
    struct abroad *a = c->abroad;
    assert(c->refs > 0);
    op->text = NULL;
    if (--c->refs) {
        bus_op_end(a->desk->env.control, op, OK);
        return;
    }
    map_remove(&a->channels, slice_str(c->name));
    c->remove = remove && atomic_load(&c->state) != ABROAD_WAITING; /* else it is another's that goes */
    atomic_store(&c->state, ABROAD_GOING);
    c->going = op;
    if (!c->busy) /* it had not begun */
        abroad_ops_cancel(a, &c->ops);
    list_push_back(&a->going, &c->link);
    atomic_fetch_add(&a->desk->going_count, 1);
    desk_call(a->desk); /* go_on, after this call */
}

/* ---- what time and events bring ---- */

static void channels_look(struct abroad *a)
{
    uint64_t now = clock_monotonic_ns(a->desk->clock);
    atomic_store(&a->suspects, false);
    map_each(entry, tmp, &a->channels) {
        struct abroad_channel *c = entry->value;
        int state = atomic_load(&c->state);
        bool ready = state == ABROAD_READY;
        if ((state == ABROAD_REFUSED && now >= c->ask_ns) || (ready && atomic_load(&c->suspect)) ||
            (ready && a->how->channel_due && a->how->channel_due(c, now)))
            make(c); /* its subscriptions are looked at when it is through */
        else if (ready && !c->busy)
            abroad_subscriptions_look(c);
    }
}

void abroad_look(struct abroad *a)
{
    abroad_subscriptions_closed(a);
    list_each(l, tmp, &a->going)
        go_on(channel_at(l));
    if (!a->desk->stopping && atomic_load(&a->suspects))
        channels_look(a);
}

void abroad_tick(struct abroad *a)
{
    if (!a->desk->stopping)
        channels_look(a);
    /* Who shows what was wrong looks when something is told: once more at the end, when not each was told. */
    if (a->untold && a->jobs_open == 0)
        a->untold = !desk_notice(a->desk, 0, "AllWell", "more channels and subscriptions are well again");
}

void abroad_doubt(struct abroad *a)
{
    map_each(entry, tmp, &a->channels) {
        struct abroad_channel *c = entry->value;
        int state = atomic_load(&c->state);
        if (state == ABROAD_READY || state == ABROAD_REFUSED)
            make(c);
    }
}

static uint64_t length(const struct list *head)
{
    uint64_t n = 0;
    for (const struct list *l = head->next; l != head; l = l->next)
        n++;
    return n;
}

uint64_t abroad_left(const struct abroad *a)
{
    return a->jobs_open + length(&a->going) + length(&a->closing);
}

/* ---- beginning and end ---- */

void abroad_init(struct abroad *a, struct desk *desk, const struct abroad_ops *how)
{
    *a = (struct abroad){.desk = desk, .how = how};
    list_init(&a->going);
    list_init(&a->closing);
    map_init(&a->channels, SIZE_MAX);
}

void abroad_stop(struct abroad *a)
{
    map_each(entry, tmp, &a->channels)
        abroad_subscriptions_stop(entry->value);
    list_each(l, tmp, &a->going)
        abroad_subscriptions_stop(channel_at(l));
}

void abroad_fini(struct abroad *a)
{
    while (!list_empty(&a->going))
        channel_free(channel_at(a->going.next));
    map_each(entry, tmp, &a->channels)
        channel_free(entry->value);
    map_fini(&a->channels);
}
