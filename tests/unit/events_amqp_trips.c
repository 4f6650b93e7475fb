/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of AMQP 0.9.1 beyond single rules: random events there and back, frames of every size, messages cut and
 * garbled anywhere, and every allocation failing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/amqp_message.h"
#include "../lib/event_rules.h"
#include "../lib/fault.h"
#include "../lib/random_event.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define FRAME_MIN 4096 /* the least that AMQP lets a server and a client agree on */

static const struct ce_amqp_rules plain = {.event_bytes_max = 4 << 20};
static const struct ce_attribute team = {SLICE_INIT("team"), SLICE_INIT("a"), CE_STRING};
static const struct ce_amqp_rules source = {.event_bytes_max = 4 << 20,
                                            .knative = true,
                                            .source = "/apis/v1/namespaces/ns/rabbitmqsources/rs",
                                            .overrides = &team,
                                            .override_count = 1};

static void attribute_is(const struct ce_event *e, const char *name, enum ce_type type, const char *expected)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a))
        fail_msg("no attribute %s", name);
    if (!slice_eq_str(a.value, expected))
        fail_msg("%s: \"%.*s\" is not \"%s\"", name, SLICE_ARG(a.value), expected);
    assert_int_equal(a.type, type);
}

/* ---- there and back ---- */

static const struct ce_event *through(const struct ce_event *e, enum ce_mode wire, bool carry, size_t frame_max)
{
    struct message m;
    const struct ce_event *back = NULL;
    struct diag d;
    message_init(&m);
    assert_int_equal(message_write_within(&m, e, wire, carry, frame_max), OK);
    assert_true(ce_amqp_is_event(&m.m, false));
    assert_true(!frame_max || message_frame(&m) <= frame_max);
    if (ce_amqp_decode(&m.m, &plain, &back, &d))
        fail_msg("%s", d.text);
    message_fini(&m);
    return back;
}

/* All attributes as strings, the same data; `added`: how many attributes more. */
static void same_texts(const struct ce_event *e, const struct ce_event *back, size_t added)
{
    assert_int_equal(ce_event_attribute_count(e) + added, ce_event_attribute_count(back));
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i), b;
        assert_true(ce_event_attribute(back, a.name, &b) && slice_eq(a.value, b.value));
    }
    assert_true(slice_eq(ce_event_data(e), ce_event_data(back)));
}

