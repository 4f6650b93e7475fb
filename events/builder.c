/* SPDX-License-Identifier: Apache-2.0
 *
 * The only writer of events. A builder collects borrowed slices, checks each as it comes, and the seal copies all of it
 * into one allocation. It is large, so nothing but its counts is ever initialised. One thread.
 */
#include "event_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "text.h"

#define HEADERS_MAX (sizeof((struct ce_builder *)0)->headers / sizeof((struct ce_builder *)0)->headers[0])

static const struct slice line_prefix = SLICE_INIT("ce-");
static const struct slice line_content_type = SLICE_INIT("Content-Type");
#define LINE_EXTRA 4 /* ": " and CR LF */

void ce_builder_init(struct ce_builder *b)
{
    b->count = 0;
    b->header_count = 0;
    b->data_kind = CE_DATA_NONE;
    b->data = (struct slice){NULL, 0};
    b->mode = CE_MODE_BINARY;
    b->error = OK;
    b->diag.line = 0;
    b->diag.column = 0;
    b->diag.text[0] = '\0';
    b->names_seen = 0;
    b->prefix = "";
    b->data_checked = false;
}

void ce_builder_fail(struct ce_builder *b, enum err e, struct slice name, const char *format, ...)
{
    if (b->error)
        return;
    b->error = e;
    char why[300];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    if (*b->prefix && slice_eq(name, ce_core_names[CORE_DATACONTENTTYPE]))
        (void)diag_set(&b->diag, e, "header \"Content-Type\": %s", why);
    else
        (void)diag_set(&b->diag, e, "attribute \"%s%.*s\": %s", b->prefix, (int)(name.len < 64 ? name.len : 64),
                       name.ptr, why);
}

/* The bit of a name: by length and both ends, which tells nearly all names of one event apart. */
static uint64_t name_bit(struct slice name)
{
    unsigned hash =
        (unsigned)name.len * 7 + (unsigned char)name.ptr[0] * 3u + (unsigned char)name.ptr[name.len - 1] * 5u;
    return 1ull << (hash & 63);
}

#define NOWHERE SIZE_MAX

static size_t index_of(const struct ce_builder *b, struct slice name)
{
    if (name.len && (b->names_seen & name_bit(name)))
        for (size_t i = 0; i < b->count; i++)
            if (slice_eq(b->attributes[i].name, name))
                return i;
    return NOWHERE;
}

static struct ce_attribute *find(struct ce_builder *b, struct slice name)
{
    size_t i = index_of(b, name);
    return i == NOWHERE ? NULL : &b->attributes[i];
}

bool ce_builder_has(const struct ce_builder *b, struct slice name)
{
    return index_of(b, name) != NOWHERE;
}

const struct ce_attribute *ce_builder_find(const struct ce_builder *b, struct slice name)
{
    size_t i = index_of(b, name);
    return i == NOWHERE ? NULL : &b->attributes[i];
}

/* What the specification demands of core attributes beyond their type. */
static bool core_value_fits(struct ce_builder *b, enum core core, struct slice value)
{
    if (core == CORE_NONE)
        return true;
    if (!value.len)
        ce_builder_fail(b, ERR_INVALID, ce_core_names[core], "must not be empty");
    else if (core == CORE_SPECVERSION && !slice_eq(value, SLICE("1.0")) && !slice_eq(value, SLICE("0.3")))
        ce_builder_fail(b, ERR_INVALID, ce_core_names[core],
                        "%s is not supported; 1.0 and 0.3 are, and the 0.1 form of 2018", ce_quote(value).text);
    else if (core == CORE_DATACONTENTTYPE && !ce_media_type_valid(value))
        ce_builder_fail(b, ERR_INVALID, ce_core_names[core], "%s is no media type such as application/json",
                        ce_quote(value).text);
    return b->error == OK;
}

/* Checks a value and its place among the limits; the type that counts goes to *type. */
static bool value_fits(struct ce_builder *b, struct slice name, enum core core, enum ce_type *type, struct slice value,
                       unsigned classes)
{
    if (core != CORE_NONE)
        *type = ce_core_types[core];
    if (*type != CE_STRING || (classes & (BYTE_CONTROL | BYTE_HIGH))) {
        struct diag why;
        enum err e = value.len || core == CORE_NONE ? ce_value_check_classes(*type, value, classes, &why) : OK;
        if (e) {
            ce_builder_fail(b, e, name, "%s", why.text);
            return false;
        }
    }
    return core_value_fits(b, core, value);
}

