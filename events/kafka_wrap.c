/* SPDX-License-Identifier: Apache-2.0
 *
 * Events that stand for records which are no CloudEvents, made as Knative's KafkaSource makes them (eventing-kafka-
 * broker: InvalidCloudEventInterceptor, KeyDeserializer, CloudEventOverridesMutator):
 *
 *     type                dev.knative.kafka.event
 *     source              /apis/v1/namespaces/NS/kafkasources/NAME#TOPIC
 *     id, subject         partition:P/offset:O, partition:P#O
 *     time                the record's
 *     datacontenttype     the header content-type, in lower case
 *     key, partitionkey   the key, read by the type that the source names; no key and an empty one: neither
 *     kafkaheaderNAME     every other header; NAME in lower case, without what is no letter or digit
 *     data                the value; null: none
 *
 * Where that would be no CloudEvent: a header whose value is no text is left out (there it holds marks for the bytes
 * that were not UTF-8), and so is a content-type that is no media type, or one of a CloudEvents format, under which the
 * event would be taken for another one; a key that is no text becomes base64, as a key of type byte-array does, so that
 * it still keeps keys apart. Pure functions, any thread.
 */
#include "kafka_private.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "text.h"

#define NS_PER_MS 1000000
#define HEADER_PREFIX SLICE("kafkaheader")

/* All texts of the event until the seal: room for them is made once, so that nothing moves. */
struct texts {
    struct buf b;
    struct kafka_digits digits;
};

static enum err texts_init(struct texts *t, const struct ce_kafka_record *r, const struct ce_kafka_rules *rules,
                           const struct kafka_survey *s)
{
    size_t need = 256 + 2 * r->key.len + 3 * r->topic.len + s->names_len + r->header_count * HEADER_PREFIX.len;
    if (rules->source)
        need += strlen(rules->source);
    if (s->content_type)
        need += s->content_type->value.len;
    buf_init(&t->b, need);
    return buf_reserve(&t->b, need) ? OK : ERR_NOMEM;
}

/* What was written since the buffer had this length. */
static struct slice since(const struct texts *t, size_t from)
{
    assert(t->b.error == OK);
    return slice_from(buf_slice(&t->b), from);
}

__attribute__((format(printf, 2, 3))) static struct slice printed(struct texts *t, const char *format, ...)
{
    char text[64];
    size_t from = t->b.len;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_put_str(&t->b, text);
    return since(t, from);
}

static struct slice source_text(struct texts *t, const char *source, struct slice topic)
{
    size_t from = t->b.len;
    ce_fragment_put(&t->b, source ? source : "/kafka", topic);
    return since(t, from);
}

/* As Java writes it (ISO_OFFSET_DATE_TIME): no zero at the end of the fraction. */
static struct slice time_text(struct texts *t, int64_t ms)
{
    size_t from = t->b.len;
    rfc3339_put(&t->b, ms * NS_PER_MS, ms % 1000 ? 3 : 0);
    if (ms % 1000 && ms % 10 == 0) {
        t->b.len -= ms % 100 ? 2 : 3; /* the zeros and Z */
        buf_put_char(&t->b, 'Z');
    }
    return since(t, from);
}

/* ---- the key ---- */

/* A number as Java writes it (Double.toString, Float.toString): the fewest digits that give the number back, plain from
 * 1e-3 up to below 1e7, else as 1.5E10. */
static void java_number(double v, bool single, char *out, size_t size)
{
    if (!isfinite(v)) {
        snprintf(out, size, "%s", isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity");
        return;
    }
    char text[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, v);
        if (single ? (double)strtof(text, NULL) == v : strtod(text, NULL) == v)
            break;
    }
    char *e = strchr(text, 'e'), *point = strchr(text, '.');
    int exponent = atoi(e + 1), behind = (int)(e - point) - 1;
    *e = '\0';
    if (behind == 1 && point[1] == '0')
        behind = 0; /* Java writes it all the same, but no other digit stands behind it */
    if (v != 0 && (exponent < -3 || exponent >= 7))
        snprintf(out, size, "%sE%d", text, exponent);
    else
        snprintf(out, size, "%.*f", behind > exponent ? behind - exponent : 1, v);
}

static struct slice floating(struct texts *t, struct slice key)
{
    char text[48];
    size_t from = t->b.len;
    uint64_t bits = ce_big_endian(key);
    uint32_t bits32 = (uint32_t)bits;
    float single;
    double number;
    if (key.len == 4) {
        memcpy(&single, &bits32, sizeof single);
        number = (double)single;
    } else {
        memcpy(&number, &bits, sizeof number);
    }
    java_number(number, key.len == 4, text, sizeof text);
    buf_put_str(&t->b, text);
    return since(t, from);
}

