/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns a command line into an invocation by the command's own table, over getopt_long.
 */
#include "command.h"

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "resource.h"

enum {
    OPTIONS_MAX = 40,
    HELP_VALUE = 1000, /* what getopt_long returns for --help; the table's options follow from 0 */
};

static size_t option_count(const struct command *c)
{
    size_t n = 0;
    while (c->options && c->options[n].name)
        n++;
    assert(n < OPTIONS_MAX);
    return n;
}

/* Fills getopt's two tables. Long options return their index; letters are looked up afterwards. */
static void tables(const struct command *c, struct option *longs, char *letters)
{
    size_t n = option_count(c);
    *letters++ = ':'; /* a missing value is told from an unknown option */
    for (size_t i = 0; i < n; i++) {
        const struct option_spec *o = &c->options[i];
        longs[i] = (struct option){o->name, o->value ? required_argument : no_argument, NULL, (int)i};
        if (o->letter) {
            *letters++ = o->letter;
            if (o->value)
                *letters++ = ':';
        }
    }
    longs[n] = (struct option){"help", no_argument, NULL, HELP_VALUE};
    longs[n + 1] = (struct option){NULL, 0, NULL, 0};
    *letters++ = 'h';
    *letters = '\0';
}

static const struct option_spec *by_result(const struct command *c, int result)
{
    size_t n = option_count(c);
    if (result >= 0 && (size_t)result < n)
        return &c->options[result];
    for (size_t i = 0; i < n; i++)
        if (c->options[i].letter == result)
            return &c->options[i];
    return NULL;
}

/* getopt_long tells of a letter in optopt; of a long option there is only the word, which may also be a switch that was
 * given a value. */
static int unknown_option(const struct command *c, char **argv)
{
    const char *word = argv[optind - 1], *equals = strchr(word, '=');
    if (strncmp(word, "--", 2) != 0)
        return usage_error(c, "there is no option -%c.", optopt);
    for (size_t i = 0; equals && i < option_count(c); i++)
        if (strlen(c->options[i].name) == (size_t)(equals - word - 2) &&
            strncmp(c->options[i].name, word + 2, (size_t)(equals - word - 2)) == 0)
            return usage_error(c, "--%s takes no value, but was given one: %s.", c->options[i].name, word);
    return usage_error(c, "there is no option %s.", word);
}

/* Reads the options; -1 when the command is to be run, else the exit code. */
static int collect(const struct command *c, int argc, char **argv, struct invocation *in)
{
    struct option longs[OPTIONS_MAX + 2];
    char letters[2 * OPTIONS_MAX + 4];
    tables(c, longs, letters);
    opterr = 0;
    optind = 1;
    for (int r; (r = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
        if (r == HELP_VALUE || r == 'h') {
            help_command(c);
            return EXIT_CODE_OK;
        }
        if (r == ':')
            return usage_error(c, "%s needs a value.", argv[optind - 1]);
        if (r == '?')
            return unknown_option(c, argv);
        const struct option_spec *o = by_result(c, r);
        if (!o->repeats && option_given(in, o->name))
            return usage_error(c, "--%s was given twice.", o->name);
        in->given[in->given_count++] = (struct given){o, o->value ? optarg : NULL};
    }
    in->operands = (const char *const *)argv + optind;
    in->operand_count = (size_t)(argc - optind);
    if (in->operand_count > c->operand_max)
        return usage_error(c, "'%s' is one word too many.", in->operands[c->operand_max]);
    return -1;
}

const char *command_word(const struct command *c)
{
    const char *space = strrchr(c->name, ' ');
    return space ? space + 1 : c->name;
}

const struct command *subcommand_find(const struct command *group, const char *word)
{
    for (const struct command *const *c = group->subcommands; c && *c; c++)
        if (strcmp(command_word(*c), word) == 0)
            return *c;
    return NULL;
}

/* A group: its second word says which. */
static int run_group(const struct command *group, int argc, char **argv)
{
    const struct command *c = argc > 1 ? subcommand_find(group, argv[1]) : NULL;
    if (c)
        return command_run(c, argc - 1, argv + 1);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help_command(group);
        return EXIT_CODE_OK;
    }
    if (argc > 1)
        return usage_error(group, "there is no '%s': it is followed by one of %s.", argv[1], group->operands);
    return usage_error(group, "say what: %s.", group->operands);
}

static int run_with_kinds(const struct invocation *in)
{
    struct diag d = {0};
    if (kinds_load(&d) != OK)
        return fail(in->command, EXIT_CODE_FAILED, "%s", d.text);
    int code = in->command->run(in);
    kinds_unload();
    return code;
}

int command_run(const struct command *c, int argc, char **argv)
{
    if (c->subcommands)
        return run_group(c, argc, argv);
    struct invocation in = {.command = c};
    if (c->passes_all) {
        in.operands = (const char *const *)argv + 1;
        in.operand_count = (size_t)argc - 1;
        return c->run(&in);
    }
    in.given = calloc((size_t)argc, sizeof *in.given); /* never more options than words */
    if (!in.given)
        return fail(c, EXIT_CODE_FAILED, "out of memory.");
    int code = collect(c, argc, argv, &in);
    if (code < 0)
        code = c->uses_kinds ? run_with_kinds(&in) : c->run(&in);
    free(in.given);
    return code;
}

const char *option_value(const struct invocation *in, const char *name, const char *fallback)
{
    const char *last = fallback;
    size_t cursor = 0;
    for (const char *v; (v = option_next(in, name, &cursor));)
        last = v;
    return last;
}

bool option_known(const struct command *c, const char *name)
{
    for (const struct option_spec *o = c->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0)
            return true;
    return false;
}

bool option_given(const struct invocation *in, const char *name)
{
    for (size_t i = 0; i < in->given_count; i++)
        if (strcmp(in->given[i].option->name, name) == 0)
            return true;
    return false;
}

const char *option_next(const struct invocation *in, const char *name, size_t *cursor)
{
    while (*cursor < in->given_count) {
        const struct given *g = &in->given[(*cursor)++];
        if (strcmp(g->option->name, name) == 0)
            return g->value;
    }
    return NULL;
}

__attribute__((format(printf, 2, 0))) static void complain(const struct command *c, const char *format, va_list args)
{
    fprintf(stderr, "leat %s: ", c->name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int usage_error(const struct command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(c, format, args);
    va_end(args);
    fprintf(stderr, "See `leat %s --help`.\n", c->name);
    return EXIT_CODE_USAGE;
}

int fail(const struct command *c, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(c, format, args);
    va_end(args);
    return code;
}

bool wants_json(const struct invocation *in, bool *json)
{
    const char *form = option_value(in, "output", "text");
    *json = strcmp(form, "json") == 0;
    if (*json || strcmp(form, "text") == 0)
        return true;
    usage_error(in->command, "-o: '%s' is neither text nor json.", form);
    return false;
}

bool colours_on(int fd)
{
    const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
    return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}
