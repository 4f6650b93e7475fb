/* SPDX-License-Identifier: Apache-2.0
 *
 * The trace: what is noted is found again, what is overwritten is gone whole, and nothing else is ever found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "../lib/fault.h"
#include "prng.h"
#include "trace.h"

static const uint64_t key[2] = {1, 2};

struct rig {
    struct clock_fake clock;
    struct loop *loop;
    struct trace *trace;
};

static void rig_open(struct rig *r, size_t bytes)
{
    clock_fake_init(&r->clock, 0, 1000 * (int64_t)NS_PER_S);
    assert_int_equal(loop_new(&r->clock.base, 16, &r->loop), OK);
    assert_int_equal(trace_new(r->loop, bytes, key, &r->trace), OK);
}

static void rig_close(struct rig *r)
{
    trace_free(r->trace);
    loop_free(r->loop);
}

static void pass(struct rig *r, uint64_t ns)
{
    clock_fake_advance(&r->clock, ns);
    assert_int_equal(loop_turn(r->loop, 0), OK);
}

/* An event with an extension of so many bytes (0: none), and data. */
static const struct ce_event *make(const char *id, const char *source, size_t extension)
{
    struct ce_builder b;
    const struct ce_event *e;
    struct diag d = {0};
    char *long_value = malloc(extension + 1);
    assert_non_null(long_value);
    memset(long_value, 'x', extension);
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(id));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, slice_str(source));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("order.made"));
    if (extension)
        ce_builder_set(&b, SLICE("long"), CE_STRING, slice_of(long_value, extension));
    ce_builder_data(&b, CE_DATA_BYTES, SLICE("the data is not kept"));
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, &d), OK);
    free(long_value);
    return e;
}

/* What a search gave. */
struct found {
    size_t count, most;
    struct trace_note notes[64];
    char others[64][TRACE_ID_MAX + 1];
    char texts[64][TRACE_BODY_MAX + 1];
    char sources[64][64];
};

static bool take(void *arg, const struct trace_note *n)
{
    struct found *f = arg;
    assert_true(f->count < 64);
    size_t i = f->count++;
    f->notes[i] = *n;
    snprintf(f->others[i], sizeof f->others[i], "%.*s", SLICE_ARG(n->other));
    snprintf(f->texts[i], sizeof f->texts[i], "%.*s", SLICE_ARG(n->attempt.text));
    if (n->event)
        snprintf(f->sources[i], sizeof f->sources[i], "%.*s", SLICE_ARG(ce_event_source(n->event)));
    return f->count < f->most;
}

static struct found *find(struct rig *r, const char *id, const char *source)
{
    static struct found f;
    f = (struct found){.most = 64};
    trace_find(r->trace, slice_str(id), slice_str(source), take, &f);
    return &f;
}

/* ---- what is noted is found ---- */

