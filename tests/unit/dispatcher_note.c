/* SPDX-License-Identifier: Apache-2.0
 *
 * What the trace is told: each attempt with its number, answer, duration and next wait, and each end. The room's notes
 * are compiled in here with a trace that writes them down as text.
 */
#include "../lib/dispatcher_rig.h"

#include "dispatcher/flight.h"

static char told[4096];

static void __attribute__((format(printf, 1, 2))) tell(const char *format, ...)
{
    size_t n = strlen(told);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(told + n, sizeof told - n, format, arguments);
    va_end(arguments);
}

static void told_attempt(struct trace *t, const struct ce_event *e, uint32_t subject, const struct trace_attempt *a)
{
    static const char *const phases[] = {"subscriber", "reply", "dead-letter", "park"};
    assert_ptr_equal(t, (struct trace *)told);
    assert_int_equal(subject, 7);
    tell("%.*s: %s %u, %d %s, %llu ms, next %llu ms, \"%.*s\"\n", SLICE_ARG(ce_event_id(e)), phases[a->phase],
         a->number, a->status, err_name(a->err), (unsigned long long)(a->duration_ns / MS),
         (unsigned long long)(a->next_wait_ns / MS), SLICE_ARG(a->text));
}

static void told_ended(struct trace *t, const struct ce_event *e, uint32_t subject, enum trace_end how)
{
    assert_ptr_equal(t, (struct trace *)told);
    assert_int_equal(subject, 7);
    tell("%.*s: %s\n", SLICE_ARG(ce_event_id(e)), trace_end_name(how));
}

#define trace_attempt(t, e, subject, a) told_attempt((t), (e), (subject), (a))
#define trace_ended(t, e, subject, how) told_ended((t), (e), (subject), (how))
#include "../../dispatcher/note.c"
#undef trace_attempt
#undef trace_ended

static struct rig *setup(void)
{
    struct rig *r = rig_new(1);
    told[0] = '\0';
    r->spec.trace = (struct trace *)told;
    r->spec.trace_subject = 7;
    return r;
}

static void attempts_and_ends_are_told(void **state)
{
    (void)state;
    struct rig *r = setup();
    const struct ce_event *reply = rig_event("reply");
    static struct rig_step steps[2];
    steps[0] = (struct rig_step){.status = 503, .delay_ns = 30 * MS, .body = SLICE_INIT("busy")};
    steps[1] = (struct rig_step){.status = 200, .delay_ns = 20 * MS, .reply = reply};
    rig_script(&r->subscriber, steps, 2);
    RIG_SCRIPT(&r->reply, {.err = ERR_UNAVAILABLE, .detail = "connection refused"});
    RIG_SCRIPT(&r->dead_letter, {.status = 410});
    r->park.failures_first = 1;
    r->spec.reply = &r->reply.base;
    r->spec.dead_letter = &r->dead_letter.base;
    r->spec.delivery.retry = 1;
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 2 * NS_PER_S, 10 * MS);
    assert_string_equal(told, "0: subscriber 1, 503 ok, 30 ms, next 200 ms, \"busy\"\n"
                              "0: subscriber 2, 200 ok, 20 ms, next 0 ms, \"\"\n"
                              "0: reply 1, 0 unavailable, 0 ms, next 200 ms, \"connection refused\"\n"
                              "0: reply 2, 0 unavailable, 0 ms, next 0 ms, \"connection refused\"\n"
                              "0: dead-letter 1, 410 ok, 0 ms, next 0 ms, \"\"\n"
                              "0: park 1, 0 full, 0 ms, next 200 ms, \"full\"\n"
                              "0: park 2, 0 ok, 0 ms, next 0 ms, \"\"\n"
                              "0: parked\n");
    rig_free(r);
    ce_event_unref(reply);
}

static void drops_and_what_goes_back_are_told_too(void **state)
{
    (void)state;
    struct rig *r = setup();
    struct filter *filter;
    assert_int_equal(filter_attribute(FILTER_SUFFIX, SLICE("id"), SLICE("x"), &filter, NULL), OK);
    assert_int_equal(filter_join(FILTER_NOT, &filter, 1, &r->spec.filter, NULL), OK);
    filter_unref(filter);
    RIG_SCRIPT(&r->subscriber, {.status = 200}, {.status = 500});
    r->spec.dedup_window_ns = NS_PER_S;
    r->spec.delivery.retry = 1;
    rig_publish_event(r, rig_event("ax"));
    rig_publish_event(r, rig_event_with("b", "expirytime", "2001-01-01T00:00:00Z"));
    rig_publish_event(r, rig_event("c"));
    rig_publish_event(r, rig_event("c"));
    rig_publish_event(r, rig_event("d"));
    rig_start(r);
    filter_unref(r->spec.filter);
    rig_turn(r);
    rig_stop(r, 0);
    rig_turn(r);
    assert_string_equal(told, "ax: filtered\n"
                              "b: expired\n"
                              "c: subscriber 1, 200 ok, 0 ms, next 0 ms, \"\"\n"
                              "c: delivered\n"
                              "c: duplicate\n"
                              "d: subscriber 1, 500 ok, 0 ms, next 200 ms, \"\"\n"
                              "d: released\n");
    rig_free(r);
}

static void what_fails_unsent_is_told_as_attempt_0(void **state)
{
    (void)state;
    struct rig *r = setup();
    r->subscriber.base.local = true;
    r->spec.rate_interval_ns = 3600 * NS_PER_S;
    r->spec.delivery.deadline_ns = NS_PER_S;
    rig_publish_with(r, "knativebrokerttl", "1");
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 2 * NS_PER_S, 500 * MS);
    assert_non_null(strstr(told, "0: subscriber 0, 0 denied, 0 ms, next 0 ms, \"the event has spent its last hop"));
    assert_non_null(strstr(told, "0: parked\n"));
    assert_non_null(strstr(told, "1: subscriber 0, 0 timeout, 0 ms, next 0 ms, \"the deadline had passed"));
    assert_non_null(strstr(told, "1: parked\n"));
    rig_free(r);
}

static void each_event_of_a_batch_is_told(void **state)
{
    (void)state;
    struct rig *r = setup();
    r->spec.batch_max = 2;
    RIG_SCRIPT(&r->subscriber, {.status = 202, .delay_ns = 40 * MS});
    rig_publish(r);
    rig_publish(r);
    rig_start(r);
    rig_pass(r, 40 * MS, 10 * MS);
    assert_string_equal(told, "0: subscriber 1, 202 ok, 40 ms, next 0 ms, \"\"\n"
                              "0: delivered\n"
                              "1: subscriber 1, 202 ok, 40 ms, next 0 ms, \"\"\n"
                              "1: delivered\n");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_and_ends_are_told),
        cmocka_unit_test(drops_and_what_goes_back_are_told_too),
        cmocka_unit_test(what_fails_unsent_is_told_as_attempt_0),
        cmocka_unit_test(each_event_of_a_batch_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
