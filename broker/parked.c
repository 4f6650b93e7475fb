/* SPDX-License-Identifier: Apache-2.0
 *
 * What is written into an event when it is parked, and read out again.
 */
#include "parked.h"

#include <assert.h>
#include <stdio.h>

#include "text.h"

enum { WALL_DIGITS = 6 }; /* of a second's fraction: finer than anything that parks one event twice */

/* Every name that parking sets, the most useful first. */
static const char *const names[PARKED_ATTRIBUTES_MAX] = {
    "leatparkedat", "leatreason",       "leatattempts",       "knativeerrorcode",   "knativeerrordest",
    "leatfirstat",  "knativeerrordata", "leatdeadletterdest", "leatdeadlettercode", "leatdeadletterdata",
};
enum {
    PARKED_AT,
    REASON,
    ATTEMPTS,
    ERROR_CODE,
    ERROR_DEST,
    FIRST_AT,
    ERROR_DATA,
    LETTER_DEST,
    LETTER_CODE,
    LETTER_DATA
};

/* The values, in one buffer that must not move: its size is bounded by what is written. */
struct values {
    struct buf text;
    size_t from[PARKED_ATTRIBUTES_MAX], len[PARKED_ATTRIBUTES_MAX];
};

static void begin(struct values *v, int which)
{
    v->from[which] = v->text.len;
}

static void finish(struct values *v, int which)
{
    v->len[which] = v->text.len - v->from[which];
}

static void put_str(struct values *v, int which, const char *s)
{
    begin(v, which);
    buf_put_str(&v->text, s);
    finish(v, which);
}

static void put_number(struct values *v, int which, uint64_t n)
{
    begin(v, which);
    buf_put_u64(&v->text, n);
    finish(v, which);
}

static void put_time(struct values *v, int which, int64_t wall_ns)
{
    begin(v, which);
    rfc3339_put(&v->text, wall_ns, WALL_DIGITS);
    finish(v, which);
}

/* Where one sending went wrong; a status of 0 is no answer, and then there is no code. */
static void put_failure(struct values *v, const struct dispatch_failure *f, int dest, int code, int data)
{
    struct slice head = {f->data.ptr, f->data.len < DISPATCH_ERROR_DATA_MAX ? f->data.len : DISPATCH_ERROR_DATA_MAX};
    put_str(v, dest, f->destination ? f->destination : "");
    if (f->status > 0)
        put_number(v, code, (uint64_t)f->status);
    begin(v, data);
    base64_put(&v->text, head);
    finish(v, data);
}

static enum err describe(struct values *v, const struct dispatch_failure *f, int64_t now_wall_ns)
{
    const struct dispatch_failure *first = f->cause ? f->cause : f;
    put_time(v, PARKED_AT, now_wall_ns);
    put_str(v, REASON, f->cause ? "dead-letter-failed" : f->reason ? f->reason : "not-retryable");
    put_number(v, ATTEMPTS, f->attempts);
    if (f->first_wall_ns)
        put_time(v, FIRST_AT, f->first_wall_ns);
    put_failure(v, first, ERROR_DEST, ERROR_CODE, ERROR_DATA);
    if (f->cause)
        put_failure(v, f, LETTER_DEST, LETTER_CODE, LETTER_DATA);
    return buf_error(&v->text);
}

/* What an earlier parking said must not be taken for this one's. */
static void clear(struct ce_builder *b)
{
    for (int i = 0; i < PARKED_ATTRIBUTES_MAX; i++)
        ce_builder_remove(b, slice_str(names[i]));
}

/* The event with the first `count` of the attributes, as far as they have a value that an attribute may have. */
static enum err build(const struct ce_event *e, const struct values *v, int count, const struct ce_event **out)
{
    struct ce_builder b;
    ce_builder_from(&b, e);
    clear(&b);
    for (int i = 0; i < count; i++) {
        struct slice value = slice_from(slice_of(v->text.ptr, v->from[i] + v->len[i]), v->from[i]);
        if (value.len > 0 && ce_value_check(CE_STRING, value, NULL) == OK)
            ce_builder_set(&b, slice_str(names[i]), CE_STRING, value);
    }
    return ce_builder_seal(&b, CE_EVENT_BYTES_MAX, out, NULL);
}

