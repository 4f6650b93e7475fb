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

struct dispatcher;
struct dispatch_stream;

#define DISPATCH_RETRY_MAX 1000                       /* more than that many retries is a mistake in a manifest */
#define DISPATCH_BACKOFF_DELAY_NS (50ull * NS_PER_MS) /* when a policy or a retry count is given without a delay */
#define DISPATCH_BACKOFF_MAX_NS (3600ull * NS_PER_S)  /* cap without backoffMax: an hour */
#define DISPATCH_TIMEOUT_NS (30ull * NS_PER_S)        /* per attempt, without delivery.timeout */
#define DISPATCH_ERROR_DATA_MAX 768                   /* bytes of an error body kept: 1024 characters of base64 */
#define DISPATCH_IN_FLIGHT 64                         /* per stream and loop, when nothing else is said */

enum backoff_policy {
    BACKOFF_EXPONENTIAL, /* d * 2^(n-1) before retry n = 1, 2 ... */
    BACKOFF_LINEAR       /* d * n */
};

/* How a subscription is delivered; plain data, copied. */
struct delivery {
    unsigned retry; /* retries after the first attempt */
    enum backoff_policy backoff_policy;
    uint64_t backoff_delay_ns;   /* 0: DISPATCH_BACKOFF_DELAY_NS */
    uint64_t backoff_max_ns;     /* 0: DISPATCH_BACKOFF_MAX_NS */
    unsigned jitter_percent;     /* of the wait, to both sides: 10 */
    uint64_t timeout_ns;         /* of an attempt; 0: DISPATCH_TIMEOUT_NS */
    uint64_t retry_after_max_ns; /* Retry-After is honoured up to it (429, 503); 0: ignored */
    int format;                  /* -1 as it came, else enum ce_mode */
};

/* A wait before retry n (from 1), with jitter from `prng` (NULL: none); never above the cap, never overflowing. */
uint64_t backoff_wait_ns(const struct delivery *d, unsigned n, struct prng *prng);

/* Why an event was parked or dropped; also the `reason` label of metrics. */
enum dispatch_end {
    DISPATCH_DELIVERED,     /* subscriber took it, and the reply, if any, went where it belongs */
    DISPATCH_DEAD_LETTERED, /* the dead letter sink took it */
    DISPATCH_PARKED,        /* neither; kept where a user can see it */
    DISPATCH_END_COUNT
};

struct dispatch_counters {      /* written on the loop, read by anyone: relaxed atomics */
    uint64_t attempts, retries; /* sendings to whatever destination; those that were not the event's first there */
    uint64_t failed_attempts;   /* sendings that ended without a 2xx, or with a reply that breaks the rules */
    /* Events by their end: with `in_flight`, each event taken in is in exactly one, or was released or revoked. */
    uint64_t delivered, dead_lettered, parked, filtered;
    uint64_t replies, replies_ignored; /* taken by the reply sink; dropped: no reply sink, malformed, or with a 202 */
    uint64_t in_flight;                /* a gauge: events in hand, those waiting for a retry included */
};

/* What a parked event ended with. Borrowed for the call to `park`. */
struct dispatch_failure {
    const struct ce_event *event; /* the original */
    const char *destination;      /* URL that failed last */
    int status;                   /* 0: no answer */
    enum err err;
    struct slice data;                    /* first bytes of the answer, or the detail */
    unsigned attempts;                    /* at the subscriber */
    const struct dispatch_failure *cause; /* when the dead letter sink failed: what had led there; else NULL */
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
    unsigned in_flight_max;   /* credit; 0: DISPATCH_IN_FLIGHT */
    /* Evaluated before any I/O; false: the event is acked and counted as filtered. NULL: all pass. */
    bool (*filter)(void *filter_arg, const struct ce_event *event);
    void *filter_arg;
    /* Parks an event for ever: must call `parked(park_arg2, err)` once, not inside the call; not OK: the dispatcher
     * tries again with backoff, the event stays unsettled meanwhile. */
    void (*park)(void *park_arg, const struct dispatch_failure *failure, void (*parked)(void *park_arg2, enum err err),
                 void *park_arg2);
    void *park_arg;
    struct dispatch_counters *counters; /* shared by the streams of one subscription; outlives them */
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

#endif
