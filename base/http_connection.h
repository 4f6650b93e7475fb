/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the HTTP server: one loop's server, its connections, and what the server's files ask of each other. Everything
 * runs on the server's loop, but http_server_adopt's letter, which is posted from the listener's.
 *
 *   http_listener.c  accepts, deals          http_server.c    connections come and go; drain, free
 *   http_request.c   a request's way in      http_answer.c    its way out
 *   http_stream.c    answers without end     http_deadline.c  lists of deadlines, the lingering close
 *   http_guard.c     what a clean head is    http_parse.c     chunks
 *   http_tls.c       TLS underneath          http_asked.c     what handlers read
 *
 * Invariants:
 *  1. What a handler was shown of a request (lines, path, body) stays where it is until the request is over: a block is
 *     moved or grown only before its head was handed over, a body only while it is not whole.
 *  2. A connection is freed by http_request_drop alone, and that is called from the socket's watch, from a deadline or
 *     from a task, never inside a handler's call of http_respond.
 *  3. A request that a handler holds unanswered outlives its client: its end is found when it is answered.
 */
#ifndef LEAT_HTTP_CONNECTION_H
#define LEAT_HTTP_CONNECTION_H

#include <sys/socket.h>

#include "buf.h"
#include "http_guard.h"
#include "http_parse.h"
#include "http_server.h"
#include "list.h"
#include "loop.h"

/* Limits, with their reasons. */
/* Lines of a head that need no memory of their own: more than any known client sends. */
#define HTTP_BLOCK_LINES 64
/* A block with its lines is 16 KiB: typical events fit into it whole, and it comes from the allocator's own memory. */
#define HTTP_BLOCK_BYTES ((16u << 10) - HTTP_BLOCK_LINES * sizeof(struct http_header) - 64)
/* Blocks that a server keeps for the next requests: 1 MiB. Most requests are over in the turn in which they come, so
 * that few blocks serve all connections, and those stay in the processor's caches. */
#define HTTP_SPARE_BLOCKS_MAX 64
/* What each line of a head counts for beside its bytes. */
#define HTTP_LINE_COST 64
/* How many requests of one connection are served in a row before others have their turn. */
#define HTTP_ROW_MAX 8
/* How long, and for how many at once, a refused client's remaining bytes are read and dropped, so that it can read the
 * answer. Beyond, the connection is just closed. */
#define HTTP_LINGER_NS (5 * NS_PER_S)
#define HTTP_LINGERS_MAX 256

/* Each kind has one fixed period, so that each list is in order of its deadlines without sorting. */
enum http_due_kind {
    HTTP_DUE_HEAD,   /* the head, from its first byte (of a new connection: from its opening) */
    HTTP_DUE_BODY,   /* the body, from the end of the head */
    HTTP_DUE_SEND,   /* the client takes its answer, from when it could not be sent at once */
    HTTP_DUE_IDLE,   /* the next request, from the end of the last one */
    HTTP_DUE_LINGER, /* see http_linger_start */
    HTTP_DUE_KINDS
};

struct http_due {
    struct list link; /* in the server's list of its kind, or in none */
    uint64_t at_ns;
};

/* What a request waits for. */
enum http_phase {
    HTTP_IDLE,     /* no byte of it yet */
    HTTP_HEAD,     /* a part of its head is there */
    HTTP_BODY,     /* the head is there and the handler knows of it */
    HTTP_COMPLETE, /* all of it is there: it waits for the handler's answer */
    HTTP_SENDING   /* the answer is on its way */
};

/* Received bytes: what is left of earlier requests is gone, then the head, what came of the body, and what came of the
 * requests behind. */
struct http_block {
    struct http_block *next; /* among the spare ones */
    size_t len, cap;
    struct http_header lines[HTTP_BLOCK_LINES];
    char bytes[];
};

/* A connection and the request under way on it: HTTP/1.1 has one at a time, so what a request needs is kept for the
 * next. */
struct http_request {
    struct http_server *server;
    int fd;                  /* owned */
    struct ssl_st *tls;      /* owned: all bytes pass through it; NULL: a plain connection */
    bool tls_open;           /* its handshake is over, and nothing has gone wrong with it */
    struct loop_watch watch; /* of none when the client of a held request has gone */
    struct list link;        /* in server->open */
    struct list todo;        /* in server->settle or server->more, or in none */
    struct http_due due;
    enum http_due_kind waits_for; /* the deadline that runs; HTTP_DUE_KINDS: none */
    struct http_block *block;     /* owned, NULL when nothing was received that is not used up */
    size_t at;                    /* in the block: where what is not used up begins */
    struct buf out;               /* owned: what could not be sent at once */
    size_t sent;                  /* of it */
    bool eof;                     /* the client has sent all it will send */
    bool broken;                  /* the connection carries no answer any more */
    bool ended;                   /* its last answer is with the client */