static void too_many(struct ce_builder *b)
{
    b->error = diag_set(&b->diag, ERR_TOO_LARGE, "more than %d attributes", CE_ATTRIBUTES_MAX);
}

void ce_builder_add(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value, unsigned classes)
{
    if (b->error)
        return;
    if (find(b, name)) {
        ce_builder_fail(b, ERR_INVALID, name, "is given twice");
        return;
    }
    if (b->count == CE_ATTRIBUTES_MAX) {
        too_many(b);
        return;
    }
    enum core core = ce_core_of(name);
    if (!value_fits(b, name, core, &type, value, classes))
        return;
    b->names_seen |= name_bit(name);
    b->classes[b->count] = (unsigned char)classes;
    b->cores[b->count] = (unsigned char)core;
    b->attributes[b->count++] = (struct ce_attribute){name, value, type};
}

void ce_builder_set(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value)
{
    if (b->error)
        return;
    b->error = ce_name_check(name, &b->diag);
    ce_builder_add(b, name, type, value, ce_classify(value));
}

void ce_builder_replace(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value)
{
    struct ce_attribute *a = b->error ? NULL : find(b, name);
    if (!a) {
        ce_builder_set(b, name, type, value);
        return;
    }
    unsigned classes = ce_classify(value);
    if (!value_fits(b, name, ce_core_of(name), &type, value, classes))
        return;
    b->classes[a - b->attributes] = (unsigned char)classes;
    a->value = value;
    a->type = type;
}

void ce_builder_extension(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value)
{
    if (ce_name_check(name, NULL) || ce_core_of(name) != CORE_NONE || ce_value_check(type, value, NULL) ||
        (b->count == CE_ATTRIBUTES_MAX && !ce_builder_has(b, name)))
        return;
    ce_builder_replace(b, name, type, value);
}

void ce_builder_extensions(struct ce_builder *b, const struct ce_attribute *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ce_builder_extension(b, list[i].name, list[i].type, list[i].value);
}

void ce_builder_remove(struct ce_builder *b, struct slice name)
{
    struct ce_attribute *a = b->error ? NULL : find(b, name);
    if (!a)
        return;
    size_t i = (size_t)(a - b->attributes), after = b->count - i - 1;
    memmove(a, a + 1, after * sizeof *a);
    memmove(&b->classes[i], &b->classes[i + 1], after);
    memmove(&b->cores[i], &b->cores[i + 1], after);
    b->count--;
}

void ce_builder_data(struct ce_builder *b, enum ce_data_kind kind, struct slice data)
{
    assert(kind != CE_DATA_NONE || data.len == 0);
    b->data_kind = kind;
    b->data = data;
    b->data_checked = false;
}

void ce_builder_mode(struct ce_builder *b, enum ce_mode mode)
{
    b->mode = mode;
}

void ce_builder_header(struct ce_builder *b, struct slice name, struct slice value)
{
    /* Lines are written as they stand later on, so nothing that could break one gets in. */
    if (b->header_count == HEADERS_MAX || !name.len || (ce_classify(name) & BYTE_CODED) ||
        (ce_classify(value) & BYTE_CONTROL))
        return;
    if (memchr(name.ptr, ':', name.len))
        return;
    b->headers[b->header_count].name = name;
    b->headers[b->header_count].value = value;
    b->header_count++;
}

void ce_builder_forward(struct ce_builder *b, const struct http_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ce_http_forwarded(headers[i].name))
            ce_builder_header(b, headers[i].name, headers[i].value);
}

void ce_builder_from(struct ce_builder *b, const struct ce_event *e)
{
    ce_builder_init(b);
    b->count = e->count;
    for (size_t i = 0; i < e->count; i++) {
        b->attributes[i] = ce_event_attribute_at(e, i);
        b->classes[i] = e->attributes[i].classes;
        b->cores[i] = (unsigned char)ce_core_of(b->attributes[i].name);
        b->names_seen |= name_bit(b->attributes[i].name);
    }
    b->header_count = e->header_count;
    for (size_t i = 0; i < e->header_count; i++)
        ce_event_header_at(e, i, &b->headers[i].name, &b->headers[i].value);
    b->data_kind = ce_event_data_kind(e);
    b->data = ce_event_data(e);
    b->data_checked = true;
    b->mode = ce_event_mode(e);
}

/* ---- the seal ---- */

