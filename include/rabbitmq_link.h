/* SPDX-License-Identifier: Apache-2.0
 *
 * A link: one connection to RabbitMQ on one thread with one loop, which connects, and connects again, for as long as
 * the link lives. Nothing on it blocks: requests are sent behind each other and their answers come by callback, a node
 * that stands still is found out by its heartbeats, and what is to be sent waits in a bounded buffer.
 *
 * All functions are for the link's thread but rabbitmq_link_new, _loop and _free; all callbacks come on it. Other
 * threads reach it by letters: loop_post(rabbitmq_link_loop(link), ...), channels/post.h; timers of the caller go on
 * the same loop. A callback may call everything here but rabbitmq_link_free.
 *
 *     new → connecting ──→ up (open channels, declare, consume) ──→ down ─┐
 *               ↑                                                         │ 0.1 s doubling to 3 s, with jitter
 *               └─────────────────────────────────────────────────────────┘
 *
 * A connection's channels die with it: each call that was not answered is (ERR_UNAVAILABLE), each channel's `closed`
 * comes, then `down`. What was sent without an answer may have arrived or not. Delivery tags and sequence numbers are
 * of one channel only.
 *
 * Requests are methods as rabbitmq-c has them in amqp_framing.h, so that there is one vocabulary:
 *
 *     amqp_queue_declare_t m = {.queue = ..., .durable = 1, .arguments = table};
 *     rabbitmq_call(c, AMQP_QUEUE_DECLARE_METHOD, &m, on_declared, me);      answer->decoded: amqp_queue_declare_ok_t
 *     rabbitmq_call(c, AMQP_BASIC_CONSUME_METHOD, ...);                      then `deliver`
 *     rabbitmq_call(c, AMQP_CONFIRM_SELECT_METHOD, ...);                     then `confirmed`
 *     rabbitmq_ack(c, tag, false);
 *
 * Calls of one channel need not wait for each other: a server does them in their order. Their answers come in it, too,
 * but those of basic.consume and basic.cancel, which the queue gives and which may come behind later ones. The first
 * call that is refused closes the channel, and all behind it fail with the same text.
 */
#ifndef LEAT_RABBITMQ_LINK_H
#define LEAT_RABBITMQ_LINK_H

#include <stdint.h>

#include "err.h"
#include "rabbitmq_client.h"
#include "slice.h"

struct loop;
struct amqp_basic_properties_t_; /* amqp_framing.h */

struct rabbitmq_link;
struct rabbitmq_channel;

#define RABBITMQ_CONNECT_MS 10000  /* TCP, TLS and login of one host; then the next one is tried */
#define RABBITMQ_RETRY_MS_MAX 3000 /* so that a node which is back has its links within 5 s */
#define RABBITMQ_ANSWER_MS 30000   /* of a call: a quorum queue on a busy node is declared within seconds */
#define RABBITMQ_FAREWELL_MS 5000  /* of the close of a channel: nothing but a process of the node has to end */
#define RABBITMQ_STALL_MS 30000    /* without heartbeats: how long a node may take nothing of what is sent */
#define RABBITMQ_CLOSE_MS 2000     /* of rabbitmq_link_free: what is unsent goes out and the close is answered */
#define RABBITMQ_CALLS_MAX 100000  /* unanswered ones of a link: beyond, a caller is mistaken */
#define RABBITMQ_FRAME_BYTES_MAX (128u << 10) /* what we offer, and the server's own default; it may say less */

struct rabbitmq_server {           /* what is connected; of the connection */
    const char *product, *version; /* "RabbitMQ", "3.10.8"; "" when it did not say */
    unsigned major, minor;         /* of the version; 0.0 when it is not a number */
    const char *address;           /* host:port, for people */
    uint32_t frame_bytes_max;      /* of a frame; a method or the properties of a message must fit into one */
    uint16_t channels_max;
    unsigned heartbeat_s; /* 0: none */
};

