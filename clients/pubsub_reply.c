/* SPDX-License-Identifier: Apache-2.0
 *
 * Pub/Sub's answers to a pull and a publish: JSON of its v1 interface, checked and taken apart. Members that are not
 * known are passed over, as Google asks. Pure functions, any thread.
 *
 *     {"receivedMessages": [{"ackId": "…", "message": {"messageId": "…", "publishTime": "…", "data": "BASE64",
 *                           "attributes": {"NAME": "VALUE"}, "orderingKey": "…"}, "deliveryAttempt": 2}]}
 *     {"messageIds": ["…"]}
 */
#include <assert.h>
#include <stdlib.h>

#include "json.h"
#include "pubsub_private.h"
#include "text.h"

void pubsub_reply_fini(struct pubsub_reply *r)
{
    free(r->received);
    free(r->ids);
    free(r->attributes);
    buf_fini(&r->texts);
    *r = (struct pubsub_reply){.received = NULL};
}

static bool member(struct json_value object, const char *name, enum json_type type, struct json_value *out)
{
    return json_find(object, (const char *const[]){name, NULL}, out) && out->type == type;
}

static size_t count_of(struct json_value list)
{
    struct json_walk w;
    size_t n = 0;
    json_walk_begin(&w, list);
    while (json_walk_next(&w))
        n++;
    return n;
}

/* The characters of a string, into the texts: never more than stand in the answer, for which there is room. */
static struct slice text_of(struct pubsub_reply *r, struct slice string)
{
    char *to = r->texts.ptr + r->texts.len;
    size_t len = json_unescape_into(string, to);
    r->texts.len += len;
    assert(r->texts.len <= r->texts.cap);
    return slice_of(to, len);
}

/* Every count of a list, each of which takes a comma: room for all. */
static void *room(size_t count, size_t size)
{
    return calloc(count ? count : 1, size);
}

static enum err texts_init(struct pubsub_reply *r, struct slice json)
{
    buf_init(&r->texts, SIZE_MAX / 2);
    return buf_reserve(&r->texts, json.len + 1) ? OK : ERR_NOMEM;
}

static enum err list_of(struct slice json, const char *name, struct json_value *list, bool *any, struct diag *d)
{
    struct json_value v;
    struct diag why = {0};
    if (json_check(json, PUBSUB_JSON_DEPTH_MAX, &v, &why) != OK)
        return diag_set(d, ERR_PROTOCOL, "no JSON: %.200s", why.text);
    if (v.type != JSON_OBJECT)
        return diag_set(d, ERR_PROTOCOL, "no JSON object");
    *any = json_find(v, (const char *const[]){name, NULL}, list);
    if (*any && list->type != JSON_ARRAY)
        return diag_set(d, ERR_PROTOCOL, "%s is no array", name);
    return OK;
}

/* ---- pull ---- */

/* The data stands where its base64 stood: three bytes of four. */
static bool read_data(struct pubsub_reply *r, struct slice string, struct slice *out)
{
    struct slice text = text_of(r, string);
    size_t len;
    char *to = (char *)(uintptr_t)text.ptr;
    if (base64_decode_into(text, NULL, &len) != OK || base64_decode_into(text, to, &len) != OK)
        return false;
    *out = slice_of(to, len);
    return true;
}

/* `at`: where the next attributes go. */
static bool read_attributes(struct pubsub_reply *r, struct json_value object, struct ce_pubsub_message *m, size_t *at)
{
    struct json_walk w;
    m->attributes = r->attributes + *at;
    json_walk_begin(&w, object);
    while (json_walk_next(&w)) {
        if (w.value.type != JSON_STRING)
            return false;
        r->attributes[(*at)++] = (struct ce_pubsub_attribute){text_of(r, w.name), text_of(r, w.value.raw)};
        m->attribute_count++;
    }
    return true;
}

