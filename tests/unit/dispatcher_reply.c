/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies: which answers are one, where they go, and what happens when they cannot.
 */
#include "../lib/dispatcher_rig.h"

static const struct ce_event *reply_event;

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

static void answer_with_reply(struct rig *r, int status)
{
    static struct rig_step step;
    step = (struct rig_step){.status = status, .reply = reply_event};
    rig_script(&r->subscriber, &step, 1);
}

static void a_reply_is_sent_on_without_asking_for_another(void **state)
{
    (void)state;
    static const int statuses[] = {200, 201, 203, 206};
    for (size_t i = 0; i < 4; i++) {
        struct rig *r = setup();
        answer_with_reply(r, statuses[i]);
        r->spec.delivery.format = CE_MODE_STRUCTURED;
        run(r);
        assert_string_equal(r->trace, "SR");
        assert_ptr_equal(r->seen[1].event, reply_event);
        assert_false(r->seen[1].want_reply);
        assert_int_equal(r->seen[1].format, -1); /* the format is the subscriber's */
        assert_string_equal(r->seen[1].namespace_name, "ns");
        assert_int_equal(r->counters.replies, 1);
        assert_int_equal(r->counters.delivered, 1);
        rig_free(r);
    }
}

static void the_event_is_settled_only_after_the_reply_was_taken(void **state)
{
    (void)state;
    struct rig *r = setup();
    answer_with_reply(r, 200);
    RIG_SCRIPT(&r->reply, {.status = 202, .delay_ns = 50 * MS});
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 40 * MS, 10 * MS);
    assert_string_equal(r->trace, "SR");
    assert_int_equal(r->bus.events[0].state, RIG_OUT);
    rig_pass(r, 10 * MS, 10 * MS);
    assert_int_equal(r->bus.events[0].state, RIG_ACKED);
    rig_free(r);
}

static void a_202_never_is_a_reply(void **state)
{
    (void)state;
    struct rig *r = setup();
    answer_with_reply(r, 202);
    r->spec.reply_must_be_event = true;
    run(r);
    assert_string_equal(r->trace, "S");
    assert_int_equal(r->counters.replies_ignored, 1);
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);
}

static void without_a_reply_sink_replies_are_dropped_and_counted(void **state)
{
    (void)state;
    struct rig *r = setup();
    r->spec.reply = NULL;
    answer_with_reply(r, 200);
    run(r);
    assert_string_equal(r->trace, "S");
    assert_true(r->seen[0].want_reply); /* asked for all the same */
    assert_int_equal(r->counters.replies_ignored, 1);
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);
}

static void a_malformed_reply_fails_a_brokers_delivery_at_once(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 200, .malformed = true, .body = SLICE_INIT("hello")});
    r->spec.reply_must_be_event = true;
    r->spec.delivery.retry = 5;
    run(r);
    assert_string_equal(r->trace, "SD");
    assert_string_equal(rig_attribute(r->seen[1].event, "knativeerrordest"), "http://subscriber.example/");
    assert_string_equal(rig_attribute(r->seen[1].event, "knativeerrorcode"), "502");
    assert_string_equal(rig_attribute(r->seen[1].event, "knativeerrordata"), "aGVsbG8=");
    assert_int_equal(r->counters.failed_attempts, 1);
    assert_int_equal(r->counters.dead_lettered, 1);
    rig_free(r);

    r = setup(); /* parked: the status as it came, and why it is a failure all the same */
    RIG_SCRIPT(&r->subscriber, {.status = 200, .malformed = true, .body = SLICE_INIT("hello")});
    r->spec.reply_must_be_event = true;
    r->spec.dead_letter = NULL;
    run(r);
    assert_int_equal(r->park.status, 200);
    assert_int_equal(r->park.err, ERR_PROTOCOL);
    rig_free(r);
}

static void a_malformed_reply_is_no_matter_for_a_channel_but_told(void **state)
{
    (void)state;
    struct rig *r = setup();
    RIG_SCRIPT(&r->subscriber, {.status = 200, .malformed = true, .body = SLICE_INIT("hello")});
    run(r);
    assert_string_equal(r->trace, "S");
    assert_int_equal(r->counters.delivered, 1);
    assert_int_equal(r->counters.replies_ignored, 1);
    assert_int_equal(r->counters.failed_attempts, 0);
    assert_int_equal(rig_log_lines(r, "replies_malformed=1"), 1);
    rig_free(r);
}

static void the_reply_has_retries_of_its_own(void **state)
{
    (void)state;
    struct rig *r = setup();
    static struct rig_step steps[2];
    steps[0] = (struct rig_step){.status = 500};
    steps[1] = (struct rig_step){.status = 200, .reply = reply_event};
    rig_script(&r->subscriber, steps, 2);
    RIG_SCRIPT(&r->reply, {.at_once = ERR_FULL}, {.err = ERR_FULL},
               {.status = 202}); /* a channel of this process at its bound */
    r->spec.delivery.retry = 2;
    run(r);
    assert_string_equal(r->trace, "SSRRR");
    uint64_t start = r->seen[0].at_ns;
    static const uint64_t at_ms[] = {0, 200, 200, 400, 800};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(r->seen[i].at_ns - start, at_ms[i] * MS);
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);
}

