/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka bus: opening, time, stopping and freeing. kafka.h tells the story.
 *
 * Opening waits for no broker: handles are made, and connect by themselves. Whatever another thread has for control (a
 * notice, a job that K has done, a producer that failed, a last append) is left where it belongs, and one letter brings
 * control to look at all of these places.
 *
 * Stopping. New work is refused from the call on. Then, at once: what was appended goes out, as long as KAFKA_SEND_MS
 * lets it; consumers commit and leave their groups; reads end; K ends what it was asked, or, where no broker is there
 * to answer, leaves it. When all of that is over and the loops have been gone by, stop has ended.
 */
#include "../backends.h"
#include "../round.h"
#include "kafka_channel.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#define TICK_NS NS_PER_S

/* ---- stop ---- */

struct kafka_stop { /* its letters may outlive the bus */
    struct round round;
    struct kafka_bus *bus;
};

static void stopped(struct round *r)
{
    struct kafka_bus *k = container_of(r, struct kafka_stop, round)->bus;
    k->stopped = true;
    loop_timer_stop(k->env.control, &k->tick);
    bus_ops_end(&k->stop_ops, OK, NULL);
}

static void stop_bury(struct round *r)
{
    struct kafka_stop *s = container_of(r, struct kafka_stop, round);
    round_fini(r);
    free(s);
}

static enum err stop_new(struct kafka_bus *k)
{
    struct kafka_stop *s = calloc(1, sizeof *s);
    if (!s || round_init(&s->round, &k->env)) {
        free(s);
        return ERR_NOMEM;
    }
    s->bus = k;
    k->stop = s;
    return OK;
}

static void streams_gone(struct kafka_bus *k)
{
    k->streams = KAFKA_STREAMS_GONE;
    post_send(k->post);
}

/* Whatever ends a part of what stop waits for brings control here. */
static void stop_go_on(struct kafka_bus *k)
{
    if (!k->stopping || k->stopped || round_running(&k->stop->round))
        return;
    if (k->streams == KAFKA_STREAMS_GONE && atomic_load(&k->pending) == 0 && kafka_reads_ended(k) && !k->asking &&
        list_empty(&k->to_ask) && !k->verifying && list_empty(&k->to_verify) && list_empty(&k->going) &&
        kafka_clerk_idle(k))
        round_start(&k->stop->round, NULL, stopped);
}

/* Where no broker answers nobody waits for K. */
static void hurry(struct kafka_bus *k)
{
    if (kafka_client_up(k->client, NULL, 0))
        return;
    atomic_store(&k->clerk.hurry, true);
    kafka_clerk_cancel(k);
}

static void kafka_stop(struct bus *b, struct bus_op *op)
{
    struct kafka_bus *k = kafka_of(b);
    if (k->stopped) {
        op->text = NULL;
        bus_op_end(k->env.control, op, OK);
        return;
    }
    op->owner = k->stop_ops;
    k->stop_ops = op;
    if (k->stopping)
        return;
    k->stopping = true;
    atomic_store(&k->closed, true);
    hurry(k);
    kafka_reads_close(k);
    k->streams = KAFKA_STREAMS_GOING;
    kafka_subscriptions_stop(k, streams_gone);
    post_send(k->post);
}

/* ---- what comes to control ---- */

static void look(void *owner)
{
    struct kafka_bus *k = owner;
    kafka_producers_replace(k);
    kafka_clerk_finished(k);
    kafka_channels_go_on(k);
    if (!k->stopping && atomic_load(&k->suspects))
        kafka_channels_look(k);
    notes_tell(&k->notes, &k->env, &k->base);
    stop_go_on(k);
}

static void tick(struct loop_timer *t)
{
    struct kafka_bus *k = container_of(t, struct kafka_bus, tick);
    if (!k->stopping)
        kafka_channels_look(k);
    else if (!k->stopped)
        hurry(k); /* they may have gone since */
    if (!list_empty(&k->to_ask))
        loop_defer(k->env.control, &k->asker);
    if (!list_empty(&k->to_verify)) /* there was no memory to ask */
        loop_defer(k->env.control, &k->verifier);
    look(k);
    loop_timer_start(k->env.control, t, TICK_NS);
}