/* Where things stand in the builder, and how long the lines get. */
struct seal {
    size_t required[CORE_REQUIRED]; /* index in the builder */
    int content_type;               /* index in the builder, or -1 */
    size_t lines_len, headers_len;
};

static const struct ce_attribute default_specversion = {SLICE_INIT("specversion"), SLICE_INIT("1.0"), CE_STRING};
static void survey(const struct ce_builder *b, struct seal *s)
{
    for (size_t i = 0; i < CORE_REQUIRED; i++)
        s->required[i] = NOWHERE;
    s->content_type = -1;
    s->lines_len = 0;
    for (size_t i = 0; i < b->count; i++) {
        const struct ce_attribute *a = &b->attributes[i];
        enum core core = (enum core)b->cores[i];
        if (core < CORE_REQUIRED)
            s->required[core] = i;
        else if (core == CORE_DATACONTENTTYPE)
            s->content_type = (int)i;
        s->lines_len += (core == CORE_DATACONTENTTYPE ? line_content_type.len : line_prefix.len + a->name.len) +
                        a->value.len + LINE_EXTRA;
    }
    if (s->required[CORE_SPECVERSION] == NOWHERE)
        s->lines_len += line_prefix.len + default_specversion.name.len + default_specversion.value.len + LINE_EXTRA;
    s->headers_len = 0;
    for (size_t i = 0; i < b->header_count; i++)
        s->headers_len += b->headers[i].name.len + b->headers[i].value.len + LINE_EXTRA;
}

/* Core attributes of 0.3 that are extensions like any other in 1.0. */
static void check_0_3(struct ce_builder *b)
{
    struct ce_attribute *schema = find(b, SLICE("schemaurl")), *encoding = find(b, SLICE("datacontentencoding"));
    if (schema) {
        if (!schema->value.len || ce_value_check(CE_URI_REFERENCE, schema->value, NULL))
            ce_builder_fail(b, ERR_INVALID, schema->name, "%s is no URI reference", ce_quote(schema->value).text);
        schema->type = CE_URI_REFERENCE;
    }
    if (encoding) {
        if (!slice_eq_nocase(encoding->value, SLICE("base64")))
            ce_builder_fail(b, ERR_UNSUPPORTED, encoding->name, "%s is not supported; base64 is",
                            ce_quote(encoding->value).text);
        if (b->data_kind !=
            CE_DATA_NONE) /* it says that the data is base64 text, which is neither a JSON value nor any text */
            b->data_kind = CE_DATA_BYTES;
    }
}

/* What can only be seen once everything is there. */
static void check_whole(struct ce_builder *b, const struct seal *s)
{
    for (size_t i = CORE_ID; i < CORE_REQUIRED; i++)
        if (s->required[i] == NOWHERE)
            ce_builder_fail(b, ERR_INVALID, ce_core_names[i], "is missing; every event has one");
    size_t version = s->required[CORE_SPECVERSION];
    if (version == NOWHERE && b->count == CE_ATTRIBUTES_MAX && !b->error)
        too_many(b); /* with the one that the seal sets */
    if (version != NOWHERE && slice_eq(b->attributes[version].value, SLICE("0.3")))
        check_0_3(b);
}

/* Makes the kind of data true: checks what the caller claims, and turns it into bytes where the datacontenttype says
 * otherwise. */
static void settle_data(struct ce_builder *b, bool json)
{
    if (b->data_kind == CE_DATA_JSON && !json)
        b->data_kind = CE_DATA_BYTES;
    if (b->data_kind == CE_DATA_TEXT && json)
        b->data_kind = CE_DATA_BYTES;
    if (b->data_checked)
        return;
    struct json_value value;
    struct diag why;
    if (b->data_kind == CE_DATA_TEXT && !utf8_valid(b->data))
        ce_builder_fail(b, ERR_INVALID, SLICE("data"), "text that is not valid UTF-8");
    if (b->data_kind == CE_DATA_JSON) {
        if (json_check(b->data, JSON_DEPTH_MAX, &value, &why))
            ce_builder_fail(b, ERR_INVALID, SLICE("data"), "%s", why.text);
        else
            b->data = value.raw;
    }
}

static char *put(char *to, struct slice s)
{
    if (s.len)
        memcpy(to, s.ptr, s.len);
    return to + s.len;
}

