/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to dispatcher/: the structures behind a stream and one event in flight, and the calls between the files of
 * this room. Everything here is on the dispatcher's loop.
 */
#ifndef LEAT_DISPATCHER_FLIGHT_H
#define LEAT_DISPATCHER_FLIGHT_H

#include "buckets.h"
#include "dispatcher.h"
#include "list.h"

#define FLIGHTS_KEPT_MAX 4096 /* unused flights kept for reuse: about 2 MiB; a burst beyond it is given back */
#define PARK_WAIT_MAX_NS (30ull * NS_PER_S)  /* parking is local: no reason to wait longer once the bus is back */
#define STARVED_WAIT_NS (100ull * NS_PER_MS) /* without memory for a flight: how long its credit is held back */
#define REPORT_INTERVAL_NS (1ull * NS_PER_S) /* one line per stream at most this often */
#define REPORT_TEXT_MAX 160                  /* bytes of URL and of detail in that line */
#define HOLD_SLICE_NS (60ull * NS_PER_S)     /* who waits for a time of day looks at the clock so often: it may jump */
#define RATE_BURST_NS (100ull * NS_PER_MS)   /* a subscriber that was idle gets at most so much of its rate at once */
#define BATCH_BYTES_MAX (8u << 20) /* of the events of one batch in memory: bounds what one request composes */

/* The terms that a stream delivers under: a copied specification, immutable, counted. An attempt holds the terms it
 * started under. */
struct terms {
    unsigned refs;
    struct dispatcher *dispatcher;
    struct list link; /* in dispatcher->dead_terms once refs is 0 */
    /* With the defaults filled in: in_flight_max as it follows from order and batches; batch_max 1 without batches. */
    struct dispatch_spec spec;
    struct slice namespace_name;   /* in spec.namespace_name */
    const struct ce_event **batch; /* owned: room for batch_max events while a request is made; NULL without batches */
};

struct dispatcher {
    struct loop *loop;
    struct prng *prng;
    uint64_t hash_key[2]; /* strangers choose keys and ids */
    struct list streams;
    struct list flights; /* unused ones */
    size_t flights_kept;
    size_t orphans; /* flights whose stream is gone while their parking has not ended */
    bool closing;   /* free was called; the last orphan completes it */
    /* Terms may die inside a sink's own callback, and with them the sink: so their sinks are given back at the end of
     * the turn. */
    struct list dead_terms;
    struct loop_task bury;
    struct list sleepers; /* dispatch_sleeper: those that wait for memory, or for what their stream needs */
    struct loop_timer sleepers_timer;
};

struct report_texts {
    char url[REPORT_TEXT_MAX], detail[REPORT_TEXT_MAX];
};

/* What one line a second tells of a stream's failures. */
struct report {
    struct loop_timer timer;
    uint64_t failed, dead_lettered, parked, park_failed, replies_malformed; /* since the last line */
    int status;
    enum err err;
    struct report_texts *texts; /* of the latest failure; owned, made by the first: most streams never have one */
};

struct dispatch_stream {
    struct dispatcher *dispatcher;
    struct list link;
    struct bus *bus;
    struct bus_stream *source;
    struct terms *terms; /* the newest */
    struct list flights; /* every event in hand, in the order in which they came */
    /* dispatch.c: credit */
    unsigned outstanding; /* credit that the bus has and has not used */
    unsigned in_hand;     /* events of the bus in hand */
    unsigned injected;    /* events in hand that came from elsewhere */
    unsigned held;        /* events in hand that wait for their time, their key or their twin: they use no credit */
    unsigned starved;     /* credit held back for want of memory */
    struct loop_timer starved_timer;
    struct buckets tokens; /* flights of the bus by their token */
    /* order.c */
    unsigned placed;     /* flights that have a place: at most in_flight_max but for an update */
    uint64_t sequence;   /* of the latest place given */
    struct list ready;   /* flights that wait for a place, in order */
    struct list heirs;   /* flights whose twin went without an end: back to the gates */
    struct buckets keys; /* flights that lead their key */
    struct loop_task advance;
    /* rate.c */
    struct list rated; /* flights that wait for a token, in order */
    uint64_t rate_due_ns;
    struct loop_timer rate_timer;
    /* batch.c */
    struct list gathering; /* flights that wait to be sent together, in order */
    unsigned gathered;
    struct loop_timer gather_timer;
    struct dedup *dedup; /* NULL: no window */
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
    const char *reason; /* as dispatch_failure.reason; a literal */
    const char *url;    /* in bytes[] */
    struct slice data;  /* in bytes[] */
    char bytes[];
};

