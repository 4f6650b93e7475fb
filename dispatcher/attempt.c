/* SPDX-License-Identifier: Apache-2.0
 *
 * The attempts of a flight that has a place: where to, under which conditions, and what an answer leads to. The drawing
 * is in flight.c. On the dispatcher's loop.
 *
 * Conditions. Before each sending of the event itself (to the subscriber, or where there is none to the reply sink), in
 * this order: its expirytime has not passed; its deadline has not; with batches it gathers; else it takes a token of
 * the rate. Replies and dead letters go without: the event has been delivered, or has failed already. The deadline
 * holds for replies as well, since a failed reply is a failed delivery.
 */
#include <assert.h>

#include "gates.h"

static struct dispatch_counters *counters_in(const struct flight *f)
{
    assert(f->stream);
    return f->stream->terms->spec.counters;
}

/* The event itself, on its way to its first destination. */
static bool is_first(const struct flight *f)
{
    return f->phase == PHASE_SUBSCRIBER || (f->phase == PHASE_REPLY && !f->outgoing);
}

static struct sink *sink_of(const struct flight *f)
{
    const struct dispatch_spec *spec = &f->terms->spec;
    return f->phase == PHASE_SUBSCRIBER ? spec->subscriber : f->phase == PHASE_REPLY ? spec->reply : spec->dead_letter;
}

/* Begins a phase with a fresh count; `outgoing` (owned, may be NULL) is what it sends. */
static void enter(struct flight *f, enum phase phase, const struct ce_event *outgoing)
{
    assert(f->activity == ACTIVITY_NONE);
    ce_event_unref(f->outgoing);
    f->outgoing = outgoing;
    f->copy = ce_event_unref(f->copy);
    f->phase = phase;
    f->tries = 0;
    flight_attempt(f);
}

/* ---- failures ---- */

/* This destination is given up. False without memory: nothing happened. */
static bool give_up(struct flight *f, const struct sink_answer *answer, const char *reason)
{
    struct failure *failure = failure_new(answer, answer->url, reason, f->failure);
    if (!failure)
        return false;
    f->failure = failure;
    enter(f, f->phase == PHASE_DEAD_LETTER ? PHASE_PARK : PHASE_DEAD_LETTER, NULL);
    return true;
}

/* It fails without an attempt. */
static void refuse(struct flight *f, enum err e, struct slice detail, const char *reason)
{
    assert(f->activity == ACTIVITY_NONE);
    struct sink_answer answer = {.err = e, .detail = detail, .url = sink_of(f)->url};
    f->stream->report.failed++;
    report_failure(f->stream, &answer, answer.url);
    note_refusal(f, &answer);
    if (!give_up(f, &answer, reason))
        flight_wait_for_memory(f);
}

/* Whether an attempt in wait_ns would begin too late. */
static bool too_late(const struct flight *f, uint64_t wait_ns)
{
    uint64_t deadline = f->stream->terms->spec.delivery.deadline_ns;
    uint64_t age = loop_now_ns(f->dispatcher->loop) - f->begun_ns;
    return deadline > 0 && f->phase <= PHASE_REPLY && (age > deadline || wait_ns > deadline - age);
}

static void failed(struct flight *f, const struct sink_answer *answer, bool retryable)
{
    assert(f->activity == ACTIVITY_NONE && f->tries > 0);
    const struct delivery *d = &f->stream->terms->spec.delivery;
    uint64_t wait = 0;
    const char *reason = answer->err == ERR_TOO_LARGE ? "too-large" : "not-retryable";
    if (retryable && f->tries > d->retry && !d->forever) {
        reason = "retries-exhausted";
    } else if (retryable || d->forever) {
        wait = retry_wait_ns(d, f->tries, answer, f->dispatcher->prng);
        reason = too_late(f, wait) ? "deadline" : NULL;
    }
    count_add(&counters_in(f)->failed_attempts, 1);
    f->stream->report.failed++;
    report_failure(f->stream, answer, answer->url);
    note_attempt(f, answer, reason ? 0 : wait ? wait : 1);
    if (!reason) {
        flight_wait(f, wait);
    } else if (!give_up(f, answer, reason)) {
        f->tries--;
        flight_wait_for_memory(f);
    }
}

/* ---- answers ---- */

static void subscriber_took(struct flight *f, const struct sink_answer *answer)
{
    struct sink_answer broken;
    switch (reply_judge(answer, f->terms->spec.reply_must_be_event)) {
    case REPLY_FORWARD:
        note_attempt(f, answer, 0);
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
        count_add(&counters_in(f)->replies_ignored, 1);
        if (answer->reply_malformed) {
            f->stream->report.replies_malformed++;
            report_failure(f->stream, answer, answer->url);
        }
        break;
    case REPLY_NONE:
        break;
    }
    note_attempt(f, answer, 0);
    flight_end(f, DISPATCH_DELIVERED);
}

void flight_answered(struct flight *f, const struct sink_answer *answer)
{
    assert(f->stream && f->activity == ACTIVITY_SENDING && answer->url);
    assert(answer->err != OK || answer->status >= 100);
    f->activity = ACTIVITY_NONE;
    if (answer->err != OK || answer->status < 200 || answer->status >= 300) {
        failed(f, answer, retry_wanted(&f->stream->terms->spec.delivery.retry_on, answer->err, answer->status));
        return;
    }
    if (f->phase == PHASE_SUBSCRIBER) {
        subscriber_took(f, answer);
        return;
    }
    note_attempt(f, answer, 0);
    if (f->phase == PHASE_REPLY) {
        if (f->outgoing)
            count_add(&counters_in(f)->replies, 1);
        flight_end(f, DISPATCH_DELIVERED);
    } else {
        assert(f->phase == PHASE_DEAD_LETTER);
        flight_end(f, DISPATCH_DEAD_LETTERED);
    }
}

