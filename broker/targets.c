/* SPDX-License-Identifier: Apache-2.0
 *
 * Sinks for a plan's targets: a URL becomes an HTTP sink, a channel of this program a sink that appends to it without a
 * detour over HTTP. Each sink belongs to one shard.
 */
#include "shard.h"

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
    struct bus_append append;
    struct sink_call *call; /* NULL once canceled */
    struct sink *sink;      /* a reference, so that the address in the answer lives */
};

static void appended(struct bus_append *a, enum err e)
{
    struct channel_call *c = container_of(a, struct channel_call, append);
    struct sink_answer answer = {.err = e, .status = e == OK ? 202 : 0, .url = c->sink->url};
    if (e != OK)
        answer.detail = slice_str(e == ERR_FULL ? "the channel is full" : "the channel did not take the event");
    if (c->call)
        c->call->done(c->call, &answer);
    sink_unref(c->sink);
    free(c);
}

static enum err channel_send(struct sink *base, struct sink_call *call, const struct sink_request *request)
{
    struct channel_sink *s = container_of(base, struct channel_sink, sink);
    struct bus *bus = s->channel->bus->bus;
    struct channel_call *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->append.done = appended;
    c->call = call;
    c->sink = sink_ref(base);
    call->state = c;
    enum err e = bus->ops->append(bus, s->channel->handle, request->event, &c->append, s->shard->loop);
    if (e == OK) {
        count(&s->channel->accepted);
        return OK;
    }
    if (e == ERR_FULL)
        count(&s->channel->refused_full);
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
