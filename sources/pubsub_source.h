/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the Pub/Sub source share:
 *
 *     pubsub_options.c   the spec, taken apart and checked (pure)
 *     pubsub.c           the subscription: made, pulled from, its messages held; the source's life
 *     pubsub_send.c      a message's way to the sink, and its acknowledgement
 *     pubsub_remove.c    the subscription goes with the source
 *     pubsub_main.c      `leat source pubsub`
 *
 * Invariants. A message is acknowledged when the sink has accepted its event, never before; until then its ack deadline
 * is moved on, and what this process does not live to send comes again. At most HELD_MAX messages are held.
 */
#ifndef LEAT_SOURCES_PUBSUB_SOURCE_H
#define LEAT_SOURCES_PUBSUB_SOURCE_H

#include "ce_pubsub.h"
#include "list.h"
#include "pubsub.h"
#include "source.h"

#define PUBSUB_SOURCE_HELD_MAX 100 /* messages: enough to keep a sink busy, and 100 MiB of the largest at worst */
#define PUBSUB_NAME_LEN_MAX 255

/* A spec, checked and taken apart. Texts point into the spec, but those in arrays here. */
struct pubsub_options {
    const struct source_spec *spec;
    char project[256];                          /* of the topic's full name; "": not told there */
    const char *topic;                          /* its id or full name */
    char subscription[PUBSUB_NAME_LEN_MAX + 1]; /* its id or full name */
    bool external;                              /* the subscription is somebody else's: never made or removed */
    enum ce_pubsub_form form;
    unsigned ack_deadline_s;
    uint64_t retention_s; /* 0: the service's */
    bool retain_acked;
    uint64_t sink_timeout_ns;       /* per attempt; 0: the sink's own */
    struct ce_attribute *overrides; /* owned */
    size_t override_count;
};
/* ERR_INVALID with *d naming the parameter; ERR_NOMEM. On failure there is nothing to free. */
enum err pubsub_options_parse(const struct source_spec *spec, struct pubsub_options *out, struct diag *d) must_check;
void pubsub_options_fini(struct pubsub_options *o);
/* A client for the spec on this loop; `loop` NULL: only looks whether there could be one. As pubsub_client_new. */
enum err pubsub_options_client(const struct pubsub_options *o, struct loop *loop, struct pubsub_client **out,
                               struct diag *d) must_check;

/* One message that is held. */
struct pubsub_item {
    struct list link; /* in one of the source's lists */
    struct pubsub_source *source;
    const struct ce_event *event;
    char *ack_id; /* owned; the newest one, should the message come again meanwhile */
    char *key;    /* owned; its ordering key; NULL: none */
    unsigned attempts;
    struct loop_timer again; /* armed: it waits for its next attempt */
    struct sink_call call;
};

struct pubsub_source {
    struct source head;
    struct pubsub_options options;
    struct loop *loop;
    struct sink *sink;
    struct source_host host;
    struct pubsub_client *client;
    char topic[600], subscription[600]; /* full names */
    struct pubsub_call *call;           /* making, or pulling */
    struct pubsub_call *lease, *ack, *nack;
    struct loop_timer retry, renew, grace;
    struct loop_task settle_task, closed_task;
    struct list waiting, flying; /* items: for an attempt, at the sink */
    struct list accepted;        /* items: the sink has them, to be acknowledged */
    struct list settling;        /* items: the acknowledgement is under way */
    struct list released;        /* items, at the end: to be given back */
    size_t held;
    unsigned pull_max;   /* messages: so many as an answer can hold, as far as is known */
    unsigned failures;   /* of calls, in a row */
    const char *trouble; /* code of the last failure that was told; NULL: all is well */
    bool well;           /* a pull was answered since the beginning */
    bool sink_fails, closing;
    char last_failure[200];
    void (*closed)(void *arg);
    void *closed_arg;
};

/* A message came: it is held and sent, or what is held of it gets its newer ack id. */
void pubsub_take(struct pubsub_source *s, const struct pubsub_received *m);
/* Sends what waits and may go. */
void pubsub_pump(struct pubsub_source *s);
/* Acknowledges what is accepted. */
void pubsub_settle(struct pubsub_source *s);
void pubsub_item_free(struct pubsub_item *item);
/* The source: another message may be pulled; or, when it is closing, an end may be near. */
void pubsub_went_on(struct pubsub_source *s);
__attribute__((format(printf, 4, 5))) void pubsub_notice(const struct pubsub_source *s, bool trouble, const char *what,
                                                         const char *format, ...);
/* How long to wait before try `n` (from 1): doubles up to the most, a little more or less. */
uint64_t pubsub_backoff_ns(unsigned n, uint64_t least_ns, uint64_t most_ns);

enum err pubsub_register_start(const struct source_spec *spec, struct loop *control, struct http_client *client,
                               const char *webhook_url, const char *known_id, source_report_fn *report, void *arg,
                               struct source_registration **out);
void pubsub_register_stop(struct source_registration *r, bool remove, void (*stopped)(void *arg), void *arg);

extern const struct source_ops pubsub_source_ops;
int pubsub_main(int argc, char **argv);

#endif
