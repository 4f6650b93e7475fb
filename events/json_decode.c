/* SPDX-License-Identifier: Apache-2.0
 *
 * Event JSON to events (JSON Event Format 1.0.2, and that of 0.3). The text is checked whole by json_check, then the
 * members of the envelope are listed once; names and values are slices of the text unless they hold escapes. Data under
 * a JSON type is its text, verbatim. Pure functions, any thread.
 */
#include "event_private.h"

#include "text.h"

struct slice ce_envelope_string(struct envelope *v, struct slice raw)
{
    assert(raw.len >= 2);
    struct slice inner = slice_of(raw.ptr + 1, raw.len - 2);
    if (!inner.len || !memchr(inner.ptr, '\\', inner.len))
        return inner;
    char *to = scratch_take(&v->scratch, inner.len);
    if (!to) {
        v->b.error = diag_set(&v->b.diag, ERR_NOMEM, "no memory");
        return slice_of(NULL, 0);
    }
    size_t n = json_unescape_into(raw, to);
    scratch_trim(&v->scratch, to + n);
    return slice_of(to, n);
}

void ce_envelope_attribute(struct envelope *v, struct slice name, struct json_value value)
{
    struct ce_builder *b = &v->b;
    struct slice text = value.raw;
    enum ce_type type = CE_STRING;
    int32_t ignored;
    if (!b->error)
        b->error = ce_name_check(name, &b->diag);
    if (b->error)
        return;
    if (value.type == JSON_STRING) {
        text = ce_envelope_string(v, value.raw);
    } else if (ce_core_of(name) != CORE_NONE) {
        ce_builder_fail(b, ERR_INVALID, name, "must be a JSON string");
    } else if (value.type == JSON_TRUE || value.type == JSON_FALSE) {
        type = CE_BOOLEAN;
    } else if (value.type == JSON_NUMBER) {
        type = CE_INTEGER;
        if (!json_int32(value.raw, &ignored))
            ce_builder_fail(b, ERR_INVALID, name, "%s is no integer of 32 bits", ce_quote(value.raw).text);
    } else {
        ce_builder_fail(b, ERR_INVALID, name, "must be a string, a boolean or an integer, not an object or array");
    }
    ce_builder_add(b, name, type, text, ce_classify(text));
}

static void base64_data(struct envelope *v, struct slice member, struct json_value value)
{
    if (value.type != JSON_STRING) {
        ce_builder_fail(&v->b, ERR_INVALID, member, "base64 stands in a JSON string");
        return;
    }
    struct slice text = ce_envelope_string(v, value.raw);
    if (v->b.error)
        return;
    bool in_place = text.ptr != value.raw.ptr + 1; /* it had escapes, so it is in scratch memory already */
    char *to = in_place ? (char *)text.ptr : scratch_take(&v->scratch, text.len);
    size_t n;
    if (!to)
        v->b.error = diag_set(&v->b.diag, ERR_NOMEM, "no memory");
    else if (base64_decode_into(text, to, &n))
        ce_builder_fail(&v->b, ERR_INVALID, member, "no base64 (RFC 4648 section 4, with padding)");
    else
        ce_builder_data(&v->b, CE_DATA_BYTES, slice_of(to, n));
}

/* The datacontenttype set so far; empty when there is none. */
static struct slice content_type(const struct ce_builder *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (slice_eq(b->attributes[i].name, ce_core_names[CORE_DATACONTENTTYPE]))
            return b->attributes[i].value;
    return slice_of(NULL, 0);
}

void ce_envelope_data(struct envelope *v, struct json_value value, bool base64)
{
    if (v->b.error)
        return;
    struct slice type = content_type(&v->b);
    if (base64) {
        base64_data(v, SLICE("data"), value);
    } else if (ce_media_type_is_json(type)) {
        ce_builder_data(&v->b, CE_DATA_JSON, value.raw);
        v->b.data_checked = true;
    } else if (value.type == JSON_STRING) {
        struct slice text = ce_envelope_string(v, value.raw);
        ce_builder_data(&v->b, CE_DATA_TEXT, text);
        v->b.data_checked = true;
    } else if (value.type != JSON_NULL) { /* null can be no data of another type: it is none */
        ce_builder_fail(&v->b, ERR_INVALID, SLICE("data"), "must be a JSON string under datacontenttype %s",
                        ce_quote(type).text);
    }
}

/* ---- the envelope ---- */

static const struct json_value *member(const struct envelope *v, struct slice name)
{
    for (size_t i = 0; i < v->count; i++)
        if (slice_eq(v->members[i].name, name))
            return &v->members[i].value;
    return NULL;
}

static void list_members(struct envelope *v, struct json_value object)
{
    struct json_walk w;
    for (json_walk_begin(&w, object); json_walk_next(&w) && !v->b.error; v->count++) {
        if (v->count == sizeof v->members / sizeof v->members[0]) {
            v->b.error = diag_set(&v->b.diag, ERR_TOO_LARGE, "more than %d attributes", CE_ATTRIBUTES_MAX);
            return;
        }
        v->members[v->count].name = ce_envelope_string(v, w.name);
        v->members[v->count].value = w.value;
    }
}

