/* SPDX-License-Identifier: Apache-2.0
 *
 * A request's way in: libmicrohttpd's callbacks, and what handlers read.
 *
 *   HTTP_IDLE ── request line ──> HTTP_HEAD ── head, guard, handler.head ──> HTTP_BODY ──┐
 *     ^                                                                                  handler.end
 *     └── sent, handler.close ── HTTP_SENDING <── answer ── HTTP_COMPLETE <────────────────┘
 *
 * An unanswered request is left with libmicrohttpd, which asks for it again whenever it runs; an answer that comes by
 * work deferred in the same turn then costs nothing extra. Only when it was asked for HTTP_RECALLS_MAX times in vain is
 * it suspended, which takes its socket out of the epoll set and costs about 3 µs with the way back.
 *
 * An answer before the body is read closes the connection (libmicrohttpd's rule, and a sound one). So an answer from
 * `head` to a request without a body waits for the call that says that all of it is there.
 */
#include "http_connection.h"

#include <assert.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* ---- memory ---- */

struct http_request *http_request_new(struct http_server *s, int fd)
{
    struct http_request *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->server = s;
    r->fd = fd;
    r->consumed_known = true;
    list_init(&r->link);
    list_init(&r->answer_link);
    list_init(&r->due.link);
    buf_init(&r->body, 0);
    buf_init(&r->target_copy, SIZE_MAX);
    return r;
}

void http_request_free(struct http_request *r)
{
    assert(!r->handed);
    http_due_stop(&r->due);
    buf_fini(&r->body);
    buf_fini(&r->target_copy);
    free(r->lines);
    free(r);
}

/* Ready for the next request on this connection. */
static void reset(struct http_request *r)
{
    if (r->handed && r->phase >= HTTP_COMPLETE) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        r->consumed += (info ? info->header_size : 0) + r->plan.content_length;
        r->consumed_known = r->consumed_known && !r->plan.chunked;
    }
    list_remove(&r->answer_link);
    http_answer_drop(r);
    http_stream_free(r->stream);
    r->stream = NULL;
    r->phase = HTTP_IDLE;
    r->handed = r->in_handler = r->answered = r->suspended = r->close_after = false;
    r->recalls = 0;
    r->state = NULL;
    r->route = NULL;
    r->body_max = 0;
    buf_clear(&r->target_copy);
    if (r->body.cap > HTTP_KEPT_BODY_BYTES)
        buf_fini(&r->body);
    else
        buf_clear(&r->body);
    if (r->line_cap > HTTP_KEPT_LINES) {
        free(r->lines);
        r->lines = NULL;
        r->line_cap = 0;
    }
    r->line_count = 0;
}

/* ---- the request line and the head ---- */

size_t http_request_unescape(void *arg, struct MHD_Connection *connection, char *text)
{
    (void)arg, (void)connection;
    return strlen(text); /* handlers get the path as sent */
}

void *http_request_begin(void *arg, const char *target, struct MHD_Connection *connection)
{
    (void)arg;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_request *r = info->socket_context;
    r->phase = HTTP_HEAD;
    r->target = slice_str(target);
    http_due_start(r->server, &r->due, HTTP_DUE_HEAD);
    if (strchr(target, '?'))
        buf_put(&r->target_copy, r->target);
    return r;
}

static enum MHD_Result collect_line(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                    const char *value, size_t value_len)
{
    (void)kind;
    struct http_request *r = arg;
    if (r->line_count == r->line_cap) {
        size_t cap = r->line_cap ? 2 * r->line_cap : 16;
        struct http_header *lines = realloc(r->lines, cap * sizeof *lines);
        if (!lines)
            return MHD_NO;
        r->lines = lines;
        r->line_cap = cap;
    }
    r->lines[r->line_count++] = (struct http_header){{name, name_len}, {value, value_len}};
    return MHD_YES;
}

/* What is wrong with the head, or NULL. */
static const char *check_head(struct http_request *r, const char *method, const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    r->method = slice_str(method);
    struct http_head head = {
        .method = r->method,
        .target = r->target_copy.len ? buf_slice(&r->target_copy) : r->target,
        .target_at = r->target.ptr,
        .version = slice_str(version),
        .lines = r->lines,
        .line_count = r->line_count,
        .end = info ? method + info->header_size : NULL,
    };
    return http_guard(&head, &r->plan);
}

static bool has_body(const struct http_request *r)
{
    return r->plan.chunked || r->plan.content_length > 0;
}

/* Answers in place of the handler. */
static void __attribute__((format(printf, 3, 4))) refuse(struct http_request *r, int status, const char *format, ...)
{
    char text[300];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    r->close_after = true;
    http_respond_text(r, status, "%s", text);
}

/* After the handler's head: whether what it allows and what the client announces go together. */
static void check_body(struct http_request *r)
{
    if (r->plan.content_length > r->body_max) {
        http_count(r->server->stats.refused_too_large, 1);
        refuse(r, 413, "the body of %llu bytes exceeds the %zu bytes allowed here",
               (unsigned long long)r->plan.content_length, r->body_max);
        return;
    }
    r->body.limit = r->body_max;
    if (r->plan.content_length && !buf_reserve(&r->body, (size_t)r->plan.content_length)) {
        buf_fini(&r->body);
        refuse(r, 503, "not enough memory for the body");
    }
}

static void hand_over(struct http_request *r)
{
    struct http_server *s = r->server;
    r->handed = true;
    r->phase = HTTP_BODY;
    http_count(s->busy, 1);
    http_count(s->stats.requests, 1);
    s->handler.head(r, s->arg);
    if (!r->answered)
        check_body(r);
}