    /* From here on: of one request. */
    enum http_phase phase;
    bool handed;      /* the handler's head ran, so its close is owed */
    bool in_handler;  /* a callback of the handler is on the stack */
    bool answered;    /* the handler answered */
    bool close_after; /* the connection goes with this answer */
    bool linger;      /* it goes with bytes of the client unread */
    bool streaming, stream_ended, stream_chunked;
    bool in_place;                 /* the body lies in the block, behind the head */
    void *state;                   /* the handler's */
    void *route;                   /* of whoever routes requests to several handlers */
    struct http_guard head;        /* what was read of the head, and what it says */
    struct http_header *lines_own; /* owned: the lines when they are more than a block has room for */
    size_t body_max;
    size_t body_at, body_len; /* what came of the body; in place it begins at body_at in the block */
    struct buf body;          /* owned: it, otherwise */
    struct http_parse chunks; /* of a chunked body, over `body` */
    size_t buffered_max;      /* of a stream */
};

struct http_server {
    struct loop *loop;
    struct http_server_options options; /* with the defaults filled in */
    char *flag_head_bytes;              /* owned copy, or NULL */
    struct http_handler handler;
    void *arg;
    bool draining, stopping;
    struct http_inbox *inbox; /* counted: letters hold it too */
    struct list open;         /* all connections */
    struct list settle;       /* answered, or written to, outside of a callback: looked at when the turn ends */
    struct loop_task settle_task;
    struct list more; /* there is input in hand: served in the next turn */
    struct loop_timer more_timer;
    struct http_block *spare;
    unsigned spares;
    struct list due[HTTP_DUE_KINDS];
    uint64_t period_ns[HTTP_DUE_KINDS];
    struct loop_timer due_timer;
    uint64_t due_timer_at_ns; /* when it is armed */
    unsigned lingers;
    char date[40]; /* the line of now, which holds until date_until_ns */
    size_t date_len;
    uint64_t date_until_ns;
    size_t busy;                    /* atomic */
    struct http_server_stats stats; /* atomic, each counter by itself */
};

/* Counters are written on the loop and read by anyone. */
#define http_count(counter, n) __atomic_store_n(&(counter), (counter) + (n), __ATOMIC_RELAXED)

/* ---- http_server.c ---- */
/* From any thread: the connection is the server's from here on, whatever comes. */
void http_server_adopt(struct http_inbox *inbox, struct loop *from, int fd);
struct http_inbox *http_server_inbox_ref(struct http_server *s);
void http_inbox_unref(struct http_inbox *inbox);
/* A block of the usual size, or NULL without memory; and back. NULL is fine. */
struct http_block *http_block_get(struct http_server *s);
void http_block_put(struct http_server *s, struct http_block *block);

/* ---- http_request.c ---- */
/* Takes the connection in; on failure it is closed. */
enum err http_request_open(struct http_server *s, int fd) must_check;
/* The end of the connection: the handler's close runs. */
void http_request_drop(struct http_request *r);
/* Refuses what is under way with an answer, and closes the connection. It may be gone afterwards. */
void http_request_refuse(struct http_request *r, int status, const char *text);
/* Goes on with what is there: sends, ends the request, begins the next. The connection may be gone afterwards. */
void http_request_settle(struct http_request *r);

/* Goes on in a later turn: with what there is, or with what TLS has unwrapped already. It may be gone afterwards. */
void http_request_again(struct http_request *r);

/* ---- http_tls.c ---- */
/* The connection speaks TLS: false without memory; http_tls_end then, too. */
bool http_tls_start(struct http_request *r);
/* Whether the handshake is over and the socket's event is for the connection; else the connection may be gone. */
bool http_tls_ready(struct http_request *r);
/* As recv: 0 is the client's end, EAGAIN: nothing now. */
ssize_t http_tls_recv(struct http_request *r, char *at, size_t room);
/* How many bytes were taken, as transmit has it. */
size_t http_tls_send(struct http_request *r, const char *bytes, size_t len);
/* Whether there are bytes that no event of the socket will tell of. */
bool http_tls_pending(const struct http_request *r);
/* Says the end, where that is still possible, and frees it; the socket stays. */
void http_tls_end(struct http_request *r);

/* ---- http_answer.c ---- */
/* Sends what waits, as far as it goes now. */
void http_answer_send(struct http_request *r);
/* Something was answered or written: goes on at once when no callback is on the stack, which is never, else soon. */
void http_answer_soon(struct http_request *r);
/* The head of an answer, up to its own lines for framing and connection. */
void http_answer_head(struct http_request *r, struct buf *out, int status, const struct http_header *headers,
                      size_t count);
/* Nothing of an answer will arrive any more. */
void http_answer_break(struct http_request *r);

/* ---- http_deadline.c ---- */
void http_deadlines_init(struct http_server *s);
void http_deadlines_fini(struct http_server *s);
void http_due_start(struct http_server *s, struct http_due *due, enum http_due_kind kind);
void http_due_stop(struct http_due *due);
/* Takes the socket: it is closed when the client has sent all it will, or in a while. */
void http_linger_start(struct http_server *s, int fd);

#endif
