/* SPDX-License-Identifier: Apache-2.0
 *
 * What a subscription holds of the service's: leases that are renewed while an entry is there, and what is settled.
 *
 *     entry came ─→ out ──── each tick: lease renewed; it ran out: lost, and what waits behind it goes back (P3)
 *                    │
 *     settled ─→ acks ─→ acking ─→ answered: freed            failed: once more, until the lease has run out
 *            └─→ (back) modifyAckDeadline 0, freed
 *
 * On the subscription's home loop.
 */
#include "pubsub_subscription.h"

#include <assert.h>
#include <stdlib.h>

#define MARGIN_NS (2 * NS_PER_S) /* of a first lease: how long an answer may have been on its way */

struct pub_call { /* a renewal or hand-back under way */
    struct list link;
    struct bus_subscription *subscription;
    struct pubsub_call *call;
    uint64_t number, since_ns; /* of a renewal; 0: a hand-back */
};

static struct loop *loop_of(const struct bus_subscription *s)
{
    return s->home->loop;
}

static struct pub_entry *entry_of(struct list *l)
{
    return container_of(container_of(l, struct lane_entry, link), struct pub_entry, entry);
}

static struct pub_entry *out_of(struct list *l)
{
    return container_of(l, struct pub_entry, out);
}

static void entry_free(struct pub_entry *e)
{
    list_remove(&e->out);
    lane_entry_free(&e->entry);
}

static uint64_t lease_ns(const struct bus_subscription *s)
{
    return s->bus->settings.lease_s * NS_PER_S;
}

static void tick_start(struct bus_subscription *s)
{
    if (!loop_timer_armed(&s->tick) && !list_empty(&s->out))
        loop_timer_start(loop_of(s), &s->tick, lease_ns(s) / 5);
}

void pub_lease_begin(struct bus_subscription *s, struct pub_entry *e)
{
    pthread_mutex_lock(&s->lanes.lock);
    uint64_t first_ns = s->lease_s ? s->lease_s * NS_PER_S : lease_ns(s);
    pthread_mutex_unlock(&s->lanes.lock);
    e->deadline_ns = pub_now() + first_ns - MARGIN_NS;
    list_push_back(&s->out, &e->out);
    tick_start(s);
}

/* ---- calls ---- */

static struct pub_call *call_new(struct bus_subscription *s)
{
    struct pub_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->subscription = s;
    list_push_back(&s->calls, &c->link);
    return c;
}

static struct bus_subscription *call_end(struct pub_call *c)
{
    struct bus_subscription *s = c->subscription;
    list_remove(&c->link);
    free(c);
    return s;
}

/* Whether it says that the subscription is not there. */
static bool is_gone(struct bus_subscription *s, const struct pubsub_answer *a)
{
    pub_heard(s->bus, a);
    if (a->err == ERR_NOTFOUND && !s->abroad.passing)
        pub_channel_suspect(s->channel);
    return a->err == ERR_NOTFOUND;
}

/* ---- leases ---- */

static void renewed(void *arg, const struct pubsub_answer *a)
{
    struct pub_call *c = arg;
    uint64_t number = c->number, since_ns = c->since_ns;
    struct bus_subscription *s = call_end(c);
    is_gone(s, a);
    list_each(l, tmp, &s->out) {
        struct pub_entry *e = out_of(l);
        if (e->renewal != number)
            continue;
        e->renewal = 0;
        if (!a->err)
            e->deadline_ns = since_ns + lease_ns(s);
    }
    pub_tend(s);
}

static void renew(struct bus_subscription *s, const struct slice *ids, size_t count, uint64_t number)
{
    struct pub_call *c = call_new(s);
    enum err e = c ? OK : ERR_NOMEM;
    if (c) {
        c->number = number;
        c->since_ns = pub_now();
        e = pubsub_modify_ack_deadline(s->home->client, s->id, ids, count, s->bus->settings.lease_s, renewed, c,
                                       &c->call);
        if (e)
            call_end(c);
    }
    if (!e)
        return;
    list_each(l, tmp, &s->out) {
        if (out_of(l)->renewal == number)
            out_of(l)->renewal = 0;
    }
}

