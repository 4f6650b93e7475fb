/* SPDX-License-Identifier: Apache-2.0
 *
 * What everything that talks to RabbitMQ shares: which node, as whom, and RabbitMQ's errors in our words. Connections
 * are made of it by rabbitmq_link.h. The library, rabbitmq-c, is used only in clients/rabbitmq*.c and
 * channels/rabbitmq/.
 *
 * Settings come as parameters (name and value), from a bus's own, a RabbitmqBrokerConfig and Secret, a RabbitmqSource
 * or the command line alike:
 *
 *     url                 amqp[s]://[user[:password]@]host[:port][,host[:port]...][/vhost]; several hosts are tried in
 *                         turn; user, password and vhost are percent-encoded; without a vhost, or with a bare slash, it
 *                         is "/"
 *     host                instead of the URL: host[:port], several by comma, IPv6 in brackets
 *     port                of hosts that name none; 5672, with TLS 5671
 *     vhost               "/" when missing; wins over the URL's, as do username and password
 *     username, password  guest and guest when both are missing, which RabbitMQ takes on loopback only
 *     heartbeat           seconds, 1 to 3600 (default 10); 0: none, and a node that hangs is found out by what it owes
 *     ssl                 true or false: TLS without an amqps URL; default: as the URL says, false with `host`
 *     ssl.ca, ssl.certificate, ssl.key      PEM, the text itself; without ssl.ca the system's authorities count
 *     ssl.verify          true (default) or false: whether the node's name is checked; its certificate is in any case
 *
 * With a client certificate and no username, RabbitMQ is asked to take the name from the certificate (SASL EXTERNAL,
 * its plugin rabbitmq_auth_mechanism_ssl). A secret value is never in an error, a log line or a metric.
 */
#ifndef LEAT_RABBITMQ_CLIENT_H
#define LEAT_RABBITMQ_CLIENT_H

#include <stddef.h>

#include "err.h"

struct rabbitmq_client_param { /* as struct bus_param and source_param are */
    const char *name, *value;
};

/* Whether it is one of the names above: the rest of a bus's parameters are its own. */
bool rabbitmq_client_knows(const char *name);
/* Checks names, values and their combinations without connecting: ERR_INVALID with *d naming the parameter and what it
 * may be. Parameters that rabbitmq_client_knows does not know are passed over. */
enum err rabbitmq_client_check(const struct rabbitmq_client_param *params, size_t count, struct diag *d) must_check;

/* Which node and how; shared by links, immutable, reference counted with atomics. */
struct rabbitmq_client;

struct rabbitmq_client_events {
    /* What there is to say of the connections, told apart by cause and held to RABBITMQ_NOTICES_A_MINUTE of each.
     * `code` is a stable CamelCase word: BrokerDown, BrokerUp, BrokerAddressUnknown, AuthenticationFailed,
     * AccessRefused, VhostNotFound, TlsFailed, ProtocolMismatch, BrokerBlocked, BrokerUnblocked; `text` one sentence
     * with what to do; `severity`: 0 information, 1 warning, 2 error. On the threads of the links. */
    void (*notice)(void *arg, int severity, const char *code, const char *text);
    void *arg;
};
#define RABBITMQ_NOTICES_A_MINUTE 10 /* lines of one cause: an operator reads them, a disk keeps them */

/* ERR_INVALID with *d as rabbitmq_client_check; ERR_NOMEM. `events` may be NULL. */
enum err rabbitmq_client_new(const struct rabbitmq_client_param *params, size_t count,
                             const struct rabbitmq_client_events *events, struct rabbitmq_client **out,
                             struct diag *d) must_check;
struct rabbitmq_client *rabbitmq_client_ref(struct rabbitmq_client *k);
/* With the last reference; NULL is fine, always NULL back. Links hold one each. */
struct rabbitmq_client *rabbitmq_client_unref(struct rabbitmq_client *k);
/* Whether a link was connected, and none of them has lost its connection or failed to connect since. If not: since when
 * and why into `why` (cut to `size`; may be NULL), one sentence for people. Before a first connection: false. Any
 * thread. */
bool rabbitmq_client_up(struct rabbitmq_client *k, char *why, size_t size);
/* Whether a link tried to connect and failed, and is not connected: who waits for the first connection may stop. Any
 * thread. */
bool rabbitmq_client_failed(struct rabbitmq_client *k);

/* A reply code of AMQP (311, 403, 404 ...) in our words: ERR_DENIED for access refused and not allowed, ERR_NOTFOUND,
 * ERR_CONFLICT for precondition failed (declared otherwise before) and a locked resource, ERR_TOO_LARGE for content too
 * large, ERR_UNSUPPORTED, ERR_PROTOCOL for what says that we broke the protocol; else ERR_UNAVAILABLE: later may work.
 */
enum err rabbitmq_reply_err(unsigned code);

#endif
