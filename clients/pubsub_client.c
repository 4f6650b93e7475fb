/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pub/Sub client, and a call's life on its loop:
 *
 *     begin ──> waiting (for a token) ──> flying ──> done ──> freed
 *                  ^         └ no token ──────────────^
 *                  └── 401, once: a new token ──┘
 *
 * A call is in exactly one of the client's lists until its done runs; done may begin and cancel any other. Pulls have
 * connections of their own, a lane for each subscription: they last for a minute and a half where nothing comes. Lanes
 * beyond PULL_LANES_KEPT are let go with their connections when their pull has ended, since a thousand subscriptions
 * that take turns would leave a thousand.
 */
#include <assert.h>
#include <stdlib.h>

#include "pubsub_private.h"
#include "text.h"

#define CALL_NS (30 * NS_PER_S)
#define PULL_NS (120 * NS_PER_S) /* the service answers after 90 s at the latest */
#define CONNECTIONS_MAX 32       /* of each lane */
#define PULL_LANES_KEPT 64
#define HEAD_BYTES_MAX (PUBSUB_TOKEN_BYTES_MAX + 4096)

/* ---- calls ---- */

void pubsub_call_free(struct pubsub_call *call)
{
    if (!call)
        return;
    buf_fini(&call->head);
    buf_fini(&call->body);
    free(call->about.what);
    free(call->path);
    free(call);
}

void pubsub_cancel(struct pubsub_call *call)
{
    if (!call)
        return;
    if (call->flying)
        http_exchange_cancel(&call->exchange);
    list_remove(&call->link);
    pubsub_call_free(call);
}

static void end(struct pubsub_call *call, const struct pubsub_answer *a)
{
    bool waited = call->kind == PUBSUB_PULL && !call->at_once;
    if (waited && call->client->pulls.count > PULL_LANES_KEPT)
        pubsub_client_pull_forget(call->client, slice_str(call->path));
    list_remove(&call->link);
    call->done(call->arg, a);
    pubsub_call_free(call);
}

static void end_failed(struct pubsub_call *call, const struct pubsub_failure *f)
{
    const struct pubsub_answer a = {.err = f->err,
                                    .status = f->status,
                                    .retryable = f->retryable,
                                    .retry_after_ns = f->retry_after_ns,
                                    .code = f->code,
                                    .text = f->text};
    end(call, &a);
}

static void end_empty(struct pubsub_call *call, int status)
{
    const struct pubsub_answer a = {.err = OK, .status = status, .code = "", .text = ""};
    end(call, &a);
}

/* ---- the answer ---- */

static void end_read(struct pubsub_call *call, const struct http_response *r)
{
    struct pubsub_answer a = {.err = OK, .status = r->status, .code = "", .text = ""};
    struct pubsub_reply reply = {.received = NULL};
    struct pubsub_failure f;
    struct diag d = {0};
    enum err e = OK;
    if (r->body_cut && call->kind == PUBSUB_PULL) { /* who asks for fewer messages may read them */
        pubsub_failure_set(&f, ERR_TOO_LARGE, true, "TooLarge", "%s: the answer of %s has more than %u bytes",
                           call->about.what, call->about.endpoint, PUBSUB_REPLY_BYTES_MAX);
        f.status = r->status;
        end_failed(call, &f);
        return;
    }
    if (r->body_cut)
        e = diag_set(&d, ERR_PROTOCOL, "the answer has more than %u bytes", PUBSUB_REPLY_BYTES_MAX);
    else if (call->kind == PUBSUB_PULL)
        e = pubsub_reply_pulled(r->body, &reply, &d);
    else if (call->kind == PUBSUB_PUBLISH)
        e = pubsub_reply_published(r->body, &reply, &d);
    if (!e && call->kind == PUBSUB_PUBLISH && reply.id_count != call->expected)
        e = diag_set(&d, ERR_PROTOCOL, "%zu ids for %zu messages", reply.id_count, call->expected);
    if (e) {
        pubsub_failure_set(&f, e, true, e == ERR_NOMEM ? "NoMemory" : "NotPubSub",
                           "%s: what answers at %s is not Pub/Sub (%.200s): check endpoint or emulator",
                           call->about.what, call->about.endpoint, d.text[0] ? d.text : err_name(e));
        f.status = r->status;
        end_failed(call, &f);
    } else {
        a.received = reply.received;
        a.received_count = reply.received_count;
        a.message_ids = reply.ids;
        a.message_id_count = reply.id_count;
        a.body = call->kind == PUBSUB_PLAIN ? r->body : SLICE("");
        end(call, &a);
    }
    pubsub_reply_fini(&reply);
}

