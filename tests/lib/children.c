/* SPDX-License-Identifier: Apache-2.0 */
#include "children.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct child {
    pid_t pid; /* 0: not begun, or over */
    FILE *output;
    double began;
};

struct tally {
    unsigned running, passed, failed, skipped;
    double longest;
    const char *longest_name;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void children_add(struct children *c, const struct CMUnitTest *tests, size_t count)
{
    c->tests = realloc(c->tests, (c->count + count) * sizeof *c->tests);
    if (!c->tests)
        abort();
    memcpy(c->tests + c->count, tests, count * sizeof *tests);
    c->count += count;
}

static void child_main(const struct children *c, size_t i, FILE *output)
{
    dup2(fileno(output), STDOUT_FILENO);
    dup2(fileno(output), STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(CHILDREN_SECONDS_MAX);
    if (c->before)
        c->before(&c->tests[i]);
    int failed = _cmocka_run_group_tests(c->tests[i].name, &c->tests[i], 1, NULL, NULL);
    if (c->after)
        c->after(&c->tests[i]);
    free(c->tests);
    exit(failed ? 1 : 0);
}

static void begin(struct children *c, struct child *list, size_t i)
{
    list[i].output = tmpfile();
    list[i].began = now_s();
    fflush(NULL);
    list[i].pid = list[i].output ? fork() : -1;
    if (list[i].pid < 0) {
        perror("children");
        abort();
    }
    if (list[i].pid == 0) {
        FILE *output = list[i].output;
        free(list);
        child_main(c, i, output);
    }
}

static bool output_holds(FILE *f, const char *text, bool print)
{
    char line[4096];
    bool found = false;
    rewind(f);
    while (fgets(line, sizeof line, f)) {
        found |= strstr(line, text) != NULL;
        /* The summary is the parent's: a count of tests is read from "[  PASSED  ]" at a line's begin. */
        if (print)
            printf("%s%s", strncmp(line, "[  PASSED", 9) == 0 || strncmp(line, "[  FAILED", 9) == 0 ? "  " : "", line);
    }
    return found;
}

static void over(const struct children *c, struct child *child, size_t i, int status, bool print, struct tally *t)
{
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    double took = now_s() - child->began;
    bool skipped = output_holds(child->output, "[  SKIPPED ]", print || !good);
    if (!good && WIFSIGNALED(status))
        printf("  %s: killed by signal %d%s\n", c->tests[i].name, WTERMSIG(status),
               WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    if (!good)
        printf("  failed: %s (%.1f s)\n", c->tests[i].name, took);
    t->running--;
    t->failed += !good;
    t->skipped += good && skipped;
    t->passed += good && !skipped;
    if (took > t->longest) {
        t->longest = took;
        t->longest_name = c->tests[i].name;
    }
    fclose(child->output);
    child->pid = 0;
}

static void wait_one(const struct children *c, struct child *list, bool print, struct tally *t)
{
    int status;
    pid_t pid = wait(&status);
    for (size_t i = 0; i < c->count; i++) {
        if (list[i].pid == pid && pid > 0)
            over(c, &list[i], i, status, print, t);
    }
}

int children_run(struct children *c, const char *name, const char *word)
{
    struct child *list = calloc(c->count, sizeof *list);
    struct tally t = {0};
    double began = now_s();
    if (!list)
        abort();
    for (size_t i = c->count; i-- > 0;) {
        if (word && !strstr(c->tests[i].name, word))
            continue;
        while (t.running >= c->most)
            wait_one(c, list, word != NULL, &t);
        begin(c, list, i);
        t.running++;
    }
    while (t.running)
        wait_one(c, list, word != NULL, &t);
    printf("%s: %u skipped; %.1f s, the longest %.1f s: %s\n", name, t.skipped, now_s() - began, t.longest,
           t.longest_name ? t.longest_name : "none");
    printf("[  PASSED  ] %u test(s).\n", t.passed);
    if (t.failed)
        printf("[  FAILED  ] %u test(s).\n", t.failed);
    free(list);
    free(c->tests);
    return (int)t.failed;
}
