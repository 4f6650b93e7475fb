/* SPDX-License-Identifier: Apache-2.0
 *
 * read: events of a channel by offset or time, beside live traffic. R reads a part of a page, its loop delivers that
 * and asks for the next, so that a large page holds little memory and no thread for long. Offsets are sequences of the
 * log.
 *
 * A log_read is at one place at a time: with R, in its list, or with the loop.
 */
#include "ce_pack.h"
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

#define PART_EVENTS 64
#define PART_BYTES (1u << 20)

struct read_event {
    const struct ce_event *event; /* a reference */
    uint64_t offset;
    int64_t wall_ns;
};

struct log_read {
    struct list link;
    struct bus_channel *channel; /* pinned */
    struct log_loop *at;
    struct bus_start from;
    uint64_t next, until; /* sequences: from where on, and what had been appended at the call */
    size_t left;
    void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns);
    void *arg;
    struct bus_op *op;
    struct log_reader *reader; /* owned */
    enum err err;
    bool ended;
    size_t count;
    struct read_event events[PART_EVENTS];
};

static struct log_read *of(struct list *link)
{
    return container_of(link, struct log_read, link);
}

void log_read_free(struct list *link)
{
    struct log_read *r = of(link);
    for (size_t i = 0; i < r->count; i++)
        ce_event_unref(r->events[i].event);
    log_reader_free(r->reader);
    log_channel_unpin(r->channel);
    free(r);
}

enum err log_read_begin(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                        void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                        void *arg, struct bus_op *op, struct loop *loop)
{
    struct log_bus *g = log_of(b);
    if (atomic_load(&g->closed))
        return ERR_CLOSED;
    struct log_read *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    r->channel = log_channel_pin(c);
    r->at = log_loop_find(g, loop);
    r->from = *from;
    r->until = log_store_committed(g->store);
    r->left = most;
    r->deliver = deliver;
    r->arg = arg;
    r->op = op;
    log_refill_read(g, &r->link);
    return OK;
}

/* ---- R ---- */

static enum err open_reader(struct log_bus *g, struct log_read *r)
{
    uint32_t number = atomic_load(&r->channel->number);
    r->next = r->from.kind == BUS_START_LATEST   ? r->until + 1
              : r->from.kind == BUS_START_OFFSET ? r->from.offset
              : r->from.kind == BUS_START_TIME   ? log_store_seek_time(g->store, number, r->from.wall_ns)
                                                 : 1;
    return log_reader_new(g->store, number, r->next, &r->reader);
}

static enum err part(struct log_read *r)
{
    size_t bytes = 0;
    struct log_view v;
    assert(r->reader && r->count == 0);
    while (r->left && r->count < PART_EVENTS && bytes < PART_BYTES) {
        enum err e = log_reader_next(r->reader, &v);
        if (e == ERR_PENDING || (!e && v.record.sequence > r->until)) {
            r->ended = true;
            return OK;
        }
        if (e)
            return e;
        if (v.record.kind != LOG_EVENT)
            continue;
        struct read_event *out = &r->events[r->count];
        assert(v.record.sequence >= r->next);
        e = ce_unpack(v.payload, &out->event, NULL);
        if (e == ERR_CORRUPT)
            continue;
        if (e)
            return e;
        out->offset = v.record.sequence;
        out->wall_ns = v.record.wall_ns;
        bytes += v.payload.len;
        r->count++;
        r->left--;
    }
    r->ended = r->left == 0;
    return OK;
}

static void to_loop(struct log_read *r)
{
    struct log_loop *l = r->at;
    pthread_mutex_lock(&l->lock);
    list_push_back(&l->pages, &r->link);
    pthread_mutex_unlock(&l->lock);
    log_loop_post(l);
}

void log_read_page(struct log_bus *g, struct list *link)
{
    struct log_read *r = of(link);
    assert(r->count == 0 && !r->ended);
    r->err = r->reader ? OK : open_reader(g, r);
    if (!r->err)
        r->err = part(r);
    r->ended |= r->err != OK;
    to_loop(r);
}

void log_read_close(struct list *link)
{
    struct log_read *r = of(link);
    assert(r->count == 0 && !r->ended);
    r->err = ERR_CLOSED;
    r->ended = true;
    to_loop(r);
}

/* ---- its loop ---- */

void log_read_arrived(struct list *link)
{
    struct log_read *r = of(link);
    for (size_t i = 0; i < r->count; i++) {
        const struct read_event *e = &r->events[i];
        r->deliver(r->arg, e->event, e->offset, e->wall_ns);
        ce_event_unref(e->event);
    }
    r->count = 0;
    if (!r->ended) {
        log_refill_read(r->channel->bus, link);
        return;
    }
    struct bus_op *op = r->op;
    enum err e = r->err;
    log_read_free(link);
    op->done(op, e);
}
