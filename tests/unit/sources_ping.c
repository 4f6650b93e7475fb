/* SPDX-License-Identifier: Apache-2.0
 *
 * The ping source on a clock that only the test moves, with a sink that the test plays: every wait is exact, and none
 * is waited for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../lib/fault.h"
#include "../../sources/ping.h"
#include "loop.h"
#include "text.h"

#define BYTES_MAX 4096
#define START_S 1796000400ll /* 2026-11-30T01:00:00Z */
#define CALLS_MAX 4096
#define SINK_URL "http://sink.example/"

/* ---- a sink that keeps its calls until the test answers ---- */

struct play {
    struct sink head;
    struct sink_call *calls[CALLS_MAX]; /* under way */
    const struct ce_event *events[CALLS_MAX];
    size_t count;
    struct sink_request request; /* the last one */
    char times[CALLS_MAX][40];   /* of all that were sent, in order */
    unsigned sends, cancels;
    enum err refuse; /* send returns it */
};

static enum err play_send(struct sink *s, struct sink_call *call, const struct sink_request *request)
{
    struct play *p = container_of(s, struct play, head);
    struct ce_attribute time;
    if (p->refuse != OK)
        return p->refuse;
    assert_true(p->count < CALLS_MAX && p->sends < CALLS_MAX);
    assert_true(ce_event_attribute(request->event, SLICE("time"), &time));
    snprintf(p->times[p->sends++], sizeof p->times[0], "%.*s", SLICE_ARG(time.value));
    p->request = *request;
    p->calls[p->count] = call;
    p->events[p->count++] = ce_event_ref(request->event);
    return OK;
}

static void play_take(struct play *p, size_t i)
{
    ce_event_unref(p->events[i]);
    p->count--;
    memmove(&p->calls[i], &p->calls[i + 1], (p->count - i) * sizeof p->calls[0]);
    memmove(&p->events[i], &p->events[i + 1], (p->count - i) * sizeof p->events[0]);
}

static void play_cancel(struct sink *s, struct sink_call *call)
{
    struct play *p = container_of(s, struct play, head);
    for (size_t i = 0; i < p->count; i++)
        if (p->calls[i] == call) {
            play_take(p, i);
            p->cancels++;
            return;
        }
    fail();
}

static void play_free(struct sink *s)
{
    (void)s;
    fail();
}

static const struct sink_ops play_ops = {play_send, play_cancel, play_free};

/* ---- the rig ---- */

struct rig {
    struct clock_fake clock;
    struct loop *loop;
    struct play sink;
    struct source *source, *last;
    struct source_counters counters;
    unsigned closed, notices;
    char what[40], text[400]; /* the last notice */
    char started[400];        /* what it said at its beginning */
};

static void on_notice(void *arg, bool trouble, const char *what, const char *text)
{
    struct rig *rig = arg;
    if (strcmp(what, "ping.started") == 0) {
        assert_false(trouble);
        snprintf(rig->started, sizeof rig->started, "%s", text);
        return;
    }
    assert_int_equal(trouble, strcmp(what, "ping.recovered") != 0);
    rig->notices++;
    snprintf(rig->what, sizeof rig->what, "%s", what);
    snprintf(rig->text, sizeof rig->text, "%s", text);
}

static struct source_host host_of(struct rig *rig)
{
    return (struct source_host){.loop = rig->loop,
                                .sink = &rig->sink.head,
                                .event_bytes_max = BYTES_MAX,
                                .counters = &rig->counters,
                                .last = &rig->last,
                                .notice = on_notice,
                                .arg = rig};
}

static void turn(struct rig *rig)
{
    for (int i = 0; i < 4; i++)
        assert_int_equal(loop_turn(rig->loop, 0), OK);
}

static struct source *open_one(struct rig *rig, const struct source_spec *spec)
{
    struct source *s = NULL;
    struct source_host host = host_of(rig);
    struct diag d = {0};
    if (source_find("ping")->open(spec, &host, &s, &d) != OK)
        fail_msg("%s", d.text);
    return s;
}

