/* SPDX-License-Identifier: Apache-2.0
 *
 * How a link connects: one address after the other of one host after the other, TCP, TLS, then the login; and when all
 * were tried, again after a while.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "rabbitmq_conn.h"

#define RETRY_MS_MIN 100u
#define RESERVE_BYTES (16u << 20) /* of the buffer beyond what publishing may fill: acks and calls */

static void say_address(struct rabbitmq_link *l)
{
    const struct rabbitmq_host *h = &l->client->settings.hosts[l->host];
    bool v6 = strchr(h->name, ':');
    snprintf(l->address_text, sizeof(l->address_text), "%s%s%s:%u", v6 ? "[" : "", h->name, v6 ? "]" : "", h->port);
}

void rabbitmq_connect_later(struct rabbitmq_link *l)
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
        rabbitmq_lose_because(l, &why);
    rabbitmq_watch(l, e == ERR_PENDING && l->socket.wants_write);
}

static void connected(struct rabbitmq_link *l)
{
    const struct rabbitmq_settings *s = &l->client->settings;
    struct rabbitmq_why why;
    enum err e = rabbitmq_socket_connected(&l->socket, &why);
    if (!e && s->tls)
        e = rabbitmq_socket_secure(&l->socket, l->client->tls, s->hosts[l->host].name, s->verify, &why);
    if (e) {
        rabbitmq_lose_because(l, &why);
        return;
    }
    rabbitmq_watch(l, false);
    if (s->tls) {
        l->state = RABBITMQ_SECURING;
        secure(l);
    } else {
        login(l);
    }
}

void rabbitmq_connect_go_on(struct rabbitmq_link *l)
{
    if (l->state == RABBITMQ_CONNECTING)
        connected(l);
    else
        secure(l);
}

static void make_buffers(struct rabbitmq_link *l)
{
    l->in_cap = RABBITMQ_FRAME_BYTES_MAX + 2 * RABBITMQ_READ_BYTES;
    l->in = malloc(l->in_cap);
    buf_init(&l->out, l->config.unsent_bytes_max + 2 * l->config.message_bytes_max + RESERVE_BYTES);
    if (!l->in)
        rabbitmq_lose(l, ERR_NOMEM, RABBITMQ_DOWN, "is not reached: no memory");
}

static void watch_socket(struct rabbitmq_link *l, uint32_t events)
{
    if (loop_watch_add(l->loop, &l->watch, l->socket.fd, events, rabbitmq_on_socket) != OK)
        rabbitmq_lose(l, ERR_IO, RABBITMQ_DOWN, "is not reached: the system watches no more sockets");
}

void rabbitmq_link_adopt(struct rabbitmq_link *l, int fd)
{
    make_buffers(l);
    l->socket.fd = fd;
    l->tried = l->client->settings.host_count;
    watch_socket(l, EPOLLIN);
    login(l);
}

static void try_address(struct rabbitmq_link *l)
{
    struct rabbitmq_why why;
    make_buffers(l);
    l->state = RABBITMQ_CONNECTING;
    loop_timer_start(l->loop, &l->deadline, l->client->connect_ms * NS_PER_MS);
    if (l->lost)
        return;
    if (rabbitmq_socket_connect(&l->socket, l->address, &why) != OK)
        rabbitmq_lose_because(l, &why);
    else
        watch_socket(l, EPOLLIN | EPOLLOUT);
}

void rabbitmq_resolved(struct rabbitmq_link *l, int result, int error, struct addrinfo *addresses)
{
    if (result == 0) {
        l->addresses = l->address = addresses;
        try_address(l);
    } else if (result == EAI_MEMORY) {
        rabbitmq_lose(l, ERR_NOMEM, RABBITMQ_DOWN, "is not reached: no memory");
    } else {
        rabbitmq_lose(l, ERR_UNAVAILABLE, RABBITMQ_UNKNOWN_ADDRESS, "is not found: %s; check the host's name",
                      result == EAI_SYSTEM ? strerrordesc_np(error) : gai_strerror(result));
    }
}

bool rabbitmq_connect_has_next(const struct rabbitmq_link *l)
{
    return (l->address && l->address->ai_next) || l->tried < l->client->settings.host_count;
}

/* The next address, of the next host; or all were tried, and it waits. */
void rabbitmq_connect_next(struct rabbitmq_link *l)
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
        rabbitmq_connect_later(l);
        return;
    }
    say_address(l);
    l->state = RABBITMQ_CONNECTING;
    loop_timer_start(l->loop, &l->deadline, l->client->connect_ms * NS_PER_MS);
    rabbitmq_resolve(l, &s->hosts[l->host]);
}

void rabbitmq_connect_again(struct loop_timer *t)
{
    struct rabbitmq_link *l = container_of(t, struct rabbitmq_link, retry);
    l->tried = 0;
    l->address = NULL;
    rabbitmq_connect_next(l);
}

void rabbitmq_connect_late(struct loop_timer *t)
{
    struct rabbitmq_link *l = container_of(t, struct rabbitmq_link, deadline);
    static const char *const phase[] = {
        [RABBITMQ_CONNECTING] = "does not answer",      [RABBITMQ_SECURING] = "does not answer the TLS handshake",
        [RABBITMQ_STARTING] = "does not speak AMQP",    [RABBITMQ_TUNING] = "does not answer the login",
        [RABBITMQ_OPENING] = "does not open the vhost", [RABBITMQ_LEAVING] = "does not say good-bye"};
    if (l->lookup) {
        rabbitmq_lose(l, ERR_UNAVAILABLE, RABBITMQ_UNKNOWN_ADDRESS, "is not found: no name server answers within %g s",
                      l->client->connect_ms / 1000.0);
        return;
    }
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
    l->round.e = OK;
    loop_timer_stop(l->loop, &l->deadline);
    l->server.address = l->address_text;
    l->server.frame_bytes_max = l->frame_max;
    rabbitmq_pulse(&l->pulse);
    rabbitmq_client_connected(l->client, &l->failed);
    if (l->config.events->up)
        l->config.events->up(l->config.arg, &l->server);
}
