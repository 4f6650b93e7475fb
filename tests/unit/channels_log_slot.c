/* SPDX-License-Identifier: Apache-2.0
 *
 * Slots and ledgers: the window gives what is queued, oldest first, and once; joins what is done; and what was written
 * down says exactly which events were settled, however many slots there are when it is read. By hand, and against a
 * naive list of events under random operations, crashes among them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/fault.h"
#include "channels/log/slot.h"
#include "prng.h"

static const struct ce_event *an_event(void)
{
    struct ce_builder b;
    const struct ce_event *e = NULL;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    assert_int_equal(ce_builder_seal(&b, 1 << 20, &e, NULL), OK);
    return e;
}

static const struct ce_event *event; /* the same one for all, since its references are counted */

static int set_up(void **state)
{
    (void)state;
    event = an_event();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    event = ce_event_unref(event); /* whoever kept one is a leak that the sanitizer tells */
    return 0;
}

static void push(struct slot *s, uint64_t sequence)
{
    assert_int_equal(slot_push(s, sequence, event, 100), OK);
}

static struct slot_entry *take(struct slot *s, uint64_t sequence)
{
    struct slot_entry *e = slot_take(s);
    assert_non_null(e);
    assert_int_equal(e->sequence, sequence);
    assert_int_equal(e->state, SLOT_FLIGHT);
    assert_ptr_equal(e->event, event);
    return e;
}

/* ---- the window ---- */

static void in_order(void **state)
{
    (void)state;
    struct slot s;
    slot_init(&s, 0, false);
    assert_null(slot_take(&s));
    for (uint64_t i = 1; i <= 10; i++)
        push(&s, i * 2);
    assert_int_equal(s.queued, 10);
    assert_int_equal(s.queued_bytes, 1000);
    for (uint64_t i = 1; i <= 10; i++) {
        assert_int_equal(slot_needs_from(&s, 99), i * 2);
        struct slot_entry *e = take(&s, i * 2);
        assert_int_equal(e->attempt, 1);
        slot_acknowledge(&s, e);
        assert_int_equal(s.ranges, 0);
    }
    assert_null(slot_take(&s));
    assert_int_equal(slot_needs_from(&s, 99), 99);
    assert_true(list_empty(&s.window));
    slot_fini(&s);
}

static void done_neighbours_join(void **state)
{
    (void)state;
    struct slot s;
    struct slot_entry *e[6];
    slot_init(&s, 0, false);
    for (uint64_t i = 1; i <= 6; i++)
        push(&s, i);
    for (uint64_t i = 1; i <= 6; i++)
        e[i - 1] = take(&s, i);
    slot_acknowledge(&s, e[1]);
    slot_acknowledge(&s, e[3]);
    assert_int_equal(s.ranges, 2);
    slot_acknowledge(&s, e[2]); /* between two ranges: one */
    assert_int_equal(s.ranges, 1);
    assert_true(slot_needs(&s, 1, 1) && !slot_needs(&s, 2, 4) && slot_needs(&s, 2, 5) && !slot_needs(&s, 7, 9));
    slot_acknowledge(&s, e[5]);
    assert_int_equal(s.ranges, 2);
    slot_acknowledge(&s, e[0]); /* the front goes with all that is done behind it */
    assert_int_equal(s.ranges, 1);
    assert_int_equal(slot_needs_from(&s, 7), 5);
    slot_acknowledge(&s, e[4]);
    assert_int_equal(s.ranges, 0);
    assert_int_equal(slot_needs_from(&s, 7), 7);
    slot_fini(&s);
}

static void given_back_comes_first(void **state)
{
    (void)state;
    struct slot s;
    struct slot_entry *e[4];
    slot_init(&s, 0, false);
    for (uint64_t i = 1; i <= 5; i++)
        push(&s, i);
    for (uint64_t i = 1; i <= 4; i++)
        e[i - 1] = take(&s, i);
    slot_give_back(&s, e[2]);
    slot_give_back(&s, e[0]);
    assert_int_equal(s.queued, 3);
    assert_int_equal(s.flight, 2);
    e[0] = take(&s, 1);
    assert_int_equal(e[0]->attempt, 2);
    push(&s, 6);
    (void)take(&s, 3);
    (void)take(&s, 5);
    slot_give_back(&s, e[3]);
    (void)take(&s, 4);
    (void)take(&s, 6);
    assert_null(slot_take(&s));
    slot_give_back(&s, e[1]);
    (void)take(&s, 2);
    slot_fini(&s); /* with everything in flight */
}

