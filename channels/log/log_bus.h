/* SPDX-License-Identifier: Apache-2.0
 *
 * The log bus as a whole: its three threads' own state, and what its files offer each other. The nouns are in log.h.
 */
#ifndef LEAT_CHANNELS_LOG_LOG_BUS_H
#define LEAT_CHANNELS_LOG_LOG_BUS_H

#include "log.h"
#include "log_open.h"
#include "../notes.h"

struct log_owner { /* of one write */
    struct log_pending *pending;
    struct bus_subscription *cursor; /* of a cursor that is written because it moved; pinned */
    struct log_object object;
    size_t value_at, value_len; /* in values */
};

struct log_writer {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct list staged; /* under the lock, as what follows: log_pending in the order of the log */
    uint64_t staged_bytes;
    bool closed; /* appends are refused */
    bool cursors_due, mark_due, quit, waits;
    /* W's own. */
    struct list batch;
    struct log_write *writes;
    struct log_owner *owners;
    size_t count; /* writes prepared and not yet handed to the store */
    struct buf values;
    bool wrote, sweep;    /* of this batch: something was written; all cursors are to be */
    uint64_t since_sweep; /* bytes since all cursors were written */
};

#define LOG_READERS 16              /* open readers: of subscriptions that are behind */
#define LOG_TURN_EVENTS 256         /* that R gives to a subscription before the next one's turn, */
#define LOG_TURN_BYTES (1ull << 20) /* and their bytes */
#define LOG_TURN_RECORDS 4096       /* records looked at in a turn */
#define LOG_CENSUS_TURNS 4          /* turns for each part of a census, when both wait */

struct log_pooled {
    uint32_t of; /* the cursor's number; 0: free */
    struct log_reader *reader;
    uint64_t next, used;
};

struct log_refill {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct list want;    /* under the lock, as what follows: subscriptions, each pinned */
    struct list stalled; /* likewise: those that could not be read, until the next tick */
    struct list census;  /* likewise: those whose backlog is to be counted */
    struct list stuck;   /* likewise: those that could not be counted, until the next tick */
    struct list reads;   /* log_read */
    bool closed, quit, waits;
    struct log_pooled pool[LOG_READERS]; /* R's own, as what follows */
    uint64_t clock;
    struct log_pooled counter; /* of the census */
    unsigned turns;            /* since the last part of a census */
    uint32_t unreadable;       /* the cursor that met a failing disk, which was told; 0: none */
};

struct log_keeper {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    bool due, quit, waits;
    bool all;         /* due, and not only space */
    uint64_t written; /* K's own, as what follows: bytes since it reclaimed */
    /* K's own: channels by number, pinned for the time of one pass. W gives new ones their number meanwhile, so the
     * numbers are those of the beginning; events of the new ones are not looked at yet (log_policy.below). */
    struct log_kept {
        uint32_t number;
        struct bus_channel *channel;
    } * channels;
    size_t count, room;
    bool told;   /* that reclaiming fails */
    bool scarce; /* K's own: in this pass what is only kept for replay gives way */
    bool ask;    /* under the lock, as the next: K is to look whether the disk takes anything */
    bool answered;
    enum err answer;
    struct diag why;
};

struct log_verify {                 /* control's: one look at the disk is for all channels (log_verify.c) */
    struct bus_op *asked, *waiting; /* chained by owner: K looks for those; and for these after it */
};

struct log_bus {
    struct bus base;
    struct bus_env env;
    const struct clock *clock;
    struct disk *disk; /* borrowed */
    struct log_store *store;
    char *dir;
    uint64_t capacity, retention_bytes, retention_ns, reserve, segment;
    int64_t opened_wall_ns; /* and what the other clock said then: log_unused_now */
    uint64_t opened_ns;
    struct log_loop *loops; /* owned, one per loop */
    /* Nanoseconds that the calling loop's thread has run, or waited for a processor; UINT64_MAX: nobody knows. */
    uint64_t (*worked_ns)(struct log_loop *l);

    pthread_mutex_t catalogue; /* channels, against K's and W's walks; control alone changes it */
    struct map channels;       /* name → bus_channel */
    struct list ops;           /* control's: operations under way */
    bool stopping, stopped;
    struct bus_op *stop_ops; /* control's; chained by owner */
    struct log_pending *stop;
    struct log_verify verify;
    struct loop_timer tick;
    unsigned ticks;

    struct log_writer writer;
    struct log_refill refill;
    struct log_keeper keeper;

    pthread_mutex_t dirty_lock;
    struct list dirty;   /* subscriptions whose cursor moved, each pinned */
    atomic_uint settled; /* since cursors were written */

    struct notes notes;
    struct post *post; /* control's letter for notes, and what K found */

