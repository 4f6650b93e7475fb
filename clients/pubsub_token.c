/* SPDX-License-Identifier: Apache-2.0
 *
 * Bearer tokens: fetched at the token endpoint for an assertion that the key signs, or at the machine's metadata
 * server; kept until they end, and renewed some minutes before, while calls still go with the old one. One fetch at a
 * time, for all calls that wait. After a failure the next call asks again: who calls knows how long to wait. On the
 * client's loop.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "pubsub_private.h"
#include "text.h"

#define FETCH_NS (15 * NS_PER_S)
#define LIFE_S_MAX (24 * 3600)           /* Google's have an hour */
#define RENEW_BEFORE_NS (240 * NS_PER_S) /* the metadata server itself makes a new one five minutes before */
#define METADATA_PATH "/computeMetadata/v1/instance/service-accounts/default/token"

void pubsub_token_init(struct pubsub_token *t, struct pubsub_client *c)
{
    t->client = c;
    buf_init(&t->head, PUBSUB_TOKEN_BYTES_MAX);
    buf_init(&t->body, PUBSUB_TOKEN_BYTES_MAX);
}

static void forget(struct pubsub_token *t)
{
    if (t->value)
        OPENSSL_cleanse(t->value, strlen(t->value));
    free(t->value);
    t->value = NULL;
}

/* What belongs to one fetch. */
static void fetch_end(struct pubsub_token *t)
{
    t->fetching = false;
    t->origin = http_origin_unref(t->origin);
    http_url_fini(&t->url);
    t->url = (struct http_url){.text = NULL};
    if (t->has_key)
        pubsub_key_fini(&t->key);
    t->has_key = false;
    buf_clear(&t->head);
    buf_clear(&t->body);
}

void pubsub_token_fini(struct pubsub_token *t)
{
    if (t->fetching)
        http_exchange_cancel(&t->exchange);
    fetch_end(t);
    forget(t);
    buf_fini(&t->head);
    buf_fini(&t->body);
}

/* ---- the answer ---- */

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
            return false;
    return s.len > 0;
}

/* {"access_token": "...", "expires_in": 3599, ...} */
static bool take(struct pubsub_token *t, struct slice json)
{
    struct json_value v, token, life;
    struct buf text;
    uint64_t seconds = 3600, now = loop_now_ns(t->client->loop);
    if (json_check(json, PUBSUB_JSON_DEPTH_MAX, &v, NULL) != OK || v.type != JSON_OBJECT ||
        !json_find(v, (const char *const[]){"access_token", NULL}, &token) || token.type != JSON_STRING)
        return false;
    if (json_find(v, (const char *const[]){"expires_in", NULL}, &life) &&
        (decimal_parse(life.raw, LIFE_S_MAX, &seconds) != OK || seconds == 0))
        return false;
    buf_init(&text, PUBSUB_TOKEN_BYTES_MAX);
    json_unescape(token.raw, &text);
    char *value = is_token(buf_slice(&text)) ? buf_take_string(&text) : NULL;
    buf_fini(&text);
    if (!value)
        return false;
    forget(t);
    t->value = value;
    t->serial++;
    uint64_t before = seconds * NS_PER_S / 4 < RENEW_BEFORE_NS ? seconds * NS_PER_S / 4 : RENEW_BEFORE_NS;
    t->good_until_ns = now + seconds * NS_PER_S;
    t->renew_ns = t->good_until_ns - before;
    return true;
}

static void failed(struct pubsub_token *t, const struct pubsub_failure *f)
{
    fetch_end(t);
    if (t->value && loop_now_ns(t->client->loop) < t->good_until_ns) {
        /* The old one serves on; not asked for again at each call. */
        t->renew_ns = loop_now_ns(t->client->loop) + FETCH_NS;
        return;
    }
    pubsub_client_token(t->client, f);
}

