/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether two values are the same, whatever the order of members. cJSON_Compare looks for each member from the first
 * one on, so that a mapping of 40,000 members costs it a minute; here members that stand in one order cost a walk, and
 * others are sorted. Pure.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

/* The members from this one on, by their names; NULL: no memory. */
static const cJSON **sorted(const cJSON *first, size_t count)
{
    const cJSON **all = malloc(count * sizeof *all);
    for (size_t i = 0; all && i < count; i++, first = first->next)
        all[i] = first;
    if (all)
        qsort(all, count, sizeof *all, by_name);
    return all;
}

static size_t count_from(const cJSON *member)
{
    size_t count = 0;
    for (; member; member = member->next)
        count++;
    return count;
}

static bool same_sorted(const cJSON *a, const cJSON *b, size_t count)
{
    const cJSON **as = sorted(a, count), **bs = sorted(b, count);
    bool same = as && bs; /* without memory: not known to be the same, which costs a needless write at most */
    for (size_t i = 0; same && i < count; i++)
        same = strcmp(as[i]->string, bs[i]->string) == 0 && json_same(as[i], bs[i]);
    free(as);
    free(bs);
    return same;
}

bool json_same(const cJSON *a, const cJSON *b)
{
    if (cJSON_IsObject(a) != cJSON_IsObject(b) || cJSON_IsArray(a) != cJSON_IsArray(b))
        return false;
    if (!cJSON_IsObject(a) && !cJSON_IsArray(a))
        return cJSON_Compare(a, b, true);
    bool named = cJSON_IsObject(a);
    size_t count = count_from(a->child);
    if (count != count_from(b->child))
        return false;
    for (a = a->child, b = b->child; a; a = a->next, b = b->next, count--) {
        if (named && strcmp(a->string, b->string) != 0)
            return same_sorted(a, b, count);
        if (!json_same(a, b))
            return false;
    }
    return true;
}
