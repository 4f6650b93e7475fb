/* SPDX-License-Identifier: Apache-2.0
 *
 * The one table of what roles may do. `view` reads all but Secrets, `operate` also gives orders about deliveries,
 * `edit` also writes what lies in namespaces, `admin` may do everything; `publish` only sends events, for which the API
 * has no page: ingress will ask for it.
 */
#include "roles.h"

#include <string.h>

#include "resource.h"

#define ALL ((1u << ROLE_COUNT) - 1)
#define ADMIN (1u << ROLE_ADMIN)
#define EDITORS (ADMIN | 1u << ROLE_EDIT)
#define OPERATORS (EDITORS | 1u << ROLE_OPERATE)
#define READERS (OPERATORS | 1u << ROLE_VIEW)

/* Words with spaces between; "*" is any. */
static const struct rule {
    unsigned roles;
    const char *verbs, *group, *resources;
    const char *but; /* resources that "*" leaves out */
    enum {
        ANY_SCOPE = 0,
        NAMESPACED = 1, /* only what lies in a namespace */
        WHOLE = 2,      /* no subresource */
        EVERYBODY = 4,  /* about oneself: whatever the token's namespace */
        FILTERED = 8,   /* where the request names no namespace, the page shows what is of the token's (access_sees) */
    } where;
} rules[] = {
    {ALL, "create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", NULL, EVERYBODY},
    {ALL, "create", "authentication.k8s.io", "selfsubjectreviews", NULL, EVERYBODY},
    {READERS, "get list watch", "*", "*", "secrets", ANY_SCOPE},
    {EDITORS, "get list watch", "", "secrets", NULL, ANY_SCOPE},
    {EDITORS, "create update patch delete deletecollection", "*", "*", NULL, NAMESPACED | WHOLE},
    {READERS, "get list watch", ACCESS_LEAT_GROUP, "tail", NULL, ANY_SCOPE},
    {READERS, "get list watch", ACCESS_LEAT_GROUP, "explain dlq tasks subscriptions", NULL, FILTERED},
    {OPERATORS, "pause resume replay", ACCESS_LEAT_GROUP, "subscriptions", NULL, ANY_SCOPE},
    {OPERATORS, "redrive discard", ACCESS_LEAT_GROUP, "dlq", NULL, ANY_SCOPE},
    {OPERATORS, "delete", ACCESS_LEAT_GROUP, "tasks", NULL, FILTERED},
    {ADMIN, "*", "*", "*", NULL, ANY_SCOPE},
};

static const struct page_rule {
    unsigned roles;
    const char *verbs, *pages; /* see is_page */
    bool all_namespaces;       /* what they show is of all namespaces */
} page_rules[] = {
    {ALL, "get", "/ /livez /readyz /healthz /version /api /api/* /apis /apis/* /apis/*/* /openapi/**", false},
    {READERS, "get", "/metrics", true},
    {ADMIN, "*", "**", true},
};

static bool has_word(const char *words, struct slice word)
{
    struct slice rest = slice_str(words);
    while (rest.ptr) {
        struct slice each = slice_split(&rest, ' ');
        if (slice_eq(each, SLICE("*")) || slice_eq(each, word))
            return true;
    }
    return false;
}

/* leat's own pages are in no "*" but the admin's: a new one is open to nobody else until it is said who may. */
static bool has_resource(const struct rule *rule, const struct access_request *r)
{
    bool everything = rule->verbs[0] == '*';
    if (!everything && rule->group[0] == '*' && strcmp(r->group, ACCESS_LEAT_GROUP) == 0)
        return false;
    if (rule->but && (has_word(rule->but, slice_str(r->resource)) || strcmp(r->resource, "*") == 0))
        return false;
    return (strcmp(rule->group, "*") == 0 || strcmp(rule->group, r->group) == 0) &&
           has_word(rule->resources, slice_str(r->resource));
}

static bool rule_allows(const struct rule *rule, enum role role, const char *space, const struct access_request *r)
{
    if (!(rule->roles & 1u << role) || !has_word(rule->verbs, slice_str(r->verb)) || !has_resource(rule, r))
        return false;
    if ((rule->where & NAMESPACED && !r->namespaced) || (rule->where & WHOLE && r->subresource[0]))
        return false;
    if (rule->where & EVERYBODY || (rule->where & FILTERED && !r->namespace_name[0]))
        return true;
    return !space[0] || strcmp(space, r->namespace_name) == 0;
}

