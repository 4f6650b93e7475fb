/* SPDX-License-Identifier: Apache-2.0
 *
 * Delivery to the subscriber: requests, retries to the nanosecond, credit, filters, updates, revocation, counters,
 * the log. And random scripts under one oracle: every event ends exactly once, no destination is tried too often,
 * nothing is left.
 */
#include "../lib/dispatcher_rig.h"

static struct rig *setup(void)
{
    return rig_new(1);
}

static void an_event_goes_out_once_and_is_acked(void **state)
{
    (void)state;
    struct rig *r = setup();
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_string_equal(r->trace, "S");
    assert_ptr_equal(r->seen[0].event, r->bus.events[0].event);
    assert_true(r->seen[0].want_reply);
    assert_int_equal(r->seen[0].format, -1);
    assert_int_equal(r->seen[0].timeout_ns, 30 * NS_PER_S);
    assert_string_equal(r->seen[0].namespace_name, "ns");
    assert_int_equal(r->bus.events[0].state, RIG_ACKED);
    assert_int_equal(r->counters.attempts, 1);
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->counters.retries + r->counters.failed_attempts + r->counters.in_flight, 0);
    assert_int_equal(rig_log_lines(r, ""), 0); /* a delivery is nobody's news */
    rig_free(r);
}

static void timeout_and_format_of_the_terms_reach_the_sink(void **state)
{
    (void)state;
    struct rig *r = setup();
    r->spec.delivery.timeout_ns = 7 * NS_PER_S;
    r->spec.delivery.format = CE_MODE_STRUCTURED;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->seen[0].timeout_ns, 7 * NS_PER_S);
    assert_int_equal(r->seen[0].format, CE_MODE_STRUCTURED);
    rig_free(r);
}

static void retries_wait_exponentially_to_the_nanosecond(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 500}, {.status = 404}, {.err = ERR_UNAVAILABLE}, {.status = 429},
               {.status = 204});
    r->spec.delivery.retry = 4;
    r->spec.delivery.backoff_delay_ns = 1000000007;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    static const uint64_t waits[] = {1000000007, 2000000014, 4000000028, 8000000056};
    for (size_t n = 0; n < 4; n++) {
        clock_fake_advance(&r->clock, waits[n] - 1);
        rig_turn(r);
        assert_int_equal(r->seen_count, n + 1);
        clock_fake_advance(&r->clock, 1);
        rig_turn(r);
        assert_int_equal(r->seen_count, n + 2);
    }
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->counters.retries, 4);
    assert_int_equal(r->counters.failed_attempts, 4);
    rig_free(r);
}

static void where_no_failure_is_final_each_is_tried_again(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 400}, {.status = 500}, {.err = ERR_TOO_LARGE}, {.status = 410},
               {.err = ERR_UNAVAILABLE}, {.status = 202});
    r->spec.delivery.forever = true;
    r->spec.delivery.backoff_delay_ns = MS;
    rig_publish(r);
    rig_start(r);
    for (size_t n = 0; n < 5; n++) {
        rig_turn(r);
        assert_int_equal(r->seen_count, n + 1);
        assert_int_not_equal(r->bus.events[0].state, RIG_ACKED);
        clock_fake_advance(&r->clock, NS_PER_S);
    }
    rig_turn(r);
    assert_string_equal(r->trace, "SSSSSS");
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->counters.parked, 0);
    assert_int_equal(r->bus.events[0].state, RIG_ACKED);
    rig_free(r);
}

static void retries_wait_linearly_and_the_answers_delay_does_not_count(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 503, .delay_ns = 10 * MS}, {.status = 503, .delay_ns = 10 * MS},
               {.status = 503}, {.status = 200});
    r->spec.delivery.retry = 3;
    r->spec.delivery.backoff_policy = BACKOFF_LINEAR;
    r->spec.delivery.backoff_delay_ns = 100 * MS;
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 1000 * MS, MS);
    assert_string_equal(r->trace, "SSSS");
    assert_int_equal(rig_after(r, 1), 110 * MS);
    assert_int_equal(rig_after(r, 2), 320 * MS);
    assert_int_equal(rig_after(r, 3), 620 * MS);
    rig_free(r);
}

