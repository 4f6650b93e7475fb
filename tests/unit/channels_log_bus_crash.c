/* SPDX-License-Identifier: Apache-2.0
 *
 * The log bus on the fake disk: events are appended on two loops, delivered to four subscriptions, settled out of
 * order, given back or held; then the bus ends: by a stop, a killed process or a power loss in the middle of any change
 * of the disk. The next one on the same disk must deliver what was acknowledged to the publisher and not settled by the
 * subscriber; what was settled long enough ago (a tick of the bus) never again; nothing that was not appended, each
 * event equal to what went in, and those of a key in order.
 *
 *     RUNS=n   lives of a bus in all       SEED=s   replays one scenario (the bus's threads are as they are)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../channels/log/log_open.h"
#include "../lib/fake_disk.h"
#include "prng.h"

#define LOOPS 2
#define SUBSCRIPTIONS 4
#define EVENTS_MAX 1500
#define LIVES 4
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNS_DEFAULT 200u
#else
#define RUNS_DEFAULT 1500u
#endif

enum fate { FATE_UNKNOWN, FATE_ACKNOWLEDGED, FATE_REFUSED };

struct sim;

struct published {
    struct bus_append append;
    struct sim *sim;
    const struct ce_event *event;
    enum fate fate;
    bool pending, even;
    bool failed; /* in this life: told so */
    unsigned channel, loop;
    int key; /* -1: none */
};

struct mark {           /* of one event at one subscription */
    bool owed;          /* it was subscribed when the event was appended, and wants it */
    bool settled, firm; /* firm: a tick has passed since */
    bool seen;          /* in this life */
    bool open;          /* delivered, token not settled */
    struct bus_token token;
    unsigned loop; /* of the token */
};

struct subscriber {
    struct sim *sim;
    unsigned index, channel;
    bool even; /* wants even ones only */
    struct bus_subscription *subscription;
    struct bus_stream *streams[LOOPS];
    bool subscribed; /* ever */
    struct mark marks[EVENTS_MAX];
    int last_of_key[LOOPS][4]; /* first deliveries of this life */
};

struct sim {
    uint64_t seed;
    struct prng random;
    struct clock_fake clock;
    struct fake_disk *disk;
    struct loop *control, *loops[LOOPS];
    struct bus *bus;
    const struct bus_ops *ops;
    struct bus_channel *channels[2];
    struct published *published;
    size_t count;
    struct subscriber subscribers[SUBSCRIPTIONS];
    unsigned again; /* settled events delivered once more, in this life */
    bool broken;    /* the disk fails, or has failed so that the log takes nothing more */
    bool full;      /* the disk is full at times */
};

static struct { /* over all lives */
    uint64_t appended, delivered, again, crashes, broken, healed;
} sums;

static const char *const channel_names[] = {"ns/a", "ns/b"};

#define sim_check(s, holds, ...)                                                                                       \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            fprintf(stderr, "\nSEED=%llu: %s:%d: %s: ", (unsigned long long)(s)->seed, __FILE__, __LINE__, #holds);    \
            fprintf(stderr, " " __VA_ARGS__);                                                                          \
            fprintf(stderr, "\n");                                                                                     \
            fail();                                                                                                    \
        }                                                                                                              \
    } while (0)

/* ---- turning ---- */

static void turn(struct sim *s)
{
    if (s->bus)
        log_idle(s->bus);
    for (size_t i = 0; i < LOOPS; i++)
        assert_int_equal(loop_turn(s->loops[i], 0), OK);
    assert_int_equal(loop_turn(s->control, 0), OK);
}

static void turns(struct sim *s, unsigned n)
{
    while (n--)
        turn(s);
}

struct wait {
    struct bus_op op;
    bool ended;
    enum err err;
};

static void wait_done(struct bus_op *op, enum err err)
{
    struct wait *w = container_of(op, struct wait, op);
    w->ended = true;
    w->err = err;
}

static enum err wait_for(struct sim *s, struct wait *w)
{
    for (unsigned n = 0; !w->ended; n++) {
        sim_check(s, n < 20000, "an operation never ends");
        turn(s);
    }
    return w->err;
}

/* The log takes nothing more until it is opened anew. */
static bool log_is_broken(struct sim *s)
{
    struct bus_probe p;
    s->ops->probe(s->bus, NULL, &p);
    s->broken |= !p.healthy;
    return s->broken;
}

/* ---- events ---- */