static void wait_for_token(struct pubsub_call *call)
{
    list_remove(&call->link);
    list_push_back(&call->client->waiting, &call->link);
}

static void answered(struct http_exchange *x, enum err e, const struct http_response *r, const char *detail)
{
    struct pubsub_call *call = container_of(x, struct pubsub_call, exchange);
    struct pubsub_client *c = call->client;
    struct pubsub_failure f;
    call->flying = false;
    if (e != OK) {
        pubsub_failure_none(&f, &call->about, e, detail);
        end_failed(call, &f);
    } else if (r->status >= 200 && r->status <= 299) {
        end_read(call, r);
    } else if (r->status == 504 && call->kind == PUBSUB_PULL) {
        end_empty(call, r->status); /* the service gave up waiting for a message */
    } else if (r->status == 401 && !call->renewed && c->settings.identity != PUBSUB_NOBODY) {
        call->renewed = true;
        pubsub_token_refused(&c->token, call->token_serial);
        wait_for_token(call);
        if (pubsub_token_ready(&c->token)) /* another one came meanwhile */
            pubsub_client_token(c, NULL);
    } else {
        call->about.email = c->token.email[0] ? c->token.email : NULL;
        pubsub_failure_read(&f, &call->about, r);
        end_failed(call, &f);
    }
}

/* ---- lanes of pulls ---- */

/* NULL: no memory. */
static struct http_origin *pull_origin(struct pubsub_client *c, struct slice path)
{
    struct http_origin *o = map_get(&c->pulls, path);
    if (o || http_origin_get(c->http, &c->url, path, &o) != OK)
        return o;
    return map_add(&c->pulls, path, o) == OK ? o : http_origin_unref(o);
}

void pubsub_client_pull_forget(struct pubsub_client *c, struct slice path)
{
    http_origin_unref(map_remove(&c->pulls, path));
}

/* ---- the question ---- */

static void write_head(struct pubsub_call *call)
{
    const struct pubsub_client *c = call->client;
    struct buf *h = &call->head;
    buf_clear(h);
    buf_printf(h, "%s %s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: leat/" LEAT_VERSION "\r\nAccept: application/json\r\n",
               call->method, call->path, SLICE_ARG(c->url.authority));
    if (c->token.value)
        buf_printf(h, "Authorization: Bearer %s\r\n", c->token.value);
    if (call->body.len)
        buf_put_str(h, "Content-Type: application/json\r\n");
    if (call->body.len || strcmp(call->method, "GET") != 0)
        buf_printf(h, "Content-Length: %zu\r\n", call->body.len);
    buf_put_str(h, "\r\n");
}

static struct http_origin *origin_of(struct pubsub_client *c, const struct pubsub_call *call)
{
    if (call->kind != PUBSUB_PULL)
        return c->origin;
    return call->at_once ? c->glances : pull_origin(c, slice_str(call->path));
}

static enum err send_call(struct pubsub_call *call)
{
    write_head(call);
    call->token_serial = call->client->token.serial;
    call->exchange =
        (struct http_exchange){.done = answered,
                               .head = buf_slice(&call->head),
                               .body = buf_slice(&call->body),
                               .body_max = PUBSUB_REPLY_BYTES_MAX,
                               .timeout_ns = call->kind == PUBSUB_PULL && !call->at_once ? PULL_NS : CALL_NS};
    struct pubsub_client *c = call->client;
    struct http_origin *o = origin_of(c, call);
    enum err e = o ? buf_error(&call->head) : ERR_NOMEM;
    if (!e)
        e = http_exchange_start(o, &call->exchange);
    if (e)
        return e;
    call->flying = true;
    list_remove(&call->link);
    list_push_back(&call->client->flying, &call->link);
    return OK;
}

