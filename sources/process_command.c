/* SPDX-License-Identifier: Apache-2.0
 *
 * What a command of the process source is run with: the contract of Knative's ContainerSource and SinkBinding.
 */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "process.h"

#define TEXT_MAX (1u << 17) /* of one variable: the kernel takes no longer one (MAX_ARG_STRLEN) */
#define OWN_MAX 4           /* K_SINK, NAMESPACE, NAME, K_CE_OVERRIDES */

static size_t count_of(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static bool add(struct process_command *c, struct buf *b)
{
    char *text = buf_error(b) == OK ? buf_take_string(b) : NULL;
    buf_fini(b);
    if (!text)
        return false;
    assert(c->owned < OWN_MAX);
    c->env[c->owned++] = text;
    return true;
}

static bool add_variable(struct process_command *c, const char *name, const char *value)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_printf(&b, "%s=%s", name, value);
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

/* Whether one of ours has this name. */
static bool is_set(const struct process_command *c, const char *variable)
{
    struct slice rest = slice_str(variable), name = slice_split(&rest, '=');
    for (size_t i = 0; i < c->owned; i++) {
        struct slice own_rest = slice_str(c->env[i]);
        if (slice_eq(slice_split(&own_rest, '='), name))
            return true;
    }
    return false;
}

enum err process_command_make(const struct source_spec *spec, const char *sink_url, struct process_command *out,
                              struct diag *d)
{
    struct process_command c = {.argv = calloc(spec->param_count + 1, sizeof(char *)),
                                .env = calloc(count_of(environ) + OWN_MAX + 1, sizeof(char *))};
    bool good = c.argv && c.env && add_variable(&c, "K_SINK", sink_url) &&
                add_variable(&c, "NAMESPACE", spec->namespace_name) && add_variable(&c, "NAME", spec->name) &&
                add_overrides(&c, spec);
    if (!good) {
        process_command_fini(&c);
        return ERR_NOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < spec->param_count; i++)
        if (strcmp(spec->params[i].name, "command") == 0)
            c.argv[n++] = (char *)(uintptr_t)spec->params[i].value;
    if (n == 0 || c.argv[0][0] == '\0') {
        process_command_fini(&c);
        return diag_set(d, ERR_INVALID, "there is no command; write it at the end, as in -- COMMAND ARGUMENTS");
    }
    n = c.owned;
    for (char **v = environ; v && *v; v++)
        if (!is_set(&c, *v))
            c.env[n++] = *v;
    *out = c;
    return OK;
}

void process_command_fini(struct process_command *c)
{
    for (size_t i = 0; i < c->owned; i++)
        free(c->env[i]);
    free(c->argv);
    free(c->env);
    *c = (struct process_command){0};
}
