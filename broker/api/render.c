/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects as answers: whole, as metadata alone, or as the rows of a table whose columns the kind's schema names
 * (meta.k8s.io/v1, Table). Trees made here refer to the parts of objects, which must outlive them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../resource/check.h"
#include "kubernetes.h"
#include "text.h"

#define CELL_MAX 4096 /* bytes of a cell */

/* ---- owners ---- */

/* Who owns an object's fields (managed.h), which stands beside it: a reference. A file that owns all of it is told in
 * the same place, as a manager without a list of fields. NULL: no memory. */
static cJSON *managed_fields(const struct resource *found)
{
    if (!found->origin) {
        cJSON *node = cJSON_CreateNull();
        if (node) {
            node->type = cJSON_Raw | cJSON_IsReference;
            node->valuestring = (char *)(uintptr_t)found->managed;
        }
        return node;
    }
    cJSON *list = cJSON_CreateArray(), *entry = cJSON_CreateObject();
    if (!list || !entry || !cJSON_AddItemToArray(list, entry)) {
        cJSON_Delete(entry);
        cJSON_Delete(list);
        return NULL;
    }
    cJSON_AddStringToObject(entry, "manager", found->origin);
    cJSON_AddStringToObject(entry, "operation", "Apply");
    return list;
}

cJSON *api_shown(const struct resource *found)
{
    bool owned = found->origin || found->managed;
    cJSON *object = cJSON_CreateObject(), *metadata = cJSON_CreateObject(),
          *fields = owned ? managed_fields(found) : NULL, *each;
    bool good = object && metadata && (fields || !owned);
    /* Kubernetes counts the generations of its own kinds of old for nobody. */
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(found->object, "metadata"))
        good =
            good && ((!found->kind->group[0] && strcmp(each->string, "generation") == 0) || json_refer(metadata, each));
    if (good && fields && cJSON_AddItemToObject(metadata, "managedFields", fields))
        fields = NULL;
    cJSON_ArrayForEach(each, found->object) {
        if (strcmp(each->string, "metadata") != 0)
            good = good && json_refer(object, each);
        else if (good && cJSON_AddItemToObject(object, "metadata", metadata))
            metadata = NULL;
    }
    if (good && !fields && !metadata && resource_status_add(found, object))
        return object;
    cJSON_Delete(fields);
    cJSON_Delete(metadata);
    cJSON_Delete(object);
    return NULL;
}

/* ---- ages ---- */

/* One or two units, the second only while it still tells something: as kubectl's users know it. */
void api_age_put(struct buf *out, int64_t seconds)
{
    static const struct {
        int64_t below; /* in units of the first */
        const char *first, *second;
        int64_t unit, part; /* seconds of each */
    } steps[] = {
        {120, "s", NULL, 1, 0},
        {10, "m", "s", 60, 1},
        {180, "m", NULL, 60, 0},
        {8, "h", "m", 3600, 60},
        {48, "h", NULL, 3600, 0},
        {8, "d", "h", 86400, 3600},
        {730, "d", NULL, 86400, 0},
        {8, "y", "d", 365 * 86400, 86400},
        {INT64_MAX, "y", NULL, 365 * 86400, 0},
    };
    size_t i = 0;
    seconds = seconds < 0 ? 0 : seconds;
    while (seconds / steps[i].unit >= steps[i].below)
        i++;
    buf_printf(out, "%lld%s", (long long)(seconds / steps[i].unit), steps[i].first);
    int64_t rest = steps[i].second ? seconds % steps[i].unit / steps[i].part : 0;
    if (rest)
        buf_printf(out, "%lld%s", (long long)rest, steps[i].second);
}

/* ---- cells ---- */

static bool cell_age(cJSON *cells, const cJSON *at, int64_t now_ns)
{
    int64_t then_ns;
    char text[64];
    struct buf b;
    if (!cJSON_IsString(at) || rfc3339_parse(slice_str(at->valuestring), &then_ns) != OK)
        return cJSON_AddItemToArray(cells, cJSON_CreateString("<unknown>"));
    buf_init(&b, sizeof text - 1);
    api_age_put(&b, now_ns / (int64_t)NS_PER_S - then_ns / (int64_t)NS_PER_S);
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
    return cJSON_AddItemToArray(cells, cJSON_CreateString(text));
}

