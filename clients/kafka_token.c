/* SPDX-License-Identifier: Apache-2.0
 *
 * Bearer tokens for SASL OAUTHBEARER (RFC 7628): the one that was given, or fetched from a token endpoint with client
 * credentials (RFC 6749 section 4.4). One token serves all handles of a client. librdkafka asks when a handle begins
 * and when four fifths of a token's life are over, on a thread of its own, so fetching may block; after a failure it
 * asks again ten seconds later.
 */
#include <assert.h>
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "kafka_private.h"
#include "text.h"

#define FETCH_MS 10000L
#define ANSWER_BYTES_MAX (64u << 10)
#define TOKEN_BYTES_MAX (32u << 10)
#define LIFE_MS_UNKNOWN                                                                                                \
    (60 * 60 * 1000ll) /* of a token that does not say when it ends: handed out again after that                       \
                        */
#define LIFE_S_MAX (365 * 24 * 60 * 60)

enum err kafka_tokens_init(struct kafka_tokens *t)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ERR_NOMEM;
    return pthread_mutex_init(&t->lock, NULL) == 0 ? OK : ERR_NOMEM;
}

static void wipe(char *s)
{
    if (s)
        OPENSSL_cleanse(s, strlen(s));
    free(s);
}

void kafka_tokens_fini(struct kafka_tokens *t)
{
    wipe(t->value);
    free(t->principal);
    pthread_mutex_destroy(&t->lock);
}

void kafka_token_fini(struct kafka_token *t)
{
    wipe(t->value);
    free(t->principal);
    *t = (struct kafka_token){NULL, NULL, 0};
}

/* ---- what a token says ---- */

/* base64url without padding (RFC 4648 section 5, RFC 7515 section 2). */
static enum err decode_url(struct slice text, struct buf *out)
{
    struct buf plain;
    buf_init(&plain, TOKEN_BYTES_MAX + 4);
    for (size_t i = 0; i < text.len; i++)
        buf_put_char(&plain, text.ptr[i] == '-' ? '+' : text.ptr[i] == '_' ? '/' : text.ptr[i]);
    while (plain.len % 4 && buf_error(&plain) == OK)
        buf_put_char(&plain, '=');
    enum err e = buf_error(&plain);
    if (e == OK)
        e = base64_decode(buf_slice(&plain), out);
    buf_fini(&plain);
    return e;
}

static bool member(struct json_value object, const char *name, enum json_type type, struct json_value *out)
{
    const char *const path[] = {name, NULL};
    return object.type == JSON_OBJECT && json_find(object, path, out) && out->type == type;
}

/* A number of seconds, its fraction cut off. */
static bool seconds(struct json_value number, uint64_t max, uint64_t *out)
{
    struct slice rest = number.raw;
    return decimal_parse(slice_split(&rest, '.'), max, out) == OK;
}

static char *string(struct json_value value)
{
    struct buf b;
    buf_init(&b, TOKEN_BYTES_MAX);
    json_unescape(value.raw, &b);
    char *s = buf_take_string(&b);
    buf_fini(&b);
    return s;
}

/* The claims of a JWT (RFC 7519): header.claims.signature. What is none, or says nothing, changes nothing. */
static void read_claims(struct slice token, struct kafka_token *out)
{
    struct slice rest = token;
    struct json_value claims, v;
    struct buf text;
    uint64_t s;
    slice_split(&rest, '.');
    buf_init(&text, TOKEN_BYTES_MAX);
    if (rest.ptr && decode_url(slice_split(&rest, '.'), &text) == OK &&
        json_check(buf_slice(&text), 16, &claims, NULL) == OK) {
        if (member(claims, "exp", JSON_NUMBER, &v) && seconds(v, INT64_MAX / 1000, &s))
            out->until_ms = (int64_t)s * 1000;
        if (member(claims, "sub", JSON_STRING, &v))
            out->principal = string(v);
    }
    buf_fini(&text);
}

enum err kafka_token_read(struct slice text, struct kafka_token *out)
{
    struct kafka_token t = {NULL, NULL, INT64_MAX};
    read_claims(text, &t);
    t.value = strndup(text.ptr ? text.ptr : "", text.len);
    if (!t.principal)
        t.principal = strdup("leat");
    if (!t.value || !t.principal) {
        kafka_token_fini(&t);
        return ERR_NOMEM;
    }
    *out = t;
    return OK;
}

enum err kafka_token_answer(struct slice body, int64_t now_ms, struct kafka_token *out, struct diag *d)
{
    struct json_value answer, v;
    uint64_t life_s;
    if (json_check(body, 64, &answer, NULL) != OK || !member(answer, "access_token", JSON_STRING, &v))
        return diag_set(d, ERR_PROTOCOL, "the token endpoint's answer holds no access_token");
    char *value = string(v);
    if (!value)
        return ERR_NOMEM;
    enum err e = kafka_token_read(slice_str(value), out);
    wipe(value);
    if (e == OK && member(answer, "expires_in", JSON_NUMBER, &v) && seconds(v, LIFE_S_MAX, &life_s))
        out->until_ms = now_ms + (int64_t)life_s * 1000;
    return e;
}

/* ---- fetching ---- */

static size_t take(char *bytes, size_t size, size_t n, void *arg)
{
    struct buf *b = arg;
    buf_put(b, slice_of(bytes, size * n));
    return buf_error(b) == OK ? size * n : 0;
}

