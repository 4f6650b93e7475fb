/* SPDX-License-Identifier: Apache-2.0
 *
 * What the log bus promises beyond the contract, on a disk in memory: who holds memory and who does not, what overflow
 * drops, where subscriptions can begin, what a crash brings again, and what happens when the disk is full or fails.
 */
#include "../bus/contract.c"
#include "../lib/fake_disk.h"
#include "../lib/fault.h"

#include "channels/log/log_bus.h"

#include <malloc.h>
#include <unistd.h>

static const struct contract on_one = {"log", "dir=/data/log segment=64KiB reserve=0", 1, TURNED, .idle = log_idle},
                             on_two = {"log", "dir=/data/log reserve=0", 2, TURNED, .idle = log_idle},
                             on_three = {"log", "dir=/data/log segment=64KiB reserve=0", 3, TURNED, .idle = log_idle},
                             on_small = {"log", "dir=/data/log segment=64KiB reserve=512KiB retention-bytes=0", 2,
                                         TURNED, .idle = log_idle};

/* The rig's bus lies on this disk; one test at a time. */
static struct {
    struct fake_disk *disk;
    struct bus_ops ops; /* the log's, opening there */
    char codes[64][32];
    size_t code_count;
} world;

static enum err open_on_fake(const struct bus_env *env, const struct bus_param *params, size_t count, struct bus **out,
                             struct diag *d)
{
    return log_open_on(env, fake_disk_base(world.disk), params, count, out, d);
}

static void notice(void *arg, struct bus *b, int severity, const char *code, const char *text)
{
    (void)arg, (void)b;
    must(*text && severity >= 0 && severity <= 2 && world.code_count < 64);
    snprintf(world.codes[world.code_count++], sizeof world.codes[0], "%s", code);
}

static size_t told(const char *code)
{
    size_t n = 0;
    for (size_t i = 0; i < world.code_count; i++)
        n += strcmp(world.codes[i], code) == 0;
    return n;
}

static int setup(void **state)
{
    const struct contract *c = *state;
    struct rig *r = calloc(1, sizeof *r);
    must(r);
    memset(&world, 0, sizeof world);
    world.disk = fake_disk_new(1);
    world.ops = *bus_find("log");
    world.ops.open = open_on_fake;
    r->contract = c;
    r->loop_count = c->loops;
    r->ops = &world.ops;
    pthread_mutex_init(&r->lock, NULL);
    loops_new(r);
    r->env.notice = notice;
    snprintf(r->params, sizeof r->params, "%s", c->params);
    bus_open(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    contract_teardown(state);
    fake_disk_free(world.disk);
    return 0;
}

/* The process ends without stop, and another begins: what was written is there, what was not written down is not. */
static void crash(struct rig *r)
{
    for (size_t i = 0; i < r->loop_count; i++)
        r->ops->unbind(r->bus, r->loops[i]);
    r->ops->fini(r->bus);
    r->bus = NULL;
    fake_disk_restart(world.disk);
    bus_open(r);
}

/* Time passes, as ticks see it. */
static void pass(struct rig *r, uint64_t seconds)
{
    for (uint64_t i = 0; i < seconds; i++) {
        clock_fake_advance(&r->fake, NS_PER_S);
        rig_turn(r);
        rig_turn(r);
    }
}

static enum err append_sized(struct rig *r, struct bus_channel *c, unsigned n, size_t bytes)
{
    char id[16];
    snprintf(id, sizeof id, "e%u", n);
    const struct ce_event *event = rig_event(id, NULL, bytes);
    enum err e = rig_append_try(r, n % r->loop_count, c, event);
    ce_event_unref(event);
    return e;
}

static uint64_t queued(struct rig *r)
{
    return stat_read(&log_of(r->bus)->queued);
}

/* ---- memory ---- */

static void nobody_attached_holds_nothing(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 300);
    assert_int_equal(queued(r), 0);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 10);
    rig_until(r, tap_open(&t) == 10);
    rig_quiet(r);
    assert_true(queued(r) > 0);
    for (unsigned i = 0; i < 5; i++)
        assert_true(tap_settle(&t, NULL, BUS_ACK));
    tap_close(&t);
    assert_int_equal(queued(r), 0);
    for (size_t i = 0; i < r->loop_count; i++)
        assert_true(list_empty(&s->slots[i].window));
    assert_int_equal(backlog(r, s), 295); /* and what was settled stays settled */
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 295);
    tap_close(&t);
}

/* Bytes that are allocated now. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t allocated(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : mallinfo2().uordblks;
}

#define IDLE_COUNT 200
/* Of an idle subscription with streams on two loops: 1.9 KiB were measured, its record on the disk in memory included
 * (docs/internals/channels.md). A table, a queue or a report that is made before it is needed does not fit. */
#define IDLE_BYTES_MAX 2200

