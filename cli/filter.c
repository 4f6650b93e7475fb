/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat filter`: tries a filter on an event, and says clause by clause why it matches or not.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "filter.h"

#define EXPLAIN_MAX (4u << 20) /* a thousand clauses of at most some hundred bytes */

static const struct option_spec options[] = {
    {"event", 0, "FILE", "The event, a JSON envelope; - for standard input. Must be given.", false},
    {"output", 'o', "text|json", "Default: text.", false},
    {0},
};

/* ---- mistakes in the filter ---- */

static void show_problem(const struct problem *p, struct slice text)
{
    if (p->path)
        fprintf(stderr, "%s: ", p->path);
    if (p->line > 1)
        fprintf(stderr, "line %d, ", p->line);
    if (p->line)
        fprintf(stderr, "column %d: ", p->column);
    fprintf(stderr, "%s\n", p->text);
    struct slice line = slice_split(&text, '\n');
    for (int i = 1; i < p->line; i++)
        line = slice_split(&text, '\n');
    if (p->line)
        fprintf(stderr, "  %.*s\n  %*s^\n", SLICE_ARG(line), p->column - 1, "");
}

/* ---- the answer ---- */

static void print_json(const struct filter *f, const struct ce_event *event, bool matches)
{
    struct buf out, text;
    buf_init(&out, 2 * EXPLAIN_MAX);
    buf_init(&text, EXPLAIN_MAX);
    filter_reason(f, event, &text);
    buf_printf(&out, "{\"matches\":%s,\"reason\":", matches ? "true" : "false");
    buf_put_json_string(&out, buf_slice(&text));
    buf_put_str(&out, ",\"clauses\":[");
    buf_clear(&text);
    filter_explain(f, event, &text);
    const char *comma = "";
    for (struct slice rest = buf_slice(&text); rest.len;) {
        struct slice line = slice_split(&rest, '\n'), verdict = slice_split(&line, ' '), clause = line;
        while (clause.len && clause.ptr[0] == ' ')
            clause = slice_from(clause, 1);
        size_t indent = (size_t)(clause.ptr - verdict.ptr) - 5; /* the verdict's column is five wide */
        buf_printf(&out, "%s{\"depth\":%zu,\"verdict\":", comma, indent / 2);
        buf_put_json_string(&out, verdict);
        buf_put_str(&out, ",\"clause\":");
        buf_put_json_string(&out, clause);
        buf_put_char(&out, '}');
        comma = ",";
    }
    buf_put_str(&out, "]}\n");
    fwrite(out.ptr, 1, out.len, stdout);
    buf_fini(&text);
    buf_fini(&out);
}

static void print_text(const struct filter *f, const struct ce_event *event, bool matches)
{
    const bool colours = colours_on(STDOUT_FILENO);
    struct buf text;
    buf_init(&text, EXPLAIN_MAX);
    filter_explain(f, event, &text);
    printf("%s%s%s\n\n",
           !colours  ? ""
           : matches ? "\033[32m"
                     : "\033[31m",
           matches ? "yes" : "no", colours ? "\033[0m" : "");
    fwrite(text.ptr, 1, text.len, stdout);
    buf_fini(&text);
}

static int try(const struct invocation *in, const struct filter *f, bool json)
{
    const struct ce_event *event;
    if (!read_event(in->command, option_value(in, "event", NULL), &event))
        return EXIT_CODE_INPUT;
    bool matches = filter_match(f, event);
    (json ? print_json : print_text)(f, event, matches);
    ce_event_unref(event);
    return matches ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static int run(const struct invocation *in)
{
    bool json;
    struct filter *f = NULL;
    struct problems problems;
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    if (in->operand_count != 1)
        return usage_error(in->command, "say one filter, in quotes: a CESQL expression, or JSON");
    if (!option_value(in, "event", NULL))
        return usage_error(in->command, "say on which event with --event FILE, - for standard input.");
    struct slice text = slice_str(in->operands[0]);
    problems_init(&problems);
    int code = EXIT_CODE_OK;
    enum err e = filter_parse(text, &f, &problems);
    if (e == ERR_NOMEM)
        code = fail(in->command, EXIT_CODE_FAILED, "out of memory.");
    else if (e)
        code = EXIT_CODE_INPUT;
    for (size_t i = 0; i < problems.count; i++)
        show_problem(&problems.list[i], text);
    problems_fini(&problems);
    if (code == EXIT_CODE_OK)
        code = try(in, f, json);
    filter_unref(f);
    return code;
}

const struct command command_filter = {
    .name = "filter",
    .summary = "Try a filter on an event and say why it matches or not",
    .operands = "FILTER",
    .operand_max = 1,
    .text = "FILTER is a CESQL expression, or, when it begins with { or [, what spec.filters of a Trigger holds, in "
            "JSON: one filter or a list. Prints yes or no and every clause with what the event has for it (yes, no, or "
            "- where it did not count). Exits with 0 when the event matches, with 1 when it does not, with 3 when the "
            "filter or the event is wrong.",
    .examples = "  leat filter --event event.json \"type LIKE 'com.example.%' AND EXISTS subject\"\n"
                "  leat filter --event - '[{\"prefix\": {\"type\": \"com.example.\"}}]' < event.json",
    .options = options,
    .run = run,
};