static void the_oldest_is_dropped(void **state)
{
    (void)state;
    struct slot s;
    uint32_t bytes = 0;
    slot_init(&s, 0, false);
    assert_false(slot_drop_oldest(&s, &bytes));
    push(&s, 1);
    struct slot_entry *first = take(&s, 1);
    push(&s, 2);
    assert_int_equal(slot_push(&s, 3, event, 7), OK);
    push(&s, 4);
    assert_true(slot_drop_oldest(&s, &bytes)); /* 2: what is in flight stays */
    assert_int_equal(bytes, 100);
    assert_true(slot_drop_oldest(&s, &bytes));
    assert_int_equal(bytes, 7);
    assert_int_equal(s.ranges, 1);
    assert_int_equal(s.queued_bytes, 100);
    assert_int_equal(slot_needs_from(&s, 5), 1);
    slot_acknowledge(&s, first);
    assert_int_equal(slot_needs_from(&s, 5), 4);
    (void)take(&s, 4);
    assert_false(slot_drop_oldest(&s, &bytes));
    slot_fini(&s);
}

static void a_full_queue_falls_behind(void **state)
{
    (void)state;
    struct slot s;
    slot_init(&s, 0, false);
    for (uint64_t i = 1; i <= SLOT_QUEUE_MAX; i++)
        push(&s, i);
    assert_int_equal(slot_push(&s, 300, event, 1), ERR_FULL);
    slot_fall_behind(&s, 300);
    assert_true(slot_needs(&s, 1000, 2000));
    assert_false(slot_needs(&s, 257, 299));
    slot_acknowledge(&s, take(&s, 1));
    slot_looked(&s, 310);
    slot_looked(&s, 305); /* never back */
    assert_int_equal(s.position, 310);
    push(&s, 310);
    assert_int_equal(s.position, 311);
    slot_catch_up(&s);
    assert_false(slot_needs(&s, 311, 2000));
    slot_fini(&s);
}

static void known_ones_are_skipped(void **state)
{
    (void)state;
    struct slot s;
    slot_init(&s, 5, true);
    assert_int_equal(slot_push_done(&s, 5), OK); /* nothing older is open: nothing to keep in mind */
    assert_true(list_empty(&s.window));
    assert_int_equal(slot_needs_from(&s, 99), 6);
    push(&s, 7);
    assert_int_equal(slot_push_done(&s, 8), OK);
    assert_int_equal(slot_push_done(&s, 10), OK);
    assert_int_equal(s.ranges, 1);
    push(&s, 11);
    struct slot_entry *seven = take(&s, 7), *eleven = take(&s, 11);
    slot_acknowledge(&s, eleven);
    assert_int_equal(s.ranges, 1);
    assert_int_equal(slot_push_done(&s, 12), OK);
    slot_acknowledge(&s, seven);
    assert_true(list_empty(&s.window));
    assert_int_equal(slot_needs_from(&s, 99), 13);
    slot_fini(&s);
}

static void without_memory(void **state)
{
    (void)state;
    struct slot s;
    slot_init(&s, 1, true);
    push(&s, 1);
    fault_arm(1);
    assert_int_equal(slot_push(&s, 2, event, 1), ERR_NOMEM);
    assert_true(fault_disarm());
    fault_arm(1);
    assert_int_equal(slot_push_done(&s, 2), ERR_NOMEM);
    assert_true(fault_disarm());
    assert_int_equal(s.position, 2);
    assert_int_equal(s.queued, 1);
    (void)take(&s, 1);
    assert_null(slot_take(&s));

    struct buf b;
    struct slot_ledger *l = NULL;
    buf_init(&b, 1000);
    slot_ledger_put(&s, 1, 5, NULL, &b);
    assert_int_equal(buf_error(&b), OK);
    fault_arm(1);
    assert_int_equal(slot_ledger_read(buf_slice(&b), &l), ERR_NOMEM);
    assert_true(fault_disarm());
    assert_null(l);
    buf_fini(&b);
    fault_arm(1);
    slot_ledger_put(&s, 1, 5, NULL, &b);
    assert_true(fault_disarm());
    assert_int_equal(buf_error(&b), ERR_NOMEM);
    buf_fini(&b);
    slot_fini(&s);
}

/* ---- ledgers by hand ---- */

static struct slot_ledger *read_ledger(struct slice value)
{
    struct slot_ledger *l = NULL;
    assert_int_equal(slot_ledger_read(value, &l), OK);
    return l;
}

