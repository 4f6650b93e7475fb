/* SPDX-License-Identifier: Apache-2.0
 *
 * How the events of a subscription are dealt to its streams. An event with a key lies in the lane of its hash, one
 * without in the common lane, from which any stream takes. A lane with a key's events has an owner: the stream i mod n
 * of lane i, in the order of loops. When streams come and go lanes change hands, each when nothing of it is unsettled
 * (L2).
 *
 * A lane that is to move and never is empty of unsettled events rests now and then: then nothing new of it is
 * taken, so that what is in hand can end. It does not rest for ever, since who holds an event for an hour must not stop
 * the others.
 *
 * All under the lanes' lock.
 */
#include "lanes.h"

#include <assert.h>
#include <stdlib.h>

#include "siphash.h"

#define REST_NS (100 * NS_PER_MS)
#define CYCLE_NS (500 * NS_PER_MS)

void lanes_init(struct lanes *l, const struct clock *clock, void (*news)(struct lanes *l, unsigned what))
{
    *l = (struct lanes){.clock = clock, .news = news};
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->streams);
    list_init(&l->settled);
}

void lanes_fini(struct lanes *l)
{
    struct list left, *one;
    list_init(&left);
    lanes_drain(l, LANES_ALL, &left);
    list_splice_back(&left, &l->settled);
    while ((one = list_pop_front(&left)))
        lane_entry_free(container_of(one, struct lane_entry, link));
    free(l->at);
    pthread_mutex_destroy(&l->lock);
}

enum err lanes_room(struct lanes *l)
{
    if (l->at)
        return OK;
    struct lane *at = calloc(LANES_ALL, sizeof *at);
    if (!at)
        return ERR_NOMEM;
    for (unsigned i = 0; i < LANES_ALL; i++) {
        list_init(&at[i].entries);
        list_init(&at[i].ready);
    }
    l->at = at;
    return OK;
}

unsigned lanes_of(struct slice key)
{
    static const uint64_t fixed[2] = {0};
    return key.len > 0 ? (unsigned)(siphash13(fixed, key) % LANES_KEYED) : LANES_COMMON;
}

void lane_entry_free(struct lane_entry *e)
{
    list_remove(&e->link);
    ce_event_unref(e->event);
    free(e);
}

/* ---- telling streams ---- */

static void tell(struct bus_stream *st)
{
    if (!st->hungry)
        return; /* it has no credit, or takes what there is anyway */
    st->hungry = false;
    post_send(st->post);
}

static void tell_any(struct lanes *l)
{
    list_each(one, tmp, &l->streams) {
        struct bus_stream *st = container_of(one, struct bus_stream, link);
        if (st->hungry) {
            tell(st);
            return;
        }
    }
}

static void lane_ready(struct lane *lane)
{
    if (!lane->owner || list_empty(&lane->entries))
        return;
    if (list_empty(&lane->ready))
        list_push_back(&lane->owner->ready, &lane->ready);
    tell(lane->owner);
}

/* ---- entries ---- */

static struct lane_entry *entry_at(struct list *l)
{
    return container_of(l, struct lane_entry, link);
}

static void insert(struct list *entries, struct lane_entry *e)
{
    struct list *at = entries->prev;
    if (at != entries && entry_at(at)->number > e->number) { /* it was here before: near the head */
        at = entries;
        while (entry_at(at->next)->number < e->number)
            at = at->next;
    }
    list_insert_after(at, &e->link);
}

void lanes_put_back(struct lanes *l, struct lane_entry *e)
{
    assert(e->lane <= LANES_COMMON && list_empty(&e->link) && !e->lost);
    struct lane *lane = &l->at[e->lane];
    e->place = LANE_WAITS;
    e->stream = NULL;
    insert(&lane->entries, e);
    if (e->lane == LANES_COMMON)
        tell_any(l);
    else
        lane_ready(lane);
}

void lanes_put(struct lanes *l, struct lane_entry *e)
{
    uint64_t bytes = ce_event_size(e->event);
    l->held++;
    l->held_bytes += bytes;
    if (l->held_by_all)
        atomic_fetch_add_explicit(l->held_by_all, bytes, memory_order_relaxed);
    lanes_put_back(l, e);
}

/* It is not held any more. */
static void let_go(struct lanes *l, const struct lane_entry *e)
{
    uint64_t bytes = ce_event_size(e->event);
    l->held--;
    l->held_bytes -= bytes;
    if (l->held_by_all)
        atomic_fetch_sub_explicit(l->held_by_all, bytes, memory_order_relaxed);
}

