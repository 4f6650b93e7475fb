/* SPDX-License-Identifier: Apache-2.0
 *
 * A request's way in, and the turn from one request to the next.
 *
 *   HTTP_IDLE ── first byte ──> HTTP_HEAD ── guard, handler.head ──> HTTP_BODY ──┐
 *     ^                                                                          handler.end
 *     └── sent, handler.close ── HTTP_SENDING <── answer ── HTTP_COMPLETE <──────┘
 *
 * A typical request costs one recv into a block, which holds head and body; both are shown where they lie. A body that
 * the block has no room for is received into a buffer of its own, a chunked one is unwrapped into it.
 *
 * An answer before the body was read closes the connection, since the rest would have to be read for nothing.
 */
#include "http_connection.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What is left of a block for a chunked body's pieces to come through, at least. */
#define CHUNKED_ROOM 4096

static void ready(struct loop_watch *w, uint32_t events);

/* ---- life ---- */

enum err http_request_open(struct http_server *s, int fd)
{
    struct http_request *r = calloc(1, sizeof *r);
    if (!r) {
        close(fd);
        return ERR_NOMEM;
    }
    r->server = s;
    r->fd = fd;
    list_init(&r->link);
    list_init(&r->todo);
    list_init(&r->due.link);
    buf_init(&r->out, SIZE_MAX);
    buf_init(&r->body, SIZE_MAX);
    enum err e = s->options.tls && !http_tls_start(r) ? ERR_NOMEM : OK;
    if (e == OK)
        e = loop_watch_add(s->loop, &r->watch, fd, EPOLLIN, ready);
    if (e != OK) {
        if (r->tls)
            http_tls_end(r);
        close(fd);
        free(r);
        return e;
    }
    list_push_back(&s->open, &r->link);
    http_count(s->stats.connections_open, 1);
    r->waits_for = HTTP_DUE_HEAD;
    http_due_start(s, &r->due, HTTP_DUE_HEAD);
    return OK;
}

/* The request ends; what was received behind it stays. */
static void over(struct http_request *r)
{
    struct http_server *s = r->server;
    if (r->handed) {
        if (s->handler.close)
            s->handler.close(r);
        http_count(s->busy, (size_t)-1);
    }
    http_due_stop(&r->due);
    r->waits_for = HTTP_DUE_KINDS;
    r->phase = HTTP_IDLE;
    r->handed = r->answered = r->streaming = r->stream_ended = r->in_place = false;
    r->state = r->route = NULL;
    r->body_max = r->body_len = 0;
    r->head.plan = (struct http_plan){0};
    r->head.line_count = 0;
    buf_fini(&r->body);
    free(r->lines_own);
    r->lines_own = NULL;
    if (r->block && r->at == r->block->len) {
        http_block_put(s, r->block);
        r->block = NULL;
        r->at = 0;
    }
}

void http_request_drop(struct http_request *r)
{
    struct http_server *s = r->server;
    assert(!r->in_handler);
    over(r);
    list_remove(&r->link);
    list_remove(&r->todo);
    loop_watch_remove(s->loop, &r->watch);
    http_count(s->stats.connections_open, (uint64_t)-1);
    if (r->tls)
        http_tls_end(r);
    if (r->linger && !r->broken && !s->stopping)
        http_linger_start(s, r->fd);
    else
        close(r->fd);
    http_block_put(s, r->block);
    buf_fini(&r->out);
    free(r);
}

/* ---- refusals ---- */

static void refuse(struct http_request *r, int status, const char *text)
{
    r->close_after = r->linger = true;
    if (r->phase == HTTP_IDLE)
        r->phase = HTTP_HEAD;
    r->in_handler = true;
    if (!r->answered)
        http_respond_text(r, status, "%s", text);
    r->in_handler = false;
    r->phase = HTTP_SENDING;
}

void http_request_refuse(struct http_request *r, int status, const char *text)
{
    refuse(r, status, text);
    http_request_settle(r);
}

static void refuse_no_memory(struct http_request *r, const char *what)
{
    char text[60];
    snprintf(text, sizeof text, "not enough memory for the %s", what);
    refuse(r, 503, text);
}

