/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 requests, many at a time, on one loop. libcurl resolves, connects, and does TLS and proxies
 * (CURLOPT_CONNECT_ONLY); the exchange itself is written and parsed here, strictly (RFC 9112). Per origin and lane a
 * bounded pool of kept-alive connections; when all are busy, exchanges wait in order. Redirects are never followed.
 * Everything runs on the client's loop.
 */
#ifndef LEAT_HTTP_CLIENT_H
#define LEAT_HTTP_CLIENT_H

#include "err.h"
#include "http_header.h"
#include "loop.h"
#include "slice.h"

#define HTTP_RESPONSE_HEAD_MAX (64u << 10) /* a response head beyond is ERR_PROTOCOL */
#define HTTP_RESPONSE_HEADERS_MAX 128      /* header lines, trailers included */
#define HTTP_TIMEOUT_NS_DEFAULT (30ull * NS_PER_S)

struct http_client;
struct http_origin;
struct http_connection;

struct http_client_options {
    unsigned connections_max;                /* per origin and lane; 0: 32 */
    unsigned waiting_max;                    /* exchanges that may wait there before ERR_FULL; 0: 65536 */
    uint64_t connect_timeout_ns;             /* 0: 10 s */
    uint64_t idle_timeout_ns;                /* a connection unused that long is closed; 0: 60 s */
    const char *proxy;                       /* URL; NULL: none, whatever the environment says */
    const char *ca_file;                     /* PEM; NULL: the system's */
    const char *certificate_file, *key_file; /* PEM: shown to who asks for a client's certificate; NULL: none */
    bool insecure;                           /* https without verifying: for tests only */
};

/* `loop` and what the options point to must outlive it (strings are copied). */
enum err http_client_new(struct loop *loop, const struct http_client_options *options,
                         struct http_client **out) must_check;
/* Closes every connection; exchanges under way end with ERR_CLOSED before it returns. NULL is fine. Not from within a
 * done. Origins that are still referenced stay valid: exchanges on them are refused with ERR_CLOSED. */
void http_client_free(struct http_client *c);
struct loop *http_client_loop(const struct http_client *c);

/* An absolute http or https URL: scheme, host, port, path, query, checked and kept. User info is refused; a fragment is
 * ignored. */
struct http_url {
    char *text; /* owned, as written but with the "/" of an empty path; the slices below point into it */
    bool tls;
    struct slice host;      /* without brackets */
    struct slice authority; /* as for the Host header: port only when it is not the scheme's own */
    uint16_t port;
    struct slice target; /* origin-form: path and query, "/" when empty */
};
enum err http_url_parse(struct slice text, struct http_url *out, struct diag *d) must_check;
void http_url_fini(struct http_url *u);

/* The pool for one scheme, host and port; the same one for the same origin and lane. What is in different lanes never
 * waits for each other's connections; an empty lane is one like any other. Ref counted, on the loop. */
enum err http_origin_get(struct http_client *c, const struct http_url *url, struct slice lane,
                         struct http_origin **out) must_check;
struct http_origin *http_origin_unref(struct http_origin *o);

struct http_response {
    int status;
    const struct http_header *headers; /* in order, names as sent, values trimmed */
    size_t header_count;
    struct slice body; /* up to body_max bytes */
    bool body_cut;     /* more came than body_max; the connection is not reused then */
};

struct http_exchange;
/* Once per http_exchange_start, after it returned, unless canceled. OK with a response, or ERR_UNAVAILABLE,
 * ERR_TIMEOUT, ERR_PROTOCOL, ERR_CLOSED, ERR_NOMEM with response NULL and `detail` for people. All borrowed for the
 * callback. */
typedef void http_done_fn(struct http_exchange *x, enum err err, const struct http_response *response,
                          const char *detail);
/* A piece of the body as it came, borrowed; not to cancel or start exchanges from. */
typedef void http_data_fn(struct http_exchange *x, int status, struct slice piece);

/* One request and its response. Lies in the caller's structure; left alone until done or cancel. */
struct http_exchange {
    /* Set by the caller. The bytes must stay valid until done or cancel. */
    http_done_fn *done;
    struct slice
        head; /* request line and header lines, each with CR LF, and the empty line: complete. Written as it is */
    struct slice body;  /* sent after the head; Content-Length in the head must agree */
    http_data_fn *data; /* NULL, or for bodies without end: it gets the pieces, and done's response only what came since
                           the last of them */
    size_t body_max;    /* of the response that is kept; no matter with `data` */
    uint64_t timeout_ns; /* absolute, from start to the last byte of the answer, waiting for a connection included; 0:
                            HTTP_TIMEOUT_NS_DEFAULT */
    bool head_request;   /* the response has no body */
    /* Private to http_client. */
    struct http_origin *origin;
    struct http_connection *connection; /* NULL: waiting for one */
    struct list link;
    struct loop_timer timer;
    bool retried;
};

/* OK: done follows. ERR_FULL when too many wait, ERR_NOMEM, ERR_CLOSED: no done. A request on a reused connection that
 * the peer closes before a byte of the answer came is sent once more on a new connection, within the same timeout. */
enum err http_exchange_start(struct http_origin *o, struct http_exchange *x) must_check;
/* Withdraws; done never runs. A connection in the middle of it is closed. */
void http_exchange_cancel(struct http_exchange *x);

struct http_client_stats {
    uint64_t connections_opened, connections_open, exchanges_under_way, exchanges_waiting;
};
void http_client_stats(const struct http_client *c, struct http_client_stats *out);

#endif
