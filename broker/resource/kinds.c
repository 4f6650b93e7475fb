/* SPDX-License-Identifier: Apache-2.0
 *
 * Kinds: the embedded CustomResourceDefinitions, read once. Before threads; read-only afterwards.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "crds_embedded.h"

#define KINDS_MAX 64

static struct {
    struct kind kinds[KINDS_MAX];
    size_t count;
    cJSON *documents[KINDS_MAX]; /* what the kinds point into */
    size_t document_count;
    cJSON *metadata;
    char broken[200];
    bool nomem;
} all;

static const char *text(const cJSON *object, const char *name)
{
    const char *s = json_text(object, name);
    return s ? s : "";
}

/* A list of texts, NULL-terminated. */
static const char *const *texts(const cJSON *list)
{
    const char **out = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *out);
    size_t n = 0;
    const cJSON *each;
    if (!out)
        all.nomem = true;
    else
        cJSON_ArrayForEach(each, list)
            out[n++] = each->valuestring;
    return out;
}

static struct kind_column *columns(const cJSON *list, size_t *count)
{
    struct kind_column *out = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *out);
    const cJSON *each;
    *count = 0;
    if (!out)
        all.nomem = true;
    else
        cJSON_ArrayForEach(each, list) {
            const cJSON *priority = cJSON_GetObjectItemCaseSensitive(each, "priority");
            out[(*count)++] = (struct kind_column){text(each, "name"), text(each, "type"), text(each, "jsonPath"),
                                                   priority ? priority->valueint : 0};
        }
    return out;
}

static void kind_add(const cJSON *spec, const cJSON *version)
{
    const cJSON *names = json_object(spec, "names"),
                *schema = json_object(json_object(version, "schema"), "openAPIV3Schema");
    if (!schema || all.count == KINDS_MAX) {
        snprintf(all.broken, sizeof all.broken, "the embedded schema of %s is broken", text(names, "kind"));
        return;
    }
    struct kind *k = &all.kinds[all.count++];
    *k = (struct kind){.group = text(spec, "group"),
                       .version = text(version, "name"),
                       .kind = text(names, "kind"),
                       .plural = text(names, "plural"),
                       .singular = text(names, "singular"),
                       .short_names = texts(cJSON_GetObjectItemCaseSensitive(names, "shortNames")),
                       .categories = texts(cJSON_GetObjectItemCaseSensitive(names, "categories")),
                       .labels = json_object(json_object(all.documents[all.document_count - 1], "metadata"), "labels"),
                       .namespaced = strcmp(text(spec, "scope"), "Cluster") != 0,
                       .has_status = json_object(version, "subresources") != NULL,
                       .schema = schema};
    k->columns = columns(cJSON_GetObjectItemCaseSensitive(version, "additionalPrinterColumns"), &k->column_count);
}

static void on_document(void *arg, cJSON *root)
{
    (void)arg;
    if (all.document_count == KINDS_MAX) {
        snprintf(all.broken, sizeof all.broken, "there are more embedded schemas than %d", KINDS_MAX);
        cJSON_Delete(root);
        return;
    }
    all.documents[all.document_count++] = root;
    if (strcmp(text(root, "kind"), "ObjectMeta") == 0) {
        all.metadata = cJSON_GetObjectItemCaseSensitive(root, "schema");
        return;
    }
    const cJSON *spec = json_object(root, "spec"), *version;
    const struct kind *stored = NULL;
    size_t first = all.count;
    cJSON_ArrayForEach(version, cJSON_GetObjectItemCaseSensitive(spec, "versions")) {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(version, "storage")))
            stored = &all.kinds[all.count];
        kind_add(spec, version);
    }
    for (size_t i = first; i < all.count; i++)
        all.kinds[i].stored = stored;
    if (!stored)
        snprintf(all.broken, sizeof all.broken, "no version of %s is the stored one", text(root, "kind"));
}

static void on_mistake(void *arg, struct place at, const char *why)
{
    (void)arg;
    snprintf(all.broken, sizeof all.broken, "the embedded schemas are broken in line %d: %.100s", at.line, why);
}

enum err kinds_load(struct diag *d)
{
    if (all.count > 0)
        return OK;
    struct slice text;
    char *memory = crds_embedded(&text);
    if (!memory)
        return diag_set(d, ERR_NOMEM, "no memory for the schemas");
    struct places places;
    places_init(&places);
    struct reading r = {
        .places = &places, .nodes_left = MANIFEST_NODES_MAX, .document = on_document, .mistake = on_mistake};
    enum err e = yaml_read(text, &r);
    places_fini(&places);
    free(memory);
    if (e != OK || all.nomem)
        e = diag_set(d, ERR_NOMEM, "no memory for the schemas");
    else if (all.broken[0] || !all.metadata)
        e = diag_set(d, ERR_CORRUPT, "%s", all.broken[0] ? all.broken : "the embedded schemas are not complete");
    if (e != OK)
        kinds_unload();
    return e;
}