enum phase { PHASE_SUBSCRIBER, PHASE_REPLY, PHASE_DEAD_LETTER, PHASE_PARK };

enum activity {
    ACTIVITY_NONE,      /* between two steps, within one callback */
    ACTIVITY_HELD,      /* for its time */
    ACTIVITY_TWIN,      /* for the end of an event of the same source and id: in that one's twins, or in heirs */
    ACTIVITY_FOLLOWING, /* for the end of those of its key that came before: in the leader's followers */
    ACTIVITY_READY,     /* for a place: in stream->ready */
    ACTIVITY_RATED,     /* for a token: in stream->rated */
    ACTIVITY_GATHERING, /* for its batch: in stream->gathering */
    ACTIVITY_SENDING,   /* alone, or in a batch */
    ACTIVITY_WAITING,   /* for a retry */
    ACTIVITY_PARKING
};

/* One event in hand, from deliver to settle. */
struct flight {
    struct list link;  /* in stream->flights, or in dispatcher->flights */
    struct list queue; /* in the list that its activity names, or in its batch */
    struct dispatcher *dispatcher;
    struct dispatch_stream *stream; /* NULL: an orphan */
    struct terms *terms;            /* of the attempt under way, else of the last one */
    const struct ce_event *event;   /* the bus's, until the token is settled or revoked; of an injection: owned */
    const struct ce_event
        *outgoing; /* owned: what this phase sends in the event's stead (reply, dead letter); NULL: the event */
    const struct ce_event *copy; /* owned: that with its hops counted or stripped, for sinks that are copy_local */
    bool copy_local;
    struct failure *failure; /* owned: the latest */
    struct bus_token token;
    struct dispatch_injection *injection; /* in place of a token; NULL: the bus's */
    struct sink_call call;
    struct batch *batch; /* that it is sent in */
    struct loop_timer timer;
    unsigned tries;            /* attempts made in this phase */
    unsigned subscriber_tries; /* attempts made at the subscriber */
    enum phase phase;
    enum activity activity;
    int hops;                          /* that the event may still make; -1: it does not say, or not in a number */
    bool has_hops;                     /* it has the attribute */
    int64_t expires_ns, deliver_at_ns; /* by the wall clock; INT64_MAX, INT64_MIN: never, at once */
    uint64_t begun_ns;                 /* when it was taken in hand, or its time had come */
    uint64_t first_ns, sent_ns;        /* when the first attempt and the latest began */
    uint64_t gathered_ns;
    bool placed, leads; /* has a place; is the one of its key that may run */
    uint64_t sequence;  /* of its place */
    struct bucket_link by_token, by_key;
    struct list followers; /* of one that leads: those of its key, in order */
    uint64_t dedup;        /* number of its entry in stream->dedup; 0: none */
    struct list twins;     /* events of the same source and id that came while it is in hand */
};

/* ---- dispatch.c ---- */
void count_add(uint64_t *counter, uint64_t n);
void count_sub(uint64_t *counter, uint64_t n);
/* Gives the bus what it may have in all: whatever changed. */
void stream_balance(struct dispatch_stream *s);
/* A flight has ended and its place is free. */
void stream_flight_ended(struct dispatch_stream *s);
/* A stream on what is attached already, where the bus has this credit. Errors as dispatch_stream_start's. */
enum err stream_take_over(struct dispatcher *d, struct bus *bus, struct bus_stream *source, unsigned credit,
                          const struct dispatch_spec *spec, struct dispatch_stream **out) must_check;
/* As bus_stream_callbacks have it. */
void stream_deliver(struct dispatch_stream *s, struct bus_stream *source, const struct ce_event *event,
                    struct bus_token token, unsigned attempt);
void stream_revoked(struct dispatch_stream *s, const struct bus_stream *source, struct bus_token token);

/* ---- sleeper.c ---- */
void sleepers_due(struct loop_timer *t);

/* ---- terms.c ---- */
/* ERR_INVALID: neither subscriber nor reply, or a limit of include/dispatcher.h. */
enum err terms_new(struct dispatcher *d, const struct dispatch_spec *spec, struct terms **out) must_check;
struct terms *terms_ref(struct terms *t);
struct terms *terms_unref(struct terms *t);
/* Gives back what the dead terms held. Not inside a sink's callback. */
void terms_bury(struct dispatcher *d);