static void a_fresh_ledger(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    slot_ledger_put_fresh(7, 3, &b);
    static const char golden[] = "\x01\0\x01\0\x03\0\x07\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0"
                                 "\x07\0\0\0\0\0\0\0\0\0\0\0";
    assert_int_equal(b.len, sizeof golden - 1);
    assert_memory_equal(b.ptr, golden, b.len);
    struct slot_ledger *l = read_ledger(buf_slice(&b));
    assert_int_equal(slot_ledger_slots(l), 3);
    assert_int_equal(slot_ledger_from(l, 1, 2), 7);
    assert_int_equal(slot_ledger_end(l), 7);
    assert_true(slot_ledger_done(l, 6, 1) && !slot_ledger_done(l, 7, 1));
    assert_false(slot_ledger_clamp(l, 7));
    assert_true(slot_ledger_clamp(l, 5));
    assert_int_equal(slot_ledger_end(l), 5);
    slot_ledger_free(l);
    slot_ledger_free(NULL);
    buf_fini(&b);
}

/* Two slots, of which the second settled 4 and 8 but not 2 and 6; and what a clamp leaves of it. */
static void a_ledger_with_ranges(void **state)
{
    (void)state;
    struct slot s[2];
    struct slot_entry *e[9];
    struct buf b;
    slot_init(&s[0], 0, false);
    slot_init(&s[1], 0, false);
    for (uint64_t i = 2; i <= 8; i += 2)
        push(&s[1], i);
    for (uint64_t i = 2; i <= 8; i += 2)
        e[i] = take(&s[1], i);
    slot_acknowledge(&s[1], e[4]);
    slot_acknowledge(&s[1], e[8]);
    buf_init(&b, 1000);
    slot_ledger_put(s, 2, 10, NULL, &b);
    struct slot_ledger *l = read_ledger(buf_slice(&b));
    assert_int_equal(slot_ledger_from(l, 0, 2), 10);
    assert_int_equal(slot_ledger_from(l, 1, 2), 2);
    assert_int_equal(slot_ledger_from(l, 0, 1), 2);
    assert_int_equal(slot_ledger_from(l, 2, 4), 10); /* its events were all in slot 0 of two */
    assert_int_equal(slot_ledger_from(l, 3, 4), 2);
    assert_int_equal(slot_ledger_from(l, 2, 3), 2); /* some of its events were in either */
    assert_true(slot_ledger_done(l, 1, 1) && !slot_ledger_done(l, 2, 1) && slot_ledger_done(l, 4, 1));
    assert_true(!slot_ledger_done(l, 6, 1) && slot_ledger_done(l, 8, 3) && !slot_ledger_done(l, 9, 1));
    assert_true(slot_ledger_done(l, 9, 0) && !slot_ledger_done(l, 10, 0));
    assert_int_equal(slot_ledger_end(l), 10);
    assert_true(slot_ledger_clamp(l, 8)); /* the log lost 8 and 9 */
    assert_int_equal(slot_ledger_end(l), 8);
    assert_true(!slot_ledger_done(l, 8, 1) && slot_ledger_done(l, 4, 1));
    slot_ledger_free(l);
    buf_fini(&b);
    slot_fini(&s[0]);
    slot_fini(&s[1]);
}

/* Whatever the bytes say: an error, or a ledger that answers. */
static void lying_ledgers(void **state)
{
    (void)state;
    struct slot s[3];
    struct buf b;
    for (size_t i = 0; i < 3; i++) {
        slot_init(&s[i], 0, false);
        for (uint64_t k = 1; k <= 9; k++)
            push(&s[i], k * 3 + i);
        for (uint64_t k = 1; k <= 9; k++) {
            struct slot_entry *e = slot_take(&s[i]);
            if (k % 2 == 0)
                slot_acknowledge(&s[i], e);
        }
    }
    buf_init(&b, 10000);
    slot_ledger_put(s, 3, 100, NULL, &b);
    assert_int_equal(buf_error(&b), OK);
    struct slot_ledger *l;
    for (size_t len = 0; len < b.len; len++) {
        char *exact = malloc(len + 1);
        memcpy(exact, b.ptr, len);
        assert_int_equal(slot_ledger_read(slice_of(exact, len), &l), ERR_CORRUPT);
        free(exact);
    }
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.ptr[bit / 8] = (char)(b.ptr[bit / 8] ^ 1 << bit % 8);
        if (slot_ledger_read(buf_slice(&b), &l) == OK) {
            for (uint64_t q = 0; q < 40; q++)
                (void)slot_ledger_done(l, q, (uint32_t)q);
            (void)slot_ledger_clamp(l, 20);
            assert_true(slot_ledger_end(l) <= 20 && slot_ledger_from(l, 0, 5) <= 20);
            slot_ledger_free(l);
        }
        b.ptr[bit / 8] = (char)(b.ptr[bit / 8] ^ 1 << bit % 8);
    }
    static const struct slice bad[] = {
        SLICE_INIT("\x01\0\x05\0"),                                         /* too many parts */
        SLICE_INIT("\x01\0\x01\0\0\0"),                                     /* no slots */
        SLICE_INIT("\x01\0\x01\0\x01\0\x01\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF"), /* ranges that are not there */
        SLICE_INIT("\x01\0\x02\0\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0"), /* a part twice */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(slot_ledger_read(bad[i], &l), ERR_CORRUPT);
    for (size_t i = 0; i < 3; i++)
        slot_fini(&s[i]);
    buf_fini(&b);
}

