/* SPDX-License-Identifier: Apache-2.0
 *
 * The dispatcher: takes events from a subscription's stream and sees each to its end: delivered, dead-lettered, or
 * parked. One per loop; a stream's whole life is on that loop. It knows neither which bus it drains nor what kind of
 * sink it fills.
 *
 * Behaviour: docs/internals/dispatcher.md; retries by status code after knative/specs data-plane.md.
 */
#ifndef LEAT_DISPATCHER_H
#define LEAT_DISPATCHER_H

#include "bus.h"
#include "prng.h"
#include "sink.h"
#include "trace.h"

struct dispatcher;
struct dispatch_stream;

#define DISPATCH_RETRY_MAX 1000                       /* more than that many retries is a mistake in a manifest */
#define DISPATCH_BACKOFF_DELAY_NS (50ull * NS_PER_MS) /* when a policy or a retry count is given without a delay */
#define DISPATCH_BACKOFF_MAX_NS (3600ull * NS_PER_S)  /* cap without backoffMax: an hour */
#define DISPATCH_TIMEOUT_NS (30ull * NS_PER_S)        /* per attempt, without delivery.timeout */
#define DISPATCH_ERROR_DATA_MAX 768                   /* bytes of an error body kept: 1024 characters of base64 */
#define DISPATCH_IN_FLIGHT 64                         /* per stream and loop, when nothing else is said */
#define DISPATCH_HELD_MAX 65536    /* events of a stream that wait (for time, key, twin) without using credit: 24 MiB */
#define DISPATCH_BATCH_MAX 1000    /* events in one batch: as many as ingress takes */
#define DISPATCH_DEDUP_MAX 1000000 /* (source, id) pairs that a dedup window remembers: 44 MB; the oldest go first */
#define DISPATCH_HOPS_MAX 255      /* knativebrokerttl of an event that has none: hops from channel to channel */

enum backoff_policy {
    BACKOFF_EXPONENTIAL, /* d * 2^(n-1) before retry n = 1, 2 ... */
    BACKOFF_LINEAR       /* d * n */
};

/* Which failures are tried again, where the user says so (leat.dev/retry-on). */
struct retry_on {
    bool given;         /* else the rule of sink_retryable */
    bool no_answer;     /* no connection, timeout, broken answer, a full channel */
    uint64_t codes[10]; /* bit s of the whole: status s, 0 to 639 */
};

/* How a subscription is delivered; plain data, copied. */
struct delivery {
    unsigned retry; /* retries after the first attempt */
    bool forever;   /* no failure of an attempt is final: tried again until it is taken, whatever `retry` and `retry_on`
                     * say
                     */
    enum backoff_policy backoff_policy;
    uint64_t backoff_delay_ns;   /* 0: DISPATCH_BACKOFF_DELAY_NS */
    uint64_t backoff_max_ns;     /* 0: DISPATCH_BACKOFF_MAX_NS */
    unsigned jitter_percent;     /* of the wait, to both sides: 10 */
    uint64_t timeout_ns;         /* of an attempt; 0: DISPATCH_TIMEOUT_NS */
    uint64_t retry_after_max_ns; /* Retry-After is honoured up to it (429, 503); 0: ignored */
    int format;                  /* -1 as it came, else enum ce_mode */
    uint64_t deadline_ns;        /* from taking the event in hand: no attempt begins later; 0: none */
    struct retry_on retry_on;
};

/* Which events may be under way beside each other. */
enum dispatch_order {
    ORDER_NONE,
    ORDER_KEY,   /* of one partitionkey one at a time, in the bus's order; those without a key are free */
    ORDER_STRICT /* one event at a time, in the bus's order; a retry holds up the rest */
};

/* A wait before retry n (from 1), with jitter from `prng` (NULL: none); never above the cap, never overflowing. */
uint64_t backoff_wait_ns(const struct delivery *d, unsigned n, struct prng *prng);

/* Why an event was parked or dropped; also the `reason` label of metrics. */
enum dispatch_end {
    DISPATCH_DELIVERED,     /* subscriber took it, and the reply, if any, went where it belongs */
    DISPATCH_DEAD_LETTERED, /* the dead letter sink took it */
    DISPATCH_PARKED,        /* neither; kept where a user can see it */
    DISPATCH_EXPIRED,       /* its expirytime had passed: a counted drop, which its sender asked for */
    DISPATCH_DUPLICATE, /* the same source and id within the dedup window: a counted drop, which the user asked for */
    DISPATCH_RELEASED,  /* no end: handed back, the stream stops */
};

