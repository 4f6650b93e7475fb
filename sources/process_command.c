/* SPDX-License-Identifier: Apache-2.0
 *
 * What a command of the process source is run with: the contract of Knative's ContainerSource and SinkBinding, and the
 * few rules of a Kubernetes container that a command can have.
 */
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "process.h"

#define TEXT_MAX (1u << 17) /* of one variable: the kernel takes no longer one (MAX_ARG_STRLEN) */
#define OWN_MAX 5           /* K_SINK, K_CE_OVERRIDES, K_CA_CERTS, NAMESPACE, NAME */

/* Of leat's own environment, what a container would have, too: the rest may hold secrets that are not the command's. */
static const char *const harmless[] = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", NULL};

static size_t count_of(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

/* What the buffer holds; NULL without memory, or with `too_large` set. */
static char *take(struct process_command *c, struct buf *b)
{
    enum err e = buf_error(b);
    char *text = e == OK ? buf_take_string(b) : NULL;
    c->too_large = c->too_large || e == ERR_TOO_LARGE;
    buf_fini(b);
    return text;
}

static bool add(struct process_command *c, struct buf *b)
{
    char *text = take(c, b);
    if (!text)
        return false;
    c->env[c->owned++] = text;
    return true;
}

static struct slice name_of(const char *variable)
{
    struct slice rest = slice_str(variable);
    return slice_split(&rest, '=');
}

/* Where one of ours has this name: its place; else `owned`. */
static size_t place_of(const struct process_command *c, struct slice name)
{
    size_t i = 0;
    while (i < c->owned && !slice_eq(name_of(c->env[i]), name))
        i++;
    return i;
}

/* Puts a text with what $(NAME) stands for; of what is not known, and of $$(NAME), the text itself, with one $. */
static void put_expanded(const struct process_command *c, struct buf *b, const char *text)
{
    for (const char *at = text; *at; at++) {
        const char *end = at[0] == '$' && at[1] == '(' ? strchr(at, ')') : NULL;
        if (at[0] == '$' && at[1] == '$') {
            buf_put_char(b, '$');
            at++;
            continue;
        }
        size_t i = end ? place_of(c, slice_of(at + 2, (size_t)(end - at - 2))) : c->owned;
        if (i == c->owned) {
            buf_put_char(b, *at);
            continue;
        }
        buf_put_str(b, strchr(c->env[i], '=') + 1);
        at = end;
    }
}

static bool add_variable(struct process_command *c, const char *name, const char *value)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_printf(&b, "%s=", name);
    buf_put_str(&b, value);
    return add(c, &b);
}

/* {"extensions":{"name":"value"}} */
static bool add_overrides(struct process_command *c, const struct source_spec *spec)
{
    struct buf b;
    if (spec->ce_override_count == 0)
        return true;
    buf_init(&b, TEXT_MAX);
    buf_put_str(&b, "K_CE_OVERRIDES={\"extensions\":{");
    for (size_t i = 0; i < spec->ce_override_count; i++) {
        if (i > 0)
            buf_put_char(&b, ',');
        buf_put_json_string(&b, slice_str(spec->ce_overrides[i].name));
        buf_put_char(&b, ':');
        buf_put_json_string(&b, slice_str(spec->ce_overrides[i].value));
    }
    buf_put_str(&b, "}}");
    return add(c, &b);
}

/* "NAME=VALUE" of a manifest: the last of a name counts, but ours with K_ stay. */
static bool add_given(struct process_command *c, const char *variable)
{
    struct slice name = name_of(variable);
    size_t there = place_of(c, name);
    struct buf b;
    if (there < c->owned && slice_has_prefix(name, SLICE("K_")))
        return true;
    buf_init(&b, TEXT_MAX);
    put_expanded(c, &b, variable);
    if (!add(c, &b))
        return false;
    if (there < c->owned - 1) {
        free(c->env[there]);
        c->env[there] = c->env[--c->owned];
        c->env[c->owned] = NULL;
    }
    return true;
}

static bool add_arguments(struct process_command *c, const struct source_spec *spec)
{
    bool expand = source_param(spec, "container", NULL) != NULL, good = true;
    size_t n = 0;
    for (size_t i = 0; i < spec->param_count && good; i++) {
        if (strcmp(spec->params[i].name, "command") != 0)
            continue;
        struct buf b;
        buf_init(&b, TEXT_MAX);
        if (expand)
            put_expanded(c, &b, spec->params[i].value);
        else
            buf_put_str(&b, spec->params[i].value);
        good = (c->argv[n++] = take(c, &b)) != NULL;
    }
    return good;
}

static bool add_environment(struct process_command *c, const struct source_spec *spec, const char *sink_url)
{
    const char *certs = source_param(spec, "caCerts", NULL);
    bool good = add_variable(c, "K_SINK", sink_url) && add_overrides(c, spec) &&
                (!certs || add_variable(c, "K_CA_CERTS", certs)) &&
                add_variable(c, "NAMESPACE", spec->namespace_name) && add_variable(c, "NAME", spec->name);
    for (size_t i = 0; i < spec->param_count && good; i++)
        if (strcmp(spec->params[i].name, "env") == 0)
            good = add_given(c, spec->params[i].value);
    return good;
}

/* Of this process's own environment: all, or for a container of a manifest what is harmless. */
static void add_inherited(struct process_command *c, bool all)
{
    size_t n = c->owned;
    for (char **v = environ; v && *v; v++) {
        struct slice name = name_of(*v);
        bool taken = all;
        for (size_t i = 0; harmless[i] && !taken; i++)
            taken = slice_eq_str(name, harmless[i]);
        if (taken && place_of(c, name) == c->owned)
            c->env[n++] = *v;
    }
}

enum err process_command_make(const struct source_spec *spec, const char *sink_url, struct process_command *out,
                              struct diag *d)
{
    struct process_command c = {
        .argv = calloc(spec->param_count + 1, sizeof(char *)),
        .env = calloc(count_of(environ) + spec->param_count + OWN_MAX + 1, sizeof(char *)),
        .folder = source_param(spec, "workingDir", NULL),
    };
    if (!c.argv || !c.env || !add_environment(&c, spec, sink_url) || !add_arguments(&c, spec)) {
        bool too_large = c.too_large;
        process_command_fini(&c);
        return too_large ? diag_set(d, ERR_INVALID,
                                    "an argument or a variable of the command has more than %u bytes, which is "
                                    "what the system takes",
                                    TEXT_MAX)
                         : ERR_NOMEM;
    }
    if (!c.argv[0] || c.argv[0][0] == '\0') {
        process_command_fini(&c);
        return diag_set(d, ERR_INVALID, "there is no command; write it at the end, as in -- COMMAND ARGUMENTS");
    }
    add_inherited(&c, !source_param(spec, "container", NULL));
    *out = c;
    return OK;
}

static bool same_list(char *const *a, char *const *b)
{
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0)
            return false;
    return *a == *b;
}

bool process_command_equal(const struct process_command *a, const struct process_command *b)
{
    return same_list(a->argv, b->argv) && same_list(a->env, b->env) &&
           strcmp(a->folder ? a->folder : "", b->folder ? b->folder : "") == 0;
}

void process_command_fini(struct process_command *c)
{
    for (size_t i = 0; i < c->owned; i++)
        free(c->env[i]);
    for (size_t i = 0; c->argv && c->argv[i]; i++)
        free(c->argv[i]);
    free(c->argv);
    free(c->env);
    *c = (struct process_command){0};
}
