/* SPDX-License-Identifier: Apache-2.0
 *
 * R, the reader: the one thread that reads the log, for subscriptions that are BEHIND and for read(). Subscriptions
 * take turns, LOG_TURN_EVENTS or LOG_TURN_BYTES each, so a long backlog does not hold up the others; and pages of
 * read() take turns with them.
 *
 * A turn of a subscription: from the lowest position of those of its slots that want more, read records in order; each
 * is one slot's. Slots that take part move on with the reading; one that has no more room stops where it is, and what
 * was read beyond that is read again for it in its own time. Events that the ledger knows to be done are kept in mind,
 * those that the filter of their time does not let pass are nothing.
 *
 * Beside that R counts, once, the backlog of a subscription that was found at open or began in the past (census); and
 * it drops the oldest of one that is over its capacity and has them in the log only (trim).
 *
 * The lock is held for the bookkeeping of one record at a time, never while reading or unpacking; `turn` tells whether
 * positions were set anew meanwhile.
 */
#include "ce_pack.h"
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

/* ---- who waits ---- */

static void refill_signal(struct log_refill *r)
{
    if (!r->waits)
        return;
    r->waits = false;
    pthread_cond_signal(&r->work);
}

static void want_on(struct bus_subscription *s, struct list *head)
{
    struct log_refill *r = &s->channel->bus->refill;
    pthread_mutex_lock(&r->lock);
    if (!r->closed && list_empty(&s->want)) {
        log_subscription_pin(s);
        list_push_back(head, &s->want);
        refill_signal(r);
    }
    pthread_mutex_unlock(&r->lock);
}

void log_refill_want(struct bus_subscription *s)
{
    want_on(s, &s->channel->bus->refill.want);
}

static void count_on(struct bus_subscription *s, struct list *head)
{
    struct log_refill *r = &s->channel->bus->refill;
    pthread_mutex_lock(&r->lock);
    if (!r->closed && list_empty(&s->count)) {
        log_subscription_pin(s);
        list_push_back(head, &s->count);
        refill_signal(r);
    }
    pthread_mutex_unlock(&r->lock);
}

void log_refill_count(struct bus_subscription *s)
{
    count_on(s, &s->channel->bus->refill.census);
}

void log_refill_tick(struct log_bus *g)
{
    struct log_refill *r = &g->refill;
    pthread_mutex_lock(&r->lock);
    if (!list_empty(&r->stalled) || !list_empty(&r->stuck)) {
        list_splice_back(&r->want, &r->stalled);
        list_splice_back(&r->census, &r->stuck);
        refill_signal(r);
    }
    pthread_mutex_unlock(&r->lock);
}

void log_refill_read(struct log_bus *g, struct list *link)
{
    struct log_refill *r = &g->refill;
    pthread_mutex_lock(&r->lock);
    bool closed = r->closed;
    if (!closed)
        list_push_back(&r->reads, link);
    refill_signal(r);
    pthread_mutex_unlock(&r->lock);
    if (closed)
        log_read_close(link);
}

/* ---- readers: a few open ones, for whoever read last ---- */

static void pooled_close(struct log_pooled *p)
{
    assert(p->reader || p->of == 0 || p->used == 0);
    log_reader_free(p->reader);
    *p = (struct log_pooled){0};
}

static void pool_forget(struct log_refill *r, const struct bus_subscription *s)
{
    for (size_t i = 0; i < LOG_READERS; i++) {
        if (r->pool[i].of == s->number && r->pool[i].reader)
            pooled_close(&r->pool[i]);
    }
}

static enum err pool_get(struct log_refill *r, struct bus_subscription *s, uint64_t from, struct log_pooled **out)
{
    struct log_pooled *oldest = &r->pool[0];
    assert(s->number > 0 && from > 0);
    for (size_t i = 0; i < LOG_READERS; i++) {
        struct log_pooled *p = &r->pool[i];
        if (p->of == s->number && p->reader) {
            if (p->next != from)
                log_reader_seek(p->reader, from);
            p->next = from;
            p->used = ++r->clock;
            *out = p;
            return OK;
        }
        if (p->used < oldest->used)
            oldest = p;
    }
    pooled_close(oldest);
    struct log_bus *g = s->channel->bus;
    enum err e = log_reader_new(g->store, atomic_load(&s->channel->number), from, &oldest->reader);
    if (e)
        return e;
    oldest->of = s->number;
    oldest->next = from;
    oldest->used = ++r->clock;
    *out = oldest;
    return OK;
}

