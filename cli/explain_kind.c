/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat explain KIND[.FIELD...]`: what a kind's fields are, from the schemas that the program embeds: no server is
 * asked.
 */
#include "explain_kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 256

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const char *text_of(const cJSON *o, const char *name)
{
    const char *text = cJSON_GetStringValue(member(o, name));
    return text ? text : "";
}

/* ---- what the word means ---- */

const struct kind *explain_kind_of(const char *word, const char *api_version, const char **path)
{
    char head[WORD_MAX];
    const struct kind *k = NULL;
    if ((size_t)snprintf(head, sizeof head, "%s", word) >= sizeof head)
        return NULL;
    /* The longest beginning that is a kind: it may have its group, "channels.messaging.knative.dev". */
    for (char *dot = head; dot && !(k = kind_by_word(head));)
        if ((dot = strrchr(head, '.')))
            *dot = '\0';
    size_t n = strlen(head);
    *path = word[n] ? word + n + 1 : "";
    return k && api_version ? kind_find(api_version, k->kind) : k;
}

/* ---- schemas ---- */

static const char *type_of(const cJSON *schema)
{
    const char *type = text_of(schema, "type");
    if (*type)
        return type;
    return cJSON_IsTrue(member(schema, "x-kubernetes-int-or-string")) ? "integer or string" : "any";
}

/* "<string>", "<[]object>", "<map[string]string>", with what else is to be known of a value */
static void print_type(const cJSON *schema)
{
    const cJSON *items = member(schema, "items"), *values = member(schema, "additionalProperties"), *each;
    putchar('<');
    for (; items; schema = items, items = member(schema, "items"))
        printf("[]");
    values = member(schema, "additionalProperties");
    if (cJSON_IsObject(values))
        printf("map[string]%s", type_of(values));
    else
        printf("%s", type_of(schema));
    putchar('>');
    const char *before = " one of: ";
    cJSON_ArrayForEach(each, member(schema, "enum")) {
        if (cJSON_IsString(each))
            printf("%s%s", before, each->valuestring);
        before = ", ";
    }
}

/* What lies in an object, in the elements of a list, or in the values of a map; NULL: nothing that has names. */
static const cJSON *properties_of(const cJSON *schema)
{
    while (cJSON_IsObject(member(schema, "items")))
        schema = member(schema, "items");
    if (cJSON_IsObject(member(schema, "additionalProperties")))
        schema = member(schema, "additionalProperties");
    return member(schema, "properties");
}

static const cJSON *required_of(const cJSON *schema)
{
    while (cJSON_IsObject(member(schema, "items")))
        schema = member(schema, "items");
    return member(schema, "required");
}

static bool is_required(const cJSON *schema, const char *name)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, required_of(schema))
        if (cJSON_IsString(each) && strcmp(each->valuestring, name) == 0)
            return true;
    return false;
}

static void print_field(const cJSON *schema, const cJSON *field, int depth, bool whole)
{
    const cJSON *each;
    printf("%*s%s ", 2 + 2 * depth, "", field->string);
    print_type(field);
    printf("%s\n", is_required(schema, field->string) ? " required" : "");
    if (!whole) {
        if (*text_of(field, "description"))
            printf("%*s%s\n", 6 + 2 * depth, "", text_of(field, "description"));
        return;
    }
    cJSON_ArrayForEach(each, properties_of(field))
        print_field(field, each, depth + 1, true);
}

/* ---- fields of a path ---- */

/* The schema of a field of the object itself; kinds do not repeat what every object has. */
static const cJSON *top_field(const struct kind *k, const char *name)
{
    static const cJSON text = {.type = cJSON_Object};
    if (strcmp(name, "metadata") == 0)
        return kind_metadata_schema();
    const cJSON *found = member(member(k->schema, "properties"), name);
    return found || (strcmp(name, "apiVersion") != 0 && strcmp(name, "kind") != 0) ? found : &text;
}

/* The schema at the path; NULL (said): there is no such field. */
static const cJSON *field_at(const struct invocation *in, const struct kind *k, const char *path)
{
    char name[WORD_MAX];
    const cJSON *schema = k->schema, *each;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        const cJSON *next = p == path ? top_field(k, name) : member(properties_of(schema), name);
        if (!next) {
            fail(in->command, EXIT_CODE_USAGE, "%s has no field '%s'%s%.*s.", k->singular, name,
                 p == path ? "" : " in ", p == path ? 0 : (int)(p - path - 1), path);
            fprintf(stderr, "There are:");
            cJSON_ArrayForEach(each, properties_of(schema))
                fprintf(stderr, " %s", each->string);
            fprintf(stderr, "%s\n", p == path ? " metadata" : "");
            return NULL;
        }
        schema = next;
        p += n + (p[n] == '.');
    }
    return schema;
}

static void print_fields(const struct kind *k, const cJSON *schema, bool top, bool whole)
{
    const cJSON *each;
    if (!properties_of(schema) && !top)
        return;
    printf("\nFIELDS:\n");
    if (top) {
        printf("  apiVersion <string>\n  kind <string>\n  metadata <object>\n");
        if (!whole)
            printf("      Name, namespace, labels and annotations, as of every object.\n");
        else
            cJSON_ArrayForEach(each, properties_of(kind_metadata_schema()))
                print_field(kind_metadata_schema(), each, 1, true);
    }
    cJSON_ArrayForEach(each, properties_of(schema))
        if (!top || (strcmp(each->string, "metadata") != 0 && strcmp(each->string, "apiVersion") != 0 &&
                     strcmp(each->string, "kind") != 0))
            print_field(schema, each, 0, whole);
    (void)k;
}

int explain_kind(const struct invocation *in, const struct kind *k, const char *path, bool json)
{
    const cJSON *schema = field_at(in, k, path);
    if (!schema)
        return EXIT_CODE_USAGE;
    if (json) {
        print_tree(schema, OUTPUT_JSON);
        return EXIT_CODE_OK;
    }
    if (*k->group)
        printf("GROUP:      %s\n", k->group);
    printf("KIND:       %s\nVERSION:    %s\n", k->kind, k->version);
    if (*path) {
        printf("\nFIELD:      %s ", path);
        print_type(schema);
        putchar('\n');
    }
    const char *description = text_of(schema, "description");
    if (!*description)
        description = text_of(member(schema, "items"), "description");
    printf("\nDESCRIPTION:\n  %s\n", *description ? description : "(none)");
    print_fields(k, schema, !*path, option_given(in, "recursive"));
    return EXIT_CODE_OK;
}
