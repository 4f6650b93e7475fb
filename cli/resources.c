/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat apply`, `get`, `delete`: resources of a running server, over the same Kubernetes paths that any other client
 * uses.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

#define OUTPUT_OPTION                                                                                                  \
    {                                                                                                                  \
        "output", 'o', "FORM", "json, yaml, name or table. Default: table.", false                                     \
    }

/* ---- apply ---- */

static void print_problems(const struct problems *p)
{
    struct buf out;
    buf_init(&out, 1u << 20);
    for (size_t i = 0; i < p->count; i++)
        problem_print(&p->list[i], &out);
    if (out.len)
        fwrite(out.ptr, 1, out.len, stderr);
    buf_fini(&out);
}

static const char *metadata_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "metadata"), name));
}

/* The body for a replace: the declared object with the stored one's resourceVersion, so that a change in between is
 * noticed. */
static cJSON *with_version(const cJSON *object, const cJSON *stored)
{
    cJSON *copy = cJSON_Duplicate(object, true);
    const char *version = metadata_of(stored, "resourceVersion");
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(copy, "metadata");
    if (metadata && version) {
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "resourceVersion");
        cJSON_AddStringToObject(metadata, "resourceVersion", version);
    }
    return copy;
}

static bool apply_one(struct client *cl, const struct invocation *in, const cJSON *object, const struct kind *kind)
{
    const char *declared = metadata_of(object, "namespace"), *name = metadata_of(object, "name");
    const char *space = declared ? declared : namespace_of(in), *verb = "unchanged";
    struct buf url;
    int status;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, space, name);
    cJSON *stored = api_send(cl, "GET", url.ptr, NULL, &status), *result = NULL;
    if (stored) {
        cJSON *body = with_version(object, stored);
        result = api_send(cl, "PUT", url.ptr, body, &status);
        const char *before = metadata_of(stored, "resourceVersion"),
                   *after = result ? metadata_of(result, "resourceVersion") : NULL;
        if (before && after && strcmp(before, after) != 0)
            verb = "configured";
        cJSON_Delete(body);
    } else if (status == 404) {
        buf_clear(&url);
        object_url(&url, server_url(in), kind, space, NULL);
        result = api_send(cl, "POST", url.ptr, object, &status);
        verb = "created";
    }
    if (result)
        printf("%s%s%s/%s %s\n", kind->singular, kind->group[0] ? "." : "", kind->group, name, verb);
    bool good = result != NULL;
    cJSON_Delete(stored);
    cJSON_Delete(result);
    buf_fini(&url);
    return good;
}

static int apply_all(const struct invocation *in, const struct manifest *m)
{
    struct client *cl = client_new(in->command);
    int code = EXIT_CODE_OK;
    if (!cl)
        return EXIT_CODE_FAILED;
    for (size_t i = 0; i < manifest_count(m); i++)
        if (!apply_one(cl, in, manifest_object(m, i), manifest_kind(m, i)))
            code = EXIT_CODE_FAILED;
    client_free(cl);
    return code;
}

static int run_apply(const struct invocation *in)
{
    const char *paths[64];
    size_t count = 0, cursor = 0;
    struct problems problems;
    struct manifest *m = NULL;
    struct diag d = {0};
    for (const char *v; count < 64 && (v = option_next(in, "file", &cursor));)
        paths[count++] = v;
    if (count == 0)
        return usage_error(in->command, "name a file or folder of manifests with -f, or -f - for standard input.");
    if (kinds_load(&d) != OK)
        return fail(in->command, EXIT_CODE_FAILED, "%s", d.text);
    problems_init(&problems);
    enum err e = manifest_load(paths, count, &m, &problems);
    print_problems(&problems);
    int code = e != OK               ? fail(in->command, EXIT_CODE_FAILED, "out of memory.")
               : problems.errors > 0 ? fail(in->command, EXIT_CODE_INPUT, "nothing was applied.")
                                     : apply_all(in, m);
    manifest_free(m);
    problems_fini(&problems);
    kinds_unload();
    return code;
}

static const struct option_spec apply_options[] = {
    {"file", 'f', "PATH", "A manifest, or a folder of them; - for standard input. May be given more than once.", true},
    CLIENT_OPTIONS,
    {0},
};

const struct command command_apply = {
    .name = "apply",
    .summary = "Make a running server have what manifests declare",
    .operands = "",
    .text = "Objects that a file of `serve -f` declares belong to that file: changing them here is refused with 409.",
    .examples = "  leat apply -f channel.yaml\n  cat channel.yaml | leat apply -f -",
    .options = apply_options,
    .run = run_apply,
};

/* ---- get ---- */

/* Follows a JSON path of the schemas' columns: ".status.address.url", ".status.conditions[?(@.type=='Ready')].status".
 * NULL when absent. */
static const cJSON *follow(const cJSON *at, const char *path)
{
    char name[128];
    while (at && *path) {
        size_t n = strcspn(path + (*path == '.'), ".[");
        path += *path == '.';
        if (n >= sizeof name)
            return NULL;
        memcpy(name, path, n);
        name[n] = '\0';
        at = n ? cJSON_GetObjectItemCaseSensitive(at, name) : at;
        path += n;
        if (*path != '[')
            continue;
        char wanted[128];
        int used = 0;
        if (sscanf(path, "[?(@.type%*[ =]%*1['\"]%127[^'\"]%*1['\"])]%n", wanted, &used) != 1 || used == 0)
            return NULL;
        const cJSON *item, *found = NULL;
        cJSON_ArrayForEach(item, at) {
            const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "type"));
            if (type && strcmp(type, wanted) == 0)
                found = item;
        }
        at = found;
        path += used;
    }
    return at;
}

/* One cell's text, in `out`. */
static void cell(const cJSON *object, const struct kind_column *column, char *out, size_t size)
{
    const cJSON *v = follow(object, column->json_path);
    const char *text = cJSON_GetStringValue(v);
    if (text)
        snprintf(out, size, "%s", text);
    else if (cJSON_IsNumber(v))
        snprintf(out, size, "%g", v->valuedouble);
    else if (cJSON_IsBool(v))
        snprintf(out, size, "%s", cJSON_IsTrue(v) ? "true" : "false");
    else
        out[0] = '\0';
}

enum { COLUMNS_MAX = 12, CELL_MAX = 256 };

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

static void print_table(const struct kind *kind, const cJSON *items)
{
    struct table t;
    const cJSON *item;
    char text[CELL_MAX];
    int name_width = 4;
    cJSON_ArrayForEach(item, items)
        if ((int)strlen(metadata_of(item, "name")) > name_width)
            name_width = (int)strlen(metadata_of(item, "name"));
    choose_columns(kind, &t);
    measure(&t, items);
    printf("%-*s", name_width, "NAME");
    for (size_t i = 0; i < t.count; i++)
        printf("  %-*s", t.widths[i], t.columns[i]->name);
    putchar('\n');
    cJSON_ArrayForEach(item, items) {
        printf("%-*s", name_width, metadata_of(item, "name"));
        for (size_t i = 0; i < t.count; i++) {
            cell(item, t.columns[i], text, sizeof text);
            const char *c = colour(t.columns[i]->name, text);
            printf("  %s%-*s%s", c, t.widths[i], text, *c ? "\033[0m" : "");
        }
        putchar('\n');
    }
}

static void print_names(const struct kind *kind, const cJSON *items)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, items)
        printf("%s%s%s/%s\n", kind->singular, kind->group[0] ? "." : "", kind->group, metadata_of(item, "name"));
}

static void print_one_or_list(const struct kind *kind, cJSON *tree, bool one, enum output form)
{
    if (form == OUTPUT_JSON || form == OUTPUT_YAML) {
        print_tree(tree, form);
        return;
    }
    cJSON *items = one ? cJSON_CreateArray() : cJSON_GetObjectItemCaseSensitive(tree, "items");
    if (one)
        cJSON_AddItemReferenceToArray(items, tree);
    if (form == OUTPUT_NAME)
        print_names(kind, items);
    else if (cJSON_GetArraySize(items) == 0)
        fprintf(stderr, "No %s found.\n", kind->plural);
    else
        print_table(kind, items);
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

static int get_them(const struct invocation *in, enum output form)
{
    const struct kind *kind;
    const char *name;
    struct buf url;
    int status;
    struct client *cl;
    if (in->operand_count == 0)
        return list_kinds();
    if (!parse_reference(in, &kind, &name))
        return EXIT_CODE_USAGE;
    if (!(cl = client_new(in->command)))
        return EXIT_CODE_FAILED;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, option_given(in, "all-namespaces") ? NULL : namespace_of(in), name);
    cJSON *tree = api_send(cl, "GET", url.ptr, NULL, &status);
    int code = tree ? EXIT_CODE_OK : EXIT_CODE_FAILED;
    if (tree)
        print_one_or_list(kind, tree, name != NULL, form);
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
    struct diag d = {0};
    enum output form;
    if (!read_output(in, &form))
        return EXIT_CODE_USAGE;
    if (kinds_load(&d) != OK)
        return fail(in->command, EXIT_CODE_FAILED, "%s", d.text);
    int code = get_them(in, form);
    kinds_unload();
    return code;
}

static const struct option_spec get_options[] = {
    CLIENT_OPTIONS,
    {"all-namespaces", 'A', NULL, "All namespaces.", false},
    OUTPUT_OPTION,
    {0},
};

const struct command command_get = {
    .name = "get",
    .summary = "Show resources of a running server",
    .operands = "[KIND[/NAME]]",
    .text = "A kind is given by plural, singular or short name; without one, all kinds are listed.",
    .examples = "  leat get channels\n  leat get subscription/orders-to-billing -o yaml\n  leat get feeds -A -o json",
    .options = get_options,
    .run = run_get,
};

/* ---- delete ---- */

static int delete_one(const struct invocation *in)
{
    const struct kind *kind;
    const char *name;
    struct buf url;
    int status;
    if (!parse_reference(in, &kind, &name))
        return EXIT_CODE_USAGE;
    if (!name)
        return usage_error(in->command, "say which one: %s/NAME.", kind->singular);
    struct client *cl = client_new(in->command);
    if (!cl)
        return EXIT_CODE_FAILED;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, namespace_of(in), name);
    cJSON *tree = api_send(cl, "DELETE", url.ptr, NULL, &status);
    if (tree)
        printf("%s%s%s/%s deleted\n", kind->singular, kind->group[0] ? "." : "", kind->group, name);
    int code = tree ? EXIT_CODE_OK : EXIT_CODE_FAILED;
    cJSON_Delete(tree);
    buf_fini(&url);
    client_free(cl);
    return code;
}

static int run_delete(const struct invocation *in)
{
    struct diag d = {0};
    if (in->operand_count == 0)
        return usage_error(in->command, "say what: KIND/NAME.");
    if (kinds_load(&d) != OK)
        return fail(in->command, EXIT_CODE_FAILED, "%s", d.text);
    int code = delete_one(in);
    kinds_unload();
    return code;
}

static const struct option_spec delete_options[] = {CLIENT_OPTIONS, {0}};

const struct command command_delete = {
    .name = "delete",
    .summary = "Take a resource away from a running server",
    .operands = "KIND/NAME",
    .text = "Events that wait for a deleted subscription are gone with it; parked ones stay until the server stops.",
    .examples = "  leat delete subscription/orders-to-billing",
    .options = delete_options,
    .run = run_delete,
};