static const struct ce_event *make_event(struct sim *s, size_t id, bool even, int key)
{
    static char data[30000];
    struct ce_builder b;
    char name[24], key_name[16];
    const struct ce_event *e = NULL;
    size_t len = prng_below(&s->random, 8) ? prng_below(&s->random, 600) : prng_below(&s->random, sizeof(data));
    memset(data, (int)('a' + id % 26), len);
    snprintf(name, sizeof(name), "%zu", id);
    snprintf(key_name, sizeof(key_name), "k%d", key);
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(name));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/sim"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, even ? SLICE("even") : SLICE("odd"));
    if (key >= 0)
        ce_builder_set(&b, SLICE("partitionkey"), CE_STRING, slice_str(key_name));
    ce_builder_data(&b, CE_DATA_BYTES, slice_of(data, len));
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    return e;
}

static bool troubled(const struct sim *s)
{
    return fake_disk_stopped(s->disk) || fake_disk_faults(s->disk) > 0 || s->broken || s->full;
}

static void appended(struct bus_append *a, enum err err)
{
    struct published *p = container_of(a, struct published, append);
    p->pending = false;
    sums.appended += err == OK;
    p->failed = err != OK;
    p->fate = err == OK         ? FATE_ACKNOWLEDGED
              : err == ERR_FULL ? FATE_REFUSED
                                : FATE_UNKNOWN; /* it may be in the log all the same */
    sim_check(p->sim, err == OK || troubled(p->sim), "append: %s", err_name(err));
}

static void publish_as(struct sim *s, unsigned channel, unsigned loop, int key)
{
    if (s->count == EVENTS_MAX)
        return;
    size_t id = s->count++;
    struct published *p = &s->published[id];
    *p = (struct published){.sim = s, .even = id % 2 == 0, .channel = channel, .loop = loop, .key = key};
    p->event = make_event(s, id, p->even, p->key);
    p->append.done = appended;
    p->pending = true;
    for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
        struct subscriber *u = &s->subscribers[i];
        u->marks[id].owed = u->subscribed && u->channel == p->channel && (!u->even || p->even);
    }
    enum err e = s->ops->append(s->bus, s->channels[p->channel], p->event, &p->append, s->loops[p->loop]);
    if (e) {
        sim_check(s, troubled(s), "append: %s", err_name(e));
        p->pending = false;
        p->fate = FATE_REFUSED;
    }
}

static void publish(struct sim *s)
{
    int key = (int)prng_below(&s->random, 6) - 2;
    unsigned channel = (unsigned)prng_below(&s->random, 2);
    publish_as(s, channel, (unsigned)prng_below(&s->random, LOOPS), key < 0 ? -1 : key);
}

/* ---- deliveries ---- */

static void check_order(struct subscriber *u, size_t id)
{
    struct sim *s = u->sim;
    const struct published *p = &s->published[id];
    if (p->key < 0)
        return;
    int *last = &u->last_of_key[p->loop][p->key];
    sim_check(s, *last < (int)id, "subscription %u: event %zu of key %d comes after %d", u->index, id, p->key, *last);
    *last = (int)id;
}

static void deliver(void *arg, struct bus_stream *stream, const struct ce_event *event, struct bus_token token,
                    unsigned attempt)
{
    struct subscriber *u = arg;
    struct sim *s = u->sim;
    size_t id = strtoull(ce_event_id(event).ptr, NULL, 10);
    (void)attempt;
    sim_check(s, id < s->count && ce_event_equal(event, s->published[id].event), "event %zu is another one", id);
    struct mark *m = &u->marks[id];
    sim_check(s, m->owed, "subscription %u: event %zu is none of its", u->index, id);
    sim_check(s, s->published[id].fate != FATE_REFUSED, "event %zu was refused at once", id);
    sim_check(s, !s->published[id].failed, "event %zu is delivered, and its publisher was told that it failed", id);
    sim_check(s, !m->open, "subscription %u: event %zu is out already", u->index, id);
    sim_check(s, !m->firm, "subscription %u: event %zu was settled long ago", u->index, id);
    sim_check(s, !(m->settled && m->seen), "subscription %u: event %zu was settled in this life", u->index, id);
    if (!m->seen)
        check_order(u, id);
    s->again += m->settled;
    sums.again += m->settled;
    sums.delivered++;
    m->settled = false;
    m->seen = m->open = true;
    m->token = token;
    m->loop = u->streams[0] == stream ? 0 : 1;
}

