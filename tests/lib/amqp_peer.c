/* SPDX-License-Identifier: Apache-2.0
 *
 * A server of AMQP 0.9.1 that does what a test wants (amqp_peer.h).
 */
#include "amqp_peer.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the thread ---- */

/* False when the peer is stopped. */
static bool wait_for(struct amqp_peer *p, int fd, short events)
{
    struct pollfd f[2] = {{.fd = fd, .events = events}, {.fd = p->stop, .events = POLLIN}};
    while (poll(f, 2, -1) < 0)
        assert(errno == EINTR);
    return !f[1].revents;
}

static void *run(void *arg)
{
    struct amqp_peer *p = arg;
    while (wait_for(p, p->listener, POLLIN)) {
        p->fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (p->fd < 0)
            continue;
        int one = 1; /* what is written in pieces goes out at once */
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        p->over = false;
        p->in_at = p->in_len = 0;
        atomic_fetch_add(&p->connections, 1);
        p->script(p);
        close(p->fd);
    }
    return NULL;
}

void amqp_peer_start(struct amqp_peer *p, amqp_peer_fn *script, void *arg)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    memset(p, 0, sizeof(*p));
    p->script = script;
    p->arg = arg;
    p->tune = (amqp_connection_tune_t){.channel_max = 2047, .frame_max = 131072, .heartbeat = 60};
    init_amqp_pool(&p->pool, 4096);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->stop = eventfd(0, EFD_CLOEXEC);
    if (p->listener < 0 || p->stop < 0 || bind(p->listener, (struct sockaddr *)&a, sizeof(a)) ||
        listen(p->listener, 16) || getsockname(p->listener, (struct sockaddr *)&a, &len))
        abort();
    p->port = ntohs(a.sin_port);
    if (pthread_create(&p->thread, NULL, run, p))
        abort();
}

void amqp_peer_stop(struct amqp_peer *p)
{
    uint64_t one = 1;
    if (write(p->stop, &one, sizeof(one)) != sizeof(one))
        abort();
    pthread_join(p->thread, NULL);
    close(p->listener);
    close(p->stop);
    empty_amqp_pool(&p->pool);
}

/* ---- writing ---- */

void amqp_peer_raw(struct amqp_peer *p, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (!p->over && len) {
        ssize_t n = send(p->fd, at, len, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            p->over = !wait_for(p, p->fd, POLLOUT);
        } else if (n < 0 && errno != EINTR) {
            p->over = true;
        }
    }
}

void amqp_peer_frame(struct amqp_peer *p, unsigned type, unsigned channel, const void *payload, size_t len)
{
    char head[7] = {(char)type};
    uint16_t number = htobe16((uint16_t)channel);
    uint32_t size = htobe32((uint32_t)len);
    memcpy(head + 1, &number, 2);
    memcpy(head + 3, &size, 4);
    amqp_peer_raw(p, head, sizeof(head));
    amqp_peer_raw(p, payload, len);
    amqp_peer_raw(p, "\xce", 1);
}

void amqp_peer_method(struct amqp_peer *p, unsigned channel, amqp_method_number_t method, const void *decoded)
{
    char payload[1 << 16];
    uint32_t number = htobe32(method);
    memcpy(payload, &number, 4);
    int n = amqp_encode_method(method, (void *)(uintptr_t)decoded, (amqp_bytes_t){sizeof(payload) - 4, payload + 4});
    assert(n >= 0);
    amqp_peer_frame(p, AMQP_FRAME_METHOD, channel, payload, (size_t)n + 4);
}

void amqp_peer_header(struct amqp_peer *p, unsigned channel, uint64_t body_bytes,
                      const amqp_basic_properties_t *properties)
{
    char payload[1 << 16] = {0, AMQP_BASIC_CLASS};
    uint64_t size = htobe64(body_bytes);
    memcpy(payload + 4, &size, 8);
    int n = amqp_encode_properties(AMQP_BASIC_CLASS, (void *)(uintptr_t)properties,
                                   (amqp_bytes_t){sizeof(payload) - 12, payload + 12});
    assert(n >= 0);
    amqp_peer_frame(p, AMQP_FRAME_HEADER, channel, payload, (size_t)n + 12);
}

