/* SPDX-License-Identifier: Apache-2.0
 *
 * Ingress: an HTTP request becomes events, the events go to the channel that the path or host names, and the answer
 * says what became of them. Requests for a source's webhook go to the source. On the shard's loop.
 *
 *     202 appended · 400 no valid CloudEvent, or one that may not enter · 404 nobody declared it · 405 not a POST · 413
 * too large · 415 format not known · 503 full, or not now, or declared and not ready
 *
 * A batch is decoded and checked whole or not at all. When a channel fills up in the middle of one, the sender gets 503
 * and sends all of it again: at least once.
 */
#include "entry.h"

#include <stdlib.h>

#include "ce_http.h"
#include "text.h"

#define BATCH_MAX 1000             /* events in one batch: what fits a body of the default size at a kilobyte each */
#define ATTRIBUTES_ALLOWANCE 65536 /* an event in memory exceeds its body by its attributes */
#define RETRY_AFTER "1"            /* seconds; backlogs on one machine move faster than that */

const char *const refusal_names[REFUSED_COUNT] = {
    [REFUSED_NOT_FOUND] = "not_found",     [REFUSED_METHOD] = "method",       [REFUSED_INVALID] = "invalid",
    [REFUSED_UNSUPPORTED] = "unsupported", [REFUSED_TOO_LARGE] = "too_large", [REFUSED_FULL] = "full",
    [REFUSED_UNAVAILABLE] = "unavailable", [REFUSED_LOOP] = "loop",
};

static void refuse(struct shard *s, struct http_request *r, enum refusal why, int status, struct slice text)
{
    struct http_header headers[] = {
        {SLICE("Content-Type"), SLICE("text/plain; charset=utf-8")},
        {SLICE("Retry-After"), SLICE(RETRY_AFTER)},
    };
    count(&s->counters.refused[why]);
    http_respond(r, status, headers, status == 503 ? 2 : 1, text);
}

static void refuse_err(struct shard *s, struct http_request *r, enum err e, struct slice text)
{
    switch (e) {
    case ERR_INVALID:
        refuse(s, r, REFUSED_INVALID, 400, text);
        break;
    case ERR_DENIED: /* its hops are spent */
        refuse(s, r, REFUSED_LOOP, 400, text);
        break;
    case ERR_UNSUPPORTED:
        refuse(s, r, REFUSED_UNSUPPORTED, 415, text);
        break;
    case ERR_TOO_LARGE:
        refuse(s, r, REFUSED_TOO_LARGE, 413, text);
        break;
    case ERR_FULL:
        refuse(s, r, REFUSED_FULL, 503, text);
        break;
    default:
        refuse(s, r, REFUSED_UNAVAILABLE, 503, text);
    }
}

/* ---- one POST under way: its appends may end after the client has gone ---- */

struct post;
struct slot {
    struct entry entry;
    struct post *post;
};
struct post {
    struct http_request *request; /* NULL once closed */
    struct shard *shard;
    struct engine_channel *channel;
    size_t pending; /* appends whose done has not run, and one while they are being started */
    enum err worst;
    struct slot slots[];
};

static void answer(struct post *p)
{
    if (p->worst == OK)
        http_respond(p->request, 202, NULL, 0, (struct slice){0});
    else if (p->worst == ERR_FULL)
        refuse_err(p->shard, p->request, p->worst,
                   SLICE("full: a subscription's backlog is at the channel's bound, or the disk has no room to spare; "
                         "try again\n"));
    else if (p->worst == ERR_TOO_LARGE)
        refuse_err(p->shard, p->request, p->worst, SLICE("the event is too large for the channel's bus\n"));
    else
        refuse_err(p->shard, p->request, p->worst, SLICE("the channel cannot take events now; try again\n"));
}

static void finished_one(struct post *p, enum err e)
{
    if (e != OK && p->worst == OK)
        p->worst = e;
    if (--p->pending > 0)
        return;
    if (p->request) {
        http_request_set_state(p->request, NULL);
        answer(p);
    }
    free(p);
}

static void entered(struct entry *n, enum err e)
{
    finished_one(container_of(n, struct slot, entry)->post, e);
}

/* Starts all appends; stops at the first that is refused at once. */
static void start_all(struct post *p, const struct ce_event *const *events, size_t n, uint64_t request)
{
    enum err e = OK;
    p->pending = 1;
    for (size_t i = 0; i < n && e == OK; i++) {
        p->slots[i].post = p;
        p->slots[i].entry = (struct entry){
            .shard = p->shard, .channel = p->channel, .event = events[i], .request = request, .done = entered};
        p->pending++;
        e = entry_start(&p->slots[i].entry);
        if (e != OK)
            p->pending--;
    }
    finished_one(p, e);
}

static void take_events(struct shard *s, struct http_request *r, struct engine_channel *channel,
                        const struct ce_event *const *events, size_t n)
{
    struct post *p = malloc(sizeof *p + n * sizeof p->slots[0]);
    if (!p) {
        refuse_err(s, r, ERR_NOMEM, SLICE("out of memory; try again\n"));
        return;
    }
    p->request = r;
    p->shard = s;
    p->channel = channel;
    p->worst = OK;
    http_request_set_state(r, p);
    start_all(p, events, n, count_next(&s->counters.requests));
}

