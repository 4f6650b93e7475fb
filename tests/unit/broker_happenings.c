/* SPDX-License-Identifier: Apache-2.0
 *
 * Happenings on a clock that the test moves: what is one Event, how often it is written, when it goes.
 */
#include "../lib/resource_rig.h"

#include "broker/happenings.h"

#define OBJECTS                                                                                                        \
    "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: a}\n---\n"                                  \
    "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: b}\n---\n"                                  \
    "apiVersion: channels.knative.dev/v1alpha1\nkind: ClusterBus\nmetadata: {name: stub}\n"                            \
    "spec: {dispatcher: {name: d, image: i}}\n"

static struct clock_fake now;
static struct loop *loop;
static struct resource_table *table;
static struct happenings *happenings;
static const struct resource *a, *b;

static int setup(void **state)
{
    (void)state;
    clock_fake_init(&now, 1, 1533038400ll * 1000000000ll); /* 2018-07-31T12:00:00Z */
    table = rig_table(OBJECTS, &now.base);
    assert_int_equal(loop_new(&now.base, 8, &loop), OK);
    assert_int_equal(happenings_new(loop, table, &happenings), OK);
    a = rig_get(table, "channel.messaging.knative.dev", "a");
    b = rig_get(table, "channel.messaging.knative.dev", "b");
    assert_non_null(a);
    assert_non_null(b);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    happenings_free(happenings);
    loop_free(loop);
    resource_table_free(table);
    return 0;
}

/* The clock goes on by so much, in steps of a second at most, and the loop with it. */
static void pass(uint64_t ns)
{
    do {
        uint64_t step = ns < NS_PER_S ? ns : NS_PER_S;
        clock_fake_advance(&now, step);
        ns -= step;
        assert_int_equal(loop_turn(loop, 0), OK);
    } while (ns);
}

static void warn(const struct resource *about, const char *reason, const char *kind, const char *message)
{
    happenings_note(happenings, about,
                    &(struct happening){.warning = true, .reason = reason, .kind = kind, .message = message});
}

static const struct resource *event_at(size_t i)
{
    size_t cursor = 0;
    const struct resource *r = NULL;
    for (size_t n = 0; n <= i; n++)
        if (!(r = resource_next(table, kind_find("v1", "Event"), NULL, &cursor)))
            return NULL;
    return r;
}

static size_t events(void)
{
    size_t n = 0;
    while (event_at(n))
        n++;
    return n;
}

static const char *text_of(const struct resource *event, const char *name)
{
    return rig_text(event->object, name);
}

static int count_of(const struct resource *event)
{
    return cJSON_GetObjectItem(event->object, "count")->valueint;
}

static void test_an_event(void **state)
{
    (void)state;
    warn(a, "DeliveryFailed", "http://sink/", "http://sink/ answered 503");
    assert_int_equal(events(), 0); /* never inside the call */
    pass(0);
    const struct resource *e = event_at(0);
    assert_int_equal(events(), 1);
    const cJSON *about = cJSON_GetObjectItem(e->object, "involvedObject");
    assert_string_equal(rig_text(about, "apiVersion"), "messaging.knative.dev/v1");
    assert_string_equal(rig_text(about, "kind"), "Channel");
    assert_string_equal(rig_text(about, "namespace"), "default");
    assert_string_equal(rig_text(about, "name"), "a");
    assert_string_equal(rig_text(about, "uid"), a->uid);
    assert_string_equal(e->namespace_name, "default");
    assert_string_equal(text_of(e, "type"), "Warning");
    assert_string_equal(text_of(e, "reason"), "DeliveryFailed");
    assert_string_equal(text_of(e, "message"), "http://sink/ answered 503");
    assert_string_equal(text_of(e, "firstTimestamp"), "2018-07-31T12:00:00Z");
    assert_string_equal(text_of(e, "lastTimestamp"), "2018-07-31T12:00:00Z");
    assert_int_equal(count_of(e), 1);
}

static void test_the_same_again_is_one_event(void **state)
{
    (void)state;
    warn(a, "DeliveryFailed", "http://sink/", "first");
    pass(0);
    uint64_t version = event_at(0)->version;
    for (int i = 0; i < 1000; i++)
        warn(a, "DeliveryFailed", "http://sink/", "again");
    pass(NS_PER_S / 2);
    assert_int_equal(event_at(0)->version, version); /* at most one write a second */
    pass(NS_PER_S / 2);
    assert_int_equal(events(), 1);
    assert_int_equal(count_of(event_at(0)), 1001);
    assert_int_equal(event_at(0)->version, version + 1);
    assert_string_equal(text_of(event_at(0), "message"), "again");
    assert_string_equal(text_of(event_at(0), "firstTimestamp"), "2018-07-31T12:00:00Z");
    pass(10 * NS_PER_S);
    assert_int_equal(event_at(0)->version, version + 1); /* nothing new, nothing written */
}