static void an_idle_subscription_takes_little(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s[IDLE_COUNT];
    static struct tap taps[IDLE_COUNT][2];
    size_t before = 0;
    for (size_t i = 0; i < IDLE_COUNT; i++) {
        char name[37];
        snprintf(name, sizeof name, "7f5b5a64-0000-4000-8000-%012zu", i); /* uids are what subscriptions are called */
        if (i == IDLE_COUNT / 2)
            before = allocated();
        s[i] = rig_subscribe(r, c, name);
        for (size_t k = 0; k < 2; k++) {
            tap_drain(r, s[i], k, &taps[i][k]);
            free(taps[i][k].items); /* nothing will come */
            taps[i][k].items = NULL;
        }
    }
    rig_quiet(r);
    size_t takes = (allocated() - before) / (IDLE_COUNT - IDLE_COUNT / 2);
    if (takes > IDLE_BYTES_MAX)
        fail_msg("an idle subscription takes %zu bytes; %d is the most", takes, IDLE_BYTES_MAX);
    for (size_t i = 0; i < IDLE_COUNT; i++)
        for (size_t k = 0; k < 2; k++)
            tap_close(&taps[i][k]);
}

static void queues_together_are_bounded(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct tap taps[8];
    struct bus_subscription *s[8];
    for (unsigned i = 0; i < 8; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%u", i);
        s[i] = rig_subscribe(r, c, name);
        tap_attach(r, s[i], i % r->loop_count, &taps[i]); /* no credit: a subscriber that stands still */
    }
    for (unsigned n = 0; n < 100; n++)
        assert_int_equal(append_sized(r, c, n, 100000), OK);
    assert_true(queued(r) > 1 << 20 && queued(r) < LOG_QUEUED_MAX + 8 * 100000);
    for (unsigned i = 0; i < 8; i++) {
        taps[i].acks = true;
        tap_credit(&taps[i], 4);
    }
    for (unsigned i = 0; i < 8; i++) { /* and everybody goes on */
        takes_exactly(&taps[i], 100);
        tap_close(&taps[i]);
        assert_int_equal(backlog(r, s[i]), 0);
    }
    assert_int_equal(queued(r), 0);
}

/* Two who stand still have not taken all the room: who takes has more than one event ready for it. */
static void who_stands_still_leaves_room(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    static const char *const names[] = {"still", "stiller", "taker"};
    struct bus_subscription *s[3];
    struct tap taps[3];
    for (unsigned i = 0; i < 3; i++)
        s[i] = rig_subscribe(r, c, names[i]);
    for (unsigned i = 0; i < 2; i++)
        tap_attach(r, s[i], 0, &taps[i]);
    for (unsigned n = 0; n < 150; n++)
        assert_int_equal(append_sized(r, c, n, 100000), OK);
    tap_attach(r, s[2], 0, &taps[2]);
    tap_credit(&taps[2], 1);
    rig_quiet(r);
    assert_true(s[2]->slots[0].queued > 8);
    for (unsigned i = 0; i < 3; i++)
        tap_close(&taps[i]);
}

static void a_long_backlog_comes_in_order_and_catches_up(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    for (unsigned n = 0; n < 2000; n++) {
        char id[16], key[2] = {(char)('a' + n % 8), '\0'};
        snprintf(id, sizeof id, "%s-%u", key, n + 1);
        rig_append(r, 0, c, id, key);
    }
    tap_drain(r, s, 0, &t);
    rig_until(r, tap_acked(&t) == 2000);
    int last[8] = {0};
    keys_are_in_order(&t, last);
    rig_quiet(r);
    for (size_t i = 0; i < r->loop_count; i++)
        assert_false(s->slots[i].behind);
    rig_append(r, 0, c, "a-3000", "a");
    takes_exactly(&t, 2001);
    tap_close(&t);
}

/* ---- overflow ---- */

static void drop_oldest_of(struct rig *r, bool attached)
{
    struct bus_channel *c = rig_channel_with(r, "ns/c", "capacity=64KiB");
    struct bus_subscription *s = rig_subscribe_with(r, c, "s", "overflow=drop-oldest");
    struct tap t;
    if (attached)
        tap_attach(r, s, 0, &t);
    for (unsigned n = 0; n < 200; n++)
        assert_int_equal(append_sized(r, c, n, 1000), OK);
    rig_quiet(r);
    struct bus_probe p = rig_probe_subscription(r, s);
    assert_true(p.bytes <= 64 << 10 && p.events >= 40 && p.dropped > 100);
    assert_int_equal(p.events + p.dropped, 200);
    assert_int_equal(rig_probe(r, c).dropped, p.dropped);
    if (attached)
        tap_close(&t);
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, (unsigned)p.events);
    assert_true(tap_is(&t, "e199") && !tap_is(&t, "e0"));
    assert_int_equal(rig_probe_subscription(r, s).bytes, 0);
    tap_close(&t);
}

static void overflow_drops_the_oldest_in_memory(void **state)
{
    drop_oldest_of(*state, true);
}

static void overflow_drops_the_oldest_in_the_log(void **state)
{
    drop_oldest_of(*state, false);
}

