/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/*
 * Raw bytes through a socket into the whole server. The first byte says where the rest is cut in two sendings. Whatever
 * comes: no crash, no leak, no head with control characters at a handler, a close for every head, and the server is at
 * rest when the client has left.
 */
#include "http_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct http_server *server;
static struct http_listener *listener;
static struct sockaddr_in address = {.sin_family = AF_INET};
static unsigned heads, closes;

static void check_text(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        assert((unsigned char)s.ptr[i] >= ' ' || s.ptr[i] == '\t');
}

static void head(struct http_request *r, void *arg)
{
    (void)arg;
    size_t n, hosts = 0, lengths = 0, codings = 0;
    const struct http_header *lines = http_request_headers(r, &n);
    heads++;
    check_text(http_request_method(r));
    check_text(http_request_path(r));
    check_text(http_request_query(r));
    check_text(http_request_host(r));
    for (size_t i = 0; i < n; i++) {
        check_text(lines[i].name);
        check_text(lines[i].value);
        hosts += slice_eq_nocase(lines[i].name, SLICE("host"));
        lengths += slice_eq_nocase(lines[i].name, SLICE("content-length"));
        codings += slice_eq_nocase(lines[i].name, SLICE("transfer-encoding"));
    }
    assert(hosts <= 1 && lengths + codings <= 1);
    http_request_allow_body(r, 4096);
}

static void end(struct http_request *r)
{
    assert(http_request_body(r).len <= 4096);
    http_respond(r, 200, NULL, 0, http_request_body(r));
}

static void closed(struct http_request *r)
{
    (void)r;
    closes++;
}

static void start(void)
{
    static const struct http_handler handler = {head, NULL, end, closed};
    static const struct http_server_options options = {.head_bytes_max = 4096};
    struct diag d;
    enum err e = loop_new(clock_system(), 100, &loop);
    assert(e == OK);
    e = http_server_new(loop, &options, &handler, NULL, &server);
    assert(e == OK);
    e = http_listener_open(loop, "127.0.0.1:0", &server, 1, &listener, &d);
    assert(e == OK);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)atoi(strrchr(http_listener_address(listener), ':') + 1));
}

static void turn(int times)
{
    while (times--) {
        enum err e = loop_turn(loop, 0);
        assert(e == OK);
    }
}

static void push(int fd, const uint8_t *bytes, size_t n)
{
    if (n && send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
    turn(4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!server)
        start();
    if (size < 1 || size > 8192)
        return 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        size_t first = data[0] * (size - 1) / 255;
        push(fd, data + 1, first);
        push(fd, data + 1 + first, size - 1 - first);
    }
    /* By RST, so that no port is left waiting. */
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
    struct http_server_stats stats = {.connections_open = 1};
    for (int i = 0; i < 1000 && stats.connections_open; i++) {
        turn(1);
        http_server_stats(server, &stats);
    }
    assert(stats.connections_open == 0 && heads == closes && http_server_busy(server) == 0);
    return 0;
}