static void test_what_is_told_apart(void **state)
{
    (void)state;
    warn(a, "DeliveryFailed", "http://sink/", "m");
    warn(a, "DeliveryFailed", "http://other/", "m");
    warn(b, "DeliveryFailed", "http://sink/", "m");
    warn(a, "EventsParked", NULL, "m");
    happenings_note(happenings, a, &(struct happening){.reason = "EventsParked", .message = "m", .count = 7});
    pass(0);
    assert_int_equal(events(), 5);
}

static void test_by_key_and_part(void **state)
{
    (void)state;
    const struct happening h = {.reason = "R", .message = "text"};
    happenings_note_key(happenings, "Channel.messaging.knative.dev/default/a", &h);
    happenings_note_key(happenings, "Channel.messaging.knative.dev/default/a/steps/1", &h);
    happenings_note_key(happenings, "Channel.messaging.knative.dev/default/none", &h);
    happenings_note_key(happenings, "nonsense", &h);
    pass(0);
    assert_int_equal(events(), 2);
    const char *first = text_of(event_at(0), "message"), *second = text_of(event_at(1), "message");
    assert_true(strcmp(first, "text") == 0 || strcmp(second, "text") == 0);
    assert_true(strcmp(first, "steps/1: text") == 0 || strcmp(second, "steps/1: text") == 0);
}

static void test_of_an_object_without_a_namespace(void **state)
{
    (void)state;
    const struct resource *bus = resource_get(table, kind_by_word("clusterbus"), NULL, "stub");
    assert_non_null(bus);
    warn(bus, "R", NULL, "m");
    pass(0);
    assert_string_equal(event_at(0)->namespace_name, "default");
    assert_null(rig_text(cJSON_GetObjectItem(event_at(0)->object, "involvedObject"), "namespace"));
}

static void test_an_hour_after_the_last_time(void **state)
{
    (void)state;
    warn(a, "Old", NULL, "m");
    pass(1800 * NS_PER_S);
    warn(a, "Old", NULL, "m");
    warn(b, "Young", NULL, "m");
    pass(HAPPENINGS_LIFE_NS - HAPPENINGS_SWEEP_NS);
    assert_int_equal(events(), 2);
    warn(b, "Young", NULL, "m");
    pass(2 * HAPPENINGS_SWEEP_NS);
    assert_int_equal(events(), 1);
    assert_string_equal(text_of(event_at(0), "reason"), "Young");
    pass(HAPPENINGS_LIFE_NS + 2 * HAPPENINGS_SWEEP_NS);
    assert_int_equal(events(), 0);
}

static bool there(const char *reason)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = resource_next(table, kind_find("v1", "Event"), NULL, &cursor));)
        if (strcmp(text_of(r, "reason"), reason) == 0)
            return true;
    return false;
}

static void test_a_flood_is_written_in_lots_and_bounded(void **state)
{
    char reason[40];
    (void)state;
    for (int i = 0; i < HAPPENINGS_MAX + 10; i++) {
        snprintf(reason, sizeof reason, "R%d", i);
        warn(a, reason, NULL, "m");
    }
    pass(0);
    assert_int_equal(events(), HAPPENINGS_WRITTEN_MAX);
    pass(NS_PER_S);
    assert_int_equal(events(), 2 * HAPPENINGS_WRITTEN_MAX);
    pass(HAPPENINGS_MAX / HAPPENINGS_WRITTEN_MAX * NS_PER_S);
    assert_int_equal(events(), HAPPENINGS_MAX);
    assert_false(there("R2000")); /* the first ones stay, or all would push each other out */
    warn(a, "TooSoon", NULL, "m");
    pass(NS_PER_S);
    assert_false(there("TooSoon"));
    assert_true(there("R0"));
    pass(HAPPENINGS_STAY_NS);
    warn(a, "OneMore", NULL, "m");
    pass(NS_PER_S);
    assert_int_equal(events(), HAPPENINGS_MAX);
    assert_true(there("OneMore"));
    assert_false(there("R0"));
}

static void test_what_somebody_deleted_counts_anew(void **state)
{
    struct diag d;
    (void)state;
    for (int i = 0; i < 5; i++)
        warn(a, "R", NULL, "m");
    pass(0);
    assert_int_equal(count_of(event_at(0)), 5);
    assert_int_equal(resource_delete(table, "t", event_at(0)->kind, "default", event_at(0)->name, &d), OK);
    pass(NS_PER_S);
    assert_int_equal(events(), 0);
    warn(a, "R", NULL, "m");
    pass(NS_PER_S);
    assert_int_equal(events(), 1);
    assert_int_equal(count_of(event_at(0)), 1);
    assert_string_equal(text_of(event_at(0), "firstTimestamp"), "2018-07-31T12:00:01Z");
}

