/* SPDX-License-Identifier: Apache-2.0 */
#include "bus_option.h"

#include <stdlib.h>
#include <string.h>

#include "client.h"

static int no_bus(const struct command *c, const char *name)
{
    struct buf names;
    buf_init(&names, 1000);
    for (const char *const *n = bus_names(); *n; n++)
        buf_printf(&names, "%s%s", n == bus_names() ? "" : n[1] ? ", " : " and ", *n);
    usage_error(c, "--bus: there is no bus '%s'; there are %.*s.", name, SLICE_ARG(buf_slice(&names)));
    buf_fini(&names);
    return EXIT_CODE_USAGE;
}

/* The value that a file holds, for the parameter read last. */
static int read_value(const struct command *c, struct bus_option *o)
{
    struct bus_param *p = &o->params[o->count - 1];
    struct buf b;
    if (*p->value != '@')
        return 0;
    bool good = read_file(c, p->value + 1, BUS_VALUE_BYTES_MAX, &b);
    struct slice held = buf_slice(&b);
    if (held.len && held.ptr[held.len - 1] == '\n')
        held.len--;
    char *value = good ? strndup(held.ptr ? held.ptr : "", held.len) : NULL;
    buf_fini(&b);
    if (good && !value)
        return fail(c, EXIT_CODE_FAILED, "out of memory.");
    o->files[o->count - 1] = value;
    p->value = value;
    return good ? 0 : EXIT_CODE_INPUT;
}

int bus_option_read(const struct command *c, const char *given, struct bus_option *out)
{
    *out = (struct bus_option){.text = given ? strdup(given) : NULL};
    if (!given)
        return 0;
    if (!out->text)
        return fail(c, EXIT_CODE_FAILED, "out of memory.");
    char *rest = out->text;
    out->name = strsep(&rest, ",");
    if (!bus_find(out->name))
        return no_bus(c, out->name);
    for (char *one; (one = strsep(&rest, ","));) {
        char *value = strchr(one, '=');
        if (!value && out->count > 0) {
            one[-1] = ',';
            continue;
        }
        if (!value || value == one || out->count == BUS_PARAMS_MAX) {
            usage_error(c, "--bus: '%s' is not PARAM=VALUE, or there are more than %d.", one, BUS_PARAMS_MAX);
            return EXIT_CODE_USAGE;
        }
        *value = 0;
        out->params[out->count++] = (struct bus_param){one, value + 1};
    }
    int code = 0;
    size_t count = out->count;
    for (out->count = 1; out->count <= count && code == 0; out->count++)
        code = read_value(c, out);
    out->count = count;
    return code;
}

void bus_option_fini(struct bus_option *o)
{
    free(o->text);
    for (size_t i = 0; i < BUS_PARAMS_MAX; i++)
        free(o->files[i]);
}
