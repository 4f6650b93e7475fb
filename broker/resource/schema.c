/* SPDX-License-Identifier: Apache-2.0
 *
 * Validation by openAPIV3Schema, the part of it that Kubernetes allows and our kinds use: type, properties, required,
 * enum, pattern, minimum, maximum, minLength, maxLength, minItems, maxItems, items, additionalProperties, nullable,
 * default, x-kubernetes-preserve-unknown-fields, x-kubernetes-int-or-string.
 *
 * The tree is changed as an API server would change it: nulls that may not be are dropped, defaults are filled in. A
 * field that no schema knows is an error, with the name that was probably meant. Recursion is bounded by the depth of
 * trees (MANIFEST_DEPTH_MAX).
 */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static bool is_set(const cJSON *schema, const char *name)
{
    return cJSON_IsTrue(member(schema, name));
}

/* A number that a double cannot hold is raw text (tree.h). */
static bool is_number(const cJSON *node)
{
    return cJSON_IsNumber(node) || cJSON_IsRaw(node);
}

static double number(const cJSON *node)
{
    return cJSON_IsRaw(node) ? strtod(node->valuestring, NULL) : node->valuedouble;
}

static bool is_integer(const cJSON *node)
{
    if (cJSON_IsRaw(node))
        return strpbrk(node->valuestring, ".eE") == NULL;
    return cJSON_IsNumber(node) && node->valuedouble >= -1e15 && node->valuedouble <= 1e15 &&
           node->valuedouble == (double)(int64_t)node->valuedouble;
}

static const char *type_of(const cJSON *node)
{
    return cJSON_IsObject(node)   ? "a mapping"
           : cJSON_IsArray(node)  ? "a list"
           : cJSON_IsString(node) ? "text"
           : cJSON_IsBool(node)   ? "true or false"
           : cJSON_IsNull(node)   ? "null"
                                  : "a number";
}

static const char *type_wanted(const char *type)
{
    static const char *const words[][2] = {{"object", "a mapping"}, {"array", "a list"},
                                           {"string", "text"},      {"integer", "a whole number"},
                                           {"number", "a number"},  {"boolean", "true or false"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i][0], type) == 0)
            return words[i][1];
    return type;
}

static bool type_fits(const char *type, const cJSON *node)
{
    switch (type[0]) {
    case 'o':
        return cJSON_IsObject(node);
    case 'a':
        return cJSON_IsArray(node);
    case 's':
        return cJSON_IsString(node);
    case 'i':
        return is_integer(node);
    case 'n':
        return is_number(node);
    default:
        return cJSON_IsBool(node);
    }
}

/* The value for a message, in quotes; empty where it must not be shown or is no scalar. */
static const char *shown(const struct check *c, const cJSON *node, char *out, size_t size)
{
    out[0] = 0;
    if (c->secret)
        return out;
    if (cJSON_IsString(node) || cJSON_IsRaw(node))
        snprintf(out, size, " (it is \"%.60s\")", node->valuestring);
    else if (cJSON_IsNumber(node))
        snprintf(out, size, " (it is %.15g)", node->valuedouble);
    return out;
}

static void wrong_type(struct check *c, const char *type, const cJSON *node)
{
    char value[100];
    const char *hint = "";
    static const char *const yes_no[] = {"yes", "no", "on", "off", "Yes", "No", "On", "Off", "YES", "NO", "ON", "OFF"};
    if (strcmp(type, "string") == 0 && (is_number(node) || cJSON_IsBool(node)))
        hint = "; put it in quotes";
    else if (strcmp(type, "array") == 0)
        hint = "; begin each element with \"- \"";
    else if (cJSON_IsString(node) && (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0))
        hint = "; write the number without quotes";
    for (size_t i = 0; strcmp(type, "boolean") == 0 && cJSON_IsString(node) && i < sizeof yes_no / sizeof yes_no[0];
         i++)
        if (strcmp(node->valuestring, yes_no[i]) == 0)
            hint = i % 2 ? "; write false" : "; write true";
    check_error(c, node, "must be %s, not %s%s%s", type_wanted(type), type_of(node),
                shown(c, node, value, sizeof value), hint);
    check_reason(c, "FieldValueTypeInvalid");
}

/* ---- strings and numbers ---- */