static struct rig *rig_new(const struct source_spec *spec)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    clock_fake_init(&rig->clock, 5 * NS_PER_S, START_S * (int64_t)NS_PER_S + 500000000);
    assert_int_equal(loop_new(&rig->clock.base, 64, &rig->loop), OK);
    rig->sink.head = (struct sink){.ops = &play_ops, .refs = 1, .url = SINK_URL};
    rig->source = open_one(rig, spec);
    turn(rig);
    return rig;
}

static void on_closed(void *arg)
{
    ((struct rig *)arg)->closed++;
}

static void rig_free(struct rig *rig)
{
    if (rig->source)
        rig->source->ops->close(rig->source, on_closed, rig);
    turn(rig);
    clock_fake_advance(&rig->clock, 5 * NS_PER_S);
    turn(rig);
    assert_int_equal(rig->sink.count, 0);
    assert_int_equal(rig->sink.head.refs, 1);
    assert_null(rig->last);
    loop_free(rig->loop);
    free(rig);
}

/* In steps, as time goes: a leap is what `jump` is for. */
static void pass(struct rig *rig, uint64_t ns)
{
    while (ns > 0) {
        uint64_t step = ns < 250 * NS_PER_MS ? ns : 250 * NS_PER_MS;
        clock_fake_advance(&rig->clock, step);
        turn(rig);
        ns -= step;
    }
}

static void jump(struct rig *rig, int64_t seconds)
{
    rig->clock.wall += seconds * (int64_t)NS_PER_S;
    pass(rig, NS_PER_S);
}

static void answer(struct rig *rig, size_t i, enum err err, int status, uint64_t retry_after_ns)
{
    struct sink_call *call = rig->sink.calls[i];
    assert_true(i < rig->sink.count);
    play_take(&rig->sink, i);
    call->done(call,
               &(struct sink_answer){.err = err, .status = status, .retry_after_ns = retry_after_ns, .url = SINK_URL});
    turn(rig);
}

static void accept_all(struct rig *rig)
{
    while (rig->sink.count > 0)
        answer(rig, 0, OK, 202, 0);
}

#define SPEC(params_)                                                                                                  \
    {                                                                                                                  \
        .type = "ping", .namespace_name = "clocks", .name = "beat", .params = params_,                                 \
        .param_count = sizeof(params_) / sizeof(params_[0])                                                            \
    }
static const struct source_param minutely_params[] = {{"schedule", "* * * * *"}, {"timezone", "UTC"}};
static const struct source_spec minutely = SPEC(minutely_params);
static const struct source_param secondly_params[] = {{"schedule", "* * * * * *"}, {"timezone", "UTC"}};
static const struct source_spec secondly = SPEC(secondly_params);

static void assert_attribute(const struct ce_event *e, const char *name, const char *value)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a) || !slice_eq_str(a.value, value))
        fail_msg("%s is not %s", name, value);
}

/* ---- the schedule ---- */

static void test_event(void **state)
{
    (void)state;
    static const struct source_param params[] = {{"schedule", "*/15 * * * *"},
                                                 {"timezone", "Asia/Kolkata"},
                                                 {"data", "{\"a\":1}"},
                                                 {"contentType", "application/json"}};
    static const struct source_param overrides[] = {{"team", "mills"}};
    struct source_spec spec = SPEC(params);
    spec.ce_overrides = overrides;
    spec.ce_override_count = 1;
    struct rig *rig = rig_new(&spec);
    assert_string_equal(rig->started,
                        "schedule \"*/15 * * * *\" in Asia/Kolkata: the next time is 2026-11-30T06:45:00+05:30");
    pass(rig, 899 * NS_PER_S + 250 * NS_PER_MS);
    assert_int_equal(rig->sink.sends, 0);
    pass(rig, 250 * NS_PER_MS);
    assert_int_equal(rig->sink.sends, 1);
    const struct ce_event *e = rig->sink.events[0];
    assert_attribute(e, "type", "dev.knative.sources.ping");
    assert_attribute(e, "source", "/apis/v1/namespaces/clocks/pingsources/beat");
    assert_attribute(e, "time", "2026-11-30T01:15:00Z");
    assert_attribute(e, "datacontenttype", "application/json");
    assert_attribute(e, "team", "mills");
    assert_int_equal(ce_event_id(e).len, 36);
    assert_true(slice_eq_str(ce_event_data(e), "{\"a\":1}"));
    assert_int_equal(rig->sink.request.format, CE_MODE_BINARY);
    assert_true(slice_eq_str(rig->sink.request.namespace_name, "clocks"));
    accept_all(rig);
    assert_int_equal(rig->counters.received, 1);
    assert_int_equal(rig->counters.emitted, 1);
    assert_int_equal(rig->notices, 0);
    rig_free(rig);
}