struct dispatch_counters { /* written on one loop alone, read by anyone: relaxed */
    /* Sendings to whatever destination, a batch counted for each of its events; those that were not an event's first
     * there. */
    uint64_t attempts, retries;
    uint64_t failed_attempts; /* sendings that ended without a 2xx, or with a reply that breaks the rules */
    /* Events by their end: with `in_flight`, each event taken in is in exactly one, or was released or revoked. */
    uint64_t delivered, dead_lettered, parked, filtered, expired, duplicates;
    uint64_t batches;                  /* requests that carried a batch */
    uint64_t loops;                    /* events that had spent their last hop */
    uint64_t held;                     /* a gauge: of in_flight, those that wait for their time, key or twin */
    uint64_t replies, replies_ignored; /* taken by the reply sink; dropped: no reply sink, malformed, or with a 202 */
    uint64_t in_flight;                /* a gauge: events in hand, those waiting for a retry included */
};

/* What a parked event ended with. Borrowed for the call to `park`. */
struct dispatch_failure {
    const struct ce_event *event; /* the original */
    const char *destination;      /* URL that failed last */
    int status;                   /* 0: no answer */
    enum err err;
    struct slice data;     /* first bytes of the answer, or the detail */
    unsigned attempts;     /* at the subscriber */
    int64_t first_wall_ns; /* of the first attempt; when there was none, of taking the event in hand */
    const char *reason; /* "retries-exhausted", "not-retryable", "deadline", "loop", "too-large"; of the destination */
    const struct dispatch_failure *cause; /* when the dead letter sink failed: what had led there; else NULL */
};

/* The latest failure of a stream. Borrowed for the call to `trouble`. */
struct dispatch_trouble {
    const char *destination; /* URL; empty: none (parking fails) */
    int status;              /* 0: no answer */
    enum err err;
    const char *detail; /* the beginning of what was answered, or why there was no answer; may be empty */
};

/* What a stream does. Everything is copied or referenced at start and update. One of `subscriber` and `reply` must be
 * there; `name`, `park` and `counters` too, and `counters` stays the same at updates. */
struct dispatch_spec {
    const char *name;           /* "NS/NAME" of the subscription, for logs */
    const char *namespace_name; /* for Kn-Namespace */
    struct sink *subscriber;    /* may be NULL: reply-only, the event itself goes to `reply` */
    struct sink *reply;         /* NULL: replies are dropped, counted */
    struct sink *dead_letter;   /* NULL: failures are parked at once */
    struct delivery delivery;
    bool reply_must_be_event; /* Broker: a malformed reply fails the delivery; Channel: ignored, counted, logged */
    unsigned in_flight_max;   /* 0: DISPATCH_IN_FLIGHT, or two batches; with ORDER_STRICT one event, or one batch */
    uint64_t
        rate_interval_ns; /* between the beginnings of two attempts at the subscriber, on the average; 0: no limit */
    enum dispatch_order order;
    uint64_t dedup_window_ns; /* 0: none */
    unsigned batch_max;       /* events in one request to the subscriber; 0 and 1: no batches */
    uint64_t batch_wait_ns;   /* how long the first of a batch waits for others */
    /* Evaluated before any I/O; no match: the event is acked and counted as filtered. NULL: all pass. Referenced. Left
     * out where the bus filters itself (BUS_CAP_FILTER). */
    struct filter *filter;
    struct trace *trace; /* of this loop; may be NULL */
    uint32_t trace_subject;
    /* Parks an event for ever: must call `parked(park_arg2, err)` once, not inside the call, but for ERR_NOMEM, when
     * there is no memory to say it later; not OK: the dispatcher tries again with backoff, the event stays unsettled
     * meanwhile. */
    void (*park)(void *park_arg, const struct dispatch_failure *failure, void (*parked)(void *park_arg2, enum err err),
                 void *park_arg2);
    void *park_arg;
    /* Told of failures as the log is: the first at once, then at most once a second. On the stream's loop; NULL: nobody
     * asks. */
    void (*trouble)(void *trouble_arg, const struct dispatch_trouble *latest);
    void *trouble_arg;
    struct dispatch_counters *counters; /* of one subscription on one loop; outlives its streams there */
};