/* Nothing is over the bound any more when the reader comes to drop, and what is behind has events in memory. */
static void the_reader_rests_when_nothing_is_to_be_dropped(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe_with(r, c, "s", "overflow=drop-oldest");
    struct tap t;
    rig_append_many(r, c, 1000);
    tap_attach(r, s, 0, &t);
    rig_quiet(r);
    pthread_mutex_lock(&s->lock);
    assert_true(s->slots[0].behind && s->slots[0].queued > 0);
    s->trim = true;
    log_refill_want(s);
    pthread_mutex_unlock(&s->lock);
    alarm(30); /* instead of for ever */
    log_idle(r->bus);
    alarm(0);
    assert_false(s->trim);
    t.acks = true;
    tap_credit(&t, 8);
    takes_exactly(&t, 1000);
    tap_close(&t);
}

static void bad_parameters_are_named(void **state)
{
    struct rig *r = *state;
    static const struct bus_param bus[] = {{"capacity", "0"}, {"segment", "1KiB"},        {"reserve", "much"},
                                           {"dir", ""},       {"retention-age", "later"}, {"retention-bytes", "-1"}};
    for (size_t i = 0; i < sizeof bus / sizeof *bus; i++) {
        struct bus *b = NULL;
        struct diag d = {0};
        assert_int_equal(r->ops->open(&r->env, &bus[i], 1, &b, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, bus[i].name));
    }
    struct diag d = {0};
    struct bus *b = NULL;
    assert_int_equal(r->ops->open(&r->env, NULL, 0, &b, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "dir"));
    struct bus_param again = {"dir", "/data/log"};
    assert_int_equal(r->ops->open(&r->env, &again, 1, &b, &d), ERR_CONFLICT); /* one at a time */
    assert_null(b);
}

/* ---- starts ---- */

static struct bus_subscription *subscribe_from(struct rig *r, struct bus_channel *c, const char *name,
                                               struct bus_start start, struct filter *f)
{
    struct bus_subscription *s;
    struct rig_op o = {.op.done = rig_op_done};
    assert_int_equal(r->ops->subscribe(r->bus, c, slice_str(name), &start, f, NULL, 0, &s, &o.op, NULL), OK);
    rig_wait(r, &o);
    return s;
}

static void subscriptions_begin_in_the_past(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    rig_append_many(r, c, 10);
    uint64_t end = rig_probe(r, c).end;
    pass(r, 2);
    int64_t then = clock_wall_ns(&r->fake.base);
    for (unsigned n = 10; n < 15; n++)
        assert_int_equal(append_sized(r, c, n, 10), OK);
    struct filter *f = id_begins_with("e1");
    struct bus_subscription *s[] = {
        subscribe_from(r, c, "earliest", (struct bus_start){.kind = BUS_START_EARLIEST}, NULL),
        subscribe_from(r, c, "time", (struct bus_start){.kind = BUS_START_TIME, .wall_ns = then}, NULL),
        subscribe_from(r, c, "offset", (struct bus_start){.kind = BUS_START_OFFSET, .offset = end}, NULL),
        subscribe_from(r, c, "future", (struct bus_start){.kind = BUS_START_OFFSET, .offset = end + 1000}, NULL),
        subscribe_from(r, c, "filtered", (struct bus_start){.kind = BUS_START_EARLIEST}, f),
        subscribe_from(r, c, "latest", (struct bus_start){.kind = BUS_START_LATEST}, NULL)};
    filter_unref(f);
    static const unsigned has[] = {16, 6, 6, 1, 7, 1};
    assert_int_equal(append_sized(r, c, 15, 10), OK);
    for (size_t i = 0; i < 6; i++) {
        struct tap t;
        rig_until(r, backlog(r, s[i]) == has[i]);
        tap_drain(r, s[i], i % r->loop_count, &t);
        takes_exactly(&t, has[i]);
        tap_close(&t);
        assert_int_equal(backlog(r, s[i]), 0);
    }
}

/* ---- crashes ---- */

static void a_crash_brings_again_what_was_not_written_down(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 60);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 60);
    rig_until(r, tap_open(&t) == 60);
    for (unsigned n = 0; n < 20; n++) { /* out of order: the odd ones */
        char id[16];
        snprintf(id, sizeof id, "e%u", 2 * n + 1);
        assert_true(tap_settle(&t, id, BUS_ACK));
    }
    pass(r, 3);                                 /* written down */
    assert_true(tap_settle(&t, "e0", BUS_ACK)); /* and this one is not */
    tap_close(&t);
    crash(r);
    c = rig_channel(r, "ns/c");
    s = rig_subscribe(r, c, "s");
    rig_until(r, backlog(r, s) == 40);
    tap_drain(r, s, r->loop_count - 1, &t);
    takes_exactly(&t, 40);
    assert_true(tap_is(&t, "e0") && !tap_is(&t, "e1") && !tap_is(&t, "e39") && tap_is(&t, "e41"));
    tap_close(&t);
}