static void retry_after_lengthens_the_wait_within_its_bound(void **state)
{
    (void)state;
    static const struct {
        int status;
        uint64_t asked_ms, most_ms, expected_ms;
    } rows[] = {
        {429, 900, 2000, 900},   {503, 900, 2000, 900},
        {503, 9000, 2000, 2000}, {503, 100, 2000, 200}, /* the backoff is longer */
        {503, 900, 0, 200},      {500, 900, 2000, 200},
        {408, 900, 2000, 200},   {503, 0, 2000, 200},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig *r = setup();
        struct rig_step steps[] = {{.status = rows[i].status, .retry_after_ns = rows[i].asked_ms * MS},
                                   {.status = 200}};
        rig_script(&r->subscriber, steps, 2);
        r->spec.delivery.retry = 1;
        r->spec.delivery.retry_after_max_ns = rows[i].most_ms * MS;
        rig_publish(r);
        rig_start(r);
        rig_pass(r, 10 * NS_PER_S, 10 * MS);
        assert_string_equal(r->trace, "SS");
        assert_int_equal(rig_after(r, 1), rows[i].expected_ms * MS);
        rig_free(r);
    }
}

static void retry_after_may_pass_the_backoff_cap(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 503, .retry_after_ns = 3 * NS_PER_S}, {.status = 200});
    r->spec.delivery.retry = 1;
    r->spec.delivery.backoff_max_ns = NS_PER_S;
    r->spec.delivery.retry_after_max_ns = 10 * NS_PER_S;
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 4 * NS_PER_S, 100 * MS);
    assert_int_equal(rig_after(r, 1), 3 * NS_PER_S);
    rig_free(r);
}

static void each_answer_is_retried_or_fails_at_once(void **state)
{
    (void)state;
    static const struct {
        struct rig_step step;
        bool again;
    } rows[] = {
        {{.status = 100}, false},         {{.status = 301}, false},        {{.status = 302}, false},
        {{.status = 304}, false},         {{.status = 307}, false},        {{.status = 400}, false},
        {{.status = 401}, false},         {{.status = 403}, false},        {{.status = 405}, false},
        {{.status = 410}, false},         {{.status = 413}, false},        {{.status = 422}, false},
        {{.status = 425}, false},         {{.status = 451}, false},        {{.status = 404}, true},
        {{.status = 408}, true},          {{.status = 409}, true},         {{.status = 429}, true},
        {{.status = 500}, true},          {{.status = 501}, true},         {{.status = 599}, true},
        {{.err = ERR_UNAVAILABLE}, true}, {{.err = ERR_PROTOCOL}, true},   {{.hang = true}, true},
        {{.at_once = ERR_FULL}, true},    {{.at_once = ERR_NOMEM}, true},  {{.at_once = ERR_CLOSED}, true},
        {{.err = ERR_FULL}, true},        {{.err = ERR_TOO_LARGE}, false}, {{.at_once = ERR_TOO_LARGE}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig *r = setup();
        rig_script(&r->subscriber, &rows[i].step, 1);
        r->spec.delivery.retry = 2;
        r->spec.delivery.timeout_ns = 50 * MS;
        rig_publish(r);
        rig_start(r);
        rig_pass(r, 2 * NS_PER_S, 10 * MS);
        assert_string_equal(r->trace, rows[i].again ? "SSS" : "S");
        assert_int_equal(r->park.parked, 1);
        assert_int_equal(r->park.attempts, rows[i].again ? 3 : 1);
        assert_int_equal(r->bus.events[0].state, RIG_ACKED);
        rig_free(r);
    }
}

static void a_slow_subscriber_times_out_into_a_retry(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.hang = true}, {.status = 200});
    r->spec.delivery.retry = 1;
    r->spec.delivery.timeout_ns = 300 * MS;
    rig_publish(r);
    rig_start(r);
    rig_pass(r, NS_PER_S, 10 * MS);
    assert_int_equal(rig_after(r, 1), 500 * MS);
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);
}

static void others_pass_an_event_that_waits_but_its_place_stays_taken(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 500}, {.status = 200});
    r->spec.delivery.retry = 1;
    r->spec.in_flight_max = 2;
    for (int i = 0; i < 10; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->seen_count, 10);
    assert_int_equal(r->counters.delivered, 9);
    assert_int_equal(r->counters.in_flight, 1);
    assert_int_equal(r->bus.credit, 1);
    rig_pass(r, 200 * MS, 50 * MS);
    assert_int_equal(r->counters.delivered, 10);
    assert_int_equal(r->bus.credit, 2);
    assert_true(r->bus.unsettled_max <= 2);
    rig_free(r);
}

