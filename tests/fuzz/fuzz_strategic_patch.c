/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/* A document and a strategic merge patch of it, a line each. Properties: no bad access; it ends soon; what fails says
 * why; what comes out has no directive that the document did not have; and of an object without lists that merge, by a
 * patch without directives, comes what a merge patch makes. */
#include <stdlib.h>
#include <string.h>

#include "../../broker/api/patch.h"
#include "../../broker/resource/check.h"
#include "slice.h"
#include "tests/lib/json_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool has_directive(const cJSON *value)
{
    const cJSON *each;
    if (value->string && (strcmp(value->string, "$patch") == 0 || strcmp(value->string, "$retainKeys") == 0 ||
                          strncmp(value->string, "$setElementOrder/", 17) == 0 ||
                          strncmp(value->string, "$deleteFromPrimitiveList/", 25) == 0))
        return true;
    cJSON_ArrayForEach(each, value) {
        if (has_directive(each))
            return true;
    }
    return false;
}

/* Whether a list lies in it: there directives of elements are nobody's but the list's that merges. */
static bool has_list(const cJSON *value)
{
    const cJSON *each;
    if (cJSON_IsArray(value))
        return true;
    cJSON_ArrayForEach(each, value) {
        if (has_list(each))
            return true;
    }
    return false;
}

static void like_a_merge(const cJSON *document, const cJSON *patch)
{
    struct diag d = {0};
    cJSON *one = cJSON_Duplicate(document, true), *other = cJSON_Duplicate(document, true);
    enum err e = strategic_patch(one, patch, "ConfigMap", &d);
    must(e == merge_patch(other, patch) && (e != OK || json_same(one, other)));
    cJSON_Delete(one);
    cJSON_Delete(other);
}

static void patched(cJSON *document, const cJSON *patch, size_t size)
{
    struct diag d = {0};
    bool had = has_directive(document), listed = has_list(patch);
    enum err e = strategic_patch(document, patch, "Service", &d);
    must(e == OK || (e == ERR_INVALID && d.text[0]));
    must(had || listed || e != OK || !has_directive(document));
    char *text = cJSON_PrintUnformatted(document);
    must(text && strlen(text) <= 16 * size);
    cJSON_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of((const char *)data, size), first = slice_split(&rest, '\n');
    cJSON *document = cJSON_ParseWithLength(first.ptr, first.len), *patch = cJSON_ParseWithLength(rest.ptr, rest.len);
    if (cJSON_IsObject(document) && cJSON_IsObject(patch)) {
        if (names_stand_once(document) && names_stand_once(patch) && !has_directive(patch) && !has_list(patch))
            like_a_merge(document, patch);
        patched(document, patch, size);
    }
    cJSON_Delete(document);
    cJSON_Delete(patch);
    return 0;
}
