/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of AMQP 0.9.1, to and from bytes. Pure.
 */
#include "rabbitmq_wire.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <endian.h>

#define FRAME_END ((char)0xce)
#define BASIC_CLASS 60
/* What stands before the table of headers in a message's properties, by the flags that say so. */
#define HAS_CONTENT_TYPE 0x8000u
#define HAS_CONTENT_ENCODING 0x4000u
#define HAS_HEADERS 0x2000u
#define MORE_FLAGS 1u

static uint16_t u16_at(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return be16toh(v);
}

static uint32_t u32_at(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static uint64_t u64_at(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

/* ---- reading ---- */

static const char *read_payload(struct rabbitmq_frame *f)
{
    switch (f->type) {
    case RABBITMQ_METHOD:
        if (f->payload.len < 4)
            return "a method frame without a method";
        f->method = u32_at(f->payload.ptr);
        f->payload = slice_from(f->payload, 4);
        return NULL;
    case RABBITMQ_HEADER:
        if (f->payload.len < 14)
            return "a content header that is cut off";
        if (u16_at(f->payload.ptr) != BASIC_CLASS)
            return "a content header of an unknown class";
        f->body_bytes = u64_at(f->payload.ptr + 4);
        f->payload = slice_from(f->payload, 12);
        return NULL;
    case RABBITMQ_BODY:
    case RABBITMQ_HEARTBEAT:
        return NULL;
    default:
        return "a frame of an unknown type";
    }
}

enum err rabbitmq_frame_read(struct slice bytes, uint32_t max, struct rabbitmq_frame *out, size_t *used,
                             const char **why)
{
    struct rabbitmq_frame f = {.type = RABBITMQ_METHOD};
    if (bytes.len < 7)
        return ERR_PENDING;
    uint32_t size = u32_at(bytes.ptr + 3);
    if (size > max - RABBITMQ_FRAME_REST) {
        *why = "a frame larger than agreed";
        return ERR_PROTOCOL;
    }
    if (bytes.len < size + RABBITMQ_FRAME_REST)
        return ERR_PENDING;
    if (bytes.ptr[7 + size] != FRAME_END) {
        *why = "a frame without its end";
        return ERR_PROTOCOL;
    }
    f.type = (enum rabbitmq_frame_type)(unsigned char)bytes.ptr[0];
    f.channel = u16_at(bytes.ptr + 1);
    f.payload = slice_of(bytes.ptr + 7, size);
    const char *wrong = read_payload(&f);
    if (wrong) {
        *why = wrong;
        return ERR_PROTOCOL;
    }
    *used = size + RABBITMQ_FRAME_REST;
    *out = f;
    return OK;
}

static bool skip(struct slice *s, size_t n)
{
    if (s->len < n)
        return false;
    *s = slice_from(*s, n);
    return true;
}

static bool skip_short(struct slice *s)
{
    return s->len && skip(s, 1u + (unsigned char)s->ptr[0]);
}

static bool skip_long(struct slice *s)
{
    return s->len >= 4 && skip(s, 4u + (size_t)u32_at(s->ptr));
}

/* A table (fields with names) or an array (without), with its length before it; behind it in *s afterwards. */
static bool skip_fields(struct slice *s, bool names, int depth);

static bool skip_value(struct slice *s, int depth)
{
    static const struct {
        char kind;
        unsigned char bytes;
    } fixed[] = {{AMQP_FIELD_KIND_BOOLEAN, 1}, {AMQP_FIELD_KIND_I8, 1},  {AMQP_FIELD_KIND_U8, 1},
                 {AMQP_FIELD_KIND_I16, 2},     {AMQP_FIELD_KIND_U16, 2}, {AMQP_FIELD_KIND_I32, 4},
                 {AMQP_FIELD_KIND_U32, 4},     {AMQP_FIELD_KIND_F32, 4}, {AMQP_FIELD_KIND_I64, 8},
                 {AMQP_FIELD_KIND_U64, 8},     {AMQP_FIELD_KIND_F64, 8}, {AMQP_FIELD_KIND_TIMESTAMP, 8},
                 {AMQP_FIELD_KIND_DECIMAL, 5}, {AMQP_FIELD_KIND_VOID, 0}};
    if (!s->len)
        return false;
    char kind = s->ptr[0];
    *s = slice_from(*s, 1);
    if (kind == AMQP_FIELD_KIND_UTF8 || kind == AMQP_FIELD_KIND_BYTES)
        return skip_long(s);
    if (kind == AMQP_FIELD_KIND_TABLE || kind == AMQP_FIELD_KIND_ARRAY)
        return skip_fields(s, kind == AMQP_FIELD_KIND_TABLE, depth + 1);
    for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
        if (fixed[i].kind == kind)
            return skip(s, fixed[i].bytes);
    return false;
}

static bool skip_fields(struct slice *s, bool names, int depth)
{
    if (s->len < 4 || depth > RABBITMQ_TABLE_DEPTH_MAX)
        return false;
    uint32_t len = u32_at(s->ptr);
    if (len > s->len - 4)
        return false;
    struct slice in = slice_of(s->ptr + 4, len);
    *s = slice_from(*s, 4u + len);
    while (in.len)
        if ((names && !skip_short(&in)) || !skip_value(&in, depth))
            return false;
    return true;
}

bool rabbitmq_table_good(struct slice bytes)
{
    return skip_fields(&bytes, true, 1);
}

bool rabbitmq_properties_good(struct slice payload)
{
    if (payload.len < 2)
        return false;
    unsigned flags = u16_at(payload.ptr);
    struct slice rest = slice_from(payload, 2);
    if (flags & MORE_FLAGS) /* of a class with more than 15 properties, which there is not */
        return false;
    return (!(flags & HAS_CONTENT_TYPE) || skip_short(&rest)) &&
           (!(flags & HAS_CONTENT_ENCODING) || skip_short(&rest)) &&
           (!(flags & HAS_HEADERS) || rabbitmq_table_good(rest));
}

/* ---- writing ---- */

/* Room for a frame of `max` bytes at the end of *b; NULL: *e says why. */
static char *room(struct buf *b, size_t max, enum err *e)
{
    if (b->limit - b->len < max) {
        *e = ERR_FULL;
        return NULL;
    }
    char *at = buf_reserve(b, max);
    if (!at) {
        b->error = OK; /* nothing was written: it can be used on */
        *e = ERR_NOMEM;
    }
    return at;
}

static void put_head(char *at, enum rabbitmq_frame_type type, uint16_t channel, uint32_t size)
{
    uint16_t number = htobe16(channel);
    uint32_t bytes = htobe32(size);
    at[0] = (char)type;
    memcpy(at + 1, &number, sizeof(number));
    memcpy(at + 3, &bytes, sizeof(bytes));
    at[7 + size] = FRAME_END;
}

/* The library's answer when something did not fit: a table into the frame; else, since all that stands beside tables
 * fits the smallest frame, a name into its 255 bytes. */
static enum err refused(int status)
{
    return status == AMQP_STATUS_NO_MEMORY       ? ERR_NOMEM
           : status == AMQP_STATUS_TABLE_TOO_BIG ? ERR_TOO_LARGE
                                                 : ERR_INVALID;
}

enum err rabbitmq_put_method(struct buf *b, uint16_t channel, uint32_t method, const void *decoded, uint32_t max)
{
    enum err e = OK;
    char *at = room(b, max, &e);
    if (!at)
        return e;
    uint32_t number = htobe32(method);
    amqp_bytes_t into = {max - RABBITMQ_FRAME_REST - 4, at + 11};
    int len = amqp_encode_method(method, (void *)(uintptr_t)decoded, into);
    if (len < 0)
        return refused(len);
    memcpy(at + 7, &number, sizeof(number));
    put_head(at, RABBITMQ_METHOD, channel, (uint32_t)len + 4);
    b->len += (size_t)len + 4 + RABBITMQ_FRAME_REST;
    return OK;
}

/* Of a longer name the library would write a part of the length, and so what is no table. */
static bool names_good(const amqp_table_t *t)
{
    for (int i = 0; i < t->num_entries; i++) {
        const amqp_field_value_t *v = &t->entries[i].value;
        if (t->entries[i].key.len > UINT8_MAX || (v->kind == AMQP_FIELD_KIND_TABLE && !names_good(&v->value.table)))
            return false;
    }
    return true;
}

static bool short_strings_good(const amqp_basic_properties_t *p)
{
    const struct {
        amqp_flags_t flag;
        size_t len;
    } of[] = {{AMQP_BASIC_CONTENT_TYPE_FLAG, p->content_type.len},
              {AMQP_BASIC_CONTENT_ENCODING_FLAG, p->content_encoding.len},
              {AMQP_BASIC_CORRELATION_ID_FLAG, p->correlation_id.len},
              {AMQP_BASIC_REPLY_TO_FLAG, p->reply_to.len},
              {AMQP_BASIC_EXPIRATION_FLAG, p->expiration.len},
              {AMQP_BASIC_MESSAGE_ID_FLAG, p->message_id.len},
              {AMQP_BASIC_TYPE_FLAG, p->type.len},
              {AMQP_BASIC_USER_ID_FLAG, p->user_id.len},
              {AMQP_BASIC_APP_ID_FLAG, p->app_id.len},
              {AMQP_BASIC_CLUSTER_ID_FLAG, p->cluster_id.len}};
    for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
        if (p->_flags & of[i].flag && of[i].len > UINT8_MAX)
            return false;
    return !(p->_flags & AMQP_BASIC_HEADERS_FLAG) || names_good(&p->headers);
}

enum err rabbitmq_put_header(struct buf *b, uint16_t channel, uint64_t body_bytes, const void *properties, uint32_t max)
{
    static const amqp_basic_properties_t none;
    enum err e = OK;
    char *at = room(b, max, &e);
    if (!at)
        return e;
    const amqp_basic_properties_t *p = properties ? properties : &none;
    uint16_t class = htobe16(BASIC_CLASS);
    uint64_t size = htobe64(body_bytes);
    amqp_bytes_t into = {max - RABBITMQ_FRAME_REST - 12, at + 19};
    if (!short_strings_good(p))
        return ERR_INVALID;
    int len = amqp_encode_properties(BASIC_CLASS, (void *)(uintptr_t)p, into);
    if (len < 0)
        return len == AMQP_STATUS_NO_MEMORY ? ERR_NOMEM : ERR_TOO_LARGE;
    memcpy(at + 7, &class, sizeof(class));
    memset(at + 9, 0, 2);
    memcpy(at + 11, &size, sizeof(size));
    put_head(at, RABBITMQ_HEADER, channel, (uint32_t)len + 12);
    b->len += (size_t)len + 12 + RABBITMQ_FRAME_REST;
    return OK;
}

enum err rabbitmq_put_body(struct buf *b, uint16_t channel, struct slice body, uint32_t max)
{
    size_t most = max - RABBITMQ_FRAME_REST, frames = (body.len + most - 1) / most;
    enum err e = OK;
    char *at = body.len ? room(b, body.len + frames * RABBITMQ_FRAME_REST, &e) : NULL;
    if (!at)
        return e;
    while (body.len) {
        size_t n = body.len < most ? body.len : most;
        memcpy(at + 7, body.ptr, n);
        put_head(at, RABBITMQ_BODY, channel, (uint32_t)n);
        at += n + RABBITMQ_FRAME_REST;
        b->len += n + RABBITMQ_FRAME_REST;
        body = slice_from(body, n);
    }
    return OK;
}

enum err rabbitmq_put_heartbeat(struct buf *b)
{
    enum err e = OK;
    char *at = room(b, RABBITMQ_FRAME_REST, &e);
    if (!at)
        return e;
    put_head(at, RABBITMQ_HEARTBEAT, 0, 0);
    b->len += RABBITMQ_FRAME_REST;
    return OK;
}