/* A day of seconds and more: each at its time, whatever the steps of the clock, and none twice. */
static void test_no_drift(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&secondly);
    for (int64_t s = 1; s < 90000; s++) {
        clock_fake_advance(&rig->clock, 333333333 + (uint64_t)(s % 7) * 1000000);
        turn(rig);
        clock_fake_advance(&rig->clock, NS_PER_S - 333333333 - (uint64_t)(s % 7) * 1000000);
        turn(rig);
        assert_int_equal(rig->sink.count, 1);
        char expected[40];
        struct buf b;
        buf_init(&b, sizeof expected);
        rfc3339_put(&b, (START_S + s) * (int64_t)NS_PER_S, 0);
        assert_true(slice_eq_str(buf_slice(&b), rig->sink.times[0]));
        buf_fini(&b);
        accept_all(rig);
        rig->sink.sends = 0;
    }
    assert_int_equal(rig->counters.emitted, 89999);
    assert_int_equal(rig->counters.missed, 0);
    rig_free(rig);
}

static void test_ids(void **state)
{
    (void)state;
    struct ping_options o, other;
    const struct ce_event *a, *b, *c, *d;
    static const struct source_spec elsewhere = {.type = "ping", .namespace_name = "clocks", .name = "beat2"};
    assert_int_equal(ping_options_parse(&minutely, &o, NULL), OK);
    assert_int_equal(ping_options_parse(&elsewhere, &other, NULL), OK);
    assert_int_equal(ping_event_make(&o, START_S, BYTES_MAX, &a, NULL), OK);
    assert_int_equal(ping_event_make(&o, START_S, BYTES_MAX, &b, NULL), OK);
    assert_int_equal(ping_event_make(&o, START_S + 1, BYTES_MAX, &c, NULL), OK);
    assert_int_equal(ping_event_make(&other, START_S, BYTES_MAX, &d, NULL), OK);
    assert_true(ce_event_equal(a, b));
    assert_false(slice_eq(ce_event_id(a), ce_event_id(c)));
    assert_false(slice_eq(ce_event_id(a), ce_event_id(d)));
    assert_int_equal(ce_event_data_kind(a), CE_DATA_NONE);
    const struct ce_event *all[] = {a, b, c, d};
    for (size_t i = 0; i < 4; i++)
        ce_event_unref(all[i]);
    ping_options_fini(&o);
    ping_options_fini(&other);
}

/* The machine slept for three hours: one event, the newest, and a word about the others. */
static void test_missed(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&minutely);
    jump(rig, 3 * 3600);
    assert_int_equal(rig->sink.sends, 1);
    assert_string_equal(rig->sink.times[0], "2026-11-30T04:00:00Z");
    assert_int_equal(rig->counters.missed, 179);
    assert_int_equal(rig->notices, 1);
    assert_string_equal(rig->what, "ping.missed");
    assert_non_null(
        strstr(rig->text, "179 times of the schedule passed, from 2026-11-30T01:01:00Z to 2026-11-30T03:59:00Z,"));
    pass(rig, 60 * NS_PER_S);
    assert_int_equal(rig->sink.sends, 2);
    assert_string_equal(rig->sink.times[1], "2026-11-30T04:01:00Z");
    jump(rig, 400ll * 86400);
    assert_int_equal(rig->sink.sends, 2);
    assert_int_equal(rig->counters.missed, 179 + 100000);
    assert_non_null(strstr(rig->text, "at least 100000 times"));
    pass(rig, 60 * NS_PER_S);
    assert_int_equal(rig->sink.sends, 3);
    accept_all(rig);
    rig_free(rig);
}