/* ---- against a naive list ---- */

#define EVENTS_MAX 4000
#define SLOTS_MAX 7

enum naive { NOT_MINE, OPEN, SEEN /* queued in a slot */, FLYING, SETTLED };

struct world {
    struct prng p;
    struct slot slots[SLOTS_MAX];
    size_t count;
    enum naive event[EVENTS_MAX + 1]; /* by sequence */
    uint32_t spread[EVENTS_MAX + 1];
    struct slot_entry *entry[EVENTS_MAX + 1]; /* of FLYING ones */
    uint64_t last;
    struct slot_ledger *before;
    struct buf written;                /* the newest ledger */
    bool settled_then[EVENTS_MAX + 1]; /* what was, when it was written */
    uint64_t last_then;
    unsigned crashes, given_back, parts_max;
    bool forgets; /* more numbers of slots than a ledger has parts: it may forget, but still not lie */
};

static size_t random_count(struct world *w)
{
    static const size_t few[SLOT_PARTS_MAX] = {1, 2, 4, 7};
    return w->forgets ? 1 + (size_t)prng_below(&w->p, SLOTS_MAX) : few[prng_below(&w->p, SLOT_PARTS_MAX)];
}

static size_t slot_of(const struct world *w, uint64_t sequence)
{
    return w->spread[sequence] % w->count;
}

static void start(struct world *w, size_t count)
{
    w->count = count;
    for (size_t i = 0; i < count; i++)
        slot_init(&w->slots[i], w->before ? slot_ledger_from(w->before, i, count) : 1, true);
}

static void commit(struct world *w)
{
    if (w->last == EVENTS_MAX)
        return;
    uint64_t sequence = ++w->last;
    w->spread[sequence] = (uint32_t)prng_below(&w->p, 40);
    w->event[sequence] = prng_below(&w->p, 4) ? OPEN : NOT_MINE;
    if (w->event[sequence] == NOT_MINE)
        return;
    struct slot *s = &w->slots[slot_of(w, sequence)];
    if (s->behind)
        return;
    enum err e = prng_below(&w->p, 200) ? slot_push(s, sequence, event, 10) : ERR_FULL;
    if (e)
        slot_fall_behind(s, sequence);
    else
        w->event[sequence] = SEEN;
}

/* As the reader does, up to `steps` records. */
static void read_on(struct world *w, struct slot *s, uint64_t steps)
{
    while (s->behind && steps--) {
        uint64_t at = s->position;
        if (at > w->last) {
            slot_catch_up(s);
            return;
        }
        if (w->event[at] == NOT_MINE || &w->slots[slot_of(w, at)] != s) {
            slot_looked(s, at + 1);
        } else if (w->before && slot_ledger_done(w->before, at, w->spread[at])) {
            assert_int_equal(w->event[at], SETTLED);
            assert_int_equal(slot_push_done(s, at), OK);
        } else {
            assert_int_equal(w->event[at], OPEN); /* what is settled is not delivered again */
            if (slot_push(s, at, event, 10) == ERR_FULL)
                return;
            w->event[at] = SEEN;
        }
    }
}

static void hand_out(struct world *w, size_t index)
{
    struct slot *s = &w->slots[index];
    uint64_t oldest = 1;
    while (oldest <= w->last && !(w->event[oldest] == SEEN && slot_of(w, oldest) == index))
        oldest++;
    struct slot_entry *e = slot_take(s);
    if (oldest > w->last) {
        assert_null(e);
        return;
    }
    assert_non_null(e);
    assert_int_equal(e->sequence, oldest);
    w->event[oldest] = FLYING;
    w->entry[oldest] = e;
}

