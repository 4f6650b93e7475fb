/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat export`: everything that a server has, as manifests that can be applied again, here or on a cluster: what the
 * server adds to an object (identity, versions, status, managers) is left out.
 */
#include <stdio.h>
#include <string.h>

#include "client.h"

struct export
{
    struct client *client;
    const struct invocation *in;
    const char *space; /* NULL: all */
    cJSON *list;       /* of -o json */
    size_t count, secrets_left_out;
    bool failed;
};

/* ---- one object ---- */

static void keep_only(cJSON *object, const char *const *names)
{
    for (cJSON *each = cJSON_IsObject(object) ? object->child : NULL, *next; each; each = next) {
        bool kept = false;
        next = each->next;
        for (const char *const *n = names; *n && !kept; n++)
            kept = strcmp(each->string, *n) == 0;
        if (!kept)
            cJSON_Delete(cJSON_DetachItemViaPointer(object, each));
    }
}

/* What kubectl and leat put there for themselves. */
static void clean_annotations(cJSON *metadata)
{
    static const char *const theirs[] = {"kubectl.kubernetes.io/last-applied-configuration"};
    cJSON *annotations = cJSON_GetObjectItemCaseSensitive(metadata, "annotations"),
          *labels = cJSON_GetObjectItemCaseSensitive(metadata, "labels");
    for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(annotations, theirs[i]);
    if (annotations && !annotations->child)
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "annotations");
    if (labels && !labels->child)
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "labels");
}

/* A Channel on the server's default bus says so with a template that only leat knows; a cluster has its own default. */
static void clean_template(const struct kind *k, cJSON *spec)
{
    const cJSON *template = cJSON_GetObjectItemCaseSensitive(spec, "channelTemplate");
    const char *kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(template, "kind"));
    if (strcmp(k->kind, "Channel") == 0 && kind && strcmp(kind, "Channel") == 0)
        cJSON_DeleteItemFromObjectCaseSensitive(spec, "channelTemplate");
}

/* The status of what others run is all that leat needs of it; that of its own kinds it makes itself. */
static bool status_stays(const struct kind *k)
{
    return !k->has_status && strcmp(k->group, "serving.knative.dev") == 0;
}

static void clean(const struct kind *k, cJSON *object)
{
    static const char *const names[] = {"name", "namespace", "labels", "annotations", NULL};
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata"),
          *spec = cJSON_GetObjectItemCaseSensitive(object, "spec");
    keep_only(metadata, names);
    clean_annotations(metadata);
    clean_template(k, spec);
    if (!status_stays(k))
        cJSON_DeleteItemFromObjectCaseSensitive(object, "status");
    if (spec && cJSON_IsObject(spec) && !spec->child)
        cJSON_DeleteItemFromObjectCaseSensitive(object, "spec");
}

static void take(struct export *x, const struct kind *k, cJSON *object)
{
    char text[300];
    clean(k, object);
    snprintf(text, sizeof text, "%s%s%s", k->group, k->group[0] ? "/" : "", k->version);
    if (!cJSON_GetObjectItemCaseSensitive(object, "apiVersion"))
        cJSON_AddStringToObject(object, "apiVersion", text);
    if (!cJSON_GetObjectItemCaseSensitive(object, "kind"))
        cJSON_AddStringToObject(object, "kind", k->kind);
    if (x->list) {
        cJSON_AddItemToArray(x->list, object);
    } else {
        printf("%s", x->count ? "---\n" : "");
        print_tree(object, OUTPUT_YAML);
        cJSON_Delete(object);
    }
    x->count++;
}

/* ---- kinds ---- */

static bool is_secret(const struct kind *k)
{
    return k->group[0] == '\0' && strcmp(k->kind, "Secret") == 0;
}

/* Namespaces before what lies in them, and Secrets and the like, which sources read, before those. */
static int stage_of(const struct kind *k)
{
    return strcmp(k->kind, "Namespace") == 0 ? 0 : k->group[0] == '\0' ? 1 : 2;
}

/* A namespace that nobody has made says that in its status. */
static bool is_declared(const struct kind *k, const cJSON *object)
{
    const char *declared = stage_of(k) == 0 ? condition_of(object, "Declared") : NULL;
    return !declared || strcmp(declared, "False") != 0;
}

static void export_kind(struct export *x, const struct kind *k)
{
    struct buf url;
    int status;
    buf_init(&url, 8192);
    object_url(&url, server_url(x->in), k, x->space, NULL);
    cJSON *tree = api_send(x->client, "GET", url.ptr, NULL, &status),
          *items = cJSON_GetObjectItemCaseSensitive(tree, "items");
    x->failed = x->failed || !tree;
    if (is_secret(k) && !option_given(x->in, "secrets"))
        x->secrets_left_out += (size_t)cJSON_GetArraySize(items);
    else
        while (items && items->child) {
            cJSON *object = cJSON_DetachItemViaPointer(items, items->child);
            if (is_declared(k, object))
                take(x, k, object);
            else
                cJSON_Delete(object);
        }
    cJSON_Delete(tree);
    buf_fini(&url);
}

/* Of what is exported when no kind is named: all that people declare. Namespaces only where all of them are asked for.
 */
static bool is_meant(const struct export *x, const struct kind *k)
{
    if (k->stored != k || kind_is_passing(k))
        return false;
    return k->namespaced || !x->space || k->group[0] != '\0';
}

static int run_kinds(struct export *x)
{
    const struct kind *k;
    for (size_t i = 0; i < x->in->operand_count; i++)
        if (!kind_by_word(x->in->operands[i]))
            return fail(x->in->command, EXIT_CODE_USAGE, "there is no kind '%s'. `leat get` without a kind lists them.",
                        x->in->operands[i]);
    for (size_t i = 0; i < x->in->operand_count && !x->failed; i++)
        export_kind(x, kind_by_word(x->in->operands[i]));
    for (int stage = 0; stage < 3 && x->in->operand_count == 0; stage++)
        for (size_t i = 0; (k = kind_at(i)) && !x->failed; i++)
            if (stage_of(k) == stage && is_meant(x, k))
                export_kind(x, k);
    return x->failed ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

static int run(const struct invocation *in)
{
    const char *form = option_value(in, "output", "yaml");
    bool json = strcmp(form, "json") == 0;
    if (!json && strcmp(form, "yaml") != 0)
        return usage_error(in->command, "-o: '%s' is neither yaml nor json.", form);
    struct export x = {.in = in, .space = option_given(in, "all-namespaces") ? NULL : namespace_of(in)};
    cJSON *whole = json ? cJSON_CreateObject() : NULL;
    if (json) {
        cJSON_AddStringToObject(whole, "apiVersion", "v1");
        cJSON_AddStringToObject(whole, "kind", "List");
        x.list = cJSON_AddArrayToObject(whole, "items");
    }
    x.client = client_new(in);
    int code = !x.client || (json && !x.list) ? EXIT_CODE_FAILED : run_kinds(&x);
    if (code == EXIT_CODE_OK && json)
        print_tree(whole, OUTPUT_JSON);
    if (code == EXIT_CODE_OK && x.secrets_left_out)
        fprintf(stderr, "%zu Secret%s left out; --secrets exports %s.\n", x.secrets_left_out,
                x.secrets_left_out == 1 ? " was" : "s were", x.secrets_left_out == 1 ? "it" : "them");
    if (code == EXIT_CODE_OK && !x.count && !json)
        fprintf(stderr, "There is nothing to export%s%s%s.\n", x.space ? " in the namespace " : "",
                x.space ? x.space : "", x.space ? "; -A looks in all" : "");
    cJSON_Delete(whole);
    client_free(x.client);
    return code;
}

static const struct option_spec options[] = {
    CLIENT_OPTIONS,
    {"all-namespaces", 'A', NULL, "All namespaces, and the Namespaces themselves.", false},
    {"secrets", 0, NULL, "Secrets too, with what is in them.", false},
    {"output", 'o', "yaml|json", "json: one List. Default: yaml.", false},
    {0},
};

const struct command command_export = {
    .name = "export",
    .summary = "Print all resources as manifests that can be applied again",
    .operands = "[KIND...]",
    .operand_max = SIZE_MAX,
    .text =
        "What a server adds to an object (uid, versions, times, managers, status) is left out, so the manifests fit\n"
        "an empty leat and a cluster with Knative alike. Objects of files are among them.",
    .examples = "  leat export > shop.yaml\n"
                "  leat export -A --secrets -o json > all.json\n"
                "  leat export brokers triggers -n shop | kubectl apply -f -",
    .options = options,
    .uses_kinds = true,
    .word = kind_word,
    .run = run,
};
