/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of AMQP 0.9.1 to events. The property content_type alone decides on the mode: a CloudEvents format is
 * structured, anything else and nothing is binary. In binary mode the attributes stand in headers, in one of four
 * forms; the first of these that has a specversion is the message's, and headers of the others are none of its
 * attributes:
 *
 *     ce-NAME                 ours, and what the RabbitMQ binding says
 *     cloudEvents_NAME        application properties of AMQP 1.0 (AMQP Protocol Binding 1.0.2 section 3.1.3.1), which
 *     cloudEvents:NAME        RabbitMQ hands to a client of 0.9.1 as headers of the same names, or all of them in one
 *                             (amqp_unfold.c); the older one last
 *     NAME                    what Knative's Rabbit parts write (eventing-rabbitmq, pkg/rabbit/message.go); by
 *                             `knative` only
 *
 * Names are matched without case. Values are UTF-8 as they stand, nothing is percent-coded. A value that is no string
 * becomes its attribute's canonical string, and its type that of an extension:
 *
 *     void                    no attribute, as null in JSON
 *     boolean, timestamp      Boolean, Timestamp
 *     integers                Integer; beyond 32 bits their digits as a String
 *     bytes                   the text of a core attribute; base64, Binary in an extension
 *     double                  the fewest digits that give it back, a String: CloudEvents knows no such type
 *     array, table            refused; without a prefix passed over
 *
 * Headers without a prefix need not be attributes, for everybody's look like them: what cannot be one (x-death, CC ...)
 * is passed over; a core attribute of a wrong value is refused. Where upstream's form is read, so is what it means by
 * it: x-... is RabbitMQ's own, traceparent and tracestate are transport headers, a header content-type is the
 * datacontenttype where the property says nothing, an empty optional attribute is absent, and so is the time
 * 0001-01-01T00:00:00Z, which it writes for none; a missing source is filled in. On purpose otherwise: upstream loses
 * what claims to be an event and is none, knows no datacontenttype but the header's, mixes forms, makes Go's texts of
 * bytes, times, arrays and tables, and writes times and sources anew. Pure functions, any thread.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp_private.h"
#include "hint.h"
#include "text.h"

#define NS_PER_S 1000000000
#define VALUE_TEXT_MAX 40 /* of a number, boolean or time */
#define NO_TIME SLICE("0001-01-01T00:00:00Z")

enum form { FORM_CE, FORM_UNDERSCORE, FORM_COLON, FORM_BARE, FORM_NONE };

static const struct slice prefixes[FORM_NONE] = {SLICE_INIT("ce-"), SLICE_INIT("cloudEvents_"),
                                                 SLICE_INIT("cloudEvents:"), SLICE_INIT("")};

/* One look over a message's headers. */
struct survey {
    struct slice content_type; /* the property, without white space around it */
    enum form form;
    bool complete;                    /* all four required attributes, in this form */
    struct slice hint;                /* leat_mode; ptr NULL: none */
    struct slice bare_type;           /* a header content-type; ptr NULL: none */
    size_t names_len;                 /* of all headers */
    size_t texts_len;                 /* what values that are no strings may take as text */
    struct http_header forwarded[16]; /* as many as an event carries along */
    size_t forwarded_count;
};

static size_t text_len(const struct ce_amqp_value *v)
{
    switch (v->kind) {
    case CE_AMQP_BYTES:
        return (v->text.len + 2) / 3 * 4 + 1;
    case CE_AMQP_BOOLEAN:
    case CE_AMQP_INTEGER:
    case CE_AMQP_UNSIGNED:
    case CE_AMQP_DOUBLE:
    case CE_AMQP_TIMESTAMP:
        return VALUE_TEXT_MAX;
    default:
        return 0;
    }
}

static void survey_text(const struct ce_amqp_header *h, bool knative, struct survey *s)
{
    if (slice_eq(h->name, CE_HINT_HEADER))
        s->hint = h->value.text;
    else if (slice_eq_nocase(h->name, SLICE("content-type")))
        s->bare_type = h->value.text;
    else if ((h->value.text.len || !knative) && ce_http_forwarded(h->name) &&
             s->forwarded_count < sizeof s->forwarded / sizeof s->forwarded[0])
        s->forwarded[s->forwarded_count++] = (struct http_header){h->name, h->value.text};
}

