/* SPDX-License-Identifier: Apache-2.0
 *
 * The bus contract: each promise of include/bus.h, proved for whatever bus the stamp names. See contract.h for how a
 * backend uses it, contract_rig.h for the tools.
 *
 * A bus may repeat, delay, revoke and fail, since the contract allows it; so cases count different events, and ask
 * again where a bus was not to be reached.
 */
#include "contract_rig.h"

/* ---- a bus for each case ---- */

static void *rig_thread(void *arg)
{
    must(loop_run(arg) == OK);
    return NULL;
}

static void threads_start(struct rig *r)
{
    for (size_t i = 0; i < r->loop_count; i++)
        must(pthread_create(&r->threads[i], NULL, rig_thread, r->loops[i]) == 0);
    r->running = true;
}

static void threads_stop(struct rig *r)
{
    if (!r->running)
        return;
    for (size_t i = 0; i < r->loop_count; i++) {
        loop_stop(r->loops[i]);
        pthread_join(r->threads[i], NULL);
    }
    r->running = false;
}

static void bus_open_with(struct rig *r, const char *params, struct bus **out)
{
    char text[400];
    struct bus_param list[16];
    struct diag d = {0};
    snprintf(text, sizeof text, "%s", params);
    size_t n = rig_params(text, list, 16);
    enum err e = r->ops->open(&r->env, list, n, out, &d);
    if (e)
        fail_msg("open: %s", d.text);
}

static void bus_open(struct rig *r)
{
    bus_open_with(r, r->params, &r->bus);
    for (size_t i = 0; i < r->loop_count; i++)
        assert_int_equal(r->ops->bind(r->bus, r->loops[i]), OK);
}

static void loops_new(struct rig *r)
{
    const struct clock *clock = r->contract->how == THREADS ? clock_system() : &r->fake.base;
    clock_fake_init(&r->fake, NS_PER_S, (int64_t)NS_PER_S);
    must(loop_new(clock, RIG_MAILBOX, &r->control) == OK);
    for (size_t i = 0; i < r->loop_count; i++)
        must(loop_new(clock, RIG_MAILBOX, &r->loops[i]) == OK);
    r->env = (struct bus_env){
        .control = r->control, .loops = r->loops, .loop_count = r->loop_count, .notice = r->contract->notice};
}

static int contract_setup(void **state)
{
    const struct contract *c = *state;
    struct rig *r = calloc(1, sizeof *r);
    must(r && c->loops <= RIG_LOOPS_MAX);
    r->contract = c;
    r->loop_count = c->loops;
    pthread_mutex_init(&r->lock, NULL);
    loops_new(r);
    r->ops = bus_find(c->bus);
    must(r->ops);
    rig_params_fill(r, c->params, r->params, sizeof r->params);
    bus_open(r);
    if (c->how == THREADS)
        threads_start(r);
    *state = r;
    return 0;
}

static void never(struct loop_timer *t)
{
    (void)t;
    must(false);
}

/* Of a bus that is gone: its timers lay in memory that is gone, too, and a loop's timers lead to each other. A timer
 * that is earlier than any is compared with the first of those there are, which the sanitizer sees. */
static void no_timer_is_left(struct loop *l)
{
    struct loop_timer first;
    loop_timer_init(&first, never);
    loop_timer_start(l, &first, 0);
    loop_timer_stop(l, &first);
}

static int contract_teardown(void **state)
{
    struct rig *r = *state;
    if (!r->finished && !atomic_load(&r->silent))
        rig_stop(r);
    threads_stop(r);
    if (!r->finished) {
        for (size_t i = 0; i < r->loop_count; i++)
            r->ops->unbind(r->bus, r->loops[i]);
        r->ops->fini(r->bus);
    }
    for (size_t i = 0; i < r->loop_count; i++)
        no_timer_is_left(r->loops[i]);
    no_timer_is_left(r->control);
    for (size_t i = 0; i < r->loop_count; i++)
        loop_free(r->loops[i]);
    loop_free(r->control);
    rig_folders_remove(r);
    pthread_mutex_destroy(&r->lock);
    free(r);
    return 0;
}

void contract_fill(struct CMUnitTest *tests, const char *stamp, const struct contract *c)
{
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } cases[] = {
#define CONTRACT_CASE(name) {#name, contract_##name},
        CONTRACT_CASES(CONTRACT_CASE)};
    for (size_t i = 0; i < CONTRACT_COUNT; i++) {
        char *name = NULL; /* lives as long as the program */
        must(asprintf(&name, "%s_%s", stamp, cases[i].name) > 0);
        tests[i] = (struct CMUnitTest){name, cases[i].run, contract_setup, contract_teardown, (void *)(uintptr_t)c};
    }
}

static void needs(const struct rig *r, unsigned capability)
{
    if ((r->bus->capabilities & capability) != capability)
        skip();
}

/* NULL where the bus knows no such parameter. */
static struct bus_channel *channel_if_known(struct rig *r, const char *name, struct bus_param param)
{
    struct rig_op o = {.op.done = rig_op_done};
    struct bus_channel *c = NULL;
    if (r->ops->provision(r->bus, slice_str(name), &param, 1, &c, &o.op, NULL))
        return NULL;
    rig_wait(r, &o);
    return c;
}

/* A channel with a bound; the case is skipped where the bus knows none. */
static struct bus_channel *bounded_channel(struct rig *r, const char *name, const char *capacity)
{
    struct bus_channel *c = channel_if_known(r, name, (struct bus_param){"capacity", capacity});
    if (!c)
        skip();
    return c;
}

/* A channel that takes no event of 5,000 bytes; the case is skipped where there can be none. */
static struct bus_channel *small_events_channel(struct rig *r, const char *name)
{
    if (r->contract->lacks & LACKS_TOPICS)
        skip();
    struct bus_channel *c = channel_if_known(r, name, (struct bus_param){"topic.config.max.message.bytes", "4096"});
    return c ? c : bounded_channel(r, name, "4KiB");
}

static uint64_t backlog(struct rig *r, struct bus_subscription *s)
{
    return rig_probe_subscription(r, s).events;
}

/* n events, and of those whose first append was in doubt perhaps one more each; of nothing there is no second. */
static bool backlog_holds(struct rig *r, struct bus_subscription *s, uint64_t n)
{
    uint64_t now = backlog(r, s);
    return now >= n && now <= n + (n > 0 ? r->in_doubt : 0);
}

/* At once; soon where others append and settle beside us. */
static void backlog_is(struct rig *r, struct bus_subscription *s, uint64_t n)
{
    if (r->bus->capabilities & BUS_CAP_SHARED)
        rig_until(r, backlog_holds(r, s, n));
    else
        assert_int_equal(backlog(r, s), n);
}

/* Of the topics that the stamp's parameters make; 0: this bus has no partitions of that kind. */
static unsigned topic_partitions(const struct rig *r)
{
    const char *said = strstr(r->contract->params, "topic.partitions=");
    return said ? (unsigned)atoi(strchr(said, '=') + 1) : 0;
}

/* The tap acknowledges n different events, and then no other comes. */
static void takes_exactly(struct tap *t, unsigned n)
{
    rig_until(t->r, tap_acked(t) >= n);
    rig_quiet(t->r);
    assert_int_equal(tap_acked(t), n);
}

/* ---- open, fini ---- */

void contract_open_names_the_bad_parameter(void **state)
{
    struct rig *r = *state;
    struct bus *untouched = (struct bus *)&untouched, *out = untouched;
    struct bus_param bad = {"nonsense", "1"};
    struct diag d = {0};
    assert_int_equal(r->ops->open(&r->env, &bad, 1, &out, &d), ERR_INVALID);
    assert_ptr_equal(out, untouched);
    assert_non_null(strstr(d.text, "nonsense"));
}

void contract_fini_is_legal_after_open(void **state)
{
    struct rig *r = *state;
    struct bus *other = NULL;
    char params[400];
    rig_params_fill(r, r->contract->params, params, sizeof params);
    bus_open_with(r, params, &other);
    assert_ptr_equal(other->ops, r->ops);
    r->ops->fini(other);
}

