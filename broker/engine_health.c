/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether subscribers, and the sinks of sources that send by themselves, take what they get: read off the counters of
 * deliveries once a second, so that no delivery costs more for it, and told as happenings and as a state of each.
 *
 *                delivered                         failed, and nothing delivered meanwhile
 *     unknown ──────────────→ good ──────────────────────────────────────────────────────→ bad
 *        └────────────────────────────── likewise ─────────────────────────────────────────↑   └── delivered → good
 *
 * What a sink said is left by the loop that heard it (engine_trouble_put), at most once a second a stream, in a place
 * of its own in the share; the look takes it from there. Control loop but for that.
 */
#include "engine_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS (1 * NS_PER_S)
#define REPEAT_NS (10 * NS_PER_S) /* a state that stays what it is gets other words at most so often */
#define DROPS_EVERY 5             /* looks, of one subscription: to ask a bus costs more than to read counters */
#define TEXT_MAX 600

struct engine_trouble {
    int status;
    enum err err;
    char url[160], detail[160];
};

/* ---- from the data loops ---- */

void engine_trouble_leave(_Atomic(struct engine_trouble *) *place, const struct dispatch_trouble *what)
{
    struct engine_trouble *t = malloc(sizeof *t);
    if (!t)
        return;
    t->status = what->status;
    t->err = what->err;
    snprintf(t->url, sizeof t->url, "%s", what->destination);
    snprintf(t->detail, sizeof t->detail, "%s", what->detail);
    free(atomic_exchange(place, t));
}

void engine_trouble_put(struct engine_share *share, const struct dispatch_trouble *what)
{
    engine_trouble_leave(&share->trouble, what);
}

/* ---- one that delivers: a subscription, or a source that sends by itself ---- */

struct counts {
    uint64_t delivered, failed, dead_lettered, parked, expired;
};

struct sender {
    struct engine *engine;
    const char *key;
    struct engine_health *health;
};

