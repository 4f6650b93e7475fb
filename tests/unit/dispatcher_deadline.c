/* SPDX-License-Identifier: Apache-2.0
 *
 * Which failures are tried again where the user says so, for how long in all, and what a parked event tells of it.
 */
#include "../lib/dispatcher_rig.h"

static void retry_on_status(struct delivery *d, int status)
{
    d->retry_on.given = true;
    d->retry_on.codes[status / 64] |= 1ull << (status % 64);
}

static void the_users_list_replaces_the_rule(void **state)
{
    (void)state;
    static const struct {
        struct rig_step step;
        bool again;
    } rows[] = {
        {{.status = 400}, true},          {{.status = 418}, true},         {{.status = 599}, true},
        {{.status = 500}, false},         {{.status = 429}, false},        {{.status = 401}, false},
        {{.err = ERR_UNAVAILABLE}, true}, {{.hang = true}, true},          {{.at_once = ERR_FULL}, true},
        {{.err = ERR_PROTOCOL}, true},    {{.err = ERR_TOO_LARGE}, false}, /* never works, whatever the list says */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig *r = rig_new(1);
        rig_script(&r->subscriber, &rows[i].step, 1);
        r->spec.delivery.retry = 1;
        r->spec.delivery.timeout_ns = 50 * MS;
        r->spec.delivery.retry_on.no_answer = true;
        retry_on_status(&r->spec.delivery, 400);
        retry_on_status(&r->spec.delivery, 418);
        retry_on_status(&r->spec.delivery, 599);
        rig_publish(r);
        rig_start(r);
        rig_pass(r, NS_PER_S, 10 * MS);
        assert_string_equal(r->trace, rows[i].again ? "SS" : "S");
        assert_string_equal(r->park.reason, rows[i].again                       ? "retries-exhausted"
                                            : rows[i].step.err == ERR_TOO_LARGE ? "too-large"
                                                                                : "not-retryable");
        rig_free(r);
    }
}

static void without_no_answer_in_the_list_silence_is_final(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.err = ERR_UNAVAILABLE});
    r->spec.delivery.retry = 5;
    retry_on_status(&r->spec.delivery, 500);
    rig_publish(r);
    rig_start(r);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "S");
    assert_int_equal(r->park.parked, 1);
    rig_free(r);
}

/* Waits of 200, 400, 800 ms: attempts at 0, 200, 600, 1400 ms. */
static void no_attempt_begins_after_the_deadline(void **state)
{
    (void)state;
    static const struct {
        uint64_t deadline_ns;
        const char *trace;
        uint64_t parked_at_ns;
    } rows[] = {{600 * MS, "SSS", 600 * MS},    /* an attempt at the deadline itself is in time */
                {600 * MS - 1, "SS", 200 * MS}, /* given up as soon as no other can be in time */
                {1400 * MS, "SSSS", 1400 * MS},
                {1, "S", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig *r = rig_new(1);
        RIG_SCRIPT(&r->subscriber, {.status = 503, .body = SLICE_INIT("busy")});
        r->spec.delivery.retry = 100;
        r->spec.delivery.deadline_ns = rows[i].deadline_ns;
        rig_publish(r);
        rig_start(r);
        rig_turn(r);
        uint64_t at = 0;
        while (r->park.parked == 0 && at < 10 * NS_PER_S) {
            clock_fake_advance(&r->clock, 100 * MS);
            at += 100 * MS;
            rig_turn(r);
        }
        assert_string_equal(r->trace, rows[i].trace);
        assert_string_equal(r->park.reason, "deadline");
        assert_int_equal(r->park.status, 503); /* the last answer, not a word about the deadline */
        assert_true(at == rows[i].parked_at_ns || (at == 100 * MS && rows[i].parked_at_ns == 0));
        rig_free(r);
    }
}

static void an_event_whose_deadline_passes_in_a_queue_is_never_sent(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    r->spec.rate_interval_ns = NS_PER_S;
    r->spec.delivery.deadline_ns = 1500 * MS;
    for (int i = 0; i < 9; i++)
        rig_publish(r);
    rig_start(r);
    rig_pass(r, 1500 * MS, 100 * MS);
    assert_int_equal(r->park.parked, 0);
    clock_fake_advance(&r->clock, 1); /* all at that moment, not when each had come to the head of the queue */
    rig_turn(r);
    assert_string_equal(rig_ids(r), "0 1");
    assert_int_equal(r->park.parked, 7);
    assert_string_equal(r->park.reason, "deadline");
    assert_int_equal(r->park.attempts, 0);
    assert_int_equal(r->park.err, ERR_TIMEOUT);
    assert_int_equal(r->counters.attempts, 2);
    rig_free(r);
}

static void the_deadline_holds_for_replies_but_not_for_dead_letters(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    const struct ce_event *reply = rig_event("reply");
    static struct rig_step step;
    step = (struct rig_step){.status = 200, .reply = reply};
    rig_script(&r->subscriber, &step, 1);
    RIG_SCRIPT(&r->reply, {.status = 503});
    RIG_SCRIPT(&r->dead_letter, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 200});
    r->spec.reply = &r->reply.base;
    r->spec.dead_letter = &r->dead_letter.base;
    r->spec.delivery.retry = 3;
    r->spec.delivery.deadline_ns = 300 * MS;
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 5 * NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SRRDDDD");
    assert_int_equal(r->counters.dead_lettered, 1);
    rig_free(r);
    ce_event_unref(reply);
}

static void a_parked_event_tells_why_when_first_and_what_led_there(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 500});
    RIG_SCRIPT(&r->dead_letter, {.status = 403});
    r->spec.dead_letter = &r->dead_letter.base;
    r->spec.delivery.retry = 2;
    rig_pass(r, 3 * NS_PER_S, NS_PER_S); /* before it came */
    int64_t began = r->clock.wall;
    rig_publish(r);
    rig_start(r);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SSSD");
    assert_string_equal(r->park.reason, "not-retryable");
    assert_string_equal(r->park.cause_reason, "retries-exhausted");
    assert_int_equal(r->park.first_wall_ns, began);
    assert_int_equal(r->park.attempts, 3);
    rig_free(r);
}

static void a_reply_only_subscription_counts_its_attempts(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->reply, {.status = 503});
    r->spec.subscriber = NULL;
    r->spec.reply = &r->reply.base;
    r->spec.delivery.retry = 2;
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 2 * NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "RRR");
    assert_int_equal(r->park.attempts, 3);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_users_list_replaces_the_rule),
        cmocka_unit_test(without_no_answer_in_the_list_silence_is_final),
        cmocka_unit_test(no_attempt_begins_after_the_deadline),
        cmocka_unit_test(an_event_whose_deadline_passes_in_a_queue_is_never_sent),
        cmocka_unit_test(the_deadline_holds_for_replies_but_not_for_dead_letters),
        cmocka_unit_test(a_parked_event_tells_why_when_first_and_what_led_there),
        cmocka_unit_test(a_reply_only_subscription_counts_its_attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
