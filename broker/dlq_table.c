/* SPDX-License-Identifier: Apache-2.0
 *
 * A session on its home loop: the stream on the dead-letter channel, the parked events in hand, and snapshots of them.
 *
 * Invariant: every token that the bus has given and not taken back is the one of exactly one entry; only
 * dlq_entry_acknowledge settles it, and what is left at the detach goes back by that.
 */
#include "dlq_parts.h"

#include <assert.h>
#include <stdlib.h>

#include "parked.h"

static struct slice key_of(const uint64_t *number)
{
    return slice_of((const char *)number, sizeof *number);
}

struct dlq_entry *dlq_entry_find(struct dlq_session *s, uint64_t number)
{
    return map_get(&s->entries, key_of(&number));
}

static bool full(const struct dlq_session *s)
{
    return s->entries.count >= DLQ_HELD_MAX || s->bytes >= DLQ_HELD_BYTES_MAX;
}

/* Credit for what there is room for; in portions, so that the bound of bytes is seen in time. */
static void top_up(struct dlq_session *s)
{
    size_t in_hand = s->entries.count + s->credit;
    if (!s->stream || s->starved || full(s) || s->credit > DLQ_CREDIT / 2 || in_hand >= DLQ_HELD_MAX)
        return;
    size_t room = DLQ_HELD_MAX - in_hand;
    unsigned n = room < DLQ_CREDIT ? (unsigned)room : DLQ_CREDIT;
    s->credit += n;
    s->bus->ops->credit(s->bus, s->stream, n);
}

static void forget(struct dlq_entry *e)
{
    struct dlq_session *s = e->session;
    void *was = map_remove(&s->entries, key_of(&e->number));
    assert(was == e);
    s->bytes -= e->bytes;
    free(e);
}

void dlq_entry_acknowledge(struct dlq_entry *e)
{
    struct dlq_session *s = e->session;
    assert(!e->batch);
    if (!e->revoked)
        s->bus->ops->settle(s->bus, s->stream, e->token, BUS_ACK);
    s->acknowledged++;
    forget(e);
    top_up(s);
}

/* ---- snapshots ---- */

/* Those that were acknowledged since the bus counted are not expected any more. */
static bool as_many_as_counted(const struct dlq_snapshot *snapshot)
{
    const struct dlq_session *s = snapshot->errand.session;
    return s->entries.count + (s->acknowledged - snapshot->acknowledged) >= snapshot->expected;
}

static bool complete(const struct dlq_snapshot *snapshot)
{
    return !snapshot->counting && as_many_as_counted(snapshot);
}

static void answer(struct dlq_snapshot *snapshot)
{
    struct dlq_session *s = snapshot->errand.session;
    list_remove(&snapshot->errand.link);
    snapshot->more = !as_many_as_counted(snapshot);
    snapshot->full = full(s);
    snapshot->elsewhere = snapshot->more && !snapshot->full && s->bus->capabilities & BUS_CAP_SHARED;
    snapshot->items = calloc(s->entries.count + 1, sizeof *snapshot->items);
    snapshot->error = !snapshot->items || s->starved ? ERR_NOMEM : OK;
    snapshot->count = 0;
    if (snapshot->error != OK) {
        free(snapshot->items);
        snapshot->items = NULL;
    } else {
        map_each(entry, tmp, &s->entries) {
            const struct dlq_entry *e = entry->value;
            if (e->batch || e->revoked) /* somebody is at it */
                continue;
            snapshot->items[snapshot->count++] =
                (struct dlq_item){e->number, e->tried_by, ce_event_ref(e->event), e->parked_ns, s};
        }
    }
    dlq_errand_answer(&snapshot->errand);
}

static void answer_those_complete(struct dlq_session *s)
{
    list_each(l, tmp, &s->waiting) {
        struct dlq_snapshot *snapshot = container_of(l, struct dlq_snapshot, errand.link);
        if (complete(snapshot) || full(s) || s->starved)
            answer(snapshot);
    }
    if (list_empty(&s->waiting))
        loop_timer_stop(s->home->loop, &s->quiet);
    else
        loop_timer_start(s->home->loop, &s->quiet,
                         s->entries.count == 0 && s->bus->capabilities & BUS_CAP_SHARED ? DLQ_FIRST_NS : DLQ_QUIET_NS);
}

/* The bus counts more than it brings: others hold some of it, or its count is not of this instant. Or it had not
 * counted all yet, and has brought what there is. */
static void quiet(struct loop_timer *t)
{
    struct dlq_session *s = container_of(t, struct dlq_session, quiet);
    list_each(l, tmp, &s->waiting)
        answer(container_of(l, struct dlq_snapshot, errand.link));
}

