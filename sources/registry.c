/* SPDX-License-Identifier: Apache-2.0
 *
 * The sources by name, and what all of them read their specs with.
 */
#include "github.h"

static const struct source_ops *const sources[] = {&github_source, NULL};
static const char *const names[] = {"github", NULL};

const struct source_ops *source_find(const char *name)
{
    for (size_t i = 0; sources[i]; i++)
        if (strcmp(sources[i]->name, name) == 0)
            return sources[i];
    return NULL;
}

const char *const *source_names(void)
{
    return names;
}

const char *source_param(const struct source_spec *spec, const char *name, const char *fallback)
{
    for (size_t i = 0; i < spec->param_count; i++)
        if (strcmp(spec->params[i].name, name) == 0)
            return spec->params[i].value;
    return fallback;
}
