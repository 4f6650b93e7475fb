/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines as a reader of standard error gets them: one line each, in text and in JSON, whatever strangers wrote into
 * a value.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "log.h"
#include "text.h"

static struct clock_fake now;
static int reader, writer;
static char got[1 << 20];

static void setup(bool json, bool colour, enum log_level least)
{
    clock_fake_init(&now, 0, (int64_t)(1533038400ull * NS_PER_S + 7 * NS_PER_MS)); /* 2018-07-31T12:00:00.007Z */
    log_setup(&now.base, least, json, colour);
}

static int open_pipe(void **state)
{
    (void)state;
    int fd[2];
    if (pipe2(fd, O_CLOEXEC))
        return 1;
    reader = fd[0];
    writer = fd[1];
    fcntl(reader, F_SETFL, O_NONBLOCK);
    log_set_fd(writer);
    return 0;
}

static int close_pipe(void **state)
{
    (void)state;
    log_set_fd(STDERR_FILENO);
    close(reader);
    close(writer);
    return 0;
}

/* What was logged since the last call. */
static const char *written(void)
{
    ssize_t n = read(reader, got, sizeof(got) - 1);
    got[n > 0 ? n : 0] = '\0';
    return got;
}

static void a_text_line(void **state)
{
    (void)state;
    setup(false, false, LOG_INFO);
    log_line(LOG_WARN, "sink.fail", "sink=%s status=%d ms=%.1f", "http://a:1/x?y=1", 503, 1.5);
    assert_string_equal(written(), "2018-07-31T12:00:00.007Z warn sink.fail sink=http://a:1/x?y=1 status=503 ms=1.5\n");
    log_line(LOG_INFO, "serve.ready", "%s", "");
    assert_string_equal(written(), "2018-07-31T12:00:00.007Z info serve.ready\n");
}

static void a_json_line(void **state)
{
    (void)state;
    setup(true, true, LOG_INFO);
    log_line(LOG_ERROR, "sink.fail", "sink=%s status=%d ms=%.1f id=%s n=%s", "http://a", -503, 1.5, "007", "1e5");
    assert_string_equal(written(), "{\"time\":\"2018-07-31T12:00:00.007Z\",\"level\":\"error\",\"event\":\"sink.fail\","
                                   "\"sink\":\"http://a\",\"status\":-503,\"ms\":1.5,\"id\":\"007\",\"n\":1e5}\n");
}

static void levels_below_the_least_are_silent(void **state)
{
    (void)state;
    setup(false, false, LOG_WARN);
    log_line(LOG_DEBUG, "a.b", "x=1");
    log_line(LOG_INFO, "a.b", "x=1");
    assert_string_equal(written(), "");
    log_line(LOG_WARN, "a.b", "x=1");
    log_line(LOG_ERROR, "a.b", "x=2");
    assert_string_equal(written(), "2018-07-31T12:00:00.007Z warn a.b x=1\n2018-07-31T12:00:00.007Z error a.b x=2\n");
}

static void colour_is_for_the_level(void **state)
{
    (void)state;
    setup(false, true, LOG_DEBUG);
    log_line(LOG_ERROR, "a.b", "x=1");
    assert_string_equal(written(), "2018-07-31T12:00:00.007Z \033[31merror\033[0m a.b x=1\n");
}

static void log_value_quotes_what_needs_it(void **state)
{
    (void)state;
    assert_string_equal(log_value("http://a:1/x?y=1&z=%20"), "http://a:1/x?y=1&z=%20");
    assert_string_equal(log_value(""), "\"\"");
    assert_string_equal(log_value(NULL), "\"\"");
    assert_string_equal(log_value("no such file"), "\"no such file\"");
    assert_string_equal(log_value("say \"hi\" \\"), "\"say \\\"hi\\\" \\\\\"");
    assert_string_equal(log_value("a\nb\r\tc\x01\033[31m\x7f"), "\"a\\nb\\r\\tc\\u0001\\u001b[31m\\u007f\"");
    assert_string_equal(log_value("é😀"), "\"é😀\"");
    assert_string_equal(log_value("\xc2\x9b\xe2\x80\xa8"), "\"\\u009b\\u2028\"");
    assert_string_equal(log_value("\xff\xc0\x80z"), "\"\\ufffd\\ufffd\\ufffdz\"");
    /* Text that looks like a number stays text. */
    assert_string_equal(log_value("503"), "\"503\"");
    assert_string_equal(log_value("-1.5e+3"), "\"-1.5e+3\"");
    assert_string_equal(log_value("1.2.3"), "1.2.3");
}

