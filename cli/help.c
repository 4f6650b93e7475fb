/* SPDX-License-Identifier: Apache-2.0
 *
 * Help, shell completion and the man page, all printed from the command table.
 */
#include "command.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *bold(void)
{
    return colours_on(STDOUT_FILENO) ? "\033[1m" : "";
}

static const char *plain(void)
{
    return colours_on(STDOUT_FILENO) ? "\033[0m" : "";
}

void help_all(void)
{
    printf("%sleat%s carries events from sources through channels to services: Knative Eventing as one program.\n\n"
           "%sUsage:%s leat VERB [OPTIONS] ...\n\n%sVerbs:%s\n",
           bold(), plain(), bold(), plain(), bold(), plain());
    for (const struct command *const *c = commands; *c; c++)
        if (!(*c)->hidden)
            printf("  %-12s %s\n", (*c)->name, (*c)->summary);
    printf("\n%sExamples:%s\n"
           "  leat serve -f examples/github-to-service        run everything in a folder of manifests\n"
           "  leat listen :9000                               a service that prints what it gets\n"
           "  leat send --to http://127.0.0.1:8080/channels/default/orders --data '{\"n\":1}'\n\n"
           "Exit codes: 0 done, 1 did not work, 2 wrong command line, 3 wrong input, 4 stopped with events lost.\n"
           "`leat VERB --help` says more about each.\n",
           bold(), plain());
}

static void help_options(const struct command *c)
{
    if (!c->options || !c->options[0].name)
        return;
    printf("\n%sOptions:%s\n", bold(), plain());
    for (const struct option_spec *o = c->options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter ? "," : " ", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf(strlen(left) <= 28 ? "  %-28s %s\n" : "  %s\n                               %s\n", left, o->help);
    }
}

void help_command(const struct command *c)
{
    printf("%sleat %s%s: %s.\n\n%sUsage:%s leat %s%s%s%s\n", bold(), c->name, plain(), c->summary, bold(), plain(),
           c->name, c->options && c->options[0].name ? " [OPTIONS]" : "", c->operands[0] ? " " : "", c->operands);
    if (c->text)
        printf("\n%s\n", c->text);
    if (c->subcommands)
        printf("\n%sVerbs:%s\n", bold(), plain());
    for (const struct command *const *s = c->subcommands; s && *s; s++)
        printf("  %-12s %s\n", command_word(*s), (*s)->summary);
    help_options(c);
    if (c->examples)
        printf("\n%sExamples:%s\n%s\n", bold(), plain(), c->examples);
}

static int run_help(const struct invocation *in)
{
    if (in->operand_count == 0) {
        help_all();
        return EXIT_CODE_OK;
    }
    const struct command *c = command_find(in->operands[0]);
    if (!c)
        return usage_error(in->command, "there is no verb '%s'.", in->operands[0]);
    if (in->operand_count == 2 && !subcommand_find(c, in->operands[1]))
        return usage_error(in->command, "there is no verb '%s %s'.", in->operands[0], in->operands[1]);
    help_command(in->operand_count == 2 ? subcommand_find(c, in->operands[1]) : c);
    return EXIT_CODE_OK;
}

const struct command command_help = {
    .name = "help",
    .summary = "Say what a verb does",
    .operands = "[VERB [VERB]]",
    .operand_max = 2,
    .examples = "  leat help serve\n  leat help dlq redrive",
    .run = run_help,
};

static int run_version(const struct invocation *in)
{
    (void)in;
    printf("leat %s\n", LEAT_VERSION);
    return EXIT_CODE_OK;
}

const struct command command_version = {
    .name = "version",
    .summary = "Print the version",
    .operands = "",
    .examples = "  leat version",
    .run = run_version,
};

/* Words that may stand first behind a command, each once. */
static void words_of(const struct command *c)
{
    for (size_t i = 0; c->word && c->word(i); i++) {
        size_t j = 0;
        while (strcmp(c->word(j), c->word(i)) != 0)
            j++;
        if (j == i)
            printf("%s ", c->word(i));
    }
}

/* What may follow a command: its words and options, or of a group the words that follow it. */
static void bash_case(const struct command *c)
{
    printf("        '%s') words='", c->name);
    words_of(c);
    for (const struct option_spec *o = c->options; o && o->name; o++)
        printf("--%s ", o->name);
    for (const struct command *const *s = c->subcommands; s && *s; s++)
        printf("%s ", command_word(*s));
    printf("--help' ;;\n");
}

/* The groups, as a pattern of the shell. */
static void bash_groups(void)
{
    const char *bar = "";
    for (const struct command *const *c = commands; *c; c++)
        if ((*c)->subcommands) {
            printf("%s%s", bar, (*c)->name);
            bar = "|";
        }
}

static void complete_bash(void)
{
    printf("# bash completion for leat; to use it: source <(leat completion bash)\n"
           "_leat() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]:-} words=\n"
           "    if [ \"$COMP_CWORD\" -gt 2 ]; then\n"
           "        case $verb in ");
    bash_groups();
    printf(") verb=\"$verb ${COMP_WORDS[2]}\" ;; esac\n    fi\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        words='");
    for (const struct command *const *c = commands; *c; c++)
        if (!(*c)->hidden)
            printf("%s ", (*c)->name);
    printf("--help --version'\n    else\n        case \"$verb\" in\n");
    for (const struct command *const *c = commands; *c; c++) {
        bash_case(*c);
        for (const struct command *const *s = (*c)->subcommands; s && *s; s++)
            bash_case(*s);
    }
    printf("        esac\n    fi\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
           "    [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"$word\"))\n"
           "}\n"
           "complete -o filenames -F _leat leat\n");
}

