/* SPDX-License-Identifier: Apache-2.0
 *
 * What everything that talks to Kafka shares: which cluster, with which credentials; a configuration of librdkafka made
 * from them; and its errors in our words. The library itself is used only in clients/kafka*.c and channels/kafka/.
 *
 * Settings come as parameters (name and value), from a bus's own, a Broker's ConfigMap and Secret, a KafkaSource or the
 * command line alike:
 *
 *     bootstrap.servers           host:port, comma separated; required
 *     security.protocol           PLAINTEXT (default), SSL, SASL_PLAINTEXT, SASL_SSL
 *     sasl.mechanism              PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER
 *     sasl.username, sasl.password
 *     sasl.token                  OAUTHBEARER: the token itself; or it is fetched (OAuth 2.0 client credentials) from
 *     sasl.token.url, sasl.client.id, sasl.client.secret, sasl.scope
 *     ssl.ca, ssl.certificate, ssl.key      PEM, the text itself; the certificate may be a chain, its own first
 *     ssl.verify                  true (default) or false: whether the broker's name is checked; its certificate is
 *                                 in any case
 *
 * A secret value is never in an error, a log line or a metric.
 */
#ifndef LEAT_KAFKA_CLIENT_H
#define LEAT_KAFKA_CLIENT_H

#include "err.h"
#include "slice.h"

struct kafka_client_param { /* as struct bus_param and source_param are */
    const char *name, *value;
};

/* Whether the library knows this parameter's name: the rest of a bus's parameters are its own. */
bool kafka_client_knows(const char *name);
/* Checks names, values and their combinations without connecting: ERR_INVALID with *d naming the parameter and what it
 * may be. Parameters that kafka_client_knows does not know are passed over. */
enum err kafka_client_check(const struct kafka_client_param *params, size_t count, struct diag *d) must_check;

/* Which cluster and how; shared by handles, immutable, reference counted with atomics. */
struct kafka_client;

struct kafka_client_events {
    /* What the library has to say of a handle, already told apart by cause and held to KAFKA_NOTICES_A_MINUTE of each.
     * `code` is a stable CamelCase word: BrokersDown, BrokerUp, AuthenticationFailed, TlsFailed ...; `text` one
     * sentence with what to do; `severity`: 0 information, 1 warning, 2 error. Any of the library's threads. */
    void (*notice)(void *arg, int severity, const char *code, const char *text);
    void *arg;
};
#define KAFKA_NOTICES_A_MINUTE 10 /* lines of one cause: an operator reads them, a disk keeps them */

enum err kafka_client_new(const struct kafka_client_param *params, size_t count,
                          const struct kafka_client_events *events, struct kafka_client **out,
                          struct diag *d) must_check;
struct kafka_client *kafka_client_ref(struct kafka_client *k);
/* With the last reference; NULL is fine, always NULL back. Every handle made of it has been destroyed. */
struct kafka_client *kafka_client_unref(struct kafka_client *k);
/* Whether a broker is connected, or was and nothing was heard since of it being gone (idle connections are closed). If
 * not: since when and why into `why` (cut to `size`; may be NULL), one sentence for people. Before a first connection:
 * false. Any thread. */
bool kafka_client_up(struct kafka_client *k, char *why, size_t size);
/* Whether none is connected and the last attempt failed: who waits for the first connection may stop. Any thread. */
bool kafka_client_failed(struct kafka_client *k);

/* ---- for whoever makes handles: only these know librdkafka's types ---- */
struct rd_kafka_conf_s;
struct rd_kafka_s;

/* A configuration with the cluster, credentials, callbacks for logs and tokens, client.id "leat", reconnect backoff
 * with jitter (librdkafka adds it), and broker addresses of both families. The caller adds its own settings and hands
 * it to kafka_client_open. NULL: no memory. `own`: name, value, ..., NULL; a name that the library refuses is a mistake
 * of ours (assertion). The configuration's opaque is the client's own: callbacks of the caller find their object by
 * other ways (messages have one each). No error callback and no RD_KAFKA_EVENT_ERROR: what the library has to say
 * becomes a notice on the thread where it arises, whether anybody polls or not. */
struct rd_kafka_conf_s *kafka_client_conf(struct kafka_client *k, const char *const *own) must_check;
/* rd_kafka_new with what such a handle needs beside (tokens come on a thread of the library: with OAUTHBEARER a handle
 * has one more). `type`: rd_kafka_type_t. Takes the configuration in any case. ERR_INVALID, ERR_NOMEM, with *d. Ended
 * by rd_kafka_destroy; the client must outlive it. */
enum err kafka_client_open(struct kafka_client *k, int type, struct rd_kafka_conf_s *conf, struct rd_kafka_s **out,
                           struct diag *d) must_check;
/* Wakes the handle's threads of brokers: librdkafka (2.0.2) looks whether a partition's queue has room again only when
 * such a thread wakes, and it sleeps up to a second. The one public call that wakes them sets credentials: it is given
 * those that the handle has. Costs some microseconds. Any thread. */
void kafka_client_wake(struct kafka_client *k, struct rd_kafka_s *handle);
/* librdkafka's error in our words: ERR_TOO_LARGE for MSG_SIZE_TOO_LARGE and RECORD_LIST_TOO_LARGE, ERR_FULL for its
 * queue and quotas, ERR_DENIED for authorization, ERR_NOTFOUND for an unknown topic, ERR_INVALID for a setting that the
 * broker refuses, ERR_CLOSED, ERR_NOMEM; else ERR_UNAVAILABLE: later may work. */
enum err kafka_client_err(int rd_kafka_resp_err);

#endif
