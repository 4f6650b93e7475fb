/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of unknown length, for watches. Pieces wait framed in the connection's output, whose length is bounded, and
 * go to the socket at the end of the turn. While a stream is open, a client that leaves is noticed at once.
 */
#include "http_connection.h"

#include <assert.h>

void http_respond_stream(struct http_request *r, int status, const struct http_header *headers, size_t count,
                         size_t buffered_max)
{
    assert(!r->answered && status >= 200 && status <= 599);
    if (slice_eq(r->head.plan.method, SLICE("HEAD"))) { /* what would follow is not for it */
        http_respond(r, status, headers, count, SLICE(""));
        return;
    }
    r->answered = true;
    r->streaming = true;
    r->buffered_max = buffered_max;
    r->stream_chunked = !r->head.plan.minor_0;
    if (!r->stream_chunked)
        r->close_after = true; /* what ends it is the end of the connection */
    http_answer_head(r, &r->out, status, headers, count);
    buf_put_str(&r->out, r->stream_chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    if (buf_error(&r->out) != OK)
        http_answer_break(r);
    http_answer_soon(r);
}

enum err http_stream_write(struct http_request *r, struct slice piece)
{
    if (!r->streaming || r->broken)
        return ERR_CLOSED;
    assert(!r->stream_ended);
    size_t waiting = r->out.len - r->sent;
    if (waiting + piece.len > r->buffered_max)
        return ERR_FULL;
    if (r->sent > waiting) { /* moves fewer bytes than were sent, so each byte is moved once at most */
        buf_consume(&r->out, r->sent);
        r->sent = 0;
    }
    if (piece.len && r->stream_chunked)
        buf_printf(&r->out, "%zx\r\n", piece.len);
    buf_put(&r->out, piece);
    if (piece.len && r->stream_chunked)
        buf_put_str(&r->out, "\r\n");
    enum err e = buf_error(&r->out);
    if (e != OK)
        http_answer_break(r);
    http_answer_soon(r);
    return e;
}

size_t http_stream_waiting(const struct http_request *r)
{
    return r->out.len - r->sent;
}

void http_stream_end(struct http_request *r)
{
    if (!r->streaming || r->stream_ended)
        return;
    r->stream_ended = true;
    if (r->stream_chunked && !r->broken)
        buf_put_str(&r->out, "0\r\n\r\n");
    if (!r->broken && buf_error(&r->out) != OK)
        http_answer_break(r);
    r->waits_for = HTTP_DUE_SEND; /* from the end on, not from when the turn is over */
    http_due_start(r->server, &r->due, HTTP_DUE_SEND);
    http_answer_soon(r);
}
