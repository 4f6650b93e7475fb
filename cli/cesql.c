/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat cesql`: evaluates one CESQL expression against one event.
 */
#include <stdio.h>
#include <unistd.h>

#include "cesql.h"
#include "client.h"

/* The line of the expression where something is, and a caret under the place. */
static void show_place(struct slice text, const struct diag *d)
{
    struct slice line = slice_split(&text, '\n');
    for (int i = 1; i < d->line; i++)
        line = slice_split(&text, '\n');
    fprintf(stderr, "  %.*s\n  %*s^\n", SLICE_ARG(line), d->column - 1, "");
}

static void say(enum cesql_error error, struct slice text, const struct diag *d)
{
    if (d->line > 1)
        fprintf(stderr, "%s: line %d, column %d: %s\n", cesql_error_name(error), d->line, d->column, d->text);
    else
        fprintf(stderr, "%s: column %d: %s\n", cesql_error_name(error), d->column, d->text);
    show_place(text, d);
}

static void print_value(const struct cesql_value *v)
{
    struct buf out;
    buf_init(&out, 8u << 20); /* a string of an event, escaped */
    if (v->type == CESQL_STRING)
        buf_put_json_string(&out, v->string);
    else if (v->type == CESQL_INTEGER)
        buf_printf(&out, "%d", v->integer);
    else
        buf_put_str(&out, v->boolean ? "true" : "false");
    buf_put_char(&out, '\n');
    fwrite(out.ptr, 1, out.len, stdout);
    buf_fini(&out);
}

static int evaluate(const struct invocation *in, const struct cesql *q, struct slice text)
{
    const struct ce_event *event;
    struct cesql_value value;
    struct diag d = {.line = 1, .column = 1};
    struct buf memory;
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "leat cesql: reading an event in JSON from standard input.\n");
    if (!read_event(in->command, "-", &event))
        return EXIT_CODE_INPUT;
    buf_init(&memory, 2 * CESQL_BYTES_MAX);
    enum cesql_error error = cesql_evaluate(q, event, &memory, &value, &d);
    print_value(&value);
    if (error)
        say(error, text, &d);
    buf_fini(&memory);
    ce_event_unref(event);
    return error ? EXIT_CODE_INPUT : EXIT_CODE_OK;
}

static int run(const struct invocation *in)
{
    struct cesql *q;
    struct diag d = {0};
    if (in->operand_count != 1)
        return usage_error(in->command, "say one expression, in quotes: leat cesql \"type = 'x'\"");
    struct slice text = slice_str(in->operands[0]);
    enum err e = cesql_compile(text, &q, &d);
    if (e == ERR_NOMEM)
        return fail(in->command, EXIT_CODE_FAILED, "out of memory.");
    if (e) {
        say(CESQL_PARSE, text, &d);
        return EXIT_CODE_INPUT;
    }
    int code = evaluate(in, q, text);
    cesql_free(q);
    return code;
}

const struct command command_cesql = {
    .name = "cesql",
    .summary = "Evaluate a CloudEvents SQL expression",
    .operands = "EXPRESSION",
    .operand_max = 1,
    .text =
        "Reads one event, a JSON envelope, from standard input and prints the value of the expression as JSON. What "
        "went wrong on the way stands on standard error, its kind first (cast, math, missingAttribute ...), and "
        "then the exit code is 3.",
    .examples = "  leat cesql \"type = 'com.example.order' AND INT(hops) < 5\" < event.json",
    .run = run,
};
