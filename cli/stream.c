/* SPDX-License-Identifier: Apache-2.0
 *
 * What `leat tail` and `leat wait` need of the client: an answer without end, line by line.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client.h"
#include "http_client.h"

#define LINE_MAX_BYTES (64u << 20)                /* a longer line is no line of leat's */
#define STREAM_NS (365ull * 24 * 3600 * NS_PER_S) /* as good as no time limit */

struct stream {
    const struct command *command;
    struct client_identity identity;
    const char *url;
    struct loop *loop;
    struct http_client *http;
    struct http_exchange exchange;
    struct loop_watch signals;
    sigset_t mask; /* as it was before */
    struct loop_timer over;
    uint64_t time_ns; /* 0: without end */
    client_line_fn *line;
    void *arg;
    struct buf rest; /* the line that is not whole yet; the error's body */
    bool done;
    enum stream_end end;
};

/* Hands over what is whole; false: enough. */
static bool take_lines(struct stream *s)
{
    size_t from = 0;
    bool more = true;
    while (more && from < s->rest.len) {
        const char *start = s->rest.ptr + from, *feed = memchr(start, '\n', s->rest.len - from);
        if (!feed)
            break;
        more = s->line(s->arg, slice_of(start, (size_t)(feed - start)));
        from += (size_t)(feed - start) + 1;
    }
    buf_consume(&s->rest, from);
    return more;
}

static void taken(struct http_exchange *x, int status, struct slice piece)
{
    struct stream *s = container_of(x, struct stream, exchange);
    buf_put(&s->rest, piece);
    if (status == 200 && !s->done && !take_lines(s)) {
        s->end = STREAM_STOPPED;
        s->done = true;
    }
}

static void ended(struct http_exchange *x, enum err e, const struct http_response *response, const char *detail)
{
    struct stream *s = container_of(x, struct stream, exchange);
    if (s->done)
        return;
    if (e != OK) {
        if (s->time_ns == 0)
            fail(s->command, EXIT_CODE_FAILED, "%s: %s. --server names another.", s->url, detail);
        s->end = s->time_ns ? STREAM_ENDED : STREAM_FAILED;
        s->done = true;
        return;
    }
    bool later = s->time_ns && (response->status == 429 || response->status == 503);
    s->end = response->status == 200 || later ? STREAM_ENDED : STREAM_FAILED;
    if (response->body.len)
        taken(x, response->status, response->body);
    if (s->end == STREAM_FAILED)
        fail_with_status(s->command, buf_slice(&s->rest));
    s->done = true;
}

static void on_signal(struct loop_watch *w, uint32_t events)
{
    struct stream *s = container_of(w, struct stream, signals);
    struct signalfd_siginfo taken_out;
    (void)events;
    s->done = read(w->fd, &taken_out, sizeof taken_out) > 0 || s->done;
    s->end = STREAM_INTERRUPTED;
}

static void time_over(struct loop_timer *t)
{
    struct stream *s = container_of(t, struct stream, over);
    s->done = true;
    s->end = STREAM_OVER;
}

/* Blocks the signals and turns them into a descriptor; -1 without one. */
static int watch_signals(struct stream *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &s->mask);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        sigprocmask(SIG_SETMASK, &s->mask, NULL);
    if (fd >= 0 && loop_watch_add(s->loop, &s->signals, fd, EPOLLIN, on_signal) != OK) {
        close(fd);
        return -1;
    }
    return fd;
}

static enum err turn_to_the_end(struct stream *s, const struct http_url *url)
{
    struct http_origin *origin;
    enum err e = http_origin_get(s->http, url, SLICE(""), &origin);
    if (e != OK)
        return e;
    loop_timer_init(&s->over, time_over);
    if (s->time_ns)
        loop_timer_start(s->loop, &s->over, s->time_ns);
    e = http_exchange_start(origin, &s->exchange);
    while (e == OK && !s->done)
        e = loop_turn(s->loop, UINT64_MAX);
    loop_timer_stop(s->loop, &s->over);
    if (s->exchange.origin)
        http_exchange_cancel(&s->exchange);
    http_origin_unref(origin);
    return e;
}

static enum err run(struct stream *s, const struct http_url *url)
{
    const struct http_client_options options = {.connections_max = 1, .ca_file = s->identity.ca};
    struct buf head;
    int fd = -1;
    buf_init(&head, 1u << 20);
    buf_printf(&head, "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: leat/%s\r\n", SLICE_ARG(url->target),
               SLICE_ARG(url->authority), LEAT_VERSION);
    client_identity_put(&s->identity, s->url, &head);
    buf_put_str(&head, "\r\n");
    s->exchange =
        (struct http_exchange){.done = ended, .data = taken, .head = buf_slice(&head), .timeout_ns = STREAM_NS};
    enum err e = buf_error(&head);
    if (e == OK)
        e = loop_new(clock_system(), 64, &s->loop);
    if (e == OK)
        e = http_client_new(s->loop, &options, &s->http);
    if (e == OK && (fd = watch_signals(s)) < 0)
        e = ERR_IO;
    if (e == OK)
        e = turn_to_the_end(s, url);
    if (fd >= 0) {
        loop_watch_remove(s->loop, &s->signals);
        close(fd);
        sigprocmask(SIG_SETMASK, &s->mask, NULL);
    }
    http_client_free(s->http);
    loop_free(s->loop);
    buf_fini(&head);
    return e;
}

enum stream_end client_stream(const struct invocation *in, const char *url, client_line_fn *line, void *arg)
{
    return client_stream_for(in, url, 0, line, arg);
}

enum stream_end client_stream_for(const struct invocation *in, const char *url, uint64_t ns, client_line_fn *line,
                                  void *arg)
{
    const struct command *c = in->command;
    struct diag d = {0};
    struct http_url parsed;
    struct stream s = {
        .command = c, .url = url, .line = line, .arg = arg, .time_ns = ns, .end = STREAM_FAILED, .signals = {.fd = -1}};
    if (http_url_parse(slice_str(url), &parsed, &d) != OK) {
        fail(c, EXIT_CODE_USAGE, "%s: %s", url, d.text);
        return STREAM_FAILED;
    }
    if (!client_identity_read(in, &s.identity)) {
        http_url_fini(&parsed);
        return STREAM_FAILED;
    }
    buf_init(&s.rest, LINE_MAX_BYTES);
    enum err e = run(&s, &parsed);
    if (e != OK) {
        fail(c, EXIT_CODE_FAILED, "%s: %s.", url, err_name(e));
        s.end = STREAM_FAILED;
    }
    buf_fini(&s.rest);
    client_identity_fini(&s.identity);
    http_url_fini(&parsed);
    return s.end;
}
