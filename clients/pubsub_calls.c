/* SPDX-License-Identifier: Apache-2.0
 *
 * What Pub/Sub is asked: paths and JSON of its v1 REST interface (cloud.google.com/pubsub/docs/reference/rest). On the
 * client's loop.
 */
#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "pubsub_private.h"
#include "text.h"

#define EDITOR "roles/pubsub.editor"
#define PUBLISHER "roles/pubsub.publisher"
#define SUBSCRIBER "roles/pubsub.subscriber"
#define NAME_LEN_MIN 3
#define NAME_LEN_MAX 255
#define MESSAGE_REST 64            /* bytes that a message takes beside what it holds */
#define ATTRIBUTE_REST 8           /* the same of an attribute */
#define BODY_BYTES_MAX (64u << 20) /* of a request: escapes may make the largest of ours six times longer */

/* ---- names ---- */

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || strchr("-_.~+%", c);
}

/* The id of "projects/P/KIND/ID", or all of a text without a slash. ptr NULL: neither. */
static struct slice id_of(const char *kind, const char *name)
{
    struct slice rest = slice_str(name), project = {NULL, 0};
    if (!strchr(name, '/'))
        return rest;
    if (!slice_eq_str(slice_split(&rest, '/'), "projects"))
        return slice_of(NULL, 0);
    project = slice_split(&rest, '/');
    if (!project.len || !slice_eq_str(slice_split(&rest, '/'), kind))
        return slice_of(NULL, 0);
    for (size_t i = 0; i < project.len; i++)
        if (!isalnum((unsigned char)project.ptr[i]) && !strchr("-_.:", project.ptr[i]))
            return slice_of(NULL, 0);
    return rest;
}

enum err pubsub_name_check(const char *kind, const char *name, struct diag *d)
{
    struct slice id = id_of(kind, name);
    bool good = id.len >= NAME_LEN_MIN && id.len <= NAME_LEN_MAX && isalpha((unsigned char)id.ptr[0]) &&
                !slice_has_prefix_nocase(id, SLICE("goog"));
    for (size_t i = 0; i < id.len && good; i++)
        good = name_char(id.ptr[i]);
    if (good)
        return OK;
    return diag_set(d, ERR_INVALID,
                    "'%.300s' is no id of Pub/Sub's: 3 to 255 of letters, digits and - _ . ~ + %%, a letter first, not "
                    "\"goog\"; or projects/PROJECT/%s/ID",
                    name, kind);
}

/* "projects/P/KIND/ID" */
static void put_name(struct buf *b, const struct pubsub_client *c, const char *kind, const char *name)
{
    if (!strchr(name, '/'))
        buf_printf(b, "projects/%s/%s/", c->settings.project, kind);
    buf_put_str(b, name);
}

/* ---- a call ---- */

static char *path_of(const struct pubsub_client *c, const char *kind, const char *name, const char *verb)
{
    struct buf full, path;
    buf_init(&full, 2048);
    buf_init(&path, 8192);
    put_name(&full, c, kind, name);
    buf_put_str(&path, "/v1/");
    for (size_t i = 0; i < full.len; i++) {
        if (full.ptr[i] == '%')
            buf_put_str(&path, "%25");
        else if (full.ptr[i] == '+')
            buf_put_str(&path, "%2B");
        else
            buf_put_char(&path, full.ptr[i]);
    }
    buf_put_str(&path, verb);
    char *text = full.error ? NULL : buf_take_string(&path);
    buf_fini(&full);
    buf_fini(&path);
    return text;
}

static char *what_of(const struct pubsub_client *c, const char *doing, const char *kind, const char *name)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_put_str(&b, doing);
    buf_put_char(&b, ' ');
    put_name(&b, c, kind, name);
    char *text = buf_take_string(&b);
    buf_fini(&b);
    return text;
}

/* What differs between calls. */
struct question {
    const char *method, *kind, *name;
    const char *verb;         /* ":publish"; "" */
    const char *doing, *role; /* "publishing to", PUBLISHER */
};

/* A call with an empty body, to be begun by pubsub_call_begin. */
static enum err call_new(struct pubsub_client *c, const struct question *q, pubsub_done_fn *done, void *arg,
                         struct pubsub_call **out)
{
    enum err e = pubsub_name_check(q->kind, q->name, NULL);
    struct pubsub_call *call = e ? NULL : calloc(1, sizeof *call);
    if (!call)
        return e ? e : ERR_NOMEM;
    call->client = c;
    call->method = q->method;
    call->path = path_of(c, q->kind, q->name, q->verb);
    call->about = (struct pubsub_about){.endpoint = c->settings.endpoint,
                                        .project = c->settings.project,
                                        .what = what_of(c, q->doing, q->kind, q->name),
                                        .role = q->role};
    buf_init(&call->head, SIZE_MAX / 2);
    buf_init(&call->body, BODY_BYTES_MAX);
    call->done = done;
    call->arg = arg;
    *out = call;
    return OK;
}

