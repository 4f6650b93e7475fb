/* SPDX-License-Identifier: Apache-2.0
 *
 * Append, on its loop: the event as a record, handed to the producer. Its report comes to D, and with all others of
 * that moment as one letter to the loop that appended (K1: done follows the report). Data are not copied: the producer
 * reads them in the event, which is referenced until the report.
 *
 * Bounds: bytes of events under way, of the whole bus (`buffer`); the largest record that the topic takes. A cluster
 * that does not answer is not queued for: while no broker is connected, appends are refused at once; and when one was
 * not acknowledged in time though a broker seemed to be there, one at a time goes out to its channel until one is: the
 * others may have other brokers.
 */
#include "kafka_channel.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SPARE_HEADERS 8     /* beside the attributes; more grow */
#define RECORD_OVERHEAD 128 /* at most: a batch's head, a record's lengths */
#define HEADER_OVERHEAD 8   /* at most: two lengths */
#define EVENT_OVERHEAD 256  /* what the library holds of a record beside the event, roughly: counted in `buffer` */

/* ---- the record ---- */

struct record {
    rd_kafka_headers_t *headers; /* owned until it is produced */
    struct slice key, value;     /* borrowed from the event, or from the loop's scratch */
    bool copy;                   /* the latter: it does not last */
    size_t bytes;                /* at most, as the broker counts */
};

static enum err header(void *arg, struct slice name, struct slice value)
{
    struct record *r = arg;
    r->bytes += name.len + value.len + HEADER_OVERHEAD;
    rd_kafka_resp_err_t err =
        rd_kafka_header_add(r->headers, name.ptr, (ssize_t)name.len, value.ptr, (ssize_t)value.len);
    return err ? ERR_NOMEM : OK;
}

static enum err record_make(struct record *r, const struct ce_event *event, const struct kafka_channel_settings *s,
                            struct buf *scratch)
{
    *r = (struct record){.headers = rd_kafka_headers_new(ce_event_attribute_count(event) + SPARE_HEADERS),
                         .key = ce_kafka_key(event),
                         .bytes = RECORD_OVERHEAD};
    if (!r->headers)
        return ERR_NOMEM;
    enum err e = ce_kafka_encode(event, s->mode, !s->plain, scratch, header, r, &r->value);
    r->copy = r->value.len && r->value.ptr == scratch->ptr;
    r->bytes += r->key.len + r->value.len;
    return e;
}

static bool topic_changed(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
}

/* ---- refusals ---- */

static enum err refused(struct kafka_bus *k, const struct bus_channel *c)
{
    if (atomic_load_explicit(&k->desk.closed, memory_order_relaxed))
        return ERR_CLOSED;
    if (atomic_load_explicit(&c->state, memory_order_acquire) != KAFKA_CHANNEL_READY)
        return ERR_UNAVAILABLE;
    if (c->topics.count > 1)
        return ERR_UNSUPPORTED; /* which one? */
    if (!kafka_client_up(k->client, NULL, 0))
        return ERR_UNAVAILABLE;
    if (atomic_load_explicit(&c->stalled, memory_order_relaxed) && atomic_load(&c->pending) > 0)
        return ERR_UNAVAILABLE;
    return OK;
}

static void count_out(struct bus_channel *c, uint64_t charge)
{
    desk_count_out(&c->bus->desk, &c->pending, charge, 1);
}

/* ---- out ---- */

/* The headers are the producer's when it takes the record. */
static rd_kafka_resp_err_t hand_over(struct bus_channel *c, struct record *r, struct bus_append *a)
{
    rd_kafka_vu_t fields[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = c->list[0].rkt},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = r->copy ? RD_KAFKA_MSG_F_COPY : 0},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)r->value.ptr, r->value.len}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)r->key.ptr, r->key.len}},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = a},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = r->headers},
    };
    rd_kafka_error_t *refusal = rd_kafka_produceva(c->producer->rk, fields, sizeof fields / sizeof *fields);
    rd_kafka_resp_err_t err = refusal ? rd_kafka_error_code(refusal) : RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_error_destroy(refusal);
    if (!err)
        r->headers = NULL;
    return err;
}

