/* SPDX-License-Identifier: Apache-2.0
 *
 * A link's life: its thread; a connection lost; bytes in and out; heartbeats.
 */
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "rabbitmq_conn.h"

#define READS_A_TURN 16          /* so that letters and timers are not kept waiting by a fast server */
#define FLUSH_BYTES (128u << 10) /* beyond it what is published goes out before the turn ends */
#define KEEP_BYTES (1u << 20)    /* of a buffer that has been emptied */
#define STEADY_NS (5 * NS_PER_S) /* a connection that lasted so long begins anew with the shortest wait */

/* ---- losing ---- */

void rabbitmq_lose(struct rabbitmq_link *l, enum err e, enum rabbitmq_cause cause, const char *format, ...)
{
    if (l->lost)
        return;
    char text[sizeof(l->why.text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    rabbitmq_why_set(&l->why, e, cause, "%s", text);
    l->lost = true;
    loop_defer(l->loop, &l->settle);
}

void rabbitmq_lose_because(struct rabbitmq_link *l, const struct rabbitmq_why *why)
{
    rabbitmq_lose(l, why->e == ERR_CLOSED ? ERR_UNAVAILABLE : why->e, why->cause, "%s", why->text);
}

void rabbitmq_link_reset(struct rabbitmq_link *l, enum err e, const char *why)
{
    if (l->state != RABBITMQ_IDLE)
        rabbitmq_lose(l, e, RABBITMQ_DOWN, "is given up: %s", why);
}

static void connection_forget(struct rabbitmq_link *l)
{
    rabbitmq_resolve_abandon(l);
    loop_watch_remove(l->loop, &l->watch);
    rabbitmq_socket_close(&l->socket);
    loop_timer_stop(l->loop, &l->deadline);
    loop_timer_stop(l->loop, &l->pulse);
    loop_timer_stop(l->loop, &l->overdue);
    buf_fini(&l->out);
    free(l->in);
    l->in = NULL;
    l->in_at = l->in_len = l->out_at = 0;
    l->starved = l->blocked = false;
    l->frame_max = RABBITMQ_FRAME_BYTES_MAX;
    l->lost = false;
}

static void end(struct rabbitmq_link *l, bool was_up)
{
    rabbitmq_client_left(l->client, &l->failed, was_up);
    if (l->addresses)
        freeaddrinfo(l->addresses);
    l->addresses = NULL;
    loop_timer_stop(l->loop, &l->retry);
    loop_stop(l->loop);
}

/* An attempt that failed. As long as the round has more to try, nothing is down; of a round that failed, a mistake that
 * somebody must repair says more than a host that is not there. */
static void attempt_down(struct rabbitmq_link *l, const char *text)
{
    struct rabbitmq_why *round = &l->round;
    if (round->e == OK || round->cause == RABBITMQ_DOWN || l->why.cause != RABBITMQ_DOWN) {
        round->e = l->why.e;
        round->cause = l->why.cause;
        snprintf(round->text, sizeof(round->text), "%s", text);
    }
    if (!rabbitmq_connect_has_next(l)) {
        bool tell = !l->told_down && l->config.events->down;
        l->told_down = true;
        rabbitmq_client_failing(l->client, &l->failed, false, round->cause, round->text);
        if (tell)
            l->config.events->down(l->config.arg, round->e, round->text);
        round->e = OK;
    }
    rabbitmq_connect_next(l);
}

/* The one place where a connection ends (invariant 1); also an attempt at one. */
static void link_down(struct rabbitmq_link *l)
{
    bool was_up = l->state >= RABBITMQ_OPEN, leaving = l->stopping;
    enum err e = leaving ? ERR_CLOSED : l->why.e;
    unsigned code = l->why_code;
    char text[sizeof(l->why.text)];
    snprintf(text, sizeof(text), "RabbitMQ at %s %.430s", l->address_text, leaving ? "is left" : l->why.text);
    rabbitmq_settings_hide(&l->client->settings, text);
    l->why_code = 0;
    l->state = RABBITMQ_IDLE;
    connection_forget(l);
    if (!was_up && !leaving) {
        attempt_down(l, text);
        return;
    }
    rabbitmq_channels_end(l, e, code, text);
    if (!leaving)
        rabbitmq_client_failing(l->client, &l->failed, true, l->why.cause, text);
    if (was_up && l->config.events->down)
        l->config.events->down(l->config.arg, e, text);
    l->told_down = true;
    if (leaving) {
        end(l, was_up);
        return;
    }
    if (loop_now_ns(l->loop) - l->open_ns > STEADY_NS)
        l->delay_ms = 0;
    l->tried = 0;
    rabbitmq_connect_later(l);
}

/* ---- sending ---- */

size_t rabbitmq_link_unsent(const struct rabbitmq_link *l)
{
    return l->out.len - l->out_at;
}

void rabbitmq_send_later(struct rabbitmq_link *l)
{
    loop_defer(l->loop, &l->settle);
    if (rabbitmq_link_unsent(l) >= FLUSH_BYTES && !(l->watch.events & EPOLLOUT))
        rabbitmq_flush(l);
}

void rabbitmq_send_method(struct rabbitmq_link *l, uint16_t channel, uint32_t method, const void *decoded)
{
    enum err e = rabbitmq_put_method(&l->out, channel, method, decoded, l->frame_max);
    if (e)
        rabbitmq_lose(l, e == ERR_NOMEM ? ERR_NOMEM : ERR_UNAVAILABLE, RABBITMQ_DOWN, "is given up: %s",
                      e == ERR_NOMEM ? "no memory" : "it takes nothing of what is sent");
    else
        rabbitmq_send_later(l);
}

void rabbitmq_watch(struct rabbitmq_link *l, bool room)
{
    uint32_t events = EPOLLIN | (room ? EPOLLOUT : 0u);
    if (l->watch.events != events && loop_watch_change(l->loop, &l->watch, events) != OK)
        rabbitmq_lose(l, ERR_IO, RABBITMQ_DOWN, "is given up: the system watches no more sockets");
}

static void tidy_out(struct rabbitmq_link *l)
{
    if (l->out_at == l->out.len) {
        l->out_at = 0;
        buf_clear(&l->out);
        if (l->out.cap > KEEP_BYTES)
            buf_fini(&l->out);
    } else if (l->out_at > KEEP_BYTES && l->out_at > l->out.len / 2) {
        buf_consume(&l->out, l->out_at);
        l->out_at = 0;
    }
}

/* False: what was written broke the connection, *why says how. */
static bool write_out(struct rabbitmq_link *l, struct rabbitmq_why *why)
{
    enum err e = OK;
    bool room = false;
    while (!e && l->out_at < l->out.len) {
        size_t n = 0;
        e = rabbitmq_socket_write(&l->socket, l->out.ptr + l->out_at, l->out.len - l->out_at, &n, why);
        if (!e) {
            l->out_at += n;
            l->sent_ns = loop_now_ns(l->loop);
        }
    }
    if (e && e != ERR_PENDING)
        return false;
    room = e == ERR_PENDING && l->socket.wants_write;
    tidy_out(l);
    rabbitmq_watch(l, room);
    return true;
}

static void read_in(struct rabbitmq_link *l);

void rabbitmq_flush(struct rabbitmq_link *l)
{
    struct rabbitmq_why why;
    if (l->lost || l->state < RABBITMQ_STARTING || l->out_at == l->out.len)
        return;
    if (!write_out(l, &why))
        rabbitmq_lose_because(l, &why);
}

/* At the end of a turn. When writing fails, the server may have said why before: that is read first. */
static void on_settle(struct loop_task *t)
{
    struct rabbitmq_link *l = container_of(t, struct rabbitmq_link, settle);
    struct rabbitmq_why why;
    if (!l->lost && l->state >= RABBITMQ_STARTING && l->out_at < l->out.len && !write_out(l, &why)) {
        read_in(l);
        rabbitmq_lose_because(l, &why);
    }
    if (l->lost) {
        /* A last answer (connection.close-ok) goes out where there is room, and nothing is waited for. */
        if (l->why_code && l->state >= RABBITMQ_STARTING)
            (void)write_out(l, &why);
        link_down(l);
    } else if (l->starved && rabbitmq_link_unsent(l) <= l->config.unsent_bytes_max / 2) {
        l->starved = false;
        if (l->config.events->room)
            l->config.events->room(l->config.arg);
    }
}

/* ---- receiving ---- */

void *rabbitmq_decode(struct rabbitmq_link *l, uint32_t method, struct slice arguments)
{
    void *decoded = NULL;
    amqp_bytes_t bytes = {arguments.len, (void *)(uintptr_t)arguments.ptr};
    int status = amqp_decode_method(method, &l->pool, bytes, &decoded);
    if (status == AMQP_STATUS_NO_MEMORY)
        rabbitmq_lose(l, ERR_NOMEM, RABBITMQ_DOWN, "is given up: no memory");
    else if (status < 0)
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "sent a method of AMQP that cannot be read (%u.%u)",
                      method >> 16, method & 0xffff);
    return status < 0 ? NULL : decoded;
}

static void take_frame(struct rabbitmq_link *l, const struct rabbitmq_frame *f)
{
    if (f->type == RABBITMQ_HEARTBEAT)
        return;
    if (f->channel)
        rabbitmq_channel_frame(l, f);
    else if (f->type == RABBITMQ_METHOD)
        rabbitmq_login_method(l, f);
    else
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "sent content on channel 0");
    recycle_amqp_pool(&l->pool);
}

