/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests: files, directories and standard input into validated objects. A mistake in one object does not hide those
 * of the others; what other tools own in the same files (Deployments, roles ...) is left alone with a warning.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "array.h"
#include "buf.h"
#include "check.h"
#include "manifest.h"

struct loader {
    struct manifest *manifest;
    struct problems *problems;
    const char *file, *namespace_name;
    struct places places;
    bool api; /* one object over the API: nothing foreign */
    bool prune;
    bool nomem;
    size_t documents;
};

static void load_problem(struct loader *l, bool warning, struct place at, const char *object, const char *path,
                         const char *text)
{
    if (problem_add(l->problems, warning, l->file, at, object, path, text) != OK)
        l->nomem = true;
}

static bool manifest_add(struct loader *l, cJSON *object, const struct kind *written, struct place at)
{
    struct manifest *m = l->manifest;
    if (!array_reserve(&m->items, &m->cap, m->count + 1, sizeof *m->items))
        return false;
    char *file = l->file ? strdup(l->file) : NULL;
    if (l->file && !file)
        return false;
    m->items[m->count++] = (struct manifest_item){object, written->stored, written, file, at};
    return true;
}

/* "Channel default/orders", as far as it is known. */
static void object_label(const struct loader *l, const cJSON *object, const char *kind, bool namespaced, char *out,
                         size_t size)
{
    const char *name = metadata_text(object, "name"), *ns = metadata_text(object, "namespace");
    if (!name)
        snprintf(out, size, "%.80s", kind);
    else if (!namespaced)
        snprintf(out, size, "%.80s %.253s", kind, name);
    else
        snprintf(out, size, "%.80s %.63s/%.253s", kind, ns && *ns ? ns : l->namespace_name, name);
}

/* The kind is not known: somebody else's, or a slip. */
static void unknown_kind(struct loader *l, const cJSON *object, const char *version, const char *name)
{
    const char *why, *words[64], *near;
    char text[400], label[400];
    size_t count = 0;
    struct place at = places_of(&l->places, cJSON_GetObjectItemCaseSensitive(object, "kind"));
    object_label(l, object, name, metadata_text(object, "namespace") != NULL, label, sizeof label);
    bool foreign = kind_foreign(version, name, &why) && !l->api;
    for (size_t i = 0; kind_at(i) && count < 64; i++) {
        const struct kind *k = kind_at(i);
        if (strcmp(k->kind, name) == 0 && !foreign) {
            snprintf(text, sizeof text, "there is no %.80s in %.100s; its apiVersion is %s%s%s", name, version,
                     k->group, *k->group ? "/" : "", k->version);
            load_problem(l, false, places_of(&l->places, cJSON_GetObjectItemCaseSensitive(object, "apiVersion")), label,
                         "apiVersion", text);
            return;
        }
        if (kind_find(version, k->kind) == k)
            words[count++] = k->kind;
    }
    near = word_near(name, words, count);
    if (foreign && !near) {
        load_problem(l, true, at, label, NULL, why);
        return;
    }
    snprintf(text, sizeof text, "there is no kind %.80s in %.100s%s%s%s%s", name, version,
             near ? "; did you mean " : "", near ? near : "", near ? "?" : "", foreign ? " It is ignored" : "");
    if (!near && !foreign && count == 0)
        snprintf(text, sizeof text, "there is no API %.100s; see docs/resources.md for the kinds that there are",
                 version);
    load_problem(l, foreign, at, label, "kind", text);
}

/* Validates and adds one object; takes it over. */
static void load_object(struct loader *l, cJSON *object)
{
    struct place at = places_of(&l->places, object);
    const char *version = json_text(object, "apiVersion"), *name = json_text(object, "kind");
    char label[400];
    if (!cJSON_IsObject(object)) {
        load_problem(l, false, at, NULL, NULL, "a resource must be a mapping with apiVersion, kind, metadata and spec");
    } else if (!version || !name) {
        const cJSON *there = cJSON_GetObjectItemCaseSensitive(object, version ? "kind" : "apiVersion");
        load_problem(l, false, there ? places_of(&l->places, there) : at, NULL, version ? "kind" : "apiVersion",
                     there ? "must be text" : "is missing");
    } else if (!kind_find(version, name)) {
        unknown_kind(l, object, version, name);
    } else if (!l->api && kind_is_passing(kind_find(version, name))) {
        object_label(l, object, name, true, label, sizeof label);
        load_problem(l, true, at, label, NULL, "what happened once is nothing to declare; ignored");
    } else {
        const struct kind *kind = kind_find(version, name);
        object_label(l, object, name, kind->namespaced, label, sizeof label);
        struct check c = {.problems = l->problems,
                          .file = l->file,
                          .places = &l->places,
                          .object = label,
                          .prune = l->prune,
                          .asked = l->api && l->prune,
                          .namespace_name = l->namespace_name};
        c.secret = kind->group[0] == 0 && strcmp(kind->kind, "Secret") == 0;
        size_t errors = l->problems->errors;
        schema_apply_object(&c, kind, object);
        if (l->problems->errors == errors && !object_convert(object, kind, kind->stored))
            c.nomem = true;
        rules_apply(&c, kind->stored, object);
        l->nomem = l->nomem || c.nomem;
        if (!l->nomem && manifest_add(l, object, kind, at))
            return;
        l->nomem = true;
    }
    cJSON_Delete(object);
}

