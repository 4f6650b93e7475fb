/* SPDX-License-Identifier: Apache-2.0
 *
 * What a scalar of YAML means.
 */
#ifndef LEAT_BROKER_RESOURCE_YAML_SCALAR_H
#define LEAT_BROKER_RESOURCE_YAML_SCALAR_H

#include <yaml.h>

#include "tree.h"

/* The node for a scalar. `tag` NULL: none was written. *why: a mistake, then the result is NULL; NULL without a *why:
 * no memory. */
cJSON *yaml_scalar(struct slice text, bool plain, const char *tag, const char **why);
/* Whether plain text would be read as something else than this very string. */
bool yaml_scalar_special(struct slice text);

#endif