static void many_settlements_are_written_down_at_once(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 1500);
    uint64_t before = r->fake.monotonic;
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 1500);
    while (tap_count(&t) < 1500) /* time stands still: no tick */
        assert_int_equal(loop_turn(r->loops[0], NS_PER_MS), OK);
    while (tap_settle(&t, NULL, BUS_ACK))
        continue;
    tap_close(&t);
    assert_true(r->fake.monotonic - before < NS_PER_S);
    log_idle(r->bus);
    crash(r);
    c = rig_channel(r, "ns/c");
    s = rig_subscribe(r, c, "s");
    tap_drain(r, s, 0, &t);
    rig_until(r, backlog(r, s) == 0);
    assert_true(tap_acked(&t) <= LOG_SETTLED_MAX);
    tap_close(&t);
}

static void another_number_of_loops_forgets_nothing(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    for (unsigned n = 0; n < 40; n++) {
        char id[16], key[2] = {(char)('a' + n % 8), '\0'};
        snprintf(id, sizeof id, "%s-%u", key, n + 1);
        rig_append(r, n % r->loop_count, c, id, n % 3 ? key : NULL);
    }
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 40);
    rig_until(r, tap_open(&t) == 40);
    for (unsigned n = 0; n < 40; n += 2) {
        char id[16];
        snprintf(id, sizeof id, "%c-%u", (char)('a' + n % 8), n + 1);
        assert_true(tap_settle(&t, id, BUS_ACK));
    }
    tap_close(&t);
    for (size_t loops = 3; loops-- > 1;) { /* 2, then 1, each time stopped before anything is read */
        rig_stop(r);
        for (size_t i = 0; i < r->loop_count; i++)
            r->ops->unbind(r->bus, r->loops[i]);
        r->ops->fini(r->bus);
        atomic_store(&r->silent, false);
        loop_free(r->loops[loops]);
        r->loop_count = r->env.loop_count = loops;
        bus_open(r);
        c = rig_channel(r, "ns/c");
        s = rig_subscribe(r, c, "s");
        rig_until(r, backlog(r, s) == 20);
    }
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 20);
    assert_false(tap_is(&t, "a-1") || tap_is(&t, "c-3"));
    tap_close(&t);
}

/* ---- costs ---- */

struct volley {
    struct rig *r;
    struct bus_channel *c;
    const struct ce_event *event;
    struct rig_append appends[500];
};

static void volley_here(void *arg)
{
    struct volley *v = arg;
    for (size_t i = 0; i < 500; i++) {
        v->appends[i] = (struct rig_append){.r = v->r, .c = v->c, .event = v->event};
        rig_append_here(&v->appends[i]);
    }
}

static void many_appends_share_a_sync(void **state)
{
    struct rig *r = *state;
    static struct volley v;
    v = (struct volley){.r = r, .c = rig_channel(r, "ns/c"), .event = rig_event("e", NULL, 10)};
    rig_subscribe(r, v.c, "s");
    uint64_t before = fake_disk_count(world.disk, FAKE_BIT(FAKE_SYNC));
    volley_here(&v);
    for (size_t i = 0; i < 500; i++) {
        rig_until(r, rig_append_ended(&v.appends[i]));
        assert_int_equal(v.appends[i].err, OK);
    }
    assert_true(fake_disk_count(world.disk, FAKE_BIT(FAKE_SYNC)) - before < 250);
    ce_event_unref(v.event);
}

static void at_rest_nothing_is_written(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    for (unsigned i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%u", i);
        rig_subscribe(r, c, name);
    }
    rig_append_many(r, c, 5);
    pass(r, 6); /* cursors, a mark, the next segment */
    uint64_t before = fake_disk_count(world.disk, FAKE_CHANGES);
    pass(r, 30);
    assert_int_equal(fake_disk_count(world.disk, FAKE_CHANGES), before);
}

static void what_is_settled_gives_its_space_back(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *behind = rig_subscribe(r, c, "behind");
    struct tap t;
    tap_drain(r, s, 0, &t);
    for (unsigned n = 0; n < 1000; n++)
        assert_int_equal(append_sized(r, c, n, 1000), OK);
    pass(r, 6);
    assert_true(fake_disk_used(world.disk) > 1 << 20); /* somebody still needs it */
    rig_unsubscribe(r, behind, true);
    rig_until(r, backlog(r, s) == 0);
    for (unsigned i = 0; fake_disk_used(world.disk) > 512 << 10; i++) {
        pass(r, 1);
        assert_true(i < 100);
    }
    tap_close(&t);
}

/* ---- trouble ---- */

