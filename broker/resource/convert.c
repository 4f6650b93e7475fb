/* SPDX-License-Identifier: Apache-2.0
 *
 * Versions of one kind. An object is kept in the version that its definition marks so, and is read and written in any
 * that the definition has. Most versions have the same fields, and only apiVersion differs; the others stand in one
 * table, each with its two ways:
 *
 *     EventType v1beta1, v1beta2       v1beta3, which is kept
 *     spec.type                        spec.attributes: type
 *     spec.source                      source
 *     spec.schema                      dataschema
 *     spec.schemaData                  schemadata
 *     spec.broker                      spec.reference: the Broker of that name
 *
 * v1beta3 can say more of attributes than that. What the older ones have no field for goes along with such an object in
 * an annotation, and back from there, so that a change through an older version takes nothing away.
 */
#include <string.h>

#include "check.h"
#include "json.h"

#define ANNOTATION_ATTRIBUTES "leat.dev/attributes" /* the list of v1beta3 as JSON */
#define KEPT_DEPTH_MAX 64                           /* members deep: as any object may be */

typedef bool convert_fn(cJSON *object);

static cJSON *member(cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* ---- EventType ---- */

static const struct {
    const char *field, *attribute;
    bool required, always; /* an attribute that every event has, with a value or without */
} event_type_fields[] = {
    {"type", "type", true, true}, {"source", "source", true, true},       {NULL, "specversion", true, true},
    {NULL, "id", true, true},     {"schema", "dataschema", false, false}, {"schemaData", "schemadata", false, false},
};
enum { EVENT_TYPE_FIELDS = sizeof event_type_fields / sizeof event_type_fields[0] };

/* The field's row of an attribute; EVENT_TYPE_FIELDS: it has none. */
static size_t row_of(const cJSON *attribute)
{
    const char *name = json_text(attribute, "name");
    size_t i = 0;
    while (i < EVENT_TYPE_FIELDS && (!name || strcmp(name, event_type_fields[i].attribute) != 0))
        i++;
    return i;
}

static bool add_attribute(cJSON *list, size_t row, const char *value)
{
    cJSON *a = cJSON_CreateObject();
    if (!a || !cJSON_AddItemToArray(list, a)) {
        cJSON_Delete(a);
        return false;
    }
    return cJSON_AddStringToObject(a, "name", event_type_fields[row].attribute) &&
           cJSON_AddBoolToObject(a, "required", event_type_fields[row].required) &&
           (!value || cJSON_AddStringToObject(a, "value", value));
}

/* The attributes that the fields of an older version stand for; NULL: no memory. */
static cJSON *attributes_of(const cJSON *spec)
{
    cJSON *list = cJSON_CreateArray();
    bool good = list;
    for (size_t i = 0; good && i < EVENT_TYPE_FIELDS; i++) {
        const char *value = event_type_fields[i].field ? json_text(spec, event_type_fields[i].field) : NULL;
        if (value || event_type_fields[i].always)
            good = add_attribute(list, i, value);
    }
    if (good)
        return list;
    cJSON_Delete(list);
    return NULL;
}

/* The list that went along becomes what the fields say now: values are theirs, and so is whether one is there at all.
 */
static bool attributes_merge(cJSON *kept, const cJSON *spec, cJSON *plain)
{
    cJSON *each, *next;
    bool there[EVENT_TYPE_FIELDS] = {false}, good = true;
    for (each = kept->child; each && good; each = next) {
        size_t row = row_of(each);
        next = each->next;
        if (row == EVENT_TYPE_FIELDS || !event_type_fields[row].field)
            continue;
        const char *value = json_text(spec, event_type_fields[row].field);
        cJSON_DeleteItemFromObjectCaseSensitive(each, "value");
        there[row] = true;
        if (value)
            good = cJSON_AddStringToObject(each, "value", value);
        else if (!event_type_fields[row].always)
            cJSON_Delete(cJSON_DetachItemViaPointer(kept, each));
    }
    for (each = plain->child; each && good; each = next) {
        size_t row = row_of(each);
        next = each->next;
        if (event_type_fields[row].field && !there[row])
            good = cJSON_AddItemToArray(kept, cJSON_DetachItemViaPointer(plain, each));
    }
    return good;
}

/* A text that we wrote as a list of attributes, as a tree; *out NULL: it is none. false: no memory, which cJSON does
 * not tell from a text that is wrong. */
static bool parse_kept(const char *text, cJSON **out)
{
    struct json_value value;
    const cJSON *each;
    *out = NULL;
    if (json_check(slice_str(text), KEPT_DEPTH_MAX, &value, NULL) != OK)
        return true;
    cJSON *list = cJSON_Parse(text);
    bool good = cJSON_IsArray(list);
    cJSON_ArrayForEach(each, list)
        good = good && json_text(each, "name");
    if (good)
        *out = list;
    else
        cJSON_Delete(list);
    return list;
}

/* The list in the annotation, which is taken away with it; *out NULL: there is none, or it is not what we wrote. false:
 * no memory. */
static bool kept_take(cJSON *object, cJSON **out)
{
    cJSON *metadata = member(object, "metadata"), *annotations = member(metadata, "annotations");
    const char *text = json_text(annotations, ANNOTATION_ATTRIBUTES);
    *out = NULL;
    if (!text)
        return true;
    if (!parse_kept(text, out))
        return false;
    cJSON_DeleteItemFromObjectCaseSensitive(annotations, ANNOTATION_ATTRIBUTES);
    if (!annotations->child)
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "annotations");
    return true;
}

