/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange over one connection: send the request, read the answer, end well or badly, or be withdrawn. On the
 * client's loop.
 *
 *     start ──> waiting ──────────────> sending and receiving ──> done (answer)
 *                  ^  └ time, refused ──> done (error) <── time, broken, no HTTP
 *                  └──── once, for a new connection: a reused one ended before a byte of the answer came
 *
 * An exchange costs one sendmsg and one recv, one start and stop of a timer, and nothing from the allocator: an open
 * connection is watched for input all the time, for output only while a send is blocked.
 */
#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>

#include "http_pool.h"

#define RECEIVE_BYTES_MIN (16u << 10)

/* ---- ending ---- */

struct http_exchange *http_exchange_detach(struct http_connection *k)
{
    struct http_exchange *x = k->exchange;
    assert(x && x->connection == k);
    k->exchange = NULL;
    x->connection = NULL;
    return x;
}

void http_exchange_finish(struct http_exchange *x, enum err err, const struct http_response *response,
                          const char *detail)
{
    struct http_origin *o = x->origin;
    assert(o && !x->connection && (err == OK) == (response != NULL));
    loop_timer_stop(o->client->loop, &x->timer);
    o->client->stats.exchanges_under_way--;
    x->origin = NULL;
    x->done(x, err, response, detail ? detail : "");
    http_origin_unref(o);
}

/* Ends an exchange that has a connection, which cannot be used on. */
static void fail(struct http_connection *k, enum err err, const char *detail)
{
    struct http_exchange *x = http_exchange_detach(k);
    http_pool_drop(k);
    http_exchange_finish(x, err, NULL, detail);
}

/* The answer is whole and lies in `bytes`: the client's scratch, or k->in. */
static void complete(struct http_connection *k, const char *bytes, bool reusable)
{
    struct http_client *c = k->origin->client;
    struct http_response response;
    http_parse_response(&k->parse, bytes, c->headers, &response);
    struct buf in = k->in; /* outlives the connection until the answer was seen */
    buf_init(&k->in, 0);
    struct http_exchange *x = http_exchange_detach(k);
    /* The connection goes on first: what done starts finds it then. */
    if (reusable) {
        k->reused = true;
        http_pool_serve(k, false);
    } else {
        http_pool_drop(k);
    }
    http_exchange_finish(x, OK, &response, NULL);
    buf_fini(&in);
}

/* ---- sending ---- */

static void want_output(struct http_connection *k, bool wanted)
{
    if (k->blocked == wanted)
        return;
    k->blocked = wanted;
    if (loop_watch_change(k->origin->client->loop, &k->watch, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN) != OK)
        k->send_failed = true;
}

static void send_more(struct http_connection *k)
{
    const struct http_exchange *x = k->exchange;
    size_t total = x->head.len + x->body.len, n;
    enum err e = OK;
    while (k->sent < total && e == OK) {
        e = http_connection_send(k, x->head, x->body, &n);
        if (e == OK)
            k->sent += n;
    }
    want_output(k, e == ERR_PENDING);
    if (e != OK && e != ERR_PENDING)
        k->send_failed = true;
    /* What the peer said before it closed is still to be read, and done must not run in here: the shutdown makes the
     * socket readable. */
    if (k->send_failed && k->watch.fd >= 0)
        shutdown(k->watch.fd, SHUT_RDWR);
}

void http_exchange_begin(struct http_connection *k, struct http_exchange *x)
{
    size_t limit = x->body_max < SIZE_MAX / 2 && !x->data ? x->body_max : SIZE_MAX / 2;
    assert(!k->exchange && !x->connection);
    k->exchange = x;
    x->connection = k;
    k->sent = 0;
    k->send_failed = k->answered = false;
    http_parse_init(&k->parse, x->head_request, limit);
    buf_init(&k->in, limit + HTTP_RESPONSE_HEAD_MAX + 2 * HTTP_SCRATCH_BYTES);
    list_remove(&k->link);
    list_push_front(&k->origin->busy, &k->link);
    send_more(k);
}

