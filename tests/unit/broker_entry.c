/* SPDX-License-Identifier: Apache-2.0
 *
 * The door into a channel, over a bus of its own that takes, refuses or keeps waiting as told: what may enter, and what
 * is counted and noted of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "../../broker/entry.h"
#include "../lib/fault.h"

#define NOW (1700000000 * (int64_t)NS_PER_S) /* 2023-11-14T22:13:20Z */

/* ---- a bus with one append under way ---- */

static struct {
    enum err at_once;
    struct bus_append *waiting;
} script;

static enum err take_append(struct bus *b, struct bus_channel *c, const struct ce_event *event, struct bus_append *a,
                            struct loop *loop)
{
    (void)b, (void)c, (void)event, (void)loop;
    if (script.at_once == OK)
        script.waiting = a;
    return script.at_once;
}

static const struct bus_ops ops = {.name = "scripted", .append = take_append};

struct rig {
    struct clock_fake clock;
    struct bus bus;
    struct engine_bus engine_bus;
    struct engine_channel channel;
    struct shard shard;
};

static void rig_open(struct rig *r)
{
    static const uint64_t key[2] = {3, 4};
    *r = (struct rig){.bus = {.ops = &ops, .hold_ms_max = 60000}};
    clock_fake_init(&r->clock, 0, NOW);
    r->engine_bus.bus = &r->bus;
    r->channel.bus = &r->engine_bus;
    r->channel.subject = 5;
    list_init(&r->shard.taps);
    assert_int_equal(loop_new(&r->clock.base, 16, &r->shard.loop), OK);
    assert_int_equal(trace_new(r->shard.loop, TRACE_BYTES_MIN, key, &r->shard.trace), OK);
    script.at_once = OK;
    script.waiting = NULL;
}

static void rig_close(struct rig *r)
{
    trace_free(r->shard.trace);
    loop_free(r->shard.loop);
}

/* An event with one extension, or none where `name` is NULL. */
static const struct ce_event *make(const char *name, enum ce_type type, const char *value)
{
    struct ce_builder b;
    const struct ce_event *e;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("e-1"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    if (name)
        ce_builder_set(&b, slice_str(name), type, slice_str(value));
    ce_builder_data(&b, CE_DATA_BYTES, SLICE("data"));
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    return e;
}

/* ---- leatdeliverat ---- */

static void a_time_that_the_bus_can_hold_is_fine(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *refusal; /* NULL: fine */
    } cases[] = {
        {"2023-11-14T22:13:20Z", NULL},
        {"2023-11-14T22:13:50Z", NULL},
        {"2023-11-14T22:14:20Z", NULL}, /* a minute: the most */
        {"2023-11-14T22:14:20.999Z", "at most 60 seconds"},
        {"2023-11-14T23:13:50+01:00", NULL},
        {"2023-11-14T22:14:21Z", "the bus of this channel (scripted) holds an event for at most 60 seconds"},
        {"2261-01-01T00:00:00Z", "too far away"},
        {"9999-12-31T23:59:59Z", "too far away"},
        {"1970-01-01T00:00:00Z", NULL},
        {"0000-01-01T00:00:00Z", NULL},
        {"tomorrow", "'tomorrow' is no time of RFC 3339"},
        {"2023-11-14", "no time of RFC 3339"},
    };
    struct rig r;
    rig_open(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct diag d = {0};
        const struct ce_event *e = make("leatdeliverat", CE_STRING, cases[i].value);
        enum err err = entry_check(&r.channel, &r.clock.base, e, &d);
        assert_int_equal(err, cases[i].refusal ? ERR_INVALID : OK);
        if (cases[i].refusal && !strstr(d.text, cases[i].refusal))
            fail_msg("%s: %s", cases[i].value, d.text);
        ce_event_unref(e);
    }
    rig_close(&r);
}

static void a_bus_that_holds_for_ever_takes_any_time(void **state)
{
    (void)state;
    struct rig r;
    struct diag d = {0};
    rig_open(&r);
    r.bus.hold_ms_max = UINT64_MAX;
    const struct ce_event *e = make("leatdeliverat", CE_STRING, "9999-12-31T23:59:59Z"), *plain = make(NULL, 0, NULL);
    assert_int_equal(entry_check(&r.channel, &r.clock.base, e, &d), OK);
    assert_int_equal(entry_check(&r.channel, &r.clock.base, plain, &d), OK);
    ce_event_unref(e);
    ce_event_unref(plain);
    rig_close(&r);
}

/* ---- hops ---- */