static void the_bus_never_has_more_out_than_the_limit(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    r->spec.in_flight_max = 3;
    for (int i = 0; i < 20; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->seen_count, 3);
    rig_pass(r, 70 * MS, 10 * MS);
    assert_int_equal(r->counters.delivered, 20);
    assert_int_equal(r->bus.unsettled_max, 3);
    rig_free(r);
    r = setup(); /* and without a word it is DISPATCH_IN_FLIGHT */
    RIG_SCRIPT(&r->subscriber, {.hang = true});
    for (int i = 0; i < 100; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->seen_count, DISPATCH_IN_FLIGHT);
    rig_free(r);
}

static struct filter *even_ids(void)
{
    struct filter *last[5], *any;
    for (size_t i = 0; i < 5; i++) {
        char digit[2] = {(char)('0' + 2 * i), '\0'};
        assert_int_equal(filter_attribute(FILTER_SUFFIX, SLICE("id"), slice_str(digit), &last[i], NULL), OK);
    }
    assert_int_equal(filter_join(FILTER_ANY, last, 5, &any, NULL), OK);
    for (size_t i = 0; i < 5; i++)
        filter_unref(last[i]);
    return any;
}

static void what_the_filter_refuses_is_acked_unsent(void **state)
{
    (void)state;
    struct rig *r = setup();
    struct filter *filter = even_ids();
    r->spec.filter = filter;
    r->spec.in_flight_max = 1;
    for (int i = 0; i < 10; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    filter_unref(filter);
    assert_string_equal(r->trace, "SSSSS");
    assert_int_equal(r->counters.filtered, 5);
    assert_int_equal(r->counters.delivered, 5);
    for (int i = 0; i < 10; i++)
        assert_int_equal(r->bus.events[i].state, RIG_ACKED);
    rig_free(r);
}

static void an_update_serves_the_next_attempt_and_the_count_carries_over(void **state)
{
    (void)state;
    struct rig *r = setup();
    struct rig_sink other;
    rig_sink_init(&other, r, 'T', "http://other.example/");
    RIG_SCRIPT(&r->subscriber, {.status = 500, .delay_ns = 100 * MS});
    RIG_SCRIPT(&other, {.status = 500});
    r->spec.delivery.retry = 5;
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 50 * MS, 10 * MS);
    struct dispatch_spec next = r->spec;
    next.subscriber = &other.base;
    next.delivery.retry = 2;
    next.delivery.backoff_delay_ns = NS_PER_S;
    assert_int_equal(dispatch_stream_update(r->stream, &next), OK);
    assert_true(r->subscriber.base.refs > 1); /* its attempt is under way */
    rig_pass(r, 10 * NS_PER_S, 10 * MS);
    assert_int_equal(r->subscriber.base.refs, 1);
    assert_string_equal(r->trace, "STT"); /* three tries in all: retry = 2 */
    assert_int_equal(rig_after(r, 1), 1100 * MS);
    assert_int_equal(rig_after(r, 2), 3100 * MS);
    assert_int_equal(r->park.attempts, 3);
    assert_string_equal(r->park.destination, "http://other.example/");
    rig_free(r);
    assert_int_equal(other.base.refs, 1);
}

static void an_update_of_the_limit_moves_the_credit(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 200, .delay_ns = 10 * MS});
    r->spec.in_flight_max = 4;
    for (int i = 0; i < 40; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->bus.out, 4);
    r->spec.in_flight_max = 1;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_pass(r, 20 * MS, 10 * MS);
    assert_int_equal(r->bus.out, 1);
    r->spec.in_flight_max = 6;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_turn(r);
    assert_int_equal(r->bus.out, 6);
    r->spec.in_flight_max = 2; /* down and up again before anything ended */
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    r->spec.in_flight_max = 5;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_pass(r, 10 * MS, 10 * MS);
    assert_int_equal(r->bus.out, 5);
    rig_pass(r, 200 * MS, 10 * MS);
    assert_int_equal(r->counters.delivered, 40);
    assert_int_equal(r->bus.credit, 5);
    rig_free(r);
}

static void terms_that_lead_nowhere_are_refused_and_change_nothing(void **state)
{
    (void)state;
    struct rig *r = setup();
    struct dispatch_spec bad = r->spec;
    bad.subscriber = NULL;
    assert_int_equal(dispatch_stream_start(r->dispatcher, &r->bus.base, NULL, &bad, &r->stream), ERR_INVALID);
    assert_null(r->stream);
    rig_publish(r);
    rig_start(r);
    assert_int_equal(dispatch_stream_update(r->stream, &bad), ERR_INVALID);
    bad = r->spec;
    bad.delivery.retry = DISPATCH_RETRY_MAX + 1;
    assert_int_equal(dispatch_stream_update(r->stream, &bad), ERR_INVALID);
    rig_turn(r);
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);
}

