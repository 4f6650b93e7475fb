/* SPDX-License-Identifier: Apache-2.0
 *
 * Sinks for a plan's targets: a URL becomes an HTTP sink, a channel of this program a sink that appends to it without a
 * detour over HTTP. Each sink belongs to one shard.
 */
#include "entry.h"

#include <stdlib.h>
#include <string.h>

#include "http_sink.h"
#include "log.h"

struct channel_sink {
    struct sink sink;
    struct shard *shard;
    struct engine_channel *channel;
    char url[];
};

struct channel_call {
    struct entry entry;
    struct sink_call *call; /* NULL once canceled */
    struct sink *sink;      /* a reference, so that the address in the answer lives */
    struct loop_task task;  /* for a refusal, which may not be told inside the call */
    struct diag diag;       /* why it was refused */
};

static void end(struct channel_call *c, const struct sink_answer *answer)
{
    if (c->call)
        c->call->done(c->call, answer);
    sink_unref(c->sink);
    free(c);
}

static void entered(struct entry *n, enum err e)
{
    struct channel_call *c = container_of(n, struct channel_call, entry);
    struct sink_answer answer = {.err = e, .status = e == OK ? 202 : 0, .url = c->sink->url};
    if (e != OK)
        answer.detail = slice_str(e == ERR_FULL ? "the channel is full" : "the channel did not take the event");
    end(c, &answer);
}

/* As ingress would have answered over HTTP. */
static void refused(struct loop_task *t)
{
    struct channel_call *c = container_of(t, struct channel_call, task);
    struct sink_answer answer = {.status = 400, .body = slice_str(c->diag.text), .url = c->sink->url};
    end(c, &answer);
}

static enum err channel_send(struct sink *base, struct sink_call *call, const struct sink_request *request)
{
    struct channel_sink *s = container_of(base, struct channel_sink, sink);
    struct channel_call *c = malloc(sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->entry = (struct entry){
        .shard = s->shard, .channel = s->channel, .event = request->event, .cause = request->cause, .done = entered};
    c->call = call;
    c->sink = sink_ref(base);
    call->state = c;
    enum err e = entry_check(s->channel, loop_clock(s->shard->loop), request->event, &c->diag);
    if (e != OK) {
        loop_task_init(&c->task, refused);
        loop_defer(s->shard->loop, &c->task);
        return OK;
    }
    e = entry_start(&c->entry);
    if (e == OK)
        return OK;
    sink_unref(c->sink);
    free(c);
    return e;
}

static void channel_cancel(struct sink *base, struct sink_call *call)
{
    (void)base;
    ((struct channel_call *)call->state)->call = NULL; /* the append itself cannot be taken back */
}

static void channel_free(struct sink *base)
{
    free(container_of(base, struct channel_sink, sink));
}

static const struct sink_ops channel_ops = {channel_send, channel_cancel, channel_free};

static enum err channel_sink_new(struct shard *shard, struct engine_channel *channel, const char *url,
                                 struct sink **out)
{
    if (!channel->ready)
        return ERR_UNAVAILABLE;
    struct channel_sink *s = malloc(sizeof *s + strlen(url) + 1);
    if (!s)
        return ERR_NOMEM;
    strcpy(s->url, url);
    s->sink = (struct sink){&channel_ops, 1, s->url, true};
    s->shard = shard;
    s->channel = channel;
    *out = &s->sink;
    return OK;
}

enum err shard_sink(struct shard *s, struct routing *r, const struct plan_target *target, struct sink **out)
{
    struct diag d;
    enum err e;
    switch (target->kind) {
    case PLAN_TARGET_NONE:
        *out = NULL;
        return OK;
    case PLAN_TARGET_CHANNEL:
        return channel_sink_new(s, r->channels[target->channel], target->url, out);
    case PLAN_TARGET_URL:
        e = http_sink_new(s->client, slice_str(target->url), &(struct http_sink_options){0}, out, &d);
        if (e != OK)
            log_line(LOG_ERROR, "sink.failed", "url=%s reason=%s", log_value(target->url), log_value(d.text));
        return e;
    }
    return ERR_INVALID;
}
