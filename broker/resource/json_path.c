/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON paths of printer columns: members, and the one element of a list whose member `type` is a given text:
 *
 *     .status.address.url    .status.conditions[?(@.type=="Ready")].status
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

const cJSON *json_path(const cJSON *at, const char *path)
{
    char name[STEP_MAX], wanted[STEP_MAX];
    while (at && *path) {
        path += *path == '.';
        size_t n = strcspn(path, ".[");
        if (n >= sizeof name)
            return NULL;
        memcpy(name, path, n);
        name[n] = '\0';
        at = n ? cJSON_GetObjectItemCaseSensitive(at, name) : at;
        path += n;
        if (*path != '[')
            continue;
        int used = 0;
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