static void refuse_large_head(struct http_request *r)
{
    const struct http_server_options *o = &r->server->options;
    const char *flag = o->flag_head_bytes;
    char text[400];
    snprintf(text, sizeof text,
             "the request line and headers exceed the %zu bytes allowed%s%s; an event with large attributes fits in "
             "structured mode (Content-Type: application/cloudevents+json), where they are part of the body",
             o->head_bytes_max, flag ? " by " : "", flag ? flag : "");
    http_count(r->server->stats.refused_head, 1);
    refuse(r, 431, text);
}

static void refuse_large_body(struct http_request *r)
{
    char text[100];
    if (r->head.plan.chunked)
        snprintf(text, sizeof text, "the body exceeds the %zu bytes allowed here", r->body_max);
    else
        snprintf(text, sizeof text, "the body of %llu bytes exceeds the %zu bytes allowed here",
                 (unsigned long long)r->head.plan.content_length, r->body_max);
    http_count(r->server->stats.refused_too_large, 1);
    refuse(r, 413, text);
}

/* ---- the head ---- */

/* The head's beginning goes to the front of a block of this size, and is read anew there. */
static bool move_head(struct http_request *r, size_t cap)
{
    struct http_block *from = r->block, *to = from;
    size_t n = from->len - r->at;
    assert(r->phase <= HTTP_HEAD && cap >= n);
    if (cap > from->cap) {
        to = malloc(sizeof *to + cap);
        if (!to)
            return false;
        to->cap = cap;
    }
    memmove(to->bytes, from->bytes + r->at, n);
    to->len = n;
    if (to != from)
        http_block_put(r->server, from);
    r->block = to;
    r->at = 0;
    r->phase = HTTP_IDLE;
    return true;
}

static bool more_lines(struct http_request *r)
{
    struct http_guard *g = &r->head;
    size_t cap = 2 * g->line_cap;
    struct http_header *lines = realloc(r->lines_own, cap * sizeof *lines);
    if (!lines)
        return false;
    if (!r->lines_own)
        memcpy(lines, g->lines, g->line_count * sizeof *lines);
    g->lines = r->lines_own = lines;
    g->line_cap = cap;
    return true;
}

static bool has_body(const struct http_request *r)
{
    return r->head.plan.chunked || r->head.plan.content_length > 0;
}

/* After the handler's head: where the body shall lie. */
static void begin_body(struct http_request *r)
{
    const struct http_plan *plan = &r->head.plan;
    r->body_at = r->at;
    if (plan->content_length > r->body_max) {
        refuse_large_body(r);
        return;
    }
    r->in_place = !plan->chunked && plan->content_length <= r->block->cap - r->at;
    if (plan->chunked)
        http_parse_init_chunked(&r->chunks, r->body_max);
    else if (!r->in_place && !buf_reserve(&r->body, (size_t)plan->content_length))
        refuse_no_memory(r, "body");
    /* Not to who sends without waiting. */
    if (plan->expects_continue && !plan->minor_0 && has_body(r) && r->phase == HTTP_BODY && r->at == r->block->len) {
        buf_put_str(&r->out, "HTTP/1.1 100 Continue\r\n\r\n");
        if (buf_error(&r->out) != OK)
            http_answer_break(r);
        else
            http_answer_send(r);
    }
}

static void head_complete(struct http_request *r)
{
    struct http_server *s = r->server;
    r->at += r->head.at;
    r->phase = HTTP_BODY;
    r->handed = true;
    r->close_after = r->linger = has_body(r); /* of an answer that comes now */
    http_count(s->busy, 1);
    http_count(s->stats.requests, 1);
    r->in_handler = true;
    s->handler.head(r, s->arg);
    r->in_handler = false;
    if (r->answered && has_body(r)) {
        r->phase = HTTP_SENDING;
        return;
    }
    r->linger = false;
    if (!r->answered) {
        r->close_after = false;
        begin_body(r);
    }
}

