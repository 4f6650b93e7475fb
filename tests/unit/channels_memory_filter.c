/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters and partitions of the memory bus beyond the contract: what they cost, how they count, what is refused.
 */
#include "../bus/contract.c"
#include "../lib/fault.h"

static const struct contract on_one = {"memory", "", 1, TURNED, .idle = NULL},
                             on_two = {"memory", "", 2, TURNED, .idle = NULL},
                             on_lease = {"faulty", "inner=memory hold-ms-max=60000", 1, TURNED, .idle = NULL};

static void only_one_partition_can_be_asked_for(void **state)
{
    struct rig *r = *state;
    for (const char *const *bad = (const char *const[]){"0", "2", "", "one", "1 ", NULL}; *bad; bad++) {
        struct bus_param param = {"partitions", *bad};
        struct bus_channel *c = NULL;
        struct rig_op o = {.op.done = rig_op_done};
        struct diag d = {0};
        assert_int_equal(r->ops->provision(r->bus, SLICE("ns/c"), &param, 1, &c, &o.op, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, "partitions"));
        assert_non_null(strstr(d.text, "one per loop"));
    }
}

static void parameters_of_a_channel_given_last_count(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel_with(r, "ns/c", "capacity=1KiB");
    rig_subscribe(r, c, "s");
    const struct ce_event *event = rig_event("e", NULL, 4000);
    assert_int_equal(rig_append_try(r, 0, c, event), ERR_TOO_LARGE);
    assert_ptr_equal(rig_channel_with(r, "ns/c", "capacity=10KiB"), c);
    assert_int_equal(rig_append_try(r, 0, c, event), OK);
    assert_ptr_equal(rig_channel_with(r, "ns/c", "capacity=1KiB"), c);
    assert_int_equal(rig_append_try(r, 0, c, event), ERR_TOO_LARGE);
    rig_channel(r, "ns/c"); /* none: the bus's own bound */
    assert_int_equal(rig_append_try(r, 0, c, event), OK);
    ce_event_unref(event);
}

static struct filter *type_is(const char *type)
{
    struct filter *f;
    must(filter_attribute(FILTER_EXACT, SLICE("type"), slice_str(type), &f, NULL) == OK);
    return f;
}

/* An event that another loop owns is charged for those who want it, not for all there are, and what nobody wants is
 * never charged. */
static void only_matches_are_charged(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%u", i);
        subscribe_filtered(r, c, name, type_is(i == 7 ? "contract.event" : "other"));
    }
    rig_append(r, 0, c, "no key", NULL);
    uint64_t of_one = rig_probe(r, c).bytes;
    assert_in_range(of_one, 1, 1000);
    for (char key = 'a'; key < 'i'; key++) /* some are the other loop's */
        rig_append(r, 0, c, "keyed", (char[]){key, '\0'});
    assert_in_range(rig_probe(r, c).bytes, of_one * 9, of_one * 10);
    assert_int_equal(rig_probe(r, c).events, 9);

    subscribe_filtered(r, c, "s7", type_is("other")); /* now nobody wants it */
    uint64_t before = rig_probe(r, c).bytes;
    for (char key = 'a'; key < 'i'; key++)
        rig_append(r, 0, c, "keyed", (char[]){key, '\0'});
    assert_int_equal(rig_probe(r, c).bytes, before);
    assert_int_equal(rig_probe(r, c).unmatched, 8);
    assert_int_equal(rig_probe(r, c).dropped, 0);
}

/* Filters change between the loop where the event is appended and the one that owns its key: what is charged is what is
 * kept in the end. */