/* ---- what the bus says ---- */

static void deliver(void *arg, struct bus_stream *stream, const struct ce_event *event, struct bus_token token,
                    unsigned attempt)
{
    struct dlq_session *s = arg;
    struct dlq_entry *e = calloc(1, sizeof *e);
    uint64_t number = s->last_number + 1;
    (void)attempt;
    assert(s->credit > 0);
    s->credit--;
    if (!e || map_add(&s->entries, key_of(&number), e) != OK) {
        free(e);
        s->starved = true; /* no more credit: else it would come back at once, again and again */
        s->bus->ops->settle(s->bus, stream, token, BUS_RELEASE);
        answer_those_complete(s);
        return;
    }
    s->last_number = number;
    *e = (struct dlq_entry){.number = number,
                            .token = token,
                            .event = event,
                            .parked_ns = parked_at_ns(event),
                            .bytes = ce_event_size(event),
                            .session = s};
    s->bytes += e->bytes;
    top_up(s);
    answer_those_complete(s);
}

static void revoked(void *arg, struct bus_stream *stream, struct bus_token token)
{
    struct dlq_session *s = arg;
    (void)stream;
    map_each(entry, tmp, &s->entries) {
        struct dlq_entry *e = entry->value;
        if (e->revoked || e->token.a != token.a || e->token.b != token.b)
            continue;
        if (e->batch)
            e->revoked = true;
        else
            forget(e);
        top_up(s);
        return;
    }
}

static enum err attach(struct dlq_session *s, struct bus_subscription *from)
{
    static const struct bus_stream_callbacks callbacks = {deliver, revoked};
    s->credit = 0;
    return s->bus->ops->attach(s->bus, from, s->home->loop, &callbacks, s, &s->stream);
}

/* ---- errands ---- */

static void back(struct letter *m)
{
    struct dlq_errand *e = container_of(m, struct dlq_errand, letter);
    e->done(e);
}

void dlq_errand_answer(struct dlq_errand *e)
{
    e->letter.run = back;
    loop_post_reserved(engine_control(e->session->dlq->engine), &e->letter);
}

void dlq_errand_arrived(struct letter *m)
{
    struct dlq_errand *e = container_of(m, struct dlq_errand, letter);
    if (e->session->detaching)
        list_push_back(&e->session->deferred, &e->link);
    else
        e->run(e);
}

void dlq_snapshot_arrived(struct dlq_errand *e)
{
    struct dlq_snapshot *snapshot = container_of(e, struct dlq_snapshot, errand);
    struct dlq_session *s = e->session;
    snapshot->error = s->stream || !snapshot->from ? OK : attach(s, snapshot->from);
    if (snapshot->error != OK) {
        dlq_errand_answer(e);
        return;
    }
    s->starved = false;
    snapshot->acknowledged = s->acknowledged;
    list_push_back(&s->waiting, &e->link);
    if (!s->stream) {
        answer(snapshot);
        return;
    }
    top_up(s);
    answer_those_complete(s);
}

/* ---- rest ---- */

static void rested(struct dlq_session *s)
{
    s->rest.run = dlq_rested;
    loop_post_reserved(engine_control(s->dlq->engine), &s->rest);
}

static void detached(struct bus_op *op, enum err err)
{
    struct dlq_session *s = container_of(op, struct dlq_session, detach);
    struct list *l;
    (void)err;
    s->detaching = false;
    while ((l = list_pop_front(&s->deferred))) {
        struct dlq_errand *e = container_of(l, struct dlq_errand, link);
        e->run(e);
    }
    rested(s); /* the last: control may free the session at once */
}

void dlq_rest_arrived(struct letter *m)
{
    struct dlq_session *s = container_of(m, struct dlq_session, rest);
    struct bus_stream *stream = s->stream;
    assert(list_empty(&s->waiting) && !s->detaching);
    if (!stream) {
        rested(s);
        return;
    }
    map_each(entry, tmp, &s->entries) {
        struct dlq_entry *e = entry->value;
        assert(!e->batch);
        forget(e);
    }
    s->detaching = true;
    s->stream = NULL;
    s->detach = (struct bus_op){.done = detached};
    s->bus->ops->detach(s->bus, stream, &s->detach);
}

void dlq_table_init(struct dlq_session *s)
{
    map_init(&s->entries, DLQ_HELD_MAX);
    list_init(&s->waiting);
    list_init(&s->deferred);
    loop_timer_init(&s->quiet, quiet);
}
