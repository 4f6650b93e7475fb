/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of Google Pub/Sub to events. The attribute content-type alone decides on the mode: a CloudEvents format is
 * structured, anything else and nothing is binary. Of the binding's draft the text says content-type, its example
 * ce-datacontenttype, and sdk-go writes Content-Type: all three are read, the first of them counts. Names are matched
 * without case, values are UTF-8 as they stand, nothing is percent-coded. Pure functions, any thread.
 */
#include "ce_pubsub.h"
#include "hint.h"
#include "text.h"

#define PREFIX SLICE("ce-")

/* One look over a message's attributes. */
struct survey {
    struct slice content_type;        /* without white space around it; empty: none */
    struct slice hint;                /* leat_mode; ptr NULL: none */
    bool has_version;                 /* an attribute ce-specversion */
    bool complete;                    /* those of all four required attributes */
    size_t names_len;                 /* of all attributes */
    struct http_header forwarded[16]; /* as many as an event carries along */
    size_t forwarded_count;
};

static void survey_message(const struct ce_pubsub_message *m, struct survey *s)
{
    unsigned found = 0;
    *s = (struct survey){.content_type = SLICE("")};
    for (size_t i = 0; i < m->attribute_count; i++) {
        struct slice name = m->attributes[i].name, value = m->attributes[i].value;
        s->names_len += name.len;
        if (slice_has_prefix_nocase(name, PREFIX)) {
            for (unsigned k = 0; k < CORE_REQUIRED; k++)
                found |= (unsigned)slice_eq_nocase(slice_from(name, PREFIX.len), ce_core_names[k]) << k;
        } else if (slice_eq_nocase(name, SLICE("content-type"))) {
            s->content_type = slice_trim(value);
        } else if (slice_eq(name, CE_HINT_HEADER)) {
            s->hint = value;
        } else if (ce_http_forwarded(name) && s->forwarded_count < sizeof s->forwarded / sizeof s->forwarded[0]) {
            s->forwarded[s->forwarded_count++] = (struct http_header){name, value};
        }
    }
    s->has_version = found & 1u << CORE_SPECVERSION;
    s->complete = found == (1u << CORE_REQUIRED) - 1;
}

bool ce_pubsub_is_event(const struct ce_pubsub_message *m)
{
    struct survey s;
    survey_message(m, &s);
    return ce_media_type_is_cloudevents(s.content_type) || s.has_version;
}

static struct ce_beside beside_of(const struct survey *s, const struct ce_pubsub_rules *rules)
{
    return (struct ce_beside){s->hint, rules->overrides, rules->override_count};
}

/* ---- binary mode ---- */

/* A name twice can stand in JSON only, and there the last one counts. */
static void set(struct ce_builder *b, struct slice name, struct slice value)
{
    if (ce_builder_has(b, name))
        ce_builder_replace(b, name, CE_STRING, value);
    else
        ce_builder_add(b, name, CE_STRING, value, ce_classify(value));
}

static void binary_attributes(struct ce_builder *b, struct scratch *names, const struct ce_pubsub_message *m,
                              const struct survey *s)
{
    struct slice type = ce_core_names[CORE_DATACONTENTTYPE];
    if (s->content_type.len)
        ce_builder_set(b, type, CE_STRING, s->content_type);
    for (size_t i = 0; i < m->attribute_count && !b->error; i++) {
        const struct ce_pubsub_attribute *a = &m->attributes[i];
        if (!slice_has_prefix_nocase(a->name, PREFIX))
            continue;
        if (!slice_eq_nocase(slice_from(a->name, PREFIX.len), type)) {
            struct slice name = ce_header_attribute(b, names, a->name, PREFIX.len);
            if (!b->error)
                set(b, name, a->value);
        } else if (!s->content_type.len && a->value.len) {
            set(b, type, a->value);
        }
    }
}