/* All whole frames of the buffer, unless the connection is lost on the way. */
static void take_frames(struct rabbitmq_link *l)
{
    while (!l->lost && l->in_at < l->in_len) {
        struct slice bytes = slice_of(l->in + l->in_at, l->in_len - l->in_at);
        struct rabbitmq_frame f;
        size_t used = 0;
        const char *wrong = NULL;
        if (l->state == RABBITMQ_STARTING && !rabbitmq_login_speaks_amqp(l, bytes))
            return;
        enum err e = rabbitmq_frame_read(bytes, l->frame_max, &f, &used, &wrong);
        if (e == ERR_PENDING)
            return;
        if (e) {
            rabbitmq_lose(l, e, RABBITMQ_MISMATCH, "sent what is not AMQP: %s", wrong);
            return;
        }
        l->in_at += used;
        take_frame(l, &f);
    }
}

static void read_in(struct rabbitmq_link *l)
{
    enum err e = OK;
    struct rabbitmq_why why;
    for (int i = 0; !e && !l->lost && i < READS_A_TURN; i++) {
        if (l->in_at == l->in_len)
            l->in_at = l->in_len = 0;
        if (l->in_cap - l->in_len < RABBITMQ_READ_BYTES) { /* it holds a frame and RABBITMQ_READ_BYTES at least */
            memmove(l->in, l->in + l->in_at, l->in_len - l->in_at);
            l->in_len -= l->in_at;
            l->in_at = 0;
        }
        size_t n = 0;
        e = rabbitmq_socket_read(&l->socket, l->in + l->in_len, l->in_cap - l->in_len, &n, &why);
        if (!e) {
            l->heard_ns = loop_now_ns(l->loop);
            l->in_len += n;
            take_frames(l);
        }
    }
    if (e == ERR_PENDING) {
        if (l->socket.wants_write)
            rabbitmq_watch(l, true);
    } else if (e == ERR_CLOSED && l->state == RABBITMQ_TUNING) {
        rabbitmq_lose(l, ERR_DENIED, RABBITMQ_AUTHENTICATION,
                      "closed the connection during login; check username and password");
    } else if (e == ERR_CLOSED && l->state == RABBITMQ_STARTING) {
        rabbitmq_lose(l, ERR_UNAVAILABLE, RABBITMQ_DOWN,
                      "closed the connection before it spoke AMQP; if it keeps to that, check the port");
    } else if (e) {
        rabbitmq_lose_because(l, &why);
    }
}

