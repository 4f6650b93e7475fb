/* SPDX-License-Identifier: Apache-2.0
 *
 * A request's way out. An answer to a whole request is written to the socket inside http_respond: one system call, and
 * nothing from the allocator. Only what the socket does not take is copied and waits for its turn, and so does an
 * answer that comes before the body, until that was read.
 *
 * A handler may still use its request when http_respond returns, so the request is over only later: when the callback
 * that is on the stack has returned, or at the end of the turn.
 */
#include "http_connection.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } known[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            return known[i].text;
    return status < 300 ? "OK" : status < 400 ? "Redirection" : status < 500 ? "Client Error" : "Server Error";
}

/* ---- sending ---- */

void http_answer_break(struct http_request *r)
{
    r->broken = true;
    buf_fini(&r->out);
    r->sent = 0;
}

/* How many bytes the socket took; what it will not take ever breaks the connection. */
static size_t transmit(struct http_request *r, struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t n;
    if (r->tls)
        return http_tls_send(r, parts->iov_base, parts->iov_len);
    do
        n = count == 1 ? send(r->fd, parts->iov_base, parts->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL) /* cheaper */
                       : sendmsg(r->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        http_answer_break(r);
    return n < 0 ? 0 : (size_t)n;
}

void http_answer_send(struct http_request *r)
{
    while (!r->broken && r->sent < r->out.len) {
        struct iovec rest = {r->out.ptr + r->sent, r->out.len - r->sent};
        size_t n = transmit(r, &rest, 1);
        if (n == 0)
            return;
        r->sent += n;
    }
    r->sent = 0;
    if (r->out.cap > HTTP_BLOCK_BYTES)
        buf_fini(&r->out);
    else
        buf_clear(&r->out);
}

static void keep(struct http_request *r, struct slice bytes)
{
    buf_put(&r->out, bytes);
    if (buf_error(&r->out) != OK)
        http_answer_break(r);
}

/* The answer's bytes, whole: now, or when it is their turn. */
static void put(struct http_request *r, struct slice head, struct slice body)
{
    size_t n = 0;
    if (r->broken)
        return;
    if (r->phase == HTTP_COMPLETE && r->out.len == 0 && !r->tls) { /* TLS has them in one piece, from the buffer */
        struct iovec parts[2] = {{(void *)(uintptr_t)head.ptr, head.len}, {(void *)(uintptr_t)body.ptr, body.len}};
        n = transmit(r, parts, body.len ? 2 : 1);
    }
    if (!r->broken && n < head.len)
        keep(r, slice_from(head, n));
    size_t of_body = n > head.len ? n - head.len : 0;
    if (!r->broken && of_body < body.len)
        keep(r, slice_from(body, of_body));
}

void http_answer_soon(struct http_request *r)
{
    struct http_server *s = r->server;
    if (r->in_handler || s->stopping)
        return; /* whoever called the handler goes on */
    if (list_empty(&r->todo))
        list_push_back(&s->settle, &r->todo);
    loop_defer(s->loop, &s->settle_task);
}

/* ---- the head ---- */

static bool closes(const struct http_request *r)
{
    const struct http_plan *plan = &r->head.plan;
    return r->close_after || r->server->draining || plan->close || (plan->minor_0 && !plan->keep_alive);
}

/* "Date: Sun, 06 Nov 1994 08:49:37 GMT" and its line end, made once a second. */
static struct slice date_line(struct http_server *s)
{
    uint64_t now_ns = loop_now_ns(s->loop);
    if (now_ns >= s->date_until_ns || s->date_len == 0) {
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        int64_t wall_ns = clock_wall_ns(loop_clock(s->loop));
        time_t seconds = (time_t)(wall_ns / (int64_t)NS_PER_S);
        struct tm t;
        gmtime_r(&seconds, &t);
        int n =
            snprintf(s->date, sizeof s->date, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", days + 3 * t.tm_wday,
                     t.tm_mday, months + 3 * t.tm_mon, t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
        s->date_len = n > 0 && (size_t)n < sizeof s->date ? (size_t)n : 0;
        s->date_until_ns = now_ns + NS_PER_S - (uint64_t)(wall_ns % (int64_t)NS_PER_S);
    }
    return slice_of(s->date, s->date_len);
}

/* What would break the head is left out. */
static bool sendable(const struct http_header *h)
{
    for (size_t i = 0; i < h->name.len; i++)
        if ((unsigned char)h->name.ptr[i] <= ' ' || h->name.ptr[i] == ':' || h->name.ptr[i] == 0x7f)
            return false;
    for (size_t i = 0; i < h->value.len; i++)
        if (((unsigned char)h->value.ptr[i] < ' ' && h->value.ptr[i] != '\t') || h->value.ptr[i] == 0x7f)
            return false;
    return h->name.len > 0;
}

void http_answer_head(struct http_request *r, struct buf *out, int status, const struct http_header *headers,
                      size_t count)
{
    buf_put_str(out, "HTTP/1.1 ");
    buf_put_u64(out, (uint64_t)status);
    buf_put_char(out, ' ');
    buf_put_str(out, reason(status));
    buf_put_str(out, "\r\n");
    buf_put(out, date_line(r->server));
    for (size_t i = 0; i < count; i++)
        if (sendable(&headers[i])) {
            buf_put(out, headers[i].name);
            buf_put_str(out, ": ");
            buf_put(out, headers[i].value);
            buf_put_str(out, "\r\n");
        }
    r->close_after = closes(r);
    if (r->close_after)
        buf_put_str(out, "Connection: close\r\n");
    else if (r->head.plan.minor_0)
        buf_put_str(out, "Connection: keep-alive\r\n");
}

static bool has_content(int status)
{
    return status != 204 && status != 304;
}

/* ---- for handlers ---- */

/* 202 without anything: most answers. */
static void respond_accepted(struct http_request *r)
{
    static const char status[] = "HTTP/1.1 202 Accepted\r\n", end[] = "Content-Length: 0\r\n\r\n";
    char text[sizeof status + sizeof r->server->date + sizeof end], *at = text;
    struct slice date = date_line(r->server);
    memcpy(at, status, sizeof status - 1);
    at += sizeof status - 1;
    memcpy(at, date.ptr, date.len);
    at += date.len;
    memcpy(at, end, sizeof end - 1);
    at += sizeof end - 1;
    put(r, slice_of(text, (size_t)(at - text)), SLICE(""));
}

void http_respond(struct http_request *r, int status, const struct http_header *headers, size_t count,
                  struct slice body)
{
    assert(status >= 200 && status <= 599 && !r->answered && r->phase != HTTP_IDLE);
    r->answered = true;
    if (status == 202 && count == 0 && body.len == 0 && !closes(r) && !r->head.plan.minor_0) {
        respond_accepted(r);
        http_answer_soon(r);
        return;
    }
    struct buf head;
    buf_init(&head, SIZE_MAX);
    http_answer_head(r, &head, status, headers, count);
    if (has_content(status)) {
        buf_put_str(&head, "Content-Length: ");
        buf_put_u64(&head, body.len);
        buf_put_str(&head, "\r\n");
    }
    buf_put_str(&head, "\r\n");
    if (!has_content(status) || slice_eq(r->head.plan.method, SLICE("HEAD")))
        body = SLICE("");
    if (buf_error(&head) == OK)
        put(r, buf_slice(&head), body);
    else
        http_answer_break(r); /* no memory even for the answer */
    buf_fini(&head);
    http_answer_soon(r);
}

void http_respond_text(struct http_request *r, int status, const char *format, ...)
{
    char text[2048];
    va_list values;
    va_start(values, format);
    int n = vsnprintf(text, sizeof text - 1, format, values);
    va_end(values);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text - 1 ? (size_t)n : sizeof text - 2;
    text[len++] = '\n';
    const struct http_header type = {SLICE_INIT("Content-Type"), SLICE_INIT("text/plain; charset=utf-8")};
    http_respond(r, status, &type, 1, slice_of(text, len));
}
