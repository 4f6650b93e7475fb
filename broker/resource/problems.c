/* SPDX-License-Identifier: Apache-2.0
 *
 * Problems: a growing list, bounded, and how one reads.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "check.h"

void problems_init(struct problems *p)
{
    memset(p, 0, sizeof *p);
}

static void problem_free(struct problem *p)
{
    free(p->file);
    free(p->object);
    free(p->path);
    free(p->text);
}

void problems_fini(struct problems *p)
{
    for (size_t i = 0; i < p->count; i++)
        problem_free(&p->list[i]);
    free(p->list);
    problems_init(p);
}

static char *copy(const char *s, bool *nomem)
{
    char *c = s ? strdup(s) : NULL;
    *nomem = *nomem || (s && !c);
    return c;
}

enum err problem_add(struct problems *p, bool warning, const char *file, struct place at, const char *object,
                     const char *path, const char *text)
{
    if (!warning)
        p->errors++;
    if (p->count > PROBLEMS_MAX)
        return OK;
    if (p->count == PROBLEMS_MAX) {
        object = path = NULL;
        text = "there are more problems than these; they show when these are mended";
    }
    struct problem *grown = realloc(p->list, (p->count + 1) * sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    p->list = grown;
    bool nomem = false;
    struct problem q = {.warning = warning, .line = at.line, .column = at.column};
    q.file = copy(file, &nomem);
    q.object = copy(object, &nomem);
    q.path = copy(path && *path ? path : NULL, &nomem);
    q.text = copy(text, &nomem);
    if (nomem) {
        problem_free(&q);
        return ERR_NOMEM;
    }
    p->list[p->count++] = q;
    return OK;
}

void problem_print(const struct problem *p, struct buf *out)
{
    if (p->file)
        buf_put_str(out, p->file);
    if (p->file && p->line)
        buf_printf(out, ":%d:%d", p->line, p->column);
    if (p->file)
        buf_put_str(out, ": ");
    buf_put_str(out, p->warning ? "warning: " : "error: ");
    if (p->object)
        buf_printf(out, "%s: ", p->object);
    if (p->path)
        buf_printf(out, "%s: ", p->path);
    buf_put_str(out, p->text);
    buf_put_char(out, '\n');
}

void problems_print(const struct problems *p, FILE *to)
{
    struct buf line;
    buf_init(&line, 65536); /* a problem is one sentence and its place */
    for (size_t i = 0; i < p->count; i++) {
        buf_clear(&line);
        problem_print(&p->list[i], &line);
        if (line.len)
            fwrite(line.ptr, 1, line.len, to);
    }
    buf_fini(&line);
}

#define PATH_STEP_MAX 100 /* bytes of a name that are shown */

/* The letters, digits, _ and - that a name begins with. */
static size_t plain_length(const char *name)
{
    size_t n = 0;
    for (char ch; (ch = name[n]) != 0; n++)
        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' ||
              ch == '-'))
            break;
    return n;
}

size_t path_down(struct check *c, const char *name)
{
    size_t before = c->path_len, len = plain_length(name);
    if (name[len] == 0 && len <= PATH_STEP_MAX && before + len + 2 <= sizeof c->path) {
        char *end = c->path + before;
        if (before)
            *end++ = '.';
        memcpy(end, name, len + 1);
        c->path_len = (size_t)(end - c->path) + len;
        return before;
    }
    /* A name that is no plain word is shown as it would be looked up. */
    bool plain = name[len] == 0;
    int n = snprintf(c->path + before, sizeof c->path - before, plain ? "%s%.*s" : "%s[\"%.*s\"]",
                     plain && before ? "." : "", PATH_STEP_MAX, name);
    c->path_len = before + (size_t)n < sizeof c->path ? before + (size_t)n : sizeof c->path - 1;
    return before;
}

size_t path_down_index(struct check *c, size_t index)
{
    size_t before = c->path_len;
    int n = snprintf(c->path + before, sizeof c->path - before, "[%zu]", index);
    c->path_len = before + (size_t)n < sizeof c->path ? before + (size_t)n : sizeof c->path - 1;
    return before;
}

void path_up(struct check *c, size_t before)
{
    c->path_len = before;
    c->path[before] = 0;
}

__attribute__((format(printf, 4, 0))) static void report(struct check *c, bool warning, struct place at,
                                                         const char *format, va_list args)
{
    char text[700];
    vsnprintf(text, sizeof text, format, args);
    if (problem_add(c->problems, warning, c->file, at, c->object, c->path, text) != OK)
        c->nomem = true;
}

void check_error(struct check *c, const cJSON *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(c, false, places_of(c->places, node), format, args);
    va_end(args);
}

void check_error_key(struct check *c, const cJSON *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(c, false, places_key_of(c->places, node), format, args);
    va_end(args);
}

void check_warn(struct check *c, const cJSON *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(c, true, places_of(c->places, node), format, args);
    va_end(args);
}

void check_reason(struct check *c, const char *reason)
{
    struct problems *p = c->problems;
    if (p->count > 0 && p->count <= PROBLEMS_MAX)
        p->list[p->count - 1].reason = reason;
}

void check_unknown(struct check *c, const cJSON *node)
{
    char text[700];
    size_t count = c->problems->count;
    snprintf(text, sizeof text, "unknown field \"%.600s\"", c->path);
    if (problem_add(c->problems, true, c->file, places_key_of(c->places, node), c->object, c->path, text) != OK)
        c->nomem = true;
    else if (c->problems->count > count)
        c->problems->list[count].unknown = true;
}