static void the_charge_follows_a_change_on_the_way(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s[40];
    for (unsigned i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%u", i);
        s[i] = subscribe_filtered(r, c, name, type_is("contract.event"));
    }
    struct rig_append a[8];
    const struct ce_event *events[8];
    struct rig_op o[40] = {0};
    struct bus_subscription *again;
    struct filter *other = type_is("other");
    for (unsigned i = 0; i < 40; i++) { /* letters of the rounds are in the mailboxes before those of the appends */
        char name[16];
        snprintf(name, sizeof name, "s%u", i);
        o[i].op.done = rig_op_done;
        assert_int_equal(r->ops->subscribe(r->bus, c, slice_str(name), NULL, other, NULL, 0, &again, &o[i].op, NULL),
                         OK);
    }
    for (unsigned i = 0; i < 8; i++) {
        events[i] = rig_event("e", (char[]){(char)('a' + i), '\0'}, 10);
        rig_append_start(r, 0, c, events[i], &a[i]);
    }
    for (unsigned i = 0; i < 40; i++)
        rig_wait(r, &o[i]);
    for (unsigned i = 0; i < 8; i++) {
        rig_until(r, rig_append_ended(&a[i]));
        assert_int_equal(a[i].at_once ? a[i].at_once : a[i].err, OK);
        ce_event_unref(events[i]);
    }
    for (unsigned i = 0; i < 40; i++) { /* all backlog goes: nothing stays charged */
        rig_unsubscribe(r, s[i], false);
        rig_unsubscribe(r, s[i], true);
    }
    assert_int_equal(rig_probe(r, c).bytes, 0);
    filter_unref(other);
}

/* The fastest of some batches of appends, each batch delivered and forgotten before the next. */
static uint64_t fastest_batch_ns(struct rig *r, struct bus_channel *c)
{
    uint64_t best = UINT64_MAX;
    const struct ce_event *event = rig_event("e", NULL, 10);
    for (int batch = 0; batch < 20; batch++) {
        uint64_t began = clock_monotonic_ns(clock_system());
        for (int i = 0; i < 20; i++)
            rig_append_event(r, 0, c, event);
        uint64_t took = clock_monotonic_ns(clock_system()) - began;
        best = took < best ? took : best;
    }
    ce_event_unref(event);
    return best;
}

/* With every subscription looked at, the ratio would be in the hundreds. */
static void ten_thousand_subscriptions_cost_little_more_than_ten(void **state)
{
    struct rig *r = *state;
    struct bus_channel *few = rig_channel(r, "ns/few"), *many = rig_channel(r, "ns/many");
    for (unsigned i = 0; i < 10000; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%u", i);
        if (i < 10)
            subscribe_filtered(r, few, name, type_is(i == 3 ? "contract.event" : name));
        subscribe_filtered(r, many, name, type_is(i == 3 ? "contract.event" : name));
    }
    uint64_t of_few = fastest_batch_ns(r, few), of_many = fastest_batch_ns(r, many);
    assert_in_range(of_many, 0, 10 * of_few);
}

/* Without memory for the index's own the filter still decides. */
static void filters_survive_every_failed_allocation(void **state)
{
    struct rig *r = *state;
    for (unsigned n = 1;; n++) {
        struct bus_channel *c = rig_channel(r, "ns/c");
        struct bus_subscription *s = NULL;
        struct rig_op o = {.op.done = rig_op_done};
        struct filter *f = type_is("contract.event");
        fault_arm(n);
        enum err e = r->ops->subscribe(r->bus, c, SLICE("s"), NULL, f, NULL, 0, &s, &o.op, NULL);
        if (!e)
            rig_turn(r);
        bool fired = fault_disarm();
        filter_unref(f);
        assert_true(e == OK || (fired && e == ERR_NOMEM && !s));
        if (!e) {
            rig_wait(r, &o);
            rig_append(r, 0, c, "e", NULL);
            assert_int_equal(backlog(r, s), 1);
            rig_unsubscribe(r, s, true);
        }
        rig_release(r, c, true);
        if (!fired)
            return;
    }
}

/* For trying out what is refused on a bus with leases. */
static void faulty_lowers_how_long_a_delivery_may_be_held(void **state)
{
    struct rig *r = *state;
    assert_int_equal(r->bus->hold_ms_max, 60000);
    struct bus_param bad = {"hold-ms-max", "a minute"};
    struct bus *b = NULL;
    struct diag d = {0};
    assert_int_equal(r->ops->open(&r->env, &bad, 1, &b, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "hold-ms-max"));
}

#define ON(loops, test)                                                                                                \
    cmocka_unit_test_prestate_setup_teardown(test, contract_setup, contract_teardown, (void *)(uintptr_t)&on_##loops)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(one, only_one_partition_can_be_asked_for),
        ON(one, parameters_of_a_channel_given_last_count),
        ON(two, only_matches_are_charged),
        ON(two, the_charge_follows_a_change_on_the_way),
        ON(two, ten_thousand_subscriptions_cost_little_more_than_ten),
        ON(one, filters_survive_every_failed_allocation),
        ON(lease, faulty_lowers_how_long_a_delivery_may_be_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
