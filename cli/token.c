/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat token`: makes, lists and revokes tokens, in the file that `leat serve` reads. It asks no server: who may write
 * the file may make tokens.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chosen_dir.h"
#include "clock.h"
#include "data_dir.h"
#include "log.h"
#include "text.h"
#include "tokens.h"

#define FILE_OPTIONS                                                                                                   \
    {"tokens", 0, "FILE", "The file. Default: tokens in the data directory.", false},                                  \
    {                                                                                                                  \
        "data-dir", 0, "DIR", DATA_DIR_HELP, false                                                                     \
    }

static const char head[] = "# Who may use the API: NAME sha256:DIGITS ROLE NAMESPACE|* EXPIRES|-\n"
                           "# Written by `leat token`; the server reads it again when it has changed.\n";

/* The file as it is, locked against other writers. */
struct edit {
    const struct command *command;
    char *path;         /* owned */
    int lock;           /* -1: none */
    struct buf text;    /* empty when it is not there */
    struct tokens list; /* what it says */
};

static void edit_end(struct edit *e)
{
    if (e->lock >= 0)
        close(e->lock);
    tokens_fini(&e->list);
    buf_fini(&e->text);
    free(e->path);
}

/* The path of the file; false (said). `make`: the data directory is made when it is not there. */
static bool choose(struct edit *e, const struct invocation *in, bool make)
{
    struct diag d = {0};
    const char *given = option_value(in, "tokens", NULL);
    if (given) {
        e->path = strdup(given);
        return e->path != NULL;
    }
    char *dir = chosen_dir(in->command, option_value(in, "data-dir", NULL));
    bool good = dir != NULL;
    if (good && make && data_dir_make(dir, &d) != OK) {
        fail(in->command, EXIT_CODE_FAILED, "%s.", d.text);
        good = false;
    }
    good = good && asprintf(&e->path, "%s/tokens", dir) > 0;
    free(dir);
    return good;
}

static bool edit_begin(struct edit *e, const struct invocation *in, bool make)
{
    struct diag d = {0};
    enum err err = OK;
    *e = (struct edit){.command = in->command, .lock = -1};
    buf_init(&e->text, TOKENS_BYTES_MAX);
    if (!choose(e, in, make))
        return false;
    if (make && (e->lock = tokens_lock(e->path, &d)) < 0)
        err = ERR_IO;
    if (err == OK)
        err = tokens_read(e->path, &e->text, &d);
    if (err == ERR_NOTFOUND && make)
        err = OK;
    else if (err == OK)
        err = tokens_parse(buf_slice(&e->text), &e->list, &d);
    if (err == OK)
        return true;
    if (d.line)
        fail(in->command, EXIT_CODE_INPUT, "%s, line %d: %s.", e->path, d.line, d.text);
    else
        fail(in->command, err == ERR_NOTFOUND ? EXIT_CODE_FAILED : EXIT_CODE_INPUT, "%s.", d.text);
    return false;
}

static bool edit_write(struct edit *e, const struct buf *text)
{
    struct diag d = {0};
    enum err err = buf_error(text);
    if (err == OK)
        err = tokens_write(e->path, buf_slice(text), &d);
    if (err != OK)
        fail(e->command, EXIT_CODE_FAILED, "%s.", d.text[0] ? d.text : err_name(err));
    return err == OK;
}

static const struct token *find(const struct tokens *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->list[i].name, name) == 0)
            return &list->list[i];
    return NULL;
}

/* ---- create ---- */

/* A name, or a namespace, from an option; false (said). */
static bool read_name(const struct invocation *in, const char *option, const char *text, char out[TOKEN_NAME_MAX + 1])
{
    if (!token_name_valid(slice_str(text))) {
        usage_error(in->command, "--%s: '%s' is to be of lower-case letters, digits and dashes, %d at most.", option,
                    text, TOKEN_NAME_MAX);
        return false;
    }
    memcpy(out, text, strlen(text) + 1);
    return true;
}

/* "30d" as well as what every duration may be. */
static bool read_expiry(const struct invocation *in, const char *text, int64_t *out)
{
    uint64_t ns = 0, days = 0;
    struct diag d = {0};
    size_t n = strlen(text);
    const int64_t now = clock_wall_ns(clock_system());
    if (n > 1 && text[n - 1] == 'd' && decimal_parse(slice_of(text, n - 1), 36500, &days) == OK)
        ns = days * 24 * 3600 * NS_PER_S;
    else if (duration_parse(slice_str(text), &ns, &d) != OK) {
        usage_error(in->command, "--expires: '%s' is no time span; write 30d, 12h or 10m.", text);
        return false;
    }
    if (ns < NS_PER_S || ns > (uint64_t)(INT64_MAX - now)) {
        usage_error(in->command, "--expires: %s is out of range.", text);
        return false;
    }
    *out = now + (int64_t)ns;
    return true;
}

static bool read_create(const struct invocation *in, struct token *t)
{
    const char *role = option_value(in, "role", NULL), *space = option_value(in, "namespace", NULL),
               *name = option_value(in, "name", NULL), *expires = option_value(in, "expires", NULL);
    *t = (struct token){.expires_ns = TOKEN_FOREVER};
    if (!role || !role_parse(slice_str(role), &t->role)) {
        usage_error(in->command, "--role: say which: view, publish, operate, edit or admin.");
        return false;
    }
    return (!space || read_name(in, "namespace", space, t->namespace_name)) &&
           (!name || read_name(in, "name", name, t->name)) && (!expires || read_expiry(in, expires, &t->expires_ns));
}

/* ROLE, ROLE-2 ... : the first that is free. */
static void choose_name(const struct tokens *list, struct token *t)
{
    snprintf(t->name, sizeof t->name, "%s", role_name(t->role));
    for (int i = 2; find(list, t->name); i++)
        snprintf(t->name, sizeof t->name, "%s-%d", role_name(t->role), i);
}

static int run_create(const struct invocation *in)
{
    struct token t;
    struct edit e;
    char text[TOKEN_TEXT_BYTES];
    int code = EXIT_CODE_FAILED;
    if (!read_create(in, &t))
        return EXIT_CODE_USAGE;
    if (!edit_begin(&e, in, true)) {
        edit_end(&e);
        return EXIT_CODE_FAILED;
    }
    if (!t.name[0])
        choose_name(&e.list, &t);
    if (find(&e.list, t.name)) {
        fail(in->command, code, "there is a token named '%s' already; revoke it, or choose another --name.", t.name);
    } else if (e.list.count == TOKENS_MAX) {
        fail(in->command, code, "there are %d tokens, and there may not be more.", TOKENS_MAX);
    } else if (token_generate(text, t.hash) != OK) {
        fail(in->command, code, "the system gives no random bytes.");
    } else {
        if (e.text.len == 0)
            buf_put_str(&e.text, head);
        else if (e.text.ptr[e.text.len - 1] != '\n')
            buf_put_char(&e.text, '\n');
        token_line_put(&t, &e.text);
        code = edit_write(&e, &e.text) ? EXIT_CODE_OK : EXIT_CODE_FAILED;
    }
    if (code == EXIT_CODE_OK) {
        printf("%s\n", text);
        fprintf(stderr, "It is named '%s', and shown only now: %s keeps its hash.\n", t.name, e.path);
    }
    edit_end(&e);
    return code;
}

/* ---- list ---- */

static void print_row(const struct token *t, int64_t now)
{
    struct buf when;
    buf_init(&when, 64);
    if (t->expires_ns == TOKEN_FOREVER)
        buf_put_str(&when, "never");
    else
        rfc3339_put(&when, t->expires_ns, 0);
    printf("%-20s %-8s %-20s %.*s%s\n", t->name, role_name(t->role), t->namespace_name[0] ? t->namespace_name : "*",
           SLICE_ARG(buf_slice(&when)), t->expires_ns <= now ? " (expired)" : "");
    buf_fini(&when);
}

static int run_list(const struct invocation *in)
{
    struct edit e;
    int code = EXIT_CODE_FAILED;
    if (edit_begin(&e, in, false)) {
        printf("%-20s %-8s %-20s %s\n", "NAME", "ROLE", "NAMESPACE", "EXPIRES");
        for (size_t i = 0; i < e.list.count; i++)
            print_row(&e.list.list[i], clock_wall_ns(clock_system()));
        code = EXIT_CODE_OK;
    }
    edit_end(&e);
    return code;
}

/* ---- revoke ---- */

/* All lines but the one that begins with this name. */
static void put_others(struct slice text, const char *name, struct buf *out)
{
    while (text.ptr && text.len) {
        struct slice line = slice_split(&text, '\n'), first = slice_trim(line);
        size_t n = 0;
        while (n < first.len && first.ptr[n] != ' ' && first.ptr[n] != '\t')
            n++;
        if (slice_eq_str(slice_of(first.ptr, n), name))
            continue;
        buf_put(out, line);
        buf_put_char(out, '\n');
    }
}

static int run_revoke(const struct invocation *in)
{
    struct edit e;
    struct buf text;
    int code = EXIT_CODE_FAILED;
    if (in->operand_count != 1)
        return usage_error(in->command, "say which: the name of a token. `leat token list` lists them.");
    if (edit_begin(&e, in, true)) {
        buf_init(&text, TOKENS_BYTES_MAX);
        put_others(buf_slice(&e.text), in->operands[0], &text);
        if (!find(&e.list, in->operands[0]))
            fail(in->command, code, "there is no token '%s' in %s.", in->operands[0], e.path);
        else if (edit_write(&e, &text))
            code = EXIT_CODE_OK;
        if (code == EXIT_CODE_OK)
            printf("%s revoked\n", in->operands[0]);
        buf_fini(&text);
    }
    edit_end(&e);
    return code;
}

/* ---- the table ---- */

static const struct command token_create = {
    .name = "token create",
    .summary = "Make a token and print it, this once",
    .operands = "",
    .text = "The role says what it may do: view reads all but Secrets; operate also pauses, replays, redrives and\n"
            "discards; edit also writes what lies in namespaces; admin may do everything; publish only sends events.",
    .examples = "  leat token create --role edit --namespace shop --name ci --expires 30d\n"
                "  leat token create --role admin --tokens /etc/leat/tokens",
    .options =
        (const struct option_spec[]){{"role", 0, "ROLE", "view, publish, operate, edit or admin.", false},
                                     {"namespace", 'n', "NS", "Where alone it counts. Default: everywhere.", false},
                                     {"name", 0, "NAME", "What logs call it. Default: after the role.", false},
                                     {"expires", 0, "DURATION", "30d, 12h ... from now on. Default: never.", false},
                                     FILE_OPTIONS,
                                     {0}},
    .run = run_create,
};

static const struct command token_list = {
    .name = "token list",
    .summary = "List tokens: names, roles, when they expire",
    .operands = "",
    .examples = "  leat token list",
    .options = (const struct option_spec[]){FILE_OPTIONS, {0}},
    .run = run_list,
};

static const struct command token_revoke = {
    .name = "token revoke",
    .summary = "Take a token back; the next request with it is refused",
    .operands = "NAME",
    .operand_max = 1,
    .examples = "  leat token revoke ci",
    .options = (const struct option_spec[]){FILE_OPTIONS, {0}},
    .run = run_revoke,
};

const struct command command_token = {
    .name = "token",
    .summary = "Make, list and revoke tokens for the API",
    .operands = "create|list|revoke",
    .examples = "  leat token create --role view\n  leat token revoke view",
    .subcommands = (const struct command *const[]){&token_create, &token_list, &token_revoke, NULL},
};