/* Whether there is something to go on with. */
static bool read_head(struct http_request *r)
{
    struct http_guard *g = &r->head;
    struct http_block *b = r->block;
    if (!b || b->len == r->at)
        return r->broken = r->eof;
    if (r->phase == HTTP_IDLE) {
        free(r->lines_own);
        r->lines_own = NULL;
        r->close_after = r->linger = false;
        http_guard_init(g, b->lines, HTTP_BLOCK_LINES);
        r->phase = HTTP_HEAD;
    }
    enum err e;
    do
        e = http_guard_run(g, b->bytes + r->at, b->len - r->at);
    while (e == ERR_FULL && more_lines(r));
    size_t n = (e == OK ? g->at : b->len - r->at) + HTTP_LINE_COST * g->line_count;
    if (e == ERR_FULL) {
        refuse_no_memory(r, "headers");
    } else if (e == ERR_PROTOCOL) {
        http_count(*(g->status == 413 ? &r->server->stats.refused_too_large : &r->server->stats.refused_guard), 1);
        refuse(r, g->status, g->wrong);
    } else if (n > r->server->options.head_bytes_max) {
        refuse_large_head(r);
    } else if (e == ERR_PENDING) {
        return r->broken = r->eof;
    } else if (g->plan.chunked && b->cap - (r->at + g->at) < CHUNKED_ROOM) {
        if (!move_head(r, b->len - r->at + HTTP_BLOCK_BYTES))
            refuse_no_memory(r, "body");
    } else {
        head_complete(r);
    }
    return true;
}

/* ---- the body ---- */

static void show_piece(struct http_request *r, struct slice piece)
{
    struct http_server *s = r->server;
    if (!s->handler.data || r->answered || piece.len == 0)
        return;
    r->in_handler = true;
    s->handler.data(r, piece);
    r->in_handler = false;
}

static void complete(struct http_request *r)
{
    r->phase = HTTP_COMPLETE;
    if (r->answered)
        return;
    http_due_stop(&r->due);
    r->in_handler = true;
    r->server->handler.end(r);
    r->in_handler = false;
}

static bool read_in_place(struct http_request *r)
{
    size_t have = r->block->len - r->body_at, before = r->body_len;
    bool whole = have >= r->head.plan.content_length;
    r->body_len = whole ? (size_t)r->head.plan.content_length : have;
    r->at = r->body_at + r->body_len;
    show_piece(r, slice_of(r->block->bytes + r->body_at + before, r->body_len - before));
    return whole;
}

/* Into its own buffer: what came with the head here, the rest by receive(). */
static bool read_counted(struct http_request *r)
{
    size_t wanted = (size_t)r->head.plan.content_length - r->body.len, have = r->block->len - r->at;
    size_t n = have < wanted ? have : wanted;
    buf_put(&r->body, slice_of(r->block->bytes + r->at, n)); /* there is room: begin_body saw to it */
    r->at += n;
    show_piece(r, slice_from(buf_slice(&r->body), r->body_len));
    r->body_len = r->body.len;
    return n == wanted;
}

static bool read_chunks(struct http_request *r)
{
    struct http_block *b = r->block;
    size_t before = r->chunks.body_len;
    if (r->at == b->len)
        return false;
    buf_put(&r->body, slice_of(b->bytes + r->at, b->len - r->at));
    if (buf_error(&r->body) != OK) {
        refuse_no_memory(r, "body");
        return false;
    }
    size_t len = r->body.len;
    enum err e = http_parse_run(&r->chunks, r->body.ptr, &len);
    r->body.len = len;
    r->body_len = r->chunks.body_len;
    r->at = b->len - (e == OK ? len - r->chunks.at : 0); /* the last bytes are of the next request */
    if (e == ERR_PROTOCOL) {
        http_count(r->server->stats.refused_guard, 1);
        refuse(r, 400, r->chunks.why);
        return false;
    }
    if (r->chunks.body_cut) {
        refuse_large_body(r);
        return false;
    }
    show_piece(r, slice_of(r->body.ptr + before, r->body_len - before));
    if (e == ERR_PENDING)
        r->at = b->len = r->body_at; /* all of it was taken */
    return e == OK;
}

static bool read_body(struct http_request *r)
{
    bool whole = !has_body(r)           ? true
                 : r->head.plan.chunked ? read_chunks(r)
                 : r->in_place          ? read_in_place(r)
                                        : read_counted(r);
    if (whole)
        complete(r);
    else if (r->phase == HTTP_BODY)
        return r->broken = r->eof;
    return true;
}

/* ---- going on ---- */

/* Whether the answer is with the client and its request over. */
static bool send_answer(struct http_request *r)
{
    http_answer_send(r);
    if (r->broken)
        return true;
    if (r->streaming && !r->stream_ended)
        return r->broken = r->eof; /* it left */
    if (r->out.len)
        return false;
    r->linger |= r->server->draining; /* the next request may be on its way already */
    r->ended = r->close_after || r->server->draining;
    if (!r->ended)
        over(r);
    return true;
}

static void later(struct http_request *r)
{
    struct http_server *s = r->server;
    list_push_back(&s->more, &r->todo);
    if (!loop_timer_armed(&s->more_timer))
        loop_timer_start(s->loop, &s->more_timer, 0);
}

