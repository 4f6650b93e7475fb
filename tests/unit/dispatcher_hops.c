/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop guard: what channels of this program get, what services see, and where a loop ends.
 */
#include "../lib/dispatcher_rig.h"

#include "dispatcher/gates.h"

static void values_are_read_with_care(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int hops;
    } rows[] = {{"255", 255}, {"1", 1},    {"0", 0},   {"-1", 0}, {"-", 0}, {"256", 255}, {"99999999999999999999", -1},
                {"", -1},     {"ten", -1}, {"1.5", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(hops_parse(slice_str(rows[i].text)), rows[i].hops);
}

/* What the subscriber gets of an event that has `ttl` (NULL: none). */
static const char *sent(const char *ttl, bool local)
{
    static char text[2048];
    struct rig *r = rig_new(1);
    r->subscriber.base.local = local;
    rig_publish_with(r, ttl ? "knativebrokerttl" : NULL, ttl);
    rig_start(r);
    rig_turn(r);
    snprintf(text, sizeof text, "%s",
             r->seen_count ? rig_attribute(r->seen[0].event, "knativebrokerttl") : "(not sent)");
    if (!r->seen_count) {
        assert_int_equal(r->counters.loops, 1);
        assert_int_equal(r->counters.attempts, 0);
        assert_string_equal(r->park.reason, "loop");
        assert_int_equal(r->park.parked, 1);
    }
    rig_free(r);
    return text;
}

static void a_channel_gets_one_hop_less_and_a_service_none_to_see(void **state)
{
    (void)state;
    assert_string_equal(sent(NULL, true), "254");
    assert_string_equal(sent("255", true), "254");
    assert_string_equal(sent("2", true), "1");
    assert_string_equal(sent("1", true), "(not sent)");
    assert_string_equal(sent("0", true), "(not sent)");
    assert_string_equal(sent("-7", true), "(not sent)");
    assert_string_equal(sent("4000", true), "254");
    assert_string_equal(sent("many", true), "254");
    assert_string_equal(sent("1", false), "(none)");
    assert_string_equal(sent("many", false), "(none)");
    assert_string_equal(sent(NULL, false), "(none)");
}

static void an_event_without_it_goes_to_a_service_as_it_is(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    rig_publish(r);
    rig_start(r);
    rig_turn(r);
    assert_ptr_equal(r->seen[0].event, r->bus.events[0].event);
    rig_free(r);
}

static void a_reply_has_the_hops_of_what_it_answers(void **state)
{
    (void)state;
    static const struct {
        const char *ttl, *reply_ttl, *sent;
        bool local;
    } rows[] = {{NULL, NULL, "254", true},      {"10", NULL, "9", true},       {"10", "200", "9", true},
                {NULL, "200", "(none)", false}, {"10", NULL, "(none)", false}, {"1", "200", "(not sent)", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig *r = rig_new(1);
        const struct ce_event *reply =
            rig_event_with("reply", rows[i].reply_ttl ? "knativebrokerttl" : NULL, rows[i].reply_ttl);
        struct rig_step step = {.status = 200, .reply = reply};
        rig_script(&r->subscriber, &step, 1);
        r->spec.reply = &r->reply.base;
        r->reply.base.local = rows[i].local;
        rig_publish_with(r, rows[i].ttl ? "knativebrokerttl" : NULL, rows[i].ttl);
        rig_start(r);
        rig_turn(r);
        const char *got = r->seen_count > 1 ? rig_attribute(r->seen[1].event, "knativebrokerttl") : "(not sent)";
        assert_string_equal(got, rows[i].sent);
        assert_int_equal(r->counters.loops, r->seen_count == 1);
        assert_int_equal(r->counters.parked, r->seen_count == 1);
        rig_free(r);
        ce_event_unref(reply);
    }
}

static void a_dead_letter_channel_spends_a_hop_too(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    RIG_SCRIPT(&r->subscriber, {.status = 400});
    RIG_SCRIPT(&r->dead_letter, {.status = 503}, {.status = 202});
    r->spec.delivery.retry = 1;
    r->spec.dead_letter = &r->dead_letter.base;
    r->dead_letter.base.local = true;
    rig_publish_with(r, "knativebrokerttl", "7");
    rig_publish_with(r, "knativebrokerttl", "1");
    rig_start(r);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "SSDD");
    for (size_t i = 2; i < 4; i++) { /* and a retry does not spend it again */
        assert_string_equal(rig_attribute(r->seen[i].event, "knativebrokerttl"), "6");
        assert_string_equal(rig_attribute(r->seen[i].event, "knativeerrorcode"), "400");
    }
    assert_int_equal(r->counters.dead_lettered, 1);
    assert_int_equal(r->counters.parked, 1);
    assert_string_equal(r->park.reason, "loop");
    assert_string_equal(r->park.cause_reason, "not-retryable");
    rig_free(r);
}

static void an_update_to_a_service_strips_what_was_made_for_a_channel(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    struct rig_sink service;
    rig_sink_init(&service, r, 'T', "http://service.example/");
    RIG_SCRIPT(&r->subscriber, {.err = ERR_FULL});
    r->subscriber.base.local = true;
    r->spec.delivery.retry = 3;
    rig_publish_with(r, "knativebrokerttl", "9");
    rig_start(r);
    rig_turn(r);
    struct dispatch_spec next = r->spec;
    next.subscriber = &service.base;
    assert_int_equal(dispatch_stream_update(r->stream, &next), OK);
    rig_pass(r, NS_PER_S, 100 * MS);
    assert_string_equal(r->trace, "ST");
    assert_string_equal(rig_attribute(r->seen[0].event, "knativebrokerttl"), "8");
    assert_string_equal(rig_attribute(r->seen[1].event, "knativebrokerttl"), "(none)");
    rig_free(r);
    assert_int_equal(service.base.refs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_with_care),
        cmocka_unit_test(a_channel_gets_one_hop_less_and_a_service_none_to_see),
        cmocka_unit_test(an_event_without_it_goes_to_a_service_as_it_is),
        cmocka_unit_test(a_reply_has_the_hops_of_what_it_answers),
        cmocka_unit_test(a_dead_letter_channel_spends_a_hop_too),
        cmocka_unit_test(an_update_to_a_service_strips_what_was_made_for_a_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
