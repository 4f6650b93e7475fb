/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to dlq*.c: a request about parked events while its answer is being collected.
 */
#ifndef LEAT_BROKER_API_DLQ_H
#define LEAT_BROKER_API_DLQ_H

#include "../dlq.h"
#include "order.h"

#define DLQ_LIMIT 100                    /* events in a list, without ?limit= */
#define DLQ_ANSWER_BYTES_MAX (60u << 20) /* below what the command line takes as an answer */

struct dlq_call {
    struct api_later later;
    struct api *api;
    struct http_request *request; /* NULL: the client went away */
    struct order_target target;
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

#endif
