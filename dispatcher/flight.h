/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to dispatcher/: the structures behind a stream and one event in flight, and the calls between the files of
 * this room. Everything here is on the dispatcher's loop.
 */
#ifndef LEAT_DISPATCHER_FLIGHT_H
#define LEAT_DISPATCHER_FLIGHT_H

#include "dispatcher.h"
#include "list.h"

#define FLIGHTS_KEPT_MAX 4096 /* unused flights kept for reuse: about 1 MiB; a burst beyond it is given back */
#define PARK_WAIT_MAX_NS (30ull * NS_PER_S)  /* parking is local: no reason to wait longer once the bus is back */
#define STARVED_WAIT_NS (100ull * NS_PER_MS) /* without memory for a flight: how long its credit is held back */
#define REPORT_INTERVAL_NS (1ull * NS_PER_S) /* one line per stream at most this often */
#define REPORT_TEXT_MAX 160                  /* bytes of URL and of detail in that line */

/* The terms that a stream delivers under: a copied specification, immutable, counted. An attempt holds the terms it
 * started under. */
struct terms {
    unsigned refs;
    struct dispatcher *dispatcher;
    struct list link; /* in dispatcher->dead_terms once refs is 0 */
    struct dispatch_spec spec;
    struct slice namespace_name; /* in spec.namespace_name */
};

struct dispatcher {
    struct loop *loop;
    struct prng *prng;
    struct list streams;
    struct list flights; /* unused ones */
    size_t flights_kept;
    size_t orphans; /* flights whose stream is gone while their parking has not ended */
    bool closing;   /* free was called; the last orphan completes it */
    /* Terms may die inside a sink's own callback, and with them the sink: so their sinks are given back at the end of
     * the turn. */
    struct list dead_terms;
    struct loop_task bury;
};

/* What one line a second tells of a stream's failures. */
struct report {
    struct loop_timer timer;
    uint64_t failed, dead_lettered, parked, park_failed, replies_malformed; /* since the last line */
    int status;
    enum err err;
    char url[REPORT_TEXT_MAX], detail[REPORT_TEXT_MAX]; /* of the latest failure */
};

struct dispatch_stream {
    struct dispatcher *dispatcher;
    struct list link;
    struct bus *bus;
    struct bus_stream *source;
    struct terms *terms; /* the newest */
    struct list flights; /* every event in hand */
    unsigned debt;       /* credit that an update took away and the bus still has */
    unsigned starved;    /* credit held back for want of memory */
    struct loop_timer starved_timer;
    struct report report;
    bool stopping;
    struct loop_timer deadline;
    struct loop_task leave;
    struct bus_op detach;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* One destination that took nothing: what the dead letter and the parked event tell of it. */
struct failure {
    struct failure *cause; /* owned: the failure that led to this destination, else NULL */
    int status, code;      /* as it came (0: none); as knativeerrorcode says it */
    enum err err;
    const char *url;   /* in bytes[] */
    struct slice data; /* in bytes[] */
    char bytes[];
};

enum phase { PHASE_SUBSCRIBER, PHASE_REPLY, PHASE_DEAD_LETTER, PHASE_PARK };

enum activity {
    ACTIVITY_NONE, /* between two steps, within one callback */
    ACTIVITY_SENDING,
    ACTIVITY_WAITING,
    ACTIVITY_PARKING
};

/* One event in hand, from deliver to settle. */
struct flight {
    struct list link; /* in stream->flights, or in dispatcher->flights */
    struct dispatcher *dispatcher;
    struct dispatch_stream *stream; /* NULL: an orphan */
    struct terms *terms;            /* of the attempt under way, else of the last one */
    const struct ce_event *event;   /* the bus's, until the token is settled or revoked */
    const struct ce_event
        *outgoing; /* owned: what this phase sends in the event's stead (reply, dead letter); NULL: the event */
    struct failure *failure; /* owned: the latest */
    struct bus_token token;
    struct sink_call call;
    struct loop_timer timer;
    unsigned tries;            /* attempts made in this phase */
    unsigned subscriber_tries; /* attempts made at the subscriber */
    enum phase phase;
    enum activity activity;
};

/* ---- dispatch.c ---- */
void count_add(uint64_t *counter, uint64_t n);
void count_sub(uint64_t *counter, uint64_t n);
/* A flight has ended and its place is free: `credit` says whether the bus may send one more in its stead. */
void stream_flight_ended(struct dispatch_stream *s, bool credit);

/* ---- terms.c ---- */
/* ERR_INVALID: neither subscriber nor reply, or more than DISPATCH_RETRY_MAX retries. */
enum err terms_new(struct dispatcher *d, const struct dispatch_spec *spec, struct terms **out) must_check;
struct terms *terms_ref(struct terms *t);
struct terms *terms_unref(struct terms *t);
/* Gives back what the dead terms held. Not inside a sink's callback. */
void terms_bury(struct dispatcher *d);

/* ---- flight.c ---- */
/* Takes the event in hand and starts its first attempt. ERR_NOMEM: nothing happened. */
enum err flight_begin(struct dispatch_stream *s, const struct ce_event *event, struct bus_token token) must_check;
/* Ends it well: counted, acked, recycled. */
void flight_end(struct flight *f, enum dispatch_end how);
/* Hands the event back to the bus; not while an attempt is under way. */
void flight_release(struct flight *f);
/* Forgets it without a word to the bus (revoked, or the stream leaves): cancels what is under way. */
void flight_drop(struct flight *f);
/* Another try of this phase after wait_ns; a stream that stops releases the event instead. */
void flight_wait(struct flight *f, uint64_t wait_ns);
void flight_free_all(struct dispatcher *d);

/* ---- backoff.c ---- */
/* backoff_wait_ns, or a longer Retry-After (of 429 and 503) as far as it is honoured. */
uint64_t retry_wait_ns(const struct delivery *d, unsigned n, const struct sink_answer *answer, struct prng *prng);

/* ---- reply.c ---- */
enum reply_verdict {
    REPLY_NONE,    /* nothing to pass on */
    REPLY_FORWARD, /* answer->reply is to be sent */
    REPLY_IGNORED, /* something came that is no reply by the rules; counted */
    REPLY_BROKEN   /* it makes the delivery a failure */
};
/* What a 2xx answer of the subscriber means. Pure. */
enum reply_verdict reply_judge(const struct sink_answer *answer, bool must_be_event);

/* ---- deadletter.c ---- */
/* Copies what went wrong, taking over `cause` when it succeeds; NULL without memory. */
struct failure *failure_new(const struct sink_answer *answer, const char *url, struct failure *cause);
/* With its causes; NULL is fine; NULL back. */
struct failure *failure_free(struct failure *f);
/* The original event with knativeerrordest, -code and -data. ERR_NOMEM, or what the builder says when there is no room
 * for them. */
enum err deadletter_event(const struct ce_event *original, const struct failure *f,
                          const struct ce_event **out) must_check;

/* ---- park.c ---- */
void flight_park(struct flight *f);

/* ---- report.c ---- */
void report_start(struct dispatch_stream *s);
void report_failure(struct dispatch_stream *s, const struct sink_answer *answer, const char *url);
/* Counted in s->report by the caller beforehand; this sees to it that a line comes. */
void report_soon(struct dispatch_stream *s);
/* The last line, if one is due. */
void report_stop(struct dispatch_stream *s);

#endif