static void add_key(struct ce_builder *b, struct texts *t, struct slice key, enum ce_kafka_key how)
{
    enum ce_type type = CE_STRING;
    struct slice text = key;
    if (!key.len)
        return;
    if (how == CE_KAFKA_KEY_INT && key.len == 4) {
        type = CE_INTEGER;
        text = printed(t, "%d", (int32_t)(uint32_t)ce_big_endian(key));
    } else if (how == CE_KAFKA_KEY_FLOAT && (key.len == 4 || key.len == 8)) {
        text = floating(t, key);
    } else if (how == CE_KAFKA_KEY_BYTE_ARRAY || ce_value_check(CE_STRING, key, NULL)) {
        type = CE_BINARY;
        size_t from = t->b.len;
        base64_put(&t->b, key);
        text = since(t, from);
    }
    ce_builder_set(b, SLICE("partitionkey"), type, text);
    ce_builder_set(b, SLICE("key"), type, text);
}

/* ---- headers ---- */

static struct slice lower_case(struct texts *t, struct slice text)
{
    size_t from = t->b.len;
    for (size_t i = 0; i < text.len; i++)
        buf_put_char(&t->b, (char)tolower((unsigned char)text.ptr[i]));
    return since(t, from);
}

static void add_headers(struct ce_builder *b, struct texts *t, const struct ce_kafka_record *r)
{
    for (size_t i = 0; i < r->header_count; i++) {
        const struct ce_kafka_header *h = &r->headers[i];
        size_t from = t->b.len;
        if (!h->value.ptr || slice_eq_nocase(h->name, SLICE("content-type")))
            continue;
        buf_put(&t->b, HEADER_PREFIX);
        for (size_t k = 0; k < h->name.len; k++)
            if (isalnum((unsigned char)h->name.ptr[k]))
                buf_put_char(&t->b, (char)tolower((unsigned char)h->name.ptr[k]));
        ce_builder_extension(b, since(t, from), CE_STRING, h->value);
    }
}

static void fill(struct ce_builder *b, struct texts *t, const struct ce_kafka_record *r,
                 const struct ce_kafka_rules *rules, const struct kafka_survey *s)
{
    ce_builder_set(b, ce_core_names[CORE_SPECVERSION], CE_STRING, SLICE("1.0"));
    ce_builder_set(b, ce_core_names[CORE_ID], CE_STRING,
                   printed(t, "partition:%d/offset:%lld", r->partition, (long long)r->offset));
    ce_builder_set(b, ce_core_names[CORE_SOURCE], CE_URI_REFERENCE, source_text(t, rules->source, r->topic));
    ce_builder_set(b, ce_core_names[CORE_TYPE], CE_STRING, SLICE("dev.knative.kafka.event"));
    ce_builder_set(b, ce_core_names[CORE_SUBJECT], CE_STRING,
                   printed(t, "partition:%d#%lld", r->partition, (long long)r->offset));
    if (r->time_ms >= 0 && r->time_ms <= INT64_MAX / NS_PER_MS)
        ce_builder_set(b, ce_core_names[CORE_TIME], CE_TIMESTAMP, time_text(t, r->time_ms));
    add_key(b, t, r->key, rules->key);
    if (s->content_type && !ce_media_type_is_cloudevents(s->content_type->value) &&
        ce_media_type_valid(s->content_type->value))
        ce_builder_set(b, ce_core_names[CORE_DATACONTENTTYPE], CE_STRING, lower_case(t, s->content_type->value));
    add_headers(b, t, r);
    ce_builder_forward(b, s->forwarded, s->forwarded_count);
    if (r->value.ptr)
        ce_builder_data(b, CE_DATA_BYTES, r->value);
    ce_kafka_add_rules(b, r, rules, &t->digits);
}

enum err ce_kafka_wrap(const struct ce_kafka_record *r, const struct ce_kafka_rules *rules, const struct ce_event **out,
                       struct diag *d)
{
    struct kafka_survey s;
    struct texts t;
    struct ce_builder b;
    ce_kafka_survey(r, &s);
    enum err e = texts_init(&t, r, rules, &s);
    if (e)
        return diag_set(d, e, "no memory");
    ce_builder_init(&b);
    fill(&b, &t, r, rules, &s);
    e = ce_builder_seal(&b, rules->event_bytes_max, out, d);
    buf_fini(&t.b);
    return e;
}
