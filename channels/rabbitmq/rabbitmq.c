/* SPDX-License-Identifier: Apache-2.0
 *
 * The RabbitMQ bus: opening, time, stopping and freeing. rabbitmq.h tells the story.
 *
 * Opening waits for no node: links are made, and connect by themselves. What comes to control comes to its desk
 * (../desk.h).
 *
 * Stopping. New work is refused from the call on, and nothing is delivered any more. Then, at once: what was appended
 * is confirmed, or given up after RABBIT_SEND_NS; each subscription's AMQP channel acknowledges what is settled and
 * closes; jobs end. When all of that is over stop has ended. A node of which nothing
 * comes for RABBIT_STOP_NS is not waited for: the links are given up, which ends whatever waits for it.
 */
#include "rabbitmq_subscription.h"
#include "../backends.h"

#include <assert.h>
#include <stdlib.h>

/* ---- stop ---- */

static uint64_t left(const struct desk *desk)
{
    const struct rabbit_bus *k = container_of(desk, struct rabbit_bus, desk);
    return atomic_load(&k->reads.count) + abroad_left(&k->abroad);
}

static uint64_t left_in_all(const struct rabbit_bus *k)
{
    return atomic_load(&k->desk.pending) + left(&k->desk);
}

static void stop_late(struct loop_timer *t)
{
    struct rabbit_bus *k = container_of(t, struct rabbit_bus, patience);
    uint64_t now = left_in_all(k);
    if (k->desk.stopped)
        return;
    if (now < k->left || now == 0) {
        k->left = now;
        loop_timer_start(k->desk.env.control, t, RABBIT_STOP_NS);
        return;
    }
    atomic_store(&k->hurry, true);
    post_send(k->publisher.post);
    for (size_t i = 0; i < RABBIT_CONSUMERS; i++)
        post_send(k->consumers[i].post);
    post_send(k->jobs_post);
}

static void rabbit_stop(struct bus *b, struct bus_op *op)
{
    struct rabbit_bus *k = rabbit_of(b);
    if (!desk_stop(&k->desk, op))
        return;
    abroad_stop(&k->abroad);
    rabbit_reads_stop(k);
    post_send(k->jobs_post); /* who waits for a connection waits no more */
    post_send(k->publisher.post);
    k->left = left_in_all(k);
    loop_timer_start(k->desk.env.control, &k->patience, RABBIT_STOP_NS);
}

/* ---- what comes to control ---- */

static void look(struct desk *desk)
{
    struct rabbit_bus *k = container_of(desk, struct rabbit_bus, desk);
    bool back = atomic_exchange(&k->back, false); /* first: jobs that ended before it was said are seen behind it */
    rabbit_jobs_finished(k);
    if (!k->desk.stopping && back)
        abroad_doubt(&k->abroad);
    abroad_look(&k->abroad);
}

static void tick(struct desk *desk)
{
    abroad_tick(&container_of(desk, struct rabbit_bus, desk)->abroad);
}

static void client_notice(void *arg, int severity, const char *code, const char *text)
{
    struct rabbit_bus *k = arg;
    desk_notice(&k->desk, severity, code, "%s", text);
}

/* ---- loops ---- */

static void arrived(void *owner)
{
    rabbit_append_done(owner);
    rabbit_reads_arrived(owner);
}

static enum err loop_init(struct rabbit_loop *l, struct rabbit_bus *k, struct loop *loop)
{
    l->bus = k;
    l->loop = loop;
    homeward_init(&l->homeward);
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->pages);
    return post_new(loop, arrived, l, &l->post);
}

static void loop_fini(struct rabbit_loop *l)
{
    if (!l->bus)
        return;
    homeward_fini(&l->homeward);
    rabbit_reads_forget(l);
    pthread_mutex_destroy(&l->lock);
    post_free(l->post);
}

struct rabbit_loop *rabbit_loop_find(struct rabbit_bus *k, const struct loop *loop)
{
    return &k->loops[bus_env_index(&k->desk.env, loop)];
}

static enum err rabbit_bind(struct bus *b, struct loop *loop)
{
    struct rabbit_loop *l = rabbit_loop_find(rabbit_of(b), loop);
    assert(!l->bound);
    l->bound = true;
    return OK;
}

static void rabbit_unbind(struct bus *b, struct loop *loop)
{
    struct rabbit_loop *l = rabbit_loop_find(rabbit_of(b), loop);
    assert(l->bound);
    l->bound = false;
}

/* ---- opening ---- */

