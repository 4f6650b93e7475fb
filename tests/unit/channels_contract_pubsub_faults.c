/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Pub/Sub bus promises beyond the contract, on a real service that tests/real starts and names in
 * LEAT_PUBSUB: how much a subscription holds at most; whose turn it is; and that it keeps its word when each allocation
 * of control, or of a data loop, fails in turn. `channels_contract_pubsub_faults WORD` runs the cases whose name holds
 * WORD.
 */
#include "../bus/contract.c"

#include "channels/pubsub/pubsub_subscription.h"
#include "tests/lib/children.h"
#include "tests/lib/fault.h"

#define REAL "emulator=$LEAT_PUBSUB project=leat-contract prefix=* retention-age=0 ack.deadline="

/* ---- how much a subscription holds ---- */

#define HOARD_MAX (2 * PUB_HELD_MAX)

struct hoarded {
    struct bus_token token;
    bool revoked;
};

/* A stream that keeps all it gets until it is told how many of them to settle. */
struct hoard {
    struct rig *r;
    struct bus_subscription *s;
    struct bus_stream *stream;
    struct hoarded *items; /* HOARD_MAX of them: by their coming */
    atomic_uint came, settled;
    atomic_uint revoked; /* those whose lease ran out, as on a machine that is crowded: they come again */
    atomic_uint gone;    /* of these, those that would have to be settled yet */
    unsigned most;       /* that may be unsettled at once, or the program ends */
    unsigned settle;
};

static void hoard_deliver(void *arg, struct bus_stream *stream, const struct ce_event *event, struct bus_token token,
                          unsigned attempt)
{
    struct hoard *h = arg;
    (void)stream, (void)event, (void)attempt;
    unsigned came = atomic_load(&h->came);
    must(came < HOARD_MAX && came - atomic_load(&h->settled) - atomic_load(&h->gone) < h->most);
    h->items[came] = (struct hoarded){.token = token};
    atomic_store(&h->came, came + 1);
}

static void hoard_revoked(void *arg, struct bus_stream *stream, struct bus_token token)
{
    struct hoard *h = arg;
    unsigned n = atomic_load(&h->settled), came = atomic_load(&h->came);
    (void)stream;
    while (n < came && (h->items[n].revoked || h->items[n].token.a != token.a || h->items[n].token.b != token.b))
        n++;
    must(n < came);
    h->items[n].revoked = true;
    atomic_fetch_add(&h->gone, 1);
    atomic_fetch_add(&h->revoked, 1);
}

/* That came, each once. */
static unsigned hoard_events(struct hoard *h)
{
    return atomic_load(&h->came) - atomic_load(&h->revoked);
}

static void hoard_attach(void *arg)
{
    static const struct bus_stream_callbacks callbacks = {.deliver = hoard_deliver, .revoked = hoard_revoked};
    struct hoard *h = arg;
    must(h->r->ops->attach(h->r->bus, h->s, h->r->loops[0], &callbacks, h, &h->stream) == OK);
    h->r->ops->credit(h->r->bus, h->stream, 2 * PUB_HELD_MAX);
}

static void hoard_settle_here(void *arg)
{
    struct hoard *h = arg;
    for (; h->settle > 0; h->settle--) {
        unsigned n = atomic_fetch_add(&h->settled, 1);
        must(n < atomic_load(&h->came));
        if (h->items[n].revoked)
            atomic_fetch_sub(&h->gone, 1);
        else
            h->r->ops->settle(h->r->bus, h->stream, h->items[n].token, BUS_ACK);
    }
}

static void hoard_settle(struct hoard *h, unsigned n)
{
    h->settle = n;
    rig_on(h->r, 0, hoard_settle_here, h);
}

static void hoard_open(struct rig *r, struct hoard *h, unsigned most, struct bus_channel **c)
{
    *h = (struct hoard){.r = r, .most = most, .items = calloc(HOARD_MAX, sizeof *h->items)};
    must(h->items);
    *c = rig_channel(r, "ns/c");
    h->s = rig_subscribe_with(r, *c, "s", "order=none");
    rig_on(r, 0, hoard_attach, h);
}