static enum err read_message(struct pubsub_reply *r, struct json_value one, struct pubsub_received *to, size_t *at,
                             struct diag *d)
{
    struct json_value message, v;
    struct ce_pubsub_message *m = &to->message;
    uint64_t attempt;
    if (one.type != JSON_OBJECT || !member(one, "ackId", JSON_STRING, &v))
        return diag_set(d, ERR_PROTOCOL, "a received message without an ackId");
    to->ack_id = text_of(r, v.raw);
    if (!member(one, "message", JSON_OBJECT, &message))
        return diag_set(d, ERR_PROTOCOL, "a received message without its message");
    if (member(one, "deliveryAttempt", JSON_NUMBER, &v) && decimal_parse(v.raw, UINT32_MAX, &attempt) == OK)
        to->delivery_attempt = (uint32_t)attempt;
    if (!member(message, "messageId", JSON_STRING, &v) || v.raw.len <= 2)
        return diag_set(d, ERR_PROTOCOL, "a message without a messageId");
    m->message_id = text_of(r, v.raw);
    if (member(message, "publishTime", JSON_STRING, &v))
        m->publish_time = text_of(r, v.raw);
    if (member(message, "orderingKey", JSON_STRING, &v))
        m->ordering_key = text_of(r, v.raw);
    if (member(message, "data", JSON_STRING, &v) && !read_data(r, v.raw, &m->data))
        return diag_set(d, ERR_PROTOCOL, "the data of message %.*s is no base64", SLICE_ARG(m->message_id));
    if (member(message, "attributes", JSON_OBJECT, &v) && !read_attributes(r, v, m, at))
        return diag_set(d, ERR_PROTOCOL, "an attribute of message %.*s is no string", SLICE_ARG(m->message_id));
    return OK;
}

static size_t attributes_in(struct json_value list)
{
    struct json_walk w;
    struct json_value v;
    size_t n = 0;
    json_walk_begin(&w, list);
    while (json_walk_next(&w))
        if (w.value.type == JSON_OBJECT &&
            json_find(w.value, (const char *const[]){"message", "attributes", NULL}, &v) && v.type == JSON_OBJECT)
            n += count_of(v);
    return n;
}

enum err pubsub_reply_pulled(struct slice json, struct pubsub_reply *out, struct diag *d)
{
    struct pubsub_reply r = {.received = NULL};
    struct json_value list;
    struct json_walk w;
    bool any;
    size_t at = 0;
    enum err e = list_of(json, "receivedMessages", &list, &any, d);
    if (e || !any) {
        if (!e)
            *out = r;
        return e;
    }
    size_t attributes = attributes_in(list);
    r.received = room(count_of(list), sizeof *r.received);
    r.attributes = room(attributes, sizeof *r.attributes);
    e = r.received && r.attributes ? texts_init(&r, json) : ERR_NOMEM;
    json_walk_begin(&w, list);
    while (!e && json_walk_next(&w))
        e = read_message(&r, w.value, &r.received[r.received_count++], &at, d);
    assert(at <= attributes);
    if (e)
        pubsub_reply_fini(&r);
    else
        *out = r;
    return e;
}

/* ---- publish ---- */

enum err pubsub_reply_published(struct slice json, struct pubsub_reply *out, struct diag *d)
{
    struct pubsub_reply r = {.received = NULL};
    struct json_value list;
    struct json_walk w;
    bool any;
    enum err e = list_of(json, "messageIds", &list, &any, d);
    if (!e && !any)
        e = diag_set(d, ERR_PROTOCOL, "no messageIds");
    if (e)
        return e;
    r.ids = room(count_of(list), sizeof *r.ids);
    e = r.ids ? texts_init(&r, json) : ERR_NOMEM;
    json_walk_begin(&w, list);
    while (!e && json_walk_next(&w)) {
        if (w.value.type == JSON_STRING)
            r.ids[r.id_count++] = text_of(&r, w.value.raw);
        else
            e = diag_set(d, ERR_PROTOCOL, "a messageId is no string");
    }
    if (e)
        pubsub_reply_fini(&r);
    else
        *out = r;
    return e;
}
