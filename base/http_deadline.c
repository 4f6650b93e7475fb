/* SPDX-License-Identifier: Apache-2.0
 *
 * Deadlines, and what follows when one passes. They are absolute: libmicrohttpd's own timeout starts anew with every
 * byte, so that a client that sends one byte a second holds a connection for ever.
 *
 * Each kind has a fixed period, so each is a list in order and one timer serves all: starting and stopping one is a
 * list operation.
 *
 * Of a kept-alive connection without a request line nothing is known but the socket's count of received bytes. It is
 * looked at once per head_timeout: bytes beyond the last request are the beginning of another, which then has one more
 * head_timeout; without any it is closed when it was idle for idle_timeout, or when the client closed its side.
 */
#include "http_connection.h"

#include <linux/tcp.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLOSE_WAIT                                                                                                     \
    8 /* TCP_CLOSE_WAIT of netinet/tcp.h, which cannot be included beside linux/tcp.h; only this one counts bytes */

/* ---- answers past libmicrohttpd ---- */

void http_answer_raw(struct http_request *r, int status, const char *reason, const char *text)
{
    if (r->refused)
        return;
    r->refused = true;
    char answer[1024];
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain; "
                     "charset=utf-8\r\nContent-Length: %zu\r\n\r\n%s\n",
                     status, reason, strlen(text) + 1, text);
    /* A new answer on a connection that owes nothing else always fits in its send buffer; if not, the client has
     * stopped reading anyway. */
    (void)!send(r->fd, answer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool tcp_state(const struct http_request *r, struct tcp_info *out)
{
    socklen_t len = sizeof *out;
    return getsockopt(r->fd, IPPROTO_TCP, TCP_INFO, out, &len) == 0 &&
           len >= offsetof(struct tcp_info, tcpi_bytes_received) + sizeof out->tcpi_bytes_received;
}

bool http_request_pending(const struct http_request *r)
{
    struct tcp_info info;
    return r->consumed_known && tcp_state(r, &info) && info.tcpi_bytes_received > r->consumed;
}

/* ---- what happens when one passes ---- */

/* libmicrohttpd sees the end of the connection and closes it; close callbacks run then. */
static void hang_up(struct http_request *r, bool say_why, const char *text)
{
    if (say_why) {
        http_count(r->server->stats.refused_timeout, 1);
        http_answer_raw(r, 408, "Request Timeout", text);
    }
    r->refused = true;
    shutdown(r->fd, SHUT_RDWR);
}

static void look_at_idle(struct http_request *r)
{
    struct http_server *s = r->server;
    struct tcp_info info;
    /* A client that sent its last request and its FIN together: libmicrohttpd saw but the one edge of both. */
    if (tcp_state(r, &info) && info.tcpi_state == CLOSE_WAIT)
        hang_up(r, false, NULL);
    else if (http_request_pending(r))
        http_due_start(s, &r->due, HTTP_DUE_HEAD);
    else if (loop_now_ns(s->loop) - r->idle_since_ns >= s->options.idle_timeout_ns)
        hang_up(r, false, NULL);
    else
        http_due_start(s, &r->due, HTTP_DUE_IDLE);
}

static void linger_end(struct http_linger *linger)
{
    int fd = linger->watch.fd;
    http_due_stop(&linger->due);
    loop_watch_remove(linger->server->loop, &linger->watch);
    close(fd);
    linger->server->lingers--;
    free(linger);
}

static void passed(struct http_due *due, enum http_due_kind kind)
{
    if (kind == HTTP_DUE_LINGER) {
        linger_end(container_of(due, struct http_linger, due));
        return;
    }
    struct http_request *r = container_of(due, struct http_request, due);
    switch (kind) {
    case HTTP_DUE_HEAD:
        hang_up(r, r->phase == HTTP_HEAD || http_request_pending(r),
                "the request line and headers did not arrive in time");
        break;
    case HTTP_DUE_BODY:
        hang_up(r, true, "the body did not arrive in time");
        break;
    case HTTP_DUE_IDLE:
        look_at_idle(r);
        break;
    default:
        hang_up(r, false, NULL);
    }
}

/* ---- the lists ---- */

static void arm(struct http_server *s, uint64_t at_ns)
{
    uint64_t now = loop_now_ns(s->loop);
    s->due_timer_at_ns = at_ns;
    loop_timer_start(s->loop, &s->due_timer, at_ns > now ? at_ns - now : 0);
}

static void run_due(struct loop_timer *t)
{
    struct http_server *s = container_of(t, struct http_server, due_timer);
    uint64_t now = loop_now_ns(s->loop), next = UINT64_MAX;
    for (int kind = 0; kind < HTTP_DUE_KINDS; kind++)
        for (struct list *l; (l = s->due[kind].next) != &s->due[kind];) {
            struct http_due *due = container_of(l, struct http_due, link);
            if (due->at_ns > now) {
                next = due->at_ns < next ? due->at_ns : next;
                break;
            }
            list_remove(l);
            passed(due, (enum http_due_kind)kind);
        }
    /* Those started just now lie further ahead than what was found, or armed the timer themselves. */
    if (next != UINT64_MAX && (!loop_timer_armed(&s->due_timer) || next < s->due_timer_at_ns))
        arm(s, next);
}

void http_due_start(struct http_server *s, struct http_due *due, enum http_due_kind kind)
{
    if (s->stopping)
        return;
    due->at_ns = loop_now_ns(s->loop) + s->period_ns[kind];
    list_remove(&due->link);
    list_push_back(&s->due[kind], &due->link);
    if (!loop_timer_armed(&s->due_timer) || due->at_ns < s->due_timer_at_ns)
        arm(s, due->at_ns);
}

void http_due_stop(struct http_due *due)
{
    list_remove(&due->link);
}

void http_deadlines_init(struct http_server *s)
{
    const struct http_server_options *o = &s->options;
    for (int kind = 0; kind < HTTP_DUE_KINDS; kind++)
        list_init(&s->due[kind]);
    s->period_ns[HTTP_DUE_HEAD] = o->head_timeout_ns;
    s->period_ns[HTTP_DUE_BODY] = o->body_timeout_ns;
    s->period_ns[HTTP_DUE_SEND] = o->body_timeout_ns;
    s->period_ns[HTTP_DUE_IDLE] = o->head_timeout_ns < o->idle_timeout_ns ? o->head_timeout_ns : o->idle_timeout_ns;
    s->period_ns[HTTP_DUE_LINGER] = HTTP_LINGER_NS;
    loop_timer_init(&s->due_timer, run_due);
}

void http_deadlines_fini(struct http_server *s)
{
    list_each(l, tmp, &s->due[HTTP_DUE_LINGER])
        linger_end(container_of(l, struct http_linger, due.link));
    loop_timer_stop(s->loop, &s->due_timer);
}

/* ---- the lingering close ---- */

/* Reads and drops; level-triggered, so a part at a time leaves the loop to others. */
static void linger_read(struct loop_watch *w, uint32_t events)
{
    char dropped[16 << 10];
    struct http_linger *linger = container_of(w, struct http_linger, watch);
    ssize_t n = recv(w->fd, dropped, sizeof dropped, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && !(events & EPOLLIN)) || (events & EPOLLERR))
        linger_end(linger);
}

void http_linger_start(struct http_server *s, int fd)
{
    if (s->lingers >= HTTP_LINGERS_MAX)
        return;
    struct http_linger *linger = calloc(1, sizeof *linger);
    int copy = linger ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0) {
        free(linger);
        return;
    }
    linger->server = s;
    linger->watch.fd = -1;
    list_init(&linger->due.link);
    s->lingers++;
    if (loop_watch_add(s->loop, &linger->watch, copy, EPOLLIN | EPOLLRDHUP, linger_read) != OK) {
        linger->watch.fd = copy;
        s->lingers--;
        close(copy);
        free(linger);
        return;
    }
    http_due_start(s, &linger->due, HTTP_DUE_LINGER);
}