static void on_document(void *arg, cJSON *root)
{
    struct loader *l = arg;
    const char *kind = json_text(root, "kind"), *version = json_text(root, "apiVersion");
    cJSON *items = cJSON_GetObjectItemCaseSensitive(root, "items");
    l->documents++;
    if (cJSON_IsNull(root)) { /* nothing but comments between two "---" */
        cJSON_Delete(root);
        return;
    }
    if (l->api || !kind || !version || strcmp(kind, "List") != 0 || strcmp(version, "v1") != 0 ||
        !cJSON_IsArray(items)) {
        load_object(l, root);
        return;
    }
    while (items->child)
        load_object(l, cJSON_DetachItemViaPointer(items, items->child));
    cJSON_Delete(root);
}

static void on_mistake(void *arg, struct place at, const char *text)
{
    load_problem(arg, false, at, NULL, NULL, text);
}

static int by_place(const void *x, const void *y)
{
    const struct problem *a = x, *b = y;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return a->column < b->column ? -1 : a->column > b->column;
}

static void load_text(struct loader *l, struct slice text, bool json)
{
    size_t before = l->problems->count;
    places_init(&l->places);
    struct reading r = {.places = &l->places,
                        .nodes_left = MANIFEST_NODES_MAX,
                        .document = on_document,
                        .mistake = on_mistake,
                        .arg = l};
    if ((json ? json_read(text, &r) : yaml_read(text, &r)) != OK)
        l->nomem = true;
    places_fini(&l->places);
    /* As one reads the file, not as one checks it. */
    if (l->problems->count > before + 1)
        qsort(l->problems->list + before, l->problems->count - before, sizeof *l->problems->list, by_place);
}

/* ---- files ---- */

static bool name_ends(const char *name, const char *end)
{
    return slice_has_suffix(slice_str(name), slice_str(end));
}

static void file_problem(struct loader *l, const char *file, const char *text)
{
    if (problem_add(l->problems, false, file, (struct place){0, 0}, NULL, NULL, text) != OK)
        l->nomem = true;
}

/* Reads at most the limit and one byte more. */
static void load_stream(struct loader *l, FILE *f, const char *shown, bool json)
{
    struct buf b;
    char text[200];
    buf_init(&b, MANIFEST_BYTES_MAX + 1);
    for (size_t n = 1; n > 0 && b.len <= MANIFEST_BYTES_MAX && buf_error(&b) == OK;) {
        size_t want = b.limit - b.len < 65536 ? b.limit - b.len : 65536;
        char *to = buf_reserve(&b, want);
        n = to ? fread(to, 1, want, f) : 0;
        b.len += n;
    }
    if (ferror(f)) {
        snprintf(text, sizeof text, "cannot be read: %s", strerror(errno));
        file_problem(l, shown, text);
    } else if (buf_error(&b) == ERR_NOMEM) {
        l->nomem = true;
    } else if (b.len > MANIFEST_BYTES_MAX) {
        file_problem(l, shown, "is larger than 1 MiB; split it into several files");
    } else {
        l->file = shown;
        load_text(l, buf_slice(&b), json);
        l->file = NULL;
    }
    buf_fini(&b);
}

static void load_file(struct loader *l, const char *path)
{
    char text[200];
    FILE *f = fopen(path, "re");
    if (!f) {
        snprintf(text, sizeof text, "cannot be opened: %s", strerror(errno));
        file_problem(l, path, text);
        return;
    }
    load_stream(l, f, path, name_ends(path, ".json"));
    fclose(f);
}

static int is_manifest(const struct dirent *e)
{
    return e->d_name[0] != '.' &&
           (name_ends(e->d_name, ".yaml") || name_ends(e->d_name, ".yml") || name_ends(e->d_name, ".json"));
}

static void load_directory(struct loader *l, const char *path)
{
    struct dirent **names;
    char text[200], *file;
    int n = scandir(path, &names, is_manifest, alphasort);
    if (n < 0) {
        snprintf(text, sizeof text, "cannot be read: %s", strerror(errno));
        file_problem(l, path, text);
        return;
    }
    if (n == 0 && problem_add(l->problems, true, path, (struct place){0, 0}, NULL, NULL,
                              "there is no file *.yaml, *.yml or *.json in this directory") != OK)
        l->nomem = true;
    for (int i = 0; i < n; i++) {
        if (asprintf(&file, "%s%s%s", path, name_ends(path, "/") ? "" : "/", names[i]->d_name) < 0) {
            l->nomem = true;
        } else {
            load_file(l, file);
            free(file);
        }
        free(names[i]);
    }
    free(names);
}

/* ---- all of them together ---- */

/* An object by what names it: looked up once, compared often. */
struct named {
    const struct manifest_item *item;
    const char *namespace_name, *name; /* "" when it has none */
    bool has_name;
};

