/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes under a link: TCP, and TLS over it. Nothing blocks.
 */
#ifndef LEAT_CLIENTS_RABBITMQ_SOCKET_H
#define LEAT_CLIENTS_RABBITMQ_SOCKET_H

#include "rabbitmq_private.h"

struct addrinfo;
struct ssl_st;

struct rabbitmq_socket {
    int fd; /* -1: none */
    struct ssl_st *ssl;
    bool wants_write; /* of the last call that was ERR_PENDING: it waits for room rather than for bytes */
};

struct rabbitmq_why { /* why something failed */
    enum err e;
    enum rabbitmq_cause cause;
    char text[760]; /* what goes behind "RabbitMQ at host:port " */
};
enum err rabbitmq_why_set(struct rabbitmq_why *why, enum err e, enum rabbitmq_cause cause, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Begins. *s has a descriptor afterwards, of a socket without delay. */
enum err rabbitmq_socket_connect(struct rabbitmq_socket *s, const struct addrinfo *a,
                                 struct rabbitmq_why *why) must_check;
/* After it may be written: whether it is connected. */
enum err rabbitmq_socket_connected(struct rabbitmq_socket *s, struct rabbitmq_why *why) must_check;
/* TLS from here on; `host`: its name or address, sent, and checked if `verify`. */
enum err rabbitmq_socket_secure(struct rabbitmq_socket *s, struct ssl_ctx_st *tls, const char *host, bool verify,
                                struct rabbitmq_why *why) must_check;
/* ERR_PENDING until it is done. */
enum err rabbitmq_socket_handshake(struct rabbitmq_socket *s, struct rabbitmq_why *why) must_check;
/* ERR_PENDING: nothing now. ERR_CLOSED: the other side closed. *n > 0 with OK. */
enum err rabbitmq_socket_read(struct rabbitmq_socket *s, char *to, size_t size, size_t *n,
                              struct rabbitmq_why *why) must_check;
enum err rabbitmq_socket_write(struct rabbitmq_socket *s, const char *from, size_t size, size_t *n,
                               struct rabbitmq_why *why) must_check;
void rabbitmq_socket_close(struct rabbitmq_socket *s);

#endif
