/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat get`: shows resources of a running server, as a table with the columns that the kind's schema names, or whole.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "client.h"
#include "quarantine.h"

/* One cell's text, cut where it is longer than a cell may be. */
static void cell(const cJSON *object, const struct kind_column *column, char *out, size_t size)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    kind_column_put(column, object, &text);
    snprintf(out, size, "%.*s", SLICE_ARG(buf_slice(&text)));
    buf_fini(&text);
}

/* Who an object belongs to: a file of `serve -f`, which is the manager of no fields but the whole, or "api". */
static const char *owner_of(const cJSON *object)
{
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata"),
                *first = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(metadata, "managedFields"), 0);
    const char *manager = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(first, "manager"));
    return manager && !cJSON_GetObjectItemCaseSensitive(first, "fieldsV1") ? manager : "api";
}

/* Who manages which fields is long, and nobody's to write; a file is told all the same. */
static void managers_hide(cJSON *object)
{
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    if (strcmp(owner_of(object), "api") == 0)
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "managedFields");
}

enum { COLUMNS_MAX = 12, CELL_MAX = 256 };

/* How wide the column of a field of metadata is. */
static int width_of(const cJSON *items, const char *head, const char *field)
{
    const cJSON *item;
    size_t width = strlen(head);
    cJSON_ArrayForEach(item, items) {
        const char *text = metadata_of(item, field); /* of a cluster's objects there is no namespace */
        if (text && strlen(text) > width)
            width = strlen(text);
    }
    return (int)width;
}

struct table {
    const struct kind_column *columns[COLUMNS_MAX];
    size_t count;
    int widths[COLUMNS_MAX];
};

/* Columns of a kind that are shown: no wide ones, no dates (a table of one server needs none). */
static void choose_columns(const struct kind *kind, struct table *t)
{
    t->count = 0;
    for (size_t i = 0; i < kind->column_count && t->count < COLUMNS_MAX; i++)
        if (kind->columns[i].priority == 0 && strcmp(kind->columns[i].type, "date") != 0)
            t->columns[t->count++] = &kind->columns[i];
}

static void measure(struct table *t, const cJSON *items)
{
    const cJSON *item;
    char text[CELL_MAX];
    for (size_t i = 0; i < t->count; i++) {
        t->widths[i] = (int)strlen(t->columns[i]->name);
        cJSON_ArrayForEach(item, items) {
            cell(item, t->columns[i], text, sizeof text);
            if ((int)strlen(text) > t->widths[i])
                t->widths[i] = (int)strlen(text);
        }
    }
}

static const char *colour(const char *column, const char *text)
{
    if (!colours_on(STDOUT_FILENO) || strcmp(column, "Ready") != 0)
        return "";
    return strcmp(text, "True") == 0 ? "\033[32m" : strcmp(text, "False") == 0 ? "\033[31m" : "\033[33m";
}

/* With `everywhere` the namespace stands before the name. */
static void print_table(const struct kind *kind, const cJSON *items, bool everywhere, bool backlog)
{
    struct table t;
    const cJSON *item;
    char text[CELL_MAX];
    int name_width = width_of(items, "NAME", "name"), namespace_width = width_of(items, "NAMESPACE", "namespace");
    everywhere = everywhere && kind->namespaced;
    choose_columns(kind, &t);
    if (backlog && t.count < COLUMNS_MAX)
        t.columns[t.count++] = &backlog_column;
    measure(&t, items);
    if (everywhere)
        printf("%-*s  ", namespace_width, "NAMESPACE");
    printf("%-*s", name_width, "NAME");
    for (size_t i = 0; i < t.count; i++)
        printf("  %-*s", t.widths[i], t.columns[i]->name);
    printf("  OWNER\n");
    cJSON_ArrayForEach(item, items) {
        if (everywhere)
            printf("%-*s  ", namespace_width, metadata_of(item, "namespace"));
        printf("%-*s", name_width, metadata_of(item, "name"));
        for (size_t i = 0; i < t.count; i++) {
            cell(item, t.columns[i], text, sizeof text);
            const char *c = colour(t.columns[i]->name, text);
            printf("  %s%-*s%s", c, t.widths[i], text, *c ? "\033[0m" : "");
        }
        printf("  %s\n", owner_of(item));
    }
}

static void print_names(const struct kind *kind, const cJSON *items)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, items)
        printf("%s%s%s/%s\n", kind->singular, kind->group[0] ? "." : "", kind->group, metadata_of(item, "name"));
}

static void print_one_or_list(struct client *cl, const struct invocation *in, const struct kind *kind, cJSON *tree,
                              bool one, enum output form)
{
    if (form == OUTPUT_JSON || form == OUTPUT_YAML) {
        cJSON *item;
        managers_hide(tree);
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(tree, "items"))
            managers_hide(item);
        print_tree(tree, form);
        return;
    }
    cJSON *items = one ? cJSON_CreateArray() : cJSON_GetObjectItemCaseSensitive(tree, "items");
    if (one)
        cJSON_AddItemReferenceToArray(items, tree);
    bool everywhere = option_given(in, "all-namespaces");
    if (form == OUTPUT_NAME)
        print_names(kind, items);
    else if (cJSON_GetArraySize(items) > 0)
        print_table(kind, items, everywhere, backlog_put(cl, in, kind, items));
    else if (everywhere || !kind->namespaced)
        fprintf(stderr, "No %s found.\n", kind->plural);
    else
        fprintf(stderr, "No %s found in the namespace %s; -A looks in all.\n", kind->plural, namespace_of(in));
    if (one)
        cJSON_Delete(items);
}

static int list_kinds(void)
{
    const struct kind *k;
    printf("%-28s %-32s %s\n", "NAME", "APIVERSION", "KIND");
    for (size_t i = 0; (k = kind_at(i)); i++)
        printf("%-28s %s%s%-*s %s\n", k->plural, k->group, k->group[0] ? "/" : "",
               (int)(32 - strlen(k->group) - (k->group[0] != '\0')), k->version, k->kind);
    return EXIT_CODE_OK;
}

/* ---- categories ---- */

static bool is_in(const struct kind *k, const char *category)
{
    for (const char *const *c = k->categories; c && *c; c++)
        if (strcmp(*c, category) == 0)
            return true;
    return false;
}

static bool is_category(const char *word)
{
    const struct kind *k;
    for (size_t i = 0; (k = kind_at(i)); i++)
        if (is_in(k, word))
            return true;
    return false;
}

/* What is there of one kind, as a table under its name, or added to `all`; false (said): no answer. */
static bool get_kind(struct client *cl, const struct invocation *in, const struct kind *k, enum output form, cJSON *all,
                     bool *any)
{
    struct buf url;
    int status;
    bool everywhere = option_given(in, "all-namespaces");
    buf_init(&url, 8192);
    object_url(&url, server_url(in), k, everywhere ? NULL : namespace_of(in), NULL);
    cJSON *tree = api_send(cl, "GET", url.ptr, NULL, &status), *items = cJSON_GetObjectItemCaseSensitive(tree, "items"),
          *item;
    bool some = cJSON_GetArraySize(items) > 0;
    cJSON_ArrayForEach(item, items) {
        if (form == OUTPUT_JSON || form == OUTPUT_YAML)
            managers_hide(item);
    }
    if (some && form == OUTPUT_NAME) {
        print_names(k, items);
    } else if (some && form == OUTPUT_TABLE) {
        printf("%s%s%s%s\n", *any ? "\n" : "", k->plural, k->group[0] ? "." : "", k->group);
        print_table(k, items, everywhere, backlog_put(cl, in, k, items));
    } else if (some) {
        while ((item = cJSON_DetachItemFromArray(items, 0)))
            cJSON_AddItemToArray(all, item);
    }
    *any = *any || some;
    cJSON_Delete(tree);
    buf_fini(&url);
    return tree;
}

/* All kinds of a category ("all", "knative"), each in the version that is kept. */
static int get_category(const struct invocation *in, const char *category, enum output form)
{
    const struct kind *k;
    struct client *cl = client_new(in);
    cJSON *all = cJSON_CreateObject(), *items = NULL;
    bool any = false, everywhere = option_given(in, "all-namespaces");
    if (cJSON_AddStringToObject(all, "apiVersion", "v1") && cJSON_AddStringToObject(all, "kind", "List"))
        items = cJSON_AddArrayToObject(all, "items");
    bool good = cl && items;
    for (size_t i = 0; good && (k = kind_at(i)); i++)
        if (k == k->stored && (k->namespaced || everywhere) && is_in(k, category))
            good = get_kind(cl, in, k, form, items, &any);
    if (good && (form == OUTPUT_JSON || form == OUTPUT_YAML))
        print_tree(all, form);
    else if (good && !any)
        fprintf(stderr, "No resources found%s.\n", everywhere ? "" : "; -A looks in all namespaces");
    cJSON_Delete(all);
    client_free(cl);
    return good ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static int get_them(const struct invocation *in, enum output form)
{
    const struct kind *kind;
    const char *name;
    struct buf url;
    int status;
    struct client *cl;
    if (in->operand_count == 0)
        return list_kinds();
    if (is_quarantined_word(in->operands[0]))
        return quarantine_get(in, form);
    if (in->operand_count == 1 && !kind_by_word(in->operands[0]) && is_category(in->operands[0]))
        return get_category(in, in->operands[0], form);
    if (!parse_reference(in, &kind, &name))
        return EXIT_CODE_USAGE;
    if (!(cl = client_new(in)))
        return EXIT_CODE_FAILED;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, option_given(in, "all-namespaces") ? NULL : namespace_of(in), name);
    cJSON *tree = api_send(cl, "GET", url.ptr, NULL, &status);
    int code = tree ? EXIT_CODE_OK : EXIT_CODE_FAILED;
    if (tree)
        print_one_or_list(cl, in, kind, tree, name != NULL, form);
    else if (status == 404)
        fail(in->command, code, "there is no %s '%s' in the namespace %s.", kind->singular, name ? name : "",
             namespace_of(in));
    cJSON_Delete(tree);
    buf_fini(&url);
    client_free(cl);
    return code;
}

static int run_get(const struct invocation *in)
{
    enum output form;
    if (!read_output(in, &form))
        return EXIT_CODE_USAGE;
    return get_them(in, form);
}

static const struct option_spec get_options[] = {
    CLIENT_OPTIONS,
    {"all-namespaces", 'A', NULL, "All namespaces.", false},
    {"output", 'o', "FORM", "json, yaml, name or table. Default: table.", false},
    {0},
};

const struct command command_get = {
    .name = "get",
    .summary = "Show resources of a running server",
    .operands = "[KIND[/NAME]]",
    .operand_max = 2,
    .text =
        "A kind is given by plural, singular or short name; without one, all kinds are listed. `all` stands for what "
        "is there of each that Knative has in that category; with -A also for what lies in no namespace.\n"
        "`leat get quarantined` lists what was stored and is not valid.",
    .examples = "  leat get channels\n  leat get subscription/orders-to-billing -o yaml\n  leat get feeds -A -o json\n "
                " leat get all",
    .options = get_options,
    .uses_kinds = true,
    .word = kind_word,
    .run = run_get,
};