static void survey_message(const struct ce_amqp_message *m, bool knative, struct survey *s)
{
    unsigned found[FORM_NONE] = {0};
    enum form last = knative ? FORM_BARE : FORM_COLON;
    s->content_type = slice_trim(m->content_type);
    s->hint = s->bare_type = slice_of(NULL, 0);
    s->names_len = s->texts_len = s->forwarded_count = 0;
    for (size_t i = 0; i < m->header_count; i++) {
        const struct ce_amqp_header *h = &m->headers[i];
        s->names_len += h->name.len;
        s->texts_len += text_len(&h->value);
        if (h->value.kind == CE_AMQP_VOID)
            continue;
        for (enum form f = FORM_CE; f <= last; f++)
            if (slice_has_prefix_nocase(h->name, prefixes[f]))
                for (unsigned k = 0; k < CORE_REQUIRED; k++)
                    found[f] |= (unsigned)slice_eq_nocase(slice_from(h->name, prefixes[f].len), ce_core_names[k]) << k;
        if (h->value.kind == CE_AMQP_STRING)
            survey_text(h, knative, s);
    }
    for (s->form = FORM_CE; s->form <= last; s->form++)
        if (found[s->form] & 1u << CORE_SPECVERSION)
            break;
    if (s->form > last)
        s->form = FORM_NONE;
    s->complete = s->form != FORM_NONE && found[s->form] == (1u << CORE_REQUIRED) - 1;
}

bool ce_amqp_is_event(const struct ce_amqp_message *m, bool knative)
{
    struct survey s;
    struct ce_amqp_message plain;
    struct ce_amqp_header room[AMQP_PROPERTIES_MAX];
    survey_message(amqp_unfold(m, &plain, room), knative, &s);
    return ce_media_type_is_cloudevents(s.content_type) || s.form != FORM_NONE;
}

/* ---- values ---- */

/* Texts that stand nowhere in the message, until the seal: room for them is made once, so that nothing moves. */
static enum err texts_init(struct buf *texts, size_t need)
{
    buf_init(texts, need);
    return !need || buf_reserve(texts, need) ? OK : ERR_NOMEM;
}

static struct slice since(const struct buf *texts, size_t from)
{
    assert(texts->error == OK);
    return slice_from(buf_slice(texts), from);
}

static struct slice printed(struct buf *texts, const char *text)
{
    size_t from = texts->len;
    buf_put_str(texts, text);
    return since(texts, from);
}

/* ptr NULL: beyond what a timestamp can say here. */
static struct slice time_text(struct buf *texts, uint64_t seconds)
{
    size_t from = texts->len;
    if (seconds > INT64_MAX / NS_PER_S)
        return slice_of(NULL, 0);
    rfc3339_put(texts, (int64_t)seconds * NS_PER_S, 0);
    return since(texts, from);
}

static struct slice double_text(struct buf *texts, double number)
{
    char text[VALUE_TEXT_MAX];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, number);
        if (!(strtod(text, NULL) < number) && !(strtod(text, NULL) > number))
            break;
    }
    return printed(texts, text);
}

/* The canonical string of a value and its type; ptr NULL: it can be no attribute, *why says it. */
static struct slice value_text(struct buf *texts, const struct ce_amqp_value *v, bool core, enum ce_type *type,
                               const char **why)
{
    char digits[VALUE_TEXT_MAX];
    size_t from = texts->len;
    *type = CE_STRING;
    switch (v->kind) {
    case CE_AMQP_STRING:
        return v->text.ptr ? v->text : SLICE("");
    case CE_AMQP_BOOLEAN:
        *type = CE_BOOLEAN;
        return v->boolean ? SLICE("true") : SLICE("false");
    case CE_AMQP_INTEGER:
        if (v->integer >= INT32_MIN && v->integer <= INT32_MAX)
            *type = CE_INTEGER;
        snprintf(digits, sizeof digits, "%lld", (long long)v->integer);
        return printed(texts, digits);
    case CE_AMQP_UNSIGNED:
        if (v->natural <= INT32_MAX)
            *type = CE_INTEGER;
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)v->natural);
        return printed(texts, digits);
    case CE_AMQP_DOUBLE:
        return double_text(texts, v->number);
    case CE_AMQP_BYTES:
        if (core)
            return v->text.ptr ? v->text : SLICE("");
        *type = CE_BINARY;
        base64_put(texts, v->text);
        return since(texts, from);
    case CE_AMQP_TIMESTAMP:
        *type = CE_TIMESTAMP;
        *why = "a timestamp before 1970 or after the year 2262; AMQP counts seconds since 1970";
        return time_text(texts, v->seconds);
    case CE_AMQP_ARRAY:
        *why = "an array is no value of an attribute";
        break;
    case CE_AMQP_TABLE:
        *why = "a table is no value of an attribute";
        break;
    case CE_AMQP_VOID: /* looked at before */
        *why = "void is no value";
        break;
    }
    return slice_of(NULL, 0);
}

