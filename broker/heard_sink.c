/* SPDX-License-Identifier: Apache-2.0
 *
 * A sink around the sink of a source that sends by itself: what its requests come to is counted for the source's
 * health, and what was said last is left there, once a second at most. The rest is the inner sink's. The shard's own
 * loop.
 */
#include "shard.h"

#include <stdio.h>
#include <stdlib.h>

#define SAID_NS (1 * NS_PER_S) /* the look at health comes once a second */

struct heard_sink {
    struct sink sink, *inner; /* inner: owned reference */
    struct engine_heard *heard;
    struct loop *loop;
    uint64_t said_ns; /* monotonic; 0: never */
};

struct heard_call {
    struct sink_call inner;
    struct heard_sink *sink; /* a reference */
    struct sink_call *outer;
};

static struct heard_sink *of(struct sink *s)
{
    return container_of(s, struct heard_sink, sink);
}

static void heard(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void hear(struct heard_sink *s, const struct sink_answer *a)
{
    if (a->err == OK && a->status >= 200 && a->status < 300) {
        heard(&s->heard->delivered);
        return;
    }
    uint64_t now = loop_now_ns(s->loop);
    if (!s->said_ns || now - s->said_ns >= SAID_NS) {
        char detail[160] = "";
        if (a->detail.len)
            snprintf(detail, sizeof detail, "%.*s", SLICE_ARG(a->detail));
        const struct dispatch_trouble said = {a->url ? a->url : s->inner->url, a->status, a->err, detail};
        engine_trouble_leave(&s->heard->trouble, &said);
        s->said_ns = now;
    }
    heard(&s->heard->failed); /* behind what was said, which whoever sees the count then finds */
}

static void call_free(struct heard_call *c)
{
    sink_unref(&c->sink->sink);
    free(c);
}

static void done(struct sink_call *call, const struct sink_answer *answer)
{
    struct heard_call *c = container_of(call, struct heard_call, inner);
    struct sink_call *outer = c->outer;
    hear(c->sink, answer);
    outer->done(outer, answer); /* borrows what the inner sink has */
    call_free(c);
}

static enum err heard_send(struct sink *base, struct sink_call *call, const struct sink_request *request)
{
    struct heard_sink *s = of(base);
    struct heard_call *c = calloc(1, sizeof *c);
    enum err e = ERR_NOMEM;
    if (c) {
        *c = (struct heard_call){.inner.done = done, .sink = s, .outer = call};
        sink_ref(base);
        call->state = c;
        e = sink_send(s->inner, &c->inner, request);
    }
    if (e == OK)
        return OK;
    hear(s, &(struct sink_answer){.err = e});
    if (c)
        call_free(c);
    return e;
}

static void heard_cancel(struct sink *base, struct sink_call *call)
{
    struct heard_call *c = call->state;
    (void)base;
    sink_cancel(&c->inner);
    call_free(c);
}

static void heard_free(struct sink *base)
{
    sink_unref(of(base)->inner);
    free(of(base));
}

enum err heard_sink_new(struct sink *inner, struct engine_heard *heard, struct loop *loop, struct sink **out)
{
    static const struct sink_ops ops = {heard_send, heard_cancel, heard_free};
    struct heard_sink *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    *s = (struct heard_sink){{&ops, 1, inner->url, inner->local}, sink_ref(inner), heard, loop, 0};
    *out = &s->sink;
    return OK;
}
