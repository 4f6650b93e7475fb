/* SPDX-License-Identifier: Apache-2.0
 *
 * What the memory bus promises beyond the contract: how its bounds count, what overflow drops, how loops lend, and that
 * no allocation is needed twice nor missed.
 */
#include "../bus/contract.c"
#include "../lib/fault.h"

#include <sys/wait.h>
#include <unistd.h>

static const struct contract on_one = {"memory", "", 1, TURNED, .idle = NULL},
                             on_three = {"memory", "", 3, TURNED, .idle = NULL},
                             on_faulty = {"faulty", "seed=3 duplicate=0.3 revoke=0.1 append_delay_ms=1 reorder=0.2", 2,
                                          TURNED, .idle = NULL},
                             on_small = {"memory", "capacity=20KiB total=30KiB", 2, TURNED, .idle = NULL};

/* Appends e0, e1 ... of 1000 bytes on this loop until the bus refuses, `most` at most; how many it took. */
static unsigned fill(struct rig *r, size_t loop, struct bus_channel *c, const char *key, unsigned most)
{
    for (unsigned n = 0; n < most; n++) {
        char id[16];
        snprintf(id, sizeof id, "e%u", n);
        const struct ce_event *event = rig_event(id, key, 1000);
        enum err e = rig_append_try(r, loop, c, event);
        ce_event_unref(event);
        if (e == ERR_FULL)
            return n;
        assert_int_equal(e, OK);
    }
    return most;
}

static void registry_knows_its_names(void **state)
{
    (void)state;
    assert_ptr_equal(bus_find("stub"), bus_find("memory"));
    assert_string_equal(bus_find("faulty")->name, "faulty");
    assert_null(bus_find("kafkaesque"));
    assert_null(bus_find(""));
    size_t n = 0;
    for (const char *const *name = bus_names(); *name; name++, n++)
        assert_string_equal(bus_find(*name)->name, *name);
    assert_int_equal(n, 6);
}

static void bad_sizes_are_refused(void **state)
{
    struct rig *r = *state;
    for (const char *const *bad = (const char *const[]){"0", "", "-1", "many", "1.5MiB", "99999999999999999999", NULL};
         *bad; bad++) {
        struct bus_param params[] = {{"capacity", *bad}};
        struct bus *b = NULL;
        struct bus_channel *c = NULL;
        struct rig_op o = {.op.done = rig_op_done};
        struct diag d = {0};
        assert_int_equal(r->ops->open(&r->env, params, 1, &b, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, "capacity"));
        assert_int_equal(r->ops->provision(r->bus, SLICE("ns/c"), params, 1, &c, &o.op, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, "capacity"));
    }
}

static void bad_overflow_and_start_are_refused(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = NULL;
    struct bus_param param = {"overflow", "explode"};
    struct bus_start start = {.kind = BUS_START_OFFSET};
    struct rig_op o = {.op.done = rig_op_done};
    struct diag d = {0};
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, &param, 1, &s, &o.op, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "drop-oldest"));
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), &start, NULL, NULL, 0, &s, &o.op, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "past"));
}

