/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/* A body in Kubernetes' protobuf. Properties: no bad access; what is refused says why; what is read is JSON. */
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "../../broker/api/protobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag d = {0};
    struct buf out;
    buf_init(&out, 1u << 20);
    enum err e = kubernetes_protobuf_read(slice_of((const char *)data, size), &out, &d);
    if (e != OK && !d.text[0])
        abort();
    if (e == OK && buf_error(&out) == OK) {
        cJSON *tree = cJSON_ParseWithLength(out.ptr, out.len);
        if (!tree)
            abort();
        cJSON_Delete(tree);
    }
    buf_fini(&out);
    return 0;
}