/* One of those in flight, 0 when there is none. */
static uint64_t pick_flying(struct world *w)
{
    if (!w->last)
        return 0;
    uint64_t from = 1 + prng_below(&w->p, w->last);
    for (uint64_t i = 0; i < w->last; i++) {
        uint64_t at = (from + i - 1) % w->last + 1;
        if (w->event[at] == FLYING)
            return at;
    }
    return 0;
}

static void settle_one(struct world *w)
{
    uint64_t at = pick_flying(w);
    if (!at)
        return;
    struct slot *s = &w->slots[slot_of(w, at)];
    if (prng_below(&w->p, 5)) {
        slot_acknowledge(s, w->entry[at]);
        w->event[at] = SETTLED;
    } else {
        slot_give_back(s, w->entry[at]);
        w->event[at] = SEEN;
        w->given_back++;
    }
}

static void drop_one(struct world *w, size_t index)
{
    uint64_t oldest = 1;
    uint32_t bytes;
    while (oldest <= w->last && !(w->event[oldest] == SEEN && slot_of(w, oldest) == index))
        oldest++;
    assert_int_equal(slot_drop_oldest(&w->slots[index], &bytes), oldest <= w->last);
    if (oldest <= w->last)
        w->event[oldest] = SETTLED;
}

static void write_down(struct world *w)
{
    buf_clear(&w->written);
    slot_ledger_put(w->slots, w->count, w->last + 1, w->before, &w->written);
    assert_int_equal(buf_error(&w->written), OK);
    for (uint64_t i = 1; i <= w->last; i++)
        w->settled_then[i] = w->event[i] == SETTLED;
    w->last_then = w->last;
    if ((unsigned char)w->written.ptr[2] > w->parts_max)
        w->parts_max = (unsigned char)w->written.ptr[2];
}

/* The ledger says exactly what was settled when it was written, whatever the number of slots now. */
static void check_ledger(const struct world *w, const struct slot_ledger *l, size_t count)
{
    for (uint64_t i = 1; i <= w->last; i++) {
        if (w->event[i] == NOT_MINE)
            continue;
        bool then = i <= w->last_then && w->settled_then[i];
        bool says = slot_ledger_done(l, i, w->spread[i]);
        assert_true(says == then || (w->forgets && then));
        if (!says)
            assert_true(slot_ledger_from(l, w->spread[i] % count, count) <= i);
        else
            assert_true(slot_ledger_end(l) > i);
    }
}

static void crash(struct world *w)
{
    size_t count = random_count(w);
    if (!w->written.len)
        return;
    for (size_t i = 0; i < w->count; i++)
        slot_fini(&w->slots[i]);
    slot_ledger_free(w->before);
    w->before = read_ledger(buf_slice(&w->written));
    assert_false(slot_ledger_clamp(w->before, w->last + 1));
    check_ledger(w, w->before, count);
    for (uint64_t i = 1; i <= w->last; i++)
        if (w->event[i] != NOT_MINE)
            w->event[i] = slot_ledger_done(w->before, i, w->spread[i]) ? SETTLED : OPEN;
    start(w, count);
    w->crashes++;
}

static void check_slot(struct world *w, size_t index)
{
    const struct slot *s = &w->slots[index];
    uint32_t queued = 0, flight = 0, ranges = 0;
    uint64_t oldest = s->behind ? s->position : w->last + 1, above = 0;
    uint64_t first = 1 + prng_below(&w->p, EVENTS_MAX), last = first + prng_below(&w->p, 30);
    bool needs = s->behind && last >= s->position;
    for (uint64_t i = w->last; i >= 1; i--) {
        if (slot_of(w, i) != index || (w->event[i] != SEEN && w->event[i] != FLYING))
            continue;
        queued += w->event[i] == SEEN;
        flight += w->event[i] == FLYING;
        oldest = i;
        needs |= i >= first && i <= last;
    }
    assert_int_equal(s->queued, queued);
    assert_int_equal(s->queued_bytes, queued * 10);
    assert_int_equal(s->flight, flight);
    assert_int_equal(slot_needs_from(s, w->last + 1), oldest);
    assert_int_equal(slot_needs(s, first, last), needs);
    bool before_done = true; /* so that a DONE one at the front is seen */
    for (const struct list *l = s->window.next; l != &s->window; l = l->next) {
        const struct slot_entry *e = container_of(l, struct slot_entry, link);
        bool done = e->state == SLOT_DONE;
        assert_false(done && before_done);
        assert_true(e->sequence > above && e->last >= e->sequence);
        above = e->last;
        before_done = done;
        ranges += done;
    }
    assert_int_equal(s->ranges, ranges);
    assert_true(ranges <= queued + flight);
}