struct rabbitmq_link_events {
    /* The connection is open. `server` lives until `down`. */
    void (*up)(void *arg, const struct rabbitmq_server *server);
    /* It is gone, or the first round of attempts failed, of all hosts; not again before the next `up`. `why`: one
     * sentence for people, with the address. e: ERR_DENIED for credentials and rights, ERR_NOTFOUND for the vhost,
     * ERR_PROTOCOL for what does not speak AMQP or broke it, ERR_CLOSED by rabbitmq_link_free, ERR_NOMEM, else
     * ERR_UNAVAILABLE. It is connected again in any case but ERR_CLOSED. */
    void (*down)(void *arg, enum err e, const char *why);
    /* The node takes no messages (memory, disk): `why` is its reason; NULL: it does again. Also ended by `down`. */
    void (*blocked)(void *arg, const char *why);
    /* After rabbitmq_publish said ERR_FULL: there is room again. */
    void (*room)(void *arg);
};

struct rabbitmq_link_config {
    const char *name;                          /* shown as the connection's name: "leat default publisher" */
    size_t message_bytes_max;                  /* bodies of deliveries; a larger one is told without its body */
    size_t unsent_bytes_max;                   /* what rabbitmq_publish may leave in the buffer */
    unsigned mailbox_max;                      /* letters of loop_post */
    const struct rabbitmq_link_events *events; /* borrowed; members may be NULL */
    void *arg;
};

/* Starts the thread, which connects at once; *out is set before the first callback. ERR_NOMEM; ERR_IO when the system
 * has no thread or descriptor left. */
enum err rabbitmq_link_new(struct rabbitmq_client *k, const struct rabbitmq_link_config *config,
                           struct rabbitmq_link **out) must_check;
/* Any thread. */
struct loop *rabbitmq_link_loop(struct rabbitmq_link *l);
/* Any other thread, when nobody posts any more: begins what rabbitmq_link_free waits for, so that several links end
 * side by side. */
void rabbitmq_link_leave(struct rabbitmq_link *l);
/* Any other thread, when nobody posts any more; waits for at most RABBITMQ_CLOSE_MS. Runs
 * the letters that lie in the mailbox, sends what is unsent, closes; callbacks come until it returns: calls answered,
 * channels closed, `down` (ERR_CLOSED) when it was up. NULL is fine. */
void rabbitmq_link_free(struct rabbitmq_link *l);

bool rabbitmq_link_is_up(const struct rabbitmq_link *l);
/* The server's reason while it takes no messages; else NULL. */
const char *rabbitmq_link_blocked(const struct rabbitmq_link *l);
/* Bytes written here that the system did not take yet. */
size_t rabbitmq_link_unsent(const struct rabbitmq_link *l);
/* Gives the connection up, as if it had been lost; `why` is told. */
void rabbitmq_link_reset(struct rabbitmq_link *l, enum err e, const char *why);

/* ---- channels of AMQP ---- */

struct rabbitmq_message { /* slices and properties until the callback returns */
    uint64_t tag;         /* of a delivery: what is acknowledged */
    bool redelivered;
    bool too_large;        /* beyond message_bytes_max: `body` is empty */
    struct slice consumer; /* its tag; empty of a returned message */
    struct slice exchange, routing_key;
    const struct amqp_basic_properties_t_ *properties;
    struct slice body;
    uint64_t body_bytes; /* as announced */
};

struct rabbitmq_channel_events { /* members may be NULL */
    void (*deliver)(void *arg, const struct rabbitmq_message *m);
    /* A mandatory message that no queue takes; its confirm comes behind it. `code`: 312 NO_ROUTE. */
    void (*returned)(void *arg, unsigned code, struct slice text, const struct rabbitmq_message *m);
    /* `sequence`: as rabbitmq_publish gave it; multiple: all up to it; ok: taken, else refused (basic.nack). */
    void (*confirmed)(void *arg, uint64_t sequence, bool multiple, bool ok);
    /* The server ended this consumer: its queue is gone, or its node. */
    void (*canceled)(void *arg, struct slice consumer);
    /* The last callback of the channel, which is freed behind it; its calls have been answered. e: OK after
     * rabbitmq_channel_close; ERR_TIMEOUT when an answer did not come; as rabbitmq_reply_err(code) by the server's own
     * doing; else as `down`. code: AMQP's, 0: none. */
    void (*closed)(void *arg, enum err e, unsigned code, const char *text);
};