/* One that waited for its token. */
static void go(struct pubsub_call *call)
{
    struct pubsub_failure f;
    enum err e = send_call(call);
    if (e == OK)
        return;
    pubsub_failure_none(&f, &call->about, e, "");
    end_failed(call, &f);
}

enum err pubsub_call_begin(struct pubsub_call *call, struct pubsub_call **out)
{
    struct pubsub_client *c = call->client;
    enum err e = buf_error(&call->body);
    if (!e && (!call->path || !call->about.what))
        e = ERR_NOMEM;
    list_init(&call->link);
    list_push_back(&c->waiting, &call->link);
    if (!e && pubsub_token_ready(&c->token))
        e = send_call(call);
    if (e) {
        list_remove(&call->link);
        pubsub_call_free(call);
        return e;
    }
    if (out)
        *out = call;
    return OK;
}

/* ---- tokens ---- */

void pubsub_client_token(struct pubsub_client *c, const struct pubsub_failure *f)
{
    c->token_failed = f != NULL;
    if (f) {
        c->token_failure = *f;
        list_splice_back(&c->ending, &c->waiting);
    }
    loop_defer(c->loop, &c->token_task);
}

static void token_task(struct loop_task *task)
{
    struct pubsub_client *c = container_of(task, struct pubsub_client, token_task);
    struct pubsub_failure f = c->token_failure; /* a done may ask anew, and fail anew */
    while (!list_empty(&c->ending))
        end_failed(container_of(c->ending.next, struct pubsub_call, link), &f);
    while (!list_empty(&c->waiting) && c->token.value)
        go(container_of(c->waiting.next, struct pubsub_call, link));
}

/* ---- the client ---- */

static enum err open_http(struct pubsub_client *c, struct diag *d)
{
    const struct http_client_options options = {.connections_max = CONNECTIONS_MAX, .ca_file = c->settings.ca};
    enum err e = http_client_new(c->loop, &options, &c->http);
    if (!e)
        e = http_url_parse(slice_str(c->settings.endpoint), &c->url, d);
    if (!e)
        e = http_origin_get(c->http, &c->url, SLICE(""), &c->origin);
    return e ? e : http_origin_get(c->http, &c->url, SLICE("pull"), &c->glances);
}

enum err pubsub_client_new(struct loop *loop, const struct pubsub_param *params, size_t count,
                           struct pubsub_client **out, struct diag *d)
{
    struct pubsub_client *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    enum err e = pubsub_settings_read(params, count, &c->settings, d);
    if (e) {
        free(c);
        return e;
    }
    c->loop = loop;
    list_init(&c->waiting);
    list_init(&c->ending);
    list_init(&c->flying);
    map_init(&c->pulls, SIZE_MAX);
    loop_task_init(&c->token_task, token_task);
    pubsub_token_init(&c->token, c);
    e = open_http(c, d);
    if (e)
        pubsub_client_free(c);
    else
        *out = c;
    return e;
}

static void cancel_all(struct list *calls)
{
    while (!list_empty(calls))
        pubsub_cancel(container_of(calls->next, struct pubsub_call, link));
}

void pubsub_client_free(struct pubsub_client *c)
{
    if (!c)
        return;
    cancel_all(&c->waiting);
    cancel_all(&c->ending);
    cancel_all(&c->flying);
    loop_task_cancel(&c->token_task);
    pubsub_token_fini(&c->token);
    map_each(entry, next, &c->pulls)
        http_origin_unref(entry->value);
    map_fini(&c->pulls);
    http_origin_unref(c->origin);
    http_origin_unref(c->glances);
    http_client_free(c->http);
    http_url_fini(&c->url);
    pubsub_settings_fini(&c->settings);
    free(c);
}

const char *pubsub_client_project(const struct pubsub_client *c)
{
    return c->settings.project;
}

const char *pubsub_client_endpoint(const struct pubsub_client *c)
{
    return c->settings.endpoint;
}
