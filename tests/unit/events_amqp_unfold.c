/* SPDX-License-Identifier: Apache-2.0
 *
 * Application properties of AMQP 1.0 as RabbitMQ 3.10 hands them to a client of 0.9.1: in one header, encoded. The
 * first case is what Debian's node made of a message that Qpid Proton sent; the codes are those of AMQP 1.0 part 1.6.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/amqp_message.h"
#include "../lib/event_rules.h"
#include "buf.h"
#include "prng.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define HEADER "x-amqp-1.0-app-properties"
#define BYTES(literal) ((struct slice){literal, sizeof(literal) - 1})

static const struct ce_amqp_rules plain = {.event_bytes_max = 1 << 20};

static const struct slice captured = SLICE_INIT("\x00St\xd1\x00\x00\x00\xf8\x00\x00\x00\x16\xa1\x17"
                                                "cloudEvents:specversion\xa1\x03"
                                                "1.0\xa1\x0e"
                                                "cloudEvents:id\xa1\x01"
                                                "1\xa1\x12"
                                                "cloudEvents:source\xa1\x02/s\xa1\x10"
                                                "cloudEvents:type\xa1\x01t\xa1\x10"
                                                "cloudEvents:time\x83\x00\x00\x01`\xaf\x04\x90{\xa1\x0f"
                                                "cloudEvents:seqT*\xa1\x10"
                                                "cloudEvents:longU*\xa1\x0e"
                                                "cloudEvents:onA\xa1\x0f"
                                                "cloudEvents:bin\xa0\x03"
                                                "abc\xa1\x0f"
                                                "cloudEvents:dbl\x82?\xf8\x00\x00\x00\x00\x00\x00\xa1\x10"
                                                "cloudEvents:none@");

static enum err decode(struct slice section, enum ce_amqp_kind kind, const struct ce_event **out, struct diag *d)
{
    struct message m;
    message_init(&m);
    message_add(&m, SLICE("ce-id"), message_value(SLICE("not this one")));
    message_add(&m, SLICE(HEADER), (struct ce_amqp_value){.kind = kind, .text = section});
    m.m.content_type = SLICE("application/json");
    m.m.body = SLICE("{}");
    *d = (struct diag){0, 0, ""};
    enum err e = ce_amqp_decode(&m.m, &plain, out, d);
    assert_int_equal(ce_amqp_is_event(&m.m, false), e == OK || !strstr(d->text, "no CloudEvent"));
    message_fini(&m);
    return e;
}

static void attribute_is(const struct ce_event *e, const char *name, enum ce_type type, const char *expected)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a))
        fail_msg("no attribute %s", name);
    if (!slice_eq_str(a.value, expected))
        fail_msg("%s: \"%.*s\" is not \"%s\"", name, SLICE_ARG(a.value), expected);
    assert_int_equal(a.type, type);
}

static void what_a_client_of_amqp_1_0_sent_is_its_event(void **state)
{
    (void)state;
    for (enum ce_amqp_kind kind = CE_AMQP_STRING; kind <= CE_AMQP_BYTES; kind++) {
        const struct ce_event *e = NULL;
        struct diag d;
        if (decode(captured, kind, &e, &d))
            fail_msg("%s", d.text);
        attribute_is(e, "specversion", CE_STRING, "1.0");
        attribute_is(e, "id", CE_STRING, "1");
        attribute_is(e, "source", CE_URI_REFERENCE, "/s");
        attribute_is(e, "type", CE_STRING, "t");
        attribute_is(e, "time", CE_TIMESTAMP, "2018-01-01T00:00:00Z"); /* sent with 123 ms */
        attribute_is(e, "seq", CE_INTEGER, "42");
        attribute_is(e, "long", CE_INTEGER, "42");
        attribute_is(e, "on", CE_BOOLEAN, "true");
        attribute_is(e, "bin", CE_BINARY, "YWJj");
        attribute_is(e, "dbl", CE_STRING, "1.5");
        attribute_is(e, "datacontenttype", CE_STRING, "application/json");
        assert_int_equal(ce_event_attribute_count(e), 11);
        ce_event_unref(e);
    }
}

/* A section of the four required attributes and x, with the value of this code and bytes. */
static void section_with(struct buf *b, struct slice value)
{
    static const char *const required[][2] = {{"specversion", "1.0"}, {"id", "1"}, {"source", "/s"}, {"type", "t"}};
    struct buf pairs;
    buf_init(&pairs, 1000);
    for (size_t i = 0; i < COUNT(required); i++)
        buf_printf(&pairs, "\xa1%ccloudEvents_%s\xa1%c%s", (int)(12 + strlen(required[i][0])), required[i][0],
                   (int)strlen(required[i][1]), required[i][1]);
    buf_put(&pairs, BYTES("\xa3\x0d"
                          "cloudEvents_x")); /* a symbol is a name too */
    buf_put(&pairs, value);
    buf_put(b, BYTES("\x00\x80\x00\x00\x00\x00\x00\x00\x00\x74\xc1")); /* the long descriptor, the short map */
    buf_put_char(b, (char)(pairs.len + 1));
    buf_put_char(b, 10);
    buf_put(b, buf_slice(&pairs));
    buf_fini(&pairs);
}

