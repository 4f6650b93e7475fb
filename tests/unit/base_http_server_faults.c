/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation of the HTTP server fails once, from its making to the end of an exchange of each kind: it is not
 * made, or the client gets a whole answer, or the connection closes; every head has its close, and nothing leaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "../lib/fault.h"
#include "http_server.h"

static unsigned heads, closes;

static void head(struct http_request *r, void *arg)
{
    (void)arg;
    heads++;
    http_request_allow_body(r, 1 << 20);
}

static void end(struct http_request *r)
{
    char text[1500];
    memset(text, 'x', sizeof text);
    const struct http_header headers[] = {{SLICE_INIT("X-Long"), {text, sizeof text}}};
    if (slice_eq_str(http_request_path(r), "/stream")) {
        http_respond_stream(r, 200, headers, 1, 10000);
        enum err e = http_stream_write(r, SLICE("piece"));
        assert_true(e == OK || e == ERR_NOMEM || e == ERR_CLOSED);
        http_stream_end(r);
    } else {
        http_respond(r, 200, headers, 1, SLICE("body"));
    }
}

static void closed(struct http_request *r)
{
    (void)r;
    closes++;
}

static const char *const requests[] = {
    "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
};

/* A whole answer, or none and the connection closed. */
static void exchange(struct loop *loop, int port, const char *request)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char answer[4096] = "";
    size_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(loop_turn(loop, NS_PER_MS), OK);
        ssize_t n = recv(fd, answer + len, sizeof answer - 1 - len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        len += n > 0 ? (size_t)n : 0;
        if (strstr(answer, "\r\n\r\nbody") || strstr(answer, "\r\n0\r\n\r\n"))
            break;
        assert_true(i < 2999);
    }
    assert_true(len == 0 || strncmp(answer, "HTTP/1.1 ", 9) == 0);
    close(fd);
}

static void test_every_allocation(void **state)
{
    (void)state;
    static const struct http_handler handler = {head, NULL, end, closed};
    static const struct http_server_options options = {.flag_head_bytes = "--max-headers"};
    for (unsigned n = 1;; n++) {
        struct loop *loop;
        struct http_server *server = NULL;
        struct http_listener *listener = NULL;
        struct diag d;
        assert_int_equal(loop_new(clock_system(), 10, &loop), OK);
        fault_arm(n);
        enum err e = http_server_new(loop, &options, &handler, NULL, &server);
        if (e == OK)
            e = http_listener_open(loop, "127.0.0.1:0", &server, 1, &listener, &d);
        if (e == OK)
            for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
                exchange(loop, atoi(strrchr(http_listener_address(listener), ':') + 1), requests[i]);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        http_listener_close(listener);
        http_server_free(server);
        loop_free(loop);
        assert_int_equal(heads, closes);
        if (!fired)
            break;
    }
    assert_true(heads > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