static void hoard_close(struct hoard *h)
{
    rig_stop(h->r); /* what it holds goes back */
    free(h->items);
}

struct flood {
    struct rig *r;
    struct rig_append *appends;
    const struct ce_event *event;
    struct bus_channel *c;
    unsigned first, n;
};

static void flood_here(void *arg)
{
    struct flood *f = arg;
    for (unsigned i = f->first; i < f->first + f->n; i++) {
        f->appends[i] = (struct rig_append){.r = f->r, .c = f->c, .event = f->event};
        rig_append_here(&f->appends[i]);
    }
}

/* n events of one size, `at_once` under way at a time. */
static void flood(struct rig *r, struct bus_channel *c, unsigned n, unsigned at_once, size_t bytes)
{
    struct flood f = {.r = r, .c = c, .event = rig_event("e", NULL, bytes)};
    f.appends = calloc(n, sizeof *f.appends);
    must(f.appends);
    for (; f.first < n; f.first += f.n) {
        f.n = n - f.first < at_once ? n - f.first : at_once;
        rig_on(r, 0, flood_here, &f);
        for (unsigned i = f.first; i < f.first + f.n; i++) {
            rig_until(r, rig_append_ended(&f.appends[i]));
            assert_int_equal(f.appends[i].at_once, OK);
            assert_int_equal(f.appends[i].err, OK);
        }
    }
    free(f.appends);
    ce_event_unref(f.event);
}

static void test_a_subscription_holds_so_many_events_at_most(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c;
    struct hoard h;
    hoard_open(r, &h, PUB_HELD_MAX, &c);
    flood(r, c, PUB_HELD_MAX + 300, 2000, 10);
    rig_until(r, atomic_load(&h.came) == PUB_HELD_MAX);
    hoard_settle(&h, 1); /* room for one more */
    rig_until(r, atomic_load(&h.came) == PUB_HELD_MAX + 1);
    hoard_settle(&h, 500);
    rig_until(r, atomic_load(&h.came) == PUB_HELD_MAX + 300);
    hoard_close(&h);
}

/* Nothing is pulled while so many bytes are held; but one pull may be under way, and bring as much as an answer holds,
 * by base64 three quarters of its bytes. */
static void test_a_subscription_holds_so_many_bytes_at_most(void **state)
{
    enum { EVENT = 256 << 10, EVENTS = 300 };
    const unsigned full = PUB_HELD_BYTES_MAX / EVENT, most = full + PUBSUB_REPLY_BYTES_MAX / EVENT * 3 / 4;
    struct rig *r = *state;
    struct bus_channel *c;
    struct hoard h;
    assert_true(most < EVENTS);
    hoard_open(r, &h, most, &c);
    struct bus_subscription *other = rig_subscribe_with(r, c, "t", "order=none");
    struct tap t;
    tap_drain(r, other, 0, &t);
    flood(r, c, EVENTS, 12, EVENT);
    rig_until(r, hoard_events(&h) >= full);
    rig_until(r, tap_count(&t) >= EVENTS); /* meanwhile it could have had all, too */
    tap_close(&t);
    while (hoard_events(&h) < EVENTS) {
        hoard_settle(&h, atomic_load(&h.came) - atomic_load(&h.settled));
        rig_turn(r);
    }
    hoard_close(&h);
}

/* What waits is more than one answer may hold: it is asked for in smaller ones, when the leases of that have run out.
 */
static void test_an_answer_that_is_too_large_is_asked_for_in_parts(void **state)
{
    enum { EVENT = 512 << 10, EVENTS = 60 };
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe_with(r, c, "s", "order=none");
    struct tap t;
    assert_true(EVENTS * (EVENT / 3 * 4) > PUBSUB_REPLY_BYTES_MAX);
    flood(r, c, EVENTS, 6, EVENT);
    tap_drain(r, s, 0, &t);
    rig_until(r, tap_count(&t) >= EVENTS);
    tap_close(&t);
}

/* ---- whose turn it is ---- */

struct line { /* of those that wait for a pull on loop 0 */
    struct pub_loop *loop;
    unsigned length;
    const struct bus_subscription *first;
};