/* A disk that does not give what it has: said once, and tried again with each tick. */
static void failed(struct log_refill *r, struct bus_subscription *s, enum err e, uint64_t at)
{
    struct log_bus *g = s->channel->bus;
    assert(e != OK && e != ERR_PENDING);
    if (e == ERR_NOMEM || r->unreadable)
        return;
    r->unreadable = s->number;
    log_notice(
        g, 2, "LogUnreadable",
        "the log in %s cannot be read at or after event %llu of channel %s: what lies there is not delivered; it "
        "is tried again every second. See to the disk (the kernel's messages name the sector)",
        g->dir, (unsigned long long)at, s->channel->name);
}

static void succeeded(struct log_refill *r, const struct bus_subscription *s)
{
    if (r->unreadable == s->number)
        r->unreadable = 0;
}

/* ---- a turn ---- */

struct turn {
    struct bus_subscription *s;
    unsigned number;     /* of s->turn: else positions were set anew */
    bool trim;           /* drops instead of pushing */
    uint64_t from, next; /* read: [from, next) */
    unsigned events;
    uint64_t bytes;
    bool over;    /* the turn ends */
    bool starved; /* there was no memory: another time */
};

/* Under the lock. False: nobody wants anything. */
static bool turn_begin(struct turn *t, struct bus_subscription *s)
{
    if (s->trim)
        log_slots_trim(s);
    *t = (struct turn){.s = s, .number = s->turn, .trim = s->trim, .from = UINT64_MAX};
    for (size_t i = 0; i < s->slot_count && !s->gone; i++) {
        bool part = s->trim ? s->slots[i].behind && s->slots[i].queued == 0 : log_slots_wants(s, i);
        s->shares[i].moving = part;
        if (part && s->slots[i].position < t->from)
            t->from = s->slots[i].position;
    }
    t->next = t->from;
    assert(t->from > 0);
    if (t->from == UINT64_MAX)
        s->trim = false; /* what is in memory was enough: else no slot would have any */
    return t->from != UINT64_MAX;
}

static bool turn_stale(const struct turn *t)
{
    return t->s->gone || t->s->turn != t->number;
}

static void trim_check(struct turn *t)
{
    struct bus_subscription *s = t->s;
    uint64_t capacity = stat_read(&s->channel->capacity);
    int64_t bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);
    assert(t->trim);
    if (bytes > 0 && (uint64_t)bytes > capacity - capacity / 16)
        return;
    s->trim = false;
    t->over = true;
}

/* Under the lock, when the filter lets it pass. */
static void take_in(struct turn *t, size_t i, const struct log_view *v, const struct ce_event *event)
{
    struct bus_subscription *s = t->s;
    struct slot *slot = &s->slots[i];
    uint64_t bytes = log_record_size(v->payload.len), before = slot->queued_bytes;
    assert(s->shares[i].moving && slot->behind && v->record.sequence >= slot->position);
    if (t->trim) {
        log_slots_read(s, i, v->record.sequence, bytes);
        slot_looked(slot, v->record.sequence + 1);
        log_slots_dropped(s, bytes);
        trim_check(t);
        return;
    }
    enum err e = log_slots_room(s, i) ? slot_push(slot, v->record.sequence, event, (uint32_t)bytes) : ERR_FULL;
    t->starved |= e == ERR_NOMEM;
    if (e) {
        s->shares[i].moving = false;
        return;
    }
    log_slots_read(s, i, v->record.sequence, bytes);
    log_slots_queued(s, before, slot->queued_bytes);
    t->events++;
    if (s->shares[i].drainer)
        log_loop_ready(s->shares[i].drainer);
}

