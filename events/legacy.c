/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents 0.1, as Knative's sources of 2018 sent it, converted to 1.0:
 *
 *   0.1 header             0.1 JSON member      1.0
 *   CE-CloudEventsVersion  cloudEventsVersion   specversion "1.0"
 *   CE-EventType           eventType            type
 *   CE-EventID             eventID              id
 *   CE-Source              source               source
 *   CE-EventTime           eventTime            time
 *   CE-EventTypeVersion    eventTypeVersion     extension eventtypeversion
 *   CE-SchemaURL           schemaURL            dataschema; the extension schemaurl where it is no absolute URI
 *   Content-Type           contentType          datacontenttype
 *   CE-X-Name              extensions.Name      extension name: lower-cased, without - and _
 *
 * Header values of 0.1 are JSON values, so a string may stand in quotes with JSON's escapes. Pure functions, any
 * thread.
 */
#include "event_private.h"

static const struct {
    struct slice old, name; /* the old name in lower case */
} renamed[] = {
    {SLICE_INIT("eventtype"), SLICE_INIT("type")},
    {SLICE_INIT("eventid"), SLICE_INIT("id")},
    {SLICE_INIT("source"), SLICE_INIT("source")},
    {SLICE_INIT("eventtime"), SLICE_INIT("time")},
    {SLICE_INIT("schemaurl"), SLICE_INIT("dataschema")},
    {SLICE_INIT("eventtypeversion"), SLICE_INIT("eventtypeversion")},
    {SLICE_INIT("contenttype"), SLICE_INIT("datacontenttype")},
};

bool ce_legacy_headers(const struct http_header *headers, size_t count)
{
    bool old = false;
    for (size_t i = 0; i < count; i++) {
        struct slice name = headers[i].name;
        if (name.len == sizeof "ce-specversion" - 1 && slice_eq_nocase(name, SLICE("ce-specversion")))
            return false;
        old |= name.len == sizeof "ce-cloudeventsversion" - 1 && slice_eq_nocase(name, SLICE("ce-cloudeventsversion"));
    }
    return old;
}

static void no_memory(struct ce_builder *b)
{
    b->error = diag_set(&b->diag, ERR_NOMEM, "no memory");
}

/* Lower case, without what 1.0 does not allow between the words of a name. */
static struct slice extension_name(struct ce_builder *b, struct scratch *s, struct slice raw)
{
    char *to = scratch_take(s, raw.len);
    if (!to) {
        no_memory(b);
        return raw;
    }
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (c != '-' && c != '_')
            to[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    scratch_trim(s, to + n);
    return slice_of(to, n);
}

/* The 1.0 name of a core attribute of 0.1, in any case; empty for another name. */
static struct slice new_name(struct slice old, bool any_case)
{
    static const struct slice json_names[] = {
        SLICE_INIT("eventType"), SLICE_INIT("eventID"),          SLICE_INIT("source"),      SLICE_INIT("eventTime"),
        SLICE_INIT("schemaURL"), SLICE_INIT("eventTypeVersion"), SLICE_INIT("contentType"),
    };
    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0]; i++)
        if (any_case ? slice_eq_nocase(old, renamed[i].old) : slice_eq(old, json_names[i]))
            return renamed[i].name;
    return slice_of(NULL, 0);
}

static void add(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value)
{
    if (slice_eq(name, ce_core_names[CORE_DATASCHEMA]) && ce_value_check(CE_URI, value, NULL) != OK)
        name = SLICE("schemaurl");
    ce_builder_set(b, name, type, value);
}

static void check_version(struct ce_builder *b, struct slice version)
{
    if (!slice_eq(version, SLICE("0.1")))
        ce_builder_fail(b, ERR_INVALID, SLICE("cloudeventsversion"),
                        "%s is not supported; 0.1 is, and specversion 0.3 and 1.0", ce_quote(version).text);
}

/* ---- headers ---- */