void contract_fini_is_legal_before_any_loop_ran(void **state)
{
    struct rig *r = *state;
    if (r->running)
        skip();
    struct bus_channel *c, *gone;
    struct bus_subscription *s, *leaving;
    static struct rig_op o[6];
    memset(o, 0, sizeof o);
    for (size_t i = 0; i < 6; i++)
        o[i].op.done = rig_op_done;
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/c"), NULL, 0, &c, &o[0].op, NULL), OK);
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/gone"), NULL, 0, &gone, &o[1].op, NULL), OK);
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, NULL, 0, &s, &o[2].op, NULL), OK);
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("t"), NULL, NULL, NULL, 0, &leaving, &o[3].op, NULL), OK);
    r->ops->unsubscribe(r->bus, leaving, true, &o[4].op);
    r->ops->release(r->bus, gone, true, &o[5].op);
    r->ops->fini(r->bus);
    r->finished = true;
}

/* ---- channels ---- */

void contract_provision_names_the_bad_parameter(void **state)
{
    struct rig *r = *state;
    struct bus_channel *untouched = (struct bus_channel *)&untouched, *out = untouched;
    struct bus_param bad = {"nonsense", "1"};
    struct diag d = {0};
    struct rig_op o = {.op.done = rig_op_done};
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/c"), &bad, 1, &out, &o.op, &d), ERR_INVALID);
    assert_ptr_equal(out, untouched);
    assert_non_null(strstr(d.text, "nonsense"));
    rig_quiet(r);
    assert_int_equal(o.ended, 0);
}

void contract_provision_is_idempotent_by_name(void **state)
{
    struct rig *r = *state;
    struct bus_channel *a = rig_channel(r, "ns/c"), *b = rig_channel(r, "ns/c");
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, rig_channel(r, "ns/d"));
    rig_release(r, a, true); /* one reference is left: it can still be used */
    struct bus_subscription *s = rig_subscribe(r, b, "s");
    rig_append(r, 0, b, "e0", NULL);
    backlog_is(r, s, 1);
}

void contract_a_channel_is_known_while_it_is_there(void **state)
{
    struct rig *r = *state;
    const struct slice name = SLICE("ns/c");
    if (!r->ops->known)
        skip();
    assert_false(r->ops->known(r->bus, name));
    struct bus_channel *c = rig_channel(r, "ns/c");
    assert_true(r->ops->known(r->bus, name));
    assert_false(r->ops->known(r->bus, SLICE("ns/d")));
    rig_release(r, c, false);
    assert_true(r->ops->known(r->bus, name) || !(r->bus->capabilities & BUS_CAP_DURABLE));
    c = rig_channel(r, "ns/c");
    rig_release(r, c, true);
    assert_false(r->ops->known(r->bus, name));
}

void contract_release_keeps_the_channel_unless_removed(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "e0", NULL);
    rig_unsubscribe(r, s, false);
    rig_release(r, c, false);
    c = rig_channel(r, "ns/c");
    s = rig_subscribe(r, c, "s");
    struct tap t;
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 1);
    tap_close(&t);
}

void contract_release_removes_with_the_last_reference(void **state)
{
    struct rig *r = *state;
    if (r->contract->lacks & LACKS_TOPICS) /* what cannot be made cannot be removed, and cursors stay with it */
        skip();
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append_many(r, c, 5);
    rig_unsubscribe(r, s, false);
    rig_release(r, c, true);
    c = rig_channel(r, "ns/c");
    s = rig_subscribe(r, c, "s");
    backlog_is(r, s, 0);
    struct bus_probe p = rig_probe(r, NULL);
    assert_int_equal(p.bytes, 0);
}

void contract_release_waits_for_appends_under_way(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    const struct ce_event *event = rig_event("e", "some key", 10);
    struct rig_append a[20];
    for (size_t i = 0; i < 20; i++)
        rig_append_start(r, i % r->loop_count, c, event, &a[i]);
    rig_release(r, c, true);
    for (size_t i = 0; i < 20; i++)
        assert_true(rig_append_ended(&a[i]));
    ce_event_unref(event);
}

/* ---- subscriptions ---- */

void contract_subscribe_names_the_bad_parameter(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *untouched = (struct bus_subscription *)&untouched, *out = untouched;
    struct bus_param bad = {"nonsense", "1"};
    struct diag d = {0};
    struct rig_op o = {.op.done = rig_op_done};
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, &bad, 1, &out, &o.op, &d), ERR_INVALID);
    assert_ptr_equal(out, untouched);
    assert_non_null(strstr(d.text, "nonsense"));
    rig_quiet(r);
    assert_int_equal(o.ended, 0);
}

void contract_subscribe_is_idempotent_by_name(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *first, *second;
    struct rig_op a = {.op.done = rig_op_done}, b = {.op.done = rig_op_done};
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, NULL, 0, &first, &a.op, NULL), OK);
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, NULL, 0, &second, &b.op, NULL),
                     OK); /* while the first is under way */
    assert_ptr_equal(first, second);
    rig_wait(r, &a);
    rig_wait(r, &b);
    assert_ptr_equal(rig_subscribe(r, c, "s"), first);
    assert_ptr_not_equal(rig_subscribe(r, c, "t"), first);
    rig_append(r, 0, c, "e0", NULL);
    backlog_is(r, first, 1);
}

void contract_subscribe_misses_nothing_from_ok_on(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s"); /* unattached */
    rig_append_many(r, c, 50);
    struct tap t;
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 50);
    tap_close(&t);
}

void contract_unsubscribe_keeps_the_cursor_unless_removed(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "before", NULL);
    rig_unsubscribe(r, s, false);
    rig_append(r, 0, c, "between", NULL);
    s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "after", NULL);
    struct tap t;
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 3);
    tap_close(&t);
}

void contract_unsubscribe_removes_backlog_with_the_last_reference(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    assert_ptr_equal(rig_subscribe(r, c, "s"), s);
    rig_append_many(r, c, 6);
    rig_unsubscribe(r, s, true);
    backlog_is(r, s, 6); /* one reference is left */
    struct rig_op o = {.op.done = rig_op_done}, again = {.op.done = rig_op_done};
    r->ops->unsubscribe(r->bus, s, true, &o.op);
    /* A new one by the same name, while the old one goes, is another. */
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, NULL, 0, &s, &again.op, NULL), OK);
    rig_wait(r, &o);
    rig_wait(r, &again);
    backlog_is(r, s, 0);
    rig_append(r, 0, c, "new", NULL);
    struct tap t;
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 1);
    tap_close(&t);
}

void contract_operations_end_once_and_after_the_call(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c;
    struct bus_subscription *s;
    struct rig_op o[4];
    for (size_t i = 0; i < 4; i++)
        o[i] = (struct rig_op){.op.done = rig_op_done};
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/c"), NULL, 0, &c, &o[0].op, NULL), OK);
    assert_int_equal(o[0].ended, 0);
    rig_wait(r, &o[0]);
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, NULL, 0, &s, &o[1].op, NULL), OK);
    assert_int_equal(o[1].ended, 0);
    rig_wait(r, &o[1]);
    r->ops->unsubscribe(r->bus, s, true, &o[2].op);
    assert_int_equal(o[2].ended, 0);
    rig_wait(r, &o[2]);
    r->ops->release(r->bus, c, true, &o[3].op);
    assert_int_equal(o[3].ended, 0);
    rig_wait(r, &o[3]);
    rig_quiet(r);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(o[i].ended, 1);
}

/* ---- append ---- */

