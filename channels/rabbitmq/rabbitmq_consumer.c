/* SPDX-License-Identifier: Apache-2.0
 *
 * Q: links that consume, and what each subscription has there: an AMQP channel of its own, so that what ends one
 * (its queue is gone, the node lost patience) touches no other.
 *
 *     tend ─→ no channel ── open, qos, consume ──→ consuming ── more credit: cancel, qos, consume ──→ consuming
 *                 ↑                                   │
 *                 │  a second                         ├── the queue is gone: control makes it again, then consume
 *                 └───────────── closed ←─────────────┴── no stream for RABBIT_LINGER_NS, unsubscribed, stop: close
 *
 * Settled entries come as a list. What lies below the oldest unsettled tag is acknowledged at once (multiple), what
 * lies beyond, one by one.
 *
 * All on the link's thread but rabbit_consumer_todo and _start.
 */
#include "rabbitmq_subscription.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define MAILBOX_MAX 4096
#define APART (RABBIT_JOBS_MAX + RABBIT_READS_MAX + 1u) /* channels not for consumers: jobs, reads, looking */

/* ---- what is to be done ---- */

void rabbit_consumer_todo(struct bus_subscription *s, unsigned what)
{
    struct rabbit_consumer *q = s->consumer;
    pthread_mutex_lock(&q->lock);
    bool first = s->todo == 0;
    s->todo |= what;
    if (first)
        list_push_back(&q->todo, &s->todo_link);
    pthread_mutex_unlock(&q->lock);
    if (first)
        post_send(q->post);
}

static struct loop *loop_of(const struct bus_subscription *s)
{
    return rabbitmq_link_loop(s->consumer->link);
}

static struct rabbit_entry *out_at(struct list *l)
{
    return container_of(l, struct rabbit_entry, out);
}

static struct rabbit_entry *entry_at(struct list *l)
{
    return container_of(l, struct rabbit_entry, entry.link);
}

static void entry_free(struct rabbit_entry *e)
{
    list_remove(&e->out);
    lane_entry_free(&e->entry);
}

static void tend(struct bus_subscription *s);

/* ---- acknowledging ---- */

static void acknowledge_prefix(struct bus_subscription *s)
{
    uint64_t last = 0;
    while (!list_empty(&s->out) && out_at(s->out.next)->settled) {
        struct rabbit_entry *e = out_at(s->out.next);
        last = e->tag;
        entry_free(e);
    }
    if (last)
        rabbitmq_ack(s->amqp, last, true);
}

static void stop_growing(struct bus_subscription *s)
{
    if (s->growing)
        loop_timer_stop(loop_of(s), &s->again);
    s->growing = false;
}

/* In the order of tags, whatever the order in which they were released: the node hands them out again in the order in
 * which they come back. */
static void give_back(struct bus_subscription *s)
{
    list_each(l, tmp, &s->out) {
        struct rabbit_entry *e = out_at(l);
        if (!e->returns)
            continue;
        rabbitmq_nack(s->amqp, e->tag, false, true);
        entry_free(e);
    }
}

/* It was full, and holds nothing any more: the rest is asked for once more. */
static void empty_full(struct bus_subscription *s)
{
    if (!s->full || !s->amqp || s->closing || !list_empty(&s->out))
        return;
    s->closing = true;
    rabbitmq_channel_close(s->amqp);
}

static void settle(struct bus_subscription *s)
{
    struct list settled, *l;
    list_init(&settled);
    pthread_mutex_lock(&s->lanes.lock);
    list_splice_back(&settled, &s->lanes.settled);
    pthread_mutex_unlock(&s->lanes.lock);
    bool back = false;
    list_each(at, tmp, &settled) {
        struct rabbit_entry *e = entry_at(at);
        e->settled = !e->entry.back;
        e->returns = e->entry.back;
        back |= e->entry.back;
        if (!s->amqp)
            entry_free(e);
    }
    if (!s->amqp)
        return;
    if (back)
        give_back(s);
    acknowledge_prefix(s);
    while ((l = list_pop_front(&settled))) {
        struct rabbit_entry *e = entry_at(l);
        rabbitmq_ack(s->amqp, e->tag, false);
        entry_free(e);
    }
    if (s->growing && list_empty(&s->out)) {
        stop_growing(s);
        tend(s);
    }
    empty_full(s);
    if (s->slow && !s->full && !s->closing)
        tend(s);
}

