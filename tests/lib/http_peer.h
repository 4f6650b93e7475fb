/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of the HTTP client: servers that misbehave on purpose, each a thread that runs one function from top to
 * bottom with blocking calls, and a client's side that starts exchanges and turns its loop until they are done. Nothing
 * here sleeps; what hangs meets the alarm.
 */
#ifndef LEAT_TESTS_HTTP_PEER_H
#define LEAT_TESTS_HTTP_PEER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_client.h"

/* ---- the server ---- */

struct peer;
typedef void peer_fn(struct peer *p);

struct peer {
    int listener, stop;
    uint16_t port;
    pthread_t thread;
    peer_fn *script;
    void *arg;
    atomic_int accepted;   /* connections so far */
    atomic_int requests;   /* whole requests read so far */
    char reading[1 << 16]; /* the request in hand */
    char last[1 << 16]; /* the last whole request, terminated: for the script, and the test once the peer was stopped */
};

static inline void *peer_main(void *arg)
{
    struct peer *p = arg;
    sigset_t set; /* writes of libssl know no MSG_NOSIGNAL; the client's thread has to get along without this */
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    p->script(p);
    return NULL;
}

static inline void peer_start(struct peer *p, peer_fn *script, void *arg)
{
    memset(p, 0, sizeof(*p));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->stop = eventfd(0, EFD_CLOEXEC);
    if (p->listener < 0 || p->stop < 0 || bind(p->listener, (struct sockaddr *)&a, len) || listen(p->listener, 64) ||
        getsockname(p->listener, (struct sockaddr *)&a, &len))
        abort();
    p->port = ntohs(a.sin_port);
    p->script = script;
    p->arg = arg;
    if (pthread_create(&p->thread, NULL, peer_main, p))
        abort();
}

/* Wakes whatever waits in the script, which then finds its connections at an end, and waits for it. */
static inline void peer_stop(struct peer *p)
{
    uint64_t one = 1;
    if (write(p->stop, &one, sizeof(one)) != sizeof(one))
        abort();
    pthread_join(p->thread, NULL);
    close(p->listener);
    close(p->stop);
}

/* Whether the descriptor became readable; false when the peer is to stop. */
static inline bool peer_wait(struct peer *p, int fd, short events)
{
    struct pollfd f[2] = {{.fd = fd, .events = events}, {.fd = p->stop, .events = POLLIN}};
    while (poll(f, 2, -1) < 0)
        ;
    return f[0].revents != 0;
}

/* -1: the peer is to stop. */
static inline int peer_accept(struct peer *p)
{
    if (!peer_wait(p, p->listener, POLLIN))
        return -1;
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        atomic_fetch_add(&p->accepted, 1);
    }
    return fd;
}

static inline size_t peer_content_length(const char *head)
{
    const char *at = strcasestr(head, "\r\nContent-Length:");
    return at ? (size_t)strtoull(at + 17, NULL, 10) : 0;
}

/* Reads one request with its body; false at the end of the connection. What lies beyond the buffer is read and dropped.
 */
static inline bool peer_read(struct peer *p, int fd)
{
    size_t len = 0, dropped = 0, want = 0;
    char *end = NULL;
    for (;;) {
        p->reading[len] = '\0';
        if (!end && (end = strstr(p->reading, "\r\n\r\n")))
            want = (size_t)(end - p->reading) + 4 + peer_content_length(p->reading);
        if (end && len + dropped >= want)
            break;
        if (!peer_wait(p, fd, POLLIN))
            return false;
        char rest[4096];
        bool full = len == sizeof(p->reading) - 1;
        ssize_t n =
            full ? recv(fd, rest, sizeof(rest), 0) : recv(fd, p->reading + len, sizeof(p->reading) - 1 - len, 0);
        if (n <= 0)
            return false;
        *(full ? &dropped : &len) += (size_t)n;
    }
    memcpy(p->last, p->reading, len + 1);
    atomic_fetch_add(&p->requests, 1);
    return true;
}

