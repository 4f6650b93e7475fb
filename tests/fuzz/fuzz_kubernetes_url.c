/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/* The path of a request, and the value of an Accept header behind a line break. Properties: no bad access; what a path
 * is about has a kind and lies within its bounds; the entries of a header end. */
#include <stdlib.h>

#include "../../broker/api/kubernetes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag d = {0};
    struct api_target t;
    struct api_accept a;
    struct slice accept = slice_of((const char *)data, size), path = slice_split(&accept, '\n');
    must(kinds_load(&d) == OK);
    if (api_target_parse(path, &t)) {
        must(t.kind && strlen(t.name) <= API_NAME_MAX && strlen(t.namespace_name) <= API_NAME_MAX);
        must(!t.status || t.name[0]);
    }
    for (size_t n = 0; api_accept_next(&accept, &a); n++)
        must(n <= size);
    return 0;
}
