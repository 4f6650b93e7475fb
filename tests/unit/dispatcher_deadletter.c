/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of failures: the dead letter sink and its extensions, parking. The first test replays what Knative's
 * Go data plane was observed to do, row by row, with our decisions where they differ (docs/internals/dispatcher.md).
 */
#include "../lib/dispatcher_rig.h"

#define BODY_1M (1u << 20)
static char big[BODY_1M];

static const struct ce_event *reply_event;

static void base64_is(const char *text, struct slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = 0;
    for (size_t i = 0; i < bytes.len; i += 3) {
        unsigned v = 0;
        for (size_t j = 0; j < 3; j++)
            v = v << 8 | (i + j < bytes.len ? (unsigned char)bytes.ptr[i + j] : 0);
        for (size_t j = 0; j < 4; j++) {
            char expected = i + j > bytes.len ? '=' : digits[v >> (18 - 6 * j) & 63];
            assert_int_equal(text[at++], expected);
        }
    }
    assert_int_equal(text[at], '\0');
}

static struct rig *setup(void)
{
    struct rig *r = rig_new(1);
    r->spec.reply = &r->reply.base;
    r->spec.dead_letter = &r->dead_letter.base;
    return r;
}

static void run(struct rig *r)
{
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 5 * NS_PER_S, 100 * MS);
    assert_int_equal(r->bus.events[0].state, RIG_ACKED);
}

/* The dead letter: the last request to D. */
static const struct ce_event *dead_letter(const struct rig *r)
{
    for (size_t i = r->seen_count; i-- > 0;)
        if (r->seen[i].who == 'D') {
            assert_false(r->seen[i].want_reply);
            assert_int_equal(r->seen[i].format, -1);
            return r->seen[i].event;
        }
    fail_msg("no dead letter in %s", r->trace);
    return NULL;
}

#define SUB "http://subscriber.example/"
#define REP "http://reply.example/"

static void the_observed_transcript_holds(void **state)
{
    (void)state;
    static const struct row {
        const char *what;
        struct rig_step subscriber, reply, dead;
        unsigned retry;
        bool with_reply; /* the subscriber's answer carries an event */
        const char *trace, *dest, *code, *data;
        enum dispatch_end end;
    } rows[] = {
        {"202 with an event: never a reply",
         {.status = 202},
         {.status = 200},
         {.status = 200},
         0,
         true,
         "S",
         NULL,
         NULL,
         NULL,
         DISPATCH_DELIVERED},
        {"200 text/plain",
         {.status = 200, .body = SLICE_INIT("hello"), .malformed = true},
         {.status = 200},
         {.status = 200},
         0,
         false,
         "S",
         NULL,
         NULL,
         NULL,
         DISPATCH_DELIVERED},
        {"reply fails",
         {.status = 200},
         {.status = 503, .body = SLICE_INIT("rbad")},
         {.status = 202},
         1,
         true,
         "SRRD",
         REP,
         "503",
         "cmJhZA==",
         DISPATCH_DEAD_LETTERED},
        {"refused connection",
         {.err = ERR_UNAVAILABLE, .detail = "connection refused"},
         {.status = 200},
         {.status = 200},
         1,
         false,
         "SSD",
         SUB,
         "500",
         "Y29ubmVjdGlvbiByZWZ1c2Vk",
         DISPATCH_DEAD_LETTERED},
        {"500 empty, dead letter sink 500",
         {.status = 500},
         {.status = 200},
         {.status = 500},
         2,
         false,
         "SSSDDD",
         SUB,
         "500",
         "(none)",
         DISPATCH_PARKED},
        {"302 is not followed",
         {.status = 302},
         {.status = 200},
         {.status = 200},
         3,
         false,
         "SD",
         SUB,
         "302",
         "(none)",
         DISPATCH_DEAD_LETTERED},
        {"304",
         {.status = 304},
         {.status = 200},
         {.status = 200},
         3,
         false,
         "SD",
         SUB,
         "304",
         "(none)",
         DISPATCH_DEAD_LETTERED},
        {"422 empty",
         {.status = 422},
         {.status = 200},
         {.status = 200},
         3,
         false,
         "SD",
         SUB,
         "422",
         "(none)",
         DISPATCH_DEAD_LETTERED},
        {"422 with a message",
         {.status = 422, .body = SLICE_INIT("{ \"message\": \"catastrophic failure\" }")},
         {.status = 200},
         {.status = 200},
         0,
         false,
         "SD",
         SUB,
         "422",
         "eyAibWVzc2FnZSI6ICJjYXRhc3Ryb3BoaWMgZmFpbHVyZSIgfQ==",
         DISPATCH_DEAD_LETTERED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct rig *r = setup();
        struct rig_step subscriber = row->subscriber;
        if (row->with_reply)
            subscriber.reply = reply_event;
        rig_script(&r->subscriber, &subscriber, 1);
        rig_script(&r->reply, &row->reply, 1);
        rig_script(&r->dead_letter, &row->dead, 1);
        r->spec.delivery.retry = row->retry;
        run(r);
        if (strcmp(r->trace, row->trace) != 0)
            fail_msg("%s: %s", row->what, r->trace);
        if (row->dest) {
            const struct ce_event *e = dead_letter(r);
            assert_true(slice_eq(ce_event_id(e), SLICE("0")));
            assert_true(slice_eq(ce_event_data(e), SLICE("payload")));
            assert_int_equal(ce_event_header_count(e), 1);
            assert_string_equal(rig_attribute(e, "knativeerrordest"), row->dest);
            assert_string_equal(rig_attribute(e, "knativeerrorcode"), row->code);
            assert_string_equal(rig_attribute(e, "knativeerrordata"), row->data);
        }
        assert_int_equal(r->counters.delivered, row->end == DISPATCH_DELIVERED);
        assert_int_equal(r->counters.dead_lettered, row->end == DISPATCH_DEAD_LETTERED);
        assert_int_equal(r->counters.parked, row->end == DISPATCH_PARKED);
        assert_int_equal(r->park.parked, row->end == DISPATCH_PARKED);
        rig_free(r);
    }
}

static void of_an_error_body_768_bytes_are_kept(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 767, 768, 769, 1024, 36864, BODY_1M};
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 131 + 7); /* all byte values, NUL among them */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct rig *r = setup();
        struct rig_step step = {.status = 422, .body = slice_of(big, sizes[i])};
        rig_script(&r->subscriber, &step, 1);
        run(r);
        const char *data = rig_attribute(dead_letter(r), "knativeerrordata");
        base64_is(data, slice_of(big, sizes[i] < 768 ? sizes[i] : 768));
        assert_true(strlen(data) <= 1024);
        rig_free(r);
    }
}