/* ---- losing ---- */

/* Under the lock: it lies in the queue again. */
static void forget(struct bus_subscription *s, struct rabbit_entry *e)
{
    list_remove(&e->out);
    if (e->entry.place == LANE_SETTLED || lanes_lose(&s->lanes, &e->entry))
        lane_entry_free(&e->entry);
}

/* Its AMQP channel is gone, and all that came on it (R4). What a stream has is revoked there; after the bus's stop
 * nobody is told. */
static void lose_all(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    while (!list_empty(&s->out))
        forget(s, out_at(s->out.next));
    s->abroad.there += s->returning;
    s->returning = 0;
    pthread_mutex_unlock(&s->lanes.lock);
}

/* Whether it is to go back to the node. `lanes`: bits of those of which something went before it, and which it must not
 * overtake. */
static bool too_old(const struct bus_subscription *s, const struct rabbit_entry *e, uint64_t age, uint64_t lanes)
{
    if (e->entry.place == LANE_TAKEN)
        return age >= s->bus->hold_ns;
    return e->entry.place == LANE_WAITS && (age >= s->bus->wait_ns || (lanes >> e->entry.lane & 1));
}

/* A node ends a consumer whose delivery is not settled after consumer.timeout, 30 minutes, and looks once a minute. So
 * an event that nobody took is handed back after a tenth of that (3 minutes); who takes it has five sixths for sure
 * (hold_ms_max, 25); and at fourteen fifteenths (28) it is taken back whoever has it. */
static void sweep_one(struct bus_subscription *s, uint64_t now)
{
    uint64_t lanes = 0;
    if (!s->amqp || list_empty(&s->out) || now - out_at(s->out.next)->since_ns < s->bus->wait_ns)
        return;
    pthread_mutex_lock(&s->lanes.lock);
    list_each(l, tmp, &s->out) {
        struct rabbit_entry *e = out_at(l);
        if (!too_old(s, e, now - e->since_ns, lanes))
            continue;
        if (e->entry.lane != LANES_COMMON)
            lanes |= 1ull << e->entry.lane;
        rabbitmq_nack(s->amqp, e->tag, false, true);
        forget(s, e);
    }
    pthread_mutex_unlock(&s->lanes.lock);
    empty_full(s);
}

static void sweep(struct loop_timer *t)
{
    struct rabbit_consumer *q = container_of(t, struct rabbit_consumer, sweep);
    uint64_t now = rabbit_now();
    list_each(l, tmp, &q->subscriptions)
        sweep_one(container_of(l, struct bus_subscription, tend_link), now);
    loop_timer_start(rabbitmq_link_loop(q->link), t, q->bus->sweep_ns);
}

/* ---- what the node sends ---- */

static uint8_t lane_of(const struct bus_subscription *s, const struct ce_event *e)
{
    struct ce_attribute key;
    if (atomic_load(&s->channel->rules)->settings.one_part)
        return 0;
    bool keyed = ce_event_attribute(e, SLICE("partitionkey"), &key);
    return (uint8_t)lanes_of(keyed ? key.value : SLICE(""));
}

static void take_in(struct bus_subscription *s, struct rabbit_entry *e)
{
    list_push_back(&s->out, &e->out);
    pthread_mutex_lock(&s->lanes.lock);
    e->entry.number = ++s->numbers;
    s->abroad.arrivals++;
    lanes_put(&s->lanes, &e->entry);
    pthread_mutex_unlock(&s->lanes.lock);
}

static void unreadable(struct bus_subscription *s, const struct rabbitmq_message *m, enum err e)
{
    rabbitmq_nack(s->amqp, m->tag, false, e == ERR_NOMEM);
    pthread_mutex_lock(&s->lanes.lock);
    s->refused += e != ERR_NOMEM;
    pthread_mutex_unlock(&s->lanes.lock);
    if (e != ERR_NOMEM)
        desk_notice(&s->bus->desk, 1, "MessageRefused",
                    "queue %s: a message of %llu bytes cannot be an event (%s) and was rejected: the queue's own dead "
                    "letter exchange has it, if there is one",
                    s->settings.queue, (unsigned long long)m->body_bytes, err_name(e));
}

