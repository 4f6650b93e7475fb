/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: several events of a stream in one request to the subscriber. On the dispatcher's loop.
 *
 *     flights whose attempt is due --> gathering --batch_max of them, or batch_wait_ns old--> one sink_send
 *                                          ^                                                      |
 *                                          +-- after its own wait <-- failed, each for itself <---+--> delivered
 *
 * A batch takes one token of the rate and is bounded in bytes; one event alone goes as a batch as well, so that the
 * service sees one format. An answer counts for each of its events as if it were its own: each has its own tries, waits
 * and dead letter. An event that is taken back while its batch is under way leaves the request running for the others.
 *
 * Order. ORDER_KEY: of a key one event is in hand, so a batch has at most one. ORDER_STRICT: a batch goes out only when
 * all of the stream's events that have a place are gathered, in the order in which they came; so nothing overtakes an
 * event that waits for its retry, and batches follow each other.
 */
#include <assert.h>
#include <stdlib.h>

#include "gates.h"

struct batch {
    struct sink_call call;
    struct terms *terms;
    struct list flights; /* by their queue */
    size_t count;
    bool answered;
};

/* ---- gathering ---- */

static uint64_t age_of_first(const struct dispatch_stream *s)
{
    const struct flight *first = container_of(s->gathering.next, struct flight, queue);
    return loop_now_ns(s->dispatcher->loop) - first->gathered_ns;
}

static bool is_due(const struct dispatch_stream *s)
{
    const struct dispatch_spec *spec = &s->terms->spec;
    if (s->gathered == 0 || (spec->order == ORDER_STRICT && s->gathered < s->placed))
        return false;
    return s->gathered >= spec->batch_max || age_of_first(s) >= spec->batch_wait_ns;
}

static void watch_first(struct dispatch_stream *s)
{
    uint64_t wait = s->terms->spec.batch_wait_ns, age = age_of_first(s);
    if (age < wait)
        loop_timer_start(s->dispatcher->loop, &s->gather_timer, wait - age);
}

void batch_join(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    assert(f->activity == ACTIVITY_NONE && f->placed);
    f->activity = ACTIVITY_GATHERING;
    f->gathered_ns = loop_now_ns(s->dispatcher->loop);
    struct list *at = s->gathering.prev;
    if (s->terms->spec.order == ORDER_STRICT)
        while (at != &s->gathering && container_of(at, struct flight, queue)->sequence > f->sequence)
            at = at->prev;
    list_insert_after(at, &f->queue);
    s->gathered++;
    if (s->stopping)
        flight_abandon(f);
    else if (is_due(s))
        order_advance(s);
    else if (!loop_timer_armed(&s->gather_timer))
        watch_first(s);
}

static void on_gathered(struct loop_timer *t)
{
    batch_run(container_of(t, struct dispatch_stream, gather_timer));
}

/* ---- under way ---- */

static void batch_free(struct batch *b)
{
    assert(list_empty(&b->flights));
    terms_unref(b->terms);
    free(b);
}

static void end_all(struct batch *b, const struct sink_answer *answer)
{
    b->answered = true;
    while (!list_empty(&b->flights)) {
        struct flight *f = container_of(b->flights.next, struct flight, queue);
        list_remove(&f->queue);
        f->batch = NULL;
        flight_answered(f, answer);
    }
    batch_free(b);
}

static void on_batch_answer(struct sink_call *call, const struct sink_answer *answer)
{
    struct sink_answer whole = *answer;
    if (!whole.url)
        whole.url = call->sink->url;
    end_all(container_of(call, struct batch, call), &whole);
}

void batch_cancel(struct flight *f)
{
    struct batch *b = f->batch;
    assert(b && f->activity == ACTIVITY_SENDING);
    list_remove(&f->queue);
    f->batch = NULL;
    if (b->answered || !list_empty(&b->flights))
        return;
    sink_cancel(&b->call);
    batch_free(b);
}

/* ---- sending ---- */

static const struct ce_event *outgoing_of(const struct flight *f)
{
    return f->copy ? f->copy : f->event;
}

/* Moves those that go together from gathering into the batch. */
static void collect(struct dispatch_stream *s, struct batch *b)
{
    size_t bytes = 0;
    while (s->gathered > 0 && b->count < s->terms->spec.batch_max) {
        struct flight *f = container_of(s->gathering.next, struct flight, queue);
        size_t size = ce_event_size(f->event);
        if (b->count > 0 && bytes + size > BATCH_BYTES_MAX)
            return;
        flight_unqueue(f);
        flight_renew(f);
        if (!flight_worth_sending(f) || !flight_prepare(f, s->terms->spec.subscriber))
            continue;
        bytes += size;
        f->batch = b;
        list_push_back(&b->flights, &f->queue);
        s->terms->batch[b->count++] = outgoing_of(f);
    }
}

static void send_batch(struct dispatch_stream *s, struct batch *b)
{
    const struct terms *t = b->terms;
    struct sink_request request = {.event = t->batch[0],
                                   .batch = t->batch,
                                   .batch_count = b->count,
                                   .format = -1,
                                   .timeout_ns = t->spec.delivery.timeout_ns,
                                   .namespace_name = t->namespace_name};
    list_each(l, tmp, &b->flights)
        flight_sent(container_of(l, struct flight, queue));
    count_add(&t->spec.counters->batches, 1);
    if (!rate_take(s))
        assert(NULL == "the caller has looked whether there is a token");
    b->call.done = on_batch_answer;
    enum err e = sink_send(t->spec.subscriber, &b->call, &request);
    if (e == OK)
        return;
    struct sink_answer refused = {.err = e, .detail = slice_str(err_name(e)), .url = t->spec.subscriber->url};
    end_all(b, &refused);
}

void batch_run(struct dispatch_stream *s)
{
    while (!s->stopping && is_due(s)) {
        if (!rate_ready(s)) {
            rate_arm(s);
            return;
        }
        struct batch *b = malloc(sizeof *b);
        if (!b) {
            loop_timer_start(s->dispatcher->loop, &s->gather_timer, STARVED_WAIT_NS);
            return;
        }
        *b = (struct batch){.terms = terms_ref(s->terms)};
        list_init(&b->flights);
        collect(s, b);
        if (b->count > 0)
            send_batch(s, b);
        else
            batch_free(b);
    }
    if (s->gathered > 0)
        watch_first(s);
}

void batch_dissolve(struct dispatch_stream *s)
{
    struct list gathering;
    list_init(&gathering);
    list_splice_back(&gathering, &s->gathering);
    while (!list_empty(&gathering)) {
        struct flight *f = container_of(gathering.next, struct flight, queue);
        flight_unqueue(f);
        flight_attempt(f);
    }
}

void batch_start(struct dispatch_stream *s)
{
    list_init(&s->gathering);
    loop_timer_init(&s->gather_timer, on_gathered);
}

void batch_stop(struct dispatch_stream *s)
{
    assert(s->gathered == 0);
    loop_timer_stop(s->dispatcher->loop, &s->gather_timer);
}
