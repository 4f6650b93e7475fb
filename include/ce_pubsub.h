/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents in messages of Google Cloud Pub/Sub: the Pub/Sub Protocol Binding (google-cloudevents,
 * docs/spec/pubsub.md, a draft), written in binary and structured mode, read in both; and what Knative made of a
 * message that it takes from a topic (today's CloudPubSubSource, 2018's google.pubsub.topic.publish). Pure: fields in,
 * events out; no HTTP is known here.
 *
 * Binary mode: the data is the event's, content-type the datacontenttype, every other attribute one "ce-NAME". Read are
 * also Content-Type (sdk-go) and ce-datacontenttype (the binding's own example). Pub/Sub knows no absent data: empty is
 * none, unless a writer of ours says otherwise.
 */
#ifndef LEAT_CE_PUBSUB_H
#define LEAT_CE_PUBSUB_H

#include "event.h"

/* Pub/Sub's own limits of a message (cloud.google.com/pubsub/quotas). What does not fit goes in structured mode. */
#define CE_PUBSUB_ATTRIBUTES_MAX 100
#define CE_PUBSUB_NAME_MAX 256          /* bytes of an attribute's name */
#define CE_PUBSUB_VALUE_MAX 1024        /* bytes of an attribute's value */
#define CE_PUBSUB_ORDERING_KEY_MAX 1024 /* bytes */

struct ce_pubsub_attribute {
    struct slice name, value;
};

/* One message, to be published or received; everything borrowed. */
struct ce_pubsub_message {
    const struct ce_pubsub_attribute *attributes;
    size_t attribute_count;
    struct slice data;         /* the bytes, no base64 */
    struct slice ordering_key; /* empty: none */
    /* Of one that was received: */
    struct slice message_id;
    struct slice publish_time; /* RFC 3339; empty: not told */
};

/* What an event made of a plain message looks like. */
enum ce_pubsub_form {
    CE_PUBSUB_TODAY, /* google.cloud.pubsub.topic.v1.messagePublished: data {"subscription":…, "message":{…}} */
    CE_PUBSUB_2018   /* google.pubsub.topic.publish: data {"ID":…, "Data":…, "Attributes":…, "PublishTime":…} */
};

struct ce_pubsub_rules {
    size_t event_bytes_max;
    /* For ce_pubsub_wrap: "projects/P/topics/T" (the source is "//pubsub.googleapis.com/" and this) and
     * "projects/P/subscriptions/S". */
    struct slice topic, subscription;
    enum ce_pubsub_form form;
    /* Extensions that every event gets, over what it brings (spec.ceOverrides.extensions). What cannot be one, a core
     * attribute's name or a value that is not of its type, is passed over: a plan refuses it. */
    const struct ce_attribute *overrides;
    size_t override_count;
};

/* Whether the message says that it is a CloudEvent: a content type of a CloudEvents format, or else ce-specversion. */
bool ce_pubsub_is_event(const struct ce_pubsub_message *m);

/* The event that the message carries. ERR_INVALID: it does not say that it is a CloudEvent, or it does and is none (*d
 * says which attribute and which rule); the caller may then take it for a plain message by `ce_pubsub_wrap`.
 * ERR_UNSUPPORTED: a CloudEvents format not known here, or a batch; ERR_TOO_LARGE; ERR_NOMEM. */
enum err ce_pubsub_decode(const struct ce_pubsub_message *m, const struct ce_pubsub_rules *rules,
                          const struct ce_event **out, struct diag *d) must_check;
/* An event of whatever message, as Knative's sources made it: id is the message_id, time the publish_time, data the
 * message as JSON (messageId, data in base64, attributes, publishTime, orderingKey), in the rules' form. ERR_INVALID:
 * no message_id; ERR_TOO_LARGE, ERR_NOMEM. */
enum err ce_pubsub_wrap(const struct ce_pubsub_message *m, const struct ce_pubsub_rules *rules,
                        const struct ce_event **out, struct diag *d) must_check;

/* A message to be published. Its attributes lie in the caller's array. */
struct ce_pubsub_written {
    struct ce_pubsub_message message; /* attributes, data, ordering_key */
    enum ce_mode mode;                /* in which it was written */
};

/* Writes an event as the fields of a message, in binary or structured mode. Names, values and data stay valid as long
 * as the event, `room` and `scratch`, unchanged, do: nothing has to be copied. `scratch` is cleared first.
 *
 * An event goes in structured mode whatever was asked when its content type would claim in binary mode that the data is
 * the event (a datacontenttype application/cloudevents...), and when it goes beyond one of the limits above.
 *
 * With `carry` a reader of ours gets the event back as it came, as from any other bus: one attribute more (leat_mode,
 * no attribute of the event; its grammar: events/hint.h) where the message does not tell by itself in which mode it
 * came, which kind of data and types of extensions it has; and the forwarded transport headers (what ce_http_forwarded
 * knows) stand under their own names. Without it, of those only traceparent and tracestate do. What of these goes
 * beyond a limit is left out. The ordering key is ce_pubsub_ordering_key. ERR_NOMEM, ERR_TOO_LARGE (the limit of
 * scratch). */
enum err ce_pubsub_encode(const struct ce_event *e, enum ce_mode mode, bool carry, struct buf *scratch,
                          struct ce_pubsub_attribute room[CE_PUBSUB_ATTRIBUTES_MAX],
                          struct ce_pubsub_written *out) must_check;
/* The ordering key: the extension partitionkey, as it is; empty when the event has none. Of a longer one the first
 * bytes (whole characters), so that what has one key still has one. */
struct slice ce_pubsub_ordering_key(const struct ce_event *e);

#endif
