/* SPDX-License-Identifier: Apache-2.0
 *
 * Pulling: how the events of a subscription come here. On its home loop.
 *
 * A pull waits at the service until there is something, with a connection of its own. Of those a loop has PUB_LONG_MAX
 * at a time; subscriptions beyond take turns with pulls that do not wait, PUB_SHORT_MAX at a time, each once a second
 * while it finds nothing. So a thousand subscriptions share the connections of a hundred.
 *
 * Counting. The service does not say how many events a subscription has. A new one has none; from then on what this
 * process appends is added and what arrives is taken off, and when a pull finds nothing while nothing is held, there is
 * none. One that was there before and has no stream is counted by pulling what there is and giving it back.
 */
#include "pubsub_subscription.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define PULL_BYTES (4u << 20)        /* an answer of more, and the next pull asks for fewer messages */
#define LEASE_MORE_NS (5 * NS_PER_S) /* until what others had has come back: their leases, and this */
#define EMPTIES 2                    /* short pulls in a row that find nothing, for there to be nothing */

static struct loop *loop_of(const struct bus_subscription *s)
{
    return s->home->loop;
}

void pub_subscription_todo(struct abroad_subscription *a)
{
    struct bus_subscription *s = pub_subscription_of(a);
    pthread_mutex_lock(&s->lanes.lock);
    if (s->post)
        post_send(s->post);
    pthread_mutex_unlock(&s->lanes.lock);
}

void pub_count_is(struct bus_subscription *s, uint64_t events)
{
    s->known = true;
    s->count = false;
    abroad_count_is(&s->abroad, events, atomic_load(&s->channel->abroad.appended));
}

/* ---- what a message is ---- */

static enum err event_of(const struct bus_subscription *s, const struct pubsub_received *r, const struct ce_event **out)
{
    char topic[2 * PUB_ID_MAX + 64], subscription[2 * PUB_ID_MAX + 64];
    const char *project = pubsub_client_project(s->home->client), *of = s->channel->settings.topic;
    if (strncmp(of, "projects/", 9) == 0)
        snprintf(topic, sizeof topic, "%s", of);
    else
        snprintf(topic, sizeof topic, "projects/%s/topics/%s", project, of);
    snprintf(subscription, sizeof subscription, "projects/%s/subscriptions/%s", project, s->id);
    const struct ce_pubsub_rules rules = {.event_bytes_max = CE_EVENT_BYTES_MAX,
                                          .topic = slice_str(topic),
                                          .subscription = slice_str(subscription),
                                          .form = CE_PUBSUB_TODAY};
    if (ce_pubsub_is_event(&r->message)) {
        enum err e = ce_pubsub_decode(&r->message, &rules, out, NULL);
        if (!e || e == ERR_NOMEM || e == ERR_TOO_LARGE)
            return e;
    } /* what says that it is an event and is none is a message like any other: nothing is passed over */
    return ce_pubsub_wrap(&r->message, &rules, out, NULL);
}

static struct pub_entry *entry_new(struct bus_subscription *s, const struct pubsub_received *r, bool keeps_order)
{
    const struct ce_event *event = NULL;
    struct pub_entry *e = calloc(1, sizeof *e + r->ack_id.len + 1);
    enum err err = e ? event_of(s, r, &event) : ERR_NOMEM;
    if (err) {
        desk_notice(&s->bus->desk, 2, "MessageRefused",
                    "subscription %s: message %.*s cannot become an event (%s); it stays in the subscription", s->id,
                    SLICE_ARG(r->message.message_id), err_name(err));
        free(e);
        return NULL;
    }
    memcpy(e->ack_id, r->ack_id.ptr, r->ack_id.len);
    list_init(&e->entry.link);
    list_init(&e->out);
    e->entry.event = event;
    e->entry.number = ++s->numbers;
    if (rfc3339_parse(r->message.publish_time, &e->published_ns))
        e->published_ns = 0;
    e->entry.attempt = r->delivery_attempt ? r->delivery_attempt : 1;
    e->entry.lane = (uint8_t)lanes_of(keeps_order ? r->message.ordering_key : (struct slice){0});
    return e;
}

