/* SPDX-License-Identifier: Apache-2.0
 *
 * Parked events over HTTP, under /leat/v1/dlq:
 *
 *     GET                      how many are parked for which subscription
 *     GET  NS/KIND/NAME        list: ?limit= ?filter= ?id= ?source= ?full=true
 *     POST NS/KIND/NAME/redrive, /discard      {"ids": [..], "source": ".."} or {"filter": ".."} or {"all": true},
 *                                              redrive: "rate" a second. 202 and the task
 *
 * KIND is any word for a kind whose objects deliver: subscription, trigger, sequence, parallel ...
 */
#include "dlq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void call_free(struct dlq_call *c)
{
    dlq_collection_close(&c->collection);
    dlq_selection_fini(&c->order.selection);
    order_target_fini(&c->target);
    free(c);
}

static void client_gone(struct api_later *l)
{
    container_of(l, struct dlq_call, later)->request = NULL;
}

/* The request has been answered. */
static void call_end(struct dlq_call *c)
{
    if (c->request)
        http_request_set_state(c->request, NULL);
    call_free(c);
}

static void refuse(struct dlq_call *c, enum err e)
{
    if (e == ERR_UNAVAILABLE)
        api_status(c->request, 503, "ServiceUnavailable",
                   "the place for parked events of %s is not ready yet; try again", c->target.what);
    else
        order_refuse(c->request, e, c->target.what);
}

/* ---- orders ---- */

/* A redrive needs somebody to deliver: false, and answered, when all that is meant is of subscriptions that are gone.
 */
static bool somebody_delivers(struct dlq_call *c)
{
    size_t selected = 0, gone = 0;
    for (size_t i = 0; i < c->collection.count; i++) {
        const struct dlq_item *item = &c->collection.items[i];
        if (!dlq_selects(&c->order.selection, item->event))
            continue;
        selected++;
        gone += !dlq_session_subscription(item->session)->wanted;
    }
    if (!c->order.redrive || selected == 0 || gone < selected)
        return true;
    api_status(c->request, 409, "Conflict",
               "%s no longer exists: its %zu parked events cannot be redriven, only exported and discarded",
               c->target.what, gone);
    return false;
}

static void start(struct dlq_call *c)
{
    struct task *task;
    access_who(&c->api->access, c->request, c->order.by);
    enum err e = dlq_job_start(engine_dlq(c->api->engine), c->target.what, &c->order, &c->collection, &task);
    if (e == OK)
        order_answer_task(c->request, task);
    else
        refuse(c, e);
}

static void collected(struct dlq_collection *collection, enum err e)
{
    struct dlq_call *c = container_of(collection, struct dlq_call, collection);
    if (!c->request) {
        /* nobody waits for it: an order that was not confirmed is not carried out */
    } else if (e != OK) {
        refuse(c, e);
    } else if (dlq_check_ids(c)) {
        if (!c->order_given)
            dlq_answer_list(c);
        else if (somebody_delivers(c))
            start(c);
    }
    call_end(c);
}

/* ---- what a path means ---- */

static bool is_of_target(void *arg, const struct engine_subscription *s)
{
    return order_target_has(&((const struct dlq_call *)arg)->target, s->key);
}

/* NS/KIND/NAME[/redrive|/discard] in `rest`. */
static bool read_path(struct dlq_call *c, struct slice rest)
{
    static const char pages[] = "/leat/v1/dlq, /leat/v1/dlq/NS/KIND/NAME, and POST to its /redrive and /discard";
    if (!order_target_read(c->request, &rest, pages, &c->target))
        return false;
    c->order_given = rest.len > 0;
    c->order.redrive = slice_eq(rest, SLICE("redrive"));
    if (c->order_given && !c->order.redrive && !slice_eq(rest, SLICE("discard")))
        api_status(c->request, 404, "NotFound", "no such page: there are %s", pages);
    else if (!slice_eq_str(http_request_method(c->request), c->order_given ? "POST" : "GET"))
        api_status(c->request, 405, "MethodNotAllowed", "%s is for %s", c->order_given ? "this page" : "a list",
                   c->order_given ? "POST" : "GET");
    else
        return true;
    return false;
}

static bool begin(struct dlq_call *c, struct slice rest)
{
    if (!read_path(c, rest) || !(c->order_given ? dlq_read_body(c) : dlq_read_query(c)))
        return false;
    enum err e = dlq_collection_open(engine_dlq(c->api->engine), is_of_target, c, &c->collection);
    if (e == ERR_NOTFOUND)
        order_answer_unknown(c->api, c->request, &c->target);
    else if (e != OK)
        refuse(c, e);
    return e == OK;
}

void api_dlq(struct api *a, struct http_request *r)
{
    struct slice rest = slice_from(http_request_path(r), strlen("/leat/v1/dlq"));
    if (rest.len <= 1) {
        if (slice_eq(http_request_method(r), SLICE("GET")))
            dlq_answer_summary(a, r);
        else
            api_status(r, 405, "MethodNotAllowed", "the summary is for GET");
        return;
    }
    struct dlq_call *c = calloc(1, sizeof *c);
    if (!c) {
        api_status(r, 500, "InternalError", "out of memory");
        return;
    }
    c->api = a;
    c->request = r;
    c->later.closed = client_gone;
    c->collection.done = collected;
    if (!begin(c, slice_from(rest, 1))) {
        call_free(c);
        return;
    }
    http_request_set_state(r, &c->later);
    dlq_collection_fill(&c->collection);
}
