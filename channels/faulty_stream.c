/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of the faulty bus: deliveries are repeated and revoked. All on the stream's loop.
 *
 * One inner delivery is a `held`; what the subscriber sees of it are one or two `copies`, each with its own token and
 * its own unit of credit. The inner token is settled when no copy is left: acknowledged as soon as one copy was (copies
 * that nobody has seen yet are forgotten then). A copy that is given back stays here and is delivered again, before
 * what came after it.
 *
 *   allowed        deliveries that the subscriber has allowed and not had
 *   inner_allowed  deliveries that the inner bus may still make to us
 *   ready_count    copies that wait for `allowed`
 *
 * Invariant: after balance(), ready_count + inner_allowed >= allowed, so credit is never lost; and deliveries never
 * exceed the credit given, since each takes one off `allowed`.
 */
#include "faulty.h"

#include <assert.h>
#include <stdlib.h>

#define REVOKE_NS (2 * NS_PER_MS) /* a delivery to be revoked is revoked within this time */

struct held {
    struct list link; /* in its stream */
    struct bus_token inner;
    const struct ce_event *event; /* the inner bus's, until the inner token is settled */
    uint64_t number;              /* of its coming: ready is sorted by it */
    unsigned attempt, copies;
    bool acknowledged;
};

struct copy {
    struct list link; /* in ready or open */
    struct bus_stream *stream;
    struct held *held;
    uint64_t serial;
    struct loop_timer revoke;
};

struct bus_stream {
    struct list link; /* in its loop */
    struct faulty_loop *at;
    struct bus_stream *inner;
    struct bus_stream_callbacks callbacks;
    void *arg;
    uint64_t allowed, inner_allowed, ready_count, serial, arrivals;
    struct list held, ready, open;
    struct loop_timer flush; /* of the next turn, so that giving back for ever does not hold the loop */
    bool *gone;              /* set by detach while we are inside a callback */
};

static struct bus *inner_bus(const struct bus_stream *st)
{
    return st->at->bus->inner;
}

static void balance(struct bus_stream *st)
{
    uint64_t have = st->ready_count + st->inner_allowed;
    if (st->allowed <= have)
        return;
    uint64_t more = st->allowed - have;
    unsigned n = more > 1u << 20 ? 1u << 20 : (unsigned)more;
    st->inner_allowed += n;
    inner_bus(st)->ops->credit(inner_bus(st), st->inner, n);
}

static void held_end(struct bus_stream *st, struct held *h, enum bus_settle how)
{
    assert(h->copies == 0);
    struct bus_token token = h->inner;
    list_remove(&h->link);
    free(h);
    inner_bus(st)->ops->settle(inner_bus(st), st->inner, token, how);
}

static void copy_free(struct copy *c)
{
    loop_timer_stop(c->stream->at->loop, &c->revoke);
    list_remove(&c->link);
    c->held->copies--;
    free(c);
}

static void flush_later(struct bus_stream *st)
{
    loop_timer_start(st->at->loop, &st->flush, 0);
}

static bool came_before(const struct list *l, const struct held *h)
{
    return container_of(l, struct copy, link)->held->number < h->number;
}

/* Back to the subscriber later, and by ourselves: given back to the inner bus it would come behind what we have ready.
 */
static void copy_release(struct copy *c)
{
    struct bus_stream *st = c->stream;
    loop_timer_stop(st->at->loop, &c->revoke);
    list_remove(&c->link);
    struct list *at = &st->ready;
    while (at->next != &st->ready && came_before(at->next, c->held))
        at = at->next;
    list_insert_after(at, &c->link);
    st->ready_count++;
    flush_later(st);
}

static void revoke_due(struct loop_timer *t)
{
    struct copy *c = container_of(t, struct copy, revoke);
    struct bus_stream *st = c->stream;
    if (st->at->stopped)
        return;
    bool gone = false;
    st->gone = &gone;
    struct bus_token token = {.a = (uintptr_t)c, .b = c->serial};
    st->callbacks.revoked(st->arg, st, token);
    if (gone)
        return;
    st->gone = NULL;
    copy_release(c);
}

static void deliver_copy(struct bus_stream *st, struct copy *c)
{
    struct faulty_loop *l = st->at;
    list_remove(&c->link);
    list_push_back(&st->open, &c->link);
    st->ready_count--;
    st->allowed--;
    c->serial = ++st->serial;
    if (faulty_chance(l, l->bus->revoke))
        loop_timer_start(l->loop, &c->revoke, prng_below(&l->prng, REVOKE_NS));
    struct bus_token token = {.a = (uintptr_t)c, .b = c->serial};
    st->callbacks.deliver(st->arg, st, c->held->event, token, ++c->held->attempt);
}

/* What is ready now, as far as the credit goes; what the subscriber gives back meanwhile waits for the next time. */
static void flush(struct bus_stream *st)
{
    if (st->gone)
        return;
    bool gone = false;
    st->gone = &gone;
    for (uint64_t n = st->ready_count; n > 0 && st->allowed > 0 && st->ready_count > 0 && !st->at->stopped; n--) {
        deliver_copy(st, container_of(st->ready.next, struct copy, link));
        if (gone)
            return;
    }
    st->gone = NULL;
    balance(st);
}

static void flush_due(struct loop_timer *t)
{
    flush(container_of(t, struct bus_stream, flush));
}

