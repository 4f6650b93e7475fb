/* SPDX-License-Identifier: Apache-2.0
 *
 * What orders about deliveries say, wherever they are about (parked events, replays, pauses): whose, which events, how
 * fast. Each reader answers the request when it returns false.
 */
#ifndef LEAT_BROKER_API_ORDER_H
#define LEAT_BROKER_API_ORDER_H

#include "api.h"
#include "filter.h"

#define ORDER_RATE_MAX 1000000 /* events a second: beyond, no rate is the same */

/* Whose deliveries: "Kind.group/NS/NAME", and everything under it. */
struct order_target {
    const struct kind *kind;
    char *key;  /* owned */
    char *what; /* owned: "trigger/big in default" */
};
/* Takes NS/KIND/NAME off the front of *rest; KIND is any word for a kind. `pages` says what there is, for a path that
 * is none of it. */
bool order_target_read(struct http_request *r, struct slice *rest, const char *pages, struct order_target *out);
void order_target_fini(struct order_target *t);
/* Whether the key of a subscription is the target's, or lies under it: a part of a Sequence or Parallel. */
bool order_target_has(const struct order_target *t, const char *key);
/* Answers 404 with what there is near. */
void order_answer_unknown(struct api *a, struct http_request *r, const struct order_target *t);

/* The parts of "Kind.group/NS/NAME[/PART]", and as members of a JSON object. */
struct order_key {
    struct slice kind, space, name, part;
};
struct order_key order_key_split(const char *key);
void order_key_put(struct buf *out, const char *key);

/* Hands each member of the body's object to `member`, until it is false. `such` is an example of a body. */
bool order_members_read(struct http_request *r, const cJSON *tree, const char *such,
                        bool (*member)(void *arg, const cJSON *member), void *arg);
bool order_filter_read(struct http_request *r, struct slice text, struct filter **out);
/* An expression in a string, or a filter as in a Trigger. */
bool order_filter_member_read(struct http_request *r, const cJSON *filter, struct filter **out);
/* Events a second, as the time between two. */
bool order_rate_read(struct http_request *r, const cJSON *rate, uint64_t *interval_ns);

/* Answers 202 with the task, or with why it could not be started. */
struct task;
void order_answer_task(struct http_request *r, const struct task *t);
void order_refuse(struct http_request *r, enum err e, const char *what);

#endif
