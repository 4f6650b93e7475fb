/* SPDX-License-Identifier: Apache-2.0
 *
 * leat: finds the verb in the command table and runs it.
 */
#include "command.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct command *const commands[] = {
    &command_serve,         &command_validate,   &command_apply,
    &command_get,           &command_describe,   &command_wait,
    &command_export,        &command_graph,      &command_delete,
    &command_audit,         &command_send,       &command_listen,
    &command_explain,       &command_tail,       &command_filter,
    &command_cesql,         &command_dlq,        &command_replay,
    &command_pause,         &command_resume,     &command_task,
    &command_token,         &command_kubeconfig, &command_source,
    &command_run_with_sink, &command_log,        &command_doctor,
    &command_bench,         &command_help,       &command_version,
    &command_completion,    &command_man,        NULL,
};

const struct command *command_find(const char *name)
{
    for (const struct command *const *c = commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

/* Letters in common at the same place, less the difference in length: enough to catch a slip of the fingers. */
static int likeness(const char *a, const char *b)
{
    int same = 0;
    size_t n = strlen(a), m = strlen(b);
    for (size_t i = 0; i < n && i < m; i++)
        same += a[i] == b[i];
    return same * 2 - (int)(n > m ? n - m : m - n);
}

static int unknown_verb(const char *verb)
{
    const struct command *best = NULL;
    int most = 2;
    for (const struct command *const *c = commands; *c; c++)
        if (!(*c)->hidden && likeness(verb, (*c)->name) > most)
            most = likeness(verb, (*c)->name), best = *c;
    fprintf(stderr, "leat: there is no verb '%s'.", verb);
    if (best)
        fprintf(stderr, " Did you mean '%s'?", best->name);
    fprintf(stderr, "\nSee `leat --help` for all of them.\n");
    return EXIT_CODE_USAGE;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        help_all();
        return EXIT_CODE_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_all();
        return EXIT_CODE_OK;
    }
    const char *verb = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    const struct command *c = command_find(verb);
    if (!c)
        return unknown_verb(verb);
    return command_run(c, argc - 1, argv + 1);
}

/* What is closed (`leat serve >&-`) is not to be the number of a file or socket opened later, and be written to. */
static void fill_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

/* Half a file is not what was asked for: `leat export > file` on a full disk is no backup. */
int main(int argc, char **argv)
{
    fill_standard_streams();
    int code = run(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_CODE_OK) {
        fprintf(stderr, "leat: standard output cannot be written.\n");
        code = EXIT_CODE_FAILED;
    }
    return code;
}
