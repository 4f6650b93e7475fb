/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents in Kafka records: Kafka Protocol Binding 1.0.2 (bindings/kafka-protocol-binding.md), written in binary
 * and structured mode, read in both; and what Knative makes of a record that is no CloudEvent (the KafkaSource's
 * dev.knative.kafka.event). Pure: fields in, events out; no Kafka library is known here.
 *
 * A record's value may be absent (null: a tombstone where the topic is compacted) or empty; data may be absent or empty
 * likewise, and the difference is kept both ways. The record key never becomes an attribute of a CloudEvent, and an
 * event is never changed by what is chosen as its key (section 3.1).
 */
#ifndef LEAT_CE_KAFKA_H
#define LEAT_CE_KAFKA_H

#include "event.h"

struct ce_kafka_header {
    struct slice name, value; /* value.ptr NULL: a null value */
};

/* One record, as a client library gives it; everything borrowed. */
struct ce_kafka_record {
    const struct ce_kafka_header *headers;
    size_t header_count;
    struct slice key, value; /* ptr NULL: null; empty with a ptr: empty */
    struct slice topic;
    int32_t partition;
    int64_t offset;
    int64_t time_ms; /* since 1970; negative: none */
};

/* How the key of a record that is no CloudEvent is to be read: the label
 * kafkasources.sources.knative.dev/key-type. Numbers are big-endian, as Kafka's serializers write them. */
enum ce_kafka_key { CE_KAFKA_KEY_STRING, CE_KAFKA_KEY_INT, CE_KAFKA_KEY_FLOAT, CE_KAFKA_KEY_BYTE_ARRAY };

struct ce_kafka_rules {
    size_t event_bytes_max;
    /* What a record that is no CloudEvent has as its source, before "#TOPIC":
     * "/apis/v1/namespaces/NS/kafkasources/NAME", a URI reference without a fragment. NULL: "/kafka", and the records
     * are not those of a KafkaSource: that one gives every event, also a CloudEvent, the extensions
     * knativekafkapartition and knativekafkaoffset. (Upstream's channels and brokers do so too; ours change no event.)
     */
    const char *source;
    enum ce_kafka_key key;
    /* Extensions that every event gets, over what it brings (spec.ceOverrides.extensions). What cannot be one, a core
     * attribute's name or a value that is no text, is passed over: a plan refuses it. */
    const struct ce_kafka_header *overrides;
    size_t override_count;
};

/* Whether the record says that it is a CloudEvent: a content-type of a CloudEvents format, or else a header
 * ce_specversion. */
bool ce_kafka_is_event(const struct ce_kafka_record *r);

/* The event that the record carries. ERR_INVALID: it does not say that it is a CloudEvent, or it does and is none (*d
 * says which attribute and which rule); the caller may then take it for a plain record by `ce_kafka_wrap`, as upstream
 * does.
 * ERR_UNSUPPORTED: a CloudEvents format not known here, or a batch; ERR_TOO_LARGE; ERR_NOMEM. */
enum err ce_kafka_decode(const struct ce_kafka_record *r, const struct ce_kafka_rules *rules,
                         const struct ce_event **out, struct diag *d) must_check;
/* dev.knative.kafka.event of whatever record: id "partition:P/offset:O", subject "partition:P#O", time, key and
 * partitionkey, a kafkaheaderNAME for each header, the value as data of the type that a header content-type names (the
 * whole table: events/kafka_wrap.c). What cannot be an attribute (a name too long, a value that is no text) is left
 * out; a key that is no text is kept as base64. ERR_TOO_LARGE, ERR_NOMEM. */
enum err ce_kafka_wrap(const struct ce_kafka_record *r, const struct ce_kafka_rules *rules, const struct ce_event **out,
                       struct diag *d) must_check;

/* Writes an event as the fields of a record, in binary or structured mode: `header` is called once for each, name and
 * value borrowed for the call. *value is the record's value (ptr NULL: null), borrowed from the event, or from
 * `scratch` in structured mode. An event whose datacontenttype is itself application/cloudevents... goes in structured
 * mode always: in binary mode its content-type would claim something else. With `carry` a reader of ours gets the event
 * back as it came, as from any other bus: one header more (leat_mode, no attribute; its grammar:
 * events/hint.h) where the record does not tell by itself in which mode it came, which kind of data and types of
 * extensions it has; and the forwarded transport headers (what ce_http_forwarded knows) stand under their own names.
 * Without it, of those only traceparent and tracestate do. `scratch` is cleared first. ERR_NOMEM, ERR_TOO_LARGE (the
 * limit of scratch); what `header` returned. */
enum err ce_kafka_encode(const struct ce_event *e, enum ce_mode mode, bool carry, struct buf *scratch,
                         enum err (*header)(void *arg, struct slice name, struct slice value), void *arg,
                         struct slice *value) must_check;
/* The record key: the extension partitionkey, as it is; ptr NULL: the event has none. */
struct slice ce_kafka_key(const struct ce_event *e);

#endif