static void revoked(void *arg, struct bus_stream *stream, struct bus_token token)
{
    (void)arg;
    (void)stream;
    (void)token;
    fail_msg("the log takes nothing back");
}

static const struct bus_stream_callbacks callbacks = {deliver, revoked};

static void settle_some(struct sim *s, unsigned of_100)
{
    for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
        struct subscriber *u = &s->subscribers[i];
        for (size_t id = 0; id < s->count; id++) {
            struct mark *m = &u->marks[id];
            if (!m->open || prng_below(&s->random, 100) >= of_100)
                continue;
            bool ack = prng_below(&s->random, 12) != 0;
            m->open = false;
            m->settled = ack;
            s->ops->settle(s->bus, u->streams[m->loop], m->token, ack ? BUS_ACK : BUS_RELEASE);
            s->ops->credit(s->bus, u->streams[m->loop], 1);
        }
    }
}

static bool attach(struct sim *s, struct subscriber *u, unsigned loop)
{
    if (u->streams[loop])
        return true;
    enum err e = s->ops->attach(s->bus, u->subscription, s->loops[loop], &callbacks, u, &u->streams[loop]);
    if (e == OK)
        s->ops->credit(s->bus, u->streams[loop], 5 + (unsigned)prng_below(&s->random, 40));
    return e == OK;
}

static void detach(struct sim *s, struct subscriber *u, unsigned loop)
{
    struct wait w = {.op.done = wait_done};
    if (!u->streams[loop])
        return;
    s->ops->detach(s->bus, u->streams[loop], &w.op);
    for (size_t id = 0; id < s->count; id++)
        if (u->marks[id].open && u->marks[id].loop == loop)
            u->marks[id].open = false;
    assert_int_equal(wait_for(s, &w), OK);
    u->streams[loop] = NULL;
}

/* ---- a life ---- */

static void notice(void *arg, struct bus *bus, int severity, const char *code, const char *text)
{
    struct sim *s = arg;
    (void)bus;
    (void)severity;
    sim_check(s, strcmp(code, "LogLost") != 0, "%s", text);
}

static bool subscribe(struct sim *s, struct subscriber *u)
{
    struct wait w = {.op.done = wait_done};
    struct filter *f = NULL;
    char name[8];
    struct diag d;
    if (u->even)
        assert_int_equal(filter_attribute(FILTER_EXACT, SLICE("type"), SLICE("even"), &f, &d), OK);
    snprintf(name, sizeof(name), "s%u", u->index);
    enum err e = s->ops->subscribe(s->bus, s->channels[u->channel], slice_str(name), NULL, f, NULL, 0, &u->subscription,
                                   &w.op, &d);
    filter_unref(f);
    if (e == OK)
        e = wait_for(s, &w);
    u->subscribed |= e == OK;
    return e == OK;
}

/* False: the disk was gone before all was there. */
static bool begin(struct sim *s)
{
    static const struct bus_param params[] = {{"dir", "/data/log"}, {"segment", "64KiB"}};
    struct bus_env env = {
        .control = s->control, .loops = s->loops, .loop_count = LOOPS, .notice = notice, .notice_arg = s};
    struct diag d = {0};
    enum err e = log_open_on(&env, fake_disk_base(s->disk), params, 2, &s->bus, &d);
    if (e) {
        sim_check(s, troubled(s), "%s", d.text);
        s->bus = NULL;
        return false;
    }
    s->ops = s->bus->ops;
    for (size_t i = 0; i < LOOPS; i++)
        assert_int_equal(s->ops->bind(s->bus, s->loops[i]), OK);
    for (size_t i = 0; i < 2; i++) {
        struct wait w = {.op.done = wait_done};
        e = s->ops->provision(s->bus, slice_str(channel_names[i]), NULL, 0, &s->channels[i], &w.op, &d);
        if (e || wait_for(s, &w) != OK)
            return false;
    }
    for (size_t i = 0; i < SUBSCRIPTIONS; i++)
        if (!subscribe(s, &s->subscribers[i]))
            return false;
    return true;
}

static bool missing(const struct sim *s)
{
    for (size_t id = 0; id < s->count; id++)
        for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
            const struct mark *m = &s->subscribers[i].marks[id];
            if (s->published[id].fate == FATE_ACKNOWLEDGED && m->owed && !m->settled && !m->open)
                return true;
        }
    return false;
}

