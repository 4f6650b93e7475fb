/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the CloudEvents library share: the layout of an event, the classes of bytes, and the doors that the
 * decoders use.
 *
 *   struct ce_event | attributes[count] | headers[header_count] | lines | data
 *
 * `lines` keeps the strings in the form of binary mode's header lines: "ce-id: 1\r\n...", the Content-Type line where
 * the datacontenttype stands, and after the attributes the forwarded headers. A name or value is a run inside it. So
 * the usual event, whose values need no percent-coding, is encoded with one copy, however many sinks it goes to. All
 * offsets count from the event's first byte.
 */
#ifndef LEAT_EVENT_PRIVATE_H
#define LEAT_EVENT_PRIVATE_H

#include <assert.h>
#include <stdatomic.h>

#include "ce_http.h"
#include "event.h"
#include "json.h"

/* Kinds of bytes that some encoding treats in its own way; letters, digits and other marks have none. */
enum {
    BYTE_SPACE = 1,
    BYTE_QUOTE = 2,
    BYTE_PERCENT = 4,
    BYTE_BACKSLASH = 8,
    BYTE_CONTROL = 16, /* below space, and DEL */
    BYTE_HIGH = 32,    /* 0x80 and above: a part of a longer UTF-8 sequence */
    BYTE_CODED = BYTE_SPACE | BYTE_QUOTE | BYTE_PERCENT | BYTE_CONTROL | BYTE_HIGH, /* percent-coded in a header */
    BYTE_ESCAPED = BYTE_QUOTE | BYTE_BACKSLASH | BYTE_CONTROL                       /* escaped in JSON */
};

extern const unsigned char ce_byte_class[256];

/* Whether eight bytes may hold one of a kind. It may say yes when there is none (a borrow), never no when there is one.
 */
static inline bool word_has_kind(const char *p)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t w;
    memcpy(&w, p, sizeof w);
    uint64_t low = w - ones * 0x21, quote = (w ^ ones * '"') - ones, percent = (w ^ ones * '%') - ones;
    uint64_t backslash = (w ^ ones * '\\') - ones, del = (w ^ ones * 0x7F) - ones;
    return ((low | quote | percent | backslash | del | w) & ones * 0x80) != 0;
}

/* All kinds that occur in s: by words while there is none, by bytes once there is. */
static inline unsigned ce_classify(struct slice s)
{
    bool any = s.len < 8;
    for (size_t i = 0; i + 8 <= s.len && !any; i += 8)
        any = word_has_kind(s.ptr + i);
    if (!any && !word_has_kind(s.ptr + s.len - 8)) /* the last word overlaps the one before */
        return 0;
    unsigned classes = 0;
    for (size_t i = 0; i < s.len; i++)
        classes |= ce_byte_class[(unsigned char)s.ptr[i]];
    return classes;
}

struct event_attribute {
    uint32_t name_at, value_at, value_len;
    uint16_t name_len;
    uint8_t type;    /* enum ce_type */
    uint8_t classes; /* of the value's bytes */
};

struct event_header {
    uint32_t name_at, name_len, value_at, value_len;
};

struct ce_event {
    _Atomic uint32_t refs;
    uint32_t size; /* of the whole allocation */
    uint32_t lines_at, lines_len;
    uint32_t headers_line_at; /* in lines: where the forwarded headers begin */
    uint32_t data_at, data_len;
    uint16_t count;
    int16_t content_type; /* index of datacontenttype, -1: absent */
    uint8_t header_count;
    uint8_t mode;      /* enum ce_mode */
    uint8_t data_kind; /* enum ce_data_kind */
    bool coded;        /* some value of a ce- line needs percent-coding */
    bool json;         /* the datacontenttype is JSON or absent */
    struct event_attribute attributes[];
};

static inline const struct event_header *event_headers(const struct ce_event *e)
{
    return (const struct event_header *)(const void *)(e->attributes + e->count);
}

static inline const char *event_at(const struct ce_event *e, uint32_t offset)
{
    return (const char *)e + offset;
}

/* Core attributes; the required ones first, in the order in which every event keeps them. */
enum core {
    CORE_SPECVERSION,
    CORE_ID,
    CORE_SOURCE,
    CORE_TYPE,
    CORE_REQUIRED, /* how many they are */
    CORE_DATACONTENTTYPE = CORE_REQUIRED,
    CORE_DATASCHEMA,
    CORE_SUBJECT,
    CORE_TIME,
    CORE_NONE /* an extension */
};

/* An attribute by its name and which core attribute that is; NULL when the event has none. */
static inline const struct event_attribute *event_find(const struct ce_event *e, unsigned core, struct slice name)
{
    if (core < CORE_REQUIRED)
        return &e->attributes[core];
    if (core == CORE_DATACONTENTTYPE) /* its line is spelt otherwise */
        return e->content_type >= 0 ? &e->attributes[e->content_type] : NULL;
    for (size_t i = CORE_REQUIRED; i < e->count; i++) {
        const struct event_attribute *a = &e->attributes[i];
        if (a->name_len == name.len && (int)i != e->content_type &&
            memcmp(event_at(e, a->name_at), name.ptr, name.len) == 0)
            return a;
    }
    return NULL;
}

/* Which core attribute a name is. */
enum core ce_core_of(struct slice name);
extern const struct slice ce_core_names[CORE_NONE];
extern const enum ce_type ce_core_types[CORE_NONE];

/* As ce_builder_set for a name and a value whose bytes the caller has looked at: the name is well formed, `classes` are
 * the value's. */
