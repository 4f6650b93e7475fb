/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/* Timestamps of any bytes. Properties: no bad access; what parses and is written with nine digits parses to the same
 * nanosecond, unless its year lies beyond what 64 bits of nanoseconds hold. */
#include <stdlib.h>

#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t ns = 1, again;
    struct buf b;
    enum err e = rfc3339_parse(slice_of((const char *)data, size), &ns);
    if (e != OK) {
        must(e == ERR_INVALID && ns == 1);
        return 0;
    }
    buf_init(&b, 100);
    rfc3339_put(&b, ns, 9);
    must(buf_error(&b) == OK);
    bool clamped = ns == INT64_MAX || ns == INT64_MIN;
    must(rfc3339_parse(buf_slice(&b), &again) == OK && (again == ns || clamped));
    buf_fini(&b);
    return 0;
}