static void deliver(void *arg, const struct rabbitmq_message *m)
{
    struct bus_subscription *s = arg;
    const struct ce_event *event = NULL;
    enum err e = m->too_large ? ERR_TOO_LARGE : rabbit_message_event(s, m, &event);
    struct rabbit_entry *entry = e ? NULL : calloc(1, sizeof *entry);
    if (!entry) {
        ce_event_unref(event);
        unreadable(s, m, e ? e : ERR_NOMEM);
        return;
    }
    uint32_t most = s->most;
    if (!rabbit_held_room(s, ce_event_size(event))) {
        ce_event_unref(event);
        free(entry);
        return;
    }
    entry->entry.event = event;
    entry->tag = m->tag;
    entry->entry.attempt = rabbit_message_attempt(m);
    entry->since_ns = rabbit_now();
    entry->entry.lane = lane_of(s, event);
    list_init(&entry->entry.link);
    list_init(&entry->out);
    take_in(s, entry);
    if (s->slow || s->most != most)
        tend(s);
}

/* ---- consuming ---- */

/* Control is to look whether its queue is there. */
static void is_missing(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    s->missing = true;
    s->made = false;
    pthread_mutex_unlock(&s->lanes.lock);
    abroad_suspect(&s->channel->abroad);
}

/* Its consumer has ended, not its channel: the queue was deleted, or lost its node. */
static void canceled(void *arg, struct slice consumer)
{
    struct bus_subscription *s = arg;
    (void)consumer;
    s->consuming = false;
    stop_growing(s);
    s->prefetch = 0;
    desk_notice(&s->bus->desk, 1, "QueueGone",
                "queue %s of subscription %s was deleted, or its node is gone; it is made again", s->settings.queue,
                s->abroad.name);
    is_missing(s);
}

void rabbit_consumer_says(struct bus_subscription *s, const char *why)
{
    pthread_mutex_lock(&s->lanes.lock);
    bool changed = strncmp(s->abroad.why, why, sizeof s->abroad.why - 1) != 0, well = s->abroad.why[0] == '\0';
    snprintf(s->abroad.why, sizeof s->abroad.why, "%s", why);
    pthread_mutex_unlock(&s->lanes.lock);
    if (changed && *why)
        desk_notice(&s->bus->desk, 1, "ConsumerTrouble", "subscription %s: queue %s cannot be consumed: %s",
                    s->abroad.name, s->settings.queue, why);
    else if (changed && !well)
        desk_notice(&s->bus->desk, 0, "ConsumerWell", "subscription %s: queue %s is consumed again", s->abroad.name,
                    s->settings.queue);
}

static void closed(void *arg, enum err e, unsigned code, const char *text)
{
    struct bus_subscription *s = arg;
    bool asked = s->closing;
    s->amqp = NULL;
    s->consumer->open--;
    s->consuming = s->changing = s->closing = false;
    stop_growing(s);
    s->prefetch = 0;
    s->full = s->slow = false;
    lose_all(s);
    if (code == AMQP_NOT_FOUND)
        is_missing(s);
    else if (e && code && rabbitmq_link_is_up(s->consumer->link))
        rabbit_consumer_says(s, text);
    if (!asked && e && atomic_load(&s->consumer->up))
        loop_timer_start(loop_of(s), &s->again, RABBIT_AGAIN_NS);
    tend(s);
}

static void consumed(void *arg, const struct rabbitmq_answer *a)
{
    struct bus_subscription *s = arg;
    s->changing = false;
    s->consumer->answered_ns = rabbit_now();
    if (a->e)
        return; /* the channel closes, and `closed` goes on */
    s->consuming = true;
    rabbit_consumer_says(s, "");
    tend(s); /* more may be wanted meanwhile */
}

static char *tag_of(const struct bus_subscription *s, char out[32])
{
    snprintf(out, 32, "leat-%u", s->consumers);
    return out;
}

static void consume(struct bus_subscription *s, uint32_t wanted)
{
    char tag[32];
    uint32_t most = rabbit_held_prefetch(s, wanted);
    s->consumers++;
    const amqp_basic_qos_t qos = {.prefetch_count = (uint16_t)most};
    const amqp_basic_consume_t m = {.queue = amqp_cstring_bytes(s->settings.queue),
                                    .consumer_tag = amqp_cstring_bytes(tag_of(s, tag))};
    enum err e = rabbitmq_call(s->amqp, AMQP_BASIC_QOS_METHOD, &qos, NULL, NULL);
    if (!e)
        e = rabbitmq_call(s->amqp, AMQP_BASIC_CONSUME_METHOD, &m, consumed, s);
    s->changing = !e;
    s->slow = false;
    s->prefetch = most;
    if (e)
        rabbitmq_channel_close(s->amqp);
    else
        rabbit_patience_begin(s);
}

