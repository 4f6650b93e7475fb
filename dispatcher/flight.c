/* SPDX-License-Identifier: Apache-2.0
 *
 * One event in flight, from the bus's deliver to its settle. On the dispatcher's loop.
 *
 *     deliver
 *        |                        (no subscriber: the event itself is what REPLY sends)
 *        v            2xx, a reply to pass on             2xx
 *    SUBSCRIBER ------------------------------> REPLY -----------> delivered
 *        |  \                                     |
 *        |   `-- 2xx, none --> delivered          |
 *        | failed                          failed |
 *        +-------------------+--------------------+
 *                            v             2xx
 *                       DEAD LETTER -------------> dead-lettered
 *                            | failed, or there is no such sink
 *                            v        parked
 *                          PARK -----------------> parked
 *
 *     within a phase:   sending --retryable, tries <= retry--> waiting --timer--> sending
 *                       parking --failed, however often------> waiting --timer--> parking
 *
 * Invariants.
 * 1. A flight is in its stream's list exactly while its token is unsettled and not revoked, and it leaves by one of:
 *    flight_end (ACK), flight_release (RELEASE), flight_drop (no word: the token is the bus's again, or void).
 * 2. Its place (one unit of credit) is taken all that time, waiting for a retry included; other events pass it.
 * 3. Each phase counts its tries afresh: at most retry + 1 at each destination. Only want of memory repeats an
 *    attempt uncounted.
 * 4. An attempt runs under the terms it started with; whatever comes after it (wait, next try, next phase) goes by
 *    the stream's newest.
 * 5. The success path allocates nothing: the flight comes from the dispatcher's list of unused ones.
 * 6. Parking cannot be withdrawn: a flight dropped meanwhile becomes an orphan, which holds nothing and only waits
 *    for that answer.
 */
#include <assert.h>
#include <stdlib.h>

#include "flight.h"

static void attempt(struct flight *f);

static struct dispatch_counters *counters(const struct flight *f)
{
    assert(f->stream);
    return f->stream->terms->spec.counters;
}

/* ---- unused flights ---- */

/* Gives back what it holds of others. */
static void strip(struct flight *f)
{
    f->terms = terms_unref(f->terms);
    f->outgoing = ce_event_unref(f->outgoing);
    f->failure = failure_free(f->failure);
    f->event = NULL;
}

static void recycle(struct flight *f)
{
    struct dispatcher *d = f->dispatcher;
    assert(!f->stream && f->activity == ACTIVITY_NONE && !loop_timer_armed(&f->timer));
    strip(f);
    if (d->flights_kept >= FLIGHTS_KEPT_MAX) {
        free(f);
        return;
    }
    d->flights_kept++;
    list_push_front(&d->flights, &f->link);
}

void flight_free_all(struct dispatcher *d)
{
    struct list *l;
    while ((l = list_pop_front(&d->flights))) {
        assert(d->flights_kept > 0);
        d->flights_kept--;
        free(container_of(l, struct flight, link));
    }
}

/* Takes the flight out of its stream, whose place it leaves. */
static void leave(struct flight *f, bool credit)
{
    struct dispatch_stream *s = f->stream;
    assert(s);
    count_sub(&counters(f)->in_flight, 1);
    list_remove(&f->link);
    f->stream = NULL;
    stream_flight_ended(s, credit);
}

/* ---- the ways out ---- */

static void settle(struct flight *f, enum bus_settle how)
{
    struct dispatch_stream *s = f->stream;
    s->bus->ops->settle(s->bus, s->source, f->token, how);
}

void flight_end(struct flight *f, enum dispatch_end how)
{
    assert(f->stream && f->activity == ACTIVITY_NONE);
    assert(how < DISPATCH_END_COUNT);
    struct dispatch_counters *c = counters(f);
    if (how == DISPATCH_DELIVERED) {
        count_add(&c->delivered, 1);
    } else if (how == DISPATCH_DEAD_LETTERED) {
        count_add(&c->dead_lettered, 1);
        f->stream->report.dead_lettered++;
        report_soon(f->stream);
    } else {
        count_add(&c->parked, 1);
        f->stream->report.parked++;
        report_soon(f->stream);
    }
    settle(f, BUS_ACK);
    leave(f, true);
    recycle(f);
}