static void post(int i)
{
    struct diag d;
    char text[300];
    snprintf(text, sizeof text,
             "{\"apiVersion\":\"v1\",\"kind\":\"Event\",\"metadata\":{\"name\":\"o%d\",\"namespace\":\"default\"},"
             "\"involvedObject\":{\"namespace\":\"default\",\"name\":\"x\"}}",
             i);
    happenings_make_room(happenings);
    assert_int_equal(resource_create(table, "t", kind_find("v1", "Event"), cJSON_Parse(text), NULL, &d), OK);
}

static void test_those_of_others_are_bounded_and_go(void **state)
{
    (void)state;
    warn(a, "Ours", NULL, "m");
    for (int i = 0; i < HAPPENINGS_OTHERS_MAX + 5; i++)
        post(i);
    pass(0);
    assert_int_equal(events(), HAPPENINGS_OTHERS_MAX + 1);
    assert_null(resource_get(table, kind_find("v1", "Event"), "default", "o4"));
    assert_non_null(resource_get(table, kind_find("v1", "Event"), "default", "o5"));
    pass(HAPPENINGS_LIFE_NS / 2);
    warn(a, "Ours", NULL, "m");
    pass(HAPPENINGS_LIFE_NS / 2 + 2 * HAPPENINGS_SWEEP_NS);
    assert_int_equal(events(), 1);
}

/* Sets a condition and says what came of it: "TYPE REASON message" of the newest Event; empty: nothing. */
static const char *turned(const char *type, const char *status, const char *reason, const char *message)
{
    static char said[300];
    const struct resource *newest = NULL, *e;
    uint64_t before = resource_table_version(table);
    assert_int_equal(resource_set_condition(table, a, type, status, reason, message), OK);
    pass(NS_PER_S);
    for (size_t i = 0; (e = event_at(i)); i++)
        if (e->version > before && (!newest || e->version > newest->version))
            newest = e;
    if (!newest)
        return "";
    snprintf(said, sizeof said, "%s %s %s", text_of(newest, "type"), text_of(newest, "reason"),
             text_of(newest, "message"));
    return said;
}

static void test_conditions(void **state)
{
    static const char type[] = "BackingChannelReady";
    (void)state;
    assert_string_equal(turned(type, "Unknown", "Waiting", "m"), "");
    assert_string_equal(turned(type, "True", NULL, NULL), "");
    assert_string_equal(turned(type, "False", "BusUnavailable", "it is away"), "Warning BusUnavailable it is away");
    assert_string_equal(turned(type, "False", "BusUnavailable", "it is away"), "");
    assert_string_equal(turned(type, "False", "BusUnavailable", "still"), "Warning BusUnavailable still");
    assert_string_equal(turned(type, "False", "NotAuthorized", "still"), "Warning NotAuthorized still");
    assert_string_equal(turned(type, "True", NULL, NULL),
                        "Normal BackingChannelReady BackingChannelReady is True again");
    assert_string_equal(turned(type, "False", NULL, NULL), "Warning BackingChannelReady BackingChannelReady is False");
    assert_string_equal(turned("Ready", "False", "R", "m"), "");
    assert_string_equal(turned("Delivering", "False", "Paused", "m"), "Normal Paused m");
    assert_string_equal(turned("Delivering", "True", NULL, NULL), "Normal Resumed deliveries go on");
}

/* Objects of 2018 have one trouble in several conditions. */
static void test_one_trouble_in_several_conditions_is_told_once(void **state)
{
    static const char first[] = "Provisioned", second[] = "Routeable";
    (void)state;
    assert_string_equal(turned(first, "False", "NotFound", "no such bus"), "Warning NotFound no such bus");
    assert_string_equal(turned(second, "False", "NotFound", "no such bus"), "");
    assert_string_equal(turned(second, "False", "NotFound", "no such thing"), "Warning NotFound no such thing");
    assert_string_equal(turned(second, "False", "NotFound", "no such bus"), "");
    assert_string_equal(turned(second, "True", NULL, NULL), "");
    assert_string_equal(turned(second, "False", "NotFound", "no such bus"), "");
    assert_int_equal(events(), 2);
    assert_string_equal(turned(first, "True", NULL, NULL), "Warning NotFound no such bus"); /* what is left of it */
    assert_int_equal(events(), 3);
    assert_string_equal(turned(second, "True", NULL, NULL), "Normal Routeable Routeable is True again");
    assert_string_equal(turned(second, "False", NULL, NULL), "Warning Routeable Routeable is False");
    assert_string_equal(turned(first, "False", NULL, NULL), "Warning Provisioned Provisioned is False");
}

static void test_a_pause_ends_when_its_condition_goes(void **state)
{
    (void)state;
    turned("Delivering", "False", "Paused", "m");
    assert_int_equal(resource_set_status(table, a, cJSON_CreateObject()), OK);
    pass(NS_PER_S);
    assert_int_equal(events(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_event, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_same_again_is_one_event, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_by_key_and_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_of_an_object_without_a_namespace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_hour_after_the_last_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_flood_is_written_in_lots_and_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_somebody_deleted_counts_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_those_of_others_are_bounded_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conditions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_trouble_in_several_conditions_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_pause_ends_when_its_condition_goes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
