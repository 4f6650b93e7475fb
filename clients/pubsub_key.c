/* SPDX-License-Identifier: Apache-2.0
 *
 * A service account's key (the JSON that Google hands out), and the assertion that it signs: a JWT of an hour (RFC
 * 7523, RS256), for which the token endpoint gives a bearer token. Any thread.
 */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "pem.h"
#include "pubsub_private.h"
#include "text.h"

#define ASSERTION_S 3600 /* the longest that Google takes */
#define WHERE                                                                                                          \
    "the key has no %s: it is not the JSON key of a service account (Google Cloud console, IAM, Service Accounts, "    \
    "Keys)"

void pubsub_key_fini(struct pubsub_key *k)
{
    EVP_PKEY_free(k->secret);
    free(k->email);
    free(k->id);
    free(k->token_uri);
    free(k->project);
    *k = (struct pubsub_key){.email = NULL};
}

/* The string member of this name; NULL: there is none, or no memory. */
static char *member(struct json_value object, const char *name)
{
    struct json_value v;
    struct buf b;
    if (!json_find(object, (const char *const[]){name, NULL}, &v) || v.type != JSON_STRING || v.raw.len <= 2)
        return NULL;
    buf_init(&b, PUBSUB_KEY_BYTES_MAX);
    json_unescape(v.raw, &b);
    char *text = buf_take_string(&b);
    buf_fini(&b);
    return text;
}

static EVP_PKEY *secret_read(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, pem_no_passphrase, NULL) : NULL;
    BIO_free(bio);
    if (key && EVP_PKEY_base_id(key) != EVP_PKEY_RSA) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

static enum err fill(struct json_value v, struct pubsub_key *k, struct diag *d)
{
    char *type = member(v, "type");
    bool account = type && strcmp(type, "service_account") == 0;
    if (type && !account)
        (void)diag_set(d, ERR_INVALID,
                       "the key's type is '%.60s', not service_account: make a key of a service account (Google Cloud "
                       "console, IAM, Service Accounts, Keys)",
                       type);
    else if (!type)
        (void)diag_set(d, ERR_INVALID, WHERE, "type");
    free(type);
    if (!account)
        return ERR_INVALID;
    k->email = member(v, "client_email");
    k->id = member(v, "private_key_id");
    k->token_uri = member(v, "token_uri");
    k->project = member(v, "project_id");
    if (!k->email)
        return diag_set(d, ERR_INVALID, WHERE, "client_email");
    char *pem = member(v, "private_key");
    if (!pem)
        return diag_set(d, ERR_INVALID, WHERE, "private_key");
    k->secret = secret_read(pem);
    explicit_bzero(pem, strlen(pem));
    free(pem);
    return k->secret ? OK
                     : diag_set(d, ERR_INVALID, "the key's private_key is no RSA key in PEM: was the file changed?");
}

enum err pubsub_key_read(struct slice json, struct pubsub_key *out, struct diag *d)
{
    struct json_value v;
    struct diag why = {0};
    struct pubsub_key k = {.email = NULL};
    if (json.len > PUBSUB_KEY_BYTES_MAX)
        return diag_set(d, ERR_INVALID, "the key has more than %u bytes", PUBSUB_KEY_BYTES_MAX);
    if (json_check(json, PUBSUB_JSON_DEPTH_MAX, &v, &why) != OK)
        return diag_set(d, ERR_INVALID, "the key is no JSON (line %d: %.200s); it is the file that Google gave",
                        why.line, why.text);
    if (v.type != JSON_OBJECT)
        return diag_set(d, ERR_INVALID, "the key is no JSON object; it is the file that Google gave");
    enum err e = fill(v, &k, d);
    if (e)
        pubsub_key_fini(&k);
    else
        *out = k;
    return e;
}

enum err pubsub_key_read_file(const char *path, struct pubsub_key *out, struct diag *d)
{
    char *text = malloc(PUBSUB_KEY_BYTES_MAX + 1);
    if (!text)
        return ERR_NOMEM;
    struct diag why = {0};
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, PUBSUB_KEY_BYTES_MAX + 1, f) : 0;
    bool good = f && !ferror(f);
    enum err e =
        good ? pubsub_key_read(slice_of(text, n), out, &why) : diag_set(&why, ERR_INVALID, "it cannot be read (%m)");
    if (f)
        fclose(f);
    if (e == ERR_INVALID)
        (void)diag_set(d, e, "the file %.200s: %.300s", path, why.text);
    explicit_bzero(text, n);
    free(text);
    return e;
}

/* RFC 4648 section 5, without padding. */
static void put_base64url(struct buf *out, struct slice bytes)
{
    size_t from = out->len;
    base64_put(out, bytes);
    if (out->error)
        return;
    while (out->len > from && out->ptr[out->len - 1] == '=')
        out->len--;
    for (size_t i = from; i < out->len; i++)
        out->ptr[i] = out->ptr[i] == '+' ? '-' : out->ptr[i] == '/' ? '_' : out->ptr[i];
}

static void put_claims(const struct pubsub_key *k, const char *audience, int64_t now_s, struct buf *out)
{
    struct buf json;
    buf_init(&json, PUBSUB_KEY_BYTES_MAX);
    buf_put_str(&json, "{\"alg\":\"RS256\",\"typ\":\"JWT\"");
    if (k->id) {
        buf_put_str(&json, ",\"kid\":");
        buf_put_json_string(&json, slice_str(k->id));
    }
    buf_put_char(&json, '}');
    put_base64url(out, buf_slice(&json));
    buf_put_char(out, '.');
    if (json.error && !out->error)
        out->error = json.error;
    buf_clear(&json);
    buf_put_str(&json, "{\"iss\":");
    buf_put_json_string(&json, slice_str(k->email));
    buf_put_str(&json, ",\"scope\":\"" PUBSUB_SCOPE "\",\"aud\":");
    buf_put_json_string(&json, slice_str(audience));
    buf_printf(&json, ",\"iat\":%lld,\"exp\":%lld}", (long long)now_s, (long long)now_s + ASSERTION_S);
    put_base64url(out, buf_slice(&json));
    if (json.error && !out->error)
        out->error = json.error;
    buf_fini(&json);
}

enum err pubsub_key_assertion(const struct pubsub_key *k, const char *audience, int64_t now_s, struct buf *out)
{
    size_t from = out->len, len = 0;
    unsigned char signature[1024]; /* of RSA keys of up to 8,192 bits */
    put_claims(k, audience, now_s, out);
    enum err e = buf_error(out);
    if (e)
        return e;
    struct slice text = slice_from(buf_slice(out), from);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && (size_t)EVP_PKEY_size(k->secret) <= sizeof signature;
    good = good && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->secret) == 1;
    len = sizeof signature;
    good = good && EVP_DigestSign(ctx, signature, &len, (const unsigned char *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    if (!good)
        return ERR_UNSUPPORTED;
    buf_put_char(out, '.');
    put_base64url(out, slice_of((const char *)signature, len));
    return buf_error(out);
}