/* The place of an earlier run: what came due since is told, and nothing is sent for it. */
static void test_down(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&minutely);
    assert_int_equal(rig->counters.place, START_S);
    pass(rig, 130 * NS_PER_S);
    assert_int_equal(rig->counters.place, START_S + 59); /* both are at the sink still */
    answer(rig, 1, OK, 202, 0);
    assert_int_equal(rig->counters.place, START_S + 59);
    answer(rig, 0, OK, 202, 0);
    assert_int_equal(rig->counters.place, START_S + 120);
    rig->source->ops->close(rig->source, on_closed, rig);
    turn(rig);
    assert_int_equal(rig->counters.place, START_S + 120);
    rig->clock.wall += 3600 * (int64_t)NS_PER_S;
    rig->source = open_one(rig, &minutely);
    assert_int_equal(rig->counters.missed, 60);
    assert_string_equal(rig->what, "ping.missed");
    assert_non_null(strstr(rig->text,
                           "60 times of the schedule passed, from 2026-11-30T01:03:00Z to 2026-11-30T02:02:10Z, "
                           "while the source did not run; no event is sent for them"));
    pass(rig, 60 * NS_PER_S);
    assert_int_equal(rig->sink.sends, 3);
    assert_string_equal(rig->sink.times[2], "2026-11-30T02:03:00Z");
    accept_all(rig);
    rig_free(rig);
}

/* Set back by a little, the clock is waited for: no time comes twice. By more, the schedule goes on from there. */
static void test_clock_back(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&minutely);
    pass(rig, 60 * NS_PER_S);
    assert_int_equal(rig->sink.sends, 1);
    jump(rig, -30);
    pass(rig, 61 * NS_PER_S);
    assert_int_equal(rig->sink.sends, 1);
    pass(rig, 30 * NS_PER_S);
    assert_int_equal(rig->sink.sends, 2);
    assert_string_equal(rig->sink.times[1], "2026-11-30T01:02:00Z");
    assert_int_equal(rig->notices, 0);
    jump(rig, -3600);
    assert_string_equal(rig->what, "ping.clock");
    pass(rig, 60 * NS_PER_S);
    assert_int_equal(rig->sink.sends, 3);
    assert_string_equal(rig->sink.times[2], "2026-11-30T00:03:00Z");
    accept_all(rig);
    rig_free(rig);
}

/* ---- a sink that fails ---- */

static void test_retries(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&secondly);
    pass(rig, NS_PER_S);
    answer(rig, 0, ERR_UNAVAILABLE, 0, 0);
    assert_string_equal(rig->what, "ping.retry");
    assert_non_null(strstr(rig->text, SINK_URL ": unavailable; the event of 2026-11-30T01:00:01Z"));
    for (int i = 0; i < 5; i++) { /* the same one, until it is taken; one attempt at a time */
        pass(rig, 2 * NS_PER_S);
        assert_int_equal(rig->sink.count, 1);
        assert_string_equal(rig->sink.times[rig->sink.sends - 1], "2026-11-30T01:00:01Z");
        answer(rig, 0, OK, 503, 0);
    }
    pass(rig, 2 * NS_PER_S);
    answer(rig, 0, OK, 200, 0);
    assert_string_equal(rig->what, "ping.recovered");
    assert_int_equal(rig->notices, 2);
    assert_int_equal(rig->sink.count, 12); /* what waited goes out in order */
    assert_string_equal(rig->sink.times[rig->sink.sends - 12], "2026-11-30T01:00:02Z");
    assert_string_equal(rig->sink.times[rig->sink.sends - 1], "2026-11-30T01:00:13Z");
    accept_all(rig);
    assert_int_equal(rig->counters.emitted, 13);
    assert_int_equal(rig->counters.failed, 0);
    assert_string_equal(rig->source->ops->last_failure(rig->source), "the sink answered 503");
    rig_free(rig);
}

