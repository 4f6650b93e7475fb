/* SPDX-License-Identifier: Apache-2.0
 *
 * The sink that is an HTTP URL. On the loop of its http_client.
 *
 * The request line and the headers that never change are composed once; a call appends the event's own behind a copy of
 * them. Calls, with their buffers, come from the sink's free list, so a steady stream of events allocates nothing here.
 *
 * What counts as a reply: reference is the Knative data plane specification. A 2xx other than 202 answers with one
 * CloudEvent, binary or structured, or with nothing; any other body is malformed, and its sender decides what that
 * means.
 */
#include "http_sink.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "http_date.h"
#include "text.h"

#define REPLY_BYTES_DEFAULT (1u << 20)
#define HEAD_BYTES_MAX (4u << 20)   /* of a request: attributes percent-coded, three bytes for one */
#define BODY_BYTES_MAX (512u << 20) /* of an envelope: an event's data in base64 at the most */
#define FREE_CALLS_MAX 32u          /* kept per sink: as many as it has connections */
#define KEPT_BYTES_MAX (16u << 10)  /* a larger buffer is not kept for the next call */

struct http_call {
    struct http_exchange exchange;
    struct list link; /* in the sink's free list */
    struct http_sink *sink;
    struct sink_call *call;
    const struct ce_event *event; /* a reference: binary mode sends its data from where it lies */
    bool want_reply;
    struct buf head, body;
};

struct http_sink {
    struct sink sink;
    struct http_client *client;
    struct http_origin *origin;
    struct http_url url;
    struct http_sink_options options;
    struct buf prefix; /* request line and constant headers */
    struct list free_calls;
    unsigned free_count, calls;
};

/* ---- calls ---- */

static void call_free(struct http_call *x)
{
    buf_fini(&x->head);
    buf_fini(&x->body);
    free(x);
}

static struct http_call *call_take(struct http_sink *s)
{
    struct list *l = list_pop_front(&s->free_calls);
    if (l) {
        s->free_count--;
        return container_of(l, struct http_call, link);
    }
    struct http_call *x = calloc(1, sizeof(*x));
    if (!x)
        return NULL;
    x->sink = s;
    list_init(&x->link);
    buf_init(&x->head, HEAD_BYTES_MAX);
    buf_init(&x->body, BODY_BYTES_MAX);
    return x;
}

static void recycle(struct buf *b)
{
    if (b->cap > KEPT_BYTES_MAX)
        buf_fini(b);
    else
        buf_clear(b);
}

static void call_give(struct http_call *x)
{
    struct http_sink *s = x->sink;
    x->event = ce_event_unref(x->event);
    x->call = NULL;
    if (s->free_count == FREE_CALLS_MAX) {
        call_free(x);
        return;
    }
    recycle(&x->head);
    recycle(&x->body);
    list_push_front(&s->free_calls, &x->link);
    s->free_count++;
}

/* ---- answers ---- */

static struct slice malformed(struct sink_answer *a, struct diag *d, const char *why)
{
    a->reply_malformed = true;
    if (why)
        (void)diag_set(d, ERR_INVALID, "%s", why);
    return slice_str(d->text);
}

/* Decodes what came with a 2xx that may carry a reply. The event is ours to unref. */
static const struct ce_event *read_reply(const struct http_sink *s, const struct http_response *r,
                                         struct sink_answer *a, struct diag *d)
{
    const struct ce_event *event = NULL;
    enum ce_mode mode;
    size_t count;
    if (!ce_http_is_event(r->headers, r->header_count)) {
        if (r->body.len || r->body_cut)
            a->detail = malformed(a, d, "the answer's body is no CloudEvent");
    } else if (r->body_cut || r->body.len > s->options.reply_limits.event_bytes_max) {
        a->detail = malformed(a, d, "the reply is larger than an event may be");
    } else if (ce_http_mode(r->headers, r->header_count, &mode, d) != OK) {
        a->detail = malformed(a, d, NULL);
    } else if (mode == CE_MODE_BATCH) {
        a->detail = malformed(a, d, "the reply is a batch; one event is allowed");
    } else {
        enum err e =
            ce_http_decode(r->headers, r->header_count, r->body, &s->options.reply_limits, &event, 1, &count, d);
        if (e == ERR_NOMEM)
            a->err = e, a->detail = SLICE("no memory for the reply");
        else if (e)
            a->detail = malformed(a, d, NULL);
    }
    return event;
}

static uint64_t read_retry_after(const struct http_sink *s, const struct http_response *r)
{
    struct slice text;
    uint64_t seconds;
    int64_t then_ns;
    if (!http_header_find(r->headers, r->header_count, "Retry-After", &text))
        return 0;
    if (decimal_parse(text, UINT64_MAX / NS_PER_S, &seconds) == OK)
        return seconds * NS_PER_S;
    if (http_date_parse(text, &then_ns) != OK)
        return 0;
    int64_t now_ns = clock_wall_ns(loop_clock(http_client_loop(s->client)));
    return then_ns > now_ns ? (uint64_t)then_ns - (uint64_t)now_ns : 0;
}

static void answered(struct http_exchange *exchange, enum err err, const struct http_response *r, const char *detail)
{
    struct http_call *x = container_of(exchange, struct http_call, exchange);
    struct http_sink *s = x->sink;
    struct sink_call *call = x->call;
    struct sink_answer a = {.err = err, .detail = slice_str(detail), .url = s->sink.url};
    const struct ce_event *reply = NULL;
    struct diag d; /* of the reply: a.detail may point into it */
    d.text[0] = '\0';
    if (r) {
        a.status = r->status;
        a.body = r->body;
        a.retry_after_ns = read_retry_after(s, r);
        if (x->want_reply && r->status / 100 == 2 && r->status != 202)
            reply = read_reply(s, r, &a, &d);
        a.reply = reply;
    }
    call_give(x);
    s->calls--;
    sink_ref(&s->sink); /* done may give the last reference back, and with it the URL */
    call->state = NULL;
    call->done(call, &a);
    ce_event_unref(reply);
    sink_unref(&s->sink);
}