static void faulty_names_its_bad_parameters(void **state)
{
    struct rig *r = *state;
    static const struct bus_param bad[] = {
        {"append_fail", "2"}, {"revoke", "nan"},    {"duplicate", "often"}, {"reorder", "-0.1"},
        {"reorder", ""},      {"seed", "x"},        {"seed", "-1"},         {"append_delay_ms", "60001"},
        {"inner", "faulty"},  {"inner", "nothing"}, {"capacity", "none"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bus *b = NULL;
        struct diag d = {0};
        assert_int_equal(bus_find("faulty")->open(&r->env, &bad[i], 1, &b, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, bad[i].name));
        assert_null(b);
    }
}

static void an_event_counts_once_per_channel(void **state)
{
    struct rig *r = *state;
    struct bus_channel *one = rig_channel(r, "ns/one"), *ten = rig_channel(r, "ns/ten");
    rig_subscribe(r, one, "s");
    for (unsigned i = 0; i < 10; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%u", i);
        rig_subscribe(r, ten, name);
    }
    const struct ce_event *event = rig_event("e", NULL, 100000);
    rig_append_event(r, 0, one, event);
    rig_append_event(r, 0, ten, event);
    assert_true(rig_probe(r, one).bytes >= ce_event_size(event));
    assert_true(rig_probe(r, ten).bytes < rig_probe(r, one).bytes + 2000);
    assert_int_equal(rig_probe(r, ten).events, 1);
    assert_int_equal(rig_probe(r, NULL).bytes, rig_probe(r, one).bytes + rig_probe(r, ten).bytes);
    ce_event_unref(event);
}

/* The 99 that keep up leave nothing behind: a backlog costs what the one that is behind holds. */
static void one_that_is_behind_costs_its_own_share(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *alone = rig_channel(r, "ns/alone");
    struct tap taps[99];
    rig_subscribe(r, c, "behind");
    rig_subscribe(r, alone, "behind");
    for (unsigned i = 0; i < 99; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%u", i);
        tap_drain(r, rig_subscribe(r, c, name), 0, &taps[i]);
    }
    rig_append_many(r, c, 200);
    rig_append_many(r, alone, 200);
    for (unsigned i = 0; i < 99; i++) {
        rig_until(r, tap_acked(&taps[i]) == 200);
        tap_close(&taps[i]);
    }
    assert_in_range(rig_probe(r, c).bytes, rig_probe(r, alone).bytes, rig_probe(r, alone).bytes + 4096);
}

static void the_longest_backlog_decides(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *slow = rig_subscribe(r, c, "slow"), *quick = rig_subscribe(r, c, "quick");
    struct tap q, s;
    tap_drain(r, quick, 0, &q);
    unsigned n = fill(r, 0, c, NULL, 100);
    assert_in_range(n, 12, 19);
    takes_exactly(&q, n);
    assert_int_equal(fill(r, 0, c, NULL, 1), 0); /* the slow one alone holds them */
    tap_attach(r, slow, 0, &s);
    tap_credit(&s, 1);
    rig_until(r, tap_settle(&s, NULL, BUS_ACK));
    assert_int_equal(fill(r, 0, c, NULL, 2), 1); /* room for one */
    tap_close(&q);
    tap_close(&s);
}

static void the_total_bounds_all_channels(void **state)
{
    struct rig *r = *state;
    struct bus_channel *a = rig_channel(r, "ns/a"), *b = rig_channel(r, "ns/b"),
                       *large = rig_channel_with(r, "ns/large", "capacity=1MiB");
    struct bus_subscription *s = rig_subscribe(r, a, "s"), *of_large = rig_subscribe(r, large, "s");
    rig_subscribe(r, b, "s");
    unsigned of_a = fill(r, 0, a, NULL, 100), of_b = fill(r, 1, b, NULL, 100);
    assert_true(of_b > 0 && of_b < of_a);
    assert_true(rig_probe(r, NULL).bytes <= 30 << 10);
    rig_unsubscribe(r, s, true); /* its backlog's room is free again */
    assert_int_equal(rig_probe(r, a).bytes, 0);
    assert_in_range(fill(r, 0, b, NULL, 100), 1, 19);
    const struct ce_event *event = rig_event("huge", NULL, 31 << 10);
    assert_int_equal(rig_append_try(r, 0, large, event), ERR_TOO_LARGE); /* for the bus, if not for its channel */
    ce_event_unref(event);
    assert_int_equal(rig_probe_subscription(r, of_large).events, 0);
}

static void drop_oldest_drops_its_oldest(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *lossy = rig_subscribe_with(r, c, "lossy", "overflow=drop-oldest"),
                            *quick = rig_subscribe(r, c, "quick");
    struct tap q, l;
    tap_drain(r, quick, 0, &q);
    for (unsigned i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        const struct ce_event *event = rig_event(id, NULL, 1000);
        rig_append_event(r, 0, c, event); /* never refused */
        ce_event_unref(event);
        rig_turn(r);
        rig_turn(r);
    }
    takes_exactly(&q, 50); /* who keeps up loses nothing */
    struct bus_probe p = rig_probe_subscription(r, lossy);
    assert_true(p.dropped > 25 && p.events + p.dropped == 50);
    assert_int_equal(rig_probe(r, c).dropped, p.dropped);
    assert_int_equal(rig_probe_subscription(r, quick).dropped, 0);
    tap_drain(r, lossy, 0, &l);
    takes_exactly(&l, (unsigned)p.events);
    char first[8];
    snprintf(first, sizeof first, "e%u", (unsigned)p.dropped);
    assert_string_equal(l.items[0].id, first); /* the newest were kept, in order */
    tap_close(&q);
    tap_close(&l);
}

static void drop_oldest_leaves_what_is_in_flight(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *lossy = rig_subscribe_with(r, c, "lossy", "overflow=drop-oldest");
    struct tap l;
    tap_attach(r, lossy, 0, &l);
    tap_credit(&l, 3);
    assert_int_equal(fill(r, 0, c, NULL, 40), 40);
    rig_until(r, tap_open(&l) == 3);
    static const char *const ids[] = {"e0", "e1", "e2"};
    assert_true(tap_settle(&l, ids[0], BUS_RELEASE)); /* back in the queue, as its oldest */
    assert_int_equal(fill(r, 0, c, NULL, 1), 1);
    assert_int_equal(fill(r, 0, c, NULL, 1), 1);
    for (unsigned i = 1; i < 3; i++)
        assert_true(tap_settle(&l, ids[i], BUS_ACK));
    l.acks = true;
    tap_credit(&l, 1);
    rig_until(r, rig_probe_subscription(r, lossy).events == 0);
    for (uint64_t i = 3; i < l.count; i++)
        assert_string_not_equal(l.items[i].id, "e3"); /* dropped, before any newer */
    tap_close(&l);
}

static void drop_oldest_gives_way_to_nobody_who_refuses(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *lossy = rig_subscribe_with(r, c, "lossy", "overflow=drop-oldest");
    rig_subscribe(r, c, "slow");
    unsigned n = fill(r, 0, c, NULL, 100);
    assert_in_range(n, 12, 19);
    assert_int_equal(rig_probe_subscription(r, lossy).dropped, 0); /* dropping there would free nothing */
    /* The parameters given last count. */
    struct bus_subscription *slow = rig_subscribe_with(r, c, "slow", "overflow=drop-oldest");
    rig_unsubscribe(r, slow, false);
    assert_int_equal(fill(r, 0, c, NULL, 1), 0); /* those kept by the old ones stay */
}

static void drop_oldest_reaches_other_loops(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *lossy = rig_subscribe_with(r, c, "lossy", "overflow=drop-oldest");
    assert_int_equal(fill(r, 0, c, NULL, 100), 100); /* its whole backlog lies at loop 0 */
    unsigned refused = 0, taken = 0;
    while (taken < 10) { /* loop 1 has nothing to drop: refused once, and loop 0 gives way */
        if (fill(r, 1, c, NULL, 1))
            taken++;
        else
            refused++;
        rig_turn(r);
        assert_true(refused <= taken + 2);
    }
    struct bus_probe p = rig_probe_subscription(r, lossy);
    assert_int_equal(p.events + p.dropped, 110);
}

/* This tap has had e0, e1 ... e(n-1), each once, in this order. */
static void took_in_order(struct tap *t, unsigned n)
{
    takes_exactly(t, n);
    assert_int_equal(t->count, n);
    for (unsigned i = 0; i < n; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        assert_string_equal(t->items[i].id, id);
    }
}

static void what_comes_back_keeps_its_place(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    assert_int_equal(fill(r, 0, c, NULL, 10), 10);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 5);
    rig_until(r, tap_open(&t) == 5);
    assert_true(tap_settle(&t, "e3", BUS_RELEASE) && tap_settle(&t, "e1", BUS_RELEASE) &&
                tap_settle(&t, "e2", BUS_RELEASE));
    tap_close(&t);
    tap_drain(r, s, 0, &t);
    took_in_order(&t, 10);
    tap_close(&t);
}

