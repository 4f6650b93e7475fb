/* SPDX-License-Identifier: Apache-2.0
 *
 * The process source with real commands, on a clock that only the test moves: waits are exact, and what commands do is
 * waited for.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../sources/process.h"
#include "../lib/fault.h"
#include "loop.h"

#define TURNS_MAX 20000 /* only a failing test needs so many */
#define NOTES_MAX 64
#define SINK_URL "http://sink.example/"

struct note {
    char what[40], text[400];
};

struct rig {
    struct clock_fake clock;
    struct loop *loop;
    struct sink sink;
    struct source *source, *last;
    const struct source_spec *spec;
    struct source_counters counters;
    char state[40]; /* as last told */
    struct note notes[NOTES_MAX];
    unsigned noted;
    bool closed;
};

static void on_notice(void *arg, bool trouble, const char *what, const char *text)
{
    struct rig *rig = arg;
    assert_true(rig->noted < NOTES_MAX);
    assert_int_equal(trouble, strcmp(what, "process.ended") == 0 || strcmp(what, "process.killed") == 0);
    struct note *n = &rig->notes[rig->noted++];
    snprintf(n->what, sizeof n->what, "%s", what);
    snprintf(n->text, sizeof n->text, "%s", text);
}

static void on_report(void *arg, const char *reason, const char *message)
{
    struct rig *rig = arg;
    assert_true(!reason || *message);
    snprintf(rig->state, sizeof rig->state, "%s", reason ? reason : "");
}

static void turn(struct rig *rig)
{
    assert_int_equal(loop_turn(rig->loop, NS_PER_MS), OK);
}

static struct note *wait_note(struct rig *rig, unsigned count)
{
    for (int i = 0; i < TURNS_MAX && rig->noted < count; i++)
        turn(rig);
    assert_true(rig->noted >= count);
    return &rig->notes[count - 1];
}

static void assert_note(struct rig *rig, unsigned count, const char *what, const char *text)
{
    const struct note *n = wait_note(rig, count);
    assert_string_equal(n->what, what);
    if (!strstr(n->text, text))
        fail_msg("%s: %s", what, n->text);
}

static void on_closed(void *arg)
{
    ((struct rig *)arg)->closed = true;
}

static void rig_init(struct rig *rig)
{
    *rig = (struct rig){.sink = {.refs = 1, .url = SINK_URL}};
    clock_fake_init(&rig->clock, 5 * NS_PER_S, 1796000400 * (int64_t)NS_PER_S);
    assert_int_equal(loop_new(&rig->clock.base, 64, &rig->loop), OK);
}

static enum err rig_open(struct rig *rig, const struct source_spec *spec, struct diag *d)
{
    const struct source_host host = {.loop = rig->loop,
                                     .sink = &rig->sink,
                                     .counters = &rig->counters,
                                     .last = &rig->last,
                                     .notice = on_notice,
                                     .report = on_report,
                                     .arg = rig};
    return source_find("process")->open(spec, &host, &rig->source, d);
}

/* sh -c SCRIPT */
static void rig_run(struct rig *rig, const char *script)
{
    static struct source_param params[3];
    static struct source_spec spec;
    struct diag d = {0};
    params[0] = (struct source_param){"command", "sh"};
    params[1] = (struct source_param){"command", "-c"};
    params[2] = (struct source_param){"command", script};
    spec = (struct source_spec){
        .type = "process", .namespace_name = "mills", .name = "run", .params = params, .param_count = 3};
    rig_init(rig);
    rig->spec = &spec;
    if (rig_open(rig, &spec, &d) != OK)
        fail_msg("%s", d.text);
}

static void rig_close(struct rig *rig)
{
    rig->source->ops->close(rig->source, on_closed, rig);
    for (int i = 0; i < TURNS_MAX && !rig->closed; i++)
        turn(rig);
    assert_true(rig->closed);
    loop_free(rig->loop);
}

static void advance(struct rig *rig, uint64_t ns)
{
    clock_fake_advance(&rig->clock, ns);
    turn(rig);
    turn(rig);
}

/* Whether it runs; one that has ended and was not waited for does not. */
static bool runs(int pid)
{
    char path[40], text[200] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *end = strrchr(text, ')');
    return end && end[2] != 'Z' && end[2] != 'X';
}