/* `prng` (for jitter) is borrowed and outlives it. */
enum err dispatcher_new(struct loop *loop, struct prng *prng, struct dispatcher **out) must_check;
/* All streams must have been stopped. NULL is fine. */
void dispatcher_free(struct dispatcher *d);

/* Attaches to the subscription on this loop and starts draining it. ERR_INVALID: nowhere to send, or more than
 * DISPATCH_RETRY_MAX retries; ERR_NOMEM; what attach says. */
enum err dispatch_stream_start(struct dispatcher *d, struct bus *bus, struct bus_subscription *subscription,
                               const struct dispatch_spec *spec, struct dispatch_stream **out) must_check;
/* Attempts under way finish on the old specification, the next ones use the new; retry counts carry over. Errors as
 * start's; then nothing has changed. */
enum err dispatch_stream_update(struct dispatch_stream *s, const struct dispatch_spec *spec) must_check;
/* No new deliveries; attempts under way may finish (waiting retries are released) until `deadline_ns` from now, then
 * they are cut. Then detach, then stopped(arg), then the stream is gone. */
void dispatch_stream_stop(struct dispatch_stream *s, uint64_t deadline_ns, void (*stopped)(void *arg), void *arg);

/* A stream that its first event makes, or whoever injects one: most of the subscriptions of a large broker rest, and a
 * stream with its terms and sinks takes about 2 KiB, a sleeper 64 bytes. Until then it is attached with the credit that
 * the stream will ask for: a bus may need a round trip for more of it, and may not take back what it gave for it. Lies
 * in the owner's structure, from start until ops->stopped; on the dispatcher's loop. */
struct dispatch_sleeper;
struct dispatch_sleeper_ops {
    /* Makes the stream, by dispatch_sleeper_begin under the terms of now. Not OK: the event is back with the bus, which
     * gets the credit for it again after 100 ms. */
    enum err (*wake)(struct dispatch_sleeper *s);
    void (*stopped)(struct dispatch_sleeper *s); /* never inside the call of stop; it is the owner's again */
};
struct dispatch_sleeper {
    struct dispatch_stream *stream; /* NULL: asleep; once there it stays, and ends with the sleeper */
    struct dispatcher *dispatcher;  /* private, as what follows */
    struct bus *bus;
    struct bus_stream *source;
    const struct dispatch_sleeper_ops *ops;
    struct list link;
    unsigned credit, refused; /* that the bus has; for what was refused, and is to have again */
    bool stopping;
};
/* What attach says; then nothing has begun. `ops` is borrowed. `credit`: 1 or more, and no more than the stream takes,
 * as by its in_flight_max. */
enum err dispatch_sleeper_start(struct dispatch_sleeper *s, struct dispatcher *d, struct bus *bus,
                                struct bus_subscription *subscription, const struct dispatch_sleeper_ops *ops,
                                unsigned credit) must_check;
/* Of one that is asleep and does not stop. Errors as dispatch_stream_start's; then it is asleep still. */
enum err dispatch_sleeper_begin(struct dispatch_sleeper *s, const struct dispatch_spec *spec) must_check;
/* As dispatch_stream_stop; then ops->stopped. */
void dispatch_sleeper_stop(struct dispatch_sleeper *s, uint64_t deadline_ns);

/* An event that comes from no bus (a redriven one) and goes the way of the stream's own: its rate, order, retries, dead
 * letter, parking; not its filter, dedup or expiry. Lies in the caller's structure until done ran. */
struct dispatch_injection;
typedef void dispatch_injected_fn(struct dispatch_injection *i, enum dispatch_end how);
struct dispatch_injection {
    dispatch_injected_fn
        *done;             /* once, never inside the call; DISPATCH_RELEASED when the stream stopped before its end */
    void *owner;           /* the caller's own */
    struct loop_task task; /* private */
    enum dispatch_end how; /* private */
};
/* The event is referenced while needed. ERR_CLOSED: the stream stops; ERR_FULL: it has as many in hand as it may;
 * ERR_NOMEM. Then done does not run. */
enum err dispatch_stream_inject(struct dispatch_stream *s, const struct ce_event *event,
                                struct dispatch_injection *i) must_check;

#endif
