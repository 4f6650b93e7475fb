/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka bus: opening, time, stopping and freeing. kafka.h tells the story.
 *
 * Opening waits for no broker: handles are made, and connect by themselves. What comes to control comes to its desk
 * (../desk.h).
 *
 * Stopping. New work is refused from the call on. Then, at once: what was appended goes out, as long as KAFKA_SEND_MS
 * lets it; consumers commit and leave their groups; reads end; K ends what it was asked, or, where no broker is there
 * to answer, leaves it. When all of that is over stop has ended.
 */
#include "../backends.h"
#include "../round.h"
#include "kafka_channel.h"

#include <assert.h>
#include <stdlib.h>

/* ---- stop ---- */

static void streams_gone(struct kafka_bus *k)
{
    k->streams = KAFKA_STREAMS_GONE;
    desk_call(&k->desk);
}

static uint64_t left(const struct desk *desk)
{
    struct kafka_bus *k = container_of(desk, struct kafka_bus, desk);
    bool all = k->streams == KAFKA_STREAMS_GONE && kafka_reads_ended(k) && !k->asking && list_empty(&k->to_ask) &&
               !k->verifying && list_empty(&k->to_verify) && list_empty(&k->going) && kafka_clerk_idle(k);
    return !all;
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
    if (!desk_stop(&k->desk, op))
        return;
    hurry(k);
    kafka_reads_close(k);
    k->streams = KAFKA_STREAMS_GOING;
    kafka_subscriptions_stop(k, streams_gone);
}

/* ---- what comes to control ---- */

static void look(struct desk *desk)
{
    struct kafka_bus *k = container_of(desk, struct kafka_bus, desk);
    kafka_producers_replace(k);
    kafka_clerk_finished(k);
    kafka_channels_go_on(k);
    if (!k->desk.stopping && atomic_load(&k->suspects))
        kafka_channels_look(k);
}

static void tick(struct desk *desk)
{
    struct kafka_bus *k = container_of(desk, struct kafka_bus, desk);
    if (!k->desk.stopping)
        kafka_channels_look(k);
    else if (!k->desk.stopped)
        hurry(k); /* they may have gone since */
    if (!list_empty(&k->to_ask))
        loop_defer(k->desk.env.control, &k->asker);
    if (!list_empty(&k->to_verify)) /* there was no memory to ask */
        loop_defer(k->desk.env.control, &k->verifier);
}

static void client_notice(void *arg, int severity, const char *code, const char *text)
{
    struct kafka_bus *k = arg;
    desk_notice(&k->desk, severity, code, "%s", text);
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
    return &k->loops[bus_env_index(&k->desk.env, loop)];
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

static const struct desk_ops how = {.look = look, .tick = tick, .left = left};

static struct kafka_bus *bus_new(const struct bus_env *env, struct kafka_settings *s)
{
    struct kafka_bus *k = calloc(1, sizeof *k);
    if (!k) {
        kafka_settings_fini(s);
        return NULL;
    }
    desk_init(&k->desk, &bus_kafka, env, &how, KAFKA_NOTICES_A_MINUTE);
    k->desk.buffer = s->buffer;
    k->settings = *s;
    k->opened_ns = clock_monotonic_ns(clock_system());
    k->producers.fd = -1;
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
    k->loops = calloc(k->desk.env.loop_count, sizeof *k->loops);
    enum err e = list && k->loops ? desk_open(&k->desk) : ERR_NOMEM;
    for (size_t i = 0; i < k->desk.env.loop_count && !e; i++)
        e = loop_init(&k->loops[i], k, k->desk.env.loops[i]);
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
        kafka_fini(&k->desk.base);
        return e;
    }
    desk_start(&k->desk);
    *out = &k->desk.base;
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
    desk_quit(&k->desk);
    loop_task_cancel(&k->asker);
    loop_task_cancel(&k->verifier);
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
    for (size_t i = 0; k->loops && i < k->desk.env.loop_count; i++)
        loop_fini(&k->loops[i]);
    list_each(l, tmp, &k->going)
        kafka_channel_free(container_of(l, struct bus_channel, link));
    map_each(entry, tmp, &k->channels)
        kafka_channel_free(entry->value);
    map_fini(&k->channels);
    kafka_client_unref(k->client);
    desk_fini(&k->desk);
    kafka_settings_fini(&k->settings);
    pthread_mutex_destroy(&k->clerk.lock);
    pthread_cond_destroy(&k->clerk.work);
    pthread_rwlock_destroy(&k->producers.lock);
    free(k->loops);
    free(k);
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
    .recount = kafka_recount,
};