/* ---- turns ---- */

static void leave_turn(struct bus_subscription *s)
{
    list_remove(&s->turn);
}

static void slot_free(struct bus_subscription *s)
{
    struct pub_loop *l = s->home;
    unsigned *slots = s->long_pull ? &l->longs : &l->shorts;
    assert(*slots > 0);
    --*slots;
    s->pulling = false;
    s->pull = NULL;
    loop_timer_stop(l->loop, &s->empty);
    if (!list_empty(&l->waiting))
        loop_defer(l->loop, &l->turn);
}

/* How many it may have at once: what its streams may, and a little ahead of a small credit. */
static uint64_t limit_of(const struct bus_subscription *s)
{
    uint64_t n = s->lanes.wanted < PUB_HELD_MIN ? PUB_HELD_MIN : s->lanes.wanted;
    return n < PUB_HELD_MAX && !s->count ? n : PUB_HELD_MAX;
}

/* Under the lock: how many messages it would take now. */
static uint64_t room_of(const struct bus_subscription *s)
{
    uint64_t limit = limit_of(s), held = s->lanes.held;
    bool drained = s->lanes.stream_count > 0 && s->lanes.wanted > 0;
    if (!s->made || s->abroad.close || (!drained && !s->count) || s->lanes.held_bytes >= PUB_HELD_BYTES_MAX)
        return 0;
    return held < limit ? limit - held : 0;
}

/* A pull begins to find nothing. */
static void empty_begin(struct bus_subscription *s)
{
    s->empty_appended = atomic_load(&s->channel->abroad.appended);
    s->empty_pending = atomic_load(&s->channel->abroad.pending) > 0;
}

/* For a while there was nothing in the service, as far as it says. That counts if nothing was appended meanwhile. What
 * is held of a key may keep others back, and what somebody had before us comes only when his leases have run out. */
static void nothing(struct bus_subscription *s)
{
    uint64_t lease_ns = s->bus->settings.lease_s * NS_PER_S + LEASE_MORE_NS, service_ns;
    bool still = !s->empty_pending && s->empty_appended == atomic_load(&s->channel->abroad.appended), keyed = false;
    list_each(l, tmp, &s->out)
        keyed |= container_of(l, struct pub_entry, out)->entry.lane != LANES_COMMON;
    pthread_mutex_lock(&s->lanes.lock);
    service_ns = s->lease_s * NS_PER_S + LEASE_MORE_NS;
    bool alone = !s->existed_ns || pub_now() - s->existed_ns > (service_ns > lease_ns ? service_ns : lease_ns);
    if (still && alone && !keyed && !pub_lease_busy(s) && atomic_load(&s->channel->abroad.pending) == 0) {
        pub_count_is(s, 0);
        s->bare = s->orphan && s->lanes.held == 0;
    }
    s->count = false; /* where it stays unknown it is wanted again */
    pthread_mutex_unlock(&s->lanes.lock);
}

static void still_empty(struct loop_timer *t)
{
    struct bus_subscription *s = container_of(t, struct bus_subscription, empty);
    nothing(s);
    empty_begin(s);
    loop_timer_start(loop_of(s), t, PUB_EMPTY_NS);
}

static void pulled(void *arg, const struct pubsub_answer *a);

static void failed(struct bus_subscription *s, uint64_t wait_ns)
{
    s->again_ns = loop_now_ns(loop_of(s)) + wait_ns;
    loop_timer_start(loop_of(s), &s->again, wait_ns);
}

static void pull(struct bus_subscription *s, bool at_once)
{
    struct pub_loop *l = s->home;
    pthread_mutex_lock(&s->lanes.lock);
    uint64_t room = lanes_room(&s->lanes) ? 0 : room_of(s);
    pthread_mutex_unlock(&s->lanes.lock);
    if (room == 0)
        return;
    s->asked = room < s->pull_max ? (unsigned)room : s->pull_max;
    s->rested = false;
    s->long_pull = !at_once;
    s->pulling = true;
    ++*(s->long_pull ? &l->longs : &l->shorts);
    if (pubsub_pull(l->client, s->id, s->asked, at_once, pulled, s, &s->pull)) {
        slot_free(s);
        failed(s, PUB_AWAY_NS_MAX);
        return;
    }
    if (!at_once)
        loop_timer_start(l->loop, &s->empty, PUB_EMPTY_NS);
    if (s->empties == 0)
        empty_begin(s);
}