static const struct desk_ops at_desk = {.look = look, .tick = tick, .left = left};

static const struct abroad_ops at_node = {
    .channel_make = rabbit_channel_make,
    .channel_remove = rabbit_channel_remove,
    .channel_free = rabbit_channel_free,
    .channel_same = rabbit_channel_same,
    .channel_used = rabbit_channel_used,
    .channel_due = rabbit_channel_due,
    .subscription_make = rabbit_subscription_make,
    .subscription_remove = rabbit_subscription_remove,
    .subscription_free = rabbit_subscription_free,
    .subscription_todo = rabbit_subscription_todo,
    .subscription_probe = rabbit_subscription_probe,
    .channel_probe = rabbit_channel_probe,
    .channel_word = "exchange",
    .channel_stays = "ExchangeStays",
    .subscription_word = "queue ",
    .subscription_failed = "QueueFailed",
    .subscription_well = "QueueWell",
    .subscription_stays = "QueueStays",
};

static struct rabbit_bus *bus_new(const struct bus_env *env, struct rabbit_settings *s)
{
    struct rabbit_bus *k = calloc(1, sizeof *k);
    if (!k) {
        rabbit_settings_fini(s);
        return NULL;
    }
    desk_init(&k->desk, &bus_rabbitmq, env, &at_desk, RABBITMQ_NOTICES_A_MINUTE);
    abroad_init(&k->abroad, &k->desk, &at_node);
    k->desk.buffer = s->buffer;
    if (s->classic)
        k->desk.base.capabilities &= ~(unsigned)BUS_CAP_SYNCED;
    if (s->work)
        k->desk.base.capabilities &= ~(unsigned)BUS_CAP_ORDERED;
    if (s->streams == RABBIT_STREAMS_ALL)
        k->desk.base.capabilities |= BUS_CAP_BROWSE;
    k->settings = *s;
    k->opened_ns = rabbit_now();
    k->wait_ns = s->timeout_ns / 10;
    k->hold_ns = s->timeout_ns / 15 * 14;
    k->sweep_ns = s->timeout_ns / 90;
    k->desk.base.hold_ms_max = s->timeout_ns / NS_PER_MS * 5 / 6;
    pthread_mutex_init(&k->jobs_lock, NULL);
    list_init(&k->jobs_in);
    list_init(&k->jobs_done);
    list_init(&k->jobs_waiting);
    rabbit_jobs_init(k);
    rabbit_reads_init(k);
    loop_timer_init(&k->patience, stop_late);
    pthread_mutex_init(&k->publisher.lock, NULL);
    k->publisher.bus = k;
    k->publisher.in_end = &k->publisher.in;
    k->publisher.held_end = &k->publisher.held;
    k->publisher.base = k->publisher.next = 1;
    buf_init(&k->publisher.scratch, 2 * CE_EVENT_BYTES_MAX);
    for (size_t i = 0; i < RABBIT_CONSUMERS; i++) {
        pthread_mutex_init(&k->consumers[i].lock, NULL);
        list_init(&k->consumers[i].todo);
        list_init(&k->consumers[i].subscriptions);
    }
    return k;
}

/* As the client wants them; the list is the caller's, its texts are borrowed. NULL: no memory. */
static struct rabbitmq_client_param *client_params(const struct bus_param *params, size_t count)
{
    struct rabbitmq_client_param *list = calloc(count + 1, sizeof *list);
    for (size_t i = 0; list && i < count; i++)
        list[i] = (struct rabbitmq_client_param){params[i].name, params[i].value};
    return list;
}

static enum err links_start(struct rabbit_bus *k)
{
    enum err e = rabbit_publisher_start(k);
    for (unsigned i = 0; i < RABBIT_CONSUMERS && !e; i++)
        e = rabbit_consumer_start(k, i);
    if (!e)
        e = rabbit_reads_start(k);
    return e ? e : post_new(rabbitmq_link_loop(k->consumers[0].link), rabbit_jobs_arrived, k, &k->jobs_post);
}

static enum err bus_start(struct rabbit_bus *k, const struct bus_param *params, size_t count, struct diag *d)
{
    const struct rabbitmq_client_events events = {client_notice, k};
    struct rabbitmq_client_param *list = client_params(params, count);
    k->loops = calloc(k->desk.env.loop_count, sizeof *k->loops);
    enum err e = list && k->loops ? desk_open(&k->desk) : ERR_NOMEM;
    for (size_t i = 0; i < k->desk.env.loop_count && !e; i++)
        e = loop_init(&k->loops[i], k, k->desk.env.loops[i]);
    if (e)
        diag_set(d, e, "out of memory");
    if (!e)
        e = rabbitmq_client_new(list, count, &events, &k->client, d);
    if (!e && (e = links_start(k)))
        diag_set(d, e, "no thread, descriptor or memory is left");
    free(list);
    return e;
}

