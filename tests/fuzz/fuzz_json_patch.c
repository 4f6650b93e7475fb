/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/* A document and a patch of it, a line each. Properties: no bad access and no endless growth; a JSON patch that fails
 * says why; a merge patch applied twice is the same as once (RFC 7396). */
#include <stdlib.h>
#include <string.h>

#include "../../broker/api/patch.h"
#include "slice.h"
#include "tests/lib/json_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void merge(const cJSON *document, const cJSON *patch)
{
    cJSON *once = cJSON_Duplicate(document, true), *twice;
    enum err e = merge_patch(once, patch);
    must(e == OK || e == ERR_INVALID);
    twice = cJSON_Duplicate(once, true);
    if (e == OK)
        must(merge_patch(twice, patch) == OK && cJSON_Compare(once, twice, true));
    cJSON_Delete(once);
    cJSON_Delete(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of((const char *)data, size), first = slice_split(&rest, '\n');
    cJSON *document = cJSON_ParseWithLength(first.ptr, first.len), *patch = cJSON_ParseWithLength(rest.ptr, rest.len);
    if (cJSON_IsObject(document) && cJSON_IsObject(patch) && names_stand_once(document) && names_stand_once(patch))
        merge(document, patch);
    if (document && patch) {
        struct diag d = {0};
        enum err e = json_patch(&document, patch, &d);
        must(e == OK || ((e == ERR_INVALID || e == ERR_CONFLICT) && d.text[0]));
        char *text = cJSON_PrintUnformatted(document);
        must(text && strlen(text) <= 16 * size + 2 * JSON_PATCH_COPIES_MAX);
        cJSON_free(text);
    }
    cJSON_Delete(document);
    cJSON_Delete(patch);
    return 0;
}