static void an_event_and_what_became_of_it(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, TRACE_BYTES_MIN);
    const struct ce_event *e = make("e-1", "/shop", 20);
    pass(&r, 5 * NS_PER_S);
    trace_event(r.trace, e, 7, 4711, NULL);
    pass(&r, NS_PER_MS);
    trace_attempt(r.trace, e, 8,
                  &(struct trace_attempt){TRACE_SUBSCRIBER, 1, 500, OK, 1200, 200 * NS_PER_MS, SLICE("no")});
    pass(&r, NS_PER_S);
    trace_attempt(r.trace, e, 8, &(struct trace_attempt){TRACE_DEAD_LETTER, 3, 0, ERR_TIMEOUT, 30, 0, SLICE("late")});
    trace_ended(r.trace, e, 8, TRACE_DEAD_LETTERED);
    const struct found *f = find(&r, "e-1", "");
    assert_int_equal(f->count, 4);

    assert_int_equal(f->notes[0].kind, TRACE_NOTE_END);
    assert_int_equal(f->notes[0].end, TRACE_DEAD_LETTERED);
    assert_int_equal(f->notes[0].subject, 8);
    assert_int_equal(f->notes[0].wall_ns, 1006 * (int64_t)NS_PER_S + (int64_t)NS_PER_MS);

    const struct trace_attempt *late = &f->notes[1].attempt, *first = &f->notes[2].attempt;
    assert_int_equal(f->notes[1].kind, TRACE_NOTE_ATTEMPT);
    assert_int_equal(late->phase, TRACE_DEAD_LETTER);
    assert_int_equal(late->number, 3);
    assert_int_equal(late->status, 0);
    assert_int_equal(late->err, ERR_TIMEOUT);
    assert_string_equal(f->texts[1], "late");
    assert_int_equal(first->phase, TRACE_SUBSCRIBER);
    assert_int_equal(first->status, 500);
    assert_int_equal(first->duration_ns, 1200);
    assert_int_equal(first->next_wait_ns, 200 * NS_PER_MS);
    assert_string_equal(f->texts[2], "no");

    assert_int_equal(f->notes[3].kind, TRACE_NOTE_EVENT);
    assert_int_equal(f->notes[3].subject, 7);
    assert_int_equal(f->notes[3].request, 4711);
    assert_int_equal(f->notes[3].wall_ns, 1005 * (int64_t)NS_PER_S);
    assert_string_equal(f->others[3], "");
    const struct ce_event *kept = f->notes[3].event;
    assert_int_equal(ce_event_attribute_count(kept), ce_event_attribute_count(e));
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i), b;
        assert_true(ce_event_attribute(kept, a.name, &b));
        assert_true(slice_eq(a.value, b.value) && a.type == b.type);
    }
    assert_int_equal(ce_event_data(kept).len, 0);
    assert_int_equal(ce_event_data_kind(kept), CE_DATA_NONE);
    for (size_t i = 0; i < f->count; i++)
        assert_true(f->notes[i].mark == f->notes[0].mark);
    ce_event_unref(e);
    rig_close(&r);
}

/* An end right behind an attempt shares its note, but only with its own, and only when no retry follows. */
static void an_end_belongs_to_its_own_attempt(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, TRACE_BYTES_MIN);
    const struct ce_event *e = make("e-1", "/shop", 0), *other = make("e-2", "/shop", 0);
    const struct trace_attempt good = {TRACE_SUBSCRIBER, 1, 202, OK, 1, 0, SLICE("")},
                               again = {TRACE_SUBSCRIBER, 1, 503, OK, 1, NS_PER_S, SLICE("")};
    trace_attempt(r.trace, e, 8, &good);
    trace_ended(r.trace, e, 9, TRACE_FILTERED);
    trace_ended(r.trace, e, 8, TRACE_DELIVERED);
    trace_attempt(r.trace, e, 8, &good);
    trace_ended(r.trace, other, 8, TRACE_EXPIRED);
    trace_attempt(r.trace, other, 8, &again);
    trace_ended(r.trace, other, 8, TRACE_RELEASED);
    trace_attempt(r.trace, e, 8, &good);
    trace_ended(r.trace, e, 8, TRACE_DELIVERED);
    trace_ended(r.trace, e, 8, TRACE_DUPLICATE);

    static const struct {
        enum trace_kind kind;
        uint32_t subject;
        enum trace_end end;
    } first[] = {{TRACE_NOTE_END, 8, TRACE_DUPLICATE},
                 {TRACE_NOTE_END, 8, TRACE_DELIVERED},
                 {TRACE_NOTE_ATTEMPT, 8, 0},
                 {TRACE_NOTE_ATTEMPT, 8, 0},
                 {TRACE_NOTE_END, 8, TRACE_DELIVERED},
                 {TRACE_NOTE_END, 9, TRACE_FILTERED},
                 {TRACE_NOTE_ATTEMPT, 8, 0}},
      second[] = {{TRACE_NOTE_END, 8, TRACE_RELEASED}, {TRACE_NOTE_ATTEMPT, 8, 0}, {TRACE_NOTE_END, 8, TRACE_EXPIRED}};
    const struct found *f = find(&r, "e-1", "");
    assert_int_equal(f->count, sizeof first / sizeof *first);
    for (size_t i = 0; i < f->count; i++) {
        assert_int_equal(f->notes[i].kind, first[i].kind);
        assert_int_equal(f->notes[i].subject, first[i].subject);
        assert_true(first[i].kind != TRACE_NOTE_END || f->notes[i].end == first[i].end);
    }
    f = find(&r, "e-2", "");
    assert_int_equal(f->count, sizeof second / sizeof *second);
    for (size_t i = 0; i < f->count; i++) {
        assert_int_equal(f->notes[i].kind, second[i].kind);
        assert_true(second[i].kind != TRACE_NOTE_END || f->notes[i].end == second[i].end);
    }
    ce_event_unref(e);
    ce_event_unref(other);
    rig_close(&r);
}

