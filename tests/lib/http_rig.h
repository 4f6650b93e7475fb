/* SPDX-License-Identifier: Apache-2.0
 *
 * A server, its loop and raw client sockets on one thread, so that a test writes bytes and reads bytes. Time stands
 * still unless the test moves it. Nothing sleeps: the loop turns until the client has what it waits for, or TURNS_MAX
 * turns brought nothing, which fails the test.
 */
#ifndef LEAT_TESTS_HTTP_RIG_H
#define LEAT_TESTS_HTTP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "buf.h"
#include "http_server.h"
#include "loop.h"

#define TURNS_MAX 3000

/* How the rig's handler answers. */
enum rig_mode {
    RIG_ECHO,   /* 200 with "METHOD PATH QUERY BODY", inside `end` */
    RIG_ACCEPT, /* 202 without a body, inside `end` */
    RIG_DEFER,  /* 202 by work deferred in the same turn */
    RIG_HOLD,   /* not before the test says so: rig.held */
    RIG_EARLY,  /* 404 inside `head` */
    RIG_STREAM, /* a stream, held */
    RIG_IN_DATA /* 401 at the first piece of the body */
};

struct rig {
    struct clock_fake clock;
    struct loop *loop;
    struct http_server *server;
    struct http_listener *listener;
    int port;
    enum rig_mode mode;
    size_t body_max, buffered_max;
    unsigned heads, ends, closes;
    bool unclean; /* a handler saw bytes that the guard must not let through */
    struct http_request *held[512];
    size_t held_count;
    struct buf last; /* what the last request was, as RIG_ECHO answers it */
};

static void rig_head(struct http_request *r, void *arg)
{
    struct rig *rig = arg;
    rig->heads++;
    size_t n;
    const struct http_header *h = http_request_headers(r, &n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < h[i].value.len; k++)
            if ((unsigned char)h[i].value.ptr[k] < ' ' && h[i].value.ptr[k] != '\t')
                rig->unclean = true;
    http_request_set_state(r, rig);
    http_request_allow_body(r, rig->body_max);
    if (rig->mode == RIG_EARLY)
        http_respond_text(r, 404, "nothing here");
}

static void rig_data(struct http_request *r, struct slice piece)
{
    struct rig *rig = http_request_state(r);
    assert_true(piece.len > 0);
    if (rig->mode == RIG_IN_DATA)
        http_respond_text(r, 401, "who are you?");
}

struct rig_later {
    struct loop_task task;
    struct http_request *request;
};

static void rig_run_later(struct loop_task *t)
{
    struct rig_later *later = container_of(t, struct rig_later, task);
    http_respond(later->request, 202, NULL, 0, SLICE(""));
    free(later);
}

static void rig_end(struct http_request *r)
{
    struct rig *rig = http_request_state(r);
    rig->ends++;
    buf_clear(&rig->last);
    buf_printf(&rig->last, "%.*s %.*s ", SLICE_ARG(http_request_method(r)), SLICE_ARG(http_request_path(r)));
    buf_printf(&rig->last, "%.*s %.*s", SLICE_ARG(http_request_query(r)), SLICE_ARG(http_request_body(r)));
    if (rig->mode == RIG_ECHO) {
        http_respond(r, 200, NULL, 0, buf_slice(&rig->last));
    } else if (rig->mode == RIG_ACCEPT) {
        http_respond(r, 202, NULL, 0, SLICE(""));
    } else if (rig->mode == RIG_DEFER) {
        struct rig_later *later = malloc(sizeof *later);
        loop_task_init(&later->task, rig_run_later);
        later->request = r;
        loop_defer(http_request_loop(r), &later->task);
    } else {
        if (rig->mode == RIG_STREAM)
            http_respond_stream(r, 200, NULL, 0, rig->buffered_max);
        assert_true(rig->held_count < 512);
        rig->held[rig->held_count++] = r;
    }
}

static void rig_close(struct http_request *r)
{
    struct rig *rig = http_request_state(r);
    rig->closes++;
    for (size_t i = 0; i < rig->held_count; i++)
        if (rig->held[i] == r)
            rig->held[i] = rig->held[--rig->held_count];
}

