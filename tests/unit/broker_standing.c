/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands beside an object: the name of its cursors, kept or not, that an operator has paused it, and that it was
 * planned; through plans, files that come and go, and restarts on a directory.
 */
#include "../lib/resource_rig.h"

#include "../../broker/resource/store.h"
#include "../../broker/resource/table.h"
#include "../lib/fault.h"

#define CHANNEL "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\n"
#define SUBSCRIPTION(annotations)                                                                                      \
    "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s, annotations: {" annotations    \
    "}}\nspec: {channel: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}, subscriber: {uri: "           \
    "'http://x/'}}\n"
#define KEEP "leat.dev/keep-cursor: 'true'"

static struct {
    struct clock_fake clock;
    struct store *store;
    struct resource_table *table;
    struct plan *plan;
    char dir[64];
} at;

static void open_table(const char *dir)
{
    struct diag d = {0};
    assert_int_equal(store_open(dir, &at.clock.base, &at.store, &d), OK);
    assert_int_equal(resource_table_new(&at.clock.base, &at.table), OK);
    assert_int_equal(resource_table_keep(at.table, at.store, NULL, NULL, &d), OK);
}

static void close_table(void)
{
    at.plan = plan_unref(at.plan);
    uint64_t version = resource_table_version(at.table);
    resource_table_free(at.table);
    store_close(at.store, version);
}

static int begin(void **state)
{
    (void)state;
    memset(&at, 0, sizeof at);
    clock_fake_init(&at.clock, 1, 1533038400ll * 1000000000ll); /* 2018-07-31T12:00:00Z */
    open_table(NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    close_table();
    return 0;
}

static int begin_on_disk(void **state)
{
    begin(state);
    close_table();
    strcpy(at.dir, "/tmp/leat-standing-XXXXXX");
    assert_non_null(mkdtemp(at.dir));
    open_table(at.dir);
    return 0;
}

static int end_on_disk(void **state)
{
    static const char *const files[] = {"resources.db", "resources.db-wal", "resources.db-shm"};
    char path[200];
    end(state);
    for (size_t i = 0; i < COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", at.dir, files[i]);
        unlink(path);
    }
    return rmdir(at.dir);
}

static void sync_table(const char *text)
{
    struct problems p;
    struct manifest *m = rig_good(text);
    problems_init(&p);
    assert_int_equal(resource_table_sync(at.table, m, &p), OK);
    problems_fini(&p);
    manifest_free(m);
}

/* These files, and the plan of them. */
static void sync_files(const char *text)
{
    static const struct plan_options options = {.ingress_url = "http://h"};
    sync_table(text);
    plan_unref(at.plan);
    assert_int_equal(plan_compile(at.table, &options, &at.plan), OK);
    assert_int_equal(plan_publish(at.table, at.plan), OK);
}

static void restart(const char *text)
{
    close_table();
    open_table(at.dir);
    sync_files(text);
}

static const struct plan_subscription *the_one(void)
{
    assert_int_equal(at.plan->subscription_count, 1);
    return &at.plan->subscriptions[0];
}

/* The name of the one subscription's cursor; in a buffer that the next call but one reuses. */
static const char *cursor(void)
{
    static char texts[2][STORE_CURSOR_MAX];
    static unsigned turn;
    return strcpy(texts[turn++ % 2], the_one()->cursor);
}

static const struct resource *object(void)
{
    return rig_get(at.table, "subscription", "s");
}

static void pause_it(bool pause, enum err expected)
{
    struct diag d = {0};
    assert_int_equal(resource_pause(at.table, "me", object(), pause, &d), expected);
}

/* ---- cursors ---- */

static void test_it_is_the_uid(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_string_equal(cursor(), object()->uid);
    assert_false(the_one()->keep_cursor);
    const char *first = cursor();
    sync_files(CHANNEL);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_string_not_equal(cursor(), first);
}

static void test_kept_it_is_passed_on(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(KEEP));
    assert_true(the_one()->keep_cursor);
    const char *first = cursor();
    for (int i = 0; i < 3; i++) {
        sync_files(CHANNEL);
        sync_files(CHANNEL SUBSCRIPTION(KEEP));
        assert_string_equal(cursor(), first);
        assert_string_not_equal(object()->uid, first);
    }
}

static void test_the_last_one_decides(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(KEEP));
    const char *first = cursor();
    sync_files(CHANNEL);
    sync_files(CHANNEL SUBSCRIPTION("")); /* it has taken the cursor up, and will not leave it */
    assert_string_equal(cursor(), first);
    assert_false(the_one()->keep_cursor);
    sync_files(CHANNEL);
    sync_files(CHANNEL SUBSCRIPTION(KEEP));
    assert_string_equal(cursor(), object()->uid);
}

static void test_the_annotation_comes_and_goes(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(""));
    const char *first = cursor();
    sync_files(CHANNEL SUBSCRIPTION(KEEP));
    assert_string_equal(cursor(), first);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_string_equal(cursor(), first);
    sync_files(CHANNEL);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_string_equal(cursor(), object()->uid);
}

/* Without memory it may fail, and never has another cursor than the one that was kept. */
static void test_without_memory(void **state)
{
    static const struct plan_options options = {.ingress_url = "http://h"};
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(KEEP));
    const char *first = cursor();
    for (unsigned n = 1;; n++) {
        struct plan *p = NULL;
        sync_files(CHANNEL);
        sync_table(CHANNEL SUBSCRIPTION(KEEP));
        fault_arm(n);
        enum err e = plan_compile(at.table, &options, &p);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        if (e == OK)
            assert_string_equal(p->subscriptions[0].cursor, first);
        plan_unref(p);
        if (!fired)
            return;
    }
}