static void an_event_made_by_another_is_found_from_both_sides(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, TRACE_BYTES_MIN);
    const struct ce_event *cause = make("question", "/s", 0), *reply = make("answer", "/service", 0);
    trace_event(r.trace, reply, 3, 0, cause);
    const struct found *f = find(&r, "answer", "");
    assert_int_equal(f->count, 1);
    assert_int_equal(f->notes[0].kind, TRACE_NOTE_EVENT);
    assert_string_equal(f->others[0], "question");
    f = find(&r, "question", "/s");
    assert_int_equal(f->count, 1);
    assert_int_equal(f->notes[0].kind, TRACE_NOTE_MADE);
    assert_int_equal(f->notes[0].subject, 3);
    assert_string_equal(f->others[0], "answer");
    ce_event_unref(cause);
    ce_event_unref(reply);
    rig_close(&r);
}

static void ids_are_unique_per_source(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, TRACE_BYTES_MIN);
    const struct ce_event *a = make("1", "/a", 0), *b = make("1", "/b", 0);
    trace_event(r.trace, a, 1, 0, NULL);
    trace_event(r.trace, b, 2, 0, NULL);
    trace_ended(r.trace, a, 9, TRACE_DELIVERED);
    const struct found *f = find(&r, "1", "");
    assert_int_equal(f->count, 3);
    assert_true(f->notes[0].mark == f->notes[2].mark && f->notes[0].mark != f->notes[1].mark);
    f = find(&r, "1", "/a");
    assert_int_equal(f->count, 2);
    assert_string_equal(f->sources[1], "/a");
    assert_int_equal(find(&r, "1", "/c")->count, 0);
    assert_int_equal(find(&r, "2", "")->count, 0);
    ce_event_unref(a);
    ce_event_unref(b);
    rig_close(&r);
}

static void the_reader_may_stop(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, TRACE_BYTES_MIN);
    const struct ce_event *e = make("1", "/a", 0);
    for (unsigned i = 0; i < 10; i++)
        trace_ended(r.trace, e, i, TRACE_DELIVERED);
    struct found f = {.most = 3};
    trace_find(r.trace, SLICE("1"), SLICE(""), take, &f);
    assert_int_equal(f.count, 3);
    assert_int_equal(f.notes[2].subject, 7);
    ce_event_unref(e);
    rig_close(&r);
}

