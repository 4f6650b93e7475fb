/* SPDX-License-Identifier: Apache-2.0
 *
 * A subscription's parameter `overflow`, the same on every bus of our own. Pure.
 */
#include "overflow.h"

#include <assert.h>
#include <string.h>

enum err overflow_read(const char *bus, const struct bus_param *params, size_t count, bool *drop_oldest, struct diag *d)
{
    assert(bus && drop_oldest);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(params[i].name, "overflow") != 0)
            return diag_set(d, ERR_INVALID, "unknown parameter \"%s\" of a subscription on a %s bus; it knows overflow",
                            params[i].name, bus);
        if (strcmp(params[i].value, "drop-oldest") == 0)
            *drop_oldest = true;
        else if (strcmp(params[i].value, "refuse") == 0)
            *drop_oldest = false;
        else
            return diag_set(d, ERR_INVALID, "overflow is \"%s\"; it must be refuse or drop-oldest", params[i].value);
    }
    return OK;
}