static void step(struct world *w, const unsigned odds[7])
{
    unsigned sum = 0, k = 0;
    for (int i = 0; i < 7; i++)
        sum += odds[i];
    unsigned dice = (unsigned)prng_below(&w->p, sum);
    while (dice >= odds[k])
        dice -= odds[k++];
    size_t index = (size_t)prng_below(&w->p, w->count);
    switch (k) {
    case 0:
        commit(w);
        break;
    case 1:
        read_on(w, &w->slots[index], prng_below(&w->p, 40));
        break;
    case 2:
        hand_out(w, index);
        break;
    case 3:
        settle_one(w);
        break;
    case 4:
        drop_one(w, index);
        break;
    case 5:
        write_down(w);
        break;
    default:
        crash(w);
        break;
    }
    check_slot(w, (size_t)prng_below(&w->p, w->count));
}

/* In the end everything is delivered and settled, and the ledger says so. */
static void drain(struct world *w)
{
    bool more = true;
    while (more) {
        more = false;
        for (size_t i = 0; i < w->count; i++) {
            read_on(w, &w->slots[i], UINT64_MAX);
            more |= w->slots[i].behind || w->slots[i].queued;
            while (w->slots[i].queued)
                hand_out(w, i);
        }
        for (uint64_t at = 1; at <= w->last; at++)
            if (w->event[at] == FLYING) {
                slot_acknowledge(&w->slots[slot_of(w, at)], w->entry[at]);
                w->event[at] = SETTLED;
            }
    }
    for (uint64_t at = 1; at <= w->last; at++)
        assert_true(w->event[at] == SETTLED || w->event[at] == NOT_MINE);
    write_down(w);
    struct slot_ledger *l = read_ledger(buf_slice(&w->written));
    assert_int_equal(slot_ledger_from(l, 0, w->count), w->last + 1);
    assert_int_equal(slot_ledger_end(l), w->last + 1);
    slot_ledger_free(l);
}

static void random_operations(void **state)
{
    (void)state;
    /* commit, read, take, settle, drop, write, crash */
    static const unsigned odds[][7] = {
        {30, 20, 30, 30, 1, 5, 1},  {10, 10, 10, 10, 10, 10, 10}, {60, 5, 10, 10, 0, 3, 1},
        {20, 20, 40, 10, 0, 10, 5}, {5, 30, 30, 35, 0, 20, 20},   {40, 40, 0, 0, 20, 5, 2},
        {10, 40, 40, 39, 0, 1, 0},  {10, 10, 30, 10, 1, 40, 40},
    };
    unsigned crashes = 0, given_back = 0, parts_max = 0;
    struct world *w = malloc(sizeof *w);
    assert_non_null(w);
    for (uint64_t seed = 1; seed <= 400; seed++) {
        memset(w, 0, sizeof *w);
        prng_seed(&w->p, seed);
        buf_init(&w->written, 1 << 20);
        w->forgets = seed % 5 == 0;
        start(w, random_count(w));
        for (int i = 0; i < 1500; i++)
            step(w, odds[seed % (sizeof odds / sizeof odds[0])]);
        drain(w);
        for (size_t i = 0; i < w->count; i++)
            slot_fini(&w->slots[i]);
        slot_ledger_free(w->before);
        buf_fini(&w->written);
        crashes += w->crashes;
        given_back += w->given_back;
        parts_max = w->parts_max > parts_max ? w->parts_max : parts_max;
    }
    free(w);
    assert_true(crashes > 5000 && given_back > 5000); /* it went where it was meant to go */
    assert_true(parts_max == SLOT_PARTS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order),
        cmocka_unit_test(done_neighbours_join),
        cmocka_unit_test(given_back_comes_first),
        cmocka_unit_test(the_oldest_is_dropped),
        cmocka_unit_test(a_full_queue_falls_behind),
        cmocka_unit_test(known_ones_are_skipped),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(a_fresh_ledger),
        cmocka_unit_test(a_ledger_with_ranges),
        cmocka_unit_test(lying_ledgers),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
