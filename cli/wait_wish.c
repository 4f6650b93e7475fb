/* SPDX-License-Identifier: Apache-2.0
 *
 * What `leat wait --for` says, as kubectl has it: conditions and their values whatever their case; paths to one value,
 * since a mapping or list is equal to no text.
 */
#include "wait_wish.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "resource.h"

static const char unknown[] = "is none of condition=NAME, condition=NAME=VALUE, delete, create, jsonpath={.PATH} and "
                              "jsonpath={.PATH}=VALUE";

static bool copy(char out[WISH_TEXT_MAX], const char *text, size_t n)
{
    if (n >= WISH_TEXT_MAX)
        return false;
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

static const char *read_condition(const char *text, struct wish *w)
{
    const char *is = strchr(text, '=');
    size_t n = is ? (size_t)(is - text) : strlen(text);
    w->of = FOR_CONDITION;
    is = is ? is + 1 : "True";
    return n && *is && copy(w->name, text, n) && copy(w->value, is, strlen(is)) ? NULL : unknown;
}

/* Where the path ends: at its brace, or at an equals sign outside brackets. */
static const char *end_of_path(const char *text)
{
    bool braced = *text == '{';
    int brackets = 0;
    for (; *text; text++) {
        if (braced && *text == '}' && (text[1] == '\0' || text[1] == '='))
            return text + 1;
        brackets += (*text == '[') - (*text == ']');
        if (!braced && *text == '=' && brackets == 0)
            return text;
    }
    return braced ? NULL : text;
}

static const char *read_path(const char *text, struct wish *w)
{
    const char *end = end_of_path(text), *value = end && *end == '=' ? end + 1 : NULL;
    w->of = FOR_PATH;
    if (!end)
        return "has a path without its closing brace: jsonpath={.status.phase}";
    if (*text == '{') {
        text++;
        end--;
    }
    text += *text == '.';
    if (end <= text || !copy(w->name, text, (size_t)(end - text)))
        return unknown;
    size_t n = value ? strlen(value) : 0;
    if (n >= 2 && (*value == '\'' || *value == '"') && value[n - 1] == *value) {
        value++;
        n -= 2;
    }
    if (value && n == 0)
        return "has no value after the equals sign, as in jsonpath={.status.phase}=Active";
    return !value || copy(w->value, value, n) ? NULL : unknown;
}

const char *wish_read(const char *text, struct wish *w)
{
    *w = (struct wish){.of = strcmp(text, "delete") == 0 ? FOR_DELETE : FOR_CREATE};
    if (w->of == FOR_DELETE || strcmp(text, "create") == 0)
        return NULL;
    if (strncmp(text, "condition=", 10) == 0)
        return read_condition(text + 10, w);
    return strncmp(text, "jsonpath=", 9) == 0 ? read_path(text + 9, w) : unknown;
}

/* ---- whether it is so ---- */

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const char *text_in(const cJSON *o, const char *name)
{
    const char *text = cJSON_GetStringValue(member(o, name));
    return text ? text : "";
}

static const cJSON *condition(const cJSON *object, const char *type)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, member(member(object, "status"), "conditions")) {
        if (strcasecmp(text_in(each, "type"), type) == 0)
            return each;
    }
    return NULL;
}

/* Whether what was found out is of an older state of the object than the one that is there. */
static bool is_old(const cJSON *object, const cJSON *c)
{
    const cJSON *seen = member(c, "observedGeneration"), *is = member(member(object, "metadata"), "generation");
    if (!seen)
        seen = member(member(object, "status"), "observedGeneration");
    return cJSON_IsNumber(seen) && cJSON_IsNumber(is) && seen->valuedouble < is->valuedouble;
}

static int condition_met(const struct wish *w, const cJSON *object, char *why, size_t size)
{
    const cJSON *c = condition(object, w->name);
    const char *reason = text_in(c, "reason");
    snprintf(why, size, c ? "%s is %s%s%s%s%s" : "it has no condition %s", w->name, text_in(c, "status"),
             *reason ? " (" : "", reason, *reason ? "): " : "", text_in(c, "message"));
    if (!c || !is_old(object, c))
        return c && strcasecmp(text_in(c, "status"), w->value) == 0;
    snprintf(why, size, "%s is of an older generation of it", w->name);
    return false;
}

static int path_met(const struct wish *w, const cJSON *object, char *why, size_t size)
{
    char text[64] = "";
    const cJSON *v = json_path(object, w->name);
    snprintf(why, size, ".%s is not %s", w->name, *w->value ? w->value : "there");
    if (!v || !*w->value)
        return v != NULL;
    if (cJSON_IsObject(v) || cJSON_IsArray(v)) {
        snprintf(why, size, ".%s is a mapping or a list, which has no one value", w->name);
        return -1;
    }
    if (cJSON_IsString(v))
        return strcmp(v->valuestring, w->value) == 0;
    if (cJSON_IsNumber(v))
        snprintf(text, sizeof text, "%.15g", v->valuedouble);
    else if (cJSON_IsBool(v))
        snprintf(text, sizeof text, "%s", cJSON_IsTrue(v) ? "true" : "false");
    return strcmp(text, w->value) == 0;
}

int wish_met(const struct wish *w, const cJSON *object, char *why, size_t size)
{
    snprintf(why, size, object ? "it is there" : "it is not there");
    if (w->of == FOR_DELETE)
        return !object;
    if (!object || w->of == FOR_CREATE)
        return object != NULL;
    return w->of == FOR_PATH ? path_met(w, object, why, size) : condition_met(w, object, why, size);
}