/* false when the connection is gone, or the peer is to stop. */
static inline bool peer_write_bytes(struct peer *p, int fd, const char *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        if (!peer_wait(p, fd, POLLOUT))
            return false;
        ssize_t n = send(fd, bytes + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static inline bool peer_write(struct peer *p, int fd, const char *text)
{
    return peer_write_bytes(p, fd, text, strlen(text));
}

/* Waits until the client closes; whatever it still sends is dropped. */
static inline void peer_read_end(struct peer *p, int fd)
{
    char rest[4096];
    while (peer_wait(p, fd, POLLIN) && recv(fd, rest, sizeof(rest), 0) > 0)
        ;
}

/* The common script: every request of one connection after the other is answered with the text in p->arg. */
static inline void peer_answer_all(struct peer *p)
{
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd))
        while (peer_read(p, fd) && peer_write(p, fd, p->arg))
            ;
}

/* One connection, one request, the answer in p->arg, and the connection ends. */
static inline void peer_answer_and_close(struct peer *p)
{
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd))
        if (peer_read(p, fd))
            peer_write(p, fd, p->arg);
}

/* One connection; the request is read and never answered. */
static inline void peer_be_silent(struct peer *p)
{
    int fd = peer_accept(p);
    if (fd < 0)
        return;
    peer_read_end(p, fd);
    close(fd);
}

/* ---- the client ---- */

struct asker {
    struct loop *loop;
    struct http_client *client;
    int finished; /* exchanges, in all */
};

/* One exchange and what became of it. */
struct ask {
    struct http_exchange exchange;
    struct asker *asker;
    bool done;
    int turn; /* it was the n-th to finish */
    enum err err;
    int status;
    char *body;
    size_t body_len;
    bool body_cut;
    char detail[400];
    size_t headers;
    char head[512];
};

static inline void asker_init(struct asker *a, const struct http_client_options *options)
{
    memset(a, 0, sizeof(*a));
    static const struct http_client_options none;
    if (loop_new(clock_system(), 16, &a->loop) || http_client_new(a->loop, options ? options : &none, &a->client))
        abort();
}

static inline void asker_fini(struct asker *a)
{
    http_client_free(a->client);
    loop_free(a->loop);
}

static inline struct http_origin *asker_origin(struct asker *a, const char *scheme, const char *host, uint16_t port)
{
    char text[300];
    struct http_url url;
    struct http_origin *o;
    snprintf(text, sizeof(text), "%s://%s:%u/", scheme, host, port);
    if (http_url_parse(slice_str(text), &url, NULL) || http_origin_get(a->client, &url, SLICE(""), &o))
        abort();
    http_url_fini(&url);
    return o;
}

static inline void ask_done(struct http_exchange *exchange, enum err err, const struct http_response *r,
                            const char *detail)
{
    struct ask *x = container_of(exchange, struct ask, exchange);
    if (x->done || (err == OK) != (r != NULL))
        abort();
    x->done = true;
    x->turn = ++x->asker->finished;
    x->err = err;
    snprintf(x->detail, sizeof(x->detail), "%s", detail);
    if (!r)
        return;
    x->status = r->status;
    x->headers = r->header_count;
    x->body_len = r->body.len;
    x->body_cut = r->body_cut;
    x->body = malloc(r->body.len + 1);
    if (!x->body)
        abort();
    if (r->body.len)
        memcpy(x->body, r->body.ptr, r->body.len);
    x->body[r->body.len] = '\0';
}

static inline void ask_prepare(struct asker *a, struct ask *x)
{
    memset(x, 0, sizeof(*x));
    x->asker = a;
    x->exchange.done = ask_done;
    x->exchange.head = SLICE("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    x->exchange.body_max = 1 << 20;
}

/* A POST with this body, and "/NUMBER" as its target. */
static inline void ask_post(struct asker *a, struct ask *x, int number, struct slice body)
{
    ask_prepare(a, x);
    snprintf(x->head, sizeof(x->head), "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", number, body.len);
    x->exchange.head = slice_str(x->head);
    x->exchange.body = body;
}

static inline void asker_turn(struct asker *a)
{
    if (loop_turn(a->loop, UINT64_MAX))
        abort();
}

static inline void ask_wait(struct ask *x)
{
    while (!x->done)
        asker_turn(x->asker);
}

/* Starts it and waits for its end. */
static inline void ask_run(struct http_origin *o, struct ask *x)
{
    if (http_exchange_start(o, &x->exchange))
        abort();
    if (x->done)
        abort(); /* done runs after start returned */
    ask_wait(x);
}

static inline void ask_fini(struct ask *x)
{
    free(x->body);
    x->body = NULL;
}

static inline uint64_t asker_open(const struct asker *a)
{
    struct http_client_stats s;
    http_client_stats(a->client, &s);
    return s.connections_open;
}

#endif
