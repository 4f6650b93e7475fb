/* SPDX-License-Identifier: Apache-2.0
 *
 * What a feed's file says of its feedlet: a line for each parameter of the source, its name and its value as base64, so
 * that a feed whose object went while no leat ran can be stopped by the file alone. Behind the line that
 * feedlet_state.c reads.
 */
#include "feedlet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define FILE_MAX (4u << 20) /* bytes: a variable has at most 64 KiB, and there are at most 64 */

void feedlet_left_put(struct buf *b, const struct source_spec *spec)
{
    const struct source_param who[] = {{":namespace", spec->namespace_name}, {":name", spec->name}};
    for (size_t i = 0; i < 2 + spec->param_count; i++) {
        const struct source_param *p = i < 2 ? &who[i] : &spec->params[i - 2];
        buf_printf(b, "%s ", p->name);
        base64_put(b, slice_str(p->value));
        buf_put_char(b, '\n');
    }
}

/* One line, cut up where it lies; the value takes the place of its base64. */
static enum err line_read(struct feedlet_left *l, char *line)
{
    char *space = strchr(line, ' ');
    size_t n = 0;
    if (!space || l->spec.param_count == FEEDLET_PARAMS_MAX)
        return ERR_CORRUPT;
    *space++ = '\0';
    if (base64_decode_into(slice_str(space), space, &n))
        return ERR_CORRUPT;
    space[n] = '\0';
    if (strcmp(line, ":namespace") == 0)
        l->spec.namespace_name = space;
    else if (strcmp(line, ":name") == 0)
        l->spec.name = space;
    else
        l->params[l->spec.param_count++] = (struct source_param){line, space};
    return OK;
}

static enum err text_read(const char *path, char **out)
{
    FILE *f = fopen(path, "re");
    char *text = f ? calloc(1, FILE_MAX + 1) : NULL;
    size_t n = text ? fread(text, 1, FILE_MAX, f) : 0;
    enum err e = !f ? ERR_IO : !text ? ERR_NOMEM : n == FILE_MAX || strlen(text) < n ? ERR_CORRUPT : OK;
    if (f)
        fclose(f);
    if (e)
        free(text);
    else
        *out = text;
    return e;
}

enum err feedlet_left_parse(char *text, struct feedlet_left **out)
{
    struct feedlet_left *l = calloc(1, sizeof *l);
    if (!l) {
        free(text);
        return ERR_NOMEM;
    }
    *l = (struct feedlet_left){.text = text, .spec = {.type = "feedlet", .params = l->params}};
    enum err e = OK;
    char *at = strchr(text, '\n');
    while (!e && at && at[1]) {
        char *line = at + 1;
        at = strchr(line, '\n');
        if (at)
            *at = '\0';
        e = line_read(l, line);
    }
    if (!e && (!l->spec.namespace_name || !l->spec.name || !source_param(&l->spec, "command", NULL)))
        e = ERR_CORRUPT; /* or of a leat that did not say */
    if (e)
        feedlet_left_free(l);
    else
        *out = l;
    return e;
}

enum err feedlet_left_read(const char *path, struct feedlet_left **out, struct diag *d)
{
    char *text = NULL;
    enum err e = text_read(path, &text);
    if (!e)
        e = feedlet_left_parse(text, out);
    if (!e)
        return OK;
    return diag_set(
        d, e, "%.200s does not say how the feed is stopped; remove it when nothing of that feed runs any more", path);
}

void feedlet_left_free(struct feedlet_left *l)
{
    if (l)
        free(l->text);
    free(l);
}
