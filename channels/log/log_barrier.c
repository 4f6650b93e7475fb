/* SPDX-License-Identifier: Apache-2.0
 *
 * A subscribe as W meets it in the order of the log: its barrier is the sequence from which on events were matched with
 * what the subscribe put into the index. It is set before anything behind it is committed (I4).
 */
#include "log_bus.h"

#include <assert.h>

static uint64_t start_from(struct log_bus *g, const struct log_pending *p, uint64_t barrier)
{
    uint64_t from = barrier;
    assert(barrier > 0 && p->kind == LOG_PENDING_CURSOR);
    switch (p->start.kind) {
    case BUS_START_LATEST:
        break;
    case BUS_START_EARLIEST:
        from = 1;
        break;
    case BUS_START_TIME:
        from = log_store_seek_time(g->store, atomic_load(&p->channel->number), p->start.wall_ns);
        break;
    case BUS_START_OFFSET:
        from = p->start.offset ? p->start.offset : 1;
        break;
    }
    return from < barrier ? from : barrier;
}

/* The record of a new cursor: nothing at or above `from` is done. 0: it stands already, but its record was refused. */
static void write_new(struct log_writer *w, struct log_pending *p, uint64_t from)
{
    struct bus_subscription *s = p->subscription;
    struct log_bus *g = s->channel->bus;
    if (!s->number)
        s->number = log_store_next_number(g->store, LOG_CURSOR);
    size_t at = w->values.len;
    pthread_mutex_lock(&s->lock);
    if (from)
        slot_ledger_put_fresh(from, s->slot_count, &w->values);
    else
        slot_ledger_put(s->slots, s->slot_count, stat_read(&g->routed) + 1, s->before, &w->values);
    pthread_mutex_unlock(&s->lock);
    if (buf_error(&w->values)) {
        buf_clear(&w->values);
        p->result = ERR_NOMEM;
        return;
    }
    log_writer_object(w, p, s, LOG_OBJECT, at);
    log_writer_flush(w);
}

/* Under the lock. */
static void stand(struct bus_subscription *s, uint64_t from, uint64_t barrier)
{
    assert(from > 0 && from <= barrier);
    for (size_t i = 0; i < s->slot_count; i++) {
        assert(s->slots[i].queued == 0);
        slot_init(&s->slots[i], from, from < barrier);
        s->shares[i].seen = barrier;
    }
    s->census.next = from;
    s->turn++;
}

static void epoch_close(struct bus_subscription *s, uint64_t id, uint64_t barrier)
{
    for (unsigned i = 0; i < s->epoch_count; i++) {
        if (s->epochs[i].id == id)
            s->epochs[i].below = barrier;
    }
}

void log_barrier_pass(struct log_writer *w, struct log_pending *p)
{
    struct bus_subscription *s = p->subscription;
    struct log_bus *g = s->channel->bus;
    log_writer_flush(w); /* all before has its sequence */
    uint64_t barrier = log_store_last(g->store) + 1;
    assert(barrier > stat_read(&g->routed));
    bool first = s->barrier == UINT64_MAX, fresh = first && !s->written;
    uint64_t from = fresh ? start_from(g, p, barrier) : 0;
    if (!s->written)
        write_new(w, p, from);
    pthread_mutex_lock(&s->lock);
    if (fresh)
        stand(s, from, barrier);
    if (first) {
        s->barrier = barrier;
        s->census.until = barrier;
        s->census.wanted = s->census.next < barrier;
    }
    if (p->epoch_mark)
        epoch_close(s, p->epoch_mark, barrier);
    log_subscription_epochs_prune(s);
    pthread_mutex_unlock(&s->lock);
}