    atomic_bool unmarked;                /* something was committed since the last mark */
    atomic_bool low;                     /* the disk has less than the reserve: appends are refused */
    atomic_bool full;                    /* likewise: W was refused room, and K has not got any since */
    atomic_bool closed;                  /* stop has begun: nothing is delivered */
    _Atomic uint64_t routed;             /* W is through with all up to this sequence */
    _Atomic uint64_t queued;             /* bytes of events in all slots' queues */
    _Atomic uint64_t unswept;            /* bytes written since K looked */
    _Atomic uint64_t commits, committed; /* that W made, and the records in them */
    pthread_mutex_t times_lock;
    struct log_time { /* when sequences were written, roughly: for ages */
        uint64_t sequence;
        int64_t wall_ns;
    } times[256];
    size_t time_count;
};

static inline struct log_bus *log_of(struct bus *b)
{
    return (struct log_bus *)b;
}

/* log.c */
struct log_settings {
    const char *dir;
    uint64_t capacity, retention_bytes, retention_ns, reserve, segment;
    bool reserve_given;
};
void log_notice(struct log_bus *g, int severity, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void log_stopped(struct log_bus *g); /* control: W has passed STOP, and the loops are quiet */

/* log_settings.c */
struct log_channel_settings {
    uint64_t capacity, retention_bytes, retention_ns;
    bool one_part;
};
enum err log_settings_read(const struct bus_param *params, size_t count, struct log_settings *out,
                           struct diag *d) must_check;
enum err log_channel_settings_read(const struct bus_param *params, size_t count, struct log_channel_settings *out,
                                   struct diag *d) must_check;

/* log_loop.c: spares and letters */
struct log_loop *log_loop_find(struct log_bus *g, const struct loop *loop);
enum err log_loop_init(struct log_loop *l, struct log_bus *g, size_t index) must_check;
void log_loop_fini(struct log_loop *l);
struct log_pending *log_pending_new(enum log_pending_kind kind); /* NULL: no memory */
void log_pending_free(struct log_pending *p);
struct log_pending *log_pending_take(struct log_loop *l); /* a spare one, for an event */
void log_pending_give(struct log_loop *l, struct log_pending *p);
void log_loop_spares_free(struct log_loop *l);
void log_loop_ready(struct bus_stream *st); /* any thread; log_loop_post is to follow */
void log_loop_post(struct log_loop *l);     /* one letter for all that lies there */

/* log_yield.c: catching up yields to producers. The loop's own. */
#define LOG_WINDOW_NS (10 * NS_PER_MS) /* in which a loop counts appends, */
#define LOG_MANY 20                    /* so many of which make catching up yield: */
#define LOG_YIELD_PART 8               /* for so many appends there is one old event beyond what slots have earned, */
#define LOG_YIELD_SAVED (1 << 20)      /* bytes of them that are saved up at most; */
#define LOG_YIELD_MIN (64 << 10)       /* more where there is time: so many bytes in a window, and in each next one */
#define LOG_YIELD_MAX (16 << 20)       /* twice as many, up to this */
#define LOG_EVENT_COST 4096            /* what an event costs, in bytes, beside its bytes */
void log_yield_init(struct log_loop *l);
void log_yield_fini(struct log_loop *l);
uint64_t log_yield_worked(struct log_loop *l); /* log_bus.worked_ns, as the kernel tells it */
void log_yield_appended(struct log_loop *l, uint64_t bytes);
void log_yield_arrived(struct log_loop *l); /* appends have ended */
/* Under the subscription's lock, as the next two: whether this BEHIND slot may deliver one more. */
bool log_yield_may(const struct log_loop *l, const struct log_share *share);
void log_yield_took(struct log_loop *l, struct log_share *share, uint64_t bytes); /* it has */
void log_yield_earn(struct log_share *share, uint64_t bytes);                     /* W: it has got an event to read */
void log_yield_hold(struct bus_stream *st);  /* it goes on when there is a share for it */
void log_yield_leave(struct bus_stream *st); /* it waits no longer */

/* log_op.c: operations of control */
void log_op_start(struct log_bus *g, struct log_pending *p, struct bus_op *op); /* stages it */
void log_op_end(struct log_pending *p);                                         /* W: tells control */
void log_ops_abandon(struct log_bus *g);                                        /* no loop runs */

/* log_channel.c */
bool log_known(struct bus *b, struct slice name);
enum err log_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                       struct bus_channel **out, struct bus_op *op, struct diag *d);
void log_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op);
enum err log_channel_new(struct log_bus *g, struct slice name, struct bus_channel **out) must_check;
void log_channel_remove(struct bus_channel *c, struct bus_op *op); /* control; op NULL: nobody waits */
struct bus_channel *log_channel_pin(struct bus_channel *c);
void log_channel_unpin(struct bus_channel *c);
uint32_t log_hash(struct slice s);

/* log_subscription.c */
enum err log_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                       struct filter *filter, const struct bus_param *params, size_t count,
                       struct bus_subscription **out, struct bus_op *op, struct diag *d);