enum err parked_make(const struct dispatch_failure *f, int64_t now_wall_ns, const struct ce_event **out)
{
    struct values v = {0};
    buf_init(&v.text, 1u << 20);
    enum err e = describe(&v, f, now_wall_ns);
    if (e == OK)
        e = build(f->event, &v, PARKED_ATTRIBUTES_MAX, out);
    for (int n = PARKED_ATTRIBUTES_MAX - 1; e != OK && e != ERR_NOMEM && n > 0; n--)
        e = build(f->event, &v, n, out);
    if (e != OK && e != ERR_NOMEM) {
        *out = ce_event_ref(f->event);
        e = OK;
    }
    buf_fini(&v.text);
    return e;
}

enum err parked_original(const struct ce_event *parked, const struct ce_event **out)
{
    struct ce_builder b;
    ce_builder_from(&b, parked);
    clear(&b);
    enum err e = ce_builder_seal(&b, CE_EVENT_BYTES_MAX, out, NULL);
    assert(e == OK || e == ERR_NOMEM); /* it was an event, and has become smaller */
    return e;
}

static bool find(const struct ce_event *e, int which, struct slice *value)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(names[which]), &a))
        return false;
    *value = a.value;
    return true;
}

int64_t parked_at_ns(const struct ce_event *parked)
{
    struct slice value;
    int64_t wall_ns;
    return find(parked, PARKED_AT, &value) && rfc3339_parse(value, &wall_ns) == OK ? wall_ns : 0;
}

/* ---- as JSON ---- */

static void member(struct buf *out, bool *first, const char *name)
{
    buf_printf(out, "%s\"%s\":", *first ? "" : ",", name);
    *first = false;
}

static void put_text(struct buf *out, bool *first, const struct ce_event *e, int which, const char *name)
{
    struct slice value;
    if (!find(e, which, &value))
        return;
    member(out, first, name);
    buf_put_json_string(out, value);
}

static void put_integer(struct buf *out, bool *first, const struct ce_event *e, int which, const char *name)
{
    struct slice value;
    uint64_t n;
    if (!find(e, which, &value) || decimal_parse(value, UINT32_MAX, &n) != OK)
        return;
    member(out, first, name);
    buf_put_u64(out, n);
}

/* The body of the answer is kept as base64; people want to read it. */
static void put_error(struct buf *out, bool *first, const struct ce_event *e, int which)
{
    struct slice value;
    struct buf bytes;
    if (!find(e, which, &value))
        return;
    buf_init(&bytes, 1u << 20);
    bool text = base64_decode(value, &bytes) == OK && utf8_valid(buf_slice(&bytes));
    member(out, first, text ? "error" : "errorBase64");
    buf_put_json_string(out, text ? buf_slice(&bytes) : value);
    buf_fini(&bytes);
}

void parked_put_json(const struct ce_event *parked, struct buf *out)
{
    bool first = true, inner = true;
    buf_put_char(out, '{');
    put_text(out, &first, parked, PARKED_AT, "at");
    put_text(out, &first, parked, REASON, "reason");
    put_integer(out, &first, parked, ATTEMPTS, "attempts");
    put_text(out, &first, parked, FIRST_AT, "firstAt");
    put_text(out, &first, parked, ERROR_DEST, "destination");
    put_integer(out, &first, parked, ERROR_CODE, "code");
    put_error(out, &first, parked, ERROR_DATA);
    if (ce_event_attribute(parked, slice_str(names[LETTER_DEST]), NULL)) {
        member(out, &first, "deadLetter");
        buf_put_char(out, '{');
        put_text(out, &inner, parked, LETTER_DEST, "destination");
        put_integer(out, &inner, parked, LETTER_CODE, "code");
        put_error(out, &inner, parked, LETTER_DATA);
        buf_put_char(out, '}');
    }
    buf_put_char(out, '}');
}
