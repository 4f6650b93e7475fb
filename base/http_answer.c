/* SPDX-License-Identifier: Apache-2.0
 *
 * A request's way out. An answer is handed to libmicrohttpd
 *   - by the callback that is on the stack, when the handler answers inside it;
 *   - at once, when the daemon is not running: the request lies with it, complete, or is suspended and then resumed;
 *   - else when the daemon has run (a handler answered one request while another's callback was on the stack).
 * Answers without body and headers, such as 202, share one response object and cost no allocation.
 */
#include "http_connection.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum err http_answers_init(struct http_server *s)
{
    for (int closes = 0; closes < 2; closes++) {
        s->empty[closes] = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
        if (!s->empty[closes])
            return ERR_NOMEM;
    }
    return MHD_add_response_header(s->empty[1], "Connection", "close") == MHD_YES ? OK : ERR_NOMEM;
}

void http_answers_fini(struct http_server *s)
{
    for (int closes = 0; closes < 2; closes++)
        if (s->empty[closes])
            MHD_destroy_response(s->empty[closes]);
}

void http_answer_drop(struct http_request *r)
{
    if (r->response && !r->response_shared)
        MHD_destroy_response(r->response);
    r->response = NULL;
}

enum MHD_Result http_answer_queue(struct http_request *r)
{
    assert(r->answered && r->response);
    r->phase = HTTP_SENDING;
    if (!r->stream)
        http_due_start(r->server, &r->due, HTTP_DUE_SEND);
    enum MHD_Result result = MHD_queue_response(r->connection, r->status, r->response);
    http_answer_drop(r);
    if (r->suspended) {
        r->suspended = false;
        MHD_resume_connection(r->connection);
    }
    if (result != MHD_YES)
        shutdown(r->fd, SHUT_RDWR);
    return result;
}

void http_answers_flush(struct http_server *s)
{
    for (struct list *l; (l = list_pop_front(&s->answered));) {
        struct http_request *r = container_of(l, struct http_request, answer_link);
        if (r->phase == HTTP_COMPLETE)
            (void)http_answer_queue(r);
        http_server_wake(s);
    }
}

void http_answer(struct http_request *r, unsigned status, struct MHD_Response *response, bool shared)
{
    struct http_server *s = r->server;
    assert(!r->answered && r->phase != HTTP_IDLE);
    r->answered = true;
    r->status = status;
    r->response = response;
    r->response_shared = shared;
    /* A body still on its way: the call at its end finds the answer. */
    if (r->in_handler || r->phase != HTTP_COMPLETE || s->stopping)
        return;
    if (s->running) {
        list_push_back(&s->answered, &r->answer_link);
        return;
    }
    (void)http_answer_queue(r);
    http_server_wake(s);
}

/* ---- headers ---- */

static bool closes(const struct http_request *r)
{
    return r->close_after || r->server->draining;
}

/* libmicrohttpd wants strings, and refuses those that could break the head. */
static bool add_header(struct MHD_Response *response, struct slice name, struct slice value)
{
    char text[1024];
    char *at = text;
    if (name.len + value.len + 2 > sizeof text) {
        at = malloc(name.len + value.len + 2);
        if (!at)
            return false;
    }
    char *value_at = at + name.len + 1;
    if (name.len)
        memcpy(at, name.ptr, name.len);
    at[name.len] = 0;
    if (value.len)
        memcpy(value_at, value.ptr, value.len);
    value_at[value.len] = 0;
    (void)MHD_add_response_header(response, at, value_at);
    if (at != text)
        free(at);
    return true;
}

bool http_answer_headers(struct http_request *r, struct MHD_Response *response, const struct http_header *headers,
                         size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!add_header(response, headers[i].name, headers[i].value))
            return false;
    return !closes(r) || MHD_add_response_header(response, "Connection", "close") == MHD_YES;
}

/* ---- for handlers ---- */

void http_respond(struct http_request *r, int status, const struct http_header *headers, size_t count,
                  struct slice body)
{
    struct http_server *s = r->server;
    assert(status >= 200 && status <= 599);
    if (count == 0 && body.len == 0) {
        http_answer(r, (unsigned)status, s->empty[closes(r)], true);
        return;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)(body.len ? body.ptr : ""), MHD_RESPMEM_MUST_COPY);
    if (response && !http_answer_headers(r, response, headers, count)) {
        MHD_destroy_response(response);
        response = NULL;
    }
    if (response)
        http_answer(r, (unsigned)status, response, false);
    else
        http_answer(r, 503, s->empty[1], true); /* no memory even for the answer */
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