void contract_append_ends_once_on_the_loop_after_return(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    rig_subscribe(r, c, "s");
    for (size_t i = 0; i < r->loop_count; i++) {
        for (const char *const *key = (const char *const[]){"a", "b", "c", "d", "e", ""}; **key; key++) {
            const struct ce_event *event = rig_event("e", *key, 10);
            struct rig_append a;
            rig_append_start(r, i, c, event, &a);
            rig_until(r, rig_append_ended(&a)); /* where and when: rig_append_done looks */
            rig_quiet(r);
            assert_int_equal(a.ended, 1);
            ce_event_unref(event);
        }
    }
}

void contract_append_keeps_its_own_reference(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    const struct ce_event *event = rig_event("e0", "k", 1000);
    struct rig_append a;
    rig_append_start(r, r->loop_count - 1, c, event, &a);
    ce_event_unref(event); /* before done */
    rig_until(r, rig_append_ended(&a));
    if (a.err) /* a bus may fail it; then there is nothing to see */
        return;
    struct tap t;
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 1);
    rig_until(r, tap_settle(&t, "e0", BUS_ACK)); /* reads its id */
    tap_close(&t);
}

void contract_append_refuses_what_is_too_large(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = small_events_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    const struct ce_event *large = rig_event("large", NULL, 5000), *keyed = rig_event("large", "key", 5000);
    enum err e;
    while ((e = rig_append_try(r, 0, c, large)) == ERR_UNAVAILABLE)
        continue;
    assert_int_equal(e, ERR_TOO_LARGE);
    for (size_t i = 0; i < r->loop_count; i++) {
        while ((e = rig_append_try(r, i, c, keyed)) == ERR_UNAVAILABLE)
            continue;
        assert_int_equal(e, ERR_TOO_LARGE);
    }
    rig_append(r, 0, c, "small", NULL);
    backlog_is(r, s, 1);
    ce_event_unref(large);
    ce_event_unref(keyed);
}

void contract_append_refuses_when_full_and_takes_again(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = bounded_channel(r, "ns/c", "20KiB"), *other = rig_channel(r, "ns/other");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    unsigned kept = 0;
    enum err e = OK;
    while (!e || e == ERR_UNAVAILABLE) {
        char id[16];
        snprintf(id, sizeof id, "e%u", kept);
        const struct ce_event *event = rig_event(id, NULL, 1000);
        e = rig_append_try(r, kept % r->loop_count, c, event);
        ce_event_unref(event);
        kept += !e;
        assert_true(kept < 21);
    }
    assert_int_equal(e, ERR_FULL);
    assert_true(kept > 10);
    rig_append(r, 0, other, "elsewhere", NULL); /* other channels go on */
    struct tap t;
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, kept);
    rig_append(r, 0, c, "again", NULL);
    takes_exactly(&t, kept + 1);
    tap_close(&t);
}

void contract_append_without_subscriptions_is_a_counted_drop(void **state)
{
    struct rig *r = *state;
    if (r->bus->capabilities & BUS_CAP_BROWSE)
        skip();
    struct bus_channel *c = rig_channel(r, "ns/c");
    rig_append_many(r, c, 7);
    rig_append(r, 0, c, "keyed", "key");
    struct bus_probe p = rig_probe(r, c);
    assert_int_equal(p.appended, 8);
    assert_int_equal(p.dropped, 8);
    assert_int_equal(p.events, 0);
    assert_int_equal(p.bytes, 0);
}

void contract_append_reaches_every_subscription(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct tap taps[10];
    for (unsigned i = 0; i < 10; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%u", i);
        tap_drain(r, rig_subscribe(r, c, name), i % r->loop_count, &taps[i]);
    }
    rig_append_many(r, c, 30);
    for (unsigned i = 0; i < 10; i++) {
        takes_exactly(&taps[i], 30);
        tap_close(&taps[i]);
    }
}

/* Ids are "KEY-NUMBER"; within a tap the first deliveries of a key have rising numbers. */
static void keys_are_in_order(struct tap *t, int *last)
{
    pthread_mutex_lock(&t->r->lock);
    for (uint64_t i = 0; i < t->count; i++) {
        const struct tap_item *item = &t->items[i];
        int key = item->id[0] - 'a', n = atoi(item->id + 2);
        must(key >= 0 && key < 8);
        if (!item->first || n <= last[key])
            must(!item->first || n > last[key]);
        else
            last[key] = n;
    }
    pthread_mutex_unlock(&t->r->lock);
}

struct burst {
    struct rig *r;
    struct bus_channel *c;
    const struct ce_event *events[160];
    struct rig_append appends[160];
    size_t loop;
};

static void burst_here(void *arg)
{
    struct burst *b = arg;
    for (size_t i = 0; i < 160; i++) {
        b->appends[i] = (struct rig_append){.r = b->r, .c = b->c, .event = b->events[i], .loop = b->loop};
        rig_append_here(&b->appends[i]);
    }
}

/* 20 events of each of 8 keys, appended on one loop without waiting; how many the bus took. */
static unsigned burst(struct rig *r, struct bus_channel *c, size_t loop, int from)
{
    struct burst *b = calloc(1, sizeof *b);
    must(b);
    b->r = r;
    b->c = c;
    b->loop = loop;
    for (int i = 0; i < 160; i++) {
        char id[16], key[2] = {(char)('a' + i % 8), '\0'};
        snprintf(id, sizeof id, "%s-%d", key, from + i);
        b->events[i] = rig_event(id, key, 10);
    }
    rig_on(r, loop, burst_here, b);
    unsigned taken = 0;
    for (size_t i = 0; i < 160; i++) {
        rig_until(r, rig_append_ended(&b->appends[i]));
        taken += !b->appends[i].at_once && !b->appends[i].err;
        ce_event_unref(b->events[i]);
    }
    free(b);
    return taken;
}

void contract_append_keeps_the_order_of_a_key(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_ORDERED);
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap taps[RIG_LOOPS_MAX];
    for (size_t i = 0; i < r->loop_count; i++)
        tap_drain(r, s, i, &taps[i]);
    unsigned taken = burst(r, c, r->loop_count - 1, 1);
    unsigned acked;
    do {
        rig_turn(r);
        acked = 0;
        for (size_t i = 0; i < r->loop_count; i++)
            acked += tap_acked(&taps[i]);
    } while (acked < taken);
    int last[8] = {0};
    for (size_t i = 0; i < r->loop_count; i++) {
        keys_are_in_order(&taps[i], last); /* a key has one loop, so one tap has all of it */
        tap_close(&taps[i]);
    }
}

void contract_append_keeps_the_order_of_a_key_while_streams_come_and_go(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_ORDERED);
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    int last[8] = {0}, from = 1;
    unsigned taken = 0, acked = 0;
    for (size_t round = 0; round < 6; round++, from += 160) {
        struct tap t;
        taken += burst(r, c, 0, from);
        tap_drain(r, s, (round + 1) % r->loop_count, &t); /* one stream for all loops' partitions, each time another */
        if (round % 2)
            rig_until(r, acked + tap_acked(&t) >= taken);
        tap_detach(&t);
        keys_are_in_order(&t, last);
        acked += tap_acked(&t);
        free(t.items);
    }
    assert_true(acked >= taken - 160);
}

/* Leaves the first open delivery of each key open, acknowledges all else from now on; how many are left. */
static unsigned hold_one_of_each_key(struct tap *t)
{
    const char *held[8] = {0};
    unsigned n = 0;
    for (uint64_t i = 0; i < tap_count(t); i++) {
        pthread_mutex_lock(&t->r->lock);
        struct tap_item *item = &t->items[i];
        const char **of_key = &held[item->id[0] - 'a'];
        bool more = item->open && *of_key;
        n += item->open && !*of_key;
        if (item->open && !*of_key)
            *of_key = item->id;
        pthread_mutex_unlock(&t->r->lock);
        if (more)
            tap_settle(t, item->id, BUS_ACK);
    }
    pthread_mutex_lock(&t->r->lock);
    t->acks = true;
    pthread_mutex_unlock(&t->r->lock);
    return n;
}

/* One stream drains all, and holds one event of each key when a second one attaches: until they are settled nothing of
 * those keys may come there, and what waits must come all the same. */
