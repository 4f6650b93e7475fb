/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pub/Sub bus: opening, time, stopping and freeing. pubsub_bus.h tells the story.
 *
 * Opening asks nothing of the service. What comes to control comes to its desk (../desk.h).
 *
 * Stopping. New work is refused from the call on, and nothing is delivered any more. Then, at once: what was appended
 * is answered; each subscription acknowledges what is settled and hands back the rest; calls of control end. When all
 * of that is over stop has ended.
 */
#include "pubsub_subscription.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../backends.h"

/* ---- stop ---- */

static uint64_t left(const struct desk *desk)
{
    const struct pub_bus *k = container_of(desk, struct pub_bus, desk);
    return abroad_left(&k->abroad) + !list_empty(&k->to_verify);
}

static void pub_stop(struct bus *b, struct bus_op *op)
{
    struct pub_bus *k = pub_of(b);
    if (desk_stop(&k->desk, op))
        abroad_stop(&k->abroad);
}

/* ---- what comes to control ---- */

static void look(struct desk *desk)
{
    abroad_look(&container_of(desk, struct pub_bus, desk)->abroad);
}

static void tick(struct desk *desk)
{
    abroad_tick(&container_of(desk, struct pub_bus, desk)->abroad);
}

/* ---- whether the service is there ---- */

static void is_back(struct pub_bus *k)
{
    pthread_mutex_lock(&k->away_lock);
    k->away[0] = '\0';
    bool was = atomic_exchange(&k->is_away, false);
    pthread_mutex_unlock(&k->away_lock);
    if (was)
        desk_notice(&k->desk, 0, "PubSubBack", "Pub/Sub answers again");
}

bool pub_heard(struct pub_bus *k, const struct pubsub_answer *a)
{
    bool mute = a->code && (strcmp(a->code, "WrongCredentials") == 0 || strcmp(a->code, "CredentialsUnavailable") == 0);
    bool away = mute || a->err == ERR_UNAVAILABLE || a->err == ERR_TIMEOUT;
    if (!away) {
        if (a->status != 0 && atomic_load_explicit(&k->is_away, memory_order_relaxed))
            is_back(k);
        return false;
    }
    pthread_mutex_lock(&k->away_lock);
    snprintf(k->away, sizeof k->away, "%s", a->text ? a->text : err_name(a->err));
    bool was = atomic_exchange(&k->is_away, true);
    pthread_mutex_unlock(&k->away_lock);
    if (!was)
        desk_notice(&k->desk, 1, a->code ? a->code : "Unavailable", "%s", a->text ? a->text : err_name(a->err));
    return true;
}

/* ---- loops ---- */

struct pub_loop *pub_loop_find(struct pub_bus *k, const struct loop *loop)
{
    return &k->loops[bus_env_index(&k->desk.env, loop)];
}

static void batch_free(struct pub_loop *l)
{
    for (size_t i = 0; l->scratch && i < PUB_BATCH_MAX; i++)
        buf_fini(&l->scratch[i]);
    free(l->scratch);
    free(l->messages);
    free(l->attributes);
    l->scratch = NULL;
    l->messages = NULL;
    l->attributes = NULL;
    l->attribute_room = 0;
}

static enum err pub_bind(struct bus *b, struct loop *loop)
{
    struct pub_bus *k = pub_of(b);
    struct pub_loop *l = pub_loop_find(k, loop);
    assert(!l->client);
    l->messages = calloc(PUB_BATCH_MAX, sizeof *l->messages);
    l->scratch = calloc(PUB_BATCH_MAX, sizeof *l->scratch);
    for (size_t i = 0; l->scratch && i < PUB_BATCH_MAX; i++)
        buf_init(&l->scratch[i], 2 * CE_EVENT_BYTES_MAX);
    enum err e =
        l->messages && l->scratch ? pubsub_client_new(loop, k->params, k->param_count, &l->client, NULL) : ERR_NOMEM;
    if (e)
        batch_free(l);
    return e;
}

static void pub_unbind(struct bus *b, struct loop *loop)
{
    struct pub_loop *l = pub_loop_find(pub_of(b), loop);
    assert(l->client);
    pubsub_client_free(l->client);
    l->client = NULL;
    batch_free(l);
}

static void loop_init(struct pub_loop *l, struct pub_bus *k, struct loop *loop)
{
    l->bus = k;
    l->loop = loop;
    list_init(&l->waiting);
    loop_task_init(&l->turn, pub_turn);
}

/* ---- opening ---- */

/* The client's own, copied: each loop's is made of them. */
static enum err params_copy(struct pub_bus *k, const struct bus_param *params, size_t count)
{
    k->params = calloc(count + 1, sizeof *k->params);
    if (!k->params)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!pubsub_client_knows(params[i].name))
            continue;
        struct pubsub_param *p = &k->params[k->param_count++];
        p->name = strdup(params[i].name);
        p->value = strdup(params[i].value);
        if (!p->name || !p->value)
            return ERR_NOMEM;
    }
    return OK;
}

static void params_free(struct pub_bus *k)
{
    for (size_t i = 0; i < k->param_count; i++) {
        char *value = (char *)(uintptr_t)k->params[i].value;
        if (value)
            explicit_bzero(value, strlen(value)); /* a key may be among them */
        free((char *)(uintptr_t)k->params[i].name);
        free(value);
    }
    free(k->params);
}

static const struct desk_ops at_desk = {.look = look, .tick = tick, .left = left};