static void stopped(void *arg, const struct rabbitmq_answer *a)
{
    struct bus_subscription *s = arg;
    s->changing = s->consuming = false;
    s->consumer->answered_ns = rabbit_now();
    if (!a->e)
        tend(s);
}

/* The node takes another prefetch for a new consumer only. */
static void stop(struct bus_subscription *s)
{
    char tag[32];
    const amqp_basic_cancel_t m = {.consumer_tag = amqp_cstring_bytes(tag_of(s, tag))};
    s->changing = true;
    s->growing = false;
    rabbit_patience_begin(s);
    if (rabbitmq_call(s->amqp, AMQP_BASIC_CANCEL_METHOD, &m, stopped, s))
        rabbitmq_channel_close(s->amqp);
}

/* With the cancel another process that waits for the queue gets it at once, also while something is unsettled here, and
 * what it is given would overtake that. So it is waited for a moment in which nothing is, for RABBIT_GROW_NS at most:
 * who is alone with the queue, as nearly everybody is, must not do with too little for long, and who settles nothing
 * before it has all (a session on parked events) would wait in vain. */
static void grow(struct bus_subscription *s)
{
    bool ordered = !s->settings.work && !atomic_load(&s->channel->rules)->settings.queue;
    if (!ordered || s->growing || list_empty(&s->out)) {
        stop(s);
        return;
    }
    s->growing = true;
    loop_timer_start(loop_of(s), &s->again, RABBIT_GROW_NS);
}

static void begin(struct bus_subscription *s, uint32_t wanted)
{
    static const struct rabbitmq_channel_events events = {.deliver = deliver, .canceled = canceled, .closed = closed};
    struct rabbit_consumer *q = s->consumer;
    enum err e = q->open < q->open_max ? rabbitmq_channel_open(q->link, &events, s, &s->amqp) : ERR_FULL;
    if (e == ERR_FULL)
        rabbit_consumer_says(s, "the node lets a connection have no more channels (channel_max)");
    if (e) {
        s->amqp = NULL;
        loop_timer_start(loop_of(s), &s->again, RABBIT_AGAIN_NS);
        return;
    }
    q->open++;
    consume(s, wanted);
}

/* Deliveries under way are given back by the node itself. */
static void end(struct bus_subscription *s)
{
    loop_timer_stop(loop_of(s), &s->linger);
    if (!s->amqp || s->closing)
        return;
    s->closing = true;
    settle(s);
    rabbitmq_channel_close(s->amqp);
}

/* Control may free it from the moment on in which `closed` is seen. */
static void let_go(struct bus_subscription *s)
{
    struct rabbit_consumer *q = s->consumer;
    struct rabbit_bus *k = s->bus;
    loop_timer_stop(loop_of(s), &s->again);
    loop_timer_stop(loop_of(s), &s->linger);
    list_remove(&s->tend_link);
    s->known = false;
    settle(s); /* where no channel is left: forgotten */
    pthread_mutex_lock(&q->lock);
    list_remove(&s->todo_link);
    s->todo = 0;
    pthread_mutex_unlock(&q->lock);
    pthread_mutex_lock(&s->lanes.lock);
    s->abroad.closed = true;
    pthread_mutex_unlock(&s->lanes.lock);
    desk_call(&k->desk);
}

/* Streams of all loops come within milliseconds, each with its credit: a moment later what they want is known. */
static bool all_here(struct bus_subscription *s)
{
    s->gathering = !s->gathering;
    if (s->gathering)
        loop_timer_start(loop_of(s), &s->again, RABBIT_MEET_NS);
    return !s->gathering;
}

