/* SPDX-License-Identifier: Apache-2.0
 *
 * Append and publish, on the loop of the append: an event waits in a line of its channel's outlet there, goes out with
 * others in a batch, and ends with the batch's answer.
 *
 * Events of one key have one line, and a line one publish under way (P2); those without a key take the first line that
 * is free. A line sends at the end of the turn what came in it, and while it waits for an answer the next batch grows:
 * nothing waits for a timer.
 *
 * Bounds: bytes of events under way, of the whole bus (`buffer`). A service that is away is not queued for: after a
 * publish that failed one append at a time goes out until one succeeds, and the others are refused at once; so they are
 * for as long as the service asked to be left alone.
 */
#include "pubsub_subscription.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "siphash.h"

#define EVENT_OVERHEAD 256       /* what is held of an append beside its event, roughly: counted in `buffer` */
#define SCRATCH_KEPT (64u << 10) /* bytes of a scratch that stay for the next batch */

/* ---- taken ---- */

static enum err refused(struct pub_bus *k, const struct bus_channel *c, const struct pub_outlet *o)
{
    if (desk_closed(&k->desk))
        return ERR_CLOSED;
    if (atomic_load_explicit(&c->abroad.state, memory_order_acquire) != ABROAD_READY || atomic_load(&c->abroad.suspect))
        return ERR_UNAVAILABLE;
    if (o->stalled && o->under_way > 0)
        return ERR_UNAVAILABLE;
    if (o->wait_until_ns > loop_now_ns(o->loop->loop))
        return ERR_UNAVAILABLE;
    return OK;
}

static struct slice key_of(const struct bus_channel *c, const struct ce_event *event)
{
    if (!c->settings.ordered)
        return (struct slice){0};
    return c->settings.one_part ? SLICE("leat") : ce_pubsub_ordering_key(event);
}

static struct pub_line *line_of(struct pub_outlet *o, struct slice key)
{
    static const uint64_t fixed[2] = {0};
    struct pub_line *best = &o->lines[0];
    if (key.len > 0)
        return &o->lines[siphash13(fixed, key) % PUB_LINES];
    for (unsigned i = 0; i < PUB_LINES; i++) {
        struct pub_line *l = &o->lines[i];
        if (l->sent_count == 0 && l->waiting_count < PUB_BATCH_MAX)
            return l;
        if (l->waiting_count < best->waiting_count)
            best = l;
    }
    return best;
}

static void wait_in(struct pub_line *l, struct bus_append *a)
{
    a->letter.next = NULL;
    *l->waiting_end = &a->letter;
    l->waiting_end = &a->letter.next;
    l->waiting_count++;
}

enum err pub_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                    struct loop *loop)
{
    struct pub_bus *k = pub_of(b);
    struct pub_loop *l = pub_loop_find(k, loop);
    struct pub_outlet *o = &c->outlets[l - k->loops];
    assert(l->client && c->bus == k);
    enum err e = refused(k, c, o);
    if (e)
        return e;
    a->charge = ce_event_size(event) + EVENT_OVERHEAD;
    e = desk_count_in(&k->desk, &c->abroad.pending, a->charge);
    if (e)
        return e;
    a->home = loop;
    a->channel = c;
    a->event = ce_event_ref(event);
    a->result = OK;
    o->under_way++;
    wait_in(line_of(o, key_of(c, event)), a);
    loop_defer(loop, &o->flush);
    return OK;
}

/* ---- a batch ---- */

static struct bus_append *append_at(struct letter *m)
{
    return container_of(m, struct bus_append, letter);
}

/* The event as a message, its attributes behind those of the batch so far. */
static enum err write_one(struct pub_loop *l, struct bus_channel *c, const struct ce_event *event, size_t index,
                          size_t *attributes)
{
    struct ce_pubsub_attribute room[CE_PUBSUB_ATTRIBUTES_MAX];
    struct ce_pubsub_written w;
    enum ce_mode mode = atomic_load(&c->structured) ? CE_MODE_STRUCTURED : CE_MODE_BINARY;
    enum err e = ce_pubsub_encode(event, mode, true, &l->scratch[index], room, &w);
    if (e)
        return e;
    size_t n = w.message.attribute_count;
    if (*attributes + n > l->attribute_room) {
        size_t grown = (*attributes + n) * 2;
        struct ce_pubsub_attribute *more = realloc(l->attributes, grown * sizeof *more);
        if (!more)
            return ERR_NOMEM;
        l->attributes = more;
        l->attribute_room = grown;
    }
    memcpy(&l->attributes[*attributes], room, n * sizeof room[0]);
    w.message.ordering_key = key_of(c, event);
    l->messages[index] = w.message;
    *attributes += n;
    return OK;
}

