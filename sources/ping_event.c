/* SPDX-License-Identifier: Apache-2.0
 *
 * The ping source's spec, and the event that a time of its schedule is. Pure.
 */
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "json.h"
#include "ping.h"
#include "text.h"
#include "uuid.h"

#define JSON_DATA_DEPTH_MAX 128
#define NAMES_MAX 600 /* bytes of the source attribute: a namespace and a name have 253 letters at most */

/* ---- the spec ---- */

static enum err decode(struct ping_options *o, struct slice text, struct diag *d)
{
    size_t len;
    o->decoded = malloc(text.len / 4 * 3 + 1);
    if (!o->decoded)
        return ERR_NOMEM;
    if (base64_decode_into(text, o->decoded, &len) != OK)
        return diag_set(d, ERR_INVALID,
                        "dataBase64 is not base64 with its padding (RFC 4648); plain text goes under data");
    o->data = slice_of(o->decoded, len);
    return OK;
}

/* As Knative does, only the plain media type is looked at: what calls itself JSON in other words is let pass. */
static enum err check_json(const struct ping_options *o, const char *name, struct diag *d)
{
    struct json_value value;
    struct diag why = {0};
    if (!slice_eq_str(o->content_type, "application/json") ||
        json_check(o->data, JSON_DATA_DEPTH_MAX, &value, &why) == OK)
        return OK;
    return diag_set(d, ERR_INVALID, "%s is no JSON, as contentType says that it is: line %d, column %d: %.200s", name,
                    why.line, why.column, why.text);
}

static enum err parse_data(struct ping_options *o, struct diag *d)
{
    const char *plain = source_param(o->spec, "data", ""), *coded = source_param(o->spec, "dataBase64", "");
    o->content_type = slice_str(source_param(o->spec, "contentType", ""));
    struct diag why = {0};
    if (o->content_type.len > 0 && ce_value_check(CE_STRING, o->content_type, &why) != OK)
        return diag_set(d, ERR_INVALID, "contentType: %.200s", why.text);
    if (*plain && *coded)
        return diag_set(d, ERR_INVALID, "data and dataBase64 are both there; leave one out");
    o->has_data = *plain || *coded;
    o->data = slice_str(plain);
    enum err e = *coded ? decode(o, slice_str(coded), d) : OK;
    return e == OK && o->has_data ? check_json(o, *coded ? "dataBase64" : "data", d) : e;
}

enum err ping_options_parse(const struct source_spec *spec, struct ping_options *out, struct diag *d)
{
    struct ping_options o = {.spec = spec};
    struct diag why = {0};
    struct slice schedule = slice_str(source_param(spec, "schedule", ""));
    if (schedule.len == 0)
        schedule = SLICE(PING_SCHEDULE_DEFAULT);
    enum err e = cron_parse(schedule, slice_str(source_param(spec, "timezone", "")), &o.cron, &why);
    if (e != OK && why.column > 0)
        return diag_set(d, e, "schedule \"%.60s\", column %d: %s", schedule.ptr, why.column, why.text);
    if (e != OK)
        return diag_set(d, e, "timezone: %s", why.text);
    e = parse_data(&o, d);
    if (e == OK)
        e = source_sink_timeout(spec, &o.sink_timeout_ns, d);
    if (e == OK)
        e = source_overrides_check(spec, d);
    if (e != OK) {
        ping_options_fini(&o);
        return e;
    }
    *out = o;
    return OK;
}

void ping_options_fini(struct ping_options *o)
{
    cron_fini(&o->cron);
    free(o->decoded);
    *o = (struct ping_options){0};
}

/* ---- the event ---- */

/* "/apis/v1/namespaces/NS/pingsources/NAME" and the time; the id is made of both, with a blank between. */
struct texts {
    struct buf names;
    size_t source_len;
    struct slice time;
    char id[UUID_TEXT_BYTES];
};

static enum err write_texts(const struct ping_options *o, int64_t due_s, struct texts *t, struct diag *d)
{
    /* Drawn once, and never to change: whoever has seen an event knows it again. */
    static const unsigned char space[16] = {0x1f, 0x8e, 0x42, 0xb7, 0x5c, 0x90, 0x4d, 0x13,
                                            0xa2, 0x6e, 0x07, 0xc4, 0x9b, 0x35, 0xe8, 0x71};
    buf_init(&t->names, NAMES_MAX + 64);
    buf_printf(&t->names, "/apis/v1/namespaces/%s/pingsources/%s", o->spec->namespace_name, o->spec->name);
    t->source_len = t->names.len;
    buf_put_char(&t->names, ' ');
    rfc3339_put(&t->names, due_s * (int64_t)NS_PER_S, 0);
    if (buf_error(&t->names) == ERR_TOO_LARGE)
        return diag_set(d, ERR_INVALID, "the names of namespace and source have more than 500 letters");
    if (buf_error(&t->names) != OK)
        return ERR_NOMEM;
    t->time = slice_from(buf_slice(&t->names), t->source_len + 1);
    return uuid_named(space, buf_slice(&t->names), t->id);
}

enum err ping_event_make(const struct ping_options *o, int64_t due_s, size_t bytes_max, const struct ce_event **out,
                         struct diag *d)
{
    struct texts t;
    struct ce_builder b;
    enum err e = write_texts(o, due_s, &t, d);
    if (e == OK) {
        ce_builder_init(&b);
        ce_builder_set(&b, SLICE("specversion"), CE_STRING, SLICE("1.0"));
        ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(t.id));
        ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, slice_of(t.names.ptr, t.source_len));
        ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("dev.knative.sources.ping"));
        ce_builder_set(&b, SLICE("time"), CE_TIMESTAMP, t.time);
        if (o->has_data && o->content_type.len > 0)
            ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, o->content_type);
        for (size_t i = 0; i < o->spec->ce_override_count; i++)
            ce_builder_replace(&b, slice_str(o->spec->ce_overrides[i].name), CE_STRING,
                               slice_str(o->spec->ce_overrides[i].value));
        if (o->has_data)
            ce_builder_data(&b, CE_DATA_BYTES, o->data);
        ce_builder_mode(&b, CE_MODE_BINARY);
        e = ce_builder_seal(&b, bytes_max, out, d);
    }
    buf_fini(&t.names);
    return e;
}