/* ---- requests ---- */

static enum ce_mode mode_of(const struct sink_request *q)
{
    return ce_event_mode_for(q->event, q->format < 0 ? ce_event_mode(q->event) : (enum ce_mode)q->format);
}

/* Transport headers are left out: each event of a batch has its own. */
static void encode_batch(const struct sink_request *q, struct buf *head, struct buf *body)
{
    buf_put(head, SLICE("Content-Type: application/cloudevents-batch+json; charset=UTF-8\r\n"));
    for (size_t i = 0; i < q->batch_count; i++) {
        buf_put_char(body, i == 0 ? '[' : ',');
        ce_json_encode(q->batch[i], body);
    }
    buf_put_char(body, ']');
}

static enum err compose(struct http_call *x, const struct sink_request *q)
{
    struct buf *head = &x->head;
    buf_put(head, buf_slice(&x->sink->prefix));
    struct slice body;
    if (q->batch_count > 0) {
        encode_batch(q, head, &x->body);
        body = buf_slice(&x->body);
    } else if (mode_of(q) == CE_MODE_BINARY) {
        ce_http_encode_binary(q->event, head);
        body = ce_event_data(q->event);
    } else {
        ce_http_encode_structured(q->event, head, &x->body);
        body = buf_slice(&x->body);
    }
    if (q->want_reply)
        buf_put(head, SLICE("Prefer: reply\r\n"));
    if (q->namespace_name.len) {
        buf_put(head, SLICE("Kn-Namespace: "));
        buf_put(head, q->namespace_name);
        buf_put(head, SLICE("\r\n"));
    }
    buf_put(head, SLICE("Content-Length: "));
    buf_put_u64(head, body.len);
    buf_put(head, SLICE("\r\n\r\n"));
    x->exchange.body = body;
    x->exchange.head = buf_slice(head);
    enum err e = buf_error(head);
    return e ? e : buf_error(&x->body);
}

static enum err http_sink_send(struct sink *sink, struct sink_call *call, const struct sink_request *q)
{
    struct http_sink *s = container_of(sink, struct http_sink, sink);
    struct http_call *x = call_take(s);
    assert(q->batch_count == 0 || !q->want_reply);
    if (!x)
        return ERR_NOMEM;
    enum err e = compose(x, q);
    x->exchange.done = answered;
    x->exchange.body_max = s->options.body_max;
    x->exchange.timeout_ns = q->timeout_ns;
    x->exchange.head_request = false;
    x->event = ce_event_ref(q->event);
    x->want_reply = q->want_reply;
    x->call = call;
    if (e == OK)
        e = http_exchange_start(s->origin, &x->exchange);
    if (e) {
        call_give(x);
        return e;
    }
    s->calls++;
    call->state = x;
    return OK;
}

static void http_sink_cancel(struct sink *sink, struct sink_call *call)
{
    struct http_sink *s = container_of(sink, struct http_sink, sink);
    struct http_call *x = call->state;
    assert(x && x->call == call && s->calls > 0);
    http_exchange_cancel(&x->exchange);
    call_give(x);
    s->calls--;
    call->state = NULL;
}

/* ---- the sink ---- */

static void http_sink_free(struct sink *sink)
{
    struct http_sink *s = container_of(sink, struct http_sink, sink);
    assert(s->calls == 0);
    for (struct list *l; (l = list_pop_front(&s->free_calls));)
        call_free(container_of(l, struct http_call, link));
    http_origin_unref(s->origin);
    http_url_fini(&s->url);
    buf_fini(&s->prefix);
    free(s);
}

static const struct sink_ops ops = {.send = http_sink_send, .cancel = http_sink_cancel, .free = http_sink_free};

/* Each URL has connections of its own, or a service that never answers would take all of its host's, and the services
 * beside it would wait. */
static enum err prepare(struct http_sink *s, struct slice url, struct diag *d)
{
    enum err e = http_url_parse(url, &s->url, d);
    if (e)
        return e;
    s->sink.url = s->url.text;
    buf_init(&s->prefix, HEAD_BYTES_MAX);
    buf_printf(&s->prefix, "POST %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: leat/" LEAT_VERSION "\r\n",
               SLICE_ARG(s->url.target), SLICE_ARG(s->url.authority));
    e = buf_error(&s->prefix);
    return e ? e : http_origin_get(s->client, &s->url, s->url.target, &s->origin);
}

enum err http_sink_new(struct http_client *client, struct slice url, const struct http_sink_options *options,
                       struct sink **out, struct diag *d)
{
    struct http_sink *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->sink.ops = &ops;
    s->sink.refs = 1;
    s->client = client;
    if (options)
        s->options = *options;
    struct ce_http_limits *limits = &s->options.reply_limits;
    limits->event_bytes_max = limits->event_bytes_max ? limits->event_bytes_max : REPLY_BYTES_DEFAULT;
    limits->batch_max = limits->batch_max ? limits->batch_max : 1;
    s->options.body_max = s->options.body_max ? s->options.body_max : REPLY_BYTES_DEFAULT;
    list_init(&s->free_calls);
    enum err e = prepare(s, url, d);
    if (e) {
        http_sink_free(&s->sink);
        return e;
    }
    *out = &s->sink;
    return OK;
}