static void a_stream_at_home_waits_for_what_was_lent(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap away, home;
    for (size_t at = 0; at < r->loop_count; at++) {
        tap_attach(r, s, (at + 1) % r->loop_count, &away); /* without credit: what it borrows lies there */
        rig_quiet(r);
        assert_int_equal(fill(r, at, c, NULL, 400), 400); /* more than is lent at a time */
        rig_quiet(r);
        tap_drain(r, s, at,
                  &home); /* nothing has turned since: the first are still away, and the rest may not pass them */
        took_in_order(&home, 400);
        assert_int_equal(tap_count(&away), 0);
        tap_close(&home);
        tap_close(&away);
    }
}

static void a_backlog_moves_on_when_its_borrower_goes(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap first, second;
    tap_attach(r, s, 0, &first);
    rig_quiet(r);
    tap_attach(r, s, 1, &second);
    assert_int_equal(fill(r, 2, c, NULL, 400), 400);
    rig_quiet(r);
    tap_close(&first);
    second.acks = true;
    tap_credit(&second, 8);
    took_in_order(&second, 400);
    tap_close(&second);
}

/* One event between loops 1 and 0: lent to a stream that is gone when it arrives, so that it turns round. */
struct air {
    struct bus_subscription *s;
    struct tap t;
    struct rig_append a;
};

