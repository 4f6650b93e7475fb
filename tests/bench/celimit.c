/* SPDX-License-Identifier: Apache-2.0 */
/* celimit: the least that an HTTP/1.1 broker can do, as the upper bound of what this machine allows.
 *
 * Without --to it answers 202 to every POST and does nothing else: the bound of ingest.
 * With --to URL (up to 128) it also forwards each event to every URL, one request in flight on each of
 * --pool keep-alive connections a URL: the bound of ingest and fan-out. It validates nothing, keeps
 * nothing, retries nothing and drops what a failing target did not take: it is no broker. */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_TARGETS = 128, LISTENER = 0, INGRESS = 1, EGRESS = 2 };

struct event { /* the header lines after Host, the blank line and the body */
    int refs;
    size_t len;
    char bytes[];
};

struct conn {
    int kind, fd, target;
    char *in;
    size_t in_len, in_cap;
    struct event *event; /* egress: what is in flight */
    struct conn *next_free;
};

struct target {
    struct sockaddr_in addr;
    char prefix[768];
    size_t prefix_len;
    struct conn *free;
    int open;
    struct event **queue;
    size_t head, len, cap;
};

static struct target targets[MAX_TARGETS];
static int n_targets, pool = 16, ep;
static const char ACCEPTED[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

static void unref(struct event *e)
{
    if (--e->refs == 0)
        free(e);
}

static void transmit(struct conn *c, struct event *e)
{
    struct target *t = &targets[c->target];
    struct iovec v[2] = {{t->prefix, t->prefix_len}, {e->bytes, e->len}};
    c->event = e;
    size_t done = 0, want = t->prefix_len + e->len;
    while (done < want) { /* loopback takes an event whole; a full socket buffer is waited for, blocking */
        struct iovec *p = v;
        int n = 2;
        if (done) {
            if (done >= v[0].iov_len)
                p = v + 1, n = 1, v[1].iov_base = e->bytes + (done - t->prefix_len), v[1].iov_len = want - done;
            else
                v[0].iov_base = t->prefix + done, v[0].iov_len = t->prefix_len - done;
        }
        ssize_t k = writev(c->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            die("celimit: a target closed its connection");
        done += (size_t)k;
    }
}

static void forward(int ti, struct event *e)
{
    struct target *t = &targets[ti];
    struct conn *c = t->free;
    if (c) {
        t->free = c->next_free;
    } else if (t->open < pool) {
        c = calloc(1, sizeof *c);
        c->kind = EGRESS, c->target = ti, c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int one = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(c->fd, (struct sockaddr *)&t->addr, sizeof t->addr) != 0)
            die("celimit: cannot connect to a target");
        c->in_cap = 4096, c->in = xrealloc(NULL, c->in_cap);
        t->open++;
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
    } else {
        if (t->len == t->cap) {
            size_t cap = t->cap ? t->cap * 2 : 1024;
            struct event **q = xrealloc(NULL, cap * sizeof *q);
            for (size_t i = 0; i < t->len; i++)
                q[i] = t->queue[(t->head + i) % t->cap];
            free(t->queue);
            t->queue = q, t->head = 0, t->cap = cap;
        }
        t->queue[(t->head + t->len++) % t->cap] = e;
        return;
    }
    transmit(c, e);
}

static void egress_done(struct conn *c)
{
    struct target *t = &targets[c->target];
    unref(c->event);
    c->event = NULL;
    if (t->len) {
        struct event *e = t->queue[t->head];
        t->head = (t->head + 1) % t->cap, t->len--;
        transmit(c, e);
    } else {
        c->next_free = t->free, t->free = c;
    }
}

static uint64_t content_length(const char *line, const char *end)
{
    struct header h;
    uint64_t length = 0;
    while ((line = next_header(line, end, &h)))
        if (HEADER_IS(&h, "content-length"))
            length = parse_u64(h.value, h.value + h.value_len, NULL);
    return length;
}

static void take_event(const char *head, size_t head_len, const char *line, const char *body, size_t body_len)
{
    struct event *e = malloc(sizeof *e + head_len + body_len);
    if (!e)
        die("out of memory");
    e->refs = n_targets, e->len = 0;
    struct header h;
    const char *p = line, *next;
    while ((next = next_header(p, head + head_len, &h))) {
        if (!HEADER_IS(&h, "host"))
            memcpy(e->bytes + e->len, p, (size_t)(next - p)), e->len += (size_t)(next - p);
        p = next;
    }
    memcpy(e->bytes + e->len, "\r\n", 2), e->len += 2;
    memcpy(e->bytes + e->len, body, body_len), e->len += body_len;
    for (int i = 0; i < n_targets; i++)
        forward(i, e);
}

static void on_readable(struct conn *c)
{
    if (c->in_cap - c->in_len < 2048)
        c->in = xrealloc(c->in, c->in_cap *= 2);
    ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        if (c->kind == EGRESS)
            die("celimit: a target closed its connection");
        close(c->fd);
        free(c->in);
        free(c);
        return;
    }
    c->in_len += (size_t)n;
    size_t at = 0;
    int answers = 0;
    while (at < c->in_len) {
        char *head = c->in + at, *blank = memmem(head, c->in_len - at, "\r\n\r\n", 4);
        if (!blank)
            break;
        size_t head_len = (size_t)(blank - head) + 4;
        char *line = memchr(head, '\n', head_len);
        uint64_t length = content_length(++line, head + head_len);
        if (c->in_len - at - head_len < length)
            break;
        if (c->kind == INGRESS) {
            if (n_targets)
                take_event(head, head_len, line, head + head_len, (size_t)length);
            answers++;
        }
        at += head_len + (size_t)length;
        if (c->kind == EGRESS)
            answers = 1;
    }
    if (at == c->in_len)
        c->in_len = 0;
    else if (at)
        memmove(c->in, c->in + at, c->in_len - at), c->in_len -= at;
    if (c->kind == EGRESS) {
        if (answers)
            egress_done(c);
    } else {
        while (answers--)
            if (send(c->fd, ACCEPTED, sizeof ACCEPTED - 1, MSG_NOSIGNAL) < 0)
                break;
    }
}