/* What it waits for now, and until when. */
static void wait(struct http_request *r)
{
    static const enum http_due_kind kinds[] = {HTTP_DUE_IDLE, HTTP_DUE_HEAD, HTTP_DUE_BODY, HTTP_DUE_KINDS,
                                               HTTP_DUE_SEND};
    enum http_due_kind kind = kinds[r->phase];
    if (r->streaming && !r->stream_ended)
        kind = HTTP_DUE_KINDS;
    if (kind != r->waits_for) {
        r->waits_for = kind;
        if (kind == HTTP_DUE_KINDS)
            http_due_stop(&r->due);
        else
            http_due_start(r->server, &r->due, kind);
    }
    if (r->watch.fd < 0)
        return;
    bool room = r->phase < HTTP_COMPLETE || !r->block || r->block->len < r->block->cap;
    uint32_t events = (room && !r->eof ? EPOLLIN : 0u) | (r->out.len && r->phase == HTTP_SENDING ? EPOLLOUT : 0u);
    if (loop_watch_change(r->server->loop, &r->watch, events) != OK)
        (void)shutdown(r->fd, SHUT_RDWR);
    if (r->tls && events & EPOLLIN && http_tls_pending(r))
        later(r);
}

/* What is broken ends, too; but a handler keeps the request that it holds. */
static bool ends(const struct http_request *r)
{
    return r->ended || (r->broken && (r->phase != HTTP_COMPLETE || r->answered));
}

void http_request_settle(struct http_request *r)
{
    unsigned row = 0;
    list_remove(&r->todo);
    for (bool more = true; more;) {
        if (ends(r)) {
            http_request_drop(r);
            return;
        }
        switch (r->phase) {
        case HTTP_IDLE:
        case HTTP_HEAD:
            more = read_head(r);
            break;
        case HTTP_BODY:
            more = read_body(r);
            break;
        case HTTP_COMPLETE:
            more = r->answered;
            r->phase = more ? HTTP_SENDING : HTTP_COMPLETE;
            break;
        case HTTP_SENDING:
            more = send_answer(r);
            if (more && r->phase == HTTP_IDLE && r->block && ++row == HTTP_ROW_MAX) {
                later(r);
                return;
            }
        }
    }
    wait(r);
}

/* ---- receiving ---- */

static void lost(struct http_request *r)
{
    http_answer_break(r);
    if (!ends(r))
        loop_watch_remove(r->server->loop, &r->watch);
}

/* Where the next bytes go; false without room. */
static bool find_room(struct http_request *r, char **at, size_t *room)
{
    if (r->phase == HTTP_BODY && !r->in_place && !r->head.plan.chunked) {
        *at = r->body.ptr + r->body.len;
        *room = (size_t)r->head.plan.content_length - r->body.len;
        return *room > 0;
    }
    if (!r->block) {
        r->block = http_block_get(r->server);
        r->at = 0;
    } else if (r->block->len == r->block->cap && r->phase <= HTTP_HEAD) {
        (void)move_head(r, r->at ? r->block->cap : 2 * r->block->cap);
    }
    if (!r->block || r->block->len == r->block->cap)
        return false;
    *at = r->block->bytes + r->block->len;
    *room = r->block->cap - r->block->len;
    return true;
}

static void ready(struct loop_watch *w, uint32_t events)
{
    struct http_request *r = container_of(w, struct http_request, watch);
    char *at;
    size_t room;
    if (r->tls && !http_tls_ready(r))
        return;
    if (!(events & EPOLLIN)) {
        if (events & (EPOLLHUP | EPOLLERR))
            lost(r);
    } else if (find_room(r, &at, &room)) {
        ssize_t n = r->tls ? http_tls_recv(r, at, room) : recv(r->fd, at, room, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0)
            lost(r);
        else if (n == 0)
            r->eof = true;
        else if (r->block && at == r->block->bytes + r->block->len)
            r->block->len += (size_t)n;
        else
            r->body.len += (size_t)n;
    } else if (r->phase <= HTTP_HEAD) {
        lost(r); /* no memory to read what it has to say */
    }
    http_request_settle(r);
}

void http_request_again(struct http_request *r)
{
    if (r->tls && http_tls_pending(r))
        ready(&r->watch, EPOLLIN);
    else
        http_request_settle(r);
}