void pub_turn(struct loop_task *t)
{
    struct pub_loop *l = container_of(t, struct pub_loop, turn);
    while (!list_empty(&l->waiting) && (l->longs < PUB_LONG_MAX || l->shorts < PUB_SHORT_MAX)) {
        struct bus_subscription *s = container_of(l->waiting.next, struct bus_subscription, turn);
        pthread_mutex_lock(&s->lanes.lock);
        bool counts = s->count;
        pthread_mutex_unlock(&s->lanes.lock);
        bool at_once = counts || l->longs >= PUB_LONG_MAX;
        if (at_once && l->shorts >= PUB_SHORT_MAX) /* one that counts, while only long ones are free */
            return;
        leave_turn(s);
        pull(s, at_once);
    }
}

/* ---- what a pull brought ---- */

static void take(struct bus_subscription *s, const struct pubsub_answer *a)
{
    struct list fresh, *l;
    size_t bytes = 0;
    list_init(&fresh);
    pthread_mutex_lock(&s->lanes.lock);
    bool keeps_order = s->keeps_order;
    pthread_mutex_unlock(&s->lanes.lock);
    for (size_t i = 0; i < a->received_count; i++) {
        struct pub_entry *e = entry_new(s, &a->received[i], keeps_order);
        if (!e)
            continue;
        bytes += ce_event_size(e->entry.event);
        pub_lease_begin(s, e);
        list_push_back(&fresh, &e->entry.link);
    }
    pthread_mutex_lock(&s->lanes.lock);
    s->abroad.arrivals += a->received_count;
    while ((l = list_pop_front(&fresh)))
        lanes_put(&s->lanes, container_of(l, struct lane_entry, link));
    s->abroad.why[0] = '\0';
    pthread_mutex_unlock(&s->lanes.lock);
    if (bytes > PULL_BYTES)
        s->pull_max = s->asked > 4 ? s->asked / 4 : 1;
    else if (s->pull_max < PUBSUB_PULL_MESSAGES_MAX)
        s->pull_max = s->pull_max * 2 < PUBSUB_PULL_MESSAGES_MAX ? s->pull_max * 2 : PUBSUB_PULL_MESSAGES_MAX;
}

static void refused(struct bus_subscription *s, const struct pubsub_answer *a, bool away)
{
    if (a->err == ERR_NOTFOUND && !s->abroad.passing) {
        pub_channel_suspect(s->channel);
    } else if (a->err == ERR_TOO_LARGE) {
        s->pull_max = s->asked > 4 ? s->asked / 4 : 1;
    } else if (!away) {
        pthread_mutex_lock(&s->lanes.lock);
        bool same = strcmp(s->abroad.why, a->text ? a->text : "") == 0;
        snprintf(s->abroad.why, sizeof s->abroad.why, "%s", a->text ? a->text : err_name(a->err));
        pthread_mutex_unlock(&s->lanes.lock);
        if (!same)
            desk_notice(&s->bus->desk, 1, "PullRefused", "subscription %s: %s", s->id,
                        a->text ? a->text : err_name(a->err));
    }
    s->wait_ns = s->wait_ns ? s->wait_ns * 2 : PUB_AWAY_NS;
    if (s->wait_ns > PUB_AWAY_NS_MAX)
        s->wait_ns = PUB_AWAY_NS_MAX;
    failed(s, a->retry_after_ns > s->wait_ns ? a->retry_after_ns : s->wait_ns);
}

