/* SPDX-License-Identifier: Apache-2.0
 *
 * Google Cloud Pub/Sub over its REST interface (pubsub.googleapis.com, v1), asynchronously on one loop: topics and
 * subscriptions, publishing, pulling, acknowledging, seeking; with whatever credentials Google takes. No thread, and no
 * state of the caller's: it answers each call once and tries nothing again by itself (but for one renewed token). When
 * to try again is the caller's, with `retryable` and `retry_after_ns` of the answer.
 *
 * Settings come as parameters (name and value), from a bus's own, a CloudPubSubSource and its Secret, or the command
 * line alike. Where none of `emulator`, `endpoint`, `credentials` is given, the environment counts as with Google's own
 * libraries:
 *
 *     project             the project's id; else GOOGLE_CLOUD_PROJECT, else the key's project_id
 *     emulator            HOST:PORT of an emulator: plain HTTP, no credentials; else PUBSUB_EMULATOR_HOST
 *     endpoint            URL instead of https://pubsub.googleapis.com: a region's, or a proxy's
 *     credentials         a service account's key, the JSON text itself; else the file that
 *                         GOOGLE_APPLICATION_CREDENTIALS names; else the metadata server of the machine is asked
 *     credentials.file    the same in a file, read anew whenever a token is fetched: a key may be changed under us
 *     token.url           instead of the key's token_uri
 *     metadata            HOST[:PORT] of the metadata server; else GCE_METADATA_HOST, else metadata.google.internal
 *     tls.ca              a file with the authorities (PEM) that count; default: the system's
 *
 * A secret value is never in an error, a log line or a metric.
 */
#ifndef LEAT_PUBSUB_H
#define LEAT_PUBSUB_H

#include "ce_pubsub.h"
#include "loop.h"

struct pubsub_param { /* as struct bus_param and source_param are */
    const char *name, *value;
};

/* Google's limits (cloud.google.com/pubsub/quotas), and what we keep below them. */
#define PUBSUB_PUBLISH_MESSAGES_MAX 1000
#define PUBSUB_PUBLISH_BYTES_MAX (7u << 20) /* sum of pubsub_message_bytes: 10 MB a request, a third more by base64 */
#define PUBSUB_PULL_MESSAGES_MAX 1000
#define PUBSUB_ACK_IDS_MAX 1000      /* 512 KiB a request; an id takes some 200 bytes */
#define PUBSUB_ACK_DEADLINE_S_MIN 10 /* of a subscription */
#define PUBSUB_ACK_DEADLINE_S_MAX 600
#define PUBSUB_REPLY_BYTES_MAX (32u << 20) /* of an answer: more is not read */

/* Whether it is one of the names above: the rest of a bus's parameters are its own. */
bool pubsub_client_knows(const char *name);
/* Checks names, values and their combinations without connecting: ERR_INVALID with *d naming the parameter and what it
 * may be (also a project that nothing names). Parameters that pubsub_client_knows does not know are passed over. */
enum err pubsub_client_check(const struct pubsub_param *params, size_t count, struct diag *d) must_check;

struct pubsub_client;
/* On this loop, whose thread alone may use it. ERR_INVALID as pubsub_client_check, ERR_NOMEM. Connects to nothing yet.
 */
enum err pubsub_client_new(struct loop *loop, const struct pubsub_param *params, size_t count,
                           struct pubsub_client **out, struct diag *d) must_check;
/* Calls under way are canceled: their done never runs. NULL is fine. Not from within a done. */
void pubsub_client_free(struct pubsub_client *c);
/* The project's id. */
const char *pubsub_client_project(const struct pubsub_client *c);
/* Where it asks, for people: "https://pubsub.googleapis.com". */
const char *pubsub_client_endpoint(const struct pubsub_client *c);

/* One message that a pull brought. */
struct pubsub_received {
    struct ce_pubsub_message message;
    struct slice ack_id;
    uint32_t delivery_attempt; /* 0: not told (no dead letter policy) */
};

/* How a call ended; borrowed for the callback. */
struct pubsub_answer {
    enum err err; /* OK, or the kind of failure: ERR_EXISTS (a create: there is one already), ERR_NOTFOUND, ERR_DENIED,
                     ERR_INVALID, ERR_FULL (quota), ERR_TOO_LARGE, ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_UNSUPPORTED,
                     ERR_CONFLICT (ABORTED, FAILED_PRECONDITION), ERR_PROTOCOL, ERR_NOMEM */
    int status;   /* HTTP's; 0: none came */
    bool retryable;          /* the same call may succeed later without anybody doing something */
    uint64_t retry_after_ns; /* how long the service asks to wait; 0: it does not */
    /* Of a failure: a stable CamelCase word for a condition or notice, and one sentence with what to do. Codes:
     * NotFound, ProjectNotFound, PermissionDenied, ApiDisabled, WrongCredentials, CredentialsUnavailable,
     * QuotaExceeded, AlreadyExists, Refused, Conflict, Unavailable, Unreachable, TimedOut, TooLarge (of what a pull
     * brought: ask for fewer), NotPubSub, NoMemory. */
    const char *code, *text;
    /* pubsub_publish: the ids, in the order of the messages. */
    const struct slice *message_ids;
    size_t message_id_count;
    /* pubsub_pull; none: nothing came in the time that the service waits. */
    const struct pubsub_received *received;
    size_t received_count;
    /* The answer's JSON otherwise (a topic, a subscription); empty on failure. */
    struct slice body;
};