static void complete_zsh(void)
{
    printf("#compdef leat\n# to use it: leat completion zsh > \"${fpath[1]}/_leat\"\n"
           "autoload -U +X bashcompinit && bashcompinit\n");
    complete_bash();
}

/* A string for fish: single quotes, with quotes and backslashes escaped. */
static void fish_string(const char *s)
{
    putchar('\'');
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\')
            putchar('\\');
        putchar(*s);
    }
    putchar('\'');
}

static void fish_options(const struct command *c, const struct command *group)
{
    for (const struct option_spec *o = c->options; o && o->name; o++) {
        printf("complete -c leat -n '__fish_seen_subcommand_from %s", command_word(c));
        if (group)
            printf("; and __fish_seen_subcommand_from %s", group->name);
        printf("' -l %s", o->name);
        if (o->letter)
            printf(" -s %c", o->letter);
        printf("%s -d ", o->value ? " -r" : "");
        fish_string(o->help);
        putchar('\n');
    }
}

static void complete_fish(void)
{
    printf("# fish completion for leat; to use it: leat completion fish | source\n");
    for (const struct command *const *c = commands; *c; c++) {
        if ((*c)->hidden)
            continue;
        printf("complete -c leat -n __fish_use_subcommand -a %s -d ", (*c)->name);
        fish_string((*c)->summary);
        putchar('\n');
        if ((*c)->word) {
            printf("complete -c leat -n '__fish_seen_subcommand_from %s' -a '", (*c)->name);
            words_of(*c);
            printf("'\n");
        }
        fish_options(*c, NULL);
        for (const struct command *const *s = (*c)->subcommands; s && *s; s++) {
            printf("complete -c leat -n '__fish_seen_subcommand_from %s' -a %s -d ", (*c)->name, command_word(*s));
            fish_string((*s)->summary);
            putchar('\n');
            fish_options(*s, *c);
        }
    }
}

static int run_completion(const struct invocation *in)
{
    const char *shell = in->operand_count ? in->operands[0] : "";
    if (strcmp(shell, "bash") == 0)
        complete_bash();
    else if (strcmp(shell, "zsh") == 0)
        complete_zsh();
    else if (strcmp(shell, "fish") == 0)
        complete_fish();
    else
        return usage_error(in->command, "say for which shell: bash, zsh or fish.");
    return EXIT_CODE_OK;
}

const struct command command_completion = {
    .name = "completion",
    .summary = "Print a completion script for a shell",
    .operands = "bash|zsh|fish",
    .operand_max = 1,
    .examples = "  source <(leat completion bash)",
    .uses_kinds = true,
    .run = run_completion,
};

/* Text for troff: a line must not begin with '.' or '\'', and backslash and '-' have meanings of their own. */
static void troff(const char *s)
{
    bool start = true;
    for (; *s; s++) {
        if (start && (*s == '.' || *s == '\''))
            fputs("\\&", stdout);
        start = *s == '\n';
        if (*s == '\\')
            fputs("\\e", stdout);
        else if (*s == '-')
            fputs("\\-", stdout);
        else
            putchar(*s);
    }
}

static void man_command(const struct command *c)
{
    printf(".SS leat %s ", c->name);
    troff(c->operands);
    printf("\n");
    troff(c->summary);
    printf(".\n");
    if (c->text) {
        printf(".PP\n");
        troff(c->text);
        putchar('\n');
    }
    for (const struct option_spec *o = c->options; o && o->name; o++) {
        printf(".TP\n.B ");
        if (o->letter)
            printf("\\-%c, ", o->letter);
        printf("\\-\\-");
        troff(o->name);
        printf(" %s\n", o->value ? o->value : "");
        troff(o->help);
        putchar('\n');
    }
    if (c->examples) {
        printf(".PP\nExamples:\n.nf\n");
        troff(c->examples);
        printf("\n.fi\n");
    }
}

static int run_man(const struct invocation *in)
{
    (void)in;
    printf(".TH LEAT 1 \"\" \"leat %s\"\n.SH NAME\nleat \\- Knative Eventing as one program\n.SH SYNOPSIS\n.B "
           "leat\nVERB [OPTIONS] ...\n.SH VERBS\n",
           LEAT_VERSION);
    for (const struct command *const *c = commands; *c; c++)
        if (!(*c)->hidden) {
            man_command(*c);
            for (const struct command *const *s = (*c)->subcommands; s && *s; s++)
                man_command(*s);
        }
    printf(
        ".SH EXIT STATUS\n0 done, 1 did not work, 2 wrong command line, 3 wrong input, 4 stopped with events lost.\n");
    return EXIT_CODE_OK;
}

const struct command command_man = {
    .name = "man",
    .summary = "Print the man page",
    .operands = "",
    .examples = "  leat man | man -l -",
    .run = run_man,
};