static void on_answer(struct sink_call *call, const struct sink_answer *answer)
{
    struct flight *f = container_of(call, struct flight, call);
    struct sink_answer whole = *answer;
    if (!whole.url)
        whole.url = call->sink->url;
    flight_answered(f, &whole);
}

/* ---- sending ---- */

bool flight_prepare(struct flight *f, const struct sink *sink)
{
    if (f->copy && f->copy_local == sink->local)
        return true;
    if (!f->copy && !f->outgoing && !f->has_hops && !sink->local) /* the common case: the event as it is */
        return true;
    f->copy = ce_event_unref(f->copy);
    f->copy_local = sink->local;
    enum err e = hops_event(f->outgoing ? f->outgoing : f->event, f->hops, sink->local, &f->copy);
    if (e == OK)
        return true;
    if (e == ERR_NOMEM) {
        flight_wait_for_memory(f);
    } else if (e == ERR_DENIED) {
        count_add(&counters_in(f)->loops, 1);
        refuse(f, e, SLICE("the event has spent its last hop from channel to channel (knativebrokerttl)"), "loop");
    } else {
        refuse(f, e, SLICE("no room in the event for the count of its hops"), "not-retryable");
    }
    return false;
}

void flight_sent(struct flight *f)
{
    assert(f->activity == ACTIVITY_NONE && f->placed);
    f->sent_ns = loop_now_ns(f->dispatcher->loop);
    f->tries++;
    if (is_first(f) && f->subscriber_tries++ == 0)
        f->first_ns = f->sent_ns;
    count_add(&counters_in(f)->attempts, 1);
    if (f->tries > 1)
        count_add(&counters_in(f)->retries, 1);
    f->activity = ACTIVITY_SENDING;
}

static void send_to(struct flight *f, struct sink *sink)
{
    const struct terms *t = f->terms;
    if (!flight_prepare(f, sink))
        return;
    bool to_subscriber = f->phase == PHASE_SUBSCRIBER;
    struct sink_request request = {.event = f->copy       ? f->copy
                                            : f->outgoing ? f->outgoing
                                                          : f->event,
                                   .cause = f->phase == PHASE_REPLY && f->outgoing ? f->event : NULL,
                                   .want_reply = to_subscriber,
                                   .format = to_subscriber ? t->spec.delivery.format : -1,
                                   .timeout_ns = t->spec.delivery.timeout_ns,
                                   .namespace_name = t->namespace_name};
    flight_sent(f);
    f->call.done = on_answer;
    enum err e = sink_send(sink, &f->call, &request);
    if (e == OK)
        return;
    struct sink_answer refused = {.err = e, .detail = slice_str(err_name(e)), .url = sink->url};
    flight_answered(f, &refused);
}

static void send_dead_letter(struct flight *f)
{
    struct sink *sink = f->terms->spec.dead_letter;
    if (!sink) {
        enter(f, PHASE_PARK, NULL);
        return;
    }
    if (!f->outgoing) {
        enum err e = deadletter_event(f->event, f->failure, &f->outgoing);
        if (e == ERR_NOMEM) {
            flight_wait_for_memory(f);
            return;
        }
        if (e != OK) { /* no room for three more attributes: the parked form needs none */
            enter(f, PHASE_PARK, NULL);
            return;
        }
    }
    send_to(f, sink);
}

static void go(struct flight *f)
{
    switch (f->phase) {
    case PHASE_SUBSCRIBER:
        send_to(f, f->terms->spec.subscriber);
        break;
    case PHASE_REPLY:
        if (f->terms->spec.reply) {
            send_to(f, f->terms->spec.reply);
        } else {
            assert(f->outgoing);
            count_add(&counters_in(f)->replies_ignored, 1);
            flight_end(f, DISPATCH_DELIVERED);
        }
        break;
    case PHASE_DEAD_LETTER:
        send_dead_letter(f);
        break;
    case PHASE_PARK:
        flight_park(f);
        break;
    }
}

/* ---- before ---- */

void flight_renew(struct flight *f)
{
    if (f->terms == f->stream->terms)
        return;
    terms_unref(f->terms);
    f->terms = terms_ref(f->stream->terms);
    if (!is_first(f))
        return;
    enum phase phase = f->terms->spec.subscriber ? PHASE_SUBSCRIBER : PHASE_REPLY;
    if (phase != f->phase) { /* there is no subscriber, or an update has turned that round */
        f->phase = phase;
        f->tries = 0;
    }
}

bool flight_worth_sending(struct flight *f)
{
    if (!f->injection && flight_expired(f)) {
        flight_end(f, DISPATCH_EXPIRED);
        return false;
    }
    if (too_late(f, 0)) {
        refuse(f, ERR_TIMEOUT, SLICE("the deadline had passed before an attempt could begin"), "deadline");
        return false;
    }
    return true;
}

void flight_attempt(struct flight *f)
{
    assert(f->stream && f->activity == ACTIVITY_NONE && f->placed);
    flight_renew(f);
    if (!is_first(f)) {
        go(f);
    } else if (!flight_worth_sending(f)) {
        return;
    } else if (f->phase == PHASE_SUBSCRIBER && f->terms->spec.batch_max > 1) {
        batch_join(f);
    } else if (!list_empty(&f->stream->rated) || !rate_take(f->stream)) {
        rate_wait(f);
    } else {
        go(f);
    }
}

void flight_attempt_rated(struct flight *f)
{
    assert(f->activity == ACTIVITY_NONE && f->placed);
    flight_renew(f);
    if (!flight_worth_sending(f))
        return;
    if (!rate_take(f->stream))
        assert(NULL == "the caller has looked whether there is a token");
    go(f);
}
