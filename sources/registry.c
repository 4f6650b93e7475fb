/* SPDX-License-Identifier: Apache-2.0
 *
 * The sources by name, and what all of them read their specs with.
 */
#include "feedlet.h"
#include "github.h"
#include "kubernetes.h"
#include "ping.h"
#include "process.h"
#include "pubsub_source.h"
#include "text.h"

#define SINK_TIMEOUT_S_MAX 3600 /* nobody waits longer for a sink; also keeps the nanoseconds far from overflow */

static const struct source_ops *const sources[] = {
    &github_source, &kubernetes_source, &ping_source, &process_source, &pubsub_source_ops, &feedlet_source, NULL};
static const char *const names[] = {"github", "kubernetes", "ping", "process", "pubsub", NULL};

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

enum err source_overrides_check(const struct source_spec *spec, struct diag *d)
{
    for (size_t i = 0; i < spec->ce_override_count; i++) {
        struct slice name = slice_str(spec->ce_overrides[i].name);
        struct diag why = {0};
        enum err e = ce_name_check(name, &why);
        if (e == OK)
            e = ce_value_check(CE_STRING, slice_str(spec->ce_overrides[i].value), &why);
        if (e != OK)
            return diag_set(d, ERR_INVALID, "ceOverrides.extensions.%s: %.200s", spec->ce_overrides[i].name, why.text);
        static const char *const core[] = {"specversion",     "id",         "source", "type", "subject", "time",
                                           "datacontenttype", "dataschema", NULL};
        for (size_t n = 0; core[n]; n++)
            if (slice_eq_str(name, core[n]))
                return diag_set(
                    d, ERR_INVALID,
                    "ceOverrides.extensions.%s: the source sets this attribute itself; only extensions can be given",
                    core[n]);
    }
    return OK;
}

enum err source_sink_timeout(const struct source_spec *spec, uint64_t *ns, struct diag *d)
{
    uint64_t seconds;
    if (decimal_parse(slice_str(source_param(spec, "sinkTimeoutSeconds", "0")), SINK_TIMEOUT_S_MAX, &seconds) != OK)
        return diag_set(d, ERR_INVALID, "sinkTimeoutSeconds must be a whole number of seconds, at most %d",
                        SINK_TIMEOUT_S_MAX);
    *ns = seconds * NS_PER_S;
    return OK;
}