static void renew_all(struct bus_subscription *s, uint64_t now)
{
    struct slice ids[PUBSUB_ACK_IDS_MAX];
    size_t count = 0;
    uint64_t number = ++s->numbers;
    list_each(l, tmp, &s->out) {
        struct pub_entry *e = out_of(l);
        if (e->renewal || e->deadline_ns > now + lease_ns(s) * 3 / 5)
            continue;
        if (count == PUBSUB_ACK_IDS_MAX) {
            renew(s, ids, count, number);
            number = ++s->numbers;
            count = 0;
        }
        e->renewal = number;
        ids[count++] = slice_str(e->ack_id);
    }
    if (count > 0)
        renew(s, ids, count, number);
}

/* Its lease has run out: the service hands it out anew. What is on its way back already stays. */
static void lose(struct bus_subscription *s, struct pub_entry *e)
{
    struct lanes *l = &s->lanes;
    if (e->settled) { /* its acknowledgement did not get through */
        entry_free(e);
        return;
    }
    pthread_mutex_lock(&l->lock);
    bool settled = e->entry.place == LANE_SETTLED, mine = false;
    if (!settled) {
        unsigned lane = e->entry.lane;
        list_remove(&e->out);
        mine = lanes_lose(l, &e->entry);
        if (lane != LANES_COMMON)
            lanes_return(l, lane);
    }
    pthread_mutex_unlock(&l->lock);
    if (mine)
        lane_entry_free(&e->entry);
}

static bool in_acking(const struct bus_subscription *s, const struct pub_entry *e)
{
    return e->settled && s->acking_now && e->entry.back; /* `back` marks those of the call under way */
}

static void tick(struct loop_timer *t)
{
    struct bus_subscription *s = container_of(t, struct bus_subscription, tick);
    uint64_t now = pub_now();
    unsigned lost = 0;
    pub_settled(s);
    list_each(l, tmp, &s->out) {
        struct pub_entry *e = out_of(l);
        if (e->deadline_ns > now || in_acking(s, e))
            continue;
        lose(s, e);
        lost++;
    }
    if (lost > 0)
        desk_notice(
            &s->bus->desk, 1, "LeasesLost",
            "subscription %s: %u events could not be kept reserved, since the service did not answer in time; it "
            "delivers them again",
            s->id, lost);
    renew_all(s, now);
    tick_start(s);
    pub_tend(s);
}

/* ---- what is settled ---- */

static void handed_back(void *arg, const struct pubsub_answer *a)
{
    struct bus_subscription *s = call_end(arg);
    is_gone(s, a); /* what failed comes back by itself, when its lease runs out */
    pub_tend(s);
}

static void hand_back(struct bus_subscription *s, const struct slice *ids, size_t count)
{
    struct pub_call *c = call_new(s);
    if (c && pubsub_modify_ack_deadline(s->home->client, s->id, ids, count, 0, handed_back, c, &c->call))
        call_end(c);
}

/* Entries to be handed back, freed. */
static void hand_back_all(struct bus_subscription *s, struct list *back)
{
    struct slice ids[PUBSUB_ACK_IDS_MAX];
    while (!list_empty(back)) {
        size_t count = 0;
        list_each(l, tmp, back) {
            if (count == PUBSUB_ACK_IDS_MAX)
                break;
            ids[count++] = slice_str(entry_of(l)->ack_id);
        }
        hand_back(s, ids, count);
        while (count-- > 0)
            entry_free(entry_of(back->next));
    }
}

static void acked(void *arg, const struct pubsub_answer *a);

static void acks_again(struct bus_subscription *s)
{
    while (!list_empty(&s->acking)) {
        struct list *last = s->acking.prev;
        list_remove(last);
        container_of(last, struct lane_entry, link)->back = false;
        list_push_front(&s->acks, last);
    }
    s->ack_again_ns = loop_now_ns(loop_of(s)) + PUB_ACK_AGAIN_NS;
    loop_timer_start(loop_of(s), &s->ack_again, PUB_ACK_AGAIN_NS);
}

static void send_acks(struct bus_subscription *s)
{
    struct slice ids[PUBSUB_ACK_IDS_MAX];
    size_t count = 0;
    if (s->acking_now || list_empty(&s->acks) || loop_now_ns(loop_of(s)) < s->ack_again_ns)
        return;
    while (count < PUBSUB_ACK_IDS_MAX && !list_empty(&s->acks)) {
        struct pub_entry *e = entry_of(list_pop_front(&s->acks));
        e->entry.back = true;
        list_push_back(&s->acking, &e->entry.link);
        ids[count++] = slice_str(e->ack_id);
    }
    s->acking_now = true;
    if (!pubsub_acknowledge(s->home->client, s->id, ids, count, acked, s, &s->ack))
        return;
    s->acking_now = false;
    acks_again(s);
}

