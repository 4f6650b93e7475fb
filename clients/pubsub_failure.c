/* SPDX-License-Identifier: Apache-2.0
 *
 * What Google refuses, in words for people: what was asked, what Google said, and what to do. Google's errors
 * (cloud.google.com/apis/design/errors) are JSON:
 *
 *     {"error": {"code": 403, "message": "…", "status": "PERMISSION_DENIED", "details": [
 *         {"@type": "…ErrorInfo", "reason": "SERVICE_DISABLED"}, {"@type": "…RetryInfo", "retryDelay": "1.5s"}]}}
 *
 * and those of a token endpoint {"error": "invalid_grant", "error_description": "…"} (RFC 6749 section 5.2). Pure
 * functions, any thread.
 */
#include <stdarg.h>
#include <stdio.h>

#include "json.h"
#include "pubsub_private.h"
#include "text.h"

#define WAIT_S_MAX 3600 /* nobody is asked to wait longer */
#define WORDS_MAX 240

void pubsub_failure_set(struct pubsub_failure *f, enum err err, bool retryable, const char *code, const char *format,
                        ...)
{
    va_list args;
    *f = (struct pubsub_failure){.err = err, .retryable = retryable, .code = code};
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
}

/* What Google said. */
struct words {
    bool known;           /* it is an error of Google's */
    char status[40];      /* "PERMISSION_DENIED" */
    char reason[60];      /* "SERVICE_DISABLED" */
    char text[WORDS_MAX]; /* one line */
    uint64_t wait_ns;
};

/* One line of a string, cut at a whole character. */
static void copy_text(struct json_value v, char *out, size_t size)
{
    struct buf b;
    if (v.type != JSON_STRING)
        return;
    buf_init(&b, 64u << 10);
    json_unescape(v.raw, &b);
    size_t len = b.len < size - 1 ? b.len : size - 1;
    while (len < b.len && len > 0 && ((unsigned char)b.ptr[len] & 0xC0) == 0x80)
        len--;
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)b.ptr[i] < ' ' || b.ptr[i] == 0x7F ? ' ' : b.ptr[i];
    out[len] = '\0';
    buf_fini(&b);
}

static bool find(struct json_value v, const char *const *path, struct json_value *out)
{
    return v.type == JSON_OBJECT && json_find(v, path, out);
}

/* "1.5s", as protobuf's Duration stands in JSON. */
static uint64_t delay_ns(struct json_value v)
{
    struct slice text = v.type == JSON_STRING && v.raw.len > 3 ? slice_of(v.raw.ptr + 1, v.raw.len - 2) : SLICE("");
    uint64_t seconds;
    if (!text.len || text.ptr[text.len - 1] != 's')
        return 0;
    text.len--;
    struct slice fraction = text, whole = slice_split(&fraction, '.');
    if (decimal_parse(whole, WAIT_S_MAX, &seconds) != OK)
        return 0;
    return seconds * NS_PER_S + (fraction.len ? NS_PER_S : 0);
}

static void read_details(struct json_value list, struct words *w)
{
    struct json_walk walk;
    struct json_value v;
    if (list.type != JSON_ARRAY)
        return;
    json_walk_begin(&walk, list);
    while (json_walk_next(&walk)) {
        if (find(walk.value, (const char *const[]){"reason", NULL}, &v))
            copy_text(v, w->reason, sizeof w->reason);
        if (find(walk.value, (const char *const[]){"retryDelay", NULL}, &v))
            w->wait_ns = delay_ns(v);
    }
}

static void read_words(const struct http_response *r, struct words *w)
{
    struct json_value v, error, part;
    struct slice header;
    uint64_t seconds;
    *w = (struct words){.known = false};
    if (!r->body_cut && json_check(r->body, PUBSUB_JSON_DEPTH_MAX, &v, NULL) == OK &&
        find(v, (const char *const[]){"error", NULL}, &error)) {
        w->known = true;
        if (find(error, (const char *const[]){"status", NULL}, &part))
            copy_text(part, w->status, sizeof w->status);
        if (find(error, (const char *const[]){"message", NULL}, &part))
            copy_text(part, w->text, sizeof w->text);
        if (find(error, (const char *const[]){"details", NULL}, &part))
            read_details(part, w);
    }
    if (http_header_find(r->headers, r->header_count, "Retry-After", &header) &&
        decimal_parse(header, WAIT_S_MAX, &seconds) == OK)
        w->wait_ns = seconds * NS_PER_S;
}

