/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP messages to events: which mode a message is in, and binary mode itself (HTTP Protocol Binding 1.0.2 section
 * 3.1). Names are case-insensitive and lower-cased; values are unquoted, then percent-decoded once. Most headers need
 * neither, so they are looked at once and never copied before the seal. Pure functions, any thread.
 */
#include "event_private.h"

#include <stdlib.h>

#include "text.h"

/* The character as it stands in an attribute's name; 0 for what none may hold. */
static const unsigned char name_char[256] = {
    ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8',
    ['9'] = '9', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h',
    ['i'] = 'i', ['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q',
    ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
    ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',
    ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',
    ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z',
};

void scratch_fini(struct scratch *s)
{
    free(s->block);
}

char *scratch_take(struct scratch *s, size_t n)
{
    if ((size_t)(s->end - s->at) < n) {
        if (s->block)
            return NULL; /* cannot be: the block holds all that the message can need */
        s->block = malloc(s->total_max);
        if (!s->block)
            return NULL;
        s->at = s->block;
        s->end = s->block + s->total_max;
        assert(n <= s->total_max);
    }
    char *taken = s->at;
    s->at += n;
    return taken;
}

/* ---- which mode ---- */

static bool name_is(struct slice name, struct slice lower)
{
    return name.len == lower.len && (name.ptr[0] | 0x20) == lower.ptr[0] && slice_eq_nocase(name, lower);
}

static bool is_ce(struct slice name)
{
    return name.len >= 3 && (name.ptr[0] | 0x20) == 'c' && (name.ptr[1] | 0x20) == 'e' && name.ptr[2] == '-';
}

bool ce_http_forwarded(struct slice name)
{
    switch (name.len ? name.ptr[0] | 0x20 : 0) { /* nearly every header ends here */
    case 'k':
        return slice_has_prefix_nocase(name, SLICE("knative-"));
    case 't':
        return slice_eq_nocase(name, SLICE("traceparent")) || slice_eq_nocase(name, SLICE("tracestate"));
    case 'x':
        return slice_eq_nocase(name, SLICE("x-request-id")) || slice_has_prefix_nocase(name, SLICE("x-b3-"));
    default:
        return false;
    }
}

bool ce_http_is_event(const struct http_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct slice name = headers[i].name;
        if (name_is(name, SLICE("ce-specversion")) || name_is(name, SLICE("ce-cloudeventsversion")))
            return true;
        if (name_is(name, SLICE("content-type")) && ce_media_type_is_cloudevents(headers[i].value))
            return true;
    }
    return false;
}

/* Whether all required attributes stand in headers: then a format that nothing here reads can pass as the data of a
 * binary event. */
static bool binary_complete(const struct http_header *headers, size_t count)
{
    unsigned found = 0;
    for (size_t i = 0; i < count; i++) {
        struct slice name = headers[i].name;
        for (unsigned k = 0; is_ce(name) && k < CORE_REQUIRED; k++)
            if (slice_eq_nocase(slice_from(name, 3), ce_core_names[k]))
                found |= 1u << k;
    }
    return found == (1u << CORE_REQUIRED) - 1;
}

enum err ce_mode_of_format(struct slice type, bool complete, enum ce_mode *out, struct diag *d)
{
    *out = CE_MODE_BINARY;
    struct slice essence = ce_media_type_essence(type);
    if (slice_eq_nocase(essence, SLICE("application/cloudevents+json")))
        *out = CE_MODE_STRUCTURED;
    else if (slice_eq_nocase(essence, SLICE("application/cloudevents-batch+json")))
        *out = CE_MODE_BATCH;
    else if (!complete)
        return diag_set(d, ERR_UNSUPPORTED,
                        "header \"Content-Type\": %s is no format known here; application/cloudevents+json and "
                        "application/cloudevents-batch+json are",
                        ce_quote(type).text);
    return OK;
}

enum err ce_http_mode(const struct http_header *headers, size_t count, enum ce_mode *out, struct diag *d)
{
    const struct http_header *type = NULL;
    for (size_t i = 0; i < count; i++) {
        struct slice name = headers[i].name;
        if (name_is(name, SLICE("content-type"))) {
            if (type)
                return diag_set(d, ERR_INVALID, "header \"Content-Type\": is given twice");
            type = &headers[i];
        } else if (name_is(name, SLICE("content-encoding")) && !slice_eq_nocase(headers[i].value, SLICE("identity"))) {
            return diag_set(d, ERR_UNSUPPORTED,
                            "header \"Content-Encoding\": %s is not supported; send the body uncompressed",
                            ce_quote(headers[i].value).text);
        }
    }
    struct slice format = type ? slice_trim(type->value) : SLICE("");
    enum ce_mode mode = CE_MODE_BINARY;
    enum err e = OK;
    if (ce_media_type_is_cloudevents(format))
        e = ce_mode_of_format(format, binary_complete(headers, count), &mode, d);
    if (!e)
        *out = mode;
    return e;
}

