/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request to the API is about, for the decision whether it may be: Kubernetes' paths by their form, whatever
 * kinds there are ("Kubernetes API Concepts", resource URIs), and leat's own pages by the table below. A page that is
 * missing there is a path of which nothing is known, and for administrators alone.
 */
#include "../resource/check.h"
#include "kubernetes.h"
#include "roles.h"
#include "text.h"

/* leat's own pages; what each means is said here, or nobody but an administrator gets to it. */
static const struct page {
    const char *method, *page;
    bool object;        /* NS/KIND/NAME follows */
    bool one;           /* something follows: which one */
    const char *action; /* what stands behind it all; NULL: nothing does */
    const char *verb, *resource;
} pages[] = {
    {"GET", "explain", false, false, NULL, "get", "explain"},
    {"GET", "tail", false, false, NULL, "watch", "tail"}, /* the namespace is in the query */
    {"GET", "audit", false, false, NULL, "list", "audit"},
    {"GET", "quarantine", false, false, NULL, "list", "quarantine"},
    {"DELETE", "quarantine", false, true, NULL, "delete", "quarantine"},
    {"GET", "dlq", false, false, NULL, "list", "dlq"},
    {"GET", "dlq", true, false, NULL, "get", "dlq"},
    {"POST", "dlq", true, false, "redrive", "redrive", "dlq"},
    {"POST", "dlq", true, false, "discard", "discard", "dlq"},
    {"GET", "tasks", false, false, NULL, "list", "tasks"},
    {"GET", "tasks", false, true, NULL, "get", "tasks"},
    {"DELETE", "tasks", false, true, NULL, "delete", "tasks"},
    {"GET", "subscriptions", false, false, NULL, "list", "subscriptions"},
    {"POST", "subscriptions", true, false, "pause", "pause", "subscriptions"},
    {"POST", "subscriptions", true, false, "resume", "resume", "subscriptions"},
    {"POST", "subscriptions", true, false, "replay", "replay", "subscriptions"},
};

/* A part of a path, decoded; false: it is no name.. */
static bool take(struct slice *rest, char out[ACCESS_WORD_MAX + 1])
{
    struct buf decoded;
    struct slice part = slice_split(rest, '/');
    buf_init(&decoded, ACCESS_WORD_MAX);
    bool good = part.len && percent_decode(part, &decoded) == OK && buf_error(&decoded) == OK &&
                !memchr(decoded.ptr, 0, decoded.len) && utf8_valid(buf_slice(&decoded));
    if (good) {
        memcpy(out, decoded.ptr, decoded.len);
        out[decoded.len] = '\0';
    }
    buf_fini(&decoded);
    return good;
}

static void set(char out[ACCESS_WORD_MAX + 1], const char *word)
{
    snprintf(out, ACCESS_WORD_MAX + 1, "%s", word);
}

/* The first parameter of this name, decoded, as api_query has it; empty: not there, or no text. What is too long for a
 * name becomes one that nothing has. */
static void parameter(struct slice query, const char *name, char out[ACCESS_WORD_MAX + 1])
{
    struct slice value = {NULL, 0};
    struct buf decoded;
    bool there = false;
    while (query.len && !there) {
        value = slice_split(&query, '&');
        there = slice_eq_str(slice_split(&value, '='), name);
    }
    buf_init(&decoded, value.len);
    out[0] = '\0';
    if (there && percent_decode(value, &decoded) == OK && buf_error(&decoded) == OK)
        snprintf(out, ACCESS_WORD_MAX + 1, "%.*s",
                 SLICE_ARG(decoded.len > ACCESS_WORD_MAX ? SLICE("/") : buf_slice(&decoded)));
    buf_fini(&decoded);
}

/* ---- Kubernetes' paths ---- */

static const char *verb_of(struct slice method, bool one, struct slice query)
{
    char watch[ACCESS_WORD_MAX + 1];
    if (slice_eq(method, SLICE("GET")) || slice_eq(method, SLICE("HEAD"))) {
        parameter(query, "watch", watch);
        bool watches = watch[0] && strcmp(watch, "false") != 0 && strcmp(watch, "0") != 0;
        return watches ? "watch" : one ? "get" : "list";
    }
    if (slice_eq(method, SLICE("POST")))
        return "create";
    if (slice_eq(method, SLICE("PUT")))
        return "update";
    if (slice_eq(method, SLICE("PATCH")))
        return "patch";
    return !slice_eq(method, SLICE("DELETE")) ? "none" : one ? "delete" : "deletecollection";
}

