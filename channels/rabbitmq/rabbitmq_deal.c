/* SPDX-License-Identifier: Apache-2.0
 *
 * Lanes: how the events of a subscription are dealt to its streams. An event with a key lies in the lane of its hash,
 * one without in the common lane, from which any stream takes. A lane with a key's events has an owner: the stream
 * i mod n of lane i, in the order of loops. When streams come and go lanes change hands, each when nothing of it is
 * unsettled (R3).
 *
 * A lane that is to move and never is empty of unsettled events rests now and then: then nothing new of it is
 * taken, so that what is in hand can end. It does not rest for ever, since who holds an event for an hour must not stop
 * the others.
 *
 * All under the subscription's lock.
 */
#include "rabbitmq_subscription.h"

#include <assert.h>
#include <stdlib.h>

#define REST_NS (100 * NS_PER_MS)
#define CYCLE_NS (500 * NS_PER_MS)

enum err rabbit_deal_init(struct bus_subscription *s)
{
    if (s->lanes)
        return OK;
    struct rabbit_lane *lanes = calloc(RABBIT_LANES + 1, sizeof *lanes);
    if (!lanes)
        return ERR_NOMEM;
    for (unsigned i = 0; i <= RABBIT_COMMON; i++) {
        list_init(&lanes[i].entries);
        list_init(&lanes[i].ready);
    }
    s->lanes = lanes;
    return OK;
}

void rabbit_entry_free(struct rabbit_entry *e)
{
    list_remove(&e->link);
    list_remove(&e->out);
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

static void tell_any(struct bus_subscription *s)
{
    list_each(l, tmp, &s->streams) {
        struct bus_stream *st = container_of(l, struct bus_stream, link);
        if (st->hungry) {
            tell(st);
            return;
        }
    }
}

static void lane_ready(struct rabbit_lane *lane)
{
    if (!lane->owner || list_empty(&lane->entries))
        return;
    if (list_empty(&lane->ready))
        list_push_back(&lane->owner->ready, &lane->ready);
    tell(lane->owner);
}

/* ---- entries ---- */

static struct rabbit_entry *entry_at(struct list *l)
{
    return container_of(l, struct rabbit_entry, link);
}

static void insert(struct list *entries, struct rabbit_entry *e)
{
    struct list *at = entries->prev;
    if (at != entries && entry_at(at)->number > e->number) { /* it was here before: near the head */
        at = entries;
        while (entry_at(at->next)->number < e->number)
            at = at->next;
    }
    list_insert_after(at, &e->link);
}

void rabbit_deal_put(struct bus_subscription *s, struct rabbit_entry *e)
{
    assert(e->lane <= RABBIT_COMMON && list_empty(&e->link) && !e->lost);
    struct rabbit_lane *lane = &s->lanes[e->lane];
    e->place = RABBIT_LANE;
    e->stream = NULL;
    insert(&lane->entries, e);
    if (e->lane == RABBIT_COMMON)
        tell_any(s);
    else
        lane_ready(lane);
}

static struct rabbit_entry *take_one(struct bus_stream *st, struct rabbit_lane *lane, struct list *out)
{
    struct rabbit_entry *e = entry_at(list_pop_front(&lane->entries));
    e->place = RABBIT_TAKEN;
    e->stream = st;
    lane->open++;
    list_push_back(out, &e->link);
    return e;
}

/* How long it rests still; 0: it does not. */
static uint64_t rests(const struct rabbit_lane *lane, uint64_t now)
{
    uint64_t phase = lane->next ? (now - lane->moving_ns) % CYCLE_NS : CYCLE_NS;
    return phase < REST_NS ? REST_NS - phase : 0;
}

/* One of each lane that has something and does not rest. */
static unsigned take_round(struct bus_stream *st, unsigned n, struct list *out, uint64_t now, uint64_t *rest_ns)
{
    struct rabbit_lane *common = &st->subscription->lanes[RABBIT_COMMON];
    unsigned got = 0;
    if (!list_empty(&common->entries)) {
        take_one(st, common, out);
        got++;
    }
    list_each(l, tmp, &st->ready) {
        struct rabbit_lane *lane = container_of(l, struct rabbit_lane, ready);
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

unsigned rabbit_deal_take(struct bus_stream *st, unsigned n, struct list *out, uint64_t *rest_ns)
{
    uint64_t now = rabbit_now();
    unsigned got = 0, more = 1;
    *rest_ns = UINT64_MAX;
    while (got < n && more > 0) {
        more = take_round(st, n - got, out, now, rest_ns);
        got += more;
    }
    st->hungry = got < n;
    return got;
}

void rabbit_deal_drain(struct bus_subscription *s, unsigned lane, struct list *out)
{
    for (unsigned i = 0; s->lanes && i <= RABBIT_COMMON; i++) {
        if (lane <= RABBIT_COMMON && i != lane)
            continue;
        list_splice_back(out, &s->lanes[i].entries);
        list_remove(&s->lanes[i].ready);
    }
}

/* ---- owners ---- */

static void own(struct rabbit_lane *lane, struct bus_stream *st)
{
    assert(lane->open == 0);
    list_remove(&lane->ready);
    lane->owner = st;
    lane->next = NULL;
    lane_ready(lane);
}

void rabbit_deal_closed(struct bus_subscription *s, unsigned index)
{
    struct rabbit_lane *lane = &s->lanes[index];
    assert(index <= RABBIT_COMMON && lane->open > 0);
    lane->open--;
    if (lane->open == 0 && lane->next)
        own(lane, lane->next);
}

void rabbit_deal_streams(struct bus_subscription *s)
{
    struct list *at = &s->streams;
    for (unsigned i = 0; i < RABBIT_LANES; i++) {
        struct rabbit_lane *lane = &s->lanes[i];
        at = at->next == &s->streams ? at->next->next : at->next; /* round and round */
        struct bus_stream *st = at == &s->streams ? NULL : container_of(at, struct bus_stream, link);
        if (lane->owner == st) {
            lane->next = NULL;
        } else if (lane->open == 0) {
            own(lane, st);
        } else if (lane->next != st) {
            lane->next = st;
            lane->moving_ns = rabbit_now();
        }
    }
    if (!list_empty(&s->lanes[RABBIT_COMMON].entries))
        tell_any(s);
}