static void every_code_has_its_type(void **state)
{
    (void)state;
    static const struct {
        struct slice value;
        enum ce_type type;
        const char *text; /* NULL: no attribute */
    } rows[] = {
        {SLICE_INIT("\x40"), CE_STRING, NULL},
        {SLICE_INIT("\x41"), CE_BOOLEAN, "true"},
        {SLICE_INIT("\x42"), CE_BOOLEAN, "false"},
        {SLICE_INIT("\x56\x01"), CE_BOOLEAN, "true"},
        {SLICE_INIT("\x56\x00"), CE_BOOLEAN, "false"},
        {SLICE_INIT("\x43"), CE_INTEGER, "0"},
        {SLICE_INIT("\x44"), CE_INTEGER, "0"},
        {SLICE_INIT("\x50\xff"), CE_INTEGER, "255"},
        {SLICE_INIT("\x52\xff"), CE_INTEGER, "255"},
        {SLICE_INIT("\x53\xff"), CE_INTEGER, "255"},
        {SLICE_INIT("\x60\xff\xfe"), CE_INTEGER, "65534"},
        {SLICE_INIT("\x70\xff\xff\xff\xff"), CE_STRING, "4294967295"},
        {SLICE_INIT("\x80\xff\xff\xff\xff\xff\xff\xff\xff"), CE_STRING, "18446744073709551615"},
        {SLICE_INIT("\x51\xff"), CE_INTEGER, "-1"},
        {SLICE_INIT("\x54\x80"), CE_INTEGER, "-128"},
        {SLICE_INIT("\x55\x7f"), CE_INTEGER, "127"},
        {SLICE_INIT("\x61\x80\x00"), CE_INTEGER, "-32768"},
        {SLICE_INIT("\x71\x80\x00\x00\x00"), CE_INTEGER, "-2147483648"},
        {SLICE_INIT("\x81\xff\xff\xff\xff\xff\xff\xff\xfe"), CE_INTEGER, "-2"},
        {SLICE_INIT("\x72\x3f\xc0\x00\x00"), CE_STRING, "1.5"},
        {SLICE_INIT("\x82\xbf\xf8\x00\x00\x00\x00\x00\x00"), CE_STRING, "-1.5"},
        {SLICE_INIT("\x83\x00\x00\x00\x00\x00\x00\x03\xe7"), CE_TIMESTAMP, "1970-01-01T00:00:00Z"},
        {SLICE_INIT("\xa0\x02\x00\x01"), CE_BINARY, "AAE="},
        {SLICE_INIT("\xb0\x00\x00\x00\x01\xff"), CE_BINARY, "/w=="},
        {SLICE_INIT("\xa1\x00"), CE_STRING, ""},
        {SLICE_INIT("\xb1\x00\x00\x00\x02\xc3\xa9"), CE_STRING, "\xc3\xa9"},
        {SLICE_INIT("\xa3\x01s"), CE_STRING, "s"},
        {SLICE_INIT("\xb3\x00\x00\x00\x01s"), CE_STRING, "s"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct ce_event *e = NULL;
        struct buf b;
        struct diag d;
        buf_init(&b, 1000);
        section_with(&b, rows[i].value);
        if (decode(buf_slice(&b), CE_AMQP_STRING, &e, &d))
            fail_msg("%zu: %s", i, d.text);
        if (rows[i].text)
            attribute_is(e, "x", rows[i].type, rows[i].text);
        assert_int_equal(ce_event_attribute_count(e), rows[i].text ? 6 : 5);
        ce_event_unref(e);
        buf_fini(&b);
    }
}

/* A value that no attribute has is found out by its name, and so is what cannot be said. */
static void values_that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct slice values[] = {
        SLICE_INIT("\x45"),                                                                 /* list of nothing */
        SLICE_INIT("\xc0\x01\x00"),                                                         /* list */
        SLICE_INIT("\x98\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"), /* uuid */
        SLICE_INIT("\x73\x00\x00\x00\x41"),                                                 /* char */
        SLICE_INIT("\x74\x00\x00\x00\x41"),                                                 /* decimal */
        SLICE_INIT("\xf0\x00\x00\x00\x05\x00\x00\x00\x00\x41"),                             /* array */
        SLICE_INIT("\x83\xff\xff\xff\xff\xff\xff\xff\xff"),                                 /* 1969 */
    };
    for (size_t i = 0; i < COUNT(values); i++) {
        const struct ce_event *e = NULL;
        struct buf b;
        struct diag d;
        buf_init(&b, 1000);
        section_with(&b, values[i]);
        assert_int_equal(decode(buf_slice(&b), CE_AMQP_STRING, &e, &d), ERR_INVALID);
        if (!strstr(d.text, "\"cloudEvents_x\"") || e)
            fail_msg("%zu: %s", i, d.text);
        buf_fini(&b);
    }
}

