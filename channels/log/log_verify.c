/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a channel of the log takes events now: whether the store still writes, and its directory can be written in.
 * That is the same for all channels, so one look of K's answers for all that were asked about before it began; those
 * that come meanwhile are the next look's. K looks, since a disk that hangs must not hold control.
 *
 * A disk without room is not looked for here: events are refused until there is some, and the log serves
 * (log_keeper.c); the probe tells.
 */
#include "log_bus.h"

#include <assert.h>

#include "../round.h"

static void look_soon(struct log_bus *g)
{
    struct log_keeper *k = &g->keeper;
    assert(!g->verify.asked && g->verify.waiting);
    g->verify.asked = g->verify.waiting;
    g->verify.waiting = NULL;
    pthread_mutex_lock(&k->lock);
    k->ask = true;
    k->waits = false;
    pthread_cond_signal(&k->work);
    pthread_mutex_unlock(&k->lock);
}

void log_bus_verify(struct bus *b, struct bus_channel *c, struct bus_op *op)
{
    struct log_bus *g = log_of(b);
    assert(c->bus == g && c->refs > 0);
    op->text = NULL;
    if (g->stopped) {
        bus_op_end(g->env.control, op, ERR_CLOSED);
        return;
    }
    op->owner = g->verify.waiting;
    g->verify.waiting = op;
    if (!g->verify.asked)
        look_soon(g);
}

void log_verify_look(struct log_bus *g)
{
    struct log_keeper *k = &g->keeper;
    struct diag why = {0};
    enum err e = log_store_failed(g->store, &why) ? ERR_IO : g->disk->ops->writable(g->disk, g->dir, &why);
    pthread_mutex_lock(&k->lock);
    k->answered = true;
    k->answer = e;
    k->why = why;
    pthread_mutex_unlock(&k->lock);
    post_send(g->post);
}

void log_verified(struct log_bus *g)
{
    struct log_keeper *k = &g->keeper;
    pthread_mutex_lock(&k->lock);
    bool answered = k->answered;
    enum err e = k->answer;
    const struct diag why = k->why;
    k->answered = false;
    pthread_mutex_unlock(&k->lock);
    if (!answered)
        return;
    struct bus_op *ops = g->verify.asked;
    g->verify.asked = NULL;
    bus_ops_end(&ops, e, why.text);
    if (!g->verify.asked && g->verify.waiting && !g->stopped)
        look_soon(g);
}

void log_verify_stopped(struct log_bus *g)
{
    struct bus_op *asked = g->verify.asked, *waiting = g->verify.waiting;
    g->verify = (struct log_verify){0};
    bus_ops_end(&asked, ERR_CLOSED, NULL);
    bus_ops_end(&waiting, ERR_CLOSED, NULL);
}
