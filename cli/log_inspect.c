/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat log inspect`: segments, channels, cursors and losses of a log, as tables or as JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log_owners.h"
#include "log_tool.h"

#define OWNER_MAX 600

/* ---- tables ---- */

static struct ask_table *table_with(const char *const *heads, size_t count)
{
    struct ask_table *t = table_new(count);
    for (size_t i = 0; i < count; i++)
        table_cell(t, heads[i]);
    return t;
}
#define TABLE(...)                                                                                                     \
    table_with((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void print_segments(const struct log_inspect *i)
{
    struct ask_table *t = TABLE("SEGMENT", "LAST", "EVENTS", "USED", "OF", "MADE", "STATE");
    for (size_t n = 0; n < i->segment_count; n++) {
        const struct log_inspect_segment *s = &i->segments[n];
        table_number(t, s->first);
        table_number(t, s->last);
        table_number(t, s->events);
        table_bytes(t, s->bytes);
        table_bytes(t, s->size);
        table_time(t, s->made_wall_ns);
        table_cell(t, s->newest ? "written to" : s->compacted ? "compacted" : "full");
    }
    putchar('\n');
    table_print(t);
}

static void print_channels(const struct log_inspect *i, const struct log_owners *owners)
{
    struct ask_table *t = TABLE("CHANNEL", "EVENTS", "BYTES", "FIRST", "LAST", "OLDEST", "NEWEST", "WHAT");
    char owner[OWNER_MAX];
    for (size_t n = 0; n < i->channel_count; n++) {
        const struct log_inspect_channel *c = &i->channels[n];
        table_cell(t, c->name);
        table_number(t, c->events);
        table_bytes(t, c->bytes);
        table_number(t, c->first);
        table_number(t, c->last);
        table_time(t, c->first_wall_ns);
        table_time(t, c->last_wall_ns);
        table_cell(t, log_owner(owners, c->name, owner, sizeof owner));
    }
    if (i->channel_count)
        putchar('\n');
    table_print(t);
}

/* The owner's name where it is known. */
static void owner_cell(struct ask_table *t, const struct log_owners *owners, const char *name)
{
    char owner[OWNER_MAX];
    log_owner(owners, name, owner, sizeof owner);
    table_cell(t, *owner ? owner : name);
}

static void print_cursors(const struct log_inspect *i, const struct log_owners *owners)
{
    struct ask_table *t = TABLE("CURSOR OF", "CHANNEL", "AT", "BEHIND", "BYTES", "OLDEST", "UNUSED SINCE");
    for (size_t n = 0; n < i->cursor_count; n++) {
        const struct log_inspect_cursor *c = &i->cursors[n];
        owner_cell(t, owners, c->name);
        owner_cell(t, owners, *c->channel ? c->channel : "(gone)");
        if (c->readable)
            table_number(t, c->from);
        else
            table_cell(t, "unreadable");
        table_number(t, c->events);
        table_bytes(t, c->bytes);
        table_time(t, c->oldest_wall_ns);
        table_time(t, c->unused_since_wall_ns);
    }
    if (i->cursor_count)
        putchar('\n');
    table_print(t);
}

static void print_losses(const struct log_inspect *i)
{
    struct ask_table *t = TABLE("LOST FROM", "TO", "WHY");
    for (size_t n = 0; n < i->loss_count; n++) {
        table_number(t, i->losses[n].first);
        table_number(t, i->losses[n].last);
        table_cell(t, i->losses[n].why);
    }
    if (i->loss_count)
        printf("\n%llu sequences are lost\n", (unsigned long long)i->lost);
    table_print(t);
}

static void print_tables(const struct log_inspect *i, const struct log_owners *owners)
{
    char used[32], size[32];
    printf("%s: format %u, id %s\n", i->dir, i->format, i->id);
    if (i->committed)
        printf("sequences %llu to %llu, ", (unsigned long long)i->first, (unsigned long long)i->committed);
    printf("%llu events, %s used of %s in %zu segments\n", (unsigned long long)i->events, bytes_text(i->bytes, used),
           bytes_text(i->size, size), i->segment_count);
    print_segments(i);
    print_channels(i, owners);
    print_cursors(i, owners);
    print_losses(i);
}

/* ---- JSON ---- */

static void put_string(struct buf *b, const char *before, const char *value)
{
    buf_put_str(b, before);
    buf_put_json_string(b, slice_str(value));
}

static void put_number(struct buf *b, const char *name, uint64_t n)
{
    buf_printf(b, ",\"%s\":%llu", name, (unsigned long long)n);
}

static void put_segments(struct buf *b, const struct log_inspect *i)
{
    buf_put_str(b, ",\"segments\":[");
    for (size_t n = 0; n < i->segment_count; n++) {
        const struct log_inspect_segment *s = &i->segments[n];
        buf_printf(b, "%s{\"first\":%llu", n ? "," : "", (unsigned long long)s->first);
        put_number(b, "last", s->last);
        put_number(b, "events", s->events);
        put_number(b, "bytes", s->bytes);
        put_number(b, "size", s->size);
        put_time(b, "made", s->made_wall_ns);
        buf_printf(b, ",\"newest\":%s,\"compacted\":%s}", s->newest ? "true" : "false",
                   s->compacted ? "true" : "false");
    }
    buf_put_char(b, ']');
}

static void put_owner(struct buf *b, const struct log_owners *owners, const char *name)
{
    char owner[OWNER_MAX];
    put_string(b, ",\"owner\":", log_owner(owners, name, owner, sizeof owner));
}

static void put_channels(struct buf *b, const struct log_inspect *i, const struct log_owners *owners)
{
    buf_put_str(b, ",\"channels\":[");
    for (size_t n = 0; n < i->channel_count; n++) {
        const struct log_inspect_channel *c = &i->channels[n];
        put_string(b, n ? ",{\"name\":" : "{\"name\":", c->name);
        put_owner(b, owners, c->name);
        put_number(b, "number", c->number);
        put_number(b, "events", c->events);
        put_number(b, "bytes", c->bytes);
        put_number(b, "first", c->first);
        put_number(b, "last", c->last);
        put_time(b, "oldest", c->first_wall_ns);
        put_time(b, "newest", c->last_wall_ns);
        buf_put_char(b, '}');
    }
    buf_put_char(b, ']');
}

static void put_cursors(struct buf *b, const struct log_inspect *i, const struct log_owners *owners)
{
    buf_put_str(b, ",\"cursors\":[");
    for (size_t n = 0; n < i->cursor_count; n++) {
        const struct log_inspect_cursor *c = &i->cursors[n];
        put_string(b, n ? ",{\"name\":" : "{\"name\":", c->name);
        put_owner(b, owners, c->name);
        put_string(b, ",\"channel\":", c->channel);
        buf_printf(b, ",\"readable\":%s", c->readable ? "true" : "false");
        put_number(b, "at", c->from);
        put_number(b, "behindEvents", c->events);
        put_number(b, "behindBytes", c->bytes);
        put_time(b, "oldest", c->oldest_wall_ns);
        put_time(b, "unusedSince", c->unused_since_wall_ns);
        buf_put_char(b, '}');
    }
    buf_put_char(b, ']');
}

static void put_losses(struct buf *b, const struct log_inspect *i)
{
    buf_put_str(b, ",\"losses\":[");
    for (size_t n = 0; n < i->loss_count; n++) {
        buf_printf(b, "%s{\"first\":%llu", n ? "," : "", (unsigned long long)i->losses[n].first);
        put_number(b, "last", i->losses[n].last);
        put_string(b, ",\"why\":", i->losses[n].why);
        buf_put_char(b, '}');
    }
    buf_put_char(b, ']');
}

static int print_json(const struct invocation *in, const struct log_inspect *i, const struct log_owners *owners)
{
    struct buf b;
    buf_init(&b, 1u << 30);
    put_string(&b, "{\"directory\":", i->dir);
    put_string(&b, ",\"id\":", i->id);
    put_number(&b, "format", i->format);
    put_number(&b, "first", i->first);
    put_number(&b, "last", i->committed);
    put_number(&b, "events", i->events);
    put_number(&b, "bytes", i->bytes);
    put_number(&b, "size", i->size);
    put_number(&b, "lost", i->lost);
    put_segments(&b, i);
    put_channels(&b, i, owners);
    put_cursors(&b, i, owners);
    put_losses(&b, i);
    buf_put_str(&b, "}\n");
    const bool whole = buf_error(&b) == OK;
    if (whole)
        fwrite(b.ptr, 1, b.len, stdout);
    buf_fini(&b);
    return whole ? EXIT_CODE_OK : fail(in->command, EXIT_CODE_FAILED, "out of memory.");
}

static int run(const struct invocation *in)
{
    struct log_inspect *i = NULL;
    struct log_progress progress = {0};
    struct diag d = {0};
    bool json;
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    char *dir = log_tool_dir(in);
    if (!dir)
        return EXIT_CODE_USAGE;
    enum err e = log_inspect(dir, true, log_progress, &progress, &i, &d);
    int code = EXIT_CODE_OK;
    log_progress_end(&progress);
    if (e != OK)
        code = log_tool_fail(in, e, &d);
    struct log_owners *owners = e == OK ? log_owners_read(i->dir) : NULL;
    if (e == OK && json)
        code = print_json(in, i, owners);
    else if (e == OK)
        print_tables(i, owners);
    log_owners_free(owners);
    log_inspect_free(i);
    free(dir);
    return code;
}

const struct command log_inspect_command = {
    .name = "log inspect",
    .summary = "Say what is in a log: segments, channels, cursors, losses",
    .operands = "[DIR]",
    .operand_max = 1,
    .text = "BEHIND is how many events of its channel a cursor has not settled, its subscription's filter aside; the\n"
            "server writes cursors down at most a second late. Offsets of users are these sequences.\n"
            "DIR is a data directory or its log folder; default: the data directory. A server may be running on it.",
    .examples =
        "  leat log inspect\n  leat log inspect /var/lib/leat -o json | jq '.cursors[] | select(.behindEvents > 1000)'",
    .options = (const struct option_spec[]){{"output", 'o', "FORM", "text or json. Default: text.", false}, {0}},
    .run = run,
};
