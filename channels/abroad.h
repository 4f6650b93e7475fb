/* SPDX-License-Identifier: Apache-2.0
 *
 * What a bus has at a system outside: of each channel a topic or an exchange, of each subscription a queue or whatever
 * it is called there. How they come, are asked for again, and go. Only the asking is the bus's own (abroad_ops).
 *
 *   provision, ─→ WAITING (for one of the same name that goes; ─→ MAKING ─→ READY ── the ops that wait end
 *   subscribe              a subscription for its channel, too)    ↑   └──→ REFUSED ── they end with the error, and
 *                                                                  └────────── after a while it is asked again
 *   release, unsubscribe, the last ─→ GOING ── nothing uses it any more ── (remove: deleted there) ── freed
 *
 * What is READY is made again where it stands when it seems to be gone (abroad_suspect), and stays READY meanwhile:
 * making is idempotent. What could not be asked since the system is away stays as it was, too: that says nothing of it.
 *
 * A channel goes when its last append has ended and its subscriptions are freed. A subscription goes when who brings
 * its events in has let it go: asked by `close`, which finds it in subscription_todo, it sets `closed` and calls the
 * desk, both as the last thing it does with the subscription.
 *
 * Threads: control's but where said. The structures are the first members of the bus's own, which the bus makes, and
 * frees when asked to.
 */
#ifndef LEAT_CHANNELS_ABROAD_H
#define LEAT_CHANNELS_ABROAD_H

#include <stdatomic.h>

#include "desk.h"
#include "lanes.h"
#include "list.h"
#include "map.h"

#define ABROAD_RETRY_NS (5 * NS_PER_S) /* until what the system refused is asked again */

enum abroad_state {
    ABROAD_WAITING,
    ABROAD_MAKING, /* for the first time, or after it was refused */
    ABROAD_READY,
    ABROAD_REFUSED,
    ABROAD_GOING /* released or unsubscribed */
};

struct abroad_channel;
struct abroad_subscription;

struct abroad_ops { /* the bus's own */
    /* Begin to ask the system; abroad_..._made and ..._removed follow, never from within. */
    void (*channel_make)(struct abroad_channel *c);
    void (*channel_remove)(struct abroad_channel *c); /* with what lies in `left` */
    void (*subscription_make)(struct abroad_subscription *s);
    void (*subscription_remove)(struct abroad_subscription *s);
    /* What is the bus's own of it, and the structure. */
    void (*channel_free)(struct abroad_channel *c);
    void (*subscription_free)(struct abroad_subscription *s); /* no stream is attached */
    /* Whether two channels have the same thing there. */
    bool (*channel_same)(const struct abroad_channel *a, const struct abroad_channel *b);
    /* Whether something beside appends uses one that goes; what ends that calls the desk. NULL: never. */
    bool (*channel_used)(const struct abroad_channel *c);
    /* Whether one that is READY is to be made again now. NULL: only suspects are. */
    bool (*channel_due)(const struct abroad_channel *c, uint64_t now_ns);
    /* Who brings its events in is to look at it: it was made, or is to be closed. */
    void (*subscription_todo)(struct abroad_subscription *s);
    /* A probe. Of a subscription under its lock: what waits there and here is in `out`; whether that is right, and what
     * else is the bus's own. channel_probe NULL: nothing. */
    void (*subscription_probe)(struct abroad_subscription *s, uint64_t now_ns, struct bus_probe *out);
    void (*channel_probe)(const struct abroad_channel *c, struct bus_probe *out);
    /* A suspect is one until it and all of its subscriptions were made again. Else: until that is asked for. */
    bool suspect_until_whole;
    /* How they are called in notices, and these. */
    const char *channel_word, *subscription_word; /* "exchange", "queue " */
    const char *channel_stays, *subscription_failed, *subscription_well, *subscription_stays;
};

struct abroad_left { /* of a subscription that went and left it there: it goes with the channel */
    struct list link;
    char id[];
};

struct abroad { /* of a bus */
    struct desk *desk;
    const struct abroad_ops *how;
    struct map channels; /* name → abroad_channel */
    struct list going;   /* channels that were released, by link; no more in the map */
    struct list closing; /* subscriptions that are to be let go, by closing_link */
    size_t jobs_open;    /* the bus's: what was asked and is not answered */
    bool untold;         /* something is well again, and that was not told */
    atomic_bool suspects;
};

struct abroad_channel {
    struct abroad *abroad;
    char *name;                     /* owned */
    bool external;                  /* constant: somebody else's, never deleted */
    unsigned refs, pins;            /* pins: subscriptions that are not freed, and what is asked */
    bool remove, busy;              /* busy: the system is being asked */
    struct list link;               /* of abroad.going */
    struct list subscriptions;      /* by link */
    struct list left;               /* abroad_left; the bus's while it removes the channel */
    struct bus_op *ops, *going;     /* they wait for it, chained by owner; release's */
    uint64_t ask_ns;                /* REFUSED: when it is asked again */
    enum err err;                   /* why it is not well; OK: it is */
    char reason[320];               /* likewise */
    _Atomic int state;              /* enum abroad_state; any thread reads it, as the next */
    atomic_bool suspect;            /* something of it seems to be gone */
    atomic_uint subscription_count; /* that were ready once, and to which events are owed */
    _Atomic uint64_t pending;       /* appends under way (desk.h) */
    _Atomic uint64_t appended, appended_bytes, dropped;
};