static size_t characters(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void check_pattern(struct check *c, const char *pattern, const cJSON *node)
{
    regex_t re;
    if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return; /* the schemas are ours; a test compiles them all */
    char value[100];
    if (regexec(&re, node->valuestring, 0, NULL, 0) != 0)
        check_error(c, node, "does not match %s%s", pattern, shown(c, node, value, sizeof value));
    regfree(&re);
}

static void check_string(struct check *c, const cJSON *schema, const cJSON *node)
{
    char value[100];
    const cJSON *least = member(schema, "minLength"), *most = member(schema, "maxLength"),
                *pattern = member(schema, "pattern");
    size_t n = least || most ? characters(node->valuestring) : 0;
    if (least && n == 0 && least->valuedouble > 0)
        check_error(c, node, "must not be empty");
    else if (least && (double)n < least->valuedouble)
        check_error(c, node, "must have at least %d characters%s", least->valueint,
                    shown(c, node, value, sizeof value));
    if (most && (double)n > most->valuedouble)
        check_error(c, node, "must have at most %d characters, it has %zu", most->valueint, n);
    if (pattern)
        check_pattern(c, pattern->valuestring, node);
}

static void check_range(struct check *c, const cJSON *schema, const cJSON *node)
{
    char value[100];
    const cJSON *least = member(schema, "minimum"), *most = member(schema, "maximum"),
                *format = member(schema, "format");
    if (least && number(node) < least->valuedouble)
        check_error(c, node, "must be at least %.15g%s", least->valuedouble, shown(c, node, value, sizeof value));
    else if (most && number(node) > most->valuedouble)
        check_error(c, node, "must be at most %.15g%s", most->valuedouble, shown(c, node, value, sizeof value));
    else if (format && strcmp(format->valuestring, "int32") == 0 &&
             (number(node) > INT32_MAX || number(node) < INT32_MIN))
        check_error(c, node, "does not fit 32 bits%s", shown(c, node, value, sizeof value));
}

static void check_enum(struct check *c, const cJSON *allowed, const cJSON *node)
{
    const char *words[128] = {NULL};
    char list[300], value[100];
    size_t count = 0, n = 0;
    const cJSON *each;
    cJSON_ArrayForEach(each, allowed) {
        if (cJSON_Compare(each, node, true))
            return;
        if (cJSON_IsString(each) && count < sizeof words / sizeof words[0])
            words[count++] = each->valuestring;
    }
    for (size_t i = 0; i < count && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", words[i]);
    const char *near = cJSON_IsString(node) ? word_near(node->valuestring, words, count) : NULL;
    if (near)
        check_error(c, node, "there is no \"%s\" here; did you mean \"%s\"?", c->secret ? "..." : node->valuestring,
                    near);
    else
        check_error(c, node, "must be one of: %s%s%s", list, n >= sizeof list ? " ..." : "",
                    shown(c, node, value, sizeof value));
    check_reason(c, "FieldValueNotSupported");
}

/* ---- mappings and lists ---- */

#define WORDS_MAX 64

/* The names that a user may write here; of the whole object all but status. */
static size_t known_members(const struct check *c, const cJSON *properties, const char *words[WORDS_MAX])
{
    size_t count = 0;
    const cJSON *each;
    cJSON_ArrayForEach(each, properties)
        if (count < WORDS_MAX && !(c->path_len == 0 && strcmp(each->string, "status") == 0))
            words[count++] = each->string;
    return count;
}

/* A field that was written one level too high: directly in the object. */
static bool belongs_in_spec(const struct check *c, const cJSON *properties, const char *name)
{
    return c->path_len == 0 && member(member(member(properties, "spec"), "properties"), name) != NULL;
}

static void unknown_field(struct check *c, const cJSON *properties, cJSON *parent, cJSON *node)
{
    if (c->prune) {
        size_t above = path_down(c, node->string);
        check_unknown(c, node);
        path_up(c, above);
        cJSON_Delete(cJSON_DetachItemViaPointer(parent, node));
        return;
    }
    const char *words[WORDS_MAX] = {NULL};
    size_t count = known_members(c, properties, words), n = 0;
    const char *near = word_near(node->string, words, count);
    bool in_spec = belongs_in_spec(c, properties, node->string);
    char known[300] = "";
    for (size_t i = 0; i < count && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", words[i]);
    size_t before = path_down(c, node->string);
    if (in_spec)
        check_error_key(c, node, "unknown field; it belongs under spec: indent it");
    else if (near)
        check_error_key(c, node, "unknown field; did you mean \"%s\"?", near);
    else if (n > 0)
        check_error_key(c, node, "unknown field; known here: %s%s", known, n >= sizeof known ? " ..." : "");
    else
        check_error_key(c, node, "unknown field");
    path_up(c, before);
}

/* Validates `node` by an openAPIV3Schema: drops nulls that may not be, adds defaults. */
static void apply(struct check *c, const cJSON *schema, cJSON *node);

static void apply_members(struct check *c, const cJSON *schema, cJSON *node)
{
    const cJSON *properties = member(schema, "properties"), *additional = member(schema, "additionalProperties");
    bool keep = is_set(schema, "x-kubernetes-preserve-unknown-fields") || (!properties && !additional) ||
                cJSON_IsTrue(additional);
    cJSON *next;
    for (cJSON *child = node->child; child; child = next) {
        next = child->next;
        const cJSON *of_child = member(properties, child->string);
        if (!of_child && cJSON_IsObject(additional))
            of_child = additional;
        if (of_child && cJSON_IsNull(child) && !is_set(of_child, "nullable")) {
            cJSON_Delete(cJSON_DetachItemViaPointer(node, child));
            continue;
        }
        if (!of_child) {
            if (!keep)
                unknown_field(c, properties, node, child);
            continue;
        }
        size_t before = path_down(c, child->string);
        apply(c, of_child, child);
        path_up(c, before);
    }
}

static void apply_defaults(struct check *c, const cJSON *schema, cJSON *node)
{
    const cJSON *of_child;
    cJSON_ArrayForEach(of_child, member(schema, "properties")) {
        const cJSON *value = member(of_child, "default");
        if (!value || member(node, of_child->string))
            continue;
        cJSON *copy = cJSON_Duplicate(value, true);
        if (!copy || !cJSON_AddItemToObject(node, of_child->string, copy)) {
            cJSON_Delete(copy);
            c->nomem = true;
        }
    }
}

static void check_required(struct check *c, const cJSON *schema, const cJSON *node)
{
    const cJSON *name;
    cJSON_ArrayForEach(name, member(schema, "required")) {
        if (member(node, name->valuestring))
            continue;
        size_t before = path_down(c, name->valuestring);
        check_error_key(c, node, "is missing");
        check_reason(c, "FieldValueRequired");
        path_up(c, before);
    }
}

static void apply_items(struct check *c, const cJSON *schema, cJSON *node)
{
    const cJSON *items = member(schema, "items"), *least = member(schema, "minItems"),
                *most = member(schema, "maxItems");
    int count = cJSON_GetArraySize(node);
    if (least && count < least->valueint)
        check_error(c, node, "must have at least %d element%s", least->valueint, least->valueint == 1 ? "" : "s");
    if (most && count > most->valueint)
        check_error(c, node, "must have at most %d elements, it has %d", most->valueint, count);
    size_t i = 0;
    for (cJSON *each = node->child; each && items; each = each->next) {
        size_t before = path_down_index(c, i++);
        apply(c, items, each);
        path_up(c, before);
    }
}

static void apply(struct check *c, const cJSON *schema, cJSON *node)
{
    const cJSON *type = member(schema, "type"), *allowed = member(schema, "enum");
    if (cJSON_IsNull(node) && is_set(schema, "nullable"))
        return;
    if (is_set(schema, "x-kubernetes-int-or-string")) {
        if (!cJSON_IsString(node) && !is_integer(node))
            check_error(c, node, "must be a whole number or text, not %s", type_of(node));
        return;
    }
    if (type && !type_fits(type->valuestring, node)) {
        wrong_type(c, type->valuestring, node);
        return;
    }
    if (allowed)
        check_enum(c, allowed, node);
    else if (cJSON_IsString(node))
        check_string(c, schema, node);
    if (is_number(node))
        check_range(c, schema, node);
    if (cJSON_IsArray(node))
        apply_items(c, schema, node);
    if (cJSON_IsObject(node)) {
        apply_members(c, schema, node);
        apply_defaults(c, schema, node);
        check_required(c, schema, node);
    }
}

/* ---- the whole object ---- */

static bool is_head(const char *name)
{
    return strcmp(name, "apiVersion") == 0 || strcmp(name, "kind") == 0 || strcmp(name, "metadata") == 0;
}

void schema_apply_object(struct check *c, const struct kind *kind, cJSON *object)
{
    const cJSON *properties = member(kind->schema, "properties");
    bool keep = is_set(kind->schema, "x-kubernetes-preserve-unknown-fields");
    cJSON *next;
    for (cJSON *child = object->child; child; child = next) {
        next = child->next;
        bool head = is_head(child->string);
        const cJSON *of_child =
            strcmp(child->string, "metadata") == 0 ? kind_metadata_schema() : member(properties, child->string);
        if (!head &&
            ((strcmp(child->string, "status") == 0 && !kind_status_kept(kind)) || (cJSON_IsNull(child) && of_child))) {
            cJSON_Delete(cJSON_DetachItemViaPointer(object, child));
            continue;
        }
        if (!of_child) {
            if (!head && !keep)
                unknown_field(c, properties, object, child);
            continue;
        }
        size_t before = path_down(c, child->string);
        apply(c, of_child, child);
        path_up(c, before);
    }
    apply_defaults(c, kind->schema, object);
    check_required(c, kind->schema, object);
    if (!cJSON_GetObjectItemCaseSensitive(object, "metadata"))
        check_error(c, object, "metadata is missing; an object needs at least metadata.name");
}

void schema_apply_status(struct check *c, const struct kind *kind, cJSON *object)
{
    const cJSON *schema = member(member(kind->schema, "properties"), "status");
    cJSON *status = cJSON_GetObjectItemCaseSensitive(object, "status");
    if (cJSON_IsNull(status)) {
        cJSON_Delete(cJSON_DetachItemViaPointer(object, status));
        return;
    }
    size_t before = path_down(c, "status");
    if (status && schema)
        apply(c, schema, status);
    else if (status && !cJSON_IsObject(status))
        wrong_type(c, "object", status);
    path_up(c, before);
}
