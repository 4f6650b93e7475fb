/* SPDX-License-Identifier: Apache-2.0
 *
 * A link from inside (rabbitmq_link.h): what its files share. All of it belongs to the link's thread.
 *
 *     rabbitmq_link.c      life and thread; a connection lost; bytes in and out; heartbeats
 *     rabbitmq_connect.c   hosts, addresses, TCP, TLS; again after a while
 *     rabbitmq_resolve.c   names to addresses
 *     rabbitmq_login.c     methods of channel 0: login, blocked, close
 *     rabbitmq_channel.c   channels: opened, closed; calls and their answers
 *     rabbitmq_content.c   messages: published, returned, delivered, settled, confirmed
 *
 * Invariants:
 *  1. A connection is taken down in one place, link_down, which runs from the loop and never within a call of the user
 *     or a callback to it: who finds the connection broken says so by rabbitmq_lose, and from then on it counts as not
 *     up. So a callback may do what it likes, and what it was given stays valid until it returns.
 *  2. A channel is freed in one place, channel_end's, when its `closed` has returned; none of its callbacks is on the
 *     stack then, since frames are taken one by one and each runs one callback of its channel at most.
 *  3. What is to be sent lies in `out` whole frames only; out[0, out_at) is sent.
 */
#ifndef LEAT_CLIENTS_RABBITMQ_CONN_H
#define LEAT_CLIENTS_RABBITMQ_CONN_H

#include <amqp.h>
#include <amqp_framing.h>

#include "buf.h"
#include "list.h"
#include "loop.h"
#include "prng.h"
#include "rabbitmq_link.h"
#include "rabbitmq_private.h"
#include "rabbitmq_socket.h"
#include "rabbitmq_wire.h"

#define RABBITMQ_READ_BYTES (64u << 10) /* asked of the socket at once, at least */

enum rabbitmq_state {
    RABBITMQ_IDLE,       /* waits to try again */
    RABBITMQ_CONNECTING, /* TCP */
    RABBITMQ_SECURING,   /* TLS */
    RABBITMQ_STARTING,   /* protocol header sent; connection.start is to come */
    RABBITMQ_TUNING,     /* start-ok sent; connection.tune is to come */
    RABBITMQ_OPENING,    /* tune-ok and connection.open sent; open-ok is to come */
    RABBITMQ_OPEN,
    RABBITMQ_LEAVING, /* connection.close sent */
};

struct rabbitmq_call_made {
    struct list of_channel, of_link; /* in the order of the calls; of their deadlines */
    struct rabbitmq_channel *channel;
    uint32_t answer;   /* the method that is to come */
    uint64_t consumer; /* hash of the tag that the answer names; 0: it names none, or the server chooses it */
    rabbitmq_answer_fn *done;
    void *arg;
    unsigned ms;
    uint64_t due_ns; /* that much later */
};

/* A message whose frames come in. What they hold is copied, but a body that is one frame. */
struct rabbitmq_content {
    enum { RABBITMQ_NO_CONTENT, RABBITMQ_WANT_HEADER, RABBITMQ_WANT_BODY } wants;
    uint32_t method;   /* AMQP_BASIC_DELIVER_METHOD, AMQP_BASIC_RETURN_METHOD */
    size_t method_len; /* of `head`: its arguments; behind them the header's payload */
    struct buf head, body;
    uint64_t body_bytes, got;
    bool too_large;
};

struct rabbitmq_channel {
    struct rabbitmq_link *link;
    uint16_t number;
    const struct rabbitmq_channel_events *events;
    void *arg;
    enum {
        RABBITMQ_LIVE,
        RABBITMQ_CLOSING,
        RABBITMQ_DEAD
    } state; /* CLOSING: by its user; DEAD: `closed` was told, the
                server has not let go of the number yet */
    struct list calls;
    bool confirms;
    uint64_t sequence; /* of the last message published in confirm mode */
    struct rabbitmq_content content;
};

struct rabbitmq_link {
    struct rabbitmq_client *client;
    struct rabbitmq_link_config config; /* `name` is owned */
    pthread_t thread;
    struct loop *loop;
    struct letter start, stop;
    bool left; /* stop was sent; of the thread that frees it */
    bool stopping;
    struct prng prng;

    enum rabbitmq_state state;
    struct rabbitmq_lookup *lookup;       /* under way */
    struct addrinfo *addresses, *address; /* of the host that is tried; the one in hand */
    size_t host, tried;                   /* index; how many were in this round */
    unsigned delay_ms;                    /* the last wait between rounds */
    uint64_t open_ns;                     /* since when it is OPEN */
    bool failed, told_down;               /* the client was told; the user was */
    struct rabbitmq_why round;            /* what stands for the failures of this round; e: OK of none */
    struct rabbitmq_server server;
    char address_text[300], product[64], version[64];

    bool lost; /* rabbitmq_lose was called: link_down follows */
    struct rabbitmq_why why;
    unsigned why_code; /* of connection.close */

    struct rabbitmq_socket socket;
    struct loop_watch watch;
    struct loop_timer retry, deadline, pulse, overdue;
    struct loop_task settle; /* at the end of a turn: takes the connection down, or sends */
    char *in;                /* room for in_cap bytes; [in_at, in_len) was not read yet */
    size_t in_at, in_len, in_cap;
    struct buf out;
    size_t out_at;
    bool starved; /* rabbitmq_publish said ERR_FULL */
    uint64_t heard_ns, sent_ns;
    uint32_t frame_max;

