/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of parameters; see params.h.
 */
#include "params.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

enum err param_number(const struct bus_param *p, uint64_t least, uint64_t most, uint64_t *out, struct diag *d)
{
    uint64_t n;
    if (decimal_parse(slice_str(p->value), most, &n) || n < least)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is a number from %llu to %llu", p->name, p->value,
                        (unsigned long long)least, (unsigned long long)most);
    *out = n;
    return OK;
}

enum err param_bytes(const struct bus_param *p, uint64_t least, uint64_t most, uint64_t *out, struct diag *d)
{
    struct diag why = {0};
    uint64_t n;
    enum err e = bytes_parse(slice_str(p->value), &n, &why);
    if (e)
        return diag_set(d, e, "%s: %s", p->name, why.text);
    if (n < least && most == UINT64_MAX)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is from %llu bytes on", p->name, p->value,
                        (unsigned long long)least);
    if (n < least || n > most)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is from %llu bytes to %llu", p->name, p->value,
                        (unsigned long long)least, (unsigned long long)most);
    *out = n;
    return OK;
}

enum err param_duration(const struct bus_param *p, uint64_t *ns, struct diag *d)
{
    struct diag why = {0};
    uint64_t n;
    enum err e = duration_parse(slice_str(p->value), &n, &why);
    if (e)
        return diag_set(d, e, "%s: %s", p->name, why.text);
    *ns = n;
    return OK;
}

enum err param_word(const struct bus_param *p, const char *first, const char *second, bool *is_second, struct diag *d)
{
    bool yes = strcmp(p->value, second) == 0;
    if (!yes && strcmp(p->value, first) != 0)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is %s or %s", p->name, p->value, first, second);
    *is_second = yes;
    return OK;
}

enum err param_bool(const struct bus_param *p, bool *out, struct diag *d)
{
    bool no = false;
    enum err e = param_word(p, "true", "false", &no, d);
    if (!e)
        *out = !no;
    return e;
}

enum err param_mode(const struct bus_param *p, enum ce_mode *out, struct diag *d)
{
    bool structured = false;
    enum err e = param_word(p, "binary", "structured", &structured, d);
    if (!e)
        *out = structured ? CE_MODE_STRUCTURED : CE_MODE_BINARY;
    return e;
}

enum err param_text(const struct bus_param *p, char **out, struct diag *d)
{
    char *copy = strdup(p->value);
    if (!copy)
        return diag_set(d, ERR_NOMEM, "out of memory");
    free(*out);
    *out = copy;
    return OK;
}

char *name_dotted(const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        return NULL;
    for (char *c = text; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return text;
}

#define DEAD_LETTERS "dead-letter/"

bool is_dead_letters(struct slice channel)
{
    return slice_has_prefix(channel, SLICE(DEAD_LETTERS));
}

char *name_of_channel(struct slice channel)
{
    bool dead = is_dead_letters(channel);
    struct slice rest = dead ? slice_from(channel, sizeof DEAD_LETTERS - 1) : channel;
    return name_dotted("%s.%.*s", dead ? "leat-dead-letter" : "leat", SLICE_ARG(rest));
}