/* A JSON string where the value is one; else as 1.0 reads it. Both may be percent-coded. */
static struct slice legacy_value(struct ce_builder *b, struct scratch *s, struct slice raw)
{
    struct json_value json;
    if (raw.len && raw.ptr[0] == '"' && json_check(raw, 1, &json, NULL) == OK && json.type == JSON_STRING) {
        char *to = scratch_take(s, raw.len);
        if (!to) {
            no_memory(b);
            return raw;
        }
        size_t n = json_unescape_into(json.raw, to);
        scratch_trim(s, to + n);
        raw = slice_of(to, n);
    }
    unsigned ignored_classes;
    struct slice value = ce_header_value(s, raw, &ignored_classes);
    if (!value.ptr)
        no_memory(b);
    return value;
}

static void legacy_header(struct ce_builder *b, struct scratch *s, const struct http_header *h)
{
    struct slice old = slice_from(h->name, 3), value = legacy_value(b, s, h->value);
    if (b->error)
        return;
    if (slice_eq_nocase(old, SLICE("cloudeventsversion"))) {
        check_version(b, value);
        return;
    }
    struct slice name = new_name(old, true);
    if (!name.len)
        name = extension_name(b, s, slice_has_prefix_nocase(old, SLICE("x-")) ? slice_from(old, 2) : old);
    add(b, name, CE_STRING, value);
}

void ce_legacy_from_headers(struct ce_builder *b, struct scratch *s, const struct http_header *headers, size_t count)
{
    for (size_t i = 0; i < count && !b->error; i++) {
        struct slice name = headers[i].name;
        if (slice_has_prefix_nocase(name, SLICE("ce-")))
            legacy_header(b, s, &headers[i]);
        else if (slice_eq_nocase(name, SLICE("content-type")))
            ce_builder_set(b, ce_core_names[CORE_DATACONTENTTYPE], CE_STRING, headers[i].value);
    }
    ce_builder_forward(b, headers, count);
}

/* ---- JSON ---- */

static void legacy_member(struct envelope *v, struct slice name, struct json_value value)
{
    if (value.type == JSON_NULL || v->b.error)
        return;
    if (slice_eq(name, ce_core_names[CORE_DATASCHEMA]) && value.type == JSON_STRING) {
        struct slice text = ce_envelope_string(v, value.raw);
        if (!v->b.error)
            add(&v->b, name, CE_STRING, text);
        return;
    }
    ce_envelope_attribute(v, name, value);
}

static void legacy_extensions(struct envelope *v, struct json_value value)
{
    if (value.type == JSON_NULL)
        return;
    if (value.type != JSON_OBJECT) {
        ce_builder_fail(&v->b, ERR_INVALID, SLICE("extensions"), "must be a JSON object");
        return;
    }
    struct json_walk w;
    for (json_walk_begin(&w, value); json_walk_next(&w) && !v->b.error;) {
        struct slice name = ce_envelope_string(v, w.name);
        if (!v->b.error)
            name = extension_name(&v->b, &v->scratch, name);
        legacy_member(v, name, w.value);
    }
}

void ce_legacy_from_members(struct envelope *v)
{
    const struct json_value *data = NULL;
    for (size_t i = 0; i < v->count && !v->b.error; i++) {
        struct slice old = v->members[i].name;
        struct json_value *value = &v->members[i].value;
        for (size_t k = 0; k < i; k++)
            if (slice_eq(v->members[k].name, old))
                ce_builder_fail(&v->b, ERR_INVALID, old, "is given twice");
        struct slice name = new_name(old, false);
        if (name.len) {
            legacy_member(v, name, *value);
        } else if (slice_eq(old, SLICE("cloudEventsVersion"))) {
            bool text = value->type == JSON_STRING;
            check_version(&v->b, text ? ce_envelope_string(v, value->raw) : value->raw);
        } else if (slice_eq(old, SLICE("extensions"))) {
            legacy_extensions(v, *value);
        } else if (slice_eq(old, SLICE("data"))) {
            data = value;
        } else {
            legacy_member(v, extension_name(&v->b, &v->scratch, old), *value);
        }
    }
    if (data)
        ce_envelope_data(v, *data, false);
}
