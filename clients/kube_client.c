/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests to an API server. Each reads the token's file anew: the kubelet renews it, and a file of a kilobyte costs
 * less than a rule about when. What is no 2xx answer becomes a sentence: the server's own (its Status object), and what
 * to do.
 */
#include "kube_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

#define HEAD_MAX (64u << 10)
#define TOKEN_MAX (16u << 10) /* a service account's has about a kilobyte */
#define RETRY_AFTER_S_MAX 300

/* ---- requests ---- */

static enum err put_token(struct kube *k, struct buf *b, struct diag *d)
{
    char token[TOKEN_MAX + 1];
    ssize_t n = 0;
    const char *t = k->config.token;
    if (k->config.token_file) {
        int fd = open(k->config.token_file, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, token, TOKEN_MAX);
        int why = errno;
        if (fd >= 0)
            close(fd);
        if (n < 0)
            return diag_set(d, ERR_IO, "the token's file %.300s cannot be read: %s", k->config.token_file,
                            strerror(why));
        token[n] = '\0';
        token[strcspn(token, "\r\n")] = '\0';
        t = token;
    }
    if (!t || !*t)
        return OK;
    for (const char *c = t; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
            return diag_set(d, ERR_INVALID, "the token (%.300s) holds a character that no token has",
                            k->config.token_file ? k->config.token_file : k->config.came_from);
    buf_printf(b, "Authorization: Bearer %s\r\n", t);
    explicit_bzero(token, sizeof token);
    return OK;
}

static void finish(struct kube_call *c, struct kube_answer *a)
{
    c->under_way = false;
    buf_fini(&c->head);
    c->kube->calls--;
    c->done(c, a);
}

/* The `message` of a Status, or nothing. */
static void server_says(struct slice body, char *out, size_t size)
{
    struct json_value v, message;
    struct diag d = {0};
    out[0] = '\0';
    if (json_check(body, KUBE_DEPTH_MAX, &v, &d) != OK || v.type != JSON_OBJECT ||
        !json_find(v, (const char *const[]){"message", NULL}, &message) || message.type != JSON_STRING ||
        message.raw.len - 2 >= size)
        return;
    out[json_unescape_into(message.raw, out)] = '\0';
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
}

static const struct {
    int status;
    enum err err;
    const char *reason, *text;
} refusals[] = {
    {401, ERR_DENIED, "Unauthorized", "it does not accept the token or certificate; get a new one"},
    {403, ERR_DENIED, "Forbidden", "grant get, list and watch to its service account by a Role or ClusterRole"},
    {404, ERR_NOTFOUND, "NotFound", "the resource is not served; is its CustomResourceDefinition there?"},
    {410, ERR_CONFLICT, "Expired", "the version is not known any more"},
    {429, ERR_UNAVAILABLE, "TooManyRequests", "it is asked again later"},
};

static void refuse(const struct kube *k, const struct http_response *r, struct slice body, struct kube_answer *a,
                   char *text)
{
    char said[300];
    const char *what = r->status >= 500 ? "it is asked again later" : "the answer was not expected";
    a->err = r->status >= 500 ? ERR_UNAVAILABLE : ERR_PROTOCOL;
    a->reason = r->status >= 500 ? "ServerFailed" : "UnexpectedAnswer";
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (refusals[i].status == r->status) {
            a->err = refusals[i].err;
            a->reason = refusals[i].reason;
            what = refusals[i].text;
        }
    server_says(body, said, sizeof said);
    snprintf(text, KUBE_TEXT_MAX, "%.120s answered %d%s%s; %s", k->config.server, r->status, said[0] ? ": " : "", said,
             what);
}

static uint64_t retry_after(const struct http_response *r)
{
    uint64_t seconds;
    for (size_t i = 0; i < r->header_count; i++)
        if (slice_eq_nocase(r->headers[i].name, SLICE("Retry-After")) &&
            decimal_parse(r->headers[i].value, RETRY_AFTER_S_MAX, &seconds) == OK)
            return seconds * NS_PER_S;
    return 0;
}

static void answered(struct http_exchange *x, enum err err, const struct http_response *r, const char *detail)
{
    struct kube_call *c = container_of(x, struct kube_call, exchange);
    struct kube *k = c->kube;
    char text[KUBE_TEXT_MAX] = "";
    struct kube_answer a = {.err = err, .reason = "Connected", .text = text};
    if (err != OK) {
        a.reason = strstr(detail, "certificate") ? "CertificateNotTrusted" : "NotReachable";
        snprintf(text, sizeof text, "%.120s: %.400s%s", k->config.server, detail[0] ? detail : err_name(err),
                 strstr(detail, "certificate") ? "; is it signed by the CA of the kubeconfig?" : "");
    } else {
        struct slice body = c->data ? slice_of(c->denied, c->denied_len) : r->body;
        if (c->data && !c->denied_len)
            body = r->body;
        if (c->data && r->status >= 200 && r->status <= 299 && r->body.len) /* the last piece came with the end */
            c->data(x, r->status, r->body);
        a.status = r->status;
        a.body = body;
        a.retry_after_ns = retry_after(r);
        if (r->status < 200 || r->status > 299) {
            refuse(k, r, body, &a, text);
        } else if (r->body_cut) {
            a.err = ERR_TOO_LARGE;
            a.reason = "TooLarge";
            snprintf(text, sizeof text, "an answer of %.120s has more than %u MiB", k->config.server,
                     KUBE_PAGE_MAX >> 20);
        }
    }
    finish(c, &a);
}

/* Pieces of an answer without end; of one that is no 2xx the beginning is kept, for the sentence. */
static void piece(struct http_exchange *x, int status, struct slice piece)
{
    struct kube_call *c = container_of(x, struct kube_call, exchange);
    if (status >= 200 && status <= 299) {
        c->data(x, status, piece);
        return;
    }
    size_t room = sizeof c->denied - c->denied_len, n = piece.len < room ? piece.len : room;
    memcpy(c->denied + c->denied_len, piece.ptr, n);
    c->denied_len += n;
}

enum err kube_get(struct kube *k, struct kube_call *c, const char *target, size_t body_max, uint64_t timeout_ns,
                  http_data_fn *data, kube_done_fn *done, struct diag *d)
{
    struct slice base = k->url.target;
    assert(!c->under_way);
    while (base.len && base.ptr[base.len - 1] == '/')
        base.len--;
    buf_init(&c->head, HEAD_MAX);
    buf_printf(&c->head, "GET %.*s%s HTTP/1.1\r\nHost: %.*s\r\nAccept: application/json\r\nUser-Agent: leat\r\n",
               SLICE_ARG(base), target, SLICE_ARG(k->url.authority));
    enum err e = put_token(k, &c->head, d);
    buf_put_str(&c->head, "\r\n");
    if (e == OK)
        e = buf_error(&c->head);
    c->kube = k;
    c->done = done;
    c->data = data;
    c->denied_len = 0;
    c->exchange = (struct http_exchange){.done = answered,
                                         .head = buf_slice(&c->head),
                                         .data = data ? piece : NULL,
                                         .body_max = body_max,
                                         .timeout_ns = timeout_ns};
    if (e == OK)
        e = http_exchange_start(k->origin, &c->exchange);
    if (e != OK) {
        buf_fini(&c->head);
        return e;
    }
    c->under_way = true;
    k->calls++;
    return OK;
}

void kube_call_cancel(struct kube_call *c)
{
    if (!c->under_way)
        return;
    http_exchange_cancel(&c->exchange);
    c->under_way = false;
    c->kube->calls--;
    buf_fini(&c->head);
}

/* ---- life ---- */

static void fini(struct kube *k)
{
    http_origin_unref(k->origin);
    http_client_free(k->client);
    http_url_fini(&k->url);
    kube_config_fini(&k->config);
    free(k);
}

enum err kube_new(struct loop *loop, struct kube_config *config, struct kube **out, struct diag *d)
{
    struct kube *k = calloc(1, sizeof *k);
    struct diag why = {0};
    if (!k) {
        kube_config_fini(config);
        return ERR_NOMEM;
    }
    k->config = *config;
    *config = (struct kube_config){.fds = {-1, -1, -1}};
    k->loop = loop;
    k->refs = 1;
    list_init(&k->watches);
    prng_seed_system(&k->prng);
    enum err e = http_url_parse(slice_str(k->config.server), &k->url, &why);
    if (e == ERR_INVALID)
        diag_set(d, e, "%.200s: server: %.300s", k->config.came_from, why.text);
    const struct http_client_options options = {.ca_file = k->config.ca_file,
                                                .certificate_file = k->config.certificate_file,
                                                .key_file = k->config.key_file,
                                                .insecure = k->config.insecure,
                                                .connections_max = KUBE_CONNECTIONS_MAX};
    if (e == OK)
        e = http_client_new(loop, &options, &k->client);
    if (e == OK)
        e = http_origin_get(k->client, &k->url, SLICE(""), &k->origin);
    if (e != OK) {
        fini(k);
        return e;
    }
    *out = k;
    return OK;
}

struct kube *kube_ref(struct kube *k)
{
    k->refs++;
    return k;
}

struct kube *kube_unref(struct kube *k)
{
    if (!k || --k->refs > 0)
        return NULL;
    kube_watches_free(k);
    assert(k->calls == 0);
    fini(k);
    return NULL;
}

const struct kube_config *kube_config_of(const struct kube *k)
{
    return &k->config;
}