/* ---- what the rules add ---- */

static struct slice source_text(struct buf *texts, const struct ce_amqp_message *m, const struct ce_amqp_rules *rules)
{
    size_t from = texts->len;
    ce_fragment_put(texts, rules->source ? rules->source : "/rabbitmq", m->queue);
    return since(texts, from);
}

/* The room that it takes. */
static size_t source_len(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules)
{
    return (rules->source ? strlen(rules->source) : 0) + 16 + 3 * m->queue.len;
}

static struct ce_beside beside_of(const struct survey *s, const struct ce_amqp_rules *rules)
{
    return (struct ce_beside){s->hint, rules->overrides, rules->override_count};
}

/* ---- binary mode ---- */

struct reading {
    struct ce_builder b;
    struct scratch names;
    struct buf texts;
    const struct ce_amqp_message *m;
    const struct ce_amqp_rules *rules;
    const struct survey *s;
};

/* Whether a header without a prefix may be an attribute. */
static bool may_be_attribute(struct slice name)
{
    bool may = name.len && name.len <= CE_NAME_LEN_MAX && !ce_http_forwarded(name);
    for (size_t i = 0; i < name.len && may; i++)
        may = isalnum((unsigned char)name.ptr[i]);
    return may && !slice_eq_nocase(name, SLICE("data"));
}

/* Whether upstream writes this for an optional attribute that is not there. */
static bool stands_for_none(enum core core, struct slice text)
{
    return core >= CORE_REQUIRED && core < CORE_NONE && (!text.len || (core == CORE_TIME && slice_eq(text, NO_TIME)));
}

/* A header of the message's form; without a prefix, what cannot be an attribute is passed over. */
static void attribute(struct reading *r, const struct ce_amqp_header *h, size_t prefix)
{
    enum ce_type type;
    const char *why = "";
    if (!prefix && !may_be_attribute(h->name))
        return;
    struct slice name = ce_header_attribute(&r->b, &r->names, h->name, prefix);
    if (r->b.error)
        return;
    enum core core = ce_core_of(name);
    struct slice text = value_text(&r->texts, &h->value, core != CORE_NONE, &type, &why);
    if (!text.ptr && prefix)
        ce_builder_fail(&r->b, ERR_INVALID, name, "%s", why);
    else if (!text.ptr || (r->rules->knative && stands_for_none(core, text)))
        return;
    else if (core != CORE_NONE || prefix)
        ce_builder_add(&r->b, name, type, text, ce_classify(text));
    else
        ce_builder_extension(&r->b, name, type, text);
}

/* What the property says, a header datacontenttype may say too: the binding's own example has both. */
static void binary_headers(struct reading *r)
{
    struct slice prefix = prefixes[r->s->form];
    for (size_t i = 0; i < r->m->header_count && !r->b.error; i++) {
        const struct ce_amqp_header *h = &r->m->headers[i];
        struct slice type = ce_core_names[CORE_DATACONTENTTYPE];
        if (h->value.kind == CE_AMQP_VOID || !slice_has_prefix_nocase(h->name, prefix))
            continue;
        if (!slice_eq_nocase(slice_from(h->name, prefix.len), type))
            attribute(r, h, prefix.len);
        else if (h->value.kind == CE_AMQP_STRING && h->value.text.len && !ce_builder_has(&r->b, type))
            ce_builder_set(&r->b, type, CE_STRING, h->value.text);
    }
}

static void read_binary(struct reading *r)
{
    const struct ce_amqp_message *m = r->m;
    const struct survey *s = r->s;
    bool knative = r->rules->knative;
    struct slice type = s->content_type.len || !knative ? s->content_type : s->bare_type;
    r->b.prefix = prefixes[s->form].ptr;
    if (type.len)
        ce_builder_set(&r->b, ce_core_names[CORE_DATACONTENTTYPE], CE_STRING, type);
    binary_headers(r);
    if (knative && !ce_builder_has(&r->b, ce_core_names[CORE_SOURCE]))
        ce_builder_set(&r->b, ce_core_names[CORE_SOURCE], CE_URI_REFERENCE, source_text(&r->texts, m, r->rules));
    if (m->body.len || ce_hint_tells_data(s->hint))
        ce_builder_data(&r->b, CE_DATA_BYTES, m->body);
    ce_builder_forward(&r->b, s->forwarded, s->forwarded_count);
    const struct ce_beside beside = beside_of(s, r->rules);
    ce_beside_apply(&r->b, &beside);
}