static void done(struct http_exchange *x, enum err e, const struct http_response *r, const char *detail)
{
    struct pubsub_token *t = container_of(x, struct pubsub_token, exchange);
    struct pubsub_failure f;
    if (e == OK && r->status == 200 && !r->body_cut && take(t, r->body)) {
        fetch_end(t);
        pubsub_client_token(t->client, NULL);
        return;
    }
    pubsub_failure_token(&f, t->client->settings.identity, t->url.text, e, r, detail);
    failed(t, &f);
}

/* ---- the question ---- */

static void write_request(struct pubsub_token *t, bool metadata)
{
    buf_printf(&t->head, "%s %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: leat/" LEAT_VERSION "\r\n",
               metadata ? "GET" : "POST", SLICE_ARG(t->url.target), SLICE_ARG(t->url.authority));
    if (metadata)
        buf_put_str(&t->head, "Metadata-Flavor: Google\r\n\r\n");
    else
        buf_printf(&t->head, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n",
                   t->body.len);
}

/* The key is read anew each time: it may have been changed in its file. */
static enum err sign(struct pubsub_token *t, struct diag *d)
{
    const struct pubsub_settings *s = &t->client->settings;
    enum err e =
        s->key ? pubsub_key_read(slice_str(s->key), &t->key, d) : pubsub_key_read_file(s->key_file, &t->key, d);
    if (e)
        return e;
    t->has_key = true;
    snprintf(t->email, sizeof t->email, "%s", t->key.email);
    const char *own = t->key.token_uri ? t->key.token_uri : PUBSUB_TOKEN_URI;
    e = http_url_parse(slice_str(s->token_url ? s->token_url : own), &t->url, d);
    if (e)
        return e;
    buf_put_str(&t->body, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    return pubsub_key_assertion(&t->key, own, clock_wall_ns(loop_clock(t->client->loop)) / (int64_t)NS_PER_S, &t->body);
}

static enum err prepare(struct pubsub_token *t, struct diag *d)
{
    const struct pubsub_settings *s = &t->client->settings;
    bool metadata = s->identity == PUBSUB_METADATA;
    enum err e;
    if (metadata) {
        struct buf url;
        buf_init(&url, 1024);
        buf_put_str(&url, s->metadata);
        buf_put_str(&url, METADATA_PATH);
        e = buf_error(&url);
        if (!e)
            e = http_url_parse(buf_slice(&url), &t->url, d);
        buf_fini(&url);
    } else {
        e = sign(t, d);
    }
    if (!e)
        write_request(t, metadata);
    if (!e)
        e = buf_error(&t->head);
    return e ? e : http_origin_get(t->client->http, &t->url, SLICE("token"), &t->origin);
}

static enum err fetch(struct pubsub_token *t, struct diag *d)
{
    enum err e = prepare(t, d);
    t->exchange = (struct http_exchange){.done = done,
                                         .head = buf_slice(&t->head),
                                         .body = buf_slice(&t->body),
                                         .body_max = PUBSUB_TOKEN_BYTES_MAX,
                                         .timeout_ns = FETCH_NS};
    return e ? e : http_exchange_start(t->origin, &t->exchange);
}

static void begin(struct pubsub_token *t)
{
    struct diag d = {0};
    struct pubsub_failure f;
    enum err e = fetch(t, &d);
    t->fetching = e == OK;
    if (e == OK)
        return;
    pubsub_failure_set(&f, e == ERR_INVALID ? ERR_DENIED : e, e != ERR_INVALID,
                       e == ERR_INVALID ? "WrongCredentials" : "CredentialsUnavailable",
                       "no token can be asked for: %.400s", d.text[0] ? d.text : err_name(e));
    failed(t, &f);
}

bool pubsub_token_ready(struct pubsub_token *t)
{
    uint64_t now = loop_now_ns(t->client->loop);
    if (t->client->settings.identity == PUBSUB_NOBODY)
        return true;
    bool good = t->value && now < t->good_until_ns;
    if (!t->fetching && (!good || now >= t->renew_ns))
        begin(t);
    return t->value && now < t->good_until_ns;
}

void pubsub_token_refused(struct pubsub_token *t, uint64_t serial)
{
    if (serial == t->serial)
        forget(t);
}