struct abroad_subscription {
    struct abroad_channel *channel;
    char *name;     /* owned */
    const char *id; /* the bus's, constant: what it is called there */
    bool external;  /* constant: somebody else's, never deleted */
    bool passing;   /* constant: no event is owed to it */
    unsigned refs;
    enum abroad_state state;
    bool remove, busy, counted_in;  /* counted_in: in its channel's subscription_count */
    struct list link, closing_link; /* of its channel's; of abroad.closing */
    struct loop_task begin;
    struct bus_op *ops, *going;
    uint64_t ask_ns;
    char reason[320];                    /* why it is not well; empty: it is */
    uint64_t behind_ns;                  /* since when there is a backlog, as seen by probes; 0: there is none */
    struct lanes *lanes;                 /* the bus's, under whose lock are: */
    bool close, closed;                  /* control wants it let go; who brings its events in has */
    char why[200];                       /* what that one met; empty: nothing */
    uint64_t arrivals;                   /* events that came from there until now */
    uint64_t there;                      /* that waited there when it was known last (abroad_count_is), and then: */
    uint64_t appended, arrived, back_at; /* of the channel; arrivals; lanes.returned */
};

/* What the system said of what was asked. */
struct abroad_answer {
    enum err err;
    bool away;         /* it was not there, which says nothing of what was asked */
    bool changed;      /* of a channel: something else is wanted of it by now, so it is asked again at once */
    bool gives;        /* of a subscription, with `err`: what it holds still comes, so who waits for it is told OK */
    uint64_t retry_ns; /* refused: when to ask again; 0: ABROAD_RETRY_NS */
    const char *text;  /* why, for people; empty: `err` says it */
};

/* ---- the bus ---- */

void abroad_init(struct abroad *a, struct desk *desk, const struct abroad_ops *how);
void abroad_fini(struct abroad *a); /* frees all channels with their subscriptions and streams: no loop runs */
void abroad_stop(struct abroad *a); /* stop begins: subscriptions are let go */
/* As desk.h has them. */
void abroad_look(struct abroad *a);
void abroad_tick(struct abroad *a);
uint64_t abroad_left(const struct abroad *a);
/* The system was away, and is back: everything is made again. */
void abroad_doubt(struct abroad *a);

/* ---- channels ---- */

struct abroad_channel *abroad_channel_find(struct abroad *a, struct slice name); /* NULL: none, or it goes */
/* A new one, zeroed; what the bus needs to ask for it may come later. ERR_NOMEM leaves nothing behind. */
enum err abroad_channel_init(struct abroad_channel *c, struct abroad *a, struct slice name) must_check;
/* provision's end: one user more. `changed`: it is READY, and to be made again before `op` ends. */
void abroad_provision(struct abroad_channel *c, bool changed, struct bus_op *op);
void abroad_release(struct abroad_channel *c, bool remove, struct bus_op *op);
void abroad_channel_made(struct abroad_channel *c, struct abroad_answer a);
void abroad_channel_removed(struct abroad_channel *c, enum err err, const char *text);
/* As long as it is pinned, one that was released is not freed; the last thing that is done with it. */
void abroad_channel_pin(struct abroad_channel *c);
void abroad_channel_unpin(struct abroad_channel *c);
/* Any thread: something of it seems to be gone. */
void abroad_suspect(struct abroad_channel *c);

/* ---- subscriptions ---- */

struct abroad_subscription *abroad_subscription_find(struct abroad_channel *c, struct slice name); /* likewise */
/* A new one, zeroed but for what is constant. ERR_NOMEM leaves nothing behind. */
enum err abroad_subscription_init(struct abroad_subscription *s, struct abroad_channel *c,
                                  struct slice name) must_check;
/* subscribe's end, as abroad_provision. */
void abroad_subscribe(struct abroad_subscription *s, bool changed, struct bus_op *op);
void abroad_unsubscribe(struct abroad_subscription *s, bool remove, struct bus_op *op);
void abroad_subscription_made(struct abroad_subscription *s, struct abroad_answer a);
void abroad_subscription_removed(struct abroad_subscription *s, enum err err, const char *text);

/* ---- probes (abroad_probe.c) ---- */

/* Under the lock, any thread: so many events were there, and not here, when the channel had `appended`. */
void abroad_count_is(struct abroad_subscription *s, uint64_t there, uint64_t appended);
/* bus.h's, added to `out`, in which is what the bus says of the system itself. c NULL: all channels. */
void abroad_probe(struct abroad *a, struct abroad_channel *c, struct bus_probe *out);
void abroad_probe_subscription(struct abroad_subscription *s, struct bus_probe *out);

/* ---- between the files ---- */

void abroad_channel_whole(struct abroad_channel *c); /* one more thing of it was made: all of it? */
void abroad_ops_cancel(struct abroad *a, struct bus_op **ops);
void abroad_subscriptions_start(struct abroad_channel *c); /* the channel was made, or refused */
void abroad_subscriptions_look(struct abroad_channel *c);  /* those that were refused */
void abroad_subscriptions_stop(struct abroad_channel *c);
void abroad_subscriptions_closed(struct abroad *a); /* those that were let go */
void abroad_subscriptions_free(struct abroad_channel *c);

#endif
