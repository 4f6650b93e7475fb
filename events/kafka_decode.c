/* SPDX-License-Identifier: Apache-2.0
 *
 * Kafka records to events (Kafka Protocol Binding 1.0.2 section 3). The header content-type alone decides on the mode
 * (section 3): a CloudEvents format is structured, anything else and nothing is binary. Header values are UTF-8 as they
 * stand, nothing is percent-coded. Names are matched without case, though Kafka's have one: so do most SDKs, and Java's
 * for all but ce_specversion and the content-type of structured mode. Unlike Java's, nothing here adds a
 * datacontenttype to an envelope that has none, and an empty value is data, empty. Pure functions, any thread.
 */
#include "kafka_private.h"

#include <stdio.h>

#include "text.h"

static bool is_ce(struct slice name)
{
    return slice_has_prefix_nocase(name, SLICE("ce_"));
}

void ce_kafka_survey(const struct ce_kafka_record *r, struct kafka_survey *s)
{
    unsigned found = 0;
    s->content_type = NULL;
    s->hint = slice_of(NULL, 0);
    s->names_len = 0;
    s->forwarded_count = 0;
    for (size_t i = 0; i < r->header_count; i++) {
        const struct ce_kafka_header *h = &r->headers[i];
        s->names_len += h->name.len;
        if (!h->value.ptr)
            continue; /* null is no value, as in JSON */
        if (is_ce(h->name)) {
            for (unsigned k = 0; k < CORE_REQUIRED; k++)
                found |= (unsigned)slice_eq_nocase(slice_from(h->name, 3), ce_core_names[k]) << k;
        } else if (slice_eq_nocase(h->name, SLICE("content-type"))) {
            s->content_type = h;
        } else if (slice_eq(h->name, CE_HINT_HEADER)) {
            s->hint = h->value;
        } else if (ce_http_forwarded(h->name) && s->forwarded_count < sizeof s->forwarded / sizeof s->forwarded[0]) {
            s->forwarded[s->forwarded_count++] = (struct http_header){h->name, h->value};
        }
    }
    s->has_version = found & 1u << CORE_SPECVERSION;
    s->complete = found == (1u << CORE_REQUIRED) - 1;
}

static bool says_cloudevents(const struct kafka_survey *s)
{
    return s->content_type && ce_media_type_is_cloudevents(s->content_type->value);
}

bool ce_kafka_is_event(const struct ce_kafka_record *r)
{
    struct kafka_survey s;
    ce_kafka_survey(r, &s);
    return says_cloudevents(&s) || s.has_version;
}

/* ---- what the rules add ---- */

void ce_kafka_add_rules(struct ce_builder *b, const struct ce_kafka_record *r, const struct ce_kafka_rules *rules,
                        struct kafka_digits *digits)
{
    if (rules->source) {
        snprintf(digits->partition, sizeof digits->partition, "%d", r->partition);
        snprintf(digits->offset, sizeof digits->offset, "%lld", (long long)r->offset);
        ce_builder_extension(b, SLICE("knativekafkapartition"), CE_INTEGER, slice_str(digits->partition));
        ce_builder_extension(b, SLICE("knativekafkaoffset"), r->offset <= INT32_MAX ? CE_INTEGER : CE_STRING,
                             slice_str(digits->offset));
    }
    for (size_t i = 0; i < rules->override_count; i++)
        ce_builder_extension(b, rules->overrides[i].name, CE_STRING, rules->overrides[i].value);
}

/* ---- the modes ---- */

static void binary_headers(struct ce_builder *b, struct scratch *scratch, const struct ce_kafka_record *r,
                           const struct kafka_survey *s)
{
    for (size_t i = 0; i < r->header_count && !b->error; i++) {
        const struct ce_kafka_header *h = &r->headers[i];
        struct slice name = ce_core_names[CORE_DATACONTENTTYPE];
        if (h->value.ptr && is_ce(h->name))
            name = ce_header_attribute(b, scratch, h->name, 3);
        else if (h != s->content_type)
            continue;
        if (ce_builder_has(b, name))
            ce_builder_replace(b, name, CE_STRING, h->value);
        else
            ce_builder_add(b, name, CE_STRING, h->value, ce_classify(h->value));
    }
    ce_builder_forward(b, s->forwarded, s->forwarded_count);
    if (!s->has_version && !b->error)
        b->error = diag_set(&b->diag, ERR_INVALID,
                            "no CloudEvent: neither a header \"ce_specversion\" (binary mode) nor content-type "
                            "application/cloudevents+json (structured mode)");
}

static enum err decode_binary(const struct ce_kafka_record *r, const struct ce_kafka_rules *rules,
                              const struct kafka_survey *s, const struct ce_event **out, struct diag *d)
{
    struct scratch scratch;
    struct kafka_digits digits;
    struct ce_builder b;
    scratch_init(&scratch, s->names_len);
    ce_builder_init(&b);
    b.prefix = "ce_";
    binary_headers(&b, &scratch, r, s);
    if (r->value.ptr) /* null is no data, empty is empty data */
        ce_builder_data(&b, CE_DATA_BYTES, r->value);
    ce_hint_apply(&b, s->hint);
    ce_kafka_add_rules(&b, r, rules, &digits);
    enum err e = ce_builder_seal(&b, rules->event_bytes_max, out, d);
    scratch_fini(&scratch);
    return e;
}

/* What stands beside an envelope. */
struct beside {
    const struct ce_kafka_record *r;
    const struct ce_kafka_rules *rules;
    struct slice hint;
    struct kafka_digits *digits;
};

static void amend(struct ce_builder *b, const void *arg)
{
    const struct beside *beside = arg;
    ce_hint_apply(b, beside->hint);
    ce_kafka_add_rules(b, beside->r, beside->rules, beside->digits);
}

static enum err decode_structured(const struct ce_kafka_record *r, const struct ce_kafka_rules *rules,
                                  const struct kafka_survey *s, const struct ce_event **out, struct diag *d)
{
    struct kafka_digits digits;
    const struct beside beside = {r, rules, s->hint, &digits};
    bool any = s->hint.ptr || rules->source || rules->override_count;
    if (!r->value.ptr)
        return diag_set(d, ERR_INVALID, "a record in structured mode without a value: a tombstone, and no event");
    return ce_json_decode_amended(r->value, s->forwarded, s->forwarded_count, rules->event_bytes_max,
                                  any ? amend : NULL, &beside, out, d);
}

enum err ce_kafka_decode(const struct ce_kafka_record *r, const struct ce_kafka_rules *rules,
                         const struct ce_event **out, struct diag *d)
{
    struct kafka_survey s;
    enum ce_mode mode = CE_MODE_BINARY;
    ce_kafka_survey(r, &s);
    if (says_cloudevents(&s)) {
        enum err e = ce_mode_of_format(slice_trim(s.content_type->value), s.complete, &mode, d);
        if (e)
            return e;
    }
    switch (mode) {
    case CE_MODE_BINARY:
        return decode_binary(r, rules, &s, out, d);
    case CE_MODE_STRUCTURED:
        return decode_structured(r, rules, &s, out, d);
    case CE_MODE_BATCH:
        break;
    }
    return diag_set(d, ERR_UNSUPPORTED, "header \"content-type\": a record of Kafka holds one event, not a batch");
}