static void below_the_reserve_appends_are_refused(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    fake_disk_capacity(world.disk, 2 << 20);
    unsigned n = 0;
    enum err e = OK;
    while (!e && n < 5000) {
        e = append_sized(r, c, n, 1000);
        n += !e;
        if (n % 64 == 0)
            pass(r, 1);
    }
    assert_int_equal(e, ERR_FULL);
    assert_true(n > 100);
    rig_until(r, told("LogDiskLow") == 1);
    assert_true(rig_probe(r, NULL).healthy); /* it serves: publishers are told to come again */
    assert_int_equal(rig_probe(r, NULL).err, ERR_FULL);
    assert_false(rig_probe(r, c).healthy);
    assert_int_equal(rig_probe(r, c).err, ERR_FULL);
    assert_non_null(strstr(rig_probe(r, c).reason, "make room"));
    assert_int_equal(append_sized(r, c, n, 10), ERR_FULL);
    tap_drain(r, s, 0, &t); /* deliveries and cursors go on, and make room */
    rig_until(r, backlog(r, s) == 0);
    for (unsigned i = 0; append_sized(r, c, n, 10) != OK; i++) {
        pass(r, 1);
        assert_true(i < 200);
    }
    assert_int_equal(told("LogDiskEnough"), 1);
    assert_true(rig_probe(r, c).healthy);
    assert_int_equal(rig_probe(r, NULL).err, OK);
    takes_exactly(&t, n + 1);
    tap_close(&t);
}

/* It was refused for want of room, and comes again: where it stands is written down as it is, not as a new one's. */
static void a_cursor_that_is_written_late_keeps_its_beginning(void **state)
{
    struct rig *r = *state;
    const struct bus_start earliest = {.kind = BUS_START_EARLIEST};
    struct bus_channel *c = rig_channel(r, "ns/c");
    rig_append_many(r, c, 5);
    for (unsigned i = 0; i < 2; i++) {
        struct rig_op o = {.op.done = rig_op_done};
        struct bus_subscription *s;
        if (i == 0)
            fake_disk_fault(world.disk, &(struct fake_fault){.ops = FAKE_BIT(FAKE_WRITE), .nth = 1, .err = ERR_FULL});
        assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), &earliest, NULL, NULL, 0, &s, &o.op, NULL), OK);
        rig_until(r, o.ended > 0);
        assert_int_equal(o.err, i == 0 ? ERR_FULL : OK);
        fake_disk_fault(world.disk, NULL);
    }
    crash(r);
    struct bus_subscription *s = rig_subscribe(r, rig_channel(r, "ns/c"), "s");
    rig_until(r, !rig_probe(r, NULL).counting);
    assert_int_equal(backlog(r, s), 5);
}

static void a_full_disk_heals(void **state)
{
    struct rig *r = *state; /* reserve=0: the disk itself refuses */
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    fake_disk_capacity(world.disk, fake_disk_used(world.disk) + (200 << 10));
    unsigned n = 0;
    enum err e = OK;
    while (!e && n < 2000) {
        e = append_sized(r, c, n, 1000);
        n += !e;
    }
    assert_int_equal(e, ERR_FULL);
    for (unsigned i = 0; i < 20; i++) { /* there is more left than the reserve, and no room for a segment */
        assert_int_equal(append_sized(r, c, n, 10), ERR_FULL);
        pass(r, 1);
    }
    assert_true(told("LogDiskLow") == 1 && told("LogDiskEnough") == 0);
    assert_false(rig_probe(r, c).healthy);
    fake_disk_capacity(world.disk, UINT64_MAX);
    for (unsigned i = 0; append_sized(r, c, n, 10) != OK; i++) {
        pass(r, 1);
        assert_true(i < 100);
    }
    assert_int_equal(told("LogDiskEnough"), 1);
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, n + 1);
    tap_close(&t);
}

/* One look at the disk is for all channels; a disk that is full is none of its business. */
static void a_directory_that_cannot_be_written_in_does_not_answer(void **state)
{
    enum { ASKED = 100 };
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *d = rig_channel(r, "ns/d");
    struct rig_op ops[ASKED];
    uint64_t looks = fake_disk_count(world.disk, FAKE_BIT(FAKE_WRITABLE));
    for (int i = 0; i < ASKED; i++)
        rig_verify(r, i % 2 ? c : d, &ops[i]);
    for (int i = 0; i < ASKED; i++)
        rig_wait(r, &ops[i]);
    assert_in_range(fake_disk_count(world.disk, FAKE_BIT(FAKE_WRITABLE)) - looks, 1, 3);
    fake_disk_fault(world.disk, &(struct fake_fault){
                                    .ops = FAKE_BIT(FAKE_WRITABLE), .nth = 1, .for_ever = true, .err = ERR_DENIED});
    assert_int_equal(verify_once(r, c), ERR_DENIED);
    assert_int_equal(verify_once(r, d), ERR_DENIED);
    fake_disk_fault(world.disk, NULL);
    assert_int_equal(verify_once(r, c), OK);
    fake_disk_capacity(world.disk, fake_disk_used(world.disk));
    assert_int_equal(verify_once(r, c), OK);
}

static struct {
    struct log_keeper *keeper;
    atomic_bool looks;
} slow;