/* A star stands for one part of a path, two for all that follows. */
static bool is_page(struct slice page, struct slice path)
{
    while (page.ptr && path.ptr) {
        struct slice wanted = slice_split(&page, '/'), part = slice_split(&path, '/');
        if (slice_eq(wanted, SLICE("**")))
            return true;
        if (!slice_eq(wanted, SLICE("*")) && !slice_eq(wanted, part))
            return false;
    }
    return !page.ptr && !path.ptr;
}

static bool has_page(const char *pages, struct slice path)
{
    struct slice rest = slice_str(pages);
    while (rest.ptr)
        if (is_page(slice_split(&rest, ' '), path))
            return true;
    return false;
}

bool access_allows(enum role role, const char *namespace_name, const struct access_request *r)
{
    for (size_t i = 0; r->path.ptr && i < sizeof page_rules / sizeof page_rules[0]; i++) {
        const struct page_rule *p = &page_rules[i];
        if (p->roles & 1u << role && has_word(p->verbs, slice_str(r->verb)) && has_page(p->pages, r->path) &&
            (!p->all_namespaces || !namespace_name[0]))
            return true;
    }
    for (size_t i = 0; !r->path.ptr && i < sizeof rules / sizeof rules[0]; i++)
        if (rule_allows(&rules[i], role, namespace_name, r))
            return true;
    return false;
}

/* ---- the rules as Kubernetes shows them ---- */

static void put_words(struct buf *out, const char *name, const char *words)
{
    struct slice rest = slice_str(words);
    buf_printf(out, "\"%s\":[", name);
    for (bool first = true; first || rest.ptr; first = false) {
        buf_put_str(out, first ? "" : ",");
        buf_put_json_string(out, slice_split(&rest, ' '));
    }
    buf_put_char(out, ']');
}

static void put_rule(struct buf *out, const char **before, const char *verbs, const char *group, const char *resources)
{
    buf_printf(out, "%s{", *before);
    put_words(out, "verbs", verbs);
    buf_put_char(out, ',');
    put_words(out, "apiGroups", group);
    buf_put_char(out, ',');
    put_words(out, "resources", resources);
    buf_put_char(out, '}');
    *before = ",";
}

static bool is_first_of_group(size_t i)
{
    for (size_t n = 0; n < i; n++)
        if (strcmp(kind_at(n)->group, kind_at(i)->group) == 0)
            return false;
    return true;
}

/* Kubernetes' "*" would take in what ours leaves out: leat's own pages, and `but`, which is of the group "". */
static void put_each_group(struct buf *out, const char **before, const struct rule *rule)
{
    const struct kind *k;
    for (size_t i = 0; (k = kind_at(i)); i++)
        if (rule->but && !k->group[0]) {
            if (!has_word(rule->but, slice_str(k->plural)))
                put_rule(out, before, rule->verbs, k->group, k->plural);
        } else if (is_first_of_group(i)) {
            put_rule(out, before, rule->verbs, k->group, "*");
        }
    put_rule(out, before, rule->verbs, kind_of_definitions()->group, "*");
}

void access_rules_put(enum role role, const char *namespace_name, struct buf *out)
{
    const char *before = "";
    buf_put_str(out, "\"resourceRules\":[");
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (!(rules[i].roles & 1u << role))
            continue;
        if (rules[i].group[0] == '*' && rules[i].verbs[0] != '*')
            put_each_group(out, &before, &rules[i]);
        else
            put_rule(out, &before, rules[i].verbs, rules[i].group, rules[i].resources);
    }
    before = "";
    buf_put_str(out, "],\"nonResourceRules\":[");
    for (size_t i = 0; i < sizeof page_rules / sizeof page_rules[0]; i++) {
        if (!(page_rules[i].roles & 1u << role) || (page_rules[i].all_namespaces && namespace_name[0]))
            continue;
        buf_printf(out, "%s{", before);
        put_words(out, "verbs", page_rules[i].verbs);
        buf_put_char(out, ',');
        put_words(out, "nonResourceURLs", page_rules[i].pages);
        buf_put_char(out, '}');
        before = ",";
    }
    buf_put_char(out, ']');
}