/* Under the lock. Whether this record has to be looked at more closely: *filter then, a reference. */
static bool look(struct turn *t, size_t i, const struct log_view *v, struct filter **filter)
{
    struct bus_subscription *s = t->s;
    struct slot *slot = &s->slots[i];
    uint64_t sequence = v->record.sequence;
    assert(i < s->slot_count && sequence >= t->from);
    if (turn_stale(t)) {
        t->over = true;
        return false;
    }
    if (!s->shares[i].moving || !slot->behind || sequence < slot->position)
        return false;
    if (s->before && slot_ledger_done(s->before, sequence, v->record.spread)) {
        t->starved |= slot_push_done(slot, sequence) != OK;
        s->shares[i].moving &= !t->starved;
        return false;
    }
    struct filter *f = log_subscription_judge(s, sequence);
    *filter = f ? filter_ref(f) : NULL;
    return true;
}

static void record(struct turn *t, const struct log_view *v)
{
    struct bus_subscription *s = t->s;
    size_t i = v->record.spread % s->slot_count;
    struct filter *filter = NULL;
    const struct ce_event *event = NULL;
    pthread_mutex_lock(&s->lock);
    bool closer = look(t, i, v, &filter);
    pthread_mutex_unlock(&s->lock);
    t->bytes += v->payload.len;
    if (!closer)
        return;
    enum err e = ce_unpack(v->payload, &event, NULL);
    bool passes = !e && filter_match(filter, event);
    filter_unref(filter);
    pthread_mutex_lock(&s->lock);
    if (turn_stale(t))
        t->over = true;
    else if (passes)
        take_in(t, i, v, event);
    else if (e == ERR_NOMEM) {
        s->shares[i].moving = false;
        t->starved = true;
    }
    pthread_mutex_unlock(&s->lock);
    ce_event_unref(event);
    if (e == ERR_CORRUPT)
        log_notice(s->channel->bus, 2, "LogEventBad", "the event at %llu of channel %s cannot be unpacked: skipped",
                   (unsigned long long)v->record.sequence, s->channel->name);
}

/* Under the lock: those that took part have looked at all that was read; at the end of the log they are LIVE. */
static void turn_end(struct turn *t, bool at_end)
{
    struct bus_subscription *s = t->s;
    assert(t->next >= t->from);
    if (turn_stale(t))
        return;
    bool unread = false;
    for (size_t i = 0; i < s->slot_count; i++) {
        struct slot *slot = &s->slots[i];
        struct log_share *share = &s->shares[i];
        if (s->shares[i].moving && slot->behind) {
            slot_looked(slot, t->next);
            if (at_end && slot->position > share->passed && slot->position >= s->barrier) { /* I3 */
                share->seen = slot->position;
                slot_catch_up(slot);
                log_slots_reconcile(s, i);
            }
        }
        unread |= slot->behind;
    }
    if (s->trim && !unread)
        s->trim = false;
    log_subscription_epochs_prune(s);
}

static enum err read_on(struct log_refill *r, struct turn *t, bool *at_end)
{
    struct log_bus *g = t->s->channel->bus;
    struct log_pooled *p = NULL;
    struct log_view v;
    enum err e = pool_get(r, t->s, t->from, &p);
    for (unsigned n = 0; !e && !t->over && n < LOG_TURN_RECORDS; n++) {
        if (t->events >= LOG_TURN_EVENTS || t->bytes >= LOG_TURN_BYTES)
            break;
        uint64_t committed = log_store_committed(g->store);
        e = log_reader_next(p->reader, &v);
        if (e == ERR_PENDING) {
            t->next = committed + 1 > t->next ? committed + 1 : t->next;
            *at_end = true;
        }
        if (e)
            break;
        t->next = v.record.sequence + 1;
        p->next = t->next;
        if (v.record.kind == LOG_EVENT)
            record(t, &v);
        bool any = false;
        for (size_t i = 0; i < t->s->slot_count; i++)
            any |= t->s->shares[i].moving;
        t->over |= !any;
    }
    if (e == ERR_PENDING) {
        p->next = t->next;
        return OK;
    }
    if (e)
        pool_forget(r, t->s);
    return e;
}