/* ---- header values ---- */

/* What a double-quoted string stands for (RFC 9110 section 5.6.4), into `to`. A quote that does not close at the very
 * end is a character like any other. Returns the length, or SIZE_MAX when the value is no quoted string. */
static size_t unquote(struct slice raw, char *to)
{
    if (raw.len < 2 || raw.ptr[0] != '"')
        return SIZE_MAX;
    size_t n = 0;
    for (size_t i = 1; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (c == '"')
            return i == raw.len - 1 ? n : SIZE_MAX;
        if (c == '\\') {
            if (++i == raw.len)
                return SIZE_MAX;
            c = raw.ptr[i];
        }
        to[n++] = c;
    }
    return SIZE_MAX;
}

/* One round, in place or from elsewhere. A % without two digits stays what it is. */
static size_t percent_undo(struct slice text, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%' && text.len - i >= 3) {
            int high = hex_digit(text.ptr[i + 1]), low = hex_digit(text.ptr[i + 2]);
            if (high >= 0 && low >= 0) {
                c = (char)(high << 4 | low);
                i += 2;
            }
        }
        to[n++] = c;
    }
    return n;
}

struct slice ce_header_value(struct scratch *s, struct slice raw, unsigned *classes)
{
    *classes = ce_classify(raw);
    if (!(*classes & BYTE_PERCENT) && (!(*classes & BYTE_QUOTE) || raw.ptr[0] != '"'))
        return raw.ptr ? raw : SLICE("");
    char *to = scratch_take(s, raw.len);
    if (!to)
        return slice_of(NULL, 0);
    size_t n = unquote(raw, to);
    struct slice text = n == SIZE_MAX ? raw : slice_of(to, n);
    n = percent_undo(text, to);
    scratch_trim(s, to + n);
    *classes = ce_classify(slice_of(to, n));
    return slice_of(to, n);
}

/* ---- binary mode ---- */

/* An attribute's name out of a header's, without "ce-", lower-cased. */
static struct slice attribute_name(struct ce_builder *b, struct scratch *s, struct slice header, size_t prefix)
{
    struct slice raw = slice_from(header, prefix);
    bool same = true, valid = raw.len > 0 && raw.len <= CE_NAME_LEN_MAX;
    for (size_t i = 0; i < raw.len; i++) {
        unsigned char c = (unsigned char)raw.ptr[i], lower = name_char[c];
        same &= c == lower;
        valid &= lower != 0;
    }
    if (!valid) {
        b->error =
            raw.len && raw.len <= CE_NAME_LEN_MAX
                ? diag_set(&b->diag, ERR_INVALID, "header %s: the name of an attribute consists of letters and digits",
                           ce_quote(header).text)
                : diag_set(&b->diag, ERR_INVALID, "header %s: the name of an attribute has 1 to %d characters",
                           ce_quote(header).text, CE_NAME_LEN_MAX);
        return raw;
    }
    if (same)
        return raw;
    char *to = scratch_take(s, raw.len);
    if (!to) {
        b->error = diag_set(&b->diag, ERR_NOMEM, "no memory");
        return raw;
    }
    for (size_t i = 0; i < raw.len; i++)
        to[i] = (char)name_char[(unsigned char)raw.ptr[i]];
    return slice_of(to, raw.len);
}

struct slice ce_header_attribute(struct ce_builder *b, struct scratch *s, struct slice header, size_t prefix)
{
    struct slice name = attribute_name(b, s, header, prefix);
    if (b->error)
        return name;
    if (name.len == 4 && slice_eq(name, SLICE("data")))
        b->error = diag_set(&b->diag, ERR_INVALID,
                            "header \"%sdata\": no attribute may be called so; the data is the body", b->prefix);
    else if (name.len == 15 && slice_eq(name, ce_core_names[CORE_DATACONTENTTYPE]))
        b->error = diag_set(&b->diag, ERR_INVALID,
                            "header \"%sdatacontenttype\": this attribute is the header Content-Type", b->prefix);
    return name;
}

static void binary_attribute(struct ce_builder *b, struct scratch *s, const struct http_header *h)
{
    struct slice name = ce_header_attribute(b, s, h->name, 3);
    if (b->error)
        return;
    unsigned classes;
    struct slice value = ce_header_value(s, h->value, &classes);
    if (!value.ptr)
        b->error = diag_set(&b->diag, ERR_NOMEM, "no memory");
    ce_builder_add(b, name, CE_STRING, value, classes);
}

