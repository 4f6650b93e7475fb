/* SPDX-License-Identifier: Apache-2.0
 *
 * Catching up yields to producers (channels/log/log_yield.c): while many append, who is behind gets what is new for it
 * and a share beyond, whatever it could take; and everything when few append or there is time. On a clock that stands
 * still until it is moved.
 */
#include "../bus/contract.c"

#include "channels/log/log_bus.h"

#define PER_TURN 5 /* appends in each millisecond */
#define TURNS 200
#define APPENDS (TURNS * PER_TURN)
#define SLACK 2 /* deliveries: of what one turn began and the next one ended */

static const struct contract on_one = {"log", "dir=@ reserve=0", 1, TURNED, .idle = log_idle};

static uint64_t all_the_time(struct log_loop *l)
{
    return clock_monotonic_ns(l->bus->clock);
}

static uint64_t hardly_ever(struct log_loop *l)
{
    return clock_monotonic_ns(l->bus->clock) / 4;
}

static uint64_t nobody_knows(struct log_loop *l)
{
    (void)l;
    return UINT64_MAX;
}

/* Time passes with so many appends a turn to this channel. */
static void producers_go_on(struct rig *r, struct bus_channel *c, unsigned turns, unsigned per_turn)
{
    const struct ce_event *event = rig_event("new", NULL, 10);
    struct rig_append *appends = calloc(turns * per_turn, sizeof *appends);
    assert_non_null(appends);
    for (unsigned n = 0, t = 0; t < turns; t++) {
        for (unsigned i = 0; i < per_turn; i++)
            rig_append_start(r, 0, c, event, &appends[n++]);
        rig_turn(r);
    }
    for (unsigned n = 0; n < turns * per_turn; n++)
        assert_true(appends[n].ended == 1 && appends[n].err == OK);
    free(appends);
    ce_event_unref(event);
}

struct behind {
    struct bus_channel *c;
    struct bus_subscription *s;
    struct tap t;
};

/* A subscription with a backlog that nobody has drained yet. */
static void behind_new(struct rig *r, const char *channel, struct behind *b)
{
    b->c = rig_channel(r, channel);
    b->s = rig_subscribe(r, b->c, "s");
    producers_go_on(r, b->c, 40, 2 * APPENDS / 40);
    rig_quiet(r); /* and nobody yields any more */
}

/* It takes all it gets while producers go on with `c`; and has taken by now what was saved up for it. */
static void tap_behind(struct rig *r, struct bus_channel *c, struct behind *b)
{
    producers_go_on(r, c, 30, PER_TURN);
    tap_drain(r, b->s, 0, &b->t);
    producers_go_on(r, c, 60, PER_TURN);
}

static struct rig *busy(void **state, uint64_t (*worked_ns)(struct log_loop *))
{
    struct rig *r = *state;
    log_of(r->bus)->worked_ns = worked_ns;
    return r;
}

static void gets_what_is_new_and_a_share(void **state, uint64_t (*worked_ns)(struct log_loop *))
{
    struct rig *r = busy(state, worked_ns);
    struct behind b;
    behind_new(r, "ns/c", &b);
    tap_behind(r, b.c, &b);
    uint64_t before = tap_count(&b.t), share = APPENDS / LOG_YIELD_PART;
    producers_go_on(r, b.c, TURNS, PER_TURN);
    assert_in_range(tap_count(&b.t) - before, APPENDS + share - SLACK, APPENDS + share + SLACK);
    tap_close(&b.t);
}

static void a_busy_loop_gives_what_is_new_and_a_share(void **state)
{
    gets_what_is_new_and_a_share(state, all_the_time);
}

static void where_nobody_knows_it_is_the_same(void **state)
{
    gets_what_is_new_and_a_share(state, nobody_knows);
}

static void what_gets_nothing_new_drains_by_the_share(void **state)
{
    struct rig *r = busy(state, all_the_time);
    struct behind old;
    behind_new(r, "ns/old", &old);
    struct bus_channel *c = rig_channel(r, "ns/new");
    tap_behind(r, c, &old);
    uint64_t before = tap_count(&old.t), share = APPENDS / LOG_YIELD_PART;
    producers_go_on(r, c, TURNS, PER_TURN);
    assert_in_range(tap_count(&old.t) - before, share - SLACK, share + SLACK);
    tap_close(&old.t);
}

