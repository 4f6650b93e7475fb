/* SPDX-License-Identifier: Apache-2.0
 *
 * What the three files of the HTTP client share: http_connect.c (libcurl: from an address to a connected socket),
 * http_pool.c (which connection an exchange gets), http_client.c (one exchange over one connection). Everything runs on
 * the client's loop.
 *
 * A connection is in exactly one list of its origin: connecting, idle or busy; it is busy if and only if it has an
 * exchange. An exchange that is under way has a connection, or is in its origin's list waiting or retrying; it holds a
 * reference to the origin. While an exchange is waiting no connection is idle.
 */
#ifndef LEAT_BASE_HTTP_POOL_H
#define LEAT_BASE_HTTP_POOL_H

#include <curl/curl.h>

#include "buf.h"
#include "http_client.h"
#include "http_parse.h"
#include "map.h"

/* Where all connections of a loop receive: an answer that comes in one piece, as nearly all do, is read, parsed and
 * handed over in here, so that connections own no memory while they are idle. */
#define HTTP_SCRATCH_BYTES (64u << 10)

struct http_client {
    struct loop *loop;
    struct http_client_options options; /* its zeros replaced; the strings are our own */
    CURLM *multi;
    struct loop_timer curl_timer;
    struct loop_task lost_task;
    struct list lost;        /* busy connections that libcurl closed by itself */
    struct loop_timer sweep; /* closes idle connections; armed while there may be one */
    struct list origins;
    struct map origins_by_key;
    bool closing;
    struct http_client_stats stats;
    char detail[400]; /* the text of the failure that is being reported */
    struct http_header headers[HTTP_RESPONSE_HEADERS_MAX];
    char scratch[HTTP_SCRATCH_BYTES];
};

struct http_origin {
    struct list link;
    struct http_client *client; /* NULL: it was freed */
    unsigned refs;
    bool tls;
    uint16_t port;
    char *host;                         /* owned, without brackets */
    char *name;                         /* owned: "host:port" as shown to people */
    char *key;                          /* owned: scheme, name in lower case, and lane */
    struct list connecting, idle, busy; /* idle: the one used last comes first */
    struct list waiting, retrying;      /* exchanges; retrying: only for new connections, and before the others */
    unsigned connecting_count, open_count, waiting_count, retrying_count;
};

/* A socket that libcurl wants watched while it connects: two addresses at a time, and the resolver's; one to spare.
 * They lie in the connection because libcurl never recovers from a callback that fails. */
#define HTTP_CURL_WATCHES 4

struct curl_watch {
    struct loop_watch
        watch; /* of a duplicate of libcurl's descriptor, ours to close: libcurl closes its own without a word */
    struct http_connection *connection;
    int fd; /* libcurl's; -1: this one is free */
};

struct http_connection {
    struct curl_watch curl_watches[HTTP_CURL_WATCHES];
    struct loop_watch watch; /* the socket, once connected; fd -1 before and when libcurl closed it */
    struct list link, lost_link;
    struct http_origin *origin;
    CURL *easy;
    uint64_t idle_since_ns;
    bool open;   /* no longer connecting */
    bool reused; /* has carried a whole exchange */
    /* Of the exchange under way. */
    struct http_exchange *exchange;
    size_t sent;      /* bytes of head and body */
    bool blocked;     /* EPOLLOUT is watched */
    bool send_failed; /* nothing more is sent; what the peer said before is still read */
    bool answered;    /* a byte of the answer came */
    struct http_parse parse;
    struct buf in; /* an answer that came in pieces; empty while it is all in the client's scratch */
    char curl_error[CURL_ERROR_SIZE];
};

/* ---- http_connect.c ---- */
enum err http_connect_init(struct http_client *c) must_check;
void http_connect_fini(struct http_client *c);
/* Starts connecting; http_pool_connected or http_pool_unreachable follows, after it returned. ERR_NOMEM. */
enum err http_connection_open(struct http_origin *o) must_check;
/* Closes and frees it, in whatever state. It must have no exchange. */
void http_connection_close(struct http_connection *k);
/* OK: *n bytes, 0 at the end. ERR_PENDING: nothing yet. ERR_UNAVAILABLE: it broke. */
enum err http_connection_receive(struct http_connection *k, char *to, size_t cap, size_t *n) must_check;
/* Sends some of head and body, from k->sent on. OK: *n bytes. Else as above. */
enum err http_connection_send(struct http_connection *k, struct slice head, struct slice body, size_t *n) must_check;

/* ---- http_pool.c ---- */
/* Gives an open connection without exchange its next one, or puts it to the idle ones. `fresh`: it has just been made.
 */
void http_pool_serve(struct http_connection *k, bool fresh);
/* Closes a connection without exchange and sees to it that those who wait get another. */
void http_pool_drop(struct http_connection *k);
/* Opens one more connection where more wait than connect and the bound allows. Whether there is any connection, open or
 * connecting. */
bool http_pool_fill(struct http_origin *o);
void http_pool_connected(struct http_connection *k);
void http_pool_unreachable(struct http_connection *k, enum err err, const char *detail);

/* ---- http_client.c ---- */
/* Hands an idle connection an exchange and begins to send. */
void http_exchange_begin(struct http_connection *k, struct http_exchange *x);
/* Ends an exchange that is in no list and has no connection: runs done. */
void http_exchange_finish(struct http_exchange *x, enum err err, const struct http_response *response,
                          const char *detail);
/* Takes the exchange off its connection, which is then to be served or closed. */
struct http_exchange *http_exchange_detach(struct http_connection *k);
/* Something happened on a connected socket. */
void http_connection_ready(struct loop_watch *w, uint32_t events);
/* The connection ended, or broke, before the answer was whole. */
void http_connection_lost(struct http_connection *k);

#endif
