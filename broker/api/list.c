/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists: of a kind, in a namespace or in all, those that the selectors mean, a page at a time.
 *
 * A page ends with a token: the version of the first page, and the last object's namespace and name. The next page
 * begins behind that object, whatever has come and gone since, and says the first page's version again: who watches
 * from there learns of everything that changed between the pages.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../resource/check.h"
#include "kubernetes.h"
#include "namespaces.h"
#include "text.h"

#define TOKEN_MAX 1024 /* bytes of a decoded token: two names and a number */

struct page {
    struct api *api;
    const struct api_target *target;
    struct api_selection selection;
    uint64_t limit; /* 0: none */
    uint64_t version;
    uint64_t cursor;
    const struct resource *last; /* of those that were shown */
    size_t remaining;
    cJSON **shown; /* what the listing refers to */
    size_t shown_count, shown_cap;
};

/* ---- tokens ---- */

static char *token_make(const struct page *p)
{
    struct buf plain, token;
    buf_init(&plain, TOKEN_MAX);
    buf_init(&token, 2 * TOKEN_MAX);
    buf_printf(&plain, "%llu\n%s\n%s", (unsigned long long)p->version, p->last->namespace_name, p->last->name);
    if (buf_error(&plain) == OK)
        base64_put(&token, buf_slice(&plain));
    char *text = buf_error(&plain) == OK ? buf_take_string(&token) : NULL;
    buf_fini(&plain);
    buf_fini(&token);
    return text;
}

/* Goes behind what a decoded token names. */
static bool token_take(struct page *p, struct slice plain)
{
    char space[API_NAME_MAX + 1], name[API_NAME_MAX + 1];
    struct slice version = slice_split(&plain, '\n'), ns = slice_split(&plain, '\n');
    if (decimal_parse(version, UINT64_MAX, &p->version) != OK || ns.len > API_NAME_MAX || !plain.len ||
        plain.len > API_NAME_MAX || memchr(plain.ptr, 0, plain.len) || (ns.len && memchr(ns.ptr, 0, ns.len)))
        return false;
    snprintf(space, sizeof space, "%.*s", SLICE_ARG(ns));
    snprintf(name, sizeof name, "%.*s", SLICE_ARG(plain));
    p->cursor = namespaces_behind(p->api->namespaces, p->api->table, p->target->kind, space, name);
    return true;
}

static bool read_continue(struct http_request *r, struct page *p)
{
    struct buf token, plain;
    buf_init(&token, 2 * TOKEN_MAX);
    buf_init(&plain, TOKEN_MAX);
    bool there = api_query(r, "continue", &token) && token.len;
    bool good = !there || (buf_error(&token) == OK && base64_decode(buf_slice(&token), &plain) == OK &&
                           buf_error(&plain) == OK && token_take(p, buf_slice(&plain)));
    buf_fini(&token);
    buf_fini(&plain);
    if (!good)
        api_status(r, 400, "BadRequest", "continue key is not valid: it is none that this server gave");
    return good;
}

/* ---- what is asked for ---- */

/* A list is always of now, which is at least as new as any version that was given. One that was not given yet is a
 * mistake, or another server's. */
static bool check_version(struct http_request *r, const struct page *p)
{
    struct buf text;
    uint64_t wanted = 0;
    buf_init(&text, 32);
    bool there = api_query(r, "resourceVersion", &text) && text.len;
    bool number = !there || (buf_error(&text) == OK && decimal_parse(buf_slice(&text), UINT64_MAX, &wanted) == OK);
    buf_fini(&text);
    if (!number)
        api_status(r, 400, "BadRequest", "resourceVersion: Invalid value: must be a whole number");
    else if (wanted > resource_table_version(p->api->table))
        api_status_of(r, 504, "Timeout", p->target,
                      api_causes("ResourceVersionTooLarge", "Too large resource version", ""),
                      "Too large resource version: %llu, current: %llu", (unsigned long long)wanted,
                      (unsigned long long)resource_table_version(p->api->table));
    return number && wanted <= resource_table_version(p->api->table);
}

static bool page_read(struct http_request *r, struct page *p)
{
    p->version = resource_table_version(p->api->table);
    return api_query_number(r, "limit", 0, &p->limit) && check_version(r, p) && read_continue(r, p) &&
           api_selection_read(r, p->target->kind, &p->selection);
}

/* ---- filling ---- */

static bool keep(struct page *p, cJSON *shown)
{
    if (p->shown_count == p->shown_cap) {
        size_t cap = p->shown_cap ? 2 * p->shown_cap : 64;
        cJSON **grown = realloc(p->shown, cap * sizeof *grown);
        if (!grown)
            return false;
        p->shown = grown;
        p->shown_cap = cap;
    }
    p->shown[p->shown_count++] = shown;
    return true;
}

static bool show(struct page *p, struct api_listing *l, const struct resource *found)
{
    cJSON *shown = api_shown(found);
    if (!shown || !keep(p, shown)) {
        cJSON_Delete(shown);
        return false;
    }
    p->last = found;
    return api_listing_add(l, shown);
}

static bool fill(struct page *p, struct api_listing *l)
{
    const struct api_target *t = p->target;
    const char *scope = t->namespace_name[0] ? t->namespace_name : NULL;
    bool good = true;
    for (const struct resource *r;
         good && (r = namespaces_next(p->api->namespaces, p->api->table, t->kind, scope, &p->cursor));) {
        if (!api_selection_matches(&p->selection, r->object))
            continue;
        if (p->limit && p->shown_count == p->limit)
            p->remaining++;
        else
            good = show(p, l, r);
    }
    return good;
}

/* Definitions are no resources of the table: they are what the program brings. */
static bool fill_definitions(struct page *p, struct api_listing *l)
{
    const cJSON *d;
    bool good = true;
    for (size_t i = 0; good && (d = kind_definition(i)); i++)
        if (api_selection_matches(&p->selection, d))
            good = api_listing_add(l, d);
    return good;
}

static void answer(struct http_request *r, struct page *p, const struct api_form *f)
{
    struct api_listing l = {0};
    char *token = NULL;
    bool selects = p->selection.labels || p->selection.fields;
    bool good = api_listing_begin(&l, p->api, p->target->kind, f) &&
                (kind_is_definition(p->target->kind) ? fill_definitions(p, &l) : fill(p, &l));
    if (good && p->remaining)
        good = p->last && (token = token_make(p));
    /* As there: what is left is told only where nothing selects. */
    good = good && api_listing_end(&l, p->version, token, selects ? 0 : p->remaining);
    api_json(r, 200, good ? l.tree : NULL);
    free(token);
    api_listing_fini(&l);
}

void api_list(struct api *a, struct http_request *r, const struct api_target *t, const struct api_form *f)
{
    struct page p = {.api = a, .target = t};
    if (page_read(r, &p))
        answer(r, &p, f);
    api_selection_fini(&p.selection);
    for (size_t i = 0; i < p.shown_count; i++)
        cJSON_Delete(p.shown[i]);
    free(p.shown);
}