void kinds_unload(void)
{
    for (size_t i = 0; i < all.count; i++) {
        free((void *)(uintptr_t)all.kinds[i].short_names);
        free((void *)(uintptr_t)all.kinds[i].categories);
        free((void *)(uintptr_t)all.kinds[i].columns);
    }
    for (size_t i = 0; i < all.document_count; i++)
        cJSON_Delete(all.documents[i]);
    memset(&all, 0, sizeof all);
}

const cJSON *kind_metadata_schema(void)
{
    return all.metadata;
}

const struct kind *kind_at(size_t i)
{
    return i < all.count ? &all.kinds[i] : NULL;
}

const cJSON *kind_definition(size_t i)
{
    for (size_t at = 0; at < all.document_count; at++) {
        const cJSON *spec = json_object(all.documents[at], "spec");
        if (!text(spec, "group")[0]) /* what a cluster has by itself is not defined in it */
            continue;
        if (i-- == 0)
            return all.documents[at];
    }
    return NULL;
}

const struct kind *kind_of_definitions(void)
{
    static const char *const none[] = {NULL}, *const short_names[] = {"crd", "crds", NULL};
    static const struct kind_column columns_of[] = {{"Group", "string", ".spec.group", 0},
                                                    {"Scope", "string", ".spec.scope", 0}};
    static const struct kind k = {.group = "apiextensions.k8s.io",
                                  .version = "v1",
                                  .kind = "CustomResourceDefinition",
                                  .plural = "customresourcedefinitions",
                                  .singular = "customresourcedefinition",
                                  .short_names = short_names,
                                  .categories = none,
                                  .columns = columns_of,
                                  .column_count = 2,
                                  .stored = &k};
    return &k;
}

bool kind_is_definition(const struct kind *k)
{
    return k == kind_of_definitions();
}

bool kind_is_passing(const struct kind *k)
{
    return k->group[0] == 0 && strcmp(k->kind, "Event") == 0;
}

static bool version_is(const struct kind *k, const char *api_version)
{
    size_t n = strlen(k->group);
    if (n == 0)
        return strcmp(k->version, api_version) == 0;
    return strncmp(api_version, k->group, n) == 0 && api_version[n] == '/' &&
           strcmp(api_version + n + 1, k->version) == 0;
}

const struct kind *kind_find(const char *api_version, const char *kind)
{
    for (size_t i = 0; i < all.count; i++)
        if (strcmp(all.kinds[i].kind, kind) == 0 && version_is(&all.kinds[i], api_version))
            return &all.kinds[i];
    return NULL;
}

const struct kind *kind_by_plural(const char *group, const char *version, const char *plural)
{
    for (size_t i = 0; i < all.count; i++) {
        const struct kind *k = &all.kinds[i];
        if (strcmp(k->plural, plural) == 0 && strcmp(k->group, group) == 0 && strcmp(k->version, version) == 0)
            return k;
    }
    return NULL;
}

static bool answers_to(const struct kind *k, const char *word)
{
    size_t n = strcspn(word, ".");
    struct slice head = slice_of(word, n);
    if (word[n] == '.' && strcasecmp(word + n + 1, k->group) != 0)
        return false;
    bool yes = slice_eq_nocase(head, slice_str(k->plural)) || slice_eq_nocase(head, slice_str(k->singular)) ||
               slice_eq_nocase(head, slice_str(k->kind));
    for (const char *const *s = k->short_names; !yes && *s; s++)
        yes = slice_eq_nocase(head, slice_str(*s));
    return yes;
}

const struct kind *kind_by_word(const char *word)
{
    /* A core kind keeps its short word even where another group has one of the same name, as with kubectl. */
    const struct kind *found = NULL;
    for (size_t i = 0; i < all.count; i++)
        if (answers_to(&all.kinds[i], word) && (!found || (all.kinds[i].group[0] == 0 && found->group[0] != 0)))
            found = &all.kinds[i];
    return found;
}

bool kind_status_kept(const struct kind *kind)
{
    return !kind->has_status;
}

/* Groups that are leat's own: there, a kind that is not known is more likely a slip than somebody else's. */
static bool group_ours(struct slice group)
{
    static const char *const ours[] = {"eventing.knative.dev", "messaging.knative.dev", "channels.knative.dev",
                                       "feeds.knative.dev",    "flows.knative.dev",     "sources.knative.dev"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (slice_eq_str(group, ours[i]))
            return true;
    return false;
}

bool kind_foreign(const char *api_version, const char *kind, const char **why)
{
    struct slice version = slice_str(api_version), group = slice_split(&version, '/');
    if (!version.ptr)
        group = SLICE("");
    *why = "leat has no use for it; ignored";
    if (slice_eq_str(group, "feeds.knative.dev") && strcmp(kind, "Bind") == 0) {
        *why = "a Bind became a Feed in July 2018: write kind: Feed; ignored";
        return true;
    }
    static const char *const later[][2] = {{"eventing.knative.dev", "EventPolicy"},
                                           {"sources.knative.dev", "ApiServerSource"}};
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        if (slice_eq_str(group, later[i][0]) && strcmp(kind, later[i][1]) == 0) {
            *why = "this kind is not in this build yet; ignored";
            return true;
        }
    }
    return !group_ours(group);
}