static enum err produce(struct kafka_bus *k, struct bus_channel *c, struct record *r, struct bus_append *a)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__FATAL;
    pthread_rwlock_rdlock(&k->producers.lock);
    if (c->producer && !atomic_load_explicit(&c->producer->failed, memory_order_relaxed))
        err = hand_over(c, r, a);
    pthread_rwlock_unlock(&k->producers.lock);
    enum err e = err ? kafka_client_err(err) : OK;
    if (err == RD_KAFKA_RESP_ERR__FATAL || e == ERR_DENIED)
        kafka_producers_wake(k); /* D looks, and another takes its place */
    if (topic_changed(err))
        kafka_channel_suspect(c);
    return e == ERR_NOTFOUND || e == ERR_DENIED ? ERR_UNAVAILABLE : e; /* its topic is made again; the right is given */
}

static enum err out(struct kafka_bus *k, struct kafka_loop *l, struct bus_channel *c, const struct ce_event *event,
                    struct record *r, struct bus_append *a)
{
    a->charge = ce_event_size(event) + EVENT_OVERHEAD;
    enum err e = desk_count_in(&k->desk, &c->pending, a->charge);
    if (e)
        return e;
    a->home = l->loop;
    a->channel = c;
    a->owner = l;
    a->event = ce_event_ref(event);
    e = produce(k, c, r, a);
    if (e) {
        ce_event_unref(event);
        count_out(c, a->charge);
    }
    return e;
}

enum err kafka_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                      struct loop *loop)
{
    struct kafka_bus *k = kafka_of(b);
    struct kafka_loop *l = kafka_loop_find(k, loop);
    assert(l->bound && c->bus == k);
    enum err e = refused(k, c);
    if (e)
        return e;
    struct record r;
    e = record_make(&r, event, &atomic_load(&c->rules)->settings, &l->scratch);
    uint64_t most = atomic_load_explicit(&c->record_max, memory_order_relaxed);
    if (!e && most && r.bytes > most)
        e = ERR_TOO_LARGE;
    if (!e)
        e = out(k, l, c, event, &r, a);
    if (r.headers)
        rd_kafka_headers_destroy(r.headers);
    return e;
}

/* ---- back: D ---- */

/* Rights are taken away and given while all goes on; the next append finds out. */
void kafka_append_denied(struct bus_channel *c, int err)
{
    int denied = kafka_client_err(err) == ERR_DENIED ? err : 0;
    if ((err && !denied) || atomic_load_explicit(&c->denied, memory_order_relaxed) == denied)
        return;
    atomic_store(&c->denied, denied);
    kafka_channel_suspect(c);
}

/* The broker's view of what went wrong, beside the answer. */
static void look_at(struct bus_channel *c, rd_kafka_resp_err_t err, struct bus_append *a)
{
    kafka_append_denied(c, err);
    switch (err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        atomic_store(&c->stalled, false);
        break;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
        atomic_store(&c->stalled, true);
        break;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE: {
        uint64_t most = atomic_load(&c->record_max);
        kafka_channel_suspect(c); /* its topic takes less than it did */
        if (most && a->charge < most / 2)
            a->result = ERR_UNAVAILABLE; /* it was its batch */
        break;
    }
    default:
        if (topic_changed(err))
            kafka_channel_suspect(c);
    }
}

void kafka_append_reported(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct bus_append *a = m->_private;
    struct kafka_loop *l = a->owner;
    struct bus_channel *c = a->channel;
    (void)rk, (void)opaque;
    a->result = m->err ? kafka_client_err(m->err) : OK;
    if (a->result == ERR_NOTFOUND || a->result == ERR_FULL || a->result == ERR_CLOSED || a->result == ERR_DENIED)
        a->result = ERR_UNAVAILABLE; /* of the broker, and nothing that the sender does; it may be another time */
    look_at(c, m->err, a);
    if (!m->err) {
        atomic_fetch_add_explicit(&c->appended, 1, memory_order_relaxed);
        kafka_channel_end_raise(c, 0, m->partition, m->offset + 1);
    }
    homeward_ended(&l->homeward, a, a->result);
}

void kafka_append_flush(struct kafka_bus *k)
{
    for (size_t i = 0; i < k->desk.env.loop_count; i++)
        homeward_hand_over(&k->loops[i].homeward, k->loops[i].post);
}

/* ---- and home ---- */

void kafka_append_done(struct kafka_loop *l)
{
    homeward_tell(&l->homeward, count_out);
}
