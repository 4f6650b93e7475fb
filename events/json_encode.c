/* SPDX-License-Identifier: Apache-2.0
 *
 * Events to event JSON (JSON Event Format 1.0.2 section 3). Short pieces are gathered in a small block first, so that
 * an envelope costs a few writes to the buffer and not forty. Pure functions, any thread.
 */
#include "event_private.h"

#include "text.h"

struct gather {
    struct buf *b;
    size_t n;
    char block[1024];
};

static void flush(struct gather *g)
{
    buf_put(g->b, slice_of(g->block, g->n));
    g->n = 0;
}

static void put(struct gather *g, struct slice s)
{
    if (s.len > sizeof g->block - g->n) {
        flush(g);
        if (s.len > sizeof g->block) {
            buf_put(g->b, s);
            return;
        }
    }
    if (s.len)
        memcpy(g->block + g->n, s.ptr, s.len);
    g->n += s.len;
}

static void put_string(struct gather *g, struct slice s, unsigned classes)
{
    if (classes & BYTE_ESCAPED) {
        flush(g);
        buf_put_json_string(g->b, s);
        return;
    }
    put(g, SLICE("\""));
    put(g, s);
    put(g, SLICE("\""));
}

/* An attribute as a JSON number or word where its type has one and its text is one. */
static bool is_bare(const struct ce_attribute *a)
{
    return a->type == CE_BOOLEAN || a->type == CE_INTEGER;
}

static void put_attribute(struct gather *g, const struct ce_event *e, size_t i)
{
    struct ce_attribute a = ce_event_attribute_at(e, i);
    put(g, i ? SLICE(",\"") : SLICE("{\""));
    put(g, a.name);
    put(g, SLICE("\":"));
    if (is_bare(&a))
        put(g, a.value);
    else
        put_string(g, a.value, e->attributes[i].classes);
}

/* Whether bytes of this media type are characters that a JSON string can carry: text in UTF-8. */
static bool is_text(struct slice media_type)
{
    struct slice essence = ce_media_type_essence(media_type), parameters = media_type;
    if (!slice_has_prefix_nocase(essence, SLICE("text/")) && !slice_eq_nocase(essence, SLICE("application/xml")) &&
        !(essence.len > 4 && slice_eq_nocase(slice_from(essence, essence.len - 4), SLICE("+xml"))))
        return false;
    for (slice_split(&parameters, ';'); parameters.len;) {
        struct slice value = slice_split(&parameters, ';'), name = slice_trim(slice_split(&value, '='));
        if (slice_eq_nocase(name, SLICE("charset")))
            return slice_eq_nocase(value, SLICE("utf-8")) || slice_eq_nocase(value, SLICE("\"utf-8\"")) ||
                   slice_eq_nocase(value, SLICE("us-ascii"));
    }
    return true;
}

static bool is_0_3(const struct ce_event *e)
{
    return slice_eq(ce_event_specversion(e), SLICE("0.3"));
}

/* An event of 0.3 that came with this attribute in its headers: its bytes are base64 already. */
static bool says_encoding(const struct ce_event *e)
{
    return is_0_3(e) && ce_event_attribute(e, SLICE("datacontentencoding"), NULL);
}

/* Base64 has another place in 0.3: `data` itself, with datacontentencoding beside it. */
static void put_base64(struct gather *g, const struct ce_event *e)
{
    struct slice data = ce_event_data(e);
    size_t ignored_len;
    bool said = says_encoding(e);
    if (is_0_3(e) && !said)
        put(g, SLICE(",\"datacontentencoding\":\"base64\""));
    put(g, is_0_3(e) ? SLICE(",\"data\":\"") : SLICE(",\"data_base64\":\""));
    flush(g);
    if (said && base64_decode_into(data, NULL, &ignored_len) == OK)
        buf_put(g->b, data);
    else
        base64_put(g->b, data);
    put(g, SLICE("\""));
}

static void put_data(struct gather *g, const struct ce_event *e)
{
    struct slice data = ce_event_data(e);
    struct json_value value = {JSON_NULL, data};
    switch ((enum ce_data_kind)e->data_kind) {
    case CE_DATA_NONE:
        return;
    case CE_DATA_JSON:
        break;
    case CE_DATA_BYTES:
        if (says_encoding(e) || e->content_type < 0 || (e->json && json_check(data, JSON_DEPTH_MAX, &value, NULL)) ||
            (!e->json && (!is_text(ce_event_datacontenttype(e)) || !utf8_valid(data)))) {
            put_base64(g, e);
            return;
        }
        break;
    case CE_DATA_TEXT:
        break;
    }
    put(g, SLICE(",\"data\":"));
    if (e->json) {
        put(g, value.raw);
    } else {
        flush(g);
        buf_put_json_string(g->b, data);
    }
}

void ce_json_encode(const struct ce_event *e, struct buf *out)
{
    struct gather g;
    g.b = out;
    g.n = 0;
    for (size_t i = 0; i < e->count; i++)
        put_attribute(&g, e, i);
    put_data(&g, e);
    put(&g, SLICE("}"));
    flush(&g);
}
