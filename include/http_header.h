/* SPDX-License-Identifier: Apache-2.0
 *
 * One header line of HTTP: what the server hands over, what codecs read and write.
 */
#ifndef LEAT_HTTP_HEADER_H
#define LEAT_HTTP_HEADER_H

#include "slice.h"

struct http_header {
    struct slice name, value; /* the value without white space around it */
};

/* First value of a header by name (any case); false when absent. */
static inline bool http_header_find(const struct http_header *headers, size_t count, const char *name,
                                    struct slice *out)
{
    struct slice wanted = slice_str(name);
    for (size_t i = 0; i < count; i++)
        if (slice_eq_nocase(headers[i].name, wanted)) {
            *out = headers[i].value;
            return true;
        }
    return false;
}

#endif