static void test_backoff(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&minutely);
    pass(rig, 60 * NS_PER_S);
    for (unsigned n = 0; n < 14; n++) {
        uint64_t wait = (50 * NS_PER_MS) << n;
        wait = wait < 30 * NS_PER_S ? wait : 30 * NS_PER_S;
        unsigned sends = rig->sink.sends;
        answer(rig, 0, OK, 500, 0);
        clock_fake_advance(&rig->clock, wait - 1);
        turn(rig);
        assert_int_equal(rig->sink.sends, sends);
        clock_fake_advance(&rig->clock, 1);
        turn(rig);
        assert_int_equal(rig->sink.sends, sends + 1);
    }
    unsigned sends = rig->sink.sends;
    answer(rig, 0, OK, 429, 100 * NS_PER_S);
    pass(rig, 99 * NS_PER_S);
    assert_int_equal(rig->sink.sends, sends);
    pass(rig, NS_PER_S);
    assert_int_equal(rig->sink.sends, sends + 1);
    accept_all(rig);
    rig_free(rig);
}

/* Many under way fail at once: that is one failure, not as many. */
static void test_window(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&secondly);
    pass(rig, 30 * NS_PER_S);
    assert_int_equal(rig->sink.count, 16);
    for (int i = 15; i >= 0; i--)
        answer(rig, (size_t)i, ERR_UNAVAILABLE, 0, 0);
    assert_int_equal(rig->sink.count, 0);
    clock_fake_advance(&rig->clock, 50 * NS_PER_MS);
    turn(rig);
    assert_int_equal(rig->sink.count, 1);
    assert_string_equal(rig->sink.times[16], "2026-11-30T01:00:01Z");
    accept_all(rig);
    assert_int_equal(rig->counters.emitted, 30);
    for (int i = 0; i < 30; i++) {
        char expected[40];
        snprintf(expected, sizeof expected, "2026-11-30T01:00:%02dZ", i + 1);
        assert_string_equal(rig->sink.times[16 + i], expected);
    }
    rig_free(rig);
}

static void test_refused(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&minutely);
    pass(rig, 60 * NS_PER_S);
    answer(rig, 0, OK, 400, 0);
    assert_string_equal(rig->what, "ping.refused");
    assert_int_equal(rig->counters.failed, 1);
    rig->sink.refuse = ERR_FULL;
    pass(rig, 60 * NS_PER_S);
    assert_string_equal(rig->what, "ping.retry");
    rig->sink.refuse = OK;
    pass(rig, NS_PER_S);
    accept_all(rig);
    assert_int_equal(rig->counters.emitted, 1);
    rig_free(rig);
}

static void test_bound(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&secondly);
    rig->sink.refuse = ERR_CLOSED;
    pass(rig, 1030 * NS_PER_S);
    assert_int_equal(rig->counters.failed, 6);
    assert_string_equal(rig->what, "ping.lost");
    assert_non_null(strstr(rig->text, "the one of 2026-11-30T01:00:06Z is given up"));
    rig->sink.refuse = OK;
    pass(rig, 30 * NS_PER_S); /* those whose times come meanwhile push others out */
    accept_all(rig);
    assert_int_equal(rig->counters.emitted + rig->counters.failed, rig->counters.received);
    rig_free(rig);
}

/* ---- the end, and the next plan ---- */

static void test_close_waits(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&minutely);
    pass(rig, 60 * NS_PER_S);
    rig->source->ops->close(rig->source, on_closed, rig);
    rig->source = NULL;
    pass(rig, 4 * NS_PER_S);
    assert_int_equal(rig->closed, 0);
    answer(rig, 0, OK, 202, 0);
    assert_int_equal(rig->closed, 1);
    assert_int_equal(rig->counters.emitted, 1);
    rig_free(rig);
}

static void test_close_is_cut(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&minutely);
    pass(rig, 60 * NS_PER_S);
    rig->source->ops->close(rig->source, on_closed, rig);
    rig->source = NULL;
    pass(rig, 5 * NS_PER_S);
    assert_int_equal(rig->closed, 1);
    assert_int_equal(rig->sink.cancels, 1);
    assert_int_equal(rig->counters.failed, 1);
    assert_non_null(strstr(rig->text, "1 event had not been accepted"));
    rig_free(rig);
}

