/* SPDX-License-Identifier: Apache-2.0
 *
 * A link's life: its thread; connecting, losing, connecting again; bytes in and out; heartbeats.
 */
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "rabbitmq_conn.h"

#define READ_BYTES (64u << 10)   /* asked of the socket at once, at least */
#define READS_A_TURN 16          /* so that letters and timers are not kept waiting by a fast server */
#define FLUSH_BYTES (128u << 10) /* beyond it what is published goes out before the turn ends */
#define KEEP_BYTES (1u << 20)    /* of a buffer that has been emptied */
#define RETRY_MS_MIN 100u
#define STEADY_NS (5 * NS_PER_S)  /* a connection that lasted so long begins anew with the shortest wait */
#define RESERVE_BYTES (16u << 20) /* of the buffer beyond what publishing may fill: acks and calls */

static void try_next(struct rabbitmq_link *l);
static void arm_round(struct rabbitmq_link *l);

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

static void lose_because(struct rabbitmq_link *l, const struct rabbitmq_why *why)
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

/* The one place where a connection ends (invariant 1); also an attempt at one. */
static void link_down(struct rabbitmq_link *l)
{
    bool was_up = l->state >= RABBITMQ_OPEN, leaving = l->stopping;
    enum err e = leaving ? ERR_CLOSED : l->why.e;
    unsigned code = l->why_code;
    char text[sizeof(l->why.text) + sizeof(l->address_text) + 20];
    snprintf(text, sizeof(text), "RabbitMQ at %s %s", l->address_text, leaving ? "is left" : l->why.text);
    rabbitmq_settings_hide(&l->client->settings, text);
    bool steady = was_up && loop_now_ns(l->loop) - l->open_ns > STEADY_NS;
    l->why_code = 0;
    l->state = RABBITMQ_IDLE;
    connection_forget(l);
    rabbitmq_channels_end(l, e, code, text);
    if (!leaving)
        rabbitmq_client_failing(l->client, &l->failed, was_up, l->why.cause, text);
    bool tell = was_up || (!l->told_down && !leaving);
    l->told_down = true;
    if (tell && l->config.events->down)
        l->config.events->down(l->config.arg, e, text);
    if (leaving)
        end(l, was_up);
    else if (was_up) {
        l->tried = 0;
        l->delay_ms = steady ? 0 : l->delay_ms;
        arm_round(l);
    } else {
        try_next(l);
    }
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

static void watch_for(struct rabbitmq_link *l, bool room)
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
    watch_for(l, room);
    return true;
}

static void read_in(struct rabbitmq_link *l);

void rabbitmq_flush(struct rabbitmq_link *l)
{
    struct rabbitmq_why why;
    if (l->lost || l->state < RABBITMQ_STARTING || l->out_at == l->out.len)
        return;
    if (!write_out(l, &why))
        lose_because(l, &why);
}

