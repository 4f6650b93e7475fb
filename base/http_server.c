/* SPDX-License-Identifier: Apache-2.0
 *
 * One loop's HTTP server: a libmicrohttpd daemon in external epoll mode. Its epoll descriptor is watched by our loop;
 * when it is readable the daemon runs once, with timeout 0 (with its own thread it would stall at multiples of 128
 * clients). It has no listener: connections come by letter.
 *
 * When the daemon runs again: at the end of the turn when answers came or the daemon has work left, but not more than
 * AGAIN_MAX times in a row; beyond that in the next turn, so that a client that sends without pause cannot keep the
 * loop from its timers and its other descriptors.
 *
 * The daemon keeps no time: every deadline is ours (http_deadline.c).
 */
#include "http_connection.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AGAIN_MAX 3
#define HEAD_BYTES_MIN 1024 /* libmicrohttpd needs some to answer at all */

/* ---- connections come in ---- */

/* What letters hold instead of the server, which may be freed before they are read. */
struct http_inbox {
    unsigned refs;     /* atomic */
    uint64_t overflow; /* atomic: connections that did not fit into the mailbox */
    struct loop *loop;
    struct http_server *server; /* NULL when it is freed; touched on the loop only */
};

struct dealt {
    struct letter letter;
    struct http_inbox *inbox;
    int fd;
    socklen_t address_len;
    struct sockaddr_storage address;
};

struct http_inbox *http_server_inbox_ref(struct http_server *s)
{
    __atomic_add_fetch(&s->inbox->refs, 1, __ATOMIC_RELAXED);
    return s->inbox;
}