static enum err decode_binary(const struct ce_pubsub_message *m, const struct ce_pubsub_rules *rules,
                              const struct survey *s, const struct ce_event **out, struct diag *d)
{
    struct scratch names;
    struct ce_builder b;
    if (!s->has_version)
        return diag_set(d, ERR_INVALID,
                        "no CloudEvent: neither an attribute \"ce-specversion\" (binary mode) nor content-type "
                        "application/cloudevents+json (structured mode)");
    scratch_init(&names, s->names_len);
    ce_builder_init(&b);
    b.prefix = "ce-";
    binary_attributes(&b, &names, m, s);
    if (m->data.len || ce_hint_tells_data(s->hint))
        ce_builder_data(&b, CE_DATA_BYTES, m->data);
    ce_builder_forward(&b, s->forwarded, s->forwarded_count);
    const struct ce_beside beside = beside_of(s, rules);
    ce_beside_apply(&b, &beside);
    enum err e = ce_builder_seal(&b, rules->event_bytes_max, out, d);
    scratch_fini(&names);
    return e;
}

/* ---- structured mode ---- */

static enum err decode_structured(const struct ce_pubsub_message *m, const struct ce_pubsub_rules *rules,
                                  const struct survey *s, const struct ce_event **out, struct diag *d)
{
    const struct ce_beside beside = beside_of(s, rules);
    if (!m->data.len)
        return diag_set(d, ERR_INVALID, "a message in structured mode without data");
    return ce_json_decode_amended(m->data, s->forwarded, s->forwarded_count, rules->event_bytes_max,
                                  s->hint.len || rules->override_count ? ce_beside_apply : NULL, &beside, out, d);
}

enum err ce_pubsub_decode(const struct ce_pubsub_message *m, const struct ce_pubsub_rules *rules,
                          const struct ce_event **out, struct diag *d)
{
    struct survey s;
    enum ce_mode mode = CE_MODE_BINARY;
    survey_message(m, &s);
    if (ce_media_type_is_cloudevents(s.content_type)) {
        enum err e = ce_mode_of_format(s.content_type, s.complete, &mode, d);
        if (e)
            return e;
    }
    switch (mode) {
    case CE_MODE_BINARY:
        return decode_binary(m, rules, &s, out, d);
    case CE_MODE_STRUCTURED:
        return decode_structured(m, rules, &s, out, d);
    case CE_MODE_BATCH:
        break;
    }
    return diag_set(d, ERR_UNSUPPORTED, "content-type: a message of Pub/Sub holds one event, not a batch");
}

/* ---- a plain message ---- */

#define TODAY_TYPE SLICE("google.cloud.pubsub.topic.v1.messagePublished")
#define TODAY_SCHEMA                                                                                                   \
    SLICE("https://raw.githubusercontent.com/googleapis/google-cloudevents/master/proto/google/events/cloud/pubsub/v1" \
          "/data.proto")
#define TYPE_2018 SLICE("google.pubsub.topic.publish")

static void put_attributes_json(struct buf *b, const struct ce_pubsub_message *m)
{
    buf_put_char(b, '{');
    for (size_t i = 0; i < m->attribute_count; i++) {
        if (i)
            buf_put_char(b, ',');
        buf_put_json_string(b, m->attributes[i].name);
        buf_put_char(b, ':');
        buf_put_json_string(b, m->attributes[i].value);
    }
    buf_put_char(b, '}');
}

static void put_data_json(struct buf *b, const struct ce_pubsub_message *m)
{
    buf_put_char(b, '"');
    base64_put(b, m->data);
    buf_put_char(b, '"');
}

static void put_member(struct buf *b, const char *before, struct slice value)
{
    buf_put_str(b, before);
    buf_put_json_string(b, value);
}