/* Takes until the bus is at its end. */
static enum err slow_writable(struct disk *k, const char *path, struct diag *d)
{
    bool quit = false;
    (void)k, (void)path, (void)d;
    atomic_store(&slow.looks, true);
    while (!quit) {
        pthread_mutex_lock(&slow.keeper->lock);
        quit = slow.keeper->quit;
        pthread_mutex_unlock(&slow.keeper->lock);
        sched_yield();
    }
    return OK;
}

static void the_end_is_heard_while_the_disk_is_looked_at(void **state)
{
    static struct rig_op op;
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct disk *disk = fake_disk_base(world.disk);
    const struct disk_ops *quick = disk->ops;
    struct disk_ops ops = *quick;
    slow.keeper = &container_of(r->bus, struct log_bus, base)->keeper;
    ops.writable = slow_writable;
    disk->ops = &ops;
    rig_verify(r, c, &op);
    alarm(60);                        /* else a failure hangs */
    while (!atomic_load(&slow.looks)) /* a turn of the rig waits for the keeper's rest */
        sched_yield();
    disk->ops = quick;
    crash(r);
    alarm(0);
}

static void a_failed_sync_ends_writing_not_delivering(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 10);
    fake_disk_fault(world.disk, &(struct fake_fault){.ops = FAKE_BIT(FAKE_SYNC), .nth = 1, .err = ERR_IO});
    assert_int_equal(append_sized(r, c, 10, 10), ERR_IO); /* the waiter */
    fake_disk_fault(world.disk, NULL);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(append_sized(r, c, 11, 10), ERR_UNAVAILABLE);
    struct bus_probe p = rig_probe(r, NULL);
    assert_false(p.healthy);
    assert_true(strlen(p.reason) > 10);
    assert_int_equal(verify_once(r, c), ERR_IO);
    rig_until(r, told("LogSyncFailed") == 1);
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 10); /* what was acknowledged, and no more */
    tap_close(&t);
    assert_int_equal(backlog(r, s), 0);
    rig_stop(r); /* ends all the same */
    assert_int_equal(fake_disk_breaches(world.disk), 0);
}

/* One byte of the event with this id, where it lies in the first segment. */
static void damage(const char *id)
{
    static const char path[] = "/data/log/00000000000000000001.seg";
    unsigned char *bytes;
    size_t len;
    must(fake_disk_get(world.disk, path, &bytes, &len));
    const unsigned char *at = memmem(bytes, len, id, strlen(id));
    must(at);
    fake_disk_flip(world.disk, path, (uint64_t)(at - bytes), 0x10);
    free(bytes);
}

static void what_is_damaged_does_not_count_for_ever(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel_with(r, "ns/c", "capacity=20KiB");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    unsigned n = 10; /* ids of one length */
    for (enum err e = OK; !e; n += !e) {
        e = append_sized(r, c, n, 1000);
        assert_true(e == OK || e == ERR_FULL);
    }
    assert_true(n > 20);
    pass(r, 2); /* a mark: the end is certain */
    for (unsigned i = 11; i < n - 1; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        damage(id);
    }
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 2);
    assert_int_equal(rig_probe_subscription(r, s).events, 0);
    assert_int_equal(rig_probe_subscription(r, s).bytes, 0);
    assert_int_equal(append_sized(r, c, n, 10000), OK);
    takes_exactly(&t, 3);
    tap_close(&t);
}

static void what_a_younger_filter_judges_does_not_count_for_ever(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 10);
    for (unsigned i = 0; i < 2 * LOG_EPOCHS_MAX; i++) { /* more than it remembers; none lets one of them pass */
        char prefix[] = {(char)('m' + i), '\0'};
        struct filter *f = id_begins_with(prefix);
        rig_subscribe_all(r, c, "s", f, "");
        filter_unref(f);
        rig_append(r, 0, c, prefix, NULL);
    }
    assert_int_equal(backlog(r, s), 10 + 2 * LOG_EPOCHS_MAX);
    tap_drain(r, s, 0, &t);
    rig_until(r, tap_is(&t, "t") && backlog(r, s) == 0);
    assert_true(tap_acked(&t) < 10);
    assert_int_equal(rig_probe_subscription(r, s).bytes, 0);
    tap_close(&t);
}

static void counting_is_said(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    rig_subscribe(r, c, "s");
    rig_append_many(r, c, 20);
    crash(r);
    fake_disk_fault(world.disk,
                    &(struct fake_fault){.ops = FAKE_BIT(FAKE_READ), .nth = 1, .for_ever = true, .err = ERR_IO});
    c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    pass(r, 3); /* it cannot be counted, so it is still being counted */
    assert_true(rig_probe(r, c).counting && rig_probe(r, NULL).counting && rig_probe_subscription(r, s).counting);
    assert_true(fake_disk_faults(world.disk) > 1 && fake_disk_faults(world.disk) < 100);
    fake_disk_fault(world.disk, NULL);
    rig_until(r, !rig_probe(r, c).counting);
    assert_int_equal(backlog(r, s), 20);
    assert_int_equal(told("LogUnreadable"), 1);
}

