/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat audit`: who changed which resource of a running server, when, and what of it.
 */
#include <stdio.h>
#include <string.h>

#include "client.h"

#define PATHS_SAID_MAX 4 /* of what changed, in a line of the table */

/* ---- what changed ---- */

/* What every write changes, or none. */
static bool is_served(const char *name)
{
    static const char *const served[] = {"resourceVersion", "generation", "uid", "creationTimestamp"};
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++)
        if (strcmp(name, served[i]) == 0)
            return true;
    return false;
}

struct paths {
    struct buf text;
    size_t count;
};

static void put_path(struct paths *p, const char *path)
{
    if (p->count++ < PATHS_SAID_MAX)
        buf_printf(&p->text, "%s%s", p->count > 1 ? ", " : "", path);
}

/* The paths at which two trees differ; arrays are compared whole. Depth is that of what the server took. */
static void differences(const cJSON *before, const cJSON *after, const char *path, struct paths *p)
{
    char below[300];
    const cJSON *each;
    if (!cJSON_IsObject(before) || !cJSON_IsObject(after)) {
        if (!before || !after || !cJSON_Compare(before, after, true))
            put_path(p, path);
        return;
    }
    cJSON_ArrayForEach(each, before) {
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", each->string);
        if (!is_served(each->string))
            differences(each, cJSON_GetObjectItemCaseSensitive(after, each->string), below, p);
    }
    cJSON_ArrayForEach(each, after) {
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", each->string);
        if (!is_served(each->string) && !cJSON_GetObjectItemCaseSensitive(before, each->string))
            put_path(p, below);
    }
}

/* ---- the table ---- */

static const char *text_of(const cJSON *entry, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, name));
    return text ? text : "";
}

static void object_text(const cJSON *entry, char *out, size_t size)
{
    const char *ns = text_of(entry, "namespace");
    snprintf(out, size, "%s %s%s%s", text_of(entry, "kind"), ns, *ns ? "/" : "", text_of(entry, "name"));
}

static int widest(const cJSON *items, const char *name, int least)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, items)
        if ((int)strlen(text_of(each, name)) > least)
            least = (int)strlen(text_of(each, name));
    return least;
}

static void print_change(const cJSON *entry)
{
    const cJSON *before = cJSON_GetObjectItemCaseSensitive(entry, "before"),
                *after = cJSON_GetObjectItemCaseSensitive(entry, "after");
    struct paths p = {.count = 0};
    if (!before || !after)
        return;
    buf_init(&p.text, 4096);
    differences(before, after, "", &p);
    printf("  %.*s", SLICE_ARG(buf_slice(&p.text)));
    if (p.count > PATHS_SAID_MAX)
        printf(", and %zu more", p.count - PATHS_SAID_MAX);
    buf_fini(&p.text);
}

static void print_table(const cJSON *items)
{
    char object[700];
    const cJSON *each;
    int who = widest(items, "who", 3), longest = 6;
    cJSON_ArrayForEach(each, items) {
        object_text(each, object, sizeof object);
        if ((int)strlen(object) > longest)
            longest = (int)strlen(object);
    }
    printf("%-24s  %-*s  %-6s  %-*s  %s\n", "TIME", who, "WHO", "VERB", longest, "OBJECT", "CHANGED");
    cJSON_ArrayForEach(each, items) {
        bool changed =
            cJSON_GetObjectItemCaseSensitive(each, "before") && cJSON_GetObjectItemCaseSensitive(each, "after");
        object_text(each, object, sizeof object);
        printf("%-24s  %-*s  %-6s  %-*s", text_of(each, "time"), who, text_of(each, "who"), text_of(each, "verb"),
               changed ? longest : 0, object);
        print_change(each);
        putchar('\n');
    }
}

/* ---- the verb ---- */

static bool put_query(const struct invocation *in, struct buf *url)
{
    const struct kind *kind;
    const char *name = NULL, *ns = option_value(in, "namespace", NULL);
    buf_put_str(url, server_url(in));
    buf_put_str(url, "/leat/v1/audit");
    if (in->operand_count > 0) {
        if (!parse_reference(in, &kind, &name))
            return false;
        url_put_query(url, "group", slice_str(kind->group));
        url_put_query(url, "kind", slice_str(kind->kind));
        if (name)
            url_put_query(url, "name", slice_str(name));
        if (name && kind->namespaced && !ns)
            ns = namespace_of(in);
    }
    if (ns)
        url_put_query(url, "namespace", slice_str(ns));
    url_put_query(url, "limit", slice_str(option_value(in, "limit", "100")));
    buf_put_char(url, 0);
    return true;
}

static int audit(const struct invocation *in, enum output form)
{
    struct buf url;
    int status;
    buf_init(&url, 8192);
    struct client *cl = put_query(in, &url) ? client_new(in) : NULL;
    if (!cl) {
        buf_fini(&url);
        return EXIT_CODE_USAGE;
    }
    cJSON *tree = api_send(cl, "GET", url.ptr, NULL, &status);
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(tree, "items");
    if (tree && form != OUTPUT_TABLE)
        print_tree(tree, form);
    else if (tree && cJSON_GetArraySize(items) == 0)
        fprintf(stderr, "No changes found.\n");
    else if (tree)
        print_table(items);
    cJSON_Delete(tree);
    client_free(cl);
    buf_fini(&url);
    return tree ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static int run_audit(const struct invocation *in)
{
    enum output form;
    if (!read_output(in, &form))
        return EXIT_CODE_USAGE;
    if (form == OUTPUT_NAME)
        return usage_error(in->command, "-o: there are json, yaml and table.");
    return audit(in, form);
}

static const struct option_spec audit_options[] = {
    CLIENT_OPTIONS,
    {"limit", 0, "N", "The newest so many, 1 to 1000. Default: 100.", false},
    {"output", 'o', "FORM", "json, yaml or table. Default: table.", false},
    {0},
};

const struct command command_audit = {
    .name = "audit",
    .summary = "Show who changed which resource, and what of it",
    .operands = "[KIND[/NAME]]",
    .operand_max = 2,
    .text = "The newest change first. WHO is the address that a request came from, or the file of `serve -f`.\n"
            "With -o json each has the object before and after; values of Secrets are never kept there.",
    .examples = "  leat audit\n  leat audit subscription/orders-to-billing -o json",
    .options = audit_options,
    .uses_kinds = true,
    .run = run_audit,
};