/* ---- a channel's requests ---- */

/* An event refused for what it says: the reason goes to the sender, who wrote it. */
static void refuse_event(struct shard *s, struct http_request *r, enum err e, const struct diag *d)
{
    struct buf text;
    buf_init(&text, 1024);
    buf_printf(&text, "%s\n", e == ERR_NOMEM ? "out of memory; try again" : d->text);
    refuse_err(s, r, e, buf_slice(&text));
    buf_fini(&text);
}

/* All events may enter, or none. Those that changed on the way in are replaced. */
static enum err admit(struct shard *s, size_t channel, const struct ce_event **events, size_t n, struct diag *d)
{
    const struct plan_channel *plan = &s->routing->plan->channels[channel];
    enum err e = OK;
    size_t i = 0;
    for (; i < n && e == OK; i++) {
        e = entry_check(s->routing->channels[channel], loop_clock(s->loop), events[i], d);
        if (e == OK && plan->broker)
            e = entry_spend_hop(&events[i], d);
    }
    if (e != OK && n > 1 && e != ERR_NOMEM) {
        char text[sizeof d->text];
        memcpy(text, d->text, sizeof text);
        diag_set(d, e, "event %zu of the batch: %s", i, text);
    }
    return e;
}

static void decode_batch(struct shard *s, struct http_request *r, size_t channel, const struct ce_http_limits *limits)
{
    struct diag d = {0};
    size_t header_count, n = 0;
    const struct http_header *headers = http_request_headers(r, &header_count);
    const struct ce_event **events = malloc(BATCH_MAX * sizeof(struct ce_event *));
    enum err e = events ? ce_http_decode(headers, header_count, http_request_body(r), limits, events, BATCH_MAX, &n, &d)
                        : ERR_NOMEM;
    if (e == OK)
        e = admit(s, channel, events, n, &d);
    if (e != OK)
        refuse_event(s, r, e, &d);
    else
        take_events(s, r, s->routing->channels[channel], events, n);
    for (size_t i = 0; i < n; i++)
        ce_event_unref(events[i]);
    free(events);
}

static void decode(struct shard *s, struct http_request *r, size_t channel)
{
    const struct ce_http_limits limits = {engine_options_of(s->engine)->event_bytes_max + ATTRIBUTES_ALLOWANCE,
                                          BATCH_MAX};
    struct diag d = {0};
    enum ce_mode mode;
    size_t header_count, n = 0;
    const struct http_header *headers = http_request_headers(r, &header_count);
    const struct ce_event *event;
    enum err e = ce_http_mode(headers, header_count, &mode, &d);
    if (e == OK && mode == CE_MODE_BATCH) {
        decode_batch(s, r, channel, &limits);
        return;
    }
    if (e == OK)
        e = ce_http_decode(headers, header_count, http_request_body(r), &limits, &event, 1, &n, &d);
    if (e != OK) {
        refuse_event(s, r, e, &d);
        return;
    }
    e = admit(s, channel, &event, 1, &d);
    if (e != OK)
        refuse_event(s, r, e, &d);
    else
        take_events(s, r, s->routing->channels[channel], &event, 1);
    ce_event_unref(event);
}

/* The webhook handshake of CloudEvents' HTTP 1.1 Web Hooks, section 4, as Knative's receivers answer it: everyone may
 * send, at any rate. */
static void answer_options(struct http_request *r)
{
    static const struct http_header headers[] = {
        {SLICE_INIT("Allow"), SLICE_INIT("POST, OPTIONS")},
        {SLICE_INIT("WebHook-Allowed-Origin"), SLICE_INIT("*")},
        {SLICE_INIT("WebHook-Allowed-Rate"), SLICE_INIT("*")},
    };
    http_respond(r, 200, headers, 3, (struct slice){0});
}

static void refuse_method(struct shard *s, struct http_request *r)
{
    static const struct http_header headers[] = {
        {SLICE_INIT("Allow"), SLICE_INIT("POST, OPTIONS")},
        {SLICE_INIT("Content-Type"), SLICE_INIT("text/plain; charset=utf-8")},
    };
    count(&s->counters.refused[REFUSED_METHOD]);
    http_respond(r, 405, headers, 2, SLICE("events are sent with POST\n"));
}

/* Refuses by Content-Length, before the body is read, with a text that names the flag. */
static bool too_large(struct shard *s, struct http_request *r)
{
    uint64_t limit = engine_options_of(s->engine)->event_bytes_max, length;
    struct slice value;
    if (!http_request_header(r, "content-length", &value) || decimal_parse(value, UINT64_MAX, &length) != OK ||
        length <= limit)
        return false;
    count(&s->counters.refused[REFUSED_TOO_LARGE]);
    http_respond_text(r, 413, "the body has %llu bytes, and this server takes at most %llu (--max-event-bytes)",
                      (unsigned long long)length, (unsigned long long)limit);
    return true;
}