static struct air in_the_air(struct rig *r, struct bus_channel *c)
{
    return (struct air){.s = rig_subscribe(r, c, "s")};
}

static void throw_up(struct rig *r, struct bus_channel *c, struct air *air)
{
    const struct ce_event *event = rig_event("e0", NULL, 10);
    tap_attach(r, air->s, 0, &air->t); /* from here on nothing turns */
    rig_append_start(r, 1, c, event, &air->a);
    tap_detach_here(&air->t);
    assert_int_equal(air->a.at_once, OK);
    ce_event_unref(event);
}

static void unsubscribe_waits_for_what_is_in_the_air(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct air air = in_the_air(r, c);
    throw_up(r, c, &air);
    rig_unsubscribe(r, air.s, true);
    assert_int_equal(rig_probe(r, c).bytes, 0);
    free(air.t.items);
}

static void release_waits_for_what_is_in_the_air(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct rig_op kept = {.op.done = rig_op_done};
    struct air air = in_the_air(r, c);
    throw_up(r, c, &air);
    r->ops->unsubscribe(r->bus, air.s, false, &kept.op);
    rig_release(r, c, true);
    assert_int_equal(kept.ended, 1);
    assert_int_equal(rig_probe(r, NULL).bytes, 0);
    free(air.t.items);
}

static void stop_waits_for_nothing_in_the_air(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *d = rig_channel(r, "ns/d");
    struct rig_op left = {.op.done = rig_op_done}, kept = {.op.done = rig_op_done}, released = {.op.done = rig_op_done};
    struct air of_c = in_the_air(r, c), of_d = in_the_air(r, d);
    throw_up(r, c, &of_c);
    throw_up(r, d, &of_d);
    r->ops->unsubscribe(r->bus, of_c.s, true, &left.op);
    r->ops->unsubscribe(r->bus, of_d.s, false, &kept.op);
    r->ops->release(r->bus, d, true, &released.op);
    rig_stop(r);
    assert_true(left.ended == 1 && kept.ended == 1 && released.ended == 1);
    free(of_c.t.items);
    free(of_d.t.items);
}

/* What is lent has all been taken, with the last of the credit: later credit brings the rest, though nothing was
 * settled in between. */
static void later_credit_brings_what_was_not_lent_yet(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct tap t;
    tap_attach(r, rig_subscribe(r, c, "s"), 1, &t);
    for (unsigned i = 0; i < 600; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        rig_append(r, 0, c, id, NULL);
    }
    tap_credit(&t, 256);
    rig_until(r, tap_count(&t) == 256);
    rig_quiet(r);
    tap_credit(&t, 400);
    rig_until(r, tap_count(&t) == 600);
    tap_close(&t);
}

static void no_more_is_lent_than_overflow_can_spare(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel_with(r, "ns/c", "capacity=800KiB");
    struct bus_subscription *lossy = rig_subscribe_with(r, c, "lossy", "overflow=drop-oldest");
    struct tap t;
    tap_attach(r, lossy, 0, &t);
    rig_quiet(r);
    assert_int_equal(fill(r, 1, c, NULL, 1500), 1500); /* those lent cannot be dropped; the others can */
    struct bus_probe p = rig_probe_subscription(r, lossy);
    assert_int_equal(p.events + p.dropped, 1500);
    t.acks = true;
    tap_credit(&t, 10);
    takes_exactly(&t, (unsigned)p.events);
    assert_string_equal(t.items[0].id, "e0");
    tap_close(&t);
}

static void turn(struct loop *l)
{
    assert_int_equal(loop_turn(l, 0), OK);
}

