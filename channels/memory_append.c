/* SPDX-License-Identifier: Apache-2.0
 *
 * Append: find the subscriptions that want the event, charge it, make one record in the partition's part, push an entry
 * on the queue of each of them there, end the call at the end of the turn.
 *
 * An event with a partition key belongs to the loop that its key's hash names; with partitions=1 every event belongs to
 * the loop that the channel's name names. From another loop it travels there in the letter of the caller's own
 * bus_append, already charged, and the same letter brings the result back.
 */
#include "memory.h"

#include <assert.h>

void memory_uncharge(struct bus_channel *c, size_t charge)
{
    atomic_fetch_sub_explicit(&c->bytes, charge, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->bus->bytes, charge, memory_order_relaxed);
}

static bool charge_fits(_Atomic uint64_t *bytes, uint64_t most, size_t charge)
{
    uint64_t before = atomic_fetch_add_explicit(bytes, charge, memory_order_relaxed);
    if (before + charge <= most)
        return true;
    atomic_fetch_sub_explicit(bytes, charge, memory_order_relaxed);
    return false;
}

static bool charge(struct bus_channel *c, size_t n)
{
    if (!charge_fits(&c->bytes, stat_read(&c->capacity), n))
        return false;
    if (charge_fits(&c->bus->bytes, c->bus->total, n))
        return true;
    atomic_fetch_sub_explicit(&c->bytes, n, memory_order_relaxed);
    return false;
}

/* Another part of the channel found no room and nothing of its own to drop: this one gives way by a sixteenth of the
 * bound. */
static void part_yield(struct letter *m)
{
    struct memory_part *p = container_of(m, struct memory_part, yield);
    atomic_store(&p->yield_posted, false);
    if (p->at->stopped || p->closed)
        return;
    uint64_t bytes = stat_read(&p->channel->bytes);
    uint64_t aim = bytes - bytes / 16;
    while (stat_read(&p->channel->bytes) > aim && memory_part_drop_oldest(p))
        continue;
}

static void ask_others_to_yield(struct memory_part *p)
{
    struct bus_channel *c = p->channel;
    if (atomic_load_explicit(&c->droppers, memory_order_relaxed) == 0)
        return;
    for (size_t i = 0; i < c->bus->env.loop_count; i++) {
        struct memory_part *other = &c->parts[i];
        if (other != p && !atomic_exchange(&other->yield_posted, true))
            loop_post_reserved(other->at->loop, &other->yield);
    }
}

static enum err charge_or_drop(struct memory_part *p, size_t n)
{
    struct bus_channel *c = p->channel;
    if (n > stat_read(&c->capacity) || n > c->bus->total)
        return ERR_TOO_LARGE;
    while (!charge(c, n)) {
        if (!memory_part_pay(p) && !memory_part_drop_oldest(p)) {
            ask_others_to_yield(p);
            return ERR_FULL;
        }
    }
    return OK;
}

static void wake(struct memory_slot *s)
{
    if (s->stream && !s->lent_to)
        memory_stream_wake(s->stream);
    else
        memory_slot_route(s);
}

/* The slots of a part that one event matches, chained by `matched`. */
struct matches {
    struct memory_slot *first;
    unsigned count;
};

static void matches_add(void *arg, struct filter_entry *entry)
{
    struct matches *m = arg;
    struct memory_slot *s = container_of(entry, struct memory_slot, wants);
    s->matched = m->first;
    m->first = s;
    m->count++;
}

static struct matches part_match(struct memory_part *p, const struct ce_event *event)
{
    struct matches m = {0};
    filter_index_match(p->index, event, matches_add, &m);
    return m;
}

/* Accepted, and kept for nobody. */
static void part_pass(struct memory_part *p)
{
    stat_add(&p->appended, 1);
    stat_add(p->slot_count ? &p->unmatched : &p->dropped, 1);
}

/* Keeps the event in this part for the subscriptions that it matches; `charged` bytes were charged for it already. */
static enum err part_push(struct memory_part *p, const struct ce_event *event, struct matches matches, size_t charged)
{
    struct bus_channel *c = p->channel;
    if (matches.count == 0) {
        if (charged)
            memory_uncharge(c, charged);
        part_pass(p);
        return OK;
    }
    size_t n = memory_charge(event, matches.count);
    if (!charged) {
        enum err e = charge_or_drop(p, n);
        if (e)
            return e;
    } else if (n != charged) { /* subscriptions changed on the way: the difference is small and not refused */
        atomic_fetch_add_explicit(&c->bytes, n - charged, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->bus->bytes, n - charged, memory_order_relaxed);
    }
    struct memory_record *r = memory_record_new(p, event, matches.count, n);
    if (!r) {
        memory_uncharge(c, n);
        return ERR_NOMEM;
    }
    stat_add(&p->appended, 1);
    for (struct memory_slot *s = matches.first; s; s = s->matched) {
        memory_entry_push(s, r);
        wake(s);
    }
    assert(r->refs == matches.count);
    return OK;
}

