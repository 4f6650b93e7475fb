/* SPDX-License-Identifier: Apache-2.0
 *
 * What sources keep in files of their own: up to where one that runs alone came, and what a feedlet left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../sources/feedlet.h"
#include "../../sources/runner.h"

static char folder[40], path[80];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/leat-state-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/state", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void put(const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct source_spec spec_of(const struct source_param *param)
{
    return (struct source_spec){.type = "ping", .namespace_name = "n", .name = "x", .params = param, .param_count = 1};
}

static void test_place(void **state)
{
    (void)state;
    static const struct source_param one = {"schedule", "* * * * *"}, other = {"schedule", "0 * * * *"};
    const struct source_spec spec = spec_of(&one), another = spec_of(&other);
    struct diag d = {0};
    uint64_t place = 7;
    assert_int_equal(runner_state_read(path, &spec, &place, &d), OK);
    assert_int_equal(place, 0);
    assert_int_equal(runner_state_write(path, &spec, UINT64_MAX, &d), OK);
    assert_int_equal(runner_state_read(path, &spec, &place, &d), OK);
    assert_true(place == UINT64_MAX);
    assert_int_equal(runner_state_read(path, &another, &place, &d), OK);
    assert_int_equal(place, 0);
}

static void test_place_damaged(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "place", "place 1 of", "place x of y", "else"};
    static const struct source_param one = {"schedule", "* * * * *"};
    const struct source_spec spec = spec_of(&one);
    uint64_t place;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct diag d = {0};
        put(wrong[i]);
        assert_int_equal(runner_state_read(path, &spec, &place, &d), ERR_INVALID);
        assert_non_null(strstr(d.text, path));
    }
    struct diag d = {0};
    assert_int_equal(runner_state_write("/nonexistent/state", &spec, 1, &d), ERR_IO);
    assert_non_null(strstr(d.text, "/nonexistent/state.new"));
}

static void test_feedlet(void **state)
{
    (void)state;
    static const struct source_param one = {"command", "a"};
    const struct source_spec spec = spec_of(&one);
    struct feedlet_state s = {0};
    struct diag d = {0};
    assert_int_equal(feedlet_state_read(path, &s, &d), OK);
    assert_null(s.context);
    char context[12289];
    memset(context, 'A', sizeof context - 1);
    context[sizeof context - 1] = '\0';
    const struct feedlet_state kept = {feedlet_fingerprint(&spec), context};
    assert_int_equal(feedlet_state_write(path, &kept, &spec, &d), OK);
    assert_int_equal(feedlet_state_read(path, &s, &d), OK);
    assert_string_equal(s.context, context);
    assert_true(s.fingerprint == kept.fingerprint);
    free(s.context);
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    assert_int_equal(there.st_mode & 077, 0); /* it may hold what opens somebody's door */
    put("");
    assert_int_equal(feedlet_state_read(path, &s, &d), ERR_CORRUPT);
    put("zzz zzz");
    assert_int_equal(feedlet_state_read(path, &s, &d), ERR_CORRUPT);
    put("12 "); /* a context that was nothing */
    assert_int_equal(feedlet_state_read(path, &s, &d), OK);
    assert_string_equal(s.context, "");
    free(s.context);
}

static void test_what_a_feedlet_left(void **state)
{
    (void)state;
    static const struct source_param params[] = {{"command", "sh"}, {"command", "a b\nc"}, {"env", "X="}, {"uid", "u"}};
    static const char *const damaged[] = {
        "",                                           /* of a leat that did not say */
        ":namespace bnM=\n:name bg==\n",              /* without a command */
        ":name bg==\ncommand c2g=\n",                 /* whose? */
        ":namespace bnM=\n:name bg==\ncommand c2g\n", /* cut */
        ":namespace bnM=\n:name bg==\ncommandc2g=\n", /* no name and value */
    };
    struct source_spec spec = spec_of(&params[0]);
    spec.params = params;
    spec.param_count = sizeof params / sizeof params[0];
    char context[] = "A";
    const struct feedlet_state kept = {1, context};
    struct feedlet_left *left;
    struct diag d = {0};
    assert_int_equal(feedlet_state_write(path, &kept, &spec, &d), OK);
    assert_int_equal(feedlet_left_read(path, &left, &d), OK);
    assert_string_equal(left->spec.namespace_name, spec.namespace_name);
    assert_string_equal(left->spec.name, spec.name);
    assert_int_equal(left->spec.param_count, spec.param_count);
    assert_true(feedlet_fingerprint(&left->spec) == feedlet_fingerprint(&spec));
    feedlet_left_free(left);
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "12 A\n%s", damaged[i]);
        put(text);
        assert_int_equal(feedlet_left_read(path, &left, &d), ERR_CORRUPT);
        assert_non_null(strstr(d.text, path));
    }
    unlink(path);
    assert_int_equal(feedlet_left_read(path, &left, &d), ERR_IO);
    feedlet_left_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_place_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_feedlet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_feedlet_left, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
