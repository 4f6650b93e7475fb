/* SPDX-License-Identifier: Apache-2.0
 *
 * The GitHub source on a data loop: takes webhooks, and answers 202 when the sink has accepted the event. The life of
 * one request:
 *
 *     head     what the head alone can refuse is refused, before a byte of the body is read
 *     data     the HMAC runs along as the body streams in
 *     end      signature, JSON, event type; then the event is made
 *     sending  attempts at the sink until one is accepted, tries are used up, or the deadline is near; then the answer
 *     close    frees it all, from whatever state; a client that went away takes its attempt along
 *
 * Invariants. A request that has state is in `requests`. `sending` and an armed timer exclude each other. One answer
 * a request. GitHub waits 10 s for an answer and does not send again by itself, hence the deadline and the tries.
 */
#include "github.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "hmac.h"
#include "list.h"
#include "loop.h"

#define DEADLINE_NS (8 * NS_PER_S) /* GitHub gives up after 10 s */
#define DEADLINE_LEAST_NS                                                                                              \
    (1 * NS_PER_S) /* for a sender whose body came late, and who waits longer than GitHub does                         \
                    */
#define TRIES_MAX 5
#define BACKOFF_NS (50 * NS_PER_MS) /* before the second try; doubled for each further one */
#define PAYLOAD_DEPTH_MAX 128       /* GitHub's payloads reach a tenth of it */