static bool cell_add(const struct api_listing *l, cJSON *cells, const cJSON *object, const struct kind_column *column)
{
    const cJSON *v = json_path(object, column->json_path);
    struct buf text;
    if (strcmp(column->type, "date") == 0)
        return cell_age(cells, v, l->now_ns);
    if (strcmp(column->type, "integer") == 0 && !cJSON_IsNumber(v)) /* how many it has */
        return cJSON_AddItemToArray(cells, cJSON_CreateNumber(cJSON_GetArraySize(v)));
    if (!v || cJSON_IsNull(v))
        return cJSON_AddItemToArray(cells, cJSON_CreateNull());
    if (cJSON_IsNumber(v) || cJSON_IsBool(v))
        return cJSON_AddItemToArray(cells, cJSON_Duplicate(v, false));
    buf_init(&text, CELL_MAX);
    kind_column_put(column, object, &text);
    char *cut = buf_take_string(&text); /* NULL: longer than a cell may be */
    bool good = cJSON_AddItemToArray(cells, cJSON_CreateString(cut ? cut : "..."));
    free(cut);
    return good;
}

/* ---- rows ---- */

static bool put_version(cJSON *tree, const char *group, const char *version)
{
    char text[80];
    snprintf(text, sizeof text, "%s/%s", group, version);
    return cJSON_AddStringToObject(tree, "apiVersion", text);
}

/* Adds a node that the tree then owns; NULL: no memory. */
static cJSON *added(cJSON *tree, const char *name, cJSON *node)
{
    if (node && cJSON_AddItemToObject(tree, name, node))
        return node;
    cJSON_Delete(node);
    return NULL;
}

static bool put_metadata_only(cJSON *tree, const struct api_form *f, const cJSON *object)
{
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    return cJSON_AddStringToObject(tree, "kind", "PartialObjectMetadata") &&
           put_version(tree, "meta.k8s.io", f->version) && json_refer(tree, metadata);
}

/* The object in the version of `kind`; NULL: no memory, or it is in that version already (*same). */
static cJSON *converted(const struct kind *kind, const cJSON *object, bool *same)
{
    *same = kind == kind->stored;
    cJSON *copy = *same ? NULL : cJSON_Duplicate(object, true);
    if (copy && object_convert(copy, kind->stored, kind))
        return copy;
    cJSON_Delete(copy);
    return NULL;
}

static bool put_whole(cJSON *tree, const struct kind *kind, const cJSON *object)
{
    const cJSON *each;
    bool same, good = true;
    cJSON *other = converted(kind, object, &same);
    if (!same && !other)
        return false;
    if (other) {
        while (good && other->child) {
            cJSON *moved = cJSON_DetachItemViaPointer(other, other->child);
            good = cJSON_AddItemToObject(tree, moved->string, moved);
            if (!good)
                cJSON_Delete(moved);
        }
        cJSON_Delete(other);
        return good;
    }
    cJSON_ArrayForEach(each, object)
        good = good && json_refer(tree, each);
    return good;
}

/* The name comes first, but where the kind has its own place for it (Events, at the end of the wide form). */
static bool names_itself(const struct kind *k)
{
    return k->column_count && strcmp(k->columns[k->column_count - 1].name, "Name") == 0;
}

/* The cells of a row; an object of another version is seen as the columns of this one see it. */
static bool put_cells(const struct api_listing *l, cJSON *cells, const cJSON *object)
{
    static const struct kind_column name = {"Name", "string", ".metadata.name", 0},
                                    age = {"Age", "date", ".metadata.creationTimestamp", 0};
    bool same, good = cells != NULL;
    cJSON *other = converted(l->kind, object, &same);
    const cJSON *seen = other ? other : object;
    good = good && (same || other) && (names_itself(l->kind) || cell_add(l, cells, seen, &name));
    for (size_t i = 0; i < l->kind->column_count && good; i++)
        good = cell_add(l, cells, seen, &l->kind->columns[i]);
    if (good && l->kind->column_count == 0)
        good = cell_add(l, cells, seen, &age);
    cJSON_Delete(other);
    return good;
}

static bool fill_row(const struct api_listing *l, cJSON *row, const cJSON *object)
{
    cJSON *cells = cJSON_AddArrayToObject(row, "cells"), *inside;
    bool good = put_cells(l, cells, object);
    if (!good || l->form.row == API_ROW_NONE)
        return good && cJSON_AddNullToObject(row, "object");
    inside = added(row, "object", cJSON_CreateObject());
    return inside && (l->form.row == API_ROW_OBJECT ? put_whole(inside, l->kind, object)
                                                    : put_metadata_only(inside, &l->form, object));
}

