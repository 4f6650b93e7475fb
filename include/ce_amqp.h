/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents in messages of AMQP 0.9.1, as RabbitMQ has them. No specification of its own covers them; this is what
 * the RabbitMQ binding beside Knative's Rabbit parts says (eventing-rabbitmq, cloudevents-protocol-spec), written in
 * binary and structured mode, read in both, and read as well in the forms that AMQP 1.0 and Knative's Rabbit broker
 * write. Pure: fields in, events out; no AMQP library is known here.
 *
 * Binary mode: the property content_type is the datacontenttype, every other attribute a header "ce-NAME", a string;
 * the body is the data. AMQP knows no absent body: an empty one is no data, unless a writer of ours says otherwise.
 */
#ifndef LEAT_CE_AMQP_H
#define LEAT_CE_AMQP_H

#include "event.h"

/* Names of headers and the properties content_type and message_id are short strings: one byte says how long. */
#define CE_AMQP_SHORT_MAX 255
/* What the header frame of a message holds beside what the codec writes: the frame's own bytes, and room for a
 * publisher's delivery_mode, timestamp, priority, expiration, type and app_id of 32 bytes each. */
#define CE_AMQP_FRAME_REST 160

/* A header's value, with the type that the sender gave it. */
enum ce_amqp_kind {
    CE_AMQP_VOID,    /* as null in JSON: the header counts as absent */
    CE_AMQP_BOOLEAN, /* t */
    CE_AMQP_INTEGER, /* every signed type, and the unsigned ones that fit */
    CE_AMQP_UNSIGNED,
    CE_AMQP_DOUBLE, /* float, double, decimal */
    CE_AMQP_STRING,
    CE_AMQP_BYTES,     /* x */
    CE_AMQP_TIMESTAMP, /* T: `seconds` */
    CE_AMQP_ARRAY,     /* what lies in these two is no attribute's value */
    CE_AMQP_TABLE
};

struct ce_amqp_value {
    enum ce_amqp_kind kind;
    union {
        bool boolean;
        int64_t integer;
        uint64_t natural; /* UNSIGNED */
        double number;
        struct slice text; /* STRING, BYTES */
        uint64_t seconds;  /* since 1970 */
    };
};

struct ce_amqp_header {
    struct slice name;
    struct ce_amqp_value value;
};

/* One message, as a client library gives it; everything borrowed. */
struct ce_amqp_message {
    const struct ce_amqp_header *headers;
    size_t header_count;
    struct slice content_type, message_id; /* properties; empty: not set */
    bool has_time;                         /* the property timestamp */
    uint64_t time_s;
    struct slice body;
    struct slice queue; /* that it came from */
    /* For ce_amqp_wrap: the id of an event whose message brings no message_id. A UUID made by the caller; nothing in a
     * message tells it from another of the same content. */
    struct slice fallback_id;
};

struct ce_amqp_rules {
    size_t event_bytes_max;
    /* Read also what Knative's Rabbit parts write: attributes as headers without a prefix ("id", "type" ...), the
     * datacontenttype as a header content-type; and fill in a source that is missing, as they do. Off, such a message
     * is no CloudEvent. The whole table: events/amqp_decode.c. */
    bool knative;
    /* What a message that is no CloudEvent has as its source, before "#QUEUE":
     * "/apis/v1/namespaces/NS/rabbitmqsources/NAME", a URI reference without a fragment. NULL: "/rabbitmq". */
    const char *source;
    /* Extensions that every event gets, over what it brings (spec.ceOverrides.extensions). What cannot be one, a core
     * attribute's name or a value that is not of its type, is passed over: a plan refuses it. */
    const struct ce_attribute *overrides;
    size_t override_count;
};

/* Whether the message says that it is a CloudEvent: a content_type of a CloudEvents format, or else a header
 * ce-specversion, cloudEvents:specversion or cloudEvents_specversion; with `knative` also specversion. */
bool ce_amqp_is_event(const struct ce_amqp_message *m, bool knative);

/* The event that the message carries. ERR_INVALID: it does not say that it is a CloudEvent, or it does and is none (*d
 * says which attribute and which rule); the caller may then take it for a plain message by `ce_amqp_wrap`.
 * ERR_UNSUPPORTED: a CloudEvents format not known here, or a batch; ERR_TOO_LARGE; ERR_NOMEM. */
enum err ce_amqp_decode(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules, const struct ce_event **out,
                        struct diag *d) must_check;
/* dev.knative.rabbitmq.event of whatever message, as Knative's RabbitmqSource makes it: id and subject are the
 * message_id, else the fallback id, time the timestamp, datacontenttype the content_type, the body is the data. Headers
 * become no attributes. What cannot be an attribute (a message_id that is no text, a time beyond the year 2262, a
 * content_type that is no media type or claims an envelope) is left out. ERR_INVALID: no id at all; ERR_TOO_LARGE,
 * ERR_NOMEM. */
enum err ce_amqp_wrap(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules, const struct ce_event **out,
                      struct diag *d) must_check;

/* A message to be published. All headers are strings. */
struct ce_amqp_written {
    struct slice content_type; /* empty: the property is not set */
    struct slice message_id;   /* the event's id where it fits a short string, else empty */
    struct slice body;
    enum ce_mode mode; /* in which it was written */
};

/* Writes an event as the fields of a message, in binary or structured mode: `header` is called once for each header.
 * Names, values and what *out holds stay valid as long as the event and `scratch`, unchanged, do: nothing has to be
 * copied.
 *
 * An event goes in structured mode whatever was asked when its content_type would claim in binary mode that the data is
 * the event (a datacontenttype application/cloudevents...), and when it does not fit: a message has one frame for all
 * its properties and headers, of `frame_max` bytes as agreed with the server (0: no limit), a name and a content_type
 * at most CE_AMQP_SHORT_MAX.
 *
 * With `carry` a reader of ours gets the event back as it came, as from any other bus: one header more (leat_mode, no
 * attribute; its grammar: events/hint.h) where the message does not tell by itself in which mode it came, which kind of
 * data and types of extensions it has; and the forwarded transport headers (what ce_http_forwarded knows) stand under
 * their own names. Without it, of those only traceparent and tracestate do. In a frame too small for all of it the last
 * types and headers are left out. `scratch` is cleared first. ERR_NOMEM, ERR_TOO_LARGE (the limit of scratch); what
 * `header` returned. */
enum err ce_amqp_encode(const struct ce_event *e, enum ce_mode mode, bool carry, size_t frame_max, struct buf *scratch,
                        enum err (*header)(void *arg, struct slice name, struct slice value), void *arg,
                        struct ce_amqp_written *out) must_check;

#endif
