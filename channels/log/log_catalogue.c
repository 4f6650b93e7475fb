/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels and cursors that outlive the process: taken up at open as the log has them, and forgotten when nobody has
 * used them for LOG_FORGET_NS. Until then they keep what they need, since manifests may be broken for a while.
 *
 * Control's alone; load before the threads start.
 */
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

struct loading {
    struct log_bus *g;
    enum log_object_type type;
    struct bus_channel **by_number; /* ascending */
    size_t count;
    uint64_t end; /* of the log: one more than the last sequence */
    size_t clamped, bad;
    enum err err;
};

/* An object that was used when the last process ended is unused from now on, until somebody comes for it. */
static int64_t since(const struct loading *l, const struct log_object *o)
{
    return o->since_ns ? o->since_ns : l->g->opened_wall_ns;
}

static void load_channel(struct loading *l, const struct log_object *o)
{
    struct bus_channel *c;
    l->err = log_channel_new(l->g, o->name, &c);
    if (l->err)
        return;
    atomic_store(&c->number, o->number);
    c->written = true;
    c->unused = o->since_ns != 0;
    atomic_store(&c->unused_since, since(l, o));
    struct bus_channel **grown = realloc(l->by_number, (l->count + 1) * sizeof *grown);
    if (!grown) {
        l->err = ERR_NOMEM;
        return;
    }
    size_t at = l->count++;
    assert(o->number > 0 && c->refs == 0);
    for (; at > 0 && atomic_load(&grown[at - 1]->number) > o->number; at--)
        grown[at] = grown[at - 1];
    grown[at] = c;
    l->by_number = grown;
}

static struct bus_channel *channel_of(const struct loading *l, uint32_t number)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (atomic_load(&l->by_number[mid]->number) < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->count && atomic_load(&l->by_number[low]->number) == number ? l->by_number[low] : NULL;
}

/* A cursor that cannot be read stands at the beginning: better again than never. */
static enum err ledger_read(struct loading *l, struct slice value, struct slot_ledger **out)
{
    enum err e = slot_ledger_read(value, out);
    if (e == ERR_CORRUPT) {
        struct buf fresh;
        buf_init(&fresh, SIZE_MAX);
        slot_ledger_put_fresh(1, l->g->env.loop_count, &fresh);
        e = buf_error(&fresh);
        if (!e)
            e = slot_ledger_read(buf_slice(&fresh), out);
        buf_fini(&fresh);
        l->bad++;
    }
    if (!e && slot_ledger_clamp(*out, l->end))
        l->clamped++;
    return e;
}

static void load_cursor(struct loading *l, const struct log_object *o)
{
    struct bus_channel *c = channel_of(l, o->channel);
    struct bus_subscription *s;
    if (!c)
        return; /* its channel went without it; the log forgets it with the segment */
    l->err = log_subscription_new(c, o->name, &s);
    if (l->err)
        return;
    l->err = ledger_read(l, o->value, &s->before);
    if (!l->err)
        l->err = ledger_read(l, o->value, &s->census.done);
    if (l->err)
        return;
    assert(o->number > 0 && s->refs == 0 && !s->indexed);
    s->number = o->number;
    s->written = true;
    atomic_store(&s->unused_since, since(l, o));
    uint64_t first = l->end;
    for (size_t i = 0; i < s->slot_count; i++) {
        uint64_t from = slot_ledger_from(s->before, i, s->slot_count);
        slot_init(&s->slots[i], from, true);
        first = from < first ? from : first;
    }
    s->census.next = first;
}

static void visit(void *arg, const struct log_object *o)
{
    struct loading *l = arg;
    if (l->err || o->type != l->type)
        return;
    if (o->type == LOG_CHANNEL)
        load_channel(l, o);
    else
        load_cursor(l, o);
}

enum err log_catalogue_load(struct log_bus *g)
{
    struct loading l = {.g = g, .type = LOG_CHANNEL, .end = log_store_committed(g->store) + 1};
    log_store_each_object(g->store, visit, &l);
    l.type = LOG_CURSOR;
    log_store_each_object(g->store, visit, &l);
    free(l.by_number);
    if (l.clamped)
        log_notice(g, 1, "LogCursorClamped",
                   "%zu cursors stood beyond the end of the log and were set back to it: the disk lost what it had "
                   "confirmed",
                   l.clamped);
    if (l.bad)
        log_notice(g, 2, "LogCursorBad",
                   "%zu cursors cannot be read: their subscriptions get everything again that the log still has",
                   l.bad);
    return l.err;
}

/* ---- what nobody uses ---- */

/* The wall time if nobody had set the clock since the log was opened: a clock that jumps ahead, as those of machines
 * do that learn the time from the network, must not make a week of a minute. */
int64_t log_unused_now(const struct log_bus *g)
{
    return g->opened_wall_ns + (int64_t)(clock_monotonic_ns(g->clock) - g->opened_ns);
}

/* The log has it by the wall clock as it goes now, which is what the next opening begins with. Never later than now,
 * where the clock was wrong when the log was opened. */
int64_t log_unused_written(const struct log_bus *g, int64_t since)
{
    int64_t wall = clock_wall_ns(g->clock), age = log_unused_now(g) - since;
    return since ? wall - (age > 0 ? age : 0) : 0;
}

static bool forgotten(int64_t unused_since, int64_t now)
{
    return unused_since && now - unused_since > (int64_t)LOG_FORGET_NS;
}

static void forget_in(struct bus_channel *c, int64_t now, size_t *cursors, size_t *channels)
{
    map_each(entry, tmp, &c->subscriptions) {
        struct bus_subscription *s = entry->value;
        if (s->refs == 0 && forgotten(atomic_load(&s->unused_since), now)) {
            log_subscription_remove(s, NULL);
            ++*cursors;
        }
    }
    if (c->refs == 0 && c->subscriptions.count == 0 && forgotten(atomic_load(&c->unused_since), now)) {
        log_channel_remove(c, NULL);
        ++*channels;
    }
}

void log_forget_unused(struct log_bus *g)
{
    int64_t now = log_unused_now(g);
    size_t cursors = 0, channels = 0;
    assert(!g->stopping);
    map_each(entry, tmp, &g->channels)
        forget_in(entry->value, now, &cursors, &channels);
    if (cursors || channels)
        log_notice(g, 1, "LogForgotten",
                   "%zu cursors and %zu channels that nobody used for 7 days are forgotten, and what only they needed",
                   cursors, channels);
}

/* Once, some time after open: who is still unused is told, and since when is written down. */
void log_tell_unused(struct log_bus *g)
{
    size_t cursors = 0, channels = 0;
    map_each(entry, tmp, &g->channels) {
        struct bus_channel *c = entry->value;
        channels += c->refs == 0;
        map_each(inner, next, &c->subscriptions) {
            struct bus_subscription *s = inner->value;
            if (s->refs)
                continue;
            cursors++;
            log_subscription_dirty(s);
        }
        struct log_pending *p = c->refs == 0 ? log_pending_new(LOG_PENDING_CHANNEL) : NULL;
        if (p) {
            p->channel = c;
            log_op_start(g, p, NULL);
        }
    }
    if (cursors || channels)
        log_notice(
            g, 1, "LogUnused",
            "%zu cursors and %zu channels of the log are used by nobody; what they need is kept for 7 days, then "
            "it goes",
            cursors, channels);
}