/* ---- the census ---- */

/* Whether this event was in the backlog when the census began. What is settled since is counted out by itself. */
static bool census_counts(struct bus_subscription *s, const struct log_view *v)
{
    uint64_t sequence = v->record.sequence;
    const struct ce_event *event = NULL;
    assert(s->census.until != 0 && s->census.until != UINT64_MAX);
    if (v->record.kind != LOG_EVENT || sequence >= s->census.until)
        return false;
    if (s->census.done && slot_ledger_done(s->census.done, sequence, v->record.spread))
        return false;
    pthread_mutex_lock(&s->lock);
    struct filter *f = log_subscription_judge(s, sequence);
    f = f ? filter_ref(f) : NULL;
    pthread_mutex_unlock(&s->lock);
    bool passes = !f || (ce_unpack(v->payload, &event, NULL) == OK && filter_match(f, event));
    filter_unref(f);
    ce_event_unref(event);
    return passes;
}

static enum err census_reader(struct log_refill *r, struct bus_subscription *s)
{
    struct log_pooled *p = &r->counter;
    if (p->reader && p->of == s->number && p->next == s->census.next)
        return OK;
    pooled_close(p);
    p->of = s->number;
    return log_reader_new(s->channel->bus->store, atomic_load(&s->channel->number), s->census.next, &p->reader);
}

/* One part of it. What it reads of s->census is R's own once that is wanted. */
static enum err census_part(struct log_refill *r, struct bus_subscription *s, bool *at_end)
{
    struct log_view v;
    uint64_t next = s->census.next;
    assert(next > 0 && s->barrier != UINT64_MAX);
    enum err e = census_reader(r, s);
    for (unsigned n = 0; !e && n < LOG_TURN_RECORDS && next < s->census.until; n++) {
        e = log_reader_next(r->counter.reader, &v);
        if (e)
            break;
        next = v.record.sequence + 1;
        if (!census_counts(s, &v))
            continue;
        pthread_mutex_lock(&s->lock);
        log_slots_counted(s, v.record.spread % s->slot_count, log_record_size(v.payload.len));
        pthread_mutex_unlock(&s->lock);
    }
    *at_end = e == ERR_PENDING;
    r->counter.next = s->census.next = next;
    return *at_end ? OK : e;
}

static void census_done(struct log_refill *r, struct bus_subscription *s)
{
    assert(s->census.wanted);
    s->census.wanted = false;
    slot_ledger_free(s->census.done);
    s->census.done = NULL;
    for (size_t i = 0; i < s->slot_count; i++)
        log_slots_reconcile(s, i);
    log_subscription_epochs_prune(s);
    pooled_close(&r->counter);
}

/* Before its barrier is committed it cannot be done; W asks again then. */
static void census(struct log_refill *r, struct bus_subscription *s)
{
    uint64_t committed = log_store_committed(s->channel->bus->store);
    bool at_end = false;
    pthread_mutex_lock(&s->lock);
    bool wanted = s->census.wanted && !s->gone;
    pthread_mutex_unlock(&s->lock);
    enum err e = wanted ? census_part(r, s, &at_end) : OK;
    if (e)
        failed(r, s, e, s->census.next);
    else if (wanted)
        succeeded(r, s);
    pthread_mutex_lock(&s->lock);
    if (e) {
        pooled_close(&r->counter);
        count_on(s, &r->stuck);
    }
    if (wanted && (s->census.next >= s->census.until || (at_end && committed + 1 >= s->census.until)))
        census_done(r, s);
    else if (wanted && !at_end && !e)
        log_refill_count(s);
    pthread_mutex_unlock(&s->lock);
    log_subscription_unpin(s);
}

/* ---- the thread ---- */

/* Those that there are: opening may have failed before. */
static void post_all(struct log_bus *g)
{
    for (size_t i = 0; g->loops && i < g->env.loop_count && g->loops[i].post; i++)
        log_loop_post(&g->loops[i]);
}

