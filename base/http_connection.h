/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the HTTP server: one loop's server, its connections, and what the server's files ask of each other. Everything
 * runs on the server's loop, but http_server_adopt's letter, which is posted from the listener's.
 *
 *   http_listener.c  accepts, deals          http_server.c    the daemon, when it runs, drain, free
 *   http_request.c   a request's way in      http_answer.c    its way out
 *   http_stream.c    answers without end     http_deadline.c  lists of deadlines, raw answers, lingering close
 *   http_guard.c     what a clean head is
 */
#ifndef LEAT_HTTP_CONNECTION_H
#define LEAT_HTTP_CONNECTION_H

#include <microhttpd.h>
#include <sys/socket.h>

#include "buf.h"
#include "http_guard.h"
#include "http_server.h"
#include "list.h"
#include "loop.h"

/* Limits, with their reasons. */
/* What stays with a connection from one request to the next: typical events are smaller, and idle ones shall be cheap.
 */
#define HTTP_KEPT_BODY_BYTES (16u << 10)
#define HTTP_KEPT_LINES 64
/* How often an unanswered request is asked again before it is suspended: see http_request.c. */
#define HTTP_RECALLS_MAX 2
/* How long, and for how many at once, a refused client's remaining bytes are read and dropped, so that it can read the
 * answer. Beyond, the connection is just closed. */
#define HTTP_LINGER_NS (5 * NS_PER_S)
#define HTTP_LINGERS_MAX 256

/* Each kind has one fixed period, so that each list is in order of its deadlines without sorting. */
enum http_due_kind {
    HTTP_DUE_HEAD,   /* the head, from the request line (of a new connection: from its opening) */
    HTTP_DUE_BODY,   /* the body, from the end of the head */
    HTTP_DUE_SEND,   /* the client takes its answer, from the end of the answer */
    HTTP_DUE_IDLE,   /* a look at a kept-alive connection, see http_deadline.c */
    HTTP_DUE_LINGER, /* see http_linger */
    HTTP_DUE_KINDS
};

struct http_due {
    struct list link; /* in the server's list of its kind, or in none */
    uint64_t at_ns;
};

/* What a request waits for. */
enum http_phase {
    HTTP_IDLE,     /* no request line yet */
    HTTP_HEAD,     /* the request line is there */
    HTTP_BODY,     /* the head is there and the handler knows of it */
    HTTP_COMPLETE, /* all of it is there: it waits for the handler's answer */
    HTTP_SENDING   /* the answer is with libmicrohttpd */
};

struct http_stream {
    struct http_request *request;
    struct loop_watch watch; /* for the client's leaving */
    struct buf waiting;      /* owned */
    size_t taken;            /* bytes of `waiting` that libmicrohttpd has already */
    size_t buffered_max;
    bool ended;
    bool gone; /* the client left, or memory ran out */
};

/* A connection and the request under way on it: HTTP/1.1 has one at a time, so what a request needs is kept for the
 * next. */
struct http_request {
    struct http_server *server;
    struct MHD_Connection *connection;
    int fd;                  /* libmicrohttpd's */
    struct list link;        /* in server->open */
    struct list answer_link; /* in server->answered, or in none */
    struct http_due due;
    uint64_t idle_since_ns;
    uint64_t consumed;   /* bytes of all complete requests; what came beyond is the beginning of the next */
    bool consumed_known; /* chunk framing cannot be counted */
    bool linger;         /* closes with bytes of the client unread */

    /* From here on: of one request. */
    enum http_phase phase;
    bool handed;      /* the handler's head ran, so its close is owed */
    bool in_handler;  /* a callback of the handler is on the stack: its answer is queued when it returns */
    bool answered;    /* the handler answered */
    bool suspended;   /* taken out of libmicrohttpd's care until it is resumed */
    bool close_after; /* the answer says Connection: close */
    bool refused;     /* answered past libmicrohttpd, by http_answer_raw */
    unsigned recalls; /* see HTTP_RECALLS_MAX */
    struct slice method;
    struct http_plan plan;
    struct slice target;       /* as sent; in libmicrohttpd's memory or in target_copy */
    struct buf target_copy;    /* owned; only when there is a query, which libmicrohttpd overwrites */
    struct http_header *lines; /* owned array; the bytes are libmicrohttpd's and stay until the request is over */
    size_t line_count, line_cap;
    struct buf body; /* owned */
    size_t body_max;
    void *state; /* the handler's */
    void *route; /* of whoever routes requests to several handlers */
    unsigned status;
    struct MHD_Response *response; /* answered, not queued; ours to destroy unless shared */
    bool response_shared;
    struct http_stream *stream; /* owned or NULL */
};