static void a_revoked_event_is_let_go_and_comes_again(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.hang = true}, {.status = 500}, {.status = 200});
    r->spec.delivery.retry = 1;
    r->spec.in_flight_max = 1;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    rig_revoke(r, 0); /* while it is being sent */
    assert_int_equal(r->subscriber.canceled, 1);
    assert_int_equal(r->counters.in_flight, 0);
    rig_turn(r);
    assert_string_equal(r->trace, "SS"); /* the bus has its credit back and delivers anew */
    rig_revoke(r, 0);                    /* while it waits for its retry */
    rig_turn(r);
    assert_string_equal(r->trace, "SSS");
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SSS");
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);
}

static void an_event_revoked_while_it_is_parked_waits_for_nobody(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 400}, {.status = 200});
    r->park.hold = true;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(r->park.tries, 1);
    rig_revoke(r, 0);
    rig_turn(r);
    assert_int_equal(r->counters.delivered, 1);
    rig_park_answer(r);
    rig_turn(r);
    assert_int_equal(r->counters.parked, 0);
    assert_int_equal(r->bus.events[0].state, RIG_ACKED);
    rig_free(r);
}

static void a_sink_that_hangs_delays_no_other_stream(void **state)
{
    (void)state;
    struct rig *r = setup();
    struct rig_bus *other_bus = calloc(1, sizeof *other_bus);
    assert_non_null(other_bus);
    rig_bus_init(other_bus, r);
    struct rig_sink other;
    rig_sink_init(&other, r, 'T', "http://other.example/");
    struct dispatch_counters counters = {0};
    RIG_SCRIPT(&r->subscriber, {.hang = true});
    for (int i = 0; i < 200; i++) {
        rig_publish(r);
        other_bus->events[other_bus->count++] = (struct rig_event){.event = r->bus.events[i].event};
    }
    rig_start(r);
    struct dispatch_spec spec = r->spec;
    spec.subscriber = &other.base;
    spec.counters = &counters;
    struct dispatch_stream *stream;
    assert_int_equal(dispatch_stream_start(r->dispatcher, &other_bus->base, NULL, &spec, &stream), OK);
    rig_turn(r);
    assert_int_equal(counters.delivered, 200);
    assert_int_equal(r->counters.in_flight, DISPATCH_IN_FLIGHT);
    dispatch_stream_stop(stream, 0, NULL, NULL);
    rig_turn(r);
    assert_false(other_bus->attached);
    rig_free(r);
    free(other_bus);
}

static unsigned troubles;
static void trouble(void *arg, const struct dispatch_trouble *latest)
{
    troubles++;
    assert_string_equal(latest->destination, "http://subscriber.example/");
    assert_int_equal(latest->status, 503);
    assert_ptr_equal(arg, &troubles);
}

static void a_flood_of_failures_is_one_line_a_second(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 503, .body = SLICE_INIT("no")});
    r->spec.delivery.retry = 100;
    r->spec.delivery.backoff_max_ns = 10 * MS;
    r->spec.trouble = trouble;
    r->spec.trouble_arg = &troubles;
    troubles = 0;
    for (int i = 0; i < 20; i++)
        rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_int_equal(rig_log_lines(r, "dispatcher.fail"), 1);
    assert_int_equal(troubles, 1);
    rig_pass(r, 999 * MS, MS);
    assert_int_equal(rig_log_lines(r, "dispatcher.fail"), 1);
    rig_pass(r, MS, MS);
    assert_int_equal(rig_log_lines(r, "dispatcher.fail"), 2);
    assert_int_equal(rig_log_lines(r, "subscription=ns/sub"), 2);
    assert_int_equal(rig_log_lines(r, "http://subscriber.example/"), 2);
    rig_pass(r, 10 * NS_PER_S, 10 * MS);
    unsigned lines = rig_log_lines(r, "dispatcher.fail");
    rig_pass(r, 10 * NS_PER_S, 100 * MS);
    assert_int_equal(rig_log_lines(r, "dispatcher.fail"), lines); /* quiet again */
    assert_int_equal(troubles, lines);                            /* whoever wants to know hears as much */
    rig_free(r);
}

/* ---- random scripts ---- */