/* Whether it waits for another turn. At the end of what is committed nothing more comes before W has committed more;
 * what is still behind then waits for its barrier, and W asks again. */
static void go_on(struct log_refill *r, struct bus_subscription *s, bool at_end, uint64_t next)
{
    struct log_bus *g = s->channel->bus;
    bool behind = false;
    for (size_t i = 0; i < s->slot_count; i++)
        behind |= s->slots[i].behind;
    if (!behind)
        pool_forget(r, s); /* a reader at rest would hold a segment's file */
    if (!at_end || next <= log_store_committed(g->store))
        log_slots_want(s);
}

static void serve(struct log_refill *r, struct bus_subscription *s)
{
    struct log_bus *g = s->channel->bus;
    struct turn t;
    bool at_end = false;
    enum err e = OK;
    pthread_mutex_lock(&s->lock);
    bool wanted = turn_begin(&t, s);
    pthread_mutex_unlock(&s->lock);
    if (wanted)
        e = read_on(r, &t, &at_end);
    if (e)
        failed(r, s, e, t.next);
    else if (wanted)
        succeeded(r, s);
    pthread_mutex_lock(&s->lock);
    if (wanted)
        turn_end(&t, at_end && !e);
    if (s->gone) {
        pool_forget(r, s);
        succeeded(r, s);
    } else if (e || t.starved)
        want_on(s, &r->stalled);
    else
        go_on(r, s, at_end, t.next);
    pthread_mutex_unlock(&s->lock);
    post_all(g);
    log_subscription_unpin(s);
}

/* Counting waits while others do, but not for ever. Under the lock. */
static struct list *next_census(struct log_refill *r, bool others)
{
    if (others && ++r->turns % LOG_CENSUS_TURNS)
        return NULL;
    return list_pop_front(&r->census);
}

static void *run(void *arg)
{
    struct log_refill *r = arg;
    struct log_bus *g = container_of(r, struct log_bus, refill);
    pthread_mutex_lock(&r->lock);
    while (!r->quit) {
        struct list *read = list_pop_front(&r->reads), *want = list_pop_front(&r->want);
        struct list *count = next_census(r, read || want);
        if (!read && !want && !count) {
            r->waits = true;
            pthread_cond_broadcast(&r->idle);
            pthread_cond_wait(&r->work, &r->lock);
            r->waits = false;
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        if (read)
            log_read_page(g, read);
        if (want)
            serve(r, container_of(want, struct bus_subscription, want));
        if (count)
            census(r, container_of(count, struct bus_subscription, count));
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

enum err log_refill_start(struct log_bus *g)
{
    enum err e = log_thread_start(&g->refill.thread, "log-reader", run, &g->refill);
    g->refill.started = !e;
    return e;
}

void log_refill_close(struct log_bus *g)
{
    struct log_refill *r = &g->refill;
    struct list *l;
    if (!r->started)
        return;
    pthread_mutex_lock(&r->lock);
    r->closed = r->quit = true;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    r->started = false;
    pooled_close(&r->counter);
    for (size_t i = 0; i < LOG_READERS; i++)
        pooled_close(&r->pool[i]);
    pthread_mutex_lock(&r->lock);
    list_splice_back(&r->want, &r->stalled);
    while ((l = list_pop_front(&r->want))) {
        pthread_mutex_unlock(&r->lock);
        log_subscription_unpin(container_of(l, struct bus_subscription, want));
        pthread_mutex_lock(&r->lock);
    }
    list_splice_back(&r->census, &r->stuck);
    while ((l = list_pop_front(&r->census))) {
        pthread_mutex_unlock(&r->lock);
        log_subscription_unpin(container_of(l, struct bus_subscription, count));
        pthread_mutex_lock(&r->lock);
    }
    r->waits = true;
    pthread_cond_broadcast(&r->idle);
    while ((l = list_pop_front(&r->reads))) {
        pthread_mutex_unlock(&r->lock);
        log_read_close(l);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    post_all(g);
}