static void log_value_is_cut_and_stays_a_string(void **state)
{
    (void)state;
    char long_text[2000];
    memset(long_text, 'a', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    const char *v = log_value(long_text);
    assert_int_equal(strlen(v), 400 + strlen("\"…\""));
    memset(long_text, '\x01', sizeof(long_text) - 1);
    struct json_value j;
    v = log_value(long_text);
    assert_int_equal(json_check(slice_str(v), 0, &j, NULL), OK);
    assert_int_equal(strlen(v), 400 * 6 + strlen("\"…\""));
    for (size_t shift = 0; shift < 4; shift++) {
        memset(long_text, 'a', shift);
        for (size_t i = shift; i + 4 < sizeof(long_text); i += 4)
            memcpy(long_text + i, "😀", 5);
        v = log_value(long_text);
        assert_true(utf8_valid(slice_str(v)));
        assert_null(strstr(v, "\\ufffd")); /* cut between characters */
    }
}

static void eight_values_live_at_once(void **state)
{
    (void)state;
    const char *v[8];
    char text[2] = "a";
    for (int i = 0; i < 8; i++, text[0]++)
        v[i] = log_value(text);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(v[i][0], 'a' + i);
        assert_int_equal(v[i][1], '\0');
    }
}

static void a_strangers_value_cannot_forge_a_line_or_a_pair(void **state)
{
    (void)state;
    const char *evil = "x\n2018-07-31T12:00:00Z error fake.line admin=true \"status=1\\";
    setup(false, false, LOG_INFO);
    log_line(LOG_INFO, "a.b", "name=%s status=%d", log_value(evil), 5);
    assert_string_equal(written(),
                        "2018-07-31T12:00:00.007Z info a.b name=\"x\\n2018-07-31T12:00:00Z error fake.line admin=true "
                        "\\\"status=1\\\\\" status=5\n");
    setup(true, false, LOG_INFO);
    log_line(LOG_INFO, "a.b", "name=%s status=%d", log_value(evil), 5);
    struct json_value v, name, status;
    assert_int_equal(json_check(slice_str(written()), 1, &v, NULL), OK);
    assert_true(json_find(v, (const char *const[]){"name", NULL}, &name));
    assert_true(json_string_is(name.raw, slice_str(evil)));
    assert_true(json_find(v, (const char *const[]){"status", NULL}, &status));
    assert_true(slice_eq_str(status.raw, "5"));
    assert_false(json_find(v, (const char *const[]){"admin", NULL}, &name));
}

static void values_that_nobody_quoted_are_quoted(void **state)
{
    (void)state;
    setup(false, false, LOG_INFO);
    log_line(LOG_INFO, "a.b", "reason=%s n=%d", "no such file or\ndirectory", 3);
    assert_string_equal(written(), "2018-07-31T12:00:00.007Z info a.b reason=\"no such file or\\ndirectory\" n=3\n");
    log_line(LOG_INFO, "a.b", "just some words n=%d", 3);
    assert_string_equal(written(), "2018-07-31T12:00:00.007Z info a.b text=\"just some words\" n=3\n");
    log_line(LOG_INFO, "a.b", "x= y=%s z=\"half %s", "\"a\"b", "a\\q");
    assert_string_equal(written(), "2018-07-31T12:00:00.007Z info a.b x=\"\" y=\"\\\"a\\\"b\" z=\"\\\"half a\\\\q\"\n");
}

/* Whatever is formatted, a JSON line is one JSON object on one line. */
static void every_json_line_is_json(void **state)
{
    (void)state;
    setup(true, false, LOG_INFO);
    const char *const pieces[] = {"a=", "\"",      " ",    "\\", "b=1", "\n",           "\xff", "\xe2\x80", "=",
                                  "\t", "c=\"x\"", "\\u1", "{",  "}",   "\"\\ud800\" ", "d=-",  "=01 ",     "é"};
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        char text[200] = "";
        for (int k = 0; k < 12; k++) {
            seed = seed * 1103515245u + 12345u;
            strcat(text, pieces[(seed >> 16) % (sizeof(pieces) / sizeof(pieces[0]))]);
        }
        log_line(LOG_INFO, "a.b", "%s", text);
        const char *line = written();
        struct json_value v;
        struct diag d = {0};
        if (json_check(slice_str(line), 1, &v, &d) != OK || strchr(line, '\n') != line + strlen(line) - 1)
            fail_msg("%s: %s", line, d.text);
        setup(i % 2, false, LOG_INFO);
        log_line(LOG_INFO, "a.b", "%s", text);
        line = written();
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        assert_true(utf8_valid(slice_str(line)));
        setup(true, false, LOG_INFO);
    }
}