/* Counts the call until its done has run: stop and release wait for it. */
static void append_begin(struct bus_append *a, struct memory_part *p)
{
    a->owner = p;
    p->pending++;
    p->at->pending++;
}

static void append_end(struct bus_append *a)
{
    struct memory_part *p = a->owner;
    struct memory_loop *l = p->at;
    assert(p->pending > 0 && l->pending > 0);
    a->done(a, a->result);
    l->pending--;
    p->pending--;
    memory_part_settle_down(p);
    if (l->stop_waits && l->pending == 0) {
        l->stop_waits = false;
        round_answer(&l->bus->round, l->index);
    }
}

static void append_end_task(struct loop_task *t)
{
    append_end(container_of(t, struct bus_append, task));
}

static void append_returned(struct letter *m)
{
    append_end(container_of(m, struct bus_append, letter));
}

/* On the key's loop. `owner` was this part on the way here and is the caller's on the way back. */
static void append_arrived(struct letter *m)
{
    struct bus_append *a = container_of(m, struct bus_append, letter);
    struct memory_part *p = a->owner;
    a->result = part_push(p, a->event, part_match(p, a->event), a->charge);
    a->event = ce_event_unref(a->event);
    a->owner = &a->channel->parts[memory_loop_find(a->channel->bus, a->home)->index];
    a->letter.run = append_returned;
    loop_post_reserved(a->home, &a->letter);
}

/* FNV-1a, then a finaliser so that few loops still spread well. */
size_t memory_key_part(struct slice key, size_t parts)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ (unsigned char)key.ptr[i]) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    return (size_t)(h % parts);
}

/* Both parts have the same filters, but for changes that are under way: so what matches here is what will match there,
 * and tells what to charge. */
static enum err append_remote(struct memory_part *from, struct memory_part *to, const struct ce_event *event,
                              unsigned entries, struct bus_append *a)
{
    size_t n = memory_charge(event, entries);
    enum err e = charge_or_drop(from, n);
    if (e)
        return e;
    a->charge = n;
    a->event = ce_event_ref(event);
    a->letter.run = append_arrived;
    append_begin(a, from);
    a->owner = to;
    e = loop_post(to->at->loop, &a->letter);
    if (e) {
        from->pending--;
        from->at->pending--;
        a->event = ce_event_unref(event);
        memory_uncharge(from->channel, n);
    }
    return e;
}

/* The part that the event belongs to, seen from `here`. */
static struct memory_part *part_for(struct bus_channel *c, struct memory_part *here, const struct ce_event *event)
{
    struct ce_attribute key;
    size_t parts = c->bus->env.loop_count;
    if (parts == 1)
        return here;
    if (atomic_load_explicit(&c->one_part, memory_order_relaxed))
        return c->only;
    return ce_event_attribute(event, SLICE("partitionkey"), &key) ? &c->parts[memory_key_part(key.value, parts)] : here;
}

enum err memory_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                       struct loop *loop)
{
    struct memory_bus *m = memory_of(b);
    struct memory_loop *l = memory_loop_find(m, loop);
    struct memory_part *p = &c->parts[l->index];
    assert(l->bound);
    if (l->stopped || p->closed)
        return ERR_CLOSED;
    a->home = loop;
    a->channel = c;
    a->event = NULL;
    a->result = OK;

    struct matches matches = part_match(p, event);
    struct memory_part *to = part_for(c, p, event);
    if (to != p && matches.count)
        return append_remote(p, to, event, matches.count, a);
    enum err e = part_push(p, event, matches, 0);
    if (e)
        return e;
    append_begin(a, p);
    loop_task_init(&a->task, append_end_task);
    loop_defer(loop, &a->task);
    return OK;
}

enum err memory_part_init(struct memory_part *p, struct bus_channel *c, struct memory_loop *at)
{
    p->channel = c;
    p->at = at;
    list_init(&p->slots);
    list_init(&p->dropping);
    list_init(&p->records);
    p->yield.run = part_yield;
    return filter_index_new(&p->index);
}

void memory_part_fini(struct memory_part *p)
{
    filter_index_free(p->index);
}

/* No call under way, and no entry of any slot at another loop. */
bool memory_part_quiet(const struct memory_part *p)
{
    if (p->pending)
        return false;
    for (const struct list *l = p->slots.next; l != &p->slots; l = l->next) {
        const struct memory_slot *s = container_of(l, struct memory_slot, link);
        if (s->away || s->recalling)
            return false;
    }
    return true;
}

void memory_part_settle_down(struct memory_part *p)
{
    if (!p->close_waits || !memory_part_quiet(p))
        return;
    p->close_waits = false;
    round_answer(&p->channel->round, p->at->index);
}