/* The texts lie in the events and scratches; the array of attributes may have moved while it grew. */
static void place_attributes(struct pub_loop *l, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        l->messages[i].attributes = &l->attributes[at];
        at += l->messages[i].attribute_count;
    }
}

static void scratch_clear(struct pub_loop *l, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (buf_slice(&l->scratch[i]).len <= SCRATCH_KEPT)
            continue;
        buf_fini(&l->scratch[i]);
        buf_init(&l->scratch[i], 2 * CE_EVENT_BYTES_MAX);
    }
}

static struct bus_append *pop(struct pub_line *l)
{
    struct bus_append *a = append_at(l->waiting);
    l->waiting = a->letter.next;
    if (!l->waiting)
        l->waiting_end = &l->waiting;
    l->waiting_count--;
    a->letter.next = NULL;
    return a;
}

static void send_in(struct pub_line *l, struct bus_append *a)
{
    *l->sent_end = &a->letter;
    l->sent_end = &a->letter.next;
    l->sent_count++;
}

static void end(struct pub_outlet *o, struct bus_append *a, enum err e, uint64_t *charge)
{
    struct bus_channel *c = o->channel;
    if (!e) {
        atomic_fetch_add_explicit(&c->abroad.appended, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->abroad.appended_bytes, ce_event_size(a->event), memory_order_relaxed);
        if (atomic_load(&c->abroad.subscription_count) == 0)
            atomic_fetch_add_explicit(&c->abroad.dropped, 1, memory_order_relaxed);
    }
    *charge += a->charge;
    ce_event_unref(a->event);
    o->under_way--;
    a->done(a, e);
}

/* As much of what waits as goes in one publish; what cannot be written at all ends here. How many are to be sent. */
static size_t gather(struct pub_line *l, uint64_t *charge, uint64_t *ended)
{
    struct pub_outlet *o = l->outlet;
    size_t bytes = 0, attributes = 0, most = l->alone > 0 ? 1 : PUB_BATCH_MAX;
    while (l->waiting && l->sent_count < most) {
        struct bus_append *a = append_at(l->waiting);
        size_t index = l->sent_count, before = attributes;
        enum err e = write_one(o->loop, o->channel, a->event, index, &attributes);
        size_t size = 0;
        if (!e) {
            o->loop->messages[index].attributes = &o->loop->attributes[before];
            size = pubsub_message_bytes(&o->loop->messages[index]);
        }
        if (!e && index > 0 && bytes + size > PUBSUB_PUBLISH_BYTES_MAX)
            break;
        a = pop(l);
        if (e) {
            end(o, a, e, charge);
            ++*ended;
            continue;
        }
        bytes += size;
        send_in(l, a);
    }
    return l->sent_count;
}

static void published(void *arg, const struct pubsub_answer *a);

/* Ends what was sent; what a done appends waits. */
static void end_sent(struct pub_line *l, enum err e, uint64_t *charge, uint64_t *ended)
{
    struct letter *m = l->sent;
    l->sent = NULL;
    l->sent_end = &l->sent;
    *ended += l->sent_count;
    l->sent_count = 0;
    while (m) {
        struct bus_append *a = append_at(m);
        m = m->next;
        end(l->outlet, a, e, charge);
    }
}

/* The channel is held by the caller: it may end appends. */
static void send_line(struct pub_line *l, uint64_t *charge, uint64_t *ended)
{
    struct pub_outlet *o = l->outlet;
    struct bus_channel *c = o->channel;
    while (l->waiting && l->sent_count == 0) {
        size_t n = gather(l, charge, ended);
        if (n == 0)
            return;
        place_attributes(o->loop, n);
        l->epoch = atomic_load(&c->epoch);
        enum err e = atomic_load(&c->abroad.suspect)
                         ? ERR_UNAVAILABLE
                         : pubsub_publish(o->loop->client, c->settings.topic, o->loop->messages, n, published, l, NULL);
        scratch_clear(o->loop, n);
        l->alone -= l->alone > 0;
        if (e)
            end_sent(l, e, charge, ended);
    }
}

/* ---- its answer ---- */

