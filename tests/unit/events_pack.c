/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed events come back as they were, whatever they hold; and whatever the bytes say, unpacking answers with an error
 * or with an event that keeps the rules of events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/fault.h"
#include "../lib/random_event.h"
#include "ce_http.h"
#include "ce_pack.h"
#include "prng.h"
#include "text.h"

static const struct ce_event *sealed(struct ce_builder *b)
{
    const struct ce_event *e = NULL;
    struct diag d;
    if (ce_builder_seal(b, CE_EVENT_BYTES_MAX, &e, &d))
        fail_msg("%s", d.text);
    return e;
}

static struct slice packed(const struct ce_event *e)
{
    size_t size = ce_pack_size(e);
    char *bytes = malloc(size); /* exactly, so that a byte too many is seen */
    assert_non_null(bytes);
    ce_pack(e, bytes);
    return slice_of(bytes, size);
}

/* Bytes in a block of their own size: a read behind them is seen. */
static enum err unpack_exact(struct slice in, const struct ce_event **out, struct diag *d)
{
    char *copy = malloc(in.len ? in.len : 1);
    assert_non_null(copy);
    if (in.len)
        memcpy(copy, in.ptr, in.len);
    enum err e = ce_unpack(slice_of(in.len ? copy : NULL, in.len), out, d);
    free(copy);
    return e;
}

/* As it is sent: equal to the byte in both modes. */
static void same_messages(const struct ce_event *a, const struct ce_event *b)
{
    struct buf h[2], body[2];
    const struct ce_event *e[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        buf_init(&h[i], 1 << 22);
        buf_init(&body[i], 1 << 22);
        ce_http_encode_binary(e[i], &h[i]);
        ce_http_encode_structured(e[i], &h[i], &body[i]);
        assert_int_equal(buf_error(&h[i]), OK);
        assert_int_equal(buf_error(&body[i]), OK);
    }
    assert_true(slice_eq(buf_slice(&h[0]), buf_slice(&h[1])));
    assert_true(slice_eq(buf_slice(&body[0]), buf_slice(&body[1])));
    for (int i = 0; i < 2; i++) {
        buf_fini(&h[i]);
        buf_fini(&body[i]);
    }
}

static void round_trips(const struct ce_event *e)
{
    struct slice bytes = packed(e);
    const struct ce_event *back = NULL;
    struct diag d;
    if (unpack_exact(bytes, &back, &d))
        fail_msg("%s", d.text);
    assert_true(ce_event_equal(e, back));
    assert_int_equal(ce_event_mode(e), ce_event_mode(back));
    assert_int_equal(ce_event_size(e), ce_event_size(back));
    same_headers(e, back);
    same_messages(e, back);
    struct slice again = packed(back);
    assert_true(slice_eq(bytes, again));
    free((char *)bytes.ptr);
    free((char *)again.ptr);
    ce_event_unref(back);
}

static void all_kinds_of_events_come_back(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 21);
    for (int i = 0; i < 3000; i++) {
        const struct ce_event *e = random_event(&p);
        round_trips(e);
        ce_event_unref(e);
    }
}

static void the_largest_of_everything(void **state)
{
    (void)state;
    static char names[CE_ATTRIBUTES_MAX][CE_NAME_LEN_MAX + 1], long_value[100000], header[40000];
    memset(long_value, 'v', sizeof long_value);
    memset(header, 'h', sizeof header);
    struct ce_builder b;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_of(long_value, sizeof long_value));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_set(&b, SLICE("specversion"), CE_STRING, SLICE("1.0"));
    for (size_t i = b.count; i < CE_ATTRIBUTES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "n%0*zu", CE_NAME_LEN_MAX - 1, i);
        ce_builder_set(&b, slice_of(names[i], CE_NAME_LEN_MAX), CE_STRING, SLICE(""));
    }
    for (int i = 0; i < 16; i++)
        ce_builder_header(&b, slice_of(header, sizeof header), slice_of(header, sizeof header));
    const struct ce_event *e = sealed(&b);
    assert_int_equal(ce_event_attribute_count(e), CE_ATTRIBUTES_MAX);
    assert_int_equal(ce_event_header_count(e), 16);
    round_trips(e);
    ce_event_unref(e);
}

/* Data that is there and empty is not data that is not there. */
static void no_data_and_empty_data_differ(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 22);
    for (int empty = 0; empty < 2; empty++) {
        struct ce_builder b;
        ce_builder_init(&b);
        ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
        ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("s"));
        ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
        ce_builder_data(&b, empty ? CE_DATA_BYTES : CE_DATA_NONE, slice_of(NULL, 0));
        const struct ce_event *e = sealed(&b), *back;
        struct slice bytes = packed(e);
        assert_int_equal(ce_unpack(bytes, &back, NULL), OK);
        assert_int_equal(ce_event_data_kind(back), empty ? CE_DATA_BYTES : CE_DATA_NONE);
        free((char *)bytes.ptr);
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

/* ---- bytes that lie ---- */

/* Whatever came out keeps the rules: it can be read whole, sent, and packed again. */
static void is_an_event(const struct ce_event *e)
{
    assert_true(ce_event_id(e).len && ce_event_source(e).len && ce_event_type(e).len && ce_event_specversion(e).len);
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        assert_int_equal(ce_name_check(a.name, NULL), OK);
        assert_true(utf8_valid(a.value));
    }
    struct buf h, body;
    buf_init(&h, 1 << 22);
    buf_init(&body, 1 << 22);
    ce_http_encode_binary(e, &h);
    ce_http_encode_structured(e, &h, &body);
    buf_fini(&h);
    buf_fini(&body);
    struct slice again = packed(e);
    free((char *)again.ptr);
}