/* ---- heartbeats ---- */

/* Four times in an interval. */
void rabbitmq_pulse(struct loop_timer *t)
{
    struct rabbitmq_link *l = container_of(t, struct rabbitmq_link, pulse);
    uint64_t now = loop_now_ns(l->loop), interval = l->server.heartbeat_s * NS_PER_S;
    if (interval && now - l->heard_ns >= 2 * interval) {
        rabbitmq_lose(l, ERR_UNAVAILABLE, RABBITMQ_DOWN,
                      "is silent for %u s (two heartbeats): it hangs, or the network does", 2 * l->server.heartbeat_s);
        return;
    }
    if (!interval && rabbitmq_link_unsent(l) && !l->blocked && now - l->sent_ns >= l->client->stall_ms * NS_PER_MS) {
        rabbitmq_lose(l, ERR_UNAVAILABLE, RABBITMQ_DOWN,
                      "takes nothing of what is sent for %u s: it hangs, or the network does",
                      l->client->stall_ms / 1000);
        return;
    }
    if (interval && !rabbitmq_link_unsent(l) && now - l->sent_ns >= interval / 2 &&
        rabbitmq_put_heartbeat(&l->out) == OK)
        rabbitmq_send_later(l);
    loop_timer_start(l->loop, &l->pulse, interval ? interval / 4 : NS_PER_S);
}

/* ---- the socket ---- */