    bool blocked;
    char blocked_why[256];
    struct rabbitmq_channel **channels; /* by number; [0] is none */
    size_t channel_room;
    uint16_t channel_last, channel_count;
    struct list calls; /* by their deadlines */
    unsigned call_count;
    amqp_pool_t pool; /* what is decoded, until its callback returned */
};

/* ---- rabbitmq_link.c ---- */

/* A link without its thread, and its end: for tests, which turn its loop themselves. */
enum err rabbitmq_link_make(struct rabbitmq_client *k, const struct rabbitmq_link_config *config,
                            struct rabbitmq_link **out) must_check;
void rabbitmq_link_destroy(struct rabbitmq_link *l);

/* The connection is not usable any more; the first reason counts. The text goes behind the address. */
void rabbitmq_lose(struct rabbitmq_link *l, enum err e, enum rabbitmq_cause cause, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void rabbitmq_lose_because(struct rabbitmq_link *l, const struct rabbitmq_why *why);
/* Whether also room for writing is waited for. */
void rabbitmq_watch(struct rabbitmq_link *l, bool room);
void rabbitmq_on_socket(struct loop_watch *w, uint32_t events);
void rabbitmq_pulse(struct loop_timer *t);
/* Something was put into l->out. */
void rabbitmq_send_later(struct rabbitmq_link *l);
/* Appends a method, or loses the connection. For what the protocol owes, and what cannot be refused. */
void rabbitmq_send_method(struct rabbitmq_link *l, uint16_t channel, uint32_t method, const void *decoded);
/* Sends what the socket takes now. */
void rabbitmq_flush(struct rabbitmq_link *l);
/* Decodes into l->pool; NULL: it lost the connection. */
void *rabbitmq_decode(struct rabbitmq_link *l, uint32_t method, struct slice arguments);

/* ---- rabbitmq_connect.c ---- */

/* The next address, of the next host; when all were tried, it waits. */
void rabbitmq_connect_next(struct rabbitmq_link *l);
/* Whether this round has more to try: until it has not, nothing is down. */
bool rabbitmq_connect_has_next(const struct rabbitmq_link *l);
/* Waits first. */
void rabbitmq_connect_later(struct rabbitmq_link *l);
/* The socket of a link that is CONNECTING or SECURING has something to tell. */
void rabbitmq_connect_go_on(struct rabbitmq_link *l);
void rabbitmq_connect_again(struct loop_timer *retry);
void rabbitmq_connect_late(struct loop_timer *deadline);
/* Login is done. */
void rabbitmq_opened(struct rabbitmq_link *l);
/* For tests: begins the login on a socket that is connected, and takes the descriptor, instead of connecting to a host.
 */
void rabbitmq_link_adopt(struct rabbitmq_link *l, int fd);

/* ---- rabbitmq_resolve.c ---- */

/* Looks the host's addresses up; rabbitmq_resolved follows, at once or later, unless it is abandoned. */
void rabbitmq_resolve(struct rabbitmq_link *l, const struct rabbitmq_host *h);
void rabbitmq_resolve_abandon(struct rabbitmq_link *l);
/* rabbitmq_connect.c: what getaddrinfo returned (and errno), and what it found, which is ours. */
void rabbitmq_resolved(struct rabbitmq_link *l, int result, int error, struct addrinfo *addresses);

/* ---- rabbitmq_login.c ---- */

void rabbitmq_login_begin(struct rabbitmq_link *l);
/* The first bytes of a connection: whether it is AMQP that speaks there, or the connection is lost. */
bool rabbitmq_login_speaks_amqp(struct rabbitmq_link *l, struct slice bytes);
/* A method of channel 0. */
void rabbitmq_login_method(struct rabbitmq_link *l, const struct rabbitmq_frame *f);
/* Says good-bye. */
void rabbitmq_login_close(struct rabbitmq_link *l);

/* ---- rabbitmq_channel.c ---- */

/* A frame of a channel that is not 0. */
void rabbitmq_channel_frame(struct rabbitmq_link *l, const struct rabbitmq_frame *f);
/* All of them, when the connection is gone. */
void rabbitmq_channels_end(struct rabbitmq_link *l, enum err e, unsigned code, const char *text);
/* The oldest calls without an answer. */
void rabbitmq_calls_overdue(struct loop_timer *t);

/* ---- rabbitmq_content.c ---- */

/* basic.deliver and basic.return; content headers and bodies. */
void rabbitmq_content_begin(struct rabbitmq_channel *c, const struct rabbitmq_frame *f);
void rabbitmq_content_frame(struct rabbitmq_channel *c, const struct rabbitmq_frame *f);
/* basic.ack and basic.nack of the server. */
void rabbitmq_content_confirmed(struct rabbitmq_channel *c, const struct rabbitmq_frame *f);
void rabbitmq_content_fini(struct rabbitmq_content *content);

static inline struct slice rabbitmq_slice(amqp_bytes_t b)
{
    return slice_of(b.bytes, b.len);
}

#endif
