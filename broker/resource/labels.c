/* SPDX-License-Identifier: Apache-2.0
 *
 * The syntax of labels (Kubernetes' "Labels and Selectors"): a key is a name of 63 characters at most, with a DNS name
 * and a slash before it if need be; a value is such a name, or empty. Selectors can mean nothing else.
 */
#include <ctype.h>

#include "rules.h"

#define LABEL_NAME_MAX 63
#define LABEL_PREFIX_MAX 253

/* Letters and digits, and in between '-', '_' and '.'. */
static bool is_name(struct slice s)
{
    if (s.len == 0 || s.len > LABEL_NAME_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        bool edge = i == 0 || i + 1 == s.len;
        if (!isalnum((unsigned char)s.ptr[i]) && (edge || !strchr("-_.", s.ptr[i]) || !s.ptr[i]))
            return false;
    }
    return true;
}

static bool is_prefix(struct slice s)
{
    char before = '.';
    for (size_t i = 0; i < s.len; before = s.ptr[i++])
        if (!islower((unsigned char)s.ptr[i]) && !isdigit((unsigned char)s.ptr[i]) &&
            (before == '.' || (s.ptr[i] != '-' && (s.ptr[i] != '.' || before == '-'))))
            return false;
    return s.len && s.len <= LABEL_PREFIX_MAX && before != '.' && before != '-';
}

static bool is_key(const char *key)
{
    struct slice name = slice_str(key);
    if (!strchr(key, '/'))
        return is_name(name);
    struct slice prefix = slice_split(&name, '/');
    return is_prefix(prefix) && is_name(name);
}

/* What came before there was this check stays as it is, in files and in the store: a warning there. */
static void say(struct check *c, const cJSON *label, const char *what)
{
    static const char form[] =
        "letters, digits, '-', '_' and '.', 63 at most, the first and the last a letter or a digit";
    if (!c->prune)
        check_warn(c, label, "%s \"%.80s\" is none that a selector can mean: %s", what, label->string, form);
    else
        check_error(c, label, "%s \"%.80s\" must consist of %s", what, label->string, form);
}

void rule_labels(struct check *c, cJSON *metadata)
{
    size_t before;
    const cJSON *each, *labels = rule_enter(c, metadata, "labels", &before);
    cJSON_ArrayForEach(each, labels) {
        if (!each->string || !is_key(each->string))
            say(c, each, "the key");
        if (cJSON_IsString(each) && each->valuestring[0] && !is_name(slice_str(each->valuestring)))
            say(c, each, "the value of");
    }
    path_up(c, before);
}
