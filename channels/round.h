/* SPDX-License-Identifier: Apache-2.0
 *
 * A round: control visits every data loop by letter and learns when the last has answered. It is how a backend changes
 * what loops hold privately without a lock: each loop changes its own part, and the operation ends when all have.
 * Letters are allocated with the round, so a round cannot fail.
 *
 * Since mailboxes are first in, first out, whatever a loop had posted before it answered one round has arrived before
 * the next round's letters: a second, empty round is a flush.
 */
#ifndef LEAT_CHANNELS_ROUND_H
#define LEAT_CHANNELS_ROUND_H

#include "bus.h"

struct round;

struct round_leg {
    struct letter letter;
    struct round *round;
};

struct round {
    const struct bus_env *env;
    struct round_leg *legs; /* one per data loop; owned */
    /* On data loop `index`. True: this loop is done. False: it calls round_answer later. */
    bool (*visit)(struct round *r, size_t index);
    /* On the control loop, when all have answered; may free the round's owner or start the next round. */
    void (*complete)(struct round *r);
    size_t waiting; /* control's, but for an abandoned round */
    /* Set when the owner is to be freed while letters lie in mailboxes of loops that do not run: the last letter calls
     * it. */
    void (*bury)(struct round *r);
};

/* ERR_NOMEM leaves nothing behind. `env` is borrowed for the round's life. */
enum err round_init(struct round *r, const struct bus_env *env) must_check;
void round_fini(struct round *r);

static inline bool round_running(const struct round *r)
{
    return r->waiting > 0;
}

/* Control loop; the round must not be running. `visit` NULL: a flush. */
void round_start(struct round *r, bool (*visit)(struct round *r, size_t index), void (*complete)(struct round *r));

/* On data loop `index`: ends the visit that had answered false. */
void round_answer(struct round *r, size_t index);

/* Calls bury at once, or when the last letter of a running round is thrown away. No loop may be running. */
void round_abandon(struct round *r, void (*bury)(struct round *r));

/* Which of the data loops this is; it is one of them. */
size_t bus_env_index(const struct bus_env *env, const struct loop *loop);

/* Ends an operation with `err` at the end of this loop's turn. */
void bus_op_end(struct loop *loop, struct bus_op *op, enum err err);
/* Ends now those that are chained by `owner`, on their loop; `text` for a failure. What a `done` adds waits on. */
void bus_ops_end(struct bus_op **ops, enum err err, const char *text);

#endif