static bool reference_of_broker(cJSON *spec)
{
    const char *broker = json_text(spec, "broker");
    if (!broker || member(spec, "reference"))
        return true;
    cJSON *r = cJSON_AddObjectToObject(spec, "reference");
    return r && cJSON_AddStringToObject(r, "apiVersion", "eventing.knative.dev/v1") &&
           cJSON_AddStringToObject(r, "kind", "Broker") && cJSON_AddStringToObject(r, "name", broker);
}

static bool event_type_up(cJSON *object)
{
    cJSON *spec = member(object, "spec"), *plain = attributes_of(spec), *kept;
    bool good = kept_take(object, &kept) && spec && plain && reference_of_broker(spec) &&
                (!kept || attributes_merge(kept, spec, plain));
    for (size_t i = 0; good && i < EVENT_TYPE_FIELDS; i++)
        if (event_type_fields[i].field)
            cJSON_DeleteItemFromObjectCaseSensitive(spec, event_type_fields[i].field);
    cJSON_DeleteItemFromObjectCaseSensitive(spec, "broker");
    cJSON *list = kept ? kept : plain;
    good = good && cJSON_AddItemToObject(spec, "attributes", list);
    if (kept || !good)
        cJSON_Delete(plain);
    if (!good)
        cJSON_Delete(kept);
    return good || !spec; /* one without a spec is refused for that */
}

static bool keep(cJSON *object, const cJSON *list)
{
    cJSON *metadata = member(object, "metadata"), *annotations = member(metadata, "annotations");
    char *text = cJSON_PrintUnformatted(list);
    if (metadata && !annotations)
        annotations = cJSON_AddObjectToObject(metadata, "annotations");
    bool good = text && annotations && cJSON_AddStringToObject(annotations, ANNOTATION_ATTRIBUTES, text);
    cJSON_free(text);
    return good;
}

static bool event_type_down(cJSON *object)
{
    cJSON *spec = member(object, "spec"), *list = cJSON_DetachItemFromObjectCaseSensitive(spec, "attributes"), *plain;
    const cJSON *each;
    bool good = spec;
    cJSON_ArrayForEach(each, list) {
        size_t row = row_of(each);
        const char *value = json_text(each, "value");
        if (good && value && row < EVENT_TYPE_FIELDS && event_type_fields[row].field)
            good = cJSON_AddStringToObject(spec, event_type_fields[row].field, value);
    }
    plain = good ? attributes_of(spec) : NULL;
    good = plain && (!list || json_same(plain, list) || keep(object, list));
    cJSON_Delete(plain);
    cJSON_Delete(list);
    return good || !spec;
}

/* ---- the table ---- */

static const struct {
    const char *group, *kind, *version;
    convert_fn *up, *down; /* to what is kept, and from there */
} versions[] = {
    {"eventing.knative.dev", "EventType", "v1beta2", event_type_up, event_type_down},
    {"eventing.knative.dev", "EventType", "v1beta1", event_type_up, event_type_down},
};

/* NULL: its fields are those of the version that is kept. */
static convert_fn *way_of(const struct kind *k, bool up)
{
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++)
        if (strcmp(versions[i].kind, k->kind) == 0 && strcmp(versions[i].group, k->group) == 0 &&
            strcmp(versions[i].version, k->version) == 0)
            return up ? versions[i].up : versions[i].down;
    return NULL;
}

/* In place: cJSON 1.7.15 replaces a member without seeing that there was no memory for its name. */
static bool put_version(cJSON *object, const struct kind *k)
{
    char text[400];
    snprintf(text, sizeof text, "%s%s%s", k->group, *k->group ? "/" : "", k->version);
    return cJSON_SetValuestring(member(object, "apiVersion"), text) != NULL;
}

bool object_convert(cJSON *object, const struct kind *from, const struct kind *to)
{
    convert_fn *up = way_of(from, true), *down = way_of(to, false);
    if (from == to || !member(object, "apiVersion"))
        return true;
    return (!up || up(object)) && (!down || down(object)) && put_version(object, to);
}