struct pubsub_call;
/* Once per call, after the function that began it returned, unless canceled. May begin others. The call is gone when it
 * returns. */
typedef void pubsub_done_fn(void *arg, const struct pubsub_answer *a);
/* Withdraws a call whose done has not run: it never will. What was sent may be done by the service all the same. NULL
 * is fine. */
void pubsub_cancel(struct pubsub_call *call);

/* All functions below: OK, and then done runs; else no done: ERR_NOMEM, ERR_INVALID for a name that cannot be one
 * (pubsub_name_check), ERR_TOO_LARGE beyond a limit above. `*call` (may be NULL: nobody cancels) is for pubsub_cancel
 * until then. What is passed is borrowed for the call of the function. A topic or subscription is its id ("orders": of
 * the client's project) or its full name ("projects/P/topics/orders"). */

struct pubsub_topic_settings {
    uint64_t retention_s; /* messages are kept that long for a seek, also acknowledged ones: 600 to 31 days; 0: not */
};
enum err pubsub_topic_create(struct pubsub_client *c, const char *topic, const struct pubsub_topic_settings *settings,
                             pubsub_done_fn *done, void *arg, struct pubsub_call **call) must_check;
enum err pubsub_topic_get(struct pubsub_client *c, const char *topic, pubsub_done_fn *done, void *arg,
                          struct pubsub_call **call) must_check;
enum err pubsub_topic_delete(struct pubsub_client *c, const char *topic, pubsub_done_fn *done, void *arg,
                             struct pubsub_call **call) must_check;

struct pubsub_subscription_settings {
    const char *topic;
    unsigned ack_deadline_s; /* 0: the service's 10 */
    uint64_t retention_s;    /* of what is not acknowledged: 600 to 31 days; 0: the service's 7 days */
    bool retain_acked;       /* acknowledged ones are kept as long, for a seek */
    bool ordering;           /* messages of one ordering key come in order */
    bool never_expires;      /* else the service removes a subscription that nobody used for 31 days, */
    uint64_t expires_s;      /* or so long: a day at least; 0: 31 days */
};
enum err pubsub_subscription_create(struct pubsub_client *c, const char *subscription,
                                    const struct pubsub_subscription_settings *settings, pubsub_done_fn *done,
                                    void *arg, struct pubsub_call **call) must_check;
enum err pubsub_subscription_get(struct pubsub_client *c, const char *subscription, pubsub_done_fn *done, void *arg,
                                 struct pubsub_call **call) must_check;
enum err pubsub_subscription_delete(struct pubsub_client *c, const char *subscription, pubsub_done_fn *done, void *arg,
                                    struct pubsub_call **call) must_check;
/* What lies behind that time counts as not acknowledged again, what lies before it as acknowledged (eventually: for a
 * moment the service may still hand out what it had in hand). */
enum err pubsub_seek(struct pubsub_client *c, const char *subscription, int64_t wall_ns, pubsub_done_fn *done,
                     void *arg, struct pubsub_call **call) must_check;

/* What a message counts towards PUBSUB_PUBLISH_BYTES_MAX: data, attributes, key, and a little. */
size_t pubsub_message_bytes(const struct ce_pubsub_message *m);
/* All of them or none; several of one ordering key keep their order when they are in one call, or in calls one after
 * the other, each begun after the last was answered. ERR_INVALID for none or more than PUBSUB_PUBLISH_MESSAGES_MAX,
 * ERR_TOO_LARGE beyond PUBSUB_PUBLISH_BYTES_MAX but for one message alone, which the service judges. */
enum err pubsub_publish(struct pubsub_client *c, const char *topic, const struct ce_pubsub_message *messages,
                        size_t count, pubsub_done_fn *done, void *arg, struct pubsub_call **call) must_check;

/* At most `max` messages. The service waits until there is one, some 90 s, else the answer is empty, also when it gave
 * up waiting; with `at_once` it does not wait, and may then answer with nothing although there is something. A
 * wait has a connection of its own, in a lane for each subscription, and delays nobody; pulls at once share some.
 * Canceling may lose hold of messages on their way: they come again after the ack deadline. */
enum err pubsub_pull(struct pubsub_client *c, const char *subscription, unsigned max, bool at_once,
                     pubsub_done_fn *done, void *arg, struct pubsub_call **call) must_check;
/* At most PUBSUB_ACK_IDS_MAX ids. OK does not promise that it never comes again (no exactly-once delivery). */
enum err pubsub_acknowledge(struct pubsub_client *c, const char *subscription, const struct slice *ack_ids,
                            size_t count, pubsub_done_fn *done, void *arg, struct pubsub_call **call) must_check;
/* The messages come again not before so many seconds from now, 0 to 600; 0: at once (nack). */
enum err pubsub_modify_ack_deadline(struct pubsub_client *c, const char *subscription, const struct slice *ack_ids,
                                    size_t count, unsigned seconds, pubsub_done_fn *done, void *arg,
                                    struct pubsub_call **call) must_check;

/* Whether a text can be the id of a topic or subscription, or its full name (`kind`: "topics", "subscriptions"): 3 to
 * 255 of letters, digits and -_.~+%, a letter first, not "goog". ERR_INVALID with *d. */
enum err pubsub_name_check(const char *kind, const char *name, struct diag *d) must_check;

#endif