/* A new plan opens the source anew while the old part has events at the sink: each is sent once, none is left out. */
static void test_hand_over(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&secondly);
    pass(rig, 20 * NS_PER_S); /* 16 fly, 4 wait */
    struct source *old = rig->source;
    old->ops->close(old, on_closed, rig);
    rig->source = open_one(rig, &secondly);
    turn(rig);
    assert_int_equal(rig->sink.count, 20);
    assert_string_equal(rig->sink.times[16], "2026-11-30T01:00:17Z");
    pass(rig, NS_PER_S);
    assert_int_equal(rig->sink.count, 21);
    assert_int_equal(rig->closed, 0);
    answer(rig, 0, OK, 503, 0); /* of the old one: the new one sends it again */
    for (int i = 0; i < 15; i++)
        answer(rig, 0, OK, 202, 0);
    assert_int_equal(rig->closed, 1);
    assert_int_equal(rig->sink.count, 6);
    assert_string_equal(rig->sink.times[21], "2026-11-30T01:00:01Z");
    accept_all(rig);
    assert_int_equal(rig->counters.emitted, 21);
    assert_int_equal(rig->counters.failed, 0);
    assert_int_equal(rig->sink.sends, 22);
    rig_free(rig);
}

/* The same while the sink fails: the wait goes on, and nothing is lost; once with the old part's attempt cut. */
static void test_hand_over_failing(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&secondly);
    pass(rig, NS_PER_S);
    answer(rig, 0, OK, 503, 0);
    pass(rig, 9 * NS_PER_S);
    assert_int_equal(rig->sink.count, 1);
    for (int i = 0; i < 3; i++) {
        rig->source->ops->close(rig->source, on_closed, rig);
        rig->source = open_one(rig, &secondly);
        pass(rig, 5 * NS_PER_S);
        assert_int_equal(rig->closed, i + 1);
    }
    accept_all(rig);
    assert_int_equal(rig->counters.emitted, 25);
    assert_int_equal(rig->counters.failed, 0);
    assert_int_equal(rig->counters.missed, 0);
    rig_free(rig);
}

/* ---- specs ---- */

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        struct source_param params[2];
        const char *says;
    } cases[] = {
        {{{"schedule", "0 25 * * *"}, {"timezone", "UTC"}},
         "schedule \"0 25 * * *\", column 3: the hour \"25\": 25 is not between 0 and 23"},
        {{{"schedule", "* * * * *"}, {"timezone", "Europe/Belin"}}, "this system knows no time zone \"Europe/Belin\""},
        {{{"schedule", "@every"}, {"timezone", ""}}, "schedule \"@every\", column 1: "},
        {{{"data", "a"}, {"dataBase64", "YQ=="}}, "data and dataBase64 are both there"},
        {{{"dataBase64", "YQ"}, {"contentType", ""}}, "dataBase64 is not base64"},
        {{{"data", "{"}, {"contentType", "application/json"}},
         "data is no JSON, as contentType says that it is: line 1, column 2"},
        {{{"dataBase64", "YQ=="}, {"contentType", "application/json"}}, "dataBase64 is no JSON"},
        {{{"contentType", "a\nb"}, {"data", ""}}, "contentType: "},
        {{{"sinkTimeoutSeconds", "x"}, {"data", ""}}, "sinkTimeoutSeconds must be"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct source_spec spec = {
            .type = "ping", .namespace_name = "n", .name = "t", .params = cases[i].params, .param_count = 2};
        struct diag d = {0};
        assert_int_equal(source_find("ping")->check(&spec, &d), ERR_INVALID);
        if (!strstr(d.text, cases[i].says))
            fail_msg("%s", d.text);
    }
    static const struct source_param core[] = {{"type", "x"}};
    struct source_spec spec = {
        .type = "ping", .namespace_name = "n", .name = "t", .ce_overrides = core, .ce_override_count = 1};
    struct diag d = {0};
    assert_int_equal(source_find("ping")->check(&spec, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "ceOverrides.extensions.type"));
}