static void long_lines_are_cut_and_stay_whole(void **state)
{
    (void)state;
    char *text = malloc(20000);
    for (size_t n = 7900; n < 8300; n++)
        for (int kind = 0; kind < 3; kind++) {
            setup(true, false, LOG_INFO);
            memset(text, kind == 1 ? ' ' : 'a', n);
            for (size_t i = 0; kind == 2 && i + 6 < n; i += 6)
                memcpy(text + i, " k=\"v\"", 6);
            text[n] = '\0';
            log_line(LOG_INFO, "a.b", "x=%s y=1", text);
            const char *line = written();
            struct json_value v;
            struct diag d = {0};
            if (json_check(slice_str(line), 1, &v, &d) != OK)
                fail_msg("%zu %d %s: %s", n, kind, d.text, line);
            assert_true(strlen(line) <= 8192);
            setup(false, false, LOG_INFO);
            log_line(LOG_INFO, "a.b", "x=%s y=1", text);
            line = written();
            assert_true(strlen(line) <= 8192);
            assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        }
    free(text);
}

static void errno_survives(void **state)
{
    (void)state;
    setup(false, false, LOG_INFO);
    log_set_fd(-1);
    errno = ENOENT;
    log_line(LOG_INFO, "a.b", "x=1");
    assert_int_equal(errno, ENOENT);
    log_set_fd(writer);
}

static void *log_many(void *letter)
{
    for (int i = 0; i < 200; i++)
        log_line(LOG_INFO, "a.b", "who=%c n=%d text=%s", *(char *)letter, i, log_value("some words"));
    return NULL;
}

static void lines_of_threads_are_whole(void **state)
{
    (void)state;
    setup(false, false, LOG_INFO);
    fcntl(writer, F_SETPIPE_SZ, 1 << 20);
    pthread_t thread[4];
    char letters[] = "abcd";
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, log_many, &letters[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    int next[4] = {0}, lines = 0;
    char *save, *all = (char *)(uintptr_t)written();
    for (char *line = strtok_r(all, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
        char who;
        int n, end = 0;
        assert_int_equal(
            sscanf(line, "2018-07-31T12:00:00.007Z info a.b who=%c n=%d text=\"some words\"%n", &who, &n, &end), 2);
        assert_int_equal(end, (int)strlen(line));
        assert_int_equal(n, next[who - 'a']++);
    }
    assert_int_equal(lines, 800);
}

/* A reader that stopped reading costs a line, not the program. */
static void a_stuck_reader_does_not_stop_us(void **state)
{
    (void)state;
    setup(false, false, LOG_INFO);
    fcntl(writer, F_SETFL, O_NONBLOCK);
    char block[4096] = {0};
    while (write(writer, block, sizeof(block)) > 0)
        ;
    log_line(LOG_INFO, "a.b", "x=1");
    while (read(reader, got, sizeof(got)) > 0)
        ;
    log_line(LOG_INFO, "a.b", "x=2");
    assert_string_equal(written(), "2018-07-31T12:00:00.007Z info a.b x=2\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_pipe, close_pipe)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_text_line),
        TEST(a_json_line),
        TEST(levels_below_the_least_are_silent),
        TEST(colour_is_for_the_level),
        TEST(log_value_quotes_what_needs_it),
        TEST(log_value_is_cut_and_stays_a_string),
        TEST(eight_values_live_at_once),
        TEST(a_strangers_value_cannot_forge_a_line_or_a_pair),
        TEST(values_that_nobody_quoted_are_quoted),
        TEST(every_json_line_is_json),
        TEST(long_lines_are_cut_and_stay_whole),
        TEST(errno_survives),
        TEST(lines_of_threads_are_whole),
        TEST(a_stuck_reader_does_not_stop_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
