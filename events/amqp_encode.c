/* SPDX-License-Identifier: Apache-2.0
 *
 * Events to messages of AMQP 0.9.1. Binary mode: the body is the data's bytes, the property content_type the
 * datacontenttype, every other attribute a header ce-NAME, a long string in UTF-8 as it stands. Structured mode: the
 * body is the JSON envelope. All properties and headers of a message lie in one frame, which cannot be split: what that
 * takes is counted first. Pure functions, any thread.
 */
#include "ce_amqp.h"
#include "hint.h"

/* In a frame: a header is a length of one byte and its name, a letter for its type, a length of four and its value; the
 * table has a length of four, a property that is a short string one of one. */
#define HEADER_EXTRA 6
#define TABLE_EXTRA 4
#define SHORT_EXTRA 1

#define PREFIX SLICE("ce-")
#define HINT_EXTRA (HEADER_EXTRA + CE_HINT_HEADER.len) /* beside the hint itself */

/* What is taken off the frame; never below nothing. */
static size_t less(size_t left, size_t n)
{
    return left > n ? left - n : 0;
}

/* The property content_type in binary mode. As over HTTP: outside an envelope a JSON value without a datacontenttype
 * must be said to be one. */
static struct slice binary_type(const struct ce_event *e)
{
    if (e->content_type < 0 && e->data_kind == CE_DATA_JSON)
        return SLICE("application/json");
    return ce_event_datacontenttype(e);
}

static struct slice message_id(const struct ce_event *e)
{
    struct slice id = ce_event_id(e);
    return id.len <= CE_AMQP_SHORT_MAX ? id : SLICE("");
}

/* What the frame has left for headers beside these properties. */
static size_t room(const struct ce_event *e, struct slice content_type, size_t frame_max)
{
    if (!frame_max)
        return SIZE_MAX;
    return less(frame_max, CE_AMQP_FRAME_REST + TABLE_EXTRA + 2 * SHORT_EXTRA + content_type.len + message_id(e).len);
}

/* Whether binary mode can say this event; *left is what its attributes leave of the frame. */
static bool binary_fits(const struct ce_event *e, size_t frame_max, size_t *left)
{
    struct slice type = binary_type(e);
    size_t need = 0;
    if (type.len > CE_AMQP_SHORT_MAX || ce_media_type_is_cloudevents(type))
        return false;
    for (size_t i = 0; i < e->count; i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        if ((int)i == e->content_type)
            continue;
        if (PREFIX.len + a.name.len > CE_AMQP_SHORT_MAX)
            return false;
        need += HEADER_EXTRA + PREFIX.len + a.name.len + a.value.len;
    }
    *left = room(e, type, frame_max);
    if (need > *left)
        return false;
    *left -= need;
    return true;
}

/* Where the headers go, and what the frame has left for them. */
struct writer {
    enum err (*header)(void *arg, struct slice name, struct slice value);
    void *arg;
    size_t left;
};

static enum err put_attributes(const struct ce_event *e, const struct writer *w)
{
    enum err err = OK;
    for (size_t i = 0; i < e->count && !err; i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        if ((int)i == e->content_type)
            continue;
        struct slice name = slice_of(a.name.ptr - PREFIX.len, a.name.len + PREFIX.len); /* of its header line */
        assert(slice_has_prefix(name, PREFIX));
        err = w->header(w->arg, name, a.value);
    }
    return err;
}

/* The hint and the transport headers, as far as the frame has room: no event fails for them. */
static enum err put_beside(const struct ce_event *e, bool carry, struct slice hint, struct writer *w)
{
    enum err err = OK;
    if (hint.len) {
        assert(HINT_EXTRA + hint.len <= w->left);
        w->left -= HINT_EXTRA + hint.len;
        err = w->header(w->arg, CE_HINT_HEADER, hint);
    }
    for (size_t i = 0; i < e->header_count && !err; i++) {
        struct slice name, value;
        ce_event_header_at(e, i, &name, &value);
        size_t need = HEADER_EXTRA + name.len + value.len;
        if (!ce_carries(carry, name) || name.len > CE_AMQP_SHORT_MAX || need > w->left)
            continue;
        w->left -= need;
        err = w->header(w->arg, name, value);
    }
    return err;
}

/* Whether a message in binary mode has room for the whole event, and for what is to be carried along with it. */
static bool binary_wanted(const struct ce_event *e, enum ce_mode mode, bool carry, size_t frame_max,
                          struct buf *scratch, size_t *left)
{
    if (mode != CE_MODE_BINARY || !binary_fits(e, frame_max, left))
        return false;
    if (!carry)
        return true;
    ce_hint_put(e, mode, true, SIZE_MAX, scratch);
    if (!scratch->len || HINT_EXTRA + scratch->len <= *left)
        return true;
    buf_clear(scratch);
    return false;
}

enum err ce_amqp_encode(const struct ce_event *e, enum ce_mode mode, bool carry, size_t frame_max, struct buf *scratch,
                        enum err (*header)(void *arg, struct slice name, struct slice value), void *arg,
                        struct ce_amqp_written *out)
{
    assert(mode == CE_MODE_BINARY || mode == CE_MODE_STRUCTURED);
    struct writer w = {header, arg, 0};
    struct ce_amqp_written written = {.message_id = message_id(e), .mode = CE_MODE_BINARY};
    size_t envelope = 0; /* its length in the scratch; the hint stands behind it */
    buf_clear(scratch);
    if (binary_wanted(e, mode, carry, frame_max, scratch, &w.left)) {
        written.content_type = binary_type(e);
    } else {
        written.mode = CE_MODE_STRUCTURED;
        written.content_type = SLICE("application/cloudevents+json; charset=UTF-8");
        w.left = room(e, written.content_type, frame_max);
        ce_json_encode(e, scratch);
        envelope = scratch->len;
        if (carry)
            ce_hint_put(e, CE_MODE_STRUCTURED, true, less(w.left, HINT_EXTRA), scratch);
    }
    enum err err = buf_error(scratch);
    if (err)
        return err;
    struct slice texts = buf_slice(scratch);
    written.body = written.mode == CE_MODE_BINARY ? ce_event_data(e) : slice_of(texts.ptr, envelope);
    if (written.mode == CE_MODE_BINARY)
        err = put_attributes(e, &w);
    if (!err)
        err = put_beside(e, carry, slice_from(texts, envelope), &w);
    if (!err)
        *out = written;
    return err;
}
