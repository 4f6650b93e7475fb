/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters as manifests spell them, into compiled ones.
 */
#include "filters.h"

enum err filter_read(struct check *c, const cJSON *filters, struct filter **out)
{
    *out = NULL;
    if (!filters->child)
        return OK;
    check_error(c, filters, "these are not in this build yet; use filter.attributes");
    return ERR_INVALID;
}

enum err filter_read_attributes(struct check *c, const cJSON *attributes, struct filter **out)
{
    *out = NULL;
    if (!attributes->child)
        return OK;
    check_error(c, attributes, "these are not in this build yet");
    return ERR_INVALID;
}
