/* SPDX-License-Identifier: Apache-2.0
 *
 * Rounds over the data loops; see round.h. A leg's letter travels control -> loop -> control; between the two it may
 * rest until round_answer. Beside them what else all buses do with the loops they were given.
 */
#include "round.h"

#include <assert.h>
#include <stdlib.h>

enum err round_init(struct round *r, const struct bus_env *env)
{
    struct round_leg *legs = calloc(env->loop_count, sizeof *legs);
    if (!legs)
        return ERR_NOMEM;
    *r = (struct round){.env = env, .legs = legs};
    for (size_t i = 0; i < env->loop_count; i++)
        legs[i].round = r;
    return OK;
}

void round_fini(struct round *r)
{
    free(r->legs);
    r->legs = NULL;
}

/* Whether the letter belongs to a round that its owner gave up; counts it out then. */
static bool leg_abandoned(struct round *r)
{
    if (!r->bury)
        return false;
    assert(r->waiting > 0);
    if (--r->waiting == 0)
        r->bury(r);
    return true;
}

static void leg_home(struct letter *m)
{
    struct round *r = container_of(m, struct round_leg, letter)->round;
    if (leg_abandoned(r))
        return;
    assert(r->waiting > 0);
    if (--r->waiting == 0)
        r->complete(r);
}

static void leg_out(struct letter *m)
{
    struct round_leg *leg = container_of(m, struct round_leg, letter);
    struct round *r = leg->round;
    if (leg_abandoned(r))
        return;
    size_t index = (size_t)(leg - r->legs);
    if (!r->visit || r->visit(r, index))
        round_answer(r, index);
}

void round_start(struct round *r, bool (*visit)(struct round *r, size_t index), void (*complete)(struct round *r))
{
    assert(!round_running(r) && !r->bury);
    r->visit = visit;
    r->complete = complete;
    r->waiting = r->env->loop_count;
    for (size_t i = 0; i < r->env->loop_count; i++) {
        r->legs[i].letter.run = leg_out;
        loop_post_reserved(r->env->loops[i], &r->legs[i].letter);
    }
}

void round_answer(struct round *r, size_t index)
{
    assert(index < r->env->loop_count);
    r->legs[index].letter.run = leg_home;
    loop_post_reserved(r->env->control, &r->legs[index].letter);
}

void round_abandon(struct round *r, void (*bury)(struct round *r))
{
    if (!round_running(r)) {
        bury(r);
        return;
    }
    r->bury = bury;
}

static void op_run(struct loop_task *t)
{
    struct bus_op *op = container_of(t, struct bus_op, task);
    op->done(op, op->result);
}

size_t bus_env_index(const struct bus_env *env, const struct loop *loop)
{
    size_t i = 0;
    while (i < env->loop_count && env->loops[i] != loop)
        i++;
    assert(i < env->loop_count);
    return i;
}

void bus_op_end(struct loop *loop, struct bus_op *op, enum err err)
{
    op->result = err;
    loop_task_init(&op->task, op_run);
    loop_defer(loop, &op->task);
}

void bus_ops_end(struct bus_op **ops, enum err err, const char *text)
{
    struct bus_op *op = *ops;
    *ops = NULL;
    while (op) {
        struct bus_op *next = op->owner;
        op->text = err ? text : NULL;
        op->done(op, err);
        op = next;
    }
}