/* `first`: of a life. What the log holds for a subscriber comes, all of it, while nothing is settled. */
static void collect(struct sim *s, bool first)
{
    for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
        struct subscriber *u = &s->subscribers[i];
        for (unsigned loop = 0; loop < LOOPS; loop++) {
            if (attach(s, u, loop))
                s->ops->credit(s->bus, u->streams[loop], EVENTS_MAX);
        }
    }
    turns(s, 5);
    for (unsigned n = 0; n < 2000 && missing(s); n++) {
        clock_fake_advance(&s->clock, NS_PER_MS); /* who holds a slot whose own stream came late goes on with it */
        turn(s);
    }
    for (size_t id = 0; id < s->count; id++) {
        struct published *p = &s->published[id];
        for (size_t i = 0; i < SUBSCRIPTIONS && p->fate == FATE_UNKNOWN; i++)
            if (s->subscribers[i].marks[id].seen)
                p->fate = FATE_ACKNOWLEDGED; /* it was in the log: then for all of them */
        for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
            struct subscriber *u = &s->subscribers[i];
            struct mark *m = &u->marks[id];
            if (p->fate == FATE_ACKNOWLEDGED && m->owed && !m->settled)
                sim_check(s, m->open, "subscription %u has lost event %zu", u->index, id);
            if (p->fate == FATE_UNKNOWN && first)
                m->owed = false; /* it is not there, and never will be */
        }
    }
    for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
        struct subscriber *u = &s->subscribers[i];
        struct bus_probe probe;
        uint64_t open = 0;
        for (size_t id = 0; id < s->count; id++)
            open += u->marks[id].open;
        s->ops->probe_subscription(s->bus, u->subscription, &probe);
        sim_check(s, probe.events == open, "subscription %zu: %llu events are told, %llu are out", i,
                  (unsigned long long)probe.events, (unsigned long long)open);
    }
}

/* A second passes: cursors are written, and what was settled before is settled for good. */
static void tick(struct sim *s)
{
    bool settled[SUBSCRIPTIONS][EVENTS_MAX];
    for (size_t i = 0; i < SUBSCRIPTIONS; i++)
        for (size_t id = 0; id < s->count; id++)
            settled[i][id] = s->subscribers[i].marks[id].settled;
    clock_fake_advance(&s->clock, NS_PER_S + NS_PER_MS);
    turns(s, 3);
    if (troubled(s))
        return;
    for (size_t i = 0; i < SUBSCRIPTIONS; i++)
        for (size_t id = 0; id < s->count; id++)
            s->subscribers[i].marks[id].firm |= settled[i][id] && s->subscribers[i].marks[id].settled;
}

static void step(struct sim *s)
{
    struct subscriber *u = &s->subscribers[prng_below(&s->random, SUBSCRIPTIONS)];
    unsigned loop = (unsigned)prng_below(&s->random, LOOPS);
    switch (prng_below(&s->random, 10)) {
    case 0:
        tick(s);
        break;
    case 1:
        detach(s, u, loop);
        break;
    case 2:
    case 3:
        (void)attach(s, u, loop);
        break;
    case 4:
    case 5:
        settle_some(s, 10 + (unsigned)prng_below(&s->random, 80));
        break;
    case 6:
        clock_fake_advance(&s->clock, 10 * NS_PER_MS);
        turns(s, 2);
        break;
    default:
        for (uint64_t n = 1 + prng_below(&s->random, 12); n--;)
            publish(s);
        if (prng_below(&s->random, 3))
            turn(s);
    }
}

static void end(struct sim *s, bool stop)
{
    if (!s->bus)
        return;
    struct wait w = {.op.done = wait_done};
    if (stop) {
        s->ops->stop(s->bus, &w.op);
        (void)wait_for(s, &w);
        for (size_t i = 0; i < SUBSCRIPTIONS; i++)
            for (size_t id = 0; id < s->count; id++)
                s->subscribers[i].marks[id].firm |= s->subscribers[i].marks[id].settled && !troubled(s);
    }
    turns(s, 5);
    for (size_t id = 0; id < s->count; id++)
        sim_check(s, !s->published[id].pending, "append %zu never ended", id);
    for (size_t i = 0; i < SUBSCRIPTIONS; i++)
        for (unsigned loop = 0; loop < LOOPS; loop++)
            detach(s, &s->subscribers[i], loop);
    for (size_t i = 0; i < LOOPS; i++)
        s->ops->unbind(s->bus, s->loops[i]);
    s->ops->fini(s->bus);
    s->bus = NULL;
    sim_check(s, fake_disk_open_files(s->disk) == 0);
    sim_check(s, fake_disk_breaches(s->disk) == 0);
}

