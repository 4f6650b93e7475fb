/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat log`: what is in a log on disk, whether it is whole, and its events.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ce_http.h"
#include "chosen_dir.h"
#include "clock.h"
#include "filter.h"
#include "log_tool.h"
#include "text.h"

#define LINE_MAX_BYTES (1u << 30) /* an event's line: the largest event, escaped */

/* ---- what they share ---- */

char *log_tool_dir(const struct invocation *in)
{
    return chosen_dir(in->command, in->operand_count ? in->operands[0] : NULL);
}

int log_tool_fail(const struct invocation *in, enum err e, const struct diag *d)
{
    return fail(in->command, e == ERR_INVALID || e == ERR_UNSUPPORTED ? EXIT_CODE_INPUT : EXIT_CODE_FAILED, "%s.",
                *d->text ? d->text : err_name(e));
}

bool log_progress(void *arg, uint64_t done, uint64_t total)
{
    struct log_progress *p = arg;
    const uint64_t now = clock_monotonic_ns(clock_system());
    if (!p->begun_ns)
        p->begun_ns = now;
    if (!isatty(STDERR_FILENO) || now - p->begun_ns < NS_PER_S || now - p->shown_ns < NS_PER_S / 5)
        return true;
    char a[32], b[32];
    p->shown_ns = now;
    fprintf(stderr, "\r%s of %s, %.0f %%\033[K", bytes_text(done, a), bytes_text(total, b),
            total ? 100.0 * (double)done / (double)total : 100.0);
    return true;
}

void log_progress_end(struct log_progress *p)
{
    if (p->shown_ns)
        fprintf(stderr, "\r\033[K");
}

const char *bytes_text(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double n = (double)bytes;
    size_t u = 0;
    for (; n >= 1024 && u + 1 < sizeof units / sizeof units[0]; u++)
        n /= 1024;
    snprintf(out, 32, u ? "%.1f %s" : "%.0f %s", n, units[u]);
    return out;
}

void table_bytes(struct ask_table *t, uint64_t bytes)
{
    char text[32];
    table_cell(t, bytes_text(bytes, text));
}

void table_number(struct ask_table *t, uint64_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    table_cell(t, text);
}

static void put_plain_time(struct buf *out, int64_t wall_ns, int digits)
{
    rfc3339_put(out, wall_ns, digits);
}

void table_time(struct ask_table *t, int64_t wall_ns)
{
    struct buf text;
    buf_init(&text, 64);
    if (wall_ns)
        put_plain_time(&text, wall_ns, 0);
    buf_put_char(&text, '\0');
    table_cell(t, buf_error(&text) == OK ? text.ptr : "");
    buf_fini(&text);
}

void put_time(struct buf *out, const char *name, int64_t wall_ns)
{
    buf_printf(out, ",\"%s\":%s", name, wall_ns ? "\"" : "null");
    if (wall_ns) {
        put_plain_time(out, wall_ns, 9);
        buf_put_char(out, '"');
    }
}

/* ---- verify ---- */

struct verify {
    struct log_progress progress; /* first: it is the argument of both callbacks */
    bool json;
    struct buf findings; /* JSON */
};

static void found(void *arg, const struct log_finding *f)
{
    struct verify *v = arg;
    const bool damage = f->verdict == LOG_VERDICT_DAMAGE;
    if (v->json) {
        buf_printf(&v->findings,
                   "%s{\"verdict\":\"%s\",\"first\":%llu,\"last\":%llu,\"place\":", v->findings.len ? "," : "",
                   damage ? "damage" : "note", (unsigned long long)f->first, (unsigned long long)f->last);
        buf_put_json_string(&v->findings, slice_str(f->place));
        buf_put_str(&v->findings, ",\"text\":");
        buf_put_json_string(&v->findings, slice_str(f->text));
        buf_put_char(&v->findings, '}');
        return;
    }
    const bool colours = colours_on(STDOUT_FILENO);
    log_progress_end(&v->progress);
    printf("%s%s%s  %s: %s", colours ? (damage ? "\033[31m" : "\033[33m") : "", damage ? "damage" : "note  ",
           colours ? "\033[0m" : "", f->place, f->text);
    if (f->first && f->first == f->last)
        printf(" (sequence %llu)", (unsigned long long)f->first);
    else if (f->first)
        printf(" (sequences %llu to %llu)", (unsigned long long)f->first, (unsigned long long)f->last);
    putchar('\n');
}

static void print_verified(const struct verify *v, const char *dir, const struct log_verified *sums)
{
    char bytes[32];
    if (!v->json) {
        printf("%s: %llu segments, %llu records, %llu events, %s read; %llu damaged, %llu notes\n", dir,
               (unsigned long long)sums->segments, (unsigned long long)sums->records, (unsigned long long)sums->events,
               bytes_text(sums->bytes, bytes), (unsigned long long)sums->damages, (unsigned long long)sums->notes);
        return;
    }
    printf("{\"segments\":%llu,\"records\":%llu,\"events\":%llu,\"bytes\":%llu,\"damages\":%llu,\"notes\":%llu,"
           "\"findings\":[%.*s]}\n",
           (unsigned long long)sums->segments, (unsigned long long)sums->records, (unsigned long long)sums->events,
           (unsigned long long)sums->bytes, (unsigned long long)sums->damages, (unsigned long long)sums->notes,
           SLICE_ARG(buf_slice(&v->findings)));
}

static int run_verify(const struct invocation *in)
{
    struct verify v = {0};
    struct log_verified sums = {0};
    struct diag d = {0};
    if (!wants_json(in, &v.json))
        return EXIT_CODE_USAGE;
    char *dir = log_tool_dir(in);
    if (!dir)
        return EXIT_CODE_USAGE;
    buf_init(&v.findings, LINE_MAX_BYTES);
    enum err e = log_verify(dir, false, found, log_progress, &v, &sums, &d);
    log_progress_end(&v.progress);
    int code = e == OK ? sums.damages ? EXIT_CODE_FAILED : EXIT_CODE_OK : log_tool_fail(in, e, &d);
    if (e == OK)
        print_verified(&v, dir, &sums);
    buf_fini(&v.findings);
    free(dir);
    return code;
}

/* ---- dump ---- */

struct dump {
    const struct invocation *in;
    struct filter *filter;
    bool array;
    uint64_t count;
    struct buf line;
    bool broken; /* standard output is closed, or there is no memory */
};

static bool dump_event(void *arg, const struct log_dump_event *e)
{
    struct dump *k = arg;
    struct buf *b = &k->line;
    if (!filter_match(k->filter, e->event))
        return true;
    buf_clear(b);
    buf_printf(b, "%s{\"offset\":%llu", !k->array ? "" : k->count ? ",\n" : "[", (unsigned long long)e->sequence);
    put_time(b, "time", e->wall_ns);
    buf_put_str(b, ",\"channel\":");
    buf_put_json_string(b, slice_str(e->channel));
    buf_put_str(b, ",\"event\":");
    ce_json_encode(e->event, b);
    buf_put_str(b, k->array ? "}" : "}\n");
    k->count++;
    k->broken = buf_error(b) != OK || fwrite(b->ptr, 1, b->len, stdout) != b->len;
    return !k->broken;
}

/* A sequence, or a time, or how long ago, as `leat replay` takes them; false (said) when it is neither. */
static bool read_place(const struct invocation *in, const char *name, uint64_t *sequence, int64_t *wall_ns)
{
    const char *v = option_value(in, name, NULL);
    uint64_t ago_ns;
    if (!v || strcmp(v, strcmp(name, "from") == 0 ? "earliest" : "latest") == 0)
        return true;
    if (decimal_parse(slice_str(v), UINT64_MAX, sequence) == OK && *sequence > 0)
        return true;
    if (rfc3339_parse(slice_str(v), wall_ns) == OK)
        return true;
    if (duration_parse(slice_str(v), &ago_ns, NULL) == OK && ago_ns <= INT64_MAX) {
        *wall_ns = clock_wall_ns(clock_system()) - (int64_t)ago_ns;
        return true;
    }
    usage_error(in->command, "--%s: '%s' is no offset, no time as 2026-01-31T12:00:00Z, and no duration ago as 2h.",
                name, v);
    return false;
}

static bool read_filter(const struct invocation *in, struct filter **out)
{
    const char *v = option_value(in, "filter", NULL);
    struct problems problems;
    if (!v)
        return true;
    problems_init(&problems);
    enum err e = filter_parse(slice_str(v), out, &problems);
    if (e != OK)
        usage_error(in->command, "--filter: %s", problems.count ? problems.list[0].text : err_name(e));
    problems_fini(&problems);
    return e == OK;
}

static int dump_all(struct dump *k, const char *dir, const struct log_dump_query *q)
{
    struct diag d = {0};
    uint64_t lost = 0;
    enum err e = log_dump(dir, q, dump_event, k, &lost, &d);
    if (e != OK)
        return log_tool_fail(k->in, e, &d);
    if (k->array)
        fputs(k->count ? "]\n" : "[]\n", stdout);
    if (k->broken || fflush(stdout) != 0)
        return fail(k->in->command, EXIT_CODE_FAILED, "standard output cannot be written: %m.");
    if (lost)
        return fail(k->in->command, EXIT_CODE_FAILED,
                    "%llu records of the log are damaged and were left out; `leat log verify` names them.",
                    (unsigned long long)lost);
    return EXIT_CODE_OK;
}

static int run_dump(const struct invocation *in)
{
    const char *form = option_value(in, "output", "jsonl");
    struct dump k = {.in = in, .array = strcmp(form, "json") == 0};
    struct log_dump_query q = {
        .channel = option_value(in, "channel", NULL), .from_wall_ns = INT64_MIN, .to_wall_ns = INT64_MAX};
    if (!k.array && strcmp(form, "jsonl") != 0)
        return usage_error(in->command, "-o: '%s' is neither json nor jsonl.", form);
    if (!read_place(in, "from", &q.from, &q.from_wall_ns) || !read_place(in, "to", &q.to, &q.to_wall_ns) ||
        !read_filter(in, &k.filter))
        return EXIT_CODE_USAGE;
    char *dir = log_tool_dir(in);
    buf_init(&k.line, LINE_MAX_BYTES);
    int code = dir ? dump_all(&k, dir, &q) : EXIT_CODE_USAGE;
    buf_fini(&k.line);
    filter_unref(k.filter);
    free(dir);
    return code;
}

/* ---- the table ---- */

#define DIR_TEXT                                                                                                       \
    "DIR is a data directory or its log folder; default: the data directory. A server may be running on it: nothing\n" \
    "is locked and nothing is written."

static const struct command verify_command = {
    .name = "log verify",
    .summary = "Read every record of a log and say what is damaged",
    .operands = "[DIR]",
    .operand_max = 1,
    .text = "Checks heads, checksums, the order of sequences, events, the catalogue, indexes, and that no cursor is\n"
            "ahead of the data. Exits with 1 when something is damaged, and names the sequences; a note is no "
            "damage.\n" DIR_TEXT,
    .examples = "  leat log verify\n  leat log verify /var/lib/leat -o json",
    .options = (const struct option_spec[]){{"output", 'o', "FORM", "text or json. Default: text.", false}, {0}},
    .run = run_verify,
};

static const struct command dump_command = {
    .name = "log dump",
    .summary = "Print the events of a log, one JSON object a line",
    .operands = "[DIR]",
    .operand_max = 1,
    .text =
        "Each line has the event (\"event\", the JSON format of CloudEvents) with its offset, the time at which it\n"
        "was appended, and its channel.\n" DIR_TEXT,
    .examples = "  leat log dump --channel default/orders --from 2026-01-31T12:00:00Z\n"
                "  leat log dump /backup/leat --from 1000 --to 2000 --filter \"type LIKE 'order.%'\" | jq -c .event",
    .options =
        (const struct option_spec[]){
            {"channel", 0, "NS/NAME", "Only of this channel; `leat log inspect` lists them.", false},
            {"from", 0, "OFFSET|TIME", "From this offset on, or appended at or after this time. Default: earliest.",
             false},
            {"to", 0, "OFFSET|TIME", "Up to this offset, or appended before this time. Default: latest.", false},
            {"filter", 0, "EXPR", "Only events that match: CESQL, or a Trigger's filters in JSON.", false},
            {"output", 'o', "FORM", "jsonl, or json for one array. Default: jsonl.", false},
            {0}},
    .run = run_dump,
};

const struct command command_log = {
    .name = "log",
    .summary = "Look into the durable log on disk: what is there, is it whole, its events",
    .operands = "inspect|verify|dump",
    .text = DIR_TEXT,
    .examples = "  leat log inspect\n  leat log verify /var/lib/leat\n  leat log dump --channel default/orders",
    .subcommands = (const struct command *const[]){&log_inspect_command, &verify_command, &dump_command, NULL},
};