/* A refused client's socket, kept open a little so that closing it does not destroy the answer under way to it. */
struct http_linger {
    struct http_due due;
    struct loop_watch watch;
    struct http_server *server;
};

struct http_server {
    struct loop *loop;
    struct http_server_options options; /* with the defaults filled in */
    char *flag_head_bytes;              /* owned copy, or NULL */
    struct http_handler handler;
    void *arg;
    struct MHD_Daemon *daemon;
    struct loop_watch watch; /* the daemon's epoll descriptor */
    struct loop_task again;  /* runs the daemon at the end of the turn */
    struct loop_timer later; /* runs the daemon in the next turn */
    unsigned again_count;    /* how often in a row by `again` */
    bool running;            /* the daemon is on the stack */
    bool draining, stopping;
    struct http_inbox *inbox;      /* counted: letters hold it too */
    struct http_request *incoming; /* the connection being added, for the daemon's notice of it */
    struct list open;              /* all connections */
    struct list answered;          /* answered while the daemon was on the stack for another request */
    struct list due[HTTP_DUE_KINDS];
    uint64_t period_ns[HTTP_DUE_KINDS];
    struct loop_timer due_timer;
    uint64_t due_timer_at_ns; /* when it is armed */
    unsigned lingers;
    struct MHD_Response *empty[2];  /* answers without body and headers; [1] closes the connection */
    size_t busy;                    /* atomic */
    struct http_server_stats stats; /* atomic, each counter by itself */
};

/* Counters are written on the loop and read by anyone. */
#define http_count(counter, n) __atomic_store_n(&(counter), (counter) + (n), __ATOMIC_RELAXED)

/* ---- http_server.c ---- */
/* From any thread: the connection is the server's from here on, whatever comes. */
void http_server_adopt(struct http_inbox *inbox, struct loop *from, int fd, const struct sockaddr *address,
                       socklen_t address_len);
struct http_inbox *http_server_inbox_ref(struct http_server *s);
void http_inbox_unref(struct http_inbox *inbox);
/* The daemon has something to do: it runs at the end of this turn. */
void http_server_wake(struct http_server *s);

/* ---- http_request.c: the daemon's callbacks ---- */
void *http_request_begin(void *arg, const char *target, struct MHD_Connection *connection);
size_t http_request_unescape(void *arg, struct MHD_Connection *connection, char *text);
enum MHD_Result http_request_continue(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                      const char *version, const char *data, size_t *data_len, void **request);
void http_request_over(void *arg, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode how);
/* A new connection's state, or NULL. */
struct http_request *http_request_new(struct http_server *s, int fd);
void http_request_free(struct http_request *r);

/* ---- http_answer.c ---- */
enum err http_answers_init(struct http_server *s) must_check;
void http_answers_fini(struct http_server *s);
/* The answer is there: hands it over now, or when the daemon is off the stack. */
void http_answer(struct http_request *r, unsigned status, struct MHD_Response *response, bool shared);
/* Hands the answer to the daemon. */
enum MHD_Result http_answer_queue(struct http_request *r);
/* For those answered while the daemon was on the stack. */
void http_answers_flush(struct http_server *s);
/* Adds headers, and Connection: close when asked for; a header that cannot be sent is left out. False when memory ran
 * out. */
bool http_answer_headers(struct http_request *r, struct MHD_Response *response, const struct http_header *headers,
                         size_t count);
/* Drops an answer that was not queued. */
void http_answer_drop(struct http_request *r);

/* ---- http_stream.c ---- */
void http_stream_free(struct http_stream *stream);

/* ---- http_deadline.c ---- */
void http_deadlines_init(struct http_server *s);
void http_deadlines_fini(struct http_server *s);
void http_due_start(struct http_server *s, struct http_due *due, enum http_due_kind kind);
void http_due_stop(struct http_due *due);
/* One whole answer written straight to the socket, where libmicrohttpd gives no way to. The caller sees to it that the
 * connection closes. */
void http_answer_raw(struct http_request *r, int status, const char *reason, const char *text);
/* Keeps the socket open, through a duplicate, while the client still sends. */
void http_linger_start(struct http_server *s, int fd);
/* Whether bytes came that belong to a request not yet begun. */
bool http_request_pending(const struct http_request *r);

#endif