static enum MHD_Result head_complete(struct http_request *r, const char *method, const char *version)
{
    struct http_server *s = r->server;
    int lines = MHD_get_connection_values_n(r->connection, MHD_HEADER_KIND, collect_line, r);
    bool whole = lines >= 0 && (size_t)lines == r->line_count && buf_error(&r->target_copy) == OK;
    const char *wrong = whole ? check_head(r, method, version) : NULL;
    r->in_handler = true;
    if (!whole) {
        refuse(r, 503, "not enough memory for the headers");
    } else if (wrong) {
        http_count(s->stats.refused_guard, 1);
        refuse(r, 400, "%s", wrong);
    } else {
        hand_over(r);
    }
    r->in_handler = false;
    bool clean = r->handed;
    if (r->answered && (!clean || has_body(r))) {
        r->linger = true; /* libmicrohttpd closes after an answer that comes before the body */
        return http_answer_queue(r);
    }
    if (has_body(r))
        http_due_start(s, &r->due, HTTP_DUE_BODY);
    return MHD_YES;
}

/* ---- the body ---- */

static enum MHD_Result body_piece(struct http_request *r, struct slice piece)
{
    struct http_server *s = r->server;
    if (r->answered)
        return MHD_YES; /* the rest is of no interest, but the answer must wait for its end */
    buf_put(&r->body, piece);
    if (buf_error(&r->body) != OK) {
        bool too_large = r->body.error == ERR_TOO_LARGE;
        http_count(s->stats.refused_too_large, too_large ? 1 : 0);
        char text[100];
        snprintf(text, sizeof text, "the body exceeds the %zu bytes allowed here", r->body_max);
        if (too_large)
            http_answer_raw(r, 413, "Content Too Large", text);
        else
            http_answer_raw(r, 503, "Service Unavailable", "not enough memory for the body");
        r->linger = true;
        return MHD_NO;
    }
    if (s->handler.data) {
        r->in_handler = true;
        s->handler.data(r, piece);
        r->in_handler = false;
    }
    return MHD_YES;
}

static enum MHD_Result complete(struct http_request *r)
{
    struct http_server *s = r->server;
    if (r->phase == HTTP_BODY) {
        r->phase = HTTP_COMPLETE;
        http_due_stop(&r->due);
        if (!r->answered) {
            r->in_handler = true;
            s->handler.end(r);
            r->in_handler = false;
        }
        return r->answered ? http_answer_queue(r) : MHD_YES;
    }
    assert(r->phase == HTTP_COMPLETE);
    if (r->answered) {
        list_remove(&r->answer_link);
        return http_answer_queue(r);
    }
    if (++r->recalls > HTTP_RECALLS_MAX) {
        MHD_suspend_connection(r->connection);
        r->suspended = true;
    }
    return MHD_YES;
}

enum MHD_Result http_request_continue(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                      const char *version, const char *data, size_t *data_len, void **request)
{
    (void)arg, (void)url, (void)connection;
    struct http_request *r = *request;
    if (r->refused)
        return MHD_NO;
    if (r->phase == HTTP_HEAD)
        return head_complete(r, method, version);
    if (*data_len) {
        struct slice piece = slice_of(data, *data_len);
        *data_len = 0;
        return body_piece(r, piece);
    }
    return complete(r);
}

void http_request_over(void *arg, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode how)
{
    (void)connection, (void)how;
    struct http_server *s = arg;
    struct http_request *r = *request;
    if (r->handed) {
        if (s->handler.close)
            s->handler.close(r);
        http_count(s->busy, (size_t)-1);
    }
    reset(r);
    if (s->draining) /* its answer was handed over before and promised to go on */
        shutdown(r->fd, SHUT_RDWR);
    r->idle_since_ns = loop_now_ns(s->loop);
    http_due_start(s, &r->due, HTTP_DUE_IDLE);
}

/* ---- what handlers read ---- */

struct slice http_request_method(const struct http_request *r)
{
    return r->method;
}

struct slice http_request_path(const struct http_request *r)
{
    return r->plan.path;
}

struct slice http_request_query(const struct http_request *r)
{
    return r->plan.query;
}

struct slice http_request_host(const struct http_request *r)
{
    return r->plan.host;
}

const struct http_header *http_request_headers(const struct http_request *r, size_t *count)
{
    *count = r->line_count;
    return r->lines;
}

bool http_request_header(const struct http_request *r, const char *name, struct slice *out)
{
    return http_header_find(r->lines, r->line_count, name, out);
}

struct slice http_request_body(const struct http_request *r)
{
    return buf_slice(&r->body);
}

struct loop *http_request_loop(const struct http_request *r)
{
    return r->server->loop;
}

void http_request_peer(const struct http_request *r, char *out, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getpeername(r->fd, (struct sockaddr *)&address, &len) != 0 ||
        getnameinfo((struct sockaddr *)&address, len, out, (socklen_t)size, NULL, 0, NI_NUMERICHOST) != 0)
        snprintf(out, size, "unknown");
}

void *http_request_arg(const struct http_request *r)
{
    return r->server->arg;
}

void http_request_allow_body(struct http_request *r, size_t bytes_max)
{
    r->body_max = bytes_max;
}

void http_request_set_state(struct http_request *r, void *state)
{
    r->state = state;
}

void *http_request_state(const struct http_request *r)
{
    return r->state;
}

void http_request_set_route(struct http_request *r, void *route)
{
    r->route = route;
}

void *http_request_route(const struct http_request *r)
{
    return r->route;
}
