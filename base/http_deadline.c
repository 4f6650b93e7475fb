/* SPDX-License-Identifier: Apache-2.0
 *
 * Deadlines, and what follows when one passes. They are absolute: a client that sends one byte a second holds a
 * connection no longer than one that sends nothing.
 *
 * Each kind has a fixed period, so each is a list in order and one timer serves all: starting and stopping one is a
 * list operation.
 */
#include "http_connection.h"

#include <stdlib.h>
#include <unistd.h>

/* A refused client's socket, kept open a little so that closing it does not destroy the answer under way to it. */
struct http_linger {
    struct http_due due;
    struct loop_watch watch;
    struct http_server *server;
};

/* ---- what happens when one passes ---- */

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
    bool head = kind == HTTP_DUE_HEAD && r->phase == HTTP_HEAD;
    if (!head && kind != HTTP_DUE_BODY) {
        http_request_drop(r);
        return;
    }
    http_count(r->server->stats.refused_timeout, 1);
    http_request_refuse(
        r, 408, head ? "the request line and headers did not arrive in time" : "the body did not arrive in time");
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
    s->period_ns[HTTP_DUE_IDLE] = o->idle_timeout_ns;
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
    struct http_linger *linger = s->lingers < HTTP_LINGERS_MAX ? calloc(1, sizeof *linger) : NULL;
    if (!linger) {
        close(fd);
        return;
    }
    linger->server = s;
    list_init(&linger->due.link);
    if (loop_watch_add(s->loop, &linger->watch, fd, EPOLLIN | EPOLLRDHUP, linger_read) != OK) {
        close(fd);
        free(linger);
        return;
    }
    (void)shutdown(fd, SHUT_WR); /* the client sees the end of its answer */
    s->lingers++;
    http_due_start(s, &linger->due, HTTP_DUE_LINGER);
}