/* The form of the request; NULL: no memory. To be freed. */
static char *form_of(CURL *curl, const char *scope)
{
    struct buf b;
    buf_init(&b, ANSWER_BYTES_MAX);
    buf_put_str(&b, "grant_type=client_credentials");
    if (scope) {
        char *escaped = curl_easy_escape(curl, scope, 0);
        buf_put_str(&b, "&scope=");
        buf_put_str(&b, escaped ? escaped : "");
        curl_free(escaped);
    }
    char *form = buf_take_string(&b);
    buf_fini(&b);
    return form;
}

/* The certificates of ssl.ca count beside the system's: the endpoint is often of the same house as the broker. */
static bool prepare(CURL *curl, const struct kafka_settings *s, const char *form, char *why, struct buf *body)
{
    const char *ca = s->value[KAFKA_CA];
    struct curl_blob blob = {(void *)(uintptr_t)ca, ca ? strlen(ca) : 0, CURL_BLOB_COPY};
    return curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_URL, s->value[KAFKA_TOKEN_URL]) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_POSTFIELDS, form) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERNAME, s->value[KAFKA_CLIENT_ID]) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PASSWORD, s->value[KAFKA_CLIENT_SECRET]) == CURLE_OK &&
           (!ca || curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK) &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, FETCH_MS) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, body) == CURLE_OK;
}

/* What the endpoint says is the matter: the word of RFC 6749 section 5.2, which has no secret in it. */
static enum err refused(long status, struct slice body, struct diag *d)
{
    struct json_value answer, v;
    char *word =
        json_check(body, 64, &answer, NULL) == OK && member(answer, "error", JSON_STRING, &v) ? string(v) : NULL;
    enum err e =
        diag_set(d, ERR_DENIED, "the token endpoint answered %ld%s%.40s", status, word ? ": " : "", word ? word : "");
    free(word);
    return e;
}

static enum err fetch(const struct kafka_settings *s, int64_t now_ms, struct kafka_token *out, struct diag *d)
{
    char why[CURL_ERROR_SIZE] = "";
    long status = 0;
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    CURL *curl = curl_easy_init();
    char *form = curl ? form_of(curl, s->value[KAFKA_SCOPE]) : NULL;
    enum err e;
    if (!form || !prepare(curl, s, form, why, &body)) {
        e = diag_set(d, ERR_NOMEM, "no memory");
    } else {
        CURLcode r = curl_easy_perform(curl);
        if (r != CURLE_OK)
            e = diag_set(d, ERR_UNAVAILABLE, "the token endpoint: %s", *why ? why : curl_easy_strerror(r));
        else if (curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK || status != 200)
            e = refused(status, buf_slice(&body), d);
        else
            e = kafka_token_answer(buf_slice(&body), now_ms, out, d);
    }
    if (body.ptr)
        OPENSSL_cleanse(body.ptr, body.cap);
    buf_fini(&body);
    free(form);
    curl_easy_cleanup(curl);
    return e;
}

/* ---- handing out ---- */

/* Under the lock: the token of all handles, made anew where four fifths of its life are over. */
static enum err renew(struct kafka_client *k, int64_t now_ms, struct diag *d)
{
    struct kafka_tokens *t = &k->tokens;
    const char *given = k->settings.value[KAFKA_TOKEN];
    if (t->value && now_ms >= t->from_ms && now_ms - t->from_ms < (t->until_ms - t->from_ms) / 5 * 4)
        return OK;
    struct kafka_token fresh;
    enum err e = given ? kafka_token_read(slice_str(given), &fresh) : fetch(&k->settings, now_ms, &fresh, d);
    if (e != OK)
        return e;
    if (fresh.until_ms == INT64_MAX)
        fresh.until_ms = now_ms + LIFE_MS_UNKNOWN;
    if (fresh.until_ms <= now_ms) {
        long long past_s = (now_ms - fresh.until_ms) / 1000;
        kafka_token_fini(&fresh);
        return diag_set(d, ERR_DENIED, "%s has expired, %lld s ago", given ? "sasl.token" : "the fetched token",
                        past_s);
    }
    wipe(t->value);
    free(t->principal);
    t->value = fresh.value;
    t->principal = fresh.principal;
    t->from_ms = now_ms;
    t->until_ms = fresh.until_ms;
    return OK;
}

void kafka_token_refresh(rd_kafka_t *handle, const char *config, void *client)
{
    struct kafka_client *k = client;
    struct kafka_tokens *t = &k->tokens;
    struct diag d = {.text = "no memory"};
    char text[300];
    int64_t now_ms = clock_wall_ns(clock_system()) / (int64_t)NS_PER_MS;
    (void)config;
    pthread_mutex_lock(&t->lock);
    bool good = renew(k, now_ms, &d) == OK;
    if (good && rd_kafka_oauthbearer_set_token(handle, t->value, t->until_ms, t->principal, NULL, 0, text,
                                               sizeof(text)) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        good = false;
        diag_set(&d, ERR_PROTOCOL, "%s", text);
    }
    pthread_mutex_unlock(&t->lock);
    if (!good) {
        kafka_settings_hide(&k->settings, d.text);
        rd_kafka_oauthbearer_set_token_failure(handle, d.text);
    }
}
