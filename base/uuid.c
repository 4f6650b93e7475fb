/* SPDX-License-Identifier: Apache-2.0
 *
 * UUIDs as text.
 */
#include "uuid.h"

#include <assert.h>

void uuid_put(const unsigned char bytes[16], unsigned version, char out[UUID_TEXT_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    char *to = out;
    assert(version > 0 && version < 16);
    for (unsigned i = 0; i < 16; i++) {
        unsigned byte = bytes[i];
        if (i == 6)
            byte = (byte & 0x0f) | version << 4;
        if (i == 8)
            byte = (byte & 0x3f) | 0x80;
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = hex[byte >> 4];
        *to++ = hex[byte & 15];
    }
    *to = '\0';
    assert(to == out + UUID_TEXT_BYTES - 1);
}