static void acked(void *arg, const struct pubsub_answer *a)
{
    struct bus_subscription *s = arg;
    s->acking_now = false;
    s->ack = NULL;
    bool gone = is_gone(s, a);
    if (a->err && !gone && a->retryable) {
        acks_again(s);
    } else {
        if (a->err && !gone)
            desk_notice(&s->bus->desk, 1, "AcknowledgeRefused", "subscription %s: %s", s->id,
                        a->text ? a->text : err_name(a->err));
        while (!list_empty(&s->acking))
            entry_free(entry_of(s->acking.next));
    }
    pub_tend(s);
}

static void ack_again(struct loop_timer *t)
{
    pub_tend(container_of(t, struct bus_subscription, ack_again));
}

void pub_settled(struct bus_subscription *s)
{
    struct list settled, back, *l;
    list_init(&settled);
    list_init(&back);
    pthread_mutex_lock(&s->lanes.lock);
    list_splice_back(&settled, &s->lanes.settled);
    pthread_mutex_unlock(&s->lanes.lock);
    while ((l = list_pop_front(&settled))) {
        struct pub_entry *e = entry_of(l);
        if (e->entry.back) {
            list_push_back(&back, l);
            continue;
        }
        e->settled = true;
        list_push_back(&s->acks, l);
    }
    hand_back_all(s, &back);
    send_acks(s);
}

/* ---- the end ---- */

/* What streams still have is handed back too; they free it, and may settle it to no effect. */
static void return_taken(struct bus_subscription *s)
{
    struct slice ids[PUBSUB_ACK_IDS_MAX];
    size_t count = 0;
    list_each(l, tmp, &s->out) {
        struct pub_entry *e = out_of(l);
        if (e->settled)
            continue;
        ids[count++] = slice_str(e->ack_id);
        if (count == PUBSUB_ACK_IDS_MAX) {
            hand_back(s, ids, count);
            count = 0;
        }
    }
    if (count > 0)
        hand_back(s, ids, count);
    list_each(l, tmp, &s->out) {
        struct pub_entry *e = out_of(l);
        if (!e->settled)
            lose(s, e);
    }
}

void pub_lease_return(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    lanes_return(&s->lanes, LANES_ALL);
    pthread_mutex_unlock(&s->lanes.lock);
    pub_settled(s);
    return_taken(s);
}

bool pub_lease_busy(const struct bus_subscription *s)
{
    bool returns = false;
    list_each(l, tmp, &s->calls)
        returns |= container_of(l, struct pub_call, link)->number == 0;
    return s->acking_now || !list_empty(&s->acks) || returns;
}

void pub_lease_end(struct bus_subscription *s)
{
    struct list *l;
    while ((l = list_pop_front(&s->calls))) {
        struct pub_call *c = container_of(l, struct pub_call, link);
        pubsub_cancel(c->call);
        free(c);
    }
    if (s->acking_now)
        pubsub_cancel(s->ack);
    s->acking_now = false;
    loop_timer_stop(loop_of(s), &s->tick);
    loop_timer_stop(loop_of(s), &s->ack_again);
    while (!list_empty(&s->acking))
        entry_free(entry_of(s->acking.next));
    while (!list_empty(&s->acks))
        entry_free(entry_of(s->acks.next));
}

void pub_lease_init(struct bus_subscription *s)
{
    list_init(&s->out);
    list_init(&s->acks);
    list_init(&s->acking);
    list_init(&s->calls);
    loop_timer_init(&s->tick, tick);
    loop_timer_init(&s->ack_again, ack_again);
}

void pub_lease_quit(struct bus_subscription *s)
{
    struct list *l;
    while ((l = list_pop_front(&s->calls)))
        free(container_of(l, struct pub_call, link));
    while (!list_empty(&s->acking))
        entry_free(entry_of(s->acking.next));
    while (!list_empty(&s->acks))
        entry_free(entry_of(s->acks.next));
}
