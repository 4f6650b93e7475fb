/* SPDX-License-Identifier: Apache-2.0
 *
 * Events to Kafka records (Kafka Protocol Binding 1.0.2 section 3). Binary mode: the value is the data's bytes, null
 * without data; content-type is the datacontenttype, every other attribute a header ce_NAME, in UTF-8 as it stands.
 * Structured mode: the value is the JSON envelope, also without data. Pure functions, any thread.
 */
#include "kafka_private.h"

struct writer {
    enum err (*header)(void *arg, struct slice name, struct slice value);
    void *arg;
};

static enum err put_attributes(const struct ce_event *e, const struct writer *w)
{
    char name[3 + CE_NAME_LEN_MAX] = "ce_";
    enum err err = OK;
    for (size_t i = 0; i < e->count && !err; i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        if ((int)i == e->content_type) {
            err = w->header(w->arg, SLICE("content-type"), a.value);
            continue;
        }
        memcpy(name + 3, a.name.ptr, a.name.len);
        err = w->header(w->arg, slice_of(name, 3 + a.name.len), a.value);
    }
    /* As over HTTP: outside an envelope a JSON value without a datacontenttype must be said to be one. */
    if (!err && e->content_type < 0 && e->data_kind == CE_DATA_JSON)
        err = w->header(w->arg, SLICE("content-type"), SLICE("application/json"));
    return err;
}

static enum err put_forwarded(const struct ce_event *e, bool carry, const struct writer *w)
{
    enum err err = OK;
    for (size_t i = 0; i < e->header_count && !err; i++) {
        struct slice name, value;
        ce_event_header_at(e, i, &name, &value);
        if (ce_carries(carry, name))
            err = w->header(w->arg, name, value);
    }
    return err;
}

static enum err put_hint(const struct ce_event *e, enum ce_mode wire, struct buf *scratch, const struct writer *w)
{
    ce_hint_put(e, wire, false, SIZE_MAX, scratch);
    enum err err = buf_error(scratch);
    if (!err && scratch->len)
        err = w->header(w->arg, CE_HINT_HEADER, buf_slice(scratch));
    return err;
}

enum err ce_kafka_encode(const struct ce_event *e, enum ce_mode mode, bool carry, struct buf *scratch,
                         enum err (*header)(void *arg, struct slice name, struct slice value), void *arg,
                         struct slice *value)
{
    assert(mode == CE_MODE_BINARY || mode == CE_MODE_STRUCTURED);
    const struct writer w = {header, arg};
    mode = ce_event_mode_for(e, mode);
    enum err err = mode == CE_MODE_BINARY
                       ? put_attributes(e, &w)
                       : header(arg, SLICE("content-type"), SLICE("application/cloudevents+json; charset=UTF-8"));
    buf_clear(scratch);
    if (!err)
        err = put_forwarded(e, carry, &w);
    if (!err && carry)
        err = put_hint(e, mode, scratch, &w);
    if (err)
        return err;
    if (mode == CE_MODE_BINARY) {
        *value = e->data_kind == CE_DATA_NONE ? slice_of(NULL, 0) : ce_event_data(e);
        return OK;
    }
    buf_clear(scratch);
    ce_json_encode(e, scratch);
    err = buf_error(scratch);
    if (!err)
        *value = buf_slice(scratch);
    return err;
}

struct slice ce_kafka_key(const struct ce_event *e)
{
    struct ce_attribute key;
    return ce_event_attribute(e, SLICE("partitionkey"), &key) ? key.value : slice_of(NULL, 0);
}