void contract_append_keeps_the_order_of_a_key_across_a_hand_over(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_ORDERED);
    if (r->loop_count < 2 || r->contract->lacks & LACKS_AHEAD)
        skip();
    bool exact = strcmp(r->contract->bus, "faulty") != 0; /* which may take back what is held, or give it twice */
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap first, second;
    unsigned taken = burst(r, c, 0, 1);
    tap_attach(r, s, 0, &first);
    tap_credit(&first, taken);
    rig_until(r, tap_open(&first) >= taken);
    taken += burst(r, c, r->loop_count - 1, 161);
    unsigned held = hold_one_of_each_key(&first);
    tap_drain(r, s, 1, &second);
    rig_quiet(r);
    tap_credit(&first, 8);
    rig_until(r, tap_acked(&first) + tap_acked(&second) >= taken - held);
    assert_true(!exact || (held == 8 && tap_count(&second) == 0));
    while (tap_settle(&first, NULL, BUS_ACK))
        continue;
    rig_until(r, backlog(r, s) == 0);
    rig_quiet(r);
    burst(r, c, 0, 321);
    rig_until(r, backlog(r, s) == 0);
    if (exact && topic_partitions(r) != 1)
        assert_true(tap_count(&second) > 0); /* now it has its share */
    int last[8] = {0};
    keys_are_in_order(&first, last);
    keys_are_in_order(&second, last);
    tap_close(&first);
    tap_close(&second);
}

void contract_append_keeps_the_order_of_all_in_one_partition(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_ORDERED);
    struct bus_channel *c = channel_if_known(r, "ns/one", (struct bus_param){"partitions", "1"});
    if (!c)
        skip();
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap taps[RIG_LOOPS_MAX];
    for (size_t i = 0; i < r->loop_count; i++)
        tap_drain(r, s, i, &taps[i]);
    for (int i = 1; i <= 60; i++) { /* from every loop, with different keys and with none */
        char id[16], key[2] = {(char)('a' + i % 5), '\0'};
        snprintf(id, sizeof id, "a-%d", i);
        rig_append(r, (size_t)i % r->loop_count, c, id, i % 3 ? key : NULL);
    }
    unsigned acked;
    do {
        rig_turn(r);
        acked = 0;
        for (size_t i = 0; i < r->loop_count; i++)
            acked += tap_acked(&taps[i]);
    } while (acked < 60);
    for (size_t i = 0; i < r->loop_count; i++) {
        int last[8] = {0};
        keys_are_in_order(&taps[i], last);
        assert_int_equal(tap_acked(&taps[i]), last[0] ? 60 : 0); /* one loop has all of it */
        tap_close(&taps[i]);
    }
}

/* ---- filters ---- */

static struct filter *id_begins_with(const char *prefix)
{
    struct filter *f;
    must(filter_attribute(FILTER_PREFIX, SLICE("id"), slice_str(prefix), &f, NULL) == OK);
    return f;
}

static struct filter *key_is(const char *key)
{
    struct filter *f;
    must(filter_attribute(FILTER_EXACT, SLICE("partitionkey"), slice_str(key), &f, NULL) == OK);
    return f;
}

/* Gives the caller's reference to the filter away. */
static struct bus_subscription *subscribe_filtered(struct rig *r, struct bus_channel *c, const char *name,
                                                   struct filter *f)
{
    struct bus_subscription *s = rig_subscribe_all(r, c, name, f, "");
    filter_unref(f);
    return s;
}

void contract_filter_keeps_only_what_matches(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_FILTER);
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = subscribe_filtered(r, c, "s", key_is("a"));
    for (size_t loop = 0; loop < r->loop_count; loop++) {
        rig_append(r, loop, c, "yes", "a");
        rig_append(r, loop, c, "no", "b");
        rig_append(r, loop, c, "none", NULL);
    }
    struct bus_probe p = rig_probe(r, c);
    assert_int_equal(p.appended, 3 * r->loop_count);
    assert_int_equal(p.unmatched, 2 * r->loop_count);
    assert_int_equal(p.dropped, 0);
    assert_int_equal(p.events, r->loop_count);
    backlog_is(r, s, r->loop_count);

    struct bus_subscription *all = rig_subscribe(r, c, "all"),
                            *prefix = subscribe_filtered(r, c, "prefix", id_begins_with("x"));
    rig_append(r, 0, c, "x1", "b");
    rig_append(r, 0, c, "y1", NULL);
    backlog_is(r, s, r->loop_count);
    backlog_is(r, all, 2);
    backlog_is(r, prefix, 1);
    struct tap taps[3];
    tap_drain(r, s, 0, &taps[0]);
    tap_drain(r, all, 0, &taps[1]);
    tap_drain(r, prefix, r->loop_count - 1, &taps[2]);
    takes_exactly(&taps[0], 1); /* one id, however often it came */
    takes_exactly(&taps[1], 2);
    takes_exactly(&taps[2], 1);
    assert_false(tap_is(&taps[0], "no") || tap_is(&taps[0], "none"));
    assert_true(tap_is(&taps[2], "x1"));
    for (size_t i = 0; i < 3; i++)
        tap_close(&taps[i]);
}

void contract_filter_changed_counts_from_ok_on(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_FILTER);
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = subscribe_filtered(r, c, "s", id_begins_with("a"));
    for (size_t loop = 0; loop < r->loop_count; loop++) {
        rig_append(r, loop, c, "a1", NULL);
        rig_append(r, loop, c, "b1", NULL);
    }
    assert_ptr_equal(subscribe_filtered(r, c, "s", id_begins_with("b")), s);
    for (size_t loop = 0; loop < r->loop_count; loop++) {
        rig_append(r, loop, c, "a2", NULL);
        rig_append(r, loop, c, "b2", NULL);
    }
    assert_ptr_equal(rig_subscribe(r, c, "s"), s); /* everything, from here on */
    rig_append(r, 0, c, "a3", NULL);
    backlog_is(r, s, 2 * r->loop_count + 1);
    struct tap t;
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 3);
    assert_true(tap_is(&t, "a1") && tap_is(&t, "b2") && tap_is(&t, "a3")); /* what was kept already stays */
    tap_close(&t);
}

/* What a stream's queue holds was kept by the filter before, whoever gets it after all. */
void contract_filter_changed_while_attached(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_FILTER);
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = subscribe_filtered(r, c, "s", id_begins_with("a"));
    struct tap t;
    tap_attach(r, s, 0, &t); /* without credit */
    for (size_t loop = 0; loop < r->loop_count; loop++)
        rig_append(r, loop, c, "a1", NULL);
    assert_ptr_equal(subscribe_filtered(r, c, "s", id_begins_with("b")), s);
    rig_append(r, 0, c, "a2", NULL);
    rig_append(r, 0, c, "b2", NULL);
    tap_close(&t);
    backlog_is(r, s, r->loop_count + 1);
    tap_drain(r, s, r->loop_count - 1, &t);
    takes_exactly(&t, 2);
    assert_true(tap_is(&t, "a1") && tap_is(&t, "b2"));
    backlog_is(r, s, 0);
    tap_close(&t);
}

void contract_filter_changed_again_before_the_end(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_FILTER);
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct filter *filters[3] = {id_begins_with("a"), id_begins_with("b"), id_begins_with("c")};
    struct bus_subscription *s[3];
    struct rig_op o[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        o[i].op.done = rig_op_done;
        assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("s"), NULL, filters[i], NULL, 0, &s[i], &o[i].op, NULL),
                         OK);
        filter_unref(filters[i]);
    }
    for (size_t i = 0; i < 3; i++)
        rig_wait(r, &o[i]);
    assert_ptr_equal(s[0], s[2]);
    rig_append(r, 0, c, "a", NULL);
    rig_append(r, r->loop_count - 1, c, "b", NULL);
    rig_append(r, r->loop_count - 1, c, "c", NULL);
    backlog_is(r, s[0], 1);
    struct tap t;
    tap_drain(r, s[0], 0, &t);
    takes_exactly(&t, 1);
    assert_true(tap_is(&t, "c"));
    tap_close(&t);
}