static void rabbit_fini(struct bus *b);

static enum err rabbit_open(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                            struct diag *d)
{
    struct rabbit_settings s;
    assert(env->loop_count > 0);
    enum err e = rabbit_settings_read(params, count, &s, d);
    if (e)
        return e;
    struct rabbit_bus *k = bus_new(env, &s);
    if (!k)
        return diag_set(d, ERR_NOMEM, "out of memory");
    e = bus_start(k, params, count, d);
    if (e) {
        rabbit_fini(&k->desk.base);
        return e;
    }
    desk_start(&k->desk);
    *out = &k->desk.base;
    return OK;
}

static enum err rabbit_check(const struct bus_param *params, size_t count, struct diag *d)
{
    struct rabbit_settings s;
    enum err e = rabbit_settings_read(params, count, &s, d);
    if (e)
        return e;
    rabbit_settings_fini(&s);
    struct rabbitmq_client_param *list = client_params(params, count);
    if (!list)
        return diag_set(d, ERR_NOMEM, "out of memory");
    e = rabbitmq_client_check(list, count, d);
    free(list);
    return e;
}

/* ---- streams ---- */

static enum err rabbit_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                              const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    struct rabbit_bus *k = rabbit_of(b);
    if (desk_closed(&k->desk))
        return ERR_CLOSED;
    return stream_attach(&s->lanes, loop, bus_env_index(&k->desk.env, loop), callbacks, arg, &k->desk.closed, out);
}

/* ---- freeing: no loop runs ---- */

static void consumer_quit(struct rabbit_consumer *q)
{
    rabbitmq_link_free(q->link);
    post_free(q->post);
    free(q->headers);
    pthread_mutex_destroy(&q->lock);
}

/* Side by side: each may wait for a node that does not answer. Opening may have made none, or some. */
static void links_leave(struct rabbit_bus *k)
{
    if (k->publisher.link)
        rabbitmq_link_leave(k->publisher.link);
    for (size_t i = 0; i < RABBIT_CONSUMERS; i++) {
        if (k->consumers[i].link)
            rabbitmq_link_leave(k->consumers[i].link);
    }
}

static void rabbit_fini(struct bus *b)
{
    struct rabbit_bus *k = rabbit_of(b);
    desk_quit(&k->desk);
    loop_timer_stop(k->desk.env.control, &k->patience);
    links_leave(k);
    rabbit_publisher_quit(k);
    for (size_t i = 0; i < RABBIT_CONSUMERS; i++)
        consumer_quit(&k->consumers[i]);
    rabbit_reads_quit(k);
    post_free(k->jobs_post);
    abroad_fini(&k->abroad);
    for (size_t i = 0; k->loops && i < k->desk.env.loop_count; i++)
        loop_fini(&k->loops[i]);
    rabbitmq_client_unref(k->client);
    desk_fini(&k->desk);
    rabbit_settings_fini(&k->settings);
    pthread_mutex_destroy(&k->jobs_lock);
    pthread_mutex_destroy(&k->publisher.lock);
    free(k->loops);
    free(k);
}

const struct bus_ops bus_rabbitmq = {
    .name = "rabbitmq",
    .capabilities = BUS_CAP_DURABLE | BUS_CAP_SYNCED | BUS_CAP_ORDERED | BUS_CAP_ACK_EACH | BUS_CAP_SHARED,
    .hold_ms_max = 25ull * 60 * 1000, /* of the default timeout, as bus_new has it of others */
    .open = rabbit_open,
    .check = rabbit_check,
    .bind = rabbit_bind,
    .unbind = rabbit_unbind,
    .provision = rabbit_provision,
    .release = rabbit_release,
    .verify = rabbit_verify,
    .subscribe = rabbit_subscribe,
    .unsubscribe = rabbit_unsubscribe,
    .append = rabbit_append,
    .attach = rabbit_attach,
    .detach = stream_detach,
    .credit = stream_credit,
    .settle = stream_settle,
    .read = rabbit_read,
    .browse = rabbit_browse,
    .recount = rabbit_recount,
    .stop = rabbit_stop,
    .fini = rabbit_fini,
    .probe = rabbit_probe,
    .probe_subscription = rabbit_probe_subscription,
};
