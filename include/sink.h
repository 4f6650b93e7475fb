/* SPDX-License-Identifier: Apache-2.0
 *
 * A sink: one place where an event can be sent. To the sender (dispatcher, source) every sink looks the same; behind it
 * is an HTTP URL (clients/http_sink.c) or a channel of this very process (broker/). Neither sender nor sink knows of
 * the other's kind.
 *
 * A sink belongs to one loop, and everything here is called and calls back on that loop.
 */
#ifndef LEAT_SINK_H
#define LEAT_SINK_H

#include "ce_http.h"
#include "event.h"

struct sink;
struct sink_call;

/* What to send and how. Borrowed for the call to sink_send, but `event`, which the sink refs while it needs it. */
struct sink_request {
    const struct ce_event *event;
    const struct ce_event *cause; /* of a reply: the event whose delivery made it, for the trace; else NULL */
    /* Several events in one request, as application/cloudevents-batch+json, also when it is only one; `event` is the
     * first, `format` does not count, and there is no want_reply. Only to sinks that are not `local`; an answer counts
     * for all. batch_count 0: `event` alone. */
    const struct ce_event *const *batch;
    size_t batch_count;
    bool want_reply;             /* HTTP: "Prefer: reply"; a reply that comes is decoded */
    int format;                  /* -1: as the event came (its mode; batch counts as structured); else enum ce_mode */
    uint64_t timeout_ns;         /* from sink_send to the end of the answer; 0: the sink's default of 30 s */
    struct slice namespace_name; /* HTTP: Kn-Namespace; empty: none. Must outlive the call */
};

/* How it ended. All borrowed: valid during the callback only. */
struct sink_answer {
    enum err err; /* OK: an answer came, see status. Else ERR_UNAVAILABLE (no connection), ERR_TIMEOUT, ERR_PROTOCOL
                     (malformed answer), ERR_FULL (a local channel at its bound), ERR_TOO_LARGE, ERR_CLOSED,
                     ERR_CANCELED, ERR_NOMEM */
    int status;   /* HTTP status; local channels answer 202; 0 when none came */
    uint64_t retry_after_ns;      /* of a Retry-After header (seconds, or HTTP-date against the clock), 0 when none */
    struct slice body;            /* first bytes of the answer's body, up to what the sink keeps (at least 768) */
    const struct ce_event *reply; /* the reply event when one came, else NULL; only where want_reply. Ref to keep */
    bool reply_malformed;         /* 2xx (not 202) with a body that is no valid CloudEvent */
    struct slice
        detail; /* for people: "connection refused", "no answer within 30 s"; why the reply is malformed; else empty */
    const char *url; /* where it went */
};

/* Runs exactly once per sink_send, after sink_send returned, unless sink_cancel withdrew it. */
typedef void sink_done_fn(struct sink_call *call, const struct sink_answer *answer);

/* One sending under way; lies in the caller's structure and is left alone by the caller until done or cancel. */
struct sink_call {
    struct sink *sink;
    sink_done_fn *done;
    void *state; /* the sink's own */
};

struct sink_ops {
    /* Starts one sending. OK: done follows. ERR_NOMEM, ERR_FULL, ERR_CLOSED at once, and then no done. */
    enum err (*send)(struct sink *s, struct sink_call *call, const struct sink_request *request);
    /* Withdraws a call whose done has not run: it never will. What was sent cannot be unsent. */
    void (*cancel)(struct sink *s, struct sink_call *call);
    void (*free)(struct sink *s);
};

/* The common head of every kind of sink. */
struct sink {
    const struct sink_ops *ops;
    unsigned refs;
    const char *url; /* as shown to people and in knativeerrordest; owned by the kind of sink */
    bool local;      /* a channel of this process: an event that goes there spends one hop (loop guard) */
};

static inline enum err must_check sink_send(struct sink *s, struct sink_call *call, const struct sink_request *request)
{
    call->sink = s;
    return s->ops->send(s, call, request);
}

static inline void sink_cancel(struct sink_call *call)
{
    call->sink->ops->cancel(call->sink, call);
}

static inline struct sink *sink_ref(struct sink *s)
{
    s->refs++;
    return s;
}

/* NULL is fine; always NULL back. The last reference must not be given back while a call is under way. */
static inline struct sink *sink_unref(struct sink *s)
{
    if (s && --s->refs == 0)
        s->ops->free(s);
    return NULL;
}

/* Whether the same request may succeed when it is sent again: no answer, or 404, 408, 409, 429 and 5xx (knative/specs
 * data-plane.md). `status` 0: there was none, and `err` says why. */
bool sink_retryable(enum err err, int status);

#endif
