/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalars as Kubernetes' tools read them: true, false, null, ~, decimal, 0x and 0o integers, floats; all else is a
 * string, also yes, no, on and off (a field that wants a boolean says so), and everything in quotes. Pure.
 */
#include "yaml_scalar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define EXACT_DIGITS 15 /* that many decimal digits go through a double and cJSON's printing unchanged */

static bool any_of(struct slice s, const char *const *words)
{
    for (; *words; words++)
        if (slice_eq_str(s, *words))
            return true;
    return false;
}
static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const trues[] = {"true", "True", "TRUE", NULL};
static const char *const falses[] = {"false", "False", "FALSE", NULL};
static const char *const not_finite[] = {".inf",  ".Inf",  ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
                                         "-.Inf", "-.INF", ".nan", ".NaN",  ".NAN",  NULL};

static size_t digits_at(struct slice s, size_t i)
{
    size_t n = 0;
    while (i + n < s.len && s.ptr[i + n] >= '0' && s.ptr[i + n] <= '9')
        n++;
    return n;
}

enum form { NO_NUMBER, DECIMAL, OCTAL, HEX, OCTAL_OLD, FLOAT };

/* `after`: where the digits begin. */
static enum form form_of(struct slice s, size_t *after)
{
    size_t i = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+') ? 1 : 0;
    *after = i;
    size_t whole = digits_at(s, i);
    if (whole && i + whole == s.len)
        return whole > 1 && s.ptr[i] == '0' ? OCTAL_OLD : DECIMAL;
    if (whole == 1 && s.ptr[i] == '0' && i + 2 < s.len && (s.ptr[i + 1] == 'x' || s.ptr[i + 1] == 'o')) {
        bool hex = s.ptr[i + 1] == 'x';
        *after = i + 2;
        for (size_t n = i + 2; n < s.len; n++) {
            char c = s.ptr[n];
            bool ok =
                hex ? (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') : c >= '0' && c <= '7';
            if (!ok)
                return NO_NUMBER;
        }
        return hex ? HEX : OCTAL;
    }
    i += whole;
    size_t fraction = 0;
    if (i < s.len && s.ptr[i] == '.') {
        fraction = digits_at(s, i + 1);
        i += 1 + fraction;
    }
    if (whole + fraction == 0)
        return NO_NUMBER;
    if (i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
        size_t sign = i + 1 < s.len && (s.ptr[i + 1] == '-' || s.ptr[i + 1] == '+') ? 1 : 0;
        size_t exponent = digits_at(s, i + 1 + sign);
        if (!exponent)
            return NO_NUMBER;
        i += 1 + sign + exponent;
    }
    return i == s.len ? FLOAT : NO_NUMBER;
}

bool yaml_scalar_special(struct slice text)
{
    size_t after;
    static const char *const booleans_of_old[] = {"y",  "Y",  "yes", "Yes", "YES", "n",   "N",   "no", "No",
                                                  "NO", "on", "On",  "ON",  "off", "Off", "OFF", NULL};
    return any_of(text, nulls) || any_of(text, trues) || any_of(text, falses) || any_of(text, not_finite) ||
           any_of(text, booleans_of_old) || form_of(text, &after) != NO_NUMBER;
}

cJSON *tree_number(struct slice digits)
{
    char text[512];
    if (digits.len >= sizeof text)
        return NULL;
    memcpy(text, digits.ptr, digits.len);
    text[digits.len] = 0;
    size_t significant = 0;
    for (size_t i = 0; i < digits.len && text[i] != 'e' && text[i] != 'E'; i++)
        significant += text[i] >= '0' && text[i] <= '9';
    return significant > EXACT_DIGITS ? cJSON_CreateRaw(text) : cJSON_CreateNumber(strtod(text, NULL));
}

/* Hexadecimal and octal: JSON has decimal only. */
static cJSON *based(struct slice s, size_t after, int base, const char **why)
{
    char text[64];
    if (s.len - after > 22) {
        *why = "this number is too large; put it in quotes if text is meant";
        return NULL;
    }
    memcpy(text, s.ptr + after, s.len - after);
    text[s.len - after] = 0;
    char *end;
    unsigned long long value = strtoull(text, &end, base);
    if (*end) {
        *why =
            "a number with a leading zero is octal and has the digits 0 to 7 only; put it in quotes if text is meant";
        return NULL;
    }
    int n = snprintf(text, sizeof text, "%s%llu", s.ptr[0] == '-' && value ? "-" : "", value);
    return tree_number(slice_of(text, (size_t)n));
}

/* YAML allows what JSON does not: "+1", ".5", "1.". */
static cJSON *decimal(struct slice s, size_t after, const char **why)
{
    char text[512];
    if (s.len > 400) {
        *why = "this number is too long; put it in quotes if text is meant";
        return NULL;
    }
    size_t n = 0;
    if (s.ptr[0] == '-')
        text[n++] = '-';
    struct slice rest = slice_from(s, after);
    size_t whole = digits_at(rest, 0);
    size_t zeros = 0;
    while (zeros + 1 < whole && rest.ptr[zeros] == '0')
        zeros++;
    if (whole == 0)
        text[n++] = '0';
    for (size_t i = zeros; i < rest.len; i++) {
        if (rest.ptr[i] == '.' && digits_at(rest, i + 1) == 0)
            continue;
        text[n++] = rest.ptr[i];
    }
    text[n] = 0;
    double value = strtod(text, NULL);
    if (value == 0)
        return cJSON_CreateNumber(0); /* "-0" too */
    if (!isfinite(value)) {
        *why = "this number is too large for JSON; put it in quotes if text is meant";
        return NULL;
    }
    return tree_number(slice_of(text, n));
}

static cJSON *text_node(struct slice s)
{
    char *copy = strndup(s.ptr ? s.ptr : "", s.len);
    cJSON *node = copy ? cJSON_CreateString("") : NULL;
    if (!node) {
        free(copy);
        return NULL;
    }
    cJSON_free(node->valuestring);
    node->valuestring = copy;
    return node;
}

cJSON *yaml_scalar(struct slice text, bool plain, const char *tag, const char **why)
{
    if (tag) {
        if (strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "!") == 0) {
            plain = false;
        } else if (strcmp(tag, YAML_INT_TAG) != 0 && strcmp(tag, YAML_BOOL_TAG) != 0 &&
                   strcmp(tag, YAML_FLOAT_TAG) != 0 && strcmp(tag, YAML_NULL_TAG) != 0) {
            *why = "tags are not supported; leave it out (a binary value is given as base64 text)";
            return NULL;
        }
    }
    if (!plain)
        return text_node(text);
    if (any_of(text, nulls))
        return cJSON_CreateNull();
    if (any_of(text, trues) || any_of(text, falses))
        return cJSON_CreateBool(any_of(text, trues));
    if (any_of(text, not_finite)) {
        *why = "infinity and NaN cannot be values; put it in quotes if text is meant";
        return NULL;
    }
    size_t after;
    switch (form_of(text, &after)) {
    case DECIMAL:
    case FLOAT:
        return decimal(text, after, why);
    case OCTAL:
    case OCTAL_OLD:
        return based(text, after, 8, why);
    case HEX:
        return based(text, after, 16, why);
    default:
        return text_node(text);
    }
}
