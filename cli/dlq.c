/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat dlq`: parked events, the ones that nobody took: listed, shown, redriven, discarded, exported.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"

#define EVERYTHING "10000" /* as many as the server looks through at once */

static const char whose[] = "say whose parked events";

/* ---- requests ---- */

static void put_parameter(struct buf *url, const char *name, const char *value)
{
    if (value)
        url_put_query(url, name, slice_str(value));
}

struct question { /* of a list; NULL: not given */
    const char *limit, *filter, *id, *source, *full;
};

/* Asks for a list; the answer is for buf_fini when EXIT_CODE_OK. */
static int ask_list(const struct invocation *in, struct client *cl, const struct question *q,
                    struct client_answer *answer, struct json_value *json)
{
    struct buf url;
    ask_url(&url, in, "/leat/v1/dlq/");
    int code = ask_url_put_target(&url, in, 0, whose) ? EXIT_CODE_OK : EXIT_CODE_USAGE;
    put_parameter(&url, "limit", q->limit);
    put_parameter(&url, "filter", q->filter);
    put_parameter(&url, "id", q->id);
    put_parameter(&url, "source", q->source);
    put_parameter(&url, "full", q->full);
    if (code == EXIT_CODE_OK && !ask(cl, in, "GET", &url, (struct slice){0}, answer, json))
        code = EXIT_CODE_FAILED;
    buf_fini(&url);
    return code;
}

static struct json_value items_of(struct json_value json)
{
    struct json_value items = {0};
    if (!json_find(json, (const char *const[]){"items", NULL}, &items) || items.type != JSON_ARRAY)
        return (struct json_value){.type = JSON_ARRAY, .raw = SLICE("[]")};
    return items;
}

static const char *text_of(struct json_value v, const char *name, const char *below, char *out, size_t size)
{
    return member_text(v, (const char *const[]){name, below, NULL}, out, size);
}

/* ---- list ---- */

static int print_summary(struct json_value json)
{
    static const char *const heads[] = {"NAMESPACE", "SUBSCRIPTION", "PARKED", "DROPPED", "STATE"};
    struct ask_table *t = table_new(5);
    struct json_walk w;
    size_t n = 0;
    char kind[256], name[256], part[256], whole[800], text[64];
    for (size_t i = 0; i < 5; i++)
        table_cell(t, heads[i]);
    json_walk_begin(&w, items_of(json));
    for (; json_walk_next(&w); n++) {
        text_of(w.value, "kind", NULL, kind, sizeof kind);
        text_of(w.value, "name", NULL, name, sizeof name);
        text_of(w.value, "part", NULL, part, sizeof part);
        for (char *c = kind; *c; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
        snprintf(whole, sizeof whole, "%s/%s%s%s%s", kind, name, *part ? " (" : "", part, *part ? ")" : "");
        table_cell(t, text_of(w.value, "namespace", NULL, text, sizeof text));
        table_cell(t, whole);
        table_cell(t, text_of(w.value, "parked", NULL, text, sizeof text));
        table_cell(t, text_of(w.value, "dropped", NULL, text, sizeof text));
        table_cell(t, member_is_true(w.value, "gone") ? "deleted" : "there");
    }
    table_print(t);
    if (n == 0)
        fprintf(stderr, "No events are parked.\n");
    return EXIT_CODE_OK;
}

static int print_list(struct json_value json)
{
    static const char *const heads[] = {"PARKED AT", "REASON", "CODE", "ATTEMPTS", "TYPE", "SOURCE", "ID"};
    static const char *const names[][2] = {
        {"parked", "at"}, {"parked", "reason"}, {"parked", "code"}, {"parked", "attempts"},
        {"type", NULL},   {"source", NULL},     {"id", NULL}};
    struct ask_table *t = table_new(7);
    struct json_walk w;
    char text[256];
    size_t n = 0;
    uint64_t matched = member_number(json, "matched");
    for (size_t i = 0; i < 7; i++)
        table_cell(t, heads[i]);
    json_walk_begin(&w, items_of(json));
    for (; json_walk_next(&w); n++)
        for (size_t i = 0; i < 7; i++)
            table_cell(t, text_of(w.value, names[i][0], names[i][1], text, sizeof text));
    const char *why = text_of(json, "why", NULL, text, sizeof text);
    if (n == 0 && !*why)
        fprintf(stderr, "No events are parked%s.\n", member_number(json, "total") ? " that the filter matches" : "");
    table_print(t);
    if (n < matched)
        fprintf(stderr, "%zu of %llu; --limit shows more.\n", n, (unsigned long long)matched);
    if (member_is_true(json, "more"))
        fprintf(stderr, "%llu are parked; only %llu of them could be looked at at once%s%s.\n",
                (unsigned long long)member_number(json, "total"), (unsigned long long)member_number(json, "seen"),
                *why ? ": " : "", why);
    return EXIT_CODE_OK;
}

static int list(const struct invocation *in, struct client *cl, bool as_json)
{
    const struct question q = {.limit = option_value(in, "limit", NULL), .filter = option_value(in, "filter", NULL)};
    struct client_answer answer;
    struct json_value json;
    struct buf url;
    int code;
    if (in->operand_count == 0 && (q.limit || q.filter))
        return usage_error(in->command, "--limit and --filter are for the events of one KIND/NAME.");
    if (in->operand_count == 0) {
        ask_url(&url, in, "/leat/v1/dlq");
        code = ask(cl, in, "GET", &url, (struct slice){0}, &answer, &json) ? EXIT_CODE_OK : EXIT_CODE_FAILED;
        buf_fini(&url);
    } else {
        code = ask_list(in, cl, &q, &answer, &json);
    }
    if (code != EXIT_CODE_OK)
        return code;
    if (as_json)
        fwrite(answer.body.ptr, 1, answer.body.len, stdout);
    else
        code = in->operand_count ? print_list(json) : print_summary(json);
    buf_fini(&answer.body);
    return code;
}

static int with_client(const struct invocation *in, int (*work)(const struct invocation *, struct client *, bool))
{
    bool json;
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    struct client *cl = client_new(in);
    int code = cl ? work(in, cl, json) : EXIT_CODE_FAILED;
    client_free(cl);
    return code;
}

static int run_list(const struct invocation *in)
{
    return with_client(in, list);
}

/* ---- show, export ---- */

/* JSON in one line: a line feed in JSON text lies between its parts, never in a string. */
static void print_line(struct slice raw)
{
    for (size_t i = 0; i < raw.len; i++)
        putchar(raw.ptr[i] == '\n' || raw.ptr[i] == '\r' ? ' ' : raw.ptr[i]);
    putchar('\n');
}

static void print_event(struct json_value v)
{
    static const struct {
        const char *head, *path[4];
    } rows[] = {
        {"id", {"event", "id"}},
        {"source", {"event", "source"}},
        {"type", {"event", "type"}},
        {"parked at", {"parked", "at"}},
        {"reason", {"parked", "reason"}},
        {"attempts", {"parked", "attempts"}},
        {"first tried", {"parked", "firstAt"}},
        {"sent to", {"parked", "destination"}},
        {"code", {"parked", "code"}},
        {"error", {"parked", "error"}},
        {"error (base64)", {"parked", "errorBase64"}},
        {"dead letter sink", {"parked", "deadLetter", "destination"}},
        {"  code", {"parked", "deadLetter", "code"}},
        {"  error", {"parked", "deadLetter", "error"}},
    };
    char text[2048];
    struct json_value event;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (*member_text(v, rows[i].path, text, sizeof text))
            printf("%-17s %s\n", rows[i].head, text);
    if (json_find(v, (const char *const[]){"event", NULL}, &event)) {
        printf("\n");
        print_line(event.raw);
    }
}

static int show(const struct invocation *in, struct client *cl, bool as_json)
{
    struct client_answer answer;
    struct json_value json;
    struct json_walk w;
    if (in->operand_count < 2)
        return usage_error(in->command, "say which event: KIND/NAME ID. `leat dlq list KIND/NAME` lists them.");
    const struct question q = {.id = in->operands[1], .source = option_value(in, "source", NULL), .full = "true"};
    int code = ask_list(in, cl, &q, &answer, &json);
    if (code != EXIT_CODE_OK)
        return code;
    json_walk_begin(&w, items_of(json));
    for (size_t n = 0; json_walk_next(&w); n++) {
        if (as_json) {
            print_line(w.value.raw);
            continue;
        }
        if (n)
            printf("\n");
        print_event(w.value);
    }
    buf_fini(&answer.body);
    return EXIT_CODE_OK;
}

static int run_show(const struct invocation *in)
{
    return with_client(in, show);
}

static int export_events(const struct invocation *in, struct client *cl, bool as_json)
{
    const struct question q = {.limit = EVERYTHING, .filter = option_value(in, "filter", NULL), .full = "true"};
    struct client_answer answer;
    struct json_value json;
    struct json_walk w;
    char text[256];
    uint64_t n = 0;
    (void)as_json;
    int code = ask_list(in, cl, &q, &answer, &json);
    if (code != EXIT_CODE_OK)
        return code;
    json_walk_begin(&w, items_of(json));
    for (; json_walk_next(&w); n++)
        print_line(w.value.raw);
    const char *why = text_of(json, "why", NULL, text, sizeof text);
    if (n < member_number(json, "matched") || member_is_true(json, "more"))
        code = fail(in->command, EXIT_CODE_FAILED, "only %llu of %llu are here%s%s.", (unsigned long long)n,
                    (unsigned long long)member_number(json, "total"), *why ? ": " : "",
                    *why ? why : ", more than can be looked at at once. Discard these, then export again");
    if (fflush(stdout) != 0 || ferror(stdout))
        code = fail(in->command, EXIT_CODE_FAILED, "standard output cannot be written: %m.");
    buf_fini(&answer.body);
    return code;
}

static int run_export(const struct invocation *in)
{
    struct client *cl = client_new(in);
    int code = cl ? export_events(in, cl, true) : EXIT_CODE_FAILED;
    client_free(cl);
    return code;
}

/* ---- redrive, discard ---- */

/* The order's JSON; false (said) when the command line does not say which, or says it twice. */
static bool put_order(struct buf *out, const struct invocation *in, const char *rate)
{
    const char *filter = option_value(in, "filter", NULL), *source = option_value(in, "source", NULL);
    size_t ids = in->operand_count > 1 ? in->operand_count - 1 : 0;
    double number = 1;
    if ((ids > 0) + (filter != NULL) + option_given(in, "all") != 1) {
        usage_error(in->command, "say which events: their ids, --filter, or --all; one of them.");
        return false;
    }
    if (source && ids == 0) {
        usage_error(in->command, "--source goes with ids; a filter can ask for the source itself.");
        return false;
    }
    if (rate && !rate_read(in, rate, &number))
        return false;
    buf_printf(out, "{\"all\":%s", option_given(in, "all") ? "true" : "false");
    put_member(out, "filter", filter);
    put_member(out, "source", source);
    if (rate)
        buf_printf(out, ",\"rate\":%.17g", number);
    for (size_t i = 0; i < ids; i++) {
        buf_put_str(out, i ? "," : ",\"ids\":[");
        buf_put_json_string(out, slice_str(in->operands[i + 1]));
    }
    buf_put_str(out, ids ? "]}" : "}");
    return true;
}

static bool put_redrive(struct buf *out, const struct invocation *in)
{
    return put_order(out, in, option_value(in, "rate", NULL));
}

static bool put_discard(struct buf *out, const struct invocation *in)
{
    return put_order(out, in, NULL);
}

static int run_redrive(const struct invocation *in)
{
    return ask_order(in, "/leat/v1/dlq/", whose, "/redrive", put_redrive);
}

/* What is discarded is gone, so all of it is only discarded by somebody who means it. */
static bool confirmed(const struct invocation *in)
{
    char line[16];
    if (!option_given(in, "all") || option_given(in, "yes"))
        return true;
    if (!isatty(STDIN_FILENO)) {
        usage_error(in->command, "--all discards every parked event for ever; say --yes with it.");
        return false;
    }
    fprintf(stderr, "Discard every parked event of %s for ever? [y/N] ", in->operand_count ? in->operands[0] : "");
    if (fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y'))
        return true;
    fail(in->command, EXIT_CODE_USAGE, "nothing was discarded.");
    return false;
}

static int run_discard(const struct invocation *in)
{
    return confirmed(in) ? ask_order(in, "/leat/v1/dlq/", whose, "/discard", put_discard) : EXIT_CODE_USAGE;
}

/* ---- the table ---- */

#define FILTER_OPTION                                                                                                  \
    {                                                                                                                  \
        "filter", 0, "EXPR", "Only events that match: CESQL, or a Trigger's filters in JSON.", false                   \
    }
#define SOURCE_OPTION                                                                                                  \
    {                                                                                                                  \
        "source", 0, "URI", "Only of this source, where several sources use one id.", false                            \
    }

static const struct command dlq_list = {
    .name = "dlq list",
    .summary = "List parked events, or without KIND/NAME how many there are where",
    .operands = "[KIND/NAME]",
    .operand_max = 1,
    .text = "Oldest parked first. What is listed stays parked.",
    .examples = "  leat dlq list\n  leat dlq list subscription/orders\n"
                "  leat dlq list trigger/big --filter \"leatreason = 'deadline'\" --limit 20",
    .options = (const struct option_spec[]){CLIENT_OPTIONS,
                                            FILTER_OPTION,
                                            {"limit", 0, "N", "At most so many. Default: 100.", false},
                                            {"output", 'o', "FORM", "text or json. Default: text.", false},
                                            {0}},
    .run = run_list,
};

static const struct command dlq_show = {
    .name = "dlq show",
    .summary = "Show one parked event and what happened to it",
    .operands = "KIND/NAME ID",
    .operand_max = 2,
    .examples = "  leat dlq show subscription/orders 4711\n  leat dlq show trigger/big 4711 -o json",
    .options =
        (const struct option_spec[]){
            CLIENT_OPTIONS, SOURCE_OPTION, {"output", 'o', "FORM", "text or json. Default: text.", false}, {0}},
    .run = run_show,
};

static const struct command dlq_redrive = {
    .name = "dlq redrive",
    .summary = "Deliver parked events again, to the subscription that could not",
    .operands = "KIND/NAME [ID...]",
    .operand_max = SIZE_MAX,
    .text = "Nobody else gets them. An event that fails again is parked again; one is taken out of parking only after\n"
            "it was delivered, so after a crash some may be delivered twice. Events that are parked from now on are\n"
            "left alone. Ctrl-C leaves the redrive running in the server: `leat task cancel` stops it.",
    .examples = "  leat dlq redrive subscription/orders 4711\n  leat dlq redrive subscription/orders --all --rate 50\n"
                "  leat dlq redrive trigger/big --filter \"type LIKE 'order.%'\" --no-wait",
    .options =
        (const struct option_spec[]){CLIENT_OPTIONS,
                                     FILTER_OPTION,
                                     SOURCE_OPTION,
                                     {"all", 0, NULL, "Everything that is parked now.", false},
                                     {"rate", 0, "N", "At most so many a second. Default: no limit.", false},
                                     {"no-wait", 0, NULL, "Print the number of the task and do not wait.", false},
                                     {0}},
    .run = run_redrive,
};

static const struct command dlq_discard = {
    .name = "dlq discard",
    .summary = "Throw parked events away",
    .operands = "KIND/NAME [ID...]",
    .operand_max = SIZE_MAX,
    .text = "They are gone for ever; `leat dlq export` keeps them in a file.",
    .examples = "  leat dlq discard subscription/orders 4711\n  leat dlq discard trigger/big --all --yes",
    .options =
        (const struct option_spec[]){CLIENT_OPTIONS,
                                     FILTER_OPTION,
                                     SOURCE_OPTION,
                                     {"all", 0, NULL, "Everything that is parked now.", false},
                                     {"yes", 0, NULL, "Do not ask whether --all is meant.", false},
                                     {"no-wait", 0, NULL, "Print the number of the task and do not wait.", false},
                                     {0}},
    .run = run_discard,
};

static const struct command dlq_export = {
    .name = "dlq export",
    .summary = "Print parked events, one JSON object a line",
    .operands = "KIND/NAME",
    .operand_max = 1,
    .text = "Each line has the event as it was before it was parked (\"event\", the JSON format of CloudEvents) and\n"
            "beside it what happened (\"parked\"). What is exported stays parked.",
    .examples = "  leat dlq export subscription/orders > parked.jsonl\n"
                "  jq -c .event parked.jsonl | while read -r e; do leat send --to URL -f - <<< \"$e\"; done",
    .options = (const struct option_spec[]){CLIENT_OPTIONS, FILTER_OPTION, {0}},
    .run = run_export,
};

const struct command command_dlq = {
    .name = "dlq",
    .summary = "List, show, redrive, discard and export events that nobody took",
    .operands = "list|show|redrive|discard|export",
    .text =
        "An event whose delivery ends badly, and that no dead letter sink takes, is parked in the dead-letter channel\n"
        "of its subscription: it is never lost silently. KIND/NAME is the subscription, trigger, sequence or\n"
        "parallel that it was for.",
    .examples = "  leat dlq list\n  leat dlq redrive subscription/orders --all",
    .subcommands = (const struct command *const[]){&dlq_list, &dlq_show, &dlq_redrive, &dlq_discard, &dlq_export, NULL},
};
