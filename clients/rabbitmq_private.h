/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the RabbitMQ client share: the settings as checked, the client, what is said of its links.
 */
#ifndef LEAT_CLIENTS_RABBITMQ_PRIVATE_H
#define LEAT_CLIENTS_RABBITMQ_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "rabbitmq_client.h"
#include "told.h"

#define RABBITMQ_HOSTS_MAX 64   /* of one cluster */
#define RABBITMQ_SHORT_MAX 255  /* a short string of AMQP */
#define RABBITMQ_HEARTBEAT_S 10 /* a node that stands still is given up after twice that */
#define RABBITMQ_HEARTBEAT_S_MAX 3600

/* ---- rabbitmq_params.c ---- */

struct rabbitmq_host {
    char *name; /* without brackets */
    uint16_t port;
};

struct rabbitmq_settings { /* all owned */
    struct rabbitmq_host *hosts;
    size_t host_count;
    char *vhost, *username, *password;
    bool external; /* the name comes from the certificate: SASL EXTERNAL */
    bool tls, verify;
    char *ca, *certificate, *key; /* PEM; NULL: none */
    unsigned heartbeat_s;
};

/* As rabbitmq_client_check. */
enum err rabbitmq_settings_read(const struct rabbitmq_client_param *params, size_t count, struct rabbitmq_settings *out,
                                struct diag *d) must_check;
void rabbitmq_settings_fini(struct rabbitmq_settings *s);
/* Replaces the password wherever it occurs in the text by stars, in place: what a server says may quote it. */
void rabbitmq_settings_hide(const struct rabbitmq_settings *s, char *text);

/* ---- rabbitmq_client.c ---- */

/* Why something happened. The order is that of `causes` in rabbitmq_client.c. */
enum rabbitmq_cause {
    RABBITMQ_DOWN,
    RABBITMQ_UP,
    RABBITMQ_UNKNOWN_ADDRESS,
    RABBITMQ_AUTHENTICATION,
    RABBITMQ_ACCESS,
    RABBITMQ_VHOST,
    RABBITMQ_TLS,
    RABBITMQ_MISMATCH, /* it speaks something else, or broke AMQP */
    RABBITMQ_BLOCKED,
    RABBITMQ_UNBLOCKED,
    RABBITMQ_CAUSE_COUNT
};

struct addrinfo;
typedef int rabbitmq_resolve_fn(const char *name, const char *port, const struct addrinfo *hints,
                                struct addrinfo **out);

struct rabbitmq_client {
    atomic_uint refs;
    struct rabbitmq_settings settings;
    struct rabbitmq_client_events events;
    struct ssl_ctx_st *tls; /* NULL: plain; shared by the links */
    char where[300];        /* "RabbitMQ at host:port", for people */
    unsigned connect_ms, answer_ms, farewell_ms, stall_ms, close_ms,
        retry_ms_max;             /* RABBITMQ_*_MS of rabbitmq_link.h; tests have less time */
    rabbitmq_resolve_fn *resolve; /* getaddrinfo; tests have name servers that are silent */
    pthread_mutex_t lock;
    struct told told[RABBITMQ_CAUSE_COUNT]; /* under it, as all below */
    unsigned links_up, links_failed;
    bool said_down;
    uint64_t down_ns;
    int64_t down_wall_ns;
    char reason[420]; /* the last failure */
};

/* What a link has to tell; each remembers by *failed that it said so. Under no lock; any thread. */
void rabbitmq_client_failing(struct rabbitmq_client *k, bool *failed, bool was_up, enum rabbitmq_cause cause,
                             const char *why);
void rabbitmq_client_connected(struct rabbitmq_client *k, bool *failed);
void rabbitmq_client_left(struct rabbitmq_client *k, bool *failed, bool was_up);
void rabbitmq_client_say(struct rabbitmq_client *k, enum rabbitmq_cause cause, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- rabbitmq_tls.c ---- */

/* What the settings ask for. ERR_NOMEM; ERR_INVALID with *d. */
enum err rabbitmq_tls_new(const struct rabbitmq_settings *s, struct ssl_ctx_st **out, struct diag *d) must_check;
void rabbitmq_tls_free(struct ssl_ctx_st *tls);

#endif