void contract_filter_keeps_the_order_of_a_key(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_ORDERED | BUS_CAP_FILTER);
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = subscribe_filtered(r, c, "s", key_is("c"));
    struct tap taps[RIG_LOOPS_MAX];
    for (size_t i = 0; i < r->loop_count; i++)
        tap_drain(r, s, i, &taps[i]);
    int from = 1;
    for (int round = 0; round < 4; round++, from += 160) /* the filter changes to and fro, and passes the key always */
    {
        burst(r, c, (size_t)round % r->loop_count, from);
        struct filter *f = round % 2 ? key_is("c") : NULL;
        rig_subscribe_all(r, c, "s", f, "");
        filter_unref(f);
    }
    rig_until(r, backlog(r, s) == 0);
    unsigned acked = 0;
    int last[8] = {0};
    for (size_t i = 0; i < r->loop_count; i++) {
        keys_are_in_order(&taps[i], last);
        acked += tap_acked(&taps[i]);
        tap_close(&taps[i]);
    }
    assert_true(last[2] > 0 && acked > 0);
}

void contract_filter_goes_with_its_subscription(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_FILTER);
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *stays = subscribe_filtered(r, c, "stays", key_is("a")),
                            *goes = subscribe_filtered(r, c, "goes", key_is("a"));
    rig_append(r, 0, c, "both", "a");
    rig_unsubscribe(r, goes, true);
    rig_append(r, 0, c, "one", "a");
    rig_append(r, r->loop_count - 1, c, "nobody", "b");
    backlog_is(r, stays, 2);
    goes = subscribe_filtered(r, c, "goes", key_is("b")); /* the name begins afresh */
    backlog_is(r, goes, 0);
    rig_append(r, 0, c, "the other", "b");
    backlog_is(r, goes, 1);
    backlog_is(r, stays, 2);
    rig_unsubscribe(r, stays, true);
    rig_unsubscribe(r, goes, true);
    struct bus_probe p = rig_probe(r, c);
    assert_int_equal(p.bytes, 0);
    assert_int_equal(p.unmatched, 1);
}

/* ---- streams ---- */

void contract_nothing_is_delivered_before_credit(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *u = rig_subscribe(r, c, "u");
    struct tap t, other;
    rig_append_many(r, c, 3);
    tap_attach(r, s, 0, &t);
    tap_drain(r, u, 0, &other); /* attached later and has credit: what comes to it had the time to come to t */
    rig_append(r, 0, c, "more", NULL);
    takes_exactly(&other, 4);
    assert_int_equal(tap_count(&t), 0);
    tap_credit(&t, 1);
    rig_until(r, tap_count(&t) > 0);
    tap_close(&t);
    tap_close(&other);
}

void contract_credit_is_an_upper_bound(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 40);
    tap_attach(r, s, 0, &t);
    for (unsigned given = 1; given <= 100; given *= 3) { /* tap_deliver refuses more than credit; here: no less */
        uint64_t before = tap_count(&t);
        tap_credit(&t, given);
        rig_until(r, tap_count(&t) >= before + (given < 20 ? given : 1));
        rig_quiet(r);
        while (tap_settle(&t, NULL, given < 20 ? BUS_RELEASE : BUS_ACK)) /* a settle alone allows no more */
            continue;
    }
    tap_close(&t);
}

/* Appends NAME-0 ... NAME-15, of keys that reach every partition there is. */
static void append_to_all_partitions(struct rig *r, struct bus_channel *c, char name)
{
    for (unsigned i = 0; i < 16; i++) {
        char id[16], key[16];
        snprintf(id, sizeof id, "%c-%u", name, i);
        snprintf(key, sizeof key, "key %u", i);
        rig_append(r, i % r->loop_count, c, id, key);
    }
}

void contract_attach_resumes_the_cursor(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 20);
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 20);
    tap_close(&t);
    for (size_t i = r->loop_count; i-- > 0;) { /* what is new comes, and nothing else */
        append_to_all_partitions(r, c, (char)('a' + i));
        tap_drain(r, s, i, &t);
        takes_exactly(&t, 16);
        for (unsigned n = 0; n < 16; n++) {
            char id[16];
            snprintf(id, sizeof id, "%c-%u", (char)('a' + i), n);
            assert_true(tap_is(&t, id));
        }
        tap_close(&t);
    }
}

void contract_attach_on_one_loop_drains_all(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    for (size_t i = 0; i < r->loop_count; i++) {
        struct tap t;
        rig_append_many(r, c, 10);
        tap_drain(r, s, i, &t);
        rig_until(r, tap_acked(&t) == 10);
        for (unsigned n = 10; n < 20; n++) {
            char id[8];
            snprintf(id, sizeof id, "e%u", n);
            rig_append(r, n % r->loop_count, c, id, "k");
        }
        takes_exactly(&t, 20);
        tap_close(&t);
    }
}

static unsigned seen_by(struct tap *t)
{
    unsigned n = 0;
    pthread_mutex_lock(&t->r->lock);
    for (uint64_t i = 0; i < t->count; i++)
        n += t->items[i].first;
    pthread_mutex_unlock(&t->r->lock);
    return n;
}

#ifdef __SANITIZE_THREAD__ /* each append is a round trip between two threads: on a crowded machine that many take     \
                              minutes */
#define WHOLE_BACKLOG 300
#else
#define WHOLE_BACKLOG 1500
#endif

/* A stream that settles nothing as yet: what is not delivered waits for credit, never for a settlement. */
void contract_credit_alone_brings_the_whole_backlog(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, WHOLE_BACKLOG);
    tap_attach(r, s, r->loop_count - 1, &t);
    tap_credit(&t, TAP_ITEMS_MAX);
    rig_until(r, seen_by(&t) == WHOLE_BACKLOG);
    tap_close(&t);
    backlog_is(r, s, WHOLE_BACKLOG);
}

void contract_detach_ends_deliveries(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    tap_drain(r, s, 0, &t);
    rig_append_many(r, c, 10);
    rig_until(r, tap_count(&t) > 0);
    tap_detach(&t);
    uint64_t before = tap_count(&t);
    for (unsigned i = 0; i < 10; i++)
        rig_append(r, i % r->loop_count, c, "late", NULL);
    rig_quiet(r);
    assert_int_equal(tap_count(&t), before);
    free(t.items);
}

void contract_detach_brings_unsettled_back(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap held, t;
    rig_append_many(r, c, 20);
    tap_attach(r, s, 0, &held);
    tap_credit(&held, 12);
    rig_until(r, tap_open(&held) >= 6);
    unsigned acked = 0;
    for (unsigned i = 0; i < 3; i++)
        acked += tap_settle(&held, NULL, BUS_ACK);
    acked = tap_acked(&held);
    tap_close(&held);
    tap_drain(r, s, r->loop_count - 1, &t);
    takes_exactly(&t, 20 - acked);
    tap_close(&t);
}

void contract_detach_inside_deliver(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 10);
    tap_attach(r, s, 0, &t);
    t.stop_after = 3;
    tap_credit(&t, 10);
    rig_until(r, tap_ended(&t));
    rig_quiet(r);
    assert_int_equal(tap_count(&t), 3);
    free(t.items);
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 10);
    tap_close(&t);
}

void contract_event_is_valid_until_settled(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *a = rig_subscribe(r, c, "a"), *b = rig_subscribe(r, c, "b");
    struct tap held, other;
    tap_attach(r, a, 0, &held);
    tap_credit(&held, 10);
    tap_drain(r, b, r->loop_count - 1, &other);
    rig_append_many(r, c, 10);
    takes_exactly(&other, 10); /* gone for b, which must not end it for a */
    rig_until(r, tap_open(&held) > 0);
    while (tap_acked(&held) < 10) { /* tap_settle reads each event */
        if (!tap_settle(&held, NULL, BUS_ACK))
            rig_turn(r);
        else
            tap_credit(&held, 1);
    }
    tap_close(&held);
    tap_close(&other);
}

