/* SPDX-License-Identifier: Apache-2.0
 *
 * One CloudEvent, and its only writer. CloudEvents 1.0.2 (and the clarifications of 1.0.3-wip), sections "Context
 * Attributes", "Type System", "Naming Conventions".
 *
 * A `struct ce_event` is immutable and reference counted, one allocation: header, attribute table, strings, data. Every
 * attribute is kept as its canonical string with its type; data is bytes that nothing here ever re-encodes. Any thread
 * may hold references.
 */
#ifndef LEAT_EVENT_H
#define LEAT_EVENT_H

#include "buf.h"
#include "err.h"
#include "slice.h"

/* Limits, with their reasons. */
#define CE_ATTRIBUTES_MAX 256 /* more is an attack or a mistake; a 32 KiB header block holds about as many */
#define CE_NAME_LEN_MAX 256   /* the specification advises 20; no binding carries more than 255 */
#define CE_EVENT_BYTES_MAX                                                                                             \
    (256u << 20) /* hard ceiling; `--max-event-bytes` (1 MiB by default) is the one users meet                         \
                  */

enum ce_type { CE_STRING, CE_BOOLEAN, CE_INTEGER, CE_BINARY, CE_URI, CE_URI_REFERENCE, CE_TIMESTAMP };

/* What the data is. The difference between CE_DATA_NONE and an empty payload survives every binding that can express
 * it. */
enum ce_data_kind {
    CE_DATA_NONE,
    CE_DATA_BYTES, /* came as bytes (binary mode, data_base64) */
    CE_DATA_TEXT,  /* came as a JSON string under a non-JSON type: bytes are its characters */
    CE_DATA_JSON   /* came as a JSON value inside an envelope: bytes are its text, verbatim */
};

/* How the event arrived; a channel delivers in the same mode unless `delivery.format` says otherwise. */
enum ce_mode { CE_MODE_BINARY, CE_MODE_STRUCTURED, CE_MODE_BATCH };

struct ce_attribute {
    struct slice name;  /* [a-z0-9]+ */
    struct slice value; /* canonical string, UTF-8 */
    enum ce_type type;  /* of core attributes: the specification's; of others: what the encoding said, else CE_STRING */
};

struct ce_event;

/* Takes one more reference; returns its argument. */
const struct ce_event *ce_event_ref(const struct ce_event *e);
/* Gives one back, frees with the last; NULL is fine. Always returns NULL. */
const struct ce_event *ce_event_unref(const struct ce_event *e);

/* Required attributes: never empty. Borrowed from the event, like every slice below. */
struct slice ce_event_id(const struct ce_event *e);
struct slice ce_event_source(const struct ce_event *e);
struct slice ce_event_type(const struct ce_event *e);
struct slice ce_event_specversion(const struct ce_event *e); /* "1.0" or "0.3" */
/* The datacontenttype, empty when absent. */
struct slice ce_event_datacontenttype(const struct ce_event *e);

/* All attributes in the order in which they were set (required first: specversion, id, source, type). */
size_t ce_event_attribute_count(const struct ce_event *e);
struct ce_attribute ce_event_attribute_at(const struct ce_event *e, size_t i);
/* By name; false when absent. `out` may be NULL. */
bool ce_event_attribute(const struct ce_event *e, struct slice name, struct ce_attribute *out);

enum ce_data_kind ce_event_data_kind(const struct ce_event *e);
struct slice ce_event_data(const struct ce_event *e);
enum ce_mode ce_event_mode(const struct ce_event *e);
/* Binary or structured: `wanted`, but structured for a batch and where the datacontenttype (application/cloudevents...)
 * would claim in binary mode that the data is the event. */
enum ce_mode ce_event_mode_for(const struct ce_event *e, enum ce_mode wanted);

/* Transport headers that a router may pass on beside the event (x-request-id, knative-*, x-b3-*, traceparent,
 * tracestate): no attributes, kept apart. */
