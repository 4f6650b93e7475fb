/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the Pub/Sub client share.
 *
 *     pubsub_params.c    settings out of parameters and environment
 *     pubsub_key.c       a service account's key, and the assertion it signs
 *     pubsub_token.c     bearer tokens: fetched, kept, renewed before they end
 *     pubsub_client.c    the client, and a call's life
 *     pubsub_calls.c     what is asked: paths and bodies
 *     pubsub_reply.c     what is answered: messages and ids (pure)
 *     pubsub_failure.c   what is refused, in words for people (pure)
 */
#ifndef LEAT_PUBSUB_PRIVATE_H
#define LEAT_PUBSUB_PRIVATE_H

#include "http_client.h"
#include "list.h"
#include "map.h"
#include "pubsub.h"

#define PUBSUB_SCOPE "https://www.googleapis.com/auth/pubsub"
#define PUBSUB_TOKEN_URI "https://oauth2.googleapis.com/token"
#define PUBSUB_KEY_BYTES_MAX (64u << 10)   /* of a key file; Google's have 2.4 KB */
#define PUBSUB_TOKEN_BYTES_MAX (32u << 10) /* of a token and its JSON */
#define PUBSUB_JSON_DEPTH_MAX 64           /* of an answer; those of Pub/Sub have six */

/* ---- settings ---- */

enum pubsub_identity { PUBSUB_NOBODY, PUBSUB_KEY, PUBSUB_KEY_FILE, PUBSUB_METADATA };

struct pubsub_settings { /* all owned; NULL: not given */
    char *project;
    char *endpoint; /* URL, without a slash at its end */
    enum pubsub_identity identity;
    char *key, *key_file, *token_url, *metadata, *ca;
};
enum err pubsub_settings_read(const struct pubsub_param *params, size_t count, struct pubsub_settings *out,
                              struct diag *d) must_check;
void pubsub_settings_fini(struct pubsub_settings *s);

/* ---- a service account's key ---- */

struct evp_pkey_st;
struct pubsub_key { /* all owned */
    char *email, *id, *token_uri, *project;
    struct evp_pkey_st *secret;
};
/* ERR_INVALID with *d saying what is wrong with the key; none of it is ever quoted but its type. */
enum err pubsub_key_read(struct slice json, struct pubsub_key *out, struct diag *d) must_check;
enum err pubsub_key_read_file(const char *path, struct pubsub_key *out, struct diag *d) must_check;
void pubsub_key_fini(struct pubsub_key *k);
/* Appends the signed JWT (RS256, RFC 7523) for which the token endpoint gives a token. now_s: since 1970. */
enum err pubsub_key_assertion(const struct pubsub_key *k, const char *audience, int64_t now_s,
                              struct buf *out) must_check;

/* ---- failures ---- */

struct pubsub_failure {
    enum err err;
    int status;
    bool retryable;
    uint64_t retry_after_ns;
    const char *code; /* a constant */
    char text[600];
};
/* What a call was about. */
struct pubsub_about {
    const char *endpoint, *project;
    char *what;        /* owned by the call: "publishing to projects/p/topics/t" */
    const char *role;  /* that allows it: "roles/pubsub.publisher" */
    const char *email; /* of the service account; NULL: not known */
};
void pubsub_failure_set(struct pubsub_failure *f, enum err err, bool retryable, const char *code, const char *format,
                        ...) __attribute__((format(printf, 5, 6)));
/* Of an answer that is no 2xx. */
void pubsub_failure_read(struct pubsub_failure *f, const struct pubsub_about *about, const struct http_response *r);
/* Of an exchange that got none. */
void pubsub_failure_none(struct pubsub_failure *f, const struct pubsub_about *about, enum err e, const char *detail);
/* Of a token that was not given: `where` is the URL asked. */
void pubsub_failure_token(struct pubsub_failure *f, enum pubsub_identity identity, const char *where, enum err e,
                          const struct http_response *r, const char *detail);

/* ---- answers ---- */

struct pubsub_reply { /* of a pull or a publish; its slices point into `texts` */
    struct pubsub_received *received;
    size_t received_count;
    struct slice *ids;
    size_t id_count;
    struct ce_pubsub_attribute *attributes; /* of all messages, one after the other */
    struct buf texts;
};
/* ERR_PROTOCOL with *d: not what Pub/Sub answers; ERR_NOMEM. */
enum err pubsub_reply_pulled(struct slice json, struct pubsub_reply *out, struct diag *d) must_check;
enum err pubsub_reply_published(struct slice json, struct pubsub_reply *out, struct diag *d) must_check;
void pubsub_reply_fini(struct pubsub_reply *r);

/* ---- tokens ---- */

struct pubsub_client;
struct pubsub_token {
    struct pubsub_client *client;
    char *value;                      /* owned; NULL: none */
    uint64_t good_until_ns, renew_ns; /* of the loop's clock */
    uint64_t serial;                  /* counts tokens: who was refused knows whether it was this one */
    struct pubsub_key key;
    char email[256]; /* of the account that the last key was of; "" */
    bool has_key, fetching;
    struct http_url url;
    struct http_origin *origin;
    struct http_exchange exchange;
    struct buf head, body;
};
void pubsub_token_init(struct pubsub_token *t, struct pubsub_client *c);
void pubsub_token_fini(struct pubsub_token *t);
/* Whether a call may go now: a token is there, or none is needed. Begins to fetch one where it is missing or soon over;
 * when that has ended, pubsub_client_token runs. */
bool pubsub_token_ready(struct pubsub_token *t);
/* The token of this number was refused: another one is needed. */
void pubsub_token_refused(struct pubsub_token *t, uint64_t serial);

/* ---- the client and its calls ---- */

struct pubsub_client {
    struct loop *loop;
    struct http_client *http;
    struct pubsub_settings settings;
    struct http_url url;
    struct http_origin *origin;  /* for all but pulls */
    struct http_origin *glances; /* for pulls that do not wait */
    struct map pulls;            /* path of a subscription's pull -> its origin, one reference each */
    struct pubsub_token token;
    struct list waiting; /* calls, for a token */
    struct list ending;  /* of those, what the last token's failure ends */
    struct list flying;  /* calls whose request is under way */
    struct loop_task token_task;
    bool token_failed;
    struct pubsub_failure token_failure;
};
/* A token came (f NULL), or did not: what waits for it goes on, or ends, at the end of the turn. */
void pubsub_client_token(struct pubsub_client *c, const struct pubsub_failure *f);

enum pubsub_kind { PUBSUB_PLAIN, PUBSUB_PUBLISH, PUBSUB_PULL };

struct pubsub_call {
    struct list link; /* in one of the client's three lists */
    struct pubsub_client *client;
    enum pubsub_kind kind;
    const char *method;
    char *path; /* owned, "/v1/projects/..." coded for a request line */
    struct pubsub_about about;
    struct buf head, body;
    struct http_exchange exchange;
    uint64_t token_serial;
    size_t expected; /* publish: messages */
    bool at_once;    /* pull: it does not wait for a message */
    bool flying, renewed;
    pubsub_done_fn *done;
    void *arg;
};
/* Takes the call over: sends it when there is a token. Not OK: it is freed, and no done runs. */
enum err pubsub_call_begin(struct pubsub_call *call, struct pubsub_call **out) must_check;
/* Lets go of the connections of a subscription's pulls, by the path of these. */
void pubsub_client_pull_forget(struct pubsub_client *c, struct slice path);
void pubsub_call_free(struct pubsub_call *call);

#endif