void contract_settle_in_any_order(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 12);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 100);
    rig_until(r, tap_open(&t) > 0);
    static const char *const order[] = {"e7", "e0", "e11", "e3", "e10", "e1", "e9", "e2", "e8", "e4", "e6", "e5"};
    for (size_t i = 0; i < 12; i++)
        rig_until(r, tap_settle(&t, order[i], BUS_ACK));
    while (tap_settle(&t, NULL, BUS_ACK)) /* repeats, where a bus repeats */
        continue;
    rig_until(r, backlog(r, s) == 0);
    tap_close(&t);
}

void contract_ack_means_never_again(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 30);
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 30);
    tap_close(&t);
    backlog_is(r, s, 0);
    for (size_t i = 0; i < r->loop_count; i++) { /* what was appended later has come, so what was settled never will */
        tap_drain(r, s, i, &t);
        append_to_all_partitions(r, c, (char)('a' + i));
        takes_exactly(&t, 16);
        assert_false(tap_is(&t, "e0"));
        tap_close(&t);
    }
    backlog_is(r, s, 0);
}

void contract_release_means_again_with_the_next_attempt(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    for (size_t on = 0; on < r->loop_count; on++) {
        tap_attach(r, s, 0, &t);
        rig_append(r, on, c, "e0", NULL);
        tap_credit(&t, 50);
        for (unsigned n = 0; n < 5; n++)
            rig_until(r, tap_settle(&t, "e0", BUS_RELEASE));
        rig_until(r, tap_settle(&t, "e0", BUS_ACK));
        while (tap_settle(&t, "e0", BUS_ACK))
            continue;
        rig_until(r, backlog(r, s) == 0);
        unsigned attempts = 0;
        pthread_mutex_lock(&r->lock);
        for (uint64_t i = 0; i < t.count; i++) {
            must(t.items[i].attempt == attempts + 1);
            attempts = t.items[i].attempt;
        }
        pthread_mutex_unlock(&r->lock);
        assert_true(attempts >= 6);
        tap_close(&t);
    }
}

static void release_in_deliver(void *arg, struct bus_stream *stream, const struct ce_event *event,
                               struct bus_token token, unsigned attempt)
{
    struct tap *t = arg;
    (void)event;
    pthread_mutex_lock(&t->r->lock);
    t->attempts = attempt;
    pthread_mutex_unlock(&t->r->lock);
    t->r->ops->settle(t->r->bus, stream, token, BUS_RELEASE);
    t->r->ops->credit(t->r->bus, stream, 1);
}

static void release_revoked(void *arg, struct bus_stream *stream, struct bus_token token)
{
    (void)arg, (void)stream, (void)token;
    must(false && "revoked after it was settled");
}

static void release_attach_here(void *arg)
{
    static const struct bus_stream_callbacks callbacks = {.deliver = release_in_deliver, .revoked = release_revoked};
    struct tap *t = arg;
    t->err = t->r->ops->attach(t->r->bus, t->s, t->r->loops[t->loop], &callbacks, t, &t->stream);
    t->r->ops->credit(t->r->bus, t->stream, 1);
}

void contract_release_for_ever_does_not_hold_the_loop(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct tap t = {.r = r, .s = rig_subscribe(r, c, "s")};
    rig_on(r, 0, release_attach_here, &t);
    assert_int_equal(t.err, OK);
    rig_append(r, 0, c, "e0", NULL); /* ends at all, because the loop still turns */
    rig_until(r, tap_attempts(&t) > 1000);
    tap_close(&t);
}

void contract_revoked_comes_again(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 20);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 20);
    rig_until(r, tap_open(&t) > 0);
    rig_quiet(r);
    while (tap_acked(&t) < 20) { /* whatever was revoked meanwhile: all of them come to be acknowledged */
        if (!tap_settle(&t, NULL, BUS_ACK))
            rig_turn(r);
        tap_credit(&t, 1);
    }
    if (strstr(r->contract->params, "revoke"))
        assert_true(tap_revocations(&t) > 0);
    else
        assert_int_equal(tap_revocations(&t), 0);
    tap_close(&t);
}

/* A page of read() as it came. */
struct page {
    struct rig *r;
    struct bus_channel *c;
    struct bus_start from;
    size_t loop, most, count;
    char ids[64][16];
    uint64_t offsets[64];
    int64_t walls[64];
    struct rig_op op;
    enum err at_once;
};

static void page_event(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns)
{
    struct page *p = arg;
    struct slice id = ce_event_id(event);
    must(!p->r->inside[p->loop] && p->count < 64 && p->op.ended == 0);
    snprintf(p->ids[p->count], sizeof p->ids[0], "%.*s", SLICE_ARG(id));
    p->offsets[p->count] = offset;
    p->walls[p->count++] = wall_ns;
}

static void page_done(struct bus_op *op, enum err err)
{
    struct page *p = container_of(container_of(op, struct rig_op, op), struct page, op);
    must(!p->r->inside[p->loop]);
    pthread_mutex_lock(&p->r->lock);
    p->op.err = err;
    p->op.ended++;
    pthread_mutex_unlock(&p->r->lock);
}

static bool page_ended(struct page *p)
{
    pthread_mutex_lock(&p->r->lock);
    bool ended = p->op.ended > 0;
    pthread_mutex_unlock(&p->r->lock);
    return ended;
}

static void page_here(void *arg)
{
    struct page *p = arg;
    struct rig *r = p->r;
    r->inside[p->loop] = true;
    p->at_once = r->ops->read(r->bus, p->c, &p->from, p->most, page_event, p, &p->op.op, r->loops[p->loop]);
    r->inside[p->loop] = false;
}

static struct page *page_read(struct page *p, struct rig *r, struct bus_channel *c, struct bus_start from, size_t most)
{
    *p = (struct page){.r = r, .c = c, .from = from, .most = most, .loop = r->loop_count - 1};
    p->op.op.done = page_done;
    rig_on(r, p->loop, page_here, p);
    assert_int_equal(p->at_once, OK);
    rig_until(r, page_ended(p));
    assert_int_equal(p->op.err, OK);
    return p;
}

/* Whether the page begins with what `all` holds from `at` on. */
static void page_continues(const struct page *page, const struct page *all, size_t at)
{
    for (size_t i = 0; i < page->count; i++) {
        assert_string_equal(page->ids[i], all->ids[at + i]);
        assert_int_equal(page->offsets[i], all->offsets[at + i]);
    }
}

static size_t page_find(const struct page *page, const char *id)
{
    size_t i = 0;
    while (i < page->count && strcmp(page->ids[i], id) != 0)
        i++;
    return i;
}

/* Everything not older than an event of `all` is found by its time, and nothing older. */
static void read_by_time(struct rig *r, struct bus_channel *c, const struct page *all)
{
    static struct page q;
    size_t at = page_find(all, "e25");
    struct bus_start time = {.kind = BUS_START_TIME, .wall_ns = all->walls[at]};
    page_read(&q, r, c, time, 64);
    for (size_t i = 0; i < all->count; i++)
        assert_int_equal(page_find(&q, all->ids[i]) < q.count, all->walls[i] >= all->walls[at]);
    int64_t newest = 0;
    for (size_t i = 0; i < all->count; i++)
        newest = all->walls[i] > newest ? all->walls[i] : newest;
    time.wall_ns = newest + (int64_t)NS_PER_S;
    assert_int_equal(page_read(&q, r, c, time, 64)->count, 0);
}

