/* SPDX-License-Identifier: Apache-2.0
 *
 * A server of AMQP 0.9.1 that does what a test wants: a thread that takes connections on loopback, one after the other,
 * and runs a function with blocking calls for each. It can say everything wrong that there is; nothing in it sleeps,
 * what hangs meets the alarm. A call that fails since the peer is stopped ends the script (peer->over), and the calls
 * behind it do nothing.
 */
#ifndef LEAT_TESTS_AMQP_PEER_H
#define LEAT_TESTS_AMQP_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <amqp.h>
#include <amqp_framing.h>

#include "slice.h"

struct amqp_peer;
typedef void amqp_peer_fn(struct amqp_peer *p);

struct amqp_peer {
    int listener, stop;
    uint16_t port;
    pthread_t thread;
    amqp_peer_fn *script; /* for each connection; it is closed behind it */
    void *arg;
    atomic_int connections; /* taken so far; in a script: the number of this one, from 1 */
    int fd;
    bool over;                   /* the other side is gone, or the peer is stopped */
    amqp_connection_tune_t tune; /* what amqp_peer_login offers; 0: 2047, 131072, 60 */
    amqp_pool_t pool;
    char in[1 << 18];
    size_t in_at, in_len;
    char user[300]; /* of the last login: as sent by PLAIN, with ':' for NUL; "" of EXTERNAL */
    char vhost[300];
    /* The frame read last. */
    uint8_t type;
    uint16_t channel;
    amqp_method_number_t method;
    void *decoded; /* of a method, until the next one is read */
    struct slice payload;
};

void amqp_peer_start(struct amqp_peer *p, amqp_peer_fn *script, void *arg);
/* Also ends a script that waits. */
void amqp_peer_stop(struct amqp_peer *p);

/* ---- in scripts ---- */

void amqp_peer_raw(struct amqp_peer *p, const void *bytes, size_t len);
/* A frame whose payload may be anything. */
void amqp_peer_frame(struct amqp_peer *p, unsigned type, unsigned channel, const void *payload, size_t len);
void amqp_peer_method(struct amqp_peer *p, unsigned channel, amqp_method_number_t method, const void *decoded);
void amqp_peer_header(struct amqp_peer *p, unsigned channel, uint64_t body_bytes,
                      const amqp_basic_properties_t *properties);
void amqp_peer_body(struct amqp_peer *p, unsigned channel, const void *bytes, size_t len);
/* A whole message to a consumer. */
void amqp_peer_deliver(struct amqp_peer *p, unsigned channel, uint64_t tag, const char *body);
/* Reads one frame into the fields above; false: there is none any more. */
bool amqp_peer_read(struct amqp_peer *p);
/* Reads on until this method comes. */
bool amqp_peer_expect(struct amqp_peer *p, amqp_method_number_t method);
/* Reads the protocol header. */
void amqp_peer_greeted(struct amqp_peer *p);
/* The steps of a login, each with all before it. */
void amqp_peer_started(struct amqp_peer *p);  /* start was sent */
void amqp_peer_start_ok(struct amqp_peer *p); /* start-ok was read */
void amqp_peer_tuned(struct amqp_peer *p);    /* tune was sent, tune-ok and open read */
void amqp_peer_login(struct amqp_peer *p);    /* open-ok was sent */
/* Answers channel.open, and everything of usual kinds (declare, bind, consume, qos, confirm.select, close ...) until
 * the other side is gone. Stops before a method `until` (0: none), which is read then. */
void amqp_peer_serve(struct amqp_peer *p, amqp_method_number_t until);
/* Reads and forgets until the other side is gone. */
void amqp_peer_drain(struct amqp_peer *p);
/* Waits until the other side is gone or the peer is stopped; reads nothing. */
void amqp_peer_hang(struct amqp_peer *p);

#endif