static enum err plain(struct pubsub_client *c, const struct question *q, pubsub_done_fn *done, void *arg,
                      struct pubsub_call **out)
{
    struct pubsub_call *call;
    enum err e = call_new(c, q, done, arg, &call);
    return e ? e : pubsub_call_begin(call, out);
}

/* ---- topics ---- */

enum err pubsub_topic_create(struct pubsub_client *c, const char *topic, const struct pubsub_topic_settings *settings,
                             pubsub_done_fn *done, void *arg, struct pubsub_call **out)
{
    const struct question q = {"PUT", "topics", topic, "", "making the topic", EDITOR};
    struct pubsub_call *call;
    enum err e = call_new(c, &q, done, arg, &call);
    if (e)
        return e;
    if (settings && settings->retention_s)
        buf_printf(&call->body, "{\"messageRetentionDuration\":\"%llus\"}", (unsigned long long)settings->retention_s);
    else
        buf_put_str(&call->body, "{}");
    return pubsub_call_begin(call, out);
}

enum err pubsub_topic_get(struct pubsub_client *c, const char *topic, pubsub_done_fn *done, void *arg,
                          struct pubsub_call **out)
{
    return plain(c, &(struct question){"GET", "topics", topic, "", "looking at the topic", "roles/pubsub.viewer"}, done,
                 arg, out);
}

enum err pubsub_topic_delete(struct pubsub_client *c, const char *topic, pubsub_done_fn *done, void *arg,
                             struct pubsub_call **out)
{
    return plain(c, &(struct question){"DELETE", "topics", topic, "", "deleting the topic", EDITOR}, done, arg, out);
}

/* ---- subscriptions ---- */

static void put_subscription(struct pubsub_call *call, const struct pubsub_subscription_settings *s)
{
    struct buf name;
    buf_init(&name, 2048);
    put_name(&name, call->client, "topics", s->topic);
    buf_put_str(&call->body, "{\"topic\":");
    buf_put_json_string(&call->body, buf_slice(&name));
    if (name.error && !call->body.error)
        call->body.error = name.error;
    buf_fini(&name);
    if (s->ack_deadline_s)
        buf_printf(&call->body, ",\"ackDeadlineSeconds\":%u", s->ack_deadline_s);
    if (s->retention_s)
        buf_printf(&call->body, ",\"messageRetentionDuration\":\"%llus\"", (unsigned long long)s->retention_s);
    if (s->retain_acked)
        buf_put_str(&call->body, ",\"retainAckedMessages\":true");
    if (s->ordering)
        buf_put_str(&call->body, ",\"enableMessageOrdering\":true");
    if (s->never_expires)
        buf_put_str(&call->body, ",\"expirationPolicy\":{}");
    else if (s->expires_s)
        buf_printf(&call->body, ",\"expirationPolicy\":{\"ttl\":\"%llus\"}", (unsigned long long)s->expires_s);
    buf_put_char(&call->body, '}');
}

enum err pubsub_subscription_create(struct pubsub_client *c, const char *subscription,
                                    const struct pubsub_subscription_settings *settings, pubsub_done_fn *done,
                                    void *arg, struct pubsub_call **out)
{
    const struct question q = {"PUT", "subscriptions", subscription, "", "making the subscription", EDITOR};
    struct pubsub_call *call;
    enum err e = pubsub_name_check("topics", settings->topic, NULL);
    if (!e)
        e = call_new(c, &q, done, arg, &call);
    if (e)
        return e;
    put_subscription(call, settings);
    return pubsub_call_begin(call, out);
}

enum err pubsub_subscription_get(struct pubsub_client *c, const char *subscription, pubsub_done_fn *done, void *arg,
                                 struct pubsub_call **out)
{
    const struct question q = {
        "GET", "subscriptions", subscription, "", "looking at the subscription", "roles/pubsub.viewer"};
    return plain(c, &q, done, arg, out);
}

enum err pubsub_subscription_delete(struct pubsub_client *c, const char *subscription, pubsub_done_fn *done, void *arg,
                                    struct pubsub_call **out)
{
    const struct question q = {"DELETE", "subscriptions", subscription, "", "deleting the subscription", EDITOR};
    char *pulls = path_of(c, "subscriptions", subscription, ":pull");
    if (pulls)
        pubsub_client_pull_forget(c, slice_str(pulls));
    free(pulls);
    return plain(c, &q, done, arg, out);
}

enum err pubsub_seek(struct pubsub_client *c, const char *subscription, int64_t wall_ns, pubsub_done_fn *done,
                     void *arg, struct pubsub_call **out)
{
    const struct question q = {"POST", "subscriptions", subscription, ":seek", "seeking in", SUBSCRIBER};
    struct pubsub_call *call;
    enum err e = call_new(c, &q, done, arg, &call);
    if (e)
        return e;
    buf_put_str(&call->body, "{\"time\":\"");
    rfc3339_put(&call->body, wall_ns, 9);
    buf_put_str(&call->body, "\"}");
    return pubsub_call_begin(call, out);
}

/* ---- publishing ---- */