/* Opened without waiting: calls and messages may follow at once. `events` is borrowed until `closed`.
 * ERR_UNAVAILABLE: the link is not up. ERR_FULL: the server's number of channels is reached. ERR_NOMEM. */
enum err rabbitmq_channel_open(struct rabbitmq_link *l, const struct rabbitmq_channel_events *events, void *arg,
                               struct rabbitmq_channel **out) must_check;
/* Says good-bye; of its events only answers and `closed` come from here on, the latter never within this call. What was
 * delivered and not settled goes back to its queues. More than once is fine. */
void rabbitmq_channel_close(struct rabbitmq_channel *c);
struct rabbitmq_link *rabbitmq_channel_link(const struct rabbitmq_channel *c);

struct rabbitmq_answer {
    enum err e;          /* OK, or why there is none, as `closed` has it */
    unsigned code;       /* of AMQP, 0: none */
    const char *text;    /* of a failure, for people: the server's own words first */
    uint32_t method;     /* AMQP_*_OK_METHOD; 0 of a failure */
    const void *decoded; /* its struct, until the callback returns; NULL of a failure */
};
typedef void rabbitmq_answer_fn(void *arg, const struct rabbitmq_answer *a);

/* A method with an answer: exchange.*, queue.*, basic.qos, basic.consume, basic.cancel, basic.recover, confirm.select,
 * tx.* (basic.get is not for this: its answer brings content). Everything is copied. `done` (may be NULL) comes exactly
 * once, never within this call; not when an error is returned: ERR_CLOSED of a channel that is closing, ERR_TOO_LARGE
 * beyond a frame, ERR_INVALID for what the library cannot encode (a name beyond 255 bytes), ERR_NOMEM, ERR_FULL. */
enum err rabbitmq_call(struct rabbitmq_channel *c, uint32_t method, const void *decoded, rabbitmq_answer_fn *done,
                       void *arg) must_check;

/* The same with a deadline of its own. RabbitMQ (3.10) may never answer what it was asked of a quorum queue while that
 * elected its leader, and does not answer the channel's close either; another connection is served at once. So who
 * knows that an answer is due soon sets a short time and, when it has passed, resets the link. */
enum err rabbitmq_call_within(struct rabbitmq_channel *c, unsigned ms, uint32_t method, const void *decoded,
                              rabbitmq_answer_fn *done, void *arg) must_check;

struct rabbitmq_publish {
    struct slice exchange, routing_key;
    bool mandatory;
    const struct amqp_basic_properties_t_ *properties;
    struct slice body; /* several frames where it needs them */
};
/* *sequence (may be NULL): the number that `confirmed` will name, from 1 with the channel's first message after
 * confirm.select was called; 0 without. Nothing is sent when an error is returned: ERR_UNAVAILABLE while the node takes
 * no messages, ERR_FULL beyond unsent_bytes_max (`room` follows), ERR_TOO_LARGE when the properties do not fit a frame,
 * ERR_CLOSED of a channel that is closing, ERR_INVALID for what cannot be encoded, ERR_NOMEM. */
enum err rabbitmq_publish(struct rabbitmq_channel *c, const struct rabbitmq_publish *p, uint64_t *sequence) must_check;

/* Settling. Of a channel that is closing: nothing happens. Without memory the connection is given up, so that all comes
 * again. */
void rabbitmq_ack(struct rabbitmq_channel *c, uint64_t tag, bool multiple);
void rabbitmq_nack(struct rabbitmq_channel *c, uint64_t tag, bool multiple, bool requeue);

#endif