static void loops_new(struct sim *s)
{
    assert_int_equal(loop_new(&s->clock.base, 4096, &s->control), OK);
    for (size_t i = 0; i < LOOPS; i++)
        assert_int_equal(loop_new(&s->clock.base, 4096, &s->loops[i]), OK);
}

static void loops_free(struct sim *s)
{
    for (size_t i = 0; i < LOOPS; i++)
        loop_free(s->loops[i]);
    loop_free(s->control);
}

static void be_born(struct sim *s)
{
    loops_new(s);
    s->again = 0;
    for (size_t id = 0; id < s->count; id++)
        s->published[id].failed = false;
    for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
        memset(s->subscribers[i].last_of_key, -1, sizeof(s->subscribers[i].last_of_key));
        for (size_t id = 0; id < s->count; id++)
            s->subscribers[i].marks[id].seen = false;
    }
}

/* Draws how the disk behaves in this life. */
static void draw_trouble(struct sim *s)
{
    struct fake_fault f = {.nth = 1 + prng_below(&s->random, 60), .for_ever = prng_below(&s->random, 2)};
    s->broken = s->full = false;
    switch (prng_below(&s->random, 8)) {
    case 0:
        f.ops = FAKE_BIT(FAKE_SYNC);
        f.err = ERR_IO;
        break;
    case 1:
        f.ops = FAKE_BIT(FAKE_WRITE) | FAKE_BIT(FAKE_RENAME) | FAKE_BIT(FAKE_CREATE);
        f.err = ERR_IO;
        break;
    case 2:
        f.ops = FAKE_BIT(FAKE_WRITE) | FAKE_BIT(FAKE_ALLOCATE) | FAKE_BIT(FAKE_CREATE);
        f.err = ERR_FULL;
        break;
    case 3:
        return;
    default:
        fake_disk_stop_after(s->disk, 1 + prng_below(&s->random, 120));
        return;
    }
    fake_disk_fault(s->disk, &f);
}

/* The disk has room again: so have publishers, without anybody's help. */
static void heal(struct sim *s)
{
    size_t id = s->count;
    fake_disk_fault(s->disk, NULL);
    s->full = true; /* what is under way may still be refused */
    for (unsigned n = 0; n < 20 && s->count < EVENTS_MAX; n++) {
        id = s->count;
        publish(s);
        clock_fake_advance(&s->clock, NS_PER_S);
        turns(s, 5);
        if (s->published[id].fate == FATE_ACKNOWLEDGED)
            break;
    }
    sums.healed++;
    sim_check(s, id == s->count || s->published[id].fate == FATE_ACKNOWLEDGED || log_is_broken(s),
              "a disk with room is not used again");
}

static void go_through_life(struct sim *s)
{
    collect(s, true);
    sim_check(s, s->again <= 1000, "%u settled events came again", s->again);
    for (unsigned i = 0; i < 60 && !fake_disk_stopped(s->disk); i++)
        step(s);
    for (unsigned i = 0; i < 5; i++) /* deliveries go on without a disk */
        settle_some(s, 50), turn(s);
    bool broken = log_is_broken(s);
    sums.broken += broken;
    if (fake_disk_faults(s->disk) && !broken)
        heal(s);
    if (!fake_disk_stopped(s->disk))
        collect(s, false);
}

static void live(struct sim *s, bool last)
{
    bool stop = prng_below(&s->random, 2);
    be_born(s);
    s->broken = s->full = false;
    if (!last)
        draw_trouble(s);
    if (begin(s) && !fake_disk_stopped(s->disk))
        go_through_life(s);
    end(s, stop || last);
    loops_free(s);
    bool dies = fake_disk_stopped(s->disk) || prng_below(&s->random, 2);
    fake_disk_fault(s->disk, NULL);
    fake_disk_restart(s->disk);
    if (dies) {
        bool kill = prng_below(&s->random, 3) == 0;
        struct fake_disk *d = kill ? fake_disk_kill(s->disk, prng_next(&s->random))
                                   : fake_disk_power_loss(s->disk, prng_next(&s->random));
        fake_disk_free(s->disk);
        s->disk = d;
        sums.crashes++;
    }
}

