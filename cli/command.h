/* SPDX-License-Identifier: Apache-2.0
 *
 * The command table: one entry per verb. Help, completion and the man page are printed from it, so they cannot lag
 * behind.
 */
#ifndef LEAT_CLI_COMMAND_H
#define LEAT_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes, the same for every verb; `leat --help` prints them. */
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1, /* what was asked did not work out */
    EXIT_CODE_USAGE = 2,  /* the command line is wrong */
    EXIT_CODE_INPUT = 3,  /* a file or event given is wrong */
    EXIT_CODE_LOST = 4    /* `serve` stopped with events that no longer exist anywhere */
};

struct option_spec {
    const char *name;  /* "ingress": --ingress */
    char letter;       /* 'f': also -f; 0: none */
    const char *value; /* what stands for the value in help ("ADDR"); NULL: a switch */
    const char *help;  /* one sentence, with the default */
    bool repeats;      /* may be given more than once */
};

struct invocation;

struct command {
    const char *name;                  /* "serve" */
    const char *summary;               /* one line, without a full stop */
    const char *operands;              /* "[KIND[/NAME]]", or "" */
    size_t operand_max;                /* words that may stand there; SIZE_MAX: any number */
    const char *text;                  /* a paragraph or two for --help */
    const char *examples;              /* lines, each indented by two spaces in the help */
    const struct option_spec *options; /* ends with name NULL; may be NULL */
    bool passes_all; /* everything after the verb goes through as operands (`source` has tables of its own) */
    bool hidden;     /* not in help */
    bool uses_kinds; /* what is known of kinds is there while it runs (resource.h) */
    /* For completion: what may stand first behind the verb, from i = 0 on; NULL: no more. Itself NULL: nobody knows. */
    const char *(*word)(size_t i);
    int (*run)(const struct invocation *in);
    /* Ended by NULL: the verb is a group, and one of these follows it on the command line. Each is named whole ("dlq
     * list"); `operands` of the group names them all, and it has neither options nor run. */
    const struct command *const *subcommands;
};

/* What stood on the command line, checked against the table. */
struct invocation {
    const struct command *command;
    const char *const *operands;
    size_t operand_count;
    struct given *given; /* options in the order given */
    size_t given_count;
};
struct given {
    const struct option_spec *option;
    const char *value; /* NULL for switches */
};

/* The last value given for --name, or `fallback`. Asserts that the table has it. */
const char *option_value(const struct invocation *in, const char *name, const char *fallback);
/* Whether the command's table has it. */
bool option_known(const struct command *c, const char *name);
bool option_given(const struct invocation *in, const char *name);
/* Values of a repeating option in order: *cursor from 0; NULL at the end. */
const char *option_next(const struct invocation *in, const char *name, size_t *cursor);

/* All verbs, ended by an entry with name NULL. */
extern const struct command *const commands[];
const struct command *command_find(const char *name);

/* Prints "leat VERB: MESSAGE" and "See `leat VERB --help`." to standard error; returns EXIT_CODE_USAGE. */
int usage_error(const struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints "leat VERB: MESSAGE" to standard error; returns `code`. */
int fail(const struct command *c, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The i-th kind, for completion of verbs that use kinds. */
const char *kind_word(size_t i);

/* -o text|json, of verbs that have no other forms; false (said) when it is neither. */
bool wants_json(const struct invocation *in, bool *json);

/* The one of a group's commands that `word` means, or NULL. */
const struct command *subcommand_find(const struct command *group, const char *word);
/* The last word of its name: "list" of "dlq list". */
const char *command_word(const struct command *c);

/* Parses and runs; `argv[0]` is the verb. */
int command_run(const struct command *c, int argc, char **argv);
void help_command(const struct command *c);
void help_all(void);

/* Whether to use ANSI colours on this descriptor: a terminal, NO_COLOR unset, TERM not "dumb". */
bool colours_on(int fd);

/* One per file. */
extern const struct command command_serve, command_validate, command_apply, command_get, command_describe, command_wait,
    command_export, command_graph, command_delete, command_audit, command_send, command_listen, command_explain,
    command_tail, command_dlq, command_token, command_kubeconfig, command_replay, command_pause, command_resume,
    command_run_with_sink, command_task, command_filter, command_cesql, command_source, command_log, command_doctor,
    command_bench, command_version, command_completion, command_man, command_help;

/* Options that every client verb takes: where the server is, and who one is to it. */
#define SERVER_OPTIONS                                                                                                 \
    {"server", 0, "URL", "The server's API. Default: $LEAT_SERVER, else http://127.0.0.1:8001.", false},               \
        {"token", 0, "TOKEN", "Who you are to a server that asks (others see it in ps). Default: $LEAT_TOKEN.",        \
         false},                                                                                                       \
        {"token-file", 0, "FILE", "The file that holds the token.", false},                                            \
    {                                                                                                                  \
        "ca", 0, "FILE", "Certificates (PEM) to trust for an https server. Default: the system's.", false              \
    }
/* And of those about things in a namespace. */
#define CLIENT_OPTIONS                                                                                                 \
    SERVER_OPTIONS,                                                                                                    \
    {                                                                                                                  \
        "namespace", 'n', "NS", "The namespace. Default: default.", false                                              \
    }

#endif