void contract_read_where_browse(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_BROWSE);
    bool in_order = topic_partitions(r) < 2; /* of several partitions each has an order of its own */
    struct bus_channel *c = rig_channel(r, "ns/c"), *other = rig_channel(r, "ns/other");
    struct bus_start earliest = {.kind = BUS_START_EARLIEST}, latest = {.kind = BUS_START_LATEST};
    static struct page p, q;
    assert_int_equal(page_read(&p, r, c, earliest, 10)->count, 0);
    rig_append_many(r, c, 20); /* no subscription: kept all the same */
    rig_append(r, 0, other, "elsewhere", NULL);
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    for (unsigned i = 20; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        rig_append(r, i % r->loop_count, c, id, i % 2 ? "k" : NULL);
    }
    assert_int_equal(page_read(&p, r, c, earliest, 64)->count, 30); /* all, in the order of their appends */
    for (size_t i = 0; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%zu", i);
        size_t at = page_find(&p, id);
        assert_true(in_order ? at == i : at < 30);
        assert_true(i == 0 || p.offsets[i] > p.offsets[i - 1]);
        assert_true(i == 0 || !in_order || p.walls[i] >= p.walls[i - 1]);
    }
    assert_int_equal(page_read(&q, r, c, latest, 64)->count, 0);

    struct bus_start from = {.kind = BUS_START_OFFSET, .offset = p.offsets[7]};
    assert_int_equal(page_read(&q, r, c, from, 5)->count, 5); /* a full page, and the next begins behind it */
    page_continues(&q, &p, 7);
    from.offset = q.offsets[4] + 1;
    assert_int_equal(page_read(&q, r, c, from, 64)->count, 18);
    page_continues(&q, &p, 12);
    from.offset = p.offsets[29] + 1;
    assert_int_equal(page_read(&q, r, c, from, 64)->count, 0);
    if (!(r->contract->lacks & LACKS_TIME))
        read_by_time(r, c, &p);

    backlog_is(r, s, 10); /* reading is beside it */
    struct tap t;
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 10);
    tap_close(&t);
    assert_int_equal(page_read(&q, r, c, earliest, 64)->count, 30); /* settled, and still to be read */
}

/* ---- stop ---- */

void contract_stop_refuses_new_work(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *other = NULL;
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    const struct ce_event *event = rig_event("e", NULL, 10), *keyed = rig_event("e", "k", 10);
    rig_stop(r);
    for (size_t i = 0; i < r->loop_count; i++) {
        struct rig_append a;
        rig_append_start(r, i, c, event, &a);
        assert_int_equal(a.at_once, ERR_CLOSED);
        rig_append_start(r, i, c, keyed, &a);
        assert_int_equal(a.at_once, ERR_CLOSED);
    }
    struct rig_op o = {.op.done = rig_op_done};
    struct diag d;
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/other"), NULL, 0, &other, &o.op, &d), ERR_CLOSED);
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("t"), NULL, NULL, NULL, 0, &s, &o.op, &d), ERR_CLOSED);
    rig_quiet(r);
    assert_int_equal(o.ended, 0);
    ce_event_unref(event);
    ce_event_unref(keyed);
}

void contract_stop_ends_what_is_pending(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *t = NULL;
    struct rig_append a[60];
    const struct ce_event *events[6];
    for (unsigned i = 0; i < 6; i++)
        events[i] = rig_event("e", (const char *const[]){"a", "b", "c", "d", "e", NULL}[i], 10);
    for (size_t i = 0; i < 60; i++)
        rig_append_start(r, i % r->loop_count, c, events[i % 6], &a[i]);
    struct rig_op subscribe = {.op.done = rig_op_done}, leave = {.op.done = rig_op_done};
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("t"), NULL, NULL, NULL, 0, &t, &subscribe.op, NULL), OK);
    r->ops->unsubscribe(r->bus, s, true, &leave.op);
    rig_stop(r);
    for (size_t i = 0; i < 60; i++)
        assert_true(rig_append_ended(&a[i]));
    assert_int_equal(subscribe.ended, 1);
    assert_int_equal(leave.ended, 1);
    rig_quiet(r); /* `silent`: a callback now ends the program */
    for (unsigned i = 0; i < 6; i++)
        ce_event_unref(events[i]);
}

void contract_stop_with_streams_attached(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *u = rig_subscribe(r, c, "u");
    struct tap draining, held, left;
    tap_drain(r, s, r->loop_count - 1, &draining);
    tap_attach(r, u, 0, &held);
    tap_credit(&held, 10);
    tap_attach(r, u, r->loop_count > 1 ? 1 : 0, r->loop_count > 1 ? &left : (tap_close(&held), &held));
    if (r->loop_count == 1)
        tap_credit(&held, 10);
    rig_append_many(r, c, 40);
    rig_stop(r);
    rig_quiet(r);
    tap_settle(&held, NULL, BUS_ACK); /* still the holder's until it is detached */
    tap_settle(&held, NULL, BUS_RELEASE);
    atomic_store(&r->silent, false); /* detach ends as ever */
    tap_close(&draining);
    tap_close(&held);
    atomic_store(&r->silent, true);
    if (r->loop_count > 1)
        free(left.items); /* left attached: fini frees the stream */
}

void contract_stop_twice(void **state)
{
    struct rig *r = *state;
    struct rig_op a = {.op.done = rig_op_done}, b = {.op.done = rig_op_done};
    r->ops->stop(r->bus, &a.op);
    r->ops->stop(r->bus, &b.op);
    rig_wait(r, &a);
    rig_wait(r, &b);
    rig_stop(r);
}

/* ---- verify ---- */

static void rig_verify(struct rig *r, struct bus_channel *c, struct rig_op *o)
{
    *o = (struct rig_op){.op.done = rig_op_done};
    r->ops->verify(r->bus, c, &o->op);
    assert_int_equal(o->ended, 0); /* never inside the call */
}

/* How one question ends. */
__attribute__((unused)) static enum err verify_once(struct rig *r, struct bus_channel *c)
{
    struct rig_op o;
    rig_verify(r, c, &o);
    rig_until(r, o.ended > 0);
    return o.err;
}

/* A bus that is faulty may be told not to answer: then it does so with ERR_UNAVAILABLE, and is asked again. */
static void verify_until_well(struct rig *r, struct bus_channel *c)
{
    struct rig_op o;
    do {
        rig_verify(r, c, &o);
        rig_until(r, o.ended > 0);
        assert_int_equal(o.ended, 1);
        if (o.err && o.err != ERR_UNAVAILABLE)
            fail_msg("verify: %s", o.op.text ? o.op.text : err_name(o.err));
    } while (o.err);
}

void contract_verify_answers_and_delivers_nothing(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *alone = rig_channel(r, "ns/d");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    tap_drain(r, s, 0, &t);
    for (int i = 0; i < 3; i++)
        verify_until_well(r, c);
    verify_until_well(r, alone); /* also where nobody subscribes */
    rig_append(r, 0, c, "one", NULL);
    rig_until(r, tap_acked(&t) == 1);
    verify_until_well(r, c);
    rig_append(r, 0, c, "two", NULL);
    rig_until(r, tap_acked(&t) == 2);
    backlog_is(r, s, 0);
    struct bus_probe p = rig_probe(r, c);
    assert_int_equal(p.appended, 2);
    tap_close(&t);
}

void contract_verify_many_at_once(void **state)
{
    enum { CHANNELS = 4, EACH = 40 };
    static const char *const names[CHANNELS] = {"ns/c", "ns/d", "ns/other", "ns/gone"};
    static struct rig_op ops[CHANNELS * EACH];
    struct rig *r = *state;
    struct bus_channel *c[CHANNELS];
    for (int i = 0; i < CHANNELS; i++)
        c[i] = rig_channel(r, names[i]);
    for (int i = 0; i < CHANNELS * EACH; i++)
        rig_verify(r, c[i % CHANNELS], &ops[i]);
    for (int i = 0; i < CHANNELS * EACH; i++) {
        rig_until(r, ops[i].ended > 0);
        assert_int_equal(ops[i].ended, 1);
        assert_true(ops[i].err == OK || ops[i].err == ERR_UNAVAILABLE);
    }
    rig_release(r, c[0], false);
    verify_until_well(r, c[1]);
}