/* ---- of a call ---- */

static void denied(struct pubsub_failure *f, const struct pubsub_about *a, const struct words *w)
{
    if (strcmp(w->reason, "SERVICE_DISABLED") == 0 || strstr(w->text, "has not been used in project")) {
        pubsub_failure_set(f, ERR_DENIED, false, "ApiDisabled",
                           "the Pub/Sub API is not enabled in project %s: gcloud services enable pubsub.googleapis.com "
                           "--project %s (403 %s)",
                           a->project, a->project, w->text);
        return;
    }
    pubsub_failure_set(f, ERR_DENIED, false, "PermissionDenied",
                       "%s is not allowed to %s%s (403 %s): give it the role %s in project %s", a->what,
                       a->email ? "the service account " : "these credentials", a->email ? a->email : "", w->text,
                       a->role, a->project);
}

static void not_found(struct pubsub_failure *f, const struct pubsub_about *a, const struct words *w)
{
    if (!w->known)
        pubsub_failure_set(f, ERR_PROTOCOL, true, "NotPubSub",
                           "%s: what answers at %s is not Pub/Sub (404): check endpoint or emulator", a->what,
                           a->endpoint);
    else if (strstr(w->text, "roject not found"))
        pubsub_failure_set(
            f, ERR_NOTFOUND, false, "ProjectNotFound",
            "there is no project %s, or these credentials do not see it (404 %s): check the project's id", a->project,
            w->text);
    else
        pubsub_failure_set(f, ERR_NOTFOUND, false, "NotFound", "%s: there is no such topic or subscription (404 %s)",
                           a->what, w->text);
}

/* 400 and 409: the status tells more than the number. */
static void refused(struct pubsub_failure *f, const struct pubsub_about *a, const struct words *w, int status)
{
    if (status == 409 && strcmp(w->status, "ABORTED") != 0)
        pubsub_failure_set(f, ERR_EXISTS, false, "AlreadyExists", "%s: there is one already", a->what);
    else if (status == 409)
        pubsub_failure_set(f, ERR_CONFLICT, true, "Conflict", "%s: Pub/Sub was busy with it (409 %s)", a->what,
                           w->text);
    else if (strcmp(w->status, "FAILED_PRECONDITION") == 0)
        pubsub_failure_set(f, ERR_CONFLICT, false, "Conflict", "%s is not possible as things stand (400 %s)", a->what,
                           w->text);
    else
        pubsub_failure_set(f, ERR_INVALID, false, "Refused", "Pub/Sub refuses %s (%d %s)", a->what, status, w->text);
}

static void unavailable(struct pubsub_failure *f, const struct pubsub_about *a, const struct words *w, int status)
{
    if (status == 501)
        pubsub_failure_set(f, ERR_UNSUPPORTED, false, "Refused", "%s: what answers at %s cannot do that (501 %s)",
                           a->what, a->endpoint, w->text);
    else if (status == 504)
        pubsub_failure_set(f, ERR_TIMEOUT, true, "TimedOut", "%s took Pub/Sub too long (504 %s)", a->what, w->text);
    else if (status >= 500 || status == 499)
        pubsub_failure_set(f, ERR_UNAVAILABLE, true, "Unavailable", "%s: Pub/Sub answered %d %s", a->what, status,
                           w->text);
    else
        pubsub_failure_set(f, ERR_PROTOCOL, true, "NotPubSub",
                           "%s: what answers at %s is not Pub/Sub (%d): check endpoint or emulator", a->what,
                           a->endpoint, status);
}

