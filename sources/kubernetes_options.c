/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kubernetes source's spec, taken apart and checked. Pure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kubernetes.h"

#define SELECTOR_MAX 1000

static bool copy(char **out, struct slice s)
{
    *out = strndup(s.len ? s.ptr : "", s.len);
    return *out != NULL;
}

/* Letters of API groups, versions and kinds; nothing that a path would need to have escaped. */
static bool plain(struct slice s, const char *more)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (!c || !strchr(more, c)))
            return false;
    }
    return s.len > 0 && s.len < 256;
}

/* "apps/v1/Deployment", "v1/Pod" */
static enum err split_kind(struct slice text, const char *param, char **api_version, char **kind, struct diag *d)
{
    size_t n = text.len;
    while (n > 0 && text.ptr[n - 1] != '/')
        n--;
    struct slice version = slice_of(text.ptr, n ? n - 1 : 0), name = slice_from(text, n), rest = version;
    struct slice first = slice_split(&rest, '/');
    if (n == 0 || !plain(name, "") || !plain(first, "-.") || (rest.ptr && !plain(rest, "")))
        return diag_set(d, ERR_INVALID,
                        "%s: \"%.*s\" is no API version and kind, as v1/ConfigMap or apps/v1/Deployment", param,
                        (int)(text.len < 200 ? text.len : 200), text.ptr ? text.ptr : "");
    return copy(api_version, version) && copy(kind, name) ? OK : ERR_NOMEM;
}

static enum err parse_resources(struct kubernetes_options *o, struct diag *d)
{
    struct slice rest = slice_str(source_param(o->spec, "resources", ""));
    enum err e = OK;
    if (slice_trim(rest).len == 0)
        return diag_set(d, ERR_INVALID, "resources: none is named; name what to watch, as v1/ConfigMap");
    while (rest.len && e == OK) {
        struct slice selector = slice_trim(slice_split(&rest, ';'));
        struct slice kind = slice_trim(slice_split(&selector, ':'));
        if (o->resource_count == KUBERNETES_RESOURCES_MAX || selector.len > SELECTOR_MAX)
            return diag_set(d, ERR_INVALID, "resources: more than %d, or a selector of more than %d bytes",
                            KUBERNETES_RESOURCES_MAX, SELECTOR_MAX);
        struct kubernetes_resource *r = &o->resources[o->resource_count++];
        e = split_kind(kind, "resources", &r->api_version, &r->kind, d);
        if (e == OK && !copy(&r->selector, slice_trim(selector)))
            e = ERR_NOMEM;
    }
    return e;
}

static enum err parse_namespaces(struct kubernetes_options *o, struct diag *d)
{
    struct slice rest = slice_str(source_param(o->spec, "namespaces", ""));
    o->namespace_selector = source_param(o->spec, "namespaceSelector", NULL);
    if (o->namespace_selector || slice_eq_str(rest, "*"))
        return OK;
    if (rest.len == 0)
        rest = slice_str(o->spec->namespace_name);
    while (rest.len) {
        struct slice name = slice_trim(slice_split(&rest, ','));
        if (o->namespace_count == KUBERNETES_NAMESPACES_MAX)
            return diag_set(d, ERR_INVALID, "namespaces: more than %d; watch all of them, and filter",
                            KUBERNETES_NAMESPACES_MAX);
        if (!plain(name, "-") || name.len > 63)
            return diag_set(d, ERR_INVALID, "namespaces: \"%.*s\" is no name of a namespace",
                            (int)(name.len < 100 ? name.len : 100), name.ptr ? name.ptr : "");
        if (!copy(&o->namespaces[o->namespace_count], name))
            return ERR_NOMEM;
        o->namespace_count++;
    }
    return OK;
}

static enum err parse_mode(struct kubernetes_options *o, struct diag *d)
{
    static const char *const modes[] = {"Reference", "Resource", "2018"};
    const char *mode = source_param(o->spec, "mode", "Reference");
    for (int i = 0; i < 3; i++)
        if (strcmp(mode, modes[i]) == 0) {
            o->mode = (enum kubernetes_mode)i;
            return OK;
        }
    return diag_set(d, ERR_INVALID,
                    "mode: \"%.100s\" is none; Reference tells where an object is, Resource has it whole", mode);
}

static enum err parse_filter(struct kubernetes_options *o, struct diag *d)
{
    const char *text = source_param(o->spec, "filter", NULL);
    struct diag why = {0};
    enum err e = text ? filter_cesql(slice_str(text), &o->filter, &why) : OK;
    return e == ERR_INVALID ? diag_set(d, e, "filter, column %d: %.300s", why.column, why.text) : e;
}

void kubernetes_options_fini(struct kubernetes_options *o)
{
    for (size_t i = 0; i < o->resource_count; i++) {
        free(o->resources[i].api_version);
        free(o->resources[i].kind);
        free(o->resources[i].selector);
    }
    for (size_t i = 0; i < o->namespace_count; i++)
        free(o->namespaces[i]);
    free(o->owner_api_version);
    free(o->owner_kind);
    filter_unref(o->filter);
    memset(o, 0, sizeof *o);
}

enum err kubernetes_options_parse(const struct source_spec *spec, struct kubernetes_options *o, struct diag *d)
{
    memset(o, 0, sizeof *o);
    o->spec = spec;
    const char *owner = source_param(spec, "owner", NULL);
    o->state = source_param(spec, "state", NULL);
    enum err e = parse_resources(o, d);
    if (e == OK)
        e = parse_namespaces(o, d);
    if (e == OK)
        e = parse_mode(o, d);
    if (e == OK && owner)
        e = split_kind(slice_str(owner), "owner", &o->owner_api_version, &o->owner_kind, d);
    if (e == OK)
        e = parse_filter(o, d);
    if (e == OK)
        e = source_sink_timeout(spec, &o->sink_timeout_ns, d);
    if (e == OK)
        e = source_overrides_check(spec, d);
    if (e != OK)
        kubernetes_options_fini(o);
    return e;
}