void rabbitmq_on_socket(struct loop_watch *w, uint32_t events)
{
    struct rabbitmq_link *l = container_of(w, struct rabbitmq_link, watch);
    if (l->lost)
        return;
    if (l->state < RABBITMQ_STARTING) {
        rabbitmq_connect_go_on(l);
    } else {
        if (events & EPOLLOUT)
            rabbitmq_watch(l, false);
        read_in(l);
        loop_defer(l->loop, &l->settle); /* TLS may have waited for bytes in order to write */
    }
}

/* ---- life ---- */

bool rabbitmq_link_is_up(const struct rabbitmq_link *l)
{
    return l->state == RABBITMQ_OPEN && !l->lost;
}

const char *rabbitmq_link_blocked(const struct rabbitmq_link *l)
{
    return l->blocked ? l->blocked_why : NULL;
}

struct loop *rabbitmq_link_loop(struct rabbitmq_link *l)
{
    return l->loop;
}

static void on_start(struct letter *m)
{
    rabbitmq_connect_next(container_of(m, struct rabbitmq_link, start));
}

static void on_stop(struct letter *m)
{
    struct rabbitmq_link *l = container_of(m, struct rabbitmq_link, stop);
    l->stopping = true;
    if (l->state == RABBITMQ_OPEN && !l->lost) {
        rabbitmq_login_close(l);
        loop_timer_start(l->loop, &l->deadline, l->client->close_ms * NS_PER_MS);
    } else {
        rabbitmq_lose(l, ERR_CLOSED, RABBITMQ_DOWN, "is left");
    }
}

static void *run(void *arg)
{
    struct rabbitmq_link *l = arg;
    /* epoll fails only for a descriptor that is none: then there is nothing left to wait for. */
    if (loop_run(l->loop) != OK && l->state >= RABBITMQ_OPEN)
        rabbitmq_channels_end(l, ERR_IO, 0, "the system watches no more sockets");
    return NULL;
}

void rabbitmq_link_destroy(struct rabbitmq_link *l)
{
    connection_forget(l);
    loop_task_cancel(&l->settle);
    loop_free(l->loop);
    free(l->channels);
    empty_amqp_pool(&l->pool);
    rabbitmq_client_unref(l->client);
    free((char *)(uintptr_t)l->config.name);
    free(l);
}

static enum err start(struct rabbitmq_link *l)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the control loop's; OpenSSL would send SIGPIPE */
    int failed = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return ERR_IO;
    pthread_setname_np(l->thread, "rabbitmq");
    return OK;
}

enum err rabbitmq_link_make(struct rabbitmq_client *k, const struct rabbitmq_link_config *config,
                            struct rabbitmq_link **out)
{
    struct rabbitmq_link *l = calloc(1, sizeof(*l));
    char *name = strdup(config->name);
    if (!l || !name) {
        free(l);
        free(name);
        return ERR_NOMEM;
    }
    enum err e = loop_new(clock_system(), config->mailbox_max, &l->loop);
    if (e) {
        free(name);
        free(l);
        return e;
    }
    l->client = rabbitmq_client_ref(k);
    l->config = *config;
    l->config.name = name;
    l->start.run = on_start;
    l->stop.run = on_stop;
    l->socket.fd = l->watch.fd = -1;
    l->frame_max = RABBITMQ_FRAME_BYTES_MAX;
    list_init(&l->calls);
    init_amqp_pool(&l->pool, 4096);
    prng_seed_system(&l->prng);
    loop_timer_init(&l->retry, rabbitmq_connect_again);
    loop_timer_init(&l->deadline, rabbitmq_connect_late);
    loop_timer_init(&l->pulse, rabbitmq_pulse);
    loop_timer_init(&l->overdue, rabbitmq_calls_overdue);
    loop_task_init(&l->settle, on_settle);
    *out = l;
    return OK;
}

enum err rabbitmq_link_new(struct rabbitmq_client *k, const struct rabbitmq_link_config *config,
                           struct rabbitmq_link **out)
{
    struct rabbitmq_link *l;
    enum err e = rabbitmq_link_make(k, config, &l);
    if (e)
        return e;
    e = start(l);
    if (e) {
        rabbitmq_link_destroy(l);
        return e;
    }
    *out = l; /* before anything can call back */
    loop_post_reserved(l->loop, &l->start);
    return OK;
}

void rabbitmq_link_leave(struct rabbitmq_link *l)
{
    if (l->left)
        return;
    l->left = true;
    loop_post_reserved(l->loop, &l->stop);
}

void rabbitmq_link_free(struct rabbitmq_link *l)
{
    if (!l)
        return;
    rabbitmq_link_leave(l);
    pthread_join(l->thread, NULL);
    rabbitmq_link_destroy(l);
}