size_t ce_event_header_count(const struct ce_event *e);
void ce_event_header_at(const struct ce_event *e, size_t i, struct slice *name, struct slice *value);

/* Bytes that the event takes in memory: what bounded queues count. */
size_t ce_event_size(const struct ce_event *e);

/* The event without its data, in memory of the caller: ce_event_head_size bytes, aligned to 8. An event like any other
 * to read, but no reference to it may be given back. One copy of bytes, nothing is allocated. */
size_t ce_event_head_size(const struct ce_event *e);
const struct ce_event *ce_event_head_copy(const struct ce_event *e, void *memory);

/* Same attributes (in any order), same data and kind of data; mode and transport headers do not count. For tests and
 * oracles. */
bool ce_event_equal(const struct ce_event *a, const struct ce_event *b);

/* ---- building ---- */

/* Collects slices without copying: everything handed in must stay valid until ce_builder_seal. Lives on the stack. */
struct ce_builder {
    struct ce_attribute attributes[CE_ATTRIBUTES_MAX];
    size_t count;
    struct {
        struct slice name, value;
    } headers[16];
    size_t header_count;
    enum ce_data_kind data_kind;
    struct slice data;
    enum ce_mode mode;
    enum err error;   /* the first failure; later calls do nothing */
    struct diag diag; /* what it was */
    /* Private: */
    unsigned char classes[CE_ATTRIBUTES_MAX]; /* which kinds of bytes each value holds */
    unsigned char cores[CE_ATTRIBUTES_MAX];   /* which core attribute each is */
    uint64_t names_seen;                      /* one bit per name, by its hash: a clear bit proves that a name is new */
    const char *prefix;                       /* stands before names in messages: "ce-" for headers */
    bool data_checked;                        /* the data is known to fit its kind */
};

void ce_builder_init(struct ce_builder *b);
/* Starts from an existing event: all attributes, data, mode, headers (borrowed: keep `e` until the seal). */
void ce_builder_from(struct ce_builder *b, const struct ce_event *e);

/* Sets an attribute from its canonical string. The type of core attributes is the specification's whatever is passed.
 * Fails on a name that is not [a-z0-9]+ or is "data", a value that breaks the type's rules, and a name set before. */
void ce_builder_set(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value);
/* As ce_builder_set, but replaces a value set before, keeping its place. */
void ce_builder_replace(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value);
/* Takes an attribute away; absent is fine. */
void ce_builder_remove(struct ce_builder *b, struct slice name);
/* CE_DATA_JSON must be JSON and CE_DATA_TEXT UTF-8 (the seal looks). The seal keeps them so only where the
 * datacontenttype agrees (JSON or absent; any other): elsewhere they become CE_DATA_BYTES. */
void ce_builder_data(struct ce_builder *b, enum ce_data_kind kind, struct slice data);
void ce_builder_mode(struct ce_builder *b, enum ce_mode mode);
/* A transport header to carry along; beyond 16 they are dropped silently, since they are a courtesy. */
void ce_builder_header(struct ce_builder *b, struct slice name, struct slice value);

/* Makes the event: checks that id, source, type and specversion (1.0 or 0.3; 1.0 is set when absent) are there and
 * non-empty. ERR_INVALID with *d naming the attribute and the rule, ERR_TOO_LARGE beyond `bytes_max`, ERR_NOMEM. d may
 * be NULL. */
enum err ce_builder_seal(struct ce_builder *b, size_t bytes_max, const struct ce_event **out,
                         struct diag *d) must_check;

/* ---- the rules, one by one, for whoever has to check without building ---- */
enum err ce_name_check(struct slice name, struct diag *d) must_check;
enum err ce_value_check(enum ce_type type, struct slice value, struct diag *d) must_check;
/* Whether a media type means that data is JSON: its subtype is json or ends in +json, case and parameters aside; absent
 * (empty) counts as JSON. */
bool ce_media_type_is_json(struct slice media_type);

#endif