static void a_disk_that_does_not_read_is_told_once_and_tried_again(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 100);
    fake_disk_fault(world.disk,
                    &(struct fake_fault){.ops = FAKE_BIT(FAKE_READ), .nth = 1, .for_ever = true, .err = ERR_IO});
    tap_drain(r, s, 0, &t);
    pass(r, 20);
    assert_int_equal(told("LogUnreadable"), 1);
    assert_true(fake_disk_faults(world.disk) >= 10 && fake_disk_faults(world.disk) < 200);
    fake_disk_fault(world.disk, NULL);
    pass(r, 2);
    takes_exactly(&t, 100);
    tap_close(&t);
    rig_append_many(r, c, 10);
    fake_disk_fault(world.disk,
                    &(struct fake_fault){.ops = FAKE_BIT(FAKE_READ), .nth = 1, .for_ever = true, .err = ERR_IO});
    tap_drain(r, s, 0, &t);
    pass(r, 2);
    fake_disk_fault(world.disk, NULL);
    pass(r, 2);
    takes_exactly(&t, 10);
    assert_int_equal(told("LogUnreadable"), 2); /* it had been well in between */
    tap_close(&t);
}

/* ---- who nobody uses ---- */

/* A machine that learns the time from the network: its clock jumps ahead by years a moment after the start. */
static void a_clock_that_jumps_ahead_forgets_nobody(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append_many(r, c, 5);
    for (unsigned i = 0; i < 2; i++) {
        crash(r);
        pass(r, 2); /* it is not written down yet since when they are unused */
        r->fake.wall += 10 * 365 * 24 * 3600 * (int64_t)NS_PER_S;
        pass(r, 130);
        assert_int_equal(told("LogForgotten"), 0);
    }
    crash(r);
    pass(r, 130);
    assert_int_equal(told("LogForgotten"), 0);
    c = rig_channel(r, "ns/c");
    s = rig_subscribe(r, c, "s");
    rig_until(r, backlog(r, s) == 5);
    rig_unsubscribe(r, s, false);
    r->fake.wall -= 24 * 3600 * (int64_t)NS_PER_S; /* and back by a day */
    clock_fake_advance(&r->fake, 8 * 24 * 3600 * NS_PER_S);
    pass(r, 70);
    assert_int_equal(told("LogForgotten"), 1);
}

static void cursors_that_nobody_uses_are_kept_for_a_week(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_subscribe(r, rig_channel(r, "ns/other"), "o");
    rig_append_many(r, c, 5);
    rig_unsubscribe(r, s, false);
    for (unsigned day = 0; day < 6; day++) { /* a restart each day does not begin the week anew */
        clock_fake_advance(&r->fake, 24 * 3600 * NS_PER_S);
        crash(r);
        pass(r, 70);
        assert_int_equal(told("LogUnused"), day + 1);
    }
    assert_int_equal(told("LogForgotten"), 0);
    c = rig_channel(r, "ns/c");
    s = rig_subscribe(r, c, "s");
    rig_until(r, backlog(r, s) == 5); /* it was kept, and is in use again */
    clock_fake_advance(&r->fake, 2 * 24 * 3600 * NS_PER_S);
    pass(r, 70);
    assert_int_equal(told("LogForgotten"), 1); /* o, and its channel */
    assert_int_equal(backlog(r, s), 5);
    crash(r);
    s = rig_subscribe(r, rig_channel(r, "ns/c"), "s");
    rig_until(r, backlog(r, s) == 5);
}

/* It was unused for a while, long ago: the log says so, and must not when it is used again. */
static void a_channel_that_is_used_again_begins_its_week_anew(void **state)
{
    struct rig *r = *state;
    rig_append(r, 0, rig_channel(r, "ns/c"), "e", NULL); /* kept for who reads it again: nobody has subscribed */
    crash(r);
    pass(r, 70);
    assert_int_equal(told("LogUnused"), 1);
    rig_channel(r, "ns/c");
    clock_fake_advance(&r->fake, 8 * 24 * 3600 * NS_PER_S);
    crash(r);
    pass(r, 70);
    assert_int_equal(told("LogUnused"), 2);
    assert_int_equal(told("LogForgotten"), 0);
}

/* ---- ends ---- */

static void fini_in_the_middle_of_everything(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *u = NULL;
    static struct volley v;
    static struct rig_op o[3];
    struct tap t;
    v = (struct volley){.r = r, .c = c, .event = rig_event("e", NULL, 10)};
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 100);
    rig_append_many(r, c, 50);
    volley_here(&v);
    memset(o, 0, sizeof o);
    for (size_t i = 0; i < 3; i++)
        o[i].op.done = rig_op_done;
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("u"), NULL, NULL, NULL, 0, &u, &o[0].op, NULL), OK);
    r->ops->unsubscribe(r->bus, u, true, &o[1].op);
    r->ops->stop(r->bus, &o[2].op);
    tap_settle(&t, NULL, BUS_RELEASE); /* it would be delivered again at the end of this turn, which comes after fini */
    for (size_t i = 0; i < r->loop_count; i++)
        r->ops->unbind(r->bus, r->loops[i]);
    r->ops->fini(r->bus);
    r->finished = true;
    free(t.items);
    ce_event_unref(v.event);
}

