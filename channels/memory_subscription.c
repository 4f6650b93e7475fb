/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the memory bus: made and removed by control, joined to each part by that part's own loop, in a
 * round. A subscribe ends when every loop has joined, and so misses nothing from then on. Another filter is taken by
 * every loop in a further round; what was kept already stays.
 *
 *   subscribe ─ round: join every part ─ ready ─ subscribe with another filter ─ round: take it ─ ready
 *   unsubscribe(remove) ─ round: leave every part, entries home ─ flush ─ freed
 */
#include "memory.h"
#include "overflow.h"

#include <assert.h>
#include <stdlib.h>

static struct bus_subscription *of_round(struct round *r)
{
    return container_of(r, struct bus_subscription, round);
}

static void set_filter(struct filter **where, struct filter *f)
{
    struct filter *before = *where;
    *where = f ? filter_ref(f) : NULL;
    filter_unref(before);
}

/* No round runs. */
static void use_filter(struct bus_subscription *s)
{
    set_filter(&s->in_use, s->filter);
}

static bool join(struct round *r, size_t index)
{
    struct bus_subscription *s = of_round(r);
    struct memory_slot *slot = &s->slots[index];
    struct memory_part *p = slot->part;
    list_push_back(&p->slots, &slot->link);
    p->slot_count++;
    filter_index_add(p->index, &slot->wants, s->in_use);
    atomic_store(&slot->joined, true);
    return true;
}

static bool take_filter(struct round *r, size_t index)
{
    struct bus_subscription *s = of_round(r);
    struct memory_slot *slot = &s->slots[index];
    filter_index_remove(slot->part->index, &slot->wants);
    filter_index_add(slot->part->index, &slot->wants, s->in_use);
    return true;
}

static void leave_start(struct bus_subscription *s);

/* Another round as long as there is a newer filter; then whoever waits is told, and a leave that waits begins. */
static void joined(struct round *r)
{
    struct bus_subscription *s = of_round(r);
    if (s->in_use != s->filter && !s->leave_op) {
        use_filter(s);
        round_start(&s->round, take_filter, joined);
        return;
    }
    while (s->waiting) {
        struct bus_op *op = s->waiting;
        s->waiting = op->owner;
        bus_op_end(s->channel->bus->env.control, op, OK);
    }
    if (s->leave_op)
        leave_start(s);
}

static bool leave(struct round *r, size_t index)
{
    struct memory_slot *s = &of_round(r)->slots[index];
    struct memory_part *p = s->part;
    assert(!s->stream);
    s->leaving = true;
    filter_index_remove(p->index, &s->wants);
    list_remove(&s->link);
    p->slot_count--;
    memory_slot_clear(s);
    if (p->at->stopped || (!s->away && !s->recalling))
        return true;
    s->leave_waits = true;
    return false;
}

static void left(struct round *r)
{
    struct bus_subscription *s = of_round(r);
    struct bus_channel *c = s->channel;
    struct bus_op *op = s->leave_op;
    list_remove(&s->link);
    memory_subscription_destroy(s);
    bus_op_end(c->bus->env.control, op, OK);
    memory_channel_end(c);
}

static void leave_flush(struct round *r)
{
    round_start(r, NULL, left);
}

static void leave_start(struct bus_subscription *s)
{
    if (atomic_load(&s->drop_oldest))
        atomic_fetch_sub(&s->channel->droppers, 1);
    round_start(&s->round, leave, leave_flush);
}

static void subscription_free(struct bus_subscription *s)
{
    round_fini(&s->round);
    filter_unref(s->filter);
    filter_unref(s->in_use);
    free(s->slots);
    free(s);
}

static void bury(struct round *r)
{
    subscription_free(of_round(r));
}

void memory_subscription_destroy(struct bus_subscription *s)
{
    for (size_t i = 0; i < s->channel->bus->env.loop_count; i++) {
        struct memory_slot *slot = &s->slots[i];
        if (slot->stream)
            memory_stream_free(slot->stream);
        if (atomic_load(&slot->joined) && !slot->leaving)
            filter_index_remove(slot->part->index, &slot->wants);
    }
    round_abandon(&s->round, bury);
}

static enum err subscription_new(struct bus_channel *c, struct slice name, struct bus_subscription **out)
{
    size_t n = c->bus->env.loop_count;
    struct bus_subscription *s = calloc(1, sizeof *s + name.len + 1);
    if (!s)
        return ERR_NOMEM;
    s->channel = c;
    list_init(&s->link);
    memcpy(s->name, name.ptr, name.len);
    s->slots = calloc(n, sizeof *s->slots);
    if (!s->slots || round_init(&s->round, &c->bus->env) || map_add(&c->subscriptions, name, s)) {
        subscription_free(s);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++)
        memory_slot_init(&s->slots[i], s, &c->parts[i]);
    *out = s;
    return OK;
}

static void set_overflow(struct bus_subscription *s, bool drop_oldest)
{
    bool before = atomic_exchange(&s->drop_oldest, drop_oldest);
    if (drop_oldest && !before)
        atomic_fetch_add(&s->channel->droppers, 1);
    else if (!drop_oldest && before)
        atomic_fetch_sub(&s->channel->droppers, 1);
}

enum err memory_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                          struct filter *filter, const struct bus_param *params, size_t count,
                          struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    struct memory_bus *m = memory_of(b);
    bool drop_oldest = false;
    if (m->stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    if (start && start->kind != BUS_START_LATEST && start->kind != BUS_START_EARLIEST)
        return diag_set(d, ERR_INVALID, "a memory bus keeps no past: a subscription starts at latest or earliest");
    enum err e = overflow_read("memory", params, count, &drop_oldest, d);
    if (e)
        return e;
    struct bus_subscription *s = map_get(&c->subscriptions, name);
    bool known = s != NULL;
    if (!known) {
        e = subscription_new(c, name, &s);
        if (e)
            return diag_set(d, e, "out of memory");
    }
    s->refs++;
    set_overflow(s, drop_oldest);
    set_filter(&s->filter, filter);
    *out = s;
    if (known && s->in_use == s->filter && !round_running(&s->round)) {
        bus_op_end(m->env.control, op, OK);
        return OK;
    }
    op->owner = s->waiting;
    s->waiting = op;
    if (!round_running(&s->round)) {
        use_filter(s);
        round_start(&s->round, known ? take_filter : join, joined);
    }
    return OK;
}

void memory_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    struct memory_bus *m = memory_of(b);
    assert(s->refs > 0);
    s->refs--;
    if (s->refs || !remove) {
        bus_op_end(m->env.control, op, OK);
        return;
    }
    map_remove(&s->channel->subscriptions, slice_str(s->name));
    list_push_back(&s->channel->leaving, &s->link);
    s->leave_op = op;
    if (!round_running(&s->round))
        leave_start(s);
}
