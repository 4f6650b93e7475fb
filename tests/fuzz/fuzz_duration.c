/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/* Durations of any bytes, ISO 8601 and flags' own form. Properties: no bad access, a refusal says something, and a flag
 * takes all that ISO 8601 has, with the same meaning. */
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
    struct slice text = slice_of((const char *)data, size);
    uint64_t iso = 1, flag = 1, bytes;
    struct diag d = {0};
    enum err e = iso8601_duration_parse(text, &iso, &d);
    must(e == OK || (e == ERR_INVALID && d.text[0] && iso == 1));
    d.text[0] = 0;
    enum err f = duration_parse(text, &flag, &d);
    must(f == OK || (f == ERR_INVALID && d.text[0]));
    must(e != OK || (f == OK && flag == iso));
    must(iso8601_duration_parse(text, &iso, NULL) == e && duration_parse(text, &flag, NULL) == f);
    d.text[0] = 0;
    e = bytes_parse(text, &bytes, &d);
    must(e == OK || d.text[0]);
    return 0;
}