static void control_without_memory_fails_whole(void **state)
{
    struct rig *r = *state;
    for (unsigned n = 1;; n++) {
        struct bus_channel *c = NULL;
        struct bus_subscription *s = NULL;
        struct rig_op a = {.op.done = rig_op_done}, b = {.op.done = rig_op_done};
        fault_arm(n);
        enum err e = r->ops->provision(r->bus, SLICE("ns/c"), NULL, 0, &c, &a.op, NULL);
        if (!e)
            e = r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, NULL, 0, &s, &b.op, NULL);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        if (c)
            rig_wait(r, &a);
        if (s) {
            rig_wait(r, &b);
            rig_unsubscribe(r, s, true);
        }
        if (c)
            rig_release(r, c, true);
        if (!fired)
            break;
    }
}

/* A log with channels, cursors and events, whose opening fails at each allocation in turn. */
static void opening_without_memory_fails_whole(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "ns/c%u", i);
        struct bus_channel *c = rig_channel(r, name);
        rig_subscribe(r, c, "s");
        rig_append(r, 0, c, "e", NULL);
    }
    for (size_t i = 0; i < r->loop_count; i++)
        r->ops->unbind(r->bus, r->loops[i]);
    r->ops->fini(r->bus);
    r->bus = NULL;
    unsigned n = 0;
    for (enum err e = ERR_NOMEM; e; n++) {
        struct bus_param params[8];
        char text[400];
        struct diag d = {0};
        snprintf(text, sizeof text, "%s", r->contract->params);
        size_t count = rig_params(text, params, 8), files = fake_disk_open_files(world.disk);
        fault_arm(n + 1);
        e = r->ops->open(&r->env, params, count, &r->bus, &d);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM && d.text[0]));
        assert_true(e == OK || fake_disk_open_files(world.disk) == files);
        if (!e && fired) { /* it could do without */
            r->ops->fini(r->bus);
            r->bus = NULL;
            e = ERR_NOMEM;
        }
    }
    assert_true(n > 30);
    for (size_t i = 0; i < r->loop_count; i++)
        assert_int_equal(r->ops->bind(r->bus, r->loops[i]), OK);
    struct bus_channel *c = rig_channel(r, "ns/c1");
    assert_int_equal(backlog(r, rig_subscribe(r, c, "s")), 1);
}

#define TEST(name, where) cmocka_unit_test_prestate_setup_teardown(name, setup, teardown, (void *)(uintptr_t) & (where))

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_subscription_takes_little, on_two),
        TEST(nobody_attached_holds_nothing, on_three),
        TEST(queues_together_are_bounded, on_three),
        TEST(who_stands_still_leaves_room, on_one),
        TEST(a_long_backlog_comes_in_order_and_catches_up, on_three),
        TEST(overflow_drops_the_oldest_in_memory, on_one),
        TEST(overflow_drops_the_oldest_in_the_log, on_three),
        TEST(the_reader_rests_when_nothing_is_to_be_dropped, on_one),
        TEST(bad_parameters_are_named, on_one),
        TEST(subscriptions_begin_in_the_past, on_three),
        TEST(a_crash_brings_again_what_was_not_written_down, on_three),
        TEST(many_settlements_are_written_down_at_once, on_one),
        TEST(another_number_of_loops_forgets_nothing, on_three),
        TEST(many_appends_share_a_sync, on_one),
        TEST(at_rest_nothing_is_written, on_one),
        TEST(what_is_settled_gives_its_space_back, on_small),
        TEST(below_the_reserve_appends_are_refused, on_small),
        TEST(a_full_disk_heals, on_one),
        TEST(a_cursor_that_is_written_late_keeps_its_beginning, on_one),
        TEST(a_directory_that_cannot_be_written_in_does_not_answer, on_three),
        TEST(the_end_is_heard_while_the_disk_is_looked_at, on_one),
        TEST(a_failed_sync_ends_writing_not_delivering, on_three),
        TEST(what_is_damaged_does_not_count_for_ever, on_one),
        TEST(what_is_damaged_does_not_count_for_ever, on_three),
        TEST(what_a_younger_filter_judges_does_not_count_for_ever, on_three),
        TEST(counting_is_said, on_three),
        TEST(a_disk_that_does_not_read_is_told_once_and_tried_again, on_three),
        TEST(cursors_that_nobody_uses_are_kept_for_a_week, on_one),
        TEST(a_channel_that_is_used_again_begins_its_week_anew, on_one),
        TEST(a_clock_that_jumps_ahead_forgets_nobody, on_one),
        TEST(fini_in_the_middle_of_everything, on_three),
        TEST(control_without_memory_fails_whole, on_one),
        TEST(opening_without_memory_fails_whole, on_three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
