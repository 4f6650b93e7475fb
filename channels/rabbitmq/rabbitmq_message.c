/* SPDX-License-Identifier: Apache-2.0
 *
 * From a message to an event. On Q.
 */
#include "rabbitmq_subscription.h"
#include "uuid.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <stdlib.h>
#include <sys/random.h>

static struct slice bytes(amqp_bytes_t b)
{
    return (struct slice){b.bytes, b.len};
}

static struct ce_amqp_value value_of(const amqp_field_value_t *v)
{
    switch (v->kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
        return (struct ce_amqp_value){.kind = CE_AMQP_BOOLEAN, .boolean = v->value.boolean};
    case AMQP_FIELD_KIND_I8:
        return (struct ce_amqp_value){.kind = CE_AMQP_INTEGER, .integer = v->value.i8};
    case AMQP_FIELD_KIND_U8:
        return (struct ce_amqp_value){.kind = CE_AMQP_INTEGER, .integer = v->value.u8};
    case AMQP_FIELD_KIND_I16:
        return (struct ce_amqp_value){.kind = CE_AMQP_INTEGER, .integer = v->value.i16};
    case AMQP_FIELD_KIND_U16:
        return (struct ce_amqp_value){.kind = CE_AMQP_INTEGER, .integer = v->value.u16};
    case AMQP_FIELD_KIND_I32:
        return (struct ce_amqp_value){.kind = CE_AMQP_INTEGER, .integer = v->value.i32};
    case AMQP_FIELD_KIND_U32:
        return (struct ce_amqp_value){.kind = CE_AMQP_INTEGER, .integer = v->value.u32};
    case AMQP_FIELD_KIND_I64:
        return (struct ce_amqp_value){.kind = CE_AMQP_INTEGER, .integer = v->value.i64};
    case AMQP_FIELD_KIND_U64:
        return (struct ce_amqp_value){.kind = CE_AMQP_UNSIGNED, .natural = v->value.u64};
    case AMQP_FIELD_KIND_F32:
        return (struct ce_amqp_value){.kind = CE_AMQP_DOUBLE, .number = (double)v->value.f32};
    case AMQP_FIELD_KIND_F64:
        return (struct ce_amqp_value){.kind = CE_AMQP_DOUBLE, .number = v->value.f64};
    case AMQP_FIELD_KIND_UTF8:
        return (struct ce_amqp_value){.kind = CE_AMQP_STRING, .text = bytes(v->value.bytes)};
    case AMQP_FIELD_KIND_BYTES:
        return (struct ce_amqp_value){.kind = CE_AMQP_BYTES, .text = bytes(v->value.bytes)};
    case AMQP_FIELD_KIND_TIMESTAMP:
        return (struct ce_amqp_value){.kind = CE_AMQP_TIMESTAMP, .seconds = v->value.u64};
    case AMQP_FIELD_KIND_ARRAY:
        return (struct ce_amqp_value){.kind = CE_AMQP_ARRAY};
    case AMQP_FIELD_KIND_VOID:
        return (struct ce_amqp_value){.kind = CE_AMQP_VOID};
    default:
        return (struct ce_amqp_value){.kind = CE_AMQP_TABLE};
    }
}