void flight_release(struct flight *f)
{
    assert(f->stream);
    assert(f->activity == ACTIVITY_NONE || f->activity == ACTIVITY_WAITING);
    loop_timer_stop(f->dispatcher->loop, &f->timer);
    f->activity = ACTIVITY_NONE;
    settle(f, BUS_RELEASE);
    leave(f, true);
    recycle(f);
}

void flight_drop(struct flight *f)
{
    struct dispatcher *d = f->dispatcher;
    if (!f->stream) { /* the orphan's parking has ended */
        assert(f->activity == ACTIVITY_NONE && d->orphans > 0);
        recycle(f);
        if (--d->orphans == 0 && d->closing)
            dispatcher_free(d);
        return;
    }
    if (f->activity == ACTIVITY_SENDING)
        sink_cancel(&f->call);
    loop_timer_stop(d->loop, &f->timer);
    leave(f, true);
    if (f->activity == ACTIVITY_PARKING) {
        strip(f);
        d->orphans++;
        return;
    }
    f->activity = ACTIVITY_NONE;
    recycle(f);
}

/* ---- waiting ---- */

static void on_timer(struct loop_timer *t)
{
    struct flight *f = container_of(t, struct flight, timer);
    assert(f->activity == ACTIVITY_WAITING);
    f->activity = ACTIVITY_NONE;
    attempt(f);
}

void flight_wait(struct flight *f, uint64_t wait_ns)
{
    assert(f->stream && f->activity == ACTIVITY_NONE);
    if (f->stream->stopping) {
        flight_release(f);
        return;
    }
    f->activity = ACTIVITY_WAITING;
    loop_timer_start(f->dispatcher->loop, &f->timer, wait_ns);
}

/* No memory for a step: the step comes again. */
static void wait_for_memory(struct flight *f)
{
    flight_wait(f, backoff_wait_ns(&f->stream->terms->spec.delivery, f->tries ? f->tries : 1, f->dispatcher->prng));
}

/* ---- attempts ---- */

/* Begins a phase with a fresh count; `outgoing` (owned, may be NULL) is what it sends. */
static void enter(struct flight *f, enum phase phase, const struct ce_event *outgoing)
{
    assert(f->activity == ACTIVITY_NONE);
    ce_event_unref(f->outgoing);
    f->outgoing = outgoing;
    f->phase = phase;
    f->tries = 0;
    attempt(f);
}

static const char *url_of(const struct flight *f, const struct sink_answer *answer)
{
    return answer->url ? answer->url : f->call.sink->url;
}

static void failed(struct flight *f, const struct sink_answer *answer, bool retryable)
{
    assert(f->activity == ACTIVITY_NONE && f->tries > 0);
    const struct delivery *d = &f->stream->terms->spec.delivery;
    const char *url = url_of(f, answer);
    count_add(&counters(f)->failed_attempts, 1);
    f->stream->report.failed++;
    report_failure(f->stream, answer, url);
    if (retryable && f->tries <= d->retry) {
        flight_wait(f, retry_wait_ns(d, f->tries, answer, f->dispatcher->prng));
        return;
    }
    struct failure *failure = failure_new(answer, url, f->failure);
    if (!failure) {
        f->tries--;
        wait_for_memory(f);
        return;
    }
    f->failure = failure;
    enter(f, f->phase == PHASE_DEAD_LETTER ? PHASE_PARK : PHASE_DEAD_LETTER, NULL);
}

static void subscriber_took(struct flight *f, const struct sink_answer *answer)
{
    struct sink_answer broken;
    switch (reply_judge(answer, f->terms->spec.reply_must_be_event)) {
    case REPLY_FORWARD:
        enter(f, PHASE_REPLY, ce_event_ref(answer->reply));
        return;
    case REPLY_BROKEN:
        broken = *answer;
        broken.err = ERR_PROTOCOL;
        if (!broken.detail.len)
            broken.detail = SLICE("the answer's body is no CloudEvent");
        failed(f, &broken, false);
        return;
    case REPLY_IGNORED:
        count_add(&counters(f)->replies_ignored, 1);
        if (answer->reply_malformed) {
            f->stream->report.replies_malformed++;
            report_failure(f->stream, answer, url_of(f, answer));
        }
        break;
    case REPLY_NONE:
        break;
    }
    flight_end(f, DISPATCH_DELIVERED);
}

