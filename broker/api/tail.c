/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /leat/v1/tail?kind=KIND&namespace=NS&name=NAME[&filter=CESQL]: events as they enter a channel (a Channel, Broker,
 * Sequence, Parallel ...), or those of a Subscription's or Trigger's channel that its filter lets pass. A stream of
 * lines of JSON, until either side ends it:
 *
 *     {"time": "...", "size": 123, "event": {...}}    the event as a JSON envelope; size in bytes as it lies in memory
 *     {"leftOut": 12}                                 events since the line before that the client was too slow for
 *     {"end": "why"}                                  the last line, when the server ends it
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "api.h"
#include "ce_http.h"
#include "text.h"

#define TAILS_MAX 64            /* open at once: each costs every event a comparison */
#define BUFFERED_MAX (4u << 20) /* bytes that wait for a slow client: some events of the largest usual size */
#define FILTER_TEXT_MAX 65536   /* of the query, with its escapes */
#define NAME_TEXT_MAX 1024      /* likewise */

struct tail {
    struct api_later later;
    struct access_stream access;
    struct list link;
    struct api *api;
    struct http_request *request;
    struct tap *tap; /* NULL once it has ended */
    uint32_t channel;
    bool begun;         /* the head of the answer has been sent */
    uint64_t unwritten; /* events that did not fit here; the tap counts its own */
    uint64_t known;     /* how many of both the client was told of */
};

/* ---- lines ---- */

static enum err write_left_out(struct tail *t)
{
    char line[64];
    uint64_t now = t->unwritten + (t->tap ? tap_left_out(t->tap) : 0);
    if (now == t->known)
        return OK;
    snprintf(line, sizeof line, "{\"leftOut\":%" PRIu64 "}\n", now - t->known);
    enum err e = http_stream_write(t->request, slice_str(line));
    if (e == OK)
        t->known = now;
    return e;
}

static void show(void *arg, const struct ce_event *event, int64_t wall_ns)
{
    struct tail *t = arg;
    struct buf line;
    access_look(&t->api->access);
    if (!t->tap) /* just now */
        return;
    buf_init(&line, BUFFERED_MAX);
    buf_put_str(&line, "{\"time\":\"");
    rfc3339_put(&line, wall_ns, 6);
    buf_printf(&line, "\",\"size\":%zu,\"event\":", ce_event_size(event));
    ce_json_encode(event, &line);
    buf_put_str(&line, "}\n");
    enum err e = buf_error(&line);
    if (e == OK)
        e = write_left_out(t);
    if (e == OK)
        e = http_stream_write(t->request, buf_slice(&line));
    if (e != OK)
        t->unwritten++;
    buf_fini(&line);
}

static void close_tap(struct tail *t)
{
    tap_close(t->tap);
    t->tap = NULL;
}

static void end_with(struct tail *t, const char *why)
{
    struct buf line;
    buf_init(&line, 1024);
    buf_put_str(&line, "{\"end\":");
    buf_put_json_string(&line, slice_str(why));
    buf_put_str(&line, "}\n");
    if (write_left_out(t) == OK && http_stream_write(t->request, buf_slice(&line)) != OK)
        t->unwritten++; /* the client is too slow even for that, or has gone: the end itself tells it */
    http_stream_end(t->request);
    buf_fini(&line);
}

static void end(struct tail *t, const char *why)
{
    if (!t->tap)
        return;
    if (t->begun)
        end_with(t, why);
    else
        api_status(t->request, 503, "ServiceUnavailable", "%s", why);
    t->begun = true;
    close_tap(t);
}

/* Its token counts no more, or not for this. */
static void lost(struct access_stream *s, int code, const char *why, struct slice status)
{
    static const struct http_header type[] = {{SLICE_INIT("Content-Type"), SLICE_INIT("application/json")}};
    struct tail *t = container_of(s, struct tail, access);
    char text[200];
    if (!t->tap)
        return;
    snprintf(text, sizeof text, "access has ended (%d): %s", code, why);
    if (t->begun)
        end_with(t, text);
    else
        http_respond(t->request, code, type, 1, status);
    t->begun = true;
    close_tap(t);
}

/* ---- life ---- */

static void opened(void *arg)
{
    static const struct http_header headers[] = {
        {SLICE_INIT("Content-Type"), SLICE_INIT("application/x-ndjson")},
        {SLICE_INIT("Cache-Control"), SLICE_INIT("no-store")},
    };
    struct tail *t = arg;
    t->begun = true;
    http_respond_stream(t->request, 200, headers, 2, BUFFERED_MAX);
}

static void closed(struct api_later *later)
{
    struct tail *t = container_of(later, struct tail, later);
    access_release(&t->access);
    tap_close(t->tap);
    list_remove(&t->link);
    t->api->tail_count--;
    free(t);
}

static bool in_plan(const struct routing *r, uint32_t channel)
{
    for (size_t i = 0; i < r->plan->channel_count; i++)
        if (r->channels[i]->subject == channel)
            return true;
    return false;
}

void api_tail_applied(struct api *a)
{
    list_each(l, tmp, &a->tails) {
        struct tail *t = container_of(l, struct tail, link);
        if (!in_plan(engine_routing(a->engine), t->channel))
            end(t, "the channel is gone");
    }
}