/* `why` it takes nothing; NULL: it does. */
static void channel_head(struct shard *s, struct http_request *r, const char *why)
{
    struct slice method = http_request_method(r);
    if (slice_eq(method, SLICE("OPTIONS")))
        answer_options(r);
    else if (!slice_eq(method, SLICE("POST")))
        refuse_method(s, r);
    else if (why)
        refuse_err(s, r, ERR_UNAVAILABLE, slice_str(why));
    else if (!too_large(s, r))
        http_request_allow_body(r, engine_options_of(s->engine)->event_bytes_max);
}

/* ---- routing; the route is looked up once, at the head, and what it found is pinned for the request ---- */

static void not_found(struct shard *s, struct http_request *r)
{
    struct slice path = http_request_path(r);
    count(&s->counters.refused[REFUSED_NOT_FOUND]);
    http_respond_text(r, 404,
                      "nothing takes events at %.*s: paths are /channels/NAMESPACE/NAME, /brokers/NAMESPACE/NAME, "
                      "/sequences/NAMESPACE/NAME, /parallels/NAMESPACE/NAME, /kafkasinks/NAMESPACE/NAME and "
                      "/hooks/NAMESPACE/NAME",
                      (int)(path.len < 200 ? path.len : 200), path.ptr);
}

static void source_head(struct shard *s, struct http_request *r, const struct engine_source *wanted)
{
    struct shard_source *source = shard_source_find(s, wanted);
    if (!source || !source->source->ops->http_head) {
        refuse_err(s, r, ERR_UNAVAILABLE, SLICE("the source is not running; see its conditions\n"));
        return;
    }
    source->requests++;
    http_request_set_route(r, source);
    source->source->ops->http_head(source->instance, r);
}

static const char *why_not(const struct shard *s, size_t channel)
{
    const char *why = s->routing->plan->channels[channel].why;
    if (s->routing->channels[channel]->ready)
        return NULL;
    return why ? why : "the channel is not ready yet; try again\n";
}

static void unready_head(struct shard *s, struct http_request *r, const struct plan_unready *u)
{
    if (u->source)
        refuse_err(s, r, ERR_UNAVAILABLE, slice_str(u->why));
    else
        channel_head(s, r, u->why);
}

static const struct route *find(struct shard *s, struct http_request *r)
{
    return s->routing ? routing_find(s->routing, http_request_path(r), http_request_host(r)) : NULL;
}

/* Before the first plan is in force nothing is known, so nothing can be said to be missing. */
static void no_route(struct shard *s, struct http_request *r)
{
    if (s->routing)
        not_found(s, r);
    else
        refuse_err(s, r, ERR_UNAVAILABLE, SLICE("starting; try again\n"));
}

/* `hooks`: requests for sources come by this listener; `channels`: those for channels do. */
static void head(struct shard *s, struct http_request *r, bool channels, bool hooks)
{
    const struct route *route = find(s, r);
    const struct plan_unready *u =
        route && route->kind == ROUTE_UNREADY ? &s->routing->plan->unready[route->index] : NULL;
    if (channels && route && route->kind == ROUTE_CHANNEL)
        channel_head(s, r, why_not(s, route->index));
    else if (hooks && route && route->kind == ROUTE_SOURCE)
        source_head(s, r, s->routing->sources[route->index]);
    else if (u && (u->source ? hooks : channels))
        unready_head(s, r, u);
    else
        no_route(s, r);
}

static void ingress_head(struct http_request *r, void *arg)
{
    struct shard *s = arg;
    head(s, r, true, !s->hooks);
}

static void hooks_head(struct http_request *r, void *arg)
{
    head(arg, r, false, true);
}

static void on_data(struct http_request *r, struct slice piece)
{
    struct shard_source *source = http_request_route(r);
    if (source && !source->closed && http_request_state(r) && source->source->ops->http_data)
        source->source->ops->http_data(source->instance, r, piece);
}

static void on_end(struct http_request *r)
{
    struct shard *s = http_request_arg(r);
    struct shard_source *source = http_request_route(r);
    if (source && http_request_state(r) && !source->closed) {
        source->source->ops->http_end(source->instance, r);
        return;
    }
    const struct route *route = source ? NULL : find(s, r);
    if (route && route->kind == ROUTE_CHANNEL && s->routing->channels[route->index]->ready)
        decode(s, r, route->index);
    else
        refuse_err(s, r, ERR_UNAVAILABLE, SLICE("what takes events here has changed meanwhile; try again\n"));
}

static void on_close(struct http_request *r)
{
    struct shard_source *source = http_request_route(r);
    if (source) {
        if (!source->closed && http_request_state(r) && source->source->ops->http_close)
            source->source->ops->http_close(source->instance, r);
        shard_source_release(source);
        return;
    }
    struct post *p = http_request_state(r);
    if (p)
        p->request = NULL;
}

const struct http_handler ingress_handler = {ingress_head, on_data, on_end, on_close};
const struct http_handler hooks_handler = {hooks_head, on_data, on_end, on_close};