void kafka_notice(struct kafka_bus *k, int severity, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool kept = notes_add(&k->notes, severity, code, format, args);
    va_end(args);
    if (kept)
        post_send(k->post);
}

static void client_notice(void *arg, int severity, const char *code, const char *text)
{
    kafka_notice(arg, severity, code, "%s", text);
}

/* ---- loops ---- */

static void arrived(void *owner)
{
    struct kafka_loop *l = owner;
    kafka_append_done(l);
    kafka_reads_arrived(l);
}

static enum err loop_init(struct kafka_loop *l, struct kafka_bus *k, struct loop *loop)
{
    l->bus = k;
    l->loop = loop;
    homeward_init(&l->homeward);
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->pages);
    buf_init(&l->scratch, 2 * CE_EVENT_BYTES_MAX);
    return post_new(loop, arrived, l, &l->post);
}

static void loop_fini(struct kafka_loop *l)
{
    if (!l->bus)
        return;
    homeward_fini(&l->homeward);
    kafka_reads_forget(l);
    post_free(l->post);
    buf_fini(&l->scratch);
    pthread_mutex_destroy(&l->lock);
}

struct kafka_loop *kafka_loop_find(struct kafka_bus *k, const struct loop *loop)
{
    return &k->loops[bus_env_index(&k->env, loop)];
}

static enum err kafka_bind(struct bus *b, struct loop *loop)
{
    struct kafka_loop *l = kafka_loop_find(kafka_of(b), loop);
    assert(!l->bound);
    l->bound = true;
    return OK;
}

static void kafka_unbind(struct bus *b, struct loop *loop)
{
    struct kafka_loop *l = kafka_loop_find(kafka_of(b), loop);
    assert(l->bound);
    l->bound = false;
}

/* ---- opening ---- */

static struct kafka_bus *bus_new(const struct bus_env *env, struct kafka_settings *s)
{
    struct kafka_bus *k = calloc(1, sizeof *k);
    if (!k) {
        kafka_settings_fini(s);
        return NULL;
    }
    k->base =
        (struct bus){.ops = &bus_kafka, .capabilities = bus_kafka.capabilities, .hold_ms_max = bus_kafka.hold_ms_max};
    k->env = *env;
    k->clock = loop_clock(env->control);
    k->settings = *s;
    k->opened_ns = clock_monotonic_ns(clock_system());
    k->producers.fd = -1;
    notes_init(&k->notes, KAFKA_NOTICES_A_MINUTE);
    pthread_mutex_init(&k->clerk.lock, NULL);
    pthread_cond_init(&k->clerk.work, NULL);
    pthread_rwlock_init(&k->producers.lock, NULL);
    list_init(&k->clerk.asked);
    list_init(&k->clerk.done);
    list_init(&k->producers.list);
    list_init(&k->to_ask);
    list_init(&k->to_verify);
    list_init(&k->to_look);
    list_init(&k->going);
    map_init(&k->channels, SIZE_MAX);
    loop_timer_init(&k->tick, tick);
    loop_task_init(&k->asker, kafka_channels_ask);
    loop_task_init(&k->verifier, kafka_verify_soon);
    kafka_reads_init(k);
    return k;
}

/* As the client wants them; the list is the caller's, its texts are borrowed. NULL: no memory. */
static struct kafka_client_param *client_params(const struct bus_param *params, size_t count)
{
    struct kafka_client_param *list = calloc(count + 1, sizeof *list);
    for (size_t i = 0; list && i < count; i++)
        list[i] = (struct kafka_client_param){params[i].name, params[i].value};
    return list;
}

static enum err bus_start(struct kafka_bus *k, const struct bus_param *params, size_t count, struct diag *d)
{
    const struct kafka_client_events events = {client_notice, k};
    struct kafka_client_param *list = client_params(params, count);
    k->loops = calloc(k->env.loop_count, sizeof *k->loops);
    enum err e = list && k->loops ? post_new(k->env.control, look, k, &k->post) : ERR_NOMEM;
    if (!e)
        e = stop_new(k);
    for (size_t i = 0; i < k->env.loop_count && !e; i++)
        e = loop_init(&k->loops[i], k, k->env.loops[i]);
    if (e)
        diag_set(d, e, "out of memory");
    if (!e)
        e = kafka_client_new(list, count, &events, &k->client, d);
    if (!e)
        e = kafka_producers_start(k, d);
    if (!e && (e = kafka_clerk_start(k)))
        diag_set(d, e, "no thread is left");
    free(list);
    return e;
}

