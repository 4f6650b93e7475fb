/* SPDX-License-Identifier: Apache-2.0
 *
 * Random events through records of Kafka and back, records cut and garbled anywhere, and every allocation failing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/event_rules.h"
#include "../lib/fault.h"
#include "../lib/kafka_record.h"
#include "../lib/random_event.h"
#include "ce_http.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct ce_kafka_rules plain = {.event_bytes_max = 4 << 20};

static const struct ce_event *through(const struct ce_event *e, enum ce_mode wire, bool carry)
{
    struct record r;
    const struct ce_event *back = NULL;
    struct diag d;
    record_init(&r);
    assert_int_equal(record_write(&r, e, wire, carry), OK);
    assert_true(ce_kafka_is_event(&r.r));
    if (ce_kafka_decode(&r.r, &plain, &back, &d))
        fail_msg("%s", d.text);
    record_fini(&r);
    return back;
}

/* What any reader sees: all attributes as strings, the same data, and whether there is any. */
static void same_to_a_stranger(const struct ce_event *e, const struct ce_event *back)
{
    size_t added = ce_event_data_kind(e) == CE_DATA_JSON && !ce_event_datacontenttype(e).len;
    assert_int_equal(ce_event_attribute_count(e) + added, ce_event_attribute_count(back));
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i), b;
        assert_true(ce_event_attribute(back, a.name, &b) && slice_eq(a.value, b.value));
    }
    assert_true(slice_eq(ce_event_data(e), ce_event_data(back)));
    assert_int_equal(ce_event_data_kind(e) == CE_DATA_NONE, ce_event_data_kind(back) == CE_DATA_NONE);
}

static void only_the_trace(const struct ce_event *e)
{
    for (size_t i = 0; i < ce_event_header_count(e); i++) {
        struct slice name, value;
        ce_event_header_at(e, i, &name, &value);
        assert_true(slice_eq_nocase(name, SLICE("traceparent")) || slice_eq_nocase(name, SLICE("tracestate")));
    }
}