static void on_answer(struct sink_call *call, const struct sink_answer *answer)
{
    struct flight *f = container_of(call, struct flight, call);
    assert(f->stream && f->activity == ACTIVITY_SENDING);
    assert(answer->err != OK || answer->status >= 100);
    f->activity = ACTIVITY_NONE;
    if (answer->err != OK || answer->status < 200 || answer->status >= 300) {
        failed(f, answer, sink_retryable(answer->err, answer->status));
    } else if (f->phase == PHASE_SUBSCRIBER) {
        subscriber_took(f, answer);
    } else if (f->phase == PHASE_REPLY) {
        if (f->outgoing)
            count_add(&counters(f)->replies, 1);
        flight_end(f, DISPATCH_DELIVERED);
    } else {
        assert(f->phase == PHASE_DEAD_LETTER);
        flight_end(f, DISPATCH_DEAD_LETTERED);
    }
}

static void send_to(struct flight *f, struct sink *sink)
{
    const struct terms *t = f->terms;
    bool to_subscriber = f->phase == PHASE_SUBSCRIBER;
    struct sink_request request = {.event = f->outgoing ? f->outgoing : f->event,
                                   .want_reply = to_subscriber,
                                   .format = to_subscriber ? t->spec.delivery.format : -1,
                                   .timeout_ns = t->spec.delivery.timeout_ns,
                                   .namespace_name = t->namespace_name};
    f->tries++;
    f->subscriber_tries += to_subscriber;
    count_add(&counters(f)->attempts, 1);
    if (f->tries > 1)
        count_add(&counters(f)->retries, 1);
    f->activity = ACTIVITY_SENDING;
    enum err e = sink_send(sink, &f->call, &request);
    if (e == OK)
        return;
    f->activity = ACTIVITY_NONE;
    struct sink_answer refused = {.err = e, .detail = slice_str(err_name(e)), .url = sink->url};
    failed(f, &refused, sink_retryable(e, 0));
}

static void attempt_subscriber(struct flight *f)
{
    struct sink *sink = f->terms->spec.subscriber;
    if (sink)
        send_to(f, sink);
    else
        enter(f, PHASE_REPLY, NULL);
}

static void attempt_reply(struct flight *f)
{
    struct sink *sink = f->terms->spec.reply;
    if (sink) {
        send_to(f, sink);
    } else if (f->outgoing) {
        count_add(&counters(f)->replies_ignored, 1);
        flight_end(f, DISPATCH_DELIVERED);
    } else {
        /* Reply-only when it began, and an update has turned that round; there is always one of the two. */
        assert(f->terms->spec.subscriber);
        enter(f, PHASE_SUBSCRIBER, NULL);
    }
}

static void attempt_dead_letter(struct flight *f)
{
    struct sink *sink = f->terms->spec.dead_letter;
    if (!sink) {
        enter(f, PHASE_PARK, NULL);
        return;
    }
    if (!f->outgoing) {
        enum err e = deadletter_event(f->event, f->failure, &f->outgoing);
        if (e == ERR_NOMEM) {
            wait_for_memory(f);
            return;
        }
        if (e != OK) { /* no room for three more attributes: the parked form needs none */
            enter(f, PHASE_PARK, NULL);
            return;
        }
    }
    send_to(f, sink);
}

static void attempt(struct flight *f)
{
    assert(f->stream && f->activity == ACTIVITY_NONE);
    if (f->terms != f->stream->terms) {
        terms_unref(f->terms);
        f->terms = terms_ref(f->stream->terms);
    }
    switch (f->phase) {
    case PHASE_SUBSCRIBER:
        attempt_subscriber(f);
        break;
    case PHASE_REPLY:
        attempt_reply(f);
        break;
    case PHASE_DEAD_LETTER:
        attempt_dead_letter(f);
        break;
    case PHASE_PARK:
        flight_park(f);
        break;
    }
}

enum err flight_begin(struct dispatch_stream *s, const struct ce_event *event, struct bus_token token)
{
    struct dispatcher *d = s->dispatcher;
    struct list *unused = list_pop_front(&d->flights);
    struct flight *f = unused ? container_of(unused, struct flight, link) : malloc(sizeof *f);
    if (!f)
        return ERR_NOMEM;
    if (unused)
        d->flights_kept--;
    *f = (struct flight){.dispatcher = d, .stream = s, .event = event, .token = token, .phase = PHASE_SUBSCRIBER};
    f->call.done = on_answer;
    loop_timer_init(&f->timer, on_timer);
    list_push_back(&s->flights, &f->link);
    count_add(&counters(f)->in_flight, 1);
    attempt(f);
    return OK;
}
