/* SPDX-License-Identifier: Apache-2.0
 *
 * leat_mode written and read (grammar: hint.h), and which headers go beside an event. Pure functions, any thread.
 */
#include "hint.h"

#include "text.h"

static const struct slice mode_words[] = {
    [CE_MODE_BINARY] = SLICE_INIT("binary"),
    [CE_MODE_STRUCTURED] = SLICE_INIT("structured"),
    [CE_MODE_BATCH] = SLICE_INIT("batch"),
};
static const struct slice data_words[] = {
    [CE_DATA_NONE] = SLICE_INIT("none"),
    [CE_DATA_BYTES] = SLICE_INIT("bytes"),
    [CE_DATA_TEXT] = SLICE_INIT("text"),
    [CE_DATA_JSON] = SLICE_INIT("json"),
};
static const struct slice type_words[] = {
    [CE_STRING] = SLICE_INIT("string"),
    [CE_BOOLEAN] = SLICE_INIT("boolean"),
    [CE_INTEGER] = SLICE_INIT("integer"),
    [CE_BINARY] = SLICE_INIT("binary"),
    [CE_URI] = SLICE_INIT("uri"),
    [CE_URI_REFERENCE] = SLICE_INIT("urireference"),
    [CE_TIMESTAMP] = SLICE_INIT("timestamp"),
};

/* ---- out ---- */

static void put_types(const struct ce_event *e, size_t end, struct buf *out)
{
    bool typed = false;
    for (size_t i = CORE_REQUIRED; i < e->count; i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        struct slice before = typed ? SLICE(",") : SLICE(";types="), type = type_words[a.type];
        if (a.type == CE_STRING || ce_core_of(a.name) != CORE_NONE)
            continue;
        if (out->len + before.len + a.name.len + 1 + type.len > end)
            return;
        buf_put(out, before);
        buf_put(out, a.name);
        buf_put_char(out, ':');
        buf_put(out, type);
        typed = true;
    }
}

void ce_hint_put(const struct ce_event *e, enum ce_mode wire, bool empty_is_none, size_t max, struct buf *out)
{
    bool binary = wire == CE_MODE_BINARY;
    bool told = binary && e->data_kind == CE_DATA_BYTES && (e->data_len || !empty_is_none);
    size_t start = out->len;
    if (e->mode != wire)
        buf_put(out, mode_words[e->mode]);
    if (e->data_kind != CE_DATA_NONE && !told) {
        buf_put_str(out, ";data=");
        buf_put(out, data_words[e->data_kind]);
    }
    if (binary && e->content_type < 0 && e->data_kind == CE_DATA_JSON)
        buf_put_str(out, ";type=none");
    if (out->len - start > max)
        out->len = start;
    else
        put_types(e, max > SIZE_MAX - start ? SIZE_MAX : start + max, out);
}

/* ---- in ---- */

/* The index of a word, -1: none of them. */
static int word_of(struct slice word, const struct slice *words, int count)
{
    for (int i = 0; i < count; i++)
        if (slice_eq(words[i], word))
            return i;
    return -1;
}
#define WORD_OF(word, words) word_of(word, words, (int)(sizeof(words) / sizeof(words)[0]))

static void apply_kind(struct ce_builder *b, struct slice word)
{
    struct json_value value;
    int kind = WORD_OF(word, data_words);
    if (b->data_kind == CE_DATA_NONE || kind <= CE_DATA_NONE || (unsigned)kind == b->data_kind)
        return;
    if (kind == CE_DATA_TEXT && !utf8_valid(b->data))
        return;
    if (kind == CE_DATA_JSON && (json_check(b->data, JSON_DEPTH_MAX, &value, NULL) || value.raw.len != b->data.len))
        return;
    ce_builder_data(b, (enum ce_data_kind)kind, b->data);
    b->data_checked = true;
}

static void apply_types(struct ce_builder *b, struct slice list)
{
    while (list.len) {
        struct slice word = slice_split(&list, ','), name = slice_split(&word, ':');
        int type = WORD_OF(word, type_words);
        const struct ce_attribute *a = ce_builder_find(b, name);
        if (a && type >= 0 && ce_value_check((enum ce_type)type, a->value, NULL) == OK)
            ce_builder_replace(b, a->name, (enum ce_type)type, a->value);
    }
}

void ce_hint_apply(struct ce_builder *b, struct slice hint)
{
    int mode = WORD_OF(slice_split(&hint, ';'), mode_words);
    if (mode >= 0)
        ce_builder_mode(b, (enum ce_mode)mode);
    while (hint.len) {
        struct slice value = slice_split(&hint, ';'), name = slice_split(&value, '=');
        const struct ce_attribute *type = ce_builder_find(b, ce_core_names[CORE_DATACONTENTTYPE]);
        if (slice_eq(name, SLICE("data")))
            apply_kind(b, value);
        else if (slice_eq(name, SLICE("types")))
            apply_types(b, value);
        else if (slice_eq(name, SLICE("type")) && type && slice_eq(type->value, SLICE("application/json")))
            ce_builder_remove(b, ce_core_names[CORE_DATACONTENTTYPE]);
    }
}

void ce_beside_apply(struct ce_builder *b, const void *arg)
{
    const struct ce_beside *beside = arg;
    ce_hint_apply(b, beside->hint);
    ce_builder_extensions(b, beside->overrides, beside->override_count);
}

bool ce_hint_tells_data(struct slice hint)
{
    slice_split(&hint, ';');
    while (hint.len) {
        struct slice value = slice_split(&hint, ';'), name = slice_split(&value, '=');
        if (slice_eq(name, SLICE("data")))
            return WORD_OF(value, data_words) > CE_DATA_NONE;
    }
    return false;
}

bool ce_carries(bool carry, struct slice header)
{
    return carry ? ce_http_forwarded(header)
                 : slice_eq_nocase(header, SLICE("traceparent")) || slice_eq_nocase(header, SLICE("tracestate"));
}