static void binary_mode_brings_every_event_back(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 31);
    for (int i = 0; i < 3000; i++) {
        const struct ce_event *e = random_event(&p), *back = through(e, CE_MODE_BINARY, true);
        assert_true(ce_event_equal(e, back));
        assert_int_equal(ce_event_mode(e), ce_event_mode(back));
        same_headers(e, back);
        ce_event_unref(back);
        back = through(e, CE_MODE_BINARY, false);
        same_to_a_stranger(e, back);
        only_the_trace(back);
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

/* White space around JSON that came as bytes does not survive an envelope; random_event makes none. */
static void structured_mode_brings_every_event_back(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 32);
    for (int i = 0; i < 3000; i++) {
        const struct ce_event *e = random_event(&p), *back = through(e, CE_MODE_STRUCTURED, true);
        assert_true(ce_event_equal(e, back));
        assert_int_equal(ce_event_mode(e), ce_event_mode(back));
        same_headers(e, back);
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

/* ---- hostile records ---- */

/* Whatever a record says, it is read as an event, or refused with a reason and then wrapped. */
static void survives(const struct ce_kafka_record *r, const struct ce_kafka_rules *rules)
{
    const struct ce_event *e = NULL, *wrapped = NULL;
    struct diag d = {0, 0, ""};
    enum err err = ce_kafka_decode(r, rules, &e, &d);
    if (err) {
        assert_true(err == ERR_INVALID || err == ERR_UNSUPPORTED || err == ERR_TOO_LARGE);
        assert_true(!e && d.text[0]);
    } else {
        assert_true(ce_kafka_is_event(r));
        assert_true(obeys_the_rules(e));
    }
    ce_event_unref(e);
    assert_int_equal(ce_kafka_wrap(r, rules, &wrapped, &d), OK);
    assert_true(obeys_the_rules(wrapped));
    ce_event_unref(wrapped);
}

static struct slice garbled(struct prng *p, struct slice s)
{
    if (!s.ptr)
        return s;
    char *bytes = (char *)s.ptr; /* a copy of our own */
    for (uint64_t n = prng_below(p, 3); n && s.len; n--)
        bytes[prng_below(p, s.len)] = (char)prng_next(p);
    return prng_below(p, 4) ? s : slice_of(s.ptr, (size_t)prng_below(p, s.len + 1));
}

static void garbled_records_are_read_or_refused(void **state)
{
    (void)state;
    static const struct ce_kafka_header overrides[] = {{SLICE_INIT("team"), SLICE_INIT("a")}};
    struct ce_kafka_rules rules = {
        .event_bytes_max = 4 << 20, .source = "/s", .overrides = overrides, .override_count = 1};
    struct prng p;
    prng_seed(&p, 33);
    for (int i = 0; i < 4000; i++) {
        const struct ce_event *e = random_event(&p);
        struct record r;
        record_init(&r);
        assert_int_equal(record_write(&r, e, (enum ce_mode)prng_below(&p, 2), prng_below(&p, 2)), OK);
        struct slice value = record_copy(r.r.value), key = record_copy(ce_event_id(e));
        r.r.value = garbled(&p, value);
        r.r.key = garbled(&p, key);
        for (uint64_t n = prng_below(&p, 5); n && r.r.header_count; n--) {
            struct ce_kafka_header *h = &r.headers[prng_below(&p, r.r.header_count)];
            h->name = garbled(&p, h->name);
            h->value = garbled(&p, h->value);
        }
        rules.key = (enum ce_kafka_key)prng_below(&p, 4);
        survives(&r.r, &rules);
        free((char *)value.ptr);
        free((char *)key.ptr);
        record_fini(&r);
        ce_event_unref(e);
    }
}

/* Names and values of nothing, and a record of nothing but its topic. */
static void empty_headers_are_harmless(void **state)
{
    (void)state;
    static const struct ce_kafka_header headers[] = {
        {{NULL, 0}, {NULL, 0}},
        {{NULL, 0}, SLICE_INIT("v")},
        {SLICE_INIT(""), SLICE_INIT("")},
        {SLICE_INIT("ce_"), {NULL, 0}},
        {SLICE_INIT("c"), SLICE_INIT("")},
        {SLICE_INIT("ce"), SLICE_INIT("")},
        {SLICE_INIT("leat_mode"), {NULL, 0}},
    };
    struct ce_kafka_record r = {.headers = headers, .header_count = COUNT(headers), .topic = SLICE_INIT("t")};
    survives(&r, &plain);
    r = (struct ce_kafka_record){.headers = NULL};
    survives(&r, &plain);
}

/* ---- allocations ---- */

typedef enum err body_fn(const struct record *r, const struct ce_event **out, struct diag *d);

static const struct ce_kafka_header team = {SLICE_INIT("team"), SLICE_INIT("a")};
static const struct ce_kafka_rules all_rules = {.event_bytes_max = 1 << 20,
                                                .source = "/s",
                                                .key = CE_KAFKA_KEY_BYTE_ARRAY,
                                                .overrides = &team,
                                                .override_count = 1};

static enum err decodes(const struct record *r, const struct ce_event **out, struct diag *d)
{
    return ce_kafka_decode(&r->r, &all_rules, out, d);
}

static enum err wraps(const struct record *r, const struct ce_event **out, struct diag *d)
{
    return ce_kafka_wrap(&r->r, &all_rules, out, d);
}

/* How many allocations there are; each fails once. */
static unsigned with_faults(body_fn *body, const struct record *r)
{
    for (unsigned n = 1;; n++) {
        const struct ce_event *out = NULL;
        struct diag d = {0, 0, ""};
        fault_arm(n);
        enum err e = body(r, &out, &d);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        assert_true(fired ? !out && d.text[0] : out != NULL);
        ce_event_unref(out);
        if (!fired)
            return n - 1;
    }
}

static void reading_without_memory(void **state)
{
    (void)state;
    static char name[CE_NAME_LEN_MAX + 1];
    struct record r;
    record_init(&r);
    record_lines(&r, SLICE("CE_SpecVersion: 1.0\nce_id: 1\nce_source: /s\nce_type: t\nleat_mode: structured\n"));
    r.r.key = SLICE("k");
    r.r.value = SLICE("{}");
    assert_int_equal(with_faults(decodes, &r), 1); /* the event: the usual one costs nothing else */
    assert_int_equal(with_faults(wraps, &r), 2);   /* its texts */
    for (int i = 0; i < 8; i++) {
        memset(name, 'A' + i, CE_NAME_LEN_MAX);
        memcpy(name, "ce_", 3);
        assert_int_equal(record_header(&r, slice_of(name, CE_NAME_LEN_MAX), SLICE("v")), OK);
    }
    assert_int_equal(with_faults(decodes, &r), 2); /* scratch memory for names to be lowered */
    record_fini(&r);
    record_init(&r);
    record_lines(&r, SLICE("content-type: application/cloudevents+json\n"));
    r.r.value = SLICE("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}");
    assert_int_equal(with_faults(decodes, &r), 2); /* out of the envelope, and with the override */
    record_fini(&r);
}

/* Copies nothing: the allocations counted are the encoder's own. */
static enum err count_header(void *arg, struct slice name, struct slice value)
{
    (void)name;
    (void)value;
    ++*(size_t *)arg;
    return OK;
}

static void writing_without_memory(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 34);
    for (int i = 0; i < 200; i++) {
        const struct ce_event *e = random_event(&p);
        enum ce_mode wire = (enum ce_mode)(i % 2);
        for (unsigned n = 1;; n++) {
            struct slice value = SLICE("untouched");
            struct buf scratch;
            size_t headers = 0;
            buf_init(&scratch, 1 << 20);
            fault_arm(n);
            enum err got = ce_kafka_encode(e, wire, true, &scratch, count_header, &headers, &value);
            bool fired = fault_disarm();
            assert_int_equal(got, fired ? ERR_NOMEM : OK);
            assert_true(!fired || slice_eq_str(value, "untouched"));
            buf_fini(&scratch);
            if (!fired)
                break;
        }
        ce_event_unref(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binary_mode_brings_every_event_back),
        cmocka_unit_test(structured_mode_brings_every_event_back),
        cmocka_unit_test(garbled_records_are_read_or_refused),
        cmocka_unit_test(empty_headers_are_harmless),
        cmocka_unit_test(reading_without_memory),
        cmocka_unit_test(writing_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