/* ---- receiving ---- */

/* Sends the exchange once more, on a new connection. */
static void retry(struct http_connection *k)
{
    struct http_origin *o = k->origin;
    struct http_exchange *x = http_exchange_detach(k);
    x->retried = true;
    list_push_back(&o->retrying, &x->link);
    o->retrying_count++;
    http_connection_close(k);
    http_pool_fill(o);
    if (o->connecting_count)
        return;
    list_remove(&x->link);
    o->retrying_count--;
    http_exchange_finish(x, ERR_NOMEM, NULL, "no memory for a connection");
}

void http_connection_lost(struct http_connection *k)
{
    struct http_client *c = k->origin->client;
    if (!k->exchange) {
        http_pool_drop(k);
    } else if (k->answered && http_parse_end(&k->parse) == OK) {
        complete(k, k->in.ptr, false);
    } else if (k->reused && !k->answered && !k->exchange->retried) {
        retry(k);
    } else {
        snprintf(c->detail, sizeof(c->detail), "%s closed the connection %s", k->origin->name,
                 k->answered ? "in the middle of its answer" : "without an answer");
        fail(k, ERR_UNAVAILABLE, c->detail);
    }
}

/* Whether nothing follows the answer: no byte that was received with it and, since TLS may hold back what epoll cannot
 * see, none there. */
static bool nothing_follows(struct http_connection *k, size_t len)
{
    char more;
    size_t n;
    if (len != k->parse.at)
        return false;
    return !k->origin->tls || http_connection_receive(k, &more, 1, &n) == ERR_PENDING;
}

static void answer_whole(struct http_connection *k, const char *bytes, size_t len)
{
    const struct http_exchange *x = k->exchange;
    bool sent = k->sent == x->head.len + x->body.len;
    complete(k, bytes, k->parse.persistent && sent && !k->send_failed && nothing_follows(k, len));
}

/* `n` more bytes lie behind `len`, in the scratch or in k->in. Whether the exchange is still under way. */
static bool take(struct http_connection *k, char *bytes, size_t len)
{
    struct http_client *c = k->origin->client;
    bool pieced = bytes != c->scratch;
    k->answered = true;
    enum err e = http_parse_run(&k->parse, bytes, &len);
    if (e == ERR_PENDING && k->exchange->data && k->parse.body_len) {
        k->exchange->data(k->exchange, k->parse.status, slice_of(bytes + k->parse.head_end, k->parse.body_len));
        http_parse_drop_body(&k->parse, bytes, &len);
    }
    if (pieced)
        k->in.len = len;
    if (e == OK) {
        answer_whole(k, bytes, len);
        return false;
    }
    if (e == ERR_PENDING && !pieced)
        buf_put(&k->in, slice_of(bytes, len));
    if (e == ERR_PENDING && buf_error(&k->in) == OK)
        return true;
    if (e == ERR_PENDING) {
        fail(k, ERR_NOMEM, "no memory for the answer");
        return false;
    }
    snprintf(c->detail, sizeof(c->detail), "the answer of %s is no HTTP: %s", k->origin->name, k->parse.why);
    fail(k, ERR_PROTOCOL, c->detail);
    return false;
}

/* One piece. OK: there may be more. */
static enum err receive_piece(struct http_connection *k)
{
    struct http_client *c = k->origin->client;
    char *to = c->scratch;
    size_t room = sizeof(c->scratch), n;
    if (k->in.len) {
        to = buf_reserve(&k->in, RECEIVE_BYTES_MIN);
        room = k->in.cap - k->in.len;
    }
    if (!to) {
        fail(k, ERR_NOMEM, "no memory for the answer");
        return ERR_PENDING;
    }
    enum err e = http_connection_receive(k, to, room, &n);
    if (e == ERR_PENDING)
        return e;
    if (e != OK || n == 0) {
        http_connection_lost(k);
        return ERR_PENDING;
    }
    char *bytes = k->in.len ? k->in.ptr : c->scratch;
    return take(k, bytes, k->in.len + n) ? OK : ERR_PENDING;
}

