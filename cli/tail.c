/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat tail`: prints events as they enter a channel, until Ctrl-C.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "text.h"

static const struct option_spec options[] = {
    CLIENT_OPTIONS,
    {"filter", 0, "CESQL", "Only events for which this expression is true.", false},
    {"count", 0, "N", "End after N events. Default: go on.", false},
    {"output", 'o', "text|json", "Default: text. json: each event's JSON envelope, one a line.", false},
    {0},
};

struct tail {
    const struct command *command;
    bool json, colours;
    uint64_t count, seen; /* count 0: without end */
    bool told;            /* why the server ended it */
};

static const char *text_in(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

/* TIME, TYPE, SOURCE, ID, SUBJECT and SIZE in columns; long values push the rest to the right. */
static void print_text(const struct tail *t, const cJSON *line)
{
    const cJSON *event = cJSON_GetObjectItemCaseSensitive(line, "event");
    const char *time = text_in(line, "time"), *subject = text_in(event, "subject");
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(line, "size");
    const char *dim = t->colours ? "\033[2m" : "", *bold = t->colours ? "\033[1m" : "",
               *off = t->colours ? "\033[0m" : "";
    printf("%s%.12s%s  %s%-28s%s  %-24s  %s", dim, strlen(time) > 23 ? time + 11 : time, off, bold,
           text_in(event, "type"), off, text_in(event, "source"), text_in(event, "id"));
    if (*subject)
        printf("  subject=%s", subject);
    printf("  %s%.0f bytes%s\n", dim, cJSON_IsNumber(size) ? size->valuedouble : 0.0, off);
}

/* The envelope as the server wrote it: a number in it may be longer than a parser keeps. */
static void print_json(struct slice line)
{
    static const char mark[] = ",\"event\":";
    const char *at = memmem(line.ptr, line.len, mark, sizeof mark - 1);
    if (!at)
        return;
    struct slice event = slice_from(line, (size_t)(at - line.ptr) + sizeof mark - 1);
    fwrite(event.ptr, 1, event.len - 1, stdout); /* without the brace of the line */
    putchar('\n');
}

static void print_event(struct tail *t, const cJSON *tree, struct slice line)
{
    if (t->json)
        print_json(line);
    else
        print_text(t, tree);
    fflush(stdout);
    t->seen++;
}

static bool on_line(void *arg, struct slice line)
{
    struct tail *t = arg;
    cJSON *tree = cJSON_ParseWithLength(line.ptr, line.len);
    const cJSON *left_out = cJSON_GetObjectItemCaseSensitive(tree, "leftOut");
    const char *end = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, "end"));
    if (cJSON_GetObjectItemCaseSensitive(tree, "event"))
        print_event(t, tree, line);
    else if (cJSON_IsNumber(left_out))
        fprintf(stderr, "leat tail: %.0f events were left out: they came faster than they were read.\n",
                left_out->valuedouble);
    else if (end)
        fail(t->command, EXIT_CODE_FAILED, "%s.", end);
    t->told = t->told || end;
    cJSON_Delete(tree);
    return t->count == 0 || t->seen < t->count;
}

static int watch(const struct invocation *in, struct tail *t)
{
    const struct kind *kind;
    const char *name, *filter = option_value(in, "filter", NULL);
    char word[256];
    struct buf url;
    if (!parse_reference(in, &kind, &name))
        return EXIT_CODE_USAGE;
    if (!name)
        return usage_error(in->command, "which %s? Expected KIND/NAME.", kind->singular);
    buf_init(&url, 1u << 20);
    buf_printf(&url, "%s/leat/v1/tail", server_url(in));
    snprintf(word, sizeof word, "%s.%s", kind->plural, kind->group);
    url_put_query(&url, "kind", slice_str(word));
    url_put_query(&url, "namespace", slice_str(namespace_of(in)));
    url_put_query(&url, "name", slice_str(name));
    if (filter)
        url_put_query(&url, "filter", slice_str(filter));
    buf_put_char(&url, '\0');
    enum stream_end end = buf_error(&url) == OK ? client_stream(in, url.ptr, on_line, t) : STREAM_FAILED;
    if (end == STREAM_ENDED && !t->told)
        fail(in->command, EXIT_CODE_FAILED, "the server ended it without a reason.");
    buf_fini(&url);
    return end == STREAM_STOPPED || end == STREAM_INTERRUPTED ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static int run(const struct invocation *in)
{
    struct tail t = {.command = in->command, .colours = colours_on(STDOUT_FILENO)};
    const char *count = option_value(in, "count", NULL);
    if (!wants_json(in, &t.json))
        return EXIT_CODE_USAGE;
    if (count && (decimal_parse(slice_str(count), UINT32_MAX, &t.count) != OK || t.count == 0))
        return usage_error(in->command, "--count: '%s' is no number from 1 on.", count);
    if (in->operand_count == 0)
        return usage_error(in->command, "expected KIND/NAME, such as broker/main.");
    return watch(in, &t);
}

const struct command command_tail = {
    .name = "tail",
    .summary = "Show events as they pass",
    .operands = "KIND/NAME",
    .operand_max = 2,
    .text = "Of a Channel, Broker, Sequence or Parallel: the events that enter it. Of a Subscription or Trigger: those "
            "that its filter lets pass. Of processes that share a bus, each shows what came in by itself.\n"
            "Delivery never waits for it: what comes faster than it is read is left out, and their number is said. "
            "Ctrl-C ends it.",
    .examples = "  leat tail broker/main\n"
                "  leat tail trigger/audit --filter \"type LIKE 'order.%'\" -o json\n"
                "  leat tail channel/orders --count 1",
    .options = options,
    .uses_kinds = true,
    .run = run,
};
