/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to dlq*.c: a request about parked events while its answer is being collected.
 */
#ifndef LEAT_BROKER_API_DLQ_H
#define LEAT_BROKER_API_DLQ_H

#include "../dlq.h"
#include "api.h"

#define DLQ_LIMIT 100                    /* events in a list, without ?limit= */
#define DLQ_ANSWER_BYTES_MAX (60u << 20) /* below what the command line takes as an answer */
#define DLQ_RATE_MAX 1000000             /* redrives a second: beyond, no rate is the same */

/* Whose events: "Kind.group/NS/NAME" and everything under it. */
struct dlq_target {
    const struct kind *kind;
    char *key;  /* owned */
    char *what; /* owned: "trigger/big in default" */
};

struct dlq_call {
    struct api_later later;
    struct api *api;
    struct http_request *request; /* NULL: the client went away */
    struct dlq_target target;
    struct dlq_collection collection;
    struct dlq_order order; /* its selection counts for lists too */
    bool order_given;       /* POST; else a list */
    size_t limit;
    bool full; /* whole events, not their heads */
};

/* Reads the selection and, of a POST, the order. False: the request has been answered. */
bool dlq_read_query(struct dlq_call *c);
bool dlq_read_body(struct dlq_call *c);
/* False when an id matches nothing, or events of several sources; the request has been answered. */
bool dlq_check_ids(struct dlq_call *c);
/* Answers with what was collected and is selected. */
void dlq_answer_list(struct dlq_call *c);
void dlq_answer_summary(struct api *a, struct http_request *r);
/* Answers 404 with what there is near. */
void dlq_answer_unknown(struct dlq_call *c, const char *name);

#endif