static enum err headers_of(struct rabbit_consumer *q, const amqp_basic_properties_t *p, struct ce_amqp_message *out)
{
    size_t count = p->_flags & AMQP_BASIC_HEADERS_FLAG ? (size_t)p->headers.num_entries : 0;
    if (count > q->header_room) {
        struct ce_amqp_header *grown = realloc(q->headers, count * sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        q->headers = grown;
        q->header_room = count;
    }
    for (size_t i = 0; i < count; i++) {
        const amqp_table_entry_t *e = &p->headers.entries[i];
        q->headers[i] = (struct ce_amqp_header){bytes(e->key), value_of(&e->value)};
    }
    out->headers = q->headers;
    out->header_count = count;
    return OK;
}

static enum err message_of(struct rabbit_consumer *q, const struct rabbitmq_message *m, struct ce_amqp_message *out)
{
    const amqp_basic_properties_t *p = m->properties;
    *out = (struct ce_amqp_message){.body = m->body};
    if (p->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
        out->content_type = bytes(p->content_type);
    if (p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
        out->message_id = bytes(p->message_id);
    out->has_time = p->_flags & AMQP_BASIC_TIMESTAMP_FLAG;
    out->time_s = out->has_time ? p->timestamp : 0;
    return headers_of(q, p, out);
}

/* What says that it is a CloudEvent and is none is taken for a plain message: nothing that is in a queue is passed over
 * because of what somebody else wrote. */
enum err rabbit_message_read(struct rabbit_consumer *q, const struct bus_channel *c, const char *queue,
                             const struct rabbitmq_message *m, const struct ce_event **out)
{
    const struct rabbit_rules *rules = atomic_load(&c->rules);
    struct ce_amqp_message message;
    char id[UUID_TEXT_BYTES];
    unsigned char random[16];
    enum err e = message_of(q, m, &message);
    if (e)
        return e;
    message.queue = slice_str(queue);
    if (ce_amqp_is_event(&message, rules->ce.knative)) {
        e = ce_amqp_decode(&message, &rules->ce, out, NULL);
        if (!e || e == ERR_NOMEM || e == ERR_TOO_LARGE)
            return e;
    }
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return ERR_NOMEM;
    uuid_put(random, 4, id);
    message.fallback_id = slice_str(id);
    return ce_amqp_wrap(&message, &rules->ce, out, NULL);
}

enum err rabbit_message_event(struct bus_subscription *s, const struct rabbitmq_message *m, const struct ce_event **out)
{
    return rabbit_message_read(s->consumer, s->channel, s->settings.queue, m, out);
}

void rabbit_message_place(const struct rabbitmq_message *m, struct rabbit_place_in_stream *out)
{
    const amqp_basic_properties_t *p = m->properties;
    int n = p->_flags & AMQP_BASIC_HEADERS_FLAG ? p->headers.num_entries : 0;
    *out = (struct rabbit_place_in_stream){0};
    if (p->_flags & AMQP_BASIC_TIMESTAMP_FLAG && p->timestamp < INT64_MAX / NS_PER_S)
        out->wall_ns = (int64_t)(p->timestamp * NS_PER_S);
    for (int i = 0; i < n; i++) {
        const amqp_table_entry_t *e = &p->headers.entries[i];
        struct ce_amqp_value v = value_of(&e->value);
        bool natural = v.kind == CE_AMQP_INTEGER && v.integer >= 0;
        if (natural && slice_eq_str(bytes(e->key), "x-stream-offset")) {
            out->has_offset = true;
            out->offset = (uint64_t)v.integer;
        } else if (natural && slice_eq_str(bytes(e->key), RABBIT_TIME_HEADER) &&
                   v.integer < INT64_MAX / (int64_t)NS_PER_MS) {
            out->wall_ns = v.integer * (int64_t)NS_PER_MS;
        } else if (v.kind == CE_AMQP_STRING && slice_eq_str(bytes(e->key), RABBIT_MARK_HEADER)) {
            out->mark = v.text;
        }
    }
}

/* Of a quorum queue its own count; of others, whether it was delivered before. */
unsigned rabbit_message_attempt(const struct rabbitmq_message *m)
{
    const amqp_basic_properties_t *p = m->properties;
    int n = p->_flags & AMQP_BASIC_HEADERS_FLAG ? p->headers.num_entries : 0;
    for (int i = 0; i < n; i++) {
        const amqp_table_entry_t *e = &p->headers.entries[i];
        struct ce_amqp_value v = value_of(&e->value);
        if (slice_eq_str(bytes(e->key), "x-delivery-count") && v.kind == CE_AMQP_INTEGER && v.integer >= 0)
            return (unsigned)(v.integer < 1000000000 ? v.integer : 1000000000) + 1;
    }
    return m->redelivered ? 2 : 1;
}