bool api_listing_add(struct api_listing *l, const cJSON *object)
{
    cJSON *row = cJSON_CreateObject();
    if (!row || !cJSON_AddItemToArray(l->rows, row)) {
        cJSON_Delete(row);
        return false;
    }
    return l->form.as == API_TABLE      ? fill_row(l, row, object)
           : l->form.as == API_METADATA ? put_metadata_only(row, &l->form, object)
                                        : put_whole(row, l->kind, object);
}

/* ---- lists ---- */

static bool put_column(cJSON *list, const char *name, const char *type, const char *format, int priority,
                       const char *description)
{
    cJSON *c = cJSON_CreateObject();
    if (!c || !cJSON_AddItemToArray(list, c)) {
        cJSON_Delete(c);
        return false;
    }
    return cJSON_AddStringToObject(c, "name", name) && cJSON_AddStringToObject(c, "type", type) &&
           cJSON_AddStringToObject(c, "format", format) && cJSON_AddStringToObject(c, "description", description) &&
           cJSON_AddNumberToObject(c, "priority", priority);
}

static bool put_columns(struct api_listing *l)
{
    cJSON *list = cJSON_AddArrayToObject(l->tree, "columnDefinitions");
    bool good = list && (names_itself(l->kind) || put_column(list, "Name", "string", "name", 0, "The object's name."));
    for (size_t i = 0; i < l->kind->column_count && good; i++) {
        const struct kind_column *c = &l->kind->columns[i];
        good = put_column(list, c->name, c->type, "", c->priority, c->json_path);
    }
    if (good && l->kind->column_count == 0)
        good = put_column(list, "Age", "date", "", 0, ".metadata.creationTimestamp");
    return good;
}

bool api_listing_begin(struct api_listing *l, const struct api *a, const struct kind *kind, const struct api_form *f)
{
    char text[API_NAME_MAX * 2];
    *l = (struct api_listing){kind, *f, clock_wall_ns(engine_clock(a->engine)), cJSON_CreateObject(), NULL, l->bare};
    if (f->as != API_AS_IS) {
        if (!cJSON_AddStringToObject(l->tree, "kind", f->as == API_TABLE ? "Table" : "PartialObjectMetadataList") ||
            !put_version(l->tree, "meta.k8s.io", f->version))
            return false;
    } else {
        snprintf(text, sizeof text, "%sList", kind->kind);
        if (!cJSON_AddStringToObject(l->tree, "kind", text))
            return false;
        snprintf(text, sizeof text, "%s%s%s", kind->group, kind->group[0] ? "/" : "", kind->version);
        if (!cJSON_AddStringToObject(l->tree, "apiVersion", text))
            return false;
    }
    if (!cJSON_AddObjectToObject(l->tree, "metadata"))
        return false;
    if (f->as == API_TABLE && !(l->bare ? cJSON_AddNullToObject(l->tree, "columnDefinitions") != NULL : put_columns(l)))
        return false;
    l->rows = cJSON_AddArrayToObject(l->tree, f->as == API_TABLE ? "rows" : "items");
    return l->rows;
}

bool api_listing_end(struct api_listing *l, uint64_t version, const char *more, size_t remaining)
{
    char text[32];
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(l->tree, "metadata");
    snprintf(text, sizeof text, "%llu", (unsigned long long)version);
    return cJSON_AddStringToObject(metadata, "resourceVersion", text) &&
           (!more || cJSON_AddStringToObject(metadata, "continue", more)) &&
           (!remaining || cJSON_AddNumberToObject(metadata, "remainingItemCount", (double)remaining));
}

void api_listing_fini(struct api_listing *l)
{
    cJSON_Delete(l->tree);
    l->tree = l->rows = NULL;
}

cJSON *api_render(const struct api *a, const struct kind *kind, const struct api_form *f, const cJSON *object)
{
    struct api_listing l = {0};
    if (f->as == API_TABLE) {
        const char *version = metadata_text(object, "resourceVersion");
        if (api_listing_begin(&l, a, kind, f) && api_listing_add(&l, object) &&
            cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(l.tree, "metadata"), "resourceVersion",
                                    version ? version : ""))
            return l.tree;
        api_listing_fini(&l);
        return NULL;
    }
    cJSON *tree = cJSON_CreateObject();
    if (tree && (f->as == API_METADATA ? put_metadata_only(tree, f, object) : put_whole(tree, kind, object)))
        return tree;
    cJSON_Delete(tree);
    return NULL;
}