void api_tail_stop(struct api *a)
{
    list_each(l, tmp, &a->tails)
        end(container_of(l, struct tail, link), "the server is stopping");
}

/* ---- what is asked for ---- */

struct wanted {
    uint32_t channel;
    struct filter *of_subscription; /* borrowed of the plan */
    struct filter *of_client;       /* a reference */
};

/* A parameter as a terminated text; false when it is missing or wrong. */
static bool text_of(const struct http_request *r, const char *name, char *out, size_t size)
{
    struct buf b;
    buf_init(&b, size - 1);
    bool good = api_query(r, name, &b) && buf_error(&b) == OK && b.len > 0;
    if (good) {
        memcpy(out, b.ptr, b.len);
        out[b.len] = '\0';
    }
    buf_fini(&b);
    return good;
}

static bool find(const struct routing *r, const char *key, struct wanted *w)
{
    for (size_t i = 0; i < r->plan->channel_count; i++) {
        if (strcmp(r->plan->channels[i].key, key) != 0)
            continue;
        w->channel = r->channels[i]->subject;
        return true;
    }
    for (size_t i = 0; i < r->plan->subscription_count; i++) {
        const struct plan_subscription *s = &r->plan->subscriptions[i];
        if (strcmp(s->key, key) != 0)
            continue;
        w->channel = r->channels[s->channel]->subject;
        w->of_subscription = s->filter;
        return true;
    }
    return false;
}

static bool read_filter(struct http_request *r, struct wanted *w)
{
    struct diag d = {0};
    struct buf text;
    enum err e = OK;
    buf_init(&text, FILTER_TEXT_MAX);
    bool there = api_query(r, "filter", &text);
    if (there)
        e = buf_error(&text);
    if (e != OK)
        diag_set(&d, e, "it is too long, or its percent-coding is wrong");
    else if (there)
        e = filter_cesql(buf_slice(&text), &w->of_client, &d);
    buf_fini(&text);
    if (e == ERR_NOMEM)
        api_status(r, 500, "InternalError", "out of memory");
    else if (e != OK && d.column)
        api_status(r, 400, "BadRequest", "filter: at character %d: %s", d.column, d.text);
    else if (e != OK)
        api_status(r, 400, "BadRequest", "filter: %s", d.text);
    return e == OK;
}

/* False when the request has been answered. */
static bool read_wanted(struct api *a, struct http_request *r, struct wanted *w)
{
    char word[NAME_TEXT_MAX], space[NAME_TEXT_MAX], name[NAME_TEXT_MAX], key[3 * NAME_TEXT_MAX];
    const struct routing *routing = engine_routing(a->engine);
    if (!text_of(r, "kind", word, sizeof word) || !text_of(r, "name", name, sizeof name)) {
        api_status(r, 400, "BadRequest", "expected /leat/v1/tail?kind=KIND&namespace=NS&name=NAME[&filter=CESQL]");
        return false;
    }
    if (!text_of(r, "namespace", space, sizeof space))
        strcpy(space, "default");
    const struct kind *kind = kind_by_word(word);
    if (!kind) {
        api_status(r, 400, "BadRequest", "there is no kind '%s'", word);
        return false;
    }
    if (strcmp(kind->kind, "RabbitmqSource") == 0) {
        api_status(r, 400, "BadRequest",
                   "what a RabbitmqSource delivers does not come in by this server, but lies in its queue already");
        return false;
    }
    if (strcmp(kind->kind, "KafkaSource") == 0) {
        api_status(
            r, 400, "BadRequest",
            "what a KafkaSource delivers does not come in by this server, but lies on Kafka already; `leat replay "
            "kafkasource/%s -n %s --from 10m --dry-run` lists it",
            name, space);
        return false;
    }
    snprintf(key, sizeof key, "%s.%s/%s/%s", kind->kind, kind->group, space, name);
    if (!routing || !find(routing, key, w)) {
        api_status(r, 404, "NotFound",
                   "no events pass a %s '%s' in the namespace %s: there is none, it is not ready (see its conditions), "
                   "or it is of a kind that events do not enter",
                   kind->singular, name, space);
        return false;
    }
    return read_filter(r, w);
}

static enum err start(struct api *a, struct http_request *r, const struct wanted *w)
{
    struct tail *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    const struct tap_options options = {
        .channel = w->channel,
        .filters = {w->of_subscription, w->of_client},
        .opened = opened,
        .event = show,
        .arg = t,
    };
    *t = (struct tail){.later = {closed}, .access = {.lost = lost}, .api = a, .request = r, .channel = w->channel};
    enum err e = tap_open(a->engine, &options, &t->tap);
    if (e != OK) {
        free(t);
        return e;
    }
    list_push_back(&a->tails, &t->link);
    a->tail_count++;
    access_hold(&a->access, &t->access, r);
    http_request_set_state(r, &t->later);
    return OK;
}

void api_tail(struct api *a, struct http_request *r)
{
    struct wanted w = {0};
    if (a->tail_count >= TAILS_MAX) {
        api_status(r, 429, "TooManyRequests", "%d tails are open, and more may not be", TAILS_MAX);
        return;
    }
    if (!read_wanted(a, r, &w))
        return;
    if (start(a, r, &w) != OK)
        api_status(r, 500, "InternalError", "out of memory");
    filter_unref(w.of_client);
}
