/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations of control on their way through the writer: staged in the order of the log, ended by a letter. One that
 * must not end before the loops have done what W left for them (rounds) goes by each loop first: mailboxes are first
 * in, first out.
 *
 * A letter may still lie in a mailbox when the bus is freed: the log_pending that carries it is its own, and bus is
 * NULL then.
 */
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

static void home(struct letter *m)
{
    struct log_pending *p = container_of(m, struct log_pending, letter);
    struct bus_op *op = p->op;
    enum err e = p->result;
    if (!p->bus) {
        log_pending_free(p);
        return;
    }
    assert(p->posted && p->hop == p->rounds * p->bus->env.loop_count);
    list_remove(&p->op_link);
    if (p->kind == LOG_PENDING_STOP)
        log_stopped(p->bus);
    log_pending_free(p);
    if (op)
        op->done(op, e);
}

static void next_hop(struct letter *m)
{
    struct log_pending *p = container_of(m, struct log_pending, letter);
    if (!p->bus) {
        log_pending_free(p);
        return;
    }
    size_t n = p->bus->env.loop_count;
    bool more = p->hop < p->rounds * n;
    struct loop *to = more ? p->bus->env.loops[p->hop++ % n] : p->bus->env.control;
    p->letter.run = more ? next_hop : home;
    loop_post_reserved(to, m);
}

void log_op_start(struct log_bus *g, struct log_pending *p, struct bus_op *op)
{
    assert(p->kind != LOG_PENDING_EVENT && list_empty(&p->link));
    p->bus = g;
    p->op = op;
    list_push_back(&g->ops, &p->op_link);
    pthread_mutex_lock(&g->writer.lock);
    if (p->kind == LOG_PENDING_STOP)
        g->writer.closed = true;
    list_push_back(&g->writer.staged, &p->link);
    log_writer_signal(&g->writer);
    pthread_mutex_unlock(&g->writer.lock);
}

void log_op_end(struct log_pending *p)
{
    assert(!p->posted && p->bus);
    p->posted = true;
    next_hop(&p->letter);
}

void log_ops_abandon(struct log_bus *g)
{
    struct list *i;
    while ((i = list_pop_front(&g->ops))) {
        struct log_pending *p = container_of(i, struct log_pending, op_link);
        list_remove(&p->link);
        p->bus = NULL;
        if (p->posted)
            continue;
        if (p->kind == LOG_PENDING_CHANNEL_GONE)
            log_channel_unpin(p->channel);
        if (p->kind == LOG_PENDING_CURSOR_GONE)
            log_subscription_unpin(p->subscription);
        log_pending_free(p);
    }
}