/* As if all pulls that may be under way were. */
static void line_holds(void *arg)
{
    struct line *l = arg;
    l->loop->longs += PUB_LONG_MAX;
    l->loop->shorts += PUB_SHORT_MAX;
}

static void line_goes_on(void *arg)
{
    struct line *l = arg;
    l->loop->longs -= PUB_LONG_MAX;
    l->loop->shorts -= PUB_SHORT_MAX;
    loop_defer(l->loop->loop, &l->loop->turn);
}

static void line_look(void *arg)
{
    struct line *l = arg;
    l->length = 0;
    list_each(at, tmp, &l->loop->waiting)
        l->length++;
    l->first = l->length ? container_of(l->loop->waiting.next, struct bus_subscription, turn) : NULL;
}

static unsigned length(struct rig *r, struct line *l)
{
    rig_on(r, 0, line_look, l);
    return l->length;
}

/* Else a list of parked events would take as long as a turn of a thousand subscriptions. */
static void test_one_that_nobody_drained_comes_before_those_that_take_turns(void **state)
{
    struct rig *r = *state;
    struct line l = {.loop = &((struct pub_bus *)r->bus)->loops[0]};
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *old = rig_subscribe_with(r, c, "old", "order=none"),
                            *fresh = rig_subscribe_with(r, c, "fresh", "order=none");
    struct tap t, u;
    tap_drain(r, old, 0, &t);
    rig_append(r, 0, c, "1", NULL);
    rig_until(r, tap_acked(&t) == 1);
    rig_on(r, 0, line_holds, &l);
    rig_append(r, 0, c, "2", NULL); /* ends the pull that waits */
    rig_until(r, length(r, &l) == 1);
    assert_ptr_equal(l.first, old);
    tap_drain(r, fresh, 0, &u);
    rig_until(r, length(r, &l) == 2);
    assert_ptr_equal(l.first, fresh);
    rig_on(r, 0, line_goes_on, &l);
    rig_until(r, tap_acked(&t) == 2 && tap_acked(&u) == 2);
    tap_close(&t);
    tap_close(&u);
}

/* ---- no memory ---- */

/* Waits for an operation that may fail for want of memory. */
static enum err ended(struct rig *r, struct rig_op *o)
{
    rig_until(r, o->ended > 0);
    assert_int_equal(o->ended, 1);
    if (o->err)
        printf("%s: %s\n", err_name(o->err), o->op.text ? o->op.text : "");
    return o->err;
}

/* A channel and a subscription come, and go again; whatever is refused, what was given is given back. OK: nothing was.
 */
static enum err life(struct rig *r, unsigned n)
{
    char name[32];
    struct bus_channel *c = NULL;
    struct bus_subscription *s = NULL;
    struct rig_op o[4] = {
        {.op.done = rig_op_done}, {.op.done = rig_op_done}, {.op.done = rig_op_done}, {.op.done = rig_op_done}};
    snprintf(name, sizeof name, "ns/c%u", n); /* what could not be deleted is in nobody's way */
    enum err e = r->ops->provision(r->bus, slice_str(name), NULL, 0, &c, &o[0].op, NULL);
    if (e)
        return e;
    e = r->ops->subscribe(r->bus, c, SLICE("s"), NULL, NULL, NULL, 0, &s, &o[1].op, NULL);
    enum err made = ended(r, &o[0]);
    if (!e) {
        e = ended(r, &o[1]);
        r->ops->unsubscribe(r->bus, s, true, &o[2].op);
        ended(r, &o[2]);
    }
    r->ops->release(r->bus, c, true, &o[3].op);
    ended(r, &o[3]);
    return made ? made : e;
}

static void test_control_without_memory(void **state)
{
    struct rig *r = *state;
    bool fired = true;
    unsigned n;
    for (n = 1; fired; n++) {
        fault_arm(n);
        enum err e = life(r, n);
        fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
    }
    assert_true(n > 10);
}

/* An allocation of the loop that is to fail. */
struct want {
    unsigned n;
    bool fired;
};

static void want_begin(void *arg)
{
    fault_arm(((struct want *)arg)->n);
}

static void want_look(void *arg)
{
    struct want *w = arg;
    w->fired = fault_count() >= w->n;
}

static void want_end(void *arg)
{
    ((struct want *)arg)->fired = fault_disarm();
}

