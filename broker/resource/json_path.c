/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON paths of printer columns, and of `leat wait`: members (a dot in a name after a backslash), an element of a
 * list by its index, and the one whose member `type` is a given text:
 *
 *     .status.address.url    .spec.steps[0].uri    .status.conditions[?(@.type=="Ready")].status
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "resource.h"

#define STEP_MAX 128 /* bytes of one step; the schemas are ours, and a test follows each of their paths */

/* The last element with this type. */
static const cJSON *of_type(const cJSON *list, const char *type)
{
    const cJSON *each, *found = NULL;
    cJSON_ArrayForEach(each, list) {
        const char *t = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(each, "type"));
        if (t && strcmp(t, type) == 0)
            found = each;
    }
    return found;
}

/* The name at the beginning of a path, up to a dot or bracket; false: it is too long. */
static bool take_name(const char **path, char name[STEP_MAX])
{
    size_t n = 0;
    const char *p = *path;
    for (; *p && *p != '.' && *p != '['; p++) {
        p += *p == '\\' && p[1];
        if (n == STEP_MAX - 1)
            return false;
        name[n++] = *p;
    }
    name[n] = '\0';
    *path = p;
    return true;
}

const cJSON *json_path(const cJSON *at, const char *path)
{
    char name[STEP_MAX], wanted[STEP_MAX];
    while (at && *path) {
        path += *path == '.';
        if (!take_name(&path, name))
            return NULL;
        at = name[0] ? cJSON_GetObjectItemCaseSensitive(at, name) : at;
        if (*path != '[')
            continue;
        int used = 0, index;
        if (sscanf(path, "[%6d]%n", &index, &used) == 1 && used) {
            at = cJSON_IsArray(at) && index >= 0 ? cJSON_GetArrayItem(at, index) : NULL;
            path += used;
            continue;
        }
        if (sscanf(path, "[?(@.type%*[ =]%*1['\"]%127[^'\"]%*1['\"])]%n", wanted, &used) != 1 || used == 0)
            return NULL;
        at = of_type(at, wanted);
        path += used;
    }
    return at;
}

static void put_reference(const cJSON *v, struct buf *out)
{
    const char *kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "kind")),
               *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "name"));
    for (; kind && name && *kind; kind++)
        buf_put_char(out, (char)tolower((unsigned char)*kind));
    if (kind && name)
        buf_printf(out, "/%s", name);
}

void kind_column_put(const struct kind_column *column, const cJSON *object, struct buf *out)
{
    const cJSON *v = json_path(object, column->json_path), *each;
    const char *text = cJSON_GetStringValue(v), *before = "";
    if (text)
        buf_put_str(out, text);
    else if (cJSON_IsNumber(v))
        buf_printf(out, "%.15g", v->valuedouble);
    else if (cJSON_IsBool(v))
        buf_put_str(out, cJSON_IsTrue(v) ? "true" : "false");
    else if (cJSON_IsArray(v)) /* of texts, such as topics */
        cJSON_ArrayForEach(each, v) {
            if (!cJSON_IsString(each))
                continue;
            buf_printf(out, "%s%s", before, each->valuestring);
            before = ",";
        }
    else
        put_reference(v, out);
}