static void test_environment_and_lines(void **state)
{
    (void)state;
    struct rig rig;
    setenv("NAME", "from outside", 1);
    setenv("OTHER", "kept", 1);
    rig_run(&rig, "cat; printf 'no end' >&2; echo \"$K_SINK $NAMESPACE $NAME $OTHER\"; exec sleep 1000");
    unsetenv("NAME");
    assert_note(&rig, 1, "process.stdout", SINK_URL " mills run kept");
    rig_close(&rig); /* what was not ended by a line break is told too */
    assert_int_equal(rig.noted, 2);
    assert_note(&rig, 2, "process.stderr", "no end");
}

static void test_long_lines_come_in_pieces(void **state)
{
    (void)state;
    struct rig rig;
    rig_run(&rig, "printf '%01000d\\nshort\\n' 7; exec sleep 1000");
    wait_note(&rig, 4);
    assert_int_equal(strlen(rig.notes[0].text) + strlen(rig.notes[1].text) + strlen(rig.notes[2].text), 1000);
    assert_note(&rig, 4, "process.stdout", "short");
    rig_close(&rig);
}

static void test_overrides(void **state)
{
    (void)state;
    static const struct source_param params[] = {{"command", "x"}}, overrides[] = {{"team", "a \"b\""}, {"zone", "z"}};
    const struct source_spec spec = {.type = "process",
                                     .namespace_name = "n",
                                     .name = "t",
                                     .params = params,
                                     .param_count = 1,
                                     .ce_overrides = overrides,
                                     .ce_override_count = 2};
    struct process_command c;
    setenv("K_CE_OVERRIDES", "old", 1);
    assert_int_equal(process_command_make(&spec, SINK_URL, &c, NULL), OK);
    unsetenv("K_CE_OVERRIDES");
    unsigned found = 0;
    for (char **v = c.env; *v; v++)
        if (strncmp(*v, "K_CE_OVERRIDES=", 15) == 0) {
            assert_string_equal(*v, "K_CE_OVERRIDES={\"extensions\":{\"team\":\"a \\\"b\\\"\",\"zone\":\"z\"}}");
            found++;
        }
    assert_int_equal(found, 1);
    process_command_fini(&c);
}

static void test_restarts(void **state)
{
    (void)state;
    struct rig rig;
    rig_run(&rig, "exit 3");
    unsigned notes = 0;
    for (unsigned n = 0; n < 9; n++) {
        uint64_t wait = (500 * NS_PER_MS) << n;
        wait = wait < 60 * NS_PER_S ? wait : 60 * NS_PER_S;
        assert_note(&rig, ++notes, "process.ended", "sh ended with exit code 3 after 0 s; it is started again in ");
        advance(&rig, wait - 1);
        assert_int_equal(rig.noted, notes);
        advance(&rig, 1);
        assert_note(&rig, ++notes, "process.started", "sh runs again, as process ");
    }
    assert_non_null(strstr(wait_note(&rig, 3)->text, "again in 1.0 s"));
    assert_int_equal(rig.counters.restarts, 9);
    assert_non_null(strstr(rig.source->ops->last_failure(rig.source), "exit code 3"));
    wait_note(&rig, notes + 1);
    rig_close(&rig); /* nothing runs, a start is to come: it does not */
    assert_int_equal(rig.noted, notes + 1);
}

/* Who ran for a minute begins with the shortest wait again; a signal is told by its number and name. */
static void test_a_steady_one(void **state)
{
    (void)state;
    struct rig rig;
    rig_run(&rig, "echo $$; exec sleep 1000");
    unsigned notes = 0;
    for (int i = 0; i < 3; i++) {
        int pid = atoi(wait_note(&rig, ++notes)->text);
        if (i == 2)
            advance(&rig, 60 * NS_PER_S);
        assert_int_equal(kill(pid, SIGKILL), 0);
        const struct note *n = wait_note(&rig, ++notes);
        assert_non_null(strstr(n->text, "sh was killed by signal 9 (Killed) after "));
        assert_non_null(strstr(n->text, i == 1 ? "again in 1.0 s" : "again in 0.5 s"));
        advance(&rig, NS_PER_S);
        wait_note(&rig, ++notes);
    }
    wait_note(&rig, ++notes);
    rig_close(&rig);
}

