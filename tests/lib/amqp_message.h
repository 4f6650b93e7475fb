/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of AMQP for tests: written here as lines "name= value\n", and collected from ce_amqp_encode. All that a
 * message holds is copied into blocks of its own size, so that a read beyond one is seen; what the encoder hands out is
 * copied only when it is done, for it promises to keep it.
 */
#ifndef LEAT_TESTS_AMQP_MESSAGE_H
#define LEAT_TESTS_AMQP_MESSAGE_H

#include <stdlib.h>

#include "ce_amqp.h"

#define MESSAGE_HEADERS_MAX 400

struct message {
    struct ce_amqp_message m;
    struct ce_amqp_header headers[MESSAGE_HEADERS_MAX];
    struct buf scratch;
    struct ce_amqp_written written;
    size_t calls; /* of the header function: how many are let through before `fails` */
    enum err fails;
};

static inline struct slice message_copy(struct slice s)
{
    char *copy = s.len ? malloc(s.len) : NULL;
    if (copy)
        memcpy(copy, s.ptr, s.len);
    return slice_of(copy, s.len);
}

static inline bool value_is_text(const struct ce_amqp_value *v)
{
    return v->kind == CE_AMQP_STRING || v->kind == CE_AMQP_BYTES;
}

static inline void message_add(struct message *to, struct slice name, struct ce_amqp_value value)
{
    if (to->m.header_count == MESSAGE_HEADERS_MAX)
        return;
    if (value_is_text(&value))
        value.text = message_copy(value.text);
    to->headers[to->m.header_count++] = (struct ce_amqp_header){message_copy(name), value};
}

static inline void message_init(struct message *to)
{
    to->m = (struct ce_amqp_message){
        .headers = to->headers, .queue = SLICE_INIT("orders"), .fallback_id = SLICE_INIT("made-here")};
    to->fails = OK;
    to->calls = 0;
    buf_init(&to->scratch, 4 << 20);
}

static inline void message_fini(struct message *to)
{
    for (size_t i = 0; i < to->m.header_count; i++) {
        free((char *)to->headers[i].name.ptr);
        if (value_is_text(&to->headers[i].value))
            free((char *)to->headers[i].value.text.ptr);
    }
    to->m.header_count = 0;
    buf_fini(&to->scratch);
}

/* "text" is a string; "(int)7", "(unsigned)7", "(bool)true", "(double)1.5", "(time)1514764800", "(bytes)text",
 * "(void)", "(array)" and "(table)" are what they say. */
static inline struct ce_amqp_value message_value(struct slice text)
{
    static const char *const kinds[] = {
        [CE_AMQP_VOID] = "(void)",         [CE_AMQP_BOOLEAN] = "(bool)",   [CE_AMQP_INTEGER] = "(int)",
        [CE_AMQP_UNSIGNED] = "(unsigned)", [CE_AMQP_DOUBLE] = "(double)",  [CE_AMQP_STRING] = "(string)",
        [CE_AMQP_BYTES] = "(bytes)",       [CE_AMQP_TIMESTAMP] = "(time)", [CE_AMQP_ARRAY] = "(array)",
        [CE_AMQP_TABLE] = "(table)",
    };
    struct ce_amqp_value v = {.kind = CE_AMQP_STRING};
    for (int k = CE_AMQP_VOID; k <= CE_AMQP_TABLE; k++)
        if (slice_has_prefix(text, slice_str(kinds[k]))) {
            v.kind = (enum ce_amqp_kind)k;
            text = slice_from(text, strlen(kinds[k]));
        }
    char digits[64] = "";
    memcpy(digits, text.ptr ? text.ptr : "", text.len < sizeof digits - 1 ? text.len : sizeof digits - 1);
    if (v.kind == CE_AMQP_BOOLEAN)
        v.boolean = slice_eq_str(text, "true");
    else if (v.kind == CE_AMQP_INTEGER)
        v.integer = strtoll(digits, NULL, 10);
    else if (v.kind == CE_AMQP_UNSIGNED || v.kind == CE_AMQP_TIMESTAMP)
        v.natural = strtoull(digits, NULL, 10);
    else if (v.kind == CE_AMQP_DOUBLE)
        v.number = strtod(digits, NULL);
    else if (value_is_text(&v))
        v.text = text;
    return v;
}

/* "name= value\n" each. ('=' ends a name, for some have a colon.) */
static inline void message_lines(struct message *to, struct slice text)
{
    while (text.len) {
        struct slice value = slice_split(&text, '\n'), name = slice_split(&value, '=');
        message_add(to, name, message_value(slice_trim(value)));
    }
}

/* ---- what the encoder writes ---- */

static inline enum err message_header(void *arg, struct slice name, struct slice value)
{
    struct message *to = arg;
    if (to->fails && to->m.header_count == to->calls)
        return to->fails;
    if (to->m.header_count == MESSAGE_HEADERS_MAX)
        return ERR_FULL;
    to->headers[to->m.header_count++] =
        (struct ce_amqp_header){name, {.kind = CE_AMQP_STRING, .text = value}}; /* no copy yet */
    return OK;
}

static inline enum err message_write_within(struct message *to, const struct ce_event *e, enum ce_mode mode, bool carry,
                                            size_t frame_max)
{
    enum err err = ce_amqp_encode(e, mode, carry, frame_max, &to->scratch, message_header, to, &to->written);
    for (size_t i = 0; i < to->m.header_count; i++) {
        to->headers[i].name = message_copy(to->headers[i].name);
        to->headers[i].value.text = message_copy(to->headers[i].value.text);
    }
    if (err)
        return err;
    to->m.content_type = to->written.content_type;
    to->m.message_id = to->written.message_id;
    to->m.body = to->written.body;
    return OK;
}

static inline enum err message_write(struct message *to, const struct ce_event *e, enum ce_mode mode, bool carry)
{
    return message_write_within(to, e, mode, carry, 0);
}

/* The bytes of the header frame with these properties, a delivery mode and a timestamp. */
static inline size_t message_frame(const struct message *m)
{
    size_t frame = 7 + 1, head = 2 + 2 + 8 + 2, n = frame + head + 4 + 1 + 8;
    n += m->m.content_type.len ? 1 + m->m.content_type.len : 0;
    n += m->m.message_id.len ? 1 + m->m.message_id.len : 0;
    for (size_t i = 0; i < m->m.header_count; i++)
        n += 1 + m->headers[i].name.len + 1 + 4 + m->headers[i].value.text.len;
    return n;
}

/* The value of the only header of this name, case and all; ptr NULL: there is none, or more than one. */
static inline struct slice message_text(const struct message *m, const char *name)
{
    struct slice found = {NULL, 0};
    for (size_t i = 0; i < m->m.header_count; i++)
        if (slice_eq_str(m->headers[i].name, name)) {
            if (found.ptr)
                return slice_of(NULL, 0);
            found = m->headers[i].value.text;
            if (!found.ptr)
                found = SLICE("");
        }
    return found;
}

#endif
