/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP/1.1 server inside our loops, one per loop, and one acceptor that deals new connections to the loops in turn.
 * Before a handler sees a request its head has passed the guard (http_guard.h), which is strict.
 *
 * Everything of a request happens on the loop of its connection.
 */
#ifndef LEAT_HTTP_SERVER_H
#define LEAT_HTTP_SERVER_H

#include "err.h"
#include "http_header.h"
#include "loop.h"
#include "slice.h"

struct http_server;   /* one loop's share */
struct http_listener; /* the socket, on the control loop */
struct http_request;

/* A certificate and its key in files (PEM), for servers that speak https: TLS 1.2 and 1.3, HTTP/1.1. Any number of
 * servers and threads. The process must ignore SIGPIPE. */
struct http_tls;
/* What came of looking at files that have changed: OK, or why the old ones go on to count. On any thread, under a lock
 * that new connections need. */
typedef void http_tls_report_fn(void *arg, enum err e, const char *why);
/* ERR_INVALID with *d: they cannot be read, or do not belong together. `report` may be NULL. */
enum err http_tls_new(const char *certificate_file, const char *key_file, http_tls_report_fn *report, void *arg,
                      struct http_tls **out, struct diag *d) must_check;
/* Reads the files now; else it happens with the next connection after they have changed. Connections stay. */
void http_tls_reload(struct http_tls *t);
void http_tls_free(struct http_tls *t); /* after the servers; NULL is fine */

struct http_server_options {
    struct http_tls *tls;        /* borrowed, outlives the server; NULL: plain HTTP */
    size_t head_bytes_max;       /* request line and headers, with 64 bytes more for each line; 431 beyond. 0: 32 KiB */
    uint64_t head_timeout_ns;    /* absolute, from the first byte; 408 beyond. 0: 10 s */
    uint64_t body_timeout_ns;    /* absolute, from the end of the head; 408 beyond. 0: 30 s */
    uint64_t idle_timeout_ns;    /* a kept-alive connection without a request; closed silently. 0: 75 s */
    unsigned connections_max;    /* per server; further ones are closed at once and counted. 0: 10000 */
    const char *flag_head_bytes; /* named in the message of a 431, e.g. "--max-headers"; NULL: none named */
};

/* What a server does with requests. One table per kind of endpoint; `arg` is the http_server_new argument. */
struct http_handler {
    /* The head is there and clean. The handler may answer at once (the body is then not read: 413, 404, 401 ...), or
     * set limits and return. Content-Length above the body limit set here is answered 413 by the server before the body
     * is read. */
    void (*head)(struct http_request *r, void *arg);
    /* NULL or: each piece of the body as it arrives, beside being collected. After an answer here the rest is read and
     * dropped, and `end` is not called. */
    void (*data)(struct http_request *r, struct slice piece);
    /* The whole body is there: http_request_body. Answer now, or later on this loop. */
    void (*end)(struct http_request *r);
    /* Always last, also when the client went away: the request is freed afterwards. May be NULL. */
    void (*close)(struct http_request *r);
};

enum err http_server_new(struct loop *loop, const struct http_server_options *options,
                         const struct http_handler *handler, void *arg, struct http_server **out) must_check;
/* Takes no further requests: each connection is closed after the answer under way (Connection: close). On the loop's
 * thread. */
void http_server_drain(struct http_server *s);
/* Requests that were begun and whose answer is not yet with the client's socket. Any thread. */
size_t http_server_busy(const struct http_server *s);
/* Closes everything; close callbacks run. NULL is fine. On the loop's thread, or after it ended. */
void http_server_free(struct http_server *s);

/* Listens on "127.0.0.1:8080", "[::1]:8080", ":8080" (all addresses) or "localhost:8080"; port 0 picks one. Deals
 * connections to `servers` (each on its own loop) in turn. ERR_EXISTS (address in use), ERR_DENIED, ERR_INVALID with *d
 * in words that say what to do. */
enum err http_listener_open(struct loop *control, const char *address, struct http_server *const *servers,
                            size_t server_count, struct http_listener **out, struct diag *d) must_check;
/* "127.0.0.1:41234": what was bound. Lives as long as the listener. */
const char *http_listener_address(const struct http_listener *l);
/* Whether only this machine reaches it: all its sockets are bound to loopback addresses. */
bool http_listener_is_loopback(const struct http_listener *l);
/* Stops accepting. NULL is fine. Before the servers are freed. */
void http_listener_close(struct http_listener *l);

/* ---- the request, for handlers ---- */
struct slice http_request_method(const struct http_request *r);
struct slice http_request_path(const struct http_request *r);  /* as sent, not decoded, without the query */
struct slice http_request_query(const struct http_request *r); /* after '?', as sent; empty when none */
struct slice http_request_host(const struct http_request *r);  /* the Host header, with port as sent */
/* Header lines in order; valid until the request is closed. */
const struct http_header *http_request_headers(const struct http_request *r, size_t *count);
bool http_request_header(const struct http_request *r, const char *name, struct slice *out);
/* The collected body; whole from `end` on. Valid until the request is closed. */
struct slice http_request_body(const struct http_request *r);
/* The client's address without its port, "127.0.0.1" or "::1"; "unknown" when it has gone. */
void http_request_peer(const struct http_request *r, char *out, size_t size);
struct loop *http_request_loop(const struct http_request *r);
void *http_request_arg(const struct http_request *r);
/* Body bytes allowed; to be set in `head`. 0 at first: an endpoint that takes a body must say how much. */
void http_request_allow_body(struct http_request *r, size_t bytes_max);
/* The handler's own pointer for this request. */
void http_request_set_state(struct http_request *r, void *state);
void *http_request_state(const struct http_request *r);
/* A second pointer, for a handler that routes requests to others which use the first. */
void http_request_set_route(struct http_request *r, void *route);
void *http_request_route(const struct http_request *r);

/* ---- the answer: exactly one of these per request, on its loop; everything is copied ---- */
/* `headers` need no Content-Length, Date or Connection. */
void http_respond(struct http_request *r, int status, const struct http_header *headers, size_t count,
                  struct slice body);
/* text/plain with one line for people; the newline is added. */
void http_respond_text(struct http_request *r, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A stream of unknown length (chunked), for watches: the head goes out at once. Then pieces until http_stream_end. */
void http_respond_stream(struct http_request *r, int status, const struct http_header *headers, size_t count,
                         size_t buffered_max);
/* ERR_FULL when more than buffered_max waits for the client (the caller then ends the stream), ERR_CLOSED when the
 * client went away. */
enum err http_stream_write(struct http_request *r, struct slice piece) must_check;
/* Bytes that wait for the client. */
size_t http_stream_waiting(const struct http_request *r);
void http_stream_end(struct http_request *r);

struct http_server_stats {
    uint64_t connections_accepted, connections_open, connections_refused, requests;
    uint64_t refused_guard, refused_timeout, refused_too_large, refused_head; /* 400 by the guard, 408, 413, 431 */
    uint64_t refused_tls; /* connections that ended in their handshake, other than by its deadline */
};
/* Any thread; each figure by itself is exact. */
void http_server_stats(const struct http_server *s, struct http_server_stats *out);

#endif