void amqp_peer_body(struct amqp_peer *p, unsigned channel, const void *bytes, size_t len)
{
    amqp_peer_frame(p, AMQP_FRAME_BODY, channel, bytes, len);
}

void amqp_peer_deliver(struct amqp_peer *p, unsigned channel, uint64_t tag, const char *body)
{
    amqp_basic_deliver_t m = {.consumer_tag = amqp_cstring_bytes("c"),
                              .delivery_tag = tag,
                              .exchange = amqp_cstring_bytes("x"),
                              .routing_key = amqp_cstring_bytes("k")};
    amqp_basic_properties_t none = {0};
    amqp_peer_method(p, channel, AMQP_BASIC_DELIVER_METHOD, &m);
    amqp_peer_header(p, channel, strlen(body), &none);
    if (*body)
        amqp_peer_body(p, channel, body, strlen(body));
}

/* ---- reading ---- */

/* Until n bytes are there. */
static bool have(struct amqp_peer *p, size_t n)
{
    assert(n <= sizeof(p->in));
    if (p->in_at && p->in_at + n > sizeof(p->in)) {
        memmove(p->in, p->in + p->in_at, p->in_len - p->in_at);
        p->in_len -= p->in_at;
        p->in_at = 0;
    }
    while (!p->over && p->in_len - p->in_at < n) {
        if (!wait_for(p, p->fd, POLLIN)) {
            p->over = true;
            break;
        }
        ssize_t got = recv(p->fd, p->in + p->in_len, sizeof(p->in) - p->in_len, 0);
        if (got > 0)
            p->in_len += (size_t)got;
        else if (got == 0 || (errno != EAGAIN && errno != EINTR))
            p->over = true;
    }
    return !p->over;
}

bool amqp_peer_read(struct amqp_peer *p)
{
    uint16_t number;
    uint32_t size, method;
    if (!have(p, 7))
        return false;
    memcpy(&number, p->in + p->in_at + 1, 2);
    memcpy(&size, p->in + p->in_at + 3, 4);
    size = be32toh(size);
    if (!have(p, size + 8))
        return false;
    p->type = (uint8_t)p->in[p->in_at];
    p->channel = be16toh(number);
    p->payload = slice_of(p->in + p->in_at + 7, size);
    assert(p->in[p->in_at + 7 + size] == (char)0xce);
    p->in_at += size + 8;
    p->method = 0;
    if (p->type == AMQP_FRAME_METHOD) {
        recycle_amqp_pool(&p->pool);
        memcpy(&method, p->payload.ptr, 4);
        p->method = be32toh(method);
        amqp_bytes_t arguments = {size - 4, (void *)(uintptr_t)(p->payload.ptr + 4)};
        int status = amqp_decode_method(p->method, &p->pool, arguments, &p->decoded);
        assert(status >= 0);
        (void)status;
    }
    return true;
}

bool amqp_peer_expect(struct amqp_peer *p, amqp_method_number_t method)
{
    while (amqp_peer_read(p))
        if (p->method == method)
            return true;
    return false;
}

void amqp_peer_drain(struct amqp_peer *p)
{
    while (have(p, p->in_len - p->in_at + 1))
        p->in_at = p->in_len = 0;
}

void amqp_peer_hang(struct amqp_peer *p)
{
    struct pollfd f[2] = {{.fd = p->fd, .events = POLLRDHUP}, {.fd = p->stop, .events = POLLIN}};
    while (poll(f, 2, -1) < 0)
        assert(errno == EINTR);
    p->over = true;
}

/* ---- login ---- */

void amqp_peer_greeted(struct amqp_peer *p)
{
    if (have(p, 8)) {
        assert(memcmp(p->in + p->in_at, "AMQP\0\0\x09\x01", 8) == 0);
        p->in_at += 8;
    }
}