static void the_dead_letter_sink_has_its_own_count_of_retries(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 500});
    RIG_SCRIPT(&r->dead_letter, {.err = ERR_UNAVAILABLE}, {.status = 429}, {.status = 200});
    r->spec.delivery.retry = 2;
    run(r);
    assert_string_equal(r->trace, "SSSDDD");
    uint64_t start = r->seen[0].at_ns;
    static const uint64_t at_ms[] = {0, 200, 600, 600, 800, 1200};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(r->seen[i].at_ns - start, at_ms[i] * MS);
    assert_int_equal(r->counters.dead_lettered, 1);
    rig_free(r);
}

static void extensions_of_an_earlier_failure_are_replaced(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 410});
    rig_publish(r);
    struct ce_builder b;
    const struct ce_event *e = NULL;
    ce_builder_from(&b, r->bus.events[0].event);
    ce_builder_set(&b, SLICE("knativeerrordest"), CE_STRING, SLICE("http://old.example/"));
    ce_builder_set(&b, SLICE("knativeerrordata"), CE_STRING, SLICE("b2xk"));
    ce_builder_set(&b, SLICE("traceparent"), CE_STRING,
                   SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    ce_event_unref(r->bus.events[0].event);
    r->bus.events[0].event = e;
    rig_start(r);
    rig_turn(r);
    const struct ce_event *dead = dead_letter(r);
    assert_string_equal(rig_attribute(dead, "knativeerrordest"), SUB);
    assert_string_equal(rig_attribute(dead, "knativeerrorcode"), "410");
    assert_string_equal(rig_attribute(dead, "knativeerrordata"), "(none)");
    assert_string_equal(rig_attribute(dead, "traceparent"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    rig_free(r);
}

static void without_a_dead_letter_sink_the_event_is_parked(void **state)
{
    (void)state;
    struct rig *r = setup();
    r->spec.dead_letter = NULL;
    RIG_SCRIPT(&r->subscriber, {.status = 500, .body = SLICE_INIT("broken")});
    r->spec.delivery.retry = 1;
    run(r);
    assert_string_equal(r->trace, "SS");
    assert_int_equal(r->park.parked, 1);
    assert_string_equal(r->park.destination, SUB);
    assert_string_equal(r->park.cause, "");
    assert_int_equal(r->park.status, 500);
    assert_int_equal(r->park.err, OK);
    assert_int_equal(r->park.attempts, 2);
    assert_int_equal(r->park.data_len, 6);
    assert_memory_equal(r->park.data, "broken", 6);
    rig_free(r);
}

static void a_dead_letter_sink_that_fails_parks_with_both_failures(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 422});
    RIG_SCRIPT(&r->dead_letter, {.err = ERR_UNAVAILABLE, .detail = "connection refused"});
    run(r);
    assert_string_equal(r->trace, "SD");
    assert_string_equal(r->park.destination, "http://dead.example/");
    assert_string_equal(r->park.cause, SUB);
    assert_int_equal(r->park.status, 0);
    assert_int_equal(r->park.err, ERR_UNAVAILABLE);
    assert_memory_equal(r->park.data, "connection refused", 18);
    assert_int_equal(r->park.attempts, 1);
    rig_free(r);
}