/* Ends `o`, begun just now, in the most awkward order: loop 1 has answered, then loop 0 appends to it, and is slow to
 * take the results. */
static void append_late(struct rig *r, struct bus_channel *c, struct rig_op *o)
{
    struct rig_append a[8];
    const struct ce_event *events[8];
    turn(r->loops[1]);
    for (unsigned i = 0; i < 8; i++) {
        events[i] = rig_event("e", (const char *const[]){"a", "b", "c", "d", "e", "f", "g", "h"}[i],
                              10); /* some of them are loop 1's */
        rig_append_start(r, 0, c, events[i], &a[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        turn(r->loops[0]);
        turn(r->control);
    }
    turn(r->loops[1]);
    turn(r->control);
    while (!o->ended)
        rig_turn(r);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(rig_append_ended(&a[i]));
        ce_event_unref(events[i]);
    }
}

static void release_and_stop_wait_for_late_appends(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *d = rig_channel(r, "ns/d");
    struct rig_op released = {.op.done = rig_op_done}, stopped = {.op.done = rig_op_done};
    rig_unsubscribe(r, rig_subscribe(r, c, "s"), false);
    rig_subscribe(r, d, "s");
    r->ops->release(r->bus, c, true, &released.op);
    append_late(r, c, &released);
    r->ops->stop(r->bus, &stopped.op);
    append_late(r, d, &stopped);
}

static void unsubscribe_before_subscribe_has_ended(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct rig_op come = {.op.done = rig_op_done}, go = {.op.done = rig_op_done};
    struct bus_subscription *s;
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, NULL, 0, &s, &come.op, NULL), OK);
    r->ops->unsubscribe(r->bus, s, true, &go.op);
    rig_wait(r, &go);
    assert_int_equal(come.ended, 1);
    rig_append(r, 0, c, "e0", NULL);
    assert_int_equal(rig_probe(r, c).dropped, 1); /* nobody holds it */
}

static void keys_spread_over_the_loops(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t[3];
    for (size_t i = 0; i < 3; i++)
        tap_drain(r, s, i, &t[i]);
    for (unsigned i = 0; i < 300; i++) {
        char id[16];
        snprintf(id, sizeof id, "%u", i % 100);
        rig_append(r, i % 2, c, id, id);
    }
    rig_until(r, tap_count(&t[0]) + tap_count(&t[1]) + tap_count(&t[2]) == 300);
    for (size_t i = 0; i < 3; i++) {
        assert_in_range(tap_acked(&t[i]), 20, 50);                /* of 100 keys */
        assert_int_equal(tap_count(&t[i]), 3 * tap_acked(&t[i])); /* a key always comes to the same */
        tap_close(&t[i]);
    }
}

static void a_full_mailbox_refuses(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    const unsigned most = RIG_MAILBOX + 100;
    struct rig_append *a = calloc(r->loop_count * most, sizeof *a);
    const struct ce_event *event = rig_event("e", "a key", 10);
    unsigned full = 0, taken = 0, all = (unsigned)r->loop_count * most;
    assert_non_null(a);
    for (unsigned i = 0; i < all; i++) { /* on every loop, so that two of them send and none turns */
        rig_append_start(r, i % r->loop_count, c, event, &a[i]);
        assert_true(a[i].at_once == OK || a[i].at_once == ERR_FULL);
        full += a[i].at_once == ERR_FULL;
    }
    assert_true(full > 0);
    for (unsigned i = 0; i < all; i++) {
        rig_until(r, rig_append_ended(&a[i]));
        taken += !a[i].at_once && !a[i].err;
    }
    assert_int_equal(taken + full, all);
    assert_int_equal(backlog(r, s), taken);
    rig_unsubscribe(r, s, true);
    assert_int_equal(rig_probe(r, c).bytes, 0); /* what was refused is charged to nobody */
    ce_event_unref(event);
    free(a);
}