/* What is no such section is a header like any other: the message is a plain one. */
static void what_is_malformed_is_no_event(void **state)
{
    (void)state;
    static const struct slice sections[] = {
        SLICE_INIT(""),
        SLICE_INIT("\x00"),
        SLICE_INIT("\x00\x53"),
        SLICE_INIT("\x00\x53\x74\xc1\x00"),                     /* no count */
        SLICE_INIT("\x00\x53\x74\xd1\x00\x00\x00\x03\x00\x00"), /* too short for its size */
        SLICE_INIT("\x00\x53\x74\xc1\x01\x02"),                 /* for its count */
        SLICE_INIT("\x00\x53\x74\xd1\xff\xff\xff\xff\xff\xff\xff\xff"),
        SLICE_INIT("\x00\x53\x74\xc1\x03\x02\x41\x41"),          /* a name that is no text */
        SLICE_INIT("\x00\x53\x74\xc1\x04\x02\xa1\x01x"),         /* no value */
        SLICE_INIT("\x00\x53\x74\xc1\x05\x02\xa1\x01x\x00"),     /* a described value */
        SLICE_INIT("\x00\x53\x74\xc1\x06\x02\xa1\x01x\xb1\x00"), /* half a length */
    };
    const struct ce_event *e = NULL;
    struct diag d;
    for (size_t i = 0; i < COUNT(sections); i++)
        if (decode(sections[i], CE_AMQP_STRING, &e, &d) != ERR_INVALID || !strstr(d.text, "no CloudEvent"))
            fail_msg("%zu: %s", i, d.text);
    /* One byte of an event's section that makes it none. */
    const struct {
        size_t at;
        unsigned char byte;
    } rows[] = {
        {0, 0x01},                /* not described */
        {1, 0x54},                /* a descriptor of another type */
        {2, 0x73},                /* another section */
        {3, 0xd0},                /* a list */
        {12, 0xa0},               /* a name that is no text */
        {captured.len - 1, 0x3f}, /* no code of a value */
    };
    static char copy[400];
    for (size_t i = 0; i < COUNT(rows); i++) {
        memcpy(copy, captured.ptr, captured.len);
        copy[rows[i].at] = (char)rows[i].byte;
        if (decode(slice_of(copy, captured.len), CE_AMQP_STRING, &e, &d) != ERR_INVALID ||
            !strstr(d.text, "no CloudEvent"))
            fail_msg("%zu: %s", i, d.text);
    }
    for (size_t n = 0; n < captured.len; n++)
        assert_int_equal(decode(slice_of(captured.ptr, n), CE_AMQP_STRING, &e, &d), ERR_INVALID);
    assert_int_equal(decode(captured, CE_AMQP_TABLE, &e, &d), ERR_INVALID);
}

static void garbled_sections_are_read_or_refused(void **state)
{
    (void)state;
    static char copy[400];
    struct prng p;
    prng_seed(&p, 46);
    for (int i = 0; i < 20000; i++) {
        const struct ce_event *e = NULL;
        struct diag d;
        memcpy(copy, captured.ptr, captured.len);
        for (uint64_t n = prng_below(&p, 4) + 1; n; n--)
            copy[prng_below(&p, captured.len)] = (char)prng_next(&p);
        enum err got = decode(slice_of(copy, captured.len), CE_AMQP_STRING, &e, &d);
        assert_true(got == OK ? obeys_the_rules(e) : got == ERR_INVALID && !e && d.text[0]);
        ce_event_unref(e);
    }
}

/* No more than an event has attributes are looked at. */
static void of_too_many_properties_the_first_count(void **state)
{
    (void)state;
    const struct ce_event *e = NULL;
    struct buf b;
    struct diag d;
    buf_init(&b, 10000);
    buf_put(&b, BYTES("\x00\x53\x74\xd1\x00\x00\x09\x04\x00\x00\x03\x00")); /* 384 pairs of 6 bytes */
    for (int i = 0; i < 384; i++)
        buf_printf(&b, "\xa1%cn%02x\x41", 3, (unsigned)i % 256);
    assert_int_equal(decode(buf_slice(&b), CE_AMQP_STRING, &e, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "no CloudEvent"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_client_of_amqp_1_0_sent_is_its_event),
        cmocka_unit_test(every_code_has_its_type),
        cmocka_unit_test(values_that_are_none_are_refused),
        cmocka_unit_test(what_is_malformed_is_no_event),
        cmocka_unit_test(garbled_sections_are_read_or_refused),
        cmocka_unit_test(of_too_many_properties_the_first_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
