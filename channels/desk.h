/* SPDX-License-Identifier: Apache-2.0
 *
 * The desk of a bus: its place at control, for a bus whose events lie in a system outside. Whatever another thread has
 * for control (a notice, an answer, a last append) is left where it belongs, and one letter brings control to look at
 * all of these places; so does each second.
 *
 *     any thread ── leaves something, desk_call ──→ look ──→ notices are told ──→ a stop goes on
 *     control ───── each second: tick ──────────────↑
 *
 * A stop: new work is refused from the call on (desk_closed). The loops are gone by once, since one may have found it
 * open a moment before; when then no append is under way and nothing else is left of what the bus waits for, they are
 * gone by once more, so that no letter of theirs is on its way, and stop has ended.
 *
 * Appends under way are counted, for the stop, for the release of their channel, and as bytes against a bound.
 *
 * Threads: control's but where said. A desk is the first member of its bus.
 */
#ifndef LEAT_CHANNELS_DESK_H
#define LEAT_CHANNELS_DESK_H

#include <stdatomic.h>

#include "bus.h"
#include "notes.h"
#include "post.h"
#include "round.h"

struct desk;

struct desk_ops {                    /* the bus's own; all are there */
    void (*look)(struct desk *desk); /* at every place where something may lie for control */
    void (*tick)(struct desk *desk); /* each second, before that */
    /* How many things a stop waits for, beside appends. Whatever ends one of them calls control. */
    uint64_t (*left)(const struct desk *desk);
};

struct desk_stop; /* desk.c */

struct desk {
    struct bus base;
    struct bus_env env;
    const struct clock *clock; /* control's */
    const struct desk_ops *how;
    struct notes notes;
    struct post *post; /* owned: desk_call's */
    struct loop_timer tick;
    struct desk_stop *stop; /* owned */
    bool stopping, stopped;
    bool seen;               /* every loop has seen that it is closed: no append begins any more */
    struct bus_op *stop_ops; /* chained by owner */
    /* Any thread's. */
    atomic_bool closed;
    atomic_uint going_count;                 /* channels that go: who ends the last append of one calls control */
    uint64_t buffer;                         /* constant: bytes of appends under way at most */
    _Atomic uint64_t pending, pending_bytes; /* appends under way */
};

/* At first; cannot fail. notices_a_minute: as notes.h has it. */
void desk_init(struct desk *desk, const struct bus_ops *ops, const struct bus_env *env, const struct desk_ops *how,
               unsigned notices_a_minute);
/* Then: from here on it can be called. ERR_NOMEM: desk_fini follows. */
enum err desk_open(struct desk *desk) must_check;
void desk_start(struct desk *desk); /* the bus is open: seconds begin */
void desk_quit(struct desk *desk);  /* fini begins: seconds end, closed */
void desk_fini(struct desk *desk);  /* fini ends: nobody calls any more, and no loop runs */

/* bus.h's stop. True: it begins now, and the bus does its part. */
bool desk_stop(struct desk *desk, struct bus_op *op) must_check;

/* ---- any thread ---- */

/* Control is to look. */
static inline void desk_call(struct desk *desk)
{
    post_send(desk->post);
}

/* To control (notes.h). Never blocks. False: it is not told. */
bool desk_notice(struct desk *desk, int severity, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Stop has begun. */
static inline bool desk_closed(const struct desk *desk)
{
    return atomic_load_explicit(&desk->closed, memory_order_acquire);
}

/* Counts an append in, of the bus and of its channel (whose count is handed over). ERR_FULL: `buffer` is; but one goes
 * always, so that one larger than that is taken alone. */
enum err desk_count_in(struct desk *desk, _Atomic uint64_t *of_channel, uint64_t charge) must_check;
/* Without a charge, and never refused: what is to hold the channel, and a stop, as an append does. */
void desk_hold(struct desk *desk, _Atomic uint64_t *of_channel);
/* `n` of these have ended, with their charge: the last thing that is done with the channel, which may be freed at once.
 */
void desk_count_out(struct desk *desk, _Atomic uint64_t *of_channel, uint64_t charge, uint64_t n);

#endif