/* At the end of a turn. When writing fails, the server may have said why before: that is read first. */
static void on_settle(struct loop_task *t)
{
    struct rabbitmq_link *l = container_of(t, struct rabbitmq_link, settle);
    struct rabbitmq_why why;
    if (!l->lost && l->state >= RABBITMQ_STARTING && l->out_at < l->out.len && !write_out(l, &why)) {
        read_in(l);
        lose_because(l, &why);
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
        if (l->in_cap - l->in_len < READ_BYTES) { /* it holds a frame and READ_BYTES at least */
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
            watch_for(l, true);
    } else if (e == ERR_CLOSED && l->state == RABBITMQ_TUNING) {
        rabbitmq_lose(l, ERR_DENIED, RABBITMQ_AUTHENTICATION,
                      "closed the connection during login; check username and password");
    } else if (e == ERR_CLOSED && l->state == RABBITMQ_STARTING) {
        rabbitmq_lose(l, ERR_UNAVAILABLE, RABBITMQ_DOWN,
                      "closed the connection before it spoke AMQP; if it keeps to that, check the port");
    } else if (e) {
        lose_because(l, &why);
    }
}

/* ---- heartbeats ---- */

/* Four times in an interval. */
static void on_pulse(struct loop_timer *t)
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

/* ---- connecting ---- */

static void say_address(struct rabbitmq_link *l)
{
    const struct rabbitmq_host *h = &l->client->settings.hosts[l->host];
    bool v6 = strchr(h->name, ':');
    snprintf(l->address_text, sizeof(l->address_text), "%s%s%s:%u", v6 ? "[" : "", h->name, v6 ? "]" : "", h->port);
}

static void arm_round(struct rabbitmq_link *l)
{
    l->delay_ms = l->delay_ms == 0 ? RETRY_MS_MIN : l->delay_ms * 2;
    if (l->delay_ms > l->client->retry_ms_max)
        l->delay_ms = l->client->retry_ms_max;
    uint64_t ns = l->delay_ms * NS_PER_MS; /* half of it at least: many links come back at different times */
    loop_timer_start(l->loop, &l->retry, ns / 2 + prng_below(&l->prng, ns / 2 + 1));
}

static void login(struct rabbitmq_link *l)
{
    l->state = RABBITMQ_STARTING;
    l->heard_ns = l->sent_ns = loop_now_ns(l->loop);
    rabbitmq_login_begin(l);
}

static void secure(struct rabbitmq_link *l)
{
    struct rabbitmq_why why;
    enum err e = rabbitmq_socket_handshake(&l->socket, &why);
    if (!e)
        login(l);
    else if (e != ERR_PENDING)
        lose_because(l, &why);
    watch_for(l, e == ERR_PENDING && l->socket.wants_write);
}

static void connected(struct rabbitmq_link *l)
{
    const struct rabbitmq_settings *s = &l->client->settings;
    struct rabbitmq_why why;
    enum err e = rabbitmq_socket_connected(&l->socket, &why);
    if (!e && s->tls)
        e = rabbitmq_socket_secure(&l->socket, l->client->tls, s->hosts[l->host].name, s->verify, &why);
    if (e) {
        lose_because(l, &why);
        return;
    }
    watch_for(l, false);
    if (s->tls) {
        l->state = RABBITMQ_SECURING;
        secure(l);
    } else {
        login(l);
    }
}

static void on_socket(struct loop_watch *w, uint32_t events)
{
    struct rabbitmq_link *l = container_of(w, struct rabbitmq_link, watch);
    if (l->lost)
        return;
    if (l->state == RABBITMQ_CONNECTING)
        connected(l);
    else if (l->state == RABBITMQ_SECURING)
        secure(l);
    else {
        if (events & EPOLLOUT)
            watch_for(l, false);
        read_in(l);
        loop_defer(l->loop, &l->settle); /* TLS may have waited for bytes in order to write */
    }
}

static void try_address(struct rabbitmq_link *l)
{
    const size_t cap = RABBITMQ_FRAME_BYTES_MAX + 2 * READ_BYTES;
    struct rabbitmq_why why;
    l->in = malloc(cap);
    l->in_cap = cap;
    buf_init(&l->out, l->config.unsent_bytes_max + 2 * l->config.message_bytes_max + RESERVE_BYTES);
    l->state = RABBITMQ_CONNECTING;
    loop_timer_start(l->loop, &l->deadline, l->client->connect_ms * NS_PER_MS);
    if (!l->in)
        rabbitmq_lose(l, ERR_NOMEM, RABBITMQ_DOWN, "is not reached: no memory");
    else if (rabbitmq_socket_connect(&l->socket, l->address, &why) != OK)
        lose_because(l, &why);
    else if (loop_watch_add(l->loop, &l->watch, l->socket.fd, EPOLLIN | EPOLLOUT, on_socket) != OK)
        rabbitmq_lose(l, ERR_IO, RABBITMQ_DOWN, "is not reached: the system watches no more sockets");
}

/* The next address, of the next host; or all were tried, and it waits. */
static void try_next(struct rabbitmq_link *l)
{
    const struct rabbitmq_settings *s = &l->client->settings;
    if (l->address && (l->address = l->address->ai_next)) {
        try_address(l);
        return;
    }
    if (l->addresses)
        freeaddrinfo(l->addresses);
    l->addresses = l->address = NULL;
    if (l->tried)
        l->host = (l->host + 1) % s->host_count;
    if (l->tried++ == s->host_count) {
        l->tried = 0;
        arm_round(l);
        return;
    }
    say_address(l);
    struct rabbitmq_why why;
    l->state = RABBITMQ_CONNECTING;
    if (rabbitmq_resolve(&s->hosts[l->host], &l->addresses, &why) != OK) {
        lose_because(l, &why);
        return;
    }
    l->address = l->addresses;
    try_address(l);
}

static void on_retry(struct loop_timer *t)
{
    struct rabbitmq_link *l = container_of(t, struct rabbitmq_link, retry);
    l->tried = 0;
    l->address = NULL;
    try_next(l);
}

static void on_deadline(struct loop_timer *t)
{
    struct rabbitmq_link *l = container_of(t, struct rabbitmq_link, deadline);
    static const char *const phase[] = {
        [RABBITMQ_CONNECTING] = "does not answer",      [RABBITMQ_SECURING] = "does not answer the TLS handshake",
        [RABBITMQ_STARTING] = "does not speak AMQP",    [RABBITMQ_TUNING] = "does not answer the login",
        [RABBITMQ_OPENING] = "does not open the vhost", [RABBITMQ_LEAVING] = "does not say good-bye"};
    const char *text = l->state < sizeof(phase) / sizeof(*phase) && phase[l->state] ? phase[l->state] : phase[1];
    rabbitmq_lose(l, ERR_UNAVAILABLE, RABBITMQ_DOWN, "%s within %g s", text,
                  (l->state == RABBITMQ_LEAVING ? l->client->close_ms : l->client->connect_ms) / 1000.0);
}

void rabbitmq_opened(struct rabbitmq_link *l)
{
    l->state = RABBITMQ_OPEN;
    l->open_ns = loop_now_ns(l->loop);
    l->tried = 0;
    l->told_down = false;
    loop_timer_stop(l->loop, &l->deadline);
    l->server.address = l->address_text;
    l->server.frame_bytes_max = l->frame_max;
    on_pulse(&l->pulse);
    rabbitmq_client_connected(l->client, &l->failed);
    if (l->config.events->up)
        l->config.events->up(l->config.arg, &l->server);
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
    try_next(container_of(m, struct rabbitmq_link, start));
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

static void link_destroy(struct rabbitmq_link *l)
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

enum err rabbitmq_link_new(struct rabbitmq_client *k, const struct rabbitmq_link_config *config,
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
    loop_timer_init(&l->retry, on_retry);
    loop_timer_init(&l->deadline, on_deadline);
    loop_timer_init(&l->pulse, on_pulse);
    loop_timer_init(&l->overdue, rabbitmq_calls_overdue);
    loop_task_init(&l->settle, on_settle);
    e = start(l);
    if (e) {
        link_destroy(l);
        return e;
    }
    *out = l; /* before anything can call back */
    loop_post_reserved(l->loop, &l->start);
    return OK;
}

void rabbitmq_link_free(struct rabbitmq_link *l)
{
    if (!l)
        return;
    loop_post_reserved(l->loop, &l->stop);
    pthread_join(l->thread, NULL);
    link_destroy(l);
}