static enum err decode_binary(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules,
                              const struct survey *s, const struct ce_event **out, struct diag *d)
{
    struct reading r; /* large: nothing but what counts is initialised */
    if (s->form == FORM_NONE)
        return diag_set(d, ERR_INVALID,
                        "no CloudEvent: neither a header \"ce-specversion\" (binary mode) nor content_type "
                        "application/cloudevents+json (structured mode)");
    r.m = m;
    r.rules = rules;
    r.s = s;
    enum err e = texts_init(&r.texts, s->texts_len + (rules->knative ? source_len(m, rules) : 0));
    if (e)
        return diag_set(d, e, "no memory");
    scratch_init(&r.names, s->names_len);
    ce_builder_init(&r.b);
    read_binary(&r);
    e = ce_builder_seal(&r.b, rules->event_bytes_max, out, d);
    scratch_fini(&r.names);
    buf_fini(&r.texts);
    return e;
}

/* ---- structured mode ---- */

static enum err decode_structured(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules,
                                  const struct survey *s, const struct ce_event **out, struct diag *d)
{
    const struct ce_beside beside = beside_of(s, rules);
    if (!m->body.len)
        return diag_set(d, ERR_INVALID, "a message in structured mode with an empty body");
    return ce_json_decode_amended(m->body, s->forwarded, s->forwarded_count, rules->event_bytes_max,
                                  s->hint.len || rules->override_count ? ce_beside_apply : NULL, &beside, out, d);
}

enum err ce_amqp_decode(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules, const struct ce_event **out,
                        struct diag *d)
{
    struct survey s;
    struct ce_amqp_message plain;
    struct ce_amqp_header room[AMQP_PROPERTIES_MAX];
    enum ce_mode mode = CE_MODE_BINARY;
    m = amqp_unfold(m, &plain, room);
    survey_message(m, rules->knative, &s);
    if (ce_media_type_is_cloudevents(s.content_type)) {
        enum err e = ce_mode_of_format(s.content_type, s.complete, &mode, d);
        if (e)
            return e;
    }
    switch (mode) {
    case CE_MODE_BINARY:
        return decode_binary(m, rules, &s, out, d);
    case CE_MODE_STRUCTURED:
        return decode_structured(m, rules, &s, out, d);
    case CE_MODE_BATCH:
        break;
    }
    return diag_set(d, ERR_UNSUPPORTED, "content_type: a message of RabbitMQ holds one event, not a batch");
}

/* ---- what is no CloudEvent ---- */

static void wrap(struct ce_builder *b, struct buf *texts, const struct ce_amqp_message *m, struct slice id,
                 const struct ce_amqp_rules *rules, const struct survey *s)
{
    struct slice type = s->content_type, time = slice_of(NULL, 0);
    ce_builder_set(b, ce_core_names[CORE_SPECVERSION], CE_STRING, SLICE("1.0"));
    ce_builder_set(b, ce_core_names[CORE_ID], CE_STRING, id);
    ce_builder_set(b, ce_core_names[CORE_SOURCE], CE_URI_REFERENCE, source_text(texts, m, rules));
    ce_builder_set(b, ce_core_names[CORE_TYPE], CE_STRING, SLICE("dev.knative.rabbitmq.event"));
    ce_builder_set(b, ce_core_names[CORE_SUBJECT], CE_STRING, id);
    if (m->has_time)
        time = time_text(texts, m->time_s);
    if (time.ptr)
        ce_builder_set(b, ce_core_names[CORE_TIME], CE_TIMESTAMP, time);
    if (!ce_media_type_is_cloudevents(type) && ce_media_type_valid(type))
        ce_builder_set(b, ce_core_names[CORE_DATACONTENTTYPE], CE_STRING, type);
    ce_builder_forward(b, s->forwarded, s->forwarded_count);
    if (m->body.len)
        ce_builder_data(b, CE_DATA_BYTES, m->body);
    ce_builder_extensions(b, rules->overrides, rules->override_count);
}

enum err ce_amqp_wrap(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules, const struct ce_event **out,
                      struct diag *d)
{
    struct survey s;
    struct buf texts;
    struct ce_builder b;
    bool own = m->message_id.len && ce_value_check(CE_STRING, m->message_id, NULL) == OK;
    survey_message(m, false, &s);
    enum err e = texts_init(&texts, source_len(m, rules) + VALUE_TEXT_MAX);
    if (e)
        return diag_set(d, e, "no memory");
    ce_builder_init(&b);
    wrap(&b, &texts, m, own ? m->message_id : m->fallback_id, rules, &s);
    e = ce_builder_seal(&b, rules->event_bytes_max, out, d);
    buf_fini(&texts);
    return e;
}