int main(int argc, char **argv)
{
    int port = 28070;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0) {
            port = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--pool") == 0) {
            pool = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--to") == 0 && n_targets < MAX_TARGETS) {
            struct target *t = &targets[n_targets++];
            char host[64], path[512] = "/";
            int tp = 80;
            if (sscanf(argv[i + 1], "http://%63[^:/]:%d%511s", host, &tp, path) < 2)
                die("celimit: a target is http://ADDRESS:PORT[/PATH]");
            t->addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)tp)};
            if (inet_pton(AF_INET, host, &t->addr.sin_addr) != 1 || (ntohl(t->addr.sin_addr.s_addr) >> 24) != 127)
                die("celimit: only 127.x.x.x are targets");
            t->prefix_len =
                (size_t)snprintf(t->prefix, sizeof t->prefix, "POST %s HTTP/1.1\r\nHost: %s:%d\r\n", path, host, tp);
        } else {
            die("usage: celimit [--port P] [--to URL]... [--pool CONNECTIONS]");
        }
    }
    signal(SIGPIPE, SIG_IGN);
    ep = epoll_create1(EPOLL_CLOEXEC);
    struct conn listener = {.kind = LISTENER, .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    int one = 1;
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener.fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener.fd, 1024) != 0)
        die("celimit: cannot listen on 127.0.0.1:%d", port);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener.fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &listener});
    struct epoll_event ev[256];
    for (;;) {
        int n = epoll_wait(ep, ev, 256, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;
            if (c->kind != LISTENER) {
                on_readable(c);
                continue;
            }
            for (int s; (s = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
                setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                struct conn *k = calloc(1, sizeof *k);
                k->kind = INGRESS, k->fd = s, k->in_cap = 16384, k->in = xrealloc(NULL, k->in_cap);
                epoll_ctl(ep, EPOLL_CTL_ADD, s, &(struct epoll_event){.events = EPOLLIN, .data.ptr = k});
            }
        }
    }
}
