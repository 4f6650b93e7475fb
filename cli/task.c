/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat task`: what runs in the server on somebody's order, and how far it is.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "clock.h"

#define POLL_NS (100 * NS_PER_MS) /* between two looks at a task that is watched */
#define LINE_EVERY 50             /* looks between two lines of progress where there is no terminal */

/* ---- watching ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static bool look(struct client *cl, const struct invocation *in, const char *method, uint64_t id,
                 struct client_answer *answer, struct json_value *json)
{
    struct buf url;
    ask_url(&url, in, "/leat/v1/tasks/");
    buf_put_u64(&url, id);
    bool good = ask(cl, in, method, &url, (struct slice){0}, answer, json);
    buf_fini(&url);
    return good;
}

struct progress {
    uint64_t id, total, done, failed;
    uint64_t offset, end; /* end 0: it goes through no log */
    char kind[32], state[32], message[512];
};

static void read_progress(struct json_value json, struct progress *p)
{
    p->id = member_number(json, "id");
    p->total = member_number(json, "total");
    p->done = member_number(json, "done");
    p->failed = member_number(json, "failed");
    p->offset = member_number(json, "offset");
    p->end = member_number(json, "end");
    member_text(json, (const char *const[]){"kind", NULL}, p->kind, sizeof p->kind);
    member_text(json, (const char *const[]){"state", NULL}, p->state, sizeof p->state);
    member_text(json, (const char *const[]){"message", NULL}, p->message, sizeof p->message);
}

static void say_progress(const struct progress *p, bool terminal, unsigned looks)
{
    unsigned long long ended = p->done + p->failed;
    char how_far[64];
    if (!terminal && looks % LINE_EVERY != LINE_EVERY - 1)
        return;
    if (p->end) /* how many of the events on the way count is found out by going there */
        snprintf(how_far, sizeof how_far, "at offset %llu of %llu", (unsigned long long)p->offset,
                 (unsigned long long)p->end);
    else
        snprintf(how_far, sizeof how_far, "of %llu", (unsigned long long)p->total);
    fprintf(stderr, "%stask %llu: %s, %llu %s, %llu failed%s", terminal ? "\r\033[K" : "", (unsigned long long)p->id,
            p->kind, ended, how_far, (unsigned long long)p->failed, terminal ? "" : "\n");
}

static int say_end(const struct progress *p)
{
    bool good = strcmp(p->state, "done") == 0 && p->failed == 0;
    if (good && strcmp(p->kind, "dry-run") == 0) {
        printf("task %llu: %llu would be delivered.\n", (unsigned long long)p->id, (unsigned long long)p->done);
        return EXIT_CODE_OK;
    }
    fprintf(good ? stdout : stderr, "task %llu: %s %s, %llu done, %llu failed%s%s.\n", (unsigned long long)p->id,
            p->kind, p->state, (unsigned long long)p->done, (unsigned long long)p->failed, p->message[0] ? ": " : "",
            p->message);
    return good ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

/* The events that the task tells of, such as the first ones of a dry run. */
static void print_events(struct json_value task)
{
    static const char *const heads[] = {"OFFSET", "APPENDED AT", "TYPE", "SOURCE", "ID"};
    static const char *const names[] = {"offset", "appendedAt", "type", "source", "id"};
    struct json_value items;
    struct json_walk w;
    char text[256];
    if (!json_find(task, (const char *const[]){"events", NULL}, &items) || items.type != JSON_ARRAY)
        return;
    struct ask_table *t = table_new(5);
    for (size_t i = 0; i < 5; i++)
        table_cell(t, heads[i]);
    json_walk_begin(&w, items);
    while (json_walk_next(&w))
        for (size_t i = 0; i < 5; i++)
            table_cell(t, member_text(w.value, (const char *const[]){names[i], NULL}, text, sizeof text));
    table_print(t);
}

static void pause_between(void)
{
    const struct timespec t = {0, POLL_NS};
    nanosleep(&t, NULL); /* cut short by Ctrl-C */
}

static int watch(struct client *cl, const struct invocation *in, uint64_t id)
{
    const struct sigaction action = {.sa_handler = on_interrupt};
    struct client_answer answer;
    struct json_value json;
    struct progress p;
    bool terminal = isatty(STDERR_FILENO);
    sigaction(SIGINT, &action, NULL);
    for (unsigned looks = 0; !interrupted; looks++) {
        if (!look(cl, in, "GET", id, &answer, &json))
            return EXIT_CODE_FAILED;
        read_progress(json, &p);
        bool ended = strcmp(p.state, "running") != 0;
        if (ended && terminal)
            fputs("\r\033[K", stderr);
        if (ended)
            print_events(json);
        buf_fini(&answer.body);
        if (ended)
            return say_end(&p);
        say_progress(&p, terminal, looks);
        pause_between();
    }
    fprintf(stderr,
            "%sTask %llu goes on in the server. `leat task cancel %llu` stops it, `leat task show %llu` says "
            "how far it is.\n",
            terminal ? "\n" : "", (unsigned long long)id, (unsigned long long)id, (unsigned long long)id);
    return EXIT_CODE_FAILED;
}

static int send_order(const struct invocation *in, struct buf *url, const struct buf *body)
{
    struct client_answer answer;
    struct json_value json;
    struct client *cl = client_new(in);
    int code = EXIT_CODE_FAILED;
    if (cl && ask(cl, in, "POST", url, buf_slice(body), &answer, &json)) {
        uint64_t id = member_number(json, "id");
        buf_fini(&answer.body);
        code = option_given(in, "no-wait") ? EXIT_CODE_OK : watch(cl, in, id);
        if (option_given(in, "no-wait"))
            printf("%llu\n", (unsigned long long)id);
    }
    client_free(cl);
    return code;
}

int ask_order(const struct invocation *in, const char *prefix, const char *say, const char *path,
              bool (*put)(struct buf *out, const struct invocation *in))
{
    struct buf url, body;
    int code = EXIT_CODE_USAGE;
    ask_url(&url, in, prefix);
    buf_init(&body, MANIFEST_BYTES_MAX);
    if (ask_url_put_target(&url, in, 0, say) && put(&body, in)) {
        buf_put_str(&url, path);
        code = send_order(in, &url, &body);
    }
    buf_fini(&url);
    buf_fini(&body);
    return code;
}

/* ---- verbs ---- */

static const struct option_spec task_options[] = {
    SERVER_OPTIONS,
    {"output", 'o', "FORM", "text or json. Default: text.", false},
    {0},
};

static const char *text_of(struct json_value v, const char *name, char *out, size_t size)
{
    return member_text(v, (const char *const[]){name, NULL}, out, size);
}

static void print_tasks(struct json_value json)
{
    static const char *const heads[] = {"ID", "KIND", "STATE", "DONE", "FAILED", "TOTAL", "STARTED", "WHAT"};
    static const char *const names[] = {"id", "kind", "state", "done", "failed", "total", "startedAt", "what"};
    struct ask_table *t = table_new(8);
    struct json_value items;
    struct json_walk w;
    char text[256];
    size_t n = 0;
    for (size_t i = 0; i < 8; i++)
        table_cell(t, heads[i]);
    if (json_find(json, (const char *const[]){"items", NULL}, &items) && items.type == JSON_ARRAY) {
        json_walk_begin(&w, items);
        for (; json_walk_next(&w); n++)
            for (size_t i = 0; i < 8; i++)
                table_cell(t, text_of(w.value, names[i], text, sizeof text));
    }
    table_print(t);
    if (n == 0)
        fprintf(stderr, "No tasks.\n");
}

static int run_list(const struct invocation *in)
{
    struct client_answer answer;
    struct json_value v;
    struct buf url;
    bool json;
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    struct client *cl = client_new(in);
    if (!cl)
        return EXIT_CODE_FAILED;
    ask_url(&url, in, "/leat/v1/tasks");
    bool good = ask(cl, in, "GET", &url, (struct slice){0}, &answer, &v);
    if (good && json)
        printf("%.*s", SLICE_ARG(buf_slice(&answer.body)));
    else if (good)
        print_tasks(v);
    if (good)
        buf_fini(&answer.body);
    buf_fini(&url);
    client_free(cl);
    return good ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static void print_one(struct json_value v)
{
    static const char *const names[] = {"id",    "kind",   "what", "state",     "canceling", "done", "failed",
                                        "total", "offset", "end",  "startedAt", "endedAt",   "by",   "message"};
    char text[1024];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (*text_of(v, names[i], text, sizeof text))
            printf("%-11s %s\n", names[i], text);
    print_events(v);
}

static bool read_id(const struct invocation *in, uint64_t *id)
{
    char *end = NULL;
    if (in->operand_count > 0)
        *id = strtoull(in->operands[0], &end, 10);
    if (end && *end == '\0' && end != in->operands[0] && in->operands[0][0] != '-')
        return true;
    usage_error(in->command, "say which: the number of a task. `leat task list` lists them.");
    return false;
}

static int one(const struct invocation *in, const char *method)
{
    struct client_answer answer;
    struct json_value v;
    uint64_t id;
    bool json;
    if (!wants_json(in, &json) || !read_id(in, &id))
        return EXIT_CODE_USAGE;
    struct client *cl = client_new(in);
    if (!cl)
        return EXIT_CODE_FAILED;
    bool good = look(cl, in, method, id, &answer, &v);
    if (good && json)
        printf("%.*s", SLICE_ARG(buf_slice(&answer.body)));
    else if (good)
        print_one(v);
    if (good)
        buf_fini(&answer.body);
    client_free(cl);
    return good ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static int run_show(const struct invocation *in)
{
    return one(in, "GET");
}

static int run_cancel(const struct invocation *in)
{
    return one(in, "DELETE");
}

static int run_wait(const struct invocation *in)
{
    uint64_t id;
    if (!read_id(in, &id))
        return EXIT_CODE_USAGE;
    struct client *cl = client_new(in);
    int code = cl ? watch(cl, in, id) : EXIT_CODE_FAILED;
    client_free(cl);
    return code;
}

static const struct command task_list = {
    .name = "task list",
    .summary = "List tasks that run, and the last hundred that have ended",
    .operands = "",
    .examples = "  leat task list",
    .options = task_options,
    .run = run_list,
};

static const struct command task_show = {
    .name = "task show",
    .summary = "Say how far a task is",
    .operands = "ID",
    .operand_max = 1,
    .examples = "  leat task show 3",
    .options = task_options,
    .run = run_show,
};

static const struct command task_wait = {
    .name = "task wait",
    .summary = "Wait for the end of a task",
    .operands = "ID",
    .operand_max = 1,
    .text = "The exit code is 0 when all of it was done.",
    .examples = "  leat task wait 3",
    .options = (const struct option_spec[]){CLIENT_OPTIONS, {0}},
    .run = run_wait,
};

static const struct command task_cancel_verb = {
    .name = "task cancel",
    .summary = "End a task early",
    .operands = "ID",
    .operand_max = 1,
    .text = "What is under way is finished; nothing further is begun. What was done stays done.",
    .examples = "  leat task cancel 3",
    .options = task_options,
    .run = run_cancel,
};

const struct command command_task = {
    .name = "task",
    .summary = "Look at and cancel what runs in the server on somebody's order",
    .operands = "list|show|wait|cancel",
    .examples = "  leat task list\n  leat task cancel 3",
    .subcommands = (const struct command *const[]){&task_list, &task_show, &task_wait, &task_cancel_verb, NULL},
};