static bool fired(struct rig *r, struct want *w)
{
    rig_on(r, 0, want_look, w);
    return w->fired;
}

static bool acked(struct tap *t, const char *id)
{
    bool found = false;
    pthread_mutex_lock(&t->r->lock);
    for (uint64_t i = 0; i < t->count; i++)
        found |= t->items[i].acked && strcmp(t->items[i].id, id) == 0;
    pthread_mutex_unlock(&t->r->lock);
    return found;
}

#define PARTS 4 /* of the test that follows, side by side: after a pull that failed the bus waits */

/* Whatever fails on the loop that appends, pulls, delivers and acknowledges: what was taken comes, and is settled. What
 * an answer held that could not be read comes when the ack deadline is over: all of that is waited for at the end. Of
 * each PARTS allocations the one of this number. */
static void a_loop_without_memory(struct rig *r, unsigned part)
{
    struct want w = {.fired = true};
    unsigned rounds = 0;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe_with(r, c, "s", "order=none");
    struct tap t;
    tap_drain(r, s, 0, &t);
    while (w.fired) {
        char id[16];
        w.n = part + PARTS * rounds++;
        snprintf(id, sizeof id, "e%u", w.n);
        const struct ce_event *event = rig_event(id, NULL, 10);
        rig_on(r, 0, want_begin, &w);
        enum err e = rig_append_try(r, 0, c, event);
        rig_until(r, acked(&t, id) || fired(r, &w));
        rig_on(r, 0, want_end, &w);
        assert_true(e == OK || (w.fired && (e == ERR_NOMEM || e == ERR_UNAVAILABLE)));
        if (e)
            rig_append_event(r, 0, c, event);
        ce_event_unref(event);
        snprintf(id, sizeof id, "then%u", w.n); /* a pull that succeeds, so that the next that fails is tried soon */
        rig_append(r, 0, c, id, NULL);
        rig_until(r, acked(&t, id));
    }
    assert_true(rounds > 2);
    rig_until(r, tap_acked(&t) == 2 * rounds);
    tap_close(&t);
}

#define PART(n)                                                                                                        \
    static void test_a_loop_without_memory_##n(void **state)                                                           \
    {                                                                                                                  \
        a_loop_without_memory(*state, n);                                                                              \
    }
PART(1)
PART(2)
PART(3)
PART(4)

/* ---- the table ---- */

/* What an acknowledgement was lost for comes again soon; what is held on purpose does not, however slow the machine. */
static const struct contract soon = {.bus = "pubsub", .params = REAL "10s", .loops = 1, .how = THREADS},
                             late = {.bus = "pubsub", .params = REAL "600s", .loops = 1, .how = THREADS};

#define CASE(name, service)                                                                                            \
    {                                                                                                                  \
#name, name, contract_setup, contract_teardown, (void *)(uintptr_t)&service                                    \
    }

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        CASE(test_control_without_memory, soon),
        CASE(test_one_that_nobody_drained_comes_before_those_that_take_turns, late),
        CASE(test_a_loop_without_memory_1, soon),
        CASE(test_a_loop_without_memory_2, soon),
        CASE(test_a_loop_without_memory_3, soon),
        CASE(test_a_loop_without_memory_4, soon),
        CASE(test_a_subscription_holds_so_many_events_at_most, late),
        CASE(test_a_subscription_holds_so_many_bytes_at_most, soon),
        CASE(test_an_answer_that_is_too_large_is_asked_for_in_parts, soon),
    };
    if (!getenv("LEAT_PUBSUB")) {
        printf("LEAT_PUBSUB names no Pub/Sub (HOST:PORT)\n[  FAILED  ] 1 test(s).\n");
        return 1;
    }
    struct children all = {.most = 6};
    const char *is = getenv("LEAT_PUBSUB_IS");
    bool emulator = is && strcmp(is, "emulator") == 0; /* it is a Java with little memory: not for so many bytes */
    children_add(&all, tests, sizeof tests / sizeof tests[0] - (emulator ? 2 : 0));
    return children_run(&all, "a Pub/Sub, beyond the contract", argc > 1 ? argv[1] : NULL);
}