void ce_builder_add(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value, unsigned classes);
/* Records the builder's first failure: `attribute "ce-NAME": ` and the reason. */
void ce_builder_fail(struct ce_builder *b, enum err e, struct slice name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Sets or replaces an extension; what cannot be one is passed over. */
void ce_builder_extension(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value);
void ce_builder_extensions(struct ce_builder *b, const struct ce_attribute *list, size_t count); /* each of them */
bool ce_builder_has(const struct ce_builder *b, struct slice name);
/* The attribute set so far; NULL when there is none. */
const struct ce_attribute *ce_builder_find(const struct ce_builder *b, struct slice name);

/* Checks one value whose classes are known; the reason goes to *d. */
enum err ce_value_check_classes(enum ce_type type, struct slice value, unsigned classes, struct diag *d) must_check;
/* Appends uri "#" fragment (RFC 3986 section 3.5); what may not stand in a fragment is percent-coded, three bytes each.
 */
void ce_fragment_put(struct buf *b, const char *uri, struct slice fragment);
/* type "/" subtype with parameters (RFC 2045 section 5.1 in the grammar of RFC 9110 section 8.3.1). */
bool ce_media_type_valid(struct slice text);
/* type/subtype without parameters and white space. */
struct slice ce_media_type_essence(struct slice text);
/* Whether it begins with application/cloudevents: what every binding takes as the mark of a format, known or not. */
static inline bool ce_media_type_is_cloudevents(struct slice text)
{
    return slice_has_prefix_nocase(text, SLICE("application/cloudevents"));
}

/* The number in at most eight bytes, the most significant first. */
static inline uint64_t ce_big_endian(struct slice bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes.len; i++)
        v = v << 8 | (unsigned char)bytes.ptr[i];
    return v;
}

/* A value for a message: in quotes, printable, cut to a readable length. */
struct quoted {
    char text[100];
};
struct quoted ce_quote(struct slice value);

/* Memory for decoded strings until the seal copies them: a small piece in place, and once that is used up one block
 * that is large enough for all that the message can still hold (total_max), so that nothing ever moves. */
struct scratch {
    char *at, *end;
    char *block; /* owned */
    size_t total_max;
    char small[1024];
};

static inline void scratch_init(struct scratch *s, size_t total_max)
{
    s->at = s->small;
    s->end = s->small + sizeof s->small;
    s->block = NULL;
    s->total_max = total_max;
}

void scratch_fini(struct scratch *s);
/* n bytes, NULL without memory. All calls together must not ask for more than total_max. */
char *scratch_take(struct scratch *s, size_t n);
/* Gives back what the last take did not use: `end` is the first unused byte. */
static inline void scratch_trim(struct scratch *s, char *end)
{
    s->at = end;
}

/* Carries the forwarded headers of a message along. */
void ce_builder_forward(struct ce_builder *b, const struct http_header *headers, size_t count);

/* What bindings with headers share (http_decode.c). The mode that a media type of a CloudEvents format means; one that
 * is not known here passes as binary mode when the headers are `complete`, hold all required attributes:
 * ERR_UNSUPPORTED otherwise. */
enum err ce_mode_of_format(struct slice type, bool complete, enum ce_mode *out, struct diag *d) must_check;
/* The name of the attribute that a header carries whose name begins with "ce-" or the like, `prefix` bytes:
 * lower-cased, in scratch memory when it has to be. Refuses in the builder what is no attribute's name, data, and
 * datacontenttype, which is the header Content-Type. */
struct slice ce_header_attribute(struct ce_builder *b, struct scratch *s, struct slice header, size_t prefix);

/* The text of a header value: a quoted string opened, then one round of percent-decoding; both only where there is
 * something to undo. NULL pointer: no memory. */
struct slice ce_header_value(struct scratch *s, struct slice raw, unsigned *classes);

/* ---- event JSON (json_decode.c) ---- */

struct member {
    struct slice name; /* unescaped */
    struct json_value value;
};

/* One envelope on its way to an event. */
struct envelope {
    struct ce_builder b;
    struct scratch scratch;
    struct member members[CE_ATTRIBUTES_MAX + 8]; /* attributes, data and what a few nulls may add */
    size_t count;
};

/* Sets an attribute from a JSON value that is not null. */
void ce_envelope_attribute(struct envelope *v, struct slice name, struct json_value value);
/* Sets the data from the member "data", by the datacontenttype that has been set; `base64`: the string is base64. */
void ce_envelope_data(struct envelope *v, struct json_value value, bool base64);
/* The characters of a JSON string; a NULL pointer and the builder's failure without memory. */
struct slice ce_envelope_string(struct envelope *v, struct slice raw);
/* One event from an object out of json_check. */
enum err ce_json_decode_object(struct json_value object, enum ce_mode mode, const struct http_header *headers,
                               size_t header_count, size_t bytes_max, const struct ce_event **out,
                               struct diag *d) must_check;

/* The event in the envelope that is a message's body, with the transport headers beside it. `amend` (NULL: nothing to
 * do) then gets it in a builder, and what it makes of it is the event. */
typedef void ce_amend_fn(struct ce_builder *b, const void *arg);
enum err ce_json_decode_amended(struct slice text, const struct http_header *headers, size_t header_count,
                                size_t bytes_max, ce_amend_fn *amend, const void *arg, const struct ce_event **out,
                                struct diag *d) must_check;

/* ---- 0.1 of 2018 (legacy.c) ---- */

bool ce_legacy_headers(const struct http_header *headers, size_t count);
/* Fill the builder; failures stay in it. */
void ce_legacy_from_headers(struct ce_builder *b, struct scratch *s, const struct http_header *headers, size_t count);
void ce_legacy_from_members(struct envelope *v);

#endif