static void pulled(void *arg, const struct pubsub_answer *a)
{
    struct bus_subscription *s = arg;
    bool was_long = s->long_pull, away = pub_heard(s->bus, a);
    slot_free(s);
    if (a->err) {
        refused(s, a, away);
    } else {
        s->wait_ns = 0;
        take(s, a);
        s->empties = a->received_count > 0 || was_long ? 0 : s->empties + 1;
    }
    if (s->empties >= EMPTIES) {
        nothing(s);
        s->empties = 0;
        failed(s, PUB_TURN_NS);
    } else if (s->empties > 0) {
        failed(s, PUB_SHORT_NS);
    }
    pub_tend(s);
}

/* ---- looking after it ---- */

static void pull_cancel(struct bus_subscription *s)
{
    leave_turn(s);
    if (!s->pulling)
        return;
    pubsub_cancel(s->pull);
    slot_free(s);
}

/* Nothing of it is under way any more: it is control's. */
static void let_go(struct bus_subscription *s)
{
    struct pub_bus *k = s->bus;
    pull_cancel(s);
    pub_lease_end(s);
    loop_timer_stop(loop_of(s), &s->again);
    loop_timer_stop(loop_of(s), &s->linger);
    pthread_mutex_lock(&s->lanes.lock);
    struct post *post = s->post;
    s->post = NULL;
    s->abroad.closed = true;
    pthread_mutex_unlock(&s->lanes.lock); /* from here on it may be freed */
    post_free(post);
    desk_call(&k->desk);
}

static void lingered(struct loop_timer *t)
{
    struct bus_subscription *s = container_of(t, struct bus_subscription, linger);
    if (s->closing) {
        let_go(s);
        return;
    }
    pthread_mutex_lock(&s->lanes.lock);
    bool drained = s->lanes.stream_count > 0 || s->count;
    if (!drained)
        lanes_return(&s->lanes, LANES_ALL);
    pthread_mutex_unlock(&s->lanes.lock);
    if (!drained)
        pull_cancel(s);
    pub_tend(s);
}

static void again(struct loop_timer *t)
{
    pub_tend(container_of(t, struct bus_subscription, again));
}

/* What a canceled pull was to bring comes again after the ack deadline only; so one that does not wait is waited for.
 */
static void close_begin(struct bus_subscription *s)
{
    s->closing = true;
    if (!s->pulling || s->long_pull)
        pull_cancel(s);
    leave_turn(s);
    loop_timer_start(loop_of(s), &s->linger, PUB_CLOSE_NS);
}

static void close_go_on(struct bus_subscription *s)
{
    if (!s->closing)
        close_begin(s);
    if (s->pulling)
        return;
    pub_lease_return(s);
    if (!pub_lease_busy(s))
        let_go(s);
}

void pub_tend(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    bool streams = s->lanes.stream_count > 0, drained = streams || s->count, held = s->lanes.held > 0;
    bool close = s->abroad.close;
    bool counted_out = s->count && s->lanes.held >= PUB_HELD_MAX;
    s->count &= !counted_out; /* there are more than it can hold: unknown */
    bool wants = room_of(s) > 0;
    pthread_mutex_unlock(&s->lanes.lock);
    if (close) {
        close_go_on(s);
        return;
    }
    pub_settled(s);
    s->rested |= !streams;
    if (drained)
        loop_timer_stop(loop_of(s), &s->linger);
    else if ((held || s->pulling) && !loop_timer_armed(&s->linger))
        loop_timer_start(loop_of(s), &s->linger, PUB_LINGER_NS);
    if (!wants || s->pulling || !list_empty(&s->turn) || loop_now_ns(loop_of(s)) < s->again_ns)
        return;
    /* Who asks for a list of parked events waits for some seconds only. */
    struct list *line = &s->home->waiting;
    list_insert_after(s->rested && streams ? line : line->prev, &s->turn);
    loop_defer(loop_of(s), &s->home->turn);
}

void pub_pull_arrived(void *subscription)
{
    pub_tend(subscription);
}

void pub_pull_init(struct bus_subscription *s)
{
    list_init(&s->turn);
    s->pull_max = PUBSUB_PULL_MESSAGES_MAX;
    pub_lease_init(s);
    loop_timer_init(&s->again, again);
    loop_timer_init(&s->linger, lingered);
    loop_timer_init(&s->empty, still_empty);
}