static void binary_headers(struct ce_builder *b, struct scratch *s, const struct http_header *headers, size_t count)
{
    for (size_t i = 0; i < count && !b->error; i++) {
        struct slice name = headers[i].name;
        if (is_ce(name))
            binary_attribute(b, s, &headers[i]);
        else if (name_is(name, SLICE("content-type")))
            ce_builder_add(b, ce_core_names[CORE_DATACONTENTTYPE], CE_STRING, headers[i].value,
                           ce_classify(headers[i].value));
        else if (ce_http_forwarded(name))
            ce_builder_header(b, name, headers[i].value);
    }
    if (ce_builder_has(b, ce_core_names[CORE_SPECVERSION]) || b->error)
        return;
    if (b->count <= 1)
        b->error = diag_set(&b->diag, ERR_INVALID,
                            "no CloudEvent: neither a header \"ce-specversion\" (binary mode) nor Content-Type "
                            "application/cloudevents+json (structured mode)");
    else
        ce_builder_fail(b, ERR_INVALID, ce_core_names[CORE_SPECVERSION], "is missing; every event has one");
}

static enum err decode_binary(const struct http_header *headers, size_t count, struct slice body, size_t bytes_max,
                              const struct ce_event **out, struct diag *d)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += headers[i].name.len + headers[i].value.len;
    struct scratch scratch;
    scratch_init(&scratch, 2 * total); /* 0.1 opens a value twice: as JSON, then as a header */
    struct ce_builder b;
    ce_builder_init(&b);
    b.prefix = "ce-";
    if (ce_legacy_headers(headers, count))
        ce_legacy_from_headers(&b, &scratch, headers, count);
    else
        binary_headers(&b, &scratch, headers, count);
    if (body.len) /* an empty body is no data: HTTP cannot tell the two apart */
        ce_builder_data(&b, CE_DATA_BYTES, body);
    enum err e = ce_builder_seal(&b, bytes_max, out, d);
    scratch_fini(&scratch);
    return e;
}

/* ---- batches ---- */

static enum err in_batch(enum err e, size_t index, struct diag *d)
{
    if (!d)
        return e;
    struct diag why = *d;
    e = diag_set(d, e, "event %zu of the batch: %s", index + 1, why.text);
    d->line = why.line;
    d->column = why.column;
    return e;
}

/* All events or none: whatever stands in `out` after a failure is given back. */
static enum err batch_elements(struct json_value array, const struct http_header *headers, size_t count,
                               const struct ce_http_limits *limits, const struct ce_event **out, size_t out_cap,
                               size_t *n, struct diag *d)
{
    struct json_walk w;
    for (json_walk_begin(&w, array); json_walk_next(&w); ++*n) {
        if (*n == limits->batch_max || *n == out_cap)
            return diag_set(d, ERR_TOO_LARGE, "more than %zu events in one batch", *n);
        if (w.value.type != JSON_OBJECT)
            return in_batch(diag_set(d, ERR_INVALID, "a JSON object is expected"), *n, d);
        enum err e =
            ce_json_decode_object(w.value, CE_MODE_BATCH, headers, count, limits->event_bytes_max, &out[*n], d);
        if (e)
            return in_batch(e, *n, d);
        if (!slice_eq(ce_event_specversion(out[*n]), ce_event_specversion(out[0]))) {
            e = diag_set(d, ERR_INVALID, "its specversion is not that of the first; a batch has one");
            out[*n] = ce_event_unref(out[*n]);
            return in_batch(e, *n, d);
        }
    }
    return OK;
}

static enum err decode_batch(const struct http_header *headers, size_t count, struct slice body,
                             const struct ce_http_limits *limits, const struct ce_event **out, size_t out_cap,
                             size_t *out_count, struct diag *d)
{
    struct json_value array;
    enum err e = json_check(body, JSON_DEPTH_MAX, &array, d);
    if (e)
        return e;
    if (array.type != JSON_ARRAY)
        return diag_set(d, ERR_INVALID, "a batch is a JSON array of events");
    size_t n = 0;
    e = batch_elements(array, headers, count, limits, out, out_cap, &n, d);
    if (!e) {
        *out_count = n;
        return OK;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = ce_event_unref(out[i]);
    return e;
}

enum err ce_http_decode(const struct http_header *headers, size_t count, struct slice body,
                        const struct ce_http_limits *limits, const struct ce_event **out, size_t out_cap,
                        size_t *out_count, struct diag *d)
{
    assert(out_cap >= 1);
    enum ce_mode mode;
    enum err e = ce_http_mode(headers, count, &mode, d);
    if (e)
        return e;
    if (mode == CE_MODE_BATCH)
        return decode_batch(headers, count, body, limits, out, out_cap, out_count, d);
    if (mode == CE_MODE_BINARY) {
        e = decode_binary(headers, count, body, limits->event_bytes_max, out, d);
    } else {
        struct json_value object;
        e = json_check(body, JSON_DEPTH_MAX, &object, d);
        if (!e && object.type != JSON_OBJECT)
            e = diag_set(d, ERR_INVALID, "an event is a JSON object");
        if (!e)
            e = ce_json_decode_object(object, CE_MODE_STRUCTURED, headers, count, limits->event_bytes_max, out, d);
    }
    if (!e)
        *out_count = 1;
    return e;
}
