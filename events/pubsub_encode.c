/* SPDX-License-Identifier: Apache-2.0
 *
 * Events to messages of Google Pub/Sub. Binary mode: the data is the event's, content-type the datacontenttype, every
 * other attribute "ce-NAME", in UTF-8 as it stands. Structured mode: the data is the JSON envelope. A message has 100
 * attributes at most, a value 1,024 bytes: what does not fit there goes in structured mode. Pure functions, any thread.
 */
#include "ce_pubsub.h"
#include "hint.h"
#include "text.h"

#define PREFIX SLICE("ce-")
#define GOOGLE SLICE("goog") /* Google's own attributes begin so; nobody else's may */

/* Attributes on their way into a message. */
struct writer {
    struct ce_pubsub_attribute *room;
    size_t count;
};

static bool fits(const struct writer *w, struct slice name, struct slice value)
{
    return w->count < CE_PUBSUB_ATTRIBUTES_MAX && name.len <= CE_PUBSUB_NAME_MAX && value.len <= CE_PUBSUB_VALUE_MAX;
}

static bool put(struct writer *w, struct slice name, struct slice value)
{
    if (!fits(w, name, value))
        return false;
    w->room[w->count++] = (struct ce_pubsub_attribute){name, value};
    return true;
}

/* The content type in binary mode; empty: none. As over HTTP: outside an envelope a JSON value without a
 * datacontenttype must be said to be one. */
static struct slice binary_type(const struct ce_event *e)
{
    if (e->content_type < 0 && e->data_kind == CE_DATA_JSON)
        return SLICE("application/json");
    return ce_event_datacontenttype(e);
}

/* False: binary mode cannot say this event. */
static bool put_attributes(struct writer *w, const struct ce_event *e)
{
    struct slice type = binary_type(e);
    bool good = !type.len || put(w, SLICE("content-type"), type);
    for (size_t i = 0; i < e->count && good; i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        if ((int)i == e->content_type)
            continue;
        struct slice name = slice_of(a.name.ptr - PREFIX.len, a.name.len + PREFIX.len); /* of its header line */
        assert(slice_has_prefix(name, PREFIX));
        good = put(w, name, a.value);
    }
    return good;
}

static bool has(const struct writer *w, struct slice name)
{
    for (size_t i = 0; i < w->count; i++)
        if (slice_eq(w->room[i].name, name))
            return true;
    return false;
}

/* The transport headers, as far as the message has room: no event fails for them. JSON carries UTF-8
 * alone, and of each name one. */
static void put_forwarded(struct writer *w, const struct ce_event *e, bool carry)
{
    for (size_t i = 0; i < e->header_count; i++) {
        struct slice name, value;
        ce_event_header_at(e, i, &name, &value);
        if (ce_carries(carry, name) && !slice_has_prefix_nocase(name, GOOGLE) && utf8_valid(name) &&
            utf8_valid(value) && !has(w, name))
            (void)put(w, name, value);
    }
}

/* Binary mode with the hint, where all of both fits. False: nothing of it counts. */
static bool put_binary(struct writer *w, const struct ce_event *e, bool carry, struct buf *scratch)
{
    if (!put_attributes(w, e))
        return false;
    if (carry)
        ce_hint_put(e, CE_MODE_BINARY, true, SIZE_MAX, scratch);
    return !scratch->len || put(w, CE_HINT_HEADER, buf_slice(scratch));
}

/* The envelope, and the hint behind it in the scratch. */
static void put_structured(struct writer *w, const struct ce_event *e, bool carry, struct buf *scratch,
                           struct slice *data)
{
    ce_json_encode(e, scratch);
    size_t envelope = scratch->len;
    if (carry)
        ce_hint_put(e, CE_MODE_STRUCTURED, true, CE_PUBSUB_VALUE_MAX, scratch);
    if (scratch->error)
        return;
    struct slice texts = buf_slice(scratch), hint = slice_from(texts, envelope);
    *data = slice_of(texts.ptr, envelope);
    bool good = put(w, SLICE("content-type"), SLICE("application/cloudevents+json; charset=UTF-8"));
    assert(good);
    good = !hint.len || put(w, CE_HINT_HEADER, hint);
    assert(good);
}

struct slice ce_pubsub_ordering_key(const struct ce_event *e)
{
    struct ce_attribute key;
    if (!ce_event_attribute(e, SLICE("partitionkey"), &key))
        return SLICE("");
    size_t len = key.value.len < CE_PUBSUB_ORDERING_KEY_MAX ? key.value.len : CE_PUBSUB_ORDERING_KEY_MAX;
    while (len < key.value.len && len && ((unsigned char)key.value.ptr[len] & 0xC0) == 0x80)
        len--;
    return slice_of(key.value.ptr, len);
}

enum err ce_pubsub_encode(const struct ce_event *e, enum ce_mode mode, bool carry, struct buf *scratch,
                          struct ce_pubsub_attribute room[CE_PUBSUB_ATTRIBUTES_MAX], struct ce_pubsub_written *out)
{
    assert(mode == CE_MODE_BINARY || mode == CE_MODE_STRUCTURED);
    struct writer w = {room, 0};
    struct ce_pubsub_written written = {.mode = ce_event_mode_for(e, mode)};
    buf_clear(scratch);
    if (written.mode == CE_MODE_BINARY && put_binary(&w, e, carry, scratch)) {
        written.message.data = ce_event_data(e);
    } else {
        written.mode = CE_MODE_STRUCTURED;
        w.count = 0;
        buf_clear(scratch);
        put_structured(&w, e, carry, scratch, &written.message.data);
    }
    enum err err = buf_error(scratch);
    if (err)
        return err;
    put_forwarded(&w, e, carry);
    written.message.attributes = room;
    written.message.attribute_count = w.count;
    written.message.ordering_key = ce_pubsub_ordering_key(e);
    *out = written;
    return OK;
}
