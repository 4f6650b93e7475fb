/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a channel takes events now: its exchange (or queue) is declared passively, which the node answers and which
 * makes nothing. One that is missing is suspect, and what suspects lead to (../abroad.c) makes it again. A
 * channel has one such job at a time; who asks meanwhile gets the answer of the next. Control's.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "rabbitmq_bus.h"

struct rabbit_verify {
    struct rabbit_job job;
    struct bus_channel *channel;  /* pinned while the job is under way */
    struct bus_op *ops, *waiting; /* chained by owner: the job answers those; these wait for the next */
};

static void work(struct rabbit_job *j)
{
    const struct bus_channel *c = container_of(j, struct rabbit_verify, job)->channel;
    rabbit_topology_look(j, &atomic_load(&c->rules)->settings);
}

static void look(struct rabbit_verify *v);

/* What the bus knew already stands: an exchange that is there may still refuse what is published. */
static void done(struct rabbit_job *j)
{
    struct rabbit_verify *v = container_of(j, struct rabbit_verify, job);
    struct bus_channel *c = v->channel;
    struct bus_op *ops = v->ops;
    enum err e = j->err ? j->err : c->abroad.err;
    char text[sizeof j->text];
    memcpy(text, j->err ? j->text : c->abroad.reason, sizeof text);
    if (j->err == ERR_NOTFOUND)
        abroad_suspect(&c->abroad);
    v->ops = v->waiting;
    v->waiting = NULL;
    if (v->ops) {
        look(v);
    } else {
        c->verify = NULL;
        free(v);
    }
    bus_ops_end(&ops, e, text);
    abroad_channel_unpin(&c->abroad); /* may free it */
}

static void look(struct rabbit_verify *v)
{
    abroad_channel_pin(&v->channel->abroad);
    rabbit_job_ask(v->channel->bus, &v->job, work, done);
}

void rabbit_verify(struct bus *b, struct bus_channel *c, struct bus_op *op)
{
    struct rabbit_bus *k = rabbit_of(b);
    assert(c->bus == k && c->abroad.refs > 0);
    op->text = NULL;
    bool under_way = c->verify != NULL;
    if (!under_way && !k->desk.stopping)
        c->verify = calloc(1, sizeof *c->verify);
    if (!c->verify || k->desk.stopping) {
        bus_op_end(k->desk.env.control, op, k->desk.stopping ? ERR_CLOSED : ERR_NOMEM);
        return;
    }
    struct bus_op **ops = under_way ? &c->verify->waiting : &c->verify->ops;
    op->owner = *ops;
    *ops = op;
    if (under_way)
        return;
    c->verify->channel = c;
    look(c->verify);
}