struct github {
    struct source head;
    struct github_options options;
    struct loop *loop;
    struct sink *sink;
    size_t event_bytes_max;
    struct source_counters *counters; /* shared by the loops */
    struct list requests;
    char last_failure[200];
    bool closing;
    struct loop_task closed_task;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct webhook {
    struct source_request head; /* first: see source.h */
    struct list link;
    struct http_request *request;
    struct github_head claimed; /* its slices are valid until close */
    struct hmac *hmac;          /* of the body so far; NULL: unsigned webhooks are taken */
    bool hmac_failed;
    const struct ce_event *ce; /* while it is on its way */
    struct sink_call call;
    bool sending, answered;
    unsigned tries;
    uint64_t deadline_ns;
    struct loop_timer retry;
};

static void count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static struct github *github_of(struct source *s)
{
    return container_of(s, struct github, head);
}

static struct github *owner_of(const struct webhook *w)
{
    return github_of(w->head.source);
}

/* ---- the answer ---- */

static void drop_event(struct webhook *w)
{
    w->ce = ce_event_unref(w->ce);
}

static void answer_unavailable(struct webhook *w, uint64_t retry_after_ns, const char *why)
{
    char seconds[24];
    snprintf(seconds, sizeof(seconds), "%llu",
             (unsigned long long)(retry_after_ns ? (retry_after_ns + NS_PER_S - 1) / NS_PER_S : 1));
    w->answered = true;
    count(&owner_of(w)->counters->failed);
    drop_event(w);
    github_respond(w->request, 503, "Retry-After", seconds, "%s; redeliver this webhook later.", why);
}

/* ---- sending ---- */

static void attempt(struct webhook *w);

static void remember_failure(struct github *g, const struct sink_answer *a)
{
    if (a->err == OK)
        snprintf(g->last_failure, sizeof(g->last_failure), "the sink answered %d", a->status);
    else
        snprintf(g->last_failure, sizeof(g->last_failure), "%s%s%.*s", err_name(a->err), a->detail.len ? ": " : "",
                 SLICE_ARG(a->detail));
}

static void give_up(struct webhook *w, const struct sink_answer *a)
{
    remember_failure(owner_of(w), a);
    if (a->err == ERR_TIMEOUT || a->err == ERR_UNAVAILABLE || a->err == ERR_CLOSED || a->err == ERR_NOMEM) {
        answer_unavailable(w, 0,
                           a->err == ERR_TIMEOUT ? "The sink did not answer in time" : "The sink cannot be reached");
        return;
    }
    if (a->err == ERR_FULL || a->status == 503 || a->status == 429) {
        answer_unavailable(w, a->retry_after_ns, "The sink takes no more events at the moment");
        return;
    }
    w->answered = true;
    count(&owner_of(w)->counters->failed);
    drop_event(w);
    if (a->err == ERR_TOO_LARGE)
        github_respond(w->request, 413, NULL, NULL, "The event is larger than the sink takes.");
    else if (a->err != OK)
        github_respond(w->request, 502, NULL, NULL, "The sink gave no valid answer (%s).", err_name(a->err));
    else
        github_respond(w->request, 502, NULL, NULL, "The sink refused the event with status %d.", a->status);
}

static void sent(struct sink_call *call, const struct sink_answer *a)
{
    struct webhook *w = container_of(call, struct webhook, call);
    assert(w->sending && !w->answered);
    w->sending = false;
    if (a->err == OK && a->status >= 200 && a->status < 300) {
        w->answered = true;
        count(&owner_of(w)->counters->emitted);
        drop_event(w);
        github_respond(w->request, 202, NULL, NULL, "accepted");
        return;
    }
    /* A channel of this process that is full stays so for longer than a webhook may wait, and waiting would hold the
     * memory that it lacks. */
    if (a->err == ERR_FULL || !sink_retryable(a->err, a->status) || w->tries >= TRIES_MAX) {
        give_up(w, a);
        return;
    }
    uint64_t wait = BACKOFF_NS << (w->tries - 1);
    if (wait < a->retry_after_ns)
        wait = a->retry_after_ns;
    struct loop *loop = owner_of(w)->loop;
    if (loop_now_ns(loop) + wait >= w->deadline_ns)
        give_up(w, a);
    else
        loop_timer_start(loop, &w->retry, wait);
}

static void attempt(struct webhook *w)
{
    struct github *g = owner_of(w);
    uint64_t now = loop_now_ns(g->loop);
    uint64_t left = w->deadline_ns > now ? w->deadline_ns - now : 1;
    struct sink_request request = {.event = w->ce,
                                   .format = CE_MODE_BINARY,
                                   .timeout_ns = left,
                                   .namespace_name = slice_str(g->options.spec->namespace_name)};
    if (g->options.sink_timeout_ns > 0 && g->options.sink_timeout_ns < left)
        request.timeout_ns = g->options.sink_timeout_ns;
    w->tries++;
    w->call.done = sent;
    enum err e = sink_send(g->sink, &w->call, &request);
    if (e == OK)
        w->sending = true;
    else
        give_up(w, &(struct sink_answer){.err = e});
}

static void retry(struct loop_timer *t)
{
    attempt(container_of(t, struct webhook, retry));
}

/* ---- the head ---- */

static bool begin_hmac(const struct github *g, struct webhook *w)
{
    if (g->options.secret.len == 0)
        return true;
    if (hmac_new(&w->hmac) == OK && hmac_init(w->hmac, g->options.secret) == OK)
        return true;
    hmac_free(w->hmac);
    return false;
}

static void http_head(struct source *s, struct http_request *r)
{
    struct github *g = github_of(s);
    count(&g->counters->received);
    if (g->closing) {
        count(&g->counters->failed);
        github_respond(r, 503, "Retry-After", "1", "The source is going away; redeliver this webhook later.");
        return;
    }
    struct github_head head = {0};
    enum github_verdict verdict = github_head_read(r, &g->options, g->event_bytes_max, &head);
    if (verdict != GITHUB_HEAD_GOOD) {
        count(verdict == GITHUB_HEAD_UNSIGNED ? &g->counters->refused_signature : &g->counters->refused_invalid);
        return;
    }
    struct webhook *w = calloc(1, sizeof(*w));
    if (!w || !begin_hmac(g, w)) {
        free(w);
        count(&g->counters->failed);
        github_respond(r, 503, "Retry-After", "1", "Out of memory; redeliver this webhook later.");
        return;
    }
    w->head.source = s;
    w->request = r;
    w->claimed = head;
    w->deadline_ns = loop_now_ns(g->loop) + DEADLINE_NS;
    loop_timer_init(&w->retry, retry);
    list_push_back(&g->requests, &w->link);
    http_request_set_state(r, w);
    http_request_allow_body(r, g->event_bytes_max);
}

static void http_data(struct source *s, struct http_request *r, struct slice piece)
{
    (void)s;
    struct webhook *w = http_request_state(r);
    if (w->hmac && hmac_update(w->hmac, piece) != OK)
        w->hmac_failed = true;
}

/* ---- the whole body ---- */

static enum err check_signature(struct webhook *w)
{
    if (!w->hmac)
        return OK;
    unsigned char computed[HMAC_SHA256_BYTES];
    bool failed = w->hmac_failed || hmac_final(w->hmac, computed) != OK;
    hmac_free(w->hmac);
    w->hmac = NULL;
    if (failed)
        return ERR_NOMEM;
    return hmac_equal(computed, w->claimed.signature) ? OK : ERR_DENIED;
}

static void answer(struct webhook *w, uint64_t *counter, int status, const char *text)
{
    w->answered = true;
    if (counter)
        count(counter);
    github_respond(w->request, status, NULL, NULL, "%s", text);
}

/* Makes the event; on failure the request is answered. */
static bool make_event(struct webhook *w, struct slice body, struct json_value payload)
{
    struct github *g = owner_of(w);
    struct github_webhook webhook = {w->claimed.event, w->claimed.delivery, body, payload};
    struct diag d = {0};
    enum err e =
        github_event_make(&g->options, &webhook, clock_wall_ns(loop_clock(g->loop)), g->event_bytes_max, &w->ce, &d);
    if (e == OK)
        return true;
    if (e == ERR_NOMEM)
        answer_unavailable(w, 0, "Out of memory");
    else if (e == ERR_TOO_LARGE)
        answer(w, &g->counters->refused_invalid, 413,
               "The webhook makes an event larger than this source takes (--max-event-bytes).");
    else
        answer(w, &g->counters->refused_invalid, 400, d.text);
    return false;
}

static void http_end(struct source *s, struct http_request *r)
{
    struct github *g = github_of(s);
    struct webhook *w = http_request_state(r);
    struct slice body = http_request_body(r);
    enum err e = check_signature(w);
    if (e == ERR_NOMEM) {
        answer_unavailable(w, 0, "Out of memory");
        return;
    }
    if (e != OK) {
        answer(w, &g->counters->refused_signature, 403,
               "The signature does not match: the webhook's secret on GitHub and this source's secret differ.");
        return;
    }
    struct json_value payload;
    struct diag d = {0};
    if (json_check(body, PAYLOAD_DEPTH_MAX, &payload, &d) != OK || payload.type != JSON_OBJECT) {
        w->answered = true;
        count(&g->counters->refused_invalid);
        if (d.text[0])
            github_respond(r, 400, NULL, NULL, "The body is no JSON: line %d, column %d: %.200s", d.line, d.column,
                           d.text);
        else
            github_respond(r, 400, NULL, NULL, "The body is no JSON object.");
        return;
    }
    bool wanted = github_events_has(g->options.events, w->claimed.event);
    if (!wanted && slice_eq_str(w->claimed.event, "ping")) {
        answer(w, NULL, 200, "pong: the webhook is set up rightly");
        return;
    }
    if (!wanted) {
        answer(w, &g->counters->ignored, 404, "This source does not take this event; its eventTypes name others.");
        return;
    }
    if (g->closing) {
        answer_unavailable(w, 0, "The source is going away");
        return;
    }
    if (!make_event(w, body, payload))
        return;
    uint64_t least = loop_now_ns(g->loop) + DEADLINE_LEAST_NS;
    if (w->deadline_ns < least)
        w->deadline_ns = least;
    attempt(w);
}

static void http_close(struct source *s, struct http_request *r)
{
    struct github *g = github_of(s);
    struct webhook *w = http_request_state(r);
    if (w->sending)
        sink_cancel(&w->call);
    loop_timer_stop(g->loop, &w->retry);
    if (!w->answered)
        count(&g->counters->failed);
    hmac_free(w->hmac);
    drop_event(w);
    list_remove(&w->link);
    http_request_set_state(r, NULL);
    free(w);
    if (g->closing && list_empty(&g->requests))
        loop_defer(g->loop, &g->closed_task);
}

/* ---- life ---- */

static enum err check(const struct source_spec *spec, struct diag *d)
{
    struct github_options options;
    return github_options_parse(spec, &options, d);
}

static void finish_close(struct loop_task *t)
{
    struct github *g = container_of(t, struct github, closed_task);
    assert(list_empty(&g->requests));
    void (*closed)(void *arg) = g->closed;
    void *arg = g->closed_arg;
    sink_unref(g->sink);
    free(g);
    closed(arg);
}

static enum err open_source(const struct source_spec *spec, const struct source_host *host, struct source **out,
                            struct diag *d)
{
    struct github_options options;
    enum err e = github_options_parse(spec, &options, d);
    if (e != OK)
        return e;
    struct github *g = calloc(1, sizeof(*g));
    if (!g)
        return ERR_NOMEM;
    g->head.ops = &github_source;
    g->options = options;
    g->loop = host->loop;
    g->sink = sink_ref(host->sink);
    g->event_bytes_max = host->event_bytes_max;
    g->counters = host->counters;
    list_init(&g->requests);
    loop_task_init(&g->closed_task, finish_close);
    *out = &g->head;
    return OK;
}

static void close_source(struct source *s, void (*closed)(void *arg), void *arg)
{
    struct github *g = github_of(s);
    assert(!g->closing);
    g->closing = true;
    g->closed = closed;
    g->closed_arg = arg;
    if (list_empty(&g->requests))
        loop_defer(g->loop, &g->closed_task);
}

static const char *last_failure(const struct source *s)
{
    return container_of(s, const struct github, head)->last_failure;
}

const struct source_ops github_source = {
    .name = "github",
    .check = check,
    .open = open_source,
    .close = close_source,
    .http_head = http_head,
    .http_data = http_data,
    .http_end = http_end,
    .http_close = http_close,
    .last_failure = last_failure,
    .register_start = github_register_start,
    .register_stop = github_register_stop,
    .main = github_main,
};