static int compare_kinds(const struct kind *a, const struct kind *b)
{
    int order = a == b ? 0 : strcmp(a->group, b->group);
    return a == b || order ? order : strcmp(a->kind, b->kind);
}

static int compare_named(const void *x, const void *y)
{
    const struct named *a = x, *b = y;
    int order = compare_kinds(a->item->kind, b->item->kind);
    order = order ? order : strcmp(a->namespace_name, b->namespace_name);
    order = order ? order : strcmp(a->name, b->name);
    return order ? order : a->item < b->item ? -1 : a->item > b->item;
}

static struct named named(const struct manifest_item *m)
{
    const char *ns = metadata_text(m->object, "namespace"), *name = metadata_text(m->object, "name");
    return (struct named){m, ns ? ns : "", name ? name : "", name != NULL};
}

static bool same_object(const struct named *a, const struct named *b)
{
    return kind_same(a->item->kind, b->item->kind) && a->has_name && b->has_name && strcmp(a->name, b->name) == 0 &&
           strcmp(a->namespace_name, b->namespace_name) == 0;
}

static void check_duplicates(struct loader *l)
{
    struct manifest *m = l->manifest;
    struct named *sorted = calloc(m->count + 1, sizeof *sorted);
    char text[600], label[400];
    if (!sorted) {
        l->nomem = true;
        return;
    }
    for (size_t i = 0; i < m->count; i++)
        sorted[i] = named(&m->items[i]);
    qsort(sorted, m->count, sizeof *sorted, compare_named);
    for (size_t i = 1; i < m->count; i++) {
        if (!same_object(&sorted[i - 1], &sorted[i]))
            continue;
        const struct manifest_item *a = sorted[i - 1].item, *b = sorted[i].item;
        object_label(l, b->object, b->kind->kind, b->kind->namespaced, label, sizeof label);
        snprintf(text, sizeof text, "is declared twice; the other one is at %.300s:%d", a->file ? a->file : "-",
                 a->at.line);
        if (problem_add(l->problems, false, b->file, b->at, label, NULL, text) != OK)
            l->nomem = true;
    }
    free(sorted);
}

/* What objects are in that name no namespace. */
static const char *namespace_of(const char *given)
{
    return given && *given ? given : "default";
}

enum err manifest_load(const char *const *paths, size_t count, const char *namespace_name, struct manifest **out,
                       struct problems *p)
{
    struct diag d = {0};
    struct manifest *m = calloc(1, sizeof *m);
    struct loader l = {.manifest = m, .problems = p, .namespace_name = namespace_of(namespace_name)};
    if (!m || kinds_load(&d) != OK) {
        free(m);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count && !l.nomem; i++) {
        struct stat st;
        if (strcmp(paths[i], "-") == 0) {
            int first = getc(stdin);
            ungetc(first, stdin);
            load_stream(&l, stdin, "(standard input)", first == '{');
        } else if (stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            load_directory(&l, paths[i]);
        } else {
            load_file(&l, paths[i]);
        }
    }
    if (!l.nomem)
        check_duplicates(&l);
    if (l.nomem) {
        manifest_free(m);
        return ERR_NOMEM;
    }
    *out = m;
    return OK;
}

void manifest_free(struct manifest *m)
{
    for (size_t i = 0; m && i < m->count; i++) {
        cJSON_Delete(m->items[i].object);
        free(m->items[i].file);
    }
    if (m)
        free(m->items);
    free(m);
}

size_t manifest_count(const struct manifest *m)
{
    return m->count;
}

const cJSON *manifest_object(const struct manifest *m, size_t i)
{
    return i < m->count ? m->items[i].object : NULL;
}

const struct kind *manifest_kind(const struct manifest *m, size_t i)
{
    return i < m->count ? m->items[i].kind : NULL;
}

static enum err parse_one(struct slice json, const char *namespace_name, bool prune, cJSON **out,
                          const struct kind **kind, struct problems *p)
{
    struct diag d = {0};
    struct manifest m = {0};
    struct loader l = {
        .manifest = &m, .problems = p, .namespace_name = namespace_of(namespace_name), .api = true, .prune = prune};
    size_t errors = p->errors;
    if (kinds_load(&d) != OK)
        return ERR_NOMEM;
    if (json.len > MANIFEST_BYTES_MAX)
        load_problem(&l, false, (struct place){0, 0}, NULL, NULL, "the object is larger than 1 MiB");
    else
        load_text(&l, json, true);
    bool good = !l.nomem && m.count == 1 && p->errors == errors;
    if (good) {
        *out = m.items[0].object;
        *kind = m.items[0].written;
    } else if (m.count) {
        cJSON_Delete(m.items[0].object);
    }
    free(m.items);
    return l.nomem ? ERR_NOMEM : good ? OK : ERR_INVALID;
}

enum err object_parse(struct slice json, const char *namespace_name, cJSON **out, const struct kind **kind,
                      struct problems *p)
{
    return parse_one(json, namespace_name, false, out, kind, p);
}

enum err object_parse_pruned(struct slice json, const char *namespace_name, cJSON **out, const struct kind **kind,
                             struct problems *p)
{
    return parse_one(json, namespace_name, true, out, kind, p);
}
