/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the Kafka client share: the settings as checked, the client itself, and who does what with it.
 */
#ifndef LEAT_CLIENTS_KAFKA_PRIVATE_H
#define LEAT_CLIENTS_KAFKA_PRIVATE_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "clock.h"
#include "kafka_client.h"
#include "told.h"

enum kafka_param {
    KAFKA_SERVERS,
    KAFKA_PROTOCOL,
    KAFKA_MECHANISM,
    KAFKA_USERNAME,
    KAFKA_PASSWORD,
    KAFKA_TOKEN,
    KAFKA_TOKEN_URL,
    KAFKA_CLIENT_ID,
    KAFKA_CLIENT_SECRET,
    KAFKA_SCOPE,
    KAFKA_CA,
    KAFKA_CERTIFICATE,
    KAFKA_KEY,
    KAFKA_VERIFY,
    KAFKA_PARAM_COUNT
};

/* The values of one client; NULL where not given. */
struct kafka_settings {
    const char *value[KAFKA_PARAM_COUNT];
};

/* ---- kafka_params.c ---- */

/* Borrows the values. As kafka_client_check. */
enum err kafka_params_read(const struct kafka_client_param *params, size_t count, struct kafka_settings *out,
                           struct diag *d) must_check;
/* Replaces every secret value that occurs in the text by stars, in place. */
void kafka_settings_hide(const struct kafka_settings *s, char *text);

/* ---- kafka_notice.c: what the library has to say, and whether a broker is there ---- */

/* Why something failed. The order is that of `causes` in kafka_notice.c. */
enum kafka_cause {
    KAFKA_BROKERS_DOWN,
    KAFKA_BROKER_UP,
    KAFKA_UNREACHABLE, /* one broker of several */
    KAFKA_UNKNOWN_ADDRESS,
    KAFKA_AUTHENTICATION,
    KAFKA_TOKEN_FAILED,
    KAFKA_TLS,
    KAFKA_PROTOCOL_MISMATCH,
    KAFKA_FATAL,
    KAFKA_OTHER,
    KAFKA_CAUSE_COUNT
};

struct kafka_handle {
    const void *handle; /* only compared */
    struct kafka_handle *next;
};

/* A broker as one handle knows it, and its connection. */
struct kafka_broker {
    const void *handle; /* only compared */
    char *name;
    int port;
    int32_t id; /* -1: of bootstrap.servers, not known yet which one it is */
    enum { KAFKA_IDLE, KAFKA_CONNECTING, KAFKA_UP } state;
    bool failed;               /* the library said why the connection fails: it is not just given up */
    bool mismatch;             /* it closed connections that were up, as a listener does that wants another protocol */
    uint64_t up_ns, worked_ns; /* when it was last known to take what we say; 0: never */
};

struct kafka_watch {
    pthread_mutex_t lock;
    struct told told[KAFKA_CAUSE_COUNT];
    struct kafka_handle *handles; /* between rd_kafka_new and rd_kafka_destroy */
    struct kafka_broker *brokers;
    size_t count, room;
    bool answered, down;
    uint64_t down_ns;
    int64_t down_wall_ns;
    char reason[320]; /* the last failure of a connection */
};

enum err kafka_watch_init(struct kafka_watch *w) must_check;
void kafka_watch_fini(struct kafka_watch *w);
/* Adds the log callback and the interceptor that watches connections. */
enum err kafka_watch_add(struct kafka_client *k, rd_kafka_conf_t *conf) must_check;
/* Tells of a failure, held to what a minute may have. */
void kafka_client_say(struct kafka_client *k, enum kafka_cause cause, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- kafka_token.c: OAUTHBEARER ---- */

struct kafka_tokens {
    pthread_mutex_t lock; /* held while one is fetched: the others wait for it rather than fetch their own */
    char *value, *principal;
    int64_t from_ms, until_ms; /* wall clock */
};

enum err kafka_tokens_init(struct kafka_tokens *t) must_check;
void kafka_tokens_fini(struct kafka_tokens *t);
/* The library's callback, on its background thread of the handle. */
void kafka_token_refresh(rd_kafka_t *handle, const char *config, void *client);

/* A bearer token for one answer of a token endpoint (RFC 6749 section 5.1) or for a token given as it is. For tests. */
struct kafka_token {
    char *value, *principal; /* owned */
    int64_t until_ms;        /* INT64_MAX: not known */
};
void kafka_token_fini(struct kafka_token *t);
/* `text`: a token, of which a JWT says its end and subject (RFC 7519). */
enum err kafka_token_read(struct slice text, struct kafka_token *out) must_check;
/* The answer's body. ERR_PROTOCOL with *d. */
enum err kafka_token_answer(struct slice body, int64_t now_ms, struct kafka_token *out, struct diag *d) must_check;

/* ---- kafka_client.c ---- */

struct kafka_client {
    atomic_uint refs;
    struct kafka_settings settings; /* owned strings */
    int chain;                      /* a file in memory that holds the certificate and its chain; -1: it has none */
    struct kafka_client_events events;
    struct kafka_watch watch;
    struct kafka_tokens tokens;
};

#endif