/* The builder refuses attributes that are set twice; this sees to the members that set none: nulls and data. */
static void refuse_twin(struct envelope *v, size_t i)
{
    for (size_t k = 0; k < v->count; k++)
        if (k != i && slice_eq(v->members[k].name, v->members[i].name))
            ce_builder_fail(&v->b, ERR_INVALID, v->members[i].name, "is given twice");
}

/* datacontentencoding is told by the kind of data in memory and written again from it. */
static bool encoding_of_0_3(struct envelope *v, struct json_value value)
{
    struct slice text = value.type == JSON_STRING ? ce_envelope_string(v, value.raw) : value.raw;
    if (v->b.error)
        return false;
    if (!slice_eq_nocase(text, SLICE("base64")))
        ce_builder_fail(&v->b, ERR_UNSUPPORTED, SLICE("datacontentencoding"), "%s is not supported; base64 is",
                        ce_quote(text).text);
    return true;
}

static void from_members(struct envelope *v, const struct json_value *version)
{
    const struct json_value *data = NULL, *data_base64 = NULL;
    bool old = json_string_is(version->raw, SLICE("0.3")), base64 = false;
    for (size_t i = 0; i < v->count && !v->b.error; i++) {
        struct slice name = v->members[i].name;
        struct json_value *value = &v->members[i].value;
        bool is_data = slice_eq(name, SLICE("data")), is_base64 = !old && slice_eq(name, SLICE("data_base64"));
        bool is_encoding = old && slice_eq(name, SLICE("datacontentencoding"));
        if (is_data || is_base64 || is_encoding || value->type == JSON_NULL)
            refuse_twin(v, i);
        if (is_data)
            data = value;
        else if (value->type == JSON_NULL && !is_base64 && !v->b.error)
            v->b.error = ce_name_check(name, &v->b.diag);
        else if (value->type == JSON_NULL)
            continue;
        else if (is_base64)
            data_base64 = value;
        else if (is_encoding)
            base64 = encoding_of_0_3(v, *value);
        else
            ce_envelope_attribute(v, name, *value);
    }
    if (data && data_base64)
        ce_builder_fail(&v->b, ERR_INVALID, SLICE("data_base64"), "stands beside \"data\"; an event has one of them");
    else if (data)
        ce_envelope_data(v, *data, base64);
    else if (data_base64 && !v->b.error)
        base64_data(v, SLICE("data_base64"), *data_base64);
}

static void decode(struct envelope *v, struct json_value object)
{
    list_members(v, object);
    if (v->b.error)
        return;
    const struct json_value *version = member(v, ce_core_names[CORE_SPECVERSION]);
    if (version && version->type == JSON_STRING)
        from_members(v, version);
    else if (version && version->type != JSON_NULL)
        ce_builder_fail(&v->b, ERR_INVALID, ce_core_names[CORE_SPECVERSION], "must be a JSON string");
    else if (member(v, SLICE("cloudEventsVersion")))
        ce_legacy_from_members(v);
    else
        ce_builder_fail(&v->b, ERR_INVALID, ce_core_names[CORE_SPECVERSION], "is missing; every event has one");
}

enum err ce_json_decode_object(struct json_value object, enum ce_mode mode, const struct http_header *headers,
                               size_t header_count, size_t bytes_max, const struct ce_event **out, struct diag *d)
{
    struct envelope v; /* large: nothing but what counts is initialised */
    ce_builder_init(&v.b);
    ce_builder_mode(&v.b, mode);
    ce_builder_forward(&v.b, headers, header_count);
    scratch_init(&v.scratch, 2 * object.raw.len); /* 0.1 lower-cases names after they were unescaped */
    v.count = 0;
    decode(&v, object);
    enum err e = ce_builder_seal(&v.b, bytes_max, out, d);
    scratch_fini(&v.scratch);
    return e;
}

static enum err amended(const struct ce_event *plain, size_t bytes_max, ce_amend_fn *amend, const void *arg,
                        const struct ce_event **out, struct diag *d)
{
    struct ce_builder b;
    ce_builder_from(&b, plain);
    amend(&b, arg);
    return ce_builder_seal(&b, bytes_max, out, d);
}

enum err ce_json_decode_amended(struct slice text, const struct http_header *headers, size_t header_count,
                                size_t bytes_max, ce_amend_fn *amend, const void *arg, const struct ce_event **out,
                                struct diag *d)
{
    struct json_value object;
    const struct ce_event *plain = NULL;
    enum err e = json_check(text, JSON_DEPTH_MAX, &object, d);
    if (!e && object.type != JSON_OBJECT)
        e = diag_set(d, ERR_INVALID, "an event is a JSON object");
    if (!e)
        e = ce_json_decode_object(object, CE_MODE_STRUCTURED, headers, header_count, bytes_max, &plain, d);
    if (e)
        return e;
    if (!amend) {
        *out = plain;
        return OK;
    }
    e = amended(plain, bytes_max, amend, arg, out, d);
    ce_event_unref(plain);
    return e;
}

enum err ce_json_decode(struct slice text, const struct ce_http_limits *limits, const struct ce_event **out,
                        struct diag *d)
{
    return ce_json_decode_amended(text, NULL, 0, limits->event_bytes_max, NULL, NULL, out, d);
}
