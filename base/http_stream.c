/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of unknown length, for watches. Pieces wait in a bounded buffer until libmicrohttpd asks for them; while none
 * waits the connection is suspended. A suspended connection is out of libmicrohttpd's epoll set, so a client that
 * leaves would go unnoticed: our loop watches its socket for that.
 */
#include "http_connection.h"

#include <assert.h>
#include <stdlib.h>

#define PIECE_BYTES 4096 /* what libmicrohttpd asks for where the answer is not chunked (HTTP/1.0) */

/* libmicrohttpd asks for more. */
static ssize_t take(void *arg, uint64_t position, char *out, size_t max)
{
    (void)position;
    struct http_stream *stream = arg;
    struct http_request *r = stream->request;
    size_t n = stream->waiting.len - stream->taken;
    if (stream->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n) {
        n = n < max ? n : max;
        memcpy(out, stream->waiting.ptr + stream->taken, n);
        stream->taken += n;
        if (stream->taken == stream->waiting.len) {
            stream->taken = 0;
            buf_clear(&stream->waiting);
        }
        return (ssize_t)n;
    }
    if (stream->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    MHD_suspend_connection(r->connection);
    r->suspended = true;
    return 0;
}

/* There is something to take, or the end. */
static void wake(struct http_request *r)
{
    if (r->phase != HTTP_SENDING || !r->suspended)
        return;
    r->suspended = false;
    MHD_resume_connection(r->connection);
    http_server_wake(r->server);
}

static void client_left(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct http_stream *stream = container_of(w, struct http_stream, watch);
    loop_watch_remove(stream->request->server->loop, w);
    stream->gone = true;
    wake(stream->request);
}

void http_stream_free(struct http_stream *stream)
{
    if (!stream)
        return;
    loop_watch_remove(stream->request->server->loop, &stream->watch);
    buf_fini(&stream->waiting);
    free(stream);
}

/* The request's stream, or NULL without memory. */
static struct http_stream *stream_new(struct http_request *r, size_t buffered_max)
{
    struct http_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->request = r;
    stream->watch.fd = -1;
    stream->buffered_max = buffered_max;
    buf_init(&stream->waiting, SIZE_MAX);
    if (loop_watch_add(r->server->loop, &stream->watch, r->fd, EPOLLRDHUP, client_left) != OK) {
        free(stream);
        return NULL;
    }
    return stream;
}

void http_respond_stream(struct http_request *r, int status, const struct http_header *headers, size_t count,
                         size_t buffered_max)
{
    assert(!r->answered && status >= 200 && status <= 599);
    r->stream = stream_new(r, buffered_max);
    struct MHD_Response *response =
        r->stream ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE_BYTES, take, r->stream, NULL) : NULL;
    if (response && http_answer_headers(r, response, headers, count)) {
        http_answer(r, (unsigned)status, response, false);
        return;
    }
    if (response)
        MHD_destroy_response(response);
    if (r->stream)
        r->stream->gone = true;
    http_answer(r, 503, r->server->empty[1], true);
}

enum err http_stream_write(struct http_request *r, struct slice piece)
{
    struct http_stream *stream = r->stream;
    if (!stream || stream->gone)
        return ERR_CLOSED;
    assert(!stream->ended);
    size_t waiting = stream->waiting.len - stream->taken;
    if (waiting + piece.len > stream->buffered_max)
        return ERR_FULL;
    if (stream->taken > waiting) { /* moves fewer bytes than were taken, so each byte is moved once at most */
        buf_consume(&stream->waiting, stream->taken);
        stream->taken = 0;
    }
    buf_put(&stream->waiting, piece);
    enum err e = buf_error(&stream->waiting);
    if (e != OK)
        stream->gone = true;
    wake(r);
    return e;
}

void http_stream_end(struct http_request *r)
{
    if (!r->stream || r->stream->ended)
        return;
    r->stream->ended = true;
    http_due_start(r->server, &r->due, HTTP_DUE_SEND);
    wake(r);
}