static void tend(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    bool close = s->abroad.close, gone = s->abroad.closed, made = s->made, streams = s->lanes.stream_count > 0;
    uint32_t wanted = s->lanes.wanted < RABBIT_PREFETCH_MAX ? (uint32_t)s->lanes.wanted : RABBIT_PREFETCH_MAX;
    pthread_mutex_unlock(&s->lanes.lock);
    if (gone)
        return;
    if (!s->known) {
        s->known = true;
        list_push_back(&s->consumer->subscriptions, &s->tend_link);
    }
    if (close) {
        end(s);
        if (!s->amqp && !s->counting)
            let_go(s);
    } else if (s->slow && s->consuming && !s->changing && !s->counting && !s->closing) {
        stop_growing(s);
        stop(s);
    } else if (!streams) {
        if (s->amqp && !s->closing && !loop_timer_armed(&s->linger))
            loop_timer_start(loop_of(s), &s->linger, RABBIT_LINGER_NS);
    } else {
        loop_timer_stop(loop_of(s), &s->linger);
        if (!made || wanted == 0 || s->closing || loop_timer_armed(&s->again))
            return;
        if (s->changing || s->counting)
            return; /* its end brings us here again */
        if (s->amqp && !s->consuming && !rabbit_held_waits(s))
            consume(s, wanted);
        else if (s->consuming && !s->full && rabbit_held_allows(s, wanted) > s->prefetch)
            grow(s);
        else if (!s->amqp && atomic_load(&s->consumer->up) && all_here(s))
            begin(s, wanted);
    }
}

static void again_due(struct loop_timer *t)
{
    tend(container_of(t, struct bus_subscription, again));
}

static void linger_due(struct loop_timer *t)
{
    end(container_of(t, struct bus_subscription, linger));
}

void rabbit_consumer_timers_init(struct bus_subscription *s)
{
    loop_timer_init(&s->again, again_due);
    loop_timer_init(&s->linger, linger_due);
}

/* ---- the link ---- */

static void arrived(void *owner)
{
    struct rabbit_consumer *q = owner;
    if (atomic_load(&q->bus->hurry))
        rabbitmq_link_reset(q->link, ERR_CLOSED, RABBIT_HURRY_TEXT);
    for (;;) {
        pthread_mutex_lock(&q->lock);
        struct list *l = list_pop_front(&q->todo);
        struct bus_subscription *s = l ? container_of(l, struct bus_subscription, todo_link) : NULL;
        unsigned todo = s ? s->todo : 0;
        if (s)
            s->todo = 0;
        pthread_mutex_unlock(&q->lock);
        if (!s)
            return;
        if (todo & RABBIT_SETTLED)
            settle(s);
        if (todo & RABBIT_COUNT)
            rabbit_consumer_count(s);
        if (todo & RABBIT_TEND)
            tend(s);
    }
}

static void up(void *arg, const struct rabbitmq_server *server)
{
    struct rabbit_consumer *q = arg;
    struct rabbit_bus *k = q->bus;
    q->open_max = server->channels_max - (server->channels_max > 2 * APART ? APART : server->channels_max / 2u);
    atomic_store(&q->up, true);
    q->failed = false;
    if (!loop_timer_armed(&q->sweep))
        loop_timer_start(rabbitmq_link_loop(q->link), &q->sweep, k->sweep_ns);
    list_each(l, tmp, &q->subscriptions)
        tend(container_of(l, struct bus_subscription, tend_link));
    if (q != &k->consumers[0])
        return;
    rabbit_jobs_up(k);
    atomic_store(&k->back, true);
    desk_call(&k->desk);
}

static void down(void *arg, enum err e, const char *why)
{
    struct rabbit_consumer *q = arg;
    (void)e, (void)why;
    atomic_store(&q->up, false);
    q->failed = true;
    rabbit_consumer_looking_closed(q);
    rabbit_patience_down(q);
    if (q == &q->bus->consumers[0])
        rabbit_jobs_down(q->bus);
}

enum err rabbit_consumer_start(struct rabbit_bus *k, unsigned index)
{
    static const struct rabbitmq_link_events events = {.up = up, .down = down};
    struct rabbit_consumer *q = &k->consumers[index];
    char name[32];
    q->bus = k;
    snprintf(name, sizeof name, "leat consumers %u", index + 1);
    const struct rabbitmq_link_config config = {.name = name,
                                                .message_bytes_max = CE_EVENT_BYTES_MAX,
                                                .unsent_bytes_max = RABBIT_UNSENT_BYTES,
                                                .mailbox_max = MAILBOX_MAX,
                                                .events = &events,
                                                .arg = q};
    loop_timer_init(&q->sweep, sweep);
    rabbit_patience_init(q);
    enum err e = rabbitmq_link_new(k->client, &config, &q->link);
    return e ? e : post_new(rabbitmq_link_loop(q->link), arrived, q, &q->post);
}