static void binary_mode_brings_every_event_back(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 41);
    for (int i = 0; i < 3000; i++) {
        const struct ce_event *e = random_event(&p), *back = through(e, CE_MODE_BINARY, true, 0);
        assert_true(ce_event_equal(e, back));
        assert_int_equal(ce_event_mode(e), ce_event_mode(back));
        same_headers(e, back);
        ce_event_unref(back);
        back = through(e, CE_MODE_BINARY, false, 0);
        same_texts(e, back, ce_event_data_kind(e) == CE_DATA_JSON && !ce_event_datacontenttype(e).len);
        same_headers(e, back); /* all that random_event has are traceparent */
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

/* White space around JSON that came as bytes does not survive an envelope; random_event makes none. */
static void structured_mode_brings_every_event_back(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 42);
    for (int i = 0; i < 3000; i++) {
        const struct ce_event *e = random_event(&p), *back = through(e, CE_MODE_STRUCTURED, true, 0);
        assert_true(ce_event_equal(e, back));
        assert_int_equal(ce_event_mode(e), ce_event_mode(back));
        same_headers(e, back);
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

/* ---- frames ---- */

static const struct ce_event *event_with(struct slice id, struct slice name, struct slice value, struct slice type)
{
    const struct ce_event *e = NULL;
    struct ce_builder b;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, id);
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_set(&b, name, CE_STRING, value);
    if (type.len)
        ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, type);
    ce_builder_header(&b, SLICE("traceparent"), SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    ce_builder_data(&b, CE_DATA_BYTES, SLICE("data"));
    assert_int_equal(ce_builder_seal(&b, 1 << 20, &e, NULL), OK);
    return e;
}

static enum ce_mode mode_of(const struct ce_event *e, size_t frame_max)
{
    struct message m;
    message_init(&m);
    assert_int_equal(message_write_within(&m, e, CE_MODE_BINARY, true, frame_max), OK);
    enum ce_mode mode = m.written.mode;
    assert_true(!frame_max || message_frame(&m) <= frame_max);
    message_fini(&m);
    return mode;
}

/* One byte more or less of a value decides; the frame is used to its end but for what is kept for the publisher. */
static void what_does_not_fit_a_frame_goes_in_an_envelope(void **state)
{
    (void)state;
    static char value[FRAME_MIN];
    memset(value, 'v', sizeof value);
    size_t turn = 0;
    for (size_t n = FRAME_MIN - 400; n < FRAME_MIN; n++) {
        const struct ce_event *e = event_with(SLICE("1"), SLICE("x"), slice_of(value, n), SLICE("a/b"));
        enum ce_mode mode = mode_of(e, FRAME_MIN);
        if (mode == CE_MODE_STRUCTURED && !turn)
            turn = n;
        assert_int_equal(mode, turn ? CE_MODE_STRUCTURED : CE_MODE_BINARY);
        const struct ce_event *back = through(e, CE_MODE_BINARY, true, FRAME_MIN);
        assert_true(ce_event_equal(e, back));
        assert_int_equal(mode_of(e, 0), CE_MODE_BINARY);
        assert_int_equal(mode_of(e, 131072), CE_MODE_BINARY);
        ce_event_unref(back);
        ce_event_unref(e);
    }
    assert_in_range(turn, FRAME_MIN - 300, FRAME_MIN - 200);
}

static void short_strings_have_255_bytes(void **state)
{
    (void)state;
    static char a[300], type[300] = "a/b; c=";
    memset(a, 'a', sizeof a);
    memset(type + 7, 'c', sizeof type - 7);
    const struct {
        size_t id, name, type;
        enum ce_mode mode;
        size_t message_id;
    } rows[] = {
        {1, 1, 255, CE_MODE_BINARY, 1},     {1, 1, 256, CE_MODE_STRUCTURED, 1}, {1, 252, 9, CE_MODE_BINARY, 1},
        {1, 253, 9, CE_MODE_STRUCTURED, 1}, {255, 1, 9, CE_MODE_BINARY, 255},   {256, 1, 9, CE_MODE_BINARY, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m;
        const struct ce_event *back = NULL, *e = event_with(slice_of(a, rows[i].id), slice_of(a, rows[i].name),
                                                            SLICE("v"), slice_of(type, rows[i].type));
        message_init(&m);
        assert_int_equal(message_write_within(&m, e, CE_MODE_BINARY, true, 131072), OK);
        assert_int_equal(m.written.mode, rows[i].mode);
        assert_int_equal(m.m.message_id.len, rows[i].message_id);
        assert_true(m.m.content_type.len <= CE_AMQP_SHORT_MAX);
        assert_int_equal(ce_amqp_decode(&m.m, &plain, &back, NULL), OK);
        assert_true(ce_event_equal(e, back));
        message_fini(&m);
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

/* Whatever the frame, no message exceeds it; what is carried along gives way, the event does not. */
static void every_event_fits_every_frame(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 43);
    for (int i = 0; i < 2000; i++) {
        const struct ce_event *e = random_event(&p);
        size_t frame_max = FRAME_MIN + (size_t)prng_below(&p, 4 * FRAME_MIN);
        const struct ce_event *back = through(e, (enum ce_mode)prng_below(&p, 2), true, frame_max);
        same_texts(e, back, 0);
        assert_int_equal(ce_event_data_kind(e), ce_event_data_kind(back));
        assert_int_equal(ce_event_mode(e), ce_event_mode(back));
        ce_event_unref(back);
        ce_event_unref(e);
    }
}

/* A frame that AMQP forbids, from a server that is none: nothing is carried, and nothing breaks. */
static void a_frame_too_small_for_anything_is_harmless(void **state)
{
    (void)state;
    const struct ce_event *e = event_with(SLICE("1"), SLICE("x"), SLICE("v"), SLICE("a/b"));
    for (size_t n = 1; n < 400; n++) {
        struct message m;
        message_init(&m);
        assert_int_equal(message_write_within(&m, e, CE_MODE_BINARY, true, n), OK);
        message_fini(&m);
    }
    ce_event_unref(e);
}

/* The last types of a hint give way first, whole ones; then the transport headers that do not fit. */
static void what_is_carried_is_cut_to_the_frame(void **state)
{
    (void)state;
    static char names[250][20];
    const struct ce_event *e = NULL, *back = NULL;
    struct ce_builder b;
    struct message m;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(names[i], sizeof names[i], "averylongname%zu", i);
        ce_builder_set(&b, slice_str(names[i]), CE_BINARY, SLICE("AAEC"));
    }
    ce_builder_header(&b, SLICE("traceparent"), SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_int_equal(ce_builder_seal(&b, 1 << 20, &e, NULL), OK);
    message_init(&m);
    assert_int_equal(message_write_within(&m, e, CE_MODE_BINARY, true, FRAME_MIN), OK);
    assert_int_equal(m.written.mode, CE_MODE_STRUCTURED);
    assert_in_range(message_frame(&m), FRAME_MIN - 200, FRAME_MIN);
    assert_true(slice_has_prefix(message_text(&m, "leat_mode"), SLICE("binary;types=averylongname0:binary,")));
    assert_true(slice_has_suffix(message_text(&m, "leat_mode"), SLICE(":binary")));
    assert_null(message_text(&m, "traceparent").ptr);
    assert_int_equal(ce_amqp_decode(&m.m, &plain, &back, NULL), OK);
    attribute_is(back, "averylongname0", CE_BINARY, "AAEC");
    attribute_is(back, "averylongname249", CE_STRING, "AAEC");
    message_fini(&m);
    ce_event_unref(back);
    for (size_t frame_max = FRAME_MIN; frame_max < FRAME_MIN + 60; frame_max++) /* wherever it cuts */
        assert_int_equal(mode_of(e, frame_max), CE_MODE_STRUCTURED);
    ce_event_unref(e);
}

/* ---- hostile messages ---- */

/* Whatever a message says, it is read as an event, or refused with a reason and then wrapped. */
static void survives(const struct ce_amqp_message *m, const struct ce_amqp_rules *rules)
{
    const struct ce_event *e = NULL, *foreign = NULL;
    struct diag d = {0, 0, ""};
    enum err err = ce_amqp_decode(m, rules, &e, &d);
    if (err) {
        assert_true(err == ERR_INVALID || err == ERR_UNSUPPORTED || err == ERR_TOO_LARGE);
        assert_true(!e && d.text[0]);
    } else {
        assert_true(ce_amqp_is_event(m, rules->knative));
        assert_true(obeys_the_rules(e));
    }
    ce_event_unref(e);
    assert_int_equal(ce_amqp_wrap(m, rules, &foreign, &d), OK);
    assert_true(obeys_the_rules(foreign));
    ce_event_unref(foreign);
}

static struct slice garbled(struct prng *p, struct slice s)
{
    char *bytes = (char *)s.ptr; /* a copy of our own */
    for (uint64_t n = prng_below(p, 3); n && s.len; n--)
        bytes[prng_below(p, s.len)] = (char)prng_next(p);
    return prng_below(p, 4) ? s : slice_of(s.ptr, (size_t)prng_below(p, s.len + 1));
}

/* A value of another kind, or its text garbled. The text itself stays where message_fini finds it. */
static void garble_header(struct prng *p, struct ce_amqp_header *h)
{
    enum ce_amqp_kind kind = (enum ce_amqp_kind)prng_below(p, CE_AMQP_TABLE + 1);
    h->name = garbled(p, h->name);
    if (!value_is_text(&h->value))
        return;
    if (prng_below(p, 2) || kind == CE_AMQP_STRING) {
        h->value.text = garbled(p, h->value.text);
        return;
    }
    if (kind == CE_AMQP_BYTES) {
        h->value.kind = kind;
        return;
    }
    free((char *)h->value.text.ptr);
    h->value = (struct ce_amqp_value){.kind = kind};
    if (kind == CE_AMQP_BOOLEAN)
        h->value.boolean = prng_below(p, 2);
    else
        h->value.natural = prng_next(p) >> prng_below(p, 64);
}

static void garbled_messages_are_read_or_refused(void **state)
{
    (void)state;
    static const char *const forms[] = {"ce-", "cloudEvents:", "cloudEvents_", ""};
    struct prng p;
    prng_seed(&p, 44);
    for (int i = 0; i < 4000; i++) {
        const struct ce_event *e = random_event(&p);
        struct message m;
        message_init(&m);
        assert_int_equal(message_write(&m, e, (enum ce_mode)prng_below(&p, 2), prng_below(&p, 2)), OK);
        struct slice prefix = slice_str(ONE_OF(&p, forms));
        for (size_t k = 0; k < m.m.header_count; k++) {
            char name[400];
            struct slice old = m.headers[k].name;
            if (!slice_has_prefix(old, SLICE("ce-")))
                continue;
            snprintf(name, sizeof name, "%.*s%.*s", SLICE_ARG(prefix), SLICE_ARG(slice_from(old, 3)));
            m.headers[k].name = message_copy(slice_str(name));
            free((char *)old.ptr);
        }
        struct slice body = message_copy(m.m.body), type = message_copy(m.m.content_type);
        m.m.body = garbled(&p, body);
        m.m.content_type = garbled(&p, type);
        for (uint64_t n = prng_below(&p, 5); n && m.m.header_count; n--)
            garble_header(&p, &m.headers[prng_below(&p, m.m.header_count)]);
        survives(&m.m, prng_below(&p, 2) ? &source : &plain);
        free((char *)body.ptr);
        free((char *)type.ptr);
        message_fini(&m);
        ce_event_unref(e);
    }
}

/* Names and values of nothing, and a message of nothing at all. */
static void empty_headers_are_harmless(void **state)
{
    (void)state;
    static const struct ce_amqp_header headers[] = {
        {{NULL, 0}, {.kind = CE_AMQP_VOID}},
        {{NULL, 0}, {.kind = CE_AMQP_STRING, .text = {NULL, 0}}},
        {SLICE_INIT(""), {.kind = CE_AMQP_BYTES, .text = {NULL, 0}}},
        {SLICE_INIT("ce-"), {.kind = CE_AMQP_VOID}},
        {SLICE_INIT("specversion"), {.kind = CE_AMQP_STRING, .text = {NULL, 0}}},
        {SLICE_INIT("x"), {.kind = CE_AMQP_BYTES, .text = {NULL, 0}}},
        {SLICE_INIT("leat_mode"), {.kind = CE_AMQP_STRING, .text = {NULL, 0}}},
        {SLICE_INIT("traceparent"), {.kind = CE_AMQP_STRING, .text = {NULL, 0}}},
    };
    struct ce_amqp_message m = {
        .headers = headers, .header_count = COUNT(headers), .fallback_id = SLICE_INIT("1"), .queue = SLICE_INIT("q")};
    survives(&m, &plain);
    survives(&m, &source);
    m = (struct ce_amqp_message){.fallback_id = SLICE_INIT("1")};
    survives(&m, &plain);
    survives(&m, &source);
}

/* Without a prefix a message may bring more than an event can hold; those of the source's owner are kept. */
static void too_many_headers_are_left_out_or_refused(void **state)
{
    (void)state;
    struct message m;
    const struct ce_event *e = NULL;
    struct diag d;
    message_init(&m);
    message_lines(&m, SLICE("specversion= 1.0\nid= 1\nsource= /s\ntype= t\n"));
    for (int i = 0; i < 300; i++) {
        char name[20];
        snprintf(name, sizeof name, "n%d", i);
        message_add(&m, slice_str(name), message_value(SLICE("v")));
    }
    assert_int_equal(ce_amqp_decode(&m.m, &source, &e, &d), OK);
    assert_int_equal(ce_event_attribute_count(e), CE_ATTRIBUTES_MAX);
    ce_event_unref(e);
    message_fini(&m);
}

/* ---- allocations ---- */

typedef enum err body_fn(const struct message *m, const struct ce_event **out, struct diag *d);

static enum err decodes(const struct message *m, const struct ce_event **out, struct diag *d)
{
    return ce_amqp_decode(&m->m, &plain, out, d);
}

static enum err decodes_all(const struct message *m, const struct ce_event **out, struct diag *d)
{
    return ce_amqp_decode(&m->m, &source, out, d);
}

static enum err wraps(const struct message *m, const struct ce_event **out, struct diag *d)
{
    return ce_amqp_wrap(&m->m, &source, out, d);
}

/* How many allocations there are; each fails once. */
static unsigned with_faults(body_fn *body, const struct message *m)
{
    for (unsigned n = 1;; n++) {
        const struct ce_event *out = NULL;
        struct diag d = {0, 0, ""};
        fault_arm(n);
        enum err e = body(m, &out, &d);
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
    struct message m;
    message_init(&m);
    message_lines(&m, SLICE("CE-SpecVersion= 1.0\nce-id= 1\nce-source= /s\nce-type= t\nleat_mode= structured\n"));
    m.m.body = SLICE("{}");
    assert_int_equal(with_faults(decodes, &m), 1); /* the event: the usual one costs nothing else */
    assert_int_equal(with_faults(wraps, &m), 2);   /* its texts */
    message_add(&m, SLICE("ce-n"), message_value(SLICE("(int)7")));
    assert_int_equal(with_faults(decodes, &m), 2); /* values that are no text */
    for (int i = 0; i < 8; i++) {
        memset(name, 'A' + i, CE_NAME_LEN_MAX);
        memcpy(name, "ce-", 3);
        message_add(&m, slice_of(name, CE_NAME_LEN_MAX), message_value(SLICE("v")));
    }
    assert_int_equal(with_faults(decodes, &m), 3); /* scratch memory for names to be lowered */
    message_fini(&m);
    message_init(&m);
    message_lines(&m, SLICE("SpecVersion= 1.0\nid= 1\ntype= t\nbin= (bytes)\n"));
    assert_int_equal(with_faults(decodes_all, &m), 2);
    message_fini(&m);
    message_init(&m);
    message_lines(&m, SLICE("ce-specversion= 1.0\nce-id= 1\nce-source= /s\nce-type= t\nce-bin= (bytes)\n"));
    assert_int_equal(with_faults(decodes, &m), 2); /* also where that takes no room */
    message_fini(&m);
    message_init(&m);
    m.m.content_type = SLICE("application/cloudevents+json");
    m.m.body = SLICE("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}");
    assert_int_equal(with_faults(decodes, &m), 1);
    assert_int_equal(with_faults(decodes_all, &m), 2); /* out of the envelope, and with the overrides */
    message_fini(&m);
}

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
    prng_seed(&p, 45);
    for (int i = 0; i < 200; i++) {
        const struct ce_event *e = random_event(&p);
        for (unsigned n = 1;; n++) {
            struct ce_amqp_written out = {.body = SLICE_INIT("untouched")};
            struct buf scratch;
            size_t headers = 0;
            buf_init(&scratch, 1 << 20);
            fault_arm(n);
            enum err got = ce_amqp_encode(e, (enum ce_mode)(i % 2), true, 0, &scratch, count_header, &headers, &out);
            bool fired = fault_disarm();
            assert_int_equal(got, fired ? ERR_NOMEM : OK);
            assert_true(!fired || slice_eq_str(out.body, "untouched"));
            buf_fini(&scratch);
            if (!fired)
                break;
        }
        ce_event_unref(e);
    }
}

static void an_envelope_beyond_the_scratch_is_too_large(void **state)
{
    (void)state;
    static char value[FRAME_MIN];
    memset(value, 'v', sizeof value);
    const struct ce_event *e = event_with(SLICE("1"), SLICE("x"), slice_of(value, sizeof value), SLICE("a/b"));
    struct ce_amqp_written out = {.body = SLICE_INIT("untouched")};
    struct buf scratch;
    size_t headers = 0;
    buf_init(&scratch, FRAME_MIN);
    assert_int_equal(ce_amqp_encode(e, CE_MODE_BINARY, true, FRAME_MIN, &scratch, count_header, &headers, &out),
                     ERR_TOO_LARGE);
    assert_true(slice_eq_str(out.body, "untouched") && !headers);
    assert_int_equal(ce_amqp_encode(e, CE_MODE_BINARY, true, 0, &scratch, count_header, &headers, &out), OK);
    buf_fini(&scratch);
    ce_event_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binary_mode_brings_every_event_back),
        cmocka_unit_test(structured_mode_brings_every_event_back),
        cmocka_unit_test(what_does_not_fit_a_frame_goes_in_an_envelope),
        cmocka_unit_test(short_strings_have_255_bytes),
        cmocka_unit_test(every_event_fits_every_frame),
        cmocka_unit_test(a_frame_too_small_for_anything_is_harmless),
        cmocka_unit_test(what_is_carried_is_cut_to_the_frame),
        cmocka_unit_test(garbled_messages_are_read_or_refused),
        cmocka_unit_test(empty_headers_are_harmless),
        cmocka_unit_test(too_many_headers_are_left_out_or_refused),
        cmocka_unit_test(reading_without_memory),
        cmocka_unit_test(writing_without_memory),
        cmocka_unit_test(an_envelope_beyond_the_scratch_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