/* As a push subscription has it, and knative-gcp's adapter after it: what is empty does not stand there. */
static void put_today(struct buf *b, const struct ce_pubsub_message *m, const struct ce_pubsub_rules *rules)
{
    put_member(b, "{\"subscription\":", rules->subscription);
    put_member(b, ",\"message\":{\"messageId\":", m->message_id);
    if (m->data.len) {
        buf_put_str(b, ",\"data\":");
        put_data_json(b, m);
    }
    if (m->attribute_count) {
        buf_put_str(b, ",\"attributes\":");
        put_attributes_json(b, m);
    }
    if (m->publish_time.len)
        put_member(b, ",\"publishTime\":", m->publish_time);
    if (m->ordering_key.len)
        put_member(b, ",\"orderingKey\":", m->ordering_key);
    buf_put_str(b, "}}");
}

/* Go's own JSON of the client library's message, which 2018's adapter sent: services of that time read it so. */
static void put_2018(struct buf *b, const struct ce_pubsub_message *m)
{
    put_member(b, "{\"ID\":", m->message_id);
    buf_put_str(b, ",\"Data\":");
    if (m->data.len)
        put_data_json(b, m);
    else
        buf_put_str(b, "null");
    buf_put_str(b, ",\"Attributes\":");
    if (m->attribute_count)
        put_attributes_json(b, m);
    else
        buf_put_str(b, "null");
    put_member(b, ",\"PublishTime\":", m->publish_time.len ? m->publish_time : SLICE("0001-01-01T00:00:00Z"));
    buf_put_char(b, '}');
}

static void wrap(struct ce_builder *b, const struct ce_pubsub_message *m, const struct ce_pubsub_rules *rules,
                 struct slice source, struct slice data)
{
    bool today = rules->form == CE_PUBSUB_TODAY;
    struct survey s;
    int64_t when;
    survey_message(m, &s);
    ce_builder_set(b, ce_core_names[CORE_SPECVERSION], CE_STRING, SLICE("1.0"));
    ce_builder_set(b, ce_core_names[CORE_ID], CE_STRING, m->message_id);
    ce_builder_set(b, ce_core_names[CORE_SOURCE], CE_URI_REFERENCE, source);
    ce_builder_set(b, ce_core_names[CORE_TYPE], CE_STRING, today ? TODAY_TYPE : TYPE_2018);
    if (m->publish_time.len && rfc3339_parse(m->publish_time, &when) == OK)
        ce_builder_set(b, ce_core_names[CORE_TIME], CE_TIMESTAMP, m->publish_time);
    ce_builder_set(b, ce_core_names[CORE_DATACONTENTTYPE], CE_STRING, SLICE("application/json"));
    if (today)
        ce_builder_set(b, ce_core_names[CORE_DATASCHEMA], CE_URI, TODAY_SCHEMA);
    ce_builder_data(b, CE_DATA_BYTES, data);
    ce_builder_forward(b, s.forwarded, s.forwarded_count);
    ce_builder_extensions(b, rules->overrides, rules->override_count);
}

enum err ce_pubsub_wrap(const struct ce_pubsub_message *m, const struct ce_pubsub_rules *rules,
                        const struct ce_event **out, struct diag *d)
{
    struct buf source, data;
    struct ce_builder b;
    if (!m->message_id.len)
        return diag_set(d, ERR_INVALID, "a message without a messageId");
    buf_init(&source, 4096);
    buf_init(&data, rules->event_bytes_max);
    buf_put_str(&source, "//pubsub.googleapis.com/");
    buf_put(&source, rules->topic);
    if (rules->form == CE_PUBSUB_TODAY)
        put_today(&data, m, rules);
    else
        put_2018(&data, m);
    enum err e = buf_error(&source);
    if (!e)
        e = buf_error(&data);
    if (e) {
        (void)diag_set(d, e,
                       e == ERR_TOO_LARGE ? "the message as JSON is larger than an event may be (%zu bytes)"
                                          : "no memory (%zu)",
                       rules->event_bytes_max);
    } else {
        ce_builder_init(&b);
        wrap(&b, m, rules, buf_slice(&source), buf_slice(&data));
        e = ce_builder_seal(&b, rules->event_bytes_max, out, d);
    }
    buf_fini(&source);
    buf_fini(&data);
    return e;
}
