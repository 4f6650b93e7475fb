/* SPDX-License-Identifier: Apache-2.0
 *
 * What a path is about (Kubernetes' API conventions, "Resources"):
 *
 *     /api/v1/namespaces/NS/PLURAL[/NAME[/status]]              core
 *     /apis/GROUP/VERSION/namespaces/NS/PLURAL[/NAME[/status]]  the others
 *
 * Without namespaces/NS: cluster scoped, or a list over all namespaces.
 */
#include <string.h>

#include "kubernetes.h"
#include "text.h"

static bool copy(struct slice from, char to[API_NAME_MAX + 1])
{
    struct buf decoded;
    buf_init(&decoded, API_NAME_MAX);
    bool good = percent_decode(from, &decoded) == OK && buf_error(&decoded) == OK && decoded.len > 0 &&
                !memchr(decoded.ptr, 0, decoded.len);
    if (good) {
        memcpy(to, decoded.ptr, decoded.len);
        to[decoded.len] = '\0';
    }
    buf_fini(&decoded);
    return good;
}

/* What stands behind the plural: nothing, a name, a name and "status". */
static bool parse_name(struct slice rest, struct api_target *t)
{
    if (rest.len == 0)
        return true;
    if (!copy(slice_split(&rest, '/'), t->name))
        return false;
    t->status = slice_eq(rest, SLICE("status"));
    return rest.len == 0 || t->status;
}

bool api_target_parse(struct slice path, struct api_target *t)
{
    char group[API_NAME_MAX + 1] = "", version[API_NAME_MAX + 1], plural[API_NAME_MAX + 1];
    *t = (struct api_target){0};
    if (!slice_has_prefix(path, SLICE("/api/")) && !slice_has_prefix(path, SLICE("/apis/")))
        return false;
    struct slice rest = slice_from(path, 1);
    bool core = slice_eq(slice_split(&rest, '/'), SLICE("api"));
    if (!core && !copy(slice_split(&rest, '/'), group))
        return false;
    if (!copy(slice_split(&rest, '/'), version))
        return false;
    struct slice step = slice_split(&rest, '/');
    /* /api/v1/namespaces/NS is the namespace itself, and so it is with status behind it; else it is a scope */
    struct slice beyond = rest;
    struct slice scope = slice_split(&beyond, '/');
    if (slice_eq(step, SLICE("namespaces")) && beyond.len > 0 && !(core && slice_eq(beyond, SLICE("status")))) {
        if (!copy(scope, t->namespace_name))
            return false;
        rest = beyond;
        step = slice_split(&rest, '/');
    }
    if (!copy(step, plural) || !parse_name(rest, t))
        return false;
    const struct kind *definitions = kind_of_definitions();
    t->kind = kind_by_plural(group, version, plural);
    if (strcmp(group, definitions->group) == 0 && strcmp(version, definitions->version) == 0 &&
        strcmp(plural, definitions->plural) == 0)
        t->kind = definitions;
    return t->kind && (t->kind->namespaced || t->namespace_name[0] == '\0') &&
           (t->namespace_name[0] || !t->kind->namespaced || !t->name[0]);
}

void api_version_put(const struct kind *k, struct buf *out)
{
    buf_printf(out, "%s%s%s", k->group, k->group[0] ? "/" : "", k->version);
}

void api_words_put(const struct kind *k, struct buf *out)
{
    buf_printf(out, "%s%s%s", k->plural, k->group[0] ? "." : "", k->group);
}

bool api_query_number(struct http_request *r, const char *name, uint64_t fallback, uint64_t *out)
{
    struct buf text;
    buf_init(&text, 32);
    *out = fallback;
    bool good = !api_query(r, name, &text) || text.len == 0 ||
                (buf_error(&text) == OK && decimal_parse(buf_slice(&text), UINT64_MAX, out) == OK);
    buf_fini(&text);
    if (!good)
        api_status(r, 400, "BadRequest", "%s: Invalid value: must be a whole number", name);
    return good;
}

bool api_query_yes(const struct http_request *r, const char *name)
{
    struct buf text;
    buf_init(&text, 32);
    bool there = api_query(r, name, &text);
    struct slice value = buf_slice(&text);
    bool no = slice_eq(value, SLICE("false")) || slice_eq(value, SLICE("0"));
    buf_fini(&text);
    return there && !no;
}