static char *put_attribute(struct ce_event *e, char *to, const struct ce_attribute *a, unsigned classes,
                           bool content_type)
{
    struct event_attribute *out = &e->attributes[e->count];
    if (content_type) {
        e->content_type = (int16_t)e->count;
        to = put(to, line_content_type);
        out->name_at = 0;
    } else {
        to = put(to, line_prefix);
        out->name_at = (uint32_t)(to - (char *)e);
        to = put(to, a->name);
        e->coded |= (classes & BYTE_CODED) != 0;
    }
    *to++ = ':';
    *to++ = ' ';
    out->value_at = (uint32_t)(to - (char *)e);
    to = put(to, a->value);
    *to++ = '\r';
    *to++ = '\n';
    out->name_len = (uint16_t)a->name.len;
    out->value_len = (uint32_t)a->value.len;
    out->type = (uint8_t)a->type;
    out->classes = (uint8_t)classes;
    e->count++;
    return to;
}

static char *put_headers(struct ce_event *e, char *to, const struct ce_builder *b)
{
    struct event_header *out = (struct event_header *)(void *)(e->attributes + e->count);
    for (size_t i = 0; i < b->header_count; i++, out++) {
        out->name_at = (uint32_t)(to - (char *)e);
        out->name_len = (uint32_t)b->headers[i].name.len;
        to = put(to, b->headers[i].name);
        *to++ = ':';
        *to++ = ' ';
        out->value_at = (uint32_t)(to - (char *)e);
        out->value_len = (uint32_t)b->headers[i].value.len;
        to = put(to, b->headers[i].value);
        *to++ = '\r';
        *to++ = '\n';
    }
    return to;
}

static void fill(struct ce_event *e, const struct ce_builder *b, const struct seal *s)
{
    char *to = (char *)e + e->lines_at;
    for (size_t i = 0; i < CORE_REQUIRED; i++) {
        size_t at = s->required[i];
        if (at == NOWHERE)
            to = put_attribute(e, to, &default_specversion, 0, false);
        else
            to = put_attribute(e, to, &b->attributes[at], b->classes[at], false);
    }
    for (size_t i = 0; i < b->count; i++) {
        bool done = false;
        for (size_t k = 0; k < CORE_REQUIRED; k++)
            done |= s->required[k] == i;
        if (!done)
            to = put_attribute(e, to, &b->attributes[i], b->classes[i], (int)i == s->content_type);
    }
    e->headers_line_at = (uint32_t)(to - (char *)e);
    to = put_headers(e, to, b);
    assert(to == (char *)e + e->data_at);
    put(to, b->data);
}

enum err ce_builder_seal(struct ce_builder *b, size_t bytes_max, const struct ce_event **out, struct diag *d)
{
    struct seal s;
    survey(b, &s);
    check_whole(b, &s);
    bool json = s.content_type < 0 || ce_media_type_is_json(b->attributes[s.content_type].value);
    if (!b->error)
        settle_data(b, json);
    if (b->error) {
        if (d)
            *d = b->diag;
        return b->error;
    }
    size_t count = b->count + (s.required[CORE_SPECVERSION] == NOWHERE);
    size_t lines_at = sizeof(struct ce_event) + count * sizeof(struct event_attribute) +
                      b->header_count * sizeof(struct event_header);
    size_t data_at = lines_at + s.lines_len + s.headers_len;
    size_t size = data_at + b->data.len;
    if (size > bytes_max || size > CE_EVENT_BYTES_MAX)
        return diag_set(d, ERR_TOO_LARGE, "the event takes %zu bytes, %zu are allowed", size,
                        bytes_max < CE_EVENT_BYTES_MAX ? bytes_max : CE_EVENT_BYTES_MAX);
    struct ce_event *e = malloc(size);
    if (!e)
        return diag_set(d, ERR_NOMEM, "no memory for an event of %zu bytes", size);
    atomic_init(&e->refs, 1);
    e->size = (uint32_t)size;
    e->lines_at = (uint32_t)lines_at;
    e->lines_len = (uint32_t)(s.lines_len + s.headers_len);
    e->data_at = (uint32_t)data_at;
    e->data_len = (uint32_t)b->data.len;
    e->count = 0;
    e->content_type = -1;
    e->header_count = (uint8_t)b->header_count;
    e->mode = (uint8_t)b->mode;
    e->data_kind = (uint8_t)b->data_kind;
    e->coded = false;
    e->json = json;
    fill(e, b, &s);
    assert(e->count == count);
    *out = e;
    return OK;
}