/* ---- limits ---- */

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct rig r;
    char text[300], expected[TRACE_BODY_MAX + 1];
    memset(text, 'y', sizeof text);
    memset(expected, 'y', TRACE_BODY_MAX);
    expected[TRACE_BODY_MAX] = '\0';
    rig_open(&r, TRACE_BYTES_MIN);
    text[sizeof text - 1] = '\0';
    const struct ce_event *e = make("1", "/a", 0), *long_id = make(text, "/a", 0);
    trace_attempt(r.trace, e, 1, &(struct trace_attempt){.text = slice_str(text)});
    trace_event(r.trace, e, 1, 0, long_id);
    const struct found *f = find(&r, "1", "");
    assert_string_equal(f->texts[1], expected);
    assert_int_equal(strlen(f->others[0]), TRACE_ID_MAX);
    f = find(&r, text, ""); /* the whole id finds it */
    assert_int_equal(f->count, 1);
    assert_int_equal(find(&r, expected, "")->count, 0);
    ce_event_unref(e);
    ce_event_unref(long_id);
    rig_close(&r);
}

static void long_attributes_are_left_out_and_the_note_stays(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, TRACE_BYTES_MIN);
    const struct ce_event *small = make("fits", "/a", 1);
    size_t room = TRACE_ATTRIBUTES_MAX - ce_event_head_size(small);
    for (size_t n = room - 64; n < room + 64; n++) {
        const struct ce_event *e = make("1", "/a", 1 + n);
        trace_event(r.trace, e, (uint32_t)n, 5, small);
        struct found *f = find(&r, "1", "");
        assert_int_equal(f->notes[0].subject, n);
        assert_int_equal(f->notes[0].request, 5);
        assert_string_equal(f->others[0], "fits");
        assert_int_equal(f->notes[0].event != NULL, ce_event_head_size(e) <= TRACE_ATTRIBUTES_MAX);
        ce_event_unref(e);
        rig_close(&r);
        rig_open(&r, TRACE_BYTES_MIN);
    }
    ce_event_unref(small);
    rig_close(&r);
}

/* Of many more events than there is room for, the newest are all there with all their notes, and of the others none. */
static void the_oldest_notes_go_first(void **state)
{
    (void)state;
    static const size_t sizes[] = {TRACE_BYTES_MIN, TRACE_BYTES_MIN + 8, 100001, 1u << 20};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct rig r;
        struct prng p;
        enum { EVENTS = 20000 };
        int64_t *noted = calloc(EVENTS, sizeof *noted);
        char id[20];
        assert_non_null(noted);
        prng_seed(&p, s);
        rig_open(&r, sizes[s]);
        assert_int_equal(trace_since(r.trace), 1000 * (int64_t)NS_PER_S);
        for (unsigned i = 0; i < EVENTS; i++) {
            snprintf(id, sizeof id, "id-%u", i);
            const struct ce_event *e = make(id, "/s", prng_below(&p, 300));
            pass(&r, NS_PER_MS);
            noted[i] = clock_wall_ns(&r.clock.base);
            trace_event(r.trace, e, i, i, NULL);
            trace_attempt(r.trace, e, i, &(struct trace_attempt){.number = i, .text = SLICE("answer")});
            trace_ended(r.trace, e, i, TRACE_DELIVERED);
            ce_event_unref(e);
        }
        bool gone = false;
        size_t whole = 0;
        int64_t since = trace_since(r.trace);
        for (unsigned i = EVENTS; i-- > 0;) {
            snprintf(id, sizeof id, "id-%u", i);
            const struct found *f = find(&r, id, "/s");
            assert_true(f->count <= 3);
            if (gone)
                assert_int_equal(f->count, 0);
            for (size_t k = 0; k < f->count; k++) {
                assert_int_equal(f->notes[k].subject, i);
                assert_int_equal(f->notes[k].wall_ns, noted[i]);
            }
            if (f->count == 3)
                assert_true(slice_eq_str(ce_event_id(f->notes[2].event), id));
            if (noted[i] > since)
                assert_int_equal(f->count, 3);
            gone = f->count < 3;
            whole += f->count == 3;
        }
        assert_true(whole * 600 > sizes[s] / 2); /* the room is used, with at most so many bytes an event */
        assert_true(whole < EVENTS);
        assert_true(since <= noted[EVENTS - whole] + (int64_t)(whole / 16) * (int64_t)NS_PER_MS);
        free(noted);
        rig_close(&r);
    }
}