void contract_verify_ends_with_the_stop(void **state)
{
    enum { ASKED = 20 };
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct rig_op ops[ASKED], late;
    for (int i = 0; i < ASKED; i++)
        rig_verify(r, c, &ops[i]);
    rig_stop(r);
    for (int i = 0; i < ASKED; i++)
        assert_int_equal(ops[i].ended, 1);
    rig_verify(r, c, &late);
    rig_until(r, late.ended > 0);
    assert_int_equal(late.err, ERR_CLOSED);
}

/* ---- probe ---- */

/* What events take and how old they are: told where the bus knows it. */
static void probe_sees_bytes_and_age(struct rig *r, const struct bus_probe *p)
{
    if (!(r->bus->capabilities & BUS_CAP_SHARED))
        assert_true(p->bytes > 9 * 10 && p->oldest_age_ns > 0);
}

void contract_probe_counts(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *d = rig_channel(r, "ns/d");
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *u = rig_subscribe(r, d, "u");
    struct bus_probe p = rig_probe(r, NULL);
    assert_true(p.healthy);
    assert_string_equal(p.reason, "");
    assert_int_equal(p.events, 0);
    assert_int_equal(p.oldest_age_ns, 0);
    rig_append_many(r, c, 9);
    rig_append(r, 0, d, "one", NULL);
    rig_turn(r);
    rig_turn(r);
    backlog_is(r, s, 9);
    backlog_is(r, u, 1);
    p = rig_probe(r, c);
    assert_int_equal(p.events, 9);
    assert_int_equal(p.appended, 9);
    assert_int_equal(p.dropped, 0);
    probe_sees_bytes_and_age(r, &p);
    p = rig_probe(r, NULL);
    assert_int_equal(p.events, 10);
    p = rig_probe_subscription(r, s);
    probe_sees_bytes_and_age(r, &p);
    struct tap t;
    tap_drain(r, s, 0, &t);
    rig_until(r, tap_acked(&t) == 9);
    rig_until(r, backlog(r, s) == 0);
    tap_close(&t);
    p = rig_probe(r, c);
    assert_int_equal(p.events, 0);
    assert_int_equal(p.bytes, 0);
    assert_int_equal(p.oldest_age_ns, 0);
    assert_int_equal(p.appended, 9);
}

/* ---- opened anew ---- */

/* Stops the bus, frees it, and opens it with the same parameters. */
static void open_anew(struct rig *r)
{
    rig_stop(r);
    threads_stop(r);
    for (size_t i = 0; i < r->loop_count; i++)
        r->ops->unbind(r->bus, r->loops[i]);
    r->ops->fini(r->bus);
    r->bus = NULL;
    atomic_store(&r->silent, false);
    bus_open(r);
    if (r->contract->how == THREADS)
        threads_start(r);
}

void contract_opened_anew_keeps_what_is_not_settled(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_DURABLE);
    if (r->contract->lacks & LACKS_GAPS)
        skip();
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *u = rig_subscribe(r, c, "u");
    struct tap t;
    rig_append_many(r, c, 30);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 100);
    unsigned acked = 0;
    for (unsigned i = 0; i < 30; i += 2, acked++) { /* every second one, so what is settled has gaps */
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        rig_until(r, tap_settle(&t, id, BUS_ACK));
        while (tap_settle(&t, id, BUS_ACK))
            continue;
    }
    tap_close(&t);
    for (int round = 0; round < 3; round++) { /* more than once: what one start knew the next has not forgotten */
        open_anew(r);
        c = rig_channel(r, "ns/c");
        s = rig_subscribe(r, c, "s");
        u = rig_subscribe(r, c, "u");
        rig_until(r, backlog_holds(r, s, 30 - acked));
        rig_until(r, backlog_holds(r, u, 30));
    }
    tap_drain(r, s, r->loop_count - 1, &t);
    takes_exactly(&t, 30 - acked);
    for (unsigned i = 0; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        assert_int_equal(tap_is(&t, id), i % 2 == 1);
    }
    tap_close(&t);
    rig_append(r, 0, c, "new", NULL);
    tap_drain(r, u, 0, &t);
    takes_exactly(&t, 31);
    tap_close(&t);
    open_anew(r);
    c = rig_channel(r, "ns/c");
    u = rig_subscribe(r, c, "u");
    s = rig_subscribe(r, c, "s");
    rig_until(r, backlog_holds(r, s, 1));
    tap_drain(r, u, 0, &t);
    append_to_all_partitions(r, c, 'x');
    takes_exactly(&t, 16); /* and nothing that was settled */
    tap_close(&t);
}

void contract_opened_anew_keeps_cursors_and_filters(void **state)
{
    struct rig *r = *state;
    needs(r, BUS_CAP_DURABLE | BUS_CAP_FILTER);
    struct bus_channel *c = rig_channel(r, "ns/c"), *gone = rig_channel(r, "ns/gone");
    subscribe_filtered(r, c, "a", key_is("a"));
    subscribe_filtered(r, c, "b", key_is("b"));
    struct bus_subscription *removed = rig_subscribe(r, c, "removed"), *kept = rig_subscribe(r, c, "kept");
    rig_append(r, 0, c, "1", "a");
    rig_append(r, r->loop_count - 1, c, "2", "b");
    rig_append(r, 0, gone, "3", NULL);
    rig_unsubscribe(r, removed, true);
    rig_unsubscribe(r, kept, false);
    rig_release(r, gone, true);
    open_anew(r);
    c = rig_channel(r, "ns/c");
    rig_append(r, 0, c, "4", "a"); /* before anybody has come back */
    struct bus_subscription *a = subscribe_filtered(r, c, "a", key_is("a")),
                            *b = subscribe_filtered(r, c, "b", key_is("b"));
    removed = rig_subscribe(r, c, "removed");
    kept = rig_subscribe(r, c, "kept");
    rig_append(r, r->loop_count - 1, c, "5", "b");
    rig_until(r, backlog_holds(r, a, 2) && backlog_holds(r, b, 2) && backlog_holds(r, kept, 4));
    backlog_is(r, removed, 1);
    backlog_is(r, rig_subscribe(r, rig_channel(r, "ns/gone"), "s"), 0);
    struct tap t;
    tap_drain(r, a, 0, &t);
    takes_exactly(&t, 2);
    assert_true(tap_is(&t, "1") && tap_is(&t, "4"));
    tap_close(&t);
    tap_drain(r, kept, r->loop_count - 1, &t);
    takes_exactly(&t, 4);
    tap_close(&t);
}

/* ---- all of it ---- */

void contract_everything_at_once(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *u = rig_subscribe(r, c, "u");
    struct tap a, b[RIG_LOOPS_MAX];
    unsigned taken = 0, acked = 0;
    for (size_t i = 0; i < r->loop_count; i++)
        tap_drain(r, u, i, &b[i]);
    for (int round = 0; round < 12; round++) {
        tap_attach(r, s, (size_t)round % r->loop_count, &a);
        a.acks = round % 3 != 0; /* now and then one that holds and gives back */
        tap_credit(&a, 16);
        taken += burst(r, c, (size_t)round % r->loop_count, 1 + 160 * round);
        while (!a.acks && tap_settle(&a, NULL, BUS_RELEASE))
            continue;
        tap_detach(&a);
        acked += tap_acked(&a);
        free(a.items);
    }
    tap_drain(r, s, 0, &a);
    rig_until(r, tap_acked(&a) + acked >= taken);
    rig_until(r, backlog(r, s) == 0);
    rig_until(r, backlog(r, u) == 0);
    tap_close(&a);
    unsigned of_u = 0;
    for (size_t i = 0; i < r->loop_count; i++) {
        of_u += tap_acked(&b[i]);
        tap_close(&b[i]);
    }
    assert_int_equal(of_u, taken);
    struct bus_probe p = rig_probe(r, NULL);
    assert_int_equal(p.bytes, 0);
    rig_unsubscribe(r, s, true);
    rig_unsubscribe(r, u, true);
    rig_release(r, c, true);
}