static unsigned destination_tries(const struct rig *r, char who, size_t event)
{
    unsigned n = 0;
    char id[24];
    snprintf(id, sizeof id, "%zu", event);
    for (size_t i = 0; i < r->seen_count; i++)
        n += r->seen[i].who == who && slice_eq_str(ce_event_id(r->seen[i].event), id);
    return n;
}

static void random_run(uint64_t seed, bool with_revocations)
{
    struct rig *r = rig_new(seed);
    struct prng random;
    prng_seed(&random, seed * 7 + 1);
    r->subscriber.random = r->reply.random = r->dead_letter.random = &random;
    if (prng_below(&random, 4))
        r->spec.dead_letter = &r->dead_letter.base;
    r->spec.delivery.retry = (unsigned)prng_below(&random, 4);
    r->spec.delivery.jitter_percent = 10;
    r->spec.delivery.timeout_ns = 100 * MS;
    r->spec.delivery.backoff_policy = prng_below(&random, 2) ? BACKOFF_LINEAR : BACKOFF_EXPONENTIAL;
    r->spec.delivery.retry_after_max_ns = prng_below(&random, 2) * NS_PER_S;
    r->spec.reply_must_be_event = prng_below(&random, 2);
    r->spec.in_flight_max = 1 + (unsigned)prng_below(&random, 8);
    r->park.failures_first = (unsigned)prng_below(&random, 5);
    const unsigned events = 40;
    for (unsigned i = 0; i < events; i++)
        rig_publish(r);
    rig_start(r);
    for (unsigned i = 0; i < 4000 && (i < 200 || r->bus.out || r->bus.credit != r->spec.in_flight_max); i++) {
        rig_pass(r, 50 * MS, 10 * MS);
        size_t victim = (size_t)prng_below(&random, events);
        if (with_revocations && r->bus.events[victim].state == RIG_OUT && i < 100)
            rig_revoke(r, victim);
    }
    for (unsigned i = 0; i < events; i++) {
        assert_int_equal(r->bus.events[i].state, RIG_ACKED); /* exactly once: the bus refuses a second settle */
        if (with_revocations)
            continue;
        assert_int_equal(r->bus.events[i].deliveries, 1);
        assert_in_range(destination_tries(r, 'S', i), 1, r->spec.delivery.retry + 1);
        assert_in_range(destination_tries(r, 'D', i), 0, r->spec.delivery.retry + 1);
    }
    const struct dispatch_counters *c = &r->counters;
    assert_int_equal(c->delivered + c->dead_lettered + c->parked, events);
    assert_int_equal(c->attempts, r->seen_count);
    assert_true(r->bus.unsettled_max <= r->spec.in_flight_max);
    if (!with_revocations)
        assert_int_equal(c->parked, r->park.parked);
    rig_free(r);
}

static void random_scripts_end_every_event_exactly_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        random_run(seed, false);
}

static void random_revocations_lose_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        random_run(seed, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_goes_out_once_and_is_acked),
        cmocka_unit_test(timeout_and_format_of_the_terms_reach_the_sink),
        cmocka_unit_test(retries_wait_exponentially_to_the_nanosecond),
        cmocka_unit_test(where_no_failure_is_final_each_is_tried_again),
        cmocka_unit_test(retries_wait_linearly_and_the_answers_delay_does_not_count),
        cmocka_unit_test(retry_after_lengthens_the_wait_within_its_bound),
        cmocka_unit_test(retry_after_may_pass_the_backoff_cap),
        cmocka_unit_test(each_answer_is_retried_or_fails_at_once),
        cmocka_unit_test(a_slow_subscriber_times_out_into_a_retry),
        cmocka_unit_test(others_pass_an_event_that_waits_but_its_place_stays_taken),
        cmocka_unit_test(the_bus_never_has_more_out_than_the_limit),
        cmocka_unit_test(what_the_filter_refuses_is_acked_unsent),
        cmocka_unit_test(an_update_serves_the_next_attempt_and_the_count_carries_over),
        cmocka_unit_test(an_update_of_the_limit_moves_the_credit),
        cmocka_unit_test(terms_that_lead_nowhere_are_refused_and_change_nothing),
        cmocka_unit_test(a_revoked_event_is_let_go_and_comes_again),
        cmocka_unit_test(an_event_revoked_while_it_is_parked_waits_for_nobody),
        cmocka_unit_test(a_sink_that_hangs_delays_no_other_stream),
        cmocka_unit_test(a_flood_of_failures_is_one_line_a_second),
        cmocka_unit_test(random_scripts_end_every_event_exactly_once),
        cmocka_unit_test(random_revocations_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