/* With one bucket's chain as long as the ring: the index has few buckets, so many ids share each. */
static void ids_that_share_a_bucket_are_kept_apart(void **state)
{
    (void)state;
    struct rig r;
    char id[20];
    rig_open(&r, TRACE_BYTES_MIN);
    for (unsigned i = 0; i < 600; i++) {
        snprintf(id, sizeof id, "%u", i);
        const struct ce_event *e = make(id, "/s", 0);
        trace_ended(r.trace, e, i, TRACE_PARKED);
        ce_event_unref(e);
    }
    for (unsigned i = 0; i < 600; i++) {
        snprintf(id, sizeof id, "%u", i);
        const struct found *f = find(&r, id, "");
        assert_int_equal(f->count, 1);
        assert_int_equal(f->notes[0].subject, i);
    }
    rig_close(&r);
}

/* Every record may end exactly at the end of the ring, or one word before it. */
static void every_place_of_the_end_is_met(void **state)
{
    (void)state;
    const struct ce_event *e = make("1", "/s", 0);
    for (size_t skew = 0; skew < 128; skew += 8) {
        struct rig r;
        rig_open(&r, TRACE_BYTES_MIN + skew);
        char text[TRACE_BODY_MAX] = {0};
        for (unsigned i = 0; i < 5000; i++) {
            const struct trace_attempt a = {.number = i, .text = slice_of(text, i % (TRACE_BODY_MAX + 1))};
            trace_attempt(r.trace, e, 1, &a);
            struct found f = {.most = 2};
            trace_find(r.trace, SLICE("1"), SLICE("/s"), take, &f);
            assert_int_equal(f.notes[0].attempt.number, i);
            assert_int_equal(f.notes[0].attempt.text.len, i % (TRACE_BODY_MAX + 1));
            if (i > 0)
                assert_int_equal(f.notes[1].attempt.number, i - 1);
        }
        rig_close(&r);
    }
    ce_event_unref(e);
}

/* ---- without ---- */

static void no_trace_is_fine(void **state)
{
    (void)state;
    const struct ce_event *e = make("1", "/s", 0);
    trace_event(NULL, e, 1, 1, e);
    trace_attempt(NULL, e, 1, &(struct trace_attempt){0});
    trace_ended(NULL, e, 1, TRACE_DELIVERED);
    trace_free(NULL);
    ce_event_unref(e);
}

static void without_memory_there_is_none(void **state)
{
    (void)state;
    struct clock_fake clock;
    struct loop *loop;
    struct trace *t = NULL;
    clock_fake_init(&clock, 0, 0);
    assert_int_equal(loop_new(&clock.base, 16, &loop), OK);
    fault_arm(1);
    enum err e = trace_new(loop, TRACE_BYTES_MIN, key, &t);
    assert_true(fault_disarm());
    assert_int_equal(e, ERR_NOMEM);
    assert_null(t);
    loop_free(loop);
}

static void every_end_has_a_name(void **state)
{
    (void)state;
    for (int i = 0; i < TRACE_END_COUNT; i++)
        assert_true(trace_end_name((enum trace_end)i)[0] >= 'a');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_and_what_became_of_it),
        cmocka_unit_test(an_end_belongs_to_its_own_attempt),
        cmocka_unit_test(an_event_made_by_another_is_found_from_both_sides),
        cmocka_unit_test(ids_are_unique_per_source),
        cmocka_unit_test(the_reader_may_stop),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(long_attributes_are_left_out_and_the_note_stays),
        cmocka_unit_test(the_oldest_notes_go_first),
        cmocka_unit_test(ids_that_share_a_bucket_are_kept_apart),
        cmocka_unit_test(every_place_of_the_end_is_met),
        cmocka_unit_test(no_trace_is_fine),
        cmocka_unit_test(without_memory_there_is_none),
        cmocka_unit_test(every_end_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