static const struct abroad_ops at_service = {
    .channel_make = pub_channel_make,
    .channel_remove = pub_channel_remove,
    .channel_free = pub_channel_free,
    .channel_same = pub_channel_same,
    .subscription_make = pub_subscription_make,
    .subscription_remove = pub_subscription_remove,
    .subscription_free = pub_subscription_free,
    .subscription_todo = pub_subscription_todo,
    .subscription_probe = pub_subscription_probe,
    .suspect_until_whole = true,
    .channel_word = "topic",
    .channel_stays = "TopicStays",
    .subscription_word = "",
    .subscription_failed = "SubscriptionFailed",
    .subscription_well = "SubscriptionWell",
    .subscription_stays = "SubscriptionStays",
};

static struct pub_bus *bus_new(const struct bus_env *env, struct pub_settings *s)
{
    struct pub_bus *k = calloc(1, sizeof *k);
    if (!k) {
        pub_settings_fini(s);
        return NULL;
    }
    desk_init(&k->desk, &bus_pubsub, env, &at_desk, PUB_NOTICES_A_MINUTE);
    abroad_init(&k->abroad, &k->desk, &at_service);
    k->desk.buffer = s->buffer;
    k->settings = *s;
    pthread_mutex_init(&k->away_lock, NULL);
    list_init(&k->to_verify);
    return k;
}

static enum err bus_start(struct pub_bus *k, const struct bus_param *params, size_t count, struct diag *d)
{
    k->loops = calloc(k->desk.env.loop_count, sizeof *k->loops);
    enum err e = k->loops ? desk_open(&k->desk) : ERR_NOMEM;
    for (size_t i = 0; i < k->desk.env.loop_count && !e; i++)
        loop_init(&k->loops[i], k, k->desk.env.loops[i]);
    if (!e)
        e = params_copy(k, params, count);
    if (e)
        return diag_set(d, e, "out of memory");
    return pubsub_client_new(k->desk.env.control, k->params, k->param_count, &k->client, d);
}

static void pub_fini(struct bus *b);

static enum err pub_open(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                         struct diag *d)
{
    struct pub_settings s;
    assert(env->loop_count > 0);
    enum err e = pub_settings_read(params, count, &s, d);
    if (e)
        return e;
    struct pub_bus *k = bus_new(env, &s);
    if (!k)
        return diag_set(d, ERR_NOMEM, "out of memory");
    e = bus_start(k, params, count, d);
    if (e) {
        pub_fini(&k->desk.base);
        return e;
    }
    desk_start(&k->desk);
    *out = &k->desk.base;
    return OK;
}

static enum err pub_check(const struct bus_param *params, size_t count, struct diag *d)
{
    struct pub_settings s;
    enum err e = pub_settings_read(params, count, &s, d);
    if (e)
        return e;
    pub_settings_fini(&s);
    struct pubsub_param *list = calloc(count + 1, sizeof *list);
    if (!list)
        return diag_set(d, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        list[i] = (struct pubsub_param){params[i].name, params[i].value};
    e = pubsub_client_check(list, count, d);
    free(list);
    return e;
}

/* ---- streams ---- */

static enum err pub_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                           const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    struct pub_bus *k = pub_of(b);
    if (desk_closed(&k->desk))
        return ERR_CLOSED;
    return stream_attach(&s->lanes, loop, bus_env_index(&k->desk.env, loop), callbacks, arg, &k->desk.closed, out);
}

static int64_t pub_appended_at(struct bus *b, struct bus_stream *stream, struct bus_token token)
{
    (void)b;
    return container_of(stream_entry(stream, token), struct pub_entry, entry)->published_ns;
}

/* ---- freeing: no loop runs ---- */

static void pub_fini(struct bus *b)
{
    struct pub_bus *k = pub_of(b);
    desk_quit(&k->desk);
    pubsub_client_free(k->client);
    abroad_fini(&k->abroad);
    for (size_t i = 0; k->loops && i < k->desk.env.loop_count && k->loops[i].bus; i++) {
        loop_task_cancel(&k->loops[i].turn);
        pubsub_client_free(k->loops[i].client);
        batch_free(&k->loops[i]);
    }
    desk_fini(&k->desk);
    pub_settings_fini(&k->settings);
    params_free(k);
    pthread_mutex_destroy(&k->away_lock);
    free(k->loops);
    free(k);
}

const struct bus_ops bus_pubsub = {
    .name = "pubsub",
    .capabilities =
        BUS_CAP_DURABLE | BUS_CAP_SYNCED | BUS_CAP_ORDERED | BUS_CAP_ACK_EACH | BUS_CAP_SHARED | BUS_CAP_REWIND,
    .hold_ms_max = 6ull * 24 * 3600 * 1000, /* leases are renewed for ever; the default retention is 7 days */
    .open = pub_open,
    .check = pub_check,
    .bind = pub_bind,
    .unbind = pub_unbind,
    .provision = pub_provision,
    .release = pub_release,
    .verify = pub_verify,
    .subscribe = pub_subscribe,
    .unsubscribe = pub_unsubscribe,
    .append = pub_append,
    .attach = pub_attach,
    .detach = stream_detach,
    .credit = stream_credit,
    .settle = stream_settle,
    .appended_at = pub_appended_at,
    .stop = pub_stop,
    .fini = pub_fini,
    .probe = pub_probe,
    .probe_subscription = pub_probe_subscription,
};