static enum err try(struct slice bytes)
{
    const struct ce_event *e = NULL;
    struct diag d = {0};
    enum err err = unpack_exact(bytes, &e, &d);
    if (err) {
        assert_int_equal(err, ERR_CORRUPT);
        assert_null(e);
        assert_true(d.text[0]);
    } else {
        is_an_event(e);
        ce_event_unref(e);
    }
    return err;
}

static void every_truncation_is_an_error(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 23);
    for (int i = 0; i < 12; i++) {
        const struct ce_event *e = random_event(&p);
        struct slice bytes = packed(e);
        for (size_t len = 0; len < bytes.len && len < 3000; len++)
            assert_int_equal(try(slice_of(bytes.ptr, len)), ERR_CORRUPT);
        assert_int_equal(try(slice_of(bytes.ptr, bytes.len - 1)), ERR_CORRUPT);
        char *longer = malloc(bytes.len + 1);
        memcpy(longer, bytes.ptr, bytes.len);
        longer[bytes.len] = 0;
        assert_int_equal(try(slice_of(longer, bytes.len + 1)), ERR_CORRUPT);
        free(longer);
        free((char *)bytes.ptr);
        ce_event_unref(e);
    }
}

static void every_flip_gives_an_error_or_an_event(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 24);
    unsigned refused = 0, taken = 0;
    for (int i = 0; i < 20; i++) {
        const struct ce_event *e = random_event(&p);
        struct slice bytes = packed(e);
        char *b = (char *)bytes.ptr;
        for (size_t bit = 0; bit < bytes.len * 8 && bit < 8 * 600; bit++) {
            b[bit / 8] = (char)(b[bit / 8] ^ 1 << bit % 8);
            *(try(bytes) ? &refused : &taken) += 1;
            b[bit / 8] = (char)(b[bit / 8] ^ 1 << bit % 8);
        }
        assert_int_equal(try(bytes), OK);
        free(b);
        ce_event_unref(e);
    }
    assert_true(refused > 1000 && taken > 1000);
}

/* Lengths and counts at their limits, and noise. */
static void wild_numbers(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 25);
    static const unsigned char wild[] = {0, 1, 0x7F, 0x80, 0xFF};
    for (int i = 0; i < 10000; i++) {
        const struct ce_event *e = i % 100 ? NULL : random_event(&p);
        static struct slice bytes;
        if (e) {
            free((char *)bytes.ptr);
            bytes = packed(e);
            ce_event_unref(e);
        }
        char *b = malloc(bytes.len);
        memcpy(b, bytes.ptr, bytes.len);
        for (uint64_t k = 1 + prng_below(&p, 8); k; k--) {
            size_t at = (size_t)prng_below(&p, prng_below(&p, 2) ? bytes.len : 40), n = (size_t)prng_below(&p, 4) + 1;
            for (; n && at < bytes.len; n--)
                b[at++] = (char)(prng_below(&p, 2) ? wild[prng_below(&p, 5)] : prng_next(&p));
        }
        (void)try(slice_of(b, bytes.len));
        free(b);
        if (i == 9999)
            free((char *)bytes.ptr);
    }
}

/* One packed event by hand: the layout is a format, and this is what version 1 looks like. */
static void the_layout_is_this(void **state)
{
    (void)state;
    static const char golden[] = "\x01\x01\x03\x01\x05\0\0\0\x02\0\0\0"
                                 "\0\0\x0B\0\x03\0\0\0specversion1.0"
                                 "\0\0\x02\0\x01\0\0\0id7"
                                 "\x05\0\x06\0\x02\0\0\0source/s"
                                 "\0\0\x04\0\x01\0\0\0typet"
                                 "\x02\0\x01\0\x02\0\0\0n42"
                                 "\x0C\0\0\0\x01\0\0\0x-request-id9"
                                 "{}";
    struct ce_builder b;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("7"));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_set(&b, SLICE("n"), CE_INTEGER, SLICE("42"));
    ce_builder_header(&b, SLICE("x-request-id"), SLICE("9"));
    ce_builder_mode(&b, CE_MODE_STRUCTURED);
    ce_builder_data(&b, CE_DATA_JSON, SLICE("{}"));
    const struct ce_event *e = sealed(&b), *back;
    struct slice bytes = packed(e);
    assert_int_equal(bytes.len, sizeof golden - 1);
    assert_memory_equal(bytes.ptr, golden, bytes.len);
    assert_int_equal(ce_unpack(slice_of(golden, sizeof golden - 1), &back, NULL), OK);
    assert_true(ce_event_equal(e, back));
    free((char *)bytes.ptr);
    ce_event_unref(back);
    ce_event_unref(e);
}

static void without_memory(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 26);
    const struct ce_event *e = random_event(&p), *back = NULL;
    struct slice bytes = packed(e);
    struct diag d;
    fault_arm(1);
    enum err err = ce_unpack(bytes, &back, &d);
    assert_true(fault_disarm());
    assert_int_equal(err, ERR_NOMEM);
    assert_null(back);
    free((char *)bytes.ptr);
    ce_event_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_of_events_come_back),
        cmocka_unit_test(the_largest_of_everything),
        cmocka_unit_test(no_data_and_empty_data_differ),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(every_flip_gives_an_error_or_an_event),
        cmocka_unit_test(wild_numbers),
        cmocka_unit_test(the_layout_is_this),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