void log_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op);
enum err log_subscription_new(struct bus_channel *c, struct slice name, struct bus_subscription **out) must_check;
void log_subscription_remove(struct bus_subscription *s, struct bus_op *op); /* control; out of its channel's map */
struct bus_subscription *log_subscription_pin(struct bus_subscription *s);
void log_subscription_unpin(struct bus_subscription *s);
void log_subscription_dirty(struct bus_subscription *s);                              /* its cursor is to be written */
void log_subscription_abandon(struct bus_subscription *s);                            /* fini: streams and index */
struct filter *log_subscription_judge(struct bus_subscription *s, uint64_t sequence); /* under its lock; borrowed */
void log_subscription_epochs_prune(struct bus_subscription *s); /* under its lock: filters that judge nothing more */

/* log_catalogue.c */
enum err log_catalogue_load(struct log_bus *g) must_check;
int64_t log_unused_now(const struct log_bus *g);
int64_t log_unused_written(const struct log_bus *g, int64_t since);
void log_forget_unused(struct log_bus *g);
void log_tell_unused(struct log_bus *g);

/* log_append.c */
enum err log_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                    struct loop *loop);
void log_append_uncount(struct log_pending *p); /* it failed: I7 */

/* log_writer.c */
enum err log_writer_start(struct log_bus *g) must_check;
void log_writer_quit(struct log_bus *g); /* joins it; what is staged stays */
void log_writer_wake(struct log_bus *g, bool cursors, bool mark);
void log_writer_signal(struct log_writer *w); /* under its lock */
void log_writer_flush(struct log_writer *w);  /* W, as the next two: to the store with what was prepared */
void log_writer_object(struct log_writer *w, struct log_pending *p, struct bus_subscription *cursor, enum log_kind kind,
                       size_t value_at);
void log_barrier_pass(struct log_writer *w, struct log_pending *p); /* log_barrier.c */
enum err log_thread_start(pthread_t *thread, const char *name, void *(*body)(void *), void *arg) must_check;

/* log_slots.c: under the subscription's lock */
void log_slots_push(struct bus_subscription *s, struct log_pending *p); /* W */
bool log_slots_wants(const struct bus_subscription *s, size_t i);       /* to be read for */
void log_slots_want(struct bus_subscription *s);                        /* asks R where that is so */
void log_slots_route(struct bus_subscription *s);                       /* I6 */
void log_slots_forget(struct bus_subscription *s);                      /* nobody drains it: memory goes */
void log_slots_trim(struct bus_subscription *s);                        /* drop-oldest */
void log_slots_queued(struct bus_subscription *s, uint64_t before, uint64_t after);
void log_slots_settled(struct bus_subscription *s, uint64_t bytes);           /* one event less */
void log_slots_counted(struct bus_subscription *s, size_t i, uint64_t bytes); /* one more: of the census */
void log_slots_read(struct bus_subscription *s, size_t i, uint64_t sequence,
                    uint64_t bytes);                             /* R has it: unread less */
void log_slots_reconcile(struct bus_subscription *s, size_t i);  /* I8 */
bool log_slots_room(const struct bus_subscription *s, size_t i); /* for one more in its queue */
void log_slots_dropped(struct bus_subscription *s, uint64_t bytes);

/* log_stream.c */
enum err log_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                    const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out);
void log_detach(struct bus *b, struct bus_stream *st, struct bus_op *op);
void log_credit(struct bus *b, struct bus_stream *st, unsigned n);
void log_settle(struct bus *b, struct bus_stream *st, struct bus_token token, enum bus_settle how);
void log_stream_wake(struct bus_stream *st); /* its loop: there may be something */
void log_stream_free(struct bus_stream *st);

/* log_refill.c, log_read.c */
enum err log_refill_start(struct log_bus *g) must_check;
void log_refill_close(struct log_bus *g); /* joins R; reads that wait end with ERR_CLOSED */
void log_refill_want(struct bus_subscription *s);
void log_refill_count(struct bus_subscription *s); /* its backlog */
void log_refill_tick(struct log_bus *g);
void log_refill_read(struct log_bus *g, struct list *link);
enum err log_read_begin(struct bus *b, struct bus_channel *c, const struct bus_start *from, size_t most,
                        void (*deliver)(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns),
                        void *arg, struct bus_op *op, struct loop *loop);
void log_read_page(struct log_bus *g, struct list *link); /* R */
void log_read_close(struct list *link);                   /* R has stopped */
void log_read_arrived(struct list *link);                 /* its loop */
void log_read_free(struct list *link);

/* log_keeper.c */
enum err log_keeper_start(struct log_bus *g) must_check;
void log_keeper_quit(struct log_bus *g);
void log_keeper_wake(struct log_bus *g, bool all);
void log_keeper_space(struct log_bus *g); /* any thread: looks at the disk */

/* log_verify.c: control, but where said */
void log_bus_verify(struct bus *b, struct bus_channel *c, struct bus_op *op);
void log_verify_look(struct log_bus *g); /* K */
void log_verified(struct log_bus *g);    /* K may have an answer */
void log_verify_stopped(struct log_bus *g);

/* log_probe.c */
void log_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out);
void log_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out);
void log_times_add(struct log_bus *g, uint64_t sequence, int64_t wall_ns); /* W */

#endif