bool access_kind_is_namespaced(const char *group, const char *resource, bool fallback)
{
    const struct kind *k;
    for (size_t i = 0; (k = kind_at(i)); i++)
        if (strcmp(k->group, group) == 0 && strcmp(k->plural, resource) == 0)
            return k->namespaced;
    return fallback;
}

/* What stands behind the version; false: nothing that is a name. */
static bool read_resource(struct slice rest, bool core, struct access_request *r)
{
    struct slice scope = rest;
    if (!take(&rest, r->resource))
        return false;
    if (strcmp(r->resource, "namespaces") == 0 && slice_split(&scope, '/').len) {
        struct slice beyond = scope;
        (void)slice_split(&beyond, '/');
        if (beyond.len && !(core && slice_eq(beyond, SLICE("status")))) {
            if (!take(&scope, r->namespace_name) || !take(&scope, r->resource))
                return false;
            rest = scope;
        }
    }
    if (rest.len && !take(&rest, r->name))
        return false;
    if (rest.len > ACCESS_WORD_MAX)
        return false;
    memcpy(r->subresource, rest.ptr ? rest.ptr : "", rest.len);
    if (core && strcmp(r->resource, "namespaces") == 0) /* one's own namespace is in it */
        set(r->namespace_name, r->name);
    r->namespaced = access_kind_is_namespaced(r->group, r->resource, r->namespace_name[0]);
    return true;
}

/* Below /api/v1/ or /apis/GROUP/VERSION/; false: it is a page, such as a list of what there is. */
static bool read_kubernetes(struct slice method, struct slice path, struct slice query, struct access_request *r)
{
    char version[ACCESS_WORD_MAX + 1];
    struct slice rest = slice_from(path, 1);
    bool core = slice_eq(slice_split(&rest, '/'), SLICE("api"));
    if ((!core && !take(&rest, r->group)) || !take(&rest, version) || !rest.len || !read_resource(rest, core, r))
        return false;
    set(r->verb, verb_of(method, r->name[0], query));
    return true;
}

/* ---- leat's own pages ---- */

static bool is_page(const struct page *p, struct slice method, struct slice rest, struct access_request *r)
{
    char kind[ACCESS_WORD_MAX + 1];
    struct slice page = slice_split(&rest, '/');
    if (!slice_eq_str(method, p->method) || !slice_eq_str(page, p->page))
        return false;
    if (p->object && (!take(&rest, r->namespace_name) || !take(&rest, kind) || !take(&rest, r->name)))
        return false;
    if (p->one && !take(&rest, r->name))
        return false;
    return slice_eq_str(rest, p->action ? p->action : "");
}

static bool read_page(struct slice method, struct slice path, struct slice query, struct access_request *r)
{
    struct slice rest = slice_from(path, sizeof "/leat/v1/" - 1);
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        *r = (struct access_request){.namespaced = true};
        if (!is_page(&pages[i], method, rest, r))
            continue;
        set(r->verb, pages[i].verb);
        set(r->group, ACCESS_LEAT_GROUP);
        set(r->resource, pages[i].resource);
        if (strcmp(pages[i].page, "tail") == 0)
            parameter(query, "namespace", r->namespace_name);
        if (strcmp(pages[i].page, "tail") == 0 && !r->namespace_name[0])
            set(r->namespace_name, "default");
        return true;
    }
    return false;
}

void access_request_read(struct slice method, struct slice path, struct slice query, struct access_request *r)
{
    bool known = false;
    *r = (struct access_request){0};
    if (slice_has_prefix(path, SLICE("/api/")) || slice_has_prefix(path, SLICE("/apis/")))
        known = read_kubernetes(method, path, query, r);
    else if (slice_has_prefix(path, SLICE("/leat/v1/")))
        known = read_page(method, path, query, r);
    if (known)
        return;
    *r = (struct access_request){.path = path};
    set(r->verb, verb_of(method, true, SLICE("")));
}