static void test_data(void **state)
{
    (void)state;
    static const struct {
        struct source_param params[2];
        const char *data, *type;
    } cases[] = {
        {{{"data", "plain"}, {"contentType", ""}}, "plain", NULL},
        {{{"data", "plain"}, {"contentType", "text/plain"}}, "plain", "text/plain"},
        {{{"dataBase64", "AAEC/w=="}, {"contentType", "application/octet-stream"}},
         "\0\1\2\xff",
         "application/octet-stream"},
        {{{"dataBase64", "WzFd"}, {"contentType", "application/json"}}, "[1]", "application/json"},
        {{{"data", ""}, {"contentType", "text/plain"}}, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct source_spec spec = {
            .type = "ping", .namespace_name = "n", .name = "t", .params = cases[i].params, .param_count = 2};
        struct ping_options o;
        const struct ce_event *e;
        assert_int_equal(ping_options_parse(&spec, &o, NULL), OK);
        assert_int_equal(ping_event_make(&o, START_S, BYTES_MAX, &e, NULL), OK);
        assert_int_equal(ce_event_data_kind(e) == CE_DATA_NONE, cases[i].data == NULL);
        struct slice expected = i == 2 ? slice_of(cases[i].data, 4) : slice_str(cases[i].data);
        assert_true(slice_eq(ce_event_data(e), expected));
        assert_true(slice_eq_str(ce_event_datacontenttype(e), cases[i].type));
        ce_event_unref(e);
        ping_options_fini(&o);
    }
}

/* An event larger than events may be is found out at the beginning, not at its time. */
static void test_too_large(void **state)
{
    (void)state;
    char data[BYTES_MAX + 1];
    memset(data, 'a', sizeof data - 1);
    data[sizeof data - 1] = '\0';
    const struct source_param params[] = {{"data", data}};
    const struct source_spec spec = SPEC(params);
    struct rig rig = {.sink.head = {.ops = &play_ops, .refs = 1}};
    struct source_host host = host_of(&rig);
    assert_int_equal(source_find("ping")->open(&spec, &host, &rig.source, NULL), ERR_TOO_LARGE);
    assert_int_equal(rig.sink.head.refs, 1);
    assert_null(rig.last);
}

/* ---- no memory ---- */

static void test_no_memory_open(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct rig rig = {.sink.head = {.ops = &play_ops, .refs = 1, .url = SINK_URL}};
        clock_fake_init(&rig.clock, 0, START_S * (int64_t)NS_PER_S);
        assert_int_equal(loop_new(&rig.clock.base, 64, &rig.loop), OK);
        struct source_host host = host_of(&rig);
        fault_arm(n);
        enum err e = source_find("ping")->open(&minutely, &host, &rig.source, NULL);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        if (e == OK) {
            rig.source->ops->close(rig.source, on_closed, &rig);
            turn(&rig);
            assert_int_equal(rig.closed, 1);
        }
        assert_int_equal(rig.sink.head.refs, 1);
        loop_free(rig.loop);
        if (!fired)
            break;
    }
}

/* A tick without memory for its event is tried again; only what has none for itself is lost, and counted. */
static void test_no_memory_tick(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct rig *rig = rig_new(&minutely);
        pass(rig, 59 * NS_PER_S);
        clock_fake_advance(&rig->clock, NS_PER_S);
        fault_arm(n);
        turn(rig);
        bool fired = fault_disarm();
        pass(rig, NS_PER_S);
        accept_all(rig);
        assert_int_equal(rig->counters.received, 1);
        assert_int_equal(rig->counters.emitted + rig->counters.failed, 1);
        assert_true(fired || rig->counters.failed == 0);
        rig_free(rig);
        if (!fired)
            break;
    }
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event),
        cmocka_unit_test(test_no_drift),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_missed),
        cmocka_unit_test(test_clock_back),
        cmocka_unit_test(test_down),
        cmocka_unit_test(test_retries),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_close_waits),
        cmocka_unit_test(test_close_is_cut),
        cmocka_unit_test(test_hand_over),
        cmocka_unit_test(test_hand_over_failing),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_no_memory_open),
        cmocka_unit_test(test_no_memory_tick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