/* The whole group gets SIGTERM: a shell may say on its standard error that its sleep was terminated. That is not asked
 * about here. */
static void test_close_ends_it(void **state)
{
    (void)state;
    struct rig rig;
    rig_run(&rig, "exec 2>/dev/null; trap 'echo ending; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    assert_note(&rig, 1, "process.stdout", "ready");
    rig_close(&rig);
    assert_note(&rig, 2, "process.stdout", "ending");
    assert_int_equal(rig.noted, 2);
}

static void test_close_kills_it(void **state)
{
    (void)state;
    struct rig rig;
    rig_run(&rig, "trap '' TERM; echo ready; while :; do sleep 0.01; done");
    wait_note(&rig, 1);
    rig.source->ops->close(rig.source, on_closed, &rig);
    turn(&rig);
    advance(&rig, 8 * NS_PER_S - 1);
    assert_false(rig.closed);
    assert_int_equal(rig.noted, 1);
    advance(&rig, 1);
    assert_note(&rig, 2, "process.killed", "sh did not end within 8 s of SIGTERM");
    for (int i = 0; i < TURNS_MAX && !rig.closed; i++)
        turn(&rig);
    assert_true(rig.closed);
    loop_free(rig.loop);
}

/* What a command leaves behind goes with it. */
static void test_group(void **state)
{
    (void)state;
    struct rig rig;
    rig_run(&rig, "sleep 1000 & echo $!; exit 0");
    int pid = atoi(wait_note(&rig, 1)->text);
    assert_true(pid > 0);
    assert_note(&rig, 2, "process.ended", "exit code 0");
    for (int i = 0; i < TURNS_MAX && runs(pid); i++)
        turn(&rig);
    assert_false(runs(pid));
    rig_close(&rig);
}

static void test_what_cannot_run(void **state)
{
    (void)state;
    static const struct {
        const char *command, *says;
    } cases[] = {{"/nonexistent/program", "/nonexistent/program cannot be run: No such file or directory"},
                 {"/etc/passwd", "cannot be run: Permission denied"},
                 {"", "there is no command"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct source_param params[] = {{"command", cases[i].command}};
        const struct source_spec spec = {
            .type = "process", .namespace_name = "n", .name = "t", .params = params, .param_count = 1};
        struct rig rig;
        struct diag d = {0};
        rig_init(&rig);
        assert_int_equal(rig_open(&rig, &spec, &d), ERR_INVALID);
        if (!strstr(d.text, cases[i].says))
            fail_msg("%s", d.text);
        loop_free(rig.loop);
    }
}

/* A command that vanishes while it is to be started again is tried on and on. */
static void test_command_that_vanishes(void **state)
{
    (void)state;
    char path[] = "/tmp/leat-command-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "#!/bin/sh\nexit 1\n", 17) == 17 && fchmod(fd, 0700) == 0);
    close(fd);
    const struct source_param params[] = {{"command", path}};
    const struct source_spec spec = {
        .type = "process", .namespace_name = "n", .name = "t", .params = params, .param_count = 1};
    struct rig rig;
    rig_init(&rig);
    assert_int_equal(rig_open(&rig, &spec, NULL), OK);
    assert_note(&rig, 1, "process.ended", "exit code 1");
    assert_int_equal(unlink(path), 0);
    advance(&rig, 500 * NS_PER_MS);
    assert_note(&rig, 2, "process.ended", "cannot be run: No such file or directory; it is started again in 1.0 s");
    rig_close(&rig);
}

static void test_no_memory(void **state)
{
    (void)state;
    static const struct source_param params[] = {{"command", "true"}}, overrides[] = {{"team", "x"}};
    const struct source_spec spec = {.type = "process",
                                     .namespace_name = "n",
                                     .name = "t",
                                     .params = params,
                                     .param_count = 1,
                                     .ce_overrides = overrides,
                                     .ce_override_count = 1};
    for (unsigned n = 1;; n++) {
        struct rig rig;
        rig_init(&rig);
        fault_arm(n);
        enum err e = rig_open(&rig, &spec, NULL);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        if (e == OK)
            rig_close(&rig);
        else
            loop_free(rig.loop);
        if (!fired)
            break;
    }
}

/* Closed and opened anew in one turn, as a new plan does it: the command goes on, its lines too. */
static void test_goes_on(void **state)
{
    (void)state;
    struct rig rig;
    struct diag d = {0};
    rig_run(&rig, "trap 'echo heard' USR1; echo pid $$; while :; do sleep 0.01; done");
    int pid = atoi(wait_note(&rig, 1)->text + 4);
    const struct source_spec *spec = rig.spec;
    struct source *first = rig.source;
    first->ops->close(first, on_closed, &rig);
    assert_int_equal(rig_open(&rig, spec, &d), OK);
    assert_false(rig.closed);
    turn(&rig);
    assert_true(rig.closed);
    kill(pid, SIGUSR1);
    assert_note(&rig, 2, "process.stdout", "heard");
    assert_true(runs(pid));
    rig.closed = false;
    rig_close(&rig);
    assert_false(runs(pid));
}

/* The one that waits for its next start is started by the new part. */
static void test_goes_on_waiting(void **state)
{
    (void)state;
    struct rig rig;
    struct diag d = {0};
    rig_run(&rig, "echo up");
    assert_note(&rig, 2, "process.ended", "exit code 0");
    rig.source->ops->close(rig.source, on_closed, &rig);
    assert_int_equal(rig_open(&rig, rig.spec, &d), OK);
    turn(&rig);
    assert_true(rig.closed);
    advance(&rig, NS_PER_S);
    assert_note(&rig, 4, "process.stdout", "up");
    rig.closed = false;
    rig_close(&rig);
}

/* Another command waits until the one before it has ended. */
static void test_another_command_follows(void **state)
{
    (void)state;
    struct rig rig;
    struct diag d = {0};
    rig_run(&rig, "exec 2>/dev/null; trap 'echo ending; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    wait_note(&rig, 1);
    struct source_param params[] = {{"command", "sh"}, {"command", "-c"}, {"command", "echo next; exec sleep 1000"}};
    const struct source_spec next = {
        .type = "process", .namespace_name = "mills", .name = "run", .params = params, .param_count = 3};
    rig.source->ops->close(rig.source, on_closed, &rig);
    assert_int_equal(rig_open(&rig, &next, &d), OK);
    assert_note(&rig, 2, "process.stdout", "ending");
    assert_note(&rig, 3, "process.stdout", "next");
    assert_true(rig.closed);
    rig.closed = false;
    rig_close(&rig);
}

/* A command of a manifest that cannot be run is tried again, and how it stands is told. */
static void test_states(void **state)
{
    (void)state;
    struct rig rig;
    struct diag d = {0};
    char path[] = "/tmp/leat-process-XXXXXX";
    assert_non_null(mkdtemp(path));
    char program[80];
    snprintf(program, sizeof program, "%s/program", path);
    struct source_param params[] = {{"container", "one"}, {"command", program}};
    const struct source_spec spec = {
        .type = "process", .namespace_name = "mills", .name = "run", .params = params, .param_count = 2};
    rig_init(&rig);
    assert_int_equal(rig_open(&rig, &spec, &d), OK);
    assert_note(&rig, 1, "process.ended", "No such file");
    assert_string_equal(rig.state, "CommandEnded");
    FILE *f = fopen(program, "we");
    fputs("#!/bin/sh\nexec sleep 1000\n", f);
    fclose(f);
    chmod(program, 0755);
    advance(&rig, NS_PER_S);
    assert_note(&rig, 2, "process.started", "runs again");
    assert_string_equal(rig.state, "CommandEnded");
    advance(&rig, 3 * NS_PER_S);
    assert_string_equal(rig.state, "");
    rig_close(&rig);
    unlink(program);
    rmdir(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_and_lines),
        cmocka_unit_test(test_long_lines_come_in_pieces),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_restarts),
        cmocka_unit_test(test_a_steady_one),
        cmocka_unit_test(test_close_ends_it),
        cmocka_unit_test(test_close_kills_it),
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_what_cannot_run),
        cmocka_unit_test(test_command_that_vanishes),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_goes_on_waiting),
        cmocka_unit_test(test_another_command_follows),
        cmocka_unit_test(test_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