void http_inbox_unref(struct http_inbox *inbox)
{
    if (inbox && __atomic_sub_fetch(&inbox->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(inbox);
}

/* libmicrohttpd closes the socket when it does not take it. */
static void add(struct http_server *s, int fd, const struct sockaddr *address, socklen_t address_len)
{
    s->incoming = s->draining ? NULL : http_request_new(s, fd);
    if (!s->incoming) {
        http_count(s->stats.connections_refused, 1);
        close(fd);
        return;
    }
    if (MHD_add_connection(s->daemon, fd, address, address_len) == MHD_YES) {
        http_count(s->stats.connections_accepted, 1);
        http_server_wake(s);
    } else {
        http_count(s->stats.connections_refused, 1);
    }
    if (s->incoming)
        http_request_free(s->incoming);
    s->incoming = NULL;
}

static void read_dealt(struct letter *letter)
{
    struct dealt *d = container_of(letter, struct dealt, letter);
    if (d->inbox->server)
        add(d->inbox->server, d->fd, (const struct sockaddr *)&d->address, d->address_len);
    else
        close(d->fd);
    http_inbox_unref(d->inbox);
    free(d);
}

void http_server_adopt(struct http_inbox *inbox, struct loop *from, int fd, const struct sockaddr *address,
                       socklen_t address_len)
{
    assert(address_len <= sizeof(struct sockaddr_storage));
    if (from == inbox->loop) {
        if (inbox->server)
            add(inbox->server, fd, address, address_len);
        else
            close(fd);
        return;
    }
    struct dealt *d = malloc(sizeof *d);
    if (!d) {
        close(fd);
        return;
    }
    d->letter.run = read_dealt;
    d->inbox = inbox;
    d->fd = fd;
    d->address_len = address_len;
    memcpy(&d->address, address, address_len);
    __atomic_add_fetch(&inbox->refs, 1, __ATOMIC_RELAXED);
    if (loop_post(inbox->loop, &d->letter) != OK) {
        close(fd); /* the loop is behind by a whole mailbox: better a refusal now than one more to wait */
        __atomic_add_fetch(&inbox->overflow, 1, __ATOMIC_RELAXED);
        http_inbox_unref(inbox);
        free(d);
    }
}

static void notify_connection(void *arg, struct MHD_Connection *connection, void **context,
                              enum MHD_ConnectionNotificationCode what)
{
    struct http_server *s = arg;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        struct http_request *r = s->incoming;
        assert(r);
        s->incoming = NULL;
        *context = r;
        r->connection = connection;
        list_push_back(&s->open, &r->link);
        http_count(s->stats.connections_open, 1);
        http_due_start(s, &r->due, HTTP_DUE_HEAD);
        return;
    }
    struct http_request *r = *context;
    if (r->linger && !s->stopping)
        http_linger_start(s, r->fd);
    list_remove(&r->link);
    http_count(s->stats.connections_open, (uint64_t)-1);
    http_request_free(r);
}

/* ---- pages that libmicrohttpd writes itself ---- */

/* The one request of which something is still missing, or NULL when there are several. */
static struct http_request *only_incomplete(struct http_server *s)
{
    struct http_request *found = NULL;
    static const enum http_due_kind kinds[] = {HTTP_DUE_HEAD, HTTP_DUE_BODY};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        list_each(l, tmp, &s->due[kinds[k]]) {
            struct http_request *r = container_of(l, struct http_request, due.link);
            if (r->phase != HTTP_HEAD && r->phase != HTTP_BODY)
                continue;
            if (found)
                return NULL;
            found = r;
        }
    return found;
}

/* The one notice that libmicrohttpd gives before it writes an error page of its own is a line for its log, which does
 * not say whose request it is. When only one request is incomplete it must be that one, and the page is replaced by a
 * better one: ours is written first and the way closed to the other. Else the client gets the right status, with
 * libmicrohttpd's words. 414, 505 and a malformed line can belong to a request not yet begun: left alone. */
static void too_large_head(struct http_server *s, struct http_request *r)
{
    const char *flag = s->options.flag_head_bytes;
    char text[400];
    snprintf(text, sizeof text,
             "the request line and headers exceed the %zu bytes allowed%s%s; an event with large attributes fits in "
             "structured mode (Content-Type: application/cloudevents+json), where they are part of the body",
             s->options.head_bytes_max, flag ? " by " : "", flag ? flag : "");
    http_answer_raw(r, 431, "Request Header Fields Too Large", text);
}

static void __attribute__((format(printf, 2, 0))) notice_log(void *arg, const char *format, va_list values)
{
    static const char known[] = "Error processing request (HTTP response code is %u ('%s')";
    struct http_server *s = arg;
    if (strncmp(format, known, sizeof known - 1) != 0)
        return;
    unsigned status = va_arg(values, unsigned);
    bool length = strstr(va_arg(values, const char *), "Content-Length") != NULL;
    struct http_request *r = only_incomplete(s);
    http_count(*(status == 431   ? &s->stats.refused_head
                 : status == 413 ? &s->stats.refused_too_large
                                 : &s->stats.refused_guard),
               1);
    if (!r || !(status == 431 || length))
        return;
    if (status == 431)
        too_large_head(s, r);
    else if (status == 413)
        http_answer_raw(r, 413, "Content Too Large", "Content-Length is beyond all bounds");
    else
        http_answer_raw(r, 400, "Bad Request", "Content-Length is not a number of bytes");
    r->linger = true;
    shutdown(r->fd, SHUT_WR);
}

/* ---- when the daemon runs ---- */

static void run(struct http_server *s)
{
    s->running = true;
    (void)MHD_run(s->daemon);
    s->running = false;
    http_answers_flush(s);
    unsigned long long wait_ms = 1;
    if (MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES && wait_ms == 0)
        http_server_wake(s);
    else
        s->again_count = 0;
}

static void run_watch(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct http_server *s = container_of(w, struct http_server, watch);
    s->again_count = 0;
    run(s);
}

static void run_again(struct loop_task *t)
{
    run(container_of(t, struct http_server, again));
}

static void run_later(struct loop_timer *t)
{
    struct http_server *s = container_of(t, struct http_server, later);
    s->again_count = 0;
    run(s);
}

void http_server_wake(struct http_server *s)
{
    if (s->stopping)
        return;
    if (s->again_count < AGAIN_MAX) {
        s->again_count++;
        loop_defer(s->loop, &s->again);
    } else if (!loop_timer_armed(&s->later)) {
        loop_timer_start(s->loop, &s->later, 0);
    }
}

/* ---- life ---- */

static void fill_options(struct http_server_options *o)
{
    o->head_bytes_max = o->head_bytes_max ? o->head_bytes_max : 32u << 10;
    if (o->head_bytes_max < HEAD_BYTES_MIN)
        o->head_bytes_max = HEAD_BYTES_MIN;
    o->head_timeout_ns = o->head_timeout_ns ? o->head_timeout_ns : 10 * NS_PER_S;
    o->body_timeout_ns = o->body_timeout_ns ? o->body_timeout_ns : 30 * NS_PER_S;
    o->idle_timeout_ns = o->idle_timeout_ns ? o->idle_timeout_ns : 75 * NS_PER_S;
    o->connections_max = o->connections_max ? o->connections_max : 10000;
}

/* libmicrohttpd's own strictness stays at its default: all it adds is a refusal without Host and one of spaces in the
 * target, which the guard has too, with words and an answer. */
static struct MHD_Daemon *start_daemon(struct http_server *s)
{
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    return MHD_start_daemon(flags, 0, NULL, NULL, http_request_continue, s, MHD_OPTION_EXTERNAL_LOGGER, notice_log, s,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, s->options.head_bytes_max, MHD_OPTION_CONNECTION_LIMIT,
                            s->options.connections_max, MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_NOTIFY_COMPLETED,
                            http_request_over, s, MHD_OPTION_NOTIFY_CONNECTION, notify_connection, s,
                            MHD_OPTION_URI_LOG_CALLBACK, http_request_begin, s, MHD_OPTION_UNESCAPE_CALLBACK,
                            http_request_unescape, s, MHD_OPTION_END);
}

static enum err start(struct http_server *s)
{
    s->inbox = calloc(1, sizeof *s->inbox);
    if (!s->inbox)
        return ERR_NOMEM;
    *s->inbox = (struct http_inbox){.refs = 1, .loop = s->loop, .server = s};
    if (s->options.flag_head_bytes) {
        s->flag_head_bytes = strdup(s->options.flag_head_bytes);
        if (!s->flag_head_bytes)
            return ERR_NOMEM;
        s->options.flag_head_bytes = s->flag_head_bytes;
    }
    enum err e = http_answers_init(s);
    if (e != OK)
        return e;
    s->daemon = start_daemon(s);
    if (!s->daemon)
        return errno == ENOMEM ? ERR_NOMEM : ERR_IO;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    assert(info);
    return loop_watch_add(s->loop, &s->watch, info->epoll_fd, EPOLLIN, run_watch);
}

enum err http_server_new(struct loop *loop, const struct http_server_options *options,
                         const struct http_handler *handler, void *arg, struct http_server **out)
{
    assert(loop && handler && handler->head && handler->end);
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->loop = loop;
    if (options)
        s->options = *options;
    fill_options(&s->options);
    s->handler = *handler;
    s->arg = arg;
    s->watch.fd = -1;
    list_init(&s->open);
    list_init(&s->answered);
    loop_task_init(&s->again, run_again);
    loop_timer_init(&s->later, run_later);
    http_deadlines_init(s);
    enum err e = start(s);
    if (e != OK) {
        http_server_free(s);
        return e;
    }
    *out = s;
    return OK;
}

void http_server_drain(struct http_server *s)
{
    if (s->draining)
        return;
    s->draining = true;
    list_each(l, tmp, &s->open) {
        struct http_request *r = container_of(l, struct http_request, link);
        if (r->phase == HTTP_IDLE && !http_request_pending(r))
            shutdown(r->fd, SHUT_RDWR);
    }
    http_server_wake(s);
}

size_t http_server_busy(const struct http_server *s)
{
    return __atomic_load_n(&s->busy, __ATOMIC_RELAXED);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    assert(!s->running);
    s->stopping = true;
    loop_watch_remove(s->loop, &s->watch);
    loop_task_cancel(&s->again);
    loop_timer_stop(s->loop, &s->later);
    if (s->daemon) {
        /* It refuses to stop with suspended connections. */
        list_each(l, tmp, &s->open) {
            struct http_request *r = container_of(l, struct http_request, link);
            if (r->suspended)
                MHD_resume_connection(r->connection);
        }
        MHD_stop_daemon(s->daemon);
    }
    assert(list_empty(&s->open) && s->busy == 0);
    http_deadlines_fini(s);
    http_answers_fini(s);
    if (s->inbox)
        s->inbox->server = NULL;
    http_inbox_unref(s->inbox);
    free(s->flag_head_bytes);
    free(s);
}

void http_server_stats(const struct http_server *s, struct http_server_stats *out)
{
    const uint64_t *from = (const uint64_t *)&s->stats;
    uint64_t *to = (uint64_t *)out;
    for (size_t i = 0; i < sizeof s->stats / sizeof *from; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    out->connections_refused += __atomic_load_n(&s->inbox->overflow, __ATOMIC_RELAXED);
}