static void test_kept_over_a_restart(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(KEEP));
    const char *first = cursor();
    sync_files(CHANNEL);
    restart(CHANNEL);
    sync_files(CHANNEL SUBSCRIPTION(KEEP));
    assert_string_equal(cursor(), first);
    restart(CHANNEL SUBSCRIPTION(KEEP)); /* as one that has taken it up */
    assert_string_equal(cursor(), first);
    restart(CHANNEL SUBSCRIPTION(""));
    assert_string_equal(cursor(), first);
}

/* ---- pauses ---- */

static void test_paused_and_resumed(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_false(the_one()->paused);
    pause_it(true, OK);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_true(the_one()->paused);
    assert_string_equal(rig_condition(object(), "Delivering"),
                        "False Paused paused by API at 2018-07-31T12:00:00Z; `leat resume subscription/s` lets it go "
                        "on, and the events are kept meanwhile");
    clock_fake_advance(&at.clock, NS_PER_S);
    pause_it(true, OK); /* changes nothing */
    assert_int_equal(object()->paused_ns, 1533038400ll * 1000000000ll);
    pause_it(false, OK);
    pause_it(false, OK);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_false(the_one()->paused);
}

static void test_the_annotation_is_not_taken_back(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION("leat.dev/paused: 'true'"));
    pause_it(false, ERR_CONFLICT);
    pause_it(true, OK);
    pause_it(false, ERR_CONFLICT);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_true(the_one()->paused);
    pause_it(false, OK);
}

static void test_a_channel_pauses_its_own(void **state)
{
    struct diag d = {0};
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_int_equal(resource_pause(at.table, "me", rig_get(at.table, "channel", "c"), true, &d), OK);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_true(the_one()->paused);
    assert_non_null(strstr(rig_condition(object(), "Delivering"), "Channel c: paused by API"));
}

static void test_paused_over_a_restart_until_the_object_goes(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(""));
    pause_it(true, OK);
    restart(CHANNEL SUBSCRIPTION(""));
    assert_true(the_one()->paused);
    assert_int_equal(object()->paused_ns, 1533038400ll * 1000000000ll);
    sync_files(CHANNEL SUBSCRIPTION("leat.dev/max-in-flight: '3'"));
    restart(CHANNEL SUBSCRIPTION("leat.dev/max-in-flight: '3'"));
    assert_true(the_one()->paused);
    sync_files(CHANNEL);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_false(the_one()->paused);
    pause_it(true, OK);
    pause_it(false, OK);
    restart(CHANNEL SUBSCRIPTION(""));
    assert_false(the_one()->paused);
}

static void test_a_file_that_was_away_for_a_start(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(""));
    const char *first = cursor();
    pause_it(true, OK);
    restart(CHANNEL);
    restart(CHANNEL SUBSCRIPTION("")); /* it comes back as itself */
    assert_string_equal(cursor(), first);
    assert_true(the_one()->paused);
}

/* ---- plans ---- */

#define LOST                                                                                                           \
    "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s}\nspec: {channel: "             \
    "{apiVersion: "                                                                                                    \
    "messaging.knative.dev/v1, kind: Channel, name: c}, subscriber: {ref: {apiVersion: messaging.knative.dev/v1, "     \
    "kind: Channel, name: missing}}}\n"

/* It ran, and a start finds its destination missing: what waits for it, and what comes, is kept. */
static void test_what_ran_before_a_restart_is_planned_paused(void **state)
{
    (void)state;
    sync_files(CHANNEL SUBSCRIPTION(""));
    const char *first = cursor();
    for (int i = 0; i < 2; i++) {
        restart(CHANNEL LOST);
        assert_string_equal(cursor(), first);
        assert_true(the_one()->paused);
    }
    restart(CHANNEL); /* away for a start, its identity stays, and that it ran */
    restart(CHANNEL LOST);
    assert_string_equal(cursor(), first);
    sync_files(CHANNEL SUBSCRIPTION(""));
    assert_false(the_one()->paused);
}

static void test_what_never_ran_is_not_planned(void **state)
{
    (void)state;
    sync_files(CHANNEL LOST);
    restart(CHANNEL LOST);
    assert_int_equal(at.plan->subscription_count, 0);
    sync_files(CHANNEL SUBSCRIPTION(""));
    sync_files(SUBSCRIPTION("")); /* without its channel nothing is there to hold anything */
    restart(CHANNEL LOST);
    assert_int_equal(at.plan->subscription_count, 0);
    sync_files(CHANNEL SUBSCRIPTION(""));
    sync_files(CHANNEL); /* it goes, and another one of its name comes */
    restart(CHANNEL LOST);
    assert_int_equal(at.plan->subscription_count, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
#define DISK(name) cmocka_unit_test_setup_teardown(name, begin_on_disk, end_on_disk)
    const struct CMUnitTest tests[] = {
        TEST(test_it_is_the_uid),
        TEST(test_kept_it_is_passed_on),
        TEST(test_the_last_one_decides),
        TEST(test_the_annotation_comes_and_goes),
        TEST(test_without_memory),
        DISK(test_kept_over_a_restart),
        TEST(test_paused_and_resumed),
        TEST(test_the_annotation_is_not_taken_back),
        TEST(test_a_channel_pauses_its_own),
        DISK(test_paused_over_a_restart_until_the_object_goes),
        DISK(test_a_file_that_was_away_for_a_start),
        DISK(test_what_ran_before_a_restart_is_planned_paused),
        DISK(test_what_never_ran_is_not_planned),
    };
    return cmocka_run_group_tests_name("broker_standing", tests, rig_folder, rig_folder_gone);
}