static struct sim *sim_new(uint64_t seed)
{
    struct sim *s = calloc(1, sizeof(*s));
    s->published = calloc(EVENTS_MAX, sizeof(*s->published));
    s->seed = seed;
    prng_seed(&s->random, seed);
    clock_fake_init(&s->clock, 1000, 1700000000000000000);
    s->disk = fake_disk_new(seed);
    for (unsigned i = 0; i < SUBSCRIPTIONS; i++) {
        s->subscribers[i].sim = s;
        s->subscribers[i].index = i;
        s->subscribers[i].channel = i % 2;
        s->subscribers[i].even = i >= 2;
    }
    return s;
}

static void sim_free(struct sim *s)
{
    for (size_t id = 0; id < s->count; id++)
        ce_event_unref(s->published[id].event);
    fake_disk_free(s->disk);
    free(s->published);
    free(s);
}

static void run(uint64_t seed)
{
    struct sim *s = sim_new(seed);
    for (unsigned i = 0; i < LIVES; i++)
        live(s, i == LIVES - 1);
    sim_free(s);
}

static void nothing_acknowledged_is_lost_in_any_life(void **state)
{
    (void)state;
    const char *seed = getenv("SEED"), *runs = getenv("RUNS");
    if (seed && *seed) {
        run(strtoull(seed, NULL, 10));
        return;
    }
    uint64_t n = runs && *runs ? strtoull(runs, NULL, 10) : RUNS_DEFAULT, i = 1;
    for (; i * LIVES <= n; i++)
        run(i);
    printf("%llu lives of a bus, %llu crashes, %llu broken disks, %llu full ones, %llu events appended, %llu "
           "deliveries, %llu of events that were settled\n",
           (unsigned long long)(i - 1) * LIVES, (unsigned long long)sums.crashes, (unsigned long long)sums.broken,
           (unsigned long long)sums.healed, (unsigned long long)sums.appended, (unsigned long long)sums.delivered,
           (unsigned long long)sums.again);
    assert_true(sums.delivered > sums.appended && sums.again > 0 && sums.broken && sums.healed);
}

/* Without any second passing, what is delivered again is bounded by the number of settlements. */
static void a_kill_delivers_at_most_a_thousand_settled_ones_again(void **state)
{
    (void)state;
    struct sim *s = sim_new(1);
    unsigned settled = 0;
    be_born(s);
    assert_true(begin(s));
    collect(s, true);
    while (s->count < EVENTS_MAX) {
        for (unsigned i = 0; i < 50; i++)
            publish(s);
        turns(s, 3);
        settle_some(s, 100);
        turns(s, 3);
    }
    for (size_t i = 0; i < SUBSCRIPTIONS; i++)
        for (size_t id = 0; id < s->count; id++)
            settled += s->subscribers[i].marks[id].settled;
    assert_true(settled > 2 * 1000);
    struct fake_disk *killed = fake_disk_kill(s->disk, 1);
    end(s, false);
    loops_free(s);
    fake_disk_free(s->disk);
    s->disk = killed;
    be_born(s);
    assert_true(begin(s));
    collect(s, true);
    assert_in_range(s->again, 1, 1000);
    end(s, true);
    loops_free(s);
    sim_free(s);
}

/* What a stream gives back as it ends is delivered by the one that drains the slot by now, though that one has credit
 * and has come to rest. */
static void what_a_stream_leaves_wakes_the_next(void **state)
{
    (void)state;
    struct sim *s = sim_new(1);
    struct subscriber *u = &s->subscribers[0];
    be_born(s);
    assert_true(begin(s));
    assert_true(attach(s, u, 1));
    for (unsigned i = 0; i < 4; i++)
        publish_as(s, u->channel, 0, -1);
    turns(s, 5);
    assert_true(attach(s, u, 0));
    s->ops->credit(s->bus, u->streams[0], 100);
    turns(s, 5);
    detach(s, u, 1);
    for (unsigned n = 0; n < 100; n++)
        turn(s);
    for (size_t id = 0; id < s->count; id++)
        assert_true(!u->marks[id].owed || u->marks[id].open);
    end(s, true);
    loops_free(s);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_acknowledged_is_lost_in_any_life),
        cmocka_unit_test(what_a_stream_leaves_wakes_the_next),
        cmocka_unit_test(a_kill_delivers_at_most_a_thousand_settled_ones_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