static struct lane_entry *take_one(struct bus_stream *st, struct lane *lane, struct list *out)
{
    struct lane_entry *e = entry_at(list_pop_front(&lane->entries));
    e->place = LANE_TAKEN;
    e->stream = st;
    lane->open++;
    list_push_back(out, &e->link);
    return e;
}

/* How long it rests still; 0: it does not. */
static uint64_t rests(const struct lane *lane, uint64_t now)
{
    uint64_t phase = lane->next ? (now - lane->moving_ns) % CYCLE_NS : CYCLE_NS;
    return phase < REST_NS ? REST_NS - phase : 0;
}

/* One of each lane that has something and does not rest. */
static unsigned take_round(struct bus_stream *st, unsigned n, struct list *out, uint64_t now, uint64_t *rest_ns)
{
    struct lane *common = &st->lanes->at[LANES_COMMON];
    unsigned got = 0;
    if (!list_empty(&common->entries)) {
        take_one(st, common, out);
        got++;
    }
    list_each(l, tmp, &st->ready) {
        struct lane *lane = container_of(l, struct lane, ready);
        uint64_t rest = rests(lane, now);
        if (got == n)
            break;
        if (list_empty(&lane->entries)) { /* what waited went back to the node */
            list_remove(&lane->ready);
            continue;
        }
        if (rest > 0) {
            *rest_ns = rest < *rest_ns ? rest : *rest_ns;
            continue;
        }
        take_one(st, lane, out);
        got++;
        if (list_empty(&lane->entries))
            list_remove(&lane->ready);
    }
    return got;
}

unsigned lanes_take(struct bus_stream *st, unsigned n, struct list *out, uint64_t *rest_ns)
{
    uint64_t now = clock_monotonic_ns(st->lanes->clock);
    unsigned got = 0, more = 1;
    *rest_ns = UINT64_MAX;
    while (got < n && more > 0) {
        more = take_round(st, n - got, out, now, rest_ns);
        got += more;
    }
    st->hungry = got < n;
    return got;
}

void lanes_drain(struct lanes *l, unsigned lane, struct list *out)
{
    for (unsigned i = 0; l->at && i < LANES_ALL; i++) {
        if (lane < LANES_ALL && i != lane)
            continue;
        list_splice_back(out, &l->at[i].entries);
        list_remove(&l->at[i].ready);
    }
}

void lanes_settle(struct lanes *l, struct lane_entry *e, bool back)
{
    e->place = LANE_SETTLED;
    e->stream = NULL;
    e->back = back;
    let_go(l, e);
    l->returned += back;
    l->acknowledged += !back;
    list_push_back(&l->settled, &e->link);
}

void lanes_return(struct lanes *l, unsigned lane)
{
    struct list waiting, *one;
    list_init(&waiting);
    lanes_drain(l, lane, &waiting);
    while ((one = list_pop_front(&waiting)))
        lanes_settle(l, container_of(one, struct lane_entry, link), true);
}

bool lanes_lose(struct lanes *l, struct lane_entry *e)
{
    assert(e->place != LANE_SETTLED && !e->lost);
    l->returned++;
    let_go(l, e);
    if (e->place == LANE_WAITS) { /* a lane that is empty leaves `ready` when it is looked at */
        list_remove(&e->link);
        return true;
    }
    e->lost = true;
    e->stream->lost = true;
    post_send(e->stream->post);
    return false;
}

/* ---- owners ---- */

static void own(struct lane *lane, struct bus_stream *st)
{
    assert(lane->open == 0);
    list_remove(&lane->ready);
    lane->owner = st;
    lane->next = NULL;
    lane_ready(lane);
}

void lanes_closed(struct lanes *l, unsigned index)
{
    struct lane *lane = &l->at[index];
    assert(index <= LANES_COMMON && lane->open > 0);
    lane->open--;
    if (lane->open == 0 && lane->next)
        own(lane, lane->next);
}

void lanes_deal(struct lanes *l)
{
    struct list *at = &l->streams;
    for (unsigned i = 0; i < LANES_KEYED; i++) {
        struct lane *lane = &l->at[i];
        at = at->next == &l->streams ? at->next->next : at->next; /* round and round */
        struct bus_stream *st = at == &l->streams ? NULL : container_of(at, struct bus_stream, link);
        if (lane->owner == st) {
            lane->next = NULL;
        } else if (lane->open == 0) {
            own(lane, st);
        } else if (lane->next != st) {
            lane->next = st;
            lane->moving_ns = clock_monotonic_ns(l->clock);
        }
    }
    if (!list_empty(&l->at[LANES_COMMON].entries))
        tell_any(l);
}