static void all_who_are_behind_get_of_the_share(void **state)
{
    struct rig *r = busy(state, all_the_time);
    struct behind old[3];
    struct bus_channel *c = rig_channel(r, "ns/new");
    for (unsigned i = 0; i < 3; i++)
        behind_new(r, (const char *[]){"ns/a", "ns/b", "ns/c"}[i], &old[i]);
    producers_go_on(r, c, 30, PER_TURN);
    for (unsigned i = 0; i < 3; i++)
        tap_drain(r, old[i].s, 0, &old[i].t);
    producers_go_on(r, c, TURNS, PER_TURN);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(tap_count(&old[i].t) > APPENDS / LOG_YIELD_PART / 6);
        tap_close(&old[i].t);
    }
}

static void who_leaves_while_it_waits_leaves_no_timer_behind(void **state)
{
    struct rig *r = busy(state, all_the_time);
    struct behind old;
    behind_new(r, "ns/old", &old);
    struct bus_channel *c = rig_channel(r, "ns/new");
    tap_behind(r, c, &old);
    const struct log_yield *y = &log_of(r->bus)->loops[0].yield;
    rig_until(r, (producers_go_on(r, c, 1, PER_TURN), !list_empty(&y->held)));
    assert_true(loop_timer_armed(&y->held_end));
    tap_close(&old.t);
    assert_true(list_empty(&y->held) && !loop_timer_armed(&y->held_end));
}

static void who_keeps_up_never_waits(void **state)
{
    struct rig *r = busy(state, all_the_time);
    struct behind old;
    struct tap live;
    behind_new(r, "ns/old", &old);
    struct bus_channel *c = rig_channel(r, "ns/new");
    struct bus_subscription *s = rig_subscribe(r, c, "live");
    tap_drain(r, s, 0, &live);
    producers_go_on(r, c, 30, PER_TURN);
    tap_drain(r, old.s, 0, &old.t);
    for (unsigned n = 31; n < 100; n++) {
        producers_go_on(r, c, 1, PER_TURN);
        assert_int_equal(tap_count(&live), n * PER_TURN);
    }
    tap_close(&live);
    tap_close(&old.t);
}

static void with_time_left_it_takes_everything(void **state)
{
    struct rig *r = busy(state, hardly_ever);
    struct behind b;
    behind_new(r, "ns/c", &b);
    producers_go_on(r, b.c, 30, PER_TURN);
    tap_drain(r, b.s, 0, &b.t);
    producers_go_on(r, b.c, TURNS, PER_TURN);
    assert_int_equal(rig_probe_subscription(r, b.s).events, 0);
    tap_close(&b.t);
}

static void beside_few_appends_it_takes_everything(void **state)
{
    struct rig *r = busy(state, all_the_time);
    struct behind b;
    behind_new(r, "ns/c", &b);
    producers_go_on(r, b.c, 30, PER_TURN);
    producers_go_on(r, b.c, 40, 1);
    tap_drain(r, b.s, 0, &b.t);
    producers_go_on(r, b.c, 30, 1);
    assert_int_equal(rig_probe_subscription(r, b.s).events, 0);
    tap_close(&b.t);
}

static void when_producers_stop_it_takes_everything(void **state)
{
    struct rig *r = busy(state, all_the_time);
    struct behind b;
    behind_new(r, "ns/c", &b);
    tap_behind(r, b.c, &b);
    assert_true(rig_probe_subscription(r, b.s).events > APPENDS);
    producers_go_on(r, b.c, 40, 0);
    assert_int_equal(rig_probe_subscription(r, b.s).events, 0);
    tap_close(&b.t);
}

/* What the system says of this thread: it grows while it runs. */
static void work_is_seen(void **state)
{
    struct rig *r = *state;
    struct log_loop *l = &log_of(r->bus)->loops[0];
    uint64_t before = log_yield_worked(l), after;
    if (before == UINT64_MAX)
        skip();
    do
        after = log_yield_worked(l);
    while (after == before);
    assert_true(after > before && after - before < 60 * NS_PER_S);
}

#define TEST(name)                                                                                                     \
    cmocka_unit_test_prestate_setup_teardown(name, contract_setup, contract_teardown, (void *)(uintptr_t)&on_one)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_busy_loop_gives_what_is_new_and_a_share),
        TEST(where_nobody_knows_it_is_the_same),
        TEST(what_gets_nothing_new_drains_by_the_share),
        TEST(all_who_are_behind_get_of_the_share),
        TEST(who_leaves_while_it_waits_leaves_no_timer_behind),
        TEST(who_keeps_up_never_waits),
        TEST(with_time_left_it_takes_everything),
        TEST(beside_few_appends_it_takes_everything),
        TEST(when_producers_stop_it_takes_everything),
        TEST(work_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