void amqp_peer_started(struct amqp_peer *p)
{
    amqp_table_entry_t properties[] = {
        {amqp_cstring_bytes("product"), {.kind = 'S', .value.bytes = amqp_cstring_bytes("Peer")}},
        {amqp_cstring_bytes("version"), {.kind = 'S', .value.bytes = amqp_cstring_bytes("4.1.2")}}};
    amqp_connection_start_t m = {.version_minor = 9,
                                 .server_properties = {2, properties},
                                 .mechanisms = amqp_cstring_bytes("AMQPLAIN PLAIN EXTERNAL"),
                                 .locales = amqp_cstring_bytes("en_US")};
    amqp_peer_greeted(p);
    amqp_peer_method(p, 0, AMQP_CONNECTION_START_METHOD, &m);
}

void amqp_peer_start_ok(struct amqp_peer *p)
{
    amqp_peer_started(p);
    if (!amqp_peer_expect(p, AMQP_CONNECTION_START_OK_METHOD))
        return;
    const amqp_connection_start_ok_t *ok = p->decoded;
    size_t len = ok->response.len < sizeof(p->user) ? ok->response.len : sizeof(p->user) - 1;
    memcpy(p->user, ok->response.bytes, len);
    p->user[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (!p->user[i])
            p->user[i] = ':';
}

void amqp_peer_tuned(struct amqp_peer *p)
{
    amqp_peer_start_ok(p);
    amqp_peer_method(p, 0, AMQP_CONNECTION_TUNE_METHOD, &p->tune);
    if (!amqp_peer_expect(p, AMQP_CONNECTION_OPEN_METHOD))
        return;
    const amqp_connection_open_t *open = p->decoded;
    snprintf(p->vhost, sizeof(p->vhost), "%.*s", (int)open->virtual_host.len, (char *)open->virtual_host.bytes);
}

void amqp_peer_login(struct amqp_peer *p)
{
    amqp_connection_open_ok_t ok = {.known_hosts = amqp_empty_bytes};
    amqp_peer_tuned(p);
    amqp_peer_method(p, 0, AMQP_CONNECTION_OPEN_OK_METHOD, &ok);
}

/* ---- what a server usually answers ---- */

static void answer(struct amqp_peer *p)
{
    union {
        amqp_channel_open_ok_t open;
        amqp_queue_declare_ok_t queue;
        amqp_queue_delete_ok_t deleted;
        amqp_basic_consume_ok_t consume;
        amqp_basic_cancel_ok_t cancel;
    } ok = {{{0, NULL}}};
    amqp_method_number_t method = p->method;
    switch (method) {
    case AMQP_QUEUE_DECLARE_METHOD:
        ok.queue = (amqp_queue_declare_ok_t){
            .queue = ((amqp_queue_declare_t *)p->decoded)->queue, .message_count = 7, .consumer_count = 3};
        break;
    case AMQP_BASIC_CONSUME_METHOD:
        ok.consume.consumer_tag = ((amqp_basic_consume_t *)p->decoded)->consumer_tag;
        break;
    case AMQP_BASIC_CANCEL_METHOD:
        ok.cancel.consumer_tag = ((amqp_basic_cancel_t *)p->decoded)->consumer_tag;
        break;
    case AMQP_CHANNEL_OPEN_METHOD:
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_EXCHANGE_DECLARE_METHOD:
    case AMQP_EXCHANGE_DELETE_METHOD:
    case AMQP_QUEUE_BIND_METHOD:
    case AMQP_QUEUE_DELETE_METHOD:
    case AMQP_QUEUE_PURGE_METHOD:
    case AMQP_BASIC_QOS_METHOD:
    case AMQP_CONFIRM_SELECT_METHOD:
    case AMQP_CONNECTION_CLOSE_METHOD:
        break;
    default:
        return;
    }
    amqp_peer_method(p, p->channel, method + 1, &ok);
}

void amqp_peer_serve(struct amqp_peer *p, amqp_method_number_t until)
{
    while (amqp_peer_read(p)) {
        if (until && p->method == until)
            return;
        answer(p);
    }
}
