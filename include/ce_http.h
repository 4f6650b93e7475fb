/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents over HTTP: HTTP Protocol Binding 1.0.2 and JSON Event Format 1.0.2 (bindings/http-protocol-binding.md,
 * formats/json-format.md), read in binary, structured and batched mode, written in binary and structured (and, for
 * whoever asked, batched). Version 0.3 is taken and kept; the 0.1 headers and envelope of 2018 (CE-EventID ...) are
 * converted to 1.0. Pure: bytes in, events out.
 */
#ifndef LEAT_CE_HTTP_H
#define LEAT_CE_HTTP_H

#include "event.h"
#include "http_header.h"

struct ce_http_limits {
    size_t event_bytes_max; /* per event in memory; ERR_TOO_LARGE beyond */
    size_t batch_max;       /* events in one batch; ERR_TOO_LARGE beyond */
};

/* What a message is, told by its headers alone. ERR_UNSUPPORTED: a cloudevents media type in a format not known here
 * (415). */
enum err ce_http_mode(const struct http_header *headers, size_t count, enum ce_mode *out, struct diag *d) must_check;

/* Decodes one message. Binary and structured give exactly one event; batch 0 to batch_max, all valid or none.
 * ERR_INVALID: no valid CloudEvent, *d says which attribute and which rule (also a specversion other than 1.0, 0.3 and
 * 0.1); ERR_UNSUPPORTED: a format, content coding or datacontentencoding not known; ERR_TOO_LARGE; ERR_NOMEM. `out`
 * gets up to `out_cap` (>= 1, >= batch_max when batches are to be read) owned references, *out_count their number.
 * After a failure entries of `out` may be NULL. Headers that a router passes on (ce_http_forwarded) are kept with the
 * event. */
enum err ce_http_decode(const struct http_header *headers, size_t count, struct slice body,
                        const struct ce_http_limits *limits, const struct ce_event **out, size_t out_cap,
                        size_t *out_count, struct diag *d) must_check;

/* Whether a response or request carries a CloudEvent at all: a ce-specversion (or 0.1) header, or a cloudevents media
 * type. */
bool ce_http_is_event(const struct http_header *headers, size_t count);

/* Whether Knative's data plane passes this header on beside the event: x-request-id, knative-*, x-b3-*, traceparent,
 * tracestate. */
bool ce_http_forwarded(struct slice name);

/* Appends the header lines of binary mode, each ended by CR LF: "ce-id: 1\r\n...", Content-Type when there is a
 * datacontenttype or the data is a JSON value (then application/json), then the forwarded headers. The body is
 * ce_event_data. No Content-Length. Values are percent-coded as the binding says, so no value can break a line. Only
 * for an event that ce_event_mode_for lets go in binary mode. */
void ce_http_encode_binary(const struct ce_event *e, struct buf *headers);
/* Appends the JSON envelope to `body` and "Content-Type: application/cloudevents+json; charset=UTF-8" with the
 * forwarded headers to `headers`. JSON data stands verbatim; other data as string or data_base64. */
void ce_http_encode_structured(const struct ce_event *e, struct buf *headers, struct buf *body);
/* The JSON envelope alone: also for files, logs and other bindings. */
void ce_json_encode(const struct ce_event *e, struct buf *out);
/* One event from a JSON envelope (1.0, 0.3, 0.1). */
enum err ce_json_decode(struct slice text, const struct ce_http_limits *limits, const struct ce_event **out,
                        struct diag *d) must_check;

#endif