static enum err copy_new(struct bus_stream *st, struct held *h)
{
    struct copy *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->stream = st;
    c->held = h;
    loop_timer_init(&c->revoke, revoke_due);
    list_push_back(&st->ready, &c->link);
    st->ready_count++;
    h->copies++;
    return OK;
}

static void inner_deliver(void *arg, struct bus_stream *inner, const struct ce_event *event, struct bus_token token,
                          unsigned attempt)
{
    struct bus_stream *st = arg;
    st->inner_allowed--;
    struct held *h = calloc(1, sizeof *h);
    if (!h) {
        inner_bus(st)->ops->settle(inner_bus(st), inner, token, BUS_RELEASE);
        balance(st);
        return;
    }
    *h = (struct held){.inner = token, .event = event, .attempt = attempt - 1};
    h->number = ++st->arrivals;
    list_push_back(&st->held, &h->link);
    if (copy_new(st, h)) {
        held_end(st, h, BUS_RELEASE);
        balance(st);
        return;
    }
    if (faulty_chance(st->at, st->at->bus->duplicate) && copy_new(st, h))
        assert(h->copies == 1); /* no memory for a duplicate: none, then */
    flush(st);
}

static struct held *held_find(struct bus_stream *st, struct bus_token token)
{
    list_each(l, tmp, &st->held) {
        struct held *h = container_of(l, struct held, link);
        if (h->inner.a == token.a && h->inner.b == token.b)
            return h;
    }
    return NULL;
}

/* The inner bus takes an event back: all copies of it go. */
static void inner_revoked(void *arg, struct bus_stream *inner, struct bus_token token)
{
    (void)inner;
    struct bus_stream *st = arg;
    struct held *h = held_find(st, token);
    assert(h);
    bool gone = false;
    list_each(l, tmp, &st->ready) {
        struct copy *c = container_of(l, struct copy, link);
        if (c->held == h) {
            st->ready_count--;
            copy_free(c);
        }
    }
    while (h->copies) {
        struct copy *c = NULL;
        list_each(l, tmp, &st->open) {
            if (container_of(l, struct copy, link)->held == h)
                c = container_of(l, struct copy, link);
        }
        assert(c);
        struct bus_token outer = {.a = (uintptr_t)c, .b = c->serial};
        st->gone = &gone;
        st->callbacks.revoked(st->arg, st, outer);
        if (gone)
            return;
        st->gone = NULL;
        copy_free(c);
    }
    list_remove(&h->link);
    free(h);
    balance(st);
}

enum err faulty_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                       const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    static const struct bus_stream_callbacks ours = {.deliver = inner_deliver, .revoked = inner_revoked};
    struct faulty_bus *f = faulty_of(b);
    struct faulty_loop *l = faulty_loop_find(f, loop);
    if (l->stopped)
        return ERR_CLOSED;
    struct bus_stream *st = calloc(1, sizeof *st);
    if (!st)
        return ERR_NOMEM;
    st->at = l;
    st->callbacks = *callbacks;
    st->arg = arg;
    list_init(&st->held);
    list_init(&st->ready);
    list_init(&st->open);
    loop_timer_init(&st->flush, flush_due);
    enum err e = f->inner->ops->attach(f->inner, s, loop, &ours, st, &st->inner);
    if (e) {
        free(st);
        return e;
    }
    list_push_back(&l->streams, &st->link);
    *out = st;
    return OK;
}

static void copies_free(struct list *copies)
{
    while (!list_empty(copies))
        copy_free(container_of(copies->next, struct copy, link));
}

static void stream_clear(struct bus_stream *st)
{
    if (st->gone)
        *st->gone = true;
    loop_timer_stop(st->at->loop, &st->flush);
    copies_free(&st->ready);
    copies_free(&st->open);
    list_remove(&st->link);
}

static void stream_free(struct bus_stream *st)
{
    while (!list_empty(&st->held)) {
        struct held *h = container_of(st->held.next, struct held, link);
        list_remove(&h->link);
        free(h);
    }
    free(st);
}

void faulty_detach(struct bus *b, struct bus_stream *st, struct bus_op *op)
{
    struct bus *inner = faulty_of(b)->inner;
    stream_clear(st);
    list_each(l, tmp, &st->held) {
        struct held *h = container_of(l, struct held, link);
        if (h->acknowledged)
            held_end(st, h, BUS_ACK);
    }
    inner->ops->detach(inner, st->inner, op);
    stream_free(st);
}

void faulty_credit(struct bus *b, struct bus_stream *st, unsigned n)
{
    (void)b;
    st->allowed += n;
    balance(st);
    if (st->ready_count)
        flush_later(st);
}

void faulty_settle(struct bus *b, struct bus_stream *st, struct bus_token token, enum bus_settle how)
{
    (void)b;
    struct copy *c = (struct copy *)(uintptr_t)token.a;
    assert(c->stream == st && c->serial == token.b);
    c->serial = 0;
    if (how == BUS_RELEASE) {
        copy_release(c);
        return;
    }
    struct held *h = c->held;
    h->acknowledged = true;
    copy_free(c);
    list_each(l, tmp, &st->ready) {
        struct copy *other = container_of(l, struct copy, link);
        if (other->held == h) {
            st->ready_count--;
            copy_free(other);
        }
    }
    if (h->copies == 0)
        held_end(st, h, BUS_ACK);
    balance(st);
}

void faulty_streams_free(struct faulty_loop *l)
{
    while (!list_empty(&l->streams)) {
        struct bus_stream *st = container_of(l->streams.next, struct bus_stream, link);
        stream_clear(st);
        stream_free(st);
    }
}