static void parking_that_fails_is_tried_until_it_holds(void **state)
{
    (void)state;
    struct rig *r = setup();
    r->spec.dead_letter = NULL;
    r->park.failures_first = 12;
    RIG_SCRIPT(&r->subscriber, {.status = 400});
    r->spec.delivery.backoff_delay_ns = NS_PER_S;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->park.tries, 1);
    static const unsigned waits_s[] = {1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30}; /* never above half a minute */
    for (unsigned n = 0; n < 12; n++) {
        assert_int_equal(r->bus.events[0].state, RIG_OUT);
        assert_int_equal(r->counters.in_flight, 1);
        clock_fake_advance(&r->clock, waits_s[n] * NS_PER_S - 1);
        rig_turn(r);
        assert_int_equal(r->park.tries, n + 1);
        clock_fake_advance(&r->clock, 1);
        rig_turn(r);
        assert_int_equal(r->park.tries, n + 2);
    }
    assert_int_equal(r->park.parked, 1);
    assert_int_equal(r->counters.parked, 1);
    assert_int_equal(r->bus.events[0].state, RIG_ACKED);
    assert_string_equal(r->trace, "S");
    rig_free(r);
}

static void an_event_without_room_for_the_extensions_is_parked(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 400});
    rig_publish(r);
    struct ce_builder b;
    const struct ce_event *e = NULL;
    static char names[CE_ATTRIBUTES_MAX][8];
    ce_builder_from(&b, r->bus.events[0].event);
    for (size_t i = b.count; i < CE_ATTRIBUTES_MAX - 1; i++) {
        snprintf(names[i], sizeof names[i], "x%zu", i);
        ce_builder_set(&b, slice_str(names[i]), CE_STRING, SLICE("v"));
    }
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    ce_event_unref(r->bus.events[0].event);
    r->bus.events[0].event = e;
    rig_start(r);
    rig_turn(r);
    assert_string_equal(r->trace, "S");
    assert_int_equal(r->park.parked, 1);
    rig_free(r);
}

static void a_flaky_subscriber_splits_the_events_between_the_two(void **state)
{
    (void)state;
    struct rig *r = setup();
    static struct rig_step steps[10];
    for (size_t i = 0; i < 10; i++)
        steps[i] = (struct rig_step){.status = i % 3 == 0 ? 422 : 200};
    rig_script(&r->subscriber, steps, 10);
    for (int i = 0; i < 10; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->counters.delivered, 6);
    assert_int_equal(r->counters.dead_lettered, 4);
    assert_int_equal(rig_log_lines(r, "dispatcher.fail"), 1);
    rig_free(r);
}

static void an_update_that_takes_the_dead_letter_sink_away_parks(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 422});
    RIG_SCRIPT(&r->dead_letter, {.status = 500});
    r->spec.delivery.retry = 3;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_string_equal(r->trace, "SD");
    r->spec.dead_letter = NULL;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SD");
    assert_int_equal(r->park.parked, 1);
    assert_string_equal(r->park.destination, SUB);
    rig_free(r);
}

static int group_setup(void **state)
{
    (void)state;
    reply_event = rig_event("reply");
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    reply_event = ce_event_unref(reply_event);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_observed_transcript_holds),
        cmocka_unit_test(of_an_error_body_768_bytes_are_kept),
        cmocka_unit_test(the_dead_letter_sink_has_its_own_count_of_retries),
        cmocka_unit_test(extensions_of_an_earlier_failure_are_replaced),
        cmocka_unit_test(without_a_dead_letter_sink_the_event_is_parked),
        cmocka_unit_test(a_dead_letter_sink_that_fails_parks_with_both_failures),
        cmocka_unit_test(parking_that_fails_is_tried_until_it_holds),
        cmocka_unit_test(an_event_without_room_for_the_extensions_is_parked),
        cmocka_unit_test(a_flaky_subscriber_splits_the_events_between_the_two),
        cmocka_unit_test(an_update_that_takes_the_dead_letter_sink_away_parks),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