static void a_hop_is_spent(void **state)
{
    (void)state;
    static const struct {
        const char *value, *left; /* left NULL: refused with err */
        enum err err;
    } cases[] = {
        {"255", "254", OK},
        {"2", "1", OK},
        {"1", NULL, ERR_DENIED},
        {"0", NULL, ERR_DENIED},
        {"-1", NULL, ERR_DENIED},
        {"-0", NULL, ERR_DENIED},
        {"256", "254", OK},
        {"2147483647", "254", OK},
        {"2147483648", NULL, ERR_INVALID},
        {"ten", NULL, ERR_INVALID},
        {"1.5", NULL, ERR_INVALID},
        {"--1", NULL, ERR_INVALID},
        {" 5", NULL, ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct diag d = {0};
        struct ce_attribute a;
        const struct ce_event *e = make("knativebrokerttl", CE_STRING, cases[i].value), *before = e;
        enum err err = entry_spend_hop(&e, &d);
        if (err != cases[i].err)
            fail_msg("%s: %s %s", cases[i].value, err_name(err), d.text);
        if (cases[i].left) {
            assert_true(ce_event_attribute(e, SLICE("knativebrokerttl"), &a));
            assert_true(slice_eq_str(a.value, cases[i].left));
            assert_true(slice_eq(ce_event_data(e), SLICE("data")));
            assert_int_equal(ce_event_attribute_count(e), 5);
        } else {
            assert_ptr_equal(e, before);
            assert_true(d.text[0] != '\0');
        }
        ce_event_unref(e);
    }
}

static void the_type_of_the_attribute_stays(void **state)
{
    (void)state;
    struct ce_attribute a;
    const struct ce_event *e = make("knativebrokerttl", CE_INTEGER, "7");
    assert_int_equal(entry_spend_hop(&e, NULL), OK);
    assert_true(ce_event_attribute(e, SLICE("knativebrokerttl"), &a));
    assert_int_equal(a.type, CE_INTEGER);
    ce_event_unref(e);
}

static void an_event_without_hops_is_left_alone(void **state)
{
    (void)state;
    const struct ce_event *e = make(NULL, 0, NULL), *before = e;
    fault_arm(1);
    enum err err = entry_spend_hop(&e, NULL);
    assert_int_equal(fault_count(), 0); /* the usual event costs no memory */
    fault_disarm();
    assert_int_equal(err, OK);
    assert_ptr_equal(e, before);
    ce_event_unref(e);
}

static void without_memory_the_event_stays_as_it_was(void **state)
{
    (void)state;
    const struct ce_event *e = make("knativebrokerttl", CE_STRING, "7"), *before = e;
    fault_arm(1);
    enum err err = entry_spend_hop(&e, NULL);
    assert_true(fault_disarm());
    assert_int_equal(err, ERR_NOMEM);
    assert_ptr_equal(e, before);
    ce_event_unref(e);
}

/* ---- entering ---- */

static struct {
    unsigned calls;
    enum err err;
} ended;

static void on_done(struct entry *n, enum err e)
{
    (void)n;
    ended.calls++;
    ended.err = e;
}

static bool keep(void *arg, const struct trace_note *n)
{
    struct trace_note *kept = arg;
    if (n->kind == TRACE_NOTE_EVENT)
        *kept = *n;
    return true;
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load(counter);
}

/* Enters an event that the caller lets go of at once; what append said. */
static enum err enter(struct rig *r, struct entry *n, const struct ce_event *cause)
{
    const struct ce_event *e = make(NULL, 0, NULL);
    *n = (struct entry){
        .shard = &r->shard, .channel = &r->channel, .event = e, .cause = cause, .request = 17, .done = on_done};
    ended.calls = 0;
    enum err err = entry_start(n);
    ce_event_unref(e);
    return err;
}

static void what_is_taken_is_counted_and_noted(void **state)
{
    (void)state;
    struct rig r;
    struct entry n;
    struct trace_note note = {0};
    rig_open(&r);
    const struct ce_event *cause = make("x", CE_STRING, "y");
    fault_arm(1);
    enum err err =
        entry_start(&(struct entry){.shard = &r.shard, .channel = &r.channel, .event = cause, .done = on_done});
    script.waiting->done(script.waiting, OK);
    assert_int_equal(fault_count(), 0); /* the door itself allocates nothing */
    fault_disarm();
    assert_int_equal(err, OK);
    assert_int_equal(enter(&r, &n, cause), OK);
    ce_event_unref(cause);
    assert_int_equal(ended.calls, 0);
    script.waiting->done(script.waiting, OK);
    assert_int_equal(ended.calls, 1);
    assert_int_equal(ended.err, OK);
    assert_int_equal(get(&r.channel.accepted), 2);
    assert_int_equal(get(&r.channel.refused_full), 0);
    trace_find(r.shard.trace, SLICE("e-1"), SLICE("/s"), keep, &note);
    assert_non_null(note.event);
    assert_int_equal(note.subject, 5);
    rig_close(&r);
}

static void what_the_bus_refuses_is_not_noted(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_FULL, ERR_CLOSED, ERR_TOO_LARGE};
    struct rig r;
    rig_open(&r);
    for (size_t i = 0; i < 3; i++)
        for (int later = 0; later < 2; later++) {
            struct entry n;
            struct trace_note note = {0};
            script.at_once = later ? OK : refusals[i];
            assert_int_equal(enter(&r, &n, NULL), script.at_once);
            if (later)
                script.waiting->done(script.waiting, refusals[i]);
            assert_int_equal(ended.calls, later);
            trace_find(r.shard.trace, SLICE("e-1"), SLICE(""), keep, &note);
            assert_null(note.event);
        }
    assert_int_equal(get(&r.channel.accepted), 0);
    assert_int_equal(get(&r.channel.refused_full), 2);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_that_the_bus_can_hold_is_fine),
        cmocka_unit_test(a_bus_that_holds_for_ever_takes_any_time),
        cmocka_unit_test(a_hop_is_spent),
        cmocka_unit_test(the_type_of_the_attribute_stays),
        cmocka_unit_test(an_event_without_hops_is_left_alone),
        cmocka_unit_test(without_memory_the_event_stays_as_it_was),
        cmocka_unit_test(what_is_taken_is_counted_and_noted),
        cmocka_unit_test(what_the_bus_refuses_is_not_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
