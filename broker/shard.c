/* SPDX-License-Identifier: Apache-2.0
 *
 * A shard's life: made on the control thread, then everything on its own thread until it is joined.
 */
#include "observe.h"

#include <signal.h>
#include <stdlib.h>

#include "log.h"

#define SHARD_MAILBOX_MAX 65536 /* letters between loops: keyed events on their way to the owner of their partition */

/* Makes what the loop needs; everything of it is undone by shard_free. */
static enum err furnish(struct shard *s, const struct engine_options *o)
{
    enum err e = http_server_new(s->loop, &o->http, &ingress_handler, s, &s->ingress);
    if (e == OK && o->hooks_address)
        e = http_server_new(s->loop, &o->http, &hooks_handler, s, &s->hooks);
    if (e == OK)
        e = http_client_new(s->loop, &o->client, &s->client);
    if (e == OK)
        e = dispatcher_new(s->loop, &s->prng, &s->dispatcher);
    if (e == OK && o->trace_bytes > 0) {
        size_t bytes = o->trace_bytes / engine_loops(s->engine);
        e = trace_new(s->loop, bytes > TRACE_BYTES_MIN ? bytes : TRACE_BYTES_MIN, engine_trace_key(s->engine),
                      &s->trace);
    }
    if (e == OK && o->observe)
        e = observed_new(engine_trace_key(s->engine), &s->observed);
    return e;
}

enum err shard_new(struct engine *e, unsigned index, struct shard **out, struct diag *d)
{
    struct shard *s = calloc(1, sizeof *s);
    if (!s)
        return diag_set(d, ERR_NOMEM, "out of memory while making loop %u", index);
    s->engine = e;
    s->index = index;
    list_init(&s->streams);
    list_init(&s->sources);
    list_init(&s->common);
    list_init(&s->taps);
    prng_seed_system(&s->prng);
    enum err err = loop_new(engine_clock(e), SHARD_MAILBOX_MAX, &s->loop);
    if (err == OK)
        err = furnish(s, engine_options_of(e));
    if (err != OK) {
        shard_free(s);
        return diag_set(d, err, "loop %u could not be made: %s", index, err_name(err));
    }
    *out = s;
    return OK;
}

static void *run(void *arg)
{
    struct shard *s = arg;
    enum err e = loop_run(s->loop);
    if (e != OK)
        log_line(LOG_ERROR, "loop.failed", "loop=%u error=%s", s->index, err_name(e));
    return NULL;
}

enum err shard_start(struct shard *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the control loop's */
    int failed = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->running = !failed;
    return failed ? ERR_NOMEM : OK;
}

void shard_join(struct shard *s)
{
    if (!s->running)
        return;
    loop_stop(s->loop);
    pthread_join(s->thread, NULL);
    s->running = false;
}

void shard_free(struct shard *s)
{
    if (!s)
        return;
    http_server_free(s->hooks);
    http_server_free(s->ingress);
    dispatcher_free(s->dispatcher);
    http_client_free(s->client);
    loop_free(s->loop);
    trace_free(s->trace);
    observed_free(s->observed);
    routing_unref(s->routing);
    free(s);
}

/* ---- orders from the control loop, one at a time ---- */

static void answered(struct letter *m)
{
    struct shard *s = container_of(m, struct shard, answer);
    s->ordered(s);
}

void shard_answer(struct shard *s)
{
    s->answer.run = answered;
    loop_post_reserved(engine_control(s->engine), &s->answer);
}

static void bind_bus(struct shard *s)
{
    s->order_error = s->order_bus->ops->bind(s->order_bus, s->loop);
    shard_answer(s);
}

static void unbind_bus(struct shard *s)
{
    s->order_bus->ops->unbind(s->order_bus, s->loop);
    shard_answer(s);
}

static void drain(struct shard *s)
{
    http_server_drain(s->ingress);
    if (s->hooks)
        http_server_drain(s->hooks);
    shard_answer(s);
}

static void arrived(struct letter *m)
{
    struct shard *s = container_of(m, struct shard, letter);
    s->order_error = OK;
    switch (s->order) {
    case SHARD_BIND:
        bind_bus(s);
        return;
    case SHARD_UNBIND:
        unbind_bus(s);
        return;
    case SHARD_ROUTE:
    case SHARD_STOP:
        shard_apply(s);
        return;
    case SHARD_QUIET:
        shard_quiet(s);
        return;
    case SHARD_DRAIN:
        drain(s);
        return;
    }
}

void shard_order(struct shard *s, enum shard_order order, void (*ordered)(struct shard *s))
{
    s->order = order;
    s->ordered = ordered;
    s->letter.run = arrived;
    if (s->running)
        loop_post_reserved(s->loop, &s->letter);
    else
        arrived(&s->letter); /* before the thread runs, its loop is ours */
}