static struct rig *rig_open(const struct http_server_options *options)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct diag d = {0};
    static const struct http_handler handler = {rig_head, rig_data, rig_end, rig_close};
    clock_fake_init(&rig->clock, 1000 * NS_PER_S, 0);
    rig->body_max = 1 << 20;
    rig->buffered_max = 64 << 10;
    buf_init(&rig->last, SIZE_MAX);
    assert_int_equal(loop_new(&rig->clock.base, 1000, &rig->loop), OK);
    assert_int_equal(http_server_new(rig->loop, options, &handler, rig, &rig->server), OK);
    assert_int_equal(http_listener_open(rig->loop, "127.0.0.1:0", &rig->server, 1, &rig->listener, &d), OK);
    rig->port = atoi(strrchr(http_listener_address(rig->listener), ':') + 1);
    return rig;
}

/* Whatever came: each request that a handler saw was closed, once. */
static void rig_free(struct rig *rig)
{
    http_listener_close(rig->listener);
    http_server_free(rig->server);
    loop_free(rig->loop);
    assert_int_equal(rig->heads, rig->closes);
    assert_false(rig->unclean);
    buf_fini(&rig->last);
    free(rig);
}

static void rig_turn(struct rig *rig)
{
    assert_int_equal(loop_turn(rig->loop, NS_PER_MS), OK);
}

#define rig_until(rig, condition)                                                                                      \
    do {                                                                                                               \
        int turns_left = TURNS_MAX;                                                                                    \
        while (!(condition) && turns_left--)                                                                           \
            rig_turn(rig);                                                                                             \
        assert_true(condition);                                                                                        \
    } while (0)

static void rig_advance(struct rig *rig, uint64_t ns)
{
    clock_fake_advance(&rig->clock, ns);
    rig_turn(rig);
    rig_turn(rig);
}

/* Nothing is left to do: a turn waits for as long as it may, in real time. */
static bool rig_rests(struct rig *rig)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(loop_turn(rig->loop, 20 * NS_PER_MS), OK);
    clock_gettime(CLOCK_MONOTONIC, &after);
    return (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 15;
}

/* ---- raw clients ---- */

static int client_open(struct rig *rig)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)rig->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Sends all of it, turning the loop while the server does not read. False when the connection was reset. */
static bool client_send(struct rig *rig, int fd, const char *bytes, size_t n)
{
    for (int turns = 0; n && turns < TURNS_MAX; turns++) {
        ssize_t sent = send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
        }
        rig_turn(rig);
    }
    assert_int_equal(n, 0);
    return true;
}

static void client_send_str(struct rig *rig, int fd, const char *text)
{
    client_send(rig, fd, text, strlen(text));
}

/* Reads what is there now. True at the end of the connection. */
static bool client_read(int fd, struct buf *into)
{
    for (;;) {
        char *at = buf_reserve(into, 65536);
        ssize_t n = recv(fd, at, 65535, MSG_DONTWAIT);
        if (n <= 0)
            return n == 0 || errno != EAGAIN;
        into->len += (size_t)n;
        into->ptr[into->len] = 0;
    }
}

static size_t count_of(const struct buf *b, const char *text)
{
    size_t n = 0, len = strlen(text);
    for (size_t i = 0; len && i + len <= b->len; i++)
        n += memcmp(b->ptr + i, text, len) == 0;
    return n;
}

/* Reads until `text` came `times` times. */
static void client_expect(struct rig *rig, int fd, struct buf *into, const char *text, size_t times)
{
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        bool ended = client_read(fd, into);
        if (count_of(into, text) >= times)
            return;
        if (ended)
            break;
        rig_turn(rig);
    }
    fail_msg("expected \"%s\" %zu times, got: %.*s", text, times, (int)into->len, into->ptr ? into->ptr : "");
}

/* Reads until the server closes. */
static void client_expect_end(struct rig *rig, int fd, struct buf *into)
{
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        if (client_read(fd, into))
            return;
        rig_turn(rig);
    }
    fail_msg("the connection stays open after: %.*s", (int)into->len, into->ptr ? into->ptr : "");
}

static bool starts_with(const struct buf *b, const char *text)
{
    return slice_has_prefix(buf_slice(b), slice_str(text));
}

#endif