/* Ends the program under test by an assertion, in a child; true when it did. */
static bool dies(void (*body)(struct tap *t), struct tap *t)
{
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        body(t);
        _exit(0);
    }
    int status = 0;
    must(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void settle_twice(struct tap *t)
{
    t->r->ops->settle(t->r->bus, t->stream, t->items[0].token, BUS_ACK);
    t->r->ops->settle(t->r->bus, t->stream, t->items[0].token, BUS_ACK);
}

/* The place in the table is taken by the next delivery; its generation tells them apart. */
static void settle_an_old_token(struct tap *t)
{
    struct bus_token old = t->items[0].token;
    t->r->ops->settle(t->r->bus, t->stream, old, BUS_RELEASE);
    t->r->ops->credit(t->r->bus, t->stream, 1);
    for (int i = 0; i < 5; i++)
        rig_turn(t->r);
    if (t->count == 2 && t->items[1].token.a == old.a)
        t->r->ops->settle(t->r->bus, t->stream, old, BUS_ACK);
}

static void settle_nonsense(struct tap *t)
{
    t->r->ops->settle(t->r->bus, t->stream, (struct bus_token){.a = 1000000}, BUS_ACK);
}

static void a_token_settled_twice_ends_the_program(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct tap t;
    rig_append(r, 0, c, "dropped", NULL);
    tap_attach(r, rig_subscribe(r, c, "s"), 0, &t);
    rig_append(r, 0, c, "e0", NULL);
    tap_credit(&t, 1);
    rig_until(r, tap_open(&t) == 1);
    assert_true(dies(settle_twice, &t));
    assert_true(dies(settle_an_old_token, &t));
    assert_true(dies(settle_nonsense, &t));
    tap_close(&t);
}

static void an_append_needs_no_memory_once_warm(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct tap t[3];
    for (size_t i = 0; i < 3; i++)
        tap_drain(r, rig_subscribe(r, c, (const char *const[]){"a", "b", "c"}[i]), 0, &t[i]);
    const struct ce_event *event = rig_event("e", NULL, 100);
    for (int i = 0; i < 20; i++) {
        rig_append_event(r, 0, c, event);
        rig_turn(r);
    }
    fault_arm(1000000);
    for (int i = 0; i < 200; i++) {
        rig_append_event(r, 0, c, event);
        rig_turn(r);
    }
    unsigned allocations = fault_count();
    fault_disarm();
    assert_int_equal(allocations, 0);
    ce_event_unref(event);
    for (size_t i = 0; i < 3; i++)
        tap_close(&t[i]);
}

/* ---- every allocation fails in its turn ---- */

/* Opens, provisions and subscribes; what was made is freed by fini. */
static enum err set_up(struct rig *r, const char *bus, struct bus **b)
{
    const struct bus_ops *ops = bus_find(bus);
    static struct rig_op o[2];
    struct bus_channel *c;
    struct bus_subscription *s;
    o[0] = o[1] = (struct rig_op){.op.done = rig_op_done};
    *b = NULL;
    enum err e = ops->open(&r->env, NULL, 0, b, NULL);
    for (size_t i = 0; i < r->loop_count && !e; i++)
        e = ops->bind(*b, r->loops[i]);
    if (!e)
        e = ops->provision(*b, SLICE("ns/c"), NULL, 0, &c, &o[0].op, NULL);
    if (!e)
        e = ops->subscribe(*b, c, SLICE("s"), NULL, NULL, NULL, 0, &s, &o[1].op, NULL);
    return e;
}

static void set_up_survives_every_failed_allocation(void **state)
{
    struct rig *r = *state;
    for (const char *const *bus = (const char *const[]){"memory", "faulty", NULL}; *bus; bus++) {
        for (unsigned n = 1;; n++) {
            struct bus *b;
            fault_arm(n);
            enum err e = set_up(r, *bus, &b);
            bool fired = fault_disarm();
            assert_int_equal(e, fired ? ERR_NOMEM : OK);
            if (b)
                b->ops->fini(b);
            rig_quiet(r);
            if (!fired) {
                assert_true(n > 5);
                break;
            }
        }
    }
}

/* An append from each loop with a key and without, and a stream that takes all with more in flight than the first table
 * holds. */
static void traffic_survives_every_failed_allocation(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    const struct ce_event *event[2] = {rig_event("e", NULL, 10), rig_event("e", "key", 10)};
    for (unsigned n = 1;; n++) {
        struct tap t = {.r = r, .s = s, .items = calloc(TAP_ITEMS_MAX, sizeof *t.items)};
        struct rig_append a[90];
        unsigned taken = 0, failed = 0;
        fault_arm(n);
        tap_attach_here(&t);
        bool attached = !t.err;
        for (unsigned i = 0; i < 90; i++)
            rig_append_start(r, i % r->loop_count, c, event[i / 3 % 2], &a[i]);
        for (int i = 0; i < 10; i++)
            rig_turn(r);
        if (attached)
            tap_credit(&t, 90);
        for (int i = 0; i < 10; i++)
            rig_turn(r);
        bool fired = fault_disarm();
        for (unsigned i = 0; i < 90; i++) {
            assert_true(rig_append_ended(&a[i]));
            enum err e = a[i].at_once ? a[i].at_once : a[i].err;
            assert_true(e == OK || (fired && e == ERR_NOMEM));
            taken += !e;
            failed += !!e;
        }
        assert_true(failed + !attached <= fired);
        if (!attached) {
            tap_attach_here(&t);
            assert_int_equal(t.err, OK);
            tap_credit(&t, 90);
        }
        while (backlog(r, s)) { /* a stream without memory goes on as its deliveries are settled */
            tap_settle(&t, NULL, BUS_ACK);
            tap_credit(&t, 1);
            rig_turn(r);
        }
        assert_true(taken >= 89);
        assert_int_equal(rig_probe(r, c).bytes, 0);
        tap_close(&t);
        if (!fired) {
            assert_true(n > 10);
            break;
        }
        for (size_t i = 0; i < r->loop_count;
             i++) { /* away with the spare records: the next round allocates as this one did */
            r->ops->unbind(r->bus, r->loops[i]);
            assert_int_equal(r->ops->bind(r->bus, r->loops[i]), OK);
        }
    }
    ce_event_unref(event[0]);
    ce_event_unref(event[1]);
}

static void fini_with_a_delivery_still_to_come(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct tap t;
    tap_attach(r, rig_subscribe(r, c, "s"), 0, &t);
    tap_credit(&t, 2);
    rig_append(r, 0, c, "e", NULL);
    rig_until(r, tap_open(&t) == 1);
    clock_fake_advance(&r->fake, NS_PER_MS);
    rig_turn(r);
    tap_settle(&t, NULL, BUS_RELEASE); /* to be delivered again at the end of this turn, which comes after fini */
    for (size_t i = 0; i < r->loop_count; i++)
        r->ops->unbind(r->bus, r->loops[i]);
    r->ops->fini(r->bus);
    r->finished = true;
    free(t.items);
}

#define ON(loops, test)                                                                                                \
    cmocka_unit_test_prestate_setup_teardown(test, contract_setup, contract_teardown, (void *)(uintptr_t)&on_##loops)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registry_knows_its_names),
        ON(one, bad_sizes_are_refused),
        ON(one, bad_overflow_and_start_are_refused),
        ON(one, faulty_names_its_bad_parameters),
        ON(one, an_event_counts_once_per_channel),
        ON(one, one_that_is_behind_costs_its_own_share),
        ON(small, the_longest_backlog_decides),
        ON(small, the_total_bounds_all_channels),
        ON(small, drop_oldest_drops_its_oldest),
        ON(small, drop_oldest_leaves_what_is_in_flight),
        ON(small, drop_oldest_gives_way_to_nobody_who_refuses),
        ON(small, drop_oldest_reaches_other_loops),
        ON(one, what_comes_back_keeps_its_place),
        ON(three, a_stream_at_home_waits_for_what_was_lent),
        ON(three, a_backlog_moves_on_when_its_borrower_goes),
        ON(three, unsubscribe_waits_for_what_is_in_the_air),
        ON(three, release_waits_for_what_is_in_the_air),
        ON(three, stop_waits_for_nothing_in_the_air),
        ON(three, later_credit_brings_what_was_not_lent_yet),
        ON(three, no_more_is_lent_than_overflow_can_spare),
        ON(small, release_and_stop_wait_for_late_appends),
        ON(three, unsubscribe_before_subscribe_has_ended),
        ON(three, keys_spread_over_the_loops),
        ON(three, a_full_mailbox_refuses),
        ON(one, a_token_settled_twice_ends_the_program),
        ON(one, fini_with_a_delivery_still_to_come),
        ON(one, an_append_needs_no_memory_once_warm),
        ON(three, set_up_survives_every_failed_allocation),
        ON(three, traffic_survives_every_failed_allocation),
        ON(one, traffic_survives_every_failed_allocation),
        ON(faulty, traffic_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
