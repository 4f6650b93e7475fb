/* SPDX-License-Identifier: Apache-2.0
 *
 * Events as bytes on a disk. Pure functions, any thread. All numbers little-endian:
 *
 *      0   1  CE_PACK_FORMAT
 *      1   1  mode (enum ce_mode)
 *      2   1  kind of the data (enum ce_data_kind)
 *      3   1  number of transport headers
 *      4   2  number of attributes
 *      6   2  0
 *      8   4  bytes of the data
 *     12      attributes, in the event's order: 1 type (enum ce_type), 1 zero, 2 length of the name, 4 length of the
 *             value, name, value
 *             transport headers: 4 length of the name, 4 length of the value, name, value
 *             data, to the end
 *
 * The values of the three enumerations are part of the format.
 *
 * Unpacking goes through the builder, the one door to events: what comes out kept every rule of names, values, types
 * and limits, so nothing that reads an event has to know whether it came from a disk. Only one rule is taken on trust:
 * that data of the kind JSON is JSON. It costs more than all the rest, whoever keeps packed bytes keeps a checksum with
 * them, and nothing here relies on it: such data is passed on as it is, and a wrong one would make one wrong message.
 * (Text is looked at, since JSON is written from it.) So a rule of the builder may be loosened later, but tightening
 * one makes stored events unreadable, and is a new format.
 */
#include "ce_pack.h"

#include "event_private.h"
#include "text.h"

#define HEAD 12
#define ENTRY 8 /* of an attribute and of a header */

static char *put_number(char *to, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        *to++ = (char)(v >> 8 * i);
    return to;
}

static char *put_bytes(char *to, struct slice s)
{
    if (s.len)
        memcpy(to, s.ptr, s.len);
    return to + s.len;
}

size_t ce_pack_size(const struct ce_event *e)
{
    size_t size = HEAD + ce_event_data(e).len;
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        size += ENTRY + a.name.len + a.value.len;
    }
    for (size_t i = 0; i < ce_event_header_count(e); i++) {
        struct slice name, value;
        ce_event_header_at(e, i, &name, &value);
        size += ENTRY + name.len + value.len;
    }
    return size;
}

void ce_pack(const struct ce_event *e, void *memory)
{
    struct slice data = ce_event_data(e);
    char *to = memory;
    to = put_number(to, CE_PACK_FORMAT, 1);
    to = put_number(to, ce_event_mode(e), 1);
    to = put_number(to, ce_event_data_kind(e), 1);
    to = put_number(to, ce_event_header_count(e), 1);
    to = put_number(to, ce_event_attribute_count(e), 2);
    to = put_number(to, 0, 2);
    to = put_number(to, data.len, 4);
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        to = put_number(to, a.type, 1);
        to = put_number(to, 0, 1);
        to = put_number(to, a.name.len, 2);
        to = put_number(to, a.value.len, 4);
        to = put_bytes(to, a.name);
        to = put_bytes(to, a.value);
    }
    for (size_t i = 0; i < ce_event_header_count(e); i++) {
        struct slice name, value;
        ce_event_header_at(e, i, &name, &value);
        to = put_number(to, name.len, 4);
        to = put_number(to, value.len, 4);
        to = put_bytes(to, name);
        to = put_bytes(to, value);
    }
    to = put_bytes(to, data);
    assert(to == (char *)memory + ce_pack_size(e));
}

/* ---- back ---- */

/* What is not read yet. Everything is taken from its front, and nothing that is not there. */
struct rest {
    struct slice in;
    bool missing; /* more was asked for than there was; all later answers are empty */
};

static struct slice take(struct rest *r, size_t n)
{
    if (n > r->in.len) {
        r->missing = true;
        r->in.len = 0;
        return slice_of("", 0);
    }
    struct slice s = slice_of(r->in.ptr, n);
    r->in = slice_from(r->in, n);
    return s;
}

static uint32_t number(struct slice s, size_t at, size_t bytes)
{
    uint32_t v = 0;
    for (size_t i = 0; i < bytes && at + i < s.len; i++)
        v |= (uint32_t)(unsigned char)s.ptr[at + i] << 8 * i;
    return v;
}

static void read_attribute(struct ce_builder *b, struct rest *r)
{
    struct slice entry = take(r, ENTRY);
    uint32_t type = number(entry, 0, 1);
    struct slice name = take(r, number(entry, 2, 2));
    struct slice value = take(r, number(entry, 4, 4));
    if (r->missing)
        return;
    if (type > CE_TIMESTAMP || number(entry, 1, 1))
        ce_builder_fail(b, ERR_CORRUPT, name, "type %u is none", type);
    ce_builder_set(b, name, (enum ce_type)type, value);
}

static void read_header(struct ce_builder *b, struct rest *r)
{
    struct slice entry = take(r, ENTRY);
    struct slice name = take(r, number(entry, 0, 4));
    struct slice value = take(r, number(entry, 4, 4));
    size_t before = b->header_count;
    if (r->missing)
        return;
    ce_builder_header(b, name, value);
    if (b->header_count == before && !b->error)
        b->error = diag_set(&b->diag, ERR_CORRUPT, "header %s cannot be one", ce_quote(name).text);
}

static enum err corrupt(struct diag *d, const char *why)
{
    return diag_set(d, ERR_CORRUPT, "a packed event: %s", why);
}

enum err ce_unpack(struct slice in, const struct ce_event **out, struct diag *d)
{
    struct rest r = {in, false};
    struct slice head = take(&r, HEAD);
    uint32_t mode = number(head, 1, 1), kind = number(head, 2, 1), data_len = number(head, 8, 4);
    if (r.missing)
        return corrupt(d, "shorter than its head");
    if (number(head, 0, 1) != CE_PACK_FORMAT)
        return corrupt(d, "of an unknown format");
    if (mode > CE_MODE_BATCH || kind > CE_DATA_JSON || (kind == CE_DATA_NONE && data_len) || number(head, 6, 2))
        return corrupt(d, "its head makes no sense");
    struct ce_builder b;
    ce_builder_init(&b);
    ce_builder_mode(&b, (enum ce_mode)mode);
    for (uint32_t n = number(head, 4, 2); n && !r.missing && !b.error; n--)
        read_attribute(&b, &r);
    for (uint32_t n = number(head, 3, 1); n && !r.missing && !b.error; n--)
        read_header(&b, &r);
    struct slice data = take(&r, data_len);
    if (!b.error && (r.missing || r.in.len))
        return corrupt(d, r.missing ? "something is missing" : "bytes behind its end");
    if (kind == CE_DATA_TEXT && !utf8_valid(data))
        return corrupt(d, "text that is not valid UTF-8");
    ce_builder_data(&b, (enum ce_data_kind)kind, data);
    b.data_checked = true;
    struct diag why;
    enum err e = ce_builder_seal(&b, CE_EVENT_BYTES_MAX, out, &why);
    if (e == ERR_NOMEM)
        return diag_set(d, e, "%s", why.text);
    return e ? corrupt(d, why.text) : OK;
}