/* Until there is nothing more. A plain socket is read once a turn: epoll comes back to it, and a fast peer holds up
 * nobody. */
static void receive(struct http_connection *k)
{
    bool tls = k->origin->tls;
    while (receive_piece(k) == OK && tls)
        ;
}

/* Whatever an idle connection has to say, it cannot be used on: but TLS may have had something to say that is not for
 * us. */
static void idle_ready(struct http_connection *k)
{
    char byte;
    size_t n;
    if (http_connection_receive(k, &byte, 1, &n) != ERR_PENDING)
        http_pool_drop(k);
}

void http_connection_ready(struct loop_watch *w, uint32_t events)
{
    struct http_connection *k = container_of(w, struct http_connection, watch);
    if (!k->exchange) {
        idle_ready(k);
        return;
    }
    if (events & EPOLLOUT && k->blocked)
        send_more(k);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        receive(k);
}

/* ---- starting and withdrawing ---- */

static void unqueue(struct http_exchange *x)
{
    struct http_origin *o = x->origin;
    unsigned *count = x->retried ? &o->retrying_count : &o->waiting_count;
    assert(*count > 0);
    (*count)--;
    list_remove(&x->link);
}

static void too_late(struct loop_timer *t)
{
    struct http_exchange *x = container_of(t, struct http_exchange, timer);
    struct http_connection *k = x->connection;
    struct http_client *c = x->origin->client;
    uint64_t ms = x->timeout_ns / NS_PER_MS;
    char within[40];
    snprintf(within, sizeof(within), ms % 1000 ? "%llu ms" : "%llu s",
             (unsigned long long)(ms % 1000 ? ms : ms / 1000));
    snprintf(c->detail, sizeof(c->detail), "%s %s %s within %s",
             !k            ? "no connection"
             : k->answered ? "no whole answer"
                           : "no answer",
             k ? "from" : "to", x->origin->name, within);
    if (k) {
        fail(k, ERR_TIMEOUT, c->detail);
    } else {
        unqueue(x);
        http_exchange_finish(x, ERR_TIMEOUT, NULL, c->detail);
    }
}

/* Puts it in the queue and sees to a connection. */
static enum err wait_for_connection(struct http_origin *o, struct http_exchange *x)
{
    if (o->waiting_count >= o->client->options.waiting_max)
        return ERR_FULL;
    list_push_back(&o->waiting, &x->link);
    o->waiting_count++;
    if (http_pool_fill(o))
        return OK;
    list_remove(&x->link);
    o->waiting_count--;
    return ERR_NOMEM;
}

enum err http_exchange_start(struct http_origin *o, struct http_exchange *x)
{
    assert(x->done && x->head.len);
    struct http_client *c = o->client;
    if (!c || c->closing)
        return ERR_CLOSED;
    x->timeout_ns = x->timeout_ns ? x->timeout_ns : HTTP_TIMEOUT_NS_DEFAULT;
    x->origin = o;
    x->connection = NULL;
    x->retried = false;
    list_init(&x->link);
    if (list_empty(&o->idle)) {
        enum err e = wait_for_connection(o, x);
        if (e) {
            x->origin = NULL;
            return e;
        }
    } else {
        http_exchange_begin(container_of(o->idle.next, struct http_connection, link), x);
    }
    o->refs++;
    c->stats.exchanges_under_way++;
    loop_timer_init(&x->timer, too_late);
    loop_timer_start(c->loop, &x->timer, x->timeout_ns);
    return OK;
}

void http_exchange_cancel(struct http_exchange *x)
{
    struct http_origin *o = x->origin;
    struct http_connection *k = x->connection;
    assert(o);
    loop_timer_stop(o->client->loop, &x->timer);
    o->client->stats.exchanges_under_way--;
    if (k) {
        http_exchange_detach(k);
        http_pool_drop(k);
    } else {
        unqueue(x);
    }
    x->origin = NULL;
    http_origin_unref(o);
}
