/* SPDX-License-Identifier: Apache-2.0
 *
 * For fuzzers of what works on objects of the server: those never have a name twice, since their reader refuses that.
 */
#ifndef LEAT_TESTS_LIB_JSON_NAMES_H
#define LEAT_TESTS_LIB_JSON_NAMES_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <string.h>

static inline bool names_stand_once(const cJSON *tree)
{
    const cJSON *each, *other;
    cJSON_ArrayForEach(each, tree) {
        for (other = each->next; other && cJSON_IsObject(tree); other = other->next)
            if (strcmp(each->string, other->string) == 0)
                return false;
        if (!names_stand_once(each))
            return false;
    }
    return true;
}

#endif