size_t pubsub_message_bytes(const struct ce_pubsub_message *m)
{
    size_t n = MESSAGE_REST + m->data.len + m->ordering_key.len;
    for (size_t i = 0; i < m->attribute_count; i++)
        n += ATTRIBUTE_REST + m->attributes[i].name.len + m->attributes[i].value.len;
    return n;
}

static void put_message(struct buf *b, const struct ce_pubsub_message *m)
{
    buf_put_str(b, "{\"data\":\"");
    base64_put(b, m->data);
    buf_put_char(b, '"');
    for (size_t i = 0; i < m->attribute_count; i++) {
        buf_put_str(b, i ? "," : ",\"attributes\":{");
        buf_put_json_string(b, m->attributes[i].name);
        buf_put_char(b, ':');
        buf_put_json_string(b, m->attributes[i].value);
    }
    if (m->attribute_count)
        buf_put_char(b, '}');
    if (m->ordering_key.len) {
        buf_put_str(b, ",\"orderingKey\":");
        buf_put_json_string(b, m->ordering_key);
    }
    buf_put_char(b, '}');
}

enum err pubsub_publish(struct pubsub_client *c, const char *topic, const struct ce_pubsub_message *messages,
                        size_t count, pubsub_done_fn *done, void *arg, struct pubsub_call **out)
{
    const struct question q = {"POST", "topics", topic, ":publish", "publishing to", PUBLISHER};
    struct pubsub_call *call;
    size_t bytes = 0;
    if (count == 0 || count > PUBSUB_PUBLISH_MESSAGES_MAX)
        return ERR_INVALID;
    for (size_t i = 0; i < count; i++)
        bytes += pubsub_message_bytes(&messages[i]);
    if (count > 1 && bytes > PUBSUB_PUBLISH_BYTES_MAX)
        return ERR_TOO_LARGE;
    enum err e = call_new(c, &q, done, arg, &call);
    if (e)
        return e;
    call->kind = PUBSUB_PUBLISH;
    call->expected = count;
    buf_put_str(&call->body, "{\"messages\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_put_char(&call->body, ',');
        put_message(&call->body, &messages[i]);
    }
    buf_put_str(&call->body, "]}");
    return pubsub_call_begin(call, out);
}

/* ---- receiving ---- */

enum err pubsub_pull(struct pubsub_client *c, const char *subscription, unsigned max, bool at_once,
                     pubsub_done_fn *done, void *arg, struct pubsub_call **out)
{
    const struct question q = {"POST", "subscriptions", subscription, ":pull", "pulling from", SUBSCRIBER};
    struct pubsub_call *call;
    if (max == 0)
        return ERR_INVALID;
    enum err e = call_new(c, &q, done, arg, &call);
    if (e)
        return e;
    call->kind = PUBSUB_PULL;
    call->at_once = at_once;
    buf_printf(&call->body, "{\"maxMessages\":%u%s}", max < PUBSUB_PULL_MESSAGES_MAX ? max : PUBSUB_PULL_MESSAGES_MAX,
               at_once ? ",\"returnImmediately\":true" : "");
    return pubsub_call_begin(call, out);
}

static enum err with_ids(struct pubsub_client *c, const struct question *q, const struct slice *ids, size_t count,
                         const char *rest, pubsub_done_fn *done, void *arg, struct pubsub_call **out)
{
    struct pubsub_call *call;
    if (count == 0)
        return ERR_INVALID;
    if (count > PUBSUB_ACK_IDS_MAX)
        return ERR_TOO_LARGE;
    enum err e = call_new(c, q, done, arg, &call);
    if (e)
        return e;
    buf_put_str(&call->body, "{\"ackIds\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_put_char(&call->body, ',');
        buf_put_json_string(&call->body, ids[i]);
    }
    buf_put_char(&call->body, ']');
    buf_put_str(&call->body, rest);
    buf_put_char(&call->body, '}');
    return pubsub_call_begin(call, out);
}

enum err pubsub_acknowledge(struct pubsub_client *c, const char *subscription, const struct slice *ack_ids,
                            size_t count, pubsub_done_fn *done, void *arg, struct pubsub_call **out)
{
    const struct question q = {"POST",    "subscriptions", subscription, ":acknowledge", "acknowledging messages of",
                               SUBSCRIBER};
    return with_ids(c, &q, ack_ids, count, "", done, arg, out);
}

enum err pubsub_modify_ack_deadline(struct pubsub_client *c, const char *subscription, const struct slice *ack_ids,
                                    size_t count, unsigned seconds, pubsub_done_fn *done, void *arg,
                                    struct pubsub_call **out)
{
    const struct question q = {"POST",    "subscriptions", subscription, ":modifyAckDeadline", "holding messages of",
                               SUBSCRIBER};
    char rest[40];
    if (seconds > PUBSUB_ACK_DEADLINE_S_MAX)
        return ERR_INVALID;
    snprintf(rest, sizeof rest, ",\"ackDeadlineSeconds\":%u", seconds);
    return with_ids(c, &q, ack_ids, count, rest, done, arg, out);
}