static uint64_t get(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void put_trouble(const struct engine_trouble *t, char *out, size_t size)
{
    const char *colon = t && t->detail[0] ? ": " : "", *detail = t ? t->detail : "";
    if (!t)
        snprintf(out, size, "a sink took nothing");
    else if (t->status)
        snprintf(out, size, "%s answered %d%s%s", t->url, t->status, colon, detail);
    else
        snprintf(out, size, "%s did not answer (%s)%s%s", t->url[0] ? t->url : "a sink", err_name(t->err), colon,
                 detail);
}

static void happened(const struct sender *s, const struct happening *what)
{
    const struct engine_reports *r = &s->engine->reports;
    if (r->happened)
        r->happened(r->arg, s->key, what);
}

static void tell_counts(const struct sender *s, const struct counts *n, const char *trouble)
{
    const struct {
        uint64_t count;
        struct happening what;
    } all[] = {
        {n->failed,
         {.warning = true,
          .reason = "DeliveryFailed",
          .kind = s->health->trouble ? s->health->trouble->url : NULL,
          .message = trouble}},
        {n->dead_lettered,
         {.warning = true,
          .reason = "EventsDeadLettered",
          .message = "the dead letter sink took events that the subscriber did not"}},
        {n->parked,
         {.warning = true,
          .reason = "EventsParked",
          .message =
              "events that neither subscriber nor dead letter sink took are parked; `leat dlq list` shows them"}},
        {n->expired, {.reason = "EventsExpired", .message = "events were dropped, since their expirytime had passed"}},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct happening what = all[i].what;
        what.count = all[i].count;
        if (what.count)
            happened(s, &what);
    }
}

static void state_told(const struct sender *s, const char *reason, char *message)
{
    const struct engine_reports *r = &s->engine->reports;
    free(s->health->told);
    s->health->told = message;
    s->health->told_ns = loop_now_ns(s->engine->control);
    s->health->reason = reason;
    if (r->healthy)
        r->healthy(r->arg, s->key, reason == NULL, reason, message);
}

static void turn_good(const struct sender *s)
{
    if (s->health->state == ENGINE_HEALTH_GOOD)
        return;
    if (s->health->state == ENGINE_HEALTH_BAD)
        happened(s, &(struct happening){.reason = "DeliveryRecovered", .message = "events are delivered again"});
    s->health->state = ENGINE_HEALTH_GOOD;
    state_told(s, NULL, NULL);
}

/* What has become of events meanwhile is said for as long as it stays bad. */
static void turn_bad(const struct sender *s, const struct counts *n, const char *trouble)
{
    static const char parked[] = "EventsParked", dead_lettered[] = "EventsDeadLettered", failing[] = "DeliveryFailing";
    struct engine_health *h = s->health;
    const char *before = h->state == ENGINE_HEALTH_BAD ? h->reason : NULL;
    const char *reason = n->parked || before == parked                 ? parked
                         : n->dead_lettered || before == dead_lettered ? dead_lettered
                                                                       : failing;
    bool other = !h->told || strcmp(h->told, trouble) != 0;
    bool late = loop_now_ns(s->engine->control) - h->told_ns >= REPEAT_NS;
    h->state = ENGINE_HEALTH_BAD;
    char *copy = reason != before || (other && late) ? strdup(trouble) : NULL;
    if (copy)
        state_told(s, reason, copy);
}

/* False: nothing has come of anything since the last look. */
static bool is_news(const struct engine_health *h, const struct counts *now)
{
    return now->delivered != h->delivered || now->failed != h->failed || now->dead_lettered != h->dead_lettered ||
           now->parked != h->parked || now->expired != h->expired;
}

static void judge(const struct sender *s, const struct counts *now)
{
    struct engine_health *h = s->health;
    const struct counts n = {now->delivered - h->delivered, now->failed - h->failed,
                             now->dead_lettered - h->dead_lettered, now->parked - h->parked, now->expired - h->expired};
    char trouble[TEXT_MAX];
    if (n.failed && !h->trouble && !h->waited) { /* what was said comes right behind the count */
        h->waited = true;
        return;
    }
    h->delivered = now->delivered;
    h->failed = now->failed;
    h->dead_lettered = now->dead_lettered;
    h->parked = now->parked;
    h->expired = now->expired;
    put_trouble(h->trouble, trouble, sizeof trouble);
    tell_counts(s, &n, trouble);
    if (n.delivered)
        turn_good(s);
    else if (n.failed)
        turn_bad(s, &n, trouble);
}

static void take(struct engine_health *h, _Atomic(struct engine_trouble *) *place)
{
    struct engine_trouble *t = atomic_exchange(place, NULL);
    if (!t)
        return;
    free(h->trouble);
    h->trouble = t;
}

/* ---- subscriptions ---- */

static struct sender of_subscription(struct engine_subscription *s)
{
    return (struct sender){s->engine, s->key, s->health};
}

void engine_happened(struct engine_subscription *s, const struct happening *what)
{
    const struct sender who = of_subscription(s);
    happened(&who, what);
}

/* As it was looked at last: of zeros at first. */
static const struct engine_health *known(const struct engine_subscription *s)
{
    static const struct engine_health nothing;
    return s->health ? s->health : &nothing;
}

/* To be written in; false: no memory, and the next look tries again. */
static bool has_health(struct engine_subscription *s)
{
    if (!s->health)
        s->health = calloc(1, sizeof *s->health);
    return s->health;
}

static struct counts counts_of(const struct engine_subscription *s)
{
    struct counts sum = {0};
    for (size_t i = 0; i < s->engine->shard_count; i++) {
        const struct dispatch_counters *c = engine_counted(s, i);
        sum.delivered += get(&c->delivered);
        sum.failed += get(&c->failed_attempts);
        sum.dead_lettered += get(&c->dead_lettered);
        sum.parked += get(&c->parked);
        sum.expired += get(&c->expired);
    }
    return sum;
}

static void take_trouble(struct engine_subscription *s)
{
    for (size_t i = 0; i < s->engine->shard_count; i++)
        take(s->health, &s->shares[i].trouble);
}

/* Drops are asked for in turn, and those of before the first time are old news. */
static void look_for_drops(struct engine_subscription *s)
{
    const struct bus_probe backlog = engine_probe(s->bus, s->handle),
                           parked = engine_probe(s->parked_bus, s->parked_handle);
    const struct engine_health *h = known(s);
    struct happening what = {.warning = true, .reason = "EventsDropped", .kind = "backlog"};
    if (backlog.dropped == h->dropped && parked.dropped == h->parked_dropped) {
        s->drops_known = true;
        return;
    }
    if (!has_health(s))
        return;
    h = s->health;
    what.message = "events that waited were dropped: the channel is full, or keeps them no longer";
    what.count = s->drops_known && backlog.dropped > h->dropped ? backlog.dropped - h->dropped : 0;
    if (what.count)
        engine_happened(s, &what);
    what.kind = "parked";
    what.message = "parked events were dropped: there was no room for more of them";
    what.count = s->drops_known && parked.dropped > h->parked_dropped ? parked.dropped - h->parked_dropped : 0;
    if (what.count)
        engine_happened(s, &what);
    s->drops_known = true;
    s->health->dropped = backlog.dropped;
    s->health->parked_dropped = parked.dropped;
}

static void look_at(struct engine_subscription *s)
{
    const struct counts now = counts_of(s);
    if (!is_news(known(s), &now) || !has_health(s))
        return;
    const struct sender who = of_subscription(s);
    take_trouble(s);
    judge(&who, &now);
}

/* ---- sources ---- */

static void look_at_source(struct engine_source *s)
{
    const struct counts now = {.failed = get(&s->heard.failed), .delivered = get(&s->heard.delivered)};
    const struct sender who = {s->engine, s->key, &s->health};
    if (!is_news(&s->health, &now))
        return;
    take(&s->health, &s->heard.trouble);
    judge(&who, &now);
}

void engine_health_source_fini(struct engine_source *s)
{
    take(&s->health, &s->heard.trouble);
    free(s->health.trouble);
    free(s->health.told);
}

/* ---- all of them ---- */

static void look(struct loop_timer *t)
{
    struct engine *e = container_of(t, struct engine, health);
    unsigned turn = e->health_looks++ % DROPS_EVERY, n = 0;
    list_each(l, tmp, &e->subscriptions) {
        struct engine_subscription *s = container_of(l, struct engine_subscription, link);
        if (!s->wanted)
            continue;
        look_at(s);
        if (n++ % DROPS_EVERY == turn)
            look_for_drops(s);
    }
    bool sources = false;
    list_each(k, next, &e->sources) {
        struct engine_source *s = container_of(k, struct engine_source, link);
        sources = sources || s->wanted;
        if (s->wanted)
            look_at_source(s);
    }
    if (n || sources)
        loop_timer_start(e->control, t, LOOK_NS);
}

void engine_health_init(struct engine *e)
{
    loop_timer_init(&e->health, look);
}

void engine_health_watch(struct engine *e)
{
    if (!e->stopped && !loop_timer_armed(&e->health) && (!list_empty(&e->subscriptions) || !list_empty(&e->sources)))
        loop_timer_start(e->control, &e->health, LOOK_NS);
}

void engine_health_stop(struct engine *e)
{
    loop_timer_stop(e->control, &e->health);
}

void engine_health_fini(struct engine_subscription *s)
{
    for (size_t i = 0; i < s->engine->shard_count; i++)
        free(atomic_exchange(&s->shares[i].trouble, NULL));
    if (!s->health)
        return;
    free(s->health->trouble);
    free(s->health->told);
    free(s->health);
}