static void a_reply_that_nobody_takes_sends_the_original_to_the_dead_letters(void **state)
{
    (void)state;
    struct rig *r = setup();
    answer_with_reply(r, 200);
    RIG_SCRIPT(&r->reply, {.status = 503, .body = SLICE_INIT("rbad")});
    r->spec.delivery.retry = 1;
    run(r);
    assert_string_equal(r->trace, "SRRD");
    const struct ce_event *dead = r->seen[3].event;
    assert_true(slice_eq(ce_event_id(dead), SLICE("0")));
    assert_string_equal(rig_attribute(dead, "knativeerrordest"), "http://reply.example/");
    assert_string_equal(rig_attribute(dead, "knativeerrorcode"), "503");
    assert_string_equal(rig_attribute(dead, "knativeerrordata"), "cmJhZA==");
    assert_int_equal(r->counters.replies, 0);
    rig_free(r);
}

static void the_channel_matrix_of_four_subscriptions(void **state)
{
    (void)state;
    /* One fails once and has one retry; one replies well; one's reply fails once; one's reply fails twice and ends as
     * a dead letter. */
    static const char *const traces[] = {"SS", "SR", "SRR", "SRRD"};
    static const struct rig_step fail_once[] = {{.status = 500}, {.status = 200}};
    static const struct rig_step fail_twice[] = {{.status = 500}, {.status = 500}, {.status = 200}};
    for (int i = 0; i < 4; i++) {
        struct rig *r = setup();
        r->spec.delivery.retry = 1;
        if (i == 0)
            rig_script(&r->subscriber, fail_once, 2);
        else
            answer_with_reply(r, 200);
        if (i >= 2)
            rig_script(&r->reply, i == 2 ? fail_once : fail_twice, i == 2 ? 2 : 3);
        run(r);
        assert_string_equal(r->trace, traces[i]);
        assert_int_equal(r->counters.dead_lettered, i == 3);
        rig_free(r);
    }
}

static void without_a_subscriber_the_event_itself_goes_to_the_reply(void **state)
{
    (void)state;
    struct rig *r = setup();
    r->spec.subscriber = NULL;
    RIG_SCRIPT(&r->reply, {.status = 500}, {.status = 200});
    r->spec.delivery.retry = 1;
    run(r);
    assert_string_equal(r->trace, "RR");
    assert_ptr_equal(r->seen[0].event, r->bus.events[0].event);
    assert_false(r->seen[0].want_reply);
    assert_int_equal(r->counters.replies, 0);
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);

    r = setup();
    r->spec.subscriber = NULL;
    RIG_SCRIPT(&r->reply, {.status = 400});
    run(r);
    assert_string_equal(r->trace, "RD");
    assert_string_equal(rig_attribute(r->seen[1].event, "knativeerrordest"), "http://reply.example/");
    rig_free(r);
}

static void an_update_takes_the_reply_sink_or_turns_the_roles(void **state)
{
    (void)state;
    struct rig *r = setup();
    answer_with_reply(r, 200);
    RIG_SCRIPT(&r->reply, {.status = 500});
    r->spec.delivery.retry = 9;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    r->spec.reply = NULL;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SR");
    assert_int_equal(r->counters.replies_ignored, 1);
    assert_int_equal(r->counters.delivered, 1);
    rig_free(r);

    r = setup();
    r->spec.subscriber = NULL;
    RIG_SCRIPT(&r->reply, {.status = 500});
    r->spec.delivery.retry = 9;
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    r->spec.subscriber = &r->subscriber.base;
    r->spec.reply = NULL;
    assert_int_equal(dispatch_stream_update(r->stream, &r->spec), OK);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "RS");
    assert_int_equal(r->counters.delivered, 1);
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
        cmocka_unit_test(a_reply_is_sent_on_without_asking_for_another),
        cmocka_unit_test(the_event_is_settled_only_after_the_reply_was_taken),
        cmocka_unit_test(a_202_never_is_a_reply),
        cmocka_unit_test(without_a_reply_sink_replies_are_dropped_and_counted),
        cmocka_unit_test(a_malformed_reply_fails_a_brokers_delivery_at_once),
        cmocka_unit_test(a_malformed_reply_is_no_matter_for_a_channel_but_told),
        cmocka_unit_test(the_reply_has_retries_of_its_own),
        cmocka_unit_test(a_reply_that_nobody_takes_sends_the_original_to_the_dead_letters),
        cmocka_unit_test(the_channel_matrix_of_four_subscriptions),
        cmocka_unit_test(without_a_subscriber_the_event_itself_goes_to_the_reply),
        cmocka_unit_test(an_update_takes_the_reply_sink_or_turns_the_roles),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