void pubsub_failure_read(struct pubsub_failure *f, const struct pubsub_about *a, const struct http_response *r)
{
    struct words w;
    read_words(r, &w);
    switch (r->status) {
    case 401:
        pubsub_failure_set(f, ERR_DENIED, false, "WrongCredentials",
                           "Google refuses the credentials (401 %s): the key was perhaps deleted or disabled; make a "
                           "new key of the service account and give it as credentials",
                           w.text);
        break;
    case 403:
        denied(f, a, &w);
        break;
    case 404:
        not_found(f, a, &w);
        break;
    case 400:
    case 409:
        refused(f, a, &w, r->status);
        break;
    case 413:
        pubsub_failure_set(f, ERR_TOO_LARGE, false, "Refused", "%s: the request is too large for Pub/Sub (413 %s)",
                           a->what, w.text);
        break;
    case 429:
        pubsub_failure_set(f, ERR_FULL, true, "QuotaExceeded",
                           "%s: a quota of project %s is used up (429 %s); it is tried again, and can be raised in the "
                           "Google Cloud console (IAM, Quotas)",
                           a->what, a->project, w.text);
        break;
    default:
        unavailable(f, a, &w, r->status);
    }
    f->status = r->status;
    f->retry_after_ns = w.wait_ns;
}

void pubsub_failure_none(struct pubsub_failure *f, const struct pubsub_about *a, enum err e, const char *detail)
{
    bool late = e == ERR_TIMEOUT;
    pubsub_failure_set(f, e, true,
                       late             ? "TimedOut"
                       : e == ERR_NOMEM ? "NoMemory"
                                        : "Unreachable",
                       "%s: no answer from %s (%s)", a->what, a->endpoint, detail && *detail ? detail : err_name(e));
}

/* ---- of a token ---- */

static void token_refused(struct pubsub_failure *f, const char *where, const struct http_response *r)
{
    struct json_value v, part;
    char what[60] = "", text[WORDS_MAX] = "";
    if (!r->body_cut && json_check(r->body, PUBSUB_JSON_DEPTH_MAX, &v, NULL) == OK) {
        if (find(v, (const char *const[]){"error", NULL}, &part))
            copy_text(part, what, sizeof what);
        if (find(v, (const char *const[]){"error_description", NULL}, &part))
            copy_text(part, text, sizeof text);
    }
    pubsub_failure_set(f, ERR_DENIED, false, "WrongCredentials",
                       "%s gives no token for the key (%d %s%s%s): was it deleted, or its account disabled? The clock "
                       "of this machine must be right, too",
                       where, r->status, what, text[0] ? ": " : "", text);
}

void pubsub_failure_token(struct pubsub_failure *f, enum pubsub_identity identity, const char *where, enum err e,
                          const struct http_response *r, const char *detail)
{
    struct words w = {.wait_ns = 0};
    if (e == OK && identity != PUBSUB_METADATA && (r->status == 400 || r->status == 401 || r->status == 403)) {
        token_refused(f, where, r);
    } else if (e == OK && r->status == 200) {
        pubsub_failure_set(f, ERR_PROTOCOL, true, "CredentialsUnavailable", "%s answers with no token that is one",
                           where);
    } else if (e == OK && identity == PUBSUB_METADATA && r->status == 404) {
        pubsub_failure_set(f, ERR_DENIED, false, "CredentialsUnavailable",
                           "this machine has no service account (%s answers 404): attach one, or give a key as "
                           "credentials",
                           where);
    } else if (e == OK) {
        read_words(r, &w);
        pubsub_failure_set(f, ERR_UNAVAILABLE, true, "CredentialsUnavailable", "%s gives no token now (%d)", where,
                           r->status);
    } else if (identity == PUBSUB_METADATA) {
        pubsub_failure_set(f, e, true, "CredentialsUnavailable",
                           "no credentials: the metadata server does not answer at %s (%s); outside of Google Cloud "
                           "give a service account's key (GOOGLE_APPLICATION_CREDENTIALS)",
                           where, detail && *detail ? detail : err_name(e));
    } else {
        pubsub_failure_set(f, e, true, "CredentialsUnavailable", "no token: %s does not answer (%s)", where,
                           detail && *detail ? detail : err_name(e));
    }
    f->status = e == OK ? r->status : 0;
    f->retry_after_ns = w.wait_ns;
}
