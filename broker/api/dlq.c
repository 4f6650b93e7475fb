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

#include "text.h"

static void call_free(struct dlq_call *c)
{
    dlq_collection_close(&c->collection);
    dlq_selection_fini(&c->order.selection);
    free(c->target.key);
    free(c->target.what);
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
    switch (e) {
    case ERR_UNAVAILABLE:
        api_status(c->request, 503, "ServiceUnavailable",
                   "the place for parked events of %s is not ready yet; try again", c->target.what);
        break;
    case ERR_CLOSED:
        api_status(c->request, 503, "ServiceUnavailable", "the server is stopping");
        break;
    case ERR_FULL:
        api_status(c->request, 429, "TooManyRequests", "%d tasks are running; wait for one of them, or cancel it",
                   TASKS_RUNNING_MAX);
        break;
    default:
        api_status(c->request, err_http_status(e), "InternalError", "parked events of %s: %s", c->target.what,
                   err_name(e));
    }
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
    static const struct http_header type[] = {{SLICE_INIT("Content-Type"), SLICE_INIT("application/json")}};
    struct task *task;
    struct buf body;
    enum err e = dlq_job_start(engine_dlq(c->api->engine), c->target.what, &c->order, &c->collection, &task);
    if (e != OK) {
        refuse(c, e);
        return;
    }
    buf_init(&body, 65536);
    task_put_json(task, &body);
    buf_put_char(&body, '\n');
    http_respond(c->request, 202, type, 1, buf_slice(&body));
    buf_fini(&body);
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

static char *decode(struct slice from)
{
    struct buf decoded;
    buf_init(&decoded, 1024);
    if (percent_decode(from, &decoded) != OK || decoded.len == 0) {
        buf_fini(&decoded);
        return NULL;
    }
    char *text = buf_take_string(&decoded);
    buf_fini(&decoded);
    return text;
}

/* True when the key is the target's or lies under it: a part of a Sequence or Parallel. */
static bool is_of_target(void *arg, const struct engine_subscription *s)
{
    const struct dlq_call *c = arg;
    size_t n = strlen(c->target.key);
    return strncmp(s->key, c->target.key, n) == 0 && (s->key[n] == '\0' || s->key[n] == '/');
}

static bool set_target(struct dlq_call *c, const char *space, const char *word, const char *name)
{
    c->target.kind = kind_by_word(word);
    if (!c->target.kind) {
        api_status(c->request, 404, "NotFound",
                   "there is no kind '%s': events are parked for a subscription, trigger, sequence or parallel", word);
        return false;
    }
    const struct kind *k = c->target.kind;
    if (asprintf(&c->target.key, "%s.%s/%s/%s", k->kind, k->group, space, name) < 0)
        c->target.key = NULL;
    if (asprintf(&c->target.what, "%s/%s in %s", k->singular, name, space) < 0)
        c->target.what = NULL;
    if (c->target.key && c->target.what)
        return true;
    api_status(c->request, 500, "InternalError", "out of memory");
    return false;
}

/* NS/KIND/NAME[/redrive|/discard] in `rest`. */
static bool read_path(struct dlq_call *c, struct slice rest)
{
    char *space = decode(slice_split(&rest, '/')), *word = decode(slice_split(&rest, '/')),
         *name = decode(slice_split(&rest, '/'));
    bool good = false;
    c->order_given = rest.len > 0;
    c->order.redrive = slice_eq(rest, SLICE("redrive"));
    if (!space || !word || !name || (c->order_given && !c->order.redrive && !slice_eq(rest, SLICE("discard"))))
        api_status(c->request, 404, "NotFound",
                   "no such page: /leat/v1/dlq, /leat/v1/dlq/NS/KIND/NAME, and POST to its /redrive and /discard");
    else if (!slice_eq_str(http_request_method(c->request), c->order_given ? "POST" : "GET"))
        api_status(c->request, 405, "MethodNotAllowed", "%s is for %s", c->order_given ? "this page" : "a list",
                   c->order_given ? "POST" : "GET");
    else
        good = set_target(c, space, word, name);
    free(space);
    free(word);
    free(name);
    return good;
}

static bool begin(struct dlq_call *c, struct slice rest)
{
    if (!read_path(c, rest) || !(c->order_given ? dlq_read_body(c) : dlq_read_query(c)))
        return false;
    enum err e = dlq_collection_open(engine_dlq(c->api->engine), is_of_target, c, &c->collection);
    if (e == ERR_NOTFOUND)
        dlq_answer_unknown(c, strrchr(c->target.key, '/') + 1);
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