/* ---- flight.c ---- */
/* Takes the event in hand, `injection` in place of a token or NULL; flight_admit comes next. NULL without memory, and
 * nothing happened. */
struct flight *flight_new(struct dispatch_stream *s, const struct ce_event *event, struct bus_token token,
                          struct dispatch_injection *injection);
/* The flight in hand with this token, or NULL. */
struct flight *flight_find(struct dispatch_stream *s, struct bus_token token);
/* Ends it: counted, acked, recycled. */
void flight_end(struct flight *f, enum dispatch_end how);
/* Hands the event back to the bus; not while an attempt is under way. */
void flight_release(struct flight *f);
/* Forgets it without a word to the bus (revoked, or the stream leaves): cancels what is under way. */
void flight_drop(struct flight *f);
/* Whether it only waits, so that it can be given up without harm. */
bool flight_waits(const struct flight *f);
/* Gives up one that waits, as the stream stops: released, but in an ordered stream kept from the bus until the detach,
 * or what comes after it might be delivered elsewhere before what is still under way here. */
void flight_abandon(struct flight *f);
/* Takes it out of what it waits in; its activity is NONE after it. */
void flight_unqueue(struct flight *f);
/* Waits without using credit: activity is HELD, TWIN or FOLLOWING. */
void flight_hold(struct flight *f, enum activity activity);
/* Another try of this phase after wait_ns; a stream that stops abandons the event instead. */
void flight_wait(struct flight *f, uint64_t wait_ns);
/* The same when there was no memory for a step. */
void flight_wait_for_memory(struct flight *f);
void flight_free_all(struct dispatcher *d);

/* ---- attempt.c ---- */
/* The next attempt of this phase, or a wait for what it needs. It has a place. */
void flight_attempt(struct flight *f);
/* The same for the first of stream->rated when there is a token. */
void flight_attempt_rated(struct flight *f);
/* Goes by the stream's newest terms from now on. */
void flight_renew(struct flight *f);
/* Before an attempt of the event itself: false when it has expired, or is past its deadline; it has ended or gone on
 * then. */
bool flight_worth_sending(struct flight *f);
/* Makes what goes out to such a sink: f->copy, or NULL for the event as it is. False when there is no way; it waits or
 * has gone on then. */
bool flight_prepare(struct flight *f, const struct sink *sink);
/* An attempt begins: counted. */
void flight_sent(struct flight *f);
/* How it ended; answer->url is there. */
void flight_answered(struct flight *f, const struct sink_answer *answer);

/* ---- backoff.c ---- */
/* backoff_wait_ns, or a longer Retry-After (of 429 and 503) as far as it is honoured. */
uint64_t retry_wait_ns(const struct delivery *d, unsigned n, const struct sink_answer *answer, struct prng *prng);
/* Whether a failure is one to try again: by the user's list, else by sink_retryable. */
bool retry_wanted(const struct retry_on *on, enum err err, int status);

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
struct failure *failure_new(const struct sink_answer *answer, const char *url, const char *reason,
                            struct failure *cause);
/* With its causes; NULL is fine; NULL back. */
struct failure *failure_free(struct failure *f);
/* The original event with knativeerrordest, -code and -data. ERR_NOMEM, or what the builder says when there is no room
 * for them. */
enum err deadletter_event(const struct ce_event *original, const struct failure *f,
                          const struct ce_event **out) must_check;

/* ---- park.c ---- */
void flight_park(struct flight *f);

/* ---- note.c ---- */
/* An attempt has ended; `next_wait_ns` 0: none follows. Nothing without a trace. */
void note_attempt(const struct flight *f, const struct sink_answer *answer, uint64_t next_wait_ns);
/* It failed without an attempt. */
void note_refusal(const struct flight *f, const struct sink_answer *answer);
void note_ended(const struct flight *f, enum trace_end how);
void note_filtered(const struct dispatch_stream *s, const struct ce_event *e);

/* ---- report.c ---- */
void report_start(struct dispatch_stream *s);
void report_failure(struct dispatch_stream *s, const struct sink_answer *answer, const char *url);
/* Counted in s->report by the caller beforehand; this sees to it that a line comes. */
void report_soon(struct dispatch_stream *s);
/* The last line, if one is due. */
void report_stop(struct dispatch_stream *s);

#endif