static void kafka_fini(struct bus *b);

static enum err kafka_open(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                           struct diag *d)
{
    struct kafka_settings s;
    assert(env->loop_count > 0);
    enum err e = kafka_settings_read(params, count, &s, d);
    if (e)
        return e;
    struct kafka_bus *k = bus_new(env, &s);
    if (!k)
        return diag_set(d, ERR_NOMEM, "out of memory");
    e = bus_start(k, params, count, d);
    if (e) {
        kafka_fini(&k->base);
        return e;
    }
    loop_timer_start(env->control, &k->tick, TICK_NS);
    *out = &k->base;
    return OK;
}

static enum err kafka_check(const struct bus_param *params, size_t count, struct diag *d)
{
    struct kafka_settings s;
    enum err e = kafka_settings_read(params, count, &s, d);
    if (e)
        return e;
    kafka_settings_fini(&s);
    struct kafka_client_param *list = client_params(params, count);
    if (!list)
        return diag_set(d, ERR_NOMEM, "out of memory");
    e = kafka_client_check(list, count, d);
    free(list);
    return e;
}

/* ---- freeing: no loop runs ---- */

static void kafka_fini(struct bus *b)
{
    struct kafka_bus *k = kafka_of(b);
    loop_timer_stop(k->env.control, &k->tick);
    loop_task_cancel(&k->asker);
    loop_task_cancel(&k->verifier);
    atomic_store(&k->closed, true);
    kafka_clerk_quit(k);
    kafka_groups_quit(k);
    kafka_reads_quit(k);
    kafka_asking_free(k);
    kafka_verifying_free(k);
    kafka_refreshing_free(k);
    for (struct bus_channel *c = NULL; (c = kafka_bus_channel_next(k, c));) {
        kafka_subscriptions_free(c);
        kafka_channel_topics_close(c);
    }
    kafka_producers_quit(k);
    for (size_t i = 0; k->loops && i < k->env.loop_count; i++)
        loop_fini(&k->loops[i]);
    list_each(l, tmp, &k->going)
        kafka_channel_free(container_of(l, struct bus_channel, link));
    map_each(entry, tmp, &k->channels)
        kafka_channel_free(entry->value);
    map_fini(&k->channels);
    if (k->stop)
        round_abandon(&k->stop->round, stop_bury);
    kafka_client_unref(k->client);
    post_free(k->post);
    notes_fini(&k->notes);
    kafka_settings_fini(&k->settings);
    pthread_mutex_destroy(&k->clerk.lock);
    pthread_cond_destroy(&k->clerk.work);
    pthread_rwlock_destroy(&k->producers.lock);
    free(k->loops);
    free(k);
}

/* ---- what others ask of the bus ---- */

bool kafka_bus_closed(const struct kafka_bus *k)
{
    return atomic_load(&k->closed);
}

const struct bus_ops bus_kafka = {
    .name = "kafka",
    .capabilities = BUS_CAP_DURABLE | BUS_CAP_ORDERED | BUS_CAP_BROWSE | BUS_CAP_SHARED,
    .hold_ms_max = UINT64_MAX,
    .open = kafka_open,
    .check = kafka_check,
    .bind = kafka_bind,
    .unbind = kafka_unbind,
    .provision = kafka_provision,
    .release = kafka_release,
    .verify = kafka_verify,
    .subscribe = kafka_subscribe,
    .unsubscribe = kafka_unsubscribe,
    .append = kafka_append,
    .attach = kafka_attach,
    .detach = kafka_detach,
    .credit = kafka_credit,
    .settle = kafka_settle,
    .read = kafka_read,
    .stop = kafka_stop,
    .fini = kafka_fini,
    .probe = kafka_probe,
    .probe_subscription = kafka_probe_subscription,
};