/* A request that is refused for one message is sent once more, each message by itself. */
static bool take_apart(struct pub_line *l, const struct pubsub_answer *a)
{
    if (l->sent_count < 2 || (a->err != ERR_INVALID && a->err != ERR_TOO_LARGE))
        return false;
    l->alone += l->sent_count;
    *l->sent_end = l->waiting;
    if (l->waiting)
        l->sent_end = l->waiting_end;
    l->waiting_count += l->sent_count;
    l->waiting = l->sent;
    l->waiting_end = l->sent_end;
    l->sent = NULL;
    l->sent_end = &l->sent;
    l->sent_count = 0;
    return true;
}

/* How the appends of a publish end. */
static enum err verdict(struct pub_line *l, const struct pubsub_answer *a)
{
    struct pub_outlet *o = l->outlet;
    struct bus_channel *c = o->channel;
    bool away = pub_heard(c->bus, a);
    o->stalled = a->err && a->err != ERR_TOO_LARGE && a->err != ERR_INVALID && a->err != ERR_NOTFOUND;
    o->wait_until_ns = a->retry_after_ns ? loop_now_ns(o->loop->loop) + a->retry_after_ns : 0;
    if (!a->err) { /* P1 */
        bool whole = !atomic_load(&c->abroad.suspect) && atomic_load(&c->epoch) == l->epoch;
        return whole ? OK : ERR_UNAVAILABLE;
    }
    if (a->err == ERR_NOTFOUND) {
        pub_channel_suspect(c);
        return ERR_UNAVAILABLE;
    }
    if (!away)
        desk_notice(&c->bus->desk, 1, "PublishRefused", "channel %s: %s", c->abroad.name,
                    a->text ? a->text : err_name(a->err));
    return a->err == ERR_TOO_LARGE || a->err == ERR_FULL || a->err == ERR_NOMEM ? a->err : ERR_UNAVAILABLE;
}

/* What waited behind a publish that failed is told so, rather than kept until its own has failed. */
static void end_waiting(struct pub_line *l, uint64_t *charge, uint64_t *ended)
{
    for (size_t n = l->waiting_count; n > 0; n--) { /* not what a done appends */
        end(l->outlet, pop(l), ERR_UNAVAILABLE, charge);
        ++*ended;
    }
}

static void published(void *arg, const struct pubsub_answer *a)
{
    struct pub_line *l = arg;
    struct bus_channel *c = l->outlet->channel;
    uint64_t charge = 0, ended = 0;
    desk_hold(&c->bus->desk, &c->abroad.pending); /* whatever ends */
    if (!take_apart(l, a)) {
        end_sent(l, verdict(l, a), &charge, &ended);
        if (l->outlet->stalled)
            end_waiting(l, &charge, &ended);
    }
    send_line(l, &charge, &ended);
    desk_count_out(&c->bus->desk, &c->abroad.pending, charge, ended + 1);
}

static void flush(struct loop_task *t)
{
    struct pub_outlet *o = container_of(t, struct pub_outlet, flush);
    struct bus_channel *c = o->channel;
    uint64_t charge = 0, ended = 0;
    desk_hold(&c->bus->desk, &c->abroad.pending);
    for (unsigned i = 0; i < PUB_LINES; i++)
        send_line(&o->lines[i], &charge, &ended);
    desk_count_out(&c->bus->desk, &c->abroad.pending, charge, ended + 1);
}

/* ---- outlets ---- */

void pub_outlets_init(struct bus_channel *c)
{
    for (size_t i = 0; i < c->bus->desk.env.loop_count; i++) {
        struct pub_outlet *o = &c->outlets[i];
        o->channel = c;
        o->loop = &c->bus->loops[i];
        loop_task_init(&o->flush, flush);
        for (unsigned n = 0; n < PUB_LINES; n++) {
            struct pub_line *l = &o->lines[n];
            l->outlet = o;
            l->waiting_end = &l->waiting;
            l->sent_end = &l->sent;
        }
    }
}

static void forget(struct letter *m)
{
    while (m) {
        struct bus_append *a = append_at(m);
        m = m->next;
        ce_event_unref(a->event);
    }
}

void pub_outlets_fini(struct bus_channel *c)
{
    for (size_t i = 0; i < c->bus->desk.env.loop_count; i++) {
        struct pub_outlet *o = &c->outlets[i];
        loop_task_cancel(&o->flush);
        for (unsigned n = 0; n < PUB_LINES; n++) {
            forget(o->lines[n].waiting);
            forget(o->lines[n].sent);
        }
    }
}
